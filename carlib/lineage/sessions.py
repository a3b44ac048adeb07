"""Sessions as a run wrote them down: rows to what a reader wants to know."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

from carlib.errors import RunError
from carlib.runfolder import SESSIONS, Row, read_table

RUNNING = "running"  # in a row that nobody has closed
UNCLOSED = "running or killed"
# As sessions.csv has it: NAME of FOLDER with KEY: OLD -> NEW; KEY: OLD -> NEW
_PARENT = re.compile(r"(\S+)(?: of (.+?))?(?: with ((?:model\.|phases\.|\w+: ).+))?")


@dataclass(frozen=True, slots=True)
class Sitting:
    """One session of a run, as it was written down.

    Args:
        number: From 1.
        start: UTC time in ISO 8601.
        stop: Likewise; "" where nobody has closed it.
        seconds: That it lasted; up to its last save where it was killed.
        why: What ended it: "done", "the clock", "SIGTERM", "killed", ...; UNCLOSED where nobody
            has said.
        where: Kind of the session and name of the machine.
        device: That trained.
        parent: Checkpoint that it went on from; "" where it began with nothing.
        origin: Folder of the other chain which that was taken from; "" for the run's own.
        changed: What it changed in the recipe, a text a field.
        phase: Of the newest finished epoch; "" before the first.
        epoch: That epoch's number, counted over the whole run.
        value: Of the monitored metric there; None where it is not known.
        photos: That it trained on.
        steps: That it trained.
        saves: Checkpoints that it wrote.
        saving: Seconds that they held the training up.
        total_hours: Of all sessions up to this one.
        total_photos: Likewise.
        versions: Of the libraries, by name.
        updated: What of them differs from the session before.
    """

    number: int
    start: str
    stop: str
    seconds: float
    why: str
    where: str
    device: str
    parent: str
    origin: str
    changed: tuple[str, ...]
    phase: str
    epoch: int
    value: float | None
    photos: int
    steps: int
    saves: int
    saving: float
    total_hours: float
    total_photos: int
    versions: Mapping[str, str]
    updated: tuple[str, ...]


def read_sessions(path: Path) -> tuple[Sitting, ...]:
    """Return what a sessions.csv says; () where there is none.

    Raises:
        RunError: Damaged, or not carlib's.

    >>> read_sessions(Path("nowhere.csv"))
    ()
    """
    rows = read_table(path)
    absent = [name for name in SESSIONS if rows and name not in rows[0]]
    if absent:
        raise RunError(f"{path} lacks the columns {', '.join(absent)}; is it carlib's?")
    try:
        return sittings(rows)
    except (ValueError, TypeError) as error:
        raise RunError(f"{path} is damaged: {error}") from error


def sittings(rows: Iterable[Row]) -> tuple[Sitting, ...]:
    found: list[Sitting] = []
    for row in rows:
        words = row["versions"].split()
        versions = dict(zip(words[::2], words[1::2], strict=False))
        before = found[-1].versions if found else versions
        parent, origin, changed = _parent(row["parent"])
        found.append(
            Sitting(
                number=int(row["session"]),
                start=row["start"],
                stop=row["stop"],
                seconds=float(row["seconds"]),
                why=UNCLOSED if row["why"] == RUNNING else row["why"],
                where=row["where"],
                device=row["device"],
                parent=parent,
                origin=origin,
                changed=changed,
                phase=row["phase"],
                epoch=int(row["epoch"]),
                value=None if row["value"] in ("", None) else float(row["value"]),
                photos=int(row["photos"]),
                steps=int(row["steps"]),
                saves=int(row["saves"]),
                saving=float(row["saving"]),
                total_hours=float(row["total_hours"]),
                total_photos=int(row["total_photos"]),
                versions=versions,
                updated=tuple(
                    f"{name} {before.get(name, 'none')} -> {versions.get(name, 'none')}"
                    for name in dict.fromkeys((*before, *versions))
                    if before.get(name) != versions.get(name)
                ),
            )
        )
    return tuple(found)


def _parent(text: str) -> tuple[str, str, tuple[str, ...]]:
    """Take apart what a session went on from: checkpoint, folder of its chain, changes.

    >>> _parent("000003-p0e2s0 of /in/run/chain with seed: 0 -> 1; phases: 'more' is new")
    ('000003-p0e2s0', '/in/run/chain', ('seed: 0 -> 1', "phases: 'more' is new"))
    """
    parts = _PARENT.fullmatch(text)
    if not parts:
        return text, "", ()
    name, origin, changed = parts.groups(default="")
    return name, origin, tuple(changed.split("; ")) if changed else ()
