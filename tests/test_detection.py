"""Detectors find the face that is there; the default finds small ones too, at a price that is paid where it must be."""

import os
import subprocess
import sys
from collections.abc import Iterator, Sequence

import cv2
import numpy as np
import pytest
from conftest import VIDEO_FOLDER

from emo_affectnet.detection import (
    DEFAULT_DETECTOR,
    DETECTORS,
    FIRST_PAUSE,
    LONGEST_PAUSE,
    MEMORY,
    NEAR_SHARE,
    RECHECK,
    SWEEP_EVERY,
    FaceSearch,
    is_same,
    list_tiles,
    start_detector,
)
from emo_affectnet.errors import UsageError
from emo_affectnet.faces import Box, Detector, Face, box_overlap
from emo_affectnet.video import read_frames

FACE_OF_ASTRONAUT = (177, 72, 272, 178)  # px, read off the portrait: chin to hairline, ear to ear


@pytest.mark.parametrize("name", DETECTORS)
def test_detector_finds_the_astronaut_once(name: str, astronaut: np.ndarray) -> None:
    faces = DETECTORS[name](confidence=None)(astronaut)
    assert len(faces) == 1
    assert box_overlap(faces[0].box, FACE_OF_ASTRONAUT) > 0.75


@pytest.mark.parametrize("name", DETECTORS)
@pytest.mark.parametrize("shape", [(1, 1, 3), (13, 17, 3), (3, 400, 3), (144, 176, 3)])
def test_detector_finds_nothing_in_noise_of_any_size(name: str, shape: tuple[int, int, int]) -> None:
    noise = np.random.default_rng(0).integers(0, 256, shape, dtype=np.uint8)
    assert DETECTORS[name](confidence=None)(noise) == []


def test_detector_finds_two_people_best_first(astronaut: np.ndarray) -> None:
    pair = np.concatenate([astronaut[:300, 60:360], astronaut[:300, 360:59:-1]], axis=1)
    faces = DETECTORS["short-range"](confidence=None)(pair)
    assert sorted(face.box[0] < 300 for face in faces) == [False, True]
    assert [face.score for face in faces] == sorted((face.score for face in faces), reverse=True)


def test_boxes_stay_inside_the_frame(astronaut: np.ndarray) -> None:
    cut = np.ascontiguousarray(astronaut[:, :225])  # the right half of the face is gone
    (face,) = DETECTORS["full-range"](confidence=None)(cut)
    x1, y1, x2, y2 = face.box
    assert 0 <= x1 < x2 == cut.shape[1]
    assert 0 <= y1 < y2 <= cut.shape[0]


def test_detector_threshold_is_the_callers(astronaut: np.ndarray) -> None:
    assert DETECTORS["short-range"](confidence=0.90)(astronaut) != []  # its score is 0.92
    assert DETECTORS["short-range"](confidence=0.95)(astronaut) == []
    assert DETECTORS["face-mesh"](confidence=0.5)(astronaut) != []
    assert DETECTORS["face-mesh"](confidence=0.95)(astronaut) == []


def test_a_threshold_that_would_change_nothing_is_refused() -> None:
    with pytest.raises(UsageError, match="choose one from 0.5 to 1"):
        DETECTORS["short-range"](confidence=0.3)


def test_face_mesh_box_is_the_published_bounds_of_the_landmarks_and_has_no_score(astronaut: np.ndarray) -> None:
    import mediapipe

    mesh = mediapipe.solutions.face_mesh.FaceMesh(static_image_mode=True, max_num_faces=1)
    points = mesh.process(astronaut).multi_face_landmarks[0].landmark
    assert len(points) == 468
    # pixel = min(floor(x * width), width - 1); the box is the least and the greatest over all landmarks.
    columns = [min(int(np.floor(point.x * 512)), 511) for point in points]
    rows = [min(int(np.floor(point.y * 512)), 511) for point in points]
    face = DETECTORS["face-mesh"](confidence=None)(astronaut)[0]
    assert face == Face((min(columns), min(rows), max(columns), max(rows)), None)


