"""Training faces in the frame in which the recognizer shows faces to the network: the detector's box and its margins.

Every corpus has a framing of its own, from close masks to heads and shoulders. Here each picture is searched for its
face, and what is cut out keeps some room around it, so that random views can move without leaving the picture.
"""

from dataclasses import replace

import numpy as np
from PIL import Image

from ..faces import Detector, box_area, crop
from ..weights import Preprocessing
from .corpora.pictures import Picture

ROOM = 0.15  # of the frame's side, on every side of it
ZOOM = 1 / (1 + 2 * ROOM)  # share of a roomy picture's side that is the frame
SEARCHED_SIDE = 192  # px; detectors find no face in 48 px
BORDER = 64  # px around it; boxes may reach out of a picture that the face fills
_GREY, _BLACK = 128, 6  # levels: of the border, and under which a corner is the background of a face cut out on black


def frame_face(picture: Picture, *, detect: Detector, preprocessing: Preprocessing, side: int) -> Picture:
    """Return the largest face of a picture with its margins and `ROOM` around them, uint8 (side, side, 3).

    A picture in which no face is found is taken whole.
    """
    height, width = picture.shape[:2]
    scale = SEARCHED_SIDE / max(height, width)
    size = (max(round(width * scale), 1), max(round(height * scale), 1))
    way = Image.Resampling.BILINEAR if scale > 1 else Image.Resampling.BOX
    enlarged = np.array(Image.fromarray(picture).resize(size, way))
    level = 0 if enlarged[:4, :4].mean() < _BLACK else _GREY
    sides = ((BORDER, BORDER), (BORDER, BORDER), (0, 0))
    found = detect(np.pad(enlarged, sides, constant_values=level))
    repeated = np.pad(enlarged, sides, mode="edge")
    if not found:
        whole = (BORDER, BORDER, BORDER + size[0], BORDER + size[1])
        return crop(repeated, whole, replace(preprocessing, crop_margin=(ROOM,) * 4, input_size=side))
    largest = max(found, key=lambda face: box_area(face.box))
    return crop(repeated, largest.box, replace(preprocessing, crop_margin=_widen(preprocessing), input_size=side))


def _widen(preprocessing: Preprocessing) -> tuple[float, float, float, float]:
    """Return the record's margins with room around what they frame, as shares of the box."""
    left, top, right, bottom = preprocessing.crop_margin
    across, down = ROOM * (1 + left + right), ROOM * (1 + top + bottom)
    return left + across, top + down, right + across, bottom + down
