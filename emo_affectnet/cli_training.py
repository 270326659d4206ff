"""The commands that look at corpora and train weights.

As in `cli`, each command parses, makes one API call and prints what came. Everything here needs the extra [train].
"""

import functools
import math
import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click

from .cli_terminal import PATH, add_options, print_table
from .errors import UsageError
from .weight_sets import STUDY_WEIGHTS, resolve_backbone
from .weights import NETWORKS

if TYPE_CHECKING:
    from .training.corpora.clip import Problem, Scan
    from .training.features import CorpusFeatures
    from .training.fit import CurvePoint
    from .training.heads import Study, TrainedHead
    from .training.results import EvaluationResult

Function = TypeVar("Function", bound=Callable[..., Any])


@click.group()
def corpora() -> None:
    """Look at labelled corpora on your disk (needs the extra: pip install 'emo-affectnet[train]')."""


@corpora.command("list")
def list_corpora() -> None:
    """Show each corpus, the layout that is expected of it and the choices that are open."""
    from .training.corpora import CORPORA

    for corpus in CORPORA.values():
        click.secho(corpus.name, bold=True)
        click.echo(f"  {corpus.layout}")
        for name, policy in corpus.policies.items():
            choices = ", ".join(policy.choices) or "a number from 0 to 1"
            click.echo(f"  {name}: {policy.question} {choices}  [default: {policy.default}]")


@corpora.command("scan")
@click.argument("name")
@click.argument("root", type=PATH)
@click.option("--policy", "policies", multiple=True, metavar="NAME=CHOICE", help="How to read what is open.")
def scan_corpus(name: str, root: Path, policies: tuple[str, ...]) -> None:
    """Count what is in the corpus NAME in the folder ROOT: clips, speakers, seconds, classes, policies, problems."""
    from .training.corpora import scan
    from .training.features import measure_seconds

    found = scan(name, root, read_policies(policies))
    seconds, unreadable = measure_seconds(found)
    _tell_scan(found, seconds, unreadable)


def read_policies(policies: Sequence[str]) -> dict[str, str]:
    """Return choices by the names of their policies, from texts such as calm=drop."""
    return dict(_split_pair(policy, "NAME=CHOICE") for policy in policies)


def _split_pair(text: str, form: str) -> tuple[str, str]:
    name, equals, value = text.partition("=")
    if not (name and equals and value):
        raise UsageError(f"Expected {form}, but {text!r} came.")
    return name, value


def _tell_scan(found: "Scan", seconds: float, unreadable: "list[Problem]") -> None:
    from .training.results import SIMULATED

    unit = "clips" if found.clips else "images"
    labelled = sum(found.emotions.values())
    click.echo(f"{SIMULATED if found.is_simulated else ''}{found.corpus} in {found.root}")
    click.echo(f"{len(found.clips) or len(found.images)} {unit}, {labelled} of them with one of the seven emotions")
    if found.clips:
        click.echo(f"{len(found.speakers)} speakers, {seconds:.0f} s in labelled clips")
    if found.people:
        click.echo(f"{len(found.people)} people or films named")
    for (label, emotion), count in sorted(found.counts.items(), key=str):
        click.echo(f"  {label:24} {count:7d}  {emotion.name if emotion is not None else 'left out'}")
    for emotion, count in sorted(found.frame_emotions.items()):
        click.echo(f"  frames of {emotion.name:14} {count:7d}")
    for policy, choice in found.policies.items():
        click.echo(f"  policy {policy}: {choice}")
    for difference in found.differences:
        click.echo(f"  {difference}")
    tell_problems([*found.problems, *unreadable])


def tell_problems(problems: "Sequence[Problem]") -> None:
    click.echo("1 problem" if len(problems) == 1 else f"{len(problems)} problems")
    for kind in sorted({problem.kind for problem in problems}):
        places = [problem.where for problem in problems if problem.kind == kind]
        more = f" and {len(places) - 3} more" if len(places) > 3 else ""
        click.echo(f"  {kind} ({len(places)}): {', '.join(places[:3])}{more}")


