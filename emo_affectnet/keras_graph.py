"""The published network as Keras graphs, as its authors built it: what the engine `tensorflow` runs.

Written from the published layer table, in which layer names carry `_` where keras-vggface has `/`; only the last
Dense has no published name and is called `probabilities` here. Importing this module loads TensorFlow, which takes
seconds. Tests measure the PyTorch network against it.
Source: the Keras graph of EMO-AffectNet (Ryumina, Dresvyanskiy, Karpov, 2022), which follows rcmalli/keras-vggface.
"""

from collections.abc import Mapping
from pathlib import Path

import keras
import numpy as np
import numpy.typing as npt
from keras import layers

from .emotions import Emotion
from .errors import WrongArchitecture
from .keras_files import BLOCK, STAGES
from .timeline import WINDOW

Arrays = Mapping[str, npt.NDArray[np.float32]]


def build_backbone(size: int = 224) -> keras.Model:
    """Build the static classifier: (B, size, size, 3) to probabilities (B, 7); layer `features` gives (B, 512)."""
    image = keras.Input((size, size, 3))
    x = _convolve(image, 64, 7, strides=2, padding="same", name="conv1_7x7_s2")
    x = layers.Activation("relu")(x)
    x = layers.MaxPooling2D(3, strides=2)(x)  # (B, 55, 55, 64) at 224 px
    for stage, (blocks, filters) in enumerate(STAGES, start=2):
        for block in range(1, blocks + 1):
            strides = 2 if block == 1 and stage > 2 else 1
            x = _add_block(x, filters, strides=strides, name=f"conv{stage}_{block}")
    x = layers.AveragePooling2D(x.shape[1:3], name="avg_pool")(x)  # 7x7 at 224 px
    x = layers.GlobalAveragePooling2D()(x)  # (B, 2048)
    x = layers.GaussianNoise(0.1)(x)
    x = layers.Dense(512, activation="relu", kernel_regularizer=keras.regularizers.L2(1e-4), name="features")(x)
    x = layers.Dropout(0.5)(x)
    x = layers.Dense(len(Emotion), activation="softmax", name="probabilities")(x)
    return keras.Model(image, x, name="vggface_resnet50")


def build_head() -> keras.Model:
    """Build the temporal head: windows (B, 10, 512) to probabilities (B, 7)."""
    windows = keras.Input((WINDOW, 512))
    x = layers.Masking(0.0)(windows)
    x = layers.LSTM(512, return_sequences=True, kernel_regularizer=keras.regularizers.L2(1e-3), name="lstm1")(x)
    x = layers.Dropout(0.2)(x)
    x = layers.LSTM(256, kernel_regularizer=keras.regularizers.L2(1e-3), name="lstm2")(x)
    x = layers.Dropout(0.2)(x)
    x = layers.Dense(len(Emotion), activation="softmax", name="probabilities")(x)
    return keras.Model(windows, x)


def load_file(model: keras.Model, path: Path) -> None:
    """Fill a graph from a Keras file by Keras' own reader, which goes by the order of the layers.

    Raises:
        WrongArchitecture: the file is another network's.
    """
    try:
        model.load_weights(path)
    except (ValueError, KeyError, OSError) as error:
        raise WrongArchitecture(
            f"{path} should be a Keras file with the weights of {model.name}, but Keras cannot read it as one: "
            f"{str(error).splitlines()[0]} Give another file."
        ) from error


def fill_backbone(model: keras.Model, arrays: Arrays) -> None:
    """Copy arrays under the names of a `ResNet50` state dict into the layers of `build_backbone`."""
    for layer, source in _name_sources().items():
        model.get_layer(layer).set_weights(_take_weights(arrays, source))


def fill_head(model: keras.Model, arrays: Arrays) -> None:
    """Copy arrays under the names of an `LSTMHead` state dict into the layers of `build_head`.

    The gates stand in the same order in both; Keras has the sum of PyTorch's two biases.
    """
    for lstm in ("lstm1", "lstm2"):
        kernel, recurrent = (arrays[f"{lstm}.weight_{part}_l0"].T for part in ("ih", "hh"))
        bias = arrays[f"{lstm}.bias_ih_l0"] + arrays[f"{lstm}.bias_hh_l0"]
        model.get_layer(lstm).set_weights([kernel, recurrent, bias])
    model.get_layer("probabilities").set_weights(_take_weights(arrays, "fc"))


def _name_sources() -> dict[str, str]:
    """Return the PyTorch module that fills each Keras layer, by name."""
    sources = {"conv1_7x7_s2": "conv_layer_s2_same", "conv1_7x7_s2_bn": "batch_norm1"}
    for stage, (blocks, _) in enumerate(STAGES, start=2):
        for block in range(1, blocks + 1):
            for part, convolution, batch_norm in BLOCK:
                if part == "1x1_proj" and block > 1:
                    continue
                name, module = f"conv{stage}_{block}_{part}", f"layer{stage - 1}.{block - 1}"
                sources |= {name: f"{module}.{convolution}", f"{name}_bn": f"{module}.{batch_norm}"}
    return sources | {"features": "fc1", "probabilities": "fc2"}


def _convolve(x: keras.KerasTensor, filters: int, kernel: int, *, name: str, **options: object) -> keras.KerasTensor:
    x = layers.Conv2D(filters, kernel, use_bias=False, name=name, **options)(x)
    return layers.BatchNormalization(axis=3, momentum=0.99, epsilon=1e-3, name=f"{name}_bn")(x)


def _add_block(entry: keras.KerasTensor, filters: int, *, strides: int, name: str) -> keras.KerasTensor:
    x = _convolve(entry, filters, 1, strides=strides, name=f"{name}_1x1_reduce")
    x = layers.Activation("relu")(x)
    x = _convolve(x, filters, 3, padding="same", name=f"{name}_3x3")
    x = layers.Activation("relu")(x)
    x = _convolve(x, 4 * filters, 1, name=f"{name}_1x1_increase")
    if name.endswith("_1"):
        entry = _convolve(entry, 4 * filters, 1, strides=strides, name=f"{name}_1x1_proj")
    return layers.Activation("relu")(layers.add([x, entry]))


def _take_weights(arrays: Arrays, source: str) -> list[npt.NDArray[np.float32]]:
    """Return one module's arrays in the order and the axes of the Keras layer."""
    weight = arrays[f"{source}.weight"]
    if weight.ndim == 4:
        return [weight.transpose(2, 3, 1, 0)]  # OIHW to HWIO
    bias = arrays[f"{source}.bias"]
    if weight.ndim == 2:
        return [weight.T, bias]
    return [weight, bias, arrays[f"{source}.running_mean"], arrays[f"{source}.running_var"]]
