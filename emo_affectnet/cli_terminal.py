"""What the commands share: options of the recognizer, errors as one sentence, progress bars, tables."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click

from .errors import EmoAffectNetError, printable
from .places import to_place
from .weight_sets import DEFAULT_WEIGHTS, WEIGHTS
from .weights import HEAD_NAMES

if TYPE_CHECKING:
    from .inputs import Input
    from .recognizer import EmotionRecognizer

PATH = click.Path(path_type=Path)
HELP = {"help_option_names": ["-h", "--help"]}
EXTRA_TRAIN = ("sklearn", "scipy")  # what only training and evaluation need
# Written out, because the registries load heavy packages.
ENGINE_NAMES = ("onnxruntime", "openvino", "torch", "tensorflow")
PRECISION_NAMES = ("fp32", "bf16", "fp16", "int8")


class _Place(click.ParamType):  # type: ignore[type-arg] # it takes none before Click 8.3
    """A path, or an address such as s3://bucket/folder."""

    name = "path"

    def convert(self, value: Any, parameter: click.Parameter | None, context: click.Context | None) -> Path:
        try:
            return value if isinstance(value, Path) else to_place(value)
        except EmoAffectNetError as error:
            self.fail(str(error), parameter, context)


PLACE = _Place()

Function = TypeVar("Function", bound=Callable[..., Any])

_FILE_OPTIONS = (
    click.option("--backbone", metavar="NAME|FILE", help="A sibling model by its name in 'weights list', or a file."),
    click.option("--head-file", type=PATH, help="A head file instead of the set's heads."),
)
_RECOGNIZER_OPTIONS = (
    click.option(
        "--weights",
        type=click.Choice(tuple(WEIGHTS)),
        default=DEFAULT_WEIGHTS,
        show_default=True,
        help="The weights that come with the package, or the published ones once they are fetched.",
    ),
    click.option(
        "--head",
        type=click.Choice(HEAD_NAMES, case_sensitive=False),
        metavar=f"[{'|'.join(HEAD_NAMES)}]",
        help="The head to report, named after the corpus it never saw; the mean over all six; or without a head the "
        "mean over single faces.  [default: ensemble]",
    ),
    click.option(
        "--smoothing", type=float, metavar="SECONDS", help="How long single faces are averaged.  [default: 2]"
    ),
    click.option(
        "--detector",
        type=click.Choice(("near-and-far", "short-range", "full-range", "face-mesh")),
        default="near-and-far",
        show_default=True,
        help="MediaPipe for faces within 2 m of the camera and, in parts of the picture, for smaller ones; for faces "
        "within 2 m or 5 m only; or the published bounds of 468 landmarks.",
    ),
    click.option(
        "--engine",
        type=click.Choice(ENGINE_NAMES),
        help="What runs the network; tensorflow runs the original Keras graph.  [default: the fastest here]",
    ),
    click.option(
        "--precision",
        type=click.Choice(PRECISION_NAMES),
        default="fp32",
        show_default=True,
        help="int8 is about twice as fast and nearly as good; bf16 and fp16 are for hardware that has them.",
    ),
    click.option("--device", default="auto", show_default=True, help="auto, cpu, cuda, cuda:1, mps."),
    click.option(
        "--threads", type=click.IntRange(min=1), help="Of the network, on a CPU.  [default: all cores there are]"
    ),
    click.option("--trust", is_flag=True, help="Vouch for the given TorchScript or ONNX file, which can hold code."),
)  # fmt: skip


_JOB_OPTIONS = (
    click.option("--force", is_flag=True, help="Analyse again what is finished, too."),
    click.option(
        "--shard",
        metavar="I/N",
        help="Take the I-th of N shares of the videos, for as many processes or machines; see 'emo-affectnet merge'.",
    ),
    click.option(
        "--time-limit",
        type=click.FloatRange(min=0, min_open=True),
        metavar="SECONDS",
        help="Give up a video that takes longer.  [default: one that shows no progress for 600 s]",
    ),
    click.option("--cluster", type=click.Choice(("ray",)), help="Let the machines of a cluster do the work."),
    click.option(
        "--address", metavar="HOST:PORT", help="Of the cluster.  [default: RAY_ADDRESS, or this computer alone]"
    ),
)


