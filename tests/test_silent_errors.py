"""Ways in which copies of the published system give wrong numbers without a word; here each of them is refused.

The list is what other people's code does with the published files; each test commits the error and reads the sentence.
"""

import json
import pickle
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path

import numpy as np
import pytest
import torch
from network_files import random_backbone
from torch import Tensor, nn

from emo_affectnet import EmotionRecognizer, store
from emo_affectnet import weights as module
from emo_affectnet.engines import TorchEngine, normalize_crops
from emo_affectnet.errors import CorruptWeights, MissingWeights, UntrustedWeights, UsageError, WrongArchitecture
from emo_affectnet.models import LSTMHead, ResNet50
from emo_affectnet.networks import load_backbone, load_head, read_backbone
from emo_affectnet.weight_sets import resolve
from emo_affectnet.weights import PUBLISHED_PREPROCESSING, bundled_folder, write_record

pytestmark = [
    pytest.mark.filterwarnings("ignore:.*jit.*:DeprecationWarning"),
    pytest.mark.filterwarnings("ignore::torch.jit.TracerWarning"),
]

TORCHVISION = (("conv_layer_s2_same", "conv1"), ("batch_norm", "bn"), ("i_downsample", "downsample"), ("fc1", "fc.0"))


@pytest.fixture(autouse=True)
def own_place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("EMO_AFFECTNET_WEIGHTS", str(tmp_path / "place"))


@pytest.fixture(scope="module")
def network() -> ResNet50:
    return random_backbone()


class Copy(nn.Module):
    """Somebody's copy of the published class, with its tensors under the published names."""

    def __init__(self, network: ResNet50) -> None:
        super().__init__()
        for name, part in network.named_children():
            self.add_module(name, part)

    def extract_features(self, x: Tensor) -> Tensor:
        x = torch.relu(self.batch_norm1(self.conv_layer_s2_same(x)))
        x = nn.functional.max_pool2d(x, 3, stride=2)
        x = self.layer4(self.layer3(self.layer2(self.layer1(x))))
        return self.fc1(x.mean(dim=(2, 3)))

    def forward(self, x: Tensor) -> Tensor:
        return self.fc2(torch.relu(self.extract_features(x)))


def save_copy(network: ResNet50, path: Path) -> Path:
    """Save a copy as TorchScript, as people pass it on, and vouch for it."""
    x = torch.zeros(1, 3, 64, 64)
    copy = Copy(network).eval()
    methods = {"forward": x, "extract_features": x}
    torch.jit.save(torch.jit.trace_module(copy, methods, check_trace=False), str(path))
    store.trust(path)
    return path


def pad_evenly(network: ResNet50) -> None:
    stem = nn.Conv2d(3, 64, 7, stride=2, padding=3, bias=False)
    stem.load_state_dict(network.conv_layer_s2_same.state_dict())
    network.conv_layer_s2_same = stem


def use_pytorchs_epsilon(network: ResNet50) -> None:
    for part in network.modules():
        if isinstance(part, nn.BatchNorm2d):
            part.eps = 1e-5


def stride_on_the_3x3(network: ResNet50) -> None:
    for layer in (network.layer2, network.layer3, network.layer4):
        layer[0].conv1.stride, layer[0].conv2.stride = (1, 1), (2, 2)


