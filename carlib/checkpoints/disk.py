"""The chain on disk: one folder a checkpoint, whole once its manifest is in place.

chain/LAST                          name of the newest
chain/000042-p1e3s0/arrays.npz      every variable, by name
chain/000042-p1e3s0/state.json      history, best so far, ... of the run
chain/000042-p1e3s0/manifest.json   written last: position, digests, SHA-256 of each file
"""

from __future__ import annotations

import hashlib
import json
import logging
import re
import shutil
import zipfile
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from carlib.errors import RunError
from carlib.files import ASIDE, explained, flush, sha256, whole_folder, write_whole

log = logging.getLogger("carlib")

FORMAT = 2  # 2: other items for the same recipe, and patience in the state
MANIFEST = "manifest.json"
ARRAYS = "arrays.npz"
STATE = "state.json"
LAST = "LAST"
_NAME = re.compile(r"^(\d{6,})-p\d+e\d+s\d+$")


class _AnotherFormat(RunError):
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
class Checkpoint:
    """A whole checkpoint.

    Args:
        path: Its folder.
        number: Place in the chain, from 1.
        position: Where the run goes on.
        recipe_digest: Of the recipe it belongs to.
        catalog_digest: Of the photos it was trained on.
        parent: Name of the checkpoint before it, or "".
        metrics: Of the newest finished epoch.
        versions: Of the libraries that wrote it.
    """

    path: Path
    number: int
    position: Position
    recipe_digest: str
    catalog_digest: str
    parent: str
    metrics: Mapping[str, float]
    versions: Mapping[str, str]

    @property
    def name(self) -> str:
        return self.path.name


def write_checkpoint(
    chain: Path,
    *,
    position: Position,
    arrays: Mapping[str, np.ndarray],
    state: Mapping[str, Any],
    recipe_digest: str,
    catalog_digest: str,
    parent: Checkpoint | None,
    metrics: Mapping[str, float],
    versions: Mapping[str, str],
) -> Checkpoint:
    """Write one checkpoint and make it the newest; whole or not at all.

    Everything goes into a folder aside, flushed, the manifest last; the folder then takes its
    name by one rename, and LAST names it.

    Raises:
        CarlibError: No space left, or a folder that refuses; the ones before stay as they are.
    """
    number = max([parent.number if parent else 0, *map(_number, _folders(chain))]) + 1
    name = f"{number:06d}-p{position.phase}e{position.epoch}s{position.step}"
    with whole_folder(chain / name) as aside:
        _write_arrays(aside / ARRAYS, arrays)
        (aside / STATE).write_text(json.dumps(state), encoding="utf-8")
        for part in (ARRAYS, STATE):
            flush(aside / part)
        manifest = {
            "format": FORMAT,
            "number": number,
            "position": asdict(position),
            "recipe_digest": recipe_digest,
            "catalog_digest": catalog_digest,
            "parent": parent.name if parent else "",
            "metrics": dict(metrics),
            "versions": dict(versions),
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
            raise _AnotherFormat(
                f"{folder} was written in format {said['format']}; this carlib reads {FORMAT}: "
                "resume with the version that wrote it"
            )
        if said["digest"] != _digest(said):
            raise RunError(f"checkpoint {folder}: {MANIFEST} is damaged (its SHA-256 differs)")
        checkpoint = Checkpoint(
            path=folder,
            number=int(said["number"]),
            position=Position(**said["position"]),
            recipe_digest=said["recipe_digest"],
            catalog_digest=said["catalog_digest"],
            parent=said["parent"],
            metrics=said["metrics"],
            versions=said["versions"],
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


def find_checkpoint(chain: Path) -> Checkpoint | None:
    """Return the newest whole checkpoint of a chain, or None where there is none.

    A damaged one is named in a warning and passed over for the one before. LAST is a hint
    for people; what counts are the folders.

    Raises:
        RunError: There are checkpoints, and none is whole: nothing here decides that a run's
            work is lost.
    """
    for folder in sorted(_folders(chain), key=_number, reverse=True):
        try:
            return verify(folder)
        except _AnotherFormat:
            raise
        except RunError as error:
            log.warning("%s; passed over for the one before", error)
    if _folders(chain):
        raise RunError(
            f"no checkpoint under {chain} is whole (each is named above): fetch the chain again, "
            "or choose another --out to start anew"
        )
    return None


def read_state(checkpoint: Checkpoint) -> tuple[dict[str, np.ndarray], dict[str, Any]]:
    """Return (arrays by name, the run's state) of a checkpoint.

    Raises:
        RunError: Damaged since it was verified.
    """
    try:
        # Opened here: np.load leaves a damaged file open.
        with open(checkpoint.path / ARRAYS, "rb") as file, np.load(file) as kept:
            arrays = {key: kept[key] for key in kept.files}
        state = json.loads((checkpoint.path / STATE).read_text(encoding="utf-8"))
    # zipfile and numpy raise many kinds on damaged files, EOFError and RuntimeError among them.
    except Exception as error:
        raise RunError(f"checkpoint {checkpoint.path} cannot be read: {error!r}") from error
    return arrays, state


def retain(chain: Path, keep: Iterable[str], newest: int = 2) -> None:
    """Remove all checkpoints but the ``newest`` ones and those named in ``keep``.

    The manifest goes first, so that a removal cut short leaves no half checkpoint that
    looks whole. Leftovers of interrupted saves go too.
    """
    kept = set(keep)
    folders = sorted(_folders(chain), key=_number, reverse=True)
    with explained(chain):
        for folder in folders[newest:]:
            if folder.name not in kept:
                (folder / MANIFEST).unlink(missing_ok=True)
                shutil.rmtree(folder, ignore_errors=True)
        for leftover in chain.glob(f"*{ASIDE}"):
            if leftover.is_dir():
                shutil.rmtree(leftover, ignore_errors=True)
            else:
                leftover.unlink()


def adopt(source: Path, chain: Path, names: Iterable[str]) -> None:
    """Copy checkpoints of another chain (a read-only input, say) into this one, whole.

    Modes stay behind: a copy of a read-only file could not be removed again.

    Raises:
        RunError: One of them is missing or damaged.
        CarlibError: No space left, or a folder that refuses.
    """
    for name in names:
        if not name or (chain / name).exists():
            continue
        verify(source / name)
        with whole_folder(chain / name) as aside:
            for part in (ARRAYS, STATE, MANIFEST):
                shutil.copyfile(source / name / part, aside / part)
                flush(aside / part)


def _folders(chain: Path) -> list[Path]:
    if not chain.is_dir():
        return []
    return [entry for entry in chain.iterdir() if entry.is_dir() and _NAME.match(entry.name)]


def _number(folder: Path) -> int:
    return int(folder.name.partition("-")[0])
