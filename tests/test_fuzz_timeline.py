"""Sampling and windows keep their promises for any times of frames, also those that damage has put anywhere."""

from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
from fuzzing import examples
from hypothesis import given
from hypothesis import strategies as st

from emo_affectnet.timeline import (
    MAX_GAP,
    WINDOW,
    FaceTrack,
    Timeline,
    average,
    build_timeline,
    empty_timeline,
    hold,
    sample_by_time,
    sample_frames,
    slide,
    split_at_gaps,
    spread,
)
from emo_affectnet.video import Frame, VideoInfo

HEADS = ("A", "B")
GAPS = st.one_of(st.floats(0, 0.1), st.floats(0, 3), st.sampled_from([0.0, 0.2, MAX_GAP, 1e-9, 1e6, 1e15, -0.04, -5.0]))


def make_info(count: int, *, fps: float | None = None, is_constant: bool = False) -> VideoInfo:
    return VideoInfo(Path("clip.mp4"), 64, 48, fps, None, count, False, is_constant)


@st.composite
def clocks(draw: st.DrawFn, *, min_size: int = 0) -> np.ndarray:
    """Times of frames, float64 (F,) s: steady, in fits and starts, standing still, leaping ahead or falling back."""
    start = draw(st.sampled_from([0.0, -3.0, 1e9, -1e15]))
    gaps = draw(st.lists(GAPS, min_size=min_size, max_size=80))
    return start + np.cumsum(np.array(gaps, np.float64))


@st.composite
def tracks(draw: st.DrawFn) -> tuple[FaceTrack, np.ndarray, np.ndarray]:
    """A face in some of the samples of a video, with the times of its frames (F,) and the indices of its samples."""
    times = draw(clocks(min_size=1))
    is_constant = draw(st.booleans())
    info = make_info(len(times), fps=draw(st.sampled_from([5.0, 24.0, 29.97, 240.0])), is_constant=is_constant)
    frames = (Frame(index, float(time), None) for index, time in enumerate(times))
    samples = np.array([frame.index for frame in sample_frames(frames, info)], np.int64)
    is_seen = draw(st.lists(st.booleans(), min_size=len(samples), max_size=len(samples)))
    seen = samples[np.array(is_seen, bool)]
    if not len(seen):
        seen = samples[:1]
    rows = np.arange(len(seen), dtype=np.float32)
    scores = np.where(rows % 3 == draw(st.integers(0, 3)), np.nan, 0.5).astype(np.float32)
    track = FaceTrack(1, seen, times[seen], np.tile(rows[:, None], (1, 4)), scores, np.tile(rows[:, None], (1, 3)))
    return track, times, samples


def judge(count: int, heads: int = 1) -> np.ndarray:
    """Return probabilities float32 (heads, count, 7), all different."""
    values = np.random.default_rng(count).random((heads, count, 7)).astype(np.float32)
    return values / values.sum(axis=2, keepdims=True)


@examples(150)
@given(clocks())
def test_samples_by_time_rise_and_begin_with_the_first_frame(times: np.ndarray) -> None:
    # a frame that damage puts centuries ahead once made the sampler count every fifth of a second up to it
    frames = [Frame(index, float(time), None) for index, time in enumerate(times)]
    found = [frame.index for frame in sample_by_time(frames)]
    assert found[:1] == [0][: len(times)]
    assert all(one < other for one, other in pairwise(found))


@examples(150)
@given(clocks(), st.sampled_from([None, 1e-3, 4.9, 25.0, 29.97, 1e4]), st.sampled_from([1, 5, 30]))
def test_samples_at_a_constant_rate_are_evenly_spaced(times: np.ndarray, fps: float | None, hz: int) -> None:
    frames = [Frame(index, float(time), None) for index, time in enumerate(times)]
    info = make_info(len(times), fps=fps, is_constant=True)
    found = [frame.index for frame in sample_frames(frames, info, hz=hz)]
    assert found[:1] == [0][: len(times)]
    assert fps is None or len({other - one for one, other in pairwise(found)}) <= 1


@examples(150)
@given(clocks())
def test_runs_cover_all_times_in_order_and_end_only_at_absences(times: np.ndarray) -> None:
    runs = split_at_gaps(times)
    assert [row for run in runs for row in range(run.start, run.stop)] == list(range(len(times)))
    assert all(np.all(np.diff(times[run]) <= MAX_GAP) for run in runs)
    assert all(times[after.start] - times[before.stop - 1] > MAX_GAP for before, after in pairwise(runs))


