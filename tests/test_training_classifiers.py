"""Clips become statistics of their faces, statistics become classes, and a saved classifier is the same one again."""

import json
import re
import zipfile
from pathlib import Path

import numpy as np
import pytest
from feature_samples import ORIGIN, draw_videos, make_video, write_labels, write_videos

from emo_affectnet.errors import CorpusError, ReportError, UnknownName, UsageError
from emo_affectnet.feature_files import META, read_features
from emo_affectnet.training.classifiers import (
    RECIPES,
    Classifier,
    LabelledClips,
    fit_classifier,
    group_features,
    load_classifier,
    read_clips,
    save_classifier,
    stat_features,
)

MOODS = {"Negative": 0, "Neutral": 3, "Positive": 5}


def read_moods(
    folder: Path, *, clips: int = 12, seed: int = 0, recipe: str = "clip", classes: dict[str, int] = MOODS
) -> LabelledClips:
    """Return well separated clips, labelled by the folder that they are in, and one more without a face."""
    videos = [*draw_videos(classes, clips=clips, seed=seed), make_video("faceless")]
    file = read_features(write_videos(folder / "features.npz", videos))
    labels = [(video.name, video.name.partition("/")[0]) for video in videos[:-1]]
    table = write_labels(folder / "labels.csv", *labels, ("faceless", next(iter(classes))))
    return read_clips(table, file, recipe=recipe)


def fit(clips: LabelledClips, *, recipe: str = "clip") -> Classifier:
    return fit_classifier(clips.features, clips.labels, recipe=recipe, origin=clips.origin)


def test_statistics_of_a_clip_are_those_worked_out_by_hand() -> None:
    """Frames (1, 2) and (3, 6): means (2, 4), deviations (1, 2), minima (1, 2), maxima (3, 6); squares sum to 75."""
    found = stat_features(np.array([[1, 2], [3, 6]], np.float32))
    assert found.dtype == np.float32
    np.testing.assert_allclose(found, np.array([2, 4, 1, 2, 1, 2, 3, 6]) / np.sqrt(75), rtol=1e-6)


def test_statistics_of_a_single_frame_have_no_deviation() -> None:
    """The frame (3, 4): 3 and 4 as mean, minimum and maximum; squares sum to 75."""
    np.testing.assert_allclose(
        stat_features(np.array([[3, 4]], np.float32)), np.array([3, 4, 0, 0, 3, 4, 3, 4]) / np.sqrt(75), rtol=1e-6
    )


def test_statistics_of_a_group_are_those_worked_out_by_hand() -> None:
    """One feature. Frame 0 shows 1 and 3: mean 2, deviation 1. Frame 6 shows 4: mean 4, deviation 0.

    Over the frames: means 3 and 0.5, deviations 1 and 0.5; squares sum to 10.5.
    """
    found = group_features(np.array([[1], [4], [3]], np.float32), np.array([0, 6, 0]))
    assert found.dtype == np.float32
    np.testing.assert_allclose(found, np.array([3, 0.5, 1, 0.5]) / np.sqrt(10.5), rtol=1e-6)


def test_statistics_of_a_group_of_one_in_one_frame_are_its_features() -> None:
    """The face (3, 4): means 3 and 4, and every deviation 0; squares sum to 25."""
    np.testing.assert_allclose(
        group_features(np.array([[3, 4]], np.float32), np.array([9])), [0.6, 0.8, 0, 0, 0, 0, 0, 0], rtol=1e-6
    )


@pytest.mark.parametrize("recipe", RECIPES)
def test_any_clip_becomes_a_vector_of_length_1_and_one_without_a_face_0(recipe: str) -> None:
    generator = np.random.default_rng(0)
    for count in (1, 2, 50):
        vector = RECIPES[recipe].describe(make_video("clip", generator.random((count, 8))))
        assert (vector.shape, vector.dtype) == ((32,), np.float32)
        assert np.linalg.norm(vector) == pytest.approx(1, abs=1e-6)
    assert not RECIPES[recipe].describe(make_video("clip")).any()


