"""A Ray cluster: what its actors do by themselves, and a real one that loses a process and a machine in mid-job."""

import functools
import importlib
import logging
import os
import pickle
import shutil
import signal
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from conftest import ROOT, MakeVideo, contents, crew_of

from emo_affectnet import batch, cluster
from emo_affectnet.cluster import ACTOR_MEMORY, PATIENCE, TRIES, Cluster, Ledger, Reader, open_cluster, plan
from emo_affectnet.errors import EngineUnavailable, FullError, UnknownName, UsageError, WorkerError
from emo_affectnet.inputs import Input, Options
from emo_affectnet.records import record_path
from emo_affectnet.summary import Outcome

CLIPS = 10
GB = float(1 << 30)


@pytest.mark.parametrize(
    ("nodes", "options", "cores", "actor", "room"),
    [
        pytest.param(
            [{"CPU": 4, "memory": 64 * GB}, {"CPU": 3, "memory": 64 * GB}],
            {},
            2,
            {"num_cpus": 2},
            3,
            id="cores of one machine are not added to those of another",
        ),
        pytest.param([{"CPU": 16, "memory": 3.5 * GB}], {}, 1, {"num_cpus": 1}, 3, id="memory is a limit as well"),
        pytest.param(
            [{"CPU": 16, "GPU": 4, "memory": 64 * GB}, {"CPU": 64, "memory": 64 * GB}],
            {},
            1,
            {"num_cpus": 1, "num_gpus": 0.25},
            16,
            id="a card is shared by the actors that its machine has cores for, and other machines have none",
        ),
        pytest.param(
            [{"CPU": 96, "GPU": 1, "memory": 256 * GB}],
            {},
            1,
            {"num_cpus": 1, "num_gpus": 0.125},
            8,
            id="a card has memory for so many",
        ),
        pytest.param(
            [{"CPU": 6, "GPU": 2, "memory": 64 * GB}],
            {},
            1,
            {"num_cpus": 1, "num_gpus": 0.3333},
            6,
            id="thirds of a card fit three times",
        ),
        pytest.param(
            [{"CPU": 2, "GPU": 4, "memory": 64 * GB}],
            {},
            1,
            {"num_cpus": 1, "num_gpus": 1.0},
            2,
            id="more cards than cores",
        ),
        pytest.param(
            [{"CPU": 16, "GPU": 4, "memory": 64 * GB}],
            {"device": "cpu"},
            1,
            {"num_cpus": 1},
            16,
            id="cards are left alone if asked for",
        ),
        pytest.param(
            [{"CPU": 16, "GPU": 4, "memory": 64 * GB}],
            {"engine": "openvino"},
            1,
            {"num_cpus": 1},
            16,
            id="an engine for processors needs no card",
        ),
        pytest.param(
            [{"CPU": 4, "memory": 64 * GB}], {}, 1, {"num_cpus": 1}, 4, id="where there is no card none is asked for"
        ),
    ],
)
def test_actors_fit_the_machines(
    nodes: list[dict[str, float]], options: dict[str, Any], cores: int, actor: dict[str, Any], room: int
) -> None:
    assert plan(nodes, Options(recognizer=options), cores=cores) == ({**actor, "memory": ACTOR_MEMORY}, room)


def test_a_cluster_without_room_for_one_actor_is_refused() -> None:
    with pytest.raises(WorkerError, match="None of the 2 machines of the cluster has 4 cores"):
        plan([{"CPU": 2, "memory": 64 * GB}, {}], Options(), cores=4)


def test_a_numbered_card_is_refused() -> None:
    with pytest.raises(UsageError, match="give --device cuda in the place of cuda:1"):
        plan([{"CPU": 2, "GPU": 2, "memory": 64 * GB}], Options(recognizer={"device": "cuda:1"}), cores=1)


@pytest.mark.parametrize("missing", ["ray", "ray.data"])
def test_a_missing_ray_names_the_extra(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, missing: str) -> None:
    monkeypatch.setitem(sys.modules, missing, None)
    with (
        pytest.raises(EngineUnavailable, match=r"pip install 'emo-affectnet\[ray\]'"),
        open_cluster(Options(), tmp_path, tmp_path),
    ):
        pass