def test_a_detector_starts_in_silence_and_without_tensorflow_but_hides_it_from_nobody() -> None:
    """MediaPipe imports an installed TensorFlow for its documentation's decorators; seen: 3 s and 600 MB."""
    script = """
import sys
from emo_affectnet.detection import DETECTORS
DETECTORS["short-range"](confidence=None)
assert not any(name.startswith("tensorflow.") for name in sys.modules)
import tensorflow
assert tensorflow.constant(1).numpy() == 1
"""
    command = [sys.executable, "-c", script]
    environment = os.environ | {"TF_CPP_MIN_LOG_LEVEL": "3"}
    done = subprocess.run(command, capture_output=True, text=True, check=True, env=environment)
    assert (done.stdout, done.stderr) == ("", "")


def test_a_detector_starts_in_a_process_without_an_error_stream() -> None:
    script = """
import os
os.close(2)
from emo_affectnet.detection import DETECTORS
DETECTORS["short-range"](confidence=None)
print("started")
"""
    done = subprocess.run([sys.executable, "-c", script], stdout=subprocess.PIPE, text=True, check=True)
    assert done.stdout == "started\n"


# The default: galleries of real clips


def read_pictures(name: str, *, every: int, count: int) -> list[np.ndarray]:
    frames = (frame.image for frame in read_frames(VIDEO_FOLDER / name) if frame.index % every == 0)
    return [image for image, _ in zip(frames, range(count), strict=False)]


def make_gallery(pictures: Sequence[np.ndarray], *, side: int) -> np.ndarray:
    """Return a video call at 1080p, side x side tiles with the pictures in them, square, on grey."""
    gallery = np.full((1080, 1920, 3), 128, np.uint8)
    height, width = 1080 // side, 1920 // side
    for index in range(side * side):
        row, column = divmod(index, side)
        x, y = column * width + (width - height) // 2, row * height
        tile = cv2.resize(pictures[index % len(pictures)], (height, height), interpolation=cv2.INTER_AREA)
        gallery[y : y + height, x : x + height] = tile
    return gallery


def find_tiles(faces: Sequence[Face], *, side: int) -> set[tuple[int, int]]:
    """Return the tiles of a gallery in which there is a face."""
    centres = [((face.box[0] + face.box[2]) / 2, (face.box[1] + face.box[3]) / 2) for face in faces]
    return {(int(y * side / 1080), int(x * side / 1920)) for x, y in centres}


@pytest.fixture(scope="module")
def detector() -> Detector:
    return DETECTORS[DEFAULT_DETECTOR](confidence=None)


@pytest.fixture(scope="module")
def pictures() -> list[np.ndarray]:
    return read_pictures("expressions.mp4", every=50, count=7)


@pytest.mark.parametrize("side", [3, 5])
def test_every_face_of_a_gallery_is_found_once(detector: Detector, pictures: list[np.ndarray], side: int) -> None:
    """The near model alone finds none of these; it takes a tile with its surroundings for a face, and is not sure."""
    gallery = make_gallery(pictures, side=side)
    assert len(DETECTORS["short-range"]()(gallery)) <= 1
    faces = detector(gallery)
    assert len(faces) == side * side
    assert len(find_tiles(faces, side=side)) == side * side
    assert [face.score for face in faces] == sorted((face.score for face in faces), reverse=True)


def test_faces_of_a_gallery_are_followed_from_frame_to_frame(detector: Detector, pictures: list[np.ndarray]) -> None:
    follow = start_detector(detector)
    for first in range(4):
        moved = [*pictures[first:], *pictures[:first]]
        assert len(find_tiles(follow(make_gallery(moved, side=3)), side=3)) == 9


def test_a_face_in_a_part_is_framed_as_in_the_whole(detector: Detector) -> None:
    """The weights' margins are for the boxes of the near model in a picture that the face fills."""
    (picture,) = read_pictures("expressions.mp4", every=1, count=1)  # 480 x 480
    (whole,) = DETECTORS["short-range"]()(picture)
    wide = np.full((1080, 1920, 3), 128, np.uint8)
    wide[300:780, 700:1180] = picture
    assert DETECTORS["short-range"]()(wide) == []
    (face,) = detector(wide)
    x1, y1, x2, y2 = face.box
    assert box_overlap((x1 - 700, y1 - 300, x2 - 700, y2 - 300), whole.box) > 0.75


