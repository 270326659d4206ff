"""CFEE, KDEF, JAFFE, RaFD and SFEW: the label is in the name of a picture or of its folder."""

from pathlib import Path

import pytest
from corpus_trees import make_cfee, make_jaffe, make_kdef, make_rafd, make_sfew, picture, write

from emo_affectnet.emotions import Emotion
from emo_affectnet.training.corpora import Scan, scan, to_faces


def emotions(found: Scan) -> dict[str, Emotion | None]:
    return {image.name: image.emotion for image in found.images}


def test_cfee_category_and_person_are_read_in_either_order(tmp_path: Path) -> None:
    found = scan("CFEE", make_cfee(tmp_path))
    assert sorted((image.label, image.person) for image in found.images) == [
        ("angrily disgusted", "114"),
        ("appalled", "114"),
        ("happily surprised", "111"),
        ("happy", "0111"),
        ("neutral", "115"),
    ]
    assert found.emotions == {Emotion.Happiness: 1, Emotion.Neutral: 1}
    assert found.problem_counts == {"name of another pattern": 2}


def test_cfee_faces_of_two_emotions_are_half_of_each_on_demand(tmp_path: Path) -> None:
    found = scan("CFEE", make_cfee(tmp_path), {"compound": "halves"})
    (appalled,) = (image for image in found.images if image.label == "appalled")
    assert appalled.emotion == Emotion.Disgust
    assert appalled.targets == (0, 0, 0, 0, 0, 0.5, 0.5)  # Disgust and Anger
    assert len(found.emotions) == 4
    faces = to_faces(found)
    assert faces.targets.sum(axis=1).tolist() == [1.0] * 5


# The compound categories, with both of their emotions.
@pytest.mark.parametrize(
    ("folder", "first", "second"),
    [
        ("Happily Surprised", Emotion.Happiness, Emotion.Surprise),
        ("happily_disgusted", Emotion.Happiness, Emotion.Disgust),
        ("SadlyFearful", Emotion.Sadness, Emotion.Fear),
        ("sadly-angry", Emotion.Sadness, Emotion.Anger),
        ("sadly surprised", Emotion.Sadness, Emotion.Surprise),
        ("sadly disgusted", Emotion.Sadness, Emotion.Disgust),
        ("fearfully angry", Emotion.Fear, Emotion.Anger),
        ("fearfully surprised", Emotion.Fear, Emotion.Surprise),
        ("fearfully disgusted", Emotion.Fear, Emotion.Disgust),
        ("angrily surprised", Emotion.Anger, Emotion.Surprise),
        ("angrily disgusted", Emotion.Anger, Emotion.Disgust),
        ("disgustedly surprised", Emotion.Disgust, Emotion.Surprise),
        ("appalled", Emotion.Disgust, Emotion.Anger),
        ("hatred", Emotion.Anger, Emotion.Disgust),
        ("awed", Emotion.Surprise, Emotion.Fear),
    ],
)
def test_cfee_category_becomes_its_two_emotions(folder: str, first: Emotion, second: Emotion, tmp_path: Path) -> None:
    write(tmp_path, {f"{folder}/7.jpg": picture(kind="JPEG")})
    (image,) = scan("CFEE", tmp_path, {"compound": "halves"}).images
    assert image.targets is not None
    assert (image.emotion, image.targets[first], image.targets[second]) == (first, 0.5, 0.5)


def test_kdef_name_holds_session_person_emotion_and_angle(tmp_path: Path) -> None:
    found = scan("KDEF", make_kdef(tmp_path))
    assert emotions(found) == {
        "AF01ANS": Emotion.Anger,
        "AF01ANHL": Emotion.Anger,
        "AF01ANFR": Emotion.Anger,
        "BF01ANS": Emotion.Anger,
        "AM35AFHR": Emotion.Fear,
        "AM35NES": Emotion.Neutral,
    }
    assert found.people == ("F01", "M35")  # the same in both sessions
    assert found.examples("name of another pattern") == (str(tmp_path / "AM35" / "AM35H.JPG"),)


@pytest.mark.parametrize(
    ("angle", "names"),
    [
        ("frontal", {"AF01ANS", "BF01ANS", "AM35NES"}),
        ("half", {"AF01ANS", "BF01ANS", "AM35NES", "AF01ANHL", "AM35AFHR"}),
        ("all", {"AF01ANS", "BF01ANS", "AM35NES", "AF01ANHL", "AM35AFHR", "AF01ANFR"}),
    ],
)
def test_kdef_angles_are_chosen(angle: str, names: set[str], tmp_path: Path) -> None:
    found = scan("KDEF", make_kdef(tmp_path), {"angle": angle})
    assert {name for name, emotion in emotions(found).items() if emotion is not None} == names
    assert len(found.images) == 6  # those left out are counted


def test_jaffe_name_holds_person_and_emotion(tmp_path: Path) -> None:
    found = scan("JAFFE", make_jaffe(tmp_path))
    assert emotions(found) == {
        "KA.AN1.39": Emotion.Anger,
        "KA.HA2.30": Emotion.Happiness,
        "YM.SU3.60": Emotion.Surprise,
        "NA.NE3.203": Emotion.Neutral,
    }
    assert found.people == ("KA", "NA", "YM")
    assert found.images[0].read().shape == (8, 8, 3)  # a TIFF


def test_rafd_contempt_is_outside_the_seven(tmp_path: Path) -> None:
    found = scan("RaFD", make_rafd(tmp_path))
    assert found.counts["contemptuous", None] == 1
    assert found.emotions == {Emotion.Anger: 4, Emotion.Fear: 1}
    assert found.people == ("01", "07")
    assert found.problem_counts == {"name of another pattern": 1}


# Anger is shown ahead and aside in front, from the half and from the side; Fear aside from the half.
@pytest.mark.parametrize(
    ("policies", "anger", "fear"),
    [
        ({"angle": "frontal"}, 2, 0),
        ({"angle": "half"}, 3, 1),
        ({"gaze": "frontal"}, 3, 0),
        ({"angle": "frontal", "gaze": "frontal"}, 1, 0),
    ],
)
def test_rafd_angles_and_gazes_are_chosen(policies: dict[str, str], anger: int, fear: int, tmp_path: Path) -> None:
    found = scan("RaFD", make_rafd(tmp_path), policies)
    assert (found.emotions[Emotion.Anger], found.emotions[Emotion.Fear]) == (anger, fear)


def test_sfew_frames_have_their_split_and_the_film_that_keeps_them_together(tmp_path: Path) -> None:
    found = scan("SFEW", make_sfew(tmp_path))
    assert [(image.split, image.person, image.emotion) for image in found.images] == [
        ("train", "Airheads", Emotion.Anger),
        ("train", "Airheads", Emotion.Anger),
        ("valid", "Bride_Wars", Emotion.Surprise),
        (None, "Unknown", Emotion.Neutral),
    ]
    assert found.problem_counts == {"name given twice": 1, "name of another pattern": 1}
