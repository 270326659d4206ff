"""The commands that look at corpora, train and measure: what they print, write and refuse."""

import sys
from collections.abc import Callable
from pathlib import Path

import click
import numpy as np
import pytest
import torch
from corpus_trees import make_packed, make_pedfe, make_ravdess, make_savee
from network_files import NarrowBackbone
from test_cli import invoke

from emo_affectnet.cli import main
from emo_affectnet.emotions import Emotion
from emo_affectnet.mobilenet import BACKBONES
from emo_affectnet.training.corpora import FERPLUS_COLUMNS
from emo_affectnet.training.fit import RECIPES
from emo_affectnet.training.heads import HeadConfig
from emo_affectnet.weights import CORPUS_NAMES, bundled_folder, read_record

MakeVideo = Callable[..., Path]


@pytest.fixture
def faces(tmp_path: Path) -> Path:
    """FER+ faces for each split, two of each emotion; the images are noise."""
    folder = tmp_path / "faces"
    folder.mkdir()
    images = np.random.default_rng(0).integers(0, 256, (14, 48, 48), dtype=np.uint8)
    votes = np.zeros((14, len(FERPLUS_COLUMNS)), np.uint8)
    labels = np.arange(14) % 7
    votes[np.arange(14), [FERPLUS_COLUMNS.index(Emotion(label).name.lower()) for label in labels]] = 10
    for split in ("train", "valid", "test"):
        np.savez(folder / f"ferplus_{split}.npz", image=images, votes=votes, fer2013_label=labels.astype(np.int8))
    return folder


