"""What a person reads as on average, and what is taken off because of it."""

import json

import numpy as np
import pytest

from emo_affectnet.baseline import (
    KINDS,
    SECONDS_AS_RECORDING,
    SHRINKAGE,
    Baseline,
    Rest,
    RunningRest,
    find_feature_shift,
    find_person_baseline,
    find_run_baseline,
    measure_rest,
    pool_rests,
    shrink,
)
from emo_affectnet.emotions import Emotion
from emo_affectnet.errors import UsageError

NEUTRAL_FACE = np.float32([0.88, 0.02, 0.02, 0.02, 0.02, 0.02, 0.02])
FROWNING_FACE = np.float32([0.48, 0.02, 0.02, 0.02, 0.02, 0.02, 0.42])  # somebody whose face at rest looks angry


def rest_of(face: np.ndarray, *, feature: float = 0.0, recordings: int = 1, seconds: float = 3.0) -> Rest:
    return Rest(np.full(512, feature), np.log(face.astype(np.float64)), recordings=recordings, seconds=seconds)


def test_a_rest_is_the_mean_of_features_and_of_log_probabilities() -> None:
    features = np.float32([[0.0] * 512, [2.0] * 512])
    rest = measure_rest(features, np.stack([NEUTRAL_FACE, FROWNING_FACE]), seconds=0.4)
    np.testing.assert_array_equal(rest.features, np.ones(512))
    assert rest.log_probabilities[Emotion.Anger] == pytest.approx((np.log(0.02) + np.log(0.42)) / 2)
    assert (rest.recordings, rest.seconds) == (1, 0.4)


def test_a_probability_of_zero_counts_as_a_millionth() -> None:
    certain = np.float32([[1, 0, 0, 0, 0, 0, 0]])
    rest = measure_rest(np.zeros((1, 512), np.float32), certain, seconds=0.2)
    np.testing.assert_allclose(rest.log_probabilities, [0, *[np.log(1e-6)] * 6])


def test_recordings_weigh_alike_however_long_they_are() -> None:
    short, long = rest_of(NEUTRAL_FACE, feature=1.0, seconds=3.0), rest_of(NEUTRAL_FACE, feature=4.0, seconds=300.0)
    pooled = pool_rests([short, long])
    np.testing.assert_allclose(pooled.features, np.full(512, 2.5))
    assert (pooled.recordings, pooled.seconds) == (2, 303.0)
    again = pool_rests([pooled, rest_of(NEUTRAL_FACE, feature=10.0)])
    np.testing.assert_allclose(again.features, np.full(512, 5.0))  # (1 + 4 + 10) / 3


def test_the_share_of_a_shift_grows_with_the_recordings_and_with_long_ones() -> None:
    assert [shrink(count) for count in (0, 1, 4, 16)] == [0.0, 0.2, 0.5, 0.8]
    assert shrink(1, seconds=3.0) == shrink(1)
    assert shrink(1, seconds=SHRINKAGE * SECONDS_AS_RECORDING) == 0.5


def test_the_baseline_of_a_run_takes_off_what_all_its_recordings_read_as() -> None:
    rests = [rest_of(NEUTRAL_FACE) for _ in range(996)]
    baseline = find_run_baseline(rests)
    assert (baseline.kind, baseline.recordings, baseline.feature_shift) == ("run", 996, None)
    # 996 of 1000: what all recordings read as is nearly as good as no evidence
    np.testing.assert_allclose(baseline.adjust(NEUTRAL_FACE), np.full(7, 1 / 7), atol=0.003)
    slight_smile = np.float32([0.7, 0.2, 0.02, 0.02, 0.02, 0.02, 0.02])
    assert baseline.adjust(slight_smile).argmax() == Emotion.Happiness
    features = np.ones((2, 512), np.float32)
    assert baseline.move(features) is features


def test_a_run_of_a_single_short_recording_hardly_moves_it() -> None:
    adjusted = find_run_baseline([rest_of(NEUTRAL_FACE)]).adjust(NEUTRAL_FACE)
    expected = NEUTRAL_FACE**0.8 / (NEUTRAL_FACE**0.8).sum()  # a fifth of the shift: p / p ** 0.2
    np.testing.assert_allclose(adjusted, expected, rtol=1e-5)


def test_a_person_is_moved_towards_the_mean_of_all_people() -> None:
    own = rest_of(NEUTRAL_FACE, feature=1.0, recordings=4)
    reference = np.full(512, 3.0)
    baseline = find_person_baseline(own, run=rest_of(NEUTRAL_FACE, recordings=100), reference=reference)
    np.testing.assert_array_equal(baseline.feature_shift, np.ones(512, np.float32))  # half of the way
    np.testing.assert_array_equal(baseline.move(np.ones((2, 512), np.float32)), np.full((2, 512), 2.0, np.float32))
    assert (baseline.kind, baseline.recordings, baseline.seconds) == ("person", 4, 3.0)


