"""Tables of an evaluation of clips: one row for each clip, and the scores for each value of a further column.

In go clips with what their table says of them, and what was read; out come rows of text and CSV files.
"""

import csv
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from ..cells import name_cell, word_cell
from ..emotions import EMOTION_NAMES, Emotion
from ..errors import UsageError, check_name
from ..files import tell_unwritable, whole_file
from ..timeline import Booleans, Doubles
from .corpora.clip import Clip
from .features import ClipFeatures
from .judgements import Judgement, choose_answers
from .readers import ClipReading
from .results import SystemResult
from .tables import percent, percent_range

MOST_VALUES = 12  # of a column; numbers with more are cut at their quartiles, words are refused
NOTHING = "nothing given"  # the value of an empty cell
CLIP_COLUMNS = ("clip", "speaker", "truth", "answer", "answer_of_six", *EMOTION_NAMES, "agreement", "coverage")


@dataclass(frozen=True, eq=False)
class Part:
    """The scores of one system on the clips that have one value in a column."""

    column: str
    value: str
    result: SystemResult


def split_clips(clips: Sequence[Clip | ClipFeatures], column: str) -> dict[str, Booleans]:
    """Return which clips, bool (clips,), have each value of a column of their table, in the order of the values.

    Numbers with more than MOST_VALUES values are cut at their quartiles.

    Raises:
        UnknownName: the table has no such further column.
        UsageError: the column has too many values that are no numbers.
    """
    check_name("column", column, sorted({name for clip in clips for name in clip.columns}))
    cells = np.array([clip.columns.get(column) or NOTHING for clip in clips], dtype=object)
    values = sorted(set(cells.tolist()) - {NOTHING})
    if len(values) > MOST_VALUES:
        numbers = _read_numbers(values)
        if numbers is None:
            raise UsageError(
                f"The column {column} has {len(values)} values; expected at most {MOST_VALUES}, or numbers, which are "
                "cut at their quartiles. Give another column."
            )
        by_cell = dict(zip(values, numbers, strict=True))
        return _cut(np.array([by_cell.get(cell, np.nan) for cell in cells]))
    return {value: cells == value for value in [*values, NOTHING] if (cells == value).any()}


def _read_numbers(cells: Iterable[str]) -> list[float] | None:
    try:
        numbers = [float(cell) for cell in cells]
    except ValueError:
        return None
    return numbers if np.isfinite(numbers).all() else None


def _cut(numbers: Doubles) -> dict[str, Booleans]:
    """Return which of the numbers (N,), NaN if there is none, lie in each quarter of them, upper ends included."""
    cuts = np.unique(np.nanquantile(numbers, [0.25, 0.5, 0.75]))
    bounds = [-np.inf, *cuts.tolist(), np.inf]
    names = [
        f"up to {cuts[0]:g}",
        *(f"{low:g} to {high:g}" for low, high in zip(cuts, cuts[1:], strict=False)),
    ]
    parts = {
        name: (numbers > low) & (numbers <= high)
        for name, low, high in zip([*names, f"above {cuts[-1]:g}"], bounds, bounds[1:], strict=False)
    }
    parts[NOTHING] = np.isnan(numbers)
    return {name: inside for name, inside in parts.items() if inside.any()}


def score_parts(clips: Sequence[ClipFeatures], judgements: Sequence[Judgement], column: str) -> list[Part]:
    """Return the scores of every system, with seven and with six answers, for each value of a column.

    Raises:
        UnknownName, UsageError: as `split_clips`.
    """
    return [
        Part(column, value, each.score(answers=answers, where=where))
        for value, where in split_clips(clips, column).items()
        for each in judgements
        for answers in each.answer_counts(where)
    ]


def part_rows(parts: Sequence[Part]) -> list[tuple[str, ...]]:
    """Return the scores by the values of one column as text, in %, the header first."""
    rows: list[tuple[str, ...]] = [(parts[0].column, "system", "answers", "items", "coverage", "UAR", "95 %", "WAR")]
    for part in parts:
        scores, interval = part.result.scores, part.result.interval
        bounds = percent_range(interval.low, interval.high) + ("†" if interval.is_rough else "")
        counts = str(part.result.answers), str(scores.count), percent(scores.coverage)
        rows.append((part.value, part.result.system, *counts, percent(scores.uar), bounds, percent(scores.war)))
    return rows


def write_parts(parts: Sequence[Part], path: Path) -> None:
    """Write the scores by the values of columns as CSV, shares from 0 to 1.

    Raises:
        ReportError: the file cannot be written.
    """
    header = ("column", "value", "system", "answers", "items", "coverage", "uar", "uar_low", "uar_high", "war")
    rows = []
    for part in parts:
        scores, interval = part.result.scores, part.result.interval
        shares = (scores.coverage, scores.uar, interval.low, interval.high, scores.war)
        names = word_cell(part.column), word_cell(part.value), part.result.system
        rows.append((*names, part.result.answers, scores.count, *map(_show, shares)))
    write_rows([header, *rows], path)


def write_clips(clips: Sequence[ClipFeatures], readings: Sequence[ClipReading], path: Path) -> None:
    """Write one row for each clip: the truth, the answers, probabilities, agreement, coverage, and its further columns.

    `answer_of_six` leaves Neutral out. What cannot be known without a face is empty.

    Raises:
        ReportError: the file cannot be written.
    """
    extras = list(dict.fromkeys(name for clip in clips for name in clip.columns if name not in CLIP_COLUMNS))
    rows: list[Sequence[object]] = [(*CLIP_COLUMNS, *map(word_cell, extras))]
    for clip, reading in zip(clips, readings, strict=True):
        means = reading.means
        answers = [int(choose_answers(means[None], answers=count)[0]) for count in (len(Emotion), len(Emotion) - 1)]
        names = ["" if answer < 0 else EMOTION_NAMES[answer] for answer in answers]
        about = name_cell(clip.name), word_cell(clip.speaker), EMOTION_NAMES[clip.label], *names
        values = ["" if np.isnan(value) else _show(float(value)) for value in means]
        further = (word_cell(clip.columns.get(name, "")) for name in extras)
        rows.append((*about, *values, _show(reading.agreement), _show(clip.coverage), *further))
    write_rows(rows, path)


def write_rows(rows: Iterable[Sequence[object]], path: Path) -> None:
    """Write rows of cells as CSV; the file appears complete or not at all.

    Raises:
        ReportError: the file cannot be written.
    """
    with tell_unwritable(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        with whole_file(path) as partial, partial.open("w", newline="", encoding="utf-8") as file:
            csv.writer(file, lineterminator="\n").writerows(rows)


def _show(value: float | None) -> str:
    return "" if value is None else f"{value:.6f}"
