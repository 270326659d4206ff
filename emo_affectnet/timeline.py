"""From sampled frames to emotions over time: which frames are looked at, windows of samples, one row per frame.

The facts of time live here: 5 samples per second, windows of 10 samples, a step of 5, and how long a face may be away.
Sampling, windowing and spreading follow the published pipeline wherever a face is seen throughout; a longer absence is
shown as one, and no window reaches across it.
"""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property

import numpy as np
import numpy.typing as npt

from .answers import Peak, average_frames, find_emotion, find_peak
from .baseline import Baseline
from .emotions import Emotion
from .video import Frame, VideoInfo
from .weights import ENSEMBLE

Floats = npt.NDArray[np.float32]
Doubles = npt.NDArray[np.float64]
Integers = npt.NDArray[np.int64]
Booleans = npt.NDArray[np.bool_]

SAMPLE_HZ = 5
WINDOW = 10  # samples, 2 s
STEP = 5  # samples from one window to the next
MAX_GAP = 1.0  # s a face may be unseen before its person counts as away: half a window


@dataclass(frozen=True, eq=False)
class FaceTrack:
    """One person over time: the samples in which the face was seen."""

    track_id: int  # 1-based; 1 is the primary person
    frame_indices: Integers  # (T,), strictly rising
    times: Doubles  # (T,) s
    boxes: Floats  # (T, 4) px, half-open x1, y1, x2, y2
    scores: Floats  # (T,) 0-1, NaN where the detector gives none
    features: Floats  # (T, 512), after the backbone's ReLU; a sibling backbone has a width of its own

    def __post_init__(self) -> None:
        lengths = {len(self.frame_indices), len(self.times), len(self.boxes), len(self.scores), len(self.features)}
        if len(lengths) != 1:
            raise ValueError(f"A track's arrays must be equally long; their lengths are {sorted(lengths)}.")
        if np.any(np.diff(self.frame_indices) <= 0):
            raise ValueError("A track's frame indices must strictly rise.")

    def move(self, shift: Floats) -> "FaceTrack":
        """Return the same track with `shift` (512,) added to its features."""
        return replace(self, features=self.features + shift)

    def __len__(self) -> int:
        return len(self.frame_indices)


@dataclass(frozen=True, eq=False)
class Windows:
    """Runs of ten samples, or single ones, each with the frames it covers."""

    samples: Floats  # (T, 512), features of a track
    rows: Integers  # (W, 10), which of them are in a window
    first: Integers  # (W,) index of the first covered frame
    last: Integers  # (W,) index of the last covered frame, inclusive

    @property
    def features(self) -> Floats:
        """Float32 (W, 10, 512), copied when asked for: twice as large as the samples, because windows overlap."""
        return self.samples[self.rows]

    def split(self, size: int) -> Iterator[Floats]:
        """Yield the features of `size` windows at a time, (B, 10, 512)."""
        for start in range(0, len(self), size):
            yield self.samples[self.rows[start : start + size]]

    def __len__(self) -> int:
        return len(self.first)


def sample_stride(fps: float, *, hz: int = SAMPLE_HZ) -> int:
    """Return how many frames apart the samples are at a constant rate, as published: 6 at 29.97 fps, 5 at 24."""
    return max(1, round(round(fps) / hz))


def sample_by_stride(frames: Iterable[Frame], stride: int) -> Iterator[Frame]:
    """Yield the frames with index 0, stride, 2 stride, ...: the published rule for a constant frame rate."""
    return (frame for frame in frames if frame.index % stride == 0)


@dataclass
class Sampler:
    """Picks the frame nearest to each 0.2 s of media time, counted from the first frame, each frame once at most."""

    hz: int = SAMPLE_HZ
    _start: float | None = None  # s
    _due: int = 0  # samples due so far
    _previous: Frame | None = None
    _taken: int = -1  # index of the last frame that was picked

    def push(self, frame: Frame) -> list[Frame]:
        """Take the next frame; return what is picked now: it or the one before it, seldom both, most often neither."""
        self._start = frame.time if self._start is None else self._start
        picked = []
        while (target := self._start + self._due / self.hz) <= frame.time:
            nearest = frame
            if self._previous is not None and target - self._previous.time <= frame.time - target:
                nearest = self._previous
            if nearest.index > self._taken:
                self._taken = nearest.index
                picked.append(nearest)
            # Only the first and the last of the samples due can differ; broken clocks jump by millions of years.
            self._due = max(self._due + 1, int((frame.time - self._start) * self.hz) - 1)
        self._previous = frame
        return picked


