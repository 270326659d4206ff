"""IEMOCAP, RAMAS and Aff-Wild2: labels in files beside the videos, for intervals, halves of the picture and frames."""

from pathlib import Path

import pytest
from corpus_trees import VIDEO, make_affwild2, make_iemocap, make_ramas, make_ramas_votes, write

from emo_affectnet.emotions import Emotion
from emo_affectnet.errors import CorpusError
from emo_affectnet.faces import View
from emo_affectnet.training.corpora import Clip, Scan, scan

LEFT, RIGHT = View(right=0.5), View(left=0.5)


def by_name(found: Scan) -> dict[str, Clip]:
    return {clip.name: clip for clip in found.clips}


# The left half shows the one who wears the markers: the letter of the dialog, not of the utterance.
@pytest.mark.parametrize(
    ("utterance", "speaker", "view"),
    [
        ("Ses01F_impro01_F000", "Ses01F", LEFT),
        ("Ses01F_impro01_M000", "Ses01M", RIGHT),
        ("Ses01M_script01_1b_M000", "Ses01M", LEFT),
        ("Ses01M_script01_1b_F000", "Ses01F", RIGHT),
    ],
)
def test_iemocap_speaker_and_half_come_from_the_last_field(
    utterance: str, speaker: str, view: View, tmp_path: Path
) -> None:
    clip = by_name(scan("IEMOCAP", make_iemocap(tmp_path)))[utterance]
    assert (clip.speaker, clip.view) == (speaker, view)
    assert clip.path.name == f"{utterance.rpartition('_')[0]}.avi"


@pytest.mark.parametrize(("side", "view"), [("left", LEFT), ("right", RIGHT)])
def test_iemocap_half_can_be_set(side: str, view: View, tmp_path: Path) -> None:
    assert {clip.view for clip in scan("IEMOCAP", make_iemocap(tmp_path), {"side": side}).clips} == {view}


def test_iemocap_times_are_seconds_of_the_dialog_even_behind_its_end(tmp_path: Path) -> None:
    clips = by_name(scan("IEMOCAP", make_iemocap(tmp_path)))
    assert (clips["Ses01F_impro01_F000"].start, clips["Ses01F_impro01_F000"].end) == (6.2901, 8.2357)
    assert clips["Ses01F_impro01_F001"].end == 999.0


@pytest.mark.parametrize(
    ("policies", "exc", "fru"),
    [
        ({}, Emotion.Happiness, None),
        ({"exc": "drop"}, None, None),
        ({"fru": "anger"}, Emotion.Happiness, Emotion.Anger),
    ],
)
def test_iemocap_policies_decide_about_excitement_and_frustration(
    policies: dict[str, str], exc: Emotion | None, fru: Emotion | None, tmp_path: Path
) -> None:
    found = scan("IEMOCAP", make_iemocap(tmp_path), policies)
    assert {(clip.label, clip.emotion) for clip in found.clips} == {
        ("neu", Emotion.Neutral),
        ("exc", exc),
        ("xxx", None),
        ("fru", fru),
        ("ang", Emotion.Anger),
        ("dis", Emotion.Disgust),
    }


@pytest.mark.parametrize(
    ("code", "emotion"),
    [
        ("neu", Emotion.Neutral),
        ("hap", Emotion.Happiness),
        ("sad", Emotion.Sadness),
        ("sur", Emotion.Surprise),
        ("fea", Emotion.Fear),
        ("dis", Emotion.Disgust),
        ("ang", Emotion.Anger),
        ("oth", None),
    ],
)
def test_iemocap_code_becomes_its_emotion(code: str, emotion: Emotion | None, tmp_path: Path) -> None:
    make_iemocap(tmp_path)
    labels = tmp_path / "IEMOCAP_full_release" / "Session1" / "dialog" / "EmoEvaluation" / "Ses01F_impro01.txt"
    labels.write_text(f"% header\n\n[1.0 - 2.0]\tSes01F_impro01_F000\t{code}\t[2.5, 2.5, 2.5]\n")
    assert by_name(scan("IEMOCAP", tmp_path))["Ses01F_impro01_F000"].emotion == emotion


def test_iemocap_tells_of_lines_and_dialogs_it_cannot_use(tmp_path: Path) -> None:
    found = scan("IEMOCAP", make_iemocap(tmp_path))
    assert found.problem_counts == {"unreadable label line": 2, "missing video": 1}
    assert [where.rpartition(":")[2] for where in found.examples("unreadable label line")] == ["16", "17"]
    assert found.examples("missing video") == ("dialog/avi/DivX/Ses02F_impro01.avi, with 2 utterances",)


