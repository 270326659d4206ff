"""Weight files: their records, where they lie, and whether a file is what it should be.

A record stands beside its file as JSON and says how a face becomes the network's input, what the file was trained on
and what it never saw. A backbone without a record is taken for a published one. Nothing here loads a network; that is
the engines' work.
"""

import hashlib
import json
import logging
import os
import zipfile
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from .errors import CorruptWeights, MissingWeights, check_name
from .files import whole_file

log = logging.getLogger("emo_affectnet")

# The corpora of the study. A head is named after the one it never saw, and was trained on the other five.
CORPUS_NAMES = ("Aff-Wild2", "CREMA-D", "IEMOCAP", "RAMAS", "RAVDESS", "SAVEE")
ENSEMBLE = "ensemble"  # the mean over all heads
HEAD_NAMES = (*CORPUS_NAMES, ENSEMBLE)
CHANNELS = ("RGB", "BGR", "grey")  # grey: luma, three times
INTERPOLATIONS = ("area", "nearest", "linear")
UNSCALED = (1.0, 1.0, 1.0)


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


# VGGFace2's means in B, G, R; run.py of the original resizes by area and crops the detector's box without a margin.
PUBLISHED_PREPROCESSING = Preprocessing(
    input_size=224,
    channels="BGR",
    mean=(91.4953, 103.8827, 131.0912),
    interpolation="area",
    crop_margin=(0.0, 0.0, 0.0, 0.0),
)


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
    preprocessing: Preprocessing | None = None  # of a backbone
    backbone_sha256: str | None = None  # whose features a head was trained on
    temperature: float | None = None  # that was folded into a backbone's last layer, after ...
    logit_adjustment: float | None = None  # ... this share of the training prior was taken out of its logits
    policies: dict[str, str] | None = None  # how open choices in its corpora were made, by <corpus>.<policy>

    def __post_init__(self) -> None:
        if len(self.sha256) != 64 or set(self.sha256) - set("0123456789abcdef"):
            raise ValueError(f"A SHA-256 has 64 hexadecimal digits, not {self.sha256!r}.")
        object.__setattr__(self, "trained_on", tuple(self.trained_on))


@dataclass(frozen=True)
class Weights:
    """The files of one analysis: a backbone, and heads by name."""

    backbone: Path
    heads: dict[str, Path]
    preprocessing: Preprocessing


def bundled_folder() -> Path:
    """Return the folder of the bundled weights: inside an installed package, or in the checkout."""
    package = Path(__file__).resolve().parent
    installed = package / "bundled"
    return installed if installed.is_dir() else package.parent / "weights" / "bundled"


# The folder of each weight set: `backbone.pt` and one TorchScript file per head.
WEIGHTS = {"bundled": bundled_folder}


def hash_file(path: Path) -> str:
    """Return the SHA-256 of a file as 64 hexadecimal digits."""
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while chunk := file.read(1 << 20):
            digest.update(chunk)
    return digest.hexdigest()


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
        preprocessing = fields.pop("preprocessing")
        return WeightFile(**fields, preprocessing=Preprocessing(**preprocessing) if preprocessing else None)
    except (ValueError, TypeError, KeyError) as error:
        reason = f"it lacks {error}" if isinstance(error, KeyError) else f"it cannot be read: {error}"
        raise CorruptWeights(
            f"{record} should be the JSON record of {path.name}, but {reason.rstrip('.')}. Get both files again."
        ) from error


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


def read_preprocessing(backbone: Path) -> Preprocessing:
    """Return how a face becomes a backbone's input: as its record says, or as published if it has none."""
    record = read_record(backbone)
    return record.preprocessing if record and record.preprocessing else PUBLISHED_PREPROCESSING


def resolve_backbone(name: str = "bundled", *, backbone: Path | None = None) -> Path:
    """Return the backbone of a weight set, or the given file in its place; it is verified.

    Raises:
        UnknownName: there is no such set.
        MissingWeights, CorruptWeights: the file is not there, or not as recorded.
    """
    check_name("weight set", name, WEIGHTS)
    folder = WEIGHTS[name]()
    backbone = backbone or folder / "backbone.pt"
    verify(backbone, needs_record=backbone.parent == folder)  # a file of the user's own may come without one
    return backbone


def resolve(name: str = "bundled", *, backbone: Path | None = None, head: Path | None = None) -> Weights:
    """Return the files of a weight set; a `backbone` or `head` file given by path takes the place of the set's own.

    Raises:
        UnknownName: there is no such set.
        MissingWeights, CorruptWeights: a file is not there, or not as recorded.
    """
    backbone = resolve_backbone(name, backbone=backbone)
    folder = WEIGHTS[name]()
    heads = {head.stem: head} if head else {corpus: folder / f"{corpus}.pt" for corpus in CORPUS_NAMES}
    records = [verify(path, needs_record=path.parent == folder) for path in heads.values()]
    _warn_of_strangers(backbone, records)
    return Weights(backbone, heads, read_preprocessing(backbone))


def _warn_of_strangers(backbone: Path, heads: list[WeightFile | None]) -> None:
    """Warn if a head was trained on the features of another backbone: it answers, and its answer means nothing.

    The study itself pairs backbones and heads freely, so this is no error.
    """
    expected = {head.backbone_sha256 for head in heads if head and head.backbone_sha256}
    own = read_record(backbone)  # verified, so that its hash is the file's
    if expected and expected != {own.sha256 if own else hash_file(backbone)}:
        log.warning(
            "The heads were trained on the features of another backbone than %s: expect meaningless emotions, and give "
            "heads that belong to it.",
            backbone,
        )


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
