"""The simulated corpora: the same seed gives the same clips, and each keeps the character of its namesake."""

from dataclasses import replace

import numpy as np
import pytest

from emo_affectnet.emotions import Emotion
from emo_affectnet.errors import CorpusError, UnknownName
from emo_affectnet.training.features import ClipFeatures, CorpusFeatures, cut_windows
from emo_affectnet.training.simulate import CHARACTERS, COURSES, VISIBLE, FaceFeatures, simulate_corpus
from emo_affectnet.weights import CORPUS_NAMES


def make_faces(*, faces_per_emotion: int = 12, seed: int = 0) -> FaceFeatures:
    """Return random features; each emotion lights up its own 40 of the 512, Neutral none."""
    rng = np.random.default_rng(seed)
    labels = np.repeat(np.arange(len(Emotion)), faces_per_emotion)
    features = rng.normal(0.2, 0.2, (len(labels), 512))
    for emotion in list(Emotion)[1:]:
        features[labels == emotion, 40 * emotion : 40 * emotion + 40] += 2.0
    variation = rng.normal(0, 0.3, (20, 512)).astype(np.float32)
    return FaceFeatures(np.maximum(features, 0).astype(np.float32), labels, variation)


FACES = make_faces()


def strength(clip: ClipFeatures, emotion: Emotion) -> np.ndarray:
    """Return how strongly each sample shows an emotion, 0-1, from the features that only it lights up."""
    return clip.features[:, 40 * emotion : 40 * emotion + 40].mean(axis=1) / 2


@pytest.fixture(scope="module", params=CORPUS_NAMES)
def corpus(request: pytest.FixtureRequest) -> CorpusFeatures:
    return simulate_corpus(request.param, FACES, clips=60, seed=3)


def test_every_corpus_of_the_study_has_a_character():
    assert tuple(CHARACTERS) == CORPUS_NAMES


@pytest.mark.parametrize("name", CORPUS_NAMES)
def test_a_character_gives_its_reason_and_shares_that_add_up(name):
    character = CHARACTERS[name]
    assert character.reason.endswith(".")
    assert sum(character.courses.values()) == pytest.approx(1)
    assert set(character.courses) <= {*COURSES, "drift", "still"}


def test_the_same_seed_gives_the_same_clips_and_another_gives_others(corpus):
    again = simulate_corpus(corpus.name, FACES, clips=60, seed=3)
    other = simulate_corpus(corpus.name, FACES, clips=60, seed=4)
    for clip, same in zip(corpus.clips, again.clips, strict=True):
        np.testing.assert_array_equal(clip.features, same.features)
        np.testing.assert_array_equal(clip.mass, same.mass)
        assert (clip.label, clip.speaker) == (same.label, same.speaker)
    assert any(not np.array_equal(a.features, b.features) for a, b in zip(corpus.clips, other.clips, strict=True))


def test_corpora_of_one_seed_share_no_speaker(monkeypatch):
    monkeypatch.setitem(CHARACTERS, "SAVEE", CHARACTERS["RAVDESS"])
    first, second = (simulate_corpus(name, FACES, clips=5, seed=0) for name in ("RAVDESS", "SAVEE"))
    assert not np.array_equal(first.clips[0].features, second.clips[0].features)


def test_features_are_float32_and_never_negative(corpus):
    for clip in corpus.clips:
        assert clip.features.dtype == np.float32
        assert clip.features.shape == (len(clip.times), 512)
        assert clip.features.min() >= 0


def test_clips_last_as_long_as_the_character_says(corpus):
    shortest, longest = CHARACTERS[corpus.name].seconds
    for clip in corpus.clips:
        assert np.all(np.diff(clip.times) > 0)
        assert clip.times[-1] <= longest - 0.2 + 0.1  # the first sample is at 0 s; counts are rounded
        if CHARACTERS[corpus.name].missing == 0:
            assert clip.times[-1] >= shortest - 0.2 - 0.1


def test_cremad_has_no_surprise():
    corpus = simulate_corpus("CREMA-D", FACES, clips=400, seed=1)
    assert sorted(set(corpus.labels)) == [emotion for emotion in Emotion if emotion != Emotion.Surprise]
    assert Emotion.Surprise not in cut_windows(corpus).labels


