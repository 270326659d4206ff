"""Pictures of faces: a file or grey levels go in, RGB comes out; the images of a scan become arrays to train on."""

import io
import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

import numpy as np
import numpy.typing as npt
from PIL import Image

from ...emotions import Emotion
from ...errors import CorpusError, check_name
from .clip import LabelledImage, Problem, Scan, Tell

Picture = npt.NDArray[np.uint8]  # (H, W, 3) RGB

FACE_SIDE = 48  # px, of FER2013
_MODES = {"grey": "L", "RGB": "RGB"}  # channels of the arrays -> Pillow's name

logger = logging.getLogger("emo_affectnet")


@dataclass(frozen=True)
class FaceImages:
    """Labelled face crops that fill their frame."""

    images: npt.NDArray[np.uint8]  # uint8 (N, 48, 48), grey; of another side, or (N, S, S, 3) RGB, where asked for
    targets: npt.NDArray[np.float32]  # float32 (N, 7), the share of votes for each emotion; a row sums to 1
    labels: npt.NDArray[np.int64]  # int64 (N,), the emotion with most votes
    groups: npt.NDArray[np.int64] | None = None  # int64 (N,), equal for the faces of a corpus; None: all are of one
    zoom: float = 1.0  # share of an image's side that the face's frame takes; the room around it is for random views

    def __len__(self) -> int:
        return len(self.labels)

    @property
    def frames(self) -> npt.NDArray[np.uint8]:
        """The images without the room around the faces, (N, S, S) or (N, S, S, 3): what a network is shown."""
        edge = round(self.images.shape[1] * (1 - self.zoom) / 2)
        return self.images[:, edge : self.images.shape[1] - edge, edge : self.images.shape[2] - edge]


def read_picture(path: Path, box: tuple[int, int, int, int] | None = None) -> Picture:
    """Return a picture as RGB (H, W, 3), or what is inside its `box`: px, half-open x1, y1, x2, y2.

    Raises:
        CorpusError: the file is no picture, or none of it is in the box.
    """
    pixels = _decode(path, str(path))
    if box is None:
        return pixels
    x1, y1, x2, y2 = (max(value, 0) for value in box)
    part = pixels[y1:y2, x1:x2]
    if not part.size:
        raise CorpusError(f"The face of {path} is said to be at {box}, but the picture has {pixels.shape[:2]} pixels.")
    return np.ascontiguousarray(part)


def read_packed_picture(path: Path, name: str, *, start: int, size: int) -> Picture:
    """Return the picture `name`, RGB (H, W, 3), from its `size` bytes at `start` of the file `path`.

    Raises:
        CorpusError: what is there is no picture.
    """
    try:
        with open(path, "rb") as file:
            file.seek(start)
            content = file.read(size)
    except OSError as error:
        raise CorpusError(f"{path} cannot be read: {error.strerror or error}.") from error
    return _decode(io.BytesIO(content), f"{name} in {path}")


def _decode(file: Path | BinaryIO, name: str) -> Picture:
    try:
        with Image.open(file) as image:
            return np.array(image.convert("RGB"))
    except (OSError, ValueError, SyntaxError, Image.DecompressionBombError) as error:
        raise CorpusError(f"{name} cannot be read as a picture: {error}.") from error


def repeat_grey(image: npt.NDArray[np.uint8]) -> Picture:
    """Return grey levels (H, W) as RGB (H, W, 3)."""
    return np.repeat(image[..., None], 3, axis=2)


def _fit(picture: Picture, *, side: int, mode: str) -> npt.NDArray[np.uint8]:
    """Return a picture with `side` px a side; it is stretched, since the box of a face is nearly square."""
    image = Image.fromarray(picture).convert(mode)
    if image.size != (side, side):
        shrinks = min(image.size) > side
        image = image.resize((side, side), Image.Resampling.BOX if shrinks else Image.Resampling.BILINEAR)
    return np.array(image)


def check_split(scan: Scan, split: str | None) -> None:
    """Raise unless the scan holds images, and some of the `split` where one is named.

    Raises:
        CorpusError: it is of a corpus of videos.
        UnknownName: the corpus has no such split.
    """
    if scan.clips and not scan.images:
        raise CorpusError(f"{scan.corpus} is a corpus of videos; a backbone is trained and scored on images of faces.")
    if split is not None:
        check_name(f"split of {scan.corpus}", split, sorted({image.split for image in scan.images if image.split}))


def _warn(problem: Problem) -> None:
    logger.warning("%s: %s", problem.kind, problem.where)


def to_faces(
    scan: Scan, *, split: str | None = None, side: int = FACE_SIDE, channels: str = "grey", tell: Tell = _warn
) -> FaceImages:
    """Load the images of a scan that show an emotion, all or those of one `split`, as `load_faces` does.

    Raises:
        UnknownName: `channels` is neither grey nor RGB, or the corpus has no such split.
        CorpusError: there is no image to load.
    """
    check_name("kind of channels", channels, _MODES)
    check_split(scan, split)
    chosen = [image for image in scan.images if image.emotion is not None and split in (None, image.split)]
    faces = load_faces(chosen, side=side, channels=channels, tell=tell)
    if not len(faces):
        raise CorpusError(f"There is no readable image of an emotion in {split or 'any split'} of {scan.root}.")
    return faces


def load_faces(
    images: Sequence[LabelledImage],
    *,
    side: int,
    channels: str = "RGB",
    frame: Callable[[Picture], Picture] = lambda picture: picture,
    tell: Tell = _warn,
) -> FaceImages:
    """Load images that show an emotion, `side` px a side, into one array that is as large as it needs to be.

    `frame` cuts the face out of each picture; without it the picture is taken whole.

    The targets are the shares of the votes where there were votes. `tell` hears of each image that cannot be read and
    is left out; by default it is logged.
    """
    pixels = np.empty((len(images), side, side, *([3] if channels == "RGB" else [])), np.uint8)
    loaded: list[LabelledImage] = []
    for image in images:
        try:
            pixels[len(loaded)] = _fit(frame(image.read()), side=side, mode=_MODES[channels])
        except CorpusError as error:
            tell(Problem("unreadable image", str(error)))
        else:
            loaded.append(image)
    names = [image.corpus for image in loaded]
    return FaceImages(
        pixels[: len(loaded)],
        np.array([_targets(image) for image in loaded], np.float32).reshape(-1, len(Emotion)),
        np.array([image.emotion for image in loaded], np.int64),
        np.unique(names, return_inverse=True)[1].astype(np.int64),
    )


def _targets(image: LabelledImage) -> tuple[float, ...]:
    return image.targets or tuple(float(emotion == image.emotion) for emotion in Emotion)
