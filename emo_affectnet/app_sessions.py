"""Work for open pages: what each holds, the recognizers that they share, and the files and pictures they are given.

A session's files lie in a folder of its own, which goes with it; live pictures are never written. Nothing here knows
how a page looks or how it reaches a browser.
"""

import os
import shutil
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from pathlib import Path

from .analysis import BASELINE, summarize, write_reports
from .annotation import annotate_video
from .drawing import draw_people
from .inputs import Input
from .pages import Segment, find_segments, write_page
from .plots import plot_report
from .recognizer import EmotionRecognizer
from .reports import read_people, report_path
from .stream import Stream
from .summary import Outcome
from .timeline import MAX_GAP, Moment
from .video import Frame, Image

ANNOTATED_HEIGHT = 720  # px at most
IDLE_SECONDS = 600.0  # after which the live view of an open page is dropped

Stage = Callable[[str, int, int | None], None]  # its name, frames done, frames in all if known


@dataclass(frozen=True)
class Result:
    """What the page shows of one video."""

    outcome: Outcome
    is_complete: bool  # the file holds what its index promises
    segments: list[list[Segment]]  # of each person
    annotated: Path
    figures: list[Path]  # PNG, one for each person
    reports: list[Path]  # CSV, one for each person
    page: Path
    trust: str  # how far to trust the readings, in words for people


class WorkDropped(Exception):
    """Nobody waits for this work any longer: the page was closed, or has another video."""


class LiveView:
    """Reads the pictures of one camera as they come, and draws into each what is known by then."""

    def __init__(self, stream: Stream) -> None:
        self.choices = stream.mode, stream.baseline
        self.used = self._started = time.monotonic()  # s
        self._stream = stream
        self._pictures = 0
        self._moments: dict[int, Moment] = {}  # the newest of each person, by track id

    def update(self, image: Image) -> tuple[Image, list[Moment]]:
        """Take the next picture; return it with the people in it drawn, and what is known of each."""
        self.used = time.monotonic()
        frame = Frame(self._pictures, self.used - self._started, image)
        self._pictures += 1
        moments = self._stream.update(frame)
        if moments is not None:
            self._moments = {moment.track_id: moment for moment in moments}
        known = [moment for moment in self._moments.values() if frame.time - moment.time <= MAX_GAP]
        picture = image.copy()
        draw_people(picture, known)
        return picture, known


@dataclass
class Session:
    """What belongs to one open page; `parent` is where it may have a folder."""

    parent: Path
    folder: Path | None = None
    video: Path | None = None
    results: Path | None = None
    live: LiveView | None = None
    rest: Path | None = None  # a recording of the person at rest, in a folder of its own

    def take(self, path: Path) -> None:
        """Move an upload into a folder of the session; what was there before goes."""
        self.clear()
        self.folder = Path(tempfile.mkdtemp(prefix="session-", dir=self.parent))
        self.video = self.folder / "upload" / path.name
        self.video.parent.mkdir()
        _move(path, self.video)

    def take_rest(self, path: Path) -> None:
        """Move an upload of the person at rest into a folder of its own; the one before goes."""
        self.clear_rest()
        self.rest = Path(tempfile.mkdtemp(prefix="rest-", dir=self.parent), path.name)
        _move(path, self.rest)

    @contextmanager
    def lend_results(self) -> Iterator[Path]:
        """Lend an empty folder for results, under a name that no browser has seen; the results before go.

        If the session ends meanwhile, or takes another video, nothing is left of them.
        """
        folder = self.folder
        if self.results is not None:
            shutil.rmtree(self.results, ignore_errors=True)
        self.results = Path(tempfile.mkdtemp(prefix="results-", dir=folder))
        try:
            yield self.results
        finally:
            if folder is not None and self.folder != folder:
                shutil.rmtree(folder, ignore_errors=True)

    def clear(self) -> None:
        """Remove the video and its results; work on them ends at its next frame."""
        if self.folder is not None:
            shutil.rmtree(self.folder, ignore_errors=True)
        self.folder = self.video = self.results = None

    def clear_rest(self) -> None:
        """Remove the recording of the person at rest."""
        if self.rest is not None:
            shutil.rmtree(self.rest.parent, ignore_errors=True)
        self.rest = None


