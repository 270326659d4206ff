"""The facade: real videos through fakes for value, and through the bundled weights for truth."""

import threading
from pathlib import Path

import numpy as np
import pytest
from conftest import VIDEO_FOLDER, FakeDetector, FakeEngine, MakeVideo

from emo_affectnet import EmotionRecognizer
from emo_affectnet import recognizer as module
from emo_affectnet.emotions import Emotion
from emo_affectnet.errors import MissingWeights, UnknownName, UsageError, VideoError
from emo_affectnet.faces import Face
from emo_affectnet.recognizer import BATCH_SIZE
from emo_affectnet.video import read_frames
from emo_affectnet.video_writer import VideoWriter


@pytest.fixture
def fakes(fake_recognizer: EmotionRecognizer) -> EmotionRecognizer:
    return fake_recognizer


LEFT, RIGHT = Face((2, 10, 20, 40), 0.9), Face((40, 10, 60, 44), 0.8)


@pytest.fixture(scope="module")
def bundled() -> EmotionRecognizer:
    return EmotionRecognizer(weights="bundled")


def test_there_is_one_row_for_every_frame_with_its_time(fakes: EmotionRecognizer, make_video: MakeVideo) -> None:
    timeline = fakes.predict(make_video("a.mp4", frames=73, fps=29.97))
    assert timeline.probabilities.shape == (73, 7)
    np.testing.assert_allclose(timeline.times, np.arange(73) * 1001 / 30000, atol=1e-4)
    assert timeline.coverage == 1.0


def test_only_sampled_frames_are_searched_for_faces(fakes: EmotionRecognizer, make_video: MakeVideo) -> None:
    fakes.predict(make_video("a.mp4", frames=73, fps=29.97))
    assert fakes._detect.calls == 13  # every sixth of 73


def test_the_network_sees_the_sampled_frames_in_order(fakes: EmotionRecognizer, make_video: MakeVideo) -> None:
    seen = []
    embed = fakes.engine.embed
    fakes.engine.embed = lambda crops: seen.extend(crops.mean(axis=(1, 2, 3))) or embed(crops)
    fakes.predict(make_video("a.mp4", frames=31, fps=25))
    np.testing.assert_allclose(seen, np.arange(0, 31, 5), atol=2)  # frame i has brightness i


def test_crops_are_embedded_in_batches_of_bounded_size(fakes: EmotionRecognizer, make_video: MakeVideo) -> None:
    fakes.predict(make_video("a.mp4", frames=5 * (2 * BATCH_SIZE + 3), fps=25))
    assert fakes.engine.batch_sizes == [BATCH_SIZE, BATCH_SIZE, 3]


def test_agreement_counts_the_heads_behind_the_reported_emotion(
    fakes: EmotionRecognizer, make_video: MakeVideo
) -> None:
    timeline = fakes.predict(make_video("a.mp4"))  # four fake heads say Happiness, two Anger
    assert timeline.emotion is Emotion.Happiness
    np.testing.assert_allclose(timeline.agreement, 4 / 6, atol=1e-6)


def script(fakes: EmotionRecognizer, *frames: list[Face]) -> None:
    fakes._detect = FakeDetector(list(frames))


def test_the_primary_person_is_the_largest_over_time_not_the_most_confident(
    fakes: EmotionRecognizer, make_video: MakeVideo
) -> None:
    script(fakes, *[[LEFT, RIGHT]] * 6)
    primary, other = fakes.predict_all(make_video("a.mp4"))
    assert (primary.track_id, other.track_id) == (1, 2)
    assert primary.boxes[0].tolist() == list(RIGHT.box)
    assert other.boxes[0].tolist() == list(LEFT.box)


def test_a_person_who_is_there_longer_comes_before_a_larger_one(
    fakes: EmotionRecognizer, make_video: MakeVideo
) -> None:
    script(fakes, *[[LEFT, RIGHT]] * 2, *[[LEFT]] * 8)
    primary = fakes.predict(make_video("a.mp4", frames=50))
    assert primary.boxes[0].tolist() == list(LEFT.box)


def test_a_false_face_in_one_frame_is_nobody(fakes: EmotionRecognizer, make_video: MakeVideo) -> None:
    script(fakes, [LEFT], [LEFT, RIGHT], *[[LEFT]] * 4)
    assert len(fakes.predict_all(make_video("a.mp4"))) == 1


def test_a_video_without_a_face_gives_unknown_rows_and_no_emotion(
    fakes: EmotionRecognizer, make_video: MakeVideo
) -> None:
    script(fakes)
    (timeline,) = fakes.predict_all(make_video("a.mp4", frames=12))
    assert (timeline.track_id, timeline.emotion, timeline.coverage) == (None, None, 0.0)
    assert np.isnan(timeline.probabilities).all()
    assert len(timeline.times) == 12


def test_frames_before_the_first_face_have_their_rows(fakes: EmotionRecognizer, make_video: MakeVideo) -> None:
    script(fakes, [], [], [LEFT], [LEFT], [LEFT], [LEFT])
    timeline = fakes.predict(make_video("a.mp4", frames=30))
    assert np.flatnonzero(timeline.observed).tolist() == list(range(10, 30))


