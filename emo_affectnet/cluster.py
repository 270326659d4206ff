"""A cluster of machines: videos go out, one for each task, and their rows come back as they are finished (Ray Data).

Every machine has to see the videos, the report folder and the weights by the same names: a shared disk, or addresses
such as s3://. Frames never leave the machine that reads them. An actor holds the networks of one `workers` process, so
that a video that crashes or hangs a decoder costs that process alone; what becomes of a lost actor or machine is Ray's
matter: the videos it had are read again elsewhere, and those whose record is there already are told from it.

A graphics card is shared by as many actors as there are cores for, because decoding and finding faces, which cores do,
is most of the work. Faces could be sent to actors with cards instead: docs/cluster.md says why they are not.
"""

import functools
import logging
import math
import os
import pickle
import signal
import socket
import threading
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from . import workers
from .carrier import find_finished, open_carrier, rename
from .errors import EmoAffectNetError, EngineUnavailable, UsageError, WorkerError, printable, silent_errors
from .inputs import Input, Options, Prepare, Progress
from .places import is_far
from .summary import Outcome

log = logging.getLogger("emo_affectnet")

TRIES = 4  # of a video that ends the actor that reads it, or is on machines that go
IN_FLIGHT = 2  # tasks an actor has: the one it works on, and the next
ACTOR_MEMORY = 1 << 30  # bytes: an actor and its process take 0.7 GB for a video of 720p
ACTORS_PER_GPU = 8  # at most: each takes 1.1 GB of the card's memory with faces of 64 px, and 1.9 GB with 224 px
OBJECT_STORE = 200 << 20  # bytes, on a cluster of one: rows are small
TASKS = 10_000  # above so many a task takes several videos: each task costs the command 4 ms
VIDEOS_PER_TASK = 16  # at most
PATIENCE = "RAY_gcs_server_port_wait_time_s"  # how often Ray knocks at an address, 40 s each time; 20 times by itself
_FOREVER = -1

Record = tuple[int, str]  # level and text of a log record


@dataclass(frozen=True)
class _Job:
    """What an actor needs in order to read videos; all paths are absolute."""

    options: Options
    save: Path
    unfinished: Path
    time_limit: float | None


@dataclass(frozen=True)
class _Failure:
    """An error that would meet every other video as well."""

    name: str  # of its class, in `errors`
    message: str

    @classmethod
    def of(cls, error: EmoAffectNetError) -> "_Failure":
        return cls(type(error).__name__, f"{error} (on {socket.gethostname()})")

    def raise_it(self) -> None:
        raise workers.rebuild(self.name, self.message)


@dataclass(frozen=True)
class _Answer:
    """What comes back for one video."""

    name: str  # of its report
    outcome: Outcome | _Failure
    records: tuple[Record, ...]  # of the log


@dataclass(frozen=True)
class _Description:
    """What `batch.Crew` tells of itself."""

    settings: dict[str, str]
    extra_columns: tuple[str, ...]
    description: str


class _Notes(logging.Handler):
    """Keeps log records until they are sent home."""

    def __init__(self) -> None:
        super().__init__()
        self.records: list[Record] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.records.append((record.levelno, self.format(record)))

    def take(self) -> tuple[Record, ...]:
        taken, self.records = tuple(self.records), []
        return taken


class Ledger:
    """Counts, for all actors, how often a video was begun; it is an actor by itself, because theirs may be lost.

    Ray's own count will not do: while a machine goes down, it tries several times a second to reach it.
    """

    def __init__(self) -> None:
        self._begun: Counter[str] = Counter()

    def begin(self, name: str) -> int:
        """Return how often a video has been begun, this time included."""
        self._begun[name] += 1
        return self._begun[name]


