"""Where carlib runs and how long it may: Kaggle, Colab or a plain machine, and the clock."""

from __future__ import annotations

import math
import os
import re
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from carlib.errors import UsageError

KINDS = ("kaggle-batch", "kaggle-interactive", "colab", "plain")
# Kaggle: 12 h a CPU or GPU run, 9 h a TPU run (kaggle.com/docs/notebooks); Colab promises at most
# 12 h.
LIMITS = dict.fromkeys(("kaggle-batch", "kaggle-interactive", "colab"), 12 * 3600.0)
TPU_LIMITS = {**LIMITS, **dict.fromkeys(("kaggle-batch", "kaggle-interactive"), 9 * 3600.0)}
# Seconds kept back of a platform's limit. Where the container's age is known: for the platform's
# own work before the container's first process, and its copying of outputs after carlib's last
# step. Where it is not: for the container's start and the installs before carlib too.
RESERVE = 300.0
BLIND_RESERVE = 900.0
_UNITS = {"d": 86400, "h": 3600, "m": 60, "s": 1}


def seconds(text: str) -> float:
    """Return the seconds of a length of time such as "11h30m", "90s" or "1.5h".

    Raises:
        UsageError: Not such a text, or nothing at all.

    >>> seconds("11h30m")
    41400.0
    """
    parts = re.findall(r"(\d+(?:\.\d+)?)([dhms])", text)
    if not parts or "".join(number + unit for number, unit in parts) != text.replace(" ", ""):
        raise UsageError(f"a length of time is like 11h30m, 45m or 90s; received {text!r}")
    return float(sum(float(number) * _UNITS[unit] for number, unit in parts))


@dataclass(frozen=True, slots=True)
class Every:
    """How often to save: every so many seconds, or every so many training steps.

    Args:
        seconds: From one save to the next; None where steps count.
        steps: Likewise, in training steps; None where seconds count.

    Raises:
        UsageError: Both or none of them, or one that is not positive.

    >>> Every.parse("10m"), Every.parse("50 steps")
    (Every(seconds=600.0, steps=None), Every(seconds=None, steps=50))
    """

    seconds: float | None = None
    steps: int | None = None

    def __post_init__(self) -> None:
        if (self.seconds is None) == (self.steps is None):
            raise UsageError(
                "Every: give either seconds or steps; "
                f"received seconds={self.seconds}, steps={self.steps}"
            )
        if self.seconds is not None and not 0 < self.seconds < math.inf:
            raise UsageError(f"Every: seconds must be above 0; received {self.seconds}")
        if self.steps is not None and self.steps < 1:
            raise UsageError(f"Every: steps must be at least 1; received {self.steps}")

    @classmethod
    def parse(cls, text: str) -> Every:
        """Return what "10m" or "50 steps" asks for.

        Raises:
            UsageError: Neither of the two forms, or nothing at all.
        """
        counted = re.fullmatch(r" *(\d{1,9}) *steps? *", text)
        try:
            return cls(steps=int(counted[1])) if counted else cls(seconds=seconds(text))
        except UsageError:
            raise UsageError(
                f"how often to save is a length of time, like 10m, or steps, like '50 steps'; "
                f"received {text!r}"
            ) from None


