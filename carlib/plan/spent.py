"""A run's hours, spent and left, by what its epochs took so far; against its plan, if it has one.

A phase that has epochs goes on as they went. One that has not begun takes what was planned for it,
times what the others took against their plan; without a plan, what its share of the network and
its photos' size come to against a phase that has begun (a pass backward counts for two).
"""

from __future__ import annotations

import math
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from carlib.errors import RunError
from carlib.plan.noun import HOUR
from carlib.runfolder import Row, RunFolder, read_json, read_table, write_json
from carlib.spec import Phase, Recipe, from_dict

PLAN = "plan.json"  # in the run folder
KINDS = ("training", "validation", "features", "start", "saves")


@dataclass(frozen=True, slots=True)
class Progress:
    """A phase of a run, in seconds.

    Args:
        name: Of the phase.
        epochs: Of the recipe.
        done: Finished ones.
        spent: On training, validation and features.
        left: As it goes; 0 for a phase that has ended.
        planned: All of it, as was planned; NaN without a plan.
        against: What its work so far took against its plan; NaN where that is not known.
    """

    name: str
    epochs: int
    done: int
    spent: float
    left: float
    planned: float = math.nan
    against: float = math.nan


@dataclass(frozen=True, slots=True)
class Standing:
    """Where a run stands.

    Args:
        phases: In order.
        done: The run is through.
        spent: Seconds of all sessions, saves and starts among them.
        sessions: How many there were.
        again: Seconds that the next session takes to come to its first step.
        planned: Of the whole run, in seconds; NaN without a plan.
    """

    phases: tuple[Progress, ...]
    done: bool
    spent: float
    sessions: int
    again: float
    planned: float = math.nan

    @property
    def left(self) -> float:
        """Seconds until the end, another start among them."""
        left = sum(phase.left for phase in self.phases)
        return 0.0 if self.done else left + self.again

    @property
    def whole(self) -> float:
        """Seconds of the whole run, as it goes: the plan, corrected."""
        return self.spent + self.left

    @property
    def has_plan(self) -> bool:
        return math.isfinite(self.planned)

    def figures(self) -> dict[str, Any]:
        """Return it for JSON, in hours."""
        return {
            "planned_hours": self.planned / HOUR if self.has_plan else None,
            "spent_hours": self.spent / HOUR,
            "left_hours": self.left / HOUR,
            "whole_hours": self.whole / HOUR,
            "sessions": self.sessions,
            "done": self.done,
            "phases": {
                phase.name: {
                    "epochs": phase.epochs,
                    "done": phase.done,
                    "planned_hours": _hours(phase.planned),
                    "spent_hours": phase.spent / HOUR,
                    "left_hours": phase.left / HOUR,
                    "against_plan": phase.against if math.isfinite(phase.against) else None,
                }
                for phase in self.phases
            },
        }


def keep_plan(run: Path | str, figures: Mapping[str, Any]) -> Path:
    """Write a plan's figures into a run folder, for its sessions to be held against.

    A plan that is there already stays where the run has begun: what was planned at first counts.

    Returns:
        The file.
    """
    folder = RunFolder(Path(run))
    path = folder.root / PLAN
    if not (path.is_file() and folder.timings.is_file()):
        write_json(path, dict(figures))
    return path


def standing(run: Path | str) -> Standing | None:
    """Return where a run stands; None before its first finished epoch.

    Raises:
        RunError: A damaged table or plan.

    >>> standing("nowhere") is None
    True
    """
    folder = RunFolder(Path(run))
    timings = read_table(folder.timings)
    if not timings or not folder.result.is_file():
        return None
    try:
        return _standing(folder, timings)
    except (KeyError, TypeError, ValueError, ZeroDivisionError) as error:
        raise RunError(
            f"{folder.root}: result.json, timings.csv or {PLAN} is damaged, or of another version "
            f"({type(error).__name__}: {error}); the next session writes the first two again, "
            f"{PLAN} may go"
        ) from error


def _standing(folder: RunFolder, timings: Sequence[Row]) -> Standing:
    result = read_json(folder.result)
    recipe = from_dict(read_json(folder.recipe)).with_probe()
    path = folder.root / PLAN
    plan = read_json(path) if path.is_file() else None
    # Another recipe's plan says nothing: an epoch more, say, was allowed in mid-run.
    if plan is not None and plan["recipe_digest"] != recipe.digest():
        plan = None
    sessions = read_table(folder.sessions)
    view = _View(recipe, result, timings, sessions, plan)
    return Standing(
        phases=view.phases(),
        done=bool(result["done"]),
        spent=sum(float(row["seconds"]) for row in sessions),
        sessions=len(sessions),
        again=view.again(),
        planned=HOUR * plan["hours"] if plan else math.nan,
    )


