"""The networks as ONNX graphs, for engines other than PyTorch: `models` and `mobilenet` once more, node by node.

In go the tensors of a state dict, out comes a model of operator set 18. Batch norms are folded into their convolutions,
in float64. Source of the layout: these two modules, which say where they differ from the usual ones.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx
from onnx import TensorProto, helper, numpy_helper

from .emotions import Emotion
from .timeline import WINDOW
from .weights import BATCH_NORM_EPSILON, FEATURES

Floats = npt.NDArray[np.float32]
State = Mapping[str, Floats]  # a tensor's name in the state dict, and its values

OPSET = 18
IR_VERSION = 8  # the oldest that carries this operator set; every runtime of today reads it
BLOCKS = (3, 4, 6, 3)  # bottlenecks of layer1 to layer4; all but the first begin with stride 2
STEM = "conv_layer_s2_same"
MOBILE_STEM = "layers.0.convolution.weight"
MOBILE_STRIDES = (2, 1, 2, 1, 2, 1, 2, 1, 1, 1, 1, 1)  # of the stem, and of the depthwise convolution of each pair
GATES = (0, 3, 1, 2)  # PyTorch's input, forget, cell, output in ONNX's order: input, output, forget, cell


class _Graph:
    """Nodes and tensors as they are added; a node's name is that of its output."""

    def __init__(self) -> None:
        self.nodes: list[onnx.NodeProto] = []
        self.tensors: list[onnx.TensorProto] = []

    def add(self, operator: str, inputs: Sequence[str], output: str, **attributes: Any) -> str:
        self.nodes.append(helper.make_node(operator, inputs, [output], name=output, **attributes))
        return output

    def store(self, name: str, values: npt.NDArray[np.generic]) -> str:
        self.tensors.append(numpy_helper.from_array(values, name))
        return name

    def convolve(
        self,
        x: str,
        state: State,
        *,
        weight: str,
        norm: str,
        stride: int = 1,
        pads: Sequence[int] = (0, 0, 0, 0),
        group: int = 1,
    ) -> str:
        """Add a convolution, of `group` groups, with the batch norm behind it folded in."""
        gamma, beta, mean, variance = (
            state[f"{norm}.{part}"].astype(np.float64) for part in ("weight", "bias", "running_mean", "running_var")
        )
        scale = gamma / np.sqrt(variance + BATCH_NORM_EPSILON)
        kernel = state[f"{weight}.weight"] * scale[:, None, None, None]
        inputs = [
            x,
            self.store(f"{weight}.weight", kernel.astype(np.float32)),
            self.store(f"{weight}.bias", (beta - mean * scale).astype(np.float32)),
        ]
        side = kernel.shape[-1]
        sides = {"kernel_shape": [side] * 2, "strides": [stride] * 2, "pads": list(pads)}
        return self.add("Conv", inputs, weight, **sides, group=group)

    def connect(self, x: str, state: State, layer: str, output: str) -> str:
        """Add a fully connected layer: x (B, I) to (B, O)."""
        weight, bias = (self.store(f"{layer}.{part}", state[f"{layer}.{part}"]) for part in ("weight", "bias"))
        return self.add("Gemm", [x, weight, bias], output, transB=1)

    def build(
        self, name: str, inputs: Mapping[str, Sequence[str | int]], outputs: Mapping[str, Sequence[str | int]]
    ) -> onnx.ModelProto:
        """Return the model; the batch is free."""
        starts, ends = (
            [helper.make_tensor_value_info(name, TensorProto.FLOAT, list(shape)) for name, shape in side.items()]
            for side in (inputs, outputs)
        )
        graph = helper.make_graph(self.nodes, name, starts, ends, self.tensors)
        opsets = [helper.make_opsetid("", OPSET)]
        return helper.make_model(graph, opset_imports=opsets, ir_version=IR_VERSION, producer_name="emo_affectnet")


def build_backbone(state: State, *, input_size: int) -> onnx.ModelProto:
    """Return a backbone's model: `input` (B, 3, S, S) to `features` (B, 512) after the ReLU and `logits` (B, 7)."""
    graph = _Graph()
    add = _add_mobilenet if MOBILE_STEM in state else _add_resnet
    add(graph, state, input_size=input_size)
    graph.connect("features", state, "fc2", "logits")
    inputs = {"input": ("batch", 3, input_size, input_size)}
    return graph.build("backbone", inputs, {"features": ("batch", FEATURES), "logits": ("batch", len(Emotion))})


