"""Secrets found before they leave: files that are credentials, by name and by content.

Every file is looked into, whatever its suffix: text of any encoding that has ASCII in it, the
texts of a notebook's cells and outputs, what an archive holds, and whatever is printable in a
binary file. What is found is told by its kind, never by its text.
"""

from __future__ import annotations

import bz2
import gzip
import json
import lzma
import os
import re
import shutil
import tarfile
import tempfile
import zipfile
import zlib
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import IO, Any

from carlib.errors import CarlibError
from carlib.kaggle.shapes import kind_by_name, kind_in_text

CHUNK = 1 << 22  # bytes read at a time
OVERLAP = 1 << 13  # bytes read again with the next chunk: more than a secret's shape spans
JSON_MOST = 1 << 28  # bytes up to which JSON is taken apart; of more, only the plain text is read
SPOOLED = 1 << 26  # bytes of an archive's member that are held in memory
DEPTH = 4  # archives within archives that are opened
# What is read of a file that is not all text. Shorter ones hold no secret.
PRINTABLE = re.compile(rb"[\t\n\r\x1b\x20-\x7e]{16,}")

# What a damaged or encrypted archive raises; an encrypted member's is a RuntimeError, and gzip's
# and bz2's are OSErrors without errno.
_DAMAGE = (
    *(zipfile.BadZipFile, tarfile.TarError, lzma.LZMAError, zlib.error),
    *(EOFError, RuntimeError, ValueError, OSError),
)
_COMPRESSED: tuple[tuple[bytes, Callable[[IO[bytes]], Any]], ...] = (
    (b"\x1f\x8b", lambda file: gzip.GzipFile(fileobj=file)),
    (b"BZh", bz2.BZ2File),
    (b"\xfd7zXZ\0", lzma.LZMAFile),
)


def refuse_secrets(paths: Iterable[Path | str]) -> None:
    """Raise if files hold secrets; the message names each file and the kind, and no secret.

    Args:
        paths: Files, and folders with all that is in them.

    Raises:
        CarlibError: A secret is there, or a file cannot be looked into.

    >>> path = Path(tempfile.mkdtemp()) / "notes.txt"
    >>> _ = path.write_text("sha256 " + "0f" * 32)
    >>> refuse_secrets([path])
    """
    found = find_secrets(paths)
    if found:
        each = "; ".join(f"{_shown(path)}: {kind}" for path, kind in found.items())
        raise CarlibError(
            f"secrets would leave with these files, so nothing did: {each}; take them out, and "
            "revoke those that others may have seen"
        )


def refuse_secret_text(what: str, text: str) -> None:
    """Raise if a text that would be sent holds a secret; the message has the kind, not the text.

    Args:
        what: Names the text in the message, such as "the notes".
        text: As it would be sent; a value that has a name as NAME=value.

    Raises:
        CarlibError: A secret is in it.

    >>> refuse_secret_text("the notes", "trained two epochs more")
    """
    if kind := kind_in_text(text):
        raise CarlibError(
            f"a secret would leave with {what}, so nothing did: {kind}; take it out, and revoke it "
            "if others may have seen it"
        )


def find_secrets(paths: Iterable[Path | str]) -> dict[Path, str]:
    """Return the kind of the first secret in each file that has one, or has one for a name.

    Args:
        paths: Files, and folders with all that is in them.

    Returns:
        Kinds by path. What lies in an archive has the archive's path with the member's behind it;
        an archive that cannot be opened counts as a secret.

    Raises:
        CarlibError: A path is missing or cannot be read.
    """
    found: dict[Path, str] = {}
    for path, named in _files(paths):
        try:
            with open(path, "rb") as file:
                found |= _search(path, named, file, 0)
        except OSError as error:
            raise CarlibError(
                f"cannot look for secrets in {_shown(path)}: {error.strerror or error}; make it "
                "readable, or leave it out"
            ) from error
    return found


def _files(paths: Iterable[Path | str]) -> Iterator[tuple[Path, Path]]:
    """Yield files with the part of their path that leaves with them."""
    for path in map(Path, paths):
        if path.is_dir():
            yield from ((each, each.relative_to(path.parent)) for each in sorted(_inside(path)))
        else:
            yield path, Path(path.name)


def _inside(folder: Path) -> Iterator[Path]:
    """Yield a folder's files, those behind links too, since the client follows them."""
    seen = set()
    for where, folders, names in os.walk(folder, followlinks=True):
        if (real := os.path.realpath(where)) in seen:
            folders.clear()
            continue
        seen.add(real)
        yield from (path for name in names if (path := Path(where, name)).is_file())