def test_what_was_read_before_changes_nothing(detector: Detector, pictures: list[np.ndarray]) -> None:
    gallery, video = make_gallery(pictures, side=3), read_pictures("leaves_and_returns.mp4", every=24, count=8)

    def read(images: Sequence[np.ndarray]) -> list[list[Face]]:
        follow = start_detector(detector)
        return [follow(image) for image in images]

    first = read([gallery, gallery]), read(video)
    between = read(video), read([gallery, gallery])
    assert (first[0], first[1]) == (between[1], between[0])
    taken_in_turns = start_detector(detector), start_detector(detector)
    pairs = [(taken_in_turns[0](image), taken_in_turns[1](gallery)) for image in video]
    assert [faces for faces, _ in pairs] == first[1]


def make_scenes() -> Iterator[np.ndarray]:
    from skimage import data

    for name in ("coffee", "rocket", "brick", "page", "hubble_deep_field"):
        picture = getattr(data, name)()
        colour = picture if picture.ndim == 3 else np.repeat(picture[..., None], 3, axis=2)
        yield np.ascontiguousarray(colour)
    rows, columns = np.mgrid[:720, :1280]
    yield np.stack([127 + 127 * np.sin(columns / 90), 127 + 127 * np.sin(rows / 70), columns % 256], 2).astype(np.uint8)
    slide = np.full((720, 1280, 3), 240, np.uint8)
    for line in range(10):
        cv2.putText(
            slide, "Results and figures 2026 of all groups", (60, 80 + 60 * line), line % 4, 1.3, (20, 20, 60), 2
        )
    yield slide


def test_tiles_show_no_face_where_nobody_is(detector: Detector) -> None:
    """In the tiles of these the near model alone takes something for a face, again and again."""
    scenes = list(make_scenes())
    near = DETECTORS["short-range"]()
    tiles = [(scene, tile) for scene in scenes for tile in list_tiles(scene.shape[1], scene.shape[0])]
    assert any(near(np.ascontiguousarray(scene[y1:y2, x1:x2])) for scene, (x1, y1, x2, y2) in tiles)
    assert [detector(scene) for scene in scenes] == [[]] * len(scenes)


# The default: what it does when, with models that take bright squares for faces


class SquareModel:
    """Finds bright squares that are wide enough in the picture it is given; dim ones only if it is `gullible`."""

    def __init__(self, *, gullible: bool) -> None:
        self.least = 60 if gullible else 160
        self.sizes: list[tuple[int, int]] = []  # of the pictures, in turn

    def find(self, image: np.ndarray) -> list[Face]:
        self.sizes.append(image.shape[:2])
        _, _, boxes, _ = cv2.connectedComponentsWithStats((image[..., 0] >= self.least).astype(np.uint8))
        return [
            Face((int(x), int(y), int(x + width), int(y + height)), 0.8)
            for x, y, width, height, _ in boxes[1:]
            if width >= NEAR_SHARE * max(image.shape)
        ]

    def __call__(self, image: np.ndarray) -> list[Face]:
        return [face for face in self.find(image) if face.is_readable]


def draw(*boxes: Box, level: int = 200, size: tuple[int, int] = (480, 854)) -> np.ndarray:
    image = np.zeros((*size, 3), np.uint8)
    for x1, y1, x2, y2 in boxes:
        image[y1:y2, x1:x2] = level
    return image


@pytest.fixture
def near() -> SquareModel:
    return SquareModel(gullible=True)


@pytest.fixture
def search(near: SquareModel) -> FaceSearch:
    return FaceSearch(near, SquareModel(gullible=False))


LARGE, SMALL, OTHER, TINY = (300, 100, 500, 300), (600, 200, 660, 260), (100, 300, 150, 350), (30, 30, 42, 42)


def test_where_the_first_look_suffices_a_tile_is_looked_at_now_and_then(near: SquareModel, search: FaceSearch) -> None:
    for _ in range(4 * SWEEP_EVERY):
        assert [face.box for face in search(draw(LARGE))] == [LARGE]
    assert near.sizes.count((480, 854)) == 4 * SWEEP_EVERY
    assert len(near.sizes) == 4 * SWEEP_EVERY + 4


