"""Scores of predictions against labels; scikit-learn computes them, this module fixes what is averaged."""

import numpy as np
import numpy.typing as npt
from sklearn.metrics import accuracy_score, recall_score

Labels = npt.NDArray[np.int64]


def uar(truth: Labels, predicted: Labels) -> float:
    """Return the unweighted average recall over the classes that occur in `truth`, int64 (N,).

    A class that only the predictions name is not averaged in: it has no recall.
    """
    present = np.unique(truth)
    return float(recall_score(truth, predicted, labels=present, average="macro"))


def war(truth: Labels, predicted: Labels) -> float:
    """Return the weighted average recall, which is the accuracy."""
    return float(accuracy_score(truth, predicted))
