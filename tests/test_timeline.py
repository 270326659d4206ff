"""Sampling, windows and their spread follow the published rules; absences are shown as absences."""

import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from emo_affectnet.answers import modal_emotion
from emo_affectnet.emotions import Emotion
from emo_affectnet.timeline import (
    MAX_GAP,
    FaceTrack,
    Timeline,
    average,
    build_timeline,
    empty_timeline,
    find_observed,
    hold,
    sample_by_time,
    sample_frames,
    sample_stride,
    slide,
    split_at_gaps,
    spread,
    window_rows,
)
from emo_affectnet.video import Frame, VideoInfo

RATES = (5, 10, 12, 12.5, 15, 20, 23.976, 24, 25, 29.97, 30, 48, 50, 60)


def published_report(fps: float, total: int, window_vectors) -> tuple[list[int], dict[int, np.ndarray]]:  # type: ignore[no-untyped-def]
    """Return the published sample numbers and per-frame values, both 1-based, with a face in every frame.

    A literal transcription of the published run.py as the project's notes describe it: numpy's round, a list of
    samples, windows sliced from it, a table of (frame, vector) rows averaged by frame, the tail filled with the last
    vector. It shares no code with the package. `window_vectors(k)` is the head's answer to window k.
    """
    rate = np.round(fps)
    step = round(5 * rate / 25)
    step = step if step > 0 else 1  # the original fails here
    samples = list(range(1, total + 1, step))
    windows = []
    for start in range(0, len(samples) + 1, 5):
        window = samples[start : start + 10]
        if not window:
            continue
        while len(window) < 10:
            window.append(window[-1])
        windows.append(window)
    rows: dict[int, list[np.ndarray]] = {}
    for k, window in enumerate(windows):
        for frame in range(window[0], window[-1] + 1):
            rows.setdefault(frame, []).append(window_vectors(k))
    values = {frame: sum(vectors) / len(vectors) for frame, vectors in rows.items()}
    for frame in range(samples[-1] + 1 if samples else 1, total + 1):
        values[frame] = window_vectors(len(windows) - 1)
    return samples, values


def make_frames(times: list[float]) -> list[Frame]:
    image = np.zeros((2, 2, 3), np.uint8)
    return [Frame(index, time, image) for index, time in enumerate(times)]


def make_info(*, fps: float | None, is_constant_rate: bool = True, frame_count: int | None = None) -> VideoInfo:
    from pathlib import Path

    return VideoInfo(Path("clip.mp4"), 64, 48, fps, None, frame_count, False, is_constant_rate)


def make_track(indices: list[int], *, fps: float = 25, features: np.ndarray | None = None) -> FaceTrack:
    count = len(indices)
    return FaceTrack(
        track_id=1,
        frame_indices=np.array(indices, dtype=np.int64),
        times=np.array(indices, dtype=np.float64) / fps,
        boxes=np.tile(np.array([10, 20, 30, 40], np.float32), (count, 1)),
        scores=np.full(count, 0.9, np.float32),
        features=np.zeros((count, 512), np.float32) if features is None else features,
    )


def random_vectors(count: int, *, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).dirichlet(np.ones(7), size=count).astype(np.float32)


@pytest.mark.parametrize(
    ("fps", "stride"),
    # The examples of the published notes, and rates at which the original stops with an error.
    [(10, 2), (12, 2), (12.5, 2), (15, 3), (20, 4), (23.976, 5), (24, 5), (25, 5), (29.97, 6), (30, 6), (48, 10)]
    + [(50, 10), (60, 12), (5, 1), (2, 1), (1, 1), (0.5, 1), (120, 24)],
)
def test_stride_is_the_published_one(fps: float, stride: int) -> None:
    assert sample_stride(fps) == stride


