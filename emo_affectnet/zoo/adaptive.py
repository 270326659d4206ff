"""Adaptive frame rate: a video goes in, its emotion comes out after as few samples as it takes to be sure.

Levels go from coarse to fine. A level is the mean over single faces in every `stride`-th sample of the road's 5 per
second; its answer stands if its top probability exceeds the level's threshold. The last level is the road itself, with
its heads, and always answers. Thresholds are learned on labelled clips such that few are accepted and wrong: of all
clips at most alpha * level / levels, the constants of Benjamini and Hochberg's step-up procedure, or alpha at every
level.

Source: Savchenko, "Facial Expression Recognition with Adaptive Frame Rate based on Multiple Testing Correction", ICML
2023 (PMLR 202, 30119-30129), where the last level is a mean as well. Two more things are done otherwise. Where even the
surest correct clip has too many wrong ones above it, the level accepts nothing, instead of taking that clip's score.
And the samples of a level are counted from the middle of its first stride, not from its beginning, because a face is
often at rest when a clip begins.
"""

import json
import logging
import math
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass, fields
from itertools import chain, islice
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from ..containers import FilePath
from ..emotions import Emotion
from ..engines import Engine
from ..errors import CorpusError, CorruptWeights, MissingWeights, UsageError, VideoError, WrongArchitecture, check_name
from ..files import whole_file
from ..seeking import FrameIndex, index_frames, read_frames_at
from ..timeline import Doubles, Floats, Integers, Timeline, sample_frames
from ..video import Frame, Image, VideoInfo, probe
from ..weights import hash_file

STRIDES = (16, 4, 1)  # samples at 5 Hz: every 3.2 s, every 0.8 s, all
ALPHA = 0.1
BUDGETS = ("step-up", "fixed")  # alpha * level / levels, or alpha at every level
BATCH_SIZE = 8  # frames judged at once
KIND = "emo-affectnet adaptive thresholds"  # what a file of them calls itself

log = logging.getLogger("emo_affectnet")


class Judge(Protocol):
    """Anything that reads the emotions of single pictures and of videos; `EmotionRecognizer` does."""

    @property
    def engine(self) -> Engine:
        """What runs the backbone."""

    def judge_faces(self, images: Sequence[Image]) -> list[Floats | None]:
        """Return the probabilities (7,) of the largest face in each image, None where there is no face."""

    def predict(self, video: str | Path) -> Timeline:
        """Return the timeline of the primary person, from every sample."""


@dataclass(frozen=True)
class Thresholds:
    """When each level's answer stands."""

    strides: tuple[int, ...]  # samples, coarse to fine, each a multiple of the next
    thresholds: tuple[float, ...]  # of every level but the last; infinite: the level accepts nothing
    alpha: float  # largest share of the clips that a level may accept wrongly
    held_out: int  # clips it was learned on
    budget: str = "step-up"  # one of BUDGETS
    backbone_sha256: str | None = None  # whose probabilities they are; None: not known
    calibrated_on: tuple[str, ...] = ()  # corpora

    def __post_init__(self) -> None:
        # JSON gives lists; equal thresholds must be equal values.
        object.__setattr__(self, "strides", tuple(self.strides))
        object.__setattr__(self, "thresholds", tuple(self.thresholds))
        object.__setattr__(self, "calibrated_on", tuple(self.calibrated_on))
        _check_strides(self.strides)
        _check_alpha(self.alpha)
        check_name("budget", self.budget, BUDGETS)
        if len(self.thresholds) != len(self.strides) - 1 or any(map(math.isnan, self.thresholds)):
            raise UsageError(
                f"Expected a threshold for each of {len(self.strides)} levels but the last, but got {self.thresholds}."
            )
        if self.held_out < 1:
            raise UsageError(f"Thresholds are learned on at least one clip, not on {self.held_out}.")

    def accepts(self, scores: Doubles | Floats | None, level: int) -> bool:
        """Whether the scores (C,) of a level, 0-based, settle the matter; None or NaN (no face) never do early."""
        if level == len(self.strides) - 1:
            return True
        return scores is not None and float(scores.max()) > self.thresholds[level]


