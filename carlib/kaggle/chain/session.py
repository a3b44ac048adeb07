"""One session of a chain: pushed, watched, and judged at its end."""

from __future__ import annotations

import contextlib
import dataclasses
import logging
import shutil
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from carlib.errors import CarlibError, RunError
from carlib.files import whole_folder, write_whole
from carlib.handover import Handover
from carlib.kaggle.chain import relay
from carlib.kaggle.chain.decide import DONE, GO_ON, Decision, Ended, decide, furthest, got_further
from carlib.kaggle.chain.diary import Diary, Turn
from carlib.kaggle.client import TRANSIENT, Asker, KaggleError
from carlib.kaggle.kernels import ENDED, Pushed, arrived, kernel_status, push_kernel
from carlib.kaggle.logs import log_seconds, plain_log, tail
from carlib.kaggle.notebook import with_parameters
from carlib.kaggle.pull import read_listing, read_output
from carlib.progress import progress, say

log = logging.getLogger("carlib")

OUTAGE = 6 * 3600.0
LOOKS = 3  # at an ended session that was never seen to run, before it is taken for the new one


@dataclass(slots=True)
class Driver:
    """A chain under way.

    Args:
        asker: The client.
        diary: The chain's.
        poll: Seconds between two looks at a session.
        wait: Sleeps.
        clock: Seconds since 1970.
        outage: Seconds that a session is not given up for, though nothing is heard of it.
        tell: Takes the lines for people.
    """

    asker: Asker
    diary: Diary
    poll: float = 60.0
    wait: Callable[[float], None] = time.sleep
    clock: Callable[[], float] = time.time
    outage: float = OUTAGE
    tell: Callable[[str], None] = say

    @property
    def out(self) -> Path:
        """The chain's folder."""
        return self.diary.path.parent

    def now(self) -> str:
        """The time, in ISO 8601."""
        return datetime.fromtimestamp(self.clock(), UTC).isoformat(timespec="seconds")


def _folder(driver: Driver, turn: Turn) -> Path:
    """Make the folder that is pushed."""
    plan, folder = driver.diary.plan, driver.out / "push"
    code = Path(plan.notebook).name
    values: dict[str, Any] = {**plan.parameters, "PUSH": turn.tag}
    # Where there is something to go on from, rather nothing than a second start.
    must = bool(turn.carries or ("RESUME" not in values and plan.kernels))
    values["RESUME"] = "must" if must else values.get("RESUME", "auto")
    if turn.limit is not None:
        values["LIMIT"] = f"{turn.limit:.0f}s"
    text = with_parameters(Path(plan.notebook), values)
    shutil.rmtree(folder, ignore_errors=True)
    with whole_folder(folder) as aside:
        write_whole(aside / code, text)
        plan.as_kernel(turn.kernel, turn.datasets, turn.kernels).write(aside)
    return folder


def push(driver: Driver, turn: Turn, unclear: bool = False) -> None:
    """Push a session, once.

    Args:
        driver: The chain under way.
        turn: The session, in the diary already.
        unclear: A driver before this one may have pushed it: it is looked for first.
    """
    found = None
    if unclear:
        found = driver.asker.look(
            lambda: arrived(driver.asker, turn.kernel, "", turn.before, turn.tag)
        )
    if found:
        pushed = Pushed(turn.kernel, found["version"], found["url"])
    else:
        with contextlib.nullcontext() if unclear else _forgotten(driver, turn):
            folder = _folder(driver, turn)
        with _forgotten(driver, turn):
            pushed = push_kernel(driver.asker, folder, turn.timeout, turn.before, turn.tag)
    turn.pushed, turn.version, turn.complaint = driver.now(), pushed.version, pushed.complaint()
    driver.diary.save()
    if turn.complaint:
        log.warning("%s", turn.complaint)
    which = f" version {turn.version}" if turn.version else ""
    after = f", going on from {turn.carries}" if turn.carries else ""
    driver.tell(f"session {turn.number}: pushed {turn.kernel}{which}{after}; {pushed.url}")


@contextlib.contextmanager
def _forgotten(driver: Driver, turn: Turn) -> Iterator[None]:
    """Forget a turn that was refused, here or there, before anything was pushed."""
    try:
        yield
    except CarlibError as error:
        if not isinstance(error, KaggleError) or error.kind == "refused":
            driver.diary.turns.remove(turn)
            driver.diary.save()
        raise


