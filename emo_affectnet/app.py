"""The page in the browser: a video or the pictures of a camera go in, what the faces in them express comes out.

All files lie in one private folder, which `serve` makes and removes. Nothing on the page asks another address for
anything, and its headers forbid the browser to.
"""

import logging
import os
import signal
import socket
import tempfile
import webbrowser
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from markupsafe import Markup

from . import __version__
from .app_fragments import (
    describe_moments,
    describe_outcome,
    show_excerpt,
    show_figure,
    show_note,
    show_picture,
    show_problem,
    show_segments,
)
from .app_guard import Guard, keep_inside
from .app_sessions import LiveView, Recognizers, Result, Session, Sessions, WorkDropped, analyze_video
from .errors import EmoAffectNetError, EngineUnavailable, UsageError
from .inputs import FACES, PERSON, VIDEO_SUFFIXES
from .recognizer import EmotionRecognizer
from .stream import MODES
from .video import Image
from .weight_sets import DEFAULT_WEIGHTS, WEIGHTS
from .weights import AVERAGE, HEAD_NAMES

try:
    import fastapi
    import gradio as gr
    import uvicorn
except ImportError as error:
    raise EngineUnavailable(
        "The page needs Gradio, which is not installed here; run: pip install 'emo-affectnet[app]'"
    ) from error

HOST, PORT = "127.0.0.1", 7860
MAX_UPLOAD = 500  # MB of 2^20 bytes, as Gradio counts
CUT_SHORT = "The video is cut short: this is what could be read; record or download it again for the rest."
STREAM_SECONDS = 0.2  # between two pictures of the camera
LOCAL_HOSTS = ("127.0.0.1", "localhost", "::1", "[::1]")

_CSS = """
.gradio-container { max-width: 1080px !important; margin: 0 auto !important; }
.words h1 { font-size: 1.6rem; margin: 0; } .words h2 { font-size: 1.1rem; margin: 0 0 .4rem; }
.words p { margin: .2rem 0; font-size: 1rem; line-height: 1.45; }
.words .emotion { font-size: 2.4rem; font-weight: 700; line-height: 1.1; margin: 0; }
.words .problem { border-left: 5px solid #d55e00; padding: .5rem .8rem; background: var(--background-fill-secondary); }
.words .note { color: var(--body-text-color-subdued); }
.words .scroll { overflow: auto; margin-bottom: .8rem; contain: inline-size; }
.words .scroll:has(table) { max-height: 24rem; }
.words .scroll img { display: block; width: 100%; min-width: 640px; border-radius: 6px; }
.words table, .words tr { border: 0 !important; }
.words table { border-collapse: collapse; font-size: .92rem; font-variant-numeric: tabular-nums; }
.words th, .words td { padding: .25rem 1.2rem .25rem 0; text-align: left; white-space: nowrap; border: 0 !important; }
.words th { border-bottom: 1px solid var(--border-color-primary) !important; }
#player video { max-height: 70vh; }
#upload .download, #downloads .label-clear-button { display: none; }
.words .live { display: block; width: 100%; border-radius: 6px; }
"""