CACHE_OPTIONS = (
    click.option("--backbone", type=PATH, help="The backbone whose features are read.  [default: the bundled one]"),
    click.option(
        "--cache", type=PATH, default=Path("runs/features"), show_default=True, help="Folder that keeps features."
    ),
    click.option(
        "--jobs",
        type=click.IntRange(min=1),
        default=os.cpu_count() or 1,
        show_default="processors",
        help="Videos at once.",
    ),
)
CORPUS_OPTIONS = (
    click.option(
        "--corpus", "roots", multiple=True, metavar="NAME=FOLDER", help="A corpus and its folder; once for each corpus."
    ),
    click.option("--policy", "policies", multiple=True, metavar="CORPUS.NAME=CHOICE", help="How to read what is open."),
)
STUDY_OPTIONS = (
    *CORPUS_OPTIONS,
    click.option("--simulate-from", "data", type=PATH, help="Folder of FER+ faces: SIMULATE the six corpora instead."),
    click.option(
        "--clips", type=click.IntRange(min=1), default=800, show_default=True, help="Clips of each simulated corpus."
    ),
    *CACHE_OPTIONS,
)


def open_study(
    *, roots: Sequence[str], policies: Sequence[str], data: Path | None, clips: int, **reading: Any
) -> "Study":
    """Return the study of the given corpora, or of simulated ones."""
    from .training.corpora import refuse_judging
    from .training.heads import make_study
    from .training.stills import simulate_study

    scans = scan_corpora(roots, policies, data=data)
    refuse_judging(scan.corpus for scan in scans)  # before the hours in which videos are read
    if data is not None:
        return simulate_study(reading["backbone"], data, reading["cache"], clips=clips)
    return make_study(extract_corpora(scans, **reading))


def scan_corpora(roots: Sequence[str], policies: Sequence[str], *, data: Path | None) -> "list[Scan]":
    """Return the scans of the corpora of a study; none if they are to be simulated from `data`.

    Raises:
        UsageError: neither or both are given, or as `scan_named`.
        CorpusError: a folder is not laid out as its corpus.
    """
    if bool(roots) == (data is not None):
        raise UsageError("Give the corpora of the study: --corpus NAME=FOLDER for each, or --simulate-from FOLDER.")
    return scan_named(roots, policies)


def scan_named(roots: Sequence[str], policies: Sequence[str]) -> "list[Scan]":
    """Return the scans of the corpora given as NAME=FOLDER, read as policies given as CORPUS.NAME=CHOICE say.

    Raises:
        UsageError: a corpus is given twice, or a policy for a corpus that is not given.
        CorpusError: a folder is not laid out as its corpus.
    """
    from .training.corpora import scan

    named: dict[str, Path] = {}
    for pair in roots:
        name, root = _split_pair(pair, "NAME=FOLDER")
        if name in named:
            raise UsageError(f"{name} is given twice, in {named[name]} and in {root}: give one folder above both.")
        named[name] = Path(root).expanduser()  # bash leaves the ~ of CREMA-D=~/data alone
    chosen: dict[str, dict[str, str]] = {}
    for policy in policies:
        name, choice = _split_pair(policy, "CORPUS.NAME=CHOICE")
        corpus, _, name = name.rpartition(".")
        chosen.setdefault(corpus, {})[name] = choice
    strangers = [corpus for corpus in chosen if corpus not in named]
    if strangers:
        raise UsageError(f"There is a policy for {strangers[0] or 'no corpus'}, but no --corpus of that name.")
    return [scan(name, root, chosen.get(name)) for name, root in named.items()]


def extract_corpora(scans: "Sequence[Scan]", *, backbone: Path, cache: Path, jobs: int) -> "list[CorpusFeatures]":
    """Read the clips of scanned corpora, with a bar, and tell what was found."""
    from .recognizer import EmotionRecognizer
    from .training.features import extract

    recognizer = functools.partial(EmotionRecognizer, backbone=backbone)
    with show_bar("Reading videos") as on_progress:
        corpora = extract(scans, recognizer=recognizer, cache=cache, jobs=jobs, on_progress=on_progress)
    for corpus in corpora:
        seen = sum(len(clip.times) > 0 for clip in corpus.clips)
        click.echo(f"{corpus.title}: {len(corpus.clips)} labelled clips, {seen} with a face")
        tell_problems(corpus.problems)
    return corpora


@contextmanager
def show_bar(description: str) -> Iterator[Callable[[int, int], None]]:
    """Show a bar with the time that is left, on a terminal only."""
    from rich.console import Console
    from rich.progress import Progress

    console = Console()
    with Progress(console=console, transient=True, disable=not console.is_terminal) as bars:
        task = bars.add_task(description, total=None)
        yield lambda done, total: bars.update(task, completed=done, total=total)


