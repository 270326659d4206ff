"""A person's own baseline: readings of people go in, what is taken off their faces comes out.

The whole arithmetic stands here. A face is moved by its features, towards the mean of the faces that the backbone was
trained on, and its probabilities are divided by those that the run reads on average. Both are shrunk: little of a
person moves little. Sums are float64 and in the order of the inputs, so that equal readings give equal bytes.
"""

import base64
import hashlib
import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from .emotions import EMOTION_NAMES, Emotion
from .errors import UsageError
from .inputs import PERSON, RUN

Floats = npt.NDArray[np.float32]
Doubles = npt.NDArray[np.float64]

REST = "rest"  # of a person, in a recording that was given
KINDS = (RUN, PERSON, REST)  # of a baseline
_WORDS = {RUN: "the run", PERSON: "the person", REST: "the person at rest"}
SHRINKAGE = 4.0  # recordings: with as many of a person, half of the shift is made
# s of a long recording that count as one recording: its passages resemble each other more than recordings do.
SECONDS_AS_RECORDING = 15.0
LEAST_PROBABILITY = 1e-6  # below which a probability says no more
# s of a person who is in a single recording, below which there is no baseline of their own: what they express in it
# would be taken for what they always look like. Not measured yet; the curve of docs/baseline.md will say.
LEAST_SECONDS = 60.0
_DOUBLE = "<f8"  # float64, little-endian on every machine


@dataclass(frozen=True, eq=False)
class Rest:
    """What a person reads as on average in one or more recordings."""

    features: Doubles  # (D,) mean over the samples
    log_probabilities: Doubles  # (7,) mean over the windows, or over the single faces
    recordings: int  # 0 is a part of one
    seconds: float  # s in which the face was seen

    def __post_init__(self) -> None:
        for name in ("features", "log_probabilities"):
            object.__setattr__(self, name, np.asarray(getattr(self, name), dtype=np.float64))
        _check_numbers("features", self.features)
        _check_numbers("log_probabilities", self.log_probabilities, width=len(Emotion))
        _check_amount(self.recordings, self.seconds)

    def to_json(self) -> dict[str, Any]:
        """Return what JSON can hold, to the last bit."""
        return {
            "features": base64.b64encode(self.features.astype(_DOUBLE).tobytes()).decode("ascii"),
            "log_probabilities": self.log_probabilities.tolist(),
            "recordings": self.recordings,
            "seconds": self.seconds,
        }

    @classmethod
    def from_json(cls, fields: Mapping[str, Any]) -> "Rest":
        """Return the rest that `to_json` returned.

        Raises:
            UsageError, KeyError, TypeError, ValueError: it is none.
        """
        features = np.frombuffer(base64.b64decode(fields["features"]), _DOUBLE).astype(np.float64)
        return cls(features, fields["log_probabilities"], fields["recordings"], fields["seconds"])


