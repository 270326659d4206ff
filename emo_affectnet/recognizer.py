"""The one facade: a video goes in, timelines come out; or frames go in as they come, and moments come out.

`EmotionRecognizer` loads a detector, a backbone and its heads once. `predict` then reads a video from its first frame
to its last with one batch of crops in memory; only features are kept. A `Stream` keeps the last few of each person.
"""

import hashlib
from collections import defaultdict
from collections.abc import Callable, Generator, Iterable, Iterator, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass, replace
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np

from . import __version__, store
from .baseline import REST, Baseline, Rest, find_feature_shift, find_person_baseline
from .detection import DEFAULT_DETECTOR, DETECTORS, start_detector
from .engines import Engine, open_engine
from .errors import UnknownName, UsageError, check_name
from .faces import FaceReader, Floats, Image, Sighting, View, box_area, crop, is_person, prepare_looks
from .interpretation import ENGAGEMENT, Interpreter, check_smoothing, open_engagement
from .stream import Stream
from .threads import beside, prefetch, run_beside
from .timeline import (
    MAX_GAP,
    SAMPLE_HZ,
    Doubles,
    FaceTrack,
    Integers,
    Moment,
    Timeline,
    empty_timeline,
    sample_frames,
)
from .video import Frame, VideoInfo, expect_frames, probe, read_frames
from .weight_sets import DEFAULT_WEIGHTS, resolve
from .weights import AVERAGE, ENSEMBLE, HEAD_NAMES, describe_trust, hash_file, read_record
from .zoo.hsemotion import SIBLINGS, UNAVAILABLE, open_sibling

BATCH_SIZE = 32  # crops embedded at once
DECODED = 4  # frames decoded ahead
ENGAGEMENT_HZ = 30  # samples per second at most; the network learned from every frame of such videos

Progress = Callable[[int, int | None], None]  # frames done, frames in all if known


@dataclass(frozen=True, eq=False)
class Reading:
    """What one pass over a video gives: who was seen when, and their features."""

    times: Doubles  # (F,) s, of every frame
    samples: Integers  # (S,) indices of the frames that were looked at
    tracks: tuple[FaceTrack, ...]  # the primary person first
    too_small: int = 0  # people whose faces were found but were too small to read


class _PassedOverError(Exception):
    """A frame is to be looked at that nobody had expected to be, so that it was not decoded."""


