"""Driving a chain: push, watch, decide, hand on, until the run is done.

Each step is written down before it is taken and after, so that a driver that was killed finds
out what came through of it, and neither pushes twice nor forgets a session.
"""

from __future__ import annotations

import contextlib
import logging
import shutil
import tempfile
import time
import uuid
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from carlib.errors import CarlibError, RunError
from carlib.files import whole_folder, write_whole
from carlib.handover import Handover
from carlib.kaggle.chain import relay
from carlib.kaggle.chain.decide import (
    DONE,
    GO_ON,
    Decision,
    Ended,
    decide,
    furthest,
)
from carlib.kaggle.chain.diary import Diary, Turn
from carlib.kaggle.client import TRANSIENT, Asker, KaggleError
from carlib.kaggle.kernels import (
    ENDED,
    Pushed,
    arrived,
    kernel_status,
    newest_version,
    push_kernel,
    read_quota,
)
from carlib.kaggle.logs import log_seconds, plain_log, tail
from carlib.kaggle.notebook import with_parameters
from carlib.kaggle.pull import pull_output, read_output
from carlib.progress import progress, say

log = logging.getLogger("carlib")

OUT_OF_QUOTA = "out-of-quota"
ENOUGH = "enough"  # as many sessions as were asked for
# Seconds between a session's own stop and its end by Kaggle: installing, the last save, the report,
# and Kaggle's copying of what it left.
GRACE = 900.0
LEAST = 1200.0  # seconds of quota that are worth a session
OUTAGE = 6 * 3600.0
LOOKS = 3  # at an ended session that was never seen to run, before it is taken for the new one


@dataclass(frozen=True, slots=True)
class Ending:
    """How a drive ended.

    Args:
        verdict: One of ``carlib.kaggle.chain.decide``'s, OUT_OF_QUOTA or ENOUGH.
        line: Why, and what to do.
        turns: Sessions of the chain so far.
        output: Folder with what the last session left, once the run is done.
    """

    verdict: str
    line: str
    turns: int
    output: Path | None = None


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
    """

    asker: Asker
    diary: Diary
    poll: float = 60.0
    wait: Callable[[float], None] = time.sleep
    clock: Callable[[], float] = time.time
    outage: float = OUTAGE

    @property
    def out(self) -> Path:
        """The chain's folder."""
        return self.diary.path.parent

    def now(self) -> str:
        """The time, in ISO 8601."""
        return datetime.fromtimestamp(self.clock(), UTC).isoformat(timespec="seconds")


def drive_chain(
    asker: Asker,
    diary: Diary,
    *,
    again: bool = False,
    sessions: int = 20,
    poll: float = 60.0,
    wait: Callable[[float], None] = time.sleep,
    clock: Callable[[], float] = time.time,
    outage: float = OUTAGE,
) -> Ending:
    """Push sessions, one after the other, until the run is done or one of them needs a person.

    Only a session that ended well, or by its limit, and got further is followed by another: what
    crashes, stands still or is cancelled costs its own hours and no more.

    Args:
        asker: The client, or a rehearsal.
        diary: The chain's; its folder is the caller's alone (``carlib.files.only_one``).
        again: Go on after a session that failed.
        sessions: How many there may be in all. Defaults to 20.
        poll: Seconds between two looks. Defaults to 60.
        wait: Sleeps. Defaults to time.sleep.
        clock: Seconds since 1970. Defaults to time.time.
        outage: Seconds that Kaggle, or the network, may be away while a session runs, which goes on
            without them. Defaults to OUTAGE.

    Raises:
        UsageError: The metadata or the notebook's parameters are not what they should be.
        CarlibError: Something looks like a secret.
        KaggleError: Kaggle refused, or could not be reached: the same command goes on.
    """
    driver = Driver(asker, diary, poll, wait, clock, outage)
    while True:
        turn = diary.turns[-1] if diary.turns else None
        if turn is None or turn.ended:
            if turn and turn.verdict == DONE:
                return _finish(driver, turn)
            if turn and turn.verdict != GO_ON and not again:
                return Ending(
                    turn.verdict,
                    f"session {turn.number}: {turn.line}. When that is mended, run the same "
                    "command with --again",
                    len(diary.turns),
                )
            if len(diary.turns) >= sessions:
                return Ending(
                    ENOUGH,
                    f"{len(diary.turns)} sessions, as many as --sessions allows, and not done",
                    len(diary.turns),
                )
            if turn:
                relay.hand_on(driver.asker, diary, turn, poll=poll, wait=wait)
            limit, timeout, empty = _time(driver)
            if empty:
                return Ending(OUT_OF_QUOTA, empty, len(diary.turns))
            turn = _next_turn(driver, limit, timeout)
            again = False
            _push(driver, turn)
        elif not turn.pushed:
            # A driver before this one may have pushed it, and been killed before it could say so.
            _push(driver, turn, unclear=True)
        _watch(driver, turn)
        say(f"session {turn.number}: {turn.line}")


