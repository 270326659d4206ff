"""The second backbone: its numbers in every engine and format, and which of the two a file holds."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnxruntime
import pytest
import torch
from network_files import random_backbone, random_mobilenet
from test_onnx_graph import run
from torch.nn import functional as F

from emo_affectnet.convert import convert
from emo_affectnet.engines import ENGINES, OnnxRuntimeEngine, OpenVinoEngine, TorchEngine
from emo_affectnet.engines.quantize import DISABLED_OPTIMIZERS, quantize
from emo_affectnet.errors import UsageError, WrongArchitecture
from emo_affectnet.mobilenet import MobileNet
from emo_affectnet.models import ResNet50
from emo_affectnet.networks import export_arrays, load_backbone, read_backbone
from emo_affectnet.onnx_graph import build_backbone
from emo_affectnet.weight_sets import Weights
from emo_affectnet.weights import NETWORKS, Preprocessing, read_record, write_record

pytestmark = [
    pytest.mark.usefixtures("one_thread"),
    pytest.mark.filterwarnings("ignore:`torch.jit.(script|load)` is deprecated:DeprecationWarning"),
]

SIZE = 32  # px: small crops cost little
PREPROCESSING = Preprocessing(
    input_size=SIZE, channels="BGR", mean=(0, 0, 0), interpolation="area", crop_margin=(0, 0, 0, 0)
)
ABOUT = {"name": "backbone", "kind": "backbone", "license": "none", "trained_on": (), "preprocessing": PREPROCESSING}


@pytest.fixture(scope="module")
def network() -> MobileNet:
    return random_mobilenet()


@pytest.fixture
def save(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Path]:
    """Write a state dict, with a record that names a network, none, or without a record."""
    monkeypatch.setenv("EMO_AFFECTNET_WEIGHTS", str(tmp_path / "place"))

    def save(weights: torch.nn.Module, *, has_record: bool = True, **about: object) -> Path:
        path = tmp_path / "mobile.pt"
        torch.save(weights.state_dict(), path)
        if has_record:
            write_record(path, **ABOUT, **about)
        return path

    return save


def draw_crops(count: int) -> np.ndarray:
    """Return crops (N, S, S, 3) of large patches, which keep a contrast through all layers, as faces do."""
    patches = np.random.default_rng(0).integers(0, 256, (count, 4, 4, 3), np.uint8)
    return patches.repeat(SIZE // 4, axis=1).repeat(SIZE // 4, axis=2)


def pad_by_hand(x: torch.Tensor) -> torch.Tensor:
    """Pad for a 3x3 with stride 2 as TensorFlow does: right and bottom, and at an odd size left or top as well."""
    return F.pad(x, (x.shape[3] % 2, 1, x.shape[2] % 2, 1))


@pytest.mark.parametrize("size", [32, 33, 47], ids="{} px".format)
def test_features_are_those_of_the_layers_one_by_one(size: int, network: MobileNet) -> None:
    state, x = network.state_dict(), torch.rand(2, 3, size, size) * 255
    expected = x
    for layer in range(23):
        weight = state[f"layers.{layer}.convolution.weight"]
        is_depthwise, strides = layer % 2 == 1, layer in (0, 3, 7, 11)
        if weight.shape[-1] == 3:
            expected = pad_by_hand(expected) if strides else F.pad(expected, (1, 1, 1, 1))
        groups = weight.shape[0] if is_depthwise else 1
        expected = F.conv2d(expected, weight, stride=2 if strides else 1, groups=groups)
        norm = [
            state[f"layers.{layer}.batch_norm.{part}"] for part in ("running_mean", "running_var", "weight", "bias")
        ]
        expected = F.batch_norm(expected, *norm, eps=1e-3).clamp(0, 6)
    with torch.inference_mode():
        features = network.features(x)
        logits = network(x)
    assert features.shape == (2, 512)
    torch.testing.assert_close(features, expected.mean((2, 3)), rtol=0, atol=1e-5 * float(features.max()))
    torch.testing.assert_close(logits, features @ state["fc2.weight"].T + state["fc2.bias"])
    assert 0 <= features.min() < features.max() <= 6


@pytest.mark.parametrize("size", [32, 33, 47], ids="{} px".format)
def test_graph_of_any_size_computes_what_pytorch_does(size: int, network: MobileNet) -> None:
    x = np.random.default_rng(size).random((2, 3, size, size), np.float32) * 255
    model = build_backbone(export_arrays(network), input_size=size)
    features, logits = run(model, x)
    with torch.inference_mode():
        expected = network.features(torch.from_numpy(x))
        expected_logits = network.fc2(expected).numpy()
    np.testing.assert_allclose(features, expected.numpy(), rtol=0, atol=1e-5 * float(expected.max()))
    np.testing.assert_allclose(logits, expected_logits, rtol=0, atol=1e-5 * np.abs(expected_logits).max())
    operators = [node.op_type for node in model.graph.node]
    assert operators.count("Conv") == operators.count("Clip") == 23
    assert "BatchNormalization" not in operators


@pytest.mark.parametrize("engine", [OnnxRuntimeEngine, OpenVinoEngine])
def test_engines_agree_with_pytorch(
    engine: type[OnnxRuntimeEngine], network: MobileNet, save: Callable[..., Path]
) -> None:
    weights, crops = Weights(save(network, network="MobileNet"), {}, PREPROCESSING), draw_crops(5)
    reference, opened = TorchEngine(weights, device="cpu"), engine(weights)
    expected, features = reference.embed(crops), opened.embed(crops)
    np.testing.assert_allclose(features, expected, rtol=0, atol=1e-5 * expected.max())
    judged = reference.classify_faces(expected)
    np.testing.assert_allclose(opened.classify_faces(features), judged, rtol=0, atol=1e-5)
    assert np.abs(judged[0] - judged[1]).max() > 1e-3  # else hardly anything would be compared


def test_tensorflow_refuses_it(network: MobileNet, save: Callable[..., Path]) -> None:
    path = save(network, network="MobileNet")
    with pytest.raises(UsageError) as caught:
        ENGINES["tensorflow"](Weights(path, {}, PREPROCESSING))
    assert str(caught.value) == (
        f"The engine tensorflow runs the study's ResNet50 only, but {path} is a MobileNet; choose another engine."
    )


def test_int8_keeps_the_depthwise_convolutions_and_is_near_float32(network: MobileNet, tmp_path: Path) -> None:
    import onnx

    network.fc2.bias.data += torch.eye(7)[0]  # an emotion that it prefers
    source, target = tmp_path / "fp32.onnx", tmp_path / "int8.onnx"
    onnx.save(build_backbone(export_arrays(network), input_size=SIZE), source)
    faces = np.ascontiguousarray(draw_crops(24).transpose(0, 3, 1, 2).astype(np.float32))
    quantize(source, target, faces=faces)
    exact, near = (
        onnxruntime.InferenceSession(
            str(path), providers=["CPUExecutionProvider"], disabled_optimizers=list(DISABLED_OPTIMIZERS)
        ).run(None, {"input": faces})[0]
        for path in (source, target)
    )
    assert 0 < np.abs(near - exact).mean() < 0.05 * exact.mean()
    tensors = {entry.name: onnx.numpy_helper.to_array(entry) for entry in onnx.load(target).graph.initializer}
    kernels = {name for name, values in tensors.items() if values.dtype == np.int8 and values.ndim == 4}
    assert kernels == {f"layers.{layer}.convolution.weight_quantized" for layer in range(4, 20, 2)}


# Which network a file holds


@pytest.mark.parametrize(
    ("make", "has_record", "named", "expected"),
    [
        (random_mobilenet, True, "MobileNet", MobileNet),
        (random_mobilenet, False, None, MobileNet),
        (random_backbone, True, "ResNet50", ResNet50),
        (random_backbone, True, None, ResNet50),
        (random_backbone, False, None, ResNet50),
    ],
)
def test_the_record_or_else_the_tensors_say_which_it_is(
    make: Callable[[], torch.nn.Module], has_record: bool, named: str, expected: type, save: Callable[..., Path]
) -> None:
    assert type(read_backbone(save(make(), has_record=has_record, network=named))) is expected


@pytest.mark.parametrize(
    ("make", "named", "sentence"),
    [
        (
            random_mobilenet,
            None,
            "of a backbone, a ResNet50 as its record says, with 322 tensors, but it is a backbone, a MobileNet, with",
        ),
        (
            random_backbone,
            "MobileNet",
            "of a backbone, a MobileNet as its record says, with 140 tensors, but it is a backbone with 322",
        ),
    ],
)
def test_a_file_that_is_not_what_its_record_says_is_refused(
    make: Callable[[], torch.nn.Module], named: str, sentence: str, save: Callable[..., Path]
) -> None:
    with pytest.raises(WrongArchitecture, match=sentence):
        read_backbone(save(make(), network=named))


def test_a_record_names_one_of_both(tmp_path: Path) -> None:
    (tmp_path / "vgg.pt").write_bytes(b"")
    with pytest.raises(ValueError, match=f"network must be one of {', '.join(NETWORKS)}, not 'VGG'"):
        write_record(tmp_path / "vgg.pt", **ABOUT, network="VGG")


@pytest.mark.parametrize("has_record", [True, False])
@pytest.mark.parametrize("suffix", [".pt", ".pth", ".onnx"])
def test_it_converts_to_every_format(
    suffix: str, has_record: bool, network: MobileNet, save: Callable[..., Path], tmp_path: Path
) -> None:
    source = save(network, has_record=has_record, network="MobileNet")
    made = convert(source, tmp_path / f"made{suffix}")
    assert made.kind == "backbone"
    assert made.max_difference < 1e-5
    record = read_record(tmp_path / f"made{suffix}")
    assert record is not None
    assert record.network == "MobileNet"
    if suffix == ".pth":
        x = torch.rand(2, 3, SIZE, SIZE) * 255
        with torch.inference_mode():
            torch.testing.assert_close(
                load_backbone(tmp_path / "made.pth", input_size=SIZE)(x), network.features(x), rtol=1e-4, atol=1e-4
            )