def test_iemocap_files_that_are_no_labels_are_told(tmp_path: Path) -> None:
    make_iemocap(tmp_path)
    folder = tmp_path / "IEMOCAP_full_release" / "Session1" / "dialog" / "EmoEvaluation"
    write(folder, {"notes.txt": "?", "Ses01F_impro02.txt": b"\xff\xfe\xff"})
    (folder / "Ses01M_script01_1b.txt").write_text("[1.2.3 - 4]\tSes01M_script01_1b_M000\tang\t[2.5, 2.5, 2.5]\n")
    found = scan("IEMOCAP", tmp_path)
    assert found.examples("name of another pattern") == (str(folder / "notes.txt"),)
    assert found.examples("unreadable file") == (str(folder / "Ses01F_impro02.txt"),)
    assert found.problem_counts["unreadable label line"] == 3


def test_iemocap_utterance_labelled_twice_is_taken_once(tmp_path: Path) -> None:
    make_iemocap(tmp_path / "one")
    make_iemocap(tmp_path / "two")
    found = scan("IEMOCAP", tmp_path)
    assert len(found.clips) == 6
    assert found.problem_counts["utterance labelled twice"] == 8


def test_ramas_reads_both_delimiters_and_decimal_commas(tmp_path: Path) -> None:
    clips = by_name(scan("RAMAS", make_ramas(tmp_path)))
    assert clips["10dec_O11_1 Angry 1.500-4.000"].start == 1.5
    assert clips["10dec_O11_1 Happy 10.000-12.000"].emotion == Emotion.Happiness
    assert clips["22dec_S3_2 Scared 7.000-8.000"].emotion == Emotion.Fear


def test_ramas_intervals_in_conflict_lose_their_emotion_and_touching_ones_do_not(tmp_path: Path) -> None:
    found = scan("RAMAS", make_ramas(tmp_path))
    assert found.examples("overlapping intervals of different emotions") == (
        "10dec_O11_1 Angry 1.500-4.000",
        "10dec_O11_1 Happy 3.500-6.000",
    )
    clips = by_name(found)
    assert clips["10dec_O11_1 Angry 1.500-4.000"].emotion is None
    assert clips["10dec_O11_1 Happy 3.500-6.000"].emotion is None
    assert clips["22dec_S3_2 Angry 5.000-7.000"].emotion == Emotion.Anger  # Scared begins where it ends


def test_ramas_domination_is_no_emotion_and_no_conflict(tmp_path: Path) -> None:
    clips = by_name(scan("RAMAS", make_ramas(tmp_path)))
    assert clips["10dec_O11_1 Domination 10.000-11.000"].emotion is None
    assert clips["10dec_O11_1 Happy 10.000-12.000"].emotion == Emotion.Happiness


def test_ramas_takes_the_close_video_also_with_an_addition_to_its_name(tmp_path: Path) -> None:
    found = scan("RAMAS", make_ramas(tmp_path))
    assert {(clip.path.parent.name, clip.path.name) for clip in found.clips} == {
        ("Video_close", "10dec_O11_1.avi"),
        ("Video_close", "22dec_S3_2_close.avi"),
    }
    assert found.examples("missing video") == ("Data/Video_close/30dec_gone_1",)
    assert found.problem_counts["interval listed twice"] == 1
    assert found.problem_counts["unreadable label line"] == 1


def test_ramas_scene_video_is_not_taken_for_the_close_one(tmp_path: Path) -> None:
    make_ramas(tmp_path)
    (tmp_path / "RAMAS" / "Data" / "Video_close" / "10dec_O11_1.avi").unlink()
    found = scan("RAMAS", tmp_path)
    assert found.speakers == ("22dec_S3_2",)
    assert "Data/Video_close/10dec_O11_1" in found.examples("missing video")


def test_ramas_recording_with_two_videos_is_not_guessed(tmp_path: Path) -> None:
    make_ramas(tmp_path)
    write(tmp_path, {"RAMAS/Data/Video_close/22dec_S3_2_far.avi": VIDEO})
    found = scan("RAMAS", tmp_path)
    assert found.examples("several videos of one recording") == ("Data/Video_close/22dec_S3_2",)
    assert {clip.speaker for clip in found.clips} == {"10dec_O11_1"}