def watch(driver: Driver, turn: Turn) -> None:
    """Wait until a session has ended, and write down how."""
    looks, said, heard, running = 0, "", driver.clock(), None
    with progress(desc=f"session {turn.number}", unit=" looks") as bar:
        while True:
            try:
                status, message = kernel_status(driver.asker, turn.kernel, turn.version)
                heard = driver.clock()
            except KaggleError as error:
                # Right after a push, Kaggle may not know of it yet.
                early = error.kind in ("missing", "refused") and not said and looks < LOOKS
                away = error.kind in TRANSIENT and driver.clock() - heard < driver.outage
                if not early and not away:
                    raise
                if away:
                    log.warning("%s; the session goes on without", error)
                status, message = said, ""
            if status != said:
                said = status
                bar.set_description_str(f"session {turn.number}: {status}")
            if status == "RUNNING":
                # A clock that jumps, or a driver that was away, is no time that a session ran.
                now = driver.clock()
                if running is not None:
                    turn.watched += min(max(0.0, now - running), 3 * driver.poll + 60)
                turn.running, running = turn.running or driver.now(), now
                driver.diary.save()
            looks += 1
            # Right after a push, what is told may still be of the session before.
            sure = bool(turn.running) or looks >= LOOKS
            if status in ENDED and _end(driver, turn, status, message, sure):
                return
            bar.update()
            driver.wait(driver.poll)


def _end(driver: Driver, turn: Turn, status: str, message: str, sure: bool) -> bool:
    """Decide what comes after a session; False where it may be another's that has ended."""
    fault = ""
    with tempfile.TemporaryDirectory() as folder:
        listed = read_listing(driver.asker, turn.kernel, turn.version)
        try:
            handover = read_output(driver.asker, listed, Path(folder))
        except RunError as error:
            handover, fault = None, str(error)
    foreign = handover is not None and handover.push != turn.tag
    if not sure and (foreign or handover is None):
        return False
    if foreign:
        handover, listed = None, dataclasses.replace(listed, names=[])
        if status == "COMPLETE":
            fault = (
                f"{turn.kernel} holds the output of another push: did somebody push to it? Choose "
                "another --out and --kernel, or push nothing there meanwhile"
            )
    text = plain_log(listed.log)
    write_whole(driver.out / "logs" / f"session-{turn.number}.log", text)
    turn.status, turn.ended = status, driver.now()
    # A log may have been silent for long.
    turn.seconds = max(log_seconds(listed.log) or 0.0, turn.watched)
    complete = handover is not None and status == "COMPLETE"
    turn.at = handover.at if handover and complete else furthest(listed.names)
    decision = _without_source(driver.diary, turn)
    decision = decision or decide(_ended(driver, turn, message, handover, text, fault))
    turn.verdict, turn.line = decision.verdict, decision.line
    driver.diary.save()
    if decision.verdict not in (DONE, GO_ON):
        _tell(driver, turn, decision, text)
    return True


def _without_source(diary: Diary, turn: Turn) -> Decision | None:
    """A session whose source Kaggle did not attach ends at once; the dataset is another way."""
    carrier = relay.carrier_of(diary)
    lost = turn.status == "ERROR" and turn.complaint and not got_further(turn.at, turn.carries)
    if not lost or not carrier or carrier.relayed or carrier.kernel not in turn.complaint:
        return None
    carrier.unmounted = True
    return Decision(
        GO_ON,
        f"{turn.complaint}: what it goes on from goes through {diary.plan.chain_dataset}",
    )


def _ended(
    driver: Driver, turn: Turn, message: str, handover: Handover | None, text: str, fault: str
) -> Ended:
    plan = driver.diary.plan
    return Ended(
        status=turn.status,
        message=message,
        handover=handover,
        log=text,
        at=turn.at,
        carries=turn.carries,
        seconds=turn.seconds,
        limit=min(turn.timeout or plan.longest, plan.longest),
        cancelled=plan.cancelled,
        complaint=turn.complaint,
        fault=fault,
    )


def _tell(driver: Driver, turn: Turn, decision: Decision, text: str) -> None:
    """Show the end of a log: what a person needs to mend it."""
    where = driver.out / "logs" / f"session-{turn.number}.log"
    driver.tell(f"session {turn.number} of {turn.kernel}: {turn.status}, {decision.verdict}")
    for line in tail(text):
        driver.tell(f"    {line}")
    driver.tell(f"    (all of it: {where})")
