"""One video to its reports: a recognizer is loaded once, then one video after another becomes reports and a row.

Whatever is wrong with a video, it costs nobody else: a failure is a row too.
"""

import functools
import hashlib
import json
import logging
import os
import shutil
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from .answers import modal_emotion
from .baseline import Baseline, Rest, find_feature_shift, find_person_baseline, find_run_baseline
from .errors import EmoAffectNetError, FullError, VideoError, printable
from .faces import MIN_SIDE
from .feature_files import FeatureWriter, Origin, VideoFeatures
from .files import tell_unwritable
from .inputs import MOVE, NONE, READ, Input, Options, Step
from .interpretation import ENGAGEMENT
from .readings import read_reading, write_reading
from .recognizer import ENGAGEMENT_HZ, EmotionRecognizer, Progress, Reading
from .records import publish, record_path, take_fingerprint
from .report_folder import features_part, report_name
from .reports import WRITERS, check_writable, report_place
from .summary import NO_FACE, Outcome
from .timeline import Floats, Timeline
from .video import VideoInfo, probe
from .weights import hash_file
from .zoo.adaptive import AdaptiveReader, read_thresholds
from .zoo.engagement import ENGAGEMENT_WINDOW

log = logging.getLogger("emo_affectnet")

BASELINE = "baseline"  # the column of the summary: what was taken off
ADAPTIVE_COLUMNS = ("samples_used", "share_used")  # how many samples were looked at, and their share of all
_BRIEF = (
    f"Engagement needs a face in {ENGAGEMENT_WINDOW} samples in a row, about "
    f"{ENGAGEMENT_WINDOW / ENGAGEMENT_HZ:.0f} s; no face was seen so long."
)


