"""RAMAS: labelled intervals of long recordings, from lists by emotion or from the annotators' votes by second.

`Annotations_by_emotions` lists intervals. `Annotations_by_files` holds one vote for each annotator and second; where it
covers a recording, an interval needs the policy's share of votes, and where there are no lists, the intervals are the
longest runs of seconds with one winner. Two tables of the user's own may lie in the root: `speakers.csv` (recording,
speaker) and `rotations.csv` (recording, quarter_turns, counter-clockwise).
"""

from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path

from ...emotions import Emotion
from ...errors import CorpusError
from ...faces import View
from .clip import UNKNOWN_NAME, UNREADABLE_LINE, Choices, Clip, Corpus, Policy, Problem, Tell
from .tree import find_files, find_named, has_content, index_videos, or_tell, parse_seconds, read_columns

_EMOTIONS = {
    "Angry": Emotion.Anger,
    "Disgusted": Emotion.Disgust,
    "Happy": Emotion.Happiness,
    "Neutral": Emotion.Neutral,
    "Sad": Emotion.Sadness,
    "Scared": Emotion.Fear,
    "Surprised": Emotion.Surprise,
}
_WORDS = {word.casefold(): word for word in (*_EMOTIONS, "Domination", "Submission")}
_FILE_TAIL = len("_xxx.csv")  # of a table of votes, after the recording's name
_GRID = 1.0  # s between two votes of an annotator
_NO_WINNER, _NO_VOTE = "no agreement", "no vote"
_BY_EMOTIONS, _BY_FILES = "Annotations_by_emotions", "Annotations_by_files"

Votes = dict[float, dict[str, float]]  # by second, by the corpus's word for the emotion


@dataclass(frozen=True, order=True)
class _Interval:
    """One label over a stretch of a recording."""

    recording: str
    start: float  # s
    end: float  # s
    label: str

    @property
    def name(self) -> str:
        return f"{self.recording} {self.label} {self.start:.3f}-{self.end:.3f}"

    def conflicts(self, other: "_Interval") -> bool:
        """Say whether both name an emotion, not the same, and share a moment."""
        are_emotions = self.label in _EMOTIONS and other.label in _EMOTIONS and self.label != other.label
        return are_emotions and self.start < other.end and other.start < self.end


def _tables(root: Path, folder_name: str, tell: Tell) -> list[Path]:
    folders = find_named(root, folder_name, tell, depth=2)
    return [path for folder in folders for path in find_files(folder, {".csv"}, tell, depth=0)]


def _read_list(path: Path, tell: Tell) -> Iterator[_Interval]:
    """Yield the intervals that one table lists for the emotion in its name."""
    label = _WORDS.get(path.stem.rpartition("_")[2].casefold())
    if label is None:
        tell(Problem(UNKNOWN_NAME, str(path)))
        return
    for where, row in or_tell(path, read_columns(path, ("File", "Start", "End")), tell):
        start, end = parse_seconds(row["start"]), parse_seconds(row["end"])
        if start is None or end is None or start >= end or not row["file"]:
            tell(Problem(UNREADABLE_LINE, where))
        else:
            yield _Interval(row["file"], start, end, label)


def _read_votes(path: Path, tell: Tell) -> Votes:
    """Return the votes of all annotators together, by second."""
    votes: Votes = {}
    for where, row in or_tell(path, read_columns(path, ("Time", *_EMOTIONS)), tell):
        time = parse_seconds(row["time"])
        marks = {word: parse_seconds(row[word.casefold()] or "0") for word in _EMOTIONS}
        if time is None or None in marks.values():
            tell(Problem(UNREADABLE_LINE, where))
            continue
        second = votes.setdefault(time, dict.fromkeys(_EMOTIONS, 0.0))
        for word, mark in marks.items():
            second[word] += mark or 0
    return votes


def _winner(second: Mapping[str, float], min_agreement: float) -> str:
    """Return the emotion with most votes, if it is one alone and has its share of them."""
    total, most = sum(second.values()), max(second.values())
    if total == 0:
        return _NO_VOTE
    winners = [word for word, votes in second.items() if votes == most]
    return winners[0] if len(winners) == 1 and most >= min_agreement * total else _NO_WINNER


def _join_seconds(recording: str, votes: Votes, min_agreement: float) -> Iterator[_Interval]:
    """Yield the runs of seconds with one winner, and those without."""
    number, before = 0, float("-inf")
    seconds = []
    for time in sorted(votes):
        number += time - before > 1.5 * _GRID  # a gap in the votes ends a run
        before = time
        seconds.append((number, _winner(votes[time], min_agreement), time))
    for (_, label), run in groupby(seconds, key=lambda second: second[:2]):
        times = [time for _, _, time in run]
        yield _Interval(recording, times[0], times[-1] + _GRID, label)


def _agreement(interval: _Interval, votes: Votes) -> float | None:
    """Return the share of the votes inside an interval that are for its emotion; None if there are none."""
    inside = [second for time, second in votes.items() if interval.start <= time < interval.end]
    total = sum(sum(second.values()) for second in inside)
    return sum(second[interval.label] for second in inside) / total if total else None


