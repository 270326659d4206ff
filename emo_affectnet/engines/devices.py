"""Where a network runs: the device, and why it was chosen."""

import logging
import os
import shutil
import sys
from dataclasses import dataclass

from ..errors import UsageError

log = logging.getLogger("emo_affectnet")

DRIVERS = ("/dev/nvidiactl", "/dev/dxg", "/dev/kfd")  # of NVIDIA, of Windows inside Linux, of AMD


@dataclass(frozen=True)
class Device:
    """A device, as PyTorch names it, and the reason in words."""

    name: str  # "cpu", "cuda", "cuda:1", "mps"
    why: str

    def describe(self, threads: int | None = None) -> str:
        """Return it as a line for people, with the threads that a network has there if they are known."""
        counted = "" if threads is None else f", {threads} thread{'s' if threads > 1 else ''}"
        return f"on {self.name} ({self.why}){counted}"


def choose_device(name: str) -> Device:
    """Return the device to use; "auto" takes CUDA, then MPS, then the CPU.

    PyTorch, which takes seconds to load, is asked only where a driver is in sight. A card that it cannot use is a
    warning.

    Raises:
        UsageError: the named device is not there.
    """
    if name == "cpu":
        return Device(name, "as asked")
    if name == "auto" and not has_driver():
        return Device("cpu", "there is no graphics card")
    import torch

    counts = {"cuda": torch.cuda.device_count(), "mps": int(torch.backends.mps.is_available()), "cpu": 1}
    present = [device for device, count in counts.items() for _ in range(count)]
    if name == "auto":
        if present[0] == "cpu":
            log.warning(
                "A graphics card seems to be here, but PyTorch %s cannot use it, so the CPU is used. Install the build "
                "of PyTorch for the card (https://pytorch.org/get-started), or choose the device cpu.",
                torch.__version__,
            )
            return Device("cpu", "PyTorch cannot use the graphics card")
        return Device(present[0], {"cuda": torch.cuda.get_device_name, "mps": lambda: "Apple GPU"}[present[0]]())
    kind, _, index = name.partition(":")
    numbered = [f"{device}:{number}" for device, count in counts.items() for number in range(count)]
    if name not in present and name not in numbered:
        there = ", ".join(dict.fromkeys(present + numbered))
        raise UsageError(f"The device {name!r} is not available here; choose auto or one of: {there}.")
    return Device(name, "as asked")


def choose_cpu(engine: str, device: str) -> Device:
    """Return the CPU, for an engine that runs nowhere else; PyTorch is not asked.

    Raises:
        UsageError: another device is named.
    """
    if device not in ("auto", "cpu"):
        raise UsageError(f"The engine {engine} runs on the CPU only, but {device!r} was named; leave it out.")
    if device == "auto" and has_driver():
        return Device("cpu", "the only device of this engine")
    return choose_device(device)


def has_driver() -> bool:
    """Say whether there may be a graphics card that PyTorch can use."""
    if sys.platform == "linux":
        return any(map(os.path.exists, DRIVERS))
    return sys.platform == "darwin" or shutil.which("nvidia-smi") is not None