def test_ramas_speakers_and_rotations_are_the_users(tmp_path: Path) -> None:
    make_ramas(tmp_path)
    assert scan("RAMAS", tmp_path).speakers == ("10dec_O11_1", "22dec_S3_2")
    write(
        tmp_path,
        {
            "speakers.csv": "recording,speaker\n10dec_O11_1,Ivan\n22dec_S3_2,Ivan\n31dec_typo,Anna\n",
            "rotations.csv": "recording;quarter_turns\n22dec_S3_2;-2\n",
        },
    )
    found = scan("RAMAS", tmp_path)
    assert found.speakers == ("Ivan",)
    assert found.problem_counts["line that names no labelled recording"] == 1
    assert {clip.view for clip in found.clips if clip.path.name.startswith("22dec")} == {View(quarter_turns=2)}
    assert {clip.view for clip in found.clips if clip.path.name.startswith("10dec")} == {None}


def test_ramas_rotation_that_is_no_number_is_refused(tmp_path: Path) -> None:
    make_ramas(tmp_path)
    write(tmp_path, {"rotations.csv": "recording,quarter_turns\n22dec_S3_2,upside down\n"})
    with pytest.raises(CorpusError, match="Expected a whole number of quarter turns for 22dec_S3_2"):
        scan("RAMAS", tmp_path)


# Two annotators: both Happy at 0.4 and 1.4; one Happy, one Sad at 2.4; one Sad at 3.4; none at 4.4; one Sad at 8.4.
def test_ramas_votes_become_runs_of_seconds_with_one_winner(tmp_path: Path) -> None:
    found = scan("RAMAS", make_ramas_votes(tmp_path))
    assert [(clip.label, clip.start, clip.end, clip.emotion) for clip in found.clips] == [
        ("Happy", 0.4, 2.4, Emotion.Happiness),
        ("no agreement", 2.4, 3.4, None),
        ("Sad", 3.4, 4.4, Emotion.Sadness),
        ("no vote", 4.4, 5.4, None),
        ("Sad", 8.4, 9.4, Emotion.Sadness),
    ]


# Of the votes between 0 and 3 s five are Happy and one is Sad: 0.83 of them.
@pytest.mark.parametrize(("min_agreement", "emotion"), [("0.8", Emotion.Happiness), ("0.85", None)])
def test_ramas_listed_interval_needs_its_share_of_votes(
    min_agreement: str, emotion: Emotion | None, tmp_path: Path
) -> None:
    make_ramas_votes(tmp_path)
    write(tmp_path, {"Annotations_by_emotions/data_Happy.csv": "ID,File,Start,End\n1,10dec_O11_1,0,3\n"})
    found = scan("RAMAS", tmp_path, {"min_agreement": min_agreement})
    assert [clip.emotion for clip in found.clips] == [emotion]
    assert found.problem_counts["agreement below min_agreement"] == (emotion is None)


def test_ramas_interval_that_few_agree_on_takes_nothing_from_another(tmp_path: Path) -> None:
    make_ramas_votes(tmp_path)
    row = "ID,File,Start,End\n1,10dec_O11_1,0,3\n"
    write(tmp_path, {f"Annotations_by_emotions/data_{word}.csv": row for word in ("Happy", "Sad")})
    found = scan("RAMAS", tmp_path)
    assert {clip.label: clip.emotion for clip in found.clips} == {"Happy": Emotion.Happiness, "Sad": None}


def test_ramas_tables_that_are_none_are_told(tmp_path: Path) -> None:
    make_ramas(tmp_path)
    lists = tmp_path / "RAMAS" / "Annotations_by_emotions"
    write(lists, {"data_Bored.csv": "ID,File,Start,End\n", "data_Sad.csv": "ID,Begin\n1,2\n"})
    make_ramas_votes(tmp_path / "RAMAS")
    votes = tmp_path / "RAMAS" / "Annotations_by_files" / "10dec_O11_1_ann.csv"
    votes.write_text(votes.read_text() + "soon,0,0,1,0,0,0,0,0,0,A01\n")
    found = scan("RAMAS", tmp_path)
    assert found.examples("name of another pattern") == (str(lists / "data_Bored.csv"),)
    assert found.examples("unreadable table")[0].startswith(f"Expected the columns File, Start, End in {lists}")
    assert f"{votes}:12" in found.examples("unreadable label line")


def test_ramas_recording_that_only_has_votes_is_told_where_there_are_lists(tmp_path: Path) -> None:
    make_ramas(tmp_path)
    make_ramas_votes(tmp_path / "votes")
    (tmp_path / "votes" / "Annotations_by_files" / "10dec_O11_1_ann.csv").rename(
        tmp_path / "votes" / "Annotations_by_files" / "11dec_O11_1_ann.csv"
    )
    found = scan("RAMAS", tmp_path)
    assert found.examples("recording with votes that no list names") == ("11dec_O11_1",)


