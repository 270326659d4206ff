"""A folder of videos: what is finished is kept, the rest is analysed, one after the other, and all of it summed up.

One bad file never costs the others. A run that was stopped, however that came, goes on where it was when it is started
again, and ends with the same files as one that was never disturbed.
"""

import functools
import tempfile
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager, ExitStack
from dataclasses import replace
from pathlib import Path
from typing import Protocol

from . import workers
from .carrier import find_finished, lend_folder, open_carrier
from .files import tell_unwritable
from .inputs import Input, Options, Progress, Shard, find_inputs
from .people import Persons, assign_people
from .places import to_place
from .report_folder import features_part, reserve
from .summary import Outcome, SummaryWriter, summary_path

CHECKING = 8  # records looked at side by side: far disks make one wait


class Crew(Protocol):
    """Whatever analyses videos: in this process, in one of its own, or on a cluster."""

    settings: dict[str, str]  # what a report depends on beside the video, in words
    extra_columns: tuple[str, ...]  # of the summary, beyond those that every one has
    description: str  # what runs the network, as a line for people

    def run(self, inputs: Iterable[Input], *, on_progress: Progress) -> Iterator[tuple[Input, Outcome]]:
        """Write the reports of each input and yield it with its row, in any order."""


OpenCrew = Callable[[Options, Path, Path], AbstractContextManager[Crew]]  # options, report folder, unfinished files


def analyze(
    paths: Sequence[str | Path],
    *,
    save: str | Path,
    options: Options | None = None,
    crew: OpenCrew | None = None,
    shard: Shard | None = None,
    force: bool = False,
    features: Path | None = None,
    on_found: Callable[[int, list[Path]], None] = lambda inputs, passed_over: None,
    on_ready: Callable[[Crew, int, int], None] = lambda crew, kept, inputs: None,
    on_progress: Progress = lambda source, done, total: None,
    on_outcome: Callable[[Outcome], None] = lambda outcome: None,
    on_step: Callable[[int, int], None] = lambda done, inputs: None,
) -> list[Outcome]:
    """Write a report for every video under `paths` into `save`, and the summary; return its rows.

    >>> analyze(["my_recordings"], save="report", options=Options({"detector": "full-range"}, faces="all"))

    Files and folders may lie here or, by an address such as s3://bucket/folder, far away.
    A video whose report is there, made of the same bytes with the same options, is kept as it is unless `force`d.
    `crew` says who analyses; by default a process of its own. `shard` leaves out the videos of other shards. `features`
    is a file for the features of everyone in the videos; for its sake all of them are analysed anew.

    `on_found` hears how many videos there are, and the files passed over; `on_ready` the crew, how many videos are
    kept, and of how many; `on_progress` the input, its frames done and its frames in all, if known; `on_outcome` each
    new row as soon as it stands.

    Where the baseline is of the run or of its people, all videos are read before the first report is written, and
    `on_step` is given how many inputs each step has done, and of how many. The readings stay in `save`. A shard makes
    its readings and no more; the same call without a shard then writes all reports, and reads no video again.

    Raises:
        UsageError: a path or an option is wrong; nothing was written.
        WeightsError: the weights cannot be used; nothing was written.
        LockedError: another run is at work in the report folder.
        ReportError: the report folder cannot be written to; what was finished stays.
    """
    options = replace(options or Options(), with_features=features is not None)
    save = to_place(save) if isinstance(save, str) else save
    sources, passed_over = find_inputs([to_place(path) if isinstance(path, str) else path for path in paths])
    inputs = [source for source in sources if shard is None or shard.holds(source)]
    on_found(len(inputs), passed_over)
    persons = assign_people(sources, options.people)
    if features:
        _check_place(features)
    with ExitStack() as stack:
        near = stack.enter_context(lend_folder(save))
        unfinished = stack.enter_context(reserve(near, shard))
        crew = crew or functools.partial(open_carrier, workers.open_workers)
        team = stack.enter_context(crew(options, save, unfinished))
        desk = _Desk(team, save, is_forced=force or bool(features), on_progress=on_progress)
        report = functools.partial(
            desk.report, table=summary_path(near, shard), unfinished=unfinished, on_outcome=on_outcome
        )
        on_start = functools.partial(on_ready, team)
        if not options.awaits_people:
            rows = report(inputs, [], on_start=on_start)
        else:
            read = desk.work(_plan_readings(inputs), on_start=on_start, on_step=on_step)
            if shard:
                rows = list(read.values())
            else:
                rows = report(*_plan_reports(desk, inputs, read, persons, options, on_step), on_start=on_step)
        if features:
            _join_features(features, (features_part(unfinished, source) for source in sources))
    return rows


