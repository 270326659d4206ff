"""Faces in a frame, persons over time: what a detector returns, the crop that the network reads, the tracker.

`crop` cuts a face out as the weights' record asks; `FaceTracker` gives each sighting the person it belongs to;
`FaceReader` does both for the frames of one video. The detectors are in `detection`.
"""

from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

import cv2
import numpy as np
import numpy.typing as npt

from .video import Frame
from .weights import Preprocessing

Image = npt.NDArray[np.uint8]
Floats = npt.NDArray[np.float32]
Box = tuple[int, int, int, int]

MIN_SIDE = 16  # px of a face; nothing of an expression is left in a smaller one, and noise looks like one
MIN_OVERLAP = 0.2  # of two boxes of one person, 0.2 s apart: a face that moved by two thirds of its width
MAX_LOOK_DISTANCE = 0.5  # of two looks of one person; seen: below 0.40 in one recording, above 0.80 between two people
MIN_SIGHTINGS = 2  # a face seen only once is no person ...
LONE_SAMPLES = 5  # ... in a video of at least this many samples, 1 s

INTERPOLATIONS = {"area": cv2.INTER_AREA, "linear": cv2.INTER_LINEAR, "nearest": cv2.INTER_NEAREST}


@dataclass(frozen=True)
class Face:
    """One detection."""

    box: Box  # px, half-open x1, y1, x2, y2, inside the frame, never empty
    score: float | None  # the detector's confidence, 0-1; None if it gives none

    @property
    def is_readable(self) -> bool:
        """Whether the face is large enough for an expression."""
        x1, y1, x2, y2 = self.box
        return min(x2 - x1, y2 - y1) >= MIN_SIDE


@dataclass(frozen=True)
class View:
    """The upright part of each frame in which to look for faces; its bounds are shares of the width and height."""

    left: float = 0.0
    top: float = 0.0
    right: float = 1.0
    bottom: float = 1.0
    quarter_turns: int = 0  # counter-clockwise, before the part is taken

    def apply(self, image: Image) -> Image:
        """Return the part of `image` (H, W, 3)."""
        turned = np.rot90(image, self.quarter_turns)
        height, width = turned.shape[:2]
        rows = slice(round(self.top * height), round(self.bottom * height))
        columns = slice(round(self.left * width), round(self.right * width))
        return np.ascontiguousarray(turned[rows, columns])


class Detector(Protocol):
    """Anything that finds faces."""

    def __call__(self, image: Image) -> list[Face]:
        """Return the faces of an RGB image uint8 (H, W, 3), best first."""


def clip_box(x1: float, y1: float, x2: float, y2: float, *, image: Image, min_side: int = MIN_SIDE) -> Box | None:
    """Return a box in whole pixels inside the image, or None if less than `min_side` px of either side is."""
    height, width = image.shape[:2]
    left, top = max(int(x1), 0), max(int(y1), 0)
    right, bottom = min(int(x2), width), min(int(y2), height)
    return (left, top, right, bottom) if min(right - left, bottom - top) >= min_side else None


def crop(image: Image, box: Box, preprocessing: Preprocessing) -> Image:
    """Return a face as the network's record asks, uint8 (S, S, 3) RGB, stretched to a square.

    The box is widened by the record's margins; what reaches out of the frame repeats the frame's edge.
    """
    x1, y1, x2, y2 = box
    width, height = x2 - x1, y2 - y1
    left, top, right, bottom = preprocessing.crop_margin
    x1, x2 = round(x1 - left * width), round(x2 + right * width)
    y1, y2 = round(y1 - top * height), round(y2 + bottom * height)
    rows, columns = image.shape[:2]
    inside: Any = image[max(y1, 0) : y2, max(x1, 0) : x2]
    outside = (max(-y1, 0), max(y2 - rows, 0), max(-x1, 0), max(x2 - columns, 0))
    if any(outside):
        inside = cv2.copyMakeBorder(inside, *outside, cv2.BORDER_REPLICATE)
    side = preprocessing.input_size
    resized: Image = cv2.resize(inside, (side, side), interpolation=INTERPOLATIONS[preprocessing.interpolation])
    return resized


def box_area(box: Box) -> int:
    """Return the area of a box in px."""
    return (box[2] - box[0]) * (box[3] - box[1])


def shared_area(one: Box, other: Box) -> int:
    """Return the area in px of what two boxes have in common."""
    width = min(one[2], other[2]) - max(one[0], other[0])
    height = min(one[3], other[3]) - max(one[1], other[1])
    return max(width, 0) * max(height, 0)


def box_overlap(one: Box, other: Box) -> float:
    """Return the intersection of two boxes over their union, 0-1."""
    shared = shared_area(one, other)
    return shared / (box_area(one) + box_area(other) - shared)


