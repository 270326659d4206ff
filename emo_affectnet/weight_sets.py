"""Weight sets: which files make an analysis. In goes a set's name, out come a checked backbone and its heads.

A file of one's own takes the place of the set's. `DEFAULT_WEIGHTS` is the set that is used unless another is named.
"""

import logging
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from . import store
from .errors import MissingWeights, UsageError, check_name
from .weights import (
    CORPUS_NAMES,
    Preprocessing,
    WeightFile,
    bundled_folder,
    hash_file,
    read_preprocessing,
    read_record,
    verify,
)

log = logging.getLogger("emo_affectnet")


@dataclass(frozen=True)
class Weights:
    """The files of one analysis: a backbone, and heads by name."""

    backbone: Path
    heads: dict[str, Path]
    preprocessing: Preprocessing


@dataclass(frozen=True)
class BundledSet:
    """The names of a set's files in the folder of bundled weights; `{}` stands for a corpus."""

    backbone: str
    heads: str | None  # None: the set reads single faces, and averages them
    thresholds: str | None  # what an adaptive analysis goes by

    def place(self, part: str) -> Path:
        """Return where the set's "backbone", or the head of a corpus, lies or would lie."""
        return bundled_folder() / (self.backbone if part == "backbone" else str(self.heads).format(part))

    @property
    def head_names(self) -> tuple[str, ...]:
        """The corpora that the set has heads for."""
        return CORPUS_NAMES if self.heads else ()

    @property
    def is_here(self) -> bool:
        """Whether the set came with this copy of the package."""
        return self.place("backbone").is_file()


BUNDLED = {
    "bundled": BundledSet("backbone.pt", "{}.pt", "adaptive.json"),
    "bundled-mobile": BundledSet("mobile.pt", None, None),
}
DEFAULT_WEIGHTS = "bundled-mobile"
STUDY_WEIGHTS = "bundled"  # whose backbone and heads have the study's shape


def find_bundled(name: str, part: str) -> Path:
    """Return the "backbone" or a head of a bundled set, checked against its record."""
    path = BUNDLED[name].place(part)
    verify(path, needs_record=True)
    return path


def find_in(folder: Path) -> Callable[[str], Path]:
    """Return the function to the head of a corpus in a folder, <corpus>.pt; it may be missing."""
    return lambda corpus: folder / f"{corpus}.pt"


def find_thresholds(name: str = DEFAULT_WEIGHTS) -> Path:
    """Return what an adaptive analysis with a weight set goes by.

    Raises:
        UsageError: the set has no such file.
    """
    thresholds = BUNDLED[name].thresholds if name in BUNDLED else None
    path = bundled_folder() / thresholds if thresholds else None
    if path is None or not path.is_file():
        raise UsageError(
            f"An adaptive analysis goes by thresholds, and there are none for the weight set {name}. Use the set "
            f"{STUDY_WEIGHTS}, or learn them with 'emo-affectnet train adaptive' and give them with --thresholds."
        )
    return path


def find_published(part: str) -> Path:
    """Return the published "backbone" or head from the store, checked against the catalogue."""
    try:
        return store.locate(f"emo-affectnet/{part}")
    except MissingWeights as error:
        raise MissingWeights(
            f"The published weights are not all here: the {part} is missing. Run 'emo-affectnet weights fetch "
            "emo-affectnet', or analyse with the bundled ones."
        ) from error


# Each set gives the file of its "backbone" and of the head of every corpus.
WEIGHTS: dict[str, Callable[[str], Path]] = {
    **{name: partial(find_bundled, name) for name in BUNDLED},
    "emo-affectnet": find_published,
}


def _verify_own(path: Path) -> Path:
    verify(path)  # which may come without a record
    return path


def resolve_backbone(name: str = DEFAULT_WEIGHTS, *, backbone: Path | None = None) -> Path:
    """Return the backbone of a weight set, or the given file in its place; it is verified.

    Raises:
        UnknownName: there is no such set.
        MissingWeights, CorruptWeights: the file is not there, or not as recorded.
    """
    check_name("weight set", name, WEIGHTS)
    return _verify_own(backbone) if backbone else WEIGHTS[name]("backbone")


def resolve(name: str = DEFAULT_WEIGHTS, *, backbone: Path | None = None, head: Path | None = None) -> Weights:
    """Return the files of a weight set; a `backbone` or `head` file given by path takes the place of the set's own.

    Raises:
        UnknownName: there is no such set.
        MissingWeights, CorruptWeights: a file is not there, or not as recorded.
    """
    backbone = resolve_backbone(name, backbone=backbone)
    own = {head.stem: _verify_own(head)} if head else None
    heads = own or {corpus: WEIGHTS[name](corpus) for corpus in _list_heads(name)}
    _warn_of_strangers(backbone, [read_record(path) for path in heads.values()])
    return Weights(backbone, heads, read_preprocessing(backbone))


def _list_heads(name: str) -> tuple[str, ...]:
    return CORPUS_NAMES if name not in BUNDLED else BUNDLED[name].head_names


def find_heads(folder: Path) -> dict[str, Path]:
    """Return the heads in a folder by name, each named after the corpus that it never saw; they are verified.

    Raises:
        MissingWeights: there is none.
        CorruptWeights: a file is not as recorded.
    """
    files = {name: folder / f"{name}.pt" for name in CORPUS_NAMES}
    found = {name: _verify_own(path) for name, path in files.items() if path.is_file()}
    if not found:
        names = ", ".join(path.name for path in files.values())
        raise MissingWeights(f"Expected one of the heads {names} in {folder}, but there is none. Check the folder.")
    return found


def _warn_of_strangers(backbone: Path, heads: list[WeightFile | None]) -> None:
    """Warn if a head was trained on the features of another backbone: it answers, and its answer means nothing.

    The study itself pairs backbones and heads freely, so this is no error.
    """
    expected = [set(head.backbones) for head in heads if head and head.backbones]
    if not expected:
        return
    own = read_record(backbone)  # verified, so that its hash is the file's
    hashes = {own.sha256, own.converted_from} if own else {hash_file(backbone)}
    if not all(expected_by_head & hashes for expected_by_head in expected):
        log.warning(
            "The heads were trained on the features of another backbone than %s: expect meaningless emotions, and give "
            "heads that belong to it.",
            backbone,
        )
