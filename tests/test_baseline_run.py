"""Runs with a baseline: what comes off whom, and that a run may be killed, shared and gone on with as any other."""

import csv
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
import pytest
from click.testing import CliRunner, Result
from conftest import ROOT, FakeDetector, FakeEngine, MakeVideo, contents, crew_of, files_in

from emo_affectnet import baseline_run
from emo_affectnet.analysis import open_here
from emo_affectnet.app_fragments import describe_outcome
from emo_affectnet.app_sessions import analyze_video
from emo_affectnet.baseline import find_feature_shift, find_person_baseline, find_run_baseline, pool_rests
from emo_affectnet.batch import analyze
from emo_affectnet.carrier import open_carrier
from emo_affectnet.cli import main
from emo_affectnet.emotions import EMOTION_NAMES
from emo_affectnet.errors import UsageError
from emo_affectnet.faces import Face
from emo_affectnet.inputs import FOLDER, Options, Shard
from emo_affectnet.places import to_place
from emo_affectnet.recognizer import EmotionRecognizer
from emo_affectnet.reports import RAW_COLUMNS, read_csv
from emo_affectnet.summary import Outcome
from emo_affectnet.video import probe, read_frames

if TYPE_CHECKING:
    from fsspec import AbstractFileSystem

REFERENCE = np.full(512, 100.0)  # brightness of the faces that this backbone was trained on
LEVELS = {"ada/1.mp4": 40, "ada/2.mp4": 60, "ada/3.mp4": 50, "bob/1.mp4": 180, "bob/2.mp4": 200}  # two people
NAMES = list(EMOTION_NAMES)
STRIDE = 5  # calls to the system from one that is cut off to the next; 1 takes minutes


class BrightAnger(FakeEngine):
    """Reads the more anger the brighter a face is."""

    def classify(self, windows: np.ndarray) -> np.ndarray:
        logits = np.zeros((len(self.heads), len(windows), 7))
        logits[:, :, 0] = 1.0
        logits[:, :, 6] = (windows.mean(axis=(1, 2)) - 100) / 50
        powers = np.exp(logits)
        return (powers / powers.sum(axis=2, keepdims=True)).astype(np.float32)


@pytest.fixture
def recognizer(fake_recognizer: EmotionRecognizer) -> EmotionRecognizer:
    fake_recognizer.engine, fake_recognizer.reference = BrightAnger(), REFERENCE
    return fake_recognizer


@pytest.fixture
def videos(tmp_path: Path, make_video: MakeVideo) -> Path:
    for name, level in LEVELS.items():
        make_video(f"videos/{name}", frames=25, level=level)
    return tmp_path / "videos"


Run = Callable[..., list[Outcome]]


@pytest.fixture
def run(videos: Path, recognizer: EmotionRecognizer) -> Run:
    """Analyse the videos, by default into a folder named after the baseline."""

    def analyze_them(baseline: str | Path = "person", *, save: Path | None = None, **how: object) -> list[Outcome]:
        options = {name: how.pop(name) for name in ("people", "faces", "formats") if name in how}
        given = Options(baseline=baseline, **options)  # type: ignore[arg-type] # of every kind
        how = {"crew": crew_of(recognizer), **how}
        return analyze([videos], save=save or videos.parent / "report", options=given, **how)  # type: ignore[arg-type]

    return analyze_them


def report(save: Path, name: str) -> pd.DataFrame:
    return read_csv(save / f"{name}.csv")


def rows(save: Path) -> dict[str, dict[str, str]]:
    with (save / "summary.csv").open(encoding="utf-8", newline="") as file:
        return {row["file"]: row for row in csv.DictReader(file)}


@pytest.fixture
def save(tmp_path: Path) -> Path:
    return tmp_path / "report"


# What comes off


def test_without_a_baseline_nothing_is_added_and_nothing_is_kept(run: Run, save: Path) -> None:
    run("none")
    assert "baseline" not in rows(save)["ada/1.mp4"]
    assert not [name for name in report(save, "ada/1").columns if name.startswith("raw_")]
    assert "baselines" not in json.loads((save / "ada/1.json").read_text())
    assert not (save / ".baseline").exists()


