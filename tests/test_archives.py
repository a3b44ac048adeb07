"""Folders and zips by one kind of path; zips that are damaged or point outside."""

from __future__ import annotations

import threading
import zipfile
import zlib
from pathlib import Path

import pytest
from photos import write_files, write_zip

from carlib.archives import MEMBER, fingerprint, list_folder, list_zip, read_bytes
from carlib.errors import DataError

FILES = {
    "0/a.jpg": b"first",
    "0/Wow!/b.jpg": b"second" * 100,
    "10/c.jpg": b"",
    "ä 🚗/d.jpg": b"\0\xff",
    "e.txt": b"x",
}


@pytest.fixture
def folder(tmp_path):
    return write_files(tmp_path / "files", FILES)


@pytest.fixture(params=[zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED], ids=["stored", "deflated"])
def archive(request, tmp_path):
    return write_zip(tmp_path / "photos.zip", FILES, compression=request.param)


def test_folder_and_zip_agree(folder, archive):
    in_folder, in_zip = list_folder(folder), list_zip(archive)
    assert list(in_folder) == list(in_zip) == sorted(FILES)
    for name, content in FILES.items():
        assert read_bytes(in_folder[name]) == read_bytes(in_zip[name]) == content
        expected = (len(content), zlib.crc32(content))
        assert fingerprint(in_folder[name]) == fingerprint(in_zip[name]) == expected


def test_the_path_of_a_member(archive):
    assert list_zip(archive)["0/a.jpg"] == f"{archive}!/0/a.jpg"


@pytest.mark.parametrize("top", ["Wow!", "a!/b!", "plain"])
def test_folders_that_end_with_the_member_mark(tmp_path, top):
    write_files(tmp_path / top, FILES)
    write_zip(tmp_path / top / "train.zip", FILES)
    for path in (
        list_folder(tmp_path / top)["0/a.jpg"],
        list_zip(tmp_path / top / "train.zip")["0/a.jpg"],
    ):
        assert read_bytes(path) == b"first"
        assert fingerprint(path) == (5, zlib.crc32(b"first"))


JUNK = ["__MACOSX/0/._a.jpg", ".DS_Store", "0/.DS_Store", "0/._a.jpg", "Thumbs.db", ".git/a.jpg"]


def test_junk_is_passed_over(tmp_path):
    files = {**FILES, **dict.fromkeys(JUNK, b"junk")}
    assert list(list_folder(write_files(tmp_path / "files", files))) == sorted(FILES)
    assert list(list_zip(write_zip(tmp_path / "a.zip", files))) == sorted(FILES)


def test_empty_folders_are_no_files(tmp_path):
    (tmp_path / "files/empty").mkdir(parents=True)
    assert list_folder(tmp_path / "files") == {}
    assert list_zip(write_zip(tmp_path / "a.zip", {"empty/": b""})) == {}
    assert list_folder(tmp_path / "gone") == {}


@pytest.mark.parametrize(
    "name",
    [
        "../a.jpg",
        "train/../../a.jpg",
        "train/..",
        "/etc/a.jpg",
        "//host/share/a.jpg",
        "..\\a.jpg",
        "train\\..\\..\\a.jpg",
        "\\a.jpg",
        "\\\\host\\share\\a.jpg",
        "C:/a.jpg",
        "C:\\a.jpg",
        "c:a.jpg",
    ],
)
def test_a_member_that_points_outside(tmp_path, name):
    archive = write_zip(tmp_path / "a.zip", {"0/good.jpg": b"x", name: b"y"})
    with pytest.raises(DataError, match=r"a.zip holds the member .* points outside the archive"):
        list_zip(archive)


@pytest.mark.parametrize(
    "name", ["0/a..jpg", "0/a...b/c.jpg", "2020-01-01 12:30:00.jpg", "a\\b.jpg"]
)
def test_a_member_with_an_odd_name_that_stays_inside(tmp_path, name):
    listed = list_zip(write_zip(tmp_path / "a.zip", {name: b"x"}))
    assert {name: read_bytes(path) for name, path in listed.items()} == {name: b"x"}


@pytest.mark.parametrize("content", [b"", b"no zip", b"PK\x03\x04 but no more"])
def test_no_zip(tmp_path, content):
    (tmp_path / "a.zip").write_bytes(content)
    with pytest.raises(DataError, match=r"^cannot read the archive .*a\.zip: .*; fetch it again$"):
        list_zip(tmp_path / "a.zip")


