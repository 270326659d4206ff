"""Weight sets: which files make an analysis. In goes a set's name, out come a checked backbone and its heads.

A file of one's own takes the place of the set's.
"""

import logging
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from . import store
from .errors import MissingWeights, check_name
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


def find_bundled(part: str) -> Path:
    """Return the bundled "backbone" or head, checked against its record."""
    path = bundled_folder() / f"{part}.pt"
    verify(path, needs_record=True)
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
WEIGHTS: dict[str, Callable[[str], Path]] = {"bundled": find_bundled, "emo-affectnet": find_published}


def _verify_own(path: Path) -> Path:
    verify(path)  # which may come without a record
    return path


def resolve_backbone(name: str = "bundled", *, backbone: Path | None = None) -> Path:
    """Return the backbone of a weight set, or the given file in its place; it is verified.

    Raises:
        UnknownName: there is no such set.
        MissingWeights, CorruptWeights: the file is not there, or not as recorded.
    """
    check_name("weight set", name, WEIGHTS)
    return _verify_own(backbone) if backbone else WEIGHTS[name]("backbone")


def resolve(name: str = "bundled", *, backbone: Path | None = None, head: Path | None = None) -> Weights:
    """Return the files of a weight set; a `backbone` or `head` file given by path takes the place of the set's own.

    Raises:
        UnknownName: there is no such set.
        MissingWeights, CorruptWeights: a file is not there, or not as recorded.
    """
    backbone = resolve_backbone(name, backbone=backbone)
    own = {head.stem: _verify_own(head)} if head else None
    heads = own or {corpus: WEIGHTS[name](corpus) for corpus in CORPUS_NAMES}
    _warn_of_strangers(backbone, [read_record(path) for path in heads.values()])
    return Weights(backbone, heads, read_preprocessing(backbone))


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
    expected = {head.backbone_sha256 for head in heads if head and head.backbone_sha256}
    own = read_record(backbone)  # verified, so that its hash is the file's
    if expected and not expected <= ({own.sha256, own.converted_from} if own else {hash_file(backbone)}):
        log.warning(
            "The heads were trained on the features of another backbone than %s: expect meaningless emotions, and give "
            "heads that belong to it.",
            backbone,
        )
