"""The summary of a folder: right after each row, in order at the end, and harmless to spreadsheets."""

import csv
import errno
import os
from contextlib import suppress
from pathlib import Path

import pytest

from emo_affectnet.emotions import EMOTION_NAMES
from emo_affectnet.errors import FullError, ReportError
from emo_affectnet.inputs import SUMMARY
from emo_affectnet.summary import Outcome, SummaryWriter, columns, place

FAILED = Outcome("a.mp4", "error", message="broken")


def write(folder: Path, *outcomes: Outcome, extras: tuple[str, ...] = ()) -> str:
    with SummaryWriter(folder / SUMMARY, unfinished=folder, extras=extras) as writer:
        for outcome in outcomes:
            writer.add(outcome)
    return (folder / SUMMARY).read_text(encoding="utf-8")


def test_summary_of_nothing_but_errors_is_written(tmp_path: Path) -> None:
    assert write(tmp_path, FAILED) == ",".join(columns(())) + "\n" + "a.mp4,error" + "," * 19 + "broken\n"
    assert [path.name for path in tmp_path.iterdir()] == [SUMMARY]


def test_numbers_have_six_decimals_and_whole_ones_none(tmp_path: Path) -> None:
    outcome = Outcome(
        "a.mp4", "ok", "Fear", probabilities=(1 / 3, 0.0, 1e-9, 2 / 3, 0.5, 0.25, 0.125), people=2, frames=7,
        fps=30000 / 1001, duration=0.2, extras={"valence": -1 / 3},
    )  # fmt: skip
    row = dict(zip(*csv.reader(write(tmp_path, outcome, extras=("valence", "arousal")).splitlines()), strict=True))
    assert [row[name] for name in EMOTION_NAMES] == ["0.333333", "0.0", "0.0", "0.666667", "0.5", "0.25", "0.125"]
    assert [row[name] for name in ("people", "frames", "fps", "duration")] == ["2", "7", "29.97003", "0.2"]
    assert (row["valence"], row["arousal"], row["message"]) == ("-0.333333", "", "")


@pytest.mark.parametrize("start", ["=", "+", "-", "@"])
def test_no_cell_starts_a_formula(tmp_path: Path, start: str) -> None:
    rows = list(csv.reader(write(tmp_path, Outcome(f"{start}1", "error", message=f"{start}1+1")).splitlines()))
    assert (rows[1][0], rows[1][-1]) == (f"'{start}1", f"'{start}1+1")


def test_rows_stand_as_they_come_and_at_the_end_in_the_order_of_the_folder(tmp_path: Path) -> None:
    path = tmp_path / SUMMARY
    with SummaryWriter(path, unfinished=tmp_path, rows=[Outcome("c/b.mp4", "ok")]) as writer:
        seen = []
        for label in ("c.mp4", "a.mp4", "b/d.mp4"):
            writer.add(Outcome(label, "ok"))
            seen.append([row.split(",")[0] for row in path.read_text().splitlines()[1:]])
    assert seen == [["c/b.mp4", "c.mp4"], ["c/b.mp4", "c.mp4", "a.mp4"], ["c/b.mp4", "c.mp4", "a.mp4", "b/d.mp4"]]
    assert [row.split(",")[0] for row in path.read_text().splitlines()[1:]] == ["a.mp4", "c.mp4", "b/d.mp4", "c/b.mp4"]


def test_the_order_is_that_in_which_folders_are_walked(tmp_path: Path) -> None:
    names = ["B.mp4", "a.mp4", "a b.mp4", "a/z.mp4", "a/b/c.mp4", "a.b/x.mp4", "c/a.mp4"]
    for name in names:
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).touch()
    walked = []
    for root, folders, files in os.walk(tmp_path):
        folders.sort()
        walked += [str((Path(root) / name).relative_to(tmp_path)) for name in sorted(files)]
    assert sorted(names, key=place) == walked


def test_a_run_that_stops_leaves_the_rows_as_they_came(tmp_path: Path) -> None:
    with suppress(KeyboardInterrupt), SummaryWriter(tmp_path / SUMMARY, unfinished=tmp_path) as writer:
        for label in ("b.mp4", "a.mp4"):
            writer.add(Outcome(label, "ok"))
        raise KeyboardInterrupt
    assert [row.split(",")[0] for row in (tmp_path / SUMMARY).read_text().splitlines()] == ["file", "b.mp4", "a.mp4"]


@pytest.mark.parametrize("share", [0, 0.5], ids=["nothing of it", "half of it"])
def test_a_row_for_which_the_disk_has_no_room_leaves_those_before_whole(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, share: float
) -> None:
    path = tmp_path / SUMMARY
    with SummaryWriter(path, unfinished=tmp_path) as writer:
        writer.add(Outcome("a.mp4", "ok"))
        before = path.read_bytes()

        def fill(descriptor: int) -> None:
            os.write(descriptor, b"x" * round(share * 40))
            raise OSError(errno.ENOSPC, "No space left on device")

        monkeypatch.setattr("emo_affectnet.summary.os.fsync", fill)
        with pytest.raises(
            FullError, match=r"summary\.csv cannot be written: No space left on device\. Make room and run"
        ):
            writer.add(Outcome("b.mp4", "ok"))
        assert path.read_bytes() == before
        monkeypatch.undo()


def test_a_place_where_nothing_can_be_written_is_told(tmp_path: Path) -> None:
    (tmp_path / SUMMARY).mkdir()
    with pytest.raises(ReportError, match=r"summary\.csv cannot be written: Is a directory"):
        write(tmp_path, FAILED)


def test_outcomes_survive_json_and_what_is_none_is_refused() -> None:
    outcome = Outcome("a.mp4", "ok", "Fear", probabilities=(0.1,) * 7, extras={"valence": 1 / 3}, seconds=3.0)
    told = outcome.to_json()
    assert "seconds" not in told
    assert Outcome.from_json(told | {"probabilities": list(told["probabilities"])}) == Outcome(
        "a.mp4", "ok", "Fear", probabilities=(0.1,) * 7, extras={"valence": 1 / 3}
    )
    for wrong in ({}, told | {"probabilities": [1.0]}, told | {"mood": 1}):
        with pytest.raises((ValueError, KeyError)):
            Outcome.from_json(wrong)
