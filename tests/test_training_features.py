"""Clips become features once: through the recognizer's own front half, cut by their interval, kept in a cache."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from emo_affectnet.emotions import Emotion
from emo_affectnet.faces import View
from emo_affectnet.recognizer import Reading
from emo_affectnet.timeline import FaceTrack, slide
from emo_affectnet.training import features as module
from emo_affectnet.training.corpora.clip import Clip, Scan
from emo_affectnet.training.features import (
    UNREADABLE,
    ClipFeatures,
    CorpusFeatures,
    cut_clip,
    cut_windows,
    extract,
    load_reading,
    measure_seconds,
    split_speakers,
    track_windows,
)


def make_track(first: int, last: int, *, side: int = 50, track_id: int = 1) -> FaceTrack:
    """Return a face seen every 6th frame at 30 frames/s; its first feature is the frame's index."""
    indices = np.arange(first, last + 1, 6)
    features = np.ones((len(indices), 512), np.float32)
    features[:, 0] = indices
    boxes = np.tile(np.array([0, 0, side, side], np.float32), (len(indices), 1))
    return FaceTrack(track_id, indices, indices / 30, boxes, np.ones(len(indices), np.float32), features)


def make_reading(*tracks: FaceTrack, frames: int = 300) -> Reading:
    return Reading(np.arange(frames) / 30, np.arange(0, frames, 6), tracks)


def make_clip(path: Path = Path("a.mp4"), **fields) -> Clip:
    fields = {"name": path.stem, "speaker": "s1", "label": "angry", "emotion": Emotion.Anger} | fields
    return Clip(corpus="RAVDESS", path=path, **fields)


def make_scan(*clips: Clip) -> Scan:
    return Scan("RAVDESS", Path("root"), {"calm": "drop"}, clips, (), ())


def test_a_clip_has_the_samples_of_its_interval_and_no_other() -> None:
    cut = cut_clip(make_clip(start=2.0, end=4.0), make_reading(make_track(0, 299)))
    assert cut.frame_indices.tolist() == list(range(0, 60, 6))  # counted from the clip's first frame
    assert cut.features[:, 0].tolist() == list(range(60, 120, 6))
    assert cut.mass.argmax(axis=1).tolist() == [Emotion.Anger] * 10


def test_an_interval_that_ends_after_the_video_is_cut_there() -> None:
    cut = cut_clip(make_clip(start=9.0, end=60.0), make_reading(make_track(0, 299)))
    assert cut.features[:, 0].tolist() == [270, 276, 282, 288, 294]


def test_an_interval_shorter_than_a_sample_has_the_nearest_one() -> None:
    cut = cut_clip(make_clip(start=1.02, end=1.12), make_reading(make_track(0, 299)))
    assert cut.features[:, 0].tolist() == [30]
    assert (len(cut.frames), cut.coverage) == (4, 1.0)  # frame 30, and 31 to 33 between the two times


def test_the_coverage_of_a_clip_is_that_of_its_own_frames() -> None:
    reading = make_reading(make_track(0, 89))
    assert cut_clip(make_clip(start=2.0, end=4.0), reading).coverage == 0.5  # frames 60 to 89 of 60 to 119
    assert cut_clip(make_clip(start=5.0, end=6.0), reading).coverage == 0.0


def test_the_speaker_of_a_clip_is_the_largest_face_of_its_own_interval() -> None:
    early, late = make_track(0, 140, side=90), make_track(150, 294, side=60, track_id=2)
    small = make_track(0, 294, side=40, track_id=3)
    assert cut_clip(make_clip(start=6.0, end=8.0), make_reading(early, late, small)).features[0, 0] == 180
    cut = cut_clip(make_clip(start=0.0, end=4.0), make_reading(early, late, small))
    assert (cut.frame_indices[0], len(cut.times)) == (0, 20)


