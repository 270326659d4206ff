"""IEMOCAP: utterances of two actors, cut from split-screen videos of dialogs by the times of the label files.

Each session has a man and a woman; in a dialog one of them wears markers. The letter in the dialog's name says who, the
letter in an utterance's last field says who speaks: `Ses01F_impro01_M000` is said by the man while the woman is marked.
"""

import re
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from ...emotions import Emotion
from .clip import HALVES, UNKNOWN_NAME, UNREADABLE_LINE, Choices, Clip, Corpus, Policy, Problem, Tell
from .tree import find_files, find_named, first_with_content, index_videos, read_lines

_DIALOG = re.compile(r"(Ses\d\d)([FM])_\w+")
_LINE = re.compile(r"\[\s*([\d.]+)\s*-\s*([\d.]+)\s*\]\s+(\S+)\s+(\S+)(?:\s.*)?")
_TURN = re.compile(r"([FM])[A-Z]*\d+")

_EMOTIONS = {
    "neu": Emotion.Neutral,
    "hap": Emotion.Happiness,
    "sad": Emotion.Sadness,
    "sur": Emotion.Surprise,
    "fea": Emotion.Fear,
    "dis": Emotion.Disgust,
    "ang": Emotion.Anger,
}


@dataclass(frozen=True)
class _Utterance:
    """One labelled line."""

    name: str
    dialog: str
    label: str
    start: float  # s
    end: float  # s
    speaker: str  # session and F or M
    is_marked: bool  # whether the speaker wears the markers


def _parse(line: str, dialog: str) -> _Utterance | None:
    """Read `[start - end] <utterance> <label> [valence, activation, dominance]`; None if it is no such line."""
    session, match = _DIALOG.fullmatch(dialog), _LINE.fullmatch(line.strip())
    if not session or not match:
        return None
    start, end, name, label = match.groups()
    turn = _TURN.fullmatch(name.rpartition("_")[2])
    try:
        times = float(start), float(end)
    except ValueError:
        return None
    if not turn or not name.startswith(f"{dialog}_") or times[0] >= times[1]:
        return None
    return _Utterance(name, dialog, label, *times, session[1] + turn[1], is_marked=turn[1] == session[2])


def _read_dialog(path: Path, tell: Tell) -> Iterator[_Utterance]:
    """Yield the utterances of one label file; the lines of single evaluators and the header are not read."""
    for number, line in enumerate(read_lines(path, tell), 1):
        if line.lstrip().startswith("["):
            utterance = _parse(line, path.stem)
            if utterance:
                yield utterance
            else:
                tell(Problem(UNREADABLE_LINE, f"{path}:{number}"))


def _label_files(root: Path, tell: Tell) -> Iterator[Path]:
    """Yield the label files of all sessions: those beside the folders of single evaluators, not those in them."""
    skip = ("sentences", "wav", "mocap_*", "lab", "transcriptions")
    for folder in find_named(root, "EmoEvaluation", tell, depth=4, skip=skip):
        for path in find_files(folder, {".txt"}, tell, depth=0):
            if _DIALOG.fullmatch(path.stem):
                yield path
            else:
                tell(Problem(UNKNOWN_NAME, str(path)))


def _find(root: Path, policies: Choices, tell: Tell) -> Iterator[Clip]:
    """Yield one clip for each utterance whose dialog has a video."""
    emotions = dict(_EMOTIONS)
    if policies["exc"] == "happiness":
        emotions["exc"] = Emotion.Happiness
    if policies["fru"] == "anger":
        emotions["fru"] = Emotion.Anger
    videos = index_videos(root, tell)
    missing: Counter[str] = Counter()
    seen: set[str] = set()
    for path in _label_files(root, tell):
        video = first_with_content(videos.get(path.stem.casefold(), ()), tell)
        for utterance in _read_dialog(path, tell):
            if utterance.name in seen:
                tell(Problem("utterance labelled twice", f"{path}: {utterance.name}"))
            elif video is None:
                missing[utterance.dialog] += 1
            else:
                yield _clip(utterance, video, emotions.get(utterance.label), policies["side"])
            seen.add(utterance.name)
    for dialog, number in missing.items():
        tell(Problem("missing video", f"dialog/avi/DivX/{dialog}.avi, with {number} utterances"))


def _clip(utterance: _Utterance, video: Path, emotion: Emotion | None, side: str) -> Clip:
    # The one who wears the markers sits in the left half of the picture, by three independent readers of the corpus.
    half = ("left" if utterance.is_marked else "right") if side == "auto" else side
    return Clip(
        "IEMOCAP",
        utterance.name,
        video,
        utterance.speaker,
        utterance.label,
        emotion,
        start=utterance.start,
        end=utterance.end,
        view=HALVES[half],
    )


IEMOCAP = Corpus(
    "IEMOCAP",
    "Session<1-5>/dialog/EmoEvaluation/<dialog>.txt with the labels and Session<1-5>/dialog/avi/DivX/<dialog>.avi",
    find_clips=_find,
    policies={
        "exc": Policy("What becomes of the excited utterances?", ("drop", "happiness"), "happiness"),
        "fru": Policy("What becomes of the frustrated utterances?", ("drop", "anger"), "drop"),
        "side": Policy(
            "Which half of the picture shows the speaker (auto: the left one if the speaker wears the markers)?",
            ("auto", "left", "right"),
            "auto",
        ),
    },
    expected={
        "neu": 1708, "fru": 1849, "ang": 1103, "sad": 1084, "exc": 1041,
        "hap": 595, "sur": 107, "fea": 40, "dis": 2, "oth": 3, "xxx": 2507,
    },
)  # fmt: skip
