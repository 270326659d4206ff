"""Make the clips in `video/`: one public-domain portrait, brought to life by moving the landmarks of its face.

In goes the astronaut of scikit-image (NASA, public domain; a smile with teeth), out come short clips with sound: one
person with four expressions, two people at once, and one who leaves the picture and returns.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import astuple, dataclass, replace
from pathlib import Path

import click
import cv2
import numpy as np
from numpy.typing import NDArray
from scipy.interpolate import RBFInterpolator  # type: ignore[import-untyped]  # scipy has no types
from scipy.spatial import Delaunay  # type: ignore[import-untyped]

from emo_affectnet.emotions import Emotion
from emo_affectnet.video_writer import VideoWriter

Image = NDArray[np.uint8]  # (H, W, 3), RGB
Floats = NDArray[np.float32]

SCALE, ROWS = 2, 340  # canvas pixels per source pixel; source rows above the helmet that the astronaut holds
STILL_SIZE, AUDIO_RATE = 480, 44_100  # px, Hz
WALL = (203, 194, 191)  # the portrait's own wall, so that the hair keeps its soft edge

# Landmark numbers of the MediaPipe face mesh; pairs are the left and the right of the picture.
BROWS = ([70, 63, 105, 66, 107, 46, 53, 52, 65, 55], [300, 293, 334, 296, 336, 276, 283, 282, 295, 285])
UPPER_LIDS = ([246, 161, 160, 159, 158, 157, 173], [466, 388, 387, 386, 385, 384, 398])
LOWER_LIDS = ([7, 163, 144, 145, 153, 154, 155], [249, 390, 373, 374, 380, 381, 382])
EYE_CORNERS = ([33, 133], [263, 362])
CHEEKS = ([50, 205, 101, 36], [280, 425, 330, 266])
NOSE_WINGS = ([64, 48, 49], [294, 278, 279])
LIP_CORNERS = ([61, 78], [291, 308])
UPPER_OUTER = [185, 40, 39, 37, 0, 267, 269, 270, 409]
UPPER_INNER = [191, 80, 81, 82, 13, 312, 311, 310, 415]
LOWER_INNER = [95, 88, 178, 87, 14, 317, 402, 318, 324]
LOWER_OUTER = [146, 91, 181, 84, 17, 314, 405, 321, 375]
JAW = [172, 136, 150, 149, 176, 148, 152, 377, 400, 378, 379, 365, 397, 199, 200]  # the last two on the chin
OUTLINE = [10, 338, 297, 332, 284, 251, 389, 356, 454, 323, 361, 288, 109, 67, 103, 54, 21, 162, 127, 234, 93, 132, 58]
NOSE = [168, 6, 197, 195, 4, 2]
FRINGE = [298, 333, 299, 337, 151, 108, 69, 104, 68]  # where the hair begins
UPPER_EDGE, LOWER_EDGE = [78, *UPPER_INNER, 308], [78, *LOWER_INNER, 308]
MOUTH_RING = [78, *UPPER_INNER, 308, *LOWER_INNER[::-1]]
EYE_RINGS = [[EYE_CORNERS[i][0], *UPPER_LIDS[i], EYE_CORNERS[i][1], *LOWER_LIDS[i][::-1]] for i in (0, 1)]
FOLDS = ([129, 203, 206, 216, 212], [358, 423, 426, 436, 432])  # that a smile makes, from the nose down
CHEEK_RINGS = ([118, 123, 147, 192, 202, 57, 165, 98, 129, 142], [347, 352, 376, 416, 422, 287, 391, 327, 358, 371])
PAIRS = [*BROWS, *UPPER_LIDS, *LOWER_LIDS, *EYE_CORNERS, *CHEEKS, *NOSE_WINGS, *LIP_CORNERS]
ANCHORS = sorted({*UPPER_OUTER, *MOUTH_RING, *LOWER_OUTER, *JAW, *OUTLINE, *NOSE}.union(*PAIRS))
LANDMARKS = 468  # without the ten of the irises, which the lids slide over
CHANGE_SECONDS, WALK_SECONDS = 0.4, 0.9  # to the next expression; out of the picture, or back
TONES = dict(zip(Emotion, (220, 330, 165, 440, 370, 147, 131), strict=True))  # Hz
SEAM = 0.4  # where closed lips meet, on the way from the upper to the lower lip of the smile


@dataclass(frozen=True)
class Pose:
    """The change from the portrait's smile: distances in hundredths of the eyes' outer distance, shading to 1."""

    brow_inner_up: float = 0
    brow_outer_up: float = 0
    brows_together: float = 0
    upper_lid_up: float = 0
    lower_lid_up: float = 0
    cheek_up: float = 0
    nose_up: float = 0
    nose_out: float = 0
    corner_out: float = 0
    corner_up: float = 0
    lips_up: float = 0
    lower_lip_down: float = 0
    jaw_down: float = 0
    mouth_closed: float = 0  # share of the gap between the lips
    furrow: float = 0  # between the brows
    cheek_crease: float = 0  # -1: without the folds and bulges of the smile
    cavity: float = 0  # a dark mouth instead of the smile's teeth; below zero: clenched teeth in two rows


# fmt: off
_REST = Pose(lower_lid_up=-1, cheek_up=-7, nose_out=-2, corner_out=-12, corner_up=-13, mouth_closed=1, cheek_crease=-1)
POSES: Mapping[Emotion, Pose] = {
    Emotion.Neutral: _REST,
    Emotion.Happiness: Pose(lower_lid_up=1.5, cheek_up=2, corner_out=2, corner_up=2, cheek_crease=0.5),
    Emotion.Sadness: Pose(brow_inner_up=16, brow_outer_up=-7, brows_together=8, upper_lid_up=-8.5, corner_up=-22,
        lips_up=3.5, lower_lip_down=-3.5, jaw_down=-4, mouth_closed=1, furrow=0.3, cheek_crease=0.2),
    Emotion.Surprise: Pose(brow_inner_up=11, brow_outer_up=9, upper_lid_up=4.5, lower_lid_up=-2, cheek_up=-4,
        nose_out=-2, corner_out=-13, corner_up=-16, lower_lip_down=27, jaw_down=26, cheek_crease=-0.9, cavity=1),
    Emotion.Fear: Pose(brow_inner_up=15, brow_outer_up=4.5, brows_together=8, upper_lid_up=5, lower_lid_up=1,
        cheek_up=-7, corner_out=3, corner_up=-22, lower_lip_down=4, furrow=0.4, cheek_crease=0.2, cavity=1),
    Emotion.Disgust: Pose(brow_inner_up=-6, brow_outer_up=-2, brows_together=5, upper_lid_up=-4.5, lower_lid_up=5,
        cheek_up=8, nose_up=8, nose_out=5, corner_out=-3, corner_up=-21, lips_up=10, furrow=0.3, cheek_crease=-0.4),
    Emotion.Anger: Pose(brow_inner_up=-17, brow_outer_up=-3, brows_together=9, lower_lid_up=3, cheek_up=-4, nose_out=6,
        corner_out=-11, corner_up=-15, lips_up=8, lower_lip_down=13, jaw_down=3, furrow=1, cheek_crease=-0.8, cavity=-1)
}
# fmt: on


@dataclass(frozen=True)
class Portrait:
    """A person on a canvas, and the mesh that moves the face."""

    canvas: Image  # (H, W, 4): the picture, and how much of a pixel is the person
    points: Floats  # (N, 2), the landmarks, then a frame around the head that stays where it is
    triangles: NDArray[np.int32]  # (T, 3), rows of `points`
    spread: Floats  # (N, anchors), how far each point follows each anchor


def load_portrait() -> Portrait:
    """Return the astronaut's portrait with its landmarks."""
    import mediapipe as mp
    import skimage.data

    source: Image = skimage.data.astronaut()[:ROWS].copy()  # type: ignore[no-untyped-call]  # nor has skimage
    image = cv2.resize(source, None, fx=SCALE, fy=SCALE, interpolation=cv2.INTER_LANCZOS4)
    image = cv2.addWeighted(image, 1.5, cv2.GaussianBlur(image, (0, 0), SCALE), -0.5, 0)
    with mp.solutions.face_mesh.FaceMesh(static_image_mode=True, refine_landmarks=True) as mesh:
        found = mesh.process(image).multi_face_landmarks[0].landmark[:LANDMARKS]
    with mp.solutions.selfie_segmentation.SelfieSegmentation(model_selection=0) as segmentation:
        likely = segmentation.process(source).segmentation_mask
    landmarks = np.array([(point.x, point.y) for point in found]) * image.shape[1::-1]
    return build_portrait(np.dstack([image, _cut_out(source, likely)]), landmarks.astype(np.float32))


