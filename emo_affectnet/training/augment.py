"""Random views of training faces that look like video: turned, relit, small, compressed, cut out on black, covered.

One large corpus comes cut out on black, and only it has many faces of Fear and Disgust. A network would take the black
for a sign of a class, so masked faces get a background and others lose theirs, at random.
"""

import io
import math

import numpy as np
import torch
from PIL import Image
from torch import Tensor
from torch.nn import functional as F

MAX_ANGLE = math.radians(15)
MAX_SHIFT = 0.08  # of the crop's side; the detector's own spread on FER2013 is about half of it
SCALE_RANGE = (0.84, 1.20)
MAX_SHEAR = 0.08
MAX_BRIGHTNESS = 35.0  # grey levels
CONTRAST_RANGE = (0.6, 1.4)
SATURATION_RANGE = (0.5, 1.3)
MAX_GAMMA = 0.35  # of the natural logarithm
COLOUR_CAST = 0.06  # deviation of each channel's gain
BLACK = 12  # grey levels under which a pixel of a cut-out face is background
SMALL_SIDES = (28, 40, 56, 76)  # px that a face has in the picture before it is enlarged
GREY_SHARE, GAMMA_SHARE = 0.35, 0.4  # of the views
CUT_SHARE, FILL_SHARE = 0.35, 0.5  # of the faces with a background, of those without
SMALL_SHARE, COMPRESSED_SHARE, COVERED_SHARE = 0.36, 0.2, 0.25
QUALITY_RANGE = (12, 60)  # of JPEG, which stands in for a video's compression
LUMA = torch.tensor([0.299, 0.587, 0.114])[:, None, None]  # ITU-R BT.601


def augment(images: Tensor, *, size: int, zoom: float = 1.0) -> Tensor:
    """Return float32 (B, 3, size, size) random views, 0-255, of RGB images (B, 3, H, W), or grey ones (B, 1, H, W).

    `zoom` is the share of an image's side that the face's crop takes; what is around it is seen where a view is moved.
    """
    is_cut_out = find_cut_outs(images)
    views = _warp(images.float().expand(-1, 3, -1, -1), size=size, zoom=zoom)
    views, is_empty = _change_background(views, is_cut_out)
    views = torch.where(is_empty, torch.zeros(()), _change_light(views))
    return _cover(_compress(_lose_detail(views)))


def find_cut_outs(images: Tensor) -> Tensor:
    """Return bool (B,): images (B, C, H, W) of faces cut out on black, whose corners are all black."""
    corners = images[..., :: images.shape[-2] - 1, :: images.shape[-1] - 1]  # (B, C, 2, 2)
    return corners.flatten(1).amax(dim=1) < BLACK


def _uniform(count: int, low: float, high: float) -> Tensor:
    """Return float32 (count, 1, 1, 1), one number for each image."""
    return torch.rand(count, 1, 1, 1) * (high - low) + low


def _choose(count: int, share: float) -> Tensor:
    """Return bool (count, 1, 1, 1): a random share of the images."""
    return torch.rand(count, 1, 1, 1) < share


def _warp(images: Tensor, *, size: int, zoom: float) -> Tensor:
    """Return mirrored, turned, scaled, sheared and shifted views (B, 3, size, size)."""
    count = len(images)
    angle = _uniform(count, -MAX_ANGLE, MAX_ANGLE).flatten()
    scale = _uniform(count, *SCALE_RANGE).flatten() * zoom
    stretch = _uniform(count, 0.93, 1.07).flatten()
    shear = _uniform(count, -MAX_SHEAR, MAX_SHEAR).flatten() * scale
    mirror = torch.where(torch.rand(count) < 0.5, -1.0, 1.0)
    cos, sin = angle.cos() * scale, angle.sin() * scale
    # affine_grid works in a square of side 2, hence twice the shift.
    x, y = (_uniform(count, -2 * MAX_SHIFT, 2 * MAX_SHIFT).flatten() * zoom for _ in range(2))
    rows = torch.stack([mirror * cos * stretch, shear - sin, x, mirror * sin, cos / stretch, y], dim=1)
    grid = F.affine_grid(rows.view(count, 2, 3), [count, 3, size, size], align_corners=False)
    return F.grid_sample(images, grid, padding_mode="border", align_corners=False)


