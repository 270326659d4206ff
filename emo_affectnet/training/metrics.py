"""Scores of predictions against labels, and how sure they are.

In go true and predicted emotions, or the confusion matrices counted from them; out come scores, as shares from 0 to 1.
scikit-learn computes a score from predictions; this module fixes what is averaged and what is resampled.

A confusion matrix is int64 (7, 8), true emotion by predicted emotion, with items in which no face was found in the last
column. Those count as errors. Averages run over the emotions that occur in the truth, and over no other.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from sklearn.metrics import accuracy_score, f1_score, recall_score

from ..emotions import Emotion
from ..errors import UsageError
from ..timeline import Doubles, Floats, Integers

NO_FACE = -1  # the prediction for an item in which no face was found
SHAPE = (len(Emotion), len(Emotion) + 1)  # of a confusion matrix
RESAMPLES = 2000
FEW_CLUSTERS = 10  # below this a bootstrap interval says little


@dataclass(frozen=True)
class Scores:
    """What a confusion matrix tells."""

    count: int  # items, all of them scored
    coverage: float  # share of items with a face
    classes: int  # emotions that occur in the truth; chance is one over it
    uar: float  # mean recall over these
    war: float  # accuracy
    macro_f1: float  # mean F1 over the same emotions
    recalls: tuple[float | None, ...]  # (7,); None: the emotion does not occur


@dataclass(frozen=True)
class Interval:
    """A 95 % percentile interval from resampled clusters."""

    low: float | None  # None: every resample lacked an emotion
    high: float | None
    clusters: int
    resamples_used: int
    dropped: int  # resamples that lacked an emotion which the whole has

    @property
    def is_rough(self) -> bool:
        """Whether there were so few clusters, or so many dropped resamples, that the interval says little."""
        return self.clusters < FEW_CLUSTERS or self.dropped > self.resamples_used


@dataclass(frozen=True)
class Difference:
    """The UAR of two systems on the same items."""

    a: float
    b: float
    difference: float  # b - a
    interval: Interval  # of the difference
    p: float  # two-sided


def uar(truth: Integers, predicted: Integers) -> float:
    """Return the unweighted average recall over the classes that occur in `truth`, int64 (N,).

    A class that only the predictions name is not averaged in: it has no recall. NO_FACE among the predictions is an
    error like any other.
    """
    return float(recall_score(truth, predicted, labels=np.unique(truth), average="macro"))


def war(truth: Integers, predicted: Integers) -> float:
    """Return the weighted average recall, which is the accuracy."""
    return float(accuracy_score(truth, predicted))


def macro_f1(truth: Integers, predicted: Integers) -> float:
    """Return the mean F1 over the classes that occur in `truth`, int64 (N,); the list is the same for every system."""
    return float(f1_score(truth, predicted, labels=np.unique(truth), average="macro"))


def chance_normalised(score: float, classes: int) -> float | None:
    """Return a UAR such that guessing has 0 and perfection 1; None for a single class, where guessing is perfect."""
    chance = 1 / classes
    return (score - chance) / (1 - chance) if classes > 1 else None


def confusion_by_cluster(
    truth: Integers, predicted: Integers, clusters: Sequence[str]
) -> tuple[tuple[str, ...], Integers]:
    """Return the sorted names of the clusters and one confusion matrix for each, int64 (K, 7, 8).

    A cluster is what items are not independent within: the speaker, or the video.

    Raises:
        UsageError: the lengths differ, or a label is none of the seven emotions; NO_FACE may only be predicted.
    """
    if not len(truth) == len(predicted) == len(clusters):
        raise UsageError(
            f"Each item needs a label, a prediction and a cluster; there are {len(truth)}, {len(predicted)} and "
            f"{len(clusters)}."
        )
    if not np.isin(truth, list(Emotion)).all() or not np.isin(predicted, [NO_FACE, *Emotion]).all():
        raise UsageError(
            f"Labels go from 0 to {len(Emotion) - 1}, and predictions may be {NO_FACE} beside that. Leave out items "
            "without a label, and say how many they were."
        )
    names, positions = np.unique(np.asarray(clusters, dtype=str), return_inverse=True)
    confusions = np.zeros((len(names), *SHAPE), np.int64)
    columns = np.where(predicted == NO_FACE, len(Emotion), predicted)
    np.add.at(confusions, (positions, truth, columns), 1)
    return tuple(map(str, names)), confusions


def summarise(confusion: Integers) -> Scores:
    """Return the scores of one confusion matrix, (7, 8); those of a corpus come from the sum over its clusters.

    Raises:
        UsageError: the matrix holds no item.
    """
    support, hits = confusion.sum(axis=1), np.diagonal(confusion)
    count, present = int(support.sum()), support > 0
    if not count:
        raise UsageError("There is no labelled item to score.")
    recalls = _recalls(confusion)
    predicted = confusion.sum(axis=0)
    return Scores(
        count=count,
        coverage=float(1 - predicted[-1] / count),
        classes=int(present.sum()),
        uar=float(recalls[present].mean()),
        war=float(hits.sum() / count),
        macro_f1=float((2 * hits[present] / (support + predicted[:-1])[present]).mean()),
        recalls=tuple(None if np.isnan(recall) else float(recall) for recall in recalls),
    )


def cluster_bootstrap(confusions: Integers | Doubles, *, resamples: int = RESAMPLES, seed: int = 0) -> Interval:
    """Return the interval of the UAR of (K, 7, 8) when whole clusters are drawn with replacement.

    Raises:
        UsageError: there is no cluster.
    """
    draws = draw_clusters(len(confusions), resamples=resamples, seed=seed)
    return find_interval(_resampled_uar(confusions, draws), clusters=len(confusions))


def paired_bootstrap(a: Integers, b: Integers, *, resamples: int = RESAMPLES, seed: int = 0) -> Difference:
    """Compare the UAR of two systems, each (K, 7, 8), on the same resamples of the same clusters.

    p is twice the smaller share of resamples on either side of no difference. It is never below one over the
    resamples, nor below 2 / 2**K: were the two systems the same, their results could be swapped within each of the
    K clusters, and no test on K clusters can tell more.

    Raises:
        UsageError: the clusters do not hold the same true emotions, or there is none.
    """
    if a.shape != b.shape or not np.array_equal(a.sum(axis=-1), b.sum(axis=-1)):
        raise UsageError("Two systems can only be compared on the same items, and these differ in their true emotions.")
    draws = draw_clusters(len(a), resamples=resamples, seed=seed)
    differences = _resampled_uar(b, draws) - _resampled_uar(a, draws)
    interval = find_interval(differences, clusters=len(a))
    scores = summarise(a.sum(axis=0)).uar, summarise(b.sum(axis=0)).uar
    tail = min((differences <= 0).sum(), (differences >= 0).sum()) / max(interval.resamples_used, 1)
    p = float(max(2 * tail, 1 / resamples, 2.0 ** (1 - len(a))))
    return Difference(*scores, scores[1] - scores[0], interval, min(p, 1.0) if interval.resamples_used else 1.0)


def holm(p_values: Sequence[float]) -> tuple[float, ...]:
    """Return the p values corrected for their number (Holm 1979), in the same order."""
    order = np.argsort(p_values, kind="stable")
    steps = np.arange(len(p_values), 0, -1) * np.asarray(p_values, dtype=np.float64)[order]
    corrected = np.empty(len(p_values))
    corrected[order] = np.minimum(np.maximum.accumulate(steps), 1) if len(p_values) else steps
    return tuple(map(float, corrected))


def expected_calibration_error(probabilities: Floats | Doubles, truth: Integers, *, bins: int = 15) -> float:
    """Return how far the top probability is from the share of correct answers, (N, 7), on average over the items.

    As Guo et al. (2017): bins of equal width, each with its upper edge, weighted by their number of items.

    Raises:
        UsageError: there is no item, or one of them has no probabilities.
    """
    if not len(truth) or probabilities.shape != (len(truth), len(Emotion)) or not np.isfinite(probabilities).all():
        raise UsageError("Calibration is of items that have a prediction: leave out those without a face and say so.")
    confidence = probabilities.max(axis=1).astype(np.float64)
    correct = probabilities.argmax(axis=1) == truth
    bin_numbers = np.clip(np.ceil(confidence * bins).astype(np.int64) - 1, 0, bins - 1)
    gaps = np.bincount(bin_numbers, weights=correct - confidence, minlength=bins)
    return float(np.abs(gaps).sum() / len(truth))


def _recalls(confusions: npt.NDArray[np.int64] | Doubles) -> Doubles:
    """Return float64 (..., 7) from (..., 7, 8); NaN for an emotion that does not occur."""
    support = confusions.sum(axis=-1)
    hits = np.diagonal(confusions, axis1=-2, axis2=-1)
    recalls: Doubles = np.divide(hits, support, out=np.full(support.shape, np.nan), where=support > 0)
    return recalls


def draw_clusters(clusters: int, *, resamples: int, seed: int) -> Doubles:
    """Return float64 (R, K): how often each resample holds each cluster.

    Raises:
        UsageError: there is no cluster.
    """
    if not clusters:
        raise UsageError("There is no labelled item to score.")
    generator = np.random.default_rng(seed)
    return generator.multinomial(clusters, np.full(clusters, 1 / clusters), size=resamples).astype(np.float64)


def _resampled_uar(confusions: Integers | Doubles, draws: Doubles) -> Doubles:
    """Return float64 (R,); NaN for a resample that lacks an emotion which the whole has."""
    present = confusions.sum(axis=(0, 2)) > 0
    sums = (draws @ confusions.reshape(len(confusions), -1)).reshape(-1, *SHAPE)
    means: Doubles = _recalls(sums)[:, present].mean(axis=1)
    return means


def find_interval(values: Doubles, *, clusters: int) -> Interval:
    """Return the interval of what came of each resample, (R,); NaN where one could not be scored."""
    kept = values[~np.isnan(values)]
    low, high = map(float, np.percentile(kept, [2.5, 97.5])) if len(kept) else (None, None)
    return Interval(low, high, clusters, len(kept), len(values) - len(kept))
