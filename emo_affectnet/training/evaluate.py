"""Scores of a backbone on labelled faces, with everything needed to recompute them."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
from sklearn.metrics import confusion_matrix

from ..emotions import Emotion
from ..engines import read_backbone
from ..weights import Preprocessing
from .corpora import FaceImages
from .fit import run_on_faces
from .metrics import uar, war


@dataclass(frozen=True, eq=False)
class FaceScores:
    """How a static classifier does on labelled faces, one view each."""

    count: int  # faces, all of them scored
    uar: float
    war: float
    confusion: npt.NDArray[np.int64]  # (7, 7), true emotion by predicted emotion


def evaluate_faces(backbone: Path, faces: FaceImages, preprocessing: Preprocessing) -> FaceScores:
    """Score the top emotion of the backbone's own classifier.

    Raises:
        WeightsError: `backbone` is no state dict of one.
    """
    predicted = run_on_faces(read_backbone(backbone), faces.images, preprocessing).argmax(axis=1)
    confusion = confusion_matrix(faces.labels, predicted, labels=range(len(Emotion)))
    return FaceScores(len(faces), uar(faces.labels, predicted), war(faces.labels, predicted), confusion)
