"""Faces whose file and folder names carry the label: CFEE, KDEF, JAFFE, RaFD and SFEW.

Files are found by name at any depth, since users nest and flatten them. Each of these corpora may also be packed.
"""

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

from ...emotions import Emotion
from .clip import ALL_VIEWS, ANGLE, COMPOUND, UNKNOWN_NAME, Choices, Corpus, LabelledImage, Policy, Problem, Tell, halve
from .packed import FindImages, describe_packed, or_packed
from .pictures import read_picture
from .tree import IMAGE_SUFFIXES, find_files, has_content

_WORDS = {
    "afraid": Emotion.Fear,
    "angry": Emotion.Anger,
    "disgust": Emotion.Disgust,
    "disgusted": Emotion.Disgust,
    "fear": Emotion.Fear,
    "fearful": Emotion.Fear,
    "happy": Emotion.Happiness,
    "neutral": Emotion.Neutral,
    "sad": Emotion.Sadness,
    "surprise": Emotion.Surprise,
    "surprised": Emotion.Surprise,
}


@dataclass(frozen=True)
class _Shot:
    """What the name of one file says."""

    name: str  # unique in its corpus
    label: str
    person: str | None = None
    split: str | None = None
    angle: str = "frontal"  # or half, or all, which is a whole profile: the narrowest choice that takes it
    gaze: str = "frontal"


def _find_shots(corpus: str, parse: Callable[[Path], _Shot | None]) -> FindImages:
    """Return what yields the pictures below a root whose name `parse` can read, and tells of every other one."""

    def find(root: Path, policies: Choices, tell: Tell) -> Iterator[LabelledImage]:
        for path in find_files(root, IMAGE_SUFFIXES, tell):
            shot = parse(path)
            if shot is None:
                tell(Problem(UNKNOWN_NAME, str(path)))
            elif has_content(path, tell):
                yield _label(corpus, path, shot, policies)

    return find


def _label(corpus: str, path: Path, shot: _Shot, policies: Choices) -> LabelledImage:
    """Return a picture with its emotion, or without one where the policies leave it out."""
    read = partial(read_picture, path)
    emotion = _WORDS.get(shot.label)
    image = LabelledImage(corpus, shot.name, shot.label, emotion, read, split=shot.split, person=shot.person)
    if shot.label in _COMPOUNDS:
        return halve(image, _COMPOUNDS[shot.label], policies=policies)
    return image if _is_taken(shot, policies) else replace(image, emotion=None)


def _is_taken(shot: _Shot, policies: Choices) -> bool:
    widest = ANGLE.choices.index(policies.get("angle", ALL_VIEWS))
    return ANGLE.choices.index(shot.angle) <= widest and policies.get("gaze", shot.gaze) in (shot.gaze, ALL_VIEWS)


# CFEE: the categories of its publication, https://doi.org/10.1073/pnas.1322355111, with the emotions in the order of
# the words; in the last three, the emotion that its authors stress comes first.
_COMPOUNDS = {
    "happily surprised": (Emotion.Happiness, Emotion.Surprise),
    "happily disgusted": (Emotion.Happiness, Emotion.Disgust),
    "sadly fearful": (Emotion.Sadness, Emotion.Fear),
    "sadly angry": (Emotion.Sadness, Emotion.Anger),
    "sadly surprised": (Emotion.Sadness, Emotion.Surprise),
    "sadly disgusted": (Emotion.Sadness, Emotion.Disgust),
    "fearfully angry": (Emotion.Fear, Emotion.Anger),
    "fearfully surprised": (Emotion.Fear, Emotion.Surprise),
    "fearfully disgusted": (Emotion.Fear, Emotion.Disgust),
    "angrily surprised": (Emotion.Anger, Emotion.Surprise),
    "angrily disgusted": (Emotion.Anger, Emotion.Disgust),
    "disgustedly surprised": (Emotion.Disgust, Emotion.Surprise),
    "appalled": (Emotion.Disgust, Emotion.Anger),
    "hatred": (Emotion.Anger, Emotion.Disgust),
    "awed": (Emotion.Surprise, Emotion.Fear),
}
_CFEE_BASIC = ("neutral", "happy", "sad", "fearful", "angry", "surprised", "disgusted")
_CFEE_LABELS = {re.sub("[^a-z]", "", label): label for label in (*_CFEE_BASIC, *_COMPOUNDS)}


def _parse_cfee(path: Path) -> _Shot | None:
    """Read a category and a person's number, in whichever order the names of the file and its folder have them."""
    for text in (path.stem, path.parent.name):
        label = _CFEE_LABELS.get(re.sub("[^a-z]", "", text.casefold()))
        number = re.search(r"\d+", path.stem) or re.search(r"\d+", path.parent.name)
        if label is not None and number is not None:
            return _Shot(f"{number[0]} {label}", label, number[0])
    return None


CFEE = Corpus(
    "CFEE",
    describe_packed("CFEE", "<category>/<person>.jpg or <person>_<category>.jpg, such as Happily_Surprised/111.jpg"),
    find_images=or_packed("CFEE", _find_shots("CFEE", _parse_cfee)),
    policies={"compound": COMPOUND},
    expected=dict.fromkeys(_CFEE_LABELS.values(), 230),  # one of each of 230 people
)

