"""The demo clips are what the README says: real input with faces, sound, and a face that leaves."""

import sys

import numpy as np
import pytest
from conftest import ROOT, VIDEO_FOLDER

from emo_affectnet.detection import DETECTORS
from emo_affectnet.emotions import Emotion
from emo_affectnet.video import probe, read_frames

FACTS = {"expressions.mp4": (25.0, 1), "two_people.mp4": (30000 / 1001, 2), "leaves_and_returns.mp4": (24.0, 1)}


@pytest.mark.parametrize("name", FACTS)
def test_a_demo_clip_is_small_and_has_sound_and_its_rate(name: str) -> None:
    info = probe(VIDEO_FOLDER / name)
    assert (VIDEO_FOLDER / name).stat().st_size <= 500_000
    assert info.has_audio
    assert info.is_constant_rate
    assert info.fps == pytest.approx(FACTS[name][0])


@pytest.mark.parametrize("name", FACTS)
def test_a_demo_clip_begins_with_its_people_in_the_picture(name: str) -> None:
    frame = next(iter(read_frames(VIDEO_FOLDER / name)))
    assert len(DETECTORS["short-range"](confidence=None)(frame.image)) == FACTS[name][1]


def test_the_clips_in_the_folder_are_those_of_the_script() -> None:
    assert sorted(path.name for path in VIDEO_FOLDER.iterdir()) == sorted(FACTS)


@pytest.fixture(scope="module")
def portrait_tools():  # type: ignore[no-untyped-def]
    sys.path.insert(0, str(ROOT / "scripts"))
    import make_demo_videos

    sys.path.pop(0)
    return make_demo_videos


def test_expressions_differ_from_rest_and_repeat_exactly(portrait_tools) -> None:  # type: ignore[no-untyped-def]
    portrait = portrait_tools.load_portrait()
    rest = portrait_tools.render(portrait, {})
    assert rest.dtype == np.uint8
    for emotion in [each for each in Emotion if each is not Emotion.Neutral]:
        image = portrait_tools.render(portrait, {emotion: 1.0})
        np.testing.assert_array_equal(image, portrait_tools.render(portrait, {emotion: 1.0}))
        changed = np.abs(image.astype(int) - rest).max(axis=-1) > 12
        assert changed.mean() > 0.003, emotion