def build_portrait(canvas: Image, landmarks: Floats) -> Portrait:
    """Span the mesh over the landmarks (468, 2) and a frame around the head."""
    low, size = landmarks.min(axis=0), np.ptp(landmarks, axis=0)
    grid = np.stack(np.meshgrid(np.linspace(0, 1, 9), np.linspace(0, 1, 9)), axis=-1).reshape(-1, 2)
    rim = grid[((grid == 0) | (grid == 1)).any(axis=1)]
    points = np.concatenate([landmarks, low + (rim * (2, 2.1) - 0.5) * size]).astype(np.float32)
    held = np.concatenate([points[ANCHORS], points[LANDMARKS:]])
    spread = RBFInterpolator(held, np.eye(len(held)), kernel="thin_plate_spline")(points)
    spread[LANDMARKS:] = 0
    triangles = Delaunay(points).simplices.astype(np.int32)
    return Portrait(canvas, points, triangles, spread[:, : len(ANCHORS)].astype(np.float32))


def _cut_out(source: Image, likely: Floats) -> Image:
    """Refine by colour where the person is likely (h, w), and return a soft matte (H, W) of the canvas."""
    cv2.setRNGSeed(0)  # GrabCut clusters colours from random starts
    marks = np.where(likely > 0.5, cv2.GC_PR_FGD, cv2.GC_PR_BGD).astype(np.uint8)
    marks[cv2.erode(likely, np.ones((7, 7))) > 0.95] = cv2.GC_FGD
    marks[cv2.dilate(likely, np.ones((15, 15))) < 0.1] = cv2.GC_BGD
    cv2.grabCut(source, marks, (0, 0, 1, 1), np.zeros((1, 65)), np.zeros((1, 65)), 4, cv2.GC_INIT_WITH_MASK)
    labels, stats = cv2.connectedComponentsWithStats(marks & 1)[1:3]  # odd marks are foreground
    person = (labels == 1 + int(stats[1:, cv2.CC_STAT_AREA].argmax())).astype(np.float32)
    person = cv2.resize(person, None, fx=SCALE, fy=SCALE, interpolation=cv2.INTER_CUBIC)
    return np.asarray(np.clip(cv2.GaussianBlur(person, (0, 0), 1.2 * SCALE) * 1.8 - 0.6, 0, 1) * 255, np.uint8)


