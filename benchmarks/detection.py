"""Print what a look for faces costs with the detector of before, `short-range`, and with the default, by turns.

Every picture is given to both, one right after the other; a scene's figure is the mean over its looks, and of several
rounds the least counts. It is the processor's time, which other programs disturb less than the clock's. One person near
the camera is where the first look suffices; in a gallery and in slides without anybody it does not. Each round begins a
video anew, so the first search of all tiles is among its looks.

    python benchmarks/detection.py --looks 50 --rounds 3
"""

import time
from collections.abc import Callable
from itertools import islice
from typing import Any

import click
import cv2
import numpy as np
from clips import FPS, Image, draw_pictures
from measurement import write_figures

from emo_affectnet.detection import DEFAULT_DETECTOR, DETECTORS, start_detector
from emo_affectnet.faces import Detector
from emo_affectnet.timeline import SAMPLE_HZ

BEFORE = "short-range"
HEIGHTS = (480, 720, 1080)  # px, of 16:9
SLIDE_LOOKS = 25  # that a slide stays


def draw_gallery(*, width: int, height: int, side: int) -> list[Image]:
    """Return pictures of side x side people; each tile shows the demo clip at another point."""
    cell = height // side
    one = islice(draw_pictures(width=cell, height=cell, people=1), 0, 250, FPS // SAMPLE_HZ)
    tiles = list(one)
    pictures = []
    for look in range(len(tiles)):
        picture = np.full((height, width, 3), 128, np.uint8)
        for place in range(side * side):
            x, y = place % side * (width // side) + (width // side - cell) // 2, place // side * cell
            picture[y : y + cell, x : x + cell] = tiles[(look + 7 * place) % len(tiles)]
        pictures.append(picture)
    return pictures


def draw_slides(*, width: int, height: int, looks: int) -> list[Image]:
    """Return pictures of slides with text, each for 5 s."""
    pictures = []
    for look in range(looks):
        picture = np.full((height, width, 3), 240, np.uint8)
        for line in range(8):
            words = f"Result {look // SLIDE_LOOKS + line}: figures and their intervals"
            place = (width // 20, (line + 2) * height // 11)
            cv2.putText(picture, words, place, cv2.FONT_HERSHEY_SIMPLEX, height / 720, (30, 30, 60), 2, cv2.LINE_AA)
        pictures.append(picture)
    return pictures


def draw_person(*, width: int, height: int, looks: int) -> list[Image]:
    """Return pictures of one person near the camera."""
    return list(islice(draw_pictures(width=width, height=height, people=1), 0, looks * 6, 6))


def time_looks(find: Detector, image: Image) -> float:
    """Return the processor's seconds that a look takes."""
    began = time.process_time()
    find(image)
    return time.process_time() - began


def measure(pictures: list[Image], *, looks: int, rounds: int) -> dict[str, Any]:
    """Return the least mean ms of a look with either detector, and the ratio."""
    made = {name: DETECTORS[name](confidence=None) for name in (BEFORE, DEFAULT_DETECTOR)}
    means: dict[str, list[float]] = {name: [] for name in made}
    for _ in range(rounds):
        finders = {name: start_detector(detector) for name, detector in made.items()}
        seconds = dict.fromkeys(made, 0.0)
        for look in range(looks):
            for name, find in finders.items():
                seconds[name] += time_looks(find, pictures[look % len(pictures)])
        for name, total in seconds.items():
            means[name].append(1000 * total / looks)
    before, now = (min(means[name]) for name in (BEFORE, DEFAULT_DETECTOR))
    return {"before_ms": round(before, 2), "now_ms": round(now, 2), "ratio": round(now / before, 2)}


@click.command()
@click.option("--looks", default=50, show_default=True, help="Looks of a round, five for each second of video.")
@click.option("--rounds", default=3, show_default=True)
@click.option("--height", "heights", multiple=True, type=int, default=HEIGHTS, show_default=True, help="px, of 16:9.")
def main(looks: int, rounds: int, heights: tuple[int, ...]) -> None:
    """Measure the cost of a look for faces."""
    results = []
    click.echo(f"{'scene':>18}{'height':>8}{'before, ms':>12}{'now, ms':>9}{'times':>7}")
    for height in heights:
        size = {"width": round(height * 16 / 9 / 2) * 2, "height": height}
        scenes: dict[str, Callable[[], list[Image]]] = {
            "one person": lambda size=size: draw_person(**size, looks=looks),  # type: ignore[misc]
            "gallery of 9": lambda size=size: draw_gallery(**size, side=3),  # type: ignore[misc]
            "gallery of 25": lambda size=size: draw_gallery(**size, side=5),  # type: ignore[misc]
            "slides": lambda size=size: draw_slides(**size, looks=looks),  # type: ignore[misc]
        }
        for scene, draw in scenes.items():
            result = measure(draw(), looks=looks, rounds=rounds)
            results.append({"scene": scene, "height": height, **result})
            click.echo(f"{scene:>18}{height:>8}{result['before_ms']:>12}{result['now_ms']:>9}{result['ratio']:>7}")
    click.echo(f"\n{write_figures('detection', looks=looks, rounds=rounds, results=results)}")


if __name__ == "__main__":
    main()
