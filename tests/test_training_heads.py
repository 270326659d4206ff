"""The temporal heads: what they learn from clips, what they never see, and the files they become."""

import warnings
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from test_training_simulate import make_faces

from emo_affectnet.emotions import Emotion
from emo_affectnet.errors import CorpusError, UnknownName
from emo_affectnet.models import LSTMHead
from emo_affectnet.training.features import ClipFeatures, CorpusFeatures, cut_windows
from emo_affectnet.training.heads import (
    HeadConfig,
    balance_draws,
    choose_head,
    export_head,
    fit_head,
    join_windows,
    leave_out,
    make_study,
    predict_windows,
    train_heads,
)
from emo_affectnet.training.simulate import FaceFeatures, simulate_corpus
from emo_affectnet.training.stills import simulate_all, weigh_evidence
from emo_affectnet.weights import CORPUS_NAMES, hash_file, read_record

HELD_OUT = "RAVDESS"
SMALL = HeadConfig(steps=50, batch_size=32, learning_rate=2e-3, average_decay=0.9)
TINY = HeadConfig(steps=2, batch_size=8)


@pytest.fixture(scope="module")
def faces() -> tuple[FaceFeatures, FaceFeatures]:
    """Faces to train on, and others of the same emotions to test on."""
    return make_faces(faces_per_emotion=40, seed=0), make_faces(faces_per_emotion=15, seed=1)


@pytest.fixture(scope="module")
def head(faces: tuple[FaceFeatures, FaceFeatures]) -> LSTMHead:
    """The head of HELD_OUT, trained on 40 clips of each other corpus."""
    windows, labels, groups = join_windows(leave_out(simulate_all(faces[0], clips=40, seed=0), HELD_OUT))
    return fit_head(windows, labels, groups=groups, config=SMALL)


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
        windows, _, _ = join_windows(leave_out(corpora, name))
        rows = {window.tobytes() for window in windows}
        assert rows.isdisjoint(moving[name])
        assert all(rows.issuperset(moving[other]) for other in CORPUS_NAMES if other != name)


def test_leaving_out_an_unknown_corpus_is_an_error():
    with pytest.raises(UnknownName, match="AFEW"):
        leave_out({"SAVEE": CorpusFeatures("SAVEE", ())}, "AFEW")


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


def test_the_best_head_on_the_sources_is_chosen(faces, head):
    corpora = [simulate_corpus(name, faces[1], clips=15, seed=2) for name in ("CREMA-D", "SAVEE")]
    assert choose_head([LSTMHead().eval(), head], corpora) == 1


def test_an_emotion_with_few_faces_is_drawn_less():
    faces = FaceFeatures(np.zeros((505, 512), np.float32), np.repeat([0, 6, 5], [400, 100, 5]))
    evidence = weigh_evidence(faces, balance=0.5)
    np.testing.assert_allclose(evidence[[0, 5, 6]], [1, (5 / 400) ** 0.5, 0.5])
    labels = np.repeat([0, 5, 6], [100, 100, 100])
    weights = balance_draws(labels, np.zeros_like(labels), neutral_share=0.4, evidence=evidence).numpy()
    drawn = [weights[labels == emotion].sum() for emotion in (0, 5, 6)]
    np.testing.assert_allclose(drawn[0], 0.4)
    np.testing.assert_allclose(drawn[1] / drawn[2], (5 / 100) ** 0.5)


def make_clip(emotion: int, *, speaker: str, name: str, samples: int = 12) -> ClipFeatures:
    """Return a clip whose features light up a place of the emotion's own."""
    features = np.full((samples, 512), 0.1, np.float32)
    features[:, 40 * emotion : 40 * emotion + 40] = 2
    mass = np.tile(np.eye(7, dtype=np.float32)[emotion], (samples, 1))
    return ClipFeatures(name, speaker, emotion, np.arange(samples) / 5, features, mass, np.arange(samples) * 6)


