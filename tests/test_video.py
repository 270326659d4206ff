"""Frames, times, sizes and errors of real files, each made here by PyAV with a picture that tells its own number."""

import logging
import os
import struct
import subprocess
import sys
import weakref
from fractions import Fraction
from io import FileIO
from pathlib import Path
from types import SimpleNamespace

import av
import numpy as np
import pytest
from video_files import (
    COLOUR_TOLERANCE,
    LEVEL_STEP,
    NTSC,
    coded,
    codes,
    make,
    make_sound,
    open_descriptors,
    picture_bytes,
    quadrants,
)

from emo_affectnet.containers import _Bytes
from emo_affectnet.errors import UsageError, VideoError
from emo_affectnet.threads import prefetch
from emo_affectnet.video import Frame, _count_threads, probe, read_frames
from emo_affectnet.video_writer import VideoWriter


def error_of(path: Path) -> str:
    """The one sentence with which both functions refuse a file."""
    with pytest.raises(VideoError) as from_probe:
        probe(path)
    with pytest.raises(VideoError) as from_reading:
        next(read_frames(path))
    assert str(from_probe.value) == str(from_reading.value)
    return str(from_probe.value)


# Frames: order, index, time, colour


@pytest.mark.parametrize(
    ("name", "codec"),
    [
        ("clip.mp4", "libx264"),
        ("clip.mov", "mpeg4"),
        ("clip.mkv", "libx264"),
        ("clip.webm", "libvpx-vp9"),
        ("clip.avi", "mpeg4"),
        ("clip.ts", "libx264"),
    ],
)
def test_constant_2997_has_every_frame_in_order_on_its_own_time(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, name: str, codec: str
) -> None:
    path = make(tmp_path / name, map(coded, range(24)), codec=codec, rate=NTSC)
    frames = list(read_frames(path))
    assert [frame.index for frame in frames] == list(range(24))
    assert codes(frames) == list(range(24))
    assert frames[0].time == 0  # not the microsecond by which FFmpeg rounds the start of a container
    # half a millisecond, because mkv and webm keep no more
    np.testing.assert_allclose([frame.time for frame in frames], np.arange(24) * 1001 / 30000, atol=5.1e-4)

    info = probe(path)
    assert info.fps == 30000 / 1001
    assert (info.width, info.height, info.frame_count) == (64, 48, 24)
    assert info.duration == pytest.approx(24 * 1001 / 30000, abs=1e-3)
    assert info.is_constant_rate
    assert not info.has_audio
    assert info.path == path
    assert caplog.records == []


def test_flv_without_lengths_and_with_rounded_times_counts_as_constant(tmp_path: Path) -> None:
    info = probe(make(tmp_path / "clip.flv", map(coded, range(24)), codec="flv", rate=NTSC))
    assert info.fps == pytest.approx(30000 / 1001, rel=1e-3)
    assert info.duration == pytest.approx(24 * 1001 / 30000, abs=2e-3)
    assert info.is_constant_rate


@pytest.mark.parametrize("name", ["clip.mp4", "clip.mkv"])
def test_variable_times_are_kept_to_the_millisecond(tmp_path: Path, name: str) -> None:
    ticks = [0, 40, 80, 300, 310, 350, 900, 940, 2000, 2040]  # ms
    path = make(tmp_path / name, map(coded, range(10)), ticks=ticks)
    frames = list(read_frames(path))
    assert [frame.time for frame in frames] == [tick / 1000 for tick in ticks]
    assert codes(frames) == list(range(10))
    info = probe(path)
    assert not info.is_constant_rate
    assert info.fps == pytest.approx(9 / 2.04, rel=1e-9)
    assert info.duration is not None
    assert info.duration > 2.04


def test_one_dropped_frame_in_a_long_video_is_no_constant_rate(tmp_path: Path) -> None:
    ticks = [40 * index for index in range(60) if index not in (20, 21)]
    assert not probe(make(tmp_path / "clip.mkv", map(coded, range(58)), ticks=ticks)).is_constant_rate


def test_jitter_below_half_an_interval_is_constant_and_above_is_not(tmp_path: Path) -> None:
    for jitter, is_constant in ((19, True), (21, False)):  # ms of a 40 ms interval
        ticks = [40 * index + (jitter if index == 5 else 0) for index in range(10)]
        assert probe(make(tmp_path / "clip.mkv", map(coded, range(10)), ticks=ticks)).is_constant_rate == is_constant