def test_a_clip_without_a_face_stays_among_the_clips_with_no_sample() -> None:
    cut = cut_clip(make_clip(), make_reading())
    assert (len(cut.times), cut.features.shape, cut.label) == (0, (0, 512), Emotion.Anger)
    assert len(cut_windows(CorpusFeatures("RAVDESS", (cut,)))) == 0


def test_frames_with_labels_of_their_own_give_them_to_samples_and_unlabelled_ones_say_nothing() -> None:
    labels = (-1,) * 60 + (1,) * 90 + (6,) * 145  # five fewer than frames
    cut = cut_clip(make_clip(frame_emotions=labels), make_reading(make_track(0, 299)))
    assert cut.frame_labels is not None
    assert cut.frame_labels.tolist() == [*labels, *[-1] * 5]
    assert cut.mass.sum(axis=1).tolist() == [0.0] * 10 + [1.0] * 40
    windows = cut_windows(CorpusFeatures("Aff-Wild2", (cut,)))
    # Windows start every five samples; the first is unlabelled throughout, the fifth half of each: a tie.
    assert windows.labels.tolist() == [1, 1, 1, 1, 6, 6, 6, 6, 6]


def test_windows_of_a_clip_are_those_of_the_recognizer() -> None:
    track = make_track(0, 210)
    cut = cut_clip(make_clip(), make_reading(track))
    expected = slide(track)
    for windows in (track_windows(cut), cut_windows(CorpusFeatures("RAVDESS", (cut,)))):
        np.testing.assert_array_equal(windows.features, expected.features)
    assert track_windows(cut).last.tolist() == expected.last.tolist()


def test_no_speaker_is_on_both_sides_of_a_split() -> None:
    nothing = np.empty(0)
    clips = tuple(ClipFeatures(f"{number}", f"s{number % 10}", 0, nothing, nothing, nothing) for number in range(40))
    first, second = split_speakers(CorpusFeatures("RAVDESS", clips), share=0.2)
    assert len({clip.speaker for clip in second.clips}) == 2
    assert {clip.speaker for clip in first.clips}.isdisjoint(clip.speaker for clip in second.clips)
    assert len(first.clips) + len(second.clips) == 40


def test_features_are_those_that_predict_uses(fake_recognizer, make_video, tmp_path: Path) -> None:
    video = make_video("clip.mp4", frames=60)
    reading = fake_recognizer.read(video)
    (corpus,) = extract([make_scan(make_clip(video))], recognizer=lambda: fake_recognizer, cache=tmp_path / "cache")
    np.testing.assert_array_equal(corpus.clips[0].features, reading.tracks[0].features)
    assert corpus.policies == {"calm": "drop"}
    timeline = fake_recognizer.predict(video)
    windows = fake_recognizer.engine.classify(track_windows(corpus.clips[0]).features)
    np.testing.assert_array_equal(windows, timeline.window_probabilities)


def test_a_reading_comes_back_from_the_cache_as_it_was(fake_recognizer, make_video, tmp_path: Path) -> None:
    video = make_video("clip.mp4", frames=30)
    expected = fake_recognizer.read(video)
    extract([make_scan(make_clip(video))], recognizer=lambda: fake_recognizer, cache=tmp_path)
    (stored,) = tmp_path.glob("*.npz")
    again = load_reading(stored)
    np.testing.assert_array_equal(again.times, expected.times)
    np.testing.assert_array_equal(again.samples, expected.samples)
    for name in module.TRACK_FIELDS:
        np.testing.assert_array_equal(getattr(again.tracks[0], name), getattr(expected.tracks[0], name))


