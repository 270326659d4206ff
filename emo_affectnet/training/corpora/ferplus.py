"""FER+: FER2013 images with ten votes each, and the rules of the FER+ authors for what the votes say.

`read_ferplus(root, split)` gives the arrays that the bundled weights were trained on. The corpus FER+ reads the same
files, the two tables of FER2013 and FER+ (joined by row), or the folders of the FER+ authors (joined by image name: the
numbers in those names count images, not rows).
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from itertools import zip_longest
from pathlib import Path

import numpy as np
import numpy.typing as npt

from ...emotions import Emotion
from ...errors import CorpusError
from ...weights import Preprocessing
from .clip import UNREADABLE_LINE, Choices, Corpus, LabelledImage, Policy, Problem, Tell
from .fer2013 import DEDUP, USAGES, Fingerprinted, drop_copies, fingerprint, parse_pixels, read_package
from .pictures import FaceImages, Picture, read_picture, repeat_grey
from .tree import UNREADABLE, FileNames, find_named, has_content, or_tell, read_columns, read_rows

Votes = npt.NDArray[np.uint8]  # (N, 10), in the order of FERPLUS_COLUMNS

FERPLUS_SPLITS = ("train", "valid", "test")

# Of whatever is trained on these faces.
FERPLUS_LICENSE = "research use only: trained on FER2013, whose images have no open licence"

# How a face in a video becomes what FER2013 shows. The mean is that of the training images. The margins bring the box
# of MediaPipe's short-range detector to the framing of FER2013: medians over 497 of 500 images of the valid split in
# which it finds a face, each image pasted on grey so that the box may reach out of it.
FERPLUS_PREPROCESSING = Preprocessing(
    input_size=64,
    channels="grey",
    mean=(129.4, 129.4, 129.4),
    interpolation="area",
    crop_margin=(0.09, 0.21, 0.09, -0.01),
)

# The columns of the FER+ vote table; the last three have no place among our seven.
FERPLUS_COLUMNS = (
    "neutral", "happiness", "surprise", "sadness", "anger", "disgust", "fear", "contempt", "unknown", "not_a_face",
)  # fmt: skip
_TABLE_COLUMNS = (*FERPLUS_COLUMNS[:-1], "NF")  # as fer2013new.csv spells them
_NO_EMOTION = [FERPLUS_COLUMNS.index(name) for name in ("unknown", "not_a_face")]
_FOLDERS = {"FER2013Train": "train", "FER2013Valid": "valid", "FER2013Test": "test"}
_OURS = [FERPLUS_COLUMNS.index(emotion.name.lower()) for emotion in Emotion]


def count_votes(votes: Votes) -> npt.NDArray[np.float32]:
    """Return FER+ votes (N, 10) as float32 without the lone ones: one vote of ten is taken for a slip."""
    return np.where(votes == 1, 0, votes).astype(np.float32)


def select_majority(votes: Votes) -> npt.NDArray[np.bool_]:
    """Return bool (N,): the images kept by the majority rule of the FER+ authors, for our seven emotions.

    The winner must have more than half of the votes left after `count_votes`, and must not be Contempt, unknown or
    not-a-face (the eight-class rule first, then Contempt winners dropped).
    """
    counted = count_votes(votes)
    winner_share = counted.max(axis=1) / np.maximum(counted.sum(axis=1), 1)
    kept: npt.NDArray[np.bool_] = (winner_share > 0.5) & np.isin(counted.argmax(axis=1), _OURS)
    return kept


def select_seven(votes: Votes) -> npt.NDArray[np.bool_]:
    """Return bool (N,): the images whose counted votes go mostly to our seven emotions, even if they are divided."""
    counted = count_votes(votes)
    ours = counted[:, _OURS].sum(axis=1)
    kept: npt.NDArray[np.bool_] = np.isin(counted.argmax(axis=1), _OURS) & (ours > 0.5 * counted.sum(axis=1))
    return kept


def _select_divided(votes: Votes, split: str) -> npt.NDArray[np.bool_]:
    return select_seven(votes) if split == "train" else select_majority(votes)


def _share(counted: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
    """Return the shares (N, 7) of our emotions in counted votes (N, 10); each row has votes for them."""
    ours = counted[:, _OURS]
    shares: npt.NDArray[np.float32] = (ours / ours.sum(axis=1, keepdims=True)).astype(np.float32)
    return shares


def read_ferplus(root: Path, split: str) -> FaceImages:
    """Read one split of FER+: `train` keeps divided votes as distributions, `valid` and `test` keep clear majorities.

    Raises:
        CorpusError: `root` holds no `ferplus_<split>.npz`, or it is damaged.
    """
    path = Path(root) / f"ferplus_{split}.npz"
    if split not in FERPLUS_SPLITS or not path.is_file():
        raise CorpusError(
            f"Expected {' and '.join(f'ferplus_{name}.npz' for name in FERPLUS_SPLITS)} in {root}, but {path.name} is "
            "not there. Give the folder that holds the FER2013 images with FER+ votes."
        )
    try:
        with open(path, "rb") as file:  # NumPy leaves a file open that turns out to be none of its own
            arrays = np.load(file, allow_pickle=False)
            images, votes = arrays["image"], arrays["votes"]
        if images.dtype != np.uint8 or images.shape[1:] != (48, 48) or votes.shape != (len(images), 10):
            raise ValueError(f"its arrays are {images.dtype} {images.shape} and {votes.shape}")
    except UNREADABLE as error:
        reason = str(error).rstrip(".") or type(error).__name__
        raise CorpusError(f"{path} should hold FER2013 images with FER+ votes, but: {reason}.") from error
    kept = _select_divided(votes, split)
    targets = _share(count_votes(votes[kept]))
    return FaceImages(images[kept], targets, targets.argmax(axis=1))


def integrate_most(counted: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
    """Return the part of counted votes (10,) that the authors' rule "probability" keeps, all zero for none.

    Classes are taken by falling votes, equal ones together, until they have three quarters of the votes or are three,
    or unknown or not-a-face comes. What has no more than half of the votes, or more than three classes, is unknown.
    """
    total, left, kept = counted.sum(), counted.copy(), np.zeros_like(counted)
    number, goes_on = 0, True
    while goes_on and kept.sum() < 0.75 * total and number < 3:
        most = left.max()
        for column in np.flatnonzero(left == most):
            goes_on = column not in _NO_EMOTION
            if goes_on or not kept.any():
                kept[column], left[column] = most, 0
                number += 1
            if not goes_on:
                break
    return kept if kept.sum() > 0.5 * total and number <= 3 else np.zeros_like(counted)


def integrate_several(counted: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
    """Return the part of counted votes (10,) that the authors' rule "multi_target" keeps, all zero for none.

    Kept is every class with at least three tenths of the votes, if these have more than half together.
    """
    kept = np.where(counted >= 0.3 * counted.sum(), counted, 0).astype(np.float32)
    return kept if kept.sum() > 0.5 * counted.sum() else np.zeros_like(counted)


_INTEGRATE = {"probability": integrate_most, "multi_target": integrate_several}


def judge_votes(votes: Votes, mode: str, *, split: str) -> npt.NDArray[np.float32]:
    """Return the shares (N, 7) of our emotions that a mode gives to votes (N, 10); a row of zeros is left out.

    In every mode the rule is applied to all classes, and images that Contempt, unknown or not-a-face wins are dropped
    afterwards.
    """
    targets = np.zeros((len(votes), len(_OURS)), np.float32)
    counted = count_votes(votes)
    if mode in _INTEGRATE:
        counted = np.array([_INTEGRATE[mode](row) for row in counted], np.float32).reshape(votes.shape)
        kept = counted.any(axis=1) & np.isin(counted.argmax(axis=1), _OURS)
    else:
        kept = select_majority(votes) if mode == "majority" else _select_divided(votes, split)
    if mode == "majority":
        counted = counted * (counted == counted.max(axis=1, keepdims=True))
    targets[kept] = _share(counted[kept])
    return targets


@dataclass(frozen=True)
class _Face:
    """One image with its votes."""

    name: str
    split: str
    votes: Votes  # (10,)
    read: Callable[[], Picture]
    digest: bytes


def _read_packaged(path: Path, split: str, tell: Tell) -> Iterator[_Face]:
    """Yield the faces of `ferplus_<split>.npz`."""
    for index, (image, votes) in enumerate(read_package(path, ("image", "votes"), tell)):
        yield _Face(f"{split}/{index}", split, votes, partial(repeat_grey, image), fingerprint(image))


def _parse_votes(cells: list[str]) -> Votes | None:
    """Return votes (10,), or None if the cells do not hold ten numbers of votes."""
    if len(cells) != len(FERPLUS_COLUMNS) or not all(cell.isdecimal() and int(cell) < 256 for cell in cells):
        return None
    return np.array([int(cell) for cell in cells], np.uint8)


def _read_tables(pixels: Path, votes: Path, tell: Tell) -> Iterator[_Face]:
    """Yield the faces of fer2013.csv with the votes in the same row of fer2013new.csv."""
    faces = or_tell(pixels, read_columns(pixels, ("pixels", "Usage")), tell)
    annotations = or_tell(votes, read_columns(votes, ("Usage", "Image name", *_TABLE_COLUMNS)), tell)
    for face, annotation in zip_longest(faces, annotations):
        if face is None or annotation is None:
            tell(Problem("tables of different lengths", str(votes if annotation is None else pixels)))
            return
        where, cells = annotation
        image = parse_pixels(face[1]["pixels"])
        counts = _parse_votes([cells[column.casefold()] for column in _TABLE_COLUMNS])
        split = USAGES.get(cells["usage"])
        if not cells["image name"]:
            tell(Problem("row without an image name", where))
        elif image is None or counts is None or split is None:
            tell(Problem(UNREADABLE_LINE, where))
        elif cells["usage"] != face[1]["usage"]:
            tell(Problem("row of different splits in the two tables", where))
        else:
            yield _Face(cells["image name"], split, counts, partial(repeat_grey, image), fingerprint(image))


def _read_folder(table: Path, split: str, tell: Tell) -> Iterator[_Face]:
    """Yield the images of a folder with the votes in its label.csv, joined by name: the name, perhaps a box, votes."""
    names = FileNames()
    for number, (where, cells) in enumerate(or_tell(table, read_rows(table), tell)):
        counts = _parse_votes(cells[-len(FERPLUS_COLUMNS) :])
        if counts is None:
            if number or cells[-1].casefold() != _TABLE_COLUMNS[-1].casefold():
                tell(Problem(UNREADABLE_LINE, where))
            continue
        image = names.find(table.parent / cells[0]) if cells[0] else None
        if not cells[0]:
            tell(Problem("row without an image name", where))
        elif image is None:
            tell(Problem("missing image", str(table.parent / cells[0])))
        elif has_content(image, tell):
            yield _Face(cells[0], split, counts, partial(read_picture, image), fingerprint(image.read_bytes()))


def _find_faces(root: Path, tell: Tell) -> Iterator[_Face]:
    """Yield the faces of the packaged splits, or else of the two tables, or else of the folders."""
    packages = {split: find_named(root, f"ferplus_{split}.npz", tell, depth=1) for split in FERPLUS_SPLITS}
    tables = [find_named(root, name, tell, depth=1) for name in ("fer2013.csv", "fer2013new.csv")]
    if any(packages.values()):
        for split, paths in packages.items():
            if paths:
                yield from _read_packaged(paths[0], split, tell)
            else:
                tell(Problem("missing split", f"ferplus_{split}.npz"))
    elif all(tables):
        yield from _read_tables(tables[0][0], tables[1][0], tell)
    else:
        for folder, split in _FOLDERS.items():
            for found in find_named(root, folder, tell, depth=2):
                if (found / "label.csv").is_file():
                    yield from _read_folder(found / "label.csv", split, tell)


def _find(root: Path, policies: Choices, tell: Tell) -> Iterator[LabelledImage]:
    """Yield the faces with the shares of their votes, without an emotion where the mode leaves them out."""
    faces = list(_find_faces(root, tell))
    images = []
    for split in FERPLUS_SPLITS:
        chosen = [face for face in faces if face.split == split]
        votes = np.array([face.votes for face in chosen], np.uint8).reshape(-1, len(FERPLUS_COLUMNS))
        for face, targets in zip(chosen, judge_votes(votes, policies["mode"], split=split), strict=True):
            images.append(Fingerprinted(_judged(face, targets), face.digest))
    yield from drop_copies(images, policies["dedup"], tell)


def _judged(face: _Face, targets: npt.NDArray[np.float32]) -> LabelledImage:
    """Return a face with what its votes say: its emotion, or why it has none."""
    if targets.any():
        emotion = Emotion(int(targets.argmax()))
        label = FERPLUS_COLUMNS[_OURS[emotion]]
        shares = tuple(map(float, targets))
        return LabelledImage("FER+", face.name, label, emotion, face.read, split=face.split, targets=shares)
    winner = int(count_votes(face.votes).argmax())
    label = "divided votes" if winner in _OURS else FERPLUS_COLUMNS[winner]
    return LabelledImage("FER+", face.name, label, None, face.read, split=face.split)


FERPLUS = Corpus(
    "FER+",
    "ferplus_<train|valid|test>.npz, or fer2013.csv with fer2013new.csv, or FER2013<Train|Valid|Test>/label.csv with "
    "the images beside it",
    find_images=_find,
    policies={
        "mode": Policy(
            "What do the votes say: clear winners only (majority), shares by the authors' other rules (probability, "
            "multi_target), or shares of all divided votes in train and clear winners in valid and test (divided)?",
            ("divided", "majority", "probability", "multi_target"),
            "divided",
        ),
        "dedup": DEDUP,
    },
)
