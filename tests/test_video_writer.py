"""Written videos, read back: pictures, times, colours, sound, and what stays when something goes wrong."""

import os
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest
from video_files import COLOUR_TOLERANCE, coded, codes, make, open_descriptors, quadrants, spoiled

from emo_affectnet.containers import open_video
from emo_affectnet.errors import UsageError, VideoError
from emo_affectnet.video import find_start, probe, read_frames
from emo_affectnet.video_writer import VideoWriter


def test_written_video_comes_back(tmp_path: Path) -> None:
    path = tmp_path / "clip.mp4"
    with VideoWriter(path, width=64, height=48, fps=30000 / 1001, audio_rate=16000) as writer:
        for index in range(20):
            writer.write(coded(index))
            writer.write_audio(np.zeros(534, np.float32))
    frames = list(read_frames(path))
    assert codes(frames) == list(range(20))
    assert [frame.time for frame in frames] == pytest.approx([index * 1001 / 30000 for index in range(20)], abs=1e-9)
    info = probe(path)
    assert (info.fps, info.has_audio, info.is_constant_rate) == (30000 / 1001, True, True)
    data = path.read_bytes()
    assert data.index(b"moov") < data.index(b"mdat")  # playable before it is all there
    with av.open(path) as container:
        assert container.streams.video[0].codec_context.name == "h264"
        assert container.streams.video[0].pix_fmt == "yuv420p"
        assert container.streams.audio[0].codec_context.name == "aac"
        assert sum(sound.samples for sound in container.decode(audio=0)) == pytest.approx(20 * 534, abs=1024)


@pytest.mark.parametrize("fps", [1, 12.5, 24000 / 1001, 25, 120])
def test_rate_is_written_exactly(tmp_path: Path, fps: float) -> None:
    with VideoWriter(tmp_path / "clip.mp4", width=64, height=48, fps=fps) as writer:
        for index in range(10):
            writer.write(coded(index))
    info = probe(tmp_path / "clip.mp4")
    assert info.fps == fps
    assert info.duration == pytest.approx(10 / fps, rel=1e-6)


def test_written_colours_are_rgb(tmp_path: Path) -> None:
    with VideoWriter(tmp_path / "clip.mp4", width=64, height=48, fps=25) as writer:
        writer.write(quadrants())
    image = next(read_frames(tmp_path / "clip.mp4")).image
    rows, columns = [8, 8, 40, 40], [8, 56, 8, 56]
    np.testing.assert_allclose(image[rows, columns].astype(int), quadrants()[rows, columns], atol=COLOUR_TOLERANCE)


def test_given_times_are_written_and_then_continued(tmp_path: Path) -> None:
    with VideoWriter(tmp_path / "clip.mp4", width=64, height=48, fps=25) as writer:
        for index, time in enumerate([0.0, 0.1, 0.5, None, 1.2345, None]):
            writer.write(coded(index), time=time)
    frames = list(read_frames(tmp_path / "clip.mp4"))
    assert codes(frames) == list(range(6))
    times = [frame.time for frame in frames]
    assert times == pytest.approx([0, 0.1, 0.5, 0.54, 1.2345, 1.2745], abs=1 / 90_000)


def test_repeated_and_falling_times_of_damaged_files_become_the_next_possible_ones(tmp_path: Path) -> None:
    with VideoWriter(tmp_path / "clip.mp4", width=64, height=48, fps=25, tick=Fraction(1, 1000)) as writer:
        for index, time in enumerate([-0.2, 0.1, 0.1, 0.05, 0.5]):
            writer.write(coded(index), time=time)
    frames = list(read_frames(tmp_path / "clip.mp4"))
    assert codes(frames) == list(range(5))
    assert [frame.time for frame in frames] == pytest.approx([0, 0.1, 0.101, 0.102, 0.5], abs=1e-9)


def test_odd_size_is_padded_by_its_edge(tmp_path: Path) -> None:
    image = coded(3, (17, 13))
    with VideoWriter(tmp_path / "clip.mp4", width=17, height=13, fps=25) as writer:
        writer.write(image)
    written = next(read_frames(tmp_path / "clip.mp4")).image
    assert written.shape == (14, 18, 3)
    np.testing.assert_allclose(written.astype(int), int(image[0, 0, 0]), atol=3)


