"""AffectNet and RAF-DB: faces in image files, labelled by a table, or by a file beside each image."""

from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import BinaryIO

from numpy.lib.format import read_array

from .clip import UNREADABLE_LINE, Choices, Corpus, LabelledImage, Policy, Problem, Tell
from .packed import describe_packed, or_packed
from .pictures import read_picture
from .tree import UNREADABLE, FileNames, emotion_named, find_named, has_content, or_tell, read_lines, read_rows

# AffectNet's numbers, of which the npy release has the first eight.
_AFFECTNET = {
    "0": "neutral", "1": "happiness", "2": "sadness", "3": "surprise", "4": "fear", "5": "disgust", "6": "anger",
    "7": "contempt", "8": "none", "9": "uncertain", "10": "no face",
}  # fmt: skip
_AFFECTNET_VALID = 500  # images of each emotion
_AFFECTNET_TRAIN = {
    "neutral": 74_874, "happiness": 134_415, "sadness": 25_459, "surprise": 14_090, "fear": 6_378, "disgust": 3_803,
    "anger": 24_882,
}  # fmt: skip
_CSV_IMAGES = "Manually_Annotated_Images"
_HEAVY = ("manually_annotated_images", "automatically_annotated*", "images", "annotations")  # no lists, many files
_CSV_SPLITS = {"training.csv": "train", "validation.csv": "valid"}
_NPY_SPLITS = {"train_set": "train", "val_set": "valid"}
_BOX, _EXPRESSION = slice(1, 5), 6  # columns of the csv release: x, y, width, height; number of the label
_NULL = "null"


def _parse_box(cells: list[str]) -> tuple[int, int, int, int] | None:
    """Return x1, y1, x2, y2; None where the table says NULL.

    Raises:
        ValueError: a cell is neither a number nor NULL.
    """
    if _NULL in (cell.casefold() for cell in cells):
        return None
    x, y, width, height = (int(float(cell)) for cell in cells)
    return x, y, x + width, y + height


def _csv_images(root: Path, table: Path) -> Path:
    """Return the folder to which the paths in a list are relative."""
    homes = (table.parent.parent, root, *sorted(path for path in root.iterdir() if path.is_dir()))
    return next((home / _CSV_IMAGES for home in homes if (home / _CSV_IMAGES).is_dir()), root / _CSV_IMAGES)


def _read_affectnet_csv(root: Path, path: Path, crop: str, tell: Tell) -> Iterator[LabelledImage]:
    """Yield the faces of one list; its header is left out where it has one, which only one of the two lists has."""
    split = _CSV_SPLITS[path.name.casefold()]
    names = FileNames()
    home = _csv_images(root, path)
    for number, (where, cells) in enumerate(or_tell(path, read_rows(path, delimiters=","), tell)):
        try:
            label = _AFFECTNET[cells[_EXPRESSION]]
            box = _parse_box(cells[_BOX])
        except (IndexError, KeyError, ValueError):
            if number or "expression" not in map(str.casefold, cells):
                tell(Problem(UNREADABLE_LINE, where))
            continue
        image = names.find(home / cells[0])
        if image is None:
            tell(Problem("missing image", f"{where}: {cells[0]}"))
            continue
        read = partial(read_picture, image, box if crop == "box" else None)
        yield LabelledImage("AffectNet", cells[0], label, emotion_named(label), read, split=split)


def _read_scalar(file: BinaryIO) -> object:
    """Return the one value of an npy file; NumPy's `load` would take other formats too."""
    return read_array(file, allow_pickle=False).item()  # type: ignore[no-untyped-call] # the stubs miss it


