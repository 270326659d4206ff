"""`train classifier` and `evaluate clips --classifier`: what they print, write and refuse."""

from dataclasses import replace
from pathlib import Path

import pytest
from feature_samples import ORIGIN, draw_videos, make_video, write_labels, write_videos
from test_cli import invoke

from emo_affectnet.cli import main
from emo_affectnet.training.classifiers import load_classifier
from emo_affectnet.training.results import read_results

MOODS = {"Negative": 0, "Neutral": 3, "Positive": 5}
EMOTIONS = {"Anger": 0, "Happiness": 3, "Sadness": 5}


def write_run(folder: Path, classes: dict[str, int], *, name: str, seed: int = 0, origin=ORIGIN) -> tuple[Path, Path]:
    """Return features of ten clips for each class and of one without a face, and the table of their labels."""
    videos = [*draw_videos(classes, clips=10, seed=seed), make_video("faceless")]
    rows = [(f"{video.name}.mp4", video.name.partition("/")[0]) for video in videos[:-1]]
    table = write_labels(folder / f"{name}.csv", *rows, ("faceless.mp4", next(iter(classes))))
    return write_videos(folder / f"{name}.npz", videos, origin=origin), table


def train(folder: Path, classes: dict[str, int], *options: object) -> Path:
    features, labels = write_run(folder, classes, name="train")
    save = folder / "mine" / "classifier.npz"
    result = invoke(main, "train", "classifier", features, labels, "--save", save, *options)
    assert result.exit_code == 0, result.output
    return save


def test_train_classifier_says_what_it_learned_from(tmp_path: Path) -> None:
    features, labels = write_run(tmp_path, MOODS, name="train")
    labels.write_text(labels.read_text().replace("Neutral/9.mp4", "Neutral/lost.mp4"))
    save = tmp_path / "classifier.npz"
    result = invoke(main, "train", "classifier", features, labels, "--save", save)
    assert (result.exit_code, result.output.splitlines()) == (
        0,
        [
            "30 labelled clips, 29 with a face",
            "2 problems",
            "  features without a label (1): Neutral/9",
            "  label without features (1): Neutral/lost.mp4",
            f"The classifier is {save}, fitted by the recipe clip on 10 Negative, 9 Neutral, 10 Positive.",
        ],
    )
    assert load_classifier(save).classes == ("Negative", "Neutral", "Positive")


@pytest.mark.parametrize("recipe", ["clip", "group"])
def test_classes_of_any_name_are_trained_and_scored(tmp_path: Path, recipe: str) -> None:
    classifier = train(tmp_path, MOODS, "--recipe", recipe)
    features, labels = write_run(tmp_path, MOODS, name="test", seed=1)
    options = ("--classifier", classifier, "--features", features, "--save", tmp_path / "results")
    result = invoke(main, "evaluate", "clips", labels, *options)
    assert result.exit_code == 0, result.output
    lines = [" ".join(line.split()) for line in result.output.splitlines()]
    assert lines[:2] == ["31 labelled clips, 30 with a face", "0 problems"]
    assert f"classifier by the recipe {recipe}, fitted on 30 clips" in lines
    assert "system items coverage UAR WAR F1" in lines
    assert "classifier 31 96.8 97.0 96.8 98.4" in lines  # 10 of 11 Negative, all others: F1 20/21, 1 and 1
    assert "majority class 31 100.0 33.3 35.5 17.5" in lines
    assert "Clips without a face count as wrong; of those with one, 30 of 30 are right." in lines
    assert "Negative Neutral Positive no face" in lines
    assert "Negative 10 0 0 1" in lines
    assert [path.name for path in (tmp_path / "results").iterdir()] == ["predictions.csv"]


