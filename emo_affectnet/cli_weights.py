"""The commands that look after weight files: what there is, fetching, importing, checking.

As in `cli`, each command parses, makes one API call and prints what came.
"""

import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import click

from . import store
from .catalogue import CATALOGUE, COLLECTIONS, Entry
from .cli_terminal import HELP, PATH, Group
from .errors import EmoAffectNetError, WeightsError, check_name
from .weight_sets import BUNDLED, DEFAULT_WEIGHTS, resolve
from .weights import bundled_folder, read_record

DEMO_CLIP = bundled_folder().parent.parent / "video" / "expressions.mp4"  # in a checkout
NAMING = "A head is named after the corpus it never saw: on that corpus use this head, everywhere else all of them."
WIDTHS = (31, 10, 5, 4)  # of the columns before the last one: fits 80 columns


@dataclass(frozen=True)
class _Row:
    name: str
    kind: str
    size: int | None  # bytes
    is_here: bool
    held_out: str | None
    trained_on: tuple[str, ...]


@click.group(cls=Group, context_settings=HELP)
def weights() -> None:
    """List, fetch, import and check weight files."""


@weights.command("list", short_help="What there is, what is here, what each head never saw.")
@click.option("--long", "is_long", is_flag=True, help="Also what each was trained on, and the files to get by hand.")
def list_weights(is_long: bool) -> None:
    """Show which weights there are, which of them are here, and what each head never saw."""
    for name, files in BUNDLED.items():
        if not files.is_here:
            click.echo(f"{name}: missing, it did not come with this copy of the package\n")
            continue
        paths = {part: files.place(part) for part in ("backbone", *files.head_names)}
        rows = [_bundled_row(f"{name}/{part}", path) for part, path in paths.items()]
        missing = sum(not row.is_here for row in rows)
        state = f"{missing} of its {len(rows)} files are missing" if missing else "here, nothing to fetch"
        _print_table(f"{name}: {state}", rows, is_long=is_long)
        _print_terms([], [record.license for path in paths.values() if (record := read_record(path))])
    for collection in COLLECTIONS:
        fetched, by_hand = _split(collection)
        _print_table(f"{collection}: 'emo-affectnet weights fetch {collection}' or a name", fetched, is_long=is_long)
        if by_hand and is_long:
            _print_table(f"{collection}, by hand: 'emo-affectnet weights import FILE'", by_hand, is_long=True)
        elif by_hand:
            click.echo(f"  and {len(by_hand)} more by hand: 'emo-affectnet weights list --long' shows them")
        entries = [entry for entry in CATALOGUE.values() if entry.collection == collection]
        _print_terms([entry.page for entry in entries], [entry.license for entry in entries])
    if is_long:
        click.echo(f"Files are looked for in: {', '.join(click.format_filename(place) for place in store.places())}")
    click.echo(click.wrap_text(NAMING))


def _bundled_row(name: str, path: Path) -> _Row:
    record = read_record(path)
    part = name.rpartition("/")[2]
    kind, held_out = ("backbone", None) if part == "backbone" else ("head", part)
    size = record.size if record else None
    return _Row(name, kind, size, path.is_file(), held_out, record.trained_on if record else ())


def _split(collection: str) -> tuple[list[_Row], list[_Row]]:
    """Return the files of a collection that can be fetched, and those to get by hand."""
    entries = [entry for entry in CATALOGUE.values() if entry.collection == collection]
    return [_row(entry) for entry in entries if entry.urls], [_row(entry) for entry in entries if not entry.urls]


def _row(entry: Entry) -> _Row:
    path = store.find(entry.name)
    size = path.stat().st_size if path else entry.size
    return _Row(entry.name, entry.kind, size, path is not None, entry.held_out, entry.trained_on)


def _print_table(title: str, rows: Sequence[_Row], *, is_long: bool) -> None:
    from rich.box import SIMPLE_HEAD
    from rich.console import Console
    from rich.table import Table

    table = Table(title=title, box=SIMPLE_HEAD, title_justify="left", title_style="bold", padding=(0, 1, 0, 0))
    for header, width in zip(("name", "kind", "MB", "here"), WIDTHS, strict=True):
        table.add_column(header, min_width=width, no_wrap=True, justify="right" if header == "MB" else "left")
    table.add_column("never saw", no_wrap=True)
    for row in rows:
        megabytes = f"{row.size / 1e6:.1f}" if row.size else "?"
        table.add_row(row.name, row.kind, megabytes, "yes" if row.is_here else "no", row.held_out or "")
    Console(highlight=False).print(table)
    for row in rows if is_long else ():
        _print_wrapped(f"{row.name} was trained on: {', '.join(row.trained_on)}")
    if is_long:
        click.echo()


def _print_wrapped(text: str) -> None:
    click.echo(click.wrap_text(text, width=78, initial_indent="  ", subsequent_indent="    "))


def _print_terms(pages: list[str], licenses: list[str]) -> None:
    """Print where files come from, and on which terms, each once."""
    for line in dict.fromkeys([*(f"from: {page}" for page in pages), *(f"licence: {text}" for text in licenses)]):
        _print_wrapped(line)
    click.echo()


