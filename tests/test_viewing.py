"""A folder of videos and reports: what has no report is analysed first, and what fails costs nobody else."""

from pathlib import Path
from typing import TYPE_CHECKING

import pandas as pd
import pytest
from conftest import VIDEO_FOLDER, crew_of

from emo_affectnet.batch import analyze
from emo_affectnet.drawing import PERSON_COLOURS
from emo_affectnet.errors import MissingWeights, UnknownName, UsageError
from emo_affectnet.reports import PUBLISHED_COLUMNS, read_csv
from emo_affectnet.video import probe, read_frames
from emo_affectnet.viewing import PICTURES, annotate, write_pages
from emo_affectnet.weights import hash_file

if TYPE_CHECKING:
    from playwright.sync_api import Browser


@pytest.fixture
def folder(tmp_path: Path, make_video) -> Path:
    for name in ("one.mp4", "sub/two.mp4"):
        make_video(f"videos/{name}", frames=30, size=(320, 240), level=90)
    return tmp_path / "videos"


def refuse_to_load():
    raise AssertionError("nothing has to be analysed")


def play(chromium: "Browser", path: Path) -> dict[str, float]:
    """Play half a second of a video; return its duration in s, its frames shown and its bytes of sound decoded."""
    page = chromium.new_page()
    (path.parent / "player.html").write_text(f'<video src="{path.name}" muted></video>')
    page.goto((path.parent / "player.html").as_uri())
    script = """async () => {
        const video = document.querySelector("video");
        await video.play();
        while (video.currentTime < 0.5) await new Promise((done) => setTimeout(done, 20));
        const frames = video.getVideoPlaybackQuality().totalVideoFrames;
        return {duration: video.duration, frames, sound: video.webkitAudioDecodedByteCount};
    }"""
    try:
        return page.evaluate(script)
    finally:
        page.close()


def has_box(path: Path, index: int = 10) -> bool:
    image = next(frame.image for frame in read_frames(path) if frame.index == index).astype(int)
    colour = [int(PERSON_COLOURS[0][place : place + 2], 16) for place in (1, 3, 5)]
    return bool((abs(image - colour) <= 24).all(axis=2).mean() > 0.003)


def test_what_has_no_report_is_analysed_first_and_sub_folders_are_mirrored(
    tmp_path: Path, folder: Path, fake_recognizer
) -> None:
    made = annotate([folder], report=tmp_path / "r", save=tmp_path / "out", recognizer=lambda: fake_recognizer)
    assert [(each.label, each.path, each.message) for each in made] == [
        ("one.mp4", tmp_path / "out/one.mp4", None),
        ("sub/two.mp4", tmp_path / "out/sub/two.mp4", None),
    ]
    assert len(read_csv(tmp_path / "r/sub/two.csv")) == 30
    assert has_box(tmp_path / "out/sub/two.mp4")


def test_reports_that_are_there_are_used_as_they_are(tmp_path: Path, folder: Path, fake_recognizer) -> None:
    analyze([folder], save=tmp_path / "r", crew=crew_of(fake_recognizer))
    before = {path: path.stat().st_mtime_ns for path in (tmp_path / "r").rglob("*")}
    made = annotate([folder], report=tmp_path / "r", save=tmp_path / "out", recognizer=refuse_to_load)
    assert all(each.path for each in made)
    assert {path: path.stat().st_mtime_ns for path in (tmp_path / "r").rglob("*")} == before


def test_networks_are_loaded_once_for_many_videos(tmp_path: Path, folder: Path, fake_recognizer) -> None:
    loaded = []
    annotate(
        [folder], report=tmp_path / "r", save=tmp_path / "o", recognizer=lambda: loaded.append(1) or fake_recognizer
    )
    assert len(loaded) == 1


def test_report_of_the_original_gets_its_boxes_from_the_video(tmp_path: Path, folder: Path, fake_recognizer) -> None:
    analyze([folder / "one.mp4"], save=tmp_path / "r", crew=crew_of(fake_recognizer))
    table = pd.read_csv(tmp_path / "r/one.csv")[list(PUBLISHED_COLUMNS)]
    table["frame"] = table["frame"].map("{:06d}".format)
    table[5:].to_csv(tmp_path / "r/one.csv", index=False)  # its rows begin with the first face
    made = annotate(
        [folder / "one.mp4"], report=tmp_path / "r", save=tmp_path / "out", recognizer=lambda: fake_recognizer
    )
    assert made[0].path is not None
    assert [has_box(made[0].path, index) for index in (2, 10)] == [False, True]


def test_unsure_faces_are_not_drawn(tmp_path: Path, folder: Path, fake_recognizer) -> None:
    """The fake detector is sure to 0.9."""
    for confidence, is_drawn in ((0.85, True), (0.95, False)):
        made = annotate(
            [folder / "one.mp4"],
            report=tmp_path / "r",
            save=tmp_path / "out",
            recognizer=lambda: fake_recognizer,
            confidence=confidence,
        )
        assert has_box(made[0].path) == is_drawn


