"""Single frames of a video: times go in, the frames nearest to them come out, and only what these need is decoded.

The packets of a file say when each frame is shown and where decoding can begin. After a wanted frame they pass by
undecoded, up to the key frame that the next one needs; nothing is decoded twice. A frame is the same, bit for bit, as
`read_frames` gives. Where packets do not say enough (raw streams), or a frame does not come out of them as promised
(damage, key frames that do not stand alone), everything is decoded.
"""

from collections import deque
from collections.abc import Generator, Iterable, Iterator
from contextlib import closing, suppress
from dataclasses import dataclass
from fractions import Fraction
from heapq import heappop, heappush
from pathlib import Path
from typing import cast

import av
import numpy as np
import numpy.typing as npt
from av.video.frame import PictureType
from av.video.stream import VideoStream

from .containers import FilePath, open_video
from .errors import UsageError
from .video import (
    Frame,
    Orientation,
    decode_packet,
    find_orientation,
    find_start,
    holds_frame,
    read_frames,
    read_packets,
)

MAX_REORDER = 16  # frames that may come out before an earlier one; no codec keeps more for reference

Doubles = npt.NDArray[np.float64]
Integers = npt.NDArray[np.int64]


@dataclass(frozen=True, eq=False)
class FrameIndex:
    """When each frame of a video is shown, and which packets it takes to decode it."""

    path: Path
    times: Doubles  # (F,) s, rising; by the frame rate where packets keep no times
    orientation: Orientation
    stamps: Integers | None  # (F,) PTS in ticks of the stream; None: the packets do not say enough
    places: Integers  # (F,) 0-based place of a frame's packet among all packets
    starts: Integers  # (F,) place of the packet at which its decoding begins

    def find_nearest(self, times: Doubles) -> Integers:
        """Return the 0-based index of the frame nearest to each time (T,) s; of two as near, the earlier."""
        after = np.clip(np.searchsorted(self.times, times), 0, len(self.times) - 1)
        before = np.maximum(after - 1, 0)
        return np.where(times - self.times[before] <= self.times[after] - times, before, after)


def index_frames(path: FilePath) -> FrameIndex:
    """Read all packets of a video; only its first frame is decoded.

    Raises:
        VideoError: the file is missing or is no video.
    """
    orientation: Orientation | None = None
    shown: list[tuple[int | None, int]] = []  # (PTS, place) of each frame
    keys: list[tuple[int | None, int]] = []  # likewise, of the packets that begin anew
    with open_video(path) as (container, stream):
        for place, packet in enumerate(read_packets(container, stream, path)):
            if orientation is None:
                orientation = next(map(find_orientation, decode_packet(packet)), None)
            if holds_frame(packet):
                shown.append((packet.pts, place))
            if packet.is_keyframe:
                keys.append((packet.pts, place))
        return _build(path, stream, find_start(container, stream), shown, keys, orientation or (False, False, False))


def _build(
    path: FilePath,
    stream: VideoStream,
    start: Fraction,
    shown: list[tuple[int | None, int]],
    keys: list[tuple[int | None, int]],
    orientation: Orientation,
) -> FrameIndex:
    count, nothing = len(shown), np.empty(0, np.int64)
    if len({pts for pts, _ in shown} - {None}) < max(count, 1) or any(pts is None for pts, _ in keys):
        interval = float(1 / stream.average_rate) if stream.average_rate else 0.0
        return FrameIndex(Path(path), np.arange(count) * interval, orientation, None, nothing, nothing)
    stamps, places = np.array(sorted(cast("list[tuple[int, int]]", shown)), np.int64).T
    time_base = cast(Fraction, stream.time_base)
    times = np.array([float(int(stamp) * time_base - start) for stamp in stamps])
    return FrameIndex(Path(path), times, orientation, stamps, places, _find_starts(stamps, places, keys))


def _find_starts(stamps: Integers, places: Integers, keys: list[tuple[int | None, int]]) -> Integers:
    """Return for each frame the place of the last key frame that is stored before it and not shown after it.

    A frame that is stored after a key frame but shown before it may need the frames before the key frame (open GOP).
    """
    if not keys:
        return np.zeros_like(places)
    key_stamps, key_places = np.array(keys, np.int64).T
    if np.any(np.diff(key_stamps) <= 0):
        return np.zeros_like(places)
    shown = np.searchsorted(key_stamps, stamps, side="right")
    stored = np.searchsorted(key_places, places, side="right")
    starts: Integers = np.append(0, key_places)[np.minimum(shown, stored)]
    return starts