@weights.command("fetch", short_help="Download files by name.")
@click.argument("names", nargs=-1, required=True, metavar="NAME...")
@click.option(
    "--mirror", "mirrors", multiple=True, metavar="URL", help="Address of a folder to ask first; may be given twice."
)
@click.option("--offline", is_flag=True, help="Only check that everything is here, and download nothing.")
def fetch_weights(names: tuple[str, ...], mirrors: tuple[str, ...], offline: bool) -> None:
    """Download weights by NAME, of a file or of a collection; what is here already is only checked."""
    for name in names:
        check_name("weight file or collection", name, [*COLLECTIONS, *CATALOGUE])
    entries = {each: CATALOGUE[each] for name in names for each in COLLECTIONS.get(name, (name,))}
    for text in dict.fromkeys(f"Licence of {entry.collection}: {entry.license}." for entry in entries.values()):
        click.echo(text)
    failures = []
    with _download_bar() as on_progress:
        for name in entries:
            try:
                (path,) = store.fetch(name, mirrors=mirrors, offline=offline, on_progress=on_progress)
                click.echo(f"{name}: {click.format_filename(path)}")
            except WeightsError as error:
                failures.append(f"{name}: {error}")
    _tell_failures(failures)


@contextmanager
def _download_bar() -> Iterator[store.Progress]:
    """Show how far a download is, on a terminal only."""
    from rich.console import Console
    from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TimeRemainingColumn, TransferSpeedColumn

    console = Console()
    columns = (
        TextColumn("{task.description}", markup=False),
        BarColumn(),
        DownloadColumn(),
        TransferSpeedColumn(),
        TimeRemainingColumn(),
    )
    with Progress(*columns, console=console, transient=True, disable=not console.is_terminal) as bars:
        tasks = {}

        def on_progress(entry: Entry, done: int, total: int | None) -> None:
            if entry.name not in tasks:
                tasks[entry.name] = bars.add_task(entry.name, total=total)
            bars.update(tasks[entry.name], completed=done, total=total, visible=done != total)

        yield on_progress


def _tell_failures(failures: list[str]) -> None:
    for failure in failures:
        click.echo(f"Failed: {failure}", err=True)
    if failures:
        sys.exit(1)


@weights.command("convert", short_help="Turn a backbone or head into another format.")
@click.argument("source", type=PATH, metavar="IN")
@click.argument("target", type=PATH, metavar="OUT")
@click.option("--video", type=PATH, help="A video whose faces are compared as well.  [default: one of the demo clips]")
@click.option("--trust", is_flag=True, help="Vouch for a TorchScript file of your own.")
def convert_weights(source: Path, target: Path, video: Path | None, trust: bool) -> None:
    """Turn a backbone or head into another format, and compare what both compute.

    IN is a state dict, TorchScript or Keras file. The end of OUT says what it becomes: .pt a state dict, .pth
    TorchScript, .onnx ONNX. If the two differ by more than 0.0001, nothing is written.
    """
    from . import convert

    if trust:
        store.trust(source)
    clip = video or DEMO_CLIP
    faces = partial(convert.read_faces, clip) if video or clip.is_file() else None
    made = convert.convert(source, target, faces=faces)
    click.echo(
        f"{target}: the {made.kind} as {made.target_format}, {made.size / 1e6:.1f} MB, from {made.source_format}."
    )
    click.echo(f"Largest difference on random input: {made.max_difference:.1e}")
    if made.max_difference_on_crops is not None:
        click.echo(f"Largest difference on {made.crops} real faces: {made.max_difference_on_crops:.1e}")
    elif made.kind == "backbone":
        click.echo("No real faces were compared: give a video of some with --video.")


@weights.command("verify", short_help="Check every file that is here.")
def verify_weights() -> None:
    """Check every weight file that is here: the bundled ones by their records, the others by their known hashes."""
    failures = []
    for name, files in BUNDLED.items():
        if not files.is_here and name != DEFAULT_WEIGHTS:
            click.echo(f"{name}: missing, it did not come with this copy of the package.")
            continue
        try:
            count = 1 + len(resolve(name).heads)
            said = "file is what its record says" if count == 1 else "files are what their records say"
            click.echo(f"{name}: {count} {said}.")
        except EmoAffectNetError as error:
            failures.append(str(error))
    for file in store.verify_all():
        if file.status == "damaged":
            failures.append(
                f"{file.name}: {click.format_filename(file.path)} should be another file, it is {file.came}."
            )
        else:
            click.echo(f"{file.name}: {_MEANINGS[file.status]}: {click.format_filename(file.path)}")
    _tell_failures(failures)


_MEANINGS = {
    "ok": "is the published file",
    "pinned": "is the file that was pinned",
    "unknown": "has no known hash to compare with",
}


@weights.command("import", short_help="Take in a file that was downloaded by hand.")
@click.argument("file", type=PATH)
@click.option(
    "--trust", is_flag=True, help="Vouch for a file that can run code (TorchScript, ONNX): its hash is pinned."
)
def import_weights(file: Path, trust: bool) -> None:
    """Copy a published FILE that was downloaded by hand into the store, or vouch for a FILE of your own."""
    path = store.import_file(file, trust=trust)
    if path == file:
        click.echo(f"{click.format_filename(path)} is trusted from now on, and stays where it is.")
    else:
        click.echo(f"Imported: {click.format_filename(path)}")