def make_second_person(portrait: Portrait) -> Portrait:
    """Return somebody else: darker hair and skin, a blue suit."""
    points, colour = portrait.points, portrait.canvas[..., :3].astype(np.float32)
    hue, saturation, _ = cv2.split(cv2.cvtColor(portrait.canvas[..., :3], cv2.COLOR_RGB2HSV).astype(np.float32))
    row = np.arange(len(colour), dtype=np.float32)[:, None]
    skin = _mask(colour, points[[*OUTLINE[5:12], *OUTLINE[:15:-1], *FRINGE[::-1]]], softness=4)[..., 0]
    hair = (1 - skin) * np.clip((hue - 9) / 4, 0, 1) * np.clip((points[58, 1] - row) / 20, 0, 1)
    suit = np.clip((saturation - 70) / 40, 0, 1) * np.clip((row - points[152, 1] - 50) / 20, 0, 1)
    colour += suit[..., None] * (0.8 * colour[..., ::-1] - colour)
    colour = np.clip(colour * (0.86 - 0.5 * hair[..., None]), 0, 255)
    return replace(portrait, canvas=np.dstack([colour.astype(np.uint8), portrait.canvas[..., 3]]))


def mix_poses(expression: Mapping[Emotion, float]) -> Pose:
    """Return the pose of weighted emotions; what is missing to a sum of one is Neutral."""
    weights = [max(1 - sum(expression.values()), 0), *expression.values()]
    poses = np.array([astuple(_REST), *(astuple(POSES[emotion]) for emotion in expression)])
    return Pose(*np.average(poses, axis=0, weights=weights).tolist())