def test_only_what_is_not_in_the_cache_is_read(fake_recognizer, make_video, tmp_path: Path, monkeypatch) -> None:
    first, second = make_video("a.mp4", frames=20), make_video("b.mp4", frames=25)
    read = []
    original = fake_recognizer.read
    monkeypatch.setattr(fake_recognizer, "read", lambda path, **k: read.append(path.name) or original(path, **k))

    def run(*clips: Clip, **keywords) -> None:
        extract([make_scan(*clips)], recognizer=lambda: fake_recognizer, cache=tmp_path / "cache", **keywords)

    two = (make_clip(first, name="1", end=0.4), make_clip(first, name="2", start=0.4))
    run(*two)
    assert read == ["a.mp4"]  # once for both of its clips
    run(*two, make_clip(second))
    assert read == ["a.mp4", "b.mp4"]
    run(make_clip(first, view=View(right=0.5)))
    assert read == ["a.mp4", "b.mp4", "a.mp4"]  # another part of the picture is another reading
    fake_recognizer.confidence = 0.9
    run(*two)
    assert read[3:] == ["a.mp4"]


def test_an_unreadable_video_is_a_problem_and_the_others_are_read(fake_recognizer, make_video, tmp_path: Path) -> None:
    broken = tmp_path / "broken.mp4"
    broken.write_bytes(b"nothing")
    done = []
    clips = make_clip(broken), make_clip(tmp_path / "missing.mp4"), make_clip(make_video("clip.mp4", frames=20))
    (corpus,) = extract(
        [make_scan(*clips)],
        recognizer=lambda: fake_recognizer,
        cache=tmp_path / "cache",
        on_progress=lambda count, total: done.append((count, total)),
    )
    assert len(corpus.clips) == 1
    assert [problem.kind for problem in corpus.problems] == [UNREADABLE] * 2
    assert "broken.mp4" in corpus.problems[0].where
    assert done == [(1, 3), (2, 3), (3, 3)]


def test_seconds_are_those_of_the_intervals_inside_the_videos(make_video, tmp_path: Path) -> None:
    video = make_video("clip.mp4", frames=60, fps=30)
    (tmp_path / "broken.avi").write_bytes(b"nothing")
    seconds, problems = measure_seconds(
        make_scan(
            make_clip(video, name="1", start=0.5, end=1.0),
            make_clip(video, name="2", start=1.5, end=9.0),
            make_clip(video, name="3", emotion=None),
            make_clip(tmp_path / "broken.avi"),
        )
    )
    assert seconds == pytest.approx(1.0, abs=0.05)
    assert [problem.kind for problem in problems] == [UNREADABLE]


def test_a_folder_of_face_images_is_read_as_a_video_of_faces(fake_recognizer, tmp_path: Path) -> None:
    folder = tmp_path / "cropped_aligned" / "video7"
    folder.mkdir(parents=True)
    for number in (1, 7, 13, 25, 26):  # at 30 frames/s the samples are images 1, 7, 13, 19 and 25
        Image.new("RGB", (112, 112), (number, number, number)).save(folder / f"{number:05d}.png")
    (folder / "Thumbs.db").write_bytes(b"no image")
    reading = module.read_folder(folder, fake_recognizer)
    assert len(reading.times) == 26
    assert reading.samples.tolist() == [0, 6, 12, 18, 24]
    assert reading.tracks[0].frame_indices.tolist() == [0, 6, 12, 24]
    assert reading.tracks[0].boxes.tolist() == [[0, 0, 112, 112]] * 4
    size = fake_recognizer.preprocessing.input_size
    grey = np.full((1, size, size, 3), 7, np.uint8)
    np.testing.assert_array_equal(reading.tracks[0].features[1], fake_recognizer.engine.embed(grey)[0])
    labels = (2,) * 26
    clip = make_clip(folder, frame_emotions=labels, emotion=Emotion.Sadness)
    (corpus,) = extract([make_scan(clip)], recognizer=lambda: fake_recognizer, cache=tmp_path / "cache")
    assert corpus.clips[0].mass.argmax(axis=1).tolist() == [2] * 4
    assert measure_seconds(make_scan(clip))[0] > 0


def test_a_folder_without_numbered_images_is_a_problem(fake_recognizer, tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    (corpus,) = extract(
        [make_scan(make_clip(tmp_path / "empty"))], recognizer=lambda: fake_recognizer, cache=tmp_path / "cache"
    )
    assert "00001.jpg" in corpus.problems[0].where
