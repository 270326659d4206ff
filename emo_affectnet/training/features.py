"""Clips become sequences of backbone features, once: through the recognizer's own front half, into a cache.

A video is read whole, however many clips are cut from it, and the cache holds what was read: one `.npz` for each video
and view, named after the hash of the video, of the backbone and of every setting. A run that was stopped goes on with
what is missing; nothing has to be thrown away by hand when a setting changes.
"""

import hashlib
import math
import multiprocessing
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
import torch

from ..emotions import Emotion
from ..errors import CorpusError, EmoAffectNetError, VideoError
from ..faces import View, box_area, crop
from ..files import whole_file
from ..recognizer import EmotionRecognizer, Reading
from ..timeline import (
    SAMPLE_HZ,
    Booleans,
    Doubles,
    FaceTrack,
    Floats,
    Integers,
    Windows,
    find_observed,
    sample_stride,
    slide,
    track_rows,
)
from ..video import probe
from ..weights import hash_file
from .corpora.clip import Clip, Problem, Scan
from .corpora.pictures import read_picture
from .metrics import NO_FACE
from .results import SIMULATED

NOBODY = FaceTrack(
    track_id=1,
    frame_indices=np.empty(0, np.int64),
    times=np.empty(0),
    boxes=np.empty((0, 4), np.float32),
    scores=np.empty(0, np.float32),
    features=np.empty((0, 512), np.float32),
)
FOLDER_FPS = 30  # of a folder of face images, which says nothing of its rate
FOLDER_BATCH = 32  # images read at once
UNREADABLE = "unreadable video"  # the kind of a problem
TRACK_FIELDS = ("frame_indices", "times", "boxes", "scores", "features")

Recognizer = Callable[[], EmotionRecognizer]
Source = tuple[Path, View | None]
Progress = Callable[[int, int], None]  # videos done, videos in all


@dataclass(frozen=True, eq=False)
class ClipFeatures:
    """One labelled clip as the heads see it: the samples in which the speaker's face was found."""

    name: str
    speaker: str
    label: int  # of the clip as a whole
    times: Doubles  # (T,) s
    features: Floats  # float32 (T, 512), never negative
    mass: Floats  # float32 (T, 7), how much each sample says for each emotion; a row of zeros says nothing
    frame_indices: Integers = field(default_factory=lambda: np.empty(0, np.int64))  # (T,), from the clip's first frame
    frame_labels: Integers | None = None  # int64 (F,), -1 unlabelled; None: the clip has one label
    observed: Booleans | None = None  # bool (F,), the report shows a face; None: it does up to the last sample
    split: str | None = None  # as the corpus itself divides
    columns: Mapping[str, str] = field(default_factory=dict)  # what else the table of the clips says, by column

    @property
    def frames(self) -> Booleans:
        """Whether the report shows a face in each of the clip's frames, bool (F,)."""
        if self.observed is not None:
            return self.observed
        last = int(self.frame_indices[-1]) + 1 if len(self.frame_indices) else 0
        return np.ones(last if self.frame_labels is None else len(self.frame_labels), dtype=bool)

    @property
    def coverage(self) -> float:
        """Share of the clip's frames with a face."""
        return float(self.frames.mean()) if len(self.frames) else 0.0


@dataclass(frozen=True)
class CorpusFeatures:
    """The clips of one corpus, real or simulated."""

    name: str
    clips: tuple[ClipFeatures, ...]
    is_simulated: bool = False
    policies: dict[str, str] = field(default_factory=dict)
    problems: tuple[Problem, ...] = ()

    @property
    def title(self) -> str:
        """Return the name under which results show it: nobody may take a simulated corpus for the real one."""
        return f"{SIMULATED}{self.name}" if self.is_simulated else self.name

    @property
    def labels(self) -> Integers:
        """Return the labels of the clips, int64 (clips,)."""
        return np.array([clip.label for clip in self.clips], dtype=np.int64)