def move_points(portrait: Portrait, pose: Pose) -> Floats:
    """Return where the points of the mesh (N, 2) go in this pose."""
    across = portrait.points[263] - portrait.points[33]
    unit = np.hypot(*across) / 100
    axes = np.stack([across, (-across[1], across[0])]) / (100 * unit)
    face = (portrait.points[:LANDMARKS] - portrait.points[168]) @ axes.T / unit  # x right, y down
    moves = np.zeros_like(face)
    _move_upper_face(face, moves, pose)
    _move_mouth(face, moves, pose)
    moves[JAW, 1] += pose.jaw_down * _bulge(face[JAW, 0], power=4)
    return np.asarray(portrait.points + portrait.spread @ (moves[ANCHORS] @ axes * unit), np.float32)


def _bulge(x: Floats, *, power: float) -> Floats:
    """Return weights that are 1 in the middle of a row and near 0 at its ends."""
    return np.asarray(1 - np.abs((2 * x - x.min() - x.max()) / (1.1 * np.ptp(x))) ** power, np.float32)


def _move_upper_face(face: Floats, moves: Floats, pose: Pose) -> None:
    sides = zip((-1, 1), BROWS, UPPER_LIDS, LOWER_LIDS, CHEEKS, NOSE_WINGS, strict=True)
    for outward, brow, upper, lower, cheek, wing in sides:
        x = np.abs(face[brow, 0])
        inner = (x.max() - x) / np.ptp(x)  # 0 at the temple, 1 at the nose
        moves[brow, 0] -= outward * pose.brows_together * inner
        moves[brow, 1] -= pose.brow_outer_up + (pose.brow_inner_up - pose.brow_outer_up) * inner**1.3
        moves[upper, 1] -= pose.upper_lid_up * _bulge(face[upper, 0], power=2.2)
        moves[lower, 1] -= pose.lower_lid_up * _bulge(face[lower, 0], power=2.2)
        moves[cheek, 1] -= pose.cheek_up
        moves[wing] += (outward * pose.nose_out, -pose.nose_up)


def _move_mouth(face: Floats, moves: Floats, pose: Pose) -> None:
    left, right = face[61, 0], face[291, 0]
    for row in (UPPER_OUTER, UPPER_INNER, LOWER_INNER, LOWER_OUTER, *LIP_CORNERS):
        u = (2 * face[row, 0] - left - right) / (right - left)  # -1 and 1 at the corners
        down = pose.lower_lip_down if row in (LOWER_INNER, LOWER_OUTER) else 0
        moves[row, 0] += pose.corner_out * u
        moves[row, 1] += down * (1 - np.abs(u) ** 2.5) - pose.corner_up * u**2 - pose.lips_up * (1 - u**2)
    gap = pose.mouth_closed * (face[LOWER_INNER] - face[UPPER_INNER])
    moves[UPPER_INNER] += SEAM * gap
    moves[UPPER_OUTER] += 0.5 * SEAM * gap
    moves[LOWER_INNER] -= (1 - SEAM) * gap
    moves[LOWER_OUTER] -= 0.75 * (1 - SEAM) * gap


def draw_person(portrait: Portrait, pose: Pose) -> Image:
    """Return the canvas (H, W, 4) with the face in this pose."""
    low = np.ceil(np.maximum(portrait.points.min(axis=0), 0)).astype(int)
    high = portrait.points.max(axis=0).astype(int)
    window = np.s_[low[1] : high[1], low[0] : high[0]]
    image, source, target = portrait.canvas[window][..., :3], portrait.points - low, move_points(portrait, pose) - low
    canvas = portrait.canvas.copy()
    canvas[window][..., :3] = _smooth_cheeks(image, source, strength=max(-pose.cheek_crease, 0))
    canvas[window] = _warp(canvas[window], portrait, source, target)
    face = canvas[window][..., :3].astype(np.float32)
    for ring in EYE_RINGS:
        face = _draw_eye(face, image, source[ring], target[ring])
    face = _draw_mouth(face, image, source, target, pose.cavity)
    canvas[window][..., :3] = np.clip(_shade(face, target, pose) + 0.5, 0, 255)
    return canvas


