"""Video files for the tests, each made here by PyAV with a picture that tells its own number."""

import os
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from fractions import Fraction
from pathlib import Path

import av
import numpy as np

from emo_affectnet.video import Frame

NTSC = Fraction(30000, 1001)
SIZE = (64, 48)  # px, width and height
LEVEL_STEP = 8  # grey levels from one frame to the next: far more than any codec here changes
COLOUR_TOLERANCE = 8  # grey levels: lossy coding and limited range


def coded(index: int, size: tuple[int, int] = SIZE) -> np.ndarray:
    """An image whose grey level says its index."""
    width, height = size
    return np.full((height, width, 3), 20 + LEVEL_STEP * (index % 25), np.uint8)


def codes(frames: Iterable[Frame]) -> list[int]:
    """The indices that the grey levels say."""
    return [round((float(frame.image.mean()) - 20) / LEVEL_STEP) for frame in frames]


def quadrants() -> np.ndarray:
    """Red, green, blue and white, in reading order: every turn and mirroring of it looks different."""
    image = np.zeros((48, 64, 3), np.uint8)
    image[:24, :32], image[:24, 32:], image[24:, :32], image[24:, 32:] = (255, 0, 0), (0, 255, 0), (0, 0, 255), 255
    return image


def make(
    path: Path,
    images: Iterable[np.ndarray],
    *,
    codec: str = "libx264",
    pix_fmt: str = "yuv420p",
    rate: Fraction | int = 25,
    ticks: list[int] | None = None,
    tick: Fraction = Fraction(1, 1000),
    container_format: str | None = None,
    codec_options: dict[str, str] | None = None,
    rotation: tuple[int, bool, bool] | None = None,
    damaged: Iterable[int] = (),
    sound_seconds: float = 0,
) -> Path:
    """Encode `images`; `ticks` are their times in units of `tick`, `damaged` the packets to fill with rubbish."""
    images = list(images)
    with usual_priority(), av.open(path, "w", format=container_format) as container:
        video = container.add_stream(codec, rate=rate, options=codec_options or {})
        video.height, video.width = images[0].shape[:2]
        video.pix_fmt = pix_fmt
        if ticks is not None:
            video.codec_context.time_base = tick
        if rotation is not None:
            video.set_display_rotation(*rotation)
        audio = container.add_stream("aac", rate=8000, layout="mono") if sound_seconds else None
        packets = []
        for index, image in enumerate(images):
            picture = av.VideoFrame.from_ndarray(image, format="rgb24")
            if ticks is not None:
                picture.pts, picture.time_base = ticks[index], tick
            packets += video.encode(picture.reformat(format=pix_fmt))
        packets += video.encode(None)
        for index, packet in enumerate(packets):
            container.mux(spoiled(packet) if index in set(damaged) else packet)
        if audio is not None:
            silence = np.zeros((1, int(8000 * sound_seconds)), np.float32)
            sound = av.AudioFrame.from_ndarray(silence, format="fltp", layout="mono")
            sound.sample_rate = 8000
            container.mux(audio.encode(sound) + audio.encode(None))
    return path


@contextmanager
def usual_priority() -> Iterator[None]:
    """Leave this thread as it was: SVT-AV1 gives it real-time priority where it may, and everything else starves."""
    if not hasattr(os, "sched_getscheduler"):
        yield
        return
    before = os.sched_getscheduler(0), os.sched_getparam(0)
    try:
        yield
    finally:
        os.sched_setscheduler(0, *before)


def spoiled(packet: av.Packet) -> av.Packet:
    rubbish = av.Packet(b"\x55" * 60)
    rubbish.pts, rubbish.dts, rubbish.duration = packet.pts, packet.dts, packet.duration
    rubbish.time_base, rubbish.stream, rubbish.is_keyframe = packet.time_base, packet.stream, packet.is_keyframe
    return rubbish


def make_sound(path: Path) -> Path:
    with av.open(path, "w") as container:
        audio = container.add_stream("aac", rate=8000, layout="mono")
        sound = av.AudioFrame.from_ndarray(np.zeros((1, 8000), np.float32), format="fltp", layout="mono")
        sound.sample_rate = 8000
        container.mux(audio.encode(sound) + audio.encode(None))
    return path


def picture_bytes(codec: str, pix_fmt: str) -> bytes:
    context = av.CodecContext.create(codec, "w")
    context.width, context.height = SIZE
    context.pix_fmt, context.time_base = pix_fmt, Fraction(1, 25)
    picture = av.VideoFrame.from_ndarray(quadrants(), format="rgb24").reformat(format=pix_fmt)
    return b"".join(bytes(packet) for packet in [*context.encode(picture), *context.encode(None)])


def open_descriptors() -> set[str]:
    """The files that this process holds open."""
    folder = Path("/proc/self/fd")
    return {os.readlink(entry) for entry in folder.iterdir() if entry.is_symlink() and entry.exists()}
