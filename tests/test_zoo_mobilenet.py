"""MobileNet from a Keras file: against Keras' own graph, and every file that would compute something else."""

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import h5py
import numpy as np
import pytest
import torch
from sibling_files import random_mobilenet, save_mobilenet

from emo_affectnet.engines import normalize_crops, softmax
from emo_affectnet.errors import CorruptWeights, MissingWeights, WrongArchitecture
from emo_affectnet.zoo.hsemotion import SIBLINGS, SiblingEngine
from emo_affectnet.zoo.mobilenet import KerasMobileNet, read_mobilenet

if TYPE_CHECKING:
    import keras

SIBLING = SIBLINGS["mobilenet_7"]
PARAMETERS = 3_493_063  # of the published file, without the counters of PyTorch's batch norms


def describe(padding: str = "[[0, 1], [0, 1]]", activation: str = "relu") -> str:
    """Return the two words of a model's description that are looked up, as Keras writes them."""
    layers = [
        {"class_name": "ZeroPadding2D", "config": {"name": "conv1_pad", "padding": json.loads(padding)}},
        {"class_name": "Dense", "config": {"name": "feats", "units": 256, "activation": activation}},
        {"class_name": "Dense", "config": {"name": "emotion_preds", "units": 7, "activation": "softmax"}},
    ]
    return json.dumps({"class_name": "Functional", "config": {"name": "model_1", "layers": layers}})


@pytest.fixture(scope="module")
def crops() -> np.ndarray:
    """Two pictures of coloured squares of 28 px: of mere noise, all pictures have the same features."""
    squares = np.random.default_rng(3).integers(0, 256, (2, 8, 8, 3), np.uint8)
    return squares.repeat(28, axis=1).repeat(28, axis=2)


@pytest.fixture(scope="module", params=["[[0, 1], [0, 1]]", "[[1, 1], [1, 1]]"], ids=["newer", "older"])
def keras_model(request: pytest.FixtureRequest, crops: np.ndarray) -> "keras.Model":
    """The published graph with random weights: as Keras builds it, or padded on all sides as Keras 2.1 did."""
    from keras_reference import keras  # which quiets TensorFlow

    layers = keras.layers

    keras.utils.set_random_seed(0)
    body = keras.applications.MobileNet(input_shape=(224, 224, 3), include_top=False, weights=None)
    x = layers.GlobalAveragePooling2D(name="global_pooling")(body.output)
    x = layers.Dense(256, activation="relu", name="feats")(layers.Dropout(0.5)(x))
    model = keras.Model(body.input, layers.Dense(7, activation="softmax", name="emotion_preds")(x))
    if request.param == "[[1, 1], [1, 1]]":
        model = _pad_all_sides(model)
    random = np.random.default_rng(0)
    norms = [layer for layer in model.layers if isinstance(layer, layers.BatchNormalization)]
    for norm in norms:
        norm.gamma.assign(random.uniform(1, 3, norm.gamma.shape))  # wide enough to reach the 6 of the ReLU
        norm.beta.assign(random.uniform(-1, 1, norm.beta.shape))
        norm.momentum = 0  # takes over the statistics of the next batch
    model(normalize_crops(crops, SIBLING.preprocessing).transpose(0, 2, 3, 1), training=True)
    return model


def _pad_all_sides(model: "keras.Model") -> "keras.Model":
    """Return the same layers with ZeroPadding2D(1) before each stride of 2."""
    import keras
    from keras import layers

    x = model.input
    for layer in model.layers[1:]:
        if isinstance(layer, layers.ZeroPadding2D):
            continue
        settings = layer.get_config()
        if settings.get("strides") in ((2, 2), [2, 2]):
            x = layers.ZeroPadding2D(1, name=f"{layer.name}_pad")(x)
            settings["padding"] = "valid"
        x = type(layer).from_config(settings)(x)
    return keras.Model(model.input, x)


