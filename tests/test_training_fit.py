"""The training loop learns, goes on from its checkpoint bit for bit, and uses the recognizer's preprocessing."""

import math
from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np
import pytest
import torch
from corpus_trees import make_kdef
from network_files import NarrowBackbone, random_backbone

from emo_affectnet.engines import normalize_crops
from emo_affectnet.errors import UsageError
from emo_affectnet.models import ResNet50
from emo_affectnet.networks import read_backbone
from emo_affectnet.training import fit as module
from emo_affectnet.training.corpora import FERPLUS_LICENSE, FERPLUS_PREPROCESSING, FaceImages, scan
from emo_affectnet.training.fit import FitConfig, export_backbone, fit_backbone, one_cycle, train_backbone
from emo_affectnet.training.framing import ZOOM
from emo_affectnet.training.views import prepare, run_on_faces
from emo_affectnet.weights import PUBLISHED_PREPROCESSING, hash_file, read_record

TINY = FitConfig(passes=2, batch_size=8, sizes=(32, 48))  # two steps a pass
SMALL_INPUT = replace(FERPLUS_PREPROCESSING, input_size=48)


def make_faces(count: int, *, seed: int = 0) -> FaceImages:
    """Return "faces" of two emotions that differ by where they are bright."""
    generator = np.random.default_rng(seed)
    labels = np.arange(count) % 2
    images = generator.integers(0, 60, (count, 48, 48), dtype=np.uint8)
    images[labels == 0, :24] += 150
    images[labels == 1, 24:] += 150
    return FaceImages(images, np.eye(7, dtype=np.float32)[labels], labels)


