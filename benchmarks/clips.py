"""The clips of the benchmarks: the demo portrait inside a larger picture, and copies of any length made in seconds.

One clip is encoded; a longer one repeats its packets with later times, so that it costs no encoding and nothing in it
is easier to decode. Clips are kept in `runs/bench/` and used again; delete the folder to have them made anew.
"""

from collections.abc import Iterator
from itertools import count, islice
from pathlib import Path
from typing import cast

import av
import cv2
import numpy as np
import numpy.typing as npt
from measurement import ROOT

from emo_affectnet.files import whole_file
from emo_affectnet.video import read_frames

Image = npt.NDArray[np.uint8]  # (H, W, 3), RGB

FOLDER = ROOT / "runs" / "bench"
PORTRAIT = ROOT / "video" / "expressions.mp4"
FPS, SECONDS = 30, 10  # of what is encoded
CRF, PRESET = 20, "veryfast"  # 6 Mbit/s at 720p, as cameras record; key and B-frames are x264's own default
WALL = (203, 194, 191)  # behind the portrait
PORTRAIT_SHARE = 2 / 3  # of the picture's height
SWAY = 1 / 30  # of the picture's height, to either side, once in SECONDS
GRAIN = 3.0  # grey levels, standard deviation: real recordings have some, and it takes bits and decoding time
GRAIN_PICTURES = 8


def find_clip(*, height: int, seconds: float, people: int = 1) -> Path:
    """Return a clip of 16:9, `height` px high, from the folder of clips; it is made now if it is not there."""
    FOLDER.mkdir(parents=True, exist_ok=True)
    short = FOLDER / f"{height}p-{people}-people-{SECONDS:g}s.mp4"
    if not short.exists():
        make_clip(short, height=height, seconds=SECONDS, people=people)
    times = round(seconds / SECONDS)
    if times == 1:
        return short
    long = FOLDER / f"{height}p-{people}-people-{seconds:g}s.mp4"
    return long if long.exists() else repeat_packets(short, long, times=times)


def make_clip(path: Path, *, height: int, seconds: float, people: int = 1) -> Path:
    """Write a clip of 16:9 in which people, side by side, change their expressions and sway a little.

    It is H.264 by x264's own defaults. It says nothing of its colours, so that every decoder takes them for BT.601:
    OpenCV heeds no other ones, and both sides shall see the same pixels.
    """
    width = round(height * 16 / 9 / 2) * 2
    random = np.random.default_rng(0)
    grain = [np.repeat(random.normal(0, GRAIN, (height, width, 1)), 3, axis=2).round() for _ in range(GRAIN_PICTURES)]
    grain = [each.astype(np.int16) for each in grain]
    with whole_file(path) as partial, av.open(str(partial), "w", format="mp4") as container:
        stream = container.add_stream("libx264", rate=FPS, options={"crf": str(CRF), "preset": PRESET})
        stream.width, stream.height, stream.pix_fmt = width, height, "yuv420p"
        stream.codec_context.thread_type = "FRAME"
        pictures = draw_pictures(width=width, height=height, people=people)
        for index, picture in enumerate(islice(pictures, round(seconds * FPS))):
            image = cast(Image, cv2.add(picture, grain[index % GRAIN_PICTURES], dtype=cv2.CV_8U))
            container.mux(stream.encode(av.VideoFrame.from_ndarray(image, format="rgb24")))
        container.mux(stream.encode(None))
    return path


def draw_pictures(*, width: int, height: int, people: int) -> Iterator[Image]:
    """Yield pictures without end; each person is at another point of the demo clip."""
    columns = min(people, 4)
    rows = -(-people // columns)
    cell_width, cell_height = width // columns, height // rows
    side = min(round(PORTRAIT_SHARE * height), cell_width, cell_height)
    portraits = [cv2.resize(frame.image, (side, side), interpolation=cv2.INTER_AREA) for frame in read_frames(PORTRAIT)]
    sway = [min(SWAY * height, (room - side) / 2) for room in (cell_width, cell_height)]
    for index in count():
        picture = np.full((height, width, 3), WALL, np.uint8)
        turn = 2 * np.pi * index / (FPS * SECONDS)
        for person in range(people):
            row, column = divmod(person, columns)
            left = column * cell_width + (cell_width - side) / 2 + sway[0] * np.sin(turn)
            top = row * cell_height + (cell_height - side) / 2 + sway[1] * np.sin(2 * turn)
            area = np.s_[round(top) : round(top) + side, round(left) : round(left) + side]
            picture[area] = portraits[(index + person * len(portraits) // people) % len(portraits)]
        yield picture


def repeat_packets(source: Path, target: Path, *, times: int) -> Path:
    """Write the packets of a video's picture `times` over, each time later; the source's first frame is a key frame."""
    with av.open(str(source)) as reading:
        picture = reading.streams.video[0]
        packets = [packet for packet in reading.demux(picture) if packet.size]
        stamps = [(cast(int, packet.pts), cast(int, packet.dts)) for packet in packets]
        length = max(pts for pts, _ in stamps) - min(pts for pts, _ in stamps) + cast(int, packets[0].duration)
        with whole_file(target) as partial, av.open(str(partial), "w", format="mp4") as writing:
            stream = writing.add_stream_from_template(picture)
            assert picture.time_base is not None
            stream.time_base = picture.time_base
            for time in range(times):
                for packet, (pts, dts) in zip(packets, stamps, strict=True):
                    packet.stream = stream
                    packet.time_base = picture.time_base
                    packet.pts, packet.dts = pts + time * length, dts + time * length
                    writing.mux(packet)
    return target
