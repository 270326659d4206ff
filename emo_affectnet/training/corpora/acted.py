"""Corpora whose file and folder names carry the label: RAVDESS, CREMA-D, SAVEE and AFEW.

Files are found by name at any depth, since users nest and flatten them. Files that are no videos are passed over: the
sound of these corpora is a copy of what is in the videos.
"""

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from ...emotions import Emotion
from ...errors import CorpusError
from .clip import UNKNOWN_NAME, UNREADABLE_LINE, Choices, Clip, Corpus, Policy, Problem, Tell
from .tree import VIDEO_SUFFIXES, find_files, has_content, is_pointer, read_columns

SECOND_COPY = "second file of a clip already found"


@dataclass(frozen=True)
class Take:
    """What the name of one file says."""

    name: str
    speaker: str
    label: str
    performance: str  # equal in two files that show the same
    rank: str = ""  # of two files that show the same, the lower one is taken
    split: str | None = None


def find_takes(root: Path, tell: Tell, parse: Callable[[Path], Take | None]) -> Iterator[tuple[Path, Take]]:
    """Yield each performance once, in the order of their names; tell of every other video."""
    takes = []
    for path in find_files(root, VIDEO_SUFFIXES, tell):
        take = parse(path)
        if take is None:
            tell(Problem(UNKNOWN_NAME, str(path)))
        elif has_content(path, tell):
            takes.append((take.performance, take.rank, path, take))
    seen = set()
    for performance, _, path, take in sorted(takes, key=lambda entry: entry[:3]):
        if performance in seen:
            tell(Problem(SECOND_COPY, str(path)))
        else:
            seen.add(performance)
            yield path, take


def _clip(corpus: str, path: Path, take: Take, emotion: Emotion | None) -> Clip:
    return Clip(corpus, take.name, path, take.speaker, take.label, emotion, split=take.split)


# RAVDESS: the third of seven two-digit fields.
_RAVDESS_NAME = re.compile(r"(0[123])-(0[12])-(0[1-8])-\d\d-\d\d-\d\d-(\d\d)")
_RAVDESS_WORDS = {
    "01": "neutral", "02": "calm", "03": "happy", "04": "sad",
    "05": "angry", "06": "fearful", "07": "disgust", "08": "surprised",
}  # fmt: skip
_RAVDESS = {
    "neutral": Emotion.Neutral,
    "happy": Emotion.Happiness,
    "sad": Emotion.Sadness,
    "angry": Emotion.Anger,
    "fearful": Emotion.Fear,
    "disgust": Emotion.Disgust,
    "surprised": Emotion.Surprise,
}
_SUNG = "sung "
_AUDIO_ONLY = "03"  # 01 is sight and sound, 02 sight only


def _parse_ravdess(path: Path) -> Take | None:
    match = _RAVDESS_NAME.fullmatch(path.stem)
    if not match:
        return None
    modality, channel, emotion, actor = match.groups()
    label = (_SUNG if channel == "02" else "") + _RAVDESS_WORDS[emotion]
    return Take(path.stem, f"Actor_{actor}", label, performance=path.stem[3:], rank=modality)


def _find_ravdess(root: Path, policies: Choices, tell: Tell) -> Iterator[Clip]:
    """Yield one clip for each performance, with its sound where both versions are there."""
    emotions = dict(_RAVDESS)
    if policies["calm"] == "neutral":
        emotions["calm"] = Emotion.Neutral
    if policies["song"] == "include":
        emotions.update({_SUNG + label: emotion for label, emotion in emotions.items()})
    for path, take in find_takes(root, tell, _parse_ravdess):
        if take.rank == _AUDIO_ONLY:
            tell(Problem("sound without a picture", str(path)))
        else:
            yield _clip("RAVDESS", path, take, emotions.get(take.label))