def test_a_faithful_copy_in_torchscript_is_read(network: ResNet50, tmp_path: Path) -> None:
    features = load_backbone(save_copy(network, tmp_path / "copy.pth"), input_size=64)
    x = torch.randn(2, 3, 64, 64, generator=torch.Generator().manual_seed(1)) * 50
    with torch.inference_mode():
        torch.testing.assert_close(features(x), network.features(x), rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("spoil", [pad_evenly, use_pytorchs_epsilon, stride_on_the_3x3])
def test_a_copy_with_another_arithmetic_is_refused(spoil: Callable[[ResNet50], None], tmp_path: Path) -> None:
    network = random_backbone()
    spoil(network)
    if spoil is use_pytorchs_epsilon:  # trained networks have small variances, where an epsilon counts
        for part in network.modules():
            if isinstance(part, nn.BatchNorm2d):
                part.running_var *= 0.1
    path = save_copy(network, tmp_path / "copy.pth")
    with pytest.raises(WrongArchitecture, match=r"features differ by .* another padding, stride or epsilon"):
        load_backbone(path, input_size=64)


def test_tensors_renamed_for_torchvisions_resnet_are_refused(network: ResNet50, tmp_path: Path) -> None:
    state = {}
    for name, tensor in network.state_dict().items():
        for ours, theirs in TORCHVISION:
            name = name.replace(ours, theirs)
        state[name.replace("fc2", "fc.2")] = tensor
    torch.save(state, tmp_path / "renamed.pt")
    with pytest.raises(WrongArchitecture, match="torchvision's ResNet, which has its strides and padding elsewhere"):
        read_backbone(tmp_path / "renamed.pt")


def test_what_strict_false_left_untouched_is_noticed(network: ResNet50, tmp_path: Path) -> None:
    """Five renamed keys of the stem were found, the batch norms of all blocks stayed as they are made."""
    state = ResNet50().state_dict()
    for name, tensor in network.state_dict().items():
        if name.startswith(("conv_layer_s2_same", "batch_norm1")):
            state[name] = tensor
    torch.save(state, tmp_path / "half.pt")
    with pytest.raises(CorruptWeights, match=r"layer1\.0\.batch_norm1 has the mean 0 and .*strict=False"):
        read_backbone(tmp_path / "half.pt")


def test_the_published_backbone_is_never_read_with_imagenets_means(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "FER_static_ResNet50_AffectNet.pt"
    path.write_bytes(b"stands for the published file")
    about = {"name": "backbone", "kind": "backbone", "license": "?", "trained_on": ()}
    record = write_record(path, **about, preprocessing=PUBLISHED_PREPROCESSING)
    monkeypatch.setattr(module, "PUBLISHED_BACKBONE_SHA256", record.sha256)
    assert module.read_preprocessing(path) == PUBLISHED_PREPROCESSING
    wrong = {**asdict(PUBLISHED_PREPROCESSING), "channels": "RGB", "mean": [123.7, 116.3, 103.5], "std": [58, 57, 57]}
    (tmp_path / "FER_static_ResNet50_AffectNet.json").write_text(json.dumps(asdict(record) | {"preprocessing": wrong}))
    with pytest.raises(CorruptWeights, match="describes the published backbone with another preprocessing"):
        resolve(backbone=path)


def test_red_reaches_the_published_network_last_and_no_image_is_scaled_to_one() -> None:
    red = np.zeros((1, 224, 224, 3), np.uint8)
    red[..., 0] = 255
    x = normalize_crops(red, PUBLISHED_PREPROCESSING)[0, :, 0, 0]
    np.testing.assert_allclose(x, [-91.4953, -103.8827, 255 - 131.0912], atol=1e-4)  # B, G, R minus VGGFace2's means


@pytest.mark.parametrize("load", [load_backbone, load_head])
def test_no_file_never_means_random_weights(load: Callable[[Path], object], tmp_path: Path) -> None:
    with pytest.raises(MissingWeights, match=r"none\.pt, but there is none"):
        load(tmp_path / "none.pt")


@pytest.mark.parametrize(("samples", "width"), [(10, 2304), (10, 1280), (10, 7), (1, 512)])
def test_a_head_reads_ten_times_512_features_and_nothing_else(samples: int, width: int) -> None:
    """Not through a random layer in between, not seven probabilities, not a single frame."""
    engine = TorchEngine(resolve())
    with pytest.raises(UsageError, match=rf"windows of 10 samples with 512 features.* \(2, {samples}, {width}\) came"):
        engine.classify(np.zeros((2, samples, width), np.float32))


def test_a_head_is_no_backbone_and_a_backbone_no_head(network: ResNet50, tmp_path: Path) -> None:
    torch.save(network.state_dict(), tmp_path / "backbone.pt")
    torch.save(LSTMHead().state_dict(), tmp_path / "head.pt")
    with pytest.raises(WrongArchitecture, match="should be the state dict of a head.* but it is a backbone"):
        load_head(tmp_path / "backbone.pt")
    with pytest.raises(WrongArchitecture, match="should be the state dict of a backbone.* but it is a head"):
        load_backbone(tmp_path / "head.pt")


def test_a_sibling_backbone_takes_no_head_of_the_study() -> None:
    with pytest.raises(UsageError, match=r"enet_b0_8_va_mtl comes as it is.* leave out head_file"):
        EmotionRecognizer(backbone="enet_b0_8_va_mtl", head_file=bundled_folder() / "SAVEE.pt")


def test_a_pointer_of_git_lfs_is_no_weight_file(tmp_path: Path) -> None:
    path = tmp_path / "backbone.pt"
    path.write_text(f"version https://git-lfs.github.com/spec/v1\noid sha256:{'0' * 64}\nsize 98562934\n")
    with pytest.raises(CorruptWeights, match=r"git-lfs pointer.*git lfs pull"):
        load_backbone(path)


def test_a_pickled_module_is_refused_before_it_runs(tmp_path: Path) -> None:
    class Opens:
        def __reduce__(self) -> tuple[Callable[[str, str], object], tuple[str, str]]:
            return open, (str(tmp_path / "proof"), "w")

    torch.save({"model": Opens()}, tmp_path / "module.pt", pickle_module=pickle)
    with pytest.raises(CorruptWeights, match="can run code and is refused"):
        load_backbone(tmp_path / "module.pt")
    assert not (tmp_path / "proof").exists()


def test_torchscript_that_nobody_vouched_for_is_not_run(network: ResNet50, tmp_path: Path) -> None:
    path = save_copy(network, tmp_path / "copy.pth")
    load_backbone(path, input_size=64)
    with path.open("ab") as file:
        file.write(b"changed since")
    with pytest.raises(UntrustedWeights, match="--trust"):
        load_backbone(path, input_size=64)
