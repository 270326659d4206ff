"""The commands that show results: annotated videos, pages, the live picture, the page in the browser.

As in `cli`, each command parses, makes one API call and prints what came.
"""

import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click

from .cli_terminal import HELP, PATH, Command, progress_bars, recognizer_options
from .errors import UsageError, printable
from .inputs import NONE, PERSON, RUN, Options, find_inputs

if TYPE_CHECKING:
    from .viewing import Made

Function = TypeVar("Function", bound=Callable[..., Any])

_STYLE = click.option(
    "--style",
    type=click.Choice(("full", "boxes", "published")),
    default="full",
    show_default=True,
    help="Boxes with panels and a strip of the emotion over time, boxes alone, or the original's magenta box.",
)


@click.command(cls=Command)
@click.argument("paths", nargs=-1, required=True, type=PATH, metavar="PATH...")
@click.option("--report", type=PATH, default=Path("report"), show_default=True, help="Folder of the reports.")
@click.option("--save", type=PATH, default=Path("result_videos"), show_default=True, help="Folder for the videos.")
@click.option("--confidence", type=float, help="Draw no face of which the detector was less sure, 0-1.")
@_STYLE
@recognizer_options
def annotate(paths: tuple[Path, ...], **options: Any) -> None:
    """Draw the reports into copies of the videos, from files and folders; what has no report is analysed first."""
    _annotate(paths, **options)


@click.command(cls=Command, context_settings=HELP)
@click.option("--path_video", type=PATH, default=Path("video"), show_default=True, help="Folder of videos, or one.")
@click.option(
    "--path_report", "report", type=PATH, default=Path("report"), show_default=True, help="Folder of the reports."
)
@click.option(
    "--path_save_video",
    "save",
    type=PATH,
    default=Path("result_videos"),
    show_default=True,
    help="Folder for the annotated videos.",
)
@click.option("--conf_d", "confidence", type=float, help="Draw no face of which the detector was less sure, 0-1.")
@_STYLE
@recognizer_options
def visualization(path_video: Path, **options: Any) -> None:
    """Draw the reports into copies of the videos of a folder; what has no report is analysed first."""
    _annotate((path_video,), **options)


def _annotate(
    paths: tuple[Path, ...],
    *,
    report: Path,
    save: Path,
    confidence: float | None,
    style: str,
    **recognizer_settings: Any,
) -> None:
    from . import viewing

    with progress_bars(total=len(find_inputs(paths)[0])) as bars:
        results = viewing.annotate(
            paths,
            report=report,
            save=save,
            recognizer=partial(bars.open_recognizer, confidence=confidence, **recognizer_settings),
            style=style,
            confidence=confidence,
            on_progress=bars.on_progress,
            on_made=lambda made: bars.on_finished(_describe(made)),
        )
    _tell(results, "annotated videos", save)


def _describe(made: "Made") -> str:
    return f"{made.label}: {'failed' if made.path is None else printable(str(made.path))}"


def _tell(results: "list[Made]", what: str, save: Path) -> None:
    failed = [made for made in results if made.path is None]
    click.echo(f"{len(results) - len(failed)} of {len(results)} {what} in {save}.")
    for made in failed:
        click.echo(f"Failed: {made.message}", err=True)
    if failed:
        sys.exit(1)


@click.command(cls=Command)
@click.argument("paths", nargs=-1, required=True, type=PATH, metavar="PATH...")
@click.option("--report", type=PATH, default=Path("report"), show_default=True, help="Folder of the CSV reports.")
@click.option("--save", type=PATH, help="Folder for the pages.  [default: that of the reports]")
@click.option(
    "--picture",
    type=click.Choice(("png", "svg", "pdf")),
    default="png",
    show_default=True,
    help="Format of the timelines' pictures.",
)
@click.option("--confidence", type=float, help="Threshold of the detector, 0-1.  [default: the detector's own]")
@recognizer_options
def report(paths: tuple[Path, ...], report: Path, save: Path | None, picture: str, **recognizer_settings: Any) -> None:
    """Make a page to open in a browser for each video, from files and folders; what has no report is analysed first."""
    from . import viewing

    with progress_bars(total=len(find_inputs(paths)[0])) as bars:
        results = viewing.write_pages(
            paths,
            report=report,
            save=save or report,
            recognizer=partial(bars.open_recognizer, **recognizer_settings),
            picture=picture,
            on_progress=bars.on_progress,
            on_made=lambda made: bars.on_finished(_describe(made)),
        )
    _tell(results, "pages", save or report)


