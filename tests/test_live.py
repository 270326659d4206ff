"""Live sessions: the picture waits for nothing, everything is kept, and the emotions are those of the offline road."""

import os
import signal
import threading
import time
from collections.abc import Iterator
from itertools import groupby
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from conftest import VIDEO_FOLDER, FakeDetector, FakeEngine, MakeVideo

from emo_affectnet import EmotionRecognizer
from emo_affectnet import live as module
from emo_affectnet.camera import Source, open_source
from emo_affectnet.emotions import EMOTION_NAMES
from emo_affectnet.errors import UnknownName, VideoError
from emo_affectnet.faces import Face
from emo_affectnet.live import Newest, Summary, run_live
from emo_affectnet.recognizer import DETECTORS
from emo_affectnet.reports import read_csv
from emo_affectnet.timeline import MAX_GAP, Moment, Sampler, Timeline
from emo_affectnet.video import Frame, probe, read_frames

FACE = Face((10, 8, 40, 40), 0.9)
LAG = 1.0  # s: half a window, by which the past 2 s are behind the 2 s around a frame


@pytest.fixture(scope="module")
def bundled() -> EmotionRecognizer:
    return EmotionRecognizer(weights="bundled")


@pytest.fixture(scope="module")
def fake() -> EmotionRecognizer:
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(DETECTORS, "near-and-far", lambda confidence=None: FakeDetector())
        patch.setattr("emo_affectnet.recognizer.open_engine", lambda weights, **options: FakeEngine())
        return EmotionRecognizer(weights="bundled")


@pytest.fixture
def fakes(fake: EmotionRecognizer) -> EmotionRecognizer:
    fake._detect, fake.engine = FakeDetector(), FakeEngine()
    return fake


@pytest.fixture(autouse=True)
def no_thread_is_left() -> Iterator[None]:
    before = threading.active_count()
    yield
    assert threading.active_count() == before


class FakeWindow:
    """Stands for the window; presses `keys` after as many pictures, and keeps every picture."""

    keys: dict[int, str] = {}  # by the number of pictures shown
    pictures: list[np.ndarray]

    def __init__(self, title: str) -> None:
        type(self).pictures = []
        self._waiting = dict(self.keys)

    def __enter__(self) -> "FakeWindow":
        return self

    def __exit__(self, *_: object) -> None:
        pass

    def show(self, image: np.ndarray) -> None:
        self.pictures.append(image.copy())

    def read_key(self) -> str | None:
        return self._waiting.pop(len(self.pictures), None)


@pytest.fixture
def window(monkeypatch: pytest.MonkeyPatch) -> type[FakeWindow]:
    class Window(FakeWindow):
        keys: dict[int, str] = {}

    monkeypatch.setattr(module, "Window", Window)
    return Window


@pytest.fixture
def drawn(monkeypatch: pytest.MonkeyPatch) -> list[list[Moment]]:
    """The moments that are drawn into each picture, in the place of drawing them."""
    seen: list[list[Moment]] = []
    monkeypatch.setattr(module, "draw_people", lambda image, moments, corners: seen.append(list(moments)))
    return seen