@click.group()
def train() -> None:
    """Train weights of your own (needs the extra: pip install 'emo-affectnet[train]')."""


@train.command("backbone")
@add_options(CORPUS_OPTIONS)
@click.option("--save", type=PATH, default=Path("weights/mine"), show_default=True, help="Folder for the weights.")
@click.option(
    "--start",
    type=PATH,
    help="Backbone to begin with, such as the published one, or faceres.json.  [default: random weights]",
)
@click.option("--network", type=click.Choice(NETWORKS), default=NETWORKS[0], show_default=True, help="The backbone.")
@click.option(
    "--teacher", type=PATH, help="Backbone whose features and answers are learned beside the labels, a MobileNet say."
)
@click.option("--passes", type=click.IntRange(min=1), help="Passes over the faces.  [default: 18; MobileNet: 4]")
@click.option("--learning-rate", type=float, help="At the peak of its one cycle.  [default: 1e-3; MobileNet: 3e-4]")
@click.option(
    "--sizes",
    type=click.IntRange(min=32),
    multiple=True,
    metavar="PX",
    help="Side of the views, small to large; repeat it.  [default: 48 64; MobileNet: 112]",
)
@click.option("--seed", type=int, default=0, show_default=True, help="Seed of every random draw.")
@click.option("--device", default="auto", show_default=True, help="auto, cpu, cuda, cuda:1, mps.")
@click.option("--time-limit", type=float, help="Minutes after which to stop; the same command goes on from there.")
def train_backbone(
    roots: tuple[str, ...],
    policies: tuple[str, ...],
    save: Path,
    start: Path | None,
    network: str,
    teacher: Path | None,
    device: str,
    time_limit: float | None,
    **settings: Any,
) -> None:
    """Train the backbone on the labelled faces of one corpus or several; a run that was stopped goes on.

    Corpora and emotions with few faces are drawn more often than they occur. A corpus's valid split shows how good the
    weights are; its test split has no part in it.
    """
    from .plots import plot_learning_curve
    from .training import fit
    from .training.corpora import refuse_judging

    def tell(point: "CurvePoint") -> None:
        click.echo(
            f"step {point.step}: loss {point.loss:.3f}, valid accuracy {point.accuracy:.1%}, "
            f"UAR {point.uar:.1%}, {point.seconds / 60:.0f} min"
        )

    if not roots:
        raise UsageError("Give the faces to train on: --corpus NAME=FOLDER for each corpus.")
    scans = scan_named(roots, policies)
    refuse_judging(found.corpus for found in scans)
    for found in scans:
        click.echo(f"{found.corpus}: {sum(found.emotions.values())} labelled faces")
        tell_problems(found.problems)
    given = {name: value for name, value in settings.items() if value not in (None, ())}
    path = fit.train_backbone(
        scans,
        save,
        config=replace(fit.RECIPES[network], **given),
        start=start,
        teacher=teacher,
        device=device,
        time_limit=math.inf if time_limit is None else 60 * time_limit,
        on_point=tell,
    )
    if (save / "backbone.csv").is_file():
        plot_learning_curve(save / "backbone.csv", save / "backbone.png")
    click.echo(f"The backbone is {path}." if path else "Time is up; give the same command again to go on.")


@train.command("heads")
@click.option("--save", type=PATH, default=Path("weights/mine"), show_default=True, help="Folder for the weights.")
@click.option(
    "--seeds", type=click.IntRange(min=1), default=3, show_default=True, help="Heads to train for each corpus."
)
@click.option("--seed", type=int, default=0, show_default=True, help="The first of the seeds.")
@click.option(
    "--steps", type=click.IntRange(min=1), default=500, show_default=True, help="Batches of 128 windows for each head."
)
@add_options(STUDY_OPTIONS)
def train_heads(save: Path, seeds: int, seed: int, steps: int, backbone: Path | None, **study: Any) -> None:
    """Train one head for each corpus, on all the others.

    Of several seeds the one is kept that is best on its own sources; the corpus left out has no say in it.
    """
    from .training import evaluate, heads, readers

    path = resolve_backbone(STUDY_WEIGHTS, backbone=backbone)
    opened = open_study(backbone=path, **study)
    classifier = readers.read_classifier(path)
    results = []

    def tell(trained: "TrainedHead") -> None:
        target = opened.targets[trained.held_out]
        read = [readers.read_with_heads([head]) for head in trained.heads]
        scored = evaluate.score_with_baselines(target, read[trained.best], seeds=read, classifier=classifier)
        results.extend(scored)
        click.echo(f"{target.title}: " + ", ".join(f"{each.system} {each.scores.uar:.1%}" for each in scored) + " UAR")

    config = heads.HeadConfig(seed=seed, steps=steps)
    heads.train_heads(opened, save, backbone=path, config=config, seeds=seeds, on_head=tell)
    files = [path, *(save / f"{name}.pt" for name in opened.targets)]
    tell_results(evaluate.collect(results, opened.targets, weights=files), save / "results")
    click.echo(f"The heads are in {save}, their scores in {save / 'results'}.")