def test_one_recipe_reads_the_primary_person_and_the_other_everyone() -> None:
    rows = np.eye(8)[:4]
    both = make_video("clip", rows, indices=[0, 0, 6, 6], people=[1, 2, 1, 2])
    assert np.array_equal(RECIPES["clip"].describe(both), stat_features(both.features[[0, 2]]))
    assert np.array_equal(RECIPES["group"].describe(both), group_features(both.features, both.indices))
    assert not np.array_equal(
        RECIPES["group"].describe(both), RECIPES["group"].describe(make_video("clip", rows[[0, 2]]))
    )


@pytest.mark.parametrize("recipe", RECIPES)
@pytest.mark.parametrize("classes", [MOODS, {"Anger": 1, "Happiness": 2}], ids=["three", "two"])
def test_separate_classes_are_told_apart_on_clips_never_seen(
    tmp_path: Path, recipe: str, classes: dict[str, int]
) -> None:
    classifier = fit(read_moods(tmp_path, recipe=recipe, classes=classes), recipe=recipe)
    unseen = read_moods(tmp_path, seed=1, recipe=recipe, classes=classes)
    found = classifier.predict(unseen.features)
    assert found.labels == (*unseen.labels[:-1], None)
    assert found.scores.shape == (12 * len(classes) + 1, len(classes))
    assert np.isnan(found.scores[-1]).all()
    best = [classifier.classes[column] for column in found.scores[:-1].argmax(axis=1)]
    assert best == list(unseen.labels[:-1])


@pytest.mark.parametrize("recipe", RECIPES)
def test_from_shuffled_labels_nothing_is_learned(tmp_path: Path, recipe: str) -> None:
    """Of three classes, a third are right by chance, on average over shuffles; each shuffle scatters by about 0.2."""
    clips, unseen = (read_moods(tmp_path, seed=seed, recipe=recipe).select for seed in (0, 1))
    learned, truth = clips(np.arange(37) < 36), unseen(np.arange(37) < 36)
    right = []
    for seed in range(40):
        shuffled = tuple(np.random.default_rng(seed).permutation(learned.labels))
        classifier = fit_classifier(learned.features, shuffled, recipe=recipe, origin=ORIGIN)
        right.append(np.mean(np.array(classifier.predict(truth.features).labels) == np.array(truth.labels)))
    assert np.mean(right) == pytest.approx(1 / 3, abs=0.1)


def test_the_settings_are_those_of_the_published_recipes(tmp_path: Path) -> None:
    """Savchenko's notebook of AFEW and VGAF: LinearSVC with C 1.1, SVC with a Gaussian kernel and C 1.9."""
    linear, gaussian = (fit(read_moods(tmp_path, recipe=recipe), recipe=recipe).estimator for recipe in RECIPES)
    assert (type(linear).__name__, linear.C) == ("LinearSVC", 1.1)
    assert (type(gaussian).__name__, gaussian.C, gaussian.kernel) == ("SVC", 1.9, "rbf")


def test_clips_without_a_face_are_not_learned_from(tmp_path: Path) -> None:
    clips = read_moods(tmp_path)
    assert (len(clips.labels), clips.seen.sum()) == (37, 36)
    assert len(fit(clips).labels) == 36


def test_a_clip_between_two_samples_has_no_face(tmp_path: Path) -> None:
    file = read_features(write_videos(tmp_path / "features.npz", [make_video("a", np.ones((3, 8)))]))
    table = write_labels(tmp_path / "labels.csv", ("a", "x", 0.21, 0.39), header="path,label,start,end")
    assert read_clips(table, file, recipe="clip").seen.tolist() == [False]


@pytest.mark.parametrize("recipe", RECIPES)
def test_a_saved_classifier_says_the_same_to_the_bit(tmp_path: Path, recipe: str) -> None:
    clips = read_moods(tmp_path, recipe=recipe)
    noisy = clips.features + np.random.default_rng(0).normal(0, 0.3, clips.features.shape).astype(np.float32)
    classifier = fit_classifier(noisy, clips.labels, recipe=recipe, origin=clips.origin)
    save_classifier(classifier, tmp_path / "new" / "classifier.npz")
    again = load_classifier(tmp_path / "new" / "classifier.npz")
    assert (again.recipe, again.origin, again.labels) == (recipe, ORIGIN, classifier.labels)
    assert again.settings == classifier.settings
    assert again.predict(clips.features).labels == classifier.predict(clips.features).labels
    assert np.array_equal(again.predict(noisy).scores, classifier.predict(noisy).scores, equal_nan=True)


