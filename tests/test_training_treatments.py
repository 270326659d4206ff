"""A baseline is taken off clips as an analysis does it, and never contains the clip itself."""

from dataclasses import replace

import numpy as np
import pytest

from emo_affectnet.baseline import find_person_baseline, find_run_baseline, pool_rests
from emo_affectnet.emotions import Emotion
from emo_affectnet.training.features import ClipFeatures
from emo_affectnet.training.readers import read_by_averaging
from emo_affectnet.training.treatments import System, list_others, read_probabilities, take_off_person, take_off_run

REFERENCE = np.zeros(512)


def make_clip(speaker: str, number: int, *, own: float, expression: float, has_face: bool = True) -> ClipFeatures:
    """Return a clip of five samples: the face of a person, `own`, with an `expression` of Anger on it."""
    count = 5 if has_face else 0
    features = np.zeros((count, 512), np.float32)
    features[:, Emotion.Sadness], features[:, Emotion.Anger] = own, expression
    indices = np.arange(count) * 6
    mass = np.zeros((count, 7), np.float32)
    return ClipFeatures(f"{speaker}{number}", speaker, Emotion.Anger, indices / 30, features, mass, indices)


def classify(features: np.ndarray) -> np.ndarray:
    """Return the softmax of the first seven features."""
    powers = np.exp(features[..., :7])
    return (powers / powers.sum(axis=-1, keepdims=True)).astype(np.float32)


@pytest.fixture
def system() -> System:
    """Two people whose faces at rest look sad, the second less so; the last clip of the second has no face."""
    clips = [make_clip("a", number, own=3.0, expression=float(number == 0)) for number in range(4)]
    clips += [
        make_clip("b", number, own=2.0, expression=float(number == 0), has_face=number < 2) for number in range(3)
    ]
    reader = read_by_averaging(classify)
    return System("faces", tuple(clips), tuple(reader(clips)), reader)


def test_a_clip_is_never_among_the_others_of_its_person(system: System) -> None:
    others = list_others(system)
    assert others == [[1, 2, 3], [0, 2, 3], [0, 1, 3], [0, 1, 2], [5], [4], [4, 5]]  # none without a face
    few = list_others(system, count=2)
    assert all(set(some) <= set(every) for some, every in zip(few, others, strict=True))
    assert [len(some) for some in few] == [2, 2, 2, 2, 1, 1, 2]
    assert few == list_others(system, count=2)
    one = list_others(system, count=1)
    assert all(set(first) <= set(some) for first, some in zip(one, few, strict=True))  # the draws are nested


def test_the_run_is_taken_off_as_an_analysis_takes_it_off(system: System) -> None:
    baseline = find_run_baseline([rest for rest in system.rests if rest])
    found = take_off_run(system)
    np.testing.assert_allclose(found[0].means, baseline.adjust(system.readings[0].means), atol=1e-6)
    assert np.isnan(found[-1].means).all()


def test_features_are_moved_by_the_persons_other_clips_and_then_read_again(system: System) -> None:
    found = take_off_person(system, reference=REFERENCE)
    assert system.readings[0].means.argmax() == Emotion.Sadness
    assert found[0].means.argmax() == Emotion.Anger
    assert system.reader is not None
    left = []
    for position, others, share in ((0, (1, 2, 3), 3 / 7), (4, (5,), 1 / 5)):  # shrunk: k / (k + 4)
        own = np.mean([system.clips[each].features.mean(axis=0) for each in others], axis=0)
        clip = replace(system.clips[position], features=system.clips[position].features - np.float32(share) * own)
        taken = np.log(system.reader([clip])[0].reported[0]) - np.log(found[position].reported[0])
        left.append(taken - taken.mean())
    np.testing.assert_allclose(left[0], left[1], atol=1e-5)  # what all recordings of the run have in common
    assert np.ptp(left[0]) > 0.1


def test_without_features_the_log_probabilities_go_towards_the_persons_own(system: System) -> None:
    readings = tuple(read_probabilities(None if np.isnan(each.means).any() else each.means) for each in system.readings)
    peer = System("peer", system.clips, readings, None)
    found = take_off_person(peer, reference=REFERENCE)
    rests = [rest for rest in peer.rests if rest]
    own = pool_rests([rest for rest in peer.rests[1:4] if rest])
    expected = find_person_baseline(own, run=pool_rests(rests), reference=None).adjust(readings[0].means)
    np.testing.assert_allclose(found[0].means, expected, atol=1e-6)
    assert np.isnan(found[-1].means).all()


def test_a_person_who_is_in_no_other_clip_has_the_runs_baseline(system: System) -> None:
    clips = (*system.clips, make_clip("c", 0, own=1.0, expression=1.0))
    assert system.reader is not None
    whole = System("faces", clips, tuple(system.reader(clips)), system.reader)
    np.testing.assert_allclose(
        take_off_person(whole, reference=None)[-1].means, take_off_run(whole)[-1].means, atol=1e-6
    )