def test_the_baseline_of_a_run_comes_off_every_recording_and_the_raw_values_stay_beside(
    run: Run, save: Path, tmp_path: Path, recognizer: EmotionRecognizer, videos: Path
) -> None:
    run("none", save=tmp_path / "none")
    run("run")
    rests = [recognizer.measure_rests(recognizer.read(videos / name))[1] for name in LEVELS]
    expected = find_run_baseline(rests)
    for name in ("ada/1", "bob/2"):
        table, plain = report(save, name), report(tmp_path / "none", name)
        assert list(table.columns) == [*plain.columns, *RAW_COLUMNS]
        np.testing.assert_array_equal(table[list(RAW_COLUMNS)], plain[NAMES])
        adjusted = expected.adjust(plain[NAMES].to_numpy())
        np.testing.assert_allclose(table[NAMES], adjusted, atol=1e-5)
        assert (table["confidence"] == table[NAMES].max(axis=1)).all()
    assert rows(save)["bob/2.mp4"]["baseline"] == "the run: 5 recordings, 4.8 s"


def test_a_person_is_moved_to_the_mean_of_all_people_and_then_comes_the_runs_mean(
    run: Run, save: Path, recognizer: EmotionRecognizer, videos: Path
) -> None:
    run(people=FOLDER)
    readings = {name: recognizer.read(videos / name) for name in LEVELS}
    rests = {name: recognizer.measure_rests(reading)[1] for name, reading in readings.items()}
    own = {person: pool_rests(rests[name] for name in LEVELS if name.startswith(person)) for person in ("ada", "bob")}
    shifts = {person: find_feature_shift(rest, REFERENCE) for person, rest in own.items()}
    moved = [recognizer.measure_rests(readings[name], shifts={1: shifts[name[:3]]})[1] for name in LEVELS]
    for name in LEVELS:
        baseline = find_person_baseline(own[name[:3]], run=pool_rests(moved), reference=REFERENCE)
        info = json.loads((save / f"{name[:-4]}.json").read_text())
        assert info["baselines"]["1"] == baseline.describe()
        assert info["baselines"]["1"]["moves_features"]
    # 3 of 7 of the way from brightness 50 to 100: that much less is left of what tells Ada from Bob
    assert shifts["ada"] == pytest.approx(np.full(512, 3 / 7 * (100 - own["ada"].features[0])), rel=1e-6)
    raw, adjusted = (
        report(save, "bob/1")[column].iloc[0] - report(save, "ada/1")[column].iloc[0]
        for column in ("raw_Anger", "Anger")
    )
    assert 0 < adjusted < raw
    assert rows(save)["ada/2.mp4"]["baseline"] == "the person: 3 recordings, 2.9 s"
    assert rows(save)["bob/2.mp4"]["baseline"] == "the person: 2 recordings, 1.9 s"


def test_a_table_and_folders_that_say_the_same_give_the_same(run: Run, save: Path, tmp_path: Path) -> None:
    table = tmp_path / "people.csv"
    table.write_text("file,person\n" + "".join(f"{name},{name[:3]}\n" for name in LEVELS))
    run(people=table)
    run(people=FOLDER, save=tmp_path / "other")
    assert contents(save) == contents(tmp_path / "other")


def test_a_single_short_recording_of_a_person_takes_the_runs_baseline_and_says_so(run: Run, save: Path) -> None:
    run()
    for row in rows(save).values():
        words = "the run: 5 recordings, 4.8 s; a single recording with 1.0 s of this person is too short"
        assert row["baseline"] == words
    assert json.loads((save / "ada/1.json").read_text())["baselines"]["1"]["kind"] == "run"


