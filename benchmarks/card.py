"""What a graphics card brings beside the cores of the same machine: by itself, for one video, and shared by many.

The backbone alone is timed in every precision, and its answers are set beside those of the processor in float32. Then
a video is analysed by one process, and lastly many at once, by processes such as a cluster's actors hold: each
decodes on its core, and all of them share the card. Figures go to benchmarks/results/.

    python benchmarks/card.py
    python benchmarks/card.py --processes 1 --processes 8 --videos 4
"""

import shutil
import subprocess
import tempfile
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import asdict, dataclass
from itertools import product, repeat
from pathlib import Path
from typing import Any

import click
import numpy as np
from clips import find_clip
from comparison import Variant, agree, measure
from measurement import ROOT, write_figures
from single_runs import find_rate
from speed import find_backbone

from emo_affectnet.convert import read_faces
from emo_affectnet.engines import DEFAULT_ENGINE, REFERENCE, open_engine
from emo_affectnet.inputs import Input, Options
from emo_affectnet.threads import count_cores
from emo_affectnet.timeline import window_rows
from emo_affectnet.weight_sets import resolve
from emo_affectnet.workers import Workers, open_workers

HEIGHT, SECONDS = 720, 10  # of the video
INPUT_SIZES = (64, 224)  # px of a face
FACES = 80  # of the demo clip, whose answers are compared
PROCESSES = (1, 2, 4, 8, 16)
PLACE = "{:>5}  {:26}{:>9}{:>15}{:>10}{:>9}{:>10}{:>15}"  # a row of the first table, and one of the second
SHARE = "{:>5}  {:26}{:>10}{:>10}{:>13}{:>17}"


@dataclass(frozen=True)
class Place(Variant):
    """An engine, the precision it computes in, and where it runs."""

    device: str

    def __str__(self) -> str:
        return f"{self.device} {super().__str__()}"


def list_places(card: str) -> list[Place]:
    """Return what is measured: the default of machines without a card first, which the rest is compared with."""
    return [Place(DEFAULT_ENGINE, "fp32", "cpu"), *(Place(REFERENCE, each, card) for each in ("fp32", "bf16", "fp16"))]


def measure_places(
    places: Sequence[Place], clip: Path, *, backbone: Path | None
) -> Iterator[tuple[Place, dict[str, Any]]]:
    """Yield, for each place, faces per second, seconds for a video, and how far its answers are from the first's."""
    weights = resolve(backbone=backbone)
    input_size = weights.preprocessing.input_size
    faces = read_faces(ROOT / "video" / "expressions.mp4", weights.preprocessing, limit=FACES)
    first = None
    for place in places:
        video = measure("ours", clip=clip, times=2, backbone=backbone, **asdict(place))
        if "unavailable" in video:
            click.echo(f"{place} is left out: {video['unavailable']}")
            continue
        engine = open_engine(weights, **asdict(place))
        features = engine.embed(faces)
        judged = engine.classify(features[window_rows(len(features))])
        first = first or (features, judged)
        agreement = agree(*(each.reshape(-1, each.shape[-1]).tolist() for each in (judged, first[1])))
        assert agreement is not None  # both are of the same windows
        yield (
            place,
            asdict(place)
            | {
                "input_size": input_size,
                **find_rate(engine, input_size=input_size),
                **{name: video[name] for name in ("wall", "later_wall", "cpu", "later_cpu", "memory")},
                "features": float(np.abs(features - first[0]).max() / first[0].max()),
                "probabilities": asdict(agreement),
            },
        )


