"""What the demo corpora are filmed with: people made from one portrait, scenes, performances, video files.

To be quick, a face is drawn once for each emotion, level and mouth; people are changes of shape and colour of that
drawing, and pictures are held for several frames. How strong and how quick an emotion is comes from `CHARACTERS`, the
one table of what each corpus is like.
"""

import wave
from collections.abc import Sequence
from dataclasses import dataclass, replace
from fractions import Fraction
from pathlib import Path
from typing import cast

import av
import cv2
import numpy as np
from av.video.stream import VideoStream
from make_demo_videos import (
    EYE_CORNERS,
    Actor,
    Floats,
    Image,
    Portrait,
    Pose,
    draw_person,
    load_portrait,
    make_second_person,
    mix_poses,
    paste,
)

from emo_affectnet.detection import DETECTORS
from emo_affectnet.emotions import Emotion
from emo_affectnet.training.simulate import CHARACTERS, COURSES

PICTURE_HZ = 10  # distinct pictures per second; at higher rates each is held for several frames
LEVELS = 6  # steps from Neutral to an emotion in full
REDUCTION = 0.6  # of the portrait's canvas: its face is then 109 px wide
CLIP_SECONDS = (1.6, 2.6)  # of a clip or an interval
AUDIO_RATE, HUM_HZ = 16_000, 160
CODECS = {".avi": "mpeg4", ".flv": "flv", ".mp4": "mpeg4"}  # those of old; x264 writes other bytes at every run
BITS_PER_PIXEL = 8  # per second


@dataclass(frozen=True)
class Look:
    """How a person differs from the portrait."""

    shade: float = 0  # of hair, skin and suit: 1 is the second person of the demo videos, below 0 is fairer
    tint: tuple[float, float, float] = (1, 1, 1)  # factors of the person's red, green and blue
    stretch: tuple[float, float] = (1, 1)  # factors of the width and the height
    jaw: float = 0  # wider, as a share; below 0: narrower
    eyes: float = 0
    nose: float = 0
    mouth: float = 0
    mirrored: bool = False


@dataclass(frozen=True)
class Scene:
    """What a camera sees around the person."""

    width: int  # px
    height: int  # px
    zoom: float  # picture pixels per pixel of the reduced canvas
    top: tuple[int, int, int]  # RGB of the wall
    bottom: tuple[int, int, int]
    light: tuple[float, float] = (1, 1)  # on the left and on the right
    blur: float = 0  # px
    at: tuple[float, float] = (0.5, 0.5)  # the middle of the face, as shares of width and height


@dataclass(frozen=True)
class Shown:
    """What a face shows in one picture."""

    emotion: Emotion = Emotion.Neutral
    level: int = 0  # 0 to LEVELS
    is_speaking: bool = False  # the mouth is open for a syllable


def open_studio() -> "Studio":
    """Return a studio with the astronaut's portrait."""
    DETECTORS["short-range"]()  # MediaPipe started so does not import TensorFlow
    return Studio(load_portrait())


class Studio:
    """Films people; each emotion, level and mouth is drawn once, each look measured once."""

    def __init__(self, portrait: Portrait) -> None:
        self._portrait = portrait
        first, second = (_reduce(each.canvas) for each in (portrait, make_second_person(portrait)))
        colours = [each[..., :3].astype(np.float32) + 4 for each in (first, second)]
        self._change = np.clip(colours[1] / colours[0], 0.1, 4)  # (H, W, 3), factors that make the second person
        self._reduced = replace(portrait, canvas=first, points=portrait.points * np.float32(REDUCTION))
        self._drawn: dict[Shown, Image] = {}
        self._looks: dict[Look, tuple[Floats, Floats]] = {}

    def film(
        self, look: Look, shown: Sequence[Shown], scene: Scene, *, behind: Sequence[Image] | None = None
    ) -> list[Image]:
        """Return a picture for each entry of `shown`, uint8 (H, W, 3), before the scene's wall or what is `behind`."""
        x, y = scene.at[0] * scene.width, scene.at[1] * scene.height
        actor = Actor(self._reduced, [], x, y, scene.zoom, look.mirrored)
        light = np.linspace(*scene.light, scene.width, dtype=np.float32)[:, None]
        wall, dressed = _paint_wall(scene), {each: self._dress(look, each) for each in dict.fromkeys(shown)}
        pictures = []
        for index, each in enumerate(shown):
            picture = paste(behind[index] if behind else wall, actor, dressed[each], index / PICTURE_HZ)
            soft = cv2.GaussianBlur(picture, (0, 0), scene.blur) if scene.blur else picture
            pictures.append(np.asarray(np.clip(soft * light, 0, 255), np.uint8))
        return pictures

    def _dress(self, look: Look, shown: Shown) -> Image:
        """Return the reduced canvas (H, W, 4) of a person with this look."""
        if look not in self._looks:
            factors = self._change**look.shade * np.array(look.tint, np.float32)
            self._looks[look] = _reshape(self._reduced, look), np.asarray(factors, np.float32)
        maps, factors = self._looks[look]
        canvas = self._draw(shown)
        colour = np.clip(canvas[..., :3] * factors, 0, 255).astype(np.uint8)
        person = np.dstack([colour, canvas[..., 3]])
        return np.asarray(cv2.remap(person, maps[..., 0], maps[..., 1], cv2.INTER_LINEAR), np.uint8)

    def _draw(self, shown: Shown) -> Image:
        if shown not in self._drawn:
            pose = mix_poses({shown.emotion: shown.level / LEVELS})
            self._drawn[shown] = _reduce(draw_person(self._portrait, _open_mouth(pose) if shown.is_speaking else pose))
        return self._drawn[shown]


