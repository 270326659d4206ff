"""Single frames at given times are those of full decoding, bit for bit, and cost no more than they need."""

import subprocess
import sys
import weakref
from collections.abc import Iterator
from pathlib import Path

import av
import numpy as np
import pytest
from video_files import NTSC, make, make_sound, open_descriptors, quadrants

from emo_affectnet import seeking
from emo_affectnet.errors import UsageError, VideoError
from emo_affectnet.seeking import index_frames, read_frames_at
from emo_affectnet.video import Frame, read_frames

FRAMES = 48
GOP = 12  # frames from key frame to key frame
X264 = f"keyint={GOP}:min-keyint={GOP}:scenecut=0:bframes=3:b-adapt=0"
OPEN = {"x264-params": f"{X264}:open-gop=1"}
CLOSED = {"x264-params": X264}
REFRESH = {"x264-params": f"keyint={GOP}:intra-refresh=1:scenecut=0"}  # no picture after the first is whole by itself


def scene(count: int = FRAMES, *, size: tuple[int, int] = (64, 48)) -> Iterator[np.ndarray]:
    """A texture that moves: a frame that is decoded without its references looks wrong."""
    texture = np.random.default_rng(0).integers(0, 255, (size[1] // 2, size[0] // 2, 3)).astype(np.uint8)
    texture = texture.repeat(4, axis=0).repeat(4, axis=1)
    for index in range(count):
        yield np.ascontiguousarray(np.roll(texture, (index, 2 * index), (0, 1))[: size[1], : size[0]])


@pytest.fixture
def decoded(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """The PTS of every packet that is decoded on the way to single frames."""
    stamps: list[int] = []
    decode = seeking.decode_packet

    def note(packet: av.Packet) -> list[av.VideoFrame]:
        if packet.size:
            stamps.append(packet.pts)
        return decode(packet)

    monkeypatch.setattr(seeking, "decode_packet", note)
    return stamps


@pytest.fixture
def full_reads(monkeypatch: pytest.MonkeyPatch) -> list[Path]:
    """The videos that had to be decoded from their beginning after all."""
    paths: list[Path] = []

    def note(path: Path) -> Iterator[Frame]:
        paths.append(path)
        return read_frames(path)

    monkeypatch.setattr(seeking, "read_frames", note)
    return paths


def check(path: Path, times: list[float]) -> list[Frame]:
    """Compare the frames at `times` with those of full decoding, and return them."""
    frames = list(read_frames(path))
    clock = np.array([frame.time for frame in frames])
    found = list(read_frames_at(path, times))
    expected = [frames[int(np.abs(clock - time).argmin())] for time in times]  # argmin takes the earlier of two
    assert [(frame.index, frame.time) for frame in found] == [(frame.index, frame.time) for frame in expected]
    for one, other in zip(found, expected, strict=True):
        np.testing.assert_array_equal(one.image, other.image)
    return found


VIDEOS = {
    "B-frames": ("clip.mp4", "libx264", CLOSED),
    "open GOP": ("clip.mp4", "libx264", OPEN),
    "open GOP in Matroska": ("clip.mkv", "libx264", OPEN),
    "a stream without an index": ("clip.ts", "libx264", OPEN),
    "MPEG-2 with B-frames": ("clip.mpg", "mpeg2video", {"bf": "2", "g": str(GOP)}),
    "MPEG-4 in AVI": ("clip.avi", "mpeg4", {"bf": "2", "g": str(GOP)}),
    "VP9 with frames that are never shown": ("clip.webm", "libvpx-vp9", {"g": str(GOP), "lag-in-frames": "8"}),
    "every frame a key frame": ("clip.mkv", "ffv1", {"g": "1"}),
}


@pytest.mark.parametrize(("name", "codec", "options"), VIDEOS.values(), ids=VIDEOS)
def test_frames_at_any_times_are_those_of_full_decoding(
    tmp_path: Path, full_reads: list[Path], decoded: list[int], name: str, codec: str, options: dict[str, str]
) -> None:
    path = make(tmp_path / name, scene(), codec=codec, codec_options=options)
    random = np.random.default_rng(1)
    for count in (1, 2, 3, 5, 8, FRAMES):
        check(path, sorted(random.uniform(-0.1, FRAMES / 25 + 0.2, count).tolist()))
    assert full_reads == []
    decoded.clear()
    check(path, [0.0, 1.0])  # the second stands right after a key frame
    assert len(decoded) <= FRAMES // 3  # the first few twice: at first, to see how the pictures are turned


@pytest.mark.parametrize(("name", "options"), [("clip.mp4", OPEN), ("clip.mkv", CLOSED), ("clip.ts", OPEN)])
def test_variable_times_are_met_as_they_are(tmp_path: Path, name: str, options: dict[str, str]) -> None:
    ticks = np.cumsum(np.random.default_rng(2).integers(10, 90, FRAMES)).tolist()  # ms
    path = make(tmp_path / name, scene(), ticks=ticks, codec_options=options)
    last = (ticks[-1] - ticks[0]) / 1000
    check(path, np.arange(0, last, 0.2).tolist())
    check(path, [0.3 * last, 0.9 * last])


@pytest.mark.parametrize(("name", "options"), [("clip.h264", CLOSED), ("clip.mp4", REFRESH), ("clip.mkv", REFRESH)])
def test_what_cannot_be_entered_in_its_middle_is_decoded_from_its_beginning(
    tmp_path: Path, full_reads: list[Path], name: str, options: dict[str, str]
) -> None:
    path = make(tmp_path / name, scene(), codec_options=options)
    check(path, [0.1, 0.7, 1.3])
    assert full_reads == [path]


def test_the_first_frames_need_no_full_decoding_even_without_whole_key_frames(
    tmp_path: Path, full_reads: list[Path]
) -> None:
    check(make(tmp_path / "clip.mp4", scene(), codec_options=REFRESH), [0.0, 0.2])
    assert full_reads == []


def test_packets_that_are_wrongly_called_key_frames_are_not_believed(tmp_path: Path, full_reads: list[Path]) -> None:
    source = make(tmp_path / "source.mp4", scene(), codec="mpeg4", codec_options={"g": str(GOP)})
    liar = tmp_path / "liar.mp4"
    with av.open(source) as given, av.open(liar, "w") as container:
        stream = container.add_stream_from_template(given.streams.video[0])
        for packet in given.demux(video=0):
            if packet.size:
                packet.stream, packet.is_keyframe = stream, True
                container.mux(packet)
    check(liar, [0.3, 0.9, 1.1])
    assert full_reads == [liar]


def test_a_damaged_vp9_packet_that_is_called_a_key_frame_ends_no_process(tmp_path: Path) -> None:
    # one wrong byte: FFmpeg's decoder, begun anew at it with frames on several threads, called a null pointer
    options = {"deadline": "realtime", "g": "48", "lag-in-frames": "0"}
    source = make(tmp_path / "source.webm", scene(24), codec="libvpx-vp9", codec_options=options)
    path = tmp_path / "damaged.webm"
    with av.open(source) as given, av.open(path, "w") as container:
        stream = container.add_stream_from_template(given.streams.video[0])
        for packet in given.demux(video=0):
            if packet.pts == 120:
                content, stamp, unit = bytes(packet), packet.pts, packet.time_base
                packet = av.Packet(b"\0" + content[1:])
                packet.pts = packet.dts = stamp
                packet.time_base, packet.is_keyframe = unit, True
            if packet.size:
                packet.stream = stream
                container.mux(packet)
    script = (
        "import sys\nfrom emo_affectnet.seeking import read_frames_at\n"
        "print([round(frame.time * 25) for frame in read_frames_at(sys.argv[1], [0.0, 0.48, 0.88])])"
    )
    done = subprocess.run([sys.executable, "-c", script, str(path)], capture_output=True, text=True)
    assert (done.returncode, done.stdout) == (0, "[0, 12, 22]\n")


@pytest.mark.parametrize("damaged", [[0], [5], [GOP], [GOP + 3], [FRAMES - 1], range(10, 30)], ids=str)
@pytest.mark.parametrize("name", ["clip.mkv", "clip.avi"])
def test_damage_gives_what_full_decoding_gives(tmp_path: Path, name: str, damaged: list[int]) -> None:
    codec = "mpeg4" if name == "clip.avi" else "libx264"
    options = {"g": str(GOP)} if codec == "mpeg4" else CLOSED
    path = make(tmp_path / name, scene(), codec=codec, codec_options=options, damaged=damaged)
    frames = list(read_frames(path))
    clock = np.array([frame.time for frame in frames])
    times = np.arange(0, FRAMES / 25, 0.2).tolist()
    for time, found in zip(times, read_frames_at(path, times), strict=True):
        expected = frames[int(np.abs(clock - time).argmin())]
        assert found.time == expected.time
        np.testing.assert_array_equal(found.image, expected.image)


def test_no_packet_is_decoded_twice_and_those_between_are_passed_over(tmp_path: Path, decoded: list[int]) -> None:
    path = make(tmp_path / "clip.mkv", scene(), codec_options=CLOSED)  # ms; key frames every 480 ms
    index = index_frames(path)
    decoded.clear()
    frames = list(read_frames_at(path, [0.52, 0.56, 0.6, 1.44], index=index))
    assert [frame.index for frame in frames] == [13, 14, 15, 36]
    assert len(decoded) == len(set(decoded))
    # from the key frame 12 to frame 16, which is stored before 13 to 15; then the key frame 36 alone
    assert sorted(decoded) == [480, 520, 560, 600, 640, 1440]


def test_two_times_at_one_frame_give_it_twice(tmp_path: Path, decoded: list[int]) -> None:
    path = make(tmp_path / "clip.mp4", scene(), codec_options=OPEN)
    found = check(path, [0.79, 0.8, 0.81, 1.2])
    assert [frame.index for frame in found] == [20, 20, 20, 30]


@pytest.mark.parametrize("options", [CLOSED, REFRESH], ids=["passed over", "decoded in full"])
def test_of_two_frames_as_near_the_earlier_is_taken(tmp_path: Path, options: dict[str, str]) -> None:
    path = make(tmp_path / "clip.mp4", scene(), rate=8, codec_options=options)
    found = read_frames_at(path, [2 + 1 / 16, 2 + 3 / 16, 2.1876])  # half way between frames of 1/8 s, and just after
    assert [frame.index for frame in found] == [16, 17, 18]


def test_times_outside_the_video_give_its_first_and_last_frame(tmp_path: Path) -> None:
    for name in ("clip.mp4", "clip.h264"):
        found = list(read_frames_at(make(tmp_path / name, scene(10)), [-3.0, 0.0, 0.37, 99.0]))
        assert [frame.index for frame in found] == [0, 0, 9, 9]


@pytest.mark.parametrize("rotation", [(90, False, False), (180, False, False), (270, True, False)], ids=str)
def test_frames_are_upright(tmp_path: Path, rotation: tuple[int, bool, bool]) -> None:
    path = make(tmp_path / "clip.mp4", [quadrants()] * 30, codec_options={"g": "10"}, rotation=rotation)
    found = check(path, [0.5, 1.1])
    assert found[0].image.shape == ((64, 48, 3) if rotation[0] in (90, 270) else (48, 64, 3))


@pytest.mark.parametrize("name", ["clip.mp4", "clip.ts"])
def test_times_are_on_the_clock_that_a_player_shows(tmp_path: Path, name: str) -> None:
    ticks = [500 + 40 * index for index in range(FRAMES)]
    path = make(tmp_path / name, scene(), ticks=ticks, codec_options=CLOSED, sound_seconds=1)
    assert [frame.index for frame in check(path, [0.5, 1.5])] == [0, 25]


def test_an_index_lists_the_times_of_full_decoding(tmp_path: Path) -> None:
    for name in ("clip.mp4", "clip.ts", "clip.mkv"):
        path = make(tmp_path / name, scene(), rate=NTSC, codec_options=OPEN)
        assert index_frames(path).times.tolist() == [frame.time for frame in read_frames(path)]
    raw = make(tmp_path / "clip.h264", scene(), codec_options=OPEN)
    assert index_frames(raw).times == pytest.approx([frame.time for frame in read_frames(raw)])


def test_no_times_open_nothing() -> None:
    assert list(read_frames_at("no such file.mp4", [])) == []


@pytest.mark.parametrize("times", [[1.0, 0.5], [0.0, float("nan")], [float("inf")]])
def test_times_that_do_not_rise_are_refused(times: list[float]) -> None:
    with pytest.raises(UsageError, match=r"^Expected times in s in rising order"):
        next(read_frames_at("clip.mp4", times))


def test_what_is_no_video_is_refused_as_elsewhere(tmp_path: Path) -> None:
    hopeless = make(tmp_path / "hopeless.mkv", scene(6), damaged=range(6))
    for path in (tmp_path / "missing.mp4", make_sound(tmp_path / "sound.m4a"), hopeless):
        with pytest.raises(VideoError) as expected:
            next(read_frames(path))
        with pytest.raises(VideoError) as raised:
            next(read_frames_at(path, [0.0]))
        assert str(raised.value) == str(expected.value)


@pytest.mark.parametrize("name", ["clip.mp4", "clip.h264"])
def test_the_file_is_closed_when_the_reader_stops_early(tmp_path: Path, name: str) -> None:
    path = make(tmp_path / name, scene(), codec_options=CLOSED)
    frames = read_frames_at(path, [0.1, 0.7, 1.5])
    next(frames)
    frames.close()
    assert str(path) not in open_descriptors()


def test_frames_are_let_go_of_when_the_next_is_taken(tmp_path: Path) -> None:
    path = make(tmp_path / "clip.mp4", scene(), codec_options=OPEN)
    seen: list[weakref.ref[Frame]] = []
    for frame in read_frames_at(path, (np.arange(FRAMES) / 25).tolist()):
        seen.append(weakref.ref(frame))
        assert sum(each() is not None for each in seen) <= 2
    assert len(seen) == FRAMES