def test_b_frames_come_in_the_order_of_presentation(tmp_path: Path) -> None:
    path = make(tmp_path / "clip.mp4", map(coded, range(20)), codec_options={"bf": "3", "b-adapt": "0"})
    with av.open(path) as container:
        stored = [packet.pts for packet in container.demux(video=0) if packet.pts is not None]
    assert stored != sorted(stored)  # or this test would test nothing
    frames = list(read_frames(path))
    assert codes(frames) == list(range(20))
    assert [frame.time for frame in frames] == pytest.approx([index / 25 for index in range(20)], abs=1e-9)


@pytest.mark.parametrize("name", ["clip.mp4", "clip.ts"])
def test_time_starts_at_zero_where_the_container_starts_late(tmp_path: Path, name: str) -> None:
    ticks = [500 + 40 * index for index in range(10)]
    path = make(tmp_path / name, map(coded, range(10)), ticks=ticks)
    with av.open(path) as container:
        assert container.start_time > 0
    assert [frame.time for frame in read_frames(path)] == [index / 25 for index in range(10)]
    assert probe(path).duration == pytest.approx(0.4)


@pytest.mark.parametrize("name", ["clip.mp4", "clip.ts"])
def test_picture_that_starts_after_the_sound_keeps_its_delay(tmp_path: Path, name: str) -> None:
    ticks = [500 + 40 * index for index in range(10)]
    path = make(tmp_path / name, map(coded, range(10)), ticks=ticks, sound_seconds=1)
    assert next(read_frames(path)).time == 0.5
    info = probe(path)
    assert info.has_audio
    assert info.duration == pytest.approx(0.5 + 0.4)


def test_raw_stream_without_times_is_spaced_by_its_rate(tmp_path: Path) -> None:
    path = make(tmp_path / "clip.h264", map(coded, range(6)))
    assert [frame.time for frame in read_frames(path)] == pytest.approx([index / 25 for index in range(6)])
    info = probe(path)
    assert (info.fps, info.duration, info.frame_count, info.is_constant_rate) == (25, pytest.approx(0.24), 6, True)


@pytest.mark.parametrize("rate", [1, 120])
def test_slow_and_fast_rates(tmp_path: Path, rate: int) -> None:
    path = make(tmp_path / "clip.mkv", map(coded, range(5)), rate=rate)
    assert probe(path).fps == rate
    assert probe(path).is_constant_rate
    assert [frame.time for frame in read_frames(path)] == pytest.approx([i / rate for i in range(5)], abs=5.1e-4)


def test_single_frame_is_a_video(tmp_path: Path) -> None:
    path = make(tmp_path / "clip.mp4", [coded(7)])
    (frame,) = read_frames(path)
    assert (frame.index, frame.time, codes([frame])) == (0, 0.0, [7])
    info = probe(path)
    assert (info.frame_count, info.fps, info.duration, info.is_constant_rate) == (1, 25.0, 0.04, True)


def test_gif_is_a_video(tmp_path: Path) -> None:
    path = make(tmp_path / "clip.gif", map(coded, range(5)), codec="gif", pix_fmt="gray")
    assert codes(read_frames(path)) == list(range(5))


def test_frames_cut_off_by_an_edit_list_are_neither_read_nor_counted(tmp_path: Path) -> None:
    # what a phone writes when a clip is trimmed: the packets stay in the file
    path = make(tmp_path / "clip.mp4", map(coded, range(12)), codec_options={"bf": "0", "g": "50"})
    data = bytearray(path.read_bytes())
    media_time = data.index(b"elst") + 16  # after type, version and flags, entry count, segment duration
    (before,) = struct.unpack_from(">i", data, media_time)
    struct.pack_into(">i", data, media_time, before + 4 * 512)  # 512 ticks of 1/12800 s per frame
    path.write_bytes(data)
    assert codes(read_frames(path)) == list(range(4, 12))
    assert probe(path).frame_count == 8


# Pixels