def test_train_backbone_stops_in_time_and_goes_on(faces: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(BACKBONES, "ResNet50", NarrowBackbone)  # which is quick
    corpus = ("--corpus", f"FER+={faces}")
    command = ("train", "backbone", *corpus, "--save", tmp_path / "mine", "--passes", 2, "--device", "cpu")
    stopped = invoke(main, *command, "--time-limit", 0)
    assert stopped.exit_code == 0
    assert "Time is up; give the same command again" in stopped.output
    done = invoke(main, *command)
    assert done.exit_code == 0
    assert "step 2: loss" in done.output
    assert (tmp_path / "mine" / "backbone.pt").is_file()
    assert (tmp_path / "mine" / "backbone.png").read_bytes().startswith(b"\x89PNG")


def test_train_backbone_takes_several_corpora(faces: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(BACKBONES, "ResNet50", NarrowBackbone)
    make_packed("cfee")(tmp_path / "packed")
    make_packed("kdef")(tmp_path / "packed")
    corpora = [word for name in ("CFEE", "KDEF") for word in ("--corpus", f"{name}={tmp_path / 'packed'}")]
    options = ("--corpus", f"FER+={faces}", *corpora, "--policy", "CFEE.compound=halves", "--sizes", 32, "--passes", 1)
    done = invoke(main, "train", "backbone", *options, "--save", tmp_path / "mine", "--device", "cpu")
    assert done.exit_code == 0, done.output
    assert "CFEE: 4 labelled faces" in done.output
    assert "missing image (1)" in done.output
    record = read_record(tmp_path / "mine" / "backbone.pt")
    assert record is not None
    assert record.trained_on == ("FER+ training faces", "CFEE training faces", "KDEF training faces")
    assert record.policies is not None
    assert record.policies["CFEE.compound"] == "halves"


@pytest.mark.parametrize("command", ["backbone", "heads"])
def test_nothing_is_trained_on_a_corpus_for_judging(command: str, tmp_path: Path) -> None:
    make_pedfe(tmp_path / "pedfe")
    result = invoke(main, "train", command, "--corpus", f"PEDFE={tmp_path / 'pedfe'}", "--save", tmp_path / "mine")
    assert result.exit_code == 2
    assert "PEDFE is for judging only" in result.stderr
    assert not (tmp_path / "mine").exists()


def test_train_backbone_without_a_corpus_says_how_to_give_one(tmp_path: Path) -> None:
    result = invoke(main, "train", "backbone", "--save", tmp_path / "mine")
    assert (result.exit_code, "--corpus NAME=FOLDER" in result.stderr) == (2, True)


def test_the_defaults_of_the_command_are_those_of_the_library() -> None:
    backbone, heads = (main.commands["train"].commands[name] for name in ("backbone", "heads"))
    words = {option.name: option.help or "" for option in backbone.params if isinstance(option, click.Option)}
    for name, recipe in RECIPES.items():
        shown = f"MobileNet: {recipe.passes}]" if name == "MobileNet" else f"[default: {recipe.passes};"
        assert shown in words["passes"]
    defaults = {option.name: option.default for option in heads.params}
    assert (defaults["seed"], defaults["steps"]) == (HeadConfig().seed, HeadConfig().steps)


def test_evaluate_faces_prints_scores_and_every_count(faces: Path, tmp_path: Path) -> None:
    picture = tmp_path / "faces.png"
    result = invoke(main, "evaluate", "faces", faces, "--split", "test", "--save", picture)
    assert result.exit_code == 0
    assert "FER+, test" in result.output
    for line in ("faces, all scored", "accuracy (WAR)", "recall Fear", "calibration error"):
        assert line in result.output
    assert picture.read_bytes().startswith(b"\x89PNG")
    assert "nan" not in result.output


def test_evaluate_faces_compares_backbones(faces: Path) -> None:
    bundled = bundled_folder() / "backbone.pt"
    result = invoke(main, "evaluate", "faces", faces, "--backbone", bundled, "--backbone", bundled)
    assert result.exit_code == 0
    assert "FER+, all splits" in result.output
    assert "truth by row" not in result.output


def test_a_split_that_the_corpus_does_not_have_is_refused(faces: Path) -> None:
    result = invoke(main, "evaluate", "faces", faces, "--split", "dev")
    assert (result.exit_code, "train, valid" in result.stderr) == (2, True)


def test_measuring_a_backbone_says_nothing_of_heads(faces: Path, caplog: pytest.LogCaptureFixture) -> None:
    """Their verification, and the warning that they belong to another backbone, were for commands that use them."""
    mine = faces / "mine.pt"
    torch.save(torch.load(bundled_folder() / "backbone.pt", weights_only=True), mine)
    result = invoke(main, "evaluate", "faces", faces, "--split", "test", "--backbone", mine)
    assert (result.exit_code, caplog.text) == (0, "")


def test_simulated_heads_are_trained_scored_and_called_simulated(faces: Path, tmp_path: Path) -> None:
    study = ("--simulate-from", faces, "--clips", 6, "--cache", tmp_path / "cache")
    trained = invoke(main, "train", "heads", *study, "--save", tmp_path / "mine", "--seeds", 2, "--steps", 2)
    assert trained.exit_code == 0, trained.output
    assert sorted(path.stem for path in (tmp_path / "mine").glob("*.pt")) == sorted(CORPUS_NAMES)
    assert "simulated SAVEE: head" in trained.output
    record = read_record(tmp_path / "mine" / "SAVEE.pt")
    assert record is not None
    assert record.trained_on == tuple(f"simulated {name}" for name in CORPUS_NAMES if name != "SAVEE")
    again = invoke(main, "evaluate", "loco", *study, "--heads", tmp_path / "mine", "--save", tmp_path / "again")
    assert again.exit_code == 0, again.output
    compared = invoke(main, "evaluate", "compare", tmp_path / "mine" / "results", tmp_path / "again")
    assert compared.exit_code == 0, compared.output
    written = ["confusions.png", "results.json", "table.csv", "table.md"]
    assert sorted(path.name for path in (tmp_path / "again").iterdir()) == written
    assert "simulated" in (tmp_path / "again" / "table.md").read_text()


def test_real_layouts_go_from_the_disk_to_the_table(tmp_path: Path, make_video: MakeVideo) -> None:
    make_ravdess(tmp_path / "ravdess", make_video("a.mp4").read_bytes())
    make_savee(tmp_path / "savee", make_video("b.mp4").read_bytes())
    study = (
        *("--corpus", f"RAVDESS={tmp_path / 'ravdess'}", "--corpus", f"SAVEE={tmp_path / 'savee'}"),
        *("--policy", "RAVDESS.calm=neutral", "--cache", tmp_path / "cache", "--jobs", 1),
    )
    result = invoke(main, "train", "heads", *study, "--save", tmp_path / "mine", "--seeds", 1)
    assert result.exit_code == 1
    assert "No labelled clip of RAVDESS shows a face" in result.output  # the videos are plain grey


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        pytest.param((), "Give the corpora of the study", id="no study"),
        pytest.param(
            ("--corpus", "SAVEE=a", "--simulate-from", "b"), "Give the corpora of the study", id="two studies"
        ),
        pytest.param(("--corpus", "SAVEE=a", "--corpus", "SAVEE=b"), "SAVEE is given twice", id="one corpus twice"),
        pytest.param(("--corpus", "SAVEE"), "Expected NAME=FOLDER, but 'SAVEE' came", id="no folder"),
        pytest.param(("--corpus", "SAVE=a"), "There is no corpus named 'SAVE'; choose one of", id="unknown corpus"),
        pytest.param(
            ("--corpus", "SAVEE=a", "--policy", "RAVDESS.calm=drop"), "a policy for RAVDESS", id="policy of a stranger"
        ),
        pytest.param(("--corpus", "SAVEE=a", "--policy", "calm=drop"), "a policy for no corpus", id="policy of nobody"),
    ],
)
def test_a_study_that_is_not_one_is_refused_in_a_sentence(arguments: tuple[str, ...], told: str) -> None:
    result = invoke(main, "evaluate", "loco", *arguments)
    assert result.exit_code == 2
    assert result.stderr.startswith("Error: ")
    assert told in result.stderr


