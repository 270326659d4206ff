"""Records, hashes and formats of weight files: small files made here, and the bundled folder as it stands."""

import hashlib
import json
import pickle
import re
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import h5py
import pytest
import torch

from emo_affectnet import weights as module
from emo_affectnet.errors import CorruptWeights, MissingWeights
from emo_affectnet.weight_sets import resolve
from emo_affectnet.weights import (
    CORPUS_NAMES,
    Preprocessing,
    WeightFile,
    bundled_folder,
    hash_file,
    read_record,
    record_path,
    sniff_format,
    verify,
    write_record,
)

OWN_PREPROCESSING = Preprocessing(
    input_size=64, channels="grey", mean=(1.5, 2.5, 3.5), interpolation="linear", crop_margin=(0.1, 0.2, 0.3, -0.4)
)
ABOUT = {"license": "CC0", "trained_on": ("faces", "more faces")}
ABC_SHA256 = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"  # of "abc": FIPS 180-2, appendix B.1


def write_backbone(path: Path, preprocessing: Preprocessing | None = OWN_PREPROCESSING) -> WeightFile:
    path.write_bytes(b"abc")
    return write_record(path, name="backbone", kind="backbone", preprocessing=preprocessing, **ABOUT)


# Records


def test_record_comes_back_as_it_was_written(tmp_path: Path) -> None:
    written = write_backbone(tmp_path / "backbone.pt")
    assert read_record(tmp_path / "backbone.pt") == written
    assert written == WeightFile(
        name="backbone",
        kind="backbone",
        filename="backbone.pt",
        sha256=ABC_SHA256,
        size=3,
        license="CC0",
        trained_on=("faces", "more faces"),
        held_out=None,
        preprocessing=OWN_PREPROCESSING,
        backbone_sha256=None,
        network=None,
    )
    assert sorted(path.name for path in tmp_path.iterdir()) == ["backbone.json", "backbone.pt"]


def test_record_of_a_head_keeps_what_it_never_saw(tmp_path: Path) -> None:
    (tmp_path / "Aff-Wild2.pt").write_bytes(b"abc")
    about = {"held_out": "Aff-Wild2", "backbone_sha256": "0" * 64, **ABOUT}
    write_record(tmp_path / "Aff-Wild2.pt", name="Aff-Wild2", kind="head", **about)
    record = read_record(tmp_path / "Aff-Wild2.pt")
    assert record is not None
    assert (record.held_out, record.backbone_sha256, record.preprocessing) == ("Aff-Wild2", "0" * 64, None)


def test_file_without_a_record_has_none(tmp_path: Path) -> None:
    assert record_path(tmp_path / "backbone.pth") == tmp_path / "backbone.json"
    assert read_record(tmp_path / "backbone.pth") is None


def test_hash_of_a_file_longer_than_one_read(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"a" * 1_000_000)
    # FIPS 180-2, appendix B.3
    assert hash_file(tmp_path / "file") == "cdc76e5c9914fb9281a1c7e284d73e67f1809a48a497200e046d39ccc7112cd0"
    (tmp_path / "file").write_bytes(b"a" * (1 << 20) + b"b")
    assert hash_file(tmp_path / "file") == hashlib.sha256(b"a" * (1 << 20) + b"b").hexdigest()


def test_file_is_read_once_for_its_hash_until_it_changes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    begun = []

    def begin() -> Any:
        begun.append(True)
        return hashlib.new("sha256")

    monkeypatch.setattr(module, "SETTLED_NS", 0)
    monkeypatch.setattr(hashlib, "sha256", begin)
    path = tmp_path / "file"
    path.write_bytes(b"one")
    time.sleep(0.02)  # a tick of the file system's clock
    assert hash_file(path) == hash_file(path) == hashlib.new("sha256", b"one").hexdigest()
    assert len(begun) == 1
    path.write_bytes(b"two")
    assert hash_file(path) == hashlib.new("sha256", b"two").hexdigest()
    assert len(begun) == 2


