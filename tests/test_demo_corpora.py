"""The demo corpora look on disk like the real ones: names, folders, tables, and videos in which faces are found."""

import csv
import re
import sys
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
from click.testing import CliRunner
from conftest import ROOT

from emo_affectnet.cli import main
from emo_affectnet.detection import DETECTORS
from emo_affectnet.emotions import Emotion
from emo_affectnet.training.corpora import scan
from emo_affectnet.training.results import read_results
from emo_affectnet.video import probe, read_frames
from emo_affectnet.weights import read_record

CLIPS = 7  # in each corpus
CLIP_SECONDS = (0.8, 1.2)  # half of what the script gives a clip or an interval
FACTS = {  # suffix, frames per second, width and height
    "RAVDESS": (".mp4", 30_000 / 1001, (320, 180)),
    "CREMA-D": (".flv", 30_000 / 1001, (240, 180)),
    "SAVEE": (".avi", 60, (320, 256)),
    "RAMAS": (".avi", 25, (320, 240)),
    "IEMOCAP": (".avi", 30_000 / 1001, (720, 480)),
    "Aff-Wild2": (".mp4", None, (320, 240)),  # 24 or 30
}
LABELLED = {name: 4 if name == "Aff-Wild2" else CLIPS for name in FACTS}  # annotated people, or clips
SPEAKERS = {"RAVDESS": 3, "CREMA-D": 4, "SAVEE": 4, "RAMAS": 3, "IEMOCAP": 4, "Aff-Wild2": 3}  # of which two share one


@pytest.fixture(scope="module")
def script() -> Iterator[ModuleType]:
    """The script, with one studio for all, whose clips are short."""
    sys.path.insert(0, str(ROOT / "scripts"))
    import demo_studio
    import make_demo_corpora

    studio = make_demo_corpora.open_studio()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(demo_studio, "CLIP_SECONDS", CLIP_SECONDS)
        patch.setattr(make_demo_corpora, "open_studio", lambda: studio)
        yield make_demo_corpora
    sys.path.pop(0)


@pytest.fixture(scope="module")
def written(script: ModuleType, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, str]:
    """The folder of the small corpora, and what the script said of them."""
    root = tmp_path_factory.mktemp("demo") / "corpora"
    result = CliRunner().invoke(script.main, [str(root), "--clips", str(CLIPS)], catch_exceptions=False)
    assert result.exit_code == 0
    return root, result.stdout


@pytest.fixture(scope="module")
def corpora(written: tuple[Path, str]) -> Path:
    return written[0]


def _videos(root: Path) -> list[Path]:
    """Return the videos below a corpus, without the one that git-lfs has not fetched."""
    return sorted(
        path for path in root.rglob("*.*") if path.suffix in {".mp4", ".flv", ".avi"} and path.stat().st_size > 999
    )


def test_one_line_per_corpus_tells_what_was_written(written: tuple[Path, str]) -> None:
    lines = [line.split() for line in written[1].splitlines()]
    assert [line[0] for line in lines] == list(FACTS)
    assert [int(line[1]) for line in lines] == list(LABELLED.values())


@pytest.mark.parametrize("name", FACTS)
def test_videos_have_the_format_and_rate_of_their_corpus(corpora: Path, name: str) -> None:
    suffix, fps, size = FACTS[name]
    for path in _videos(corpora / name):
        info = probe(path)
        assert path.suffix == suffix
        assert (info.width, info.height) == size
        assert info.is_constant_rate
        assert info.fps == pytest.approx(fps or round(info.fps or 0), rel=0.001)
        assert info.duration is not None
        assert info.duration >= CLIP_SECONDS[0] - 0.1


