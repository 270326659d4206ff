"""The commands that measure weights: on corpora, on your own clips, on faces.

As in `cli`, each command parses, makes one API call and prints what came. Everything here needs the extra [train].
"""

from collections.abc import Callable, Mapping, Sequence
from itertools import product
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
from click.core import ParameterSource

from .cli_terminal import ENGINE_NAMES, PATH, PRECISION_NAMES, add_options, print_table
from .cli_training import (
    CACHE_OPTIONS,
    STUDY_OPTIONS,
    extract_corpora,
    read_policies,
    scan_corpora,
    show_bar,
    tell_problems,
    tell_results,
)
from .emotions import Emotion
from .errors import UsageError
from .weight_sets import DEFAULT_WEIGHTS, STUDY_WEIGHTS, WEIGHTS, find_heads, find_in, resolve, resolve_backbone
from .weights import hash_file, verify

if TYPE_CHECKING:
    from .training.corpora.clip import Problem
    from .training.evaluate import FaceScores
    from .training.features import CorpusFeatures
    from .training.real import RealEvaluation

AFFECTNET_VALID = 3500  # images with one of the seven emotions, 500 of each


WEIGHTS_OPTION = click.option(
    "--weights", type=click.Choice(tuple(WEIGHTS)), default=DEFAULT_WEIGHTS, show_default=True, help="Weight set."
)


@click.group()
def evaluate() -> None:
    """Measure weights (needs the extra: pip install 'emo-affectnet[train]')."""


@evaluate.command("loco")
@click.option("--heads", type=PATH, help="Folder with a head for each corpus.  [default: those of the set bundled]")
@click.option("--save", type=PATH, default=Path("results"), show_default=True, help="Folder for tables and pictures.")
@add_options(STUDY_OPTIONS)
def evaluate_loco(heads: Path | None, save: Path, backbone: Path | None, **study: Any) -> None:
    """Score each head on the corpus that it is named after and never saw, beside two baselines."""
    from .training import evaluate

    path = resolve_backbone(STUDY_WEIGHTS, backbone=backbone)
    find_head = find_in(heads) if heads else WEIGHTS[STUDY_WEIGHTS]
    targets = _open_targets(find_head=find_head, backbone=path, **study)
    tell_results(evaluate.evaluate_loco(targets, find_head=find_head, backbone=path), save)
    click.echo(f"Tables, pictures and all counts are in {save}.")


def _open_targets(
    *,
    find_head: Callable[[str], Path],
    roots: Sequence[str],
    policies: Sequence[str],
    data: Path | None,
    clips: int,
    **reading: Any,
) -> "Mapping[str, CorpusFeatures]":
    """Return the corpora to score on, one or more; a head that is missing is told before any video is read."""
    from .training.stills import simulate_study

    scans = scan_corpora(roots, policies, data=data)
    if data is not None:
        return simulate_study(reading["backbone"], data, reading["cache"], clips=clips).targets
    for scan in scans:
        verify(find_head(scan.corpus))
    return {corpus.name: corpus for corpus in extract_corpora(scans, **reading)}


@evaluate.command("clips")
@click.argument("labels", type=PATH, metavar="LABELS.csv")
@click.option("--save", type=PATH, default=Path("results"), show_default=True, help="Folder for tables and pictures.")
@click.option("--head-file", type=PATH, help="A head file instead of the set's own heads.")
@click.option("--classifier", type=PATH, help="Score a classifier, from `train classifier`, instead of the weights.")
@click.option("--features", type=PATH, help="With --classifier: the saved features of the clips.")
@click.option("--by", multiple=True, metavar="COLUMN", help="Scores for each value of this column of LABELS.csv too.")
@WEIGHTS_OPTION
@add_options(CACHE_OPTIONS)
def evaluate_clips(
    labels: Path,
    save: Path,
    weights: str,
    head_file: Path | None,
    classifier: Path | None,
    features: Path | None,
    by: tuple[str, ...],
    **options: Any,
) -> None:
    """Score the weights on your own clips, listed in LABELS.csv: path, emotion and, if known, speaker, start, end.

    Each score is given with all seven answers, and with Neutral left out. LABELS.csv may have further columns; --by
    cuts numbers with many values at their quartiles.

    With --classifier, the labels may be any words in a column label.
    """
    if classifier and features:
        _refuse_options("head_file", "by", *options, reason="--classifier reads saved features and needs no weights")
        _evaluate_classifier(labels, save, classifier=classifier, features=features)
        return
    if classifier or features:
        raise UsageError("--classifier and --features go together: the file of a classifier, and features to score.")

    from .training import clip_tables, evaluate
    from .training.corpora import read_table

    path = resolve_backbone(weights, backbone=options["backbone"])
    scan, columns = read_table(labels), [column.casefold() for column in by]
    for column in columns:
        clip_tables.split_clips(scan.clips, column)  # raises before any video is read
    (corpus,) = extract_corpora([scan], **{**options, "backbone": path})
    files = [head_file] if head_file else list(resolve(weights).heads.values())
    reader = "one head" if head_file else f"mean over the heads of {weights}" if files else "averaged faces"
    title = f"{corpus.name}: {reader}"
    with show_bar("Reading clips with the heads") as on_progress:
        found = evaluate.evaluate_clips(
            corpus, heads=files, backbone=path, title=title, by=columns, on_progress=on_progress
        )
    tell_results(found.result, save)
    for column in columns:
        parts = [part for part in found.parts if part.column == column]
        print_table(f"By {column}", clip_tables.part_rows(parts))
    if columns:
        clip_tables.write_parts(found.parts, save / "by_column.csv")
    clip_tables.write_clips(found.clips, found.readings, save / "clips.csv")
    click.echo(f"Tables, pictures, all counts and a row for each clip (clips.csv) are in {save}.")


