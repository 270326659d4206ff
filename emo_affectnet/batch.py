"""A folder of videos: find them, name their reports, analyse one after the other, and sum up.

One bad file never costs the others. `summary.csv` has one row per input and is rewritten, whole, after each of them.
"""

import functools
import logging
import os
import re
import time
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path

import numpy as np
import pandas as pd

from .emotions import EMOTION_NAMES, Emotion
from .errors import EmoAffectNetError, ReportError, UsageError, VideoError, check_name
from .feature_files import FeatureWriter, Origin, VideoFeatures
from .recognizer import ENGAGEMENT, ENGAGEMENT_HZ, EmotionRecognizer, Progress, Reading
from .reports import WRITERS, report_path, write_table
from .timeline import Timeline, modal_emotion
from .video import VideoInfo, probe
from .weights import hash_file
from .zoo.adaptive import AdaptiveReader, read_thresholds
from .zoo.engagement import ENGAGEMENT_WINDOW

log = logging.getLogger("emo_affectnet")

SUMMARY = "summary.csv"
VIDEO_SUFFIXES = {
    ".3g2", ".3gp", ".asf", ".avi", ".divx", ".dv", ".f4v", ".flv", ".m2ts", ".m4v", ".mkv", ".mov", ".mp4", ".mpe",
    ".mpeg", ".mpg", ".mts", ".mxf", ".ogv", ".ts", ".vob", ".webm", ".wmv", ".y4m",
}  # fmt: skip
# A picture among the videos is more likely a mistake than a note or a table, so it is an input, and fails by name.
PICTURE_SUFFIXES = {".bmp", ".gif", ".jpeg", ".jpg", ".png", ".tif", ".tiff", ".webp"}
FACES = ("primary", "all")
_SUMMARY_START = ("file", "status", "emotion", "emotion_by_mode")
_SUMMARY_END = ("agreement", "coverage", "people", "frames", "fps", "duration", "seconds", "message")
_BRIEF = (
    f"Engagement needs a face in {ENGAGEMENT_WINDOW} samples in a row, about "
    f"{ENGAGEMENT_WINDOW / ENGAGEMENT_HZ:.0f} s; no face was seen so long."
)
_PERSON = re.compile(r"\.person-\d+$")


@dataclass(frozen=True)
class Input:
    """One video and the name of its report."""

    path: Path
    name: str  # of the report, relative to the report folder, without the suffix
    label: str  # how the summary names the video: its path below the folder that was given


@dataclass(frozen=True)
class Outcome:
    """One row of the summary; None is unknown."""

    file: str
    status: str  # "ok", "no_face" or "error"; an error with frames has a report of what could be read
    emotion: str | None = None  # largest sum of window probabilities
    emotion_by_mode: str | None = None  # commonest top emotion of the windows, the published vote
    probabilities: tuple[float | None, ...] = (None,) * len(Emotion)  # mean over the windows
    agreement: float | None = None  # mean over the observed frames
    coverage: float | None = None  # share of the frames in which the primary face was observed
    people: int | None = None
    frames: int | None = None
    fps: float | None = None
    duration: float | None = None  # s
    seconds: float | None = None  # taken
    message: str | None = None
    extras: Mapping[str, float | None] = field(default_factory=dict)  # further columns, see `reports`; means


def find_inputs(paths: Sequence[Path]) -> tuple[list[Input], list[Path]]:
    """Return the videos under `paths`, files or folders, in order, and the files passed over.

    Sub-folders are mirrored in the report names; with several folders given, below each folder's own name. Two inputs
    that would share a report keep their suffixes: `clip.mp4`, `clip.avi`.

    Raises:
        UsageError: a path does not exist, or two videos would share a report.
        VideoError: nothing under the paths is a video.
    """
    found: list[tuple[Path, Path]] = []  # the file, and its path in the report folder
    passed: list[Path] = []
    folders = [path for path in paths if os.path.isdir(path)]
    for path in paths:
        if not os.path.exists(path):
            raise UsageError(f"There is no file or folder {path}. Check the path.")
        if not path.is_dir():
            found.append((path, Path(path.name)))
            continue
        root = Path(path.resolve().name) if len(folders) > 1 else Path()
        for file in _walk(path):
            if file.suffix.lower() in VIDEO_SUFFIXES | PICTURE_SUFFIXES:
                found.append((file, root / file.relative_to(path)))
            else:
                passed.append(file)
    if not found:
        where = ", ".join(str(path) for path in paths)
        raise VideoError(f"There is no video in {where}. Expected files such as .mp4, .avi, .mov, .mkv or .webm.")
    return _name(found), passed