@dataclass(frozen=True, eq=False)
class LabelledWindows:
    """Windows of labelled clips."""

    features: Floats  # float32 (W, 10, 512)
    labels: Integers  # int64 (W,)
    clips: Integers  # int64 (W,), 0-based position of the clip in its corpus

    def __len__(self) -> int:
        return len(self.labels)


def cut_windows(corpus: CorpusFeatures) -> LabelledWindows:
    """Cut every clip into windows; each has the label of the emotion with most mass in it, and none without any."""
    features, labels, positions = [np.empty((0, 10, 512), np.float32)], [np.empty(0, np.int64)], []
    for position, clip in enumerate(corpus.clips):
        rows = track_rows(clip.times)
        mass = clip.mass[rows].sum(axis=1)  # (W, 7)
        said = mass.any(axis=1)
        features.append(clip.features[rows[said]])
        labels.append(mass[said].argmax(axis=1))
        positions.append(np.full(int(said.sum()), position, dtype=np.int64))
    return LabelledWindows(
        np.concatenate(features), np.concatenate(labels), np.concatenate([np.empty(0, np.int64), *positions])
    )


def split_speakers(corpus: CorpusFeatures, *, share: float, seed: int = 0) -> tuple[CorpusFeatures, CorpusFeatures]:
    """Return the corpus in two parts without a common speaker, the second with about `share` of the speakers.

    The second part has at least one speaker; of a corpus with one, both parts are the whole.
    """
    speakers = sorted({clip.speaker for clip in corpus.clips})
    if len(speakers) < 2:
        return corpus, corpus
    order = np.random.default_rng(seed).permutation(speakers)
    kept_apart = set(order[: max(round(share * len(speakers)), 1)])
    first, second = (
        tuple(clip for clip in corpus.clips if (clip.speaker in kept_apart) == inside) for inside in (False, True)
    )
    return replace(corpus, clips=first), replace(corpus, clips=second)


def cut_clip(clip: Clip, reading: Reading) -> ClipFeatures:
    """Cut a clip's interval from what was read of its video; its face is the largest over the longest time in it.

    A clip too short for a sample has the one nearest to its middle. A frame's label is that of its own index.
    """
    last = reading.times[-1] + 1 if len(reading.times) else 0.0
    start, end = clip.start, min(clip.end if clip.end is not None else last, last)
    parts = [part for track in reading.tracks if (part := _within(track, start, end)) is not None]
    frames = None if clip.frame_emotions is None else np.full(len(reading.times), NO_FACE, np.int64)
    if frames is not None and clip.frame_emotions is not None:
        count = min(len(frames), len(clip.frame_emotions))  # they may differ by a few
        frames[:count] = clip.frame_emotions[:count]
    label = int(clip.emotion) if clip.emotion is not None else NO_FACE
    track = max(parts, key=_size, default=NOBODY)
    said = np.full(len(track), label) if frames is None else frames[track.frame_indices]
    own = np.flatnonzero((reading.times >= start) & (reading.times < end)) if frames is None else np.arange(len(frames))
    within = np.concatenate([own, track.frame_indices])  # the nearest sample of a short clip may lie outside
    first, stop = (int(within.min()), int(within.max()) + 1) if len(within) else (0, 0)
    return ClipFeatures(
        name=clip.name,
        speaker=clip.speaker,
        label=label,
        times=track.times,
        features=track.features,
        mass=(said[:, None] == np.arange(len(Emotion))).astype(np.float32),
        frame_indices=track.frame_indices - first,
        frame_labels=frames,
        observed=_observe(track, reading)[first:stop],
        split=clip.split,
        columns=clip.columns,
    )


def _size(track: FaceTrack) -> int:
    """Return the area of a face in px, summed over its samples."""
    return sum(box_area(tuple(box)) for box in track.boxes.tolist())


def _observe(track: FaceTrack, reading: Reading) -> Booleans:
    return find_observed(track, samples=reading.samples, frame_count=len(reading.times))