def read_frames_at(
    path: FilePath, times: Iterable[float], *, index: FrameIndex | None = None
) -> Generator[Frame, None, None]:
    """Yield for each of `times`, s in rising order, the frame nearest to it; of two as near, the earlier.

    A time before the first frame or after the last gives that one. `index` saves reading all packets once more.

    Raises:
        UsageError: the times do not rise.
        VideoError: the file is missing, is no video, or none of its frames can be decoded.
    """
    targets = np.array(list(times), np.float64)  # (T,)
    if not np.isfinite(targets).all() or np.any(np.diff(targets) < 0):
        raise UsageError("Expected times in s in rising order, but they fall or are no numbers; sort them.")
    if not len(targets):
        return
    index = index or index_frames(path)
    done = 0
    if index.stamps is not None:
        for frame in _read_rows(index, index.find_nearest(targets)):
            yield frame
            done += 1
    if done < len(targets):
        with closing(read_frames(path)) as frames:
            yield from _pick_nearest(_in_order(frames), targets[done:])


def _in_order(frames: Iterable[Frame]) -> Iterator[Frame]:
    """Yield the frames by their times; those next to damaged ones may come out at the wrong place."""
    waiting: list[tuple[float, int, Frame]] = []
    for frame in frames:
        heappush(waiting, (frame.time, frame.index, frame))
        if len(waiting) > MAX_REORDER:
            yield heappop(waiting)[-1]
    while waiting:
        yield heappop(waiting)[-1]


def _pick_nearest(frames: Iterable[Frame], targets: Doubles) -> Iterator[Frame]:
    """Yield for each target (T,) s the frame nearest to it, from all frames."""
    pending = deque(targets.tolist())
    previous: Frame | None = None
    for frame in frames:
        while pending and pending[0] <= frame.time:
            target = pending.popleft()
            is_nearer = previous is not None and target - previous.time <= frame.time - target
            yield cast(Frame, previous) if is_nearer else frame
        if not pending:
            return
        previous = frame
    for _ in pending:
        yield cast(Frame, previous)


def _read_rows(index: FrameIndex, rows: Integers) -> Iterator[Frame]:
    """Yield the frames `rows`, rising, of those that are shown; stop before the first that cannot be had."""
    stamps = cast(Integers, index.stamps)
    pending = deque(rows.tolist())
    wanted = set(stamps[rows].tolist())
    found: dict[int, av.VideoFrame] = {}  # by PTS
    with closing(_decode_runs(index, rows)) as pictures:
        for picture in pictures:
            if picture.pts in wanted:
                found[cast(int, picture.pts)] = picture
            while pending and (stamp := int(stamps[pending[0]])) in found:
                row = pending[0]
                frame = Frame(row, float(index.times[row]), found.pop(stamp), index.orientation)
                while pending and pending[0] == row:
                    yield frame
                    pending.popleft()
            if not pending or len(found) > MAX_REORDER:
                return


def _decode_runs(index: FrameIndex, rows: Integers) -> Generator[av.VideoFrame, None, None]:
    """Yield what comes out of the packets that `rows` need; stop where a key frame does not stand alone."""
    starts, stops = index.starts[rows], index.places[rows] + 1
    change = np.zeros(int(stops.max()) + 1, np.int64)
    np.add.at(change, starts, 1)
    np.add.at(change, stops, -1)
    is_needed = np.cumsum(change) > 0  # (P,) of each packet; the last is not
    with open_video(index.path) as (container, stream):
        # FFmpeg's VP9 decoder calls a null pointer if, begun anew at damage, it decodes frames on threads of their own.
        stream.thread_type = "SLICE" if stream.codec_context.name == "vp9" else "AUTO"
        due: int | None = None  # PTS of a key frame that has to come out next, complete
        for place, packet in enumerate(read_packets(container, stream, index.path)):
            begins = is_needed[place] and place > 0 and not is_needed[place - 1]
            ends = not is_needed[place] and place > 0 and is_needed[place - 1]
            due = packet.pts if begins else due
            pictures = decode_packet(packet) if is_needed[place] else _drain(stream) if ends else []
            if due is not None:  # what is shown before a key frame may be broken without what is stored before it
                pictures = [picture for picture in pictures if picture.pts is None or picture.pts >= due]
            if due is not None and pictures:
                if not _stands_alone(pictures[0], due):
                    return
                due = None
            yield from pictures
            if place == len(is_needed) - 1:
                return


def _stands_alone(picture: av.VideoFrame, stamp: int) -> bool:
    """Whether this is the picture of a key frame; some are called so that only begin a gradual refresh."""
    return picture.pts == stamp and picture.key_frame and picture.pict_type == PictureType.I


def _drain(stream: VideoStream) -> list[av.VideoFrame]:
    """Give the frames that the decoder still holds, and make it ready to begin anew."""
    pictures: list[av.VideoFrame] = []
    with suppress(av.FFmpegError):
        pictures = stream.codec_context.decode(None)
    stream.codec_context.flush_buffers()
    return pictures