@pytest.fixture
def notes(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    seen: list[str] = []
    monkeypatch.setattr(module, "draw_note", lambda image, text: seen.append(text))
    return seen


def play(
    recognizer: EmotionRecognizer, path: Path, *, speed: float = 1.0, show_window: bool = False, **options: object
) -> Summary:
    with open_source(source=path, speed=speed) as source:
        return run_live(recognizer, source, show_window=show_window, **options)


def test_a_newest_value_replaces_what_nobody_took() -> None:
    place = Newest[int]()
    for value in range(5):
        place.put(value)
    assert (place.take(), place.take(timeout=0)) == (4, None)


def test_a_value_can_be_waited_for() -> None:
    place = Newest[int]()
    timer = threading.Timer(0.1, place.put, [7])
    timer.start()
    assert place.take() == 7
    timer.join()


def test_a_closed_place_lets_nobody_wait_and_keeps_its_value() -> None:
    place = Newest[int]()
    place.put(3)
    place.close()
    assert not place.is_over
    assert (place.take(), place.take(), place.is_over) == (3, None, True)


def test_a_slow_detector_does_not_hold_up_the_picture(
    fakes: EmotionRecognizer, make_video: MakeVideo, window: type[FakeWindow]
) -> None:
    detect = fakes._detect
    fakes._detect = lambda image: time.sleep(0.5) or detect(image)
    summary = play(fakes, make_video("a.mp4", frames=50, fps=25), show_window=True)
    assert summary.frames == 50
    assert summary.shown >= 25  # all 50 on an idle machine; 5 if the picture waited for the detector
    assert 2 <= summary.samples <= 5


def test_a_slow_picture_does_not_cost_a_sample(
    fakes: EmotionRecognizer, make_video: MakeVideo, window: type[FakeWindow], monkeypatch: pytest.MonkeyPatch
) -> None:
    show = window.show
    monkeypatch.setattr(window, "show", lambda self, image: time.sleep(0.4) or show(self, image))
    summary = play(fakes, make_video("a.mp4", frames=50, fps=25), show_window=True)
    assert (summary.frames, summary.samples) == (50, 10)
    assert summary.shown <= 8


def test_samples_are_those_of_the_offline_road_and_each_has_its_row(
    fakes: EmotionRecognizer, make_video: MakeVideo, tmp_path: Path
) -> None:
    fakes._detect = FakeDetector([[FACE], [], [FACE], [FACE]])
    summary = play(fakes, make_video("a.mp4", frames=26, fps=25), csv=tmp_path / "live.csv")
    table = read_csv(tmp_path / "live.csv")
    assert table.frame.tolist() == [1, 6, 11, 16, 21, 26]
    np.testing.assert_allclose(table.time, np.arange(6) / 5, atol=1e-6)
    assert table.observed.tolist() == [1, 0, 1, 1, 0, 0]
    assert table.emotion.dropna().tolist() == ["Happiness"] * 3
    assert summary == Summary(frames=26, shown=0, samples=6, seconds=pytest.approx(1.0), recordings=())


def test_static_mode_judges_faces_by_themselves(
    fakes: EmotionRecognizer, make_video: MakeVideo, tmp_path: Path
) -> None:
    play(fakes, make_video("a.mp4", frames=10, fps=25), mode="static", csv=tmp_path / "live.csv")
    table = read_csv(tmp_path / "live.csv")
    assert len(table) >= 8  # every frame, not every fifth
    assert set(table.emotion) == {"Surprise"}
    assert table.agreement.isna().all()


def test_an_unknown_mode_opens_nothing(fakes: EmotionRecognizer, make_video: MakeVideo, tmp_path: Path) -> None:
    with pytest.raises(UnknownName, match="no mode named 'fast'"):
        play(fakes, make_video("a.mp4"), mode="fast", csv=tmp_path / "live.csv")
    assert not (tmp_path / "live.csv").exists()


def test_a_recording_is_the_annotated_picture_without_the_figures(
    fakes: EmotionRecognizer, make_video: MakeVideo, window: type[FakeWindow], tmp_path: Path
) -> None:
    path = make_video("a.mp4", frames=20, fps=25, size=(320, 240), level=90)
    summary = play(fakes, path, show_window=True, record=tmp_path / "out.mp4")
    assert summary.recordings == (tmp_path / "out.mp4",)
    last = list(read_frames(tmp_path / "out.mp4"))[-1].image
    assert abs(int(last[150:170, 150:170].mean()) - 90) <= 2  # the middle of the face
    assert last[60:180, 78:83].std() > 20  # its box
    assert last[-12:].std() < 5
    assert window.pictures[-1][-12:].std() > 10  # the figures


def test_a_recording_without_a_window_has_every_picture(
    fakes: EmotionRecognizer, make_video: MakeVideo, tmp_path: Path
) -> None:
    play(fakes, make_video("a.mp4", frames=30, fps=25), record=tmp_path / "out.mp4")
    info = probe(tmp_path / "out.mp4")
    assert info.frame_count is not None
    assert info.frame_count >= 27
    assert info.duration == pytest.approx(1.2, abs=0.1)


def test_keys_quit_record_and_mirror(
    fakes: EmotionRecognizer,
    make_video: MakeVideo,
    window: type[FakeWindow],
    drawn: list[list[Moment]],
    tmp_path: Path,
) -> None:
    window.keys = {20: "m", 30: "r", 35: "r", 40: "x", 50: "q"}
    fakes._detect = lambda image: [FACE]
    summary = play(fakes, make_video("a.mp4", frames=200, fps=25), show_window=True, record=tmp_path / "out.mp4")
    assert summary.shown == 50
    assert summary.frames < 200
    assert [path.name for path in summary.recordings] == ["out.mp4", "out-2.mp4"]
    assert [probe(path).frame_count for path in summary.recordings] == [30, 15]
    boxes = [moments[0].box for moments in drawn if moments]
    assert [box for box, _ in groupby(boxes)] == [(10, 8, 40, 40), (24, 8, 54, 40)]  # 64 px wide


def test_a_mirrored_picture_is_flipped_before_anything_is_drawn(
    fakes: EmotionRecognizer, window: type[FakeWindow], drawn: list[list[Moment]], notes: list[str]
) -> None:
    image = np.zeros((48, 64, 3), np.uint8)
    image[:, :32] = 200
    with still(image) as source:
        run_live(fakes, source, mirror=True)
    assert window.pictures[0][0, [0, 31, 32, 63], 0].tolist() == [0, 0, 200, 200]
    assert image[0, 0, 0] == 200


def still(*images: np.ndarray, hz: float = 25, error: Exception | None = None) -> Source:
    """Return a source of pictures that ends well, or with an error."""

    def frames() -> Iterator[Frame]:
        for index, image in enumerate(images):
            time.sleep(1 / hz)
            yield Frame(index, index / hz, image)
        time.sleep(0.1)
        if error is not None:
            raise error

    return Source(frames(), stopped=threading.Event())  # type: ignore[arg-type] # a generator, as it should be


def test_emotions_vanish_when_they_are_too_old(
    fakes: EmotionRecognizer,
    make_video: MakeVideo,
    window: type[FakeWindow],
    drawn: list[list[Moment]],
    notes: list[str],
) -> None:
    fakes._detect = FakeDetector([[FACE]] * 3)  # at 0, 0.2 and 0.4 s
    play(fakes, make_video("a.mp4", frames=50, fps=25), show_window=True)
    frames = [int(picture[0, 0, 0]) for picture in window.pictures]  # frame i is as bright as that
    last = max(frame for frame, moments in zip(frames, drawn, strict=True) if moments)
    assert 0.4 < last / 25 <= 0.4 + MAX_GAP + 0.1
    assert drawn[-1] == []


def test_the_note_has_the_rate_and_the_age_of_the_emotion(
    fakes: EmotionRecognizer, make_video: MakeVideo, window: type[FakeWindow], notes: list[str], tmp_path: Path
) -> None:
    window.keys = {20: "r"}
    play(fakes, make_video("a.mp4", frames=40, fps=25), show_window=True, record=tmp_path / "out.mp4")
    assert notes[15].startswith("recording  ")
    words = notes[-1].split()
    assert [words[1], words[2], *words[4:]] == ["frames/s", "emotion", "s", "old"]
    assert float(words[0]) == pytest.approx(25, abs=5)
    assert 0 <= float(words[3]) <= 0.4


def test_the_note_counts_faces_too_small_to_read(
    fakes: EmotionRecognizer, make_video: MakeVideo, window: type[FakeWindow], notes: list[str]
) -> None:
    fakes._detect = lambda image: [Face((2, 2, 12, 12), 0.8)]
    play(fakes, make_video("a.mp4", frames=12, fps=25), show_window=True)
    assert notes[-1].endswith("frames/s  1 face too small to read")


def test_a_rate_is_that_of_the_last_second() -> None:
    rate = module._Rate()
    assert [rate.count(0.0), rate.count(0.5)] == [0.0, 2.0]
    for index in range(30):
        last = rate.count(10 + index / 10)
    assert last == pytest.approx(10)


@pytest.mark.parametrize("error", [VideoError("Camera 0 stopped delivering."), RuntimeError("a defect")])
def test_a_source_that_breaks_off_is_an_error_and_everything_is_kept(
    fakes: EmotionRecognizer, tmp_path: Path, error: Exception
) -> None:
    images = [np.full((48, 64, 3), 90, np.uint8)] * 20
    with pytest.raises(type(error), match=str(error)), still(*images, error=error) as source:
        run_live(fakes, source, show_window=False, record=tmp_path / "out.mp4", csv=tmp_path / "live.csv")
    frames = probe(tmp_path / "out.mp4").frame_count
    assert frames is not None
    assert frames >= 17
    assert len(read_csv(tmp_path / "live.csv")) == 4


def test_a_detector_that_fails_ends_the_session_and_everything_is_kept(
    fakes: EmotionRecognizer, make_video: MakeVideo, tmp_path: Path
) -> None:
    detect, calls = fakes._detect, iter(range(100))

    def fail(image: np.ndarray) -> list[Face]:
        if next(calls) == 3:
            raise RuntimeError("the detector failed")
        return detect(image)

    fakes._detect = fail
    began = time.monotonic()
    with pytest.raises(RuntimeError, match="the detector failed"):
        play(fakes, make_video("a.mp4", frames=250, fps=25), record=tmp_path / "out.mp4", csv=tmp_path / "live.csv")
    assert time.monotonic() - began < 3
    assert len(read_csv(tmp_path / "live.csv")) == 3
    assert probe(tmp_path / "out.mp4").frame_count


def test_a_picture_that_cannot_be_shown_ends_the_session(
    fakes: EmotionRecognizer, make_video: MakeVideo, window: type[FakeWindow], monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(self: FakeWindow, image: np.ndarray) -> None:
        raise RuntimeError("the window failed")

    monkeypatch.setattr(window, "show", fail)
    began = time.monotonic()
    with pytest.raises(RuntimeError, match="the window failed"):
        play(fakes, make_video("a.mp4", frames=250, fps=25), show_window=True)
    assert time.monotonic() - began < 3


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_ends_the_session_quietly_and_everything_is_kept(
    fakes: EmotionRecognizer, make_video: MakeVideo, tmp_path: Path, number: signal.Signals
) -> None:
    former = signal.getsignal(number)
    path = make_video("a.mp4", frames=250, fps=25)
    timer = threading.Timer(0.7, os.kill, (os.getpid(), number))
    timer.start()
    summary = play(fakes, path, record=tmp_path / "out.mp4", csv=tmp_path / "live.csv")
    timer.join()
    assert 5 < summary.frames < 60
    assert probe(tmp_path / "out.mp4").frame_count
    assert len(read_csv(tmp_path / "live.csv")) == summary.samples
    assert signal.getsignal(number) is former


def test_a_session_runs_outside_the_main_thread_as_well(fakes: EmotionRecognizer, make_video: MakeVideo) -> None:
    done: list[Summary] = []
    path = make_video("a.mp4", frames=10, fps=25)
    thread = threading.Thread(target=lambda: done.append(play(fakes, path)))
    thread.start()
    thread.join()
    assert done[0].frames == 10


def story(emotions: np.ndarray) -> list[str]:
    """Return the emotions in the order in which they come."""
    return [EMOTION_NAMES[emotion] for emotion, _ in groupby(emotions) if emotion >= 0]


def emotions_at(table: pd.DataFrame, times: np.ndarray) -> np.ndarray:
    """Return the last live emotion at or before each time; -1 before the first."""
    codes = table.emotion.map({name: code for code, name in enumerate(EMOTION_NAMES)}).to_numpy()
    rows = np.searchsorted(table.time.to_numpy(), times, side="right") - 1
    return np.where(rows >= 0, codes[rows], -1)


def find_stable(timeline: Timeline, *, past: float) -> np.ndarray:
    """Return bool (F,): the offline emotion has been the same for `past` s."""
    times, emotions = timeline.times, timeline.emotions
    return np.array([now >= past and len(set(emotions[(times >= now - past) & (times <= now)])) == 1 for now in times])


def patient(recognizer: EmotionRecognizer, path: Path, monkeypatch: pytest.MonkeyPatch) -> Source:
    """Return a source whose clock waits for the detector: as fast as this machine is today, and no sample is lost."""
    looked = threading.Semaphore(0)
    detect = recognizer._detect
    monkeypatch.setattr(recognizer, "_detect", lambda image: looked.release() or detect(image))

    def frames() -> Iterator[Frame]:
        sampler = Sampler()
        for frame in read_frames(path):
            yield frame
            for _ in sampler.push(frame):
                looked.acquire(timeout=10)

    return Source(frames(), stopped=threading.Event())  # type: ignore[arg-type] # a generator, as it should be


def test_live_tells_the_story_of_the_offline_report_a_second_later(
    bundled: EmotionRecognizer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Live knows the past 2 s, a report the 2 s around a frame; seen: 100 % where stable, 97 % with the lag."""
    path = VIDEO_FOLDER / "expressions.mp4"
    timeline = bundled.predict(path)
    with patient(bundled, path, monkeypatch) as source:
        summary = run_live(bundled, source, show_window=False, csv=tmp_path / "live.csv")
    assert summary.samples == 68
    live = emotions_at(read_csv(tmp_path / "live.csv"), timeline.times)
    assert story(timeline.emotions) == ["Happiness", "Surprise", "Sadness", "Anger"]
    assert story(live)[-4:] == story(timeline.emotions)  # after a first guess from one sample
    stable = find_stable(timeline, past=1.5)
    assert stable.mean() > 0.5
    assert (live == timeline.emotions)[stable].mean() >= 0.9
    later = timeline.times >= LAG
    earlier = np.searchsorted(timeline.times, timeline.times[later] - LAG)
    assert (live[later] == timeline.emotions[earlier]).mean() >= 0.9


def test_live_agrees_with_the_offline_report_of_a_real_recording_in_real_time(
    bundled: EmotionRecognizer, carphone: Path, tmp_path: Path
) -> None:
    """A talking man in 4 s, whose emotion is stable in the second half only; seen: 100 % there."""
    timeline = bundled.predict(carphone)
    play(bundled, carphone, csv=tmp_path / "live.csv")
    live = emotions_at(read_csv(tmp_path / "live.csv"), timeline.times)
    stable = find_stable(timeline, past=1.5)
    assert stable.mean() > 0.3
    assert (live == timeline.emotions)[stable].mean() >= 0.9
