"""What a session leaves for whoever drives it: one small file that says how it stands.

The next step is decided by handover.json alone, without the weights; and whatever of the session
is downloaded can be checked against it.
"""

from __future__ import annotations

import json
import math
import os
import re
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, fields
from pathlib import Path, PurePosixPath, PureWindowsPath
from typing import Any

from carlib.checkpoints.disk import LAST
from carlib.errors import RunError, UsageError
from carlib.files import ASIDE, LOCK, sha256
from carlib.progress import progress
from carlib.runfolder import RunFolder, read_json, read_table, write_json

HANDOVER = "handover.json"
FORMAT = 1
SUBMISSIONS = "submission*.csv"
_WHAT = f"fetch it again, or look at what the session wrote into its log instead of {HANDOVER}"


@dataclass(frozen=True, slots=True)
class Handover:
    """How a run stands at the end of a session, and the files that the session leaves.

    Args:
        push: The driver's name for this session; "" for one started by hand.
        run: The run folder, relative to the file's, with "/".
        recipe: Name of the recipe.
        recipe_digest: Of that recipe.
        catalog_digest: Of the photos.
        done: All phases are finished.
        why: What ended the session: "done", "the clock", "stop-after", ...
        at: Name of the run's newest checkpoint; "" where there is none.
        best: phase, epoch and value of the best epoch; None before the first.
        accuracy: Of the best epoch's model on validation; None where it is not known.
        hours: Of all sessions up to this one.
        files: Path relative to the file's folder, with "/", to (bytes, SHA-256 as 64 hex digits).

    Raises:
        UsageError: A path that leaves the folder, a size or digest that is none, negative hours.
    """

    push: str
    run: str
    recipe: str
    recipe_digest: str
    catalog_digest: str
    done: bool
    why: str
    at: str
    best: Mapping[str, Any] | None
    accuracy: float | None
    hours: float
    files: Mapping[str, tuple[int, str]]

    def __post_init__(self) -> None:
        for path in (self.run, *self.files, *filter(None, [self.at])):
            if not _stays_inside(path):
                raise UsageError(
                    f"Handover: {path!r} must be a path below the folder of {HANDOVER}, with '/'"
                )
        for path, (size, digest) in self.files.items():
            if size < 0 or not re.fullmatch("[0-9a-f]{64}", digest):
                raise UsageError(
                    f"Handover: {path} must have its bytes, 0 or more, and its SHA-256, 64 hex "
                    f"digits; received {size} and {digest[:80]!r}"
                )
        if not 0 <= self.hours < math.inf:
            raise UsageError(f"Handover: hours must be 0 or more; received {self.hours}")


def write_handover(run: Path | str, work: Path | str | None = None, push: str = "") -> Path:
    """Write handover.json: how a run stands, and each file of it with its size and SHA-256.

    Listed are the run folder, less its cached features, and submission*.csv in the work folder;
    what is hidden, half-written, a lock or a link out of the work folder is not.

    Args:
        run: The run folder.
        work: Folder to write into, above the run. Defaults to the run folder's parent.
        push: The driver's name for this session. Defaults to "", for none.

    Returns:
        The path of handover.json.

    Raises:
        UsageError: ``work`` is not above ``run``.
        RunError: The run has no result.json or sessions.csv, or one is damaged.

    >>> write_handover("nowhere")
    Traceback (most recent call last):
    carlib.errors.RunError: nowhere/result.json is not there: is nowhere a finished carlib run?
    """
    folder, root = RunFolder(Path(run)), Path(os.path.abspath(run))
    work = root.parent if work is None else Path(os.path.abspath(work))
    if work not in root.parents:
        raise UsageError(f"{run} does not lie below {work}; give a folder above the run as work")
    result, sessions = read_json(folder.result), read_table(folder.sessions)
    try:
        handover = Handover(
            push=push,
            run=root.relative_to(work).as_posix(),
            recipe=result["recipe"],
            recipe_digest=result["recipe_digest"],
            catalog_digest=result["catalog_digest"],
            done=result["done"],
            why=sessions[-1]["why"],
            at=_last(folder),
            best=result["best"],
            accuracy=result["validation_accuracy"],
            hours=float(sessions[-1]["total_hours"]),
            files=dict(_files(work, RunFolder(root))),
        )
    except (LookupError, TypeError, ValueError) as error:
        raise RunError(
            f"{folder.result} and {folder.sessions.name} beside it do not say how the run stands "
            f"({error!r}): is {run} a carlib run?"
        ) from error
    write_json(work / HANDOVER, {"handover": FORMAT, **asdict(handover)})
    return work / HANDOVER


