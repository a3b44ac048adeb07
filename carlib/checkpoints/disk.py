"""One checkpoint on disk: a folder, whole once its manifest is in place.

chain/LAST                          name of the newest
chain/000042-p1e3s0/arrays.npz      every variable, by name
chain/000042-p1e3s0/state.json      history, best so far, ... of the run
chain/000042-p1e3s0/manifest.json   written last: position, digests, SHA-256 of each file
"""

from __future__ import annotations

import hashlib
import json
import shutil
import zipfile
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np

from carlib.errors import RunError
from carlib.files import flush, sha256, whole_folder, write_whole

FORMAT = 3  # 3: state by parts, and in the manifest who wrote it, when and why
MANIFEST = "manifest.json"
ARRAYS = "arrays.npz"
STATE = "state.json"
LAST = "LAST"


class AnotherFormat(RunError):
    """Whole, it may be, but not for this version: never passed over for an older one."""


@dataclass(frozen=True, slots=True, order=True)
class Position:
    """The next thing a run has to do, counted from 0.

    Args:
        phase: Number of the phase; the count of phases once all is done.
        epoch: Finished epochs of that phase.
        step: Finished steps of its current epoch; all of them when validation comes next.

    >>> Position(1, 0, 0) > Position(0, 9, 5)
    True
    """

    phase: int = 0
    epoch: int = 0
    step: int = 0


@dataclass(frozen=True, slots=True)
class Snapshot:
    """A run's state at one position, in memory: what a checkpoint is written from.

    Args:
        position: Where the run goes on.
        arrays: Every variable, by name.
        state: The rest of the state, ready for JSON.
        recipe: Name of the recipe it belongs to.
        recipe_digest: Of that recipe.
        catalog_digest: Of the photos it was trained on.
        determinism: "exact" or "fast", as the recipe has it.
        parent: Name of the checkpoint before it, or "".
        origin: Folder of the parent's chain, where that is not its own.
        session: Number of the session that wrote it.
        why: What it was written for: "start", "interval", "epoch", "best", "phase", or what stopped
            the session.
        metrics: Of the newest finished epoch.
        versions: Of the libraries that wrote it.
    """

    position: Position
    arrays: Mapping[str, np.ndarray]
    state: Mapping[str, Any]
    recipe: str
    recipe_digest: str
    catalog_digest: str
    determinism: str = "exact"
    parent: str = ""
    origin: str = ""
    session: int = 1
    why: str = ""
    metrics: Mapping[str, float] = field(default_factory=dict)
    versions: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """A whole checkpoint.

    Args:
        path: Its folder.
        number: Place in the chain, from 1.
        position: Where the run goes on.
        recipe: Name of the recipe it belongs to.
        recipe_digest: Of that recipe.
        catalog_digest: Of the photos it was trained on.
        determinism: "exact" or "fast".
        parent: Name of the checkpoint before it, or "".
        origin: Folder of the parent's chain, where that is not its own.
        session: Number of the session that wrote it.
        why: What it was written for, as in Snapshot.
        written: UTC time in ISO 8601.
        size: Bytes of its files, the manifest left out.
        metrics: Of the newest finished epoch.
        versions: Of the libraries that wrote it.
    """

    path: Path
    number: int
    position: Position
    recipe: str
    recipe_digest: str
    catalog_digest: str
    determinism: str
    parent: str
    origin: str
    session: int
    why: str
    written: str
    size: int
    metrics: Mapping[str, float]
    versions: Mapping[str, str]

    @property
    def name(self) -> str:
        return self.path.name


_SAID = (
    "recipe",
    "recipe_digest",
    "catalog_digest",
    "determinism",
    "parent",
    "origin",
    "session",
    "why",
    "metrics",
    "versions",
)


def name_of(number: int, position: Position) -> str:
    """Return the name of a checkpoint's folder.

    >>> name_of(42, Position(1, 3))
    '000042-p1e3s0'
    """
    return f"{number:06d}-p{position.phase}e{position.epoch}s{position.step}"


def write_checkpoint(chain: Path, snapshot: Snapshot, number: int) -> Checkpoint:
    """Write one checkpoint and make it the newest; whole or not at all.

    Everything goes into a folder aside, flushed, the manifest last; the folder then takes its
    name by one rename, and LAST names it.

    Args:
        chain: Folder of the chain.
        snapshot: What it holds.
        number: Its place, above all there are (``next_number``).

    Raises:
        CarlibError: No space left, or a folder that refuses; the ones before stay as they are.
    """
    name = name_of(number, snapshot.position)
    with whole_folder(chain / name) as aside:
        _write_arrays(aside / ARRAYS, snapshot.arrays)
        (aside / STATE).write_text(json.dumps(dict(snapshot.state)), encoding="utf-8")
        for part in (ARRAYS, STATE):
            flush(aside / part)
        manifest = {
            "format": FORMAT,
            "number": number,
            "position": asdict(snapshot.position),
            **{key: getattr(snapshot, key) for key in _SAID},
            "metrics": dict(snapshot.metrics),
            "versions": dict(snapshot.versions),
            "written": datetime.now(UTC).isoformat(timespec="seconds"),
            "size": sum((aside / part).stat().st_size for part in (ARRAYS, STATE)),
            "files": {part: sha256(aside / part) for part in (ARRAYS, STATE)},
        }
        manifest["digest"] = _digest(manifest)
        write_whole(aside / MANIFEST, json.dumps(manifest, indent=2))
    write_whole(chain / LAST, name + "\n")
    return read_manifest(chain / name)


