"""Shards to a whole: the summaries of all shards of a run become the summary of the run in one piece."""

import csv
import re
from collections.abc import Sequence
from pathlib import Path

from .errors import ReportError
from .report_folder import BASELINE, reserve
from .summary import columns, place, replace_table, summary_path

_SHARD = re.compile(r"summary\.(\d+)-of-(\d+)\.csv")


def merge(folders: Sequence[Path], *, save: Path) -> int:
    """Join the summaries of all shards of a run into `summary.csv` in the folder `save`; return the number of rows.

    The shards lie in one folder or in several. The result is, byte by byte, the summary of the run in one piece.

    Raises:
        ReportError: a shard is missing or not a summary, or a video is in two of them; nothing was written.
        LockedError: a shard is still at work.
    """
    rows: dict[str, list[str]] = {}
    header: list[str] | None = None
    for path in _find_shards(folders):
        names, *found = _read(path)
        if header not in (None, names):
            raise ReportError(f"{path} has other columns than the shard before it: were both of one run?")
        header = names
        for row in found:
            if row[0] in rows:
                raise ReportError(f"{row[0]} is in two of the summaries, {path} the second: were both of one run?")
            rows[row[0]] = row
    with reserve(save) as unfinished:
        replace_table([header or [], *(rows[file] for file in sorted(rows, key=place))], summary_path(save), unfinished)
    return len(rows)


def _find_shards(folders: Sequence[Path]) -> list[Path]:
    """Return the summaries of all shards of one run, in their order."""
    found: dict[tuple[int, int], Path] = {}
    for folder in folders:
        for path in sorted(folder.glob("summary.*-of-*.csv")):
            if name := _SHARD.fullmatch(path.name):
                index = int(name[1]), int(name[2])
                if index in found:
                    raise ReportError(f"{found[index]} and {path} are the same shard: give the folders of one run.")
                found[index] = path
    where = ", ".join(map(str, folders))
    if not found and any((folder / BASELINE).is_dir() for folder in folders):
        raise ReportError(
            f"The shares in {where} left readings for a baseline, and no summaries. Run the same analyze command "
            "without --shard: it writes the reports and summary.csv, and reads no video again."
        )
    if not found:
        raise ReportError(
            f"Expected the summaries of shards, such as summary.1-of-4.csv, in {where}, but there is none. Analyse "
            "with --shard 1/4 and so on first."
        )
    counts = {count for _, count in found}
    if len(counts) > 1:
        raise ReportError(
            f"The summaries in {where} are of runs in {' and in '.join(map(str, sorted(counts)))} shards; remove those "
            "of the run that you do not mean."
        )
    (count,) = counts
    if missing := [str(index) for index in range(1, count + 1) if (index, count) not in found]:
        raise ReportError(
            f"Of the {count} shards in {where}, {', '.join(missing)} {'are' if len(missing) > 1 else 'is'} missing. "
            f"Analyse with --shard {missing[0]}/{count} first."
        )
    return [found[index, count] for index in range(1, count + 1)]


def _read(path: Path) -> list[list[str]]:
    """Return the header and the rows of a summary."""
    try:
        with path.open(encoding="utf-8", newline="") as file:
            rows = list(csv.reader(file, strict=True))
    except (OSError, ValueError, csv.Error) as error:
        reason = getattr(error, "strerror", None) or error
        raise ReportError(f"{path} should be a summary of this tool, but it cannot be read: {reason}.") from error
    header = rows[0] if rows else []
    if header[:1] != ["file"] or not set(columns(())) <= set(header) or {len(row) for row in rows} != {len(header)}:
        raise ReportError(
            f"{path} should be a summary of this tool, but its columns or rows are others. Run its shard again."
        )
    return rows
