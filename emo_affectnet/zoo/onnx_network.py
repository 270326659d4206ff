"""A classifier in an ONNX file, cut before its last layer: in goes the network's input, out come features or scores.

The published graphs have one input and one output, and end in a fully connected layer `Gemm(features, weights, bias)`.
That layer is taken out and computed here; ONNX Runtime runs what is left, on the CPU. A graph of another make is
refused with the reason, since a guess at where its features are could not be told from the truth.
"""

from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from ..errors import CorruptWeights, MissingWeights, WrongArchitecture

if TYPE_CHECKING:
    import onnx
    import onnxruntime

Floats = npt.NDArray[np.float32]

LOG_FATAL = 4  # ONNX Runtime's severity: its errors come as exceptions, its warnings are not for users
# What a file may be instead, by its first bytes.
_OTHER_FILES = {
    b"version https://git-lfs": "a git-lfs pointer; run 'git lfs pull' where it came from",
    b"<": "a web page; download the file itself",
    b"PK": "a PyTorch file; a pickled module can run code and is refused, so give the published .onnx",
    b"\x80": "a pickle, which can run code and is refused; give the published .onnx",
    b"\x89HDF": "a Keras file; give the published .onnx",
}


class OnnxNetwork:
    """An ONNX classifier of images (N, 3, S, S): features (N, D) before its last layer, scores (N, outputs) after it.

    `threads` is how many ONNX Runtime may use; None: as many as there are cores.

    Raises:
        MissingWeights, CorruptWeights: the file is not there, damaged, or no ONNX.
        WrongArchitecture: the graph is not of the published make, or of other sizes.
    """

    def __init__(
        self, path: Path, *, input_size: int, feature_width: int, outputs: int, threads: int | None = None
    ) -> None:
        model = _read_model(path)
        try:
            _check_input(path, model, size=input_size)
            self._weights, self._bias = _cut(path, model)
        except (ValueError, TypeError, LookupError) as error:  # names that are no text, tensors cut short
            raise _damage(path, model.ByteSize()) from error
        self._check_widths(path, feature_width=feature_width, outputs=outputs)
        self._session = _start(path, model, threads=threads)
        self._input = self._session.get_inputs()[0].name
        self._try_out(path, input_size)

    def embed(self, x: Floats) -> Floats:
        """Return features (N, D) of network inputs (N, 3, S, S)."""
        features: Floats = self._session.run(None, {self._input: x})[0]
        return features

    def score(self, features: Floats) -> Floats:
        """Return the last layer's scores (N, outputs) of features (N, D)."""
        return features @ self._weights + self._bias

    def _check_widths(self, path: Path, *, feature_width: int, outputs: int) -> None:
        for what, expected, came in (
            ("outputs", outputs, self._weights.shape[1]),
            ("features", feature_width, self._weights.shape[0]),
        ):
            if came != expected:
                raise _refusal(path, f"with {expected} {what}", f"it has {came}. Give the file of this model")

    def _try_out(self, path: Path, size: int) -> None:
        """Run one grey image, so that a graph that cannot run is told when it is opened."""
        expected = (1, len(self._weights))
        try:
            features = self.embed(np.zeros((1, 3, size, size), np.float32))
        except _runtime_errors() as error:
            raise _refusal(path, "that runs", f"ONNX Runtime says: {_first_line(error)}") from error
        if features.shape != expected:
            raise _refusal(path, f"with features {expected} of one image", f"they are {features.shape}")
        if not np.isfinite(features).all():
            raise CorruptWeights(f"{path} should hold finite weights, but its features are not. Get the file again.")


def _refusal(path: Path, expected: str, came: str) -> WrongArchitecture:
    return WrongArchitecture(f"{path} should be an ONNX classifier {expected}, but {came}.")


def _first_line(error: BaseException) -> str:
    return (str(error).splitlines() or [type(error).__name__])[0].rstrip(".")