def test_file_that_changes_within_a_tick_of_the_clock_is_read_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "file"
    path.write_bytes(b"one")
    about = path.stat()
    monkeypatch.setattr(Path, "stat", lambda self: about)  # the clock of a file system that counts in seconds
    hash_file(path)
    path.write_bytes(b"two")
    assert hash_file(path) == hashlib.sha256(b"two").hexdigest()


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("{", "cannot be read"),  # cut short
        ("null", "cannot be read"),  # JSON, but no object: once an AttributeError from deep inside
        ('"text"', "cannot be read"),
        ("3", "cannot be read"),
        ("[]", "lacks 'preprocessing'"),
        ("{}", "lacks 'preprocessing'"),
        ('{"preprocessing": 3}', "cannot be read"),
        ('{"preprocessing": null, "colour": "red"}', "colour"),
        ("\udcff", "cannot be read"),  # no UTF-8
    ],
)
def test_bad_record_is_named_with_its_file(tmp_path: Path, text: str, words: str) -> None:
    record_path(tmp_path / "backbone.pt").write_bytes(text.encode("utf-8", "surrogateescape"))
    with pytest.raises(CorruptWeights) as caught:
        read_record(tmp_path / "backbone.pt")
    message = str(caught.value)
    assert message.startswith(f"{tmp_path / 'backbone.json'} should be the JSON record of backbone.pt, but it ")
    assert words in message
    assert message.endswith(". Get both files again.")


@pytest.mark.parametrize(
    ("field", "value", "words"),
    [
        ("channels", "rgb", "channels must be one of RGB, BGR, grey, not 'rgb'"),  # once read as RGB, silently
        ("interpolation", "cubic", "interpolation must be one of area, nearest, linear, not 'cubic'"),
        ("mean", [1.0, 2.0], "a mean has 3 values"),
        ("crop_margin", [0.0], "a crop_margin 4"),
        ("input_size", 0, "at least 1 px"),
    ],
)
def test_preprocessing_that_nothing_could_follow_is_refused(
    tmp_path: Path, field: str, value: object, words: str
) -> None:
    path = tmp_path / "backbone.pt"
    write_backbone(path)
    fields = json.loads(record_path(path).read_text(encoding="utf-8"))
    fields["preprocessing"][field] = value
    record_path(path).write_text(json.dumps(fields), encoding="utf-8")
    with pytest.raises(CorruptWeights, match=re.escape(words)):
        read_record(path)


@pytest.mark.parametrize("digest", ["", "ab", "G" * 64, ABC_SHA256.upper()])
def test_hash_of_a_record_has_64_lower_case_digits(tmp_path: Path, digest: str) -> None:
    with pytest.raises(ValueError, match="64 hexadecimal digits"):
        replace(write_backbone(tmp_path / "backbone.pt"), sha256=digest)


# Verification


def test_other_file_than_recorded_is_told_with_both_hashes(tmp_path: Path) -> None:
    path = tmp_path / "backbone.pt"
    write_backbone(path)
    verify(path)
    path.write_bytes(b"")
    with pytest.raises(CorruptWeights) as caught:
        verify(path)
    # e3b0c4...: the well-known SHA-256 of nothing
    assert str(caught.value) == (
        f"{path} is not the file its record describes: expected SHA-256 ba7816bf8f01… of 3 bytes, "
        "came e3b0c44298fc… of 0. Get the file again."
    )


@pytest.mark.parametrize("name", ["missing.pt", "x" * 300])
def test_missing_file_is_named(tmp_path: Path, name: str) -> None:
    for check in (verify, sniff_format):
        with pytest.raises(MissingWeights) as caught:
            check(tmp_path / name)
        assert str(caught.value) == f"Expected a weight file at {tmp_path / name}, but there is none. Check the path."


def test_folder_is_no_weight_file(tmp_path: Path) -> None:
    with pytest.raises(MissingWeights, match="but it is a folder"):
        verify(tmp_path)


# Formats, by content


def save_script(path: Path) -> None:
    torch.jit.script(torch.nn.Linear(2, 2)).save(path)


def save_keras(path: Path) -> None:
    with h5py.File(path, "w") as file:
        file.create_group("model_weights")


