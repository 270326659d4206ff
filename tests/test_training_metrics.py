"""Scores average over the classes that are there."""

import numpy as np
import pytest

from emo_affectnet.training.metrics import uar, war


def test_uar_is_the_mean_recall_of_the_classes_in_the_truth() -> None:
    truth, predicted = np.array([0, 0, 0, 0, 6, 6]), np.array([0, 0, 0, 6, 6, 0])
    assert uar(truth, predicted) == pytest.approx((3 / 4 + 1 / 2) / 2)
    assert war(truth, predicted) == pytest.approx(4 / 6)


def test_a_class_that_only_the_predictions_name_does_not_lower_the_average() -> None:
    # The trap: over all labels seen anywhere, scikit-learn's macro recall would be 0.50 here.
    truth, predicted = np.array([0, 0, 1, 1]), np.array([0, 3, 1, 1])
    assert uar(truth, predicted) == pytest.approx(0.75)