def _printable(text: str) -> str:
    """Replace the bytes of file names that are no UTF-8, which neither a terminal nor the summary can hold."""
    return text.encode("utf-8", "surrogateescape").decode("utf-8", "replace")


def _walk(folder: Path) -> Iterable[Path]:
    for root, folders, files in os.walk(folder):
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        yield from (Path(root, name) for name in sorted(files) if not name.startswith("."))


def _name(found: list[tuple[Path, Path]]) -> list[Input]:
    """Give every input a report name of its own; file systems that ignore case count as one name."""
    stems = Counter(str(relative.with_suffix("")).lower() for _, relative in found)
    reserved = Path(SUMMARY).stem

    def needs_suffix(relative: Path) -> bool:
        stem = str(relative.with_suffix("")).lower()
        return stems[stem] > 1 or stem == reserved or _PERSON.search(stem) is not None

    whole = {str(relative).lower() for _, relative in found if needs_suffix(relative)}

    def choose_name(relative: Path) -> str:
        stem = relative.with_suffix("")
        # `a.mp4.mkv` beside `a.mp4` and `a.avi`: its stem is the whole name of another
        return str(relative if needs_suffix(relative) or str(stem).lower() in whole else stem)

    inputs = [Input(path, choose_name(relative), _printable(str(relative))) for path, relative in found]
    names = Counter(source.name.lower() for source in inputs)
    if twice := [source for source in inputs if names[source.name.lower()] > 1]:
        raise UsageError(
            f"{twice[0].path} and {twice[1].path} would both have the report {twice[0].name}. Analyse them one by one, "
            "or give the folder above both."
        )
    return inputs


def analyze(
    paths: Sequence[Path],
    *,
    save: Path,
    recognizer: Callable[[], EmotionRecognizer],
    faces: str = "primary",
    formats: Sequence[str] = ("csv",),
    features: Path | None = None,
    thresholds: Path | None = None,
    on_progress: Callable[[Input, int, int | None], None] = lambda source, done, total: None,
    on_outcome: Callable[[Outcome], None] = lambda outcome: None,
) -> list[Outcome]:
    """Write a report for every video under `paths` into `save`, and the summary; return its rows.

    `recognizer` is called once, when there is something to do. An existing report is replaced. `on_progress` hears the
    input, its frames done and its frames in all, if known; `on_outcome` each row as soon as it stands.

    `features` is a file for the features of everyone in the videos. With `thresholds`, of `zoo.adaptive`, few
    frames are looked at, and more where they do not tell; then there are no reports by frame, only the summary.

    Raises:
        UsageError: a path or an option is wrong; nothing was written.
        WeightsError: the weights cannot be used; nothing was written.
        ReportError: the report folder cannot be written to.
    """
    check_name("choice of faces", faces, FACES)
    for name in formats:
        check_name("report format", name, WRITERS)
    if thresholds and (faces != "primary" or features or tuple(formats) != ("csv",)):
        raise UsageError(
            "An adaptive analysis gives a video's emotion in summary.csv and no reports by frame: leave out the choice "
            "of faces, formats and the file of features."
        )
    inputs, _ = find_inputs(paths)
    reader = recognizer()
    adaptive = AdaptiveReader(reader, read_thresholds(thresholds)) if thresholds else None
    _prepare_folder(save)
    with ExitStack() as stack:
        read = functools.partial(analyze_one, recognizer=reader, save=save, faces=faces, formats=formats)
        if adaptive:
            read = functools.partial(judge_one, reader=adaptive)
        elif features:
            read = functools.partial(read, features=stack.enter_context(_open_features(features, reader)))
        outcomes: list[Outcome] = []
        for source in inputs:
            outcomes.append(read(source, on_progress=functools.partial(on_progress, source)))
            write_summary(outcomes, save / SUMMARY)
            on_outcome(outcomes[-1])
    return outcomes


