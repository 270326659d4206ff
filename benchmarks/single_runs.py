"""One measurement in one process, because peak memory is a figure of a process: what `speed.py` starts.

In go the name of a measurement and its settings as JSON, out comes a line of JSON. Packages are imported before the
clock starts, on both sides; loading weights and detector is on the clock, because both sides have to do it.

    python benchmarks/single_runs.py stages '{"clip": "video/expressions.mp4"}'
"""

import json
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from measurement import Stopwatch, peak_memory

from emo_affectnet.detection import DEFAULT_DETECTOR, DETECTORS, start_detector
from emo_affectnet.engines import ENGINES, Engine, open_engine
from emo_affectnet.errors import EmoAffectNetError, silent_errors
from emo_affectnet.faces import FaceTracker, Sighting, crop
from emo_affectnet.recognizer import BATCH_SIZE, EmotionRecognizer, Reading
from emo_affectnet.reports import write_csv
from emo_affectnet.timeline import MAX_GAP, FaceTrack, Timeline, sample_frames
from emo_affectnet.video import Frame, expect_frames, probe, read_frames
from emo_affectnet.weight_sets import resolve
from emo_affectnet.weights import Preprocessing

WEIGHTS = "bundled"  # the published pipeline runs a ResNet50 only
HEAD = "RAVDESS"  # the published default; ours runs all heads of its set, and this one's probabilities are compared
RATE_SECONDS = 1.0  # s for which a batch size is tried
BATCHES = (1, 4, 8, 16, 32, 64)  # crops


@dataclass
class Clock:
    """What a body of code took: seconds, and seconds of the processor over all threads."""

    wall: float = 0.0
    cpu: float = 0.0


@contextmanager
def clock() -> Iterator[Clock]:
    """Measure the body."""
    taken = Clock()
    wall, cpu = time.perf_counter(), time.process_time()
    yield taken
    taken.wall, taken.cpu = time.perf_counter() - wall, time.process_time() - cpu


def open_recognizer(*, detector: str = DEFAULT_DETECTOR, **options: Any) -> EmotionRecognizer:
    """Load what an analysis needs."""
    return EmotionRecognizer(weights=WEIGHTS, detector=detector, **options)


def import_packages(engine: str | None, *, detector: str = DEFAULT_DETECTOR) -> None:
    """Import what would be imported when first used: MediaPipe and the engine's package, which is named like it."""
    DETECTORS[detector]()
    with suppress(ImportError), silent_errors():
        import_module(engine or next(iter(ENGINES)))


def prepare(**options: Any) -> dict[str, Any]:
    """Load everything once, so that graphs which are made at first use are there."""
    opened = open_recognizer(**options).engine
    return {"engine": opened.name, "precision": opened.precision, "where": opened.description}


def write_keras_files(*, folder: str) -> dict[str, Any]:
    """Write the bundled backbone and head as Keras files, which is how the published pipeline has its weights."""
    with silent_errors():  # TensorFlow's notes at its start
        from published_pipeline import write_keras_files
    weights = resolve(WEIGHTS)
    backbone, head = write_keras_files(weights.backbone, weights.heads[HEAD], folder=Path(folder))
    return {"backbone": str(backbone), "head": str(head)}


def run_ours(*, clip: str, times: int = 1, **options: Any) -> dict[str, Any]:
    """Analyse a clip, loading included, and then once more in the same process if `times` is 2."""
    import_packages(options.get("engine"), detector=options.get("detector", DEFAULT_DETECTOR))
    with tempfile.TemporaryDirectory() as folder:

        def analyze(recognizer: EmotionRecognizer) -> list[Timeline]:
            people = recognizer.predict_all(clip)
            for person in people:
                write_csv(person, Path(folder, f"{person.track_id}.csv"))
            return people

        with clock() as first:
            recognizer = open_recognizer(**options)
            people = analyze(recognizer)
        memory, later = peak_memory(), Clock()
        if times > 1:
            with clock() as later:
                analyze(recognizer)
    of_head = people[0].window_probabilities[people[0].heads.index(HEAD)]
    return _tell(first, later, memory=memory, windows=of_head) | {"stages": {}, "people": len(people)}


def run_published(
    *, clip: str, backbone: str, head: str, preprocessing: dict[str, Any], times: int = 1
) -> dict[str, Any]:
    """Analyse a clip by the published steps, and then once more if `times` is 2."""
    with silent_errors():  # TensorFlow's notes at its start
        from published_pipeline import analyze
    import_packages("tensorflow")
    with tempfile.TemporaryDirectory() as folder:

        def run() -> tuple[npt.NDArray[np.float32], dict[str, float]]:
            found = analyze(
                Path(clip),
                backbone=Path(backbone),
                head=Path(head),
                preprocessing=Preprocessing(**preprocessing),
                save=Path(folder, "report.csv"),
            )
            return found.windows, found.seconds

        with clock() as first:
            windows, stages = run()
        memory, later = peak_memory(), Clock()
        if times > 1:
            with clock() as later:
                run()
    return _tell(first, later, memory=memory, windows=windows) | {"stages": stages}


