"""What training begins with: random weights, a backbone, or FaceRes.

FaceRes is a face-recognition MobileNet in the format of TensorFlow.js: `faceres.json` lists the weights in order, and
`faceres.bin`, which it names, holds their numbers. Facts here: the scales of the batch norms are folded into the full
convolutions (`merged_input`) and stand beside the depthwise ones (`mul`); `sub` is added last. FaceRes reads BGR,
0-255, without a mean.
"""

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from ..errors import CorruptWeights, MissingWeights, UsageError, WrongArchitecture
from ..mobilenet import PAIRS_TO_FEATURES, Backbone, Convolution, MobileNet, name_layers
from ..networks import read_backbone
from ..weights import BATCH_NORM_EPSILON, Preprocessing, read_preprocessing, read_record
from .corpora import FERPLUS_PREPROCESSING

Floats = npt.NDArray[np.float32]

FACERES_PREPROCESSING = replace(FERPLUS_PREPROCESSING, input_size=128, channels="BGR", mean=(0.0, 0.0, 0.0))
FACERES_TRAINED_ON = ("VGGFace2 faces, in FaceRes",)
_STORED: dict[str, npt.DTypeLike] = {"float32": np.float32, "float16": np.float16, "int32": np.int32}


@dataclass(frozen=True)
class Start:
    """What a run begins with."""

    network: Backbone | None  # None: random weights
    preprocessing: Preprocessing
    trained_on: tuple[str, ...]  # what the weights have seen


def open_start(path: Path | None, *, network: str, seed: int) -> Start:
    """Return what a run begins with: nothing, the backbone in a file, or FaceRes if that is a .json; `network` is its.

    Raises:
        UsageError: the file holds another network.
        WeightsError: the file is missing, damaged, or no backbone.
    """
    if path is None:
        return Start(None, FERPLUS_PREPROCESSING, ())
    if path.suffix == ".json":
        torch.manual_seed(seed)  # of the new last layer
        start = Start(read_faceres(path), FACERES_PREPROCESSING, FACERES_TRAINED_ON)
    else:
        record = read_record(path)
        seen = record.trained_on if record else ("what its starting weights had seen",)
        start = Start(read_backbone(path), read_preprocessing(path), seen)
    came = "MobileNet" if isinstance(start.network, MobileNet) else "ResNet50"
    if came != network:
        raise UsageError(f"{path} is a {came}, but a {network} is to be trained; give --network {came}.")
    return start


def read_faceres(path: Path) -> MobileNet:
    """Return a MobileNet with the convolutions of FaceRes, given its .json, and a last layer of random weights.

    Raises:
        MissingWeights, CorruptWeights: a file is not there, or damaged.
        WrongArchitecture: it is another network.
    """
    arrays = _read_arrays(path)
    network = MobileNet()
    with torch.no_grad():
        for name, layer in zip(name_layers(PAIRS_TO_FEATURES), network.layers, strict=True):
            assert isinstance(layer, Convolution)
            _fill(layer, name, arrays, path)
    return network.eval()


def _fill(layer: Convolution, name: str, arrays: Mapping[str, Floats], path: Path) -> None:
    """Copy the weights of a convolution; its batch norm adds the shift and changes nothing else."""
    weight, norm = layer.convolution.weight, layer.batch_norm
    outputs, inputs, height, width = weight.shape

    def take(part: str, shape: tuple[int, ...]) -> torch.Tensor:
        array = arrays.get(f"{name}{part}")
        if array is None or array.squeeze().shape != shape:
            came = "it is missing" if array is None else f"it has {array.shape}"
            raise WrongArchitecture(
                f"{path} should be FaceRes, a MobileNet whose weight {name}{part} has the shape {shape}, but {came}. "
                "Give the published faceres.json."
            )
        return torch.from_numpy(array.reshape(shape).copy())

    if layer.convolution.groups == 1:
        shape = (height, width, inputs, outputs) if height > 1 else (inputs, outputs)
        kernel = take("/convolution/merged_input", shape).reshape(height, width, inputs, outputs).permute(3, 2, 0, 1)
    else:
        kernel = take("/depthwise_kernel", (height, width, outputs)).permute(2, 0, 1)[:, None]
        kernel = kernel * take("_bn/batchnorm_1/mul", (outputs,))[:, None, None, None]
    weight.copy_(kernel)
    norm.bias.copy_(take("_bn/batchnorm_1/sub", (outputs,)))
    norm.weight.fill_(1)
    assert norm.running_mean is not None
    assert norm.running_var is not None
    norm.running_mean.zero_()
    norm.running_var.fill_(1 - BATCH_NORM_EPSILON)


def _read_arrays(path: Path) -> dict[str, Floats]:
    """Return the weights of a TensorFlow.js model by name, in float32."""
    if not path.is_file():
        raise MissingWeights(f"Expected weights to begin with at {path}, but there is no such file. Check the path.")
    try:
        groups: list[dict[str, Any]] = list(json.loads(path.read_bytes())["weightsManifest"])
        return {name: array for group in groups for name, array in _read_group(group, path)}
    except (ValueError, TypeError, KeyError, AttributeError, RecursionError) as error:
        raise CorruptWeights(
            f"{path} should be a TensorFlow.js model that lists its weights in weightsManifest, but it cannot be read "
            "as one. Get both files again."
        ) from error


def _read_group(group: dict[str, Any], path: Path) -> Iterator[tuple[str, Floats]]:
    files = [path.parent / name for name in group["paths"]]
    if missing := [file for file in files if not file.is_file()]:
        raise MissingWeights(
            f"{path} lists weights whose numbers are in {missing[0].name}, but that file is not beside it. Get it too."
        )
    data, start = b"".join(file.read_bytes() for file in files), 0
    for weight in group["weights"]:
        stored = weight.get("quantization", weight)["dtype"]
        if stored not in _STORED:
            raise CorruptWeights(
                f"{path} should hold weights as {', '.join(_STORED)}, but {weight['name']} is stored as {stored}. Give "
                "the published faceres.json."
            )
        kind = np.dtype(_STORED[stored])
        count = int(np.prod(weight["shape"], dtype=np.int64))
        end = start + count * kind.itemsize
        if end <= len(data):
            yield weight["name"], np.frombuffer(data, kind, count, start).reshape(weight["shape"]).astype(np.float32)
        start = end
    if start != len(data):
        raise CorruptWeights(
            f"{', '.join(file.name for file in files)} should have {start} bytes, as {path} lists them, but there are "
            f"{len(data)}. Get both files again."
        )