def _pad_same(size: int, *, kernel: int, stride: int) -> list[int]:
    """Return the px of TensorFlow's SAME padding: top, left, bottom, right; an odd one goes behind."""
    surplus = max((-(-size // stride) - 1) * stride + kernel - size, 0)
    return [surplus // 2] * 2 + [surplus - surplus // 2] * 2


def _add_mobilenet(graph: _Graph, state: State, *, input_size: int) -> None:
    """Add MobileNet up to `features`: the stem, then depthwise and pointwise convolutions in turn."""
    limits = [graph.store(name, np.array(value, np.float32)) for name, value in (("zero", 0), ("six", 6))]

    def convolve(x: str, layer: int, **options: Any) -> str:
        name = f"layers.{layer}"
        y = graph.convolve(x, state, weight=f"{name}.convolution", norm=f"{name}.batch_norm", **options)
        return graph.add("Clip", [y, *limits], f"{name}.relu6")

    x, size = "input", input_size
    for pair, stride in enumerate(MOBILE_STRIDES):
        layer = max(2 * pair - 1, 0)
        channels = state[f"layers.{layer}.convolution.weight"].shape[0]
        pads = _pad_same(size, kernel=3, stride=stride)
        x = convolve(x, layer, stride=stride, pads=pads, group=channels if pair else 1)
        size = -(-size // stride)
        x = convolve(x, layer + 1) if pair else x
    graph.add("Flatten", [graph.add("GlobalAveragePool", [x], "pool")], "features")


def _add_resnet(graph: _Graph, state: State, *, input_size: int) -> None:
    """Add ResNet50 up to `features`."""
    pads = _pad_same(input_size, kernel=7, stride=2)
    x = graph.convolve("input", state, weight=STEM, norm="batch_norm1", stride=2, pads=pads)
    x = graph.add("Relu", [x], "stem")
    x = graph.add("MaxPool", [x], "stem.pool", kernel_shape=[3, 3], strides=[2, 2])
    for layer, blocks in enumerate(BLOCKS, start=1):
        for block in range(blocks):
            x = _add_block(graph, x, state, f"layer{layer}.{block}", stride=2 if layer > 1 and not block else 1)
    x = graph.add("GlobalAveragePool", [x], "pool")
    x = graph.add("Flatten", [x], "pool.flat")
    x = graph.connect(x, state, "fc1", "fc1")
    graph.add("Relu", [x], "features")


def _add_block(graph: _Graph, x: str, state: State, name: str, *, stride: int) -> str:
    """Add a bottleneck: 1x1 with the stride, 3x3, 1x1, plus the shortcut."""
    y = graph.convolve(x, state, weight=f"{name}.conv1", norm=f"{name}.batch_norm1", stride=stride)
    y = graph.add("Relu", [y], f"{name}.relu1")
    y = graph.convolve(y, state, weight=f"{name}.conv2", norm=f"{name}.batch_norm2", pads=(1, 1, 1, 1))
    y = graph.add("Relu", [y], f"{name}.relu2")
    y = graph.convolve(y, state, weight=f"{name}.conv3", norm=f"{name}.batch_norm3")
    shortcut = f"{name}.i_downsample"
    if f"{shortcut}.0.weight" in state:
        x = graph.convolve(x, state, weight=f"{shortcut}.0", norm=f"{shortcut}.1", stride=stride)
    return graph.add("Relu", [graph.add("Add", [y, x], f"{name}.sum")], name)


def build_head(state: State) -> onnx.ModelProto:
    """Return the model of a head: `windows` (B, 10, 512) to `probabilities` (B, 7)."""
    graph = _Graph()
    _add_head(graph, _begin_heads(graph), state, "", output="probabilities")
    return graph.build("head", {"windows": ("batch", WINDOW, FEATURES)}, {"probabilities": ("batch", len(Emotion))})


def build_heads(states: Sequence[State]) -> onnx.ModelProto:
    """Return the model of several heads at once: `windows` (B, 10, 512) to `probabilities` (heads, B, 7)."""
    graph = _Graph()
    steps = _begin_heads(graph)
    axis = graph.store("first", np.array([0]))
    rows = []
    for number, state in enumerate(states):
        row = _add_head(graph, steps, state, f"{number}.", output=f"{number}.probabilities")
        rows.append(graph.add("Unsqueeze", [row, axis], f"{number}.row"))
    graph.add("Concat", rows, "probabilities", axis=0)
    shape = (len(states), "batch", len(Emotion))
    return graph.build("heads", {"windows": ("batch", WINDOW, FEATURES)}, {"probabilities": shape})


def _begin_heads(graph: _Graph) -> str:
    """Add what the heads share: the steps of the windows first, (10, B, 512)."""
    graph.store("direction", np.array([1]))
    graph.store("last", np.array(WINDOW - 1))
    return graph.add("Transpose", ["windows"], "steps", perm=[1, 0, 2])


def _add_head(graph: _Graph, steps: str, state: State, prefix: str, *, output: str) -> str:
    x = _add_lstm(graph, steps, state, "lstm1", prefix)
    x = _add_lstm(graph, x, state, "lstm2", prefix)
    x = graph.add("Gather", [x, "last"], f"{prefix}last_step", axis=0)
    weight, bias = (graph.store(f"{prefix}fc.{part}", state[f"fc.{part}"]) for part in ("weight", "bias"))
    x = graph.add("Gemm", [x, weight, bias], f"{prefix}logits", transB=1)
    return graph.add("Softmax", [x], output, axis=1)


def _add_lstm(graph: _Graph, x: str, state: State, layer: str, prefix: str) -> str:
    """Add an LSTM over steps (10, B, I), giving every step, (10, B, H)."""

    def reorder(part: str) -> Floats:
        gates = np.split(state[f"{layer}.{part}_l0"], 4)
        return np.concatenate([gates[gate] for gate in GATES])[None]

    biases = np.concatenate([reorder("bias_ih"), reorder("bias_hh")], axis=1)
    inputs = [
        x,
        graph.store(f"{prefix}{layer}.input", reorder("weight_ih")),
        graph.store(f"{prefix}{layer}.hidden", reorder("weight_hh")),
        graph.store(f"{prefix}{layer}.bias", biases),
    ]
    size = state[f"{layer}.weight_hh_l0"].shape[1]
    outputs = graph.add("LSTM", inputs, f"{prefix}{layer}", hidden_size=size)  # (10, 1, B, H)
    return graph.add("Squeeze", [outputs, "direction"], f"{prefix}{layer}.steps")
