"""What all benchmarks share: processes of their own, peak memory, ratios, the machine in words, files of figures."""

import json
import os
import platform
import resource
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import date
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from statistics import median
from typing import Any

ROOT = Path(__file__).parents[1]
PACKAGES = (
    "torch",
    "onnxruntime",
    "openvino",
    "tensorflow-cpu",
    "mediapipe",
    "opencv-contrib-python",
    "av",
    "numpy",
)
INSTRUCTIONS = ("avx2", "avx512f", "avx512_vnni", "avx_vnni", "avx512_bf16", "amx_bf16", "amx_int8")  # networks' own


@dataclass(frozen=True)
class Ratio:
    """How many times as much one side needs as the other: of the medians, and the least and most of any round."""

    median: float
    low: float
    high: float

    def __str__(self) -> str:
        return f"{self.median:.1f} ({self.low:.1f}-{self.high:.1f})"


def compare(theirs: Sequence[float], ours: Sequence[float]) -> Ratio:
    """Return how many times as much `theirs` are as `ours`; item i of both is of the same round."""
    rounds = [their / our for their, our in zip(theirs, ours, strict=True)]
    return Ratio(median(theirs) / median(ours), min(rounds), max(rounds))


@dataclass
class Stopwatch:
    """Adds up the seconds of each stage, by name, in the order in which they first ran."""

    seconds: dict[str, float] = field(default_factory=dict)

    @contextmanager
    def stage(self, name: str) -> Iterator[None]:
        """Time the body as part of a stage."""
        began = time.perf_counter()
        try:
            yield
        finally:
            self.seconds[name] = self.seconds.get(name, 0.0) + time.perf_counter() - began


def peak_memory() -> int:
    """Return the largest memory of this process so far, in bytes; getrusage would count its parent's as well."""
    status = Path("/proc/self/status")
    if status.exists():
        line = next(line for line in status.read_text().splitlines() if line.startswith("VmHWM:"))
        return int(line.split()[1]) * 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)


def run_apart(script: str | Path, *words: str | Path) -> dict[str, Any]:
    """Return the figures that a benchmark prints as JSON in a process of its own.

    Raises:
        RuntimeError: it failed; its last words are in the message.
    """
    command = [sys.executable, str(script), *map(str, words)]
    done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode:
        raise RuntimeError(f"{' '.join(command[1:])} ended with {done.returncode}:\n{done.stderr[-3000:]}")
    figures: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return figures


def describe_machine() -> dict[str, Any]:
    """Return what a reader needs to judge the figures."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    return {
        "date": date.today().isoformat(),
        "commit": _ask_git("rev-parse", "--short", "HEAD"),
        "is_changed": bool(_ask_git("status", "--porcelain", "--", "emo_affectnet", "benchmarks", "weights")),
        **_describe_processor(),
        "cores": cores,
        "system": platform.system(),
        "python": platform.python_version(),
        **{name: _find_version(name) for name in PACKAGES},
    }


def write_figures(name: str, **figures: Any) -> Path:
    """Write figures and the machine that made them to benchmarks/results/; return the path below the project."""
    machine = describe_machine()
    path = ROOT / "benchmarks" / "results" / f"{machine['date']}-{machine['commit']}-{name}.json"
    path.parent.mkdir(exist_ok=True)
    path.write_text(json.dumps({"machine": machine, **figures}, indent=1) + "\n", encoding="utf-8")
    return path.relative_to(ROOT)


def _ask_git(*words: str) -> str | None:
    if not shutil.which("git"):
        return None
    done = subprocess.run(["git", *words], cwd=ROOT, capture_output=True, text=True)
    return done.stdout.strip() or None


def _describe_processor() -> dict[str, Any]:
    """Return the processor's model, and those of its instruction sets that networks gain from."""
    facts: dict[str, str] = {}
    with_facts = Path("/proc/cpuinfo")
    if with_facts.exists():
        lines = (line.partition(":") for line in with_facts.read_text().splitlines())
        for name, _, value in lines:
            facts.setdefault(name.strip(), value.strip())
    flags = set(facts.get("flags", "").split())
    return {
        "processor": facts.get("model name") or platform.processor() or platform.machine(),
        "instructions": [name for name in INSTRUCTIONS if name in flags],
    }


def _find_version(package: str) -> str | None:
    try:
        return version(package)
    except PackageNotFoundError:
        return None
