"""Video files: a path goes in, facts (`probe`) or frames in order (`read_frames`) come out.

Lives here: media time (seconds from PTS, on the clock that a player shows), the frame rate, rotation and colour.
An image is RGB uint8 (H, W, 3), contiguous and upright. What may be opened at all is known to `containers`.
"""

from __future__ import annotations  # av.Packet takes its type argument in annotations only

import logging
import threading
from collections.abc import Callable, Container, Generator, Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from fractions import Fraction
from functools import cached_property
from heapq import heappop, heappush
from pathlib import Path
from typing import Any, cast

import av
import numpy as np
import numpy.typing as npt
from av.container import InputContainer
from av.packet import Packet
from av.video.reformatter import Colorspace, VideoReformatter
from av.video.stream import VideoStream

from .containers import FilePath, open_video, refuse
from .errors import UsageError, printable
from .threads import count_cores

Image = npt.NDArray[np.uint8]  # (H, W, 3) RGB
Orientation = tuple[bool, bool, bool]  # transposed, then mirrored left to right, then top to bottom

logger = logging.getLogger("emo_affectnet")
_of_thread = threading.local()  # one converter of colours for each thread; PyAV would make one for each frame

# A frame nearer to its own place on the constant-rate grid than to its neighbours' has the index that its time says.
# Containers that round to milliseconds (mkv, webm, flv) stay far inside: 0.5 ms is 0.06 intervals even at 120 fps.
GRID_TOLERANCE = 0.5  # frame intervals

COMPLETE_SHARE = 0.98  # of the frames an index promises; some count a frame that was never stored
THREADS_PER_CORE, MAX_THREADS = 2, 16  # of the decoder: threads wait for the frames that others decode
MAX_PIXELS_AT_ONCE = 1 << 27  # in all threads of the decoder, each of which has a frame: 16 of 4K, 4 of 8K

# FFmpeg's own decoders that heed what is said before each packet; AV1's takes it late, and loses wanted frames.
_CAN_PASS_OVER = {"h264", "hevc", "mpeg2video", "mpeg4"}
_NO_FRAMES = ("none of its frames can be decoded", "record or download it again")


@dataclass(frozen=True)
class VideoInfo:
    """What one pass over the packets of a video tells; `None` is what cannot be known."""

    path: Path
    width: int  # px, upright
    height: int  # px, upright
    fps: float | None  # never rounded
    duration: float | None  # s, from the start of the player's clock to the end of the last frame
    frame_count: int | None
    has_audio: bool
    is_constant_rate: bool  # every frame is within GRID_TOLERANCE of its place at `fps`
    is_complete: bool = True  # the file holds the frames that its index promises, where it has one
    tick: Fraction = Fraction(1, 90_000)  # s, the unit in which the file counts time; by default that of MPEG systems
    bit_rate: float | None = None  # of the picture, bits per s
    start: Fraction = Fraction(0)  # s in the file's own time, which a player shows as 0
    # (F,) rising PTS, in ticks, of the frames; None where they do not tell the frames apart
    stamps: npt.NDArray[np.int64] | None = field(default=None, repr=False, compare=False)


@dataclass(frozen=True, eq=False)
class Frame:
    """One frame; its image is converted when it is first looked at, because most frames never are.

    One that was passed over undecoded has an index and a time, and no source.
    """

    index: int  # 0-based, in the order of presentation
    time: float  # s, from PTS
    source: av.VideoFrame | Image | None = field(repr=False)
    orientation: Orientation = field(default=(False, False, False), repr=False)

    def __post_init__(self) -> None:
        image = self.source
        if isinstance(image, np.ndarray) and (image.dtype != np.uint8 or image.shape[2:] != (3,) or 0 in image.shape):
            raise UsageError(f"Expected an RGB image, uint8 (H, W, 3), but got {image.dtype} {image.shape}.")

    @cached_property
    def image(self) -> Image:
        """RGB uint8 (H, W, 3), contiguous and upright."""
        if self.source is None:
            raise UsageError(f"Frame {self.index} was passed over undecoded; name its PTS in `wanted`.")
        is_image = isinstance(self.source, np.ndarray)
        image = self.source if is_image else _upright_rgb(cast(av.VideoFrame, self.source), self.orientation)
        return np.ascontiguousarray(cast(Image, image))


