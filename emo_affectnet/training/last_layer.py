"""The last layer once more: fitted to faces as they are, when all layers below it are done.

Random views make the layers below robust and the last one unsure. Faces as they are also give the mean features, which
a person's baseline moves to.
"""

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional as F

from ..mobilenet import Backbone
from ..timeline import Floats
from ..weights import Preprocessing
from .corpora import FaceImages
from .views import run_on_faces

FACES = 20_000  # drawn at most, each once
STEPS, BATCH = 1500, 512
LEARNING_RATE = 2e-3  # at the first step; it falls to nothing in a line
DROPOUT, SMOOTHING, WEIGHT_DECAY = 0.3, 0.1, 0.01


@dataclass(frozen=True, eq=False)
class PlainFaces:
    """Features of training faces as they are, drawn as often as training draws them."""

    features: Floats  # float32 (N, 512)
    targets: Floats  # float32 (N, 7)

    @property
    def mean(self) -> tuple[float, ...]:
        """The mean features (512,), as a record has them."""
        return tuple(round(float(value), 5) for value in self.features.mean(axis=0))


def look_at(
    model: Backbone, faces: FaceImages, weights: Tensor, preprocessing: Preprocessing, *, seed: int
) -> PlainFaces:
    """Return the features of at most `FACES` faces, drawn by their `weights` (N,), none of them twice."""
    generator = torch.Generator().manual_seed(seed)
    rows = torch.multinomial(weights, min(FACES, len(faces)), generator=generator).numpy()
    return PlainFaces(run_on_faces(model.features, faces.frames[rows], preprocessing), faces.targets[rows])


def refit(model: Backbone, faces: PlainFaces, *, seed: int) -> None:
    """Fit the model's last layer anew; the other layers stay as they are."""
    torch.manual_seed(seed)
    layer = torch.nn.Linear(model.fc2.in_features, model.fc2.out_features)
    optimizer = torch.optim.AdamW(layer.parameters(), LEARNING_RATE, weight_decay=WEIGHT_DECAY)
    features, targets = torch.from_numpy(faces.features), torch.from_numpy(faces.targets)
    targets = targets * (1 - SMOOTHING) + SMOOTHING / targets.shape[1]
    for step in range(STEPS):
        rows = torch.randint(len(features), (BATCH,))
        loss = F.cross_entropy(layer(F.dropout(features[rows], DROPOUT)), targets[rows])
        optimizer.param_groups[0]["lr"] = LEARNING_RATE * (1 - step / STEPS)
        optimizer.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        optimizer.step()
    model.fc2.load_state_dict(layer.state_dict())
