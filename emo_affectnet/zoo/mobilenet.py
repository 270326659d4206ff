"""MobileNet v1 as Keras builds it, for the one sibling that was published as a Keras file: `mobilenet_7.h5`.

In go RGB grey levels less the means, float32 (N, 3, 224, 224); features are the 1,024 after the global pooling, scores
the seven logits before the softmax, over a hidden layer of 256. The convolutions are those of our own MobileNet; Keras'
names of their weights stand here. Two things differ between Keras' versions and no weight shows them, so they are
looked up in the file's own description of the model: whether a stride of 2 pads all sides or, as in TensorFlow, right
and bottom only; and the hidden layer's activation. A file without a description is taken for the newer padding and a
ReLU, as the authors' training code has it.
"""

import re
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ..errors import WrongArchitecture
from ..keras_files import read_layers
from ..mobilenet import PAIRS, make_layers, name_layers

Floats = npt.NDArray[np.float32]

FEATURES, HIDDEN, EMOTIONS = 1024, 256, 7
DENSES = {"feats": (FEATURES, HIDDEN), "emotion_preds": (HIDDEN, EMOTIONS)}  # Keras' name: inputs, outputs
_PADDINGS = {b"[[0, 1], [0, 1]]": False, b"[[1, 1], [1, 1]]": True}  # rows, columns: are all sides padded alike?
_ACTIVATIONS = {b"relu": True, b"linear": False}  # is it a ReLU?


class SiblingMobileNet(nn.Module):
    """The network: `features` up to the global pooling, `classify` from there to the logits."""

    def __init__(self, *, pads_evenly: bool = False, is_hidden_relu: bool = True) -> None:
        super().__init__()
        layers = make_layers(PAIRS, pads_evenly=pads_evenly)
        self.layers = nn.ModuleDict(dict(zip(name_layers(len(PAIRS)), layers, strict=True)))
        self.denses = nn.ModuleDict({name: nn.Linear(*widths) for name, widths in DENSES.items()})
        self.is_hidden_relu = is_hidden_relu

    def features(self, x: Tensor) -> Tensor:
        """Return features (N, 1024) of network inputs (N, 3, 224, 224)."""
        for layer in self.layers.values():
            x = layer(x)
        return x.mean(dim=(2, 3))

    def classify(self, features: Tensor) -> Tensor:
        """Return logits (N, 7) of features (N, 1024)."""
        hidden = self.denses["feats"](features)  # (N, 256)
        logits: Tensor = self.denses["emotion_preds"](F.relu(hidden) if self.is_hidden_relu else hidden)
        return logits


class KerasMobileNet:
    """`mobilenet_7.h5` on PyTorch, on the CPU.

    Raises:
        MissingWeights, CorruptWeights: the file is not there, or damaged.
        WrongArchitecture: it is no Keras file, or another network's.
    """

    def __init__(self, path: Path) -> None:
        self._network = read_mobilenet(path)

    def embed(self, x: Floats) -> Floats:
        """Return features (N, 1024) of network inputs (N, 3, 224, 224)."""
        with torch.inference_mode():
            features: Floats = self._network.features(torch.from_numpy(x)).numpy()
        return features

    def score(self, features: Floats) -> Floats:
        """Return logits (N, 7) of features (N, 1024)."""
        with torch.inference_mode():
            logits: Floats = self._network.classify(torch.from_numpy(features)).numpy()
        return logits


def read_mobilenet(path: Path) -> SiblingMobileNet:
    """Return the network, in evaluation mode, filled from a Keras file.

    Raises:
        MissingWeights, CorruptWeights: the file is not there, or damaged.
        WrongArchitecture: it is no Keras file, or another network's.
    """
    arrays = read_layers(path)
    pads_evenly, is_hidden_relu = _read_description(path)
    network = SiblingMobileNet(pads_evenly=pads_evenly, is_hidden_relu=is_hidden_relu).eval()
    state = _name_tensors(path, arrays, network)
    network.load_state_dict(state, strict=False)  # all but the counters of the batch norms
    return network


def _read_description(path: Path) -> tuple[bool, bool]:
    """Return whether a stride of 2 pads all sides alike, and whether the hidden layer has a ReLU.

    The description lies in the file as plain text; it is searched for these two words and never built from.
    """
    data = path.read_bytes()
    paddings = set(re.findall(rb'"padding": (\[\[\d+, \d+\], \[\d+, \d+\]\])', data)) or {b"[[0, 1], [0, 1]]"}
    found = re.search(rb'"name": "feats".{0,500}?"activation": "(\w+)"', data, re.DOTALL)
    activation = found[1] if found else b"relu"
    if len(paddings) > 1 or not paddings <= set(_PADDINGS) or activation not in _ACTIVATIONS:
        came = b", ".join(sorted(paddings)).decode()
        raise WrongArchitecture(
            f"{path} should be a MobileNet that pads [[0, 1], [0, 1]] or [[1, 1], [1, 1]] and has a hidden layer with "
            f"relu, but it pads {came} and has {activation.decode()}. Give the published file."
        )
    return _PADDINGS[paddings.pop()], _ACTIVATIONS[activation]


def _name_tensors(path: Path, arrays: dict[str, tuple[Floats, ...]], network: SiblingMobileNet) -> dict[str, Tensor]:
    """Return a Keras file's arrays under PyTorch's names and in its axes, if it has those of the network only."""
    sources = _list_sources()
    _check_shapes(path, arrays, network, sources)
    return {
        name: torch.from_numpy(np.ascontiguousarray(_turn(array, name)))
        for layer, names in sources.items()
        for name, array in zip(names, arrays[layer], strict=True)
    }


def _turn(array: Floats, name: str) -> Floats:
    """Put a weight's axes in PyTorch's order: HWIO, or HWI1 if depthwise, to OIHW; a Dense layer's to (out, in)."""
    if array.ndim == 4:
        return array.transpose((2, 3, 0, 1) if "conv_dw" in name else (3, 2, 0, 1))
    return array.T


def _list_sources() -> dict[str, tuple[str, ...]]:
    """Return PyTorch's names of the weights of each Keras layer, in Keras' order."""
    sources: dict[str, tuple[str, ...]] = {}
    for name in name_layers(len(PAIRS)):
        place = f"layers.{name}"
        sources[name] = (f"{place}.convolution.weight",)
        parts = ("weight", "bias", "running_mean", "running_var")
        sources[f"{name}_bn"] = tuple(f"{place}.batch_norm.{part}" for part in parts)
    return sources | {name: (f"denses.{name}.weight", f"denses.{name}.bias") for name in DENSES}


def _check_shapes(
    path: Path, arrays: dict[str, tuple[Floats, ...]], network: SiblingMobileNet, sources: dict[str, tuple[str, ...]]
) -> None:
    expected = network.state_dict()

    def fits(layer: str) -> bool:
        came = [_turn(array, sources[layer][0]).shape for array in arrays.get(layer, ())]
        return came == [tuple(expected[name].shape) for name in sources[layer]]

    wrong = [layer for layer in sources if not fits(layer)]
    unknown = [layer for layer in arrays if layer not in sources]
    if wrong or unknown:
        raise WrongArchitecture(
            f"{path} should be Keras' MobileNet for {EMOTIONS} emotions with {len(sources)} layers that have weights, "
            f"but it has {len(arrays)}; {len(wrong)} are missing or of another shape, {len(unknown)} are unknown "
            f"(first: {(wrong + unknown)[0]}). Give mobilenet_7.h5."
        )
