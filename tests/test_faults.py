"""Disks that are full, slow or cannot be written to, and videos that change under one's hands."""

import errno
import os
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from conftest import MakeVideo, crew_of
from test_resume import contents

from emo_affectnet import containers, report_folder
from emo_affectnet.batch import analyze
from emo_affectnet.errors import FullError, LockedError, ReportError
from emo_affectnet.inputs import Input, Options, Shard
from emo_affectnet.recognizer import EmotionRecognizer
from emo_affectnet.report_folder import reserve
from emo_affectnet.summary import Outcome


@pytest.fixture
def videos(tmp_path: Path, make_video: MakeVideo) -> Path:
    for name in ("a.mp4", "b.mp4", "c.mp4"):
        make_video(f"videos/{name}", frames=150)
    return tmp_path / "videos"


def run(videos: Path, recognizer: EmotionRecognizer, save: Path, **how: object) -> list[Outcome]:
    return analyze([videos], save=save, crew=crew_of(recognizer), **how)  # type: ignore[arg-type] # of every kind


# Disks


Mount = Callable[..., Path]


@pytest.fixture
def mount(tmp_path: Path) -> Iterator[Mount]:
    """Make a small disk in memory: `mount(size="100k")`."""
    places: list[Path] = []

    def make(**options: object) -> Path:
        place = tmp_path / f"disk{len(places)}"
        place.mkdir()
        words = ",".join(f"{name}={value}" for name, value in options.items())
        done = subprocess.run(["mount", "-t", "tmpfs", "-o", words, "none", place], capture_output=True, text=True)
        if done.returncode:
            pytest.skip(f"disks can be made by root only: {done.stderr.strip()}")
        places.append(place)
        return place

    yield make
    for place in places:
        subprocess.run(["umount", place], check=True)


@pytest.mark.parametrize("kilobytes", [8, 16, 28, 40, 52])
def test_a_full_disk_ends_the_run_and_with_more_room_it_goes_on(
    videos: Path, fake_recognizer: EmotionRecognizer, tmp_path: Path, mount: Mount, kilobytes: int
) -> None:
    run(videos, fake_recognizer, tmp_path / "whole")
    disk = mount(size=f"{kilobytes}k")
    with pytest.raises(
        FullError, match="cannot be written: No space left on device. Make room and run the same command"
    ):
        run(videos, fake_recognizer, disk)
    left = contents(disk)
    assert not [name for name in left if name.startswith(".")]
    for name, content in left.items():
        if name != "summary.csv":
            assert content == (tmp_path / "whole" / name).read_bytes()  # whole, or not there
    subprocess.run(["mount", "-o", "remount,size=10m", disk], check=True)
    run(videos, fake_recognizer, disk)
    assert contents(disk) == contents(tmp_path / "whole")


def test_a_disk_that_cannot_be_written_to_is_told_before_any_video_is_read(
    videos: Path, fake_recognizer: EmotionRecognizer, mount: Mount
) -> None:
    disk = mount(size="1m")
    subprocess.run(["mount", "-o", "remount,ro", disk], check=True)
    with pytest.raises(ReportError, match="cannot be written"):
        run(videos, fake_recognizer, disk)
    with pytest.raises(ReportError, match="cannot be made: Read-only file system"):
        run(videos, fake_recognizer, disk / "report")
    assert fake_recognizer._detect.calls == 0


