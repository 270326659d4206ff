"""HTML reports: the reports of a video become one page to open from disk; a folder of videos gets an index of pages.

A page is whole in itself: style, script, curves, data and the player's video are inside it, and it asks no network for
anything. The templates lay it out; what they are given is computed here.
"""

import base64
import hashlib
import io
import os
import shutil
import tempfile
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from itertools import islice
from pathlib import Path
from typing import Any
from urllib.parse import quote

import jinja2
import numpy as np
import numpy.typing as npt
import pandas as pd
from markupsafe import Markup

from . import __version__
from .annotation import annotate_video
from .answers import Peak, average_frames, find_emotion, find_peak
from .emotions import EMOTION_COLOURS, EMOTION_NAMES, Emotion
from .errors import ReportError
from .files import whole_file
from .plots import choose_ink, find_runs, frame_edges
from .reports import uses_baseline
from .video import Frame, VideoInfo, probe, read_frames
from .weights import describe_trust

Doubles = npt.NDArray[np.float64]

EMBEDDED_SIZE = 32_000_000  # bytes; a larger video lies beside its page
PLAYER_HEIGHT = 480  # px at most
THUMBNAIL_HEIGHT = 160  # px
STILL_HEIGHT = 120  # px
STILLS = 6  # pictures on paper, where nothing plays
LABEL_SHARE = 0.02  # of the timeline, the least length of a segment that may carry its name
MAX_TICKS = 12
_TICK_STEPS = (0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1, 2, 5, 10, 15, 30, 60, 120, 300, 600, 900, 1800, 3600, 7200)  # s


@dataclass(frozen=True)
class Segment:
    """A run of frames with the same most probable emotion."""

    start: float  # s
    end: float  # s, where the next one starts
    emotion: Emotion | None  # None: no face was seen
    confidence: float | None  # mean probability of that emotion, 0-1; None without a face


@dataclass(frozen=True)
class IndexEntry:
    """One row of the index; None is unknown. All but the page and the picture stand so in the summary of a folder."""

    label: str  # how the video is named: its path below the folder
    status: str  # "ok", "no_face" or "error"
    page: Path | None = None  # relative to the index; None if there is no page
    emotion: str | None = None
    coverage: float | None = None  # share of the frames in which the primary face was seen
    probability: float | None = None  # mean probability of the emotion
    people: int | None = None
    duration: float | None = None  # s
    message: str | None = None
    thumbnail: bytes | None = None  # JPEG
    peak: Peak | None = None


@dataclass(frozen=True, eq=False)
class _Person:
    """What a page shows of one person. A path is of an SVG: x in ms, y in per mille from the top."""

    rank: int  # 1 is the primary person
    emotion: Emotion
    peak: Peak
    coverage: float
    agreement: float | None
    means: list[float]  # (7,) mean probabilities over the frames with a face
    segments: list[Segment]
    curves: list[str]  # (7,) paths
    agreement_band: str  # path, empty with a single head
    strip: list[str]  # (7,) paths


def write_page(
    video: Path,
    people: Sequence[pd.DataFrame],
    path: Path,
    *,
    settings: Mapping[str, str],
    trust: str | None = None,
) -> None:
    """Write the page of a video from the reports of its people, the primary one first; it appears complete or not.

    A player's video of more than `EMBEDDED_SIZE` lies beside the page under the page's name, with the suffix .mp4.
    `settings` are shown as they come, name by name. `trust` says how far to trust the readings, if that is known.

    Raises:
        ReportError: a report has no times, they do not belong together, or the page cannot be written.
        VideoError: the video cannot be read.
    """
    _check(people, video)
    info = probe(video)
    edges = frame_edges(people[0]["time"].to_numpy(np.float64))
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory() as folder:
            copy = Path(folder, "player.mp4")
            annotate_video(video, people, copy, style="boxes", max_height=PLAYER_HEIGHT)
            stills = _read_stills(copy, len(people[0]))
            source, beside = _place_player(copy, video, path)
    except OSError as error:
        raise _unwritable(path, error) from error
    context = _describe(info, people, edges) | {"stills": stills, "source": source, "beside": beside}
    _write(path, "video", context | {"settings": dict(settings), "trust": trust or describe_trust(None)})


