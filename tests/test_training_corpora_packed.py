"""Faces in a tar with a table beside it: every line a face or a problem, nothing unpacked."""

import tarfile
from pathlib import Path

import pytest
from corpus_trees import PACKED_HEADER, make_kdef, make_packed, picture, tar_file, write

from emo_affectnet.emotions import Emotion
from emo_affectnet.errors import CorpusError
from emo_affectnet.training.corpora import scan


def test_packed_faces_have_what_the_table_says(tmp_path: Path) -> None:
    found = scan("AffectNet", make_packed("affectnet")(tmp_path))
    assert [(image.name, image.label, image.emotion, image.split, image.person) for image in found.images] == [
        ("affectnet/0.webp", "Anger", Emotion.Anger, "train", "ann"),
        ("affectnet/1.webp", "Fear", Emotion.Fear, "test", "ben"),
        ("affectnet/2.webp", "Surprise and Fear", None, "train", "ann"),
        ("affectnet/3.webp", "Contempt", None, None, None),
        ("affectnet/4.webp", "Sadness", Emotion.Sadness, None, None),
    ]
    assert found.examples("missing image") == (f"{tmp_path / 'affectnet_small.csv'}:7: affectnet/5.webp",)
    assert [where.rpartition(":")[2] for where in found.examples("unreadable label line")] == ["8", "9"]


def test_packed_face_is_read_from_its_place_in_the_tar(tmp_path: Path) -> None:
    found = scan("CFEE", make_packed("cfee")(tmp_path))
    levels = [int(image.read()[4, 4, 0]) for image in found.images]
    assert all(abs(level - 10 * number) <= 2 for number, level in enumerate(levels))  # WebP loses a little
    assert sorted(path.name for path in tmp_path.iterdir()) == ["cfee_small.csv", "cfee_small.tar"]


def test_packed_faces_of_two_emotions_are_half_of_each_on_demand(tmp_path: Path) -> None:
    found = scan("CFEE", make_packed("cfee")(tmp_path), {"compound": "halves"})
    assert found.images[2].emotion == Emotion.Surprise
    assert found.images[2].targets == (0, 0, 0, 0.5, 0.5, 0, 0)


def test_an_angle_is_not_chosen_where_the_table_does_not_say_it(tmp_path: Path) -> None:
    """The record of weights must not say that frontal faces trained them where nobody knows."""
    found = scan("KDEF", make_packed("kdef")(tmp_path), {"angle": "frontal"})
    assert not found.emotions
    assert found.problem_counts["table does not say the angle, all left out"] == 1


def test_every_packed_set_of_a_corpus_is_read_and_those_of_others_are_not(tmp_path: Path) -> None:
    line = PACKED_HEADER + "1.png,Anger,,,,\n"
    for name in ("RaFD", "rafd_2", "rafdb"):
        write(
            tmp_path, {f"{name}.tar": tar_file({"1.png": picture()}), f"{name}.csv": line.replace("1.png", "./1.png")}
        )
    found = scan("RaFD", tmp_path)
    assert found.problem_counts == {"name given twice": 1}  # of the two that are of RaFD
    assert found.emotions == {Emotion.Anger: 1}


def test_tar_without_a_table_is_told_and_the_release_is_read(tmp_path: Path) -> None:
    make_kdef(tmp_path)
    write(tmp_path, {"KDEF.tar": tar_file({})})
    found = scan("KDEF", tmp_path)
    assert len(found.images) == 6
    assert found.examples("tar without a table beside it") == (str(tmp_path / "KDEF.tar"),)


def read_tar(root: Path, content: bytes) -> dict[str, int]:
    write(root, {"jaffe.tar": content, "jaffe.csv": "path,emotion\na.png,Fear\nb.png,Fear\n"})
    return dict(scan("JAFFE", root).problem_counts)


def test_tar_that_is_cut_short_gives_what_is_whole(tmp_path: Path) -> None:
    whole = tar_file({"a.png": picture(), "b.png": picture(size=(300, 300))})
    assert read_tar(tmp_path, whole) == {}
    assert read_tar(tmp_path, whole[: 512 + 1024 + 100]) == {"unreadable tar": 1, "missing image": 1}


def test_compressed_tar_is_told(tmp_path: Path) -> None:
    import gzip

    assert read_tar(tmp_path, gzip.compress(tar_file({"a.png": picture()}))) == {
        "unreadable tar": 1,
        "missing image": 2,
    }


@pytest.mark.parametrize("size", [-512, 10**15])
def test_tar_that_lies_about_sizes_ends(size: int, tmp_path: Path) -> None:
    """A negative size leads tarfile backwards, over the same member for ever."""
    member = tarfile.TarInfo("a.png")
    member.size = size
    header = member.tobuf(tarfile.GNU_FORMAT)
    assert read_tar(tmp_path, header + bytes(2048)) == {"unreadable tar": 1, "missing image": 2}


def test_links_in_a_tar_are_no_pictures(tmp_path: Path) -> None:
    link = tarfile.TarInfo("a.png")
    link.type, link.linkname = tarfile.SYMTYPE, "/etc/hostname"
    assert read_tar(tmp_path, link.tobuf() + bytes(1024)) == {"missing image": 2}


def test_packed_file_that_is_no_picture_says_so(tmp_path: Path) -> None:
    write(tmp_path, {"sfew.tar": tar_file({"a.png": b"text"}), "sfew.csv": "path,emotion\na.png,Fear\n"})
    (image,) = scan("SFEW", tmp_path).images
    with pytest.raises(CorpusError, match=r"a\.png in .*sfew\.tar cannot be read as a picture"):
        image.read()
    (tmp_path / "sfew.tar").unlink()
    with pytest.raises(CorpusError, match=r"sfew\.tar cannot be read: No such file"):
        image.read()