@dataclass(frozen=True, eq=False)
class Baseline:
    """What is taken off a person's features and probabilities, and how much of them it rests on."""

    kind: str  # one of KINDS
    feature_shift: Floats | None  # (D,) added to features; None leaves them as they are
    log_shift: Doubles  # (7,) subtracted from log probabilities
    recordings: int
    seconds: float  # s

    def __post_init__(self) -> None:
        if self.kind not in KINDS:
            raise UsageError(f"A baseline is one of {', '.join(KINDS)}, not {self.kind!r}.")
        object.__setattr__(self, "log_shift", np.asarray(self.log_shift, dtype=np.float64))
        _check_numbers("log_shift", self.log_shift, width=len(Emotion))
        if self.feature_shift is not None:
            object.__setattr__(self, "feature_shift", np.asarray(self.feature_shift, dtype=np.float32))
            _check_numbers("feature_shift", self.feature_shift)
        _check_amount(self.recordings, self.seconds)

    def move(self, features: Floats) -> Floats:
        """Return features (T, D), moved."""
        return features if self.feature_shift is None else features + self.feature_shift

    def adjust(self, probabilities: Floats) -> Floats:
        """Return probabilities (..., 7) without what is always there; each row sums to 1, and NaN stays NaN."""
        logits = take_log(probabilities) - self.log_shift
        powers = np.exp(logits - logits.max(axis=-1, keepdims=True))
        adjusted: Floats = (powers / powers.sum(axis=-1, keepdims=True)).astype(np.float32)
        return adjusted

    def describe(self) -> dict[str, Any]:
        """Return what a record says of it: what is taken off, by name, and how much it rests on."""
        return {
            "kind": self.kind,
            "recordings": self.recordings,
            "seconds": round(self.seconds, 6),
            "moves_features": self.feature_shift is not None,
            "log_shift": dict(zip(EMOTION_NAMES, self.log_shift.round(6).tolist(), strict=True)),
            "sha256": self.sha256,
        }

    @property
    def sha256(self) -> str:
        """The hash of all that is taken off, 64 hexadecimal digits."""
        shift = np.empty(0) if self.feature_shift is None else self.feature_shift
        about = json.dumps([self.kind, self.recordings, self.seconds]).encode()
        return hashlib.sha256(about + shift.astype(_DOUBLE).tobytes() + self.log_shift.tobytes()).hexdigest()

    @property
    def words(self) -> str:
        """What it rests on, for people."""
        return describe_amount(self.kind, self.recordings, self.seconds)


def describe_amount(kind: str, recordings: int, seconds: float) -> str:
    """Say what a baseline rests on: the recordings, and the time for which faces were seen in them."""
    count = f"{recordings} recording{'' if recordings == 1 else 's'}, {seconds:.1f} s"
    return f"{_WORDS[kind]}: {count}"


class RunningRest:
    """What one person has read as on average so far, in pictures that come one by one.

    >>> shift = running.see(features, time=time, reference=reference)  # then judge features + shift
    >>> baseline = running.settle(probabilities, reference=reference)
    """

    def __init__(self) -> None:
        self._seen = 0
        self._features = self._log_probabilities = np.zeros(1)
        self._seconds, self._time = 0.0, float("-inf")  # s, of the last picture

    def see(self, features: Floats, *, time: float, reference: Doubles | None, longest: float) -> Floats | None:
        """Take the features (D,) of the next picture; return what to add to all of this person's.

        Pictures more than `longest` s apart do not count as seen in between.
        """
        if time - self._time <= longest:
            self._seconds += time - self._time
        self._time, self._seen = time, self._seen + 1
        self._features = self._features + (features - self._features) / self._seen
        return find_feature_shift(self._describe(np.zeros(len(Emotion))), reference)

    def settle(self, probabilities: Floats, *, reference: Doubles | None) -> Baseline:
        """Take the probabilities (7,) of that picture, moved; return what to take off."""
        logarithms = take_log(probabilities)
        self._log_probabilities = self._log_probabilities + (logarithms - self._log_probabilities) / self._seen
        own = self._describe(self._log_probabilities)
        return find_person_baseline(own, run=None if reference is None else own, reference=reference)

    def _describe(self, log_probabilities: Doubles) -> Rest:
        return Rest(self._features, log_probabilities, recordings=0, seconds=self._seconds)


def take_log(probabilities: npt.NDArray[Any]) -> Doubles:
    """Return the logarithms of probabilities, none of which counts as less than LEAST_PROBABILITY."""
    logarithms: Doubles = np.log(np.maximum(probabilities.astype(np.float64), LEAST_PROBABILITY))
    return logarithms


def measure_rest(features: Floats, probabilities: Floats, *, seconds: float) -> Rest:
    """Return what one recording of a person reads as on average, in features (T, D) and probabilities (W, 7).

    Raises:
        UsageError: the face was not seen.
    """
    if not len(features) or not len(probabilities):
        raise UsageError("A baseline needs a recording in which the person's face is seen, but it is not seen here.")
    means = features.astype(np.float64).mean(axis=0), take_log(probabilities).mean(axis=0)
    return Rest(*means, recordings=1, seconds=seconds)


