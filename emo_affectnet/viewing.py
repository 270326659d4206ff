"""A folder of videos and their reports become things to look at: annotated videos, or pages with an index.

A video whose report is not there is analysed first, everyone in it. One bad file never costs the others.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import cache, partial
from pathlib import Path

import numpy as np
import pandas as pd

from .analysis import Analyst, describe_failure
from .annotation import annotate_video
from .answers import average_frames, find_emotion, find_peak
from .drawing import STYLES
from .emotions import EMOTION_NAMES
from .errors import ReportError, UsageError, VideoError, WeightsError, check_name
from .inputs import Input, Options, Progress, find_inputs
from .pages import IndexEntry, make_thumbnail, write_index, write_page
from .plots import plot_report
from .recognizer import EmotionRecognizer
from .records import read_trust
from .report_folder import reserve
from .reports import BOX_COLUMNS, read_people, report_path, to_table, uses_baseline
from .summary import NO_FACE
from .video import probe

PICTURES = ("png", "svg", "pdf")  # formats of a timeline's picture

Load = Callable[[], EmotionRecognizer]
People = list[pd.DataFrame]  # the reports of everyone in a video, the primary person first


@dataclass(frozen=True)
class Made:
    """What became of one input."""

    label: str  # how the input is named: its path below the folder that was given
    path: Path | None  # what was made; None if it failed
    message: str | None = None  # why it failed


def annotate(
    paths: Sequence[Path],
    *,
    report: Path,
    save: Path,
    recognizer: Load,
    style: str = "full",
    confidence: float | None = None,
    on_progress: Progress = lambda source, done, total: None,
    on_made: Callable[[Made], None] = lambda made: None,
) -> list[Made]:
    """Write an annotated copy of every video under `paths` into `save`, from the reports in the folder `report`.

    `recognizer` is called once, when a report is missing. Faces of which the detector was less sure than `confidence`,
    0-1, are not drawn. A report of the original has no boxes; they are found again.

    Raises:
        UsageError: a path or an option is wrong; nothing was written.
        WeightsError: the weights cannot be used.
    """
    check_name("style", style, STYLES)
    if confidence is not None and not 0 < confidence <= 1:
        raise UsageError(f"A detector's confidence must lie between 0 and 1, but {confidence} was given.")
    load = cache(recognizer)

    def make(source: Input) -> Path:
        people = _add_boxes(_read_or_analyze(source, report, load, on_progress), source, load)
        sure = [_hide_unsure(table, confidence) for table in people]
        target = save / f"{source.name}.mp4"
        _make_folder(target.parent)
        annotate_video(source.path, sure, target, style=style, on_progress=partial(on_progress, source))
        return target

    return _make_each(paths, make, on_made)


def write_pages(
    paths: Sequence[Path],
    *,
    report: Path,
    save: Path,
    recognizer: Load,
    picture: str = "png",
    on_progress: Progress = lambda source, done, total: None,
    on_made: Callable[[Made], None] = lambda made: None,
) -> list[Made]:
    """Write a page and a picture of the timeline for every video under `paths` into `save`, and an index of the pages.

    The reports are those in the folder `report`; `recognizer` is called once, when one is missing. There is an index
    when `paths` are more than one video.

    Raises:
        UsageError: a path or an option is wrong; nothing was written.
        WeightsError: the weights cannot be used.
        ReportError: the index cannot be written.
    """
    check_name("picture format", picture, PICTURES)
    load = cache(recognizer)
    entries: list[IndexEntry] = []

    def make(source: Input) -> Path:
        is_new = not _has_report(source, report)
        people = _read_or_analyze(source, report, load, on_progress)
        page = save / f"{source.name}.html"
        settings = load().settings if is_new else {"report": f"{source.name}.csv, made earlier"}
        write_page(source.path, people, page, settings=settings, trust=read_trust(report, source.name))
        for rank in range(1, len(people) + 1):
            drawn = report_path(save / source.name, rank=rank, suffix=picture)
            plot_report(report_path(report / source.name, rank=rank, suffix="csv"), drawn, video=source.path)
        entries.append(_enter(source, people, page.relative_to(save)))
        return page

    def note(made: Made) -> None:
        if made.path is None:
            entries.append(IndexEntry(made.label, "error", message=made.message))
        on_made(made)

    made = _make_each(paths, make, note)
    if len(made) > 1 or any(path.is_dir() for path in paths):
        write_index(entries, save / "index.html")
    return made


def _enter(source: Input, people: People, page: Path) -> IndexEntry:
    """Return the row of the index for a video, as far as its reports tell."""
    seen = people[0][people[0]["emotion"].notna()]
    facts = IndexEntry(
        source.label,
        "ok" if len(seen) else "no_face",
        page,
        coverage=len(seen) / len(people[0]),
        people=len(people) if len(seen) else 0,
        duration=probe(source.path).duration,
        message=_find_message(people[0]) if len(seen) else NO_FACE,
        thumbnail=make_thumbnail(source.path, people[0]),
    )
    if seen.empty:
        return facts
    probabilities = people[0][list(EMOTION_NAMES)].to_numpy(np.float64)
    means = average_frames(probabilities)
    assert means is not None, "somebody was seen"
    return replace(
        facts,
        emotion=str(find_emotion(probabilities)),
        peak=find_peak(probabilities, people[0]["time"].to_numpy(np.float64)),
        probability=float(means.max()),
    )


def _find_message(table: pd.DataFrame) -> str | None:
    return "A baseline was taken off." if uses_baseline(table) else None


def _make_each(paths: Sequence[Path], make: Callable[[Input], Path], on_made: Callable[[Made], None]) -> list[Made]:
    results = []
    for source in find_inputs(paths)[0]:
        try:
            results.append(Made(source.label, make(source)))
        except (WeightsError, UsageError):  # the next video would say the same
            raise
        except Exception as error:  # one video must not cost the others
            results.append(Made(source.label, None, describe_failure(source, error)))
        on_made(results[-1])
    return results


def _read_or_analyze(source: Input, report: Path, load: Load, on_progress: Progress) -> People:
    """Return the reports of everyone in a video; if there are none, write them first."""
    if not _has_report(source, report):
        recognizer = load()
        with reserve(report) as unfinished:
            analyst = Analyst(recognizer, report, unfinished, options=Options(faces="all"))
            outcome = analyst.analyze(source, on_progress=partial(on_progress, source))
        if outcome.frames is None:
            raise VideoError(outcome.message)
    return read_people(report / source.name)


def _has_report(source: Input, report: Path) -> bool:
    return report_path(report / source.name, rank=1, suffix="csv").is_file()


def _add_boxes(people: People, source: Input, load: Load) -> People:
    """Give the reports of the original, which have no boxes, those of the primary person."""
    if all(set(BOX_COLUMNS) <= set(table.columns) for table in people):
        return people
    found = to_table(load().predict(source.path))
    boxes = found[[*BOX_COLUMNS, "score"]].assign(frame=found["frame"].astype(int))
    return [people[0].merge(boxes, on="frame", how="left"), *people[1:]]


def _hide_unsure(table: pd.DataFrame, confidence: float | None) -> pd.DataFrame:
    """Take away the boxes of the faces of which the detector was less sure."""
    if confidence is None:
        return table
    return table.assign(**{name: table[name].where(~(table["score"] < confidence)) for name in BOX_COLUMNS})


def _make_folder(folder: Path) -> None:
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise ReportError(f"The folder {folder} cannot be made: {error.strerror}. Choose another one.") from error
