"""What every corpus adapter speaks: labelled clips and images, policies, problems, and the scan that joins them."""

from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path

import numpy as np
import numpy.typing as npt

from ...emotions import Emotion
from ...faces import View

# The kinds of problems that are no sign of the corpus: if there is nothing else below a root, the root is wrong.
UNKNOWN_NAME = "name of another pattern"
UNREADABLE_LINE = "unreadable label line"
UNREADABLE_TABLE = "unreadable table"

HALVES = {"left": View(right=0.5), "right": View(left=0.5)}  # of a picture that two people share


@dataclass(frozen=True)
class Clip:
    """One labelled interval of a video.

    Where each frame has a label of its own, `frame_emotions` carries the labels and `emotion` is only the commonest.
    """

    corpus: str
    name: str  # unique in its corpus
    path: Path  # of the video, or of the folder of its frames
    speaker: str  # who shows the emotion; what must not be torn apart by a split or a resample
    label: str  # the corpus's own word; "frames" where each frame has its own
    emotion: Emotion | None  # None: outside the seven; counted and reported, never dropped in silence
    start: float = 0.0  # s
    end: float | None = None  # s, may lie behind the end of the video; None: to the end of the video
    view: View | None = None  # the part of the frame that shows the speaker
    split: str | None = None  # train, valid or test, as the corpus itself divides
    columns: Mapping[str, str] = field(default_factory=dict)  # what else its table says of it, by column
    frame_emotions: tuple[int, ...] | None = None  # by 0-based frame index, -1 unlabelled; image 00001.jpg is frame 0


@dataclass(frozen=True)
class LabelledImage:
    """One labelled face."""

    corpus: str
    name: str  # unique in its corpus
    label: str  # the corpus's own word
    emotion: Emotion | None  # None: outside the seven
    read: Callable[[], npt.NDArray[np.uint8]]  # uint8 (H, W, 3) RGB; raises CorpusError
    split: str | None = None  # train, valid or test, as the corpus itself divides
    targets: tuple[float, ...] | None = None  # share of each of the seven, where a face has votes or two emotions
    person: str | None = None  # whose face it is, or the film it is from: what must not be torn apart by a split


@dataclass(frozen=True)
class Policy:
    """An open choice in how a corpus is read. No default is the choice of the paper, which does not tell."""

    question: str
    choices: tuple[str, ...]  # empty: a number from 0 to 1
    default: str


# Of corpora whose faces may show two emotions at once, and of those whose cameras stand round a head.
COMPOUND = Policy(
    "What becomes of faces that show two emotions: left out (drop), or half of each (halves), counted as the first?",
    ("drop", "halves"),
    "drop",
)
ALL_VIEWS = "all"
ANGLE = Policy(
    "Which angles are taken: faces from the front (frontal), half profiles too (half), or whole profiles too (all)?",
    ("frontal", "half", ALL_VIEWS),
    ALL_VIEWS,
)


@dataclass(frozen=True)
class Problem:
    """Something a corpus should have and has not."""

    kind: str  # a few words, the same for all of a kind
    where: str  # file, or file and line


Tell = Callable[[Problem], None]
Choices = Mapping[str, str]  # policy name -> choice


def halve(image: LabelledImage, emotions: tuple[Emotion, Emotion], *, policies: Choices) -> LabelledImage:
    """Return an image of two emotions as COMPOUND says: as it came, or half of each and counted as the first."""
    if policies["compound"] == "drop":
        return image
    targets = tuple(0.5 * emotions.count(emotion) for emotion in Emotion)
    return replace(image, emotion=emotions[0], targets=targets)


@dataclass(frozen=True)
class Corpus:
    """How one corpus is laid out and read."""

    name: str
    layout: str  # the tree that is expected below the root, in words
    find_clips: Callable[[Path, Choices, Tell], Iterator[Clip]] | None = None  # of a corpus of videos
    find_images: Callable[[Path, Choices, Tell], Iterator[LabelledImage]] | None = None  # of a corpus of images
    policies: Mapping[str, Policy] = field(default_factory=dict)
    expected: Mapping[str, int] = field(default_factory=dict)  # published counts by label; a difference is only told
    is_for_judging: bool = False  # weights are scored on it, and nothing is trained on it


@dataclass(frozen=True)
class Scan:
    """What was found under one root."""

    corpus: str
    root: Path
    policies: Mapping[str, str]
    clips: tuple[Clip, ...]
    images: tuple[LabelledImage, ...]
    problems: tuple[Problem, ...]
    expected: Mapping[str, int] = field(default_factory=dict)  # published counts by label
    is_simulated: bool = False  # only the layout is that of the corpus

    @property
    def items(self) -> tuple[Clip | LabelledImage, ...]:
        """The clips and images together."""
        return (*self.clips, *self.images)

    @cached_property
    def counts(self) -> Counter[tuple[str, Emotion | None]]:
        """How many items carry each of the corpus's own labels, apart by what became of it (None: left out)."""
        return Counter((item.label, item.emotion) for item in self.items)

    @cached_property
    def emotions(self) -> Counter[Emotion]:
        """How many items show each emotion."""
        return Counter(item.emotion for item in self.items if item.emotion is not None)

    @cached_property
    def frame_emotions(self) -> Counter[Emotion]:
        """How many labelled frames show each emotion, in a corpus that labels frames."""
        values = Counter(value for clip in self.clips for value in clip.frame_emotions or () if value >= 0)
        return Counter({Emotion(value): number for value, number in values.items()})

    @property
    def unlabelled(self) -> int:
        """The number of items without one of the seven emotions."""
        return sum(item.emotion is None for item in self.items)

    @property
    def speakers(self) -> tuple[str, ...]:
        """Everybody who speaks in a clip, sorted."""
        return tuple(sorted({clip.speaker for clip in self.clips}))

    @property
    def people(self) -> tuple[str, ...]:
        """Every person, or film, that the images name, sorted."""
        return tuple(sorted({image.person for image in self.images if image.person}))

    @cached_property
    def problem_counts(self) -> Counter[str]:
        """How many problems there are of each kind."""
        return Counter(problem.kind for problem in self.problems)

    def examples(self, kind: str, limit: int = 3) -> tuple[str, ...]:
        """Return the first places that have this kind of problem."""
        return tuple(problem.where for problem in self.problems if problem.kind == kind)[:limit]

    @property
    def differences(self) -> tuple[str, ...]:
        """Where the counts are not the published ones, in words; nothing is said of labels from another source."""
        found = Counter(item.label for item in self.items)
        if not self.expected.keys() & found.keys():
            return ()
        return tuple(
            f"expected {number} {label}, found {found[label]}"
            for label, number in self.expected.items()
            if found[label] != number
        )
