"""Rounds of the published pipeline and of ours on one video: ratios of what they take, and how far they agree."""

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import cache
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np
import numpy.typing as npt
from clips import FOLDER, SECONDS, find_clip
from measurement import ROOT, Ratio, compare, run_apart

from emo_affectnet.engines import REFERENCE
from emo_affectnet.weight_sets import resolve_backbone
from emo_affectnet.weights import read_preprocessing

Doubles = npt.NDArray[np.float64]
Tell = Callable[[str], None]

SINGLE_RUNS = ROOT / "benchmarks" / "single_runs.py"


@dataclass(frozen=True)
class Case:
    """A video and the network that reads it."""

    height: int  # px of the video
    seconds: int
    input_size: int  # px of a face
    backbone: Path | None  # None is the bundled one

    @property
    def clip(self) -> Path:
        """The video, of one person."""
        return find_clip(height=self.height, seconds=self.seconds)


@dataclass(frozen=True)
class Variant:
    """An engine and the precision it computes in."""

    engine: str
    precision: str

    def __str__(self) -> str:
        return f"{self.engine} {self.precision}"


@dataclass(frozen=True)
class Run:
    """What one process took for a video, from the loading of weights and detector to the report."""

    wall: float  # s
    cpu: float  # s, over all threads
    memory: int  # bytes, the peak of the whole process
    later_wall: float  # s, for the same video once more in the same process; 0 if it was not read again
    later_cpu: float
    windows: list[list[float]]  # (W, 7) probabilities of one head
    stages: dict[str, float]  # s, of the first reading; the published pipeline's only, ours overlap


@dataclass(frozen=True)
class Agreement:
    """How far the probabilities of one side are from those of the other."""

    largest: float
    mean: float
    same_emotion: float  # share of the windows


@dataclass(frozen=True)
class Row:
    """One variant on one video beside the published pipeline; a ratio is published / ours."""

    case: Case
    variant: Variant
    ours: list[Run]
    published: list[Run]
    with_published: Agreement | None
    with_torch: Agreement | None

    @property
    def wall(self) -> Ratio:
        """Of the first video of a process, loading included."""
        return compare([run.wall for run in self.published], [run.wall for run in self.ours])

    @property
    def later_wall(self) -> Ratio | None:
        """Of a further video in the same process, for which the published pipeline loads everything again."""
        theirs, ours = [run.later_wall for run in self.published], [run.later_wall for run in self.ours]
        return compare(theirs, ours) if all(theirs + ours) else None

    @property
    def cpu(self) -> Ratio:
        """Of processor seconds."""
        return compare([run.cpu for run in self.published], [run.cpu for run in self.ours])

    @property
    def memory(self) -> Ratio:
        """Of the peak memory of a process."""
        return compare([run.memory for run in self.published], [run.memory for run in self.ours])

    @property
    def seconds(self) -> float:
        """Median of ours."""
        return median(run.wall for run in self.ours)

    @property
    def published_seconds(self) -> float:
        """Median of theirs."""
        return median(run.wall for run in self.published)

    @property
    def figures(self) -> dict[str, Any]:
        """All of it, for a file."""
        ratios = {"wall": self.wall, "later_wall": self.later_wall, "cpu": self.cpu, "memory": self.memory}
        agreements = {"with_published": self.with_published, "with_torch": self.with_torch}
        return {
            "video": {"height": self.case.height, "seconds": self.case.seconds},
            "input_size": self.case.input_size,
            **asdict(self.variant),
            "published_over_ours": {name: ratio and asdict(ratio) for name, ratio in ratios.items()},
            **{name: agreement and asdict(agreement) for name, agreement in agreements.items()},
            "ours": [_describe(run) for run in self.ours],
            "published": [_describe(run) for run in self.published],
        }


def _describe(run: Run) -> dict[str, Any]:
    stages = {name: round(seconds, 4) for name, seconds in run.stages.items()}
    figures = {name: round(value, 4) for name, value in asdict(run).items() if name not in ("windows", "stages")}
    return figures | ({"stages": stages} if stages else {})


def agree(one: Sequence[Sequence[float]], other: Sequence[Sequence[float]]) -> Agreement | None:
    """Compare probabilities (W, 7); None if the two sides have not the same windows."""
    first, second = np.array(one), np.array(other)
    if first.shape != second.shape:
        return None
    differences: Doubles = np.abs(first - second)
    same = first.argmax(axis=1) == second.argmax(axis=1)
    return Agreement(float(differences.max()), float(differences.mean()), float(same.mean()))


def measure(name: str, **settings: Any) -> dict[str, Any]:
    """Return what one measurement of `single_runs.py` tells, made in a process of its own."""
    return run_apart(SINGLE_RUNS, name, json.dumps(settings, default=str))


def prepare_variants(variants: Sequence[Variant], *, backbone: Path | None, tell: Tell) -> list[Variant]:
    """Return the variants that run here; what they make at first use is made, off the clock."""
    here = []
    for variant in variants:
        told = measure("prepare", **asdict(variant), backbone=backbone)
        if "unavailable" in told:
            tell(f"{variant}: not here. {told['unavailable']}")
        else:
            here.append(variant)
    return here


@cache
def _write_keras_files() -> dict[str, Any]:
    FOLDER.mkdir(parents=True, exist_ok=True)
    return measure("write_keras_files", folder=FOLDER)


def run_published(case: Case) -> Run:
    """Run the published pipeline on a video with the same weights."""
    preprocessing = asdict(read_preprocessing(resolve_backbone("bundled", backbone=case.backbone)))
    files: Mapping[str, str] = _write_keras_files()
    return _read(measure("published", clip=case.clip, **files, preprocessing=preprocessing, times=_count_times(case)))


def run_ours(case: Case, variant: Variant) -> Run:
    """Run our road on a video."""
    return _read(measure("ours", clip=case.clip, backbone=case.backbone, **asdict(variant), times=_count_times(case)))


def _count_times(case: Case) -> int:
    """Return how often a process reads the video: short ones twice, for the cost of a further video."""
    return 2 if case.seconds <= SECONDS else 1


def _read(told: dict[str, Any]) -> Run:
    return Run(**{name: told[name] for name in Run.__dataclass_fields__})


def compare_case(case: Case, variants: Sequence[Variant], *, rounds: int, tell: Tell) -> list[Row]:
    """Run the published pipeline and every variant in turn, `rounds` times."""
    published: list[Run] = []
    ours: dict[Variant, list[Run]] = {variant: [] for variant in variants}
    for number in range(1, rounds + 1):
        tell(f"{case.height}p, {case.seconds} s, faces of {case.input_size} px: round {number} of {rounds}")
        published.append(run_published(case))
        for variant in variants:
            ours[variant].append(run_ours(case, variant))
    reference = ours.get(Variant(REFERENCE, "fp32"))
    return [
        Row(
            case,
            variant,
            runs,
            published,
            with_published=agree(runs[0].windows, published[0].windows),
            with_torch=agree(runs[0].windows, reference[0].windows) if reference else None,
        )
        for variant, runs in ours.items()
    ]
