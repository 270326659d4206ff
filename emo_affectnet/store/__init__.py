"""The store of weight files: in goes a name of the catalogue or a file, out comes the path of a checked file.

A file lies in `<place>/<collection>/` under its published name, and gets that name only after its hash was checked.
Where the catalogue knows no hash, that of the first file met is pinned. Nothing but `fetch` asks the network.

`folders` knows the places, `checks` the right file from another, `pins` what was taken on trust, `downloads` HTTP.
"""

import itertools
import logging
import os
import shutil
from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from ..catalogue import CATALOGUE, COLLECTIONS, Entry
from ..errors import (
    CorruptWeights,
    DownloadError,
    MissingWeights,
    UntrustedWeights,
    UsageError,
    WeightsError,
    check_name,
)
from ..files import whole_file
from ..locks import alone
from ..weights import PUBLISHED_PREPROCESSING, verify, write_record
from . import checks
from .checks import (
    CODE_FORMATS,
    accept,
    check_trust,
    compare,
    describe,
    fingerprint,
    has_known_hash,
    how_to_get,
    is_published,
    pinned_hashes,
    read_format,
    trust,
    untrusted,
)
from .downloads import AddressFailed, bring, size_of
from .folders import PLACE_VARIABLE, copies, places, writable_folder
from .pins import read_pins

__all__ = [
    "MIRRORS_VARIABLE",
    "PLACE_VARIABLE",
    "Progress",
    "Stored",
    "check_trust",
    "fetch",
    "find",
    "import_file",
    "locate",
    "places",
    "trust",
    "verify_all",
]

log = logging.getLogger("emo_affectnet")

MIRRORS_VARIABLE = "EMO_AFFECTNET_MIRRORS"
SUFFIXES = (".pt", ".pth", ".h5", ".onnx")

Progress = Callable[[Entry, int, int | None], None]  # bytes that are there, bytes in all if that is known


@dataclass(frozen=True)
class Stored:
    """A file of the store, and whether it is what it should be."""

    name: str  # in the catalogue, or its filename
    path: Path
    status: str  # "ok", "pinned", "damaged", or "unknown": neither catalogue nor pins know its hash
    came: str | None = None  # what a damaged file is


class _WrongFile(AddressFailed):
    """An address brought something else."""


def _entry(name: str) -> Entry:
    check_name("weight file", name, CATALOGUE)
    return CATALOGUE[name]


def find(name: str) -> Path | None:
    """Return where a file of the catalogue lies, unchecked, or None.

    Raises:
        UnknownName: the catalogue has no such file.
    """
    return next(iter(copies(_entry(name))), None)


def locate(name: str) -> Path:
    """Return the path of a file of the catalogue, checked; of several copies the first that is right.

    Raises:
        UnknownName: the catalogue has no such file.
        MissingWeights: it is in no place.
        CorruptWeights: what lies there is something else.
        UntrustedWeights: it holds code, and its hash is not known.
    """
    entry = _entry(name)
    paths = copies(entry)
    if not paths:
        raise MissingWeights(f"{entry.filename} ({name}) is not here. {how_to_get(entry)}")
    for path in paths[:-1]:
        with suppress(WeightsError):
            return accept(entry, path)
    return accept(entry, paths[-1])


def _tell_nobody(entry: Entry, done: int, total: int | None) -> None:
    """Take the place of a progress bar."""


def fetch(
    name: str, *, mirrors: Iterable[str] = (), offline: bool = False, on_progress: Progress = _tell_nobody
) -> list[Path]:
    """Return the paths of a file of the catalogue, or of all files of a collection; download those that are not here.

    A mirror is an address to which the filename is added; the mirrors come first, then those of $EMO_AFFECTNET_MIRRORS.

    Raises:
        UnknownName: the catalogue has no such file or collection.
        MissingWeights: it is not here, and can only be had by hand, or `offline` forbids to ask for it.
        CorruptWeights: every address brought something else.
        DownloadError: no address brought it whole, or it could not be written.
    """
    check_name("weight file or collection", name, {**COLLECTIONS, **CATALOGUE})
    bases = [*mirrors, *os.environ.get(MIRRORS_VARIABLE, "").split()]
    paths = []
    for entry in (CATALOGUE[each] for each in COLLECTIONS.get(name, (name,))):
        addresses = [*(f"{base.rstrip('/')}/{entry.filename}" for base in bases), *entry.urls]
        if offline or not entry.urls:  # what can only be had by hand has to be imported by hand
            paths.append(_with_record(entry, locate(entry.name)))
        else:
            paths.append(_fetch(entry, addresses, on_progress=on_progress))
    return paths


def _fetch(entry: Entry, addresses: list[str], *, on_progress: Progress) -> Path:
    with suppress(MissingWeights, CorruptWeights):
        return _with_record(entry, locate(entry.name))
    folder = writable_folder(entry.collection)
    try:
        with alone(folder / f".{entry.filename}.lock"):
            with suppress(MissingWeights, CorruptWeights):  # another process may just have brought it
                return _with_record(entry, locate(entry.name))
            return _with_record(entry, _download(entry, folder, addresses, on_progress=on_progress))
    except OSError as error:
        raise DownloadError(
            f"{entry.filename} cannot be written to {folder}: {error.strerror or error}. Make room there, or set "
            f"{PLACE_VARIABLE} to another folder."
        ) from error


