"""Annotated copies: every frame at its time with its own row of the report, the sound, and reports that do not fit."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from video_files import coded, codes, make, open_descriptors

from emo_affectnet.annotation import annotate_video
from emo_affectnet.drawing import PERSON_COLOURS
from emo_affectnet.emotions import EMOTION_COLOURS, EMOTION_NAMES, Emotion
from emo_affectnet.errors import ReportError, UnknownName, UsageError, VideoError
from emo_affectnet.reports import BOX_COLUMNS, COLUMNS
from emo_affectnet.video import probe, read_frames
from emo_affectnet.video_writer import VideoWriter

SIZE = (320, 240)


def make_clip(path: Path, *, frames: int = 40, fps: float = 25, size: tuple[int, int] = SIZE) -> Path:
    with VideoWriter(path, width=size[0], height=size[1], fps=fps) as writer:
        for _ in range(frames):
            writer.write(np.full((size[1], size[0], 3), 90, np.uint8))
    return path


def make_report(video: Path, emotions: list[Emotion | None], *, box: tuple[int, int, int, int]) -> pd.DataFrame:
    """A report that names an emotion for each frame; where it is None nobody was seen."""
    table = pd.DataFrame({"frame": np.arange(1, len(emotions) + 1)}).reindex(columns=list(COLUMNS)).astype(float)
    table["frame"] = np.arange(1, len(emotions) + 1)
    table["time"] = [round(frame.time, 6) for frame in read_frames(video)][: len(emotions)]
    for row, emotion in enumerate(emotions):
        if emotion is not None:
            table.loc[row, list(EMOTION_NAMES)] = 0.05
            table.loc[row, emotion.name] = 0.70
            table.loc[row, list(BOX_COLUMNS)] = box
            table.loc[row, "score"] = 0.9
    return table


def shares_of(image: np.ndarray, code: str, tolerance: int = 24) -> float:
    colour = np.array([int(code[index : index + 2], 16) for index in (1, 3, 5)])
    return float((np.abs(image.astype(int) - colour) <= tolerance).all(axis=2).mean())


def test_each_frame_shows_its_own_row_and_a_gap_shows_nobody(tmp_path: Path) -> None:
    video = make_clip(tmp_path / "a.mp4")
    emotions = [Emotion.Happiness] * 10 + [None] * 10 + [Emotion.Disgust] * 20
    report = make_report(video, emotions, box=(120, 90, 200, 180))
    annotate_video(video, [report], tmp_path / "out.mp4", style="full")
    panels = [frame.image[:200] for frame in read_frames(tmp_path / "out.mp4")]  # without the strip
    for index, emotion in enumerate(emotions):
        seen = {each: shares_of(panels[index], EMOTION_COLOURS[each]) for each in (Emotion.Happiness, Emotion.Disgust)}
        box = shares_of(panels[index], PERSON_COLOURS[0])
        if emotion is None:
            assert max(*seen.values(), box) < 0.0005
        else:
            assert max(seen, key=seen.__getitem__) == emotion
            assert box > 0.005


def test_report_is_joined_by_frame_number_and_not_by_row(tmp_path: Path) -> None:
    """A report of the original begins at the first face, and its rows may stand in any order."""
    video = make_clip(tmp_path / "a.mp4")
    report = make_report(video, [None] * 25 + [Emotion.Anger] * 15, box=(120, 90, 200, 180))
    shuffled = report[25:].sample(frac=1, random_state=0)
    annotate_video(video, [shuffled], tmp_path / "out.mp4", style="boxes")
    seen = [shares_of(frame.image, PERSON_COLOURS[0]) > 0.005 for frame in read_frames(tmp_path / "out.mp4")]
    assert seen == [False] * 25 + [True] * 15


def test_two_people_have_two_colours_and_two_rows_in_the_strip(tmp_path: Path) -> None:
    video = make_clip(tmp_path / "a.mp4")
    people = [
        make_report(video, [Emotion.Happiness] * 40, box=(20, 120, 90, 200)),
        make_report(video, [Emotion.Sadness] * 40, box=(220, 120, 290, 200)),
    ]
    annotate_video(video, people, tmp_path / "out.mp4")
    image = list(read_frames(tmp_path / "out.mp4"))[35].image
    assert shares_of(image[110:205, 10:100], PERSON_COLOURS[0]) > 0.02
    assert shares_of(image[110:205, 210:300], PERSON_COLOURS[1]) > 0.02
    assert shares_of(image[-11:-6, :250], EMOTION_COLOURS[Emotion.Happiness], 40) > 0.5
    assert shares_of(image[-5:, :250], EMOTION_COLOURS[Emotion.Sadness], 40) > 0.5


def test_copy_has_every_frame_once_at_its_own_time(tmp_path: Path) -> None:
    ticks = np.cumsum(np.random.default_rng(0).integers(20, 60, 30)).tolist()
    video = make(tmp_path / "a.mkv", map(coded, range(30)), ticks=ticks)
    annotate_video(video, [], tmp_path / "out.mp4")
    before, after = list(read_frames(video)), list(read_frames(tmp_path / "out.mp4"))
    assert codes(after) == codes(before) == [index % 25 for index in range(30)]
    assert [frame.time for frame in after] == [frame.time for frame in before]


@pytest.mark.parametrize(
    ("size", "max_height", "expected"),
    [((320, 240), 120, (160, 120)), ((320, 240), 480, (320, 240)), ((101, 301), 100, (34, 100))],
)
def test_smaller_copy_keeps_its_shape_and_its_boxes_fit(
    tmp_path: Path, size: tuple[int, int], max_height: int, expected: tuple[int, int]
) -> None:
    video = make_clip(tmp_path / "a.mp4", frames=5, size=size)
    box = (size[0] // 2, size[1] // 2, size[0], size[1])
    report = make_report(video, [Emotion.Happiness] * 5, box=box)
    annotate_video(video, [report], tmp_path / "out.mp4", style="boxes", max_height=max_height)
    info = probe(tmp_path / "out.mp4")
    assert (info.width, info.height) == expected
    image = next(read_frames(tmp_path / "out.mp4")).image
    yellow = np.array([int(PERSON_COLOURS[0][index : index + 2], 16) for index in (1, 3, 5)])
    rows, columns = np.nonzero((np.abs(image[:, : expected[0] // 2 - 4].astype(int) - yellow) <= 24).all(axis=2))
    assert not len(columns) or rows.max() < expected[1] // 2 + 4  # nothing of the box is left of its place


def test_report_of_another_video_is_refused_and_leaves_nothing(tmp_path: Path) -> None:
    video = make_clip(tmp_path / "a.mp4", frames=30)
    slower = make_clip(tmp_path / "b.mp4", frames=30, fps=24)
    longer = make_clip(tmp_path / "c.mp4", frames=31)
    shorter = make_clip(tmp_path / "d.mp4", frames=29)
    for other, words in (
        (slower, r"frame 2 is at 0\.042 s, and that of the video at 0\.040 s"),
        (longer, "it has 31 frames, and the video has 30"),
        (shorter, "it has 29 frames, and the video has 30"),
    ):
        count = len(list(read_frames(other)))
        report = make_report(other, [Emotion.Anger] * count, box=(120, 90, 200, 180))
        with pytest.raises(ReportError, match=words) as caught:
            annotate_video(video, [report], tmp_path / "out.mp4")
        assert str(video) in str(caught.value)
    assert not list(tmp_path.glob("*out*"))
    assert not list(tmp_path.glob(".*"))
    assert not {name for name in open_descriptors() if str(tmp_path) in name}


def test_report_of_a_larger_picture_is_of_another_video(tmp_path: Path) -> None:
    video = make_clip(tmp_path / "a.mp4", frames=10)
    report = make_report(video, [Emotion.Anger] * 10, box=(400, 90, 500, 180))
    with pytest.raises(ReportError, match=r"a face at 500 px.*320x240"):
        annotate_video(video, [report], tmp_path / "out.mp4")


def test_copy_in_the_place_of_its_video_is_refused(tmp_path: Path) -> None:
    video = make_clip(tmp_path / "a.mp4", frames=5)
    before = video.read_bytes()
    with pytest.raises(UsageError, match="take the place"):
        annotate_video(video, [], video)
    assert video.read_bytes() == before


def test_wrong_style_and_missing_video_are_named(tmp_path: Path) -> None:
    with pytest.raises(UnknownName, match="fancy"):
        annotate_video(tmp_path / "a.mp4", [], tmp_path / "out.mp4", style="fancy")
    with pytest.raises(VideoError, match="no such file"):
        annotate_video(tmp_path / "a.mp4", [], tmp_path / "out.mp4")


def test_progress_counts_the_frames(tmp_path: Path) -> None:
    heard: list[tuple[int, int | None]] = []
    video = make_clip(tmp_path / "a.mp4", frames=5)
    annotate_video(video, [], tmp_path / "out.mp4", on_progress=lambda done, total: heard.append((done, total)))
    assert heard == [(done, 5) for done in range(1, 6)]
