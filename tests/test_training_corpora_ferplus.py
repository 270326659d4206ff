"""FER+ votes become our labels by the rules of the FER+ authors, by name, whatever files hold them."""

from pathlib import Path

import numpy as np
import pytest
from corpus_trees import (
    FERPLUS_ROWS,
    make_fer2013_csv,
    make_ferplus_csv,
    make_ferplus_folders,
    make_ferplus_packages,
    pixels,
    write,
)

from emo_affectnet.emotions import Emotion
from emo_affectnet.errors import CorpusError
from emo_affectnet.training.corpora import (
    FERPLUS_COLUMNS,
    count_votes,
    read_ferplus,
    scan,
    select_majority,
    select_seven,
    to_faces,
)
from emo_affectnet.training.corpora.ferplus import judge_votes


def vote(**votes: int) -> np.ndarray:
    """Return one row of ten votes: `vote(fear=6, surprise=4)`."""
    return np.array([[votes.get(name, 0) for name in FERPLUS_COLUMNS]], dtype=np.uint8)


@pytest.mark.parametrize(
    ("votes", "is_clear", "is_ours"),
    [
        # A clear majority.
        (vote(fear=6, surprise=4), True, True),
        # Half of the votes is not more than half.
        (vote(fear=5, surprise=5), False, True),
        # Lone votes are dropped first: 4 of 9 are left for neutral, and the majority is gone.
        (vote(neutral=4, sadness=1, anger=3, disgust=2), False, True),
        # ... or the winner gains: 5 of 8 once the two lone votes are dropped.
        (vote(happiness=5, surprise=3, fear=1, neutral=1), True, True),
        # Contempt wins by the eight-class rule, and is then dropped.
        (vote(contempt=7, neutral=3), False, False),
        # No face, and unknown, however sure.
        (vote(not_a_face=9, neutral=1), False, False),
        (vote(unknown=6, anger=4), False, False),
        # Most votes go to ours together, but a foreign class wins.
        (vote(unknown=4, anger=3, fear=3), False, False),
    ],
)
def test_an_image_is_kept_by_the_majority_rule(votes: np.ndarray, is_clear: bool, is_ours: bool) -> None:
    assert select_majority(votes).tolist() == [is_clear]
    assert select_seven(votes).tolist() == [is_ours]


def test_a_lone_vote_is_a_slip() -> None:
    assert count_votes(vote(fear=8, anger=1, disgust=1)).sum() == 8


def write_split(root: Path, split: str, *rows: np.ndarray) -> None:
    images = np.zeros((len(rows), 48, 48), np.uint8)
    images[:, 0, 0] = np.arange(len(rows))
    np.savez(root / f"ferplus_{split}.npz", image=images, votes=np.concatenate(rows))


@pytest.mark.parametrize("emotion", Emotion)
def test_every_column_becomes_the_emotion_of_its_name(emotion: Emotion, tmp_path: Path) -> None:
    write_split(tmp_path, "valid", vote(**{emotion.name.lower(): 10}))
    assert read_ferplus(tmp_path, "valid").labels.tolist() == [emotion]


def test_training_keeps_divided_votes_as_shares(tmp_path: Path) -> None:
    rows = vote(fear=5, surprise=5), vote(happiness=10), vote(contempt=10)
    write_split(tmp_path, "train", *rows)
    faces = read_ferplus(tmp_path, "train")
    assert len(faces) == 2
    assert faces.targets[0, [Emotion.Fear, Emotion.Surprise]].tolist() == [0.5, 0.5]
    np.testing.assert_allclose(faces.targets.sum(axis=1), 1)


def test_evaluation_keeps_clear_images_only_and_the_right_ones(tmp_path: Path) -> None:
    write_split(
        tmp_path, "test", vote(fear=5, surprise=5), vote(happiness=10), vote(contempt=10), vote(anger=8, fear=2)
    )
    faces = read_ferplus(tmp_path, "test")
    assert faces.labels.tolist() == [Emotion.Happiness, Emotion.Anger]
    assert faces.images[:, 0, 0].tolist() == [1, 3]


def test_a_wrong_root_says_what_was_expected(tmp_path: Path) -> None:
    with pytest.raises(CorpusError, match=r"Expected ferplus_train\.npz and .* but ferplus_valid\.npz is not there"):
        read_ferplus(tmp_path, "valid")


