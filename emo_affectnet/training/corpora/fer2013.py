"""FER2013: 35,887 grey faces of 48 x 48 px, as one table of pixels, as folders of images, or packaged with FER+ votes.

Some images occur twice, also on both sides of a split. That is told whatever the policy, and changed only by it.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from functools import partial
from hashlib import blake2b
from pathlib import Path

import numpy as np
import numpy.typing as npt

from ...emotions import Emotion
from .clip import UNKNOWN_NAME, UNREADABLE_LINE, Choices, Corpus, LabelledImage, Policy, Problem, Tell
from .pictures import FACE_SIDE, read_picture, repeat_grey
from .tree import IMAGE_SUFFIXES, UNREADABLE, find_files, find_named, has_content, or_tell, read_columns

_EMOTIONS = {
    "angry": Emotion.Anger,
    "disgust": Emotion.Disgust,
    "fear": Emotion.Fear,
    "happy": Emotion.Happiness,
    "sad": Emotion.Sadness,
    "surprise": Emotion.Surprise,
    "neutral": Emotion.Neutral,
}
_WORDS = {str(number): word for number, word in enumerate(_EMOTIONS)}  # the table's numbers are in this order
_UNLABELLED = "unlabelled"

USAGES = {"Training": "train", "PublicTest": "valid", "PrivateTest": "test"}
PUBLIC_AND_PRIVATE = "valid+test"  # the folders' test images, which are not to be compared with PrivateTest alone
_FOLDER_SPLITS = {"train": "train", "test": PUBLIC_AND_PRIVATE}
_ORDER = ("train", "valid", PUBLIC_AND_PRIVATE, "test")  # an image stays in the last split that has it
_TABLES = ("fer2013.csv", "icml_face_data.csv", "train.csv", "test.csv")  # the first is the whole corpus

DEDUP = Policy(
    "Which copies of an image are left out: none, those within a split, also those that a later split has (cross: to "
    "train honestly), or also those that an earlier split has (unseen: to score what was trained with copies)?",
    ("none", "within", "cross", "unseen"),
    "none",
)


@dataclass(frozen=True)
class Fingerprinted:
    """An image and what is equal only in its copies."""

    image: LabelledImage
    digest: bytes


def fingerprint(content: bytes | npt.NDArray[np.uint8]) -> bytes:
    """Return 16 bytes that are equal for equal contents."""
    return blake2b(content if isinstance(content, bytes) else content.tobytes(), digest_size=16).digest()


def drop_copies(images: Sequence[Fingerprinted], dedup: str, tell: Tell) -> Iterator[LabelledImage]:
    """Yield all images, without an emotion those that the policy `dedup` leaves out; tell of every copy."""
    ranks: dict[bytes, list[int]] = {}  # of the splits that have an image
    for one in images:
        ranks.setdefault(one.digest, []).append(_ORDER.index(one.image.split or _ORDER[0]))
    seen = set()
    for one in images:
        rank = _ORDER.index(one.image.split or _ORDER[0])
        is_first = (one.digest, rank) not in seen
        seen.add((one.digest, rank))
        is_last_split, is_first_split = rank == max(ranks[one.digest]), rank == min(ranks[one.digest])
        if not is_first:
            tell(Problem("copy within a split", one.image.name))
        elif not is_last_split:
            tell(Problem("copy in a later split", one.image.name))
        is_dropped = (
            (dedup != "none" and not is_first)
            or (dedup == "cross" and not is_last_split)
            or (dedup == "unseen" and not is_first_split)
        )
        yield replace(one.image, emotion=None) if is_dropped else one.image


def parse_pixels(text: str) -> npt.NDArray[np.uint8] | None:
    """Return grey levels (48, 48) from numbers between blanks; None if they are not that many levels from 0 to 255."""
    try:
        values = np.array(text.split(), dtype=np.int64)
    except (ValueError, OverflowError):
        return None
    if len(values) != FACE_SIDE**2 or values.min() < 0 or values.max() > 255:
        return None
    return values.astype(np.uint8).reshape(FACE_SIDE, FACE_SIDE)


def _read_table(path: Path, tell: Tell) -> Iterator[Fingerprinted]:
    """Yield the images of one table. Without a column Usage it is one split; without emotion it has no labels."""
    only_split = "test" if path.name.casefold() == "test.csv" else "train"
    for row, (where, cells) in enumerate(or_tell(path, read_columns(path, ("pixels",)), tell)):
        pixels = parse_pixels(cells["pixels"])
        split = USAGES.get(cells["usage"]) if "usage" in cells else only_split
        label = _WORDS.get(cells["emotion"]) if "emotion" in cells else _UNLABELLED
        if pixels is None or split is None or label is None:
            tell(Problem(UNREADABLE_LINE, where))
            continue
        name = f"{path.stem}/{row}"  # 0-based, as FER+ counts
        read = partial(repeat_grey, pixels)
        yield Fingerprinted(
            LabelledImage("FER2013", name, label, _EMOTIONS.get(label), read, split=split), fingerprint(pixels)
        )


def _read_folders(root: Path, tell: Tell) -> Iterator[Fingerprinted]:
    """Yield the images of `train/<class>/` and `test/<class>/`."""
    for word, split in _FOLDER_SPLITS.items():
        for folder in find_named(root, word, tell, depth=1):
            for path in find_files(folder, IMAGE_SUFFIXES, tell):
                label = path.parent.name.casefold()
                if label not in _EMOTIONS:
                    tell(Problem(UNKNOWN_NAME, str(path)))
                elif has_content(path, tell):
                    read = partial(read_picture, path)
                    name = f"{word}/{label}/{path.name}"
                    yield Fingerprinted(
                        LabelledImage("FER2013", name, label, _EMOTIONS[label], read, split=split),
                        fingerprint(path.read_bytes()),
                    )


def read_package(path: Path, names: Sequence[str], tell: Tell) -> list[tuple[npt.NDArray[np.uint8], ...]]:
    """Return the rows of some arrays of `ferplus_<split>.npz`, none if the file does not hold them."""
    if not has_content(path, tell):
        return []
    try:
        with open(path, "rb") as file:  # NumPy leaves a file open that turns out to be none of its own
            arrays = np.load(file, allow_pickle=False)
            return list(zip(*(arrays[name] for name in names), strict=True))
    except UNREADABLE:
        tell(Problem("unreadable file", str(path)))
        return []


def _read_packages(root: Path, tell: Tell) -> Iterator[Fingerprinted]:
    """Yield the images of `ferplus_<split>.npz` with their original labels, which are in our order; -1 is unknown."""
    words = {int(emotion): word for word, emotion in _EMOTIONS.items()}
    for split in USAGES.values():
        for path in find_named(root, f"ferplus_{split}.npz", tell, depth=1)[:1]:
            for row, (pixels, label) in enumerate(read_package(path, ("image", "fer2013_label"), tell)):
                word = words.get(int(label), _UNLABELLED)
                read = partial(repeat_grey, pixels)
                name = f"{split}/{row}"
                image = LabelledImage("FER2013", name, word, _EMOTIONS.get(word), read, split=split)
                yield Fingerprinted(image, fingerprint(pixels))


def find_tables(root: Path, tell: Tell) -> list[Path]:
    """Return the whole corpus's table, or else those of its parts."""
    tables = [path for name in _TABLES for path in find_named(root, name, tell, depth=1)]
    whole = [path for path in tables if path.name.casefold() in _TABLES[:2]]
    chosen = whole[:1] or tables
    for path in tables:
        if path not in chosen:
            tell(Problem("second copy of the corpus, not read", str(path)))
    return chosen


def _find(root: Path, policies: Choices, tell: Tell) -> Iterator[LabelledImage]:
    """Yield the faces of the tables, or else of the packages, or else of the folders."""
    found = [image for path in find_tables(root, tell) for image in _read_table(path, tell)]
    found = found or list(_read_packages(root, tell)) or list(_read_folders(root, tell))
    yield from drop_copies(found, policies["dedup"], tell)


FER2013 = Corpus(
    "FER2013",
    "fer2013.csv (columns emotion, pixels, Usage), or <train|test>/<angry|disgust|fear|happy|neutral|sad|surprise>/"
    "<image>, or ferplus_<train|valid|test>.npz with the array fer2013_label",
    find_images=_find,
    policies={"dedup": DEDUP},
    expected={
        "angry": 4953, "disgust": 547, "fear": 5121, "happy": 8989, "sad": 6077, "surprise": 4002, "neutral": 6198,
    },
)  # fmt: skip