class EmotionRecognizer:
    """Reads the emotions of faces in videos over time.

    >>> recognizer = EmotionRecognizer()
    >>> timeline = recognizer.predict("video/expressions.mp4")
    >>> timeline.emotion, timeline.times, timeline.probabilities

    `weights` names a weight set. `backbone` is a file in the place of the set's own, or the name of a sibling model,
    and `head_file` a file in the place of the heads. `head` is a corpus, for the head that never saw it, "ensemble" for
    the mean over all, or "average" for single faces by the backbone's own last layer, averaged over `smoothing` s,
    which is all that a sibling has. `engagement` looks at 30 frames per second for a further column. `confidence` is
    the detector's threshold, 0-1; None leaves each detector its own. `engine`, `precision`, `device` and `threads` say
    what runs the network, see `engines.open_engine`, and `on_prepare` hears of the making of an int8 network. `trust`
    vouches for the given files.

    Raises:
        UnknownName: a weight set, head, detector or engine that does not exist.
        UsageError: two options that do not go together.
        WeightsError: a weight file is missing, damaged or another network's.
    """

    def __init__(
        self,
        *,
        weights: str = DEFAULT_WEIGHTS,
        backbone: str | Path | None = None,
        head: str | None = None,
        head_file: str | Path | None = None,
        smoothing: float | None = None,
        engagement: bool = False,
        detector: str = DEFAULT_DETECTOR,
        confidence: float | None = None,
        engine: str | None = None,
        precision: str = "fp32",
        device: str = "auto",
        threads: int | None = None,
        trust: bool = False,
        on_prepare: Callable[[int, int], None] = lambda done, total: None,
    ) -> None:
        check_name("detector", detector, DETECTORS)
        if confidence is not None and not 0 < confidence <= 1:
            raise UsageError(f"A detector's confidence must lie between 0 and 1, but {confidence} was given.")
        if trust:
            for file in (backbone, head_file):
                if file is not None and str(file) not in SIBLINGS | UNAVAILABLE:
                    store.trust(Path(file))
        where = {"engine": engine, "precision": precision, "device": device, "threads": threads}
        with beside(prepare_looks):
            self.engine = _open_engine(
                backbone, weights=weights, head_file=head_file, on_prepare=on_prepare, where=where
            )
        self.preprocessing, self.threads = self.engine.preprocessing, threads
        self.head = _pick_head(head, self.engine.heads)
        self.heads = (AVERAGE,) if self.head == AVERAGE else self.engine.heads
        self.smoothing = check_smoothing(smoothing, head=self.head)
        self._engagement = open_engagement(self.engine) if engagement else None
        record = read_record(self.engine.backbone)
        mean = record.feature_mean if record else None
        self.reference = None if mean is None else np.array(mean)  # float64 (512,), to which a baseline moves features
        self.sample_hz = ENGAGEMENT_HZ if engagement else SAMPLE_HZ
        self.detector, self.confidence = detector, confidence
        self._detect = DETECTORS[detector](confidence=confidence)

    @property
    def settings(self) -> dict[str, str]:
        """What a result depends on, in words: the version, the weights, the head, the detector and its threshold."""
        confidence = "its own" if self.confidence is None else str(self.confidence)
        head = f"{self.head} over {self.smoothing:g} s" if self.head == AVERAGE else f"{self.head}{self._hash_heads()}"
        return {
            "emo_affectnet": __version__,
            "backbone": f"{self.engine.backbone.name}, SHA-256 {hash_file(self.engine.backbone)[:16]}",
            "head": head,
            "engine": f"{self.engine.name}, {self.engine.precision}",
            "detector": self.detector,
            "detector threshold": confidence,
        } | ({ENGAGEMENT: f"at {self.sample_hz} Hz"} if self._engagement else {})

    def _hash_heads(self) -> str:
        hashes = "".join(map(hash_file, self.engine.head_files))
        return f", SHA-256 {hashlib.sha256(hashes.encode()).hexdigest()[:16]}" if hashes else ""

    @property
    def description(self) -> str:
        """What runs the network, where and why there, as a line for people."""
        return f"Network: {self.engine.name} in {self.engine.precision}, {self.engine.description}."

    @property
    def trust(self) -> str:
        """How far to trust what is read, in words for people."""
        return describe_trust(self.engine.backbone)

    @property
    def extra_columns(self) -> tuple[str, ...]:
        """The columns that reports have beyond those of every report."""
        return (*self.engine.extra_columns, *((ENGAGEMENT,) if self._engagement else ()))

    def predict(
        self, video: str | Path, *, baseline: Baseline | None = None, on_progress: Progress | None = None
    ) -> Timeline:
        """Return the timeline of the primary person: the one with the largest face over the longest time.

        `baseline` is taken off this person; `read_rest` returns one.

        Raises:
            VideoError: the file cannot be read as a video.
        """
        return self.predict_all(video, baseline=baseline, on_progress=on_progress)[0]

    def predict_all(
        self, video: str | Path, *, baseline: Baseline | None = None, on_progress: Progress | None = None
    ) -> list[Timeline]:
        """Return one timeline per person, the primary first; a video without a face gives one with coverage 0.

        `baseline` is taken off the primary person.

        Raises:
            VideoError: the file cannot be read as a video.
        """
        info = probe(video)
        baselines = None if baseline is None else {1: baseline}
        return self.interpret(self.read(info, on_progress=on_progress), info, baselines=baselines)

    def read(
        self, video: str | Path | VideoInfo, *, view: View | None = None, on_progress: Progress | None = None
    ) -> Reading:
        """Return the tracks of everyone in `view` of a video: the front half of `predict`, without the heads.

        Raises:
            VideoError: the file cannot be read as a video.
        """
        info = video if isinstance(video, VideoInfo) else probe(video)
        on_progress = on_progress or (lambda done, total: None)
        try:
            return self._read(info, on_progress, view)
        except _PassedOverError:  # damage has moved the samples
            return self._read(info, on_progress, view, is_damaged=True)

    def interpret(
        self, reading: Reading, info: VideoInfo, *, baselines: Mapping[int, Baseline] | None = None
    ) -> list[Timeline]:
        """Return one timeline per person of a reading, as `predict_all` does: its other half.

        `baselines` are what to take off a person, by the track; with them, {} included, timelines keep the raw
        probabilities as well.
        """
        given, keeps_raw = baselines or {}, baselines is not None
        if reading.tracks:
            about: dict[str, Any] = {"times": reading.times, "samples": reading.samples, "keeps_raw": keeps_raw}
            interpret = self._interpreter.interpret
            return [interpret(each, info, **about, baseline=given.get(each.track_id)) for each in reading.tracks]
        extras = self.extra_columns
        empty = empty_timeline(info, times=reading.times, heads=self.heads, head=self.head, extras=extras)
        return [replace(empty, raw_probabilities=empty.probabilities) if keeps_raw else empty]

    def measure_rests(self, reading: Reading, *, shifts: Mapping[int, Floats | None] | None = None) -> dict[int, Rest]:
        """Return what each person of a reading reads as on average, by the track; moved by `shifts` (512,), if given.

        `baseline` makes a baseline of it.
        """
        length = float(np.ptp(reading.times)) if len(reading.times) else 0.0  # s
        measure, given = self._interpreter.measure_rest, shifts or {}
        return {
            each.track_id: measure(
                each, shift=given.get(each.track_id), seconds=length * len(each) / len(reading.samples)
            )
            for each in reading.tracks
        }

    def read_rest(self, recording: str | Path) -> Baseline:
        """Return what to take off a person, from a recording of them at rest.

        Raises:
            VideoError: the file cannot be read as a video.
            UsageError: no face is seen in it.
        """
        reading = self.read(recording)
        if not reading.tracks:
            raise UsageError(
                f"Expected a recording of a person at rest in {recording}, but no face was found in it. Give one in "
                "which the face is seen from the front."
            )
        own = self.measure_rests(reading)[1]
        moved = self.measure_rests(reading, shifts={1: find_feature_shift(own, self.reference)})[1]
        return find_person_baseline(own, run=moved, reference=self.reference, kind=REST)

    def judge_faces(self, images: Sequence[Image]) -> list[Floats | None]:
        """Return the probabilities (7,) of the largest face in each image by itself, or None where there is no face.

        Raises:
            WrongArchitecture: the backbone has no last layer of its own.
        """
        crops: dict[int, Image] = {}
        detect = start_detector(self._detect)
        for index, image in enumerate(images):
            if faces := [face for face in detect(image) if face.is_readable]:
                largest = max(faces, key=lambda face: box_area(face.box))
                crops[index] = crop(image, largest.box, self.preprocessing)
        rows = iter(self.engine.classify_faces(self.engine.embed(np.stack(list(crops.values()))))) if crops else None
        return [next(rows) if rows and index in crops else None for index in range(len(images))]

    def open_stream(self, *, mode: str = "temporal", baseline: Baseline | str | None = None) -> Stream:
        """Return a stream that takes frames as they come, from a camera for instance; `baseline` as in `Stream`.

        Raises:
            UnknownName: there is no such mode.
            UsageError: there is no such baseline.
            WrongArchitecture: "static" needs the backbone's own last layer, and this backbone has none.
        """
        return Stream(self, mode=mode, baseline=baseline)

    def stream(
        self, frames: Iterable[Frame], *, mode: str = "temporal", baseline: Baseline | str | None = None
    ) -> Iterator[list[Moment]]:
        """Yield the moments of every frame that is looked at, one for each person in it, as the frames come."""
        stream = self.open_stream(mode=mode, baseline=baseline)
        for frame in frames:
            yield from map(stream.look, stream.select(frame))

    @property
    def _interpreter(self) -> Interpreter:
        return Interpreter(self.engine, self.heads, self.head, self.smoothing, self._engagement)

    def _read(self, info: VideoInfo, on_progress: Progress, view: View | None, *, is_damaged: bool = False) -> Reading:
        times: list[float] = []
        samples: list[int] = []
        sightings: dict[int, list[tuple[Sighting, Floats]]] = defaultdict(list)

        expected = sample_frames(expect_frames(info), info, hz=self.sample_hz)
        stamps = None if info.stamps is None or is_damaged else {int(info.stamps[frame.index]) for frame in expected}

        def note_times() -> Iterator[Frame]:
            for frame in read_frames(info.path, wanted=stamps, threads=self.threads):
                times.append(frame.time)
                yield frame

        def decode() -> Generator[Frame, None, None]:
            yield from sample_frames(note_times(), info, hz=self.sample_hz)

        def note_samples(decoded: Iterable[Frame]) -> Iterator[Frame]:
            for frame in decoded:
                if frame.source is None:
                    raise _PassedOverError
                samples.append(frame.index)
                on_progress(frame.index + 1, info.frame_count)
                yield frame
            on_progress(len(times), info.frame_count)

        reader, what = self.open_faces(), view or View()
        with closing(prefetch(decode(), depth=DECODED)) as decoded:
            seen = (pair for frame in note_samples(decoded) for pair in reader.read(frame, what.apply(frame.image)))
            for sighting, features in self._embed(seen):
                sightings[sighting.track_id].append((sighting, features))
        tracks = _rank(sightings.values(), samples=len(samples), hz=self.sample_hz)
        too_small = reader.count_too_small(samples=len(samples))
        return Reading(np.array(times), np.array(samples, dtype=np.int64), tuple(tracks), too_small)

    def open_faces(self) -> FaceReader:
        """Return what finds everyone in the frames of one video or one camera."""
        return FaceReader(start_detector(self._detect), self.preprocessing, max_gap=MAX_GAP)

    def _embed(self, sightings: Iterator[tuple[Sighting, Image]]) -> Iterator[tuple[Sighting, Floats]]:
        """Replace crops by features, a batch at a time, while the next batch is gathered."""
        batches = iter(lambda: list(islice(sightings, BATCH_SIZE)), [])

        def embed(batch: list[tuple[Sighting, Image]]) -> Floats:
            return self.engine.embed(np.stack([image for _, image in batch]))

        for batch, features in run_beside(embed, batches):
            yield from zip((sighting for sighting, _ in batch), features, strict=True)


