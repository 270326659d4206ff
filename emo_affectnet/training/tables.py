"""Tables of an evaluation's results, for a terminal, for a reader and for a spreadsheet.

In goes an EvaluationResult or a comparison of two; out come rows of text, remarks that belong below them, and files:
`table.md` for people, scores in %, and `table.csv` with the fields of Row as columns, scores as shares from 0 to 1,
unknown values empty.
"""

import csv
import statistics
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, fields
from pathlib import Path

import numpy as np

from ..cells import word_cell
from ..emotions import EMOTION_NAMES
from ..errors import ReportError, check_name
from ..files import whole_file
from ..timeline import Integers
from .metrics import FEW_CLUSTERS, RESAMPLES, Scores, chance_normalised, paired_bootstrap, summarise
from .results import HEAD, Comparison, EvaluationResult, SystemResult, write_json

RARE = 10  # items of an emotion; with fewer, each moves the UAR by more than a point
BRIEF_COLUMNS = ("corpus", "system", "answers", "items", "coverage", "UAR", "95 %", "WAR", "published")


@dataclass(frozen=True, kw_only=True)
class Row:
    """One line of the table; scores are shares from 0 to 1, and unknown is None."""

    corpus: str  # or "mean of ...": the unweighted mean over the corpora, never over their items
    system: str
    answers: int  # how many emotions might be chosen
    unit: str | None = None
    items: int | None = None
    clusters: int | None = None
    classes: int | None = None
    coverage: float | None = None
    uar: float
    uar_low: float | None = None  # of the 95 % interval
    uar_high: float | None = None
    is_rough: bool = False  # the interval says little
    chance_normalised_uar: float | None = None
    war: float | None = None
    macro_f1: float | None = None
    published_uar: float | None = None


def to_rows(result: EvaluationResult) -> list[Row]:
    """Return one row for each system on each corpus, then for each system the mean over its corpora."""
    rows = [_to_row(each) for each in result.results]
    groups: dict[tuple[str, int, bool], list[Row]] = {}
    for each, row in zip(result.results, rows, strict=True):
        groups.setdefault((each.system, each.answers, each.is_simulated), []).append(row)
    return rows + [_mean_row(group, is_simulated=key[-1]) for key, group in groups.items() if len(group) > 1]


def _to_row(result: SystemResult) -> Row:
    scores, interval = result.scores, result.interval
    return Row(
        corpus=result.corpus,
        system=result.system,
        answers=result.answers,
        unit=result.unit,
        items=scores.count,
        clusters=len(result.clusters),
        classes=scores.classes,
        coverage=scores.coverage,
        uar=scores.uar,
        uar_low=interval.low,
        uar_high=interval.high,
        is_rough=interval.is_rough,
        chance_normalised_uar=chance_normalised(scores.uar, scores.classes),
        war=scores.war,
        macro_f1=scores.macro_f1,
        published_uar=result.published_uar,
    )


def _mean_row(rows: Sequence[Row], *, is_simulated: bool) -> Row:
    def mean(values: Sequence[float | None]) -> float | None:
        known = [value for value in values if value is not None]
        return statistics.fmean(known) if len(known) == len(values) else None

    return Row(
        corpus=f"mean of {len(rows)}" + (" simulated" if is_simulated else ""),
        system=rows[0].system,
        answers=rows[0].answers,
        uar=statistics.fmean(row.uar for row in rows),
        chance_normalised_uar=mean([row.chance_normalised_uar for row in rows]),
        published_uar=mean([row.published_uar for row in rows]),
    )


def table_rows(result: EvaluationResult) -> list[tuple[str, ...]]:
    """Return the table as text, scores in %, its header first; `remarks` belong below it."""
    header = (
        "corpus",
        "system",
        "answers",
        "unit",
        "items",
        "clusters",
        "classes",
        "coverage",
        "UAR",
        "95 %",
        "above chance",
    )
    return [(*header, "WAR", "F1", "published"), *(_to_cells(row) for row in to_rows(result))]


def brief_rows(result: EvaluationResult) -> list[tuple[str, ...]]:
    """Return those columns of the table that fit a terminal of 80 to 100 characters, leaving out empty ones."""
    header, *body = table_rows(result)
    columns = [header.index(name) for name in BRIEF_COLUMNS]
    columns = [column for column in columns if any(row[column] for row in body)]
    if len({row[header.index("answers")] for row in body}) == 1:
        columns.remove(header.index("answers"))
    return [tuple(row[column] for column in columns) for row in (header, *body)]