def test_lower_crf_keeps_more(tmp_path: Path) -> None:
    noise_image = np.random.default_rng(0).integers(0, 255, (48, 64, 3), np.uint8)
    sizes = []
    for crf in (10, 40):
        with VideoWriter(tmp_path / "clip.mp4", width=64, height=48, fps=25, crf=crf) as writer:
            writer.write(noise_image)
        sizes.append((tmp_path / "clip.mp4").stat().st_size)
    assert sizes[0] > 2 * sizes[1]


def test_nothing_stays_after_an_exception_and_the_old_file_is_kept(tmp_path: Path) -> None:
    path = tmp_path / "clip.mp4"
    path.write_bytes(b"old")

    def write_and_fail() -> None:
        with VideoWriter(path, width=64, height=48, fps=25) as writer:
            writer.write(coded(0))
            raise KeyError("in the middle")

    with pytest.raises(KeyError, match="in the middle"):
        write_and_fail()
    assert os.listdir(tmp_path) == ["clip.mp4"]
    assert path.read_bytes() == b"old"


def test_video_without_images_is_refused(tmp_path: Path) -> None:
    with (
        pytest.raises(VideoError, match=r"at least one image.*clip\.mp4"),
        VideoWriter(tmp_path / "clip.mp4", width=64, height=48, fps=25),
    ):
        pass
    assert os.listdir(tmp_path) == []


@pytest.mark.parametrize("target", ["missing/clip.mp4", "file/clip.mp4", "folder"])
def test_unwritable_target_is_named(tmp_path: Path, target: str) -> None:
    (tmp_path / "file").write_text("")
    (tmp_path / "folder").mkdir()
    with (
        pytest.raises(VideoError, match=rf'Cannot write the video ".*{target}"') as caught,
        VideoWriter(tmp_path / target, width=64, height=48, fps=25) as writer,
    ):
        writer.write(coded(0))
    assert isinstance(caught.value.__cause__, OSError)
    assert sorted(os.listdir(tmp_path)) == ["file", "folder"]


def test_writer_refuses_what_it_cannot_write(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="above 0"):
        VideoWriter(tmp_path / "clip.mp4", width=64, height=48, fps=0)
    with VideoWriter(tmp_path / "clip.mp4", width=64, height=48, fps=25) as writer:
        with pytest.raises(UsageError, match=r"\(48, 64, 3\).*\(13, 17, 3\)"):
            writer.write(coded(0, (17, 13)))
        with pytest.raises(UsageError, match="uint8"):
            writer.write(coded(0).astype(np.float32))  # type: ignore[arg-type]  # the mistake under test
        with pytest.raises(UsageError, match="audio_rate"):
            writer.write_audio(np.zeros(10, np.float32))
        writer.write(coded(0))
    with VideoWriter(tmp_path / "clip.mp4", width=64, height=48, fps=25, audio_rate=8000) as writer:
        writer.write(coded(0))
        writer.write_audio(np.zeros(0, np.float32))  # nothing to add is no mistake
        with pytest.raises(UsageError, match=r"float32 \(N,\)"):
            writer.write_audio(np.zeros((2, 10), np.float32))


# A copy of a video: its own times, its sound, about its size


def tone(
    path: Path, *, codec: str, container_format: str, rate: int = 44100, start: float = 0.0, delay: float = 0.0
) -> Path:
    """A second of grey picture from `start` s on, with a tone of 440 Hz that begins `delay` s after it."""
    with av.open(path, "w", format=container_format) as container:
        video = container.add_stream("libvpx-vp9" if container_format == "webm" else "mpeg4", rate=25)
        video.width, video.height, video.pix_fmt = 64, 48, "yuv420p"
        audio = container.add_stream(codec, rate=rate)
        for index in range(25):
            picture = av.VideoFrame.from_ndarray(coded(index), format="rgb24").reformat(format="yuv420p")
            picture.pts, picture.time_base = round(25 * start) + index, Fraction(1, 25)
            container.mux(video.encode(picture))
        wave = np.sin(2 * np.pi * 440 * np.arange(rate) / rate)
        layout = audio.codec_context.layout.name
        channels = audio.codec_context.layout.nb_channels
        sound = av.AudioFrame.from_ndarray(
            np.tile(0.3 * wave, (channels, 1)).astype(np.float32), format="fltp", layout=layout
        )
        sound.sample_rate, sound.pts, sound.time_base = rate, round((start + delay) * rate), Fraction(1, rate)
        resampler = av.AudioResampler(audio.codec_context.format, layout, rate, audio.codec_context.frame_size or None)
        for part in [*resampler.resample(sound), *resampler.resample(None)]:
            container.mux(audio.encode(part))
        container.mux([*video.encode(None), *audio.encode(None)])
    return path


