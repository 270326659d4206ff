"""Places: what a command line names becomes a `Path`, or a `UPath` for s3://, gs://, hdfs:// and other far places.

A `UPath` has the methods of a `Path`, and stands wherever one does. Videos that lie far away are fetched whole before
they are read, because decoders jump to and fro; reports are written here and sent, their record last. A far record says
of which version of the far video it is, by what the store itself says of it, so that nothing is fetched to look.
"""

import functools
import json
import re
import shutil
import tempfile
from collections.abc import Callable, Generator, Iterable, Iterator, Mapping
from contextlib import AbstractContextManager, ExitStack, closing, contextmanager, suppress
from dataclasses import replace
from pathlib import Path
from typing import Any, cast

from . import records
from .errors import EngineUnavailable, ReportError, UsageError, VideoError
from .files import whole_file
from .inputs import Input, Options, printable
from .summary import Outcome
from .threads import prefetch

ORIGIN = "origin"  # of a record: what a store said of the video that it is of
FETCHED = 1  # videos fetched ahead of the one that is read
_ADDRESS = re.compile(r"([a-z][a-z0-9+.-]+)://", re.IGNORECASE)

Progress = Callable[[Input, int, int | None], None]


def to_place(text: str) -> Path:
    """Return the place that a text names: a `Path`, or a `UPath` if it is an address such as s3://bucket/folder.

    Raises:
        EngineUnavailable: a package for such addresses is not installed.
        UsageError: there are no such addresses.
    """
    if not (found := _ADDRESS.match(text)):
        return Path(text)
    scheme = found[1].lower()
    if scheme == "file":
        return Path(text[found.end() :])
    try:
        from upath import UPath

        return cast(Path, UPath(text))
    except ImportError as error:
        raise EngineUnavailable(
            f"Addresses that begin with {scheme}:// need packages that are not installed: pip install "
            f"'emo-affectnet[ray]', and the store's own ({error})."
        ) from error
    except ValueError as error:
        raise UsageError(f"{text} is no address that can be read: {error}.") from error


def is_far(place: Path) -> bool:
    """Return whether a place has to be reached through fsspec."""
    return not isinstance(place, Path)


def walk(folder: Path) -> Iterator[Path]:
    """Yield the files below a far folder in one listing, without hidden ones: those of a folder, then sub-folders.

    Raises:
        VideoError: the folder cannot be listed.
    """
    far: Any = folder
    root = far.path.rstrip("/")
    with _tell(VideoError, f'"{folder}" cannot be listed'):
        found = far.fs.find(far.path)
    below = sorted((path[len(root) + 1 :].split("/") for path in found), key=_walking_order)
    yield from (folder.joinpath(*parts) for parts in below if not any(part.startswith(".") for part in parts))


def _walking_order(parts: list[str]) -> tuple[tuple[bool, str], ...]:
    *folders, name = parts
    return (*((True, folder) for folder in folders), (False, name))


def read_key(video: Path) -> str | None:
    """Return what tells this version of a far file from another one, or None if there is no such file."""
    far: Any = video
    try:
        return str(far.fs.ukey(far.path))
    except FileNotFoundError:
        return None


def fetch(video: Path, folder: Path) -> Path:
    """Return a copy of a far video, by the same file name in a new folder below `folder`.

    Raises:
        VideoError: it cannot be fetched.
    """
    far: Any = video
    near = Path(tempfile.mkdtemp(dir=folder), video.name)
    with _tell(VideoError, f'"{video}" cannot be fetched'):
        far.fs.get_file(far.path, str(near))
    return near


def send(save: Path, name: str, target: Path) -> None:
    """Bring the reports of a video from the folder `save` to a far one, the record last.

    Raises:
        ReportError: a file cannot be written there.
    """
    near, there = records.record_path(save, name), records.record_path(target, name)
    document = json.loads(near.read_bytes())
    remove(there)  # from here on older reports count for nothing
    for report in document["reports"]:
        _put(near.parent / report, there.parent / report)
    _put(near, there)


