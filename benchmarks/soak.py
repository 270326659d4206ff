"""Analyse a thousand short clips in one call, and look at what its processes hold after each of them.

Memory, open files, threads and temporary files must not grow with the number of videos: a folder of a corpus has tens
of thousands. The command runs as people run it, and is looked at from outside, with all processes that it starts, each
time it prints the line of a finished video. Linux only, which tells it in /proc. Figures go to benchmarks/results/.

    python benchmarks/soak.py
    python benchmarks/soak.py --clips 60
    python benchmarks/soak.py --clips 300 -- --precision int8
"""

import os
import struct
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass
from itertools import islice
from pathlib import Path
from statistics import mean
from typing import Any, cast

import av
import click
import cv2
import numpy as np
import numpy.typing as npt
import pandas as pd
from av.video.stream import VideoStream
from measurement import ROOT, write_figures

from emo_affectnet.video import read_frames

Image = npt.NDArray[np.uint8]  # (H, W, 3), RGB

FPS, SECONDS = 25, 1  # of a clip
WARM_UP = 20  # clips, in which networks, decoders and detector come to the size that they keep
WINDOW = 100  # clips at either end, whose mean memory is compared
MOMENTS = (100, 500, 1000)  # clips after which the tables say what is held
EVERY = 10  # samples of which one is kept in the file of figures
NO_VIDEO = b"This is no video, whatever its name says.\n"
CUT_SHARE = 0.9  # of the bytes of a clip that was cut short
LAST_WORDS = 3000  # characters of what a command said that failed


@dataclass(frozen=True)
class Scene:
    """A second of a demo clip, or of a wall, as one of the kinds of clips; a broken one has lost its end, or all."""

    name: str
    clip: str | None  # None is a wall with nobody before it
    start: float = 0.0  # s
    height: int = 240  # px
    codec: str = "libx264"
    broken: str | None = None  # "cut" or "text"

    @property
    def status(self) -> str:
        """What the summary has to say of it."""
        if self.broken:
            return "error"
        return "ok" if self.clip else "no_face"


SCENES = (  # in turn, so that any ten clips in a row are the same work
    Scene("smile", "expressions.mp4", 1.0),
    Scene("surprise", "expressions.mp4", 4.0, height=360),
    Scene("pair", "two_people.mp4", 2.0),
    Scene("wall", None),
    Scene("anger", "expressions.mp4", 12.0, codec="mpeg4"),
    Scene("leaves", "leaves_and_returns.mp4", 2.5),
    Scene("cut", "expressions.mp4", 1.0, broken="cut"),
    Scene("profile", "leaves_and_returns.mp4", 0.5, height=300, codec="mpeg4"),
    Scene("text", None, broken="text"),
    Scene("pair-large", "two_people.mp4", 4.0, height=480),
)


@dataclass(frozen=True)
class Sample:
    """What the processes hold when a clip is done, and what lies in folders."""

    seconds: float  # since the start
    memory: int  # bytes that are in no file; what processes share counts once
    resident: int  # bytes, with the libraries and networks that are mapped from files; what is shared counts for each
    descriptors: int
    threads: int
    processes: int
    temporary_files: int
    strays: int  # files in the report folder that are no reports


@dataclass(frozen=True)
class Run:
    """What a call of the command left, and what it held on its way."""

    samples: Sequence[Sample]  # one for each clip
    after: Sample  # when it has ended
    statuses: dict[str, int]  # rows of the summary
    expected: dict[str, int]
    exit_code: int
    processes_seen: int  # of any time; more than those of one moment have replaced one another

    @property
    def clips_per_second(self) -> float:
        """The rate from the first clip that is done to the last, without the start of the command."""
        return (len(self.samples) - 1) / (self.samples[-1].seconds - self.samples[0].seconds)


def write_clips(folder: Path, count: int) -> None:
    """Write `count` clips of the scenes in turn, no two of the same bytes."""
    folder.mkdir(parents=True)
    with tempfile.TemporaryDirectory() as studio:
        contents = [_film(scene, Path(studio, f"{scene.name}.mp4")) for scene in SCENES]
    for number in range(count):
        scene = number % len(SCENES)
        spare = struct.pack(">I4sI", 12, b"free", number)  # a box that readers of MP4 pass over
        (folder / f"clip-{number:05}-{SCENES[scene].name}.mp4").write_bytes(contents[scene] + spare)


