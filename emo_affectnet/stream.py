"""Frames go in as they come, moments come out: what a camera needs. The last few samples of each person are kept."""

from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from .errors import check_name
from .faces import Floats, Sighting
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

    >>> stream = EmotionRecognizer().open_stream()
    >>> for frame in read_frames("video/expressions.mp4"):
    ...     moments = stream.update(frame)
    """

    def __init__(self, recognizer: "EmotionRecognizer", *, mode: str) -> None:
        check_name("mode", mode, MODES)
        self.mode = mode
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
        judge = self._judge_faces if self.mode == "static" else self._judge_windows
        return [
            Moment(each.track_id, each.index, each.time, each.face.box, each.face.score, probabilities, agreement)
            for each, (probabilities, agreement) in zip(sightings, judge(sightings, features), strict=True)
        ]

    def _judge_faces(self, _: list[Sighting], features: Floats) -> Iterator[tuple[Floats, float | None]]:
        return ((each, None) for each in self._recognizer.engine.classify_faces(features))

    def _judge_windows(self, sightings: list[Sighting], features: Floats) -> Iterator[tuple[Floats, float | None]]:
        time, recognizer = sightings[0].time, self._recognizer
        self._rings = {person: ring for person, ring in self._rings.items() if time - ring.time <= MAX_GAP}
        rings = [self._extend_ring(*pair) for pair in zip(sightings, features, strict=True)]
        if recognizer.head == AVERAGE:
            yield from ((recognizer.engine.classify_faces(np.stack(ring)).mean(axis=0), None) for ring in rings)
            return
        windows = np.stack([np.stack(ring)[window_rows(len(ring))[0]] for ring in rings])  # (P, 10, 512)
        by_head = recognizer.engine.classify(windows)  # (heads, P, 7)
        reported = choose_head(by_head, recognizer.heads, recognizer.head)  # (P, 7)
        agreement = (by_head.argmax(axis=2) == reported.argmax(axis=1)).mean(axis=0)  # (P,)
        for probabilities, share in zip(reported, agreement, strict=True):
            yield probabilities, float(share) if len(recognizer.heads) > 1 else None

    def _extend_ring(self, sighting: Sighting, features: Floats) -> deque[Floats]:
        """Return the last samples, (512,) each, of a person who was seen again."""
        averaged = max(round(self._recognizer.smoothing * SAMPLE_HZ), 1)
        length = averaged if self._recognizer.head == AVERAGE else WINDOW
        ring = self._rings.setdefault(sighting.track_id, _Ring(sighting.time, deque(maxlen=length)))
        ring.time = sighting.time
        ring.features.append(features)
        return ring.features