RAVDESS = Corpus(
    "RAVDESS",
    "videos named by seven numbers, such as Actor_01/01-01-03-01-01-01-01.mp4, at any depth",
    find_clips=_find_ravdess,
    policies={
        "calm": Policy(
            "What becomes of the calm clips, which are no emotion of the seven?", ("drop", "neutral"), "drop"
        ),
        "song": Policy("Are the sung clips taken beside the spoken ones?", ("exclude", "include"), "exclude"),
    },
    expected={label: 96 if label == "neutral" else 192 for label in _RAVDESS_WORDS.values()},  # spoken
)

# CREMA-D: actor, sentence, intended emotion, level; one file was once published with a level of X for XX.
_CREMAD_NAME = re.compile(r"(\d{4})_([A-Z]{3})_(ANG|DIS|FEA|HAP|NEU|SAD)_(LO|MD|HI|XX|X)")
_CREMAD = {
    "ANG": Emotion.Anger,
    "DIS": Emotion.Disgust,
    "FEA": Emotion.Fear,
    "HAP": Emotion.Happiness,
    "NEU": Emotion.Neutral,
    "SAD": Emotion.Sadness,
}
_CREMAD_VOTES = {code[0]: emotion for code, emotion in _CREMAD.items()}
_CREMAD_BAD = {  # by the corpus's own issue tracker; 1076_MTI_NEU_XX only lacks its sound
    "1076_MTI_SAD_XX": "it shows no face",
    "1064_TIE_SAD_XX": "it has no frames",
    "1064_IEO_DIS_MD": "it shows several emotions in 61 s",
}
_NO_VOTE = "no face vote"


def _cremad_name(stem: str) -> str | None:
    """Return the name of a clip as its owners spell it now; None if it is none."""
    match = _CREMAD_NAME.fullmatch(stem.upper())
    if not match:
        return None
    speaker, sentence, label, level = match.groups()
    return f"{speaker}_{sentence}_{label}_{'XX' if level == 'X' else level}"


def _parse_cremad(path: Path) -> Take | None:
    name = _cremad_name(path.stem)
    if name is None:
        return None
    speaker, _, label, _ = name.split("_")
    return Take(name, speaker, label, performance=name)


def _read_face_votes(root: Path, tell: Tell) -> dict[str, str]:
    """Return the letters of the commonest face votes by clip, ties joined by colons."""
    tables = [path for path in find_files(root, {".csv"}, tell) if path.name.casefold() == "summarytable.csv"]
    if not tables:
        raise CorpusError(
            f"Expected processedResults/summaryTable.csv below {root}, which holds the face votes; it is not there. "
            "Copy it there, or choose label_source intended."
        )
    fetched = [path for path in tables if not is_pointer(path)]
    votes = {}
    for where, row in read_columns((fetched or tables)[0], ("FileName", "FaceVote")):
        name = _cremad_name(Path(row["filename"]).stem)
        if name is None:
            tell(Problem(UNREADABLE_LINE, where))
        else:
            votes[name] = row["facevote"].upper()
    return votes


def _find_cremad(root: Path, policies: Choices, tell: Tell) -> Iterator[Clip]:
    """Yield the clips, labelled by their names or by those who saw only the face."""
    intended = policies["label_source"] == "intended"
    takes = list(find_takes(root, tell, _parse_cremad))
    votes = _read_face_votes(root, tell) if takes and not intended else {}
    for path, take in takes:
        if take.name in _CREMAD_BAD:
            tell(Problem("known bad recording", f"{path}: {_CREMAD_BAD[take.name]}"))
        elif intended:
            yield _clip("CREMA-D", path, take, _CREMAD[take.label])
        else:
            vote = votes.get(take.name) or _NO_VOTE
            if vote == _NO_VOTE:
                tell(Problem(_NO_VOTE, str(path)))
            yield Clip("CREMA-D", take.name, path, take.speaker, vote, _CREMAD_VOTES.get(vote))


