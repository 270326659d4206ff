"""Whether a measure separates right answers from wrong ones is measured as scikit-learn does, by whole speakers."""

import numpy as np
import pytest
from sklearn.metrics import roc_auc_score

from emo_affectnet.errors import UsageError
from emo_affectnet.training.trust import separate


def test_the_auc_is_scikit_learns_also_with_equal_values() -> None:
    generator = np.random.default_rng(0)
    values = np.round(generator.random(200), 1)
    is_right = generator.random(200) < values
    found = separate("x", values, is_right, speakers=[str(number % 20) for number in range(200)])
    assert found.auc == pytest.approx(roc_auc_score(is_right, values))
    low, high = found.interval.low, found.interval.high
    assert low is not None
    assert high is not None
    assert low < found.auc < high
    assert 0.05 < high - low < 0.3


def test_the_interval_is_from_draws_of_whole_speakers() -> None:
    """Two speakers, one of whom is always right, the other never: half of the draws hold one of them only."""
    found = separate("x", np.array([0.9, 0.8, 0.2, 0.1]), np.array([True, True, False, False]), speakers=[*"aabb"])
    assert found.auc == 1.0
    assert (found.interval.low, found.interval.high) == (1.0, 1.0)
    assert found.interval.dropped / 2000 == pytest.approx(0.5, abs=0.05)


def test_right_answers_are_counted_by_value() -> None:
    values = np.array([0.05, 0.55, 0.59, 1.0])
    found = separate("x", values, np.array([False, True, False, True]), speakers=[*"abcd"])
    assert found.bins[0] == (1, 0)
    assert found.bins[5] == (2, 1)
    assert found.bins[9] == (1, 1)  # 1.0 is in the last part
    assert sum(answers for answers, _ in found.bins) == 4


def test_where_all_answers_are_right_nothing_can_be_separated() -> None:
    found = separate("x", np.array([0.5, 0.6]), np.array([True, True]), speakers=[*"ab"])
    assert (found.auc, found.interval.low) == (None, None)
    with pytest.raises(UsageError, match="no labelled item"):
        separate("x", np.empty(0), np.empty(0, bool), speakers=[])