def describe_look(image: Image, box: Box) -> Floats:
    """Return the colours of a face and its hair, float32 (6, 16, 16) over L, a, b; they sum to 1.

    It tells people of one recording apart well enough to know who came back; it is no biometric.
    """
    x1, y1, x2, y2 = box
    margin_x, margin_y = (x2 - x1) // 4, (y2 - y1) // 4
    step = max(min(x2 - x1, y2 - y1) // 96, 1)  # a look needs few of the pixels of a large face
    patch = image[max(y1 - margin_y, 0) : y2 + margin_y : step, max(x1 - margin_x, 0) : x2 + margin_x : step]
    colours = cv2.cvtColor(cv2.resize(patch, (48, 48), interpolation=cv2.INTER_AREA), cv2.COLOR_RGB2LAB)
    # Faces fill the middle half of the a and b axes.
    counts = cv2.calcHist([colours], [0, 1, 2], None, [6, 16, 16], [0, 256, 64, 192, 64, 192])
    look: Floats = (counts / max(counts.sum(), 1)).astype(np.float32)
    return look


def prepare_looks() -> None:
    """Describe a look for nothing: OpenCV takes 0.2 s, once in a process, for its tables of these colours."""
    describe_look(np.zeros((64, 64, 3), np.uint8), (0, 0, 64, 64))


def look_distance(one: Floats, other: Floats) -> float:
    """Return the Hellinger distance of two looks, 0 (same colours) to 1 (none shared)."""
    return float(cv2.compareHist(one, other, cv2.HISTCMP_BHATTACHARYYA))


@dataclass(frozen=True)
class Sighting:
    """One person's face in one frame."""

    track_id: int
    index: int  # of the frame, 0-based
    time: float  # s
    face: Face


@dataclass
class _Person:
    track_id: int
    box: Box
    time: float  # s, last seen
    look: Floats  # a running mean


@dataclass
class FaceTracker:
    """Gives each sighting a person's id: by box overlap from sample to sample, by look after an absence or a cut.

    Two faces of one frame are never the same person. The state is small: one box and one look per person.
    """

    max_gap: float  # s a person may be unseen and still be followed by box overlap
    _people: list[_Person] = field(default_factory=list)

    def update(self, faces: Sequence[Face], *, image: Image, time: float) -> list[int]:
        """Return the 1-based person id of each face of the frame at `time` s."""
        looks = [describe_look(image, face.box) for face in faces]
        found: dict[int, _Person] = {}
        present = [person for person in self._people if time - person.time <= self.max_gap]
        _match(found, faces, present, lambda face, person: MIN_OVERLAP - box_overlap(faces[face].box, person.box))
        _match(
            found, faces, self._people, lambda face, person: look_distance(looks[face], person.look) - MAX_LOOK_DISTANCE
        )
        for index, (face, look) in enumerate(zip(faces, looks, strict=True)):
            person = found.get(index) or self._add(face, look)
            person.box, person.time = face.box, time
            person.look = 0.8 * person.look + 0.2 * look
            found[index] = person
        return [found[index].track_id for index in range(len(faces))]

    def _add(self, face: Face, look: Floats) -> _Person:
        person = _Person(len(self._people) + 1, face.box, 0.0, look)
        self._people.append(person)
        return person


def _match(
    found: dict[int, _Person], faces: Sequence[Face], people: Sequence[_Person], cost: Callable[[int, _Person], float]
) -> None:
    """Add the cheapest pairs of free faces and free people whose cost is at most 0 to `found`."""
    taken = {person.track_id for person in found.values()}
    free_faces = [face for face in range(len(faces)) if face not in found]
    free_people = {person.track_id: person for person in people if person.track_id not in taken}
    pairs = [(cost(face, person), face, track_id) for face in free_faces for track_id, person in free_people.items()]
    for _, face, track_id in sorted(pair for pair in pairs if pair[0] <= 0):
        if face not in found and track_id in free_people:
            found[face] = free_people.pop(track_id)


def is_person(sightings: int, *, samples: int) -> bool:
    """Say whether a track is a person: a lone sighting in a video of a second or more is a false face."""
    return sightings >= MIN_SIGHTINGS or samples < LONE_SAMPLES


@dataclass
class FaceReader:
    """Finds everyone in the frames of one video or one camera: whose face it is, and the crop that the network reads.

    Faces that are too small to read are counted only.
    """

    detect: Detector  # of this video and no other
    preprocessing: Preprocessing
    max_gap: float  # s, of the tracker
    _tracker: FaceTracker = field(init=False)
    _too_small: FaceTracker = field(init=False)
    small: int = 0  # faces of the last frame that were too small to read
    _small_sightings: Counter[int] = field(default_factory=Counter)  # by the tracker's ids

    def __post_init__(self) -> None:
        self._tracker, self._too_small = FaceTracker(self.max_gap), FaceTracker(self.max_gap)

    def read(self, frame: Frame, image: Image) -> Iterator[tuple[Sighting, Image]]:
        """Find every face in `image`, which is what to see of a frame; yield whose it is and its crop."""
        faces = self.detect(image)
        small = [face for face in faces if not face.is_readable]
        self.small = len(small)
        faces = [face for face in faces if face.is_readable]
        self._small_sightings.update(self._too_small.update(small, image=image, time=frame.time))
        people = self._tracker.update(faces, image=image, time=frame.time)
        for face, track_id in zip(faces, people, strict=True):
            yield Sighting(track_id, frame.index, frame.time, face), crop(image, face.box, self.preprocessing)

    def count_too_small(self, *, samples: int) -> int:
        """Return how many people's faces were too small to read, in as many samples so far."""
        return sum(is_person(count, samples=samples) for count in self._small_sightings.values())
