"""A folder of videos: every report, one row each in the summary, and what one bad file costs: itself only."""

import functools
import json
import os
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import fsspec
import numpy as np
import pandas as pd
import pytest
from conftest import crew_of, files_in

from emo_affectnet.analysis import Analyst
from emo_affectnet.batch import analyze
from emo_affectnet.carrier import open_carrier
from emo_affectnet.emotions import EMOTION_NAMES
from emo_affectnet.errors import CorruptWeights, ReportError, UnknownName
from emo_affectnet.faces import Face
from emo_affectnet.inputs import SUMMARY, Options
from emo_affectnet.recognizer import EmotionRecognizer
from emo_affectnet.reports import COLUMNS, read_csv
from emo_affectnet.summary import Outcome

MakeVideo = Callable[..., Path]

SUMMARY_COLUMNS = [
    *("file", "status", "emotion", "emotion_by_mode"),
    *EMOTION_NAMES,
    *(
        "peak",
        "peak_time",
        "peak_probability",
        "agreement",
        "coverage",
        "people",
        "frames",
        "fps",
        "duration",
        "message",
    ),
]
# conftest.FakeEngine: four of six heads give Happiness 0.7 and two Anger 0.7, every head 0.05 to each other emotion.
HAPPINESS, ANGER, OTHER = (4 * 0.7 + 2 * 0.05) / 6, (2 * 0.7 + 4 * 0.05) / 6, 0.05
LEFT, RIGHT = Face((0, 0, 24, 40), 0.9), Face((40, 8, 60, 40), 0.8)


def touch(folder: Path, *names: str) -> Path:
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(b"x")
    return folder


def read_summary(folder: Path) -> pd.DataFrame:
    return pd.read_csv(folder / SUMMARY).set_index("file")


# One run


@pytest.fixture
def folder(tmp_path: Path, make_video: MakeVideo) -> Path:
    """A clip of 12 frames at 25 fps, a text, and one of 7 frames at 29.97 fps in a sub-folder."""
    make_video("videos/a.mp4", frames=12)
    make_video("videos/sub/c.mp4", frames=7, fps=30000 / 1001)
    (tmp_path / "videos" / "b.mp4").write_text("this is not a video\n")
    return tmp_path / "videos"


@pytest.fixture
def one(tmp_path: Path, make_video: MakeVideo) -> Path:
    return make_video("videos/a.mp4", frames=12)


def run(path: Path, recognizer: EmotionRecognizer, options: Options | None = None, **how: object) -> list[Outcome]:
    return analyze(
        [path], save=path.parents[path.is_file()] / "report", crew=crew_of(recognizer), options=options, **how
    )  # type: ignore[arg-type] # of every kind


def test_one_bad_file_costs_only_itself(tmp_path: Path, folder: Path, fake_recognizer: EmotionRecognizer) -> None:
    outcomes = run(folder, fake_recognizer)
    assert [(outcome.file, outcome.status) for outcome in outcomes] == [
        ("a.mp4", "ok"),
        ("b.mp4", "error"),
        ("sub/c.mp4", "ok"),
    ]
    assert files_in(tmp_path / "report") == ["a.csv", "a.json", "sub/c.csv", "sub/c.json", "summary.csv"]
    message = outcomes[1].message
    assert message is not None
    assert message.startswith(f'Expected a video in "{folder / "b.mp4"}", but it is in no known video format')


def test_report_has_a_row_for_every_frame(tmp_path: Path, folder: Path, fake_recognizer: EmotionRecognizer) -> None:
    run(folder, fake_recognizer)
    table = read_csv(tmp_path / "report" / "a.csv")
    assert tuple(table.columns) == COLUMNS
    assert table["frame"].tolist() == list(range(1, 13))
    np.testing.assert_allclose(table["time"], np.arange(12) / 25, atol=1e-6)
    np.testing.assert_allclose(table["Happiness"], HAPPINESS, atol=1e-6)
    assert set(table["emotion"]) == {"Happiness"}


