"""The CSV contract: the published eight columns first, a row for every frame, unknown values empty."""

import json
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from emo_affectnet.errors import EngineUnavailable, ReportError
from emo_affectnet.inputs import Input
from emo_affectnet.reports import (
    COLUMNS,
    check_writable,
    read_csv,
    read_people,
    report_path,
    report_place,
    to_table,
    write_csv,
    write_json,
    write_parquet,
)
from emo_affectnet.timeline import Timeline, empty_timeline
from emo_affectnet.video import VideoInfo

PUBLISHED_HEADER = "frame,Neutral,Happiness,Sadness,Surprise,Fear,Disgust,Anger"
INFO = VideoInfo(Path("clip.mp4"), 640, 480, 30000 / 1001, 0.2, 6, False, True)


@pytest.fixture
def timeline() -> Timeline:
    """Six frames at 29.97 fps; the face is seen in frames 1 to 4 (0-based)."""
    observed = np.array([False, True, True, True, True, False])
    probabilities = np.full((6, 7), np.nan, np.float32)
    probabilities[observed] = [0.1, 0.5, 0.1, 0.1, 0.1, 0.05, 0.05]
    probabilities[4] = [0.1, 0.1, 0.1, 0.1, 0.1, 0.0, 0.5]
    boxes = np.full((6, 4), np.nan, np.float32)
    boxes[observed] = [10.4, 20.6, 110, 120]
    single = np.where(observed, 0.75, np.nan).astype(np.float32)
    return Timeline(
        video=INFO,
        track_id=1,
        head="ensemble",
        heads=("A", "B"),
        times=np.arange(6) * 1001 / 30000,
        probabilities=probabilities,
        agreement=single,
        observed=observed,
        boxes=boxes,
        scores=single,
        window_probabilities=np.stack([probabilities[1:2], probabilities[4:5]]),
    )


def test_the_published_columns_come_first_unchanged(timeline: Timeline, tmp_path: Path) -> None:
    write_csv(timeline, tmp_path / "a.csv")
    header, *rows = (tmp_path / "a.csv").read_text().splitlines()
    assert header == PUBLISHED_HEADER + ",time,emotion,confidence,agreement,observed,x1,y1,x2,y2,score,track"
    assert [row.split(",")[0] for row in rows] == ["000001", "000002", "000003", "000004", "000005", "000006"]


def test_unknown_values_are_empty_never_zero(timeline: Timeline, tmp_path: Path) -> None:
    write_csv(timeline, tmp_path / "a.csv")
    lines = (tmp_path / "a.csv").read_text().splitlines()
    assert lines[1] == "000001,,,,,,,,0.0,,,,0,,,,,,"
    assert lines[2] == "000002,0.1,0.5,0.1,0.1,0.1,0.05,0.05,0.033367,Happiness,0.5,0.75,1,10,21,110,120,0.75,1"


def test_the_emotion_of_a_row_is_its_most_probable_one(timeline: Timeline) -> None:
    table = to_table(timeline)
    assert table["emotion"].dropna().tolist() == ["Happiness"] * 3 + ["Anger"]
    assert table["confidence"].dropna().tolist() == [0.5] * 4


def test_a_report_reads_back_as_it_was(timeline: Timeline, tmp_path: Path) -> None:
    write_csv(timeline, tmp_path / "a.csv")
    table = read_csv(tmp_path / "a.csv")
    assert tuple(table.columns) == COLUMNS
    assert table["frame"].tolist() == [1, 2, 3, 4, 5, 6]
    np.testing.assert_array_equal(table["observed"], timeline.observed)
    np.testing.assert_allclose(table["Happiness"], timeline.probabilities[:, 1], atol=1e-6)


def test_a_video_without_a_face_has_a_report_of_full_length(tmp_path: Path) -> None:
    timeline = empty_timeline(INFO, times=np.arange(3) / 30, heads=("A",), head="A")
    write_csv(timeline, tmp_path / "a.csv")
    assert len(read_csv(tmp_path / "a.csv")) == 3
    assert (tmp_path / "a.csv").read_text().splitlines()[3] == "000003,,,,,,,,0.066667,,,,0,,,,,,"


def test_probabilities_keep_the_precision_of_float32(timeline: Timeline, tmp_path: Path) -> None:
    probabilities = timeline.probabilities.copy()
    probabilities[1] = np.random.default_rng(0).dirichlet(np.ones(7)).astype(np.float32)
    exact = Timeline(**{**vars(timeline), "probabilities": probabilities})
    write_csv(exact, tmp_path / "a.csv")
    row = pd.read_csv(tmp_path / "a.csv", dtype={"Anger": np.float32}).loc[1]
    assert row["Anger"] == probabilities[1, 6]


