"""Six temporal heads, each trained on five simulated corpora and named after the one that it never saw.

`train_heads` goes the whole way from a backbone file and labelled faces to TorchScript files and their scores; each
step of it is public. No step of a head's training or choice looks at its held-out corpus. As in `fit.py`, every random
draw of a step comes from a generator seeded by (seed, step).
"""

import copy
import hashlib
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
from ..engines import read_backbone
from ..errors import check_name
from ..files import whole_file
from ..models import LSTMHead, ResNet50
from ..timeline import Doubles, Floats, Integers
from ..weights import CORPUS_NAMES, Preprocessing, hash_file, read_preprocessing, write_record
from .augment import augment
from .corpora import FERPLUS_LICENSE, FaceImages, read_ferplus
from .fit import has_bfloat16, one_cycle, run_on_faces
from .metrics import uar
from .simulate import FaceFeatures, SimulatedCorpus, cut_windows, simulate_corpus

CLEAR_SHARE = 0.65  # of the votes, for an expressive face to build on
RARE = 50  # windows of an emotion in a corpus
CHOICE_SHARE = 0.1  # of the training faces; kept apart to choose between seeds


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
    balance: float = 0.5  # ... in proportion to their number of faces to this power
    average_decay: float = 0.99  # of the averaged weights, per step


@dataclass(frozen=True)
class HeadScore:
    """What a head makes of the simulated corpus that it never saw, clip by clip, beside two baselines."""

    held_out: str
    seed: int
    clips: int
    classes: int  # that occur in the corpus
    uar_head: float  # of the summed window probabilities
    uar_average: float  # of the backbone's own softmax, averaged over the samples
    uar_majority: float  # of the most frequent emotion


@dataclass(frozen=True)
class Classifier:
    """The backbone's own last layer, which reads one face at a time."""

    weight: Floats  # float32 (7, 512)
    bias: Floats  # float32 (7,)


def select_clear(faces: FaceImages, *, share: float, limit: int, seed: int = 0) -> FaceImages:
    """Return at most `limit` faces of each emotion whose label has at least `share` of the votes.

    Neutral needs only half of them: a head must know the resting faces that look a little like something else.
    """
    votes = faces.targets[np.arange(len(faces)), faces.labels]
    clear = votes >= np.where(faces.labels == Emotion.Neutral, 0.5, share)
    order = np.random.default_rng(seed).permutation(len(faces))
    rows = np.concatenate([order[clear[order] & (faces.labels[order] == emotion)][:limit] for emotion in Emotion])
    return FaceImages(faces.images[rows], faces.targets[rows], faces.labels[rows])


def extract_faces(
    model: ResNet50, faces: FaceImages, preprocessing: Preprocessing, *, views: int = 2000, seed: int = 0
) -> FaceFeatures:
    """Return the features of every face, and how a second random view changes those of `views` of them."""
    features = run_on_faces(model.features, faces.images, preprocessing)
    torch.manual_seed(seed)
    rows = torch.randperm(len(faces))[:views].numpy()
    viewed = augment(torch.from_numpy(faces.images[rows])[:, None], size=preprocessing.input_size)[:, 0].numpy()
    variation = run_on_faces(model.features, viewed.astype(np.uint8), preprocessing) - features[rows]
    return FaceFeatures(features, faces.labels, variation)


def join_windows(corpora: Sequence[SimulatedCorpus]) -> tuple[Floats, Integers, Integers]:
    """Return the windows (W, 10, 512) of several corpora, their labels (W,) and the position of their corpus (W,)."""
    parts = [cut_windows(corpus) for corpus in corpora]
    groups = np.repeat(np.arange(len(parts)), [len(part) for part in parts])
    return np.concatenate([part.features for part in parts]), np.concatenate([part.labels for part in parts]), groups


def weigh_evidence(faces: FaceFeatures, *, balance: float) -> Doubles:
    """Return float64 (7,): how often each emotion deserves to be drawn, 1 for the one with most faces.

    FER+ has twenty times as many clear faces of Anger as of Disgust. Drawn alike, the few would be known by heart, and
    every furrowed brow read as Disgust.
    """
    counts = np.bincount(faces.labels, minlength=len(Emotion))
    weights: Doubles = (counts / counts.max()) ** balance
    return weights


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


