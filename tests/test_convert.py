"""Every format that a weight file can be converted to computes what its source does, or does not appear at all."""

import json
import logging
import re
from contextlib import redirect_stderr, redirect_stdout
from dataclasses import dataclass, replace
from io import StringIO
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from conftest import VIDEO_FOLDER
from network_files import random_backbone
from torch import Tensor, nn

from emo_affectnet import convert as module
from emo_affectnet.convert import TOLERANCE, Conversion, convert, read_faces
from emo_affectnet.emotions import EMOTION_NAMES
from emo_affectnet.engines import normalize_crops
from emo_affectnet.errors import (
    CorruptWeights,
    MissingWeights,
    UntrustedWeights,
    UsageError,
    VideoError,
    WeightsError,
    WrongArchitecture,
)
from emo_affectnet.models import LSTMHead, ResNet50
from emo_affectnet.networks import load_backbone, load_head
from emo_affectnet.weight_sets import resolve
from emo_affectnet.weights import (
    PUBLISHED_PREPROCESSING,
    hash_file,
    read_record,
    sniff_format,
    verify,
    write_record,
)

pytestmark = [
    pytest.mark.usefixtures("one_thread"),
    pytest.mark.filterwarnings("ignore:`torch.jit.(script|load)` is deprecated:DeprecationWarning"),
]

SIZE = 64  # px: small crops cost little
PREPROCESSING = replace(PUBLISHED_PREPROCESSING, input_size=SIZE)
ABOUT = {"license": "for science", "trained_on": ("AffectNet",)}
SOURCES = {"TorchScript": "state dict", "state dict": "TorchScript", "ONNX": "state dict"}  # of each target
SUFFIXES = {"state dict": ".state.pt", "TorchScript": ".pth", "ONNX": ".onnx"}


@pytest.fixture(scope="module")
def crops() -> np.ndarray:
    """Faces for all that the networks know, RGB uint8 (3, 64, 64, 3)."""
    return np.random.default_rng(0).integers(0, 256, (3, SIZE, SIZE, 3), np.uint8)


@pytest.fixture(scope="module")
def windows() -> np.ndarray:
    random = np.random.default_rng(1)
    return np.maximum(random.normal(size=(3, 10, 512)), 0).astype(np.float32)


@pytest.fixture(scope="module")
def backbone() -> ResNet50:
    return random_backbone(5)


@pytest.fixture(scope="module")
def head() -> LSTMHead:
    torch.manual_seed(6)
    return LSTMHead().eval()


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory, backbone: ResNet50, head: LSTMHead) -> Path:
    """A folder with state dicts, backbone.pt and head.pt, and their records."""
    folder = tmp_path_factory.mktemp("sources")
    torch.save(backbone.state_dict(), folder / "backbone.pt")
    torch.save(head.state_dict(), folder / "head.pt")
    write_record(folder / "backbone.pt", name="ours", kind="backbone", preprocessing=PREPROCESSING, **ABOUT)
    write_record(folder / "head.pt", name="SAVEE", kind="head", held_out="SAVEE", backbone_sha256="a" * 64, **ABOUT)
    return folder


class Listener(logging.Handler):
    """Keeps what is logged."""

    def __init__(self) -> None:
        super().__init__()
        self.sentences: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.sentences.append(record.getMessage())


@dataclass(frozen=True)
class Chain:
    """What became of the two state dicts, step by step."""

    done: dict[tuple[str, str], Conversion]  # by kind and the target's format
    said: list[str]  # what was printed or logged


@pytest.fixture(scope="module")
def chain(files: Path, crops: np.ndarray) -> Chain:
    """Make of each state dict a TorchScript file, of that a state dict, and of that ONNX."""
    done, printed, listener = {}, StringIO(), Listener()
    logging.getLogger().addHandler(listener)
    with redirect_stdout(printed), redirect_stderr(printed):
        for kind in ("backbone", "head"):
            source = files / f"{kind}.pt"
            for target_format in SOURCES:
                target = place(files, kind, target_format)
                done[kind, target_format] = convert(source, target, faces=lambda preprocessing: crops)
                source = target
    logging.getLogger().removeHandler(listener)
    return Chain(done, [*listener.sentences, *printed.getvalue().splitlines()])


def test_nothing_is_printed_or_logged(chain: Chain) -> None:
    assert chain.said == []


def place(files: Path, kind: str, target_format: str) -> Path:
    return files / "made" / f"{kind}-{target_format.replace(' ', '-')}{SUFFIXES[target_format]}"


def run(network: nn.Module, x: np.ndarray) -> np.ndarray:
    with torch.inference_mode():
        return network(torch.from_numpy(x)).numpy()