def share(place: Place, clip: Path, *, processes: int, videos: int, backbone: Path | None) -> dict[str, Any]:
    """Return what so many processes do together, each with a thread and `videos` to read, once all are ready."""
    options = Options(recognizer=asdict(place) | {"threads": 1, "backbone": backbone})
    before = read_card_memory()
    with tempfile.TemporaryDirectory() as folder, ExitStack() as opened, ThreadPoolExecutor(processes) as pool:
        save = Path(folder, "report")

        def start(number: int) -> Workers:
            unfinished = Path(folder, str(number))
            unfinished.mkdir()
            return opened.enter_context(open_workers(options, save, unfinished))

        def read(worker: Workers, first: int, count: int) -> None:
            sources = [Input(clip, f"{first + number}", f"{first + number}") for number in range(count)]
            if bad := [outcome.message for _, outcome in worker.run(sources) if outcome.status != "ok"]:
                raise RuntimeError(bad[0])

        workers = list(pool.map(start, range(processes)))
        seconds = []
        for count in (1, videos):  # the first is to warm up
            began = time.perf_counter()
            list(pool.map(read, workers, range(0, processes * videos, videos), repeat(count)))
            seconds.append(time.perf_counter() - began)
        memory = read_card_memory()
    return asdict(place) | {
        "processes": processes,
        "videos": processes * videos,
        "seconds": seconds[-1],
        "card_memory": None if memory is None or before is None else memory - before,
    }


def read_card_memory() -> int | None:
    """Return the bytes of the card's memory that are taken, by all programs together; None without such a card."""
    if not shutil.which("nvidia-smi"):
        return None
    command = ["nvidia-smi", "--query-gpu=memory.used", "--format=csv,noheader,nounits"]
    return int(subprocess.run(command, capture_output=True, text=True, check=True).stdout.split()[0]) << 20


def name_card(device: str) -> str | None:
    """Return the name of the card, if it is one."""
    import torch

    return torch.cuda.get_device_name(device) if device.startswith("cuda") else None


def show_place(place: Place, row: dict[str, Any]) -> None:
    """Print the faces per second, the seconds for a video, and the differences."""
    seconds = (f"{row[name]:.2f}" for name in ("wall", "later_wall"))
    differences = (f"{each:.0e}" for each in (row["features"], row["probabilities"]["largest"]))
    rate = f"{row['crops_per_second']:.0f}"
    click.echo(PLACE.format(row["input_size"], str(place), rate, row["batch"], *seconds, *differences))


def show_share(place: Place, row: dict[str, Any]) -> None:
    """Print how many videos a second so many processes read."""
    rate, memory = row["videos"] / row["seconds"], row["card_memory"]
    each = "-" if memory is None else f"{memory / row['processes'] / 1e6:.0f}"
    figures = (f"{rate:.2f}", f"{1 / rate:.2f}", each)
    click.echo(SHARE.format(row["input_size"], str(place), row["processes"], *figures))


@click.command()
@click.option("--device", default="cuda", show_default=True, help="The card, as PyTorch names it.")
@click.option("--input-size", "input_sizes", multiple=True, type=int, help=f"px of a face.  [default: {INPUT_SIZES}]")
@click.option(
    "--processes",
    "counts",
    multiple=True,
    type=click.IntRange(1),
    help=f"How many share it.  [default: {PROCESSES}, as far as there are cores]",
)
@click.option("--videos", default=6, show_default=True, type=click.IntRange(1), help="Videos for each of them.")
def main(device: str, input_sizes: tuple[int, ...], counts: tuple[int, ...], videos: int) -> None:
    """Measure what the card brings."""
    counts = counts or tuple(count for count in PROCESSES if count <= count_cores())
    places = list_places(device)
    backbones = {input_size: find_backbone(input_size) for input_size in input_sizes or INPUT_SIZES}
    clip = find_clip(height=HEIGHT, seconds=SECONDS)
    alone: list[dict[str, Any]] = []
    shared: list[dict[str, Any]] = []
    try:
        click.echo(
            PLACE.format(
                "face", "where", "faces/s", "in batches of", "video, s", "next, s", "features", "probabilities"
            )
        )
        for backbone in backbones.values():
            for place, row in measure_places(places, clip, backbone=backbone):
                alone.append(row)
                show_place(place, row)
        click.echo("\n" + SHARE.format("face", "where", "processes", "videos/s", "s per video", "MB of card each"))
        for input_size, place, count in product(backbones, places[:2], counts):
            figures = share(place, clip, processes=count, videos=videos, backbone=backbones[input_size])
            shared.append({"input_size": input_size} | figures)
            show_share(place, shared[-1])
    finally:  # what was measured before something went wrong is worth keeping
        click.echo(f"\nFigures: {write_figures('card', card=name_card(device), alone=alone, shared=shared)}")


if __name__ == "__main__":
    main()