def sample_by_time(frames: Iterable[Frame], *, hz: int = SAMPLE_HZ) -> Iterator[Frame]:
    """Yield the frame nearest to each 0.2 s of media time, counted from the first frame, each frame once at most."""
    sampler = Sampler(hz)
    for frame in frames:
        yield from sampler.push(frame)


def sample_frames(frames: Iterable[Frame], info: VideoInfo, *, hz: int = SAMPLE_HZ) -> Iterator[Frame]:
    """Yield the frames to look at: by the published stride at a constant frame rate, by time otherwise."""
    if info.is_constant_rate and info.fps is not None:
        return sample_by_stride(frames, sample_stride(info.fps, hz=hz))
    return sample_by_time(frames, hz=hz)


def window_rows(count: int) -> Integers:
    """Return int64 (W, 10): the samples of each window over `count` samples in a row.

    Windows start at 0, 5, 10, ... below `count`; one that is too short repeats the last sample.
    """
    starts = np.arange(0, count, STEP, dtype=np.int64)
    return np.minimum(starts[:, None] + np.arange(WINDOW), count - 1)


def split_at_gaps(times: Doubles) -> list[slice]:
    """Return the runs of sightings, times (T,) s, between which the face was away for more than `MAX_GAP`."""
    cuts = np.flatnonzero(np.diff(times) > MAX_GAP) + 1
    edges = [0, *cuts.tolist(), len(times)]
    return [slice(start, stop) for start, stop in zip(edges, edges[1:], strict=False) if start < stop]


def track_rows(times: Doubles) -> Integers:
    """Return int64 (W, 10): the sightings, times (T,) s, in each window; none reaches across an absence."""
    rows = (run.start + window_rows(run.stop - run.start) for run in split_at_gaps(times))
    return np.concatenate([np.empty((0, WINDOW), np.int64), *rows])


def slide(track: FaceTrack) -> Windows:
    """Cut a track into windows; none reaches across an absence."""
    rows = track_rows(track.times)
    frames = track.frame_indices[rows]
    return Windows(track.features, rows, frames[:, 0], frames[:, -1])


def hold(track: FaceTrack) -> Windows:
    """Return the samples of a track as windows of one, which `spread` holds until the next sample."""
    return Windows(track.features, np.arange(len(track))[:, None], track.frame_indices, track.frame_indices)


def average(values: Floats, times: Doubles, *, seconds: float) -> Floats:
    """Return (T, K), each row the mean of those at most `seconds` / 2 away; none reaches across an absence."""
    means = np.empty_like(values)
    reach = seconds / 2 + 1e-6  # times are decimal fractions
    for run in split_at_gaps(times):
        own = np.arange(run.stop - run.start)  # is always among them, also where damage makes times fall
        first = np.minimum(np.searchsorted(times[run], times[run] - reach), own)
        last = np.maximum(np.searchsorted(times[run], times[run] + reach, side="right"), own + 1)
        total = np.cumsum(np.pad(values[run].astype(np.float64), ((1, 0), (0, 0))), axis=0)
        means[run] = (total[last] - total[first]) / (last - first)[:, None]
    return means


def spread(windows: Windows, probabilities: Floats, *, frame_count: int) -> Floats:
    """Return float32 (F, 7) from window probabilities (W, 7): each frame the mean of the windows that cover it.

    A frame after the last window so far repeats it; frames before the first window are NaN.
    """
    total = np.zeros((frame_count, probabilities.shape[1]))
    count = np.zeros(frame_count, dtype=np.int64)
    source = np.full(frame_count + 1, -1, dtype=np.int64)  # the window that a frame without one repeats
    for window, (first, last) in enumerate(zip(windows.first, windows.last, strict=True)):
        total[first : last + 1] += probabilities[window]
        count[first : last + 1] += 1
        source[last + 1] = window
    source = np.maximum.accumulate(source)[:frame_count]
    values = np.full_like(total, np.nan)
    repeated = (count == 0) & (source >= 0)
    values[repeated] = probabilities[source[repeated]]
    values[count > 0] = total[count > 0] / count[count > 0, None]
    return values.astype(np.float32)


