"""Keras files of every layout give the arrays that went in, and what is not the published network has its sentence.

Files are written by Keras itself where it still writes a layout, and by h5py where only Keras 2 did; Keras then proves
that such a file is one by loading it.
"""

import re
from collections.abc import Callable
from pathlib import Path
from types import ModuleType

import h5py
import numpy as np
import pytest
import torch
from torch import nn

from emo_affectnet.engines import normalize_crops
from emo_affectnet.errors import CorruptWeights, MissingWeights, WeightsError, WrongArchitecture
from emo_affectnet.keras_files import read_backbone_arrays, read_head_arrays, read_layers
from emo_affectnet.models import LSTMHead, ResNet50
from emo_affectnet.weights import PUBLISHED_PREPROCESSING

SIZE = 64  # px: small crops cost little
Layers = dict[str, dict[str, np.ndarray]]
READERS = {"backbone": read_backbone_arrays, "head": read_head_arrays}


pytestmark = pytest.mark.usefixtures("one_thread")


@pytest.fixture(scope="module")
def reference() -> ModuleType:
    import keras_reference

    return keras_reference


@pytest.fixture(scope="module")
def crops() -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (3, SIZE, SIZE, 3), np.uint8)


@pytest.fixture(scope="module")
def networks(crops: np.ndarray) -> dict[str, nn.Module]:
    """A backbone and a head of random weights; the batch norms have statistics of the crops, each a little off."""
    torch.manual_seed(3)
    draft, head = ResNet50(), LSTMHead()
    norms = [module for module in draft.modules() if isinstance(module, nn.BatchNorm2d)]
    for norm in norms:
        nn.init.uniform_(norm.weight, 0.5, 1.5)
        nn.init.normal_(norm.bias, std=0.3)
        norm.momentum = 1.0  # one batch sets the statistics
    with torch.no_grad():
        draft.train().features(torch.from_numpy(normalize_crops(crops, PUBLISHED_PREPROCESSING)))
        for norm in norms:
            norm.running_var *= torch.empty(norm.num_features).uniform_(0.5, 2.0)
    for lstm in (head.lstm1, head.lstm2):
        nn.init.zeros_(lstm.bias_hh_l0)  # Keras has one bias
    nn.init.normal_(head.fc.weight, std=0.5)
    return {"backbone": draft.eval(), "head": head.eval()}


@pytest.fixture(scope="module")
def states(networks: dict[str, nn.Module]) -> dict[str, dict[str, np.ndarray]]:
    return {
        kind: {name: value.numpy() for name, value in network.state_dict().items() if "tracked" not in name}
        for kind, network in networks.items()
    }


@pytest.fixture(scope="module")
def models(reference: ModuleType, networks: dict[str, nn.Module]) -> dict[str, object]:
    """Keras' own graphs with the same weights."""
    backbone, head = reference.build_backbone(SIZE), reference.build_head()
    reference.fill_backbone(backbone, networks["backbone"].state_dict())
    reference.fill_head(head, networks["head"].state_dict())
    return {"backbone": backbone, "head": head}


@pytest.fixture(scope="module")
def layers(reference: ModuleType, models: dict[str, object]) -> dict[str, Layers]:
    """The weights of both, in Keras' order."""
    return {kind: reference.list_weights(model) for kind, model in models.items()}


def number(layers: Layers) -> Layers:
    """Name every layer as Keras names one that was given no name, as the hundredth or so of its session."""
    classes = {1: "conv2d", 2: "dense", 3: "lstm", 4: "batch_normalization", 0: "activation"}
    return {f"{classes[len(weights)]}_{i + 97}": weights for i, weights in enumerate(layers.values())}


def put_in_one(layers: Layers) -> Layers:
    """Make one layer of all but the Dense ones, as of a model in a model: what is trained stands first."""
    inner = {f"{layer}/{name}": value for layer, weights in layers.items() for name, value in weights.items()}
    inner = {name: value for name, value in inner.items() if not name.startswith(("features", "probabilities"))}
    trained = {name: value for name, value in inner.items() if "moving" not in name}
    outer = {layer: layers[layer] for layer in ("features", "probabilities") if layer in layers}
    return {"vggface_resnet50": trained | inner} | outer


