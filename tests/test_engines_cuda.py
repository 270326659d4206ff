"""PyTorch on a graphics card of NVIDIA: the same answers as on the processor, and the same ones every time."""

import numpy as np
import pytest
import torch
from conftest import VIDEO_FOLDER

from emo_affectnet.convert import read_faces
from emo_affectnet.engines.torch_engine import TorchEngine
from emo_affectnet.recognizer import EmotionRecognizer
from emo_affectnet.timeline import window_rows
from emo_affectnet.weight_sets import resolve

pytestmark = pytest.mark.gpu


@pytest.fixture(scope="module")
def faces() -> np.ndarray:
    """RGB crops (24, S, S, 3) for the bundled backbone: four seconds of a face."""
    return read_faces(VIDEO_FOLDER / "expressions.mp4", resolve().preprocessing, limit=24)


def judge(faces: np.ndarray, *, device: str, precision: str = "fp32") -> tuple[np.ndarray, np.ndarray]:
    """Return features, and probabilities of windows by head."""
    engine = TorchEngine(resolve(), device=device, precision=precision)
    features = engine.embed(faces)
    return features, engine.classify(features[window_rows(len(features))])


@pytest.fixture(scope="module")
def on_cpu(faces: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    return judge(faces, device="cpu")


def test_a_card_agrees_with_the_cpu_in_float32(faces: np.ndarray, on_cpu: tuple[np.ndarray, np.ndarray]) -> None:
    features, probabilities = judge(faces, device="cuda")
    np.testing.assert_allclose(features, on_cpu[0], rtol=0, atol=1e-5 * on_cpu[0].max())  # TF32 misses by 1e-3
    np.testing.assert_allclose(probabilities, on_cpu[1], rtol=0, atol=1e-5)


@pytest.mark.parametrize("precision", ["bf16", "fp16"])
def test_a_card_keeps_the_emotions_in_half_precision(
    precision: str, faces: np.ndarray, on_cpu: tuple[np.ndarray, np.ndarray]
) -> None:
    _, probabilities = judge(faces, device="cuda", precision=precision)
    assert np.abs(probabilities - on_cpu[1]).mean() < 0.02
    np.testing.assert_array_equal(probabilities.mean(axis=1).argmax(axis=1), on_cpu[1].mean(axis=1).argmax(axis=1))


def test_other_networks_of_the_process_keep_their_settings(faces: np.ndarray) -> None:
    before = torch.backends.cudnn.enabled, torch.backends.cudnn.deterministic, torch.backends.cudnn.allow_tf32
    judge(faces, device="cuda")
    after = torch.backends.cudnn.enabled, torch.backends.cudnn.deterministic, torch.backends.cudnn.allow_tf32
    assert after == before


def test_a_video_gives_the_same_numbers_in_every_run() -> None:
    one, other = (EmotionRecognizer(device="cuda").predict(VIDEO_FOLDER / "expressions.mp4") for _ in range(2))
    np.testing.assert_array_equal(one.window_probabilities, other.window_probabilities)
