"""The commands that show results, as people call them."""

import shutil
import subprocess
import sys
from pathlib import Path

import click
import pytest
from click.testing import CliRunner
from conftest import ROOT, VIDEO_FOLDER

from emo_affectnet.cli import main
from emo_affectnet.cli_viewing import visualization, webcam
from emo_affectnet.drawing import STYLES
from emo_affectnet.stream import MODES
from emo_affectnet.video import probe
from emo_affectnet.viewing import PICTURES


def test_visualization_takes_the_published_flags(tmp_path: Path, make_video, fake_recognizer, monkeypatch) -> None:
    monkeypatch.setattr("emo_affectnet.recognizer.EmotionRecognizer", lambda **settings: fake_recognizer)
    make_video("videos/a.mp4", size=(320, 240))
    words = f"--path_video {tmp_path}/videos --path_report {tmp_path}/r --path_save_video {tmp_path}/out --conf_d 0.7"
    result = CliRunner().invoke(visualization, words.split())
    assert result.exit_code == 0, result.output
    assert f"1 of 1 annotated videos in {tmp_path}/out." in result.output
    assert probe(tmp_path / "out/a.mp4").frame_count == 30
    assert (tmp_path / "r/a.csv").is_file()


def test_what_failed_comes_last_and_sets_the_exit_status(tmp_path: Path, make_video, fake_recognizer, monkeypatch):
    monkeypatch.setattr("emo_affectnet.recognizer.EmotionRecognizer", lambda **settings: fake_recognizer)
    make_video("videos/b.mp4", size=(320, 240))
    (tmp_path / "videos/a.mp4").write_text("no video")
    words = ["annotate", f"{tmp_path}/videos", "--report", f"{tmp_path}/r", "--save", f"{tmp_path}/out"]
    result = CliRunner().invoke(main, words)
    assert result.exit_code == 1
    lines = result.output.splitlines()
    assert lines[:2] == ["Network: fake in fp32, nowhere.", "a.mp4: failed"]
    assert lines[-2] == f"1 of 2 annotated videos in {tmp_path}/out."
    assert lines[-1].startswith("Failed: Expected a video in")


def test_copies_in_the_place_of_the_videos_are_refused(tmp_path: Path, make_video, fake_recognizer, monkeypatch):
    monkeypatch.setattr("emo_affectnet.recognizer.EmotionRecognizer", lambda **settings: fake_recognizer)
    video = make_video("videos/b.mp4", size=(320, 240))
    before = video.read_bytes()
    result = CliRunner().invoke(
        main, ["annotate", str(video), "--report", f"{tmp_path}/r", "--save", str(video.parent)]
    )
    assert result.exit_code == 2
    assert "take the place" in result.output
    assert video.read_bytes() == before


def test_script_runs_by_itself_from_any_folder(tmp_path: Path) -> None:
    shutil.copy(VIDEO_FOLDER / "leaves_and_returns.mp4", tmp_path / "clip.mp4")
    done = subprocess.run(
        [sys.executable, str(ROOT / "visualization.py"), "--path_video", "clip.mp4"],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.returncode, done.stderr) == (0, "")
    assert "1 of 1 annotated videos in result_videos." in done.stdout
    assert probe(tmp_path / "result_videos/clip.mp4").has_audio


def test_report_writes_its_pages_beside_the_reports(tmp_path: Path, make_video, fake_recognizer, monkeypatch) -> None:
    monkeypatch.setattr("emo_affectnet.recognizer.EmotionRecognizer", lambda **settings: fake_recognizer)
    make_video("videos/a.mp4", size=(320, 240))
    result = CliRunner().invoke(main, ["report", f"{tmp_path}/videos", "--report", f"{tmp_path}/r"])
    assert result.exit_code == 0, result.output
    assert f"1 of 1 pages in {tmp_path}/r." in result.output
    made = sorted(path.name for path in (tmp_path / "r").iterdir())
    assert made == ["a.csv", "a.html", "a.json", "a.png", "index.html"]


def test_live_without_a_window_leaves_a_csv_and_a_recording(tmp_path: Path, make_video, fake_recognizer, monkeypatch):
    monkeypatch.setattr("emo_affectnet.recognizer.EmotionRecognizer", lambda **settings: fake_recognizer)
    video = make_video("a.mp4", frames=25, size=(320, 240))
    words = f"--source {video} --no-window --csv {tmp_path}/a.csv --record {tmp_path}/r.mp4"
    result = CliRunner().invoke(webcam, words.split())
    assert result.exit_code == 0, result.output
    network, told, *saved = result.output.splitlines()
    assert network == "Network: fake in fp32, nowhere."
    assert told.startswith("25 frames in 1.0 s, ")
    assert saved == [f"Saved: {tmp_path}/r.mp4", f"Saved: {tmp_path}/a.csv"]
    assert len((tmp_path / "a.csv").read_text().splitlines()) > 2
    assert probe(tmp_path / "r.mp4").duration == pytest.approx(1, abs=0.1)


@pytest.mark.parametrize(
    ("words", "status", "sentence"),
    [
        (["--no-window", "--camera", "37"], 1, "camera 37"),
        (["--no-window", "--source", "missing.mp4"], 1, "no such file"),
        (["--no-window", "--camera", "0", "--source", "a.mp4"], 2, "either the number of a camera or a video"),
        (["--source", "missing.mp4"], 2, "--no-window"),
    ],
)
def test_what_live_cannot_do_is_one_sentence(
    words: list[str], status: int, sentence: str, fake_recognizer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("emo_affectnet.recognizer.EmotionRecognizer", lambda **settings: fake_recognizer)
    for name in ("DISPLAY", "WAYLAND_DISPLAY"):
        monkeypatch.delenv(name, raising=False)
    result = CliRunner().invoke(main, ["live", *words])
    assert result.exit_code == status
    assert len(result.output.splitlines()) == 1
    assert sentence in result.output


def test_choices_on_the_command_line_are_those_of_the_library() -> None:
    choices = {
        (command.name, option.name): tuple(option.type.choices)
        for command in (main.commands[name] for name in ("annotate", "report", "live"))
        for option in command.params
        if isinstance(option.type, click.Choice)
    }
    assert choices["annotate", "style"] == STYLES
    assert choices["report", "picture"] == PICTURES
    assert choices["live", "mode"] == MODES
