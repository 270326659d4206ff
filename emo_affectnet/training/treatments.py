"""What is taken off a system's readings before they are scored: nothing, the run's mean, or the person's baseline.

The arithmetic is that of `baseline`, in the order of an analysis: a person's features are moved, then the mean log
probabilities of the run are taken off. A clip is never part of its own person's baseline.
"""

from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np

from ..baseline import Rest, find_feature_shift, find_person_baseline, find_run_baseline, measure_rest, pool_rests
from ..timeline import SAMPLE_HZ, Doubles, Windows
from .features import ClipFeatures
from .readers import ClipReading, Reader

NO_FEATURES = np.zeros((1, 1), np.float32)  # of a system that gives probabilities only


@dataclass(frozen=True, eq=False)
class System:
    """Something that reads clips, and what it reads in them as they are."""

    name: str
    clips: tuple[ClipFeatures, ...]
    readings: tuple[ClipReading, ...]  # of each clip
    reader: Reader | None  # reads clips whose features were moved; None: the system has no features

    @cached_property
    def rests(self) -> tuple[Rest | None, ...]:
        """What each clip reads as on average; None without a face."""
        return tuple(
            _measure(clip, reading, has_features=self.reader is not None)
            for clip, reading in zip(self.clips, self.readings, strict=True)
        )


def _measure(clip: ClipFeatures, reading: ClipReading, *, has_features: bool) -> Rest | None:
    if not len(reading.reported):
        return None
    features = clip.features if has_features else NO_FEATURES
    return measure_rest(features, reading.reported, seconds=len(clip.times) / SAMPLE_HZ)


def read_probabilities(probabilities: Doubles | None) -> ClipReading:
    """Return the reading of a clip of which only mean probabilities (7,) are known; None: no face."""
    rows = np.empty((0, 7)) if probabilities is None else probabilities[None]
    only = np.zeros(len(rows), np.int64)
    windows = Windows(np.zeros((len(rows), 1), np.float32), only[:, None], only, only)
    return ClipReading(windows, rows[None].astype(np.float32), np.full(1, len(rows) > 0))


def take_off_run(system: System) -> list[ClipReading]:
    """Return the readings of a system without what all its clips read as on average.

    Raises:
        UsageError: no clip shows a face.
    """
    baseline = find_run_baseline([rest for rest in system.rests if rest])
    return [reading.adjust(baseline) for reading in system.readings]


def list_others(system: System, *, count: int | None = None, seed: int = 0) -> list[list[int]]:
    """Return for each clip the positions of at most `count` other clips of its person that show a face.

    They are drawn at random, and those for a small `count` are among those for a larger one.
    """
    generator = np.random.default_rng(seed)
    by_speaker: dict[str, list[int]] = {}
    for position, (clip, rest) in enumerate(zip(system.clips, system.rests, strict=True)):
        if rest:
            by_speaker.setdefault(clip.speaker, []).append(position)
    others = []
    for position, clip in enumerate(system.clips):
        order = generator.permutation([each for each in by_speaker.get(clip.speaker, []) if each != position])
        others.append(sorted(int(each) for each in order[:count]))
    return others


def take_off_person(
    system: System, *, reference: Doubles | None, count: int | None = None, seed: int = 0
) -> list[ClipReading]:
    """Return the readings of a system without the baseline of each clip's person, from `count` other clips, or all.

    `reference` is the mean feature of all people, (512,); None leaves features as they are, as where a system has none.
    A clip whose person is in no other one has the run's baseline.

    Raises:
        UsageError: no clip shows a face.
    """
    mean = None if system.reader is None else reference
    others = list_others(system, count=count, seed=seed)
    own = [pool_rests([rest for each in known if (rest := system.rests[each])]) if known else None for known in others]
    moved = system
    if mean is not None and system.reader is not None:
        shifts = [find_feature_shift(rest, mean) if rest else None for rest in own]
        clips = tuple(
            clip if shift is None else replace(clip, features=clip.features + shift)
            for clip, shift in zip(system.clips, shifts, strict=True)
        )
        moved = replace(system, clips=clips, readings=tuple(system.reader(clips)))
    whole = find_run_baseline([rest for rest in system.rests if rest])
    run = pool_rests([rest for rest in moved.rests if rest])
    baselines = [find_person_baseline(rest, run=run, reference=mean) if rest else whole for rest in own]
    return [reading.adjust(baseline) for reading, baseline in zip(moved.readings, baselines, strict=True)]
