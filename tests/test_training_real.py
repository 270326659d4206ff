"""Real people are scored with seven and six answers, with three treatments, beside raters and the peer."""

import csv
from pathlib import Path

import numpy as np
import pytest
import torch
from network_files import random_backbone

from emo_affectnet.emotions import EMOTION_NAMES, Emotion
from emo_affectnet.errors import CorpusError, UsageError
from emo_affectnet.models import LSTMHead
from emo_affectnet.training import real
from emo_affectnet.training.features import ClipFeatures, CorpusFeatures
from emo_affectnet.training.heads import export_head
from emo_affectnet.training.real import AS_IS, ENSEMBLE, FACES, PEER, PERSON, RUN, RealEvaluation, evaluate_real
from emo_affectnet.training.real_tables import (
    answer_rows,
    curve_lines,
    curve_rows,
    describe,
    lead_rows,
    remarks,
    right_rows,
    score_rows,
    trust_rows,
    write_real,
)
from emo_affectnet.weights import write_record

SPEAKERS, HIT_RATE = 12, {Emotion.Fear: 40.0, Emotion.Anger: 80.0}


def make_corpus() -> CorpusFeatures:
    """Return twelve people with two clips of Fear and two of Anger each; the last clip has no face."""
    generator = np.random.default_rng(0)
    clips = []
    for speaker in range(SPEAKERS):
        own = generator.random(512, dtype=np.float32)
        for number in range(4):
            emotion = (Emotion.Fear, Emotion.Anger)[number % 2]
            count = 0 if (speaker, number) == (SPEAKERS - 1, 3) else 6
            features = np.maximum(own + 0.1 * generator.standard_normal((count, 512), dtype=np.float32), 0)
            indices = np.arange(count) * 6
            mass = np.zeros((count, 7), np.float32)
            columns = {"hit_rate": str(HIT_RATE[emotion])}
            name = f"{speaker}_{number}.avi"
            clips.append(
                ClipFeatures(name, f"s{speaker}", emotion, indices / 30, features, mass, indices, columns=columns)
            )
    return CorpusFeatures("clips csv", tuple(clips))


def write_peer(path: Path, corpus: CorpusFeatures) -> None:
    """Write a peer who always gives Neutral 0.5, and of what is left the most to the truth."""
    with path.open("w", newline="") as file:
        table = csv.writer(file)
        table.writerow(["path", *EMOTION_NAMES])
        for clip in corpus.clips:
            values = np.full(7, 0.05)
            values[Emotion.Neutral], values[clip.label] = 0.5, 0.25
            table.writerow([clip.name, *values])


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, list[Path]]:
    folder = tmp_path_factory.mktemp("weights")
    torch.save(random_backbone().state_dict(), folder / "backbone.pt")
    heads = []
    for seed, name in enumerate(("SAVEE", "RAMAS")):
        torch.manual_seed(seed)
        heads.append(folder / f"{name}.pt")
        export_head(LSTMHead().eval(), heads[-1])
        write_record(heads[-1], name=name, kind="head", license="none", trained_on=())
    return folder / "backbone.pt", heads


@pytest.fixture(scope="module")
def found(files: tuple[Path, list[Path]], tmp_path_factory: pytest.TempPathFactory) -> RealEvaluation:
    corpus, folder = make_corpus(), tmp_path_factory.mktemp("pedfe")
    write_peer(folder / "py_feat.csv", corpus)
    return evaluate_real(corpus, folder=folder, backbone=files[0], heads=files[1])


def uar(found: RealEvaluation, system: str, treatment: str, answers: int) -> float:
    (figure,) = [
        each
        for each in found.figures
        if (each.result.system, each.treatment, each.result.answers) == (system, treatment, answers)
    ]
    return figure.result.scores.uar


def test_every_system_is_scored_with_seven_and_six_answers_after_every_treatment(found: RealEvaluation) -> None:
    own = {(each.result.system, each.treatment, each.result.answers) for each in found.figures}
    assert own == {
        *(
            (system, how, answers)
            for system in (ENSEMBLE, FACES, PEER)
            for how in (AS_IS, RUN, PERSON)
            for answers in (7, 6)
        ),
        *(("majority class", AS_IS, answers) for answers in (7, 6)),
    }
    assert {each.result.scores.count for each in (*found.figures, *found.curve)} == {48}  # faceless ones are wrong


def test_the_peer_is_treated_alike(found: RealEvaluation) -> None:
    assert (uar(found, PEER, AS_IS, 7), uar(found, PEER, AS_IS, 6)) == (0.0, 1.0)
    assert uar(found, PEER, RUN, 7) == 1.0  # Neutral is what is always there
    assert found.moves_features is False


