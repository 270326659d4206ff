"""Damaged videos by the thousand: small files are made, mutated and read; nothing but frames or VideoError may come.

    python tests/fuzz_videos.py --minutes 10 --seed 0

Children of this process do the reading: one that dies, takes too long or grows too large is noticed, and so is any
other exception and any frame that is none. The input is then kept in runs/fuzz/ with what is known about it. The n-th
input of a seed is always the same.
"""

import argparse
import faulthandler
import itertools
import json
import logging
import os
import random
import resource
import select
import subprocess
import sys
import tempfile
import threading
import time
import traceback
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from dataclasses import dataclass, field
from fractions import Fraction
from pathlib import Path

import av
import numpy as np

sys.path.insert(0, str(Path(__file__).parents[1]))

from video_files import usual_priority  # noqa: E402

from emo_affectnet.camera import open_source  # noqa: E402
from emo_affectnet.errors import VideoError  # noqa: E402
from emo_affectnet.seeking import index_frames, read_frames_at  # noqa: E402
from emo_affectnet.video import Frame, expect_frames, probe, read_frames  # noqa: E402

SECONDS = 20.0  # that one input may take
BYTES = 1_500_000_000  # that a child may hold in memory
CHILD_INPUTS = 500  # after which a child is replaced, so that what it slowly gathers is not taken for one input's
KEPT_OF_A_KIND = 5  # inputs
FRAMES = 24
POLL_SECONDS = 0.05

# suffix, codec, pixels, options of the codec, options of the container
SEEDS = (
    ("mp4", "libx264", "yuv420p", {"bf": "2", "g": "8"}, {}),
    ("mp4", "libx264", "yuv420p", {"bf": "2", "g": "8"}, {"movflags": "+faststart"}),
    ("mp4", "libx264", "yuv420p", {"g": "8"}, {"movflags": "+frag_keyframe+empty_moov"}),
    ("mp4", "libx265", "yuv420p", {"x265-params": "log-level=none:pools=1"}, {}),
    ("mp4", "libsvtav1", "yuv420p", {"preset": "12"}, {}),
    ("mov", "mpeg4", "yuv420p", {}, {}),
    ("mov", "prores_ks", "yuv422p10le", {}, {}),
    ("mkv", "libx264", "yuv420p", {"bf": "2", "g": "8"}, {}),
    ("mkv", "ffv1", "yuv420p", {}, {}),
    ("webm", "libvpx", "yuv420p", {"deadline": "realtime"}, {}),
    ("webm", "libvpx-vp9", "yuv420p", {"deadline": "realtime"}, {}),
    ("avi", "mpeg4", "yuv420p", {}, {}),
    ("avi", "mjpeg", "yuvj420p", {}, {}),
    ("avi", "huffyuv", "yuv422p", {}, {}),
    ("ts", "mpeg2video", "yuv420p", {}, {}),
    ("flv", "flv", "yuv420p", {}, {}),
    ("gif", "gif", "rgb8", {}, {}),
)
INTERESTING = tuple(
    value.to_bytes(size, order)
    for size, values in (
        (1, (0, 1, 0x7F, 0x80, 0xFF)),
        (2, (0, 1, 0x7FFF, 0x8000, 0xFFFF, 0x4000)),
        (4, (0, 1, 7, 8, 0x10000, 0xFFFFFF, 0x1000000, 0x7FFFFFFF, 0x80000000, 0xFFFFFFFF, 0xFFFFFFF0)),
        (8, (0, 1, 1 << 31, 1 << 32, (1 << 63) - 1, 1 << 63, (1 << 64) - 1)),
    )
    for value in values
    for order in ("big", "little")
)