def _time(driver: Driver) -> tuple[float | None, float | None, str]:
    """The next session's limit and timeout, or why there is no time for one."""
    plan = driver.diary.plan
    limit, timeout = plan.limit, plan.timeout
    if timeout is None and limit is not None:
        timeout = limit + GRACE
    kind = plan.machine.kind
    if kind == "cpu":
        return limit, timeout, ""
    try:
        quota = read_quota(driver.asker, kind)
    except KaggleError as error:
        log.warning("the quota is not known (%s); going on without", error)
        return limit, timeout, ""
    if quota is None:
        return limit, timeout, ""
    used = f"{quota.used / 3600:.1f} of {quota.total / 3600:.1f} h"
    if quota.left < min(LEAST, timeout or LEAST):
        return (
            limit,
            timeout,
            f"out of {kind.upper()} quota until {quota.until()} ({used} used): run the same "
            "command then",
        )
    if quota.left < (timeout or plan.machine.hours * 3600):
        timeout = quota.left
        limit = min(limit or quota.left, max(quota.left - GRACE, quota.left / 2))
        say(f"{used} of the week's {kind.upper()} quota are used: a shorter session")
    return limit, timeout, ""


def _next_turn(driver: Driver, limit: float | None, timeout: float | None) -> Turn:
    diary, plan = driver.diary, driver.diary.plan
    carrier = relay.carrier_of(diary)
    # Never the one that is the source, where there is another.
    kernel = next((id for id in plan.ids if not carrier or id != carrier.kernel), plan.kernel)
    turn = Turn(
        number=len(diary.turns) + 1,
        tag=uuid.uuid4().hex,
        kernel=kernel,
        before=newest_version(driver.asker, kernel),
        kernels=[carrier.kernel] if carrier and not carrier.relayed else [],
        datasets=[plan.chain_dataset] if carrier and carrier.relayed else [],
        carries=carrier.at if carrier else "",
        limit=limit,
        timeout=timeout,
    )
    if carrier is None:
        turn.kernels = list(plan.kernels)
    diary.turns.append(turn)
    diary.save()
    return turn


def _folder(driver: Driver, turn: Turn) -> Path:
    """The folder that is pushed: made once a turn, so that a second look finds the same text."""
    plan, folder = driver.diary.plan, driver.out / "push"
    code = Path(plan.notebook).name
    if (folder / code).is_file() and turn.tag in (folder / code).read_text(encoding="utf-8"):
        return folder
    values: dict[str, Any] = {**plan.parameters, "PUSH": turn.tag}
    values["RESUME"] = "must" if turn.carries else values.get("RESUME", "auto")
    if turn.limit is not None:
        values["LIMIT"] = f"{turn.limit:.0f}s"
    text = with_parameters(Path(plan.notebook), values)
    shutil.rmtree(folder, ignore_errors=True)
    with whole_folder(folder) as aside:
        write_whole(aside / code, text)
        plan.as_kernel(turn.kernel, turn.datasets, turn.kernels).write(aside)
    return folder


