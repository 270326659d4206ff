"""MP4 files box by box: taken apart, and put together from packets, rightly or wrongly."""

import io
import struct
import zlib
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from fractions import Fraction

import av
import numpy as np

ONE = 1 << 16  # 1.0 in the fixed-point numbers of a matrix
UPRIGHT = (ONE, 0, 0, 0, ONE, 0, 0, 0, 1 << 30)
# Bytes between the header of a box and the boxes inside it.
CONTAINERS = dict.fromkeys(
    (b"moov", b"trak", b"mdia", b"minf", b"stbl", b"dinf", b"edts", b"udta", b"moof", b"traf", b"mvex"), 0
) | {b"meta": 4, b"stsd": 8, b"dref": 8, b"avc1": 78}


@dataclass(frozen=True)
class Box:
    """Where a box lies in a file."""

    path: str  # the names of the boxes around it and its own, by "/"
    start: int  # bytes
    stop: int  # bytes


def find_boxes(data: bytes, start: int = 0, stop: int | None = None, parent: str = "") -> Iterator[Box]:
    """Yield every box of a sound file, each before those inside it."""
    stop = len(data) if stop is None else stop
    while start + 8 <= stop:
        size, kind = struct.unpack_from(">I4s", data, start)
        path = parent + kind.decode("latin1")
        yield Box(path, start, start + size)
        if kind in CONTAINERS:
            yield from find_boxes(data, start + 8 + CONTAINERS[kind], start + size, path + "/")
        start += size


def find_box(data: bytes, name: str) -> Box:
    """Return the first box whose path ends in `name`."""
    return next(each for each in find_boxes(data) if each.path.endswith(name))


def box(kind: bytes, *content: bytes) -> bytes:
    body = b"".join(content)
    return struct.pack(">I4s", 8 + len(body), kind) + body


def full_box(kind: bytes, *content: bytes, flags: int = 0) -> bytes:
    return box(kind, struct.pack(">I", flags), *content)


def table(kind: bytes, rows: Iterable[tuple[int, ...]], *, count: int | None = None) -> bytes:
    """A box of rows of 32-bit numbers behind their count, or another count than theirs."""
    rows = list(rows)
    body = b"".join(struct.pack(f">{len(row)}I", *(number & 0xFFFFFFFF for number in row)) for row in rows)
    return full_box(kind, struct.pack(">I", len(rows) if count is None else count), body)


@dataclass(frozen=True)
class Packets:
    """The coded pictures of one clip, and what a decoder has to know beforehand."""

    samples: tuple[bytes, ...]
    config: bytes  # the box inside the sample entry
    size: tuple[int, int]  # px, width and height


def encode(
    images: Iterable[np.ndarray], *, codec: str = "libx264", pix_fmt: str = "yuv420p", **options: str
) -> Packets:
    """Encode without B-frames, so that packets come in the order in which they are shown."""
    file = io.BytesIO()
    images = list(images)
    kind = {"libx264": b"avcC", "libx265": b"hvcC"}.get(codec, b"glbl")
    with av.open(file, "w", format="mp4" if codec.startswith("libx26") else "nut") as container:
        stream = container.add_stream(codec, rate=25, options={"bf": "0", "x265-params": "log-level=none"} | options)
        stream.height, stream.width = images[0].shape[:2]
        stream.pix_fmt = pix_fmt
        for image in images:
            container.mux(stream.encode(av.VideoFrame.from_ndarray(image, format="rgb24").reformat(format=pix_fmt)))
        container.mux(stream.encode(None))
    file.seek(0)
    with av.open(file) as container:
        samples = tuple(bytes(packet) for packet in container.demux(video=0) if packet.size)
        extradata = container.streams.video[0].codec_context.extradata
    return Packets(samples, box(kind, extradata) if extradata else b"", (images[0].shape[1], images[0].shape[0]))


