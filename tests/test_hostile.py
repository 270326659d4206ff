"""Bad input on a scale: whatever a file holds, it costs one row that says so, in bounded time and memory."""

import os
import re
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pandas as pd
import pytest
from conftest import crew_of
from hostile_files import HOSTILE, TRAP, Hostile, clip, still_movie

from emo_affectnet.analysis import Analyst
from emo_affectnet.batch import analyze
from emo_affectnet.errors import printable
from emo_affectnet.faces import MIN_SIDE
from emo_affectnet.inputs import SUMMARY, Input, Options, find_inputs
from emo_affectnet.recognizer import EmotionRecognizer
from emo_affectnet.reports import read_csv
from emo_affectnet.summary import Outcome

HANG = 60  # s for a file of a few kilobytes: nothing takes so long that ends at all
MAX_GROWTH = 1000  # MB

Figures = list[tuple[float, float, str]]  # s, MB and name


@pytest.fixture(scope="module")
def recognizer() -> EmotionRecognizer:
    return EmotionRecognizer(threads=1)


@pytest.fixture(scope="module")
def figures(request: pytest.FixtureRequest) -> Iterator[Figures]:
    """Collect what each file took, and print the most."""
    collected: Figures = []
    yield collected
    with request.config.pluginmanager.get_plugin("capturemanager").global_and_fixture_disabled():
        print(
            f"\n{len(collected)} bad files: {sum(each[0] for each in collected):.1f} s; the slowest, and the largest:"
        )
        for rank in (0, 1):
            for seconds, growth, name in sorted(collected, key=lambda each: -each[rank])[:5]:
                print(f"{seconds:7.2f} s {growth:+6.0f} MB  {name!a}")


def reset_peak() -> float | None:
    """Make the memory of now the largest so far, and return it in MB; None where there is no such thing."""
    try:
        Path("/proc/self/clear_refs").write_text("5")
    except OSError:
        return None
    return read_peak()


def read_peak() -> float:
    """The largest resident memory, in MB, since the last `reset_peak`."""
    found = re.search(r"VmHWM:\s+(\d+) kB", Path("/proc/self/status").read_text())
    assert found
    return int(found[1]) / 1024


def analyze_watched(source: Input, recognizer: EmotionRecognizer, *, save: Path) -> Outcome:
    """Analyse one file on a thread that may be given up."""
    outcomes: list[Outcome] = []
    analyst = Analyst(recognizer, save, save, options=Options())
    thread = threading.Thread(target=lambda: outcomes.append(analyst.analyze(source)), name=source.label, daemon=True)
    thread.start()
    thread.join(HANG)
    assert not thread.is_alive(), f"{source.label} hangs"
    (outcome,) = outcomes
    return outcome


@pytest.mark.parametrize("case", HOSTILE, ids=lambda case: ascii(case.name[:60])[1:-1])
def test_a_bad_file_costs_one_sentence_in_bounded_time_and_memory(
    case: Hostile, tmp_path: Path, recognizer: EmotionRecognizer, figures: Figures
) -> None:
    path, save = tmp_path / "in" / case.name, tmp_path / "out"
    path.parent.mkdir()
    save.mkdir()
    case.write(path)
    (path.parent / "good-0.mp4").write_bytes(clip())  # what playlists name
    before, started = reset_peak(), time.monotonic()
    (source,) = (source for source in find_inputs([path.parent])[0] if source.path == path)
    outcome = analyze_watched(source, recognizer, save=save)
    growth = 0 if before is None else read_peak() - before
    figures.append((time.monotonic() - started, growth, case.name))

    assert outcome.status in case.status.split(), (case.intent, outcome.message)
    assert growth < MAX_GROWTH
    if case.status == "error":
        assert outcome.message
        assert outcome.message == printable(outcome.message)  # one line, that does nothing to a terminal
        assert printable(path) in outcome.message
        assert case.sentence in outcome.message
        assert "unexpected" not in outcome.message
        assert outcome.message.endswith(".")
    if outcome.frames is None:
        assert list(save.iterdir()) == []
    else:
        (report,) = save.glob("*.csv")
        assert len(read_csv(report)) == outcome.frames
    assert not list(tmp_path.rglob(TRAP))


