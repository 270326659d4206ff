"""Files below the root of a corpus: a walk that says what it cannot enter, tables of text, files without content."""

import csv
import os
from collections.abc import Collection, Iterable, Iterator, Sequence
from fnmatch import fnmatch
from pathlib import Path
from typing import TypeVar

from ...emotions import Emotion
from ...errors import CorpusError
from ...files import MALFORMED
from .clip import UNREADABLE_TABLE, Problem, Tell

# Of what is taken for a video here. Each corpus has a format of its own, and is often converted to another.
VIDEO_SUFFIXES = frozenset({".avi", ".flv", ".m4v", ".mkv", ".mov", ".mp4", ".mpeg", ".mpg", ".webm", ".wmv"})
IMAGE_SUFFIXES = frozenset({".bmp", ".jpeg", ".jpg", ".png", ".tif", ".tiff", ".webp"})

UNREADABLE = (OSError, *MALFORMED)  # what comes of a file that is not there, or not what it should be

Line = TypeVar("Line")

_EMOTIONS = {emotion.name.casefold(): emotion for emotion in Emotion}


def emotion_named(word: str) -> Emotion | None:
    """Return the emotion of this name, in capitals or not; None if it is none of the seven."""
    return _EMOTIONS.get(word.strip().casefold())


def walk(
    root: Path, tell: Tell, *, skip: Collection[str] = (), depth: int | None = None
) -> Iterator[tuple[Path, list[str], list[str]]]:
    """Yield (folder, names of its folders, names of its files) from `root` down, sorted, without hidden ones.

    Links are followed, each folder is entered once. `skip` holds patterns of folders not to enter; `depth` 0 stays in
    the root.
    """

    def complain(error: OSError) -> None:
        tell(Problem("unreadable folder", str(error.filename)))

    seen = set()
    for path, folders, files in os.walk(root, onerror=complain, followlinks=True):
        folder = Path(path)
        real = os.path.realpath(path)
        if real in seen:
            folders.clear()
            continue
        seen.add(real)
        folders[:] = sorted(
            name for name in folders if name[0] != "." and not any(fnmatch(name.casefold(), part) for part in skip)
        )
        yield folder, list(folders), sorted(name for name in files if name[0] != ".")
        if depth is not None and len(folder.relative_to(root).parts) >= depth:
            folders.clear()


def find_files(
    root: Path, suffixes: Collection[str], tell: Tell, *, skip: Collection[str] = (), depth: int | None = None
) -> list[Path]:
    """Return the files below `root` with one of the `suffixes`, in capitals or not."""
    found = walk(root, tell, skip=skip, depth=depth)
    return [folder / name for folder, _, names in found for name in names if Path(name).suffix.lower() in suffixes]


def find_named(root: Path, pattern: str, tell: Tell, *, depth: int = 3, skip: Collection[str] = ()) -> list[Path]:
    """Return the files and folders whose name fits `pattern`, in capitals or not, at most `depth` folders down."""
    found = walk(root, tell, depth=depth, skip=skip)
    return [
        folder / name
        for folder, folders, files in found
        for name in (*folders, *files)
        if fnmatch(name.casefold(), pattern.casefold())
    ]


def is_pointer(path: Path) -> bool:
    """Say whether the file is the small text that git-lfs leaves in place of a file not yet fetched.

    Raises:
        OSError: the file cannot be read.
    """
    with open(path, "rb") as file:
        return file.read(23) == b"version https://git-lfs"


def has_content(path: Path, tell: Tell) -> bool:
    """Say whether there is something in a file; tell what is wrong if not."""
    try:
        if is_pointer(path):
            tell(Problem("git-lfs pointer", str(path)))
            return False
        empty = path.stat().st_size == 0
    except OSError:
        tell(Problem("unreadable file", str(path)))
        return False
    if empty:
        tell(Problem("empty file", str(path)))
    return not empty


