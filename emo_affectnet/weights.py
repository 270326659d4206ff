"""Weight files: their records, where they lie, and whether a file is what it should be.

A record stands beside its file as JSON and says how a face becomes the network's input, what the file was trained on
and what it never saw. A backbone without a record is taken for a published one. Nothing here loads a network; that is
the engines' work.
"""

import json
import math
import os
import time
import zipfile
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from .errors import CorruptWeights, MissingWeights
from .files import hash_content, whole_file

# The corpora of the study. A head is named after the one it never saw, and was trained on the other five.
CORPUS_NAMES = ("Aff-Wild2", "CREMA-D", "IEMOCAP", "RAMAS", "RAVDESS", "SAVEE")
ENSEMBLE = "ensemble"  # the mean over all heads
AVERAGE = "average"  # no head: single faces, averaged over time
HEAD_NAMES = (*CORPUS_NAMES, ENSEMBLE, AVERAGE)
FEATURES = 512  # of a face, by either backbone; what heads read
NETWORKS = ("ResNet50", "MobileNet")  # the backbones; a record that names none is of the first
BATCH_NORM_EPSILON = 1e-3  # of every batch norm in the backbones: Keras' default; PyTorch's is 1e-5
CHANNELS = ("RGB", "BGR", "grey")  # grey: luma, three times
INTERPOLATIONS = ("area", "nearest", "linear")
UNSCALED = (1.0, 1.0, 1.0)
UNMEASURED = "How well these weights read real people was not measured here."
READS_FACES = "They read how a face looks, not what a person feels; talking disturbs them."
SETTLED_NS = 2_000_000_000  # after a change of a file its times tell of the next one; FAT counts in steps of 2 s

_hashes: dict[tuple[int, ...], str] = {}  # by the state of a file


@dataclass(frozen=True)
class Preprocessing:
    """How a face becomes the network's input; a fact of the weights, not of the code."""

    input_size: int  # px, both sides
    channels: str  # one of CHANNELS
    mean: tuple[float, float, float]  # grey levels 0-255, in the order of `channels`
    interpolation: str  # one of INTERPOLATIONS
    crop_margin: tuple[float, float, float, float]  # left, top, right, bottom, as a share of the box
    std: tuple[float, float, float] = UNSCALED  # grey levels, in the order of `channels`; divides after the mean

    def __post_init__(self) -> None:
        # JSON gives lists; equal records must be equal values.
        object.__setattr__(self, "mean", tuple(self.mean))
        object.__setattr__(self, "crop_margin", tuple(self.crop_margin))
        object.__setattr__(self, "std", tuple(self.std))
        if self.channels not in CHANNELS:
            raise ValueError(f"channels must be one of {', '.join(CHANNELS)}, not {self.channels!r}")
        if self.interpolation not in INTERPOLATIONS:
            raise ValueError(f"interpolation must be one of {', '.join(INTERPOLATIONS)}, not {self.interpolation!r}")
        if (len(self.mean), len(self.crop_margin)) != (3, 4) or self.input_size < 1:
            raise ValueError("a mean has 3 values, a crop_margin 4, and an input_size is at least 1 px")
        if len(self.std) != 3 or min(self.std) <= 0:
            raise ValueError("a std has 3 values above 0")
        if not all(math.isfinite(value) for value in (*self.mean, *self.crop_margin, *self.std, self.input_size)):
            raise ValueError("its values are finite numbers")


# VGGFace2's means in B, G, R; run.py of the original resizes by area and crops the detector's box without a margin.
PUBLISHED_PREPROCESSING = Preprocessing(
    input_size=224,
    channels="BGR",
    mean=(91.4953, 103.8827, 131.0912),
    interpolation="area",
    crop_margin=(0.0, 0.0, 0.0, 0.0),
)
PUBLISHED_BACKBONE_SHA256 = "8274190b5be4355bd2f07b59f593fcdb294f9d7c563bfa9ac9e5ea06c10692d2"