def _drop_reasons(intervals: list[_Interval], votes: Votes, min_agreement: float) -> dict[_Interval, str]:
    """Return the kind of problem of each interval of one recording that shows no emotion for sure.

    What too few agree on is no emotion, and so cannot conflict with another.
    """
    reasons = {}
    for interval in intervals:
        agreement = _agreement(interval, votes) if interval.label in _EMOTIONS else None
        if agreement is not None and agreement < min_agreement:
            reasons[interval] = "agreement below min_agreement"
    agreed = [interval for interval in intervals if interval not in reasons]
    for interval in agreed:
        if any(interval.conflicts(other) for other in agreed):
            reasons[interval] = "overlapping intervals of different emotions"
    return reasons


def _read_own_table(path: Path, column: str, recordings: set[str], tell: Tell) -> dict[str, str]:
    """Return what the user's table says of each recording; an absent table says nothing."""
    said: dict[str, str] = {}
    if path.is_file():
        for where, row in read_columns(path, ("recording", column)):
            if row["recording"] in recordings and row[column]:
                said[row["recording"]] = row[column]
            else:
                tell(Problem("line that names no labelled recording", where))
    return said


def _read_views(path: Path, recordings: set[str], tell: Tell) -> dict[str, View]:
    """Return how the picture of each recording is to be turned upright, by the user's table."""
    turns = _read_own_table(path, "quarter_turns", recordings, tell)
    for recording, number in turns.items():
        if not number.removeprefix("-").isdecimal():
            raise CorpusError(f"Expected a whole number of quarter turns for {recording} in {path}, not {number!r}.")
    return {recording: View(quarter_turns=int(number) % 4) for recording, number in turns.items()}


class _Videos:
    """The close-up video of each recording."""

    def __init__(self, root: Path, tell: Tell) -> None:
        self._tell = tell
        self._videos = index_videos(root, tell, skip=("video_web",))

    def find(self, recording: str) -> Path | None:
        """Return the video of this name, or the only one whose name goes on after it; tell if there is none."""
        name = recording.casefold()
        paths = self._videos.get(name) or [
            path for stem, paths in self._videos.items() if stem.startswith(f"{name}_") for path in paths
        ]
        close = [path for path in paths if path.parent.name.casefold() == "video_close"] or paths
        if len(close) == 1:
            return close[0] if has_content(close[0], self._tell) else None
        kind = "several videos of one recording" if close else "missing video"
        self._tell(Problem(kind, f"Data/Video_close/{recording}"))
        return None


def _read_intervals(root: Path, votes: Mapping[str, Votes], min_agreement: float, tell: Tell) -> list[_Interval]:
    """Return all intervals, from the lists by emotion or, where there are none, from the votes."""
    listed = [interval for path in _tables(root, _BY_EMOTIONS, tell) for interval in _read_list(path, tell)]
    if not listed:
        return [
            interval
            for recording, seconds in votes.items()
            for interval in _join_seconds(recording, seconds, min_agreement)
        ]
    for recording in sorted(votes.keys() - {interval.recording for interval in listed}):
        tell(Problem("recording with votes that no list names", recording))
    times_listed = Counter(listed)
    for interval, number in times_listed.items():
        if number > 1:
            tell(Problem("interval listed twice", interval.name))
    return list(times_listed)


def _find(root: Path, policies: Choices, tell: Tell) -> Iterator[Clip]:
    """Yield the intervals of each recording that has a video."""
    min_agreement = float(policies["min_agreement"])
    votes = {path.name[:-_FILE_TAIL]: _read_votes(path, tell) for path in _tables(root, _BY_FILES, tell)}
    intervals = sorted(_read_intervals(root, votes, min_agreement, tell))
    recordings = {interval.recording for interval in intervals}
    speakers = _read_own_table(root / "speakers.csv", "speaker", recordings, tell)
    views = _read_views(root / "rotations.csv", recordings, tell)
    videos = _Videos(root, tell)
    for recording, group in groupby(intervals, key=lambda interval: interval.recording):
        video = videos.find(recording)
        if video is None:
            continue
        own = list(group)
        dropped = _drop_reasons(own, votes.get(recording, {}), min_agreement)
        for interval in own:
            if interval in dropped:
                tell(Problem(dropped[interval], interval.name))
            yield Clip(
                "RAMAS",
                interval.name,
                video,
                speakers.get(recording, recording),
                interval.label,
                None if interval in dropped else _EMOTIONS.get(interval.label),
                start=interval.start,
                end=interval.end,
                view=views.get(recording),
            )


RAMAS = Corpus(
    "RAMAS",
    f"{_BY_EMOTIONS}/data_<Emotion>.csv (or {_BY_FILES}/<recording>_xxx.csv) and Data/Video_close/<recording>.<suffix>",
    find_clips=_find,
    policies={
        "min_agreement": Policy(
            f"Which share of the annotators' votes must an interval's emotion have, where {_BY_FILES} tells?", (), "0.5"
        )
    },
)
