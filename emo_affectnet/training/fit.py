"""Train the backbone on labelled faces: one flat loop, its checkpoint, its learning curve.

Every random draw of a step comes from a generator seeded by (seed, step), so that a run resumed from its checkpoint
goes on bit for bit as if it had never stopped.
"""

import csv
import math
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass, fields, replace
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn

from ..emotions import Emotion
from ..engines import choose_device, normalize_crops
from ..errors import UsageError
from ..faces import crop
from ..files import whole_file
from ..models import ResNet50
from ..networks import read_backbone
from ..weights import Preprocessing, hash_file, read_preprocessing, read_record, write_record
from .augment import augment
from .calibrate import calibrate
from .corpora import FERPLUS_LICENSE, FERPLUS_PREPROCESSING, FaceImages, Scan
from .metrics import uar, war
from .pool import read_pool, sampling_weights

CHECKPOINT_SECONDS = 120.0
BATCH_SIZE = 256  # faces at once where nothing is learned
FEATURE_NOISE = 0.1  # the published Keras graph has GaussianNoise(0.1) before its features; here it is on them
FEATURE_DROPOUT = 0.5  # as in the published graph, between the features and the classifier
MAX_GRADIENT_NORM = 5.0


@dataclass(frozen=True)
class FitConfig:
    """Everything beside its data that decides a run's outcome."""

    seed: int = 0
    passes: int = 18  # over as many crops as the training split holds
    batch_size: int = 128
    side: int | None = None  # px, of the faces that views are cut from; None: the network's input size
    sizes: tuple[int, ...] = (48, 64)  # px; equal shares of the passes, the small and fast one first
    learning_rate: float = 1e-3  # at the peak of one cycle
    warm_up: float = 0.15  # share of the steps before the peak
    weight_decay: float = 0.05
    smoothing: float = 0.05  # share of a target spread over all classes
    balance: float = 0.5  # an emotion is drawn in proportion to its share of all faces to this power ...
    corpus_balance: float = 0.75  # ... and a corpus in proportion to its own to this one
    average_decay: float = 0.998  # of the averaged weights, per step
    start_sha256: str | None = None  # of the weights a run began with; None: He's random ones

    def __post_init__(self) -> None:
        object.__setattr__(self, "sizes", tuple(self.sizes))


@dataclass(frozen=True)
class CurvePoint:
    """One line of the learning curve, after a pass."""

    step: int
    seconds: float
    loss: float  # mean over the pass
    accuracy: float  # of the averaged network on the valid split
    uar: float


def has_bfloat16(device: str = "cpu") -> bool:
    """Say whether a device multiplies bfloat16 faster than float32."""
    if device.startswith("cuda"):
        return bool(torch.cuda.is_bf16_supported(including_emulation=False))
    return device == "cpu" and bool(torch.cpu._is_avx512_bf16_supported())


def one_cycle(step: int, *, steps: int, peak: float, warm_up: float) -> float:
    """Return the learning rate of a step: a linear rise to the peak, then half a cosine down to nothing."""
    rise = warm_up * steps
    if step < rise:
        return peak * (step + 1) / (rise + 1)
    return peak * 0.5 * (1 + math.cos(math.pi * (step - rise) / (steps - rise)))


def initialise(model: ResNet50) -> None:
    """Start every convolution at He's scale and every residual branch at zero."""
    for module in model.modules():
        if isinstance(module, nn.Conv2d):
            nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")
    for name, weight in model.named_parameters():
        if name.endswith("batch_norm3.weight"):
            nn.init.zeros_(weight)


def prepare(images: Tensor, preprocessing: Preprocessing) -> Tensor:
    """Bring images (B, 1 or 3, S, S), 0-255, to the network's input through the recognizer's own preprocessing."""
    crops = images.permute(0, 2, 3, 1).expand(-1, -1, -1, 3).numpy()
    x = torch.from_numpy(normalize_crops(crops, preprocessing))
    return x.contiguous(memory_format=torch.channels_last)


def run_on_faces(
    network: Callable[[Tensor], Tensor],
    images: Iterable[npt.NDArray[np.uint8]],
    preprocessing: Preprocessing,
    *,
    device: str = "cpu",
) -> npt.NDArray[np.float32]:
    """Return what `network` makes of images that a face fills, uint8 (H, W) or (H, W, 3): one view of each."""
    outputs = []
    with torch.inference_mode():
        for crops in cut_whole(images, preprocessing):
            views = torch.from_numpy(crops if crops.ndim == 4 else crops[..., None]).permute(0, 3, 1, 2)
            outputs.append(network(prepare(views, preprocessing).to(device)).float().cpu())
    return torch.cat(outputs).numpy()


def cut_whole(images: Iterable[npt.NDArray[np.uint8]], preprocessing: Preprocessing) -> Iterator[npt.NDArray[np.uint8]]:
    """Yield batches, (B, S, S) or (B, S, S, 3), of images that a face fills: nothing is cut off them."""
    whole, pending = replace(preprocessing, crop_margin=(0.0, 0.0, 0.0, 0.0)), iter(images)
    while batch := list(islice(pending, BATCH_SIZE)):
        yield np.stack([crop(image, (0, 0, image.shape[1], image.shape[0]), whole) for image in batch])


