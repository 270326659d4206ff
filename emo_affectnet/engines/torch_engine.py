"""PyTorch on the CPU, CUDA or MPS: the reference, and the engine of graphics cards."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from threading import Lock

import numpy as np

from ..emotions import Emotion
from ..errors import UsageError, WrongArchitecture
from ..networks import load_head, open_backbone
from ..weight_sets import Weights
from ..weights import FEATURES
from .contract import Floats, Images, StudyEngine, normalize_crops, split, split_windows
from .devices import choose_device

_cudnn = Lock()  # whose settings are those of the whole process


class TorchEngine(StudyEngine):
    """PyTorch on one device. The backbone computes in float32, or in half precision where the device does it faster.

    Float32 is meant: on cards of NVIDIA, PyTorch would round the factors of convolutions to 11 bits (TF32).

    Raises:
        UsageError: the device is not there, or has no arithmetic of that precision.
        WeightsError: a file is damaged, or another network's.
    """

    name = "torch"
    precisions = ("fp32", "bf16", "fp16")

    def __init__(
        self, weights: Weights, *, device: str = "auto", precision: str = "fp32", threads: int | None = None
    ) -> None:
        import torch

        super().__init__(weights, precision=precision)
        chosen = choose_device(device)
        self.device = chosen.name
        self._is_gpu = not self.device.startswith("cpu")
        if threads is not None:
            torch.set_num_threads(threads)
        if precision != "fp32":
            _check_precision(precision, device=self.device)
        self.description = chosen.describe(None if self._is_gpu else torch.get_num_threads())
        self._embed, self._last_layer = open_backbone(
            weights.backbone, device=self.device, input_size=weights.preprocessing.input_size
        )
        self._half = {"bf16": torch.bfloat16, "fp16": torch.float16}.get(precision)
        self._torch = torch
        with self._exactly(cudnn=False):  # a head is tried when it is loaded
            self._heads = [load_head(path, device=self.device) for path in weights.heads.values()]

    def embed(self, crops: Images) -> Floats:
        """Return features (N, 512), after the ReLU, of RGB crops uint8 (N, S, S, 3)."""
        torch = self._torch
        parts = []
        half = torch.autocast(self.device.partition(":")[0], self._half, self._half is not None)
        with torch.inference_mode(), half, self._exactly():
            for part in [crops] if self._is_gpu else split(crops):
                x = torch.from_numpy(normalize_crops(part, self.preprocessing))
                if self.device.startswith("cuda"):
                    x = x.pin_memory()  # so that the copy runs beside the last batch's computation
                x = x.to(self.device, memory_format=torch.channels_last, non_blocking=True)
                parts.append(self._embed(x).float())
        features: Floats = torch.cat(parts).cpu().numpy() if parts else np.empty((0, FEATURES), np.float32)
        return features

    def classify(self, windows: Floats) -> Floats:
        """Return probabilities (heads, W, 7) of windows (W, 10, 512)."""
        return split_windows(windows, self._classify, heads=len(self.heads))

    def _classify(self, windows: Floats) -> Floats:
        x = self._torch.from_numpy(windows).to(self.device)
        with self._torch.inference_mode(), self._exactly(cudnn=False):
            probabilities: Floats = self._torch.stack([head(x) for head in self._heads]).cpu().numpy()
        return probabilities

    def classify_faces(self, features: Floats) -> Floats:
        """Return probabilities (N, 7) of features (N, 512), one face each, by the backbone's own last layer.

        Raises:
            WrongArchitecture: the backbone has no such layer.
        """
        if self._last_layer is None:
            raise WrongArchitecture(
                f"{self.backbone} should be a backbone with a last layer fc2 from features (B, 512) to "
                f"{len(Emotion)} emotions, which a single face needs, but it has none; use the temporal mode, or give "
                "another backbone."
            )
        x = self._torch.from_numpy(features).to(self.device)
        with self._torch.inference_mode():
            probabilities: Floats = self._torch.softmax(self._last_layer(x), dim=1).cpu().numpy()
        return probabilities

    @contextmanager
    def _exactly(self, *, cudnn: bool = True) -> Iterator[None]:
        """Compute float32 as such, and the same in every run; other networks of the process keep what they have.

        Heads go without cuDNN, which would gather the weights of a saved LSTM anew at every call, and warn of it.
        """
        if not self.device.startswith("cuda"):
            yield
            return
        with _cudnn, self._torch.backends.cudnn.flags(enabled=cudnn, deterministic=True, allow_tf32=False):
            yield


def _check_precision(precision: str, *, device: str) -> None:
    """Refuse arithmetic that the device would only imitate, slower than in float32."""
    import torch

    kind = device.partition(":")[0]
    is_there: Callable[[], object] = {
        ("bf16", "cpu"): lambda: bool(torch.cpu._is_avx512_bf16_supported()),
        ("bf16", "cuda"): lambda: torch.cuda.is_bf16_supported(including_emulation=False),
        ("fp16", "cuda"): lambda: True,
        ("fp16", "mps"): lambda: True,
    }.get((precision, kind), lambda: False)
    if not is_there():
        raise UsageError(f"There is no fast {precision} arithmetic on {device} here; leave the precision at fp32.")
