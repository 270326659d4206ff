"""Attacks that have to fail: on the files of the user, on the page in the browser, on who opens a table.

docs/security.md says what is promised, and names these tests and those elsewhere that prove it.
"""

import csv
import json
import os
import re
import signal
import socket
import stat
import subprocess
import sys
import zipfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import onnx
import pytest
import torch
from conftest import ROOT, MakeVideo, find_files
from corpus_trees import make_affectnet_npy, make_ferplus_packages
from feature_samples import make_video as make_features
from feature_samples import write_videos
from onnx import TensorProto, helper
from PIL import Image
from sibling_files import TinyNetwork, build_model, save_onnx
from weight_server import DATA, FIXTURES, WeightServer

from emo_affectnet import store
from emo_affectnet.catalogue import CATALOGUE, COLLECTIONS, Entry
from emo_affectnet.cells import name_cell, word_cell
from emo_affectnet.errors import (
    CorpusError,
    CorruptWeights,
    DownloadError,
    EmoAffectNetError,
    UnknownName,
    VideoError,
    WrongArchitecture,
    printable,
)
from emo_affectnet.feature_files import read_features
from emo_affectnet.inputs import find_inputs
from emo_affectnet.locks import alone
from emo_affectnet.networks import read_head
from emo_affectnet.pages import IndexEntry, write_index
from emo_affectnet.summary import Outcome, SummaryWriter
from emo_affectnet.training.corpora import read_ferplus, scan
from emo_affectnet.video import probe, read_frames
from emo_affectnet.weights import sniff_format
from emo_affectnet.zoo.hsemotion import SIBLINGS
from emo_affectnet.zoo.onnx_network import OnnxNetwork

place, server, make_entry, entry = FIXTURES

ESCAPES = ("../../escaped", "/tmp/../escaped", "..\\escaped", "a/../../../escaped")


def files_below(folder: Path) -> set[str]:
    return {str(path.relative_to(folder)) for path in folder.rglob("*")}


# Weights and archives


def test_no_file_of_the_catalogue_has_a_name_that_leads_elsewhere() -> None:
    for each in CATALOGUE.values():
        assert each.filename == Path(each.filename).name
        assert "\\" not in each.filename
        assert each.collection in COLLECTIONS


@pytest.mark.parametrize("name", ESCAPES)
def test_a_name_that_leads_elsewhere_is_not_fetched(place: Path, name: str) -> None:
    with pytest.raises(UnknownName):
        store.fetch(name)
    with pytest.raises(UnknownName):
        store.locate(name)
    assert not place.exists() or not files_below(place)


def test_a_link_in_the_place_of_a_part_or_a_lock_leads_nowhere(
    tmp_path: Path, place: Path, server: WeightServer, entry: Entry
) -> None:
    # where others may write, a link to any file of the user's was followed, and the file overwritten
    precious = tmp_path / "precious"
    folder = place / entry.collection
    folder.mkdir(parents=True)
    for hidden in (f".{entry.filename}.part", f".{entry.filename}.lock"):
        precious.write_bytes(b"mine")
        (folder / hidden).symlink_to(precious)
        with pytest.raises(DownloadError, match="cannot be written"):
            store.fetch(entry.name)
        assert precious.read_bytes() == b"mine"
        (folder / hidden).unlink()
    assert store.fetch(entry.name)[0].read_bytes() == DATA


def test_a_link_in_the_place_of_weights_is_replaced_and_not_written_through(
    tmp_path: Path, place: Path, entry: Entry
) -> None:
    precious = tmp_path / "precious"
    precious.write_bytes(b"mine")
    target = place / entry.collection / entry.filename
    target.parent.mkdir(parents=True)
    target.symlink_to(precious)
    assert store.fetch(entry.name) == [target]
    assert precious.read_bytes() == b"mine"
    assert not target.is_symlink()


def test_a_lock_is_no_way_to_empty_a_file(tmp_path: Path) -> None:
    (tmp_path / "precious").write_bytes(b"mine")
    (tmp_path / "lock").symlink_to(tmp_path / "precious")
    with pytest.raises(OSError, match="symbolic links"), alone(tmp_path / "lock"):
        pass
    assert (tmp_path / "precious").read_bytes() == b"mine"


