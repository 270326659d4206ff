"""The emotion of a video and its peak come from the rows of its report, and from nothing else."""

import numpy as np
import pytest

from emo_affectnet.answers import Peak, average_frames, find_emotion, find_peak
from emo_affectnet.emotions import Emotion

NOBODY = [np.nan] * 7


def make_rows(*rows: dict[Emotion, float]) -> np.ndarray:
    """Return float32 (F, 7), one row for each mapping; an empty one is a frame without a face."""
    return np.array([[row.get(emotion, 0.0) for emotion in Emotion] if row else NOBODY for row in rows], np.float32)


def test_the_emotion_is_that_of_the_mean_over_frames_with_a_face() -> None:
    rows = make_rows(
        {Emotion.Neutral: 0.6, Emotion.Anger: 0.4}, {}, {Emotion.Neutral: 0.6, Emotion.Anger: 0.4}, {Emotion.Anger: 1.0}
    )
    assert find_emotion(rows) is Emotion.Anger  # (0.4 + 0.4 + 1.0) / 3 against 0.4, though two of three are Neutral
    means = average_frames(rows)
    assert means is not None
    np.testing.assert_allclose(means[[0, 6]], [0.4, 0.6], atol=1e-6)


def test_the_peak_is_the_middle_of_the_strongest_passage_that_is_not_neutral() -> None:
    weak, strong = {Emotion.Neutral: 0.7, Emotion.Fear: 0.3}, {Emotion.Neutral: 0.6, Emotion.Fear: 0.4}
    rows = make_rows({Emotion.Neutral: 1.0}, weak, strong, strong, strong, weak, {})
    found = find_peak(rows, np.array([0.0, 0.1, 0.2, 0.4, 0.6, 0.7, 0.8]))
    assert found == Peak(Emotion.Fear, pytest.approx(0.4), pytest.approx(0.4))
    assert find_emotion(rows) is Emotion.Neutral


def test_of_two_passages_alike_the_first_is_the_peak() -> None:
    anger, disgust = {Emotion.Neutral: 0.5, Emotion.Anger: 0.5}, {Emotion.Neutral: 0.5, Emotion.Disgust: 0.5}
    rows = make_rows(anger, disgust, disgust, anger)
    assert find_peak(rows, np.arange(4.0)) == Peak(Emotion.Anger, 0.0, 0.5)


@pytest.mark.parametrize("rows", [make_rows({}, {}), np.empty((0, 7), np.float32)], ids=["no face", "no frame"])
def test_without_a_face_there_is_no_answer(rows: np.ndarray) -> None:
    assert (average_frames(rows), find_emotion(rows)) == (None, None)
    assert find_peak(rows, np.arange(float(len(rows)))) is None