def predict_windows(head: LSTMHead, windows: Floats) -> Floats:
    """Return the probabilities, float32 (W, 7), of windows (W, 10, 512)."""
    with torch.inference_mode():
        batches = [head(torch.from_numpy(windows[start : start + 512])) for start in range(0, len(windows), 512)]
    probabilities: Floats = torch.cat(batches).numpy()
    return probabilities


def predict_clips(head: LSTMHead, corpus: SimulatedCorpus) -> Integers:
    """Return the emotion of each clip, int64 (clips,): that of the summed window probabilities."""
    windows = cut_windows(corpus)
    total: Doubles = np.zeros((len(corpus.clips), len(Emotion)))
    np.add.at(total, windows.clips, predict_windows(head, windows.features))
    emotions: Integers = total.argmax(axis=1)
    return emotions


def average_frames(classifier: Classifier, corpus: SimulatedCorpus) -> Integers:
    """Return the emotion of each clip, int64 (clips,): that of the classifier's softmax averaged over the samples."""
    weight, bias = torch.from_numpy(classifier.weight), torch.from_numpy(classifier.bias)
    clips = [torch.softmax(F.linear(torch.from_numpy(clip.features), weight, bias), dim=1) for clip in corpus.clips]
    return np.array([int(probabilities.mean(dim=0).argmax()) for probabilities in clips], dtype=np.int64)


def evaluate_head(head: LSTMHead, corpus: SimulatedCorpus, *, classifier: Classifier, seed: int = 0) -> HeadScore:
    """Score a head on the simulated corpus that it never saw, made from faces that it never saw either."""
    truth = corpus.labels
    majority = np.full_like(truth, np.bincount(truth).argmax())
    return HeadScore(
        held_out=corpus.name,
        seed=seed,
        clips=len(truth),
        classes=len(np.unique(truth)),
        uar_head=uar(truth, predict_clips(head, corpus)),
        uar_average=uar(truth, average_frames(classifier, corpus)),
        uar_majority=uar(truth, majority),
    )


def source_corpora(corpora: Mapping[str, SimulatedCorpus], held_out: str) -> list[SimulatedCorpus]:
    """Return all corpora but the held-out one.

    Raises:
        UnknownName: there is no corpus `held_out`.
    """
    check_name("simulated corpus", held_out, corpora)
    return [corpus for name, corpus in corpora.items() if name != held_out]


def export_head(head: LSTMHead, path: Path) -> None:
    """Write a head as TorchScript with fp16 weights; `torch.jit.load(path).float()` computes in fp32 again."""
    with whole_file(path) as partial, warnings.catch_warnings():
        # TorchScript is the published format of the heads, whatever torch recommends for new ones.
        warnings.filterwarnings("ignore", r"`torch\.jit\.\w+` is deprecated", DeprecationWarning)
        torch.jit.save(torch.jit.script(copy.deepcopy(head)).half(), partial)


def read_features(
    backbone: Path, data: Path, cache: Path, *, split: str, preprocessing: Preprocessing, limit: int
) -> FaceFeatures:
    """Return the features of at most `limit` clear faces per emotion of a FER+ split, from the cache if they are there.

    The cache is keyed by the backbone's bytes, its preprocessing, the split and the limit.
    """
    settings = repr((hash_file(backbone), preprocessing, split, limit, CLEAR_SHARE))
    path = cache / f"faces-{split}-{hashlib.sha256(settings.encode()).hexdigest()[:16]}.npz"
    if not path.is_file():
        chosen = select_clear(read_ferplus(data, split), share=CLEAR_SHARE, limit=limit)
        faces = extract_faces(read_backbone(backbone), chosen, preprocessing)
        cache.mkdir(parents=True, exist_ok=True)
        with whole_file(path) as partial:
            np.savez(partial, features=faces.features, labels=faces.labels, variation=faces.variation)
    with np.load(path) as arrays:
        return FaceFeatures(arrays["features"], arrays["labels"], arrays["variation"])


