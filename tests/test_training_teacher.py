"""A pupil learns a teacher's features and answers, and shares its last layer."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from network_files import NarrowBackbone, random_mobilenet

from emo_affectnet.training.corpora import FaceImages
from emo_affectnet.training.fit import RECIPES, FitConfig, fit_backbone
from emo_affectnet.training.last_layer import look_at, refit
from emo_affectnet.training.starts import FACERES_PREPROCESSING
from emo_affectnet.training.teacher import Teacher, lesson_loss, take_last_layer

INPUT = replace(FACERES_PREPROCESSING, input_size=32)
TINY = FitConfig(passes=4, batch_size=8, sizes=(32,), learning_rate=3e-3)


def make_teacher() -> Teacher:
    return Teacher(random_mobilenet().requires_grad_(False), INPUT, "0" * 64)


def make_faces(count: int) -> FaceImages:
    images = np.random.default_rng(0).integers(0, 256, (count, 48, 48, 3), dtype=np.uint8)
    labels = np.arange(count) % 7
    return FaceImages(images, np.eye(7, dtype=np.float32)[labels], labels)


def test_a_pupil_that_is_the_teacher_has_nothing_to_learn_of_the_features() -> None:
    teacher = make_teacher()
    views = torch.rand(4, 3, 32, 32) * 255
    lesson = teacher.look(views, device="cpu", is_half=False)
    same = float(lesson_loss(teacher.network, views.flip(1), lesson[1], lesson))  # the network reads BGR
    entropy = float(-(lesson[1] * lesson[1].log()).sum(dim=1).mean())
    assert same == pytest.approx(entropy, abs=1e-3)
    other = lesson_loss(random_mobilenet(seed=1).requires_grad_(False), views.flip(1), lesson[1], lesson)
    assert float(other) > same + 0.5


def test_a_pupil_takes_the_teachers_last_layer_and_keeps_it(tmp_path: Path) -> None:
    teacher = make_teacher()
    pupil = fit_backbone(
        make_faces(16),
        make_faces(7),
        checkpoint=tmp_path / "backbone.checkpoint",
        preprocessing=replace(INPUT, channels="RGB"),
        config=TINY,
        start=NarrowBackbone(),
        teacher=teacher,
    )
    assert pupil is not None
    assert torch.equal(pupil.fc2.weight, teacher.network.fc2.weight)
    assert torch.equal(pupil.fc2.bias, teacher.network.fc2.bias)


def test_features_come_nearer_to_the_teachers() -> None:
    torch.manual_seed(0)
    teacher, pupil = make_teacher(), NarrowBackbone()
    take_last_layer(pupil, teacher)
    views = torch.rand(8, 3, 32, 32) * 255
    lesson = teacher.look(views, device="cpu", is_half=False)
    optimizer = torch.optim.AdamW([weight for weight in pupil.parameters() if weight.requires_grad], 3e-3)
    losses = []
    for _ in range(30):
        loss = lesson_loss(pupil, views / 255, lesson[1], lesson)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(float(loss.detach()))
    assert losses[-1] < losses[0] - 0.3


def test_a_start_keeps_its_norms_and_its_first_layers(tmp_path: Path) -> None:
    start = random_mobilenet()
    before = {name: value.clone() for name, value in start.state_dict().items()}
    config = replace(RECIPES["MobileNet"], passes=1, batch_size=8, sizes=(32,))
    trained = fit_backbone(
        make_faces(16),
        make_faces(7),
        checkpoint=tmp_path / "backbone.checkpoint",
        preprocessing=INPUT,
        config=config,
        start=start,
    )
    assert trained is not None
    after = trained.state_dict()
    changed = {name for name, value in after.items() if not torch.equal(value, before[name])}
    assert not any("running" in name for name in changed)
    assert not any(name.startswith(f"layers.{layer}.") for layer in range(config.frozen) for name in changed)
    assert {f"layers.{config.frozen}.convolution.weight", "layers.22.convolution.weight", "fc2.weight"} <= changed


def test_the_last_layer_is_fitted_to_faces_as_they_are() -> None:
    network, faces = random_mobilenet(), make_faces(70)
    weights = torch.ones(70)
    plain = look_at(network, faces, weights, INPUT, seed=0)
    assert plain.features.shape == (70, 512)
    np.testing.assert_allclose(plain.mean, plain.features.mean(axis=0), atol=1e-5)
    before = {name: value.clone() for name, value in network.state_dict().items()}
    refit(network, plain, seed=0)
    changed = {name for name, value in network.state_dict().items() if not torch.equal(value, before[name])}
    assert changed == {"fc2.weight", "fc2.bias"}
    with torch.no_grad():
        found = network.fc2(torch.from_numpy(plain.features)).argmax(dim=1).numpy()
    assert (found == plain.targets.argmax(axis=1)).mean() > 0.5  # a seventh is a guess
