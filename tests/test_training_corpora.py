"""What holds for every corpus: wrong roots, policies, problems, counts; and the user's own table of clips."""

import os
from pathlib import Path

import pytest
from corpus_trees import POINTER, TREES, Tree, make_afew, make_cremad, make_rafdb, make_ravdess, write

from emo_affectnet.emotions import Emotion
from emo_affectnet.errors import CorpusError, UnknownName, UsageError
from emo_affectnet.training.corpora import CORPORA, Clip, Scan, choose_policies, read_table, scan
from emo_affectnet.video import probe
from emo_affectnet.weights import CORPUS_NAMES

LAYOUTS = [(name, tree) for name, trees in TREES.items() for tree in trees]
VIDEO_LAYOUTS = [(name, tree) for name, tree in LAYOUTS if CORPORA[name].find_clips]
every_layout = pytest.mark.parametrize(("name", "tree"), LAYOUTS, ids=[tree.__name__ for _, tree in LAYOUTS])
every_video_layout = pytest.mark.parametrize(
    ("name", "tree"), VIDEO_LAYOUTS, ids=[tree.__name__ for _, tree in VIDEO_LAYOUTS]
)
every_corpus = pytest.mark.parametrize("name", CORPORA)


def test_every_corpus_of_the_heads_can_be_read() -> None:
    assert set(CORPUS_NAMES) < set(CORPORA)
    assert set(TREES) == set(CORPORA)
    assert all(corpus.name == name for name, corpus in CORPORA.items())


@every_layout
def test_scan_finds_emotions_under_unique_names(name: str, tree: Tree, tmp_path: Path) -> None:
    found = scan(name, tree(tmp_path))
    assert found.emotions.total() > 0
    assert len({item.name for item in found.items}) == len(found.items)
    assert {item.corpus for item in found.items} == {name}
    assert {item.split for item in found.items} <= {None, "train", "valid", "test", "valid+test"}


@every_layout
def test_two_scans_of_a_root_are_equal(name: str, tree: Tree, tmp_path: Path) -> None:
    tree(tmp_path)
    first, second = scan(name, tmp_path), scan(name, tmp_path)
    assert [(item.name, item.emotion) for item in first.items] == [(item.name, item.emotion) for item in second.items]
    assert first.problems == second.problems


@every_layout
def test_corpus_is_found_one_folder_further_down(name: str, tree: Tree, tmp_path: Path) -> None:
    here = scan(name, tree(tmp_path / "here"))
    tree(tmp_path / "above" / "below")
    assert scan(name, tmp_path / "above").counts == here.counts


@every_video_layout
def test_clips_of_a_corpus_are_videos_that_can_be_read(name: str, tree: Tree, tmp_path: Path, make_video) -> None:
    video = make_video("source.mp4", frames=5).read_bytes()
    clips = scan(name, tree(tmp_path / "root", video)).clips
    for clip in clips:
        assert clip.path.is_dir() or probe(clip.path).frame_count == 5


@every_corpus
def test_wrong_root_answers_with_the_layout_and_what_is_there(name: str, tmp_path: Path) -> None:
    write(tmp_path, {"holiday/beach.mp4": b"video", "notes.csv": "a,b\n1,2\n"})
    with pytest.raises(CorpusError) as caught:
        scan(name, tmp_path)
    assert CORPORA[name].layout in str(caught.value)
    assert "What is there: holiday, notes.csv." in str(caught.value)


@every_corpus
def test_root_that_is_not_there_is_no_corpus(name: str, tmp_path: Path) -> None:
    with pytest.raises(CorpusError, match="There is no such folder"):
        scan(name, tmp_path / "nowhere")


def test_empty_root_holds_nothing(tmp_path: Path) -> None:
    with pytest.raises(CorpusError, match=r"What is there: nothing\."):
        scan("RAVDESS", tmp_path)


def test_wrong_root_names_the_first_stranger(tmp_path: Path) -> None:
    write(tmp_path, {"beach.mp4": b"video"})
    with pytest.raises(CorpusError, match=r"name of another pattern: .*beach\.mp4"):
        scan("CREMA-D", tmp_path)


@every_layout
def test_corpus_of_pointers_only_has_problems_and_no_crash(name: str, tree: Tree, tmp_path: Path) -> None:
    tree(tmp_path)
    for path in tmp_path.rglob("*"):
        if path.is_file():
            path.write_bytes(POINTER)
    found = scan(name, tmp_path)
    assert not found.emotions
    assert found.problem_counts["git-lfs pointer"] > 0


@every_corpus
def test_policy_defaults_are_valid_and_ask_one_question(name: str) -> None:
    for policy in CORPORA[name].policies.values():
        assert policy.question.endswith("?")
        assert policy.default in policy.choices or (not policy.choices and 0 <= float(policy.default) <= 1)
        assert "paper" not in policy.question


