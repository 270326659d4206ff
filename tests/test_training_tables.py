"""Tables show every score with its coverage and its uncertainty, and say what must be known to read them."""

import csv
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from emo_affectnet.errors import ReportError, UnknownName
from emo_affectnet.training.metrics import Difference, Interval, cluster_bootstrap
from emo_affectnet.training.results import Comparison, EvaluationResult, SystemResult, read_results
from emo_affectnet.training.tables import (
    brief_rows,
    comparison_rows,
    confusion_items,
    remarks,
    table_rows,
    to_rows,
    write_results,
)


def make_result(corpus: str, system: str = "head", *, right: int = 6, speakers: int = 12) -> SystemResult:
    """Return speakers with ten clips of Neutral, `right` of them right, and of Anger, nine right, one faceless."""
    confusions = np.zeros((speakers, 7, 8), np.int64)
    confusions[:, 0, [0, 6]] = [right, 10 - right]
    confusions[:, 6, [6, 7]] = [9, 1]
    return SystemResult(corpus, system, "clip", "speaker", tuple(f"s{k:02}" for k in range(speakers)), confusions)


def add_disgust(result: SystemResult, *columns: int) -> SystemResult:
    """Give the first speaker one clip of Disgust for each of the predictions."""
    confusions = result.confusions.copy()
    np.add.at(confusions[0, 5], list(columns), 1)
    return replace(result, confusions=confusions)


def find_remark(result: EvaluationResult, start: str) -> list[str]:
    return [remark for remark in remarks(result) if remark.startswith(start)]


def test_a_row_has_the_scores_in_percent_with_coverage_and_interval() -> None:
    header, row = table_rows(EvaluationResult("test", (make_result("SAVEE"),)))
    assert dict(zip(header, row, strict=True)) == {
        "corpus": "SAVEE",
        "system": "head",
        "answers": "7",
        "unit": "clip",
        "items": "240",
        "clusters": "12",
        "classes": "2",
        "coverage": "95.0",  # 1 of 20 clips has no face
        "UAR": "75.0",  # (6/10 + 9/10) / 2
        "95 %": "75.0–75.0",  # all speakers are alike
        "above chance": "50.0",  # (0.75 - 0.5) / (1 - 0.5)
        "WAR": "75.0",
        "F1": "76.6",  # Neutral 2 * 6 / (10 + 6) = 0.75, Anger 2 * 9 / (10 + 13) = 0.783
        "published": "76.1",
    }


def test_a_narrow_table_has_fewer_columns_and_no_empty_one() -> None:
    real, simulated = (EvaluationResult("test", (make_result(name),)) for name in ("SAVEE", "simulated SAVEE"))
    assert brief_rows(real) == [
        ("corpus", "system", "items", "coverage", "UAR", "95 %", "WAR", "published"),
        ("SAVEE", "head", "240", "95.0", "75.0", "75.0–75.0", "75.0", "76.1"),
    ]
    assert brief_rows(simulated)[0] == ("corpus", "system", "items", "coverage", "UAR", "95 %", "WAR")


def test_the_last_row_is_the_mean_over_the_corpora_however_large_they_are() -> None:
    small, large = make_result("SAVEE", right=2), make_result("RAVDESS", right=10, speakers=120)
    *_, mean = to_rows(EvaluationResult("test", (small, large)))
    assert (mean.corpus, mean.system, mean.items) == ("mean of 2", "head", None)
    assert mean.uar == pytest.approx((0.55 + 0.95) / 2)  # pooled, it would be 0.91
    assert mean.chance_normalised_uar == pytest.approx((0.1 + 0.9) / 2)
    assert mean.published_uar == pytest.approx((0.761 + 0.658) / 2)  # of the same two corpora


def test_each_system_has_its_own_mean_and_simulated_corpora_are_not_mixed_with_real_ones() -> None:
    names = ("SAVEE", "RAMAS", "simulated SAVEE", "simulated RAMAS")
    results = [make_result(name, system) for name in names for system in ("head", "averaged frames")]
    rows = to_rows(EvaluationResult("test", tuple(results)))
    assert [(row.corpus, row.system) for row in rows[8:]] == [
        ("mean of 2", "head"),
        ("mean of 2", "averaged frames"),
        ("mean of 2 simulated", "head"),
        ("mean of 2 simulated", "averaged frames"),
    ]
    assert rows[8].published_uar == pytest.approx((0.761 + 0.443) / 2)
    assert [row.published_uar for row in rows[9:]] == [None, None, None]


