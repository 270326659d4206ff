"""Live: frames of a camera go in as they come; a window, a recording and a CSV show what people's faces express.

Three threads: one reads, one looks at faces, and the caller's shows, records and listens to keys. Between them lie
places that hold the newest value only, so that nothing waits for anything slower, and nothing piles up. All times are
media time; only the frames per second on the screen are counted by the clock on the wall.
"""

import signal
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from types import FrameType
from typing import Any, Generic, TypeVar

import numpy as np

from .baseline import Baseline
from .camera import Source
from .drawing import CORNERS, draw_note, draw_people
from .recognizer import EmotionRecognizer
from .recording import MomentLog, Recorder
from .stream import Stream
from .timeline import MAX_GAP, Moment
from .video import Frame
from .window import Window

TITLE = "EMO-AffectNet"
POLL_SECONDS = 0.02  # between two looks at the keys while no frame comes
RATE_SECONDS = 1.0  # over which the frames per second are counted
QUIT, RECORD, MIRROR = "q", "r", "m"  # keys

_SIGNALS = (signal.SIGINT, signal.SIGTERM)

Value = TypeVar("Value")


@dataclass(frozen=True)
class Summary:
    """What a live session was."""

    frames: int  # that came from the source
    shown: int  # of those, in the window
    samples: int  # frames looked at for faces
    seconds: float  # of media time
    recordings: tuple[Path, ...]


class Newest(Generic[Value]):
    """A place for one value, between two threads: putting never waits, and replaces what nobody has taken."""

    def __init__(self) -> None:
        self._condition = threading.Condition()
        self._values: deque[Value] = deque(maxlen=1)
        self._is_closed = False

    def put(self, value: Value) -> None:
        """Lay down a value, in the place of an older one."""
        with self._condition:
            self._values.append(value)
            self._condition.notify()

    def take(self, *, timeout: float | None = None) -> Value | None:
        """Wait for a value that was not taken yet, at most `timeout` s; None if none came, or none will."""
        with self._condition:
            self._condition.wait_for(lambda: self._values or self._is_closed, timeout)
            return self._values.pop() if self._values else None

    def close(self) -> None:
        """Let no one wait any longer; a value that is there can still be taken."""
        with self._condition:
            self._is_closed = True
            self._condition.notify_all()

    @property
    def is_over(self) -> bool:
        """Whether there is no value, and none will come."""
        with self._condition:
            return self._is_closed and not self._values


def run_live(
    recognizer: EmotionRecognizer,
    source: Source,
    *,
    mode: str = "temporal",
    baseline: Baseline | str | None = None,
    record: str | Path | None = None,
    csv: str | Path | None = None,
    show_window: bool = True,
    mirror: bool = False,
) -> Summary:
    """Show, record and write down what the faces in a source express, until it ends or someone ends it.

    In the window, q quits, r starts and stops recording, m mirrors; Ctrl-C and SIGTERM quit as well. Whatever ends the
    session, an error included, keeps what was recorded and written until then. `baseline` is that of a `Stream`.

    Raises:
        UsageError: there is no display for the window, no such mode, or `record` is no mp4.
        VideoError: the source broke off, or the recording cannot be written.
        ReportError: the CSV cannot be written.
    """
    stream = recognizer.open_stream(mode=mode, baseline=baseline)
    with ExitStack() as stack:
        window = stack.enter_context(Window(TITLE)) if show_window else None
        log = stack.enter_context(MomentLog(Path(csv), has_raw=baseline is not None)) if csv else None
        recorder = stack.enter_context(Recorder(Path(record) if record else None))
        session = _Session(source, stream, window=window, recorder=recorder, log=log, is_mirrored=mirror)
        stack.enter_context(_ended_by_signals(session.end))
        return session.run()


@contextmanager
def _ended_by_signals(end: Callable[[], None]) -> Iterator[None]:
    """Let the first Ctrl-C or SIGTERM end a session quietly; the second does what it always does."""
    former: dict[int, Any] = {}  # handlers by signal

    def answer(number: int, frame: FrameType | None) -> None:
        restore()
        end()

    def restore() -> None:
        for number, handler in former.items():
            signal.signal(number, handler)

    if threading.current_thread() is threading.main_thread():  # Python takes signals nowhere else
        for number in _SIGNALS:
            former[number] = signal.signal(number, answer)
    try:
        yield
    finally:
        restore()


