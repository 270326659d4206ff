"""Engagement: features of single frames go in, the probability of being engaged comes out.

The network reads windows of 128 frames in a row. Its attention gets [standard deviation over the window ; features of a
frame] for every frame; what is the same in all frames of a window drops out of a softmax, so that the context is
[standard deviation ; attended mean of the features]. Both are kept up to date while the window moves, in O(N).

Source: Savchenko, Savchenko, Makarov, "Classifying emotions and engagement in online learning based on a single facial
expression recognition neural network", IEEE Transactions on Affective Computing 13(4), 2022, and the code published
with it. The last window, which that code leaves out, is read here.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from enum import IntEnum
from pathlib import Path

import numpy as np

from ..engines import softmax
from ..errors import UsageError, WrongArchitecture
from ..keras_files import read_layers
from ..timeline import Doubles, Floats

ENGAGEMENT_WINDOW = 128  # frames
ENGAGEMENT_FEATURES = 1280  # of a frame
HIDDEN = 512
BLOCKS = 4  # of ENGAGEMENT_WINDOW frames, worked on at once

SHAPES: dict[str, tuple[tuple[int, ...], ...]] = {  # kernel and bias of each layer
    "e": ((2 * ENGAGEMENT_FEATURES, 1), (1,)),
    "hidden_FC": ((2 * ENGAGEMENT_FEATURES, HIDDEN), (HIDDEN,)),
    "dense": ((HIDDEN, 2), (2,)),
}


class Engagement(IntEnum):
    """What the network tells apart; the value is the column of its output."""

    Distracted = 0
    Engaged = 1


@dataclass(frozen=True, eq=False)
class _Moments:
    """What is known of some of the frames of each block: their mean and spread, and their attended sum."""

    count: int
    mean: Doubles  # (B, D)
    deviation: Doubles  # (B, D), sum of squared differences from the mean
    peak: Doubles  # (B, 1), largest attention score
    weight: Doubles  # (B, 1), sum of exp(score - peak)
    attended: Doubles  # (B, D), sum of exp(score - peak) * features

    def add(self, frame: Doubles, score: Doubles) -> "_Moments":
        """Return the moments with one more frame of each block, (B, D), and its score (B, 1)."""
        count = self.count + 1
        change = frame - self.mean
        mean = self.mean + change / count
        peak = np.maximum(self.peak, score)
        fading, share = np.exp(self.peak - peak), np.exp(score - peak)
        return _Moments(
            count,
            mean,
            self.deviation + change * (frame - mean),
            peak,
            self.weight * fading + share,
            self.attended * fading + share * frame,
        )

    def join(self, other: "_Moments") -> Doubles:
        """Return the context [standard deviation ; attended mean], (B, 2 D), of these frames and others together."""
        count = self.count + other.count
        change = other.mean - self.mean
        deviation = self.deviation + other.deviation + np.square(change) * (self.count * other.count / count)
        peak = np.maximum(self.peak, other.peak)
        fading, share = np.exp(self.peak - peak), np.exp(other.peak - peak)
        weight = self.weight * fading + other.weight * share
        attended = (self.attended * fading + other.attended * share) / weight
        return np.concatenate([np.sqrt(deviation / count), attended], axis=1)


def _nothing(blocks: int, width: int) -> _Moments:
    zeros, zero = np.zeros((blocks, width)), np.zeros((blocks, 1))
    return _Moments(0, zeros, zeros, np.full((blocks, 1), -np.inf), zero, zeros)


class EngagementHead:
    """The engagement network of a Keras file (.h5).

    Raises:
        WeightsError: the file is missing, damaged, or another network's.
    """

    def __init__(self, path: str | Path) -> None:
        layers = read_layers(Path(path))
        found = {name: tuple(weights.shape for weights in layer) for name, layer in layers.items() if layer}
        if found != SHAPES:
            raise WrongArchitecture(
                f"{path} should be the engagement network with the layers {_list(SHAPES)}, but it has "
                f"{_list(found)}. Give engagement_single_attention.h5 here."
            )
        score, hidden, last = ([weights.astype(np.float64) for weights in layers[name]] for name in SHAPES)
        self._attention = score[0][ENGAGEMENT_FEATURES:, 0]  # (1280,); the rest is the same for a whole window
        self._hidden, self._last = hidden, last

    def classify(self, features: Floats) -> Floats:
        """Return probabilities (N - 127, 2), Distracted and Engaged, of all windows over features (N, 1280).

        Raises:
            UsageError: the features are too few, of another network, or not finite.
        """
        _check_features(features)
        count = len(features) - ENGAGEMENT_WINDOW + 1
        probabilities = np.empty((count, len(Engagement)), np.float32)
        for start in range(0, count, BLOCKS * ENGAGEMENT_WINDOW):
            stop = min(start + BLOCKS * ENGAGEMENT_WINDOW, count)
            part = features[start : stop + ENGAGEMENT_WINDOW - 1].astype(np.float64)
            for offset, context in enumerate(self._slide(part)):  # (B, 2560)
                judged = self._judge(context)[: len(range(start + offset, stop, ENGAGEMENT_WINDOW))]
                probabilities[start + offset : stop : ENGAGEMENT_WINDOW] = judged
        return probabilities

    def _slide(self, features: Doubles) -> Iterator[Doubles]:
        """Yield for each offset 0 ... 127 the contexts (B, 2560) of the windows that begin there in each block.

        A window is the end of one block and the beginning of the next. Moments of all ends and beginnings are built up
        frame by frame; nothing is ever subtracted, so that nothing is lost to rounding.
        """
        size, width = ENGAGEMENT_WINDOW, features.shape[1]
        blocks = -(-(len(features) - size + 1) // size)
        frames = np.zeros(((blocks + 1) * size, width))  # zeros are in no window that is asked for
        frames[: len(features)] = features
        scores = (frames @ self._attention).reshape(blocks + 1, size, 1)
        frames = frames.reshape(blocks + 1, size, width)
        ends = [_nothing(blocks, width)]
        for offset in reversed(range(size)):
            ends.append(ends[-1].add(frames[:-1, offset], scores[:-1, offset]))
        beginning = _nothing(blocks, width)
        for offset in range(size):
            yield ends.pop().join(beginning)
            beginning = beginning.add(frames[1:, offset], scores[1:, offset])

    def _judge(self, contexts: Doubles) -> Doubles:
        """Return probabilities (W, 2) of contexts (W, 2560)."""
        hidden = np.maximum(contexts @ self._hidden[0] + self._hidden[1], 0)
        return softmax(hidden @ self._last[0] + self._last[1])


def spread_engagement(probabilities: Floats) -> Floats:
    """Return the engagement (N,) of each frame, 0-1, from window probabilities (N - 127, 2).

    It is the mean probability of Engaged over the windows that cover the frame.
    """
    windows = len(probabilities)
    frames = np.arange(windows + ENGAGEMENT_WINDOW - 1 if windows else 0)
    total = np.cumsum(np.append(0.0, probabilities[:, Engagement.Engaged].astype(np.float64)))
    first, last = np.maximum(frames - ENGAGEMENT_WINDOW + 1, 0), np.minimum(frames, windows - 1) + 1
    means: Doubles = (total[last] - total[first]) / (last - first)
    return means.astype(np.float32)


def _check_features(features: Floats) -> None:
    if features.ndim != 2 or features.shape[1] != ENGAGEMENT_FEATURES:
        raise UsageError(
            f"Engagement is read from features (N, {ENGAGEMENT_FEATURES}), but they are {features.shape}; take them "
            "from a backbone whose name begins with enet_b0."
        )
    if len(features) < ENGAGEMENT_WINDOW:
        raise UsageError(
            f"Engagement needs at least {ENGAGEMENT_WINDOW} frames with a face in a row, but there are "
            f"{len(features)}; give a longer video or look at more frames per second."
        )
    for start in range(0, len(features), 1024):  # a mask of all would take a quarter of their memory
        broken = ~np.isfinite(features[start : start + 1024]).all(axis=1)
        if broken.any():
            raise UsageError(
                f"Expected finite features, but those of frame {start + int(broken.argmax())} are not; leave out "
                "frames without a face."
            )


def _list(shapes: dict[str, tuple[tuple[int, ...], ...]]) -> str:
    names = [f"{name} {' '.join(map(str, each))}" for name, each in shapes.items()]
    return ", ".join(names[:4]) + (f" and {len(names) - 4} more" if len(names) > 4 else "") or "none"