@evaluate.command("real")
@click.argument("folder", type=PATH)
@click.option("--save", type=PATH, default=Path("results"), show_default=True, help="Folder for tables and pictures.")
@click.option("--heads", type=PATH, help="Folder with the heads to average.  [default: those of the set]")
@WEIGHTS_OPTION
@add_options(CACHE_OPTIONS)
def evaluate_real(
    folder: Path, save: Path, heads: Path | None, weights: str, backbone: Path | None, **reading: Any
) -> None:
    """Score the weights on real people: FOLDER holds PEDFE, as clips.csv and what it lists.

    The tables are those of MODEL_CARD.md: with seven and six answers, with and without a baseline, beside human raters
    and, with FOLDER/py_feat.csv, beside py-feat. They also show how far `agreement` can be trusted.
    """
    from .plots import plot_lines, plot_trust
    from .training import real, real_tables
    from .training.corpora import read_table

    path = resolve_backbone(weights, backbone=backbone)
    files = find_heads(heads) if heads else resolve(weights).heads
    (corpus,) = extract_corpora([read_table(real.find_table(folder))], backbone=path, **reading)
    with show_bar("Reading clips with the heads") as on_progress:
        found = real.evaluate_real(
            corpus, folder=folder, heads=list(files.values()), backbone=path, on_progress=on_progress
        )
    _print_real(found)
    real_tables.write_real(found, save, weights={file.name: hash_file(file) for file in (path, *files.values())})
    plot_lines(real_tables.curve_lines(found), save / "curve.png", x="other clips of the person", y="UAR, %")
    shown = [each.separation for each in real_tables.list_shown(found)]
    plot_trust([(each.measure, each.bins) for each in shown], save / "trust.png")
    click.echo(f"Tables, pictures, all figures and a row for each clip are in {save}.")


def _print_real(found: "RealEvaluation") -> None:
    from .training import real_tables

    print_table(real_tables.describe(found), real_tables.score_rows(found))
    if found.leads:
        print_table("Lead of the heads over averaged faces, in points of UAR", real_tables.lead_rows(found))
    print_table("UAR by how many other clips of the person are known", real_tables.curve_rows(found))
    print_table("UAR of the emotion of a clip and of its peak", real_tables.answer_rows(found))
    print_table("How well a value separates right answers from wrong ones", real_tables.trust_rows(found))
    print_table("Clips, and the share of right answers of seven, as it is, by value", real_tables.right_rows(found))
    for remark in real_tables.remarks(found):
        click.echo(remark)


def _refuse_options(*names: str, reason: str) -> None:
    """Raise UsageError if one of the named options was given, as it would change nothing."""
    context = click.get_current_context()
    given = [
        option.opts[0]
        for option in context.command.params
        if option.name in names and context.get_parameter_source(option.name) is ParameterSource.COMMANDLINE
    ]
    if given:
        raise UsageError(f"{reason}: leave out {', '.join(given)}.")


def _evaluate_classifier(labels: Path, save: Path, *, classifier: Path, features: Path) -> None:
    from .feature_files import read_features
    from .training import clip_scores
    from .training.classifiers import load_classifier

    scored = clip_scores.score_classifier(load_classifier(classifier), labels, file=read_features(features))
    click.echo(f"{len(scored.clips.labels)} labelled clips, {scored.clips.seen.sum()} with a face")
    tell_problems(scored.clips.problems)
    if scored.has_emotions:
        tell_results(clip_scores.to_evaluation(scored, path=classifier), save, system=clip_scores.CLASSIFIER)
    else:
        print_table(clip_scores.describe(scored.classifier), clip_scores.score_rows(scored))
        for remark in clip_scores.remarks(scored):
            click.echo(remark)
    print_table("Counts: truth by row, prediction by column", clip_scores.count_rows(scored))
    clip_scores.write_predictions(scored, save / "predictions.csv")
    click.echo(f"What was predicted for each clip is in {save / 'predictions.csv'}.")