def test_summary_says_what_is_known_of_each_input(
    tmp_path: Path, folder: Path, fake_recognizer: EmotionRecognizer
) -> None:
    run(folder, fake_recognizer)
    assert list(pd.read_csv(tmp_path / "report" / SUMMARY).columns) == SUMMARY_COLUMNS
    table = read_summary(tmp_path / "report")
    assert table.index.tolist() == ["a.mp4", "b.mp4", "sub/c.mp4"]
    good, bad = table.loc[["a.mp4", "sub/c.mp4"]], table.loc["b.mp4"]
    assert good["status"].tolist() == ["ok", "ok"]
    assert good["emotion"].tolist() == ["Happiness", "Happiness"]
    assert good["emotion_by_mode"].tolist() == ["Happiness", "Happiness"]
    expected = [HAPPINESS if name == "Happiness" else ANGER if name == "Anger" else OTHER for name in EMOTION_NAMES]
    np.testing.assert_allclose(good[list(EMOTION_NAMES)], [expected, expected], atol=1e-6)
    np.testing.assert_allclose(good["agreement"], 4 / 6, atol=1e-6)
    assert good["coverage"].tolist() == [1.0, 1.0]
    assert good["people"].tolist() == [1, 1]
    assert good["frames"].tolist() == [12, 7]
    np.testing.assert_allclose(good["fps"], [25, 30000 / 1001], atol=1e-6)  # not 29, not 30
    np.testing.assert_allclose(good["duration"], [12 / 25, 7 * 1001 / 30000], atol=1e-3)
    assert good["message"].isna().all()
    assert bad["status"] == "error"
    assert "no known video format" in bad["message"]
    assert bad.drop(["status", "message"]).isna().all()  # unknown is empty, never 0


def test_summary_has_the_mean_over_the_frames_beside_the_vote_of_the_windows(
    tmp_path: Path, make_video: MakeVideo, fake_recognizer: EmotionRecognizer, monkeypatch: pytest.MonkeyPatch
) -> None:
    windows = np.full((3, 7), 0.02, np.float32)  # 12 samples: windows start at 0, 5 and 10
    windows[:2, [0, 2]] = 0.40, 0.50  # Sadness wins two of three windows ...
    windows[2, 0] = 0.88  # ... and Neutral the mean over the 60 frames
    monkeypatch.setattr(fake_recognizer.engine, "classify", lambda features: np.stack([windows] * 6))
    (outcome,) = run(make_video("videos/a.mp4", frames=60), fake_recognizer)
    assert (outcome.emotion, outcome.emotion_by_mode) == ("Neutral", "Sadness")
    report = read_csv(tmp_path / "report" / "a.csv")
    np.testing.assert_allclose(outcome.probabilities, report[list(EMOTION_NAMES)].mean(), atol=1e-6)
    assert (outcome.peak, outcome.peak_time) == ("Sadness", pytest.approx(0.98))  # frames 0 to 49, at 25 fps
    assert outcome.peak_probability == pytest.approx(0.5)


def test_whole_numbers_of_the_summary_are_written_as_such(
    tmp_path: Path, folder: Path, fake_recognizer: EmotionRecognizer
) -> None:
    run(folder, fake_recognizer)
    table = pd.read_csv(tmp_path / "report" / SUMMARY, dtype=str, keep_default_na=False).set_index("file")
    assert table["people"].tolist() == ["1", "", "1"]
    assert table["frames"].tolist() == ["12", "", "7"]
    assert table["Happiness"].tolist() == ["0.483333", "", "0.483333"]


def test_video_without_a_face_is_a_result(tmp_path: Path, one: Path, fake_recognizer: EmotionRecognizer) -> None:
    fake_recognizer._detect = lambda image: []
    (outcome,) = run(one, fake_recognizer)
    assert (outcome.status, outcome.coverage, outcome.people, outcome.frames) == ("no_face", 0.0, 0, 12)
    assert outcome.message == "No face was found in this video."
    table = read_csv(tmp_path / "report" / "a.csv")
    assert table["frame"].tolist() == list(range(1, 13))
    assert table[[*EMOTION_NAMES, "emotion", "confidence", "agreement", "x1", "score", "track"]].isna().all().all()
    assert table["observed"].tolist() == [0] * 12
    row = read_summary(tmp_path / "report").loc["a.mp4"]
    assert (row["status"], row["coverage"], row["people"], row["fps"]) == ("no_face", 0.0, 0, 25.0)
    assert row[["emotion", "emotion_by_mode", *EMOTION_NAMES, "agreement"]].isna().all()