def test_human_raters_have_the_mean_of_their_hits_over_the_emotions(found: RealEvaluation) -> None:
    assert found.raters is not None
    share, interval = found.raters
    assert share == pytest.approx(0.6)
    assert (interval.low, interval.high) == (pytest.approx(0.6), pytest.approx(0.6))  # all people are rated alike


def test_the_lead_is_the_difference_of_the_two_scores_on_the_same_clips(found: RealEvaluation) -> None:
    for (treatment, answers), lead in found.leads.items():
        difference = uar(found, ENSEMBLE, treatment, answers) - uar(found, FACES, treatment, answers)
        assert lead.difference == pytest.approx(difference)


def test_tables_say_the_same_as_the_figures(found: RealEvaluation, tmp_path: Path) -> None:
    assert describe(found) == "48 clips of 12 people, a face found in 47 (97.9%)"
    rows = {(row[0], row[1]): row for row in score_rows(found)}
    assert rows["human raters", "6"][2] == "60.0 (60.0–60.0)"
    assert rows[PEER, "6"][2] == "100.0 (100.0–100.0)"
    assert rows["majority class", "7"][3:] == ("", "")
    assert curve_rows(found)[0][2:] == ("none", "1", "2", "4", "8", "16", "all")
    assert [row[:2] for row in curve_rows(found)[1:3]] == [(ENSEMBLE, "7"), (ENSEMBLE, "6")]
    assert [row[0] for row in lead_rows(found)] == ["answers", "7", "6"]
    lines = curve_lines(found)
    assert lines[f"{ENSEMBLE}, 7 answers"][0] == ("none", uar(found, ENSEMBLE, RUN, 7))
    assert lines[f"{ENSEMBLE}, 7 answers"][-1] == ("all", uar(found, ENSEMBLE, PERSON, 7))
    assert [row[0] for row in answer_rows(found)] == ["answer", "emotion of 7", "emotion of 6", "peak", "peak minus 6"]
    assert len(trust_rows(found)) == 7  # three measures, seven and six answers
    counted = [int(row[1].split(",")[0]) for row in right_rows(found)[1:] if row[1]]
    assert sum(counted) == 47
    assert "features are not" in remarks(found)[2]
    write_real(found, tmp_path, weights={"a.pt": "ab" * 32})
    text = (tmp_path / "table.md").read_text(encoding="utf-8")
    assert "| human raters | 6 | 60.0 (60.0–60.0) |  |  |" in text
    with (tmp_path / "figures.csv").open(newline="") as file:
        figures = list(csv.DictReader(file))
    assert {row["figure"] for row in figures} == {"UAR", "lead", "AUC"}
    assert [row["value"] for row in figures if row["system"] == "human raters"] == ["0.600000"]
    assert len((tmp_path / "clips.csv").read_text().splitlines()) == 49


def test_without_raters_and_peer_the_others_are_scored(files: tuple[Path, list[Path]], tmp_path: Path) -> None:
    clips = tuple(ClipFeatures(**{**vars(clip), "columns": {}}) for clip in make_corpus().clips)
    found = evaluate_real(CorpusFeatures("mine", clips), folder=tmp_path, backbone=files[0], heads=files[1][:1])
    assert found.raters is None
    assert {each.result.system for each in found.figures} == {ENSEMBLE, FACES, "majority class"}
    assert {each.separation.measure for each in found.trust} == {real.TOP, real.MARGIN}  # one head agrees with itself


def test_what_is_not_laid_out_as_expected_is_refused(files: tuple[Path, list[Path]], tmp_path: Path) -> None:
    with pytest.raises(CorpusError, match=r"Expected clips\.csv or labels\.csv in"):
        real.find_table(tmp_path)
    (tmp_path / "labels.csv").touch()
    assert real.find_table(tmp_path).name == "labels.csv"
    (tmp_path / "py_feat.csv").write_text("path,Neutral\na,1\n")
    with pytest.raises(CorpusError, match=r"py_feat\.csv: 'Happiness'"):
        evaluate_real(make_corpus(), folder=tmp_path, backbone=files[0], heads=files[1])
    alone = tuple(ClipFeatures(**{**vars(clip), "speaker": clip.name}) for clip in make_corpus().clips)
    with pytest.raises(UsageError, match="several clips of each speaker"):
        evaluate_real(CorpusFeatures("mine", alone), folder=tmp_path, backbone=files[0], heads=files[1])
