"""The published network as Keras graphs: what the PyTorch port is measured against, and a maker of Keras test files.

Written from the published layer table, in which layer names carry `_` where keras-vggface has `/`; only the last
Dense has no published name and is called `probabilities` here. Importing this module loads TensorFlow (seconds), so
tests import it inside a fixture.
Source: the Keras graph of EMO-AffectNet (Ryumina, Dresvyanskiy, Karpov, 2022), which follows rcmalli/keras-vggface.
"""

import os
from collections.abc import Mapping

import numpy as np
from torch import Tensor

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")  # no start-up notes; TensorFlow reads it when it is imported

import keras  # noqa: E402
from keras import layers  # noqa: E402

EMOTIONS = 7
WINDOW = 10  # samples
STAGES = {2: (3, 64, 1), 3: (4, 128, 2), 4: (6, 256, 2), 5: (3, 512, 2)}  # stage: blocks, filters, stride of block 1
MEAN_BGR = (91.4953, 103.8827, 131.0912)  # VGGFace2, grey levels 0-255
BLOCK_SOURCES = {  # Keras name: PyTorch convolution, PyTorch batch norm
    "1x1_reduce": ("conv1", "batch_norm1"),
    "3x3": ("conv2", "batch_norm2"),
    "1x1_increase": ("conv3", "batch_norm3"),
    "1x1_proj": ("i_downsample.0", "i_downsample.1"),
}


def preprocess(crops: np.ndarray) -> np.ndarray:
    """Return float32 (B, S, S, 3), BGR minus the mean, from RGB crops uint8 (B, S, S, 3)."""
    return crops[..., ::-1].astype(np.float32) - np.array(MEAN_BGR, dtype=np.float32)


def build_backbone(size: int = 224) -> keras.Model:
    """Build the static classifier: (B, size, size, 3) to probabilities (B, 7); layer `features` gives (B, 512)."""
    image = keras.Input((size, size, 3))
    x = _convolve(image, 64, 7, strides=2, padding="same", name="conv1_7x7_s2")
    x = layers.Activation("relu")(x)
    x = layers.MaxPooling2D(3, strides=2)(x)  # (B, 55, 55, 64) at 224 px
    for stage, (blocks, filters, strides) in STAGES.items():
        for block in range(1, blocks + 1):
            x = _add_block(x, filters, strides=strides if block == 1 else 1, name=f"conv{stage}_{block}")
    x = layers.AveragePooling2D(x.shape[1:3], name="avg_pool")(x)  # 7x7 at 224 px
    x = layers.GlobalAveragePooling2D()(x)  # (B, 2048)
    x = layers.GaussianNoise(0.1)(x)
    x = layers.Dense(512, activation="relu", kernel_regularizer=keras.regularizers.L2(1e-4), name="features")(x)
    x = layers.Dropout(0.5)(x)
    x = layers.Dense(EMOTIONS, activation="softmax", name="probabilities")(x)
    return keras.Model(image, x, name="vggface_resnet50")


def run_backbone(model: keras.Model, crops: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return features (B, 512) and probabilities (B, 7) of RGB crops uint8 (B, S, S, 3)."""
    both = keras.Model(model.input, [model.get_layer("features").output, model.output])
    features, probabilities = both(preprocess(crops), training=False)
    return features.numpy(), probabilities.numpy()


def build_head() -> keras.Model:
    """Build the temporal head: windows (B, 10, 512) to probabilities (B, 7)."""
    windows = keras.Input((WINDOW, 512))
    x = layers.Masking(0.0)(windows)
    x = layers.LSTM(512, return_sequences=True, kernel_regularizer=keras.regularizers.L2(1e-3), name="lstm1")(x)
    x = layers.Dropout(0.2)(x)
    x = layers.LSTM(256, kernel_regularizer=keras.regularizers.L2(1e-3), name="lstm2")(x)
    x = layers.Dropout(0.2)(x)
    x = layers.Dense(EMOTIONS, activation="softmax", name="probabilities")(x)
    return keras.Model(windows, x)


def fill_backbone(model: keras.Model, state: Mapping[str, Tensor]) -> None:
    """Copy a `ResNet50` state dict into the layers of `build_backbone` by their names.

    Raises: ValueError if a tensor of the state dict finds no layer.
    """
    tensors = {name: tensor.numpy() for name, tensor in state.items() if not name.endswith("num_batches_tracked")}
    for layer, source in backbone_sources().items():
        model.get_layer(layer).set_weights(_take_weights(tensors, source))
    _refuse_leftovers(tensors)


def fill_head(model: keras.Model, state: Mapping[str, Tensor]) -> None:
    """Copy an `LSTMHead` state dict into the layers of `build_head` by their names.

    The gates stand in the same order in both; Keras has the sum of PyTorch's two biases.
    Raises: ValueError if a tensor of the state dict finds no layer.
    """
    tensors = {name: tensor.numpy() for name, tensor in state.items()}
    for lstm in ("lstm1", "lstm2"):
        kernel, recurrent = (tensors.pop(f"{lstm}.weight_{part}_l0").T for part in ("ih", "hh"))
        bias = tensors.pop(f"{lstm}.bias_ih_l0") + tensors.pop(f"{lstm}.bias_hh_l0")
        model.get_layer(lstm).set_weights([kernel, recurrent, bias])
    model.get_layer("probabilities").set_weights(_take_weights(tensors, "fc"))
    _refuse_leftovers(tensors)


def backbone_sources() -> dict[str, str]:
    """Return the PyTorch module that fills each Keras layer, by name."""
    sources = {"conv1_7x7_s2": "conv_layer_s2_same", "conv1_7x7_s2_bn": "batch_norm1"}
    for stage, (blocks, _, _) in STAGES.items():
        for block in range(1, blocks + 1):
            for part, (convolution, batch_norm) in BLOCK_SOURCES.items():
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


def _take_weights(tensors: dict[str, np.ndarray], source: str) -> list[np.ndarray]:
    """Take one module's arrays out of `tensors`, in the order and the axes of the Keras layer."""
    weight = tensors.pop(f"{source}.weight")
    if weight.ndim == 4:
        return [weight.transpose(2, 3, 1, 0)]  # OIHW to HWIO
    bias = tensors.pop(f"{source}.bias")
    if weight.ndim == 2:
        return [weight.T, bias]
    return [weight, bias, tensors.pop(f"{source}.running_mean"), tensors.pop(f"{source}.running_var")]


def _refuse_leftovers(tensors: dict[str, np.ndarray]) -> None:
    if tensors:
        raise ValueError(f"no Keras layer takes these tensors: {', '.join(sorted(tensors))}")
