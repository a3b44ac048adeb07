"""What a run writes down of itself: history, timings, sessions, the best epoch."""

from __future__ import annotations

import importlib.metadata
import platform
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

from carlib.runfolder import (
    SESSIONS,
    TIMINGS,
    Row,
    RunFolder,
    read_table,
    write_table,
)
from carlib.schedules import is_better

HISTORY = (
    "phase",
    "epoch",
    "lr_start",
    "lr",
    "loss",
    "accuracy",
    "val_loss",
    "val_accuracy",
    "val_macro_f1",
    "val_log_loss",
)


@dataclass(slots=True)
class Ledger:
    """The rows of a run's tables, and its best epoch.

    ``get`` and ``set`` carry it through checkpoints, so that a chain copied alone still
    knows its past.

    Args:
        folder: Where the tables lie.
        monitor: Name of the validation metric that makes an epoch the best one.
        higher: Whether more of it is better.
        validates: False: there is no validation, and the last epoch counts as the best.
        best: phase, epoch, value and checkpoint of the best epoch; None before the first.
        starts: Seconds from each phase's start to its first finished step.
        features: Seconds that each phase spent on caching features.
        ended: Why each finished phase ended.
    """

    folder: RunFolder
    monitor: str
    higher: bool
    validates: bool = True
    history: list[Row] = field(default_factory=list)
    timings: list[Row] = field(default_factory=list)
    sessions: list[Row] = field(default_factory=list)
    best: dict[str, Any] | None = None
    starts: dict[str, float] = field(default_factory=dict)
    features: dict[str, float] = field(default_factory=dict)
    ended: dict[str, str] = field(default_factory=dict)

    @property
    def columns(self) -> tuple[str, ...]:
        """Those of history.csv."""
        monitored = f"val_{self.monitor}"
        return HISTORY if monitored in HISTORY else (*HISTORY, monitored)

    def get(self) -> dict[str, Any]:
        """Return all of it, ready for JSON."""
        return {
            "history": self.history,
            "timings": self.timings,
            "sessions": self.sessions,
            "best": self.best,
            "starts": self.starts,
            "features": self.features,
            "ended": self.ended,
        }

    def set(self, state: dict[str, Any], checkpoint: str) -> None:
        """Take back what ``get`` gave; ``checkpoint`` is the one it was kept in."""
        self.history, self.timings = state["history"], state["timings"]
        # The folder knows of sessions that ended without a checkpoint.
        self.sessions = read_table(self.folder.sessions) or state["sessions"]
        self.starts, self.features = state["starts"], state["features"]
        self.ended = state["ended"]
        self.best = state["best"]
        if self.best and not self.best["checkpoint"]:
            self.best = {**self.best, "checkpoint": checkpoint}

    def is_best(self, row: Row) -> bool:
        """Say whether this epoch beats all before; the first of equals stays the best."""
        if not self.validates or self.best is None:
            return True
        return is_better(row[f"val_{self.monitor}"], self.best["value"], higher=self.higher)

    def add_epoch(self, row: Row, timing: Row) -> None:
        """Take in a finished epoch. A new best one lies in the checkpoint that comes next."""
        if self.is_best(row):
            self.best = {
                "phase": row["phase"],
                "epoch": row["epoch"],
                "value": row[f"val_{self.monitor}"] if self.validates else None,
                "checkpoint": "",
            }
        self.history.append(row)
        self.timings.append(timing)

    def saved(self, checkpoint: str) -> None:
        """Note where the best epoch's weights lie, and write the tables."""
        if self.best and not self.best["checkpoint"]:
            self.best["checkpoint"] = checkpoint
        self.write()

    def write(self) -> None:
        """Bring the tables in the run folder up to date."""
        write_table(self.folder.history, self.history, self.columns)
        write_table(self.folder.timings, self.timings, TIMINGS)
        write_table(self.folder.sessions, self.sessions, SESSIONS)

    def begin_session(self, kind: str, device: str) -> None:
        """Open a row for this session; it says "running" until it ends in order."""
        self.sessions.append(
            {
                "session": len(self.sessions) + 1,
                "start": _now(),
                "stop": "",
                "why": "running",
                "device": f"{device} ({kind})",
                "photos": 0,
                "steps": 0,
                "versions": " ".join(f"{k} {v}" for k, v in versions().items()),
            }
        )
        write_table(self.folder.sessions, self.sessions, SESSIONS)

    @property
    def session(self) -> Row:
        """The row of this session."""
        return self.sessions[-1]

    def end_session(self, why: str) -> None:
        """Close this session's row."""
        self.session.update(stop=_now(), why=why)
        write_table(self.folder.sessions, self.sessions, SESSIONS)


def versions() -> dict[str, str]:
    """Return the versions that a run's bytes depend on, by name."""
    from carlib import __version__

    found = {"carlib": __version__, "python": platform.python_version()}
    for name in ("tensorflow", "keras", "numpy", "albumentations", "opencv-python-headless"):
        try:
            found[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            continue  # tensorflow-cpu, opencv-python: the same module under another name
    return found


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="seconds")