def turn_around(layers: Layers) -> Layers:
    """List layers and weights backwards, all but layers of one kind that have no published name."""
    unnamed = {name: weights for name, weights in layers.items() if "conv" not in name}
    named = {name: dict(reversed(weights.items())) for name, weights in layers.items() if "conv" in name}
    return unnamed | dict(reversed(named.items()))


def name_by_cell(layer: str, weight: str) -> str:
    return f"{layer}/lstm_cell_3/{weight}:0" if "lstm" in layer else f"{layer}_2/{weight}:0"


WRITE: dict[str, Callable[..., None]] = {
    "Keras 3, whole model": lambda k, model, layers, path: model.save(path),
    "Keras 3, weights": lambda k, model, layers, path: model.save_weights(path),
    "Keras 2, underscores": lambda k, model, layers, path: k.write_keras_2(path, layers),
    "Keras 2, slashes": lambda k, model, layers, path: k.write_keras_2(path, k.name_as_vggface(layers)),
    "Keras 2, whole model": lambda k, model, layers, path: k.write_keras_2(
        path, k.name_as_vggface(layers), is_whole_model=True
    ),
    "names without :0": lambda k, model, layers, path: k.write_keras_2(path, layers, name_weight="{0}/{1}".format),
    "names of the second in a session": lambda k, model, layers, path: k.write_keras_2(
        path, layers, name_weight=name_by_cell
    ),
    "bare names": lambda k, model, layers, path: k.write_keras_2(path, layers, name_weight="{1}".format),
    "numbered names": lambda k, model, layers, path: k.write_keras_2(path, number(layers)),
    "a long list in parts": lambda k, model, layers, path: k.write_keras_2(path, layers, parts=3),
    "a model in a model": lambda k, model, layers, path: k.write_keras_2(
        path, put_in_one(layers), name_weight=lambda layer, weight: f"{weight}:0"
    ),
    "another order of names": lambda k, model, layers, path: k.write_keras_2(path, turn_around(layers)),
}


@pytest.mark.filterwarnings("ignore:You are saving your model as an HDF5 file:UserWarning")
@pytest.mark.parametrize("kind", READERS)
@pytest.mark.parametrize("layout", WRITE)
def test_every_layout_gives_the_arrays_that_went_in(
    layout: str, kind: str, reference: ModuleType, models, layers, states, tmp_path: Path
) -> None:
    path = tmp_path / ("a.weights.h5" if layout == "Keras 3, weights" else "a.h5")
    WRITE[layout](reference, models[kind], layers[kind], path)
    arrays = READERS[kind](path)
    assert list(arrays) == list(states[kind])
    for name, expected in states[kind].items():
        assert arrays[name].dtype == np.float32
        assert arrays[name].flags.c_contiguous
        np.testing.assert_array_equal(arrays[name], expected, err_msg=name)


@pytest.mark.parametrize("dtype", ["float16", "float64"])
def test_other_floats_become_float32(dtype: str, reference: ModuleType, layers, states, tmp_path: Path) -> None:
    stored = {name: {key: value.astype(dtype) for key, value in w.items()} for name, w in layers["head"].items()}
    reference.write_keras_2(tmp_path / "head.h5", stored)
    for name, array in read_head_arrays(tmp_path / "head.h5").items():
        assert array.dtype == np.float32
        np.testing.assert_array_equal(array, states["head"][name].astype(dtype).astype(np.float32))


def test_keras_itself_loads_a_file_of_keras_2_by_order(reference: ModuleType, layers, tmp_path: Path) -> None:
    reference.write_keras_2(tmp_path / "a.h5", number(layers["backbone"]))
    fresh = reference.build_backbone(SIZE)
    fresh.load_weights(tmp_path / "a.h5")
    loaded = reference.list_weights(fresh)
    for layer, weights in layers["backbone"].items():
        for name, value in weights.items():
            np.testing.assert_array_equal(loaded[layer][name], value)


