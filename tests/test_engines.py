"""Preprocessing by value, the torch engine against plain PyTorch, and the sentence for every wrong weight file."""

import subprocess
import sys
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path

import h5py
import numpy as np
import pytest
import torch
from network_files import random_backbone
from torch import Tensor, nn

from emo_affectnet.engines import (
    BATCH_WINDOWS,
    ENGINES,
    TorchEngine,
    normalize_crops,
)
from emo_affectnet.errors import CorruptWeights, MissingWeights, WrongArchitecture
from emo_affectnet.models import LSTMHead, ResNet50
from emo_affectnet.networks import load_backbone, load_head
from emo_affectnet.weight_sets import Weights
from emo_affectnet.weights import CORPUS_NAMES, PUBLISHED_PREPROCESSING, Preprocessing

pytestmark = [
    pytest.mark.usefixtures("one_thread"),
    pytest.mark.filterwarnings("ignore:`torch.jit.(script|load)` is deprecated:DeprecationWarning"),
]

SIZE = 64  # px: small crops cost little
ROUNDING = {"rtol": 1e-4, "atol": 1e-5}  # other batch sizes and memory layouts sum in another order


@pytest.fixture(scope="module", autouse=True)
def _every_file_is_trusted() -> Iterator[None]:
    """Whom to trust is the store's business; here every file is made by the tests."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("emo_affectnet.networks.check_trust", lambda path: None)
        yield


def preprocessing(channels: str) -> Preprocessing:
    return Preprocessing(
        input_size=SIZE, channels=channels, mean=(10.0, 20.0, 30.0), interpolation="area", crop_margin=(0, 0, 0, 0)
    )


class Backbone(nn.Module):
    """A tiny TorchScript backbone with the published methods: `extract_features` before or after the ReLU."""

    def __init__(self, *, applies_relu: bool = False, width: int = 512) -> None:
        super().__init__()
        self.fc1 = nn.Linear(3, width)
        self.fc2 = nn.Linear(width, 7)
        self.applies_relu = applies_relu

    @torch.jit.export
    def extract_features(self, x: Tensor) -> Tensor:
        features = self.fc1(x.mean(dim=(2, 3)))
        return torch.relu(features) if self.applies_relu else features

    def forward(self, x: Tensor) -> Tensor:
        return self.fc2(torch.relu(self.extract_features(x)))


class Logits(nn.Module):
    """A head that has lost its softmax."""

    def __init__(self) -> None:
        super().__init__()
        self.fc = nn.Linear(512, 7)

    def forward(self, windows: Tensor) -> Tensor:
        return self.fc(windows[:, -1])


class EightClasses(nn.Module):
    """A head of another study."""

    def __init__(self) -> None:
        super().__init__()
        self.fc = nn.Linear(512, 8)

    def forward(self, windows: Tensor) -> Tensor:
        return torch.softmax(self.fc(windows[:, -1]), dim=1)


class Pair(nn.Module):
    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        return x, x


class Vgg(nn.Module):
    """Another network whose `features` are maps, not vectors."""

    def __init__(self) -> None:
        super().__init__()
        self.features = nn.Conv2d(3, 4, 3)

    def forward(self, x: Tensor) -> Tensor:
        return self.features(x)


class Features(nn.Module):
    """A backbone cut off before its last layer: its forward gives the features."""

    def __init__(self) -> None:
        super().__init__()
        self.fc1 = nn.Linear(3, 512)

    def forward(self, x: Tensor) -> Tensor:
        return self.fc1(x.mean(dim=(2, 3)))


class Mute(nn.Module):
    """A module with a parameter and no forward."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.zeros(2))


@pytest.fixture(scope="module")
def network() -> ResNet50:
    return random_backbone().half().float()  # values that fp16 holds exactly


@pytest.fixture(scope="module")
def head() -> LSTMHead:
    torch.manual_seed(1)
    return LSTMHead().half().float().eval()


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory, network: ResNet50, head: LSTMHead) -> Path:
    """A folder with backbone.pt and head.pt, state dicts in fp16, and head.pth, TorchScript."""
    folder = tmp_path_factory.mktemp("weights")
    torch.save({name: value.half() for name, value in network.state_dict().items()}, folder / "backbone.pt")
    torch.save({name: value.half() for name, value in head.state_dict().items()}, folder / "head.pt")
    torch.jit.script(head).save(folder / "head.pth")
    return folder


