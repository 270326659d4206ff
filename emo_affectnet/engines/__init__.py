"""Engines run the network: crops to features, windows to probabilities. Here they are listed, and chosen."""

from collections.abc import Callable
from typing import Any

from ..errors import UsageError, WrongArchitecture, check_name
from ..weight_sets import Weights
from .contract import (
    BATCH_WINDOWS,
    PRECISIONS,
    Engine,
    Floats,
    Images,
    normalize_crops,
    softmax,
)
from .devices import choose_device
from .graph_engines import GraphEngine, OnnxRuntimeEngine, OpenVinoEngine
from .keras_engine import KerasEngine
from .torch_engine import TorchEngine

__all__ = [
    "BATCH_WINDOWS",
    "DEFAULT_ENGINE",
    "ENGINES",
    "PRECISIONS",
    "REFERENCE",
    "Engine",
    "Floats",
    "GraphEngine",
    "Images",
    "KerasEngine",
    "OnnxRuntimeEngine",
    "OpenVinoEngine",
    "TorchEngine",
    "choose_device",
    "normalize_crops",
    "open_engine",
    "softmax",
]

ENGINES: dict[str, type[OnnxRuntimeEngine] | type[OpenVinoEngine] | type[TorchEngine] | type[KerasEngine]] = {
    "onnxruntime": OnnxRuntimeEngine,
    "openvino": OpenVinoEngine,
    "torch": TorchEngine,
    "tensorflow": KerasEngine,
}


DEFAULT_ENGINE = "onnxruntime"  # on a CPU: the fastest in float32 that comes with the package
REFERENCE = "torch"  # what runs every file, on every device, and what the others are compared with


def open_engine(
    weights: Weights,
    *,
    engine: str | None = None,
    device: str = "auto",
    precision: str = "fp32",
    threads: int | None = None,
    on_progress: Callable[[int, int], None] = lambda done, total: None,
) -> Engine:
    """Return the named engine with a weight set loaded, or the fastest that runs it on the device.

    `threads` are those of the network on a CPU; None takes every core that the process may use. `on_progress` hears of
    the making of an int8 network, which is done once: steps done, and steps in all.

    Raises:
        UnknownName: there is no such engine or precision.
        EngineUnavailable: a package it needs is not installed.
        UsageError: the engine has no such device or precision.
        WeightsError: a file is damaged, or another network's.
    """
    check_name("precision", precision, PRECISIONS)
    if threads is not None and threads < 1:
        raise UsageError(f"A network needs at least 1 thread, but {threads} were asked for.")
    if engine is not None:
        check_name("engine", engine, ENGINES)
    name = engine or _choose(device, precision)
    options: dict[str, Any] = {"device": device, "precision": precision, "threads": threads}
    try:
        hears: dict[str, Any] = {"on_progress": on_progress} if issubclass(ENGINES[name], GraphEngine) else {}
        return ENGINES[name](weights, **options, **hears)
    except WrongArchitecture:
        if engine or precision != "fp32":
            raise
        return ENGINES[REFERENCE](weights, **options)  # TorchScript of a class of its own, or really another network


def _choose(device: str, precision: str) -> str:
    """Return the fastest engine for a device and a precision."""
    if precision in TorchEngine.precisions and choose_device(device).name != "cpu":
        return REFERENCE
    return next(name for name in (DEFAULT_ENGINE, *ENGINES) if precision in ENGINES[name].precisions)