def find_observed(track: FaceTrack, *, samples: Integers, frame_count: int) -> Booleans:
    """Return bool (F,): the face was seen at this sample, or before and after it at most `MAX_GAP` apart.

    A frame belongs to the last of `samples`, the indices of all sampled frames, at or before it.
    """
    observed = np.zeros(frame_count, dtype=bool)
    next_samples = np.append(samples, frame_count)
    for run in split_at_gaps(track.times):
        last = track.frame_indices[run.stop - 1]
        stop = next_samples[np.searchsorted(samples, last) + 1]
        observed[track.frame_indices[run.start] : stop] = True
    return observed


@dataclass(frozen=True, eq=False)
class Timeline:
    """The emotions of one person over a whole video, one row per frame; unknown is NaN."""

    video: VideoInfo
    track_id: int | None  # 1 is the primary person; None if no face was seen
    head: str  # whose probabilities are reported: a head's name or "ensemble"
    heads: tuple[str, ...]
    times: Doubles  # (F,) s
    probabilities: Floats  # (F, 7)
    agreement: Floats  # (F,) share of the heads whose top emotion is the reported one; NaN with a single head
    observed: Booleans  # (F,)
    boxes: Floats  # (F, 4) px, interpolated between sightings
    scores: Floats  # (F,) interpolated likewise
    window_probabilities: Floats  # (heads, W, 7)
    extras: Mapping[str, Floats] = field(default_factory=dict)  # (F,) by column: what else a sibling model says
    raw_probabilities: Floats | None = None  # (F, 7) without any baseline; None where none is used
    baseline: Baseline | None = None  # what was taken off

    def __post_init__(self) -> None:
        known = self.probabilities[self.observed]
        if not np.allclose(known.sum(axis=1), 1, atol=1e-3) or not np.isnan(self.probabilities[~self.observed]).all():
            raise ValueError("A timeline's row must sum to 1 where a face was observed and be NaN elsewhere.")

    @cached_property
    def reported_windows(self) -> Floats:
        """Window probabilities (W, 7) of the reported head."""
        return choose_head(self.window_probabilities, self.heads, self.head)

    @property
    def emotion(self) -> Emotion | None:
        """The emotion of the whole video: the largest mean probability over the frames with a face."""
        return find_emotion(self.probabilities)

    @property
    def mean_probabilities(self) -> Doubles | None:
        """The mean probabilities (7,) over the frames with a face; None if there is none."""
        return average_frames(self.probabilities)

    @property
    def peak(self) -> Peak | None:
        """The strongest passage that is not Neutral; None if no face was seen."""
        return find_peak(self.probabilities, self.times)

    @property
    def emotions(self) -> Integers:
        """The top emotion of each frame, (F,); -1 where no face was observed."""
        return np.where(self.observed, np.nan_to_num(self.probabilities, nan=-1.0).argmax(axis=1), -1)

    @property
    def coverage(self) -> float:
        """Share of the frames in which the face was observed."""
        return float(self.observed.mean()) if len(self.observed) else 0.0


@dataclass(frozen=True, eq=False)
class Moment:
    """What one person's face shows in one frame."""

    track_id: int  # 1-based
    index: int  # of the frame, 0-based
    time: float  # s
    box: tuple[float, float, float, float]  # px, half-open x1, y1, x2, y2
    score: float | None  # the detector's confidence, 0-1; None if it gives none
    probabilities: Floats  # (7,)
    agreement: float | None = None  # share of the heads whose top emotion is this one; None with a single head
    raw_probabilities: Floats | None = None  # (7,) without any baseline; None where none is used

    @property
    def emotion(self) -> Emotion:
        """The most probable emotion."""
        return Emotion(int(self.probabilities.argmax()))

    @property
    def confidence(self) -> float:
        """The probability of the most probable emotion."""
        return float(self.probabilities.max())


def choose_head(probabilities: Floats, heads: tuple[str, ...], head: str) -> Floats:
    """Return (..., 7) of one head, or the mean over all, from (heads, ..., 7)."""
    chosen: Floats = probabilities.mean(axis=0) if head == ENSEMBLE else probabilities[heads.index(head)]
    return chosen


