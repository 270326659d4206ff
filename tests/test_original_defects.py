"""The defects of the original pipeline, one story each: what happened there, and what happens here.

The numbers are those of the list in the CHANGELOG.
"""

import subprocess
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from conftest import ROOT, FakeDetector, MakeVideo, crew_of

from emo_affectnet import batch
from emo_affectnet.analysis import open_here
from emo_affectnet.answers import modal_emotion
from emo_affectnet.detection import DETECTORS
from emo_affectnet.errors import VideoError
from emo_affectnet.faces import Face, crop
from emo_affectnet.recognizer import BATCH_SIZE, EmotionRecognizer
from emo_affectnet.reports import read_csv
from emo_affectnet.timeline import sample_stride, window_rows
from emo_affectnet.video import probe, read_frames
from emo_affectnet.weights import PUBLISHED_PREPROCESSING

SMALL, LARGE = Face((2, 10, 20, 30), 0.7), Face((30, 5, 62, 45), 0.9)


def analyze(folder: Path, recognizer: EmotionRecognizer, **options: object) -> dict[str, pd.DataFrame]:
    """Analyse a folder with fakes and return every report by its name."""
    save = folder.parent / "report"
    batch.analyze([folder], save=save, crew=crew_of(recognizer), **options)
    return {path.name: pd.read_csv(path) for path in save.glob("*.csv")}


def test_01_the_least_confident_of_several_faces_overwrote_the_others(
    fake_recognizer: EmotionRecognizer, make_video: MakeVideo
) -> None:
    """All faces of a frame had one key, and the last, lowest-scoring one won; now each person has a track."""
    fake_recognizer._detect = FakeDetector([[LARGE, SMALL]] * 6)
    timelines = fake_recognizer.predict_all(make_video("a.mp4"))
    assert [timeline.boxes[0].tolist() for timeline in timelines] == [list(LARGE.box), list(SMALL.box)]


def test_02_a_video_without_a_face_stopped_the_whole_run(
    fake_recognizer: EmotionRecognizer, make_video: MakeVideo
) -> None:
    """np.stack of no crops raised ValueError; so did any file that was no video. Now each has its row."""
    folder = make_video("in/a.mp4").parent
    make_video("in/b.mp4")
    (folder / "c.mp4").write_text("no video")
    (folder / ".DS_Store").write_text("of a file manager")
    fake_recognizer._detect = FakeDetector([[]] * 6 + [[LARGE]] * 6)
    summary = analyze(folder, fake_recognizer)["summary.csv"]
    assert summary["file"].tolist() == ["a.mp4", "b.mp4", "c.mp4"]
    assert summary["status"].tolist() == ["no_face", "ok", "error"]


@pytest.mark.parametrize("fps", [0.5, 1, 2])
def test_02b_a_rate_of_two_frames_per_second_or_less_stopped_the_run(
    fps: float, fake_recognizer: EmotionRecognizer, make_video: MakeVideo
) -> None:
    """The stride came to 0, which range() refuses; now every frame is a sample."""
    assert sample_stride(fps) == 1
    assert fake_recognizer.predict(make_video("slow.mp4", frames=4, fps=fps)).coverage == 1.0


def test_03_the_detector_ran_on_every_frame(fake_recognizer: EmotionRecognizer, make_video: MakeVideo) -> None:
    """Five of six detections at 30 fps were thrown away; now only samples are searched."""
    fake_recognizer.predict(make_video("a.mp4", frames=60, fps=30))
    assert fake_recognizer._detect.calls == 10


