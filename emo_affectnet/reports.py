"""Reports: a timeline as a CSV, JSON or Parquet file. This docstring is the contract of the CSV.

One row for every frame of the video, in order. Unknown values are empty, never 0.

| column | meaning |
|---|---|
| `frame` | 1-based, six digits: the published numbering; 0-based index + 1 |
| `Neutral` ... `Anger` | probabilities, summing to 1; empty where no face was observed |
| `time` | s on the video's own clock (PTS) |
| `emotion`, `confidence` | the most probable emotion and its probability |
| `agreement` | share of the heads whose top emotion is this one, 0-1; empty with a single head |
| `observed` | 1: a face was seen at this frame's sample, or shortly before and after it; else 0 |
| `x1,y1,x2,y2` | the face's box in px, half-open; interpolated between samples |
| `score` | the detector's confidence, 0-1; interpolated likewise |
| `track` | the person: 1 is the primary one |

The first eight columns are those of the published reports, unchanged. A sibling backbone adds what else it says of a
face, averaged like its probabilities: `Contempt` is that emotion's share among eight, while the seven columns sum to 1
without it; `valence` and `arousal` are the network's own, about -1 to 1 and unbounded. `engagement` is the probability
of being engaged rather than distracted, over the windows of 128 samples around the frame.

With a baseline, all columns above are what is left after it was taken off, and `raw_Neutral` ... `raw_Anger` at the end
are the probabilities as they are without.
"""

import hashlib
import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any
from urllib.parse import quote

import numpy as np
import pandas as pd

from . import __version__
from .emotions import EMOTION_NAMES
from .errors import EngineUnavailable, ReportError, check_name
from .files import tell_unwritable, whole_file
from .inputs import LONGEST_NAME, Input
from .timeline import Timeline

DATASET = "reports.parquet"
RAW_COLUMNS = tuple(f"raw_{name}" for name in EMOTION_NAMES)
_ODD = re.compile(r"[^\w .()+,-]")  # what the name of a partition cannot hold on every system, and its own % and =
PUBLISHED_COLUMNS = ("frame", *EMOTION_NAMES)
BOX_COLUMNS = ("x1", "y1", "x2", "y2")
COLUMNS = (
    *PUBLISHED_COLUMNS,
    "time",
    "emotion",
    "confidence",
    "agreement",
    "observed",
    *BOX_COLUMNS,
    "score",
    "track",
)


def to_table(timeline: Timeline) -> pd.DataFrame:
    """Return the rows of a report, one per frame, with the columns of the contract and the timeline's extras."""
    names = np.array([*EMOTION_NAMES, None], dtype=object)
    table = pd.DataFrame({"frame": [f"{index + 1:06d}" for index in range(len(timeline.times))]})
    table[list(EMOTION_NAMES)] = timeline.probabilities
    table["time"] = timeline.times.round(6)
    table["emotion"] = names[timeline.emotions]
    table["confidence"] = timeline.probabilities.max(axis=1)
    table["agreement"] = timeline.agreement.astype(np.float64).round(6)
    table["observed"] = timeline.observed.astype(np.int64)
    table[list(BOX_COLUMNS)] = pd.DataFrame(timeline.boxes).round().astype("Int64")
    table["score"] = timeline.scores.astype(np.float64).round(4)
    table["track"] = pd.Series([timeline.track_id] * len(table), dtype="Int64").where(timeline.observed)
    extras = {name: values.astype(np.float64).round(6) for name, values in timeline.extras.items()}
    table = table[list(COLUMNS)].assign(**extras)
    if timeline.raw_probabilities is not None:
        table[list(RAW_COLUMNS)] = timeline.raw_probabilities
    return table


def uses_baseline(table: pd.DataFrame) -> bool:
    """Return whether a report is what is left after a baseline was taken off."""
    return RAW_COLUMNS[0] in table.columns


def write_csv(timeline: Timeline, path: Path) -> None:
    """Write the report of one person; it appears complete or not at all.

    Raises:
        ReportError: the file cannot be written.
    """
    write_table(to_table(timeline), path)


def write_table(table: pd.DataFrame, path: Path) -> None:
    """Write a table as CSV; it appears complete or not at all.

    Raises:
        ReportError: the file cannot be written.
    """
    _write(path, lambda partial: table.to_csv(partial, index=False, lineterminator="\n", encoding="utf-8"))


def read_csv(path: Path) -> pd.DataFrame:
    """Read a report back: `frame` as int64 (1-based), unknown values as missing ones.

    A report of the original, which has the first eight columns only, reads as well.

    Raises:
        ReportError: the file is not a report.
    """
    try:
        table = pd.read_csv(path)
    except (OSError, ValueError, OverflowError) as error:
        reason = " ".join(str(getattr(error, "strerror", None) or error).split()).rstrip(".")
        raise ReportError(f"{path} should be a report of this tool, but it cannot be read: {reason}.") from error
    missing = [name for name in PUBLISHED_COLUMNS if name not in table.columns]
    if missing:
        raise ReportError(
            f"{path} should be a report with the columns {', '.join(PUBLISHED_COLUMNS)}, but it lacks "
            f"{', '.join(missing)}. Give a CSV written by run.py or emo-affectnet analyze."
        )
    numbers = [name for name in COLUMNS if name != "emotion" and name in table.columns and len(table)]
    if wrong := [name for name in numbers if not _holds_numbers(table[name])]:
        raise ReportError(
            f"{path} should be a report with numbers in the columns {', '.join(wrong)}, but there is something else. "
            "Give a CSV written by run.py or emo-affectnet analyze."
        )
    return table


