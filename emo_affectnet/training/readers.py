"""What a system reads in labelled clips: features go in, the rows of a report come out, frame by frame.

The windows, the spreading over frames and the averaging are those of the recognizer, so that an evaluation scores what
a report shows. Windows of many clips go through a head together; one clip at a time takes several times as long.
"""

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path

import numpy as np
import torch

from ..answers import average_frames
from ..baseline import Baseline
from ..emotions import Emotion
from ..interpretation import SMOOTHING
from ..networks import read_backbone
from ..timeline import STEP, Booleans, Floats, Windows, average, hold, spread_heads
from .features import ClipFeatures, track_of, track_windows
from .heads import Head, predict_windows

Classifier = Callable[[Floats], Floats]  # features (..., 512) to probabilities (..., 7)
BATCH_WINDOWS = 512  # read at once, or those of a single clip


@dataclass(frozen=True, eq=False)
class ClipReading:
    """What a system reads in one clip."""

    windows: Windows  # of ten samples, or of single ones
    by_head: Floats  # float32 (heads, W, 7)
    observed: Booleans  # bool (F,), the frames with a face

    def adjust(self, baseline: Baseline) -> "ClipReading":
        """Return the same reading without what the baseline takes off probabilities."""
        return replace(self, by_head=baseline.adjust(self.by_head))

    @property
    def reported(self) -> Floats:
        """The mean over the heads, float32 (W, 7)."""
        means: Floats = self.by_head.mean(axis=0)
        return means

    @cached_property
    def probabilities(self) -> Floats:
        """The rows of the report, float32 (F, 7); NaN in frames without a face."""
        one = self.by_head[:1]  # agreement is not needed here, and takes several times as long
        return spread_heads(self.windows, one, reported=self.reported, observed=self.observed)[0]

    @property
    def means(self) -> Floats:
        """The mean probabilities (7,) over the frames with a face; NaN without one."""
        means = average_frames(self.probabilities)
        return np.full(len(Emotion), np.nan, np.float32) if means is None else means.astype(np.float32)

    @property
    def agreement(self) -> float | None:
        """The mean share of the heads whose top emotion is the reported one; None without a face, or with one head."""
        by_frame = spread_heads(self.windows, self.by_head, reported=self.reported, observed=self.observed)[1]
        known = by_frame[~np.isnan(by_frame)]
        return float(known.mean(dtype=np.float64)) if len(known) else None


Reader = Callable[[Sequence[ClipFeatures]], list[ClipReading]]
Progress = Callable[[int, int], None]  # clips done, clips in all


def read_classifier(backbone: Path) -> Classifier:
    """Return the backbone's own last layer, which reads one face at a time.

    Raises:
        WeightsError: `backbone` is no state dict of one.
    """
    layer = read_backbone(backbone).fc2

    def classify(features: Floats) -> Floats:
        with torch.inference_mode():
            probabilities: Floats = torch.softmax(layer(torch.from_numpy(features)), dim=-1).numpy()
        return probabilities

    return classify


def read_with_heads(heads: Sequence[Head], *, on_progress: Progress = lambda done, total: None) -> Reader:
    """Return what reads clips with the mean of `heads`, as the recognizer does."""

    def read(clips: Sequence[ClipFeatures]) -> list[ClipReading]:
        readings: list[ClipReading] = []
        for batch in _gather(clips):
            windows = [track_windows(clip) for clip in batch]
            features = np.concatenate([each.features for each in windows])
            judged = np.stack([predict_windows(head, features) for head in heads])  # (heads, W, 7)
            edges = np.cumsum([len(each) for each in windows])[:-1]
            parts = zip(batch, windows, np.split(judged, edges, axis=1), strict=True)
            readings += [ClipReading(each, by_head, clip.frames) for clip, each, by_head in parts]
            on_progress(len(readings), len(clips))
        return readings

    return read


def _gather(clips: Iterable[ClipFeatures]) -> Iterator[list[ClipFeatures]]:
    """Yield clips, a few together, until they have BATCH_WINDOWS."""
    batch: list[ClipFeatures] = []
    for clip in clips:
        batch.append(clip)
        if sum(len(each.times) for each in batch) >= STEP * BATCH_WINDOWS:
            yield batch
            batch = []
    if batch:
        yield batch


def read_by_averaging(classifier: Classifier) -> Reader:
    """Return what reads single faces by themselves and averages them, as the recognizer does without heads."""

    def read(clips: Sequence[ClipFeatures]) -> list[ClipReading]:
        return [_average(clip, classifier) for clip in clips]

    return read


def _average(clip: ClipFeatures, classifier: Classifier) -> ClipReading:
    smooth = average(classifier(clip.features), clip.times, seconds=SMOOTHING)
    return ClipReading(hold(track_of(clip)), smooth[None], clip.frames)