def test_a_backbone_without_a_mean_moves_log_probabilities_alone() -> None:
    run = rest_of(NEUTRAL_FACE, recordings=10_000)
    own = rest_of(FROWNING_FACE, recordings=10_000)
    baseline = find_person_baseline(own, run=run, reference=None)
    assert baseline.feature_shift is None
    assert find_feature_shift(own, None) is None
    angrier = np.float32([0.4, 0.02, 0.02, 0.02, 0.02, 0.02, 0.5])
    np.testing.assert_allclose(baseline.adjust(FROWNING_FACE), np.full(7, 1 / 7), atol=1e-3)
    assert baseline.adjust(angrier)[Emotion.Anger] < find_run_baseline([run]).adjust(angrier)[Emotion.Anger]


def test_adjusted_probabilities_sum_to_one_and_unknown_ones_stay_unknown() -> None:
    rows = np.stack([NEUTRAL_FACE, np.full(7, np.nan, np.float32), FROWNING_FACE])
    adjusted = find_run_baseline([rest_of(NEUTRAL_FACE, recordings=8)]).adjust(np.stack([rows, rows]))
    assert adjusted.dtype == np.float32
    np.testing.assert_allclose(adjusted[:, [0, 2]].sum(axis=2), 1, atol=1e-6)
    assert np.isnan(adjusted[:, 1]).all()


def test_a_rest_survives_json_to_the_last_bit() -> None:
    noise = np.random.default_rng(0)
    rest = Rest(noise.normal(size=512), noise.normal(size=7), recordings=3, seconds=0.1)
    again = Rest.from_json(json.loads(json.dumps(rest.to_json())))
    np.testing.assert_array_equal(again.features, rest.features)
    np.testing.assert_array_equal(again.log_probabilities, rest.log_probabilities)
    assert (again.recordings, again.seconds) == (3, 0.1)


@pytest.mark.parametrize("kind", KINDS)
def test_a_baseline_says_what_it_takes_off_and_what_it_rests_on(kind: str) -> None:
    told = Baseline(kind, np.zeros(512), np.arange(7), recordings=1, seconds=63.25).describe()
    assert (told["kind"], told["recordings"], told["seconds"], told["moves_features"]) == (kind, 1, 63.25, True)
    assert told["log_shift"]["Surprise"] == 3.0
    assert len(told["sha256"]) == 64


def test_a_baseline_in_words_names_recordings_and_seconds() -> None:
    assert find_run_baseline([rest_of(NEUTRAL_FACE)] * 2).words == "the run: 2 recordings, 6.0 s"
    own = find_person_baseline(rest_of(NEUTRAL_FACE), run=None, reference=None)
    assert own.words == "the person: 1 recording, 3.0 s"


def test_what_is_taken_off_has_another_hash_as_soon_as_it_differs() -> None:
    one = find_run_baseline([rest_of(NEUTRAL_FACE)])
    assert one.sha256 == find_run_baseline([rest_of(NEUTRAL_FACE)]).sha256
    assert one.sha256 != find_run_baseline([rest_of(FROWNING_FACE)]).sha256
    assert one.sha256 != find_run_baseline([rest_of(NEUTRAL_FACE, seconds=4.0)]).sha256


@pytest.mark.parametrize(
    ("attempt", "words"),
    [
        # nobody was seen
        (lambda: measure_rest(np.empty((0, 512), np.float32), np.empty((0, 7), np.float32), seconds=0.0), "not seen"),
        (lambda: pool_rests([]), "there is none"),
        # a record of another backbone
        (lambda: find_feature_shift(rest_of(NEUTRAL_FACE), np.zeros(1280)), "1280 features"),
        # numbers that are none
        (lambda: Rest(np.full(512, np.nan), np.zeros(7), recordings=1, seconds=1.0), "features should be"),
        (lambda: Rest(np.zeros(512), np.zeros(8), recordings=1, seconds=1.0), "7 finite numbers"),
        (lambda: pool_rests([Rest(np.zeros(512), np.zeros(7), recordings=0, seconds=1.0)]), "there is none"),
        (lambda: Baseline("guess", None, np.zeros(7), recordings=1, seconds=1.0), "one of run, person, rest"),
        (lambda: Baseline("run", None, np.zeros(7), recordings=1, seconds=-1.0), "not on 1 and -1.0 s"),
    ],
)
def test_what_gives_no_baseline_is_refused(attempt: object, words: str) -> None:
    with pytest.raises(UsageError, match=words):
        attempt()  # type: ignore[operator] # each row is a call without parameters


def test_little_of_a_person_moves_little_and_a_minute_half_of_the_way() -> None:
    running, reference = RunningRest(), np.full(512, 3.0)
    dull = np.ones(512, np.float32)
    first = running.see(dull, time=0.0, reference=reference, longest=1.0)
    np.testing.assert_array_equal(first, np.zeros(512))
    for second in range(1, 61):
        shift = running.see(dull, time=float(second), reference=reference, longest=1.0)
        baseline = running.settle(NEUTRAL_FACE, reference=reference)
    np.testing.assert_allclose(shift, np.full(512, 1.0))  # half of the way from 1 to 3
    assert baseline.seconds == 60.0
    np.testing.assert_array_equal(baseline.feature_shift, shift)


def test_time_away_does_not_count_as_seen() -> None:
    running = RunningRest()
    for time in (0.0, 0.5, 100.0, 100.5):
        running.see(np.ones(512, np.float32), time=time, reference=None, longest=1.0)
    assert running.settle(NEUTRAL_FACE, reference=None).seconds == 1.0
