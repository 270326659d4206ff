"""The sibling models of HSEmotion and EmotiEffLib: other backbones that give seven or eight emotions per face.

In go RGB crops, out come features, and from these our seven probabilities and what else a model says: its share of
Contempt, valence and arousal. Facts here: what each published model reads and puts out. A model's labels are in its own
order, not ours, and are mapped by name. `HSEmotionRecognizer` answers like the class of that name in `hsemotion`.
Of the EfficientNets there is no definition in PyTorch here, since all of them were published as ONNX, and their PyTorch
files are pickled modules, which can run code.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

from ..emotions import EMOTION_NAMES
from ..engines import normalize_crops, softmax
from ..errors import MissingWeights, UsageError, check_name
from ..faces import crop
from ..weights import Preprocessing

Floats = npt.NDArray[np.float32]
Images = npt.NDArray[np.uint8]

BATCH_CROPS = 16  # the widest layer of EfficientNet-B2 takes 6.5 MB per crop
CONTEMPT = "Contempt"
VALENCE_AROUSAL = ("valence", "arousal")  # linear: about -1 to 1, and at times beyond
SEVEN = tuple(sorted(EMOTION_NAMES))  # the folders of AffectNet in alphabetical order
EIGHT = tuple(sorted((*EMOTION_NAMES, CONTEMPT)))
AFFECTNET_ORDER = (*EMOTION_NAMES, CONTEMPT)  # AffectNet's own numbers, 0 to 7
ONNX, KERAS = "ONNX", "Keras"  # formats


@dataclass(frozen=True)
class Sibling:
    """One published model: what it reads, and what its outputs mean."""

    name: str
    preprocessing: Preprocessing
    feature_width: int
    labels: tuple[str, ...] = EIGHT  # in the order of its outputs
    has_valence_arousal: bool = False  # two more outputs behind the labels
    format: str = ONNX

    @property
    def outputs(self) -> int:
        """The number of its outputs."""
        return len(self.labels) + len(VALENCE_AROUSAL) * self.has_valence_arousal

    @property
    def extra_columns(self) -> tuple[str, ...]:
        """What it says beyond the seven emotions."""
        return (CONTEMPT,) * (CONTEMPT in self.labels) + VALENCE_AROUSAL * self.has_valence_arousal


def _imagenet(input_size: int) -> Preprocessing:
    """Return the usual preprocessing of PyTorch's networks: shares of 255, less ImageNet's mean, over its deviation."""
    mean, std = (123.675, 116.28, 103.53), (58.395, 57.12, 57.375)  # 0.485 ... and 0.229 ..., times 255
    return Preprocessing(input_size, "RGB", mean, "linear", (0, 0, 0, 0), std)


B0 = _imagenet(224)
B2 = _imagenet(260)
MOBILE_FACE_NET = Preprocessing(
    112, "RGB", (127.5, 127.5, 127.5), "linear", (0, 0, 0, 0), std=(127.5, 127.5, 127.5)
)  # fmt: skip
# Caffe's means of B, G and R, taken from R, G and B: its authors trained it so.
KERAS_MOBILE_NET = Preprocessing(224, "RGB", (103.939, 116.779, 123.68), "linear", (0, 0, 0, 0))


def _by_name(*siblings: Sibling) -> dict[str, Sibling]:
    return {sibling.name: sibling for sibling in siblings}


SIBLINGS: dict[str, Sibling] = _by_name(
    Sibling("enet_b0_8_best_afew", B0, 1280),
    Sibling("enet_b0_8_best_vgaf", B0, 1280),
    Sibling("enet_b0_8_va_mtl", B0, 1280, has_valence_arousal=True),
    Sibling("enet_b2_7", B2, 1408, SEVEN),
    Sibling("enet_b2_8", B2, 1408),
    Sibling("mbf_va_mtl", MOBILE_FACE_NET, 512, has_valence_arousal=True),
    Sibling("mobilevit_va_mtl", B0, 768, has_valence_arousal=True),
    Sibling("mobilenet_7", KERAS_MOBILE_NET, 1024, SEVEN, format=KERAS),
    Sibling("enet_b2_8_best", B2, 1408),
)

# Published as pickled modules alone: there is nothing to fetch, but a file that was converted to ONNX can be given.
UNAVAILABLE: dict[str, Sibling] = _by_name(
    Sibling("enet_b0_7", B0, 1280, SEVEN),
    Sibling("enet_b0_8_best", B0, 1280, AFFECTNET_ORDER),
    Sibling("affectnet_7_vggface2_rexnet150", B0, 1920, SEVEN),
)


@dataclass(frozen=True, eq=False)
class SiblingScores:
    """What a sibling says of N faces, in our terms."""

    probabilities: Floats  # (N, 7), in the order of Emotion; a row sums to 1
    extras: dict[str, Floats]  # (N,) by column: Contempt's share of all eight; valence and arousal as they are


def to_seven(scores: Floats, sibling: Sibling) -> SiblingScores:
    """Return what a sibling's outputs (N, outputs) say in our terms.

    As its authors read a model of eight for seven emotions, Contempt is left out before the softmax.
    """
    labels = sibling.labels
    extras = {}
    if CONTEMPT in labels:
        extras[CONTEMPT] = softmax(scores[:, : len(labels)])[:, labels.index(CONTEMPT)]
    if sibling.has_valence_arousal:
        extras |= {name: scores[:, len(labels) + offset] for offset, name in enumerate(VALENCE_AROUSAL)}
    columns = [labels.index(name) for name in EMOTION_NAMES]
    return SiblingScores(softmax(scores[:, columns]), extras)


class _Network(Protocol):
    def embed(self, x: Floats) -> Floats:
        """Return features (N, D) of network inputs (N, 3, S, S)."""

    def score(self, features: Floats) -> Floats:
        """Return the outputs (N, outputs) of features (N, D)."""


def _open_network(path: Path, sibling: Sibling) -> _Network:
    if sibling.format == KERAS:
        from .mobilenet import KerasMobileNet

        return KerasMobileNet(path)
    from .onnx_network import OnnxNetwork

    size = sibling.preprocessing.input_size
    return OnnxNetwork(path, input_size=size, feature_width=sibling.feature_width, outputs=sibling.outputs)


class SiblingEngine:
    """A sibling as an engine, on the CPU: single faces by its own last layer, no temporal heads.

    Raises:
        WeightsError: the file is missing, damaged or another network's.
    """

    heads: tuple[str, ...] = ()
    head_files: tuple[Path, ...] = ()
    precision, description = "fp32", "on cpu, as it comes"

    def __init__(self, path: Path, sibling: Sibling) -> None:
        self.sibling, self.backbone, self.name = sibling, path, sibling.name
        self.preprocessing, self.feature_width = sibling.preprocessing, sibling.feature_width
        self.extra_columns = sibling.extra_columns
        self._network = _open_network(path, sibling)

    def embed(self, crops: Images) -> Floats:
        """Return features (N, D) of RGB crops uint8 (N, S, S, 3)."""
        parts = [np.empty((0, self.sibling.feature_width), np.float32)]
        for start in range(0, len(crops), BATCH_CROPS):
            x = normalize_crops(crops[start : start + BATCH_CROPS], self.preprocessing)
            parts.append(self._network.embed(x))
        return np.concatenate(parts)

    def score(self, features: Floats) -> Floats:
        """Return the model's own outputs (N, outputs) of features (N, D): logits by its labels, then the rest."""
        return self._network.score(features)

    def classify(self, windows: Floats) -> Floats:
        """Refuse: the temporal heads were trained on the features of another backbone.

        Raises:
            UsageError: always.
        """
        raise UsageError(
            f"No temporal head belongs to the backbone {self.sibling.name}, so windows cannot be classified; use its "
            "single faces, averaged over time."
        )

    def classify_faces(self, features: Floats) -> Floats:
        """Return probabilities (N, 7) of features (N, D), one face each."""
        return to_seven(self.score(features), self.sibling).probabilities

    def extras(self, features: Floats) -> dict[str, Floats]:
        """Return what else the model says of features (N, D), float32 (N,) by column."""
        return to_seven(self.score(features), self.sibling).extras


