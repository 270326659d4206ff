"""Videos are read in a process of their own, which may crash or hang: it is replaced, and the run goes on.

This side starts the process (`worker`), hands it one video after the other and hears what becomes of them. Nothing
heavy is loaded here.
"""

import json
import logging
import os
import subprocess
import sys
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import replace
from pathlib import Path
from queue import Empty, SimpleQueue
from signal import Signals
from threading import Thread
from typing import IO, Any

from . import errors
from .errors import EmoAffectNetError, WorkerError, printable
from .inputs import Input, Options, Prepare, Progress
from .summary import Outcome

log = logging.getLogger("emo_affectnet")

STALL_SECONDS = 600.0  # without progress, after which a video is given up
ATTEMPTS = 2  # a video before it may have spoilt the process that it took down
_GRACE = 5.0  # s for a process that is not needed any more to end


class _TimeUp(Exception):
    """The process has not answered in time."""


class _Gone(Exception):
    """The process has ended by itself."""


class _Process:
    """One process, its orders and its answers."""

    def __init__(self) -> None:
        package = str(Path(__file__).parents[1])
        paths = [package, *filter(None, [os.environ.get("PYTHONPATH")])]  # where this very package is, above all others
        self._process = subprocess.Popen(
            [sys.executable, "-m", f"{__package__}.worker"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            encoding="ascii",
            env={**os.environ, "PYTHONPATH": os.pathsep.join(paths)},
            close_fds=os.name == "nt",  # elsewhere it inherits the lock of the report folder
        )
        self._answers: SimpleQueue[list[Any] | None] = SimpleQueue()
        stdout: Any = self._process.stdout
        self._listening = Thread(target=self._listen, args=(stdout,), daemon=True)
        self._listening.start()

    def _listen(self, lines: IO[str]) -> None:
        with suppress(ValueError):  # half a line, of a process that was killed
            for line in lines:
                self._answers.put(json.loads(line))
        self._answers.put(None)

    def send(self, order: Any) -> None:
        stdin: Any = self._process.stdin
        with suppress(OSError):  # it has ended, which its answers tell
            stdin.write(json.dumps(order) + "\n")
            stdin.flush()

    def receive(self, *, seconds: float) -> list[Any]:
        """Return the next answer, for which there are so many seconds; a log record goes into the log.

        Raises:
            EmoAffectNetError: the process has failed for a reason it knows.
        """
        deadline = time.monotonic() + seconds
        while True:
            try:
                answer = self._answers.get(timeout=max(deadline - time.monotonic(), 0))
            except Empty:
                raise _TimeUp from None
            if answer is None:
                raise _Gone
            if answer[0] == "failed":
                raise rebuild(*answer[1:])
            if answer[0] != "log":
                return answer
            log.log(*answer[1:3])

    def end(self) -> str:
        """End the process if it has not ended, and return how it did."""
        stdin: Any = self._process.stdin
        with suppress(OSError):  # an order that it did not read any more
            stdin.close()
        try:
            code = self._process.wait(_GRACE)
        except subprocess.TimeoutExpired:
            code = self.kill()
        self._close()
        return _describe_end(code)

    def kill(self) -> int:
        self._process.kill()
        code = self._process.wait()
        self._close()
        return code

    def _close(self) -> None:
        self._listening.join()
        for stream in (self._process.stdin, self._process.stdout):
            with suppress(OSError):
                stream.close()  # type: ignore[union-attr] # both are pipes


def rebuild(name: str, message: str) -> EmoAffectNetError:
    """Return an error that another process has raised, by the name of its class."""
    kind: type[EmoAffectNetError] = getattr(errors, name)
    error = kind.__new__(kind)
    Exception.__init__(error, message)
    return error


def _describe_end(code: int) -> str:
    if code >= 0:
        return f"exit status {code}"
    with suppress(ValueError):
        name = Signals(-code).name
        return f"{name}, as when memory runs out" if name == "SIGKILL" else name
    return f"signal {-code}"


class Workers:
    """Analyses videos one after the other, in a process that is replaced when it dies.

    It tells what an `analysis.Analyst` does, of the process's one.

    Raises:
        WorkerError: the process cannot be started.
        EmoAffectNetError: as the process says: weights or options that cannot be used.
    """

    def __init__(
        self, options: Options, save: Path, unfinished: Path, *, on_prepare: Prepare, time_limit: float | None
    ) -> None:
        self._on_prepare, self._time_limit = on_prepare, time_limit
        self._order = {"options": options.to_json(), "save": str(save), "unfinished": str(unfinished)}
        self._process: _Process | None = self._start()

    def _start(self) -> _Process:
        process = _Process()
        process.send(self._order)
        try:
            while (answer := process.receive(seconds=STALL_SECONDS))[0] != "ready":
                self._on_prepare(*answer[1:])
        except _TimeUp:
            process.kill()
            raise WorkerError(
                f"The process that reads the videos was not ready after {STALL_SECONDS:g} s. Look at what it reads its "
                "weights from, and run the same command again."
            ) from None
        except _Gone:
            raise WorkerError(
                f"The process that reads the videos ended before it was ready ({process.end()}). Its own words stand "
                "above."
            ) from None
        except BaseException:
            process.kill()
            raise
        self.settings: dict[str, str] = answer[1]
        self.extra_columns: tuple[str, ...] = tuple(answer[2])
        self.description: str = answer[3]
        return process

    def run(
        self, inputs: Iterable[Input], *, on_progress: Progress = lambda source, done, total: None
    ) -> Iterator[tuple[Input, Outcome]]:
        """Yield each input with its row; `on_progress` hears the input, its frames done and in all, if known.

        Raises:
            FullError: no report can be written any more.
        """
        for source in inputs:
            yield source, self._analyze(source, on_progress)

    def _analyze(self, source: Input, on_progress: Progress) -> Outcome:
        started = time.monotonic()
        message = ""
        for attempt in range(1, ATTEMPTS + 1):
            process = self._process = self._process or self._start()
            try:
                return self._hear(process, source, on_progress, started)
            except _TimeUp:
                message = self._describe_delay(source, started)
                process.kill()
                self._process = None
                break
            except _Gone:
                how = process.end()
                message = (
                    f'"{source.path}" ended the process that read it, {attempt} times in a row ({how}). Convert the '
                    "video to H.264 in mp4, or leave it out."
                )
                self._process = None
        seconds = time.monotonic() - started
        return Outcome(source.label, "error", message=printable(message), seconds=seconds)

    def _hear(self, process: _Process, source: Input, on_progress: Progress, started: float) -> Outcome:
        process.send([str(source.path), source.name, source.label, source.step and source.step.to_json()])
        while True:
            left = STALL_SECONDS
            if self._time_limit is not None:
                left = min(left, max(started + self._time_limit - time.monotonic(), 0))
            answer = process.receive(seconds=left)
            if answer[0] == "outcome":
                return replace(Outcome.from_json(answer[1]), seconds=answer[2])
            on_progress(source, *answer[1:])

    def _describe_delay(self, source: Input, started: float) -> str:
        took = time.monotonic() - started
        if self._time_limit is not None and took >= self._time_limit:
            return f'"{source.path}" was given up after {self._time_limit:g} s, the time limit for a video.'
        return f'"{source.path}" was given up: nothing more came of it for {STALL_SECONDS:g} s.'

    def close(self) -> None:
        """End the process."""
        if self._process:
            self._process.end()


@contextmanager
def open_workers(
    options: Options,
    save: Path,
    unfinished: Path,
    *,
    on_prepare: Prepare = lambda done, total: None,
    time_limit: float | None = None,
) -> Iterator[Workers]:
    """Lend what analyses videos in a process of its own; a video may take `time_limit` s.

    Raises:
        WeightsError: the weights cannot be used.
        UsageError: two options that do not go together.
    """
    workers = Workers(options, save, unfinished, on_prepare=on_prepare, time_limit=time_limit)
    try:
        yield workers
    finally:
        workers.close()
