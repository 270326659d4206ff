"""Passing over frames that nobody looks at: the others are what they were, bit for bit, and every frame is there."""

from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest
from conftest import MakeVideo
from video_files import make

from emo_affectnet import video as module
from emo_affectnet.errors import UsageError
from emo_affectnet.recognizer import EmotionRecognizer
from emo_affectnet.timeline import sample_frames
from emo_affectnet.video import Frame, expect_frames, probe, read_frames

FRAMES = 60
CODECS = {  # how to encode, and whether FFmpeg can pass over some of its frames
    "H.264": (dict(codec="libx264"), True),
    "H.264 without references": (dict(codec="libx264", codec_options={"bf": "0"}), False),
    "H.264, pyramid, open GOP": (
        dict(codec="libx264", codec_options={"x264-params": "bframes=5:b-pyramid=normal:open-gop=1:keyint=12"}),
        True,
    ),
    "HEVC": (dict(codec="libx265", codec_options={"x265-params": "log-level=none:bframes=4"}), True),
    "MPEG-4": (dict(codec="mpeg4", codec_options={"bf": "2"}), True),
    "MPEG-2": (dict(codec="mpeg2video", codec_options={"bf": "2"}), True),
    "VP8": (dict(codec="libvpx"), False),
    "VP9 with hidden frames": (
        dict(codec="libvpx-vp9", codec_options={"lag-in-frames": "16", "auto-alt-ref": "1", "cpu-used": "8"}),
        False,
    ),
    "AV1": (dict(codec="libsvtav1", codec_options={"preset": "12"}), False),
    "MJPEG": (dict(codec="mjpeg", pix_fmt="yuvj420p"), False),
    "FFV1": (dict(codec="ffv1"), False),
}
SUFFIXES = {"VP8": ".webm", "VP9 with hidden frames": ".webm", "FFV1": ".mkv", "MPEG-2": ".ts"}


def images(count: int = FRAMES) -> list[np.ndarray]:
    """Pictures with something that moves, on grain: encoders refer from one to the other."""
    random = np.random.default_rng(0)
    ground = random.integers(60, 190, (64, 96, 3)).astype(np.uint8)
    pictures = []
    for index in range(count):
        picture = ground.copy()
        picture[20:40, index : index + 20] = (250, 20, 4 * (index % 60))
        pictures.append(picture)
    return pictures


def encode(path: Path, **options: object) -> Path:
    try:
        return make(path, images(), **options)
    except (av.FFmpegError, av.codec.codec.UnknownCodecError) as error:
        pytest.skip(f"PyAV has no such encoder here: {error}")


def assert_same(path: Path, chosen: slice | np.ndarray) -> int:
    """Compare what is read with and without passing over; return how many frames were passed over."""
    plain = list(read_frames(path))
    stamps = probe(path).stamps
    assert stamps is not None
    wanted = set(stamps[chosen].tolist())
    frames = list(read_frames(path, wanted=wanted))
    assert [frame.index for frame in frames] == list(range(len(plain)))
    assert [frame.time for frame in frames] == [frame.time for frame in plain]
    for stamp, expected, frame in zip(stamps.tolist(), plain, frames, strict=True):
        if stamp in wanted:
            np.testing.assert_array_equal(frame.image, expected.image)
    return sum(frame.source is None for frame in frames)


@pytest.mark.parametrize("name", CODECS)
def test_wanted_frames_are_the_same_bit_for_bit_and_no_frame_is_lost(name: str, tmp_path: Path) -> None:
    options, can_pass = CODECS[name]
    path = encode(tmp_path / f"clip{SUFFIXES.get(name, '.mp4')}", **options)
    assert (assert_same(path, slice(None, None, 6)) > 0) == can_pass
    assert_same(path, np.random.default_rng(1).choice(FRAMES, 9, replace=False))
    assert_same(path, slice(0, 0))


@pytest.mark.parametrize("threads", [1, 2, 8])
def test_threads_change_nothing(threads: int, tmp_path: Path) -> None:
    path = make(tmp_path / "clip.mp4", images())
    wanted = set(probe(path).stamps[::7].tolist())
    expected = [frame.image for frame in read_frames(path) if frame.index % 7 == 0]
    seen = [frame for frame in read_frames(path, wanted=wanted, threads=threads) if frame.index % 7 == 0]
    np.testing.assert_array_equal([frame.image for frame in seen], expected)