def test_a_backbone_from_a_keras_file_computes_what_the_keras_graph_does(
    reference: ModuleType, models, layers, crops, tmp_path: Path
) -> None:
    reference.write_keras_2(tmp_path / "a.h5", reference.name_as_vggface(layers["backbone"]), is_whole_model=True)
    expected_features, expected = reference.run_backbone(models["backbone"], crops)
    network = fill(ResNet50(), read_backbone_arrays(tmp_path / "a.h5"))
    with torch.inference_mode():
        features = network.features(torch.from_numpy(normalize_crops(crops, PUBLISHED_PREPROCESSING)))
        probabilities = torch.softmax(network.fc2(features), dim=1)
    assert expected_features.max() > 0.5  # alive, and no two faces alike, so that agreement means something
    assert np.abs(expected_features[0] - expected_features[1]).max() > 0.1 * expected_features.max()
    tolerance = 1e-4 * float(expected_features.max())
    np.testing.assert_allclose(features.numpy(), expected_features, rtol=0, atol=tolerance)
    np.testing.assert_allclose(probabilities.numpy(), expected, rtol=0, atol=1e-5)  # 53 sums in another order


def test_a_head_from_a_keras_file_computes_what_the_keras_graph_does(
    reference: ModuleType, models, layers, tmp_path: Path
) -> None:
    reference.write_keras_2(tmp_path / "a.h5", number(layers["head"]), name_weight=name_by_cell, is_whole_model=True)
    windows = (
        np.maximum(np.random.default_rng(1).normal(size=(8, 10, 512)), 0) * np.geomspace(0.1, 10, 8)[:, None, None]
    )
    windows = windows.astype(np.float32)
    expected = models["head"](windows, training=False).numpy()
    with torch.inference_mode():
        came = fill(LSTMHead(), read_head_arrays(tmp_path / "a.h5"))(torch.from_numpy(windows)).numpy()
    assert expected.max() > 0.3  # spread
    np.testing.assert_allclose(came, expected, rtol=0, atol=1e-6)


def fill(network: nn.Module, arrays: dict[str, np.ndarray]) -> nn.Module:
    network.load_state_dict({name: torch.from_numpy(array) for name, array in arrays.items()}, strict=True)
    return network.eval()


def test_layers_of_any_network_come_in_file_order(reference: ModuleType, tmp_path: Path) -> None:
    random = np.random.default_rng(2)
    stored = {  # as in HSEmotion's engagement network, small
        "e": {"kernel": random.random((6, 1), np.float32), "bias": random.random(1, np.float32)},
        "alpha": {},
        "hidden_FC": {"kernel": random.random((6, 4), np.float32), "bias": random.random(4, np.float32)},
        "dense": {"kernel": random.random((4, 2), np.float32), "bias": random.random(2, np.float32)},
    }
    reference.write_keras_2(tmp_path / "a.h5", stored)
    layers = read_layers(tmp_path / "a.h5")
    assert list(layers) == ["e", "hidden_FC", "dense"]
    for name, weights in layers.items():
        for came, expected in zip(weights, stored[name].values(), strict=True):
            np.testing.assert_array_equal(came, expected)


def test_the_own_layout_of_keras_3_counts_past_nine(reference, tmp_path: Path) -> None:
    path = tmp_path / "a.weights.h5"
    image = reference.keras.Input((4,))
    x = image
    for index in range(12):
        x = reference.keras.layers.Dense(4, name=f"step_{index}")(x)
    model = reference.keras.Model(image, x)
    model.save_weights(path)
    layers = read_layers(path)
    assert list(layers) == [f"step_{index}" for index in range(12)]
    for index, weights in enumerate(layers.values()):
        np.testing.assert_array_equal(weights[0], model.get_layer(f"step_{index}").kernel.numpy())


def drop(name: str) -> Callable[[Layers], Layers]:
    return lambda layers: {layer: weights for layer, weights in layers.items() if layer != name}


def replace(name: str, **arrays: np.ndarray) -> Callable[[Layers], Layers]:
    return lambda layers: {layer: weights | (arrays if layer == name else {}) for layer, weights in layers.items()}


def test_a_model_in_a_model_of_keras_3_is_looked_into(reference: ModuleType, models, states, tmp_path: Path) -> None:
    keras, inner = reference.keras, models["head"]
    windows = keras.Input((10, 512))
    keras.Model(windows, inner(windows)).save_weights(tmp_path / "a.weights.h5")
    arrays = read_head_arrays(tmp_path / "a.weights.h5")
    assert list(arrays) == list(states["head"])
    for name, array in arrays.items():
        np.testing.assert_array_equal(array, states["head"][name])


