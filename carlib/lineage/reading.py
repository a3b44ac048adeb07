"""The past of a run: what its chain and its tables say."""

from __future__ import annotations

import logging
import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from carlib.checkpoints import Checkpoint, read_state
from carlib.checkpoints.chain import folders_of
from carlib.checkpoints.disk import MANIFEST, STATE, read_manifest
from carlib.errors import RunError
from carlib.files import sha256
from carlib.lineage.sessions import UNCLOSED, Sitting, read_sessions, sittings
from carlib.runfolder import RunFolder, read_json

log = logging.getLogger("carlib")


@dataclass(frozen=True, slots=True)
class Link:
    """One checkpoint of a chain, its manifest and state read, its arrays not.

    Args:
        name: Of its folder.
        checkpoint: What its manifest says; None where that cannot be read.
        best: Name of the checkpoint with its best epoch's weights, without which no run can go
            on from it; "" before the first epoch.
        damage: What is wrong with it; "" where nothing was found.
    """

    name: str
    checkpoint: Checkpoint | None
    best: str = ""
    damage: str = ""


@dataclass(frozen=True, slots=True)
class Lineage:
    """The past of a run.

    Args:
        chain: Folder of its checkpoints.
        recipe: Its name; like what follows "" where nothing readable says it.
        monitor: Metric that makes an epoch the best.
        best: phase, epoch, value and checkpoint of the best epoch; None before the first.
        sessions: The first one first.
        links: The checkpoints that are there, the oldest first.
    """

    chain: Path
    recipe: str
    monitor: str
    best: Mapping[str, Any] | None
    sessions: tuple[Sitting, ...]
    links: tuple[Link, ...]


def read_lineage(path: Path | str) -> Lineage:
    """Return the sessions and checkpoints of a run.

    A chain tells its whole past by itself, by the newest state in it that can be read. The
    table of a run folder is taken where it knows more: of sessions that ended without a
    checkpoint, say. A damaged checkpoint is named as one, and one that a training process
    removes meanwhile is left out.

    Args:
        path: A run folder, a chain folder, or one checkpoint, which tells the past up to it.

    Raises:
        RunError: It is none of these.

    >>> read_lineage("nowhere")
    Traceback (most recent call last):
    carlib.errors.RunError: there is no run under nowhere; give a run folder, its chain folder or \
one checkpoint
    """
    place = Place.of(Path(path))
    links: list[Link] = []
    state: dict[str, Any] = {}
    best = None
    for folder in place.folders:
        link, said = _link(folder)
        links.append(link)
        if said and not state:
            state, best = said, best_of(said, link.name)
    named = (link.checkpoint.recipe for link in links if link.checkpoint)
    return Lineage(
        chain=place.chain,
        recipe=next(named, ""),
        monitor=str(state.get("recipe", {}).get("monitor", "")),
        best=best,
        sessions=_sessions(place.run, sittings(_ledger(state).get("sessions", ()))),
        links=tuple(link for link in reversed(links) if place.has(link.name)),
    )


@dataclass(frozen=True, slots=True)
class Place:
    """What a path stands for: its chain, the checkpoints in question, the newest first."""

    chain: Path
    folders: list[Path]
    run: RunFolder | None = None
    single: bool = False

    @classmethod
    def of(cls, path: Path) -> Place:
        whole = Path(os.path.abspath(path))  # "." has neither a name nor a parent
        if whole.is_dir() and ((path / MANIFEST).is_file() or whole in folders_of(whole.parent)):
            return cls(whole.parent, [whole], single=True)
        run = RunFolder(path)
        if run.chain.is_dir() or run.sessions.is_file():
            return cls(run.chain, folders_of(run.chain), run)
        if folders := folders_of(path):
            return cls(path, folders)
        raise RunError(
            f"there is no run under {path}; give a run folder, its chain folder or one checkpoint"
        )

    def has(self, name: str) -> bool:
        """What looks damaged may have been removed meanwhile, by the run itself."""
        return (self.chain / name).is_dir()


def _link(folder: Path) -> tuple[Link, dict[str, Any]]:
    """Return a checkpoint and its state, {} where that is damaged."""
    checkpoint = None
    try:
        checkpoint = read_manifest(folder)
        if read_json(folder / MANIFEST)["files"][STATE] != sha256(folder / STATE):
            raise RunError(f"{STATE} is damaged (its SHA-256 differs)")
        state = read_state(checkpoint, arrays=False)[1]
    except (RunError, OSError) as error:
        return Link(folder.name, checkpoint, damage=short(error, folder)), {}
    best = best_of(state, folder.name)
    return Link(folder.name, checkpoint, best["checkpoint"] if best else ""), state


def short(error: Exception, folder: Path) -> str:
    """Return an error of a checkpoint without its path, for a line that begins with its name."""
    if folder.is_dir() and not (folder / MANIFEST).exists():
        return f"has no {MANIFEST}: it was copied in part, or its removal was cut short"
    text = str(error).removeprefix("checkpoint ").removeprefix(str(folder)).lstrip(": ")
    return " ".join(text.split())


def _ledger(state: Mapping[str, Any]) -> Mapping[str, Any]:
    found: Mapping[str, Any] = state.get("parts", {}).get("ledger", {})
    return found


def best_of(state: Mapping[str, Any], name: str) -> dict[str, Any] | None:
    """Return the best epoch by a checkpoint's state; None before the first.

    Args:
        state: Of the checkpoint.
        name: Of the checkpoint. It holds the best epoch itself where its ledger names no other.
    """
    best = _ledger(state).get("best")
    return {**best, "checkpoint": best["checkpoint"] or name} if best else None


def _sessions(run: RunFolder | None, own: tuple[Sitting, ...]) -> tuple[Sitting, ...]:
    """Return the sessions that the run folder knows, or those of its chain, where it has more."""
    table: tuple[Sitting, ...] = ()
    try:
        table = read_sessions(run.sessions) if run else ()
    except RunError as error:
        log.warning("%s; what the chain says counts", error)
    return max(table, own, key=_knowledge)


def _knowledge(sessions: tuple[Sitting, ...]) -> tuple[int, bool, float]:
    if not sessions:
        return 0, False, 0.0
    return len(sessions), sessions[-1].why != UNCLOSED, sessions[-1].seconds
