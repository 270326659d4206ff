"""The study's network on one page: the ResNet50 backbone and the LSTM head, as published.

In goes a normalised face crop, float32 (B, 3, S, S); out come 512 features per face, and from windows of ten of them
seven probabilities. Attribute names are the keys of the published state dicts and must stay as they are. `mobilenet`
has the second backbone; its features feed heads of the same kind.

Where this differs from the usual ResNet50 (torchvision), and why it matters:

- the stride sits on the 1x1 convolutions, never on the 3x3 (the Caffe layout, from keras-vggface);
- the stem pads as TensorFlow's SAME does: 2 pixels before and 3 after at 224 px;
- the max-pool has no padding, which gives 55x55 at 224 px;
- batch norm has epsilon 1e-3, the Keras default.

A network that gets one of these wrong loads the published weights without an error and computes something else.
Source: the reference Keras graph of EMO-AffectNet (Ryumina, Dresvyanskiy, Karpov, 2022).
"""

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from .emotions import Emotion
from .weights import BATCH_NORM_EPSILON, FEATURES

BATCH_NORM_MOMENTUM = 0.01  # Keras calls the same setting 0.99


def _batch_norm(channels: int) -> nn.BatchNorm2d:
    return nn.BatchNorm2d(channels, eps=BATCH_NORM_EPSILON, momentum=BATCH_NORM_MOMENTUM)


class Conv2dSame(nn.Conv2d):
    """A convolution padded as TensorFlow's SAME: an odd pixel goes after, not before."""

    def forward(self, x: Tensor) -> Tensor:
        """Pad to `ceil(size / stride)` outputs per axis, then convolve."""
        pads = [
            max((-(-size // stride) - 1) * stride + (kernel - 1) + 1 - size, 0)
            for size, kernel, stride in zip(x.shape[-2:], self.kernel_size, self.stride, strict=True)
        ]
        top, left = pads[0] // 2, pads[1] // 2
        x = F.pad(x, (left, pads[1] - left, top, pads[0] - top))
        return F.conv2d(x, self.weight, self.bias, self.stride, groups=self.groups)


class Bottleneck(nn.Module):
    """1x1 (with the stride), 3x3, 1x1 to four times the planes, plus the shortcut."""

    def __init__(self, channels: int, planes: int, *, stride: int) -> None:
        super().__init__()
        width = 4 * planes
        self.conv1 = nn.Conv2d(channels, planes, 1, stride=stride, bias=False)
        self.batch_norm1 = _batch_norm(planes)
        self.conv2 = nn.Conv2d(planes, planes, 3, padding=1, bias=False)
        self.batch_norm2 = _batch_norm(planes)
        self.conv3 = nn.Conv2d(planes, width, 1, bias=False)
        self.batch_norm3 = _batch_norm(width)
        self.i_downsample: nn.Module | None = None
        if stride != 1 or channels != width:
            shortcut = nn.Conv2d(channels, width, 1, stride=stride, bias=False)
            self.i_downsample = nn.Sequential(shortcut, _batch_norm(width))

    def forward(self, x: Tensor) -> Tensor:
        """Map (B, channels, H, W) to (B, 4 planes, H / stride, W / stride)."""
        shortcut = x if self.i_downsample is None else self.i_downsample(x)
        x = F.relu(self.batch_norm1(self.conv1(x)))
        x = F.relu(self.batch_norm2(self.conv2(x)))
        x = self.batch_norm3(self.conv3(x))
        return F.relu(x + shortcut)


def _layer(channels: int, planes: int, *, blocks: int, stride: int) -> nn.Sequential:
    first = Bottleneck(channels, planes, stride=stride)
    rest = (Bottleneck(4 * planes, planes, stride=1) for _ in range(blocks - 1))
    return nn.Sequential(first, *rest)


class ResNet50(nn.Module):
    """The backbone: a face crop to 512 features, and to the logits of the static classifier."""

    def __init__(self) -> None:
        super().__init__()
        self.conv_layer_s2_same = Conv2dSame(3, 64, 7, stride=2, bias=False)
        self.batch_norm1 = _batch_norm(64)
        self.layer1 = _layer(64, 64, blocks=3, stride=1)
        self.layer2 = _layer(256, 128, blocks=4, stride=2)
        self.layer3 = _layer(512, 256, blocks=6, stride=2)
        self.layer4 = _layer(1024, 512, blocks=3, stride=2)
        self.fc1 = nn.Linear(2048, FEATURES)
        self.fc2 = nn.Linear(FEATURES, len(Emotion))

    def features(self, x: Tensor) -> Tensor:
        """Return float32 (B, 512) features after the ReLU, never negative.

        The published PyTorch class returns them before it and leaves the ReLU to its callers.
        """
        x = F.relu(self.batch_norm1(self.conv_layer_s2_same(x)))  # (B, 64, 112, 112) at 224 px
        x = F.max_pool2d(x, 3, stride=2)  # (B, 64, 55, 55)
        x = self.layer1(x)  # (B, 256, 55, 55)
        x = self.layer2(x)  # (B, 512, 28, 28)
        x = self.layer3(x)  # (B, 1024, 14, 14)
        x = self.layer4(x)  # (B, 2048, 7, 7)
        x = x.mean(dim=(2, 3))  # (B, 2048)
        return F.relu(self.fc1(x))  # (B, 512)

    def forward(self, x: Tensor) -> Tensor:
        """Return the logits (B, 7) of the static classifier."""
        logits: Tensor = self.fc2(self.features(x))  # (B, 7)
        return logits


class LSTMHead(nn.Module):
    """The temporal head: a window of ten feature vectors to seven probabilities."""

    def __init__(self) -> None:
        super().__init__()
        self.lstm1 = nn.LSTM(FEATURES, 512, batch_first=True)
        self.lstm2 = nn.LSTM(512, 256, batch_first=True)
        self.fc = nn.Linear(256, len(Emotion))

    def logits(self, windows: Tensor) -> Tensor:
        """Return the logits (B, 7) of windows (B, 10, 512)."""
        x = self.lstm1(windows)[0]  # (B, 10, 512)
        x = self.lstm2(x)[0]  # (B, 10, 256)
        logits: Tensor = self.fc(x[:, -1])  # (B, 7)
        return logits

    def forward(self, windows: Tensor) -> Tensor:
        """Return the probabilities (B, 7) of windows (B, 10, 512)."""
        return torch.softmax(self.logits(windows), dim=1)