def run_keras(model: "keras.Model", x: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return features and probabilities of network inputs (N, 3, 224, 224)."""
    import keras

    both = keras.Model(model.input, [model.get_layer("global_pooling").output, model.output])
    features, probabilities = both(x.transpose(0, 2, 3, 1), training=False)
    return features.numpy(), probabilities.numpy()


@pytest.mark.filterwarnings("ignore::DeprecationWarning:keras")
def test_numbers_are_those_of_keras(tmp_path: Path, keras_model: "keras.Model", crops: np.ndarray) -> None:
    path = tmp_path / "mobilenet_7.h5"
    keras_model.save(path)
    engine = SiblingEngine(path, SIBLING)
    features = engine.embed(crops)
    expected, probabilities = run_keras(keras_model, normalize_crops(crops, SIBLING.preprocessing))
    assert keras_model.count_params() == PARAMETERS
    assert np.abs(expected[0] - expected[1]).max() > 1  # else hardly anything would be compared
    np.testing.assert_allclose(features, expected, rtol=1e-4, atol=1e-4)
    np.testing.assert_allclose(softmax(engine.score(features)), probabilities, rtol=1e-4, atol=1e-5)


def test_two_paddings_give_other_numbers(crops: np.ndarray) -> None:
    # So that the parity above does tell them apart.
    one, two = (random_mobilenet(pads_evenly=pads_evenly) for pads_evenly in (False, True))
    x = torch.from_numpy(normalize_crops(crops, SIBLING.preprocessing))
    with torch.inference_mode():
        assert (one.features(x) - two.features(x)).abs().max() > 0.01


def test_network_has_as_many_parameters_as_the_published_file() -> None:
    state = random_mobilenet().state_dict()
    assert sum(tensor.numel() for name, tensor in state.items() if "num_batches" not in name) == PARAMETERS


def pads_evenly(network: torch.nn.Module, layer: str) -> bool:
    """Whether a convolution pads all sides alike: its outputs at the first and last pixel then see as many inputs."""
    convolution = network.layers[layer].convolution
    x = torch.ones(1, convolution.in_channels, 8, 8)
    torch.nn.init.ones_(convolution.weight)
    with torch.inference_mode():
        y = convolution(x)
    return bool(y[0, 0, 0, 0] < convolution.weight[0].numel())


@pytest.mark.parametrize("padding", ["[[0, 1], [0, 1]]", "[[1, 1], [1, 1]]"])
@pytest.mark.parametrize("activation", ["relu", "linear"])
def test_description_in_the_file_decides(tmp_path: Path, padding: str, activation: str) -> None:
    path = tmp_path / "mobilenet_7.h5"
    save_mobilenet(path, random_mobilenet(), description=describe(padding, activation))
    network = read_mobilenet(path)
    assert pads_evenly(network, "conv1") == pads_evenly(network, "conv_dw_2") == (padding[2] == "1")
    assert pads_evenly(network, "conv_dw_1")  # a stride of 1 always does
    features = torch.randn(4, 1024)
    hidden = network.denses["feats"](features)
    hidden = torch.relu(hidden) if activation == "relu" else hidden
    torch.testing.assert_close(network.classify(features), network.denses["emotion_preds"](hidden))


def test_file_without_description_is_taken_for_newer(tmp_path: Path) -> None:
    network = read_mobilenet(save_mobilenet(tmp_path / "mobilenet_7.h5", random_mobilenet()))
    assert not pads_evenly(network, "conv1")
    assert network.is_hidden_relu
    assert not network.training


def test_weights_arrive_unchanged(tmp_path: Path, crops: np.ndarray) -> None:
    network = random_mobilenet(seed=1)
    read = KerasMobileNet(save_mobilenet(tmp_path / "mobilenet_7.h5", network))
    x = normalize_crops(crops, SIBLING.preprocessing)
    with torch.inference_mode():
        expected = network.features(torch.from_numpy(x))
        logits = network.classify(expected)
    features = read.embed(x)
    np.testing.assert_array_equal(features, expected.numpy())
    np.testing.assert_array_equal(read.score(features), logits.numpy())


@pytest.mark.parametrize(
    ("padding", "activation", "words"),
    [
        ("[[0, 1], [1, 0]]", "relu", "but it pads [[0, 1], [1, 0]] and has relu"),
        ("[[0, 1], [0, 1]]", "tanh", "but it pads [[0, 1], [0, 1]] and has tanh"),
    ],
)
def test_other_arithmetic_is_refused(tmp_path: Path, padding: str, activation: str, words: str) -> None:
    path = tmp_path / "mobilenet_7.h5"
    save_mobilenet(path, random_mobilenet(), description=describe(padding, activation))
    with pytest.raises(WrongArchitecture) as caught:
        read_mobilenet(path)
    assert str(caught.value).startswith(f"{path} should be a MobileNet that pads ")
    assert words in str(caught.value)


def test_two_paddings_in_one_file_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "mobilenet_7.h5"
    save_mobilenet(path, random_mobilenet(), description=describe() + describe("[[1, 1], [1, 1]]"))
    with pytest.raises(WrongArchitecture, match=r"but it pads \[\[0, 1\], \[0, 1\]\], \[\[1, 1\], \[1, 1\]\] and"):
        read_mobilenet(path)


def remove(file: h5py.File, layer: str) -> None:
    root = file["model_weights"]
    root.attrs["layer_names"] = [name for name in root.attrs["layer_names"] if name != layer.encode()]


def reshape(file: h5py.File, place: str, shape: tuple[int, ...]) -> None:
    del file["model_weights"][place]
    file["model_weights"].create_dataset(place, data=np.ones(shape, np.float32))


def double_kernel(file: h5py.File) -> None:
    group = file["model_weights/conv1"]
    group["conv1"].create_dataset("again:0", data=np.ones((3, 3, 3, 32), np.float32))
    group.attrs["weight_names"] = [b"conv1/kernel:0", b"conv1/again:0"]


def add_layer(file: h5py.File) -> None:
    group = file["model_weights/global_pooling"]
    group.create_dataset("scale:0", data=np.ones(1024, np.float32))
    group.attrs["weight_names"] = [b"scale:0"]


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda file: remove(file, "conv_dw_3_bn"), "it has 55; 1 are missing or of another shape, 0 are unknown"),
        (
            lambda file: reshape(file, "emotion_preds/emotion_preds/kernel:0", (256, 8)),
            "with 56 layers that have weights, but it has 56; 1 are missing or of another shape",
        ),
        (
            lambda file: reshape(file, "conv_dw_1/conv_dw_1/depthwise_kernel:0", (3, 3, 32, 2)),
            "(first: conv_dw_1). Give mobilenet_7.h5.",
        ),
        (double_kernel, "it has 56; 1 are missing or of another shape, 0 are unknown (first: conv1)"),
        (add_layer, "it has 57; 0 are missing or of another shape, 1 are unknown (first: global_pooling)"),
    ],
    ids=["missing", "eight classes", "two per channel", "two kernels", "further layer"],
)  # fmt: skip
def test_another_network_is_refused(tmp_path: Path, change: Any, words: str) -> None:
    path = save_mobilenet(tmp_path / "other.h5", random_mobilenet())
    with h5py.File(path, "r+") as file:
        change(file)
    with pytest.raises(WrongArchitecture) as caught:
        read_mobilenet(path)
    assert str(caught.value).startswith(f"{path} should be Keras' MobileNet for 7 emotions ")
    assert words in str(caught.value)


def test_other_files_are_told_apart(tmp_path: Path) -> None:
    with pytest.raises(MissingWeights, match="but there is none"):
        read_mobilenet(tmp_path / "mobilenet_7.h5")
    (tmp_path / "cut.h5").write_bytes(b"\x89HDF\r\n\x1a\n and no more")
    with pytest.raises(CorruptWeights, match="it is damaged or cut short"):
        read_mobilenet(tmp_path / "cut.h5")
    torch.save({"weight": torch.zeros(2)}, tmp_path / "state.h5")
    with pytest.raises(WrongArchitecture, match="should be a Keras file"):
        read_mobilenet(tmp_path / "state.h5")
