"""A chain of checkpoints: the newest whole one, where chains lie, and what is kept."""

from __future__ import annotations

import logging
import os
import re
import shutil
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path

from carlib.checkpoints.disk import ARRAYS, LAST, MANIFEST, AnotherFormat, Checkpoint, verify
from carlib.errors import RunError
from carlib.files import ASIDE, explained

log = logging.getLogger("carlib")

DEPTH = 8  # folders below an input root: notebooks/OWNER/SLUG/RUN/chain, and some of a user's own
# Colab's mount of Google Drive: listing it takes minutes. A chain there is given by its path.
SLOW = frozenset(("drive",))
_NAME = re.compile(r"^(\d{6,})-p\d+e\d+s\d+$")


def _nothing(checkpoint: Checkpoint) -> Iterable[str]:
    return ()


def find_checkpoint(
    chain: Path, needs: Callable[[Checkpoint], Iterable[str]] = _nothing
) -> Checkpoint | None:
    """Return the newest whole checkpoint of a chain, or None where there is none.

    A damaged one is named in a warning and passed over for the one before. LAST is a hint
    for people; what counts are the folders.

    Args:
        chain: Folder of the chain.
        needs: Names of the checkpoints that one cannot be resumed without (its best epoch's);
            where one of those is damaged, it is passed over too.

    Raises:
        RunError: There are checkpoints, and none is whole: nothing here decides that a run's
            work is lost.
    """
    folders, last = folders_of(chain), _last(chain)
    if last and last not in [folder.name for folder in folders]:
        log.warning("%s names %r, which is not there; the folders count", chain / LAST, last)
    elif folders and not last:
        log.warning("%s is missing, empty or unreadable; the folders count", chain / LAST)
    if not folders:
        return None
    for folder in folders:
        try:
            checkpoint = verify(folder)
            for name in needs(checkpoint):
                if name:
                    _verify_for(checkpoint, chain / name)
            return checkpoint
        except AnotherFormat:
            raise
        except RunError as error:
            log.warning("%s; passed over for the one before", error)
    raise RunError(
        f"no checkpoint under {chain} is whole (each is named above): fetch the chain again, "
        "or choose another --out to start anew"
    )


def _verify_for(checkpoint: Checkpoint, folder: Path) -> None:
    try:
        verify(folder)
    except AnotherFormat:
        raise
    except RunError as error:
        raise RunError(f"{error}, and {checkpoint.name} needs it") from error


def _last(chain: Path) -> str:
    try:
        return (chain / LAST).read_text(encoding="utf-8", errors="replace").strip()[:60]
    except OSError:
        return ""


def folders_of(chain: Path) -> list[Path]:
    """Return the folders that have a checkpoint's name, the newest first."""
    if not chain.is_dir():
        return []
    named = [entry for entry in chain.iterdir() if _NAME.match(entry.name) and entry.is_dir()]
    return sorted(named, key=_order, reverse=True)


def next_number(chain: Path, parent: Checkpoint | None) -> int:
    """Return the place of the next checkpoint: above all there are, damaged ones too."""
    numbers = (_order(folder)[0] for folder in folders_of(chain))
    return max([parent.number if parent else 0, *numbers]) + 1


def find_chains(root: Path, depth: int = DEPTH) -> Iterator[Path]:
    """Yield every folder at or under ``root`` that holds checkpoints, wherever it lies.

    Photos are not opened and nothing is written. Links are followed, each folder once; the
    nearest come first.

    Args:
        root: Where to look; need not be there.
        depth: Folders to go down. Defaults to 8.

    >>> list(find_chains(Path("nowhere")))
    []
    """
    seen: set[str] = set()
    level = [root]
    # Level by level: gone through a link first, a folder could be too deep, and then be seen.
    for _ in range(depth + 1):
        below: list[Path] = []
        for where in level:
            real = os.path.realpath(where)
            if real in seen:
                continue
            seen.add(real)
            _, names, files = next(os.walk(where), ("", [], []))
            if {MANIFEST, ARRAYS} <= set(files):
                log.warning("%s looks like a checkpoint, but has not its folder's name", where)
            if any(map(_NAME.match, names)):
                yield where
            below += (
                where / name
                for name in sorted(names)
                if name not in SLOW and not name.startswith(".") and not _NAME.match(name)
            )
        level = below


def retain(
    chain: Path,
    always: Iterable[str],
    wished: Iterable[str] = (),
    budget: int | None = None,
    needs: Mapping[str, str] | None = None,
) -> None:
    """Remove checkpoints until those left fit into a number of bytes.

    The manifest goes first, so that a removal cut short leaves no half checkpoint that
    looks whole. Leftovers of interrupted saves go too.

    Args:
        chain: Folder of the chain.
        always: Names of those that stay whatever they take: the newest, the best.
        wished: Names of those that stay as long as all fit, the most wanted first. The ends of
            phases follow by themselves, the newest first; nothing else stays.
        budget: Bytes; None for as many as there are.
        needs: By name the checkpoint that one cannot be resumed without: they stay together.
    """
    folders = {folder.name: folder for folder in folders_of(chain)}
    must = [name for name in dict.fromkeys(always) if name in folders]
    ends = [name for name in folders if name.endswith("e0s0") and "-p0e" not in name]
    kept, used = set(must), sum(_size(folders[name]) for name in must)
    for name in dict.fromkeys((*wished, *ends)):
        # Without a manifest it is what a removal cut short has left.
        if name in folders and name not in kept and (folders[name] / MANIFEST).is_file():
            together = {name, (needs or {}).get(name, name)} & set(folders) - kept
            size = sum(_size(folders[each]) for each in together)
            if budget is not None and used + size > budget:
                break
            kept |= together
            used += size
    with explained(chain):
        for name, folder in folders.items():
            if name not in kept:
                _remove(folder)
        for leftover in chain.glob(f"*{ASIDE}"):
            _remove(leftover)


def _remove(path: Path) -> None:
    if path.is_symlink() or not path.is_dir():
        path.unlink()
        return
    if (path / MANIFEST).is_file():
        (path / MANIFEST).unlink()
    shutil.rmtree(path, ignore_errors=True)


def _size(folder: Path) -> int:
    return sum(entry.stat().st_size for entry in folder.iterdir() if entry.is_file())


def _order(folder: Path) -> list[int]:
    """Number, then position: two branches of one run, put together, may share a number."""
    return [int(digits) for digits in re.findall(r"\d+", folder.name)]
