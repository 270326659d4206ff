"""What there is to do: files and folders go in, the videos under them come out, each with the name of its report.

A share of them is the part of one process among several, the same one on every machine and at every time. Options are
what the results depend on beside the videos.
"""

import hashlib
import os
import re
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from .cells import name_cell
from .errors import UsageError, VideoError, check_name
from .places import exists, is_far, is_folder, walk

SUMMARY = "summary.csv"
VIDEO_SUFFIXES = {
    ".3g2", ".3gp", ".asf", ".avi", ".divx", ".dv", ".f4v", ".flv", ".m2ts", ".m4v", ".mkv", ".mov", ".mp4", ".mpe",
    ".mpeg", ".mpg", ".mts", ".mxf", ".ogv", ".ts", ".vob", ".webm", ".wmv", ".y4m",
}  # fmt: skip
# A picture among the videos is more likely a mistake than a note or a table, so it is an input, and fails by name.
PICTURE_SUFFIXES = {".bmp", ".gif", ".jpeg", ".jpg", ".png", ".tif", ".tiff", ".webp"}
FACES = ("primary", "all")
NONE, RUN, PERSON = "none", "run", "person"  # baselines by name; another one is a recording of the person at rest
BASELINES = (NONE, RUN, PERSON)
FOLDER = "folder"  # videos in one folder are of one person
READ, MOVE, REPORT = "read", "move", "report"  # the steps of a run that has to know all its people first
LONGEST_NAME = 255 - len(".person-999.json")  # bytes
_PERSON = re.compile(r"\.person-\d+$")
_RESERVED = re.compile(r"summary(\.\d+-of-\d+)?$")


@dataclass(frozen=True)
class Step:
    """What is to be done with an input of a run whose baselines come from its own recordings."""

    name: str  # READ, MOVE or REPORT
    words: str = ""  # on the baseline of the primary person, for people
    rests: tuple[tuple[int, str], ...] = ()  # by track: what is known of the person, of `baseline_run`
    run: str = ""  # what is known of all recordings

    @property
    def settings(self) -> dict[str, str]:
        """What the result of this step depends on, beside the settings of all, in words."""
        if self.name == READ:
            return {"step": "reading for a baseline"}
        known = hashlib.sha256(repr((self.rests, self.run)).encode()).hexdigest()[:16]
        return {"step": "faces moved", "people": known} if self.name == MOVE else {"baseline": f"{self.words}, {known}"}

    def to_json(self) -> list[Any]:
        """Return what JSON can hold."""
        return [self.name, self.words, self.rests, self.run]

    @classmethod
    def from_json(cls, fields: Sequence[Any]) -> "Step":
        """Return the step that `to_json` returned."""
        name, words, rests, run = fields
        return cls(name, words, tuple((int(track), text) for track, text in rests), run)


@dataclass(frozen=True)
class Input:
    """One video and the name of its report; with a step, the video or its reading and what the step leaves."""

    path: Path
    name: str  # of the report, relative to the report folder, without the suffix
    label: str  # how the summary names the video: its path below the folder that was given
    step: Step | None = None

    def settle(self, settings: Mapping[str, str]) -> dict[str, str]:
        """Return what the result depends on: the `settings` of all inputs, and those of the step."""
        if self.step is None:
            return dict(settings)
        passed = {"faces", "formats"} if self.step.name != REPORT else set()  # which choose among what is read
        return {name: value for name, value in settings.items() if name not in passed} | self.step.settings


Progress = Callable[[Input, int, int | None], None]  # the video, its frames done and in all, if known
Prepare = Callable[[int, int], None]  # steps done and in all of making a network


@dataclass(frozen=True)
class Options:
    """How videos are analysed; with `thresholds`, of `zoo.adaptive`, few frames are looked at, and only summed up."""

    recognizer: Mapping[str, Any] = field(default_factory=dict)  # what an `EmotionRecognizer` is made with
    faces: str = "primary"  # whose reports are written, one of FACES
    formats: tuple[str, ...] = ("csv",)  # of `reports.WRITERS`
    thresholds: Path | None = None
    with_features: bool = False  # everyone's features are wanted as well
    baseline: str | Path = NONE  # one of BASELINES, or a recording of the person at rest
    people: str | Path | None = None  # who is the same in several recordings: FOLDER, or a table; None: nobody

    def __post_init__(self) -> None:
        check_name("choice of faces", self.faces, FACES)
        if self.baseline not in BASELINES:
            object.__setattr__(self, "baseline", _find_rest(Path(self.baseline)))
        if self.people is not None and self.people != FOLDER:
            object.__setattr__(self, "people", Path(self.people))
        if self.people and self.baseline != PERSON:
            raise UsageError(f"--people belongs to --baseline {PERSON}, which was not given.")
        if self.thresholds and self.baseline != NONE:
            raise UsageError("An adaptive analysis looks at too few frames for a baseline: leave out one of the two.")
        if self.thresholds and (self.faces != "primary" or self.with_features or self.formats != ("csv",)):
            raise UsageError(
                "An adaptive analysis gives a video's emotion in summary.csv and no reports by frame: leave out the "
                "choice of faces, formats and the file of features."
            )

    @property
    def awaits_people(self) -> bool:
        """Whether reports are written only after all recordings were read."""
        return self.baseline in (RUN, PERSON)

    def to_json(self) -> dict[str, Any]:
        """Return what JSON can hold."""
        fields = asdict(self)
        paths = {name: str(value) for name, value in self.recognizer.items() if isinstance(value, Path)}
        thresholds = None if self.thresholds is None else str(self.thresholds)
        baseline, people = str(self.baseline), self.people and str(self.people)
        return fields | {
            "recognizer": {**self.recognizer, **paths},
            "thresholds": thresholds,
            "baseline": baseline,
            "people": people,
        }

    @classmethod
    def from_json(cls, fields: Mapping[str, Any]) -> "Options":
        """Return the options that `to_json` told."""
        thresholds = fields["thresholds"]
        return cls(
            **{**fields, "formats": tuple(fields["formats"]), "thresholds": Path(thresholds) if thresholds else None}
        )