CREMAD = Corpus(
    "CREMA-D",
    "videos named by actor, sentence, emotion and level, such as VideoFlash/1001_IEO_ANG_HI.flv, at any depth",
    find_clips=_find_cremad,
    policies={
        "label_source": Policy(
            "Is the label what the actor was to show, or what most saw in the face alone (ties left out)?",
            ("intended", "face_vote"),
            "intended",
        )
    },
    expected={code: 1087 if code == "NEU" else 1271 for code in _CREMAD},
)

# SAVEE: a code of one or two letters and a number, in the folder of a speaker or after the speaker's initials.
_SAVEE_NAME = re.compile(r"(?:(DC|JE|JK|KL)_)?(sa|su|a|d|f|h|n)(\d{1,2})", re.IGNORECASE)
_SAVEE_SPEAKERS = ("DC", "JE", "JK", "KL")
_SAVEE_WORDS = {
    "a": "anger", "d": "disgust", "f": "fear", "h": "happiness", "n": "neutral", "sa": "sadness", "su": "surprise",
}  # fmt: skip
_SAVEE = {word: Emotion[word.capitalize()] for word in _SAVEE_WORDS.values()}


def _parse_savee(path: Path) -> Take | None:
    match = _SAVEE_NAME.fullmatch(path.stem)
    folder = path.parent.name.upper()
    speaker = match and (match[1] or (folder if folder in _SAVEE_SPEAKERS else None))
    if not match or not speaker:
        return None
    name = f"{speaker.upper()}_{match[2].lower()}{int(match[3]):02d}"
    return Take(name, speaker.upper(), _SAVEE_WORDS[match[2].lower()], performance=name)


def _find_savee(root: Path, policies: Choices, tell: Tell) -> Iterator[Clip]:
    """Yield the utterances of the four speakers."""
    for path, take in find_takes(root, tell, _parse_savee):
        yield _clip("SAVEE", path, take, _SAVEE[take.label])


SAVEE = Corpus(
    "SAVEE",
    "AudioVisualClip/<DC|JE|JK|KL>/<code><number>.avi, such as AudioVisualClip/JK/sa1.avi, at any depth",
    find_clips=_find_savee,
    expected={word: 120 if word == "neutral" else 60 for word in _SAVEE_WORDS.values()},
)

# AFEW: the folder of a class in the folder of a split. Who is seen in which film is not told.
_AFEW_SPLITS = {"train": "train", "val": "valid", "validation": "valid", "test": "test"}
_AFEW = {
    "angry": Emotion.Anger,
    "disgust": Emotion.Disgust,
    "fear": Emotion.Fear,
    "happy": Emotion.Happiness,
    "neutral": Emotion.Neutral,
    "sad": Emotion.Sadness,
    "surprise": Emotion.Surprise,
}
_UNLABELLED = "unlabelled"


def _parse_afew(path: Path) -> Take | None:
    label, split = path.parent.name.casefold(), path.parent.parent.name.casefold()
    if label == "test":  # its labels are withheld
        label, split = _UNLABELLED, label
    elif label not in _AFEW or split not in _AFEW_SPLITS:
        return None
    name = f"{_AFEW_SPLITS[split]}/{label}/{path.stem}"
    return Take(name, path.stem, label, performance=name, split=_AFEW_SPLITS[split])


def _find_afew(root: Path, policies: Choices, tell: Tell) -> Iterator[Clip]:
    """Yield the clips; each is a speaker of its own, since nothing tells who is seen."""
    for path, take in find_takes(root, tell, _parse_afew):
        yield _clip("AFEW", path, take, _AFEW.get(take.label))


AFEW = Corpus(
    "AFEW",
    "<Train|Val>/<Angry|Disgust|Fear|Happy|Neutral|Sad|Surprise>/<number>.avi",
    find_clips=_find_afew,
    expected={  # train and validation of EmotiW 2016
        "angry": 197, "disgust": 114, "fear": 127, "happy": 213, "neutral": 207, "sad": 178, "surprise": 120,
    },
)  # fmt: skip
