"""The soak: what it looks at, that it sees growth where there is some, and the promise itself, on a thousand clips."""

import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from emo_affectnet.errors import VideoError
from emo_affectnet.video import probe, read_frames

pytestmark = pytest.mark.usefixtures("benchmark_path")

WAITING = "import sys; print('ready', flush=True); sys.stdin.read()"
PARENT = f"import subprocess, sys; subprocess.Popen([sys.executable, '-c', {WAITING!r}]).wait()"


def start(script: str) -> "subprocess.Popen[str]":
    """Return a process that runs a script and has said that it is ready."""
    process = subprocess.Popen(
        [sys.executable, "-c", script], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, encoding="utf-8"
    )
    assert process.stdout is not None
    assert process.stdout.readline() == "ready\n"
    return process


def test_a_tree_has_the_children_of_children() -> None:
    from soak import find_tree

    with start(PARENT) as parent:
        tree = find_tree(parent.pid)
        parent.communicate()
    assert tree[0] == parent.pid
    assert len(tree) == 2
    assert find_tree(parent.pid) == [parent.pid]  # they have ended


def test_clips_are_what_their_scenes_say_and_no_two_are_the_same(tmp_path: Path) -> None:
    from soak import SCENES, write_clips

    write_clips(tmp_path / "clips", 2 * len(SCENES))
    clips = sorted((tmp_path / "clips").iterdir())
    assert len({clip.read_bytes() for clip in clips}) == len(clips) == 20
    for clip, scene in zip(clips, SCENES + SCENES, strict=True):
        assert clip.stem.endswith(f"-{scene.name}")
        if scene.broken == "text":
            with pytest.raises(VideoError):
                probe(clip)
            continue
        info = probe(clip)
        assert info.height == scene.height
        assert info.is_complete == (scene.broken is None)
        assert len(list(read_frames(clip))) == 25 or scene.broken


def test_growth_is_that_of_the_last_clips_over_the_first_after_the_warm_up() -> None:
    from soak import Sample, compare_ends

    start = Sample(0.0, 0, 0, 0, 0, 1, 0, 0)
    # 2 to grow up, then 1 MB more with each clip: the first three have 11 MB, the last three 15 MB.
    samples = [replace(start, memory=size * 1_000_000) for size in (1, 5, 10, 11, 12, 13, 14, 15, 16)]
    ends = compare_ends(samples, warm_up=2, window=3)
    assert ends == {"warm_up": 1, "window": 3, "first": 26e6 / 3, "last": 15e6, "ratio": 45 / 26, "peak": 16_000_000}
    assert compare_ends(samples * 2, warm_up=2, window=3)["first"] == 11e6
    assert compare_ends([replace(start, memory=8)])["ratio"] == 1


def test_files_that_are_no_reports_are_strays(tmp_path: Path) -> None:
    from soak import Watcher

    folders = {name: tmp_path / name for name in ("temporary", "reports", "sources")}
    for folder in folders.values():
        folder.mkdir()
    (folders["sources"] / "clip-00001-wall.mp4").touch()
    for name in ("clip-00001-wall.csv", "clip-00001-wall.json", "summary.csv", ".1234.part.csv", "clip-00002.csv"):
        (folders["reports"] / name).touch()
    (folders["temporary"] / "deep").mkdir()
    (folders["temporary"] / "deep" / "left").touch()
    with start(WAITING) as process:
        watcher = Watcher(process.pid, **folders)
        sample = watcher.look()
        process.communicate()
    assert (sample.strays, sample.temporary_files) == (2, 1)
    assert (sample.processes, watcher.seen) == (1, {process.pid})
    assert sample.threads == 1
    assert sample.descriptors >= 3
    assert 1e6 < sample.memory <= sample.resident
    assert watcher.look().processes == 0


def test_a_soak_of_a_few_clips_sees_each_and_what_is_left(tmp_path: Path) -> None:
    from soak import list_moments, soak

    run = soak(tmp_path / "soak", clips=10, options=["--threads", "1"])
    assert run.statuses == run.expected == {"ok": 7, "no_face": 1, "error": 2}
    assert run.exit_code == 1  # as clips were broken
    assert len(run.samples) == 10
    assert list(list_moments(run)) == ["10", "after"]
    assert sorted(sample.memory for sample in run.samples)[1] > 100e6  # the process may have ended before the last look
    assert (run.after.memory, run.after.processes, run.after.temporary_files, run.after.strays) == (0, 0, 0, 0)


def test_a_command_that_fails_says_why(tmp_path: Path) -> None:
    from soak import soak

    with pytest.raises(RuntimeError, match=r"0 of 5 clips, and then the end with 2:\n(.|\n)*--no-such-option"):
        soak(tmp_path / "soak", clips=5, options=["--no-such-option"])


@pytest.mark.soak
def test_a_thousand_clips_take_no_more_memory_than_a_hundred(tmp_path: Path) -> None:
    from soak import compare_ends, show, soak

    run = soak(tmp_path / "soak", clips=1000)
    show(run)
    assert run.statuses == run.expected
    assert compare_ends(run.samples)["ratio"] < 1.03
    early, late = run.samples[99], run.samples[-1]
    assert late.descriptors <= early.descriptors
    assert late.threads <= early.threads
    assert late.processes <= early.processes
    assert (run.after.processes, run.after.temporary_files, run.after.strays) == (0, 0, 0)