class VideoTab:
    """Upload a video, see and download what was found in it."""

    def __init__(self, sessions: Sessions, recognizers: Recognizers, *, max_upload: int) -> None:
        self._sessions, self._recognizers = sessions, recognizers
        self._start = show_note(f"Choose a video of at most {max_upload} MB, then press Analyse.")
        with gr.Row():
            self.upload = gr.File(
                label="Video", file_types=["video", *sorted(VIDEO_SUFFIXES)], height=150, scale=3, elem_id="upload"
            )
            with gr.Column(scale=2, min_width=280):
                faces = gr.Radio(list(FACES), value=FACES[0], label="Faces", info="The primary face, or all.")
                with gr.Row():
                    weights = gr.Dropdown(list(WEIGHTS), value=DEFAULT_WEIGHTS, label="Weights", min_width=130)
                    head = gr.Dropdown(list(HEAD_NAMES), value=AVERAGE, label="Head", min_width=130)
        with gr.Accordion("Baseline: a recording of the same person at rest", open=False):
            rest = gr.File(label="At rest", file_types=["video", *sorted(VIDEO_SUFFIXES)], height=110, elem_id="rest")
        self.button = gr.Button("Analyse", variant="primary", elem_id="analyse")
        self.message = _words("message", self._start)
        with gr.Column(visible=False) as self.results:
            self.summary = _words("summary")
            self.player = gr.Video(label="Annotated video", show_label=False, elem_id="player", buttons=[])
            self.figures = _words("figures")
            self.segments = _words("segments")
            self.files = gr.File(label="Downloads", file_count="multiple", interactive=False, elem_id="downloads")
            self.excerpt = _words("excerpt")
        _private(self.upload.upload, self.take, self.upload, [self.message, self.results], preprocess=False)
        _private(self.upload.clear, self.clear, None, [self.message, self.results])
        _private(rest.upload, self.take_rest, rest, [self.message, self.results], preprocess=False)
        _private(rest.clear, self.clear_rest, None, [self.message, self.results])
        outputs = [self.button, self.message, self.results, self.summary, self.player, self.figures, self.segments]
        done = _private(
            self.button.click,
            self.analyze,
            [weights, head, faces],
            [*outputs, self.files, self.excerpt],
            show_progress_on=self.message,
            concurrency_limit=1,
        )
        _private(done.then, lambda: gr.update(interactive=True), None, self.button)

    def take(self, upload: dict[str, Any], request: gr.Request) -> dict[Any, Any]:
        """Make an upload the video of the session; `upload` is Gradio's description of the file."""
        return self._take(upload, self._sessions.find(_name(request)).take, "is here. Press Analyse.")

    def take_rest(self, upload: dict[str, Any], request: gr.Request) -> dict[Any, Any]:
        """Make an upload the recording of the person at rest."""
        words = "will be taken off as the baseline. Press Analyse."
        return self._take(upload, self._sessions.find(_name(request)).take_rest, words)

    def _take(self, upload: dict[str, Any], take: Callable[[Path], None], words: str) -> dict[Any, Any]:
        path = Path(upload["path"]).resolve()
        try:
            if path.parent.parent != self._sessions.folder:  # not where uploads arrive
                raise FileNotFoundError(path)
            take(path)
        except OSError:
            return self._tell(show_problem("The upload did not arrive whole; choose the video again."))
        return self._tell(show_note(f"{path.name} {words}"))

    def clear_rest(self, request: gr.Request) -> dict[Any, Any]:
        """Forget the recording of the person at rest."""
        self._sessions.find(_name(request)).clear_rest()
        return self._tell(show_note("No baseline is taken off."))

    def clear(self, request: gr.Request) -> dict[Any, Any]:
        """Forget the video of the session."""
        self._sessions.find(_name(request)).clear()
        return self._tell(self._start)

    def _tell(self, message: Markup) -> dict[Any, Any]:
        return {self.message: message, self.results: gr.update(visible=False)}

    def analyze(
        self,
        weights: str,
        head: str,
        faces: str,
        request: gr.Request,
        progress: gr.Progress = gr.Progress(),  # noqa: B008 - how Gradio asks for it
    ) -> Iterator[dict[Any, Any]]:
        """Analyse the video of the session; yield what the page should show meanwhile and in the end."""
        session = self._sessions.find(_name(request))
        if session.video is None:
            yield self._tell(show_problem("There is no video to analyse yet; choose one first."))
            return
        folder = session.video.parent
        yield self._tell(show_note(f"Analysing {session.video.name}.")) | {self.button: gr.update(interactive=False)}
        try:
            with self._recognizers.lend("video", weights=weights, head=head) as recognizer:
                result = _work(session, recognizer, faces=faces, progress=progress)
            yield self._show(result)
        except EmoAffectNetError as error:
            if folder.exists():  # else it only says that the files have gone
                yield self._tell(show_problem(_hide_folders(str(error), folder, session.rest)))
        except WorkDropped:
            return

    def _show(self, result: Result) -> dict[Any, Any]:
        return {
            self.message: "" if result.is_complete else show_problem(CUT_SHORT),
            self.results: gr.update(visible=True),
            self.summary: describe_outcome(result.outcome, trust=result.trust),
            self.player: str(result.annotated),
            self.figures: Markup("").join(show_figure(*each) for each in enumerate(result.figures, start=1)),
            self.segments: Markup("").join(show_segments(*each) for each in enumerate(result.segments, start=1)),
            self.files: [str(path) for path in (*result.reports, result.page, result.annotated)],
            self.excerpt: show_excerpt(result.reports[0]),
        }


