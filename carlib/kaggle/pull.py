"""What a kernel left, fetched and held against its digests before it counts."""

from __future__ import annotations

import logging
import os
import re
import shutil
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from carlib.checkpoints import verify
from carlib.checkpoints.chain import folders_of
from carlib.errors import RunError, UsageError
from carlib.files import ASIDE, explained, only_one, whole_folder
from carlib.handover import HANDOVER, Handover, damaged, read_handover
from carlib.kaggle.client import Asker
from carlib.kaggle.kernels import RUNNING, kernel_status
from carlib.kaggle.logs import plain_log
from carlib.progress import progress

log = logging.getLogger("carlib")

LOG = "kernel.log"
TRIES = 4  # fetches of one file before it is given up
BATCH = 64_000_000  # bytes fetched by one call
Fetch = Callable[[Mapping[str, int]], None]  # bytes by name
_PAGE = re.compile(rb"\s*(<!doctype html|<html)", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class Pulled:
    """A kernel's output, here.

    Args:
        folder: Where it lies.
        handover: What its session said of itself; None where it was ended before it could.
        checkpoints: Names of the checkpoints that are whole, oldest first.
        unproven: Files without a digest, as they came.
    """

    folder: Path
    handover: Handover | None
    checkpoints: tuple[str, ...] = ()
    unproven: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Listing:
    """What a session has left at Kaggle.

    Args:
        kernel: "owner/slug".
        version: Whose session; None for the newest.
        names: Of its files.
        log: As Kaggle keeps it.
    """

    kernel: str
    version: int | None
    names: list[str]
    log: str


def read_listing(asker: Asker, kernel: str, version: int | None = None) -> Listing:
    """Return what a kernel's session has left.

    Args:
        asker: The client.
        kernel: "owner/slug".
        version: Whose session; None for the newest.

    Raises:
        KaggleError: Refused, or Kaggle could not be reached.
    """
    said = asker.read("listing", kernel=kernel, version=version)
    return Listing(kernel, version, [str(name) for name in said["files"]], str(said["log"]))


def read_output(asker: Asker, listing: Listing, folder: Path) -> Handover | None:
    """Return what a session said of itself; None where it did not come to that.

    Args:
        asker: The client.
        listing: What it left.
        folder: To fetch into.

    Raises:
        RunError: The handover came damaged, again and again.
        KaggleError: Refused, or Kaggle could not be reached.
    """
    if HANDOVER not in listing.names:
        return None
    for attempt in range(1, TRIES + 1):
        _fetch(asker, listing, folder, {HANDOVER: 0})
        try:
            return read_handover(folder / HANDOVER)
        except RunError as error:
            if attempt == TRIES:
                raise RunError(f"its {HANDOVER} came damaged {TRIES} times") from error
            log.warning("%s; fetching it again", error)
    raise AssertionError("unreachable")


def pull_output(
    asker: Asker, kernel: str, out: Path, version: int | None = None, as_it_is: bool = False
) -> Pulled:
    """Fetch what a kernel's session left; ``out`` changes only once all of it is whole.

    Each file is held against the digest in the session's handover. A session that was ended
    before it wrote one is fetched as it is: checkpoints count by their own digests, and the rest
    is named as unproven.

    Args:
        asker: The client.
        kernel: "owner/slug".
        out: Folder for it; files of an earlier pull that are still right are not fetched again.
        version: Whose session; None for the newest.
        as_it_is: Take what differs from the handover too, or is not there any more, and name it
            as unproven. Defaults to False.

    Raises:
        UsageError: ``out`` holds something that no pull has put there.
        RunError: The kernel still runs, left nothing, or a file came damaged again and again.
        CarlibError: Another pull into ``out`` is at work.
        KaggleError: Refused, or Kaggle could not be reached.
    """
    if out.name in ("", ".."):
        raise UsageError(f"a pulled output needs a folder of its own; received {str(out)!r}")
    if out.exists() and not (out.is_dir() and (not any(out.iterdir()) or (out / LOG).is_file())):
        raise UsageError(f"{out} holds other things than a pulled output; choose another --out")
    status, _ = kernel_status(asker, kernel, version)
    if status in RUNNING:
        raise RunError(f"{kernel} is {status}: its output is there once it has ended")
    listing = read_listing(asker, kernel, version)
    if not listing.names and not listing.log:
        raise RunError(f"{kernel} left nothing: no files and no log")
    room = out.with_name(out.name + ASIDE)
    old, new = room / "old", room / "new"
    with explained(out), only_one(room):
        # Of a pull that was killed at its end.
        shutil.rmtree(new, ignore_errors=True)
        if old.is_dir() and not out.exists():
            os.rename(old, out)
        with whole_folder(new) as folder:
            handover, checkpoints, unproven = _fetch_all(asker, listing, folder, out, as_it_is)
            # The client puts the log beside the files, each time, as Kaggle keeps it.
            if (raw := f"{kernel.partition('/')[2]}.log") not in listing.names:
                (folder / raw).unlink(missing_ok=True)
            (folder / LOG).write_text(plain_log(listing.log), encoding="utf-8")
        # The one before goes last.
        shutil.rmtree(old, ignore_errors=True)
        if out.exists():
            os.rename(out, old)
        os.rename(new, out)
        shutil.rmtree(old, ignore_errors=True)
    return Pulled(out, handover, tuple(checkpoints), tuple(unproven))


def _fetch_all(
    asker: Asker, listing: Listing, folder: Path, out: Path, as_it_is: bool
) -> tuple[Handover | None, list[str], list[str]]:
    fetch = partial(_fetch, asker, listing, folder)
    handover = read_output(asker, listing, folder)
    if handover is None:
        return None, *_fetch_partial(fetch, folder, listing.names)
    wanted = {name: size for name, (size, _) in handover.files.items()}
    unproven = _fetch_whole(fetch, folder, out, handover, wanted, as_it_is)
    return handover, _whole_checkpoints(folder), unproven


def _pattern(names: Sequence[str]) -> str:
    return "^(?:" + "|".join(map(re.escape, names)) + ")$"


def _fetch(asker: Asker, listing: Listing, folder: Path, sizes: Mapping[str, int]) -> None:
    batches: list[list[str]] = [[]]
    filled = 0
    for name, size in sizes.items():
        if filled + size > BATCH and batches[-1]:
            batches.append([])
            filled = 0
        batches[-1].append(name)
        filled += size
    total = sum(sizes.values())
    with progress(desc=f"from {listing.kernel}", total=total, unit="B", unit_scale=True) as bar:
        for batch in filter(None, batches):
            size = sum(sizes[name] for name in batch)
            pattern = _pattern(batch)
            asker.read(
                "output",
                kernel=listing.kernel,
                version=listing.version,
                folder=str(folder),
                pattern=pattern,
                size=size,
            )
            bar.update(size)


def _fetch_whole(
    fetch: Fetch,
    folder: Path,
    out: Path,
    handover: Handover,
    wanted: Mapping[str, int],
    as_it_is: bool,
) -> list[str]:
    """Fetch files until they are as the session left them; return those that may differ."""
    at_hand = set(wanted) - set(damaged(handover, out)) if out.is_dir() else set()
    for name in sorted(at_hand):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(out / name, folder / name)
    missing = {name: size for name, size in wanted.items() if name not in at_hand}
    told = ""
    for _ in range(TRIES):
        if told:
            log.warning("%s came damaged; fetching again", told)
        fetch(missing)
        wrong = {name: why for name, why in damaged(handover, folder).items() if name in wanted}
        if not wrong:
            return []
        told = ", ".join(f"{name} ({why})" for name, why in list(wrong.items())[:3])
        missing = {name: wanted[name] for name in wrong}
    if as_it_is:
        log.warning("%s: taken as it is", told)
        return sorted(missing)
    raise RunError(
        f"{len(missing)} files came damaged {TRIES} times ({told}); nothing was kept of them; run "
        "the same command again, or with --as-it-is"
    )


def _fetch_partial(fetch: Fetch, folder: Path, names: Sequence[str]) -> tuple[list[str], list[str]]:
    names = [name for name in names if ASIDE not in name]
    for name in [name for name in names if not _is_below(folder / name, folder)]:
        log.warning("the kernel left %r, which lies outside of its folder: left out", name)
        names.remove(name)
    for attempt in range(1, TRIES + 1):
        fetch(dict.fromkeys(names, 1))
        strange = [name for name in names if _is_page(folder / name)]
        checkpoints = _whole_checkpoints(folder)
        complete = {
            path.name
            for chain in folder.rglob("chain")
            for path in folders_of(chain)
            if (path / "manifest.json").is_file()
        }
        if (not strange and len(checkpoints) == len(complete)) or attempt == TRIES:
            break
        log.warning("some of what the kernel left came damaged; fetching again")
    for name in strange:
        log.warning("%s did not come, again and again: left out", name)
        (folder / name).unlink(missing_ok=True)
    proven = tuple(f"/{name}/" for name in checkpoints)
    unproven = [
        name
        for name in sorted(set(names) - set(strange))
        if not any(checkpoint in f"/{name}" for checkpoint in proven)
    ]
    return checkpoints, unproven


def _is_below(path: Path, folder: Path) -> bool:
    return path.resolve().is_relative_to(folder.resolve())


def _is_page(path: Path) -> bool:
    """An error page saved under a file's name; the client may save one and call it done."""
    if path.suffix in (".html", ".htm") or not path.is_file():
        return not path.is_file()
    with open(path, "rb") as file:
        return bool(_PAGE.match(file.read(200)))


def _whole_checkpoints(folder: Path) -> list[str]:
    whole = []
    for chain in sorted(folder.rglob("chain")):
        for path in folders_of(chain):
            try:
                whole.append(verify(path).name)
            except RunError as error:
                log.debug("%s", error)
    return whole