def _within(track: FaceTrack, start: float, end: float) -> FaceTrack | None:
    inside = (track.times >= start) & (track.times < end)
    if not inside.any():
        middle = (start + end) / 2
        nearest = int(np.abs(track.times - middle).argmin())
        if abs(track.times[nearest] - middle) > 1 / SAMPLE_HZ:
            return None
        inside[nearest] = True
    return FaceTrack(track.track_id, *(getattr(track, name)[inside] for name in TRACK_FIELDS))


def track_windows(clip: ClipFeatures) -> Windows:
    """Return the windows of a clip with the frames they cover."""
    return slide(track_of(clip))


def track_of(clip: ClipFeatures) -> FaceTrack:
    """Return the face of a clip as a track, without its place in the picture."""
    nowhere = np.empty((len(clip.times), 4), np.float32)
    return FaceTrack(1, clip.frame_indices, clip.times, nowhere, nowhere[:, 0], clip.features)


def measure_seconds(scan: Scan) -> tuple[float, list[Problem]]:
    """Return the seconds in the labelled clips of a scan, and the videos that cannot be read."""
    durations: dict[Path, float] = {}
    unreadable = []
    for path in dict.fromkeys(clip.path for clip in _labelled(scan)):
        try:
            is_folder = path.is_dir()
            durations[path] = (len(list(path.iterdir())) / FOLDER_FPS if is_folder else probe(path).duration) or 0.0
        except VideoError as error:
            unreadable.append(Problem(UNREADABLE, str(error)))
    clips = [clip for clip in _labelled(scan) if clip.path in durations]
    return sum(max(min(clip.end or math.inf, durations[clip.path]) - clip.start, 0) for clip in clips), unreadable


def _labelled(scan: Scan) -> list[Clip]:
    return [clip for clip in scan.clips if clip.emotion is not None]


def extract(
    scans: Sequence[Scan],
    *,
    recognizer: Recognizer,
    cache: Path,
    jobs: int = 1,
    on_progress: Progress = lambda done, total: None,
) -> list[CorpusFeatures]:
    """Return the features of every labelled clip of each scanned corpus, reading only videos that are not in `cache`.

    `recognizer` makes one; each of `jobs` processes loads its own. A video that cannot be read becomes a problem, and
    its clips are not among the result.
    """
    sources = list(dict.fromkeys((clip.path, clip.view) for scan in scans for clip in _labelled(scan)))
    cache.mkdir(parents=True, exist_ok=True)
    found: dict[Source, Path | str] = {}
    for source, where in _read_all(sources, recognizer, cache, jobs):
        found[source] = where
        on_progress(len(found), len(sources))
    return [_assemble(scan, found) for scan in scans]


def _assemble(scan: Scan, found: Mapping[Source, Path | str]) -> CorpusFeatures:
    """Cut the labelled clips of a scan from the readings in the cache."""
    cut: dict[str, ClipFeatures] = {}
    problems = list(scan.problems)
    by_source: dict[Source, list[Clip]] = defaultdict(list)
    for clip in _labelled(scan):
        by_source[clip.path, clip.view].append(clip)
    for source, clips in by_source.items():
        where = found[source]
        if isinstance(where, str):
            problems.append(Problem(UNREADABLE, where))
        else:
            reading = load_reading(where)
            cut.update((clip.name, cut_clip(clip, reading)) for clip in clips)
    kept = tuple(cut[clip.name] for clip in _labelled(scan) if clip.name in cut)
    return CorpusFeatures(scan.corpus, kept, scan.is_simulated, dict(scan.policies), tuple(problems))