def write_index(entries: Sequence[IndexEntry], path: Path) -> None:
    """Write the index of a folder's pages, one row per video, in the order given; it appears complete or not at all.

    Raises:
        ReportError: the page cannot be written.
    """
    _write(path, "index", {"entries": entries, "statuses": [entry.status for entry in entries]})


def make_thumbnail(video: Path, table: pd.DataFrame) -> bytes:
    """Return the frame in the middle of the longest time that the person was seen, or of the video, as a small JPEG.

    Raises:
        VideoError: the video cannot be read.
    """
    wanted = _middle_of_longest(_tops(table) >= 0)
    last = deque(islice(read_frames(video), wanted + 1), maxlen=1)  # an earlier one, if the report is of more frames
    return _encode(last[0], THUMBNAIL_HEIGHT)


def find_segments(table: pd.DataFrame) -> list[Segment]:
    """Return the runs of frames with the same most probable emotion, or without a face; none is left out."""
    tops = _tops(table)
    edges = frame_edges(table["time"].to_numpy(np.float64))
    confidences = table[list(EMOTION_NAMES)].to_numpy(np.float64).max(axis=1)
    segments = []
    for start, stop in find_runs(tops):
        is_seen = tops[start] >= 0
        emotion = Emotion(int(tops[start])) if is_seen else None
        confidence = float(confidences[start:stop].mean()) if is_seen else None
        segments.append(Segment(float(edges[start]), float(edges[stop]), emotion, confidence))
    return segments


def format_time(seconds: float) -> str:
    """Return a time as m:ss.s, or h:mm:ss.s from one hour on."""
    tenths = round(10 * seconds)
    minutes, rest = divmod(tenths, 600)
    hours, minutes = divmod(minutes, 60)
    start = f"{hours}:{minutes:02d}" if hours else f"{minutes}"
    return f"{start}:{rest // 10:02d}.{rest % 10}"


def _check(people: Sequence[pd.DataFrame], video: Path) -> None:
    if not people or any("time" not in table.columns or table.empty for table in people):
        raise ReportError(
            f"The report of {video} should give the time of every frame, but it has no times, as the original's. "
            "Analyse the video with this tool: emo-affectnet analyze."
        )
    times = people[0]["time"].to_numpy()
    if any(not np.array_equal(table["time"].to_numpy(), times) for table in people):
        raise ReportError(
            f"The reports of the people in {video} should have the same frames, but their times differ. Analyse the "
            "video again with --faces all."
        )


def _tops(table: pd.DataFrame) -> npt.NDArray[np.int64]:
    """Return the most probable emotion of each frame, (F,); -1 where no face was seen."""
    probabilities = table[list(EMOTION_NAMES)].to_numpy(np.float64)
    is_seen = ~np.isnan(probabilities).any(axis=1)
    return np.where(is_seen, np.nan_to_num(probabilities).argmax(axis=1), -1)


def _middle_of_longest(is_seen: npt.NDArray[np.bool_]) -> int:
    """Return the index in the middle of the longest run of True, or of all if there is none."""
    runs = [run for run in find_runs(is_seen) if is_seen[run[0]]] or [(0, len(is_seen))]
    start, stop = max(runs, key=lambda run: run[1] - run[0])
    return (start + stop) // 2 if stop - start > 1 else start


def _encode(frame: Frame, height: int) -> bytes:
    from PIL import Image

    picture = Image.fromarray(frame.image)
    picture.thumbnail((8 * height, height))
    file = io.BytesIO()
    picture.save(file, "JPEG", quality=80)
    return file.getvalue()


def _read_stills(video: Path, frame_count: int) -> list[bytes]:
    """Return the frames in the middle of equal parts of the video, as small JPEGs."""
    parts = np.linspace(0, frame_count, 2 * min(STILLS, frame_count) + 1)[1::2]
    wanted = set(parts.astype(np.int64).tolist())
    return [_encode(frame, STILL_HEIGHT) for frame in read_frames(video) if frame.index in wanted]