def test_a_single_recording_that_is_long_enough_has_a_baseline_of_its_own(
    run: Run, save: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(baseline_run, "LEAST_SECONDS", 0.9)
    run()
    assert {row["baseline"] for row in rows(save).values()} == {"the person: 1 recording, 1.0 s"}


def test_a_backbone_without_a_mean_leaves_features_alone(run: Run, save: Path, recognizer: EmotionRecognizer) -> None:
    recognizer.reference = None
    run(people=FOLDER)
    taken = json.loads((save / "bob/1.json").read_text())["baselines"]["1"]
    assert (taken["kind"], taken["moves_features"]) == ("person", False)
    table = report(save, "bob/1")
    assert (table["Anger"] < table["raw_Anger"]).all()  # Bob always looks angry


@pytest.fixture
def two_faces(monkeypatch: pytest.MonkeyPatch, recognizer: EmotionRecognizer) -> None:
    """Two faces in every frame, the larger of them the primary person."""

    def look(image: np.ndarray) -> list[Face]:
        return [Face((0, 0, 30, 30), 0.9), Face((40, 20, 60, 40), 0.9)]

    monkeypatch.setattr(recognizer, "_detect", look)


@pytest.mark.usefixtures("two_faces")
def test_others_in_a_recording_take_the_runs_baseline_unless_the_table_names_their_track(
    run: Run, save: Path, tmp_path: Path
) -> None:
    table = tmp_path / "people.csv"
    table.write_text("file,person,track\nada/1.mp4,Ada,1\nada/2.mp4,Ada,1\nada/3.mp4,Ada,2\n")
    run(people=table, faces="all")
    kinds = {
        name: {
            track: each["kind"] for track, each in json.loads((save / f"{name}.json").read_text())["baselines"].items()
        }
        for name in ("ada/1", "ada/3", "bob/1")
    }
    assert kinds == {
        "ada/1": {"1": "person", "2": "run"},
        "ada/3": {"1": "run", "2": "person"},
        "bob/1": {"1": "run", "2": "run"},
    }
    assert list(RAW_COLUMNS) == list(report(save, "ada/1.person-2").columns[-7:])


def test_a_table_that_names_somebody_who_was_not_seen_is_refused(run: Run, save: Path, tmp_path: Path) -> None:
    table = tmp_path / "people.csv"
    table.write_text("file,person,track\nada/1.mp4,Ada,2\n")
    with pytest.raises(UsageError, match="names track 2 of ada/1.mp4, but 1 person was seen there"):
        run(people=table)
    assert not (save / "summary.csv").exists()


def test_a_recording_without_a_face_and_one_that_is_broken_cost_the_others_nothing(
    run: Run, save: Path, videos: Path, tmp_path: Path, recognizer: EmotionRecognizer, make_video: MakeVideo
) -> None:
    run("run", save=tmp_path / "before")
    make_video("videos/empty.mp4", frames=5, size=(32, 32))
    (videos / "broken.mp4").write_text("no video")
    seeing = recognizer._detect
    recognizer._detect = lambda image: seeing(image) if image.shape[1] > 32 else []
    outcomes = {outcome.file: outcome for outcome in run("run")}
    assert (outcomes["broken.mp4"].status, outcomes["empty.mp4"].status) == ("error", "no_face")
    assert rows(save)["empty.mp4"]["baseline"] == rows(save)["broken.mp4"]["baseline"] == ""
    assert report(save, "empty")[list(RAW_COLUMNS)].isna().all(axis=None)
    assert (save / "ada/1.csv").read_bytes() == (tmp_path / "before/ada/1.csv").read_bytes()


def test_a_run_in_which_nobody_is_seen_has_its_reports(run: Run, save: Path, recognizer: EmotionRecognizer) -> None:
    recognizer._detect = FakeDetector([])
    assert {outcome.status for outcome in run(people=FOLDER)} == {"no_face"}
    assert report(save, "ada/1")["emotion"].isna().all()


def test_every_format_has_the_raw_values_and_says_what_was_taken_off(run: Run, save: Path) -> None:
    run("run", formats=("csv", "json", "parquet"))
    document = json.loads((save / "ada/1.json").read_text())
    assert document["baseline"] == document["baselines"]["1"]
    assert set(RAW_COLUMNS) <= set(document["frames"][0])
    (part,) = (save / "reports.parquet").glob("video=ada*1*/*")
    assert list(pd.read_parquet(part).columns[-7:]) == list(RAW_COLUMNS)


# A recording of the person at rest


def test_a_recording_at_rest_comes_off_the_primary_person_as_the_videos_are_read(
    run: Run, save: Path, videos: Path, recognizer: EmotionRecognizer, make_video: MakeVideo
) -> None:
    rest = make_video("rest.mp4", frames=25, level=190)
    run(rest)
    baseline = recognizer.read_rest(rest)
    assert (baseline.kind, baseline.recordings) == ("rest", 1)
    taken = json.loads((save / "bob/1.json").read_text())["baselines"]
    assert taken == {"1": baseline.describe()}
    video = probe(videos / "bob/1.mp4")
    (timeline,) = recognizer.interpret(recognizer.read(video), video, baselines={1: baseline})
    np.testing.assert_allclose(report(save, "bob/1")[NAMES], timeline.probabilities, atol=1e-6)
    assert rows(save)["bob/1.mp4"]["baseline"] == "the person at rest: 1 recording, 1.0 s"
    assert not (save / ".baseline").exists()


@pytest.mark.usefixtures("two_faces")
def test_others_stay_as_they_are_beside_a_person_at_rest(run: Run, save: Path, videos: Path) -> None:
    run(videos / "bob/1.mp4", faces="all")
    other = report(save, "ada/1.person-2")
    np.testing.assert_array_equal(other[NAMES], other[list(RAW_COLUMNS)])


def test_another_recording_at_rest_is_other_work(run: Run, videos: Path) -> None:
    kept: list[int] = []
    for name in ("bob/1.mp4", "bob/1.mp4", "bob/2.mp4"):
        run(videos / name, on_ready=lambda crew, count, inputs: kept.append(count))
    assert kept == [0, 5, 0]


def test_a_recording_at_rest_without_a_face_is_refused(run: Run, save: Path, videos: Path, recognizer) -> None:
    recognizer._detect = FakeDetector([])
    with pytest.raises(UsageError, match="but no face was found in it"):
        run(videos / "bob/1.mp4")
    assert not save.exists()


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"baseline": "persons"}, "There is no recording persons. A baseline is none, run, person, or a recording"),
        ({"baseline": "run", "people": "folder"}, "--people belongs to --baseline person"),
        ({"baseline": "run", "thresholds": Path("adaptive.json")}, "too few frames for a baseline"),
    ],
)
def test_options_that_cannot_be_meant_are_refused(options: dict[str, str], words: str) -> None:
    with pytest.raises(UsageError, match=words):
        Options(**options)  # type: ignore[arg-type] # of every kind


