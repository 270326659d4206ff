"""Features are saved video by video, read back as they were, and no other file passes for them."""

import json
import tracemalloc
import zipfile
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from feature_samples import ORIGIN, make_video, write_videos

from emo_affectnet import __version__
from emo_affectnet.errors import ReportError, UsageError
from emo_affectnet.feature_files import ARRAYS, FORMAT, META, FeatureWriter, Origin, VideoFeatures, read_features


def random_video(name: str, count: int, *, width: int = 8) -> VideoFeatures:
    generator = np.random.default_rng(count)
    indices = np.arange(count, dtype=np.int64) // 2 * 6  # two people in every sixth frame
    return VideoFeatures(
        name,
        indices,
        indices / 29.97,
        np.arange(count, dtype=np.int64) % 2 + 1,
        generator.random((count, 4), dtype=np.float32),
        generator.random((count, width), dtype=np.float32),
    )


def rewrite(path: Path, *, drop: str = "", **changes: object) -> None:
    """Write a file of features again, without one entry, and with another text in place of parts of its own."""
    with zipfile.ZipFile(path) as archive:
        entries = {name: archive.read(name) for name in archive.namelist() if name != drop}
    if META in entries:
        entries[META] = json.dumps(json.loads(entries[META]) | changes).encode()
    with zipfile.ZipFile(path, "w") as archive:
        for name, content in entries.items():
            archive.writestr(name, content)


def test_what_is_written_is_read_back_to_the_bit(tmp_path: Path) -> None:
    videos = [random_video("sub/clip", 7), random_video("a name, with é and 表情.mp4", 4)]
    file = read_features(write_videos(tmp_path / "new" / "features.npz", videos))
    assert (file.origin, file.version, file.settings) == (ORIGIN, __version__, {"detector": "short-range"})
    assert file.names == ("sub/clip", "a name, with é and 表情.mp4")
    for written, read in zip(videos, file.read_all(), strict=True):
        assert read.name == written.name
        for entry, (kind, _) in ARRAYS.items():
            assert getattr(read, entry).dtype == kind
            assert np.array_equal(getattr(read, entry), getattr(written, entry))


def test_numpy_opens_the_file_by_itself(tmp_path: Path) -> None:
    video = random_video("sub/clip", 7)
    with np.load(write_videos(tmp_path / "features.npz", [video]), allow_pickle=False) as stored:
        assert set(stored.files) == {*(f"sub/clip/{entry}" for entry in ARRAYS), META}
        assert np.array_equal(stored["sub/clip/features"], video.features)
        assert json.loads(stored[META]) == {
            "format": FORMAT,
            "version": __version__,
            "backbone": "backbone.pt",
            "sha256": "ab" * 32,
            "width": 8,
            "settings": {"detector": "short-range"},
            "names": ["sub/clip"],
        }


def test_a_video_without_a_face_has_arrays_without_rows(tmp_path: Path) -> None:
    video = read_features(write_videos(tmp_path / "features.npz", [make_video("empty")])).read("empty")
    assert (len(video), video.features.shape, video.boxes.shape) == (0, (0, 8), (0, 4))


def test_a_run_without_videos_leaves_a_file_without_names(tmp_path: Path) -> None:
    file = read_features(write_videos(tmp_path / "features.npz", []))
    assert (file.names, list(file.read_all())) == ((), [])


def test_videos_are_read_by_name_and_in_the_order_asked_for(tmp_path: Path) -> None:
    file = read_features(write_videos(tmp_path / "features.npz", (random_video(name, 3) for name in "abc")))
    assert [video.name for video in file.read_all(["c", "a"])] == ["c", "a"]
    with pytest.raises(UsageError, match="has no features of a video named d"):
        file.read("d")


def test_an_interval_has_its_start_but_not_its_end() -> None:
    video = make_video("clip", np.arange(80).reshape(10, 8))  # at 0, 0.2, ... 1.8 s
    cut = video.cut(0.4, 1.0)
    assert cut.indices.tolist() == [12, 18, 24]
    assert cut.features[:, 0].tolist() == [16, 24, 32]
    assert len(video.cut(1.9, 9.0)) == 0


def test_equal_content_makes_equal_files(tmp_path: Path) -> None:
    first, second = (write_videos(tmp_path / name, [random_video("clip", 5)]) for name in ("a.npz", "b.npz"))
    assert first.read_bytes() == second.read_bytes()
    with zipfile.ZipFile(first) as archive:
        assert {entry.date_time for entry in archive.infolist()} == {(1980, 1, 1, 0, 0, 0)}  # no time of day


