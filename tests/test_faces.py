"""The crop is what the record asks for, a person keeps one id, what cannot be read is counted."""

import numpy as np

from emo_affectnet.detection import DETECTORS
from emo_affectnet.faces import (
    MAX_LOOK_DISTANCE,
    Face,
    FaceReader,
    FaceTracker,
    clip_box,
    crop,
    describe_look,
    is_person,
    look_distance,
)
from emo_affectnet.video import Frame, read_frames
from emo_affectnet.weights import PUBLISHED_PREPROCESSING, Preprocessing

FACE_OF_ASTRONAUT = (177, 72, 272, 178)  # px, read off the portrait: chin to hairline, ear to ear


def make_record(*, margin: tuple[float, float, float, float] = (0, 0, 0, 0), size: int = 4) -> Preprocessing:
    return Preprocessing(size, "RGB", (0.0, 0.0, 0.0), "area", margin)


def test_boxes_are_whole_pixels_inside_the_image_and_too_small_ones_are_none() -> None:
    image = np.zeros((40, 60, 3), np.uint8)
    assert clip_box(5.9, -2.2, 80, 29.7, image=image) == (5, 0, 60, 29)
    assert clip_box(5, 2, 21, 18, image=image) == (5, 2, 21, 18)
    assert clip_box(5, 2, 20, 18, image=image) is None
    assert clip_box(50, 2, 80, 30, image=image) is None
    assert clip_box(65, 2, 90, 30, image=image) is None


def test_crop_without_margin_is_the_box_itself() -> None:
    image = np.arange(6 * 8 * 3, dtype=np.uint8).reshape(6, 8, 3)
    np.testing.assert_array_equal(crop(image, (2, 1, 6, 5), make_record()), image[1:5, 2:6])


def test_crop_is_stretched_to_a_square() -> None:
    image = np.zeros((8, 16, 3), np.uint8)
    image[:, 8:] = 200
    out = crop(image, (4, 0, 12, 4), make_record())
    assert out.shape == (4, 4, 3)
    assert (out[:, :2] == 0).all()
    assert (out[:, 2:] == 200).all()


def test_margins_widen_the_box_by_shares_of_its_sides() -> None:
    image = np.random.default_rng(0).integers(0, 256, (40, 40, 3), dtype=np.uint8)
    # left 0.2 and right 0.1 of 10 px, top 0.5 and bottom -0.1 of 10 px
    out = crop(image, (10, 20, 20, 30), make_record(margin=(0.2, 0.5, 0.1, -0.1), size=14))
    expected = image[15:29, 8:21]
    assert expected.shape == (14, 13, 3)
    import cv2

    np.testing.assert_array_equal(out, cv2.resize(expected, (14, 14), interpolation=cv2.INTER_AREA))


def test_what_reaches_out_of_the_frame_repeats_its_edge() -> None:
    image = np.full((10, 10, 3), 50, np.uint8)
    image[:, 0] = 90
    out = crop(image, (0, 2, 4, 6), make_record(margin=(1.0, 0, 0, 0), size=8))
    assert (out[:, :4] == 90).all()
    assert out.shape == (8, 8, 3)


def test_published_crop_is_cut_without_a_margin_and_resized_by_area(astronaut: np.ndarray) -> None:
    import cv2

    x1, y1, x2, y2 = FACE_OF_ASTRONAUT
    expected = cv2.resize(astronaut[y1:y2, x1:x2], (224, 224), interpolation=cv2.INTER_AREA)
    np.testing.assert_array_equal(crop(astronaut, FACE_OF_ASTRONAUT, PUBLISHED_PREPROCESSING), expected)


Box = tuple[int, int, int, int]
Colour = tuple[int, int, int]
RED, BLUE = (200, 60, 60), (60, 60, 200)


def paint(*people: tuple[Box, Colour]) -> np.ndarray:
    image = np.full((200, 400, 3), 128, np.uint8)
    for (x1, y1, x2, y2), colour in people:
        image[max(y1 - 30, 0) : y2 + 30, max(x1 - 30, 0) : x2 + 30] = colour
    return image


