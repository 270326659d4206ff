"""Video files: a path goes in, facts (`probe`) or frames in order (`read_frames`) come out.

Lives here: media time (seconds from PTS, on the clock that a player shows), the frame rate, rotation and colour.
An image is RGB uint8 (H, W, 3), contiguous and upright. FFmpeg is given the bytes of the one file that was asked for
and nothing else: a `%03d` or `http:` in the name means nothing to it, and a playlist cannot make it open other files.
"""

from __future__ import annotations  # av.Packet takes its type argument in annotations only

import errno
import logging
import os
import threading
from collections.abc import Generator, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from fractions import Fraction
from functools import cached_property
from io import FileIO
from pathlib import Path
from queue import Full, Queue
from typing import Any, TypeVar, cast

import av
import numpy as np
import numpy.typing as npt
from av.container import InputContainer
from av.packet import Packet
from av.stream import Disposition
from av.video.reformatter import VideoReformatter
from av.video.stream import VideoStream

from .errors import UsageError, VideoError

Image = npt.NDArray[np.uint8]  # (H, W, 3) RGB
FilePath = str | os.PathLike[str]
Item = TypeVar("Item")
Orientation = tuple[bool, bool, bool]  # transposed, then mirrored left to right, then top to bottom

logger = logging.getLogger("emo_affectnet")
_of_thread = threading.local()  # one converter of colours for each thread; PyAV would make one for each frame

# A frame nearer to its own place on the constant-rate grid than to its neighbours' has the index that its time says.
# Containers that round to milliseconds (mkv, webm, flv) stay far inside: 0.5 ms is 0.06 intervals even at 120 fps.
GRID_TOLERANCE = 0.5  # frame intervals

COMPLETE_SHARE = 0.98  # of the frames an index promises; some count a frame that was never stored
_READ_SIZE = 1 << 18  # bytes per call from FFmpeg into Python

_POINTERS = {  # the first bytes of texts that only say where a video is
    b"version https://git-lfs": ("it is a git-lfs pointer, not the video itself", "run `git lfs pull`"),
    b"#EXTM3U": ("it is a playlist that names other files", "give the video file itself"),
    b"ffconcat": ("it is a playlist that names other files", "give the video file itself"),
}
_NO_FRAMES = ("none of its frames can be decoded", "record or download it again")
_MP4_BOXES = (b"ftyp", b"mdat", b"wide", b"free")  # at byte 4 of what calls itself mp4 or mov


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


@dataclass(frozen=True, eq=False)
class Frame:
    """One frame; its image is converted when it is first looked at, because most frames never are."""

    index: int  # 0-based, in the order of presentation
    time: float  # s, from PTS
    source: av.VideoFrame | Image = field(repr=False)
    orientation: Orientation = field(default=(False, False, False), repr=False)

    def __post_init__(self) -> None:
        image = self.source
        if isinstance(image, np.ndarray) and (image.dtype != np.uint8 or image.shape[2:] != (3,) or 0 in image.shape):
            raise UsageError(f"Expected an RGB image, uint8 (H, W, 3), but got {image.dtype} {image.shape}.")

    @cached_property
    def image(self) -> Image:
        """RGB uint8 (H, W, 3), contiguous and upright."""
        is_image = isinstance(self.source, np.ndarray)
        image = self.source if is_image else _upright_rgb(cast(av.VideoFrame, self.source), self.orientation)
        return np.ascontiguousarray(cast(Image, image))


