"""Every digest of a chain checked again, and a verdict on each thing in it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from carlib.checkpoints import read_state, verify
from carlib.checkpoints.chain import folders_of
from carlib.checkpoints.disk import LAST, AnotherFormat
from carlib.errors import RunError
from carlib.files import sha256
from carlib.lineage.reading import Place, best_of, short
from carlib.progress import progress
from carlib.runfolder import RunFolder, is_exported, read_json


@dataclass(frozen=True, slots=True)
class Verdict:
    """What became of one thing in a chain.

    Args:
        name: Of a checkpoint's folder, "LAST", or "best/model.keras".
        whole: Its digests are right.
        reason: Why it is not; where it is, what else there is to know, or "".
        resumes: A run would go on from here.
    """

    name: str
    whole: bool
    reason: str = ""
    resumes: bool = False


def verify_chain(path: Path | str) -> list[Verdict]:
    """Check every digest of a chain again, and return a verdict on each thing in it.

    The checkpoints, the oldest first; that the best epoch's, which the newest whole one counts
    on, is among them; LAST; and best/model.keras against its card, where the run folder is given.

    Args:
        path: A run folder, a chain folder, or one checkpoint.

    Raises:
        RunError: It is none of these.
    """
    place = Place.of(Path(path))
    beside = RunFolder(place.chain.parent)
    checked: dict[str, _Checked] = {}
    for folder in progress(place.folders, desc="verifying", unit="checkpoint"):
        checked[folder.name] = _check(folder, beside)
    newest = next((name for name, each in checked.items() if not each.damage), "")
    needed = checked[newest].best if newest else ""
    if needed and needed not in checked and place.has(needed):
        # One checkpoint was asked about, and its best epoch's is another.
        checked[needed] = _check(place.chain / needed, beside)
    start = _resumes(checked)
    verdicts = [
        Verdict(name, not each.damage, each.damage or _remark(each, checked), name == start)
        for name, each in checked.items()
        if place.has(name)
    ]
    if needed and needed not in checked:
        reason = f"is not there, and {newest} needs it: its best epoch lies there"
        verdicts.append(Verdict(needed, False, reason))
    verdicts.sort(key=lambda verdict: verdict.name)
    if place.folders and not place.single:
        verdicts.append(_check_last(place.chain))
    if place.run and (needed or place.run.model.exists()):
        verdicts.append(_check_best(place.run))
    return verdicts


@dataclass(frozen=True, slots=True)
class _Checked:
    """A checkpoint of which every digest was checked.

    Args:
        best: Name of the checkpoint with its best epoch's weights; "" before the first epoch.
        exported: best/ beside the chain holds the best epoch's weights too.
        damage: What is wrong with it; "" for nothing.
        foreign: Of another format: a run stops there, and takes none before it.
    """

    best: str = ""
    exported: bool = False
    damage: str = ""
    foreign: bool = False


def _check(folder: Path, beside: RunFolder) -> _Checked:
    try:
        checkpoint = verify(folder)
        best = best_of(read_state(checkpoint, arrays=False)[1], folder.name)
    except RunError as error:
        foreign = isinstance(error, AnotherFormat)
        return _Checked(damage=short(error, folder), foreign=foreign)
    if not best:
        return _Checked()
    digests = checkpoint.recipe_digest, checkpoint.catalog_digest
    return _Checked(best["checkpoint"], is_exported(beside, *digests, best))


def _resumes(checked: Mapping[str, _Checked]) -> str:
    """Return the checkpoint that a run would go on from, as it chooses it itself; "" for none.

    Args:
        checked: By name, the newest first.
    """
    for name, each in checked.items():
        needed = checked.get(each.best, _Checked(damage="gone")) if each.best else each
        needed = each if each.exported else needed
        if each.foreign or (needed.foreign and not each.damage):
            return ""
        if not each.damage and not needed.damage:
            return name
    return ""


def _remark(each: _Checked, checked: Mapping[str, _Checked]) -> str:
    if not each.best or (each.best in checked and not checked[each.best].damage):
        return ""
    what = "damaged" if each.best in checked else "not there"
    if each.exported:
        return f"its best epoch lies in {each.best}, which is {what}; best/ has the same weights"
    return f"no run can go on from it: its best epoch lies in {each.best}, which is {what}"


def _check_last(chain: Path) -> Verdict:
    try:
        said = (chain / LAST).read_text(encoding="utf-8", errors="replace").strip()
    except OSError as error:
        return Verdict(LAST, False, f"cannot be read: {error.strerror}")
    if said not in [folder.name for folder in folders_of(chain)]:
        return Verdict(LAST, False, f"names {said[:60]!r}, which is not there")
    return Verdict(LAST, True, f"names {said}")


def _check_best(run: RunFolder) -> Verdict:
    name = run.model.relative_to(run.root).as_posix()
    try:
        card = read_json(run.model_card)
        differs = card["sha256"] != sha256(run.model)
    except (RunError, OSError, KeyError, TypeError) as error:
        return Verdict(name, False, f"cannot be checked: {error!s}")
    if differs:
        return Verdict(name, False, f"is damaged (its SHA-256 is not that in {run.model_card})")
    return Verdict(name, True, f"of epoch {card.get('epoch', '?')}")
