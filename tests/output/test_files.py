"""A folder that can be written to, before any work is done."""

import os

import pytest

from captum_guided_ext.errors import DataError
from captum_guided_ext.output import writable_folder, write_files


@pytest.mark.parametrize("written", [True, False])
def test_a_new_folder_is_kept_if_something_was_written(tmp_path, written):
    folder = tmp_path / "made" / "here"
    with writable_folder(folder) as made:
        assert made == folder
        assert list(folder.iterdir()) == []
        if written:
            (folder / "a.txt").touch()
    assert folder.exists() is written


def test_a_new_folder_is_taken_away_after_an_error(tmp_path):
    with pytest.raises(RuntimeError, match="stop"), writable_folder(tmp_path / "new"):
        raise RuntimeError("stop")
    assert list(tmp_path.iterdir()) == []


def test_a_folder_that_was_there_is_kept(tmp_path):
    with writable_folder(tmp_path):
        pass
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("place", "reason"), [("file", "File exists"), ("file/folder", "Not a directory")]
)
def test_a_place_that_cannot_be_written_to(tmp_path, place, reason):
    (tmp_path / "file").touch()
    with (
        pytest.raises(DataError, match=f"{place} cannot be written to: {reason}"),
        writable_folder(tmp_path / place),
    ):
        pytest.fail("no work is done")
    assert [one.name for one in tmp_path.iterdir()] == ["file"]


def test_what_is_no_regular_file_is_left_as_it_is(tmp_path):
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    with pytest.raises(DataError, match="pipe cannot be written to: it is no regular file"):
        write_files(tmp_path, {"pipe": b"content"})
    assert pipe.is_fifo()
    assert list(tmp_path.iterdir()) == [pipe]