def test_ravdess_has_half_as_many_neutral_clips_as_of_any_other_emotion():
    labels = simulate_corpus("RAVDESS", FACES, clips=2000, seed=0).labels
    assert np.bincount(labels)[Emotion.Neutral] / len(labels) == pytest.approx(96 / 1248, abs=0.02)


def test_iemocap_is_weaker_than_savee():
    def strongest(name: str) -> float:
        clips = [clip for clip in simulate_corpus(name, FACES, clips=200, seed=0).clips if len(set(clip.times)) > 1]
        moving = [clip for clip in clips if clip.features.std(axis=0).max() > 0 and clip.label != Emotion.Neutral]
        return float(np.median([strength(clip, Emotion(clip.label)).max() for clip in moving]))

    assert strongest("IEMOCAP") < 0.75 * strongest("SAVEE")


def test_an_apex_rises_to_one_and_falls_again():
    progress = np.linspace(0, 1, 21)
    course = COURSES["apex"](progress, np.random.default_rng(0))
    assert course.max() == pytest.approx(1)
    assert course[0] == course[-1] == course.min() < 0.5


def test_ramps_go_one_way():
    progress = np.linspace(0, 1, 21)
    assert np.all(np.diff(COURSES["rise"](progress, np.random.default_rng(0))) > 0)
    assert np.all(np.diff(COURSES["fall"](progress, np.random.default_rng(0))) < 0)


def test_every_corpus_holds_faces_that_do_not_move_at_all(corpus):
    frozen = [clip for clip in corpus.clips if len(clip.times) > 5 and np.ptp(clip.features, axis=0).max() == 0]
    assert 0 < len(frozen) < len(corpus.clips) / 3
    assert all((FACES.features == clip.features[0]).all(axis=1).any() for clip in frozen)


def test_neutral_clips_vary_but_show_less_than_a_visible_emotion_most_of_the_time():
    clips = [clip for clip in simulate_corpus("SAVEE", FACES, clips=300, seed=0).clips if clip.label == Emotion.Neutral]
    shown = np.concatenate(
        [np.max([strength(clip, emotion) for emotion in list(Emotion)[1:]], axis=0) for clip in clips]
    )
    assert np.mean(shown < VISIBLE + 0.1) > 0.75  # 0.1 is what Neutral faces light up by chance; the rest is speech


def make_look_alikes() -> FaceFeatures:
    """Return faces whose neutral ones have three looks, each lighting up its own 10 of the first 30 features."""
    faces = make_faces(faces_per_emotion=60)
    for look in range(3):
        faces.features[look:60:3, 10 * look : 10 * look + 10] += 2.0
    return faces


def look_of(clips: list[ClipFeatures]) -> np.ndarray:
    """Return how strongly each clip shows each of the three looks, (clips, 3)."""
    return np.array([clip.features[:, :30].mean(axis=0).reshape(3, 10).mean(axis=1) for clip in clips])


def test_one_speaker_keeps_one_resting_face():
    clips = simulate_corpus("SAVEE", make_look_alikes(), clips=600, seed=0).clips
    moving = [c for c in clips if c.label == Emotion.Neutral and np.ptp(c.features, axis=0).max() > 0]
    looks, speakers = look_of(moving).argmax(axis=1), np.array([clip.speaker for clip in moving])
    for speaker in np.unique(speakers):
        assert (
            np.mean(looks[speakers == speaker] == np.bincount(looks[speakers == speaker]).argmax()) > 0.9
        )  # label noise


def test_an_expressive_face_keeps_some_of_its_speakers_look(monkeypatch):
    strong = replace(CHARACTERS["SAVEE"], peak=(1.0, 1.0), courses={"hold": 1.0}, speech=0.0, label_noise=0.0)

    def own_look(identity: float) -> float:
        monkeypatch.setitem(CHARACTERS, "SAVEE", replace(strong, identity=identity))
        clips = [c for c in simulate_corpus("SAVEE", make_look_alikes(), clips=100, seed=0).clips if c.label != 0]
        return float(look_of(clips).max(axis=1).mean())

    assert own_look(0.8) > own_look(0.0) + 0.5