def test_faces_too_small_to_read_are_counted(one: Path, fake_recognizer: EmotionRecognizer) -> None:
    small = [Face((2, 2, 12, 12), 0.8), Face((40, 20, 50, 40), 0.7)]
    fake_recognizer._detect = lambda image: small
    (outcome,) = run(one, fake_recognizer)
    assert (outcome.status, outcome.people) == ("no_face", 0)
    assert outcome.message == (
        "No face was found that can be read. 2 faces were too small to read: less than 16 px wide or high."
    )
    fake_recognizer._detect = lambda image: [LEFT, small[1]]
    (outcome,) = run(one, fake_recognizer, force=True)
    assert (outcome.status, outcome.people) == ("ok", 1)
    assert outcome.message == "1 face was too small to read: less than 16 px wide or high."


def test_summary_is_whole_after_each_video(tmp_path: Path, folder: Path, fake_recognizer: EmotionRecognizer) -> None:
    seen = []

    def look(outcome: Outcome) -> None:
        seen.append((outcome.file, read_summary(tmp_path / "report")["status"].tolist()))

    run(folder, fake_recognizer, on_outcome=look)
    assert seen == [("a.mp4", ["ok"]), ("b.mp4", ["ok", "error"]), ("sub/c.mp4", ["ok", "error", "ok"])]


def test_progress_names_the_input_and_counts_its_frames(folder: Path, fake_recognizer: EmotionRecognizer) -> None:
    heard: list[tuple[str, int, int | None]] = []
    run(folder, fake_recognizer, on_progress=lambda source, done, total: heard.append((source.name, done, total)))
    heard = [(name, done, total) for name, done, total in heard if done]  # before that, signs of life
    assert heard == [("a", done, 12) for done in (1, 6, 11, 12)] + [("sub/c", done, 7) for done in (1, 7, 7)]


def test_texts_are_paths_and_addresses(tmp_path: Path, folder: Path, fake_recognizer: EmotionRecognizer) -> None:
    fsspec.filesystem("memory").pipe("/bucket/a.mp4", (folder / "a.mp4").read_bytes())
    crew = functools.partial(open_carrier, crew_of(fake_recognizer))
    (near,) = analyze([str(folder / "a.mp4")], save=str(tmp_path / "near"), crew=crew)
    (far,) = analyze(["memory://bucket/a.mp4"], save=str(tmp_path / "far"), crew=crew)
    assert replace(near, seconds=None) == replace(far, seconds=None)
    assert (tmp_path / "near" / "a.csv").read_bytes() == (tmp_path / "far" / "a.csv").read_bytes()


def test_existing_report_and_summary_are_replaced(
    tmp_path: Path, one: Path, fake_recognizer: EmotionRecognizer
) -> None:
    touch(tmp_path / "report", "a.csv", SUMMARY, "other.csv")
    run(one, fake_recognizer)
    assert len(read_csv(tmp_path / "report" / "a.csv")) == 12
    assert read_summary(tmp_path / "report").index.tolist() == ["a.mp4"]
    assert (tmp_path / "report" / "other.csv").read_bytes() == b"x"


def test_json_stands_beside_the_csv(tmp_path: Path, one: Path, fake_recognizer: EmotionRecognizer) -> None:
    run(one, fake_recognizer, Options(formats=("csv", "json")))
    assert files_in(tmp_path / "report") == ["a.csv", "a.json", "summary.csv"]
    document = json.loads((tmp_path / "report" / "a.json").read_text(encoding="utf-8"))
    table = read_csv(tmp_path / "report" / "a.csv")
    assert document["emotion"] == "Happiness"
    assert [row["frame"] for row in document["frames"]] == [f"{frame:06d}" for frame in table["frame"]]
    run(one, fake_recognizer, Options(formats=("json",)))
    assert files_in(tmp_path / "report") == ["a.csv", "a.json", "summary.csv"]


# Everyone's report


