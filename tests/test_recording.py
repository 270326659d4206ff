"""What a live session leaves: recordings that are finished whatever happens, and rows that are there at once."""

from collections.abc import Callable
from pathlib import Path

import av
import numpy as np
import pandas as pd
import pytest

from emo_affectnet.emotions import EMOTION_NAMES
from emo_affectnet.errors import ReportError, UsageError, VideoError
from emo_affectnet.recording import MomentLog, Recorder
from emo_affectnet.reports import COLUMNS, RAW_COLUMNS, read_csv
from emo_affectnet.timeline import Moment
from emo_affectnet.video import Frame, probe, read_frames

IMAGE = np.full((48, 64, 3), 90, np.uint8)


def record(recorder: Recorder, count: int, *, start: float = 0.0, image: np.ndarray = IMAGE) -> None:
    for index in range(count):
        recorder.write(image, time=start + index / 20)


def test_a_recording_keeps_the_time_of_each_picture(tmp_path: Path) -> None:
    times = [7.0, 7.05, 7.3, 7.31, 8.0]
    with Recorder(tmp_path / "new" / "out.mp4") as recorder:
        for moment in times:
            recorder.write(IMAGE, time=moment)
    frames = list(read_frames(tmp_path / "new" / "out.mp4"))
    np.testing.assert_allclose([frame.time for frame in frames], np.array(times) - 7, atol=1e-4)
    with av.open(str(tmp_path / "new" / "out.mp4")) as container:
        assert container.streams.video[0].start_time == 0  # a player shows it at once, not after 7 s


def test_a_recording_is_finished_whatever_ends_the_session(tmp_path: Path) -> None:
    def session() -> None:
        with Recorder(tmp_path / "out.mp4") as recorder:
            record(recorder, 5)
            raise RuntimeError

    with pytest.raises(RuntimeError):
        session()
    assert probe(tmp_path / "out.mp4").frame_count == 5
    assert [path.name for path in tmp_path.iterdir()] == ["out.mp4"]


def test_every_start_after_the_first_has_its_own_number(tmp_path: Path) -> None:
    (tmp_path / "out.mp4").write_text("of the last session")
    (tmp_path / "out-2.mp4").write_text("of the last session")
    with Recorder(tmp_path / "out.mp4") as recorder:
        record(recorder, 3)
        recorder.toggle()
        record(recorder, 3)  # not recorded
        recorder.toggle()
        record(recorder, 4, start=9.0)
    assert [path.name for path in recorder.paths] == ["out.mp4", "out-3.mp4"]
    assert [probe(path).frame_count for path in recorder.paths] == [3, 4]
    assert (tmp_path / "out-2.mp4").read_text() == "of the last session"


def test_without_a_name_recording_waits_and_takes_the_date(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    with Recorder(None) as recorder:
        record(recorder, 3)
        assert list(tmp_path.iterdir()) == []
        for _ in range(2):  # twice within a second
            recorder.toggle()
            record(recorder, 3)
            recorder.toggle()
    assert len({path.name for path in recorder.paths}) == len(list(tmp_path.iterdir())) == 2
    assert all(path.match("live-[0-9]*-[0-9]*.mp4") for path in recorder.paths)


def test_a_picture_of_another_size_begins_a_new_file(tmp_path: Path) -> None:
    with Recorder(tmp_path / "out.mp4") as recorder:
        record(recorder, 3)
        record(recorder, 2, start=1.0, image=IMAGE[:, :32])
    sizes = [(probe(path).width, probe(path).frame_count) for path in recorder.paths]
    assert sizes == [(64, 3), (32, 2)]


def test_switching_on_and_off_without_a_picture_leaves_nothing(tmp_path: Path) -> None:
    with Recorder(tmp_path / "out.mp4") as recorder:
        recorder.toggle()
        recorder.toggle()
    assert list(tmp_path.iterdir()) == []


def test_only_mp4_is_recorded(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"out\.avi; give a name that ends in \.mp4"):
        Recorder(tmp_path / "out.avi")


def test_a_folder_that_cannot_be_made_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(VideoError, match=r"folder of the recording .*out\.mp4 cannot be made"):
        Recorder(tmp_path / "file" / "out.mp4")


def test_a_failed_write_is_raised_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object, **__: object) -> None:
        raise VideoError("the disk is full")

    with Recorder(tmp_path / "out.mp4") as recorder:
        monkeypatch.setattr("emo_affectnet.recording.VideoWriter.write", fail)
        with pytest.raises(VideoError, match="the disk is full"):
            record(recorder, 1)