def _to_cells(row: Row) -> tuple[str, ...]:
    counts = ("" if count is None else str(count) for count in (row.items, row.clusters, row.classes))
    interval = percent_range(row.uar_low, row.uar_high) + ("†" if row.is_rough else "")
    scores = (row.chance_normalised_uar, row.war, row.macro_f1, row.published_uar)
    shares = (percent(row.coverage), percent(row.uar), interval, *map(percent, scores))
    return (row.corpus, row.system, str(row.answers), row.unit or "", *counts, *shares)


def percent(share: float | None) -> str:
    """Return a share in %, or nothing."""
    return "" if share is None else f"{100 * share:.1f}"


def percent_range(low: float | None, high: float | None) -> str:
    """Return an interval of shares in %, or nothing."""
    return "" if low is None else f"{percent(low)}–{percent(high)}"


def remarks(result: EvaluationResult) -> list[str]:
    """Return what a reader of the table must know, one sentence or two each."""
    kinds = " or ".join(sorted({f"{each.cluster}s" for each in result.results}))
    found = [
        "Scores are in %. Coverage is the share of items with a face; those without one count as errors. UAR is the "
        "mean recall, and F1 the mean F1, over the classes that occur. Above chance is (UAR - 1/K) / (1 - 1/K) for K "
        f"classes. The 95 % interval of the UAR is from {RESAMPLES} draws of whole {kinds}."
    ]
    if any(each.answers < len(EMOTION_NAMES) for each in result.results):
        found.append("With six answers, Neutral is left out of the answers, and clips of it are left out of the items.")
    if any(each.is_simulated for each in result.results):
        found.append(
            "The simulated corpora are not the real ones whose names they bear: their scores are not comparable with "
            "published ones, and say nothing about accuracy on real recordings."
        )
    if any(each.published_uar for each in result.results):
        found.append(
            "Published is the UAR in the README of the published system, which tells neither which part of a corpus "
            "was scored nor how its labels were mapped."
        )
    if any(each.interval.is_rough for each in result.results):
        found.append(f"† With fewer than {FEW_CLUSTERS} clusters, or few usable draws, an interval says little.")
    groups: dict[tuple[object, ...], list[SystemResult]] = {}  # of systems on the same items
    for each in result.results:
        key = (each.corpus, each.answers, each.clusters, each.confusions.sum(axis=-1).tobytes())
        groups.setdefault(key, []).append(each)
    return found + [remark for group in groups.values() for remark in _remarks_on(group)] + list(result.notes)


def _name_items(result: SystemResult) -> str:
    """Return of what items a remark is."""
    return result.corpus if result.answers == len(EMOTION_NAMES) else f"{result.corpus}, Neutral left out"


def _remarks_on(group: Sequence[SystemResult]) -> Iterator[str]:
    """Yield what is particular to one corpus; the systems of `group` were all scored on the same items of it."""
    first = group[0]
    place = _name_items(first)
    if len(first.clusters) < FEW_CLUSTERS:
        yield f"{place}, UAR by {first.cluster}: {'; '.join(map(_list_clusters, group))}."
    if rare := _tell_rare(group):
        yield f"{place}: {rare}."
    if first.interval.dropped:
        yield f"{place}: {first.interval.dropped} of {RESAMPLES} draws lacked an emotion and were left out."
    yield from _tell_lead(group)
    for each in group:
        if len(each.seeds) > 1:
            spread = f"{percent(statistics.fmean(each.seeds))} ± {percent(statistics.stdev(each.seeds))}"
            yield f"{each.corpus}, {each.system}: UAR over {len(each.seeds)} training seeds {spread} (mean and SD)."


def _tell_lead(group: Sequence[SystemResult]) -> Iterator[str]:
    """Yield how far the head is ahead of the best other system on the same items, in points of UAR."""
    head = next((each for each in group if each.system == HEAD), None)
    others = [each for each in group if each is not head]
    if head and others:
        other = max(others, key=lambda each: each.scores.uar)
        found = paired_bootstrap(other.confusions, head.confusions)
        low, high = found.interval.low, found.interval.high
        bounds = f" ({100 * low:+.1f} to {100 * high:+.1f})" if low is not None and high is not None else ""
        yield f"{_name_items(head)}: {HEAD} minus {other.system}, {100 * found.difference:+.1f} points of UAR{bounds}."