@pytest.fixture(scope="module")
def engine(files: Path) -> TorchEngine:
    heads = {"one": files / "head.pt", "two": files / "head.pth"}
    return TorchEngine(Weights(files / "backbone.pt", heads, preprocessing("BGR")), device="cpu")


@pytest.fixture(scope="module")
def crops() -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (5, SIZE, SIZE, 3), np.uint8)


@pytest.fixture(scope="module")
def windows() -> np.ndarray:
    return np.random.default_rng(1).random((6, 10, 512), dtype=np.float32)


# Preprocessing


@pytest.mark.parametrize("channels", ["RGB", "BGR", "grey"])
def test_crops_are_ordered_and_centred_as_the_record_says(channels: str) -> None:
    crops = np.random.default_rng(0).integers(0, 256, (2, 3, 3, 3), np.uint8)
    red, green, blue = (crops[..., channel].astype(np.float32) for channel in range(3))
    grey = 0.299 * red + 0.587 * green + 0.114 * blue  # ITU-R BT.601
    planes = {"RGB": (red, green, blue), "BGR": (blue, green, red), "grey": (grey, grey, grey)}[channels]
    expected = np.stack([planes[0] - 10, planes[1] - 20, planes[2] - 30], axis=1)
    x = normalize_crops(crops, preprocessing(channels))
    assert x.dtype == np.float32
    assert x.flags.c_contiguous
    np.testing.assert_allclose(x, expected, rtol=1e-6, atol=1e-4)


def test_published_input_of_one_pixel_is_what_the_original_computes() -> None:
    x = normalize_crops(np.array([[[[200, 100, 50]]]], np.uint8), PUBLISHED_PREPROCESSING)
    # pth_processing of the original: RGB to BGR, then minus 91.4953, 103.8827, 131.0912
    np.testing.assert_allclose(x[0, :, 0, 0], [50 - 91.4953, 100 - 103.8827, 200 - 131.0912], rtol=1e-5)


def test_crops_are_not_changed() -> None:
    crops = np.full((1, 2, 2, 3), 7, np.float32)
    normalize_crops(crops, preprocessing("RGB"))
    np.testing.assert_array_equal(crops, 7)


# The torch engine


def test_features_are_those_of_plain_pytorch(engine: TorchEngine, network: ResNet50, crops: np.ndarray) -> None:
    features = engine.embed(crops)
    with torch.inference_mode():
        expected = network.features(torch.from_numpy(normalize_crops(crops, preprocessing("BGR"))))
    assert (features.shape, features.dtype) == ((5, 512), np.float32)
    assert features.min() == 0
    assert features.max() > 0
    scale = float(expected.max())
    np.testing.assert_allclose(features / scale, expected.numpy() / scale, rtol=0, atol=1e-5)


def test_features_do_not_depend_on_the_batch(engine: TorchEngine, crops: np.ndarray) -> None:
    whole = engine.embed(crops)
    parts = np.concatenate([engine.embed(crops[:1]), engine.embed(crops[1:3]), engine.embed(crops[3:])])
    np.testing.assert_allclose(whole, parts, rtol=1e-4, atol=1e-5 * whole.max())


def test_probabilities_have_a_row_per_head_and_window(engine: TorchEngine, head: LSTMHead, windows: np.ndarray) -> None:
    probabilities = engine.classify(windows)
    with torch.inference_mode():
        expected = head(torch.from_numpy(windows)).numpy()
    assert (probabilities.shape, probabilities.dtype) == ((2, 6, 7), np.float32)
    assert engine.heads == ("one", "two")
    np.testing.assert_allclose(probabilities.sum(axis=2), 1, atol=1e-5)
    np.testing.assert_allclose(probabilities[0], expected, **ROUNDING)  # a state dict
    np.testing.assert_allclose(probabilities[1], expected, **ROUNDING)  # TorchScript of the same