def _change_background(views: Tensor, is_cut_out: Tensor) -> tuple[Tensor, Tensor]:
    """Cut some faces out, give some cut-out ones a background; return the views and what is black, (B, 1, S, S)."""
    count, size = len(views), views.shape[-1]
    cut_out = is_cut_out[:, None, None, None]
    black = F.max_pool2d((views.amax(dim=1, keepdim=True) < BLACK).float(), 3, stride=1, padding=1) > 0
    filled = black & cut_out & _choose(count, FILL_SHARE)
    views = torch.where(filled, _make_backgrounds(views), views)
    outside = _outside_ellipse(count, size) & ~cut_out & _choose(count, CUT_SHARE)
    return torch.where(outside, torch.zeros(()), views), outside | (black & cut_out & ~filled)


def _make_backgrounds(views: Tensor) -> Tensor:
    """Return (B, 3, S, S): another view blurred, another one upside down, or one colour."""
    count, size = len(views), views.shape[-1]
    others = views.roll(1, dims=0)
    blurred = F.interpolate(F.adaptive_avg_pool2d(others, 6), size=(size, size), mode="bilinear", align_corners=False)
    colour = (_uniform(count, 0, 255) + 12 * torch.randn(count, 3, 1, 1)).expand_as(views)
    kind = torch.rand(count, 1, 1, 1)
    return torch.where(kind < 0.4, blurred, torch.where(kind < 0.7, others.flip(2), colour))


def _outside_ellipse(count: int, size: int) -> Tensor:
    """Return bool (count, 1, size, size): what is outside a random oval about the face."""
    axis = torch.linspace(-1, 1, size)
    across = (axis[None, None, None, :] - _uniform(count, -0.1, 0.1)) / _uniform(count, 0.72, 1.0)
    down = (axis[None, None, :, None] - _uniform(count, -0.02, 0.2)) / _uniform(count, 0.82, 1.1)
    return across.abs() ** 2.3 + down.abs() ** 2.3 > 1


def _change_light(views: Tensor) -> Tensor:
    """Return views in other light: saturation down to grey, contrast, colour cast, brightness, gamma."""
    count = len(views)
    mean = views.mean(dim=(2, 3), keepdim=True)
    grey = (views * LUMA).sum(dim=1, keepdim=True)
    saturation = torch.where(_choose(count, GREY_SHARE), torch.zeros(()), _uniform(count, *SATURATION_RANGE))
    views = grey + (views - grey) * saturation
    gain = _uniform(count, *CONTRAST_RANGE) * (1 + COLOUR_CAST * torch.randn(count, 3, 1, 1))
    views = ((views - mean) * gain + mean + _uniform(count, -MAX_BRIGHTNESS, MAX_BRIGHTNESS)).clamp(0, 255)
    bent = 255 * (views / 255).clamp(1e-4, 1) ** _uniform(count, -MAX_GAMMA, MAX_GAMMA).exp()
    return torch.where(_choose(count, GAMMA_SHARE), bent, views)


def _lose_detail(views: Tensor) -> Tensor:
    """Return views of which some had only `SMALL_SIDES` px."""
    size = views.shape[-1]
    side = torch.multinomial(torch.tensor([1 - SMALL_SHARE, *[SMALL_SHARE / len(SMALL_SIDES)] * len(SMALL_SIDES)]),
                             len(views), replacement=True)  # fmt: skip
    for number, small in enumerate(SMALL_SIDES, start=1):
        rows = (side == number).nonzero().flatten()
        if small < size and len(rows):
            shrunk = F.interpolate(views[rows], size=(small, small), mode="area")
            views[rows] = F.interpolate(shrunk, size=(size, size), mode="bilinear", align_corners=False)
    return views


def _compress(views: Tensor) -> Tensor:
    """Return views of which some went through JPEG."""
    for row in (torch.rand(len(views)) < COMPRESSED_SHARE).nonzero().flatten().tolist():
        quality = int(torch.randint(*QUALITY_RANGE, (1,)))
        pixels = views[row].permute(1, 2, 0).clamp(0, 255).byte().numpy()
        with io.BytesIO() as file:
            Image.fromarray(pixels).save(file, "JPEG", quality=quality)
            views[row] = torch.from_numpy(np.array(Image.open(file)).astype(np.float32)).permute(2, 0, 1)
    return views


def _cover(views: Tensor) -> Tensor:
    """Fill a random rectangle of some views with a random grey."""
    count, _, height, width = views.shape
    rows = (torch.arange(height)[:, None] - _uniform(count, 0, height)).abs() < _uniform(count, 0.06, 0.2) * height
    columns = (torch.arange(width) - _uniform(count, 0, width)).abs() < _uniform(count, 0.06, 0.2) * width
    patch = rows & columns & _choose(count, COVERED_SHARE)
    return torch.where(patch, _uniform(count, 0, 255), views)
