"""A report becomes a picture, gaps stay gaps; so do confusion matrices and learning curves."""

import html
import re
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from conftest import MakeVideo

from emo_affectnet.emotions import EMOTION_COLOURS, EMOTION_NAMES
from emo_affectnet.errors import ReportError, UsageError
from emo_affectnet.plots import (
    ABSENT,
    AGREEMENT,
    choose_ink,
    find_runs,
    frame_edges,
    plot_confusions,
    plot_learning_curve,
    plot_report,
)


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
    shares = {name: shares_of(band, colour) for name, colour in zip(EMOTION_NAMES, EMOTION_COLOURS, strict=True)}
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
    assert shares_of(read_picture(tmp_path / "a.png"), EMOTION_COLOURS[0]) > 0.005


def test_a_curve_of_one_frame_is_seen_as_long_as_the_frame(report: Path, tmp_path: Path) -> None:
    table = pd.read_csv(report)
    table.loc[50, [*EMOTION_NAMES, "emotion"]] = [0.0, 0, 0, 0, 1, 0, 0, "Fear"]
    table.to_csv(tmp_path / "b.csv", index=False)
    plot_report(tmp_path / "b.csv", tmp_path / "b.png")
    curves = read_picture(tmp_path / "b.png")[:-110]
    legend = shares_of(curves[:45], EMOTION_COLOURS[4]) * 45 * curves.shape[1]
    drawn = shares_of(curves[45:], EMOTION_COLOURS[4]) * len(curves[45:]) * curves.shape[1]
    assert legend > 20
    assert drawn == pytest.approx(12 * 4, abs=30)  # 1 % of 1200 px, 4 px high


def test_a_band_shows_where_the_heads_agree(report: Path, tmp_path: Path) -> None:
    table = pd.read_csv(report)
    table["agreement"] = [1.0] * 40 + [np.nan] * 20 + [0.5] * 40
    table.to_csv(tmp_path / "b.csv", index=False)
    plot_report(tmp_path / "b.csv", tmp_path / "b.png")
    is_band = (np.abs(read_picture(tmp_path / "b.png") - [0x9A, 0xA5, 0xB1]).max(axis=-1) <= 2).sum(axis=0)
    where = np.flatnonzero(is_band)
    left, middle, right = (np.median(is_band[where[0] + round(share * np.ptp(where))]) for share in (0.2, 0.5, 0.8))
    assert AGREEMENT == "#9aa5b1"
    assert left > 20
    assert middle == 0
    assert right == pytest.approx(left / 2, abs=2)


@pytest.mark.parametrize("agreement", [None, np.nan])  # a report of the original, and one of a single head
def test_without_agreement_there_is_no_band(agreement: float | None, report: Path, tmp_path: Path) -> None:
    table = pd.read_csv(report)
    if agreement is not None:
        table["agreement"] = agreement
    table.to_csv(tmp_path / "b.csv", index=False)
    plot_report(tmp_path / "b.csv", tmp_path / "b.png")
    assert shares_of(read_picture(tmp_path / "b.png"), AGREEMENT) < 0.0005
    plot_report(tmp_path / "b.csv", tmp_path / "b.svg")
    assert "heads agree" not in read_texts(tmp_path / "b.svg")


def test_a_frame_lasts_until_the_next_one_and_the_last_as_long_as_most() -> None:
    np.testing.assert_allclose(frame_edges(np.array([0.5, 0.6, 0.7, 1.0])), [0.5, 0.6, 0.7, 1.0, 1.1])
    np.testing.assert_allclose(frame_edges(np.array([0.5])), [0.5, 1.5])


def test_runs_are_of_equal_values() -> None:
    assert find_runs(np.array([3, 3, 1, 3])) == [(0, 2), (2, 3), (3, 4)]
    assert find_runs(np.array([True])) == [(0, 1)]


# White on orange has 2.2:1, black on blue 4.1:1, white on grey 3.4:1: too little.
@pytest.mark.parametrize(("colour", "ink"), [("#e69f00", "#000000"), ("#0072b2", "#ffffff"), ("#8c8c8c", "#000000")])
def test_text_on_a_colour_is_black_or_white(colour: str, ink: str) -> None:
    assert choose_ink(colour) == ink


def make_confusion(*, no_face: int = 0) -> np.ndarray:
    """Return 10 items of every emotion but Surprise: 8 right, 2 called Neutral; the last two may have no face."""
    confusion = np.zeros((7, 8), np.int64)
    confusion[:, 0], confusion[:, 7] = 2 - no_face, no_face
    confusion[np.arange(7), np.arange(7)] += 8
    confusion[3] = 0
    return confusion


def read_texts(path: Path) -> list[str]:
    """Return the texts of an SVG, which matplotlib also leaves as comments beside their outlines."""
    return [html.unescape(text) for text in re.findall(r"<!-- (.*?) -->", path.read_text(encoding="utf-8"), re.DOTALL)]


