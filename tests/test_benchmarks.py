"""The yardstick itself: the published steps read what ours read, and what is compared is what it is said to be."""

import json
from dataclasses import asdict
from pathlib import Path

import numpy as np
import pytest
from conftest import BENCHMARKS

from emo_affectnet.video import probe, read_frames
from emo_affectnet.weights import bundled_folder, read_preprocessing

pytestmark = pytest.mark.usefixtures("benchmark_path")


def test_the_ratio_is_that_of_medians_and_its_range_that_of_rounds() -> None:
    from measurement import compare

    ratio = compare([4.0, 6.0, 30.0], [1.0, 2.0, 6.0])
    assert (ratio.median, ratio.low, ratio.high) == (3.0, 3.0, 5.0)
    assert str(ratio) == "3.0 (3.0-5.0)"


def test_stages_add_up_even_where_one_fails() -> None:
    from measurement import Stopwatch

    watch = Stopwatch()
    for _ in range(2):
        with watch.stage("decode"):
            pass
    once = watch.seconds["decode"]
    with pytest.raises(ZeroDivisionError), watch.stage("decode"):
        1 / 0  # noqa: B018
    assert list(watch.seconds) == ["decode"]
    assert watch.seconds["decode"] > once


def test_agreement_counts_windows_and_knows_when_there_are_none_to_compare() -> None:
    from comparison import agree

    found = agree([[0.9, 0.1], [0.4, 0.6]], [[0.7, 0.3], [0.6, 0.4]])
    assert found is not None
    assert asdict(found) == pytest.approx({"largest": 0.2, "mean": 0.2, "same_emotion": 0.5})
    assert agree([[0.9, 0.1]], [[0.9, 0.1], [0.5, 0.5]]) is None


def test_a_repeated_clip_shows_its_frames_again_and_again(tmp_path: Path, make_video) -> None:
    from clips import repeat_packets

    clip = make_video("short.mp4", frames=30)
    long = repeat_packets(clip, tmp_path / "long.mp4", times=3)
    frames = [(frame.time, int(frame.image.mean())) for frame in read_frames(long)]
    assert [brightness for _, brightness in frames] == 3 * [int(frame.image.mean()) for frame in read_frames(clip)]
    np.testing.assert_allclose([time for time, _ in frames], np.arange(90) / 25, atol=1e-4)


def test_clips_have_the_people_that_they_were_asked_for(tmp_path: Path) -> None:
    from clips import make_clip

    from emo_affectnet.detection import DETECTORS

    clip = make_clip(tmp_path / "two.mp4", height=360, seconds=0.2, people=2)
    info = probe(clip)
    assert (info.width, info.height, info.frame_count) == (640, 360, 6)
    first = next(iter(read_frames(clip)))
    assert len(DETECTORS["short-range"]()(first.image)) == 2


def test_both_sides_read_the_same_windows_in_a_video(tmp_path: Path) -> None:
    """The published steps, with weights in Keras files, against ours: two programs that share the crop only."""
    from clips import make_clip
    from comparison import agree
    from measurement import run_apart
    from single_runs import write_keras_files

    clip = make_clip(tmp_path / "clip.mp4", height=360, seconds=3)
    backbone = bundled_folder() / "backbone.pt"

    def measure(name: str, **settings: object) -> dict:
        return run_apart(BENCHMARKS / "single_runs.py", name, json.dumps(settings, default=str))

    files = write_keras_files(folder=str(tmp_path))  # here, where TensorFlow may be loaded already
    published = measure("published", clip=clip, **files, preprocessing=asdict(read_preprocessing(backbone)))
    ours = measure("ours", clip=clip)
    found = agree(published["windows"], ours["windows"])
    assert found is not None
    assert found.largest < 1e-4
    assert found.same_emotion == 1
    assert set(published["stages"]) >= {"decode", "detect", "crop", "embed", "classify", "write"}
    assert min(published["memory"], ours["memory"]) > 100e6


def test_a_measurement_that_fails_says_why(tmp_path: Path) -> None:
    from measurement import run_apart

    script = tmp_path / "fails.py"
    script.write_text("raise SystemExit('no such clip')")
    with pytest.raises(RuntimeError, match=r"fails.py ended with 1:\nno such clip"):
        run_apart(script)


def test_processes_that_share_a_card_read_every_video_or_say_what_failed(tmp_path: Path) -> None:
    from card import Place, share
    from clips import make_clip

    place = Place("onnxruntime", "fp32", "cpu")
    figures = share(
        place, make_clip(tmp_path / "clip.mp4", height=360, seconds=2), processes=2, videos=1, backbone=None
    )
    assert (figures["device"], figures["processes"], figures["videos"]) == ("cpu", 2, 2)
    assert figures["seconds"] > 0
    (tmp_path / "broken.mp4").write_bytes(b"no video")
    with pytest.raises(RuntimeError, match=r"broken\.mp4"):
        share(place, tmp_path / "broken.mp4", processes=1, videos=1, backbone=None)
