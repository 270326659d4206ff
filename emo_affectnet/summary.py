"""The summary of a folder: one row for each video, as a CSV that is right at every moment.

While a run goes on, rows are appended as the videos are finished; at its end they stand in the order of the folder. The
order hangs on the names alone, so that the shards of a run join to the same file as the run in one piece.
"""

import csv
import errno
import io
import os
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, fields, replace
from pathlib import Path, PurePosixPath
from types import TracebackType
from typing import Any

from .cells import word_cell
from .emotions import EMOTION_NAMES, Emotion
from .files import settle, settle_names, tell_unwritable
from .inputs import SUMMARY, Shard

NO_FACE = "No face was found in this video."
_START = ("file", "status", "emotion", "emotion_by_mode")
_PEAK = ("peak", "peak_time", "peak_probability")
_END = (*_PEAK, "agreement", "coverage", "people", "frames", "fps", "duration", "message")
_DECIMALS = 6


@dataclass(frozen=True)
class Outcome:
    """One row of the summary; None is unknown."""

    file: str
    status: str  # "ok", "no_face" or "error"; an error with frames has a report of what could be read
    emotion: str | None = None  # largest mean probability over the observed frames
    emotion_by_mode: str | None = None  # commonest top emotion of the windows, the published vote
    probabilities: tuple[float | None, ...] = (None,) * len(Emotion)  # mean over the observed frames
    peak: str | None = None  # emotion of the strongest passage that is not Neutral
    peak_time: float | None = None  # s, the middle of that passage
    peak_probability: float | None = None  # of that emotion
    agreement: float | None = None  # mean over the observed frames
    coverage: float | None = None  # share of the frames in which the primary face was observed
    people: int | None = None
    frames: int | None = None
    fps: float | None = None
    duration: float | None = None  # s
    message: str | None = None
    extras: Mapping[str, float | str | None] = field(default_factory=dict)  # further columns, see `reports`; means
    seconds: float | None = None  # taken; in no file, so that equal work makes equal files

    @property
    def confidence(self) -> float | None:
        """The mean probability of the emotion, or None without one."""
        return max((value for value in self.probabilities if value is not None), default=None)

    def to_json(self) -> dict[str, Any]:
        """Return what JSON can hold, without the seconds."""
        row = asdict(self)
        del row["seconds"]
        return row

    @classmethod
    def from_json(cls, row: Mapping[str, Any]) -> "Outcome":
        """Return the outcome that `to_json` told.

        Raises:
            KeyError, TypeError, ValueError: it is none.
        """
        known = {one.name for one in fields(cls)} - {"seconds"}
        if set(row) != known or len(row["probabilities"]) != len(Emotion):
            raise ValueError("it is no row of a summary")
        return replace(cls(**row), probabilities=tuple(row["probabilities"]), extras=dict(row["extras"]))


def summary_path(save: Path, shard: Shard | None = None) -> Path:
    """Return where the summary of a run stands, or that of a share of it."""
    return save / (f"summary.{shard}.csv" if shard else SUMMARY)


def columns(extras: Iterable[str]) -> list[str]:
    """Return the columns of a summary whose reports have `extras`."""
    return [*_START, *EMOTION_NAMES, *extras, *_END]


class SummaryWriter:
    """Writes a summary that is whole after each row.

    >>> with SummaryWriter(Path("report/summary.csv"), unfinished=folder) as writer:
    ...     writer.add(outcome)

    `rows` are there from the beginning, others follow as they are added; at the end they are put into the order of the
    folder. `extras` are the columns beyond those of every summary; `unfinished` is a folder on the same disk.

    Raises:
        ReportError: the file cannot be written; the rows before are in it.
    """

    def __init__(
        self, path: Path, *, unfinished: Path, extras: Sequence[str] = (), rows: Iterable[Outcome] = ()
    ) -> None:
        self.path, self.unfinished, self.extras, self.rows = path, unfinished, tuple(extras), list(rows)

    def __enter__(self) -> "SummaryWriter":
        self._write_whole()
        return self

    def add(self, outcome: Outcome) -> None:
        """Append a row."""
        self.rows.append(outcome)
        with tell_unwritable(self.path), self.path.open("ab", buffering=0) as file:
            size = file.tell()
            try:
                row = _format([_cells(outcome, self.extras)])
                if file.write(row) < len(row):
                    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
                os.fsync(file.fileno())
            except OSError:
                os.truncate(self.path, size)  # half a row would spoil the next one
                raise

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if error is None:
            self._write_whole()

    def _write_whole(self) -> None:
        self.rows.sort(key=lambda outcome: place(outcome.file))
        rows = (_cells(row, self.extras) for row in self.rows)
        replace_table([columns(self.extras), *rows], self.path, self.unfinished)


def place(label: str) -> tuple[tuple[bool, str], ...]:
    """Return what orders labels as folders are walked: the files of a folder, then its sub-folders."""
    *folders, name = PurePosixPath(label.replace(os.sep, "/")).parts or ("",)
    return (*((True, folder) for folder in folders), (False, name))


def _cells(outcome: Outcome, extras: Sequence[str]) -> list[str]:
    """Return a row as text: unknown is empty, and no cell begins a formula."""
    values = asdict(outcome) | dict(zip(EMOTION_NAMES, outcome.probabilities, strict=True)) | dict(outcome.extras)
    return [_show(values.get(name)) for name in columns(extras)]


def _show(value: object) -> str:
    if value is None:
        return ""
    if isinstance(value, float):
        return repr(round(value, _DECIMALS))
    return word_cell(value) if isinstance(value, str) else str(value)


def _format(rows: Iterable[Sequence[str]]) -> bytes:
    text = io.StringIO()
    csv.writer(text, lineterminator="\n").writerows(rows)
    return text.getvalue().encode()


def replace_table(rows: Iterable[Sequence[str]], path: Path, unfinished: Path) -> None:
    """Write the rows of a summary, the first of them its columns, by way of the folder `unfinished`.

    Raises:
        ReportError: the file cannot be written.
    """
    with tell_unwritable(path):
        partial = unfinished / path.name
        partial.write_bytes(_format(rows))
        settle(partial)
        os.replace(partial, path)
        settle_names(path.parent)
