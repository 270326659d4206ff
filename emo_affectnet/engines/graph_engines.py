"""ONNX Runtime and OpenVINO: the engines of processors. Both run the same graph files.

They differ in the backbone, which takes nearly all of the time. The heads are ONNX Runtime's in both: OpenVINO 2026.4
computes several LSTMs that read the same windows wrongly, and says nothing.
"""

import sys
from collections.abc import Callable
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from ..errors import CorruptWeights, EngineUnavailable, UsageError
from ..threads import count_cores
from ..weight_sets import Weights
from ..weights import FEATURES
from .contract import Floats, Images, StudyEngine, normalize_crops, softmax, split, split_windows
from .devices import choose_cpu
from .graphs import find_backbone, find_heads, read_last_layer
from .quantize import DISABLED_OPTIMIZERS, OnProgress

_TELEMETRY = "openvino_telemetry"

Run = Callable[[Floats], list[Floats]]  # the network's input to its outputs


class GraphEngine(StudyEngine):
    """What both have in common: the graphs of a weight set on the CPU.

    They run the study's own network only, from a state dict, TorchScript or a Keras file. `on_progress` hears of the
    making of an int8 network.

    Raises:
        EngineUnavailable: a package it needs is not installed.
        UsageError: another device than the CPU is named, or a precision that is not to be had here.
        WeightsError: a file is damaged, or another network's.
    """

    def __init__(
        self,
        weights: Weights,
        *,
        device: str = "auto",
        precision: str = "fp32",
        threads: int | None = None,
        on_progress: OnProgress = lambda done, total: None,
    ) -> None:
        super().__init__(weights, precision=precision)
        self.threads = threads or count_cores()
        self.description = choose_cpu(self.name, device).describe(self.threads)
        self._weights = weights
        self._embed = self._open_backbone(find_backbone(weights, precision=precision, on_progress=on_progress))
        heads = find_heads(tuple(weights.heads.values())) if self.heads else None
        self._classify = _open_session(heads, threads=self.threads) if heads else None

    def _open_backbone(self, graph: Path) -> Run:
        """Return the function that the graph of a backbone is."""
        raise NotImplementedError

    def embed(self, crops: Images) -> Floats:
        """Return features (N, 512), after the ReLU, of RGB crops uint8 (N, S, S, 3)."""
        parts = [np.empty((0, FEATURES), np.float32)]
        parts += [self._embed(normalize_crops(part, self.preprocessing))[0] for part in split(crops)]
        return np.concatenate(parts)

    def classify(self, windows: Floats) -> Floats:
        """Return probabilities (heads, W, 7) of windows (W, 10, 512)."""
        classify = self._classify
        assert classify is not None
        return split_windows(windows, lambda part: classify(part)[0], heads=len(self.heads))

    @cached_property
    def _last_layer(self) -> tuple[Floats, Floats]:
        return read_last_layer(find_backbone(self._weights, precision="fp32"))

    def classify_faces(self, features: Floats) -> Floats:
        """Return probabilities (N, 7) of features (N, 512), one face each, by the backbone's own last layer."""
        weight, bias = self._last_layer
        return softmax(features @ weight.T + bias)


class OnnxRuntimeEngine(GraphEngine):
    """ONNX Runtime: float32 and int8."""

    name = "onnxruntime"
    precisions = ("fp32", "int8")

    def _open_backbone(self, graph: Path) -> Run:
        return _open_session(graph, threads=self.threads)


class OpenVinoEngine(GraphEngine):
    """OpenVINO: float32, bfloat16 where the processor computes in it, and int8."""

    name = "openvino"
    precisions = ("fp32", "bf16", "int8")

    def _open_backbone(self, graph: Path) -> Run:
        core = _import_openvino().Core()
        if self.precision == "bf16" and "BF16" not in core.get_property("CPU", "OPTIMIZATION_CAPABILITIES"):
            raise UsageError("This processor does not compute in bf16; leave the precision at fp32, or choose int8.")
        options = {
            "INFERENCE_PRECISION_HINT": "bf16" if self.precision == "bf16" else "f32",
            "INFERENCE_NUM_THREADS": self.threads,
            "NUM_STREAMS": 1,
            "ENABLE_CPU_PINNING": False,  # the decoder and the detector share the cores
        }
        try:
            request = core.compile_model(core.read_model(graph), "CPU", options).create_infer_request()
        except RuntimeError as error:
            raise _damaged(graph) from error
        return lambda x: _infer(request, x)


def _open_session(graph: Path, *, threads: int) -> Run:
    """Return the function that a graph is in ONNX Runtime."""
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    options.log_severity_level = 3
    # Threads that wait by counting take the processor from the decoder and the detector.
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    try:
        session = onnxruntime.InferenceSession(
            str(graph),
            options,
            providers=["CPUExecutionProvider"],
            disabled_optimizers=list(DISABLED_OPTIMIZERS),
        )
    except Exception as error:  # its errors have no common base
        raise _damaged(graph) from error
    (entry,) = session.get_inputs()
    return lambda x: session.run(None, {entry.name: x})


def _infer(request: Any, x: Floats) -> list[Floats]:
    """Return the outputs, copied; every new batch size is compiled anew, so few are used: powers of two."""
    parts: list[list[Floats]] = []
    start = 0
    while start < len(x) or not parts:
        size = 1 << max((len(x) - start).bit_length() - 1, 0)
        parts.append([output.copy() for output in request.infer([x[start : start + size]]).values()])
        start += size
    return [np.concatenate(outputs) for outputs in zip(*parts, strict=True)]


def _import_openvino() -> Any:
    """Return OpenVINO without its telemetry, which would report its use to its makers, from a process it forks."""
    hides = _TELEMETRY not in sys.modules
    if hides:
        sys.modules[_TELEMETRY] = None  # type: ignore[assignment] # Python's own mark of what must not be imported
    try:
        import openvino
    except ModuleNotFoundError as error:
        raise EngineUnavailable(
            f"The engine openvino needs {error.name}, which is not installed: pip install 'emo-affectnet[openvino]'"
        ) from error
    finally:
        if hides:
            del sys.modules[_TELEMETRY]
    return openvino


def _damaged(path: Path) -> CorruptWeights:
    return CorruptWeights(
        f"{path} should be a graph made from weights, but it is damaged; delete it, and it is made anew."
    )
