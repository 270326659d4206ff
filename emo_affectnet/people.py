"""Who is the same person in several recordings: a table or the folders say so; otherwise nobody is.

The table is a CSV with the columns `file`, as the summary names the videos, and `person`, any name; a column `track`
names somebody else than the primary person, who is 1.
"""

import csv
from collections.abc import Mapping, Sequence
from pathlib import Path

from .cells import name_cell
from .errors import ReportError, UsageError
from .inputs import FOLDER, Input

COLUMNS = ("file", "person")
TRACK = "track"
PRIMARY = 1  # the track of the primary person

Persons = Mapping[tuple[str, int], str]  # label of a video and track -> person


def assign_people(inputs: Sequence[Input], people: str | Path | None) -> Persons:
    """Return who is in the videos: the primary person of each, and whoever else a table names.

    Videos that the table leaves out have a person of their own.

    Raises:
        UsageError: the table lacks a column, names a video that is not among the inputs, or contradicts itself.
        ReportError: the table cannot be read.
    """
    persons = {(source.label, PRIMARY): f"only in {source.label}" for source in inputs}
    if people is None:
        return persons
    if people == FOLDER:
        return {(source.label, PRIMARY): str(source.path.parent) for source in inputs}
    labels = {source.label for source in inputs}
    named: dict[tuple[str, int], str] = {}
    for number, row in enumerate(_read_table(Path(people)), start=2):
        key, person = _read_row(row, f"{people}, line {number}", labels)
        if named.setdefault(key, person) != person:
            raise UsageError(f"{people} names two people, {named[key]} and {person}, for the same face in {key[0]}.")
    return persons | named


def _read_table(path: Path) -> list[dict[str, str]]:
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            rows = csv.DictReader(file, strict=True, restval="")
            if missing := [name for name in COLUMNS if name not in (rows.fieldnames or ())]:
                raise UsageError(
                    f"{path} should be a table with the columns {' and '.join(COLUMNS)}, but it lacks "
                    f"{' and '.join(missing)}. Give a CSV with a line for each video."
                )
            return list(rows)
    except (OSError, ValueError, csv.Error) as error:
        reason = getattr(error, "strerror", None) or error
        raise ReportError(f"{path} should be a table of people, but it cannot be read: {reason}.") from error


def _read_row(row: Mapping[str, str], where: str, labels: set[str]) -> tuple[tuple[str, int], str]:
    """Return the video and track that a row names, and the person."""
    file, person, track = row["file"].strip(), row["person"].strip(), (row.get(TRACK) or "").strip()
    label = file if file in labels else name_cell(file)
    if label not in labels:
        raise UsageError(
            f"{where}: there is no video {file!r} in this run. Write each file as the column file of summary.csv does."
        )
    if not person:
        raise UsageError(f"{where}: {file} has no person. Give each one a name or a number.")
    if track and not (track.isascii() and track.isdigit() and int(track) >= PRIMARY):
        raise UsageError(f"{where}: a track is a number from 1 on, as in the reports, but {track!r} was given.")
    return (label, int(track or PRIMARY)), person
