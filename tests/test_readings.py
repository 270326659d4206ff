"""Readings in files: what comes back is what was written, to the last bit."""

from pathlib import Path

import numpy as np
import pytest

from emo_affectnet.errors import ReportError
from emo_affectnet.readings import read_reading, write_reading
from emo_affectnet.recognizer import EmotionRecognizer, Reading
from emo_affectnet.timeline import FaceTrack
from emo_affectnet.video import VideoInfo

INFO = VideoInfo(Path("somewhere/clip.mp4"), 64, 48, 30000 / 1001, 0.4, 12, True, True)


def track(person: int, *indices: int) -> FaceTrack:
    count = len(indices)
    noise = np.random.default_rng(person)
    return FaceTrack(
        person,
        np.array(indices, dtype=np.int64),
        np.array(indices) / 30,
        noise.uniform(0, 48, (count, 4)).astype(np.float32),
        np.full(count, np.nan, np.float32),
        noise.normal(size=(count, 512)).astype(np.float32),
    )


def reading(*tracks: FaceTrack) -> Reading:
    return Reading(np.arange(12) / 30, np.arange(0, 12, 6), tracks)


def test_a_reading_comes_back_to_the_last_bit_and_without_the_folder(tmp_path: Path) -> None:
    path, given = tmp_path / "clip.npz", reading(track(1, 0, 6), track(2, 6))
    write_reading(given, INFO, path, width=512)
    again, info = read_reading(path)
    assert (info.path, info.fps, info.duration) == (Path("clip.mp4"), INFO.fps, INFO.duration)
    np.testing.assert_array_equal(again.times, given.times)
    np.testing.assert_array_equal(again.samples, given.samples)
    assert [each.track_id for each in again.tracks] == [1, 2]
    for one, other in zip(again.tracks, given.tracks, strict=True):
        for name in ("frame_indices", "times", "boxes", "scores", "features"):
            np.testing.assert_array_equal(getattr(one, name), getattr(other, name))


def test_equal_readings_make_equal_files(tmp_path: Path) -> None:
    for name in ("a", "b"):
        write_reading(reading(track(1, 0, 6)), INFO, tmp_path / f"{name}.npz", width=512)
    assert (tmp_path / "a.npz").read_bytes() == (tmp_path / "b.npz").read_bytes()


def test_a_reading_without_a_face_has_its_frames_all_the_same(
    tmp_path: Path, fake_recognizer: EmotionRecognizer
) -> None:
    write_reading(reading(), INFO, tmp_path / "clip.npz", width=512)
    again, info = read_reading(tmp_path / "clip.npz")
    (timeline,) = fake_recognizer.interpret(again, info)
    assert (len(timeline.times), timeline.coverage) == (12, 0.0)


@pytest.mark.parametrize("content", [b"", b"no zip", b"PK\x05\x06" + bytes(18)])
def test_what_is_no_reading_is_refused_in_one_sentence(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "clip.npz"
    path.write_bytes(content)
    with pytest.raises(ReportError, match="should hold a reading of a video"):
        read_reading(path)
