"""A classifier is scored on every labelled clip, the faceless ones as wrong, and what cannot be scored is told."""

import csv
from dataclasses import replace
from pathlib import Path

import pytest
from feature_samples import ORIGIN, draw_videos, make_video, write_labels, write_videos
from sklearn.metrics import accuracy_score, balanced_accuracy_score, f1_score

from emo_affectnet.errors import CorpusError, ReportError, UsageError
from emo_affectnet.feature_files import FeatureFile, read_features
from emo_affectnet.training.classifiers import Classifier, fit_classifier, read_clips, save_classifier
from emo_affectnet.training.clip_scores import (
    CLASSIFIER,
    MAJORITY,
    ClassifierScores,
    count_rows,
    remarks,
    score_classifier,
    score_rows,
    to_evaluation,
    write_predictions,
)
from emo_affectnet.training.results import read_results, write_json

MOODS = {"Negative": 0, "Neutral": 3, "Positive": 5}
EMOTIONS = {"Anger": 0, "Happiness": 3, "Sadness": 5}


def make_classifier(folder: Path, classes: dict[str, int]) -> Classifier:
    """Return a classifier of ten well separated clips for each class."""
    videos = draw_videos(classes, clips=10)
    file = read_features(write_videos(folder / "train.npz", videos))
    table = write_labels(folder / "train.csv", *((video.name, video.name.partition("/")[0]) for video in videos))
    clips = read_clips(table, file, recipe="clip")
    return fit_classifier(clips.features, clips.labels, recipe="clip", origin=file.origin)


def write_test(folder: Path, classes: dict[str, int], *extra: tuple[str, str]) -> tuple[Path, FeatureFile]:
    """Write four clips of each class, one of the last class without a face, and two of it that look like the first."""
    names = list(classes)
    videos = draw_videos(classes, clips=4, seed=1)
    rows = [(video.name, video.name.partition("/")[0]) for video in videos]
    odd = [replace(video, name=f"odd/{video.name}") for video in videos[:2]]
    rows += [(video.name, names[-1]) for video in odd] + [("faceless", names[-1]), *extra]
    faceless = [make_video(name) for name in ("faceless", *(name for name, _ in extra))]
    file = read_features(write_videos(folder / "test.npz", [*videos, *odd, *faceless]))
    return write_labels(folder / "test.csv", *rows), file


def score(classifier: Classifier, table: Path, file: FeatureFile) -> ClassifierScores:
    return score_classifier(classifier, table, file=file)


def test_scores_are_scikit_learns_with_faceless_clips_as_errors(tmp_path: Path) -> None:
    scored = score(make_classifier(tmp_path, MOODS), *write_test(tmp_path, MOODS))
    predicted = [label or "no face" for label in scored.predictions.labels]
    truth = list(scored.clips.labels)
    assert scored.count(scored.predictions.labels).tolist() == [[4, 0, 0, 0], [0, 4, 0, 0], [2, 0, 4, 1]]
    assert (scored.scores.count, scored.scores.coverage) == (15, pytest.approx(14 / 15))
    with pytest.warns(UserWarning, match="y_pred contains classes not in y_true"):
        assert scored.scores.uar == pytest.approx(balanced_accuracy_score(truth, predicted))
    assert scored.scores.war == pytest.approx(accuracy_score(truth, predicted)) == pytest.approx(12 / 15)
    assert scored.scores.macro_f1 == pytest.approx(f1_score(truth, predicted, labels=list(MOODS), average="macro"))


def test_the_tables_show_scores_beside_the_commonest_label_and_all_counts(tmp_path: Path) -> None:
    """Of 15 clips, 7 are Positive: to say so always is right in 46.7 %, and has a mean recall of a third."""
    scored = score(make_classifier(tmp_path, MOODS), *write_test(tmp_path, MOODS))
    assert not scored.has_emotions
    header, classifier, majority = score_rows(scored)
    assert header == ("system", "items", "coverage", "UAR", "WAR", "F1")
    assert classifier[:5] == (CLASSIFIER, "15", "93.3", "85.7", "80.0")
    assert majority[:5] == (MAJORITY, "15", "100.0", "33.3", "46.7")
    assert count_rows(scored) == [
        ("", "Negative", "Neutral", "Positive", "no face"),
        ("Negative", "4", "0", "0", "0"),
        ("Neutral", "0", "4", "0", "0"),
        ("Positive", "2", "0", "4", "1"),
    ]
    assert remarks(scored) == ["Clips without a face count as wrong; of those with one, 12 of 14 are right."]


