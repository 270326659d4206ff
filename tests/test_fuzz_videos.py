"""The search for videos that do harm: it reads for real, and notices a child that dies, hangs, swells or lies."""

import os
import random
import sys
from pathlib import Path

import fuzz_videos
import pytest
from fuzz_videos import Child, fuzz, make_seeds, mutate, try_all

from emo_affectnet.video import Frame

HARM = """
import os, sys, time
for line in sys.stdin:
    {harm}
    print('"frames"', flush=True)
"""


def read_with(harm: str, tmp_path: Path, *, seconds: float = 20) -> str:
    with Child([sys.executable, "-c", HARM.format(harm=harm)], seconds=seconds) as child:
        return child.read(tmp_path / "clip.mp4")


def test_some_damaged_videos_give_frames_or_our_error(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    tally = fuzz(minutes=10, seed=0, workers=1, save=tmp_path / "fuzz", inputs=120)
    assert tally.findings == 0
    assert sum(tally.outcomes.values()) == 120
    assert tally.outcomes["frames"] > 30
    assert tally.outcomes["no video"] > 10
    assert not (tmp_path / "fuzz").exists()
    assert "seed 0: 120 inputs in" in capsys.readouterr().out


@pytest.mark.skipif(not hasattr(os, "sched_getscheduler"), reason="has no such priorities")
def test_making_the_seeds_leaves_the_priority_as_it_was(tmp_path: Path) -> None:
    """SVT-AV1 took the whole machine for whoever ran this as root."""
    make_seeds(tmp_path)
    assert os.sched_getscheduler(0) == os.SCHED_OTHER


def test_the_same_number_is_the_same_input(tmp_path: Path) -> None:
    first, second = tmp_path / "first", tmp_path / "second"
    for folder in (first, second):
        folder.mkdir()
    seeds = [[path.read_bytes() for path in make_seeds(folder)] for folder in (first, second)]
    for number in range(30):
        one, other = (mutate(each, random.Random(f"7/{number}")) for each in seeds)
        assert one == other


@pytest.mark.parametrize(
    ("harm", "found"),
    [
        ("os.kill(os.getpid(), 11)", "died with -11"),
        ("os._exit(3)", "died with 3"),
        ("kept = bytearray(os.urandom(1)) * 300_000_000; time.sleep(30)", "held over 0.2 GB"),
    ],
    ids=["killed by a signal", "ended by itself", "too large"],
)
def test_a_child_that_does_harm_is_noticed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, harm: str, found: str
) -> None:
    monkeypatch.setattr(fuzz_videos, "BYTES", 200_000_000)
    assert read_with(harm, tmp_path).partition("\n")[0] == found


def test_a_child_that_is_never_ready_is_noticed(tmp_path: Path) -> None:
    assert read_with("time.sleep(30)", tmp_path, seconds=1).partition("\n")[0] == "took over 1 s"


def test_what_is_found_is_kept_with_its_number(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(fuzz_videos.Child, "read", lambda self, path: "died with -11\nwhere it was")
    tally = fuzz(minutes=1, seed=0, workers=1, save=tmp_path / "fuzz", inputs=7, first=100)
    assert tally.findings == 7
    kept = sorted(path for path in (tmp_path / "fuzz").iterdir() if path.suffix != ".txt")
    assert len(kept) == fuzz_videos.KEPT_OF_A_KIND
    assert "where it was" in kept[0].with_suffix(".txt").read_text()
    assert "finding: input 100, from" in capsys.readouterr().out


def test_another_exception_and_a_frame_out_of_turn_are_findings(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = make_seeds(tmp_path)[0]
    assert try_all(path) == "frames"
    monkeypatch.setattr(fuzz_videos, "read_frames", lambda path: (Frame(index, 0.0, None) for index in (0, 2)))
    assert try_all(path).startswith("raised AssertionError in read_all\n")
