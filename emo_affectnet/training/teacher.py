"""A teacher: a trained backbone whose features and answers another one learns, on the same views.

The two share a last layer, so the pupil's features mean what the teacher's do, and heads made for one read the other.
"""

from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ..mobilenet import Backbone
from ..networks import read_backbone
from ..weights import Preprocessing, hash_file, read_preprocessing
from .views import prepare

LABEL_SHARE = 0.3  # of a target; the teacher's answer has the rest
FIRST_BIAS = 0.3  # of the layer that gives the features, so that few of them begin behind the ReLU


@dataclass(frozen=True, eq=False)
class Teacher:
    """A backbone in evaluation mode, and how it wants its faces."""

    network: Backbone
    preprocessing: Preprocessing
    sha256: str

    def look(self, views: Tensor, *, device: str, is_half: bool) -> tuple[Tensor, Tensor]:
        """Return the features (B, 512) and probabilities (B, 7) of views (B, 3, S, S), 0-255."""
        with torch.no_grad(), torch.autocast(device.partition(":")[0], torch.bfloat16, enabled=is_half):
            features = self.network.features(prepare(views, self.preprocessing).to(device)).float()
        return features, torch.softmax(self.network.fc2(features), dim=1)


def open_teacher(path: Path, *, device: str) -> Teacher:
    """Return the backbone in a file as a teacher.

    Raises:
        WeightsError: the file is no backbone.
    """
    network = read_backbone(path)
    network.to(device, memory_format=torch.channels_last)  # type: ignore[call-overload] # the stubs miss it
    return Teacher(network.requires_grad_(False), read_preprocessing(path), hash_file(path))


def take_last_layer(pupil: Backbone, teacher: Teacher) -> None:
    """Give the pupil the teacher's last layer, which stays as it is, and a fresh layer of features if it has one."""
    pupil.fc2.load_state_dict(teacher.network.fc2.state_dict())
    pupil.fc2.requires_grad_(False)
    if isinstance(layer := getattr(pupil, "fc1", None), nn.Linear):
        nn.init.normal_(layer.weight, std=0.02)
        nn.init.constant_(layer.bias, FIRST_BIAS)


def lesson_loss(pupil: Backbone, x: Tensor, targets: Tensor, lesson: tuple[Tensor, Tensor]) -> Tensor:
    """Return how far a pupil is from the lesson, features (B, 512) and answers (B, 7), and from targets (B, 7).

    Features count by their squared distance over their variance, answers and targets by their cross-entropy.
    """
    taught, answers = lesson
    features = pupil.features(x).float()
    distance = F.mse_loss(features, taught) / taught.var(dim=0).mean().clamp(min=1e-6)
    wanted = (1 - LABEL_SHARE) * answers + LABEL_SHARE * targets
    return distance + F.cross_entropy(pupil.fc2(features), wanted)
