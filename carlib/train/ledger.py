"""What a run writes down of itself: history, timings, sessions, the best epoch."""

from __future__ import annotations

import copy
import dataclasses
import importlib.metadata
import logging
import platform
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any, ClassVar

import numpy as np

from carlib.errors import RunError
from carlib.runfolder import (
    SESSIONS,
    TIMINGS,
    Row,
    RunFolder,
    read_table,
    write_table,
)
from carlib.schedules import is_better
from carlib.train.fitted import Fitted

log = logging.getLogger("carlib")

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

    It is a part of the state, so that a chain copied alone still knows its past.

    Args:
        folder: Where the tables lie.
        monitor: Name of the validation metric that makes an epoch the best one.
        higher: Whether more of it is better.
        validates: False: there is no validation, and the last epoch counts as the best.
        best: phase, epoch, value and checkpoint of the best epoch; None before the first.
        starts: Seconds from each phase's start to its first finished step.
        features: Seconds that each phase spent on caching features.
        ended: Why each finished phase ended.
        costs: Seconds that saves and exports took at most: what the next session expects of its
            own, before it has made one.
        fitted: Photos a step of each phase.
        correct: Which validation photos each epoch had right: a bit a photo (``numpy.packbits``),
            as hex digits. Empty where that is not known of every epoch.
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
    costs: dict[str, float] = field(default_factory=dict)
    fitted: dict[str, Fitted] = field(default_factory=dict)
    correct: list[str] = field(default_factory=list)
    name: ClassVar[str] = "ledger"

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
            "costs": self.costs,
            "fitted": {name: dataclasses.asdict(fitted) for name, fitted in self.fitted.items()},
            "correct": self.correct,
        }

    def set(self, state: Mapping[str, Any], /) -> None:
        """Take back what ``get`` gave."""
        self.history, self.timings = state["history"], state["timings"]
        self.sessions = self._known_here(state["sessions"]) or state["sessions"]
        self.starts, self.features = state["starts"], state["features"]
        self.ended, self.best, self.costs = state["ended"], state["best"], state["costs"]
        # Missing where an earlier version wrote it.
        fitted = state.get("fitted", {})
        self.fitted = {name: Fitted(**said) for name, said in fitted.items()}
        correct = state.get("correct", [])
        self.correct = correct if len(correct) == len(self.history) else []

    def _known_here(self, kept: list[Row]) -> list[Row]:
        """The folder's table, where it goes on from a checkpoint's rows: it knows of sessions that
        ended without a checkpoint."""
        try:
            rows = read_table(self.folder.sessions)
        except RunError as error:
            log.warning("%s; the checkpoint's sessions count", error)
            return []
        same = [row.get("start") for row in rows[: len(kept)]] == [row["start"] for row in kept]
        return rows if same and all(row.keys() == set(SESSIONS) for row in rows) else []

    def is_best(self, row: Row) -> bool:
        """Say whether this epoch beats all before; the first of equals stays the best."""
        if not self.validates or self.best is None:
            return True
        return is_better(row[f"val_{self.monitor}"], self.best["value"], higher=self.higher)

    def add_epoch(self, row: Row, timing: Row, right: np.ndarray | None = None) -> None:
        """Take in a finished epoch. A new best one lies in the checkpoint that comes next.

        Args:
            row: Of the history.
            timing: Of the timings.
            right: Of each validation photo whether the epoch had it right; None where there are
                none.
        """
        if self.is_best(row):
            self.best = {
                "phase": row["phase"],
                "epoch": row["epoch"],
                "value": row[f"val_{self.monitor}"] if self.validates else None,
                "checkpoint": "",
            }
        # Where an epoch before is not known, none is: a gap would shift all that follow.
        if right is not None and len(self.correct) == len(self.history):
            self.correct.append(np.packbits(right).tobytes().hex())
        self.history.append(row)
        self.timings.append(timing)

    def right(self, photos: int) -> np.ndarray | None:
        """Return which validation photos each epoch had right; None where that is not known.

        Args:
            photos: That validate.

        Returns:
            Booleans, shape (epochs, photos).
        """
        if not self.correct or len(self.correct) != len(self.history):
            return None
        packed = np.array([list(bytes.fromhex(row)) for row in self.correct], np.uint8)
        return np.unpackbits(packed, axis=1, count=photos).astype(bool)

    def longest_validation(self, phases: Iterable[str]) -> float:
        """Return the seconds of the longest validation in some phases, 0 where there was none."""
        named = set(phases)
        rows = (row for row in self.timings if row["phase"] in named)
        return max((row["validation_seconds"] for row in rows), default=0.0)

    def named(self, checkpoint: str) -> None:
        """Note where the best epoch's weights lie, where that was not known yet."""
        if self.best and not self.best["checkpoint"]:
            self.best["checkpoint"] = checkpoint

    def writer(self) -> Callable[[], None]:
        """Return a call that brings the run folder's tables to what they are now."""
        tables = [
            (self.folder.history, copy.deepcopy(self.history), self.columns),
            (self.folder.timings, copy.deepcopy(self.timings), TIMINGS),
            (self.folder.sessions, copy.deepcopy(self.sessions), SESSIONS),
        ]

        def write() -> None:
            for path, rows, columns in tables:
                write_table(path, rows, columns)

        return write

    def begin_session(
        self, where: str, device: str, parent: str, spent: float = 0.0, unclosed: str = "killed"
    ) -> None:
        """Open a row for this session; it says "running" until it ends in order.

        Args:
            where: Kind of the session and name of the machine.
            device: That trains.
            parent: Checkpoint it goes on from, with its folder where that is another run's.
            spent: Seconds since it began: photos were read, the model was built.
            unclosed: Why an earlier session ended that did not say so.
        """
        for row in self.sessions:
            if row["why"] == "running":  # nobody closed it: what is known ends with its last save
                last = datetime.fromisoformat(row["start"]) + timedelta(seconds=row["seconds"])
                row.update(why=unclosed, stop=last.isoformat(timespec="seconds"))
        self.sessions.append(
            {
                "session": len(self.sessions) + 1,
                "start": _now(before=spent),
                "stop": "",
                "seconds": 0.0,
                "why": "running",
                "where": where,
                "device": device,
                "parent": parent,
                "photos": 0,
                "steps": 0,
                "versions": " ".join(f"{k} {v}" for k, v in versions().items()),
            }
        )
        self.note(spent, 0, 0.0)
        write_table(self.folder.sessions, self.sessions, SESSIONS)

    @property
    def session(self) -> Row:
        """The row of this session."""
        return self.sessions[-1]

    def note(self, seconds: float, saves: int, saving: float) -> None:
        """Bring this session's row up to date.

        Args:
            seconds: Since the session began.
            saves: Checkpoints it has written.
            saving: Seconds that they held up the training.
        """
        newest = self.history[-1] if self.history else {"phase": "", "epoch": 0}
        self.session.update(
            seconds=round(seconds, 1),
            phase=newest["phase"],
            epoch=newest["epoch"],
            value=newest.get(f"val_{self.monitor}", ""),
            saves=saves,
            saving=round(saving, 3),
        )
        self.session["total_hours"] = round(sum(row["seconds"] for row in self.sessions) / 3600, 4)
        self.session["total_photos"] = sum(row["photos"] for row in self.sessions)

    def end_session(self, why: str) -> None:
        """Close this session's row; the next save or ``write`` brings it to the disk."""
        self.session.update(stop=_now(), why=why)


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


def _now(before: float = 0.0) -> str:
    return (datetime.now(UTC) - timedelta(seconds=before)).isoformat(timespec="seconds")
