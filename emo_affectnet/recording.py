"""What a live session leaves behind: the pictures as videos, the moments as a CSV; kept whatever ends the session.

The CSV has the columns of a report, see `reports`, but a row only for each frame that was looked at and person seen in
it; `track` counts people as they appear, and a frame without anybody has one row, with `observed` 0. With a baseline
the raw probabilities follow, as in a report.
"""

import csv
from collections.abc import Iterator, Sequence
from contextlib import suppress
from datetime import datetime
from itertools import count
from pathlib import Path
from types import TracebackType

import numpy as np

from .errors import ReportError, UsageError, VideoError
from .reports import COLUMNS, RAW_COLUMNS
from .timeline import Moment
from .video import Frame, Image
from .video_writer import VideoWriter

NOMINAL_FPS = 30  # of a recording's header; each picture has its own time


class Recorder:
    """Records pictures as mp4 while it is on; a context manager that finishes the last file, even after an error.

    With a `path` it is on from the start; files after the first are `<stem>-2.mp4` and so on. Without one, each is
    named after the date and time, in the current folder.

    Raises:
        UsageError: the path does not end in .mp4.
        VideoError: its folder cannot be made.
    """

    def __init__(self, path: Path | None) -> None:
        if path is not None:
            _prepare(path)
        self.is_on = path is not None
        self.paths: list[Path] = []  # of the files so far
        self._path = path
        self._writer: VideoWriter | None = None
        self._shape: tuple[int, ...] = ()
        self._start = 0.0  # s, time of the file's first picture

    def toggle(self) -> None:
        """Stop the recording, or start the next file with the next picture."""
        self._finish()
        self.is_on = not self.is_on

    def write(self, image: Image, *, time: float) -> None:
        """Add an RGB picture uint8 (H, W, 3) of `time` s if recording is on; one of another size begins a new file.

        Raises:
            VideoError: the file cannot be written.
        """
        if not self.is_on:
            return
        if image.shape != self._shape:
            self._finish()
        self._writer = self._writer or self._begin(image, time)
        try:
            self._writer.write(image, time=time - self._start)
        except VideoError:
            self._writer = None  # it has thrown its file away
            raise

    def _begin(self, image: Image, time: float) -> VideoWriter:
        path = next(path for path in self._names() if path not in self.paths and (not self.paths or not path.exists()))
        height, width, _ = image.shape
        writer = VideoWriter(path, width=width, height=height, fps=NOMINAL_FPS).__enter__()
        self._shape, self._start = image.shape, time
        self.paths.append(path)
        return writer

    def _names(self) -> Iterator[Path]:
        """Yield the file names to choose from; only a given name itself may already be there."""
        first = self._path or Path(f"live-{datetime.now():%Y%m%d-%H%M%S}.mp4")
        yield first
        yield from (first.with_stem(f"{first.stem}-{number}") for number in count(2))

    def _finish(self) -> None:
        writer, self._writer, self._shape = self._writer, None, ()
        if writer is not None:
            writer.__exit__(None, None, None)

    def __enter__(self) -> "Recorder":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._finish()


def _prepare(path: Path) -> None:
    if path.suffix.lower() != ".mp4":
        raise UsageError(f"A recording is an mp4, but it was to be named {path}; give a name that ends in .mp4.")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise VideoError(
            f"The folder of the recording {path} cannot be made: {error.strerror}. Choose a folder you may write to."
        ) from error


class MomentLog:
    """Writes moments as CSV, row by row, so that a crash keeps what came before; a context manager.

    `has_raw` adds the columns of the probabilities before a baseline, which the moments then have.

    Raises:
        ReportError: the file cannot be written.
    """

    def __init__(self, path: Path, *, has_raw: bool = False) -> None:
        self._path = path
        self._columns = (*COLUMNS, *RAW_COLUMNS) if has_raw else COLUMNS
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            self._file = open(path, "w", newline="", encoding="utf-8")  # noqa: SIM115 # closed by __exit__
        except OSError as error:
            raise self._describe(error) from error
        self._rows = csv.writer(self._file, lineterminator="\n")
        self._write([self._columns])

    def write(self, frame: Frame, moments: Sequence[Moment]) -> None:
        """Add what was seen in a frame that was looked at.

        Raises:
            ReportError: the file cannot be written.
        """
        self._write([_row(moment) for moment in moments] or [self._empty_row(frame)])

    def _empty_row(self, frame: Frame) -> list[object]:
        known = {"frame": f"{frame.index + 1:06d}", "time": round(frame.time, 6), "observed": 0}
        return [known.get(name) for name in self._columns]

    def _write(self, rows: Sequence[Sequence[object]]) -> None:
        try:
            self._rows.writerows(rows)
            self._file.flush()
        except OSError as error:
            with suppress(OSError):
                self._file.close()  # tries once more what has just failed
            raise self._describe(error) from error

    def _describe(self, error: OSError) -> ReportError:
        return ReportError(
            f"The report {self._path} cannot be written: {error.strerror}. Choose a folder you may write to."
        )

    def __enter__(self) -> "MomentLog":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._file.close()


def _row(moment: Moment) -> list[object]:
    return [
        f"{moment.index + 1:06d}",
        *map(str, moment.probabilities.astype(np.float32)),
        round(moment.time, 6),
        moment.emotion.name,
        str(np.float32(moment.confidence)),
        None if moment.agreement is None else round(moment.agreement, 6),
        1,
        *(round(edge) for edge in moment.box),
        None if moment.score is None else round(moment.score, 4),
        moment.track_id,
        *([] if moment.raw_probabilities is None else map(str, moment.raw_probabilities.astype(np.float32))),
    ]