class Reader:
    """The actor: loads the networks once, in a process of its own, and reads one video after the other.

    It refuses to work where the settings are others than where the job was planned: the reports would differ.
    """

    def __init__(self, job: _Job, settings: Mapping[str, str], begin: Callable[[str], int]) -> None:
        self._job, self._settings, self._begin, self._notes = job, dict(settings), begin, _Notes()
        log.addHandler(self._notes)
        log.propagate = False
        self._failure: _Failure | None = None
        try:
            self._lent = _open_crew(job)
            self._crew = self._lent.__enter__()  # until the actor's process ends, and its child with it
            self._check_settings(self._crew.settings)
        except EmoAffectNetError as error:
            self._failure = _Failure.of(error)

    def _check_settings(self, own: Mapping[str, str]) -> None:
        if other := [name for name, value in self._settings.items() if own.get(name) != value]:
            name = other[0]
            raise WorkerError(
                f"Expected the same on every machine of the cluster, but {name} is {own.get(name)!r} here and "
                f"{self._settings[name]!r} elsewhere. Install the same version and weights, and name the engine."
            )

    def __call__(self, row: dict[str, bytes]) -> dict[str, bytes]:
        """Read a video; bytes come and go, because names of files need not be text."""
        return {"answer": pickle.dumps(self._read(pickle.loads(row["source"])))}

    def _read(self, source: Input) -> _Answer:
        if self._failure:
            return _Answer(source.name, self._failure, self._notes.take())
        outcome = None
        if (tries := self._begin(source.name)) > 1:  # the last try may have been lost after it had published everything
            outcome = find_finished(source, self._job.save, self._settings)
        if outcome is None and tries > TRIES:
            outcome = Outcome(source.label, "error", message=_describe_loss(source))
        try:
            outcome = outcome or next(iter(self._crew.run([source], on_progress=lambda source, done, total: None)))[1]
        except EmoAffectNetError as error:  # the disk is full, or no process starts any more
            return _Answer(source.name, _Failure.of(error), self._notes.take())
        return _Answer(source.name, outcome, self._notes.take())