def _reduce(canvas: Image) -> Image:
    return np.asarray(cv2.resize(canvas, None, fx=REDUCTION, fy=REDUCTION, interpolation=cv2.INTER_AREA), np.uint8)


def _open_mouth(pose: Pose) -> Pose:
    """Return the pose in the middle of a syllable."""
    return replace(
        pose,
        lower_lip_down=pose.lower_lip_down + 7,
        jaw_down=pose.jaw_down + 6,
        mouth_closed=0.6 * pose.mouth_closed,
        cavity=max(pose.cavity, 0.7),
    )


def _reshape(portrait: Portrait, look: Look) -> Floats:
    """Return where each pixel of a reshaped canvas comes from, float32 (H, W, 2)."""
    points = portrait.points
    unit, (middle_x, middle_y) = float(np.hypot(*(points[263] - points[33]))), points[168]
    y, x = np.mgrid[: portrait.canvas.shape[0], : portrait.canvas.shape[1]].astype(np.float32)
    x, y = (x - middle_x) / look.stretch[0] + middle_x, (y - middle_y) / look.stretch[1] + middle_y
    left_eye, right_eye = (points[corners].mean(axis=0) for corners in EYE_CORNERS)
    swollen = ((left_eye, 0.25, look.eyes), (right_eye, 0.25, look.eyes), (points[4], 0.25, look.nose))
    for (centre_x, centre_y), radius, growth in (*swollen, (points[13], 0.4, look.mouth)):
        right, down = x - centre_x, y - centre_y
        near = growth * np.exp(-(right**2 + down**2) / (2 * (radius * unit) ** 2))
        x, y = x - near * right, y - near * down
    near = look.jaw * np.exp(-(((x - middle_x) / (0.9 * unit)) ** 2) - ((y - points[152][1]) / (0.7 * unit)) ** 2)
    return np.dstack([x - near * (x - middle_x), y]).astype(np.float32)


def _paint_wall(scene: Scene) -> Image:
    shares = np.linspace(0, 1, scene.height)[:, None, None]
    column = (1 - shares) * scene.top + shares * np.array(scene.bottom)
    return np.asarray(np.broadcast_to(column, (scene.height, scene.width, 3)) + 0.5, np.uint8)


def perform(name: str, emotion: Emotion, rng: np.random.Generator) -> list[Shown]:
    """Return one clip's worth of pictures of an emotion, as strong and as quick as is usual in the corpus `name`."""
    character = CHARACTERS[name]
    count = round(rng.uniform(*CLIP_SECONDS) * PICTURE_HZ)
    shares = {course: share for course, share in character.courses.items() if course in COURSES}
    course = str(rng.choice(list(shares), p=np.array(list(shares.values())) / sum(shares.values())))
    amounts = rng.uniform(*character.peak) * COURSES[course](np.linspace(0, 1, count), rng)
    levels = np.minimum(np.round(amounts * LEVELS).astype(int), LEVELS)
    spoken = rng.random(count) < character.speech
    return [
        show(emotion, level, is_speaking=speaks) for level, speaks in zip(levels.tolist(), spoken.tolist(), strict=True)
    ]


def show(emotion: Emotion, level: int, *, is_speaking: bool = False) -> Shown:
    """Return what a face shows; the lowest level of each emotion is the same resting face."""
    return Shown(emotion, level, is_speaking) if emotion and level else Shown(is_speaking=is_speaking)


def rest(seconds: float) -> list[Shown]:
    """Return pictures of a silent face at rest."""
    return [Shown()] * round(seconds * PICTURE_HZ)


def write_video(path: Path, pictures: Sequence[Image], *, fps: float, has_sound: bool = False) -> float:
    """Write pictures, `PICTURE_HZ` per second, in the format that the suffix names; return the seconds written."""
    path.parent.mkdir(parents=True, exist_ok=True)
    rate = Fraction(fps).limit_denominator(1001)
    count = round(len(pictures) / PICTURE_HZ * rate)
    with av.open(str(path), "w") as container:
        stream = cast(VideoStream, container.add_stream(CODECS[path.suffix], rate=rate))
        stream.height, stream.width = pictures[0].shape[:2]
        stream.pix_fmt, stream.bit_rate = "yuv420p", BITS_PER_PIXEL * stream.height * stream.width
        sound = container.add_stream("aac", rate=AUDIO_RATE, layout="mono") if has_sound else None
        for index in range(count):
            frame = av.VideoFrame.from_ndarray(pictures[int(index / rate * PICTURE_HZ)], format="rgb24")
            frame.pts, frame.time_base = index, 1 / rate
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
        if sound:
            hum = av.AudioFrame.from_ndarray(_hum(float(count / rate))[None], format="fltp", layout="mono")
            hum.sample_rate = AUDIO_RATE
            container.mux([*sound.encode(hum), *sound.encode(None)])
    return float(count / rate)


def write_sound(path: Path, seconds: float) -> None:
    """Write a hum as a 16-bit mono wav file."""
    with wave.open(str(path), "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(2)
        file.setframerate(AUDIO_RATE)
        file.writeframes((_hum(seconds) * 32_767).astype("<i2").tobytes())


def _hum(seconds: float) -> Floats:
    angles = 2 * np.pi * HUM_HZ / AUDIO_RATE * np.arange(round(seconds * AUDIO_RATE))
    return np.asarray(0.05 * np.sin(angles), np.float32)
