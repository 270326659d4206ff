"""Backbones in int8: how near they are to float32, that they are the same everywhere, and what is refused."""

import logging
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from conftest import VIDEO_FOLDER
from network_files import NarrowBackbone, random_backbone

from emo_affectnet.engines import normalize_crops
from emo_affectnet.engines import quantize as module
from emo_affectnet.engines.graph_engines import _open_session
from emo_affectnet.engines.quantize import quantize, read_faces
from emo_affectnet.errors import MissingWeights, WrongArchitecture
from emo_affectnet.networks import export_arrays
from emo_affectnet.onnx_graph import build_backbone
from emo_affectnet.weights import Preprocessing

pytestmark = pytest.mark.usefixtures("one_thread")

SIZE = 32
PREPROCESSING = Preprocessing(
    input_size=SIZE, channels="BGR", mean=(120, 120, 120), interpolation="area", crop_margin=(0, 0, 0, 0)
)


@pytest.fixture(scope="module")
def faces() -> np.ndarray:
    crops = read_faces([VIDEO_FOLDER / "two_people.mp4"], PREPROCESSING, count=48)
    return normalize_crops(crops, PREPROCESSING)


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("graphs") / "backbone.onnx"
    onnx.save(build_backbone(export_arrays(random_backbone()), input_size=SIZE), path)
    return path


@pytest.fixture(scope="module")
def narrow(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A graph of the same nodes that is quick to quantize, and has an emotion that it prefers."""
    path, network = tmp_path_factory.mktemp("narrow") / "backbone.onnx", random_backbone(kind=NarrowBackbone)
    network.fc2.bias.data += torch.eye(7)[0]
    onnx.save(build_backbone(export_arrays(network), input_size=SIZE), path)
    return path


@pytest.fixture(scope="module")
def target(source: Path, faces: np.ndarray) -> Path:
    path = source.with_name("int8.onnx")
    quantize(source, path, faces=faces)
    return path


def run(path: Path, x: np.ndarray) -> list[np.ndarray]:
    return onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"]).run(None, {"input": x})


def test_faces_are_shown_as_they_are_mirrored_and_in_other_light() -> None:
    views = read_faces([VIDEO_FOLDER / "expressions.mp4"], PREPROCESSING, count=24)
    assert (views.shape, views.dtype) == ((24, SIZE, SIZE, 3), np.uint8)
    plain, mirrored, darker, brighter, flatter, harder = views.reshape(6, 4, SIZE, SIZE, 3).astype(int)
    np.testing.assert_array_equal(mirrored, plain[:, :, ::-1])
    np.testing.assert_allclose(darker, plain / 2, atol=0.5)
    assert brighter.mean() > plain.mean() > darker.mean()
    assert flatter.std() < plain.std() < harder.std()


def test_missing_clip_is_named(tmp_path: Path) -> None:
    with pytest.raises(MissingWeights, match=r"demo clips, but .*gone\.mp4 is missing.*leave the precision at fp32"):
        read_faces([tmp_path / "gone.mp4"], PREPROCESSING, count=6)


def test_int8_is_near_float32_and_a_third_of_its_size(source: Path, target: Path, faces: np.ndarray) -> None:
    exact, near = run(source, faces)[0], run(target, faces)[0]
    assert 0 < np.abs(near - exact).mean() < 0.1 * exact.mean()
    assert target.stat().st_size < 0.35 * source.stat().st_size


def test_weights_have_seven_bits_so_that_no_processor_overflows(target: Path) -> None:
    tensors = {entry.name: onnx.numpy_helper.to_array(entry) for entry in onnx.load(target).graph.initializer}
    kernels = [values for values in tensors.values() if values.dtype == np.int8 and values.ndim == 4]
    assert len(kernels) == 52  # all convolutions but the first
    assert max(np.abs(values.astype(int)).max() for values in kernels) == 64
    assert tensors["conv_layer_s2_same.weight"].dtype == np.float32
    assert tensors["fc2.weight"].dtype == np.float32


def test_onnx_runtime_pools_the_stem_in_float32(target: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its optimizer would move the step to 8 bits before the pooling, which then takes a tenth of all the time."""
    options = onnxruntime.SessionOptions()
    options.optimized_model_filepath = str(tmp_path / "optimized.onnx")
    monkeypatch.setattr("onnxruntime.SessionOptions", lambda: options)
    _open_session(target, threads=1)
    nodes = onnx.load(tmp_path / "optimized.onnx").graph.node
    (pool,) = (node for node in nodes if node.op_type == "MaxPool")
    makers = {output: node.op_type for node in nodes for output in node.output}
    assert makers[pool.input[0]] == "Conv"


def test_making_it_again_gives_the_same_bytes_and_says_nothing(
    narrow: Path, faces: np.ndarray, capfd: pytest.CaptureFixture[str]
) -> None:
    """The quantiser writes to the root log, and gives it a handler."""
    root = logging.getLogger()
    before = root.level, list(root.handlers)
    once, again = (narrow.with_name(f"{name}.onnx") for name in ("once", "again"))
    for path in (once, again):
        quantize(narrow, path, faces=faces)
    assert again.read_bytes() == once.read_bytes()
    assert (root.level, root.handlers) == before
    assert capfd.readouterr() == ("", "")


def test_progress_is_told_from_nothing_to_all(narrow: Path, faces: np.ndarray, tmp_path: Path, monkeypatch) -> None:
    monkeypatch.setattr(module, "BATCH_PIXELS", 16 * SIZE**2)
    heard: list[tuple[int, int]] = []
    quantize(narrow, tmp_path / "int8.onnx", faces=faces, on_progress=lambda *step: heard.append(step))
    assert heard == [(0, 3), (1, 3), (2, 3), (3, 3)]


def test_what_loses_too_much_is_refused_and_nothing_is_left(
    narrow: Path, faces: np.ndarray, tmp_path: Path, monkeypatch
) -> None:
    monkeypatch.setattr(module, "MAX_DIFFERENCE", 1e-9)
    with pytest.raises(WrongArchitecture, match=r"backbone\.onnx loses too much in int8: .*Use fp32"):
        quantize(narrow, tmp_path / "int8.onnx", faces=faces)
    assert list(tmp_path.iterdir()) == []


def test_a_network_that_is_no_number_is_refused(faces: np.ndarray) -> None:
    exact = np.full((3, 7), 1 / 7, np.float32)
    with pytest.raises(WrongArchitecture, match="differ by nan"):
        module._check_agreement(exact, exact * np.nan, Path("backbone.onnx"))
