"""Images become a video: an H.264 mp4 that browsers and players show as it was meant.

Lives here: the codec, its quality, and colours (BT.709, said so in the file). A writer made `like` a video keeps that
video's own times and carries its sound over.
"""

from __future__ import annotations  # av.Packet takes its type argument in annotations only

import logging
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np
import numpy.typing as npt
from av.audio.frame import AudioFrame
from av.audio.resampler import AudioResampler
from av.audio.stream import AudioStream
from av.container import OutputContainer
from av.packet import Packet
from av.video.reformatter import Colorspace, VideoReformatter

from .containers import FilePath, open_video
from .errors import UsageError, VideoError
from .files import whole_file
from .video import Image, VideoInfo, find_start

logger = logging.getLogger("emo_affectnet")

CRF = 20  # x264's quality: 18 is taken for lossless by most eyes, 23 is its default
PRESET = "veryfast"  # half of medium's time at 720p, for 0.6 dB of PSNR in a file of the same size
KEY_FRAME_SECONDS = 2  # between two places a player can jump to at once
MAX_GROWTH = 1.4  # times the bits of the picture that is redrawn, so that the file with its sound stays below 1.5
MIN_BIT_RATE = 64_000  # bits per s, with which text stays readable; of a source below it the copy may grow more
_BUFFER_SECONDS = 2  # the stretch over which the rate may swing, and which x264 may spend beyond it
_BT709 = 1  # its number in ITU-T H.273, for primaries, transfer and matrix
_LIMITED_RANGE = 1  # FFmpeg's number for luma from 16 to 235
_WRITE_CLOCK = 90_000  # Hz, the least resolution of written times: the clock of MPEG systems
_DEFAULT_FPS = 25  # of sources that have none

COPIED_SOUND = ("aac", "flac", "mp3", "opus")  # browsers play these in an mp4; anything else becomes AAC
_AAC_RATES = (8000, 11025, 12000, 16000, 22050, 24000, 32000, 44100, 48000, 64000, 88200, 96000)  # Hz


