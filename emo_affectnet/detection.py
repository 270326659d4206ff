"""Detectors: an image goes in, the boxes of its faces come out. MediaPipe's models come inside its wheel.

`NearAndFarDetector`, the default, finds what the others miss: it looks at the whole picture and, where that does not
suffice, at parts of it. What it remembers of one video is in a `FaceSearch`.
"""

import math
import sys
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, Protocol, runtime_checkable

import numpy as np

from .errors import UsageError, silent_errors
from .faces import MIN_OVERLAP, Box, Detector, Face, Image, box_area, box_overlap, clip_box, shared_area

DEFAULT_DETECTOR = "near-and-far"

NEAR_SHARE = 0.13  # of the longer side of a picture: the first look finds narrower faces by chance only (PEDFE: none)
TILE_SHARES = (1, 0.55, 0.31)  # sides of tiles as shares of the picture's shorter side; each finds what the last misses
TILE_OVERLAP = 0.2  # share of a tile that its neighbour sees too, more than any face that only this size of tile finds
MIN_TILE = 64  # px; what only a smaller one shows is far too small to read

SURE = 0.7  # score in the first look; a less sure face of it is looked at again like one found in a part
# A face found in a part counts if the far model sees it too, in two close-ups, whose sides are these times the face's.
# Seen on 26 pictures without people, turned and relit: 469 false faces in tiles of the near model, none in both
# close-ups; of 653 true ones in galleries 99.2 % were. At 2.5 alone three of the false ones passed, and a headlamp.
CONFIRMING = (2.0, 2.5)
# The near model reads a face in a close-up of this size as it does in the whole picture. Medians over 232 faces of
# PEDFE: as wide to 0.1 %, moved up by 3 % of its height, within a spread (interquartile) of 5 to 7 %. Boxes of the far
# model would be 8 % wider and reach up by 11 %; they decide only whether there is a face.
FRAMING = 3.0

FIRST_PAUSE = 5  # looks from one search to the next, 1 s; doubled while nothing new is found ...
LONGEST_PAUSE = 25  # ... up to 5 s
SWEEP_EVERY = 10  # looks, 2 s; where the first look suffices, one tile is looked at so often: a tenth more work
RECHECK = 10  # looks, 2 s, after which the far model has to see a face again that only close-ups show
MEMORY = 5  # looks for which a face that was not found again is looked for in its place, 1 s

_BLANK = np.zeros((64, 64, 3), np.uint8)  # the first image is what makes MediaPipe load its model


@contextmanager
def _quiet_start() -> Iterator[Any]:
    """Yield MediaPipe's solutions for the time of their start, in silence; errors still come as exceptions.

    MediaPipe imports TensorFlow, where it is installed, for the sake of its own documentation: 3 s and 600 MB for
    nothing. So TensorFlow is out of its sight until it has started.
    """
    hides_tensorflow = "tensorflow" not in sys.modules
    if hides_tensorflow:
        sys.modules["tensorflow"] = None  # type: ignore[assignment] # Python's own mark of what must not be imported
    try:
        with silent_errors():
            from mediapipe.python import solutions

            yield solutions
    finally:
        if hides_tensorflow:
            del sys.modules["tensorflow"]


class BlazeFaceDetector:
    """MediaPipe's face detector: `range_model` 0 for faces within 2 m of the camera, 1 for within 5 m.

    The threshold is applied here: MediaPipe 0.10.21 takes one, but cuts at `LEAST_SCORE` whatever it is told.

    Raises:
        UsageError: `confidence` is below `LEAST_SCORE`.
    """

    LEAST_SCORE = 0.5

    def __init__(self, *, confidence: float | None = None, range_model: int = 0) -> None:
        self._confidence = self.LEAST_SCORE if confidence is None else confidence
        if self._confidence < self.LEAST_SCORE:
            raise UsageError(
                f"This detector reports no face below a confidence of {self.LEAST_SCORE}, so a threshold of "
                f"{confidence} would change nothing; choose one from {self.LEAST_SCORE} to 1."
            )
        with _quiet_start() as solutions:
            solution = solutions.face_detection.FaceDetection
            self._detect = solution(model_selection=range_model).process
            self._detect(_BLANK)

    def __call__(self, image: Image) -> list[Face]:
        """Return the faces of an RGB image uint8 (H, W, 3), best first."""
        return [face for face in self.find(image) if face.is_readable]

    def find(self, image: Image) -> list[Face]:
        """Return the faces of an image, best first, also those that are too small to read."""
        height, width = image.shape[:2]
        faces = []
        for detection in self._detect(image).detections or ():
            box = detection.location_data.relative_bounding_box
            x1, y1 = box.xmin * width, box.ymin * height
            clipped = clip_box(x1, y1, x1 + box.width * width, y1 + box.height * height, image=image, min_side=1)
            score = min(float(detection.score[0]), 1.0)
            if clipped and score >= self._confidence:
                faces.append(Face(clipped, score))
        return sorted(faces, key=lambda face: -(face.score or 0))