def _smooth_cheeks(image: Image, source: Floats, *, strength: float) -> Image:
    """Level the folds and the bulges of the smile's cheeks, and keep the grain of the skin."""
    face = image.astype(np.float32)
    for ring, fold in zip(CHEEK_RINGS, FOLDS, strict=True):
        bare = 1 - np.clip(8 * _mask(face, source[fold], softness=3), 0, 1)
        known = bare * _mask(face, source[ring], softness=1)
        level = cv2.GaussianBlur(face * known, (0, 0), 13) / (cv2.GaussianBlur(known, (0, 0), 13)[..., None] + 1e-3)
        grain = bare * (face - cv2.GaussianBlur(face, (0, 0), 2))
        face += strength * _mask(face, source[ring], softness=4) * (level + grain - face)
    return np.asarray(np.clip(face + 0.5, 0, 255), np.uint8)


def _warp(image: Image, portrait: Portrait, source: Floats, target: Floats) -> Image:
    """Map each source triangle onto its target; what is folded over comes first, so that the others hide it."""
    before, after = (np.pad(mesh, ((0, 0), (0, 1)), constant_values=1)[portrait.triangles] for mesh in (source, target))
    area = np.linalg.det(after) * np.sign(np.linalg.det(before))
    affine = (np.linalg.pinv(after) @ before[..., :2]).astype(np.float32)  # (T, 3, 2)
    inside = np.any([np.isin(portrait.triangles, ring).all(axis=1) for ring in (MOUTH_RING, *EYE_RINGS)], axis=0)
    owner = np.zeros(image.shape[:2], np.int32)
    for index in np.argsort(area - 1e6 * inside, kind="stable"):  # eyes and teeth give way to the skin
        cv2.fillConvexPoly(owner, (16 * after[index, :, :2]).astype(np.int32), (int(index),), shift=4)
    y, x, _ = np.mgrid[: image.shape[0], : image.shape[1], :1].astype(np.float32)
    rows = affine[owner]  # (H, W, 3, 2)
    maps = x * rows[..., 0, :] + y * rows[..., 1, :] + rows[..., 2, :]
    return np.asarray(cv2.remap(image, maps[..., 0], maps[..., 1], cv2.INTER_CUBIC), np.uint8)


def _mask(image: Floats, ring: Floats, *, softness: float) -> Floats:
    mask = np.zeros(image.shape[:2], np.float32)
    cv2.fillPoly(mask, [(16 * ring).astype(np.int32)], (1,), cv2.LINE_AA, 4)
    return np.asarray(cv2.GaussianBlur(mask, (0, 0), softness)[..., None])


def _draw_eye(face: Floats, image: Image, source: Floats, target: Floats) -> Floats:
    """Put the eyeball back behind the moved lids; a wider eye is a larger one."""
    stretch = max(1.0, np.ptp(target[:, 1]) / np.ptp(source[:, 1]))
    centre = (source.min(axis=0) + source.max(axis=0)) / 2
    moved = centre if stretch == 1 else (target.min(axis=0) + target.max(axis=0)) / 2
    y, x = np.mgrid[: image.shape[0], : image.shape[1]].astype(np.float32)
    x, y = (x - moved[0]) / stretch**0.6 + centre[0], (y - moved[1]) / stretch + centre[1]
    return face + _mask(face, target, softness=0.7) * (cv2.remap(image, x, y, cv2.INTER_CUBIC) - face)


