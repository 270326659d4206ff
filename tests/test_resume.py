"""Runs that end early: whatever stops one, the next ends with the files of a run that was never disturbed."""

import json
import os
import random
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from conftest import ROOT, MakeVideo, contents, crew_of, find_files
from video_files import make

from emo_affectnet import batch
from emo_affectnet.batch import Crew, analyze
from emo_affectnet.inputs import Input, Options, Shard
from emo_affectnet.merging import merge
from emo_affectnet.recognizer import EmotionRecognizer
from emo_affectnet.records import record_path
from emo_affectnet.summary import Outcome

KILLS = 20
CLIPS = 12

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="signals")


def command(videos: Path, save: Path, *options: str) -> list[str]:
    return [sys.executable, str(ROOT / "run.py"), "--path_video", str(videos), "--path_save", str(save), *options]


# The real thing, killed


@pytest.fixture(scope="module")
def clips(tmp_path_factory: pytest.TempPathFactory, astronaut: np.ndarray) -> Path:
    """Twelve clips of a face, of different lengths, and one that fails; some in a sub-folder."""
    folder = tmp_path_factory.mktemp("clips")
    (folder / "sub").mkdir()
    portrait = np.ascontiguousarray(astronaut[0:256:2, 96:352:2])  # (128, 128, 3)
    for number in range(CLIPS):
        place = folder / "sub" if number % 3 == 0 else folder
        make(place / f"{number:02d}.mp4", [portrait] * (8 + 4 * number))
    (folder / "broken.mp4").write_text("no video")
    return folder


@pytest.fixture(scope="module")
def undisturbed(clips: Path) -> tuple[dict[str, bytes], float]:
    """The files of a run in one piece, and the seconds it took."""
    save = clips.parent / "undisturbed"
    started = time.monotonic()
    done = subprocess.run(command(clips, save, "--threads", "1"), capture_output=True, text=True)
    assert done.returncode == 1, done.stderr
    return contents(save), time.monotonic() - started


def test_twenty_kills_at_any_moment_leave_the_files_of_a_run_in_one_piece(
    clips: Path, undisturbed: tuple[dict[str, bytes], float], tmp_path: Path
) -> None:
    expected, seconds = undisturbed
    assert len(expected) == 2 * CLIPS + 1
    chance = random.Random(7)
    save, lives, kills, found = tmp_path / "report", 0, 0, set()
    while kills < KILLS:
        with subprocess.Popen(
            command(clips, save, "--threads", "1"),
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
        ) as running:
            time.sleep(chance.uniform(0.2, 1.0) * seconds)
            how = ("process", "group", "terminate", "Ctrl-C")[kills % 4]
            found.add((how, running.poll() is None))
            kill(running, how)
        kills += 1
        if set(expected) <= set(contents(save)):  # nothing is left to be disturbed
            finish(clips, save, expected)
            shutil.rmtree(save)
            lives += 1
    finish(clips, save, expected)
    assert {(how, True) for how in ("process", "group", "terminate", "Ctrl-C")} <= found  # each met a run at work


def kill(running: "subprocess.Popen[bytes]", how: str) -> None:
    """Kill the command alone, it and all its processes as a power cut does, or ask them to end."""
    try:
        if how == "process":
            running.kill()
        elif how == "group":
            os.killpg(running.pid, signal.SIGKILL)
        elif how == "terminate":
            running.terminate()
        else:
            os.killpg(running.pid, signal.SIGINT)
    except ProcessLookupError:
        return


def finish(clips: Path, save: Path, expected: dict[str, bytes]) -> None:
    done = subprocess.run(command(clips, save, "--threads", "1"), capture_output=True, text=True)
    assert done.returncode == 1, done.stderr
    assert contents(save) == expected


def test_a_run_that_is_asked_to_end_leaves_nothing_half_done_and_says_how_to_go_on(clips: Path, tmp_path: Path) -> None:
    save = tmp_path / "the report"
    with subprocess.Popen(
        command(clips, save, "--force"), stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True
    ) as running:
        while not list(save.glob("*.csv")) or sum(file.suffix == ".json" for file in find_files(save)) < 2:
            time.sleep(0.01)
        running.terminate()
        _, told = running.communicate()
    assert running.returncode == 128 + signal.SIGTERM
    assert told.splitlines() == [
        "Stopped. What is finished stays; to go on, run the same command again:",
        f"  python {ROOT / 'run.py'} --path_video {clips} --path_save '{save}'",  # not by force: that begins anew
    ]
    assert not [name for name in contents(save) if Path(name).name.startswith(".")]


# Every step of it, with fakes