def _push(driver: Driver, turn: Turn, unclear: bool = False) -> None:
    with contextlib.nullcontext() if unclear else _forgotten(driver, turn):
        folder = _folder(driver, turn)
    sent = (folder / Path(driver.diary.plan.notebook).name).read_text(encoding="utf-8")
    found = None
    if unclear:
        found = driver.asker.look(lambda: arrived(driver.asker, turn.kernel, sent, turn.before))
    if found:
        pushed = Pushed(turn.kernel, found["version"], found["url"])
    else:
        with _forgotten(driver, turn):
            pushed = push_kernel(driver.asker, folder, turn.timeout, turn.before)
    turn.pushed, turn.version, turn.complaint = driver.now(), pushed.version, pushed.complaint()
    driver.diary.save()
    if turn.complaint:
        log.warning("%s", turn.complaint)
    which = f" version {turn.version}" if turn.version else ""
    after = f", going on from {turn.carries}" if turn.carries else ""
    say(f"session {turn.number}: pushed {turn.kernel}{which}{after}; {pushed.url}")


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


def _watch(driver: Driver, turn: Turn) -> None:
    """Wait until a session has ended, and write down how."""
    looks, said, heard = 0, "", driver.clock()
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
                turn.seen = driver.now()
                turn.running = turn.running or turn.seen
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
    with tempfile.TemporaryDirectory() as folder:
        handover, names, raw = read_output(driver.asker, turn.kernel, Path(folder), turn.version)
    if handover and handover.push != turn.tag:
        if not sure:
            return False
        handover = _foreign(turn, handover, status)
    if not handover and not sure:
        return False
    text = plain_log(raw)
    write_whole(driver.out / "logs" / f"session-{turn.number}.log", text)
    turn.status, turn.ended = status, driver.now()
    # A log may have been silent for long, and a driver away when the session ended.
    watched = _between(turn.running, turn.seen) if turn.running else 0.0
    turn.seconds = max(log_seconds(raw) or 0.0, watched)
    turn.at = handover.at if handover and status == "COMPLETE" else furthest(names)
    decision = decide(_ended(driver, turn, message, handover, text))
    turn.verdict, turn.line = decision.verdict, decision.line
    driver.diary.save()
    if decision.verdict not in (DONE, GO_ON):
        _tell(driver, turn, decision, text)
    return True


def _foreign(turn: Turn, handover: Handover, status: str) -> Handover | None:
    if status != "COMPLETE":
        return None
    raise RunError(
        f"{turn.kernel} holds the output of another push ({handover.push or 'by hand'}): did "
        "somebody push to it? Choose another --out and --kernel, or push nothing there meanwhile"
    )


def _ended(driver: Driver, turn: Turn, message: str, handover: Handover | None, text: str) -> Ended:
    plan = driver.diary.plan
    return Ended(
        status=turn.status,
        message=message,
        handover=handover,
        log=text,
        at=turn.at,
        carries=turn.carries,
        seconds=turn.seconds,
        limit=turn.timeout or plan.machine.hours * 3600,
        cancelled=plan.cancelled,
        complaint=turn.complaint,
    )


def _between(start: str, stop: str) -> float:
    begun, ended = datetime.fromisoformat(start), datetime.fromisoformat(stop)
    return (ended - begun).total_seconds()


def _tell(driver: Driver, turn: Turn, decision: Decision, text: str) -> None:
    """Show the end of a log: what a person needs to mend it."""
    where = driver.out / "logs" / f"session-{turn.number}.log"
    say(f"session {turn.number} of {turn.kernel}: {turn.status}, {decision.verdict}")
    for line in tail(text):
        say(f"    {line}")
    say(f"    (all of it: {where})")


def _finish(driver: Driver, turn: Turn) -> Ending:
    """Fetch what the last session left, once."""
    output = driver.out / "output"
    pull_output(driver.asker, turn.kernel, output, turn.version)
    return Ending(DONE, turn.line, len(driver.diary.turns), output)