def _read_all(
    sources: Sequence[Source], recognizer: Recognizer, cache: Path, jobs: int
) -> Iterator[tuple[Source, Path | str]]:
    """Yield each source with its file in the cache, or with the reason why it has none."""
    if jobs == 1:
        _start(recognizer, cache, threads=0)
        yield from ((source, _read(source)) for source in sources)
        return
    context = multiprocessing.get_context("spawn")  # a forked process would share the parent's threads
    threads = max(multiprocessing.cpu_count() // jobs, 1)
    with ProcessPoolExecutor(jobs, context, _start, (recognizer, cache, threads)) as pool:
        yield from zip(sources, pool.map(_read, sources), strict=True)


class _Worker:
    """What one process keeps between videos."""

    recognizer: EmotionRecognizer
    settings: str
    cache: Path


def _start(recognizer: Recognizer, cache: Path, threads: int) -> None:
    if threads:
        torch.set_num_threads(threads)
    made = recognizer()
    _Worker.recognizer, _Worker.cache = made, cache
    backbone = hash_file(made.engine.backbone)
    _Worker.settings = repr((backbone, made.preprocessing, made.detector, made.confidence, SAMPLE_HZ))


def _read(source: Source) -> Path | str:
    path, view = source
    try:
        key = hashlib.sha256(f"{_hash_source(path)} {view} {_Worker.settings}".encode()).hexdigest()[:32]
        cached = _Worker.cache / f"{key}.npz"
        if not cached.is_file():
            made = _Worker.recognizer
            reading = read_folder(path, made) if path.is_dir() else made.read(path, view=view)
            _save_reading(reading, cached)
    except (EmoAffectNetError, OSError) as error:
        return f"{path}: {error}"
    return cached


def _hash_source(path: Path) -> str:
    """Return what identifies the content of a video, or of a folder of images by their names and sizes."""
    if not path.is_dir():
        return hash_file(path)
    listing = sorted((file.name, file.stat().st_size) for file in path.iterdir())
    return hashlib.sha256(repr(listing).encode()).hexdigest()


def read_folder(folder: Path, recognizer: EmotionRecognizer) -> Reading:
    """Return the one track in a folder of face images, 00001.jpg being frame 0; a missing number is a frame without it.

    The images have no times. They are taken for FOLDER_FPS frames a second, and sampled as a video of that rate.

    Raises:
        CorpusError: there is no numbered image, or one cannot be read.
    """
    files = {int(path.stem) - 1: path for path in folder.iterdir() if path.stem.isdigit()}
    if not files:
        raise CorpusError(f"Expected images such as 00001.jpg in {folder}, but there is none.")
    count = max(files) + 1
    samples = np.arange(0, count, sample_stride(FOLDER_FPS))
    seen = np.array([index for index in samples if int(index) in files], dtype=np.int64)
    whole = replace(recognizer.preprocessing, crop_margin=(0.0, 0.0, 0.0, 0.0))  # the image is the crop
    boxes, features = [], [NOBODY.features]
    for start in range(0, len(seen), FOLDER_BATCH):
        images = [read_picture(files[int(index)]) for index in seen[start : start + FOLDER_BATCH]]
        batch = [(0, 0, image.shape[1], image.shape[0]) for image in images]
        crops = [crop(image, box, whole) for image, box in zip(images, batch, strict=True)]
        features.append(recognizer.engine.embed(np.stack(crops)))
        boxes += batch
    track = FaceTrack(
        track_id=1,
        frame_indices=seen,
        times=seen / FOLDER_FPS,
        boxes=np.array(boxes, np.float32).reshape(-1, 4),
        scores=np.full(len(seen), np.nan, np.float32),
        features=np.concatenate(features),
    )
    return Reading(np.arange(count) / FOLDER_FPS, samples, (track,))


def _save_reading(reading: Reading, path: Path) -> None:
    lengths = [len(track) for track in reading.tracks]
    arrays = {
        name: np.concatenate([getattr(track, name) for track in reading.tracks])
        for name in TRACK_FIELDS
        if reading.tracks
    }
    with whole_file(path) as partial:
        np.savez(partial, frame_times=reading.times, samples=reading.samples, lengths=lengths, **arrays)


def load_reading(path: Path) -> Reading:
    """Return a reading from the cache."""
    with np.load(path) as stored:
        arrays = dict(stored)
    edges = np.cumsum([0, *arrays["lengths"].astype(int)])
    tracks = tuple(
        FaceTrack(rank, *(arrays[name][start:stop] for name in TRACK_FIELDS))
        for rank, (start, stop) in enumerate(zip(edges, edges[1:], strict=False), start=1)
    )
    return Reading(arrays["frame_times"], arrays["samples"], tracks)
