"""Keras weight files (HDF5) become arrays by h5py alone: no TensorFlow, and only numbers are read.

In goes a path; out come float32 arrays, by layer as stored, or under the names and in the axes of PyTorch's networks.
Read are files of weights alone and of whole models, of Keras 2 and 3. Where Keras calls a layer anew in each session
(`dense_4`), order and shape say what it is; layers of a published name may have `/` or `_` in it. Loading is strict: a
file that would load and compute something else is refused. Facts here: the names and shapes of the published Keras
graphs (Ryumina, Dresvyanskiy, Karpov, 2022; after rcmalli/keras-vggface) and where each tensor stands in PyTorch.
"""

import re
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import count, takewhile
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from .emotions import Emotion
from .errors import CorruptWeights, WrongArchitecture
from .weights import sniff_format

if TYPE_CHECKING:
    import h5py

Floats = npt.NDArray[np.float32]

MAX_VALUES = 1 << 28  # of all arrays of a file, 1 GiB; the backbone has 25 million
BATCH_NORM = ("gamma", "beta", "moving_mean", "moving_variance")
DENSE = ("kernel", "bias")
LSTM = ("kernel", "recurrent_kernel", "bias")
STAGES = ((3, 64), (4, 128), (6, 256), (3, 512))  # blocks, filters of conv2 to conv5; PyTorch's layer1 to layer4
BLOCK = (  # name in Keras, in its order; PyTorch's convolution and batch norm
    ("1x1_reduce", "conv1", "batch_norm1"),
    ("3x3", "conv2", "batch_norm2"),
    ("1x1_increase", "conv3", "batch_norm3"),
    ("1x1_proj", "i_downsample.0", "i_downsample.1"),
)
DENSES = {"fc1": (2048, 512), "fc2": (512, len(Emotion))}  # PyTorch's name: inputs, outputs
LSTMS = {"lstm1": (512, 512), "lstm2": (512, 256)}  # inputs, units
# What h5py raises over damaged files.
_UNREADABLE = (OSError, RuntimeError, LookupError, ValueError, TypeError, AttributeError, MemoryError, OverflowError)


@dataclass(frozen=True)
class _Layer:
    """One layer that has weights."""

    name: str
    weights: dict[str, Floats]  # by their names in the file, in its order

    @property
    def kind(self) -> str:
        """What the layer must be, by the axes of its weights."""
        axes = tuple(weight.ndim for weight in self.weights.values())
        kinds = {(4,): "convolution", (1,) * 4: "batch norm", (2, 1): "Dense layer", (2, 2, 1): "LSTM"}
        return kinds.get(axes, "other layer")

    def take(self, names: Sequence[str]) -> list[Floats]:
        """Return the weights in the order of `names`: by their own where they have them, else as they are stored."""
        own = {name.rpartition("/")[2].partition(":")[0]: weight for name, weight in self.weights.items()}
        return [own[name] for name in names] if set(own) == set(names) else list(self.weights.values())


@dataclass(frozen=True)
class _Convolution:
    """A convolution of the backbone and the batch norm after it."""

    name: str  # in Keras, with `_`
    module: str  # in PyTorch
    norm: str  # in PyTorch
    shape: tuple[int, int, int, int]  # height, width, inputs, outputs


def read_layers(path: Path) -> dict[str, tuple[Floats, ...]]:
    """Return the weights of each layer that has any, float32 in the axes of Keras, layers and weights in file order.

    Raises:
        MissingWeights: there is no such file.
        CorruptWeights: it is damaged, or holds no weights, or others than finite floats.
        WrongArchitecture: it is no Keras file.
    """
    return {layer.name: tuple(layer.weights.values()) for layer in _read(path)}