def _place_player(copy: Path, video: Path, page: Path) -> tuple[str, str | None]:
    """Return the address of the player's video, and its name if it lies beside the page, where it is put then."""
    if copy.stat().st_size <= EMBEDDED_SIZE:
        return _data_address(copy.read_bytes(), "video/mp4"), None
    beside = page.with_suffix(".mp4")
    if beside.exists() and beside.samefile(video):
        beside = page.with_suffix(".player.mp4")
    with whole_file(beside) as partial:
        shutil.copyfile(copy, partial)
    return _relative_address(Path(beside.name)), beside.name


def _data_address(content: bytes, kind: str) -> str:
    return f"data:{kind};base64,{base64.b64encode(content).decode('ascii')}"


def _relative_address(path: Path) -> str:
    return quote(os.fsencode(path.as_posix()))


def _describe(info: VideoInfo, people: Sequence[pd.DataFrame], edges: Doubles) -> dict[str, Any]:
    persons = [_sum_up(table, edges, rank) for rank, table in enumerate(people, start=1) if (_tops(table) >= 0).any()]
    return {
        "info": info,
        "frame_count": len(edges) - 1,
        "end": float(edges[-1]),
        "persons": persons,
        "has_baseline": uses_baseline(people[0]),
        "ticks": _choose_ticks(float(edges[-1])),
        "data": {
            "end": float(edges[-1]),
            "frames": _list_frames(edges[:-1]),
            "emotions": EMOTION_NAMES,
            "people": [_list_changes(people[person.rank - 1]) for person in persons],
        },
    }


def _sum_up(table: pd.DataFrame, edges: Doubles, rank: int) -> _Person:
    probabilities = table[list(EMOTION_NAMES)].to_numpy(np.float64)  # (F, 7)
    agreement = _agreement(table)
    tops = _tops(table)
    emotion, means = find_emotion(probabilities), average_frames(probabilities)
    peak = find_peak(probabilities, table["time"].to_numpy(np.float64))
    assert emotion is not None, "a person without a face has no part in a page"
    assert means is not None
    assert peak is not None
    is_known = ~np.isnan(agreement)
    milliseconds = 1000 * edges
    bands = [find_runs(tops == emotion) for emotion in Emotion]
    return _Person(
        rank=rank,
        emotion=emotion,
        peak=peak,
        coverage=float((tops >= 0).mean()),
        agreement=float(agreement[is_known].mean()) if is_known.any() else None,
        means=means.tolist(),
        segments=find_segments(table),
        curves=["".join(map(_line, _traces(milliseconds, column))) for column in probabilities.T],
        agreement_band="".join(map(_area, _traces(milliseconds, agreement))),
        strip=[
            "".join(_block(milliseconds, start, stop) for start, stop in runs if tops[start] == emotion)
            for emotion, runs in zip(Emotion, bands, strict=True)
        ],
    )


def _agreement(table: pd.DataFrame) -> Doubles:
    if "agreement" not in table.columns:
        return np.full(len(table), np.nan)
    return table["agreement"].to_numpy(np.float64)


def _traces(edges: Doubles, values: Doubles) -> Iterator[Doubles]:
    """Yield for each run of known values its points (P, 2), without those in the middle of a level stretch."""
    heights = np.round(1000 * (1 - values), 1)
    for start, stop in find_runs(np.isnan(values)):
        if not np.isnan(values[start]):
            held = np.append(heights[start:stop], heights[stop - 1])
            changes = held[1:] != held[:-1]
            is_kept = np.concatenate([[True], changes[1:] | changes[:-1], [True]])
            yield np.stack([edges[start : stop + 1], held], axis=1)[is_kept]


def _line(points: Doubles) -> str:
    return "M" + "L".join(f"{_number(x)} {_number(y)}" for x, y in points)


