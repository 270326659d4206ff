"""Frames as they come: a camera, a file at its own pace, or an address goes in; frames with their media time come out.

Lives here: when a camera counts as absent, busy, mute or unplugged, and the pace of everything else, by its own times.
The one conversion from OpenCV's BGR stands at its camera.
"""

import re
import sys
import threading
import time
from collections.abc import Callable, Generator, Iterator
from contextlib import contextmanager
from itertools import chain
from pathlib import Path
from types import TracebackType
from typing import cast

import av
import cv2
from av.container import InputContainer
from av.packet import Packet
from av.video.stream import VideoStream

from .errors import UsageError, VideoError
from .video import Frame, Image, find_orientation, read_frames

DEVICES = Path("/dev")  # where Linux lists cameras, as video0, video1, ...
FIRST_FRAME_SECONDS = 5.0  # that a camera may take to deliver its first frame
LOST_SECONDS = 1.0  # without a frame after which a camera counts as unplugged; single frames do get lost
RETRY_SECONDS = 0.02  # between two attempts
ADDRESS_SECONDS = 5.0  # that an address may take to open, or to deliver more

# What a stream may make FFmpeg open: nothing on this machine, whatever a playlist says.
_PROTOCOLS = "crypto,hls,http,httpproxy,https,rtmp,rtmps,rtp,rtsp,rtsps,srt,srtp,tcp,tls,udp"

Frames = Generator[Frame, None, None]


class Source:
    """An open source of frames: iterate over it once; `stop`, from any thread, ends the frames.

    It is a context manager, which lets go of the camera, file or connection at the end.
    """

    def __init__(self, frames: Frames, *, stopped: threading.Event, release: Callable[[], None] | None = None) -> None:
        self._frames, self._stopped, self._release = frames, stopped, release

    def __iter__(self) -> Iterator[Frame]:
        return self._frames

    def stop(self) -> None:
        """End the frames: the next one does not come, however long it was still to wait."""
        self._stopped.set()

    def __enter__(self) -> "Source":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()
        self._frames.close()
        if self._release is not None:
            self._release()


def open_source(*, camera: int | None = None, source: str | Path | None = None, speed: float = 1.0) -> Source:
    """Open the camera of a number, or a video file or address, of which `speed` s pass in each second.

    A frame's time counts from the first frame of a camera, and is its PTS elsewhere; each comes when its time has come.

    Raises:
        UsageError: not exactly one of `camera` and `source` is given.
        VideoError: the source cannot be opened; while iterating, that it ended before its time.
    """
    if (camera is None) == (source is None):
        raise UsageError("Expected either the number of a camera or a video to play, but got both or neither.")
    stopped = threading.Event()
    if camera is not None:
        capture = _open_camera(camera)
        return Source(_read_camera(capture, camera, stopped), stopped=stopped, release=capture.release)
    if "://" in str(source):
        container = _open_address(str(source))
        frames, release = _read_address(container, str(source)), container.close
    else:
        file = read_frames(Path(source or ""))
        first = next(file)  # what cannot be read is an error now, not in the middle of a session
        frames, release = chain([first], file), file.close
    return Source(_pace(frames, stopped, speed=speed), stopped=stopped, release=release)


@contextmanager
def _mute_opencv() -> Iterator[None]:
    """Keep OpenCV from writing warnings of its own; what matters comes as an exception."""
    level = cv2.getLogLevel()
    cv2.setLogLevel(0)
    try:
        yield
    finally:
        cv2.setLogLevel(level)


def _open_camera(number: int) -> cv2.VideoCapture:
    if number < 0:
        raise UsageError(f"A camera's number counts from 0, but {number} was given.")
    if sys.platform == "linux" and not (DEVICES / f"video{number}").exists():
        raise VideoError(
            f"There is no camera {number} (no {DEVICES / f'video{number}'}); cameras found: {_list_cameras()}. Connect "
            "one or give another number."
        )
    with _mute_opencv():
        capture = cv2.VideoCapture(number)
    if not capture.isOpened():
        capture.release()
        raise VideoError(
            f"Camera {number} is there but cannot be opened; close other programs that use it, and check that you may "
            "read it (on Linux, your user should be in the group video)."
        )
    return capture


def _list_cameras() -> str:
    numbers = sorted(int(path.name[5:]) for path in DEVICES.glob("video*") if re.fullmatch(r"video\d+", path.name))
    return ", ".join(map(str, numbers)) or "none"


def _read_camera(capture: cv2.VideoCapture, number: int, stopped: threading.Event) -> Frames:
    index, first, patience = 0, 0.0, FIRST_FRAME_SECONDS
    heard = time.monotonic()  # when the last frame came
    with _mute_opencv():
        while not stopped.is_set():
            has_come, image = capture.read()
            now = time.monotonic()
            if has_come:
                first = now if index == 0 else first
                yield Frame(index, now - first, cast(Image, cv2.cvtColor(image, cv2.COLOR_BGR2RGB)))
                index, heard, patience = index + 1, time.monotonic(), LOST_SECONDS
            elif now - heard >= patience:
                raise _silent_camera(number, index)
            else:
                stopped.wait(RETRY_SECONDS)


def _silent_camera(number: int, frames: int) -> VideoError:
    if frames:
        return VideoError(
            f"Camera {number} stopped delivering after {frames} frames; it was unplugged perhaps. Connect it and start "
            "again."
        )
    return VideoError(
        f"Camera {number} was opened but delivered no frame within {FIRST_FRAME_SECONDS:g} s; unplug it, connect it "
        "again, or give another number."
    )


def _open_address(address: str) -> InputContainer:
    try:
        container = av.open(
            address,
            "r",
            options={"protocol_whitelist": _PROTOCOLS},
            timeout=(ADDRESS_SECONDS, ADDRESS_SECONDS),
            metadata_errors="replace",
        )
    except (av.FFmpegError, OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or error
        raise VideoError(
            f"Expected a video at {address}, but it cannot be opened ({reason}); check the address and the connection."
        ) from error
    if not container.streams.video:
        container.close()
        raise VideoError(f"Expected a video at {address}, but it has no picture; check the address.")
    return container


def _read_address(container: InputContainer, address: str) -> Iterator[Frame]:
    index, start, moment, orientation = 0, None, 0.0, None
    try:
        for packet in container.demux(video=0):
            for picture in _decode(packet):
                if orientation is None:
                    start, orientation = picture.time, find_orientation(picture)
                moment = moment if picture.time is None or start is None else picture.time - start
                yield Frame(index, moment, picture, orientation)
                index += 1
    except IndexError:  # PyAV's at the very end, over a stream that begins late
        pass
    except (av.FFmpegError, OSError) as error:
        raise VideoError(
            f"{address} stopped delivering after {index} frames ({error.strerror}); check the connection and start "
            "again."
        ) from error
    if not index:
        raise VideoError(f"Expected a video at {address}, but none of its frames can be decoded; check the address.")


def _decode(packet: "Packet[VideoStream]") -> list[av.VideoFrame]:
    try:
        return packet.decode()
    except av.InvalidDataError:  # a packet that was damaged on its way is a picture less
        return []


def _pace(frames: Iterator[Frame], stopped: threading.Event, *, speed: float) -> Frames:
    """Yield each frame when its own time has come, counted from the first."""
    began: float | None = None  # on the monotonic clock, the time 0 of the frames
    for frame in frames:
        began = time.monotonic() - frame.time / speed if began is None else began
        wait = began + frame.time / speed - time.monotonic()
        if stopped.wait(min(max(wait, 0), threading.TIMEOUT_MAX)):  # damage can put a frame centuries away
            return
        yield frame