@pytest.mark.filterwarnings("ignore:`torch.jit.(script|load)` is deprecated:DeprecationWarning")
@pytest.mark.parametrize(
    ("save", "expected"),
    [
        (lambda path: torch.save({"weight": torch.zeros(2)}, path), "state dict"),
        (save_script, "TorchScript"),
        (save_keras, "Keras"),
    ],
    ids=["state dict", "TorchScript", "Keras"],
)
@pytest.mark.parametrize("name", ["weights.pt", "weights.h5"])  # the suffix decides nothing
def test_format_is_told_by_content(tmp_path: Path, save, expected: str, name: str) -> None:
    save(tmp_path / name)
    assert sniff_format(tmp_path / name) == expected


def saved_bytes(folder: Path) -> bytes:
    torch.save({"weight": torch.zeros(20)}, folder / "whole.pt")
    return (folder / "whole.pt").read_bytes()


def spoil_directory(data: bytes) -> bytes:
    return data.replace(b"PK\x01\x02", b"PK\x01\x09")  # the zip's list of its files


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda data: b"", "an empty file (0 bytes)"),
        (lambda data: data[:-100], "a truncated or damaged one"),
        (lambda data: data[:20], "a truncated or damaged one (20 bytes)"),
        (spoil_directory, "a truncated or damaged one"),
        (lambda data: b"not weights\n", "something else (12 bytes)"),
        (lambda data: pickle.dumps({"weight": [0.0]}), "something else"),
    ],
    ids=["empty", "truncated", "its start only", "damaged directory", "text", "pickle"],
)
def test_what_is_no_weight_file_is_described(tmp_path: Path, change, words: str) -> None:
    path = tmp_path / "weights.pt"
    path.write_bytes(change(saved_bytes(tmp_path)))
    with pytest.raises(CorruptWeights) as caught:
        sniff_format(path)
    message = str(caught.value)
    assert message.startswith(f"{path} should be a PyTorch file (a state dict or TorchScript), but it is {words}")
    assert message.endswith("Get the file again.")


def test_lfs_pointer_is_told_with_the_command_that_replaces_it(tmp_path: Path) -> None:
    pointer = b"version https://git-lfs.github.com/spec/v1\noid sha256:00\nsize 99\n"
    (tmp_path / "backbone.pt").write_bytes(pointer)
    with pytest.raises(CorruptWeights) as caught:
        sniff_format(tmp_path / "backbone.pt")
    assert f"is a git-lfs pointer, a text of {len(pointer)} bytes" in str(caught.value)
    assert "'git lfs pull'" in str(caught.value)


# The bundled folder


def test_bundled_files_are_what_their_records_say() -> None:
    files = resolve("bundled")
    assert files.backbone.parent == resolve().backbone.parent == bundled_folder()
    assert tuple(files.heads) == CORPUS_NAMES
    backbone = read_record(files.backbone)
    assert backbone is not None
    assert (backbone.kind, backbone.preprocessing) == ("backbone", files.preprocessing)


@pytest.mark.parametrize("name", CORPUS_NAMES)
def test_bundled_head_is_named_after_the_corpus_it_never_saw(name: str) -> None:
    record = read_record(bundled_folder() / f"{name}.pt")
    assert record is not None
    assert (record.name, record.held_out, record.kind, record.filename) == (name, name, "head", f"{name}.pt")
    seen = {corpus for corpus in CORPUS_NAMES if any(corpus in source for source in record.trained_on)}
    assert seen == set(CORPUS_NAMES) - {name}
    assert sniff_format(bundled_folder() / f"{name}.pt") == "TorchScript"


def test_bundled_files_have_at_most_90_megabytes() -> None:
    sizes = {path.name: path.stat().st_size for path in bundled_folder().iterdir()}
    assert sum(sizes.values()) <= 90e6
    assert set(sizes) >= {"backbone.pt", "backbone.json"}
    for name in ("backbone", *CORPUS_NAMES):
        record = read_record(bundled_folder() / f"{name}.pt")
        assert record is not None
        assert record.size == sizes[f"{name}.pt"]


def test_installed_package_brings_its_own_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "__file__", str(tmp_path / "package" / "weights.py"))
    assert bundled_folder() == tmp_path / "weights" / "bundled"
    (tmp_path / "package" / "bundled").mkdir(parents=True)
    assert bundled_folder() == tmp_path / "package" / "bundled"