def open_sibling(name: str, *, path: Path | None = None) -> SiblingEngine:
    """Return a sibling as an engine, from the store or from a file of one's own.

    Raises:
        UnknownName: there is no such sibling.
        WeightsError: its file is missing, damaged, another network's, or not trusted.
    """
    from .. import store

    known = SIBLINGS | UNAVAILABLE
    if name not in known:
        check_name("sibling model", name, SIBLINGS)
    if path is None:
        _refuse_pickled(name)
        path = store.locate(name)
    else:
        store.check_trust(path)
    return SiblingEngine(path, known[name])


def _refuse_pickled(name: str) -> None:
    if name in UNAVAILABLE:
        raise MissingWeights(
            f"{name} was published as a pickled module only, which can run code and is refused. Convert it to ONNX "
            "once in its authors' environment (timm 0.9, torch.onnx.export with a dynamic batch axis), and give that "
            "file."
        )


class HSEmotionRecognizer:
    """The recognizer of the `hsemotion` package: its methods and results, from files that are checked.

    Images are RGB uint8 (H, W, 3) of any size, one face each; labels and columns are in the model's own order. `path`
    is a file of one's own.

    >>> label, scores = HSEmotionRecognizer("enet_b0_8_va_mtl").predict_emotions(face, logits=False)

    Raises:
        UsageError: a device other than "cpu".
        UnknownName, WeightsError: as `open_sibling`.
    """

    def __init__(
        self, model_name: str = "enet_b0_8_best_vgaf", device: str = "cpu", *, path: Path | None = None
    ) -> None:
        if device != "cpu":
            raise UsageError(f"The sibling models run on the CPU, not on {device!r}; leave the device out.")
        self._engine = open_sibling(model_name, path=path)
        self._labels = self._engine.sibling.labels
        self.idx_to_class = dict(enumerate(self._labels))

    def extract_features(self, face_img: Images) -> Floats:
        """Return features (1, D) of an image.

        Raises:
            UsageError: it is not RGB uint8 (H, W, 3).
        """
        return self.extract_multi_features([face_img])

    def extract_multi_features(self, face_img_list: Sequence[Images]) -> Floats:
        """Return features (N, D) of images.

        Raises:
            UsageError: there are none, or one is not RGB uint8 (H, W, 3).
        """
        if len(face_img_list) == 0:
            raise UsageError("Expected at least one image of a face, but the list is empty.")
        return self._engine.embed(np.stack([self._resize(image) for image in face_img_list]))

    def predict_emotions(self, face_img: Images, logits: bool = True) -> tuple[str, Floats]:
        """Return an image's label, and its scores (outputs,): logits or probabilities, then valence and arousal.

        Raises:
            UsageError: it is not RGB uint8 (H, W, 3).
        """
        labels, scores = self.predict_multi_emotions([face_img], logits)
        return labels[0], scores[0]

    def predict_multi_emotions(
        self, face_img_list: Sequence[Images], logits: bool = True
    ) -> tuple[list[str], Floats]:  # fmt: skip
        """Return the images' labels, and their scores (N, outputs): logits or probabilities, then valence and arousal.

        Raises:
            UsageError: there are none, or one is not RGB uint8 (H, W, 3).
        """
        scores = self._engine.score(self.extract_multi_features(face_img_list))
        emotions = scores[:, : len(self._labels)]
        labels = [self._labels[column] for column in emotions.argmax(axis=1)]
        if not logits:
            scores = np.hstack([softmax(emotions), scores[:, len(self._labels) :]])
        return labels, scores

    def _resize(self, image: Any) -> Images:
        is_array = isinstance(image, np.ndarray)
        if not is_array or image.dtype != np.uint8 or image.ndim != 3 or image.shape[2] != 3 or not image.size:
            came = f"an array {image.shape} of {image.dtype}" if is_array else f"a {type(image).__name__}"
            raise UsageError(f"Expected an image as an array (H, W, 3) of uint8, 0-255, in RGB, but {came} came.")
        height, width = image.shape[:2]
        return crop(image, (0, 0, width, height), self._engine.preprocessing)
