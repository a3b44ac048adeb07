"""Saves that cost the training thread a copy of the state, and a thread of their own the rest."""

from __future__ import annotations

import math
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from carlib.checkpoints import Snapshot, retain, write_checkpoint
from carlib.session import Every

# Of the training thread's time, what saves may take; and of the disk's, what they may keep busy.
THREAD_SHARE, DISK_SHARE = 0.01, 0.1
# Seconds between two saves by default, within epochs and at their ends: less is never worth it.
SHORTEST, SHORTEST_EPOCH = 60.0, 10.0


@dataclass(frozen=True, slots=True)
class Job:
    """One checkpoint to write.

    Args:
        snapshot: What it holds; nothing else may change it.
        number: Its place in the chain.
        always: Names of checkpoints that stay whatever they take, the new one by itself.
        wished: Names of checkpoints that stay while the budget lasts.
        needs: Of each checkpoint the one that it cannot be resumed without, if any.
        after: Called once it is written, on the saver's thread.
    """

    snapshot: Snapshot
    number: int
    always: Sequence[str] = ()
    wished: Sequence[str] = ()
    needs: Mapping[str, str] = field(default_factory=dict)
    after: Callable[[], None] = lambda: None


@dataclass(slots=True)
class Saver:
    """Writes the checkpoints of a session, one at a time, and says when the next is due.

    Args:
        chain: Folder of the chain.
        now: Seconds that only go up.
        every: Asked-for distance of two saves; None chooses it from what a save costs.
        budget: Bytes that the chain may take; its newest and its best checkpoint stay in any case.
            None for no bound.
        saves: Checkpoints written or under way in this session.
        blocked: Seconds that saves held up the training thread, in all.
        copying: Seconds of the longest copy of the state.
        writing: Seconds of the longest write.
        size: Bytes of the state that these two are for.
    """

    chain: Path
    now: Callable[[], float]
    every: Every | None = None
    budget: int | None = None
    saves: int = 0
    blocked: float = 0.0
    copying: float = 0.0
    writing: float = 0.0
    size: int = 0
    _last: float = math.nan
    _last_step: int = 0
    _thread: threading.Thread | None = None
    _under_way: int = 0
    _guessed: set[str] = field(default_factory=set)
    _errors: list[BaseException] = field(default_factory=list)

    def __post_init__(self) -> None:
        self._last = self.now()

    @property
    def busy(self) -> bool:
        """Whether a write is under way."""
        return self._thread is not None and self._thread.is_alive()

    @property
    def under_way(self) -> int:
        """Checkpoints that a write under way has to write."""
        return self._under_way if self.busy else 0

    def resize(self, size: int) -> None:
        """Expect what saves of a state of ``size`` bytes cost, by what others took."""
        if self.size and size != self.size:
            self.copying *= size / self.size
            self.writing *= size / self.size
            self._guessed = {"copying", "writing"}
        self.size = size

    def took(self, kind: str, seconds: float) -> None:
        """Remember what a copy or a write took: the longest counts, a guess no longer.

        Args:
            kind: "copying" or "writing".
            seconds: Of a whole state.
        """
        longest = 0.0 if kind in self._guessed else getattr(self, kind)
        self._guessed.discard(kind)
        setattr(self, kind, max(longest, seconds))

    @property
    def interval(self) -> float:
        """Seconds between two saves within an epoch."""
        if self.every and self.every.seconds:
            return self.every.seconds
        return max(SHORTEST, self.copying / THREAD_SHARE, self.writing / DISK_SHARE)

    def describe(self) -> str:
        """Return what a save costs, and how often one is made."""
        often = f"{self.every.steps} steps" if self.every and self.every.steps else ""
        often = often or f"{self.interval:.0f} s"
        return (
            f"a save holds the training up for {self.copying:.2f} s and is written in "
            f"{self.writing:.2f} s more; within an epoch one is made every {often}"
        )

    def due(self, steps: int) -> bool:
        """Say whether to save after a step.

        Args:
            steps: Done in this session.
        """
        if self.every and self.every.steps:
            return steps - self._last_step >= self.every.steps
        return not self.busy and self.now() - self._last >= self.interval

    def worth_it(self) -> bool:
        """Say whether to save between two epochs: it costs little against the time since the last.

        Where saves are asked for by steps, nobody minds what they cost.
        """
        if self.every and self.every.steps:
            return True
        passed = self.now() - self._last
        cheap = passed * THREAD_SHARE >= self.copying and passed * DISK_SHARE >= self.writing
        return cheap and passed >= SHORTEST_EPOCH and not self.busy

    def start(self, jobs: Sequence[Job], steps: int) -> None:
        """Write checkpoints in order, on another thread, once those before are written."""
        self.wait()

        def work() -> None:
            began = time.perf_counter()  # not the session's clock, which a test may move
            try:
                for job in jobs:
                    written = write_checkpoint(self.chain, job.snapshot, job.number)
                    job.after()
                    always = [written.name, *job.always]
                    retain(self.chain, always, job.wished, self.budget, job.needs)
            except BaseException as error:  # it is raised again by wait
                self._errors.append(error)
            self.took("writing", (time.perf_counter() - began) / len(jobs))

        self._last, self._last_step, self._under_way = self.now(), steps, len(jobs)
        self.saves += len(jobs)
        self._thread = threading.Thread(target=work, name="carlib-saver", daemon=True)
        self._thread.start()

    def wait(self) -> None:
        """Wait until nothing is under way; raise what went wrong there."""
        if self._thread is not None:
            self._thread.join()
            self._thread = None
        if self._errors:
            raise self._errors.pop(0)

    def poll(self) -> None:
        """Raise what went wrong in a write that has ended; never wait."""
        if not self.busy:
            self.wait()