def _area(points: Doubles) -> str:
    left, right = _number(points[0, 0]), _number(points[-1, 0])
    return f"{_line(points)}L{right} 1000L{left} 1000Z"


def _block(edges: Doubles, start: int, stop: int) -> str:
    left, right = _number(edges[start]), _number(edges[stop])
    return f"M{left} 0H{right}V1000H{left}Z"


def _number(value: float) -> str:
    return f"{value:.1f}".removesuffix(".0")


def _choose_ticks(end: float) -> list[tuple[float, str]]:
    """Return round times (s) along an axis up to `end`, each with how it is written."""
    step = next((step for step in _TICK_STEPS if end / step <= MAX_TICKS), 3600 * max(round(end / 36_000), 1))
    times = [index * step for index in range(int(end / step + 1e-9) + 1)]
    return [(time, _write_tick(time, step)) for time in times]


def _write_tick(time: float, step: float) -> str:
    if step < 1:
        return f"{time:.{2 if step < 0.1 else 1}f} s"
    return format_time(time).removesuffix(".0")


def _list_frames(times: Doubles) -> dict[str, float | int] | list[float]:
    """Return when each frame is shown, in s: start, interval and count where they are evenly spaced, else all times."""
    count = len(times)
    interval = (times[-1] - times[0]) / (count - 1) if count > 1 else 1.0
    if np.abs(times - times[0] - interval * np.arange(count)).max() < 0.1 * interval:
        return {"start": float(times[0]), "interval": float(interval), "count": count}
    return [round(time, 4) for time in times.tolist()]


def _list_changes(table: pd.DataFrame) -> dict[str, list[Any]]:
    """Return what the script reads out: the frames whose values differ from those before, and the segments."""
    values = np.round(np.column_stack([table[list(EMOTION_NAMES)].to_numpy(np.float64), _agreement(table)]), 4)
    comparable = np.nan_to_num(values, nan=-1.0)
    starts = np.append(0, np.flatnonzero((comparable[1:] != comparable[:-1]).any(axis=1)) + 1)
    rows = [[None if np.isnan(value) else float(value) for value in row] for row in values[starts]]
    segments = [
        [round(part.start, 3), round(part.end, 3), part.emotion, None if part.emotion is None else part.confidence]
        for part in find_segments(table)
    ]
    return {"starts": starts.tolist(), "rows": rows, "segments": segments}


def _write(path: Path, name: str, context: Mapping[str, Any]) -> None:
    """Fill the template and write the page; a name that is no UTF-8 keeps its bytes."""
    script = _read_asset(f"{name}.js")
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode("ascii")
    page = _templates().get_template(f"{name}.html").render(context, script=script, script_hash=f"sha256-{digest}")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with whole_file(path) as partial:
            partial.write_bytes(page.encode("utf-8", "surrogateescape"))
    except OSError as error:
        raise _unwritable(path, error) from error


def _unwritable(path: Path, error: OSError) -> ReportError:
    reason = error.strerror or str(error)
    return ReportError(f"The page {path} cannot be written: {reason}. Choose a folder you may write to.")


def _read_asset(name: str) -> Markup:
    return Markup(files(__package__).joinpath("templates", name).read_text(encoding="utf-8"))


@cache
def _templates() -> jinja2.Environment:
    environment = jinja2.Environment(
        loader=jinja2.PackageLoader("emo_affectnet"),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    filters: dict[str, Callable[..., object]] = {
        "time": format_time,
        "percent": lambda share: f"{share:.0%}",
        "jpeg": lambda content: _data_address(content, "image/jpeg"),
        "address": _relative_address,
    }
    environment.filters.update(filters)
    inks = [choose_ink(colour) for colour in EMOTION_COLOURS]
    environment.globals.update(
        version=__version__,
        emotions=list(zip(Emotion, EMOTION_COLOURS, inks, strict=True)),
        emotion_numbers={name: number for number, name in enumerate(EMOTION_NAMES)},
        label_share=LABEL_SHARE,
        style=_read_asset("page.css"),
    )
    return environment