def probe(path: FilePath, *, on_packet: Callable[[], None] = lambda: None) -> VideoInfo:
    """Measure a video's size, rate and length from its packets; only the first frame is decoded, for its rotation.

    Of a damaged file it describes what can be reached. `on_packet` is called after each packet, as a sign of life.

    Raises:
        VideoError: the file is missing, is no video, or none of its frames can be decoded.
    """
    first: av.VideoFrame | None = None
    held = size = 0  # packets, those included that an edit list cuts off, and their bytes
    shown: list[tuple[int | None, int]] = []  # (PTS, duration) of each packet, in ticks of the stream
    with open_video(path) as (container, stream):
        start = find_start(container, stream)
        for packet in read_packets(container, stream, path):
            if first is None:
                first = next(iter(decode_packet(packet)), None)
            held += packet.size > 0
            size += packet.size
            if holds_frame(packet):
                shown.append((packet.pts, packet.duration or 0))
            on_packet()
        if first is None:
            raise refuse(path, *_NO_FRAMES)
        fps, is_constant_rate, duration = _measure(shown, stream, start)
        is_transposed = find_orientation(first)[0]
        width, height = (first.height, first.width) if is_transposed else (first.width, first.height)
        return VideoInfo(
            path=Path(path),
            width=width,
            height=height,
            fps=fps,
            duration=duration,
            frame_count=len(shown),
            has_audio=bool(container.streams.audio),
            is_constant_rate=is_constant_rate,
            is_complete=held >= COMPLETE_SHARE * stream.frames,
            tick=cast(Fraction, stream.time_base),
            bit_rate=8 * size / duration if duration else None,
            start=start,
            stamps=None if first.interlaced_frame else _tell_apart(shown),  # fields may come in packets of their own
        )


def expect_frames(info: VideoInfo) -> Iterator[Frame]:
    """Yield what `read_frames` is to yield, without pictures; nothing where PTS do not tell the frames apart."""
    for index, stamp in enumerate([] if info.stamps is None else info.stamps.tolist()):
        yield Frame(index, _find_time(stamp, info.tick, info.start), None)


def read_frames(
    path: FilePath, *, wanted: Container[int] | None = None, threads: int | None = None
) -> Generator[Frame, None, None]:
    """Yield every frame that can be decoded, in the order of presentation, and hold on to none of them.

    Packets that give no frame are skipped; one warning at the end counts them. Nothing is opened before the first
    frame is asked for; the file is closed when the generator is exhausted or closed.

    With `wanted`, the PTS of some frames, others that no frame refers to are passed over undecoded where the codec
    allows it; they are yielded without a picture. `threads` are the cores to count on; None takes those there are.

    Raises:
        VideoError: the file is missing, is no video, or none of its frames can be decoded.
    """
    index = packet_count = 0
    untried: list[int] = []  # a heap of PTS that may have been passed over
    with open_video(path) as (container, stream):
        stream.thread_type = "AUTO"
        stream.codec_context.thread_count = _count_threads(stream, cores=threads or count_cores())
        time_base, rate, start = cast(Fraction, stream.time_base), stream.average_rate, find_start(container, stream)
        interval = float(1 / rate) if rate else 0.0
        time, orientation = -interval, None
        for packet in read_packets(container, stream, path):
            packet_count += holds_frame(packet)
            if wanted is not None and stream.codec_context.name in _CAN_PASS_OVER:
                _try_or_pass(packet, wanted, untried)
            for picture in decode_packet(packet):
                for stamp in _passed_before(picture, untried):
                    yield Frame(index, _find_time(stamp, time_base, start), None)
                    index += 1
                time = time + interval if picture.pts is None else _find_time(picture.pts, time_base, start)
                orientation = find_orientation(picture) if orientation is None else orientation
                yield Frame(index, time, picture, orientation)
                index += 1
        if index:
            for stamp in sorted(untried):
                yield Frame(index, _find_time(stamp, time_base, start), None)
                index += 1
    if not index:
        raise refuse(path, *_NO_FRAMES)
    if index < packet_count:
        logger.warning(
            '"%s": %d of %d packets gave no frame; skipped.', printable(path), packet_count - index, packet_count
        )


