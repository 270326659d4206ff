"""Weight files become other formats, each checked against its source before it appears.

In goes a state dict, TorchScript or a Keras file, told by its content; out comes what the target's suffix says, as the
published files have it: `.pt` a state dict, `.pth` TorchScript, `.onnx` ONNX. A JSON record stands beside the target.

- State dict: the published names, float32.
- TorchScript: as published. A backbone's `forward` gives logits (B, 7), its method `extract_features` features (B, 512)
  before the ReLU where there is one; a head's `forward` gives probabilities (B, 7).
- ONNX, operator set 18, one file, float32, B free. Backbone: `input` (B, 3, S, S), as `normalize_crops` makes it, to
  `features` (B, 512) after the ReLU and `logits` (B, 7). Head: `windows` (B, 10, 512) to `probabilities` (B, 7). Its
  metadata hold the emotions, the licence and the preprocessing.

Source and target run on the same input and may differ by `TOLERANCE`. A Keras file is run by PyTorch's networks.
"""

import json
import warnings
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, fields
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import torch
from torch import Tensor

from .detection import DETECTORS
from .emotions import EMOTION_NAMES
from .engines import Floats, Images, normalize_crops
from .errors import UsageError, VideoError, WrongArchitecture
from .faces import crop
from .files import whole_file
from .mobilenet import Backbone, MobileNet
from .models import LSTMHead, ResNet50
from .networks import export_arrays, load_backbone, load_classifier, load_head, read_backbone, read_head
from .onnx_graph import build_backbone, build_head
from .timeline import WINDOW, sample_frames
from .video import probe, read_frames
from .weights import (
    FEATURES,
    PUBLISHED_PREPROCESSING,
    Preprocessing,
    WeightFile,
    hash_file,
    read_record,
    record_path,
    sniff_format,
    verify,
    write_record,
)

TOLERANCE = 1e-4  # of probabilities, and of features as a share of the largest
TARGET_FORMATS = {".pt": "state dict", ".pth": "TorchScript", ".onnx": "ONNX"}
BATCH = 32  # crops at once
MEASURED = ("filename", "sha256", "size")  # the fields of a record that its file tells

Compute = Callable[[Tensor], tuple[Tensor, ...]]  # to features and probabilities, or to a head's probabilities
Run = Callable[[Floats], tuple[Floats, ...]]


@dataclass(frozen=True)
class Conversion:
    """What was converted, and how far the target is from its source."""

    kind: str  # "backbone" or "head"
    source_format: str  # "state dict", "TorchScript" or "Keras"
    target_format: str  # one of TARGET_FORMATS
    max_difference: float  # on random input: of probabilities, and of features as a share of the largest
    max_difference_on_crops: float | None  # the same on the caller's faces, if there were any
    crops: int  # how many faces these were
    size: int  # bytes of the target


@dataclass(frozen=True)
class _Source:
    """An opened weight file."""

    path: Path
    kind: str
    format: str
    network: Backbone | LSTMHead  # with its weights
    run: Run  # the file's own computation
    record: dict[str, Any]  # the fields of its record that hold for any format of it
    preprocessing: Preprocessing  # of a backbone


def convert(source: Path, target: Path, *, faces: Callable[[Preprocessing], Images] | None = None) -> Conversion:
    """Write the weights of `source` to `target`, in the format of its suffix, and a record beside it.

    `faces` gives crops, RGB uint8 (N, S, S, 3), for a backbone's preprocessing, to compare source and target on beside
    random ones; of a head, which sees no faces, it is not asked. A target that is there is replaced; if anything fails
    it stays as it was.

    Raises:
        UsageError: the target is the source, or has no known suffix, or its record would take another's place; ONNX
            as source; crops that do not fit.
        WeightsError: the source is damaged, or another network's, or the target would not compute the same.
    """
    target_format = _choose_format(source, target)
    opened = _open_source(source, name=target.stem.removesuffix(".state"))
    checks = {"random input": _draw_inputs(opened)}
    crops = faces(opened.preprocessing) if faces and opened.kind == "backbone" else None
    if crops is not None:
        _check_crops(opened, crops)
        checks["real faces"] = _normalize(opened, crops)
    target.parent.mkdir(parents=True, exist_ok=True)
    with whole_file(target) as partial:
        write, open_written = WRITERS[target_format]
        write(opened, partial)
        run = open_written(opened, partial)
        differences = [_compare(opened, target, run, inputs=inputs, where=where) for where, inputs in checks.items()]
    size = write_record(target, **opened.record).size
    count, on_crops = (0, None) if crops is None else (len(crops), differences[1])
    return Conversion(opened.kind, opened.format, target_format, differences[0], on_crops, count, size)


