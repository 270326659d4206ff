"""Weight files become networks: a state dict, TorchScript or a Keras file to functions of tensors.

Whatever the file, a backbone is a function from the network's input to features after the ReLU, and a head one from
windows to probabilities. Loading is strict: a file that would load and compute something else is refused.
"""

import warnings
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from .emotions import Emotion
from .errors import CorruptWeights, WrongArchitecture
from .keras_files import read_backbone_arrays, read_head_arrays
from .store import check_trust
from .timeline import WINDOW
from .weights import FEATURES, NETWORKS, PUBLISHED_PREPROCESSING, read_record, sniff_format

if TYPE_CHECKING:
    import torch

    from .mobilenet import Backbone
    from .models import LSTMHead

    TensorFunction = Callable[[torch.Tensor], torch.Tensor]

LOOKALIKE = 1e-3  # of the largest feature: how far sums in another order may lie apart
# What PyTorch raises over damaged files: a changed length, for one, asks it for all the memory there is.
_UNREADABLE = (RuntimeError, EOFError, LookupError, ValueError, TypeError, AttributeError, MemoryError)


def export_arrays(network: "torch.nn.Module") -> dict[str, npt.NDArray[np.float32]]:
    """Return the tensors of a network on the CPU by their names, for what does not know PyTorch."""
    return {name: tensor.numpy() for name, tensor in network.state_dict().items()}


