"""Places: what a command line names becomes a `Path`, or a `UPath` for s3://, gs://, hdfs:// and other far places.

A `UPath` has the methods of a `Path`, and stands wherever one does. Here is all that is done with far places: they are
listed, and single files are fetched, put and removed. Every store has errors of its own; ours come out.
"""

import os
import re
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, cast

from .errors import EngineUnavailable, ReportError, UsageError, VideoError

_ADDRESS = re.compile(r"([a-z][a-z0-9+.-]+)://", re.IGNORECASE)


def to_place(text: str) -> Path:
    """Return the place that a text names: a `Path`, or a `UPath` if it is an address such as s3://bucket/folder.

    Raises:
        EngineUnavailable: a package for such addresses is not installed.
        UsageError: there are no such addresses.
    """
    if not (found := _ADDRESS.match(text)):
        return Path(text)
    scheme = found[1].lower()
    if scheme == "file":
        return Path(text[found.end() :])
    try:
        from upath import UPath

        return cast(Path, UPath(text))
    except ImportError as error:
        raise EngineUnavailable(
            f"Addresses that begin with {scheme}:// need packages that are not installed: pip install "
            f"'emo-affectnet[ray]', and the store's own ({error})."
        ) from error
    except ValueError as error:
        raise UsageError(f"{text} is no address that can be read: {error}.") from error


def is_far(place: Path) -> bool:
    """Return whether a place has to be reached through fsspec."""
    return not isinstance(place, Path)


def is_folder(place: Path) -> bool:
    """Return whether a place is a folder, far or near.

    Raises:
        VideoError: the far place cannot be reached.
    """
    if not is_far(place):
        return os.path.isdir(place)
    with telling(VideoError, f'"{place}" cannot be reached'):
        return place.is_dir()


def exists(place: Path) -> bool:
    """Return whether there is something at a place, far or near.

    Raises:
        VideoError: the far place cannot be reached.
    """
    if not is_far(place):
        return os.path.exists(place)
    with telling(VideoError, f'"{place}" cannot be reached'):
        return place.exists()


def walk(folder: Path) -> Iterator[tuple[Path, Path]]:
    """Yield the files below a far folder, and their paths in it: those of a folder, then its sub-folders.

    They are found in one listing; hidden ones are left out.

    Raises:
        VideoError: the folder cannot be listed.
    """
    far: Any = folder
    root = far.path.rstrip("/")
    with telling(VideoError, f'"{folder}" cannot be listed'):
        found = far.fs.find(far.path)
    below = sorted((path[len(root) + 1 :].split("/") for path in found), key=_walking_order)
    for parts in below:
        if not any(part.startswith(".") for part in parts):
            yield folder.joinpath(*parts), Path(*parts)


def _walking_order(parts: list[str]) -> tuple[tuple[bool, str], ...]:
    *folders, name = parts
    return (*((True, folder) for folder in folders), (False, name))


def read_key(video: Path) -> str | None:
    """Return what tells this version of a far file from another one, or None if there is no such file."""
    far: Any = video
    try:
        return str(far.fs.ukey(far.path))
    except FileNotFoundError:
        return None


def fetch(video: Path, folder: Path) -> Path:
    """Return a copy of a far video, by the same file name in a new folder below `folder`.

    Raises:
        VideoError: it cannot be fetched.
    """
    far: Any = video
    near = Path(tempfile.mkdtemp(dir=folder), video.name)
    with telling(VideoError, f'"{video}" cannot be fetched'):
        far.fs.get_file(far.path, str(near))
    return near


def remove(file: Path) -> None:
    """Remove a far file, if it is there."""
    with telling(ReportError, f"{file} cannot be removed"), suppress(FileNotFoundError):
        file.unlink()


def put(near: Path, there: Path) -> None:
    """Bring a file of this computer to a far place.

    Raises:
        ReportError: it cannot be written there.
    """
    far: Any = there
    with telling(ReportError, f"The report {there} cannot be written"):
        try:
            far.fs.put_file(str(near), far.path)
        except FileNotFoundError:  # most stores know no folders; asking each time would cost a request
            far.fs.makedirs(far.fs._parent(far.path), exist_ok=True)
            far.fs.put_file(str(near), far.path)


@contextmanager
def telling(kind: type[Exception], what: str) -> Iterator[None]:
    """Say in one sentence what went wrong with a far place."""
    try:
        yield
    except FileNotFoundError:
        raise kind(f"{what}: there is no such place. Check the address.") from None
    except Exception as error:  # every store has errors of its own, and not all of them are an OSError
        reason = str(error).strip().partition("\n")[0] or type(error).__name__
        raise kind(f"{what}: {reason}. Check the address, your rights and the network.") from error