@pytest.fixture
def narrow(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let the loop train a small network: what it does is the same with any."""
    monkeypatch.setitem(module.BACKBONES, "ResNet50", NarrowBackbone)


def fit(folder: Path, *, config: FitConfig = TINY, time_limit: float = math.inf) -> dict[str, torch.Tensor] | None:
    folder.mkdir(exist_ok=True)
    model = fit_backbone(
        make_faces(16),
        make_faces(4, seed=1),
        checkpoint=folder / "backbone.checkpoint",
        preprocessing=SMALL_INPUT,
        config=config,
        time_limit=time_limit,
    )
    return None if model is None else model.state_dict()


def test_a_resumed_run_ends_bit_for_bit_as_an_undisturbed_one(narrow: None, tmp_path: Path) -> None:
    undisturbed = fit(tmp_path / "once")
    stops = 0
    while (resumed := fit(tmp_path / "often", time_limit=0)) is None:
        stops += 1
    assert stops == 3  # after every step but the last
    assert undisturbed is not None
    assert all(torch.equal(resumed[name], value) for name, value in undisturbed.items())


def test_another_seed_gives_another_network(narrow: None, tmp_path: Path) -> None:
    one, other = fit(tmp_path / "0"), fit(tmp_path / "1", config=replace(TINY, seed=1))
    assert one is not None
    assert other is not None
    assert not torch.equal(one["fc2.weight"], other["fc2.weight"])


def test_a_checkpoint_of_other_settings_is_refused(narrow: None, tmp_path: Path) -> None:
    fit(tmp_path, time_limit=0)
    with pytest.raises(UsageError, match="other settings"):
        fit(tmp_path, config=replace(TINY, passes=3))


def test_the_learning_curve_stands_beside_the_checkpoint(narrow: None, tmp_path: Path) -> None:
    fit(tmp_path)
    header, *rows = (tmp_path / "backbone.csv").read_text().splitlines()
    assert header == "step,seconds,loss,accuracy,uar"
    assert [row.split(",")[0] for row in rows] == ["2", "4"]


def test_the_loop_learns_what_can_be_learned(narrow: None, tmp_path: Path) -> None:
    config = replace(TINY, passes=10, sizes=(32,))
    losses = []
    fit_backbone(
        make_faces(32),
        make_faces(4, seed=1),
        checkpoint=tmp_path / "backbone.checkpoint",
        preprocessing=SMALL_INPUT,
        config=config,
        on_point=lambda point: losses.append(point.loss),
    )
    assert losses[0] > 1.0  # ln 7 = 1.95 is a guess
    assert losses[-1] < 0.75  # 5 % smoothing leaves 0.3


def test_the_rate_rises_to_its_peak_and_falls_to_nothing() -> None:
    rates = [one_cycle(step, steps=100, peak=2.0, warm_up=0.2) for step in range(100)]
    assert max(rates) == rates[20] == 2.0
    assert rates[0] == pytest.approx(2 / 21)
    assert rates[-1] < 0.01
    assert rates[60] == pytest.approx(1.0)


def test_training_prepares_a_face_as_the_recognizer_does() -> None:
    grey = np.random.default_rng(0).integers(0, 256, (2, 64, 64), dtype=np.uint8)
    crops = np.repeat(grey[..., None], 3, axis=-1)
    prepared = prepare(torch.from_numpy(grey)[:, None], FERPLUS_PREPROCESSING).numpy()
    np.testing.assert_array_equal(prepared, normalize_crops(crops, FERPLUS_PREPROCESSING))


def test_the_exported_file_is_the_network_in_half_the_bytes_with_its_record(tmp_path: Path) -> None:
    fit(tmp_path)
    checkpoint = torch.load(tmp_path / "backbone.checkpoint", weights_only=True)
    network = read_backbone_from(checkpoint)
    about = {"license": FERPLUS_LICENSE, "trained_on": ("faces",), "preprocessing": FERPLUS_PREPROCESSING}
    path = export_backbone(network, tmp_path / "backbone.pt", **about)
    record = read_record(path)
    assert record is not None
    assert record.preprocessing == FERPLUS_PREPROCESSING
    assert record.size == path.stat().st_size < 50_000_000
    images = make_faces(4).images
    expected = run_on_faces(network, images, SMALL_INPUT)
    actual = run_on_faces(read_backbone(path), images, SMALL_INPUT)
    np.testing.assert_allclose(actual, expected, atol=0.02 * np.abs(expected).max())


def read_backbone_from(checkpoint: dict[str, dict[str, torch.Tensor]]) -> torch.nn.Module:
    network = ResNet50()
    network.load_state_dict(checkpoint["model"])
    return network.eval()


def test_train_backbone_reads_the_faces_and_leaves_weights_record_and_curve(tmp_path: Path) -> None:
    data, save = tmp_path / "faces", tmp_path / "mine"
    write_faces(data)
    config = replace(TINY, passes=1, sizes=(32,))
    path = train_backbone([scan("FER+", data)], save, config=config)
    assert path == save / "backbone.pt"
    assert sorted(file.name for file in save.iterdir()) == [
        "backbone.checkpoint",
        "backbone.csv",
        "backbone.json",
        "backbone.pt",
    ]
    record = read_record(path)
    assert record is not None
    assert record.temperature is not None  # it was calibrated on the valid split
    assert 0 <= record.logit_adjustment <= 1


def test_a_backbone_of_several_corpora_names_each_with_its_terms_and_policies(narrow: None, tmp_path: Path) -> None:
    write_faces(tmp_path / "faces")
    scans = [scan("FER+", tmp_path / "faces"), scan("KDEF", make_kdef(tmp_path / "kdef"), {"angle": "half"})]
    path = train_backbone(scans, tmp_path / "mine", config=replace(TINY, passes=1, sizes=(32,), side=40))
    assert path is not None
    record = read_record(path)
    assert record is not None
    assert record.trained_on == ("FER+ training faces", "KDEF training faces")
    assert record.license == f"{FERPLUS_LICENSE}; the terms of KDEF"
    assert record.policies == {"FER+.mode": "divided", "FER+.dedup": "none", "KDEF.angle": "half"}


def test_a_checkpoint_from_faces_of_another_side_is_refused(narrow: None, tmp_path: Path) -> None:
    write_faces(tmp_path / "faces")
    run = partial(train_backbone, [scan("FER+", tmp_path / "faces")], tmp_path / "mine", time_limit=0)
    config = replace(TINY, passes=4)  # a step each
    assert run(config=config) is None
    assert run(config=replace(config, side=round(TINY.sizes[-1] / ZOOM))) is None  # which is what the sizes give
    with pytest.raises(UsageError, match="other settings"):
        run(config=replace(config, side=48))


def test_a_run_that_stops_in_its_first_pass_leaves_no_learning_curve(narrow: None, tmp_path: Path) -> None:
    """It was a table without a line, which could not be drawn and ended the command with an error."""
    assert fit(tmp_path, time_limit=0) is None
    assert [path.name for path in tmp_path.iterdir()] == ["backbone.checkpoint"]


def write_faces(data: Path, count: int = 8) -> None:
    """Write FER+ splits of two emotions."""
    data.mkdir()
    for split in ("train", "valid"):
        faces = make_faces(count)
        votes = np.zeros((count, 10), np.uint8)
        votes[np.arange(count), faces.labels] = 10
        np.savez(data / f"ferplus_{split}.npz", image=faces.images, votes=votes)


def test_a_run_can_begin_with_the_weights_of_another(tmp_path: Path) -> None:
    write_faces(tmp_path / "faces")
    start = tmp_path / "start.pt"
    network = random_backbone(seed=5)
    torch.save(network.state_dict(), start)
    still = replace(TINY, passes=1, sizes=(32,), learning_rate=1e-12, weight_decay=0.0)
    path = train_backbone([scan("FER+", tmp_path / "faces")], tmp_path / "mine", config=still, start=start)
    assert path is not None
    torch.testing.assert_close(read_backbone(path).fc1.weight, network.fc1.weight, atol=1e-3, rtol=0)  # fp16
    state = torch.load(tmp_path / "mine" / "backbone.checkpoint", weights_only=True)
    assert state["config"]["start_sha256"] == hash_file(start)


def test_a_checkpoint_from_other_starting_weights_is_refused(tmp_path: Path) -> None:
    write_faces(tmp_path / "faces")
    for seed, name in enumerate(("one", "other")):
        torch.save(random_backbone(seed).state_dict(), tmp_path / f"{name}.pt")
    run = partial(train_backbone, [scan("FER+", tmp_path / "faces")], tmp_path / "mine", config=TINY, time_limit=0)
    assert run(start=tmp_path / "one.pt") is None
    with pytest.raises(UsageError, match="other settings"):
        run(start=tmp_path / "other.pt")


def test_colour_faces_train_too(tmp_path: Path) -> None:
    grey = make_faces(16)
    coloured = replace(grey, images=np.repeat(grey.images[..., None], 3, axis=-1))
    model = fit_backbone(
        coloured,
        coloured,
        checkpoint=tmp_path / "backbone.checkpoint",
        preprocessing=replace(PUBLISHED_PREPROCESSING, input_size=32),
        config=replace(TINY, passes=1, sizes=(32,)),
    )
    assert model is not None


@pytest.mark.gpu
def test_a_run_on_the_gpu_learns_and_its_checkpoint_goes_on_on_the_processor(tmp_path: Path) -> None:
    keywords = {"checkpoint": tmp_path / "backbone.checkpoint", "preprocessing": SMALL_INPUT, "config": TINY}
    assert fit_backbone(make_faces(16), make_faces(4), device="cuda", time_limit=0, **keywords) is None
    assert fit_backbone(make_faces(16), make_faces(4), device="cpu", **keywords) is not None
