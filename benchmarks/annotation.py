"""Print what an annotated copy costs at 720p: speed against real time, and peak memory of a short and a long video.

The clips are `video/two_people.mp4`, enlarged and repeated; their reports come from the recognizer once. Each copy is
made in a process of its own, because peak memory is a figure of a process.

    python benchmarks/annotation.py --seconds 10 --seconds 60
"""

import json
import tempfile
import time
from itertools import chain, count, islice
from pathlib import Path
from typing import Any

import click
import cv2
import numpy as np
from speed import ROOT, describe_machine, peak_memory, run_apart

SIZE = (1280, 720)


def make_clip(path: Path, seconds: float) -> Path:
    """Write the demo clip at 720p, over and over, with some grain, which real recordings have."""
    from emo_affectnet.video import read_frames
    from emo_affectnet.video_writer import VideoWriter

    random, fps = np.random.default_rng(0), 30_000 / 1001
    grain = random.normal(0, 3, (8, SIZE[1], SIZE[0], 3)).astype(np.float32)
    with VideoWriter(path, width=SIZE[0], height=SIZE[1], fps=fps) as writer:
        again = chain.from_iterable(read_frames(ROOT / "video" / "two_people.mp4") for _ in count())
        for index, frame in enumerate(islice(again, round(seconds * fps))):
            image = cv2.resize(frame.image, SIZE, interpolation=cv2.INTER_CUBIC)
            writer.write(np.clip(image + grain[index % 8], 0, 255).astype(np.uint8))
    return path


def measure(clip: Path, reports: Path) -> dict[str, Any]:
    """Return the figures of one copy, measured in this process."""
    from emo_affectnet.annotation import annotate_video
    from emo_affectnet.reports import read_people
    from emo_affectnet.video import probe

    people = read_people(reports / clip.stem)
    began = time.perf_counter()
    annotate_video(clip, people, reports / "copy.mp4")
    seconds = time.perf_counter() - began
    duration = probe(clip).duration or 0.0
    return {
        "clip_seconds": round(duration, 1),
        "size": f"{SIZE[0]}x{SIZE[1]}",
        "times_real_time": round(duration / seconds, 2),
        "processor_seconds_per_second": round(time.process_time() / duration, 2),
        "peak_memory_mb": round(peak_memory() / 1e6),
        "size_ratio": round((reports / "copy.mp4").stat().st_size / clip.stat().st_size, 2),
    }


@click.command()
@click.option("--seconds", multiple=True, default=(10.0, 60.0), show_default=True, help="Length of a clip.")
@click.option("--only", type=click.Path(path_type=Path), help="Annotate one clip in this process and print JSON.")
@click.option("--reports", type=click.Path(path_type=Path), help="Where its reports are.")
def main(seconds: tuple[float, ...], only: Path | None, reports: Path | None) -> None:
    """Measure the making of annotated copies."""
    if only and reports:
        click.echo(json.dumps(measure(only, reports)))
        return
    from emo_affectnet.batch import analyze
    from emo_affectnet.recognizer import EmotionRecognizer

    with tempfile.TemporaryDirectory() as folder:
        clips = [make_clip(Path(folder, f"{length:g}.mp4"), length) for length in seconds]
        analyze(clips, save=Path(folder), recognizer=EmotionRecognizer, faces="all")
        results = [run_apart(__file__, "--only", clip, "--reports", folder) for clip in clips]
    click.echo(f"{'clip':>8}{'size':>10}{'x real time':>13}{'processor s/s':>15}{'peak MB':>9}{'size ratio':>12}")
    for row in results:
        click.echo(
            f"{row['clip_seconds']:>6} s{row['size']:>10}{row['times_real_time']:>13}"
            f"{row['processor_seconds_per_second']:>15}{row['peak_memory_mb']:>9}{row['size_ratio']:>12}"
        )
    machine = describe_machine()
    path = ROOT / "benchmarks" / "results" / f"{machine['date']}-{machine['commit']}-annotation.json"
    path.write_text(json.dumps({"machine": machine, "annotation": results}, indent=1) + "\n", encoding="utf-8")
    click.echo(f"Figures: {path.relative_to(ROOT)}")


if __name__ == "__main__":
    main()