@pytest.mark.parametrize(
    ("codec", "pix_fmt"),
    [
        ("libx264", "yuv420p"),
        ("libx264", "yuv420p10le"),
        ("ffv1", "yuva420p"),
        ("mjpeg", "yuvj420p"),  # full range
        ("png", "rgba"),
        ("png", "rgb48be"),
    ],
)
def test_image_is_rgb_whatever_the_file_keeps(tmp_path: Path, codec: str, pix_fmt: str) -> None:
    path = make(tmp_path / "clip.nut", [quadrants()] * 2, codec=codec, pix_fmt=pix_fmt)
    image = next(read_frames(path)).image
    assert image.dtype == np.uint8
    assert image.flags.c_contiguous
    corners = image[[8, 8, 40, 40], [8, 56, 8, 56]].astype(int)
    expected = [[255, 0, 0], [0, 255, 0], [0, 0, 255], [255, 255, 255]]
    np.testing.assert_allclose(corners, expected, atol=COLOUR_TOLERANCE)


def test_colours_follow_the_matrix_that_the_file_names(tmp_path: Path) -> None:
    path = tmp_path / "clip.mp4"
    options = {"x264-params": "colormatrix=bt709"}
    with av.open(path, "w") as container:
        video = container.add_stream("libx264", rate=25, options=options, width=64, height=48, pix_fmt="yuv420p")
        picture = av.VideoFrame.from_ndarray(quadrants(), format="rgb24")
        picture = picture.reformat(format="yuv420p", dst_colorspace="ITU709")
        container.mux(video.encode(picture) + video.encode(None))
    image = next(read_frames(path)).image
    # read by the older BT.601 matrix, this green would have 30 levels of red missing or added
    np.testing.assert_allclose(image[[8, 8], [8, 56]], [[255, 0, 0], [0, 255, 0]], atol=COLOUR_TOLERANCE)


@pytest.mark.parametrize(("codec", "pix_fmt"), [("ffv1", "gray"), ("png", "gray"), ("libx264", "gray10le")])
def test_grey_video_has_three_equal_channels(tmp_path: Path, codec: str, pix_fmt: str) -> None:
    frames = list(read_frames(make(tmp_path / "clip.nut", map(coded, range(5)), codec=codec, pix_fmt=pix_fmt)))
    stored = [20 + LEVEL_STEP * index for index in range(5)]
    # H.264 stores 16 for black and 235 for white where it is not told otherwise
    shown = [(level - 16) * 255 / 219 for level in stored] if codec == "libx264" else stored
    assert [frame.image.mean() for frame in frames] == pytest.approx(shown, abs=2.5)
    for frame in frames:
        assert frame.image.shape == (48, 64, 3)
        assert np.ptp(frame.image.astype(int), axis=2).max() == 0


@pytest.mark.parametrize(
    ("codec", "pix_fmt", "size"),
    [
        ("png", "rgb24", (1, 1)),
        ("png", "rgb24", (1, 40)),
        ("png", "rgb24", (17, 13)),
        ("ffv1", "yuv420p", (1, 1)),
        ("ffv1", "yuv420p", (17, 13)),
        ("libx264", "yuv444p", (17, 13)),
    ],
)
def test_odd_sizes_keep_every_pixel(tmp_path: Path, codec: str, pix_fmt: str, size: tuple[int, int]) -> None:
    images = [coded(index, size) for index in range(3)]
    path = make(tmp_path / "clip.nut", images, codec=codec, pix_fmt=pix_fmt)
    assert (probe(path).width, probe(path).height) == size
    for frame, image in zip(read_frames(path), images, strict=True):
        np.testing.assert_allclose(frame.image.astype(int), image.astype(int), atol=2)


@pytest.mark.parametrize("turns", [0, 1, 2, 3], ids=lambda turns: f"{90 * turns} degrees")
@pytest.mark.parametrize("is_mirrored", [False, True], ids=["plain", "mirrored"])
def test_turned_video_is_upright_in_size_and_image(tmp_path: Path, turns: int, is_mirrored: bool) -> None:
    shown = quadrants()
    # PyAV writes "turn counter-clockwise, then mirror left to right"; this undoes both to get what is stored
    stored = np.rot90(shown[:, ::-1] if is_mirrored else shown, -turns)
    path = make(tmp_path / "clip.mp4", [np.ascontiguousarray(stored)] * 2, rotation=(90 * turns, is_mirrored, False))
    assert (probe(path).width, probe(path).height) == (64, 48)
    image = next(read_frames(path)).image
    assert image.flags.c_contiguous
    sampled = image[[8, 8, 40, 40], [8, 56, 8, 56]].astype(int)
    np.testing.assert_allclose(sampled, shown[[8, 8, 40, 40], [8, 56, 8, 56]], atol=COLOUR_TOLERANCE)


