"""Sources as they come: cameras that are there, busy, mute or unplugged; files and addresses at their own pace."""

import functools
import http.server
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import islice
from pathlib import Path

import numpy as np
import pytest
from conftest import MakeVideo

from emo_affectnet import camera as module
from emo_affectnet.camera import open_source
from emo_affectnet.errors import UsageError, VideoError
from emo_affectnet.video import Frame, read_frames
from emo_affectnet.video_writer import VideoWriter


class FakeCapture:
    """Stands for cv2.VideoCapture: delivers what `script` says, a picture or None, and nothing after it."""

    script: tuple[int | None, ...] = (10, 20, 30)
    opens = True
    released = 0

    def __init__(self, number: int) -> None:
        self.number = number
        self._reads = iter(self.script)

    def isOpened(self) -> bool:  # noqa: N802 # OpenCV's name
        return self.opens

    def read(self) -> tuple[bool, np.ndarray | None]:
        level = next(self._reads, None)
        if level is None:
            return False, None
        image = np.zeros((4, 6, 3), np.uint8)
        image[..., 0] = level  # blue, as OpenCV orders channels
        return True, image

    def release(self) -> None:
        type(self).released += 1


@pytest.fixture
def capture(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> type[FakeCapture]:
    """A machine with the cameras 0 and 2, whose patience is short."""

    class Capture(FakeCapture):
        pass

    for name in ("video0", "video2", "videoland"):
        (tmp_path / name).touch()
    monkeypatch.setattr(module, "DEVICES", tmp_path)
    monkeypatch.setattr(module.cv2, "VideoCapture", Capture)
    monkeypatch.setattr(module, "FIRST_FRAME_SECONDS", 0.2)
    monkeypatch.setattr(module, "LOST_SECONDS", 0.1)
    return Capture


def test_a_camera_delivers_rgb_frames_from_time_0_on(capture: type[FakeCapture]) -> None:
    with open_source(camera=2) as source:
        frames = [frame for frame in islice(source, 3)]
    assert [frame.index for frame in frames] == [0, 1, 2]
    assert [frame.image[0, 0].tolist() for frame in frames] == [[0, 0, 10], [0, 0, 20], [0, 0, 30]]
    times = [frame.time for frame in frames]
    assert times[0] == 0.0
    assert times == sorted(times)
    assert capture.released == 1


def test_a_cameras_time_is_that_of_the_clock(capture: type[FakeCapture], monkeypatch: pytest.MonkeyPatch) -> None:
    read = capture.read
    monkeypatch.setattr(capture, "read", lambda self: time.sleep(0.05) or read(self))
    with open_source(camera=0) as source:
        times = [frame.time for frame in islice(source, 3)]
    np.testing.assert_allclose(times, [0, 0.05, 0.1], atol=0.03)


def test_a_camera_that_is_not_there_is_answered_with_those_that_are(capture: type[FakeCapture]) -> None:
    with pytest.raises(VideoError, match=r"There is no camera 1 .*; cameras found: 0, 2\. Connect one"):
        open_source(camera=1)


def test_a_machine_without_cameras_says_none(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(module, "DEVICES", tmp_path)
    with pytest.raises(VideoError, match="There is no camera 0 .*; cameras found: none"):
        open_source(camera=0)


def test_a_camera_below_0_is_refused() -> None:
    with pytest.raises(UsageError, match="counts from 0, but -1 was given"):
        open_source(camera=-1)


def test_a_busy_camera_is_told_apart_from_none(capture: type[FakeCapture]) -> None:
    capture.opens = False
    with pytest.raises(VideoError, match="Camera 0 is there but cannot be opened; close other programs"):
        open_source(camera=0)
    assert capture.released == 1


def test_opencv_itself_says_nothing_of_a_camera_it_cannot_open(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "video97").touch()
    monkeypatch.setattr(module, "DEVICES", tmp_path)
    level = module.cv2.getLogLevel()
    with pytest.raises(VideoError, match="Camera 97 is there but cannot be opened"):
        open_source(camera=97)  # the real OpenCV, which finds no such device
    assert capfd.readouterr() == ("", "")
    assert module.cv2.getLogLevel() == level


def test_an_unplugged_camera_is_an_error_after_its_last_frame(capture: type[FakeCapture]) -> None:
    seen = []
    sentence = "Camera 0 stopped delivering after 3 frames; it was unplugged perhaps"
    with open_source(camera=0) as source, pytest.raises(VideoError, match=sentence):
        seen.extend(frame.index for frame in source)
    assert seen == [0, 1, 2]
    assert capture.released == 1


def test_a_lost_frame_is_no_unplugged_camera(capture: type[FakeCapture]) -> None:
    capture.script = (10, None, None, 20, None, 30)
    with open_source(camera=0) as source:
        assert [frame.index for frame in islice(source, 3)] == [0, 1, 2]


def test_a_camera_without_a_first_frame_is_given_up(capture: type[FakeCapture]) -> None:
    capture.script = ()
    began = time.monotonic()
    with open_source(camera=0) as source, pytest.raises(VideoError, match=r"delivered no frame within 0\.2 s"):
        next(iter(source))
    assert 0.2 <= time.monotonic() - began < 1


def test_a_camera_is_released_even_if_nobody_looked(capture: type[FakeCapture]) -> None:
    with open_source(camera=0):
        pass
    assert capture.released == 1


def test_a_stopped_camera_delivers_nothing_more(capture: type[FakeCapture]) -> None:
    with open_source(camera=0) as source:
        next(iter(source))
        source.stop()
        assert list(source) == []


@pytest.mark.parametrize("both", [{}, {"camera": 0, "source": "a.mp4"}])
def test_exactly_one_source_is_asked_for(both: dict[str, object]) -> None:
    with pytest.raises(UsageError, match="either the number of a camera or a video to play"):
        open_source(**both)


def test_a_file_plays_at_its_own_pace(make_video: MakeVideo) -> None:
    came = []
    with open_source(source=make_video("a.mp4", frames=13, fps=25)) as source:
        for frame in source:
            came.append((frame.index, frame.time, time.monotonic()))
    assert [index for index, _, _ in came] == list(range(13))
    np.testing.assert_allclose([moment for _, moment, _ in came], np.arange(13) / 25, atol=1e-6)
    clock = np.array([clock for _, _, clock in came])
    late = clock - clock[0] - np.arange(13) / 25
    assert late.min() > -0.005  # never before its time
    assert np.median(late) < 0.03


def test_a_file_can_be_played_faster(make_video: MakeVideo) -> None:
    path = make_video("a.mp4", frames=50, fps=25)
    began = time.monotonic()
    with open_source(source=str(path), speed=10) as source:
        assert len(list(source)) == 50
    assert 0.19 < time.monotonic() - began < 1


def test_stopping_does_not_wait_for_the_next_frame(tmp_path: Path) -> None:
    with VideoWriter(tmp_path / "slow.mp4", width=64, height=48, fps=25) as writer:
        for moment in (0.0, 30.0):
            writer.write(np.zeros((48, 64, 3), np.uint8), time=moment)
    began = time.monotonic()
    with open_source(source=tmp_path / "slow.mp4") as source:
        timer = threading.Timer(0.2, source.stop)
        timer.start()
        assert len(list(source)) == 1
        timer.join()
    assert time.monotonic() - began < 2


def test_a_frame_that_damage_puts_centuries_away_is_waited_for_until_the_stop() -> None:
    # the wait was longer than Python's clock can tell
    stopped = threading.Event()
    frames = module._pace(iter([Frame(0, 0.0, None), Frame(1, 1e15, None)]), stopped, speed=1.0)
    assert next(frames).index == 0
    threading.Timer(0.05, stopped.set).start()
    assert list(frames) == []


def test_a_file_that_is_no_video_is_an_error_at_once(tmp_path: Path) -> None:
    with pytest.raises(VideoError, match=r"none\.mp4.*no such file"):
        open_source(source=tmp_path / "none.mp4")


class Folder(http.server.SimpleHTTPRequestHandler):
    """Serves a folder in silence; of a file under /cut/ it promises all and sends half."""

    def log_message(self, *_: object) -> None:
        pass

    def do_GET(self) -> None:  # noqa: N802 # the library's name
        if not self.path.startswith("/cut/"):
            super().do_GET()
            return
        data = (Path(self.directory) / self.path.removeprefix("/cut/")).read_bytes()
        self.send_response(200)
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data[: len(data) // 2])


@contextmanager
def serving(folder: Path) -> Iterator[str]:
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), functools.partial(Folder, directory=str(folder))) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05})
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_address[1]}"
        finally:
            server.shutdown()
            thread.join()