def split_faces(faces: FaceFeatures, *, share: float, seed: int = 0) -> tuple[FaceFeatures, FaceFeatures]:
    """Return the faces in two parts, the second with `share` of them and at least one face of every emotion."""
    order = np.random.default_rng(seed).permutation(len(faces))
    by_emotion = [order[faces.labels[order] == emotion] for emotion in np.unique(faces.labels)]
    second = np.concatenate([rows[: max(round(share * len(rows)), 1)] for rows in by_emotion])
    first = np.setdiff1d(order, second)
    return (
        replace(faces, features=faces.features[first], labels=faces.labels[first]),
        replace(faces, features=faces.features[second], labels=faces.labels[second]),
    )


def simulate_all(faces: FaceFeatures, *, clips: int, seed: int) -> dict[str, SimulatedCorpus]:
    """Return all six simulated corpora, by name."""
    return {name: simulate_corpus(name, faces, clips=clips, seed=seed) for name in CORPUS_NAMES}


def choose_head(heads: Sequence[LSTMHead], corpora: Sequence[SimulatedCorpus]) -> int:
    """Return the position of the head with the best mean UAR over `corpora`, none of which may be its held-out one."""
    scores = [np.mean([uar(corpus.labels, predict_clips(head, corpus)) for corpus in corpora]) for head in heads]
    return int(np.argmax(scores))


def train_heads(
    backbone: Path,
    data: Path,
    save: Path,
    *,
    cache: Path,
    config: HeadConfig | None = None,
    seeds: int = 1,
    clips: int = 800,
    limit: int = 2500,
    on_score: Callable[[HeadScore], None] = lambda score: None,
) -> list[HeadScore]:
    """Train the six heads on simulated corpora; write `save`/<corpus>.pt and its record for each; return their scores.

    Of `seeds` heads for each held-out corpus the one that is best on its own five sources is kept, by faces of the
    training split that were set aside for it. Scores are on corpora simulated from at most `limit` faces per emotion of
    the valid split.

    Raises:
        CorpusError: the faces are not under `data`.
        WeightsError: `backbone` is no state dict of one.
    """
    config = config or HeadConfig()
    preprocessing = read_preprocessing(backbone)
    train, valid = (
        read_features(backbone, data, cache, split=split, preprocessing=preprocessing, limit=limit)
        for split in ("train", "valid")
    )
    layer = read_backbone(backbone).fc2
    classifier = Classifier(layer.weight.detach().numpy(), layer.bias.detach().numpy())
    fitting, choosing = split_faces(train, share=CHOICE_SHARE)
    evidence = weigh_evidence(train, balance=config.balance)
    corpora = simulate_all(fitting, clips=clips, seed=config.seed)
    choices = simulate_all(choosing, clips=clips // 4, seed=config.seed + 1)
    targets = simulate_all(valid, clips=clips, seed=config.seed + 2)
    save.mkdir(parents=True, exist_ok=True)
    scores = []
    for name in CORPUS_NAMES:
        windows, labels, groups = join_windows(source_corpora(corpora, name))
        configs = [replace(config, seed=config.seed + offset) for offset in range(seeds)]
        heads = [fit_head(windows, labels, groups=groups, evidence=evidence, config=seeded) for seeded in configs]
        best = choose_head(heads, source_corpora(choices, name)) if seeds > 1 else 0
        _save_head(heads[best], save / f"{name}.pt", held_out=name, backbone=backbone)
        scores.append(evaluate_head(heads[best], targets[name], classifier=classifier, seed=configs[best].seed))
        on_score(scores[-1])
    return scores


def _save_head(head: LSTMHead, path: Path, *, held_out: str, backbone: Path) -> None:
    export_head(head, path)
    write_record(
        path,
        name=held_out,
        kind="head",
        license=FERPLUS_LICENSE,
        trained_on=tuple(f"simulated {name}" for name in CORPUS_NAMES if name != held_out),
        held_out=held_out,
        backbone_sha256=hash_file(backbone),
    )
