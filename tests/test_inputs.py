"""Which videos are found, what their reports are called, how tables name them, and which shard has which."""

import sys
from pathlib import Path

import pytest

from emo_affectnet.errors import UnknownName, UsageError, VideoError, printable
from emo_affectnet.inputs import Input, Options, Shard, find_inputs


def touch(folder: Path, *names: str) -> Path:
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(b"x")
    return folder


def names_of(*paths: Path) -> list[str]:
    return [source.name for source in find_inputs(paths)[0]]


# Inputs and the names of their reports


def test_videos_are_found_in_order_and_folders_mirrored(tmp_path: Path) -> None:
    touch(tmp_path, "b.mp4", "a.AVI", "z/deep/er/c.mkv", "z/a.mov", "m/b.webm")
    inputs, passed = find_inputs([tmp_path])
    assert inputs == [
        Input(tmp_path / "a.AVI", "a", "a.AVI"),
        Input(tmp_path / "b.mp4", "b", "b.mp4"),
        Input(tmp_path / "m/b.webm", "m/b", "m/b.webm"),
        Input(tmp_path / "z/a.mov", "z/a", "z/a.mov"),
        Input(tmp_path / "z/deep/er/c.mkv", "z/deep/er/c", "z/deep/er/c.mkv"),
    ]
    assert passed == []


@pytest.mark.parametrize(
    ("files", "expected"),
    [
        (["clip.avi", "clip.mp4"], ["clip.avi", "clip.mp4"]),  # a shared stem keeps its suffix
        (["Clip.mp4", "clip.avi"], ["Clip.mp4", "clip.avi"]),  # the same file on a system that ignores case
        (["a/clip.mp4", "b/clip.avi"], ["a/clip", "b/clip"]),  # the folder tells them apart
        (["clip.avi", "clip.mp4", "other.mp4"], ["clip.avi", "clip.mp4", "other"]),  # the others stay short
        (["summary.mp4"], ["summary.mp4"]),  # its report would be summary.csv
        (["Summary.mp4"], ["Summary.mp4"]),
        (["summary.2-of-4.mp4"], ["summary.2-of-4.mp4"]),  # nor that of a shard
        (["a/summary.mp4"], ["a/summary"]),  # no summary stands there
        (["a.mp4", "a.person-2.mp4"], ["a", "a.person-2.mp4"]),  # its report would be that of a's second person
        (["a.person-x.mp4"], ["a.person-x"]),
        (["a.avi", "a.mp4", "a.mp4.mkv"], ["a.avi", "a.mp4", "a.mp4.mkv"]),  # once refused as a collision
        (["two words.mp4", 'it\'s "é".mp4', "顔.mp4"], ['it\'s "é"', "two words", "顔"]),
        (["v1.2.final.mp4"], ["v1.2.final"]),
    ],
)
def test_every_input_has_a_report_of_its_own(tmp_path: Path, files: list[str], expected: list[str]) -> None:
    assert names_of(touch(tmp_path, *files)) == expected


def test_the_longest_names_leave_room_for_those_of_reports(tmp_path: Path) -> None:
    names = ["n" * 235 + ".mp4", "n" * 240 + ".mp4", "n" * 251 + ".mp4", "é" * 125 + ".mp4"]
    named = dict(zip(sorted(names), names_of(touch(tmp_path, *names)), strict=True))
    assert named[names[0]] == "n" * 235
    assert len(set(named.values())) == 4
    for name in named.values():
        (tmp_path / f"{name}.person-999.json").touch()


def test_what_is_no_video_is_passed_over_and_what_is_hidden_not_even_that(tmp_path: Path) -> None:
    touch(
        tmp_path, "clip.mp4", "notes.txt", "a/table.csv", ".hidden.mp4", ".cache/clip.mp4", "a/.DS_Store", "no_suffix"
    )
    inputs, passed = find_inputs([tmp_path])
    assert [source.label for source in inputs] == ["clip.mp4"]
    assert passed == [tmp_path / "no_suffix", tmp_path / "notes.txt", tmp_path / "a/table.csv"]


def test_picture_is_an_input_so_that_it_fails_by_name(tmp_path: Path) -> None:
    assert names_of(touch(tmp_path, "face.JPG", "face2.png")) == ["face", "face2"]