# The default mode is what the bundled weights were trained on.
@pytest.mark.parametrize("split", ["train", "valid", "test"])
def test_scan_of_the_packages_gives_the_arrays_of_the_training(split: str, tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    votes = rng.multinomial(10, [0.3, 0.2, 0.1, 0.1, 0.1, 0.05, 0.05, 0.05, 0.03, 0.02], 200).astype(np.uint8)
    images = rng.integers(0, 256, (200, 48, 48), dtype=np.uint8)
    make_ferplus_packages(tmp_path)
    np.savez(tmp_path / f"ferplus_{split}.npz", image=images, votes=votes)
    expected = read_ferplus(tmp_path, split)
    faces = to_faces(scan("FER+", tmp_path), split=split)
    assert len(faces) > 10
    np.testing.assert_array_equal(faces.images, expected.images)
    np.testing.assert_array_equal(faces.targets, expected.targets)
    np.testing.assert_array_equal(faces.labels, expected.labels)


def shares(**of: float) -> list[float]:
    """Return a row of seven: `shares(fear=0.5, surprise=0.5)`."""
    return [of.get(emotion.name.lower(), 0) for emotion in Emotion]


NOTHING = shares()


@pytest.mark.parametrize(
    ("mode", "votes", "expected"),
    [
        # Most of the votes, alone.
        ("majority", vote(fear=6, surprise=4), shares(fear=1)),
        ("majority", vote(fear=5, surprise=5), NOTHING),
        # The lone vote is gone, and 4 of 9 are no majority; 4 and 3 of 9 are three quarters.
        ("majority", np.array([FERPLUS_ROWS["divided"]], np.uint8), NOTHING),
        ("probability", np.array([FERPLUS_ROWS["divided"]], np.uint8), shares(neutral=4 / 7, anger=3 / 7)),
        # Half of the votes is not yet three quarters, and the next class is taken.
        ("probability", vote(fear=5, anger=3, neutral=2), shares(fear=5 / 8, anger=3 / 8)),
        # Three tenths of 9 are 2.7.
        ("multi_target", np.array([FERPLUS_ROWS["divided"]], np.uint8), shares(neutral=4 / 7, anger=3 / 7)),
        # Equal votes are taken together: two and two, then the other three make more than three classes.
        ("probability", vote(fear=5, surprise=5), shares(fear=0.5, surprise=0.5)),
        ("probability", vote(neutral=2, fear=2, surprise=2, anger=2, disgust=2), NOTHING),
        # Unknown ends the taking; before it there is more than half, or there is not.
        ("probability", vote(fear=6, unknown=4), shares(fear=1)),
        ("probability", vote(fear=5, unknown=3, anger=2), NOTHING),
        ("probability", vote(unknown=6, fear=4), NOTHING),
        # Contempt is no class of ours: it is dropped if it wins, and else its share is.
        ("probability", vote(contempt=6, fear=4), NOTHING),
        ("probability", vote(contempt=4, fear=6), shares(fear=1)),
        ("multi_target", vote(contempt=4, fear=6), shares(fear=1)),
        # No class has three tenths, or those that have make no more than half.
        ("multi_target", vote(neutral=2, fear=2, surprise=2, anger=2, disgust=2), NOTHING),
        ("multi_target", vote(fear=4, neutral=2, surprise=2, anger=2), NOTHING),
        # Ten lone votes: nothing is left.
        ("majority", vote(**dict.fromkeys(FERPLUS_COLUMNS, 1)), NOTHING),
        ("probability", vote(**dict.fromkeys(FERPLUS_COLUMNS, 1)), NOTHING),
        ("multi_target", vote(**dict.fromkeys(FERPLUS_COLUMNS, 1)), NOTHING),
    ],
)
def test_modes_judge_the_votes_by_the_authors_rules(mode: str, votes: np.ndarray, expected: list[float]) -> None:
    np.testing.assert_allclose(judge_votes(votes, mode, split="train"), [expected], rtol=1e-6)


def test_images_that_the_mode_leaves_out_say_why(tmp_path: Path) -> None:
    found = scan("FER+", make_ferplus_packages(tmp_path), {"mode": "majority"})
    assert [(image.label, image.emotion) for image in found.images[:4]] == [
        ("happiness", Emotion.Happiness),
        ("divided votes", None),
        ("contempt", None),
        ("unknown", None),
    ]


def test_tables_are_joined_by_row_not_by_the_number_in_the_name(tmp_path: Path) -> None:
    found = scan("FER+", make_ferplus_csv(tmp_path))
    levels = {image.name: int(image.read()[0, 0, 0]) for image in found.images}
    assert levels == {"fer0000000.png": 0, "fer0000001.png": 20, "fer0000002.png": 30, "fer0000003.png": 40}
    assert [image.split for image in found.images] == ["train", "train", "valid", "test"]
    assert found.examples("row without an image name") == (f"{tmp_path / 'fer2013new.csv'}:3",)
    assert found.images[1].targets == pytest.approx(shares(neutral=4 / 9, anger=3 / 9, disgust=2 / 9))


@pytest.mark.parametrize("spoiled", ["PublicTest,a.png,x,0,0,0,0,0,0,0,0,0", "Nowhere,a.png,10,0,0,0,0,0,0,0,0,0"])
def test_row_of_votes_that_are_none_is_told(spoiled: str, tmp_path: Path) -> None:
    make_ferplus_csv(tmp_path)
    table = tmp_path / "fer2013new.csv"
    lines = table.read_text().splitlines()
    table.write_text("\n".join([*lines[:4], spoiled, lines[5]]))
    found = scan("FER+", tmp_path)
    assert found.examples("unreadable label line") == (f"{table}:5",)
    assert [image.split for image in found.images] == ["train", "train", "test"]


def test_tables_that_do_not_belong_together_are_told(tmp_path: Path) -> None:
    make_ferplus_csv(tmp_path)
    table = tmp_path / "fer2013.csv"
    lines = table.read_text().splitlines(keepends=True)
    table.write_text("".join(lines[:4]) + f"0,{pixels(1)},PrivateTest\n")
    found = scan("FER+", tmp_path)
    assert found.problem_counts["row of different splits in the two tables"] == 1
    assert found.examples("tables of different lengths") == (str(table),)


def test_folders_are_joined_by_name(tmp_path: Path) -> None:
    found = scan("FER+", make_ferplus_folders(tmp_path), {"mode": "probability"})
    facts = [(image.name, image.split, image.emotion, int(image.read()[0, 0, 0])) for image in found.images]
    assert facts == [
        ("fer0000059.png", "train", Emotion.Happiness, 59),
        ("fer0000002.png", "train", Emotion.Neutral, 2),
        ("fer0032220.png", "test", Emotion.Happiness, 3),
    ]
    assert found.problem_counts == {"missing image": 1, "row without an image name": 1}


def test_header_and_broken_line_of_a_folder_are_known_apart(tmp_path: Path) -> None:
    make_ferplus_folders(tmp_path)
    table = tmp_path / "data" / "FER2013Test" / "label.csv"
    header = "Image name,neutral,happiness,surprise,sadness,anger,disgust,fear,contempt,unknown,NF\n"
    table.write_text(header + table.read_text() + "fer0032220.png,1,2\n")
    found = scan("FER+", tmp_path)
    assert found.examples("unreadable label line") == (f"{table}:3",)
    assert found.images[-1].name == "fer0032220.png"


# Image 0 to 3 are the same in all three splits: valid's are in test, train's are in both.
@pytest.mark.parametrize(("dedup", "kept"), [("none", 4), ("within", 4), ("cross", 1), ("unseen", 2)])
def test_copies_across_splits_are_told_and_dropped_on_demand(dedup: str, kept: int, tmp_path: Path) -> None:
    found = scan("FER+", make_ferplus_packages(tmp_path), {"dedup": dedup})
    assert found.problem_counts == {"copy in a later split": 8}
    assert found.emotions.total() == kept


def test_votes_without_images_are_not_the_corpus(tmp_path: Path) -> None:
    make_ferplus_csv(tmp_path)
    (tmp_path / "fer2013.csv").unlink()
    with pytest.raises(CorpusError, match=r"fer2013\.csv with fer2013new\.csv.* What is there: fer2013new\.csv\."):
        scan("FER+", tmp_path)


def test_images_without_votes_are_not_the_corpus(tmp_path: Path) -> None:
    with pytest.raises(CorpusError, match=r"What is there: fer2013\.csv\."):
        scan("FER+", make_fer2013_csv(tmp_path))


def test_package_that_is_missing_or_broken_is_told(tmp_path: Path) -> None:
    make_ferplus_packages(tmp_path)
    (tmp_path / "ferplus_test.npz").unlink()
    write(tmp_path, {"ferplus_valid.npz": b"PK\x03\x04 and no more"})
    found = scan("FER+", tmp_path)
    assert {image.split for image in found.images} == {"train"}
    assert found.problem_counts == {"missing split": 1, "unreadable file": 1}