@train.command("classifier")
@click.argument("features", type=PATH, metavar="FEATURES.npz")
@click.argument("labels", type=PATH, metavar="LABELS.csv")
@click.option("--save", type=PATH, default=Path("classifier.npz"), show_default=True, help="File for the classifier.")
@click.option(
    "--recipe",
    default="clip",
    show_default=True,
    metavar="[clip|group]",
    help="What is classified: the primary person of a clip, or everyone in view.",
)
def train_classifier(features: Path, labels: Path, save: Path, recipe: str) -> None:
    """Train a classifier of whole clips, with classes of your own.

    FEATURES.npz is what `emo-affectnet analyze --save-features` writes. LABELS.csv has the columns path and label and,
    if they are known, speaker, start and end (s); the labels may be any words.
    """
    from .feature_files import read_features
    from .training import classifiers

    clips = classifiers.read_clips(labels, read_features(features), recipe=recipe)
    click.echo(f"{len(clips.labels)} labelled clips, {clips.seen.sum()} with a face")
    tell_problems(clips.problems)
    classifier = classifiers.fit_classifier(clips.features, clips.labels, recipe=recipe, origin=clips.origin)
    classifiers.save_classifier(classifier, save)
    counts = ", ".join(f"{classifier.labels.count(name)} {name}" for name in classifier.classes)
    click.echo(f"The classifier is {save}, fitted by the recipe {recipe} on {counts}.")


@train.command("adaptive")
@click.argument("labels", type=PATH, metavar="LABELS.csv")
@click.option("--save", type=PATH, default=Path("adaptive.json"), show_default=True, help="File for the thresholds.")
@click.option(
    "--alpha", type=float, default=0.1, show_default=True, help="Share of videos that may be decided early and wrongly."
)
@click.option("--backbone", metavar="NAME|FILE", help="As in analyze.  [default: the bundled one]")
def train_adaptive(labels: Path, save: Path, alpha: float, backbone: str | None) -> None:
    """Learn from labelled videos when few frames are enough: what `emo-affectnet analyze --adaptive` goes by.

    LABELS.csv has the columns path and emotion; the videos must be others than those the weights were trained on.
    """
    from .recognizer import EmotionRecognizer
    from .training.corpora import read_table
    from .zoo.adaptive import calibrate_clips, write_thresholds

    scan = read_table(labels)
    tell_problems(scan.problems)
    clips = [(clip.path, clip.emotion) for clip in scan.clips if clip.emotion is not None]
    found = calibrate_clips(EmotionRecognizer(backbone=backbone), clips, alpha=alpha)
    write_thresholds(found.thresholds, save)
    for sentence in found.unreadable:
        click.echo(f"Left out: {sentence}")
    for path in found.faceless:
        click.echo(f"Left out, as there is no face in it: {click.format_filename(path)}")
    click.echo(f"The thresholds are {save}, learned from {found.thresholds.held_out} videos.")


def tell_results(result: "EvaluationResult", save: Path, *, system: str | None = None) -> None:
    """Print the table and write it, with a picture of the confusion matrices of `system`, or else of the heads."""
    from .plots import plot_confusions
    from .training.tables import brief_rows, confusion_items, remarks, write_results

    print_table(result.title, brief_rows(result))
    for remark in remarks(result):
        click.echo(remark)
    write_results(result, save)
    plot_confusions(confusion_items(result, system=system or result.results[0].system), save / "confusions.png")
