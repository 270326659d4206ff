"""The command line: each command parses, makes one API call and prints what came.

Exit status: 0 all done, 1 some input failed (the rest still done, the failures listed last), 2 the call is wrong.
Heavy packages load inside the commands, so that `--help` answers at once.
"""

import functools
import shlex
import signal
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click
from click.core import ParameterSource

from . import __version__
from .cli_evaluation import evaluate
from .cli_terminal import (
    HELP,
    PATH,
    PLACE,
    Command,
    Group,
    job_options,
    progress_bars,
    published_options,
    recognizer_options,
)
from .cli_training import corpora, train
from .cli_viewing import annotate, app, live, report
from .cli_weights import weights
from .errors import UsageError, printable
from .inputs import Options, Shard
from .report_folder import BASELINE
from .summary import NO_FACE, summary_path
from .weight_sets import DEFAULT_WEIGHTS, find_thresholds, resolve_backbone
from .weights import describe_trust

if TYPE_CHECKING:
    from . import batch
    from .summary import Outcome

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
    type=click.Choice(("csv", "json", "parquet")),
    multiple=True,
    default=("csv",),
    show_default=True,
    help="Report format; may be given twice.",
)


_BASELINE = click.option(
    "--baseline",
    metavar="none|run|person|FILE",
    default="none",
    show_default=True,
    help="Take off what all recordings, or those of a person, read as on average, or a recording of them at rest.",
)
_PEOPLE = click.option(
    "--people",
    metavar="FILE.csv|folder",
    help="For --baseline person: a table with the columns file and person, or 'folder' where videos in one folder are "
    "of one person.  [default: each video is of another person]",
)


@click.group(cls=Group, context_settings=HELP)
@click.version_option(__version__, prog_name="emo-affectnet")
def main() -> None:
    """Read emotions over time from videos of faces."""


for command in (annotate, report, live, app, weights, corpora, train, evaluate):
    main.add_command(command)


@main.command()
@click.argument("paths", nargs=-1, required=True, type=PLACE, metavar="PATH...")
@click.option("--save", type=PLACE, default=Path("report"), show_default=True, help="Folder for the reports.")
@click.option("--confidence", type=float, help="Threshold of the detector, 0-1.  [default: the detector's own]")
@_FACES
@_FORMATS
@click.option("--save-features", "features", type=PATH, metavar="FILE.npz", help="Save the faces' features as well.")
@click.option("--engagement", is_flag=True, help="Add a column; with --backbone enet_b0_8_best_afew, for example.")
@click.option("--adaptive", is_flag=True, help="Look at few frames, and at more where they do not tell; summary only.")
@click.option("--thresholds", type=PATH, help="What --adaptive goes by.  [default: that of the weights]")
@_BASELINE
@_PEOPLE
@job_options
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
@click.option("--path_FE_model", "backbone", type=PATH, help="Backbone: .pt, .pth or .h5.  [default: the bundled one]")
@click.option(
    "--path_LSTM_model", "head_file", type=PATH, help="Head: .pt, .pth or .h5.  [default: the six bundled ones]"
)
@_FACES
@_FORMATS
@_BASELINE
@_PEOPLE
@job_options
@published_options
def run(path_video: Path, **options: Any) -> None:
    """Write one emotion report per video of a folder, and a summary of all."""
    _analyze((path_video,), **options)


def _analyze(
    paths: tuple[Path, ...],
    *,
    save: Path,
    faces: str,
    formats: tuple[str, ...],
    force: bool,
    shard: str | None,
    time_limit: float | None,
    cluster: str | None,
    address: str | None,
    baseline: str,
    people: str | None,
    features: Path | None = None,
    adaptive: bool = False,
    thresholds: Path | None = None,
    **recognizer_settings: Any,
) -> None:
    from . import batch, workers
    from .carrier import open_carrier
    from .cluster import open_cluster

    if address and not cluster:
        raise UsageError("--address belongs to --cluster ray, which was not given.")
    if thresholds and not adaptive:
        raise UsageError("--thresholds belongs to --adaptive, which was not given.")
    options = Options(
        recognizer=recognizer_settings,
        faces=faces,
        formats=formats,
        thresholds=(thresholds or find_thresholds(recognizer_settings["weights"])) if adaptive else None,
        baseline=baseline,
        people=people,
    )
    share = Shard.parse(shard) if shard else None
    passed_over: list[Path] = []
    with _stopping_well(), progress_bars(total=None) as bars:

        def on_found(inputs: int, files: list[Path]) -> None:
            bars.plan(0, inputs)
            passed_over.extend(files)

        def on_ready(crew: "batch.Crew", kept: int, inputs: int) -> None:
            bars.tell(crew.description)
            bars.plan(kept, inputs)
            if kept:
                bars.tell(f"{kept} of {inputs} were finished before and are kept; --force analyses them again.")

        how: dict[str, Any] = {"on_prepare": bars.on_prepare, "time_limit": time_limit}
        crew: batch.OpenCrew = functools.partial(open_carrier, functools.partial(workers.open_workers, **how))
        if cluster:
            crew = functools.partial(open_cluster, address=address, **how)
        outcomes = batch.analyze(
            paths,
            save=save,
            options=options,
            crew=crew,
            shard=share,
            force=force,
            features=features,
            on_found=on_found,
            on_ready=on_ready,
            on_progress=bars.on_progress,
            on_outcome=lambda outcome: bars.on_finished(_describe(outcome)),
            on_step=bars.plan,
        )
    what = "video" if adaptive or (share and options.awaits_people) else "report"
    kept = f"in {save}, with {summary_path(save, share).name}"
    if adaptive:
        kept = f"summed up in {summary_path(save, share)}"
    elif share and options.awaits_people:
        kept = "read. Once all shares are, run the same command without --shard: it writes the reports"
    _tell_outcomes(outcomes, passed_over, what=what, kept=kept, trust=_find_trust(recognizer_settings))
    if options.awaits_people:
        click.echo(f"The readings of the faces stay in {save / BASELINE} for the next run; remove it to remove them.")


