"""What a run begins with: FaceRes from its TensorFlow.js files, and the sentence for everything that is not that."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from network_files import random_backbone, random_mobilenet

from emo_affectnet.errors import CorruptWeights, MissingWeights, UsageError, WeightsError, WrongArchitecture
from emo_affectnet.mobilenet import PAIRS, STEM, name_layers
from emo_affectnet.training.starts import FACERES_PREPROCESSING, open_start, read_faceres

Weights = dict[str, np.ndarray]


def draw_weights() -> Weights:
    """Return random weights under FaceRes' names and in TensorFlow's axes: height, width, inputs, outputs."""
    random = np.random.default_rng(0)
    shapes: dict[str, tuple[int, ...]] = {"age_pred/bias": (100,), "conv1/convolution/merged_input": (3, 3, 3, STEM)}
    shapes["conv1_bn/batchnorm_1/sub"] = (1, 1, 1, STEM)
    inputs = STEM
    for number, (outputs, _) in enumerate(PAIRS, start=1):
        shapes[f"conv_dw_{number}/depthwise_kernel"] = (3, 3, inputs, 1)
        shapes |= {f"conv_dw_{number}_bn/batchnorm_1/{part}": (inputs,) for part in ("mul", "sub")}
        shapes[f"conv_pw_{number}/convolution/merged_input"] = (1, 1, inputs, outputs)
        shapes[f"conv_pw_{number}_bn/batchnorm_1/sub"] = (outputs,)
        inputs = outputs
    return {name: random.normal(size=shape).astype(np.float16) for name, shape in shapes.items()}


def write_faceres(folder: Path, weights: Weights) -> Path:
    """Write the two files of a TensorFlow.js model; the last weight is no float16, as in the published file."""
    entries: list[dict[str, Any]] = [
        {"name": name, "shape": array.shape, "dtype": "float32", "quantization": {"dtype": "float16"}}
        for name, array in weights.items()
    ]
    entries.append({"name": "axes", "shape": [2], "dtype": "int32"})
    data = b"".join([*(array.tobytes() for array in weights.values()), np.array([1, 2], np.int32).tobytes()])
    (folder / "faceres.bin").write_bytes(data)
    manifest = [{"paths": ["faceres.bin"], "weights": entries}]
    path = folder / "faceres.json"
    path.write_text(json.dumps({"format": "graph-model", "weightsManifest": manifest}))
    return path


def convolve(x: np.ndarray, weights: Weights, name: str) -> np.ndarray:
    """Compute a 1x1 convolution of one pixel (inputs,) as the graph does."""
    kernel = weights[f"{name}/convolution/merged_input"].astype(np.float64)[0, 0]
    return np.clip(x @ kernel + weights[f"{name}_bn/batchnorm_1/sub"], 0, 6)


def test_every_layer_computes_what_its_weights_say(tmp_path: Path) -> None:
    weights = draw_weights()
    network = read_faceres(write_faceres(tmp_path, weights))
    layers = dict(zip(name_layers(11), network.layers, strict=True))
    random = np.random.default_rng(1)
    with torch.inference_mode():
        for number in (1, 6, 11):
            x = random.random(layers[f"conv_pw_{number}"].convolution.in_channels).astype(np.float32)
            found = layers[f"conv_pw_{number}"](torch.from_numpy(x)[None, :, None, None]).numpy().ravel()
            np.testing.assert_allclose(found, convolve(x, weights, f"conv_pw_{number}"), atol=1e-4)
            name, x = f"conv_dw_{number}", random.random((3, 3, len(x))).astype(np.float32)
            kernel = weights[f"{name}/depthwise_kernel"].astype(np.float64)[..., 0]
            mul, sub = (weights[f"{name}_bn/batchnorm_1/{part}"].astype(np.float64) for part in ("mul", "sub"))
            x = np.repeat(x[..., :1], kernel.shape[-1], axis=-1)
            expected = np.clip((x * kernel).sum(axis=(0, 1)) * mul + sub, 0, 6)
            layer = layers[name]
            y = torch.from_numpy(x.transpose(2, 0, 1))[None]
            # Of a 3x3 picture the middle pixel sees all, at a stride of 2 on a 5x5 one that has it in its middle too.
            y = y if layer.convolution.stride == (1, 1) else torch.nn.functional.pad(y, (1, 1, 1, 1))
            np.testing.assert_allclose(layer(y)[0, :, 1, 1].numpy(), expected, atol=1e-4)


def test_a_run_begins_with_it_and_with_the_same_last_layer_for_the_same_seed(tmp_path: Path) -> None:
    path = write_faceres(tmp_path, draw_weights())
    one, same, other = (open_start(path, network="MobileNet", seed=seed) for seed in (0, 0, 1))
    assert one.preprocessing == FACERES_PREPROCESSING
    assert one.trained_on == ("VGGFace2 faces, in FaceRes",)
    assert one.network is not None
    assert same.network is not None
    assert other.network is not None
    torch.testing.assert_close(one.network.state_dict(), same.network.state_dict())
    assert not torch.equal(one.network.fc2.weight, other.network.fc2.weight)


def cut_off(folder: Path, weights: Weights) -> None:
    (folder / "faceres.bin").write_bytes((folder / "faceres.bin").read_bytes()[:-5])


def drop_numbers(folder: Path, weights: Weights) -> None:
    (folder / "faceres.bin").unlink()


def drop_a_weight(folder: Path, weights: Weights) -> None:
    del weights["conv_pw_3/convolution/merged_input"]
    write_faceres(folder, weights)


def widen(folder: Path, weights: Weights) -> None:
    weights["conv_dw_2/depthwise_kernel"] = np.zeros((3, 3, 65, 1), np.float16)
    write_faceres(folder, weights)


def write_words(folder: Path, weights: Weights) -> None:
    (folder / "faceres.json").write_text("words")


def quantize_to_bytes(folder: Path, weights: Weights) -> None:
    text = (folder / "faceres.json").read_text()
    (folder / "faceres.json").write_text(text.replace('"quantization": {"dtype": "float16"}', '"dtype": "uint8"'))


def remove(folder: Path, weights: Weights) -> None:
    (folder / "faceres.json").unlink()


@pytest.mark.parametrize(
    ("spoil", "error", "sentence"),
    [
        (cut_off, CorruptWeights, r"faceres\.bin should have \d+ bytes, as .*faceres\.json lists them, but there are"),
        (drop_numbers, MissingWeights, r"whose numbers are in faceres\.bin, but that file is not beside it"),
        (drop_a_weight, WrongArchitecture, r"whose weight conv_pw_3/convolution/merged_input .* but it is missing"),
        (widen, WrongArchitecture, r"weight conv_dw_2/depthwise_kernel has the shape \(3, 3, 64\), but it has .*65"),
        (write_words, CorruptWeights, r"should be a TensorFlow\.js model .* but it cannot be read as one"),
        (quantize_to_bytes, CorruptWeights, r"but age_pred/bias is stored as uint8"),
        (remove, MissingWeights, r"Expected weights to begin with at .*faceres\.json, but there is no such file"),
    ],
)
def test_anything_else_is_refused(
    spoil: Callable[[Path, Weights], None], error: type[WeightsError], sentence: str, tmp_path: Path
) -> None:
    weights = draw_weights()
    path = write_faceres(tmp_path, weights)
    spoil(tmp_path, weights)
    with pytest.raises(error, match=sentence):
        read_faceres(path)


@pytest.mark.parametrize(("make", "came"), [(random_backbone, "ResNet50"), (random_mobilenet, "MobileNet")])
def test_another_network_than_the_one_to_train_is_refused(
    make: Callable[[], torch.nn.Module], came: str, tmp_path: Path
) -> None:
    path, (asked,) = tmp_path / "start.pt", {"ResNet50", "MobileNet"} - {came}
    torch.save(make().state_dict(), path)
    with pytest.raises(UsageError, match=f"is a {came}, but a {asked} is to be trained; give --network {came}"):
        open_start(path, network=asked, seed=0)
    assert open_start(path, network=came, seed=0).trained_on == ("what its starting weights had seen",)