def read_backbone_arrays(path: Path) -> dict[str, Floats]:
    """Return a backbone's arrays under the names of the PyTorch state dict, all but its counters.

    Raises:
        WeightsError: as `read_layers`; and WrongArchitecture if it is another network's.
    """
    layers = [part for layer in _read(path) for part in _split(layer)]
    _check_count(path, layers, kind="backbone")
    plan = _list_convolutions()
    convolutions = _match(layers, [entry.name for entry in plan], kind="convolution")
    norms = _match(layers, [f"{entry.name}_bn" for entry in plan], kind="batch norm")
    arrays: dict[str, Floats] = {}
    for entry, convolution, norm in zip(plan, convolutions, norms, strict=True):
        (kernel,) = _check_shapes(path, convolution, ("kernel",), (entry.shape,))
        arrays[f"{entry.module}.weight"] = np.ascontiguousarray(kernel.transpose(3, 2, 0, 1))  # HWIO to OIHW
        values = _check_shapes(path, norm, BATCH_NORM, (entry.shape[-1:],) * 4)
        parts = ("weight", "bias", "running_mean", "running_var")
        arrays |= {f"{entry.norm}.{part}": value for part, value in zip(parts, values, strict=True)}
    denses = [layer for layer in layers if layer.kind == "Dense layer"]
    for (name, shape), layer in zip(DENSES.items(), denses, strict=True):
        arrays |= _convert_dense(path, layer, name=name, shape=shape)
    return arrays


def read_head_arrays(path: Path) -> dict[str, Floats]:
    """Return a head's arrays under the names of the PyTorch state dict.

    Keras has one bias where PyTorch adds two: it is in `bias_ih_l0`, and `bias_hh_l0` is zero.

    Raises:
        WeightsError: as `read_layers`; and WrongArchitecture if it is another network's.
    """
    layers = [part for layer in _read(path) for part in _split(layer)]
    _check_count(path, layers, kind="head")
    arrays: dict[str, Floats] = {}
    lstms = [layer for layer in layers if layer.kind == "LSTM"]
    for (name, (inputs, units)), layer in zip(LSTMS.items(), lstms, strict=True):
        shapes = ((inputs, 4 * units), (units, 4 * units), (4 * units,))
        kernel, recurrent, bias = _check_shapes(path, layer, LSTM, shapes)  # the gates stand in the same order
        arrays |= {f"{name}.weight_ih_l0": np.ascontiguousarray(kernel.T)}
        arrays |= {f"{name}.weight_hh_l0": np.ascontiguousarray(recurrent.T)}
        arrays |= {f"{name}.bias_ih_l0": bias, f"{name}.bias_hh_l0": np.zeros_like(bias)}
    (dense,) = (layer for layer in layers if layer.kind == "Dense layer")
    return arrays | _convert_dense(path, dense, name="fc", shape=(LSTMS["lstm2"][1], len(Emotion)))


def _list_convolutions() -> list[_Convolution]:
    """List the backbone's convolutions in the order of Keras' own `model.layers`, which is PyTorch's too."""
    plan = [_Convolution("conv1_7x7_s2", "conv_layer_s2_same", "batch_norm1", (7, 7, 3, 64))]
    channels = 64
    for stage, (blocks, filters) in enumerate(STAGES, start=2):
        for block in range(1, blocks + 1):
            wide = 4 * filters
            shapes = (
                (1, 1, channels, filters),
                (3, 3, filters, filters),
                (1, 1, filters, wide),
                (1, 1, channels, wide),
            )
            parts = BLOCK if block == 1 else BLOCK[:-1]
            for (part, module, norm), shape in zip(parts, shapes, strict=False):
                place = f"layer{stage - 1}.{block - 1}"
                plan.append(_Convolution(f"conv{stage}_{block}_{part}", f"{place}.{module}", f"{place}.{norm}", shape))
            channels = wide
    return plan


def _split(layer: _Layer) -> Iterator[_Layer]:
    """Yield the layers of a model that is stored as one layer of another; any other layer as it is."""
    places: dict[str, dict[str, Floats]] = {}
    for name, weight in layer.weights.items():
        places.setdefault(name.rpartition("/")[0], {})[name] = weight
    if len(places) == 1:
        yield layer
    else:
        yield from (_Layer(place, weights) for place, weights in places.items())