# KDEF: session, sex and number of the person, emotion, angle.
_KDEF_NAME = re.compile(r"([AB])([FM]\d\d)(AF|AN|DI|HA|NE|SA|SU)(FL|HL|S|HR|FR)", re.IGNORECASE)
_KDEF = {
    "AF": "afraid", "AN": "angry", "DI": "disgusted", "HA": "happy", "NE": "neutral", "SA": "sad", "SU": "surprised",
}  # fmt: skip
_KDEF_ANGLES = {"S": "frontal", "HL": "half", "HR": "half", "FL": ALL_VIEWS, "FR": ALL_VIEWS}


def _parse_kdef(path: Path) -> _Shot | None:
    match = _KDEF_NAME.fullmatch(path.stem.upper())
    if not match:
        return None
    _, person, emotion, angle = match.groups()
    return _Shot(match[0], _KDEF[emotion], person, angle=_KDEF_ANGLES[angle])


KDEF = Corpus(
    "KDEF",
    describe_packed("KDEF", "pictures named by session, person, emotion and angle, such as AF01/AF01ANS.JPG"),
    find_images=or_packed("KDEF", _find_shots("KDEF", _parse_kdef)),
    policies={"angle": ANGLE},
    expected=dict.fromkeys(_KDEF.values(), 700),  # 70 people, two sessions, five angles
)

# JAFFE: initials, emotion and its take, running number.
_JAFFE_NAME = re.compile(r"([A-Z]{2})\.(AN|DI|FE|HA|NE|SA|SU)\d\.\d{1,3}")
_JAFFE = {
    "AN": "angry", "DI": "disgust", "FE": "fear", "HA": "happy", "NE": "neutral", "SA": "sad", "SU": "surprise",
}  # fmt: skip


def _parse_jaffe(path: Path) -> _Shot | None:
    match = _JAFFE_NAME.fullmatch(path.stem.upper())
    return _Shot(match[0], _JAFFE[match[2]], match[1]) if match else None


JAFFE = Corpus(
    "JAFFE",
    describe_packed("JAFFE", "pictures named by person, emotion and number, such as KA.AN1.39.tiff"),
    find_images=or_packed("JAFFE", _find_shots("JAFFE", _parse_jaffe)),
    expected={
        "angry": 30, "disgust": 29, "fear": 32, "happy": 31, "neutral": 30, "sad": 31, "surprise": 30,
    },
)  # fmt: skip

# RaFD: camera in degrees, person, group, sex, emotion, gaze.
_RAFD_NAME = re.compile(
    r"rafd(000|045|090|135|180)_(\d\d)_[a-z]+_(?:fe)?male_"
    r"(angry|contemptuous|disgusted|fearful|happy|neutral|sad|surprised)_(frontal|left|right)"
)
_RAFD_ANGLES = {"090": "frontal", "045": "half", "135": "half", "000": ALL_VIEWS, "180": ALL_VIEWS}
_RAFD_LABELS = ("angry", "contemptuous", "disgusted", "fearful", "happy", "neutral", "sad", "surprised")


def _parse_rafd(path: Path) -> _Shot | None:
    match = _RAFD_NAME.fullmatch(path.stem.casefold())
    if not match:
        return None
    camera, person, label, gaze = match.groups()
    return _Shot(match[0], label, person, angle=_RAFD_ANGLES[camera], gaze=gaze)


RAFD = Corpus(
    "RaFD",
    describe_packed("RaFD", "pictures such as Rafd090_01_Caucasian_female_angry_frontal.jpg"),
    find_images=or_packed("RaFD", _find_shots("RaFD", _parse_rafd)),
    policies={
        "angle": ANGLE,
        "gaze": Policy(
            "Are only faces taken that look ahead (frontal), or those that look aside too (all)?",
            ("frontal", ALL_VIEWS),
            ALL_VIEWS,
        ),
    },
    expected=dict.fromkeys(_RAFD_LABELS, 1005),  # 67 people, three gazes, five angles
)

# SFEW: the folder of a class in the folder of a split; frames named by film, time and number.
_SFEW_LABELS = {"angry", "disgust", "fear", "happy", "neutral", "sad", "surprise"}
_SFEW_SPLITS = {"train": "train", "val": "valid", "validation": "valid"}
_SFEW_MOMENT = re.compile(r"(_\d+)+$")  # of a frame; what is before it is the film


def _parse_sfew(path: Path) -> _Shot | None:
    label = path.parent.name.casefold()
    if label not in _SFEW_LABELS:
        return None
    split = _SFEW_SPLITS.get(re.split("[^a-z]", path.parent.parent.name.casefold())[0])  # of Val_Aligned_Faces, too
    return _Shot(f"{split or 'all'}/{label}/{path.stem}", label, _SFEW_MOMENT.sub("", path.stem), split)


SFEW = Corpus(
    "SFEW",
    describe_packed("SFEW", "<Train|Val>/<Angry|Disgust|Fear|Happy|Neutral|Sad|Surprise>/<film>_<time>_<frame>.png"),
    find_images=or_packed("SFEW", _find_shots("SFEW", _parse_sfew)),
)
