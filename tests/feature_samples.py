"""Saved features as the tests need them: made by hand, in a file as `analyze --save-features` would leave it."""

from collections.abc import Iterable, Mapping
from pathlib import Path

import numpy as np

from emo_affectnet.feature_files import FeatureWriter, Origin, VideoFeatures

ORIGIN = Origin(backbone="backbone.pt", sha256="ab" * 32, width=8)


def make_video(
    name: str, features: object = (), *, indices: Iterable[int] | None = None, people: Iterable[int] | None = None
) -> VideoFeatures:
    """Return a video whose rows have the given features (N, 8): one person's, in every 6th frame at 30 frames/s."""
    rows = np.array(features, np.float32).reshape(-1, ORIGIN.width)
    frames = np.array(list(range(0, 6 * len(rows), 6) if indices is None else indices), np.int64)
    who = np.ones(len(rows), np.int64) if people is None else np.array(list(people), np.int64)
    boxes = np.tile(np.array([0, 0, 40, 50], np.float32), (len(rows), 1))
    return VideoFeatures(name, frames, frames / 30, who, boxes, rows)


def write_videos(path: Path, videos: Iterable[VideoFeatures], *, origin: Origin = ORIGIN) -> Path:
    with FeatureWriter(path, origin=origin, settings={"detector": "short-range"}) as writer:
        for video in videos:
            writer.add(video)
    return path


def draw_videos(classes: Mapping[str, int], *, clips: int, seed: int = 0, frames: int = 10) -> list[VideoFeatures]:
    """Return `clips` noisy videos for each class, named <class>/0 ...; the feature of the class's number is large."""
    generator = np.random.default_rng(seed)
    videos = []
    for name, number in classes.items():
        for clip in range(clips):
            rows = np.abs(generator.normal(0, 0.3, (frames, ORIGIN.width)))
            rows[:, number] += 2
            videos.append(make_video(f"{name}/{clip}", rows))
    return videos


def write_labels(path: Path, *rows: tuple[object, ...], header: str = "path,label") -> Path:
    path.write_text("\n".join([header, *(",".join(map(str, row)) for row in rows)]) + "\n", encoding="utf-8")
    return path