def _prepare_folder(save: Path) -> None:
    try:
        save.mkdir(parents=True, exist_ok=True)
        is_writable = os.access(save, os.W_OK | os.X_OK)
    except OSError as error:
        raise ReportError(f"The report folder {save} cannot be made: {error.strerror}. Choose another one.") from error
    if not is_writable:
        raise ReportError(
            f"The report folder {save} cannot be written to. Choose another one or change its permissions."
        )


def describe_failure(source: Input, error: Exception) -> str:
    """Return the sentence on why an input failed; what nobody foresaw goes into the log with all its details."""
    if isinstance(error, EmoAffectNetError):
        return _printable(str(error))
    log.error("Unexpected error in %s", source.path, exc_info=error)
    return _printable(
        f"{source.path} met an unexpected {type(error).__name__}: {error}. Please report it with the log."
    )


def analyze_one(
    source: Input,
    recognizer: EmotionRecognizer,
    *,
    save: Path,
    faces: str = "primary",
    formats: Sequence[str] = ("csv",),
    features: FeatureWriter | None = None,
    on_progress: Progress = lambda done, total: None,
) -> Outcome:
    """Write the reports of one video into `save` and return its row of the summary; a failure is a row too."""
    started = time.monotonic()
    try:
        info = probe(source.path)
        reading = recognizer.read(info, on_progress=on_progress)
        timelines = recognizer.interpret(reading, info)
        reported = len(timelines) if faces == "all" else 1
        write_reports(timelines[:reported], save / source.name, formats)
        if features:
            _add_features(features, reading, name=source.name)
    except Exception as error:  # one video must not cost the others, whatever a decoder or detector makes of it
        return _fail(source, error, started=started)
    outcome = summarize(timelines, file=source.label, seconds=time.monotonic() - started)
    return _note_what_is_missing(outcome, source, info)


def judge_one(source: Input, reader: AdaptiveReader, *, on_progress: Progress = lambda done, total: None) -> Outcome:
    """Return the summary row of one video, from as few frames as tell; a failure is a row too.

    Its columns `samples_used` and `share_used` say how many samples were looked at, and their share of all.
    """
    started = time.monotonic()
    try:
        result = reader.predict(source.path)
        on_progress(result.samples_used, result.samples_in_all)
    except Exception as error:  # as above
        return _fail(source, error, started=started)
    info = result.video
    outcome = Outcome(
        source.label,
        "no_face",
        frames=info.frame_count,
        fps=info.fps,
        duration=info.duration,
        seconds=time.monotonic() - started,
        message="No face was found in this video.",
        extras={"samples_used": result.samples_used, "share_used": result.share},
    )
    if result.emotion is not None:
        probabilities = tuple(result.probabilities.tolist())
        outcome = replace(outcome, status="ok", emotion=result.emotion.name, probabilities=probabilities, message=None)
    return _note_what_is_missing(outcome, source, info)


def _fail(source: Input, error: Exception, *, started: float) -> Outcome:
    """Return the row of a video that was begun at `started` s and failed."""
    message = describe_failure(source, error)
    return Outcome(source.label, "error", seconds=time.monotonic() - started, message=message)


def _note_what_is_missing(outcome: Outcome, source: Input, info: VideoInfo) -> Outcome:
    """Turn the row of a video that was cut short into an error that keeps its figures."""
    if info.is_complete:
        return outcome
    message = (
        f'"{source.path}" is cut short: it holds fewer frames than its index promises. The report covers the '
        f"{outcome.frames} that could be read; record or download the video again for the rest."
    )
    return replace(outcome, status="error", message=_printable(message))


