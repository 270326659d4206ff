"""RAVDESS, CREMA-D, SAVEE and AFEW: the label is in the name, one performance is one clip."""

from pathlib import Path

import pytest
from corpus_trees import SUMMARY, VIDEO, make_afew, make_cremad, make_ravdess, make_savee, write

from emo_affectnet.emotions import Emotion
from emo_affectnet.errors import CorpusError
from emo_affectnet.training.corpora import Scan, scan


def labels(found: Scan) -> dict[str, Emotion | None]:
    return {clip.name: clip.emotion for clip in found.clips}


# The numbers and words of the corpus's own description; 02 is sight without sound, 03 sound without sight.
@pytest.mark.parametrize(
    ("code", "label", "emotion"),
    [
        ("01", "neutral", Emotion.Neutral),
        ("02", "calm", None),
        ("03", "happy", Emotion.Happiness),
        ("04", "sad", Emotion.Sadness),
        ("05", "angry", Emotion.Anger),
        ("06", "fearful", Emotion.Fear),
        ("07", "disgust", Emotion.Disgust),
        ("08", "surprised", Emotion.Surprise),
    ],
)
def test_ravdess_number_becomes_the_emotion_of_its_word(
    code: str, label: str, emotion: Emotion | None, tmp_path: Path
) -> None:
    (clip,) = scan("RAVDESS", write(tmp_path, {f"01-01-{code}-01-01-01-12.mp4": VIDEO})).clips
    assert (clip.label, clip.emotion, clip.speaker) == (label, emotion, "Actor_12")


def test_ravdess_keeps_one_modality_of_each_performance_the_one_with_sound(tmp_path: Path) -> None:
    found = scan("RAVDESS", make_ravdess(tmp_path))
    happy = [clip.path.name for clip in found.clips if clip.label == "happy"]
    assert happy == ["01-01-03-01-01-01-01.mp4"]
    assert found.examples("second file of a clip already found") == (
        str(tmp_path / "Actor_01" / "02-01-03-01-01-01-01.mp4"),
    )


def test_ravdess_takes_the_silent_version_where_the_other_is_not_there(tmp_path: Path) -> None:
    assert labels(scan("RAVDESS", make_ravdess(tmp_path)))["02-01-04-02-02-02-02"] == Emotion.Sadness


def test_ravdess_takes_the_silent_version_where_the_other_is_empty(tmp_path: Path) -> None:
    write(tmp_path, {"01-01-03-01-01-01-01.mp4": b"", "02-01-03-01-01-01-01.mp4": VIDEO})
    found = scan("RAVDESS", tmp_path)
    assert [clip.name for clip in found.clips] == ["02-01-03-01-01-01-01"]
    assert found.problem_counts == {"empty file": 1}


def test_ravdess_video_without_a_picture_is_a_problem(tmp_path: Path) -> None:
    found = scan("RAVDESS", make_ravdess(tmp_path))
    assert found.examples("sound without a picture") == (str(tmp_path / "Actor_01" / "03-01-08-01-01-01-01.mp4"),)
    assert not any(clip.label == "surprised" for clip in found.clips)


@pytest.mark.parametrize(
    ("policies", "calm", "sung_calm", "sung_angry"),
    [
        ({}, None, None, None),
        ({"calm": "neutral"}, Emotion.Neutral, None, None),
        ({"song": "include"}, None, None, Emotion.Anger),
        ({"calm": "neutral", "song": "include"}, Emotion.Neutral, Emotion.Neutral, Emotion.Anger),
    ],
)
def test_ravdess_policies_decide_about_calm_and_song(
    policies: dict[str, str],
    calm: Emotion | None,
    sung_calm: Emotion | None,
    sung_angry: Emotion | None,
    tmp_path: Path,
) -> None:
    found = labels(scan("RAVDESS", make_ravdess(tmp_path), policies))
    assert len(found) == 7
    assert found["01-01-02-01-01-01-02"] == calm
    assert found["01-02-02-01-01-01-03"] == sung_calm
    assert found["01-02-05-01-01-01-03"] == sung_angry
    assert found["01-01-05-01-01-01-03"] == Emotion.Anger


@pytest.mark.parametrize(
    ("code", "emotion"),
    [
        ("ANG", Emotion.Anger),
        ("DIS", Emotion.Disgust),
        ("FEA", Emotion.Fear),
        ("HAP", Emotion.Happiness),
        ("NEU", Emotion.Neutral),
        ("SAD", Emotion.Sadness),
    ],
)
def test_cremad_code_and_its_letter_become_one_emotion(code: str, emotion: Emotion, tmp_path: Path) -> None:
    write(tmp_path, {f"1001_TIE_{code}_XX.flv": VIDEO})
    write(tmp_path, {"summaryTable.csv": f"FileName,FaceVote\n1001_TIE_{code}_XX,{code[0]}\n"})
    for source in ("intended", "face_vote"):
        (clip,) = scan("CREMA-D", tmp_path, {"label_source": source}).clips
        assert (clip.emotion, clip.speaker) == (emotion, "1001")


def test_cremad_accepts_the_name_that_once_lacked_an_x(tmp_path: Path) -> None:
    clips = {clip.name: clip for clip in scan("CREMA-D", make_cremad(tmp_path)).clips}
    assert clips["1040_ITH_SAD_XX"].path.name == "1040_ITH_SAD_X.flv"
    assert clips["1040_ITH_SAD_XX"].emotion == Emotion.Sadness


