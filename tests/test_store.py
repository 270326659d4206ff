"""Finding weight files, and fetching them from a real server on this machine that misbehaves; all files are small."""

import errno
import os
import shutil
import threading
from collections import namedtuple
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest
import requests
from conftest import files_in
from weight_server import (
    DATA,
    FIXTURES,
    LFS,
    PART,
    SIZE,
    WEB_PAGE,
    MakeEntry,
    WeightServer,
    claims,
    drops_after,
    ignores_range,
    leads_to,
    page,
    stalls_after,
    state_dict,
    status,
    whole,
    without_length,
    wrong_range,
)

from emo_affectnet import store, weights
from emo_affectnet.catalogue import Entry
from emo_affectnet.errors import CorruptWeights, DownloadError, MissingWeights, UnknownName
from emo_affectnet.locks import alone
from emo_affectnet.store import downloads, fetch, find, locate, verify_all

place, server, make_entry, entry = FIXTURES


# A server that does what it should


def test_file_is_fetched_once_and_found_from_then_on(place: Path, server: WeightServer, entry: Entry) -> None:
    assert find(entry.name) is None
    heard: list[tuple[str, int, int | None]] = []
    paths = fetch(entry.name, on_progress=lambda entry, done, total: heard.append((entry.name, done, total)))
    assert paths == [place / "small" / "model.h5"]
    assert paths[0].read_bytes() == DATA
    assert heard[-1] == (entry.name, SIZE, SIZE)
    assert [done for _, done, _ in heard] == sorted(done for _, done, _ in heard)
    assert fetch(entry.name) == [find(entry.name)] == [locate(entry.name)] == paths
    assert server.asked == [("model.h5", None)]
    assert server.sent == SIZE
    assert files_in(place) == ["small/model.h5"]  # no lock, no part file; a sibling has no record


def test_collection_brings_all_its_files(place: Path, server: WeightServer, make_entry: MakeEntry) -> None:
    make_entry("a.h5", b"abc" * 100)
    make_entry("b.onnx", b"def" * 100)
    assert fetch("small") == [place / "small" / "a.h5", place / "small" / "b.onnx"]
    assert [name for name, _ in server.asked] == ["a.h5", "b.onnx"]


def test_record_beside_a_head_says_what_it_never_saw(make_entry: MakeEntry) -> None:
    head = make_entry("head.pt", kind="head", trained_on=("SAVEE",), held_out="RAVDESS")
    backbone = make_entry("back.pt", DATA[1:], kind="backbone", trained_on=("faces",))
    for entry in (head, backbone):
        record = weights.verify(*fetch(entry.name), needs_record=True)
        assert record is not None
        assert (record.name, record.kind, record.license) == (entry.name, entry.kind, "CC0")
        assert (record.trained_on, record.held_out) == (entry.trained_on, entry.held_out)
        expected = weights.PUBLISHED_PREPROCESSING if entry is backbone else None
        assert record.preprocessing == expected


def test_record_that_was_lost_is_written_again_without_the_network(server: WeightServer, make_entry: MakeEntry) -> None:
    entry = make_entry("head.pt", kind="head", trained_on=("SAVEE",), held_out="RAVDESS")
    (path,) = fetch(entry.name)
    path.with_suffix(".json").unlink()
    fetch(entry.name, offline=True)
    assert weights.verify(path, needs_record=True)
    assert len(server.asked) == 1


def test_git_blob_is_as_good_as_a_sha256(make_entry: MakeEntry) -> None:
    # `printf abc | git hash-object --stdin`
    entry = make_entry("model.h5", b"abc", sha256=None, git_blob="f2ba8f84ab5c1bce84a7b441cb1959cfc7093b7f")
    fetch(entry.name)
    wrong = make_entry("other.h5", b"abd", sha256=None, git_blob="f2ba8f84ab5c1bce84a7b441cb1959cfc7093b7f")
    with pytest.raises(CorruptWeights):
        fetch(wrong.name)


# Servers that do not


