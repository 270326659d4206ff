"""Engines run the network: crops to features, windows to probabilities. The only preprocessing stands here."""

from collections.abc import Callable
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

from .emotions import Emotion
from .errors import UsageError, WrongArchitecture
from .networks import load_head, open_backbone
from .weights import UNSCALED, Preprocessing, Weights

Floats = npt.NDArray[np.float32]
Images = npt.NDArray[np.uint8]

BATCH_WINDOWS = 64  # an LSTM keeps all gates of all its windows: 160 kB for each
LUMA = np.array([0.299, 0.587, 0.114], dtype=np.float32)  # ITU-R BT.601, as image files use


def normalize_crops(crops: npt.NDArray[Any], preprocessing: Preprocessing) -> Floats:
    """Return the network's input, float32 (B, 3, S, S), from RGB crops (B, S, S, 3), 0-255: the only preprocessing.

    Channels are put in the record's order, its mean is subtracted and its deviation divided by; VGGFace2's networks
    have a deviation of 1.
    """
    x = crops.astype(np.float32, copy=False)
    if preprocessing.channels == "BGR":
        x = x[..., ::-1]
    elif preprocessing.channels == "grey":
        x = np.repeat((x @ LUMA)[..., None], 3, axis=-1)
    x = x - np.array(preprocessing.mean, dtype=np.float32)
    if preprocessing.std != UNSCALED:
        x = x / np.array(preprocessing.std, dtype=np.float32)
    return np.ascontiguousarray(x.transpose(0, 3, 1, 2))


class Engine(Protocol):
    """Anything that runs the backbone and the heads of a weight set."""

    heads: tuple[str, ...]

    def embed(self, crops: Images) -> Floats:
        """Return features (N, 512), after the ReLU, of RGB crops uint8 (N, S, S, 3)."""

    def classify(self, windows: Floats) -> Floats:
        """Return probabilities (heads, W, 7) of windows (W, 10, 512)."""

    def classify_faces(self, features: Floats) -> Floats:
        """Return probabilities (N, 7) of features (N, 512), one face each, by the backbone's own last layer.

        Raises:
            WrongArchitecture: the backbone has no such layer.
        """


class TorchEngine:
    """PyTorch on one device, in float32."""

    def __init__(self, weights: Weights, *, device: str = "auto") -> None:
        import torch

        self.device = choose_device(device)
        self.heads = tuple(weights.heads)
        self._preprocessing, self._backbone = weights.preprocessing, weights.backbone
        size = weights.preprocessing.input_size
        self._embed, self._last_layer = open_backbone(weights.backbone, device=self.device, input_size=size)
        self._heads = [load_head(path, device=self.device) for path in weights.heads.values()]
        self._torch = torch

    def embed(self, crops: Images) -> Floats:
        """Return features (N, 512), after the ReLU, of RGB crops uint8 (N, S, S, 3)."""
        x = self._torch.from_numpy(normalize_crops(crops, self._preprocessing)).to(self.device)
        with self._torch.inference_mode():
            features: Floats = self._embed(x).cpu().numpy()
        return features

    def classify(self, windows: Floats) -> Floats:
        """Return probabilities (heads, W, 7) of windows (W, 10, 512)."""
        starts = range(0, max(len(windows), 1), BATCH_WINDOWS)
        return np.concatenate([self._classify(windows[start : start + BATCH_WINDOWS]) for start in starts], axis=1)

    def _classify(self, windows: Floats) -> Floats:
        x = self._torch.from_numpy(windows).to(self.device)
        with self._torch.inference_mode():
            return np.stack([head(x).cpu().numpy() for head in self._heads])

    def classify_faces(self, features: Floats) -> Floats:
        """Return probabilities (N, 7) of features (N, 512), one face each, by the backbone's own last layer.

        Raises:
            WrongArchitecture: the backbone has no such layer.
        """
        if self._last_layer is None:
            raise WrongArchitecture(
                f"{self._backbone} should be a backbone with a last layer fc2 from features (B, 512) to "
                f"{len(Emotion)} emotions, which a single face needs, but it has none; use the temporal mode, or give "
                "another backbone."
            )
        x = self._torch.from_numpy(features).to(self.device)
        with self._torch.inference_mode():
            probabilities: Floats = self._torch.softmax(self._last_layer(x), dim=1).cpu().numpy()
        return probabilities


ENGINES: dict[str, Callable[..., Engine]] = {"torch": TorchEngine}


def choose_device(name: str) -> str:
    """Return the device to use; "auto" takes CUDA, then MPS, then the CPU.

    Raises:
        UsageError: the named device is not there.
    """
    import torch

    counts = {"cuda": torch.cuda.device_count(), "mps": int(torch.backends.mps.is_available()), "cpu": 1}
    present = [device for device, count in counts.items() for _ in range(count)]
    if name == "auto":
        return present[0]
    kind, _, index = name.partition(":")
    numbered = [f"{device}:{number}" for device, count in counts.items() for number in range(count)]
    if name not in present and name not in numbered:
        there = ", ".join(dict.fromkeys(present + numbered))
        raise UsageError(f"The device {name!r} is not available here; choose auto or one of: {there}.")
    return name
