"""Faces packed in a tar with a table beside it: <corpus>*.tar and a .csv of the same name.

The table has the columns path (in the tar) and emotion and perhaps person, split, compound_a and compound_b, for faces
that show two emotions. The tar is not compressed: a face is read from its place in it, and nothing is unpacked.
"""

import re
import tarfile
from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from functools import partial
from pathlib import Path, PurePosixPath

from .clip import ALL_VIEWS, UNREADABLE_LINE, Choices, LabelledImage, Problem, Tell, halve
from .pictures import read_packed_picture
from .tree import UNREADABLE, emotion_named, find_files, has_content, or_tell, read_columns

FindImages = Callable[[Path, Choices, Tell], Iterator[LabelledImage]]
Place = tuple[int, int]  # first byte in a tar, number of bytes

_VIEWS = ("angle", "gaze")  # policies for what a table does not say
_SPLITS = {"": None, "train": "train", "valid": "valid", "test": "test"}


def or_packed(corpus: str, find_release: FindImages) -> FindImages:
    """Return what yields the packed faces of a corpus below a root, or else what `find_release` finds there."""

    def find(root: Path, policies: Choices, tell: Tell) -> Iterator[LabelledImage]:
        tables = _find_tables(root, corpus, tell)
        for table in tables:
            yield from _read_packed(corpus, table, policies, tell)
        if not tables:
            yield from find_release(root, policies, tell)

    return find


def describe_packed(corpus: str, layout: str) -> str:
    """Return the layout of a corpus that may also be packed, in words."""
    name = corpus.lower()
    return f"{layout}; or {name}*.tar with {name}*.csv beside it (columns path, emotion, person, split)"


def _find_tables(root: Path, corpus: str, tell: Tell) -> list[Path]:
    """Return the tables beside the tars that are named after a corpus; tell of a tar without one."""
    named = re.compile(rf"{re.escape(corpus)}(?![a-z])", re.IGNORECASE)  # rafd_1, and not rafdb
    tables = []
    for path in find_files(root, {".tar"}, tell, depth=1):
        if named.match(path.stem) and path.with_suffix(".csv").is_file():
            tables.append(path.with_suffix(".csv"))
        elif named.match(path.stem):
            tell(Problem("tar without a table beside it", str(path)))
    return tables


def _index(tar: Path, tell: Tell) -> dict[str, Place]:
    """Return where each file of a tar lies in it, as far as it can be read."""
    places: dict[str, Place] = {}
    if has_content(tar, tell):
        try:
            places.update(_walk_members(tar))
        except (tarfile.TarError, *UNREADABLE) as error:
            tell(Problem("unreadable tar", f"{tar}: {error}"))
    return places


def _walk_members(tar: Path) -> Iterator[tuple[str, Place]]:
    end, length = 0, tar.stat().st_size
    with tarfile.open(tar, "r:") as members:
        for member in members:
            start, size = member.offset_data, member.size
            if start <= end or size < 0 or start + size > length:  # which tarfile follows backwards, for ever
                raise tarfile.TarError(f"{member.name} is said to be at {start}, {size} bytes long")
            end = start
            if member.isreg() and not member.issparse():
                yield _plain(member.name), (start, size)


def _plain(path: str) -> str:
    return PurePosixPath(path).as_posix()  # without the ./ that tar may write


def _read_packed(corpus: str, table: Path, policies: Choices, tell: Tell) -> Iterator[LabelledImage]:
    """Yield the faces that a table lists, without an emotion where a policy asks for what it does not say."""
    tar = table.with_suffix(".tar")
    places = _index(tar, tell)
    unsaid = [name for name in _VIEWS if policies.get(name, ALL_VIEWS) != ALL_VIEWS]
    for name in unsaid:
        tell(Problem(f"table does not say the {name}, all left out", str(table)))
    for where, cells in or_tell(table, read_columns(table, ("path", "emotion")), tell):
        image = _parse(corpus, tar, cells, places=places, policies=policies)
        if image is None:
            tell(Problem(UNREADABLE_LINE, where))
        elif image.name not in places:
            tell(Problem("missing image", f"{where}: {image.name}"))
        else:
            yield replace(image, emotion=None) if unsaid else image


def _parse(
    corpus: str, tar: Path, cells: Mapping[str, str], *, places: Mapping[str, Place], policies: Choices
) -> LabelledImage | None:
    """Return what a line says; None if it lacks something."""
    words = [word for name in ("emotion", "compound_a", "compound_b") if (word := cells.get(name, ""))]
    split = cells.get("split", "").casefold()
    if not cells["path"] or split not in _SPLITS or len(words) != (1 if cells["emotion"] else 2):
        return None
    name = _plain(cells["path"])
    start, size = places.get(name, (0, 0))
    image = LabelledImage(
        corpus,
        name,
        " and ".join(words),
        emotion_named(words[0]) if len(words) == 1 else None,
        partial(read_packed_picture, tar, name, start=start, size=size),
        split=_SPLITS[split],
        person=cells.get("person") or None,
    )
    first, last = emotion_named(words[0]), emotion_named(words[-1])
    if len(words) == 1 or first is None or last is None or "compound" not in policies:
        return image
    return halve(image, (first, last), policies=policies)