def test_bad_files_among_good_ones_cost_only_themselves(fake_recognizer: EmotionRecognizer, tmp_path: Path) -> None:
    """The detector and the network are fakes here; the files are not."""
    see = fake_recognizer._detect
    fake_recognizer._detect = lambda image: see(image) if min(image.shape[:2]) >= 2 * MIN_SIDE else []
    folder, save, alone = tmp_path / "in", tmp_path / "out", tmp_path / "alone"
    folder.mkdir()
    good = [folder / "good-0.mp4", folder / "good-1.mp4"]
    for path in good:
        path.write_bytes(clip())
    for case in HOSTILE:
        case.write(folder / case.name)
    (folder / "again").symlink_to(folder)
    (folder / "folder.mp4").mkdir()

    outcomes = analyze([folder], save=save, crew=crew_of(fake_recognizer))
    analyze(good, save=alone, crew=crew_of(fake_recognizer))

    expected = {case.name: case.status for case in HOSTILE} | {path.name: "ok" for path in good}
    names = {source.label: source.path.name for source in find_inputs([folder])[0]}
    assert sorted(names.values()) == sorted(expected)
    assert len(names) == len(expected)
    assert sorted(outcome.file for outcome in outcomes) == sorted(names)
    for outcome in outcomes:  # the fake sees a face in everything
        assert (outcome.status == "error") == (expected[names[outcome.file]] == "error"), outcome
    table = pd.read_csv(save / SUMMARY, keep_default_na=False)
    assert sorted(table["file"]) == sorted(names)

    for path in good:
        report = f"{path.stem}.csv"
        assert (save / report).read_bytes() == (alone / report).read_bytes()
    reported = [outcome for outcome in outcomes if outcome.frames is not None]
    assert len(list(save.iterdir())) == 2 * len(reported) + 1  # and nothing half-written
    assert not list(tmp_path.rglob(TRAP))


@pytest.mark.soak
def test_two_hours_at_25_frames_per_second_take_no_more_memory_than_a_minute(
    tmp_path: Path, recognizer: EmotionRecognizer
) -> None:
    """The picture is always the same, so that the file is small; all 180,000 frames are read, and 36,000 looked at."""
    for name, count in (("minute", 1500), ("hours", 180_000)):
        (tmp_path / f"{name}.mp4").write_bytes(still_movie(count, 40))
    growths = []
    for name, count in (("minute", 1500), ("hours", 180_000)):
        before = reset_peak()
        analyst = Analyst(recognizer, tmp_path, tmp_path, options=Options())
        outcome = analyst.analyze(Input(tmp_path / f"{name}.mp4", name, name))
        assert (outcome.status, outcome.frames) == ("no_face", count)
        growths.append(0 if before is None else read_peak() - before)
    assert growths[1] - growths[0] < 500  # MB; the table of 180,000 rows is most of it


def test_a_folder_named_as_a_video_is_a_folder(fake_recognizer: EmotionRecognizer, tmp_path: Path) -> None:
    (tmp_path / "clip.mp4").mkdir()
    outcome = analyze_watched(Input(tmp_path / "clip.mp4", "clip", "clip.mp4"), fake_recognizer, save=tmp_path)
    assert outcome.message
    assert "it is a folder" in outcome.message


@pytest.mark.skipif(sys.platform == "win32" or os.geteuid() == 0, reason="root may read everything")
def test_a_file_that_may_not_be_read_is_an_error(fake_recognizer: EmotionRecognizer, tmp_path: Path) -> None:
    (tmp_path / "clip.mp4").write_bytes(clip())
    (tmp_path / "clip.mp4").chmod(0)
    outcome = analyze_watched(Input(tmp_path / "clip.mp4", "clip", "clip.mp4"), fake_recognizer, save=tmp_path)
    assert outcome.message
    assert "check the name and your rights" in outcome.message
