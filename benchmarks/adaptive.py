"""Print what an adaptive frame rate gains on the simulated corpora: score beside share of the samples looked at.

Thresholds are learned on the clips of the study that choose between seeds and are scored on its targets, beside fixed
strides and beside the whole road. At coarse strides a sample's probabilities are those of the backbone's own last
layer; a clip that they do not decide goes through the head that never saw its corpus, as in `analyze`. Most of these
clips are made to show their emotion best in their middle, where the coarsest level looks: on recordings, expect less.

    python benchmarks/adaptive.py ../shared/data --thresholds weights/bundled/adaptive.json
"""

from collections.abc import Mapping
from dataclasses import dataclass
from math import isfinite
from pathlib import Path
from typing import Any

import click
import numpy as np
from measurement import ROOT, write_figures

from emo_affectnet.emotions import Emotion
from emo_affectnet.networks import load_head
from emo_affectnet.timeline import Doubles, Integers
from emo_affectnet.training.features import ClipFeatures, CorpusFeatures, track_windows
from emo_affectnet.training.heads import predict_windows
from emo_affectnet.training.metrics import NO_FACE, uar, war
from emo_affectnet.training.readers import Classifier, read_classifier
from emo_affectnet.training.stills import simulate_study
from emo_affectnet.weight_sets import resolve, resolve_backbone
from emo_affectnet.weights import hash_file
from emo_affectnet.zoo.adaptive import (
    BUDGETS,
    STRIDES,
    Thresholds,
    calibrate,
    choose_samples,
    decide,
    write_thresholds,
)

ALPHAS = (0.02, 0.05, 0.1, 0.2, 0.3)
FIXED = (16, 8, 4, 2, 1)  # strides
WHOLE = Thresholds((2, 1), (float("inf"),), alpha=0.5, held_out=1)  # which nothing reaches
WRITTEN = ("step-up", 0.1)  # budget and alpha of the thresholds that go into a file


@dataclass(frozen=True, eq=False)
class Judged:
    """The clips of several corpora, each sample judged by itself."""

    probabilities: list[Doubles]  # (T, 7) of each clip, NaN where no face was found
    whole: Doubles  # (N, 7), by the head that never saw the clip's corpus; NaN where no face was found
    labels: Integers  # (N,)
    corpora: tuple[str, ...]

    def score_levels(self, strides: tuple[int, ...]) -> list[Doubles]:
        """Return the mean probabilities (N, 7) at each stride, NaN where no face was found."""
        rows = [choose_samples(len(clip), strides) for clip in self.probabilities]
        return [
            np.stack([average(clip[row[level]]) for clip, row in zip(self.probabilities, rows, strict=True)])
            for level in range(len(strides))
        ]


def average(probabilities: Doubles) -> Doubles:
    """Return the mean (7,) over the samples (T, 7) with a face; NaN if there is none."""
    seen = probabilities[~np.isnan(probabilities[:, 0])]
    return np.asarray(seen.mean(axis=0)) if len(seen) else np.full(len(Emotion), np.nan)


def judge(corpora: Mapping[str, CorpusFeatures], classifier: Classifier, heads: Mapping[str, Path]) -> Judged:
    """Pool the clips of all corpora."""
    whole: list[Doubles] = []
    for name, corpus in corpora.items():
        head = load_head(heads[name])
        windows = (predict_windows(head, track_windows(clip).features) for clip in corpus.clips)
        whole += [average(each.astype(np.float64)) for each in windows]

    def judge_clip(clip: ClipFeatures) -> Doubles:
        probabilities = np.full((int(clip.frame_indices[-1]) + 1, len(Emotion)), np.nan)
        probabilities[clip.frame_indices] = classifier(clip.features)
        return probabilities

    clips = [clip for corpus in corpora.values() for clip in corpus.clips]
    labels = np.array([clip.label for clip in clips], np.int64)
    titles = tuple(corpus.title for corpus in corpora.values())
    return Judged([judge_clip(clip) for clip in clips], np.stack(whole), labels, titles)


