"""What an engine is: crops to features, windows to probabilities. The only preprocessing stands here."""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Protocol, TypeVar

import numpy as np
import numpy.typing as npt

from ..emotions import Emotion
from ..errors import UsageError, check_name
from ..timeline import WINDOW
from ..weight_sets import Weights
from ..weights import FEATURES, UNSCALED, Preprocessing

Floats = npt.NDArray[np.float32]
Images = npt.NDArray[np.uint8]
Number = TypeVar("Number", np.float32, np.float64)

BATCH_WINDOWS = 64  # an LSTM keeps all gates of all its windows: 160 kB for each
BATCH_PIXELS = 32 * 64 * 64  # of the crops embedded at once: small crops gain much from a batch, large ones little
PRECISIONS = ("fp32", "bf16", "fp16", "int8")  # in which a backbone computes; heads compute in fp32
LUMA = np.array([0.299, 0.587, 0.114], dtype=np.float32)  # ITU-R BT.601, as image files use


def normalize_crops(crops: npt.NDArray[Any], preprocessing: Preprocessing) -> Floats:
    """Return the network's input, float32 (B, 3, S, S), from RGB crops (B, S, S, 3), 0-255: the only preprocessing.

    Channels are put in the record's order, its mean is subtracted and its deviation divided by; VGGFace2's networks
    have a deviation of 1.
    """
    if preprocessing.channels == "grey":
        planes = [crops.astype(np.float32, copy=False) @ LUMA] * 3
    else:
        planes = [crops[..., channel] for channel in ((2, 1, 0) if preprocessing.channels == "BGR" else (0, 1, 2))]
    x = np.empty((len(crops), 3, *crops.shape[1:3]), np.float32)
    for channel, plane in enumerate(planes):
        np.subtract(plane, np.float32(preprocessing.mean[channel]), out=x[:, channel], dtype=np.float32)
    if preprocessing.std != UNSCALED:
        x /= np.array(preprocessing.std, dtype=np.float32)[:, None, None]
    return x


class Engine(Protocol):
    """Anything that runs a backbone, and the heads of a weight set if there are any."""

    name: str
    precision: str  # one of PRECISIONS
    description: str  # where it runs and why there, in words
    backbone: Path  # the file
    preprocessing: Preprocessing
    heads: tuple[str, ...]
    head_files: tuple[Path, ...]
    feature_width: int  # 512; a sibling's is its own
    extra_columns: tuple[str, ...]  # what `extras` gives

    def embed(self, crops: Images) -> Floats:
        """Return features (N, 512), after the ReLU, of RGB crops uint8 (N, S, S, 3)."""

    def classify(self, windows: Floats) -> Floats:
        """Return probabilities (heads, W, 7) of windows (W, 10, 512)."""

    def classify_faces(self, features: Floats) -> Floats:
        """Return probabilities (N, 7) of features (N, 512), one face each, by the backbone's own last layer.

        Raises:
            WrongArchitecture: the backbone has no such layer.
        """

    def extras(self, features: Floats) -> dict[str, Floats]:
        """Return what else the backbone says of features (N, 512), float32 (N,) by column."""


class StudyEngine:
    """What the engines of the study's own network have in common.

    Raises:
        UsageError: a precision that nobody or not this engine has.
    """

    name: str
    precisions: tuple[str, ...]
    feature_width = FEATURES
    extra_columns: tuple[str, ...] = ()

    def __init__(self, weights: Weights, *, precision: str) -> None:
        check_name("precision", precision, PRECISIONS)
        if precision not in self.precisions:
            raise UsageError(
                f"The engine {self.name} computes in {' or '.join(self.precisions)}, but {precision} was asked for; "
                "choose one of these, or another engine."
            )
        self.precision, self.heads = precision, tuple(weights.heads)
        self.head_files = tuple(weights.heads.values())
        self.preprocessing, self.backbone = weights.preprocessing, weights.backbone

    def extras(self, features: Floats) -> dict[str, Floats]:
        """Return nothing: the study's backbone knows seven emotions."""
        return {}


def softmax(logits: npt.NDArray[Number]) -> npt.NDArray[Number]:
    """Return probabilities of the shape of `logits`; the last axis sums to 1. They are computed in float64."""
    x = np.exp(logits - logits.max(axis=-1, keepdims=True), dtype=np.float64)
    shares: npt.NDArray[Number] = (x / x.sum(axis=-1, keepdims=True)).astype(logits.dtype)
    return shares


def split(crops: Images) -> Iterator[Images]:
    """Yield crops (N, S, S, 3) in batches as large as pay on a processor."""
    size = max(BATCH_PIXELS // max(crops.shape[1] ** 2, 1), 4)
    for start in range(0, len(crops), size):
        yield crops[start : start + size]


def split_windows(windows: Floats, classify: Callable[[Floats], Floats], *, heads: int) -> Floats:
    """Return what `classify` makes of windows (W, 10, 512), a batch at a time: (heads, W, 7)."""
    check_windows(windows)
    parts = [np.empty((heads, 0, len(Emotion)), np.float32)]
    parts += [classify(windows[start : start + BATCH_WINDOWS]) for start in range(0, len(windows), BATCH_WINDOWS)]
    return np.concatenate(parts, axis=1)


def check_windows(windows: Floats) -> None:
    """Refuse what is no window of this backbone's features: a layer in between would be random, and still answer."""
    if windows.ndim != 3 or windows.shape[1:] != (WINDOW, FEATURES):
        raise UsageError(
            f"A head reads windows of {WINDOW} samples with {FEATURES} features, (W, {WINDOW}, {FEATURES}), but an "
            f"array of {windows.shape} came. Give features of the backbone that the heads belong to."
        )