def _read_state_dict(path: Path) -> "dict[str, torch.Tensor]":
    import pickle

    import torch

    try:
        state = torch.load(path, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        raise CorruptWeights(
            f"{path} should be a plain state dict, but it holds other Python objects, a pickled module perhaps, or is "
            "damaged. A pickled module can run code and is refused; save its state_dict() instead."
        ) from error
    except _UNREADABLE as error:
        raise CorruptWeights(
            f"{path} should be a plain state dict, but PyTorch cannot read it; it is damaged, or no PyTorch file. "
            "Get the file again."
        ) from error
    if not isinstance(state, dict) or not all(isinstance(value, torch.Tensor) for value in state.values()):
        raise WrongArchitecture(
            f"{path} should be a plain state dict of tensors, but it holds a {type(state).__name__} of other things, "
            "a training checkpoint perhaps. Give the exported weights."
        )
    return state


_MOBILE_TENSOR = "layers.0.convolution.weight"  # the first of a MobileNet
_OTHER_NETWORKS = {  # a tensor's name: whose it is
    "lstm1.weight_ih_l0": "a head",
    "fc1.weight": "a backbone",
    _MOBILE_TENSOR: "a backbone, a MobileNet,",
    "bn1.weight": "torchvision's ResNet, which has its strides and padding elsewhere and would give other numbers,",
}


def _read_keras(path: Path, *, kind: str) -> "dict[str, torch.Tensor]":
    """Return the state dict that a Keras file amounts to; Keras does not count batches."""
    import torch

    read = {"backbone": read_backbone_arrays, "head": read_head_arrays}[kind]
    state = {name: torch.from_numpy(array) for name, array in read(path).items()}
    norms = [name.removesuffix("running_mean") for name in state if name.endswith("running_mean")]
    return state | {f"{norm}num_batches_tracked": torch.tensor(0) for norm in norms}


def _read_state(path: Path, *, kind: str) -> "dict[str, torch.Tensor]":
    file_format = sniff_format(path)
    if file_format == "Keras":
        return _read_keras(path, kind=kind)
    return _read_script(path, device="cpu").state_dict() if file_format == "TorchScript" else _read_state_dict(path)


def _fill(network: "torch.nn.Module", state: "dict[str, torch.Tensor]", path: Path, *, kind: str) -> None:
    """Load the tensors of a file strictly, in float32, or say what else it is."""
    expected = network.state_dict()
    wrong = [name for name in expected if name not in state or state[name].shape != expected[name].shape]
    surplus = [name for name in state if name not in expected]
    if wrong or surplus:
        came = next((what for key, what in _OTHER_NETWORKS.items() if key in state), "another network")
        raise WrongArchitecture(
            f"{path} should be the state dict of {kind} with {len(expected)} tensors, but it is {came} with "
            f"{len(state)}; {len(wrong)} are missing or of another shape, {len(surplus)} are unknown "
            f"(first: {(wrong + surplus)[0]}). Give {kind} here."
        )
    _refuse_untrained(state, path)
    network.load_state_dict(state)
    network.eval()


def _refuse_untrained(state: "dict[str, torch.Tensor]", path: Path) -> None:
    """Refuse batch norms as they are before training: what is left of a file that was once loaded with strict=False."""
    for name in state:
        if name.endswith("running_mean"):
            norm = name.removesuffix(".running_mean")
            if not state[name].any() and (state[f"{norm}.running_var"] == 1).all():
                raise CorruptWeights(
                    f"{path} should hold trained weights, but {norm} has the mean 0 and the variance 1 of a network "
                    "that never saw a face, as after loading with strict=False. Get the original file."
                )


def _read_script(path: Path, *, device: str) -> "torch.jit.ScriptModule":
    import torch

    check_trust(path)
    try:
        with warnings.catch_warnings():
            # PyTorch would rather have torch.export; the published files are TorchScript, and so are ours.
            warnings.filterwarnings("ignore", "`torch.jit.load` is deprecated", DeprecationWarning)
            script: torch.jit.ScriptModule = torch.jit.load(str(path), map_location=device)  # type: ignore[no-untyped-call]
    except _UNREADABLE as error:
        raise CorruptWeights(
            f"{path} should be TorchScript, but PyTorch cannot read it; it is damaged. Get the file again."
        ) from error
    script.float().eval()
    return script


def read_backbone(path: Path) -> "Backbone":
    """Return the backbone, in float32 and evaluation mode, filled from any kind of file.

    The file's record names the network; without a record the names of the tensors do.

    Raises:
        WeightsError: the file is damaged, or another network's.
    """
    from .mobilenet import BACKBONES

    record, state = read_record(path), _read_state(path, kind="backbone")
    name = (record.network if record else "MobileNet" if _MOBILE_TENSOR in state else None) or NETWORKS[0]
    network = BACKBONES[name]()
    _fill(network, state, path, kind=f"a backbone, a {name} as its record says," if record else "a backbone")
    return network


def read_head(path: Path) -> "LSTMHead":
    """Return the head, in float32 and evaluation mode, filled from any kind of file.

    Raises:
        WeightsError: the file is damaged, or another network's.
    """
    from .models import LSTMHead

    head = LSTMHead()
    _fill(head, _read_state(path, kind="head"), path, kind="a head")
    return head


def _describe_output(function: "Callable[[torch.Tensor], Any]", x: "torch.Tensor") -> "tuple[str, torch.Tensor | None]":
    """Say what a script makes of an input, and return its output if that is a tensor."""
    import torch

    try:
        with torch.inference_mode():
            output = function(x)
    except (RuntimeError, AttributeError, TypeError, torch.jit.Error):
        return "it cannot read such input", None
    if not isinstance(output, torch.Tensor):
        return f"its output is a {type(output).__name__}", None
    return f"its output has the shape {tuple(output.shape)} and the sum {float(output.sum()):.3f}", output


def load_backbone(
    path: Path, *, device: str = "cpu", input_size: int = PUBLISHED_PREPROCESSING.input_size
) -> "TensorFunction":
    """Return the function from the network's input (B, 3, S, S) to features (B, 512) of any kind of file.

    TorchScript is tried out on one image of `input_size` px. The published files give their features before the ReLU,
    others after it; applied here, it serves both.

    Raises:
        WeightsError: the file is damaged, or another network's.
    """
    return open_backbone(path, device=device, input_size=input_size)[0]


def open_backbone(path: Path, *, device: str, input_size: int) -> "tuple[TensorFunction, TensorFunction | None]":
    """Return the function to features, and the one from features (B, 512) to logits (B, 7) where there is one."""
    import torch

    if sniff_format(path) != "TorchScript":
        network = read_backbone(path)
        network.to(device=torch.device(device)).to(memory_format=torch.channels_last)  # type: ignore[call-overload] # the stubs miss it
        return network.features, network.fc2
    script = _read_script(path, device=device)
    extract = _find_features(script, path, x=torch.zeros(1, 3, input_size, input_size, device=device))
    _refuse_lookalike(script, extract, path, input_size=input_size)
    last_layer = getattr(script, "fc2", None)
    if last_layer is not None:
        _, logits = _describe_output(last_layer, torch.zeros(1, FEATURES, device=device))
        last_layer = last_layer if logits is not None and logits.shape == (1, len(Emotion)) else None
    return lambda x: torch.relu(extract(x)), last_layer


def _find_features(script: "torch.jit.ScriptModule", path: Path, *, x: "torch.Tensor") -> "TensorFunction":
    """Return what gives features (1, 512) of one face `x` (1, 3, S, S): a method, or the script itself."""
    named: list[TensorFunction] = [
        method for name in ("extract_features", "features") if (method := getattr(script, name, None))
    ]
    candidates: list[TensorFunction] = [*named, script]
    outputs = [(method, *_describe_output(method, x)) for method in candidates]
    for method, _, probe in outputs:
        if probe is not None and probe.shape == (1, FEATURES):
            return method
    if not named:
        raise WrongArchitecture(
            f"{path} should be a TorchScript backbone with a method extract_features, but it has none; it may be a "
            "head. Give a backbone here."
        )
    size = x.shape[-1]
    raise WrongArchitecture(
        f"{path} should be a TorchScript backbone from faces (B, 3, {size}, {size}) to features (B, {FEATURES}), but "
        f"{outputs[0][1]}. Give a backbone here."
    )


def _refuse_lookalike(
    script: "torch.jit.ScriptModule", extract: "TensorFunction", path: Path, *, input_size: int
) -> None:
    """Refuse TorchScript that holds the tensors of a backbone and computes something else with them.

    Copies of its class with another padding, stride or epsilon load without an error; this one input tells them apart.
    """
    import torch

    from .mobilenet import BACKBONES

    state = script.state_dict()
    network = next((own for kind in BACKBONES.values() if (own := kind()).state_dict().keys() == state.keys()), None)
    if network is None:
        return  # a class of its own, with no reference to hold it to
    network.load_state_dict(state)
    network.eval()
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(1, 3, input_size, input_size, generator=generator) * 50  # grey levels around the mean
    with torch.inference_mode():
        features = network.features(x)
        difference = (torch.relu(extract(x.to(next(iter(state.values())).device))).cpu() - features).abs().max()
    if difference > LOOKALIKE * features.max():
        raise WrongArchitecture(
            f"{path} should compute what the {type(network).__name__} here computes from its tensors, but its features "
            f"differ by {difference / features.max():.1%}: its class has another padding, stride or epsilon. Save its "
            "state dict and give that."
        )


def load_classifier(path: Path) -> "TensorFunction":
    """Return the function from the network's input (B, 3, S, S) to logits (B, 7) of a backbone's own last layer.

    Raises:
        WeightsError: the file is damaged, or another network's.
    """
    if sniff_format(path) != "TorchScript":
        return read_backbone(path)
    return _read_script(path, device="cpu")


def load_head(path: Path, *, device: str = "cpu") -> "TensorFunction":
    """Return the function from windows (W, 10, 512) to probabilities (W, 7) of any kind of file.

    Raises:
        WeightsError: the file is damaged, or another network's.
    """
    import torch

    if sniff_format(path) != "TorchScript":
        return read_head(path).to(torch.device(device))
    script = _read_script(path, device=device)
    came, probe = _describe_output(script, torch.zeros(1, WINDOW, FEATURES, device=device))
    if probe is None or probe.shape != (1, len(Emotion)) or abs(float(probe.sum()) - 1) > 1e-3:
        raise WrongArchitecture(
            f"{path} should be a TorchScript head from windows (W, 10, 512) to probabilities (W, 7), but {came}. "
            "Give a head here, not a backbone."
        )
    return script
