"""Tables and files about real people: a RealEvaluation in, rows of text, Markdown for the model card and CSV out.

`table.md` has everything for a reader, in %. `figures.csv` has a row for each figure, as shares from 0 to 1.
"""

from collections.abc import Iterator, Sequence
from pathlib import Path

from .. import __version__
from ..files import tell_unwritable, whole_file
from .clip_tables import write_clips, write_rows
from .judgements import MAJORITY
from .metrics import RESAMPLES, Difference, Interval
from .real import (
    ANSWERS,
    AS_IS,
    FACES,
    MARGIN,
    OTHERS,
    PERSON,
    RATERS,
    RUN,
    TOP,
    TREATMENTS,
    Figure,
    RealEvaluation,
    Trust,
)
from .tables import percent, percent_range
from .trust import BINS

Rows = list[tuple[str, ...]]


def describe(found: RealEvaluation) -> str:
    """Return what was scored, in a line."""
    clips = found.corpus.clips
    seen = sum(len(clip.times) > 0 for clip in clips)
    speakers = len({clip.speaker for clip in clips})
    return f"{len(clips)} clips of {speakers} people, a face found in {seen} ({seen / len(clips):.1%})"


def score_rows(found: RealEvaluation) -> Rows:
    """Return the UAR of every system after every treatment, in %, with its interval; the header first."""
    rows: Rows = [("system", "answers", *TREATMENTS)]
    if found.raters:
        rows.append((RATERS, str(ANSWERS[1]), _with_interval(*found.raters), "", ""))
    cells = {(each.result.system, each.result.answers, each.treatment): _show(each) for each in found.figures}
    for system in dict.fromkeys(each.result.system for each in found.figures):
        for answers in ANSWERS:
            values = (cells.get((system, answers, treatment), "") for treatment in TREATMENTS)
            rows.append((system, str(answers), *values))
    return rows


def lead_rows(found: RealEvaluation) -> Rows:
    """Return how far the heads are ahead of averaged faces, in points of UAR, the header first."""
    rows: Rows = [("answers", *TREATMENTS)]
    for answers in ANSWERS:
        rows.append((str(answers), *(_show_lead(found.leads[treatment, answers]) for treatment in TREATMENTS)))
    return rows


def curve_rows(found: RealEvaluation) -> Rows:
    """Return the UAR by how many other clips of the person are known, in %, the header first."""
    points = list(_list_curve(found))
    rows: Rows = [("system", "answers", *(label for label, _ in points))]
    for system in dict.fromkeys(each.result.system for each in found.curve):
        for answers in ANSWERS:
            same = (
                next(each for each in figures if (each.result.system, each.result.answers) == (system, answers))
                for _, figures in points
            )
            rows.append((system, str(answers), *(percent(each.result.scores.uar) for each in same)))
    return rows


def _list_curve(found: RealEvaluation) -> Iterator[tuple[str, list[Figure]]]:
    """Yield the points of the curve with their names: from the run's mean to all other clips of the person."""
    own = [each for each in found.figures if each.result.system != MAJORITY]
    yield "none", [each for each in own if each.treatment == RUN]
    for count in OTHERS:
        yield str(count), [each for each in found.curve if each.others == count]
    yield "all", [each for each in own if each.treatment == PERSON]


def curve_lines(found: RealEvaluation) -> dict[str, list[tuple[str, float]]]:
    """Return the curve as points (label, UAR) for each system and number of answers, by the name of the line."""
    lines: dict[str, list[tuple[str, float]]] = {}
    for label, figures in _list_curve(found):
        for each in figures:
            name = f"{each.result.system}, {each.result.answers} answers"
            lines.setdefault(name, []).append((label, each.result.scores.uar))
    return lines


def answer_rows(found: RealEvaluation) -> Rows:
    """Return which answer agrees best with the labels, UAR in %: the emotion, of seven or of six, or the peak's."""
    own = {
        (each.treatment, each.result.answers): each for each in found.figures if each.result.system == found.reported
    }
    peaks = {each.treatment: each for each in found.peaks}
    rows: Rows = [("answer", *TREATMENTS)]
    for answers in ANSWERS:
        rows.append((f"emotion of {answers}", *(_show(own[treatment, answers]) for treatment in TREATMENTS)))
    rows.append(("peak", *(_show(peaks[treatment]) for treatment in TREATMENTS)))
    leads = (_show_lead(found.peak_leads[treatment]) for treatment in TREATMENTS)
    return [*rows, (f"peak minus {ANSWERS[1]}", *leads)]


def trust_rows(found: RealEvaluation) -> Rows:
    """Return how well each measure separates right answers from wrong ones: the AUC in %, the header first."""
    rows: Rows = [("AUC of", "answers", *TREATMENTS)]
    cells = {(each.separation.measure, each.answers, each.treatment): each.separation for each in found.trust}
    for measure, answers in dict.fromkeys(key[:2] for key in cells):
        values = (cells[measure, answers, treatment] for treatment in TREATMENTS)
        rows.append((measure, str(answers), *(_with_interval(each.auc, each.interval) for each in values)))
    return rows