@pytest.mark.parametrize("name", FACTS)
def test_a_face_is_found_for_everybody(corpora: Path, name: str) -> None:
    detect = DETECTORS["short-range"]()
    for path in _videos(corpora / name):
        images = [frame.image for frame in read_frames(path)]
        for image in images[:: len(images) // 3]:
            halves = np.split(image, 2, axis=1) if name == "IEMOCAP" else [image]
            people = 2 if path.stem == "134-30-320x240" else 1
            assert min(len(detect(np.ascontiguousarray(half))) for half in halves) >= people, path


def test_ravdess_names_hold_seven_numbers(corpora: Path) -> None:
    paths = list((corpora / "RAVDESS").glob("Actor_*/*"))
    assert all(re.fullmatch(r"0[123]-01-0[1-8]-0[12]-0[12]-0[12]-0[123]", path.stem) for path in paths)
    assert all(path.parent.name == f"Actor_{path.stem[-2:]}" for path in paths)
    assert {path.stem[6:8] for path in paths} == {f"{code:02}" for code in range(1, 9)}


def test_one_performance_of_ravdess_is_there_with_sound_without_and_as_sound(corpora: Path) -> None:
    first = Counter(path.stem[3:] for path in (corpora / "RAVDESS").glob("Actor_*/*")).most_common(1)[0]
    assert first == ("01-01-01-01-01-01", 3)
    folder = corpora / "RAVDESS" / "Actor_01"
    assert probe(folder / f"01-{first[0]}.mp4").has_audio
    assert not probe(folder / f"02-{first[0]}.mp4").has_audio
    assert (folder / f"03-{first[0]}.wav").stat().st_size > 1000


def test_cremad_has_six_emotions_votes_for_each_clip_and_a_file_not_fetched(corpora: Path) -> None:
    paths = list((corpora / "CREMA-D" / "VideoFlash").iterdir())
    pointer = [path for path in paths if path.read_bytes().startswith(b"version https://git-lfs")]
    stems = {path.stem for path in paths if path not in pointer}
    assert all(re.fullmatch(r"100[1-4]_[A-Z]{3}_[A-Z]{3}_(LO|MD|HI|XX)", stem) for stem in stems)
    assert {stem[9:12] for stem in stems} == {"ANG", "DIS", "FEA", "HAP", "NEU", "SAD"}
    with open(corpora / "CREMA-D/processedResults/summaryTable.csv", newline="") as file:
        votes = {row["FileName"]: row["FaceVote"] for row in csv.DictReader(file)}
    assert votes.keys() == stems
    assert "A:F" in votes.values()
    assert len(pointer) == 1


def test_savee_has_four_speakers_and_numbers_without_zeros(corpora: Path) -> None:
    paths = list((corpora / "SAVEE" / "AudioVisualClip").glob("*/*"))
    assert {path.parent.name for path in paths} == {"DC", "JE", "JK", "KL"}
    assert all(re.fullmatch(r"(a|d|f|h|n|sa|su)[1-9]", path.stem) for path in paths)


def test_ramas_intervals_lie_in_their_recordings_and_are_cut_by_two_delimiters(corpora: Path) -> None:
    videos = {path.stem: probe(path).duration for path in _videos(corpora / "RAMAS")}
    headers = set()
    for path in (corpora / "RAMAS" / "Annotations_by_emotions").iterdir():
        header, *rows = path.read_text().splitlines()
        headers.add(header)
        for row in rows:
            _, recording, start, end = re.split("[,;]", row)
            assert 0 < float(start) < float(end) <= videos[recording]
    assert headers == {"ID,File,Start,End", "ID;File;Start;End"}


def test_iemocap_turns_are_by_both_and_the_last_one_ends_after_its_video(corpora: Path) -> None:
    for path in (corpora / "IEMOCAP").glob("Session*/dialog/EmoEvaluation/Ses*.txt"):
        lines = path.read_text().splitlines()
        turns = [re.fullmatch(r"\[([\d.]+) - ([\d.]+)]\t(\w+)_[FM]\d{3}\t(\w{3})\t\[.*]", line) for line in lines]
        found = [turn.groups() for turn in turns if turn]
        duration = probe(path.parents[1] / "avi/DivX" / f"{path.stem}.avi").duration
        assert lines[0].startswith("% [START_TIME - END_TIME]")
        assert len(found) == sum(line.startswith("[") for line in lines)
        assert {turn[2] for turn in found} == {path.stem}
        assert found[-1][3] in {"xxx", "fru", "oth"}
        assert float(found[-1][0]) < duration < float(found[-1][1])
        assert path.with_name(f"._{path.name}").exists()


def test_iemocap_shows_who_wears_the_markers_on_the_left(corpora: Path) -> None:
    folder = corpora / "IEMOCAP/Session1/dialog/avi/DivX"
    woman_left, man_left = (
        next(iter(read_frames(folder / name))).image.astype(int)
        for name in ("Ses01F_impro01.avi", "Ses01M_impro02.avi")
    )
    brightness = [np.mean(image[112:368, half]) for image in (woman_left, man_left) for half in np.s_[10:350, 370:710]]
    assert brightness[0] > brightness[1] + 5  # her suit and hair are fairer than his
    assert brightness[3] > brightness[2] + 5


def test_affwild2_has_a_label_for_each_frame(corpora: Path) -> None:
    seen = set()
    for path in (corpora / "Aff-Wild2").glob("annotations/EXPR_Classification_Challenge/*_Set/*.txt"):
        header, *labels = path.read_text().splitlines()
        video = next((corpora / "Aff-Wild2").glob(f"batch*/{re.sub('_(left|right)$', '', path.stem)}.mp4"))
        assert header == "Neutral,Anger,Disgust,Fear,Happiness,Sadness,Surprise,Other"
        assert len(labels) == probe(video).frame_count
        seen.update(labels)
    assert {"-1", "0", "7"} < seen <= {str(label) for label in range(-1, 8)}


@pytest.mark.parametrize("name", FACTS)
def test_a_scan_finds_the_labelled_clips_and_speakers(corpora: Path, name: str) -> None:
    found = scan(name, corpora / name)
    assert sum(found.emotions.values()) == LABELLED[name]
    assert len({clip.speaker for clip in found.clips if clip.emotion is not None}) == SPEAKERS[name]


def test_a_scan_tells_what_is_odd_on_purpose(corpora: Path) -> None:
    assert scan("RAVDESS", corpora / "RAVDESS").problem_counts == {"second file of a clip already found": 1}
    assert scan("CREMA-D", corpora / "CREMA-D").problem_counts == {"git-lfs pointer": 1}
    assert scan("RAMAS", corpora / "RAMAS").problem_counts == {"overlapping intervals of different emotions": 2}
    assert scan("IEMOCAP", corpora / "IEMOCAP").problem_counts == {}


def test_the_same_seed_writes_the_same_files(script: ModuleType, tmp_path: Path) -> None:
    studio = script.open_studio()
    for folder, seed in (("once", 1), ("again", 1), ("other", 2)):
        script.write_ravdess(studio, tmp_path / folder, count=2, rng=np.random.default_rng(seed))
    once, again, other = (
        {path.name: path.read_bytes() for path in (tmp_path / folder).rglob("*.*") if path.is_file()}
        for folder in ("once", "again", "other")
    )
    assert once == again
    assert len(once) == 5
    assert once != other


def test_a_folder_with_files_is_refused(script: ModuleType, tmp_path: Path) -> None:
    (tmp_path / "mine.txt").touch()
    result = CliRunner().invoke(script.main, [str(tmp_path)])
    assert result.exit_code == 2
    assert "Expected a new or empty folder" in result.stderr
    assert [path.name for path in tmp_path.iterdir()] == ["mine.txt"]


def test_every_emotion_reaches_the_face(script: ModuleType) -> None:
    assert {emotion for emotion, _ in script.plan("RAVDESS", list(Emotion), 7)} == set(Emotion)
    rng = np.random.default_rng(0)
    for emotion in Emotion:
        shown = script.perform("SAVEE", emotion, rng)
        assert {each.emotion for each in shown} <= {emotion, Emotion.Neutral}
        assert (max(each.level for each in shown) >= 3) == (emotion is not Emotion.Neutral)


def test_the_whole_study_runs_on_them_from_the_files_to_the_table(corpora: Path, tmp_path: Path) -> None:
    study = [f"--corpus={name}={corpora / name}" for name in FACTS] + [f"--cache={tmp_path / 'cache'}"]
    heads, save = tmp_path / "heads", tmp_path / "results"
    few = ["--seeds=1", "--steps=2", "--jobs=2"]
    trained = CliRunner().invoke(main, ["train", "heads", f"--save={heads}", *study, *few], catch_exceptions=False)
    assert trained.exit_code == 0
    assert f"simulated RAVDESS: {CLIPS} labelled clips, {CLIPS} with a face" in trained.output
    read = sorted(path.name for path in (tmp_path / "cache").iterdir())
    scored = CliRunner().invoke(main, ["evaluate", "loco", f"--heads={heads}", f"--save={save}", *study, "--jobs=1"])
    assert scored.exit_code == 0
    assert sorted(path.name for path in (tmp_path / "cache").iterdir()) == read  # nothing was read twice
    assert sorted(path.name for path in save.iterdir()) == ["confusions.png", "results.json", "table.csv", "table.md"]
    again, first = (read_results(path) for path in (save, heads / "results"))
    assert {each.corpus for each in again.results} == {f"simulated {name}" for name in FACTS}
    assert again.policies["simulated IEMOCAP"] == {"exc": "happiness", "fru": "drop", "side": "auto"}
    for one, other in zip(first.results, again.results, strict=True):
        assert one.confusion.sum() == other.confusion.sum()
        assert np.abs(one.confusion - other.confusion).sum() <= 0.1 * one.confusion.sum()  # fp16 on disk
    record = read_record(heads / "SAVEE.pt")
    assert record is not None
    assert record.trained_on == tuple(f"simulated {name}" for name in FACTS if name != "SAVEE")
    assert record.policies is not None
    assert record.policies["RAVDESS.calm"] == "drop"
