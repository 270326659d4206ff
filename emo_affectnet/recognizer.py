"""The one facade: a video goes in, timelines come out; or frames go in as they come, and moments come out.

`EmotionRecognizer` loads a detector, a backbone and its heads once. `predict` then reads a video from its first frame
to its last with one batch of crops in memory; only features are kept. A `Stream` keeps the last ten of each person.
"""

from collections import defaultdict, deque
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path

import numpy as np

from . import __version__
from .engines import ENGINES
from .errors import UsageError, check_name
from .faces import DETECTORS, Face, FaceTracker, Floats, Image, View, box_area, crop, is_person
from .timeline import (
    MAX_GAP,
    WINDOW,
    Doubles,
    FaceTrack,
    Integers,
    Moment,
    Sampler,
    Timeline,
    build_timeline,
    choose_head,
    empty_timeline,
    sample_frames,
    slide,
    window_rows,
)
from .video import Frame, VideoInfo, probe, read_frames
from .weights import ENSEMBLE, hash_file, resolve

BATCH_SIZE = 32  # crops embedded at once
MODES = ("temporal", "static")  # of a stream: the heads on the last 2 s of a person, or each face by itself

Progress = Callable[[int, int | None], None]  # frames done, frames in all if known


@dataclass(frozen=True)
class _Sighting:
    """One person's face in one sampled frame."""

    track_id: int
    index: int
    time: float  # s
    face: Face


@dataclass(frozen=True, eq=False)
class Reading:
    """What one pass over a video gives: who was seen when, and their features."""

    times: Doubles  # (F,) s, of every frame
    samples: Integers  # (S,) indices of the frames that were looked at
    tracks: tuple[FaceTrack, ...]  # the primary person first


