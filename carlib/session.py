"""Where carlib runs and how long it may: Kaggle, Colab or a plain machine, and the clock."""

from __future__ import annotations

import os
import re
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from carlib.errors import UsageError

KINDS = ("kaggle-batch", "kaggle-interactive", "colab", "plain")
# Kaggle: 12 h a CPU or GPU run (kaggle.com/docs/notebooks); Colab promises no more. Less a quarter
# of an hour: the platform's clock starts with the container, carlib's after the installs.
LIMITS = dict.fromkeys(("kaggle-batch", "kaggle-interactive", "colab"), 12 * 3600.0 - 900.0)
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
        began: Its reading at the session's start. Defaults to now.

    >>> Session(limit=60, clock=lambda: 10.0, began=0.0).left()
    50.0
    """

    kind: str = "plain"
    inputs: tuple[Path, ...] = ()
    work: Path = field(default_factory=Path.cwd)
    limit: float | None = None
    stop_after: int | None = None
    clock: Callable[[], float] = time.monotonic
    began: float = -1.0

    def __post_init__(self) -> None:
        if self.kind not in KINDS:
            raise UsageError(f"Session: kind must be one of {', '.join(KINDS)}; got {self.kind!r}")
        if self.limit is not None and self.limit <= 0:
            raise UsageError(f"Session: limit must be above 0 seconds; received {self.limit}")
        if self.stop_after is not None and self.stop_after < 1:
            raise UsageError(f"Session: stop_after must be at least 1; received {self.stop_after}")
        if self.began < 0:
            self.began = self.clock()

    def elapsed(self) -> float:
        """Seconds since the session began."""
        return self.clock() - self.began

    def left(self) -> float:
        """Seconds until the limit; infinite without one."""
        return float("inf") if self.limit is None else self.limit - self.elapsed()

    def must_stop(self, needed: float, steps: int) -> str:
        """Say why to stop now: "the clock" or "stop-after"; "" to go on.

        Args:
            needed: Seconds that the next step and the save after it may take.
            steps: Training steps done in this session.
        """
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

    Args:
        limit: Seconds; None takes the platform's own limit.
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
    return Session(
        kind=kind,
        inputs=inputs,
        work=work,
        limit=LIMITS.get(kind) if limit is None else limit,
        stop_after=stop_after,
    )
