"""The command line: each command parses, makes one API call and prints what came.

Exit status: 0 all done, 1 some input failed (the rest still done, the failures listed last), 2 the call is wrong.
Heavy packages load inside the commands, so that `--help` answers at once.
"""

import functools
import sys
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click

from . import __version__
from .cli_evaluation import evaluate
from .cli_terminal import HELP, PATH, Command, Group, progress_bars, recognizer_options
from .cli_training import corpora, train
from .cli_viewing import annotate, app, live, report
from .weights import WEIGHTS, read_record, resolve

if TYPE_CHECKING:
    from .batch import Outcome

Function = TypeVar("Function", bound=Callable[..., Any])


_FACES = click.option(
    "--faces",
    type=click.Choice(("primary", "all")),
    default="primary",
    show_default=True,
    help="Report the person with the largest face over the longest time, or everyone: <name>.person-2.csv ...",
)
_FORMATS = click.option(
    "--format",
    "formats",
    type=click.Choice(("csv", "json")),
    multiple=True,
    default=("csv",),
    show_default=True,
    help="Report format; may be given twice.",
)


@click.group(cls=Group, context_settings=HELP)
@click.version_option(__version__, prog_name="emo-affectnet")
def main() -> None:
    """Read emotions over time from videos of faces."""


for command in (annotate, report, live, app, corpora, train, evaluate):
    main.add_command(command)


@main.command()
@click.argument("paths", nargs=-1, required=True, type=PATH, metavar="PATH...")
@click.option("--save", type=PATH, default=Path("report"), show_default=True, help="Folder for the reports.")
@click.option("--confidence", type=float, help="Threshold of the detector, 0-1.  [default: the detector's own]")
@click.option("--backbone", "backbone_file", type=PATH, help="A backbone file instead of the bundled one.")
@click.option("--head-file", type=PATH, help="A head file instead of the bundled ones.")
@_FACES
@_FORMATS
@recognizer_options
def analyze(paths: tuple[Path, ...], **options: Any) -> None:
    """Write one emotion report per video, from files and folders, and a summary of all."""
    _analyze(paths, **options)


@click.command(cls=Command, context_settings=HELP)
@click.option(
    "--path_video", type=PATH, default=Path("video"), show_default=True, help="Folder of videos, or one video."
)
@click.option(
    "--path_save", "save", type=PATH, default=Path("report"), show_default=True, help="Folder for the reports."
)
@click.option("--conf_d", "confidence", type=float, help="Detector threshold, 0-1.  [default: the detector's own]")
@click.option("--path_FE_model", "backbone_file", type=PATH, help="Backbone, .pt or .pth.  [default: the bundled one]")
@click.option("--path_LSTM_model", "head_file", type=PATH, help="Head, .pt or .pth.  [default: the six bundled ones]")
@_FACES
@_FORMATS
@recognizer_options
def run(path_video: Path, **options: Any) -> None:
    """Write one emotion report per video of a folder, and a summary of all."""
    _analyze((path_video,), **options)


def _analyze(
    paths: tuple[Path, ...],
    *,
    save: Path,
    head: str | None,
    faces: str,
    detector: str,
    formats: tuple[str, ...],
    device: str,
    confidence: float | None,
    backbone_file: Path | None,
    head_file: Path | None,
) -> None:
    from . import batch
    from .recognizer import EmotionRecognizer

    inputs, passed_over = batch.find_inputs(paths)
    recognizer = functools.partial(
        EmotionRecognizer,
        head=head,
        detector=detector,
        confidence=confidence,
        device=device,
        backbone_file=backbone_file,
        head_file=head_file,
    )
    with progress_bars(total=len(inputs)) as (on_progress, on_finished):
        outcomes = batch.analyze(
            paths,
            save=save,
            recognizer=recognizer,
            faces=faces,
            formats=formats,
            on_progress=on_progress,
            on_outcome=lambda outcome: on_finished(_describe(outcome)),
        )
    _tell_outcomes(outcomes, passed_over, save=save)


def _describe(outcome: "Outcome") -> str:
    """Return one line on a finished video."""
    took = f"{outcome.seconds:.1f} s" if outcome.seconds is not None else ""
    if outcome.frames is None:
        return f"{outcome.file}: failed"
    if outcome.emotion is None:
        return f"{outcome.file}: no face ({outcome.frames} frames, {took})"
    agreement = "" if outcome.agreement is None else f", heads agree {outcome.agreement:.0%}"
    people = "" if outcome.people == 1 else f", {outcome.people} people"
    return f"{outcome.file}: {outcome.emotion} (face seen {outcome.coverage:.0%}{agreement}{people}, {took})"


def _tell_outcomes(outcomes: "list[Outcome]", passed_over: list[Path], *, save: Path) -> None:
    failed = [outcome for outcome in outcomes if outcome.status == "error"]
    done = sum(outcome.frames is not None for outcome in outcomes)
    click.echo(
        f"{done} of {len(outcomes)} {'report' if len(outcomes) == 1 else 'reports'} in {save}, with summary.csv."
    )
    if passed_over:
        names = ", ".join(click.format_filename(path.name) for path in passed_over[:3])
        more = f" and {len(passed_over) - 3} more" if len(passed_over) > 3 else ""
        click.echo(f"Passed over, as they are no videos: {names}{more}")
    for outcome in failed:
        click.echo(f"Failed: {outcome.message}", err=True)
    if failed:
        sys.exit(1)


@main.group()
def weights() -> None:
    """Look at the weight files."""


@weights.command("list")
def list_weights() -> None:
    """Show each weight file, what it was trained on and what it never saw."""
    from rich.console import Console
    from rich.table import Table

    table = Table("set", "file", "kind", "MB", "trained on", "never saw")
    for name, folder in WEIGHTS.items():
        for path in sorted(folder().glob("*.pt"), key=lambda path: (path.stem != "backbone", path.stem)):
            record = read_record(path)
            if record:
                size = f"{record.size / 1e6:.1f}"
                table.add_row(name, path.name, record.kind, size, ", ".join(record.trained_on), record.held_out or "")
    Console().print(table)
    click.echo(
        "A head is named after the corpus it never saw: evaluate on a corpus with its own head, else use them all."
    )


@weights.command("verify")
def verify_weights() -> None:
    """Check the weight files against their recorded SHA-256."""
    for name in WEIGHTS:
        files = resolve(name)  # verifies each
        click.echo(f"{name}: {1 + len(files.heads)} files are what their records say.")


@main.command()
@click.argument("report", type=PATH)
@click.option("--video", type=PATH, help="The video of the report: shows its frames above the curves.")
@click.option("--save", type=PATH, help="Picture to write, .png, .svg or .pdf.  [default: the report's name with .png]")
def plot(report: Path, video: Path | None, save: Path | None) -> None:
    """Draw the emotions of a REPORT (CSV) over time."""
    from .plots import plot_report

    path = save or report.with_suffix(".png")
    plot_report(report, path, video=video)
    click.echo(f"The picture is {path}.")
