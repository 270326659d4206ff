"""What the commands print, write and exit with: most with fakes, a few as a person would type them."""

import json
import os
import shlex
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import av
import click
import cv2
import numpy as np
import pandas as pd
import pytest
import torch
from click.testing import CliRunner, Result
from conftest import ROOT, FakeDetector, files_in

from emo_affectnet import recognizer as recognizer_module
from emo_affectnet.cli import main, run
from emo_affectnet.emotions import Emotion
from emo_affectnet.inputs import SUMMARY
from emo_affectnet.models import LSTMHead
from emo_affectnet.recognizer import EmotionRecognizer
from emo_affectnet.reports import read_csv
from emo_affectnet.video_writer import VideoWriter
from emo_affectnet.weight_sets import resolve_backbone
from emo_affectnet.weights import HEAD_NAMES, bundled_folder, describe_trust

MakeVideo = Callable[..., Path]
HEAVY = ("torch", "cv2", "mediapipe", "matplotlib", "pandas", "numpy", "av", "tensorflow")


def invoke(command: click.Command, *arguments: object) -> Result:
    """Run a command in this process; `output` has both streams in the order in which they were written."""
    return CliRunner().invoke(command, [str(argument) for argument in arguments])


def execute(*arguments: object) -> subprocess.CompletedProcess[str]:
    """Run Python in a process of its own, with TensorFlow free to say what it likes."""
    quiet = ("TF_CPP_MIN_LOG_LEVEL", "GLOG_minloglevel", "PYTHONWARNINGS")
    environment = {name: value for name, value in os.environ.items() if name not in quiet}
    environment |= {"OMP_NUM_THREADS": "1", "PYTHONIOENCODING": "utf-8"}
    return subprocess.run(
        [sys.executable, *map(str, arguments)],
        cwd=ROOT,
        env=environment,
        capture_output=True,
        text=True,
        encoding="utf-8",
        timeout=300,
    )


# As a person would type it: one folder with everything in it


def write_clip(path: Path, image: np.ndarray, *, frames: int, fps: float = 25) -> None:
    with VideoWriter(path, width=image.shape[1], height=image.shape[0], fps=fps) as writer:
        for _ in range(frames):
            writer.write(image)


def write_four_frames(path: Path, image: np.ndarray, *, codec: str = "ffv1", pix_fmt: str = "bgr0") -> None:
    """Write frames of any size and pixel format, which VideoWriter would make even and yuv420p."""
    with av.open(path, "w") as container:
        stream = container.add_stream(codec, rate=25)
        stream.height, stream.width = image.shape[:2]
        stream.pix_fmt = pix_fmt
        for _ in range(4):
            container.mux(stream.encode(av.VideoFrame.from_ndarray(image, format="rgb24").reformat(format=pix_fmt)))
        container.mux(stream.encode(None))


def write_sound(path: Path) -> None:
    with av.open(path, "w") as container:
        stream = container.add_stream("aac", rate=8000, layout="mono")
        sound = av.AudioFrame.from_ndarray(np.zeros((1, 8000), np.float32), format="fltp", layout="mono")
        sound.sample_rate = 8000
        container.mux(stream.encode(sound) + stream.encode(None))