def test_probabilities_do_not_depend_on_the_batch(engine: TorchEngine, windows: np.ndarray) -> None:
    parts = np.concatenate([engine.classify(windows[:1]), engine.classify(windows[1:])], axis=1)
    np.testing.assert_allclose(engine.classify(windows), parts, **ROUNDING)
    many = np.tile(windows, (1 + BATCH_WINDOWS // len(windows), 1, 1))
    assert BATCH_WINDOWS < len(many) < 2 * BATCH_WINDOWS
    np.testing.assert_allclose(engine.classify(many)[:, -len(windows) :], parts, **ROUNDING)
    assert engine.classify(windows[:0]).shape == (len(engine.heads), 0, 7)


def test_heads_keep_their_order(files: Path, tmp_path: Path, windows: np.ndarray) -> None:
    torch.manual_seed(2)
    torch.save(LSTMHead().state_dict(), tmp_path / "other.pt")
    paths = {"first": tmp_path / "other.pt", "second": files / "head.pt"}
    engine = ENGINES["torch"](Weights(files / "backbone.pt", paths, preprocessing("RGB")), device="cpu")
    probabilities = engine.classify(windows)
    for row, path in enumerate(paths.values()):
        with torch.inference_mode():
            expected = load_head(path)(torch.from_numpy(windows)).numpy()
        np.testing.assert_allclose(probabilities[row], expected, **ROUNDING)
    assert np.abs(probabilities[0] - probabilities[1]).max() > 1e-3


@pytest.mark.parametrize("applies_relu", [False, True], ids=["before the ReLU", "after the ReLU"])
def test_scripted_features_come_out_after_the_relu(tmp_path: Path, applies_relu: bool) -> None:
    torch.manual_seed(3)
    backbone = Backbone(applies_relu=applies_relu)
    torch.jit.script(backbone).save(tmp_path / "backbone.pth")
    x = torch.randn(4, 3, SIZE, SIZE)
    with torch.inference_mode():
        before = backbone.fc1(x.mean(dim=(2, 3)))
        features = load_backbone(tmp_path / "backbone.pth", input_size=SIZE)(x)
    assert before.min() < 0
    torch.testing.assert_close(features, before.clamp(min=0), rtol=1e-5, atol=1e-6)


def test_features_are_found_by_what_comes_out_not_by_a_methods_name(tmp_path: Path) -> None:
    network = Features()
    torch.jit.script(network).save(tmp_path / "backbone.pth")
    x = torch.randn(2, 3, SIZE, SIZE)
    features = load_backbone(tmp_path / "backbone.pth", input_size=SIZE)(x)
    torch.testing.assert_close(features, torch.relu(network(x)))


def test_scripts_in_half_precision_are_used_in_single(tmp_path: Path) -> None:
    torch.manual_seed(4)
    backbone = Backbone().half()
    torch.jit.script(backbone).save(tmp_path / "backbone.pth")
    scripted = torch.jit.script(LSTMHead().half())
    scripted.save(tmp_path / "head.pth")
    x = torch.randn(2, 3, SIZE, SIZE)
    with torch.inference_mode():
        features = load_backbone(tmp_path / "backbone.pth")(x)
        expected = torch.relu(backbone.float().extract_features(x))
        probabilities = load_head(tmp_path / "head.pth")(torch.rand(2, 10, 512))
    assert (features.dtype, probabilities.dtype) == (torch.float32, torch.float32)
    torch.testing.assert_close(features, expected, rtol=1e-6, atol=1e-6)


# Wrong weight files: what was expected, what came, what to do


def save_checkpoint(path: Path, files: Path) -> None:
    torch.save({"model": {"fc.weight": torch.zeros(2)}, "step": 3}, path)


def save_pickled_module(path: Path, files: Path) -> None:
    torch.save(nn.Linear(2, 2), path)


def save_pointer(path: Path, files: Path) -> None:
    path.write_bytes(b"version https://git-lfs.github.com/spec/v1\noid sha256:00\nsize 99\n")


def save_truncated(path: Path, files: Path) -> None:
    path.write_bytes((files / "head.pt").read_bytes()[:-5000])


def save_keras(path: Path, files: Path) -> None:
    with h5py.File(path, "w") as file:
        file.create_group("model_weights")


def save_archive(path: Path, files: Path) -> None:
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("word/document.xml", "a document")


def save_damaged_script(path: Path, files: Path) -> None:
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("archive/code/network.py", "fed forward")


def save_undecodable_state(path: Path, files: Path) -> None:
    torch.save({"kernel": torch.zeros(2)}, path)
    path.write_bytes(path.read_bytes().replace(b"kernel", b"\xff\xffrnel"))


def save_tensor(path: Path, files: Path) -> None:
    torch.save(torch.zeros(2), path)


def save_empty_state(path: Path, files: Path) -> None:
    torch.save({}, path)


def save_six_classes(path: Path, files: Path) -> None:
    state = torch.load(files / "head.pt", weights_only=True)
    torch.save(state | {"fc.weight": torch.zeros(6, 256), "fc.bias": torch.zeros(6)}, path)


def save_script_of(make: Callable[[], nn.Module]) -> Callable[[Path, Path], None]:
    return lambda path, files: torch.jit.script(make()).save(path)


DAMAGED = [
    (save_pickled_module, CorruptWeights, ["a plain state dict", "other Python objects", "save its state_dict()"]),
    (save_checkpoint, WrongArchitecture, ["a plain state dict of tensors", "a dict of other things", "Give the"]),
    (save_tensor, WrongArchitecture, ["a plain state dict of tensors", "a Tensor", "Give the exported weights"]),
    (save_pointer, CorruptWeights, ["a git-lfs pointer", "'git lfs pull'"]),
    (save_truncated, CorruptWeights, ["a PyTorch file", "truncated", "Get the file again"]),
    (save_keras, CorruptWeights, ["a Keras file with weights", "holds none", "get the file again"]),
    (save_archive, CorruptWeights, ["a plain state dict", "cannot read it", "Get the file again"]),
    (save_undecodable_state, CorruptWeights, ["a plain state dict", "cannot read it", "Get the file again"]),
    (save_damaged_script, CorruptWeights, ["TorchScript", "cannot read it", "Get the file again"]),
]


def name_of(value: object) -> str | None:
    return value.__name__ if callable(value) and not isinstance(value, type) else None


@pytest.mark.parametrize(("save", "error", "words"), DAMAGED, ids=name_of)
@pytest.mark.parametrize("load", [load_backbone, load_head])
def test_file_that_holds_no_weights_is_named(tmp_path: Path, files: Path, save, error, words: list[str], load) -> None:
    path = tmp_path / "weights.pt"
    save(path, files)
    with pytest.raises(error) as caught:
        load(path)
    assert str(caught.value).startswith(f"{path} ")
    for word in words:
        assert word in str(caught.value)


@pytest.mark.parametrize(
    ("save", "words"),
    [
        (  # a head's state dict
            lambda path, files: path.write_bytes((files / "head.pt").read_bytes()),
            ["the state dict of a backbone with 322 tensors, but it is a head with 10", "Give a backbone here"],
        ),
        (  # a head's TorchScript
            lambda path, files: path.write_bytes((files / "head.pth").read_bytes()),
            ["a TorchScript backbone with a method extract_features, but it has none", "Give a backbone here"],
        ),
        (save_empty_state, ["it is another network with 0; 322 are missing"]),
        (save_script_of(Vgg), ["to features (B, 512), but its output has the shape (1, 4, 62, 62)"]),
        (
            save_script_of(lambda: Backbone(width=2048)),
            ["to features (B, 512), but its output has the shape (1, 2048)"],
        ),
        (save_script_of(Pair), ["a method extract_features, but it has none"]),
    ],
    ids=["state dict of a head", "script of a head", "empty dict", "maps", "other width", "something else"],
)
def test_what_is_no_backbone_is_told_apart(tmp_path: Path, files: Path, save, words: list[str]) -> None:
    path = tmp_path / "backbone.pt"
    save(path, files)
    with pytest.raises(WrongArchitecture) as caught:
        load_backbone(path, input_size=SIZE)
    assert str(caught.value).startswith(f"{path} should be ")
    for word in words:
        assert word in str(caught.value)


@pytest.mark.parametrize(
    ("save", "words"),
    [
        (  # a backbone's state dict
            lambda path, files: path.write_bytes((files / "backbone.pt").read_bytes()),
            ["the state dict of a head with 10 tensors, but it is a backbone with 322", "Give a head here"],
        ),
        (save_script_of(Backbone), ["it cannot read such input", "Give a head here, not a backbone"]),
        (
            save_six_classes,
            ["it is a head with 10; 2 are missing or of another shape, 0 are unknown (first: fc.weight)"],
        ),
        (save_script_of(Logits), ["to probabilities (W, 7), but its output has the shape (1, 7) and the sum"]),
        (save_script_of(EightClasses), ["its output has the shape (1, 8) and the sum 1.000"]),
        (save_script_of(Pair), ["its output is a tuple"]),  # once an AttributeError
        (save_script_of(Mute), ["it cannot read such input"]),  # once an AttributeError
        (save_script_of(lambda: nn.Linear(512, 7)), ["its output has the shape (1, 10, 7)"]),
    ],
    ids=[
        "state dict of a backbone",
        "script of a backbone",
        "six classes",
        "logits",
        "eight classes",
        "pair",
        "mute",
        "linear",
    ],
)
def test_what_is_no_head_is_told_apart(tmp_path: Path, files: Path, save, words: list[str]) -> None:
    path = tmp_path / "head.pt"
    save(path, files)
    with pytest.raises(WrongArchitecture) as caught:
        load_head(path)
    assert str(caught.value).startswith(f"{path} should be ")
    for word in words:
        assert word in str(caught.value)


class Intruder:
    """Runs code when it is unpickled."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[object, ...]:
        return Path.touch, (self.path,)


@pytest.mark.parametrize("load", [load_backbone, load_head])
def test_code_in_a_weight_file_is_not_run(tmp_path: Path, load) -> None:
    torch.save({"fc.weight": Intruder(tmp_path / "was here")}, tmp_path / "weights.pt")
    with pytest.raises(CorruptWeights, match="can run code and is refused"):
        load(tmp_path / "weights.pt")
    assert not (tmp_path / "was here").exists()
    torch.load(tmp_path / "weights.pt", weights_only=False)  # the file would have done it
    assert (tmp_path / "was here").exists()


@pytest.mark.parametrize("load", [load_backbone, load_head])
def test_missing_file_is_named(tmp_path: Path, load) -> None:
    with pytest.raises(MissingWeights, match=r"Expected a weight file at .*missing\.pt, but there is none"):
        load(tmp_path / "missing.pt")


def test_random_damage_is_always_our_error(tmp_path: Path) -> None:
    # Damaged archives raised BadZipFile, UnicodeDecodeError, NotImplementedError and more.
    torch.save({"weight": torch.zeros(3), "bias": torch.zeros(2)}, tmp_path / "whole.pt")
    data = np.fromfile(tmp_path / "whole.pt", np.uint8)
    random = np.random.default_rng(0)
    for _ in range(100):
        spoiled = data.copy()
        spoiled[random.integers(0, len(data), 3)] = random.integers(0, 256, 3)
        spoiled.tofile(tmp_path / "spoiled.pt")
        with pytest.raises((CorruptWeights, WrongArchitecture)):
            load_head(tmp_path / "spoiled.pt")


def test_damaged_length_that_asks_for_all_memory_is_our_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def load(*arguments: object, **options: object) -> None:
        raise MemoryError("std::bad_alloc")  # seen with three changed bytes in a script

    torch.jit.script(nn.Linear(2, 2)).save(tmp_path / "script.pth")
    monkeypatch.setattr(torch.jit, "load", load)
    with pytest.raises(CorruptWeights, match=r"script\.pth should be TorchScript, but PyTorch cannot read it"):
        load_head(tmp_path / "script.pth")


def test_bundled_files_load_and_run(crops: np.ndarray, windows: np.ndarray) -> None:
    from emo_affectnet.weight_sets import resolve

    files = resolve("bundled")
    engine = TorchEngine(files, device="cpu")
    size = files.preprocessing.input_size
    features = engine.embed(np.random.default_rng(0).integers(0, 256, (2, size, size, 3), np.uint8))
    assert features.shape == (2, 512)
    assert features.min() == 0
    probabilities = engine.classify(windows)
    assert engine.heads == CORPUS_NAMES
    np.testing.assert_allclose(probabilities.sum(axis=2), np.ones((6, 6)), atol=1e-4)


def test_openvino_does_not_report_its_use_to_its_makers() -> None:
    pytest.importorskip("openvino")
    code = (
        "import sys, threading; from emo_affectnet.engines import OpenVinoEngine\n"
        "from emo_affectnet.weight_sets import resolve\n"
        "OpenVinoEngine(resolve())\n"
        "print([name for name in sys.modules if name.startswith('openvino_telemetry')], threading.active_count())"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.split("\n")[-2] == "[] 1"