def _draw_mouth(face: Floats, image: Image, source: Floats, target: Floats, cavity: float) -> Floats:
    """Paint the dark behind open lips, with the smile's upper teeth in it, and the line between closed ones."""
    y, x = np.arange(len(image))[:, None], np.arange(image.shape[1])
    across = np.interp(x, target[UPPER_EDGE, 0], source[UPPER_EDGE, 0])
    top, bottom = (np.interp(x, target[edge, 0], target[edge, 1]) for edge in (UPPER_EDGE, LOWER_EDGE))
    roof, floor = (np.interp(across, source[edge, 0], source[edge, 1]) for edge in (UPPER_EDGE, LOWER_EDGE))
    gap, depth = (bottom - top).max(), (y - top)[..., None]
    maps = np.stack(np.broadcast_arrays(across, roof + y - top), axis=-1).astype(np.float32)
    teeth = cv2.remap(image, maps[..., 0], maps[..., 1], cv2.INTER_CUBIC)
    length = np.minimum(0.8 * (floor - roof), 0.45 * (bottom - top))[:, None]
    dark = (38, 14, 14) + np.clip(depth / max(gap, 1), 0, 1) ** 3 * (75, 32, 30)
    shown = np.clip((length - depth) / 2.5 + 0.5, 0, 1)
    inside = dark + shown * (0.85 * np.clip((depth + 3) / 8, 0.35, 1) * teeth - dark)
    mask = _mask(face, target[MOUTH_RING], softness=0.9) * np.clip(1.6 * cavity, 0, 1)
    face = face + mask * np.clip(gap - 1, 0, 1) * (inside - face)
    face = _stroke(face, [0.4 * target[UPPER_EDGE] + 0.6 * target[LOWER_EDGE]], width=2, strength=max(-0.9 * cavity, 0))
    return _stroke(face, [(target[UPPER_EDGE] + target[LOWER_EDGE]) / 2], width=1.5, strength=max(0.75 - 0.15 * gap, 0))


def _shade(face: Floats, target: Floats, pose: Pose) -> Floats:
    """Darken the pale brows, and draw the folds that a warp alone cannot make."""
    brows = target[np.reshape(BROWS, (2, 2, 5))].mean(axis=1)
    brows[:, -1] += 0.3 * (brows[:, -2] - brows[:, -1])  # the hair ends before the mesh does
    furrows = [(target[side] + target[[9, 8, 168]]) / 2 for side in ([107, 55, 193], [336, 285, 417])]
    face = _stroke(face, list(brows), width=4 + 2 * pose.furrow, strength=0.5 + 0.2 * pose.furrow)
    face = _stroke(face, furrows, width=3, strength=0.3 * pose.furrow)
    face = _stroke(face, [target[[193, 122, 196]], target[[417, 351, 419]]], width=3, strength=0.04 * pose.nose_up)
    return _stroke(face, [target[fold] for fold in FOLDS], width=4, strength=0.35 * max(pose.cheek_crease, 0))


def _stroke(face: Floats, paths: Sequence[Floats], *, width: float, strength: float) -> Floats:
    """Darken soft lines through the points of each path; a negative strength lightens."""
    mask = np.zeros(face.shape[:2], np.float32)
    for path in paths:
        cv2.polylines(mask, [(16 * path).astype(np.int32)], False, (1,), max(1, round(width)), cv2.LINE_AA, 4)
    mask = np.asarray(cv2.GaussianBlur(mask, (0, 0), max(0.8, width / 2.2))[..., None])
    return np.asarray(face * (1 - strength * mask * (0.62, 0.75, 0.8)), np.float32)


@dataclass(frozen=True)
class Actor:
    """A person, what they feel from which second on, and where they stand."""

    portrait: Portrait
    course: Sequence[tuple[float, Emotion]]  # s
    x: float = STILL_SIZE / 2  # px, of the middle of the face
    y: float = STILL_SIZE / 2 + 10
    zoom: float = 1  # picture pixels per canvas pixel
    mirrored: bool = False
    away: tuple[float, float] = (math.inf, math.inf)  # s, when they begin to leave and to return


def express(course: Sequence[tuple[float, Emotion]], time: float) -> dict[Emotion, float]:
    """Return the weights of the emotions at `time`: a smooth change begins at each step of the course."""
    weights = np.eye(len(Emotion))[course[0][1]]
    for start, emotion in course[1:]:
        weights += _ease((time - start) / CHANGE_SECONDS) * (np.eye(len(Emotion))[emotion] - weights)
    return dict(zip(Emotion, weights.tolist(), strict=True))


def _ease(share: float) -> float:
    return 0.5 - 0.5 * math.cos(math.pi * min(max(share, 0), 1))