def _draw(faces: FaceImages, weights: Tensor, *, size: int, config: FitConfig) -> tuple[Tensor, Tensor]:
    """Draw one batch of augmented views (B, 1 or 3, size, size) and their smoothed targets (B, 7)."""
    rows = torch.multinomial(weights, config.batch_size, replacement=True).numpy()
    images = torch.from_numpy(faces.images[rows])
    views = augment(images[:, None] if images.ndim == 3 else images.permute(0, 3, 1, 2), size=size)
    targets = torch.from_numpy(faces.targets[rows])
    return views, targets * (1 - config.smoothing) + config.smoothing / targets.shape[1]


def _training_loss(model: ResNet50, x: Tensor, targets: Tensor) -> Tensor:
    features = model.features(x)
    features = features + FEATURE_NOISE * torch.randn_like(features)
    logits = model.fc2(F.dropout(features, FEATURE_DROPOUT))
    return F.cross_entropy(logits.float(), targets)


class _Run:
    """The state of a training run, and its checkpoint."""

    def __init__(self, path: Path, config: FitConfig, start: ResNet50 | None, device: str) -> None:
        torch.manual_seed(config.seed)
        self.path, self.config, self.device = path, config, device
        self.model = start or ResNet50()
        if start is None:
            initialise(self.model)
        self.model.to(device, memory_format=torch.channels_last)  # type: ignore[call-overload] # the stubs miss it
        average = get_ema_multi_avg_fn(config.average_decay)  # type: ignore[no-untyped-call] # torch left it untyped
        self.averaged = AveragedModel(self.model, multi_avg_fn=average, use_buffers=True)
        self.optimizer = torch.optim.AdamW(
            self.model.parameters(), config.learning_rate, weight_decay=config.weight_decay, fused=device != "mps"
        )
        self.step, self.seconds = 0, 0.0
        self.curve: list[CurvePoint] = []
        if path.is_file():
            self._load()

    def save(self) -> None:
        """Write the checkpoint and, beside it, the learning curve as CSV once a pass is over."""
        state: dict[str, Any] = {
            "config": asdict(self.config),
            "step": self.step,
            "seconds": self.seconds,
            "curve": [asdict(point) for point in self.curve],
            "model": self.model.state_dict(),
            "averaged": self.averaged.state_dict(),
            "optimizer": self.optimizer.state_dict(),
        }
        with whole_file(self.path) as partial:
            torch.save(state, partial)
        if not self.curve:
            return  # a curve without a point is none
        names = [field.name for field in fields(CurvePoint)]
        with whole_file(self.path.with_suffix(".csv")) as partial, partial.open("w", newline="") as file:
            table = csv.DictWriter(file, names)
            table.writeheader()
            table.writerows(state["curve"])

    def _load(self) -> None:
        state: dict[str, Any] = torch.load(self.path, weights_only=True, map_location=self.device)
        began_with = FitConfig(**state["config"])
        if began_with != self.config:
            raise UsageError(
                f"{self.path} is the checkpoint of a run with other settings ({began_with}). "
                "Go on with those, or give another folder."
            )
        self.step, self.seconds = state["step"], state["seconds"]
        self.curve = [CurvePoint(**point) for point in state["curve"]]
        self.model.load_state_dict(state["model"])
        self.averaged.load_state_dict(state["averaged"])
        self.optimizer.load_state_dict(state["optimizer"])