def _read_affectnet_npy(folder: Path, tell: Tell) -> Iterator[LabelledImage]:
    """Yield the faces of one set: a number in `annotations/<id>_exp.npy` for each `images/<id>.jpg`."""
    split = _NPY_SPLITS[folder.name.casefold()]
    names = FileNames()
    for path in sorted((folder / "annotations").glob("[!.]*_exp.npy"), key=lambda path: (len(path.name), path.name)):
        if not has_content(path, tell):
            continue
        name = path.name.removesuffix("_exp.npy")
        try:
            with open(path, "rb") as file:
                label = _AFFECTNET[str(_read_scalar(file))]  # a number or its digits
        except UNREADABLE:
            tell(Problem("unreadable label file", str(path)))
            continue
        image = names.find(folder / "images" / f"{name}.jpg")
        if image is None:
            tell(Problem("missing image", str(folder / "images" / f"{name}.jpg")))
            continue
        yield LabelledImage(
            "AffectNet", f"{split}/{name}", label, emotion_named(label), partial(read_picture, image), split=split
        )


def _find_affectnet(root: Path, policies: Choices, tell: Tell) -> Iterator[LabelledImage]:
    """Yield the faces of the csv release, or else of the npy release, whichever is there."""
    tables = [path for name in _CSV_SPLITS for path in find_named(root, name, tell, depth=2, skip=_HEAVY)]
    sets = [path for name in _NPY_SPLITS for path in find_named(root, name, tell, depth=1, skip=_HEAVY)]
    for path in tables:
        yield from _read_affectnet_csv(root, path, policies["crop"], tell)
    for path in sets:
        if tables:
            tell(Problem("npy release beside the csv release, not read", str(path)))
        else:
            yield from _read_affectnet_npy(path, tell)


AFFECTNET = Corpus(
    "AffectNet",
    describe_packed(
        "AffectNet",
        f"Manually_Annotated_file_lists/<training|validation>.csv with {_CSV_IMAGES}/<folder>/<image>, or "
        "<train_set|val_set>/annotations/<id>_exp.npy with <train_set|val_set>/images/<id>.jpg",
    ),
    find_images=or_packed("AffectNet", _find_affectnet),
    policies={
        "crop": Policy(
            "Is a face of the csv release its whole image, as the published check reads it, or what is in its box?",
            ("whole", "box"),
            "whole",
        )
    },
    expected={label: number + _AFFECTNET_VALID for label, number in _AFFECTNET_TRAIN.items()},
)

# RAF-DB counts from 1.
_RAFDB = {
    "1": "surprise", "2": "fear", "3": "disgust", "4": "happiness", "5": "sadness", "6": "anger", "7": "neutral",
}  # fmt: skip
_RAFDB_SPLITS = {"train": "train", "test": "test"}


def _find_rafdb(root: Path, policies: Choices, tell: Tell) -> Iterator[LabelledImage]:
    """Yield the aligned faces of the basic emotions; the list's name is misspelt by its owners."""
    names = FileNames()
    for table in find_named(root, "list_pa*tition_label.txt", tell, depth=3, skip=("compound", "image")):
        for number, line in enumerate(read_lines(table, tell), 1):
            name, *rest = line.split() or [""]
            split, label = _RAFDB_SPLITS.get(name.partition("_")[0]), _RAFDB.get(" ".join(rest))
            if not line.strip():
                continue
            if split is None or label is None:
                tell(Problem(UNREADABLE_LINE, f"{table}:{number}"))
                continue
            stem, _, suffix = name.rpartition(".")
            image = names.find(table.parent.parent / "Image" / "aligned" / f"{stem}_aligned.{suffix}")
            if image is None:
                tell(Problem("missing image", f"Image/aligned/{stem}_aligned.{suffix}"))
                continue
            yield LabelledImage("RAF-DB", name, label, emotion_named(label), partial(read_picture, image), split=split)


RAFDB = Corpus(
    "RAF-DB",
    "basic/EmoLabel/list_patition_label.txt with basic/Image/aligned/<train|test>_<number>_aligned.jpg",
    find_images=_find_rafdb,
    expected={
        "surprise": 1619, "fear": 355, "disgust": 877, "happiness": 5957, "sadness": 2460, "anger": 867,
        "neutral": 3204,
    },
)  # fmt: skip
