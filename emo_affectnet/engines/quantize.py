"""Backbones in int8: a graph and faces go in, a graph comes out that is nearly the same and several times smaller.

The least and the largest value of each tensor on its way through the network are measured on faces (`read_faces`).
Weights get a scale for each output channel, and 7 of their 8 bits: processors without an instruction for such sums
(before AVX-512 VNNI) add pairs of products in 16 bits, where 8-bit weights overflow, and features come out wrong by a
third. So every processor computes the same. Of ResNet50 the first convolution and the last two layers stay in float32:
that keeps a third of the error away and costs nothing. Of MobileNet the depthwise convolutions stay as well, and the
first pointwise one and the last two: so the features of FaceRes at 112 px were off by 1.8 %, and else by 6.1 %.
"""

import logging
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import onnx

from ..detection import DETECTORS
from ..errors import MissingWeights, WrongArchitecture
from ..faces import crop
from ..files import whole_file
from ..timeline import sample_frames
from ..video import probe, read_frames
from ..weights import Preprocessing
from .contract import BATCH_PIXELS, Floats, Images, softmax

_IN_FLOAT = (0, *range(1, 22, 2), 2, 20, 22)  # layers of MobileNet
KEPT = {  # nodes that stay in float32, by the first node of the graph
    "conv_layer_s2_same": ("conv_layer_s2_same", "fc1", "logits"),
    "layers.0.convolution": (
        *(f"layers.{layer}.{node}" for layer in _IN_FLOAT for node in ("convolution", "relu6")),
        *("pool", "features", "logits"),
    ),
}
DISABLED_OPTIMIZERS = (
    # It would move the step to 8 bits before the stem's pooling, for which there is no fast code in 8 bits.
    "QDQPropagationTransformer",
    # It would bring the weights that stay in float32 to 8 bits, with one scale for all channels.
    "WeightBiasQuantization",
)  # of ONNX Runtime
MAX_DIFFERENCE = 0.02  # mean, of the probabilities of single faces
MIN_AGREEMENT = 0.95  # share of faces with the same top emotion; many are near a tie, where the windows' are not

OnProgress = Callable[[int, int], None]  # steps done, steps in all


def read_faces(clips: Sequence[Path], preprocessing: Preprocessing, *, count: int) -> Images:
    """Return about `count` crops (N, S, S, 3) of the faces in clips, as they are, mirrored, and in other light.

    Raises:
        MissingWeights: a clip is not there.
    """
    if missing := [clip for clip in clips if not clip.is_file()]:
        raise MissingWeights(
            f"An int8 network is measured on the faces of the demo clips, but {missing[0]} is missing. Get it again, "
            "or leave the precision at fp32."
        )
    detect = DETECTORS["short-range"](confidence=None)
    found = [
        crop(frame.image, face.box, preprocessing)
        for clip in clips
        for frame in sample_frames(read_frames(clip), probe(clip))
        for face in detect(frame.image)
    ]
    chosen = np.linspace(0, len(found) - 1, min(max(count // 6, 1), len(found))).round().astype(int)
    faces = np.stack([found[index] for index in chosen]).astype(np.float32)
    mean = faces.mean(axis=(1, 2, 3), keepdims=True)
    darker, brighter = faces / 2, 255 - (255 - faces) / 2
    flatter, harder = (faces - mean) * 0.5 + mean, (faces - mean) * 1.6 + mean
    views = np.concatenate([faces, faces[:, :, ::-1], darker, brighter, flatter, harder])
    seen: Images = np.clip(views.round(), 0, 255).astype(np.uint8)
    return seen


def quantize(source: Path, target: Path, *, faces: Floats, on_progress: OnProgress = lambda done, total: None) -> None:
    """Write the int8 form of a backbone's graph; `faces` (N, 3, S, S) are the network's input for many faces.

    Both ONNX Runtime and OpenVINO run it. It appears only if it agrees with its source on the faces.

    Raises:
        WrongArchitecture: int8 does not agree with float32 here.
    """
    from onnxruntime import quantization

    size = max(BATCH_PIXELS // faces.shape[-1] ** 2, 4)
    batches = [faces[start : start + size] for start in range(0, len(faces), size)]
    with whole_file(target) as partial, _quiet():
        quantization.quantize_static(
            str(source),
            str(partial),
            _Reader(batches, on_progress),
            quant_format=quantization.QuantFormat.QDQ,
            per_channel=True,
            reduce_range=True,
            activation_type=quantization.QuantType.QUInt8,
            weight_type=quantization.QuantType.QInt8,
            calibrate_method=quantization.CalibrationMethod.MinMax,
            nodes_to_exclude=list(KEPT[onnx.load(source, load_external_data=False).graph.node[0].name]),
        )
        _check_agreement(_judge(source, batches), _judge(partial, batches), source)


class _Reader:
    """Hands out the batches, as the quantiser asks for them."""

    def __init__(self, batches: Sequence[Floats], on_progress: OnProgress) -> None:
        self._pending, self._count, self._on_progress = iter(batches), len(batches), on_progress
        self._done = 0

    def get_next(self) -> dict[str, Floats] | None:
        batch = next(self._pending, None)
        self._on_progress(self._done, self._count)
        self._done += 1
        return None if batch is None else {"input": batch}

    def set_range(self, start_index: int, end_index: int) -> None:
        """Do nothing: all batches are measured at once."""


def _judge(graph: Path, batches: Sequence[Floats]) -> Floats:
    """Return the probabilities (N, 7) of single faces."""
    import onnxruntime

    session: Any = onnxruntime.InferenceSession(
        str(graph), providers=["CPUExecutionProvider"], disabled_optimizers=list(DISABLED_OPTIMIZERS)
    )
    logits: list[Floats] = [session.run(["logits"], {"input": batch})[0] for batch in batches]
    return softmax(np.concatenate(logits))


def _check_agreement(exact: Floats, quantized: Floats, source: Path) -> None:
    difference = float(np.abs(quantized - exact).mean())
    agreement = float((quantized.argmax(axis=1) == exact.argmax(axis=1)).mean())
    if not (difference <= MAX_DIFFERENCE and agreement >= MIN_AGREEMENT):  # nor if it is not a number
        raise WrongArchitecture(
            f"{source.name} loses too much in int8: the probabilities of faces differ by {difference:.3f} on average "
            f"({MAX_DIFFERENCE} is allowed), and {agreement:.0%} keep their top emotion ({MIN_AGREEMENT:.0%} must). "
            "Use fp32."
        )


@contextmanager
def _quiet() -> Iterator[None]:
    """Keep the quantiser from writing to the root log, and from giving it a handler if it has none."""
    root, nobody = logging.getLogger(), logging.NullHandler()
    level = root.level
    root.addHandler(nobody)
    root.setLevel(logging.CRITICAL)
    try:
        yield
    finally:
        root.setLevel(level)
        root.removeHandler(nobody)