class Analyst:
    """Analyses videos one after the other; their reports and records appear in `save`, by way of `unfinished`.

    `settings` are what a report depends on beside the video, in words; `extra_columns` those of the summary beyond the
    ones that every summary has; `description` is what runs the network.

    Raises:
        UnknownName: there is no such report format.
        CorruptWeights: the thresholds of an adaptive analysis are none.
        VideoError, UsageError: the recording of the person at rest cannot be read, or shows no face.
    """

    def __init__(self, recognizer: EmotionRecognizer, save: Path, unfinished: Path, *, options: Options) -> None:
        for name in options.formats:
            check_writable(name)
        thresholds = options.thresholds
        self.recognizer, self.save, self.unfinished, self.options = recognizer, save, unfinished, options
        self.description = recognizer.description
        self.extra_columns = ADAPTIVE_COLUMNS if thresholds else recognizer.extra_columns
        self.settings = recognizer.settings | {"faces": options.faces, "formats": ", ".join(options.formats)}
        self._adaptive = None
        if thresholds:
            self._adaptive = AdaptiveReader(recognizer, read_thresholds(thresholds))
            self.settings["adaptive"] = f"thresholds with SHA-256 {hash_file(thresholds)[:16]}"
        self._rest = recognizer.read_rest(options.baseline) if isinstance(options.baseline, Path) else None
        if options.baseline != NONE:
            self.extra_columns = (*self.extra_columns, BASELINE)
            self.settings |= _describe_baseline(recognizer, self._rest)

    def run(
        self,
        inputs: Iterable[Input],
        *,
        on_progress: Callable[[Input, int, int | None], None] = lambda source, done, total: None,
    ) -> Iterator[tuple[Input, Outcome]]:
        """Yield each input with its row; `on_progress` hears the input, its frames done and in all, if known."""
        for source in inputs:
            yield source, self.analyze(source, on_progress=functools.partial(on_progress, source))

    def analyze(self, source: Input, *, on_progress: Progress = lambda done, total: None) -> Outcome:
        """Write the reports of one video and return its row.

        Raises:
            FullError: no report can be written any more.
        """
        started = time.monotonic()
        try:
            with self._lend_folder() as staged:
                outcome = self._analyze(source, staged, on_progress)
        except FullError:
            raise
        except Exception as error:  # one video must not cost the others, whatever a decoder or detector makes of it
            outcome = Outcome(source.label, "error", message=describe_failure(source, error))
        return replace(outcome, seconds=time.monotonic() - started)

    @contextmanager
    def _lend_folder(self) -> Iterator[Path]:
        with tell_unwritable(self.unfinished):
            folder = Path(tempfile.mkdtemp(dir=self.unfinished))
        try:
            yield folder
        finally:
            shutil.rmtree(folder, ignore_errors=True)

    def _analyze(self, source: Input, staged: Path, on_progress: Progress) -> Outcome:
        before = take_fingerprint(source.path)
        if self._adaptive:
            outcome = judge(source, self._adaptive, on_progress)
        elif source.step is None:
            outcome = self._report(source, staged, on_progress)
        else:
            outcome = self._take_step(source, source.step, staged, on_progress)
        after = take_fingerprint(source.path)
        if before is None or after != before:
            became = "it was removed" if after is None else "it has changed"
            raise VideoError(
                f'Expected a finished video in "{source.path}", but {became} while it was read. Run the same command '
                "again once it stays as it is."
            )
        publish(staged, source, self.save, outcome=outcome, settings=self.settings, fingerprint=before)
        return outcome

    def _report(self, source: Input, staged: Path, on_progress: Progress) -> Outcome:
        reading, info = self._read(source, on_progress)
        if self._rest is None:
            return self._write(source, staged, reading, info)
        return self._write(source, staged, reading, info, baselines={1: self._rest}, words=self._rest.words)

    def _take_step(self, source: Input, step: Step, staged: Path, on_progress: Progress) -> Outcome:
        """Do one step of a run that has to know all its people before it reports on any."""
        if step.name == READ:
            reading, info = self._read(source, on_progress)
            width = self.recognizer.engine.feature_width
            write_reading(reading, info, staged / f"{source.name}.npz", width=width)
            return self._keep_rests(source, staged, reading, info, shifts={})
        reading, info = read_reading(source.path)
        known = {track: Rest.from_json(json.loads(text)) for track, text in step.rests if text}
        if step.name == MOVE:
            shifts = {track: find_feature_shift(rest, self.recognizer.reference) for track, rest in known.items()}
            return self._keep_rests(source, staged, reading, info, shifts=shifts)
        baselines = self._find_baselines(step, known)
        return self._write(source, staged, reading, info, baselines=baselines, words=step.words)

    def _keep_rests(
        self, source: Input, staged: Path, reading: Reading, info: VideoInfo, *, shifts: Mapping[int, Floats | None]
    ) -> Outcome:
        """Note what everyone in a video reads as, moved by `shifts`; return a row without emotions."""
        rests = self.recognizer.measure_rests(reading, shifts=shifts)
        note(source, staged, {"rests": {track: rest.to_json() for track, rest in rests.items()}})
        people, frames = len(reading.tracks), len(reading.times)
        status = "ok" if people else "no_face"
        outcome = Outcome(source.label, status, people=people, frames=frames, fps=info.fps, duration=info.duration)
        return note_what_is_missing(outcome, source, info)

    def _find_baselines(self, step: Step, known: Mapping[int, Rest]) -> dict[int, Baseline]:
        """Return what to take off by track: the person's own where one is known, or else the run's."""
        if not step.run:
            return {}
        raw, moved = map(Rest.from_json, json.loads(step.run))
        others = find_run_baseline([raw])
        own = {
            track: find_person_baseline(rest, run=moved, reference=self.recognizer.reference)
            for track, rest in known.items()
        }
        return dict.fromkeys((track for track, _ in step.rests), others) | own

    def _read(self, source: Input, on_progress: Progress) -> tuple[Reading, VideoInfo]:
        info = probe(source.path, on_packet=lambda: on_progress(0, None))
        reading = self.recognizer.read(info, on_progress=on_progress)
        if self.options.with_features:
            self._save_features(source, reading)
        return reading, info

    def _write(
        self,
        source: Input,
        staged: Path,
        reading: Reading,
        info: VideoInfo,
        *,
        baselines: Mapping[int, Baseline] | None = None,
        words: str | None = None,
    ) -> Outcome:
        """Write the reports of a reading; `words` say in the summary what `baselines` take off the primary person."""
        timelines = self.recognizer.interpret(reading, info, baselines=baselines)
        reported = len(timelines) if self.options.faces == "all" else 1
        write_reports(timelines[:reported], staged, source, self.options.formats)
        _remove_others(self.save, source, self.options.formats, people=reported)
        note(source, staged, {"trust": self.recognizer.trust})
        outcome = summarize(timelines, file=source.label)
        if baselines is not None:
            note(source, staged, {"baselines": {track: each.describe() for track, each in baselines.items()}})
            outcome = replace(outcome, extras={**outcome.extras, BASELINE: words if reading.tracks else None})
        return note_small_faces(note_what_is_missing(outcome, source, info), reading.too_small)

    def _save_features(self, source: Input, reading: Reading) -> None:
        """Leave the features of everyone in a video in a file of their own; who reads them chooses."""
        recognizer, tracks = self.recognizer, reading.tracks
        backbone, width = recognizer.engine.backbone, recognizer.engine.feature_width
        origin = Origin(backbone.name, hash_file(backbone), width)
        part = features_part(self.unfinished, source)
        with FeatureWriter(part, origin=origin, settings=recognizer.settings) as writer:
            writer.add(
                VideoFeatures(
                    report_name(source.name),
                    indices=np.concatenate([np.empty(0, np.int64), *(track.frame_indices for track in tracks)]),
                    times=np.concatenate([np.empty(0), *(track.times for track in tracks)]),
                    people=np.repeat([track.track_id for track in tracks], [len(each) for each in tracks]).astype(
                        np.int64
                    ),
                    boxes=np.concatenate([np.empty((0, 4), np.float32), *(track.boxes for track in tracks)]),
                    features=np.concatenate([np.empty((0, width), np.float32), *(track.features for track in tracks)]),
                )
            )