@pytest.mark.parametrize("suffix", [".pt", ".pth"])
def test_entries_of_a_weight_file_are_never_unpacked(tmp_path: Path, place: Path, suffix: str) -> None:
    path = tmp_path / "in" / "deep" / f"weights{suffix}"
    path.parent.mkdir(parents=True)
    torch.save({"fc.weight": torch.zeros(2)}, path)
    with zipfile.ZipFile(path, "a") as archive:
        for name in ESCAPES:
            archive.writestr(name, b"escaped")
    before = files_below(tmp_path)
    assert sniff_format(path) == "state dict"
    with pytest.raises(EmoAffectNetError):
        store.import_file(path, trust=True)
    with pytest.raises((CorruptWeights, WrongArchitecture)):
        read_head(path)
    assert files_below(tmp_path) - {"cwd"} == before
    assert not Path("/tmp/escaped").exists()


def test_names_in_a_file_of_features_are_only_names(tmp_path: Path) -> None:
    path = tmp_path / "in" / "deep" / "features.npz"
    write_videos(path, [replace(make_features("clip", np.ones((1, 8))), name=name) for name in ESCAPES])
    before = files_below(tmp_path)
    assert len(list(read_features(path).read_all())) == len(ESCAPES)
    assert files_below(tmp_path) == before