def _tell_rare(group: Sequence[SystemResult]) -> str:
    """Return which emotions have so few items that the UAR hangs on them, and what it is without; empty if none."""
    support = group[0].confusion.sum(axis=1)
    rare, others = np.flatnonzero((support > 0) & (support < RARE)), np.flatnonzero(support >= RARE)
    if not len(others):
        return f"no emotion has {RARE} items, so that each item moves the UAR by more than a point"
    counts = ", ".join(f"{EMOTION_NAMES[row]} has {support[row]} item{'s' if support[row] > 1 else ''}" for row in rare)
    if not len(rare):
        return ""
    scores = ", ".join(f"{each.system} {percent(_mean_recall(each.scores, others))}" for each in group)
    return f"{counts}; UAR without {'it' if len(rare) == 1 else 'them'}: {scores}"


def _list_clusters(result: SystemResult) -> str:
    known = [pair for pair in zip(result.clusters, result.confusions, strict=True) if pair[1].any()]
    scores = (f"{cluster} {percent(summarise(confusion).uar)}" for cluster, confusion in known)
    return f"{result.system}: {', '.join(scores)}"


def _mean_recall(scores: Scores, rows: Integers) -> float:
    return statistics.fmean(recall for row in rows if (recall := scores.recalls[row]) is not None)


def confusion_items(result: EvaluationResult, *, system: str = HEAD) -> list[tuple[str, Integers]]:
    """Return a title with the scores, and the confusion matrix, of each corpus on which `system` was scored.

    Raises:
        UnknownName: nothing was scored under this name.
    """
    check_name("system", system, sorted({each.system for each in result.results}))
    chosen = [each for each in result.results if each.system == system and each.answers == len(EMOTION_NAMES)]
    return [
        (
            f"{each.corpus}\nUAR {percent(each.scores.uar)} · WAR {percent(each.scores.war)} · "
            f"coverage {percent(each.scores.coverage)} %",
            each.confusion,
        )
        for each in chosen
    ]


def comparison_rows(comparisons: Sequence[Comparison]) -> list[tuple[str, ...]]:
    """Return the table of a comparison as text, scores in % and differences in points, its header first."""
    rows: list[tuple[str, ...]] = [("corpus", "system", "answers", "UAR a", "UAR b", "b - a", "95 %", "p", "p (Holm)")]
    for each in comparisons:
        difference, interval = each.difference, each.difference.interval
        uars = (percent(difference.a), percent(difference.b), f"{100 * difference.difference:+.1f}")
        points = "" if interval.low is None else f"{100 * interval.low:+.1f} to {100 * (interval.high or 0):+.1f}"
        spread = points + ("†" if interval.is_rough else "")
        rows.append(
            (each.corpus, each.system, str(each.answers), *uars, spread, f"{difference.p:.4f}", f"{each.p_holm:.4f}")
        )
    return rows


def write_results(result: EvaluationResult, folder: Path) -> None:
    """Write results.json, table.csv and table.md; each appears complete or not at all.

    Raises:
        ReportError: a file cannot be written.
    """
    write_json(result, folder / "results.json")
    try:
        with whole_file(folder / "table.csv") as partial, partial.open("w", newline="", encoding="utf-8") as file:
            table = csv.DictWriter(file, [each.name for each in fields(Row)], lineterminator="\n")
            table.writeheader()
            for row in to_rows(result):
                values = asdict(row) | {"is_rough": int(row.is_rough)}
                table.writerow({name: _to_cell(value) for name, value in values.items()})
        with whole_file(folder / "table.md") as partial:
            partial.write_text(_to_markdown(result), encoding="utf-8")
    except OSError as error:
        raise ReportError(f"The results in {folder} cannot be written: {error.strerror or error}.") from error


def _to_cell(value: object) -> object:
    return round(value, 6) if isinstance(value, float) else word_cell(value) if isinstance(value, str) else value


def _to_markdown(result: EvaluationResult) -> str:
    header, *rows = [[cell.replace("|", "\\|") for cell in row] for row in table_rows(result)]
    rule = ["---" if column < 4 else "---:" for column in range(len(header))]
    lines = [f"# {result.title}", "", *(f"| {' | '.join(row)} |" for row in (header, rule, *rows)), ""]
    lines += [f"- {remark}" for remark in remarks(result)]
    policies = {corpus: ", ".join(f"{k}: {v}" for k, v in each.items()) for corpus, each in result.policies.items()}
    if any(policies.values()):
        lines += ["", "## How the corpora were read", ""]
        lines += [f"- {corpus}: {text}" for corpus, text in policies.items() if text]
    if result.weights:
        lines += ["", "## Weights", ""]
        lines += [f"- `{name}`, SHA-256 `{digest[:16]}...`" for name, digest in result.weights.items()]
    lines += ["", f"emo_affectnet {result.version}; every number comes from `results.json`.", ""]
    return "\n".join(lines)
