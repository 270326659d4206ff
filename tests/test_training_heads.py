"""The temporal heads: what they learn from simulated clips of synthetic faces, and the files they become."""

import warnings
from pathlib import Path

import numpy as np
import pytest
import torch
from sklearn.linear_model import LogisticRegression
from test_training_simulate import make_faces

from emo_affectnet.emotions import Emotion
from emo_affectnet.errors import UnknownName
from emo_affectnet.models import LSTMHead, ResNet50
from emo_affectnet.training import heads as heads_module
from emo_affectnet.training.corpora import FaceImages
from emo_affectnet.training.heads import (
    Classifier,
    HeadConfig,
    HeadScore,
    average_frames,
    balance_draws,
    choose_head,
    evaluate_head,
    export_head,
    extract_faces,
    fit_head,
    join_windows,
    predict_clips,
    predict_windows,
    read_features,
    select_clear,
    simulate_all,
    source_corpora,
    split_faces,
    train_heads,
    weigh_evidence,
)
from emo_affectnet.training.simulate import FaceFeatures, SimulatedClip, SimulatedCorpus, cut_windows, simulate_corpus
from emo_affectnet.weights import CORPUS_NAMES, Preprocessing, hash_file, read_record, write_record

HELD_OUT = "RAVDESS"
SMALL = HeadConfig(steps=50, batch_size=32, learning_rate=2e-3, average_decay=0.9)
TINY = HeadConfig(steps=2, batch_size=8)
GREY = Preprocessing(48, "grey", (129.4,) * 3, "area", crop_margin=(0.0,) * 4)


@pytest.fixture(scope="module")
def faces() -> tuple[FaceFeatures, FaceFeatures]:
    """Faces to train on, and others of the same emotions to test on."""
    return make_faces(faces_per_emotion=40, seed=0), make_faces(faces_per_emotion=15, seed=1)


@pytest.fixture(scope="module")
def classifier(faces: tuple[FaceFeatures, FaceFeatures]) -> Classifier:
    model = LogisticRegression(max_iter=500).fit(faces[0].features, faces[0].labels)
    return Classifier(model.coef_.astype(np.float32), model.intercept_.astype(np.float32))


@pytest.fixture(scope="module")
def head(faces: tuple[FaceFeatures, FaceFeatures]) -> LSTMHead:
    """The head of HELD_OUT, trained on 40 clips of each other corpus."""
    windows, labels, groups = join_windows(source_corpora(simulate_all(faces[0], clips=40, seed=0), HELD_OUT))
    return fit_head(windows, labels, groups=groups, config=SMALL)


def weak_corpus(faces: FaceFeatures, *, intensity: float) -> SimulatedCorpus:
    """Return clips of three seconds that hold one expression at a fixed intensity, three for each emotion."""
    neutral = faces.features[faces.labels == Emotion.Neutral]
    clips = []
    for emotion in Emotion:
        for turn, face in enumerate(faces.features[faces.labels == emotion][:3]):
            features = np.repeat(((1 - intensity) * neutral[turn] + intensity * face)[None], 15, axis=0)
            mass = np.tile(np.eye(7, dtype=np.float32)[emotion], (15, 1))
            clips.append(SimulatedClip(np.arange(15) / 5, features, mass, int(emotion), 0))
    return SimulatedCorpus("weak", tuple(clips))


def test_a_head_reads_weak_expressions_that_averaging_the_frames_calls_neutral(faces, head, classifier):
    corpus = weak_corpus(faces[1], intensity=0.4)
    by_head, by_average = predict_clips(head, corpus), average_frames(classifier, corpus)
    assert np.mean(by_head == corpus.labels) >= 0.9
    assert np.mean(by_average == corpus.labels) < 0.5


def test_a_head_beats_averaging_on_the_corpus_it_never_saw(faces, head, classifier):
    corpus = simulate_corpus(HELD_OUT, faces[1], clips=120, seed=9)
    score = evaluate_head(head, corpus, classifier=classifier)
    assert (score.held_out, score.clips, score.classes) == (HELD_OUT, 120, 7)
    assert score.uar_head > score.uar_average + 0.1
    assert score.uar_majority == pytest.approx(1 / 7)


def test_a_neutral_face_that_varies_stays_neutral(faces, head):
    rng = np.random.default_rng(0)
    neutral = faces[1].features[faces[1].labels == Emotion.Neutral]
    shaking = faces[1].variation[rng.integers(20, size=(len(neutral), 10))] * 0.5
    windows = np.maximum(neutral[:, None] + shaking, 0).astype(np.float32)
    assert np.mean(predict_windows(head, windows).argmax(axis=1) == Emotion.Neutral) >= 0.9


def test_one_face_seen_ten_times_keeps_its_emotion(faces, head):
    windows = np.repeat(faces[1].features[:, None], 10, axis=1)
    assert np.mean(predict_windows(head, windows).argmax(axis=1) == faces[1].labels) >= 0.95