def _download(entry: Entry, folder: Path, addresses: list[str], *, on_progress: Progress) -> Path:
    """Bring a file from the first address that has it, and give it its name."""
    target, partial = folder / entry.filename, folder / f".{entry.filename}.part"
    failures: dict[str, AddressFailed] = {}
    for address in addresses:
        try:
            _bring_right(entry, partial, address, on_progress=on_progress)
        except AddressFailed as error:
            failures[address] = error
        else:
            os.replace(partial, target)
            return target
    kept = "What arrived is kept, and the next fetch goes on from there. " if size_of(partial) else ""
    is_wrong = all(isinstance(error, _WrongFile) for error in failures.values())
    raise (CorruptWeights if is_wrong else DownloadError)(
        f"{entry.filename} could not be fetched: "
        f"{'; '.join(f'{address}: {error}' for address, error in failures.items())}. {kept}"
        f"Try again later, give another address with --mirror, or get it through {entry.page} and run "
        f"'emo-affectnet weights import {entry.filename}'."
    )


def _bring_right(entry: Entry, partial: Path, address: str, *, on_progress: Progress) -> None:
    """Bring a file from one address to its part file, and check it there."""
    if not has_known_hash(entry) and not pinned_hashes(entry.name):
        partial.unlink(missing_ok=True)  # nothing would show that its two halves are of different files
    is_resumed = size_of(partial) > 0
    if not is_resumed or compare(entry, partial) == "damaged":
        bring(address, partial, size=entry.size, on_progress=lambda done, total: on_progress(entry, done, total))
    try:
        accept(entry, partial)
    except (CorruptWeights, UntrustedWeights) as error:
        came = describe(partial, size=entry.size)
        partial.unlink()
        if not is_resumed:
            raise _WrongFile(f"brought {came}") from error
        _bring_right(entry, partial, address, on_progress=on_progress)  # the part may have been of another file


def _with_record(entry: Entry, path: Path) -> Path:
    """Write the record of a backbone or head beside it, unless it is there, and return its path."""
    if entry.kind not in ("backbone", "head"):
        return path
    with suppress(WeightsError):
        if verify(path):
            return path
    try:
        write_record(
            path,
            name=entry.name,
            kind=entry.kind,
            license=entry.license,
            trained_on=entry.trained_on,
            held_out=entry.held_out,
            preprocessing=PUBLISHED_PREPROCESSING if entry.kind == "backbone" else None,
        )
    except OSError as error:
        log.warning("The record of %s cannot be written beside it: %s.", path, error.strerror)
    return path


def import_file(path: Path, *, trust: bool = False) -> Path:
    """Copy a published file into the store, whatever it is called, and return its path there.

    A file of one's own is not copied: one that holds code is pinned if `trust` says so, and others need no import.

    Raises:
        MissingWeights, CorruptWeights: it is not there, or not what its name promises.
        UntrustedWeights: it holds code, its hash is not known, and `trust` is not given.
        UsageError: it is a file of one's own that needs no import.
        DownloadError: the store cannot be written.
    """
    form = read_format(path)
    entry = _recognise(path)
    if entry:
        return _with_record(entry, _copy(entry, accept(entry, path, is_trusted=trust)))
    if form not in CODE_FORMATS:
        raise UsageError(
            f"{path} is none of the published files, and a {form} of your own needs no import: give it by its path, "
            "as in 'emo-affectnet analyze VIDEO --backbone FILE' or '--head-file FILE'."
        )
    if not trust:
        raise untrusted(path)
    checks.trust(path)
    return path


def _recognise(path: Path) -> Entry | None:
    """Return the entry of a file: by its hash, by its pin, or else by its name."""
    found = fingerprint(path)
    by_hash = (entry for entry in CATALOGUE.values() if is_published(entry, found))
    by_pin = (
        CATALOGUE[pin.name] for pin in read_pins(places()) if pin.sha256 == found.sha256 and pin.name in CATALOGUE
    )
    by_name = (entry for entry in CATALOGUE.values() if entry.filename == path.name)
    return next(itertools.chain(by_hash, by_pin, by_name), None)


def _copy(entry: Entry, path: Path) -> Path:
    folder = writable_folder(entry.collection)
    target = folder / entry.filename
    if target.is_file() and fingerprint(target) == fingerprint(path):
        return target
    try:
        with whole_file(target) as partial:
            shutil.copyfile(path, partial)
    except OSError as error:
        raise DownloadError(
            f"{path} cannot be copied to {folder}: {error.strerror or error}. Make room there."
        ) from error
    return target


def verify_all() -> list[Stored]:
    """Return every file of the store with its status."""
    return [_stored(collection, path) for collection in COLLECTIONS for path in _files_of(collection)]


def _files_of(collection: str) -> Iterator[Path]:
    for place in places():
        folder = place / collection
        if folder.is_dir():
            paths = sorted(folder.iterdir())
            yield from (path for path in paths if path.suffix in SUFFIXES and path.name[0] != "." and path.is_file())


def _stored(collection: str, path: Path) -> Stored:
    entries = {entry.filename: entry for entry in CATALOGUE.values() if entry.collection == collection}
    entry = entries.get(path.name)
    if not entry:
        return Stored(path.name, path, "pinned" if fingerprint(path).sha256 in pinned_hashes() else "unknown")
    status = compare(entry, path)
    return Stored(entry.name, path, status, describe(path, size=entry.size) if status == "damaged" else None)