_LIVE_OPTIONS = (
    click.option("--camera", type=click.IntRange(min=0), help="Number of the camera.  [default: 0]"),
    click.option("--source", metavar="FILE|URL", help="A video or an address instead of a camera, at its own pace."),
    click.option(
        "--mode",
        type=click.Choice(("temporal", "static")),
        default="temporal",
        show_default=True,
        help="Judge the last 2 s of each person, or each face by itself.",
    ),
    click.option(
        "--baseline",
        metavar="none|person|FILE",
        default=NONE,
        show_default=True,
        help="Take off what each person has read as so far, or a recording of the person at rest.",
    ),
    click.option("--record", type=PATH, help="Record the annotated picture as .mp4; r stops it and starts the next."),
    click.option("--csv", type=PATH, help="Write a row for each person five times a second."),
    click.option(
        "--window/--no-window", "show_window", default=True, help="In the window q quits, r records, m mirrors."
    ),
    click.option("--mirror", is_flag=True, help="Begin mirrored."),
    click.option("--confidence", type=float, help="Threshold of the detector, 0-1.  [default: the detector's own]"),
)  # fmt: skip


def _live_options(command: Function) -> Function:
    for option in reversed(_LIVE_OPTIONS):
        command = option(command)
    return recognizer_options(command)


@click.command(cls=Command)
@_live_options
def live(**options: Any) -> None:
    """Show the emotions of faces before a camera as they happen."""
    _live(**options)


@click.command(cls=Command, context_settings=HELP)
@_live_options
def webcam(**options: Any) -> None:
    """Show the emotions of faces before a camera as they happen."""
    _live(**options)


def _live(
    *,
    camera: int | None,
    source: str | None,
    mode: str,
    baseline: str,
    record: Path | None,
    csv: Path | None,
    show_window: bool,
    mirror: bool,
    **recognizer_settings: Any,
) -> None:
    from .camera import open_source
    from .live import run_live
    from .recognizer import EmotionRecognizer
    from .window import check_display

    if baseline == RUN:
        raise UsageError(f"A live session is no run of recordings: give --baseline {PERSON}, or a recording.")
    rest = Options(baseline=baseline).baseline  # checked before the networks take their time to load
    if show_window:
        check_display()  # before the networks take their time to load

    def tell_waiting(done: int, steps: int) -> None:
        if done == 0:
            click.echo("Making the int8 network, once; this takes up to a minute.")

    recognizer = EmotionRecognizer(**recognizer_settings, on_prepare=tell_waiting)
    taken = recognizer.read_rest(rest) if isinstance(rest, Path) else None if rest == NONE else rest
    number = 0 if camera is None and source is None else camera
    with open_source(camera=number, source=source) as opened:  # last, or its frames would wait for the networks
        click.echo(recognizer.description)
        summary = run_live(
            recognizer,
            opened,
            mode=mode,
            baseline=taken,
            record=record,
            csv=csv,
            show_window=show_window,
            mirror=mirror,
        )
    click.echo(f"{summary.frames} frames in {summary.seconds:.1f} s, {summary.samples} of them looked at for faces.")
    for path in (*summary.recordings, *([csv] if csv else [])):
        click.echo(f"Saved: {click.format_filename(path)}")


@click.command(cls=Command)
@click.option("--host", default="127.0.0.1", show_default=True, help="Address to listen on; others let others in.")
@click.option("--port", type=click.IntRange(0, 65535), default=7860, show_default=True, help="0 is any free one.")
@click.option(
    "--max-upload", type=click.IntRange(min=1), default=500, show_default=True, help="Size of a video, in MB."
)
@click.option("--browser/--no-browser", "open_browser", default=True, help="Open the page in a browser.")
def app(**options: Any) -> None:
    """Show a page in the browser for videos and the camera (needs the extra: pip install 'emo-affectnet[app]')."""
    from .app import serve

    serve(**options, on_ready=lambda address: click.echo(f"The page is at {address} until Ctrl-C."))
