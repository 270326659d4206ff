"""Far videos and far report folders, by fsspec's own in memory: fetched, sent, and known to be finished."""

import functools
import json
from dataclasses import replace
from pathlib import Path

import fsspec
import pytest
from conftest import MakeVideo, crew_of

from emo_affectnet import places
from emo_affectnet.batch import analyze
from emo_affectnet.carrier import Carrier, find_finished, lend_folder, open_carrier
from emo_affectnet.errors import ReportError, UsageError
from emo_affectnet.inputs import Input, Options
from emo_affectnet.places import to_place
from emo_affectnet.records import record_path
from emo_affectnet.summary import Outcome

FAR = "memory://bucket"


pytestmark = pytest.mark.usefixtures("far_store")


@pytest.fixture
def lend_crew(fake_recognizer):
    """Open a crew with fakes in this process that reads from and reports to far places."""

    def lend(save: Path, unfinished: Path, options: Options | None = None):
        return open_carrier(crew_of(fake_recognizer), options or Options(), save, unfinished)

    return lend


def far_video(make_video: MakeVideo, name: str = "sub/clip.mp4", *, level: int | None = None) -> Input:
    """A video in the store, and the name of its report."""
    place = to_place(f"{FAR}/videos/{name}")
    place.parent.mkdir(parents=True, exist_ok=True)
    place.write_bytes(make_video(f"near-{Path(name).name}", level=level).read_bytes())
    return Input(place, str(Path(name).with_suffix("")), name)


def test_a_far_video_is_reported_far_away_as_a_near_one_is_here(
    make_video: MakeVideo, lend_crew, tmp_path: Path, far_store: fsspec.AbstractFileSystem
) -> None:
    source, save = far_video(make_video), to_place(f"{FAR}/report")
    with lend_crew(save, tmp_path / "unused") as crew:
        ((answered, outcome),) = crew.run([source])
    near = Input(tmp_path / "near-clip.mp4", "sub/clip", "sub/clip.mp4")
    (tmp_path / "unfinished").mkdir()
    with lend_crew(tmp_path / "report", tmp_path / "unfinished") as crew:
        ((_, here),) = crew.run([near])
    assert answered is source
    assert replace(outcome, seconds=None) == replace(here, seconds=None)
    assert sorted(far_store.find("/bucket/report")) == ["/bucket/report/sub/clip.csv", "/bucket/report/sub/clip.json"]
    assert far_store.cat("/bucket/report/sub/clip.csv") == (tmp_path / "report/sub/clip.csv").read_bytes()


