"""A report becomes a picture; gaps stay gaps."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from conftest import MakeVideo

from emo_affectnet.emotions import EMOTION_NAMES
from emo_affectnet.errors import ReportError
from emo_affectnet.plots import COLOURS, plot_report


@pytest.fixture
def report(tmp_path: Path) -> Path:
    """Four seconds at 25 fps: Happiness, then nobody, then Anger."""
    table = pd.DataFrame({"frame": [f"{index:06d}" for index in range(1, 101)]})
    table[list(EMOTION_NAMES)] = np.nan
    table.loc[:39, list(EMOTION_NAMES)] = [0.0, 1, 0, 0, 0, 0, 0]
    table.loc[60:, list(EMOTION_NAMES)] = [0.0, 0, 0, 0, 0, 0, 1]
    table["time"] = np.arange(100) / 25
    table["emotion"] = ["Happiness"] * 40 + [None] * 20 + ["Anger"] * 40
    table.to_csv(tmp_path / "a.csv", index=False)
    return tmp_path / "a.csv"


def read_picture(path: Path) -> np.ndarray:
    from matplotlib.image import imread

    return (imread(path)[..., :3] * 255).round().astype(int)


def shares_of(picture: np.ndarray, colour: str) -> float:
    rgb = np.array([int(colour[index : index + 2], 16) for index in (1, 3, 5)])
    return float((np.abs(picture - rgb).max(axis=-1) <= 2).mean())


def test_the_band_shows_the_emotions_that_occur_and_no_others(report: Path, tmp_path: Path) -> None:
    plot_report(report, tmp_path / "a.png")
    band = read_picture(tmp_path / "a.png")[-110:-60]
    shares = {name: shares_of(band, colour) for name, colour in zip(EMOTION_NAMES, COLOURS, strict=True)}
    assert shares["Happiness"] > 0.1
    assert shares["Anger"] > 0.1
    assert all(share < 0.005 for name, share in shares.items() if name not in {"Happiness", "Anger"})
    # The middle fifth of the band is white: nobody is there.
    middle = band[:, int(band.shape[1] * 0.48) : int(band.shape[1] * 0.56)]
    assert (middle > 200).all(axis=-1).mean() > 0.7


def test_the_frames_of_the_video_stand_above(report: Path, make_video: MakeVideo, tmp_path: Path) -> None:
    video = make_video("a.mp4", frames=100, level=77)
    plot_report(report, tmp_path / "a.png", video=video)
    picture = read_picture(tmp_path / "a.png")
    assert (np.abs(picture[: len(picture) // 4] - 77).max(axis=-1) <= 6).mean() > 0.4


@pytest.mark.parametrize("suffix", [".svg", ".pdf"])
def test_the_suffix_names_the_format(suffix: str, report: Path, tmp_path: Path) -> None:
    plot_report(report, tmp_path / f"a{suffix}")
    start = (tmp_path / f"a{suffix}").read_bytes()[:400]
    assert (b"<svg" in start) if suffix == ".svg" else start.startswith(b"%PDF")


def test_an_unknown_format_is_refused_and_leaves_nothing(report: Path, tmp_path: Path) -> None:
    with pytest.raises(ReportError, match=r"Give a \.png"):
        plot_report(report, tmp_path / "a.doc")
    assert [path.name for path in tmp_path.iterdir()] == ["a.csv"]


def test_a_published_report_has_no_times_to_draw_by(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text("frame," + ",".join(EMOTION_NAMES) + "\n000001,1,0,0,0,0,0,0\n")
    with pytest.raises(ReportError, match="no times"):
        plot_report(tmp_path / "a.csv", tmp_path / "a.png")


def test_a_report_of_one_frame_is_drawn(tmp_path: Path) -> None:
    header = "frame," + ",".join(EMOTION_NAMES) + ",time,emotion"
    (tmp_path / "a.csv").write_text(header + "\n000001,1,0,0,0,0,0,0,0.0,Neutral\n")
    plot_report(tmp_path / "a.csv", tmp_path / "a.png")
    assert shares_of(read_picture(tmp_path / "a.png"), COLOURS[0]) > 0.005
