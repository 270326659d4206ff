"""Far places, by fsspec's own in memory: named, listed, and their errors told in one sentence."""

import sys
from pathlib import Path

import fsspec
import pytest

from emo_affectnet import places
from emo_affectnet.errors import EngineUnavailable, ReportError, UsageError, VideoError
from emo_affectnet.places import to_place

FAR = "memory://bucket"


pytestmark = pytest.mark.usefixtures("far_store")


@pytest.mark.parametrize(
    ("text", "is_far"),
    [
        pytest.param("videos/clip.mp4", False, id="a path is a path"),
        pytest.param("C:/videos", False, id="a drive is no scheme"),
        pytest.param("a:/b:/c", False, id="a scheme has two strokes"),
        pytest.param("memory://bucket/videos", True, id="an address is far"),
    ],
)
def test_only_addresses_are_far(text: str, is_far: bool) -> None:
    assert places.is_far(to_place(text)) == is_far
    assert str(to_place(text)) == text


def test_an_address_of_this_computer_is_a_path() -> None:
    assert to_place("file:///data/videos") == Path("/data/videos")


def test_an_unknown_scheme_is_a_wrong_call() -> None:
    with pytest.raises(UsageError, match="nowhere://bucket is no address that can be read"):
        to_place("nowhere://bucket")


def test_a_missing_package_names_the_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "upath", None)
    with pytest.raises(EngineUnavailable, match=r"pip install 'emo-affectnet\[ray\]'"):
        to_place(FAR)


def test_a_far_name_cannot_lead_out_of_the_report_folder(
    far_store: fsspec.AbstractFileSystem, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A store takes any text for a name; each would be joined to the folder of the reports."""
    names = ["/bucket/../evil.mp4", "/bucket/a/../../evil.mp4", "/bucket/./b.mp4", "/bucket/good.mp4"]
    monkeypatch.setattr(type(far_store), "find", lambda self, path: names)
    assert [str(below) for _, below in places.walk(to_place(FAR))] == ["good.mp4"]


def test_a_far_folder_is_walked_like_a_near_one_files_first(far_store: fsspec.AbstractFileSystem) -> None:
    for name in ("b/2.mp4", "b/1.mp4", "c.mp4", "a.mp4", ".hidden/x.mp4", "b/.y.mp4", "b/a/3.mp4"):
        far_store.pipe(f"/bucket/{name}", b"x")
    names = ("a.mp4", "c.mp4", "b/1.mp4", "b/2.mp4", "b/a/3.mp4")
    assert [(str(path), str(below)) for path, below in places.walk(to_place(FAR))] == [
        (f"{FAR}/{name}", name) for name in names
    ]


def test_near_and_far_places_are_asked_what_they_are(far_store: fsspec.AbstractFileSystem, tmp_path: Path) -> None:
    far_store.pipe("/bucket/b/1.mp4", b"x")
    (tmp_path / "1.mp4").write_bytes(b"x")
    for folder in (to_place(f"{FAR}/b"), tmp_path):
        assert [places.is_folder(place) for place in (folder, folder / "1.mp4", folder / "2.mp4")] == [
            True,
            False,
            False,
        ]
        assert [places.exists(place) for place in (folder, folder / "1.mp4", folder / "2.mp4")] == [True, True, False]


def test_a_folder_that_cannot_be_listed_is_told(
    monkeypatch: pytest.MonkeyPatch, far_store: fsspec.AbstractFileSystem
) -> None:
    def refuse(*places: str, **options: object) -> None:
        raise PermissionError("Access Denied")

    monkeypatch.setattr(type(far_store), "find", refuse)
    with pytest.raises(VideoError, match=f'"{FAR}" cannot be listed: Access Denied'):
        list(places.walk(to_place(FAR)))


def test_a_record_that_cannot_be_removed_is_told(
    monkeypatch: pytest.MonkeyPatch, far_store: fsspec.AbstractFileSystem
) -> None:
    def refuse(*places: str, **options: object) -> None:
        raise PermissionError("Access Denied")

    monkeypatch.setattr(type(far_store), "rm_file", refuse)
    monkeypatch.setattr(type(far_store), "rm", refuse)
    far_store.pipe("/bucket/clip.json", b"x")
    with pytest.raises(ReportError, match="cannot be removed: Access Denied"):
        places.remove(to_place(f"{FAR}/clip.json"))


def test_a_folder_that_a_store_wants_is_made(
    monkeypatch: pytest.MonkeyPatch, far_store: fsspec.AbstractFileSystem, tmp_path: Path
) -> None:
    made: list[str] = []
    put_file = type(far_store).put_file

    def put_into_folders(self, near: str, there: str, **options: object) -> None:
        if not made:
            raise FileNotFoundError(there)
        put_file(self, near, there)

    monkeypatch.setattr(type(far_store), "put_file", put_into_folders)
    monkeypatch.setattr(type(far_store), "makedirs", lambda self, path, exist_ok: made.append(path))
    (tmp_path / "a.csv").write_text("x")
    places.put(tmp_path / "a.csv", to_place(f"{FAR}/report/a.csv"))
    assert set(made) == {"/bucket/report"}
    assert far_store.cat("/bucket/report/a.csv") == b"x"