class Cluster:
    """Analyses videos on a cluster; tells what `batch.Crew` does, of the machines there."""

    def __init__(self, ray: Any, job: _Job, *, actor: dict[str, Any], room: int) -> None:
        self._ray, self._job, self._actor, self._room = ray, job, actor, room
        found = self._describe()
        self.settings, self.extra_columns = found.settings, found.extra_columns
        self.description = f"{found.description} On a Ray cluster with room for {room} videos at once."

    def _describe(self) -> _Description:
        """Ask one machine of the kind that will do the work what it would work with."""
        task = self._ray.remote(**self._actor, max_retries=TRIES)(_describe)
        try:
            found: _Description | _Failure = self._ray.get(task.remote(self._job))
        except self._ray.exceptions.RayError as error:
            raise WorkerError(f"No machine of the cluster can read videos: {_first_line(error)}") from error
        if isinstance(found, _Failure):
            found.raise_it()
        assert isinstance(found, _Description)
        return found

    def run(
        self, inputs: Iterable[Input], *, on_progress: Progress = lambda source, done, total: None
    ) -> Iterator[tuple[Input, Outcome]]:
        """Yield each input once with its row, as they are finished; `on_progress` hears of finished ones only.

        Raises:
            FullError: no report can be written any more.
            WorkerError: a machine cannot read videos, or others than those of the rest.
        """
        waiting = {source.name: source for source in inputs}
        for answer in self._answer(list(waiting.values())) if waiting else ():
            for record in answer.records:
                log.log(*record)
            if isinstance(answer.outcome, _Failure):
                answer.outcome.raise_it()
            elif source := waiting.pop(answer.name, None):
                on_progress(source, answer.outcome.frames or 0, answer.outcome.frames)
                yield source, rename(answer.outcome, _absolute(source.path), source.path)
        for source in waiting.values():  # Ray's own errors; what they were is in its logs
            message = f'"{source.path}" was lost on the cluster, whose logs say why. Run the same command again.'
            yield source, Outcome(source.label, "error", message=printable(message))

    def _answer(self, inputs: Sequence[Input]) -> Iterator[_Answer]:
        """Yield the answers of all machines as they come."""
        from ray.data import ActorPoolStrategy, from_items
        from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

        rows = [{"source": pickle.dumps(replace(source, path=_absolute(source.path)))} for source in inputs]
        tasks = math.ceil(len(rows) / max(1, min(VIDEOS_PER_TASK, len(rows) // TASKS)))
        # On a machine that goes, a ledger would make all others wait until that is certain.
        here = NodeAffinitySchedulingStrategy(self._ray.get_runtime_context().get_node_id(), soft=False)
        ledger = self._ray.remote(num_cpus=0, scheduling_strategy=here)(Ledger).remote()
        dataset = from_items(rows, override_num_blocks=tasks).map(
            Reader,
            fn_constructor_args=(self._job, self.settings, functools.partial(_begin, ledger)),
            compute=ActorPoolStrategy(
                min_size=1,
                initial_size=max(1, min(self._room, tasks)),
                max_size=tasks,
                max_tasks_in_flight_per_actor=IN_FLIGHT,
            ),
            **self._actor,
            max_restarts=_FOREVER,
            max_task_retries=_FOREVER,
        )
        _keep_quiet()
        dataset.context.enable_progress_bars = False
        dataset.context.max_errored_blocks = _FOREVER
        for row in dataset.iter_rows():
            yield pickle.loads(row["answer"])


@contextmanager
def open_cluster(
    options: Options,
    save: Path,
    unfinished: Path,
    *,
    address: str | None = None,
    on_prepare: Prepare = lambda done, total: None,
    time_limit: float | None = None,
) -> Iterator[Cluster]:
    """Lend what analyses videos on the Ray cluster at `address`, such as "10.0.0.1:6379" or "auto".

    Without an address, nor one in RAY_ADDRESS, this computer is a cluster of one for as long as it lasts. An actor
    takes as many cores as `options` name threads, or one. What it makes once for each machine, such as an int8 network,
    `on_prepare` does not hear of. Otherwise as `workers.open_workers`.

    Raises:
        EngineUnavailable: Ray is not installed.
        WorkerError: there is no cluster at the address, or none of its machines can read videos.
        WeightsError: the weights cannot be used.
        UsageError: two options that do not go together.
    """
    ray = _load_ray()
    is_ours = not ray.is_initialized()
    if is_ours:
        _connect(ray, address)
    try:
        cores = options.recognizer.get("threads") or 1
        actor, room = plan([node["Resources"] for node in ray.nodes() if node["Alive"]], options, cores=cores)
        job = _Job(_settle_options(options, cores), _absolute(save), _absolute(unfinished), time_limit)
        yield Cluster(ray, job, actor=actor, room=room)
    finally:
        if is_ours:
            ray.shutdown()


def _load_ray() -> Any:
    """Import Ray, which is told not to report to its makers, and to keep what it does to its own logs."""
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    os.environ.setdefault("RAY_BACKEND_LOG_LEVEL", "fatal")
    try:
        import ray
        import ray.data
    except ImportError as error:
        raise EngineUnavailable(
            "A cluster needs Ray, which is not installed: pip install 'emo-affectnet[ray]', here and on its machines."
        ) from error
    return ray


def _keep_quiet() -> None:
    """Leave the words of Ray Data to its own files, but for errors."""
    for handler in logging.getLogger("ray.data").handlers:
        if type(handler).__name__ == "PlainRayHandler":  # to the terminal; others may be anybody's
            handler.setLevel(logging.ERROR)


def _connect(ray: Any, address: str | None) -> None:
    address = address or os.environ.get("RAY_ADDRESS")
    if address and "://" in address:
        raise UsageError(
            f"Expected host:port of a Ray cluster, but {address} came; start the command on a machine there."
        )
    here = {} if address else {"include_dashboard": False, "object_store_memory": OBJECT_STORE}
    terminate = signal.getsignal(signal.SIGTERM)
    if is_impatient := bool(address) and PATIENCE not in os.environ:
        os.environ[PATIENCE] = "1"
    try:
        with silent_errors():  # Ray says aloud that it was told to be quiet
            ray.init(address=address or "local", log_to_driver=False, logging_level="error", **here)
    except (ConnectionError, RuntimeError, ValueError) as error:
        where = f"at {address}" if address else "on this computer"
        raise WorkerError(
            f"There is no Ray cluster {where} that can be used: {_first_line(error)}. Start one with 'ray start "
            "--head' and give the address that it names, with the same versions of Ray and Python everywhere."
        ) from error
    finally:
        if is_impatient:
            del os.environ[PATIENCE]
        if threading.current_thread() is threading.main_thread():
            signal.signal(signal.SIGTERM, terminate)  # Ray's own would wait half a minute before it lets go


def plan(nodes: Sequence[Mapping[str, float]], options: Options, *, cores: int) -> tuple[dict[str, Any], int]:
    """Return what Ray is to keep for one actor, and how many actors the machines have room for now.

    Where there are graphics cards that the options allow, actors go only where these are, and share them.

    Raises:
        UsageError: a card is named by its number, which Ray chooses.
        WorkerError: no machine has room for a single actor.
    """
    with_card = [node for node in nodes if node.get("GPU", 0) >= 1] if _takes_card(options) else []
    actor: dict[str, Any] = {"num_cpus": cores, "memory": ACTOR_MEMORY}
    fits = [int(min(node.get("CPU", 0) // cores, node.get("memory", 0) // ACTOR_MEMORY)) for node in with_card or nodes]
    if with_card:
        each = [room / node["GPU"] for room, node in zip(fits, with_card, strict=True)]
        share = int(max(1, min(ACTORS_PER_GPU, *each)))
        actor["num_gpus"] = math.floor(1e4 / share) / 1e4  # Ray counts in ten-thousandths
        fits = [int(min(room, node["GPU"] * share)) for room, node in zip(fits, with_card, strict=True)]
    if not sum(fits):
        raise WorkerError(
            f"None of the {len(nodes)} machines of the cluster has {cores} cores and {ACTOR_MEMORY >> 30} GB of memory "
            "for reading videos; start Ray there with more, or ask for fewer --threads."
        )
    return actor, sum(fits)


def _takes_card(options: Options) -> bool:
    """Return whether what the options ask for runs on a graphics card where there is one."""
    device, engine = options.recognizer.get("device") or "auto", options.recognizer.get("engine")
    if ":" in device:
        raise UsageError(f"On a cluster Ray chooses the card: give --device cuda in the place of {device}.")
    return device != "cpu" and engine in (None, "torch")


def _settle_options(options: Options, cores: int) -> Options:
    """Return options that mean the same on another machine, in another folder."""
    files = {name: Path(value).absolute() for name, value in options.recognizer.items() if _is_file(value)}
    rest = Path(options.baseline).absolute() if _is_file(options.baseline) else options.baseline
    settled = replace(options, recognizer={**options.recognizer, **files, "threads": cores}, baseline=rest)
    return replace(settled, thresholds=options.thresholds and options.thresholds.absolute())


def _is_file(value: object) -> bool:
    return isinstance(value, str | Path) and os.path.isfile(value)


def _absolute(place: Path) -> Path:
    return place if is_far(place) else place.absolute()


def _open_crew(job: _Job) -> Any:
    """Return the context of what reads videos on this machine."""
    opened = functools.partial(workers.open_workers, time_limit=job.time_limit)
    return open_carrier(opened, job.options, job.save, job.unfinished)


def _describe(job: _Job) -> _Description | _Failure:
    try:
        with _open_crew(job) as crew:
            return _Description(dict(crew.settings), tuple(crew.extra_columns), crew.description)
    except EmoAffectNetError as error:
        return _Failure.of(error)


def _begin(ledger: Any, name: str) -> int:
    import ray

    return int(ray.get(ledger.begin.remote(name)))


def _describe_loss(source: Input) -> str:
    return printable(
        f'"{source.path}" took down what read it {TRIES} times: the process, as when memory runs out, or the machine. '
        "Run the same command again, or leave it out."
    )


def _first_line(error: Exception) -> str:
    return str(error).strip().partition("\n")[0].rstrip(".")
