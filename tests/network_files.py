"""Random networks for tests that need a file: as a trained one, their batch norms have seen data."""

import torch
from torch import nn

from emo_affectnet.models import ResNet50


def random_backbone(seed: int = 0) -> ResNet50:
    """Return a backbone with random weights and batch norm statistics."""
    torch.manual_seed(seed)
    network = ResNet50()
    for module in network.modules():
        if isinstance(module, nn.BatchNorm2d):
            nn.init.normal_(module.running_mean, std=0.05)
            nn.init.uniform_(module.running_var, 0.8, 1.2)
    return network.eval()