def test_portrait_video_of_a_phone_is_turned_clockwise(tmp_path: Path) -> None:
    # the matrix in the track header of a phone held upright (QuickTime File Format, "Matrices"): 0 1 0, -1 0 0, 0 0 1
    path = make(tmp_path / "clip.mp4", [quadrants()] * 2)
    data = bytearray(path.read_bytes())
    one = 1 << 16
    matrix = data.index(b"tkhd") + 4 + 40
    assert struct.unpack_from(">9i", data, matrix) == (one, 0, 0, 0, one, 0, 0, 0, 1 << 30)
    struct.pack_into(">9i", data, matrix, 0, one, 0, -one, 0, 0, 0, 0, 1 << 30)
    path.write_bytes(data)
    image = next(read_frames(path)).image
    assert image.shape == (64, 48, 3)
    np.testing.assert_allclose(image[[8, 8], [8, 40]], [[0, 0, 255], [255, 0, 0]], atol=COLOUR_TOLERANCE)


def test_motion_jpeg_with_exif_is_upright(tmp_path: Path) -> None:
    # PyAV raises for side data that it has no name for, and FFmpeg hands the EXIF block of each picture on as such
    orientation = struct.pack("<HHII", 0x0112, 3, 1, 6)  # 6: turn a quarter clockwise to show
    tiff = b"II*\0" + struct.pack("<IH", 8, 1) + orientation + struct.pack("<I", 0)
    block = b"Exif\0\0" + tiff
    jpeg = picture_bytes("mjpeg", "yuvj420p")
    jpeg = jpeg[:2] + b"\xff\xe1" + struct.pack(">H", len(block) + 2) + block + jpeg[2:]
    path = tmp_path / "clip.mkv"
    with av.open(path, "w") as container:
        video = container.add_stream("mjpeg", rate=25, width=64, height=48, pix_fmt="yuvj420p")
        for index in range(3):
            packet = av.Packet(jpeg)
            packet.pts = packet.dts = index
            packet.time_base, packet.stream, packet.is_keyframe = Fraction(1, 25), video, True
            container.mux(packet)
    image = next(read_frames(path)).image
    assert image.shape == (64, 48, 3)
    np.testing.assert_allclose(image[[8, 8], [8, 40]], [[0, 0, 255], [255, 0, 0]], atol=COLOUR_TOLERANCE)


# Frame: lazy, light


