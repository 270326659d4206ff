"""Heads are scored on what they never saw, beside baselines; nothing that was not seen is left out of the count."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from network_files import random_backbone
from sklearn.linear_model import LogisticRegression
from test_training_heads import TINY, make_corpus
from test_training_simulate import make_faces

from emo_affectnet.emotions import Emotion
from emo_affectnet.errors import CorpusError, MissingWeights, UsageError
from emo_affectnet.models import LSTMHead, ResNet50
from emo_affectnet.recognizer import Reading
from emo_affectnet.timeline import FaceTrack, Windows, build_timeline, slide, spread
from emo_affectnet.training import evaluate as evaluate_module
from emo_affectnet.training.corpora.clip import Clip, LabelledImage, Problem, Scan
from emo_affectnet.training.evaluate import evaluate_faces, evaluate_loco, open_images, score_with_baselines
from emo_affectnet.training.features import UNREADABLE, ClipFeatures, CorpusFeatures, cut_clip, track_windows
from emo_affectnet.training.heads import (
    HeadConfig,
    fit_head,
    join_windows,
    make_study,
    predict_windows,
    train_heads,
)
from emo_affectnet.training.judgements import AVERAGE, MAJORITY, judge, score, scored_clips
from emo_affectnet.training.readers import read_by_averaging, read_classifier, read_with_heads
from emo_affectnet.training.results import HEAD
from emo_affectnet.training.simulate import FaceFeatures, simulate_corpus
from emo_affectnet.training.stills import simulate_all
from emo_affectnet.video import VideoInfo
from emo_affectnet.weight_sets import find_in
from emo_affectnet.weights import Preprocessing, write_record

HELD_OUT = "RAVDESS"
GREY = Preprocessing(48, "grey", (129.4,) * 3, "area", crop_margin=(0.0,) * 4)


@pytest.fixture(scope="module")
def faces() -> tuple[FaceFeatures, FaceFeatures]:
    """Faces to train on, and others of the same emotions to test on."""
    return make_faces(faces_per_emotion=40, seed=0), make_faces(faces_per_emotion=15, seed=1)


@pytest.fixture(scope="module")
def head(faces: tuple[FaceFeatures, FaceFeatures]) -> LSTMHead:
    """The head of HELD_OUT, trained on 40 clips of each other corpus."""
    corpora = simulate_all(faces[0], clips=40, seed=0)
    del corpora[HELD_OUT]
    windows, labels, groups = join_windows(list(corpora.values()))
    config = HeadConfig(steps=50, batch_size=32, learning_rate=2e-3, average_decay=0.9)
    return fit_head(windows, labels, groups=groups, config=config)


@pytest.fixture(scope="module")
def classifier(faces: tuple[FaceFeatures, FaceFeatures]):
    model = LogisticRegression(max_iter=500).fit(faces[0].features, faces[0].labels)
    return lambda features: model.predict_proba(features.reshape(-1, 512)).reshape(*features.shape[:-1], 7)


def weak_corpus(faces: FaceFeatures, *, intensity: float) -> CorpusFeatures:
    """Return clips of three seconds that hold one expression at a fixed intensity, three for each emotion."""
    neutral = faces.features[faces.labels == Emotion.Neutral]
    clips = []
    for emotion in Emotion:
        for turn, face in enumerate(faces.features[faces.labels == emotion][:3]):
            features = np.repeat(((1 - intensity) * neutral[turn] + intensity * face)[None], 15, axis=0)
            mass = np.tile(np.eye(7, dtype=np.float32)[emotion], (15, 1))
            name = f"{emotion.name} {turn}"
            clips.append(ClipFeatures(name, "s", int(emotion), np.arange(15) / 5, features, mass, np.arange(15)))
    return CorpusFeatures("weak", tuple(clips))


def test_a_head_reads_weak_expressions_that_averaging_the_frames_calls_neutral(faces, head, classifier) -> None:
    corpus = weak_corpus(faces[1], intensity=0.4)
    assert score(corpus, HEAD, read_with_heads([head])).scores.war >= 0.9
    assert score(corpus, AVERAGE, read_by_averaging(classifier)).scores.war < 0.5


def test_a_head_beats_averaging_on_the_corpus_it_never_saw(faces, head, classifier) -> None:
    corpus = simulate_corpus(HELD_OUT, faces[1], clips=120, seed=9)
    scored = score_with_baselines(corpus, read_with_heads([head]), classifier=classifier)
    assert [(each.system, each.corpus) for each in scored] == [
        (system, "simulated RAVDESS") for system in (HEAD, AVERAGE, MAJORITY)
    ]
    by_head, by_average, majority = (each.scores for each in scored)
    assert by_head.count == by_average.count == 120
    assert by_head.uar > by_average.uar + 0.1
    assert majority.uar == pytest.approx(1 / 7)


def test_only_emotions_that_occur_are_averaged(faces, head) -> None:
    corpus = simulate_corpus("CREMA-D", faces[1], clips=40, seed=2)
    assert score(corpus, HEAD, read_with_heads([head])).scores.classes == 6


def test_several_heads_are_read_by_their_mean(faces) -> None:
    corpus = simulate_corpus("SAVEE", faces[1], clips=1, seed=0)

    def certain(emotion: int, sureness: float):
        rest = (1 - sureness) / 6
        return lambda windows: torch.full((len(windows), 7), rest).index_fill_(1, torch.tensor([emotion]), sureness)

    reader = read_with_heads([certain(3, 0.9), certain(5, 0.6), certain(5, 0.5)])
    (reading,) = reader(corpus.clips)
    assert reading.means.argmax() == 5  # (0.02 + 0.6 + 0.5) against (0.9 + 0.07 + 0.08)
    assert reading.agreement == pytest.approx(2 / 3)


def test_clips_read_together_are_read_as_each_by_itself(faces, head) -> None:
    corpus = simulate_corpus("RAMAS", faces[1], clips=5, seed=3)
    nobody = ClipFeatures("x", "s", 0, np.empty(0), np.empty((0, 512), np.float32), np.empty((0, 7), np.float32))
    clips = (*corpus.clips[:3], nobody, *corpus.clips[3:])
    read = read_with_heads([head, head])
    for clip, together in zip(clips, read(clips), strict=True):
        np.testing.assert_allclose(together.probabilities, read([clip])[0].probabilities, atol=1e-6)
    assert np.isnan(read([nobody])[0].means).all()


def test_a_clip_has_the_emotion_that_the_report_of_its_video_has(head) -> None:
    """As the recognizer: windows are spread over all frames, and the mean is over those with a face."""
    indices = np.arange(0, 72, 6)
    track = FaceTrack(
        1,
        indices,
        indices / 30,
        np.ones((12, 4), np.float32),
        np.ones(12, np.float32),
        np.random.default_rng(0).random((12, 512), dtype=np.float32),
    )
    reading = Reading(np.arange(80) / 30, np.arange(0, 80, 6), (track,))
    clip = cut_clip(Clip("clips csv", "a", Path("a.mp4"), "s", "fear", Emotion.Fear), reading)
    (found,) = read_with_heads([head])([clip])
    windows = slide(track)
    timeline = build_timeline(
        VideoInfo(Path("a.mp4"), 64, 48, 30.0, None, 80, False, True),
        track,
        times=reading.times,
        samples=reading.samples,
        windows=windows,
        window_probabilities=predict_windows(head, windows.features)[None],
        heads=("RAVDESS",),
        head="RAVDESS",
        extras={},
    )
    np.testing.assert_allclose(found.means, timeline.mean_probabilities, atol=1e-6)
    assert clip.coverage == timeline.coverage == 72 / 80


def test_six_answers_leave_neutral_out_of_answers_and_items(head) -> None:
    corpus = make_corpus("SAVEE")
    judgement = judge(corpus, HEAD, read_with_heads([head])(corpus.clips))
    assert judgement.answer_counts() == (7, 6)
    usual, six = judgement.score(), judgement.score(answers=6)
    assert (usual.scores.count, six.scores.count) == (21, 18)
    assert six.confusion[:, 0].sum() == 0
    others = np.delete(judgement.probabilities, 0, axis=1).argmax(axis=1) + 1
    expected = np.bincount(others[judgement.truth > 0], minlength=8)
    assert six.confusion.sum(axis=0).tolist() == expected.tolist()
    of_neutral = judgement.truth == Emotion.Neutral
    assert judgement.answer_counts(of_neutral) == (7,)
    assert judgement.score(where=of_neutral).scores.count == 3


def test_a_clip_without_a_face_counts_as_wrong(head) -> None:
    empty = ClipFeatures("a", "s", 0, np.empty(0), np.empty((0, 512), np.float32), np.empty((0, 7), np.float32))
    seen = make_corpus("SAVEE", speakers=1).clips
    result = score(CorpusFeatures("SAVEE", (*seen, empty)), HEAD, read_with_heads([head])).scores
    assert result.count == 8
    assert result.coverage == pytest.approx(7 / 8)


def test_where_frames_have_labels_each_labelled_frame_is_an_item_read_as_the_report_reads_it(head) -> None:
    generator = np.random.default_rng(0)
    frames = 60
    labels = np.where(np.arange(frames) < 12, -1, 2)
    observed = np.arange(frames) < 54
    features = generator.random((10, 512), dtype=np.float32)
    indices = np.arange(0, frames, 6)
    mass = np.ones((10, 7), np.float32)
    clip = ClipFeatures("v", "v", 2, indices / 30, features, mass, indices, frame_labels=labels, observed=observed)
    result = score(CorpusFeatures("Aff-Wild2", (clip,)), HEAD, read_with_heads([head]))
    assert (result.unit, result.cluster, result.scores.count) == ("frame", "video", 48)
    assert result.scores.coverage == pytest.approx(42 / 48)
    windows: Windows = track_windows(clip)
    with torch.inference_mode():
        rows = spread(windows, head(torch.from_numpy(windows.features)).numpy(), frame_count=frames)
    expected = np.bincount(rows[12:54].argmax(axis=1), minlength=7)
    assert result.confusion[2, :7].tolist() == expected.tolist()


def test_of_a_corpus_with_a_validation_part_only_that_is_scored() -> None:
    train, valid = make_corpus("Aff-Wild2", speakers=2).clips[::7]
    parts = (
        ClipFeatures(**{**vars(train), "split": "Train_Set"}),
        ClipFeatures(**{**vars(valid), "split": "Validation_Set"}),
    )
    assert scored_clips(CorpusFeatures("Aff-Wild2", parts)) == parts[1:]
    assert len(scored_clips(make_corpus("SAVEE"))) == 21


@pytest.fixture
def backbone(tmp_path: Path) -> Path:
    path = tmp_path / "backbone.pt"
    torch.save(random_backbone().state_dict(), path)
    return path


def record(path: Path, **fields) -> None:
    about = {"name": "backbone", "kind": "backbone", "license": "none", "trained_on": (), "preprocessing": GREY}
    write_record(path, **about, **fields)


def test_loco_scores_each_head_on_its_own_corpus_and_keeps_what_the_scores_rest_on(tmp_path, backbone) -> None:
    corpora = [make_corpus("RAVDESS", policies={"calm": "drop"}), make_corpus("SAVEE"), make_corpus("CREMA-D")]
    study = make_study(corpora)
    trained = train_heads(study, tmp_path / "heads", backbone=backbone, config=TINY, seeds=1)
    result = evaluate_loco(study.targets, find_head=find_in(tmp_path / "heads"), backbone=backbone)
    assert [each.corpus for each in result.results[::3]] == ["RAVDESS", "SAVEE", "CREMA-D"]
    for name, each in zip(study.targets, result.results[::3], strict=True):
        own = score(study.targets[name], HEAD, read_with_heads([trained[name].heads[0]]))
        assert abs(each.scores.war - own.scores.war) <= 1 / 21  # fp16 on disk
    assert result.policies["RAVDESS"] == {"calm": "drop"}
    assert sorted(result.weights) == ["CREMA-D.pt", "RAVDESS.pt", "SAVEE.pt", "backbone.pt"]


def test_a_head_is_not_scored_on_a_corpus_it_was_trained_on(tmp_path, backbone) -> None:
    corpora = [make_corpus("RAVDESS"), make_corpus("SAVEE")]
    train_heads(make_study(corpora), tmp_path / "heads", backbone=backbone, config=TINY, seeds=1)
    for suffix in (".pt", ".json"):
        (tmp_path / "heads" / f"SAVEE{suffix}").rename(tmp_path / "heads" / f"RAMAS{suffix}")
    with pytest.raises(MissingWeights, match=r"SAVEE\.pt"):
        evaluate_loco({"SAVEE": corpora[1]}, find_head=find_in(tmp_path / "heads"), backbone=backbone)
    for suffix in (".pt", ".json"):
        (tmp_path / "heads" / f"RAVDESS{suffix}").rename(tmp_path / "heads" / f"SAVEE{suffix}")
    with pytest.raises(UsageError, match="was trained on SAVEE"):
        evaluate_loco({"SAVEE": corpora[1]}, find_head=find_in(tmp_path / "heads"), backbone=backbone)


def test_videos_that_could_not_be_read_are_named_with_the_scores(tmp_path, backbone) -> None:
    corpora = [
        make_corpus("RAVDESS"),
        CorpusFeatures("SAVEE", make_corpus("SAVEE").clips, problems=(Problem(UNREADABLE, "a.avi"),) * 2),
    ]
    study = make_study(corpora)
    train_heads(study, tmp_path / "heads", backbone=backbone, config=TINY, seeds=1)
    result = evaluate_loco(study.targets, find_head=find_in(tmp_path / "heads"), backbone=backbone)
    assert result.notes == ("SAVEE: 2 videos could not be read; their clips are not scored.",)


def test_results_of_heads_from_simulated_corpora_say_so(tmp_path, backbone) -> None:
    corpora = [replace(make_corpus(name), is_simulated=True) for name in ("RAVDESS", "SAVEE")]
    train_heads(make_study(corpora), tmp_path / "heads", backbone=backbone, config=TINY, seeds=1)
    result = evaluate_loco({"SAVEE": make_corpus("SAVEE")}, find_head=find_in(tmp_path / "heads"), backbone=backbone)
    assert result.notes == ("The heads were trained on simulated corpora.",)


def make_images(count: int) -> list[tuple[np.ndarray, int]]:
    generator = np.random.default_rng(0)
    return [(generator.integers(0, 256, (48, 48), dtype=np.uint8), number % 7) for number in range(count)]


def test_a_backbone_is_scored_by_its_top_emotion_on_every_face(backbone) -> None:
    record(backbone)
    images = make_images(14)
    result = evaluate_faces(backbone, images)
    assert result.scores.count == result.confusion.sum() == 14
    assert result.uncalibrated_error is None
    model = ResNet50()
    model.load_state_dict(torch.load(backbone, weights_only=True))
    x = torch.from_numpy(np.stack([image for image, _ in images]).astype(np.float32))[:, None].expand(-1, 3, -1, -1)
    with torch.inference_mode():
        predicted = model.eval()(x - 129.4).argmax(dim=1).numpy()
    expected = np.bincount(predicted, minlength=7)
    assert result.confusion.sum(axis=0)[:7].tolist() == expected.tolist()


def test_a_published_backbone_reads_the_nearest_pixel_as_in_the_published_check(backbone, monkeypatch) -> None:
    seen = []
    judge = evaluate_module.judge_faces
    monkeypatch.setattr(
        evaluate_module,
        "judge_faces",
        lambda engine, images: seen.append(engine.preprocessing) or judge(engine, images),
    )
    monkeypatch.setattr(evaluate_module, "read_preprocessing", lambda path: GREY)
    evaluate_faces(backbone, make_images(7))
    record(backbone)
    evaluate_faces(backbone, make_images(7))
    assert [how.interpolation for how in seen] == ["nearest", "area"]


def test_the_calibration_error_is_told_with_and_without_the_recorded_temperature(backbone) -> None:
    record(backbone, temperature=4.0)
    result = evaluate_faces(backbone, make_images(14))
    assert result.uncalibrated_error is not None
    assert result.uncalibrated_error > result.calibration_error  # of a guesser, four times as sure of itself


def test_a_backbone_reads_one_face_as_its_whole_network_does(backbone) -> None:
    model = ResNet50()
    model.load_state_dict(torch.load(backbone, weights_only=True))
    x = torch.randn(3, 3, 64, 64, generator=torch.Generator().manual_seed(0))
    with torch.inference_mode():
        features = model.eval().features(x)
        expected = torch.softmax(model(x), dim=1)
    np.testing.assert_allclose(read_classifier(backbone)(features.numpy()), expected.numpy(), atol=1e-6)


def test_an_image_that_cannot_be_read_is_a_problem_and_others_are_scored() -> None:
    def fail() -> np.ndarray:
        raise CorpusError("b.jpg is no image")

    images = (
        LabelledImage("RAF-DB", "a", "1", Emotion.Surprise, lambda: np.zeros((4, 4, 3), np.uint8), "test"),
        LabelledImage("RAF-DB", "b", "1", Emotion.Surprise, fail, "test"),
        LabelledImage("RAF-DB", "c", "1", Emotion.Surprise, fail, "train"),
        LabelledImage("RAF-DB", "d", "9", None, fail, "test"),
    )
    problems: list[Problem] = []
    opened = list(open_images(Scan("RAF-DB", Path(), {}, (), images, ()), split="test", tell=problems.append))
    assert [label for _, label in opened] == [Emotion.Surprise]
    assert [problem.where for problem in problems] == ["b.jpg is no image"]