def _describe_baseline(recognizer: EmotionRecognizer, rest: Baseline | None) -> dict[str, str]:
    """Return what a report with a baseline depends on beside all else, in words."""
    mean = recognizer.reference
    reference = "none" if mean is None else f"SHA-256 {hashlib.sha256(mean.tobytes()).hexdigest()[:16]}"
    about = {"feature mean": reference}
    return about if rest is None else about | {BASELINE: f"{rest.words}, {rest.sha256[:16]}"}


def note(source: Input, staged: Path, about: Mapping[str, Any]) -> None:
    """Add to what will be the record of a video."""
    path = record_path(staged, source.name)
    document = json.loads(path.read_bytes()) if path.is_file() else {}
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps({**document, **about}, indent=1) + "\n", encoding="utf-8")


@contextmanager
def open_here(
    options: Options, save: Path, unfinished: Path, *, on_prepare: Callable[[int, int], None] = lambda done, total: None
) -> Iterator[Analyst]:
    """Lend what analyses videos in this very process; `on_prepare` hears of the making of an int8 network.

    Raises:
        WeightsError: the weights cannot be used.
        UsageError: two options that do not go together.
    """
    yield Analyst(EmotionRecognizer(**options.recognizer, on_prepare=on_prepare), save, unfinished, options=options)


def describe_failure(source: Input, error: Exception) -> str:
    """Return the sentence on why an input failed; what nobody foresaw goes into the log with all its details."""
    if isinstance(error, EmoAffectNetError):
        return str(error)
    log.error("Unexpected error in %s", source.path, exc_info=error)
    return printable(
        f'An unexpected {type(error).__name__} came up in "{source.path}": {error}. Please report it with the log.'
    )