@pytest.mark.parametrize("kind", ["backbone", "head"])
@pytest.mark.parametrize("target_format", SOURCES)
def test_a_conversion_says_what_it_did(target_format: str, kind: str, chain, files: Path) -> None:
    done = chain.done[kind, target_format]
    size = place(files, kind, target_format).stat().st_size
    assert (done.kind, done.source_format, done.target_format) == (kind, SOURCES[target_format], target_format)
    assert done.size == size > {"backbone": 98_000_000, "head": 11_500_000}[kind]  # 24.6 and 2.9 million float32
    assert 0 <= done.max_difference < 1e-5
    if kind == "backbone":
        assert 0 <= done.max_difference_on_crops < 1e-5
    else:
        assert done.max_difference_on_crops is None


def test_a_state_dict_has_the_published_names_and_the_same_numbers(chain, files: Path, backbone, head) -> None:
    for kind, network in (("backbone", backbone), ("head", head)):
        state = torch.load(place(files, kind, "state dict"), weights_only=True)
        assert list(state) == list(network.state_dict())
        assert all(torch.equal(state[name], value) for name, value in network.state_dict().items())


def test_a_torchscript_backbone_has_the_published_methods(chain, files: Path, backbone, crops) -> None:
    script, x = torch.jit.load(place(files, "backbone", "TorchScript")), normalize_crops(crops, PREPROCESSING)
    before = run(script.extract_features, x)
    assert before.min() < 0  # before the ReLU
    expected = run(backbone.features, x)
    np.testing.assert_allclose(np.maximum(before, 0), expected, atol=1e-6)
    np.testing.assert_allclose(run(script, x), run(backbone, x), atol=1e-6)  # logits
    loaded = load_backbone(place(files, "backbone", "TorchScript"), input_size=SIZE)
    np.testing.assert_allclose(run(loaded, x), expected, atol=1e-6)


@pytest.mark.parametrize("size", [65, 96])  # an odd size is padded otherwise; the file was traced at 64 px
def test_a_torchscript_backbone_takes_other_sizes(size: int, chain, files: Path, backbone: ResNet50) -> None:
    script = torch.jit.load(place(files, "backbone", "TorchScript"))
    x = np.random.default_rng(size).normal(scale=60, size=(1, 3, size, size)).astype(np.float32)
    np.testing.assert_allclose(run(script, x), run(backbone, x), atol=1e-6)


def test_a_torchscript_head_gives_probabilities(chain, files: Path, head: LSTMHead, windows: np.ndarray) -> None:
    script = torch.jit.load(place(files, "head", "TorchScript"))
    np.testing.assert_allclose(run(script, windows), run(head, windows), atol=1e-7)
    np.testing.assert_allclose(run(script, windows).sum(axis=1), 1, atol=1e-6)


@pytest.mark.parametrize("batch", [1, 3])
def test_onnx_runs_any_number_of_faces_and_windows(batch: int, chain, files, backbone, head, crops, windows) -> None:
    x, windows = normalize_crops(crops[:batch], PREPROCESSING), windows[:batch]
    features, logits = open_onnx(place(files, "backbone", "ONNX")).run(["features", "logits"], {"input": x})
    np.testing.assert_allclose(features, run(backbone.features, x), atol=1e-5)
    np.testing.assert_allclose(logits, run(backbone, x), atol=1e-5)
    (probabilities,) = open_onnx(place(files, "head", "ONNX")).run(["probabilities"], {"windows": windows})
    np.testing.assert_allclose(probabilities, run(head, windows), atol=1e-6)


def open_onnx(path: Path) -> onnxruntime.InferenceSession:
    return onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])


def test_onnx_is_one_file_that_describes_itself(chain, files: Path) -> None:
    shapes = {
        "backbone": {"input": ["batch", 3, SIZE, SIZE], "features": ["batch", 512], "logits": ["batch", 7]},
        "head": {"windows": ["batch", 10, 512], "probabilities": ["batch", 7]},
    }
    for kind, expected in shapes.items():
        model = onnx.load(place(files, kind, "ONNX"), load_external_data=False)
        onnx.checker.check_model(model, full_check=True)
        entries = [*model.graph.input, *model.graph.output]
        came = {
            entry.name: [axis.dim_param or axis.dim_value for axis in entry.type.tensor_type.shape.dim]
            for entry in entries
        }
        assert came == expected
        assert [(entry.domain, entry.version) for entry in model.opset_import] == [("", 18)]
        about = {entry.key: entry.value for entry in model.metadata_props}
        assert about["kind"] == kind
        assert about["license"] == "for science"
        assert about["emotions"].split(",") == list(EMOTION_NAMES)
        assert ("preprocessing" in about) == (kind == "backbone")
        assert str(Path(module.__file__).parent).encode() not in model.SerializeToString()  # no folder of this computer
    assert json.loads(about_preprocessing(files))["input_size"] == SIZE
    assert {path.suffix for path in (files / "made").iterdir()} == {".pt", ".pth", ".onnx", ".json"}


