"""Bad input, made here: files with video names that are broken, absurd, something else, or out to do harm.

`HOSTILE` holds them all. Each has a name, says in `intent` what it is, writes itself into a folder, and knows what
should become of it: "ok", "no_face" or "error" with a part of the sentence.
"""

import io
import itertools
import json
import os
import pickle
import struct
import sys
import tarfile
import zipfile
import zlib
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from fractions import Fraction
from functools import cache, partial
from gzip import compress
from pathlib import Path
from tempfile import TemporaryDirectory

import av
import numpy as np
from av.stream import Disposition
from mp4_files import (
    ONE,
    Packets,
    box,
    compress_index,
    encode,
    find_box,
    find_boxes,
    fragmented,
    full_box,
    movie,
    patch,
    table,
)
from video_files import make, make_sound, picture_bytes

FRAMES = 10  # of a usual clip, at 25 fps: two samples
ALL = 0xFFFFFFFF  # the largest number that a table of an mp4 can hold
HOURS = 3600  # s

Write = Callable[[Path], object]


@dataclass(frozen=True)
class Hostile:
    """One bad file."""

    name: str  # of the file
    intent: str
    write: Write
    status: str  # "ok", "no_face" or "error"; "ok no_face" where damage decides
    sentence: str = ""  # a part of the message


def of_bytes(name: str, intent: str, content: Callable[[], bytes], status: str, sentence: str = "") -> Hostile:
    return Hostile(name, intent, lambda path: path.write_bytes(content()), status, sentence)


NO_FORMAT = "it is in no known video format"
NO_MOOV = "its index (moov) is missing"
NO_FRAMES = "none of its frames can be decoded"
NO_DECODER = "FFmpeg has no decoder for its codec"
IS_PICTURE = "it is a picture"
NO_PICTURE = "it holds neither picture nor sound"
TOO_LARGE = "at most 67,108,864"
PLAYLIST = "it is a playlist"


# What the files are made of


@cache
def portrait() -> np.ndarray:
    """A smiling face, RGB (128, 128, 3)."""
    from skimage.data import astronaut

    return np.ascontiguousarray(astronaut()[0:256:2, 96:352:2])


def grey(width: int, height: int) -> np.ndarray:
    return np.full((height, width, 3), 128, np.uint8)


@cache
def packets(codec: str = "libx264", pix_fmt: str = "yuv420p", *, group: int = 250) -> Packets:
    """The face, FRAMES times."""
    options = {"g": str(group)} | ({"tune": "zerolatency", "preset": "ultrafast"} if codec == "libx264" else {})
    return encode([portrait()] * FRAMES, codec=codec, pix_fmt=pix_fmt, **options)


@cache
def clip(suffix: str = ".mp4", codec: str = "libx264", pix_fmt: str = "yuv420p", *, movflags: str = "") -> bytes:
    """The face as a file of FFmpeg's own making, with B-frames where the codec has them."""
    with TemporaryDirectory() as folder:  # FFmpeg opens the file a second time to put the index first
        path = Path(folder, "clip" + suffix)
        with av.open(path, "w", options={"movflags": movflags} if movflags else {}) as container:
            options = {"bf": "2", "b-adapt": "0"} if codec == "libx264" else {}
            stream = container.add_stream(codec, rate=25, width=128, height=128, pix_fmt=pix_fmt, options=options)
            picture = av.VideoFrame.from_ndarray(portrait(), format="rgb24").reformat(format=pix_fmt)
            for index in range(FRAMES):
                picture.pts, picture.time_base = index, Fraction(1, 25)
                container.mux(stream.encode(picture))
            container.mux(stream.encode(None))
        return path.read_bytes()


