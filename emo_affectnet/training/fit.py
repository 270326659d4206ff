"""Train the backbone on labelled faces: one flat loop, its checkpoint, its learning curve.

Every random draw of a step comes from a generator seeded by (seed, step), so that a run resumed from its checkpoint
goes on bit for bit as if it had never stopped.
"""

import csv
import math
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, fields, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn

from ..emotions import Emotion
from ..engines import choose_device
from ..errors import UsageError
from ..files import whole_file
from ..mobilenet import BACKBONES, Backbone, MobileNet
from ..weights import NETWORKS, Preprocessing, hash_file, write_record
from .augment import augment
from .calibrate import calibrate
from .corpora import FaceImages, Scan
from .framing import ZOOM
from .last_layer import look_at, refit
from .metrics import uar, war
from .pool import join_licenses, read_pool, sampling_weights
from .starts import open_start
from .teacher import Teacher, lesson_loss, open_teacher, take_last_layer
from .views import prepare, run_on_faces

CHECKPOINT_SECONDS = 120.0
MAX_GRADIENT_NORM = 5.0


@dataclass(frozen=True)
class FitConfig:
    """Everything beside its data that decides a run's outcome."""

    network: str = NETWORKS[0]
    seed: int = 0
    passes: int = 18  # over as many crops as the training split holds
    batch_size: int = 128
    side: int | None = None  # px, of the faces and the room around them; None: what gives the last of the sizes
    sizes: tuple[int, ...] = (48, 64)  # px; equal shares of the passes, the small and fast one first
    learning_rate: float = 1e-3  # at the peak of one cycle
    warm_up: float = 0.15  # share of the steps before the peak
    last_layer_rate: float = 1.0  # of the last layer, as a multiple of the others'
    frozen: int = 0  # layers from the input on that stay as they are; only a MobileNet has any
    refits: bool = False  # the last layer is fitted once more in the end, to faces as they are
    keeps_norms: bool = False  # batch norms keep the statistics they began with
    weight_decay: float = 0.05
    noise: float = 0.1  # on the features; the published Keras graph has GaussianNoise(0.1) before them
    dropout: float = 0.5  # between the features and the classifier, as in the published graph
    smoothing: float = 0.05  # share of a target spread over all classes
    balance: float = 0.5  # an emotion is drawn in proportion to its share of all faces to this power ...
    corpus_balance: float = 0.75  # ... and a corpus in proportion to its own to this one
    average_decay: float = 0.998  # of the averaged weights, per step
    start_sha256: str | None = None  # of the weights a run began with; None: He's random ones
    teacher_sha256: str | None = None  # of the backbone whose features and answers are learned

    def __post_init__(self) -> None:
        object.__setattr__(self, "sizes", tuple(self.sizes))


RECIPES = {  # by network: what a run does unless it is said otherwise
    "ResNet50": FitConfig(),
    "MobileNet": FitConfig(  # begun from FaceRes
        network="MobileNet",
        passes=4,
        batch_size=96,
        sizes=(112,),
        learning_rate=3e-4,
        warm_up=0.06,
        last_layer_rate=7.0,
        frozen=5,
        keeps_norms=True,
        refits=True,
        noise=0.0,
        dropout=0.2,
        average_decay=0.997,
    ),
}


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


def initialise(model: Backbone) -> None:
    """Start every convolution at He's scale and every residual branch, if there are any, at zero."""
    for module in model.modules():
        if isinstance(module, nn.Conv2d):
            nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")
    for name, weight in model.named_parameters():
        if name.endswith("batch_norm3.weight"):
            nn.init.zeros_(weight)


def _draw(
    faces: FaceImages, weights: Tensor, *, size: int, config: FitConfig, teacher: Teacher | None
) -> tuple[Tensor, Tensor, Tensor | None]:
    """Draw augmented views (B, 3, size, size), smoothed targets (B, 7), and the views in a teacher's size."""
    rows = torch.multinomial(weights, config.batch_size, replacement=True).numpy()
    images = torch.from_numpy(faces.images[rows])
    planes = images[:, None] if images.ndim == 3 else images.permute(0, 3, 1, 2)
    largest = max(size, teacher.preprocessing.input_size) if teacher else size
    views = augment(planes, size=largest, zoom=faces.zoom)
    targets = torch.from_numpy(faces.targets[rows])
    targets = targets * (1 - config.smoothing) + config.smoothing / targets.shape[1]
    return _resize(views, size), targets, _resize(views, teacher.preprocessing.input_size) if teacher else None