def _open_features(path: Path, recognizer: EmotionRecognizer) -> FeatureWriter:
    backbone = recognizer.engine.backbone
    origin = Origin(backbone.name, hash_file(backbone), recognizer.engine.feature_width)
    return FeatureWriter(path, origin=origin, settings=recognizer.settings)


def _add_features(writer: FeatureWriter, reading: Reading, *, name: str) -> None:
    """Add the features of everyone in a video; who reads them chooses."""
    tracks = reading.tracks
    writer.add(
        VideoFeatures(
            name,
            indices=np.concatenate([np.empty(0, np.int64), *(track.frame_indices for track in tracks)]),
            times=np.concatenate([np.empty(0), *(track.times for track in tracks)]),
            people=np.repeat([track.track_id for track in tracks], [len(track) for track in tracks]).astype(np.int64),
            boxes=np.concatenate([np.empty((0, 4), np.float32), *(track.boxes for track in tracks)]),
            features=np.concatenate(
                [np.empty((0, writer.origin.width), np.float32), *(track.features for track in tracks)]
            ),
        )
    )


def write_reports(timelines: Sequence[Timeline], stem: Path, formats: Sequence[str]) -> None:
    """Write `<stem>.csv` and `<stem>.person-2.csv` ..., and remove those of people an earlier run had found."""
    for suffix in formats:
        for rank, timeline in enumerate(timelines, start=1):
            WRITERS[suffix](timeline, report_path(stem, rank=rank, suffix=suffix))
        stale = len(timelines) + 1
        while (path := report_path(stem, rank=stale, suffix=suffix)).is_file():
            path.unlink()
            stale += 1


def summarize(timelines: Sequence[Timeline], *, file: str, seconds: float | None = None) -> Outcome:
    """Return the summary row of a video from its timelines, the primary person first."""
    primary = timelines[0]
    video, windows = primary.video, primary.reported_windows
    outcome = Outcome(
        file,
        "no_face",
        coverage=primary.coverage,
        people=0,
        frames=len(primary.times),
        fps=video.fps,
        duration=video.duration,
        seconds=seconds,
        message="No face was found in this video.",
        extras=dict.fromkeys(primary.extras),
    )
    if primary.emotion is None:
        return outcome
    agreement = primary.agreement[primary.observed]
    extras = {name: values[~np.isnan(values)] for name, values in primary.extras.items()}
    is_brief = ENGAGEMENT in extras and not len(extras[ENGAGEMENT])
    return replace(
        outcome,
        status="ok",
        emotion=primary.emotion.name,
        emotion_by_mode=str(modal_emotion(windows)),
        probabilities=tuple(windows.mean(axis=0).tolist()),
        agreement=None if np.isnan(agreement).any() else float(agreement.mean()),
        people=len(timelines),
        message=_BRIEF if is_brief else None,
        extras={name: float(values.mean()) if len(values) else None for name, values in extras.items()},
    )


def write_summary(outcomes: Sequence[Outcome], path: Path) -> None:
    """Write one row per input.

    Raises:
        ReportError: the file cannot be written.
    """
    rows = []
    extras = list(dict.fromkeys(name for outcome in outcomes for name in outcome.extras))
    for outcome in outcomes:
        row = asdict(outcome)
        means = dict(zip(EMOTION_NAMES, row.pop("probabilities"), strict=True))
        start, end = ({name: row[name] for name in part} for part in (_SUMMARY_START, _SUMMARY_END))
        rows.append(start | means | dict.fromkeys(extras) | row["extras"] | end)
    table = pd.DataFrame(rows)
    numbers = [*EMOTION_NAMES, *extras, "agreement", "coverage", "fps", "duration", "seconds"]
    table = table.astype(dict.fromkeys(numbers, "float64") | dict.fromkeys(("people", "frames"), "Int64"))
    write_table(table.round(dict.fromkeys(numbers, 6) | {"seconds": 2}), path)
