"""One person's features become their emotions over time: what heads, single faces and a baseline make of a track.

The settings that belong to this half of a recognizer, and what else is judged from features, stand here as well.
"""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from . import store
from .baseline import Baseline, Rest, measure_rest
from .engines import BATCH_WINDOWS, Engine
from .errors import UsageError
from .timeline import (
    Doubles,
    FaceTrack,
    Floats,
    Integers,
    Timeline,
    Windows,
    average,
    build_timeline,
    choose_head,
    hold,
    slide,
    split_at_gaps,
)
from .video import VideoInfo
from .weights import AVERAGE
from .zoo.engagement import ENGAGEMENT_FEATURES, ENGAGEMENT_WINDOW, EngagementHead, spread_engagement
from .zoo.hsemotion import SIBLINGS

SMOOTHING = 2.0  # s over which single faces are averaged, as long as a window
ENGAGEMENT = "engagement"  # the column: probability of being engaged


@dataclass(frozen=True, eq=False)
class Interpreter:
    """Judges the tracks of a reading."""

    engine: Engine
    heads: tuple[str, ...]
    head: str  # the reported one
    smoothing: float  # s
    engagement: EngagementHead | None

    def interpret(
        self,
        track: FaceTrack,
        info: VideoInfo,
        *,
        times: Doubles,
        samples: Integers,
        baseline: Baseline | None = None,
        keeps_raw: bool = False,
    ) -> Timeline:
        """Return the timeline of a track in a video, whose frames are at `times` (F,) s and were seen at `samples`.

        `keeps_raw` keeps the probabilities as they are without a baseline beside the others.
        """
        windows, raw = self.judge(track)  # (heads, W, 7)
        shift, adjusted = (baseline.feature_shift, baseline.adjust) if baseline else (None, lambda each: each)
        judged = adjusted(raw if shift is None else self.judge(track, shift=shift)[1])
        return build_timeline(
            info,
            track,
            times=times,
            samples=samples,
            windows=windows,
            window_probabilities=judged,
            heads=self.heads,
            head=self.head,
            extras=self._find_extras(track),
            raw_windows=raw if keeps_raw else None,
            baseline=baseline,
        )

    def judge(self, track: FaceTrack, *, shift: Floats | None = None) -> tuple[Windows, Floats]:
        """Return windows of a track, moved by `shift` (D,), and their probabilities (heads, W, 7)."""
        moved = track if shift is None else track.move(shift)
        if self.head == AVERAGE:
            faces = self.engine.classify_faces(moved.features)
            return hold(moved), average(faces, moved.times, seconds=self.smoothing)[None]
        windows = slide(moved)
        parts = [self.engine.classify(each) for each in windows.split(BATCH_WINDOWS)]
        return windows, np.concatenate(parts, axis=1)

    def measure_rest(self, track: FaceTrack, *, shift: Floats | None, seconds: float) -> Rest:
        """Return what a track, seen for `seconds`, reads as on average, moved by `shift` (D,)."""
        judged = choose_head(self.judge(track, shift=shift)[1], self.heads, self.head)
        features = track.features if shift is None else track.features + shift
        return measure_rest(features, judged, seconds=seconds)

    def _find_extras(self, track: FaceTrack) -> Mapping[str, Floats]:
        """Return values (T,) of the samples by column, averaged like single faces; a baseline leaves them alone."""
        extras = {
            name: average(values[:, None], track.times, seconds=self.smoothing)[:, 0]
            for name, values in self.engine.extras(track.features).items()
        }
        return extras | ({ENGAGEMENT: _judge_engagement(self.engagement, track)} if self.engagement else {})


def open_engagement(engine: Engine) -> EngagementHead:
    """Return what judges engagement from the features of an engine.

    Raises:
        UsageError: its features are others.
    """
    if engine.feature_width != ENGAGEMENT_FEATURES:
        fitting = [name for name, sibling in SIBLINGS.items() if sibling.feature_width == ENGAGEMENT_FEATURES]
        raise UsageError(
            f"Engagement is judged from {ENGAGEMENT_FEATURES} features of a face, but {engine.backbone.name} gives "
            f"{engine.feature_width}. Choose one of the backbones {', '.join(fitting)}."
        )
    return EngagementHead(store.locate(ENGAGEMENT))


def _judge_engagement(head: EngagementHead, track: FaceTrack) -> Floats:
    """Return float32 (T,), NaN where a face was not seen in enough samples in a row."""
    engaged = np.full(len(track), np.nan, dtype=np.float32)
    for run in split_at_gaps(track.times):
        if run.stop - run.start >= ENGAGEMENT_WINDOW:
            engaged[run] = spread_engagement(head.classify(track.features[run]))
    return engaged


def check_smoothing(seconds: float | None, *, head: str) -> float:
    """Return the seconds over which single faces are averaged.

    Raises:
        UsageError: the head averages nothing, or a time cannot be so long.
    """
    if seconds is None:
        return SMOOTHING
    if head != AVERAGE:
        raise UsageError(
            f"Smoothing is for single faces, with head {AVERAGE!r} or a sibling backbone; the head {head!r} has "
            "a window of its own, 2 s."
        )
    if not 0 <= seconds < float("inf"):
        raise UsageError(f"Smoothing takes 0 s or more, but {seconds} was given.")
    return seconds