def test_a_window_across_a_change_has_the_longer_emotion(faces, head):
    happy, angry = (faces[1].features[faces[1].labels == emotion] for emotion in (Emotion.Happiness, Emotion.Anger))
    windows = np.stack([np.vstack([[a] * 7, [b] * 3]) for a, b in zip(happy, angry, strict=True)])
    assert np.mean(predict_windows(head, windows).argmax(axis=1) == Emotion.Happiness) >= 0.5


def test_the_same_seed_gives_the_same_head_and_another_seed_another(faces):
    windows, labels, _ = join_windows([simulate_corpus("SAVEE", faces[0], clips=8, seed=0)])
    first, same, other = (
        fit_head(windows, labels, config=HeadConfig(seed=s, steps=2, batch_size=8)) for s in (0, 0, 1)
    )
    assert torch.equal(first.fc.weight, same.fc.weight)
    assert not torch.equal(first.fc.weight, other.fc.weight)


def test_a_head_never_sees_the_corpus_it_is_named_after(faces):
    corpora = simulate_all(faces[0], clips=6, seed=0)
    cut = {name: cut_windows(corpus).features for name, corpus in corpora.items()}
    # Still faces may occur in any corpus; a window that moves belongs to one.
    moving = {name: [w.tobytes() for w in windows if np.ptp(w, axis=0).max() > 0] for name, windows in cut.items()}
    for name in CORPUS_NAMES:
        windows, _, _ = join_windows(source_corpora(corpora, name))
        rows = {window.tobytes() for window in windows}
        assert rows.isdisjoint(moving[name])
        assert all(rows.issuperset(moving[other]) for other in CORPUS_NAMES if other != name)


def test_leaving_out_an_unknown_corpus_is_an_error():
    with pytest.raises(UnknownName, match="AFEW"):
        source_corpora({"SAVEE": SimulatedCorpus("SAVEE", ())}, "AFEW")


def test_draws_are_balanced_over_corpora_and_emotions():
    labels = np.repeat([0, 1, 0, 1, 2, 3], [300, 100, 100, 50, 200, 25])
    groups = np.repeat([0, 1], [400, 375])
    weights = balance_draws(labels, groups, neutral_share=0.4).numpy()
    drawn = [[weights[(groups == group) & (labels == emotion)].sum() for emotion in range(4)] for group in (0, 1)]
    # Emotion 3 has half of the windows that it takes not to be rare.
    np.testing.assert_allclose(drawn, [[0.4, 0.6, 0, 0], [0.4, 0.24, 0.24, 0.12]])
    assert len(np.unique(weights[:300])) == 1


def test_an_exported_head_reads_back_in_fp32(head, tmp_path):
    path = tmp_path / "RAVDESS.pt"
    export_head(head, path)
    assert [file.name for file in tmp_path.iterdir()] == ["RAVDESS.pt"]
    assert path.stat().st_size < 2.1 * 2_888_455  # two bytes for each parameter of the published head
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", r"`torch\.jit\.load` is deprecated", DeprecationWarning)
        loaded = torch.jit.load(path).float().eval()
    windows = torch.rand(5, 10, 512, generator=torch.Generator().manual_seed(0))
    with torch.inference_mode():
        # fp16 keeps eleven bits of each weight, 5e-4 of its size
        torch.testing.assert_close(loaded(windows), head(windows), atol=2e-3, rtol=0)
    LSTMHead().load_state_dict(loaded.state_dict())
    assert {value.dtype for value in loaded.state_dict().values()} == {torch.float32}


def test_exporting_leaves_the_head_in_fp32(head, tmp_path):
    export_head(head, tmp_path / "head.pt")
    assert {value.dtype for value in head.state_dict().values()} == {torch.float32}


@pytest.mark.parametrize(("name", "classes"), [("SAVEE", 7), ("CREMA-D", 6)])
def test_a_score_counts_the_classes_that_occur(name, classes, faces, head, classifier):
    score = evaluate_head(head, simulate_corpus(name, faces[1], clips=40, seed=2), classifier=classifier)
    assert (score.held_out, score.clips, score.classes) == (name, 40, classes)


def test_an_emotion_with_few_faces_is_drawn_less():
    faces = FaceFeatures(np.zeros((505, 512), np.float32), np.repeat([0, 6, 5], [400, 100, 5]))
    evidence = weigh_evidence(faces, balance=0.5)
    np.testing.assert_allclose(evidence[[0, 5, 6]], [1, (5 / 400) ** 0.5, 0.5])
    labels = np.repeat([0, 5, 6], [100, 100, 100])
    weights = balance_draws(labels, np.zeros_like(labels), neutral_share=0.4, evidence=evidence).numpy()
    drawn = [weights[labels == emotion].sum() for emotion in (0, 5, 6)]
    np.testing.assert_allclose(drawn[0], 0.4)
    np.testing.assert_allclose(drawn[1] / drawn[2], (5 / 100) ** 0.5)


def test_the_best_head_on_the_sources_is_chosen(faces, head):
    corpora = [simulate_corpus(name, faces[1], clips=15, seed=2) for name in ("CREMA-D", "SAVEE")]
    assert choose_head([LSTMHead().eval(), head], corpora) == 1