def test_a_name_whose_bytes_are_no_text_does_not_spoil_the_file(tmp_path: Path) -> None:
    """Linux allows such file names, and Python keeps their bytes in characters that no zip can hold."""
    file = read_features(write_videos(tmp_path / "features.npz", [random_video("clip-\udce9", 3)]))
    assert file.names == ("clip-�",)
    assert len(file.read("clip-�")) == 3


def test_memory_does_not_grow_with_the_number_of_videos(tmp_path: Path) -> None:
    video = random_video("clip", 1000, width=512)  # 2 MB
    tracemalloc.start()
    with FeatureWriter(tmp_path / "features.npz", origin=replace(ORIGIN, width=512)) as writer:
        for number in range(50):
            writer.add(replace(video, name=str(number)))
    written = tracemalloc.get_traced_memory()[1]
    tracemalloc.reset_peak()
    assert sum(len(each) for each in read_features(tmp_path / "features.npz").read_all()) == 50_000
    read = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert (tmp_path / "features.npz").stat().st_size > 100e6
    assert (written < 10e6, read < 20e6) == (True, True), (written, read)


def test_a_run_that_fails_leaves_nothing_and_keeps_what_was_there(tmp_path: Path) -> None:
    path = write_videos(tmp_path / "features.npz", [random_video("old", 3)])

    def videos() -> Iterator[VideoFeatures]:
        yield random_video("new", 3)
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        write_videos(path, videos())
    assert read_features(path).names == ("old",)
    assert list(tmp_path.iterdir()) == [path]


def test_a_video_that_could_not_be_written_whole_spoils_the_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """`batch` goes on with the next video after any error; a file with half a video must not come out of that."""

    def fill_the_disk(*_: object, **__: object) -> None:
        raise OSError(28, "No space left on device")

    def write_two(writer: FeatureWriter) -> None:
        with monkeypatch.context() as patch:
            patch.setattr(np.lib.format, "write_array", fill_the_disk)
            with pytest.raises(ReportError, match="No space left on device"):
                writer.add(random_video("a", 3))
        writer.add(random_video("b", 3))

    with (
        pytest.raises(ReportError, match="was not written: a video in it is incomplete"),
        FeatureWriter(tmp_path / "features.npz", origin=ORIGIN) as writer,
    ):
        write_two(writer)
    assert list(tmp_path.iterdir()) == []


def test_a_video_is_added_once_and_with_the_width_of_the_others(tmp_path: Path) -> None:
    with FeatureWriter(tmp_path / "features.npz", origin=ORIGIN) as writer:
        writer.add(random_video("a/clip", 3))
        with pytest.raises(UsageError, match="already has features of a video named a/clip"):
            writer.add(random_video("a//clip", 3))
        with pytest.raises(UsageError, match="expected 8 features of each face, not 9"):
            writer.add(random_video("b", 3, width=9))
    assert read_features(tmp_path / "features.npz").names == ("a/clip",)


