"""A window on the screen: RGB pictures go in, pressed keys come out. OpenCV's windows stay in here.

OpenCV's window toolkit ends the whole process when it finds no display; so a child process tries first.
"""

import os
import subprocess
import sys
from types import TracebackType

import cv2

from .errors import UsageError, silent_errors
from .video import Image

CLOSED = "q"  # the key for which closing the window stands

_DISPLAYS = ("DISPLAY", "WAYLAND_DISPLAY")
_ATTEMPT = "import cv2; cv2.namedWindow('trial', cv2.WINDOW_NORMAL); cv2.destroyAllWindows()"
_ATTEMPT_SECONDS = 30.0


def check_display() -> None:
    """Make sure that a window can be opened here.

    Raises:
        UsageError: there is no display, or it refuses.
    """
    if sys.platform != "linux":
        return
    named = next((f"{name}={os.environ[name]}" for name in _DISPLAYS if os.environ.get(name)), None)
    if named is None:
        raise UsageError(
            "A window needs a display, but neither DISPLAY nor WAYLAND_DISPLAY is set; log in to a desktop, or give "
            "--no-window."
        )
    if not _can_open_window():
        raise UsageError(f"A window needs a display, but {named} cannot be used; check it, or give --no-window.")


def _can_open_window() -> bool:
    try:
        trial = subprocess.run([sys.executable, "-c", _ATTEMPT], capture_output=True, timeout=_ATTEMPT_SECONDS)
    except subprocess.TimeoutExpired:
        return False
    return trial.returncode == 0


class Window:
    """One window, in the main thread; a context manager that closes it.

    Raises:
        UsageError: there is no display to open it on.
    """

    def __init__(self, title: str) -> None:
        check_display()
        self._title = title

    def __enter__(self) -> "Window":
        with silent_errors():  # Qt misses its fonts aloud
            cv2.namedWindow(self._title, cv2.WINDOW_NORMAL | cv2.WINDOW_KEEPRATIO | cv2.WINDOW_GUI_NORMAL)
            cv2.waitKey(1)
        self._size: tuple[int, int] | None = None  # px, of the last picture
        return self

    def show(self, image: Image) -> None:
        """Show an RGB picture uint8 (H, W, 3); the window takes the size of the first, and of any other size."""
        height, width = image.shape[:2]
        if (width, height) != self._size:
            self._size = (width, height)
            cv2.resizeWindow(self._title, width, height)
        cv2.imshow(self._title, cv2.cvtColor(image, cv2.COLOR_RGB2BGR))

    def read_key(self) -> str | None:
        """Let the window work, and return the letter that was pressed, `CLOSED` if the window was closed, or None."""
        key = cv2.waitKey(1)
        if cv2.getWindowProperty(self._title, cv2.WND_PROP_VISIBLE) < 1:
            return CLOSED
        return chr(key & 0xFF).lower() if key >= 0 else None

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        cv2.destroyAllWindows()