def _resize(views: Tensor, size: int) -> Tensor:
    """Return views (B, 3, size, size)."""
    if views.shape[-1] == size:
        return views
    return F.interpolate(views, size=(size, size), mode="bilinear", align_corners=False, antialias=True)


def _find_loss(
    model: Backbone,
    views: Tensor,
    targets: Tensor,
    shown: Tensor | None,
    *,
    teacher: Teacher | None,
    preprocessing: Preprocessing,
    config: FitConfig,
    device: str,
) -> Tensor:
    """Return the loss of a batch; `shown` is what a teacher looks at."""
    is_half = has_bfloat16(device)
    x, targets = prepare(views, preprocessing).to(device), targets.to(device)
    lesson = teacher.look(shown, device=device, is_half=is_half) if teacher and shown is not None else None
    with torch.autocast(device.partition(":")[0], torch.bfloat16, enabled=is_half):
        if lesson is not None:
            return lesson_loss(model, x, targets, lesson)
        features = model.features(x)
        features = features + config.noise * torch.randn_like(features)
        logits = model.fc2(F.dropout(features, config.dropout))
        return F.cross_entropy(logits.float(), targets)


def _group_parameters(model: Backbone, config: FitConfig) -> list[dict[str, Any]]:
    """Return what the optimizer changes: all but the frozen layers, the last layer by a rate of its own."""
    if config.frozen and not isinstance(model, MobileNet):
        raise UsageError("Only the layers of a MobileNet can be frozen; leave `frozen` at 0.")
    frozen = model.layers[: config.frozen].parameters() if isinstance(model, MobileNet) else ()
    for parameter in frozen:
        parameter.requires_grad_(False)
    rest = [weight for name, weight in model.named_parameters() if weight.requires_grad and not name.startswith("fc2")]
    last = [weight for weight in model.fc2.parameters() if weight.requires_grad]
    return [{"params": rest, "times": 1.0}, {"params": last, "times": config.last_layer_rate}]


def _set_to_train(model: Backbone, config: FitConfig) -> None:
    model.train()
    for module in model.modules() if config.keeps_norms else ():
        if isinstance(module, nn.BatchNorm2d):
            module.eval()


