"""Faces and emotions drawn into pictures: what is known of each person in a frame becomes pixels of it.

Images are RGB uint8 (H, W, 3) and are drawn on in place. Sizes follow the picture, so that 320x240 and 4K read alike;
nothing that is written leaves the picture. A colour never stands alone: people have numbers, emotions have names.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from itertools import product

import cv2
import numpy as np
import numpy.typing as npt
from PIL import Image as Pillow
from PIL import ImageDraw, ImageFont

from .emotions import EMOTION_COLOURS, EMOTION_NAMES
from .errors import check_name
from .timeline import Moment

Image = npt.NDArray[np.uint8]
Floats = npt.NDArray[np.float64]
Colour = tuple[int, int, int]
Corner = tuple[str, str]  # "top" or "bottom", "left" or "right"
Integers = npt.NDArray[np.int64]

STYLES = ("full", "boxes", "published")
CORNERS: tuple[Corner, ...] = tuple(product(("top", "bottom"), ("left", "right")))
TEXT_SHARE = 0.028  # height of the text by the picture's shorter side
MIN_TEXT, LEAST_TEXT = 11, 7  # px: what is drawn where there is room, and what can be read at all
STRIP_PEOPLE = 3  # rows of the strip; more would be a second picture

# Paul Tol's "light" colours, made to carry black text and told apart by colour-blind readers.
PERSON_COLOURS = ("#eedd88", "#99ddff", "#ffaabb", "#44bb99", "#ee8866", "#dddddd")
BLACK, WHITE, DARK, FAINT = (0, 0, 0), (255, 255, 255), (24, 24, 24), (176, 176, 176)
PUBLISHED_COLOUR = (255, 0, 255)  # of visualization.py in the original


def draw_people(
    image: Image, moments: Sequence[Moment], *, style: str = "full", corners: Mapping[int, Corner] | None = None
) -> None:
    """Draw each person's box, number and emotion; in the style "full" also a panel with the seven probabilities.

    `corners` says where a person's panel stands, by track id; by default people take the corners in turn. "published"
    is the box and label of the original.

    Raises:
        UnknownName: there is no such style.
    """
    check_name("style", style, STYLES)
    if style == "published":
        for moment in moments:
            _draw_published(image, moment)
        return
    if style == "full":
        for moment in moments:
            corner = (dict(enumerate(CORNERS, start=1)) if corners is None else corners).get(moment.track_id)
            if corner:
                _draw_panel(image, moment, corner)
    for moment in moments:
        _draw_box(image, moment)
    for moment in moments:
        _draw_label(image, moment)


def draw_note(image: Image, text: str) -> None:
    """Write a small line in the middle of the lower edge."""
    size = _fit(text, _text_size(image), image.shape[1])
    if size is None:
        return
    width, height = measure_text(text, size)
    x, y = (image.shape[1] - width) // 2, max(image.shape[0] - height, 0)
    _shade(image, (x - size // 2, y, x + width + size // 2, y + height), DARK, 0.6)
    _write(image, text, (x, y), size, WHITE)


def _text_size(image: Image) -> int:
    return max(round(TEXT_SHARE * min(image.shape[:2])), MIN_TEXT)


def _colour(code: str) -> Colour:
    red, green, blue = (int(code[index : index + 2], 16) for index in (1, 3, 5))
    return red, green, blue


def _person_colour(track_id: int) -> Colour:
    return _colour(PERSON_COLOURS[(track_id - 1) % len(PERSON_COLOURS)])


@lru_cache(maxsize=512)
def _text_mask(text: str, size: int) -> Image:
    """Return how much of each pixel a text covers, uint8 (height, width), 0-255; every text of a size is as high."""
    font = ImageFont.load_default(size)
    assert isinstance(font, ImageFont.FreeTypeFont)
    canvas = Pillow.new("L", (int(np.ceil(font.getlength(text))) + 1, sum(font.getmetrics())))
    ImageDraw.Draw(canvas).text((0, 0), text, fill=255, font=font)
    return np.asarray(canvas)


def measure_text(text: str, size: int) -> tuple[int, int]:
    """Return the width and height in px of a text of `size` px."""
    height, width = _text_mask(text, size).shape
    return width, height


def _fit(text: str, size: int, width: int) -> int | None:
    """Return the size, at most `size` px, at which a text with its margins is at most `width` px wide, if any is."""
    sizes = range(size, LEAST_TEXT - 1, -1)
    return next((each for each in sizes if measure_text(text, each)[0] + each <= width), None)


def _write(image: Image, text: str, place: tuple[int, int], size: int, colour: Colour) -> None:
    """Write a text whose top left-hand corner is at `place`, in px."""
    x, y = place
    mask = _text_mask(text, size)[..., None].astype(np.uint16)
    part = image[y : y + mask.shape[0], x : x + mask.shape[1]]
    mask = mask[: part.shape[0], : part.shape[1]]
    part[:] = (part * (255 - mask) + np.array(colour, np.uint16) * mask) // 255


def _shade(image: Image, box: tuple[int, int, int, int], colour: Colour, share: float) -> None:
    """Cover a part of the picture with a colour that lets 1 - `share` of it through."""
    x1, y1, x2, y2 = (max(edge, 0) for edge in box)
    part = image[y1:y2, x1:x2]
    amount = round(256 * share)
    part[:] = (part.astype(np.uint16) * (256 - amount) + np.array(colour, np.uint16) * amount) >> 8


def _draw_box(image: Image, moment: Moment) -> None:
    x1, y1, x2, y2 = (round(edge) for edge in moment.box)
    width = max(round(_text_size(image) / 8), 2)
    cv2.rectangle(image, (x1, y1), (x2 - 1, y2 - 1), BLACK, width + 2)  # seen on any background
    cv2.rectangle(image, (x1, y1), (x2 - 1, y2 - 1), _person_colour(moment.track_id), width)


def _draw_label(image: Image, moment: Moment) -> None:
    """Write who it is and the emotion with its probability above the box, or below its upper edge."""
    rows, columns = image.shape[:2]
    short = f"{moment.track_id}  {moment.emotion.name}"
    text = f"{short} {moment.confidence:.0%}"
    if _fit(text, _text_size(image), columns) is None:
        text = short
    size = _fit(text, _text_size(image), columns)
    if size is None or measure_text(text, size)[1] > rows:
        return
    width, height = measure_text(text, size)
    pad = size // 4
    x1, y1 = round(moment.box[0]), round(moment.box[1])
    left = min(max(x1 - size // 8, 0), columns - width - 2 * pad)
    top = y1 - height - size // 8 if y1 - height >= 0 else max(y1, 0)
    top = min(max(top, 0), rows - height)
    _shade(image, (left, top, left + width + 2 * pad, top + height), _person_colour(moment.track_id), 1)
    _write(image, text, (left + pad, top), size, BLACK)


@dataclass(frozen=True)
class _PanelShape:
    """The measures of a panel, in px."""

    size: int  # of the text
    row: int
    name: int  # width of the names
    bar: int  # width of a bar of probability 1
    width: int
    height: int

    def place(self, corner: Corner, rows: int, columns: int, strip: int) -> tuple[int, int]:
        """Return the top left-hand corner of the panel in a picture with a strip below it."""
        gap = self.size // 2
        x = gap if corner[1] == "left" else columns - self.width - gap
        return x, (gap if corner[0] == "top" else rows - strip - self.height - gap)


@lru_cache(maxsize=16)
def _panel_shape(rows: int, columns: int) -> _PanelShape | None:
    """Return the measures that fit a picture; None if nothing could be read."""
    for size in range(max(round(0.85 * TEXT_SHARE * min(rows, columns)), MIN_TEXT - 1), LEAST_TEXT, -1):
        row = round(1.3 * size)
        name = max(measure_text(each, size)[0] for each in EMOTION_NAMES)
        bar = round(4.5 * size)
        width, height = name + bar + round(2.5 * size), (len(EMOTION_NAMES) + 1) * row
        if width <= 0.48 * columns and height <= 0.6 * rows:
            return _PanelShape(size, row, name, bar, width, height)
    return None


def _draw_panel(image: Image, moment: Moment, corner: Corner) -> None:
    rows, columns = image.shape[:2]
    shape = _panel_shape(rows, columns)
    if shape is None:
        return
    x, y = shape.place(corner, rows, columns, strip_height(rows, columns, people=STRIP_PEOPLE))
    _shade(image, (x, y, x + shape.width, y + shape.height), DARK, 0.65)
    edge = measure_text(str(moment.track_id), shape.size)[0] + shape.size // 3
    _shade(image, (x, y, x + edge, y + shape.height), _person_colour(moment.track_id), 1)
    _write(image, str(moment.track_id), (x + shape.size // 6, y + shape.row // 2), shape.size, BLACK)
    for emotion, (name, code) in enumerate(zip(EMOTION_NAMES, EMOTION_COLOURS, strict=True)):
        top = y + shape.row // 2 + emotion * shape.row
        is_top = emotion == moment.emotion
        _write(image, name, (x + shape.size // 3 + edge, top), shape.size, WHITE if is_top else FAINT)
        left, bottom = x + shape.width - shape.bar - shape.size // 2, top + shape.row - max(shape.row // 5, 1)
        start = top + max(shape.row // 8, 1)
        _shade(image, (left, start, left + shape.bar, bottom), FAINT, 0.25)
        filled = round(shape.bar * float(moment.probabilities[emotion]))
        _shade(image, (left, start, left + filled, bottom), _colour(code), 1)


def _draw_published(image: Image, moment: Moment) -> None:
    """Draw the magenta box and `Label: 12.34%` of the original's visualization.py."""
    x1, y1, x2, y2 = (round(edge) for edge in moment.box)
    text = f"{moment.emotion.name}: {moment.confidence:.2%}"
    line = max(round(sum(image.shape) / 2 * 0.003), 2)
    scale, thickness = line / 3, max(line - 1, 1)
    cv2.rectangle(image, (x1, y1), (x2, y2), PUBLISHED_COLOUR, line, cv2.LINE_AA)
    (width, height), descent = cv2.getTextSize(text, cv2.FONT_HERSHEY_SIMPLEX, scale, thickness)
    scale *= min(1.0, (image.shape[1] - 2) / width)
    (width, height), descent = cv2.getTextSize(text, cv2.FONT_HERSHEY_SIMPLEX, scale, thickness)
    left = min(max((x1 + x2 - width) // 2, 0), max(image.shape[1] - width, 0))
    bottom = min(max(y1 - round(image.shape[1] * 20 / 360 / 4), height + 1), image.shape[0] - descent)
    for colour, width in ((BLACK, thickness + 2), (PUBLISHED_COLOUR, thickness)):
        cv2.putText(image, text, (left, bottom), cv2.FONT_HERSHEY_SIMPLEX, scale, colour, width, cv2.LINE_AA)


def strip_height(rows: int, columns: int, *, people: int) -> int:
    """Return the height in px of the strip of emotions over time in a picture of that size."""
    return min(people, STRIP_PEOPLE) * max(round(0.02 * min(rows, columns)), 4) + 2


def draw_strip(image: Image, emotions: Integers, position: float) -> None:
    """Draw the emotion over time along the lower edge, a row per person, and a mark at `position`, 0-1, in time.

    `emotions` (people, W) holds the top emotion at each column of the picture, -1 where no face was seen. What is
    still to come is dimmed.
    """
    rows, columns = image.shape[:2]
    people = emotions[:STRIP_PEOPLE]
    height = strip_height(rows, columns, people=len(people))
    if not len(people) or height > rows // 4:
        return
    palette = np.array([*(_colour(code) for code in EMOTION_COLOURS), DARK], np.uint8)
    bands = np.repeat(palette[people], (height - 2) // len(people), axis=0)  # (height - 2, W, 3)
    now = min(round(position * columns), columns - 1)
    bands[:, now:] //= 2
    image[rows - height :] = DARK
    image[rows - len(bands) - 1 : rows - 1] = bands
    half = max(height // 10, 1)
    _shade(image, (now - half - 1, rows - height, now + half + 1, rows), BLACK, 1)
    _shade(image, (now - half, rows - height, now + half, rows), WHITE, 1)


def place_panels(boxes: Mapping[int, Floats], *, width: int, height: int) -> dict[int, Corner]:
    """Return the corner in which each person's panel hides the least of all faces over a whole video.

    `boxes` (F, 4) are by track id, in px of the picture; unknown ones are NaN. There are as many panels as corners.
    """
    shape = _panel_shape(height, width)
    free, corners = list(CORNERS), {}
    if shape is None:
        return {}
    strip = strip_height(height, width, people=STRIP_PEOPLE)
    everyone = np.concatenate([np.empty((0, 4)), *boxes.values()])
    hidden = {corner: _hidden(everyone, shape, shape.place(corner, height, width, strip)) for corner in CORNERS}
    for track_id in sorted(boxes)[: len(CORNERS)]:
        own = np.nanmean(boxes[track_id], axis=0) if not np.isnan(boxes[track_id]).all() else np.zeros(4)
        is_left = own[0] + own[2] < width
        corner = min(free, key=lambda each: (hidden[each], (each[1] == "left") != is_left))
        free.remove(corner)
        corners[track_id] = corner
    return corners


def _hidden(boxes: Floats, shape: _PanelShape, place: tuple[int, int]) -> float:
    """Return the area in px of all boxes (N, 4) together that lies behind a panel."""
    x, y = place
    across = np.minimum(boxes[:, 2], x + shape.width) - np.maximum(boxes[:, 0], x)
    down = np.minimum(boxes[:, 3], y + shape.height) - np.maximum(boxes[:, 1], y)
    return float(np.nansum(np.maximum(across, 0) * np.maximum(down, 0)))