def read_handover(path: Path | str) -> Handover:
    """Return what a session left, every field checked.

    Args:
        path: Of a handover.json.

    Raises:
        RunError: Missing, cut short, damaged, a web page, another program's file or of another
            format, or a path in it leaves the folder.

    >>> read_handover("nowhere/handover.json")
    Traceback (most recent call last):
    carlib.errors.RunError: nowhere/handover.json is not there: the session ended before it wrote it
    """
    path = Path(path)
    try:
        text = path.read_text(encoding="utf-8")
        if text.lstrip()[:1] == "<":
            raise RunError(f"{path} is a web page, not a handover; {_WHAT}")
        said = json.loads(text)
    except FileNotFoundError:
        raise RunError(f"{path} is not there: the session ended before it wrote it") from None
    except (OSError, ValueError) as error:
        raise RunError(f"{path} is damaged or cut short ({error}); {_WHAT}") from error
    if not isinstance(said, dict) or "handover" not in said:
        raise RunError(f"{path} is no handover of carlib's; {_WHAT}")
    if said.pop("handover") != FORMAT:
        raise RunError(
            f"{path} was written by another version of carlib; this one reads format {FORMAT}: "
            "use the same carlib here and in the session"
        )
    try:
        return Handover(**_checked(said))
    except UsageError as error:
        raise RunError(f"{path} is refused: {error}") from error
    except (LookupError, TypeError, ValueError) as error:
        raise RunError(f"{path} is damaged ({error}); {_WHAT}") from error


def damaged(handover: Handover, folder: Path | str) -> dict[str, str]:
    """Return the files that are not as the session left them, by path: what is wrong.

    Args:
        handover: Of the session.
        folder: Where its files were downloaded to, as they lay beside handover.json.

    Returns:
        "missing", "size" or "digest" by path; {} where all is well.

    >>> handover = Handover("", "run", "r", "", "", True, "done", "", None, None, 0.5,
    ...                     {"run/result.json": (2, "0" * 64)})
    >>> damaged(handover, "nowhere")
    {'run/result.json': 'missing'}
    """
    found = {}
    for name, (size, digest) in handover.files.items():
        path = Path(folder) / name
        if not path.is_file():
            found[name] = "missing"
        elif path.stat().st_size != size:
            found[name] = "size"
        elif sha256(path) != digest:
            found[name] = "digest"
    return found


_KINDS: dict[str, tuple[type, ...]] = {
    "done": (bool,),
    "best": (dict, type(None)),
    "accuracy": (int, float, type(None)),
    "hours": (int, float),
    "files": (dict,),
}


def _checked(said: dict[str, Any]) -> dict[str, Any]:
    """Return the fields of a Handover out of JSON, each of its kind."""
    for field in fields(Handover):
        if field.name not in said:
            raise ValueError(f"{field.name} is missing")
        if type(said[field.name]) not in _KINDS.get(field.name, (str,)):
            raise ValueError(f"{field.name} is {said[field.name]!r}"[:200])
    files = {}
    for name, entry in said["files"].items():
        if not isinstance(entry, list) or [type(each) for each in entry] != [int, str]:
            raise ValueError(f"{name} has {entry!r} for bytes and SHA-256"[:200])
        files[name] = (entry[0], entry[1])
    return {**said, "files": files}


def _stays_inside(name: str) -> bool:
    path = PurePosixPath(name)
    if path.is_absolute() or PureWindowsPath(name).drive or set("\\\0") & set(name):
        return False
    return bool(path.parts) and path.as_posix() == name and ".." not in path.parts


def _last(folder: RunFolder) -> str:
    try:
        return (folder.chain / LAST).read_text(encoding="utf-8", errors="replace").strip()
    except OSError:
        return ""


def _files(work: Path, folder: RunFolder) -> Iterator[tuple[str, tuple[int, str]]]:
    """Yield what a session leaves, sorted by path."""
    paths = [path for path in work.glob(SUBMISSIONS) if _is_left(path, work)]
    for where, folders, names in os.walk(folder.root):
        inner = Path(where)
        folders[:] = [
            name
            for name in folders
            if not name.startswith(".") and ASIDE not in name and inner / name != folder.features
        ]
        paths += [inner / name for name in names if _is_left(inner / name, work)]
    for path in progress(sorted(paths), desc="checking files", unit="file"):
        yield path.relative_to(work).as_posix(), (path.stat().st_size, sha256(path))


def _is_left(path: Path, work: Path) -> bool:
    """Say whether a file is one that the session means to leave."""
    name = path.name
    return (
        path.is_file()
        and name != LOCK
        and not name.startswith(".")
        and ASIDE not in name
        and path.resolve().is_relative_to(work.resolve())
    )