def test_everyone_has_a_report_if_asked(tmp_path: Path, one: Path, fake_recognizer: EmotionRecognizer) -> None:
    fake_recognizer._detect = lambda image: [LEFT, RIGHT]
    (outcome,) = run(one, fake_recognizer, Options(faces="all"))
    assert outcome.people == 2
    assert files_in(tmp_path / "report") == ["a.csv", "a.json", "a.person-2.csv", "summary.csv"]
    for name, face, track in (("a.csv", LEFT, 1), ("a.person-2.csv", RIGHT, 2)):
        row = read_csv(tmp_path / "report" / name).iloc[0]
        assert (row["x1"], row["y1"], row["x2"], row["y2"], row["track"]) == (*face.box, track)


def test_primary_person_alone_is_reported_by_default(
    tmp_path: Path, one: Path, fake_recognizer: EmotionRecognizer
) -> None:
    fake_recognizer._detect = lambda image: [RIGHT, LEFT]
    (outcome,) = run(one, fake_recognizer)
    assert outcome.people == 2  # counted, if not reported
    assert files_in(tmp_path / "report") == ["a.csv", "a.json", "summary.csv"]
    assert read_csv(tmp_path / "report" / "a.csv")["x2"].iloc[0] == LEFT.box[2]  # the larger face


@pytest.mark.parametrize("faces", ["all", "primary"])
def test_people_of_an_earlier_run_are_removed_and_nobody_else(
    tmp_path: Path, one: Path, fake_recognizer: EmotionRecognizer, faces: str
) -> None:
    others = ["a.person-2.mp4.csv", "b.person-2.csv", "xa.person-2.csv", "a.person-2.txt", "a.person-two.csv"]
    touch(tmp_path / "report", "a.person-2.csv", "a.person-3.csv", "a.person-4.csv", *others)
    fake_recognizer._detect = lambda image: [LEFT, RIGHT]
    run(one, fake_recognizer, Options(faces=faces))
    second = ["a.person-2.csv"] if faces == "all" else []
    assert files_in(tmp_path / "report") == sorted(["a.csv", "a.json", "summary.csv", *second, *others])


# What goes wrong


def test_unexpected_error_in_one_video_costs_only_that_one(
    tmp_path: Path, folder: Path, fake_recognizer: EmotionRecognizer, caplog: pytest.LogCaptureFixture
) -> None:
    calls: list[np.ndarray] = []

    def stumble(image: np.ndarray) -> list[Face]:
        calls.append(image)
        if len(calls) == 2:  # in the middle of the first video
            raise ZeroDivisionError("in the detector")
        return [LEFT]

    fake_recognizer._detect = stumble
    outcomes = run(folder, fake_recognizer)
    assert [outcome.status for outcome in outcomes] == ["error", "error", "ok"]
    assert outcomes[0].message == (
        f'An unexpected ZeroDivisionError came up in "{folder / "a.mp4"}": in the detector. '
        "Please report it with the log."
    )
    assert files_in(tmp_path / "report") == ["sub/c.csv", "sub/c.json", "summary.csv"]
    assert "Unexpected error in" in caplog.text
    assert "ZeroDivisionError" in caplog.text


def test_interruption_ends_the_run_and_leaves_whole_files(
    tmp_path: Path, folder: Path, fake_recognizer: EmotionRecognizer
) -> None:
    def interrupt(outcome: Outcome) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        run(folder, fake_recognizer, on_outcome=interrupt)
    assert files_in(tmp_path / "report") == ["a.csv", "a.json", "summary.csv"]
    assert read_summary(tmp_path / "report").index.tolist() == ["a.mp4"]


def test_report_that_cannot_be_written_costs_only_itself(
    tmp_path: Path, folder: Path, fake_recognizer: EmotionRecognizer
) -> None:
    (tmp_path / "report" / "a.csv").mkdir(parents=True)
    outcomes = run(folder, fake_recognizer)
    assert [outcome.status for outcome in outcomes] == ["error", "error", "ok"]
    assert outcomes[0].message == (
        f"The report {tmp_path / 'report' / 'a.csv'} cannot be written: Is a directory. "
        "Choose a folder you may write to."
    )
    assert files_in(tmp_path / "report") == ["sub/c.csv", "sub/c.json", "summary.csv"]


def test_summary_that_cannot_be_written_ends_the_run_before_any_video_is_read(
    tmp_path: Path, folder: Path, fake_recognizer: EmotionRecognizer
) -> None:
    (tmp_path / "report" / SUMMARY).mkdir(parents=True)
    with pytest.raises(ReportError, match=r"summary\.csv cannot be written"):
        run(folder, fake_recognizer)
    assert files_in(tmp_path / "report") == []
    assert fake_recognizer._detect.calls == 0


