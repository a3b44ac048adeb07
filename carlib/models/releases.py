"""Weights files that others have released: attached to the session, cached, or downloaded."""

from __future__ import annotations

import contextlib
import hashlib
import os
import re
import socket
import sys
from collections import deque
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import keras

from carlib.errors import RunError, UsageError
from carlib.session import detect_session

# A session's inputs may hold a folder a class and more: enough for any weights, never minutes.
FOLDERS, DEPTH = 5000, 8
STALL = 60.0  # seconds without a byte after which a download has failed


@dataclass(frozen=True, slots=True)
class Release:
    """A weights file as it was released.

    Args:
        name: Of the file, by which an attached one is found.
        url: Where it is downloaded from.
        digest: MD5 or SHA-256 of its content, as hex digits.

    Raises:
        UsageError: A digest that is neither.

    >>> Release("b0.h5", "https://example.org/b0.h5", "0" * 64).algorithm
    'sha256'
    """

    name: str
    url: str
    digest: str

    def __post_init__(self) -> None:
        if not re.fullmatch(r"[0-9a-f]{32}|[0-9a-f]{64}", self.digest):
            raise UsageError(
                f"Release: digest must be an MD5 or SHA-256 in hex digits; got {self.digest!r}"
            )

    @property
    def algorithm(self) -> str:
        """Which of the two its digest is, as hashlib names it."""
        return "md5" if len(self.digest) == 32 else "sha256"

    def is_whole(self, path: Path) -> bool:
        """Whether a file's content is the released one."""
        with open(path, "rb") as file:
            return hashlib.file_digest(file, self.algorithm).hexdigest() == self.digest


def fetch(
    release: Release, roots: Sequence[Path] | None = None, cache: Path | str | None = None
) -> Path:
    """Return the path of a released file, its content checked.

    It is looked for by its name under the session's inputs, then in Keras' cache, and then
    downloaded into that: Keras compares the digest before it takes a file from there, so what
    an interrupted download leaves is never taken for whole.

    Args:
        release: Which file.
        roots: Folders to search. Defaults to the inputs of ``detect_session()``.
        cache: Keras' cache. Defaults to KERAS_HOME, or ~/.keras.

    Raises:
        RunError: It is nowhere, and the download fails; names the file to attach.
    """
    others = []
    for path in attached(release.name, detect_session().inputs if roots is None else roots):
        if release.is_whole(path):
            return path
        others.append(path)
    try:
        with _stalling(STALL), contextlib.redirect_stdout(sys.stderr):  # stdout is for figures
            found: str = keras.utils.get_file(
                release.name,
                release.url,
                file_hash=release.digest,
                hash_algorithm=release.algorithm,
                cache_subdir="models",
                cache_dir=cache,
            )
    # Keras raises a plain Exception where a download fails, the network several kinds more.
    except Exception as error:
        reason = " ".join(str(error).split())
        but = f" ({others[0]} is damaged, or another file of that name)" if others else ""
        raise RunError(
            f"{release.name} is not attached{but}, not in Keras' cache, and its download failed: "
            f"{reason}; attach {release.name}, from {release.url}, as a dataset, or give its "
            "path as model.weights"
        ) from error
    return Path(found)


def attached(name: str, roots: Sequence[Path]) -> Iterator[Path]:
    """Yield the files of a name below some folders, the shallow ones first.

    Links to folders are not followed; after FOLDERS folders, or DEPTH levels, the search ends.

    >>> import tempfile
    >>> root = Path(tempfile.mkdtemp())
    >>> (root / "a").mkdir()
    >>> _ = (root / "a/b0.h5").write_bytes(b"")
    >>> [path.relative_to(root).as_posix() for path in attached("b0.h5", [root])]
    ['a/b0.h5']
    """
    folders = deque((Path(root), 0) for root in roots)
    looked = 0
    while folders and looked < FOLDERS:
        folder, depth = folders.popleft()
        looked += 1
        try:
            with os.scandir(folder) as entries:
                found = sorted(entries, key=lambda entry: entry.name)
        except OSError:  # a root that is not there, a folder one may not read
            continue
        for entry in found:
            if entry.name == name and entry.is_file():
                yield Path(entry.path)
            elif depth < DEPTH and entry.is_dir(follow_symlinks=False):
                folders.append((Path(entry.path), depth + 1))


@contextlib.contextmanager
def _stalling(seconds: float) -> Iterator[None]:
    """Have connections fail that say nothing for so long: Python's own wait for ever."""
    before = socket.getdefaulttimeout()
    socket.setdefaulttimeout(seconds)
    try:
        yield
    finally:
        socket.setdefaulttimeout(before)