def _write_arrays(path: Path, arrays: Mapping[str, np.ndarray]) -> None:
    """Write what ``np.load`` reads. np.savez leaves its zip open on a full disk, and pickles."""
    with open(path, "wb") as file, zipfile.ZipFile(file, "w") as archive:
        for name, value in arrays.items():
            with archive.open(f"{name}.npy", "w", force_zip64=True) as member:
                # Untyped in numpy 2.0.
                write: Any = np.lib.format.write_array
                write(member, np.asarray(value), allow_pickle=False)


def _digest(manifest: Mapping[str, Any]) -> str:
    """Return the SHA-256 of a manifest less its own digest: it is checked like the files."""
    said = {key: value for key, value in manifest.items() if key != "digest"}
    return hashlib.sha256(json.dumps(said, sort_keys=True).encode()).hexdigest()


def read_manifest(folder: Path) -> Checkpoint:
    """Return the checkpoint in ``folder``, its manifest checked, its files not yet.

    Raises:
        RunError: No manifest, or one that is damaged.
    """
    return _read_manifest(folder)[0]


def _read_manifest(folder: Path) -> tuple[Checkpoint, dict[str, str]]:
    """Return the checkpoint and the SHA-256 that each of its files must have."""
    try:
        said = json.loads((folder / MANIFEST).read_text(encoding="utf-8"))
        if said["format"] != FORMAT:
            raise AnotherFormat(
                f"{folder} was written in format {said['format']}; this carlib reads {FORMAT}: "
                "resume with the version that wrote it"
            )
        if said["digest"] != _digest(said):
            raise RunError(f"checkpoint {folder}: {MANIFEST} is damaged (its SHA-256 differs)")
        checkpoint = Checkpoint(
            path=folder,
            number=int(said["number"]),
            position=Position(**said["position"]),
            written=said["written"],
            size=said["size"],
            **{key: said[key] for key in _SAID},
        )
        return checkpoint, said["files"]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise RunError(f"checkpoint {folder} has no readable manifest: {error!r}") from error


def verify(folder: Path) -> Checkpoint:
    """Return the checkpoint in ``folder`` once every file's SHA-256 is found right.

    Raises:
        RunError: Names the file that is missing or differs.
    """
    checkpoint, files = _read_manifest(folder)
    for part in (ARRAYS, STATE):
        try:
            good = sha256(folder / part) == files[part]
        except OSError as error:
            raise RunError(f"checkpoint {folder}: cannot read {part}: {error}") from error
        if not good:
            raise RunError(f"checkpoint {folder}: {part} is damaged (its SHA-256 differs)")
    return checkpoint


def read_state(
    checkpoint: Checkpoint, *, arrays: bool = True
) -> tuple[dict[str, np.ndarray], dict[str, Any]]:
    """Return (arrays by name, the run's state) of a checkpoint.

    Args:
        checkpoint: To read.
        arrays: False leaves them unread: the state alone is small.

    Raises:
        RunError: Damaged since it was verified.
    """
    found: dict[str, np.ndarray] = {}
    try:
        if arrays:
            # Opened here: np.load leaves a damaged file open.
            with open(checkpoint.path / ARRAYS, "rb") as file, np.load(file) as kept:
                found = {key: kept[key] for key in kept.files}
        state = json.loads((checkpoint.path / STATE).read_text(encoding="utf-8"))
    # zipfile and numpy raise many kinds on damaged files, EOFError and RuntimeError among them.
    except Exception as error:
        raise RunError(f"checkpoint {checkpoint.path} cannot be read: {error!r}") from error
    return found, state


def adopt(source: Path, chain: Path, names: Iterable[str]) -> None:
    """Copy checkpoints of another chain (a read-only input, say) into this one, whole.

    Modes stay behind: a copy of a read-only file could not be removed again.

    Raises:
        RunError: One of them is missing or damaged.
        CarlibError: No space left, or a folder that refuses.
    """
    for name in names:
        if not name or is_whole(chain / name):
            continue
        verify(source / name)
        shutil.rmtree(chain / name, ignore_errors=True)  # a damaged one would be in the way
        with whole_folder(chain / name) as aside:
            for part in (ARRAYS, STATE, MANIFEST):
                shutil.copyfile(source / name / part, aside / part)
                flush(aside / part)


def is_whole(folder: Path) -> bool:
    """Say whether ``verify`` finds nothing wrong."""
    try:
        verify(folder)
    except RunError:
        return False
    return True