def make_seeds(folder: Path) -> list[Path]:
    """Write one small video of each kind, the same bytes each time."""
    generator = np.random.default_rng(0)
    background = generator.integers(0, 256, (48, 64, 3), np.uint8)
    paths = []
    for number, (suffix, codec, pix_fmt, codec_options, options) in enumerate(SEEDS):
        path = folder / f"{number:02d}-{codec}.{suffix}"
        with usual_priority(), av.open(path, "w", options={"fflags": "+bitexact", **options}) as container:
            stream = container.add_stream(
                codec, rate=25, options={"flags": "+bitexact", "threads": "1"} | codec_options
            )
            stream.width, stream.height, stream.pix_fmt = 64, 48, pix_fmt
            for index in range(FRAMES):
                image = np.roll(background // 4 + 5 * index, index, axis=1)
                picture = av.VideoFrame.from_ndarray(image, format="rgb24").reformat(format=pix_fmt)
                picture.pts, picture.time_base = index, Fraction(1, 25)
                container.mux(stream.encode(picture))
            container.mux(stream.encode(None))
        paths.append(path)
    return paths


# Mutations: bytes in, other bytes out


def _place(data: bytes, chance: random.Random) -> int:
    """Return an offset; the first and last bytes, where most of a file's structure lies, come more often."""
    edge = min(len(data), 1500)
    kind = chance.random()
    if kind < 0.35:
        return chance.randrange(edge)
    return len(data) - 1 - chance.randrange(edge) if kind < 0.65 else chance.randrange(len(data))


def _span(data: bytes, chance: random.Random) -> tuple[int, int]:
    start = _place(data, chance)
    return start, min(len(data), start + 1 + int(chance.expovariate(1 / chance.choice((4, 40, 400, 4000)))))


def flip_bits(data: bytes, chance: random.Random) -> bytes:
    changed = bytearray(data)
    for _ in range(chance.choice((1, 1, 2, 4, 16, 64))):
        changed[_place(data, chance)] ^= 1 << chance.randrange(8)
    return bytes(changed)


def set_fields(data: bytes, chance: random.Random) -> bytes:
    changed = bytearray(data)
    for _ in range(chance.choice((1, 1, 2, 4))):
        value, place = chance.choice(INTERESTING), _place(data, chance)
        changed[place : place + len(value)] = value
    return bytes(changed[: len(data)])


def set_box_fields(data: bytes, chance: random.Random) -> bytes:
    """Overwrite the size, or a field a few words behind the name, of a box: four letters in a row."""
    names = [
        place
        for place in range(4, min(len(data), 1 << 16) - 4)
        if data[place : place + 4].isalnum() and data[place : place + 4].isascii() and data[place - 4] < 2
    ]
    if not names:
        return set_fields(data, chance)
    place = chance.choice(names) + 4 * chance.choice((-1, -1, *range(1, 24)))
    value = chance.choice([value for value in INTERESTING if len(value) >= 4])
    return data[:place] + value + data[place + len(value) :]


def remove_chunk(data: bytes, chance: random.Random) -> bytes:
    start, stop = _span(data, chance)
    return data[:start] + data[stop:]


def repeat_chunk(data: bytes, chance: random.Random) -> bytes:
    start, stop = _span(data, chance)
    return data[:stop] + data[start:stop] * chance.choice((1, 1, 2, 30)) + data[stop:]


def swap_chunks(data: bytes, chance: random.Random) -> bytes:
    (a, b), (c, d) = sorted((_span(data, chance), _span(data, chance)))
    return data[:a] + data[c:d] + data[b:c] + data[a:b] + data[d:] if b <= c else data


def fill_chunk(data: bytes, chance: random.Random) -> bytes:
    start, stop = _span(data, chance)
    filling = chance.choice((b"\0" * (stop - start), b"\xff" * (stop - start), chance.randbytes(stop - start)))
    return data[:start] + filling + data[stop:]


def cut_end(data: bytes, chance: random.Random) -> bytes:
    return data[: 1 + chance.randrange(len(data))]


MUTATIONS: tuple[Callable[[bytes, random.Random], bytes], ...] = (
    flip_bits, flip_bits, set_fields, set_fields, set_box_fields, set_box_fields,
    remove_chunk, repeat_chunk, swap_chunks, fill_chunk, cut_end,
)  # fmt: skip


def splice(data: bytes, other: bytes, chance: random.Random) -> bytes:
    """Join the beginning of one file and the end of another, or put a piece of the other into the one."""
    if chance.random() < 0.5:
        return data[: _place(data, chance)] + other[_place(other, chance) :]
    start, stop = _span(other, chance)
    place = _place(data, chance)
    return data[:place] + other[start:stop] + data[place:]


def mutate(seeds: list[bytes], chance: random.Random) -> tuple[bytes, int]:
    """Return a damaged file, and the number of the seed that it was."""
    number = chance.randrange(len(seeds))
    data = seeds[number]
    if chance.random() < 0.1:
        data = splice(data, chance.choice(seeds), chance)
    for _ in range(chance.choice((1, 1, 1, 2, 3, 6))):
        data = chance.choice(MUTATIONS)(data, chance) if data else b"\0"
    return data, number


# The child: paths in, outcomes out


def check(frame: Frame, index: int) -> None:
    """Raise AssertionError unless this is a frame as promised."""
    assert frame.index == index, f"frame {frame.index} came in place of {index}"
    assert np.isfinite(frame.time), f"frame {index} is at {frame.time} s"
    if frame.source is not None:
        assert frame.image.dtype == np.uint8
        assert frame.image.ndim == 3
        assert frame.image.shape[2] == 3


def read_all(path: Path) -> None:
    with closing(read_frames(path)) as frames:
        for index, frame in enumerate(frames):
            check(frame, index)


def read_wanted(path: Path) -> None:
    info = probe(path)
    assert info.width > 0
    assert info.height > 0
    assert info.fps is None or np.isfinite(info.fps)
    expected = sum(1 for _ in expect_frames(info))
    assert info.stamps is None or expected == info.frame_count
    wanted = set() if info.stamps is None else set(info.stamps[::5].tolist())
    for index, frame in enumerate(read_frames(path, wanted=wanted)):
        check(frame, index)


def read_some(path: Path) -> None:
    index = index_frames(path)
    times = [-1.0, *np.sort(index.times)[::7].tolist(), 1e9]
    times = sorted(times)
    assert len([frame.image for frame in read_frames_at(path, times, index=index)]) == len(times)


def play(path: Path) -> None:
    with open_source(source=path, speed=1e300) as source:
        for frame in source:
            check(frame, frame.index)


WAYS: tuple[Callable[[Path], None], ...] = (read_all, read_wanted, read_some, play)


def try_all(path: Path) -> str:
    """Read a file in all ways; say in a few words what came of it, with the details of what should not have."""
    refusals = 0
    for way in WAYS:
        try:
            way(path)
        except VideoError as error:
            refusals += 1
            if not str(error).endswith(".") or "\n" in str(error):
                return f"raised a VideoError of no one sentence in {way.__name__}\n{error}"
        except Exception as error:  # whatever comes is what is looked for
            return f"raised {type(error).__name__} in {way.__name__}\n{traceback.format_exc()}"
    return "frames" if not refusals else "no video" if refusals == len(WAYS) else "frames in some ways"


def serve() -> None:
    """Read the paths that come, one a line, and answer each with a line of JSON."""
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)  # what a library might print is no answer
    faulthandler.enable()
    logging.disable()
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    resource.setrlimit(resource.RLIMIT_AS, (6 * BYTES, 6 * BYTES))  # a runaway must not take the machine with it
    for line in sys.stdin:
        answers.write(json.dumps(try_all(Path(line.rstrip("\n")))) + "\n")
        answers.flush()


