"""What can be fetched or imported: published weight files as plain records; nothing here touches a disk or a network.

The facts: where a file lies, what it weighs, its hashes, its licence, what it was trained on and what it never saw.
Hugging Face wants the full id of a commit in an address, and only its first digits (f4944b0) are known: the addresses
name `main`, and the SHA-256 is the pin. The GitHub files are pinned by their git blob, which is the file's content;
some of their SHA-256 come from other projects, so either hash will do. Where neither is known (SAVEE, CREMA-D and what
lies on Google Drive) the store pins the first file it meets.
"""

from dataclasses import dataclass

from .weights import CORPUS_NAMES, PUBLISHED_BACKBONE_SHA256


@dataclass(frozen=True)
class Entry:
    """One published file."""

    name: str
    collection: str  # a key of COLLECTIONS
    kind: str  # "backbone", "head", "sibling" or "engagement"
    filename: str  # as published
    urls: tuple[str, ...]  # tried in this order; none: only by hand
    page: str  # where a person finds it
    license: str
    sha256: str | None = None
    git_blob: str | None = None  # SHA-1 that `git hash-object` prints
    size: int | None = None  # bytes
    trained_on: tuple[str, ...] = ()
    held_out: str | None = None  # the corpus a head never saw


_CARD = "https://huggingface.co/ElenaRyumina/face_emotion_recognition"
_PUBLISHED_PAGE = "https://github.com/ElenaRyumina/EMO-AffectNetModel"  # its README links the Google Drive folders
_PUBLISHED_LICENSE = 'unclear (MIT on the model card, "for scientific usage only" in the README of the code)'
_BACKBONE_DATA = ("VGGFace2", "AffectNet")

_SIBLING_PAGE = "https://github.com/sb-ai-lab/EmotiEffLib"
_LEGACY_PAGE = "https://github.com/av-savchenko/face-emotion-recognition"
_SIBLING_LICENSE = "research use only (the code is Apache-2.0, but AffectNet, the training data, allows no other use)"
_ENGAGEMENT_LICENSE = "unclear (the code is Apache-2.0, the training data are licensed for research)"
_SIBLING_COMMIT = "520a051c64cd191521e5934655314e769a319684"
_RAW = f"https://raw.githubusercontent.com/sb-ai-lab/EmotiEffLib/{_SIBLING_COMMIT}/models"
_LEGACY_RAW = "https://raw.githubusercontent.com/av-savchenko/face-emotion-recognition/main/models"

_HEAD_SHA256 = {
    "Aff-Wild2": "21b0cabebe7bd0257ca8aaa991efc7546c6f46fd4d17f759d33abbb859abdacc",
    "IEMOCAP": "0cd1561a72f9de26c315bb857f03e8946635db047e0dbea52bb0276610f19751",
    "RAMAS": "ba1a49032311f91580eff67732bbb0a7077f1382c8a65e5d0fca01b1ad09ba37",
    "RAVDESS": "0b8eb7e702d4be62bba48dd54addd53698c95fd94ff8293fb53fd8d59ab22248",
}
_HEAD_SIZES = {"Aff-Wild2": 11_569_812}

# name: (git blob, SHA-256)
_ONNX = {
    "enet_b0_8_best_afew": (
        "d87faf71e8756d68c701ffd88b4cde4be460f57d",
        "7aa2ea31c1311f4f8aa9d3fdb085d418dd4e7a48c4b9ed41df8c044f91d0213f",
    ),
    "enet_b0_8_best_vgaf": ("49772db4e87ee6df57087fba131832a959e5c64d", None),
    "enet_b0_8_va_mtl": (
        "7ce9d6dd5b82b260bc19bfe7822a6ffa1abb6011",
        "c43e056ad388d4a8dc911832b8291435b2af537f967e5870ebd731574ec7e812",
    ),
    "enet_b2_7": ("cdd6a6070b72ed2e59e15e810ae0ecdbcb0f7626", None),
    "enet_b2_8": ("a7cb612cbab1ce3d50dd52e57285fb2c7ea6d0d9", None),
    "mbf_va_mtl": (
        "194db927ec135679e5cd0a267c5605e2e9d68e7e",
        "0323ace52ea6dbe9aa4a909d20933f7b8629c3fb41249e338f4316abf2a4828c",
    ),
    "mobilevit_va_mtl": (
        "bed5781a1af9924536638ac3786603e124ee900e",
        "93a2bee1f2e0b04e313c695078e9351c75e8fb4c457af4268a1716cb35601b0c",
    ),
}


