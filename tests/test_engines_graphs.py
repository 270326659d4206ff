"""ONNX Runtime and OpenVINO against PyTorch, and the graph files that they are made of."""

import errno
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
from network_files import random_backbone

from emo_affectnet.engines import ENGINES, GraphEngine, OnnxRuntimeEngine, OpenVinoEngine, TorchEngine, open_engine
from emo_affectnet.engines import graphs as graphs_module
from emo_affectnet.errors import (
    CorruptWeights,
    EngineUnavailable,
    UnknownName,
    UsageError,
    WeightsError,
    WrongArchitecture,
)
from emo_affectnet.models import LSTMHead
from emo_affectnet.weight_sets import Weights
from emo_affectnet.weights import Preprocessing

pytestmark = [
    pytest.mark.usefixtures("one_thread"),
    pytest.mark.filterwarnings("ignore:`torch.jit.(script|load)` is deprecated:DeprecationWarning"),
]

SIZE = 32  # px
GRAPH_ENGINES = {name: engine for name, engine in ENGINES.items() if issubclass(engine, GraphEngine)}


@pytest.fixture(scope="module", autouse=True)
def _common_place(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Graphs are made once for all of these tests."""
    folder = tmp_path_factory.mktemp("place")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(graphs_module, "places", lambda: [folder])
        patch.setattr("emo_affectnet.store.folders.places", lambda: [folder])
        yield


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty place for the graphs of one test."""
    monkeypatch.setattr(graphs_module, "places", lambda: [tmp_path / "place"])
    monkeypatch.setattr("emo_affectnet.store.folders.places", lambda: [tmp_path / "place"])
    return tmp_path / "place" / "engines"


@pytest.fixture(scope="module")
def small(tmp_path_factory: pytest.TempPathFactory) -> Weights:
    """Random weights for small crops: a backbone and two heads, as state dicts."""
    folder = tmp_path_factory.mktemp("weights")
    torch.save(random_backbone().state_dict(), folder / "backbone.pt")
    heads = {}
    for seed, name in enumerate(("one", "two")):
        torch.manual_seed(seed)
        heads[name] = folder / f"{name}.pt"
        torch.save(LSTMHead().state_dict(), heads[name])
    preprocessing = Preprocessing(
        input_size=SIZE, channels="BGR", mean=(10, 20, 30), interpolation="area", crop_margin=(0, 0, 0, 0)
    )
    return Weights(folder / "backbone.pt", heads, preprocessing)


@pytest.fixture(scope="module")
def crops() -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (45, SIZE, SIZE, 3), np.uint8)


@pytest.fixture(scope="module")
def reference(small: Weights) -> TorchEngine:
    return TorchEngine(small, device="cpu")


def list_names(place: Path) -> list[str]:
    return sorted(path.name for path in place.iterdir())


@pytest.mark.parametrize("name", GRAPH_ENGINES)
@pytest.mark.parametrize("count", [0, 1, 3, 45])
def test_features_are_those_of_pytorch_in_any_batch(
    name: str, count: int, small: Weights, reference: TorchEngine, crops: np.ndarray
) -> None:
    features = GRAPH_ENGINES[name](small).embed(crops[:count])
    assert (features.shape, features.dtype) == ((count, 512), np.float32)
    expected = reference.embed(crops)
    np.testing.assert_allclose(features, expected[:count], rtol=0, atol=1e-5 * expected.max())


@pytest.mark.parametrize("name", GRAPH_ENGINES)
@pytest.mark.parametrize("count", [0, 1, 7, 70])
def test_all_heads_at_once_are_each_head_by_itself(
    name: str, count: int, small: Weights, reference: TorchEngine
) -> None:
    windows = np.random.default_rng(1).random((count, 10, 512), dtype=np.float32)
    probabilities = GRAPH_ENGINES[name](small).classify(windows)
    assert probabilities.shape == (2, count, 7)
    np.testing.assert_allclose(probabilities, reference.classify(windows), rtol=0, atol=1e-5)


@pytest.mark.parametrize("name", GRAPH_ENGINES)
def test_single_faces_are_judged_as_by_pytorch(name: str, small: Weights, reference: TorchEngine) -> None:
    features = np.random.default_rng(2).random((5, 512), dtype=np.float32) * 10
    expected = reference.classify_faces(features)
    np.testing.assert_allclose(GRAPH_ENGINES[name](small).classify_faces(features), expected, rtol=0, atol=1e-6)


