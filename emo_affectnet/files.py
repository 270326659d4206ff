"""Files that appear only when they are complete: written under a temporary name, brought to the disk, then renamed."""

import errno
import hashlib
import os
import struct
import uuid
import zipfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from tokenize import TokenError

from .errors import FullError, ReportError

# What zipfile, zlib, NumPy and JSON raise on content that is not what it should be.
MALFORMED = (
    ArithmeticError, AttributeError, EOFError, LookupError, MemoryError, RuntimeError, SyntaxError, TokenError,
    TypeError, ValueError, struct.error, zipfile.BadZipFile, zlib.error,
)  # fmt: skip
_FULL = {errno.ENOSPC, errno.EDQUOT, errno.EROFS}  # no file can be written there any more, whatever it is


@contextmanager
def whole_file(path: Path) -> Iterator[Path]:
    """Lend a temporary path beside `path`; rename it to `path` at the end, or leave nothing if the body raises.

    The temporary name is short, hidden and unique, and keeps the suffix, by which some writers choose their format.
    """
    partial = path.with_name(f".{uuid.uuid4().hex}.part{path.suffix}")
    try:
        yield partial
        settle(partial)
        os.replace(partial, path)
    finally:
        with suppress(OSError):  # which would hide why the file could not be written
            partial.unlink()


def settle(path: Path) -> None:
    """Wait until the content of a file would outlast a power cut.

    Raises:
        OSError: it cannot; a full disk on another machine may tell only now.
    """
    with path.open("rb+") as file:
        os.fsync(file.fileno())


def settle_names(folder: Path) -> None:
    """Wait until the names in a folder would outlast a power cut, where the system can say so."""
    with suppress(OSError):
        descriptor = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)


def hash_content(path: Path) -> str:
    """Return the SHA-256 of a file as 64 hexadecimal digits."""
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while chunk := file.read(1 << 20):
            digest.update(chunk)
    return digest.hexdigest()


@contextmanager
def tell_unwritable(path: Path, *, what: str = "") -> Iterator[None]:
    """Say in one sentence that the body cannot write `path`, which is `what`.

    Raises:
        ReportError: as said.
        FullError: no other file could be written there either.
    """
    try:
        yield
    except OSError as error:
        name, reason = f"{what} {path}".strip(), error.strerror or str(error)
        if error.errno in _FULL:
            raise FullError(
                f"{name} cannot be written: {reason}. Make room and run the same command again; what is finished stays."
            ) from error
        raise ReportError(f"{name} cannot be written: {reason}. Choose a folder you may write to.") from error
