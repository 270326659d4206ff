"""Summaries of shards become one; what does not belong together is refused, and nothing is written."""

from pathlib import Path

import pytest

from emo_affectnet.errors import ReportError
from emo_affectnet.inputs import Shard
from emo_affectnet.merging import merge
from emo_affectnet.summary import Outcome, SummaryWriter, columns, summary_path

HEADER = ",".join(columns(())) + "\n"


def write(folder: Path, shard: Shard | None, *labels: str, extras: tuple[str, ...] = ()) -> Path:
    folder.mkdir(exist_ok=True)
    path = summary_path(folder, shard)
    with SummaryWriter(path, unfinished=folder / "..", extras=extras) as writer:
        for label in labels:
            writer.add(Outcome(label, "ok", emotion="Fear", frames=7, extras=dict.fromkeys(extras, 0.5)))
    return path


def test_rows_come_in_the_order_of_the_run_in_one_piece(tmp_path: Path) -> None:
    labels = ["a.mp4", "b.mp4", "d.mp4", "c/a.mp4", "c/b/a.mp4", "e/x.mp4"]
    whole = write(tmp_path / "whole", None, *labels, extras=("valence", "arousal")).read_bytes()
    write(tmp_path / "one", Shard(1, 2), *labels[::2], extras=("valence", "arousal"))
    write(tmp_path / "two", Shard(2, 2), *labels[1::2], extras=("valence", "arousal"))
    assert merge([tmp_path / "two", tmp_path / "one"], save=tmp_path / "joined") == 6
    assert (tmp_path / "joined" / "summary.csv").read_bytes() == whole
    assert [path.name for path in (tmp_path / "joined").iterdir()] == ["summary.csv"]


def test_names_with_every_kind_of_sign_survive(tmp_path: Path) -> None:
    labels = ['a,"b".mp4', "./=1+1.mp4", "é 顔.mp4", r"two\nlines.mp4"]
    whole = write(tmp_path, None, *labels).read_bytes()
    write(tmp_path, Shard(1, 1), *labels)
    (tmp_path / "summary.csv").unlink()
    merge([tmp_path], save=tmp_path)
    assert (tmp_path / "summary.csv").read_bytes() == whole


def spoil(folder: Path, content: bytes) -> None:
    (folder / "summary.2-of-2.csv").write_bytes(content)


@pytest.mark.parametrize(
    ("prepare", "sentence"),
    [
        pytest.param(
            lambda folder: (folder / "summary.2-of-2.csv").unlink(),
            r"Of the 2 shards in .*, 2 is missing\. Analyse with --shard 2/2 first\.",
            id="a shard that was not analysed yet",
        ),
        pytest.param(
            lambda folder: [path.unlink() for path in folder.iterdir()],
            r"Expected the summaries of shards, such as summary\.1-of-4\.csv, in .*, but there is none",
            id="no shard at all",
        ),
        pytest.param(
            lambda folder: write(folder, Shard(1, 3)),
            "are of runs in 2 and in 3 shards; remove",
            id="shards of two runs",
        ),
        pytest.param(
            lambda folder: write(folder, Shard(2, 2), "a.mp4"), "a.mp4 is in two of the summaries", id="a video twice"
        ),
        pytest.param(
            lambda folder: write(folder, Shard(2, 2), "b.mp4", extras=("valence",)),
            "has other columns than the shard before it",
            id="other settings",
        ),
        pytest.param(lambda folder: spoil(folder, b""), "its columns or rows are others", id="an empty file"),
        pytest.param(lambda folder: spoil(folder, b"a,b\n1,2\n"), "its columns or rows are others", id="another table"),
        pytest.param(
            lambda folder: spoil(folder, HEADER.encode() + b"b.mp4,ok\n"), "its columns or rows", id="half a row"
        ),
        pytest.param(lambda folder: spoil(folder, b"\xff\xfe\x00"), "it cannot be read: 'utf-8' codec", id="no text"),
        pytest.param(
            lambda folder: spoil(folder, HEADER.encode() + b'"b.mp4'), "it cannot be read: unexpected end", id="cut off"
        ),
    ],
)
def test_what_does_not_belong_together_is_refused(tmp_path: Path, prepare, sentence: str) -> None:
    write(tmp_path / "r", Shard(1, 2), "a.mp4")
    write(tmp_path / "r", Shard(2, 2), "b.mp4")
    prepare(tmp_path / "r")
    with pytest.raises(ReportError, match=sentence):
        merge([tmp_path / "r"], save=tmp_path / "joined")
    assert not (tmp_path / "joined").exists()


def test_the_same_shard_in_two_folders_is_refused(tmp_path: Path) -> None:
    for folder in ("one", "two"):
        write(tmp_path / folder, Shard(1, 1), "a.mp4")
    with pytest.raises(ReportError, match="are the same shard: give the folders of one run"):
        merge([tmp_path / "one", tmp_path / "two"], save=tmp_path / "joined")


def test_shares_of_a_run_with_a_baseline_are_joined_by_the_run_itself(tmp_path: Path) -> None:
    (tmp_path / ".baseline").mkdir()
    with pytest.raises(ReportError, match="Run the same analyze command without --shard"):
        merge([tmp_path], save=tmp_path)
