"""What may be opened as a video: names on one line, links, and limits of memory that real videos do not reach."""

import struct
from pathlib import Path

import pytest
from mp4_files import Packets, box, full_box, movie
from video_files import coded, make

from emo_affectnet import containers
from emo_affectnet.containers import open_video
from emo_affectnet.errors import VideoError
from emo_affectnet.video import read_frames


def test_a_link_to_nothing_is_told_from_a_name_that_is_not_there(tmp_path: Path) -> None:
    (tmp_path / "link.mp4").symlink_to("gone.mp4")
    with pytest.raises(VideoError, match="a link to a file that is not there"), open_video(tmp_path / "link.mp4"):
        pass
    with pytest.raises(VideoError, match="no such file"), open_video(tmp_path / "gone.mp4"):
        pass


def test_a_picture_may_have_just_as_many_pixels(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = make(tmp_path / "clip.mp4", map(coded, range(5)))
    monkeypatch.setattr(containers, "MAX_PIXELS", 64 * 48)
    assert len(list(read_frames(path))) == 5
    monkeypatch.setattr(containers, "MAX_PIXELS", 64 * 48 - 1)
    with pytest.raises(VideoError, match="its pictures are 64 x 48 px, and at most 3,071 px can be read; make them"):
        next(read_frames(path))


def test_an_index_may_promise_no_more_frames_than_can_be_read_or_than_there_are_bytes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path, alike = tmp_path / "clip.mp4", {b"stsz": full_box(b"stsz", struct.pack(">II", 1, 900))}
    path.write_bytes(movie(Packets((bytes(1000),), b"", (64, 48)), contents=alike))
    with pytest.raises(VideoError, match="none of its frames"):  # 900 bytes of nothing
        next(read_frames(path))
    monkeypatch.setattr(containers, "MAX_FRAMES", 899)
    with pytest.raises(VideoError, match="promises 900 frames and at most 899 can be read"), open_video(path):
        pass
    alike = {b"stsz": full_box(b"stsz", struct.pack(">II", 1, 9000))}
    path.write_bytes(movie(Packets((bytes(1000),), b"", (64, 48)), contents=alike))
    with pytest.raises(VideoError, match="promises 9,000 frames and it has only 1,[0-9]{3} bytes"), open_video(path):
        pass


def test_an_index_may_not_have_more_boxes_than_are_counted(tmp_path: Path) -> None:
    path = tmp_path / "clip.mp4"
    path.write_bytes(box(b"free") * 100 + movie(Packets((b"abc",), b"", (64, 48))))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("emo_affectnet.boxes.MAX_BOXES", 50)
        with pytest.raises(VideoError, match="has more than 1,048,576 boxes"), open_video(path):
            pass