@pytest.mark.parametrize("threads", [1, 2, 8])
def test_end_of_a_cut_file_costs_no_whole_frame(threads: int, make_video: MakeVideo) -> None:
    """Whatever the number of threads, the frames are those of the packets before the one that is cut through."""
    path = make_video("clip.mp4", frames=200, size=(160, 120))  # its index comes first
    whole = path.read_bytes()
    for share in (0.65, 0.7, 0.9):
        path.write_bytes(whole[: int(len(whole) * share)])
        stamps = probe(path).stamps
        assert stamps is not None
        assert 0 < len(stamps) < 200
        for wanted in (None, set(stamps[::5].tolist())):
            frames = list(read_frames(path, wanted=wanted, threads=threads))
            assert [frame.time for frame in frames] == [frame.time for frame in expect_frames(probe(path))]


def test_variable_rate_and_rotation_stay_exact(tmp_path: Path) -> None:
    ticks = np.cumsum(np.random.default_rng(2).integers(20, 90, FRAMES)).tolist()
    path = make(tmp_path / "clip.mp4", images(), ticks=ticks, rotation=(90, False, False))
    assert assert_same(path, slice(3, None, 5)) > 0


def test_times_expected_from_packets_are_those_of_the_frames(tmp_path: Path) -> None:
    path = make(tmp_path / "clip.mp4", images(), rate=Fraction(30000, 1001), sound_seconds=1)
    info = probe(path)
    assert [(frame.index, frame.time) for frame in expect_frames(info)] == [
        (frame.index, frame.time) for frame in read_frames(path)
    ]


def test_stream_without_times_is_decoded_whole(tmp_path: Path) -> None:
    path = make(tmp_path / "clip.h264", images(), container_format="h264")
    assert probe(path).stamps is None
    assert list(expect_frames(probe(path))) == []


def test_interlaced_video_is_decoded_whole(tmp_path: Path) -> None:
    options = {"x264-params": "interlaced=1:bframes=2"}
    path = make(tmp_path / "clip.mp4", images(), codec_options=options)
    assert probe(path).stamps is None


def test_frame_that_was_passed_over_says_so(tmp_path: Path) -> None:
    path = make(tmp_path / "clip.mp4", images())
    frame = next(frame for frame in read_frames(path, wanted=set()) if frame.source is None)
    with pytest.raises(UsageError, match=rf"Frame {frame.index} was passed over undecoded"):
        _ = frame.image


def test_damage_is_as_it_was(tmp_path: Path) -> None:
    path = make(tmp_path / "clip.mp4", images(), damaged=range(20, 26))
    plain = {frame.time: frame.image for frame in read_frames(path)}
    wanted = set(probe(path).stamps[::5].tolist())
    frames = list(read_frames(path, wanted=wanted))
    assert [frame.index for frame in frames] == list(range(len(frames)))
    assert np.all(np.diff([frame.time for frame in frames]) > 0)
    for frame in frames:
        if frame.source is not None and frame.time in plain:
            np.testing.assert_array_equal(frame.image, plain[frame.time])


def test_recognizer_passes_over_what_it_does_not_sample(
    fake_recognizer: EmotionRecognizer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = make(tmp_path / "clip.mp4", images(), rate=30)
    seen: list[Frame] = []
    read = module.read_frames

    def note(*args: object, **options: object):
        for frame in read(*args, **options):
            seen.append(frame)
            yield frame

    monkeypatch.setattr("emo_affectnet.recognizer.read_frames", note)
    timeline = fake_recognizer.predict(path)
    assert len(timeline.times) == len(seen) == FRAMES
    assert sum(frame.source is None for frame in seen) >= FRAMES / 4
    assert fake_recognizer._detect.calls == len(list(sample_frames(expect_frames(probe(path)), probe(path))))


def test_video_whose_samples_are_moved_by_damage_is_read_again_whole(
    fake_recognizer: EmotionRecognizer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = make(tmp_path / "clip.mp4", images(), rate=30)
    whole = fake_recognizer.predict(path)
    asked: list[object] = []
    read = module.read_frames

    def lose_one(name: Path, *, wanted: object = None, threads: int | None = None):
        asked.append(wanted)
        for frame in read(name, wanted=wanted, threads=threads):
            if frame.index != 3:
                yield Frame(frame.index - (frame.index > 3), frame.time, frame.source, frame.orientation)

    monkeypatch.setattr("emo_affectnet.recognizer.read_frames", lose_one)
    timeline = fake_recognizer.predict(path)
    assert len(asked) == 2
    assert asked[1] is None
    assert len(timeline.times) == len(whole.times) - 1
