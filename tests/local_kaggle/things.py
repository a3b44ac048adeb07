"""What the platform keeps: kernels and their versions, datasets, blobs."""

from __future__ import annotations

import datetime
import json
import re
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

ENDED = ("COMPLETE", "ERROR", "CANCEL_ACKNOWLEDGED", "NEW_SCRIPT")


class Refusal(Exception):
    """A call that is answered with an HTTP error.

    Args:
        status: HTTP status.
        message: What the body says.
    """

    def __init__(self, status: int, message: str) -> None:
        super().__init__(message)
        self.status = status


@dataclass
class Version:
    """One pushed version of a kernel, and its session.

    Args:
        number: From 1.
        request: The push as it came: SaveKernel's fields.
        folder: Everything the session leaves behind lies here.
        mounts: Folder on this machine by mount path.
        mounted: What that is, by mount path, such as "kernel alice/train/3".
        started: On the platform's clock, in seconds; None before.
        ended: Likewise.
    """

    number: int
    request: dict[str, Any]
    folder: Path
    mounts: dict[str, Path] = field(default_factory=dict)
    mounted: dict[str, str] = field(default_factory=dict)
    status: str = "QUEUED"
    failure: str = ""
    started: float | None = None
    ended: float | None = None

    def __post_init__(self) -> None:
        self.working = self.folder / "working"

    @property
    def source(self) -> str:
        return str(self.request.get("text", ""))

    @property
    def output(self) -> Path:
        """What a kernel that names this one as its source sees: the kept files and Kaggle's own."""
        return self.folder / "output"

    @property
    def log_file(self) -> Path:
        return self.folder / "log.jsonl"

    @property
    def records(self) -> list[dict[str, Any]]:
        """The log as Kaggle keeps one: what was written, by which stream, after how long."""
        try:
            whole, _, _ = self.log_file.read_text(encoding="utf-8").rpartition("\n")
        except OSError:
            return []
        return [json.loads(line) for line in whole.splitlines()]

    @property
    def log(self) -> str:
        """What was written, as plain text."""
        return "".join(record["data"] for record in self.records)

    @property
    def seconds(self) -> float:
        """How long the session was, or 0.0 before its end."""
        return self.ended - self.started if self.started and self.ended else 0.0

    @property
    def gpu(self) -> bool:
        shape = str(self.request.get("machineShape") or "").lower()
        return bool(self.request.get("enableGpu")) or shape.startswith(("nvidia", "gpu"))


@dataclass
class Kernel:
    """A kernel: its name and what was pushed under it, oldest first."""

    ref: str
    id: int
    title: str
    versions: list[Version] = field(default_factory=list)

    def complete(self) -> Version | None:
        """Return the latest COMPLETE version: all that another kernel ever sees of this one."""
        whole = [version for version in self.versions if version.status == "COMPLETE"]
        return whole[-1] if whole else None


@dataclass
class DatasetVersion:
    """One version of a dataset; READY after it was asked for often enough."""

    number: int
    folder: Path
    status: str = "INDIVIDUAL_BLOBS_COMPRESSED"
    notes: str = ""
    polls: int = 0


@dataclass
class Dataset:
    """A dataset and its versions, oldest first."""

    ref: str
    title: str
    private: bool = True
    versions: list[DatasetVersion] = field(default_factory=list)

    def ready(self, number: int | None = None) -> DatasetVersion | None:
        """Return the version asked for (None: the newest) where it is READY."""
        wanted = number or len(self.versions)
        found = [version for version in self.versions if version.number == wanted]
        return found[0] if found and found[0].status == "READY" else None


@dataclass
class Blob:
    """An upload: what was announced, and what has come of it."""

    token: str
    name: str
    length: int
    path: Path


def slugify(title: str) -> str:
    """Return the slug that Kaggle makes of a title.

    >>> slugify("Photos: train, B!")
    'photos-train-b'
    """
    return re.sub(r"[^a-z0-9]+", "-", title.lower()).strip("-")


def stamp(seconds: float) -> str:
    """Return a moment as the wire has it, in UTC.

    >>> stamp(0.0)
    '1970-01-01T00:00:00.000Z'
    """
    moment = datetime.datetime.fromtimestamp(seconds, datetime.UTC).replace(tzinfo=None)
    return moment.isoformat(timespec="milliseconds") + "Z"


def files_of(folder: Path) -> list[Path]:
    """Return the files under a folder, in the order of their names."""
    return sorted(path for path in folder.rglob("*") if path.is_file() and not path.is_symlink())


def page(items: list[Any], request: dict[str, Any], most: int) -> tuple[list[Any], str]:
    """Return one page of ``items`` and the token of the next one; "" after the last.

    >>> page(["a", "b", "c"], {"pageToken": "at-2"}, 2)
    (['c'], '')
    """
    start = int(str(request.get("pageToken") or "at-0").removeprefix("at-"))
    stop = start + min(most, int(request.get("pageSize") or most))
    return items[start:stop], f"at-{stop}" if stop < len(items) else ""