def test_image_is_converted_once_and_only_when_looked_at(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    converted = []
    monkeypatch.setattr(
        "emo_affectnet.video._upright_rgb", lambda picture, _: converted.append(picture.pts) or quadrants()
    )
    frames = list(read_frames(make(tmp_path / "clip.mkv", map(coded, range(5)))))
    assert converted == []
    assert frames[3].image is frames[3].image
    assert converted == [120]  # ms


def test_frame_can_be_made_of_an_array() -> None:
    frame = Frame(3, 0.125, quadrants()[:, ::-1])
    assert (frame.index, frame.time) == (3, 0.125)
    np.testing.assert_array_equal(frame.image, quadrants()[:, ::-1])
    assert frame.image.flags.c_contiguous


@pytest.mark.parametrize(
    "image", [np.zeros((4, 4), np.uint8), np.zeros((4, 4, 4), np.uint8), np.zeros((4, 4, 3)), np.zeros((0, 4, 3), "u1")]
)
def test_frame_of_anything_but_an_rgb_image_is_refused(image: np.ndarray) -> None:
    with pytest.raises(UsageError, match=r"uint8 \(H, W, 3\)"):
        Frame(0, 0.0, image)


def test_reader_holds_on_to_no_frame(tmp_path: Path) -> None:
    path = make(tmp_path / "clip.mkv", map(coded, range(300)), codec_options={"preset": "ultrafast"})
    alive: list[weakref.ref[Frame]] = []
    most = 0
    for frame in read_frames(path):
        alive = [reference for reference in alive if reference() is not None]
        alive.append(weakref.ref(frame))
        most = max(most, len(alive))
    assert frame.index == 299
    assert most <= 2  # this one, and the last one until the name is bound anew


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
def test_file_is_closed_when_the_reader_is_closed_early_exhausted_or_refused(tmp_path: Path) -> None:
    path = make(tmp_path / "clip.mkv", map(coded, range(30)))
    frames = read_frames(path)
    next(frames)
    assert str(path) in open_descriptors()
    frames.close()
    assert str(path) not in open_descriptors()
    assert len(list(read_frames(path))) == probe(path).frame_count == 30
    assert str(path) not in open_descriptors()
    path.write_bytes(b"text\n" * 100)
    error_of(path)
    assert str(path) not in open_descriptors()


# Streams


def test_cover_art_is_no_video(tmp_path: Path) -> None:
    path = tmp_path / "song.mp4"
    with av.open(path, "w") as container:
        audio = container.add_stream("aac", rate=8000, layout="mono")
        cover = container.add_stream("png", rate=1, width=64, height=48, pix_fmt="rgb24")
        cover.disposition = av.stream.Disposition.attached_pic
        container.mux(cover.encode(av.VideoFrame.from_ndarray(quadrants(), format="rgb24")))
        sound = av.AudioFrame.from_ndarray(np.zeros((1, 8000), np.float32), format="fltp", layout="mono")
        sound.sample_rate = 8000
        container.mux(audio.encode(sound) + audio.encode(None))
    with av.open(path) as container:
        assert container.streams.video[0].disposition & av.stream.Disposition.attached_pic
    assert "only sound" in error_of(path)


def test_a_look_at_the_packets_gives_a_sign_of_life_for_each(tmp_path: Path) -> None:
    path, signs = make(tmp_path / "clip.mp4", map(coded, range(5))), []
    probe(path, on_packet=lambda: signs.append(len(signs)))
    assert len(signs) == 5 + 1  # the last one empties the decoder


@pytest.mark.parametrize(
    ("size", "cores", "threads"),
    [
        ((1920, 1080), 4, 8),  # two for each core
        ((3840, 2160), 64, 16),  # no more than 16 frames at once
        ((7680, 4320), 64, 4),  # nor than 2^27 px
        ((8192, 8192), 64, 2),
        ((0, 0), 2, 4),  # not known yet
    ],
)
def test_threads_of_the_decoder_are_fewer_where_pictures_are_large(
    size: tuple[int, int], cores: int, threads: int
) -> None:
    width, height = size
    stream = SimpleNamespace(codec_context=SimpleNamespace(width=width, height=height))
    assert _count_threads(stream, cores=cores) == threads


def test_sound_is_seen(tmp_path: Path) -> None:
    assert probe(make(tmp_path / "clip.mp4", map(coded, range(5)), sound_seconds=0.2)).has_audio


def test_title_in_a_national_code_is_no_reason_to_refuse(tmp_path: Path) -> None:
    path = tmp_path / "clip.mp4"
    with VideoWriter(path, width=64, height=48, fps=25) as writer:
        writer.write(coded(0))
    data = path.read_bytes()
    encoder = data.index(b"Lavf")
    path.write_bytes(data[:encoder] + b"\xc4\xd6\xdc\xff" + data[encoder + 4 :])
    with av.open(path, metadata_errors="ignore") as container:
        assert not container.metadata["encoder"].startswith("Lavf")
    assert probe(path).frame_count == 1


# Damage


@pytest.mark.parametrize("codec", ["mpeg4", "mjpeg", "ffv1"])
def test_damaged_packet_is_skipped_with_one_warning(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, codec: str
) -> None:
    pix_fmt = "yuvj420p" if codec == "mjpeg" else "yuv420p"
    images = map(coded, range(16))
    options = {"g": "1", "qmin": "1", "qmax": "2"}
    path = make(tmp_path / "clip.mkv", images, codec=codec, pix_fmt=pix_fmt, codec_options=options, damaged=(3, 7))
    with caplog.at_level(logging.WARNING, "emo_affectnet"):
        frames = list(read_frames(path))
    assert codes(frames) == [index for index in range(16) if index not in (3, 7)]
    assert [frame.index for frame in frames] == list(range(14))
    assert [round(frame.time * 25) for frame in frames] == [index for index in range(16) if index not in (3, 7)]
    assert [record.getMessage() for record in caplog.records] == [f'"{path}": 2 of 16 packets gave no frame; skipped.']


def test_vp9_goes_on_at_the_next_key_frame_after_damage(tmp_path: Path) -> None:
    # the decoder answered "try again" to each packet after the damage, so that the rest of the video was lost
    options = {"g": "10", "auto-alt-ref": "0"}
    images = map(coded, range(24))
    path = make(tmp_path / "clip.webm", images, codec="libvpx-vp9", codec_options=options, damaged=(3, 4, 5, 6))
    assert codes(read_frames(path))[-14:] == list(range(10, 24))


def test_a_stream_that_begins_late_in_the_file_changes_nothing(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    # PyAV stumbled, at the end of the file, over the sound that nobody had announced at its beginning
    path = make(tmp_path / "clip.flv", map(coded, range(200)), codec="flv")
    head = bytes([8, 0, 0, 64, *(8000).to_bytes(3, "big"), 0, 0, 0, 0])  # sound, 64 bytes, at 8 s
    path.write_bytes(path.read_bytes() + head + b"\x2e" + bytes(63) + (75).to_bytes(4, "big") + bytes(11))
    with caplog.at_level(logging.WARNING, "emo_affectnet"):
        assert probe(path).frame_count == 200
        assert [frame.index for frame in read_frames(path)] == list(range(200))
    assert not caplog.records


@pytest.mark.parametrize("matrix", [3, 8, 14])  # a reserved number, YCgCo, ICtCp
def test_a_matrix_that_ffmpeg_cannot_undo_is_taken_for_that_of_television(matrix: int) -> None:
    picture = av.VideoFrame.from_ndarray(quadrants(), format="rgb24").reformat(format="yuv420p")
    picture.colorspace = matrix
    assert np.abs(Frame(0, 0.0, picture).image.astype(int) - quadrants())[8, 8].max() <= COLOUR_TOLERANCE


def test_file_cut_short_gives_what_is_left(tmp_path: Path) -> None:
    path = tmp_path / "clip.mp4"
    with VideoWriter(path, width=64, height=48, fps=25) as writer:  # puts the index first
        for index in range(20):
            writer.write(coded(index))
    with av.open(path) as container:
        places = sorted(packet.pos for packet in container.demux(video=0) if packet.size)
    path.write_bytes(path.read_bytes()[: places[12]])
    frames = list(read_frames(path))
    info = probe(path)
    assert info.frame_count == 12
    assert 9 <= len(frames) <= 12  # the last ones may refer to a frame that is gone
    assert codes(frames)[:9] == list(range(9))
    assert [frame.index for frame in frames] == list(range(len(frames)))


def test_disk_that_fails_half_way_gives_what_came_before(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    rng = np.random.default_rng(0)
    images = [coded(index) + rng.integers(0, 6, (48, 64, 3), np.uint8) - 3 for index in range(25)]
    path = make(tmp_path / "clip.mkv", images)
    limit = path.stat().st_size // 2

    class FailingDisk(FileIO):
        def read(self, size: int | None = -1, /) -> bytes:
            if self.tell() > limit:
                raise OSError(5, "Input/output error")
            return super().read(size)

    monkeypatch.setattr("emo_affectnet.containers._READ_SIZE", 1024)
    monkeypatch.setattr("emo_affectnet.containers._open_file", lambda path: FailingDisk(path))
    frames = list(read_frames(path))
    assert 8 <= len(frames) < 25
    assert codes(frames) == list(range(len(frames)))
    assert probe(path).frame_count == len(frames)
    assert "Input/output error" in caplog.text
    assert str(path) in caplog.text


def test_place_before_the_first_byte_is_answered_with_a_number(tmp_path: Path) -> None:
    # an exception here would be printed by PyAV, not raised: damaged wmv files ask for such places
    (tmp_path / "file").write_bytes(b"abc")
    with open(tmp_path / "file", "rb", buffering=0) as file:
        assert _Bytes(file).seek(-5, os.SEEK_SET) < 0


def test_ffmpeg_writes_nothing_to_the_terminal(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    path = make(tmp_path / "clip.mkv", map(coded, range(8)), codec="mpeg4", damaged=(3,))
    list(read_frames(path))
    path.write_bytes(path.read_bytes()[:60])
    error_of(path)
    captured = capfd.readouterr()
    assert (captured.out, captured.err) == ("", "")


# What is no video: one sentence with the name, what was found and what to do


def zero_bytes(path: Path) -> None:
    path.write_bytes(b"")


def plain_text(path: Path) -> None:
    path.write_bytes(b"this is not a video\n" * 50)


def noise(path: Path) -> None:
    path.write_bytes(np.random.default_rng(0).bytes(20_000))


def mp4_without_index(path: Path) -> None:
    make(path, map(coded, range(10)), container_format="mp4")
    data = path.read_bytes()
    path.write_bytes(data[: data.index(b"moov") - 4])


def only_sound(path: Path) -> None:
    make_sound(path)


def subtitles(path: Path) -> None:
    path.write_bytes(b"1\n00:00:01,000 --> 00:00:02,000\nhello\n\n")


def jpeg(path: Path) -> None:
    path.write_bytes(picture_bytes("mjpeg", "yuvj420p"))


def png(path: Path) -> None:
    path.write_bytes(picture_bytes("png", "rgb24"))


def lfs_pointer(path: Path) -> None:
    path.write_bytes(b"version https://git-lfs.github.com/spec/v1\noid sha256:00\nsize 12345\n")


def unknown_codec(path: Path) -> None:
    make(path, map(coded, range(3)), container_format="mp4")
    path.write_bytes(path.read_bytes().replace(b"avc1\0", b"zzzz\0"))


def all_packets_damaged(path: Path) -> None:
    make(path, map(coded, range(5)), codec="mpeg4", container_format="matroska", damaged=range(5))


def no_frames(path: Path) -> None:
    with av.open(path, "w") as container:
        container.add_stream("mpeg4", rate=25, width=64, height=48, pix_fmt="yuv420p")
        container.start_encoding()


@pytest.mark.parametrize(
    ("name", "write", "words"),
    [
        ("empty.mp4", zero_bytes, ["is empty", "again"]),
        ("text.mp4", plain_text, ["no known video format", "mp4"]),
        ("noise.avi", noise, ["no known video format"]),
        ("cut.mp4", mp4_without_index, ["moov", "cut short", "again"]),
        ("sound.mp4", only_sound, ["only sound"]),
        ("text.srt", subtitles, ["neither picture nor sound"]),
        ("face.jpg", jpeg, ["picture", "jpeg"]),
        ("face.png", png, ["picture", "png"]),
        ("face%03d.jpg", jpeg, ["picture", "jpeg"]),  # FFmpeg's pattern for a series of pictures
        ("video.mp4", jpeg, ["picture", "jpeg"]),
        ("pointer.mp4", lfs_pointer, ["git-lfs", "git lfs pull"]),
        ("codec.mp4", unknown_codec, ["decoder", "H.264"]),
        ("damaged.mkv", all_packets_damaged, ["none of its frames"]),
        ("frameless.avi", no_frames, ["none of its frames"]),
    ],
)
def test_what_is_no_video_is_named_with_what_was_found(tmp_path: Path, name: str, write, words: list[str]) -> None:
    path = tmp_path / name
    write(path)
    message = error_of(path)
    assert message.startswith(f'Expected a video in "{path}", but ')
    for word in words:
        assert word in message


def test_missing_file_and_folder_are_named(tmp_path: Path) -> None:
    assert "no such file" in error_of(tmp_path / "missing.mp4")
    assert str(tmp_path / "missing.mp4") in error_of(tmp_path / "missing.mp4")
    assert "is a folder" in error_of(tmp_path)


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="needs named pipes")
def test_pipe_is_refused_instead_of_waited_for(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe.mp4")
    assert "pipe" in error_of(tmp_path / "pipe.mp4")


def test_name_too_long_for_the_system_is_our_error(tmp_path: Path) -> None:
    assert "cannot be opened" in error_of(tmp_path / ("x" * 300))


def test_foreign_error_is_the_cause(tmp_path: Path) -> None:
    plain_text(tmp_path / "text.mp4")
    with pytest.raises(VideoError) as caught:
        probe(tmp_path / "text.mp4")
    assert isinstance(caught.value.__cause__, av.FFmpegError)


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("list.m3u8", "#EXTM3U\n#EXT-X-TARGETDURATION:9\n#EXTINF:9,\nsecret.mp4\n#EXT-X-ENDLIST\n"),
        ("list.mp4", "ffconcat version 1.0\nfile secret.mp4\n"),
        (
            "list.mpd",
            '<?xml version="1.0"?><MPD xmlns="urn:mpeg:dash:schema:mpd:2011" type="static" '
            'profiles="urn:mpeg:dash:profile:isoff-main:2011"><Period><AdaptationSet mimeType="video/mp4">'
            '<Representation id="1" bandwidth="1"><BaseURL>secret.mp4</BaseURL></Representation></AdaptationSet>'
            "</Period></MPD>",
        ),
        ("list.sdp", "v=0\no=- 0 0 IN IP4 127.0.0.1\ns=x\nc=IN IP4 127.0.0.1\nt=0 0\nm=video 5004 RTP/AVP 96\n"),
    ],
)
@pytest.mark.parametrize("is_recognised", [True, False])
def test_playlist_opens_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str, text: str, is_recognised: bool
) -> None:
    make(tmp_path / "secret.mp4", map(coded, range(5)))
    (tmp_path / name).write_text(text)
    monkeypatch.chdir(tmp_path)
    if not is_recognised:  # the second lock, for the scripts that the first does not know
        monkeypatch.setattr("emo_affectnet.containers._POINTERS", {})
    error_of(Path(name))
    if is_recognised and not name.endswith(("mpd", "sdp")):
        assert "playlist" in error_of(Path(name))


@pytest.mark.parametrize(
    "name",
    [
        "two words.mp4",
        'it\'s "quoted".mp4',
        "Gesicht-лицо-顔-é.mp4",
        "-i.mp4",
        "12:30.mp4",
        "100%.mp4",
        "frame%03d.mp4",
        "concat:a.mp4",
        "http:x.mp4",
        "pipe:0",
        "glob*[1]?.mp4",
        "no_suffix",
        "wrong.jpg",
        "wrong.txt",
    ],
)
@pytest.mark.skipif(sys.platform == "win32", reason="Windows forbids such names")
def test_any_file_name_works(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    monkeypatch.chdir(tmp_path)
    with VideoWriter(name, width=64, height=48, fps=25) as writer:
        for index in range(3):
            writer.write(coded(index))
    assert os.listdir(tmp_path) == [name]
    assert codes(read_frames(name)) == [0, 1, 2]
    assert probe(name).path == Path(name)


def test_import_leaves_ffmpegs_log_level_alone() -> None:
    assert av.logging.get_level() is None


def test_a_recording_cut_short_is_known_by_its_index(tmp_path: Path) -> None:
    """The index at the start of a faststart mp4 promises 200 frames; a download that broke off holds fewer."""
    path = tmp_path / "a.mp4"
    noise = np.random.default_rng(0).integers(0, 256, (64, 64, 3), dtype=np.uint8)
    with VideoWriter(path, width=64, height=64, fps=25) as writer:
        for index in range(200):
            writer.write(np.roll(noise, index, axis=1))
    assert probe(path).is_complete
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    info = probe(path)
    assert not info.is_complete
    assert info.frame_count is not None
    assert 0 < info.frame_count < 200


# Resources


def test_prefetched_file_is_closed_with_its_reader(tmp_path: Path) -> None:
    make(tmp_path / "clip.mp4", map(coded, range(60)))
    frames = prefetch(read_frames(tmp_path / "clip.mp4"), depth=2)
    next(frames)
    frames.close()
    assert not {name for name in open_descriptors() if "clip.mp4" in name}


def test_pictures_are_let_go_without_the_garbage_collector(tmp_path: Path) -> None:
    """Side data ties a picture of PyAV to itself; 150 pictures of 720p, 400 MB, waited for the collector."""
    make(tmp_path / "clip.mp4", map(coded, range(30)))
    script = """
import gc, sys, av
from emo_affectnet.video import read_frames
gc.disable()
for frame in read_frames(sys.argv[1]):
    frame.image
del frame
print(sum(isinstance(each, av.VideoFrame) for each in gc.get_objects()))
"""
    done = subprocess.run(
        [sys.executable, "-c", script, str(tmp_path / "clip.mp4")], capture_output=True, text=True, check=True
    )
    assert int(done.stdout) <= 1  # the first one's side data says how to turn them all
