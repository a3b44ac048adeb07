"""What comes after a session, from what is known of it: ordered rules, the first that fits."""

from __future__ import annotations

import re
from dataclasses import dataclass

from carlib.checkpoints import Position
from carlib.handover import Handover
from carlib.kaggle.logs import ran_out_of_memory, reason

DONE = "done"
GO_ON = "go-on"
FAILED = "failed"
OUT_OF_MEMORY = "out-of-memory"
STUCK = "stuck"
STOPPED = "stopped"

_AT = re.compile(r"(?:^|/)(\d{6,}-p(\d+)e(\d+)s(\d+))(?:/|$)")
# What the words of a notebook are in a chain's command.
HINTS = (
    ("set DATA", " (here: --parameter DATA=NAME)"),
    ("Add Input", " (here: --dataset OWNER/SLUG or --competition SLUG)"),
    ("--resume", " (here: --parameter RESUME=never, or auto)"),
    ("attach the dataset (or wheels)", " (here: --package OWNER/SLUG)"),
)
LONGEST = 300  # characters of a log's line
NEARLY = 0.9  # of its limit: a cancelled session that ran for so long was ended by it


@dataclass(frozen=True, slots=True)
class Ended:
    """A session that has ended.

    Args:
        status: Kaggle's: COMPLETE, ERROR or CANCEL_ACKNOWLEDGED.
        message: Kaggle's, where it failed.
        handover: What it said of itself; None where it did not come to that.
        log: Its log, as text.
        at: Name of the furthest checkpoint it left; "" for none.
        carries: Name of the checkpoint it went on from; "" for none.
        seconds: How long it ran.
        limit: Seconds after which Kaggle ends it.
        cancelled: The plan's.
        complaint: What Kaggle did not attach.
        fault: What is wrong with what it left, where its handover does not count for that.
    """

    status: str
    message: str = ""
    handover: Handover | None = None
    log: str = ""
    at: str = ""
    carries: str = ""
    seconds: float = 0.0
    limit: float = 0.0
    cancelled: str = "auto"
    complaint: str = ""
    fault: str = ""


@dataclass(frozen=True, slots=True)
class Decision:
    """What comes next, and why, in one line."""

    verdict: str
    line: str


def position_of(name: str) -> Position | None:
    """Return how far a checkpoint got, by its name or a path through it.

    >>> position_of("run/chain/000042-p1e3s0/manifest.json")
    Position(phase=1, epoch=3, step=0)
    """
    found = _AT.search(name)
    return Position(*map(int, found.groups()[1:])) if found else None


def furthest(names: list[str]) -> str:
    """Return the name of the furthest checkpoint among the files of an output; "" for none.

    >>> furthest(["run/chain/000002-p1e0s0/manifest.json", "run/chain/LAST"])
    '000002-p1e0s0'
    """
    found = [
        (position, match[1])
        for name in names
        if name.endswith("/manifest.json")
        and ".aside" not in name
        and (match := _AT.search(name))
        and (position := position_of(name))
    ]
    return max(found)[1] if found else ""


def got_further(at: str, carries: str) -> bool:
    """Say whether a session left more than it was given.

    >>> got_further("000003-p1e0s0", "000002-p0e9s5"), got_further("", "")
    (True, False)
    """
    new, old = position_of(at), position_of(carries)
    return new is not None and (old is None or new > old)


def decide(ended: Ended) -> Decision:
    """Return what comes after a session."""
    progressed = got_further(ended.at, ended.carries)
    kept = f"; it got to {ended.at}" if progressed else ""
    last = reason(ended.log) or " ".join(ended.message.split()) or "its log is empty"
    last = last if len(last) <= LONGEST else last[:LONGEST] + "..."
    if ended.status == "COMPLETE":
        if ended.handover is None and ended.fault:
            return Decision(FAILED, f"{ended.fault}{kept}")
        if ended.handover is None:
            return Decision(FAILED, "it left no handover.json: is its notebook carlib's?")
        if ended.handover.done:
            score = ended.handover.accuracy
            told = "" if score is None else f", validation accuracy {score:.4f}"
            return Decision(DONE, f"done after {ended.handover.hours:.2f} h in all{told}")
        if progressed:
            return Decision(GO_ON, f"stopped by {ended.handover.why} at {ended.at}")
        return Decision(
            STUCK,
            f"it went no further than {ended.carries or 'its start'}: a longer --limit is needed",
        )
    by_limit = ended.status != "ERROR" and (
        ended.cancelled == "go-on"
        or (ended.cancelled == "auto" and ended.seconds >= NEARLY * ended.limit)
    )
    # What is said of memory in a log that the limit has ended did not end it.
    if not by_limit and (ran_out_of_memory(ended.log) or ran_out_of_memory(ended.message)):
        return Decision(
            OUT_OF_MEMORY,
            f"out of memory{kept}; a new --out with --set phases.*.batch_size=... (half of it), or "
            "a smaller model.size, needs less",
        )
    if ended.status == "ERROR":
        if ended.complaint:
            return Decision(FAILED, f"{ended.complaint} ({last})")
        hint = next((hint for said, hint in HINTS if said in last), "")
        return Decision(FAILED, f"{last}{hint}{kept}")
    if by_limit and progressed:
        return Decision(GO_ON, f"ended by its limit{kept}")
    if by_limit:
        return Decision(
            STUCK,
            f"ended by its limit, and went no further than {ended.carries or 'its start'}: give "
            "it more time",
        )
    return Decision(STOPPED, f"cancelled after {ended.seconds / 3600:.2f} h{kept}")