def _tell(first: Clock, later: Clock, *, memory: int, windows: npt.NDArray[np.float32]) -> dict[str, Any]:
    return {
        "wall": first.wall,
        "cpu": first.cpu,
        "memory": memory,
        "later_wall": later.wall,
        "later_cpu": later.cpu,
        "windows": windows.astype(np.float64).round(7).tolist(),
    }


def run_backbone(*, backbone: str | None = None, **options: Any) -> dict[str, Any]:
    """Find how many crops per second the backbone alone embeds at the batch size that suits it best."""
    weights = resolve(WEIGHTS, backbone=Path(backbone) if backbone else None)
    return find_rate(open_engine(weights, **options), input_size=weights.preprocessing.input_size)


def find_rate(engine: Engine, *, input_size: int) -> dict[str, Any]:
    """Return how many random crops per second an engine embeds, and the batch size that suits it best."""
    random = np.random.default_rng(0)
    rates: dict[int, float] = {}
    for size in BATCHES:
        crops = random.integers(0, 256, (size, input_size, input_size, 3), np.uint8)
        engine.embed(crops)
        began, done = time.perf_counter(), 0
        while time.perf_counter() - began < RATE_SECONDS:
            engine.embed(crops)
            done += size
        rates[size] = done / (time.perf_counter() - began)
    best = max(rates, key=lambda size: rates[size])
    return {"batch": best, "crops_per_second": rates[best]}


def run_stages(*, clip: str, **options: Any) -> dict[str, Any]:
    """Time the stages of our road one after another, none beside another as they are in the product."""
    import_packages(options.get("engine"), detector=options.get("detector", DEFAULT_DETECTOR))
    watch = Stopwatch()
    with watch.stage("load"):
        recognizer = open_recognizer(**options)
    detect, tracker = start_detector(DETECTORS[recognizer.detector]()), FaceTracker(MAX_GAP)
    times: list[float] = []
    samples: list[int] = []
    seen: list[tuple[Sighting, npt.NDArray[np.uint8]]] = []
    with watch.stage("probe"):
        info = probe(clip)
        expected = sample_frames(expect_frames(info), info)
        wanted = None if info.stamps is None else {int(info.stamps[frame.index]) for frame in expected}

    def note_times() -> Iterator[Frame]:
        for frame in read_frames(clip, wanted=wanted):
            times.append(frame.time)
            yield frame

    frames = iter(sample_frames(note_times(), info))
    while True:
        with watch.stage("decode"):
            frame = next(frames, None)
        if frame is None:
            break
        samples.append(frame.index)
        with watch.stage("convert"):
            image = frame.image
        with watch.stage("detect"):
            faces = detect(image)
        with watch.stage("track"):
            people = tracker.update(faces, image=image, time=frame.time)
        with watch.stage("crop"):
            for face, track_id in zip(faces, people, strict=True):
                sighting = Sighting(track_id, frame.index, frame.time, face)
                seen.append((sighting, crop(image, face.box, recognizer.preprocessing)))
    crops = np.stack([image for _, image in seen])
    with watch.stage("embed"):
        batches = [crops[start : start + BATCH_SIZE] for start in range(0, len(crops), BATCH_SIZE)]
        features = np.concatenate([recognizer.engine.embed(batch) for batch in batches])
    track = _join([sighting for sighting, _ in seen], features)
    with watch.stage("classify"):
        people_over_time = recognizer.interpret(Reading(np.array(times), np.array(samples), (track,)), info)
    with tempfile.TemporaryDirectory() as folder, watch.stage("write"):
        write_csv(people_over_time[0], Path(folder, "report.csv"))
    return {"stages": watch.seconds, "crops": len(crops), "frames": len(times)}


def _join(seen: list[Sighting], features: npt.NDArray[np.float32]) -> FaceTrack:
    """Return the track of the only person in a clip."""
    return FaceTrack(
        track_id=1,
        frame_indices=np.array([sighting.index for sighting in seen]),
        times=np.array([sighting.time for sighting in seen]),
        boxes=np.array([sighting.face.box for sighting in seen], np.float32),
        scores=np.array([sighting.face.score for sighting in seen], np.float32),
        features=features,
    )


def run_start(*, clip: str, began: float, **options: Any) -> dict[str, Any]:
    """Tell the seconds from the start of the process, `began` s on the clock of the day, to the first face judged."""
    next(filter(None, open_recognizer(**options).stream(read_frames(clip))))
    return {"wall": time.time() - began}


RUNS: dict[str, Callable[..., dict[str, Any]]] = {
    "prepare": prepare,
    "write_keras_files": write_keras_files,
    "ours": run_ours,
    "published": run_published,
    "backbone": run_backbone,
    "stages": run_stages,
    "start": run_start,
}

if __name__ == "__main__":
    try:
        figures = RUNS[sys.argv[1]](**json.loads(sys.argv[2]))
    except EmoAffectNetError as error:
        figures = {"unavailable": str(error)}
    print(json.dumps(figures))