def test_a_corpus_that_loses_faces_has_gaps_and_one_that_does_not_has_none():
    def gaps(name: str) -> int:
        return sum(
            int(np.any(np.diff(clip.times) > 0.3)) for clip in simulate_corpus(name, FACES, clips=80, seed=0).clips
        )

    assert gaps("Aff-Wild2") > 10
    assert gaps("RAVDESS") == gaps("SAVEE") == 0


def test_label_noise_gives_some_clips_the_label_of_another_emotion():
    clips = simulate_corpus("CREMA-D", FACES, clips=600, seed=0).clips
    frozen = [clip for clip in clips if np.ptp(clip.features, axis=0).max() == 0]
    faces = [np.flatnonzero((FACES.features == clip.features[0]).all(axis=1))[0] for clip in frozen]
    wrong = np.mean([FACES.labels[face] != clip.label for face, clip in zip(faces, frozen, strict=True)])
    assert 0 < wrong < 0.25  # 8 % of the clips, of which about sixty are frozen


def clip_of(*spans: tuple[Emotion, float, int]) -> ClipFeatures:
    """Return a clip whose samples have the given mass: (emotion, mass of a sample, samples)."""
    mass = np.concatenate([np.tile(np.eye(7, dtype=np.float32)[emotion] * each, (n, 1)) for emotion, each, n in spans])
    features = np.arange(len(mass), dtype=np.float32)[:, None].repeat(512, axis=1)
    return ClipFeatures("clip", "speaker", int(mass.sum(axis=0).argmax()), np.arange(len(mass)) / 5, features, mass)


def test_windows_start_every_five_samples_and_the_tail_repeats_its_last():
    windows = cut_windows(CorpusFeatures("SAVEE", (clip_of((Emotion.Anger, 1.0, 12)),)))
    assert windows.features[:, :, 0].tolist() == [
        [0, 1, 2, 3, 4, 5, 6, 7, 8, 9],
        [5, 6, 7, 8, 9, 10, 11, 11, 11, 11],
        [10, 11, 11, 11, 11, 11, 11, 11, 11, 11],
    ]


def test_no_window_reaches_across_a_long_absence():
    clip = clip_of((Emotion.Anger, 1.0, 8))
    times = np.where(np.arange(8) < 4, clip.times, clip.times + 3.0)
    windows = cut_windows(CorpusFeatures("SAVEE", (replace(clip, times=times),)))
    assert windows.features[:, -1, 0].tolist() == [3, 7, 7][: len(windows)]
    assert windows.features[0, :, 0].max() == 3


def test_a_window_across_a_change_has_the_emotion_with_more_mass():
    corpus = CorpusFeatures(
        "Aff-Wild2",
        (
            clip_of((Emotion.Fear, 1.0, 6), (Emotion.Anger, 1.0, 4)),
            clip_of((Emotion.Fear, 0.7, 5), (Emotion.Anger, 1.4, 5)),
        ),
    )
    windows = cut_windows(corpus)
    assert windows.labels[windows.clips == 0].tolist() == [Emotion.Fear, Emotion.Anger]
    assert windows.labels[windows.clips == 1][0] == Emotion.Anger


def test_a_weak_expression_held_is_labelled_as_the_expression():
    corpus = simulate_corpus("IEMOCAP", FACES, clips=200, seed=0)
    windows = cut_windows(corpus)
    weak = [
        position
        for position, clip in enumerate(corpus.clips)
        if clip.mass.max() < 0.5 + 0.4 and np.all(clip.mass.argmax(axis=1) == clip.label) and clip.label != 0
    ]
    assert len(weak) > 10
    for position in weak:
        assert set(windows.labels[windows.clips == position]) == {corpus.clips[position].label}


def test_an_unknown_name_is_answered_with_the_valid_ones():
    with pytest.raises(UnknownName, match="Aff-Wild2, CREMA-D"):
        simulate_corpus("AFEW", FACES, clips=1, seed=0)


def test_faces_without_an_emotion_are_refused_by_its_name():
    rows = FACES.labels != Emotion.Disgust
    with pytest.raises(CorpusError, match="Disgust"):
        simulate_corpus("SAVEE", FaceFeatures(FACES.features[rows], FACES.labels[rows]), clips=1, seed=0)
