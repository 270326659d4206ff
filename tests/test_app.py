"""The page in the browser: what it shows, what it lets be downloaded, and what it leaves behind; in a real Chromium."""

import asyncio
import gc
import os
import re
import signal
import socket
import subprocess
import sys
import tempfile
import time
import warnings
import webbrowser
from collections.abc import Callable, Iterator
from contextlib import nullcontext
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import av
import httpx
import numpy as np
import pandas as pd
import pytest
from conftest import ROOT, VIDEO_FOLDER, find_files

from emo_affectnet import app_sessions
from emo_affectnet.app_fragments import describe_outcome, show_segments
from emo_affectnet.app_sessions import Recognizers, Sessions
from emo_affectnet.errors import UsageError
from emo_affectnet.pages import Segment
from emo_affectnet.recognizer import EmotionRecognizer
from emo_affectnet.summary import Outcome
from emo_affectnet.weight_sets import resolve_backbone
from emo_affectnet.weights import describe_trust

with warnings.catch_warnings():  # what Gradio and its server say of each other
    warnings.simplefilter("ignore")
    gr = pytest.importorskip("gradio")
    import uvicorn

    from emo_affectnet.app import LiveTab, VideoTab, serve

if TYPE_CHECKING:
    from playwright.sync_api import Browser, BrowserContext, ConsoleMessage, Page

MakeVideo = Callable[..., Path]
OpenPage = Callable[..., "Page"]
CLIP = VIDEO_FOLDER / "expressions.mp4"
MAX_UPLOAD = 2  # MB
PATIENCE = 120_000  # ms; the machine may have other work
DESKTOP, PHONE = {"width": 1280, "height": 900}, {"width": 390, "height": 844}
QUIET = {"TF_CPP_MIN_LOG_LEVEL": "3", "GLOG_minloglevel": "3"}
SERVE = f"""
from emo_affectnet.app import serve
serve(port=0, max_upload={MAX_UPLOAD}, on_ready=lambda address: print(address, flush=True))
"""