def add_options(options: Sequence[Callable[[Function], Function]]) -> Callable[[Function], Function]:
    """Return a decorator that adds options to a command, in the order of its help."""

    def decorate(command: Function) -> Function:
        for option in reversed(options):
            command = option(command)
        return command

    return decorate


def recognizer_options(command: Function) -> Function:
    """Add the options that an `EmotionRecognizer` is made with."""
    return add_options(_FILE_OPTIONS)(published_options(command))


def job_options(command: Function) -> Function:
    """Add the options of a long run over many videos."""
    return add_options(_JOB_OPTIONS)(command)


def published_options(command: Function) -> Function:
    """Add the same options without the two files, which have flags of their own in the published commands."""
    return add_options(_RECOGNIZER_OPTIONS)(command)


class _TellsErrors(click.Command):
    """Turns the library's errors into one sentence and their exit code."""

    def invoke(self, context: click.Context) -> Any:
        try:
            return super().invoke(context)
        except EmoAffectNetError as error:
            click.echo(f"Error: {error}", err=True)
            context.exit(error.exit_code)
        except ModuleNotFoundError as error:
            if (error.name or "").partition(".")[0] not in EXTRA_TRAIN:
                raise
            click.echo(f"Error: {error.name} is not installed: pip install 'emo-affectnet[train]'", err=True)
            context.exit(1)


class Command(_TellsErrors):
    """A command by itself."""


class Group(_TellsErrors, click.Group):
    """A group of commands."""


@dataclass(frozen=True)
class Bars:
    """What a command tells while it works."""

    on_progress: "Callable[[Input, int, int | None], None]"  # the video, its frames done and in all
    on_prepare: Callable[[int, int], None]  # steps done and in all of making an int8 network
    on_finished: Callable[[str], None]  # a line on a finished video
    tell: Callable[[str], None]  # a line on something else
    plan: Callable[[int, int], None]  # how many videos are done already, and how many there are
    open_recognizer: "Callable[..., EmotionRecognizer]"  # takes its settings, says what runs the network


@contextmanager
def progress_bars(*, total: int | None) -> Iterator[Bars]:
    """Show a bar for the folder and one for the video, on a terminal only, and a line for each finished video.

    `total` is the number of videos; None is to be told by `plan`.
    """
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    console = Console(highlight=False)
    columns = (
        TextColumn("{task.description}", markup=False),
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn("{task.fields[unit]}"),
        TimeRemainingColumn(),
    )
    with Progress(*columns, console=console, transient=True, disable=not console.is_terminal) as bars:
        folder = bars.add_task("All videos", total=total, unit="videos")
        video = bars.add_task("Loading the networks", total=None, unit="frames")

        def on_progress(source: "Input", done: int, frames: int | None) -> None:
            name = printable(source.path.name)
            bars.update(video, description=name, completed=done, total=frames, unit="frames")

        def on_prepare(done: int, steps: int) -> None:
            bars.update(video, description="Making the int8 network, once", completed=done, total=steps, unit="steps")

        def plan(done: int, videos: int) -> None:
            bars.update(folder, completed=done, total=videos)

        def on_finished(line: str) -> None:
            bars.update(folder, advance=1)
            tell(line)

        def tell(line: str) -> None:
            console.print(line, markup=False, soft_wrap=True)

        def open_recognizer(**settings: Any) -> "EmotionRecognizer":
            from .recognizer import EmotionRecognizer

            recognizer = EmotionRecognizer(**settings, on_prepare=on_prepare)
            tell(recognizer.description)
            return recognizer

        yield Bars(on_progress, on_prepare, on_finished, tell, plan, open_recognizer)


def print_table(title: str, rows: Sequence[tuple[str, ...]]) -> None:
    """Print rows of text, the first of them the header; the first two columns give way on a narrow terminal."""
    from rich.box import SIMPLE
    from rich.console import Console
    from rich.table import Table

    header, *body = rows
    table = Table(title=title, box=SIMPLE, padding=(0, 1, 0, 0), title_justify="left")
    for number, name in enumerate(header):
        table.add_column(name, justify="left" if number < 2 else "right", no_wrap=number > 1)
    for row in body:
        table.add_row(*row)
    Console(markup=False).print(table)