@pytest.mark.parametrize("fps", RATES)
def test_samples_windows_and_frames_are_the_published_ones_for_every_sample_count(fps: float) -> None:
    stride = sample_stride(fps)
    for sample_count in range(61):
        for surplus in {0, stride // 2, stride - 1} if sample_count else {0}:
            total = (sample_count - 1) * stride + 1 + surplus if sample_count else 0
            vectors = random_vectors(20, seed=sample_count)
            published, values = published_report(fps, total, lambda k, vectors=vectors: vectors[k])

            frames = make_frames([index / fps for index in range(total)])
            sampled = list(sample_frames(frames, make_info(fps=fps)))
            assert [frame.index + 1 for frame in sampled] == published

            windows = slide(make_track([frame.index for frame in sampled], fps=fps))
            spreaded = spread(windows, vectors[: len(windows)], frame_count=total)
            assert len(spreaded) == total == len(values)
            expected = np.array([values[frame] for frame in range(1, total + 1)]).reshape(-1, 7)
            np.testing.assert_allclose(spreaded, expected, atol=1e-6)


@pytest.mark.parametrize(("count", "windows"), [(0, 0), (1, 1), (5, 1), (6, 2), (10, 2), (11, 3), (15, 3), (16, 4)])
def test_a_window_starts_at_every_fifth_sample(count: int, windows: int) -> None:
    assert len(window_rows(count)) == windows


def test_tail_window_repeats_last_sample() -> None:
    assert window_rows(11)[-1].tolist() == [10] * 10
    assert window_rows(8).tolist() == [[0, 1, 2, 3, 4, 5, 6, 7, 7, 7], [5, 6, 7, 7, 7, 7, 7, 7, 7, 7]]


def test_windows_carry_the_features_of_their_samples() -> None:
    features = np.arange(7, dtype=np.float32)[:, None].repeat(512, axis=1)
    windows = slide(make_track([0, 5, 10, 15, 20, 25, 30], features=features))
    assert windows.features.shape == (2, 10, 512)
    assert windows.features[1, :, 0].tolist() == [5, 6, 6, 6, 6, 6, 6, 6, 6, 6]
    assert (windows.first.tolist(), windows.last.tolist()) == ([0, 25], [30, 30])


def test_variable_rate_samples_the_frame_nearest_to_each_fifth_of_a_second() -> None:
    times = [0.0, 0.07, 0.19, 0.26, 0.33, 0.52, 0.58, 0.71, 0.83, 0.99, 1.02]
    # Nearest to 0, 0.2, 0.4, 0.6, 0.8 and 1.0 s: 0.0, 0.19, 0.33, 0.58, 0.83 and 0.99.
    assert [frame.time for frame in sample_by_time(make_frames(times))] == [0.0, 0.19, 0.33, 0.58, 0.83, 0.99]


def test_variable_rate_never_takes_a_frame_twice_even_across_a_hole() -> None:
    times = [0.0, 0.1, 0.2, 3.0, 3.1, 3.2, 3.3]
    assert [frame.time for frame in sample_by_time(make_frames(times))] == [0.0, 0.2, 3.0, 3.2]


@given(st.lists(st.floats(0.001, 30.0), min_size=1, max_size=30), st.sampled_from([5, 30]))
@settings(deadline=None)
def test_variable_rate_takes_what_a_look_at_every_fifth_of_a_second_takes(gaps: list[float], hz: int) -> None:
    times = np.cumsum([0.7, *gaps]).tolist()
    taken: list[int] = []
    for target in (times[0] + due / hz for due in itertools.count()):
        if target > times[-1]:
            break
        after = next(index for index, time in enumerate(times) if target <= time)
        nearest = after - 1 if after and target - times[after - 1] <= times[after] - target else after
        taken += [nearest] if nearest > max(taken, default=-1) else []
    assert [frame.index for frame in sample_by_time(make_frames(times), hz=hz)] == taken


def test_a_clock_that_jumps_by_millions_of_years_is_sampled_at_once() -> None:
    """The loop over every 0.2 s of a hole did not end for a matroska file with one broken number."""
    times = [0.0, 0.04, 9e15, 9e15 + 40, 9e15 + 80]
    assert [frame.time for frame in sample_by_time(make_frames(times))] == [0.0, 0.04, *times[2:]]


def test_variable_rate_counts_from_the_first_frame_not_from_zero() -> None:
    assert [frame.time for frame in sample_by_time(make_frames([7.05, 7.15, 7.25, 7.35, 7.45]))] == [7.05, 7.25, 7.45]


def test_variable_rate_is_used_when_the_rate_is_unknown() -> None:
    frames = make_frames([0.0, 0.2])
    assert len(list(sample_frames(frames, make_info(fps=None)))) == 2


@given(st.lists(st.floats(0.001, 2.0), min_size=1, max_size=60))
@settings(deadline=None)
def test_variable_rate_samples_rise_and_are_about_a_fifth_of_a_second_apart(gaps: list[float]) -> None:
    times = np.cumsum([0.0, *gaps]).tolist()
    sampled = [frame.time for frame in sample_by_time(make_frames(times))]
    assert sampled == sorted(set(sampled))
    for target in np.arange(0, times[-1], 0.2):
        nearest = min(abs(time - target) for time in times)
        assert min(abs(time - target) for time in sampled) <= nearest + 1e-9


def test_no_window_reaches_across_an_absence() -> None:
    # Sightings at 0-1.8 s and, after 2.2 s away, at 4.0-4.8 s.
    track = make_track([*range(0, 50, 5), *range(100, 125, 5)])
    windows = slide(track)
    assert [(int(a), int(b)) for a, b in zip(windows.first, windows.last, strict=True)] == [
        (0, 45),
        (25, 45),
        (100, 120),
    ]


def test_a_short_loss_is_bridged_and_a_long_one_is_not() -> None:
    assert split_at_gaps(np.array([0.0, 0.2, 0.2 + MAX_GAP])) == [slice(0, 3)]
    assert split_at_gaps(np.array([0.0, 0.2, 0.21 + MAX_GAP])) == [slice(0, 2), slice(2, 3)]
    assert split_at_gaps(np.array([])) == []


def test_a_frame_is_observed_until_the_next_sample_without_the_face() -> None:
    samples = np.arange(0, 60, 5)
    track = make_track([10, 15, 20])
    observed = find_observed(track, samples=samples, frame_count=58)
    assert np.flatnonzero(observed).tolist() == list(range(10, 25))


def test_the_last_sighting_holds_to_the_end_of_the_video() -> None:
    observed = find_observed(make_track([50, 55]), samples=np.arange(0, 60, 5), frame_count=58)
    assert np.flatnonzero(observed).tolist() == list(range(50, 58))


def build(track: FaceTrack, *, frame_count: int, by_head: list[np.ndarray], head: str = "ensemble") -> Timeline:
    windows = slide(track)
    return build_timeline(
        make_info(fps=25),
        track,
        times=np.arange(frame_count) / 25,
        samples=np.arange(0, frame_count, 5),
        windows=windows,
        window_probabilities=np.stack(by_head),
        heads=tuple("ABCDEF"[: len(by_head)]),
        head=head,
        extras={},
    )


def certain(emotion: Emotion, *, windows: int) -> np.ndarray:
    """Return window probabilities (W, 7) of 0.7 for one emotion."""
    vector = np.full((windows, 7), 0.05, np.float32)
    vector[:, emotion] = 0.7
    return vector


def test_rows_without_a_face_are_unknown_and_the_others_sum_to_one() -> None:
    track = make_track([*range(0, 50, 5), *range(100, 125, 5)])
    timeline = build(track, frame_count=150, by_head=[random_vectors(3)])
    assert np.flatnonzero(timeline.observed).tolist() == [*range(50), *range(100, 125)]
    assert np.isnan(timeline.probabilities[~timeline.observed]).all()
    np.testing.assert_allclose(timeline.probabilities[timeline.observed].sum(axis=1), 1, atol=1e-6)
    assert timeline.coverage == pytest.approx(75 / 150)
    assert (timeline.emotions[~timeline.observed] == -1).all()


def test_agreement_is_the_share_of_heads_with_the_reported_emotion() -> None:
    heads = [certain(Emotion.Fear, windows=1)] * 4 + [certain(Emotion.Anger, windows=1)] * 2
    timeline = build(make_track([0, 5, 10]), frame_count=15, by_head=heads)
    np.testing.assert_allclose(timeline.agreement, 4 / 6)
    other = build(make_track([0, 5, 10]), frame_count=15, by_head=heads, head="F")
    assert other.emotion is Emotion.Anger
    np.testing.assert_allclose(other.agreement, 2 / 6)


def test_agreement_of_a_single_head_is_unknown() -> None:
    timeline = build(make_track([0, 5]), frame_count=10, by_head=[random_vectors(1)], head="A")
    assert np.isnan(timeline.agreement).all()


def test_ensemble_is_the_mean_over_the_heads() -> None:
    one, other = random_vectors(1, seed=1), random_vectors(1, seed=2)
    timeline = build(make_track([0, 5]), frame_count=10, by_head=[one, other])
    np.testing.assert_allclose(timeline.probabilities[3], (one + other)[0] / 2, atol=1e-6)


def test_boxes_move_evenly_between_sightings() -> None:
    track = FaceTrack(
        track_id=1,
        frame_indices=np.array([0, 5]),
        times=np.array([0.0, 0.2]),
        boxes=np.array([[0, 0, 10, 10], [10, 20, 20, 30]], np.float32),
        scores=np.array([0.5, 1.0], np.float32),
        features=np.zeros((2, 512), np.float32),
    )
    timeline = build(track, frame_count=8, by_head=[random_vectors(1)])
    np.testing.assert_allclose(timeline.boxes[2], [4, 8, 14, 18])
    np.testing.assert_allclose(timeline.boxes[7], [10, 20, 20, 30])
    np.testing.assert_allclose(timeline.scores[2], 0.7)


def test_the_published_vote_counts_windows() -> None:
    windows = np.zeros((3, 7), np.float32)
    windows[0, [0, 1]], windows[1, [0, 1]], windows[2, [0, 1]] = (0.55, 0.45), (0.55, 0.45), (0.05, 0.95)
    assert modal_emotion(windows) is Emotion.Neutral


def test_a_tied_vote_goes_to_the_first_emotion_in_order() -> None:
    assert modal_emotion(np.eye(7, dtype=np.float32)[[6, 3]]) is Emotion.Surprise


def test_a_video_without_a_face_has_a_full_length_of_unknown_rows() -> None:
    timeline = empty_timeline(make_info(fps=25), times=np.arange(9) / 25, heads=("A",), head="A")
    assert timeline.probabilities.shape == (9, 7)
    assert np.isnan(timeline.probabilities).all()
    assert (timeline.coverage, timeline.emotion, timeline.track_id) == (0.0, None, None)
    assert (timeline.mean_probabilities, timeline.peak) == (None, None)
    assert modal_emotion(timeline.reported_windows) is None


def test_tracks_and_timelines_refuse_values_that_cannot_be() -> None:
    with pytest.raises(ValueError, match="strictly rise"):
        make_track([0, 5, 5])
    with pytest.raises(ValueError, match="equally long"):
        make_track([0, 5], features=np.zeros((3, 512), np.float32))
    with pytest.raises(ValueError, match="sum to 1"):
        build(make_track([0, 5]), frame_count=10, by_head=[np.zeros((1, 7), np.float32)])


# Single faces, averaged


def test_single_faces_are_averaged_over_the_seconds_around_each() -> None:
    values = np.arange(6, dtype=np.float32)[:, None] ** 2  # 0 1 4 9 16 25, at 5 Hz
    means = average(values, np.arange(6) / 5, seconds=0.4)
    # one sample on each side; at the ends there is only one side
    np.testing.assert_allclose(means[:, 0], [1 / 2, 5 / 3, 14 / 3, 29 / 3, 50 / 3, 41 / 2], rtol=1e-6)


def test_no_seconds_leave_every_face_as_it_is() -> None:
    values = np.random.default_rng(0).random((7, 3), np.float32)
    np.testing.assert_allclose(average(values, np.arange(7) / 5, seconds=0), values, rtol=1e-6)


def test_an_average_does_not_reach_across_an_absence() -> None:
    times = np.array([0.0, 0.2, 3.0, 3.2])
    means = average(np.array([[1], [1], [5], [5]], np.float32), times, seconds=60)
    assert means[:, 0].tolist() == [1, 1, 5, 5]


def test_a_sample_is_held_until_the_next() -> None:
    track = FaceTrack(
        track_id=1,
        frame_indices=np.array([2, 5]),
        times=np.array([0.4, 1.0]),
        boxes=np.zeros((2, 4), np.float32),
        scores=np.ones(2, np.float32),
        features=np.zeros((2, 1280), np.float32),
    )
    held = spread(hold(track), np.array([[1.0], [2.0]], np.float32), frame_count=8)[:, 0]
    np.testing.assert_array_equal(held, [np.nan, np.nan, 1, 1, 1, 2, 2, 2])


@pytest.mark.parametrize(("fps", "stride"), [(29.97, 1), (25.0, 1), (60.0, 2), (120.0, 4), (5.0, 1)])
def test_dense_sampling_takes_thirty_frames_a_second_at_most(fps: float, stride: int) -> None:
    assert sample_stride(fps, hz=30) == stride