def copy_of(source: Path, target: Path) -> Path:
    info = probe(source)
    with VideoWriter.like(info, target, width=info.width, height=info.height) as writer:
        for frame in read_frames(source):
            writer.write(frame.image, time=frame.time)
    return target


def sound_packets(path: Path) -> list[tuple[float, bytes]]:
    """Time in s on the player's clock and content of every packet of sound."""
    with open_video(path) as (container, video):
        start = find_start(container, video)
        packets = [packet for packet in container.demux(container.streams.audio[0]) if packet.size]
        return [(round(float(packet.pts * packet.time_base - start), 6), bytes(packet)) for packet in packets]


def heard(path: Path) -> tuple[float, float]:
    """When the tone begins, in s, and its frequency in Hz."""
    with open_video(path) as (container, video):
        start = float(find_start(container, video))
        parts = list(container.decode(container.streams.audio[0]))
        rate = parts[0].sample_rate
        first = parts[0].time - start
        wave = np.concatenate([part.to_ndarray().astype(float).reshape(-1, part.samples)[0] for part in parts])
    loud = np.flatnonzero(np.abs(wave) > 0.1 * np.abs(wave).max())
    spectrum = np.abs(np.fft.rfft(wave[loud[0] : loud[-1]]))
    return first + loud[0] / rate, float(spectrum.argmax() * rate / (loud[-1] - loud[0]))


@pytest.mark.parametrize(
    ("name", "codec", "container_format"),
    [
        ("a.mp4", "aac", "mp4"),
        ("a.ts", "aac", "mpegts"),
        ("a.mkv", "libmp3lame", "matroska"),
        ("a.mkv", "flac", "matroska"),
    ],
)
def test_sound_that_browsers_play_is_carried_over_packet_by_packet(
    tmp_path: Path, name: str, codec: str, container_format: str
) -> None:
    source = tone(tmp_path / name, codec=codec, container_format=container_format, rate=48000)
    before, after = sound_packets(source), sound_packets(copy_of(source, tmp_path / "copy.mp4"))
    if container_format == "mpegts":  # whose packets carry a header of their own, which mp4 has once for all
        before = [(time, content[7:]) for time, content in before]
    assert [content for _, content in after] == [content for _, content in before]
    np.testing.assert_allclose([time for time, _ in after], [time for time, _ in before], atol=1e-3)


@pytest.mark.parametrize(
    ("name", "codec", "container_format", "rate"),
    [
        ("a.avi", "pcm_s16le", "avi", 44100),
        ("a.mkv", "ac3", "matroska", 48000),
        ("a.avi", "pcm_s16le", "avi", 22254),
    ],
)
def test_any_other_sound_becomes_aac_and_is_heard_at_its_time(
    tmp_path: Path, name: str, codec: str, container_format: str, rate: int
) -> None:
    source = tone(tmp_path / name, codec=codec, container_format=container_format, rate=rate)
    copy = copy_of(source, tmp_path / "copy.mp4")
    with av.open(copy) as container:
        assert container.streams.audio[0].codec_context.name == "aac"
    (start, pitch), (start_before, _) = heard(copy), heard(source)
    assert pitch == pytest.approx(440, abs=2)
    assert start == pytest.approx(start_before, abs=0.03)


@pytest.mark.parametrize("start", [0.0, 3.0])
@pytest.mark.parametrize(("codec", "rate"), [("aac", 44100), ("ac3", 48000)])
def test_sound_that_begins_late_begins_late_in_the_copy(tmp_path: Path, codec: str, rate: int, start: float) -> None:
    source = tone(tmp_path / "a.mkv", codec=codec, container_format="matroska", rate=rate, start=start, delay=0.4)
    begin, _ = heard(copy_of(source, tmp_path / "copy.mp4"))
    assert begin == pytest.approx(0.4, abs=0.03)