def _interpolate(values: Floats, track: FaceTrack, observed: Booleans) -> Floats:
    """Return (F,) values between sightings; NaN where no face was observed."""
    known = ~np.isnan(values)
    if not known.any():
        return np.full(len(observed), np.nan, dtype=np.float32)
    frames = np.interp(np.arange(len(observed)), track.frame_indices[known], values[known])
    return np.where(observed, frames, np.nan).astype(np.float32)


def build_timeline(
    info: VideoInfo,
    track: FaceTrack,
    *,
    times: Doubles,
    samples: Integers,
    windows: Windows,
    window_probabilities: Floats,
    heads: tuple[str, ...],
    head: str,
    extras: Mapping[str, Floats],
    raw_windows: Floats | None = None,
    baseline: Baseline | None = None,
) -> Timeline:
    """Spread window probabilities (heads, W, 7) over all frames of the video, whose `times` (F,) are in s.

    `extras` are further values (T,) of the track's samples, by column, held until the next sample. `raw_windows` are
    the window probabilities without the `baseline`, where they are to be kept.
    """
    observed = find_observed(track, samples=samples, frame_count=len(times))
    reported = choose_head(window_probabilities, heads, head)
    probabilities, agreement = spread_heads(windows, window_probabilities, reported=reported, observed=observed)
    raw = None
    if raw_windows is not None:
        reported = choose_head(raw_windows, heads, head)
        raw, _ = spread_heads(windows, raw_windows[:1], reported=reported, observed=observed)
    return Timeline(
        video=info,
        track_id=track.track_id,
        head=head,
        heads=heads,
        times=times,
        probabilities=probabilities,
        agreement=agreement,
        observed=observed,
        boxes=np.stack([_interpolate(column, track, observed) for column in track.boxes.T], axis=1),
        scores=_interpolate(track.scores, track, observed),
        window_probabilities=window_probabilities,
        extras={name: _hold_values(values, track, observed) for name, values in extras.items()},
        raw_probabilities=raw,
        baseline=baseline,
    )


def spread_heads(windows: Windows, by_head: Floats, *, reported: Floats, observed: Booleans) -> tuple[Floats, Floats]:
    """Return float32 probabilities (F, 7) and agreement (F,) from window probabilities, `by_head` (heads, W, 7).

    The probabilities are those of `reported` (W, 7); agreement is the share of the heads whose top emotion is theirs.
    Both are NaN in frames that are not `observed`, (F,), and agreement is with a single head.
    """
    count = len(observed)
    probabilities = np.where(observed[:, None], spread(windows, reported, frame_count=count), np.nan)
    agreement = np.full(count, np.nan)
    if len(by_head) > 1:
        top = _find_top(probabilities)
        each_top = (_find_top(spread(windows, each, frame_count=count)) for each in by_head)  # one at a time
        behind = sum((each == top).astype(np.int64) for each in each_top)
        agreement = np.where(observed, behind / len(by_head), np.nan)
    return probabilities, agreement.astype(np.float32)


def _find_top(probabilities: Floats) -> Integers:
    """Return the columns (F,) of the largest of probabilities (F, 7), which may be unknown."""
    top: Integers = np.nan_to_num(probabilities).argmax(axis=1)
    return top


def _hold_values(values: Floats, track: FaceTrack, observed: Booleans) -> Floats:
    """Return (F,) from values (T,) of a track's samples; NaN where no face was observed."""
    frames = spread(hold(track), values[:, None], frame_count=len(observed))[:, 0]
    return np.where(observed, frames, np.nan).astype(np.float32)


def empty_timeline(
    info: VideoInfo, *, times: Doubles, heads: tuple[str, ...], head: str, extras: Iterable[str] = ()
) -> Timeline:
    """Return the timeline of a video without a face: every row unknown, coverage 0."""
    unknown = np.full((len(times), len(Emotion)), np.nan, dtype=np.float32)
    return Timeline(
        video=info,
        track_id=None,
        head=head,
        heads=heads,
        times=times,
        probabilities=unknown,
        agreement=unknown[:, 0],
        observed=np.zeros(len(times), dtype=bool),
        boxes=unknown[:, :4],
        scores=unknown[:, 0],
        window_probabilities=np.empty((len(heads), 0, len(Emotion)), dtype=np.float32),
        extras=dict.fromkeys(extras, unknown[:, 0]),
    )