def test_bad_file_and_bad_report_cost_nobody_else(tmp_path: Path, folder: Path, fake_recognizer) -> None:
    (folder / "bad.mp4").write_text("no video")
    (tmp_path / "r").mkdir()
    (tmp_path / "r/one.csv").write_text("frame,a\n1,2\n")
    made = annotate([folder], report=tmp_path / "r", save=tmp_path / "out", recognizer=lambda: fake_recognizer)
    assert [(each.label, each.path is not None) for each in made] == [
        ("bad.mp4", False),
        ("one.mp4", False),
        ("sub/two.mp4", True),
    ]
    assert "no known video format" in made[0].message
    assert "lacks Neutral" in made[1].message
    assert sorted(path.name for path in (tmp_path / "out").rglob("*.*")) == ["two.mp4"]


def test_what_the_next_video_would_say_too_ends_the_job(tmp_path: Path, folder: Path) -> None:
    def fail():
        raise MissingWeights("There is no backbone.")

    with pytest.raises(MissingWeights):
        annotate([folder], report=tmp_path / "r", save=tmp_path / "out", recognizer=fail)
    with pytest.raises(UnknownName, match="fancy"):
        annotate([folder], report=tmp_path / "r", save=tmp_path / "out", recognizer=fail, style="fancy")
    with pytest.raises(UsageError, match="between 0 and 1"):
        annotate([folder], report=tmp_path / "r", save=tmp_path / "out", recognizer=fail, confidence=70)


def test_folder_that_cannot_be_made_is_named(tmp_path: Path, folder: Path, fake_recognizer) -> None:
    (tmp_path / "file").write_text("")
    made = annotate(
        [folder / "one.mp4"], report=tmp_path / "r", save=tmp_path / "file", recognizer=lambda: fake_recognizer
    )
    assert made[0].path is None
    assert str(tmp_path / "file") in made[0].message


@pytest.mark.parametrize("name", ["expressions", "leaves_and_returns", "two_people"])
def test_demo_clips_keep_their_frames_and_size_and_play_in_a_browser_with_sound(
    tmp_path: Path, chromium: "Browser", name: str
) -> None:
    """With the bundled weights, the real detector and a real browser."""
    from emo_affectnet.recognizer import EmotionRecognizer

    source = VIDEO_FOLDER / f"{name}.mp4"
    made = annotate([source], report=tmp_path, save=tmp_path / "out", recognizer=EmotionRecognizer)
    copy = made[0].path
    assert [frame.time for frame in read_frames(copy)] == [frame.time for frame in read_frames(source)]
    assert (probe(copy).duration, probe(copy).has_audio) == (probe(source).duration, True)
    assert copy.stat().st_size < 1.5 * source.stat().st_size
    assert has_box(copy, 20)
    played = play(chromium, copy)
    assert played["duration"] == pytest.approx(probe(source).duration, abs=0.1)
    assert played["frames"] > 5
    assert played["sound"] > 0


def test_folder_of_pages_has_an_index_pictures_and_the_settings(tmp_path: Path, folder: Path, fake_recognizer) -> None:
    (folder / "bad.mp4").write_text("no video")
    made = write_pages([folder], report=tmp_path / "r", save=tmp_path / "out", recognizer=lambda: fake_recognizer)
    assert [each.path is not None for each in made] == [False, True, True]
    names = sorted(str(path.relative_to(tmp_path / "out")) for path in (tmp_path / "out").rglob("*.*"))
    assert names == ["index.html", "one.html", "one.png", "sub/two.html", "sub/two.png"]
    index = (tmp_path / "out/index.html").read_text()
    assert 'href="sub/two.html"' in index
    assert "no known video format" in index
    assert "Happiness 48%, 0:0" in index  # the peak
    page = (tmp_path / "out/one.html").read_text()
    for value in fake_recognizer.settings.values():
        assert value in page


def test_single_video_needs_no_index_and_a_report_of_before_says_so(
    tmp_path: Path, folder: Path, fake_recognizer
) -> None:
    analyze([folder / "one.mp4"], save=tmp_path / "r", crew=crew_of(fake_recognizer))
    write_pages(
        [folder / "one.mp4"], report=tmp_path / "r", save=tmp_path / "out", recognizer=refuse_to_load, picture="svg"
    )
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == ["one.html", "one.svg"]
    assert "one.csv, made earlier" in (tmp_path / "out/one.html").read_text()


def test_video_without_a_face_has_a_page_and_a_row_that_say_so(tmp_path: Path, folder: Path, fake_recognizer) -> None:
    fake_recognizer._detect = lambda image: []
    write_pages([folder], report=tmp_path / "r", save=tmp_path / "out", recognizer=lambda: fake_recognizer)
    assert "No face was found" in (tmp_path / "out/index.html").read_text()
    assert (tmp_path / "out/one.html").is_file()


def test_settings_name_all_that_a_result_depends_on(fake_recognizer) -> None:
    settings = fake_recognizer.settings
    assert settings["head"] == "ensemble"
    assert settings["detector"] == "near-and-far"
    assert hash_file(fake_recognizer.engine.backbone).startswith(settings["backbone"].split()[-1])


def test_unknown_format_of_the_pictures_is_answered_with_the_known_ones(tmp_path: Path, folder: Path) -> None:
    with pytest.raises(UnknownName, match=", ".join(PICTURES)):
        write_pages([folder], report=tmp_path, save=tmp_path, recognizer=refuse_to_load, picture="bmp")
