"""Random views: what they keep of a face, and what they change as often as their table says."""

import numpy as np
import pytest
import torch
from torch import Tensor

from emo_affectnet.training.augment import CUT_SHARE, FILL_SHARE, GREY_SHARE, augment, find_cut_outs


@pytest.fixture(autouse=True)
def _same_draws() -> None:
    torch.manual_seed(0)


def paint(count: int, *, border: int, face: tuple[int, int, int] = (200, 140, 90)) -> Tensor:
    """Return uint8 (count, 3, 48, 48): a coloured square on a background of one grey level."""
    images = torch.full((count, 3, 48, 48), border, dtype=torch.uint8)
    images[:, :, 12:36, 12:36] = torch.tensor(face, dtype=torch.uint8)[:, None, None]
    return images


def test_views_have_the_asked_size_and_stay_within_grey_levels() -> None:
    views = augment(paint(64, border=60), size=40)
    assert views.shape == (64, 3, 40, 40)
    assert views.min() >= 0
    assert views.max() <= 255


def test_the_same_seed_gives_the_same_views_and_another_one_others() -> None:
    faces = paint(16, border=60)
    first = augment(faces, size=40)
    torch.manual_seed(0)
    assert torch.equal(first, augment(faces, size=40))
    assert not torch.equal(first, augment(faces, size=40))


def test_a_view_is_mirrored_half_of_the_time() -> None:
    half = np.zeros((400, 1, 32, 32), np.uint8)
    half[:, :, :, :16], half[:, :, :, 16:] = 200, 40
    views = augment(torch.from_numpy(half), size=32)
    is_mirrored = views[:, 0, 10:22, 22:28].mean(dim=(1, 2)) > views[:, 0, 10:22, 4:10].mean(dim=(1, 2))
    assert 0.4 < float(is_mirrored.float().mean()) < 0.6


def test_a_face_is_cut_out_only_if_all_its_corners_are_black() -> None:
    faces = paint(3, border=0)
    faces[1, :, 0, 0] = 80
    faces[2, :, 20:28, 20:28] = 0
    assert find_cut_outs(faces).tolist() == [True, False, True]


def test_faces_on_black_get_a_background_as_often_as_planned() -> None:
    faces = torch.stack([paint(300, border=0), paint(300, border=150)], dim=1).flatten(0, 1)  # one by one
    on_black = augment(faces, size=48)[::2]
    has_background = on_black[:, :, :2, :2].amax(dim=(1, 2, 3)) > 20
    assert float(has_background.float().mean()) == pytest.approx(FILL_SHARE, abs=0.08)


def test_faces_with_a_background_lose_it_as_often_as_planned() -> None:
    views = augment(paint(600, border=150), size=48)
    is_black = views[:, :, :2, :2].amax(dim=(1, 2, 3)) < 6
    assert float(is_black.float().mean()) == pytest.approx(CUT_SHARE, abs=0.08)


def test_a_share_of_the_views_is_grey_and_the_rest_keep_colour() -> None:
    views = augment(paint(600, border=150), size=48)
    centre = views[:, :, 20:28, 20:28].mean(dim=(2, 3))
    is_colourless = (centre.amax(dim=1) - centre.amin(dim=1)) < 25
    assert float(is_colourless.float().mean()) == pytest.approx(GREY_SHARE, abs=0.12)


def test_a_zoomed_view_shows_the_middle_of_a_roomy_picture() -> None:
    roomy = paint(200, border=150)
    wide, near = augment(roomy, size=48), augment(roomy, size=48, zoom=0.5)
    edge = (slice(None), slice(None), slice(22, 26), slice(2, 5))
    assert float(near[edge].std(dim=1).mean()) > float(wide[edge].std(dim=1).mean()) + 10  # the face reaches the edge