def make_corpus(name: str, *, speakers: int = 3, policies: dict[str, str] | None = None) -> CorpusFeatures:
    """Return a corpus in which every speaker shows each emotion once."""
    clips = tuple(
        make_clip(emotion, speaker=f"{name} {speaker}", name=f"{name} {speaker} {emotion}")
        for speaker in range(speakers)
        for emotion in range(7)
    )
    return CorpusFeatures(name, clips, policies=policies or {})


def test_a_study_keeps_speakers_apart_to_choose_by_and_whole_corpora_to_score_on() -> None:
    corpora = [make_corpus("RAVDESS", speakers=5), make_corpus("SAVEE")]
    study = make_study(corpora)
    assert dict(study.targets) == {corpus.name: corpus for corpus in corpora}
    for name, kept_apart in (("RAVDESS", 1), ("SAVEE", 1)):
        fitting, choosing = ({clip.speaker for clip in part[name].clips} for part in (study.fitting, study.choosing))
        assert len(choosing) == kept_apart
        assert fitting.isdisjoint(choosing)


@pytest.mark.parametrize(
    ("corpora", "told"),
    [
        pytest.param([make_corpus("SAVEE")], "two corpora or more", id="nothing is left to learn from"),
        pytest.param(
            [make_corpus("SAVEE"), CorpusFeatures("RAMAS", (make_clip(0, speaker="a", name="a", samples=0),))],
            "No labelled clip of RAMAS shows a face",
            id="no face was found",
        ),
    ],
)
def test_a_study_that_cannot_be_run_is_refused(corpora: list[CorpusFeatures], told: str) -> None:
    with pytest.raises(CorpusError, match=told):
        make_study(corpora)


def test_one_call_trains_and_records_a_head_for_each_corpus(tmp_path: Path) -> None:
    backbone = tmp_path / "backbone.pt"
    backbone.write_bytes(b"whose features they are")
    corpora = [make_corpus("RAVDESS", policies={"calm": "drop"}), make_corpus("SAVEE"), make_corpus("CREMA-D")]
    told = []
    trained = train_heads(
        make_study(corpora), tmp_path / "heads", backbone=backbone, config=TINY, seeds=2, on_head=told.append
    )
    assert list(trained) == ["RAVDESS", "SAVEE", "CREMA-D"] == [each.held_out for each in told]
    first, second = trained["SAVEE"].heads
    assert not torch.equal(first.fc.weight, second.fc.weight)
    record = read_record(tmp_path / "heads" / "SAVEE.pt")
    assert record is not None
    assert (record.kind, record.held_out, record.trained_on) == ("head", "SAVEE", ("RAVDESS", "CREMA-D"))
    assert record.policies == {"RAVDESS.calm": "drop"}
    assert record.backbone_sha256 == hash_file(backbone)


def test_a_record_calls_simulated_corpora_simulated(tmp_path: Path) -> None:
    backbone = tmp_path / "backbone.pt"
    backbone.write_bytes(b"whose features they are")
    corpora = [replace(make_corpus(name), is_simulated=True) for name in ("RAVDESS", "SAVEE")]
    train_heads(make_study(corpora), tmp_path, backbone=backbone, config=TINY, seeds=1)
    record = read_record(tmp_path / "SAVEE.pt")
    assert record is not None
    assert record.trained_on == ("simulated RAVDESS",)


def test_the_held_out_corpus_changes_nothing_of_its_head(tmp_path: Path) -> None:
    backbone = tmp_path / "backbone.pt"
    backbone.write_bytes(b"whose features they are")
    others = [make_corpus("RAVDESS"), make_corpus("CREMA-D")]
    weights = [
        train_heads(
            make_study([*others, make_corpus("SAVEE", speakers=speakers)]), tmp_path, backbone=backbone, config=TINY
        )["SAVEE"]
        .heads[0]
        .fc.weight
        for speakers in (2, 4)
    ]
    assert torch.equal(*weights)