def test_a_mean_beside_unpublished_corpora_has_no_published_value() -> None:
    *_, mean = to_rows(EvaluationResult("test", (make_result("SAVEE"), make_result("another"))))
    assert mean.published_uar is None


def test_simulated_corpora_are_called_so_and_have_no_published_score() -> None:
    result = EvaluationResult("test", (make_result("simulated SAVEE"),))
    assert table_rows(result)[1][-1] == ""
    assert len(find_remark(result, "The simulated corpora are not the real ones")) == 1
    assert not find_remark(result, "Published")
    real = EvaluationResult("test", (make_result("SAVEE"),))
    assert not find_remark(real, "The simulated")
    assert len(find_remark(real, "Published is the UAR in the README")) == 1


def test_few_speakers_are_shown_one_by_one_for_every_system() -> None:
    head = make_result("SAVEE", speakers=2)
    head.confusions[1, 0, [0, 6]] = [1, 9]
    result = EvaluationResult("test", (head, make_result("SAVEE", "averaged frames", right=0, speakers=2)))
    assert find_remark(result, "SAVEE") == [
        # (6/10 + 9/10) / 2, (1/10 + 9/10) / 2, (0 + 9/10) / 2
        "SAVEE, UAR by speaker: head: s00 75.0, s01 50.0; averaged frames: s00 45.0, s01 45.0.",
        "SAVEE: head minus averaged frames, +17.5 points of UAR (+5.0 to +30.0).",
    ]
    assert table_rows(result)[1][9].endswith("†")
    assert len(find_remark(result, "†")) == 1


def test_ten_speakers_are_not_shown_one_by_one() -> None:
    result = EvaluationResult("test", (make_result("RAMAS", speakers=10),))
    assert not find_remark(result, "RAMAS")
    assert not find_remark(result, "†")
    assert "†" not in table_rows(result)[1][9]


def test_a_rare_emotion_is_told_with_the_score_without_it_and_the_draws_that_lacked_it() -> None:
    head = add_disgust(make_result("IEMOCAP"), 5, 5)
    other = add_disgust(make_result("IEMOCAP", "averaged frames", right=4), 5, 0)
    dropped = cluster_bootstrap(head.confusions).dropped
    assert dropped / 2000 == pytest.approx((11 / 12) ** 12, abs=0.04)  # draws without the one speaker
    assert find_remark(EvaluationResult("test", (head, other)), "IEMOCAP") == [
        "IEMOCAP: Disgust has 2 items; UAR without it: head 75.0, averaged frames 65.0.",
        f"IEMOCAP: {dropped} of 2000 draws lacked an emotion and were left out.",
        "IEMOCAP: head minus averaged frames, +23.3 points of UAR (+23.3 to +23.3).",  # (60 - 40 + 0 + 100 - 50) / 3
    ]


def test_ten_items_are_not_rare_and_nine_of_everything_leave_no_other() -> None:
    ten = EvaluationResult("test", (add_disgust(make_result("RAMAS"), *[5] * 10),))
    assert not find_remark(ten, "RAMAS: Disgust")
    confusions = np.zeros((1, 7, 8), np.int64)
    confusions[0, 0, 0], confusions[0, 4, 4] = 9, 1
    tiny = SystemResult("RAMAS", "head", "clip", "video", ("a",), confusions)
    assert find_remark(EvaluationResult("test", (tiny,)), "RAMAS: ") == [
        "RAMAS: no emotion has 10 items, so that each item moves the UAR by more than a point."
    ]


def test_the_lead_is_over_the_best_other_system() -> None:
    results = (
        make_result("RAMAS"),
        make_result("RAMAS", "averaged frames", right=2),
        make_result("RAMAS", "x", right=4),
    )
    assert find_remark(EvaluationResult("test", results), "RAMAS") == [
        "RAMAS: head minus x, +10.0 points of UAR (+10.0 to +10.0)."
    ]


def test_training_seeds_are_told_beside_the_interval() -> None:
    result = EvaluationResult("test", (replace(make_result("RAMAS"), seeds=(0.5, 0.6, 0.7)),))
    assert find_remark(result, "RAMAS") == ["RAMAS, head: UAR over 3 training seeds 60.0 ± 10.0 (mean and SD)."]