def about_preprocessing(files: Path) -> str:
    model = onnx.load(place(files, "backbone", "ONNX"))
    return next(entry.value for entry in model.metadata_props if entry.key == "preprocessing")


@pytest.mark.parametrize("target_format", SUFFIXES)
def test_the_record_goes_along_and_vouches_for_the_target(target_format: str, chain, files: Path) -> None:
    for kind in ("backbone", "head"):
        target, original = place(files, kind, target_format), read_record(files / f"{kind}.pt")
        record = verify(target, needs_record=True)
        measured = {"filename": target.name, "size": target.stat().st_size, "sha256": record.sha256}
        assert record == replace(original, converted_from=original.sha256, **measured)
        assert record.sha256 != original.sha256


@pytest.fixture
def keras_files(tmp_path: Path, backbone: ResNet50, head: LSTMHead) -> Path:
    """A folder with backbone.h5 and head.h5, named as keras-vggface does."""
    import keras_reference as keras

    models = {"backbone": keras.build_backbone(SIZE), "head": keras.build_head()}
    keras.fill_backbone(models["backbone"], backbone.state_dict())
    keras.fill_head(models["head"], head.state_dict())
    for name, model in models.items():
        keras.write_keras_2(tmp_path / f"{name}.h5", keras.name_as_vggface(keras.list_weights(model)))
        preprocessing = PREPROCESSING if name == "backbone" else None
        write_record(tmp_path / f"{name}.h5", name=name, kind=name, preprocessing=preprocessing, **ABOUT)
    return tmp_path


def test_keras_files_become_pytorch_files(keras_files: Path, backbone, head, crops, windows) -> None:
    x = normalize_crops(crops, PREPROCESSING)
    for suffix, target_format in ((".state.pt", "state dict"), (".pth", "TorchScript")):
        for kind in ("backbone", "head"):
            made = convert(keras_files / f"{kind}.h5", keras_files / f"new/{kind}{suffix}")
            assert (made.kind, made.source_format, made.target_format) == (kind, "Keras", target_format)
            assert sniff_format(keras_files / f"new/{kind}{suffix}") == target_format
        features = run(load_backbone(keras_files / f"new/backbone{suffix}", input_size=SIZE), x)
        np.testing.assert_allclose(features, run(backbone.features, x), atol=1e-5)
        probabilities = run(load_head(keras_files / f"new/head{suffix}"), windows)
        np.testing.assert_allclose(probabilities, run(head, windows), atol=1e-6)


def test_a_file_without_a_record_gets_one_that_says_so(files: Path, tmp_path: Path) -> None:
    (tmp_path / "strange.pt").write_bytes((files / "head.pt").read_bytes())
    convert(tmp_path / "strange.pt", tmp_path / "new.state.pt")
    record = verify(tmp_path / "new.state.pt", needs_record=True)
    assert (record.name, record.kind) == ("new", "head")
    assert record.license == "unknown: converted from strange.pt"
    assert record.trained_on == ()
    assert record.held_out is record.preprocessing is record.backbone_sha256 is None


def test_a_backbone_without_a_record_is_taken_for_a_published_one(files: Path, tmp_path: Path) -> None:
    (tmp_path / "strange.pt").write_bytes((files / "backbone.pt").read_bytes())
    convert(tmp_path / "strange.pt", tmp_path / "new.state.pt")
    assert read_record(tmp_path / "new.state.pt").preprocessing == PUBLISHED_PREPROCESSING


def test_weights_stored_in_half_precision_become_float32(files: Path, tmp_path: Path, head: LSTMHead) -> None:
    torch.jit.script(LSTMHead().half()).save(tmp_path / "half.pth")
    write_record(tmp_path / "half.pth", name="half", kind="head", **ABOUT)
    convert(tmp_path / "half.pth", tmp_path / "whole.pt")
    assert {value.dtype for value in torch.load(tmp_path / "whole.pt", weights_only=True).values()} == {torch.float32}


def shift(network: nn.Module, amount: float) -> None:
    """Change the outputs of the last layer."""
    last = network.fc if isinstance(network, LSTMHead) else network.fc2
    last.bias.data[0] += amount


