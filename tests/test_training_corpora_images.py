"""AffectNet, RAF-DB and FER2013: labelled faces in files and tables; and the arrays that a training takes."""

import logging
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from corpus_trees import (
    make_affectnet_csv,
    make_affectnet_npy,
    make_fer2013_csv,
    make_fer2013_folders,
    make_ferplus_packages,
    make_rafdb,
    picture,
    pixels,
    write,
)

from emo_affectnet.emotions import Emotion
from emo_affectnet.errors import CorpusError, UnknownName
from emo_affectnet.training.corpora import LabelledImage, Problem, Scan, scan, to_faces


def by_name(found: Scan) -> dict[str, LabelledImage]:
    return {image.name: image for image in found.images}


def test_affectnet_lists_are_read_with_a_header_and_without(tmp_path: Path) -> None:
    found = scan("AffectNet", make_affectnet_csv(tmp_path))
    assert [(image.name, image.label, image.emotion, image.split) for image in found.images] == [
        ("1/a.jpg", "surprise", Emotion.Surprise, "train"),
        ("1/b.JPG", "happiness", Emotion.Happiness, "train"),
        ("1/c.jpg", "no face", None, "train"),
        ("2/d.png", "contempt", None, "valid"),  # the first line of a list without a header
        ("2/e.png", "anger", Emotion.Anger, "valid"),
    ]


def test_affectnet_lines_that_cannot_be_used_are_told(tmp_path: Path) -> None:
    found = scan("AffectNet", make_affectnet_csv(tmp_path))
    assert found.problem_counts == {"missing image": 1, "unreadable label line": 2}
    assert found.examples("missing image")[0].endswith("training.csv:5: 2/gone.jpg")
    # A box of x, and the label -1, which is no index from the end.
    assert [where.rpartition(":")[2] for where in found.examples("unreadable label line")] == ["6", "7"]


def test_affectnet_face_is_the_whole_image_as_in_the_published_check(tmp_path: Path) -> None:
    images = by_name(scan("AffectNet", make_affectnet_csv(tmp_path)))
    assert images["1/a.jpg"].read().shape[:2] != (4, 4)


def test_affectnet_face_is_cut_out_on_demand_and_its_box_held_inside_the_picture(tmp_path: Path) -> None:
    images = by_name(scan("AffectNet", make_affectnet_csv(tmp_path), {"crop": "box"}))
    assert images["1/a.jpg"].read().shape == (4, 4, 3)
    assert images["1/b.JPG"].read().shape == (10, 20, 3)  # x, y from -2, 40 wide and high
    assert images["1/c.jpg"].read().shape == (8, 8, 3)  # NULL: the whole picture


# 0-6 in the order of our emotions, then contempt, none, uncertain, no face.
@pytest.mark.parametrize("number", range(11))
def test_affectnet_number_becomes_its_emotion(number: int, tmp_path: Path) -> None:
    write(
        tmp_path,
        {
            "Manually_Annotated_Images/a.jpg": picture(),
            "Manually_Annotated_file_lists/validation.csv": f"a.jpg,0,0,8,8,1;2,{number},0,0\n",
        },
    )
    (image,) = scan("AffectNet", tmp_path).images
    assert image.emotion == (Emotion(number) if number < 7 else None)


def test_affectnet_box_outside_the_picture_is_no_face(tmp_path: Path) -> None:
    write(
        tmp_path,
        {
            "Manually_Annotated_Images/a.jpg": picture(),
            "Manually_Annotated_file_lists/validation.csv": "a.jpg,20,20,8,8,1;2,0,0,0\n",
        },
    )
    (image,) = scan("AffectNet", tmp_path, {"crop": "box"}).images
    with pytest.raises(CorpusError, match=r"said to be at \(20, 20, 28, 28\), but the picture has \(8, 8\) pixels"):
        image.read()


def test_affectnet_npy_release_holds_strings_and_numbers(tmp_path: Path) -> None:
    found = scan("AffectNet", make_affectnet_npy(tmp_path))
    assert [(image.name, image.label, image.emotion) for image in found.images] == [
        ("train/7", "happiness", Emotion.Happiness),
        ("train/120", "anger", Emotion.Anger),
        ("valid/7", "contempt", None),
    ]
    assert found.images[0].read().shape == (8, 8, 3)
    assert found.problem_counts == {"missing image": 1, "unreadable label file": 1}


def test_affectnet_label_that_needs_unpickling_is_not_loaded(tmp_path: Path) -> None:
    make_affectnet_npy(tmp_path)
    np.save(tmp_path / "train_set" / "annotations" / "7_exp.npy", np.array([{"label": 1}], dtype=object))
    assert "train/7" not in by_name(scan("AffectNet", tmp_path))


