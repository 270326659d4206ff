"""Makers of sibling files: tiny ONNX graphs in the published format, and Keras' MobileNet as HDF5.

The format is that of torch 1.12's exporter: opset 11, one `input` with a free batch axis, one `output`, a Gemm at the
end. The body is as small as can be, a convolution and a mean; widths, sizes and outputs are the published ones.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import onnx
import torch
from onnx import TensorProto, helper, numpy_helper
from torch.nn import functional as F

from emo_affectnet.zoo.hsemotion import Sibling

FILTERS = 4


@dataclass
class TinyNetwork:
    """convolution 3x3 with a stride of 4, ReLU, mean over the image, `widening` to features, ReLU, last layer."""

    kernel: np.ndarray  # (4, 3, 3, 3)
    widening: np.ndarray  # (D, 4)
    widening_bias: np.ndarray  # (D,)
    weights: np.ndarray  # (outputs, D), as PyTorch stores them
    bias: np.ndarray  # (outputs,)

    @classmethod
    def random(cls, sibling: Sibling, seed: int = 0) -> "TinyNetwork":
        """Return a network with random weights that make scores of about 1."""
        random = np.random.default_rng(seed)
        shapes = {
            "kernel": ((FILTERS, 3, 3, 3), 0.3),
            "widening": ((sibling.feature_width, FILTERS), 1.0),
            "widening_bias": ((sibling.feature_width,), 0.5),
            "weights": ((sibling.outputs, sibling.feature_width), sibling.feature_width**-0.5),
            "bias": ((sibling.outputs,), 0.5),
        }
        return cls(**{n: random.normal(0, scale, shape).astype(np.float32) for n, (shape, scale) in shapes.items()})

    @classmethod
    def by_red(cls, sibling: Sibling, levels: np.ndarray) -> "TinyNetwork":
        """Return a network whose highest label is that whose entry in `levels` is nearest to the image's red.

        `levels`, above 0, are the normalised red values. The first feature is the image's mean red r, and output k is
        2 r levels[k] - levels[k]², which is highest where (r - levels[k])² is lowest. Further outputs are -3 and 2.
        """
        network = cls.random(sibling)
        network.kernel[:] = 0
        network.kernel[0, 0, 1, 1] = 1
        network.widening[:], network.widening_bias[:], network.weights[:] = 0, 0, 0
        network.widening[0, 0] = 1
        count = len(sibling.labels)
        network.weights[:count, 0] = 2 * levels
        network.bias = np.array([*(-(levels**2)), -3, 2], np.float32)[: sibling.outputs]
        return network

    def run(self, x: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Return features and scores of network inputs (N, 3, S, S), by plain PyTorch."""
        maps = F.conv2d(torch.from_numpy(x), torch.from_numpy(self.kernel), stride=4)
        means = F.relu(maps).mean(dim=(2, 3)).numpy()
        features = np.maximum(means @ self.widening.T + self.widening_bias, 0)
        return features, features @ self.weights.T + self.bias


def build_model(network: TinyNetwork, sibling: Sibling, *, size: int | None = None) -> onnx.ModelProto:
    """Return the graph as the published ones are laid out."""
    size = size or sibling.preprocessing.input_size
    tensors = {
        "body.weight": network.kernel,
        "widening.weight": network.widening,
        "widening.bias": network.widening_bias,
        "classifier.weight": network.weights,
        "classifier.bias": network.bias,
    }
    nodes = [
        helper.make_node("Conv", ["input", "body.weight"], ["maps"], kernel_shape=[3, 3], strides=[4, 4]),
        helper.make_node("Relu", ["maps"], ["active"]),
        helper.make_node("GlobalAveragePool", ["active"], ["pooled"]),
        helper.make_node("Flatten", ["pooled"], ["flat"], axis=1),
        helper.make_node("Gemm", ["flat", "widening.weight", "widening.bias"], ["wide"], transB=1),
        helper.make_node("Relu", ["wide"], ["onnx::Gemm_7"]),
        helper.make_node(
            "Gemm",
            ["onnx::Gemm_7", "classifier.weight", "classifier.bias"],
            ["output"],
            name="Gemm_532",
            alpha=1.0,
            beta=1.0,
            transB=1,
        ),
    ]
    graph = helper.make_graph(
        nodes,
        "torch-jit-export",
        [helper.make_tensor_value_info("input", TensorProto.FLOAT, ["batch_size", 3, size, size])],
        [helper.make_tensor_value_info("output", TensorProto.FLOAT, ["batch_size", sibling.outputs])],
        [numpy_helper.from_array(np.ascontiguousarray(array), name) for name, array in tensors.items()],
    )
    return helper.make_model(
        graph, producer_name="pytorch", opset_imports=[helper.make_opsetid("", 11)], ir_version=7
    )  # fmt: skip


def save_onnx(path: Path, model: onnx.ModelProto) -> Path:
    """Write a model and return its path."""
    path.write_bytes(model.SerializeToString())
    return path


def random_mobilenet(seed: int = 0, **options: Any) -> torch.nn.Module:
    """Return our MobileNet with random weights and batch norm statistics, as a trained one has."""
    from emo_affectnet.zoo.mobilenet import SiblingMobileNet

    torch.manual_seed(seed)
    network = SiblingMobileNet(**options).eval()
    for module in network.modules():
        if isinstance(module, torch.nn.BatchNorm2d):
            torch.nn.init.uniform_(module.weight, 0.8, 1.6)
            torch.nn.init.normal_(module.bias, std=0.3)
            torch.nn.init.normal_(module.running_mean, std=0.1)
            torch.nn.init.uniform_(module.running_var, 0.3, 0.6)
    return network


def save_mobilenet(path: Path, network: torch.nn.Module, *, description: str = "") -> Path:
    """Write a network as Keras writes a model's weights to HDF5, layer by layer, and return the path."""
    layers: dict[str, dict[str, np.ndarray]] = {}
    for name, layer in network.layers.items():
        kernel = layer.convolution.weight.detach().numpy()
        is_depthwise = "conv_dw" in name
        axes, title = ((2, 3, 0, 1), "depthwise_kernel:0") if is_depthwise else ((2, 3, 1, 0), "kernel:0")
        layers[name] = {title: kernel.transpose(axes)}
        norm = layer.batch_norm
        parts = {"gamma": norm.weight, "beta": norm.bias}
        parts |= {"moving_mean": norm.running_mean, "moving_variance": norm.running_var}
        layers[f"{name}_bn"] = {f"{part}:0": value.detach().numpy() for part, value in parts.items()}
    layers |= {"global_pooling": {}, "dropout": {}}
    for name, dense in network.denses.items():
        layers[name] = {"kernel:0": dense.weight.detach().numpy().T, "bias:0": dense.bias.detach().numpy()}
    with h5py.File(path, "w") as file:
        if description:
            file.attrs["model_config"] = description
        root = file.create_group("model_weights")
        root.attrs["layer_names"] = np.array(list(layers), dtype="S")
        root.attrs["backend"] = "tensorflow"
        for name, weights in layers.items():
            group = root.create_group(name)
            group.attrs["weight_names"] = np.array([f"{name}/{part}" for part in weights], dtype="S")
            for part, array in weights.items():
                group.create_dataset(f"{name}/{part}", data=np.ascontiguousarray(array))
    return path
