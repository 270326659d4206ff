"""Frames go in as they come, moments come out: what a camera needs. The last few samples of each person are kept."""

from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from .baseline import Baseline, RunningRest
from .errors import UsageError, check_name
from .faces import Floats, Sighting
from .inputs import PERSON
from .timeline import MAX_GAP, SAMPLE_HZ, WINDOW, Moment, Sampler, choose_head, window_rows
from .video import Frame
from .weights import AVERAGE

if TYPE_CHECKING:
    from .recognizer import EmotionRecognizer

MODES = ("temporal", "static")  # the heads on the last 2 s of a person, or each face by itself


@dataclass
class _Ring:
    """The last samples of one person: ten for the heads, or as many as are averaged."""

    time: float  # s, of the last sample
    features: deque[Floats]  # (512,) each


class Stream:
    """Reads the emotions of everyone in frames that come one by one; `EmotionRecognizer.open_stream` makes it.

    "temporal" looks at 5 frames per second of media time and gives the heads the last ten samples of each person,
    padded as the windows of a video are, or averages single faces if the recognizer does; a person who was away for
    more than `MAX_GAP` begins anew. "static" looks at every frame it is given and judges each face by itself.

    `baseline` is taken off everyone, such as that of `EmotionRecognizer.read_rest`; "person" takes off each what they
    have read as on average so far, and the less of it the shorter they were seen.

    >>> stream = EmotionRecognizer().open_stream()
    >>> for frame in read_frames("video/expressions.mp4"):
    ...     moments = stream.update(frame)
    """

    def __init__(self, recognizer: "EmotionRecognizer", *, mode: str, baseline: Baseline | str | None = None) -> None:
        check_name("mode", mode, MODES)
        if isinstance(baseline, str) and baseline != PERSON:
            raise UsageError(f"A stream's baseline is one that was read, or {PERSON!r}, but {baseline!r} was given.")
        self.mode, self.baseline = mode, baseline
        self._running: dict[int, RunningRest] = {}  # by track id
        self._recognizer = recognizer
        self._sampler, self._faces = Sampler(), recognizer.open_faces()
        self._rings: dict[int, _Ring] = {}  # by track id
        self._warm_up()

    def _warm_up(self) -> None:
        """Run the networks once: their first run is the slowest, and what a backbone lacks should come out now."""
        engine, size = self._recognizer.engine, self._recognizer.preprocessing.input_size
        features = engine.embed(np.zeros((1, size, size, 3), np.uint8))
        if self.mode == "static" or self._recognizer.head == AVERAGE:
            engine.classify_faces(features)
        else:
            engine.classify(np.stack([features] * WINDOW, axis=1))  # (1, 10, 512)

    def update(self, frame: Frame) -> list[Moment] | None:
        """Take the next frame; return a moment for each person, [] if nobody is there, None if it was no sample."""
        moments = None
        for sample in self.select(frame):
            moments = self.look(sample)
        return moments

    def select(self, frame: Frame) -> list[Frame]:
        """Take the next frame and return the frames to look at now: the quick half of `update`."""
        return self._sampler.push(frame) if self.mode == "temporal" else [frame]

    @property
    def too_small(self) -> int:
        """How many faces of the last frame that was looked at were too small to read."""
        return self._faces.small

    def look(self, frame: Frame) -> list[Moment]:
        """Return a moment for each person in a frame that `select` chose: the slow half of `update`."""
        seen = list(self._faces.read(frame, frame.image))
        if not seen:
            return []
        features = self._recognizer.engine.embed(np.stack([image for _, image in seen]))
        sightings = [sighting for sighting, _ in seen]
        faces = [each[None] for each in features] if self.mode == "static" else self._extend_rings(sightings, features)
        raw = self._judge(faces)  # (heads, P, 7)
        if self.baseline is None:
            return self._describe(sightings, raw, None)
        return self._describe(sightings, self._take_off(sightings, features, faces, raw), raw)

    def _take_off(
        self, sightings: Sequence[Sighting], features: Floats, faces: Sequence[Floats], raw: Floats
    ) -> Floats:
        """Return the probabilities (heads, P, 7) of `faces` after each person's baseline, `raw` being those before."""
        reference = self._recognizer.reference
        if isinstance(self.baseline, Baseline):
            shift = self.baseline.feature_shift
            return self.baseline.adjust(raw if shift is None else self._judge([each + shift for each in faces]))
        running = [self._running.setdefault(each.track_id, RunningRest()) for each in sightings]
        shifts = [
            rest.see(own, time=each.time, reference=reference, longest=MAX_GAP)
            for rest, each, own in zip(running, sightings, features, strict=True)
        ]
        moved = [face if shift is None else face + shift for face, shift in zip(faces, shifts, strict=True)]
        judged = raw if reference is None else self._judge(moved)
        pairs = zip(running, self._choose(judged), strict=True)
        baselines = [rest.settle(own, reference=reference) for rest, own in pairs]
        return np.stack([each.adjust(judged[:, rank]) for rank, each in enumerate(baselines)], axis=1)

    def _judge(self, faces: Sequence[Floats]) -> Floats:
        """Return probabilities (heads, P, 7) of the last samples (n, 512) of P people."""
        recognizer = self._recognizer
        if self.mode == "static":
            return np.stack([recognizer.engine.classify_faces(np.concatenate(faces))])
        if recognizer.head == AVERAGE:
            return np.stack([[recognizer.engine.classify_faces(each).mean(axis=0) for each in faces]])
        return recognizer.engine.classify(np.stack([each[window_rows(len(each))[0]] for each in faces]))

    def _choose(self, judged: Floats) -> Floats:
        """Return the reported probabilities (P, 7) among those of all heads (heads, P, 7)."""
        if self.mode == "static" or self._recognizer.head == AVERAGE:
            only: Floats = judged[0]
            return only
        return choose_head(judged, self._recognizer.heads, self._recognizer.head)

    def _describe(self, sightings: Sequence[Sighting], judged: Floats, raw: Floats | None) -> list[Moment]:
        """Return a moment for each person, of probabilities (heads, P, 7); `raw` are those before a baseline."""
        reported = self._choose(judged)  # (P, 7)
        before = [None] * len(reported) if raw is None else list(self._choose(raw))
        has_agreement = self.mode == "temporal" and len(judged) > 1
        agreement = (judged.argmax(axis=2) == reported.argmax(axis=1)).mean(axis=0)  # (P,)
        return [
            Moment(
                each.track_id,
                each.index,
                each.time,
                each.face.box,
                each.face.score,
                reported[rank],
                float(agreement[rank]) if has_agreement else None,
                before[rank],
            )
            for rank, each in enumerate(sightings)
        ]

    def _extend_rings(self, sightings: Sequence[Sighting], features: Floats) -> list[Floats]:
        """Return the last samples (n, 512) of each person who was seen, without those who were away."""
        time = sightings[0].time
        self._rings = {person: ring for person, ring in self._rings.items() if time - ring.time <= MAX_GAP}
        return [np.stack(self._extend_ring(*pair)) for pair in zip(sightings, features, strict=True)]

    def _extend_ring(self, sighting: Sighting, features: Floats) -> deque[Floats]:
        """Return the last samples, (512,) each, of a person who was seen again."""
        averaged = max(round(self._recognizer.smoothing * SAMPLE_HZ), 1)
        length = averaged if self._recognizer.head == AVERAGE else WINDOW
        ring = self._rings.setdefault(sighting.track_id, _Ring(sighting.time, deque(maxlen=length)))
        ring.time = sighting.time
        ring.features.append(features)
        return ring.features
