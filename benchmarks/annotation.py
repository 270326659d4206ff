"""Print what an annotated copy costs at 720p: speed against real time, and peak memory of a short and a long video.

The clips show two people; their reports come from the recognizer once. Each copy is made in a process of its own,
because peak memory is a figure of a process.

    python benchmarks/annotation.py --seconds 10 --seconds 60
"""

import json
import tempfile
import time
from pathlib import Path
from typing import Any

import click
from clips import find_clip
from measurement import peak_memory, run_apart, write_figures

HEIGHT, PEOPLE = 720, 2  # px, and how many are in the picture


def measure(clip: Path, reports: Path) -> dict[str, Any]:
    """Return the figures of one copy, measured in this process."""
    from emo_affectnet.annotation import annotate_video
    from emo_affectnet.reports import read_people
    from emo_affectnet.video import probe

    people = read_people(reports / clip.stem)
    began = time.perf_counter()
    annotate_video(clip, people, reports / "copy.mp4")
    seconds = time.perf_counter() - began
    info = probe(clip)
    duration = info.duration or 0.0
    return {
        "clip_seconds": round(duration, 1),
        "size": f"{info.width}x{info.height}",
        "times_real_time": round(duration / seconds, 2),
        "processor_seconds_per_second": round(time.process_time() / duration, 2),
        "peak_memory_mb": round(peak_memory() / 1e6),
        "size_ratio": round((reports / "copy.mp4").stat().st_size / clip.stat().st_size, 2),
    }


@click.command()
@click.option("--seconds", multiple=True, default=(10, 60), show_default=True, help="Length of a clip, in tens.")
@click.option("--only", type=click.Path(path_type=Path), help="Annotate one clip in this process and print JSON.")
@click.option("--reports", type=click.Path(path_type=Path), help="Where its reports are.")
def main(seconds: tuple[int, ...], only: Path | None, reports: Path | None) -> None:
    """Measure the making of annotated copies."""
    if only and reports:
        click.echo(json.dumps(measure(only, reports)))
        return
    from emo_affectnet.batch import analyze
    from emo_affectnet.inputs import Options

    clips = [find_clip(height=HEIGHT, seconds=length, people=PEOPLE) for length in seconds]
    with tempfile.TemporaryDirectory() as folder:
        analyze(clips, save=Path(folder), options=Options(faces="all"))
        results = [run_apart(__file__, "--only", clip, "--reports", folder) for clip in clips]
    click.echo(f"{'clip':>8}{'size':>10}{'x real time':>13}{'processor s/s':>15}{'peak MB':>9}{'size ratio':>12}")
    for row in results:
        click.echo(
            f"{row['clip_seconds']:>6} s{row['size']:>10}{row['times_real_time']:>13}"
            f"{row['processor_seconds_per_second']:>15}{row['peak_memory_mb']:>9}{row['size_ratio']:>12}"
        )
    click.echo(f"Figures: {write_figures('annotation', annotation=results)}")


if __name__ == "__main__":
    main()
