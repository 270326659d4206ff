"""Engines run the network: crops to features, windows to probabilities. The only preprocessing stands here."""

from collections.abc import Callable
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

from .emotions import Emotion
from .errors import EngineUnavailable, UsageError, WrongArchitecture
from .faces import silent_errors
from .networks import load_head, open_backbone, read_backbone, read_head
from .timeline import WINDOW
from .weight_sets import Weights
from .weights import FEATURES, UNSCALED, Preprocessing, sniff_format

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
    """Anything that runs a backbone, and the heads of a weight set if there are any."""

    backbone: Path  # the file
    preprocessing: Preprocessing
    heads: tuple[str, ...]
    feature_width: int  # 512; a sibling's is its own
    extra_columns: tuple[str, ...]  # what `extras` gives

    def embed(self, crops: Images) -> Floats:
        """Return features (N, 512), after the ReLU, of RGB crops uint8 (N, S, S, 3)."""

    def classify(self, windows: Floats) -> Floats:
        """Return probabilities (heads, W, 7) of windows (W, 10, 512)."""

    def classify_faces(self, features: Floats) -> Floats:
        """Return probabilities (N, 7) of features (N, 512), one face each, by the backbone's own last layer.

        Raises:
            WrongArchitecture: the backbone has no such layer.
        """

    def extras(self, features: Floats) -> dict[str, Floats]:
        """Return what else the backbone says of features (N, 512), float32 (N,) by column."""


class TorchEngine:
    """PyTorch on one device, in float32."""

    feature_width = FEATURES
    extra_columns: tuple[str, ...] = ()

    def __init__(self, weights: Weights, *, device: str = "auto") -> None:
        import torch

        self.device = choose_device(device)
        self.heads = tuple(weights.heads)
        self.preprocessing, self.backbone = weights.preprocessing, weights.backbone
        size = weights.preprocessing.input_size
        self._embed, self._last_layer = open_backbone(weights.backbone, device=self.device, input_size=size)
        self._heads = [load_head(path, device=self.device) for path in weights.heads.values()]
        self._torch = torch

    def embed(self, crops: Images) -> Floats:
        """Return features (N, 512), after the ReLU, of RGB crops uint8 (N, S, S, 3)."""
        x = self._torch.from_numpy(normalize_crops(crops, self.preprocessing)).to(self.device)
        with self._torch.inference_mode():
            features: Floats = self._embed(x).cpu().numpy()
        return features

    def classify(self, windows: Floats) -> Floats:
        """Return probabilities (heads, W, 7) of windows (W, 10, 512)."""
        _check_windows(windows)
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
                f"{self.backbone} should be a backbone with a last layer fc2 from features (B, 512) to "
                f"{len(Emotion)} emotions, which a single face needs, but it has none; use the temporal mode, or give "
                "another backbone."
            )
        x = self._torch.from_numpy(features).to(self.device)
        with self._torch.inference_mode():
            probabilities: Floats = self._torch.softmax(self._last_layer(x), dim=1).cpu().numpy()
        return probabilities

    def extras(self, features: Floats) -> dict[str, Floats]:
        """Return nothing: the study's backbone knows seven emotions."""
        return {}


class KerasEngine:
    """The original Keras graph under TensorFlow on the CPU: to compare with, several times slower to start.

    Keras reads Keras files itself; other files fill its layers by name.

    Raises:
        EngineUnavailable: TensorFlow is not installed.
        UsageError: another device than the CPU is named.
    """

    feature_width = FEATURES
    extra_columns: tuple[str, ...] = ()

    def __init__(self, weights: Weights, *, device: str = "auto") -> None:
        if device not in ("auto", "cpu"):
            raise UsageError(f"The engine tensorflow runs on the CPU only, but {device!r} was named; leave it out.")
        self.heads = tuple(weights.heads)
        self.preprocessing, self.backbone = weights.preprocessing, weights.backbone
        self._model = open_keras_backbone(weights.backbone, input_size=weights.preprocessing.input_size)
        self._features = type(self._model)(self._model.input, self._model.get_layer("features").output)
        self._heads = [_open_keras_head(path) for path in weights.heads.values()]
        with silent_errors():  # TensorFlow has something to say when it first meets a mask
            self.classify(np.zeros((1, WINDOW, FEATURES), np.float32))

    def embed(self, crops: Images) -> Floats:
        """Return features (N, 512), after the ReLU, of RGB crops uint8 (N, S, S, 3)."""
        x = normalize_crops(crops, self.preprocessing).transpose(0, 2, 3, 1)
        features: Floats = self._features(x, training=False).numpy()
        return features

    def classify(self, windows: Floats) -> Floats:
        """Return probabilities (heads, W, 7) of windows (W, 10, 512)."""
        _check_windows(windows)
        return np.stack([model(windows, training=False).numpy() for model in self._heads])

    def classify_faces(self, features: Floats) -> Floats:
        """Return probabilities (N, 7) of features (N, 512), one face each, by the backbone's own last layer."""
        probabilities: Floats = self._model.get_layer("probabilities")(features).numpy()
        return probabilities

    def extras(self, features: Floats) -> dict[str, Floats]:
        """Return nothing: the study's backbone knows seven emotions."""
        return {}


def _check_windows(windows: Floats) -> None:
    """Refuse what is no window of this backbone's features: a layer in between would be random, and still answer."""
    if windows.ndim != 3 or windows.shape[1:] != (WINDOW, FEATURES):
        raise UsageError(
            f"A head reads windows of {WINDOW} samples with {FEATURES} features, (W, {WINDOW}, {FEATURES}), but an "
            f"array of {windows.shape} came. Give features of the backbone that the heads belong to."
        )


def _import_graph() -> Any:
    """Return the module of the Keras graphs; TensorFlow's notes at its start are thrown away."""
    try:
        with silent_errors():
            from . import keras_graph
    except ModuleNotFoundError as error:
        raise EngineUnavailable(
            f"The engine tensorflow needs {error.name}, which is not installed: pip install 'emo-affectnet[tensorflow]'"
        ) from error
    return keras_graph


def open_keras_backbone(path: Path, *, input_size: int) -> Any:
    """Return the original Keras graph (B, S, S, 3) to probabilities (B, 7), filled from any kind of file.

    Raises:
        EngineUnavailable: TensorFlow is not installed.
        WeightsError: the file is damaged, or another network's.
    """
    graph = _import_graph()
    return _fill_graph(graph.build_backbone(input_size), path, read=read_backbone, fill=graph.fill_backbone)


def _open_keras_head(path: Path) -> Any:
    graph = _import_graph()
    return _fill_graph(graph.build_head(), path, read=read_head, fill=graph.fill_head)


def _fill_graph(
    model: Any, path: Path, *, read: Callable[[Path], Any], fill: Callable[[Any, dict[str, Floats]], None]
) -> Any:
    if sniff_format(path) == "Keras":
        _import_graph().load_file(model, path)
    else:
        fill(model, {name: tensor.numpy() for name, tensor in read(path).state_dict().items()})
    return model


DEFAULT_ENGINE = "torch"
ENGINES: dict[str, Callable[..., Engine]] = {"torch": TorchEngine, "tensorflow": KerasEngine}


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
