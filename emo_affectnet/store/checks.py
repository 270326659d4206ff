"""Whether a file is the one of the catalogue or of its pin, what came in its place, and whether it may run code."""

import hashlib
import logging
import zipfile
from dataclasses import dataclass
from pathlib import Path

from .. import weights
from ..catalogue import CATALOGUE, Entry
from ..errors import CorruptWeights, UntrustedWeights
from .folders import places
from .pins import PINS, pin_file, read_pins

log = logging.getLogger("emo_affectnet")

CODE_FORMATS = ("TorchScript", "ONNX")  # they run what they hold; of state dicts and Keras files only numbers are read


@dataclass(frozen=True)
class Fingerprint:
    """What tells one file from another."""

    sha256: str
    git_blob: str
    size: int  # bytes


def fingerprint(path: Path) -> Fingerprint:
    """Measure a file, in one reading."""
    size = path.stat().st_size
    sha256, git_blob = hashlib.sha256(), hashlib.sha1(b"blob %d\0" % size, usedforsecurity=False)
    with path.open("rb") as file:
        while chunk := file.read(1 << 20):
            sha256.update(chunk)
            git_blob.update(chunk)
    return Fingerprint(sha256.hexdigest(), git_blob.hexdigest(), size)


def is_published(entry: Entry, found: Fingerprint) -> bool:
    """Whether a file is the published one, by either hash: making another file to fit one of them is out of reach."""
    return entry.sha256 == found.sha256 or entry.git_blob == found.git_blob


def has_known_hash(entry: Entry) -> bool:
    """Whether a file can be compared with anything but a pin."""
    return bool(entry.sha256 or entry.git_blob)


def pinned_hashes(name: str | None = None) -> set[str]:
    """Return the SHA-256 that are pinned: all of them, or those of one file of the catalogue."""
    return {pin.sha256 for pin in read_pins(places()) if name is None or pin.name == name}


def compare(entry: Entry, path: Path) -> str:
    """Return "ok" or "pinned", "damaged" if the hash is another one, "unknown" if there is none to compare with."""
    found = fingerprint(path)
    if has_known_hash(entry):
        return "ok" if is_published(entry, found) else "damaged"
    pinned = pinned_hashes(entry.name)
    if not pinned:
        return "unknown"
    return "pinned" if found.sha256 in pinned else "damaged"


def accept(entry: Entry, path: Path, *, is_trusted: bool = False) -> Path:
    """Return the path if it is the file of the catalogue or of its pin; pin the first that comes.

    Raises:
        CorruptWeights: it is another file, or no weight file.
        UntrustedWeights: it holds code, and there is no hash to compare with.
    """
    status = compare(entry, path)
    if status == "damaged":
        raise CorruptWeights(
            f"{path} should be {entry.filename} ({entry.name}), but it is {describe(path, size=entry.size)}. "
            + (how_to_get(entry) if has_known_hash(entry) else _ABOUT_PINS)
        )
    if status == "unknown":
        if read_format(path, called=entry.filename) in CODE_FORMATS and not is_trusted:
            raise untrusted(path)
        _pin_first(entry, path)
    return path


_ABOUT_PINS = f"Get the one back that you had; or, if you trust this one, remove the old one from {PINS}."


def _pin_first(entry: Entry, path: Path) -> None:
    found = fingerprint(path)
    log.warning(
        "No hash of %s (%s) is known, so nobody can tell whether it is the published file. This one is pinned now "
        "(SHA-256 %s…), and another one under its name will be refused.",
        entry.filename,
        entry.name,
        found.sha256[:12],
    )
    pin_file(entry.filename, sha256=found.sha256, size=found.size, name=entry.name, places=places())


def how_to_get(entry: Entry) -> str:
    """Return what a person types to get a file of the catalogue."""
    if entry.urls:
        return f"Run 'emo-affectnet weights fetch {entry.name}'."
    return f"Get it by hand through {entry.page}, then run 'emo-affectnet weights import {entry.filename}'."


def untrusted(path: Path) -> UntrustedWeights:
    """Return the error for a file that holds code and that nobody has vouched for."""
    return UntrustedWeights(
        f"{path} can run code on this computer, and its hash is not known here. If you trust where it came from, give "
        f"--trust, or run 'emo-affectnet weights import {path} --trust' once."
    )


def describe(path: Path, *, size: int | None) -> str:
    """Return what came in place of a weight file of so many bytes."""
    came = path.stat().st_size
    with path.open("rb") as file:
        is_torn = file.read(2) == b"PK" and not zipfile.is_zipfile(path)
    if stand_in := _stand_in(path):
        return stand_in
    if is_torn or came < (size or 0):
        return f"cut short or damaged ({came} bytes{f' of {size}' if size else ''})"
    return f"another file ({came} bytes)"


def _stand_in(path: Path) -> str | None:
    """Return what a file is that often comes in place of weights."""
    with path.open("rb") as file:
        start = file.read(512)
    size = path.stat().st_size
    if not start:
        return "an empty file"
    if start.startswith(b"version https://git-lfs"):
        return f"a git-lfs pointer, a text of {size} bytes that stands for the weights ('git lfs pull' replaces it)"
    if start.lstrip(b"\xef\xbb\xbf \t\r\n").lower().startswith((b"<!doctype", b"<html", b"<?xml")):
        return f"a web page of {size} bytes, such as a login or an error"
    return None


def read_format(path: Path, *, called: str | None = None) -> str:
    """Return "state dict", "TorchScript", "Keras" or, by the name the file is or will be called, "ONNX".

    Raises:
        MissingWeights: there is no such file.
        CorruptWeights: it is none of these.
    """
    if not path.is_file():
        return weights.sniff_format(path)  # which says that it is missing
    if came := _stand_in(path):
        raise CorruptWeights(f"{path} should be a weight file, but it is {came}. Get the file itself.")
    return "ONNX" if (called or path.name).lower().endswith(".onnx") else weights.sniff_format(path)


def check_trust(path: Path) -> None:
    """Let a file pass that can run no code, or whose hash is known: to a record beside it or of a bundled file, to the
    catalogue, or to the pins.

    Raises:
        MissingWeights, CorruptWeights: it is not there, or no weight file.
        UntrustedWeights: it can run code, and nobody has vouched for it.
    """
    if read_format(path) not in CODE_FORMATS:
        return
    found = fingerprint(path)
    record = weights.read_record(path)
    if record and record.sha256 == found.sha256 or found.sha256 in weights.bundled_hashes():
        return
    if any(is_published(entry, found) for entry in CATALOGUE.values()) or found.sha256 in pinned_hashes():
        return
    raise untrusted(path)


def trust(path: Path) -> None:
    """Pin a file of one's own, so that `check_trust` lets it pass.

    Raises:
        MissingWeights, CorruptWeights: it is not there, or no weight file.
    """
    read_format(path)
    found = fingerprint(path)
    pin_file(path.name, sha256=found.sha256, size=found.size, name=None, places=places())