def shift_features(network: nn.Module, amount: float) -> None:
    network.fc1.bias.data += amount * 20


BREAK = {
    "another head": ("head", "TorchScript", shift, 1e-2),
    "a head of no numbers": ("head", "state dict", shift, float("nan")),
    "another last layer": ("backbone", "TorchScript", shift, 1e-2),
    "other features": ("backbone", "state dict", shift_features, 1e-2),
}


@pytest.mark.parametrize(
    ("case", "is_there_before"),  # what was there stays, which needs no large network to be seen
    [(case, is_there) for case in BREAK for is_there in (False, True) if not is_there or BREAK[case][0] == "head"],
)
def test_a_target_that_computes_something_else_does_not_appear(
    case: str, is_there_before: bool, files: Path, tmp_path: Path, monkeypatch
) -> None:
    kind, target_format, spoil, amount = BREAK[case]
    write, run_written = module.WRITERS[target_format]

    def write_something_else(source, path: Path) -> None:
        right = {name: value.clone() for name, value in source.network.state_dict().items()}
        spoil(source.network, amount)
        write(source, path)
        source.network.load_state_dict(right)

    monkeypatch.setitem(module.WRITERS, target_format, (write_something_else, run_written))
    target = tmp_path / f"target{SUFFIXES[target_format]}"
    if is_there_before:
        target.write_bytes(b"what was here")
    with pytest.raises(WeightsError, match=r"on random input it differs by \S+, so it is not written") as caught:
        convert(files / f"{kind}.pt", target)
    assert str(target) in str(caught.value)
    figure = float(re.search(r"differs by (\S+),", str(caught.value))[1])
    assert np.isnan(figure) if np.isnan(amount) else TOLERANCE < figure < 1
    assert [path.name for path in tmp_path.iterdir()] == ([target.name] if is_there_before else [])
    assert not is_there_before or target.read_bytes() == b"what was here"


def test_a_difference_on_real_faces_alone_is_found(files: Path, tmp_path: Path, crops, monkeypatch) -> None:
    write, run_written = module.WRITERS["state dict"]

    def run_wrongly_on_five(source, path: Path):
        run_right = run_written(source, path)
        return lambda x: tuple(2 * output if len(x) == 5 else output for output in run_right(x))

    monkeypatch.setitem(module.WRITERS, "state dict", (write, run_wrongly_on_five))
    fine = convert(
        files / "backbone.pt", tmp_path / "fine.pt", faces=lambda preprocessing: np.concatenate([crops, crops])
    )
    assert fine.max_difference_on_crops < TOLERANCE
    with pytest.raises(WrongArchitecture, match="on real faces it differs by"):
        convert(
            files / "backbone.pt", tmp_path / "new.pt", faces=lambda preprocessing: np.concatenate([crops, crops[:2]])
        )
    assert not (tmp_path / "new.pt").exists()


@pytest.mark.parametrize(
    ("crops", "sentence"),
    [
        (
            np.zeros((2, 32, 32, 3), np.uint8),
            r"uint8 of the shape \(N, 64, 64, 3\), N at least 1, but they are uint8 of",
        ),
        (
            np.zeros((2, SIZE, SIZE, 3)),
            r"but they are float64 of \(2, 64, 64, 3\); resize them to the backbone's input",
        ),
        (np.zeros((0, SIZE, SIZE, 3), np.uint8), r"but they are uint8 of \(0, 64, 64, 3\)"),
        (np.zeros((SIZE, SIZE, 3), np.uint8), r"but they are uint8 of \(64, 64, 3\)"),
    ],
    ids=["small", "floats", "none", "one without its batch"],
)
def test_crops_that_do_not_fit_are_refused(crops, sentence: str, files: Path, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=sentence):
        convert(files / "backbone.pt", tmp_path / "new.pt", faces=lambda preprocessing: crops)
    assert list(tmp_path.iterdir()) == []


def test_a_head_is_asked_for_no_faces(files: Path, tmp_path: Path) -> None:
    made = convert(files / "head.pt", tmp_path / "new.pt", faces=lambda preprocessing: pytest.fail("a head sees none"))
    assert (made.max_difference_on_crops, made.crops) == (None, 0)


def test_faces_of_a_video_are_cropped_for_the_backbone(tmp_path: Path, make_video) -> None:
    crops = read_faces(VIDEO_FOLDER / "two_people.mp4", PREPROCESSING, limit=5)
    assert (crops.shape, crops.dtype) == ((5, SIZE, SIZE, 3), np.uint8)
    assert crops.std() > 20  # faces, and no empty surface
    with pytest.raises(VideoError, match="should show faces to compare the networks on"):
        read_faces(make_video("a.mp4"), PREPROCESSING)