def test_emotions_are_scored_as_every_evaluation(tmp_path: Path) -> None:
    classifier = train(tmp_path, EMOTIONS)
    features, labels = write_run(tmp_path, EMOTIONS, name="test", seed=1)
    options = ("--classifier", classifier, "--features", features, "--save", tmp_path / "results")
    result = invoke(main, "evaluate", "clips", labels, *options)
    assert result.exit_code == 0, result.output
    assert "clips csv: classifier by the recipe clip, fitted on 30 clips" in result.output
    assert "The 95 % interval of the UAR is from 2000 draws of whole speakers." in result.output
    lines = [" ".join(line.split()) for line in result.output.splitlines()]
    assert any(line.startswith("clips csv classifier 31 96.8 97.0 ") for line in lines)
    assert "Anger 10 0 0 1" in lines
    written = ["confusions.png", "predictions.csv", "results.json", "table.csv", "table.md"]
    assert sorted(path.name for path in (tmp_path / "results").iterdir()) == written
    assert read_results(tmp_path / "results").results[0].scores.uar == pytest.approx((10 / 11 + 2) / 3)
    compared = invoke(main, "evaluate", "compare", tmp_path / "results", tmp_path / "results")
    assert compared.exit_code == 0, compared.output


@pytest.mark.parametrize(
    ("options", "told"),
    [
        pytest.param(("--classifier", "a.npz"), "--classifier and --features go together", id="no features"),
        pytest.param(("--features", "a.npz"), "--classifier and --features go together", id="no classifier"),
        pytest.param(
            ("--classifier", "a", "--features", "b", "--head-file", "c", "--jobs", 1, "--cache", "d"),
            "needs no weights: leave out --head-file, --cache, --jobs.",
            id="options that would change nothing",
        ),
        pytest.param(
            ("--classifier", "a", "--features", "b", "--backbone", "c"), "leave out --backbone.", id="a backbone"
        ),
    ],
)
def test_options_that_do_not_go_together_are_refused(tmp_path: Path, options: tuple[object, ...], told: str) -> None:
    result = invoke(main, "evaluate", "clips", tmp_path / "labels.csv", *options)
    assert result.exit_code == 2
    assert result.stderr.startswith("Error: ")
    assert told in result.stderr


def test_features_of_another_backbone_are_refused_in_a_sentence(tmp_path: Path) -> None:
    classifier = train(tmp_path, MOODS)
    features, labels = write_run(tmp_path, MOODS, name="test", origin=replace(ORIGIN, backbone="b.pt", sha256="0" * 64))
    result = invoke(main, "evaluate", "clips", labels, "--classifier", classifier, "--features", features)
    assert result.exit_code == 2
    assert (
        f"Expected the features in {features} of the backbone backbone.pt (8 features, SHA-256 {'ab' * 8}), but they "
        f"are of b.pt (8 features, SHA-256 {'0' * 16})." in result.stderr
    )


@pytest.mark.parametrize(
    ("features", "labels", "options", "code", "told"),
    [
        pytest.param("lost.npz", "train.csv", (), 1, "lost.npz cannot be read: No such file", id="no features"),
        pytest.param("train.csv", "train.csv", (), 1, "should hold features of faces", id="no file of features"),
        pytest.param("train.npz", "lost.csv", (), 1, "lost.csv cannot be read as a table", id="no table"),
        pytest.param("train.npz", "train.npz", (), 1, "cannot be read as a table", id="features as a table"),
        pytest.param("train.npz", "train.csv", ("--recipe", "forest"), 2, "choose one of: clip, group", id="recipe"),
        pytest.param("train.npz", "train.csv", ("--save", "train.csv/c.npz"), 1, "cannot be written", id="no folder"),
    ],
)
def test_what_cannot_be_trained_on_is_told_in_a_sentence(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    features: str,
    labels: str,
    options: tuple[str, ...],
    code: int,
    told: str,
) -> None:
    write_run(tmp_path, MOODS, name="train")
    monkeypatch.chdir(tmp_path)
    result = invoke(main, "train", "classifier", features, labels, *options)
    assert (result.exit_code, result.stderr[:7]) == (code, "Error: ")
    assert told in result.stderr
    assert sorted(path.name for path in tmp_path.iterdir()) == ["train.csv", "train.npz"]


def test_evaluating_what_is_no_classifier_is_told(tmp_path: Path) -> None:
    features, labels = write_run(tmp_path, MOODS, name="test")
    result = invoke(main, "evaluate", "clips", labels, "--classifier", features, "--features", features)
    assert result.exit_code == 1
    assert "test.npz should hold a classifier of clips as this tool saves them, but:" in result.stderr
