"""From a trained network to probabilities one can use: rare emotions get their due, and confidence its meaning.

Both changes are folded into the last layer, so that nothing has to be known of them when the weights are used.
"""

from dataclasses import dataclass

import numpy as np
import torch
from scipy.optimize import minimize_scalar  # type: ignore[import-untyped]  # scipy has no types
from scipy.special import log_softmax  # type: ignore[import-untyped]

from ..mobilenet import Backbone
from ..timeline import Doubles, Floats, Integers
from .metrics import uar, war

ADJUSTMENTS = np.linspace(0, 1, 11)


@dataclass(frozen=True)
class Calibration:
    """What is folded into the last layer: logits become (logits - adjustment * log(prior)) / temperature."""

    adjustment: float  # 0 leaves the logits as they are, 1 undoes the training prior (Menon et al., 2021)
    temperature: float  # above 1 for a network that is too sure of itself (Guo et al., 2017)


def choose_adjustment(logits: Floats, labels: Integers, log_prior: Doubles) -> float:
    """Return the share of the training prior to undo: the one with the largest sum of UAR and accuracy.

    UAR alone would buy a few faces of Disgust at the price of many of Neutral.
    """
    scores = []
    for adjustment in ADJUSTMENTS:
        predicted = (logits - adjustment * log_prior).argmax(axis=1)
        scores.append(uar(labels, predicted) + war(labels, predicted))
    return float(ADJUSTMENTS[int(np.argmax(scores))])


def fit_temperature(logits: Floats, labels: Integers) -> float:
    """Return the temperature, 0.1 to 10, that gives labels (N,) the largest likelihood under logits (N, 7)."""

    def negative_likelihood(log_temperature: float) -> float:
        likelihoods = log_softmax(logits / np.exp(log_temperature), axis=1)
        return float(-likelihoods[np.arange(len(labels)), labels].mean())

    found = minimize_scalar(negative_likelihood, bounds=(np.log(0.1), np.log(10)), method="bounded")
    return float(np.exp(found.x))


def calibrate(model: Backbone, logits: Floats, labels: Integers, *, prior: Doubles) -> Calibration:
    """Fold into the model's last layer what its own logits (N, 7) on labelled faces ask for; return what it was.

    `prior` (7,) is how often each emotion was drawn in training; an emotion that never was stays as it is.
    """
    log_prior = np.log(np.where(prior > 0, prior, prior[prior > 0].min()))
    adjustment = choose_adjustment(logits, labels, log_prior)
    temperature = fit_temperature(logits - adjustment * log_prior, labels)
    with torch.no_grad():
        model.fc2.bias.sub_(adjustment * torch.from_numpy(log_prior).float()).div_(temperature)
        model.fc2.weight.div_(temperature)
    return Calibration(adjustment, temperature)