def remove(file: Path) -> None:
    """Remove a far file, if it is there."""
    with suppress(FileNotFoundError), _tell(ReportError, f"{file} cannot be removed"):
        file.unlink()


def _put(near: Path, there: Path) -> None:
    far: Any = there
    with _tell(ReportError, f"The report {there} cannot be written"):
        far.fs.makedirs(far.fs._parent(far.path), exist_ok=True)
        far.fs.put_file(str(near), far.path)


@contextmanager
def _tell(kind: type[Exception], what: str) -> Iterator[None]:
    """Say in one sentence what went wrong with a far place."""
    try:
        yield
    except FileNotFoundError:
        if kind is ReportError:
            raise
        raise kind(f"{what}: there is no such place. Check the address.") from None
    except Exception as error:  # every store has errors of its own, and not all of them are an OSError
        reason = str(error).strip().partition("\n")[0] or type(error).__name__
        raise kind(f"{what}: {reason}. Check the address, your rights and the network.") from error


def find_finished(source: Input, save: Path, settings: records.Settings) -> Outcome | None:
    """Do what `records.find_finished` does, wherever the video and its reports lie.

    Of a far video the version that the store tells is compared, not its bytes; far reports have to be there.
    """
    if not is_far(source.path) and not is_far(save):
        return records.find_finished(source, save, settings)
    there = records.record_path(save, source.name)
    try:
        record: dict[str, Any] = dict(json.loads(there.read_bytes()))
        outcome = Outcome.from_json(record["summary"])
        is_same = (record["format"], record["settings"], outcome.file) == (
            records.FORMAT,
            dict(settings),
            source.label,
        )
        if is_same and _is_of(record, source.path) and _are_whole(record["reports"], there.parent):
            return outcome
    except Exception:  # every store has errors of its own, and what cannot be read is not finished
        return None
    return None


def _is_of(record: Mapping[str, Any], video: Path) -> bool:
    if is_far(video):
        return record[ORIGIN] is not None and bool(record[ORIGIN] == read_key(video))
    return records.Fingerprint(**record["source"]) == records.take_fingerprint(video)


def _are_whole(reports: Mapping[str, str], folder: Path) -> bool:
    if is_far(folder):
        return all((folder / name).exists() for name in reports)
    return all(records.hash_content(folder / name) == digest for name, digest in reports.items())


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
                    yield source, Outcome(source.label, "error", message=printable(str(near)))
                    continue
                tell = functools.partial(_pass_on, on_progress, source)
                outcome = next(iter(self._crew.run([replace(source, path=near)], on_progress=tell)))[1]
                if near is not source.path:
                    shutil.rmtree(near.parent)
                yield source, self._carry(source, key, _rename(outcome, near, source.path))

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
                return Outcome(source.label, "error", message=printable(str(error)), seconds=outcome.seconds)
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
            with _tell(VideoError, f'"{source.path}" cannot be fetched'):
                key = read_key(source.path)
            yield source, key, fetch(source.path, folder)
        except VideoError as error:
            yield source, None, error


def _pass_on(on_progress: Progress, source: Input, near: Input, done: int, total: int | None) -> None:
    on_progress(source, done, total)


def _rename(outcome: Outcome, near: Path, far: Path) -> Outcome:
    """Name a video in a message by where it came from."""
    if near is far or outcome.message is None:
        return outcome
    return replace(outcome, message=outcome.message.replace(printable(str(near)), printable(str(far))))


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
    """Lend a folder here for the summary of a run; what is in it goes to `save` at the end, if that is far."""
    if not is_far(save):
        yield save
        return
    with tempfile.TemporaryDirectory(prefix="emo-affectnet-") as folder:
        try:
            yield Path(folder)
        finally:
            for path in sorted(Path(folder).glob("summary*.csv")):
                _put(path, save / path.name)
