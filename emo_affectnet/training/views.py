"""What a network is shown of labelled faces: whole batches as they are, or as random views."""

from collections.abc import Callable, Iterable, Iterator
from dataclasses import replace
from itertools import islice

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from ..engines import normalize_crops
from ..faces import crop
from ..weights import Preprocessing

BATCH_SIZE = 256  # faces at once where nothing is learned


def prepare(images: Tensor, preprocessing: Preprocessing) -> Tensor:
    """Bring images (B, 1 or 3, S, S), 0-255, to the network's input through the recognizer's own preprocessing."""
    crops = images.permute(0, 2, 3, 1).expand(-1, -1, -1, 3).numpy()
    x = torch.from_numpy(normalize_crops(crops, preprocessing))
    return x.contiguous(memory_format=torch.channels_last)


def run_on_faces(
    network: Callable[[Tensor], Tensor],
    images: Iterable[npt.NDArray[np.uint8]],
    preprocessing: Preprocessing,
    *,
    device: str = "cpu",
) -> npt.NDArray[np.float32]:
    """Return what `network` makes of images that a face fills, uint8 (H, W) or (H, W, 3): one view of each."""
    outputs = []
    with torch.inference_mode():
        for crops in cut_whole(images, preprocessing):
            views = torch.from_numpy(crops if crops.ndim == 4 else crops[..., None]).permute(0, 3, 1, 2)
            outputs.append(network(prepare(views, preprocessing).to(device)).float().cpu())
    return torch.cat(outputs).numpy()


def cut_whole(images: Iterable[npt.NDArray[np.uint8]], preprocessing: Preprocessing) -> Iterator[npt.NDArray[np.uint8]]:
    """Yield batches, (B, S, S) or (B, S, S, 3), of images that a face fills: nothing is cut off them."""
    whole, pending = replace(preprocessing, crop_margin=(0.0, 0.0, 0.0, 0.0)), iter(images)
    while batch := list(islice(pending, BATCH_SIZE)):
        yield np.stack([crop(image, (0, 0, image.shape[1], image.shape[0]), whole) for image in batch])