class VideoWriter:
    """Write RGB images as an H.264 mp4, with AAC sound when `audio_rate` is given.

    The file appears when the `with` block ends well; when it does not, nothing stays. The colours that every player
    shows need even sides: an odd one is written one pixel longer, its last row or column repeated.

    Raises:
        UsageError: a size or rate is not above 0.
        VideoError: on entering, writing or leaving, when the file cannot be written.
    """

    def __init__(
        self,
        path: FilePath,
        *,
        width: int,
        height: int,
        fps: float,
        audio_rate: int | None = None,
        crf: int = CRF,
        tick: Fraction | None = None,
        max_bits: tuple[float, float] | None = None,
        sound_of: FilePath | None = None,
    ) -> None:
        if min(width, height, fps) <= 0:
            raise UsageError(f"A video needs a size and a rate above 0, not {width}x{height} px at {fps} fps.")
        self._path, self._shape = Path(path), (height, width, 3)
        self._rate = Fraction(fps).limit_denominator(1001)  # the denominator of 29.97, which is 30000/1001
        self._tick = tick or Fraction(1, self._rate.numerator * -(-_WRITE_CLOCK // self._rate.numerator))  # s
        self._options = {"preset": PRESET, "crf": str(crf), "g": str(max(round(fps * KEY_FRAME_SECONDS), 1))}
        if max_bits is not None:
            self._options |= _limit_bits(*max_bits)
        self._audio_rate, self._sound_of = audio_rate, sound_of
        self._last_pts, self._next_time, self._sample_count = -1, Fraction(0), 0  # ticks, s, samples
        self._reformatter = VideoReformatter()
        self._resources = ExitStack()

    @classmethod
    def like(cls, source: VideoInfo, path: FilePath, *, width: int, height: int, crf: int = CRF) -> VideoWriter:
        """Return a writer that keeps the times, the sound and about the size of the file of a `source`."""
        bits = None
        if source.bit_rate and source.duration:
            bits = MAX_GROWTH * source.bit_rate * source.duration, source.duration
        return cls(
            path,
            width=width,
            height=height,
            fps=source.fps or _DEFAULT_FPS,
            crf=crf,
            tick=source.tick,
            max_bits=bits,
            sound_of=source.path,
        )

    def __enter__(self) -> VideoWriter:
        with self._guarded():
            part = self._resources.enter_context(whole_file(self._path.absolute()))
            self._container = av.open(f"file:{part}", "w", format="mp4", options={"movflags": "faststart"})
            self._resources.callback(_close_quietly, self._container)
            self._add_streams()
            self._container.start_encoding()
        return self

    def _add_streams(self) -> None:
        height, width, _ = self._shape
        self._video = self._container.add_stream("libx264", rate=self._rate, options=self._options)
        self._video.width, self._video.height = width + width % 2, height + height % 2
        self._video.pix_fmt = "yuv420p"
        context = self._video.codec_context
        context.colorspace = context.color_primaries = context.color_trc = _BT709
        context.color_range = _LIMITED_RANGE
        context.time_base = self._video.time_base = self._tick
        context.thread_type = "FRAME"  # slices of one frame, PyAV's default, cannot use a second core as well
        self._audio = self._sound = None
        if self._audio_rate is not None:
            self._audio = self._container.add_stream("aac", rate=self._audio_rate, layout="mono")
        if self._sound_of is not None:
            self._sound = self._resources.enter_context(_open_sound(self._sound_of, self._container))

    def write(self, image: Image, *, time: float | None = None) -> None:
        """Add an RGB uint8 (height, width, 3) image, shown from `time` s on, or from one interval after the last.

        A time that does not come after the last one, as damaged files have them, becomes the next possible one.

        Raises:
            UsageError: the image has another shape.
        """
        if image.dtype != np.uint8 or image.shape != self._shape:
            raise UsageError(f"Expected uint8 {self._shape} images, but got {image.dtype} {image.shape}.")
        moment = self._next_time if time is None else Fraction(time)
        self._last_pts = max(round(moment / self._tick), self._last_pts + 1)
        self._next_time = moment + 1 / self._rate
        if any(side % 2 for side in image.shape[:2]):
            image = np.pad(image, [*((0, side % 2) for side in image.shape[:2]), (0, 0)], mode="edge")
        rgb = av.VideoFrame.from_ndarray(image, format="rgb24")
        picture = self._reformatter.reformat(rgb, format="yuv420p", dst_colorspace=Colorspace.ITU709)
        picture.pts, picture.time_base = self._last_pts, self._tick
        with self._guarded():
            self._container.mux(self._video.encode(picture))
            if self._sound is not None:
                self._sound.write_until(self._last_pts * self._tick)

    def write_audio(self, samples: npt.NDArray[np.float32]) -> None:
        """Append float32 (N,) mono samples from -1 to 1, `audio_rate` of them per second.

        Raises:
            UsageError: the writer was made without an `audio_rate`, or the samples have another shape or type.
        """
        if self._audio is None:
            raise UsageError("This video has no sound; make the VideoWriter with an audio_rate to give it one.")
        if samples.ndim != 1 or samples.dtype != np.float32:
            raise UsageError(f"Expected float32 (N,) samples, but got {samples.dtype} {samples.shape}.")
        if not len(samples):
            return
        sound = av.AudioFrame.from_ndarray(samples[None], format="fltp", layout="mono")
        sound.sample_rate, sound.pts = self._audio.rate, self._sample_count
        sound.time_base = Fraction(1, self._audio.rate)
        self._sample_count += len(samples)
        with self._guarded():
            self._container.mux(self._audio.encode(sound))

    def __exit__(self, kind: type[BaseException] | None, *details: Any) -> None:
        with self._guarded():
            try:
                if kind is None:
                    self._finish()
            except BaseException as error:
                self._resources.__exit__(type(error), error, None)
                raise
            self._resources.__exit__(kind, *details)

    def _finish(self) -> None:
        if self._last_pts < 0:
            raise VideoError(f'Expected at least one image for "{self._path}", but none was written; no file is made.')
        if self._sound is not None:
            self._sound.write_until(None)
        for stream in (self._video, self._audio):
            if stream is not None:
                self._container.mux(stream.encode(None))
        self._container.close()

    @contextmanager
    def _guarded(self) -> Iterator[None]:
        try:
            yield
        except (av.FFmpegError, OSError) as error:
            self._resources.__exit__(type(error), error, None)
            raise VideoError(f'Cannot write the video "{self._path}" ({error.strerror}); check its folder.') from error


def _limit_bits(bits: float, seconds: float) -> dict[str, str]:
    """Return the options that make x264 spend about `bits` at most on `seconds` of video."""
    buffer = min(_BUFFER_SECONDS, seconds / 2)  # s
    rate = max(bits / (seconds + buffer), MIN_BIT_RATE)
    return {"maxrate": str(int(rate)), "bufsize": str(int(rate * max(buffer, 1)))}


class _Sound:
    """The sound of a source on its way into another file, always just behind the picture."""

    def __init__(self, packets: Iterator[Packet[AudioStream]], start: Fraction, target: OutputContainer) -> None:
        self._packets, self._start, self._target = packets, start, target
        self._time = Fraction(-1)  # s, of the last packet
        self._tracks: dict[int, AudioStream] = {}  # by the source's stream index
        self._resamplers: dict[int, AudioResampler] = {}

    def add_track(self, stream: AudioStream) -> None:
        """Prepare a stream of the target for one of the source."""
        if stream.codec_context.codec.canonical_name in COPIED_SOUND:
            self._tracks[stream.index] = self._target.add_stream_from_template(stream)
            return
        rate = stream.rate if stream.rate in _AAC_RATES else 48_000
        layout = "stereo" if stream.channels > 1 else "mono"
        self._tracks[stream.index] = self._target.add_stream("aac", rate=rate, layout=layout)
        self._resamplers[stream.index] = AudioResampler("fltp", layout, rate)

    def write_until(self, time: Fraction | None) -> None:
        """Write what is heard up to `time` s, or all that is left."""
        while time is None or self._time <= time:
            packet = next(self._packets, None)
            if packet is None:
                break
            if packet.pts is not None:
                self._time = packet.pts * packet.time_base - self._start
                self._write(packet)
        if time is None:
            for index, resampler in self._resamplers.items():
                self._encode(index, resampler.resample(None))
                self._target.mux(self._tracks[index].encode(None))

    def _write(self, packet: Packet[AudioStream]) -> None:
        index, shift = packet.stream.index, round(self._start / packet.time_base)
        if index in self._resamplers:
            with suppress(av.FFmpegError):  # a damaged packet is a gap in the sound
                for sound in packet.decode():
                    sound.pts = None if sound.pts is None else sound.pts - shift
                    self._encode(index, self._resamplers[index].resample(sound))
            return
        packet.pts -= shift  # type: ignore[operator] # write_until has looked
        packet.dts = packet.pts if packet.dts is None else packet.dts - shift
        packet.stream = self._tracks[index]
        self._target.mux(packet)

    def _encode(self, index: int, frames: list[AudioFrame]) -> None:
        for frame in frames:
            self._target.mux(self._tracks[index].encode(frame))


@contextmanager
def _open_sound(path: FilePath, target: OutputContainer) -> Iterator[_Sound]:
    with open_video(path) as (container, video):
        streams = [stream for stream in container.streams.audio if stream.codec_context is not None]
        packets = container.demux(streams) if streams else iter(())
        sound = _Sound(_readable(packets, path), find_start(container, video), target)
        for stream in streams:
            sound.add_track(stream)
        yield sound


def _readable(packets: Iterator[Any], path: FilePath) -> Iterator[Packet[AudioStream]]:
    try:
        yield from packets
    except (av.FFmpegError, OSError) as error:
        logger.warning('"%s": reading the sound stopped before the end (%s).', path, error)


def _close_quietly(container: OutputContainer) -> None:
    with suppress(av.FFmpegError, OSError):
        container.close()