def _open_engine(
    backbone: str | Path | None,
    *,
    weights: str,
    head_file: str | Path | None,
    on_prepare: Callable[[int, int], None],
    where: dict[str, Any],
) -> Engine:
    """Return what runs a sibling model, by its name, or the study's network from a weight set or files, and where."""
    name = str(backbone)
    if name not in SIBLINGS | UNAVAILABLE:
        if isinstance(backbone, str) and not Path(backbone).suffix and not Path(backbone).exists():
            raise UnknownName("backbone", backbone, [*SIBLINGS, "a file"])
        if backbone and Path(backbone).suffix.lower() == ".onnx":
            raise UsageError(
                f"{backbone} is ONNX, which is for other programs; give the file it was made from (.pt, .pth, .h5), or "
                f"a sibling model by its name: {', '.join(SIBLINGS)}."
            )
        head = Path(head_file) if head_file else None
        files = resolve(weights, backbone=Path(backbone) if backbone else None, head=head)
        return open_engine(files, **where, on_progress=on_prepare)
    given = {"weights": weights, "head_file": head_file, **where}
    if wrong := [option for option, value in given.items() if value not in (None, DEFAULT_WEIGHTS, "fp32", "auto")]:
        raise UsageError(
            f"The sibling backbone {name} comes as it is, with its own last layer, on the CPU and without temporal "
            f"heads: leave out {', '.join(wrong)}."
        )
    return open_sibling(name)