def _runtime_errors() -> tuple[type[BaseException], ...]:
    """Return what ONNX Runtime raises: its own classes have no name in common."""
    from onnxruntime.capi import onnxruntime_pybind11_state as state

    names = ("Fail", "InvalidArgument", "InvalidGraph", "InvalidProtobuf", "NotImplemented", "RuntimeException")
    return (*(getattr(state, name) for name in names), RuntimeError, ValueError)


def _read_model(path: Path) -> "onnx.ModelProto":
    """Return the graph of a file, if it is whole and holds its own weights."""
    if not path.is_file():
        came = "it is a folder" if path.is_dir() else "there is none"
        raise MissingWeights(f"Expected an ONNX file at {path}, but {came}. Check the path.")
    import onnx
    from google.protobuf.message import DecodeError  # type: ignore[import-untyped] # it has no stubs

    data = path.read_bytes()
    start = data[:64].lstrip()
    if other := next((what for first, what in _OTHER_FILES.items() if start.startswith(first)), None):
        raise CorruptWeights(f"{path} should be an ONNX file, but it is {other}.")
    try:
        model = onnx.load_model_from_string(data)
    except (DecodeError, ValueError) as error:
        raise _damage(path, len(data)) from error
    if not model.graph.node:
        raise _damage(path, len(data))
    nodes = [*model.graph.node, *(node for function in model.functions for node in function.node)]
    tensors = [*model.graph.initializer, *_find_tensors(nodes)]
    if any(tensor.data_location == onnx.TensorProto.EXTERNAL for tensor in tensors):
        raise _refusal(path, "in one file", "it keeps its weights in a second one, which no hash covers; save it whole")
    return model


def _find_tensors(nodes: "Iterable[onnx.NodeProto]") -> "Iterator[onnx.TensorProto]":
    """Yield the tensors that nodes carry themselves, those of the graphs inside them too."""
    for attribute in (attribute for node in nodes for attribute in node.attribute):
        yield from (attribute.t, *attribute.tensors)
        for graph in (attribute.g, *attribute.graphs):
            yield from (*graph.initializer, *_find_tensors(graph.node))


def _damage(path: Path, size: int) -> CorruptWeights:
    came = f"it is damaged, cut short or something else ({size} bytes)" if size else "it is empty"
    return CorruptWeights(f"{path} should be an ONNX file, but {came}. Get the file again.")


def _check_input(path: Path, model: "onnx.ModelProto", *, size: int) -> None:
    """Refuse a graph that does not go from one batch of float images (N, 3, size, size) to one output."""
    import onnx

    stored = {tensor.name for tensor in model.graph.initializer}
    inputs = [value for value in model.graph.input if value.name not in stored]
    if (len(inputs), len(model.graph.output)) != (1, 1):
        raise _refusal(
            path, "with one input and one output", f"it has {len(inputs)} and {len(model.graph.output)}"
        )  # fmt: skip
    tensor = inputs[0].type.tensor_type
    kind = onnx.TensorProto.DataType.Name(tensor.elem_type).lower()
    shape = tuple(axis.dim_value or None for axis in tensor.shape.dim)  # None: any length
    expected = (None, 3, size, size)
    fits = len(shape) == 4 and all(came in (wanted, None) for came, wanted in zip(shape, expected, strict=True))
    if kind != "float" or not fits:
        wanted, came = (str(each).replace("None", "any") for each in (expected, shape))
        raise _refusal(path, f"of float images {wanted}", f"its input is {kind} {came}")


def _cut(path: Path, model: "onnx.ModelProto") -> tuple[Floats, Floats]:
    """Make the features the graph's one output; return the last layer's weights (D, outputs) and bias (outputs,)."""
    from onnx import TensorProto, helper

    graph = model.graph
    features, weights, bias = _take_last_layer(path, graph)
    if weights.ndim != 2 or bias.size != weights.shape[1]:
        raise _refusal(path, "whose last layer has a bias for each output", f"they are {weights.shape}, {bias.shape}")
    del graph.output[:]
    graph.output.append(helper.make_tensor_value_info(features, TensorProto.FLOAT, None))
    return np.ascontiguousarray(weights), bias.reshape(-1)


