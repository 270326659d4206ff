"""What is drawn lies where it should, can be read, and never leaves the picture."""

from itertools import combinations

import numpy as np
import pytest

from emo_affectnet.drawing import (
    CORNERS,
    LEAST_TEXT,
    PERSON_COLOURS,
    PUBLISHED_COLOUR,
    STYLES,
    draw_note,
    draw_people,
    draw_strip,
    measure_text,
    place_panels,
    strip_height,
)
from emo_affectnet.emotions import EMOTION_COLOURS, EMOTION_NAMES, Emotion
from emo_affectnet.errors import UnknownName
from emo_affectnet.timeline import Moment

GREY = 90
SIZES = [(320, 240), (1080, 1920), (3840, 2160), (64, 48), (17, 13), (1, 1)]


def grey(width: int, height: int) -> np.ndarray:
    return np.full((height, width, 3), GREY, np.uint8)


def moment(
    box: tuple[float, float, float, float], *, track_id: int = 1, emotion: Emotion = Emotion.Happiness, top: float = 0.7
) -> Moment:
    probabilities = np.full(7, (1 - top) / 6, np.float32)
    probabilities[emotion] = top
    return Moment(track_id, 0, 0.0, box, 0.9, probabilities)


def rgb(code: str) -> np.ndarray:
    return np.array([int(code[index : index + 2], 16) for index in (1, 3, 5)])


def places_of(image: np.ndarray, colour: np.ndarray, tolerance: int = 1) -> np.ndarray:
    """Rows and columns, (N, 2), at which a colour stands."""
    return np.argwhere((np.abs(image.astype(int) - colour) <= tolerance).all(axis=2))


@pytest.mark.parametrize("style", STYLES)
@pytest.mark.parametrize("size", SIZES, ids=str)
def test_every_size_and_place_can_be_drawn_on(size: tuple[int, int], style: str) -> None:
    width, height = size
    boxes = [(0, 0, width / 3, height / 3), (-20, -20, 5, 5), (width - 1, height - 1, width + 30, height + 30)]
    image = grey(width, height)
    draw_people(image, [moment(box, track_id=rank) for rank, box in enumerate(boxes, start=1)], style=style)
    draw_strip(image, np.zeros((2, width), np.int64), 1.0)
    draw_note(image, "29.9 frames/s")
    assert image.shape == (height, width, 3)
    assert size == (1, 1) or (image != GREY).any()


@pytest.mark.parametrize("size", SIZES[:2], ids=str)
@pytest.mark.parametrize("corner", CORNERS, ids="-".join)
def test_label_is_whole_wherever_the_face_is(size: tuple[int, int], corner: tuple[str, str]) -> None:
    """The label's background is as large in a corner of the picture as in its middle."""
    width, height = size
    side = height // 4
    x = 0 if corner[1] == "left" else width - side
    y = 0 if corner[0] == "top" else height - side
    middle = ((width - side) / 2, (height - side) / 2, (width + side) / 2, (height + side) / 2)
    areas = []
    for box in (middle, (x, y, x + side, y + side)):
        image = grey(width, height)
        draw_people(image, [moment(box)], style="boxes")
        places = places_of(image, rgb(PERSON_COLOURS[0]))
        rows = np.bincount(places[:, 0], minlength=height)
        runs = rows[rows > 0.5 * measure_text("1  Happiness 70%", 11)[0]]
        areas.append(runs.max())
    assert areas[1] >= 0.9 * areas[0]


def test_box_stands_at_its_place_in_the_colour_of_its_person() -> None:
    image = grey(640, 480)
    draw_people(image, [moment((200, 150, 300, 280), track_id=2)], style="boxes")
    places = places_of(image, rgb(PERSON_COLOURS[1]))
    np.testing.assert_allclose([places[:, 1].min(), places[places[:, 0] > 200][:, 1].max()], [200, 299], atol=1)
    assert abs(places[:, 0].max() - 279) <= 1
    np.testing.assert_array_equal(image[215, 220:280], GREY)  # the face itself stays free


