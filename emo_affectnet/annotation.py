"""A video and the reports of its people become a copy of the video with both in the picture.

Reports are joined by frame index, never by row: a report of the original, whose rows begin at the first face, lands
where it belongs. A report that cannot be of this video is refused.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import cv2
import numpy as np
import numpy.typing as npt

from .drawing import STRIP_PEOPLE, STYLES, draw_note, draw_people, draw_strip, place_panels, strip_height
from .emotions import EMOTION_NAMES
from .errors import ReportError, UsageError, check_name
from .reports import BOX_COLUMNS, uses_baseline
from .threads import prefetch
from .timeline import Moment
from .video import VideoInfo, probe, read_frames
from .video_writer import VideoWriter

if TYPE_CHECKING:
    import pandas as pd

Image = npt.NDArray[np.uint8]
Doubles = npt.NDArray[np.float64]
Integers = npt.NDArray[np.int64]
Progress = Callable[[int, int | None], None]  # frames done, frames in all if known

BASELINE_NOTE = "baseline taken off"  # in the picture
TIME_TOLERANCE = 0.001  # s between a frame and its row in the report


@dataclass(frozen=True, eq=False)
class _Person:
    """What a report says of one person, by frame index; unknown is NaN."""

    track_id: int
    times: Doubles  # (F,) s
    probabilities: Doubles  # (F, 7)
    boxes: Doubles  # (F, 4) px
    scores: Doubles  # (F,)

    def __len__(self) -> int:
        return len(self.times)

    def look(self, index: int, time: float, *, scale: float) -> Moment | None:
        """Return what is known at a frame, with the box in px of the scaled picture; None if nothing is."""
        if index >= len(self) or np.isnan(self.boxes[index]).any() or np.isnan(self.probabilities[index]).any():
            return None
        x1, y1, x2, y2 = (self.boxes[index] * scale).tolist()
        score = None if np.isnan(self.scores[index]) else float(self.scores[index])
        return Moment(self.track_id, index, time, (x1, y1, x2, y2), score, self.probabilities[index].astype(np.float32))

    def find_emotions(self, rows: Integers) -> Integers:
        """Return the top emotions of some frames, -1 where no face was seen."""
        inside = np.clip(rows, 0, len(self) - 1)
        probabilities = self.probabilities[inside]
        known = ~np.isnan(probabilities).any(axis=1) & (rows == inside)
        return np.where(known, np.nan_to_num(probabilities).argmax(axis=1), -1)


def annotate_video(
    video: Path,
    people: Sequence["pd.DataFrame"],
    save: Path,
    *,
    style: str = "full",
    max_height: int | None = None,
    on_progress: Progress = lambda done, total: None,
) -> None:
    """Write a copy of a video with the reports of its people drawn into it, joined by frame index.

    `people` are reports as `reports.read_people` gives them, the primary person first. Every frame of the video is
    there once, at its own time, and its sound is carried over; `max_height` px makes the copy smaller. The style "full"
    says so where a baseline was taken off.

    Raises:
        UnknownName: there is no such style.
        UsageError: the copy would take the place of the video.
        ReportError: a report is of another video; no copy is left.
        VideoError: the video cannot be read, or the copy cannot be written.
    """
    check_name("style", style, STYLES)
    if save.exists() and save.samefile(video):
        raise UsageError(f'The annotated copy would take the place of "{video}" itself. Save it in another folder.')
    info = probe(video)
    persons = [_read_person(table, rank) for rank, table in enumerate(people, start=1)]
    _check_boxes(persons, info)
    scale = min(1.0, (max_height or info.height) / info.height)
    size = max(round(info.width * scale), 1), max(round(info.height * scale), 1)
    corners = place_panels({person.track_id: person.boxes * scale for person in persons}, width=size[0], height=size[1])
    emotions = _find_emotions(persons, info, columns=size[0])
    has_baseline = any(map(uses_baseline, people))
    index = -1
    with VideoWriter.like(info, save, width=size[0], height=size[1]) as writer:
        for frame, image in prefetch((frame, _resize(frame.image, size)) for frame in read_frames(video)):
            index = frame.index
            _check_time(persons, index, frame.time, video)
            looks = (person.look(index, frame.time, scale=scale) for person in persons)
            draw_people(image, [moment for moment in looks if moment], style=style, corners=corners)
            if style == "full":
                draw_strip(image, emotions, frame.time / (info.duration or np.inf))
                if has_baseline:
                    draw_note(image[: size[1] - strip_height(size[1], size[0], people=len(persons))], BASELINE_NOTE)
            writer.write(image, time=frame.time)
            on_progress(index + 1, info.frame_count)
        _check_count(persons, index + 1, video)


def _read_person(table: "pd.DataFrame", track_id: int) -> _Person:
    """Put the rows of a report at the places that their frame numbers say."""
    indices = table["frame"].to_numpy(dtype=np.int64) - 1
    count = int(indices.max(initial=-1)) + 1

    def read(*names: str) -> Doubles:
        values = np.full((count, len(names)), np.nan)
        if set(names) <= set(table.columns):
            values[indices] = table[list(names)].to_numpy(dtype=np.float64, na_value=np.nan)
        return values

    return _Person(track_id, read("time")[:, 0], read(*EMOTION_NAMES), read(*BOX_COLUMNS), read("score")[:, 0])


def _find_emotions(persons: Sequence[_Person], info: VideoInfo, *, columns: int) -> Integers:
    """Return the top emotion of each person at each column of the strip, (people, W); -1 where no face was seen."""
    shares = (np.arange(columns) + 0.5) / columns
    shown = []
    for person in persons[:STRIP_PEOPLE]:
        if np.isnan(person.times).all():  # a report of the original has no times
            rows = (shares * (info.frame_count or len(person))).astype(np.int64)
        else:
            rows = np.searchsorted(person.times, shares * (info.duration or person.times[-1]), side="right") - 1
        shown.append(person.find_emotions(rows))
    return np.array(shown, np.int64).reshape(-1, columns)


def _resize(image: Image, size: tuple[int, int]) -> Image:
    """Return a picture of `size` (width, height) that may be drawn on."""
    if image.shape[1::-1] == size:
        return image if image.flags.writeable else image.copy()
    return cv2.resize(image, size, interpolation=cv2.INTER_AREA).astype(np.uint8, copy=False)


def _check_boxes(persons: Sequence[_Person], info: VideoInfo) -> None:
    for person in persons:
        right, bottom = np.nanmax(np.vstack([np.zeros(4), person.boxes]), axis=0)[2:]
        if right > info.width or bottom > info.height:
            raise ReportError(
                f'The report is not of "{info.path}": it has a face at {max(right, bottom):.0f} px, and the video is '
                f"{info.width}x{info.height}. Give the folder with its own report, or analyse the video again."
            )


def _check_time(persons: Sequence[_Person], index: int, time: float, video: Path) -> None:
    for person in persons:
        if index < len(person) and abs(person.times[index] - time) > TIME_TOLERANCE:
            raise ReportError(
                f'The report is not of "{video}": its frame {index + 1} is at {person.times[index]:.3f} s, and that of '
                f"the video at {time:.3f} s. Give the folder with its own report, or analyse the video again."
            )


def _check_count(persons: Sequence[_Person], count: int, video: Path) -> None:
    for person in persons:
        has_times = not np.isnan(person.times).all()
        if len(person) > count or (has_times and len(person) < count):
            raise ReportError(
                f'The report is not of "{video}": it has {len(person)} frames, and the video has {count}. '
                "Give the folder with its own report, or analyse the video again."
            )