def follow(
    tracker: FaceTracker, time: float, *people: tuple[tuple[int, int, int, int], tuple[int, int, int]]
) -> list[int]:
    return tracker.update([Face(box, 0.9) for box, _ in people], image=paint(*people), time=time)


LEFT, RIGHT = (40, 40, 120, 140), (280, 40, 360, 140)


def test_a_person_keeps_the_id_while_moving() -> None:
    tracker = FaceTracker(1.0)
    ids = [follow(tracker, 0.2 * step, ((40 + 30 * step, 40, 120 + 30 * step, 140), RED)) for step in range(6)]
    assert ids == [[1]] * 6


def test_two_people_keep_their_ids_whatever_the_order_of_detection() -> None:
    tracker = FaceTracker(1.0)
    assert follow(tracker, 0.0, (LEFT, RED), (RIGHT, BLUE)) == [1, 2]
    assert follow(tracker, 0.2, (RIGHT, BLUE), (LEFT, RED)) == [2, 1]


def test_two_alike_people_in_one_frame_are_two() -> None:
    tracker = FaceTracker(1.0)
    assert follow(tracker, 0.0, (LEFT, RED), (RIGHT, RED)) == [1, 2]
    assert follow(tracker, 0.2, (LEFT, RED), (RIGHT, RED)) == [1, 2]


def test_a_short_loss_does_not_end_a_person() -> None:
    tracker = FaceTracker(1.0)
    follow(tracker, 0.0, (LEFT, RED))
    assert follow(tracker, 0.2) == []
    assert follow(tracker, 0.8, (LEFT, RED)) == [1]


def test_who_comes_back_elsewhere_after_an_absence_is_known_by_look() -> None:
    tracker = FaceTracker(1.0)
    follow(tracker, 0.0, (LEFT, RED))
    assert follow(tracker, 5.0, (RIGHT, RED)) == [1]


def test_a_cut_to_another_person_in_the_same_place_after_an_absence_is_a_new_person() -> None:
    tracker = FaceTracker(1.0)
    follow(tracker, 0.0, (LEFT, RED))
    assert follow(tracker, 5.0, (LEFT, BLUE)) == [2]
    assert follow(tracker, 10.0, (LEFT, RED)) == [1]


def test_looks_tell_the_astronaut_from_the_driver(astronaut: np.ndarray, carphone) -> None:  # type: ignore[no-untyped-def]
    detect = DETECTORS["short-range"](confidence=None)
    frames = [frame.image for frame in read_frames(carphone) if frame.index % 30 == 0]
    driver = [describe_look(image, detect(image)[0].box) for image in frames]
    other = describe_look(astronaut, FACE_OF_ASTRONAUT)
    assert max(look_distance(driver[0], look) for look in driver) < MAX_LOOK_DISTANCE
    assert min(look_distance(other, look) for look in driver) > MAX_LOOK_DISTANCE


def test_a_lone_sighting_in_a_longer_video_is_a_false_face() -> None:
    assert not is_person(1, samples=5)
    assert is_person(2, samples=5)
    assert is_person(1, samples=4)


def test_a_reader_crops_what_can_be_read_and_counts_what_is_too_small() -> None:
    """A small face that is seen once in many samples is a false one, as a large one would be."""
    image = np.random.default_rng(0).integers(0, 256, (60, 80, 3), dtype=np.uint8)
    large, small, other = Face((30, 20, 60, 50), 0.9), Face((2, 2, 16, 18), 0.8), Face((60, 40, 70, 50), 0.7)
    script = iter([[large, small], [large, small], [large], [large, other], []])
    reader = FaceReader(lambda _: next(script), make_record(), max_gap=1.0)
    sightings, small_faces = [], []
    for index in range(5):
        sightings += [sighting for sighting, _ in reader.read(Frame(index, index / 5, image), image)]
        small_faces.append(reader.small)
    assert [sighting.face for sighting in sightings] == [large] * 4
    assert {sighting.track_id for sighting in sightings} == {1}
    assert small_faces == [1, 1, 0, 1, 0]
    assert reader.count_too_small(samples=5) == 1
    assert reader.count_too_small(samples=4) == 2