def shapes(expected: tuple[int, ...], came: tuple[int, ...]) -> str:
    return re.escape(f"of {expected}, but it is of {came}. Give weights of this network")


BACKBONE = "backbone with 53 convolutions, 53 batch norms, 2 Dense layers"
HEAD = "head with 2 LSTMs, 1 Dense layer"
GOOD = {  # by what is asked for: the other kind
    "a head for a backbone": ("head", "backbone", f"Keras {BACKBONE}, but it is a {HEAD}. Give a backbone here"),
    "a backbone for a head": ("backbone", "head", f"Keras {HEAD}, but it is a {BACKBONE}. Give a head here"),
}
COUNTS = {
    "a convolution too few": ("backbone", drop("conv5_3_3x3"), "another network with 52 convolutions, 53 batch"),
    "no last layer": ("head", drop("probabilities"), "another network with 2 LSTMs. Give a head here"),
    "a layer too many": ("head", lambda w: w | {"more": {"scale": np.ones(3)}}, "1 Dense layer, 1 other layer"),
}
SHAPES = {
    "a small stem": (
        "backbone",
        replace("conv1_7x7_s2", kernel=np.ones((3, 3, 3, 64))),
        "conv1_7x7_s2 has a kernel " + shapes((7, 7, 3, 64), (3, 3, 3, 64)),
    ),
    "a short norm": (
        "backbone",
        replace("conv2_1_3x3_bn", moving_mean=np.ones(63)),
        "conv2_1_3x3_bn has a moving_mean " + shapes((64,), (63,)),
    ),
    "eight classes": (
        "backbone",
        replace("probabilities", kernel=np.ones((512, 8)), bias=np.ones(8)),
        "probabilities has a kernel " + shapes((512, 7), (512, 8)),
    ),
    "a small LSTM": (
        "head",
        replace("lstm2", recurrent_kernel=np.ones((256, 512))),
        "lstm2 has a recurrent_kernel " + shapes((256, 1024), (256, 512)),
    ),
    "two biases, as for cuDNN": (
        "head",
        replace("lstm2", bias=np.ones(2048)),
        "lstm2 has a bias " + shapes((1024,), (2048,)),
    ),
}


@pytest.mark.parametrize("case", GOOD)
def test_the_other_kind_of_file_is_named_as_such(case: str, reference: ModuleType, layers, tmp_path: Path) -> None:
    kind, asked, sentence = GOOD[case]
    reference.write_keras_2(tmp_path / "a.h5", layers[kind])
    with pytest.raises(WrongArchitecture, match=rf"a\.h5 should be a {sentence}"):
        READERS[asked](tmp_path / "a.h5")


@pytest.mark.parametrize("case", COUNTS | SHAPES)
def test_another_network_is_refused(case: str, reference: ModuleType, layers, tmp_path: Path) -> None:
    kind, spoil, sentence = (COUNTS | SHAPES)[case]
    reference.write_keras_2(tmp_path / "a.h5", spoil(layers[kind]))
    with pytest.raises(WrongArchitecture, match=rf"a\.h5 should be a .*{sentence}"):
        READERS[kind](tmp_path / "a.h5")


def link_out(file: h5py.File) -> None:
    del file["dense/dense/kernel:0"]
    file["dense/dense/kernel:0"] = h5py.ExternalLink("/etc/other.h5", "/secret")


def store_elsewhere(file: h5py.File) -> None:
    del file["dense/dense/kernel:0"]
    file.create_dataset("dense/dense/kernel:0", (4, 2), "f4", external=[("/etc/hostname", 0, 32)])


def store_virtually(file: h5py.File) -> None:
    del file["dense/dense/kernel:0"]
    file.create_virtual_dataset("dense/dense/kernel:0", h5py.VirtualLayout((4, 2), "f4"))


def swell(file: h5py.File) -> None:
    del file["dense/dense/kernel:0"]
    file.create_dataset("dense/dense/kernel:0", (1 << 20, 1 << 20), "f4", chunks=(64, 64))


