"""A real window on a real, unseen display: what it shows, what its keys do, and what is said where there is none."""

import ctypes
import ctypes.util
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
from conftest import MakeVideo
from PIL import ImageGrab

from emo_affectnet import window as module
from emo_affectnet.errors import UsageError
from emo_affectnet.video import probe
from emo_affectnet.window import Window, check_display

# The session stands in a process of its own: a window toolkit that has lost its display ends its process.
SESSION = """
import sys
import numpy as np
sys.path.insert(0, sys.argv[1])
from conftest import FakeDetector, FakeEngine
from emo_affectnet import recognizer as module
from emo_affectnet.camera import open_source
from emo_affectnet.live import run_live
module.DETECTORS["near-and-far"] = lambda confidence=None: FakeDetector()
module.open_engine = lambda weights, **options: FakeEngine()
with open_source(source=sys.argv[2]) as source:
    print(run_live(module.EmotionRecognizer(), source, record=sys.argv[3]))
"""


@pytest.fixture(scope="module")
def display() -> Iterator[str]:
    """The name of a display that nobody sees."""
    if not shutil.which("Xvfb") or not shutil.which("xdotool"):
        pytest.skip("Xvfb or xdotool is not installed; on Debian: apt-get install xvfb xdotool")
    read, write = os.pipe()
    command = ["Xvfb", "-displayfd", str(write), "-screen", "0", "800x600x24", "-nolisten", "tcp"]
    server = subprocess.Popen(command, pass_fds=[write], stderr=subprocess.DEVNULL)
    os.close(write)
    with open(read) as numbers:
        name = f":{numbers.readline().strip()}"
    yield name
    server.terminate()
    server.wait()


def xdotool(display: str, *words: str) -> str:
    environment = {**os.environ, "DISPLAY": display}
    return subprocess.run(["xdotool", *words], env=environment, capture_output=True, text=True, check=True).stdout


@pytest.fixture
def session(display: str, make_video: MakeVideo, tmp_path: Path) -> Iterator[subprocess.Popen[str]]:
    """A live session over a video of half a minute, whose window is there."""
    path = make_video("a.mp4", frames=750, fps=25, size=(320, 240), level=90)
    words = [sys.executable, "-W", "error", "-c", SESSION, str(Path(__file__).parent), path, tmp_path / "out.mp4"]
    environment = {**os.environ, "DISPLAY": display}
    with subprocess.Popen(words, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        xdotool(display, "search", "--sync", "--onlyvisible", "--name", "EMO-AffectNet")
        yield process
        process.kill()


def look_until(display: str, is_there: Callable[[np.ndarray], bool]) -> np.ndarray:
    """Return the first picture of the display that is as expected, or the last within 10 s."""
    deadline = time.monotonic() + 10
    while True:
        screen = np.asarray(ImageGrab.grab(xdisplay=display).convert("RGB"))
        if is_there(screen) or time.monotonic() > deadline:
            return screen
        time.sleep(0.1)


def find_window(display: str) -> str:
    return xdotool(display, "search", "--onlyvisible", "--name", "EMO-AffectNet").split()[0]


def press(display: str, key: str) -> None:
    xdotool(display, "windowfocus", "--sync", find_window(display), "key", key)


class ClientMessage(ctypes.Structure):
    """X's XClientMessageEvent, padded to the size of an XEvent."""

    _fields_ = [
        ("type", ctypes.c_int),
        ("serial", ctypes.c_ulong),
        ("send_event", ctypes.c_int),
        ("display", ctypes.c_void_p),
        ("window", ctypes.c_ulong),
        ("message_type", ctypes.c_ulong),
        ("format", ctypes.c_int),
        ("data", ctypes.c_long * 5),
        ("padding", ctypes.c_long * 24),
    ]


def ask_to_close(display: str, window: str) -> None:
    """Tell a window what the X button of a desktop tells it."""
    x11 = ctypes.CDLL(ctypes.util.find_library("X11"))
    x11.XOpenDisplay.restype = ctypes.c_void_p
    x11.XInternAtom.restype = ctypes.c_ulong
    connection = ctypes.c_void_p(x11.XOpenDisplay(display.encode()))
    protocols, delete = (x11.XInternAtom(connection, name, 0) for name in (b"WM_PROTOCOLS", b"WM_DELETE_WINDOW"))
    message = ClientMessage(type=33, window=int(window), message_type=protocols, format=32)
    message.data[0] = delete
    x11.XSendEvent(connection, ctypes.c_ulong(int(window)), 0, ctypes.c_long(0), ctypes.byref(message))
    x11.XCloseDisplay(connection)


def test_the_window_shows_the_picture_with_the_face_and_the_figures(
    display: str, session: subprocess.Popen[str], tmp_path: Path
) -> None:
    screen = look_until(display, lambda screen: screen[60:180, 78:83].std() > 20 and screen[225:240].std() > 10)
    assert abs(int(screen[150:170, 150:170].mean()) - 90) <= 2  # the middle of the face
    assert screen[60:180, 78:83].std() > 20  # its box
    assert screen[225:240, :320].std() > 10  # the figures
    assert screen[300:].max() == 0  # the window is as large as the picture
    press(display, "r")
    press(display, "q")
    output, errors = session.communicate(timeout=10)
    assert (session.returncode, errors) == (0, "")
    assert "out.mp4" in output
    assert probe(tmp_path / "out.mp4").width == 320


def test_closing_the_window_quits(display: str, session: subprocess.Popen[str]) -> None:
    ask_to_close(display, find_window(display))
    output, _ = session.communicate(timeout=10)
    assert session.returncode == 0
    assert "Summary(" in output


linux = pytest.mark.skipif(sys.platform != "linux", reason="other systems always have a display")


@linux
def test_without_a_display_the_window_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("DISPLAY", raising=False)
    monkeypatch.delenv("WAYLAND_DISPLAY", raising=False)
    with pytest.raises(UsageError, match="neither DISPLAY nor WAYLAND_DISPLAY is set; log in to a desktop, or give"):
        Window("title")


@linux
def test_a_display_that_cannot_be_used_is_refused_and_nothing_ends_the_process(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("DISPLAY", ":4711")
    with pytest.raises(UsageError, match="but DISPLAY=:4711 cannot be used; check it, or give --no-window"):
        check_display()


@linux
def test_a_display_that_never_answers_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DISPLAY", ":0")
    monkeypatch.setattr(module, "_ATTEMPT", "import time; time.sleep(30)")
    monkeypatch.setattr(module, "_ATTEMPT_SECONDS", 0.2)
    with pytest.raises(UsageError, match="cannot be used"):
        check_display()


def test_a_display_that_is_there_is_taken(display: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DISPLAY", display)
    check_display()
