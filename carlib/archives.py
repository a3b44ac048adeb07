"""Files in a folder or inside a zip, by one kind of path: ``train.zip!/train/0/a.jpg``.

Zips are read where they lie: Kaggle's inputs are read-only, and its scratch is rationed.
"""

from __future__ import annotations

import os
import threading
import zipfile
import zlib
from functools import lru_cache
from pathlib import Path, PurePosixPath, PureWindowsPath

from carlib.errors import DataError

MAX_BYTES = 1_000_000_000  # of one photo: above it, a mistake or a zip that blows up
MEMBER = "!/"  # between the archive and the member
JUNK = ("__MACOSX", "Thumbs.db")  # what archivers leave behind; hidden files are junk too
# What zipfile raises on a missing, damaged or encrypted archive or member; a damaged name is a
# UnicodeDecodeError, an encrypted member a RuntimeError (NotImplementedError is one too).
_DAMAGE = (OSError, KeyError, ValueError, RuntimeError, EOFError, zipfile.BadZipFile, zlib.error)


def read_bytes(path: str) -> bytes:
    """Return the content of a file or zip member.

    Raises:
        DataError: Missing, unreadable, above MAX_BYTES, or a member whose CRC-32 does not match.
    """
    try:
        archive, member = _parted(path)
        size = _open(archive).getinfo(member).file_size if member else os.path.getsize(path)
        if size > MAX_BYTES:
            raise DataError(f"{path} has {size:,} bytes, above the {MAX_BYTES:,} that carlib reads")
        return _open(archive).read(member) if member else Path(path).read_bytes()
    except _DAMAGE as error:
        raise DataError(f"cannot read {path}: {_reason(error)}") from error


def fingerprint(path: str) -> tuple[int, int]:
    """Return (bytes, CRC-32) of a file's content.

    A zip keeps both for each member, so a zip and its unpacked folder agree, and the zip's
    need no reading.

    Raises:
        DataError: Missing or unreadable.
    """
    archive, member = _parted(path)
    if not member:
        content = read_bytes(path)
        return len(content), zlib.crc32(content)
    try:
        entry = _open(archive).getinfo(member)
    except _DAMAGE as error:
        raise DataError(f"cannot read {path}: {_reason(error)}") from error
    return entry.file_size, entry.CRC


def _parted(path: str) -> tuple[str, str]:
    """Return archive and member; no member for a plain file, whose folders may end with "!"."""
    end = path.find(MEMBER)
    while end >= 0:
        if os.path.isfile(path[:end]):
            return path[:end], path[end + len(MEMBER) :]
        end = path.find(MEMBER, end + 1)
    return path, ""


def _reason(error: BaseException) -> str:
    return error.strerror if isinstance(error, OSError) and error.strerror else str(error)


def _open(archive: str) -> zipfile.ZipFile:
    # An archive fetched again, because it was damaged, is another one.
    now = os.stat(archive)
    return _handle(archive, now.st_mtime_ns, now.st_size, os.getpid(), threading.get_ident())


@lru_cache(maxsize=64)
def _handle(path: str, changed: int, size: int, process: int, thread: int) -> zipfile.ZipFile:
    # One handle a thread: readers of one ZipFile wait for each other, and a handle
    # does not survive a fork.
    return zipfile.ZipFile(path)


def list_folder(folder: Path) -> dict[str, str]:
    """Return relative name (with "/") to path of every file below a folder, sorted by name."""
    found = {}
    for where, folders, names in os.walk(folder):
        folders[:] = sorted(name for name in folders if not is_junk(name))
        for name in names:
            if not is_junk(name):
                path = Path(where, name)
                found[path.relative_to(folder).as_posix()] = str(path)
    return dict(sorted(found.items()))


def list_zip(archive: Path) -> dict[str, str]:
    """Return member name to path of every file in a zip, sorted by name.

    Raises:
        DataError: No zip, or a member that would leave the folder it is unpacked to
            (an absolute name, one with ``..`` or a drive letter): such archives are refused whole.
    """
    try:
        with zipfile.ZipFile(archive) as opened:
            names = opened.namelist()
    except _DAMAGE as error:
        raise DataError(
            f"cannot read the archive {archive}: {_reason(error)}; fetch it again"
        ) from error
    for name in names:
        member = PurePosixPath(name.replace("\\", "/"))
        if member.is_absolute() or ".." in member.parts or PureWindowsPath(name).drive:
            raise DataError(
                f"{archive} holds the member {name!r}, which points outside the archive; "
                "refused: pack the photos again"
            )
    kept = [
        name
        for name in names
        if not name.endswith("/") and not any(is_junk(part) for part in name.split("/"))
    ]
    return {name: f"{archive}{MEMBER}{name}" for name in sorted(kept)}


def is_junk(name: str) -> bool:
    """Say whether a file or folder name is an archiver's or a system's, not a person's."""
    return name.startswith(".") or name in JUNK