def _backbone(
    suffix: str, filename: str, *, sha256: str | None = None, size: int | None = None, on_card: bool = False
) -> Entry:
    return Entry(
        name=f"emo-affectnet/backbone{suffix}",
        collection="emo-affectnet",
        kind="backbone",
        filename=filename,
        urls=(f"{_CARD}/resolve/main/{filename}",) if on_card else (),
        page=_CARD if on_card else _PUBLISHED_PAGE,
        license=_PUBLISHED_LICENSE,
        sha256=sha256,
        size=size,
        trained_on=_BACKBONE_DATA,
    )


def _head(corpus: str, filename: str, *, suffix: str = "", on_card: bool = False) -> Entry:
    return Entry(
        name=f"emo-affectnet/{corpus}{suffix}",
        collection="emo-affectnet",
        kind="head",
        filename=filename,
        urls=(f"{_CARD}/resolve/main/{filename}",) if on_card else (),
        page=_CARD if on_card else _PUBLISHED_PAGE,
        license=_PUBLISHED_LICENSE,
        sha256=_HEAD_SHA256.get(corpus) if on_card else None,
        size=_HEAD_SIZES.get(corpus) if on_card else None,
        trained_on=tuple(name for name in CORPUS_NAMES if name != corpus),
        held_out=corpus,
    )


def _sibling(name: str, path: str, *, git_blob: str, sha256: str | None = None, is_legacy: bool = False) -> Entry:
    return Entry(
        name=name,
        collection="hsemotion",
        kind="sibling",
        filename=path.rpartition("/")[2],
        urls=(f"{_LEGACY_RAW}/{path}",) if is_legacy else (f"{_RAW}/{path}", f"{_LEGACY_RAW}/{path}"),
        page=_LEGACY_PAGE if is_legacy else _SIBLING_PAGE,
        license=_SIBLING_LICENSE,
        sha256=sha256,
        git_blob=git_blob,
        trained_on=("AffectNet",),
    )


_ENGAGEMENT_PATH = "engagement_classification/engagement_single_attention.h5"
_ENGAGEMENT = Entry(
    name="engagement",
    collection="hsemotion",
    kind="engagement",
    filename="engagement_single_attention.h5",
    urls=(f"{_RAW}/{_ENGAGEMENT_PATH}", f"{_LEGACY_RAW}/{_ENGAGEMENT_PATH}"),
    page=_SIBLING_PAGE,
    license=_ENGAGEMENT_LICENSE,
    sha256="243b4699eec398a335d32774849f65b2f0e2d63e358df479c5ee95a002cac30d",
    git_blob="25921a298a0ea8cd6761960ef7233aae071d7ec8",
    size=5_282_144,
    trained_on=("EngageWild or DAiSEE, which is not told",),
)

_FETCHED = (
    _backbone(
        "", "FER_static_ResNet50_AffectNet.pt", sha256=PUBLISHED_BACKBONE_SHA256, size=98_562_934, on_card=True
    ),
    *(_head(corpus, f"FER_dinamic_LSTM_{corpus}.pt", on_card=True) for corpus in CORPUS_NAMES),
)  # fmt: skip
_BY_HAND = (
    *(
        _backbone(f"-{accuracy}.pth", f"torchscript_model_{accuracy}_wo_gl.pth")
        for accuracy in ("0_66_37", "0_66_49")  # on the validation set of AffectNet
    ),
    *(_head(corpus, f"{corpus}.pth", suffix=".pth") for corpus in CORPUS_NAMES),
    *(_backbone(f"-{accuracy}.h5", f"weights_{accuracy}_wo_gl.h5") for accuracy in ("0_66_37", "0_66_49")),
    *(_head(corpus, f"{corpus}_with_config.h5", suffix=".h5") for corpus in CORPUS_NAMES),
)
_SIBLINGS = (
    *(
        _sibling(name, f"affectnet_emotions/onnx/{name}.onnx", git_blob=git_blob, sha256=sha256)
        for name, (git_blob, sha256) in _ONNX.items()
    ),
    _sibling(
        "mobilenet_7", "affectnet_emotions/mobilenet_7.h5", git_blob="3a3d5bb84506960a3ace7586b42b010623bae099"
    ),
    _ENGAGEMENT,
)  # fmt: skip
_LEGACY = _sibling(
    "enet_b2_8_best",
    "affectnet_emotions/onnx/enet_b2_8_best.onnx",
    git_blob="7e53eb31fefa28f6667195b27c7adade87da0a8f",
    is_legacy=True,
)

CATALOGUE: dict[str, Entry] = {entry.name: entry for entry in (*_FETCHED, *_SIBLINGS, _LEGACY, *_BY_HAND)}

# What `fetch` of a collection brings; further files of it are asked for by their own names.
COLLECTIONS: dict[str, tuple[str, ...]] = {
    "emo-affectnet": tuple(entry.name for entry in _FETCHED),
    "hsemotion": tuple(entry.name for entry in _SIBLINGS),
}