# The parent


def _pages(process: int) -> int:
    """Return the bytes of memory that a process holds."""
    try:
        return int(Path(f"/proc/{process}/statm").read_text().split()[1]) * resource.getpagesize()
    except (OSError, IndexError):  # it has just ended, or this is no Linux
        return 0


class Child:
    """A process that reads one file after the other; another one takes its place when it has to."""

    def __init__(self, command: list[str], *, seconds: float = SECONDS) -> None:
        self.command, self.seconds = command, seconds
        self._process: subprocess.Popen[str] | None = None
        self._done = 0
        self._log = tempfile.TemporaryFile("w+")  # noqa: SIM115 # closed with the child

    def read(self, path: Path) -> str:
        """Return what came of a file, as `try_all` says it, or how the child came to its end."""
        if self._process is None or self._done >= CHILD_INPUTS:
            self.close_process()
            self._log.seek(0)
            self._log.truncate()
            self._process = subprocess.Popen(
                self.command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=self._log, text=True
            )
        self._done += 1
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(f"{path}\n")
        self._process.stdin.flush()
        deadline = time.monotonic() + self.seconds
        while not select.select([self._process.stdout], [], [], POLL_SECONDS)[0]:
            if time.monotonic() > deadline:
                return self._end(f"took over {self.seconds:.0f} s")
            if _pages(self._process.pid) > BYTES:
                return self._end(f"held over {BYTES / 1e9:.1f} GB")
        line = self._process.stdout.readline()
        return str(json.loads(line)) if line else self._end("died")

    def _end(self, what: str) -> str:
        assert self._process is not None
        if what == "died":
            what = f"died with {self._process.wait()}"
        self.close_process()
        self._log.seek(0)
        return f"{what}\n{self._log.read()[-4000:]}"

    def close_process(self) -> None:
        if self._process is not None:
            self._process.kill()
            self._process.communicate()
        self._process, self._done = None, 0

    def __enter__(self) -> "Child":
        return self

    def __exit__(self, *_: object) -> None:
        self.close_process()
        self._log.close()


