"""Classifiers of whole clips: statistics of saved features, of one person or of a group, and a support vector machine.

A file of features and a table of labels go in; out comes a classifier, whatever its classes are called. The recipes
are those of Savchenko's notebooks: "clip" for one person (AFEW), "group" for everyone in view (VGAF).

A classifier is one `.npz`: `features` float32 (N, 4 D), `labels` text (N,), and `meta.json` with FORMAT, the recipe,
its settings and the backbone. It is fitted anew whenever it is loaded, which gives the same one: a pickled estimator
could run code, and is bound to the version of scikit-learn that wrote it.
"""

import zipfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from sklearn.svm import SVC, LinearSVC

from .. import __version__
from ..errors import CorpusError, UsageError, check_name
from ..feature_files import (
    FeatureFile,
    Origin,
    VideoFeatures,
    open_archive,
    read_array,
    read_document,
    read_origin,
    write_array,
    write_document,
)
from ..files import tell_unwritable, whole_file
from ..timeline import Booleans, Floats, Integers
from .corpora.clip import Problem
from .labels import join_labels
from .metrics import NO_FACE

FORMAT = "emo_affectnet classifier 1"
PRIMARY = 1  # whose features the recipe for one person takes


def stat_features(frames: Floats) -> Floats:
    """Return mean, standard deviation, minimum and maximum over frames (N, D) as one vector (4 D,) of length 1.

    Without a frame, all of it is 0.
    """
    if not len(frames):
        return np.zeros(4 * frames.shape[1], np.float32)
    means, deviations = frames.mean(axis=0, dtype=np.float64), frames.std(axis=0, dtype=np.float64)
    return _normalise(np.concatenate([means, deviations, frames.min(axis=0), frames.max(axis=0)]))


def group_features(faces: Floats, indices: Integers) -> Floats:
    """Return mean and deviation over frames of the mean and deviation over the faces of each, (4 D,) of length 1.

    `faces` (N, D) are in the frames `indices` (N,), in any order. Without a face, all of it is 0.
    """
    if not len(faces):
        return np.zeros(4 * faces.shape[1], np.float32)
    order = np.argsort(indices, kind="stable")
    starts = np.unique(indices[order], return_index=True)[1][1:]
    groups = np.split(faces[order].astype(np.float64), starts)  # one for each frame
    frames = np.stack([np.concatenate([group.mean(axis=0), group.std(axis=0)]) for group in groups])  # (F, 2 D)
    return _normalise(np.concatenate([frames.mean(axis=0), frames.std(axis=0)]))


def _normalise(vector: Any) -> Floats:
    length = float(np.linalg.norm(vector.astype(np.float64)))
    normalised: Floats = (vector / (length or 1.0)).astype(np.float32)
    return normalised


@dataclass(frozen=True)
class Recipe:
    """How a clip becomes a vector, and what tells the vectors apart."""

    describe: Callable[[VideoFeatures], Floats]  # to (4 D,)
    estimator: Callable[..., Any]
    settings: Mapping[str, Any]  # of the estimator


def _describe_person(video: VideoFeatures) -> Floats:
    return stat_features(video.features[video.people == PRIMARY])


def _describe_group(video: VideoFeatures) -> Floats:
    return group_features(video.features, video.indices)


RECIPES = {
    "clip": Recipe(_describe_person, LinearSVC, {"C": 1.1, "dual": "auto", "max_iter": 10_000, "random_state": 0}),
    # Ties between pairs of classes are broken by the scores, so that the class with the largest score is the answer.
    "group": Recipe(_describe_group, SVC, {"C": 1.9, "kernel": "rbf", "break_ties": True, "random_state": 0}),
}


@dataclass(frozen=True, eq=False)
class LabelledClips:
    """Labelled clips, as a recipe describes them, and what could not be used."""

    origin: Origin
    names: tuple[str, ...]
    labels: tuple[str, ...]
    speakers: tuple[str, ...]
    features: Floats  # float32 (N, 4 D); zeros: no face
    problems: tuple[Problem, ...] = ()

    @property
    def seen(self) -> Booleans:
        """Whether each clip shows a face, bool (N,)."""
        seen: Booleans = self.features.any(axis=1)
        return seen

    def select(self, chosen: Booleans) -> "LabelledClips":
        """Return the clips where `chosen`, bool (N,), is true."""
        rows = np.flatnonzero(chosen)
        return replace(
            self,
            names=tuple(self.names[row] for row in rows),
            labels=tuple(self.labels[row] for row in rows),
            speakers=tuple(self.speakers[row] for row in rows),
            features=self.features[rows],
        )


