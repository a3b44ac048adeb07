"""Files are whole or not there: what a failing write leaves, and what it says."""

from __future__ import annotations

import errno
import fcntl
import hashlib
import logging
import os
from pathlib import Path

import pytest

from carlib.errors import CarlibError, UsageError
from carlib.files import explained, flush, only_one, sha256, whole_file, whole_folder, write_whole


def names(folder: Path) -> list[str]:
    return sorted(entry.name for entry in folder.iterdir())


def write_half(path: Path, error: BaseException | None) -> None:
    with whole_file(path) as aside:
        aside.write_text("half")
        if error:
            raise error


@pytest.mark.parametrize("content", ["", "text", "grün 🚗 \u2028\n", b"", b"\0\xff\r\n"])
@pytest.mark.parametrize(
    "name", ["a.txt", "no-suffix", ".hidden", "a.b.c", "deep/er/a.txt", "ü 🚗"]
)
def test_write_whole(tmp_path, name, content):
    write_whole(tmp_path / name, content)
    expected = content.encode() if isinstance(content, str) else content
    assert (tmp_path / name).read_bytes() == expected
    assert names((tmp_path / name).parent) == [Path(name).name]


def test_a_text_path_will_do(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    write_whole("a.txt", "new")
    assert Path("a.txt").read_text() == "new"


def test_the_old_file_stays_until_the_new_one_is_whole(tmp_path):
    path = tmp_path / "model.keras"
    path.write_text("old")
    with whole_file(path) as aside:
        assert aside.parent == path.parent
        assert aside.suffix == path.suffix, "Keras and matplotlib choose the format by it"
        aside.write_text("new")
        assert path.read_text() == "old"
    assert path.read_text() == "new"
    assert names(tmp_path) == ["model.keras"]


@pytest.mark.parametrize("error", [ValueError("own"), KeyboardInterrupt("stop"), SystemExit("bye")])
@pytest.mark.parametrize("old", [None, "old"])
def test_a_failing_write_leaves_the_old_file_and_no_leftovers(tmp_path, error, old):
    path = tmp_path / "a.csv"
    if old:
        path.write_text(old)
    with pytest.raises(type(error), match=str(error)):
        write_half(path, error)
    assert names(tmp_path) == (["a.csv"] if old else [])
    assert not old or path.read_text() == old


def test_a_leftover_of_a_killed_write_is_written_over(tmp_path):
    with whole_file(tmp_path / "a.csv") as aside:
        leftover = aside
        aside.touch()
    (tmp_path / "a.csv").unlink()
    leftover.write_text("half of a longer text")
    write_whole(tmp_path / "a.csv", "new")
    assert names(tmp_path) == ["a.csv"]
    assert (tmp_path / "a.csv").read_text() == "new"


def test_nothing_written_is_an_error(tmp_path):
    with pytest.raises(FileNotFoundError, match="aside"), whole_file(tmp_path / "a.csv"):
        pass
    assert names(tmp_path) == []


# h5py gives no errno, only C's text within its own.
FULL = [
    OSError(errno.ENOSPC, os.strerror(errno.ENOSPC)),
    OSError(errno.EDQUOT, os.strerror(errno.EDQUOT)),
    OSError(f"Can't write data (file write failed: '{os.strerror(errno.ENOSPC)}', size = 4096)"),
]


@pytest.mark.parametrize("error", FULL, ids=["ENOSPC", "EDQUOT", "h5py"])
@pytest.mark.parametrize("where", ["body", "fsync", "replace"])
def test_a_full_disk(tmp_path, monkeypatch, error, where):
    path = tmp_path / "run" / "state.npz"
    write_whole(path, "old")

    def fail(*arguments: object) -> None:
        raise error

    if where != "body":
        monkeypatch.setattr(os, where, fail)
    with pytest.raises(CarlibError, match=r"no space left to write .*state.npz") as caught:
        write_half(path, error if where == "body" else None)
    assert "MB free" in str(caught.value)
    assert "\n" not in str(caught.value)
    assert caught.value.exit_code == 1
    assert path.read_text() == "old"
    assert names(path.parent) == ["state.npz"]


def test_the_free_space_of_a_folder_that_is_not_there_yet():
    refused = pytest.raises(CarlibError, match=r"no space left .* \(\d+ MB free\)")
    with refused, explained("/not-there/nor-this/a.csv"):
        raise FULL[0]


@pytest.mark.parametrize("code", ["EACCES", "EPERM", "EROFS", "EBUSY"])
def test_a_refused_write(tmp_path, monkeypatch, code):
    number = getattr(errno, code)

    def refuse(*arguments: object) -> None:
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(os, "replace", refuse)
    with pytest.raises(CarlibError, match=f"^cannot write .*a.csv: {os.strerror(number)}; choose"):
        write_whole(tmp_path / "a.csv", "new")
    assert names(tmp_path) == []


@pytest.mark.parametrize(
    "name",
    ["file/a.csv", "file/deeper/a.csv", "folder", "n" * 300],
    ids=["file for folder", "file for its parent", "folder for file", "long name"],
)
def test_a_place_that_takes_no_file(tmp_path, name):
    (tmp_path / "file").write_text("old")
    (tmp_path / "folder").mkdir()
    with pytest.raises(CarlibError, match=r"^cannot write .*; choose a folder you may write to$"):
        write_whole(tmp_path / name, "new")
    assert (tmp_path / "file").read_text() == "old"
    assert names(tmp_path) == ["file", "folder"]
    assert names(tmp_path / "folder") == []


@pytest.mark.parametrize("name", ["", ".", "..", "/", "a/.."])
def test_a_name_that_can_only_be_a_folder(tmp_path, monkeypatch, name):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(UsageError, match="is a folder; give the name of a file to write"):
        write_whole(name, "new")
    assert names(tmp_path) == []


@pytest.mark.parametrize("error", [OSError(errno.EIO, "broken disk"), OSError("no number")])
def test_other_errors_pass_through(tmp_path, error):
    with pytest.raises(OSError, match=r"broken disk|no number") as caught, explained(tmp_path):
        raise error
    assert caught.value is error


def test_flush_takes_files_and_folders(tmp_path):
    (tmp_path / "a").touch()
    flush(tmp_path / "a")
    flush(tmp_path)
    with pytest.raises(FileNotFoundError, match="gone"):
        flush(tmp_path / "gone")


@pytest.mark.parametrize("content", [b"", b"carlib", bytes(range(256)) * 5000])
def test_sha256(tmp_path, content):
    (tmp_path / "a").write_bytes(content)
    assert sha256(tmp_path / "a") == sha256(str(tmp_path / "a"))
    assert sha256(tmp_path / "a") == hashlib.sha256(content).hexdigest()


@pytest.mark.parametrize("error", [OSError(28, "No space left on device"), KeyboardInterrupt()])
def test_a_folder_that_is_not_finished_is_gone(tmp_path, error):
    def fill():
        with whole_folder(tmp_path / "f") as aside:
            (aside / "a.txt").write_text("half")
            assert not (tmp_path / "f").exists()
            raise error

    with pytest.raises((CarlibError, KeyboardInterrupt)):
        fill()
    assert not list(tmp_path.iterdir())


def test_one_process_at_a_time_holds_a_folder(tmp_path):
    """A lock belongs to an open file, so a second one in this process counts like another's."""
    run = tmp_path / "run"
    with only_one(run):
        (run / "a.txt").write_text("at work")
        with pytest.raises(CarlibError, match="another process is at work in"), only_one(run):
            pass
    with only_one(run):
        pass
    assert (run / "a.txt").exists()


def no_locks(code, monkeypatch):
    def refuse(file: object, how: int) -> None:
        raise OSError(code, os.strerror(code))

    monkeypatch.setattr(fcntl, "flock", refuse)


@pytest.mark.parametrize("name", ["ENOTSUP", "EOPNOTSUPP", "ENOSYS", "ENOLCK", "EINVAL"])
def test_a_file_system_without_locks_is_warned_of(tmp_path, monkeypatch, caplog, name):
    number = getattr(errno, name)
    no_locks(number, monkeypatch)
    run = tmp_path / "run"
    with only_one(run):
        (run / "a.txt").write_text("at work")
    assert (run / "a.txt").exists()
    (record,) = caplog.records
    assert (record.name, record.levelno) == ("carlib", logging.WARNING)
    assert record.getMessage() == (
        f"{run} lies on a file system without locks ({os.strerror(number)}): a second process "
        "cannot be kept out of it; do not start one there"
    )


def test_a_folder_without_locks_that_was_held_for_nothing_is_gone(tmp_path, monkeypatch):
    no_locks(errno.ENOSYS, monkeypatch)
    with only_one(tmp_path / "run"):
        assert (tmp_path / "run").is_dir()
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("name", "kind"), [("EIO", OSError), ("EINTR", OSError), ("EACCES", CarlibError)]
)
def test_a_lock_that_fails_otherwise_is_an_error(tmp_path, monkeypatch, caplog, name, kind):
    number = getattr(errno, name)
    no_locks(number, monkeypatch)
    with pytest.raises(kind, match=os.strerror(number)), only_one(tmp_path / "run"):
        pytest.fail("held without a lock")
    assert not caplog.records


def test_a_folder_held_for_nothing_is_gone(tmp_path):
    with only_one(tmp_path / "run"):
        assert (tmp_path / "run").is_dir()
    assert not list(tmp_path.iterdir())
