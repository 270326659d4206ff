"""Which files make an analysis: the bundled set and the published one, with files of one's own in their places."""

from inspect import signature
from pathlib import Path

import numpy as np
import pytest
from test_weights import ABOUT, OWN_PREPROCESSING, write_backbone

from emo_affectnet import store, weight_sets
from emo_affectnet.engines import TorchEngine
from emo_affectnet.errors import CorruptWeights, MissingWeights, UnknownName, UsageError
from emo_affectnet.weight_sets import (
    BUNDLED,
    DEFAULT_WEIGHTS,
    WEIGHTS,
    find_thresholds,
    resolve,
    resolve_backbone,
)
from emo_affectnet.weights import (
    CORPUS_NAMES,
    PUBLISHED_PREPROCESSING,
    Preprocessing,
    hash_file,
    read_record,
    write_record,
)


def write_set(folder: Path) -> None:
    """A weight set of small files that only `resolve` reads."""
    write_backbone(folder / "backbone.pt")
    for name in CORPUS_NAMES:
        (folder / f"{name}.pt").write_bytes(name.encode())
        write_record(folder / f"{name}.pt", name=name, kind="head", held_out=name, **ABOUT)


@pytest.fixture
def own_set(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    folder = tmp_path / "own"
    folder.mkdir()
    write_set(folder)
    monkeypatch.setattr(weight_sets, "bundled_folder", lambda: folder)
    return folder


def test_set_resolves_to_a_backbone_and_six_heads(own_set: Path) -> None:
    files = resolve("bundled")
    assert files.backbone == own_set / "backbone.pt"
    assert files.heads == {name: own_set / f"{name}.pt" for name in CORPUS_NAMES}
    assert list(files.heads) == list(CORPUS_NAMES)
    assert files.preprocessing == OWN_PREPROCESSING


def test_files_by_path_take_the_place_of_the_sets_own(own_set: Path, tmp_path: Path) -> None:
    backbone, head = tmp_path / "mine.pth", tmp_path / "my head.pt"
    backbone.write_bytes(b"other")
    head.write_bytes(b"other")
    files = resolve("bundled", backbone=backbone, head=head)
    assert (files.backbone, files.heads) == (backbone, {"my head": head})
    assert resolve("bundled", head=head).backbone == own_set / "backbone.pt"
    assert list(resolve("bundled", backbone=backbone).heads) == list(CORPUS_NAMES)


def test_backbone_without_a_record_is_read_as_the_published_one(own_set: Path, tmp_path: Path) -> None:
    backbone = tmp_path / "published.pt"
    backbone.write_bytes(b"abc")
    # run.py of the original and keras-vggface's means of VGGFace2, in B, G, R
    assert resolve("bundled", backbone=backbone).preprocessing == Preprocessing(
        input_size=224,
        channels="BGR",
        mean=(91.4953, 103.8827, 131.0912),
        interpolation="area",
        crop_margin=(0.0, 0.0, 0.0, 0.0),
    )
    write_backbone(backbone)
    assert resolve("bundled", backbone=backbone).preprocessing == OWN_PREPROCESSING


@pytest.mark.parametrize("name", ["backbone", "SAVEE"])
def test_set_without_one_of_its_records_is_refused(own_set: Path, name: str) -> None:
    # Without the record a backbone of one's own was read as the published one is, and nothing was checked.
    (own_set / f"{name}.json").unlink()
    with pytest.raises(MissingWeights) as caught:
        resolve("bundled")
    assert str(caught.value).startswith(f"Expected the record of {name}.pt at {own_set / name}.json, but there is none")


def test_damaged_or_missing_file_of_a_set_is_refused(own_set: Path) -> None:
    (own_set / "RAMAS.pt").write_bytes(b"other")
    with pytest.raises(CorruptWeights, match=r"RAMAS\.pt is not the file its record describes"):
        resolve("bundled")
    (own_set / "RAMAS.pt").unlink()
    with pytest.raises(MissingWeights, match=r"Expected a weight file at .*RAMAS\.pt"):
        resolve("bundled")


def test_unknown_set_lists_the_valid_ones(own_set: Path) -> None:
    with pytest.raises(
        UnknownName,
        match=r"There is no weight set named 'mine'; choose one of: bundled, bundled-mobile, emo-affectnet\.",
    ):
        resolve("mine")


def test_heads_of_another_backbone_are_warned_of(own_set: Path, tmp_path: Path, caplog) -> None:  # type: ignore[no-untyped-def]
    path = own_set / "SAVEE.pt"
    own = hash_file(own_set / "backbone.pt")
    write_record(path, name="SAVEE", kind="head", held_out="SAVEE", backbone_sha256=own, **ABOUT)
    resolve("bundled")
    assert not caplog.records
    stranger = tmp_path / "stranger.pt"
    stranger.write_bytes(b"other")
    resolve("bundled", backbone=stranger)
    assert "another backbone than" in caplog.text
    assert "stranger.pt" in caplog.text


def test_a_head_may_belong_to_several_backbones(own_set: Path, caplog) -> None:  # type: ignore[no-untyped-def]
    own = hash_file(own_set / "backbone.pt")
    about = {"name": "SAVEE", "kind": "head", "held_out": "SAVEE", **ABOUT}
    write_record(own_set / "SAVEE.pt", backbone_sha256=("a" * 64, own), **about)
    resolve("bundled")
    assert not caplog.records
    record = read_record(own_set / "SAVEE.pt")
    assert record is not None
    assert record.backbones == record.backbone_sha256 == ("a" * 64, own)
    write_record(own_set / "SAVEE.pt", backbone_sha256=("a" * 64, "b" * 64), **about)
    resolve("bundled")
    assert "another backbone than" in caplog.text


# The bundled sets


def test_each_bundled_set_has_files_of_its_own(own_set: Path) -> None:
    mobile = BUNDLED["bundled-mobile"]
    assert not mobile.is_here
    with pytest.raises(MissingWeights, match=r"Expected a weight file at .*mobile\.pt, but there is none"):
        resolve("bundled-mobile")
    resolve("bundled")  # which does not need the other
    write_backbone(own_set / "mobile.pt")
    assert mobile.is_here
    files = resolve("bundled-mobile")
    assert files.backbone == own_set / "mobile.pt"
    assert files.heads == {}  # it averages single faces
    assert resolve("bundled").backbone == own_set / "backbone.pt"


def test_the_default_set_is_that_of_python_and_the_command_line() -> None:
    from emo_affectnet.cli import analyze
    from emo_affectnet.recognizer import EmotionRecognizer

    defaults = [
        signature(function).parameters[name].default
        for function, name in ((resolve, "name"), (resolve_backbone, "name"), (EmotionRecognizer, "weights"))
    ]
    options = {option.name: option.default for option in analyze.params}
    assert {*defaults, options["weights"]} == {DEFAULT_WEIGHTS}
    assert DEFAULT_WEIGHTS in WEIGHTS


def test_thresholds_are_those_of_the_set(own_set: Path) -> None:
    (own_set / BUNDLED["bundled"].thresholds).write_text("{}")
    assert find_thresholds("bundled") == own_set / "adaptive.json"
    for name in ("bundled-mobile", "emo-affectnet"):
        with pytest.raises(UsageError, match=f"there are none for the weight set {name}. Use the set bundled"):
            find_thresholds(name)


# The published set


def test_the_published_set_is_read_as_published(published: None) -> None:
    files = resolve("emo-affectnet")
    assert files.backbone.name == "FER_static_ResNet50_AffectNet.pt"
    assert [path.name for path in files.heads.values()] == [f"FER_dinamic_LSTM_{name}.pt" for name in CORPUS_NAMES]
    assert files.preprocessing == PUBLISHED_PREPROCESSING
    engine = TorchEngine(files)
    features = engine.embed(np.zeros((1, 224, 224, 3), np.uint8))
    assert engine.classify(np.repeat(features[:, None], 10, axis=1)).shape == (6, 1, 7)


def test_the_published_set_says_how_to_get_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("EMO_AFFECTNET_WEIGHTS", str(tmp_path / "place"))
    monkeypatch.setattr(store, "places", lambda: [tmp_path / "place"])
    with pytest.raises(
        MissingWeights, match="the backbone is missing. Run 'emo-affectnet weights fetch emo-affectnet'"
    ):
        resolve("emo-affectnet")
