"""Pins, importing and trust: what happens to files whose hash nobody has published, or that are someone's own."""

import json
from pathlib import Path

import pytest
from conftest import files_in
from weight_server import DATA, FIXTURES, LFS, WEB_PAGE, MakeEntry, WeightServer, script, state_dict

from emo_affectnet import weights
from emo_affectnet.errors import CorruptWeights, DownloadError, MissingWeights, UntrustedWeights, UsageError
from emo_affectnet.store import check_trust, fetch, import_file, locate, places, trust, verify_all
from emo_affectnet.store.checks import fingerprint
from emo_affectnet.store.pins import Pin, read_pins
from emo_affectnet.weights import bundled_folder

place, server, make_entry, entry = FIXTURES


def write(path: Path, data: bytes) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(data)
    return path


# Pins


def test_first_file_is_pinned_and_told_and_another_one_refused(
    place: Path, make_entry: MakeEntry, server: WeightServer, caplog: pytest.LogCaptureFixture
) -> None:
    entry = make_entry("SAVEE.pt", state_dict(), is_known=False)
    (path,) = fetch(entry.name)
    digest = weights.hash_file(path)
    assert "No hash of SAVEE.pt (small/SAVEE.pt) is known" in caplog.text
    assert f"SHA-256 {digest[:12]}…" in caplog.text
    caplog.clear()
    assert locate(entry.name) == path
    assert caplog.text == ""
    (pin,) = read_pins(places())
    assert (pin.filename, pin.sha256, pin.size, pin.name) == ("SAVEE.pt", digest, path.stat().st_size, entry.name)
    assert pin.when.endswith("+00:00")
    assert [file.status for file in verify_all()] == ["pinned"]

    path.write_bytes(state_dict(1.0))
    with pytest.raises(CorruptWeights) as caught:
        locate(entry.name)
    assert "remove the old one from pins.json" in str(caught.value)
    assert [file.status for file in verify_all()] == ["damaged"]
    server.files["SAVEE.pt"] = state_dict(1.0)  # the publisher's file has changed too
    with pytest.raises(CorruptWeights, match=r"SAVEE\.pt could not be fetched: .*: brought another file"):
        fetch(entry.name)
    (place / "pins.json").unlink()
    assert locate(entry.name) == path


def test_pins_are_kept_side_by_side_and_hold_for_their_own_name_only(place: Path, make_entry: MakeEntry) -> None:
    entries = [make_entry(f"{name}.pt", state_dict(value), is_known=False) for name, value in (("a", 1.0), ("b", 2.0))]
    fetch("small")
    assert [pin.name for pin in read_pins(places())] == [entry.name for entry in entries]
    write(place / "small" / "b.pt", state_dict(1.0))  # which is pinned, but as a.pt
    with pytest.raises(CorruptWeights, match=r"b\.pt should be b\.pt"):
        locate("small/b.pt")


def test_file_put_there_by_hand_is_pinned_when_it_is_first_used(
    place: Path, make_entry: MakeEntry, caplog: pytest.LogCaptureFixture
) -> None:
    entry = make_entry("SAVEE.pt", is_known=False)
    path = write(place / "small" / "SAVEE.pt", state_dict())
    assert [file.status for file in verify_all()] == ["unknown"]
    assert read_pins(places()) == []  # looking pins nothing
    assert locate(entry.name) == path
    assert "is pinned now" in caplog.text
    assert [file.status for file in verify_all()] == ["pinned"]


@pytest.mark.parametrize("data", [WEB_PAGE, LFS, b"", b"text", state_dict()[:-60]])
def test_what_is_no_weight_file_is_never_pinned(place: Path, make_entry: MakeEntry, data: bytes) -> None:
    entry = make_entry("SAVEE.pt", data, is_known=False)
    with pytest.raises(CorruptWeights):
        fetch(entry.name)
    write(place / "small" / "SAVEE.pt", data)
    with pytest.raises(CorruptWeights):
        locate(entry.name)
    assert read_pins(places()) == []


def test_code_under_a_name_without_a_hash_is_not_fetched(place: Path, make_entry: MakeEntry) -> None:
    entry = make_entry("SAVEE.pt", script(), is_known=False)
    with pytest.raises(CorruptWeights, match=r"brought another file"):
        fetch(entry.name)
    assert files_in(place) == []


@pytest.mark.parametrize("part", [state_dict(1.0), state_dict(1.0)[:500]], ids=["whole", "begun"])
def test_part_without_a_hash_to_check_is_not_continued(
    place: Path, make_entry: MakeEntry, server: WeightServer, part: bytes
) -> None:
    """Its halves might be of two versions, and nothing would show it."""
    entry = make_entry("SAVEE.pt", state_dict(), is_known=False)
    write(place / "small" / ".SAVEE.pt.part", part)
    assert fetch(entry.name)[0].read_bytes() == state_dict()
    assert server.asked == [("SAVEE.pt", None)]


