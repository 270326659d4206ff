"""The network built node by node against PyTorch's, in ONNX Runtime."""

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from network_files import random_backbone

from emo_affectnet.models import LSTMHead, ResNet50
from emo_affectnet.networks import export_arrays
from emo_affectnet.onnx_graph import build_backbone, build_head, build_heads

pytestmark = pytest.mark.usefixtures("one_thread")


def run(model: onnx.ModelProto, x: np.ndarray) -> list[np.ndarray]:
    onnx.checker.check_model(model, full_check=True)
    session = onnxruntime.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    (entry,) = session.get_inputs()
    return session.run(None, {entry.name: x})


@pytest.fixture(scope="module")
def network() -> ResNet50:
    return random_backbone()


@pytest.mark.parametrize("size", [32, 33, 65, 224], ids="{} px".format)
def test_backbone_of_any_size_computes_what_pytorch_does(size: int, network: ResNet50) -> None:
    x = np.random.default_rng(size).normal(size=(2, 3, size, size)).astype(np.float32) * 50
    features, logits = run(build_backbone(export_arrays(network), input_size=size), x)
    with torch.inference_mode():
        expected = network.features(torch.from_numpy(x))
        expected_logits = network.fc2(expected).numpy()
    assert features.min() == 0
    np.testing.assert_allclose(features, expected.numpy(), rtol=0, atol=1e-5 * float(expected.max()))
    np.testing.assert_allclose(logits, expected_logits, rtol=0, atol=1e-5 * np.abs(expected_logits).max())


def test_batch_norms_are_inside_the_convolutions(network: ResNet50) -> None:
    model = build_backbone(export_arrays(network), input_size=32)
    operators = [node.op_type for node in model.graph.node]
    assert operators.count("Conv") == 53
    assert "BatchNormalization" not in operators
    assert all(len(node.input) == 3 for node in model.graph.node if node.op_type == "Conv")  # with a bias


@pytest.mark.parametrize("count", [1, 6])
@pytest.mark.parametrize("windows", [1, 5])
def test_heads_side_by_side_compute_what_each_does_in_pytorch(count: int, windows: int) -> None:
    heads = []
    for seed in range(count):
        torch.manual_seed(seed)
        heads.append(LSTMHead().eval())
    x = np.random.default_rng(windows).random((windows, 10, 512), dtype=np.float32)
    (probabilities,) = run(build_heads([export_arrays(head) for head in heads]), x)
    with torch.inference_mode():
        expected = np.stack([head(torch.from_numpy(x)).numpy() for head in heads])
    assert probabilities.shape == (count, windows, 7)
    np.testing.assert_allclose(probabilities, expected, rtol=0, atol=1e-6)
    (alone,) = run(build_head(export_arrays(heads[0])), x)
    np.testing.assert_allclose(alone, expected[0], rtol=0, atol=1e-6)


def test_both_biases_and_the_order_of_the_gates_matter() -> None:
    torch.manual_seed(0)
    head = LSTMHead().eval()
    state = export_arrays(head)
    x = np.random.default_rng(0).random((1, 10, 512), dtype=np.float32)
    (expected,) = run(build_head(state), x)
    for name in ("lstm1.bias_ih_l0", "lstm1.bias_hh_l0", "lstm2.weight_hh_l0"):
        changed = dict(state)
        changed[name] = np.roll(state[name], len(state[name]) // 4, axis=0)
        (other,) = run(build_head(changed), x)
        assert np.abs(other - expected).max() > 1e-5, name