def right_rows(found: RealEvaluation) -> Rows:
    """Return how many clips each measure gives each value, and how many of them are right, the header first.

    The answers are those of seven, as it is.
    """
    shown = list_shown(found)
    rows: Rows = [("value, %", *(each.separation.measure for each in shown))]
    for place in range(BINS):
        counts = [each.separation.bins[place] for each in shown]
        if any(answers for answers, _ in counts):
            cells = (f"{answers}, {right / answers:.0%}" if answers else "" for answers, right in counts)
            rows.append((f"{100 * place // BINS}–{100 * (place + 1) // BINS}", *cells))
    return rows


def list_shown(found: RealEvaluation) -> list[Trust]:
    """Return the measures whose values are shown: of seven answers, as it is."""
    return [each for each in found.trust if each.treatment == AS_IS and each.answers == ANSWERS[0]]


def remarks(found: RealEvaluation) -> list[str]:
    """Return what a reader of the tables must know."""
    features = (
        "features are moved as well"
        if found.moves_features
        else "the backbone's record has no mean feature, so that only probabilities are adjusted, and features are not"
    )
    return [
        f"The heads are the mean over the given ones; {FACES} are the backbone's own last layer, averaged over time.",
        "UAR is the mean over the emotions of the share of their clips that are read right, in %; by chance it is "
        f"{100 / _count_emotions(found):.1f} with six answers. Clips without a face count as wrong. In brackets is the "
        f"95 % interval from {RESAMPLES} draws of whole speakers.",
        "With six answers, Neutral is left out. The run's mean is the mean of the clips' log probabilities. The "
        f"person's baseline is from their other clips only, shrunk by how many there are: {features}.",
        f"Agreement is the share of the heads whose top emotion is the answer; {TOP} is the mean one, and {MARGIN} its "
        "distance from the second.",
        "The AUC is the chance that a right answer has the higher value of a right and a wrong one; 50 says nothing. "
        "It is over the clips with a face.",
    ]


def _count_emotions(found: RealEvaluation) -> int:
    return len({clip.label for clip in found.corpus.clips})


def _show(figure: Figure) -> str:
    return _with_interval(figure.result.scores.uar, figure.result.interval)


def _with_interval(value: float | None, interval: Interval) -> str:
    bounds = percent_range(interval.low, interval.high)
    return f"{percent(value)} ({bounds})" if bounds else percent(value)


def _show_lead(lead: Difference) -> str:
    low, high = lead.interval.low, lead.interval.high
    bounds = "" if low is None or high is None else f" ({100 * low:+.1f}, {100 * high:+.1f})"
    return f"{100 * lead.difference:+.1f}{bounds}"


def write_real(found: RealEvaluation, folder: Path, *, weights: dict[str, str]) -> None:
    """Write table.md, figures.csv and clips.csv; `weights` are the SHA-256 of the weight files by name.

    Raises:
        ReportError: a file cannot be written.
    """
    write_rows(_list_figures(found), folder / "figures.csv")
    write_clips(found.corpus.clips, found.readings, folder / "clips.csv")
    parts = {
        "UAR": score_rows(found),
        **({"Lead of the heads over averaged faces": lead_rows(found)} if found.leads else {}),
        "How much of a person a baseline needs": curve_rows(found),
        "Emotion or peak": answer_rows(found),
        "Does it know when it is right": trust_rows(found),
        "Clips, and the share of right answers, by value": right_rows(found),
    }
    lines = ["# Real people", "", f"{describe(found)}.", ""]
    for title, rows in parts.items():
        lines += [f"## {title}", "", *_to_markdown(rows), ""]
    lines += [*(f"- {remark}" for remark in remarks(found)), ""]
    lines += [f"- `{name}`, SHA-256 `{digest[:16]}...`" for name, digest in weights.items()]
    lines += ["", f"emo_affectnet {__version__}", ""]
    with tell_unwritable(folder / "table.md"), whole_file(folder / "table.md") as partial:
        partial.write_text("\n".join(lines), encoding="utf-8")


def _to_markdown(rows: Rows) -> list[str]:
    header, *body = rows
    rule = ("---", *("---:" for _ in header[1:]))
    return [f"| {' | '.join(row)} |" for row in (header, rule, *body)]


def _list_figures(found: RealEvaluation) -> list[Sequence[object]]:
    header = ("figure", "treatment", "system", "answers", "others", "items", "value", "low", "high")
    rows: list[Sequence[object]] = [header]
    if found.raters:
        rows.append(("UAR", AS_IS, RATERS, ANSWERS[1], "", len(found.corpus.clips), *_cells(*found.raters)))
    for each in (*found.figures, *found.curve, *found.peaks):
        result = each.result
        about = ("UAR", each.treatment, result.system, result.answers, "" if each.others is None else each.others)
        rows.append((*about, result.scores.count, *_cells(result.scores.uar, result.interval)))
    for (treatment, answers), lead in found.leads.items():
        about = ("lead", treatment, "heads minus averaged faces", answers, "")
        rows.append((*about, len(found.corpus.clips), *_cells(lead.difference, lead.interval)))
    for trust in found.trust:
        separation = trust.separation
        count = sum(answers for answers, _ in separation.bins)
        about = ("AUC", trust.treatment, separation.measure, trust.answers, "")
        rows.append((*about, count, *_cells(separation.auc, separation.interval)))
    return rows


def _cells(value: float | None, interval: Interval) -> tuple[str, ...]:
    return tuple("" if each is None else f"{each:.6f}" for each in (value, interval.low, interval.high))