def test_options_travel_as_they_are(tmp_path: Path) -> None:
    for options in (Options(), Options(baseline="person", people="folder"), Options(baseline=__file__)):
        assert Options.from_json(json.loads(json.dumps(options.to_json()))) == options


# Going on where it was


class Counting:
    """Counts the videos that are read."""

    def __init__(self, recognizer: EmotionRecognizer) -> None:
        self.read: list[str] = []
        whole = recognizer.read

        def read(video, **how: object):
            self.read.append(f"{video.path.parent.name}/{video.path.name}")
            return whole(video, **how)

        recognizer.read = read  # type: ignore[method-assign] # counts and passes on


@pytest.mark.parametrize("baseline", ["run", "person"])
def test_the_next_run_reads_nothing_again_and_writes_nothing(
    run: Run, save: Path, recognizer: EmotionRecognizer, baseline: str
) -> None:
    people = FOLDER if baseline == "person" else None
    run(baseline, people=people)
    before, times = contents(save), {path: path.stat().st_mtime_ns for path in save.glob("*/*.csv")}
    counting = Counting(recognizer)
    run(baseline, people=people)
    assert counting.read == []
    assert contents(save) == before
    assert {path: path.stat().st_mtime_ns for path in save.glob("*/*.csv")} == times


def test_a_new_recording_of_a_person_is_read_alone_and_all_reports_are_those_of_a_fresh_run(
    run: Run, save: Path, tmp_path: Path, videos: Path, recognizer: EmotionRecognizer, make_video: MakeVideo
) -> None:
    run(people=FOLDER)
    make_video("videos/bob/3.mp4", frames=25, level=240)
    counting = Counting(recognizer)
    run(people=FOLDER)
    assert counting.read == ["bob/3.mp4"]
    run(people=FOLDER, save=tmp_path / "fresh")
    assert contents(save) == contents(tmp_path / "fresh")


def test_removed_readings_are_made_again_and_finished_reports_are_kept(run: Run, save: Path) -> None:
    run(people=FOLDER)
    before, times = contents(save), {path: path.stat().st_mtime_ns for path in save.glob("*/*.csv")}
    shutil.rmtree(save / ".baseline")
    run(people=FOLDER)
    assert contents(save) == before
    assert {path: path.stat().st_mtime_ns for path in save.glob("*/*.csv")} == times


def test_the_readings_serve_other_baselines_and_choices(
    run: Run, save: Path, recognizer: EmotionRecognizer, tmp_path: Path
) -> None:
    run("run")
    counting = Counting(recognizer)
    run(people=FOLDER, faces="all", formats=("json",))
    assert counting.read == []


def test_force_reads_everything_again(run: Run, save: Path, recognizer: EmotionRecognizer) -> None:
    run("run")
    counting = Counting(recognizer)
    run("run", force=True)
    assert sorted(counting.read) == sorted(LEVELS)