def _shown(path: Path) -> str:
    """A name may hold anything: a line's end, or a secret itself."""
    parts = ("(a secret for a name)" if kind_in_text(part) else part for part in path.parts)
    return "".join(each if each.isprintable() else "?" for each in str(Path(*parts)))


def _search(path: Path, named: Path, file: IO[bytes], depth: int) -> dict[Path, str]:
    """Return what is found in a file or, where it is an archive, in its members."""
    kind = next(filter(None, map(kind_in_text, named.parts)), "") or kind_by_name(path.name)
    if kind:
        return {path: kind}
    found: dict[Path, str] = {}
    try:
        for name, member in _members(path, file):
            if depth == DEPTH:
                return {path: "an archive too deep within others to look into"}
            with tempfile.SpooledTemporaryFile(SPOOLED) as copy:
                shutil.copyfileobj(member, copy)
                inner = name.lstrip("/")
                found |= _search(Path(f"{path}/{inner}"), Path(inner), copy, depth + 1)
    except _DAMAGE as error:
        if getattr(error, "errno", None) is not None:
            raise  # the disk's
        found[path] = "an archive that cannot be looked into (damaged or encrypted)"
    if not found and (kind := _kind_in(file)):
        return {path: kind}
    return found


def _members(path: Path, file: IO[bytes]) -> Iterator[tuple[str, IO[bytes]]]:
    """Yield the names and contents of an archive's files; of any other file, nothing."""
    file.seek(0)
    start = file.read(8)
    if zipfile.is_zipfile(file):
        with zipfile.ZipFile(file) as archive:
            for entry in archive.infolist():
                if not entry.is_dir():
                    with archive.open(entry) as member:
                        yield entry.filename, member
        return
    file.seek(0)
    if tarfile.is_tarfile(file):
        file.seek(0)
        with tarfile.open(fileobj=file) as archive:
            for info in archive:
                if (content := archive.extractfile(info)) is not None:
                    yield info.name, content
        return
    for magic, opened in _COMPRESSED:
        if start.startswith(magic):
            file.seek(0)
            yield path.stem, opened(file)


def _kind_in(file: IO[bytes]) -> str:
    """Return the kind of a secret in a file's own bytes, or ""."""
    file.seek(0)
    tail = b""
    while chunk := file.read(CHUNK):
        block = tail + chunk
        if kind := _kind_in_bytes(block):
            return kind
        tail = block[-OVERLAP:]
    if file.tell() > JSON_MOST:
        return ""
    file.seek(0)
    if file.read(64).lstrip(b"\xef\xbb\xbf\xff\xfe\0 \t\r\n")[:1] not in (b"{", b"["):
        return ""
    file.seek(0)
    try:
        content = json.loads(file.read())
    except (ValueError, RecursionError):
        return ""
    return kind_in_text("\n\n".join(_texts(content)))


def _kind_in_bytes(block: bytes) -> str:
    # Without its zeros, UTF-16 and UTF-32 are ASCII; with them, they part the texts of a binary.
    views = [block, block.replace(b"\0", b"")] if b"\0" in block else [block]
    for view in views:
        text = b"\n\n".join(PRINTABLE.findall(view)).decode("ascii")
        if kind := kind_in_text(text):
            return kind
    return ""


def _texts(value: Any) -> Iterator[str]:
    """Yield the texts in JSON; what a notebook has split over lines and outputs, joined."""
    if isinstance(value, str):
        yield value
    elif isinstance(value, dict):
        for each in value.values():
            yield from _texts(each)
    elif isinstance(value, list):
        if all(isinstance(each, str) for each in value):
            yield "".join(value)
            if any("\x1b" in each for each in value):
                yield "\n".join(value)  # a traceback's lines have no ends
            return
        for each in value:
            yield from _texts(each)
        yield from _streams([each for each in value if isinstance(each, dict)])


def _streams(outputs: list[dict[str, Any]]) -> Iterator[str]:
    """Yield the texts of a cell's outputs as one, and those of each stream, which may alternate."""
    streams: dict[str, list[str]] = {}
    for each in outputs:
        said = each.get("text", "")
        text = "".join(map(str, said)) if isinstance(said, list) else str(said)
        for name in {"", str(each.get("name", ""))}:
            streams.setdefault(name, []).append(text)
    yield from map("".join, streams.values())