def test_no_such_zip(tmp_path):
    with pytest.raises(DataError, match=r"cannot read the archive .*: No such file or directory"):
        list_zip(tmp_path / "a.zip")


def test_no_such_member(archive):
    path = f"{archive}{MEMBER}gone.jpg"
    for read in (read_bytes, fingerprint):
        with pytest.raises(DataError, match=r"cannot read .*gone.jpg: .*no item named"):
            read(path)


@pytest.mark.parametrize("path", ["gone.jpg", "gone.zip!/a.jpg"])
def test_no_such_file(tmp_path, path):
    for read in (read_bytes, fingerprint):
        with pytest.raises(DataError, match=f"cannot read .*{path}: No such file or directory"):
            read(str(tmp_path / path))


def test_a_folder_is_no_file(tmp_path):
    with pytest.raises(DataError, match=r"cannot read .*: Is a directory"):
        read_bytes(str(tmp_path))


def everything(archive: Path) -> dict[str, bytes]:
    return {name: read_bytes(path) for name, path in list_zip(archive).items()}


def test_a_truncated_zip_is_refused_at_every_length(tmp_path, archive):
    content = archive.read_bytes()
    for length in range(len(content)):
        cut = tmp_path / f"{length}.zip"
        cut.write_bytes(content[:length])
        with pytest.raises(DataError, match="cannot read the archive"):
            list_zip(cut)


def test_a_flipped_byte_is_refused_or_harmless(tmp_path, archive):
    """Wherever it is: a DataError, or the photos as they were (some fields of a zip are idle)."""
    content = archive.read_bytes()
    whole = set(FILES.values())
    refused = 0
    for place in range(len(content)):
        flipped = bytearray(content)
        flipped[place] ^= 0x81
        path = tmp_path / f"{place}.zip"
        path.write_bytes(flipped)
        try:
            assert set(everything(path).values()) <= whole
        except DataError:
            refused += 1
    assert refused > len(content) / 3


def test_a_flipped_byte_in_a_member_fails_its_check_sum(archive):
    content = bytearray(archive.read_bytes())
    with zipfile.ZipFile(archive) as opened:
        entry = opened.getinfo("0/Wow!/b.jpg")
    content[entry.header_offset + 30 + len("0/Wow!/b.jpg") + 2] ^= 0xFF
    archive.write_bytes(content)
    paths = list_zip(archive)
    with pytest.raises(DataError, match=r"^cannot read .*photos\.zip!/0/Wow!/b\.jpg: "):
        read_bytes(paths["0/Wow!/b.jpg"])
    assert read_bytes(paths["0/a.jpg"]) == b"first"


def test_an_encrypted_member(archive):
    content = bytearray(archive.read_bytes())
    for mark, offset in ((b"PK\x03\x04", 6), (b"PK\x01\x02", 8)):
        place = content.find(mark)
        content[place + offset] |= 1
    archive.write_bytes(content)
    with pytest.raises(DataError, match=r"cannot read .*0/a.jpg: .*encrypted"):
        read_bytes(list_zip(archive)["0/a.jpg"])


def test_an_archive_fetched_again_is_read_anew(tmp_path):
    archive = write_zip(tmp_path / "a.zip", {"a.jpg": b"old"})
    path = list_zip(archive)["a.jpg"]
    assert read_bytes(path) == b"old"
    write_zip(archive, {"a.jpg": b"newer", "b.jpg": b"more"})
    assert read_bytes(path) == b"newer"
    assert fingerprint(path) == (5, zlib.crc32(b"newer"))


def test_many_threads_read_one_zip(archive):
    paths = list_zip(archive)
    wrong: list[str] = []

    def read() -> None:
        for _ in range(20):
            wrong.extend(name for name in FILES if read_bytes(paths[name]) != FILES[name])

    threads = [threading.Thread(target=read) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert wrong == []


def test_files_and_members_above_the_limit_are_not_read(folder, archive, monkeypatch):
    monkeypatch.setattr("carlib.archives.MAX_BYTES", 599)
    for path in (list_folder(folder)["0/Wow!/b.jpg"], list_zip(archive)["0/Wow!/b.jpg"]):
        with pytest.raises(DataError, match="has 600 bytes, above the 599 that carlib reads"):
            read_bytes(path)
        monkeypatch.setattr("carlib.archives.MAX_BYTES", 600)
        assert len(read_bytes(path)) == 600
        monkeypatch.setattr("carlib.archives.MAX_BYTES", 599)