def test_shards_leave_readings_and_the_whole_run_makes_of_them_what_it_makes_alone(
    run: Run, save: Path, tmp_path: Path, recognizer: EmotionRecognizer
) -> None:
    run(people=FOLDER, save=tmp_path / "whole")
    for index in (2, 1, 3):
        run(people=FOLDER, shard=Shard(index, 3))
    assert {name.split(os.sep)[0] for name in files_in(save)} == {".baseline"}
    counting = Counting(recognizer)
    run(people=FOLDER)
    assert counting.read == []
    assert contents(save) == contents(tmp_path / "whole")


def test_features_are_saved_as_they_are_without_a_baseline(run: Run, tmp_path: Path, save: Path) -> None:
    run("none", features=tmp_path / "plain.npz")
    run(people=FOLDER, features=tmp_path / "moved.npz")
    assert (tmp_path / "moved.npz").read_bytes() == (tmp_path / "plain.npz").read_bytes()


def test_far_videos_and_a_far_report_folder_give_the_same_files(
    run: Run, save: Path, videos: Path, recognizer: EmotionRecognizer, far_store: "AbstractFileSystem", tmp_path: Path
) -> None:
    run(people=FOLDER)
    for name in LEVELS:
        to_place(f"memory://bucket/videos/{name}").parent.mkdir(parents=True, exist_ok=True)
        to_place(f"memory://bucket/videos/{name}").write_bytes((videos / name).read_bytes())
    place = to_place("memory://bucket/report")

    def carried(options: Options, save: Path, unfinished: Path):
        return open_carrier(crew_of(recognizer), options, save, unfinished)

    options = Options(baseline="person", people=FOLDER)
    analyze([to_place("memory://bucket/videos")], save=place, options=options, crew=carried)
    for name in ("summary.csv", "ada/1.csv", "bob/2.csv", ".baseline/readings/bob/2.npz"):
        assert (place / name).read_bytes() == (save / name).read_bytes()
    counting = Counting(recognizer)
    analyze([to_place("memory://bucket/videos")], save=place, options=options, crew=carried)
    assert counting.read == []


# What people see


def test_a_report_with_a_baseline_says_so_wherever_it_is_shown(
    recognizer: EmotionRecognizer, tmp_path: Path, make_video: MakeVideo
) -> None:
    video, rest = (make_video(f"{name}.mp4", frames=10, size=(320, 240), level=90) for name in ("clip", "rest"))
    results = {}
    for name, given in (("plain", None), ("baseline", rest)):
        (tmp_path / name).mkdir()
        results[name] = analyze_video(video, recognizer, tmp_path / name, rest=given, settings={})
    assert {name: "baseline taken off" in each.page.read_text() for name, each in results.items()} == {
        "plain": False,
        "baseline": True,
    }
    words = "baseline taken off: the person at rest: 1 recording, 0.4 s"
    assert [words in describe_outcome(each.outcome, trust="") for each in results.values()] == [False, True]
    plain, marked = (next(read_frames(each.annotated)).image[200:] for each in results.values())
    assert np.abs(marked.astype(int) - plain.astype(int)).max() > 100  # white words at the lower edge


@pytest.fixture
def command(
    recognizer: EmotionRecognizer, monkeypatch: pytest.MonkeyPatch, videos: Path, save: Path
) -> Callable[..., Result]:
    """Call the command line on the videos."""
    monkeypatch.setattr("emo_affectnet.analysis.EmotionRecognizer", lambda **settings: recognizer)

    def call(words: str) -> Result:
        return CliRunner().invoke(main, ["analyze", str(videos), "--save", str(save), *words.split()])

    return call


def test_the_command_says_what_was_taken_off_and_what_it_keeps(command: Callable[..., Result], save: Path) -> None:
    told = command("--baseline person --people folder").output
    assert "ada/1.mp4: " in told
    assert "baseline of the person: 3 recordings, 2.9 s" in told
    assert f"The readings of the faces stay in {save}/.baseline for the next run; remove it to remove them." in told