def test_affwild2_frames_are_mapped_by_the_names_in_the_header(tmp_path: Path) -> None:
    clips = by_name(scan("Aff-Wild2", make_affwild2(tmp_path)))
    assert clips["134-30-1280x720"].frame_emotions == (-1, Emotion.Happiness, Emotion.Happiness, -1, Emotion.Anger)
    assert clips["video20"].frame_emotions == (Emotion.Surprise, Emotion.Disgust, -1, -1, Emotion.Neutral)


def test_affwild2_header_in_another_order_is_followed(tmp_path: Path) -> None:
    make_affwild2(tmp_path)
    folder = tmp_path / "annotations" / "EXPR_Classification_Challenge" / "Validation_Set"
    (folder / "video20.txt").write_text("Surprise, Fear ,Neutral\n0\n1\n2\n")
    clip = by_name(scan("Aff-Wild2", tmp_path))["video20"]
    assert clip.frame_emotions == (Emotion.Surprise, Emotion.Fear, Emotion.Neutral)


def test_affwild2_clip_shows_the_commonest_emotion_or_none(tmp_path: Path) -> None:
    found = scan("Aff-Wild2", make_affwild2(tmp_path))
    clips = by_name(found)
    assert clips["134-30-1280x720"].emotion == Emotion.Happiness
    assert clips["video10_right"].emotion is None
    assert {clip.label for clip in found.clips} == {"frames"}
    assert found.frame_emotions[Emotion.Fear] == 3
    assert found.frame_emotions.total() == 11


def test_affwild2_two_people_share_video_and_speaker_and_have_a_half_each(tmp_path: Path) -> None:
    clips = by_name(scan("Aff-Wild2", make_affwild2(tmp_path)))
    left, right = clips["video10_left"], clips["video10_right"]
    assert left.path == right.path == tmp_path / "batch2" / "video10.mp4"
    assert (left.view, right.view) == (LEFT, RIGHT)
    assert left.speaker == right.speaker == "video10"


def test_affwild2_split_is_the_folder(tmp_path: Path) -> None:
    clips = by_name(scan("Aff-Wild2", make_affwild2(tmp_path)))
    assert clips["video10_left"].split == "train"
    assert clips["video20"].split == "valid"


def test_affwild2_without_a_video_points_at_the_faces_even_if_some_are_missing(tmp_path: Path) -> None:
    clip = by_name(scan("Aff-Wild2", make_affwild2(tmp_path)))["video21"]
    assert clip.path == tmp_path / "cropped_aligned" / "video21"
    assert clip.frame_emotions == (Emotion.Fear,) * 3  # 00002.jpg, which is not there, is frame 1
    assert clip.view is None


def test_affwild2_other_is_dropped_and_told_or_taken_for_neutral(tmp_path: Path) -> None:
    make_affwild2(tmp_path)
    dropped = scan("Aff-Wild2", tmp_path)
    assert dropped.examples("frames of a class outside the seven")[0].endswith("1280x720.txt: 1 of 5 are Other")
    merged = scan("Aff-Wild2", tmp_path, {"other": "neutral"})
    assert by_name(merged)["134-30-1280x720"].frame_emotions == (-1, 1, 1, Emotion.Neutral, 6)
    assert "frames of a class outside the seven" not in merged.problem_counts


def test_affwild2_tells_of_what_it_cannot_use(tmp_path: Path) -> None:
    found = scan("Aff-Wild2", make_affwild2(tmp_path))
    assert found.problem_counts == {
        "frames of a class outside the seven": 2,
        "unreadable label line": 2,
        "missing video": 1,
        "header without expressions": 1,
    }


def test_affwild2_video_in_two_editions_is_taken_once(tmp_path: Path) -> None:
    make_affwild2(tmp_path)
    write(tmp_path, {"annotations/EXPR_Set/Train_Set/video20.txt": "Neutral\n0\n"})
    found = scan("Aff-Wild2", tmp_path)
    assert found.problem_counts["video annotated twice"] == 1
    assert by_name(found)["video20"].split == "valid"


def test_affwild2_folder_that_is_no_split_is_told(tmp_path: Path) -> None:
    make_affwild2(tmp_path)
    write(tmp_path, {"annotations/EXPR_Set/Extra/video20.txt": "Neutral\n0\n"})
    assert scan("Aff-Wild2", tmp_path).problem_counts["name of another pattern"] == 1
