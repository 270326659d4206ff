"""What the comparison does not tell: where the time goes, how cost grows with length and people, how soon it starts."""

import subprocess
import sys
import time
from collections.abc import Sequence
from statistics import median
from typing import Any

from clips import SECONDS, find_clip
from comparison import Row, Tell, measure

from emo_affectnet.threads import count_cores

LONG_SECONDS = 600
HEIGHTS = {"growth": 720, "people": 1080, "start": 720}  # px of the videos
PEOPLE, PEOPLE_DETECTOR = 8, "full-range"  # which finds faces that are small in the picture
HELP_RUNS = 5


def measure_further(rows: Sequence[Row], *, rounds: int, tell: Tell) -> dict[str, Any]:
    """Measure and print all of it; `rows` are those of the engine that a user gets without asking."""
    return {
        "stages": [measure_stages(row, tell=tell) for row in _choose_longest(rows)],
        "growth": measure_growth(rows, tell=tell),
        "people": measure_people(rounds, tell=tell),
        "start": measure_start(rounds, tell=tell),
    }


def _choose_longest(rows: Sequence[Row]) -> list[Row]:
    """Return the row of the longest video for each size of video and of face."""
    last = {(row.case.height, row.case.input_size): row for row in sorted(rows, key=lambda row: row.case.seconds)}
    return list(last.values())


def measure_stages(row: Row, *, tell: Tell) -> dict[str, Any]:
    """Time our stages one after another, and the backbone by itself at its best; the published ones are known."""
    case, options = row.case, {"backbone": row.case.backbone}
    told = measure("stages", clip=case.clip, **options)
    # One after the other, because machines change their pace.
    alone, whole = measure("backbone", **options), measure("ours", clip=case.clip, times=2, **options)
    seconds = told["crops"] / alone["crops_per_second"]
    shares = {name: seconds / whole[name] for name in ("wall", "later_wall")}
    busy = whole["later_cpu"] / whole["later_wall"] / count_cores()
    tell(f"\n{case.height}p, {case.seconds} s, faces of {case.input_size} px: seconds of each stage, run by itself")
    for side, stages in (("ours", told["stages"]), ("published", row.published[-1].stages)):
        tell(f"  {side:11}" + ", ".join(f"{name} {spent:.2f}" for name, spent in stages.items()))
    tell(
        f"  {'backbone':11}{told['crops']} crops at {alone['crops_per_second']:.0f}/s, in batches of {alone['batch']}: "
        f"{seconds:.1f} s, {shares['wall']:.0%} of the {whole['wall']:.1f} s that all of it takes, and "
        f"{shares['later_wall']:.0%} of the {whole['later_wall']:.1f} s of a further video, when cores are busy for "
        f"{busy:.0%} of the time"
    )
    return {
        "video": {"height": case.height, "seconds": case.seconds},
        "input_size": case.input_size,
        "ours": told["stages"],
        "published": row.published[-1].stages,
        "crops": told["crops"],
        "backbone": alone,
        "backbone_share": shares,
        "busy": busy,
    }


def measure_growth(rows: Sequence[Row], *, tell: Tell) -> list[dict[str, Any]]:
    """Tell wall time per second of video and peak memory by length; the longest, which takes minutes, is for ours."""
    height = HEIGHTS["growth"]
    same = [row for row in rows if row.case.height == height and row.case.backbone is None]
    lengths: list[dict[str, Any]] = [
        {"side": side, "seconds": row.case.seconds, "wall": median(wall), "memory": median(memory)}
        for row in same
        for side, wall, memory in (
            ("published", [run.wall for run in row.published], [run.memory for run in row.published]),
            ("ours", [run.wall for run in row.ours], [run.memory for run in row.ours]),
        )
    ]
    told = measure("ours", clip=find_clip(height=height, seconds=LONG_SECONDS))
    lengths.append({"side": "ours", "seconds": LONG_SECONDS, "wall": told["wall"], "memory": told["memory"]})
    tell(f"\nGrowth with the length of the video, {height}p")
    for length in lengths:
        tell(
            f"  {length['side']:11}{length['seconds']:>4} s  {length['wall'] / length['seconds']:6.3f} s per second of "
            f"video  {length['memory'] / 1e6:6.0f} MB"
        )
    one_minute = [length["memory"] for length in lengths if (length["side"], length["seconds"]) == ("ours", 60)]
    if one_minute:
        tell(f"  {LONG_SECONDS} s peak at {told['memory'] / one_minute[0] - 1:+.1%} of the memory of 60 s")
    return lengths


def measure_people(rounds: int, *, tell: Tell) -> dict[str, Any]:
    """Compare a video of many people with one of a single person."""
    height = HEIGHTS["people"]
    walls: dict[int, list[float]] = {1: [], PEOPLE: []}
    found: dict[int, int] = {}
    for _ in range(rounds):
        for people, seconds in walls.items():
            clip = find_clip(height=height, seconds=SECONDS, people=people)
            told = measure("ours", clip=clip, detector=PEOPLE_DETECTOR, times=2)
            seconds.append(told["later_wall"])
            found[people] = told["people"]
    ratio = median(walls[PEOPLE]) / median(walls[1])
    tell(
        f"\n{found[PEOPLE]} people against {found[1]} at {height}p, {SECONDS} s, detector {PEOPLE_DETECTOR}, a further "
        f"video: {median(walls[PEOPLE]):.2f} s against {median(walls[1]):.2f} s, {ratio:.2f} times as long"
    )
    return {"found": found, "wall": walls, "ratio": ratio}


def measure_start(rounds: int, *, tell: Tell) -> dict[str, Any]:
    """Time the start of a process: until its help is printed, and until the first face of a video is judged."""
    helped = []
    for _ in range(HELP_RUNS):
        began = time.perf_counter()
        subprocess.run([sys.executable, "-m", "emo_affectnet", "--help"], check=True, capture_output=True)
        helped.append(time.perf_counter() - began)
    clip = find_clip(height=HEIGHTS["start"], seconds=SECONDS)
    started = [measure("start", clip=clip, began=time.time())["wall"] for _ in range(rounds)]
    tell(
        f"\nFrom the start of a process, its files in the system's cache: {median(helped):.2f} s to --help, "
        f"{median(started):.2f} s to the first face judged"
    )
    return {"help": helped, "first_face": started}