class Intruder:
    """Runs code when it is unpickled."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[object, ...]:
        return Path.touch, (self.path,)


def with_intruder(path: Path, arrays: dict[str, Any], name: str, mark: Path) -> None:
    """Write arrays of which one is of pickled objects, as NumPy allows."""
    np.savez(path, **(arrays | {name: np.array([Intruder(mark)], object)}))


@pytest.mark.parametrize("name", ["image", "votes", "fer2013_label"])
def test_pickled_arrays_of_a_corpus_are_never_loaded(tmp_path: Path, name: str) -> None:
    root, mark = make_ferplus_packages(tmp_path / "root"), tmp_path / "was here"
    path = root / "ferplus_train.npz"
    with np.load(path) as stored:
        with_intruder(path, dict(stored), name, mark)
    for corpus in ("FER+", "FER2013"):
        scan(corpus, root)
    if name != "fer2013_label":
        with pytest.raises(CorpusError, match=r"ferplus_train\.npz should hold"):
            read_ferplus(root, "train")
    assert not mark.exists()
    np.load(path, allow_pickle=True)[name]  # the file would have done it
    assert mark.exists()


def test_a_pickled_label_of_a_corpus_is_never_loaded(tmp_path: Path) -> None:
    root, mark = make_affectnet_npy(tmp_path / "root"), tmp_path / "was here"
    np.save(root / "train_set" / "annotations" / "7_exp.npy", np.array(Intruder(mark), object))
    assert scan("AffectNet", root).problem_counts["unreadable label file"] == 2  # one is damaged anyway
    assert not mark.exists()


SIBLING = SIBLINGS["enet_b2_7"]


def outside(location: str) -> TensorProto:
    """Return a tensor that says its values lie in another file."""
    tensor = TensorProto(name="outside", data_type=TensorProto.FLOAT, dims=[2], data_location=TensorProto.EXTERNAL)
    for key, value in (("location", location), ("offset", "0"), ("length", "8")):
        tensor.external_data.add(key=key, value=value)
    return tensor


def put_in_weights(model: onnx.ModelProto, tensor: TensorProto) -> None:
    model.graph.initializer.append(tensor)


def put_in_a_node(model: onnx.ModelProto, tensor: TensorProto) -> None:
    model.graph.node.insert(0, helper.make_node("Constant", [], ["constant"], value=tensor))


def put_in_a_branch(model: onnx.ModelProto, tensor: TensorProto) -> None:
    result = helper.make_tensor_value_info("result", TensorProto.FLOAT, [2])
    branch = helper.make_graph([helper.make_node("Identity", ["outside"], ["result"])], "b", [], [result], [tensor])
    model.graph.initializer.append(helper.make_tensor("yes", TensorProto.BOOL, [], [True]))
    model.graph.node.insert(0, helper.make_node("If", ["yes"], ["taken"], then_branch=branch, else_branch=branch))


@pytest.mark.parametrize("location", ["beside.bin", "../secret.bin", "/etc/hostname"])
@pytest.mark.parametrize("put", [put_in_weights, put_in_a_node, put_in_a_branch])
def test_an_onnx_file_reads_no_other_file(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    put: Callable[[onnx.ModelProto, TensorProto], None],
    location: str,
) -> None:
    # ONNX Runtime read one from the folder of the process, where a branch inside the graph named it
    (tmp_path / "beside.bin").write_bytes(bytes(8))
    monkeypatch.chdir(tmp_path)
    model = build_model(TinyNetwork.random(SIBLING), SIBLING)
    put(model, outside(location))
    path = save_onnx(tmp_path / "model.onnx", model)
    with pytest.raises(WrongArchitecture, match="keeps its weights in a second one, which no hash covers"):
        OnnxNetwork(
            path,
            input_size=SIBLING.preprocessing.input_size,
            feature_width=SIBLING.feature_width,
            outputs=SIBLING.outputs,
        )


# Videos that name other files and addresses

PLAYLISTS = {
    "HLS": "#EXTM3U\n#EXT-X-TARGETDURATION:9\n#EXTINF:9,\n{address}/a.ts\n#EXT-X-ENDLIST\n",
    "HLS behind a mark": "\ufeff#EXTM3U\n#EXTINF:9,\n{address}/a.ts\n#EXT-X-ENDLIST\n",
    "HLS with a key": '#EXTM3U\n#EXT-X-KEY:METHOD=AES-128,URI="{address}/key"\n#EXTINF:9,\nfile:///etc/passwd\n',
    "list of parts": "ffconcat version 1.0\nfile '{address}/a.mp4'\n",
    "list of parts by protocol": "ffconcat version 1.0\nfile concat:{address}/a.mp4|file:///etc/passwd\n",
    "DASH": '<?xml version="1.0"?><MPD xmlns="urn:mpeg:dash:schema:mpd:2011" type="static" profiles="urn:mpeg:dash:'
    'profile:isoff-main:2011"><Period><AdaptationSet mimeType="video/mp4"><Representation id="1" bandwidth="1">'
    "<BaseURL>{address}/a.mp4</BaseURL></Representation></AdaptationSet></Period></MPD>",
    "SDP": "v=0\no=- 0 0 IN IP4 127.0.0.1\ns=x\nc=IN IP4 127.0.0.1\nt=0 0\nm=video {port} TCP/RTP/AVP 96\n",
    "RTSP": "[Reference]\nRef1={address}/a.mp4\n",
    "ASX": '<ASX version="3.0"><Entry><Ref href="{address}/a.wmv"/></Entry></ASX>',
    "SMIL": '<smil><body><video src="{address}/a.mp4"/></body></smil>',
    "subtitle script": "[Script Info]\nVideo File: {address}/a.mp4\n",
}


@pytest.mark.parametrize("kind", PLAYLISTS)
@pytest.mark.parametrize("suffix", [".mp4", ".m3u8"])
def test_no_list_in_the_place_of_a_video_makes_a_connection(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind: str, suffix: str
) -> None:
    monkeypatch.setattr("emo_affectnet.containers._POINTERS", {})  # the first lock; the second has to hold by itself
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
        path = tmp_path / f"list{suffix}"
        path.write_text(PLAYLISTS[kind].format(address=f"http://127.0.0.1:{port}", port=port), encoding="utf-8")
        for read in (probe, lambda path: next(read_frames(path))):
            with pytest.raises(VideoError):
                read(path)
        listener.setblocking(False)
        with pytest.raises(BlockingIOError):
            listener.accept()


def test_an_mp4_that_says_its_pictures_lie_elsewhere_opens_nothing(tmp_path: Path, make_video: MakeVideo) -> None:
    video, secret = make_video("clip.mp4", frames=5), make_video("secret.mp4", frames=5, level=200)
    content = video.read_bytes()
    here = b"\x00\x00\x00\x0curl \x00\x00\x00\x01"  # flag 1: in this file
    assert content.count(here) == 1
    address = f"file://{secret}\0".encode()
    there = (12 + len(address)).to_bytes(4, "big") + b"url \x00\x00\x00\x00" + address
    place = content.index(here)
    grown = bytearray(content[:place] + there + content[place + len(here) :])
    for name in (b"moov", b"trak", b"mdia", b"minf", b"dinf", b"dref"):
        box = grown.index(name) - 4
        size = int.from_bytes(grown[box : box + 4], "big") + len(there) - len(here)
        grown[box : box + 4] = size.to_bytes(4, "big")
    video.write_bytes(bytes(grown))
    try:
        levels = {round(float(frame.image.mean())) for frame in read_frames(video)}
    except VideoError:
        levels = set()
    assert not levels & set(range(190, 211))


# Tables and pages that others open

FORMULAS = ('=HYPERLINK("http://evil.example")', "+1+cmd|'/c calc'!A0", "-2+3", "@SUM(1)", "\t=1", "a\n=1", "=\x1b[2J")


def is_formula(cell: str) -> bool:
    """Whether a spreadsheet computes a cell, which for some begins after blanks."""
    return cell.lstrip("\t\r\n ")[:1] in ("=", "+", "-", "@") and not re.fullmatch(r"-?\d[\d.e+-]*", cell)


@pytest.mark.parametrize("text", FORMULAS)
def test_no_name_or_word_becomes_a_formula(text: str) -> None:
    assert not is_formula(name_cell(text))
    assert not is_formula(word_cell(text))
    assert name_cell(text).isprintable()
    assert Path(name_cell("-a.mp4")) == Path("-a.mp4")
    assert (name_cell("a=b.mp4"), word_cell("not-happy")) == ("a=b.mp4", "not-happy")


def test_predictions_hold_no_formulas(tmp_path: Path) -> None:
    scores = pytest.importorskip("emo_affectnet.training.clip_scores")
    classes = ("=1+1", "calm")
    clips = _Stub(names=FORMULAS, labels=[classes[0]] * len(FORMULAS))
    predictions = _Stub(labels=[None, *[classes[0]] * (len(FORMULAS) - 1)], scores=[(0.5, -0.5)] * len(FORMULAS))
    scored = _Stub(clips=clips, predictions=predictions, classifier=_Stub(classes=classes))
    scores.write_predictions(scored, tmp_path / "predictions.csv")
    with open(tmp_path / "predictions.csv", newline="", encoding="utf-8") as file:
        rows = list(csv.reader(file))
    assert len(rows) == len(FORMULAS) + 1
    assert not [cell for row in rows for cell in row if is_formula(cell)]


class _Stub:
    """Has what it is given."""

    def __init__(self, **values: object) -> None:
        self.__dict__.update(values)


def test_the_summary_holds_no_formulas(tmp_path: Path) -> None:
    with SummaryWriter(tmp_path / "summary.csv", unfinished=tmp_path) as writer:
        for name in FORMULAS:
            writer.add(Outcome(name, "error", message=f"{name} is no video."))
    with open(tmp_path / "summary.csv", newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == len(FORMULAS)
    assert not [cell for row in rows for cell in row.values() if is_formula(cell)]
    assert all(row["file"].isprintable() for row in rows)


@pytest.mark.parametrize("name", ["=1+1.mp4", "@SUM(1).mp4", "-2+3.mp4", "a\n=1.mp4"])
def test_a_video_named_like_a_formula_is_labelled_as_a_path(tmp_path: Path, name: str) -> None:
    (tmp_path / name).touch()
    (found,), _ = find_inputs([tmp_path])
    assert not is_formula(found.label)
    assert found.label.isprintable()


def test_errors_command_no_terminal() -> None:
    error = VideoError('Expected a video in "\x1b]0;owned\x07\r\nevil\u202e.mp4", but it is none.')
    assert str(error) == r'Expected a video in "\x1b]0;owned\x07\r\nevil\u202e.mp4", but it is none.'
    assert printable("caf\N{LATIN SMALL LETTER E WITH ACUTE} \N{GRINNING FACE}") == "caf\xe9 \U0001f600"
    assert printable(b"caf\xe9".decode("utf-8", "surrogateescape")) == "caf\ufffd"


def test_a_page_in_the_index_is_a_file_whatever_its_name(tmp_path: Path) -> None:
    names = ("javascript:alert(1)", "data:text/html,x", '"><script>alert(1)</script>')
    entries = [IndexEntry(name, "ok", Path(f"{name}.html"), "Happiness") for name in names]
    write_index(entries, tmp_path / "index.html")
    text = (tmp_path / "index.html").read_text(encoding="utf-8")
    addresses = [address for address in re.findall(r'href="([^"]*)"', text) if address != "data:,"]
    assert len(addresses) == len(names)
    assert not [address for address in addresses if ":" in address]
    assert "<script>alert" not in text


# The page in the browser

SERVE = """
from emo_affectnet.app import serve
serve(port=0, max_upload=2, on_ready=lambda address: print(address, flush=True))
"""


@dataclass
class App:
    """The page, in a process of its own, as somebody meets it who can reach its port and keeps to no rules."""

    address: str
    temporary: Path
    client: httpx.Client

    def find(self, event: str) -> int:
        """Return the number of what is called at an event of the page."""
        calls = self.client.get("config").json()["dependencies"]
        return next(call["id"] for call in calls if any(target[1] == event for target in call["targets"]))

    def call(self, event: str, *data: object) -> dict[str, Any]:
        """Call a function of the page with any data; return the last that is said of it."""
        session = os.urandom(8).hex()
        order = {"data": data, "fn_index": self.find(event), "session_hash": session, "event_data": None}
        assert self.client.post("gradio_api/queue/join", json=order).status_code == 200
        with self.client.stream("GET", "gradio_api/queue/data", params={"session_hash": session}) as answer:
            for line in answer.iter_lines():
                if "process_completed" in line:
                    return json.loads(line.removeprefix("data: "))
        raise AssertionError("no answer")


@pytest.fixture(scope="module")
def app(tmp_path_factory: pytest.TempPathFactory) -> Iterator[App]:
    pytest.importorskip("gradio")
    temporary = tmp_path_factory.mktemp("temporary")
    environment = os.environ | {"TMPDIR": str(temporary), "TF_CPP_MIN_LOG_LEVEL": "3", "GLOG_minloglevel": "3"}
    with (
        subprocess.Popen(
            [sys.executable, "-c", SERVE],
            cwd=ROOT,
            env=environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
        ) as process,
        httpx.Client(trust_env=False, timeout=60) as client,
    ):
        assert process.stdout is not None
        address = process.stdout.readline().strip()
        client.base_url = httpx.URL(address)
        yield App(address, temporary, client)
        process.send_signal(signal.SIGTERM)


SECRET = "root:"
PATHS = (
    "gradio_api/file=/etc/passwd",
    "gradio_api/file=%2Fetc%2Fpasswd",
    "gradio_api/file=file:///etc/passwd",
    "gradio_api/file=/proc/self/root/etc/passwd",
    "gradio_api/file=../../../../../../etc/passwd",
    "gradio_api/file/etc/passwd",
    "static/%2e%2e/%2e%2e/%2e%2e/%2e%2e/%2e%2e/%2e%2e/%2e%2e/%2e%2e/etc/passwd",
    "assets/..%2f..%2f..%2f..%2f..%2f..%2f..%2f..%2f..%2fetc%2fpasswd",
    "svg/%2fetc%2fpasswd",
    "custom_component/x/client/%2fetc%2fpasswd",
    "file=/etc/passwd",
)


@pytest.mark.parametrize("path", PATHS)
def test_no_path_leads_to_another_file(app: App, path: str) -> None:
    answer = app.client.get(path)
    assert answer.status_code in (403, 404)
    assert SECRET not in answer.text


def test_the_folder_of_the_page_is_private_and_not_listed(app: App) -> None:
    (folder,) = app.temporary.glob("emo-affectnet-*")
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700
    for path in (folder, app.temporary):
        assert app.client.get(f"gradio_api/file={path}").status_code in (403, 404)


def test_a_link_in_the_folder_of_the_page_leads_nowhere(app: App) -> None:
    (folder,) = app.temporary.glob("emo-affectnet-*")
    (folder / "link.txt").symlink_to("/etc/passwd")
    assert app.client.get(f"gradio_api/file={folder / 'link.txt'}").status_code in (403, 404)
    (folder / "link.txt").unlink()


@pytest.mark.parametrize("name", ["../../evil.mp4", "/tmp/evil.mp4", "..\\..\\evil.mp4", ".bashrc", "a\0b.mp4"])
def test_an_upload_lands_in_the_folder_of_the_page_whatever_its_name(app: App, name: str) -> None:
    (folder,) = app.temporary.glob("emo-affectnet-*")
    (arrived,) = app.client.post("gradio_api/upload", files={"files": (name, b"evil")}).json()
    assert Path(arrived).resolve().parent.parent == folder
    assert [path for path in find_files(app.temporary) if folder not in path.parents] == []
    assert not Path("/tmp/evil.mp4").exists()


def described(path: str, **more: object) -> dict[str, object]:
    """Return a file as Gradio describes uploads."""
    return {"path": path, "meta": {"_type": "gradio.FileData"}, **more}


@pytest.fixture
def secret(tmp_path: Path) -> Path:
    """A picture on the server's disk that nobody uploaded."""
    Image.new("RGB", (64, 64), (200, 30, 10)).save(tmp_path / "secret.png")
    return tmp_path / "secret.png"


