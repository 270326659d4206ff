"""Compare our road with the published pipeline: seconds, processor seconds and peak memory, on the same videos.

Each run has a process of its own. In a round the published pipeline and ours take turns, and the ratio of medians over
the rounds counts, with the least and the most of any round beside it. Weights are the bundled ones; at 224 px, which
is what the published network reads, they cost what the published ones cost, and their answers mean nothing. Figures go
to benchmarks/results/ with the machine, the commit and the versions that made them.

    python benchmarks/speed.py
    python benchmarks/speed.py --quick
    python benchmarks/speed.py --size 1080 --input-size 224 --engine openvino --rounds 5
"""

import shutil
from collections.abc import Sequence
from dataclasses import asdict, replace
from pathlib import Path
from statistics import median

import click
from clips import FOLDER, SECONDS
from comparison import Agreement, Case, Row, Run, Variant, compare_case, prepare_variants
from further_figures import measure_further
from measurement import Ratio, write_figures

from emo_affectnet.engines import DEFAULT_ENGINE, ENGINES
from emo_affectnet.weight_sets import BUNDLED
from emo_affectnet.weights import read_record, write_record

SIZES = (720, 1080)  # px high
LENGTHS = {64: (10, 60), 224: (10, 20)}  # s, by px of a face: the published batch takes 120 MB for each face of 224 px
DEFAULT = Variant(DEFAULT_ENGINE, "fp32")  # what a user gets without asking
EVERYWHERE = (DEFAULT, Variant(DEFAULT_ENGINE, "int8"))  # what is measured on every video
ORIGINAL = "tensorflow"  # the published graph as one of our engines: measured when it is asked for


def find_backbone(input_size: int) -> Path | None:
    """Return the bundled backbone with a record that gives it another input size; None if it is the record's own."""
    bundled = BUNDLED["bundled"].place("backbone")
    record = read_record(bundled)
    assert record is not None
    assert record.preprocessing is not None
    if record.preprocessing.input_size == input_size:
        return None
    path = FOLDER / f"{input_size}px" / bundled.name
    path.parent.mkdir(parents=True, exist_ok=True)
    shutil.copyfile(bundled, path)
    measured = ("filename", "sha256", "size", "preprocessing")
    fields = {name: value for name, value in asdict(record).items() if name not in measured}
    write_record(path, **fields, preprocessing=replace(record.preprocessing, input_size=input_size))
    return path


def list_variants(engines: Sequence[str]) -> list[Variant]:
    """Return every precision of the named engines, or of all but the published graph."""
    names = engines or [name for name in ENGINES if name != ORIGINAL]
    return [Variant(name, precision) for name in names for precision in ENGINES[name].precisions]


def show_rows(rows: Sequence[Row]) -> None:
    """Print how many times as much the published pipeline needs."""
    click.echo(
        "\nPublished / ours: how many times as much the published pipeline needs, and the least and most of rounds"
    )
    click.echo(
        f"{'video':>11}{'input':>7}  {'engine':18}{'s':>7}{'publ. s':>9}{'MB':>6}{'publ. MB':>10}  {'wall':17}"
        f"{'next video':17}{'processor':17}peak memory"
    )
    for row in rows:
        ratios = "".join(f"{_show(ratio):17}" for ratio in (row.wall, row.later_wall, row.cpu, row.memory))
        click.echo(
            f"{_name(row.case)}  {row.variant!s:18}{row.seconds:>7.2f}{row.published_seconds:>9.2f}"
            f"{_megabytes(row.ours):>6.0f}{_megabytes(row.published):>10.0f}  {ratios}".rstrip()
        )


def show_agreement(rows: Sequence[Row]) -> None:
    """Print how far the window probabilities are from those of PyTorch in float32, and of the published pipeline."""
    click.echo("\nWindow probabilities against PyTorch in fp32 | against the published pipeline: largest and mean")
    click.echo("difference, share of windows with the same top emotion")
    for row in rows:
        both = " | ".join(_tell(agreement) for agreement in (row.with_torch, row.with_published))
        click.echo(f"{_name(row.case)}  {row.variant!s:18}{both}")


def _name(case: Case) -> str:
    return f"{f'{case.height}p {case.seconds} s':>11}{case.input_size:>7}"


def _megabytes(runs: Sequence[Run]) -> float:
    return median(run.memory for run in runs) / 1e6


def _show(ratio: Ratio | None) -> str:
    return "-" if ratio is None else str(ratio)


def _tell(agreement: Agreement | None) -> str:
    if agreement is None:
        return f"{'-':25}"
    return f"{agreement.largest:.1e}  {agreement.mean:.1e}  {agreement.same_emotion:7.1%}"


@click.command()
@click.option("--rounds", default=3, show_default=True, type=click.IntRange(1), help="Runs of each side.")
@click.option("--size", "sizes", multiple=True, type=int, help=f"Height of the video, px.  [default: {SIZES}]")
@click.option(
    "--seconds", "lengths", multiple=True, type=int, help=f"Its length, in tens.  [default, by px of a face: {LENGTHS}]"
)
@click.option(
    "--input-size", "input_sizes", multiple=True, type=int, help=f"px of a face.  [default: {tuple(LENGTHS)}]"
)
@click.option(
    "--engine",
    "engines",
    multiple=True,
    type=click.Choice(list(ENGINES)),
    help="Measure these on all videos, in every precision.  [default: all on the shortest, the default engine on all]",
)
@click.option("--quick", is_flag=True, help="One round of 10 s at 720p, and nothing else: does it work?")
def main(
    rounds: int,
    sizes: tuple[int, ...],
    lengths: tuple[int, ...],
    input_sizes: tuple[int, ...],
    engines: tuple[str, ...],
    quick: bool,
) -> None:
    """Measure the road from file to report beside the published one."""
    sizes = sizes or SIZES
    if quick:
        rounds, sizes, lengths = 1, (min(SIZES),), (SECONDS,)
    variants = list_variants(engines)
    rows: list[Row] = []
    for input_size in input_sizes or LENGTHS:
        durations = lengths or LENGTHS.get(input_size, (SECONDS,))
        backbone = find_backbone(input_size)
        here = prepare_variants(variants, backbone=backbone, tell=click.echo)
        for height in sizes:
            for seconds in durations:
                case = Case(height, seconds, input_size, backbone)
                is_shortest = (height, seconds) == (min(sizes), min(durations))
                chosen = [each for each in here if engines or is_shortest or each in EVERYWHERE]
                rows += compare_case(case, chosen, rounds=rounds, tell=click.echo)
    show_rows(rows)
    show_agreement(rows)
    of_default = [row for row in rows if row.variant == DEFAULT]
    further = None if quick else measure_further(of_default, rounds=rounds, tell=click.echo)
    click.echo(
        f"\nFigures: {write_figures('speed', rounds=rounds, rows=[row.figures for row in rows], further=further)}"
    )


if __name__ == "__main__":
    main()
