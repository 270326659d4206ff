"""What the commands for weight files print and exit with, on small files and a server of this machine."""

from pathlib import Path

import pytest
from click.testing import CliRunner, Result
from conftest import files_in
from weight_server import DATA, FIXTURES, SIZE, MakeEntry, WeightServer, script, state_dict, status

from emo_affectnet import weight_sets
from emo_affectnet.catalogue import CATALOGUE, COLLECTIONS, Entry
from emo_affectnet.cli_weights import NAMING, weights
from emo_affectnet.store import check_trust, fetch, locate, places
from emo_affectnet.weights import CORPUS_NAMES

place, server, make_entry, entry = FIXTURES
pytestmark = pytest.mark.usefixtures("place")


def invoke(*arguments: object) -> Result:
    return CliRunner().invoke(weights, [str(argument) for argument in arguments], prog_name="weights")


def listed(output: str) -> dict[str, list[str]]:
    """Return the cells of each row of the tables, by name."""
    rows = (line.split() for line in output.splitlines())
    kinds = {entry.kind for entry in CATALOGUE.values()}
    return {row[0]: row[1:] for row in rows if len(row) > 3 and row[1] in kinds and row[3] in ("yes", "no")}


# list


@pytest.mark.parametrize("width", [80, 120])
def test_list_has_a_row_for_everything_that_comes_without_a_hand(width: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", str(width))
    result = invoke("list")
    assert (result.exit_code, result.stderr) == (0, "")
    assert max(len(line) for line in result.stdout.splitlines()) <= width
    rows = listed(result.stdout)
    by_url = [entry.name for entry in CATALOGUE.values() if entry.urls]
    assert list(rows) == [
        "bundled/backbone",
        *(f"bundled/{name}" for name in CORPUS_NAMES),
        "bundled-mobile/backbone",
        *by_url,
    ]
    assert rows["bundled/backbone"] == ["backbone", "49.3", "yes"]
    assert rows["bundled/SAVEE"] == ["head", "5.8", "yes", "SAVEE"]
    assert rows["emo-affectnet/backbone"] == ["backbone", "98.6", "no"]
    assert rows["emo-affectnet/RAVDESS"] == ["head", "?", "no", "RAVDESS"]  # nobody tells its size
    assert rows["bundled-mobile/backbone"] == ["backbone", "3.3", "yes"]
    assert "and 16 more by hand" in result.stdout
    assert " ".join(result.stdout.split()).endswith(NAMING)


def test_list_names_source_and_licence_of_each_collection() -> None:
    text = " ".join(invoke("list").stdout.split())
    assert "from: https://huggingface.co/ElenaRyumina/face_emotion_recognition" in text
    assert 'licence: unclear (MIT on the model card, "for scientific usage only" in the README of the code)' in text
    assert "licence: research use only (the code is Apache-2.0, but AffectNet" in text


def test_long_list_has_the_files_to_get_by_hand_and_what_each_was_trained_on() -> None:
    result = invoke("list", "--long")
    rows = listed(result.stdout)
    assert rows["emo-affectnet/RAVDESS.h5"] == ["head", "?", "no", "RAVDESS"]
    assert set(rows) >= set(CATALOGUE)
    text = " ".join(result.stdout.split())
    assert "emo-affectnet/RAVDESS.h5 was trained on: Aff-Wild2, CREMA-D, IEMOCAP, RAMAS, SAVEE" in text
    assert "bundled/RAVDESS was trained on: simulated Aff-Wild2, " in text
    assert f"Files are looked for in: {', '.join(map(str, places()))}" in result.stdout


def test_list_says_what_is_here(make_entry: MakeEntry) -> None:
    fetch(make_entry(size=None).name)
    assert listed(invoke("list").stdout)["small/model.h5"] == ["sibling", "0.3", "yes"]


# fetch


def test_fetch_shows_the_licence_once_and_the_path_of_each_file(place: Path, make_entry: MakeEntry) -> None:
    make_entry("a.h5", DATA)
    make_entry("b.h5", DATA[1:])
    result = invoke("fetch", "small", "small/b.h5")
    assert (result.exit_code, result.stderr) == (0, "")
    assert result.stdout.splitlines() == [
        "Licence of small: CC0.",
        f"small/a.h5: {place / 'small' / 'a.h5'}",
        f"small/b.h5: {place / 'small' / 'b.h5'}",
    ]
    assert invoke("fetch", "small", "--offline").stdout == "\n".join(result.stdout.splitlines()) + "\n"


def test_fetch_does_the_rest_and_lists_failures_last(make_entry: MakeEntry, server: WeightServer) -> None:
    make_entry("a.h5", DATA)
    make_entry("b.h5", DATA[1:])
    server.answers["a.h5"] = [status(404)]
    result = invoke("fetch", "small")
    assert result.exit_code == 1
    assert result.stdout.splitlines()[-1].startswith("small/b.h5: ")
    assert result.stderr.startswith(f"Failed: small/a.h5: a.h5 could not be fetched: {server.address}/a.h5: HTTP 404.")
    assert result.stderr.count("\n") == 1


def test_fetch_asks_mirrors_first_and_nobody_when_offline(server: WeightServer, entry: Entry) -> None:
    result = invoke("fetch", entry.name, "--offline", "--mirror", server.address)
    assert (result.exit_code, server.asked) == (1, [])
    assert "Failed: small/model.h5: model.h5 (small/model.h5) is not here." in result.stderr
    server.answers["model.h5"] = [status(404), status(404)]
    result = invoke("fetch", entry.name, "--mirror", f"{server.address}/one", "--mirror", f"{server.address}/two")
    first, second = (result.stderr.index(f"/{name}/model.h5: HTTP 404") for name in ("one", "two"))
    assert first < second
    assert len(server.asked) == 3


def test_fetch_of_an_unknown_name_exits_with_2_before_anything_is_done(server: WeightServer, entry: Entry) -> None:
    result = invoke("fetch", entry.name, "RAVDES")
    assert (result.exit_code, result.stdout, server.asked) == (2, "", [])
    assert result.stderr.startswith("Error: There is no weight file or collection named 'RAVDES'; choose one of: ")
    for name in (*COLLECTIONS, "emo-affectnet/RAVDESS"):
        assert name in result.stderr
    assert invoke("fetch").exit_code == 2


def test_terminal_shows_a_bar(entry: Entry, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FORCE_COLOR", "1")  # rich then takes the output for a terminal
    monkeypatch.setenv("COLUMNS", "120")
    result = invoke("fetch", entry.name)
    assert (result.exit_code, result.exception) == (0, None)
    assert f"{SIZE / 1000:.1f}" in result.stdout  # kB
    assert locate(entry.name).read_bytes() == DATA


# verify


def test_verify_looks_at_everything_that_is_here(place: Path, make_entry: MakeEntry) -> None:
    assert invoke("verify").output.splitlines() == [
        "bundled: 7 files are what their records say.",
        "bundled-mobile: 1 file is what its record says.",
    ]
    make_entry("a.h5", DATA)
    make_entry("b.pt", state_dict(), is_known=False)
    fetch("small")
    (place / "small" / "mine.pt").write_bytes(state_dict(1.0))
    result = invoke("verify")
    assert (result.exit_code, result.stderr) == (0, "")
    assert result.stdout.splitlines()[2:] == [
        f"small/a.h5: is the published file: {place / 'small' / 'a.h5'}",
        f"small/b.pt: is the file that was pinned: {place / 'small' / 'b.pt'}",
        f"mine.pt: has no known hash to compare with: {place / 'small' / 'mine.pt'}",
    ]


def test_verify_lists_every_damaged_file_last(
    tmp_path: Path, place: Path, make_entry: MakeEntry, monkeypatch: pytest.MonkeyPatch
) -> None:
    make_entry("a.h5", DATA)
    make_entry("b.h5", DATA[1:])
    fetch("small")
    (place / "small" / "a.h5").write_bytes(DATA[:1000])
    (tmp_path / "set").mkdir()
    (tmp_path / "set" / "backbone.pt").write_bytes(b"x")
    monkeypatch.setattr(weight_sets, "bundled_folder", lambda: tmp_path / "set")
    result = invoke("verify")
    assert result.exit_code == 1
    assert result.stdout.splitlines() == [f"small/b.h5: is the published file: {place / 'small' / 'b.h5'}"]
    first, second, third = result.stderr.splitlines()
    assert first.startswith("Failed: Expected the record of backbone.pt")
    assert second.startswith(f"Failed: Expected a weight file at {tmp_path / 'set' / 'mobile.pt'}, but there is none")
    assert third == (
        f"Failed: small/a.h5: {place / 'small' / 'a.h5'} should be another file, it is cut short or damaged "
        f"(1000 bytes of {SIZE})."
    )


# import


def test_import_tells_where_the_file_is_now(tmp_path: Path, place: Path, make_entry: MakeEntry) -> None:
    make_entry("published.pt", state_dict())
    (tmp_path / "mine.pt").write_bytes(state_dict())
    result = invoke("import", tmp_path / "mine.pt")
    assert (result.exit_code, result.output) == (0, f"Imported: {place / 'small' / 'published.pt'}\n")


def test_import_with_trust_leaves_a_file_of_ones_own_where_it_is(tmp_path: Path, place: Path) -> None:
    path = tmp_path / "mine.pt"
    path.write_bytes(script())
    result = invoke("import", path)
    assert (result.exit_code, result.stdout) == (1, "")
    assert result.stderr.startswith(f"Error: {path} can run code on this computer")
    result = invoke("import", path, "--trust")
    assert (result.exit_code, result.output) == (0, f"{path} is trusted from now on, and stays where it is.\n")
    check_trust(path)
    assert files_in(place) == ["pins.json"]


def test_import_of_what_needs_none_exits_with_2(tmp_path: Path) -> None:
    (tmp_path / "mine.pt").write_bytes(state_dict())
    result = invoke("import", tmp_path / "mine.pt")
    assert (result.exit_code, result.stdout) == (2, "")
    assert "needs no import: give it by its path" in result.stderr
    assert invoke("import", tmp_path / "missing.pt").exit_code == 1
