"""The user's own clips, in a table with the columns path and emotion; speaker, start, end and any others may follow."""

import os
from pathlib import Path

from .clip import UNREADABLE_LINE, Clip, Problem, Scan
from .tree import emotion_named, has_content, parse_seconds, read_columns

CLIPS_CSV = "clips csv"
_NEEDED = ("path", "emotion")
_KNOWN = (*_NEEDED, "speaker", "start", "end")


def _parse_interval(start: str, end: str) -> tuple[float, float | None] | None:
    """Return start and end in seconds, where empty cells mean those of the video; None if they make no interval."""
    times = parse_seconds(start or "0"), parse_seconds(end) if end else None
    if times[0] is None or (end and times[1] is None) or (times[1] is not None and times[1] <= times[0]):
        return None
    return times[0], times[1]


def read_table(path: Path) -> Scan:
    """Read the clips that a table lists; their paths are relative to it, their times are seconds.

    An emotion that is not one of the seven by name is counted as none. A clip without a speaker is one of its own.
    Further columns are kept with the clip.

    Raises:
        CorpusError: the file is no table, or has not the columns it should have.
    """
    path = Path(path)
    problems: list[Problem] = []
    clips: dict[str, Clip] = {}
    for where, row in read_columns(path, _NEEDED):
        interval = _parse_interval(row.get("start", ""), row.get("end", ""))
        video = path.parent / row["path"]
        name = " ".join(filter(None, (row["path"], row.get("start"), row.get("end"))))
        if interval is None or not row["path"]:
            problems.append(Problem(UNREADABLE_LINE, where))
        elif name in clips:
            problems.append(Problem("clip listed twice", where))
        elif not os.path.isfile(video):  # which of any text is at most false
            problems.append(Problem("missing video", f"{where}: {video}"))
        elif has_content(video, problems.append):
            clips[name] = Clip(
                CLIPS_CSV,
                name,
                video,
                row.get("speaker") or row["path"],
                row["emotion"],
                emotion_named(row["emotion"]),
                start=interval[0],
                end=interval[1],
                columns={column: cell for column, cell in row.items() if column not in _KNOWN},
            )
    return Scan(CLIPS_CSV, path, {}, tuple(clips.values()), (), tuple(problems))