def test_the_notes_of_the_evaluation_stand_last() -> None:
    assert remarks(EvaluationResult("test", (make_result("RAMAS"),), notes=("First.", "Last.")))[-2:] == [
        "First.",
        "Last.",
    ]


def test_three_files_are_written_and_the_tables_are_views_of_the_first(tmp_path: Path) -> None:
    result = EvaluationResult(
        "Leave one corpus out",
        (make_result("SAVEE", "a|b"), make_result("RAMAS", "a|b")),
        policies={"SAVEE": {}, "RAMAS": {"min_agreement": "0.5", "scale": "all"}},
        weights={"SAVEE.pt": "ab" * 32},
    )
    write_results(result, tmp_path / "new")
    assert sorted(path.name for path in (tmp_path / "new").iterdir()) == ["results.json", "table.csv", "table.md"]
    with (tmp_path / "new" / "table.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert [row["corpus"] for row in rows] == ["SAVEE", "RAMAS", "mean of 2"]
    assert (rows[0]["uar"], rows[0]["coverage"], rows[0]["is_rough"]) == ("0.75", "0.95", "0")
    assert (rows[2]["uar"], rows[2]["items"], rows[2]["published_uar"]) == ("0.75", "", "")
    markdown = (tmp_path / "new" / "table.md").read_text(encoding="utf-8")
    write_results(read_results(tmp_path / "new"), tmp_path / "again")
    assert (tmp_path / "again" / "table.md").read_text(encoding="utf-8") == markdown
    lines = markdown.splitlines()
    assert lines[0] == "# Leave one corpus out"
    assert {line.replace(r"\|", "").count("|") for line in lines if line.startswith("|")} == {15}
    assert "- RAMAS: min_agreement: 0.5, scale: all" in lines
    assert "- `SAVEE.pt`, SHA-256 `abababababababab...`" in lines


def test_a_corpus_without_policies_and_an_evaluation_without_weights_have_no_headings(tmp_path: Path) -> None:
    write_results(EvaluationResult("test", (make_result("SAVEE"),), policies={"SAVEE": {}}), tmp_path)
    assert "##" not in (tmp_path / "table.md").read_text(encoding="utf-8")


def test_an_unwritable_table_is_told_and_leaves_no_part(tmp_path: Path) -> None:
    (tmp_path / "table.md").mkdir()
    with pytest.raises(ReportError, match="cannot be written"):
        write_results(EvaluationResult("test", (make_result("SAVEE"),)), tmp_path)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["results.json", "table.csv", "table.md"]


def test_confusions_of_one_system_come_with_their_scores_as_titles() -> None:
    result = EvaluationResult(
        "test", (make_result("SAVEE"), make_result("SAVEE", "majority class"), make_result("RAMAS"))
    )
    items = confusion_items(result)
    assert [title for title, _ in items] == [
        "SAVEE\nUAR 75.0 · WAR 75.0 · coverage 95.0 %",
        "RAMAS\nUAR 75.0 · WAR 75.0 · coverage 95.0 %",
    ]
    assert np.array_equal(items[0][1], 12 * make_result("SAVEE").confusions[0])
    with pytest.raises(UnknownName, match="head, majority class"):
        confusion_items(result, system="LSTM")


def test_a_comparison_shows_points_and_both_p_values() -> None:
    sure = Difference(0.5, 0.612, 0.112, Interval(0.05, 0.17, 24, 2000, 0), 0.0005)
    unsure = Difference(0.5, 0.49, -0.01, Interval(-0.05, 0.03, 4, 2000, 0), 0.7)
    unknown = Difference(0.5, 0.49, -0.01, Interval(None, None, 7, 0, 2000), 1.0)
    comparisons = [
        Comparison(name, "head", 7, each, p)
        for name, each, p in (("RAVDESS", sure, 0.0015), ("SAVEE", unsure, 1.0), ("X", unknown, 1.0))
    ]
    assert comparison_rows(comparisons)[1:] == [
        ("RAVDESS", "head", "7", "50.0", "61.2", "+11.2", "+5.0 to +17.0", "0.0005", "0.0015"),
        ("SAVEE", "head", "7", "50.0", "49.0", "-1.0", "-5.0 to +3.0†", "0.7000", "1.0000"),
        ("X", "head", "7", "50.0", "49.0", "-1.0", "†", "1.0000", "1.0000"),
    ]