def moment(**changes: object) -> Moment:
    values = np.array([0.1, 0.4, 0.1, 0.1, 0.1, 0.1, 0.1], np.float32)
    facts = {"track_id": 2, "index": 11, "time": 0.4400000001, "box": (1, 2, 30, 40), "score": 0.91234}
    return Moment(**{**facts, "probabilities": values, "agreement": 5 / 6, **changes})  # type: ignore[arg-type]


@pytest.fixture
def log(tmp_path: Path) -> Callable[..., pd.DataFrame]:
    def write(*moments: Moment, frame: int = 11) -> pd.DataFrame:
        with MomentLog(tmp_path / "new" / "live.csv") as log:
            log.write(Frame(frame, frame / 25, IMAGE), moments)
        return read_csv(tmp_path / "new" / "live.csv")

    return write


def test_a_row_has_the_columns_and_the_form_of_a_report(log: Callable[..., pd.DataFrame], tmp_path: Path) -> None:
    table = log(moment())
    assert tuple(table.columns) == COLUMNS
    line = (tmp_path / "new" / "live.csv").read_text().splitlines()[1]
    assert line == "000012,0.1,0.4,0.1,0.1,0.1,0.1,0.1,0.44,Happiness,0.4,0.833333,1,1,2,30,40,0.9123,2"


def test_there_is_a_row_for_each_person(log: Callable[..., pd.DataFrame]) -> None:
    table = log(moment(), moment(track_id=3, score=None, agreement=None))
    assert table.frame.tolist() == [12, 12]
    assert table.track.tolist() == [2, 3]
    assert table[["score", "agreement"]].isna().all(axis=1).tolist() == [False, True]


def test_a_frame_without_anybody_has_one_row_of_unknowns(log: Callable[..., pd.DataFrame]) -> None:
    table = log(frame=50)
    known = table.loc[0].dropna().to_dict()
    assert known == {"frame": 51, "time": 2.0, "observed": 0}
    assert table[list(EMOTION_NAMES)].isna().all(axis=None)


def test_with_a_baseline_the_raw_values_follow_as_in_a_report(tmp_path: Path) -> None:
    raw = np.array([0.4, 0.1, 0.1, 0.1, 0.1, 0.1, 0.1], np.float32)
    with MomentLog(tmp_path / "live.csv", has_raw=True) as log:
        log.write(Frame(11, 0.44, IMAGE), [moment(raw_probabilities=raw)])
        log.write(Frame(12, 0.48, IMAGE), [])
    table = read_csv(tmp_path / "live.csv")
    assert tuple(table.columns) == (*COLUMNS, *RAW_COLUMNS)
    assert table.loc[0, ["Neutral", "raw_Neutral"]].tolist() == [0.1, 0.4]
    assert table.loc[1, list(RAW_COLUMNS)].isna().all()


def test_rows_are_there_before_the_end(tmp_path: Path) -> None:
    with MomentLog(tmp_path / "live.csv") as log:
        lengths = []
        for index in range(3):
            lengths.append(len((tmp_path / "live.csv").read_text().splitlines()))
            log.write(Frame(index, index / 5, IMAGE), [])
    assert lengths == [1, 2, 3]


def test_a_csv_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    with pytest.raises(ReportError, match="cannot be written: Is a directory"):
        MomentLog(tmp_path)


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs Linux's /dev/full")
def test_a_full_disk_is_our_error() -> None:
    with pytest.raises(ReportError, match="/dev/full cannot be written: No space left"):
        MomentLog(Path("/dev/full"))