def pool_rests(rests: Iterable[Rest]) -> Rest:
    """Return the mean over recordings, which weigh alike however long they are; their numbers and seconds add up.

    Raises:
        UsageError: there is none.
    """
    given = list(rests)
    if not sum(rest.recordings for rest in given):
        raise UsageError("A baseline needs one recording or more in which a face is seen, but there is none.")
    weights = np.array([float(rest.recordings) for rest in given])  # (R,)
    weights /= weights.sum()
    return Rest(
        _weigh([rest.features for rest in given], weights),
        _weigh([rest.log_probabilities for rest in given], weights),
        recordings=sum(rest.recordings for rest in given),
        seconds=float(sum(rest.seconds for rest in given)),
    )


def shrink(recordings: int, *, seconds: float = 0.0) -> float:
    """Return the share of a shift that is made, 0-1, by how much of the person there is.

    A long recording counts as several, each of SECONDS_AS_RECORDING s.
    """
    amount = max(float(recordings), seconds / SECONDS_AS_RECORDING)
    return amount / (amount + SHRINKAGE)


def find_run_baseline(rests: Sequence[Rest]) -> Baseline:
    """Return what to take off every recording of a run: the mean log probabilities, and no features.

    Raises:
        UsageError: no recording shows a face.
    """
    run = pool_rests(rests)
    return Baseline(RUN, None, _share(run) * run.log_probabilities, run.recordings, run.seconds)


def find_feature_shift(own: Rest, reference: Doubles | None) -> Floats | None:
    """Return what to add to a person's features (D,): a share of the way to `reference`, the mean of all people.

    None: there is no `reference`, so that features stay as they are.

    Raises:
        UsageError: the features are of another width.
    """
    if reference is None:
        return None
    if len(reference) != len(own.features):
        raise UsageError(
            f"Expected a baseline of {len(reference)} features, as the backbone's record has, but a face has "
            f"{len(own.features)}. Get the backbone and its record again."
        )
    shift: Floats = (_share(own) * (reference - own.features)).astype(np.float32)
    return shift


def find_person_baseline(own: Rest, *, run: Rest | None, reference: Doubles | None, kind: str = PERSON) -> Baseline:
    """Return what to take off everything of one person.

    `own` is pooled from their recordings as they are. `run` is pooled from all recordings of the run after each was
    moved by its person's `find_feature_shift`; None is a run of which nothing is known. Without a `reference` no
    features are moved, and the log probabilities of the run go a share of the way to the person's own.

    Raises:
        UsageError: the features are of another width.
    """
    shift = find_feature_shift(own, reference)
    log_shift = np.zeros(len(Emotion)) if run is None else _share(run) * run.log_probabilities
    if shift is None:
        log_shift = log_shift + _share(own) * (own.log_probabilities - log_shift)
    return Baseline(kind, shift, log_shift, own.recordings, own.seconds)


def _share(rest: Rest) -> float:
    return shrink(rest.recordings, seconds=rest.seconds)


def _weigh(rows: Sequence[Doubles], weights: Doubles) -> Doubles:
    """Return the weighted sum of rows, added up in their order."""
    total = np.zeros_like(rows[0])
    for row, weight in zip(rows, weights, strict=True):
        total = total + weight * row
    return total


def _check_numbers(name: str, values: npt.NDArray[Any], *, width: int | None = None) -> None:
    if values.ndim != 1 or not len(values) or (width and len(values) != width) or not np.isfinite(values).all():
        expected = f"{width} finite numbers" if width else "a row of finite numbers"
        raise UsageError(f"A baseline's {name} should be {expected}, not {values.shape} of {values.dtype}.")


def _check_amount(recordings: int, seconds: float) -> None:
    if recordings < 0 or not 0 <= seconds < float("inf"):
        raise UsageError(f"A baseline rests on 0 recordings and 0 s or more, not on {recordings} and {seconds} s.")
