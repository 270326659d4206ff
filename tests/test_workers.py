"""The process that reads the videos: what it takes along when it crashes, hangs or cannot start: one video at most."""

import logging
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from video_files import coded, make

from emo_affectnet import worker, workers
from emo_affectnet.errors import CorruptWeights, FullError, MissingWeights, UnknownName, UsageError, WorkerError
from emo_affectnet.inputs import Input, Options
from emo_affectnet.summary import Outcome
from emo_affectnet.workers import Workers, open_workers

ONE_THREAD = Options({"threads": 1})


@pytest.fixture(scope="module")
def videos(tmp_path_factory: pytest.TempPathFactory, astronaut: np.ndarray) -> dict[str, Input]:
    folder = tmp_path_factory.mktemp("videos")
    portrait = np.ascontiguousarray(astronaut[0:256:2, 96:352:2])  # (128, 128, 3)
    for name in ("a", "b"):
        make(folder / f"{name}.mp4", [portrait] * 30)
    make(folder / "damaged.mkv", map(coded, range(16)), codec="ffv1", damaged=(3, 7))
    (folder / "text.mp4").write_text("no video")
    return {path.stem: Input(path, path.stem, path.name) for path in folder.iterdir()}


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    save = tmp_path_factory.mktemp("report")
    (save / "unfinished").mkdir()
    return save, save / "unfinished"


@pytest.fixture(scope="module")
def crew(folders: tuple[Path, Path]) -> Iterator[Workers]:
    """One real process for all tests that do not end it."""
    with open_workers(ONE_THREAD, *folders) as workers:
        yield workers


def run(crew: Workers, *inputs: Input, on_progress=lambda source, done, total: None) -> list[Outcome]:
    return [replace(outcome, seconds=None) for _, outcome in crew.run(inputs, on_progress=on_progress)]


def process_of(crew: Workers) -> "subprocess.Popen[str]":
    assert crew._process is not None
    return crew._process._process


def test_videos_are_read_in_another_process_and_their_progress_is_heard(
    crew: Workers, videos: dict[str, Input], folders: tuple[Path, Path]
) -> None:
    heard: list[tuple[str, int, int | None]] = []
    good, bad = run(
        crew, videos["a"], videos["text"], on_progress=lambda source, *counts: heard.append((source.name, *counts))
    )
    assert (good.file, good.status, good.frames, good.people) == ("a.mp4", "ok", 30, 1)
    assert (bad.file, bad.status, bad.frames) == ("text.mp4", "error", None)
    assert bad.message is not None
    assert "it is in no known video format" in bad.message
    assert heard[-1] == ("a", 30, 30)
    assert {path.name for path in folders[0].iterdir()} == {"a.csv", "a.json", "unfinished"}
    assert not list(folders[1].iterdir())


def test_it_tells_what_runs_the_network_and_what_a_report_depends_on(crew: Workers) -> None:
    assert crew.description == "Network: onnxruntime in fp32, on cpu (there is no graphics card), 1 thread."
    assert crew.settings["engine"] == "onnxruntime, fp32"
    assert (crew.settings["faces"], crew.settings["formats"]) == ("primary", "csv")
    assert "SHA-256" in crew.settings["backbone"]
    assert crew.settings["head"] == "average over 2 s"
    assert crew.extra_columns == ()


def test_its_warnings_reach_the_log_here(
    crew: Workers, videos: dict[str, Input], caplog: pytest.LogCaptureFixture
) -> None:
    run(crew, videos["damaged"])
    assert [(record.levelno, "packets gave no frame; skipped." in record.message) for record in caplog.records] == [
        (logging.WARNING, True)
    ]


@pytest.mark.skipif(sys.platform != "linux", reason="others have no such choice")
def test_where_memory_runs_out_it_goes_before_the_run(crew: Workers) -> None:
    assert Path(f"/proc/{process_of(crew).pid}/oom_score_adj").read_text() == f"{worker.OOM_SCORE}\n"


# It ends


def test_a_crash_costs_one_video_and_is_tried_twice(crew: Workers, videos: dict[str, Input]) -> None:
    ended: list[int] = []

    def crash(source: Input, done: int, total: int | None) -> None:
        if source.name == "a":
            ended.append(process_of(crew).pid)
            os.kill(ended[-1], signal.SIGSEGV)

    first, second = run(crew, videos["a"], videos["b"], on_progress=crash)
    assert (first.status, second.status) == ("error", "ok")
    assert first.message == (
        f'"{videos["a"].path}" ended the process that read it, 2 times in a row (SIGSEGV). Convert the video to H.264 '
        "in mp4, or leave it out."
    )
    assert len(set(ended)) == 2
    assert process_of(crew).pid not in ended


def test_a_video_that_came_after_the_damage_gets_a_second_chance(crew: Workers, videos: dict[str, Input]) -> None:
    before = process_of(crew)
    before.kill()
    (outcome,) = run(crew, videos["a"])
    assert outcome.status == "ok"
    assert process_of(crew).pid != before.pid


