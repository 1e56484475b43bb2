"""Files and folders appear whole or not at all."""

import subprocess
import sys

import pytest

from asr.files import atomic_folder, atomic_write, reserved_folder


def test_a_file_is_written_with_the_folders_it_needs(tmp_path):
    with atomic_write(tmp_path / "a" / "b.txt") as stream:
        stream.write("\u00e9\n")
    assert (tmp_path / "a" / "b.txt").read_bytes() == b"\xc3\xa9\n"


def test_bytes_are_written_as_they_are(tmp_path):
    with atomic_write(tmp_path / "b", "wb") as stream:
        stream.write(b"\r\n\x00")
    assert (tmp_path / "b").read_bytes() == b"\r\n\x00"


def test_nothing_is_seen_before_the_block_ends(tmp_path):
    path = tmp_path / "a.txt"
    path.write_text("old")
    with atomic_write(path) as stream:
        stream.write("new")
        stream.flush()
        assert path.read_text() == "old"
    assert path.read_text() == "new"


@pytest.mark.parametrize("error", [RuntimeError, KeyboardInterrupt])
def test_an_error_leaves_the_old_file_and_nothing_else(tmp_path, error):
    path = tmp_path / "a.txt"
    path.write_text("old")
    with pytest.raises(error), atomic_write(path) as stream:
        stream.write("half")
        raise error
    assert path.read_text() == "old"
    assert list(tmp_path.iterdir()) == [path]


def test_an_error_without_an_old_file_leaves_nothing(tmp_path):
    with pytest.raises(RuntimeError), atomic_write(tmp_path / "a.txt"):
        raise RuntimeError
    assert not list(tmp_path.iterdir())


def test_a_killed_writer_leaves_the_old_file(tmp_path):
    path = tmp_path / "a.txt"
    path.write_text("old")
    program = (
        "import os, sys\n"
        "from asr.files import atomic_write\n"
        "with atomic_write(sys.argv[1]) as stream:\n"
        "    stream.write('half')\n"
        "    stream.flush()\n"
        "    os.kill(os.getpid(), 9)\n"
    )
    assert subprocess.run([sys.executable, "-c", program, str(path)]).returncode == -9
    assert path.read_text() == "old"


def fill(folder, content):
    with atomic_folder(folder) as place:
        (place / "x").write_text(content)


def test_a_folder_replaces_the_old_one_whole(tmp_path):
    folder = tmp_path / "model"
    fill(folder, "old")
    (folder / "stray").write_text("")
    fill(folder, "new")
    assert [(path.name, path.read_text()) for path in folder.iterdir()] == [("x", "new")]
    assert list(tmp_path.iterdir()) == [folder]


@pytest.mark.parametrize("error", [RuntimeError, KeyboardInterrupt])
def test_an_error_leaves_the_old_folder_and_nothing_else(tmp_path, error):
    folder = tmp_path / "model"
    fill(folder, "old")
    with pytest.raises(error), atomic_folder(folder) as place:
        (place / "x").write_text("half")
        raise error
    assert (folder / "x").read_text() == "old"
    assert list(tmp_path.iterdir()) == [folder]


def test_a_link_to_a_folder_is_replaced_and_its_folder_kept(tmp_path):
    fill(tmp_path / "real", "old")
    (tmp_path / "link").symlink_to("real")
    fill(tmp_path / "link", "new")
    assert (tmp_path / "link" / "x").read_text() == "new"
    assert (tmp_path / "real" / "x").read_text() == "old"
    assert set(tmp_path.iterdir()) == {tmp_path / "link", tmp_path / "real"}


def test_a_file_in_the_folders_place_is_kept(tmp_path):
    (tmp_path / "model").write_text("a file")
    with pytest.raises(NotADirectoryError, match="is a file; expected a folder"):
        fill(tmp_path / "model", "new")
    assert (tmp_path / "model").read_text() == "a file"
    assert list(tmp_path.iterdir()) == [tmp_path / "model"]


def test_a_swap_that_fails_brings_the_old_folder_back(tmp_path):
    folder = tmp_path / "model"
    fill(folder, "old")
    with pytest.raises(OSError), atomic_folder(folder) as place:
        # Somebody clears the unfinished folder away.
        place.rmdir()
    assert (folder / "x").read_text() == "old"
    assert list(tmp_path.iterdir()) == [folder]


@pytest.mark.parametrize("error", [OSError, KeyboardInterrupt])
def test_a_reserved_folder_goes_again_where_the_work_fails(tmp_path, error):
    (tmp_path / "old").mkdir()
    for folder in ("old", "old/new/deep"):
        with pytest.raises(error), reserved_folder(tmp_path / folder):
            assert (tmp_path / folder).is_dir()
            raise error
        assert [path.name for path in tmp_path.rglob("*")] == ["old"]
    with pytest.raises(error), reserved_folder(tmp_path / "kept"):
        (tmp_path / "kept" / "result").write_text("1")
        raise error
    assert (tmp_path / "kept" / "result").exists()
    with pytest.raises(error), atomic_folder(tmp_path / "parent" / "corpus"):
        raise error
    assert not (tmp_path / "parent").exists()
    with reserved_folder(tmp_path / "made"), reserved_folder(None):
        pass
    assert (tmp_path / "made").is_dir()
    with pytest.raises(FileExistsError), reserved_folder(tmp_path / "kept" / "result"):
        raise AssertionError("never reached")
