"""Make the pictures of README.md from the demo clips, with the project's own commands and a real browser.

python scripts/make_pictures.py --save docs/pictures
"""

import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import click
from PIL import Image
from playwright.sync_api import FloatRect, Page, sync_playwright

from emo_affectnet.video import read_frames

ROOT = Path(__file__).parents[1]
VIDEO = ROOT / "video"
PORT = 7899
WIDTH, HEIGHT = 1280, 900  # px of the browser
PAGE_PART = FloatRect(x=80, y=0, width=1120, height=1170)  # px, down to the timeline
APP_PART = FloatRect(x=110, y=0, width=1060, height=1780)  # px, down to the timeline
FRAME = 150  # of two_people.mp4, where both faces show something


def run(*words: str | Path) -> None:
    """Run one of the project's commands."""
    subprocess.run([sys.executable, "-m", "emo_affectnet", *map(str, words)], check=True, cwd=ROOT)


@contextmanager
def open_page(address: str) -> Iterator[Page]:
    """Lend a page of a real browser."""
    with sync_playwright() as playwright:
        path = shutil.which("chromium") or shutil.which("google-chrome")
        browser = playwright.chromium.launch(executable_path=path, args=["--no-sandbox", "--disable-gpu"])
        page = browser.new_page(viewport={"width": WIDTH, "height": HEIGHT})
        page.goto(address)
        yield page
        browser.close()


@contextmanager
def serve_app() -> Iterator[str]:
    """Run the page's server and lend its address."""
    command = [sys.executable, "-m", "emo_affectnet", "app", "--port", str(PORT), "--no-browser"]
    server = subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True)
    try:
        assert server.stdout is not None
        next(line for line in server.stdout if str(PORT) in line)
        yield f"http://127.0.0.1:{PORT}"
    finally:
        server.terminate()
        server.wait()


def save(picture: Image.Image, path: Path) -> None:
    """Write a picture and say how large it is."""
    picture.convert("RGB").save(path, optimize=True)
    click.echo(f"{path}  {path.stat().st_size / 1000:.0f} kB")


@click.command()
@click.option("--save", "target", type=click.Path(path_type=Path), default=ROOT / "docs" / "pictures")
def main(target: Path) -> None:
    """Make the pictures."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        run("report", VIDEO, "--report", folder)
        run("plot", folder / "expressions.csv", "--video", VIDEO / "expressions.mp4", "--save", folder / "plot.png")
        save(Image.open(folder / "plot.png"), target / "expressions.png")
        run("annotate", VIDEO / "two_people.mp4", "--report", folder, "--save", folder)
        frames = (frame for frame in read_frames(folder / "two_people.mp4") if frame.index == FRAME)
        save(Image.fromarray(next(frames).image), target / "annotated.png")
        with open_page((folder / "two_people.html").as_uri()) as page:
            page.evaluate("document.querySelector('video').currentTime = 5")
            page.wait_for_timeout(1500)
            page.screenshot(path=folder / "page.png", clip=PAGE_PART, full_page=True)
        save(Image.open(folder / "page.png"), target / "page.png")
        with serve_app() as address, open_page(address) as page:
            page.set_input_files("input[type=file]", VIDEO / "expressions.mp4")
            page.get_by_role("button", name="Analyse").click()
            page.wait_for_selector(".emotion", timeout=120_000)
            page.wait_for_timeout(3000)
            page.screenshot(path=folder / "app.png", clip=APP_PART, full_page=True)
        save(Image.open(folder / "app.png"), target / "app.png")


if __name__ == "__main__":
    main()