def _take_last_layer(path: Path, graph: "onnx.GraphProto") -> tuple[str, Floats, Floats]:
    """Remove the last layer from the graph; return its input's name, its weights (D, outputs) and its bias."""
    makers = {name: node for node in graph.node for name in node.output}
    stored = {tensor.name: tensor for tensor in graph.initializer}
    last = makers[graph.output[0].name]
    if last.op_type == "Gemm" and set(last.input[1:]) <= set(stored):
        features, weights, bias = _read_gemm(path, last, stored)
        graph.node.remove(last)
        return features, weights, bias
    product, names = _find_product(path, last, makers, stored)
    weights, bias = (_read_tensor(path, stored[name]) for name in names)
    for node in (product, last):
        graph.node.remove(node)
    return product.input[0], weights, bias


def _read_gemm(path: Path, node: "onnx.NodeProto", stored: dict[str, Any]) -> tuple[str, Floats, Floats]:
    from onnx import helper

    settings = {setting.name: helper.get_attribute_value(setting) for setting in node.attribute}
    if settings.get("transA"):
        raise _refusal(path, "whose last layer takes features (N, D)", "it takes them turned about (transA)")
    features, *names = node.input
    weights, *rest = (_read_tensor(path, stored[name]) for name in names)
    weights = (weights.T if settings.get("transB") else weights) * np.float32(settings.get("alpha", 1))
    bias = rest[0] * np.float32(settings.get("beta", 1)) if rest else np.zeros(weights.shape[-1], np.float32)
    return features, weights, bias


def _find_product(
    path: Path, last: "onnx.NodeProto", makers: dict[str, Any], stored: dict[str, Any]
) -> tuple["onnx.NodeProto", tuple[str, str]]:
    """Return the MatMul under a last Add, and the names of its weights and of the bias; some exporters split a Gemm."""
    if last.op_type == "Add":
        for product, bias in (last.input, reversed(last.input)):
            node = makers.get(product)
            if node is not None and node.op_type == "MatMul" and node.input[1] in stored and bias in stored:
                return node, (node.input[1], bias)
    raise _refusal(path, "that ends in a Gemm with stored weights, whose input are the features", _explain(last))


def _explain(last: "onnx.NodeProto") -> str:
    name = last.op_type
    if name == "Softmax":
        return "it ends in a Softmax, so that it gives no logits; export it without"
    if "quantize" in name.lower() or "Integer" in name or name.startswith(("QLinear", "QGemm")):
        return f"it ends in {name}: it is quantised; give the published float file"
    if name.startswith("Fused"):
        return f"it ends in {name}: it was optimised for one runtime; give the published file"
    return f"it ends in {name}{' without stored weights' if name in ('Gemm', 'Add') else ''}; give the published file"


def _read_tensor(path: Path, tensor: "onnx.TensorProto") -> Floats:
    from onnx import numpy_helper

    array = numpy_helper.to_array(tensor)
    if array.dtype != np.float32:
        raise _refusal(path, "in float32", f"{tensor.name} is {array.dtype}; give the published float file")
    if not np.isfinite(array).all():
        raise CorruptWeights(f"{path} should hold finite weights, but {tensor.name} is not. Get the file again.")
    return np.asarray(array, dtype=np.float32)


def _start(path: Path, model: "onnx.ModelProto", *, threads: int | None) -> "onnxruntime.InferenceSession":
    import onnxruntime

    # Without enable_fallback=0 it would print every error and try the same again.
    options = onnxruntime.SessionOptions()
    options.log_severity_level = LOG_FATAL
    if threads is not None:
        options.intra_op_num_threads = threads
    try:
        return onnxruntime.InferenceSession(
            model.SerializeToString(), options, providers=["CPUExecutionProvider"], enable_fallback=0
        )  # fmt: skip
    except _runtime_errors() as error:
        raise _refusal(
            path,
            f"that ONNX Runtime {onnxruntime.__version__} can run",
            f"it cannot be loaded ({_first_line(error)}); update onnxruntime, or get the published file again",
        ) from error