def first_with_content(paths: Iterable[Path], tell: Tell) -> Path | None:
    """Return the first file that has something in it; tell what is wrong with those before it."""
    return next((path for path in paths if has_content(path, tell)), None)


def index_videos(root: Path, tell: Tell, *, skip: Collection[str] = ()) -> dict[str, list[Path]]:
    """Return the videos below `root` by their name without suffix, in small letters."""
    videos: dict[str, list[Path]] = {}
    for path in find_files(root, VIDEO_SUFFIXES, tell, skip=skip):
        videos.setdefault(path.stem.casefold(), []).append(path)
    return videos


class FileNames:
    """The files of folders by their names, in capitals or not; each folder is listed once."""

    def __init__(self) -> None:
        self._folders: dict[Path, dict[str, str]] = {}

    def find(self, path: Path) -> Path | None:
        """Return the file as it is spelt on disk, or None if there is none."""
        folder = path.parent
        if folder not in self._folders:
            names = os.listdir(folder) if os.path.isdir(folder) else ()
            self._folders[folder] = {name.casefold(): name for name in names}
        name = self._folders[folder].get(path.name.casefold())
        return None if name is None else folder / name


def read_lines(path: Path, tell: Tell) -> list[str]:
    """Return the lines of a small text file; none, and tell why, if it is not one."""
    try:
        return path.read_text(encoding="utf-8-sig").splitlines() if has_content(path, tell) else []
    except (OSError, UnicodeDecodeError):
        tell(Problem("unreadable file", str(path)))
        return []


def read_rows(path: Path, *, delimiters: str = ",;\t") -> Iterator[tuple[str, list[str]]]:
    """Yield (file and line, cells without blanks around them) for each line of a table that is not empty.

    The delimiter is the one of `delimiters` that the first line has most of.

    Raises:
        CorpusError: the file cannot be read, is no table, or is a git-lfs pointer.
    """
    try:
        if is_pointer(path):
            raise CorpusError(f"{path} is a git-lfs pointer, not the table itself: run `git lfs pull`.")
        with open(path, encoding="utf-8-sig", newline="") as file:
            first = file.readline()
            file.seek(0)
            reader = csv.reader(file, delimiter=max(delimiters, key=first.count))
            for row in reader:
                if any(row):
                    yield f"{path}:{reader.line_num}", [cell.strip() for cell in row]
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise CorpusError(f"{path} cannot be read as a table: {error}.") from error


def read_columns(path: Path, needed: Sequence[str]) -> Iterator[tuple[str, dict[str, str]]]:
    """Yield (file and line, cells by the name of their column in small letters) for each line below the header.

    A line that is too short has "" in the cells it lacks. Any other columns may be there.

    Raises:
        CorpusError: the file cannot be read as a table, or lacks a `needed` column.
    """
    rows = read_rows(path)
    _, header = next(rows, ("", []))
    columns = [name.casefold() for name in header]
    if not {name.casefold() for name in needed} <= set(columns):
        wanted = ", ".join(needed)
        raise CorpusError(f"Expected the columns {wanted} in {path}, but it has {', '.join(header) or 'none'}.")
    for where, cells in rows:
        cells += [""] * (len(columns) - len(cells))
        yield where, dict(zip(columns, cells, strict=False))


def or_tell(path: Path, lines: Iterator[Line], tell: Tell) -> Iterator[Line]:
    """Yield what is read from a table, as far as it comes; tell what is wrong with it instead of raising."""
    if has_content(path, tell):
        try:
            yield from lines
        except CorpusError as error:
            tell(Problem(UNREADABLE_TABLE, str(error)))


def parse_seconds(text: str) -> float | None:
    """Return a time in seconds, written with a decimal point or comma; None if it is no such number."""
    try:
        seconds = float(text.replace(",", "."))
    except ValueError:
        return None
    return seconds if 0 <= seconds < float("inf") else None