def _check_strides(strides: Sequence[int]) -> None:
    nested = all(coarse > fine > 0 and coarse % fine == 0 for coarse, fine in zip(strides, strides[1:], strict=False))
    if not strides or min(strides) < 1 or not nested:
        raise UsageError(
            f"Strides must fall, each a multiple of the next, as 16, 4, 1 do, but {', '.join(map(str, strides))} were "
            "given."
        )


def _check_alpha(alpha: float) -> None:
    if not 0 < alpha < 1:
        raise UsageError(f"alpha is a share of the clips, between 0 and 1, but {alpha} was given.")


def write_thresholds(thresholds: Thresholds, path: Path) -> None:
    """Write thresholds as JSON; an infinite one is written as null."""
    finite = [value if math.isfinite(value) else None for value in thresholds.thresholds]
    record = {"kind": KIND, **asdict(thresholds), "thresholds": finite}
    with whole_file(path) as partial:
        partial.write_text(json.dumps(record, indent=2) + "\n", encoding="utf-8")


def read_thresholds(path: Path) -> Thresholds:
    """Return the thresholds in a JSON file.

    Raises:
        MissingWeights: there is no such file.
        CorruptWeights: it holds something else.
    """
    if not path.is_file():
        raise MissingWeights(f"Expected adaptive thresholds at {path}, but there is no such file. Check the path.")
    try:
        record: dict[str, Any] = dict(json.loads(path.read_text(encoding="utf-8")))
        if record.pop("kind", None) != KIND:
            raise ValueError(f'its "kind" is not "{KIND}"')
        if missing := {field.name for field in fields(Thresholds)} - set(record):
            raise ValueError(f"it lacks {', '.join(sorted(missing))}")
        values = [math.inf if value is None else float(value) for value in record.pop("thresholds")]
        return Thresholds(thresholds=tuple(values), **record)
    except (OSError, ValueError, TypeError, UsageError) as error:
        raise CorruptWeights(
            f"{path} should be adaptive thresholds in JSON, but it cannot be read: {str(error).rstrip('.')}. "
            "Calibrate them again."
        ) from error


def calibrate(
    scores: Sequence[Doubles | Floats],
    labels: Sequence[int] | Integers,
    *,
    strides: Sequence[int] = STRIDES,
    alpha: float = ALPHA,
    budget: str = "step-up",
    backbone_sha256: str | None = None,
    calibrated_on: Sequence[str] = (),
) -> Thresholds:
    """Learn thresholds from the scores (N, C) of held-out clips at each level, coarse to fine, and their labels (N,).

    A row of NaN is a clip without a face at that level; it is among the N, and never accepted.

    Raises:
        UsageError: the arrays do not fit together.
        UnknownName: there is no such budget.
    """
    truth = np.asarray(labels)
    levels = len(strides)
    check_name("budget", budget, BUDGETS)
    _check_alpha(alpha)
    if len(scores) != levels or {len(level) for level in scores} != {len(truth)} or not len(truth):
        lengths = ", ".join(str(len(level)) for level in scores)
        raise UsageError(
            f"Expected the scores of the same clips at {levels} levels, but got {len(truth)} labels and scores of "
            f"{lengths or 'no'} clips."
        )
    shares = [alpha * (level + 1) / levels if budget == "step-up" else alpha for level in range(levels)]
    return Thresholds(
        strides=tuple(strides),
        thresholds=tuple(
            _walk(level, truth, share=share) for level, share in zip(scores[:-1], shares[:-1], strict=True)
        ),
        alpha=alpha,
        held_out=len(truth),
        budget=budget,
        backbone_sha256=backbone_sha256,
        calibrated_on=tuple(calibrated_on),
    )


