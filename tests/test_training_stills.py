"""Still faces become features, and features a study of simulated corpora."""

from pathlib import Path

import numpy as np
import pytest
import torch
from network_files import random_backbone
from test_training_simulate import make_faces

from emo_affectnet.emotions import Emotion
from emo_affectnet.models import ResNet50
from emo_affectnet.training import stills
from emo_affectnet.training.corpora import FERPLUS_LICENSE, FaceImages
from emo_affectnet.training.stills import extract_faces, read_features, select_clear, simulate_study, split_faces
from emo_affectnet.weights import Preprocessing, write_record

GREY = Preprocessing(48, "grey", (129.4,) * 3, "area", crop_margin=(0.0,) * 4)


def test_splitting_faces_keeps_every_emotion_on_both_sides_and_no_face_on_two():
    first, second = split_faces(make_faces(faces_per_emotion=40), share=0.1)
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
    torch.save(random_backbone().state_dict(), folder / "backbone.pt")
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
    extract = stills.extract_faces
    monkeypatch.setattr(stills, "extract_faces", lambda *a, **k: calls.append(1) or extract(*a, **k))
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


def test_a_simulated_study_has_all_six_corpora_and_says_what_it_is(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    preparations = []
    extract = stills.extract_faces
    monkeypatch.setattr(stills, "extract_faces", lambda *a, **k: preparations.append(a[2]) or extract(*a, **k))
    study = simulate_study(write_inputs(tmp_path), tmp_path, tmp_path / "cache", clips=8, limit=4)
    assert preparations == [GREY, GREY]  # as the backbone's record says
    assert tuple(study.targets) == tuple(study.fitting) == stills.CORPUS_NAMES
    assert all(corpus.title == f"simulated {name}" for name, corpus in study.targets.items())
    assert [len(corpus.clips) for corpus in study.targets.values()] == [8] * 6
    assert [len(corpus.clips) for corpus in study.choosing.values()] == [2] * 6
    assert study.license == FERPLUS_LICENSE
    assert study.evidence.tolist() == [1.0] * 7  # as many faces of each emotion