@pytest.mark.parametrize("place", ["", "below"], ids=["a file", "below a file"])
def test_report_folder_that_cannot_be_made_is_told_before_any_video_is_read(
    tmp_path: Path, one: Path, fake_recognizer: EmotionRecognizer, place: str
) -> None:
    (tmp_path / "file").write_text("mine")
    save = tmp_path / "file" / place
    with pytest.raises(ReportError) as caught:
        analyze([one], save=save, crew=crew_of(fake_recognizer))
    assert fake_recognizer._detect.calls == 0
    reason = "Not a directory" if place else "File exists"
    assert str(caught.value) == f"The report folder {save} cannot be made: {reason}. Choose another one."
    assert (tmp_path / "file").read_text() == "mine"


def test_report_folder_without_permission_is_told(
    tmp_path: Path, one: Path, fake_recognizer: EmotionRecognizer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(os, "access", lambda path, mode: False)  # root may write anywhere
    with pytest.raises(ReportError, match="cannot be written to. Choose another one or change its permissions"):
        run(one, fake_recognizer)


def test_wrong_weights_leave_the_reports_of_an_earlier_run(tmp_path: Path, one: Path) -> None:
    touch(tmp_path / "report", "a.csv", SUMMARY)

    @contextmanager
    def fail(options: Options, save: Path, unfinished: Path) -> Iterator[Analyst]:
        raise CorruptWeights("damaged")
        yield

    with pytest.raises(CorruptWeights):
        analyze([one], save=tmp_path / "report", crew=fail)
    assert [path.read_bytes() for path in (tmp_path / "report").iterdir()] == [b"x", b"x"]
    with pytest.raises(CorruptWeights):
        analyze([one], save=tmp_path / "new", crew=fail)
    assert not (tmp_path / "new").exists()


def test_unknown_format_lists_the_valid_ones(tmp_path: Path, one: Path, fake_recognizer: EmotionRecognizer) -> None:
    with pytest.raises(UnknownName) as caught:
        run(one, fake_recognizer, Options(formats=("csv", "xml")))
    assert str(caught.value) == "There is no report format named 'xml'; choose one of: csv, json, parquet."
    assert not (tmp_path / "report").exists()


@pytest.mark.skipif(sys.platform != "linux", reason="other systems have no such names")
def test_name_that_is_no_utf8_is_analysed_and_shown_as_far_as_it_goes(
    tmp_path: Path, one: Path, fake_recognizer: EmotionRecognizer
) -> None:
    # The summary is UTF-8 and cannot hold such a name as it is: it once ended the run.
    one.rename(os.fsdecode(os.fsencode(one.parent) + b"/caf\xe9.mp4"))
    Path(os.fsdecode(os.fsencode(one.parent) + b"/bad\xe9.mp4")).write_bytes(b"x")
    outcomes = run(one.parent, fake_recognizer)
    assert [(outcome.file, outcome.status) for outcome in outcomes] == [("bad�.mp4", "error"), ("caf�.mp4", "ok")]
    assert read_summary(tmp_path / "report").index.tolist() == ["bad�.mp4", "caf�.mp4"]
    assert b"caf\xe9.csv" in os.listdir(os.fsencode(tmp_path / "report"))


def test_video_cut_short_fails_loudly_and_keeps_what_could_be_read(
    tmp_path: Path, fake_recognizer: EmotionRecognizer, make_video: MakeVideo
) -> None:
    """Read in silence, a broken download would look like a short recording."""
    path = make_video("in/a.mp4", frames=200, size=(160, 120))
    path.write_bytes(path.read_bytes()[: path.stat().st_size * 7 // 10])
    (outcome,) = run(path.parent, fake_recognizer)
    assert outcome.status == "error"
    assert outcome.emotion == "Happiness"
    assert outcome.message is not None
    assert f"is cut short: it holds fewer frames than its index promises. The report covers the {outcome.frames}" in (
        outcome.message
    )
    assert outcome.frames == len(read_csv(tmp_path / "report" / "a.csv"))
    assert 0 < outcome.frames < 200