def test_a_disk_that_becomes_read_only_ends_the_run(
    videos: Path, fake_recognizer: EmotionRecognizer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(source: Path, target: Path) -> None:
        raise OSError(errno.EROFS, "Read-only file system")

    def lose(outcome: Outcome) -> None:
        monkeypatch.setattr(os, "replace", refuse)

    with pytest.raises(FullError, match="Read-only file system. Make room"):
        run(videos, fake_recognizer, tmp_path / "report", on_outcome=lose)
    assert set(contents(tmp_path / "report")) == {"a.csv", "a.json", "summary.csv"}


def test_a_slow_disk_gives_the_same(
    videos: Path, fake_recognizer: EmotionRecognizer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As over a network: a few bytes at a time, each of them late."""
    run(videos, fake_recognizer, tmp_path / "whole")
    reads: list[int] = []

    class Slow(containers._Bytes):
        def __init__(self, file) -> None:
            super().__init__(file)
            self.read = lambda size=-1: reads.append(size) or time.sleep(0.001) or file.read(min(size, 1000))

    monkeypatch.setattr(containers, "_Bytes", Slow)
    run(videos, fake_recognizer, tmp_path / "slow")
    assert len(reads) > 30
    assert contents(tmp_path / "slow") == contents(tmp_path / "whole")


# Videos


def grow(path: Path) -> None:
    with path.open("ab") as file:
        file.write(b"more of it")


@pytest.mark.parametrize(
    ("change", "became"),
    [
        pytest.param(grow, "it has changed", id="it grows"),
        pytest.param(lambda path: path.unlink(), "it was removed", id="it goes"),
        pytest.param(
            lambda path: os.replace(path.with_name("c.mp4"), path), "it has changed", id="another takes its place"
        ),
        pytest.param(lambda path: os.truncate(path, path.stat().st_size - 500), "it has changed", id="it shrinks"),
    ],
)
def test_a_video_that_changes_while_it_is_read_fails_and_has_no_report(
    videos: Path, fake_recognizer: EmotionRecognizer, tmp_path: Path, change: Callable[[Path], None], became: str
) -> None:
    (videos / "c.mp4").write_bytes((videos / "c.mp4").read_bytes() + b"another")
    changed: list[Path] = []

    def disturb(source: Input, done: int, total: int | None) -> None:
        if source.name == "a" and done and not changed:
            changed.append(source.path)
            change(source.path)

    outcomes = run(videos, fake_recognizer, tmp_path / "report", on_progress=disturb)
    assert (outcomes[0].file, outcomes[0].status) == ("a.mp4", "error")
    assert outcomes[0].message == (
        f'Expected a finished video in "{videos / "a.mp4"}", but {became} while it was read. Run the same command '
        "again once it stays as it is."
    )
    assert outcomes[1].status == "ok"
    assert not (tmp_path / "report" / "a.csv").exists()


# Two at a time


def test_a_second_run_in_the_same_folder_is_told_who_is_at_work(
    videos: Path, fake_recognizer: EmotionRecognizer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(report_folder, "PATIENCE", 0.2)
    save = tmp_path / "report"
    with reserve(save):
        before = sorted(path.name for path in save.iterdir())
        for shard in (None, Shard(1, 2)):
            with pytest.raises(LockedError) as caught:
                run(videos, fake_recognizer, save, shard=shard)
            assert str(caught.value).startswith(f"Another run writes into {save}: Process {os.getpid()} on ")
        assert sorted(path.name for path in save.iterdir()) == before
    assert fake_recognizer._detect.calls == 0
    run(videos, fake_recognizer, save)


def test_shards_of_a_run_work_side_by_side_and_keep_whole_runs_out(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(report_folder, "PATIENCE", 0.2)
    with reserve(tmp_path, Shard(1, 2)) as one, reserve(tmp_path, Shard(2, 2)) as two:
        assert one != two
        for shard in (None, Shard(1, 2)):
            with pytest.raises(LockedError), reserve(tmp_path, shard):
                pass
        assert one.is_dir()
        assert two.is_dir()
    assert list(tmp_path.iterdir()) == []


def test_whoever_comes_while_one_ends_waits_for_it(tmp_path: Path) -> None:
    order: list[str] = []

    def first() -> None:
        with reserve(tmp_path):
            order.append("first")
            ready.set()
            time.sleep(0.3)
            order.append("first ends")

    ready = threading.Event()
    thread = threading.Thread(target=first)
    thread.start()
    ready.wait()
    with reserve(tmp_path):
        order.append("second")
    thread.join()
    assert order == ["first", "first ends", "second"]


def test_what_a_killed_run_left_is_swept_and_what_a_living_shard_has_is_not(tmp_path: Path) -> None:
    (tmp_path / ".unfinished-whole").mkdir()
    (tmp_path / ".unfinished-whole" / "half.csv").touch()
    (tmp_path / ".unfinished-1-of-2").mkdir()
    with reserve(tmp_path, Shard(2, 2)):
        assert (tmp_path / ".unfinished-1-of-2").exists()
    with reserve(tmp_path) as unfinished:
        assert list(unfinished.iterdir()) == []
        assert not (tmp_path / ".unfinished-1-of-2").exists()
    assert list(tmp_path.iterdir()) == []


def test_of_many_processes_at_once_one_is_at_work_at_a_time(tmp_path: Path) -> None:
    script = (
        "import sys; from pathlib import Path; from emo_affectnet.report_folder import reserve\n"
        "with reserve(Path(sys.argv[1])) as folder:\n"
        "    log = Path(sys.argv[1]) / 'log'; count = int(log.read_text()) if log.exists() else 0\n"
        "    (folder / 'log').write_text(str(count + 1)); (folder / 'log').replace(log)\n"
    )
    running = [subprocess.Popen([sys.executable, "-c", script, tmp_path / "r"]) for _ in range(8)]
    assert [process.wait() for process in running] == [0] * 8
    assert contents(tmp_path / "r") == {"log": b"8"}


def test_a_folder_without_locks_is_used_without_them(
    videos: Path, fake_recognizer: EmotionRecognizer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(descriptor: int, kind: int) -> None:
        raise OSError(38, "Function not implemented")

    monkeypatch.setattr("emo_affectnet.locks.fcntl.flock", refuse)
    assert len(run(videos, fake_recognizer, tmp_path / "report", options=Options(formats=("csv", "json")))) == 3