def test_emotions_become_an_evaluation_like_every_other(tmp_path: Path) -> None:
    classifier = make_classifier(tmp_path, EMOTIONS)
    save_classifier(classifier, tmp_path / "mine.npz")
    scored = score(classifier, *write_test(tmp_path, EMOTIONS))
    assert scored.has_emotions
    write_json(to_evaluation(scored, path=tmp_path / "mine.npz"), tmp_path / "results.json")
    read = read_results(tmp_path / "results.json")
    assert read.title == "clips csv: classifier by the recipe clip, fitted on 30 clips"
    assert [(each.system, each.scores.count) for each in read.results] == [(CLASSIFIER, 15), (MAJORITY, 15)]
    assert read.results[0].scores.uar == pytest.approx(scored.scores.uar) == pytest.approx((1 + 1 + 4 / 7) / 3)
    assert read.results[0].scores.coverage == pytest.approx(14 / 15)
    assert list(read.weights) == ["mine.npz", "backbone.pt"]
    assert read.notes == ("Clips without a face count as wrong; of those with one, 12 of 14 are right.",)


def test_clips_that_it_was_fitted_on_are_counted(tmp_path: Path) -> None:
    classifier = make_classifier(tmp_path, MOODS)
    scored = score(classifier, tmp_path / "train.csv", read_features(tmp_path / "train.npz"))
    assert scored.scores.war == 1
    assert remarks(scored) == [
        "The classifier was fitted on 30 of these 30 clips; scores on what it has seen say little."
    ]


def test_a_label_that_it_never_learned_is_told_and_not_scored(tmp_path: Path) -> None:
    table, file = write_test(tmp_path, MOODS, ("extra", "bored"))
    scored = score(make_classifier(tmp_path, MOODS), table, file)
    assert scored.scores.count == 15
    assert [(problem.kind, problem.where) for problem in scored.clips.problems] == [
        ("label that the classifier does not know", "extra: bored")
    ]


def test_clips_of_other_labels_only_cannot_be_scored(tmp_path: Path) -> None:
    with pytest.raises(CorpusError, match="knows Anger, Happiness, Sadness, and no clip of .*test.csv has such a"):
        score(make_classifier(tmp_path, EMOTIONS), *write_test(tmp_path, MOODS))


def test_features_of_another_backbone_are_refused(tmp_path: Path) -> None:
    classifier = make_classifier(tmp_path, MOODS)
    table, file = write_test(tmp_path, MOODS)
    for other in (replace(ORIGIN, sha256="cd" * 32, backbone="mine.pt"), replace(ORIGIN, width=512)):
        with pytest.raises(
            UsageError, match="features in .*test.npz of the backbone backbone.pt .8 features, SHA-256 ab"
        ):
            score(classifier, table, replace(file, origin=other))
    renamed = replace(file, origin=replace(ORIGIN, backbone="renamed.pt"))
    assert score(classifier, table, renamed).scores.count == 15


def test_predictions_are_a_table_with_every_score(tmp_path: Path) -> None:
    scored = score(make_classifier(tmp_path, MOODS), *write_test(tmp_path, MOODS))
    write_predictions(scored, tmp_path / "new" / "predictions.csv")
    with (tmp_path / "new" / "predictions.csv").open(newline="") as file:
        header, *rows = csv.reader(file)
    assert header == ["clip", "label", "prediction", "score Negative", "score Neutral", "score Positive"]
    assert rows[0][:3] == ["Negative/0", "Negative", "Negative"]
    assert [float(cell) for cell in rows[0][3:]] == pytest.approx(scored.predictions.scores[0].tolist(), abs=1e-6)
    assert rows[-1] == ["faceless", "Positive", "", "", "", ""]
    (tmp_path / "file").touch()
    with pytest.raises(ReportError, match="cannot be written"):
        write_predictions(scored, tmp_path / "file" / "predictions.csv")