@dataclass(frozen=True)
class WeightFile:
    """The record of one weight file."""

    name: str
    kind: str  # "backbone" or "head"
    filename: str
    sha256: str  # 64 hexadecimal digits
    size: int  # bytes
    license: str
    trained_on: tuple[str, ...]
    held_out: str | None = None  # the corpus a head never saw
    network: str | None = None  # of a backbone: one of NETWORKS; None: the first
    preprocessing: Preprocessing | None = None  # of a backbone
    converted_from: str | None = None  # SHA-256 of the file it was first made from
    backbone_sha256: str | tuple[str, ...] | None = None  # of those whose features a head was trained on
    temperature: float | None = None  # that was folded into a backbone's last layer, after ...
    logit_adjustment: float | None = None  # ... this share of the training prior was taken out of its logits
    policies: dict[str, str] | None = None  # how open choices in its corpora were made, by <corpus>.<policy>
    measured: str | None = None  # of a backbone: a sentence on how well it reads real people
    feature_mean: tuple[float, ...] | None = None  # (D,) of the faces that trained a backbone; a baseline moves to it

    def __post_init__(self) -> None:
        if len(self.sha256) != 64 or set(self.sha256) - set("0123456789abcdef"):
            raise ValueError(f"A SHA-256 has 64 hexadecimal digits, not {self.sha256!r}.")
        if self.network not in (None, *NETWORKS):
            raise ValueError(f"network must be one of {', '.join(NETWORKS)}, not {self.network!r}")
        object.__setattr__(self, "trained_on", tuple(self.trained_on))
        if isinstance(self.backbone_sha256, list):  # as JSON has them
            object.__setattr__(self, "backbone_sha256", tuple(self.backbone_sha256))
        for words in (self.name, self.kind, self.filename, self.license, *self.trained_on, *self.backbones):
            if not isinstance(words, str):
                raise ValueError(f"names, kind, license, corpora and hashes are words, not {words!r}")
        if self.feature_mean is not None:
            object.__setattr__(self, "feature_mean", tuple(map(float, self.feature_mean)))
            if not self.feature_mean or not all(map(math.isfinite, self.feature_mean)):
                raise ValueError("a feature_mean is one finite number or more")

    @property
    def backbones(self) -> tuple[str, ...]:
        """The SHA-256 of every backbone whose features a head was trained on; none if that is not known."""
        hashes = self.backbone_sha256
        return (hashes,) if isinstance(hashes, str) else hashes or ()


def bundled_folder() -> Path:
    """Return the folder of the bundled weights: inside an installed package, or in the checkout."""
    package = Path(__file__).resolve().parent
    installed = package / "bundled"
    return installed if installed.is_dir() else package.parent / "weights" / "bundled"


def demo_folder() -> Path:
    """Return the folder of the demo clips: inside an installed package, or in the checkout."""
    package = Path(__file__).resolve().parent
    installed = package / "demo"
    return installed if installed.is_dir() else package.parent / "video"


def bundled_hashes() -> set[str]:
    """Return the SHA-256 of every bundled file."""
    records = (read_record(path) for path in bundled_folder().glob("*.pt"))
    return {record.sha256 for record in records if record}


def hash_file(path: Path) -> str:
    """Return the SHA-256 of a file as 64 hexadecimal digits; a file that stays the same is read once in a process.

    A file that has just been written is read each time: within a tick of the file system's clock it may change unseen.
    """
    about = path.stat()
    changed = max(about.st_mtime_ns, about.st_ctime_ns)
    state = (about.st_dev, about.st_ino, about.st_size, about.st_mtime_ns, about.st_ctime_ns)
    if state in _hashes:
        return _hashes[state]
    digest = hash_content(path)
    if time.time_ns() - changed > SETTLED_NS:
        _hashes[state] = digest
    return digest


def record_path(path: Path) -> Path:
    """Return where the record of a weight file stands."""
    return path.with_suffix(".json")