def test_no_file_of_the_server_passes_for_an_upload(app: App, secret: Path) -> None:
    # Gradio copied any file that was named as an upload into its cache, as long as it had not launched the page itself
    answer = app.call("upload", described(str(secret)))
    assert "is here" not in json.dumps(answer)
    assert not [path for path in find_files(app.temporary) if path.name.startswith("secret")]
    assert secret.exists()


@pytest.mark.parametrize("more", [{}, {"is_stream": True}, {"url": "/gradio_api/file=/etc/hostname"}], ids=str)
def test_no_file_of_the_server_passes_for_a_picture_of_the_camera(
    app: App, secret: Path, more: dict[str, object]
) -> None:
    answer = app.call("stream", described(str(secret), **more), "static")
    assert answer["success"] is False
    assert "data:image" not in json.dumps(answer)
    assert not [path for path in find_files(app.temporary) if path.name.startswith("secret")]


@pytest.mark.parametrize("event", ["upload", "stream"])
def test_no_address_passes_for_an_upload(app: App, event: str) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        address = f"http://127.0.0.1:{listener.getsockname()[1]}/a.png"
        more = ["static"] if event == "stream" else []
        for upload in (described(address), described("a.png", url=address), described(address, is_stream=True)):
            assert "is here" not in json.dumps(app.call(event, upload, *more))
        listener.setblocking(False)
        with pytest.raises(BlockingIOError):
            listener.accept()


