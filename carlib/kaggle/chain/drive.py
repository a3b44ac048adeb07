"""Driving a chain: push, watch, decide, hand on, until the run is done.

Each step is written down before it is taken and after, so that a driver that was killed finds
out what came through of it, and neither pushes twice nor forgets a session.
"""

from __future__ import annotations

import logging
import time
import uuid
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from carlib.errors import RunError
from carlib.kaggle.chain import relay
from carlib.kaggle.chain.decide import DONE, GO_ON
from carlib.kaggle.chain.diary import Diary, Turn
from carlib.kaggle.chain.session import OUTAGE, Driver, push, watch
from carlib.kaggle.client import Asker, KaggleError
from carlib.kaggle.kernels import newest_version, read_quota
from carlib.kaggle.pull import pull_output
from carlib.progress import say

log = logging.getLogger("carlib")

OUT_OF_QUOTA = "out-of-quota"
ENOUGH = "enough"  # as many sessions as were asked for
# Seconds between a session's own stop and its end by Kaggle: installing, the last save, the report,
# and Kaggle's copying of what it left.
GRACE = 900.0
LEAST = 1200.0  # seconds of quota that are worth a session


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
    tell: Callable[[str], None] = say,
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
        tell: Takes the lines for people. Defaults to standard error.

    Raises:
        UsageError: The metadata or the notebook's parameters are not what they should be.
        CarlibError: Something looks like a secret.
        KaggleError: Kaggle refused, or could not be reached: the same command goes on.
    """
    driver = Driver(asker, diary, poll, wait, clock, outage, tell)
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
                    f"{len(diary.turns)} sessions, as many as --sessions allows, and not done: run "
                    "the same command with a higher one",
                    len(diary.turns),
                )
            relay.hand_on(driver.asker, diary, poll=poll, wait=wait)
            limit, timeout, empty = _time(driver)
            if empty:
                return Ending(OUT_OF_QUOTA, empty, len(diary.turns))
            turn = _next_turn(driver, limit, timeout)
            again = False
            push(driver, turn)
        elif not turn.pushed:
            # A driver before this one may have pushed it, and been killed before it could say so.
            push(driver, turn, unclear=True)
        watch(driver, turn)
        tell(f"session {turn.number}: {turn.line}")


def _time(driver: Driver) -> tuple[float | None, float | None, str]:
    """The next session's limit and timeout, or why there is no time for one."""
    plan = driver.diary.plan
    limit, timeout = plan.limit, plan.timeout
    if timeout is None and limit is not None:
        timeout = min(limit + GRACE, plan.longest)
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
    if quota.left < (timeout or plan.longest):
        timeout = quota.left
        limit = min(limit or quota.left, max(quota.left - GRACE, quota.left / 2))
        driver.tell(f"{used} of the week's {kind.upper()} quota are used: a shorter session")
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
    if turn.before and not any(each.kernel == kernel for each in diary.turns):
        log.warning(
            "%s has %d versions already, and this chain knows nothing of them: to go on with their "
            "run, give --source %s",
            kernel,
            turn.before,
            kernel,
        )
    diary.turns.append(turn)
    diary.save()
    return turn


def _finish(driver: Driver, turn: Turn) -> Ending:
    """Fetch what the last session left, once."""
    output = driver.out / "output"
    try:
        pull_output(driver.asker, turn.kernel, output, turn.version)
    except RunError as error:
        raise RunError(
            f"the run is done at Kaggle, and its output did not come: {error} (carlib kaggle pull "
            f"{turn.kernel} --out DIR --as-it-is)"
        ) from error
    return Ending(DONE, turn.line, len(driver.diary.turns), output)