def _film(scene: Scene, path: Path) -> bytes:
    """Encode a scene and return the bytes of its file."""
    if scene.broken == "text":
        return NO_VIDEO
    options = {"movflags": "faststart"}  # the index comes first: what is cut short can still be opened
    with av.open(str(path), "w", format="mp4", options=options) as container:
        images = list(_show(scene))
        stream = cast(VideoStream, container.add_stream(scene.codec, rate=FPS))
        stream.height, stream.width = images[0].shape[:2]
        stream.pix_fmt = "yuv420p"
        for image in images:
            container.mux(stream.encode(av.VideoFrame.from_ndarray(image, format="rgb24")))
        container.mux(stream.encode(None))
    whole = path.read_bytes()
    return whole[: round(CUT_SHARE * len(whole))] if scene.broken == "cut" else whole


def _show(scene: Scene) -> Iterator[Image]:
    """Yield the pictures of a scene."""
    if scene.clip is None:
        random = np.random.default_rng(0)
        for _ in range(FPS * SECONDS):
            yield random.integers(90, 110, (scene.height, scene.height * 4 // 3, 3), np.uint8)
        return
    frames = (frame for frame in read_frames(ROOT / "video" / scene.clip) if frame.time >= scene.start)
    for frame in islice(frames, FPS * SECONDS):
        height, width = frame.image.shape[:2]
        size = (round(width * scene.height / height / 2) * 2, scene.height)
        yield np.asarray(cv2.resize(frame.image, size, interpolation=cv2.INTER_AREA), np.uint8)


def find_tree(root: int) -> list[int]:
    """Return the ids of a process and of all that it has started, and they have."""
    children: dict[int, list[int]] = {}
    for path in Path("/proc").glob("[0-9]*/stat"):
        with suppress(OSError):  # it has ended meanwhile
            after_name = path.read_text().rpartition(")")[2].split()
            children.setdefault(int(after_name[1]), []).append(int(path.parent.name))
    tree = [root]
    for process in tree:
        tree += children.get(process, [])
    return tree


class Watcher:
    """Looks at the processes of a command, and at the folders it writes to; `seen` are those of any time."""

    def __init__(self, root: int, *, temporary: Path, reports: Path, sources: Path) -> None:
        self._root, self._temporary, self._reports = root, temporary, reports
        stems = {path.stem for path in sources.iterdir()} | {"summary"}
        self._known = {f"{stem}{suffix}" for stem in stems for suffix in (".csv", ".json")}
        self._began = time.monotonic()
        self.seen: set[int] = set()

    def look(self) -> Sample:
        """Return what is held now."""
        memory = resident = descriptors = threads = processes = 0
        for process in self.seen | set(find_tree(self._root)):  # one whose parent has died is in no tree
            folder = Path("/proc", str(process))
            with suppress(OSError):  # it has ended meanwhile
                sizes = dict(line.split()[:2] for line in (folder / "smaps_rollup").read_text().splitlines()[1:])
                # not all of Pss: its share of mapped files grows when other programs that map them end
                memory += (int(sizes["Pss_Anon:"]) + int(sizes["Pss_Shmem:"])) * 1024
                resident += int(sizes["Rss:"]) * 1024
                descriptors += len(os.listdir(folder / "fd"))
                threads += len(os.listdir(folder / "task"))
                processes += 1
                self.seen.add(process)
        return Sample(
            time.monotonic() - self._began,
            memory,
            resident,
            descriptors,
            threads,
            processes,
            temporary_files=sum(len(files) for _, _, files in os.walk(self._temporary)),
            strays=sum(name not in self._known for _, _, files in os.walk(self._reports) for name in files),
        )


def soak(folder: Path, *, clips: int, options: Sequence[str] = ()) -> Run:
    """Analyse clips, written to the new folder `folder`, with further options of the command.

    Raises:
        RuntimeError: the command did not come to its end; its last words are in the message.
    """
    sources, reports, temporary = (folder / name for name in ("clips", "reports", "temporary"))
    write_clips(sources, clips)
    temporary.mkdir()
    command = [sys.executable, "-m", "emo_affectnet", "analyze", str(sources), "--save", str(reports), *options]
    environment = os.environ | {"TMPDIR": str(temporary), "PYTHONPATH": str(ROOT)}
    samples: list[Sample] = []
    with (
        (folder / "said.txt").open("w+", encoding="utf-8") as said,
        subprocess.Popen(
            command, cwd=folder, env=environment, stdout=subprocess.PIPE, stderr=said, text=True, encoding="utf-8"
        ) as process,
    ):
        watcher = Watcher(process.pid, temporary=temporary, reports=reports, sources=sources)
        try:
            samples += _look_at_each(process, watcher)
        except BaseException:
            process.kill()
            raise
        exit_code = process.wait()
        said.seek(0)
        last_words = said.read()[-LAST_WORDS:]
    if exit_code not in (0, 1) or len(samples) != clips:
        raise RuntimeError(f"{len(samples)} of {clips} clips, and then the end with {exit_code}:\n{last_words}")
    statuses = Counter(pd.read_csv(reports / "summary.csv")["status"])
    expected = Counter(SCENES[number % len(SCENES)].status for number in range(clips))
    return Run(samples, watcher.look(), dict(statuses), dict(expected), exit_code, len(watcher.seen))


def _look_at_each(process: "subprocess.Popen[str]", watcher: Watcher) -> Iterator[Sample]:
    """Yield a sample at each line on a clip."""
    assert process.stdout is not None
    for line in process.stdout:
        if line.startswith("clip-"):
            yield watcher.look()


def compare_ends(samples: Sequence[Sample], *, warm_up: int = WARM_UP, window: int = WINDOW) -> dict[str, Any]:
    """Return the mean memory of the last clips, that of the first after the warm-up, and their ratio.

    With few clips the warm-up is a fifth of them, and the ends do not overlap.
    """
    warm_up = min(warm_up, len(samples) // 5)
    window = min(window, max((len(samples) - warm_up) // 2, 1))
    first, last = samples[warm_up : warm_up + window], samples[-window:]
    means = [mean(sample.memory for sample in part) for part in (first, last)]
    return {
        "warm_up": warm_up,
        "window": window,
        "first": means[0],
        "last": means[1],
        "ratio": means[1] / means[0],
        "peak": max(sample.memory for sample in samples),
    }


def list_moments(run: Run) -> dict[str, Sample]:
    """Return the samples that the tables show, by the number of clips done, and the one after the end."""
    count = len(run.samples)
    shown = [moment for moment in MOMENTS if moment < count] + [count]
    return {str(moment): run.samples[moment - 1] for moment in shown} | {"after": run.after}


def show(run: Run) -> None:
    """Print what was held, at a few moments, and how memory grew."""
    click.echo(f"{'clips':>6}{'s':>8}{'MB':>8}{'RSS MB':>8}{'files':>7}{'threads':>9}{'processes':>11}", nl=False)
    click.echo(f"{'temporary':>11}{'strays':>8}")
    for name, sample in list_moments(run).items():
        sizes = f"{sample.memory / 1e6:>8.1f}{sample.resident / 1e6:>8.1f}"
        held = f"{sample.descriptors:>7}{sample.threads:>9}{sample.processes:>11}"
        click.echo(f"{name:>6}{sample.seconds:>8.1f}{sizes}{held}{sample.temporary_files:>11}{sample.strays:>8}")
    ends = compare_ends(run.samples)
    click.echo(
        f"\nMemory of the last {ends['window']} clips to that of the first {ends['window']} after {ends['warm_up']}: "
        f"{ends['last'] / 1e6:.1f} MB / {ends['first'] / 1e6:.1f} MB = {ends['ratio']:.3f}; "
        f"at most {ends['peak'] / 1e6:.1f} MB."
    )
    click.echo(f"{run.clips_per_second:.2f} clips per second; {run.processes_seen} processes in all.")
    click.echo(f"Rows of the summary: {run.statuses}; expected: {run.expected}.")


@click.command()
@click.option("--clips", default=1000, show_default=True, type=click.IntRange(5), help="How many to analyse.")
@click.argument("options", nargs=-1)
def main(clips: int, options: tuple[str, ...]) -> None:
    """Analyse many short clips in one call, with further OPTIONS of 'emo-affectnet analyze' after a --."""
    if not Path("/proc/self/smaps_rollup").exists():
        raise click.ClickException("The soak reads /proc, which only Linux has; run it there.")
    with tempfile.TemporaryDirectory(prefix="soak-") as folder:
        run = soak(Path(folder), clips=clips, options=options)
    show(run)
    path = write_figures(
        "soak",
        clips=clips,
        options=options,
        memory=compare_ends(run.samples),
        clips_per_second=run.clips_per_second,
        processes_seen=run.processes_seen,
        exit_code=run.exit_code,
        statuses=run.statuses,
        expected=run.expected,
        moments={name: asdict(sample) for name, sample in list_moments(run).items()},
        series=[{"clips": number + 1} | asdict(run.samples[number]) for number in range(0, clips, EVERY)],
    )
    click.echo(f"\nFigures: {path}")


if __name__ == "__main__":
    main()
