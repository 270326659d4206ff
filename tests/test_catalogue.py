"""What the catalogue says of the published files: hashes, addresses, what each head never saw."""

import re

import pytest

from emo_affectnet.catalogue import CATALOGUE, COLLECTIONS, Entry
from emo_affectnet.weights import CORPUS_NAMES

ENTRIES = list(CATALOGUE.values())
HEADS = [entry for entry in ENTRIES if entry.kind == "head"]


@pytest.mark.parametrize("entry", ENTRIES, ids=lambda entry: entry.name)
def test_hashes_and_addresses_have_the_form_they_should(entry: Entry) -> None:
    assert CATALOGUE[entry.name] is entry
    assert entry.sha256 is None or re.fullmatch("[0-9a-f]{64}", entry.sha256)
    assert entry.git_blob is None or re.fullmatch("[0-9a-f]{40}", entry.git_blob)
    assert entry.size is None or entry.size > 1_000_000  # bytes
    assert entry.page.startswith("https://")
    for url in entry.urls:
        assert url.startswith("https://")
        assert url.endswith(f"/{entry.filename}")
    assert entry.kind in ("backbone", "head", "sibling", "engagement")
    assert entry.collection in COLLECTIONS
    assert entry.license
    assert entry.trained_on


def test_no_two_files_have_a_hash_or_a_filename_in_common() -> None:
    for hashes in ([entry.sha256 for entry in ENTRIES], [entry.git_blob for entry in ENTRIES]):
        known = [value for value in hashes if value]
        assert len(known) == len(set(known))
    assert len({entry.filename for entry in ENTRIES}) == len(ENTRIES)  # a name tells what is imported
    records = [entry.filename.rpartition(".")[0] for entry in ENTRIES if entry.kind in ("backbone", "head")]
    assert len(records) == len(set(records))  # each has its own JSON record beside it


def test_collections_are_what_one_fetch_brings() -> None:
    # the seven state dicts on the model card; the seven ONNX files, mobilenet_7 and the engagement classifier
    assert COLLECTIONS["emo-affectnet"] == tuple(f"emo-affectnet/{name}" for name in ("backbone", *CORPUS_NAMES))
    assert len(COLLECTIONS["hsemotion"]) == 9
    for collection, names in COLLECTIONS.items():
        entries = [CATALOGUE[name] for name in names]
        assert {entry.collection for entry in entries} == {collection}
        assert all(entry.urls for entry in entries)
    assert not set(COLLECTIONS) & set(CATALOGUE)


def test_published_state_dicts_come_from_the_model_card() -> None:
    assert [CATALOGUE[name].filename for name in COLLECTIONS["emo-affectnet"]] == [
        "FER_static_ResNet50_AffectNet.pt",
        *(f"FER_dinamic_LSTM_{corpus}.pt" for corpus in CORPUS_NAMES),
    ]
    backbone = CATALOGUE["emo-affectnet/backbone"]
    assert backbone.urls == (
        "https://huggingface.co/ElenaRyumina/face_emotion_recognition/resolve/main/FER_static_ResNet50_AffectNet.pt",
    )
    assert backbone.size == 98_562_934  # its git-lfs pointer
    unknown = [name for name in COLLECTIONS["emo-affectnet"] if not CATALOGUE[name].sha256]
    assert unknown == ["emo-affectnet/CREMA-D", "emo-affectnet/SAVEE"]


def test_siblings_are_pinned_by_their_commit_first_and_by_their_blob_always() -> None:
    siblings = [entry for entry in ENTRIES if entry.collection == "hsemotion"]
    assert all(entry.git_blob for entry in siblings)
    for name in COLLECTIONS["hsemotion"]:
        first, mirror = CATALOGUE[name].urls
        assert "/sb-ai-lab/EmotiEffLib/520a051c64cd191521e5934655314e769a319684/models/" in first
        assert "/av-savchenko/face-emotion-recognition/main/models/" in mirror
        assert first.partition("/models/")[2] == mirror.partition("/models/")[2]


@pytest.mark.parametrize("entry", HEADS, ids=lambda entry: entry.name)
def test_head_never_saw_the_corpus_it_is_named_after(entry: Entry) -> None:
    assert entry.held_out
    assert entry.name.removeprefix("emo-affectnet/").removesuffix(".pth").removesuffix(".h5") == entry.held_out
    assert entry.held_out in entry.filename
    assert sorted([*entry.trained_on, entry.held_out]) == sorted(CORPUS_NAMES)


def test_there_are_three_heads_for_each_corpus() -> None:
    """As a state dict, TorchScript and Keras."""
    for corpus in CORPUS_NAMES:
        filenames = [entry.filename for entry in HEADS if entry.held_out == corpus]
        assert filenames == [f"FER_dinamic_LSTM_{corpus}.pt", f"{corpus}.pth", f"{corpus}_with_config.h5"]


def test_what_lies_on_google_drive_can_only_be_had_by_hand() -> None:
    by_hand = [entry for entry in ENTRIES if not entry.urls]
    assert len(by_hand) == 16  # two backbones and six heads, twice
    assert {entry.filename.rpartition(".")[2] for entry in by_hand} == {"pth", "h5"}
    assert not any(entry.sha256 or entry.git_blob for entry in by_hand)


def test_licence_of_the_published_files_says_that_two_statements_conflict() -> None:
    licences = {entry.license for entry in ENTRIES if entry.collection == "emo-affectnet"}
    assert len(licences) == 1
    assert "MIT" in min(licences)
    assert "scientific usage only" in min(licences)