def _check_count(path: Path, layers: list[_Layer], *, kind: str) -> None:
    depth = len(_list_convolutions())
    expected = {
        "backbone": {"convolution": depth, "batch norm": depth, "Dense layer": len(DENSES)},
        "head": {"LSTM": len(LSTMS), "Dense layer": 1},
    }
    came = Counter(layer.kind for layer in layers)
    if came == expected[kind]:
        return
    what = next((f"a {other}" for other in expected if came == expected[other]), "another network")
    raise WrongArchitecture(
        f"{path} should be a Keras {kind} with {_describe(expected[kind])}, but it is {what} with {_describe(came)}. "
        f"Give a {kind} here."
    )


def _describe(counts: dict[str, int]) -> str:
    return ", ".join(f"{count} {kind}{'s' if count != 1 else ''}" for kind, count in counts.items())


def _match(layers: list[_Layer], names: list[str], *, kind: str) -> list[_Layer]:
    """Return the layers of a kind by their published names, or in the file's order if they do not have them all.

    That order is the one by which Keras itself loads weights.
    """
    candidates = [layer for layer in layers if layer.kind == kind]
    by_name = {layer.name.replace("/", "_"): layer for layer in candidates}
    return [by_name[name] for name in names] if set(by_name) == set(names) else candidates


def _check_shapes(path: Path, layer: _Layer, names: Sequence[str], shapes: Sequence[tuple[int, ...]]) -> list[Floats]:
    """Return a layer's weights in the order of `names`, if they have the `shapes` of the published network."""
    weights = layer.take(names)
    for name, weight, shape in zip(names, weights, shapes, strict=True):
        if weight.shape != shape:
            raise WrongArchitecture(
                f"{path} should be a network of the published shape, whose layer {layer.name} has a {name} of "
                f"{shape}, but it is of {weight.shape}. Give weights of this network."
            )
    return weights


def _convert_dense(path: Path, layer: _Layer, *, name: str, shape: tuple[int, int]) -> dict[str, Floats]:
    kernel, bias = _check_shapes(path, layer, DENSE, (shape, shape[1:]))
    return {f"{name}.weight": np.ascontiguousarray(kernel.T), f"{name}.bias": bias}


def _read(path: Path) -> list[_Layer]:
    """Return the layers that have weights, in file order."""
    if (came := sniff_format(path)) != "Keras":
        raise WrongArchitecture(
            f"{path} should be a Keras file (HDF5), but it is a {came} of PyTorch. Give a .h5 file."
        )
    with _open(path) as file:
        root = _step_down(file, "model_weights") if "model_weights" in file else file
        _refuse_other_arithmetic(path, file, root)
        found = _find_layers(root)
        size = sum(int(dataset.size) for _, datasets in found for dataset in datasets.values())
        if size > MAX_VALUES:
            raise WrongArchitecture(
                f"{path} should hold the weights of a network of this study, but it holds {size} values, more than "
                f"the {MAX_VALUES} that are read at most. Give another file."
            )
        layers = [
            _Layer(layer, {name: _read_array(path, dataset) for name, dataset in datasets.items()})
            for layer, datasets in found
        ]
    if not layers:
        raise CorruptWeights(
            f"{path} should be a Keras file with weights, but this HDF5 file holds none under layer_names or layers. "
            "Save the model again with save_weights, or get the file again."
        )
    return layers


@contextmanager
def _open(path: Path) -> Iterator["h5py.File"]:
    import h5py

    try:
        with h5py.File(path, "r") as file:
            yield file
    except _UNREADABLE as error:
        reason = (str(error).splitlines() or [type(error).__name__])[0].rstrip(".")
        raise CorruptWeights(
            f"{path} should be a Keras file (HDF5), but it cannot be read ({reason}); it is damaged or cut short. "
            "Get the file again."
        ) from error


