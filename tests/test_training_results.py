"""The result file holds the counts from which every score can be computed, and refuses to be anything else."""

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from emo_affectnet import __version__
from emo_affectnet.errors import ReportError, UsageError
from emo_affectnet.training.results import (
    EvaluationResult,
    SystemResult,
    compare_results,
    read_results,
    write_json,
)


def make_result(corpus: str = "SAVEE", system: str = "head", *, right: int = 6, clusters: int = 12) -> SystemResult:
    """Return speakers with ten clips of Neutral, `right` of them right, and of Anger, nine right, one faceless."""
    confusions = np.zeros((clusters, 7, 8), np.int64)
    confusions[:, 0, [0, 6]] = [right, 10 - right]
    confusions[:, 6, [6, 7]] = [9, 1]
    return SystemResult(corpus, system, "clip", "speaker", tuple(f"s{k:02}" for k in range(clusters)), confusions)


def make_evaluation(*results: SystemResult) -> EvaluationResult:
    return EvaluationResult("test", results or (make_result(),))


def test_what_is_written_is_read_back(tmp_path: Path) -> None:
    written = EvaluationResult(
        title="Leave one corpus out",
        results=(make_result(), replace(make_result(system="averaged frames"), seeds=(0.5, 1 / 3))),
        policies={"SAVEE": {"split": "all"}},
        weights={"SAVEE.pt": "ab" * 32},
        notes=("A note: [1,  2].",),
    )
    write_json(written, tmp_path / "new" / "results.json")
    read = read_results(tmp_path / "new" / "results.json")
    assert (read.title, read.policies, read.weights) == (written.title, written.policies, written.weights)
    assert (read.notes, read.version) == (written.notes, __version__)
    for a, b in zip(written.results, read.results, strict=True):
        assert (a.corpus, a.system, a.unit, a.cluster, a.clusters) == (
            b.corpus,
            b.system,
            b.unit,
            b.cluster,
            b.clusters,
        )
        assert a.seeds == b.seeds
        assert np.array_equal(a.confusions, b.confusions)
        assert a.scores == b.scores
        assert a.interval == b.interval


@settings(max_examples=30, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(title=st.text(), names=st.lists(st.text(), min_size=1, max_size=4, unique=True), seed=st.integers(0, 99))
def test_any_text_and_any_counts_survive(title: str, names: list[str], seed: int, tmp_path: Path) -> None:
    confusions = np.random.default_rng(seed).integers(1, 2**40, (len(names), 7, 8))
    result = SystemResult("SAVEE", "head", "frame", "video", tuple(names), confusions)
    write_json(EvaluationResult(title, (result,), notes=(title,)), tmp_path / "results.json")
    read = read_results(tmp_path / "results.json")
    assert (read.title, read.notes, read.results[0].clusters) == (title, (title,), tuple(names))
    assert np.array_equal(read.results[0].confusions, confusions)


def test_a_folder_stands_for_the_file_in_it(tmp_path: Path) -> None:
    write_json(make_evaluation(), tmp_path / "results.json")
    assert read_results(tmp_path).title == "test"


def test_each_matrix_has_a_line_of_its_own(tmp_path: Path) -> None:
    write_json(make_evaluation(make_result(clusters=2)), tmp_path / "results.json")
    lines = (tmp_path / "results.json").read_text().splitlines()
    empty = ", ".join(["[0, 0, 0, 0, 0, 0, 0, 0]"] * 5)
    assert f'    "s00": [[6, 0, 0, 0, 0, 0, 4, 0], {empty}, [0, 0, 0, 0, 0, 0, 9, 1]],' in lines


def spoil(key: str, value: Any) -> Callable[[dict], None]:
    return lambda document: document.__setitem__(key, value)


def spoil_result(key: str, value: Any) -> Callable[[dict], None]:
    return lambda document: document["results"][0].__setitem__(key, value)


MATRIX = [[1] * 8] * 7


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (spoil("format", "emo_affectnet evaluation 0"), "format"),  # of another version
        (spoil("emotions", ["Happiness"]), "Neutral, Happiness"),  # in another order, the counts mean other things
        (lambda document: document.pop("weights"), "lacks 'weights'"),
        (spoil("results", []), "at least one result"),
        (spoil("results", 3), "not iterable"),
        (spoil("title", 3), "should be text"),
        (spoil("notes", [3]), "should be text"),
        (spoil("policies", {"SAVEE": {"split": 1}}), "should be text"),
        (spoil("weights", []), "items"),
        (spoil_result("corpus", None), "should be text"),
        (spoil_result("unit", "window"), "clip, frame"),
        (spoil_result("cluster", "day"), "speaker, video"),
        (spoil_result("seeds", ["many"]), "many"),
        (spoil_result("confusions", {}), "shape"),
        (spoil_result("confusions", {"a": [[1] * 7] * 7}), "shape"),  # without the column of no face
        (spoil_result("confusions", {"a": MATRIX, "b": [[1] * 8] * 6}), "inhomogeneous"),
        (spoil_result("confusions", {"a": [[0.5] * 8] * 7}), "whole numbers"),  # shares are no counts
        (spoil_result("confusions", {"a": [[-1] * 8] * 7}), "negative"),
        (spoil_result("confusions", {"a": [[0] * 8] * 7}), "all be 0"),
        (spoil_result("confusions", {"a": [[10**30] * 8] * 7}), "whole numbers"),
    ],
)
def test_another_file_is_refused_with_its_reason(change: Callable[[dict], None], message: str, tmp_path: Path) -> None:
    write_json(make_evaluation(), tmp_path / "results.json")
    document = json.loads((tmp_path / "results.json").read_text())
    change(document)
    (tmp_path / "results.json").write_text(json.dumps(document))
    with pytest.raises(ReportError, match=rf"results\.json should be .*{message}"):
        read_results(tmp_path / "results.json")