def test_a_saved_classifier_holds_no_pickle(tmp_path: Path) -> None:
    save_classifier(fit(read_moods(tmp_path)), tmp_path / "classifier.npz")
    with np.load(tmp_path / "classifier.npz", allow_pickle=False) as stored:
        assert set(stored.files) == {"features", "labels", META}
        assert (stored["features"].shape, stored["features"].dtype) == ((36, 32), np.float32)
        assert stored["labels"].tolist() == ["Negative"] * 12 + ["Neutral"] * 12 + ["Positive"] * 12
        document = json.loads(stored[META])
    assert document["settings"] == {"C": 1.1, "dual": "auto", "max_iter": 10000, "random_state": 0}
    assert (document["recipe"], document["backbone"], document["sha256"]) == ("clip", "backbone.pt", "ab" * 32)


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        pytest.param(
            {"format": "emo_affectnet features 1"}, "not of the format 'emo_affectnet classifier 1'", id="other"
        ),
        pytest.param({"recipe": "forest"}, "no recipe named 'forest'; choose one of: clip, group", id="recipe"),
        pytest.param({"settings": {"C": -1}}, "'C' parameter of LinearSVC must be", id="a setting that cannot be"),
        pytest.param({"settings": {"depth": 7}}, "unexpected keyword argument 'depth'", id="a setting of another"),
        pytest.param({"width": 512}, re.escape("Expected float32 (36, 2048) to learn from"), id="width"),
    ],
)
def test_a_file_that_is_no_classifier_is_told(tmp_path: Path, changes: dict[str, object], told: str) -> None:
    path = tmp_path / "classifier.npz"
    save_classifier(fit(read_moods(tmp_path)), path)
    with zipfile.ZipFile(path) as archive:
        entries = {name: archive.read(name) for name in archive.namelist()}
    entries[META] = json.dumps(json.loads(entries[META]) | changes).encode()
    with zipfile.ZipFile(path, "w") as archive:
        for name, content in entries.items():
            archive.writestr(name, content)
    with pytest.raises(ReportError, match=f"should hold a classifier of clips .*{told}"):
        load_classifier(path)


def test_features_are_no_classifier_and_a_classifier_no_features(tmp_path: Path) -> None:
    save_classifier(fit(read_moods(tmp_path)), tmp_path / "classifier.npz")
    with pytest.raises(ReportError, match="not of the format 'emo_affectnet classifier 1'"):
        load_classifier(tmp_path / "features.npz")
    with pytest.raises(ReportError, match="not of the format 'emo_affectnet features 1'"):
        read_features(tmp_path / "classifier.npz")


def test_one_label_is_nothing_to_tell_apart(tmp_path: Path) -> None:
    with pytest.raises(CorpusError, match="two labels or more, but there are 12 clips with a face, of Anger"):
        fit(read_moods(tmp_path, classes={"Anger": 1}))
    with pytest.raises(CorpusError, match="but there are 0 clips with a face, of no label"):
        fit_classifier(np.zeros((2, 32), np.float32), ("a", "b"), recipe="clip", origin=ORIGIN)


def test_another_recipe_is_told_by_the_list(tmp_path: Path) -> None:
    with pytest.raises(UnknownName, match="no recipe named 'forest'; choose one of: clip, group"):
        read_moods(tmp_path, recipe="forest")
    with pytest.raises(UnknownName, match="no recipe named 'forest'"):
        fit_classifier(np.ones((2, 32), np.float32), ("a", "b"), recipe="forest", origin=ORIGIN)


def test_vectors_of_another_length_are_refused() -> None:
    with pytest.raises(UsageError, match=re.escape("Expected float32 (2, 32) to learn from, not float32 (2, 31)")):
        fit_classifier(np.ones((2, 31), np.float32), ("a", "b"), recipe="clip", origin=ORIGIN)


def test_a_place_that_cannot_be_written_is_told(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(ReportError, match="cannot be written"):
        save_classifier(fit(read_moods(tmp_path)), tmp_path / "file" / "classifier.npz")