GOOD = ("frames", "no video", "frames in some ways")


@dataclass
class Tally:
    """What came of the inputs so far."""

    save: Path
    outcomes: Counter[str] = field(default_factory=Counter)
    slowest: tuple[float, int] = (0.0, -1)  # s, number of the input
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def add(self, number: int, outcome: str, seconds: float, data: bytes, seed: Path) -> None:
        kind, _, details = outcome.partition("\n")
        with self._lock:
            self.outcomes[kind] += 1
            self.slowest = max(self.slowest, (seconds, number))
            if kind in GOOD or self.outcomes[kind] > KEPT_OF_A_KIND:
                return
            self.save.mkdir(parents=True, exist_ok=True)
            path = self.save / f"{kind.replace(' ', '-')}-{number}{seed.suffix}"
            path.write_bytes(data)
            path.with_suffix(".txt").write_text(f"input {number}, from {seed.name}: {kind}\n{details}")
            print(f"finding: input {number}, from {seed.name}: {kind}; kept as {path}", flush=True)

    @property
    def findings(self) -> int:
        return sum(count for kind, count in self.outcomes.items() if kind not in GOOD)


def work(numbers: Iterator[int], child: Child, tally: Tally, *, seed: int, seeds: list[Path], place: Path) -> None:
    """Try inputs until there are no more numbers."""
    contents = [path.read_bytes() for path in seeds]
    for number in numbers:
        data, origin = mutate(contents, random.Random(f"{seed}/{number}"))
        place.write_bytes(data)
        began = time.monotonic()
        outcome = child.read(place)
        tally.add(number, outcome, time.monotonic() - began, data, seeds[origin])


def fuzz(
    *,
    minutes: float,
    seed: int,
    workers: int,
    save: Path,
    inputs: int | None = None,
    first: int = 0,
    only: str = "",
) -> Tally:
    """Try mutated videos for some minutes, or a number of `inputs` from the `first` on; print what came.

    `only` is a part of the names of the files to mutate.
    """
    tally, began = Tally(save), time.monotonic()
    counter = itertools.count(first)
    lock = threading.Lock()

    def numbers() -> Iterator[int]:
        while time.monotonic() - began < 60 * minutes:
            with lock:
                number = next(counter)
            if inputs is not None and number >= first + inputs:
                return
            yield number

    command = [sys.executable, __file__, "--child"]
    with tempfile.TemporaryDirectory() as folder:
        seeds = [path for path in make_seeds(Path(folder)) if only in path.name]

        def run(name: int) -> None:
            with Child(command) as child:
                work(numbers(), child, tally, seed=seed, seeds=seeds, place=Path(folder, f"input-{name}"))

        with ThreadPoolExecutor(workers) as pool:
            list(pool.map(run, range(workers)))
    report(tally, time.monotonic() - began, seed)
    return tally


def report(tally: Tally, seconds: float, seed: int) -> None:
    count = sum(tally.outcomes.values())
    print(f"seed {seed}: {count} inputs in {seconds:.0f} s, {count / seconds:.1f} inputs/s")
    for kind, number in tally.outcomes.most_common():
        print(f"  {number:7d}  {kind}")
    print(f"the slowest, input {tally.slowest[1]}, took {tally.slowest[0]:.1f} s; {tally.findings} findings")


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--minutes", type=float, default=10, help="how long to go on")
    parser.add_argument("--seed", type=int, default=None, help="of the mutations; without one, each run is another")
    parser.add_argument("--workers", type=int, default=2, help="children that read beside one another")
    parser.add_argument("--inputs", type=int, default=None, help="stop after so many")
    parser.add_argument("--first", type=int, default=0, help="number of the first input")
    parser.add_argument("--only", default="", help="a part of the names of the files to mutate, such as vp9 or mp4")
    parser.add_argument("--save", type=Path, default=Path("runs/fuzz"), help="folder for inputs that are findings")
    parser.add_argument("--child", action="store_true", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.child:
        serve()
        return 0
    seed = random.SystemRandom().randrange(1 << 32) if options.seed is None else options.seed
    tally = fuzz(
        minutes=options.minutes,
        seed=seed,
        workers=options.workers,
        save=options.save,
        inputs=options.inputs,
        first=options.first,
        only=options.only,
    )
    return min(tally.findings, 1)


if __name__ == "__main__":
    sys.exit(main())
