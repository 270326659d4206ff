"""Temporal heads, each trained on all corpora of a study but one, and named after the one that it never saw.

`train_heads` goes from a `Study` to TorchScript files with their records. No step of a head's training or choice looks
at its held-out corpus. As in `fit.py`, every random draw of a step comes from a generator seeded by (seed, step).
"""

import copy
import warnings
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn

from ..emotions import Emotion
from ..errors import CorpusError, check_name
from ..files import whole_file
from ..models import LSTMHead
from ..timeline import Doubles, Floats, Integers
from ..weights import hash_file, write_record
from .corpora import refuse_judging
from .features import CorpusFeatures, cut_windows, split_speakers
from .fit import has_bfloat16, one_cycle
from .metrics import uar

RARE = 50  # windows of an emotion in a corpus
CHOICE_SHARE = 0.2  # of the speakers of each source; kept apart to choose between seeds
Head = Callable[[Tensor], Tensor]  # windows (W, 10, 512) to probabilities (W, 7)

LICENSE = "that of the recordings and of the backbone they were trained on"


@dataclass(frozen=True)
class HeadConfig:
    """Everything that decides a head beside its data."""

    seed: int = 0
    steps: int = 500
    batch_size: int = 128
    learning_rate: float = 1e-3  # at the peak of one cycle
    warm_up: float = 0.15  # share of the steps before the peak
    weight_decay: float = 0.01
    dropout: float = 0.2  # after each layer, as in the published Keras graph
    feature_noise: float = 0.1  # as a share of the features' root mean square
    smoothing: float = 0.05  # share of a target spread over all classes
    neutral_share: float = 0.45  # of the windows drawn; the other emotions of a corpus share the rest
    average_decay: float = 0.99  # of the averaged weights, per step


@dataclass(frozen=True)
class Study:
    """The corpora of a leave-one-corpus-out study, by name."""

    fitting: Mapping[str, CorpusFeatures]  # what a head learns from, of the corpora that are its sources
    choosing: Mapping[str, CorpusFeatures]  # what chooses between seeds, of its sources; other speakers or faces
    targets: Mapping[str, CorpusFeatures]  # what a head is scored on, of the corpus that it is named after
    evidence: Doubles | None = None  # (7,), how often each emotion deserves to be drawn; None: alike
    license: str = LICENSE


@dataclass(frozen=True, eq=False)
class TrainedHead:
    """The heads of all seeds for one held-out corpus."""

    held_out: str
    heads: tuple[LSTMHead, ...]  # one for each seed
    best: int  # position of the one that is best on the sources


def make_study(corpora: Sequence[CorpusFeatures]) -> Study:
    """Return the study over extracted corpora: a fifth of the speakers of each is kept apart to choose between seeds.

    Raises:
        UsageError: a corpus is for judging only.
        CorpusError: there is only one corpus, or one without a single face.
    """
    refuse_judging(corpus.name for corpus in corpora)
    if len(corpora) < 2:
        raise CorpusError("Leaving one corpus out needs two corpora or more: give another --corpus NAME=FOLDER.")
    for corpus in corpora:
        if not any(len(clip.times) for clip in corpus.clips):
            raise CorpusError(f"No labelled clip of {corpus.name} shows a face: look at it with 'corpora scan'.")
    parts = {corpus.name: split_speakers(corpus, share=CHOICE_SHARE) for corpus in corpora}
    return Study(
        fitting={name: fitting for name, (fitting, _) in parts.items()},
        choosing={name: choosing for name, (_, choosing) in parts.items()},
        targets={corpus.name: corpus for corpus in corpora},
    )


def join_windows(corpora: Sequence[CorpusFeatures]) -> tuple[Floats, Integers, Integers]:
    """Return the windows (W, 10, 512) of several corpora, their labels (W,) and the position of their corpus (W,)."""
    parts = [cut_windows(corpus) for corpus in corpora]
    groups = np.repeat(np.arange(len(parts)), [len(part) for part in parts])
    return np.concatenate([part.features for part in parts]), np.concatenate([part.labels for part in parts]), groups


def balance_draws(
    labels: Integers, groups: Integers, *, neutral_share: float, evidence: Doubles | None = None
) -> Tensor:
    """Return float64 (W,) draw weights: every corpus alike, Neutral its share, the other emotions by their `evidence`.

    An emotion with fewer than RARE windows in a corpus is drawn less: repeating two windows for ever teaches nothing.
    """
    weights = np.zeros(len(labels))
    for group in np.unique(groups):
        inside = groups == group
        counts = np.bincount(labels[inside], minlength=len(Emotion))
        shares = np.minimum(counts / RARE, 1) * (1 if evidence is None else evidence)
        shares[Emotion.Neutral] = 0
        shares *= (1 - neutral_share) / max(float(shares.sum()), 1e-9)
        shares[Emotion.Neutral] = neutral_share * (counts[Emotion.Neutral] > 0)
        weights[inside] = (shares / np.maximum(counts, 1))[labels[inside]]
    return torch.from_numpy(weights)


def _training_loss(head: LSTMHead, windows: Tensor, labels: Tensor, config: HeadConfig) -> Tensor:
    x = head.lstm1(windows)[0]  # (B, 10, 512)
    x = head.lstm2(F.dropout(x, config.dropout))[0]  # (B, 10, 256)
    logits = head.fc(F.dropout(x[:, -1], config.dropout))  # (B, 7)
    return F.cross_entropy(logits.float(), labels, label_smoothing=config.smoothing)