@evaluate.command("compare")
@click.argument("a", type=PATH)
@click.argument("b", type=PATH)
def compare(a: Path, b: Path) -> None:
    """Compare two results.json of the same items: the difference of their UAR, by a paired bootstrap."""
    from .training.results import compare_results, read_results
    from .training.tables import comparison_rows

    print_table("b against a", comparison_rows(compare_results(read_results(a), read_results(b))))


_BACKBONE_OPTIONS = (
    click.option(
        "--backbone", "backbones", type=PATH, multiple=True, help="Backbones to score.  [default: the bundled one]"
    ),
    click.option(
        "--engine",
        "engines",
        type=click.Choice(ENGINE_NAMES),
        multiple=True,
        default=("torch",),
        show_default=True,
        help="What runs them; may be given twice, to compare: tensorflow runs the original Keras graph.",
    ),
    click.option(
        "--precision",
        "precisions",
        type=click.Choice(PRECISION_NAMES),
        multiple=True,
        default=("fp32",),
        show_default=True,
        help="In which they compute; may be given twice, to compare.",
    ),
    click.option("--save", type=PATH, help="Picture of the confusion matrices to write."),
)


@evaluate.command("faces")
@click.argument("root", type=PATH)
@click.option("--corpus", default="FER+", show_default=True, help="What is in ROOT: a corpus of face images.")
@click.option("--policy", "policies", multiple=True, metavar="NAME=CHOICE", help="How to read what is open.")
@click.option("--split", help="As the corpus divides itself.  [default: all]")
@add_options(_BACKBONE_OPTIONS)
def evaluate_faces(root: Path, corpus: str, **options: Any) -> None:
    """Score backbones on the labelled faces in the folder ROOT: the seven emotions, one view of each face."""
    _evaluate_faces(corpus, root, **options)


@evaluate.command("affectnet")
@click.argument("root", type=PATH)
@add_options(_BACKBONE_OPTIONS)
def evaluate_affectnet(root: Path, **options: Any) -> None:
    """Score backbones on the 3,500 validation images of AffectNet in the folder ROOT, as the study did.

    The study's check of four models is: --backbone weights_0_66_49_wo_gl.h5 --backbone weights_0_66_37_wo_gl.h5
    --engine tensorflow --engine torch.
    """
    count = _evaluate_faces("AffectNet", root, policies=(), split="valid", **options)
    if count != AFFECTNET_VALID:
        click.echo(f"The check is on {AFFECTNET_VALID} images, 500 of each emotion; here are {count}.")


def _evaluate_faces(
    corpus: str,
    root: Path,
    *,
    policies: tuple[str, ...],
    split: str | None,
    backbones: tuple[Path, ...],
    engines: tuple[str, ...],
    precisions: tuple[str, ...],
    save: Path | None,
) -> int:
    """Return how many faces were scored."""
    from .training.corpora import scan
    from .training.evaluate import evaluate_faces as evaluate
    from .training.evaluate import open_images

    found = scan(corpus, root, read_policies(policies))
    problems: list[Problem] = []
    scores = []
    for path, engine, precision in product(backbones or (resolve_backbone(),), engines, precisions):
        problems.clear()
        images = open_images(found, split=split, tell=problems.append)
        scores.append(evaluate(path, images, engine=engine, precision=precision))
    _tell_faces(f"{corpus}, {split or 'all splits'}", scores, save)
    tell_problems([*found.problems, *problems])
    return scores[0].scores.count


def _tell_faces(title: str, scored: "Sequence[FaceScores]", save: Path | None) -> None:
    """Print one column of figures for each backbone and, for a single one, its confusion matrix."""
    from .plots import plot_confusions

    names = [each.name for each in scored]
    rows: list[tuple[str, ...]] = [("", *names)]
    rows.append(("faces, all scored", *(str(each.scores.count) for each in scored)))
    rows.append(("accuracy (WAR)", *(f"{each.scores.war:.1%}" for each in scored)))
    rows.append(("UAR", *(f"{each.scores.uar:.1%}" for each in scored)))
    for emotion in Emotion:
        recalls = [each.scores.recalls[emotion] for each in scored]
        rows.append((f"recall {emotion.name}", *("" if recall is None else f"{recall:.1%}" for recall in recalls)))
    rows.append(("calibration error", *(f"{each.calibration_error:.1%}" for each in scored)))
    before = ("" if each.uncalibrated_error is None else f"{each.uncalibrated_error:.1%}" for each in scored)
    rows.append(("... without the temperature", *before))
    print_table(title, rows)
    if len(scored) == 1:
        emotions = [emotion.name for emotion in Emotion]
        counts = [
            (name, *map(str, row)) for name, row in zip(emotions, scored[0].confusion[:, : len(Emotion)], strict=True)
        ]
        print_table("Counts: truth by row, prediction by column", [("", *emotions), *counts])
    if save:
        titles = [f"{each.name}: {title}\nUAR {each.scores.uar:.1%} · WAR {each.scores.war:.1%}" for each in scored]
        plot_confusions([(name, each.confusion) for name, each in zip(titles, scored, strict=True)], save)
        click.echo(f"The picture is {save}.")