def test_pins_that_cannot_be_written_hold_for_this_process(
    tmp_path: Path, place: Path, make_entry: MakeEntry, caplog: pytest.LogCaptureFixture
) -> None:
    entry = make_entry("SAVEE.pt", is_known=False)
    path = write(place / "small" / "SAVEE.pt", state_dict())
    (place / "pins.json").mkdir()  # in the way, for root too
    (tmp_path / "cache").write_bytes(b"a file")
    locate(entry.name)
    assert "The pin of SAVEE.pt is kept for this run only: no pins.json can be written." in caplog.text
    path.write_bytes(state_dict(1.0))
    with pytest.raises(CorruptWeights):
        locate(entry.name)


@pytest.mark.parametrize("text", ["{", "null", "[3]", '[{"colour": "red"}]', '{"a": 1}'])
def test_pins_that_cannot_be_read_are_told(place: Path, make_entry: MakeEntry, text: str) -> None:
    entry = make_entry("SAVEE.pt", is_known=False)
    write(place / "small" / "SAVEE.pt", state_dict())
    write(place / "pins.json", text.encode())
    with pytest.raises(CorruptWeights) as caught:
        locate(entry.name)
    assert str(caught.value).startswith(f"{place / 'pins.json'} should be the JSON list of pinned weight files, but ")


def test_pins_of_a_place_that_only_others_write_count(tmp_path: Path, place: Path, make_entry: MakeEntry) -> None:
    entry = make_entry("SAVEE.pt", is_known=False)
    pin = {"filename": "SAVEE.pt", "sha256": "0" * 64, "size": 3, "when": "2024-01-01", "name": entry.name}
    write(tmp_path / "cache" / "emo_affectnet" / "pins.json", json.dumps([pin]).encode())
    write(place / "small" / "SAVEE.pt", state_dict())
    assert read_pins(places()) == [Pin(**pin)]
    with pytest.raises(CorruptWeights):
        locate(entry.name)


# Importing


def test_file_is_recognised_by_its_content_whatever_its_name(
    tmp_path: Path, place: Path, make_entry: MakeEntry
) -> None:
    data = state_dict()
    entry = make_entry("published.pt", data, kind="head", trained_on=("SAVEE",), held_out="RAVDESS")
    source = write(tmp_path / "downloads" / "my head (1).pt", data)
    assert import_file(source) == locate(entry.name) == place / "small" / "published.pt"
    assert source.read_bytes() == data
    record = weights.verify(place / "small" / "published.pt", needs_record=True)
    assert record is not None
    assert (record.name, record.held_out) == (entry.name, "RAVDESS")
    assert import_file(source) == import_file(locate(entry.name))  # again, and from the store itself
    assert files_in(place) == ["small/published.json", "small/published.pt"]


def test_file_of_a_known_name_has_to_be_the_known_one(tmp_path: Path, place: Path, make_entry: MakeEntry) -> None:
    make_entry("published.pt", state_dict())
    with pytest.raises(
        CorruptWeights, match=r"should be published\.pt \(small/published\.pt\), but it is another file"
    ):
        import_file(write(tmp_path / "published.pt", state_dict(1.0)))
    assert files_in(place) == []


def test_file_without_a_known_hash_is_imported_by_its_name_and_pinned(
    tmp_path: Path, place: Path, make_entry: MakeEntry, caplog: pytest.LogCaptureFixture
) -> None:
    entry = make_entry("drive.pt", is_known=False, urls=())
    source = write(tmp_path / "drive.pt", state_dict())
    assert import_file(source) == locate(entry.name)
    assert caplog.text.count("is pinned now") == 1
    renamed = write(tmp_path / "drive (1).pt", state_dict())
    assert import_file(renamed) == locate(entry.name)  # by its pin
    with pytest.raises(CorruptWeights):
        import_file(write(source, state_dict(1.0)))


def test_published_script_without_a_known_hash_needs_trust(tmp_path: Path, make_entry: MakeEntry) -> None:
    entry = make_entry("drive.pth", is_known=False, urls=(), kind="head", trained_on=("SAVEE",), held_out="RAVDESS")
    source = write(tmp_path / "drive.pth", script())
    with pytest.raises(UntrustedWeights, match="can run code on this computer"):
        import_file(source)
    path = import_file(source, trust=True)
    assert path == locate(entry.name)
    check_trust(path)
    check_trust(source)


def test_import_replaces_a_damaged_copy(tmp_path: Path, place: Path, make_entry: MakeEntry) -> None:
    entry = make_entry("published.pt", state_dict())
    write(place / "small" / "published.pt", b"damaged")
    import_file(write(tmp_path / "published.pt", state_dict()))
    assert locate(entry.name).read_bytes() == state_dict()