@dataclass(slots=True)
class Session:
    """One sitting at a machine: its kind, its folders, and the time it has.

    Args:
        kind: One of KINDS.
        inputs: Roots under which photos and earlier runs may lie, read-only on Kaggle.
        work: Folder to write to.
        limit: Seconds from the start until the session ends; None for no limit.
        stop_after: Training steps after which the clock counts as run out; None for
            never. For trying what a cut does.
        clock: Seconds that only go up. Defaults to time.monotonic.
        began: Its reading at the session's start, which may be below 0. Defaults to now.
        asked: Why it was asked to stop; "" where nobody did.

    >>> Session(limit=60, clock=lambda: 10.0, began=0.0).left()
    50.0
    """

    kind: str = "plain"
    inputs: tuple[Path, ...] = ()
    work: Path = field(default_factory=Path.cwd)
    limit: float | None = None
    stop_after: int | None = None
    clock: Callable[[], float] = time.monotonic
    began: float = math.nan
    asked: str = ""

    def __post_init__(self) -> None:
        if self.kind not in KINDS:
            raise UsageError(f"Session: kind must be one of {', '.join(KINDS)}; got {self.kind!r}")
        if self.limit is not None and self.limit <= 0:
            raise UsageError(f"Session: limit must be above 0 seconds; received {self.limit}")
        if self.stop_after is not None and self.stop_after < 1:
            raise UsageError(f"Session: stop_after must be at least 1; received {self.stop_after}")
        if math.isnan(self.began):
            self.began = self.clock()

    def elapsed(self) -> float:
        """Seconds since the session began."""
        return self.clock() - self.began

    def left(self) -> float:
        """Seconds until the limit; infinite without one."""
        return float("inf") if self.limit is None else self.limit - self.elapsed()

    def ask(self, why: str) -> None:
        """Ask the session to stop before its next piece of work; the first one to ask is heard.

        A signal handler may call this: it sets a flag and does nothing else.

        >>> session = Session()
        >>> session.ask("Ctrl-C"), session.ask("SIGTERM"), session.must_stop(0.0, 0)
        (None, None, 'Ctrl-C')
        """
        self.asked = self.asked or why

    def must_stop(self, needed: float, steps: int) -> str:
        """Say why to stop now: what ``ask`` was told, "the clock" or "stop-after"; "" to go on.

        Args:
            needed: Seconds that the next step and the save after it may take.
            steps: Training steps done in this session.
        """
        if self.asked:
            return self.asked
        if self.left() < needed:
            return "the clock"
        return "stop-after" if self.stop_after is not None and steps >= self.stop_after else ""


def detect_session(
    limit: float | None = None,
    stop_after: int | None = None,
    environment: Mapping[str, str] = os.environ,
    root: Path | str = "/",
) -> Session:
    """Return the session of this process.

    The clock of Kaggle and Colab starts with the container, before the installs and carlib. So
    where the platform's own limit holds, the session began when the container's process 1 did;
    where that cannot be known, it begins now, and more of the limit is kept back. That process 1
    is as old as the platform's clock is not proven on the platforms themselves, and neither is
    how a TPU shows; a limit of one's own does without both.

    Args:
        limit: Seconds from this call; None takes the platform's own limit.
        stop_after: As in Session.
        environment: Variables to look at. Defaults to the process's.
        root: Where the file system begins, for tests. Defaults to "/".

    >>> detect_session(environment={}, root="/nowhere").kind
    'plain'
    """
    root = Path(root)
    inputs: tuple[Path, ...] = ()
    run_type = environment.get("KAGGLE_KERNEL_RUN_TYPE")
    if run_type or (root / "kaggle/working").is_dir():
        kind = "kaggle-batch" if run_type == "Batch" else "kaggle-interactive"
        inputs, work = (root / "kaggle/input",), root / "kaggle/working"
    elif "COLAB_RELEASE_TAG" in environment or "COLAB_GPU" in environment:
        kind, inputs, work = "colab", (root / "content",), root / "content"
    else:
        kind, work = "plain", Path.cwd()
    began = math.nan
    if limit is None and kind in LIMITS:
        whole = (TPU_LIMITS if _has_tpu(environment, root) else LIMITS)[kind]
        age = _container_age(root)
        if 0 <= age < whole - RESERVE:
            limit, began = whole - RESERVE, time.monotonic() - age
        else:
            limit = whole - BLIND_RESERVE
    return Session(
        kind=kind, inputs=inputs, work=work, limit=limit, stop_after=stop_after, began=began
    )


def _has_tpu(environment: Mapping[str, str], root: Path) -> bool:
    named = environment.get("TPU_NAME") or environment.get("TPU_ACCELERATOR_TYPE")
    devices = (root / "dev/accel0", root / "dev/vfio")
    return (
        bool(named)
        or environment.get("PJRT_DEVICE") == "TPU"
        or any(device.exists() for device in devices)
    )


def _container_age(root: Path) -> float:
    """Seconds since process 1 started, by proc(5); NaN where that cannot be read."""
    try:
        # Field 2, the program's name in brackets, may hold blanks and brackets of its own.
        fields = (root / "proc/1/stat").read_bytes().rpartition(b")")[2].split()
        started = int(fields[22 - 3]) / os.sysconf("SC_CLK_TCK")
        return float((root / "proc/uptime").read_bytes().split()[0]) - started
    except (OSError, ValueError, IndexError):
        return math.nan