def test_an_address_gives_the_frames_of_its_video(make_video: MakeVideo) -> None:
    path = make_video("a.mp4", frames=20, fps=24)
    with serving(path.parent) as address, open_source(source=f"{address}/a.mp4", speed=10) as source:
        came = list(source)
    expected = list(read_frames(path))
    assert [(frame.index, frame.time) for frame in came] == [(frame.index, frame.time) for frame in expected]
    np.testing.assert_array_equal(came[7].image, expected[7].image)


def test_an_address_that_cannot_be_opened_is_named(make_video: MakeVideo) -> None:
    path = make_video("a.mp4")
    (path.parent / "page.html").write_text("<html>no video</html>")
    with serving(path.parent) as address:
        with pytest.raises(VideoError, match=r"/none\.mp4, but it cannot be opened .*404"):
            open_source(source=f"{address}/none.mp4")
        with pytest.raises(VideoError, match=r"/page\.html, but it cannot be opened"):
            open_source(source=f"{address}/page.html")
    with pytest.raises(VideoError, match=r"/a\.mp4, but it cannot be opened .*refused"):
        open_source(source=f"{address}/a.mp4")
    with pytest.raises(VideoError, match="nonsense://a, but it cannot be opened"):
        open_source(source="nonsense://a")


def test_an_address_cannot_make_this_machines_files_play(make_video: MakeVideo) -> None:
    path = make_video("a.mp4")
    with pytest.raises(VideoError, match="cannot be opened"):
        open_source(source=f"file://{path}")
    playlist = f"#EXTM3U\n#EXT-X-TARGETDURATION:2\n#EXTINF:1.2,\nfile://{path}\n#EXT-X-ENDLIST\n"
    (path.parent / "list.m3u8").write_text(playlist)
    with serving(path.parent) as address, pytest.raises(VideoError, match="cannot be opened|no picture|no frames"):
        list(open_source(source=f"{address}/list.m3u8", speed=100))


def test_an_address_that_breaks_off_is_an_error_after_its_last_frame(tmp_path: Path) -> None:
    path = tmp_path / "long.mp4"
    with VideoWriter(path, width=320, height=240, fps=25) as writer:
        for index in range(60):
            writer.write(np.random.default_rng(index).integers(0, 255, (240, 320, 3), np.uint8))
    seen = []
    with (
        serving(tmp_path) as address,
        open_source(source=f"{address}/cut/long.mp4", speed=20) as source,
        pytest.raises(VideoError, match="stopped delivering after [0-9]+ frames"),
    ):
        seen.extend(frame.index for frame in source)
    assert 0 < len(seen) < 60
