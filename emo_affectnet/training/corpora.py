"""Labelled faces to train on: FER2013 images with the ten-vote FER+ annotations.

`read_ferplus(root, split)` applies the filtering rules of the FER+ authors and maps their labels to ours by name.
"""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from ..emotions import Emotion
from ..errors import CorpusError
from ..weights import Preprocessing

Votes = npt.NDArray[np.uint8]  # (N, 10), in the order of FERPLUS_COLUMNS

FERPLUS_SPLITS = ("train", "valid", "test")

# Of whatever is trained on these faces.
FERPLUS_LICENSE = "research use only: trained on FER2013, whose images have no open licence"

# How a face in a video becomes what FER2013 shows. The mean is that of the training images. The margins bring the box
# of MediaPipe's short-range detector to the framing of FER2013: medians over 497 of 500 images of the valid split in
# which it finds a face, each image pasted on grey so that the box may reach out of it.
FERPLUS_PREPROCESSING = Preprocessing(
    input_size=64,
    channels="grey",
    mean=(129.4, 129.4, 129.4),
    interpolation="area",
    crop_margin=(0.09, 0.21, 0.09, -0.01),
)

# The columns of the FER+ vote table; the last three have no place among our seven.
FERPLUS_COLUMNS = (
    "neutral", "happiness", "surprise", "sadness", "anger", "disgust", "fear", "contempt", "unknown", "not_a_face",
)  # fmt: skip
_OURS = [FERPLUS_COLUMNS.index(emotion.name.lower()) for emotion in Emotion]


@dataclass(frozen=True)
class FaceImages:
    """Labelled face crops that fill their frame."""

    images: npt.NDArray[np.uint8]  # uint8 (N, 48, 48), grey
    targets: npt.NDArray[np.float32]  # float32 (N, 7), the share of votes for each emotion; a row sums to 1
    labels: npt.NDArray[np.int64]  # int64 (N,), the emotion with most votes

    def __len__(self) -> int:
        return len(self.labels)


def count_votes(votes: Votes) -> npt.NDArray[np.float32]:
    """Return FER+ votes (N, 10) as float32 without the lone ones: one vote of ten is taken for a slip."""
    return np.where(votes == 1, 0, votes).astype(np.float32)


def select_majority(votes: Votes) -> npt.NDArray[np.bool_]:
    """Return bool (N,): the images kept by the majority rule of the FER+ authors, for our seven emotions.

    The winner must have more than half of the votes left after `count_votes`, and must not be Contempt, unknown or
    not-a-face (the eight-class rule first, then Contempt winners dropped).
    """
    counted = count_votes(votes)
    winner_share = counted.max(axis=1) / np.maximum(counted.sum(axis=1), 1)
    kept: npt.NDArray[np.bool_] = (winner_share > 0.5) & np.isin(counted.argmax(axis=1), _OURS)
    return kept


def select_seven(votes: Votes) -> npt.NDArray[np.bool_]:
    """Return bool (N,): the images whose counted votes go mostly to our seven emotions, even if they are divided."""
    counted = count_votes(votes)
    ours = counted[:, _OURS].sum(axis=1)
    kept: npt.NDArray[np.bool_] = np.isin(counted.argmax(axis=1), _OURS) & (ours > 0.5 * counted.sum(axis=1))
    return kept


def read_ferplus(root: Path, split: str) -> FaceImages:
    """Read one split of FER+: `train` keeps divided votes as distributions, `valid` and `test` keep clear majorities.

    Raises:
        CorpusError: `root` holds no `ferplus_<split>.npz`.
    """
    path = Path(root) / f"ferplus_{split}.npz"
    if split not in FERPLUS_SPLITS or not path.is_file():
        raise CorpusError(
            f"Expected {' and '.join(f'ferplus_{name}.npz' for name in FERPLUS_SPLITS)} in {root}, but {path.name} is "
            "not there. Give the folder that holds the FER2013 images with FER+ votes."
        )
    with np.load(path) as arrays:
        images, votes = arrays["image"], arrays["votes"]
    kept = select_seven(votes) if split == "train" else select_majority(votes)
    ours = count_votes(votes[kept])[:, _OURS]
    targets = ours / ours.sum(axis=1, keepdims=True)
    return FaceImages(images[kept], targets.astype(np.float32), targets.argmax(axis=1))