@pytest.mark.parametrize("text", ["", "frame,Neutral\n", "[]", "3", "\x00"])
def test_a_file_that_is_no_result_at_all_is_refused(text: str, tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text(text)
    with pytest.raises(ReportError, match=r"should be the results\.json"):
        read_results(tmp_path / "a.csv")


def test_a_missing_file_is_told(tmp_path: Path) -> None:
    with pytest.raises(ReportError, match="No such file"):
        read_results(tmp_path / "nothing.json")


def test_an_unwritable_place_is_told_and_nothing_is_left(tmp_path: Path) -> None:
    (tmp_path / "results.json").mkdir()
    with pytest.raises(ReportError, match="cannot be written"):
        write_json(make_evaluation(), tmp_path / "results.json")
    assert [path.name for path in tmp_path.iterdir()] == ["results.json"]


def test_two_clusters_of_one_name_are_refused() -> None:
    with pytest.raises(UsageError, match="same name"):
        replace(make_result(clusters=2), clusters=("a", "a"))


def test_a_system_has_one_result_on_a_corpus() -> None:
    with pytest.raises(UsageError, match="one for each system"):
        make_evaluation(make_result(), make_result(right=3))


@pytest.mark.parametrize(
    ("corpus", "system", "published"),
    [
        ("SAVEE", "head", 0.761),  # the README of the published system
        ("SAVEE", "averaged frames", None),  # published is the score of the heads only
        ("simulated SAVEE", "head", None),  # not the corpus of that score
        ("FER+", "head", None),
    ],
)
def test_the_published_score_stands_beside_the_head_on_the_real_corpus(
    corpus: str, system: str, published: float | None
) -> None:
    expected = published if published is None else pytest.approx(published)
    assert make_result(corpus, system).published_uar == expected


def test_the_published_scores_have_the_published_mean() -> None:
    from emo_affectnet.training.results import PUBLISHED_UAR
    from emo_affectnet.weights import CORPUS_NAMES

    assert sorted(PUBLISHED_UAR) == sorted(CORPUS_NAMES)
    assert round(np.mean(list(PUBLISHED_UAR.values())), 1) == 53.9


def test_each_system_on_each_common_corpus_is_compared() -> None:
    a = make_evaluation(make_result("SAVEE"), make_result("RAMAS"), make_result("SAVEE", "majority class", right=10))
    b = make_evaluation(make_result("RAMAS", right=6), make_result("SAVEE", right=8), make_result("IEMOCAP"))
    found = compare_results(a, b)
    assert [(each.corpus, each.system) for each in found] == [("SAVEE", "head"), ("RAMAS", "head")]
    # Two more of ten Neutral clips, of two classes: 10 points.
    assert [each.difference.difference for each in found] == [pytest.approx(0.1), 0]
    # The least that 2000 resamples and 12 clusters can tell is 1/2000; two corpora make it twice that.
    assert [each.p_holm for each in found] == [2 / 2000, 1]


def test_p_values_are_corrected_for_the_corpora_of_one_system_alone() -> None:
    systems = ("head", "averaged frames", "averaged windows")
    a = make_evaluation(*(make_result(system=system) for system in systems))
    b = make_evaluation(*(make_result(system=system, right=8) for system in systems))
    assert [each.p_holm for each in compare_results(a, b)] == [1 / 2000] * 3


def test_clusters_are_matched_by_name() -> None:
    a = make_result(clusters=2)
    a = replace(a, confusions=a.confusions * np.array([1, 2])[:, None, None])
    b = replace(a, clusters=a.clusters[::-1], confusions=a.confusions[::-1])
    (found,) = compare_results(make_evaluation(a), make_evaluation(b))
    assert found.difference.interval.low == found.difference.interval.high == 0


def test_what_cannot_be_compared_is_refused() -> None:
    with pytest.raises(UsageError, match="in common"):
        compare_results(make_evaluation(make_result("SAVEE")), make_evaluation(make_result("RAMAS")))
    with pytest.raises(UsageError, match="SAVEE, head: .* same speakers"):
        compare_results(make_evaluation(make_result()), make_evaluation(make_result(clusters=11)))
    twice = replace(make_result(), confusions=2 * make_result().confusions)
    with pytest.raises(UsageError, match="SAVEE, head: .* same items"):
        compare_results(make_evaluation(make_result()), make_evaluation(twice))
