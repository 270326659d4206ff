"""Carriers: far videos are fetched for a crew that reads near ones, and its reports sent to a far folder.

Videos are fetched whole, because decoders jump to and fro. Reports are written here and sent, their record last. The
record of a far video says of which version it is, by what the store itself says, so that nothing is fetched to look.
"""

import functools
import json
import shutil
import tempfile
import uuid
from collections.abc import Callable, Generator, Iterable, Iterator, Mapping
from contextlib import AbstractContextManager, ExitStack, closing, contextmanager
from dataclasses import replace
from pathlib import Path, PurePosixPath
from typing import Any

from . import places, records
from .errors import ReportError, UsageError, VideoError, printable
from .files import whole_file
from .inputs import Input, Options, Progress
from .places import is_far, read_key, telling
from .summary import Outcome
from .threads import prefetch

ORIGIN = "origin"  # of a record: what a store said of the video that it is of
FETCHED = 1  # videos fetched ahead of the one that is read


def send(save: Path, name: str, target: Path) -> None:
    """Bring the reports of a video from the folder `save` to a far one, the record last.

    Raises:
        ReportError: a file cannot be written there.
    """
    near, there = records.record_path(save, name), records.record_path(target, name)
    reports = json.loads(near.read_bytes())["reports"]
    older = _read_reports(there)
    if older is not None:
        places.remove(there)  # from here on older reports count for nothing
        for report in set(older) - set(reports):
            if ".." not in PurePosixPath(report).parts:
                places.remove(target / report)
    for report in reports:
        places.put(save / report, target / report)
    places.put(near, there)


def _read_reports(record: Path) -> list[str] | None:
    """Return the reports that a far record names, or None if there is no record."""
    try:
        return list(json.loads(record.read_bytes())["reports"])
    except FileNotFoundError:
        return None
    except Exception:  # every store has errors of its own; and whatever stands there is in the way
        return []


def find_finished(source: Input, save: Path, settings: records.Settings) -> Outcome | None:
    """Do what `records.find_finished` does, wherever the video and its reports lie.

    Of a far video the version that the store tells is compared, not its bytes; far reports have to be there.
    """
    if not is_far(source.path) and not is_far(save):
        return records.find_finished(source, save, settings)
    there = records.record_path(save, source.name)
    try:
        record: dict[str, Any] = dict(json.loads(there.read_bytes()))
        outcome = records.match(record, source, settings)
        return outcome if outcome and _is_of(record, source.path) and _are_whole(record, save) else None
    except Exception:  # every store has errors of its own, and what cannot be read is not finished
        return None


def _is_of(record: Mapping[str, Any], video: Path) -> bool:
    if is_far(video):
        return record[ORIGIN] is not None and bool(record[ORIGIN] == read_key(video))
    return records.is_of(record, video)


def _are_whole(record: Mapping[str, Any], save: Path) -> bool:
    if is_far(save):
        return all((save / name).exists() for name in record["reports"])
    return records.are_whole(record, save)


class Carrier:
    """A crew whose videos and report folder may lie far away: fetches the ones, and sends reports to the other.

    It tells what a `batch.Crew` does, of the crew that does the work.
    """

    def __init__(self, crew: Any, *, near: Path, target: Path) -> None:
        self._crew, self._near, self._target = crew, near, target
        self.settings: dict[str, str] = crew.settings
        self.extra_columns: tuple[str, ...] = crew.extra_columns
        self.description: str = crew.description

    def run(
        self, inputs: Iterable[Input], *, on_progress: Progress = lambda source, done, total: None
    ) -> Iterator[tuple[Input, Outcome]]:
        """Yield each input with its row, as the crew does; the next far video is fetched while one is read."""
        with (
            tempfile.TemporaryDirectory(prefix="emo-affectnet-") as folder,
            closing(prefetch(_fetch_all(inputs, Path(folder)), depth=FETCHED)) as fetched,
        ):
            for source, key, near in fetched:
                if isinstance(near, VideoError):
                    yield source, Outcome(source.label, "error", message=str(near))
                    continue
                tell = functools.partial(_pass_on, on_progress, source)
                outcome = next(iter(self._crew.run([replace(source, path=near)], on_progress=tell)))[1]
                if near is not source.path:
                    shutil.rmtree(near.parent)
                yield source, self._carry(source, key, rename(outcome, near, source.path))

    def _carry(self, source: Input, key: str | None, outcome: Outcome) -> Outcome:
        """Bring the record of a video up to date, and what is in a far folder there."""
        if outcome.status == "error" and outcome.frames is None:
            return outcome  # nothing was published
        record = records.record_path(self._near, source.name)
        if is_far(source.path):
            document = json.loads(record.read_bytes())
            document |= {ORIGIN: key, "summary": outcome.to_json()}
            with whole_file(record) as partial:
                partial.write_text(json.dumps(document, indent=1) + "\n", encoding="utf-8")
        if is_far(self._target):
            try:
                send(self._near, source.name, self._target)
            except ReportError as error:
                return Outcome(source.label, "error", message=str(error), seconds=outcome.seconds)
            finally:
                shutil.rmtree(self._near)
        return outcome


def _fetch_all(
    inputs: Iterable[Input], folder: Path
) -> Generator[tuple[Input, str | None, Path | VideoError], None, None]:
    """Yield inputs, the versions of far ones, and where they are now, or why they could not be fetched."""
    for source in inputs:
        if not is_far(source.path):
            yield source, None, source.path
            continue
        try:
            with telling(VideoError, f'"{source.path}" cannot be fetched'):
                key = read_key(source.path)
            yield source, key, places.fetch(source.path, folder)
        except VideoError as error:
            yield source, None, error


def _pass_on(on_progress: Progress, source: Input, near: Input, done: int, total: int | None) -> None:
    on_progress(source, done, total)


def rename(outcome: Outcome, read: Path, given: Path) -> Outcome:
    """Name a video in a message as it was `given`, and not by where it was `read`."""
    if read is given or outcome.message is None:
        return outcome
    return replace(outcome, message=outcome.message.replace(printable(str(read)), printable(str(given))))


@contextmanager
def open_carrier(
    crew: Callable[[Options, Path, Path], AbstractContextManager[Any]], options: Options, save: Path, unfinished: Path
) -> Iterator[Carrier]:
    """Lend a crew that reads far videos as well, and leaves its reports in `save`, wherever that is.

    Raises:
        UsageError: features are to be saved beside a far folder.
    """
    with ExitStack() as stack:
        near = save
        if is_far(save):
            if options.with_features:
                raise UsageError("The file of features is written on this computer: give a report folder here as well.")
            folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="emo-affectnet-")))
            near, unfinished = folder / "reports", folder / "unfinished"
            unfinished.mkdir()
        yield Carrier(stack.enter_context(crew(options, near, unfinished)), near=near, target=save)


@contextmanager
def lend_folder(save: Path) -> Iterator[Path]:
    """Lend a folder here for the summary of a run; what is in it goes to `save` at the end, if that is far.

    Raises:
        ReportError: nothing can be written there; told before hours of work for it.
    """
    if not is_far(save):
        yield save
        return
    with tempfile.TemporaryDirectory(prefix="emo-affectnet-") as folder:
        trial = Path(folder, f".{uuid.uuid4().hex}.part")
        trial.touch()
        places.put(trial, save / trial.name)
        places.remove(save / trial.name)
        try:
            yield Path(folder)
        finally:
            for path in sorted(Path(folder).glob("summary*.csv")):
                places.put(path, save / path.name)
