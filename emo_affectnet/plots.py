"""Pictures of results: the seven emotions over time, confusion matrices, the learning curve of a training run.

A report becomes curves, gaps as gaps, with the video's frames above them. Confusion matrices come as arrays of counts.
"""

from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from .emotions import EMOTION_COLOURS, EMOTION_NAMES
from .errors import ReportError, UsageError
from .files import whole_file
from .reports import read_csv, uses_baseline
from .video import probe, read_frames

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

Image = npt.NDArray[np.uint8]
Counts = npt.NDArray[np.int64]
Times = npt.NDArray[np.float64]

THUMBNAIL_HEIGHT = 220  # px
STRIP_RATIO = 10.2  # width by height of the place for the thumbnails
PANELS_PER_ROW = 3  # of confusion matrices
AGREEMENT = "#9aa5b1"  # the band of the heads that agree
ABSENT = "#e4e4e4"  # the row of an emotion that does not occur
_LINE_COLOURS = (EMOTION_COLOURS[2], EMOTION_COLOURS[6], EMOTION_COLOURS[5], EMOTION_COLOURS[4])  # far apart


def plot_report(report: Path, save: Path, *, video: Path | None = None) -> None:
    """Draw a report as a picture whose format its suffix names; with the `video`, its frames stand above the curves.

    Under the curves runs a band with the share of the heads that agree, if there are several, then the top emotion.

    Raises:
        ReportError: the report cannot be read, has no times, or the picture cannot be written.
        VideoError: the video cannot be read.
    """
    table = read_csv(report)
    if "time" not in table.columns or table.empty:
        raise ReportError(
            f"{report} has no times to draw by; expected a report written by this tool, not the original."
        )
    thumbnails = _read_thumbnails(video, table["time"].to_numpy()) if video else []
    _draw(table, thumbnails, save)


def _read_thumbnails(video: Path, times: npt.NDArray[np.float64]) -> list[Image]:
    """Return frames from the middle of as many equal parts of the video as fit side by side."""
    info = probe(video)
    count = max(round(STRIP_RATIO * info.height / info.width), 1)
    parts = np.linspace(times[0], times[-1], 2 * count + 1)[1::2]
    wanted = {int(np.abs(times - part).argmin()) for part in parts}
    return [_shrink(frame.image) for frame in read_frames(video) if frame.index in wanted]