def _find_rest(recording: Path) -> Path:
    if not os.path.isfile(recording):
        raise UsageError(
            f"There is no recording {recording}. A baseline is {', '.join(BASELINES)}, or a recording of the person at "
            "rest."
        )
    return recording


@dataclass(frozen=True)
class Shard:
    """The share of one process among several: every video belongs to one of them, whatever else there is."""

    index: int  # 1-based
    count: int

    def __post_init__(self) -> None:
        if not 1 <= self.index <= self.count:
            raise UsageError(f"A shard is one of several, such as 1/4 to 4/4, but {self.index}/{self.count} was given.")

    @classmethod
    def parse(cls, text: str) -> "Shard":
        """Read "2/4", the second of four.

        Raises:
            UsageError: it is something else.
        """
        if not (found := re.fullmatch(r"(\d{1,6})/(\d{1,6})", text)):
            raise UsageError(f"A shard is one of several, such as 2/4, but {text!r} was given.")
        return cls(int(found[1]), int(found[2]))

    def holds(self, source: Input) -> bool:
        """Whether a video belongs to this share, by a hash of its label alone."""
        digest = hashlib.sha256(source.label.encode()).digest()
        return int.from_bytes(digest[:8], "big") % self.count == self.index - 1

    def __str__(self) -> str:
        return f"{self.index}-of-{self.count}"


def find_inputs(paths: Sequence[Path]) -> tuple[list[Input], list[Path]]:
    """Return the videos under `paths`, files or folders, in order, and the files passed over.

    Sub-folders are mirrored in the report names; with several folders given, below each folder's own name. Two inputs
    that would share a report keep their suffixes: `clip.mp4`, `clip.avi`.

    Raises:
        UsageError: a path does not exist, or two videos would share a report.
        VideoError: nothing under the paths is a video.
    """
    found: list[tuple[Path, Path]] = []  # the file, and its path in the report folder
    passed: list[Path] = []
    folders = [path for path in paths if is_folder(path)]
    for path in paths:
        if not exists(path):
            raise UsageError(f"There is no file or folder {path}. Check the path.")
        if path not in folders:
            found.append((path, Path(path.name)))
            continue
        root = Path((path if is_far(path) else path.resolve()).name) if len(folders) > 1 else Path()
        for file, relative in walk(path) if is_far(path) else _walk(path):
            if file.suffix.lower() in VIDEO_SUFFIXES | PICTURE_SUFFIXES:
                found.append((file, root / relative))
            else:
                passed.append(file)
    if not found:
        where = ", ".join(str(path) for path in paths)
        raise VideoError(f"There is no video in {where}. Expected files such as .mp4, .avi, .mov, .mkv or .webm.")
    return _name(found), passed


def _walk(folder: Path) -> Iterator[tuple[Path, Path]]:
    for root, folders, files in os.walk(folder):
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        for file in (Path(root, name) for name in sorted(files) if not name.startswith(".")):
            yield file, file.relative_to(folder)


def _shorten(stem: Path) -> Path:
    """Return the name of a report to which a file system lets more be appended; a hash stands for what was cut off."""
    if len(os.fsencode(stem.name)) <= LONGEST_NAME:
        return stem
    digest = hashlib.sha256(os.fsencode(stem.name)).hexdigest()[:8]
    start = stem.name
    while len(os.fsencode(start)) > LONGEST_NAME - len(digest) - 1:
        start = start[:-1]
    return stem.with_name(f"{start}~{digest}")


def _name(found: list[tuple[Path, Path]]) -> list[Input]:
    """Give every input a report name of its own; file systems that ignore case count as one name."""
    stems = Counter(str(relative.with_suffix("")).lower() for _, relative in found)

    def needs_suffix(relative: Path) -> bool:
        stem = str(relative.with_suffix("")).lower()
        return stems[stem] > 1 or bool(_RESERVED.match(stem) or _PERSON.search(stem))

    whole = {str(relative).lower() for _, relative in found if needs_suffix(relative)}

    def choose_name(relative: Path) -> str:
        stem = relative.with_suffix("")
        # `a.mp4.mkv` beside `a.mp4` and `a.avi`: its stem is the whole name of another
        return str(_shorten(relative if needs_suffix(relative) or str(stem).lower() in whole else stem))

    inputs = [Input(path, choose_name(relative), name_cell(str(relative))) for path, relative in found]
    names = Counter(source.name.lower() for source in inputs)
    if twice := [source for source in inputs if names[source.name.lower()] > 1]:
        raise UsageError(
            f"{twice[0].path} and {twice[1].path} would both have the report {twice[0].name}. Analyse them one by one, "
            "or give the folder above both."
        )
    return inputs
