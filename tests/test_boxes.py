"""How many frames the tables of an mp4 promise at no cost, by files that are put together box by box."""

import io
import struct
from pathlib import Path

import numpy as np
import pytest
from mp4_files import ONE, Packets, box, compress_index, encode, fragmented, full_box, movie, table

from emo_affectnet import boxes

PACKETS = Packets((b"abc",) * 6, b"", (64, 48))


def promised(path: Path, content: bytes) -> int | None:
    path.write_bytes(content)
    with io.FileIO(path) as file:
        count = boxes.count_promised(file, size=len(content))
        assert file.tell() == 0
        assert not file.closed
    return count


def alike(count: int) -> dict[bytes, bytes]:
    return {b"stsz": full_box(b"stsz", struct.pack(">II", 1, count))}


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "clip.mp4"


def test_frames_with_a_size_each_cost_bytes_and_count_for_nothing(path: Path) -> None:
    assert promised(path, movie(PACKETS)) == 0


def test_frames_that_are_all_alike_are_promises(path: Path) -> None:
    assert promised(path, movie(PACKETS, contents=alike(1_000_000))) == 1_000_000


def test_bare_samples_of_sound_are_none(path: Path) -> None:
    """Two hours of PCM promise 345 million samples, which FFmpeg takes by the chunk."""
    sound = alike(345_600_000)
    assert promised(path, movie(PACKETS, handler=b"soun", lengths=[(345_600_000, 1)], contents=sound)) == 0
    assert promised(path, movie(PACKETS, handler=b"soun", lengths=[(345_600_000, 2)], contents=sound)) == 345_600_000


def test_edits_repeat_the_frames_where_they_are_many(path: Path) -> None:
    edit = (240, 0, ONE)
    assert promised(path, movie(PACKETS, edits=[edit] * boxes.USUAL_EDITS)) == 0
    assert promised(path, movie(PACKETS, edits=[edit] * 1000)) == 6 * 1000
    lie = {b"elst": table(b"elst", [edit], count=0xFFFFFFFF)}  # FFmpeg reads the one that is there
    assert promised(path, movie(PACKETS, edits=[edit], contents=lie)) == 0


def test_frames_of_fragments_are_promises_where_they_need_no_bytes(path: Path) -> None:
    data = bytearray(fragmented([np.full((48, 64, 3), 90, np.uint8)] * 8))
    assert promised(path, bytes(data)) == 0
    run = data.index(b"trun") + 4
    struct.pack_into(">II", data, run, 1, 70_000)  # no numbers for each
    assert promised(path, bytes(data)) == 70_000
    struct.pack_into(">II", data, run, 0x201, 70_000)  # a size for each, which the box has no room for
    assert promised(path, bytes(data)) == 70_000


def test_tables_behind_sizes_of_64_bits_and_of_0_are_found(path: Path) -> None:
    index = movie(PACKETS, contents=alike(5000))
    index = index[index.index(b"moov") + 4 :]
    assert promised(path, struct.pack(">I4sQ", 1, b"moov", 16 + len(index)) + index) == 5000
    assert promised(path, struct.pack(">I4s", 0, b"moov") + index) == 5000


def test_a_compressed_index_is_looked_through(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    packed = compress_index(movie(PACKETS, contents=alike(5000)))
    assert promised(path, packed) == 5000
    assert promised(path, packed[:-9]) == 5000  # as far as it goes
    assert promised(path, packed + packed[packed.index(b"moov") - 4 :]) is None
    monkeypatch.setattr(boxes, "MAX_UNPACKED", 500)
    assert promised(path, packed) is None


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"\0\0\0\1moov",  # the 64 bits are missing
        b"\0\0\0\4moov" * 9,  # smaller than itself
        b"\0\0\0\x10trun\0\0",  # cut short
        b"\0\0\0\x09cmvd\0",
        b"\0\0\0\x20cmvd" + bytes(24),  # not what zlib makes
        b"\x1a\x45\xdf\xa3" * 50,  # matroska
        bytes(5000),
    ],
)
def test_what_is_no_mp4_promises_nothing(path: Path, content: bytes) -> None:
    assert promised(path, content) == 0


def test_boxes_within_boxes_are_followed_as_deep_as_ffmpeg_goes(path: Path) -> None:
    content = full_box(b"trun", struct.pack(">I", 77))
    for depth in range(boxes.MAX_DEPTH):
        content = box(b"moov", content)
        assert promised(path, content) == 77, depth
    assert promised(path, box(b"moov", content)) == 0


def test_too_many_boxes_are_not_counted_to_the_end(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(boxes, "MAX_BOXES", 100)
    assert promised(path, box(b"free") * 100) == 0
    assert promised(path, box(b"free") * 101) is None


def test_a_real_video_promises_nothing(path: Path) -> None:
    assert promised(path, movie(encode([np.full((48, 64, 3), 90, np.uint8)] * 3))) == 0