def test_graphs_are_made_once_and_found_again(small: Weights, place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    OnnxRuntimeEngine(small)
    names = list_names(place)
    assert [(name[:8], Path(name).suffix) for name in names] == [
        ("2-heads-", ".onnx"),
        ("2-heads-", ".tensors"),
        ("backbone", ".onnx"),
        ("backbone", ".tensors"),
    ]
    monkeypatch.setattr(graphs_module, "read_backbone", None)  # would fail
    monkeypatch.setattr(graphs_module, "read_head", None)
    OnnxRuntimeEngine(small)
    OpenVinoEngine(small)
    assert list_names(place) == names


def test_other_weights_of_the_same_name_have_a_graph_of_their_own(small: Weights, place: Path, tmp_path: Path) -> None:
    before = OnnxRuntimeEngine(small).embed(np.zeros((1, SIZE, SIZE, 3), np.uint8))
    other = tmp_path / "backbone.pt"
    torch.save(random_backbone(seed=5).state_dict(), other)
    after = OnnxRuntimeEngine(Weights(other, {}, small.preprocessing)).embed(np.zeros((1, SIZE, SIZE, 3), np.uint8))
    assert len(list(place.glob("backbone-*.onnx"))) == 2
    assert np.abs(before - after).max() > 0


def test_failure_leaves_no_graph_behind(small: Weights, place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr("onnx.save", fail)
    sentence = (
        r"could not be written to .*engines, .*\(No space left on device\)\. Make room there, .*_WEIGHTS to a folder"
    )
    with pytest.raises(WeightsError, match=sentence):
        OnnxRuntimeEngine(small)
    assert list_names(place) == []


def test_graphs_are_made_for_the_process_where_no_place_can_be_written(
    small: Weights, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, crops: np.ndarray, reference: TorchEngine
) -> None:
    (tmp_path / "file").write_text("in the way")
    for where in ("emo_affectnet.store.folders.places", "emo_affectnet.engines.graphs.places"):
        monkeypatch.setattr(where, lambda: [tmp_path / "file"])
    features = OnnxRuntimeEngine(small).embed(crops[:1])
    np.testing.assert_allclose(features, reference.embed(crops[:1]), rtol=0, atol=1e-5 * features.max())


@pytest.mark.parametrize("name", GRAPH_ENGINES)
def test_damaged_graph_is_named_and_can_be_deleted(name: str, small: Weights, place: Path) -> None:
    GRAPH_ENGINES[name](small)
    (graph,) = place.glob("backbone-*.onnx")
    graph.write_bytes(graph.read_bytes()[:1000])
    with pytest.raises(
        CorruptWeights, match=r"backbone-.*\.onnx should be a graph made from weights, but it is damaged; delete it"
    ):
        GRAPH_ENGINES[name](small)


@pytest.mark.parametrize("name", GRAPH_ENGINES)
def test_graph_without_its_tensors_is_damaged_and_made_anew_once_it_is_deleted(
    name: str, small: Weights, place: Path, reference: TorchEngine, crops: np.ndarray
) -> None:
    GRAPH_ENGINES[name](small)
    (graph,), (tensors,) = place.glob("backbone-*.onnx"), place.glob("backbone-*.tensors")
    assert graph.stat().st_size < 100_000 < tensors.stat().st_size
    tensors.write_bytes(tensors.read_bytes()[:1000])
    with pytest.raises(CorruptWeights, match="it is damaged; delete it"):
        GRAPH_ENGINES[name](small)
    graph.unlink()
    features = GRAPH_ENGINES[name](small).embed(crops[:1])
    np.testing.assert_allclose(features, reference.embed(crops[:1]), rtol=0, atol=1e-5 * features.max())


# Choosing


def test_fastest_engine_on_a_cpu_is_the_default(small: Weights, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("emo_affectnet.engines.devices.has_driver", lambda: False)
    engine = open_engine(small)
    assert (engine.name, engine.precision) == ("onnxruntime", "fp32")
    assert engine.description.startswith("on cpu (there is no graphics card), ")


def test_card_is_used_by_pytorch(small: Weights, monkeypatch: pytest.MonkeyPatch) -> None:
    from emo_affectnet import engines
    from emo_affectnet.engines.devices import Device

    monkeypatch.setattr(engines, "choose_device", lambda name: Device("cuda", "A Card"))
    monkeypatch.setitem(engines.ENGINES, "torch", type("Fake", (), {"__init__": lambda self, weights, **_: None}))
    assert type(open_engine(small)).__name__ == "Fake"


def test_script_of_a_class_of_its_own_is_run_by_pytorch_unless_another_is_named(
    small: Weights, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Own(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.fc = torch.nn.Linear(3, 512)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return self.fc(x.mean(dim=(2, 3)))

    monkeypatch.setattr("emo_affectnet.networks.check_trust", lambda path: None)
    torch.jit.script(Own()).save(tmp_path / "own.pth")
    own = Weights(tmp_path / "own.pth", small.heads, small.preprocessing)
    assert open_engine(own).name == "torch"
    for name in GRAPH_ENGINES:
        with pytest.raises(WrongArchitecture, match=r"own\.pth should be the state dict of a backbone"):
            open_engine(own, engine=name)


def test_unknown_names_list_the_known_ones(small: Weights) -> None:
    with pytest.raises(UnknownName, match="no engine named 'tensorrt'; choose one of: onnxruntime, openvino, torch"):
        open_engine(small, engine="tensorrt")
    with pytest.raises(UnknownName, match="no precision named 'int4'; choose one of: fp32, bf16, fp16, int8"):
        open_engine(small, precision="int4")


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        ({"engine": "torch", "precision": "int8"}, "The engine torch computes in fp32 or bf16 or fp16, but int8 was"),
        ({"engine": "onnxruntime", "precision": "bf16"}, "The engine onnxruntime computes in fp32 or int8, but bf16"),
        ({"engine": "openvino", "device": "cuda"}, "The engine openvino runs on the CPU only, but 'cuda' was named"),
        ({"engine": "torch", "device": "cpu", "precision": "fp16"}, "There is no fast fp16 arithmetic on cpu here"),
        ({"engine": "tensorflow", "threads": 2}, "The engine tensorflow takes the threads it finds"),
        ({"threads": 0}, "A network needs at least 1 thread, but 0 were asked for"),
    ],
)
def test_what_an_engine_cannot_do_is_said(small: Weights, options: dict[str, object], sentence: str) -> None:
    with pytest.raises(UsageError, match=sentence):
        open_engine(small, **options)


@pytest.mark.parametrize("name", ["torch", "openvino"])
def test_bfloat16_is_close_where_the_processor_has_it_and_refused_where_it_would_be_imitated(
    name: str, small: Weights, reference: TorchEngine, crops: np.ndarray
) -> None:
    if not torch.cpu._is_avx512_bf16_supported():
        with pytest.raises(UsageError, match=r"bf16.*leave the precision at fp32"):
            open_engine(small, engine=name, precision="bf16", device="cpu")
        return
    expected = reference.embed(crops)
    features = open_engine(small, engine=name, precision="bf16", device="cpu").embed(crops)
    np.testing.assert_allclose(features, expected, rtol=0, atol=0.05 * expected.max())


def test_missing_openvino_names_the_extra(small: Weights, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "openvino", None)
    with pytest.raises(EngineUnavailable, match=r"needs openvino, .*pip install 'emo-affectnet\[openvino\]'"):
        OpenVinoEngine(small)


def test_threads_are_as_asked(small: Weights) -> None:
    assert OnnxRuntimeEngine(small, threads=3).description.endswith(", 3 threads")


def test_onnx_runtime_reports_to_nobody(tmp_path: Path) -> None:
    """Its packages send what they were used for to their makers unless they are told not to before they are loaded."""
    script = "import emo_affectnet.engines, onnxruntime; onnxruntime.SessionOptions()"
    folders = {name: str(tmp_path) for name in ("HOME", "TMPDIR", "XDG_CACHE_HOME")}
    without = {name: value for name, value in os.environ.items() if name != "ORT_DISABLE_TELEMETRY"}
    subprocess.run([sys.executable, "-c", script], check=True, env=without | folders)
    assert list(tmp_path.iterdir()) == []
