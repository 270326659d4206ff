"""A file appears complete or not at all."""

from pathlib import Path

import pytest

from emo_affectnet.files import whole_file


def test_a_file_appears_at_the_end_under_its_name(tmp_path: Path) -> None:
    target = tmp_path / "report.csv"
    with whole_file(target) as partial:
        partial.write_text("half")
        assert not target.exists()
        assert partial.suffix == ".csv"
    assert target.read_text() == "half"
    assert list(tmp_path.iterdir()) == [target]


def test_after_an_error_the_old_file_stands_and_nothing_else(tmp_path: Path) -> None:
    target = tmp_path / "report.csv"
    target.write_text("old")

    def write_half() -> None:
        with whole_file(target) as partial:
            partial.write_text("half")
            raise RuntimeError("disk")

    with pytest.raises(RuntimeError, match="disk"):
        write_half()
    assert target.read_text() == "old"
    assert list(tmp_path.iterdir()) == [target]
