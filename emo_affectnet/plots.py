"""Pictures of a report: the seven emotions over time, gaps as gaps, the video's frames above them."""

from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt
import pandas as pd

from .emotions import EMOTION_NAMES
from .errors import ReportError
from .files import whole_file
from .reports import read_csv
from .video import probe, read_frames

if TYPE_CHECKING:
    from matplotlib.axes import Axes

Image = npt.NDArray[np.uint8]

THUMBNAIL_HEIGHT = 220  # px
STRIP_RATIO = 10.2  # width by height of the place for the thumbnails
# Okabe and Ito's colours (2008), which colour-blind readers tell apart; Neutral is grey.
COLOURS = ("#8c8c8c", "#e69f00", "#0072b2", "#56b4e9", "#cc79a7", "#009e73", "#d55e00")


def plot_report(report: Path, save: Path, *, video: Path | None = None) -> None:
    """Draw a report as a picture whose format its suffix names; with the `video`, its frames stand above the curves.

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

    figure = Figure(figsize=(10, 4.6 if thumbnails else 3.4), layout="constrained")
    heights = [1.15, 3, 0.28] if thumbnails else [3, 0.28]
    *top, curves, strip = figure.subplots(len(heights), height_ratios=heights, squeeze=False)[:, 0]
    for axes in top:
        _draw_thumbnails(axes, thumbnails)
    _draw_curves(curves, table)
    _draw_strip(strip, table)
    try:
        save.parent.mkdir(parents=True, exist_ok=True)
        with whole_file(save) as partial:
            figure.savefig(partial, dpi=130)
    except (OSError, ValueError) as error:
        raise ReportError(f"The picture {save} cannot be written: {error}. Give a .png, .svg or .pdf.") from error


def _draw_thumbnails(axes: "Axes", thumbnails: list[Image]) -> None:
    axes.axis("off")
    if thumbnails:
        axes.imshow(np.concatenate(thumbnails, axis=1), aspect="equal", interpolation="antialiased")


def _draw_curves(axes: "Axes", table: pd.DataFrame) -> None:
    time = table["time"]
    for name, colour in zip(EMOTION_NAMES, COLOURS, strict=True):
        axes.plot(time, table[name], color=colour, linewidth=2.2 if name != "Neutral" else 1.6, label=name)
    axes.set(xlim=(time.iloc[0], time.iloc[-1] or 1), ylim=(0, 1), ylabel="probability")
    axes.tick_params(labelbottom=False)
    axes.grid(alpha=0.25)
    axes.spines[["top", "right"]].set_visible(False)
    axes.legend(ncols=7, loc="lower center", bbox_to_anchor=(0.5, 1.0), frameon=False, fontsize=9, handlelength=1.2)


def _draw_strip(axes: "Axes", table: pd.DataFrame) -> None:
    """Draw the top emotion of every frame as a coloured band, named where it lasts; white where no face was seen."""
    names = table["emotion"].where(table["emotion"].notna(), "").to_numpy()
    edges = np.flatnonzero(names[1:] != names[:-1]) + 1
    time = table["time"].to_numpy()
    end = time[-1] + (np.median(np.diff(time)) if len(time) > 1 else 1)
    for start, stop in zip([0, *edges], [*edges, len(names)], strict=True):
        left, right = time[start], time[stop] if stop < len(time) else end
        if names[start]:
            axes.axvspan(left, right, color=COLOURS[EMOTION_NAMES.index(names[start])], linewidth=0)
        label = names[start] or "no face"
        if right - left > 0.08 * (end - time[0]):
            colour = "white" if names[start] else "#555555"
            axes.text((left + right) / 2, 0.5, label, ha="center", va="center", fontsize=9, color=colour)
    axes.set(xlim=(time[0], time[-1] or 1), ylim=(0, 1), yticks=[], xlabel="time (s)")