class _View:
    """What the run folder's files say, phase by phase."""

    def __init__(
        self,
        recipe: Recipe,
        result: Mapping[str, Any],
        timings: Sequence[Row],
        sessions: Sequence[Row],
        plan: Mapping[str, Any] | None,
    ):
        self.recipe, self.sessions, self.plan = recipe, sessions, plan
        self.photos: Mapping[str, int] = result["photos"]
        self.said = {phase["name"]: phase for phase in result["phases"]}
        self.rows = {
            phase.name: [row for row in timings if row["phase"] == phase.name]
            for phase in recipe.phases
        }
        finished = sum(self._epoch_photos(row["phase"]) for row in timings)
        trained = sum(int(row["photos"]) for row in sessions)
        self.begun_epoch = max(0, trained - finished)  # photos of an epoch that was cut

    def phases(self) -> tuple[Progress, ...]:
        return tuple(self._progress(phase) for phase in self.recipe.phases)

    def again(self) -> float:
        """What the newest start took: until the first step of the first phase that it came to."""
        starts = [self.said[name]["start_seconds"] for name in self.rows]
        return float(max((start for start in starts if start), default=0.0))

    def _progress(self, phase: Phase) -> Progress:
        rows = self.rows[phase.name]
        spent = sum(row["seconds"] + row["validation_seconds"] for row in rows)
        spent += self.said[phase.name]["feature_seconds"] or 0.0
        planned = self._planned(phase.name)
        against = self._against(phase.name)
        left = self._left(phase)
        return Progress(phase.name, phase.epochs, len(rows), spent, left, planned, against)

    def _left(self, phase: Phase) -> float:
        rows = self.rows[phase.name]
        if self.said[phase.name]["ended"]:
            return 0.0
        epochs = phase.epochs - len(rows)
        if rows:
            photos = max(0, epochs * self._epoch_photos(phase.name) - self.begun_epoch)
            validation = statistics.fmean(row["validation_seconds"] for row in rows)
            return photos * self._a_photo(phase.name) + epochs * validation
        planned = self._planned(phase.name)
        if math.isfinite(planned):
            return planned * self._as_the_others()
        photo, validation = self._scaled(phase)
        views = min(phase.views, phase.epochs)
        if views:
            forward = photo * (views * self.photos["training"] + self.photos["validation"])
            return max(0.0, forward - (self.said[phase.name]["feature_seconds"] or 0.0))
        left = epochs * self.photos["training"] - self.begun_epoch
        return max(0, left) * photo + epochs * validation

    def _epoch_photos(self, name: str) -> int:
        """Photos that a whole epoch trains on: a row may be of the rest of one."""
        return max((int(row["photos"]) for row in self.rows[name]), default=0)

    def _a_photo(self, name: str) -> float:
        """Seconds of training a photo, the tracing of first steps left out."""
        rows = [row for row in self.rows[name] if row["photos"]]
        seen: set[int] = set()
        first: list[Row] = []
        later: list[Row] = []
        for row in rows:
            (later if row["session"] in seen else first).append(row)
            seen.add(row["session"])
        if later:
            return _ratio(later, 0.0)
        # A first step is traced, and a session's first epoch begins with one.
        return _ratio(first, self.said[name]["start_seconds"] or 0.0)

    def _planned(self, name: str) -> float:
        phases = self.plan["phases"] if self.plan else {}
        return HOUR * phases[name]["hours"] if name in phases else math.nan

    def _against(self, name: str) -> float:
        """What the work so far took, against what was planned for so much work."""
        rows = self.rows[name]
        if self.plan is None or name not in self.plan["phases"] or not rows:
            return math.nan
        said = self.plan["phases"][name]["seconds"]
        epochs = self.plan["phases"][name]["epochs"]
        features = self.said[name]["feature_seconds"] or 0.0
        validated = sum(row["validation_seconds"] for row in rows)
        trained = len(rows) * self._epoch_photos(name) * self._a_photo(name)
        planned = (said["training"] + said["validation"]) * len(rows) / epochs
        # What was not planned for as such (an export, metrics) is in the validation's seconds.
        planned += said["features"] * (features > 0)
        return float((trained + validated + features) / planned)

    def _as_the_others(self) -> float:
        """What phases that have begun took against their plan; through the network, if any did."""
        through = [phase.name for phase in self.recipe.phases if not phase.views]
        for names in (through, list(self.rows)):
            known = [
                (self._against(name), self._planned(name))
                for name in names
                if math.isfinite(self._against(name))
            ]
            if known:
                return sum(a * b for a, b in known) / sum(b for _, b in known)
        return 1.0

    def _scaled(self, phase: Phase) -> tuple[float, float]:
        """Seconds of a photo, and of a validation, by a phase that has begun."""
        begun = [each for each in self.recipe.phases if self.rows[each.name]]
        through = [each for each in begun if not each.views]
        if through:
            like = through[-1]
            photo = self._a_photo(like.name) / self._work(like)
            validation = statistics.fmean(row["validation_seconds"] for row in self.rows[like.name])
            return photo * self._work(phase), validation
        like = begun[-1]
        passes = min(like.views, like.epochs) * self.photos["training"] + self.photos["validation"]
        photo = (self.said[like.name]["feature_seconds"] or 0.0) / passes / self._work(like)
        whole = self.said[phase.name]["compute"]
        return photo * self._work(phase), photo * whole * self.photos["validation"]

    def _work(self, phase: Phase) -> float:
        """Multiply-adds of a photo; a pass through the frozen network where features are kept."""
        said = self.said[phase.name]
        size = (phase.size or self.recipe.model.size) / self.recipe.model.size
        backward = 0 if phase.views else 2 * said["trainable_compute"]
        return float((said["compute"] + backward) * size**2)


def _ratio(rows: Sequence[Row], start: float) -> float:
    """Seconds a photo of epochs, each with a start in it."""
    seconds = sum(max(row["seconds"] - start, 0.2 * row["seconds"]) for row in rows)
    return float(seconds / sum(row["photos"] for row in rows))


def _hours(seconds: float) -> float | None:
    return seconds / HOUR if math.isfinite(seconds) else None