def test_affectnet_reads_one_release_of_two(tmp_path: Path) -> None:
    make_affectnet_npy(make_affectnet_csv(tmp_path))
    found = scan("AffectNet", tmp_path)
    assert len(found.images) == 5
    assert found.problem_counts["npy release beside the csv release, not read"] == 2


def test_rafdb_list_has_tabs_and_blanks_and_counts_from_one(tmp_path: Path) -> None:
    found = scan("RAF-DB", make_rafdb(tmp_path))
    assert [(image.name, image.emotion, image.split) for image in found.images] == [
        ("train_00001.jpg", Emotion.Sadness, "train"),
        ("train_00002.jpg", Emotion.Neutral, "train"),
        ("test_0001.jpg", Emotion.Surprise, "test"),
    ]
    assert found.examples("missing image") == ("Image/aligned/test_0002_aligned.jpg",)
    assert found.problem_counts["unreadable label line"] == 1


# The order of the corpus's own list.
@pytest.mark.parametrize(
    ("number", "emotion"),
    [
        (1, Emotion.Surprise),
        (2, Emotion.Fear),
        (3, Emotion.Disgust),
        (4, Emotion.Happiness),
        (5, Emotion.Sadness),
        (6, Emotion.Anger),
        (7, Emotion.Neutral),
    ],
)
def test_rafdb_number_becomes_its_emotion(number: int, emotion: Emotion, tmp_path: Path) -> None:
    make_rafdb(tmp_path)
    table = tmp_path / "basic" / "EmoLabel" / "list_patition_label.txt"
    table.write_text(f"train_00001.jpg {number}\n")
    assert [image.emotion for image in scan("RAF-DB", tmp_path).images] == [emotion]


# The numbers of fer2013.csv.
@pytest.mark.parametrize(
    ("number", "emotion"),
    [
        (0, Emotion.Anger),
        (1, Emotion.Disgust),
        (2, Emotion.Fear),
        (3, Emotion.Happiness),
        (4, Emotion.Sadness),
        (5, Emotion.Surprise),
        (6, Emotion.Neutral),
    ],
)
def test_fer2013_number_becomes_its_emotion(number: int, emotion: Emotion, tmp_path: Path) -> None:
    write(tmp_path, {"fer2013.csv": f"emotion,pixels,Usage\n{number},{pixels(9)},PublicTest\n"})
    (image,) = scan("FER2013", tmp_path).images
    assert (image.emotion, image.split) == (emotion, "valid")
    assert image.read().shape == (48, 48, 3)
    assert (image.read() == 9).all()


def test_fer2013_pixels_run_along_the_rows(tmp_path: Path) -> None:
    text = " ".join(str(number % 256) for number in range(48 * 48))
    write(tmp_path, {"icml_face_data.csv": f"emotion, Usage, pixels\n0,Training,{text}\n"})
    (image,) = scan("FER2013", tmp_path).images
    np.testing.assert_array_equal(image.read()[0, :, 0], np.arange(48))


@pytest.mark.parametrize(
    "text", ["1 2 3", pixels(256), pixels(-1), pixels(10**40), "x " * 2304], ids=lambda text: text[:5]
)
def test_fer2013_pixels_that_are_none_are_told(text: str, tmp_path: Path) -> None:
    write(tmp_path, {"fer2013.csv": f"emotion,pixels,Usage\n0,{pixels(1)},Training\n0,{text},Training\n"})
    found = scan("FER2013", tmp_path)
    assert len(found.images) == 1
    assert found.examples("unreadable label line") == (f"{tmp_path / 'fer2013.csv'}:3",)


# Rows 0 and 2 are one image in train, which 4 shows again in test; row 1 of train is row 3 of valid.
@pytest.mark.parametrize(
    ("dedup", "dropped"),
    [("none", []), ("within", ["2"]), ("cross", ["0", "1", "2"]), ("unseen", ["2", "3", "4"])],
    ids=["none", "within", "cross", "unseen"],
)
def test_fer2013_copies_are_told_always_and_dropped_by_the_policy(
    dedup: str, dropped: list[str], tmp_path: Path
) -> None:
    found = scan("FER2013", make_fer2013_csv(tmp_path), {"dedup": dedup})
    assert [image.name for image in found.images if image.emotion is None] == [f"fer2013/{row}" for row in dropped]
    assert len(found.images) == 6
    assert found.problem_counts == {"copy within a split": 1, "copy in a later split": 2, "unreadable label line": 2}


