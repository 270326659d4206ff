"""Scores average over the classes that are there, and say how sure they are."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics import accuracy_score, f1_score, recall_score

from emo_affectnet.errors import UsageError
from emo_affectnet.training.metrics import (
    NO_FACE,
    Interval,
    chance_normalised,
    cluster_bootstrap,
    confusion_by_cluster,
    expected_calibration_error,
    holm,
    macro_f1,
    paired_bootstrap,
    summarise,
    uar,
    war,
)


def make_confusions(*clusters: dict[tuple[int, int], int]) -> np.ndarray:
    """Return int64 (K, 7, 8) from counts by (truth, column)."""
    confusions = np.zeros((len(clusters), 7, 8), np.int64)
    for confusion, counts in zip(confusions, clusters, strict=True):
        for place, count in counts.items():
            confusion[place] = count
    return confusions


def draw_labels(seed: int, classes: int) -> tuple[np.ndarray, np.ndarray]:
    """Return the truth, of some classes only, and predictions of all of them and of NO_FACE."""
    generator = np.random.default_rng(seed)
    truth = generator.choice(generator.permutation(7)[:classes], 200)
    predicted = np.where(generator.random(200) < 0.5, truth, generator.integers(-1, 7, 200))
    return truth, predicted


def test_uar_is_the_mean_recall_of_the_classes_in_the_truth() -> None:
    truth, predicted = np.array([0, 0, 0, 0, 6, 6]), np.array([0, 0, 0, 6, 6, 0])
    assert uar(truth, predicted) == pytest.approx((3 / 4 + 1 / 2) / 2)
    assert war(truth, predicted) == pytest.approx(4 / 6)


def test_macro_f1_is_the_mean_f1_of_the_classes_in_the_truth() -> None:
    truth, predicted = np.array([0, 0, 0, 0, 6, 6]), np.array([0, 0, 0, 6, 6, 0])
    # F1 is 2 TP / (items of the class + predictions of it).
    assert macro_f1(truth, predicted) == pytest.approx((2 * 3 / (4 + 4) + 2 * 1 / (2 + 2)) / 2)


def test_the_absent_class_trap() -> None:
    """One prediction of a class without items must lower the recall it was taken from, and nothing else.

    Over all labels seen anywhere scikit-learn's macro recall would be 0.50 here, and over all seven 0.21.
    """
    truth, predicted = np.array([0, 0, 1, 1]), np.array([0, 3, 1, 1])
    assert recall_score(truth, predicted, average="macro", zero_division=0) == pytest.approx(0.50)
    assert recall_score(truth, predicted, labels=range(7), average="macro", zero_division=0) == pytest.approx(1.5 / 7)
    assert uar(truth, predicted) == pytest.approx(0.75)
    assert macro_f1(truth, predicted) == pytest.approx((2 / 3 + 1) / 2)
    _, confusions = confusion_by_cluster(truth, predicted, ["a", "a", "b", "b"])
    scores = summarise(confusions.sum(axis=0))
    assert (scores.uar, scores.classes) == (pytest.approx(0.75), 2)
    assert scores.macro_f1 == pytest.approx((2 / 3 + 1) / 2)
    assert scores.recalls == (0.5, 1.0, None, None, None, None, None)


def test_a_clip_without_a_face_is_an_error_and_is_not_dropped() -> None:
    truth, predicted = np.array([0, 0, 1, 1]), np.array([0, NO_FACE, 1, 1])
    assert (uar(truth, predicted), war(truth, predicted)) == (0.75, 0.75)
    assert macro_f1(truth, predicted) == pytest.approx((2 / 3 + 1) / 2)
    _, confusions = confusion_by_cluster(truth, predicted, ["a"] * 4)
    scores = summarise(confusions[0])
    assert (scores.count, scores.coverage, scores.uar, scores.war) == (4, 0.75, 0.75, 0.75)


@pytest.mark.parametrize(
    ("score", "classes", "expected"),
    [
        (1 / 7, 7, 0.0),  # guessing
        (1.0, 6, 1.0),  # perfection
        (0.6, 6, 0.52),  # (0.6 - 1/6) / (5/6)
        (0.0, 2, -1.0),  # worse than guessing
        (1.0, 1, None),  # nothing to tell apart
    ],
)
def test_chance_is_zero_and_perfection_one(score: float, classes: int, expected: float | None) -> None:
    assert chance_normalised(score, classes) == (expected if expected is None else pytest.approx(expected))


@pytest.mark.parametrize(("seed", "classes"), [(0, 7), (1, 6), (2, 3), (3, 1)])
def test_the_scores_of_a_confusion_matrix_are_those_of_scikit_learn(seed: int, classes: int) -> None:
    truth, predicted = draw_labels(seed, classes)
    _, confusions = confusion_by_cluster(truth, predicted, np.random.default_rng(seed).choice(["a", "b", "c"], 200))
    scores, present = summarise(confusions.sum(axis=0)), np.unique(truth)
    assert scores.uar == pytest.approx(recall_score(truth, predicted, labels=present, average="macro"))
    assert scores.uar == pytest.approx(uar(truth, predicted))
    assert scores.macro_f1 == pytest.approx(f1_score(truth, predicted, labels=present, average="macro"))
    assert scores.war == pytest.approx(accuracy_score(truth, predicted))
    assert scores.coverage == pytest.approx(np.mean(predicted != NO_FACE))
    assert (scores.count, scores.classes) == (200, classes)
    recalls = [recall for recall in scores.recalls if recall is not None]
    assert recalls == pytest.approx(list(recall_score(truth, predicted, labels=present, average=None)))


def test_each_cluster_has_its_own_matrix_in_the_order_of_the_names() -> None:
    names, confusions = confusion_by_cluster(np.array([0, 6, 0]), np.array([1, NO_FACE, 0]), ["b", "a", "b"])
    assert names == ("a", "b")
    assert np.array_equal(confusions, make_confusions({(6, 7): 1}, {(0, 1): 1, (0, 0): 1}))


@pytest.mark.parametrize(
    ("truth", "predicted", "clusters", "message"),
    [
        ([0, 1], [0, 1], ["a"], "2, 2 and 1"),  # a cluster is missing
        ([0, -1], [0, 0], ["a", "a"], "without a label"),  # unlabelled frames are masked by the caller, who counts them
        ([0, 7], [0, 0], ["a", "a"], "from 0 to 6"),  # an eighth class
        ([0, 0], [0, 7], ["a", "a"], "from 0 to 6"),  # ... or its prediction
    ],
)
def test_what_is_no_label_is_refused(truth: list, predicted: list, clusters: list, message: str) -> None:
    with pytest.raises(UsageError, match=message):
        confusion_by_cluster(np.array(truth), np.array(predicted), clusters)


def test_nothing_has_no_scores() -> None:
    with pytest.raises(UsageError, match="no labelled item"):
        summarise(np.zeros((7, 8), np.int64))
    with pytest.raises(UsageError, match="no labelled item"):
        cluster_bootstrap(np.zeros((0, 7, 8), np.int64))


def test_the_interval_of_many_alike_clusters_is_that_of_a_proportion() -> None:
    """400 clusters of one item each, half of them right: 0.5 +/- 1.96 sqrt(0.25 / 400), the normal approximation."""
    confusions = make_confusions(*[{(0, 0): 1}] * 200, *[{(0, 1): 1}] * 200)
    interval = cluster_bootstrap(confusions)
    assert (interval.low, interval.high) == (pytest.approx(0.451, abs=0.004), pytest.approx(0.549, abs=0.004))
    assert (interval.resamples_used, interval.dropped, interval.is_rough) == (2000, 0, False)


def test_items_of_one_cluster_are_drawn_together() -> None:
    """The same 400 items in 16 clusters that are wholly right or wholly wrong say five times less."""
    confusions = make_confusions(*[{(0, 0): 25}] * 8, *[{(0, 1): 25}] * 8)
    interval = cluster_bootstrap(confusions)
    assert interval.low == pytest.approx(0.25, abs=0.03)  # 0.5 - 1.96 sqrt(0.25 / 16) = 0.255
    assert interval.high == pytest.approx(0.75, abs=0.03)


def test_resamples_that_lack_a_class_are_dropped_and_counted() -> None:
    """Only one of ten clusters has Disgust: a resample misses it with probability 0.9 ** 10 = 0.349."""
    confusions = make_confusions(*[{(0, 0): 3, (0, 1): 1}] * 9, {(0, 0): 3, (5, 5): 1})
    interval = cluster_bootstrap(confusions, resamples=4000)
    assert interval.dropped / 4000 == pytest.approx(0.349, abs=0.025)
    assert interval.resamples_used + interval.dropped == 4000
    # Disgust is right whenever it is there, Neutral between 3/4 and all: the mean stays within these.
    assert interval.low is not None
    assert interval.low >= (0.75 + 1) / 2


def test_an_interval_without_a_usable_resample_is_unknown() -> None:
    confusions = make_confusions(*[{(row, row): 1} for row in range(7)])
    interval = cluster_bootstrap(confusions, resamples=5)  # each would have to hold all seven: 7! / 7 ** 7 = 0.006
    assert interval == Interval(None, None, clusters=7, resamples_used=0, dropped=5)
    assert interval.is_rough
    assert paired_bootstrap(confusions, confusions, resamples=5).p == 1


@pytest.mark.parametrize(("clusters", "dropped", "is_rough"), [(9, 0, True), (10, 1000, False), (50, 1001, True)])
def test_an_interval_says_when_it_says_little(clusters: int, dropped: int, is_rough: bool) -> None:
    assert Interval(0.4, 0.6, clusters, 2000 - dropped, dropped).is_rough is is_rough


def test_the_same_seed_draws_the_same_interval() -> None:
    confusions = np.random.default_rng(0).integers(1, 9, (12, 7, 8))
    assert cluster_bootstrap(confusions, seed=3) == cluster_bootstrap(confusions, seed=3)
    assert cluster_bootstrap(confusions, seed=3) != cluster_bootstrap(confusions, seed=4)


@settings(max_examples=40, deadline=None)
@given(seed=st.integers(0, 10_000), clusters=st.integers(2, 30), present=st.integers(1, 7))
def test_the_interval_contains_the_score_where_no_cell_is_sparse(seed: int, clusters: int, present: int) -> None:
    confusions = np.random.default_rng(seed).integers(5, 30, (clusters, 7, 8))
    confusions[:, present:] = 0
    interval, score = cluster_bootstrap(confusions, resamples=400), summarise(confusions.sum(axis=0)).uar
    assert interval.low is not None
    assert interval.high is not None
    assert interval.low - 1e-12 <= score <= interval.high + 1e-12
    assert interval.dropped == 0


@settings(max_examples=20, deadline=None)
@given(seed=st.integers(0, 10_000))
def test_one_cluster_gives_an_interval_without_width_that_is_called_rough(seed: int) -> None:
    confusions = np.random.default_rng(seed).integers(0, 30, (1, 7, 8))
    interval = cluster_bootstrap(confusions, resamples=100)
    assert interval.low == interval.high == pytest.approx(summarise(confusions[0]).uar)
    assert interval.is_rough


@settings(max_examples=20, deadline=None)
@given(seed=st.integers(0, 10_000), clusters=st.integers(1, 20))
def test_a_system_does_not_differ_from_itself(seed: int, clusters: int) -> None:
    confusions = np.random.default_rng(seed).integers(1, 30, (clusters, 7, 8))
    found = paired_bootstrap(confusions, confusions, resamples=100)
    assert found.difference == found.interval.low == found.interval.high == 0
    assert found.p == 1


def test_a_small_difference_on_every_item_is_sure_although_both_intervals_overlap() -> None:
    """Speakers differ by 50 points, systems by 10 on each of them: only the pairing shows it."""
    a = make_confusions(*[{(0, 0): 20, (0, 1): 80}] * 10, *[{(0, 0): 70, (0, 1): 30}] * 10)
    b = make_confusions(*[{(0, 0): 30, (0, 1): 70}] * 10, *[{(0, 0): 80, (0, 1): 20}] * 10)
    of_a, of_b = cluster_bootstrap(a), cluster_bootstrap(b)
    assert of_a.high is not None
    assert of_b.low is not None
    assert of_a.high > of_b.low
    found = paired_bootstrap(a, b)
    assert (found.a, found.b, found.difference) == (pytest.approx(0.45), pytest.approx(0.55), pytest.approx(0.10))
    assert (found.interval.low, found.interval.high) == (pytest.approx(0.10), pytest.approx(0.10))
    assert found.p == 1 / 2000  # no resample is on the other side: the least that 2000 resamples can tell


def test_a_handful_of_clusters_cannot_prove_anything() -> None:
    a, b = make_confusions(*[{(0, 0): 1, (0, 1): 9}] * 4), make_confusions(*[{(0, 0): 9, (0, 1): 1}] * 4)
    assert paired_bootstrap(a, b).p == 2 / 2**4
    assert paired_bootstrap(a[:1], b[:1]).p == 1


def test_p_is_twice_the_smaller_side() -> None:
    """Two clusters, one better by 1 and one worse by 1: the sides are 1/4 + 1/2 each, and p is capped at 1."""
    a, b = make_confusions({(0, 0): 1}, {(0, 1): 1}), make_confusions({(0, 1): 1}, {(0, 0): 1})
    assert paired_bootstrap(a, b).p == 1
    # 11 clusters, of which b gains one item in 8 and loses one in 3: binomial(11, 3/11) >= 6 is 0.051.
    win, loss = ({(0, 0): 1}, {(0, 1): 1})
    a, b = make_confusions(*[loss] * 8, *[win] * 3), make_confusions(*[win] * 8, *[loss] * 3)
    assert paired_bootstrap(a, b, resamples=20_000).p == pytest.approx(2 * binomial_tail(11, 3 / 11, 6), abs=0.01)


def binomial_tail(count: int, share: float, least: int) -> float:
    from math import comb

    return sum(comb(count, k) * share**k * (1 - share) ** (count - k) for k in range(least, count + 1))


@pytest.mark.parametrize(
    "b",
    [
        make_confusions({(0, 0): 1}, {(1, 1): 1}),  # other classes in the second cluster
        make_confusions({(0, 0): 1}, {(0, 0): 2}),  # one more item
        make_confusions({(0, 0): 2}),  # one cluster less
    ],
)
def test_systems_on_different_items_are_not_compared(b: np.ndarray) -> None:
    with pytest.raises(UsageError, match="same items"):
        paired_bootstrap(make_confusions({(0, 1): 1}, {(0, 0): 1}), b)


@pytest.mark.parametrize(
    ("p_values", "expected"),
    [
        ((0.01, 0.04, 0.03, 0.005), (0.03, 0.06, 0.06, 0.02)),  # 0.005 * 4, 0.01 * 3, 0.03 * 2, then 0.04 raised to it
        ((0.6, 0.9), (1.0, 1.0)),  # a probability stays one
        ((0.02,), (0.02,)),
        ((), ()),
    ],
)
def test_holm_multiplies_by_what_is_left_and_never_falls(p_values: tuple, expected: tuple) -> None:
    assert holm(p_values) == pytest.approx(expected)


def make_probabilities(*tops: tuple[int, float]) -> np.ndarray:
    """Return rows whose top emotion has the given probability, and the others the rest in equal parts."""
    rows = np.array([[(1 - top) / 6] * 7 for _, top in tops])
    for row, (emotion, top) in zip(rows, tops, strict=True):
        row[emotion] = top
    return rows


def test_the_calibration_error_is_the_mean_gap_between_confidence_and_accuracy() -> None:
    probabilities = make_probabilities((0, 0.9), (0, 0.94), (1, 0.5), (1, 0.48), (2, 0.3))
    truth = np.array([0, 1, 1, 1, 0])
    # By hand, with ten bins: 0.9 | 0.94 | 0.48 and 0.5 | 0.3; 0.9 is the upper edge of its bin.
    expected = (abs(1 - 0.9) + abs(0 - 0.94) + abs(2 - 0.98) + abs(0 - 0.3)) / 5
    assert expected_calibration_error(probabilities, truth, bins=10) == pytest.approx(expected)
    # In one bin, over- and underconfidence cancel: 3 right of 5 at a mean confidence of 3.12 / 5.
    assert expected_calibration_error(probabilities, truth, bins=1) == pytest.approx(0.12 / 5)


def test_who_is_always_sure_and_right_is_calibrated() -> None:
    assert expected_calibration_error(np.eye(7, dtype=np.float32), np.arange(7)) == 0
    assert expected_calibration_error(np.eye(7, dtype=np.float32), (np.arange(7) + 1) % 7) == 1


def test_calibration_is_not_of_items_without_a_prediction() -> None:
    with pytest.raises(UsageError, match="without a face"):
        expected_calibration_error(np.full((1, 7), np.nan), np.array([0]))