def read_faces(video: Path, preprocessing: Preprocessing, *, limit: int = BATCH) -> Images:
    """Return the crops (N, S, S, 3) of the first `limit` faces in the samples of a video.

    Raises:
        VideoError: it cannot be read, or shows no face.
    """
    detect = DETECTORS["short-range"](confidence=None)
    found = (
        crop(frame.image, face.box, preprocessing)
        for frame in sample_frames(read_frames(video), probe(video))
        for face in detect(frame.image)
    )
    crops = list(islice(found, limit))
    if not crops:
        raise VideoError(f"{video} should show faces to compare the networks on, but none was found. Give another one.")
    return np.stack(crops)


def _choose_format(source: Path, target: Path) -> str:
    """Return the target's format, if both places allow the conversion."""
    if target.suffix not in TARGET_FORMATS:
        known = ", ".join(f"{suffix} ({format})" for suffix, format in TARGET_FORMATS.items())
        raise UsageError(f"{target} should end in one of {known}; give it the suffix of the format that you want.")
    if target.resolve() == source.resolve():
        raise UsageError(f"{target} is the source itself; give the converted file another name.")
    if target.is_dir():
        raise UsageError(f"{target} should be the file to write, but it is a folder; give a file's name.")
    _refuse_to_share_a_record(source, target)
    return TARGET_FORMATS[target.suffix]


def _refuse_to_share_a_record(source: Path, target: Path) -> None:
    """Refuse a target whose record would take the place of another file's, which could not be verified any more."""
    record = record_path(target)
    beside = [path for path in target.parent.glob(f"{target.stem}.*") if path not in (target, record)]
    owner = next((path for path in beside if record_path(path) == record and read_record(path)), None)
    if owner:
        raise UsageError(
            f"{target} would take the record {record.name} from {owner.name}, which could not be verified "
            f"any more; choose another name or folder, such as {target.parent / 'converted' / target.name}."
        )


def _open_source(path: Path, *, name: str) -> _Source:
    """Open a weight file as what it is; `name` is for one that has no record."""
    record = verify(path)
    if path.suffix == ".onnx":
        raise UsageError(
            f"{path} is ONNX, a graph for running, in which the weights are merged; convert the file it was made from."
        )
    preprocessing = record.preprocessing if record and record.preprocessing else PUBLISHED_PREPROCESSING
    kind, network, compute = _open_as_either(path, input_size=preprocessing.input_size)
    about = _describe(record, network=network, name=name, source=path)
    return _Source(path, kind, sniff_format(path), network, _in_numpy(compute), about, preprocessing)


def _open_as_either(path: Path, *, input_size: int) -> tuple[str, Backbone | LSTMHead, Compute]:
    """Return what a file is, "backbone" or "head", the network with its weights, and its own computation."""
    try:
        return "backbone", *_open_backbone(path, input_size=input_size)
    except WrongArchitecture as not_a_backbone:
        try:
            return "head", *_open_head(path)
        except WrongArchitecture as error:
            sentence = f"{path} should be a backbone or a head, but it is neither. {not_a_backbone}"
            raise WrongArchitecture(sentence) from error