def test_a_missing_head_is_told_before_any_video_is_read(tmp_path: Path, make_video: MakeVideo) -> None:
    make_savee(tmp_path / "savee", make_video("b.mp4").read_bytes())
    study = ("--corpus", f"SAVEE={tmp_path / 'savee'}", "--cache", tmp_path / "cache")
    result = invoke(main, "evaluate", "loco", *study, "--heads", tmp_path)
    assert result.exit_code == 1
    assert "Expected a weight file at" in result.stderr
    assert not (tmp_path / "cache").exists()


def test_one_corpus_can_be_scored_with_its_own_bundled_head(tmp_path: Path, make_video: MakeVideo) -> None:
    make_savee(tmp_path / "savee", make_video("b.mp4").read_bytes())
    study = ("--corpus", f"SAVEE={tmp_path / 'savee'}", "--cache", tmp_path / "cache", "--jobs", 1)
    result = invoke(main, "evaluate", "loco", *study, "--save", tmp_path / "results")
    assert result.exit_code == 0, result.output
    assert "The heads were trained on simulated corpora." in result.output
    assert "0.0" in result.output  # no clip shows a face, and each counts as wrong


def test_a_backbone_is_not_trained_on_videos(tmp_path: Path, make_video: MakeVideo) -> None:
    make_savee(tmp_path / "savee", make_video("b.mp4").read_bytes())
    for command in (
        ("train", "backbone", "--corpus", f"SAVEE={tmp_path / 'savee'}"),
        ("evaluate", "faces", tmp_path / "savee", "--corpus", "SAVEE"),
    ):
        result = invoke(main, *command)
        assert (result.exit_code, "SAVEE is a corpus of videos" in result.stderr) == (1, True)


def test_corpora_scan_counts_and_names_everything(tmp_path: Path, make_video: MakeVideo) -> None:
    make_ravdess(tmp_path / "ravdess", make_video("a.mp4").read_bytes())
    result = invoke(main, "corpora", "scan", "RAVDESS", tmp_path / "ravdess", "--policy", "calm=neutral")
    assert result.exit_code == 0, result.output
    assert "policy calm: neutral" in result.output
    assert "speakers" in result.output
    assert "problem" in result.output


def test_corpora_scan_of_another_folder_says_what_it_expected(tmp_path: Path) -> None:
    result = invoke(main, "corpora", "scan", "SAVEE", tmp_path)
    assert result.exit_code == 1
    assert "AudioVisualClip" in result.stderr


def test_corpora_list_shows_every_policy() -> None:
    from emo_affectnet.training.corpora import CORPORA

    result = invoke(main, "corpora", "list")
    for name, corpus in CORPORA.items():
        assert name in result.output
        assert all(f"  {policy}: " in result.output for policy in corpus.policies)


def test_evaluate_clips_scores_a_folder_of_ones_own(tmp_path: Path) -> None:
    video = Path(__file__).parents[1] / "video" / "expressions.mp4"
    labels = tmp_path / "labels.csv"
    labels.write_text(
        f"path,emotion,start,end,Kind\n{video},happiness,0,2.4,wide\n{video},Surprise,3.2,5.4,odd\n{video},bored,0,1,odd\n"
    )
    options = ("--save", tmp_path / "results", "--cache", tmp_path / "cache", "--jobs", 1)
    refused = invoke(main, "evaluate", "clips", labels, *options, "--by", "sort")
    assert refused.exit_code == 2
    assert "There is no column named 'sort'; choose one of: kind." in refused.stderr
    assert not (tmp_path / "cache").exists()  # no video was read for that
    result = invoke(main, "evaluate", "clips", labels, *options, "--by", "Kind")
    assert result.exit_code == 0, result.output
    assert "2 labelled clips, 2 with a face" in result.output
    assert "By kind" in result.output
    names = sorted(path.name for path in (tmp_path / "results").iterdir())
    assert names == ["by_column.csv", "clips.csv", "confusions.png", "results.json", "table.csv", "table.md"]
    rows = (tmp_path / "results" / "clips.csv").read_text().splitlines()
    assert [row.split(",")[2] for row in rows] == ["truth", "Happiness", "Surprise"]