class FaceMeshDetector:
    """The published camera box: the bounds of MediaPipe FaceMesh's 468 landmarks. It gives no score.

    Each image is searched anew: the original lets the mesh follow the last frame, and so depends on what came before.
    """

    MAX_FACES = 8

    def __init__(self, *, confidence: float | None = None) -> None:
        with _quiet_start() as solutions:
            self._detect = solutions.face_mesh.FaceMesh(
                static_image_mode=True, max_num_faces=self.MAX_FACES, min_detection_confidence=confidence or 0.5
            ).process
            self._detect(_BLANK)

    def __call__(self, image: Image) -> list[Face]:
        """Return the faces of an RGB image uint8 (H, W, 3), largest first."""
        height, width = image.shape[:2]
        last = np.array([width - 1, height - 1])
        faces = []
        for mesh in self._detect(image).multi_face_landmarks or ():
            points = np.array([(point.x * width, point.y * height) for point in mesh.landmark])
            points = np.minimum(np.floor(points), last)
            clipped = clip_box(*points.min(axis=0), *points.max(axis=0), image=image)
            if clipped:
                faces.append(Face(clipped, None))
        return sorted(faces, key=lambda face: -box_area(face.box))


@runtime_checkable
class Remembering(Protocol):
    """A detector that follows faces from frame to frame."""

    def start(self) -> Detector:
        """Return a detector for the frames of one video, which remembers nothing of any other."""


def start_detector(detector: Detector) -> Detector:
    """Return what finds the faces of one video: the detector itself, unless it is one that remembers."""
    return detector.start() if isinstance(detector, Remembering) else detector


class NearAndFarDetector:
    """Finds near faces in the whole picture and far ones in parts of it; it has two models, for these two distances.

    By itself it remembers nothing: the same image gives the same faces. `start` returns a `FaceSearch` for a video.
    Its boxes are all of the near model, whose framing the weights' margins are for.

    Raises:
        UsageError: `confidence` is below that of `BlazeFaceDetector`.
    """

    def __init__(self, *, confidence: float | None = None) -> None:
        self.near = BlazeFaceDetector(confidence=confidence)
        self.far = BlazeFaceDetector(range_model=1)

    def __call__(self, image: Image) -> list[Face]:
        """Return the faces of an RGB image uint8 (H, W, 3), best first, also those that are too small to read."""
        return self.start()(image)

    def start(self) -> "FaceSearch":
        """Return a detector for the frames of one video."""
        return FaceSearch(self.near, self.far)


@dataclass
class _Known:
    """A face of the looks before."""

    box: Box
    missed: int = 0  # looks in which it was not found


class FaceSearch:
    """Finds the faces of one video, frame by frame.

    Each frame is looked at as a whole by `near`. A face of the frames before that is missing is looked for in a
    close-up of its place. If no face is large, there may be others that the first look cannot find: then all tiles are
    searched, at once and later in growing intervals. If one is large, one tile after the other is looked at, now and
    then. `far` confirms new faces.
    """

    def __init__(self, near: BlazeFaceDetector, far: BlazeFaceDetector) -> None:
        self._near, self._far = near, far
        self._known: list[_Known] = []
        self._shape: tuple[int, ...] = ()
        self._pause, self._wait = FIRST_PAUSE, 0  # looks until the next search
        self._looks = 0

    def __call__(self, image: Image) -> list[Face]:
        """Return the faces of the next frame, RGB uint8 (H, W, 3), best first, also those too small to read."""
        if image.shape != self._shape:
            self._known, self._shape, self._wait = [], image.shape, 0
        faces = self._check(image, self._near(image))
        faces += self._find_missing(image, faces)
        faces += self._find_new(image, faces)
        self._remember(faces)
        self._looks += 1
        return sorted(faces, key=lambda face: -(face.score or 0))

    def _check(self, image: Image, seen: list[Face]) -> list[Face]:
        """Return the faces of which the first look is sure, and others as they are in a close-up, if they are faces.

        A face of the looks before of which it is not sure counts as missing: its box may be far too large.
        """
        sure = [face for face in seen if (face.score or 0) >= SURE]
        for face in seen:
            if face not in sure and is_new(face, [*sure, *self._known]):
                again = self._verify(image, face.box)
                if again and is_new(again, sure):
                    sure.append(again)
        return sure

    def _find_missing(self, image: Image, present: list[Face]) -> list[Face]:
        """Return the faces of the looks before that are not among those `present`, where they still are."""
        found: list[Face] = []
        is_checked = self._looks % RECHECK == 0
        for known in list(self._known):
            if is_new(known, [*present, *found]):
                face = self._verify(image, known.box) if is_checked else self._reframe(image, known.box)
                if face and is_new(face, [*present, *found]):
                    found.append(face)
                if is_checked and not face:  # the person left, and the near model is taken in by what was behind
                    self._known.remove(known)
        return found

    def _find_new(self, image: Image, present: list[Face]) -> list[Face]:
        """Return further faces, if this frame is one in which to search for them."""
        height, width = image.shape[:2]
        tiles = list_tiles(width, height)
        self._wait -= 1
        if any(face.box[2] - face.box[0] >= NEAR_SHARE * max(height, width) for face in present):
            turn, rest = divmod(self._looks + 1, SWEEP_EVERY)
            if rest or not tiles:
                return []
            if not (found := self._search(image, [tiles[(turn - 1) % len(tiles)]], present)):
                return []
            return found + self._search(image, tiles, [*present, *found])
        if self._wait >= 0:
            return []
        found = self._search(image, tiles, present)
        self._pause = FIRST_PAUSE if found else min(2 * self._pause, LONGEST_PAUSE)
        self._wait = self._pause - 1
        return found

    def _search(self, image: Image, tiles: Iterable[Box], present: list[Face]) -> list[Face]:
        """Return the faces in tiles that are not among those `present`."""
        found: list[Face] = []
        for tile in tiles:
            for candidate in find_in(self._near.find, image, tile):
                if is_new(candidate, [*present, *found]):
                    face = self._verify(image, candidate.box)
                    if face and is_new(face, [*present, *found]):
                        found.append(face)
        return found

    def _reframe(self, image: Image, box: Box) -> Face | None:
        """Return the face at about `box` as the near model sees it in a close-up, or None if it sees none there."""
        return _pick(find_in(self._near.find, image, _close_up(image, box, FRAMING)), box)

    def _verify(self, image: Image, box: Box) -> Face | None:
        """Return the face at about `box` if both models see it in close-ups."""
        face = self._reframe(image, box)
        if face is None:
            return None
        parts = (_close_up(image, face.box, scale) for scale in CONFIRMING)
        return face if all(_pick(find_in(self._far.find, image, part), face.box) for part in parts) else None

    def _remember(self, faces: list[Face]) -> None:
        known = [_Known(face.box) for face in faces]
        for other in self._known:
            if other.missed < MEMORY and is_new(other, known):
                known.append(_Known(other.box, other.missed + 1))
        self._known = known


