"""Faces of several corpora as one set: which are trained on, which choose, and how often each is drawn.

A corpus's own `valid` split chooses, its `test` split has no part in anything, and faces of no split are trained on.
Where no corpus has a `valid` split, a tenth of the faces is set aside instead, people (or films) as a whole.
"""

from collections.abc import Sequence
from dataclasses import replace
from functools import partial

import numpy as np
import torch
from torch import Tensor

from ..detection import DETECTORS
from ..errors import CorpusError
from ..weights import Preprocessing
from .corpora import FERPLUS_LICENSE, FaceImages, LabelledImage, Scan, load_faces, refuse_judging
from .corpora.pictures import check_split
from .framing import ZOOM, frame_face

CHOICE_SHARE = 0.1  # of the faces


def read_pool(
    scans: Sequence[Scan], *, side: int, preprocessing: Preprocessing, seed: int = 0
) -> tuple[FaceImages, FaceImages]:
    """Load the faces to train on and those to choose by, RGB, framed with room, `side` px a side with it.

    An unreadable one is logged.

    Raises:
        UsageError: a corpus is for judging only.
        CorpusError: a corpus is one of videos or has no face to train on, or there is none to choose by.
    """
    refuse_judging(scan.corpus for scan in scans)
    for scan in scans:
        check_split(scan, None)
    labelled = [image for scan in scans for image in scan.images if image.emotion is not None]
    train = [image for image in labelled if image.split in (None, "train")]
    valid = [image for image in labelled if image.split == "valid"]
    for scan in scans:
        if all(image.corpus != scan.corpus for image in train):
            raise CorpusError(f"{scan.corpus} in {scan.root} has no face to train on: look at it with 'corpora scan'.")
    if not valid:
        train, valid = set_aside(train, share=CHOICE_SHARE, seed=seed)
    frame = partial(frame_face, detect=DETECTORS["short-range"](), preprocessing=preprocessing, side=side)
    train_faces, valid_faces = (load_faces(images, side=side, frame=frame) for images in (train, valid))
    loaded = replace(train_faces, zoom=ZOOM), replace(valid_faces, zoom=ZOOM)
    for faces, purpose in zip(loaded, ("train on", "choose by"), strict=True):
        if not len(faces):
            names = ", ".join(scan.corpus for scan in scans)
            raise CorpusError(f"There is no readable face to {purpose} in {names}: give another corpus.")
    return loaded


def set_aside(
    images: Sequence[LabelledImage], *, share: float, seed: int
) -> tuple[list[LabelledImage], list[LabelledImage]]:
    """Return the images in two parts, the second with about `share` of them; nobody who is named is in both."""
    names = [f"{image.corpus} {image.person or image.name}" for image in images]
    people, rows, counts = np.unique(names, return_inverse=True, return_counts=True)
    order = np.random.default_rng(seed).permutation(len(people))
    number = max(int(np.searchsorted(counts[order].cumsum(), share * len(images), side="right")), 1)
    is_aside = np.isin(rows, order[:number])
    first, second = ([image for image, aside in zip(images, is_aside, strict=True) if aside == part] for part in (0, 1))
    return first, second


def sampling_weights(faces: FaceImages, *, balance: float, corpus_balance: float) -> Tensor:
    """Return float32 (N,), how often each face is drawn, relative to the others.

    A corpus with a share f of the faces is drawn in proportion to f ** `corpus_balance`: with 0.75, a face of a corpus
    a hundred times smaller comes 3.2 times as often. Then an emotion that would have a share g of all draws is drawn in
    proportion to g ** `balance`. An exponent of 1 leaves the shares as they are, 0 makes them equal.
    """
    groups = np.zeros(len(faces), np.int64) if faces.groups is None else faces.groups
    weights = (np.bincount(groups) / len(faces))[groups] ** (corpus_balance - 1)
    shares = np.bincount(faces.labels, weights) / weights.sum()
    return torch.from_numpy(weights * shares[faces.labels] ** (balance - 1)).float()


def join_licenses(scans: Sequence[Scan]) -> str:
    """Return the terms of weights that were trained on the scanned corpora."""
    others = [scan.corpus for scan in scans if scan.corpus not in ("FER+", "FER2013")]
    terms = [FERPLUS_LICENSE] if len(others) < len(scans) else []
    return "; ".join([*terms, *([f"the terms of {', '.join(others)}"] if others else [])])