def test_evaluate_real_prints_its_tables_and_leaves_them_with_pictures(tmp_path: Path) -> None:
    video = Path(__file__).parents[1] / "video" / "expressions.mp4"
    rows = (
        ("happiness", "Ann", 0, 2.4),
        ("surprise", "Ann", 3.2, 5.4),
        ("sadness", "Bob", 6.6, 9),
        ("anger", "Bob", 10, 12),
    )
    lines = [f"{video},{emotion},{speaker},{start},{end},80" for emotion, speaker, start, end in rows]
    (tmp_path / "clips.csv").write_text("\n".join(["path,emotion,speaker,start,end,hit_rate", *lines]) + "\n")
    options = ("--save", tmp_path / "results", "--cache", tmp_path / "cache", "--jobs", 1)
    result = invoke(main, "evaluate", "real", tmp_path, "--weights", "bundled", *options)
    assert result.exit_code == 0, result.output
    assert "4 clips of 2 people, a face found in 4 (100.0%)" in result.output
    table = (tmp_path / "results" / "table.md").read_text(encoding="utf-8")  # a narrow terminal breaks names
    for system in ("human raters", "heads", "averaged faces", "majority class"):
        assert f"| {system} | 6 |" in table
    names = sorted(path.name for path in (tmp_path / "results").iterdir())
    assert names == ["clips.csv", "curve.png", "figures.csv", "table.md", "trust.png"]


@pytest.mark.parametrize(
    ("files", "options", "told"),
    [
        pytest.param((), (), "Expected clips.csv or labels.csv in", id="no table"),
        pytest.param(("labels.csv",), ("--heads", "."), "Expected one of the heads Aff-Wild2.pt", id="no head"),
    ],
)
def test_evaluate_real_says_what_is_missing(
    files: tuple[str, ...], options: tuple[str, ...], told: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    for name in files:
        (tmp_path / name).write_text("path,emotion,speaker\n")
    result = invoke(main, "evaluate", "real", ".", *options)
    assert result.exit_code == 1
    assert told in result.stderr


def test_evaluate_affectnet_counts_what_is_missing(tmp_path: Path) -> None:
    from corpus_trees import make_affectnet_csv

    make_affectnet_csv(tmp_path)
    result = invoke(main, "evaluate", "affectnet", tmp_path)
    assert result.exit_code == 0, result.output
    assert "The check is on 3500 images, 500 of each emotion; here are" in result.output


def test_two_keras_files_and_two_engines_are_the_studys_check_of_four_models(tmp_path: Path) -> None:
    import keras_reference
    from corpus_trees import make_affectnet_csv
    from network_files import random_backbone

    model = keras_reference.build_backbone()
    for seed, name in enumerate(("a.h5", "b.h5")):
        keras_reference.fill_backbone(model, random_backbone(seed).state_dict())
        keras_reference.write_keras_2(tmp_path / name, keras_reference.list_weights(model))
    make_affectnet_csv(tmp_path / "AffectNet")
    backbones = [word for name in ("a.h5", "b.h5") for word in ("--backbone", tmp_path / name)]
    engines = ("--engine", "tensorflow", "--engine", "torch")
    result = invoke(main, "evaluate", "affectnet", tmp_path / "AffectNet", *backbones, *engines)
    assert result.exit_code == 0, result.output
    header = next(line for line in result.output.splitlines() if "a.h5" in line)
    assert header.split() == ["a.h5,", "tensorflow", "a.h5", "b.h5,", "tensorflow", "b.h5"]
    scores = [line for line in result.output.splitlines() if line.strip().startswith("UAR")]
    values = scores[0].split()[1:]
    assert (values[0], values[2]) == (values[1], values[3])  # what runs a network makes no difference


def test_without_the_extra_the_command_names_it(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for name in [name for name in sys.modules if name.startswith("emo_affectnet.training")]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "sklearn.metrics", None)
    result = invoke(main, "evaluate", "compare", tmp_path, tmp_path)
    assert result.exit_code == 1
    assert "pip install 'emo-affectnet[train]'" in result.stderr