@every_layout
def test_every_choice_can_be_selected_and_is_kept_in_the_scan(name: str, tree: Tree, tmp_path: Path) -> None:
    tree(tmp_path)
    for policy_name, policy in CORPORA[name].policies.items():
        for choice in policy.choices or ("0", "0.75", "1"):
            found = scan(name, tmp_path, {policy_name: choice})
            assert found.policies[policy_name] == choice
            assert found.policies.keys() == CORPORA[name].policies.keys()


def test_unknown_names_answer_with_the_valid_ones(tmp_path: Path) -> None:
    make_ravdess(tmp_path)
    with pytest.raises(UnknownName, match="no corpus named 'RAVDES'; choose one of: Aff-Wild2, "):
        scan("RAVDES", tmp_path)
    with pytest.raises(UnknownName, match="no policy of RAVDESS named 'clam'; choose one of: calm, song"):
        scan("RAVDESS", tmp_path, {"clam": "drop"})
    with pytest.raises(UnknownName, match="no choice for calm of RAVDESS named 'keep'; choose one of: drop, neutral"):
        scan("RAVDESS", tmp_path, {"calm": "keep"})
    with pytest.raises(UsageError, match="SAVEE has no policies, so calm would change nothing"):
        scan("SAVEE", tmp_path, {"calm": "drop"})


@pytest.mark.parametrize("number", ["many", "-0.1", "1.5", "nan", ""])
def test_number_of_a_policy_is_a_share(number: str) -> None:
    with pytest.raises(UsageError, match=f"min_agreement of RAMAS is a number from 0 to 1, not '{number}'"):
        choose_policies(CORPORA["RAMAS"], {"min_agreement": number})


def test_scan_counts_labels_emotions_speakers_and_problems(tmp_path: Path) -> None:
    found = scan("RAVDESS", make_ravdess(tmp_path))
    assert found.counts["calm", None] == 1
    assert found.counts["happy", Emotion.Happiness] == 1
    assert found.emotions == {Emotion.Neutral: 1, Emotion.Happiness: 1, Emotion.Sadness: 1, Emotion.Anger: 1}
    assert found.unlabelled == 3  # calm, and two sung ones
    assert found.speakers == ("Actor_01", "Actor_02", "Actor_03")
    assert found.problem_counts["name of another pattern"] == 1
    assert found.examples("name of another pattern") == (str(tmp_path / "holiday.mp4"),)


def test_scan_tells_where_counts_are_not_the_published_ones(tmp_path: Path) -> None:
    differences = scan("RAVDESS", make_ravdess(tmp_path)).differences
    assert "expected 192 happy, found 1" in differences
    assert "expected 192 surprised, found 0" in differences


def test_scan_is_silent_of_published_counts_where_the_labels_are_others(tmp_path: Path) -> None:
    assert scan("CREMA-D", make_cremad(tmp_path), {"label_source": "face_vote"}).differences == ()


def test_expected_counts_are_the_published_totals() -> None:
    totals = {name: sum(corpus.expected.values()) for name, corpus in CORPORA.items() if corpus.expected}
    assert totals == {  # 1,440 spoken clips; AffectNet's seven classes of both splits; AFEW's train and validation
        "RAVDESS": 1440,
        "CREMA-D": 7442,
        "SAVEE": 480,
        "IEMOCAP": 10_039,
        "AFEW": 773 + 383,
        "AffectNet": 283_901 + 3_500,
        "CFEE": 5060,  # 230 people, 22 categories
        "JAFFE": 213,
        "KDEF": 4900,
        "RaFD": 67 * 8 * 3 * 5,
        "FER2013": 35_887,
        "RAF-DB": 15_339,
    }


def test_a_name_given_twice_is_told_and_used_once(tmp_path: Path) -> None:
    make_rafdb(tmp_path)
    table = tmp_path / "basic" / "EmoLabel" / "list_patition_label.txt"
    table.write_text("train_00001.jpg 5\ntrain_00001.jpg 4\n")
    found = scan("RAF-DB", tmp_path)
    assert [image.emotion for image in found.images] == [Emotion.Sadness]
    assert found.problem_counts == {"name given twice": 1}


def test_folder_that_links_to_itself_is_entered_once(tmp_path: Path) -> None:
    make_afew(tmp_path)
    (tmp_path / "Train" / "again").symlink_to(tmp_path, target_is_directory=True)
    assert len(scan("AFEW", tmp_path).clips) == 4


def test_hidden_folders_are_not_entered(tmp_path: Path) -> None:
    make_afew(tmp_path)
    write(tmp_path, {".trash/Train/Angry/000046299.avi": b"video"})
    assert len(scan("AFEW", tmp_path).clips) == 4


def test_corpus_behind_a_link_is_found(tmp_path: Path) -> None:
    make_afew(tmp_path / "disk")
    (tmp_path / "root").mkdir()
    (tmp_path / "root" / "AFEW").symlink_to(tmp_path / "disk", target_is_directory=True)
    assert len(scan("AFEW", tmp_path / "root").clips) == 4