def _hide_folders(message: str, folder: Path, rest: Path | None) -> str:
    """Name uploads in a message without the folders in which they lie here."""
    for place in (folder, *((rest.parent,) if rest else ())):
        message = message.replace(f"{place}{os.sep}", "")
    return message


def _work(session: Session, recognizer: EmotionRecognizer, *, faces: str, progress: gr.Progress) -> Result:
    """Analyse the video of a session for as long as it is that."""
    video = session.video

    def on_stage(stage: str, done: int, total: int | None) -> None:
        if session.video != video:
            raise WorkDropped
        progress((done, total), desc=stage, unit="frames")

    if video is None:
        raise WorkDropped
    settings = recognizer.settings | {"faces": faces}
    with session.lend_results() as folder:
        return analyze_video(
            video, recognizer, folder, faces=faces, rest=session.rest, settings=settings, on_stage=on_stage
        )


class LiveTab:
    """Send the camera's pictures as they come, see them again with what is known of the people in them."""

    def __init__(self, sessions: Sessions, recognizers: Recognizers) -> None:
        self._sessions, self._recognizers = sessions, recognizers
        _words("privacy", show_note("The picture goes to this computer's server only; nothing is stored."))
        with gr.Row():
            info = "The last two seconds, or each picture alone."
            mode = gr.Radio(list(MODES), value=MODES[0], label="Mode", info=info)
            info = "Take off what each person has looked like on average so far."
            has_baseline = gr.Checkbox(label="Baseline", info=info)
        with gr.Row():
            camera = gr.Image(
                sources=["webcam"],
                streaming=True,
                type="numpy",
                label="Camera",
                height=360,
                elem_id="camera",
                buttons=[],
            )
            with gr.Column(min_width=280):
                picture = _words("live-picture", show_note("Let the browser use the camera, then start it."))
                words = _words("live-words")
        _private(
            camera.stream,
            self.look,
            [camera, mode, has_baseline],
            [picture, words],
            stream_every=STREAM_SECONDS,
            show_progress="hidden",
            concurrency_limit=None,
        )

    def look(self, image: Image | None, mode: str, has_baseline: bool, request: gr.Request) -> tuple[str, str]:
        """Return a picture of the camera with the people in it, and the same in words."""
        if image is None:
            return "", ""
        session = self._sessions.find(_name(request))
        try:
            with self._recognizers.lend("live", weights=DEFAULT_WEIGHTS, head=None) as recognizer:
                baseline = PERSON if has_baseline else None
                if session.live is None or session.live.choices != (mode, baseline):
                    session.live = LiveView(recognizer.open_stream(mode=mode, baseline=baseline))
                picture, moments = session.live.update(image)
        except EmoAffectNetError as error:
            return "", show_problem(str(error))
        return show_picture(picture, moments), describe_moments(moments)


class _Server(uvicorn.Server):
    """Ends without a complaint about each page that is still open."""

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        logging.getLogger("uvicorn.error").setLevel(logging.CRITICAL)
        await super().shutdown(sockets)


def build(folder: Path, *, max_upload: int = MAX_UPLOAD) -> gr.Blocks:
    """Return the page, which keeps its files in `folder`; Gradio must keep its own there too, as `serve` sees to."""
    sessions, recognizers = Sessions(folder), Recognizers()
    with gr.Blocks(title="EMO-AffectNet", analytics_enabled=False, delete_cache=(3600, 86400)) as page:
        _words("title", Markup("<h1>EMO-AffectNet</h1><p>What faces in a video express, moment by moment.</p>"))
        with gr.Tab("Video"):
            VideoTab(sessions, recognizers, max_upload=max_upload)
        with gr.Tab("Live"):
            LiveTab(sessions, recognizers)
        figures = "The figures are probabilities that a network gives to what a face shows; they are not feelings."
        _words("about", show_note(f"{figures} EMO-AffectNet {__version__}"))
        page.unload(_end_of(sessions))
    assert isinstance(page, gr.Blocks)  # Gradio does not say what it enters
    keep_inside(page, folder.resolve())
    return page