def paste(picture: Image, actor: Actor, canvas: Image, time: float = 0) -> Image:
    """Return the picture with the actor's canvas in front, swaying a little as people do."""
    middle = actor.portrait.points[:LANDMARKS].mean(axis=0)
    if actor.mirrored:
        canvas, middle = canvas[:, ::-1], np.array((canvas.shape[1] - 1 - middle[0], middle[1]))
    slow, quick = np.sin(1.1 * time / actor.zoom), np.sin(1.9 * time / actor.zoom)
    leave, back = (_ease((time - start) / WALK_SECONDS) for start in actor.away)
    turn = cv2.getRotationMatrix2D(middle.tolist(), 2.5 * slow - quick, actor.zoom * (1 + 0.015 * quick))
    shift = (actor.x + 7 * slow + 640 * (leave - back), actor.y + 3 * quick) - middle
    turn = np.column_stack([turn[:, :2], turn[:, 2] + shift])
    person = cv2.warpAffine(canvas, turn, picture.shape[1::-1], flags=cv2.INTER_CUBIC).astype(np.float32)
    return np.asarray(picture + person[..., 3:] / 255 * (person[..., :3] - picture) + 0.5, np.uint8)


def render(portrait: Portrait, expression: Mapping[Emotion, float]) -> Image:
    """Return a still, uint8 (480, 480, 3), of the person with this mixture of emotions, weights from 0 to 1.

    Example: `render(load_portrait(), {Emotion.Surprise: 1.0})`; an empty expression is Neutral.
    """
    wall = np.full((STILL_SIZE, STILL_SIZE, 3), WALL, np.uint8)
    return paste(wall, Actor(portrait, []), draw_person(portrait, mix_poses(expression)))


def make_clip(path: Path, actors: Sequence[Actor], *, width: int, fps: float, duration: float) -> None:
    """Write one clip; its sound is a tone that follows the last actor."""
    wall, phase = np.full((STILL_SIZE, width, 3), WALL, np.uint8), 0.0
    with VideoWriter(path, width=width, height=STILL_SIZE, fps=fps, audio_rate=AUDIO_RATE, crf=23) as writer:
        for index in range(round(duration * fps)):
            picture = wall
            for actor in actors:
                weights = express(actor.course, index / fps)
                picture = paste(picture, actor, draw_person(actor.portrait, mix_poses(weights)), index / fps)
            writer.write(picture)
            step = 2 * np.pi / AUDIO_RATE * sum(TONES[emotion] * weight for emotion, weight in weights.items())
            count = round((index + 1) / fps * AUDIO_RATE) - round(index / fps * AUDIO_RATE)
            angles = phase + step * np.arange(1, count + 1)
            writer.write_audio((0.06 * np.sin(angles) + 0.02 * np.sin(2 * angles)).astype(np.float32))
            phase = float(angles[-1])
    click.echo(f"{path}  {round(duration * fps) / fps:.2f} s  {path.stat().st_size / 1000:.0f} kB")


@click.command()
@click.option("--save", type=click.Path(path_type=Path), default=Path("video"), help="Folder for the clips.")
def main(save: Path) -> None:
    """Make the demonstration clips."""
    save.mkdir(parents=True, exist_ok=True)
    first = load_portrait()
    neutral, happiness, sadness, surprise, _, _, anger = Emotion
    course = [(0, neutral), (0.7, happiness), (3.2, neutral), (4, surprise), (6.5, neutral), (7.3, sadness)]
    course += [(9.8, neutral), (10.6, anger)]
    make_clip(save / "expressions.mp4", [Actor(first, course)], width=480, fps=25, duration=13.6)
    left = Actor(first, [(0, happiness), (3.5, surprise)], x=170, y=250, zoom=0.6)
    right = Actor(make_second_person(first), [(0, neutral), (2.5, sadness)], x=465, y=235, zoom=0.7, mirrored=True)
    make_clip(save / "two_people.mp4", [right, left], width=640, fps=30_000 / 1001, duration=7)
    walker = Actor(first, [(0, neutral), (0.4, happiness), (4, anger)], away=(2.8, 5.3))
    make_clip(save / "leaves_and_returns.mp4", [walker], width=480, fps=24, duration=8.6)


if __name__ == "__main__":
    main()
