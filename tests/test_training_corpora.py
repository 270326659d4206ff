"""FER+ votes become our labels by the rules of the FER+ authors, by name."""

from pathlib import Path

import numpy as np
import pytest

from emo_affectnet.emotions import Emotion
from emo_affectnet.errors import CorpusError
from emo_affectnet.training.corpora import (
    FERPLUS_COLUMNS,
    count_votes,
    read_ferplus,
    select_majority,
    select_seven,
)


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
