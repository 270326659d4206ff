"""Whatever lies below the root of a corpus, a scan finds clips and problems, or says in one sentence what is wrong."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from corpus_trees import TREES, VIDEO, Tree
from fuzzing import WORDS, check_sentence, damaged, examples
from hypothesis import given
from hypothesis import strategies as st

from emo_affectnet.emotions import Emotion
from emo_affectnet.errors import CorpusError
from emo_affectnet.training.corpora import CORPORA, read_ferplus, read_table, scan

LABELS = {".csv", ".txt", ".npy", ".npz", ".tar"}
LAYOUTS = [(name, tree) for name, trees in TREES.items() for tree in trees]


@pytest.fixture(scope="module", params=LAYOUTS, ids=lambda layout: layout[1].__name__)
def corpus(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> tuple[str, Path]:
    """The name of a corpus and a small tree of it."""
    name, tree = request.param
    make: Tree = tree
    return name, make(tmp_path_factory.mktemp("corpus") / "root")


def try_scan(name: str, root: Path) -> None:
    """Check that a scan gives what it promises, with any of the choices that change what is read, or CorpusError."""
    policies = {"CREMA-D": {"label_source": "face_vote"}, "AffectNet": {"crop": "box"}}.get(name, {})
    try:
        found = scan(name, root, policies)
    except CorpusError as error:
        check_sentence(error)
        return
    assert len({item.name for item in found.items}) == len(found.items)
    assert all(item.emotion is None or item.emotion in Emotion for item in found.items)
    assert all(clip.end is None or clip.start < clip.end for clip in found.clips)
    assert sum(found.counts.values()) == len(found.items)
    for image in found.images:
        try:
            picture = image.read()
        except CorpusError as error:
            check_sentence(error)
        else:
            assert picture.ndim == 3


@contextmanager
def changed(path: Path, content: bytes) -> Iterator[None]:
    """Give a file another content for a while."""
    before = path.read_bytes()
    path.write_bytes(content)
    try:
        yield
    finally:
        path.write_bytes(before)


@examples(10)
@given(st.data())
def test_any_damage_to_a_label_file_gives_clips_or_one_sentence(corpus: tuple[str, Path], data: st.DataObject) -> None:
    name, root = corpus
    files = sorted(path for path in root.rglob("*") if path.suffix in LABELS)
    if not files:
        return  # its labels are its names
    path = data.draw(st.sampled_from(files))
    with changed(path, data.draw(st.one_of(damaged(path.read_bytes()), st.binary(max_size=60)))):
        try_scan(name, root)


NAMES = st.one_of(
    st.text(st.characters(exclude_characters="/\0", exclude_categories=("Cs",)), min_size=1, max_size=40),
    st.binary(min_size=1, max_size=20).map(lambda name: os.fsdecode(name.replace(b"/", b"").replace(b"\0", b"."))),
    st.sampled_from([word[:60].replace("/", "").replace("\0", "") for word in WORDS]),
)


@st.composite
def names_beside(draw: st.DrawFn, near: Path) -> Path:
    """Return the path of a file beside another: of any name, or of nearly the same."""
    stem, suffix = draw(NAMES), draw(st.sampled_from(["", ".mp4", ".AVI", ".txt", ".csv", near.suffix]))
    place = draw(st.integers(0, len(near.name)))
    return near.parent / draw(st.sampled_from([stem + suffix, near.name[:place] + stem[:8] + near.name[place:]]))


def is_name(name: str) -> bool:
    return bool(name) and not set(name) & {"/", "\0"} and name not in (".", "..") and len(os.fsencode(name)) < 200


@examples(8)
@given(st.data())
def test_files_of_any_name_give_clips_or_one_sentence(corpus: tuple[str, Path], data: st.DataObject) -> None:
    name, root = corpus
    known = sorted(root.rglob("*"))
    made: list[Path] = []
    try:
        for _ in range(data.draw(st.integers(1, 4))):
            path = data.draw(names_beside(data.draw(st.sampled_from(known))))
            if is_name(path.name) and not os.path.lexists(path):
                path.write_bytes(data.draw(st.sampled_from([VIDEO, b"", b"\xff\xfe,"])))
                made.append(path)
        try_scan(name, root)
    finally:
        for path in made:
            path.unlink()


ODD_NAMES = (b"a\nb", b"\x1b[2Jc", "\N{RIGHT-TO-LEFT OVERRIDE}d".encode(), b"e\xff", b"'; DROP")


@pytest.mark.parametrize("name", CORPORA)
def test_a_root_of_odd_names_and_nothing_else_is_refused_in_one_printable_sentence(name: str, tmp_path: Path) -> None:
    for odd in ODD_NAMES:
        (tmp_path / os.fsdecode(odd)).mkdir()
    with pytest.raises(CorpusError) as caught:
        scan(name, tmp_path)
    check_sentence(caught.value)
    assert str(caught.value).isprintable()


TABLE = b"path,emotion,speaker,start,end\na.mp4,Happiness,me,0,1.5\nb.mp4,Anger,,,\n"


@examples(60)
@given(st.one_of(damaged(TABLE), st.binary(max_size=80)))
def test_any_table_of_clips_gives_clips_or_one_sentence(
    tmp_path_factory: pytest.TempPathFactory, content: bytes
) -> None:
    root = tmp_path_factory.getbasetemp() / "tables"
    root.mkdir(exist_ok=True)
    for name in ("a.mp4", "b.mp4"):
        (root / name).write_bytes(VIDEO)
    (root / "clips.csv").write_bytes(content)
    try:
        found = read_table(root / "clips.csv")
    except CorpusError as error:
        check_sentence(error)
    else:
        assert all(clip.start >= 0 and (clip.end is None or clip.end > clip.start) for clip in found.clips)


@examples(30)
@given(st.data())
def test_a_damaged_package_of_faces_is_read_or_refused(
    tmp_path_factory: pytest.TempPathFactory, data: st.DataObject
) -> None:
    root = tmp_path_factory.getbasetemp() / "package"
    if not root.exists():
        TREES["FER+"][0](root)
    path = root / "ferplus_train.npz"
    with changed(path, data.draw(damaged(path.read_bytes()))):
        try:
            faces = read_ferplus(root, "train")
        except CorpusError as error:
            check_sentence(error)
        else:
            assert len(faces.targets) == len(faces.labels)