def _open_backbone(path: Path, *, input_size: int) -> tuple[Backbone, Compute]:
    network = read_backbone(path)
    if sniff_format(path) == "TorchScript":
        features, classify = load_backbone(path, input_size=input_size), load_classifier(path)
        return network, lambda x: (features(x), torch.softmax(classify(x), dim=1))
    return network, lambda x: _classify(network, network.features(x))


def _classify(network: Backbone, features: Tensor) -> tuple[Tensor, Tensor]:
    return features, torch.softmax(network.fc2(features), dim=1)


def _open_head(path: Path) -> tuple[LSTMHead, Compute]:
    head = read_head(path)
    classify = load_head(path) if sniff_format(path) == "TorchScript" else head
    return head, lambda x: (classify(x),)


def _in_numpy(compute: Compute) -> Run:
    def run(x: Floats) -> tuple[Floats, ...]:
        with torch.inference_mode():
            return tuple(output.numpy() for output in compute(torch.from_numpy(x)))

    return run


def _describe(record: WeightFile | None, *, network: Backbone | LSTMHead, name: str, source: Path) -> dict[str, Any]:
    """Return the fields of a record that hold for a file and for whatever it is converted to."""
    kind = "head" if isinstance(network, LSTMHead) else "backbone"
    if record:
        known = {field.name: getattr(record, field.name) for field in fields(record) if field.name not in MEASURED}
        return known | {"kind": kind, "converted_from": record.converted_from or record.sha256}
    preprocessing, own = (PUBLISHED_PREPROCESSING, type(network).__name__) if kind == "backbone" else (None, None)
    about: dict[str, Any] = {"name": name, "kind": kind, "license": f"unknown: converted from {source.name}"}
    about |= {"network": own, "trained_on": (), "preprocessing": preprocessing}
    return about | {"converted_from": hash_file(source)}


def _draw_inputs(source: _Source) -> Iterator[Floats]:
    """Yield seeded random input in batches of different sizes: crops of noise and of flat patches, or windows."""
    random = np.random.default_rng(0)
    if source.kind == "head":
        windows = np.maximum(random.normal(size=(16, WINDOW, FEATURES)), 0) * np.geomspace(0.1, 10, 16)[:, None, None]
        yield from np.split(windows.astype(np.float32), [1])
        return
    size = source.preprocessing.input_size
    noise = random.integers(0, 256, (2, size, size, 3), np.uint8)
    patches = np.arange(size) * 5 // size
    flat = random.integers(0, 256, (2, 5, 5, 3), np.uint8)[:, patches][:, :, patches]
    yield normalize_crops(flat[:1], source.preprocessing)
    yield normalize_crops(np.concatenate([noise, flat[1:]]), source.preprocessing)


def _check_crops(source: _Source, crops: Images) -> None:
    size = source.preprocessing.input_size
    if crops.dtype != np.uint8 or crops.shape[1:] != (size, size, 3) or not len(crops):
        raise UsageError(
            f"The crops should be uint8 of the shape (N, {size}, {size}, 3), N at least 1, but they are {crops.dtype} "
            f"of {crops.shape}; resize them to the backbone's input."
        )


def _normalize(source: _Source, crops: Images) -> Iterator[Floats]:
    """Yield the input that crops make, a few at a time."""
    for start in range(0, len(crops), BATCH):
        yield normalize_crops(crops[start : start + BATCH], source.preprocessing)


def _compare(source: _Source, target: Path, run: Run, *, inputs: Iterable[Floats], where: str) -> float:
    """Return the largest difference between source and target, if it is small enough."""
    difference = float(np.max([_measure(source.run(x), run(x)) for x in inputs]))
    if difference <= TOLERANCE:  # not so if it is not a number
        return difference
    raise WrongArchitecture(
        f"{target} should compute what {source.path} does, up to {TOLERANCE:g}, but on {where} it differs by "
        f"{difference:.2g}, so it is not written. Use the source as it is."
    )


def _measure(expected: tuple[Floats, ...], came: tuple[Floats, ...]) -> float:
    *features, probabilities = (np.abs(ours - theirs).max() for ours, theirs in zip(came, expected, strict=True))
    largest = max(float(expected[0].max()), np.finfo(np.float32).tiny)
    return float(np.max([probabilities, *(difference / largest for difference in features)]))