FACE = 'it\'s "a face" é 顔.mp4'
GOOD = {  # name in the summary: status and frames
    "1x1.mkv": ("no_face", 4),
    "17x13.mkv": ("no_face", 4),
    "alpha.mkv": ("ok", 4),
    "blank.mp4": ("no_face", 10),
    "fast.mp4": ("ok", 30),  # 120 fps
    "grey.mkv": ("ok", 4),
    FACE: ("ok", 12),
    "one frame.mp4": ("ok", 1),
    "slow.mp4": ("ok", 3),  # 1 fps
    "sub folder/ten bits.mkv": ("ok", 4),
}
BAD = {  # name in the summary: what its sentence says
    "cut.mp4": "its index (moov) is missing, as in a file cut short",
    "empty.mp4": "the file is empty",
    "picture.jpg": "it is a picture (jpeg)",
    "sound.mp4": "it holds only sound",
    "text.mp4": "it is in no known video format",
}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory, astronaut: np.ndarray) -> Path:
    folder = tmp_path_factory.mktemp("my 'videos'") / 'вид "ео"'
    (folder / "sub folder").mkdir(parents=True)
    portrait = np.ascontiguousarray(astronaut[0:256:2, 96:352:2])  # (128, 128, 3), one face of about 45 px
    write_clip(folder / FACE, portrait, frames=12)
    write_clip(folder / "one frame.mp4", portrait, frames=1)
    write_clip(folder / "slow.mp4", portrait, frames=3, fps=1)
    write_clip(folder / "fast.mp4", portrait, frames=30, fps=120)
    write_clip(folder / "blank.mp4", np.full((48, 64, 3), 128, np.uint8), frames=10)
    write_four_frames(folder / "1x1.mkv", portrait[:1, :1])
    write_four_frames(folder / "17x13.mkv", portrait[:13, :17])
    write_four_frames(folder / "grey.mkv", portrait, pix_fmt="gray")
    write_four_frames(folder / "alpha.mkv", portrait, pix_fmt="yuva420p")
    write_four_frames(folder / "sub folder" / "ten bits.mkv", portrait, pix_fmt="yuv420p10le")
    (folder / "text.mp4").write_text("this is not a video\n")
    (folder / "empty.mp4").write_bytes(b"")
    write_four_frames(folder / "cut.mp4", portrait, codec="mpeg4", pix_fmt="yuv420p")  # its index is at its end
    os.truncate(folder / "cut.mp4", (folder / "cut.mp4").stat().st_size // 2)
    write_sound(folder / "sound.mp4")
    (folder / "picture.jpg").write_bytes(cv2.imencode(".jpg", portrait)[1].tobytes())
    (folder / "notes.txt").write_text("not a video, and not called one\n")
    return folder


@pytest.fixture(scope="module")
def report(folder: Path) -> tuple[Path, subprocess.CompletedProcess[str]]:
    """What run.py made of the folder, and what it said."""
    save = folder.parent / "a report é"
    return save, execute(ROOT / "run.py", "--path_video", folder, "--path_save", save, "--conf_d", 0.5)


def test_run_analyses_everything_that_can_be(report: tuple[Path, subprocess.CompletedProcess[str]]) -> None:
    save, done = report
    assert done.returncode == 1
    names = [str(Path(name).with_suffix(suffix)) for name in GOOD for suffix in (".csv", ".json")]
    assert files_in(save) == sorted([*names, SUMMARY])
    summary = pd.read_csv(save / SUMMARY).set_index("file")
    assert set(summary.index) == set(GOOD) | set(BAD)
    for name, (status, frames) in GOOD.items():
        assert (summary.loc[name, "status"], summary.loc[name, "frames"]) == (status, frames), name
        table = read_csv(save / Path(name).with_suffix(".csv"))
        assert table["frame"].tolist() == list(range(1, frames + 1))
        assert table["observed"].tolist() == [int(status == "ok")] * frames
    assert summary.loc[list(BAD), "status"].tolist() == ["error"] * len(BAD)
    assert (summary.loc["fast.mp4", "fps"], summary.loc["slow.mp4", "fps"]) == (120, 1)


def test_run_says_on_the_error_stream_what_failed_and_nothing_else(
    folder: Path, report: tuple[Path, subprocess.CompletedProcess[str]]
) -> None:
    save, done = report
    *failures, advice, command = done.stderr.splitlines()
    assert len(failures) == len(BAD)  # no word of TensorFlow's or MediaPipe's among them
    assert advice == "To try again what failed, and nothing else, run the same command again:"
    words = shlex.split(command)
    assert words[:2] == ["python", str(ROOT / "run.py")]
    assert words[2:] == ["--path_video", str(folder), "--path_save", str(save), "--conf_d", "0.5"]
    for line, (name, words) in zip(failures, BAD.items(), strict=True):
        assert line.startswith(f'Failed: Expected a video in "{folder / name}", but {words}; ')
    lines = done.stdout.splitlines()
    assert lines[-3:] == [
        f"{len(GOOD)} of {len(GOOD) + len(BAD)} reports in {save}, with summary.csv.",
        "Passed over, as they are no videos: notes.txt",
        describe_trust(resolve_backbone()),
    ]
    assert [line for line in lines if line.endswith(": failed")] == [f"{name}: failed" for name in BAD]
    assert any(line.startswith("blank.mp4: no face (10 frames, ") for line in lines)


def test_analyze_equals_run_and_is_silent_when_all_is_well(
    folder: Path, tmp_path: Path, report: tuple[Path, subprocess.CompletedProcess[str]]
) -> None:
    done = execute("-m", "emo_affectnet", "analyze", folder / FACE, folder / "blank.mp4", "--save", tmp_path)
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.splitlines()[-2] == f"2 of 2 reports in {tmp_path}, with summary.csv."
    for name in (FACE, "blank.mp4"):
        csv = Path(name).with_suffix(".csv")
        assert (tmp_path / csv).read_bytes() == (report[0] / csv).read_bytes()
    ours, theirs = ((path / SUMMARY).read_text(encoding="utf-8").splitlines() for path in (tmp_path, report[0]))
    assert len(ours) == 3
    assert set(ours) <= set(theirs)


def test_import_and_help_load_nothing_heavy() -> None:
    code = (
        "import sys, emo_affectnet; from emo_affectnet.cli import main, run\n"
        "for command in (main, run): command(['--help'], standalone_mode=False)\n"
        f"print('loaded:', [name for name in {HEAVY} if name in sys.modules])"
    )
    done = execute("-c", code)
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.splitlines()[-1] == "loaded: []"
    assert "--path_LSTM_model" in done.stdout


# With fakes for detector and networks


@pytest.fixture
def videos(tmp_path: Path, make_video: MakeVideo) -> Path:
    make_video("videos/a.mp4", frames=12)
    make_video("videos/c.mp4", frames=7)
    (tmp_path / "videos" / "b.mp4").write_text("this is not a video\n")
    return tmp_path / "videos"


@pytest.mark.usefixtures("fake_recognizer")
def test_failures_are_listed_last(videos: Path, tmp_path: Path) -> None:
    result = invoke(main, "analyze", videos, "--save", tmp_path / "report")
    assert result.exit_code == 1
    lines = result.output.splitlines()
    assert lines[0] == "Network: fake in fp32, nowhere."
    # conftest.FakeEngine: four of six heads give it 0.7, two 0.05
    assert lines[1].startswith("a.mp4: Happiness (face seen 100%, probability 48%, ")
    assert lines[2] == "b.mp4: failed"
    assert lines[3].startswith("c.mp4: Happiness (")
    assert lines[4] == f"2 of 3 reports in {tmp_path / 'report'}, with summary.csv."
    assert lines[5] == describe_trust(resolve_backbone())
    assert lines[6:] == result.stderr.splitlines()
    assert lines[6].startswith(f'Failed: Expected a video in "{videos / "b.mp4"}", but ')
    assert lines[7:] == [
        "To try again what failed, and nothing else, run the same command again:",
        f"  main analyze {videos} --save {tmp_path / 'report'}",
    ]


@pytest.mark.usefixtures("fake_recognizer")
def test_both_commands_pass_the_same_options(tmp_path: Path, make_video: MakeVideo) -> None:
    clip = make_video("a.mp4", frames=12)
    options = ("--faces", "all", "--format", "csv", "--format", "json", "--head", "savee", "--device", "cpu")
    results = [
        invoke(run, "--path_video", clip, "--path_save", tmp_path / "one", "--conf_d", 0.7, *options),
        invoke(main, "analyze", clip, "--save", tmp_path / "two", "--confidence", 0.7, *options),
    ]
    assert [result.exit_code for result in results] == [0, 0]
    assert [result.stderr for result in results] == ["", ""]
    assert files_in(tmp_path / "one") == files_in(tmp_path / "two") == ["a.csv", "a.json", "summary.csv"]
    for name in ("a.csv", "a.json"):
        assert (tmp_path / "one" / name).read_bytes() == (tmp_path / "two" / name).read_bytes()
    assert json.loads((tmp_path / "one" / "a.json").read_text(encoding="utf-8"))["head"] == "SAVEE"


def test_options_reach_the_detector(
    tmp_path: Path, make_video: MakeVideo, monkeypatch: pytest.MonkeyPatch, fake_recognizer: EmotionRecognizer
) -> None:
    heard: list[float | None] = []

    def full_range(*, confidence: float | None) -> FakeDetector:
        heard.append(confidence)
        return FakeDetector()

    monkeypatch.setitem(recognizer_module.DETECTORS, "full-range", full_range)
    clip = make_video("a.mp4", frames=2)
    for flags in ((), ("--conf_d", "0.25")):
        save = ("--path_save", tmp_path / "report")
        assert invoke(run, "--path_video", clip, *save, "--detector", "full-range", *flags).exit_code == 0
    assert heard == [None, 0.25]


def test_defaults_are_the_published_folders() -> None:
    defaults = {parameter.opts[0]: parameter.default for parameter in run.params}
    assert (defaults["--path_video"], defaults["--path_save"]) == (Path("video"), Path("report"))
    assert {"--conf_d", "--path_FE_model", "--path_LSTM_model"} <= set(defaults)


@pytest.mark.usefixtures("fake_recognizer")
def test_video_without_a_face_exits_well(
    tmp_path: Path, make_video: MakeVideo, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(recognizer_module.DETECTORS, "near-and-far", lambda confidence=None: FakeDetector(script=[]))
    result = invoke(main, "analyze", make_video("a.mp4", frames=12), "--save", tmp_path / "report")
    assert (result.exit_code, result.stderr) == (0, "")
    _, only, last, _ = result.stdout.splitlines()
    assert only.startswith("a.mp4: no face (12 frames, ")
    assert last == f"1 of 1 report in {tmp_path / 'report'}, with summary.csv."


@pytest.mark.usefixtures("fake_recognizer")
def test_terminal_shows_bars_and_survives_any_name(
    tmp_path: Path, make_video: MakeVideo, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FORCE_COLOR", "1")  # rich then takes the output for a terminal
    make_video("videos/[bold]a[/red].mp4", frames=12)
    if sys.platform == "linux":
        make_video("b.mp4", frames=2).rename(os.fsdecode(os.fsencode(tmp_path / "videos") + b"/caf\xe9.mp4"))
        Path(os.fsdecode(os.fsencode(tmp_path / "videos") + b"/not\xe9.txt")).touch()
    result = invoke(main, "analyze", tmp_path / "videos", "--save", tmp_path / "report")
    assert result.exception is None
    assert result.exit_code == 0
    assert "All videos" in result.stdout
    assert "[bold]a[/red].mp4: Happiness" in result.stdout


# The call is wrong, or cannot be served


def test_missing_folder_exits_with_2(tmp_path: Path) -> None:
    done = execute(ROOT / "run.py", "--path_video", tmp_path / "missing", "--path_save", tmp_path / "report")
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr == f"Error: There is no file or folder {tmp_path / 'missing'}. Check the path.\n"
    assert not (tmp_path / "report").exists()


def test_empty_folder_exits_with_1(tmp_path: Path) -> None:
    (tmp_path / "videos").mkdir()
    result = invoke(run, "--path_video", tmp_path / "videos", "--path_save", tmp_path / "report")
    assert (result.exit_code, result.stdout) == (1, "")
    assert result.stderr.startswith(f"Error: There is no video in {tmp_path / 'videos'}. Expected files such as .mp4")
    assert not (tmp_path / "report").exists()


def test_report_folder_that_cannot_be_made_exits_with_1(videos: Path, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("mine")
    result = invoke(main, "analyze", videos, "--save", tmp_path / "file" / "report")
    assert result.exit_code == 1
    assert result.stderr == (
        f"Error: The report folder {tmp_path / 'file' / 'report'} cannot be made: Not a directory. "
        "Choose another one.\n"
    )


@pytest.mark.usefixtures("in_this_process")
@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["analyze"], ["Missing argument 'PATH...'"]),
        (["analyze", "{video}", "--head", "FER"], ["'--head'", *(repr(name.lower()) for name in HEAD_NAMES)]),
        (["analyze", "{video}", "--faces", "two"], ["'--faces'", "'primary', 'all'"]),
        (
            ["analyze", "{video}", "--detector", "dlib"],
            ["'--detector'", "'near-and-far', 'short-range', 'full-range', 'face-mesh'"],
        ),
        (["analyze", "{video}", "--format", "xml"], ["'--format'", "'csv', 'json'"]),
        (["analyze", "{video}", "--confidence", "much"], ["'--confidence'", "'much' is not a valid float"]),
        (["analyze", "{video}", "--confidence", "1.5"], ["must lie between 0 and 1, but 1.5 was given"]),
        (["analyze", "{video}", "--device", "cuda:99"], ["The device 'cuda:99' is not available here; choose auto"]),
        (["sing"], ["No such command 'sing'"]),
    ],
)
def test_wrong_call_exits_with_2_and_names_what_is_valid(
    tmp_path: Path, make_video: MakeVideo, arguments: list[str], words: list[str]
) -> None:
    clip = make_video("a.mp4", frames=2)
    save = ["--save", str(tmp_path / "report")] if len(arguments) > 1 else []
    result = invoke(main, *(argument.format(video=clip) for argument in arguments), *save)
    assert (result.exit_code, result.stdout) == (2, "")
    for word in words:
        assert word.lower() in result.stderr.lower()
    assert not list(tmp_path.glob("report/*"))


# Weight files through the published flags


@pytest.fixture
def one_thread() -> Iterator[None]:
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@pytest.mark.usefixtures("one_thread", "in_this_process")
def test_files_of_ones_own_are_used(tmp_path: Path, make_video: MakeVideo, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(recognizer_module.DETECTORS, "near-and-far", lambda confidence=None: FakeDetector())
    torch.manual_seed(0)
    torch.save(LSTMHead().state_dict(), tmp_path / "my head.pt")
    result = invoke(
        *(run, "--path_video", make_video("a.mp4", frames=12), "--path_save", tmp_path / "report"),
        *("--path_FE_model", bundled_folder() / "backbone.pt", "--path_LSTM_model", tmp_path / "my head.pt"),
        *("--format", "json", "--device", "cpu"),
    )
    assert (result.exit_code, result.stderr) == (0, "")
    document = json.loads((tmp_path / "report" / "a.json").read_text(encoding="utf-8"))
    assert (document["head"], list(document["windows"])) == ("my head", ["my head"])
    assert np.isnan(pd.read_csv(tmp_path / "report" / SUMMARY)["agreement"].item())  # of one head with itself
    assert "heads agree" not in result.stdout


@pytest.mark.usefixtures("in_this_process")
@pytest.mark.parametrize(
    ("flag", "file", "words"),
    [
        ("--path_FE_model", "bundled/SAVEE.pt", "should be a TorchScript backbone with a method extract_features"),
        ("--path_FE_model", "head.pt", "should be the state dict of a backbone with 322 tensors, but it is a head"),
        ("--path_LSTM_model", "bundled/backbone.pt", "should be the state dict of a head with 10 tensors, but it is a"),
        ("--path_FE_model", "text.pt", "should be a PyTorch file"),
        ("--path_LSTM_model", "text.pt", "should be a PyTorch file"),
        ("--path_FE_model", "pointer.pt", "is a git-lfs pointer"),
        ("--path_LSTM_model", "missing.pt", "but there is none. Check the path."),
    ],
)
def test_wrong_weight_file_is_told_in_one_sentence(
    tmp_path: Path, make_video: MakeVideo, flag: str, file: str, words: str
) -> None:
    torch.save(LSTMHead().state_dict(), tmp_path / "head.pt")
    (tmp_path / "text.pt").write_text("not weights\n")
    (tmp_path / "pointer.pt").write_text("version https://git-lfs.github.com/spec/v1\noid sha256:00\nsize 9\n")
    path = bundled_folder().parent / file if file.startswith("bundled/") else tmp_path / file
    result = invoke(run, "--path_video", make_video("a.mp4"), "--path_save", tmp_path / "report", flag, path)
    assert (result.exit_code, result.stdout) == (1, "")
    assert result.stderr.startswith("Error: ")
    assert str(path) in result.stderr
    assert words in result.stderr
    assert result.stderr.count("\n") == 1
    assert not (tmp_path / "report").exists()


# The other commands


def commands(group: click.Group, *names: str) -> Iterator[tuple[str, ...]]:
    yield names
    for name, command in group.commands.items():
        if isinstance(command, click.Group):
            yield from commands(command, *names, name)
        else:
            yield (*names, name)


@pytest.mark.parametrize("names", list(commands(main)), ids=lambda names: " ".join(names) or "main")
def test_every_command_explains_itself(names: tuple[str, ...]) -> None:
    results = [invoke(main, *names, flag) for flag in ("--help", "-h")]
    assert [result.exit_code for result in results] == [0, 0]
    assert results[0].stdout == results[1].stdout
    assert results[0].stdout.startswith(" ".join(["Usage: main", *names]))
    explanation = results[0].stdout.splitlines()[2]
    assert explanation.startswith("  ")
    assert explanation.strip()


def test_version_is_the_packages() -> None:
    from emo_affectnet import __version__

    assert invoke(main, "--version").output == f"emo-affectnet, version {__version__}\n"


# The other commands: each is one call


def test_plot_writes_a_picture_beside_the_report(tmp_path: Path) -> None:
    names = ",".join(emotion.name for emotion in Emotion)
    (tmp_path / "a.csv").write_text(f"frame,{names},time,emotion\n000001,1,0,0,0,0,0,0,0.0,Neutral\n")
    result = invoke(main, "plot", tmp_path / "a.csv")
    assert result.output == f"The picture is {tmp_path / 'a.png'}.\n"
    assert (tmp_path / "a.png").read_bytes().startswith(b"\x89PNG")


def test_the_module_is_the_command() -> None:
    assert "Usage: emo-affectnet" in execute("-m", "emo_affectnet", "--help").stdout


def test_the_choices_of_the_command_line_are_the_registries_and_the_library_defaults() -> None:
    """They are written out there, because the registries load heavy packages and --help must not."""
    from emo_affectnet.detection import DETECTORS
    from emo_affectnet.engines import ENGINES, PRECISIONS
    from emo_affectnet.inputs import FACES
    from emo_affectnet.reports import WRITERS
    from emo_affectnet.weight_sets import WEIGHTS

    choices = {
        option.name: tuple(option.type.choices) for option in run.params if isinstance(option.type, click.Choice)
    }
    assert choices == {
        "weights": tuple(WEIGHTS),
        "head": HEAD_NAMES,
        "engine": tuple(ENGINES),
        "precision": PRECISIONS,
        "faces": FACES,
        "detector": tuple(DETECTORS),
        "formats": tuple(WRITERS),
        "cluster": ("ray",),
    }


def test_an_address_without_a_cluster_is_a_wrong_call(tmp_path: Path) -> None:
    (tmp_path / "a.mp4").touch()
    done = CliRunner().invoke(main, ["analyze", str(tmp_path), "--address", "10.0.0.1:6379"])
    assert (done.exit_code, done.stderr) == (2, "Error: --address belongs to --cluster ray, which was not given.\n")


def test_a_wrong_address_of_videos_is_told_like_a_wrong_option() -> None:
    done = CliRunner().invoke(main, ["analyze", "nowhere://videos"])
    assert done.exit_code == 2
    assert "nowhere://videos is no address that can be read" in done.stderr
