"""Random views of training faces: geometry around the detector's spread, lighting, sharpness, erased patches."""

import math

import torch
from torch import Tensor
from torch.nn import functional as F

MAX_ANGLE = math.radians(15)
MAX_SHIFT = 0.10  # of the crop's side; the detector's own spread on FER2013 is about half of it
SCALE_RANGE = (0.82, 1.18)
MAX_BRIGHTNESS = 30.0  # grey levels
CONTRAST_RANGE = (0.65, 1.35)
MAX_SHARPNESS = 0.9
ERASE_SHARE = 0.4  # of the crops


def _uniform(count: int, low: float, high: float) -> Tensor:
    return torch.rand(count) * (high - low) + low


def _random_affine(count: int) -> Tensor:
    """Return float32 (count, 2, 3): mirrored, turned, scaled, stretched and shifted sampling grids."""
    angle = _uniform(count, -MAX_ANGLE, MAX_ANGLE)
    scale = _uniform(count, *SCALE_RANGE)
    stretch = _uniform(count, 0.93, 1.07)
    mirror = torch.where(torch.rand(count) < 0.5, -1.0, 1.0)
    cos, sin = angle.cos() * scale, angle.sin() * scale
    # affine_grid works in a square of side 2, hence twice the shift.
    x, y = (_uniform(count, -2 * MAX_SHIFT, 2 * MAX_SHIFT) for _ in range(2))
    rows = torch.stack([mirror * cos * stretch, -sin, x, mirror * sin, cos / stretch, y], dim=1)
    return rows.view(count, 2, 3)


def _erase(images: Tensor) -> Tensor:
    """Fill a random rectangle of some images with a random grey."""
    count, _, height, width = images.shape
    centre_y, centre_x = _uniform(count, 0, height), _uniform(count, 0, width)
    half_y, half_x = _uniform(count, 0.05, 0.2) * height, _uniform(count, 0.05, 0.2) * width
    rows = (torch.arange(height) - centre_y[:, None]).abs() < half_y[:, None]  # (count, height)
    columns = (torch.arange(width) - centre_x[:, None]).abs() < half_x[:, None]  # (count, width)
    chosen = (torch.rand(count) < ERASE_SHARE)[:, None, None]
    patch = (rows[:, :, None] & columns[:, None, :] & chosen)[:, None]
    return torch.where(patch, _uniform(count, 0, 255)[:, None, None, None], images)


def augment(images: Tensor, *, size: int) -> Tensor:
    """Return float32 (B, 1, size, size) random views, 0-255, of grey images (B, 1, H, W)."""
    count = len(images)
    grid = F.affine_grid(_random_affine(count), [count, 1, size, size], align_corners=False)
    views = F.grid_sample(images.float(), grid, padding_mode="border", align_corners=False)
    blurred = F.avg_pool2d(F.pad(views, (1, 1, 1, 1), mode="replicate"), 3, stride=1)
    views = views + _uniform(count, -MAX_SHARPNESS, MAX_SHARPNESS)[:, None, None, None] * (views - blurred)
    contrast = _uniform(count, *CONTRAST_RANGE)[:, None, None, None]
    brightness = _uniform(count, -MAX_BRIGHTNESS, MAX_BRIGHTNESS)[:, None, None, None]
    mean = views.mean(dim=(2, 3), keepdim=True)
    views = ((views - mean) * contrast + mean + brightness).clamp(0, 255)
    return _erase(views)