@examples(150)
@given(tracks())
def test_windows_cover_every_sighting_and_never_an_absence(video: tuple[FaceTrack, np.ndarray, np.ndarray]) -> None:
    track, _, _ = video
    windows = slide(track)
    assert windows.features.shape == (len(windows), WINDOW, 3)
    assert set(windows.rows.ravel().tolist()) == set(range(len(track)))
    assert np.all(np.diff(windows.rows, axis=1) >= 0)
    assert np.all(np.diff(track.times[windows.rows], axis=1) <= MAX_GAP)
    assert np.array_equal(windows.first, track.frame_indices[windows.rows[:, 0]])
    assert np.array_equal(windows.last, track.frame_indices[windows.rows[:, -1]])


@examples(150)
@given(tracks())
def test_every_frame_from_the_first_window_on_has_a_row_that_sums_to_one(
    video: tuple[FaceTrack, np.ndarray, np.ndarray],
) -> None:
    track, times, _ = video
    for windows in (slide(track), hold(track)):
        values = spread(windows, judge(len(windows))[0], frame_count=len(times))
        assert values.shape == (len(times), 7)
        assert np.isnan(values[: windows.first[0]]).all()
        np.testing.assert_allclose(values[windows.first[0] :].sum(axis=1), 1, atol=1e-5)


@examples(150)
@given(tracks(), st.sampled_from([0.0, 0.4, 2.0, 1e6]))
def test_means_stay_between_the_least_and_the_largest_value(
    video: tuple[FaceTrack, np.ndarray, np.ndarray], seconds: float
) -> None:
    # times that fall back once made intervals of no sample, and their means a division by zero
    track, _, _ = video
    values = judge(len(track))[0]
    means = average(values, track.times, seconds=seconds)
    for run in split_at_gaps(track.times):
        assert np.all(means[run] >= values[run].min(axis=0) - 1e-6)
        assert np.all(means[run] <= values[run].max(axis=0) + 1e-6)


def check_rows(timeline: Timeline, times: np.ndarray) -> None:
    """Check what every timeline promises of each frame."""
    observed = timeline.observed
    assert len(timeline.probabilities) == len(observed) == len(timeline.boxes) == len(timeline.scores) == len(times)
    np.testing.assert_allclose(timeline.probabilities[observed].sum(axis=1), 1, atol=1e-5)
    for values in (timeline.probabilities, timeline.boxes, timeline.scores[:, None], timeline.agreement[:, None]):
        assert np.isnan(values[~observed]).all()
    assert not np.isnan(timeline.boxes[observed]).any()
    assert np.all(timeline.emotions[~observed] == -1)
    assert np.all((timeline.emotions[observed] >= 0) & (timeline.emotions[observed] < 7))
    assert 0 <= timeline.coverage <= 1


@examples(150)
@given(tracks(), st.sampled_from(["A", "ensemble"]))
def test_a_timeline_has_one_row_for_each_frame_and_knows_where_it_knows_nothing(
    video: tuple[FaceTrack, np.ndarray, np.ndarray], head: str
) -> None:
    track, times, samples = video
    windows = slide(track)
    timeline = build_timeline(
        make_info(len(times)),
        track,
        times=times,
        samples=samples,
        windows=windows,
        window_probabilities=judge(len(windows), heads=2),
        heads=HEADS,
        head=head,
        extras={"valence": np.linspace(-1, 1, len(track), dtype=np.float32)},
    )
    check_rows(timeline, times)
    assert timeline.observed[track.frame_indices].all()
    assert not timeline.observed[: track.frame_indices[0]].any()
    assert not np.isnan(timeline.extras["valence"][timeline.observed]).any()
    assert timeline.emotion is not None


@examples(30)
@given(clocks())
def test_a_timeline_without_a_face_knows_nothing_in_any_frame(times: np.ndarray) -> None:
    timeline = empty_timeline(make_info(len(times)), times=times, heads=HEADS, head="A", extras=("arousal",))
    check_rows(timeline, times)
    assert timeline.coverage == 0.0
    assert timeline.emotion is None


@pytest.mark.parametrize("leap", [1e15, 9.2e18])
def test_a_leap_in_time_gives_the_frames_before_and_after_it_at_once(leap: float) -> None:
    times = [0.0, 0.2, 0.35, leap, leap + 4096]
    assert [frame.index for frame in sample_by_time(Frame(i, t, None) for i, t in enumerate(times))] == [0, 1, 2, 3, 4]
