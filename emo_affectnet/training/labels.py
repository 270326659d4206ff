"""A table of labels joined with a file of features: each labelled clip with the faces that were seen in it.

The columns of the table are path (or file), label (or emotion), whatever the labels are called, and perhaps speaker,
start and end in seconds. Its paths are matched to the names of the videos with or without their suffix.
"""

import math
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path, PurePath

from ..errors import CorpusError
from ..feature_files import FeatureFile, VideoFeatures
from .corpora.clip import UNREADABLE_LINE, Problem, Tell
from .corpora.tree import emotion_named, parse_seconds, read_rows

_SYNONYMS = {"file": "path", "emotion": "label"}
_NEEDED = {"path", "label"}
_OPTIONAL = {"speaker", "start", "end"}
_SHOWN = 3  # examples in an error


@dataclass(frozen=True)
class Label:
    """One line of a table."""

    name: str  # of the clip, unique: its path, start and end
    path: str  # of the video, as it stands there
    text: str  # one of the seven emotions as they are written here, or the table's own word
    speaker: str  # the path, if the table names nobody
    start: float = 0.0  # s
    end: float = math.inf  # s


def join_labels(table: Path, file: FeatureFile, *, tell: Tell) -> Iterator[tuple[Label, VideoFeatures]]:
    """Yield each labelled clip with what was seen in it, in the order of the videos; what has no counterpart is told.

    Raises:
        CorpusError: the table is none, or none of its clips has features.
        ReportError: the file of features is damaged.
    """
    labels = list(_read_table(table, tell))
    videos = match_paths([label.path for label in labels], file.names)
    by_video: dict[str, dict[tuple[float, float], Label]] = {name: {} for name in file.names}
    for label in labels:
        if label.path not in videos:
            tell(Problem("label without features", label.path))
        elif by_video[videos[label.path]].setdefault((label.start, label.end), label) is not label:
            tell(Problem("clip listed twice", label.name))
    if not videos:
        paths, names = (", ".join(each[:_SHOWN]) or "nothing" for each in ([x.path for x in labels], file.names))
        raise CorpusError(
            f"No clip of {table} is in {file.path}: the table lists {paths}, the features are of {names}."
        )
    for name, found in by_video.items():
        if not found:
            tell(Problem("features without a label", name))
    for video in file.read_all(name for name, found in by_video.items() if found):
        yield from ((label, video.cut(label.start, label.end)) for label in by_video[video.name].values())


def _read_table(table: Path, tell: Tell) -> Iterator[Label]:
    rows = read_rows(table)
    _, header = next(rows, ("", []))
    columns = [_SYNONYMS.get(name.casefold(), name.casefold()) for name in header]
    if not _NEEDED <= set(columns) <= _NEEDED | _OPTIONAL or len(set(columns)) < len(columns):
        raise CorpusError(
            f"Expected the columns path (or file), label (or emotion) and perhaps speaker, start, end in {table}, but "
            f"it has {', '.join(header) or 'none'}."
        )
    for where, cells in rows:
        label = _to_label(dict(zip(columns, cells, strict=False)))
        if label is None:
            tell(Problem(UNREADABLE_LINE, where))
        else:
            yield label


def _to_label(cells: Mapping[str, str]) -> Label | None:
    """Return what a line says; None if it lacks something."""
    path, text = cells.get("path", ""), cells.get("label", "")
    start = parse_seconds(cells.get("start") or "0")
    end = parse_seconds(cells["end"]) if cells.get("end") else math.inf
    if not path or not text or start is None or end is None or end <= start:
        return None
    emotion = emotion_named(text)
    return Label(
        name=" ".join(filter(None, (path, cells.get("start"), cells.get("end")))),
        path=path,
        text=text if emotion is None else emotion.name,
        speaker=cells.get("speaker") or path,
        start=start,
        end=end,
    )


def match_paths(paths: Collection[str], names: Collection[str]) -> dict[str, str]:
    """Return the video of each path that has one.

    A folder is left out of the paths only if all of them share it: train/1.mp4 is never taken for val/1.mp4.
    """
    parts = {path: PurePath(path).parts for path in paths}
    folders = [each[:-1] for each in parts.values()]
    known, best = set(names), dict[str, str]()
    for depth in range(min(map(len, folders), default=0) + 1):
        if len({folder[:depth] for folder in folders}) > 1:
            break
        found = {path: name for path, each in parts.items() if (name := _find(each[depth:], known))}
        best = max(best, found, key=len)
    return best


def _find(parts: tuple[str, ...], names: Collection[str]) -> str | None:
    path = PurePath(*parts)
    if not path.name:
        return None
    return next((name for name in (path.as_posix(), path.with_suffix("").as_posix()) if name in names), None)