def _holds_numbers(column: "pd.Series[Any]") -> bool:
    is_right = column.dtype.kind in ("iu" if column.name == "frame" else "iuf")
    return is_right and not np.isinf(column).any()


def report_path(stem: Path, *, rank: int, suffix: str) -> Path:
    """Return the report of one person: `clip.csv` of the primary one, rank 1, then `clip.person-2.csv` and so on."""
    return stem.with_name(f"{stem.name}.{suffix}" if rank == 1 else f"{stem.name}.person-{rank}.{suffix}")


def read_people(stem: Path) -> list[pd.DataFrame]:
    """Read the reports of everyone in a video, `stem` being the path of its report without the suffix.

    Raises:
        ReportError: the primary person's report is not there, or a file is not a report.
    """
    tables = [read_csv(report_path(stem, rank=1, suffix="csv"))]
    while (path := report_path(stem, rank=len(tables) + 1, suffix="csv")).is_file():
        tables.append(read_csv(path))
    return tables


def write_json(timeline: Timeline, path: Path) -> None:
    """Write the same rows as JSON, with the video's facts and the window probabilities; unknown values are null.

    Raises:
        ReportError: the file cannot be written.
    """
    table = to_table(timeline).astype(object)
    document = {
        "version": __version__,
        "video": describe_video(timeline),
        "head": timeline.head,
        "emotion": timeline.emotion.name if timeline.emotion is not None else None,
        "peak": _describe_peak(timeline),
        "coverage": round(timeline.coverage, 6),
        "windows": {
            name: np.round(each.astype(np.float64), 6).tolist()
            for name, each in zip(timeline.heads, timeline.window_probabilities, strict=True)
        },
        "frames": table.where(table.notna(), None).to_dict("records"),
    }
    if timeline.baseline is not None:
        document["baseline"] = timeline.baseline.describe()
    _write(path, lambda partial: partial.write_text(json.dumps(document, indent=1) + "\n", encoding="utf-8"))


def _describe_peak(timeline: Timeline) -> dict[str, str | float] | None:
    peak = timeline.peak
    if peak is None:
        return None
    return {"emotion": peak.emotion.name, "time": round(peak.time, 6), "probability": round(peak.probability, 6)}


def describe_video(timeline: Timeline) -> dict[str, Any]:
    """Return the video's facts as JSON knows them."""
    video = timeline.video
    return {
        "file": video.path.name,
        "width": video.width,
        "height": video.height,
        "fps": video.fps,
        "duration": video.duration,
        "frame_count": len(timeline.times),
    }


def write_parquet(timeline: Timeline, path: Path) -> None:
    """Write the same rows as Parquet: `frame` as int64, and every column with a type that hangs on no value in it.

    Raises:
        ReportError: the file cannot be written.
    """
    import pyarrow
    from pyarrow import parquet

    table = to_table(timeline).astype({"frame": np.int64})
    types = dict.fromkeys(("frame", "observed", *BOX_COLUMNS, "track"), pyarrow.int64()) | {"emotion": pyarrow.string()}
    types |= dict.fromkeys((*EMOTION_NAMES, "confidence", *RAW_COLUMNS), pyarrow.float32())
    schema = pyarrow.schema([(str(name), types.get(str(name), pyarrow.float64())) for name in table.columns])
    rows = pyarrow.Table.from_pandas(table, schema=schema, preserve_index=False)
    _write(path, lambda partial: parquet.write_table(rows, partial))


WRITERS: dict[str, Callable[[Timeline, Path], None]] = {
    "csv": write_csv,
    "json": write_json,
    "parquet": write_parquet,
}


def check_writable(name: str) -> None:
    """Make sure that reports can be written in a format.

    Raises:
        UnknownName: there is none of this name.
        EngineUnavailable: the package for it is not installed.
    """
    check_name("report format", name, WRITERS)
    if name == "parquet":
        try:
            import pyarrow.parquet  # noqa: F401
        except ImportError as error:
            raise EngineUnavailable(
                "Reports in Parquet need pyarrow, which is not installed: pip install 'emo-affectnet[ray]'"
            ) from error


def report_place(save: Path, source: Input, *, rank: int, suffix: str) -> Path:
    """Return where the report of one person in a video stands: `report_path`, or for Parquet in one dataset for all.

    A dataset has its videos as partitions, by their names in the summary: a column `video` for whoever reads it.
    """
    if suffix != "parquet":
        return report_path(save / source.name, rank=rank, suffix=suffix)
    partition = f"video={_ODD.sub(lambda found: quote(found[0], safe=''), source.label)}"
    if len(partition.encode()) > LONGEST_NAME:
        partition = f"{partition[:60]}-{hashlib.sha256(source.label.encode()).hexdigest()[:16]}"
    return save / DATASET / partition / f"person-{rank}.parquet"


def _write(path: Path, write: Callable[[Path], object]) -> None:
    with tell_unwritable(path, what="The report"):
        path.parent.mkdir(parents=True, exist_ok=True)
        with whole_file(path) as partial:
            write(partial)