def is_same(one: Box, other: Box) -> bool:
    """Say whether two boxes of one frame are of one face: they share half of the smaller one."""
    return 2 * shared_area(one, other) >= min(box_area(one), box_area(other))


def is_new(face: Face | _Known, others: Iterable[Face | _Known]) -> bool:
    """Say whether a face is none of the others."""
    return not any(is_same(face.box, other.box) for other in others)


def find_in(find: Detector, image: Image, part: Box) -> list[Face]:
    """Return the faces in a part of an image, best first; boxes are those of the whole image."""
    left, top, right, bottom = part
    faces = find(np.ascontiguousarray(image[top:bottom, left:right]))
    return [
        Face((x1 + left, y1 + top, x2 + left, y2 + top), face.score) for face in faces for x1, y1, x2, y2 in [face.box]
    ]


def _pick(faces: list[Face], box: Box) -> Face | None:
    """Return the face that overlaps a box most, if one does as far as two boxes of one person have to."""
    best = max(faces, key=lambda face: box_overlap(face.box, box), default=None)
    return best if best and box_overlap(best.box, box) > MIN_OVERLAP else None


def _close_up(image: Image, box: Box, scale: float) -> Box:
    """Return the square around a box whose side is `scale` times the box's longer one, as far as it is in the image."""
    height, width = image.shape[:2]
    x1, y1, x2, y2 = box
    reach = math.ceil(scale * max(x2 - x1, y2 - y1) / 2)
    x, y = (x1 + x2) // 2, (y1 + y2) // 2
    return max(x - reach, 0), max(y - reach, 0), min(x + reach, width), min(y + reach, height)


@lru_cache(maxsize=8)
def list_tiles(width: int, height: int) -> tuple[Box, ...]:
    """Return the square parts of a picture in which far faces are searched, the largest first."""
    short = min(width, height)
    sides = [side for side in (round(share * short) for share in TILE_SHARES) if MIN_TILE <= side < max(width, height)]
    return tuple(
        (x, y, x + side, y + side)
        for side in sides
        for y in _list_starts(height, side)
        for x in _list_starts(width, side)
    )


def _list_starts(length: int, side: int) -> list[int]:
    """Return where tiles of `side` px begin, evenly, so that they cover `length` px and overlap."""
    steps = math.ceil((length - side) / (side * (1 - TILE_OVERLAP)))
    return [round(step * (length - side) / max(steps, 1)) for step in range(steps + 1)]


DETECTORS: dict[str, Callable[..., Detector]] = {
    DEFAULT_DETECTOR: NearAndFarDetector,
    "short-range": BlazeFaceDetector,
    "full-range": lambda **options: BlazeFaceDetector(range_model=1, **options),
    "face-mesh": FaceMeshDetector,
}
