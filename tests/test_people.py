"""Who is the same person in several recordings."""

from pathlib import Path

import pytest

from emo_affectnet.errors import ReportError, UsageError
from emo_affectnet.inputs import FOLDER, Input
from emo_affectnet.people import assign_people

LABELS = ("a.mp4", "sub/b.mp4", "sub/c.mp4")
INPUTS = [Input(Path("videos", label), label[:-4], label) for label in LABELS]


@pytest.fixture
def table(tmp_path: Path) -> Path:
    return tmp_path / "people.csv"


def test_by_default_every_recording_is_of_somebody_else() -> None:
    persons = assign_people(INPUTS, None)
    assert list(persons) == [(label, 1) for label in LABELS]
    assert len(set(persons.values())) == 3


def test_videos_in_one_folder_are_of_one_person() -> None:
    a, b, c = assign_people(INPUTS, FOLDER).values()
    assert b == c != a


def test_a_table_names_people_and_leaves_the_others_to_themselves(table: Path) -> None:
    table.write_text("person,file\nAda,a.mp4\nAda,sub/c.mp4\n", encoding="utf-8-sig")  # as spreadsheets save it
    persons = assign_people(INPUTS, table)
    assert persons["a.mp4", 1] == persons["sub/c.mp4", 1] == "Ada"
    assert persons["sub/b.mp4", 1] not in ("Ada", "")


def test_a_table_may_name_somebody_beside_the_primary_person(table: Path) -> None:
    table.write_text("file,person,track\na.mp4,Ada,\nsub/b.mp4,Ada,2\n")
    persons = assign_people(INPUTS, table)
    assert persons["sub/b.mp4", 2] == "Ada"
    assert persons["sub/b.mp4", 1] != "Ada"


@pytest.mark.parametrize(
    ("text", "words"),
    [
        # a table of something else
        ("video,who\na.mp4,Ada\n", "with the columns file and person, but it lacks file and person"),
        ("", "it lacks file and person"),
        # a video that is not in the run, or by another path
        ("file,person\nb.mp4,Ada\n", "line 2: there is no video 'b.mp4' in this run"),
        # gaps
        ("file,person\na.mp4,\n", "line 2: a.mp4 has no person"),
        ("file,person\na.mp4\n", "line 2: a.mp4 has no person"),
        # one face, two people
        ("file,person\na.mp4,Ada\na.mp4,Bob\n", "two people, Ada and Bob, for the same face in a.mp4"),
        # tracks count from 1
        ("file,person,track\na.mp4,Ada,0\n", "a track is a number from 1 on"),
        ("file,person,track\na.mp4,Ada,left\n", "but 'left' was given"),
    ],
)
def test_a_table_that_cannot_be_meant_is_refused_in_one_sentence(table: Path, text: str, words: str) -> None:
    table.write_text(text)
    with pytest.raises(UsageError, match=words):
        assign_people(INPUTS, table)


def test_what_is_no_table_at_all_is_refused(table: Path) -> None:
    with pytest.raises(ReportError, match="No such file"):
        assign_people(INPUTS, table)
    table.write_bytes(b"\xff\xfe\x00file")
    with pytest.raises(ReportError, match="should be a table of people"):
        assign_people(INPUTS, table)