class _Run:
    """The state of a training run, and its checkpoint."""

    def __init__(
        self, path: Path, config: FitConfig, start: Backbone | None, teacher: Teacher | None, device: str
    ) -> None:
        torch.manual_seed(config.seed)
        self.path, self.config, self.device = path, config, device
        self.model = start or BACKBONES[config.network]()
        if start is None:
            initialise(self.model)
        if teacher:
            take_last_layer(self.model, teacher)
        self.model.to(device, memory_format=torch.channels_last)  # type: ignore[call-overload] # the stubs miss it
        average = get_ema_multi_avg_fn(config.average_decay)  # type: ignore[no-untyped-call] # torch left it untyped
        self.averaged = AveragedModel(self.model, multi_avg_fn=average, use_buffers=True)
        self.optimizer = torch.optim.AdamW(
            _group_parameters(self.model, config), weight_decay=config.weight_decay, fused=device != "mps"
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
    start: Backbone | None = None,
    teacher: Teacher | None = None,
    device: str = "cpu",
    time_limit: float = math.inf,
    on_point: Callable[[CurvePoint], None] = lambda point: None,
) -> Backbone | None:
    """Train the backbone, from random weights or from `start`, or go on from its checkpoint; return the averaged one.

    With a `teacher` it learns the teacher's features and answers beside the labels.

    A run on the CPU goes on bit for bit; other devices add in another order from run to run. After `time_limit` s the
    checkpoint is written and None returned: the same call later goes on from there.

    Raises:
        UsageError: the checkpoint belongs to a run with other settings.
    """
    run = _Run(checkpoint, config or FitConfig(), start, teacher, device)
    config, model = run.config, run.model
    weights = sampling_weights(train, balance=config.balance, corpus_balance=config.corpus_balance)
    steps_per_pass = max(len(train) // config.batch_size, 1)
    steps = config.passes * steps_per_pass
    began = saved = time.monotonic()
    earlier, losses = run.seconds, []
    while run.step < steps:
        torch.manual_seed(config.seed * 1_000_003 + run.step)
        size = config.sizes[run.step * len(config.sizes) // steps]
        drawn = _draw(train, weights, size=size, config=config, teacher=teacher)
        _set_to_train(model, config)
        loss = _find_loss(model, *drawn, teacher=teacher, preprocessing=preprocessing, config=config, device=device)
        rate = one_cycle(run.step, steps=steps, peak=config.learning_rate, warm_up=config.warm_up)
        for group in run.optimizer.param_groups:
            group["lr"] = rate * group["times"]
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
    assert isinstance(averaged, Backbone)
    return averaged


def _measure(run: _Run, valid: FaceImages, preprocessing: Preprocessing, *, loss: float) -> CurvePoint:
    run.averaged.eval()
    predicted = run_on_faces(run.averaged, valid.frames, preprocessing, device=run.device).argmax(axis=1)
    return CurvePoint(run.step, run.seconds, loss, war(valid.labels, predicted), uar(valid.labels, predicted))


def train_backbone(
    scans: Sequence[Scan],
    save: Path,
    *,
    config: FitConfig | None = None,
    start: Path | None = None,
    teacher: Path | None = None,
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
        WeightsError: `start` is no backbone, nor FaceRes.
        UsageError: `save` holds the checkpoint of a run with other settings, `start` another network, or a corpus is
            for judging only.
    """
    config = replace(config or FitConfig(), start_sha256=hash_file(start) if start else None)
    began = open_start(start, network=config.network, seed=config.seed)
    preprocessing = began.preprocessing
    side = config.side or round(config.sizes[-1] / ZOOM)
    chosen = choose_device(device).name
    taught = open_teacher(teacher, device=chosen) if teacher else None
    config = replace(config, side=side, teacher_sha256=taught.sha256 if taught else None)
    train, valid = read_pool(scans, side=side, preprocessing=preprocessing, seed=config.seed)
    save.mkdir(parents=True, exist_ok=True)
    model = fit_backbone(
        train,
        valid,
        checkpoint=save / "backbone.checkpoint",
        preprocessing=preprocessing,
        config=config,
        start=began.network,
        teacher=taught,
        device=chosen,
        time_limit=time_limit,
        on_point=on_point,
    )
    if model is None:
        return None
    weights = sampling_weights(train, balance=config.balance, corpus_balance=config.corpus_balance)
    plain = look_at(model, train, weights, preprocessing, seed=config.seed)
    if config.refits:
        refit(model, plain, seed=config.seed)
    drawn = weights.double().numpy()
    calibration = calibrate(
        model,
        run_on_faces(model, valid.frames, preprocessing),
        valid.labels,
        prior=np.bincount(train.labels, drawn / drawn.sum(), minlength=len(Emotion)).astype(np.float64),
    )
    return export_backbone(
        model,
        save / "backbone.pt",
        network=config.network,
        preprocessing=preprocessing,
        license=join_licenses(scans),
        trained_on=(*(f"{scan.corpus} training faces" for scan in scans), *began.trained_on),
        policies={f"{scan.corpus}.{name}": choice for scan in scans for name, choice in scan.policies.items()},
        temperature=calibration.temperature,
        logit_adjustment=calibration.adjustment,
        feature_mean=plain.mean,
    )


def export_backbone(model: Backbone, path: Path, **about: Any) -> Path:
    """Write the state dict, in float16, and its record; `about` are the fields that the file does not tell."""
    state = {name: value.half() if value.is_floating_point() else value for name, value in model.state_dict().items()}
    with whole_file(path) as partial_file:
        torch.save({name: value.contiguous() for name, value in state.items()}, partial_file)
    write_record(path, name="backbone", kind="backbone", **about)
    return path