def serve(
    *,
    host: str = HOST,
    port: int = PORT,
    max_upload: int = MAX_UPLOAD,
    open_browser: bool = False,
    on_ready: Callable[[str], None] = lambda address: None,
) -> None:
    """Serve the page until Ctrl-C or SIGTERM; `max_upload` is in MB, port 0 is any free one, `on_ready` hears where.

    Raises:
        UsageError: the port is taken, or cannot be listened on.
    """
    with _listen(host, port) as listener, _private_folder() as folder, _stopped_by_sigterm():
        address = f"http://{f'[{host}]' if ':' in host else host}:{listener.getsockname()[1]}/"
        app = fastapi.FastAPI(docs_url=None, redoc_url=None, openapi_url=None)
        is_local = host in LOCAL_HOSTS
        app.add_middleware(Guard, hosts=LOCAL_HOSTS if is_local else ())
        gr.mount_gradio_app(
            app,
            build(folder, max_upload=max_upload),
            "/",
            footer_links=[],
            run_history=False,
            show_error=False,
            max_file_size=max_upload << 20,
            ssr_mode=False,
            enable_monitoring=False,
            pwa=False,
            mcp_server=False,
            app_kwargs={"openapi_url": None},
            theme=_theme(),
            css=_CSS,
        )
        on_ready(address)
        if open_browser:
            webbrowser.open(address)
        config = uvicorn.Config(app, log_level="warning", timeout_graceful_shutdown=1)
        with suppress(KeyboardInterrupt):
            _Server(config).run(sockets=[listener])


@contextmanager
def _listen(host: str, port: int) -> Iterator[socket.socket]:
    """Lend a socket that listens already, so that nobody can take the port between a look and its use."""
    try:
        (family, *_, place), *_ = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
        listener = socket.create_server(place[:2], family=family)
    except (OSError, OverflowError) as error:
        reason = getattr(error, "strerror", None) or error
        raise UsageError(
            f"The page should listen on port {port} of {host}, but: {reason}. Give another port or host."
        ) from error
    with listener:
        yield listener


@contextmanager
def _private_folder() -> Iterator[Path]:
    """Lend a folder that nobody else may look into; all temporary files of this process go there, and with it."""
    former, former_gradio = tempfile.tempdir, os.environ.get("GRADIO_TEMP_DIR")
    with tempfile.TemporaryDirectory(prefix="emo-affectnet-", ignore_cleanup_errors=True) as name:
        folder = Path(name).resolve()
        tempfile.tempdir = os.environ["GRADIO_TEMP_DIR"] = str(folder)  # the only way to tell Gradio
        try:
            yield folder
        finally:
            tempfile.tempdir = former
            os.environ.pop("GRADIO_TEMP_DIR")
            if former_gradio is not None:
                os.environ["GRADIO_TEMP_DIR"] = former_gradio


@contextmanager
def _stopped_by_sigterm() -> Iterator[None]:
    """Let SIGTERM end the process as Ctrl-C does, so that files are removed."""
    former = signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, former)


def _theme() -> gr.themes.Base:
    font = [gr.themes.Font("system-ui"), gr.themes.Font("sans-serif")]
    mono = [gr.themes.Font("ui-monospace"), gr.themes.Font("monospace")]
    theme = gr.themes.Default(primary_hue="blue", font=font, font_mono=mono)
    theme.set(body_text_color_subdued="*neutral_600", body_text_color_subdued_dark="*neutral_300")
    return theme.set(block_info_text_color="*neutral_600", block_info_text_color_dark="*neutral_300")


def _private(event: Any, function: Callable[..., Any], inputs: Any, outputs: Any, **options: Any) -> Any:
    """Bind a function to an event of the page, and to nothing else; return what comes after it."""
    return event(function, inputs, outputs, api_visibility="private", **options)


def _end_of(sessions: Sessions) -> Callable[[gr.Request], None]:
    def end(request: gr.Request) -> None:  # Gradio reads the annotation to know what it should give
        sessions.end(_name(request))

    return end


def _name(request: gr.Request) -> str:
    return str(request.session_hash)


def _words(name: str, html: str = "") -> gr.HTML:
    return gr.HTML(html, elem_id=name, elem_classes="words")
