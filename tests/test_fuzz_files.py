"""Files that anybody may have written or damaged are read, or refused in one sentence: reports, features, records."""

import json
import zipfile
from io import BytesIO
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from feature_samples import draw_videos, write_videos
from fuzzing import WORDS, check_sentence, damaged, examples
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from emo_affectnet.emotions import EMOTION_NAMES
from emo_affectnet.errors import CorruptWeights, ReportError
from emo_affectnet.feature_files import read_features
from emo_affectnet.reports import PUBLISHED_COLUMNS, read_csv, read_people, report_path, to_table, write_csv
from emo_affectnet.timeline import Timeline
from emo_affectnet.video import VideoInfo
from emo_affectnet.weights import PUBLISHED_PREPROCESSING, WeightFile, read_record, record_path, write_record


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder whose files each example writes anew."""
    return tmp_path_factory.mktemp("files")


# Reports


@st.composite
def timelines(draw: st.DrawFn) -> Timeline:
    """Any person in any video, with unknown rows, a single head or two, and perhaps a further column."""
    count, heads = draw(st.integers(0, 12)), draw(st.sampled_from([("A",), ("A", "B")]))
    observed = draw(arrays(bool, count))
    weights = draw(arrays(np.float32, (count, 7), elements=st.floats(0.0, 1.0, width=32))) + np.float32(1e-6)
    unknown = np.where(observed, 0, np.nan).astype(np.float32)
    values = arrays(np.float32, count, elements=st.floats(-1e6, 1e6, width=32))
    names = draw(st.sampled_from([(), ("Contempt",), ("valence", "arousal")]))
    return Timeline(
        video=VideoInfo(Path("clip.mp4"), 64, 48, 25.0, 1.0, count, False, True),
        track_id=draw(st.integers(1, 9)),
        head=heads[0],
        heads=heads,
        times=np.sort(draw(arrays(np.float64, count, elements=st.floats(-10, 1e7)))),
        probabilities=weights / weights.sum(axis=1, keepdims=True) + unknown[:, None],
        agreement=unknown + np.float32(0.5 if len(heads) > 1 else np.nan),
        observed=observed,
        boxes=draw(arrays(np.float32, (count, 4), elements=st.floats(-100, 1e5, width=32))) + unknown[:, None],
        scores=unknown + np.float32(0.25),
        window_probabilities=np.empty((len(heads), 0, 7), np.float32),
        extras={name: draw(values) + unknown for name in names},
    )


@examples(60)
@given(timelines())
def test_a_report_says_the_same_when_it_is_read_back(place: Path, timeline: Timeline) -> None:
    path = place / "round.csv"
    write_csv(timeline, path)
    table = read_csv(path)
    expected = to_table(timeline)
    assert list(table.columns) == list(expected.columns)
    assert table["frame"].tolist() == list(range(1, len(timeline.times) + 1))
    for name in (*EMOTION_NAMES, "time", "confidence", "agreement", "x1", "y2", "score", *timeline.extras):
        np.testing.assert_array_equal(
            pd.to_numeric(table[name]).to_numpy(np.float32), expected[name].to_numpy(np.float32, na_value=np.nan)
        )
    assert table["emotion"].fillna("").tolist() == expected["emotion"].fillna("").tolist()
    assert table["observed"].tolist() == timeline.observed.astype(int).tolist()


ROWS = (
    "000001,0.1,0.5,0.1,0.1,0.1,0.05,0.05,0.0,Happiness,0.5,0.75,1,10,21,110,120,0.75,1\n"
    "000002,,,,,,,,0.04,,,,0,,,,,,\n"
)
REPORT = (
    ",".join(PUBLISHED_COLUMNS) + ",time,emotion,confidence,agreement,observed,x1,y1,x2,y2,score,track\n" + ROWS
).encode()


def check_report(content: bytes, stem: Path) -> None:
    """Check that a file is a table with numbers in the published columns, or is refused in one sentence."""
    report_path(stem, rank=1, suffix="csv").write_bytes(content)
    try:
        (table,) = read_people(stem)
    except ReportError as error:
        check_sentence(error)
        return
    assert set(PUBLISHED_COLUMNS) <= set(table.columns)
    assert all(np.isfinite(table[name].dropna()).all() for name in PUBLISHED_COLUMNS if len(table))


@examples(250)
@given(damaged(REPORT))
def test_a_damaged_report_is_a_table_or_refused(place: Path, content: bytes) -> None:
    check_report(content, place / "damaged")


@examples(100)
@given(
    st.one_of(st.binary(max_size=400), st.text(max_size=200).map(lambda text: text.encode("utf-8", "surrogatepass")))
)
def test_no_bytes_pass_for_a_report(place: Path, content: bytes) -> None:
    check_report(content, place / "any")


@examples(100)
@given(st.lists(st.lists(st.sampled_from(WORDS), max_size=12), max_size=5))
def test_a_table_of_odd_cells_is_a_report_or_refused(place: Path, rows: list[list[str]]) -> None:
    lines = [PUBLISHED_COLUMNS, *rows]
    check_report("\n".join(",".join(line) for line in lines).encode("utf-8", "surrogatepass"), place / "cells")


# Features


@pytest.fixture(scope="module")
def features(place: Path) -> bytes:
    """A small file of features of two videos."""
    path = place / "whole.npz"
    write_videos(path, draw_videos({"a": 0, "b": 1}, clips=1, frames=3))
    return path.read_bytes()


def check_features(content: bytes, path: Path) -> None:
    """Check that a file holds features as promised, or is refused in one sentence when opened or read."""
    path.write_bytes(content)
    try:
        file = read_features(path)
        for video in file.read_all():
            assert video.features.shape == (len(video), file.origin.width)
    except ReportError as error:
        check_sentence(error)


@examples(150)
@given(st.data())
def test_a_damaged_file_of_features_is_read_or_refused(place: Path, features: bytes, data: st.DataObject) -> None:
    check_features(data.draw(damaged(features)), place / "damaged.npz")


@examples(60)
@given(st.data())
def test_a_file_of_features_with_another_text_or_array_is_read_or_refused(
    place: Path, features: bytes, data: st.DataObject
) -> None:
    # the sums of a zip find random damage; this is damage, or an attack, that keeps them right
    content = BytesIO()
    with zipfile.ZipFile(BytesIO(features)) as given_archive, zipfile.ZipFile(content, "w") as archive:
        chosen = data.draw(st.sampled_from(given_archive.namelist()))
        for name in given_archive.namelist():
            entry = given_archive.read(name)
            archive.writestr(name, data.draw(damaged(entry)) if name == chosen else entry)
    check_features(content.getvalue(), place / "changed.npz")


JSON = st.recursive(
    st.one_of(st.none(), st.booleans(), st.integers(), st.floats(), st.sampled_from(WORDS)),
    lambda inner: st.one_of(st.lists(inner, max_size=3), st.dictionaries(st.sampled_from(WORDS), inner, max_size=3)),
    max_leaves=6,
)


@examples(80)
@given(st.sampled_from(["format", "version", "backbone", "sha256", "width", "settings", "names"]), JSON)
def test_a_file_of_features_with_any_word_in_its_text_is_read_or_refused(
    place: Path, features: bytes, key: str, value: object
) -> None:
    content = BytesIO()
    with zipfile.ZipFile(BytesIO(features)) as given_archive, zipfile.ZipFile(content, "w") as archive:
        for name in given_archive.namelist():
            entry = given_archive.read(name)
            if name == "meta.json":
                entry = json.dumps(json.loads(entry) | {key: value}).encode()
            archive.writestr(name, entry)
    check_features(content.getvalue(), place / "words.npz")


# Records of weights


@pytest.fixture(scope="module")
def record(place: Path) -> bytes:
    """The record of a small file that stands for a backbone."""
    path = place / "backbone.pt"
    path.write_bytes(b"weights")
    fields = {"kind": "backbone", "license": "none", "trained_on": ("A",), "preprocessing": PUBLISHED_PREPROCESSING}
    write_record(path, name="backbone", **fields)
    return record_path(path).read_bytes()


def check_record(content: bytes, place: Path) -> None:
    """Check that a record says what a record says, is that of another file, or is refused in one sentence."""
    path = place / "backbone.pt"
    record_path(path).write_bytes(content)
    try:
        found = read_record(path)
    except CorruptWeights as error:
        check_sentence(error)
        return
    if found is not None:
        check_types(found)


def check_types(found: WeightFile) -> None:
    """Check that the values of a record can be used as what they are."""
    assert isinstance(found.filename, str)
    assert len(found.sha256) == 64
    assert all(isinstance(name, str) for name in found.trained_on)
    if found.preprocessing is not None:
        assert np.isfinite(
            [*found.preprocessing.mean, *found.preprocessing.crop_margin, *found.preprocessing.std]
        ).all()


@examples(150)
@given(st.data())
def test_a_damaged_record_is_read_or_refused(place: Path, record: bytes, data: st.DataObject) -> None:
    check_record(data.draw(damaged(record)), place)


@examples(100)
@given(st.data())
def test_a_record_with_any_value_is_read_or_refused(place: Path, record: bytes, data: st.DataObject) -> None:
    fields = json.loads(record)
    part = data.draw(st.sampled_from([fields, fields["preprocessing"]]))
    part[data.draw(st.sampled_from([*part, "another"]))] = data.draw(JSON)
    check_record(json.dumps(fields).encode(), place)


@examples(30)
@given(JSON)
def test_no_other_json_passes_for_a_record(place: Path, record: bytes, value: object) -> None:
    check_record(json.dumps(value).encode(), place)


@examples(20)
@given(st.lists(st.sampled_from(WORDS), max_size=3), st.sampled_from(WORDS))
def test_a_record_comes_back_as_it_was_written(place: Path, names: list[str], word: str) -> None:
    path = place / "own.pt"
    path.write_bytes(b"weights")
    written = write_record(path, name=word, kind="head", license=word, trained_on=tuple(names), held_out=word)
    assert read_record(path) == written