def _walk(scores: Doubles | Floats, labels: Integers, *, share: float) -> float:
    """Return the lowest top score of a correct clip above which at most `share` of all clips are wrong.

    Infinity, if even the highest has too many above it, or no clip is correct.
    """
    top, seen = scores.max(axis=1), ~np.isnan(scores).any(axis=1)
    is_correct = scores.argmax(axis=1) == labels
    candidates = np.sort(top[seen & is_correct])[::-1]
    wrong = np.sort(top[seen & ~is_correct])
    above = len(wrong) - np.searchsorted(wrong, candidates, side="right")  # never falls along the walk
    passed = int((above <= share * len(labels) + 1e-9).sum())  # 0.1 * 30 is a little more than 3
    return float(candidates[passed - 1]) if passed else math.inf


def choose_samples(count: int, strides: Sequence[int]) -> list[Integers]:
    """Return for each level the samples it looks at, of `count` samples in a row; each level includes the one before.

    The first is in the middle of the first coarse stride, or of all samples if they are fewer.
    """
    start = min(strides[0], count) // 2
    return [np.arange(start % stride, count, stride, dtype=np.int64) for stride in strides]


@dataclass(frozen=True, eq=False)
class Decision:
    """The answer of the first level that was sure."""

    level: int  # 0-based, coarse to fine
    stride: int  # samples
    scores: Doubles | Floats | None  # (C,); None: no face
    share: float  # of the samples of the finest level that were looked at


def decide(levels: Iterable[Doubles | Floats | None], thresholds: Thresholds, *, count: int | None = None) -> Decision:
    """Take scores (C,) level by level, coarse to fine, until one is accepted; later ones are never asked for.

    `count` is the number of samples of the video; without it the share is that of a long one.

    Raises:
        UsageError: there are fewer levels than thresholds.
    """
    rows = choose_samples(thresholds.strides[0] if count is None else count, thresholds.strides)
    for level, scores in enumerate(islice(levels, len(rows))):
        if thresholds.accepts(scores, level):
            return Decision(level, thresholds.strides[level], scores, len(rows[level]) / len(rows[-1]))
    raise UsageError(f"Expected scores of {len(rows)} levels, but there are fewer; give those of every stride.")


@dataclass(frozen=True, eq=False)
class AdaptiveResult:
    """The emotion of a video, and what it took to find it."""

    emotion: Emotion | None  # None: no face in any sample
    probabilities: Floats  # (7,); NaN without a face
    level: int  # 0-based, coarse to fine
    stride: int  # samples
    samples_used: int
    samples_in_all: int  # of the finest level
    video: VideoInfo

    @property
    def share(self) -> float:
        """Share of the samples of the finest level that were looked at."""
        return self.samples_used / self.samples_in_all


class AdaptiveReader:
    """Reads the emotion of whole videos from as few frames as its thresholds allow.

    >>> reader = AdaptiveReader(EmotionRecognizer(), read_thresholds(path))
    >>> result = reader.predict("video/expressions.mp4")
    >>> result.emotion, result.share

    Raises:
        WrongArchitecture: the thresholds were learned with another backbone.
    """

    def __init__(self, recognizer: Judge, thresholds: Thresholds) -> None:
        if expected := thresholds.backbone_sha256:
            backbone = recognizer.engine.backbone
            actual = hash_file(backbone)
            if actual != expected:
                raise WrongArchitecture(
                    f"The thresholds were learned with a backbone of SHA-256 {expected[:12]}…, but {backbone} has "
                    f"{actual[:12]}…, whose probabilities mean something else. Calibrate thresholds with it."
                )
        self.thresholds = thresholds
        self._judge = recognizer

    def predict(self, video: FilePath) -> AdaptiveResult:
        """Return the emotion of a video: of the largest face, or where that does not tell, of the primary person.

        Raises:
            VideoError: the file cannot be read as a video.
        """
        samples = _Samples(self._judge, video)
        *coarse, finest = choose_samples(len(samples), self.thresholds.strides)
        levels = chain(map(samples.average, coarse), samples.read_whole())
        decision = decide(levels, self.thresholds, count=len(samples))
        scores = decision.scores
        return AdaptiveResult(
            emotion=None if scores is None else Emotion(int(scores.argmax())),
            probabilities=np.full(len(Emotion), np.nan, np.float32) if scores is None else scores.astype(np.float32),
            level=decision.level,
            stride=decision.stride,
            samples_used=samples.used,
            samples_in_all=len(finest),
            video=samples.info,
        )