def test_the_record_is_sent_last_and_the_old_one_removed_first(
    make_video: MakeVideo, lend_crew, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    source, save = far_video(make_video), to_place(f"{FAR}/report")
    record_path(save, source.name).write_bytes(b"old")
    steps: list[str] = []
    put, remove = places.put, places.remove
    monkeypatch.setattr(places, "put", lambda near, there: (steps.append(f"put {there.name}"), put(near, there)))
    monkeypatch.setattr(places, "remove", lambda file: (steps.append(f"remove {file.name}"), remove(file)))
    with lend_crew(save, tmp_path) as crew:
        list(crew.run([source]))
    assert steps == ["remove clip.json", "put clip.csv", "put clip.json"]


def test_reports_of_people_that_are_not_there_any_more_are_removed_far_away(
    make_video: MakeVideo, lend_crew, tmp_path: Path, far_store: fsspec.AbstractFileSystem
) -> None:
    source, save = far_video(make_video), to_place(f"{FAR}/report")
    far_store.pipe("/bucket/report/sub/clip.person-2.csv", b"x")
    older = {"reports": {"sub/clip.csv": "", "sub/clip.person-2.csv": ""}}
    far_store.pipe("/bucket/report/sub/clip.json", json.dumps(older).encode())
    with lend_crew(save, tmp_path) as crew:
        list(crew.run([source]))
    assert sorted(far_store.find("/bucket/report")) == ["/bucket/report/sub/clip.csv", "/bucket/report/sub/clip.json"]


def test_finished_far_work_is_known_until_the_video_changes(make_video: MakeVideo, lend_crew, tmp_path: Path) -> None:
    source, save = far_video(make_video), to_place(f"{FAR}/report")
    with lend_crew(save, tmp_path) as crew:
        assert find_finished(source, save, crew.settings) is None
        ((_, outcome),) = crew.run([source])
        assert find_finished(source, save, crew.settings) == replace(outcome, seconds=None)
        assert find_finished(source, save, {**crew.settings, "head": "another"}) is None
        source.path.write_bytes(source.path.read_bytes() + b"more")
        assert find_finished(source, save, crew.settings) is None


def test_finished_far_work_counts_for_nothing_without_its_reports(
    make_video: MakeVideo, lend_crew, tmp_path: Path, far_store: fsspec.AbstractFileSystem
) -> None:
    source, save = far_video(make_video), to_place(f"{FAR}/report")
    with lend_crew(save, tmp_path) as crew:
        list(crew.run([source]))
    far_store.rm("/bucket/report/sub/clip.csv")
    assert find_finished(source, save, crew.settings) is None


def test_a_far_video_with_near_reports_is_known_by_its_version(
    make_video: MakeVideo, lend_crew, tmp_path: Path
) -> None:
    source, save = far_video(make_video), tmp_path / "report"
    (tmp_path / "unfinished").mkdir()
    with lend_crew(save, tmp_path / "unfinished") as crew:
        ((_, outcome),) = crew.run([source])
    assert find_finished(source, save, crew.settings) == replace(outcome, seconds=None)
    record = json.loads(record_path(save, source.name).read_text())
    record_path(save, source.name).write_text(json.dumps(record | {"origin": None}))
    assert find_finished(source, save, crew.settings) is None


def test_a_near_video_with_far_reports_is_known_by_its_bytes(make_video: MakeVideo, lend_crew, tmp_path: Path) -> None:
    source, save = Input(make_video("clip.mp4"), "clip", "clip.mp4"), to_place(f"{FAR}/report")
    with lend_crew(save, tmp_path) as crew:
        ((_, outcome),) = crew.run([source])
    assert find_finished(source, save, crew.settings) == replace(outcome, seconds=None)
    make_video("clip.mp4", level=9)
    assert find_finished(source, save, crew.settings) is None


def test_what_was_fetched_is_removed_and_messages_name_the_address(
    make_video: MakeVideo, lend_crew, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path / "temporary"))
    (tmp_path / "temporary").mkdir()
    good, broken = far_video(make_video, "good.mp4"), far_video(make_video, "broken.mp4")
    broken.path.write_bytes(b"no video")
    with lend_crew(to_place(f"{FAR}/report"), tmp_path) as crew:
        outcomes = [outcome for _, outcome in crew.run([good, broken])]
    assert [outcome.status for outcome in outcomes] == ["ok", "error"]
    assert f'Expected a video in "{FAR}/videos/broken.mp4"' in str(outcomes[1].message)
    assert list((tmp_path / "temporary").iterdir()) == []


def test_a_failure_leaves_the_record_of_an_earlier_run_as_it_is(
    make_video: MakeVideo, lend_crew, tmp_path: Path
) -> None:
    source, save = far_video(make_video), tmp_path / "report"
    (tmp_path / "unfinished").mkdir()
    with lend_crew(save, tmp_path / "unfinished") as crew:
        list(crew.run([source]))
        source.path.write_bytes(b"no video any more")
        ((_, outcome),) = crew.run([source])
    assert outcome.status == "error"
    assert find_finished(source, save, crew.settings) is None  # it is of the version before


def test_a_video_that_cannot_be_fetched_costs_only_itself(make_video: MakeVideo, lend_crew, tmp_path: Path) -> None:
    gone, good = Input(to_place(f"{FAR}/videos/gone.mp4"), "gone", "gone.mp4"), far_video(make_video)
    with lend_crew(to_place(f"{FAR}/report"), tmp_path) as crew:
        outcomes = [outcome for _, outcome in crew.run([gone, good])]
    assert [outcome.status for outcome in outcomes] == ["error", "ok"]
    assert outcomes[0].message == (
        f'"{FAR}/videos/gone.mp4" cannot be fetched: there is no such place. Check the address.'
    )


