"""Each clip of an evaluation has a row, and each value of a further column has scores."""

import csv
from pathlib import Path

import numpy as np
import pytest

from emo_affectnet.emotions import EMOTION_NAMES, Emotion
from emo_affectnet.errors import ReportError, UnknownName, UsageError
from emo_affectnet.training.clip_tables import NOTHING, part_rows, score_parts, split_clips, write_clips, write_parts
from emo_affectnet.training.features import ClipFeatures, CorpusFeatures
from emo_affectnet.training.judgements import judge
from emo_affectnet.training.readers import ClipReading, read_by_averaging


def make_clip(name: str, emotion: Emotion, *, shown: Emotion | None, **columns: str) -> ClipFeatures:
    """Return a clip of five samples, a second, in which an expression is `shown`; None: there is no face."""
    count = 0 if shown is None else 5
    features = np.zeros((count, 512), np.float32)
    if shown is not None:
        features[:, shown] = 1.0
    mass = np.zeros((count, 7), np.float32)
    indices = np.arange(count) * 6
    observed = np.arange(40) < 30 if count else np.zeros(40, dtype=bool)
    return ClipFeatures(
        name, "Ann", int(emotion), indices / 30, features, mass, indices, observed=observed, columns=columns
    )


def classify(features: np.ndarray) -> np.ndarray:
    """Return 0.4 for Neutral, 0.5 for the expression that is shown, and the rest for the others."""
    probabilities = 0.02 + 0.48 * features[..., :7]
    probabilities[..., 0] = 0.4
    return probabilities / probabilities.sum(axis=-1, keepdims=True)


CLIPS = (
    make_clip("=a.mp4", Emotion.Fear, shown=Emotion.Fear, kind="posed", hit_rate="80"),
    make_clip("b.mp4", Emotion.Anger, shown=Emotion.Fear, kind="posed", hit_rate="60.5"),
    make_clip("c.mp4", Emotion.Anger, shown=Emotion.Neutral, kind="genuine", hit_rate="40"),
    make_clip("d.mp4", Emotion.Anger, shown=None, kind="", hit_rate=""),
)


def read() -> list[ClipReading]:
    return read_by_averaging(classify)(CLIPS)


def read_csv(path: Path) -> list[dict[str, str]]:
    with path.open(newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


def test_each_clip_has_a_row_with_both_answers_and_all_that_its_table_says(tmp_path: Path) -> None:
    write_clips(CLIPS, read(), tmp_path / "new" / "clips.csv")
    rows = read_csv(tmp_path / "new" / "clips.csv")
    assert [(row["clip"], row["truth"], row["answer"], row["answer_of_six"]) for row in rows] == [
        ("./=a.mp4", "Fear", "Fear", "Fear"),  # no cell begins a formula
        ("b.mp4", "Anger", "Fear", "Fear"),
        ("c.mp4", "Anger", "Neutral", "Happiness"),  # the first of six that are alike
        ("d.mp4", "Anger", "", ""),
    ]
    assert float(rows[0]["Fear"]) == pytest.approx(0.5)
    assert {rows[3][name] for name in (*EMOTION_NAMES, "agreement")} == {""}
    assert [row["coverage"] for row in rows] == ["0.750000"] * 3 + ["0.000000"]
    assert [(row["kind"], row["hit_rate"]) for row in rows][1:] == [("posed", "60.5"), ("genuine", "40"), ("", "")]
    (tmp_path / "file").touch()
    with pytest.raises(ReportError, match="cannot be written"):
        write_clips(CLIPS, read(), tmp_path / "file" / "clips.csv")


def test_scores_are_given_for_each_value_of_a_column(tmp_path: Path) -> None:
    parts = score_parts(CLIPS, [judge(CorpusFeatures("mine", CLIPS), "averaged frames", read())], "kind")
    assert [(part.value, part.result.answers, part.result.scores.war) for part in parts] == [
        ("genuine", 7, 0),
        ("genuine", 6, 0),
        ("posed", 7, 0.5),
        ("posed", 6, 0.5),
        (NOTHING, 7, 0),
        (NOTHING, 6, 0),
    ]
    header, *rows = part_rows(parts)
    assert header[:5] == ("kind", "system", "answers", "items", "coverage")
    assert rows[2][:6] == ("posed", "averaged frames", "7", "2", "100.0", "50.0")
    write_parts(parts, tmp_path / "by_column.csv")
    row = read_csv(tmp_path / "by_column.csv")[2]
    assert (row["column"], row["value"], row["items"], row["uar"]) == ("kind", "posed", "2", "0.500000")


def test_numbers_with_many_values_are_cut_at_their_quartiles() -> None:
    values = [*map(str, range(20)), ""]
    clips = [make_clip(value, Emotion.Fear, shown=None, rate=value) for value in values]
    found = split_clips(clips, "rate")
    assert list(found) == ["up to 4.75", "4.75 to 9.5", "9.5 to 14.25", "above 14.25", NOTHING]
    assert [int(where.sum()) for where in found.values()] == [5, 5, 5, 5, 1]


def test_words_with_many_values_and_columns_that_are_not_there_are_refused() -> None:
    clips = [make_clip(str(number), Emotion.Fear, shown=None, note=f"clip {number}") for number in range(13)]
    with pytest.raises(UsageError, match="note has 13 values; expected at most 12, or numbers"):
        split_clips(clips, "note")
    with pytest.raises(UnknownName, match="note"):
        split_clips(clips, "kind")