def test_progress_counts_frames_at_every_sample_and_at_the_end(fakes: EmotionRecognizer, make_video: MakeVideo) -> None:
    heard: list[tuple[int, int | None]] = []
    fakes.predict(make_video("a.mp4", frames=9), on_progress=lambda done, total: heard.append((done, total)))
    assert heard == [(1, 9), (6, 9), (9, 9)]


def test_nothing_of_one_video_reaches_the_next(bundled: EmotionRecognizer, carphone: Path) -> None:
    alone = bundled.predict(VIDEO_FOLDER / "leaves_and_returns.mp4")
    bundled.predict(carphone)
    again = bundled.predict(VIDEO_FOLDER / "leaves_and_returns.mp4")
    np.testing.assert_array_equal(alone.probabilities, again.probabilities)
    np.testing.assert_array_equal(alone.boxes, again.boxes)


def test_a_real_recording_is_covered_throughout(bundled: EmotionRecognizer, carphone: Path) -> None:
    people = bundled.predict_all(carphone)
    assert len(people) == 1
    assert people[0].coverage >= 0.98
    assert people[0].video.fps == pytest.approx(30000 / 1001)
    np.testing.assert_allclose(people[0].probabilities.sum(axis=1), 1, atol=1e-4)


def test_dropped_frames_change_the_rows_and_hardly_the_emotions(bundled: EmotionRecognizer, tmp_path: Path) -> None:
    """A phone that drops frames at random gives the same story by time; seen: 99 % of the rows."""
    source, dropping = VIDEO_FOLDER / "leaves_and_returns.mp4", tmp_path / "dropping.mp4"
    kept = np.random.default_rng(0).random(206) < 0.6
    kept[0] = True  # a player's clock starts with the first frame
    with VideoWriter(dropping, width=480, height=480, fps=24) as writer:
        for frame in read_frames(source):
            if kept[frame.index]:
                writer.write(frame.image, time=frame.time)
    whole, holed = bundled.predict(source), bundled.predict(dropping)
    assert not holed.video.is_constant_rate
    np.testing.assert_allclose(holed.times, whole.times[kept], atol=1e-4)
    assert (holed.emotions == whole.emotions[kept]).mean() > 0.95


def test_tables_of_looks_are_made_while_the_networks_load(monkeypatch: pytest.MonkeyPatch) -> None:
    threads = []
    monkeypatch.setattr(module, "prepare_looks", lambda: threads.append(threading.get_ident()))
    EmotionRecognizer()
    assert len(threads) == 1
    assert threads[0] != threading.get_ident()


def test_a_named_head_reports_its_own_probabilities(carphone: Path, bundled: EmotionRecognizer) -> None:
    everyone = bundled.predict(carphone)
    one = EmotionRecognizer(weights="bundled", head="RAVDESS").predict(carphone)
    np.testing.assert_array_equal(one.window_probabilities, everyone.window_probabilities)
    np.testing.assert_array_equal(one.reported_windows, everyone.window_probabilities[everyone.heads.index("RAVDESS")])
    assert not np.array_equal(one.probabilities, everyone.probabilities)


@pytest.mark.parametrize(
    ("choice", "sentence"),
    [
        (
            {"weights": "bundled", "head": "Ravdess"},
            "no head named 'Ravdess'; choose one of: Aff-Wild2, CREMA-D, IEMOCAP, RAMAS, RAVDESS",
        ),
        (
            {"detector": "retina"},
            "no detector named 'retina'; choose one of: near-and-far, short-range, full-range, face-mesh",
        ),
        ({"engine": "tensorrt"}, "no engine named 'tensorrt'; choose one of: onnxruntime, openvino, torch, tensorflow"),
        ({"weights": "best"}, "no weight set named 'best'; choose one of: bundled"),
    ],
)
def test_an_unknown_name_is_answered_with_the_valid_ones(choice: dict[str, str], sentence: str) -> None:
    with pytest.raises(UnknownName, match=sentence):
        EmotionRecognizer(**choice)


@pytest.mark.parametrize("confidence", [0, -0.1, 1.01])
def test_a_confidence_outside_its_range_is_refused(confidence: float) -> None:
    with pytest.raises(UsageError, match="between 0 and 1"):
        EmotionRecognizer(confidence=confidence)


def test_a_missing_weight_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(MissingWeights, match=r"none\.pt"):
        EmotionRecognizer(head_file=tmp_path / "none.pt")


def test_a_single_head_file_is_reported_under_its_own_name(tmp_path: Path, carphone: Path) -> None:
    import shutil

    from emo_affectnet.weights import bundled_folder

    shutil.copy(bundled_folder() / "SAVEE.pt", tmp_path / "mine.pt")
    recognizer = EmotionRecognizer(head_file=tmp_path / "mine.pt")
    assert (recognizer.head, recognizer.heads) == ("mine", ("mine",))
    assert np.isnan(recognizer.predict(carphone).agreement).all()


def test_a_file_that_is_no_video_is_an_error(fakes: EmotionRecognizer, tmp_path: Path) -> None:
    path = tmp_path / "notes.mp4"
    path.write_text("no video")
    with pytest.raises(VideoError, match=r"notes\.mp4"):
        fakes.predict(path)


def test_the_fakes_stand_where_the_real_parts_do() -> None:
    assert set(module.DETECTORS) == {"near-and-far", "short-range", "full-range", "face-mesh"}
    assert FakeEngine.heads == EmotionRecognizer(weights="bundled").heads