@pytest.mark.parametrize(
    ("name", "tick"), [("a.mkv", Fraction(1, 1000)), ("a.mp4", Fraction(1, 12800)), ("a.mp4", Fraction(1001, 30000))]
)
def test_every_time_of_a_variable_rate_is_that_of_the_source(tmp_path: Path, name: str, tick: Fraction) -> None:
    steps = np.random.default_rng(3).integers(1, 9, 60) * (1 if tick > Fraction(1, 500) else 7)
    source = make(tmp_path / name, map(coded, range(60)), ticks=np.cumsum(steps).tolist(), tick=tick)
    copy = copy_of(source, tmp_path / "copy.mp4")
    before, after = list(read_frames(source)), list(read_frames(copy))
    assert [frame.time for frame in after] == [frame.time for frame in before]
    assert codes(after) == codes(before)


def test_copy_of_a_turned_video_is_upright(tmp_path: Path) -> None:
    source = make(tmp_path / "a.mp4", [quadrants()] * 5, rotation=(90, False, False))
    copy = copy_of(source, tmp_path / "copy.mp4")
    assert (probe(copy).width, probe(copy).height) == (48, 64)
    images = [next(read_frames(path)).image[[8, 8, 56, 56], [8, 40, 8, 40]].astype(int) for path in (source, copy)]
    np.testing.assert_allclose(images[1], images[0], atol=2 * COLOUR_TOLERANCE)


def test_copy_stays_below_one_and_a_half_times_its_source(tmp_path: Path) -> None:
    """Noise, hard on any codec, in a source that spent few bits on it."""
    noise = np.random.default_rng(0).integers(0, 256, (240, 320, 3), np.uint8)
    with VideoWriter(tmp_path / "a.mp4", width=320, height=240, fps=25, crf=38) as writer:
        for index in range(100):
            writer.write(np.roll(noise, 3 * index, axis=1))
    copy = copy_of(tmp_path / "a.mp4", tmp_path / "copy.mp4")
    assert copy.stat().st_size < 1.5 * (tmp_path / "a.mp4").stat().st_size


def test_file_says_the_colours_that_it_holds(tmp_path: Path) -> None:
    with VideoWriter(tmp_path / "a.mp4", width=64, height=48, fps=25) as writer:
        writer.write(quadrants())
    with av.open(tmp_path / "a.mp4") as container:
        context = container.streams.video[0].codec_context
        assert (context.colorspace, context.color_primaries, context.color_trc, context.color_range) == (1, 1, 1, 1)


def test_damaged_sound_is_a_gap_and_costs_no_picture(tmp_path: Path) -> None:
    source = tone(tmp_path / "a.mkv", codec="ac3", container_format="matroska", rate=48000)
    with av.open(source) as before, av.open(tmp_path / "b.mkv", "w") as after:
        streams = {stream.index: after.add_stream_from_template(stream) for stream in before.streams}
        for number, packet in enumerate(packet for packet in before.demux() if packet.size):
            is_sound = packet.stream.type == "audio"
            packet.stream = streams[packet.stream.index]
            after.mux(spoiled(packet) if is_sound and number % 3 == 0 else packet)
    copy = copy_of(tmp_path / "b.mkv", tmp_path / "copy.mp4")
    assert len(list(read_frames(copy))) == 25
    assert heard(copy)[1] == pytest.approx(440, abs=40)


def test_an_error_in_the_middle_of_a_copy_leaves_nothing_and_closes_the_source(tmp_path: Path) -> None:
    source = tone(tmp_path / "a.mp4", codec="aac", container_format="mp4")

    def stop() -> None:
        with VideoWriter.like(probe(source), tmp_path / "copy.mp4", width=64, height=48) as writer:
            writer.write(coded(0))
            raise KeyError("stop")

    with pytest.raises(KeyError):
        stop()
    assert os.listdir(tmp_path) == ["a.mp4"]
    assert not {name for name in open_descriptors() if str(tmp_path) in name}