def _shrink(image: Image) -> Image:
    step = max(image.shape[0] // THUMBNAIL_HEIGHT, 1)
    return image[::step, ::step].copy()


def _draw(table: pd.DataFrame, thumbnails: list[Image], save: Path) -> None:
    from matplotlib.figure import Figure

    has_agreement = "agreement" in table.columns and bool(table["agreement"].notna().any())
    heights = [1.15] * bool(thumbnails) + [3] + [0.28] * has_agreement + [0.28]
    figure = Figure(figsize=(10, 3.4 + 1.2 * bool(thumbnails) + 0.3 * has_agreement), layout="constrained")
    rows = iter(figure.subplots(len(heights), height_ratios=heights, squeeze=False)[:, 0])
    edges = frame_edges(table["time"].to_numpy())
    if thumbnails:
        _draw_thumbnails(next(rows), thumbnails)
    _draw_curves(next(rows), table, edges)
    if has_agreement:
        _draw_agreement(next(rows), table["agreement"].to_numpy(), edges)
    _draw_strip(next(rows), table, edges)
    _save(figure, save)


def frame_edges(times: Times) -> Times:
    """Return the times (F + 1,) s between which each of the frames, shown at `times` (F,) s, stays on the screen."""
    interval = float(np.median(np.diff(times))) if len(times) > 1 else 1.0
    return np.append(times, times[-1] + (interval or 1.0))


def choose_ink(colour: str) -> str:
    """Return black or white, whichever reads better on a colour such as `#0072b2`: at 4.5:1 or more on any."""
    channels = np.array([int(colour[index : index + 2], 16) for index in (1, 3, 5)]) / 255
    linear = np.where(channels <= 0.04045, channels / 12.92, ((channels + 0.055) / 1.055) ** 2.4)
    luminance = float(linear @ [0.2126, 0.7152, 0.0722])  # https://www.w3.org/TR/WCAG22/#dfn-relative-luminance
    return "#000000" if (luminance + 0.05) ** 2 > 1.05 * 0.05 else "#ffffff"


def _save(figure: "Figure", path: Path) -> None:
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with whole_file(path) as unfinished:
            figure.savefig(unfinished, dpi=130)
    except (OSError, ValueError) as error:
        raise ReportError(f"The picture {path} cannot be written: {error}. Give a .png, .svg or .pdf.") from error


def _draw_thumbnails(axes: "Axes", thumbnails: list[Image]) -> None:
    axes.axis("off")
    axes.imshow(np.concatenate(thumbnails, axis=1), aspect="equal", interpolation="antialiased")


def _draw_curves(axes: "Axes", table: pd.DataFrame, edges: Times) -> None:
    for name, colour in zip(EMOTION_NAMES, EMOTION_COLOURS, strict=True):
        _plot_curve(axes, table[name].to_numpy(), edges, color=colour, linewidth=2.2 if name != "Neutral" else 1.6)
        axes.plot([], [], color=colour, linewidth=2.2, label=name)
    words = "probability, baseline taken off" if uses_baseline(table) else "probability"
    axes.set(xlim=(edges[0], edges[-1]), ylim=(-0.01, 1.01), ylabel=words)
    axes.tick_params(labelbottom=False)
    axes.grid(alpha=0.25)
    axes.spines[["top", "right"]].set_visible(False)
    axes.legend(ncols=7, loc="lower center", bbox_to_anchor=(0.5, 1.0), frameon=False, fontsize=9, handlelength=1.2)


def _plot_curve(axes: "Axes", values: Times, edges: Times, *, color: str, linewidth: float) -> None:
    """Draw a value of every frame up to the end of the last frame before each gap."""
    for start, stop in find_runs(np.isnan(values)):
        if not np.isnan(values[start]):
            held = np.append(values[start:stop], values[stop - 1])
            axes.plot(edges[start : stop + 1], held, color=color, linewidth=linewidth, solid_capstyle="butt")


def find_runs(values: npt.NDArray[Any]) -> list[tuple[int, int]]:
    """Return the first and the past-the-end index of each run of equal values."""
    cuts = (np.flatnonzero(values[1:] != values[:-1]) + 1).tolist()
    return list(zip([0, *cuts], [*cuts, len(values)], strict=True))


def _draw_agreement(axes: "Axes", agreement: Times, edges: Times) -> None:
    """Draw the share of the heads that agree as a filled band, full where all do; empty where no face was seen."""
    axes.stairs(np.nan_to_num(agreement), edges, fill=True, color=AGREEMENT, linewidth=0)
    axes.set(xlim=(edges[0], edges[-1]), ylim=(0, 1), yticks=[])
    axes.set_ylabel("heads agree", rotation=0, ha="right", va="center", fontsize=8)
    axes.tick_params(labelbottom=False, length=0)


def _draw_strip(axes: "Axes", table: pd.DataFrame, edges: Times) -> None:
    """Draw the top emotion of every frame as a coloured band, named where it lasts; white where no face was seen."""
    names = table["emotion"].where(table["emotion"].notna(), "").to_numpy()
    for start, stop in find_runs(names):
        left, right, name = edges[start], edges[stop], names[start]
        colour = EMOTION_COLOURS[EMOTION_NAMES.index(name)] if name else "#ffffff"
        if name:
            axes.axvspan(left, right, color=colour, linewidth=0)
        if right - left > 0.08 * (edges[-1] - edges[0]):
            ink = choose_ink(colour) if name else "#555555"
            axes.text((left + right) / 2, 0.5, name or "no face", ha="center", va="center", fontsize=9, color=ink)
    axes.set(xlim=(edges[0], edges[-1]), ylim=(0, 1), yticks=[], xlabel="time (s)")


def plot_confusions(items: Sequence[tuple[str, Counts]], path: Path) -> None:
    """Draw confusion matrices side by side, each under its title, as a picture whose format the suffix names.

    A matrix is int64 (7, 8), true emotion by predicted emotion, items without a face in the last column. A cell's shade
    and upper number are the share of its row in %, the number below is the count. Rows of emotions that do not occur
    are grey, and the last column is there only if it holds anything.

    Raises:
        UsageError: there is no matrix, or one has another shape.
        ReportError: the picture cannot be written.
    """
    from matplotlib.figure import Figure

    size = len(EMOTION_NAMES)
    if not items or any(confusion.shape != (size, size + 1) for _, confusion in items):
        raise UsageError(f"Give one confusion matrix or more, each {size} rows by {size + 1} columns of counts.")
    columns = min(len(items), PANELS_PER_ROW)
    rows = -(-len(items) // columns)
    figure = Figure(figsize=(4.4 * columns + 0.4, 4.5 * rows), layout="constrained")
    panels = figure.subplots(rows, columns, squeeze=False).ravel()
    for axes, (title, confusion) in zip(panels, items, strict=False):
        _draw_confusion(axes, title, confusion)
    for axes in panels[len(items) :]:
        axes.axis("off")
    figure.supxlabel("upper number: % of the row; lower number: count", fontsize=8, color="#555555")
    _save(figure, path)


def _draw_confusion(axes: "Axes", title: str, confusion: Counts) -> None:
    from matplotlib import colormaps

    names = [*EMOTION_NAMES, "no face"]
    if not confusion[:, -1].any():
        confusion, names = confusion[:, :-1], names[:-1]
    support = confusion.sum(axis=1, keepdims=True)
    shares = np.divide(confusion, support, out=np.zeros(confusion.shape), where=support > 0)
    colours = colormaps["Blues"](shares)
    colours[support[:, 0] == 0] = [int(ABSENT[index : index + 2], 16) / 255 for index in (1, 3, 5)] + [1]
    axes.imshow(colours, aspect="equal")
    for row, column in np.argwhere(confusion > 0):
        dark = colours[row, column, :3] @ [0.2126, 0.7152, 0.0722] < 0.5
        put = partial(axes.text, column, ha="center", color="white" if dark else "black")
        put(row, f"{100 * shares[row, column]:.0f}", va="bottom", fontsize=9.5)
        put(row + 0.08, _shorten(confusion[row, column]), va="top", fontsize=7)
    axes.set_xticks(range(len(names)), names, rotation=40, ha="right", rotation_mode="anchor")
    axes.set_yticks(range(len(EMOTION_NAMES)), EMOTION_NAMES)
    for label, count in zip(axes.get_yticklabels(), support[:, 0], strict=True):
        label.set_color("black" if count else "#999999")
    axes.set(xlabel="predicted", ylabel="true")
    axes.set_title(title, fontsize=10)
    axes.set_xticks(np.arange(1, len(names)) - 0.5, minor=True)
    axes.set_yticks(np.arange(1, len(EMOTION_NAMES)) - 0.5, minor=True)
    axes.grid(which="minor", color="white", linewidth=1)
    axes.tick_params(which="both", length=0, labelsize=9)
    axes.spines[:].set_visible(False)


def _shorten(count: int) -> str:
    return str(count) if count < 100_000 else f"{count / 1000:.0f}k"


def plot_lines(lines: Mapping[str, Sequence[tuple[str, float]]], path: Path, *, x: str, y: str) -> None:
    """Draw lines of points (label, share from 0 to 1), the labels the same for all, as a picture.

    Lines of the same system have the same colour: what stands before the last comma of their names.

    Raises:
        ReportError: the picture cannot be written.
    """
    from matplotlib.figure import Figure

    figure = Figure(figsize=(7.4, 4.2), layout="constrained")
    axes = figure.subplots()
    colours = iter(_LINE_COLOURS)
    by_system: dict[str, str] = {}
    for name, points in lines.items():
        system = name.rpartition(",")[0]
        style = "--" if system in by_system else "-"
        by_system[system] = by_system.get(system) or next(colours)
        shares = [100 * share for _, share in points]
        axes.plot(range(len(points)), shares, style, color=by_system[system], marker="o", markersize=4, label=name)
        axes.set_xticks(range(len(points)), [label for label, _ in points])
    axes.set(xlabel=x, ylabel=y)
    axes.grid(alpha=0.25)
    axes.spines[["top", "right"]].set_visible(False)
    axes.legend(frameon=False, fontsize=8, loc="center left", bbox_to_anchor=(1, 0.5))
    _save(figure, path)


def plot_trust(measures: Sequence[tuple[str, Sequence[tuple[int, int]]]], path: Path) -> None:
    """Draw the share of right answers by the value of each measure, as a picture.

    A measure is its name, and how many answers and how many right ones lie in each of equal parts from 0 to 1. The
    area of a point is that of its answers.

    Raises:
        ReportError: the picture cannot be written.
    """
    from matplotlib.figure import Figure

    figure = Figure(figsize=(5.6, 4.2), layout="constrained")
    axes = figure.subplots()
    axes.plot([0, 100], [0, 100], color="#bbbbbb", linewidth=1)
    for (name, bins), colour in zip(measures, _LINE_COLOURS, strict=False):
        centres = 100 * (np.arange(len(bins)) + 0.5) / len(bins)
        answers, right = np.array(bins, dtype=np.float64).T
        known = answers > 0
        shares = 100 * right[known] / answers[known]
        axes.plot(centres[known], shares, color=colour, linewidth=1.6, label=name)
        axes.scatter(centres[known], shares, s=200 * answers[known] / answers.sum() + 4, color=colour)
    axes.set(xlim=(0, 100), ylim=(0, 100), xlabel="value, %", ylabel="right answers, %")
    axes.grid(alpha=0.25)
    axes.spines[["top", "right"]].set_visible(False)
    axes.legend(frameon=False, fontsize=9)
    _save(figure, path)


def plot_learning_curve(curve: Path, path: Path) -> None:
    """Draw the loss, and beside it the accuracy and UAR, of the learning curve that training leaves as a CSV.

    Raises:
        ReportError: the file is no learning curve, or the picture cannot be written.
    """
    from matplotlib.figure import Figure

    table = _read_curve(curve)
    passes = np.arange(1, len(table) + 1)
    figure = Figure(figsize=(9, 3.4), layout="constrained")
    left, right = figure.subplots(1, 2)
    left.plot(passes, table["loss"], color="black", linewidth=1.8, marker="o", markersize=3)
    left.set(ylabel="training loss")
    last = table.iloc[-1]
    for name, label, colour in (("accuracy", "accuracy (WAR)", EMOTION_COLOURS[2]), ("uar", "UAR", EMOTION_COLOURS[6])):
        right.plot(passes, 100 * table[name], color=colour, linewidth=1.8, marker="o", markersize=3)
        is_upper = (name == "accuracy") == (last["accuracy"] >= last["uar"])
        right.annotate(
            f"{label} {100 * last[name]:.1f}",
            (passes[-1], 100 * last[name]),
            xytext=(6, 0),
            textcoords="offset points",
            va="bottom" if is_upper else "top",  # so that they stay apart where the values do not
            color=colour,
        )
    right.set(ylabel="on the valid split, %")
    for axes in (left, right):
        axes.set(xlim=(0.5, len(table) + 0.5), xlabel=f"pass over the data ({table['step'].iloc[0]:.0f} steps each)")
        axes.xaxis.get_major_locator().set_params(integer=True, min_n_ticks=1)
        axes.grid(alpha=0.25)
        axes.spines[["top", "right"]].set_visible(False)
    _save(figure, path)


def _read_curve(path: Path) -> pd.DataFrame:
    try:
        table = pd.read_csv(path).astype(float)
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or error
        raise ReportError(f"{path} should be a learning curve, but it cannot be read: {reason}.") from error
    if table.empty or not {"step", "loss", "accuracy", "uar"} <= set(table.columns):
        raise ReportError(
            f"{path} should be a learning curve with step, loss, accuracy and uar, as training leaves it."
        )
    return table