def test_where_nobody_is_tiles_are_searched_in_growing_intervals(near: SquareModel, search: FaceSearch) -> None:
    searched = []
    for look in range(100):
        before = len(near.sizes)
        assert search(draw()) == []
        if len(near.sizes) - before > 1:
            assert len(near.sizes) - before == 1 + len(list_tiles(854, 480))
            searched.append(look)
    pauses = [2 * FIRST_PAUSE, 4 * FIRST_PAUSE, LONGEST_PAUSE, LONGEST_PAUSE]
    assert searched == [0, *np.cumsum(pauses)]


def test_a_small_face_is_found_at_once_and_followed(near: SquareModel, search: FaceSearch) -> None:
    before = 0
    for step in range(12):
        x = 600 - 5 * step
        assert [face.box for face in search(draw((x, 200, x + 60, 260)))] == [(x, 200, x + 60, 260)]
        assert step in (0, FIRST_PAUSE) or len(near.sizes) - before == 2  # the whole, and where it was
        before = len(near.sizes)


def test_a_small_face_beside_a_large_one_is_found_by_and_by(search: FaceSearch) -> None:
    image = draw(LARGE, SMALL)
    looks = [len(search(image)) for _ in range(SWEEP_EVERY * len(list_tiles(854, 480)))]
    assert looks[0] == 1
    assert looks[looks.index(2) :] == [2] * looks.count(2)


def test_a_face_that_the_far_model_does_not_see_is_none(search: FaceSearch) -> None:
    image = draw(SMALL, level=100)
    assert [search(image) for _ in range(2 * FIRST_PAUSE)] == [[]] * (2 * FIRST_PAUSE)


def test_a_face_that_left_is_forgotten(near: SquareModel, search: FaceSearch) -> None:
    search(draw(SMALL))
    for _ in range(MEMORY + 1):
        assert search(draw()) == []
    before = len(near.sizes)
    search(draw())
    assert len(near.sizes) - before == 1


def test_what_is_behind_a_face_that_left_does_not_pass_for_it_for_long(search: FaceSearch) -> None:
    assert len(search(draw(SMALL))) == 1
    assert [len(search(draw(SMALL, level=100))) for _ in range(2 * RECHECK)] == [1] * (RECHECK - 1) + [0] * (
        RECHECK + 1
    )


def test_a_face_too_small_to_read_is_returned_as_such(search: FaceSearch) -> None:
    faces = search(draw(TINY, size=(120, 213)))
    assert [(face.box, face.is_readable) for face in faces] == [(TINY, False)]


def test_another_size_of_picture_is_searched_anew(search: FaceSearch) -> None:
    assert len(search(draw(OTHER))) == 1
    assert [face.box for face in search(draw(SMALL, size=(600, 800)))] == [SMALL]


def test_boxes_that_share_half_of_the_smaller_one_are_of_one_face() -> None:
    assert is_same((0, 0, 20, 20), (10, 0, 30, 20))
    assert not is_same((0, 0, 20, 20), (11, 0, 31, 20))
    assert is_same((0, 0, 100, 100), (40, 40, 50, 50))


@pytest.mark.parametrize("size", [(1920, 1080), (854, 480), (480, 854), (500, 500), (176, 144), (4000, 300)])
def test_tiles_cover_the_picture_and_overlap(size: tuple[int, int]) -> None:
    width, height = size
    tiles = list_tiles(width, height)
    for side in {x2 - x1 for x1, _, x2, _ in tiles}:
        covered = np.zeros((height, width), int)
        for x1, y1, x2, y2 in tiles:
            assert (0 <= x1 < x2 <= width, 0 <= y1 < y2 <= height, x2 - x1 == y2 - y1) == (True, True, True)
            if x2 - x1 == side:
                covered[y1:y2, x1:x2] += 1
        assert covered.min() == 1
        assert covered.max() > 1


def test_a_picture_too_small_for_tiles_has_none() -> None:
    assert list_tiles(80, 60) == ()
    assert list_tiles(3, 400) == ()