def test_04_the_networks_were_loaded_anew_for_every_video(
    fake_recognizer: EmotionRecognizer, make_video: MakeVideo, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Detector, backbone and head were rebuilt per video; now a run makes one recognizer."""
    for name in "abc":
        folder = make_video(f"in/{name}.mp4").parent
    made = []
    monkeypatch.setattr(
        "emo_affectnet.analysis.EmotionRecognizer", lambda **settings: made.append(1) or fake_recognizer
    )
    batch.analyze([folder], save=tmp_path / "report", crew=open_here)
    assert made == [1]


def test_05_a_machine_without_an_nvidia_card_could_not_run_it() -> None:
    """gpu_id=0 was fixed; now the device is what is there, and the test machine has a CPU."""
    from emo_affectnet.engines import choose_device

    assert choose_device("cpu").name == "cpu"
    assert choose_device("auto").name in {"cpu", "cuda", "mps"}


def test_06_all_crops_of_a_video_were_held_and_sent_at_once(
    fake_recognizer: EmotionRecognizer, make_video: MakeVideo
) -> None:
    """An hour of video took 10.8 GB twice over; now a batch is all there is."""
    fake_recognizer.predict(make_video("a.mp4", frames=5 * (BATCH_SIZE + 1)))
    assert max(fake_recognizer.engine.batch_sizes) == BATCH_SIZE


def test_07_names_lost_four_letters_whatever_their_suffix(
    fake_recognizer: EmotionRecognizer, make_video: MakeVideo
) -> None:
    """a.webm became "a..csv", and a.mp4 overwrote a.avi; now suffixes are known, and shared stems keep theirs."""
    folder = make_video("in/a.mp4").parent
    (folder / "a.mp4").rename(folder / "a.mpeg")
    for name in ("b.mp4", "b.mov"):
        make_video("in/x.mp4").rename(folder / name)
    assert set(analyze(folder, fake_recognizer)) == {"a.csv", "b.mp4.csv", "b.mov.csv", "summary.csv"}


def test_08_frames_before_the_first_face_had_no_row(fake_recognizer: EmotionRecognizer, make_video: MakeVideo) -> None:
    """So the annotated video, joined by row, ran ahead of its labels; now row i is frame i."""
    folder = make_video("in/a.mp4", frames=30).parent
    fake_recognizer._detect = FakeDetector([[], [], *[[LARGE]] * 4])
    table = analyze(folder, fake_recognizer)["a.csv"]
    assert table["frame"].tolist() == list(range(1, 31))
    assert table["observed"].tolist() == [0] * 10 + [1] * 20


def test_09_the_number_of_rows_was_what_the_header_claimed(
    fake_recognizer: EmotionRecognizer, make_video: MakeVideo
) -> None:
    """A recording cut short has fewer frames than its index says; now rows are frames that were decoded."""
    whole = make_video("a.mp4", frames=200, size=(160, 120))
    whole.write_bytes(whole.read_bytes()[: whole.stat().st_size * 7 // 10])
    decoded = sum(1 for _ in read_frames(whole))
    assert 0 < decoded < 200
    assert len(fake_recognizer.predict(whole).times) == decoded


def test_10_an_absent_face_was_labelled_as_if_it_were_there(
    fake_recognizer: EmotionRecognizer, make_video: MakeVideo
) -> None:
    """A window covered every frame between its samples, however far apart; now absences are empty rows."""
    folder = make_video("in/a.mp4", frames=100, level=90).parent
    fake_recognizer._detect = FakeDetector([*[[LARGE]] * 4, *[[]] * 12, *[[LARGE]] * 4])
    table = analyze(folder, fake_recognizer)["a.csv"]
    assert table["observed"].tolist() == [1] * 20 + [0] * 60 + [1] * 20
    assert table.loc[table["observed"] == 0, "emotion"].isna().all()


def test_11_a_tail_window_of_one_real_sample_counts_in_full_as_published() -> None:
    """Not mended, because it is a rule of the study: eleven samples have three windows, the last of one sample."""
    windows = window_rows(11)
    assert windows[2].tolist() == [10] * 10
    votes = np.zeros((3, 7), np.float32)
    votes[:, 0], votes[2, 6] = (0.6, 0.6, 0.0), 1.0
    assert str(modal_emotion(votes)) == "Neutral"
    np.testing.assert_allclose(votes.mean(axis=0)[[0, 6]], [0.4, 1 / 3], atol=1e-6)  # a full third for one sample


def test_12_the_printed_emotion_was_one_vote_and_never_written(
    fake_recognizer: EmotionRecognizer, make_video: MakeVideo
) -> None:
    """run.py counted windows, the notebook summed probabilities; the summary has both, by name."""
    summary = analyze(make_video("in/a.mp4").parent, fake_recognizer)["summary.csv"]
    assert summary.loc[0, ["emotion", "emotion_by_mode"]].tolist() == ["Happiness", "Happiness"]


def test_13_a_rotated_phone_video_had_boxes_of_the_unrotated_one(make_video: MakeVideo) -> None:
    """Width and height came from the container; now both are those of the upright picture (test_video has the rest)."""
    info = probe(make_video("a.mp4", size=(64, 48)))
    frame = next(iter(read_frames(info.path)))
    assert frame.image.shape == (info.height, info.width, 3)


def test_14_there_was_no_time(fake_recognizer: EmotionRecognizer, make_video: MakeVideo) -> None:
    """Frame counts over a rounded rate drift by a frame every 33 s at 29.97 fps; now each row has its PTS."""
    table = analyze(make_video("in/a.mp4", frames=31, fps=29.97).parent, fake_recognizer)["a.csv"]
    np.testing.assert_allclose(table["time"], np.arange(31) * 1001 / 30000, atol=1e-4)


def test_15_closing_a_video_printed_an_error(make_video: MakeVideo) -> None:
    """A destructor released what had never been opened; now closing early, or at the exit, says nothing."""
    script = f"""
from emo_affectnet.video import read_frames
frames = read_frames({str(make_video("a.mp4"))!r})
next(frames)
never_begun = read_frames("nowhere.mp4")
"""
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert (done.stdout, done.stderr) == ("", "")


def test_16_the_requirements_could_not_be_installed() -> None:
    """They were UTF-16 with an option in the middle of a line; now pip reads them."""
    lines = (ROOT / "requirements.lock").read_text(encoding="ascii").splitlines()
    assert all(line.startswith("#") or "==" in line for line in lines)
    assert any(line.startswith("torch==") for line in lines)


def test_17_both_tensorflow_and_pytorch_had_to_be_installed() -> None:
    """TensorFlow is a tool of the tests now; a machine without it runs everything."""
    script = "import sys; sys.modules['tensorflow'] = None; from emo_affectnet import EmotionRecognizer as E; E()"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


def test_18_there_was_no_programming_interface(fake_recognizer: EmotionRecognizer, make_video: MakeVideo) -> None:
    """Everything sat in a script; now one class gives the timeline."""
    timeline = fake_recognizer.predict(str(make_video("a.mp4", frames=10)))
    assert timeline.probabilities.shape == (10, 7)


def test_19_a_box_without_area_crashed_the_resize(astronaut: np.ndarray) -> None:
    """A face at the edge gave an empty crop; now such boxes are no faces, and crops that reach out are filled."""
    for image in (np.zeros((1, 1, 3), np.uint8), np.ascontiguousarray(astronaut[:, 260:])):
        for face in DETECTORS["short-range"](confidence=None)(image):
            assert crop(image, face.box, PUBLISHED_PREPROCESSING).shape == (224, 224, 3)
    assert crop(astronaut, (500, 500, 512, 512), PUBLISHED_PREPROCESSING).shape == (224, 224, 3)


def test_20_the_vote_depended_on_the_version_of_scipy() -> None:
    """mode() changed its return shape; now a tie goes to the first emotion in order, by our own count."""
    assert str(modal_emotion(np.eye(7, dtype=np.float32)[[5, 2]])) == "Sadness"


def test_errors_are_not_called_no_face(fake_recognizer: EmotionRecognizer, tmp_path: Path) -> None:
    """Peers report unreadable files as files without faces; here they are errors."""
    (tmp_path / "a.mp4").write_bytes(b"")
    with pytest.raises(VideoError, match="empty"):
        fake_recognizer.predict(tmp_path / "a.mp4")


def test_a_report_joins_by_frame_not_by_row(fake_recognizer: EmotionRecognizer, make_video: MakeVideo) -> None:
    folder = make_video("in/a.mp4", frames=12).parent
    batch.analyze([folder], save=folder.parent / "report", crew=crew_of(fake_recognizer))
    assert read_csv(folder.parent / "report" / "a.csv")["frame"].tolist() == list(range(1, 13))