def put(value: object) -> Callable[[h5py.File], None]:
    def spoil(file: h5py.File) -> None:
        del file["dense/dense/bias:0"]
        file["dense/dense/bias:0"] = value

    return spoil


def set_attribute(name: str, value: object) -> Callable[[h5py.File], None]:
    return lambda file: file.attrs.create(name, value)


KERNEL, BIAS = "dense/dense/kernel:0", "dense/dense/bias:0"
NONE_THERE = "this HDF5 file holds none under layer_names or layers"
DAMAGED = {
    "not a number": (put(np.array([np.nan, 0])), f"finite floats, but /{BIAS} has values that are not finite"),
    "infinite in float32": (put(np.array([1e300, 0])), f"finite floats, but /{BIAS} has values that are not finite"),
    "integers": (put(np.array([1, 2])), f"finite floats, but /{BIAS} has values of type int64"),
    "text": (put(b"none"), f"finite floats, but /{BIAS} has values of type"),
    "a missing weight": (lambda file: file.pop(BIAS), f"{BIAS} is missing, or only a link"),
    "a missing layer": (lambda file: file.pop("dense"), "dense is missing, or only a link"),
    "a link out": (link_out, f"{KERNEL} is missing, or only a link"),
    "values in another file": (store_elsewhere, f"{KERNEL} lies in another file"),
    "values of another HDF5 file": (store_virtually, f"{KERNEL} lies in another file"),
    "no names": (lambda file: file.attrs.clear(), NONE_THERE),
    "no layers": (set_attribute("layer_names", np.array([], "S1")), NONE_THERE),
}
TRICKS = {
    "too much": (swell, r"holds 10995116277\d\d values, more than the 268435456 that are read"),
    "Theano": (set_attribute("backend", b"theano"), "stores its kernels turned about, as Theano"),
    "other gates": (set_attribute("model_config", b'{"recurrent_activation": "hard_sigmoid"}'), "hard_sigmoid gates"),
}


@pytest.fixture
def small(reference: ModuleType, tmp_path: Path) -> Path:
    """A Keras file of one Dense layer."""
    dense = {"kernel": np.random.default_rng(4).random((4, 2), np.float32), "bias": np.ones(2, np.float32)}
    reference.write_keras_2(tmp_path / "small.h5", {"dense": dense})
    return tmp_path / "small.h5"


@pytest.mark.parametrize("case", DAMAGED | TRICKS)
def test_damage_and_tricks_are_refused(case: str, small: Path) -> None:
    spoil, sentence = (DAMAGED | TRICKS)[case]
    with h5py.File(small, "r+") as file:
        spoil(file)
    with pytest.raises(CorruptWeights if case in DAMAGED else WrongArchitecture) as caught:
        read_layers(small)
    assert re.search(
        rf"small\.h5 should .*{sentence}.*(Get the file again|get the file again|Give .*)\.$", str(caught.value)
    )


def test_a_file_that_is_no_keras_file_is_refused(tmp_path: Path) -> None:
    torch.save({"weight": torch.zeros(2)}, tmp_path / "a.pt")
    with pytest.raises(
        WrongArchitecture, match=r"a\.pt should be a Keras file \(HDF5\), but it is a state dict of PyTorch"
    ):
        read_layers(tmp_path / "a.pt")
    with pytest.raises(MissingWeights, match=r"nothing\.h5"):
        read_layers(tmp_path / "nothing.h5")


def test_a_file_cut_short_anywhere_is_refused(small: Path) -> None:
    whole = small.read_bytes()
    for length in range(8, len(whole), 97):  # the first 8 bytes say that it is HDF5
        small.write_bytes(whole[:length])
        with pytest.raises(CorruptWeights, match=r"small\.h5 should be a Keras file"):
            read_layers(small)


def test_a_damaged_byte_is_refused_or_does_no_harm(small: Path) -> None:
    whole, random = small.read_bytes(), np.random.default_rng(5)
    sentences = []
    for position in random.integers(8, len(whole), 300):
        spoiled = bytearray(whole)
        spoiled[position] ^= 1 << random.integers(8)
        small.write_bytes(spoiled)
        try:
            read_layers(small)
        except WeightsError as error:
            sentences.append(str(error))
    assert len(sentences) > 10
    assert all("small.h5 should" in sentence for sentence in sentences)
