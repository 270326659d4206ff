"""Aff-Wild2 (ABAW, expressions): one label for each frame of a video, in one text file for each annotated person.

The first line of an annotation names the classes, which are read by their names: editions differ in number and order.
`<video>_left.txt` and `<video>_right.txt` are two people in one video, and stay together as one speaker.
"""

from collections import Counter
from collections.abc import Iterator
from pathlib import Path

from ...emotions import Emotion
from ...faces import View
from .clip import HALVES, UNKNOWN_NAME, UNREADABLE_LINE, Choices, Clip, Corpus, Policy, Problem, Tell
from .tree import emotion_named, find_files, find_named, first_with_content, index_videos, read_lines

_UNLABELLED = -1
_OTHER = "other"
_SPLITS = {"train_set": "train", "validation_set": "valid", "test_set": "test"}
_IMAGE_FOLDERS = ("cropped_aligned", "cropped")


def _read_classes(header: str, *, other: str) -> dict[str, int] | None:
    """Return the value that stands for each number in the file; None if the line names no expressions."""
    names = [name.strip() for name in header.split(",")]
    if not any(emotion_named(name) is not None for name in names):
        return None
    values = {str(_UNLABELLED): _UNLABELLED}
    for number, name in enumerate(names):
        emotion = emotion_named(name)
        if emotion is None and name.casefold() == _OTHER and other == "neutral":
            emotion = Emotion.Neutral
        values[str(number)] = _UNLABELLED if emotion is None else int(emotion)
    return values


def _read_frames(path: Path, *, other: str, tell: Tell) -> tuple[int, ...] | None:
    """Return the value of each frame, by index; None if the file is no annotation of expressions."""
    lines = "\n".join(read_lines(path, tell)).rstrip().split("\n")
    values = _read_classes(lines[0], other=other)
    if values is None:
        tell(Problem("header without expressions", str(path)))
        return None
    frames = []
    names = [name.strip() for name in lines[0].split(",")]
    dropped: Counter[str] = Counter()
    for number, line in enumerate(lines[1:], 2):
        word = line.strip()
        if word not in values:
            tell(Problem(UNREADABLE_LINE, f"{path}:{number}"))
        elif values[word] == _UNLABELLED and word != str(_UNLABELLED):
            dropped[names[int(word)]] += 1
        frames.append(values.get(word, _UNLABELLED))
    for name, number in dropped.items():
        tell(Problem("frames of a class outside the seven", f"{path}: {number} of {len(frames)} are {name}"))
    return tuple(frames)


def _commonest(frames: tuple[int, ...]) -> Emotion | None:
    """Return the emotion of most frames, the first to appear among equals; None if no frame is labelled."""
    counts = Counter(value for value in frames if value != _UNLABELLED)
    return Emotion(counts.most_common(1)[0][0]) if counts else None


def _annotations(root: Path, tell: Tell) -> Iterator[tuple[Path, str]]:
    """Yield (file, split) for each annotation file of the expression task."""
    for task in find_named(root, "EXPR*", tell, skip=(*_IMAGE_FOLDERS, "batch*")):
        for folder in sorted(path for path in task.iterdir() if path.is_dir()) if task.is_dir() else ():
            split = _SPLITS.get(folder.name.casefold())
            if split is None:
                tell(Problem(UNKNOWN_NAME, str(folder)))
                continue
            for path in find_files(folder, {".txt"}, tell, depth=0):
                yield path, split


def _split_name(name: str) -> tuple[str, View | None]:
    """Return the name of the video and the part of it that shows the annotated person."""
    source, _, side = name.rpartition("_")
    return (source, HALVES[side]) if source and side in HALVES else (name, None)


class _Pictures:
    """Where the frames of each annotated person are."""

    def __init__(self, root: Path, tell: Tell) -> None:
        self._tell = tell
        self._videos = index_videos(root, tell, skip=(*_IMAGE_FOLDERS, "annotations"))
        self._folders = [root / above / name for name in _IMAGE_FOLDERS for above in ("", *_subfolders(root))]

    def find(self, name: str) -> tuple[Path, View | None] | None:
        """Return the video and the part of it, or else the folder of face images; None if there is neither."""
        source, half = _split_name(name)
        video = first_with_content(self._videos.get(source.casefold(), ()), self._tell)
        if video:
            return video, half
        folders = [folder / name for folder in self._folders if (folder / name).is_dir()]
        return (folders[0], None) if folders else None


def _subfolders(root: Path) -> list[str]:
    return sorted(path.name for path in root.iterdir() if path.is_dir() and path.name[0] != ".")


def _find(root: Path, policies: Choices, tell: Tell) -> Iterator[Clip]:
    """Yield one clip for each annotated person."""
    pictures = _Pictures(root, tell)
    seen = set()
    for path, split in _annotations(root, tell):
        frames = _read_frames(path, other=policies["other"], tell=tell)
        if frames is None:
            continue
        found = pictures.find(path.stem)
        if found is None:
            tell(Problem("missing video", f"{path.stem}, neither a video nor a folder in {_IMAGE_FOLDERS[0]}"))
        elif path.stem in seen:
            tell(Problem("video annotated twice", str(path)))
        else:
            seen.add(path.stem)
            yield Clip(
                "Aff-Wild2",
                path.stem,
                found[0],
                _split_name(path.stem)[0],
                "frames",
                _commonest(frames),
                view=found[1],
                split=split,
                frame_emotions=frames,
            )


AFFWILD2 = Corpus(
    "Aff-Wild2",
    "annotations/EXPR*/<Train_Set|Validation_Set>/<video>[_left|_right].txt with batch<n>/<video>.<suffix> or "
    "cropped_aligned/<video>[_left|_right]/00001.jpg",
    find_clips=_find,
    policies={
        "other": Policy("What becomes of the frames whose class is Other?", ("drop", "neutral"), "drop"),
    },
)
