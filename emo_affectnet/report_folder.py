"""The folder that a run writes into: kept from other runs, and cleared of what killed ones have left unfinished."""

import hashlib
import os
import shutil
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path

from .errors import LockedError, ReportError
from .files import tell_unwritable
from .inputs import Input, Shard
from .locks import alone

PATIENCE = 10.0  # s until the processes of a killed run have surely ended
_LOCK = ".emo-affectnet.lock"
_UNFINISHED = ".unfinished-"
BASELINE = ".baseline"  # the folder of all that is kept for the sake of baselines
_READINGS, _MOVED = f"{BASELINE}/readings", f"{BASELINE}/moved"


@contextmanager
def reserve(save: Path, shard: Shard | None = None) -> Iterator[Path]:
    """Make the report folder, keep other runs out of it, and lend a folder in it for unfinished files.

    Shards work side by side; a whole run works alone. If nothing came of it, the report folder goes as it came.

    Raises:
        ReportError: the folder cannot be made or written to.
        LockedError: another run is at work in it.
    """
    is_new = not save.exists()
    _make(save)
    tag = str(shard) if shard else "whole"
    try:
        with _locked(save / _LOCK, shared=shard is not None), _locked(save / f".{tag}{_LOCK}", shared=False):
            for left in save.glob(f"{_UNFINISHED}{tag if shard else '*'}"):
                shutil.rmtree(left, ignore_errors=True)
            unfinished = save / f"{_UNFINISHED}{tag}"
            with tell_unwritable(unfinished):
                unfinished.mkdir()
            try:
                yield unfinished
            finally:
                shutil.rmtree(unfinished, ignore_errors=True)
    finally:
        if is_new:
            with suppress(OSError):  # there are reports in it
                save.rmdir()


def features_part(unfinished: Path, source: Input) -> Path:
    """Return where the features of one video lie until they are joined with the others."""
    return unfinished / f"{hashlib.sha256(source.label.encode()).hexdigest()[:32]}.npz"


def reading_name(name: str) -> str:
    """Return the name of the reading behind a report; it is hidden, as it holds what identifies a face."""
    return f"{_READINGS}/{name}"


def report_name(name: str) -> str:
    """Return the name of the report that a reading is for; the name of a report is its own."""
    return name.removeprefix(f"{_READINGS}/")


def moved_name(name: str) -> str:
    """Return the name of what a report's people read as after their features were moved."""
    return f"{_MOVED}/{name}"


def reading_path(save: Path, name: str) -> Path:
    """Return where the reading behind the report of a name lies."""
    stem = save / reading_name(name)
    return stem.with_name(f"{stem.name}.npz")


def _make(save: Path) -> None:
    try:
        save.mkdir(parents=True, exist_ok=True)
        is_writable = os.access(save, os.W_OK | os.X_OK)
    except OSError as error:
        raise ReportError(f"The report folder {save} cannot be made: {error.strerror}. Choose another one.") from error
    if not is_writable:
        raise ReportError(
            f"The report folder {save} cannot be written to. Choose another one or change its permissions."
        )


@contextmanager
def _locked(lock: Path, *, shared: bool) -> Iterator[None]:
    with ExitStack() as stack:
        try:
            with tell_unwritable(lock):
                stack.enter_context(alone(lock, shared=shared, patience=PATIENCE))
        except LockedError as error:
            raise LockedError(
                f"Another run writes into {lock.parent}: {error} Wait until it is done or choose another folder; only "
                "shards of one run work side by side (--shard 1/2 and --shard 2/2)."
            ) from error
        yield