class _Session:
    """The three threads of one live session, and what they share."""

    def __init__(
        self,
        source: Source,
        stream: Stream,
        *,
        window: Window | None,
        recorder: Recorder,
        log: MomentLog | None,
        is_mirrored: bool,
    ) -> None:
        self._source, self._stream = source, stream
        self._window, self._recorder, self._log = window, recorder, log
        self._is_mirrored = is_mirrored
        self._pictures, self._samples = Newest[Frame](), Newest[Frame]()
        self._moments: dict[int, Moment] = {}  # the newest of each person, by track id; replaced, never changed
        self._is_ended = False
        self._rate = _Rate()
        self._frames = self._shown = self._looks = 0
        self._seconds = 0.0

    def run(self) -> Summary:
        """Run to the end of the source, or until someone ends it; what a thread raised is raised here."""
        with ThreadPoolExecutor(max_workers=2, thread_name_prefix="live") as threads:
            tasks = [threads.submit(self._read), threads.submit(self._look)]
            try:
                self._show()
            finally:
                self._source.stop()
        for task in tasks:
            task.result()
        return Summary(self._frames, self._shown, self._looks, self._seconds, tuple(self._recorder.paths))

    def end(self) -> None:
        """End the session soon; a signal may call this at any point of the main thread, so no lock is taken."""
        self._is_ended = True

    def _read(self) -> None:
        """Take the frames as they come and choose those to look at, so that nothing slow decides what is chosen."""
        start = None
        try:
            for frame in self._source:
                start = frame.time if start is None else start
                self._frames, self._seconds = self._frames + 1, frame.time - start
                _ = frame.image  # converted here, because two threads must not convert one frame at once
                for sample in self._stream.select(frame):
                    self._samples.put(sample)
                self._pictures.put(frame)
        finally:
            self._pictures.close()
            self._samples.close()

    def _look(self) -> None:
        try:
            while sample := self._samples.take():
                moments = self._stream.look(sample)
                self._looks += 1
                if self._log is not None:
                    self._log.write(sample, moments)
                recent = {person: each for person, each in self._moments.items() if _is_recent(each, sample)}
                self._moments = recent | {moment.track_id: moment for moment in moments}
        finally:
            self._source.stop()  # an error here ends everything

    def _show(self) -> None:
        while not self._is_ended and not self._pictures.is_over:
            frame = self._pictures.take(timeout=POLL_SECONDS)
            if frame is not None and (self._window is not None or self._recorder.is_on):
                self._present(frame)
            if self._window is not None:
                self._press(self._window.read_key())

    def _present(self, frame: Frame) -> None:
        """Draw what is known of a frame, record it, and show it with the figures, which are not recorded."""
        moments = [moment for moment in self._moments.values() if _is_recent(moment, frame)]
        image = np.array(frame.image[:, ::-1] if self._is_mirrored else frame.image, order="C")  # a copy to draw on
        if self._is_mirrored:
            moments = [_mirror(moment, width=image.shape[1]) for moment in moments]
        people = sorted(moment.track_id for moment in moments)
        draw_people(image, moments, corners=dict(zip(people, CORNERS, strict=False)))
        self._recorder.write(image, time=frame.time)
        if self._window is not None:
            draw_note(image, self._describe(frame, moments))
            self._window.show(image)
            self._shown += 1

    def _describe(self, frame: Frame, moments: Sequence[Moment]) -> str:
        parts = ["recording"] if self._recorder.is_on else []
        parts.append(f"{self._rate.count(time.monotonic()):.1f} frames/s")
        if self._stream.baseline is not None:
            parts.append("baseline")
        if moments:
            age = frame.time - max(moment.time for moment in moments)
            parts.append(f"emotion {max(age, 0.0):.2f} s old")
        if too_small := self._stream.too_small:
            parts.append(f"{too_small} {'face' if too_small == 1 else 'faces'} too small to read")
        return "  ".join(parts)

    def _press(self, key: str | None) -> None:
        if key == QUIT:
            self.end()
        elif key == RECORD:
            self._recorder.toggle()
        elif key == MIRROR:
            self._is_mirrored = not self._is_mirrored


class _Rate:
    """How often something happens, over the last second."""

    def __init__(self) -> None:
        self._times: deque[float] = deque()  # s

    def count(self, now: float) -> float:
        """Note that it happened `now`, in s, and return how often per second it did."""
        self._times.append(now)
        while now - self._times[0] > RATE_SECONDS:
            self._times.popleft()
        return (len(self._times) - 1) / (now - self._times[0]) if now > self._times[0] else 0.0


def _is_recent(moment: Moment, frame: Frame) -> bool:
    return frame.time - moment.time <= MAX_GAP


def _mirror(moment: Moment, *, width: int) -> Moment:
    """Return the moment in a picture of `width` px that is mirrored left to right."""
    x1, y1, x2, y2 = moment.box
    return replace(moment, box=(width - x2, y1, width - x1, y2))
