"""How far a reading can be trusted: does a measure of sureness separate right answers from wrong ones?

In go the values of a measure and whether each answer was right; out come the share of right answers by value, and the
area under the ROC curve (AUC): the chance that a right answer has the higher value of a right and a wrong one. 50 % is
no better than chance.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from ..timeline import Booleans, Doubles, Integers
from .metrics import RESAMPLES, Interval, draw_clusters, find_interval

BINS = 10  # of equal width, from 0 to 1


@dataclass(frozen=True)
class Separation:
    """How well a measure separates right answers from wrong ones."""

    measure: str
    auc: float | None  # None: all answers are right, or all are wrong
    interval: Interval
    bins: tuple[tuple[int, int], ...]  # (BINS,) answers, and right ones, by the value of the measure


def separate(measure: str, values: Doubles, is_right: Booleans, *, speakers: Sequence[str]) -> Separation:
    """Return how well `values` (N,) between 0 and 1 separate right answers from wrong ones, (N,).

    The interval is from draws of whole speakers, (N,).

    Raises:
        UsageError: there is no answer.
    """
    names, rows = np.unique(np.asarray(speakers, dtype=str), return_inverse=True)
    _, columns = np.unique(values, return_inverse=True)
    right, wrong = (_count(rows, columns, kept=kept) for kept in (is_right, ~is_right))  # (K, V)
    once = _measure_auc(np.ones((1, len(names))), right, wrong)[0]
    aucs = _measure_auc(draw_clusters(len(names), resamples=RESAMPLES, seed=0), right, wrong)
    places = np.clip((values * BINS).astype(np.int64), 0, BINS - 1)
    answers, hits = np.bincount(places, minlength=BINS), np.bincount(places[is_right], minlength=BINS)
    return Separation(
        measure,
        None if np.isnan(once) else float(once),
        find_interval(aucs, clusters=len(names)),
        tuple(zip(answers.tolist(), hits.tolist(), strict=True)),
    )


def _count(rows: Integers, columns: Integers, *, kept: Booleans) -> Doubles:
    """Return how many of the answers that are `kept` each speaker has at each value, float64 (K, V)."""
    counts = np.zeros((rows.max() + 1 if len(rows) else 0, columns.max() + 1 if len(columns) else 0))
    np.add.at(counts, (rows[kept], columns[kept]), 1)
    return counts


def _measure_auc(draws: Doubles, right: Doubles, wrong: Doubles) -> Doubles:
    """Return the AUC of each draw (R, K) of speakers; NaN for one without a right or without a wrong answer."""
    rights, wrongs = draws @ right, draws @ wrong  # (R, V)
    below = np.cumsum(wrongs, axis=1) - wrongs / 2  # wrong answers below a value, and half of those at it
    pairs = rights.sum(axis=1) * wrongs.sum(axis=1)
    wins = (rights * below).sum(axis=1)
    aucs: Doubles = np.divide(wins, pairs, out=np.full(len(pairs), np.nan), where=pairs > 0)
    return aucs