def judge(source: Input, reader: AdaptiveReader, on_progress: Progress) -> Outcome:
    """Return the row of one video, from as few frames as tell, with the ADAPTIVE_COLUMNS."""
    result = reader.predict(source.path)
    on_progress(result.samples_used, result.samples_in_all)
    info = result.video
    outcome = Outcome(
        source.label,
        "no_face",
        frames=info.frame_count,
        fps=info.fps,
        duration=info.duration,
        message=NO_FACE,
        extras=dict(zip(ADAPTIVE_COLUMNS, (result.samples_used, result.share), strict=True)),
    )
    if result.emotion is not None:
        probabilities = tuple(result.probabilities.tolist())
        outcome = replace(outcome, status="ok", emotion=result.emotion.name, probabilities=probabilities, message=None)
    return note_what_is_missing(outcome, source, info)


def note_small_faces(outcome: Outcome, count: int) -> Outcome:
    """Add to the message of a row how many people's faces were found but could not be read."""
    if not count:
        return outcome
    faces = "1 face was" if count == 1 else f"{count} faces were"
    found = "No face was found that can be read" if outcome.status == "no_face" else outcome.message
    note = f"{faces} too small to read: less than {MIN_SIDE} px wide or high."
    return replace(outcome, message=f"{found.rstrip('.')}. {note}" if found else note)


def note_what_is_missing(outcome: Outcome, source: Input, info: VideoInfo) -> Outcome:
    """Turn the row of a video that was cut short into an error that keeps its figures."""
    if info.is_complete:
        return outcome
    path = source.path if source.step is None or source.step.name == READ else source.label
    message = (
        f'"{path}" is cut short: it holds fewer frames than its index promises. The report covers the '
        f"{outcome.frames} that could be read; record or download the video again for the rest."
    )
    return replace(outcome, status="error", message=printable(message))


def write_reports(timelines: Sequence[Timeline], save: Path, source: Input, formats: Sequence[str]) -> None:
    """Write the reports of everyone in a video below `save`: `<name>.csv`, `<name>.person-2.csv` ..."""
    for suffix in formats:
        for rank, timeline in enumerate(timelines, start=1):
            WRITERS[suffix](timeline, report_place(save, source, rank=rank, suffix=suffix))


def _remove_others(save: Path, source: Input, formats: Sequence[str], *, people: int) -> None:
    """Remove the reports of people that an earlier run had found beyond the first `people`."""
    for suffix in formats:
        rank = people + 1
        # os.path.isfile is False where the name is too long, and Path.is_file raises
        while os.path.isfile(path := report_place(save, source, rank=rank, suffix=suffix)):
            path.unlink()
            rank += 1


def summarize(timelines: Sequence[Timeline], *, file: str) -> Outcome:
    """Return the summary row of a video from its timelines, the primary person first."""
    primary = timelines[0]
    video = primary.video
    outcome = Outcome(
        file,
        "no_face",
        coverage=primary.coverage,
        people=0,
        frames=len(primary.times),
        fps=video.fps,
        duration=video.duration,
        message=NO_FACE,
        extras=dict.fromkeys(primary.extras),
    )
    emotion, means, peak = primary.emotion, primary.mean_probabilities, primary.peak
    if emotion is None or means is None or peak is None:
        return outcome
    agreement = primary.agreement[primary.observed]
    extras = {name: values[~np.isnan(values)] for name, values in primary.extras.items()}
    is_brief = ENGAGEMENT in extras and not len(extras[ENGAGEMENT])
    return replace(
        outcome,
        status="ok",
        emotion=emotion.name,
        emotion_by_mode=str(modal_emotion(primary.reported_windows)),
        probabilities=tuple(means.tolist()),
        peak=peak.emotion.name,
        peak_time=peak.time,
        peak_probability=peak.probability,
        agreement=None if np.isnan(agreement).any() else float(agreement.mean()),
        people=len(timelines),
        message=_BRIEF if is_brief else None,
        extras={name: float(values.mean()) if len(values) else None for name, values in extras.items()},
    )
