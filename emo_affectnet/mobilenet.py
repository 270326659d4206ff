"""The second backbone, MobileNet v1 up to its 11th pair of convolutions (Howard et al., 2017), and the list of both.

In goes a face crop, float32 (B, 3, S, S), as the weights' record describes it; out come 512 features per face, as many
as the study's ResNet50 gives. The layers serve the sibling `mobilenet_7` as well, which has all 13 pairs.
Attribute names are the keys of the state dict: `layers.<i>.convolution`, `layers.<i>.batch_norm`, `fc2`.

Facts here: batch norms have epsilon 1e-3, Keras' default; every activation is a ReLU at 6; a stride of 2 pads as
TensorFlow's SAME does: right and bottom only at even sizes, all sides at odd ones.
"""

from collections.abc import Iterator, Sequence
from itertools import chain

from torch import Tensor, nn
from torch.nn import functional as F

from .emotions import Emotion
from .models import BATCH_NORM_MOMENTUM, Conv2dSame, ResNet50
from .weights import BATCH_NORM_EPSILON, FEATURES

STEM = 32  # channels
PAIRS = (  # channels, stride of each pair of a depthwise and a pointwise convolution
    (64, 1), (128, 2), (128, 1), (256, 2), (256, 1), (512, 2), *((512, 1),) * 5, (1024, 2), (1024, 1)
)  # fmt: skip
PAIRS_TO_FEATURES = 11  # the last of them has 512 channels


class Convolution(nn.Module):
    """A convolution without bias, its batch norm, and a ReLU at 6.

    It pads as SAME does, or, with `pads_evenly`, all sides of a 3x3 alike; the two differ at a stride of 2.
    """

    def __init__(
        self, inputs: int, outputs: int, *, kernel: int, stride: int = 1, groups: int = 1, pads_evenly: bool = False
    ) -> None:
        super().__init__()
        if stride == 1 or pads_evenly:
            self.convolution = nn.Conv2d(
                inputs, outputs, kernel, stride=stride, padding=kernel // 2, groups=groups, bias=False
            )
        else:
            self.convolution = Conv2dSame(inputs, outputs, kernel, stride=stride, groups=groups, bias=False)
        self.batch_norm = nn.BatchNorm2d(outputs, eps=BATCH_NORM_EPSILON, momentum=BATCH_NORM_MOMENTUM)

    def forward(self, x: Tensor) -> Tensor:
        """Return (B, outputs, H / stride, W / stride) of (B, inputs, H, W)."""
        return F.relu6(self.batch_norm(self.convolution(x)))


def make_layers(pairs: Sequence[tuple[int, int]], *, pads_evenly: bool = False) -> Iterator[Convolution]:
    """Yield the stem, and the depthwise and the pointwise convolution of each pair (channels, stride)."""
    yield Convolution(3, STEM, kernel=3, stride=2, pads_evenly=pads_evenly)
    inputs = STEM
    for outputs, stride in pairs:
        yield Convolution(inputs, inputs, kernel=3, stride=stride, groups=inputs, pads_evenly=pads_evenly)
        yield Convolution(inputs, outputs, kernel=1)
        inputs = outputs


def name_layers(pairs: int) -> tuple[str, ...]:
    """Return the names that Keras gives the stem and the convolutions of so many pairs, in their order."""
    named = ((f"conv_dw_{number}", f"conv_pw_{number}") for number in range(1, pairs + 1))
    return ("conv1", *chain.from_iterable(named))


class MobileNet(nn.Module):
    """The backbone: a face crop to 512 features, and to the logits of the static classifier."""

    def __init__(self) -> None:
        super().__init__()
        self.layers = nn.Sequential(*make_layers(PAIRS[:PAIRS_TO_FEATURES]))
        self.fc2 = nn.Linear(FEATURES, len(Emotion))

    def features(self, x: Tensor) -> Tensor:
        """Return float32 (B, 512) features: means over the pixels, 0 to 6."""
        x = self.layers(x)  # (B, 512, 8, 8) at 128 px
        return x.mean(dim=(2, 3))

    def forward(self, x: Tensor) -> Tensor:
        """Return the logits (B, 7) of the static classifier."""
        logits: Tensor = self.fc2(self.features(x))
        return logits


Backbone = ResNet50 | MobileNet
BACKBONES: dict[str, type[ResNet50] | type[MobileNet]] = {"ResNet50": ResNet50, "MobileNet": MobileNet}