def _refuse_other_arithmetic(path: Path, file: "h5py.File", root: "h5py.Group") -> None:
    """Refuse weights that fit and mean something else: kernels turned about, as Theano had them, or other gates.

    The description of a model is searched for one word, never built from.
    """
    is_turned = _decode(root.attrs.get("backend", "")) == "theano"
    if is_turned or '"hard_sigmoid"' in _decode(file.attrs.get("model_config", "")):
        reason = "stores its kernels turned about, as Theano does" if is_turned else "has hard_sigmoid gates"
        raise WrongArchitecture(
            f"{path} should compute as the published network does, on TensorFlow and with sigmoid gates, but it "
            f"{reason}. Give the published weights."
        )


def _find_layers(root: "h5py.Group") -> "list[tuple[str, dict[str, h5py.Dataset]]]":
    """Return (layer, datasets by name) for every layer that has weights: as Keras 2 stores them, else as Keras 3."""
    groups = ((layer, _step_down(root, layer)) for layer in _read_names(root, "layer_names"))
    named = [
        (layer, {name: _find_dataset(group, name) for name in _read_names(group, "weight_names")})
        for layer, group in groups
    ]
    if not named and "layers" in root:
        named = list(_walk(_step_down(root, "layers")))
    return [(layer, datasets) for layer, datasets in named if datasets]


def _walk(container: "h5py.Group") -> "Iterator[tuple[str, dict[str, h5py.Dataset]]]":
    """Yield (layer, datasets by name) of Keras 3's own layout: `layers/<class>_<number>/vars/<number>`.

    A layer's own name is an attribute; a model within a model has `layers` again.
    """
    for key in sorted(container, key=_count):
        layer = _step_down(container, key)
        if "layers" in layer:
            yield from _walk(_step_down(layer, "layers"))
            continue
        places: list[str] = []
        layer.visit(places.append)
        numbered = [place for place in places if "vars/" in place]
        title = _decode(layer["vars"].attrs.get("name", key)) if "vars" in layer else key
        yield title, {place: _find_dataset(layer, place) for place in sorted(numbered, key=_count)}


def _count(name: str) -> tuple[str, int]:
    """Return a sort key that puts `conv2d_2` before `conv2d_10`, and `vars/2` before `vars/10`."""
    stem, digits = re.fullmatch(r"(.*?)(?:[_/](\d+))?", name, re.DOTALL).groups()  # type: ignore[union-attr] # any text matches
    return stem, int(digits or 0)


def _step_down(group: "h5py.Group", name: str) -> Any:
    """Return what lies at a name with `/` in it; links, which may lead out of the file, are not followed."""
    import h5py

    whole = f"{group.name.rstrip('/')}/{name}"
    for part in name.split("/"):
        if not isinstance(group.get(part, getlink=True), h5py.HardLink):
            raise ValueError(f"{whole} is missing, or only a link")
        group = group[part]
    return group


def _find_dataset(group: "h5py.Group", name: str) -> "h5py.Dataset":
    dataset = _step_down(group, name)
    if dataset.external or dataset.is_virtual:
        raise ValueError(f"{dataset.name} lies in another file")
    return dataset


def _read_array(path: Path, dataset: "h5py.Dataset") -> Floats:
    """Return a dataset as float32, if that is what it holds."""
    if dataset.dtype.kind == "f":
        with np.errstate(over="ignore"):
            array: Floats = np.asarray(dataset[()], dtype=np.float32)
        if np.isfinite(array).all():
            return array
    came = "values that are not finite" if dataset.dtype.kind == "f" else f"values of type {dataset.dtype}"
    raise CorruptWeights(
        f"{path} should hold finite floats, but {dataset.name} has {came}; the file is damaged, or its training "
        "failed. Get the file again."
    )


def _read_names(group: "h5py.Group", attribute: str) -> list[str]:
    """Return a list of names; one that is too long for HDF5 stands in numbered parts."""
    parts = takewhile(group.attrs.__contains__, (f"{attribute}{number}" for number in count()))
    attributes = [attribute] if attribute in group.attrs else parts
    return [_decode(name) for part in attributes for name in group.attrs[part]]


def _decode(text: Any) -> str:
    return text.decode("utf-8", "replace") if isinstance(text, bytes) else str(text)
