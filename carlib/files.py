"""Files that are either whole or not there.

Everything carlib writes goes aside first, is flushed to the disk, and takes its
name by one rename: a reader, or the next session, never meets half of it.
"""

from __future__ import annotations

import errno
import fcntl
import hashlib
import logging
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from carlib.errors import CarlibError, UsageError

log = logging.getLogger("carlib")

LOCK = "lock"  # file that a process at work in a folder holds
ASIDE = ".aside"  # suffix of what is still being written; safe to delete
FULL = (errno.ENOSPC, errno.EDQUOT)
REFUSED = (
    errno.EACCES,
    errno.EPERM,
    errno.EROFS,
    errno.EEXIST,  # a file stands where a folder is needed
    errno.ENOTDIR,
    errno.EISDIR,
    errno.EBUSY,
    errno.ENAMETOOLONG,
)
# A file system without flock(2): Google Drive's in Colab, some network shares.
LOCKLESS = (errno.ENOTSUP, errno.EOPNOTSUPP, errno.ENOSYS, errno.ENOLCK, errno.EINVAL)


@contextmanager
def explained(path: Path | str) -> Iterator[None]:
    """Turn a full disk or a refused write under ``path`` into a one-line CarlibError.

    h5py reports a full disk as an OSError without errno, with C's text in the message.
    """
    try:
        yield
    except OSError as error:
        text = str(error)
        if error.errno in FULL or os.strerror(errno.ENOSPC) in text:
            free = shutil.disk_usage(_existing(Path(path))).free
            raise CarlibError(
                f"no space left to write {path} ({free / 2**20:.0f} MB free): nothing was "
                "half-written; free some space or choose another folder, then run again"
            ) from error
        if error.errno in REFUSED:
            raise CarlibError(
                f"cannot write {path}: {error.strerror}; choose a folder you may write to"
            ) from error
        raise


def _existing(path: Path) -> Path:
    while not path.exists():
        path = path.parent
    return path


def flush(path: Path | str) -> None:
    """Force a file or folder entry to the disk (fsync)."""
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


@contextmanager
def whole_file(path: Path | str) -> Iterator[Path]:
    """Yield a name to write to; on success it becomes ``path``, on failure it is gone.

    The name keeps the suffix of ``path``, since Keras and matplotlib choose the
    format by it. Missing parent folders are made.

    Raises:
        UsageError: ``path`` can only be a folder (".", "..", "/").
        CarlibError: A full disk, or a place that may not be written to.

    >>> import tempfile
    >>> folder = Path(tempfile.mkdtemp())
    >>> with whole_file(folder / "a.txt") as aside:
    ...     _ = aside.write_text("whole")
    >>> [entry.name for entry in folder.iterdir()]
    ['a.txt']
    """
    path = Path(path)
    if path.name in ("", ".."):
        raise UsageError(f"{str(path)!r} is a folder; give the name of a file to write")
    aside = path.with_name(f"{path.stem}{ASIDE}{path.suffix}")
    with explained(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        try:
            yield aside
            flush(aside)
            os.replace(aside, path)
            flush(path.parent)
        except BaseException:
            aside.unlink(missing_ok=True)
            raise


@contextmanager
def whole_folder(path: Path | str) -> Iterator[Path]:
    """Yield a new folder to fill; on success it becomes ``path``, on failure it is gone.

    What is put into it is flushed by whoever puts it there. Missing parents are made.

    >>> import tempfile
    >>> folder = Path(tempfile.mkdtemp()) / "whole"
    >>> with whole_folder(folder) as aside:
    ...     write_whole(aside / "a.txt", "whole")
    >>> [entry.name for entry in folder.iterdir()]
    ['a.txt']
    """
    path = Path(path)
    aside = path.with_name(path.name + ASIDE)
    with explained(path):
        try:
            shutil.rmtree(aside, ignore_errors=True)
            aside.mkdir(parents=True)
            yield aside
            flush(aside)
            os.rename(aside, path)
            flush(path.parent)
        except BaseException:
            shutil.rmtree(aside, ignore_errors=True)
            raise


def write_whole(path: Path | str, content: str | bytes) -> None:
    """Write ``content`` to ``path``, whole or not at all; text as UTF-8."""
    with whole_file(path) as aside:
        aside.write_bytes(content.encode() if isinstance(content, str) else content)


@contextmanager
def only_one(folder: Path | str) -> Iterator[int]:
    """Hold ``folder`` against other processes, by a lock that the system drops with the process.

    Where the file system has no locks, one warning says so and the work goes on. Yields the lock's
    file descriptor: a child process that inherits it holds the folder too.

    Raises:
        CarlibError: Another process holds it.
    """
    path = Path(folder) / LOCK
    with explained(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        with open(path, "w", encoding="utf-8") as file:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                raise CarlibError(
                    f"another process is at work in {folder}; wait for it, or choose another --out"
                ) from None
            except OSError as error:
                if error.errno not in LOCKLESS:
                    raise
                log.warning(
                    "%s lies on a file system without locks (%s): a second process cannot be kept "
                    "out of it; do not start one there",
                    folder,
                    error.strerror,
                )
            try:
                yield file.fileno()
            finally:
                if os.listdir(folder) == [LOCK]:  # nothing was done: leave nothing behind
                    path.unlink()
                    os.rmdir(folder)


def sha256(path: Path | str) -> str:
    """Return the SHA-256 of a file's content, as 64 hex digits."""
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
