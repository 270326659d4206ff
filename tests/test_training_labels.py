"""A table of labels meets saved features: every clip finds its video or is told, and none finds another's."""

from pathlib import Path

import numpy as np
import pytest
from feature_samples import make_video, write_labels, write_videos

from emo_affectnet.errors import CorpusError
from emo_affectnet.feature_files import read_features
from emo_affectnet.training.corpora.clip import Problem
from emo_affectnet.training.labels import Label, join_labels, match_paths

ONE_FACE = np.ones((10, 8))  # at 0, 0.2, ... 1.8 s


def join(table: Path, *names: str) -> tuple[list[tuple[Label, int]], list[Problem]]:
    """Return the labels with the rows of features that each has, and what was told."""
    problems: list[Problem] = []
    file = read_features(write_videos(table.with_suffix(".npz"), (make_video(name, ONE_FACE) for name in names)))
    return [(label, len(video)) for label, video in join_labels(table, file, tell=problems.append)], problems


@pytest.mark.parametrize(
    ("paths", "names", "found"),
    [
        pytest.param(["sub/a.mp4"], ["sub/a"], ["sub/a"], id="with a suffix"),
        pytest.param(["sub/a"], ["sub/a"], ["sub/a"], id="without one"),
        pytest.param(["a.mp4", "a.avi"], ["a.mp4", "a.avi"], ["a.mp4", "a.avi"], id="names that keep theirs"),
        pytest.param(["take.1"], ["take.1", "take"], ["take.1"], id="a name with a dot"),
        pytest.param(["./a.mp4", "sub//b.mp4"], ["a", "sub/b"], ["a", "sub/b"], id="other spellings"),
        pytest.param(["/data/x/a.mp4", "/data/x/s/b.mp4"], ["a", "s/b"], ["a", "s/b"], id="a folder that all share"),
        pytest.param(["../x/a.mp4", "../x/b.mp4"], ["b"], [None, "b"], id="beside the table"),
        pytest.param(["train/1.mp4", "val/1.mp4"], ["1"], [None, None], id="a folder that says which of two"),
        pytest.param(["s/a.mp4", "s/s/a.mp4"], ["s/a"], ["s/a", None], id="nothing left out without need"),
        pytest.param([".", "/"], ["a"], [None, None], id="no file at all"),
        pytest.param([], ["a"], [], id="no path"),
    ],
)
def test_a_path_finds_the_video_of_its_name(paths: list[str], names: list[str], found: list[str | None]) -> None:
    matched = match_paths(paths, names)
    assert [matched.get(path) for path in paths] == found


def test_each_line_has_its_words_and_its_features(tmp_path: Path) -> None:
    table = write_labels(
        tmp_path / "labels.csv",
        ("b.mp4", "Positive", "eve", "", ""),
        ("a.mp4", "happiness", "", "0.4", "1.0"),
        ("a.mp4", "SADNESS", "", "1", ""),
        header="File,Label,Speaker,Start,End",
    )
    found, problems = join(table, "a", "b")
    assert problems == []
    assert found == [
        (Label("a.mp4 0.4 1.0", "a.mp4", "Happiness", "a.mp4", 0.4, 1.0), 3),
        (Label("a.mp4 1", "a.mp4", "Sadness", "a.mp4", 1.0), 5),
        (Label("b.mp4", "b.mp4", "Positive", "eve"), 10),
    ]


def test_a_table_of_corpus_clips_reads_as_well(tmp_path: Path) -> None:
    """The columns of `evaluate clips`, and a spreadsheet's semicolons."""
    table = tmp_path / "labels.csv"
    table.write_text("path;emotion;start\na.mp4;Anger;0,4\n")
    assert join(table, "a")[0] == [(Label("a.mp4 0,4", "a.mp4", "Anger", "a.mp4", 0.4), 8)]


def test_what_has_no_counterpart_is_told(tmp_path: Path) -> None:
    table = write_labels(
        tmp_path / "labels.csv",
        ("a.mp4", "x"),
        ("b.mp4", ""),
        ("c.mp4", "x"),
        ("a", "y"),
        ("", "x"),
        ("a.mp4", "x", "2", "1"),
        ("a.mp4", "x", "now", ""),
        header="path,label,start,end",
    )
    found, problems = join(table, "a", "d")
    assert [label.name for label, _ in found] == ["a.mp4"]
    assert sorted((problem.kind, problem.where) for problem in problems) == [
        ("clip listed twice", "a"),
        ("features without a label", "d"),
        ("label without features", "c.mp4"),
        ("unreadable label line", f"{table}:3"),
        ("unreadable label line", f"{table}:6"),
        ("unreadable label line", f"{table}:7"),
        ("unreadable label line", f"{table}:8"),
    ]


@pytest.mark.parametrize(
    ("text", "told"),
    [
        pytest.param("video,label\na,x\n", "Expected the columns path .* but it has video, label", id="no path"),
        pytest.param("path,class\na,x\n", "but it has path, class", id="no label"),
        pytest.param("path,file,label\na,a,x\n", "but it has path, file, label", id="two paths"),
        pytest.param("path,label,split\na,x,train\n", "but it has path, label, split", id="a column nobody reads"),
        pytest.param("", "but it has none", id="empty"),
        pytest.param("path,label\n", "the table lists nothing, the features are of a, b, c", id="no line"),
        pytest.param("path,label\nz.mp4,x\n", "the table lists z.mp4, the features are of a, b, c", id="no match"),
    ],
)
def test_a_table_that_cannot_be_used_is_refused(tmp_path: Path, text: str, told: str) -> None:
    table = tmp_path / "labels.csv"
    table.write_text(text)
    with pytest.raises(CorpusError, match=told):
        join(table, "a", "b", "c", "d")