@pytest.mark.parametrize(
    ("name", "data", "error", "words"),
    [
        ("mine.pt", state_dict(), UsageError, "a state dict of your own needs no import: give it by its path"),
        ("mine.h5", b"\x89HDF\r\n\x1a\n", UsageError, "a Keras of your own needs no import"),
        ("mine.pt", script(), UntrustedWeights, "mine.pt --trust' once"),
        ("mine.onnx", b"\x08\x07", UntrustedWeights, "mine.onnx --trust' once"),
        ("mine.onnx", LFS, CorruptWeights, "a git-lfs pointer, a text of 65 bytes"),
        ("mine.pt", WEB_PAGE, CorruptWeights, "a web page of 36 bytes, such as a login or an error"),
        ("mine.pt", state_dict()[:-60], CorruptWeights, "a truncated or damaged one"),
    ],
    ids=["state dict", "Keras", "script", "ONNX", "pointer", "page", "torn"],
)
def test_file_of_ones_own_is_told_what_to_do(
    tmp_path: Path, place: Path, name: str, data: bytes, error: type[Exception], words: str
) -> None:
    with pytest.raises(error) as caught:
        import_file(write(tmp_path / name, data))
    assert words in str(caught.value)
    assert not place.exists()


def test_missing_file_cannot_be_imported(tmp_path: Path, place: Path) -> None:
    for name in ("missing.pt", "missing.onnx", "."):
        with pytest.raises(MissingWeights, match="Expected a weight file at"):
            import_file(tmp_path / name)


def test_store_that_cannot_be_written_is_told(tmp_path: Path, place: Path, make_entry: MakeEntry) -> None:
    make_entry("published.pt", state_dict())
    source = write(tmp_path / "mine.pt", state_dict())
    (place / "small" / "published.pt").mkdir(parents=True)  # in the way, for root too
    with pytest.raises(DownloadError, match=r"mine\.pt cannot be copied to .*small: Is a directory"):
        import_file(source)
    assert files_in(place) == []


# Trust


def test_code_passes_only_with_a_known_hash(tmp_path: Path, place: Path, make_entry: MakeEntry) -> None:
    path = write(tmp_path / "mine.pt", script())
    with pytest.raises(UntrustedWeights) as caught:
        check_trust(path)
    assert str(caught.value) == (
        f"{path} can run code on this computer, and its hash is not known here. If you trust where it came from, give "
        f"--trust, or run 'emo-affectnet weights import {path} --trust' once."
    )
    assert import_file(path, trust=True) == path
    assert files_in(place) == ["pins.json"]  # nothing is copied
    check_trust(path)
    check_trust(path.rename(tmp_path / "renamed.pt"))
    with pytest.raises(UntrustedWeights):
        check_trust(write(path, script() + b"more"))


def test_trust_pins_once(tmp_path: Path, place: Path) -> None:
    path = write(tmp_path / "mine.onnx", b"\x08\x07")
    trust(path)
    trust(path)
    assert [(pin.filename, pin.name) for pin in read_pins(places())] == [("mine.onnx", None)]
    check_trust(path)


def test_code_with_a_record_that_fits_passes(tmp_path: Path, place: Path) -> None:
    path = write(tmp_path / "mine.pt", script())
    weights.write_record(path, name="mine", kind="head", license="CC0", trained_on=("faces",))
    check_trust(path)
    path.write_bytes(script() + b"more")
    with pytest.raises(UntrustedWeights):
        check_trust(path)


def test_published_code_passes_by_either_hash(tmp_path: Path, make_entry: MakeEntry) -> None:
    make_entry("a.onnx", DATA)
    found = fingerprint(write(tmp_path / "b.onnx", DATA[1:]))
    make_entry("b.onnx", sha256=None, git_blob=found.git_blob)
    check_trust(write(tmp_path / "renamed.onnx", DATA))
    check_trust(tmp_path / "b.onnx")


def test_files_without_code_pass(tmp_path: Path, place: Path) -> None:
    check_trust(write(tmp_path / "mine.pt", state_dict()))
    check_trust(write(tmp_path / "mine.h5", b"\x89HDF\r\n\x1a\n"))


def test_bundled_heads_are_trusted_by_their_records(place: Path) -> None:
    """They are TorchScript."""
    for path in sorted(bundled_folder().glob("*.pt")):
        check_trust(path)


def test_all_files_of_the_store_are_looked_at(place: Path, make_entry: MakeEntry, caplog) -> None:
    make_entry("a.h5", DATA)
    fetch("small")
    for name in ("stranger.pt", ".a.h5.part", "notes.txt", "a.json"):
        write(place / "small" / name, b"x")
    trust(write(place / "small" / "mine.onnx", b"\x08\x07"))
    assert [(file.name, file.status) for file in verify_all()] == [
        ("small/a.h5", "ok"),
        ("mine.onnx", "pinned"),
        ("stranger.pt", "unknown"),
    ]
    assert {file.path.parent for file in verify_all()} == {place / "small"}