def test_splitting_faces_keeps_every_emotion_on_both_sides_and_no_face_on_two(faces):
    first, second = split_faces(faces[0], share=0.1)
    assert set(first.labels) == set(second.labels) == set(Emotion)
    assert (len(first), len(second)) == (252, 28)
    assert {row.tobytes() for row in first.features}.isdisjoint(row.tobytes() for row in second.features)


def make_images(count: int, *, share: float = 1.0) -> FaceImages:
    """Return noise images whose labels go round the emotions, each with `share` of the votes."""
    labels = np.arange(count) % len(Emotion)
    targets = np.full((count, len(Emotion)), (1 - share) / 6, dtype=np.float32)
    targets[np.arange(count), labels] = share
    return FaceImages(np.random.default_rng(0).integers(0, 256, (count, 48, 48), dtype=np.uint8), targets, labels)


def test_divided_votes_are_left_out_except_for_neutral_faces():
    chosen = select_clear(make_images(21, share=0.6), share=0.65, limit=10)
    assert chosen.labels.tolist() == [Emotion.Neutral] * 3
    assert np.bincount(select_clear(make_images(21), share=0.65, limit=2).labels).tolist() == [2] * 7


def test_features_of_faces_are_those_of_the_backbone():
    torch.manual_seed(0)
    model, images = ResNet50().eval(), make_images(7)
    extracted = extract_faces(model, images, GREY, views=3)
    x = torch.from_numpy(images.images.astype(np.float32))[:, None].expand(-1, 3, -1, -1) - 129.4
    with torch.inference_mode():
        expected = model.features(x)
    assert extracted.variation.shape == (3, 512)
    # bfloat16, where the processor has it, keeps eight bits
    torch.testing.assert_close(
        torch.from_numpy(extracted.features), expected, rtol=0, atol=0.03 * float(expected.max())
    )
    assert extracted.features.min() >= 0


def write_inputs(folder: Path) -> Path:
    """Write a random backbone and small FER+ splits of noise; return the backbone's path."""
    torch.manual_seed(0)
    torch.save(ResNet50().state_dict(), folder / "backbone.pt")
    about = {"name": "backbone", "kind": "backbone", "license": "none", "trained_on": (), "preprocessing": GREY}
    write_record(folder / "backbone.pt", **about)
    images = make_images(28)
    votes = np.zeros((28, 10), dtype=np.uint8)
    columns = [0, 1, 3, 2, 6, 5, 4]  # of our emotions in the FER+ vote table
    votes[np.arange(28), [columns[label] for label in images.labels]] = 10
    for split in ("train", "valid"):
        np.savez(folder / f"ferplus_{split}.npz", image=images.images, votes=votes)
    return folder / "backbone.pt"


def test_features_are_read_from_the_cache_until_the_backbone_changes(tmp_path, monkeypatch):
    backbone = write_inputs(tmp_path)
    calls = []
    extract = heads_module.extract_faces
    monkeypatch.setattr(heads_module, "extract_faces", lambda *a, **k: calls.append(1) or extract(*a, **k))
    keywords = {"split": "valid", "preprocessing": GREY, "limit": 4}
    first = read_features(backbone, tmp_path, tmp_path / "cache", **keywords)
    second = read_features(backbone, tmp_path, tmp_path / "cache", **keywords)
    np.testing.assert_array_equal(first.features, second.features)
    assert len(calls) == 1
    state = torch.load(backbone, weights_only=True)
    torch.save({**state, "fc1.bias": state["fc1.bias"] + 1}, backbone)
    assert not np.array_equal(
        read_features(backbone, tmp_path, tmp_path / "cache", **keywords).features, first.features
    )


def test_one_call_writes_and_scores_a_head_for_each_corpus(tmp_path, monkeypatch):
    monkeypatch.setattr(heads_module, "CORPUS_NAMES", ("RAVDESS", "SAVEE"))  # the shortest clips
    told: list[HeadScore] = []
    preparations = []
    extract = heads_module.extract_faces
    monkeypatch.setattr(heads_module, "extract_faces", lambda *a, **k: preparations.append(a[2]) or extract(*a, **k))
    backbone, save = write_inputs(tmp_path), tmp_path / "heads"
    keywords = {"cache": tmp_path / "cache", "config": TINY, "clips": 8, "limit": 4}
    scores = train_heads(backbone, tmp_path, save, seeds=2, on_score=told.append, **keywords)
    assert sorted(file.name for file in save.glob("*.pt")) == ["RAVDESS.pt", "SAVEE.pt"]
    assert [score.held_out for score in scores] == ["RAVDESS", "SAVEE"]
    assert told == scores
    assert preparations == [GREY, GREY]  # as the backbone's record says
    assert {score.seed for score in scores} <= {0, 1}
    record = read_record(save / "SAVEE.pt")
    assert (record.kind, record.held_out, record.trained_on) == ("head", "SAVEE", ("simulated RAVDESS",))
    assert record.backbone_sha256 == hash_file(backbone)