def fit_head(
    windows: Floats,
    labels: Integers,
    *,
    groups: Integers | None = None,
    evidence: Doubles | None = None,
    config: HeadConfig | None = None,
    on_step: Callable[[int, float], None] = lambda step, loss: None,
) -> LSTMHead:
    """Train a head on windows (W, 10, 512) and return its averaged weights.

    `groups` (W,) are drawn equally often, and the emotions in each by their `evidence` (7,), or alike without it.
    """
    config = config or HeadConfig()
    torch.manual_seed(config.seed)
    head = LSTMHead()
    average = get_ema_multi_avg_fn(config.average_decay)  # type: ignore[no-untyped-call]  # torch has no types here
    averaged = AveragedModel(head, multi_avg_fn=average)
    optimizer = torch.optim.AdamW(head.parameters(), weight_decay=config.weight_decay, fused=True)
    groups = np.zeros_like(labels) if groups is None else groups
    weights = balance_draws(labels, groups, neutral_share=config.neutral_share, evidence=evidence)
    noise = config.feature_noise * float(np.sqrt(np.square(windows[:1000]).mean()))
    for step in range(config.steps):
        torch.manual_seed(config.seed * 1_000_003 + step)
        rows = torch.multinomial(weights, config.batch_size, replacement=True).numpy()
        x = torch.from_numpy(windows[rows])  # (B, 10, 512)
        x = (x + noise * torch.randn_like(x)).clamp(min=0)
        with torch.autocast("cpu", torch.bfloat16, enabled=has_bfloat16()):
            loss = _training_loss(head, x, torch.from_numpy(labels[rows]), config)
        rate = one_cycle(step, steps=config.steps, peak=config.learning_rate, warm_up=config.warm_up)
        optimizer.param_groups[0]["lr"] = rate
        optimizer.zero_grad(set_to_none=True)
        loss.backward()  # type: ignore[no-untyped-call]  # torch has no types here
        nn.utils.clip_grad_norm_(head.parameters(), 1.0)
        optimizer.step()
        averaged.update_parameters(head)
        on_step(step, loss.item())
    head.load_state_dict(averaged.module.state_dict())
    return head.eval()


def predict_windows(head: Head, windows: Floats) -> Floats:
    """Return the probabilities, float32 (W, 7), of windows (W, 10, 512)."""
    with torch.inference_mode():
        batches = [head(torch.from_numpy(windows[start : start + 512])) for start in range(0, len(windows), 512)]
    probabilities: Floats = torch.cat([torch.empty(0, len(Emotion)), *batches]).numpy()
    return probabilities


def export_head(head: LSTMHead, path: Path) -> None:
    """Write a head as TorchScript with fp16 weights; `torch.jit.load(path).float()` computes in fp32 again."""
    with whole_file(path) as partial, warnings.catch_warnings():
        # TorchScript is the published format of the heads, whatever torch recommends for new ones.
        warnings.filterwarnings("ignore", r"`torch\.jit\.\w+` is deprecated", DeprecationWarning)
        torch.jit.save(torch.jit.script(copy.deepcopy(head)).half(), partial)


def leave_out(corpora: Mapping[str, CorpusFeatures], held_out: str) -> list[CorpusFeatures]:
    """Return all corpora but the held-out one.

    Raises:
        UnknownName: there is no corpus `held_out`.
    """
    check_name("corpus", held_out, corpora)
    return [corpus for name, corpus in corpora.items() if name != held_out]


def choose_head(heads: Sequence[LSTMHead], corpora: Sequence[CorpusFeatures]) -> int:
    """Return the position of the head with the best mean UAR over the windows of `corpora`, which are sources."""
    parts = [part for part in map(cut_windows, corpora) if len(part)]
    scores = [
        np.mean([uar(part.labels, predict_windows(head, part.features).argmax(axis=1)) for part in parts])
        for head in heads
    ]
    return int(np.argmax(scores))


def train_heads(
    study: Study,
    save: Path,
    *,
    backbone: Path,
    config: HeadConfig | None = None,
    seeds: int = 3,
    on_head: Callable[[TrainedHead], None] = lambda trained: None,
) -> dict[str, TrainedHead]:
    """Train a head for each corpus that is left out; write `save`/<corpus>.pt with its record; return all by corpus.

    Of `seeds` heads the one that is best on its own sources is kept, by speakers or faces set aside for that.
    `backbone` is the file whose features they are.
    """
    config = config or HeadConfig()
    save.mkdir(parents=True, exist_ok=True)
    trained = {}
    for name in study.targets:
        windows, labels, groups = join_windows(leave_out(study.fitting, name))
        configs = [replace(config, seed=config.seed + offset) for offset in range(seeds)]
        heads = [fit_head(windows, labels, groups=groups, evidence=study.evidence, config=seeded) for seeded in configs]
        best = choose_head(heads, leave_out(study.choosing, name)) if seeds > 1 else 0
        trained[name] = TrainedHead(name, tuple(heads), best)
        _save_head(trained[name], save / f"{name}.pt", study=study, backbone=backbone)
        on_head(trained[name])
    return trained


def _save_head(trained: TrainedHead, path: Path, *, study: Study, backbone: Path) -> None:
    export_head(trained.heads[trained.best], path)
    sources = leave_out(study.targets, trained.held_out)
    write_record(
        path,
        name=trained.held_out,
        kind="head",
        license=study.license,
        trained_on=tuple(corpus.title for corpus in sources),
        held_out=trained.held_out,
        backbone_sha256=hash_file(backbone),
        policies={f"{corpus.name}.{name}": choice for corpus in sources for name, choice in corpus.policies.items()},
    )