class EmotionRecognizer:
    """Reads the emotions of faces in videos over time.

    >>> recognizer = EmotionRecognizer()
    >>> timeline = recognizer.predict("video/expressions.mp4")
    >>> timeline.emotion, timeline.times, timeline.probabilities

    `weights` names a weight set; a `backbone_file` or `head_file` takes the place of the set's own. `head` is a corpus,
    for the head that never saw it, or "ensemble" for the mean over all. `confidence` is the detector's threshold, 0-1;
    None leaves each detector its own.

    Raises:
        UnknownName: a weight set, head, detector or engine that does not exist.
        WeightsError: a weight file is missing, damaged or another network's.
    """

    def __init__(
        self,
        *,
        weights: str = "bundled",
        head: str | None = None,
        detector: str = "short-range",
        confidence: float | None = None,
        engine: str = "torch",
        device: str = "auto",
        backbone_file: str | Path | None = None,
        head_file: str | Path | None = None,
    ) -> None:
        files = resolve(
            weights,
            backbone=Path(backbone_file) if backbone_file else None,
            head=Path(head_file) if head_file else None,
        )
        self.heads = tuple(files.heads)
        self.head = _pick_head(head, self.heads)
        check_name("detector", detector, DETECTORS)
        check_name("engine", engine, ENGINES)
        if confidence is not None and not 0 < confidence <= 1:
            raise UsageError(f"A detector's confidence must lie between 0 and 1, but {confidence} was given.")
        self.backbone, self.preprocessing = files.backbone, files.preprocessing
        self.detector, self.confidence = detector, confidence
        self._detect = DETECTORS[detector](confidence=confidence)
        self.engine = ENGINES[engine](files, device=device)

    @property
    def settings(self) -> dict[str, str]:
        """What a result depends on, in words: the version, the weights, the head, the detector and its threshold."""
        confidence = "its own" if self.confidence is None else str(self.confidence)
        return {
            "emo_affectnet": __version__,
            "backbone": f"{self.backbone.name}, SHA-256 {hash_file(self.backbone)[:16]}",
            "head": self.head,
            "detector": self.detector,
            "detector threshold": confidence,
        }

    def predict(self, video: str | Path, *, on_progress: Progress | None = None) -> Timeline:
        """Return the timeline of the primary person: the one with the largest face over the longest time.

        Raises:
            VideoError: the file cannot be read as a video.
        """
        return self.predict_all(video, on_progress=on_progress)[0]

    def predict_all(self, video: str | Path, *, on_progress: Progress | None = None) -> list[Timeline]:
        """Return one timeline per person, the primary first; a video without a face gives one with coverage 0.

        Raises:
            VideoError: the file cannot be read as a video.
        """
        info = probe(video)
        reading = self._read(info, on_progress or (lambda done, total: None), None)
        if not reading.tracks:
            return [empty_timeline(info, times=reading.times, heads=self.heads, head=self.head)]
        return [self._build(track, info, reading) for track in reading.tracks]

    def read(self, video: str | Path, *, view: View | None = None) -> Reading:
        """Return the tracks of everyone in `view` of a video: the front half of `predict`, without the heads.

        Raises:
            VideoError: the file cannot be read as a video.
        """
        return self._read(probe(video), lambda done, total: None, view)

    def open_stream(self, *, mode: str = "temporal") -> "Stream":
        """Return a stream that takes frames as they come, from a camera for instance.

        Raises:
            UnknownName: there is no such mode.
            WrongArchitecture: "static" needs the backbone's own last layer, and this backbone has none.
        """
        return Stream(self, mode=mode)

    def stream(self, frames: Iterable[Frame], *, mode: str = "temporal") -> Iterator[list[Moment]]:
        """Yield the moments of every frame that is looked at, one for each person in it, as the frames come."""
        stream = self.open_stream(mode=mode)
        for frame in frames:
            yield from map(stream.look, stream.select(frame))

    def _build(self, track: FaceTrack, info: VideoInfo, reading: Reading) -> Timeline:
        windows = slide(track)
        return build_timeline(
            info,
            track,
            times=reading.times,
            samples=reading.samples,
            windows=windows,
            window_probabilities=self.engine.classify(windows.features),
            heads=self.heads,
            head=self.head,
        )

    def _read(self, info: VideoInfo, on_progress: Progress, view: View | None) -> Reading:
        times: list[float] = []
        samples: list[int] = []
        sightings: dict[int, list[tuple[_Sighting, Floats]]] = defaultdict(list)

        def note_times() -> Iterator[Frame]:
            for frame in read_frames(info.path):
                times.append(frame.time)
                on_progress(len(times), info.frame_count)
                yield frame

        def note_samples() -> Iterator[Frame]:
            for frame in sample_frames(note_times(), info):
                samples.append(frame.index)
                yield frame

        for sighting, features in self._embed(self._sight(note_samples(), view or View())):
            sightings[sighting.track_id].append((sighting, features))
        tracks = _rank(sightings.values(), samples=len(samples))
        return Reading(np.array(times), np.array(samples, dtype=np.int64), tuple(tracks))

    def _sight(self, frames: Iterable[Frame], view: View) -> Iterator[tuple[_Sighting, Image]]:
        """Find every face of every frame, whose it is, and the crop the network reads."""
        tracker = FaceTracker(MAX_GAP)
        for frame in frames:
            yield from self._sight_frame(frame, view.apply(frame.image), tracker)

    def _sight_frame(self, frame: Frame, image: Image, tracker: FaceTracker) -> Iterator[tuple[_Sighting, Image]]:
        faces = self._detect(image)
        people = tracker.update(faces, image=image, time=frame.time)
        for face, track_id in zip(faces, people, strict=True):
            yield _Sighting(track_id, frame.index, frame.time, face), crop(image, face.box, self.preprocessing)

    def _embed(self, sightings: Iterator[tuple[_Sighting, Image]]) -> Iterator[tuple[_Sighting, Floats]]:
        """Replace crops by features, a batch at a time."""
        while batch := list(islice(sightings, BATCH_SIZE)):
            features = self.engine.embed(np.stack([image for _, image in batch]))
            yield from zip((sighting for sighting, _ in batch), features, strict=True)


@dataclass
class _Ring:
    """The last ten samples of one person."""

    time: float  # s, of the last sample
    features: deque[Floats] = field(default_factory=lambda: deque(maxlen=WINDOW))  # (512,) each


