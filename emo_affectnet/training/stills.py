"""Labelled still faces as backbone features, and the simulated study that is made from them.

The six corpora cannot be shipped. What can be had is FER+, so clips are simulated from its training faces, and a head
is scored on clips simulated from its valid faces, of a corpus whose character it never saw.
"""

import hashlib
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch

from ..emotions import Emotion
from ..files import whole_file
from ..mobilenet import Backbone
from ..networks import read_backbone
from ..timeline import Doubles
from ..weights import CORPUS_NAMES, Preprocessing, hash_file, read_preprocessing
from .augment import augment
from .corpora import FERPLUS_LICENSE, FaceImages, read_ferplus
from .features import CorpusFeatures
from .heads import Study
from .simulate import FaceFeatures, simulate_corpus
from .views import run_on_faces

CLEAR_SHARE = 0.65  # of the votes, for an expressive face to build on
CHOICE_SHARE = 0.1  # of the training faces; kept apart to choose between seeds
LIMIT = 2500  # faces of each emotion
EVIDENCE_BALANCE = 0.5  # power of the number of faces of an emotion by which heads draw it


def select_clear(faces: FaceImages, *, share: float, limit: int, seed: int = 0) -> FaceImages:
    """Return at most `limit` faces of each emotion whose label has at least `share` of the votes.

    Neutral needs only half of them: a head must know the resting faces that look a little like something else.
    """
    votes = faces.targets[np.arange(len(faces)), faces.labels]
    clear = votes >= np.where(faces.labels == Emotion.Neutral, 0.5, share)
    order = np.random.default_rng(seed).permutation(len(faces))
    rows = np.concatenate([order[clear[order] & (faces.labels[order] == emotion)][:limit] for emotion in Emotion])
    return FaceImages(faces.images[rows], faces.targets[rows], faces.labels[rows])


def extract_faces(
    model: Backbone, faces: FaceImages, preprocessing: Preprocessing, *, views: int = 2000, seed: int = 0
) -> FaceFeatures:
    """Return the features of every face, and how a second random view changes those of `views` of them."""
    features = run_on_faces(model.features, faces.images, preprocessing)
    torch.manual_seed(seed)
    rows = torch.randperm(len(faces))[:views].numpy()
    viewed = (
        augment(torch.from_numpy(faces.images[rows])[:, None], size=preprocessing.input_size)
        .permute(0, 2, 3, 1)
        .numpy()
    )
    variation = run_on_faces(model.features, viewed.astype(np.uint8), preprocessing) - features[rows]
    return FaceFeatures(features, faces.labels, variation)


def weigh_evidence(faces: FaceFeatures, *, balance: float) -> Doubles:
    """Return float64 (7,): how often each emotion deserves to be drawn, 1 for the one with most faces.

    FER+ has twenty times as many clear faces of Anger as of Disgust. Drawn alike, the few would be known by heart, and
    every furrowed brow read as Disgust.
    """
    counts = np.bincount(faces.labels, minlength=len(Emotion))
    weights: Doubles = (counts / counts.max()) ** balance
    return weights


def read_features(
    backbone: Path, data: Path, cache: Path, *, split: str, preprocessing: Preprocessing, limit: int
) -> FaceFeatures:
    """Return the features of at most `limit` clear faces per emotion of a FER+ split, from the cache if they are there.

    The cache is keyed by the backbone's bytes, its preprocessing, the split and the limit.
    """
    settings = repr((hash_file(backbone), preprocessing, split, limit, CLEAR_SHARE))
    path = cache / f"faces-{split}-{hashlib.sha256(settings.encode()).hexdigest()[:16]}.npz"
    if not path.is_file():
        chosen = select_clear(read_ferplus(data, split), share=CLEAR_SHARE, limit=limit)
        faces = extract_faces(read_backbone(backbone), chosen, preprocessing)
        cache.mkdir(parents=True, exist_ok=True)
        with whole_file(path) as partial:
            np.savez(partial, features=faces.features, labels=faces.labels, variation=faces.variation)
    with np.load(path) as arrays:
        return FaceFeatures(arrays["features"], arrays["labels"], arrays["variation"])


def split_faces(faces: FaceFeatures, *, share: float, seed: int = 0) -> tuple[FaceFeatures, FaceFeatures]:
    """Return the faces in two parts, the second with `share` of them and at least one face of every emotion."""
    order = np.random.default_rng(seed).permutation(len(faces))
    by_emotion = [order[faces.labels[order] == emotion] for emotion in np.unique(faces.labels)]
    second = np.concatenate([rows[: max(round(share * len(rows)), 1)] for rows in by_emotion])
    first = np.setdiff1d(order, second)
    return (
        replace(faces, features=faces.features[first], labels=faces.labels[first]),
        replace(faces, features=faces.features[second], labels=faces.labels[second]),
    )


def simulate_all(faces: FaceFeatures, *, clips: int, seed: int) -> dict[str, CorpusFeatures]:
    """Return all six simulated corpora, by name."""
    return {name: simulate_corpus(name, faces, clips=clips, seed=seed) for name in CORPUS_NAMES}


def simulate_study(
    backbone: Path, data: Path, cache: Path, *, clips: int = 800, seed: int = 0, limit: int = LIMIT
) -> Study:
    """Return the study over simulated corpora of `clips` clips each, from the FER+ faces under `data`.

    Sources are made of training faces; a tenth of those makes the clips that choose between seeds; targets are made of
    at most `limit` faces per emotion of the valid split.

    Raises:
        CorpusError: the faces are not under `data`.
        WeightsError: `backbone` is no state dict of one.
    """
    preprocessing = read_preprocessing(backbone)
    train, valid = (
        read_features(backbone, data, cache, split=split, preprocessing=preprocessing, limit=limit)
        for split in ("train", "valid")
    )
    fitting, choosing = split_faces(train, share=CHOICE_SHARE)
    return Study(
        fitting=simulate_all(fitting, clips=clips, seed=seed),
        choosing=simulate_all(choosing, clips=max(clips // 4, 1), seed=seed + 1),
        targets=simulate_all(valid, clips=clips, seed=seed + 2),
        evidence=weigh_evidence(train, balance=EVIDENCE_BALANCE),
        license=FERPLUS_LICENSE,
    )