def probe(path: FilePath) -> VideoInfo:
    """Measure a video's size, rate and length from its packets; only the first frame is decoded, for its rotation.

    Of a damaged file it describes what can be reached.

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
        if first is None:
            raise _no_video(path, *_NO_FRAMES)
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
        )


def read_frames(path: FilePath) -> Generator[Frame, None, None]:
    """Yield every frame that can be decoded, in the order of presentation, and hold on to none of them.

    Packets that give no frame are skipped; one warning at the end counts them. Nothing is opened before the first
    frame is asked for; the file is closed when the generator is exhausted or closed.

    Raises:
        VideoError: the file is missing, is no video, or none of its frames can be decoded.
    """
    index = packet_count = 0
    with open_video(path) as (container, stream):
        stream.thread_type = "AUTO"
        time_base, rate, start = cast(Fraction, stream.time_base), stream.average_rate, find_start(container, stream)
        interval = float(1 / rate) if rate else 0.0
        time, orientation = -interval, None
        for packet in read_packets(container, stream, path):
            packet_count += holds_frame(packet)
            for picture in decode_packet(packet):
                time = time + interval if picture.pts is None else float(picture.pts * time_base - start)
                orientation = find_orientation(picture) if orientation is None else orientation
                yield Frame(index, time, picture, orientation)
                index += 1
    if not index:
        raise _no_video(path, *_NO_FRAMES)
    if index < packet_count:
        logger.warning('"%s": %d of %d packets gave no frame; skipped.', path, packet_count - index, packet_count)


def prefetch(items: Generator[Item, None, None], *, depth: int = 8) -> Generator[Item, None, None]:
    """Yield items in their order, made on a thread of their own, at most `depth` of them ahead.

    What making them raises is raised here. When this generator is closed, so is `items`, and the thread has ended.
    """
    ready: Queue[tuple[Item] | None] = Queue(depth)  # None is the end
    stopped = threading.Event()

    def offer(item: tuple[Item] | None) -> None:
        has_room = False
        while not has_room and not stopped.is_set():
            with suppress(Full):
                ready.put(item, timeout=0.1)
                has_room = True

    def make() -> None:
        try:
            for item in items:
                offer((item,))
                if stopped.is_set():
                    return
        finally:
            items.close()
            offer(None)

    with ThreadPoolExecutor(max_workers=1, thread_name_prefix="prefetch") as threads:
        making = threads.submit(make)
        try:
            while entry := ready.get():
                yield entry[0]
        finally:
            stopped.set()
        making.result()


class _Bytes:
    """A file without its name, for FFmpeg, which reads patterns and protocols into names."""

    def __init__(self, file: FileIO) -> None:
        self.read, self.tell, self._seek = file.read, file.tell, file.seek

    def seek(self, offset: int, whence: int) -> int:
        try:
            return self._seek(offset, whence)
        except OSError:  # damaged files point to places before their first byte; FFmpeg takes an error number
            return -errno.EINVAL


@contextmanager
def open_video(path: FilePath) -> Iterator[tuple[InputContainer, VideoStream]]:
    """Lend the open file and the stream in it that is shown.

    Raises:
        VideoError: the file is missing or is no video.
    """
    with _open_file(path) as file:
        head = file.read(64)
        file.seek(0)
        if not head:
            raise _no_video(path, "the file is empty", "record or download it again")
        for start, (found, advice) in _POINTERS.items():
            if head.startswith(start):
                raise _no_video(path, found, advice)
        with _open_container(file, path, is_mp4=head[4:8] in _MP4_BOXES) as container:
            yield container, _video_stream(container, path)


def _open_file(path: FilePath) -> FileIO:
    if os.path.exists(path) and not os.path.isfile(path):
        raise _no_video(path, "it is a folder" if os.path.isdir(path) else "it is a device or pipe", "name one file")
    try:
        return open(path, "rb", buffering=0)
    except FileNotFoundError as error:
        raise _no_video(path, "there is no such file", "check the name and the folder") from error
    except OSError as error:
        raise _no_video(path, f"it cannot be opened ({error.strerror})", "check the name and your rights") from error


def _open_container(file: FileIO, path: FilePath, *, is_mp4: bool) -> InputContainer:
    try:
        # Whatever the file says, no other file or address is opened; and titles may be in any national 8-bit code.
        return av.open(
            _Bytes(file), "r", options={"protocol_whitelist": ""}, metadata_errors="replace", buffer_size=_READ_SIZE
        )
    except (av.FFmpegError, OSError) as error:
        found = "its index (moov) is missing, as in a file cut short" if is_mp4 else "it is in no known video format"
        raise _no_video(path, found, "record or download it again, or give an mp4, mkv, avi or webm file") from error


def _video_stream(container: InputContainer, path: FilePath) -> VideoStream:
    """Choose the first video that is no cover art."""
    name = container.format.name
    if name.endswith("_pipe") or name == "ico":
        raise _no_video(path, f"it is a picture ({name.removesuffix('_pipe')})", "give the video itself")
    for stream in container.streams.video:
        if stream.disposition & (Disposition.attached_pic | Disposition.timed_thumbnails):
            continue
        if stream.codec_context is None:
            raise _no_video(path, "FFmpeg has no decoder for its codec", "convert it to H.264")
        return stream
    found = "it holds only sound" if container.streams.audio else "it holds neither picture nor sound"
    raise _no_video(path, found, "give a file with a picture")


def read_packets(container: InputContainer, stream: VideoStream, path: FilePath) -> Iterator[Packet[VideoStream]]:
    """Yield the packets and, last, the empty one that makes the decoder give out what it holds."""
    try:
        yield from container.demux(stream)
    except (av.FFmpegError, OSError) as error:
        logger.warning('"%s": reading stopped before the end (%s).', path, error)
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
    image = cast(Image, _of_thread.reformatter.reformat(picture, format="rgb24").to_ndarray())
    is_transposed, is_mirrored, is_upside_down = orientation
    if is_transposed:
        image = image.swapaxes(0, 1)
    return image[:: -1 if is_upside_down else 1, :: -1 if is_mirrored else 1]


def _no_video(path: FilePath, found: str, advice: str) -> VideoError:
    return VideoError(f'Expected a video in "{os.fspath(path)}", but {found}; {advice}.')