def test_a_cluster_that_is_not_there_is_told_in_one_sentence(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    ray = importlib.import_module("ray")

    monkeypatch.delenv(PATIENCE, raising=False)
    before = signal.getsignal(signal.SIGTERM)

    def refuse(**options: object) -> None:
        assert os.environ[PATIENCE] == "1"
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
        raise ConnectionError("Ray is trying to start at 127.0.0.1:9, but is not running.\nSee the docs.")

    monkeypatch.setattr(ray, "init", refuse)
    with (
        pytest.raises(WorkerError, match=r"no Ray cluster at 127.0.0.1:9 that can be used: .* not running\. Start one"),
        open_cluster(Options(), tmp_path, tmp_path, address="127.0.0.1:9"),
    ):
        pass
    assert signal.getsignal(signal.SIGTERM) is before
    assert PATIENCE not in os.environ  # a cluster of one, which this process may want next, takes longer to start


def test_an_address_of_rays_client_is_refused_at_once(tmp_path: Path) -> None:
    with (
        pytest.raises(UsageError, match=r"but ray://10\.0\.0\.1:10001 came; start the command on a machine there"),
        open_cluster(Options(), tmp_path, tmp_path, address="ray://10.0.0.1:10001"),
    ):
        pass


@pytest.mark.soak
def test_an_address_where_no_ray_answers_is_given_up_after_one_try(carphone: Path, tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        address = f"127.0.0.1:{listener.getsockname()[1]}"
        command = [sys.executable, "-m", "emo_affectnet", "analyze", carphone, "--save", tmp_path / "report"]
        command += ["--cluster", "ray", "--address", address]
        done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=120)
    assert done.returncode == 1
    assert done.stderr.startswith(f"Error: There is no Ray cluster at {address} that can be used: ")
    assert len(done.stderr.splitlines()) == 1
    assert not (tmp_path / "report").exists()


@pytest.fixture
def make_reader(fake_recognizer, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Callable[..., Reader]:
    """Make the actor as Ray would, with fakes for detector and engine, in this process."""
    (tmp_path / "unfinished").mkdir()

    def make(begin: Callable[[str], int] = lambda name: 1, settings: dict[str, str] | None = None) -> Reader:
        job = cluster._Job(Options(), tmp_path / "report", tmp_path / "unfinished", None)
        lend = crew_of(fake_recognizer)
        monkeypatch.setattr(cluster, "_open_crew", lambda job: lend(job.options, job.save, job.unfinished))
        with lend(job.options, job.save, job.unfinished) as crew:
            return Reader(job, crew.settings | (settings or {}), begin)

    monkeypatch.setattr(logging.getLogger("emo_affectnet"), "handlers", [])
    monkeypatch.setattr(logging.getLogger("emo_affectnet"), "propagate", True)
    return make


def read(reader: Reader, source: Input) -> Any:
    return pickle.loads(reader({"source": pickle.dumps(source)})["answer"])


def test_an_actor_analyses_a_video_and_sends_its_log_home(make_reader, make_video: MakeVideo) -> None:
    reader = make_reader()
    logging.getLogger("emo_affectnet").warning("Something about %s", "a video")
    answer = read(reader, Input(make_video("clip.mp4"), "clip", "clip.mp4"))
    assert (answer.name, answer.outcome.status, answer.outcome.frames) == ("clip", "ok", 30)
    assert answer.records == ((logging.WARNING, "Something about a video"),)
    assert read(reader, Input(make_video("b.mp4"), "b", "b.mp4")).records == ()


def test_a_second_try_tells_what_the_first_has_published(
    make_reader, make_video: MakeVideo, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    ledger, source = Ledger(), Input(make_video("clip.mp4"), "clip", "clip.mp4")
    first = read(make_reader(ledger.begin), source)
    written = record_path(tmp_path / "report", "clip").stat().st_mtime_ns
    second = read(make_reader(ledger.begin), source)
    assert second.outcome == replace(first.outcome, seconds=None)
    assert record_path(tmp_path / "report", "clip").stat().st_mtime_ns == written


def test_a_first_try_heeds_no_record_because_it_may_be_forced(
    make_reader, make_video: MakeVideo, tmp_path: Path
) -> None:
    source = Input(make_video("clip.mp4"), "clip", "clip.mp4")
    read(make_reader(), source)
    written = record_path(tmp_path / "report", "clip").stat().st_mtime_ns
    read(make_reader(), source)
    assert record_path(tmp_path / "report", "clip").stat().st_mtime_ns > written


def test_a_video_that_ends_its_actor_again_and_again_is_given_up(make_reader, make_video: MakeVideo) -> None:
    ledger, source = Ledger(), Input(make_video("clip.mp4"), "clip", "clip.mp4")
    for _ in range(TRIES):
        ledger.begin("clip")
    answer = read(make_reader(ledger.begin), source)
    assert answer.outcome.status == "error"
    assert f"took down what read it {TRIES} times" in answer.outcome.message


def test_an_actor_with_other_settings_refuses_to_work(make_reader, make_video: MakeVideo) -> None:
    answer = read(make_reader(settings={"engine": "torch, fp32"}), Input(make_video("clip.mp4"), "clip", "clip.mp4"))
    with pytest.raises(WorkerError, match="engine is 'fake, fp32' here and 'torch, fp32' elsewhere"):
        answer.outcome.raise_it()


def test_a_full_disk_comes_home_as_such(make_reader, make_video: MakeVideo, monkeypatch: pytest.MonkeyPatch) -> None:
    reader = make_reader()

    def fail(*arguments: object, **options: object) -> None:
        raise FullError("The report cannot be written: No space left on device.")

    monkeypatch.setattr(reader._crew, "run", fail)
    answer = read(reader, Input(make_video("clip.mp4"), "clip", "clip.mp4"))
    with pytest.raises(FullError, match="No space left on device"):
        answer.outcome.raise_it()


def test_errors_with_arguments_of_their_own_come_home_as_well() -> None:
    failure = cluster._Failure.of(UnknownName("weight set", "other", ["bundled"]))
    with pytest.raises(UnknownName, match="There is no weight set named 'other'"):
        pickle.loads(pickle.dumps(failure)).raise_it()


def answered(*answers: cluster._Answer) -> Cluster:
    """A cluster whose machines have answered so."""
    crew = object.__new__(Cluster)
    crew._answer = lambda inputs: iter(answers)  # type: ignore[method-assign]
    return crew


def test_every_video_comes_back_once_whatever_ray_says_twice_or_never() -> None:
    sources = [Input(Path(f"{name}.mp4"), name, f"{name}.mp4") for name in "abc"]
    fine = {name: cluster._Answer(name, Outcome(f"{name}.mp4", "ok", frames=3), ()) for name in "abc"}
    told: list[tuple[str, int, int | None]] = []
    crew = answered(fine["b"], fine["a"], fine["b"])
    rows = list(crew.run(sources, on_progress=lambda source, done, total: told.append((source.name, done, total))))
    assert [(source.name, outcome.status) for source, outcome in rows] == [("b", "ok"), ("a", "ok"), ("c", "error")]
    assert rows[2][1].message == '"c.mp4" was lost on the cluster, whose logs say why. Run the same command again.'
    assert told == [("b", 3, 3), ("a", 3, 3)]


def test_the_log_of_the_machines_is_told_here(caplog: pytest.LogCaptureFixture) -> None:
    answer = cluster._Answer("a", Outcome("a.mp4", "ok"), ((logging.WARNING, '"a.mp4": reading stopped.'),))
    list(answered(answer).run([Input(Path("a.mp4"), "a", "a.mp4")]))
    assert [(record.levelno, record.message) for record in caplog.records] == [
        (logging.WARNING, '"a.mp4": reading stopped.')
    ]


def test_messages_name_a_video_as_it_was_given(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.chdir(tmp_path)
    message = f'"{tmp_path}/in/a.mp4" is cut short.'
    crew = answered(cluster._Answer("a", Outcome("a.mp4", "error", message=message), ()))
    ((_, outcome),) = crew.run([Input(Path("in/a.mp4"), "a", "a.mp4")])
    assert outcome.message == '"in/a.mp4" is cut short.'


def test_options_mean_the_same_in_another_folder(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.chdir(tmp_path)
    Path("own.pt").write_bytes(b"")
    given = Options(
        recognizer={"backbone": "own.pt", "head": "IEMOCAP", "head_file": None, "threads": None},
        thresholds=Path("own.json"),
    )
    settled = cluster._settle_options(given, 2)
    expected = {"backbone": tmp_path / "own.pt", "head": "IEMOCAP", "head_file": None, "threads": 2}
    assert (settled.recognizer, settled.thresholds) == (expected, tmp_path / "own.json")


@pytest.fixture(scope="module")
def machines() -> Iterator[Any]:
    """A Ray cluster of two machines with one core each, on this computer."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("RAY_USAGE_STATS_ENABLED", "0")
        patch.setenv("RAY_BACKEND_LOG_LEVEL", "fatal")
        patch.setenv("RAY_health_check_period_ms", "1000")  # a machine that is gone is missed after 3 s, not 15
        patch.setenv("RAY_health_check_failure_threshold", "3")
        patch.setenv("PYTHONPATH", str(ROOT))
        utilities = importlib.import_module("ray.cluster_utils")
        machine = {"num_cpus": 1, "object_store_memory": 100 << 20}
        pair = utilities.Cluster(initialize_head=True, head_node_args={**machine, "include_dashboard": False})
        try:
            second = pair.add_node(**machine)
            yield SimpleNamespace(address=pair.address, lose=lambda: pair.remove_node(second, allow_graceful=False))
        finally:
            pair.shutdown()


def find_actors() -> list[int]:
    """Return the process numbers of the actors that read videos."""
    found = []
    for folder in Path("/proc").iterdir():
        with suppress(OSError):
            if folder.name.isdigit() and (folder / "cmdline").read_bytes().startswith(b"ray::MapWorker"):
                found.append(int(folder.name))
    return found


@pytest.mark.filterwarnings("ignore::DeprecationWarning:ray")  # it warns of settings that it makes itself
@pytest.mark.skipif(sys.platform != "linux", reason="processes are found in /proc")
def test_a_job_outlives_a_killed_process_and_a_lost_machine(machines: Any, carphone: Path, tmp_path: Path) -> None:
    videos, here, there = (tmp_path / name for name in ("videos", "here", "there"))
    (videos / "more").mkdir(parents=True)
    for number in range(CLIPS):
        shutil.copy(carphone, videos / "more" / f"clip {number}.mp4")
    (videos / "broken.mp4").write_bytes(b"no video" * 99)
    options = Options(recognizer={"threads": 1})
    expected = batch.analyze([videos], save=here, options=options)
    told: list[str] = []

    def disturb(outcome: Outcome) -> None:
        told.append(outcome.file)
        if len(told) == 2:
            os.kill(find_actors()[0], signal.SIGKILL)
        if len(told) == 4:
            machines.lose()

    crew = functools.partial(open_cluster, address=machines.address)
    rows = batch.analyze([videos], save=there, options=options, crew=crew, on_outcome=disturb)
    assert sorted(told) == sorted(row.file for row in expected)
    assert [row.status for row in rows].count("ok") == CLIPS
    assert contents(there) == contents(here)


@pytest.mark.gpu
@pytest.mark.filterwarnings("ignore::DeprecationWarning:ray")
def test_actors_that_share_a_card_write_what_one_process_writes_there(carphone: Path, tmp_path: Path) -> None:
    videos, here, there = (tmp_path / name for name in ("videos", "here", "there"))
    videos.mkdir()
    for number in range(CLIPS):
        shutil.copy(carphone, videos / f"clip {number}.mp4")
    options = Options(recognizer={"threads": 1, "device": "cuda"})
    batch.analyze([videos], save=here, options=options)
    crews: list[Cluster] = []
    batch.analyze(
        [videos], save=there, options=options, crew=open_cluster, on_ready=lambda crew, kept, inputs: crews.append(crew)
    )
    assert crews[0]._actor["num_gpus"] < 1
    assert "on cuda" in crews[0].description
    assert contents(there) == contents(here)
