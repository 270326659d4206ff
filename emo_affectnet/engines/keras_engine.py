"""The original Keras graph under TensorFlow, to compare with."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from ..errors import EngineUnavailable, UsageError, silent_errors
from ..networks import export_arrays, read_backbone, read_head
from ..timeline import WINDOW
from ..weight_sets import Weights
from ..weights import FEATURES, sniff_format
from .contract import Floats, Images, StudyEngine, normalize_crops, split, split_windows
from .devices import choose_cpu


class KerasEngine(StudyEngine):
    """The original Keras graph under TensorFlow on the CPU: to compare with, several times slower to start.

    Keras reads Keras files itself; other files fill its layers by name.

    Raises:
        EngineUnavailable: TensorFlow is not installed.
        UsageError: another device than the CPU is named, or the backbone is a MobileNet.
    """

    name = "tensorflow"
    precisions = ("fp32",)

    def __init__(
        self, weights: Weights, *, device: str = "auto", precision: str = "fp32", threads: int | None = None
    ) -> None:
        super().__init__(weights, precision=precision)
        if threads is not None:
            raise UsageError(
                "The engine tensorflow takes the threads it finds; leave them out, or set OMP_NUM_THREADS."
            )
        self.description = choose_cpu(self.name, device).describe()
        self._model = open_keras_backbone(weights.backbone, input_size=weights.preprocessing.input_size)
        self._features = type(self._model)(self._model.input, self._model.get_layer("features").output)
        self._heads = [_open_keras_head(path) for path in weights.heads.values()]
        with silent_errors():  # TensorFlow has something to say when it first meets a mask
            if self.heads:
                self.classify(np.zeros((1, WINDOW, FEATURES), np.float32))

    def embed(self, crops: Images) -> Floats:
        """Return features (N, 512), after the ReLU, of RGB crops uint8 (N, S, S, 3)."""
        parts = [np.empty((0, FEATURES), np.float32)]
        for part in split(crops):
            x = normalize_crops(part, self.preprocessing).transpose(0, 2, 3, 1)
            parts.append(self._features(x, training=False).numpy())
        return np.concatenate(parts)

    def classify(self, windows: Floats) -> Floats:
        """Return probabilities (heads, W, 7) of windows (W, 10, 512)."""
        return split_windows(windows, self._classify, heads=len(self.heads))

    def _classify(self, windows: Floats) -> Floats:
        return np.stack([model(windows, training=False).numpy() for model in self._heads])

    def classify_faces(self, features: Floats) -> Floats:
        """Return probabilities (N, 7) of features (N, 512), one face each, by the backbone's own last layer."""
        probabilities: Floats = self._model.get_layer("probabilities")(features).numpy()
        return probabilities


def _import_graph() -> Any:
    """Return the module of the Keras graphs; TensorFlow's notes at its start are thrown away."""
    try:
        with silent_errors():
            from .. import keras_graph
    except ModuleNotFoundError as error:
        raise EngineUnavailable(
            f"The engine tensorflow needs {error.name}, which is not installed: pip install 'emo-affectnet[tensorflow]'"
        ) from error
    return keras_graph


def open_keras_backbone(path: Path, *, input_size: int) -> Any:
    """Return the original Keras graph (B, S, S, 3) to probabilities (B, 7), filled from any kind of file.

    Raises:
        EngineUnavailable: TensorFlow is not installed.
        UsageError: the file holds a MobileNet.
        WeightsError: the file is damaged, or another network's.
    """
    graph = _import_graph()
    return _fill_graph(graph.build_backbone(input_size), path, read=_read_resnet, fill=graph.fill_backbone)


def _read_resnet(path: Path) -> Any:
    from ..mobilenet import MobileNet

    network = read_backbone(path)
    if isinstance(network, MobileNet):
        raise UsageError(
            f"The engine tensorflow runs the study's ResNet50 only, but {path} is a MobileNet; choose another engine."
        )
    return network


def _open_keras_head(path: Path) -> Any:
    graph = _import_graph()
    return _fill_graph(graph.build_head(), path, read=read_head, fill=graph.fill_head)


def _fill_graph(
    model: Any, path: Path, *, read: Callable[[Path], Any], fill: Callable[[Any, dict[str, Floats]], None]
) -> Any:
    if sniff_format(path) == "Keras":
        _import_graph().load_file(model, path)
    else:
        fill(model, export_arrays(read(path)))
    return model
