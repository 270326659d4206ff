"""The boxes of an mp4: an open file goes in, the number of frames that its tables promise comes out.

FFmpeg makes room for all the frames that are promised before it reads the first one. A table of frames that are all
alike takes the same few bytes whatever their number, so a kilobyte can ask for gigabytes. ISO/IEC 14496-12 has the
boxes.
"""

import struct
import zlib
from collections.abc import Iterator
from dataclasses import dataclass, field
from io import BufferedReader, BytesIO, FileIO
from typing import BinaryIO

MAX_BOXES = 1 << 20  # of two hours in fragments of 1 s there are 100,000; 5 s of work at most
MAX_DEPTH = 10  # FFmpeg goes no deeper
MAX_UNPACKED = 1 << 26  # bytes of an index that old QuickTime has compressed; 200 hours of video
USUAL_EDITS = 256  # FFmpeg makes a list of the frames of every edit; so many cannot make it a long one

_HEAD_SIZE = 4096  # bytes read at once; the boxes of a fragment lie close together
_PARENTS = {b"moov", b"hoov", b"trak", b"mdia", b"minf", b"stbl", b"edts", b"udta", b"mvex", b"moof", b"traf", b"cmov"}
_EDIT_SIZE = 12  # bytes
_PER_FRAME = 0xF00  # flags of a fragment's list of frames: it has numbers for each
_FIELDS = struct.Struct(">4I")  # of the boxes below: version and flags, then what differs


class _TooLargeError(Exception):
    """There is more to look through than any video has."""


@dataclass
class _Track:
    tables: dict[bytes, tuple[int, ...]] = field(default_factory=dict)  # the first four numbers of a box
    edits: int = 0

    def count_promised(self) -> int:
        """Return the frames for which FFmpeg makes room without any bytes that vouch for them."""
        _, is_alike, frames, _ = self.tables.get(b"stsz", (0, 0, 0, 0))
        copies = frames * self.edits if self.edits > USUAL_EDITS else 0
        return copies + (frames if is_alike and not self._is_plain_sound() else 0)

    def _is_plain_sound(self) -> bool:
        """Whether these are bare samples of sound, of which FFmpeg notes whole chunks only."""
        kind = self.tables.get(b"hdlr", (0, 0, 0))[2]
        _, runs, _, ticks = self.tables.get(b"stts", (0, 0, 0, 0))
        return kind == int.from_bytes(b"soun", "big") and (runs, ticks) == (1, 1)


def count_promised(file: FileIO, *, size: int) -> int | None:
    """Return how many frames the tables of a file of `size` bytes promise at no cost, 0 if it is no mp4.

    None means that there are more than `MAX_BOXES` boxes, or `MAX_UNPACKED` bytes of them, or several
    times some, compressed.
    """
    tracks, in_fragments, boxes, packed = [_Track()], 0, 0, 0
    reader = BufferedReader(file, _HEAD_SIZE)
    try:
        for kind, length, numbers in _walk(reader, 0, size, depth=0):
            boxes, packed = boxes + 1, packed + (kind == b"cmvd")
            if boxes > MAX_BOXES or packed > 1:  # a film has one index
                raise _TooLargeError
            if kind == b"trak":
                tracks.append(_Track())
            elif kind == b"trun" and numbers:
                flags, frames = numbers[:2]
                in_fragments += 0 if flags & _PER_FRAME and frames <= length else frames
            elif kind == b"elst" and numbers:
                tracks[-1].edits = min(numbers[1], length // _EDIT_SIZE)
            elif numbers:
                tracks[-1].tables[kind] = numbers
    except _TooLargeError:
        return None
    finally:
        reader.detach()
        file.seek(0)
    return in_fragments + sum(track.count_promised() for track in tracks)


def _walk(reader: BinaryIO, start: int, stop: int, *, depth: int) -> Iterator[tuple[bytes, int, tuple[int, ...]]]:
    """Yield the kind, the size in bytes and, if it is a table, the first four numbers of each box."""
    while start + 8 <= stop and depth <= MAX_DEPTH:
        reader.seek(start)
        head = reader.read(16 + _FIELDS.size)
        if len(head) < 8:
            return
        length, body = int.from_bytes(head[:4], "big"), 8
        if length == 1:  # a size of 64 bits follows
            length, body = int.from_bytes(head[8:16], "big"), 16
        elif length == 0:  # up to the end
            length = stop - start
        if length < body:
            return
        kind, length = head[4:8], min(length, stop - start)
        is_table = kind in (b"stsz", b"stts", b"elst", b"hdlr", b"trun") and len(head) >= body + 8
        numbers = _FIELDS.unpack(head[body : body + _FIELDS.size].ljust(_FIELDS.size, b"\0")) if is_table else ()
        yield kind, length, numbers
        if kind in _PARENTS:
            yield from _walk(reader, start + body, start + length, depth=depth + 1)
        elif kind == b"cmvd":
            reader.seek(start + body + 4)
            index = _unpack(reader.read(min(max(length - body - 4, 0), MAX_UNPACKED)))
            yield from _walk(BytesIO(index), 0, len(index), depth=depth + 1)
        start += length


def _unpack(packed: bytes) -> bytes:
    unpacking = zlib.decompressobj()
    try:
        index = unpacking.decompress(packed, MAX_UNPACKED)
    except zlib.error:
        return b""
    if unpacking.unconsumed_tail:
        raise _TooLargeError
    return index