def test_the_command_says_what_comes_after_the_shares(command: Callable[..., Result], save: Path) -> None:
    first = command("--baseline run --shard 1/2")
    assert "run the same command without --shard: it writes the reports." in first.output
    assert command("--baseline run --shard 2/2").exit_code == 0
    assert "5 of 5 were finished before" in command("--baseline run").output
    assert len(rows(save)) == 5


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        ("--baseline person --people nobody.csv", "Error: nobody.csv should be a table of people"),
        ("--people folder", "Error: --people belongs to --baseline person"),
        ("--baseline rest.mp4", "Error: There is no recording rest.mp4."),
    ],
)
def test_what_cannot_be_meant_is_one_sentence(command: Callable[..., Result], words: str, sentence: str) -> None:
    result = command(words)
    assert result.exit_code in (1, 2)
    (line,) = result.output.splitlines()
    assert line.startswith(sentence)


def test_a_live_session_takes_a_recording_at_rest_and_no_run(
    recognizer: EmotionRecognizer, monkeypatch: pytest.MonkeyPatch, videos: Path, tmp_path: Path
) -> None:
    monkeypatch.setattr("emo_affectnet.recognizer.EmotionRecognizer", lambda **settings: recognizer)
    words = ["live", "--no-window", "--source", f"{videos}/bob/1.mp4", "--csv", f"{tmp_path}/live.csv", "--baseline"]
    refused = CliRunner().invoke(main, [*words, "run"])
    assert (refused.exit_code, len(refused.output.splitlines())) == (2, 1)
    assert CliRunner().invoke(main, [*words, f"{videos}/bob/2.mp4"]).exit_code == 0
    assert list(read_csv(tmp_path / "live.csv").columns[-7:]) == list(RAW_COLUMNS)


CUT = """
import sys
from pathlib import Path
sys.path.insert(0, {tests!r})
import numpy as np
from conftest import FakeDetector, crew_of
from cut_runs import dies_at
from test_baseline_run import REFERENCE, BrightAnger
from emo_affectnet import recognizer as module
from emo_affectnet.batch import analyze
from emo_affectnet.inputs import Options

module.DETECTORS["near-and-far"] = lambda confidence=None: FakeDetector()
module.open_engine = lambda weights, **options: BrightAnger(weights)
recognizer = module.EmotionRecognizer()
recognizer.reference = REFERENCE
videos, save = map(Path, sys.argv[1:])

def run():
    analyze([videos], save=save, crew=crew_of(recognizer), options=Options(baseline="person", people="folder"))

step = 1
while dies_at(run, step):
    if not dies_at(run, 10**9):  # the next run, undisturbed
        files = {{str(path.relative_to(save)): path.read_bytes() for path in sorted(save.rglob("*")) if path.is_file()}}
        print(step, hash(tuple(files.items())), *files)
    for path in sorted(save.rglob("*"), reverse=True):
        path.unlink() if path.is_file() else path.rmdir()
    step += {stride}
"""


@pytest.mark.skipif(sys.platform == "win32", reason="signals")
def test_cut_off_at_a_call_to_the_system_the_next_run_makes_it_whole(tmp_path: Path, make_video: MakeVideo) -> None:
    for number, level in ((1, 40), (2, 60)):
        make_video(f"videos/{number}.mp4", frames=3, level=level)
    (tmp_path / "videos" / "bad.mp4").write_text("no video")
    script = CUT.format(tests=str(ROOT / "tests"), stride=STRIDE)
    done = subprocess.run(
        [sys.executable, "-c", script, tmp_path / "videos", tmp_path / "report"], capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    lines = [line.split() for line in done.stdout.splitlines()]
    assert [int(line[0]) for line in lines] == list(range(1, STRIDE * len(lines), STRIDE))
    assert len(lines) > 20  # steps that were cut off
    assert {tuple(line[1:]) for line in lines} == {tuple(lines[0][1:])}  # the same bytes in the same files
    readings = [f".baseline/readings/{number}" for number in (1, 2)]
    assert lines[0][2:] == sorted(
        [
            *(f".baseline/moved/{number}.json" for number in (1, 2)),
            *(f"{stem}{suffix}" for stem in readings for suffix in (".json", ".npz")),
            *(f"{number}{suffix}" for number in (1, 2) for suffix in (".csv", ".json")),
            "summary.csv",
        ]
    )


def test_the_real_thing_in_a_process_of_its_own_writes_the_files_that_it_writes_here(
    tmp_path: Path,
) -> None:
    clips = ROOT / "video"
    options = Options({"threads": 1}, baseline="run", faces="all")
    analyze([clips], save=tmp_path / "worker", options=options)
    analyze([clips], save=tmp_path / "here", options=options, crew=open_here)
    assert contents(tmp_path / "worker") == contents(tmp_path / "here")
    assert len(rows(tmp_path / "here")) == 3
