"""Runs the Keras graphs that the PyTorch network is measured against, and makes Keras test files.

The preprocessing here is the published one, written without the package's. Files are written as Keras 2 wrote the
published ones, which Keras 3 reads but no longer writes under such names. Importing this module loads TensorFlow
(seconds), so tests import it inside a fixture.
Source: the Keras graph of EMO-AffectNet (Ryumina, Dresvyanskiy, Karpov, 2022), which follows rcmalli/keras-vggface.
"""

import os
from collections.abc import Callable, Mapping
from pathlib import Path

import h5py
import numpy as np
from torch import Tensor

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")  # no start-up notes; TensorFlow reads it when it is imported

import keras  # noqa: E402

from emo_affectnet import keras_graph  # noqa: E402
from emo_affectnet.keras_graph import build_backbone, build_head  # noqa: E402, F401

Layers = dict[str, dict[str, np.ndarray]]  # layer name: its weights by name

MEAN_BGR = (91.4953, 103.8827, 131.0912)  # VGGFace2, grey levels 0-255


def preprocess(crops: np.ndarray) -> np.ndarray:
    """Return float32 (B, S, S, 3), BGR minus the mean, from RGB crops uint8 (B, S, S, 3)."""
    return crops[..., ::-1].astype(np.float32) - np.array(MEAN_BGR, dtype=np.float32)


def run_backbone(model: keras.Model, crops: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return features (B, 512) and probabilities (B, 7) of RGB crops uint8 (B, S, S, 3)."""
    both = keras.Model(model.input, [model.get_layer("features").output, model.output])
    features, probabilities = both(preprocess(crops), training=False)
    return features.numpy(), probabilities.numpy()


def fill_backbone(model: keras.Model, state: Mapping[str, Tensor]) -> None:
    """Copy a `ResNet50` state dict into the layers of `build_backbone` by their names."""
    keras_graph.fill_backbone(model, {name: tensor.numpy() for name, tensor in state.items()})


def fill_head(model: keras.Model, state: Mapping[str, Tensor]) -> None:
    """Copy an `LSTMHead` state dict into the layers of `build_head` by their names."""
    keras_graph.fill_head(model, {name: tensor.numpy() for name, tensor in state.items()})


def list_weights(model: keras.Model) -> Layers:
    """Return a model's weights in the order of `model.layers`, which is that of its files, named `kernel` and so on."""
    return {layer.name: {weight.name: weight.numpy() for weight in layer.weights} for layer in model.layers}


def name_as_vggface(layers: Layers) -> Layers:
    """Name the layers as keras-vggface does: `conv1/7x7_s2`, `conv2_1_3x3/bn`; the last Dense as Keras 2 would."""
    renamed = {name.replace("conv1_7x7", "conv1/7x7"): weights for name, weights in layers.items()}
    renamed = {name.removesuffix("_bn") + "/bn" * name.endswith("_bn"): value for name, value in renamed.items()}
    return {name.replace("probabilities", "dense_4"): weights for name, weights in renamed.items()}


def write_keras_2(
    path: Path,
    layers: Layers,
    *,
    name_weight: Callable[[str, str], str] = "{0}/{1}:0".format,
    is_whole_model: bool = False,
    parts: int = 1,
) -> None:
    """Write weights as Keras 2 did, which Keras 3 still reads: a group per layer, its names in attributes.

    A whole model has them in a group `model_weights` beside its description. A list of names too long for one
    attribute stands in several; `parts` says in how many.
    """
    with h5py.File(path, "w") as file:
        root = file.create_group("model_weights") if is_whole_model else file
        if is_whole_model:
            file.attrs["model_config"] = b'{"class_name": "Functional", "config": {}}'
        root.attrs.update({"backend": b"tensorflow", "keras_version": b"2.9.0"})
        _write_names(root, "layer_names", list(layers), parts=parts)
        root.create_group("top_level_model_weights").attrs["weight_names"] = np.array([], "S1")
        for layer, weights in layers.items():
            group, names = root.require_group(layer), [name_weight(layer, weight) for weight in weights]
            _write_names(group, "weight_names", names, parts=1)
            for name, weight in zip(names, weights.values(), strict=True):
                group[name] = weight


def _write_names(group: h5py.Group, attribute: str, names: list[str], *, parts: int) -> None:
    for number, part in enumerate(np.array_split(np.array([name.encode() for name in names], "S"), parts)):
        group.attrs[attribute if parts == 1 else f"{attribute}{number}"] = part
