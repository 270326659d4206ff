"""The graph files of weights, for ONNX Runtime and OpenVINO: made at first use, kept beside fetched weights.

In goes a backbone or heads of any format, out comes the path of an ONNX file that computes the same, or, in int8,
nearly the same. A graph's name holds the hash of what it was made from, so it is never one of other weights. Where no
place can be written, graphs are made in a temporary folder for each process anew.
"""

import hashlib
import tempfile
from collections.abc import Callable, Sequence
from functools import cache
from pathlib import Path

import onnx
from onnx.external_data_helper import set_external_data

from ..errors import DownloadError, WeightsError
from ..files import whole_file
from ..networks import export_arrays, read_backbone, read_head
from ..onnx_graph import build_backbone, build_heads
from ..store.folders import PLACE_VARIABLE, places, writable_folder
from ..weight_sets import Weights
from ..weights import demo_folder, hash_file
from .contract import Floats, normalize_crops
from .quantize import OnProgress, quantize, read_faces

FOLDER = "engines"  # below a place of weights
MIN_APART = 1 << 10  # bytes of a tensor that is kept out of the graph's own file
VERSION = 2  # of what is in a file of a name; another version is another name
INT8_FACES = 252  # that an int8 network is measured on
DEMO_CLIPS = ("expressions.mp4", "leaves_and_returns.mp4", "two_people.mp4")


def find_backbone(weights: Weights, *, precision: str, on_progress: OnProgress = lambda done, total: None) -> Path:
    """Return the graph of a backbone, in "fp32" or "int8", made now if there is none.

    Raises:
        WeightsError: the backbone is damaged, another network's, or loses too much in int8.
    """
    size = weights.preprocessing.input_size
    name = f"{weights.backbone.stem}-{hash_file(weights.backbone)[:16]}-{size}px"
    exact = _find_exact(
        f"{name}-fp32", lambda: build_backbone(export_arrays(read_backbone(weights.backbone)), input_size=size)
    )
    if precision != "int8":
        return exact

    def write(path: Path) -> None:
        clips = [demo_folder() / name for name in DEMO_CLIPS]
        faces = read_faces(clips, weights.preprocessing, count=INT8_FACES)
        quantize(exact, path, faces=normalize_crops(faces, weights.preprocessing), on_progress=on_progress)

    preprocessing = hashlib.sha256(repr(weights.preprocessing).encode()).hexdigest()[:8]  # faces are cut by it
    return _find(f"{name}-{preprocessing}-int8", write)


def find_heads(paths: Sequence[Path]) -> Path:
    """Return the graph of some heads, all at once, made now if there is none.

    Raises:
        WeightsError: a head is damaged, or another network's.
    """
    digest = hashlib.sha256("".join(map(hash_file, paths)).encode()).hexdigest()
    return _find_exact(
        f"{len(paths)}-heads-{digest[:16]}", lambda: build_heads([export_arrays(read_head(path)) for path in paths])
    )


def read_last_layer(graph: Path) -> tuple[Floats, Floats]:
    """Return the weight (7, 512) and the bias (7,) of a backbone's last layer, from its graph in fp32."""
    arrays = {entry.name: entry for entry in onnx.load(graph).graph.initializer}
    weight, bias = (onnx.numpy_helper.to_array(arrays[name]) for name in ("fc2.weight", "fc2.bias"))
    return weight, bias


def _find_exact(stem: str, build: Callable[[], onnx.ModelProto]) -> Path:
    """Return a graph that `build` makes; its large tensors are in a file beside it."""
    tensors = f"{stem}-v{VERSION}.tensors"
    return _find(stem, lambda partial: _save(build(), partial, tensors=partial.with_name(tensors)))


def _find(stem: str, write: Callable[[Path], None]) -> Path:
    name = f"{stem}-v{VERSION}.onnx"
    for place in places():
        if (place / FOLDER / name).is_file():
            return place / FOLDER / name
    path = _folder() / name
    if not path.is_file():
        try:
            with whole_file(path) as partial:
                write(partial)
        except OSError as error:
            raise WeightsError(
                f"The network could not be written to {path.parent}, where engines read it ({error.strerror}). Make "
                f"room there, some 200 MB, or set {PLACE_VARIABLE} to a folder with room."
            ) from error
    return path


def _folder() -> Path:
    try:
        return writable_folder(FOLDER)
    except DownloadError:  # no place of weights can be written
        return Path(_temporary_folder().name)


@cache
def _temporary_folder() -> "tempfile.TemporaryDirectory[str]":
    return tempfile.TemporaryDirectory(prefix="emo_affectnet-")  # it goes when the process ends


def _save(model: onnx.ModelProto, target: Path, *, tensors: Path) -> None:
    """Write a model's large tensors into a file beside it, which engines map into memory instead of copying it."""
    with whole_file(tensors) as partial, partial.open("wb") as file:
        for tensor in model.graph.initializer:
            if len(tensor.raw_data) >= MIN_APART:
                set_external_data(tensor, tensors.name, offset=file.tell(), length=len(tensor.raw_data))
                file.write(tensor.raw_data)
                tensor.ClearField("raw_data")
        onnx.save(model, target)
