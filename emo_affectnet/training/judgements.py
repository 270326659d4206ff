"""What systems make of the labelled items of a corpus: readings go in, answers and counts come out.

An item is a clip, or a frame where each has its own label. One without a face has no answer, which counts as wrong.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from ..emotions import Emotion
from ..timeline import Booleans, Doubles, Floats, Integers
from .features import ClipFeatures, CorpusFeatures
from .metrics import NO_FACE, confusion_by_cluster
from .readers import Classifier, ClipReading, Reader, read_by_averaging
from .results import HEAD, SystemResult

AVERAGE, MAJORITY = "averaged frames", "majority class"


def list_items(clip: ClipFeatures, reading: ClipReading) -> Floats:
    """Return the probabilities (I, 7) of what is scored: of the clip as a whole, or of each labelled frame."""
    if clip.frame_labels is None:
        return reading.means[None]
    return reading.probabilities[clip.frame_labels >= 0]


def list_truths(clip: ClipFeatures) -> Integers:
    """Return the labels (I,) of what is scored."""
    if clip.frame_labels is None:
        return np.array([clip.label], dtype=np.int64)
    return clip.frame_labels[clip.frame_labels >= 0]


def choose_answers(probabilities: Floats | Doubles, *, answers: int = len(Emotion)) -> Integers:
    """Return the most probable emotion of each item (I, 7), int64 (I,); NO_FACE where its row is NaN.

    `answers` is 7, or 6: then Neutral is left out.
    """
    values = np.nan_to_num(probabilities, nan=-np.inf)
    if answers < len(Emotion):
        values = np.where(np.arange(len(Emotion)) == Emotion.Neutral, -np.inf, values)
    return np.where(np.isnan(probabilities).any(axis=1), NO_FACE, values.argmax(axis=1))


def scored_clips(corpus: CorpusFeatures) -> tuple[ClipFeatures, ...]:
    """Return the clips to score: those of the validation part, if the corpus itself has one, or else all."""
    validation = tuple(clip for clip in corpus.clips if "valid" in (clip.split or "").lower())
    return validation or corpus.clips


@dataclass(frozen=True, eq=False)
class Judgement:
    """What one system makes of every item of a corpus that is scored."""

    corpus: str  # its title
    system: str
    by_frame: bool  # an item is a frame, or else a clip
    truth: Integers  # (I,)
    probabilities: Floats  # (I, 7), NaN for an item without a face
    speakers: tuple[str, ...]  # (I,)

    def answer_counts(self, where: Booleans | None = None) -> tuple[int, ...]:
        """Return how many answers the items `where`, bool (I,), can be scored with: 7, and 6 if not all are Neutral."""
        truth = self.truth if where is None else self.truth[where]
        return (len(Emotion), len(Emotion) - 1) if (truth != Emotion.Neutral).any() else (len(Emotion),)

    def score(
        self, *, answers: int = len(Emotion), where: Booleans | None = None, seeds: Sequence[float] = ()
    ) -> SystemResult:
        """Return the scores of the items `where`, bool (I,), if `answers` emotions may be chosen: 7, or 6.

        With six answers, Neutral is left out of the answers and of the items.
        """
        kept = np.ones(len(self.truth), dtype=bool) if where is None else where
        if answers < len(Emotion):
            kept = kept & (self.truth != Emotion.Neutral)
        predicted = choose_answers(self.probabilities[kept], answers=answers)
        names, confusions = confusion_by_cluster(self.truth[kept], predicted, np.array(self.speakers)[kept].tolist())
        return SystemResult(
            corpus=self.corpus,
            system=self.system,
            unit="frame" if self.by_frame else "clip",
            cluster="video" if self.by_frame else "speaker",
            clusters=names,
            confusions=confusions,
            answers=answers,
            seeds=tuple(seeds),
        )


def judge(corpus: CorpusFeatures, system: str, readings: Sequence[ClipReading]) -> Judgement:
    """Return what a system makes of the clips of a corpus that are scored, from its `readings` of them."""
    clips = scored_clips(corpus)
    truths = [list_truths(clip) for clip in clips]
    items = [list_items(clip, reading) for clip, reading in zip(clips, readings, strict=True)]
    return Judgement(
        corpus=corpus.title,
        system=system,
        by_frame=any(clip.frame_labels is not None for clip in clips),
        truth=np.concatenate(truths),
        probabilities=np.concatenate(items),
        speakers=tuple(clip.speaker for clip, truth in zip(clips, truths, strict=True) for _ in truth),
    )


def score(corpus: CorpusFeatures, system: str, reader: Reader) -> SystemResult:
    """Score what `reader` makes of a corpus."""
    return judge(corpus, system, reader(scored_clips(corpus))).score()


def judge_with_baselines(
    corpus: CorpusFeatures, readings: Sequence[ClipReading] | None, *, classifier: Classifier
) -> list[Judgement]:
    """Judge what heads make of a corpus, in `readings` if there are any, beside averaged frames and the majority."""
    averaged = judge(corpus, AVERAGE, read_by_averaging(classifier)(scored_clips(corpus)))
    heads = [] if readings is None else [judge(corpus, HEAD, readings)]
    return [*heads, averaged, judge_majority(averaged)]


def judge_majority(judgement: Judgement) -> Judgement:
    """Return what the commonest emotion, said of every item, would be among the items of a judgement."""
    shares = np.bincount(judgement.truth, minlength=len(Emotion)).astype(np.float32) / len(judgement.truth)
    return replace(judgement, system=MAJORITY, probabilities=np.tile(shares, (len(judgement.truth), 1)))
