"""Six simulated corpora in feature space, which stand in for the licensed ones that cannot be shipped.

Labelled still faces go in, as backbone features; clips come out: sequences of features at 5 Hz, each with a label and a
speaker. `CHARACTERS` is the one table of what makes a simulated corpus resemble its namesake. Nothing here was measured
on the real recordings beyond their published clip counts: call every result of it simulated.

A sample is a mixture of the speaker's neutral face and an expressive one. The backbone's classifier reads a mixture as
Neutral until the expression outweighs the face; a head has to learn that a weak expression held for two seconds is
still that expression, and that a face at rest, with its natural variation and while speaking, is Neutral.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

import numpy as np

from ..emotions import Emotion
from ..errors import CorpusError, check_name
from ..timeline import SAMPLE_HZ, Booleans, Doubles, Floats, Integers
from ..weights import CORPUS_NAMES, FEATURES
from .features import ClipFeatures, CorpusFeatures

VISIBLE = 0.2  # intensity under which a sample counts as Neutral
MAX_LEAN = 0.15  # how far a resting face may resemble another emotion, below VISIBLE
SPEECH_INTENSITY = (0.1, 0.4)  # of the other emotion that a speaking mouth brings in
VIEW_CHANGE = 0.6  # largest share of the change between two views of a face that a clip shows

Speaker = tuple[Floats, ...]  # faces, float32 (few, 512), for each emotion
Shape = Callable[[Doubles, np.random.Generator], Doubles]


@dataclass(frozen=True)
class FaceFeatures:
    """Backbone features of labelled still faces."""

    features: Floats  # float32 (N, 512), after the ReLU
    labels: Integers  # int64 (N,)
    variation: Floats = field(default_factory=lambda: np.zeros((1, FEATURES), np.float32))
    # float32 (M, 512), what another view of the same face adds to its features

    def __len__(self) -> int:
        return len(self.labels)


@dataclass(frozen=True)
class CorpusCharacter:
    """What a simulated corpus shares with its namesake."""

    reason: str
    seconds: tuple[float, float]  # of a clip
    speakers: int
    counts: Mapping[Emotion, float]  # clips or frames of each emotion, in any unit; a missing emotion never occurs
    courses: Mapping[str, float]  # share of the clips: COURSES, "drift" from emotion to emotion, "still" faces
    peak: tuple[float, float]  # intensity at the strongest sample
    speech: float  # share of the samples disturbed by a speaking mouth
    missing: float  # share of the samples without a detected face
    label_noise: float  # share of the clips with a wrong label
    identity: float  # how much of the speaker's own look an expressive face keeps


def _counts(*clips: float) -> dict[Emotion, float]:
    return {emotion: count for emotion, count in zip(Emotion, clips, strict=True) if count}


CHARACTERS: dict[str, CorpusCharacter] = {
    "Aff-Wild2": CorpusCharacter(
        reason="Web videos, half of them neutral, labelled per frame: emotions drift, are mild, and faces get lost.",
        seconds=(6.0, 16.0),
        speakers=60,
        counts=_counts(468_069, 245_031, 130_128, 68_077, 19_830, 24_412, 36_627),
        courses={"drift": 0.6, "hold": 0.2, "apex": 0.1, "still": 0.1},
        peak=(0.3, 0.85),
        speech=0.25,
        missing=0.08,
        label_noise=0.05,
        identity=0.6,
    ),
    "CREMA-D": CorpusCharacter(
        reason="Ninety-one actors speak briefly at up to three levels; viewers often miss the intended emotion.",
        seconds=(1.5, 3.5),
        speakers=91,
        counts=_counts(1087, 1271, 1271, 0, 1271, 1271, 1271),
        courses={"apex": 0.5, "rise": 0.2, "fall": 0.1, "hold": 0.1, "still": 0.1},
        peak=(0.3, 1.0),
        speech=0.3,
        missing=0.01,
        label_noise=0.08,
        identity=0.5,
    ),
    "IEMOCAP": CorpusCharacter(
        reason="Turns of long dialogues, seen from far away: weak, spontaneous, divided labels, hardly any disgust.",
        seconds=(1.5, 10.0),
        speakers=10,
        counts=_counts(1708, 1636, 1084, 107, 40, 2, 1103),
        courses={"hold": 0.4, "apex": 0.2, "drift": 0.15, "rise": 0.08, "fall": 0.07, "still": 0.1},
        peak=(0.25, 0.65),
        speech=0.35,
        missing=0.06,
        label_noise=0.1,
        identity=0.8,
    ),
    "RAMAS": CorpusCharacter(
        reason="Intervals of acted dialogues on which annotators agreed: medium strength, cut out of longer courses.",
        seconds=(2.0, 10.0),
        speakers=10,
        counts=_counts(1, 1, 1, 1, 1, 1, 1),
        courses={"hold": 0.3, "apex": 0.2, "drift": 0.2, "rise": 0.1, "fall": 0.1, "still": 0.1},
        peak=(0.35, 0.9),
        speech=0.3,
        missing=0.04,
        label_noise=0.08,
        identity=0.7,
    ),
    "RAVDESS": CorpusCharacter(
        reason="Actors before a plain wall speak one sentence at normal or strong intensity, from rest and back to it.",
        seconds=(3.0, 5.0),
        speakers=24,
        counts=_counts(96, 192, 192, 192, 192, 192, 192),
        courses={"apex": 0.7, "hold": 0.1, "rise": 0.05, "fall": 0.05, "still": 0.1},
        peak=(0.5, 1.0),
        speech=0.25,
        missing=0.0,
        label_noise=0.02,
        identity=0.6,
    ),
    "SAVEE": CorpusCharacter(
        reason="Four men pose strongly, read one sentence, and are twice as often neutral as anything else.",
        seconds=(2.0, 6.0),
        speakers=4,
        counts=_counts(120, 60, 60, 60, 60, 60, 60),
        courses={"hold": 0.4, "apex": 0.3, "rise": 0.1, "fall": 0.1, "still": 0.1},
        peak=(0.6, 1.0),
        speech=0.25,
        missing=0.0,
        label_noise=0.02,
        identity=0.8,
    ),
}


def _apex(progress: Doubles, rng: np.random.Generator) -> Doubles:
    onset, offset = rng.uniform(0.1, 0.45), rng.uniform(0.55, 0.9)
    floor = rng.uniform(0.0, 0.4)
    return floor + (1 - floor) * np.interp(progress, [0, onset, offset, 1], [0, 1, 1, 0])


def _rise(progress: Doubles, rng: np.random.Generator) -> Doubles:
    floor = rng.uniform(0.0, 0.5)
    return floor + (1 - floor) * progress


def _fall(progress: Doubles, rng: np.random.Generator) -> Doubles:
    return _rise(progress, rng)[::-1]


def _hold(progress: Doubles, rng: np.random.Generator) -> Doubles:
    return np.clip(1 + 0.1 * rng.standard_normal(len(progress)), 0.7, 1.0)


# Intensity over a clip, 0-1 of its peak, from progress (T,) in 0-1.
COURSES: dict[str, Shape] = {"apex": _apex, "rise": _rise, "fall": _fall, "hold": _hold}


def _make_speaker(faces: FaceFeatures, identity: float, rng: np.random.Generator) -> Speaker:
    """Choose one person's faces: alike when neutral, few per emotion, all shifted towards the person's own look."""
    rows = [np.flatnonzero(faces.labels == emotion) for emotion in Emotion]
    neutral = faces.features[rows[Emotion.Neutral]]
    anchor = neutral[rng.integers(len(neutral))]
    others = neutral[rng.permutation(len(neutral))[:64]]
    resting = others[np.argsort(np.square(others - anchor).sum(axis=1))[:4]]
    shift = identity * (anchor - neutral.mean(axis=0))
    expressive = [np.maximum(faces.features[rng.choice(rows[emotion], 3)] + shift, 0) for emotion in Emotion]
    lean = rng.uniform(0, MAX_LEAN) * rng.integers(2)  # every other person looks a little like something else at rest
    towards = expressive[rng.integers(1, len(Emotion))][0]
    expressive[Emotion.Neutral] = (1 - lean) * np.vstack([anchor, resting]) + lean * towards
    return tuple(expressive)


def _draw_emotion(character: CorpusCharacter, rng: np.random.Generator, *, without: int | None = None) -> int:
    """Draw an emotion as often as it occurs in the corpus; raters who are wrong also favour the frequent ones."""
    counts = {int(emotion): count for emotion, count in character.counts.items() if emotion != without}
    return int(rng.choice(list(counts), p=np.array(list(counts.values())) / sum(counts.values())))


def _show(character: CorpusCharacter, course: str, *, emotion: int, count: int, rng: np.random.Generator) -> Doubles:
    """Return the emotions over a clip, float (count, 7): rows sum to 1, and what no emotion takes is Neutral."""
    amounts = np.zeros((count, len(Emotion)))
    if course == "drift":
        amounts = _drift(character, emotion, count, rng)
    else:
        amounts[:, emotion] = rng.uniform(*character.peak) * COURSES[course](np.linspace(0, 1, count), rng)
    amounts[:, Emotion.Neutral] = 0
    amounts[:, Emotion.Neutral] = 1 - amounts.sum(axis=1)
    return amounts


def _drift(character: CorpusCharacter, emotion: int, count: int, rng: np.random.Generator) -> Doubles:
    """Return float (count, 7): one emotion after another, each held for 1 to 4 s, faded over up to 1 s."""
    amounts = np.zeros((count, len(Emotion)))
    start = 0
    while start < count:
        stop = start + int(rng.integers(SAMPLE_HZ, 4 * SAMPLE_HZ + 1))
        amounts[start:stop, emotion] = rng.uniform(*character.peak)
        emotion = _draw_emotion(character, rng)
        start = stop
    fade = int(rng.integers(1, SAMPLE_HZ + 1))
    padded = np.pad(amounts, ((fade - 1, 0), (0, 0)), mode="edge")
    faded: Doubles = np.lib.stride_tricks.sliding_window_view(padded, fade, axis=0).mean(axis=-1)
    return faded


def _speak(amounts: Doubles, share: float, rng: np.random.Generator) -> Doubles:
    """Mix another emotion into bursts of one to three samples, as an open or pressed mouth does."""
    count = len(amounts)
    disturbed = amounts.copy()
    for start in np.flatnonzero(rng.random(count) < share / 2):
        other = int(rng.integers(1, len(Emotion)))
        weight = rng.uniform(*SPEECH_INTENSITY)
        burst = slice(start, start + int(rng.integers(1, 4)))
        disturbed[burst] *= 1 - weight
        disturbed[burst, other] += weight
    return disturbed


def _vary(count: int, variation: Floats, rng: np.random.Generator) -> Doubles:
    """Return float (count, 512): the head turns slowly from one view to another, and the crop shakes."""
    first, last = variation[rng.integers(len(variation), size=2)]
    path = np.linspace(0, 1, count)[:, None]
    shaking = variation[rng.integers(len(variation), size=count)]
    strength = rng.uniform(0, VIEW_CHANGE)
    return np.asarray(strength * ((1 - path) * first + path * last + 0.5 * shaking))


def _render(speaker: Speaker, amounts: Doubles, variation: Floats, rng: np.random.Generator) -> Floats:
    """Return the features, float32 (T, 512), of a speaker who shows `amounts` (T, 7)."""
    count = len(amounts)
    shown = np.stack([faces[rng.integers(len(faces))] for faces in speaker])  # (7, 512)
    resting = speaker[Emotion.Neutral]
    other = resting[rng.integers(len(resting))] - shown[Emotion.Neutral]
    wander = np.linspace(rng.uniform(), rng.uniform(), count) * amounts[:, Emotion.Neutral]  # rest is never quite still
    features: Doubles = amounts @ shown + wander[:, None] * other + _vary(count, variation, rng)
    features = np.maximum(features, 0)
    return features.astype(np.float32)


def _weigh(amounts: Doubles) -> Floats:
    """Return float32 (T, 7): each sample speaks for its strongest visible emotion, the more the stronger it is."""
    expressive = amounts.copy()
    expressive[:, Emotion.Neutral] = 0
    strength = expressive.max(axis=1)
    shown = np.where(strength >= VISIBLE, expressive.argmax(axis=1), int(Emotion.Neutral))
    mass: Floats = np.zeros(amounts.shape, dtype=np.float32)
    mass[np.arange(len(amounts)), shown] = 0.5 + strength
    return mass


def _find_faces(count: int, missing: float, rng: np.random.Generator) -> Booleans:
    """Return bool (count,): one run of samples is lost in every other clip, `missing` of all samples on average."""
    lost = min(int(rng.integers(2) * rng.uniform(0, 4 * missing) * count), count - 1)
    start = int(rng.integers(count - lost + 1))
    found = np.ones(count, dtype=bool)
    found[start : start + lost] = False
    return found


def _freeze(faces: FaceFeatures, emotion: int, count: int, rng: np.random.Generator) -> tuple[Floats, Floats]:
    """Return features and mass of one still face, seen `count` times without any change."""
    row = rng.choice(np.flatnonzero(faces.labels == emotion))
    amounts = np.zeros((count, len(Emotion)))
    amounts[:, emotion] = 1
    return np.repeat(faces.features[row][None], count, axis=0), _weigh(amounts)


def _make_clip(
    character: CorpusCharacter, faces: FaceFeatures, speakers: list[Speaker], rng: np.random.Generator, *, name: str
) -> ClipFeatures:
    emotion = _draw_emotion(character, rng)
    speaker = int(rng.integers(len(speakers)))
    count = round(rng.uniform(*character.seconds) * SAMPLE_HZ)
    course = str(rng.choice(list(character.courses), p=np.array(list(character.courses.values()))))
    if course == "still":
        features, mass = _freeze(faces, emotion, count, rng)
    else:
        amounts = _show(character, course, emotion=emotion, count=count, rng=rng)
        features = _render(speakers[speaker], _speak(amounts, character.speech, rng), faces.variation, rng)
        mass = _weigh(amounts)
    if course == "drift":
        emotion = int(mass.sum(axis=0).argmax())
    if rng.random() < character.label_noise:
        wrong = _draw_emotion(character, rng, without=emotion)
        mass[:, [emotion, wrong]] = mass[:, [wrong, emotion]]
        emotion = wrong
    found = _find_faces(count, character.missing, rng)
    indices = np.flatnonzero(found)
    return ClipFeatures(name, f"speaker {speaker}", emotion, indices / SAMPLE_HZ, features[found], mass[found], indices)


def simulate_corpus(name: str, faces: FaceFeatures, *, clips: int, seed: int) -> CorpusFeatures:
    """Return `clips` clips of the simulated corpus `name`; the same seed gives the same clips.

    Raises:
        UnknownName: `name` is none of CORPUS_NAMES.
        CorpusError: `faces` lacks an emotion.
    """
    check_name("simulated corpus", name, CORPUS_NAMES)
    absent = [emotion.name for emotion in Emotion if emotion not in faces.labels]
    if absent:
        raise CorpusError(f"Expected faces of all seven emotions to simulate {name}, but there is no {absent[0]}.")
    character = CHARACTERS[name]
    rng = np.random.default_rng([seed, CORPUS_NAMES.index(name)])
    speakers = [_make_speaker(faces, character.identity, rng) for _ in range(character.speakers)]
    made = (_make_clip(character, faces, speakers, rng, name=f"clip {number}") for number in range(clips))
    return CorpusFeatures(name, tuple(made), is_simulated=True)