def read_clips(table: Path, file: FeatureFile, *, recipe: str) -> LabelledClips:
    """Describe the clips of a table of labels by their saved features; what has no counterpart is a problem.

    Raises:
        UnknownName: there is no such recipe.
        CorpusError: the table is none, or none of its clips has features.
        ReportError: the file of features is damaged.
    """
    check_name("recipe", recipe, RECIPES)
    problems: list[Problem] = []
    labels, vectors = [], []
    for label, video in join_labels(table, file, tell=problems.append):
        labels.append(label)
        vectors.append(RECIPES[recipe].describe(video))
    return LabelledClips(
        origin=file.origin,
        names=tuple(label.name for label in labels),
        labels=tuple(label.text for label in labels),
        speakers=tuple(label.speaker for label in labels),
        features=np.stack(vectors),
        problems=tuple(problems),
    )


@dataclass(frozen=True, eq=False)
class Predictions:
    """What a classifier makes of clips."""

    labels: tuple[str | None, ...]  # (N,), None: no face
    scores: Floats  # float32 (N, classes), of each class: its distance from the boundary or votes; NaN: no face


@dataclass(frozen=True, eq=False)
class Classifier:
    """A recipe and the clips that it learned from, all with a face; `fit_classifier` and `load_classifier` make it."""

    recipe: str
    origin: Origin
    features: Floats  # float32 (N, 4 D)
    labels: tuple[str, ...]  # (N,)
    settings: Mapping[str, Any]

    def __post_init__(self) -> None:
        check_name("recipe", self.recipe, RECIPES)
        shape = (len(self.labels), 4 * self.origin.width)
        if self.features.shape != shape or self.features.dtype != np.float32:
            raise UsageError(
                f"Expected float32 {shape} to learn from, not {self.features.dtype} {self.features.shape}."
            )
        if len(self.classes) < 2:
            raise CorpusError(
                "A classifier needs clips with a face for two labels or more, but there are "
                f"{len(self.labels)} clips with a face, of {', '.join(self.classes) or 'no label'}."
            )

    @property
    def classes(self) -> tuple[str, ...]:
        """The labels that it can give, sorted."""
        return tuple(sorted(set(self.labels)))

    @cached_property
    def estimator(self) -> Any:
        """The fitted estimator of scikit-learn."""
        return RECIPES[self.recipe].estimator(**self.settings).fit(self.features, np.array(self.labels))

    def predict(self, features: Floats) -> Predictions:
        """Return the label and the scores of each clip, described by the same recipe, float32 (N, 4 D)."""
        seen = features.any(axis=1)
        scores = np.full((len(features), len(self.classes)), np.nan, np.float32)
        if seen.any():
            decided = self.estimator.decision_function(features[seen])
            scores[seen] = decided if decided.ndim == 2 else np.stack([-decided, decided], axis=1)
        best = np.where(seen, np.nan_to_num(scores).argmax(axis=1), NO_FACE)
        return Predictions(tuple(self.classes[row] if row != NO_FACE else None for row in best), scores)


def fit_classifier(features: Floats, labels: Sequence[str], *, recipe: str, origin: Origin) -> Classifier:
    """Fit a classifier to clips that its recipe describes, float32 (N, 4 D); those without a face are left out.

    Raises:
        UnknownName: there is no such recipe.
        CorpusError: there are no clips with a face for two labels.
    """
    check_name("recipe", recipe, RECIPES)
    seen = np.flatnonzero(features.any(axis=1))
    settings = dict(RECIPES[recipe].settings)
    classifier = Classifier(recipe, origin, features[seen], tuple(labels[row] for row in seen), settings)
    classifier.estimator  # noqa: B018  # fitted now, so that whatever is wrong comes out here
    return classifier


def save_classifier(classifier: Classifier, path: Path) -> None:
    """Write a classifier; the file appears complete or not at all.

    Raises:
        ReportError: it cannot be written.
    """
    document = {
        "format": FORMAT,
        "version": __version__,
        "recipe": classifier.recipe,
        "settings": dict(classifier.settings),
        **asdict(classifier.origin),
    }
    with tell_unwritable(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        with whole_file(path) as partial, zipfile.ZipFile(partial, "w") as archive:
            write_array(archive, "features", classifier.features)
            write_array(archive, "labels", np.array(classifier.labels))
            write_document(archive, document)


def load_classifier(path: Path) -> Classifier:
    """Read a classifier and fit it anew, on the same clips with the same settings.

    Raises:
        ReportError: the file cannot be read, or is something else.
    """
    with open_archive(path, what="a classifier of clips") as archive:
        document = read_document(archive, FORMAT)
        classifier = Classifier(
            recipe=str(document["recipe"]),
            origin=read_origin(document),
            features=read_array(archive, "features"),
            labels=tuple(map(str, read_array(archive, "labels"))),
            settings=dict(document["settings"]),
        )
        classifier.estimator  # noqa: B018
    return classifier