class Stream:
    """Reads the emotions of everyone in frames that come one by one; `EmotionRecognizer.open_stream` makes it.

    "temporal" looks at 5 frames per second of media time and gives the heads the last ten samples of each person,
    padded as the windows of a video are; a person who was away for more than `MAX_GAP` begins anew. "static" looks at
    every frame it is given and judges each face by itself.

    >>> stream = EmotionRecognizer().open_stream()
    >>> for frame in read_frames("video/expressions.mp4"):
    ...     moments = stream.update(frame)
    """

    def __init__(self, recognizer: EmotionRecognizer, *, mode: str) -> None:
        check_name("mode", mode, MODES)
        self.mode = mode
        self._recognizer = recognizer
        self._sampler, self._tracker = Sampler(), FaceTracker(MAX_GAP)
        self._rings: dict[int, _Ring] = {}  # by track id
        self._warm_up()

    def _warm_up(self) -> None:
        """Run the networks once: their first run is the slowest, and what a backbone lacks should come out now."""
        engine, size = self._recognizer.engine, self._recognizer.preprocessing.input_size
        features = engine.embed(np.zeros((1, size, size, 3), np.uint8))
        if self.mode == "static":
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

    def look(self, frame: Frame) -> list[Moment]:
        """Return a moment for each person in a frame that `select` chose: the slow half of `update`."""
        seen = list(self._recognizer._sight_frame(frame, frame.image, self._tracker))
        if not seen:
            return []
        features = self._recognizer.engine.embed(np.stack([image for _, image in seen]))
        sightings = [sighting for sighting, _ in seen]
        judge = self._judge_windows if self.mode == "temporal" else self._judge_faces
        return [
            Moment(each.track_id, each.index, each.time, each.face.box, each.face.score, probabilities, agreement)
            for each, (probabilities, agreement) in zip(sightings, judge(sightings, features), strict=True)
        ]

    def _judge_faces(self, _: list[_Sighting], features: Floats) -> Iterator[tuple[Floats, float | None]]:
        return ((each, None) for each in self._recognizer.engine.classify_faces(features))

    def _judge_windows(self, sightings: list[_Sighting], features: Floats) -> Iterator[tuple[Floats, float | None]]:
        time, heads = sightings[0].time, self._recognizer.heads
        self._rings = {person: ring for person, ring in self._rings.items() if time - ring.time <= MAX_GAP}
        windows = np.stack([self._extend_ring(*pair) for pair in zip(sightings, features, strict=True)])  # (P, 10, 512)
        by_head = self._recognizer.engine.classify(windows)  # (heads, P, 7)
        reported = choose_head(by_head, heads, self._recognizer.head)  # (P, 7)
        agreement = (by_head.argmax(axis=2) == reported.argmax(axis=1)).mean(axis=0)  # (P,)
        for probabilities, share in zip(reported, agreement, strict=True):
            yield probabilities, float(share) if len(heads) > 1 else None

    def _extend_ring(self, sighting: _Sighting, features: Floats) -> Floats:
        """Return the window (10, 512) of a person who was seen again."""
        ring = self._rings.setdefault(sighting.track_id, _Ring(sighting.time))
        ring.time = sighting.time
        ring.features.append(features)
        window: Floats = np.stack(ring.features)[window_rows(len(ring.features))[0]]
        return window


def _pick_head(name: str | None, heads: tuple[str, ...]) -> str:
    """Return the head to report: the named one, or else the only one, or else the ensemble."""
    if name is None:
        return heads[0] if len(heads) == 1 else ENSEMBLE
    check_name("head", name, (*heads, ENSEMBLE) if len(heads) > 1 else heads)
    return name


def _rank(people: Iterable[list[tuple[_Sighting, Floats]]], *, samples: int) -> list[FaceTrack]:
    """Return the tracks of all real people, the largest total area in time first."""
    real = [seen for seen in people if is_person(len(seen), samples=samples)]
    real.sort(key=lambda seen: -sum(box_area(sighting.face.box) for sighting, _ in seen))
    return [_join(seen, track_id=rank) for rank, seen in enumerate(real, start=1)]


def _join(seen: list[tuple[_Sighting, Floats]], *, track_id: int) -> FaceTrack:
    scores = [np.nan if sighting.face.score is None else sighting.face.score for sighting, _ in seen]
    return FaceTrack(
        track_id=track_id,
        frame_indices=np.array([sighting.index for sighting, _ in seen], dtype=np.int64),
        times=np.array([sighting.time for sighting, _ in seen]),
        boxes=np.array([sighting.face.box for sighting, _ in seen], dtype=np.float32),
        scores=np.array(scores, dtype=np.float32),
        features=np.stack([features for _, features in seen]),
    )