def _move(upload: Path, target: Path) -> None:
    os.replace(upload, target)
    with suppress(OSError):  # another upload of the same bytes is on its way
        upload.parent.rmdir()


class Sessions:
    """The open pages, by name."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._open: dict[str, Session] = {}
        self._lock = threading.Lock()

    def find(self, name: str) -> Session:
        """Return a session, a new one the first time; live views that nobody looks at any longer are dropped."""
        now = time.monotonic()
        with self._lock:
            for session in self._open.values():
                if session.live is not None and now - session.live.used > IDLE_SECONDS:
                    session.live = None
            return self._open.setdefault(name, Session(self.folder))

    def end(self, name: str) -> None:
        """Forget a session and remove its files."""
        with self._lock:
            session = self._open.pop(name, None)
        if session is not None:
            session.clear()
            session.clear_rest()


class Recognizers:
    """The recognizers in use: each is loaded once, and works for one thread at a time, as its parts ask for."""

    def __init__(self) -> None:
        self._loaded: dict[tuple[str, str, str | None], EmotionRecognizer] = {}
        self._locks = {task: threading.Lock() for task in ("video", "live")}

    @contextmanager
    def lend(self, task: str, *, weights: str, head: str | None) -> Iterator[EmotionRecognizer]:
        """Lend a recognizer; one for "live" does not wait until a video is done."""
        key = (task, weights, head)
        with self._locks[task]:
            if key not in self._loaded:
                self._loaded[key] = EmotionRecognizer(weights=weights, head=head)
            yield self._loaded[key]


def analyze_video(
    video: Path,
    recognizer: EmotionRecognizer,
    folder: Path,
    *,
    faces: str = "primary",
    rest: Path | None = None,
    settings: Mapping[str, str],
    on_stage: Stage = lambda stage, done, total: None,
) -> Result:
    """Write all that can be had from a video into a folder; `on_stage` hears the stage and its frames done and in all.

    `rest` is a recording of the primary person at rest, which is taken off.

    Raises:
        VideoError: a file cannot be read as a video.
        UsageError: no face is seen at rest.
        ReportError: the folder cannot be written to.
    """
    baseline = recognizer.read_rest(rest) if rest else None
    timelines = recognizer.predict_all(
        video, baseline=baseline, on_progress=lambda done, total: on_stage("Reading faces", done, total)
    )
    shown = timelines if faces == "all" else timelines[:1]
    stem = folder / video.with_suffix("").name
    reports = [report_path(stem, rank=rank, suffix="csv") for rank in range(1, len(shown) + 1)]
    write_reports(shown, folder, Input(video, stem.name, video.name), ("csv",))
    people = read_people(stem)
    annotated, page = stem.with_name(f"{stem.name}.annotated.mp4"), stem.with_name(f"{stem.name}.html")
    count = len(timelines[0].times)
    annotate_video(
        video,
        people,
        annotated,
        max_height=ANNOTATED_HEIGHT,
        on_progress=lambda done, _: on_stage("Drawing the annotated video", done, count),
    )
    on_stage("Writing the report", count, count)
    figures = [report.with_suffix(".png") for report in reports]
    for rank, (report, figure) in enumerate(zip(reports, figures, strict=True)):
        plot_report(report, figure, video=None if rank else video)
    write_page(video, people, page, settings=settings, trust=recognizer.trust)
    on_stage("Done", count, count)
    outcome = summarize(timelines, file=video.name)
    if baseline:
        outcome = replace(outcome, extras={**outcome.extras, BASELINE: baseline.words})
    return Result(
        outcome=outcome,
        is_complete=timelines[0].video.is_complete,
        segments=[find_segments(table) for table in people],
        annotated=annotated,
        figures=figures,
        reports=reports,
        page=page,
        trust=recognizer.trust,
    )