def test_json_tells_the_same_and_unknown_values_are_null(timeline: Timeline, tmp_path: Path) -> None:
    write_json(timeline, tmp_path / "a.json")
    document = json.loads((tmp_path / "a.json").read_text())
    assert document["video"]["fps"] == pytest.approx(29.97003)
    assert document["video"]["frame_count"] == 6
    assert document["coverage"] == pytest.approx(4 / 6, abs=1e-6)
    assert document["windows"]["B"][0][6] == 0.5
    assert document["frames"][0] == dict.fromkeys(COLUMNS) | {"frame": "000001", "time": 0.0, "observed": 0}
    assert document["frames"][1]["x1"] == 10
    assert document["frames"][4]["emotion"] == "Anger"


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("a,b\n1,2\n", "lacks frame, Neutral"),
        ("", "cannot be read"),
    ],
)
def test_a_file_that_is_no_report_is_refused(text: str, sentence: str, tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text(text)
    with pytest.raises(ReportError, match=sentence):
        read_csv(tmp_path / "a.csv")


def test_a_missing_report_is_named(tmp_path: Path) -> None:
    with pytest.raises(ReportError, match=r"nowhere\.csv"):
        read_csv(tmp_path / "nowhere.csv")


def test_a_report_of_the_original_reads_too(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text(PUBLISHED_HEADER + "\n000001,1,0,0,0,0,0,0\n")
    assert read_csv(tmp_path / "a.csv")["Neutral"].tolist() == [1]


@pytest.mark.parametrize("write", [write_csv, write_json])
def test_a_report_that_cannot_be_written_leaves_nothing(write, timeline: Timeline, tmp_path: Path) -> None:  # type: ignore[no-untyped-def]
    (tmp_path / "a.csv").mkdir()
    with pytest.raises(ReportError, match="cannot be written"):
        write(timeline, tmp_path / "a.csv")
    assert [path.name for path in tmp_path.iterdir()] == ["a.csv"]


def test_everyone_in_a_video_is_read_the_primary_person_first(timeline: Timeline, tmp_path: Path) -> None:
    for rank in (1, 2, 4):  # of the fourth there is no third, so it is of another run
        write_csv(replace(timeline, track_id=rank), report_path(tmp_path / "a.b", rank=rank, suffix="csv"))
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a.b.csv", "a.b.person-2.csv", "a.b.person-4.csv"]
    people = read_people(tmp_path / "a.b")
    assert [table["track"].max() for table in people] == [1, 2]


def test_people_of_a_video_without_a_report_are_an_error(tmp_path: Path) -> None:
    with pytest.raises(ReportError, match=r"a\.csv.*cannot be read"):
        read_people(tmp_path / "a")


def test_parquet_files_of_all_videos_are_one_table_with_a_column_video(timeline: Timeline, tmp_path: Path) -> None:
    empty = empty_timeline(INFO, times=timeline.times, heads=("A", "B"), head="ensemble")
    labels = ["001.mp4", "b/Gespräch 50%=x.mp4", "b/nobody.mp4"]
    for label, each in zip(labels, [timeline, timeline, empty], strict=True):
        write_parquet(each, report_place(tmp_path, Input(Path(), label[:-4], label), rank=1, suffix="parquet"))
    other = replace(timeline, track_id=2)
    write_parquet(other, report_place(tmp_path, Input(Path(), "001", "001.mp4"), rank=2, suffix="parquet"))
    table = pd.read_parquet(tmp_path / "reports.parquet")
    assert table.groupby("video", observed=True).size().to_dict() == {labels[0]: 12, labels[1]: 6, labels[2]: 6}
    assert [str(name) for name in table.columns] == [*COLUMNS, "video"]
    ours = table[(table.video == "001.mp4") & (table.frame == 2)]
    assert sorted(ours.track) == [1, 2]
    assert set(ours.Happiness) == {np.float32(0.5)}
    assert set(ours.emotion) == {"Happiness"}
    assert table[table.video == "b/nobody.mp4"].emotion.isna().all()


@pytest.mark.parametrize(
    ("label", "folder"),
    [
        pytest.param("a/b c.mp4", "video=a%2Fb c.mp4", id="a folder is no folder of the dataset"),
        pytest.param("50%=x:y.mp4", "video=50%25%3Dx%3Ay.mp4", id="signs of the form itself are quoted"),
        pytest.param("видео.mp4", "video=видео.mp4", id="letters stay, since quoting makes them six times as long"),
    ],
)
def test_partitions_are_named_after_the_summary(label: str, folder: str, tmp_path: Path) -> None:
    place = report_place(tmp_path, Input(Path(), "name", label), rank=2, suffix="parquet")
    assert place == tmp_path / "reports.parquet" / folder / "person-2.parquet"


def test_partitions_with_long_names_stay_apart(tmp_path: Path) -> None:
    places = [
        report_place(tmp_path, Input(Path(), "name", f"{'long/' * 60}{end}.mp4"), rank=1, suffix="parquet")
        for end in "ab"
    ]
    assert len({place.parent for place in places}) == 2
    assert all(len(place.parent.name.encode()) <= 255 for place in places)


def test_a_missing_pyarrow_is_told_before_hours_of_work(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    check_writable("csv")
    with pytest.raises(EngineUnavailable, match=r"pip install 'emo-affectnet\[ray\]'"):
        check_writable("parquet")