def png(width: int, height: int, *, rows: int | None = None) -> bytes:
    """A black PNG of one bit for each px, of which `rows` are there."""
    lines = zlib.compress(bytes((1 + (width + 7) // 8) * (height if rows is None else rows)), 1)

    def chunk(kind: bytes, body: bytes) -> bytes:
        return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))

    header = struct.pack(">IIBBBBB", width, height, 1, 0, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", lines) + chunk(b"IEND", b"")


def png_movie(width: int, height: int, *, rows: int | None = None, count: int = 1) -> bytes:
    # what the index says of the size is cut to its 16 bits; the pictures know better
    return movie(
        Packets((png(width, height, rows=rows),) * count, b"", (width & 0xFFFF, height & 0xFFFF)), fourcc=b"png "
    )


def plain(**changes: object) -> bytes:
    return movie(packets(), **changes)  # type: ignore[arg-type] # any of them


def swapped(name: bytes, new: bytes) -> bytes:
    return plain(contents={name: new})


# Cut short


def truncations() -> Iterator[Hostile]:
    """Cut at every box of a real mp4, inside its header, and in the middle of it."""
    for order, movflags in (("last", ""), ("first", "faststart")):
        data = clip(movflags=movflags)
        for each in find_boxes(data):
            for where, place in (
                ("at", each.start),
                ("header", each.start + 4),
                ("middle", (each.start + each.stop) // 2),
            ):
                name = f"cut-moov-{order}-{each.path.replace('/', '.').strip()}-{where}.mp4"
                status, sentence = _fate(data, place)
                yield of_bytes(name, f"cut {where} {each.path}", partial(_head, data, place), status, sentence)


def _fate(data: bytes, place: int) -> tuple[str, str]:
    """Say what becomes of a file that is cut here: how far FFmpeg gets depends on the tables that are left."""
    index, media = find_box(data, "moov"), find_box(data, "mdat")
    if place == 0:
        return "error", "the file is empty"
    if place < 8:
        return "error", NO_FORMAT
    if place >= find_box(data, "stco").stop and media.start < index.start:
        return "ok", ""  # what follows are titles
    if place >= media.start + 8 and media.start > index.start:
        return "error", NO_FRAMES  # the first frame is by far the largest, and cut through
    return "error", ""  # in other words from table to table


def _head(data: bytes, size: int) -> bytes:
    return data[:size]


# Codecs


def wrong_codecs() -> Iterator[Hostile]:
    for fourcc, words in ((b"zzzz", "of nobody"), (b"\0\0\0\0", "of zeros"), (b"evc1", "of EVC, which FFmpeg lacks")):
        name = f"codec-{fourcc.hex()}.mp4"
        yield of_bytes(name, f"codec {words}", partial(plain, fourcc=fourcc), "error", NO_DECODER)
    hevc = lambda: packets("libx265")  # noqa: E731 # made when it is needed
    yield of_bytes(
        "hevc-as-avc1.mp4",
        "HEVC bytes labelled H.264",
        lambda: movie(Packets(hevc().samples, packets().config, (128, 128))),
        "error",
        NO_FRAMES,
    )
    yield of_bytes("hevc-config-as-avc1.mp4", "HEVC with hvcC under avc1", lambda: movie(hevc()), "error", NO_FRAMES)
    yield of_bytes("h264-as-hvc1.mp4", "H.264 labelled HEVC", lambda: plain(fourcc=b"hvc1"), "error", NO_FRAMES)
    yield of_bytes("h264-as-jpeg.mp4", "H.264 labelled JPEG", lambda: plain(fourcc=b"jpeg"), "error", NO_FRAMES)
    yield of_bytes("h264-as-raw.mp4", "H.264 labelled raw", lambda: plain(fourcc=b"raw "), "error", NO_FRAMES)
    yield of_bytes("h264-as-vp9.mp4", "H.264 labelled VP9", lambda: plain(fourcc=b"vp09"), "error", NO_FRAMES)
    yield of_bytes("h264-as-av1.mp4", "H.264 labelled AV1", lambda: plain(fourcc=b"av01"), "error", NO_FRAMES)
    yield of_bytes(
        "encrypted.mp4", "labelled encrypted, without a key", lambda: plain(fourcc=b"encv"), "error", NO_DECODER
    )
    yield of_bytes(
        "no-config.mp4",
        "H.264 without its parameter sets",
        lambda: movie(Packets(packets().samples, b"", (128, 128))),
        "error",
        NO_MOOV,
    )
    jpeg = lambda: packets("mjpeg", "yuvj420p")  # noqa: E731
    yield of_bytes("mjpeg.mp4", "motion JPEG in mp4", lambda: movie(jpeg(), fourcc=b"jpeg"), "ok")
    yield of_bytes("mjpeg-as-avc1.mp4", "JPEG labelled H.264", lambda: movie(jpeg()), "error", NO_FRAMES)
    raw = Packets((portrait().tobytes(),) * FRAMES, b"", (128, 128))
    yield of_bytes("raw-rgb.mp4", "raw RGB", lambda: movie(raw, fourcc=b"raw "), "ok")
    yield of_bytes(
        "bare-yuv.mp4", "raw pictures without any header", lambda: bytes([90]) * 128 * 192 * 5, "error", NO_FORMAT
    )
    yield of_bytes("really-y4m.mp4", "y4m named mp4", lambda: clip(".y4m", "rawvideo"), "ok")
    yield of_bytes("really-mkv.avi", "mkv named avi", lambda: clip(".mkv"), "ok")
    yield of_bytes("really-mp4.mkv", "mp4 named mkv", clip, "ok")
    yield of_bytes("really-h264.mp4", "a bare H.264 stream named mp4", lambda: clip(".h264"), "ok")
    yield of_bytes("really-ts.mp4", "a transport stream named mp4", lambda: clip(".ts"), "ok")
    yield of_bytes("really-flv.webm", "flv named webm", lambda: clip(".flv", "flv"), "ok")
    yield of_bytes("ffv1.avi", "ffv1 in avi", lambda: clip(".avi", "ffv1"), "ok")
    yield of_bytes("prores.mov", "ProRes", lambda: clip(".mov", "prores_ks", "yuv422p10le"), "ok")
    yield of_bytes("vp9.mp4", "VP9 in mp4", lambda: clip(".mp4", "libvpx-vp9"), "ok")


# Sizes and rates


def absurd_sizes() -> Iterator[Hostile]:
    yield of_bytes("claims-65535.mp4", "the index lies about the size", lambda: plain(size=(65535, 65535)), "ok")
    yield of_bytes("claims-0.mp4", "the index says 0 x 0", lambda: plain(size=(0, 0)), "ok")
    yield of_bytes(
        "png-65535.mp4", "65535 x 65535 of one row", lambda: png_movie(65535, 65535, rows=1), "error", TOO_LARGE
    )
    yield of_bytes(
        "png-2g.mp4", "2^31 - 1 px square", lambda: png_movie(2**31 - 1, 2**31 - 1, rows=0), "error", TOO_LARGE
    )
    yield of_bytes(
        "png-16384.mp4", "16384 x 16384, more than FFmpeg takes", lambda: png_movie(16384, 16384), "error", TOO_LARGE
    )
    yield of_bytes(
        "png-16000.mp4", "16000 x 16000, which FFmpeg takes", lambda: png_movie(16000, 16000), "error", TOO_LARGE
    )
    yield of_bytes("png-hides.mp4", "16000 x 16000, called 64 x 48", _hiding_png, "error", NO_FRAMES)
    yield of_bytes("png-8k.mp4", "8K is no bomb", lambda: png_movie(7680, 4320), "no_face")
    yield of_bytes("png-8192.mp4", "the largest allowed", lambda: png_movie(8192, 8192), "no_face")
    yield of_bytes("png-1x1.mp4", "a single px", lambda: png_movie(1, 1, count=FRAMES), "no_face")
    yield of_bytes("png-wide.mp4", "8192 x 2", lambda: png_movie(8192, 2, count=FRAMES), "no_face")
    yield of_bytes("png-tall.mp4", "1 x 8192", lambda: png_movie(1, 8192, count=FRAMES), "no_face")
    yield Hostile("h264-2x2.mp4", "2 x 2", lambda path: make(path, [grey(2, 2)] * 5), "no_face")
    yield Hostile("h264-16x2000.mp4", "16 x 2000", lambda path: make(path, [grey(16, 2000)] * 5), "no_face")
    yield of_bytes("jpeg-65500.mp4", "a JPEG that claims 65500 x 65500", _jpeg_bomb, "error", TOO_LARGE)
    yield of_bytes("gif-65535.mp4", "a GIF whose canvas would take 17 GB", _gif_bomb, "error", TOO_LARGE)
    yield of_bytes(
        "vp8-16000.webm", "a VP8 key frame of 16000 x 16000 in a webm of 128 x 128", _vp8_bomb, "error", NO_FRAMES
    )
    yield of_bytes("y4m-65535.mp4", "raw pictures of 6 GB each", partial(_y4m_bomb, 65535), "error", NO_FORMAT)
    yield of_bytes("y4m-9000.mp4", "raw pictures of 121 MB each", partial(_y4m_bomb, 9000), "error", TOO_LARGE)
    yield of_bytes("mpeg2-16000.ts", "MPEG-2 of 16000 x 16000 in TS", _mpeg2_bomb, "error", TOO_LARGE)
    yield of_bytes("grows.mp4", "a bomb behind 11 sound pictures", _growing_png, "no_face")


def _jpeg_bomb() -> bytes:
    jpeg = bytearray(packets("mjpeg", "yuvj420p").samples[0])
    struct.pack_into(">HH", jpeg, jpeg.index(b"\xff\xc0") + 5, 65500, 65500)
    return movie(Packets((bytes(jpeg),), b"", (65500, 65500)), fourcc=b"jpeg")


def _gif_bomb() -> bytes:
    gif = bytearray(clip(".gif", "gif", "gray"))
    struct.pack_into("<HH", gif, 6, 65535, 65535)
    return bytes(gif)


def _vp8_bomb() -> bytes:
    webm = bytearray(clip(".webm", "libvpx"))
    key = webm.index(b"\x9d\x01\x2a")
    struct.pack_into("<HH", webm, key + 3, 16000, 16000)
    return bytes(webm)


def _y4m_bomb(side: int) -> bytes:
    return f"YUV4MPEG2 W{side} H{side} F25:1 C420\nFRAME\n".encode() + bytes(100_000)


def _mpeg2_bomb() -> bytes:
    stream = bytearray(clip(".ts", "mpeg2video"))
    place = -1
    while (place := stream.find(b"\0\0\1\xb3", place + 1)) >= 0:
        stream[place + 4 : place + 7] = (0xE80E80).to_bytes(3, "big")  # 12 bits of width, 12 of height: 3712
        extension = stream.index(b"\0\0\1\xb5", place) + 4
        stream[extension + 1] |= 0x01  # 2 further bits of each: 3 * 4096
        stream[extension + 2] |= 0xE0
    return bytes(stream)


def _growing_png() -> bytes:
    return movie(Packets((*[png(64, 48)] * (FRAMES - 1), png(16000, 16000)), b"", (64, 48)), fourcc=b"png ")


def _hiding_png() -> bytes:
    return movie(Packets((png(16000, 16000),), b"", (64, 48)), fourcc=b"png ")


def absurd_rates() -> Iterator[Hostile]:
    rates = {
        "fps-1e6": ("a million frames per second", {"timescale": 1_000_000, "lengths": [(FRAMES, 1)]}),
        "fps-hourly": ("one frame per hour", {"timescale": 1, "lengths": [(FRAMES, HOURS)]}),
        "timescale-1": ("a clock of whole seconds, all frames in one", {"timescale": 1, "lengths": [(FRAMES, 0)]}),
        "timescale-2-31": ("2^31 ticks per second", {"timescale": 2**31, "lengths": [(FRAMES, 2**26)]}),
        "timescale-max": ("2^32 - 1 ticks per second", {"timescale": ALL, "lengths": [(FRAMES, 2**27)]}),
        "timescale-0": ("a clock that stands still", {"timescale": 0, "lengths": [(FRAMES, 40)]}),
        "length-0": ("frames of no length", {"lengths": [(FRAMES, 0)]}),
        "length-max": ("frames of 50 days each", {"lengths": [(FRAMES, ALL)]}),
        "length-years": ("frames of 136 years each", {"timescale": 1, "lengths": [(FRAMES, ALL)]}),
        "length-negative": ("lengths below 0", {"lengths": [(FRAMES, ALL - 40)]}),
        "length-mixed": ("lengths from 0 to 12 days", {"lengths": [(4, 0), (4, 1), (2, 2**30)]}),
        "length-ages": ("68 years between two frames", {"timescale": 1, "lengths": [(4, 1), (2, 2**31 - 1), (4, 1)]}),
        "lengths-few": ("lengths of half of the frames", {"lengths": [(FRAMES // 2, 40)]}),
        "lengths-many": ("lengths of far more frames than there are", {"lengths": [(ALL, 40)] * 4}),
    }
    for name, (intent, changes) in rates.items():
        fate = ("error", "is cut short") if name == "lengths-many" else ("ok",)
        yield of_bytes(f"{name}.mp4", intent, partial(plain, **changes), *fate)


# Times


def broken_times() -> Iterator[Hostile]:
    shifts = {
        "pts-below-dts": ("shown before it is decoded", [(FRAMES, -200)]),
        "pts-same": ("every frame at the same time", [(1, 440 - 40 * index) for index in range(FRAMES)]),
        "pts-pairs": ("every time twice", [(1, 40 * (index % 2)) for index in range(FRAMES)]),
        "pts-backwards": ("times that fall", [(1, 880 - 80 * index) for index in range(FRAMES)]),
        "pts-negative": ("times below 0", [(FRAMES, -100_000)]),
        "pts-far": ("24 days later", [(FRAMES, 2**31 - 1)]),
        "pts-overflow": ("shifts at both ends of 32 bits", [(6, 2**31 - 1), (6, -(2**31))]),
        "pts-jump": ("24 days later in the middle, and back", [(4, 0), (4, 2**31 - 1), (4, 0)]),
        "pts-days": ("24 days later, and no way back", [(5, 0), (5, 2**31 - 1)]),
        "pts-few": ("shifts of half of the frames", [(FRAMES // 2, 0)]),
        "pts-many": ("shifts of far more frames than there are", [(ALL, 0)] * 4),
    }
    for name, (intent, rows) in shifts.items():
        yield of_bytes(f"{name}.mp4", intent, partial(plain, shifts=rows), "ok")
    yield of_bytes("pts-missing.mp4", "no times at all", lambda: clip(".h264"), "ok")
    yield of_bytes("pts-missing.avi", "avi keeps no times", lambda: clip(".avi", "mpeg4"), "ok")
    flv = {
        "falling": lambda index: 1000 - 40 * index,
        "same": lambda index: 7,
        "wrapping": lambda index: (2**32 - 200 + 40 * index) % 2**32,
        "jumping": lambda index: 40 * index + (2**31 if index % 3 == 1 else 0),
    }
    for name, time in flv.items():
        yield of_bytes(f"times-{name}.flv", f"flv, {name} times", partial(_retimed_flv, time), "ok")
    ts = {
        "falling": lambda index: 100_000 - 3600 * index,
        "wrapping": lambda index: (2**33 - 7200 + 3600 * index) % 2**33,
        "jumping": lambda index: 3600 * index + (2**32 if index == 6 else 0),
        "same": lambda index: 9000,
    }
    for name, time in ts.items():
        yield of_bytes(f"times-{name}.ts", f"transport stream, {name} times", partial(_retimed_ts, time), "ok")
    yield of_bytes("cluster-2-63.mkv", "a cluster 292 million years later", partial(_retimed_mkv, 2**63 - 1), "ok")
    yield of_bytes("cluster-2-40.mkv", "a cluster 35 years later", partial(_retimed_mkv, 2**40), "ok")


def _retimed_flv(time: Callable[[int], int]) -> bytes:
    data = bytearray(clip(".flv", "flv"))
    place, index = 13, 0
    while place + 11 < len(data):
        size = int.from_bytes(data[place + 1 : place + 4], "big")
        if data[place] == 9:
            stamp = time(index)
            data[place + 4 : place + 8] = (stamp & 0xFFFFFF).to_bytes(3, "big") + bytes([stamp >> 24])
            index += 1
        place += 11 + size + 4
    assert index >= FRAMES
    return bytes(data)


def _retimed_ts(time: Callable[[int], int]) -> bytes:
    data, index = bytearray(clip(".ts", "mpeg2video")), 0
    place = -1
    while (place := data.find(b"\0\0\1\xe0", place + 1)) >= 0:
        stamp, flags = time(index), data[place + 7] >> 6
        for number in range({2: 1, 3: 2}.get(flags, 0)):  # PTS, and DTS where there is one
            data[place + 9 + 5 * number : place + 14 + 5 * number] = bytes(
                (
                    (0x20 | (flags & 1) << 4) >> number | (stamp >> 29 & 0x0E) | 1,
                    stamp >> 22 & 0xFF,
                    stamp >> 14 & 0xFE | 1,
                    stamp >> 7 & 0xFF,
                    stamp << 1 & 0xFE | 1,
                )
            )
        index += 1
    assert index >= FRAMES
    return bytes(data)


def _retimed_mkv(time: int) -> bytes:
    """Give the only cluster, of unknown length here, a time of 8 bytes in the place of its own."""
    data = clip(".mkv")
    cluster = data.index(b"\x1f\x43\xb6\x75")
    blocks = data.index(b"\xa3", data.index(b"\xe7", cluster + 5) + 3)
    return (
        data[:cluster] + b"\x1f\x43\xb6\x75\x01" + b"\xff" * 7 + b"\xe7\x88" + time.to_bytes(8, "big") + data[blocks:]
    )


# Edit lists, rotation, several streams


def edit_lists() -> Iterator[Hostile]:
    edits = {
        "start-cut": ("the first half cut off", [(240, 240, ONE)], "ok"),
        "empty-first": ("a second of nothing first", [(1000, -1, ONE), (480, 0, ONE)], "ok"),
        "empty-long": ("49 days of nothing first", [(ALL, -1, ONE), (480, 0, ONE)], "ok"),
        "nothing-left": ("an edit behind the end", [(480, 1_000_000, ONE)], "error"),
        "only-empty": ("nothing but nothing", [(480, -1, ONE)], "error"),
        "length-0": ("an edit of no length", [(0, 0, ONE)], "error"),
        "dwell": ("one picture held", [(480, 0, 0)], "ok"),
        "negative": ("an edit before the start", [(480, -5000, ONE)], "error"),
        "backwards": ("played backwards", [(480, 0, -ONE)], "ok"),
    }
    for name, (intent, rows, status) in edits.items():
        yield of_bytes(f"edit-{name}.mp4", intent, partial(plain, edits=rows), status, NO_FRAMES * (status == "error"))
    yield of_bytes("edit-repeated.mp4", "the same edit 200 times", _repeated_edit, "no_face")
    yield of_bytes("edit-bomb.mp4", "a list of 36 million frames in a megabyte", _edit_bomb, "error", "promises")
    yield of_bytes("edit-count.mp4", "2^32 - 1 edits", lambda: swapped_edits(ALL), "ok")


def _repeated_edit() -> bytes:
    return movie(_still(FRAMES), edits=[(40 * FRAMES, 0, ONE)] * 200)


def _edit_bomb() -> bytes:
    return movie(_still(720), edits=[(28_800, 0, ONE)] * 50_000)


def swapped_edits(count: int) -> bytes:
    return plain(edits=[(0, 0, ONE)], contents={b"elst": table(b"elst", [(480, 0, ONE)], count=count)})


def orientations() -> Iterator[Hostile]:
    matrices = {
        "90": (0, ONE, 0, -ONE, 0, 0, 0, 0, 1 << 30),
        "180": (-ONE, 0, 0, 0, -ONE, 0, 0, 0, 1 << 30),
        "270": (0, -ONE, 0, ONE, 0, 0, 0, 0, 1 << 30),
        "mirrored": (-ONE, 0, 0, 0, ONE, 0, 0, 0, 1 << 30),
        "zeros": (0,) * 9,
        "huge": (2**31 - 1,) * 9,
        "45": (46341, 46341, 0, -46341, 46341, 0, 0, 0, 1 << 30),
    }
    turned = {"90": 1, "180": 2, "270": 3}
    for name, matrix in matrices.items():
        images = [np.ascontiguousarray(np.rot90(portrait(), turned.get(name, 0)))] * FRAMES
        yield of_bytes(
            f"turned-{name}.mp4",
            f"display matrix: {name}",
            lambda images=images, matrix=matrix: movie(encode(images), matrix=matrix),
            "ok",
        )
    yield Hostile(
        "interlaced.mp4",
        "two fields in each picture",
        lambda path: make(path, [portrait()] * FRAMES, codec_options={"x264-params": "tff=1"}),
        "ok",
    )


def streams() -> Iterator[Hostile]:
    yield Hostile("cover-first.mp4", "cover art before the video", partial(_with_cover, has_video=True), "ok")
    yield Hostile(
        "cover-only.mp4", "a song with cover art", partial(_with_cover, has_video=False), "error", "only sound"
    )
    yield Hostile("two-videos.mkv", "two videos; the first is shown", partial(_two_videos, sizes=(128, 64)), "ok")
    yield Hostile("sound.mp4", "only sound", make_sound, "error", "only sound")
    yield Hostile(
        "sound-long.mp4",
        "sound longer than the picture",
        partial(make, images=[portrait()] * FRAMES, sound_seconds=9),
        "ok",
    )
    subtitles = b"1\n00:00:01,000 --> 00:00:02,000\nhello\n\n"
    yield of_bytes("subtitles.mp4", "only subtitles, as text", lambda: subtitles, "error", NO_PICTURE)
    track = Packets((b"\0\5hello",) * 3, b"", (64, 48))
    yield of_bytes(
        "subtitle-track.mp4",
        "only a track of subtitles",
        lambda: movie(track, fourcc=b"tx3g", handler=b"sbtl"),
        "error",
        NO_PICTURE,
    )
    yield of_bytes("handler.mp4", "a track of no known kind", lambda: plain(handler=b"\0\0\0\0"), "ok")
    yield of_bytes(
        "as-sound.mp4", "pictures that are called sound", lambda: plain(handler=b"soun"), "error", "only sound"
    )


def _with_cover(path: Path, *, has_video: bool) -> None:
    with av.open(path, "w") as container:
        cover = container.add_stream("mjpeg", rate=1, width=64, height=48, pix_fmt="yuvj420p")
        cover.disposition = Disposition.attached_pic
        if has_video:
            other = container.add_stream("libx264", rate=25, width=128, height=128, pix_fmt="yuv420p")
        else:
            other = container.add_stream("aac", rate=8000, layout="mono")
        container.mux(
            cover.encode(av.VideoFrame.from_ndarray(grey(64, 48), format="rgb24").reformat(format="yuvj420p"))
        )
        if has_video:
            for _ in range(FRAMES):
                container.mux(other.encode(av.VideoFrame.from_ndarray(portrait(), format="rgb24")))
        else:
            sound = av.AudioFrame.from_ndarray(np.zeros((1, 8000), np.float32), format="fltp", layout="mono")
            sound.sample_rate = 8000
            container.mux(other.encode(sound))
        container.mux(other.encode(None))


def _two_videos(path: Path, *, sizes: Iterable[int]) -> None:
    with av.open(path, "w") as container:
        each = [container.add_stream("mpeg4", rate=25, width=size, height=size, pix_fmt="yuv420p") for size in sizes]
        for _, stream in itertools.product(range(FRAMES), each):
            picture = av.VideoFrame.from_ndarray(portrait(), format="rgb24")
            container.mux(stream.encode(picture.reformat(stream.width, stream.height, "yuv420p")))
        for stream in each:
            container.mux(stream.encode(None))


# Damage


def damage() -> Iterator[Hostile]:
    yield of_bytes(
        "frames-0.mp4",
        "a whole index of no frames",
        lambda: movie(Packets((), packets().config, (128, 128))),
        "error",
        NO_FRAMES,
    )
    yield of_bytes(
        "frames-1.mp4", "one frame", lambda: movie(Packets(packets().samples[:1], packets().config, (128, 128))), "ok"
    )
    yield of_bytes(
        "samples-empty.mp4",
        "frames of no bytes",
        lambda: movie(Packets((b"",) * FRAMES, packets().config, (128, 128))),
        "error",
        NO_FRAMES,
    )
    yield of_bytes(
        "no-key.mp4",
        "the first key frame is gone",
        lambda: movie(Packets(packets(group=6).samples[1:], packets().config, (128, 128))),
        "ok",
    )
    yield of_bytes(
        "never-key.mp4",
        "no key frame at all",
        lambda: movie(Packets(packets().samples[1:], packets().config, (128, 128))),
        "error",
        NO_FRAMES,
    )
    for seed in range(6):
        yield of_bytes(
            f"flips-{seed}.mp4", "bits flipped among the pictures", partial(_flipped, "mdat", seed), "ok no_face"
        )
    for name, fill in (("zeros", bytes), ("random", lambda size: np.random.default_rng(0).bytes(size))):
        media = lambda fill=fill: swapped(b"mdat", box(b"mdat", fill(sum(map(len, packets().samples)))))  # noqa: E731
        yield of_bytes(f"mdat-{name}.mp4", f"pictures of {name}", media, "error", NO_FRAMES)
    for seed in range(6):
        yield of_bytes(f"moov-flips-{seed}.mp4", "bits flipped in the index", partial(_flipped, "moov", seed), "error")
    yield of_bytes("moov-random.mp4", "an index of random bytes", _random_moov, "error", "")
    for size in (0, 1, 7, 9, ALL):
        for name in ("moov", "trak", "stbl", "stsd", "stsz", "mdat"):
            reaches_on = size in (0, ALL) and name in ("moov", "trak", "stbl")  # up to the end: it was there already
            status = "ok" if reaches_on else "error"
            yield of_bytes(
                f"size-{size:x}-{name}.mp4", f"{name} of {size} bytes", partial(_resized, name, size), status
            )
    yield of_bytes("size64-huge.mp4", "mdat says it has 2^63 bytes", partial(_large_media, 2**63 - 1), "error", "")
    yield of_bytes("size64-negative.mp4", "mdat says it has -1 bytes", partial(_large_media, 2**64 - 1), "error", "")
    yield of_bytes(
        "overlap.mp4", "trak reaches into what follows", lambda: patch(plain(), "trak", -8, ">I", 60_000), "ok"
    )
    yield of_bytes("nested.mp4", "1000 boxes in one another", lambda: plain() + _nested(1000), "ok")
    yield of_bytes("nested-deep.mp4", "100,000 boxes before the film", lambda: _nested(100_000) + plain(), "error", "")
    yield of_bytes(
        "nested-traks.mp4", "5000 tracks of nothing", lambda: plain() + box(b"moov", box(b"trak") * 5000), "ok"
    )


def _flipped(name: str, seed: int) -> bytes:
    data = bytearray(plain())
    area, rng = find_box(bytes(data), name), np.random.default_rng(seed)
    for place in rng.integers(area.start + 8, area.stop, 12):
        data[place] ^= 1 << rng.integers(8)
    return bytes(data)


def _random_moov() -> bytes:
    data = plain()
    index = find_box(data, "moov")
    return data[: index.start + 8] + np.random.default_rng(0).bytes(index.stop - index.start - 8)


def _resized(name: str, size: int) -> bytes:
    return patch(plain(), name, -8, ">I", size)


def _large_media(size: int) -> bytes:
    data = plain()
    media = find_box(data, "mdat")
    return data[: media.start] + struct.pack(">I4sQ", 1, b"mdat", size) + data[media.start + 8 :]


def _nested(depth: int) -> bytes:
    return b"".join(struct.pack(">I4s", 8 * (depth - level), b"udta" if level else b"moov") for level in range(depth))


def counts() -> Iterator[Hostile]:
    """Tables that promise more than there is."""
    sizes = [(len(sample),) for sample in packets().samples]
    tables = {
        "stts": table(b"stts", [(FRAMES, 40)], count=ALL),
        "ctts": table(b"ctts", [(FRAMES, 0)], count=ALL),
        "stsc": table(b"stsc", [(1, FRAMES, 1)], count=ALL),
        "stco": table(b"stco", [(32,)], count=ALL),
        "stsd": full_box(b"stsd", struct.pack(">I", ALL)),
        "stsz": full_box(b"stsz", struct.pack(">II", 0, ALL), b"".join(struct.pack(">I", *size) for size in sizes)),
    }
    for name, content in tables.items():
        fate = ("ok",) if name == "stco" else ("error", NO_MOOV)
        yield of_bytes(f"count-{name}.mp4", f"{name} of 2^32 - 1 rows", partial(_counted, name, content), *fate)
    for count in (ALL, 170_000_000, 20_000_000):
        yield of_bytes(
            f"frames-{count}.mp4", f"{count} frames of one byte each", partial(_promised, count), "error", "promises"
        )
        yield of_bytes(
            f"fragment-{count}.mp4",
            f"{count} frames in one fragment",
            partial(_promised_in_fragment, count),
            "error",
            "promises",
        )
    yield of_bytes("packed-index.mov", "an index compressed as by old QuickTime", lambda: compress_index(plain()), "ok")
    yield of_bytes(
        "packed-bomb.mov", "a promise in such an index", lambda: compress_index(_promised(10**8)), "error", "promises"
    )
    zeros = lambda: compress_index(box(b"ftyp", b"qt  ") + box(b"moov", bytes(80_000_000)))  # noqa: E731
    yield of_bytes("packed-zeros.mov", "an index of 80 MB of zeros", zeros, "error", "67,108,864 bytes compressed")
    lie = lambda: compress_index(plain(), claimed=2**31 - 200)  # noqa: E731
    yield of_bytes("packed-lie.mov", "such an index that says it has 2 GB", lie, "ok")
    yield of_bytes("fragmented.mp4", "a sound file of fragments", lambda: fragmented([portrait()] * FRAMES), "ok")
    yield of_bytes("fragments-none.mp4", "a fragmented file without fragments", _no_fragments, "error", NO_FRAMES)
    data = fragmented([portrait()] * FRAMES)
    for each in find_boxes(data):
        if each.path.startswith("moof"):
            name = f"cut-{each.path.replace('/', '.')}-{each.start}.mp4"
            place = (each.start + each.stop) // 2
            is_lost = place < find_box(data, "mdat").stop or each.path.endswith("trun")
            yield of_bytes(
                name, f"a fragment cut in {each.path}", partial(_head, data, place), "error" if is_lost else "ok"
            )


def _counted(name: str, content: bytes) -> bytes:
    extra = {"shifts": [(FRAMES, 0)]} if name == "ctts" else {}
    return movie(packets(), contents={name.encode(): content}, **extra)  # type: ignore[arg-type] # as above


def _promised(count: int) -> bytes:
    """A kilobyte whose tables are short because they say that all frames are alike."""
    return plain(
        lengths=[(count, 40)],
        contents={
            b"stsz": full_box(b"stsz", struct.pack(">II", 1, count)),
            b"stsc": table(b"stsc", [(1, count, 1)]),
        },
    )


def _promised_in_fragment(count: int) -> bytes:
    """A fragment's list of frames needs no byte for each where all have the default length and size."""
    data = bytearray(fragmented([portrait()] * FRAMES))
    run = find_box(bytes(data), "trun")
    struct.pack_into(">II", data, run.start + 8, 1, count)  # flags: only the place of the first byte is given
    return bytes(data)


def _no_fragments() -> bytes:
    data = fragmented([portrait()] * FRAMES)
    return data[: find_box(data, "moof").start]


# What is no video at all


class Trap:
    """Makes a file where it is unpickled."""

    def __init__(self, path: str) -> None:
        self.path = path

    def __reduce__(self) -> tuple[object, tuple[str, str]]:
        return open, (self.path, "w")


TRAP = "sprung"  # the file beside the pickles, if one of them was ever loaded


def other_files() -> Iterator[Hostile]:
    zip_bomb = io.BytesIO()
    with zipfile.ZipFile(zip_bomb, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("zeros.mp4", bytes(20_000_000))
    tar = io.BytesIO()
    with tarfile.open(fileobj=tar, mode="w") as tape:
        inside = tarfile.TarInfo("clip.mp4")
        inside.size = len(clip())
        tape.addfile(inside, io.BytesIO(clip()))
    contents = {
        "text": b"this is not a video\n" * 50,
        "html": b"<!DOCTYPE html><html><body><video src='http://127.0.0.1/a.mp4'></video></body></html>\n",
        "json": json.dumps({"streams": [{"codec": "h264"}] * 20}).encode(),
        "csv": b"a,b\n1,2\n" * 100,
        "svg": b"<svg xmlns='http://www.w3.org/2000/svg'><image href='file:///etc/hostname'/></svg>",
        "zip-bomb": zip_bomb.getvalue(),
        "tar": tar.getvalue(),
        "gzip-bomb": compress(bytes(20_000_000)),
        "gzipped": compress(clip()),
        "python": b"#!/usr/bin/env python3\nopen('sprung', 'w')\n",
        "shell": b"#!/bin/sh\ntouch sprung\n",
        "elf": b"\x7fELF\x02\x01\x01" + bytes(9) + struct.pack("<HHI", 2, 62, 1) + bytes(4096),
        "exe": b"MZ" + bytes(58) + struct.pack("<I", 64) + b"PE\0\0" + bytes(4096),
        "one-byte": b"\0",
        "nulls": bytes(100_000),
        "ones": b"\xff" * 100_000,
        "random": np.random.default_rng(1).bytes(100_000),
        "pdf": b"%PDF-1.4\n1 0 obj<<>>endobj\ntrailer<<>>\n%%EOF\n",
        "ffmetadata": b";FFMETADATA1\ntitle=x\n",
        "utf16": "no video\n".encode("utf-16") * 100,
    }
    for name, content in contents.items():
        yield of_bytes(f"really-{name}.mp4", f"{name} named mp4", lambda content=content: content, "error", "")
    yield of_bytes("empty.mp4", "no bytes", bytes, "error", "the file is empty")
    yield Hostile("pickle.mp4", "a pickle that makes a file when it is loaded", _write_pickle, "error", NO_FORMAT)
    yield Hostile("holes.mp4", "a terabyte of nothing", _write_holes, "error", "")
    pointer = b"version https://git-lfs.github.com/spec/v1\noid sha256:00\nsize 12345\n"
    yield of_bytes("pointer.mp4", "a git-lfs pointer", lambda: pointer, "error", "git-lfs pointer")


def _write_pickle(path: Path) -> None:
    path.write_bytes(pickle.dumps(Trap(str(path.with_name(TRAP)))))


def _write_holes(path: Path) -> None:
    with open(path, "wb") as file:
        file.write(box(b"ftyp", b"isom", bytes(4)))
        file.truncate(1 << 40)


def playlists() -> Iterator[Hostile]:
    """Texts that name other files and addresses; a good clip lies beside them under the name they give."""
    other = "good-0.mp4"
    texts = {
        "m3u8": (f"#EXTM3U\n#EXT-X-TARGETDURATION:9\n#EXTINF:9,\n{other}\n#EXT-X-ENDLIST\n", PLAYLIST),
        "m3u8-url": (
            "#EXTM3U\n#EXT-X-TARGETDURATION:9\n#EXTINF:9,\nhttp://127.0.0.1:9/a.ts\n#EXT-X-ENDLIST\n",
            PLAYLIST,
        ),
        "m3u8-bom": (f"\ufeff#EXTM3U\n#EXT-X-TARGETDURATION:9\n#EXTINF:9,\n{other}\n", ""),
        "m3u8-space": (f"\n\n#EXTM3U\n#EXT-X-TARGETDURATION:9\n#EXTINF:9,\n{other}\n", ""),
        "concat": (f"ffconcat version 1.0\nfile {other}\n", PLAYLIST),
        "sdp": ("v=0\no=- 0 0 IN IP4 127.0.0.1\ns=x\nc=IN IP4 127.0.0.1\nt=0 0\nm=video 5004 RTP/AVP 96\n", ""),
        "rtsp": ("rtsp://127.0.0.1:9/stream\n", ""),
        "mpd": (
            '<?xml version="1.0"?><MPD xmlns="urn:mpeg:dash:schema:mpd:2011" type="static" '
            'profiles="urn:mpeg:dash:profile:isoff-main:2011"><Period><AdaptationSet mimeType="video/mp4">'
            f'<Representation id="1" bandwidth="1"><BaseURL>{other}</BaseURL></Representation></AdaptationSet>'
            "</Period></MPD>",
            "",
        ),
        "smil": (f'<smil><body><video src="{other}"/></body></smil>', ""),
        "asx": (f'<asx version="3.0"><entry><ref href="{other}"/></entry></asx>', ""),
        "pls": (f"[playlist]\nFile1={other}\nNumberOfEntries=1\n", ""),
        "avs": (f'AviSource("{other}")\n', ""),
    }
    for name, (text, sentence) in texts.items():
        yield of_bytes(
            f"list-{name}.mp4", f"{name} that names others", lambda text=text: text.encode(), "error", sentence
        )
    place = full_box(b"url ", b"file:" + other.encode() + b"\0")
    references = full_box(b"dref", struct.pack(">I", 1), place)
    yield of_bytes(
        "other-file.mp4",
        "an index whose pictures are in another file",
        lambda: plain(contents={b"dref": references, b"mdat": box(b"mdat")}),
        "error",
        "",
    )


def pictures() -> Iterator[Hostile]:
    yield of_bytes("picture-png.mp4", "a PNG named mp4", lambda: picture_bytes("png", "rgb24"), "error", IS_PICTURE)
    yield of_bytes(
        "picture-jpeg.avi", "a JPEG named avi", lambda: picture_bytes("mjpeg", "yuvj420p"), "error", IS_PICTURE
    )
    yield of_bytes(
        "picture-webp.mp4", "a WebP named mp4", lambda: picture_bytes("libwebp", "yuv420p"), "error", IS_PICTURE
    )
    yield of_bytes("picture-bmp.mp4", "a BMP named mp4", lambda: picture_bytes("bmp", "bgr24"), "error", IS_PICTURE)
    yield of_bytes("picture-tiff.mp4", "a TIFF named mp4", lambda: picture_bytes("tiff", "rgb24"), "error", IS_PICTURE)
    yield of_bytes(
        "picture-png-huge.mp4", "a PNG of 65535 x 65535", lambda: png(65535, 65535, rows=1), "error", IS_PICTURE
    )
    yield Hostile(
        "still.mp4",
        "a GIF of one picture",
        partial(make, images=[grey(64, 48)], codec="gif", pix_fmt="gray", container_format="gif"),
        "no_face",
    )
    yield of_bytes("animated.mp4", "a moving GIF is a video", lambda: clip(".gif", "gif", "gray"), "ok")


# Long


def long_ones() -> Iterator[Hostile]:
    yield of_bytes("two-hours.mp4", "two hours of one picture every 10 s", partial(still_movie, 720, 10_000), "no_face")
    yield of_bytes("bit-of-each.mp4", "720 pictures in a microsecond", partial(still_movie, 720, 0), "no_face")


def still_movie(count: int, length: int) -> bytes:
    return movie(_still(count), lengths=[(count, length)])


@cache
def _still(count: int) -> Packets:
    """The same coded picture again and again."""
    picture = encode([grey(32, 32)])
    return Packets(picture.samples * count, picture.config, picture.size)


# Names and kinds of files


def names() -> Iterator[Hostile]:
    """Good clips under awkward names, and a text under each that would spoil a message."""
    awkward = {
        "newline": "two\nlines",
        "tab": "a\ttab",
        "control": "bell\x07 escape\x1b[31m",
        "carriage": "back\rward",
        "dash": "-rf",
        "equals": '=HYPERLINK("x")',
        "plus": "+1",
        "minus": "-1",
        "at": "@SUM(A1)",
        "quotes": 'it\'s "quoted"',
        "bytes": os.fsdecode(b"latin-\xe9\xff"),
        "long": "n" * 251,
        "emoji": "\U0001f600 \U0001f468\u200d\U0001f469",
        "override": "\u202e4pm.exe",
        "comma": "a,b;c",
        "percent": "%s%d%n",
        "braces": "{0} {name}",
        "spaces": "   ",
        "dots": "a...",
        "backslash": "a\\b",
        "dollar": "$(touch sprung) `touch sprung`; touch sprung",
        "separator": "a\u2028b\x85c",
    }
    for kind, name in awkward.items():
        yield of_bytes(f"{name}.mp4", f"a good clip whose name has: {kind}", clip, "ok")
        yield of_bytes(
            f"{name[:250]}!.mkv", f"a text whose name has: {kind}", lambda: b"text\n" * 20, "error", NO_FORMAT
        )


def links() -> Iterator[Hostile]:
    yield Hostile(
        "dangling.mp4",
        "a link to nothing",
        lambda path: path.symlink_to("nowhere.mp4"),
        "error",
        "a link to a file that is not there",
    )
    yield Hostile(
        "itself.mp4", "a link to itself", lambda path: path.symlink_to(path.name), "error", "cannot be opened"
    )
    yield Hostile("loop.mp4", "two links to one another", _write_loop, "error", "cannot be opened")
    yield Hostile("pipe.mp4", "a pipe nobody writes to", os.mkfifo, "error", "device or pipe")
    yield Hostile("pipe-link.mp4", "a link to such a pipe", _write_pipe_link, "error", "device or pipe")
    yield Hostile(
        "zero.mp4", "a link to /dev/zero", lambda path: path.symlink_to("/dev/zero"), "error", "device or pipe"
    )
    yield Hostile("stdin.mp4", "a link to the standard input", lambda path: path.symlink_to("/dev/stdin"), "error", "")


def _write_loop(path: Path) -> None:
    path.with_name("loop-2").symlink_to(path.name)
    path.symlink_to("loop-2")


def _write_pipe_link(path: Path) -> None:
    os.mkfifo(path.with_name("pipe"))
    path.symlink_to("pipe")


def _collect() -> list[Hostile]:
    groups: list[Callable[[], Iterator[Hostile]]] = [
        *(truncations, wrong_codecs, absurd_sizes, absurd_rates, broken_times, edit_lists, orientations, streams),
        *(damage, counts, other_files, playlists, pictures, long_ones, names),
    ]
    if sys.platform != "win32":
        groups.append(links)
    return [each for group in groups for each in group()]


HOSTILE = _collect()
