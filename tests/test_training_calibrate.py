"""The last layer is put right once: rare emotions get their due, and confidence its meaning."""

import numpy as np
import pytest
import torch
from scipy.special import softmax

from emo_affectnet.models import ResNet50
from emo_affectnet.training.calibrate import calibrate, choose_adjustment, fit_temperature

RNG = np.random.default_rng(0)
LABELS = RNG.integers(0, 7, 4000)


def draw_labels(probabilities: np.ndarray) -> np.ndarray:
    """Return labels that occur as often as their probabilities say."""
    return (probabilities.cumsum(axis=1) > RNG.random((len(probabilities), 1))).argmax(axis=1)


@pytest.mark.parametrize("temperature", [0.5, 1.0, 2.5])
def test_the_temperature_is_found_that_labels_were_drawn_with(temperature: float) -> None:
    logits = RNG.normal(0, 3, (20_000, 7))
    labels = draw_labels(softmax(logits, axis=1))
    assert fit_temperature(logits * temperature, labels) == pytest.approx(temperature, rel=0.05)


def test_a_prior_is_taken_out_where_that_helps_and_left_where_it_does_not() -> None:
    log_prior = np.log([0.9, *[0.1 / 6] * 6])
    evidence = 3.0 * np.eye(7)[LABELS] + RNG.normal(0, 1, (len(LABELS), 7))
    assert choose_adjustment(evidence + log_prior, LABELS, log_prior) > 0.6
    assert choose_adjustment(evidence, LABELS, log_prior) < 0.4


def test_what_is_folded_into_the_last_layer_is_what_was_found() -> None:
    torch.manual_seed(0)
    model = ResNet50().eval()
    features = torch.rand(len(LABELS), 512)
    with torch.no_grad():
        model.fc2.weight.copy_(torch.randn(7, 512) * 0.3)
        logits = model.fc2(features).numpy()
    prior = np.array([0.5, 0.2, 0.1, 0.1, 0.05, 0.025, 0.025])
    found = calibrate(model, logits, LABELS, prior=prior)
    with torch.no_grad():
        folded = model.fc2(features).numpy()
    np.testing.assert_allclose(folded, (logits - found.adjustment * np.log(prior)) / found.temperature, atol=1e-4)
    assert found.temperature > 1.5  # random labels deserve no confidence


def test_an_emotion_that_was_never_drawn_does_not_become_certain() -> None:
    model = ResNet50().eval()
    calibrate(model, RNG.normal(0, 1, (len(LABELS), 7)), LABELS, prior=np.array([0.5, 0.5, 0, 0, 0, 0, 0]))
    assert torch.isfinite(model.fc2.bias).all()