def test_a_confusion_matrix_shows_shares_and_counts_under_its_title(tmp_path: Path) -> None:
    plot_confusions([("SAVEE\nUAR 80.0", make_confusion())], tmp_path / "a.svg")
    texts = read_texts(tmp_path / "a.svg")
    # Neutral: 10 of 10 right. Five others: 8 right (80 %) and 2 called Neutral (20 %).
    assert [texts.count(text) for text in ("100", "10", "80", "8", "20", "2")] == [1, 1, 5, 5, 5, 5]
    assert all(texts.count(name) == 2 for name in EMOTION_NAMES)  # on both axes
    assert "no face" not in texts
    assert "0" not in texts
    assert "SAVEE\nUAR 80.0" in texts or {"SAVEE", "UAR 80.0"} <= set(texts)


def test_the_column_of_no_face_is_there_only_where_it_holds_something(tmp_path: Path) -> None:
    plot_confusions([("a", make_confusion()), ("b", make_confusion(no_face=1))], tmp_path / "a.svg")
    assert read_texts(tmp_path / "a.svg").count("no face") == 1


def test_an_emotion_that_does_not_occur_is_grey_and_the_sure_cells_are_dark(tmp_path: Path) -> None:
    plot_confusions([("a", make_confusion())], tmp_path / "a.png")
    picture = read_picture(tmp_path / "a.png")
    assert shares_of(picture, ABSENT) > 0.04  # one row of seven, of a matrix that fills half of the picture
    full = make_confusion()
    full[3] = full[4]
    plot_confusions([("a", full)], tmp_path / "b.png")
    assert shares_of(read_picture(tmp_path / "b.png"), ABSENT) < 0.002
    blue = picture[..., 2] - picture[..., 0]
    dark = (blue > 60) & (picture.max(axis=-1) < 190)
    assert 0.02 < dark.mean() < 0.12  # six cells of 49


@pytest.mark.parametrize(("count", "rows", "columns"), [(1, 1, 1), (2, 1, 2), (3, 1, 3), (4, 2, 3), (7, 3, 3)])
def test_three_matrices_stand_side_by_side(count: int, rows: int, columns: int, tmp_path: Path) -> None:
    plot_confusions([(f"corpus {number}", make_confusion()) for number in range(count)], tmp_path / "a.svg")
    assert [f"corpus {number}" in read_texts(tmp_path / "a.svg") for number in range(count)] == [True] * count
    text = (tmp_path / "a.svg").read_text(encoding="utf-8")
    width, height = (
        float(re.findall(rf'<svg[^>]*? {side}="([\d.]+)pt"', text, re.DOTALL)[0]) for side in ("width", "height")
    )
    assert width == pytest.approx(72 * (4.4 * columns + 0.4))
    assert height == pytest.approx(72 * 4.5 * rows)


def test_large_counts_are_shortened_to_fit_their_cells(tmp_path: Path) -> None:
    plot_confusions([("a", make_confusion() * 123_456)], tmp_path / "a.svg")
    assert {"1235k", "988k", "247k"} <= set(read_texts(tmp_path / "a.svg"))


@pytest.mark.parametrize("items", [[], [("a", np.zeros((7, 7), np.int64))]])
def test_what_is_no_confusion_matrix_is_refused(items: list, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="7 rows by 8 columns"):
        plot_confusions(items, tmp_path / "a.png")


CURVE = "step,seconds,loss,accuracy,uar\n219,235.4,1.2034,0.7640,0.6016\n438,461.9,1.1877,0.7715,0.6229\n"


def test_a_learning_curve_names_its_lines_and_where_they_end(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text(CURVE)
    plot_learning_curve(tmp_path / "a.csv", tmp_path / "a.svg")
    texts = read_texts(tmp_path / "a.svg")
    assert {"accuracy (WAR) 77.1", "UAR 62.3", "training loss", "on the valid split, %"} <= set(texts)
    assert texts.count("pass over the data (219 steps each)") == 2
    assert {"1", "2"} <= set(texts)  # passes, whole numbers only
    assert "1.5" not in texts


@pytest.mark.parametrize("rows", [1, 2])
def test_a_learning_curve_is_a_picture_from_its_first_point_on(rows: int, tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text("".join(CURVE.splitlines(keepends=True)[: rows + 1]))
    plot_learning_curve(tmp_path / "a.csv", tmp_path / "a.png")
    picture = read_picture(tmp_path / "a.png")
    assert shares_of(picture, EMOTION_COLOURS[2]) > 0.0002
    assert shares_of(picture, EMOTION_COLOURS[6]) > 0.0002
    plot_learning_curve(tmp_path / "a.csv", tmp_path / "a.svg")
    assert not {"0.8", "1.2", "1.5"} & set(read_texts(tmp_path / "a.svg"))  # there is no fifth of a pass


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("step,loss,accuracy,uar\n", "as training leaves it"),  # no point yet
        ("step,seconds,loss\n1,2,3\n", "as training leaves it"),
        ("", "cannot be read"),
        ("step,loss,accuracy,uar\n1,low,0.5,0.5\n", "cannot be read.*low"),
    ],
)
def test_what_is_no_learning_curve_is_refused(text: str, message: str, tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text(text)
    with pytest.raises(ReportError, match=message):
        plot_learning_curve(tmp_path / "a.csv", tmp_path / "a.png")
    with pytest.raises(ReportError, match="No such file"):
        plot_learning_curve(tmp_path / "b.csv", tmp_path / "a.png")
    assert [path.name for path in tmp_path.iterdir()] == ["a.csv"]