def test_text_has_the_size_that_can_be_read_at_320x240_and_at_4k() -> None:
    heights = []
    for width, height in ((320, 240), (3840, 2160)):
        image = grey(width, height)
        draw_people(image, [moment((width / 2, height / 2, width / 2 + height / 5, height * 0.7))], style="boxes")
        places = places_of(image[: height // 2 - 2], rgb(PERSON_COLOURS[0]))
        heights.append(np.ptp(places[:, 0]) + 1)
    assert heights[0] >= 11
    assert heights[1] >= 2160 * 0.025


def test_label_gives_up_its_number_before_it_becomes_unreadable() -> None:
    width = measure_text("1  Happiness 70%", LEAST_TEXT)[0]
    image = grey(width, 48)
    draw_people(image, [moment((20, 20, 40, 40))], style="boxes")
    label = places_of(image, rgb(PERSON_COLOURS[0]))
    assert np.ptp(label[:, 1]) >= measure_text("1  Happiness", LEAST_TEXT)[0]


def test_panel_shows_each_probability_as_a_bar_of_its_length() -> None:
    image = grey(1280, 720)
    probabilities = np.array([0.02, 0.4, 0.05, 0.2, 0.03, 0.1, 0.2], np.float32)
    draw_people(image, [Moment(1, 0, 0.0, (900, 400, 1000, 500), 0.9, probabilities)], style="full")
    lengths = []
    for code in EMOTION_COLOURS:
        places = places_of(image[:300], rgb(code))
        rows = np.bincount(places[:, 0])
        lengths.append(rows.max() if len(rows) else 0)
    unit = lengths[1] / 0.4
    # Neutral's grey is also that of the edges of letters.
    np.testing.assert_allclose(np.array(lengths[1:]) / unit, probabilities[1:], atol=0.01)


def test_panel_is_left_out_where_it_could_not_be_read() -> None:
    full, boxes = grey(100, 80), grey(100, 80)
    draw_people(full, [moment((40, 40, 70, 70))], style="full")
    draw_people(boxes, [moment((40, 40, 70, 70))], style="boxes")
    np.testing.assert_array_equal(full, boxes)


def test_a_fifth_person_has_a_label_and_no_panel() -> None:
    full, boxes = grey(640, 480), grey(640, 480)
    fifth = moment((300, 200, 360, 260), track_id=5)
    draw_people(full, [fifth], style="full")
    draw_people(boxes, [fifth], style="boxes")
    np.testing.assert_array_equal(full, boxes)


def test_published_style_is_the_magenta_box_and_label() -> None:
    image = grey(640, 480)
    draw_people(image, [moment((200, 150, 300, 280))], style="published")
    places = places_of(image, np.array(PUBLISHED_COLOUR), tolerance=60)
    assert abs(places[places[:, 0] > 200][:, 1].min() - 200) <= 2
    assert places[:, 0].min() < 145  # the label above the box
    assert len(places_of(image, rgb(PERSON_COLOURS[0]))) == 0


def test_unknown_style_is_answered_with_the_known_ones() -> None:
    with pytest.raises(UnknownName, match=r"style.*'fancy'.*full, boxes, published"):
        draw_people(grey(64, 48), [], style="fancy")


def test_strip_shows_each_persons_emotions_over_time_and_dims_what_is_to_come() -> None:
    image = grey(400, 300)
    emotions = np.array([[1] * 200 + [6] * 200, [2] * 100 + [-1] * 300])
    draw_strip(image, emotions, 0.25)
    height = strip_height(300, 400, people=2)
    strip = image[300 - height :]
    first, second = strip[height // 4], strip[3 * height // 4]
    np.testing.assert_array_equal(first[50], rgb(EMOTION_COLOURS[Emotion.Happiness]))
    np.testing.assert_array_equal(first[300], rgb(EMOTION_COLOURS[Emotion.Anger]) // 2)
    np.testing.assert_array_equal(second[50], rgb(EMOTION_COLOURS[Emotion.Sadness]))
    assert second[300].max() < 20  # nobody there
    np.testing.assert_array_equal(first[100], 255)  # the mark of the present
    np.testing.assert_array_equal(image[: 300 - height], GREY)


@pytest.mark.parametrize("position", [-1.0, 0.0, 1.0, 7.0])
def test_strip_takes_any_position(position: float) -> None:
    image = grey(100, 200)
    draw_strip(image, np.full((1, 100), 3), position)
    assert (image[-3:] != GREY).any()


def test_strip_is_left_out_of_tiny_pictures_and_where_nobody_is() -> None:
    for image, people in ((grey(17, 13), 1), (grey(320, 240), 0)):
        before = image.copy()
        draw_strip(image, np.zeros((people, image.shape[1]), np.int64), 0.5)
        np.testing.assert_array_equal(image, before)


def test_panels_keep_away_from_the_faces() -> None:
    top_left = np.tile([0.0, 0.0, 300.0, 300.0], (10, 1))
    assert place_panels({1: top_left}, width=1280, height=720)[1] != ("top", "left")
    two = place_panels({1: top_left, 2: top_left + [980, 0, 980, 0]}, width=1280, height=720)
    assert sorted(two.values()) == [("bottom", "left"), ("bottom", "right")]
    assert two[1] == ("bottom", "left")  # on its own side


def test_people_who_are_never_seen_and_more_people_than_corners_are_placed_without_a_fault() -> None:
    nobody = np.full((5, 4), np.nan)
    assert len(place_panels(dict.fromkeys(range(1, 8), nobody), width=1280, height=720)) == 4
    assert place_panels({}, width=1280, height=720) == {}
    assert place_panels({1: nobody}, width=40, height=30) == {}


def luminance(code: str) -> float:
    """The relative luminance of WCAG 2."""
    shares = rgb(code) / 255
    linear = np.where(shares <= 0.03928, shares / 12.92, ((shares + 0.055) / 1.055) ** 2.4)
    return float(linear @ [0.2126, 0.7152, 0.0722])


def test_black_text_on_every_persons_colour_has_the_contrast_of_wcag_aa() -> None:
    for code in PERSON_COLOURS:
        assert (luminance(code) + 0.05) / 0.05 >= 4.5


def test_colours_of_people_and_emotions_differ_for_the_colour_blind() -> None:
    """Machado et al. (2009), severity 1.0: the colours as seen without red or green cones, in linear light."""
    deuteranopia = [[0.367322, 0.860646, -0.227968], [0.280085, 0.672501, 0.047413], [-0.011820, 0.042940, 0.968881]]
    protanopia = [[0.152286, 1.052583, -0.204868], [0.114503, 0.786281, 0.099216], [-0.003882, -0.048116, 1.051998]]
    for matrix in (deuteranopia, protanopia):
        for palette in (PERSON_COLOURS[:4], EMOTION_COLOURS):
            seen = [np.clip(np.array(matrix) @ (rgb(code) / 255) ** 2.2, 0, 1) ** (1 / 2.2) for code in palette]
            assert min(np.abs(one - other).max() for one, other in combinations(seen, 2)) > 0.08


def test_every_name_of_an_emotion_is_written_with_letters_the_font_has() -> None:
    widths = {name: measure_text(name, 20)[0] for name in EMOTION_NAMES}
    assert len(set(widths.values())) > 4
    assert min(widths.values()) > 30