def _pick_head(name: str | None, heads: tuple[str, ...]) -> str:
    """Return the head to report: the named one, or else the only one, or else the ensemble, or what is without any."""
    if name is None:
        return ENSEMBLE if len(heads) > 1 else heads[0] if heads else AVERAGE
    if not heads and name in HEAD_NAMES and name != AVERAGE:
        raise UsageError(
            f"The head {name} was asked for, but these weights have no heads: they average single faces. Leave the "
            "head out, or choose weights with heads, such as 'bundled'."
        )
    check_name("head", name, (*heads, ENSEMBLE, AVERAGE) if len(heads) > 1 else (*heads, AVERAGE))
    return name


def _rank(people: Iterable[list[tuple[Sighting, Floats]]], *, samples: int, hz: int) -> list[FaceTrack]:
    """Return the tracks of all real people, the largest total area in time first."""
    dense = hz // SAMPLE_HZ  # a false face stays for as long, however often it is looked at
    real = [seen for seen in people if is_person(-(-len(seen) // dense), samples=samples // dense)]
    real.sort(key=lambda seen: -sum(box_area(sighting.face.box) for sighting, _ in seen))
    return [_join(seen, track_id=rank) for rank, seen in enumerate(real, start=1)]


def _join(seen: list[tuple[Sighting, Floats]], *, track_id: int) -> FaceTrack:
    scores = [np.nan if sighting.face.score is None else sighting.face.score for sighting, _ in seen]
    return FaceTrack(
        track_id=track_id,
        frame_indices=np.array([sighting.index for sighting, _ in seen], dtype=np.int64),
        times=np.array([sighting.time for sighting, _ in seen]),
        boxes=np.array([sighting.face.box for sighting, _ in seen], dtype=np.float32),
        scores=np.array(scores, dtype=np.float32),
        features=np.stack([features for _, features in seen]),
    )
