"""Random networks for tests that need a file: as a trained one, their batch norms have seen data."""

import torch
from torch import nn

from emo_affectnet.emotions import Emotion
from emo_affectnet.mobilenet import MobileNet
from emo_affectnet.models import Conv2dSame, ResNet50, _batch_norm, _layer
from emo_affectnet.weights import FEATURES


def random_backbone(seed: int = 0, *, kind: type[ResNet50] = ResNet50) -> ResNet50:
    """Return a backbone with random weights and batch norm statistics."""
    torch.manual_seed(seed)
    network = kind()
    for module in network.modules():
        if isinstance(module, nn.BatchNorm2d):
            nn.init.normal_(module.running_mean, std=0.05)
            nn.init.uniform_(module.running_var, 0.8, 1.2)
    return network.eval()


class NarrowBackbone(ResNet50):
    """A backbone of the same layers and names with an eighth of the channels: a sixtieth of the work."""

    def __init__(self) -> None:
        nn.Module.__init__(self)
        self.conv_layer_s2_same = Conv2dSame(3, 8, 7, stride=2, bias=False)
        self.batch_norm1 = _batch_norm(8)
        self.layer1 = _layer(8, 8, blocks=3, stride=1)
        self.layer2 = _layer(32, 16, blocks=4, stride=2)
        self.layer3 = _layer(64, 32, blocks=6, stride=2)
        self.layer4 = _layer(128, 64, blocks=3, stride=2)
        self.fc1 = nn.Linear(256, FEATURES)
        self.fc2 = nn.Linear(FEATURES, len(Emotion))


def random_mobilenet(seed: int = 0) -> MobileNet:
    """Return a MobileNet with random weights and batch norm statistics that fit faces of 0-255."""
    torch.manual_seed(seed)
    network = MobileNet()
    for module in network.modules():
        if isinstance(module, nn.Conv2d):
            nn.init.kaiming_normal_(module.weight, mode="fan_in", nonlinearity="relu")
        elif isinstance(module, nn.BatchNorm2d):
            nn.init.uniform_(module.weight, 0.8, 1.2)
            nn.init.normal_(module.bias, std=0.3)
            nn.init.normal_(module.running_mean, std=0.1)
            nn.init.uniform_(module.running_var, 0.8, 1.2)
    network.layers[0].batch_norm.running_var *= 2 * 128**2  # of what a convolution makes of grey levels
    return network.eval()
