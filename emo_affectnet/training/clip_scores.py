"""Scores of a classifier on labelled clips: as every evaluation has them if its classes are emotions, else as rows.

A clip in which no face was found counts as wrong, as everywhere here.
"""

import csv
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from ..cells import name_cell, word_cell
from ..emotions import EMOTION_NAMES
from ..errors import CorpusError, printable
from ..feature_files import FeatureFile
from ..files import tell_unwritable, whole_file
from ..timeline import Integers
from ..weights import hash_file
from .classifiers import Classifier, LabelledClips, Predictions, read_clips
from .corpora.clip import Problem
from .corpora.table import CLIPS_CSV
from .metrics import NO_FACE, Scores, confusion_by_cluster, summarise
from .results import EvaluationResult, SystemResult

CLASSIFIER, MAJORITY = "classifier", "majority class"  # systems


@dataclass(frozen=True, eq=False)
class ClassifierScores:
    """What a classifier made of labelled clips; one without a face counts as wrong."""

    classifier: Classifier
    clips: LabelledClips  # that have a label which the classifier knows
    predictions: Predictions

    @property
    def has_emotions(self) -> bool:
        """Whether all classes are of the seven emotions."""
        return set(self.classifier.classes) <= set(EMOTION_NAMES)

    @property
    def familiar(self) -> int:
        """How many of the clips the classifier was fitted on: their scores tell nothing of others."""
        known = {row.tobytes() for row in self.classifier.features}
        return sum(row.tobytes() in known for row in self.clips.features)

    @property
    def systems(self) -> dict[str, tuple[str | None, ...]]:
        """What the classifier predicts and, for comparison, the commonest label for all clips."""
        majority = Counter(self.clips.labels).most_common(1)[0][0]
        return {CLASSIFIER: self.predictions.labels, MAJORITY: (majority,) * len(self.clips.labels)}

    def count(self, predicted: Sequence[str | None]) -> Integers:
        """Return the confusion matrix of predictions, int64 (K, K + 1), true by predicted class; last: no face."""
        columns = {name: number for number, name in enumerate((*self.classifier.classes, None))}
        confusion = np.zeros((len(columns) - 1, len(columns)), np.int64)
        for truth, found in zip(self.clips.labels, predicted, strict=True):
            confusion[columns[truth], columns[found]] += 1
        return confusion

    @property
    def scores(self) -> Scores:
        """The scores of all clips; the recalls are in the order of the classes."""
        return summarise(self.count(self.predictions.labels))


def score_classifier(classifier: Classifier, table: Path, *, file: FeatureFile) -> ClassifierScores:
    """Score a classifier on the clips of a table; those with a label that it does not know become problems.

    Raises:
        UsageError: the features are of another backbone than the classifier's.
        CorpusError: the table is none, or no clip can be scored.
        ReportError: the file of features is damaged.
    """
    classifier.origin.check_same(file.origin, what=f"the features in {file.path}")
    clips = read_clips(table, file, recipe=classifier.recipe)
    is_known = np.isin(clips.labels, classifier.classes)
    if not is_known.any():
        raise CorpusError(
            f"The classifier knows {', '.join(classifier.classes)}, and no clip of {table} has such a label."
        )
    unknown = [
        Problem("label that the classifier does not know", f"{clips.names[row]}: {clips.labels[row]}")
        for row in np.flatnonzero(~is_known)
    ]
    kept = replace(clips.select(is_known), problems=(*clips.problems, *unknown))
    return ClassifierScores(classifier, kept, classifier.predict(kept.features))


def to_evaluation(scored: ClassifierScores, *, path: Path) -> EvaluationResult:
    """Return the scores of a classifier of emotions, which is in the file `path`, as every evaluation has them."""
    truth = _to_columns(scored.clips.labels)
    results = []
    for system, predicted in scored.systems.items():
        speakers, confusions = confusion_by_cluster(truth, _to_columns(predicted), scored.clips.speakers)
        results.append(SystemResult(CLIPS_CSV, system, "clip", "speaker", speakers, confusions))
    return EvaluationResult(
        title=f"{CLIPS_CSV}: {describe(scored.classifier)}",
        results=tuple(results),
        weights={path.name: hash_file(path), scored.classifier.origin.backbone: scored.classifier.origin.sha256},
        notes=tuple(remarks(scored)),
    )


def _to_columns(labels: Sequence[str | None]) -> Integers:
    return np.array([NO_FACE if label is None else EMOTION_NAMES.index(label) for label in labels], np.int64)


def describe(classifier: Classifier) -> str:
    """Return in words what a classifier is."""
    return f"classifier by the recipe {classifier.recipe}, fitted on {len(classifier.labels)} clips"


def score_rows(scored: ClassifierScores) -> list[tuple[str, ...]]:
    """Return the scores as text, in %, beside those of the commonest label, their header first."""
    rows: list[tuple[str, ...]] = [("system", "items", "coverage", "UAR", "WAR", "F1")]
    for system, predicted in scored.systems.items():
        scores = summarise(scored.count(predicted))
        shares = (scores.coverage, scores.uar, scores.war, scores.macro_f1)
        rows.append((system, str(scores.count), *(f"{100 * share:.1f}" for share in shares)))
    return rows


def count_rows(scored: ClassifierScores) -> list[tuple[str, ...]]:
    """Return the confusion matrix as text, true by predicted class, its header first."""
    counts = scored.count(scored.predictions.labels)
    classes = scored.classifier.classes
    return [("", *classes, "no face"), *((name, *map(str, row)) for name, row in zip(classes, counts, strict=True))]


def remarks(scored: ClassifierScores) -> list[str]:
    """Return what a reader of the scores must know."""
    clips, found = scored.clips, []
    truth = np.array(clips.labels)[clips.seen]
    if 0 < len(truth) < len(clips.labels):
        right = sum(np.array(scored.predictions.labels)[clips.seen] == truth)
        found.append(f"Clips without a face count as wrong; of those with one, {right} of {len(truth)} are right.")
    if scored.familiar:
        found.append(
            f"The classifier was fitted on {scored.familiar} of these {len(clips.labels)} clips; scores on what it has "
            "seen say little."
        )
    return found


def write_predictions(scored: ClassifierScores, path: Path) -> None:
    """Write clip, label, prediction (empty: no face) and the score of each class as CSV.

    Raises:
        ReportError: the file cannot be written.
    """
    clips, predictions = scored.clips, scored.predictions
    with tell_unwritable(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        with whole_file(path) as partial, partial.open("w", newline="", encoding="utf-8") as file:
            table = csv.writer(file, lineterminator="\n")
            scores_of = (printable(f"score {name}") for name in scored.classifier.classes)
            table.writerow(["clip", "label", "prediction", *scores_of])
            for name, label, found, scores in zip(
                clips.names, clips.labels, predictions.labels, predictions.scores, strict=True
            ):
                row = [name_cell(name), word_cell(label), word_cell(found or "")]
                table.writerow([*row, *("" if found is None else f"{x:.6f}" for x in scores)])