@pytest.mark.parametrize(("fault", "part"), [(drops_after, PART // 2), (stalls_after, PART)], ids=["drops", "stalls"])
def test_broken_transfer_goes_on_where_it_broke(server: WeightServer, entry: Entry, fault, part: int) -> None:
    server.answers["model.h5"] = [fault(part)]  # each time, and more often than one that brings nothing is asked
    (path,) = fetch(entry.name)
    assert path.read_bytes() == DATA
    continued = [("model.h5", f"bytes={start}-") for start in range(part, SIZE, part)]
    assert server.asked == [("model.h5", None), *continued]
    assert server.sent == SIZE  # not a byte twice


def test_next_run_goes_on_where_the_last_was_interrupted(place: Path, server: WeightServer, entry: Entry) -> None:
    def interrupt(entry: Entry, done: int, total: int | None) -> None:
        raise KeyboardInterrupt

    server.answers["model.h5"] = [drops_after(downloads.CHUNK), whole]
    with pytest.raises(KeyboardInterrupt):
        fetch(entry.name, on_progress=interrupt)
    assert files_in(place) == ["small/.model.h5.part"]
    assert find(entry.name) is None
    (path,) = fetch(entry.name)
    assert path.read_bytes() == DATA
    assert server.asked[1:] == [("model.h5", f"bytes={downloads.CHUNK}-")]
    assert server.sent == SIZE
    assert files_in(place) == ["small/model.h5"]


def test_part_that_is_whole_already_needs_no_download(place: Path, server: WeightServer, entry: Entry) -> None:
    (place / "small").mkdir(parents=True)
    (place / "small" / ".model.h5.part").write_bytes(DATA)
    fetch(entry.name)
    assert server.asked == []


@pytest.mark.parametrize(
    "answers",
    [[ignores_range], [wrong_range, whole], [status(416), whole], [whole]],
    ids=["200", "other range", "416", "206"],
)
@pytest.mark.parametrize("start", [DATA[:1000], b"x" * 1000], ids=["right", "of another file"])
def test_part_is_continued_or_begun_anew_whatever_the_server_says(
    place: Path, server: WeightServer, entry: Entry, answers: list, start: bytes
) -> None:
    (place / "small").mkdir(parents=True)
    (place / "small" / ".model.h5.part").write_bytes(start)
    server.answers["model.h5"] = list(answers)
    (path,) = fetch(entry.name)
    assert path.read_bytes() == DATA
    assert server.asked[0] == ("model.h5", "bytes=1000-")


def test_part_longer_than_the_file_is_begun_anew(place: Path, server: WeightServer, entry: Entry) -> None:
    (place / "small").mkdir(parents=True)
    (place / "small" / ".model.h5.part").write_bytes(DATA + b"more")
    assert fetch(entry.name)[0].read_bytes() == DATA
    assert server.asked[1:] == [("model.h5", None)]


def test_server_that_tells_no_length_is_followed(server: WeightServer, entry: Entry) -> None:
    server.answers["model.h5"] = [without_length]
    assert fetch(entry.name)[0].read_bytes() == DATA


def test_server_that_never_stops_is_stopped(place: Path, server: WeightServer, entry: Entry) -> None:
    """It tells no length, and would fill the disk."""
    server.files["model.h5"] = DATA * 2
    server.answers["model.h5"] = [without_length]
    with pytest.raises(DownloadError, match="sends more than the 294912 bytes that were expected"):
        fetch(entry.name)
    assert (place / "small" / ".model.h5.part").stat().st_size <= SIZE + downloads.CHUNK
    server.files["model.h5"] = DATA
    assert fetch(entry.name)[0].read_bytes() == DATA


def test_end_before_the_last_byte_is_noticed_where_the_library_below_does_not(
    server: WeightServer, entry: Entry, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As urllib3 1 did; from 2 on it counts by itself."""
    read = requests.Response.iter_content

    def forgive(response: requests.Response, size: int) -> Iterator[bytes]:
        with suppress(requests.RequestException):
            yield from read(response, size)

    monkeypatch.setattr(requests.Response, "iter_content", forgive)
    server.answers["model.h5"] = [drops_after(0)]
    with pytest.raises(DownloadError, match="the connection ended after 0 of 294912 bytes"):
        fetch(entry.name)
    server.answers["model.h5"] = [drops_after(PART)]
    assert fetch(entry.name)[0].read_bytes() == DATA


def test_redirect_is_followed(server: WeightServer, entry: Entry) -> None:
    server.files["moved.h5"] = DATA
    server.answers["model.h5"] = [leads_to("moved.h5")]
    assert fetch(entry.name)[0].read_bytes() == DATA
    assert [name for name, _ in server.asked] == ["model.h5", "moved.h5"]


@pytest.mark.parametrize(
    ("answer", "count", "error", "words"),
    [
        (status(404), 1, DownloadError, "HTTP 404"),
        (status(403), 1, DownloadError, "HTTP 403"),
        (status(500), 3, DownloadError, "HTTP 500"),
        (status(429), 3, DownloadError, "HTTP 429"),
        (stalls_after(0), 3, DownloadError, "no connection, or it stalled"),
        (drops_after(0), 3, DownloadError, "the connection broke off"),
        (claims(SIZE - 1), 1, DownloadError, "offers 294911 bytes where 294912 were expected"),
        (claims(SIZE + 1), 1, DownloadError, "offers 294913 bytes where 294912 were expected"),
        (page, 1, DownloadError, "offers 54 bytes where 294912 were expected"),
        (leads_to("model.h5"), 31, DownloadError, "it only leads on to other addresses"),
    ],
    ids=["404", "403", "500", "429", "stall", "drop", "short", "long", "page", "circle"],
)
def test_bad_answer_is_told_with_its_address(
    place: Path, server: WeightServer, entry: Entry, answer, count: int, error: type[Exception], words: str
) -> None:
    server.answers["model.h5"] = [answer]
    with pytest.raises(error) as caught:
        fetch(entry.name)
    message = str(caught.value)
    assert message.startswith(f"model.h5 could not be fetched: {server.address}/model.h5: {words}")
    assert message.endswith(
        "Try again later, give another address with --mirror, or get it through https://example.org/small and run "
        "'emo-affectnet weights import model.h5'."
    )
    assert len(server.asked) == count  # 31: requests follows thirty times
    assert not any(path.endswith("model.h5") for path in files_in(place))


def test_length_that_only_a_lie_explains_is_refused_where_no_size_is_known(
    place: Path, server: WeightServer, make_entry: MakeEntry
) -> None:
    entry = make_entry(size=None)
    server.answers["model.h5"] = [claims(SIZE - 1)]
    with pytest.raises(CorruptWeights, match=r"brought another file \(294911 bytes\)"):
        fetch(entry.name)
    server.answers["model.h5"] = [claims(SIZE + 1)]  # then the byte after the last cannot be had
    with pytest.raises(DownloadError, match=r"the connection broke off"):
        fetch(entry.name)
    assert "small/model.h5" not in files_in(place)


@pytest.mark.parametrize(
    ("data", "words"),
    [
        (DATA[:-1] + b"x", "brought another file (294912 bytes)"),
        (LFS, "brought a git-lfs pointer, a text of 65 bytes"),
        (WEB_PAGE, "brought a web page of 36 bytes, such as a login or an error"),
        (b"", "brought an empty file"),
        (state_dict()[:-100], "brought cut short or damaged ("),
    ],
    ids=["one byte", "pointer", "page", "empty", "torn zip"],
)
def test_wrong_file_never_gets_the_name(
    place: Path, server: WeightServer, make_entry: MakeEntry, data: bytes, words: str
) -> None:
    entry = make_entry(size=None)
    server.files["model.h5"] = data
    with pytest.raises(CorruptWeights) as caught:
        fetch(entry.name)
    assert words in str(caught.value)
    assert files_in(place) == []
    assert len(server.asked) == 1


def test_mirrors_are_asked_in_order_and_the_last_resort_is_the_publisher(
    server: WeightServer, entry: Entry, monkeypatch: pytest.MonkeyPatch
) -> None:
    server.answers["model.h5"] = [status(404), drops_after(PART), status(404), whole]
    monkeypatch.setenv("EMO_AFFECTNET_MIRRORS", f"{server.address}/three {server.address}/four")
    heard: list[str] = []
    asked = server.RequestHandlerClass.do_GET

    def listen(handler) -> None:
        heard.append(handler.path)
        asked(handler)

    monkeypatch.setattr(server.RequestHandlerClass, "do_GET", listen)
    (path,) = fetch(entry.name, mirrors=[f"{server.address}/one/", f"{server.address}/two"])
    assert path.read_bytes() == DATA
    assert heard == ["/one/model.h5", "/two/model.h5", "/two/model.h5", "/three/model.h5"]
    assert server.sent == SIZE  # the third address continued what the second began


def test_no_network_is_told_and_leaves_nothing(place: Path, server: WeightServer, make_entry: MakeEntry) -> None:
    entry = make_entry(urls=("http://127.0.0.1:9/model.h5", "nonsense", "file:///etc/passwd"))
    with pytest.raises(DownloadError) as caught:
        fetch(entry.name)
    message = str(caught.value)
    assert "http://127.0.0.1:9/model.h5: no connection, or it stalled; nonsense: not an address" in message
    assert "file:///etc/passwd: not an address that can be asked" in message
    assert files_in(place) == []


def test_offline_asks_nobody(place: Path, server: WeightServer, entry: Entry) -> None:
    with pytest.raises(MissingWeights, match=r"model\.h5 \(small/model\.h5\) is not here\."):
        fetch(entry.name, offline=True, mirrors=[server.address])
    assert (server.asked, place.exists()) == ([], False)
    fetch(entry.name)
    assert fetch(entry.name, offline=True) == [locate(entry.name)]


# Disks


def test_too_little_room_is_told_before_anything_is_written(
    place: Path, server: WeightServer, entry: Entry, monkeypatch: pytest.MonkeyPatch
) -> None:
    usage = namedtuple("usage", "total used free")
    monkeypatch.setattr(shutil, "disk_usage", lambda path: usage(0, 0, 100_000))
    with pytest.raises(DownloadError) as caught:
        fetch(entry.name, mirrors=[f"{server.address}/one"])
    assert "has 0.1 MB free, but 0.3 MB are still to come: 0.2 MB are missing." in str(caught.value)
    assert files_in(place) == []
    assert len(server.asked) == 1  # another address would not make room


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="only Linux has a disk that is always full")
def test_disk_that_is_full_after_all_is_told(
    place: Path, server: WeightServer, entry: Entry, monkeypatch: pytest.MonkeyPatch
) -> None:
    (place / "small").mkdir(parents=True)
    (place / "small" / ".model.h5.part").symlink_to("/dev/full")
    monkeypatch.setattr(downloads, "open_itself", os.open)  # which follows links
    with pytest.raises(DownloadError) as caught:
        fetch(entry.name, mirrors=[f"{server.address}/one"])
    assert str(caught.value) == (
        f"model.h5 cannot be written to {place / 'small'}: No space left on device. Make room there, or set "
        "EMO_AFFECTNET_WEIGHTS to another folder."
    )
    assert len(server.asked) == 1


def test_disk_that_fails_in_the_middle_keeps_the_part(place: Path, entry: Entry) -> None:
    def fail(entry: Entry, done: int, total: int | None) -> None:
        raise OSError(errno.EIO, os.strerror(errno.EIO))

    with pytest.raises(DownloadError, match=r"cannot be written to .*small: Input/output error\. Make room"):
        fetch(entry.name, on_progress=fail)
    assert files_in(place) == ["small/.model.h5.part"]


def test_record_that_cannot_be_written_is_warned_of(place: Path, make_entry: MakeEntry, caplog) -> None:
    entry = make_entry("head.pt", kind="head", trained_on=("SAVEE",), held_out="RAVDESS")
    (place / "small" / "head.json").mkdir(parents=True)  # in the way, for root too
    assert fetch(entry.name) == [place / "small" / "head.pt"]
    assert "head.pt cannot be written beside it: Is a directory" in caplog.text


@pytest.mark.parametrize(
    "spoil",
    [
        lambda place: place.write_bytes(b"a file"),
        pytest.param(
            lambda place: (place.mkdir(), place.chmod(0o500)),
            marks=pytest.mark.skipif(os.name == "nt" or os.geteuid() == 0, reason="root may write everywhere"),
        ),
    ],
    ids=["a file", "not permitted"],
)
def test_place_that_cannot_be_written_is_passed_over(tmp_path: Path, place: Path, entry: Entry, spoil) -> None:
    spoil(place)
    assert fetch(entry.name) == [tmp_path / "cache" / "emo_affectnet" / "small" / "model.h5"]
    assert locate(entry.name).parts[-4:] == ("cache", "emo_affectnet", "small", "model.h5")


def test_no_place_at_all_is_told_with_the_reasons(tmp_path: Path, place: Path, entry: Entry) -> None:
    place.write_bytes(b"a file")
    (tmp_path / "cache").write_bytes(b"a file")
    with pytest.raises(DownloadError) as caught:
        fetch(entry.name)
    assert "place: Not a directory; " in str(caught.value)
    assert str(caught.value).endswith("Set EMO_AFFECTNET_WEIGHTS to one.")


def test_two_who_fetch_one_file_download_it_once(place: Path, server: WeightServer, entry: Entry) -> None:
    threads = [threading.Thread(target=fetch, args=(entry.name,)) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert locate(entry.name).read_bytes() == DATA
    assert server.sent == SIZE
    assert files_in(place) == ["small/model.h5"]


def test_lock_holds_for_those_who_come_after_one_that_waited(tmp_path: Path) -> None:
    """Who waits for a lock file that is then removed gets one that nobody else can see."""
    lock, inside = tmp_path / "lock", []
    leave = {name: threading.Event() for name in "abc"}
    entered = {name: threading.Event() for name in "abc"}

    def hold(name: str) -> None:
        with alone(lock):
            inside.append(name)
            entered[name].set()
            leave[name].wait(10)
            inside.remove(name)

    threads = {name: threading.Thread(target=hold, args=(name,)) for name in "abc"}
    threads["a"].start()
    assert entered["a"].wait(10)
    threads["b"].start()
    assert not entered["b"].wait(0.1)
    leave["a"].set()
    assert entered["b"].wait(10)
    threads["c"].start()
    assert not entered["c"].wait(0.1)
    assert inside == ["b"]
    for name in "bc":
        leave[name].set()
    for thread in threads.values():
        thread.join()
    assert not lock.exists()


def test_checkout_comes_before_the_cache(tmp_path: Path, place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    cache = tmp_path / "cache" / "emo_affectnet"
    assert store.places() == [place, cache]
    (tmp_path / "weights" / "bundled").mkdir(parents=True)
    assert store.places() == [place, tmp_path / "weights", cache]
    monkeypatch.delenv("EMO_AFFECTNET_WEIGHTS")
    monkeypatch.setattr(weights, "bundled_folder", lambda: Path(weights.__file__).resolve().parent / "training")
    assert store.places() == [cache]  # installed: the bundled folder is inside the package


# What lies there already


@pytest.mark.parametrize(
    ("data", "words"),
    [
        (LFS, "it is a git-lfs pointer, a text of 65 bytes that stands for the weights"),
        (WEB_PAGE, "it is a web page of 36 bytes"),
        (b"", "it is an empty file"),
        (DATA[:-1], "it is cut short or damaged (294911 bytes of 294912)"),
        (DATA[:-1] + b"x", "it is another file (294912 bytes)"),
    ],
    ids=["pointer", "page", "empty", "short", "other"],
)
def test_damaged_file_is_described_and_fetched_again(place: Path, entry: Entry, data: bytes, words: str) -> None:
    path = place / "small" / "model.h5"
    path.parent.mkdir(parents=True)
    path.write_bytes(data)
    with pytest.raises(CorruptWeights) as caught:
        locate(entry.name)
    assert str(caught.value).startswith(f"{path} should be model.h5 (small/model.h5), but {words}")
    assert str(caught.value).endswith("Run 'emo-affectnet weights fetch small/model.h5'.")
    assert [(file.status, file.name) for file in verify_all()] == [("damaged", entry.name)]
    assert fetch(entry.name)[0].read_bytes() == DATA
    assert [(file.status, file.came) for file in verify_all()] == [("ok", None)]


def test_right_copy_in_a_later_place_will_do(tmp_path: Path, place: Path, entry: Entry) -> None:
    cached = tmp_path / "cache" / "emo_affectnet" / "small" / "model.h5"
    for path, data in ((place / "small" / "model.h5", b"x"), (cached, DATA)):
        path.parent.mkdir(parents=True)
        path.write_bytes(data)
    assert locate(entry.name) == cached
    assert find(entry.name) == place / "small" / "model.h5"


def test_missing_file_is_told_with_the_way_to_it(entry: Entry, make_entry: MakeEntry) -> None:
    with pytest.raises(MissingWeights, match=r"is not here\. Run 'emo-affectnet weights fetch small/model\.h5'\.$"):
        locate(entry.name)
    by_hand = make_entry("drive.h5", urls=())
    for call in (locate, fetch):
        with pytest.raises(MissingWeights) as caught:
            call(by_hand.name)
        assert str(caught.value) == (
            "drive.h5 (small/drive.h5) is not here. Get it by hand through https://example.org/small, then run "
            "'emo-affectnet weights import drive.h5'."
        )


@pytest.mark.parametrize("call", [find, locate, fetch])
def test_unknown_name_lists_the_valid_ones(place: Path, call) -> None:
    with pytest.raises(UnknownName, match=r"There is no weight file.* named 'RAVDES'; choose one of: .*RAVDESS, "):
        call("RAVDES")