def test_packages_give_fer2013_its_original_labels_in_our_order(tmp_path: Path) -> None:
    found = scan("FER2013", make_ferplus_packages(tmp_path))
    train = [(image.label, image.emotion) for image in found.images if image.split == "train"]
    expected = [("unlabelled", None), ("neutral", Emotion.Neutral), ("happy", Emotion.Happiness)]
    assert train[:3] == expected  # -1, 0, 1
    assert found.images[2].read()[0, 0].tolist() == [2, 2, 2]


def test_fer2013_folders_merge_the_two_test_sets_under_a_name_of_its_own(tmp_path: Path) -> None:
    found = scan("FER2013", make_fer2013_folders(tmp_path))
    assert [(image.name, image.emotion, image.split) for image in found.images] == [
        ("train/angry/a.jpg", Emotion.Anger, "train"),
        ("train/neutral/b.jpg", Emotion.Neutral, "train"),
        ("test/angry/d.jpg", Emotion.Anger, "valid+test"),
        ("test/surprise/c.jpg", Emotion.Surprise, "valid+test"),
    ]
    assert found.examples("copy in a later split") == ("train/angry/a.jpg",)
    assert found.problem_counts["name of another pattern"] == 1


def test_fer2013_competition_tables_have_a_split_each_and_test_has_no_labels(tmp_path: Path) -> None:
    write(tmp_path, {"train.csv": f"emotion,pixels\n3,{pixels(1)}\n", "test.csv": f"pixels\n{pixels(2)}\n"})
    images = scan("FER2013", tmp_path).images
    assert [(image.split, image.label, image.emotion) for image in images] == [
        ("train", "happy", Emotion.Happiness),
        ("test", "unlabelled", None),
    ]


def test_fer2013_second_table_is_told_and_not_read(tmp_path: Path) -> None:
    make_fer2013_csv(tmp_path)
    write(tmp_path, {"train.csv": f"emotion,pixels\n3,{pixels(1)}\n"})
    found = scan("FER2013", tmp_path)
    assert len(found.images) == 6
    assert found.problem_counts["second copy of the corpus, not read"] == 1


def test_faces_of_a_split_become_arrays(tmp_path: Path) -> None:
    found = scan("FER2013", make_fer2013_csv(tmp_path))
    faces = to_faces(found, split="train")
    assert faces.images.shape == (3, 48, 48)
    assert faces.images.dtype == np.uint8
    assert faces.images[:, 5, 5].tolist() == [10, 20, 10]
    assert faces.labels.tolist() == [Emotion.Anger, Emotion.Happiness, Emotion.Neutral]
    np.testing.assert_array_equal(faces.targets, np.eye(7, dtype=np.float32)[faces.labels])
    assert len(to_faces(found)) == 6


@pytest.mark.parametrize("side", [4, 8, 48])
def test_faces_can_be_in_colour_and_of_any_side(side: int, tmp_path: Path) -> None:
    found = scan("AffectNet", make_affectnet_csv(tmp_path))
    faces = to_faces(found, side=side, channels="RGB")
    assert faces.images.shape == (3, side, side, 3)  # without the face that is none, and Contempt
    assert abs(int(faces.images[2, 0, 0, 0]) - 50) <= 1  # the level of the third picture
    assert to_faces(found, side=side).images.shape == (3, side, side)


def test_faces_that_cannot_be_read_are_told_and_left_out(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    make_rafdb(tmp_path)
    broken = tmp_path / "basic" / "Image" / "aligned" / "train_00001_aligned.jpg"
    broken.write_bytes(broken.read_bytes()[:100])
    problems: list[Problem] = []
    found = scan("RAF-DB", tmp_path)
    faces = to_faces(found, tell=problems.append)
    assert faces.labels.tolist() == [Emotion.Neutral, Emotion.Surprise]
    assert [problem.kind for problem in problems] == ["unreadable image"]
    with caplog.at_level(logging.WARNING, "emo_affectnet"):
        to_faces(found)
    assert f"{broken} cannot be read as a picture" in caplog.text


def test_faces_of_nothing_are_an_error(tmp_path: Path) -> None:
    found = scan("RAF-DB", make_rafdb(tmp_path))
    with pytest.raises(UnknownName, match="no split of RAF-DB named 'valid'; choose one of: test, train"):
        to_faces(found, split="valid")
    with pytest.raises(UnknownName, match="no kind of channels named 'BGR'; choose one of: grey, RGB"):
        to_faces(found, channels="BGR")
    with pytest.raises(CorpusError, match="There is no readable image of an emotion in any split"):
        to_faces(replace(found, images=()))
