"""One conformance suite over every registry: a new entry is tested the moment it is listed."""

from functools import cache
from pathlib import Path

import numpy as np
import pytest
from conftest import VIDEO_FOLDER

from emo_affectnet.convert import read_faces
from emo_affectnet.detection import DETECTORS
from emo_affectnet.engines import ENGINES, REFERENCE, Engine, open_engine
from emo_affectnet.errors import UsageError
from emo_affectnet.reports import WRITERS
from emo_affectnet.timeline import empty_timeline, window_rows
from emo_affectnet.video import VideoInfo
from emo_affectnet.weight_sets import BUNDLED, WEIGHTS, resolve
from emo_affectnet.weights import CORPUS_NAMES, read_record


@pytest.mark.parametrize("name", DETECTORS)
def test_detector_returns_faces_inside_the_frame_best_first(name: str, astronaut: np.ndarray) -> None:
    faces = DETECTORS[name](confidence=None)(astronaut)
    assert faces
    for face in faces:
        x1, y1, x2, y2 = face.box
        assert 0 <= x1 < x2 <= 512
        assert 0 <= y1 < y2 <= 512
        assert face.score is None or 0 <= face.score <= 1
    scores = [face.score for face in faces if face.score is not None]
    assert scores == sorted(scores, reverse=True)


@pytest.mark.parametrize("name", DETECTORS)
def test_detector_gives_the_same_answer_twice(name: str, astronaut: np.ndarray) -> None:
    detect = DETECTORS[name](confidence=None)
    first = detect(astronaut)
    detect(np.ascontiguousarray(astronaut[:, ::-1]))
    assert detect(astronaut) == first


@cache
def open_bundled(engine: str, weights: str) -> Engine:
    """Return an engine with a bundled set, which is opened once."""
    return open_set(engine, weights)


def open_set(engine: str, weights: str) -> Engine:
    """Return an engine with a weight set, or skip the test if the engine refuses it in a sentence."""
    try:
        return ENGINES[engine](resolve(weights), device="cpu")
    except UsageError as error:
        pytest.skip(str(error))


@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize("weights", WEIGHTS)
def test_engine_embeds_and_classifies_every_weight_set(engine: str, weights: str, every_set: None) -> None:
    files = resolve(weights)
    network = (open_bundled if weights in BUNDLED else open_set)(engine, weights)
    size = files.preprocessing.input_size
    crops = np.random.default_rng(0).integers(0, 256, (3, size, size, 3), dtype=np.uint8)
    features = network.embed(crops)
    assert features.shape == (3, 512)
    assert features.dtype == np.float32
    assert (features >= 0).all()
    assert (features > 0).any()
    if network.heads:
        probabilities = network.classify(np.repeat(features[:, None], 10, axis=1))
        assert probabilities.shape == (len(network.heads), 3, 7)
    else:
        probabilities = network.classify_faces(features)
        assert probabilities.shape == (3, 7)
    np.testing.assert_allclose(probabilities.sum(axis=-1), 1, atol=1e-5)


@pytest.mark.parametrize("weights", BUNDLED)
@pytest.mark.parametrize("engine", ENGINES)
def test_engine_gives_a_crop_the_same_features_in_any_batch(engine: str, weights: str) -> None:
    network = open_bundled(engine, weights)
    size = network.preprocessing.input_size
    crops = np.random.default_rng(1).integers(0, 256, (5, size, size, 3), dtype=np.uint8)
    together = network.embed(crops)
    alone = np.concatenate([network.embed(crops[index : index + 1]) for index in range(5)])
    np.testing.assert_allclose(alone, together, atol=1e-4 * together.max())


@cache
def read_demo_faces(weights: str) -> np.ndarray:
    """RGB crops (24, S, S, 3) for a bundled backbone: four seconds of a face."""
    return read_faces(VIDEO_FOLDER / "expressions.mp4", resolve(weights).preprocessing, limit=24)


@cache
def find_reference(weights: str) -> tuple[np.ndarray, np.ndarray]:
    """What PyTorch makes of these faces."""
    return run_on_faces(open_bundled(REFERENCE, weights), read_demo_faces(weights))


def run_on_faces(engine: Engine, faces: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Features, and probabilities of windows by head, or of single faces (1, N, 7) where there are no heads."""
    features = engine.embed(faces)
    if not engine.heads:
        return features, engine.classify_faces(features)[None]
    return features, engine.classify(features[window_rows(len(features))])


@pytest.mark.parametrize("weights", BUNDLED)
@pytest.mark.parametrize("engine", ENGINES)
def test_engine_agrees_with_the_reference_in_float32(engine: str, weights: str) -> None:
    expected = find_reference(weights)
    features, probabilities = run_on_faces(open_bundled(engine, weights), read_demo_faces(weights))
    np.testing.assert_allclose(features, expected[0], rtol=0, atol=1e-4 * expected[0].max())
    np.testing.assert_allclose(probabilities, expected[1], rtol=0, atol=1e-4)


@pytest.mark.parametrize("weights", BUNDLED)
@pytest.mark.parametrize(
    ("engine", "precision"),
    [(name, precision) for name, engine in ENGINES.items() for precision in engine.precisions if precision != "fp32"],
)
def test_engine_keeps_the_emotions_in_fewer_bits(engine: str, precision: str, weights: str) -> None:
    try:
        opened = open_engine(resolve(weights), engine=engine, precision=precision, device="cpu")
    except UsageError as error:
        pytest.skip(str(error))
    expected = find_reference(weights)[1]
    _, probabilities = run_on_faces(opened, read_demo_faces(weights))
    assert np.abs(probabilities - expected).mean() < 0.02
    axis = 0 if opened.heads else 1  # windows by the mean of the heads; the mean of single faces
    found, sought = probabilities.mean(axis=axis), expected.mean(axis=axis)
    np.testing.assert_array_equal(found.argmax(axis=-1), sought.argmax(axis=-1))


@pytest.mark.parametrize("weights", WEIGHTS)
def test_weight_set_has_six_heads_that_never_saw_their_namesake_or_none(weights: str, every_set: None) -> None:
    files = resolve(weights)
    assert tuple(files.heads) == (() if weights == "bundled-mobile" else CORPUS_NAMES)
    for name, path in files.heads.items():
        record = read_record(path)
        assert record is not None
        assert record.held_out == name
        assert len(record.trained_on) == 5
        assert not any(name in corpus for corpus in record.trained_on)


@pytest.mark.parametrize("name", WRITERS)
def test_writer_makes_one_whole_file(name: str, tmp_path: Path) -> None:
    info = VideoInfo(Path("clip.mp4"), 64, 48, 25.0, 0.12, 3, False, True)
    timeline = empty_timeline(info, times=np.arange(3) / 25, heads=CORPUS_NAMES, head="ensemble")
    WRITERS[name](timeline, tmp_path / "deep" / f"clip.{name}")
    assert [path.name for path in (tmp_path / "deep").iterdir()] == [f"clip.{name}"]
    assert (tmp_path / "deep" / f"clip.{name}").stat().st_size > 0