def test_cremad_leaves_out_the_known_bad_recordings_but_not_the_silent_one(tmp_path: Path) -> None:
    found = scan("CREMA-D", make_cremad(tmp_path))
    assert found.problem_counts == {"known bad recording": 2, "git-lfs pointer": 1, "empty file": 1}
    assert found.examples("known bad recording")[1].endswith("1076_MTI_SAD_XX.flv: it shows no face")
    assert labels(found)["1076_MTI_NEU_XX"] == Emotion.Neutral


def test_cremad_face_vote_replaces_the_intended_label_and_ties_have_none(tmp_path: Path) -> None:
    found = scan("CREMA-D", make_cremad(tmp_path), {"label_source": "face_vote"})
    assert {clip.name: (clip.label, clip.emotion) for clip in found.clips} == {
        "1001_DFA_HAP_XX": ("H", Emotion.Happiness),
        "1001_IEO_ANG_HI": ("A:F", None),
        "1002_WSI_FEA_XX": ("no face vote", None),
        "1040_ITH_SAD_XX": ("N", Emotion.Neutral),
        "1076_MTI_NEU_XX": ("no face vote", None),
    }
    assert found.problem_counts["no face vote"] == 2


def test_cremad_votes_are_found_at_the_place_of_older_revisions(tmp_path: Path) -> None:
    make_cremad(tmp_path)
    (tmp_path / "processedResults" / "summaryTable.csv").unlink()
    write(tmp_path, {"data/InfoAndStats/processedResults/summaryTable.csv": SUMMARY.replace("FileName", "fileName")})
    found = scan("CREMA-D", tmp_path, {"label_source": "face_vote"})
    assert labels(found)["1001_DFA_HAP_XX"] == Emotion.Happiness


def test_cremad_votes_that_are_not_there_are_asked_for(tmp_path: Path) -> None:
    make_cremad(tmp_path)
    table = tmp_path / "processedResults" / "summaryTable.csv"
    table.write_bytes(b"version https://git-lfs.github.com/spec/v1\n")
    with pytest.raises(CorpusError, match="run `git lfs pull`"):
        scan("CREMA-D", tmp_path, {"label_source": "face_vote"})
    table.unlink()
    with pytest.raises(CorpusError, match=r"Expected processedResults/summaryTable\.csv .* or choose label_source"):
        scan("CREMA-D", tmp_path, {"label_source": "face_vote"})


def test_cremad_line_of_votes_for_no_clip_is_told(tmp_path: Path) -> None:
    write(tmp_path, {"1001_TIE_SAD_XX.flv": VIDEO, "summaryTable.csv": "FileName,FaceVote\nrubbish,S\n"})
    found = scan("CREMA-D", tmp_path, {"label_source": "face_vote"})
    assert found.problem_counts == {"unreadable label line": 1, "no face vote": 1}


# Two letters come before one: `sa` is no `a`, `su` no `s`. Numbers are padded or not.
@pytest.mark.parametrize(
    ("file", "name", "emotion"),
    [
        ("JK/a01.avi", "JK_a01", Emotion.Anger),
        ("JK/sa1.avi", "JK_sa01", Emotion.Sadness),
        ("DC/su15.avi", "DC_su15", Emotion.Surprise),
        ("JE/n30.avi", "JE_n30", Emotion.Neutral),
        ("kl/d3.AVI", "KL_d03", Emotion.Disgust),
        ("flat/KL_h02.avi", "KL_h02", Emotion.Happiness),
        ("JK/DC_f2.avi", "DC_f02", Emotion.Fear),  # the name knows better than the folder
    ],
)
def test_savee_name_gives_speaker_emotion_and_number(file: str, name: str, emotion: Emotion, tmp_path: Path) -> None:
    (clip,) = scan("SAVEE", write(tmp_path, {file: VIDEO})).clips
    assert (clip.name, clip.emotion, clip.speaker) == (name, emotion, name[:2])


def test_savee_takes_an_utterance_once_and_needs_a_speaker(tmp_path: Path) -> None:
    found = scan("SAVEE", make_savee(tmp_path))
    assert found.speakers == ("DC", "JE", "JK", "KL")
    assert len(found.clips) == 5
    assert found.problem_counts == {"second file of a clip already found": 1, "name of another pattern": 1}


def test_afew_folder_gives_emotion_and_split(tmp_path: Path) -> None:
    found = scan("AFEW", make_afew(tmp_path))
    assert [(clip.split, clip.label, clip.emotion, clip.speaker) for clip in found.clips] == [
        ("test", "unlabelled", None, "000100000"),
        ("train", "angry", Emotion.Anger, "000046280"),
        ("train", "sad", Emotion.Sadness, "000046281"),
        ("valid", "happy", Emotion.Happiness, "000149120"),
    ]
    assert found.examples("name of another pattern") == (str(tmp_path / "Train" / "Bored" / "000046282.avi"),)


@pytest.mark.parametrize("word", ["Angry", "Disgust", "Fear", "Happy", "Neutral", "Sad", "Surprise"])
def test_afew_knows_its_seven_classes(word: str, tmp_path: Path) -> None:
    (clip,) = scan("AFEW", write(tmp_path, {f"Val/{word}/1.avi": VIDEO})).clips
    assert clip.emotion is not None
    assert clip.emotion.name[:2] == word.replace("Angry", "Anger")[:2]  # Happy and Happiness, Sad and Sadness