def read_record(path: Path) -> WeightFile | None:
    """Return the record beside a weight file, or None if it has none.

    Raises:
        CorruptWeights: the record is not one.
    """
    record = record_path(path)
    if not record.is_file():
        return None
    try:
        fields: dict[str, Any] = dict(json.loads(record.read_text(encoding="utf-8")))
        if fields.get("filename") != path.name and os.path.isfile(path.parent / str(fields.get("filename"))):
            return None  # it is the record of a file beside it that differs in its suffix only
        preprocessing = fields.pop("preprocessing")
        found = WeightFile(**fields, preprocessing=Preprocessing(**preprocessing) if preprocessing else None)
    except (ValueError, TypeError, KeyError, OverflowError, RecursionError) as error:
        reason = f"it lacks {error}" if isinstance(error, KeyError) else f"it cannot be read: {error}"
        raise CorruptWeights(
            f"{record} should be the JSON record of {path.name}, but {reason.rstrip('.')}. Get both files again."
        ) from error
    if found.sha256 == PUBLISHED_BACKBONE_SHA256 and found.preprocessing not in (None, PUBLISHED_PREPROCESSING):
        raise CorruptWeights(
            f"{record} describes the published backbone with another preprocessing than the published one: faces as "
            "BGR at 224 px minus VGGFace2's means. Remove the record, and the file is read as published."
        )
    return found


def write_record(path: Path, **fields: Any) -> WeightFile:
    """Measure a weight file and write its record beside it; `fields` are those a file does not tell."""
    record = WeightFile(filename=path.name, sha256=hash_file(path), size=path.stat().st_size, **fields)
    with whole_file(record_path(path)) as partial:
        partial.write_text(json.dumps(asdict(record), indent=2) + "\n", encoding="utf-8")
    return record


def _check_presence(path: Path) -> None:
    if not os.path.isfile(path):
        came = "it is a folder" if os.path.isdir(path) else "there is none"
        raise MissingWeights(f"Expected a weight file at {path}, but {came}. Check the path.")


def verify(path: Path, *, needs_record: bool = False) -> WeightFile | None:
    """Check a weight file against its record, where it has one, and return the record.

    Raises:
        MissingWeights: there is no such file, or no record where one is needed.
        CorruptWeights: its hash is another one.
    """
    _check_presence(path)
    record = read_record(path)
    if needs_record and not record:
        raise MissingWeights(
            f"Expected the record of {path.name} at {record_path(path)}, but there is none; without it the weights "
            "cannot be checked or read as they should be. Get both files again."
        )
    if record and (actual := hash_file(path)) != record.sha256:
        raise CorruptWeights(
            f"{path} is not the file its record describes: expected SHA-256 {record.sha256[:12]}… of {record.size} "
            f"bytes, came {actual[:12]}… of {path.stat().st_size}. Get the file again."
        )
    return record


def describe_trust(backbone: Path | None) -> str:
    """Return for people how far to trust a backbone's readings: what its record says was measured, and what it reads.

    None is a backbone of which nothing is known.
    """
    record = read_record(backbone) if backbone else None
    measured = record.measured if record and record.measured else UNMEASURED
    return f"{measured} {READS_FACES}"


def read_preprocessing(backbone: Path) -> Preprocessing:
    """Return how a face becomes a backbone's input: as its record says, or as published if it has none."""
    record = read_record(backbone)
    return record.preprocessing if record and record.preprocessing else PUBLISHED_PREPROCESSING


def sniff_format(path: Path) -> str:
    """Return "state dict", "TorchScript" or "Keras", by the file's content.

    Raises:
        MissingWeights: there is no such file.
        CorruptWeights: it is none of these.
    """
    _check_presence(path)
    with path.open("rb") as file:
        start = file.read(64)
    if start.startswith(b"version https://git-lfs"):
        raise CorruptWeights(
            f"{path} is a git-lfs pointer, a text of {path.stat().st_size} bytes that stands for the weights. "
            "Run 'git lfs pull' where it came from, or download the file itself."
        )
    if start.startswith(b"\x89HDF\r\n\x1a\n"):
        return "Keras"
    try:
        with zipfile.ZipFile(path) as archive:
            is_script = any("/code/" in name for name in archive.namelist())
    except (zipfile.BadZipFile, NotImplementedError, ValueError) as error:
        is_zip = start.startswith(b"PK")
        came = "an empty file" if not start else "a truncated or damaged one" if is_zip else "something else"
        raise CorruptWeights(
            f"{path} should be a PyTorch file (a state dict or TorchScript), but it is {came} "
            f"({path.stat().st_size} bytes). Get the file again."
        ) from error
    return "TorchScript" if is_script else "state dict"