def movie(
    packets: Packets,
    *,
    fourcc: bytes = b"avc1",
    size: tuple[int, int] | None = None,
    timescale: int = 1000,
    lengths: Iterable[tuple[int, int]] | None = None,
    shifts: Iterable[tuple[int, int]] | None = None,
    edits: Iterable[tuple[int, int, int]] | None = None,
    matrix: tuple[int, ...] = UPRIGHT,
    handler: bytes = b"vide",
    contents: Mapping[bytes, bytes] | None = None,
) -> bytes:
    """Return an mp4 with `mdat` before `moov`, and the first frame as its only key frame.

    `lengths` are (frames, ticks of each), `shifts` (frames, ticks from decoding to presentation), `edits` (ticks of the
    film, first tick of the stream or -1 for nothing, rate in 1/65536). `contents` are whole boxes in the place of those
    of their names.
    """
    count = len(packets.samples)
    width, height = size or packets.size
    file_type = box(b"ftyp", b"isom", struct.pack(">I", 512), b"isomavc1")
    entry = box(
        fourcc,
        struct.pack(">6xH16xHHIIIH32xHh", 1, width, height, 72 * ONE, 72 * ONE, 0, 1, 24, -1),
        packets.config,
    )
    ours = {
        b"stsd": full_box(b"stsd", struct.pack(">I", 1), entry),
        b"stts": table(b"stts", lengths or [(count, 40 * timescale // 1000)]),
        b"ctts": table(b"ctts", shifts) if shifts else b"",
        b"stss": table(b"stss", [(1,)]),
        b"stsc": table(b"stsc", [(1, count, 1)]),
        b"stsz": full_box(b"stsz", struct.pack(f">II{count}I", 0, count, *map(len, packets.samples))),
        b"stco": table(b"stco", [(len(file_type) + 8,)]),
        b"elst": table(b"elst", edits) if edits else b"",
        b"dref": full_box(b"dref", struct.pack(">I", 1), full_box(b"url ", flags=1)),
        b"mdat": box(b"mdat", *packets.samples),
    } | dict(contents or {})
    ticks = (40 * count * timescale // 1000) & 0xFFFFFFFF
    table_boxes = [ours[kind] for kind in (b"stsd", b"stts", b"ctts", b"stss", b"stsc", b"stsz", b"stco")]
    track_header = struct.pack(
        ">IIIIIQHHHH9iII", 0, 0, 1, 0, ticks, 0, 0, 0, 0, 0, *matrix, (width << 16) & 0xFFFFFFFF, height << 16
    )
    media = box(
        b"mdia",
        full_box(b"mdhd", struct.pack(">IIIIHH", 0, 0, timescale, ticks, 0x55C4, 0)),
        full_box(b"hdlr", struct.pack(">I4s12x", 0, handler), b"\0"),
        box(
            b"minf",
            full_box(b"vmhd", bytes(8), flags=1),
            box(b"dinf", ours[b"dref"]),
            box(b"stbl", *table_boxes),
        ),
    )
    movie_header = struct.pack(">IIIIIH10x9i24xI", 0, 0, timescale, ticks, ONE, 256, *UPRIGHT, 2)
    edit_box = box(b"edts", ours[b"elst"]) if ours[b"elst"] else b""
    track = box(b"trak", full_box(b"tkhd", track_header, flags=3), edit_box, media)
    return file_type + ours[b"mdat"] + box(b"moov", full_box(b"mvhd", movie_header), track)


def compress_index(data: bytes, *, claimed: int | None = None) -> bytes:
    """Pack the `moov` of a film as old QuickTime did."""
    start = find_box(data, "moov").start
    packed = struct.pack(">I", len(data) - start if claimed is None else claimed) + zlib.compress(data[start:], 1)
    return data[:start] + box(b"moov", box(b"cmov", box(b"dcom", b"zlib"), box(b"cmvd", packed)))


def patch(data: bytes, name: str, offset: int, layout: str, *values: int) -> bytes:
    """Write numbers into the box `name`, `offset` bytes behind its header of 8."""
    changed = bytearray(data)
    struct.pack_into(layout, changed, find_box(data, name).start + 8 + offset, *values)
    return bytes(changed)


def fragmented(images: Iterable[np.ndarray]) -> bytes:
    """An mp4 in fragments of one picture group each, as streams and some phones record."""
    file = io.BytesIO()
    with av.open(file, "w", format="mp4", options={"movflags": "frag_keyframe+empty_moov"}) as container:
        stream = container.add_stream("libx264", rate=Fraction(25), options={"g": "4", "bf": "0"})
        images = list(images)
        stream.height, stream.width = images[0].shape[:2]
        stream.pix_fmt = "yuv420p"
        for image in images:
            container.mux(stream.encode(av.VideoFrame.from_ndarray(image, format="rgb24")))
        container.mux(stream.encode(None))
    return file.getvalue()
