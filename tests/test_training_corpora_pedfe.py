"""PEDFE: the label is in the name, the human raters in a table, and nothing may be trained on it."""

from pathlib import Path

import pytest
from corpus_trees import make_pedfe, make_pedfe_release, make_ravdess, write

from emo_affectnet.emotions import Emotion
from emo_affectnet.errors import UsageError
from emo_affectnet.training.corpora import Scan, refuse_judging, scan


def taken(found: Scan) -> set[str]:
    return {clip.name for clip in found.clips if clip.emotion is not None}


def test_pedfe_name_holds_speaker_emotion_and_kind(tmp_path: Path) -> None:
    found = scan("PEDFE", make_pedfe(tmp_path))
    assert {clip.name: (clip.speaker, clip.label, clip.emotion) for clip in found.clips} == {
        "1_dg_1": ("01", "genuine disgust", Emotion.Disgust),
        "1_ps_2": ("01", "posed fear", Emotion.Fear),
        "12_fg_1": ("12", "genuine happiness", Emotion.Happiness),
        "12_ts_1": ("12", "posed sadness", Emotion.Sadness),
        "12_ss_1": ("12", "posed surprise", Emotion.Surprise),
    }


def test_pedfe_clips_and_rates_without_their_counterpart_are_told(tmp_path: Path) -> None:
    found = scan("PEDFE", make_pedfe(tmp_path))
    assert found.examples("missing video") == ("12_rg_1",)
    assert found.examples("unreadable label line") == (f"{tmp_path / 'clips.csv'}:5",)  # no rate
    assert [Path(where).stem for where in found.examples("no hit rate")] == ["12_ss_1", "12_ts_1"]


@pytest.mark.parametrize(
    ("policies", "names"),
    [
        ({"kind": "genuine"}, {"1_dg_1", "12_fg_1"}),
        ({"kind": "posed"}, {"1_ps_2", "12_ts_1", "12_ss_1"}),
        ({"min_hit_rate": "0.5"}, {"1_dg_1", "1_ps_2", "12_fg_1"}),
        ({"min_hit_rate": "0.8"}, {"12_fg_1"}),
        ({"kind": "posed", "min_hit_rate": "0.5"}, {"1_ps_2"}),
    ],
)
def test_pedfe_kinds_and_hit_rates_are_chosen(policies: dict[str, str], names: set[str], tmp_path: Path) -> None:
    found = scan("PEDFE", make_pedfe(tmp_path), policies)
    assert taken(found) == names
    assert len(found.clips) == 5  # those left out are counted


def test_pedfe_table_of_its_owners_gives_the_hit_rates(tmp_path: Path) -> None:
    found = scan("PEDFE", make_pedfe_release(tmp_path), {"min_hit_rate": "0.5"})
    assert taken(found) == {"1_ds_1"}
    assert found.problems == ()


def test_pedfe_without_a_table_is_read_by_its_names(tmp_path: Path) -> None:
    write(tmp_path, {"1_rg_1.avi": b"video"})
    assert taken(scan("PEDFE", tmp_path)) == {"1_rg_1"}
    assert taken(scan("PEDFE", tmp_path, {"min_hit_rate": "0.1"})) == set()


def test_pedfe_is_not_trained_on(tmp_path: Path) -> None:
    refuse_judging([scan("RAVDESS", make_ravdess(tmp_path)).corpus, "clips csv"])
    with pytest.raises(UsageError, match="PEDFE is for judging only, and nothing is trained on it"):
        refuse_judging(["RAVDESS", "PEDFE"])