class _Samples:
    """The samples of one video, each read and judged when it is first asked for."""

    def __init__(self, judge: Judge, video: FilePath) -> None:
        self._judge, self._video = judge, video
        self.info = probe(video)
        self._index = index_frames(video)
        self._times = _list_times(self._index, self.info)
        self._judged: dict[int, Floats | None] = {}  # by sample
        self._is_whole = False  # whether the whole video was read

    def __len__(self) -> int:
        return len(self._times)

    @property
    def used(self) -> int:
        """How many were looked at."""
        return len(self) if self._is_whole else len(self._judged)

    def read_whole(self) -> Iterator[Doubles | None]:
        """Yield, once it is asked for, the mean probabilities (7,) over the video's frames, or None without a face."""
        self._is_whole = True
        yield self._judge.predict(Path(self._video)).mean_probabilities

    def average(self, rows: Integers) -> Doubles | None:
        """Return the mean probabilities (7,) over the samples `rows` that show a face, or None if none does."""
        missing = [row for row in rows.tolist() if row not in self._judged]
        frames = read_frames_at(self._video, self._times[missing], index=self._index)
        pending = iter(missing)
        while batch := [frame.image for frame in islice(frames, BATCH_SIZE)]:
            self._judged.update(zip(islice(pending, len(batch)), self._judge.judge_faces(batch), strict=True))
        found = [scores for row in rows.tolist() if (scores := self._judged[row]) is not None]
        return np.mean(found, axis=0, dtype=np.float64) if found else None


def _list_times(index: FrameIndex, info: VideoInfo) -> Doubles:
    """Return the times, s, of the samples that the road would look at."""
    unseen = np.zeros((1, 1, 3), np.uint8)
    frames = (Frame(number, time, unseen) for number, time in enumerate(index.times.tolist()))
    return np.array([frame.time for frame in sample_frames(frames, info)])


@dataclass(frozen=True)
class ClipCalibration:
    """Thresholds from labelled clips, and the clips that could not be used."""

    thresholds: Thresholds
    unreadable: tuple[str, ...]  # what is wrong with each
    faceless: tuple[str, ...]  # paths


def calibrate_clips(
    recognizer: Judge,
    clips: Iterable[tuple[FilePath, Emotion]],
    *,
    strides: Sequence[int] = STRIDES,
    alpha: float = ALPHA,
    budget: str = "step-up",
) -> ClipCalibration:
    """Learn thresholds from labelled videos, every sample of which is looked at.

    Videos that cannot be read or show no face are left out, named in the result and counted in a warning.

    Raises:
        CorpusError: no video is left.
    """
    _check_strides(strides)
    scores: list[list[Doubles]] = []  # of each clip, by level
    labels: list[int] = []
    unreadable: list[str] = []
    faceless: list[str] = []
    for path, emotion in clips:
        try:
            samples = _Samples(recognizer, path)
            finest, *coarser = (samples.average(rows) for rows in reversed(choose_samples(len(samples), strides)))
        except VideoError as error:
            unreadable.append(str(error))
            continue
        if finest is None:
            faceless.append(str(path))
            continue
        unseen = np.full_like(finest, np.nan)
        scores.append([unseen if level is None else level for level in [*reversed(coarser), finest]])
        labels.append(int(emotion))
    if unreadable or faceless:
        log.warning("Videos left out: %d cannot be read, %d without a face.", len(unreadable), len(faceless))
    if not labels:
        raise CorpusError(
            f"Expected labelled videos with a face, but {len(unreadable)} cannot be read and {len(faceless)} show "
            "none. Give others."
        )
    by_level = [np.stack(level) for level in zip(*scores, strict=True)]  # (N, 7) each
    backbone = hash_file(recognizer.engine.backbone)
    thresholds = calibrate(by_level, labels, strides=strides, alpha=alpha, budget=budget, backbone_sha256=backbone)
    return ClipCalibration(thresholds, tuple(unreadable), tuple(faceless))