class _Desk:
    """Lets a crew do what is not finished."""

    def __init__(self, team: Crew, save: Path, *, is_forced: bool, on_progress: Progress) -> None:
        self.team, self.save, self.is_forced, self.on_progress = team, save, is_forced, on_progress

    def _find_kept(self, inputs: Sequence[Input]) -> dict[str, Outcome]:
        """Return the rows of the inputs that are finished, by the names of their reports; of none if all is forced."""
        return {} if self.is_forced else _find_kept(inputs, self.save, self.team.settings)

    def report(
        self,
        inputs: Sequence[Input],
        lost: Sequence[Outcome],
        *,
        table: Path,
        unfinished: Path,
        on_start: Callable[[int, int], None],
        on_outcome: Callable[[Outcome], None],
    ) -> list[Outcome]:
        """Write the reports of the inputs and the summary at `table`, with the `lost` rows; return all rows."""
        kept = self._find_kept(inputs)
        rows = [*lost, *kept.values()]
        on_start(len(rows), len(lost) + len(inputs))
        left = [source for source in inputs if source.name not in kept]
        with SummaryWriter(table, unfinished=unfinished, extras=self.team.extra_columns, rows=rows) as summary:
            for outcome in lost:
                on_outcome(outcome)
            for _, outcome in self.team.run(left, on_progress=self.on_progress):
                summary.add(outcome)
                on_outcome(outcome)
        return summary.rows

    def work(
        self,
        inputs: Sequence[Input],
        *,
        on_step: Callable[[int, int], None],
        on_start: Callable[[int, int], None] = lambda kept, inputs: None,
    ) -> dict[str, Outcome]:
        """Return the rows of all inputs by their labels, after a step in which no summary is written."""
        kept = self._find_kept(inputs)
        on_start(len(kept), len(inputs))
        rows = {source.label: kept[source.name] for source in inputs if source.name in kept}
        left = [source for source in inputs if source.name not in kept]
        for source, outcome in self.team.run(left, on_progress=self.on_progress):
            rows[source.label] = outcome
            on_step(len(rows), len(inputs))
        return rows


def _plan_readings(inputs: Sequence[Input]) -> list[Input]:
    from .baseline_run import plan_readings  # NumPy, which a run without a baseline does without

    return plan_readings(inputs)


def _plan_reports(
    desk: _Desk,
    inputs: Sequence[Input],
    read: Mapping[str, Outcome],
    persons: Persons,
    options: Options,
    on_step: Callable[[int, int], None],
) -> tuple[list[Input], list[Outcome]]:
    """Return what to report once all videos were `read`, with all baselines, and the rows of those that failed."""
    from .baseline_run import gather, plan_moves, plan_reports

    there = [source for source in inputs if not _is_lost(read[source.label])]
    cast = gather(there, desk.save, persons, baseline=str(options.baseline))
    moves = plan_moves(cast, desk.save)
    rows = {**read, **desk.work(moves, on_step=on_step)}
    lost = {label: row for label, row in rows.items() if _is_lost(row)}
    whole = cast.leave_out(lost)
    done = [source for source in moves if source.label not in lost]
    return plan_reports(whole, desk.save, done), list(lost.values())


def _is_lost(outcome: Outcome) -> bool:
    return outcome.status == "error" and outcome.frames is None  # another error has something that could be read


def _find_kept(inputs: Sequence[Input], save: Path, settings: dict[str, str]) -> dict[str, Outcome]:
    """Return the rows of the videos that are finished, by the names of their reports."""
    with ThreadPoolExecutor(max_workers=CHECKING, thread_name_prefix="checking") as threads:
        found = threads.map(lambda source: find_finished(source, save, settings), inputs)
        return {source.name: outcome for source, outcome in zip(inputs, found, strict=True) if outcome}


def _check_place(features: Path) -> None:
    """Make sure that a file can be written, before hours of work for it."""
    with tell_unwritable(features):
        features.parent.mkdir(parents=True, exist_ok=True)
        tempfile.TemporaryFile(dir=features.parent).close()


def _join_features(path: Path, parts: Iterable[Path]) -> None:
    """Join the features of single videos to one file."""
    from .feature_files import FeatureWriter, read_features

    with ExitStack() as stack:
        writer: FeatureWriter | None = None
        for part in filter(Path.is_file, parts):  # a video that failed has left none
            file = read_features(part)
            writer = writer or stack.enter_context(FeatureWriter(path, origin=file.origin, settings=file.settings))
            for video in file.read_all():
                writer.add(video)
            part.unlink()