@dataclass
class Server:
    """A server in a process of its own."""

    process: "subprocess.Popen[str]"
    address: str
    temporary: Path  # where it may have its private folder

    @property
    def files(self) -> list[Path]:
        return find_files(self.temporary)

    def wait_until_empty(self) -> None:
        """Wait for the end of sessions, of which the server hears a little later."""
        deadline = time.monotonic() + 20
        while self.files and time.monotonic() < deadline:
            time.sleep(0.1)
        assert self.files == []


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    temporary = tmp_path_factory.mktemp("temporary")
    environment = os.environ | QUIET | {"TMPDIR": str(temporary)}
    with subprocess.Popen(
        [sys.executable, "-c", SERVE], cwd=ROOT, env=environment, stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout is not None
        yield Server(process, process.stdout.readline().strip(), temporary)
        process.terminate()


@pytest.fixture(scope="module")
def command_line(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The reports of the demo clip as the command line writes them."""
    save = tmp_path_factory.mktemp("report")
    command = [sys.executable, "-m", "emo_affectnet", "analyze", str(CLIP), "--save", str(save)]
    subprocess.run(command, cwd=ROOT, env=os.environ | QUIET, check=True, capture_output=True)
    return save


@dataclass
class Traffic:
    """What the browser asked for, and what it said."""

    requests: list[str] = field(default_factory=list)
    complaints: list[str] = field(default_factory=list)

    def listen(self, context: "BrowserContext") -> None:
        context.on("request", lambda request: self.requests.append(request.url))
        context.on("weberror", lambda error: self.complaints.append(str(error.error)))
        context.on("console", self._note)

    def _note(self, message: "ConsoleMessage") -> None:
        if message.type == "error":
            self.complaints.append(message.text)


@pytest.fixture(scope="module")
def traffic() -> Traffic:
    return Traffic()


@pytest.fixture(scope="module")
def shots(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of pictures for a person to look at."""
    return tmp_path_factory.mktemp("screenshots")


@pytest.fixture(scope="module")
def open_page(chromium: "Browser", server: Server, traffic: Traffic) -> OpenPage:
    """Open the page in a browser session of its own."""
    return lambda: visit(chromium, server, traffic)


def visit(browser: "Browser", server: Server, traffic: Traffic, **options: Any) -> "Page":
    context = browser.new_context(viewport=DESKTOP, color_scheme="light", **options)
    context.set_default_timeout(PATIENCE)
    traffic.listen(context)
    page = context.new_page()
    page.goto(server.address)
    page.wait_for_selector("#analyse")
    return page


def upload(page: "Page", path: Path) -> None:
    page.locator("#upload input[type=file]").set_input_files(path)


def analyse(page: "Page", path: Path) -> None:
    upload(page, path)
    page.wait_for_selector("#message p:has-text('is here')")
    page.click("#analyse")


def take_shots(page: "Page", folder: Path, name: str) -> None:
    """Take the page on a desktop and a phone, in light and dark."""
    for size_name, size in (("desktop", DESKTOP), ("phone", PHONE)):
        for scheme in ("light", "dark"):
            page.set_viewport_size(size)
            page.emulate_media(color_scheme=scheme)
            page.wait_for_timeout(100)
            page.screenshot(path=folder / f"{name}-{size_name}-{scheme}.png", full_page=True)
        assert page.evaluate("document.documentElement.scrollWidth") <= size["width"], "the page is too wide"
    page.set_viewport_size(DESKTOP)
    page.emulate_media(color_scheme="light")


@pytest.fixture(scope="module")
def bad_message(analysed: "Page") -> str:
    """What the page said of a file that is no video, before it analysed the clip."""
    return str(analysed.evaluate("window.said"))


@pytest.fixture(scope="module")
def analysed(open_page: OpenPage, shots: Path, tmp_path_factory: pytest.TempPathFactory) -> "Page":
    """The page after a bad file, and then the demo clip."""
    page = open_page()
    take_shots(page, shots, "start")
    bad = tmp_path_factory.mktemp("bad") / "no <script>alert(1)<script> video.mp4"
    bad.write_text("This is a text.", encoding="utf-8")
    analyse(page, bad)
    page.wait_for_selector("#message .problem")
    page.evaluate("window.said = document.querySelector('#message').innerText")
    page.screenshot(path=shots / "bad-file.png")
    page.get_by_label("Clear").first.click()
    page.wait_for_selector("#message p:has-text('Choose a video')")
    analyse(page, CLIP)
    page.wait_for_selector("#summary .emotion")
    page.wait_for_function("document.querySelector('#player video')?.readyState >= 2")
    take_shots(page, shots, "result")
    return page


def test_the_page_says_the_emotion_that_the_command_line_says(analysed: "Page", command_line: Path) -> None:
    row = pd.read_csv(command_line / "summary.csv").iloc[0]
    said = analysed.inner_text("#summary").split("\n", 1)
    assert said[0] == row["emotion"] == "Happiness"
    assert f"face seen in 100% of 340 frames · mean probability {row['Happiness']:.0%} · 1 person" in said[1]
    assert said[1].strip().startswith(f"peak: Happiness {row['peak_probability']:.0%} at ")
    assert said[1].strip().endswith(describe_trust(resolve_backbone()))


def test_the_page_lists_the_parts_of_the_clip(analysed: "Page") -> None:
    rows = [row.split("\t") for row in analysed.locator("#segments tr").all_inner_texts()]
    assert rows[0] == ["from", "to", "emotion", "mean"]
    assert [row[2] for row in rows[1:]] == ["Neutral", "Happiness", "Surprise", "Sadness", "Anger"]
    assert rows[1][0] == "0:00.0"
    assert rows[-1][1] == "0:13.6"


def test_the_annotated_video_plays(analysed: "Page") -> None:
    video = "document.querySelector('#player video')"
    assert analysed.evaluate(f"{video}.duration") == pytest.approx(13.6, abs=0.05)
    analysed.evaluate(f"{video}.muted = true, {video}.play()")
    analysed.wait_for_function(f"{video}.currentTime > 0.2")
    analysed.evaluate(f"{video}.pause()")


def download(page: "Page", name: str, folder: Path) -> Path:
    row = page.locator("#downloads tr", has=page.locator(f"[aria-label='{name}']"))
    with page.expect_download() as event:
        row.locator("a").click()
    assert event.value.suggested_filename == name
    event.value.save_as(folder / name)
    return folder / name


def test_the_csv_is_that_of_the_command_line(analysed: "Page", command_line: Path, tmp_path: Path) -> None:
    ours = download(analysed, "expressions.csv", tmp_path).read_bytes()
    assert ours == (command_line / "expressions.csv").read_bytes()


def test_the_html_report_can_be_downloaded(analysed: "Page", tmp_path: Path) -> None:
    text = download(analysed, "expressions.html", tmp_path).read_text(encoding="utf-8")
    assert "Happiness" in text
    assert "</html>" in text


def test_a_file_that_is_no_video_is_told_in_a_sentence(bad_message: str) -> None:
    assert bad_message.startswith('Expected a video in "no scriptalert(1)script video.mp4", but it is in no known')
    assert "Traceback" not in bad_message


def test_a_file_over_the_limit_is_refused(open_page: OpenPage, server: Server, tmp_path: Path) -> None:
    large = tmp_path / "large.mp4"
    large.write_bytes(bytes((MAX_UPLOAD << 20) + 1))
    page = open_page()
    assert f"at most {MAX_UPLOAD} MB" in page.inner_text("#message")
    upload(page, large)
    page.wait_for_selector("text=exceed the maximum allowed size of 2.0 Mb")
    page.context.close()
    with large.open("rb") as file:  # and by the server, whatever a browser thinks
        answer = httpx.post(f"{server.address}gradio_api/upload", files={"files": file}, trust_env=False)
    assert answer.status_code == 413


def test_analyse_without_a_video_says_what_to_do(open_page: OpenPage) -> None:
    page = open_page()
    page.click("#analyse")
    problem = page.wait_for_selector("#message .problem")
    assert problem is not None
    assert "choose one first" in problem.inner_text()
    page.context.close()


def write_camera(path: Path) -> None:
    """Write the second in which the demo clip smiles, and the next, as the pictures of a camera."""
    with av.open(str(CLIP)) as source, av.open(str(path), "w", format="mjpeg") as camera:
        stream = camera.add_stream("mjpeg", rate=25)
        stream.width, stream.height, stream.pix_fmt = 320, 320, "yuvj420p"
        for frame in islice(source.decode(video=0), 25, 75):
            camera.mux(stream.encode(frame.reformat(320, 320, "yuvj420p")))
        camera.mux(stream.encode())


def test_the_live_tab_reads_the_camera(
    launch_chromium: "Callable[..., Browser]", server: Server, traffic: Traffic, shots: Path, tmp_path: Path
) -> None:
    camera = tmp_path / "camera.mjpeg"
    write_camera(camera)
    browser = launch_chromium(
        "--use-fake-ui-for-media-stream",
        "--use-fake-device-for-media-stream",
        f"--use-file-for-fake-video-capture={camera}",
    )
    before = server.files
    page = visit(browser, server, traffic, permissions=["camera"])
    page.get_by_role("tab", name="Live").click()
    page.locator("[title='grant webcam access'] button").click()
    page.locator("#camera .capture-button").click()
    page.wait_for_selector("#live-words strong:has-text('Happiness')")
    page.wait_for_selector("#live-picture img[alt='Camera, person 1: Happiness']")
    take_shots(page, shots, "live")
    first = page.get_attribute("#live-picture img", "src")
    page.wait_for_function("first => document.querySelector('#live-picture img').src != first", arg=first)
    assert server.files == before  # nothing is stored
    browser.close()


def test_no_file_but_the_pages_own_is_served(server: Server) -> None:
    for path in ("/etc/passwd", ROOT / "pyproject.toml", "../../../../etc/passwd"):
        answer = httpx.get(f"{server.address}gradio_api/file={path}", trust_env=False)
        assert answer.status_code in (403, 404), path


def test_the_page_answers_to_its_own_names_only(server: Server) -> None:
    assert httpx.get(server.address, trust_env=False).status_code == 200
    assert httpx.get(server.address, headers={"host": "evil.example"}, trust_env=False).status_code == 404


def test_the_interface_is_not_described(server: Server) -> None:
    assert httpx.get(f"{server.address}gradio_api/info", trust_env=False).status_code == 404
    assert httpx.get(f"{server.address}openapi.json", trust_env=False).status_code == 404


def test_a_closed_page_leaves_nothing_behind(open_page: OpenPage, analysed: "Page", server: Server) -> None:
    page = open_page()
    upload(page, CLIP)
    page.wait_for_selector("#message p:has-text('is here')")
    page.context.close()
    assert server.files
    analysed.context.close()
    server.wait_until_empty()


def test_nothing_was_asked_of_any_other_address(server: Server, traffic: Traffic) -> None:
    assert any(url.startswith(server.address) for url in traffic.requests)
    strangers = [url for url in traffic.requests if not url.startswith((server.address, "data:", "blob:"))]
    assert strangers == []


def test_the_browser_had_nothing_to_complain_of(traffic: Traffic) -> None:
    assert traffic.complaints == []


def test_a_server_that_is_told_to_end_leaves_nothing_behind(server: Server) -> None:
    (folder,) = server.temporary.glob("emo-affectnet-*")
    assert folder.stat().st_mode & 0o777 == 0o700
    server.process.send_signal(signal.SIGTERM)
    server.process.wait(timeout=30)
    assert not folder.exists()
    assert server.files == []


# Without a browser: what the page is made of


@pytest.fixture
def _loops() -> Iterator[None]:
    """Collect the event loops that Gradio makes and never closes, while nobody listens to what they say of it."""
    yield
    asyncio.set_event_loop(None)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ResourceWarning)
        gc.collect()


def in_this_process(test: Callable[..., None]) -> Callable[..., None]:
    """Mark a test that builds a part of the page in the process of the tests."""
    return pytest.mark.usefixtures("_loops")(pytest.mark.filterwarnings("ignore::ResourceWarning")(test))


class FakeRequest:
    """What Gradio says of who asks."""

    session_hash = "one"


def make_tab(folder: Path, recognizer: EmotionRecognizer) -> VideoTab:
    recognizers = Recognizers()
    recognizers.lend = lambda task, *, weights, head: nullcontext(recognizer)  # type: ignore[method-assign]
    with gr.Blocks(analytics_enabled=False):
        return VideoTab(Sessions(folder), recognizers, max_upload=5)


def arrive(folder: Path, video: Path, name: str) -> dict[str, str]:
    """Put a video where Gradio puts uploads, and describe it as Gradio does."""
    path = folder / "0123abcd" / name
    path.parent.mkdir(parents=True)
    path.write_bytes(video.read_bytes())
    return {"path": str(path), "orig_name": name}


@in_this_process
def test_a_video_becomes_everything_that_the_page_shows(
    fake_recognizer: EmotionRecognizer, make_video: MakeVideo, tmp_path: Path
) -> None:
    tab = make_tab(tmp_path, fake_recognizer)
    request: Any = FakeRequest()
    said = tab.take(arrive(tmp_path, make_video("grey.mp4"), "my <clip>.mp4"), request)
    assert "my &lt;clip&gt;.mp4 is here" in said[tab.message]
    waiting, done = tab.analyze("bundled", "ensemble", "all", request)
    assert waiting[tab.button]["interactive"] is False
    assert done[tab.message] == ""
    assert (
        '<p class="emotion">Happiness</p><p>peak: Happiness 48% at 0:00.6 · face seen in 100% of 30 frames'
        in done[tab.summary]
    )
    assert [Path(path).name for path in done[tab.files]] == [
        "my <clip>.csv",
        "my <clip>.html",
        "my <clip>.annotated.mp4",
    ]
    assert "<clip>" not in done[tab.excerpt]
    assert done[tab.excerpt].count("<tr>") == 11
    assert tab.clear(request)[tab.results]["visible"] is False
    assert [path for path in tmp_path.rglob("*") if path.is_file()] == [tmp_path / "grey.mp4"]


@in_this_process
def test_an_upload_from_another_place_is_refused(fake_recognizer: EmotionRecognizer, tmp_path: Path) -> None:
    (tmp_path / "private").mkdir()
    tab = make_tab(tmp_path / "private", fake_recognizer)
    secret = tmp_path / "secret"
    secret.write_text("secret", encoding="utf-8")
    request: Any = FakeRequest()
    assert "did not arrive whole" in tab.take({"path": str(secret)}, request)[tab.message]
    assert secret.exists()


@in_this_process
def test_a_broken_video_and_no_video_are_told(
    fake_recognizer: EmotionRecognizer, make_video: MakeVideo, tmp_path: Path
) -> None:
    tab = make_tab(tmp_path, fake_recognizer)
    request: Any = FakeRequest()
    (said,) = tab.analyze("bundled", "ensemble", "primary", request)
    assert "choose one first" in said[tab.message]
    text = tmp_path / "text"
    text.write_text("no video", encoding="utf-8")
    tab.take(arrive(tmp_path, text, "text.mp4"), request)
    _, said = tab.analyze("bundled", "ensemble", "primary", request)
    assert said[tab.message].startswith('<p class="problem" role="alert">Expected a video in &#34;text.mp4&#34;, but')


@in_this_process
@pytest.mark.parametrize("stage", ["Reading faces", "Writing the report"])  # before and after the files begin to appear
def test_work_for_a_page_that_was_closed_stops_and_leaves_nothing(
    fake_recognizer: EmotionRecognizer, make_video: MakeVideo, tmp_path: Path, stage: str
) -> None:
    private = tmp_path / "private"
    tab = make_tab(private, fake_recognizer)
    request: Any = FakeRequest()
    tab.take(arrive(private, make_video("grey.mp4"), "clip.mp4"), request)
    heard = []

    def close(_: object, *, desc: str, unit: str) -> None:
        heard.append(desc)
        if desc == stage:
            tab.clear(request)

    assert len(list(tab.analyze("bundled", "ensemble", "primary", request, close))) == 1
    assert heard[-1] == stage
    assert list(private.iterdir()) == []


def test_a_video_without_a_face_says_so() -> None:
    outcome = Outcome("clip.mp4", "no_face", coverage=0.0, people=0, frames=3, message="No face was found in it.")
    assert (
        describe_outcome(outcome, trust="Trust it.") == '<p class="emotion">No face</p><p>No face was found in it.</p>'
    )
    assert "<td>no face</td><td></td>" in show_segments(1, [Segment(0.0, 1.0, None, None)])


@in_this_process
def test_the_live_tab_draws_and_says_who_is_there(fake_recognizer: EmotionRecognizer, tmp_path: Path) -> None:
    recognizers = Recognizers()
    recognizers.lend = lambda task, *, weights, head: nullcontext(fake_recognizer)  # type: ignore[method-assign]
    with gr.Blocks(analytics_enabled=False):
        tab = LiveTab(Sessions(tmp_path), recognizers)
    request: Any = FakeRequest()
    assert tab.look(None, "temporal", False, request) == ("", "")
    picture, words = tab.look(np.full((48, 64, 3), 90, np.uint8), "temporal", False, request)
    assert 'alt="Camera, person 1: Happiness"' in picture
    assert words == "<p>Person 1: <strong>Happiness</strong> 48%</p>"
    assert "<strong>Surprise</strong> 70%" in tab.look(np.full((48, 64, 3), 90, np.uint8), "static", False, request)[1]
    assert "There is no mode" in tab.look(np.full((48, 64, 3), 90, np.uint8), "sideways", False, request)[1]
    assert list(tmp_path.iterdir()) == []


def test_a_live_view_that_nobody_looks_at_is_dropped(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    sessions = Sessions(tmp_path)
    sessions.find("idle").live = SimpleNamespace(used=time.monotonic())  # type: ignore[assignment]
    assert sessions.find("idle").live is not None
    monkeypatch.setattr(app_sessions, "IDLE_SECONDS", -1.0)
    assert sessions.find("idle").live is None
    sessions.end("idle")
    sessions.end("never opened")


def test_a_recognizer_is_loaded_once_for_each_choice(monkeypatch: pytest.MonkeyPatch) -> None:
    loaded = []
    monkeypatch.setattr(app_sessions, "EmotionRecognizer", lambda **choice: loaded.append(choice) or len(loaded))
    recognizers = Recognizers()
    for head in ("ensemble", "RAVDESS", "ensemble"):
        with recognizers.lend("video", weights="bundled", head=head) as recognizer:
            assert recognizer == (2 if head == "RAVDESS" else 1)
    assert [choice["head"] for choice in loaded] == ["ensemble", "RAVDESS"]


def test_a_port_that_is_taken_is_told_in_a_sentence() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(UsageError, match=f"should listen on port {port} of 127.0.0.1, but: Address already in use"):
            serve(port=port)


@in_this_process
def test_serve_gives_the_page_its_place_and_cleans_up(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    seen: dict[str, Any] = {}

    def run(server: uvicorn.Server, sockets: list[socket.socket]) -> None:
        seen["folder"] = Path(tempfile.gettempdir())
        seen["limit"] = server.config.app.routes[-1].app.blocks.max_file_size
        assert seen["folder"].is_dir()
        raise KeyboardInterrupt

    monkeypatch.setenv("GRADIO_TEMP_DIR", "elsewhere")
    monkeypatch.setattr(uvicorn.Server, "run", run)
    monkeypatch.setattr(webbrowser, "open", lambda address: seen.update(opened=address))
    serve(port=0, max_upload=3, open_browser=True, on_ready=lambda address: seen.update(address=address))
    assert seen["address"] == seen["opened"]
    assert re.fullmatch(r"http://127\.0\.0\.1:\d+/", seen["address"])
    assert seen["limit"] == 3 << 20
    assert not seen["folder"].exists()
    assert os.environ["GRADIO_TEMP_DIR"] == "elsewhere"
    assert Path(tempfile.gettempdir()) != seen["folder"]


def test_without_gradio_the_extra_is_named() -> None:
    script = "import sys; sys.modules['gradio'] = None; import emo_affectnet.app"
    result = subprocess.run([sys.executable, "-c", script], cwd=ROOT, capture_output=True, text=True)
    assert "EngineUnavailable: The page needs Gradio" in result.stderr
    assert "pip install 'emo-affectnet[app]'" in result.stderr
