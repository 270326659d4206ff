"""Training faces are framed as the recognizer frames them, whatever the corpus shows around them."""

from dataclasses import replace

import cv2
import numpy as np
import pytest
from conftest import FakeDetector

from emo_affectnet.faces import crop
from emo_affectnet.training.corpora import FERPLUS_PREPROCESSING
from emo_affectnet.training.corpora.pictures import FaceImages
from emo_affectnet.training.framing import BORDER, ROOM, ZOOM, frame_face


def cut_frames(images: np.ndarray) -> np.ndarray:
    count = len(images)
    return FaceImages(images, np.zeros((count, 7), np.float32), np.zeros(count, np.int64), zoom=ZOOM).frames


RECORD = replace(FERPLUS_PREPROCESSING, channels="RGB", input_size=100)


def test_the_frame_of_a_found_face_is_the_recognizers_crop(astronaut: np.ndarray) -> None:
    picture = astronaut[:200, 150:350]
    roomy = frame_face(picture, detect=FakeDetector(), preprocessing=RECORD, side=130)
    assert roomy.shape == (130, 130, 3)
    enlarged = cv2.resize(picture, (192, 192), interpolation=cv2.INTER_AREA)
    side = 192 + 2 * BORDER  # what the detector sees; it says the middle half of that is the face
    box = (side // 4 - BORDER, side // 4 - BORDER, 3 * side // 4 - BORDER, 3 * side // 4 - BORDER)
    expected = crop(enlarged, box, RECORD).astype(float)
    framed = cut_frames(roomy[None])[0].astype(float)
    assert framed.shape == (100, 100, 3)
    assert np.abs(framed - expected).mean() < 6  # grey levels; sampled on other grids


def test_a_face_of_48_px_is_enlarged_before_it_is_searched() -> None:
    seen = []

    def detect(image: np.ndarray) -> list:
        seen.append(image.shape)
        return []

    frame_face(np.full((48, 48, 3), 90, np.uint8), detect=detect, preprocessing=RECORD, side=64)
    assert seen == [(192 + 2 * BORDER, 192 + 2 * BORDER, 3)]


def test_a_picture_without_a_face_is_taken_whole() -> None:
    picture = np.zeros((60, 60, 3), np.uint8)
    picture[:, 30:] = 200
    roomy = frame_face(picture, detect=lambda image: [], preprocessing=RECORD, side=130)
    framed = cut_frames(roomy[None])[0]
    assert framed[50, 5].mean() == pytest.approx(0, abs=3)
    assert framed[50, -5].mean() == pytest.approx(200, abs=3)


@pytest.mark.parametrize("size", [(48, 96), (160, 40)], ids=["wide", "tall"])
def test_a_picture_of_any_shape_gives_a_square(size: tuple[int, int]) -> None:
    picture = np.full((*size, 3), 120, np.uint8)
    assert frame_face(picture, detect=lambda image: [], preprocessing=RECORD, side=64).shape == (64, 64, 3)


def test_the_frame_is_what_is_left_without_the_room() -> None:
    images = np.zeros((2, 130, 130, 3), np.uint8)
    edge = round(130 * ROOM / (1 + 2 * ROOM))
    images[:, edge : 130 - edge, edge : 130 - edge] = 255
    assert cut_frames(images).shape == (2, 100, 100, 3)
    assert (cut_frames(images) == 255).all()