def fit_backbone(
    train: FaceImages,
    valid: FaceImages,
    *,
    checkpoint: Path,
    preprocessing: Preprocessing,
    config: FitConfig | None = None,
    start: ResNet50 | None = None,
    device: str = "cpu",
    time_limit: float = math.inf,
    on_point: Callable[[CurvePoint], None] = lambda point: None,
) -> ResNet50 | None:
    """Train the backbone, from random weights or from `start`, or go on from its checkpoint; return the averaged one.

    A run on the CPU goes on bit for bit; other devices add in another order from run to run. After `time_limit` s the
    checkpoint is written and None returned: the same call later goes on from there.

    Raises:
        UsageError: the checkpoint belongs to a run with other settings.
    """
    run = _Run(checkpoint, config or FitConfig(), start, device)
    config, model = run.config, run.model
    weights = sampling_weights(train, balance=config.balance, corpus_balance=config.corpus_balance)
    steps_per_pass = max(len(train) // config.batch_size, 1)
    steps = config.passes * steps_per_pass
    began = saved = time.monotonic()
    earlier, losses = run.seconds, []
    while run.step < steps:
        torch.manual_seed(config.seed * 1_000_003 + run.step)
        size = config.sizes[run.step * len(config.sizes) // steps]
        views, targets = _draw(train, weights, size=size, config=config)
        model.train()
        with torch.autocast(device.partition(":")[0], torch.bfloat16, enabled=has_bfloat16(device)):
            loss = _training_loss(model, prepare(views, preprocessing).to(device), targets.to(device))
        rate = one_cycle(run.step, steps=steps, peak=config.learning_rate, warm_up=config.warm_up)
        run.optimizer.param_groups[0]["lr"] = rate
        run.optimizer.zero_grad(set_to_none=True)
        loss.backward()  # type: ignore[no-untyped-call]
        nn.utils.clip_grad_norm_(model.parameters(), MAX_GRADIENT_NORM)
        run.optimizer.step()
        run.averaged.update_parameters(model)
        run.step += 1
        now = time.monotonic()
        run.seconds = earlier + now - began
        losses.append(loss.item())
        if run.step % steps_per_pass == 0:
            run.curve.append(_measure(run, valid, replace(preprocessing, input_size=size), loss=float(np.mean(losses))))
            on_point(run.curve[-1])
            losses.clear()
        is_late = now - began > time_limit
        if is_late or now - saved > CHECKPOINT_SECONDS or run.step == steps:
            run.save()
            saved = now
        if is_late and run.step < steps:
            return None
    averaged = run.averaged.module.cpu().eval()
    assert isinstance(averaged, ResNet50)
    return averaged


def _measure(run: _Run, valid: FaceImages, preprocessing: Preprocessing, *, loss: float) -> CurvePoint:
    run.averaged.eval()
    predicted = run_on_faces(run.averaged, valid.images, preprocessing, device=run.device).argmax(axis=1)
    return CurvePoint(run.step, run.seconds, loss, war(valid.labels, predicted), uar(valid.labels, predicted))


def train_backbone(
    scans: Sequence[Scan],
    save: Path,
    *,
    config: FitConfig | None = None,
    start: Path | None = None,
    device: str = "auto",
    time_limit: float = math.inf,
    on_point: Callable[[CurvePoint], None] = lambda point: None,
) -> Path | None:
    """Train on the faces of scanned corpora and write `save`/backbone.pt with its record; return its path.

    The network begins with random weights and reads grey faces, or begins with those in the file `start` and reads what
    they read; in the end it is calibrated on the faces that `read_pool` keeps to choose by. Beside it stand the
    learning curve, backbone.csv, and the checkpoint. Returns None if `time_limit` s ran out first; the same call goes
    on from the checkpoint.

    Raises:
        CorpusError: a corpus has no face to train on.
        WeightsError: `start` is no backbone.
        UsageError: `save` holds the checkpoint of a run with other settings, or a corpus is for judging only.
    """
    preprocessing = read_preprocessing(start) if start else FERPLUS_PREPROCESSING
    config = config or FitConfig()
    side = config.side or preprocessing.input_size
    config = replace(config, side=side, start_sha256=hash_file(start) if start else None)
    train, valid = read_pool(scans, side=side, seed=config.seed)
    save.mkdir(parents=True, exist_ok=True)
    model = fit_backbone(
        train,
        valid,
        checkpoint=save / "backbone.checkpoint",
        preprocessing=preprocessing,
        config=config,
        start=read_backbone(start) if start else None,
        device=choose_device(device).name,
        time_limit=time_limit,
        on_point=on_point,
    )
    if model is None:
        return None
    weights = sampling_weights(train, balance=config.balance, corpus_balance=config.corpus_balance)
    drawn = weights.double().numpy()
    calibration = calibrate(
        model,
        run_on_faces(model, valid.images, preprocessing),
        valid.labels,
        prior=np.bincount(train.labels, drawn / drawn.sum(), minlength=len(Emotion)).astype(np.float64),
    )
    return export_backbone(
        model,
        save / "backbone.pt",
        preprocessing=preprocessing,
        license=_join_licenses(scans),
        trained_on=(*(f"{scan.corpus} training faces" for scan in scans), *_started_on(start)),
        policies={f"{scan.corpus}.{name}": choice for scan in scans for name, choice in scan.policies.items()},
        temperature=calibration.temperature,
        logit_adjustment=calibration.adjustment,
    )


def _join_licenses(scans: Sequence[Scan]) -> str:
    """Return the terms of weights that were trained on the scanned corpora."""
    others = [scan.corpus for scan in scans if scan.corpus not in ("FER+", "FER2013")]
    terms = [FERPLUS_LICENSE] if len(others) < len(scans) else []
    return "; ".join([*terms, *([f"the terms of {', '.join(others)}"] if others else [])])


def _started_on(start: Path | None) -> tuple[str, ...]:
    """Return what the weights that a run began with were trained on."""
    record = read_record(start) if start else None
    return record.trained_on if record else () if start is None else ("what its starting weights had seen",)


def export_backbone(model: ResNet50, path: Path, **about: Any) -> Path:
    """Write the state dict, in float16, and its record; `about` are the fields that the file does not tell."""
    state = {name: value.half() if value.is_floating_point() else value for name, value in model.state_dict().items()}
    with whole_file(path) as partial_file:
        torch.save({name: value.contiguous() for name, value in state.items()}, partial_file)
    write_record(path, name="backbone", kind="backbone", **about)
    return path