def test_folder_that_cannot_be_entered_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    make_afew(tmp_path)
    enter = os.scandir

    def refuse(path: str | Path) -> object:
        if Path(path).name == "Val":
            raise PermissionError(13, "Permission denied", str(path))
        return enter(path)

    monkeypatch.setattr(os, "scandir", refuse)
    found = scan("AFEW", tmp_path)
    assert len(found.clips) == 3
    assert found.examples("unreadable folder") == (str(tmp_path / "Val"),)


def test_file_that_cannot_be_opened_is_told(tmp_path: Path) -> None:
    make_afew(tmp_path)
    (tmp_path / "Val" / "Happy" / "gone.avi").symlink_to(tmp_path / "nowhere.avi")
    assert scan("AFEW", tmp_path).examples("unreadable file") == (str(tmp_path / "Val" / "Happy" / "gone.avi"),)


def test_table_of_another_kind_under_a_corpus_name_is_a_wrong_root(tmp_path: Path) -> None:
    write(tmp_path, {"training.csv": "a,b\n1,2\n", "train.csv": "a,b\n1,2\n"})
    with pytest.raises(CorpusError, match=r"Expected AffectNet .*unreadable label line: .*training\.csv:1\."):
        scan("AffectNet", tmp_path)
    with pytest.raises(CorpusError, match=r"Expected FER2013 .*unreadable table: Expected the columns pixels in"):
        scan("FER2013", tmp_path)


def read_rows(root: Path, text: str) -> Scan:
    write(root, {"clips/a.mp4": b"video", "clips/b.mp4": b"video", "clips/list.csv": text})
    return read_table(root / "clips" / "list.csv")


def test_own_table_gives_clips_relative_to_it(tmp_path: Path) -> None:
    found = read_rows(tmp_path, "Path;emotion;speaker;start;end\na.mp4;HAPPINESS;Ann;1,5;4\nb.mp4;anger;;;\n")
    assert found.clips == (
        Clip("clips csv", "a.mp4 1,5 4", tmp_path / "clips" / "a.mp4", "Ann", "HAPPINESS", Emotion(1), 1.5, 4.0),
        Clip("clips csv", "b.mp4", tmp_path / "clips" / "b.mp4", "b.mp4", "anger", Emotion.Anger),
    )
    assert found.problems == ()


def test_own_table_keeps_what_else_it_says(tmp_path: Path) -> None:
    found = read_rows(tmp_path, "path,emotion,Kind,speaker,hit_rate\na.mp4,fear,posed,Ann,75\nb.mp4,fear\n")
    assert [dict(clip.columns) for clip in found.clips] == [
        {"kind": "posed", "hit_rate": "75"},
        {"kind": "", "hit_rate": ""},
    ]


def test_own_table_counts_words_that_are_no_emotion(tmp_path: Path) -> None:
    found = read_rows(tmp_path, "path,emotion\na.mp4,bored\nb.mp4,fear\n")
    assert found.counts == {("bored", None): 1, ("fear", Emotion.Fear): 1}


def test_own_table_tells_of_lines_it_cannot_use(tmp_path: Path) -> None:
    (tmp_path / "clips").mkdir()
    (tmp_path / "clips" / "pointer.mp4").write_bytes(POINTER)
    found = read_rows(
        tmp_path,
        "path,emotion,start,end\ngone.mp4,fear,,\na.mp4,fear,5,4\na.mp4,fear,soon,\na.mp4,fear,1,2\na.mp4,anger,1,2\n"
        "pointer.mp4,fear,,\n,fear,,\n",
    )
    assert [(clip.start, clip.end, clip.emotion) for clip in found.clips] == [(1, 2, Emotion.Fear)]
    assert found.problem_counts == {
        "missing video": 1,
        "unreadable label line": 3,
        "clip listed twice": 1,
        "git-lfs pointer": 1,
    }


@pytest.mark.parametrize("header", ["file,emotion", "path,label", "a.mp4"])
def test_own_table_with_another_header_says_which_columns_came(header: str, tmp_path: Path) -> None:
    came = ", ".join(header.split(","))
    with pytest.raises(CorpusError, match=rf"Expected the columns path, emotion in .*it has {came}\."):
        read_rows(tmp_path, f"{header}\na.mp4,fear,Ann\n")


def test_own_table_that_is_none_says_so(tmp_path: Path) -> None:
    with pytest.raises(CorpusError, match="cannot be read as a table"):
        read_table(tmp_path / "gone.csv")
    write(tmp_path, {"list.csv": "path,emotion\n".encode("utf-16"), "pointer.csv": POINTER})
    with pytest.raises(CorpusError, match="cannot be read as a table"):
        read_table(tmp_path / "list.csv")
    with pytest.raises(CorpusError, match="git-lfs pointer"):
        read_table(tmp_path / "pointer.csv")