def test_a_video_of_another_session_cannot_be_taken(app: App) -> None:
    (arrived,) = app.client.post("gradio_api/upload", files={"files": ("mine.mp4", b"mine")}).json()
    assert "mine.mp4 is here" in json.dumps(app.call("upload", described(arrived)))
    (taken,) = (path for path in find_files(app.temporary) if path.name == "mine.mp4")
    assert taken != Path(arrived)  # under a name that no other session has seen
    assert "is here" not in json.dumps(app.call("upload", described(str(taken))))
    assert taken.exists()


def test_the_name_of_an_upload_is_text(app: App) -> None:
    name = "<img src=x onerror=alert(1)>.mp4"
    (arrived,) = app.client.post("gradio_api/upload", files={"files": ("a.mp4", b"evil")}).json()
    renamed = Path(arrived).rename(Path(arrived).with_name(name))  # Gradio would clean it
    answer = json.dumps(app.call("upload", described(str(renamed))))
    assert "&lt;img src=x onerror=alert(1)&gt;.mp4 is here" in answer
    assert "<img" not in answer


@pytest.mark.parametrize(
    "origin", ["https://evil.example", "null", "http://127.0.0.1.evil.example", "http://evil:7860"]
)
def test_a_page_of_another_site_can_send_nothing(app: App, origin: str) -> None:
    files = {"files": ("a.mp4", b"evil")}
    assert app.client.post("gradio_api/upload", files=files, headers={"origin": origin}).status_code == 404
    own = app.address.rstrip("/")
    assert app.client.post("gradio_api/upload", files=files, headers={"origin": own}).status_code == 200