def test_memory_that_runs_out_is_named(crew: Workers, videos: dict[str, Input]) -> None:
    (outcome,) = run(crew, videos["a"], on_progress=lambda *counts: process_of(crew).kill())
    assert outcome.message is not None
    assert "(SIGKILL, as when memory runs out)" in outcome.message


# It takes too long


def test_a_video_that_takes_longer_than_it_may_is_given_up(
    folders: tuple[Path, Path], videos: dict[str, Input]
) -> None:
    with open_workers(ONE_THREAD, *folders, time_limit=1e-3) as crew:
        first = process_of(crew)
        (outcome,) = run(crew, videos["a"])
    assert (outcome.status, outcome.message) == (
        "error",
        f'"{videos["a"].path}" was given up after 0.001 s, the time limit for a video.',
    )
    assert first.returncode == -signal.SIGKILL


def test_a_video_of_which_nothing_more_comes_is_given_up(
    crew: Workers, videos: dict[str, Input], monkeypatch: pytest.MonkeyPatch
) -> None:
    def hang(source: Input, done: int, total: int | None) -> None:
        if source.name == "a":
            os.kill(process_of(crew).pid, signal.SIGSTOP)
            monkeypatch.setattr(workers, "STALL_SECONDS", 0.2)

    given_up = run(crew, videos["a"], on_progress=hang)
    monkeypatch.undo()
    assert given_up == [
        Outcome("a.mp4", "error", message=f'"{videos["a"].path}" was given up: nothing more came of it for 0.2 s.')
    ]
    assert [outcome.status for outcome in run(crew, videos["b"])] == ["ok"]


# It cannot start, or go on


@pytest.mark.parametrize(
    ("options", "error", "sentence"),
    [
        (Options({"head_file": Path("none.pt")}), MissingWeights, "Expected a weight file at none.pt"),
        (Options(formats=("xml",)), UnknownName, "There is no report format named 'xml'"),
    ],
)
def test_what_is_wrong_with_the_call_is_raised_here_as_it_was_there(
    folders: tuple[Path, Path], options: Options, error: type[Exception], sentence: str
) -> None:
    with pytest.raises(error, match=sentence), open_workers(options, *folders):
        pass


def test_a_process_that_cannot_start_is_told_in_a_sentence(
    folders: tuple[Path, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "executable", "/bin/false")
    with (
        pytest.raises(WorkerError, match=r"ended before it was ready \(exit status 1\)"),
        open_workers(ONE_THREAD, *folders),
    ):
        pass


def test_a_process_that_is_never_ready_is_given_up(folders: tuple[Path, Path], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(workers, "STALL_SECONDS", 0.01)
    too_late = pytest.raises(WorkerError, match="was not ready after 0.01 s")
    with too_late, open_workers(ONE_THREAD, *folders):
        pass


@pytest.mark.parametrize("kind", [CorruptWeights, FullError, UsageError, UnknownName])
def test_errors_keep_their_class_and_sentence_on_the_way(kind: type[Exception]) -> None:
    error = workers.rebuild(kind.__name__, "as it is")
    assert (type(error), str(error)) == (kind, "as it is")


def test_it_ends_with_whoever_started_it(videos: dict[str, Input], folders: tuple[Path, Path]) -> None:
    """A command that is killed cannot tell its child to end; it must notice by itself."""
    script = (
        "import sys, os; from pathlib import Path\n"
        "from emo_affectnet.workers import open_workers; from emo_affectnet.inputs import Options\n"
        "with open_workers(Options({'threads': 1}), *map(Path, sys.argv[1:])) as crew:\n"
        "    print(crew._process._process.pid, flush=True); os.kill(os.getpid(), 9)"
    )
    done = subprocess.run([sys.executable, "-c", script, *folders], capture_output=True, text=True)
    assert done.returncode == -signal.SIGKILL
    child = Path(f"/proc/{int(done.stdout)}/stat")
    for _ in range(100):
        if not child.exists() or child.read_text().split()[2] == "Z":
            return
        signal.sigtimedwait([], 0.05)
    raise AssertionError("it is still there")


# The other side of the pipe, in this process


class Pipe:
    """A stream that keeps its lines."""

    def __init__(self) -> None:
        self.lines: list[str] = []

    def write(self, text: str) -> None:
        self.lines.append(text)

    def flush(self) -> None:
        pass


def test_progress_is_told_five_times_a_second_and_at_the_end(monkeypatch: pytest.MonkeyPatch) -> None:
    pipe, clock = Pipe(), iter(np.arange(1, 100) / 8)
    monkeypatch.setattr(worker.time, "monotonic", lambda: next(clock))
    channel = worker._Channel(pipe)  # type: ignore[arg-type] # as far as it is used
    for done in range(1, 10):
        channel.send_progress(done, 9)
    assert pipe.lines == [f'["progress", {done}, 9]\n' for done in (2, 4, 6, 8, 9)]