@contextmanager
def _stopping_well() -> Iterator[None]:
    """Let Ctrl-C and the signal to terminate end a run by the way of its clean-up, and say how to go on."""

    def stop(number: int, frame: object) -> None:
        raise _Stopped(number)

    before = {number: signal.signal(number, stop) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield
    except _Stopped as error:
        click.echo("Stopped. What is finished stays; to go on, run the same command again:", err=True)
        click.echo(f"  {_repeat_command()}", err=True)
        sys.exit(128 + error.number)
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


class _Stopped(BaseException):
    """Somebody wants the run to end."""

    def __init__(self, number: int) -> None:
        self.number = number  # of the signal


def _repeat_command() -> str:
    """Return the command as it was given, but that what is finished is kept."""
    context = click.get_current_context()
    words = context.command_path.split()
    words = ["python", sys.argv[0], *words[1:]] if words[0].endswith(".py") else words
    for parameter in context.command.params:
        name, value = str(parameter.name), context.params.get(str(parameter.name))
        is_given = context.get_parameter_source(name) is ParameterSource.COMMANDLINE and name != "force"
        values = value if isinstance(value, tuple) else [value]
        if is_given and isinstance(parameter, click.Argument):
            words += map(str, values)
        elif is_given and isinstance(parameter, click.Option):
            for each in values:
                words += [parameter.opts[0]] if parameter.is_flag else [parameter.opts[0], str(each)]
    return printable(shlex.join(words))


def _describe(outcome: "Outcome") -> str:
    """Return one line on a finished video."""
    took = f"{outcome.seconds:.1f} s" if outcome.seconds is not None else ""
    if outcome.status == "error" and outcome.frames is None:
        return f"{outcome.file}: failed"
    if used := outcome.extras.get("samples_used"):
        share = f"{used} frames looked at, {outcome.extras['share_used']:.0%} of those sampled otherwise"
        return f"{outcome.file}: {outcome.emotion or 'no face'} ({share}, {took})"
    note = f" {outcome.message}" if outcome.message not in (None, NO_FACE) and outcome.status != "error" else ""
    if outcome.emotion is None:
        return f"{outcome.file}: no face ({outcome.frames} frames, {took}){note}"
    sureness = "" if outcome.confidence is None else f", probability {outcome.confidence:.0%}"
    people = "" if outcome.people == 1 else f", {outcome.people} people"
    words = outcome.extras.get("baseline")
    seen = f"face seen {outcome.coverage:.0%}{sureness}{people}{f', baseline of {words}' if words else ''}"
    return f"{outcome.file}: {outcome.emotion} ({seen}, {took}){note}"


def _find_trust(recognizer_settings: Mapping[str, Any]) -> str:
    """Return how far to trust the weights of a run, in words for people."""
    own = recognizer_settings.get("backbone")
    return describe_trust(Path(own) if own else resolve_backbone(recognizer_settings.get("weights", DEFAULT_WEIGHTS)))


def _tell_outcomes(outcomes: "list[Outcome]", passed_over: list[Path], *, what: str, kept: str, trust: str) -> None:
    failed = [outcome for outcome in outcomes if outcome.status == "error"]
    done = sum(outcome.status != "error" or outcome.frames is not None for outcome in outcomes)
    click.echo(f"{done} of {len(outcomes)} {what if len(outcomes) == 1 else what + 's'} {kept}.")
    if passed_over:
        names = ", ".join(printable(path.name) for path in passed_over[:3])
        more = f" and {len(passed_over) - 3} more" if len(passed_over) > 3 else ""
        click.echo(f"Passed over, as they are no videos: {names}{more}")
    if done:
        click.echo(trust)
    for outcome in failed:
        click.echo(f"Failed: {outcome.message}", err=True)
    if failed:
        click.echo("To try again what failed, and nothing else, run the same command again:", err=True)
        click.echo(f"  {_repeat_command()}", err=True)
        sys.exit(1)


@main.command()
@click.argument("folders", nargs=-1, required=True, type=PATH, metavar="FOLDER...")
@click.option("--save", type=PATH, help="Folder for the whole summary.  [default: the first of the folders]")
def merge(folders: tuple[Path, ...], save: Path | None) -> None:
    """Join the summaries of the shards in report FOLDERS to one summary.csv."""
    from .merging import merge

    target = save or folders[0]
    count = merge(folders, save=target)
    click.echo(f"{count} {'row' if count == 1 else 'rows'} in {target / 'summary.csv'}.")


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