CUT = """
import sys
from pathlib import Path
sys.path.insert(0, {tests!r})
from conftest import FakeDetector, FakeEngine, crew_of
from cut_runs import dies_at
from emo_affectnet import recognizer as module
from emo_affectnet.batch import analyze

module.DETECTORS["near-and-far"] = lambda confidence=None: FakeDetector()
module.open_engine = lambda weights, **options: FakeEngine(weights)
recognizer = module.EmotionRecognizer()
videos, save = map(Path, sys.argv[1:])

def run():
    analyze([videos], save=save, crew=crew_of(recognizer))

step = 1
while dies_at(run, step):
    left = sorted(path.name for path in save.rglob("*") if path.is_file()) if save.exists() else []
    summary = save / "summary.csv"
    assert not summary.exists() or summary.read_bytes().endswith(b"\\n"), step
    if not dies_at(run, 10**9):  # the next run, undisturbed
        files = {{str(path.relative_to(save)): path.read_bytes() for path in sorted(save.rglob("*")) if path.is_file()}}
        print(step, hash(tuple(files.items())), *files)
    for path in sorted(save.rglob("*"), reverse=True):
        path.unlink() if path.is_file() else path.rmdir()
    if step % 2:
        save.rmdir()
    step += 1
"""


def test_cut_off_at_each_single_call_to_the_system_the_next_run_makes_it_whole(
    tmp_path: Path, make_video: MakeVideo
) -> None:
    for name in ("a.mp4", "b.mp4", "sub/c.mp4"):
        make_video(f"videos/{name}", frames=6 + len(name))
    (tmp_path / "videos" / "bad.mp4").write_text("no video")
    script = CUT.format(tests=str(ROOT / "tests"))
    done = subprocess.run(
        [sys.executable, "-c", script, tmp_path / "videos", tmp_path / "report"], capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    lines = [line.split() for line in done.stdout.splitlines()]
    assert [line[0] for line in lines] == [str(step) for step in range(1, len(lines) + 1)]
    assert len(lines) > 40  # steps that were cut off
    assert {tuple(line[1:]) for line in lines} == {tuple(lines[0][1:])}  # the same bytes in the same files
    assert lines[0][2:] == ["a.csv", "a.json", "b.csv", "b.json", "sub/c.csv", "sub/c.json", "summary.csv"]


# What counts as finished


@pytest.fixture
def videos(tmp_path: Path, make_video: MakeVideo) -> Path:
    make_video("videos/a.mp4", frames=12)
    make_video("videos/b.mp4", frames=7)
    return tmp_path / "videos"


class Watcher:
    """Runs over a folder, and tells which videos were read."""

    def __init__(self, videos: Path, recognizer: EmotionRecognizer) -> None:
        self.videos, self.recognizer, self.save = videos, recognizer, videos.parent / "report"
        self.kept: list[int] = []

    def __call__(self, **how: object) -> list[str]:
        read: list[str] = []

        def note(outcome: Outcome) -> None:
            read.append(outcome.file)

        def keep(crew: Crew, kept: int, inputs: int) -> None:
            self.kept.append(kept)

        how = {"crew": crew_of(self.recognizer), "save": self.save, **how}
        self.outcomes = analyze([self.videos], on_outcome=note, on_ready=keep, **how)  # type: ignore[arg-type] # of every kind
        return read


@pytest.fixture
def watch(videos: Path, fake_recognizer: EmotionRecognizer) -> Watcher:
    return Watcher(videos, fake_recognizer)


def test_what_is_finished_is_kept_and_summed_up_all_the_same(watch: Watcher) -> None:
    assert watch() == ["a.mp4", "b.mp4"]
    before, times = contents(watch.save), [path.stat().st_mtime_ns for path in watch.save.glob("?.csv")]
    assert watch() == []
    assert contents(watch.save) == before
    assert [path.stat().st_mtime_ns for path in watch.save.glob("?.csv")] == times
    assert [(each.file, each.status, each.seconds) for each in watch.outcomes] == [
        ("a.mp4", "ok", None),
        ("b.mp4", "ok", None),
    ]
    assert watch.kept == [0, 2]


def test_force_analyses_again(watch: Watcher) -> None:
    watch()
    assert watch(force=True) == ["a.mp4", "b.mp4"]


def test_a_moved_folder_is_finished_still_and_a_renamed_video_is_new(watch: Watcher, tmp_path: Path) -> None:
    watch()
    watch.videos = watch.videos.rename(tmp_path / "elsewhere")
    (watch.videos / "a.mp4").touch()  # its time is another one, its content is not
    assert watch() == []
    (watch.videos / "a.mp4").rename(watch.videos / "c.mp4")
    assert watch() == ["c.mp4"]


def change_video(save: Path) -> None:
    path = save.parent / "videos" / "a.mp4"
    data = bytearray(path.read_bytes())
    data[-1] ^= 1
    path.write_bytes(data)  # of the same size


def change_record(save: Path, **fields: object) -> None:
    path = record_path(save, "a")
    path.write_text(json.dumps(json.loads(path.read_text()) | fields))


@pytest.mark.parametrize(
    "change",
    [
        pytest.param(change_video, id="the video is another one of the same size"),
        pytest.param(lambda save: (save / "a.csv").unlink(), id="the report is gone"),
        pytest.param(lambda save: (save / "a.csv").write_bytes(b"frame\n"), id="the report is another one"),
        pytest.param(lambda save: os.truncate(save / "a.csv", 100), id="half the report"),
        pytest.param(lambda save: (save / "a.json").unlink(), id="the record is gone"),
        pytest.param(lambda save: (save / "a.json").write_bytes(b""), id="the record is empty"),
        pytest.param(lambda save: os.truncate(save / "a.json", 300), id="half the record"),
        pytest.param(lambda save: (save / "a.json").write_text("[" * 10_000), id="a record that is too deep"),
        pytest.param(lambda save: (save / "a.json").write_text("[1]"), id="no record"),
        pytest.param(lambda save: change_record(save, format="2"), id="a record of another format"),
        pytest.param(lambda save: change_record(save, settings={}), id="a record of other settings"),
        pytest.param(lambda save: change_record(save, summary={"file": "a.mp4"}), id="a row that is none"),
        pytest.param(lambda save: change_record(save, source={"size": 3}), id="a fingerprint that is none"),
        pytest.param(lambda save: change_record(save, reports={"../../a.csv": "x"}), id="reports elsewhere"),
    ],
)
def test_whatever_is_not_the_finished_work_is_done_again(watch: Watcher, change) -> None:
    watch()
    before = contents(watch.save)
    change(watch.save)
    assert watch() == ["a.mp4"]
    assert set(contents(watch.save)) == set(before)
    assert watch() == []


@pytest.mark.parametrize(
    "options", [Options(faces="all"), Options(formats=("json",)), Options(formats=("csv", "json"))], ids=str
)
def test_other_options_are_other_work(watch: Watcher, options: Options) -> None:
    watch()
    assert watch(options=options) == ["a.mp4", "b.mp4"]
    assert watch(options=options) == []


def test_another_threshold_is_other_work(watch: Watcher) -> None:
    watch()
    watch.recognizer.confidence = 0.7
    assert watch() == ["a.mp4", "b.mp4"]


def test_what_failed_is_tried_again_and_what_was_cut_short_is_not(watch: Watcher, make_video: MakeVideo) -> None:
    (watch.videos / "text.mp4").write_text("no video")
    cut = make_video("videos/cut.mp4", frames=200, size=(160, 120))
    os.truncate(cut, cut.stat().st_size * 7 // 10)
    watch()
    assert watch() == ["text.mp4"]
    assert [(each.file, each.status) for each in watch.outcomes if each.status == "error"] == [
        ("cut.mp4", "error"),  # the same bytes would give the same
        ("text.mp4", "error"),
    ]


def test_features_want_every_video_anew(watch: Watcher, tmp_path: Path) -> None:
    watch()
    assert watch(features=tmp_path / "f.npz") == ["a.mp4", "b.mp4"]


# Shards


def test_shards_side_by_side_join_to_the_run_in_one_piece(watch: Watcher, make_video: MakeVideo) -> None:
    for number in range(8):
        make_video(f"videos/sub/{number}.mp4", frames=5 + number)
    (watch.videos / "bad.mp4").write_text("no video")
    watch()
    whole = contents(watch.save)
    watch.save = watch.save.with_name("shards")
    read = [watch(shard=Shard(index, 3)) for index in (2, 1, 3)]
    assert sorted(sum(read, [])) == sorted(outcome.file for outcome in _all(whole))
    assert merge([watch.save], save=watch.save) == 11
    joined = contents(watch.save)
    assert {name: joined[name] for name in whole} == whole
    assert set(joined) - set(whole) == {f"summary.{index}-of-3.csv" for index in (1, 2, 3)}
    assert watch() == ["bad.mp4"]  # the run in one piece finds all of it finished


def _all(files: dict[str, bytes]) -> list[Outcome]:
    rows = files["summary.csv"].decode().splitlines()[1:]
    return [Outcome(row.split(",")[0], "ok") for row in rows]


def test_a_shard_without_a_video_has_an_empty_summary(watch: Watcher) -> None:
    empty = next(
        Shard(index, 9) for index in range(1, 10) if not any(Shard(index, 9).holds(each) for each in _inputs())
    )
    assert watch(shard=empty) == []
    assert (watch.save / f"summary.{empty}.csv").read_text().count("\n") == 1


def _inputs() -> list[Input]:
    return [Input(Path(name), name, name) for name in ("a.mp4", "b.mp4")]


def test_the_summary_is_put_in_order_whoever_is_done_first(watch: Watcher, monkeypatch: pytest.MonkeyPatch) -> None:
    watch()
    before = contents(watch.save)
    shutil.rmtree(watch.save)
    in_order = batch.find_inputs
    monkeypatch.setattr(batch, "find_inputs", lambda paths: (in_order(paths)[0][::-1], []))
    assert watch() == ["b.mp4", "a.mp4"]
    assert contents(watch.save) == before
