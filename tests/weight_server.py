"""A real server on 127.0.0.1 that answers as badly as the internet does, and counts what it sent; and a store to fill.

For the tests of the store: small files, a catalogue that lists them, places that nobody else uses.
"""

import hashlib
import io
import random
import threading
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
import torch

from emo_affectnet import weights
from emo_affectnet.catalogue import CATALOGUE, COLLECTIONS, Entry
from emo_affectnet.store import downloads, pins

PART = 6 * downloads.CHUNK  # a break within a chunk would lose its beginning
SIZE = 3 * PART  # 294912
DATA = random.Random(7).randbytes(SIZE)
LFS = b"version https://git-lfs.github.com/spec/v1\noid sha256:00\nsize 99\n"
WEB_PAGE = b"\n<html><body>Not found</body></html>"

Answer = Callable[["Handler", bytes], None]


class Handler(BaseHTTPRequestHandler):
    server: "WeightServer"

    def do_GET(self) -> None:  # noqa: N802  # http.server's own name
        filename = self.path.rpartition("/")[2]
        self.server.asked.append((filename, self.headers.get("Range")))
        answers = self.server.answers.get(filename, [whole])
        answer = answers.pop(0) if len(answers) > 1 else answers[0]
        answer(self, self.server.files.get(filename, b""))

    @property
    def start(self) -> int:
        """The byte from which on the file is asked for."""
        return int((self.headers.get("Range") or "bytes=0-").removeprefix("bytes=").rstrip("-"))

    def head(self, status: int, *, length: int | None, **headers: str) -> None:
        self.send_response(status)
        if length is not None:
            self.send_header("Content-Length", str(length))
        for name, value in headers.items():
            self.send_header(name.replace("_", "-"), value)
        self.end_headers()

    def body(self, data: bytes) -> None:
        self.server.sent += len(data)  # first, because a test may ask as soon as the data are there
        self.wfile.write(data)
        self.wfile.flush()

    def log_message(self, *arguments: object) -> None:
        """Say nothing."""


class WeightServer(ThreadingHTTPServer):
    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.files: dict[str, bytes] = {}
        self.answers: dict[str, list[Answer]] = {}  # to the first request, the second, ...; the last one stays
        self.asked: list[tuple[str, str | None]] = []  # filename, Range
        self.sent = 0  # bytes of files
        self.finished = threading.Event()  # lets stalled answers go

    @property
    def address(self) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}"

    def handle_error(self, *arguments: object) -> None:
        """A client that goes away is no news."""


@contextmanager
def weight_server() -> Iterator[WeightServer]:
    with WeightServer() as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield server
        server.finished.set()
        server.shutdown()
        thread.join()


def whole(handler: Handler, data: bytes) -> None:
    """Send what is asked for."""
    start = handler.start
    if start and start >= len(data):
        return handler.head(416, length=0)
    status, content_range = (206, f"bytes {start}-{len(data) - 1}/{len(data)}") if start else (200, "")
    handler.head(status, length=len(data) - start, **({"Content_Range": content_range} if start else {}))
    return handler.body(data[start:])


def ignores_range(handler: Handler, data: bytes) -> None:
    handler.head(200, length=len(data))
    handler.body(data)


def without_length(handler: Handler, data: bytes) -> None:
    handler.head(200, length=None)
    handler.body(data)


def wrong_range(handler: Handler, data: bytes) -> None:
    """Answer a Range with another one."""
    if not handler.start:
        return whole(handler, data)
    handler.head(206, length=len(data) - 500, Content_Range=f"bytes 500-{len(data) - 1}/{len(data)}")
    return handler.body(data[500:])


def drops_after(count: int) -> Answer:
    """Close the connection after so many bytes."""

    def answer(handler: Handler, data: bytes) -> None:
        start = handler.start
        handler.head(206 if start else 200, length=len(data) - start, Content_Range=f"bytes {start}-/{len(data)}")
        handler.body(data[start : start + count])

    return answer


def stalls_after(count: int) -> Answer:
    """Send so many bytes, then nothing, with the connection open."""

    def answer(handler: Handler, data: bytes) -> None:
        drops_after(count)(handler, data)
        handler.server.finished.wait(10)

    return answer


def claims(length: int) -> Answer:
    """Send the whole file under a false length."""

    def answer(handler: Handler, data: bytes) -> None:
        handler.head(200, length=length)
        handler.body(data)

    return answer


def status(code: int) -> Answer:
    return lambda handler, data: handler.head(code, length=0)


def page(handler: Handler, data: bytes) -> None:
    """An error page under a good status, as a login of a hotel's network."""
    text = b"<!DOCTYPE html><html><body>Please log in</body></html>"
    handler.head(200, length=len(text), Content_Type="text/html")
    handler.body(text)


def leads_to(filename: str) -> Answer:
    return lambda handler, data: handler.head(302, length=0, Location=f"/elsewhere/{filename}")


# The catalogue and the places


MakeEntry = Callable[..., Entry]


def state_dict(value: float = 0.0) -> bytes:
    file = io.BytesIO()
    torch.save({"weight": torch.full((4,), value)}, file)
    return file.getvalue()


def script() -> bytes:
    file = io.BytesIO()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # of TorchScript itself
        torch.jit.save(torch.jit.script(torch.nn.Linear(2, 2)), file)
    return file.getvalue()


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The only places here are this one and an empty cache."""
    for name in ("EMO_AFFECTNET_MIRRORS", "HTTP_PROXY", "http_proxy", "ALL_PROXY", "all_proxy"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("EMO_AFFECTNET_WEIGHTS", str(tmp_path / "place"))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setattr(weights, "bundled_folder", lambda: tmp_path / "weights" / "bundled")
    monkeypatch.setattr(downloads, "PAUSES", (0.0, 0.0))
    monkeypatch.setattr(downloads, "TIMEOUTS", (0.3, 0.3))
    monkeypatch.setattr(pins, "_of_this_process", [])
    return tmp_path / "place"


@pytest.fixture
def server() -> Iterator[WeightServer]:
    with weight_server() as server:
        yield server


@pytest.fixture
def make_entry(place: Path, server: WeightServer, monkeypatch: pytest.MonkeyPatch) -> MakeEntry:
    """Put a small file into the catalogue and onto the server: `make_entry("model.onnx", DATA)`."""

    def make(filename: str = "model.h5", data: bytes = DATA, *, is_known: bool = True, **fields: object) -> Entry:
        server.files[filename] = data
        entry = Entry(
            name=f"small/{filename}",
            collection="small",
            kind="sibling",
            filename=filename,
            urls=(f"{server.address}/{filename}",),
            page="https://example.org/small",
            license="CC0",
            sha256=hashlib.sha256(data).hexdigest() if is_known else None,
            size=len(data) if is_known else None,
        )
        entry = replace(entry, **fields)
        monkeypatch.setitem(CATALOGUE, entry.name, entry)
        monkeypatch.setitem(COLLECTIONS, "small", (*COLLECTIONS.get("small", ()), entry.name))
        return entry

    return make


@pytest.fixture
def entry(make_entry: MakeEntry) -> Entry:
    return make_entry()


FIXTURES = (place, server, make_entry, entry)  # a test module takes them as names of its own