def measure(judged: Judged, thresholds: Thresholds) -> dict[str, Any]:
    """Return what the thresholds make of the clips; a single stride is an average at that stride."""
    found, reached, looked = [], [], 0
    levels_of_scores = judged.score_levels(thresholds.strides)
    if thresholds.thresholds:
        levels_of_scores[-1] = judged.whole
    for clip, *scores in zip(judged.probabilities, *levels_of_scores, strict=True):
        decision = decide(scores, thresholds, count=len(clip))
        answer = np.asarray(decision.scores)
        found.append(NO_FACE if np.isnan(answer[0]) else int(answer.argmax()))
        reached.append(decision.level)
        looked += len(choose_samples(len(clip), thresholds.strides)[decision.level])
    predicted, level, levels = np.array(found), np.array(reached), range(len(thresholds.strides))
    is_wrong = predicted != judged.labels
    return {
        "strides": thresholds.strides,
        "uar": round(uar(judged.labels, predicted), 4),
        "accuracy": round(war(judged.labels, predicted), 4),
        "share_of_samples": round(looked / sum(map(len, judged.probabilities)), 4),
        "answered": [round(float((level == each).mean()), 4) for each in levels],
        "answered_wrongly": [round(float(((level == each) & is_wrong).mean()), 4) for each in levels],
    }


def learn(judged: Judged, *, budget: str, alpha: float, backbone: Path) -> Thresholds:
    """Return thresholds learned on the clips."""
    return calibrate(
        judged.score_levels(STRIDES),
        judged.labels,
        strides=STRIDES,
        alpha=alpha,
        budget=budget,
        backbone_sha256=hash_file(backbone),
        calibrated_on=judged.corpora,
    )


def tell(row: dict[str, Any]) -> None:
    """Print one line of the table."""
    name = f"{row['budget']} {row['alpha']:g}" if "budget" in row else row["name"]
    shares = " / ".join(f"{share:.1%}" for share in row["answered"])
    click.echo(f"{name:14}{row['uar']:>8.1%}{row['accuracy']:>10.1%}{row['share_of_samples']:>10.1%}   {shares}")


@click.command()
@click.argument("data", type=click.Path(path_type=Path, exists=True))
@click.option("--clips", default=800, show_default=True, help="Clips of each simulated target; a quarter to learn on.")
@click.option("--cache", type=click.Path(path_type=Path), default=ROOT / "runs" / "features", help="Keeps features.")
@click.option("--thresholds", type=click.Path(path_type=Path), help="Write the learned thresholds to this file.")
def main(data: Path, clips: int, cache: Path, thresholds: Path | None) -> None:
    """Measure the adaptive frame rate on clips simulated from the FER+ faces in DATA."""
    backbone = resolve_backbone()
    study, classifier = simulate_study(backbone, data, cache, clips=clips), read_classifier(backbone)
    heads = resolve().heads
    held_out, targets = judge(study.choosing, classifier, heads), judge(study.targets, classifier, heads)
    click.echo(f"{'':14}{'UAR':>8}{'accuracy':>10}{'samples':>10}   answered by stride {', '.join(map(str, STRIDES))}")
    rows = [{"name": "whole road"} | measure(targets, WHOLE)]
    for stride in FIXED:
        rows.append({"name": f"stride {stride}"} | measure(targets, Thresholds((stride,), (), alpha=0.5, held_out=1)))
    for budget in BUDGETS:
        for alpha in ALPHAS:
            learned = learn(held_out, budget=budget, alpha=alpha, backbone=backbone)
            values = [value if isfinite(value) else None for value in learned.thresholds]  # JSON has no infinity
            row = {"budget": budget, "alpha": alpha, "thresholds": values}
            rows.append(row | measure(targets, learned))
    for row in rows:
        tell(row)
    if thresholds:
        budget, alpha = WRITTEN
        write_thresholds(learn(held_out, budget=budget, alpha=alpha, backbone=backbone), thresholds)
    figures = {"clips": len(targets.labels), "learned_on": len(held_out.labels), "corpora": targets.corpora}
    click.echo(f"Figures: {write_figures('adaptive', **figures, adaptive=rows)}")


if __name__ == "__main__":
    main()