def _write_state_dict(source: _Source, path: Path) -> None:
    with path.open("wb") as file:  # by path, the archive would carry its temporary name
        torch.save(source.network.state_dict(), file)


def _run_state_dict(source: _Source, path: Path) -> Run:
    is_head = source.kind == "head"
    return _in_numpy((_open_head(path) if is_head else _open_backbone(path, input_size=0))[1])


class _PublishedResNet50(ResNet50):
    """The study's backbone with the method of the published TorchScript files."""

    def extract_features(self, x: Tensor) -> Tensor:
        """Return features (B, 512) before the ReLU."""
        caught: list[Tensor] = []
        with self.fc1.register_forward_hook(lambda module, inputs, output: caught.append(output)):
            self.features(x)
        return caught[0]


class _PublishedMobileNet(MobileNet):
    """The same of a MobileNet, whose features have no ReLU of their own."""

    def extract_features(self, x: Tensor) -> Tensor:
        """Return features (B, 512)."""
        return self.features(x)


def _write_script(source: _Source, path: Path) -> None:
    with _quiet(), path.open("wb") as file:
        script = torch.jit.script(source.network) if source.kind == "head" else _trace_backbone(source)
        torch.jit.save(script, file)


def _trace_backbone(source: _Source) -> torch.jit.ScriptModule:
    network = (_PublishedMobileNet if isinstance(source.network, MobileNet) else _PublishedResNet50)().eval()
    network.load_state_dict(source.network.state_dict())
    x = _draw_example(source)
    methods = {"forward": x, "extract_features": x}
    return torch.jit.trace_module(network, methods, check_trace=False)  # type: ignore[no-any-return, no-untyped-call] # torch has no types here


def _run_script(source: _Source, path: Path) -> Run:
    with _quiet():
        script: Any = torch.jit.load(path)  # type: ignore[no-untyped-call] # written here: it needs no trust
    if source.kind == "head":
        return _in_numpy(lambda x: (script(x),))
    return _in_numpy(lambda x: (torch.relu(script.extract_features(x)), torch.softmax(script(x), dim=1)))


def _draw_example(source: _Source) -> Tensor:
    """Return input of the right shape, to trace a network with."""
    size = source.preprocessing.input_size
    return torch.zeros((2, WINDOW, FEATURES) if source.kind == "head" else (2, 3, size, size))


def _write_onnx(source: _Source, path: Path) -> None:
    state = export_arrays(source.network)
    is_head = source.kind == "head"
    model = build_head(state) if is_head else build_backbone(state, input_size=source.preprocessing.input_size)
    onnx.helper.set_model_props(model, _list_metadata(source))
    onnx.save(model, path)


def _list_metadata(source: _Source) -> dict[str, str]:
    about = {name: str(source.record[name]) for name in ("name", "kind", "license")}
    about |= {"emotions": ",".join(EMOTION_NAMES)}
    if source.kind == "backbone":
        about["preprocessing"] = json.dumps(asdict(source.preprocessing))
    return about


def _run_onnx(source: _Source, path: Path) -> Run:
    import onnxruntime

    session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    (name,) = (entry.name for entry in session.get_inputs())

    def run(x: Floats) -> tuple[Floats, ...]:
        outputs: list[Floats] = session.run(None, {name: x})
        if source.kind == "head":
            return tuple(outputs)
        features, logits = outputs
        return features, torch.softmax(torch.from_numpy(logits), dim=1).numpy()

    return run


@contextmanager
def _quiet() -> Iterator[None]:
    """Keep PyTorch from talking of the future of TorchScript."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield


WRITERS: dict[str, tuple[Callable[[_Source, Path], None], Callable[[_Source, Path], Run]]] = {
    "state dict": (_write_state_dict, _run_state_dict),
    "TorchScript": (_write_script, _run_script),
    "ONNX": (_write_onnx, _run_onnx),
}
