"""Fragments of the page: what was found becomes HTML. Whatever comes from outside is escaped."""

import base64
import csv
import io
from collections.abc import Iterable, Sequence
from pathlib import Path

from markupsafe import Markup
from PIL import Image as Pillow

from .pages import Segment, format_time
from .summary import Outcome
from .timeline import Moment
from .video import Image

EXCERPT_ROWS = 10  # of a report
JPEG_QUALITY = 85


def show_note(text: str) -> Markup:
    """Say something."""
    return Markup('<p class="note" role="status">{}</p>').format(text)


def show_problem(text: str) -> Markup:
    """Say what is wrong, so that it is heard at once."""
    return Markup('<p class="problem" role="alert">{}</p>').format(text)


def describe_outcome(outcome: Outcome, *, trust: str) -> Markup:
    """Say in words what a video shows, and how far to trust that."""
    if outcome.emotion is None:
        return Markup('<p class="emotion">No face</p><p>{}</p>').format(outcome.message)
    facts = []
    if outcome.peak is not None and outcome.peak_time is not None:
        facts.append(f"peak: {outcome.peak} {outcome.peak_probability:.0%} at {format_time(outcome.peak_time)}")
    facts.append(f"face seen in {outcome.coverage:.0%} of {outcome.frames} frames")
    if outcome.confidence is not None:
        facts.append(f"mean probability {outcome.confidence:.0%}")
    facts.append("1 person" if outcome.people == 1 else f"{outcome.people} people")
    if outcome.message:
        facts.append(outcome.message)
    if words := outcome.extras.get("baseline"):
        facts.append(f"baseline taken off: {words}")
    words = Markup('<p class="emotion">{}</p><p>{}</p><p class="trust">{}</p>')
    return words.format(outcome.emotion, " · ".join(facts), trust)


def describe_moments(moments: Sequence[Moment]) -> Markup:
    """Say in words what is known of the people in a picture."""
    line = Markup("<p>Person {}: <strong>{}</strong> {}</p>")
    lines = [line.format(each.track_id, each.emotion, f"{each.confidence:.0%}") for each in moments]
    return Markup("").join(lines) or Markup("<p>Nobody is in the picture.</p>")


def show_picture(picture: Image, moments: Sequence[Moment]) -> Markup:
    """Show a picture of the camera, with its people named."""
    file = io.BytesIO()
    Pillow.fromarray(picture).save(file, "JPEG", quality=JPEG_QUALITY)
    seen = ", ".join(f"person {each.track_id}: {each.emotion}" for each in moments) or "nobody"
    return Markup('<img class="live" alt="{}" src="{}">').format(f"Camera, {seen}", _address(file.getvalue(), "jpeg"))


def _address(content: bytes, kind: str) -> str:
    return f"data:image/{kind};base64,{base64.b64encode(content).decode('ascii')}"


def show_figure(rank: int, figure: Path) -> Markup:
    """Show the timeline of a person as a picture."""
    text = f"The seven emotions of person {rank} over time; the table below says the same."
    image = Markup('<img alt="{}" src="{}">').format(text, _address(figure.read_bytes(), "png"))
    return Markup('<h2>Person {} over time</h2><div class="scroll" tabindex="0">{}</div>').format(rank, image)


def show_segments(rank: int, segments: Sequence[Segment]) -> Markup:
    """Show the emotions of a person as a table of runs."""
    rows = [
        (
            format_time(each.start),
            format_time(each.end),
            "no face" if each.emotion is None else each.emotion,
            "" if each.confidence is None else f"{each.confidence:.0%}",
        )
        for each in segments
    ]
    return Markup("<h2>Person {}, step by step</h2>{}").format(rank, _table(("from", "to", "emotion", "mean"), rows))


def show_excerpt(report: Path) -> Markup:
    """Show the first rows of a report."""
    with report.open(encoding="utf-8", newline="") as file:
        head, *rows = (row for row, _ in zip(csv.reader(file), range(EXCERPT_ROWS + 1), strict=False))
    title = f"The first rows of {report.name}"
    return Markup("<details><summary>{}</summary>{}</details>").format(title, _table(head, rows))


def _table(head: Iterable[object], rows: Iterable[Iterable[object]]) -> Markup:
    cells = Markup("").join(Markup('<th scope="col">{}</th>').format(each) for each in head)
    body = Markup("").join(
        Markup("<tr>{}</tr>").format(Markup("").join(Markup("<td>{}</td>").format(each) for each in row))
        for row in rows
    )
    return Markup(
        '<div class="scroll" tabindex="0"><table><thead><tr>{}</tr></thead><tbody>{}</tbody></table></div>'
    ).format(cells, body)