TARGETS = {
    "onnx.txt": r"onnx\.txt should end in one of \.pt \(state dict\), \.pth \(TorchScript\), \.onnx \(ONNX\)",
    "mine.pt": r"mine\.pt is the source itself; give the converted file another name",
    "other.onnx": r"other\.onnx would take the record other\.json from other\.pt, which .*/converted/other\.onnx",
    "folder.pt": r"folder\.pt should be the file to write, but it is a folder",
}


@pytest.mark.parametrize("name", TARGETS)
def test_a_target_that_would_do_harm_is_refused(name: str, files: Path, tmp_path: Path) -> None:
    (tmp_path / "folder.pt").mkdir()
    for own in ("mine.pt", "other.pt"):
        (tmp_path / own).write_bytes((files / "head.pt").read_bytes())
    write_record(tmp_path / "other.pt", name="other", kind="head", **ABOUT)
    before = {path: path.is_file() and path.read_bytes() for path in tmp_path.iterdir()}
    with pytest.raises(UsageError, match=TARGETS[name]):
        convert(tmp_path / "mine.pt", tmp_path / name)
    assert {path: path.is_file() and path.read_bytes() for path in tmp_path.iterdir()} == before


def test_a_file_is_converted_beside_itself_and_both_are_read_as_before(files: Path, tmp_path: Path) -> None:
    source, target = tmp_path / "weights.pt", tmp_path / "weights.pth"
    source.write_bytes((files / "head.pt").read_bytes())
    convert(source, target)
    assert read_record(source) is None  # the one that is there is the target's
    assert verify(target, needs_record=True).converted_from == hash_file(source)


def test_heads_belong_to_a_converted_backbone_as_well(chain, files: Path, tmp_path: Path, caplog) -> None:
    head = tmp_path / "SAVEE.pt"
    head.write_bytes((files / "head.pt").read_bytes())
    own = hash_file(files / "backbone.pt")
    write_record(head, name="SAVEE", kind="head", held_out="SAVEE", backbone_sha256=own, **ABOUT)
    resolve(backbone=place(files, "backbone", "state dict"), head=head)  # converted twice
    assert not caplog.records


def test_a_target_that_was_converted_before_is_replaced(files: Path, tmp_path: Path, head: LSTMHead) -> None:
    target = tmp_path / "there.pt"
    target.write_bytes(b"what was here")
    write_record(target, name="there", kind="head", **ABOUT)
    convert(files / "head.pt", target)
    assert torch.equal(torch.load(target, weights_only=True)["fc.weight"], head.fc.weight)
    assert verify(target).name == "SAVEE"


class Foreign(nn.Module):
    """A head of another class."""

    def __init__(self) -> None:
        super().__init__()
        self.out = nn.Linear(512, 7)

    def forward(self, windows: Tensor) -> Tensor:
        return torch.softmax(self.out(windows[:, -1]), dim=1)


def test_bad_sources_have_their_sentences(files: Path, tmp_path: Path) -> None:
    def refuse(name: str, error: type[Exception], sentence: str) -> None:
        with pytest.raises(error, match=sentence):
            convert(tmp_path / name, tmp_path / "new" / "target.pt")

    refuse("nothing.h5", MissingWeights, r"nothing\.h5, but there is none")
    (tmp_path / "a.onnx").write_bytes(b"\x08\x0a")
    refuse("a.onnx", UsageError, r"a\.onnx is ONNX, .* convert the file it was made from")
    (tmp_path / "text.pt").write_text("no weights")
    refuse("text.pt", CorruptWeights, r"text\.pt should be a PyTorch file")
    torch.save({"weight": torch.zeros(2)}, tmp_path / "other.pt")
    refuse(
        "other.pt",
        WrongArchitecture,
        r"other\.pt should be a backbone or a head, but it is neither\. .*another network",
    )
    torch.jit.script(Foreign()).save(tmp_path / "foreign.pth")
    refuse("foreign.pth", UntrustedWeights, r"foreign\.pth can run code")
    write_record(tmp_path / "foreign.pth", name="foreign", kind="head", **ABOUT)
    refuse("foreign.pth", WrongArchitecture, r"foreign\.pth should be a backbone or a head, but it is neither\.")
    (tmp_path / "changed.pt").write_bytes((files / "head.pt").read_bytes())
    write_record(tmp_path / "changed.pt", name="changed", kind="head", **ABOUT)
    torch.save(LSTMHead().state_dict(), tmp_path / "changed.pt")
    refuse("changed.pt", CorruptWeights, "is not the file its record describes")
    assert not (tmp_path / "new").exists()