def test_a_place_that_cannot_be_written_is_told_at_once(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with (
        pytest.raises(ReportError, match="cannot be written: .* Choose a folder"),
        FeatureWriter(tmp_path / "file" / "features.npz", origin=ORIGIN),
    ):
        pass


@pytest.mark.parametrize(
    ("change", "told"),
    [
        pytest.param({"features": np.zeros((3, 8))}, "expected features as float32", id="other type"),
        pytest.param({"people": np.ones(2, np.int64)}, "people as int64 .* and 3 rows, not int64 \\(2,\\)", id="short"),
        pytest.param({"features": np.zeros(3, np.float32)}, "with 2 dimension", id="no matrix"),
        pytest.param({"boxes": np.zeros((3, 5), np.float32)}, "a box has 4 sides, not 5", id="five sides"),
        pytest.param({"people": np.zeros(3, np.int64)}, "people count from 1", id="nobody's face"),
        pytest.param({"features": np.full((3, 8), np.nan, np.float32)}, "finite", id="no numbers"),
        pytest.param({"indices": np.zeros(3, np.int64)}, "one face in a frame", id="two faces of one person"),
    ],
)
def test_arrays_that_do_not_fit_are_refused(change: dict[str, np.ndarray], told: str) -> None:
    with pytest.raises(UsageError, match=f"clip: .*{told}"):
        replace(make_video("clip", np.ones((3, 8))), **change)


def test_an_origin_names_a_hash_and_a_width() -> None:
    with pytest.raises(UsageError, match="64 hexadecimal digits, not 'abc'"):
        Origin("backbone.pt", "abc", 512)
    with pytest.raises(UsageError, match="one feature or more, not 0"):
        Origin("backbone.pt", "0" * 64, 0)


def test_a_file_that_is_not_there_is_told(tmp_path: Path) -> None:
    with pytest.raises(ReportError, match="nothing.npz cannot be read: No such file"):
        read_features(tmp_path / "nothing.npz")


@pytest.mark.parametrize(
    ("content", "told"),
    [
        pytest.param(b"", "File is not a zip file", id="empty"),
        pytest.param(b"frame,Neutral\n", "File is not a zip file", id="a report"),
    ],
)
def test_no_other_file_passes_for_features(tmp_path: Path, content: bytes, told: str) -> None:
    (tmp_path / "other.npz").write_bytes(content)
    with pytest.raises(ReportError, match=f"should hold features of faces as this tool saves them, but: {told}"):
        read_features(tmp_path / "other.npz")


def test_arrays_of_somebody_else_are_no_features(tmp_path: Path) -> None:
    np.savez(tmp_path / "other.npz", features=np.ones((3, 8)))
    with pytest.raises(ReportError, match="it lacks 'meta.json'"):
        read_features(tmp_path / "other.npz")


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        pytest.param(
            {"format": "emo_affectnet features 9"}, "not of the format 'emo_affectnet features 1'", id="future"
        ),
        pytest.param({"sha256": "abc"}, "64 hexadecimal digits", id="no hash"),
        pytest.param({"names": None}, "NoneType", id="no list of names"),
        pytest.param({"settings": []}, "has no attribute 'items'", id="no settings"),
        pytest.param({"drop": "clip/boxes.npy"}, "it lacks arrays of the video clip", id="a lost array"),
    ],
)
def test_a_file_with_another_text_is_told_when_it_is_opened(
    tmp_path: Path, changes: dict[str, object], told: str
) -> None:
    path = write_videos(tmp_path / "features.npz", [random_video("clip", 3)])
    rewrite(path, **changes)
    with pytest.raises(ReportError, match=told):
        read_features(path)


def test_a_file_cut_short_is_told(tmp_path: Path) -> None:
    path = write_videos(tmp_path / "features.npz", [random_video("clip", 3)])
    path.write_bytes(path.read_bytes()[:-100])
    with pytest.raises(ReportError, match="but: File is not a zip file"):
        read_features(path)


def test_a_flipped_bit_is_told_when_its_video_is_read(tmp_path: Path) -> None:
    video = random_video("clip", 3)
    path = write_videos(tmp_path / "features.npz", [video, random_video("other", 3)])
    content = bytearray(path.read_bytes())
    content[content.index(video.features.tobytes()) + 2] ^= 1
    path.write_bytes(content)
    assert len(read_features(path).read("other")) == 3
    with pytest.raises(ReportError, match="Bad CRC-32 for file 'clip/features.npy'"):
        read_features(path).read("clip")


def test_pickled_objects_are_never_loaded(tmp_path: Path) -> None:
    path = write_videos(tmp_path / "features.npz", [random_video("clip", 3)])
    rewrite(path, drop="clip/people.npy")
    np.save(tmp_path / "people.npy", np.array([{}, {}, {}], dtype=object), allow_pickle=True)
    with zipfile.ZipFile(path, "a") as archive:
        archive.write(tmp_path / "people.npy", "clip/people.npy")
    with pytest.raises(ReportError, match="Object arrays cannot be loaded"):
        read_features(path).read("clip")


@pytest.mark.parametrize(
    ("shape", "told"),
    [
        pytest.param((3, 7), "clip/features is longer than its shape", id="longer than it says"),
        pytest.param((10**15, 8), "(allocate|too large|cannot reshape|Failed to read)", id="far shorter than it says"),
    ],
)
def test_an_array_that_lies_about_its_size_is_told(tmp_path: Path, shape: tuple[int, int], told: str) -> None:
    path = write_videos(tmp_path / "features.npz", [random_video("clip", 3)])
    rewrite(path, drop="clip/features.npy")
    with zipfile.ZipFile(path, "a") as archive, archive.open("clip/features.npy", "w") as file:
        np.lib.format.write_array_header_1_0(file, {"descr": "<f4", "fortran_order": False, "shape": shape})
        file.write(bytes(96))
    with pytest.raises(ReportError, match=told):
        read_features(path).read("clip")


def test_arrays_of_another_width_than_promised_are_told(tmp_path: Path) -> None:
    path = write_videos(tmp_path / "features.npz", [random_video("clip", 3)])
    rewrite(path, width=512)
    with pytest.raises(ReportError, match="clip has 8 features of each face, not 512"):
        read_features(path).read("clip")