def test_a_store_that_refuses_a_report_says_so_in_the_row(
    make_video: MakeVideo,
    lend_crew,
    tmp_path: Path,
    far_store: fsspec.AbstractFileSystem,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def refuse(*places: str, **options: object) -> None:
        raise RuntimeError("403 Forbidden\nwith a page of words")

    monkeypatch.setattr(type(far_store), "put_file", refuse)
    with lend_crew(to_place(f"{FAR}/report"), tmp_path) as crew:
        ((_, outcome),) = crew.run([far_video(make_video)])
    assert outcome.message == (
        f"The report {FAR}/report/sub/clip.csv cannot be written: 403 Forbidden. Check the address, your rights and "
        "the network."
    )


def test_the_next_video_is_fetched_while_one_is_read(make_video: MakeVideo, tmp_path: Path) -> None:
    fetched: list[str] = []
    sources = [far_video(make_video, f"{number}.mp4") for number in range(3)]

    class Waiting:
        settings, extra_columns, description = {}, (), ""

        def run(self, inputs, *, on_progress):
            (source,) = inputs
            number = int(source.name)
            while number < 2 and f"{number + 1}.mp4" not in fetched:
                pass
            yield source, Outcome(source.label, "error")

    fetch = places.fetch
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(places, "fetch", lambda video, folder: (fetch(video, folder), fetched.append(video.name))[0])
        crew = Carrier(Waiting(), near=tmp_path, target=tmp_path)
        assert [source.name for source, _ in crew.run(sources)] == ["0", "1", "2"]


def test_features_are_not_sent_to_a_far_folder(lend_crew, tmp_path: Path) -> None:
    with (
        pytest.raises(UsageError, match="give a report folder here"),
        lend_crew(to_place(FAR), tmp_path, Options(with_features=True)),
    ):
        pass


def test_a_summary_goes_to_its_far_folder_at_the_end(tmp_path: Path, far_store: fsspec.AbstractFileSystem) -> None:
    with lend_folder(to_place(f"{FAR}/report")) as folder:
        (folder / "summary.1-of-2.csv").write_text("file\n")
        (folder / ".lock").write_text("")
    assert far_store.find("/bucket/report") == ["/bucket/report/summary.1-of-2.csv"]
    assert not folder.exists()
    with lend_folder(tmp_path) as folder:
        assert folder == tmp_path


def test_a_whole_run_from_far_to_far_is_the_run_here_and_is_not_done_twice(
    make_video: MakeVideo, fake_recognizer, tmp_path: Path, far_store: fsspec.AbstractFileSystem
) -> None:
    for name in ("b/1.mp4", "2.mp4", "notes.txt"):
        make_video(f"videos/{name}", level=len(name)) if name.endswith("mp4") else None
    (tmp_path / "videos/notes.txt").write_text("x")
    far_store.put(str(tmp_path / "videos"), "/bucket/videos", recursive=True)
    crew = functools.partial(open_carrier, crew_of(fake_recognizer))
    options = Options(formats=("csv", "parquet"))
    analyze([tmp_path / "videos"], save=tmp_path / "report", options=options, crew=crew)
    told: list[tuple[int, int]] = []
    for _ in range(2):
        analyze(
            [to_place(f"{FAR}/videos")],
            save=to_place(f"{FAR}/report"),
            options=options,
            crew=crew,
            on_ready=lambda crew, kept, inputs: told.append((kept, inputs)),
        )
    near = {path for path in (tmp_path / "report").rglob("*") if path.is_file()}
    assert {str(path.relative_to(tmp_path)) for path in near} == {path[8:] for path in far_store.find("/bucket/report")}
    for path in near:
        if path.suffix != ".json":  # a record says where its video came from as well
            assert far_store.cat(f"/bucket/{path.relative_to(tmp_path)}") == path.read_bytes()
    assert told == [(0, 2), (2, 2)]


def test_a_far_folder_that_cannot_be_written_to_is_told_before_any_video_is_read(
    far_store: fsspec.AbstractFileSystem, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*places: str, **options: object) -> None:
        raise FileNotFoundError("NoSuchBucket")

    monkeypatch.setattr(type(far_store), "put_file", refuse)
    with (
        pytest.raises(ReportError, match=r"cannot be written: there is no such place\. Check the address"),
        lend_folder(to_place(f"{FAR}/report")),
    ):
        pass


def test_a_far_record_cannot_have_other_files_removed(
    make_video: MakeVideo,
    lend_crew,
    far_store: fsspec.AbstractFileSystem,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    removed: list[str] = []
    monkeypatch.setattr("emo_affectnet.places.remove", lambda file: removed.append(str(file)))
    far_store.pipe("/bucket/report/clip.json", b'{"reports": {"../mine.csv": "", "old.csv": ""}}')
    with lend_crew(to_place(f"{FAR}/report"), tmp_path) as crew:
        list(crew.run([Input(make_video("clip.mp4"), "clip", "clip.mp4")]))
    assert removed == [f"{FAR}/report/clip.json", f"{FAR}/report/old.csv"]