def _count_threads(stream: VideoStream, *, cores: int) -> int:
    pixels = stream.codec_context.width * stream.codec_context.height
    return min(THREADS_PER_CORE * cores, MAX_THREADS, max(MAX_PIXELS_AT_ONCE // max(pixels, 1), 1))


def _find_time(stamp: int, time_base: Fraction, start: Fraction) -> float:
    """Return the time in s that a player shows."""
    return float(stamp * time_base - start)


def _try_or_pass(packet: Packet[VideoStream], wanted: Container[int], untried: list[int]) -> None:
    """Tell the decoder to pass over a packet that nobody wants and no frame refers to; note it in the heap."""
    is_sound = holds_frame(packet) and not packet.is_corrupt
    may_pass = is_sound and packet.pts is not None and packet.pts not in wanted
    packet.stream.codec_context.skip_frame = "NONREF" if may_pass else "DEFAULT"
    if may_pass:
        heappush(untried, cast(int, packet.pts))


def _passed_before(picture: av.VideoFrame, untried: list[int]) -> Iterator[int]:
    """Take from the heap and yield the PTS of frames that would have come out before a picture, had they been tried."""
    while picture.pts is not None and untried and untried[0] <= picture.pts:
        if (stamp := heappop(untried)) < picture.pts:
            yield stamp


def read_packets(container: InputContainer, stream: VideoStream, path: FilePath) -> Iterator[Packet[VideoStream]]:
    """Yield the packets and, last, the empty one that makes the decoder give out what it holds.

    A last packet that the end of the file cuts through is left out: its error would cost whole frames before it, those
    that other threads of the decoder still hold.
    """
    cut: Packet[VideoStream] | None = None  # held back until another one follows
    try:
        for packet in container.demux(stream):
            if cut is not None and packet.size:
                yield cut
            cut = packet if packet.is_corrupt else None
            if cut is None:
                yield packet
    except (av.FFmpegError, OSError, IndexError) as error:
        if not isinstance(error, IndexError):  # PyAV's at the very end, over a stream that begins late in the file
            logger.warning('"%s": reading stopped before the end (%s).', printable(path), error)
        last = Packet()
        last.stream = stream
        yield cast("Packet[VideoStream]", last)


def holds_frame(packet: Packet[VideoStream]) -> bool:
    return packet.size > 0 and not packet.is_discard  # what an edit list cuts off is discarded after decoding


def decode_packet(packet: Packet[VideoStream]) -> list[av.VideoFrame]:
    """Give the frames that are ready, none if the packet is damaged."""
    with suppress(av.FFmpegError):
        try:
            return packet.decode()
        except BlockingIOError:  # a VP9 decoder that has met damage takes no further packet until it is reset
            packet.stream.codec_context.flush_buffers()
            return packet.decode()
    return []


def find_start(container: InputContainer, stream: VideoStream) -> Fraction:
    """Return the time, in s, that a player shows as 0: where the first of all streams begins."""
    start = Fraction(container.start_time or 0, av.time_base)
    own = (stream.start_time or 0) * cast(Fraction, stream.time_base)
    return own if abs(own - start) < Fraction(1, av.time_base) else start  # the container's is rounded to 1 us


def _measure(
    shown: list[tuple[int | None, int]], stream: VideoStream, start: Fraction
) -> tuple[float | None, bool, float | None]:
    """Give the frame rate, whether it is constant, and the duration in s."""
    claimed = float(stream.average_rate) if stream.average_rate else None
    ticks = sorted((pts, length) for pts, length in shown if pts is not None)
    if len(ticks) < len(shown):  # raw streams keep no times; read_frames spaces such frames evenly
        return claimed, True, len(shown) / claimed if claimed else None
    time_base = cast(Fraction, stream.time_base)
    times = (np.array([pts for pts, _ in ticks]) - ticks[0][0]) * float(time_base)  # (F,) s
    mean = float((len(times) - 1) / times[-1]) if times[-1] else None
    fps = claimed if claimed and _fits_grid(times, claimed) else mean
    pts, length = ticks[-1]
    last = float(length * time_base) or (1 / fps if fps else None)  # s; flv and VFR mkv keep no length
    duration = None if last is None else float(pts * time_base - start) + last
    return fps, fps is None or _fits_grid(times, fps), duration


def _tell_apart(shown: list[tuple[int | None, int]]) -> npt.NDArray[np.int64] | None:
    """Return the PTS in order, if every frame has one of its own."""
    stamps = {pts for pts, _ in shown}
    is_clear = None not in stamps and len(stamps) == len(shown)
    return np.array(sorted(cast("set[int]", stamps)), np.int64) if is_clear else None


def _fits_grid(times: npt.NDArray[np.float64], rate: float) -> bool:
    return bool(np.abs(times * rate - np.arange(len(times))).max() <= GRID_TOLERANCE)


def find_orientation(picture: av.VideoFrame) -> Orientation:
    """Say how to show a stored picture: transposed, then mirrored left to right, then top to bottom.

    Ask once for each video: a picture whose side data was looked at lives on until Python's garbage collector comes.
    """
    try:
        data: Any = picture.side_data.get("DISPLAYMATRIX")
        a, b, _, c, d = np.frombuffer(data, np.int32)[:5].tolist() if data else (1, 0, 0, 0, 1)
    except ValueError:  # PyAV stumbles over side data it has no name for, such as EXIF
        turn = np.deg2rad(picture.rotation)  # counter-clockwise
        a, b, c, d = np.cos(turn), -np.sin(turn), np.sin(turn), np.cos(turn)
    # https://ffmpeg.org/doxygen/trunk/group__lavu__video__display.html: x' = a x + c y, y' = b x + d y
    return (True, c < 0, b < 0) if abs(c) > abs(a) else (False, a < 0, d < 0)


def _upright_rgb(picture: av.VideoFrame, orientation: Orientation) -> Image:
    if not hasattr(_of_thread, "reformatter"):
        _of_thread.reformatter = VideoReformatter()
    try:
        rgb = _of_thread.reformatter.reformat(picture, format="rgb24")
    except av.FFmpegError:  # a matrix that FFmpeg has no formula for, such as ICtCp, or a damaged word in its place
        space = Colorspace.ITU601  # wide of the true colours, and near enough for a face
        rgb = VideoReformatter().reformat(picture, format="rgb24", src_colorspace=space, dst_colorspace=space)
    image = cast(Image, rgb.to_ndarray())
    is_transposed, is_mirrored, is_upside_down = orientation
    if is_transposed:
        image = image.swapaxes(0, 1)
    return image[:: -1 if is_upside_down else 1, :: -1 if is_mirrored else 1]