def test_file_given_by_its_path_is_taken_whatever_its_suffix(tmp_path: Path) -> None:
    touch(tmp_path, "recording.bin", ".hidden.mp4")
    assert names_of(tmp_path / "recording.bin", tmp_path / ".hidden.mp4") == ["recording", ".hidden"]


def test_several_folders_keep_their_own_names(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    touch(tmp_path, "one/clip.mp4", "two/sub/clip.mp4", "loose.mp4")
    inputs, _ = find_inputs([tmp_path / "two", tmp_path / "one", tmp_path / "loose.mp4"])
    assert [source.name for source in inputs] == ["two/sub/clip", "one/clip", "loose"]
    assert [source.label for source in inputs] == ["two/sub/clip.mp4", "one/clip.mp4", "loose.mp4"]
    monkeypatch.chdir(tmp_path / "one")
    assert names_of(Path(), tmp_path / "two") == ["one/clip", "two/sub/clip"]


def test_folder_named_like_a_video_is_a_folder(tmp_path: Path) -> None:
    assert names_of(touch(tmp_path, "folder.mp4/clip.mp4")) == ["folder.mp4/clip"]


@pytest.mark.parametrize(
    ("files", "paths"),
    [
        (["x/a/clip.mp4", "y/a/clip.mp4"], ["x/a", "y/a"]),  # two folders of one name
        (["clip.mp4"], ["clip.mp4", "clip.mp4"]),  # one file twice
        (["a/clip.mp4"], ["a", "a/clip.mp4"]),  # a folder and a file in it
        pytest.param(
            *(["a/Clip.mp4", "a/clip.mp4"], ["a"]),
            marks=pytest.mark.skipif(sys.platform != "linux", reason="these two are one file"),
        ),
    ],
)
def test_inputs_that_would_share_a_report_are_refused_by_name(
    tmp_path: Path, files: list[str], paths: list[str]
) -> None:
    touch(tmp_path, *files)
    with pytest.raises(UsageError) as caught:
        find_inputs([tmp_path / path for path in paths])
    message = str(caught.value)
    assert message.startswith(f"{tmp_path / files[0]} and {tmp_path / files[-1]} would both have the report ")
    assert message.endswith("lip.mp4. Analyse them one by one, or give the folder above both.")


def test_linked_folders_that_loop_are_not_followed(tmp_path: Path) -> None:
    touch(tmp_path, "a/clip.mp4")
    (tmp_path / "a" / "loop").symlink_to(tmp_path)
    (tmp_path / "a" / "linked.mp4").symlink_to(tmp_path / "a" / "clip.mp4")
    (tmp_path / "a" / "broken.mp4").symlink_to(tmp_path / "missing.mp4")
    assert names_of(tmp_path) == ["a/broken", "a/clip", "a/linked"]
    (tmp_path / "link").symlink_to(tmp_path / "a")
    assert names_of(tmp_path / "link") == ["broken", "clip", "linked"]  # a link that was asked for is followed


@pytest.mark.parametrize("name", ["missing", "missing.mp4", "x" * 300])
def test_path_that_does_not_exist_is_a_wrong_call(tmp_path: Path, name: str) -> None:
    touch(tmp_path, "clip.mp4")
    with pytest.raises(UsageError) as caught:
        find_inputs([tmp_path / "clip.mp4", tmp_path / name])
    assert str(caught.value) == f"There is no file or folder {tmp_path / name}. Check the path."
    assert caught.value.exit_code == 2


def test_folder_without_a_video_is_a_failure_not_a_wrong_call(tmp_path: Path) -> None:
    touch(tmp_path, "notes.txt")
    with pytest.raises(VideoError) as caught:
        find_inputs([tmp_path])
    assert str(caught.value) == (
        f"There is no video in {tmp_path}. Expected files such as .mp4, .avi, .mov, .mkv or .webm."
    )
    assert caught.value.exit_code == 1


# How tables name them


@pytest.mark.parametrize(
    ("name", "label"),
    [
        pytest.param("=cmd|' /C calc'!A0.mp4", "./=cmd|' /C calc'!A0.mp4", id="a formula"),
        pytest.param("+1.mp4", "./+1.mp4", id="a sum"),
        pytest.param("-1.mp4", "./-1.mp4", id="a difference, or a flag"),
        pytest.param("@SUM(A1).mp4", "./@SUM(A1).mp4", id="a function"),
        pytest.param("a=b.mp4", "a=b.mp4", id="no formula"),
        pytest.param("two\nlines.mp4", r"two\nlines.mp4", id="a line end"),
        pytest.param("\ttab.mp4", r"\ttab.mp4", id="a tab first"),
        pytest.param("bell\x07.mp4", r"bell\x07.mp4", id="a control character"),
        pytest.param("a\u202e4pm.exe.mp4", r"a\u202e4pm.exe.mp4", id="writing that turns back"),
        pytest.param("👩\u200d💻 é 顔.mp4", "👩\u200d💻 é 顔.mp4", id="letters and pictures of all kinds"),
    ],
)
def test_no_name_becomes_a_formula_or_a_second_line(tmp_path: Path, name: str, label: str) -> None:
    (source,) = find_inputs([touch(tmp_path, name)])[0]
    assert source.label == label
    assert source.path == tmp_path / name


@pytest.mark.parametrize(
    ("path", "shown"),
    [
        ("video/Gesicht лицо 顔 \U0001f600.mp4", "video/Gesicht лицо 顔 \U0001f600.mp4"),  # as it is
        ('it\'s "a\\b".mp4', 'it\'s "a\\b".mp4'),
        ("two\nlines\t.mp4", r"two\nlines\t.mp4"),
        ("\x1b[31mred.mp4", r"\x1b[31mred.mp4"),  # an order to the terminal
        ("\u202e4pm.exe", r"\u202e4pm.exe"),  # shown from right to left
        ("latin-\udce9.mp4", "latin-\ufffd.mp4"),  # no UTF-8
        (Path("a/b"), "a/b"),
    ],
)
def test_a_path_is_shown_on_one_line(path: str, shown: str) -> None:
    assert printable(path) == shown


# Shares


def test_every_video_is_in_one_shard_whatever_else_there_is(tmp_path: Path) -> None:
    touch(tmp_path, *(f"{folder}/{number}.mp4" for folder in "abc" for number in range(40)))
    before = {source.label: source for source in find_inputs([tmp_path])[0]}
    held = {
        label: [index for index in range(1, 5) if Shard(index, 4).holds(source)] for label, source in before.items()
    }
    assert all(len(indices) == 1 for indices in held.values())
    assert all(15 <= list(held.values()).count([index]) <= 45 for index in range(1, 5))  # 30 each, on the whole
    touch(tmp_path, *(f"{folder}/{number}.avi" for folder in "ac" for number in range(9)))  # now some names are longer
    after = {source.label: source for source in find_inputs([tmp_path])[0]}
    assert after.keys() > before.keys()
    assert all(Shard(*held[label], 4).holds(after[label]) for label in before)


def test_a_share_is_written_as_the_second_of_four() -> None:
    assert Shard.parse("2/4") == Shard(2, 4)
    assert str(Shard(2, 4)) == "2-of-4"


@pytest.mark.parametrize("text", ["0/4", "5/4", "4", "1/0", "-1/4", "1/4/2", "a/b", "1 / 2", "", "1/9999999"])
def test_what_is_no_share_is_refused(text: str) -> None:
    with pytest.raises(UsageError, match="A shard is one of several, such as"):
        Shard.parse(text)


# Options


def test_options_survive_json() -> None:
    options = Options({"backbone": Path("b.pt"), "trust": True, "threads": None}, thresholds=Path("t.json"))
    told = options.to_json()
    assert told["recognizer"] == {"backbone": "b.pt", "trust": True, "threads": None}
    assert Options.from_json(told) == Options(
        {"backbone": "b.pt", "trust": True, "threads": None}, thresholds=Path("t.json")
    )
    assert Options.from_json(Options(formats=("csv", "json")).to_json()) == Options(formats=("csv", "json"))


def test_an_unknown_choice_of_faces_lists_the_valid_ones() -> None:
    with pytest.raises(UnknownName, match="There is no choice of faces named 'both'; choose one of: primary, all."):
        Options(faces="both")
