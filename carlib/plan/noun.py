"""The nouns of a plan: work in units, seconds a unit, and what they come to."""

from __future__ import annotations

import math
from dataclasses import dataclass, field, fields
from typing import Any

from carlib.errors import UsageError
from carlib.session import RESERVE

HOUR = 3600.0
PROBE, GUESS = "probe", "guess"


@dataclass(frozen=True, slots=True)
class Work:
    """What a phase has to do, counted.

    Args:
        name: Of the phase.
        epochs: At the most: ``early_stop`` may end it before.
        steps: Training steps an epoch.
        batch: Photos a step.
        size: Side of the training photos, px.
        features: Batches through the frozen network for the features that are kept; 0 where none
            are.
        validation: Batches of validation through the network, an epoch; 0 on kept features.
        at_most: The phase may end early.
    """

    name: str
    epochs: int
    steps: int
    batch: int
    size: int
    features: int = 0
    validation: int = 0
    at_most: bool = False


@dataclass(frozen=True, slots=True)
class Pace:
    """Seconds that a phase's work takes.

    Args:
        step: A training step as the loop sees it.
        computing: The same with its photos at hand; never above ``step``.
        loading: Photos of a step, where nothing is computed; 0 where they are not loaded.
        epoch: An epoch beside its steps: until its first photos are there.
        features: A batch of features to keep.
        validation: A batch of validation.
        metrics: What is computed of an epoch's validation.
        traces: Forward passes that the phase is the first to need, traced.
        start: From the phase's beginning through its first, traced step.

    Raises:
        UsageError: Less than nothing, or no number.
    """

    step: float
    computing: float
    loading: float = 0.0
    epoch: float = 0.0
    features: float = 0.0
    validation: float = 0.0
    metrics: float = 0.0
    traces: float = 0.0
    start: float = 0.0

    def __post_init__(self) -> None:
        for entry in fields(self):
            value = getattr(self, entry.name)
            if not 0 <= value < math.inf:
                raise UsageError(f"Pace: {entry.name} must be 0 s or more; received {value}")

    @property
    def waits(self) -> bool:
        """Whether photos hold the phase up by more than a tenth: they take about as long as the
        computing. Where they take less, the two merely share the cores."""
        return self.loading > 0.75 * self.computing and self.step > 1.1 * self.computing


@dataclass(frozen=True, slots=True)
class Around:
    """Seconds of a run beside its phases' work.

    Args:
        begin: Photos checked, model built, the first save: every session anew.
        export: The best model written once.
        save: A save at a phase's end.
        end: The saved model opened for its proof; its validation is counted in batches.
        proof: A batch of that validation.
    """

    begin: float = 0.0
    export: float = 0.0
    save: float = 0.0
    end: float = 0.0
    proof: float = 0.0


@dataclass(frozen=True, slots=True)
class Stretch:
    """A phase's share of a plan.

    Args:
        work: Counted.
        pace: Seconds a unit.
        seconds: By kind: "training", "validation", "features", "start", "saves".
    """

    work: Work
    pace: Pace
    seconds: dict[str, float]

    @property
    def hours(self) -> float:
        return sum(self.seconds.values()) / HOUR

    @property
    def steps(self) -> int:
        """Training steps in all."""
        return self.work.epochs * self.work.steps


@dataclass(frozen=True, slots=True)
class Change:
    """A change to the recipe, and what it would save.

    Args:
        what: In words: "224 instead of 300 px".
        settings: For ``--set``.
        hours: Saved.
        share: Of the whole.
        same: Whether the result stays the same, but for rounding.
    """

    what: str
    settings: tuple[str, ...]
    hours: float
    share: float
    same: bool = False


@dataclass(frozen=True, slots=True)
class Plan:
    """Hours of a recipe on these photos.

    Args:
        recipe: Its name.
        digest: Its digest.
        device: That trains.
        basis: "probe" (steps were measured here) or "guess" (by operations and a data sheet).
        photos: That train, and that validate.
        stretches: The phases, in order.
        begin: Seconds before the first phase; every session has them.
        end: Seconds after the last.
        quota: Seconds a week.
        session: Seconds of one, platform's own work included.
        gpu: Whether the device counts against a GPU's quota.
        changes: What would be cheaper, most saved first.

    Raises:
        UsageError: A quota or session that is not above 0, or a session with no room for a step.
    """

    recipe: str
    digest: str
    device: str
    basis: str
    photos: tuple[int, int]
    stretches: tuple[Stretch, ...]
    begin: float
    end: float
    quota: float
    session: float
    gpu: bool = True
    changes: tuple[Change, ...] = field(default=())

    def __post_init__(self) -> None:
        for name in ("quota", "session"):
            value = getattr(self, name)
            if not 0 < value < math.inf:
                raise UsageError(f"plan: {name} must be above 0 s; received {value}")
        if self.room <= 0:
            raise UsageError(
                f"plan: a session of {self.session:.0f} s has no room for training: "
                f"{min(RESERVE, self.session):.0f} s are kept back, and starting takes "
                f"{self.again:.0f} s; give a longer --session"
            )

    @property
    def again(self) -> float:
        """Seconds that a session takes to come to its first step."""
        return self.begin + max((stretch.pace.start for stretch in self.stretches), default=0.0)

    @property
    def room(self) -> float:
        """Seconds of a session that train."""
        return self.session - RESERVE - self.again

    @property
    def once(self) -> float:
        """Seconds of the run, were it one session."""
        return self.begin + self.end + sum(HOUR * stretch.hours for stretch in self.stretches)

    @property
    def sessions(self) -> int:
        """How many it takes."""
        return max(1, math.ceil((self.once - self.again) / self.room - 1e-9))

    @property
    def hours(self) -> float:
        """Of the whole run, each session's start among them."""
        return (self.once + (self.sessions - 1) * self.again) / HOUR

    @property
    def quota_share(self) -> float:
        """Of a week's quota; above 1 it takes more than a week."""
        return HOUR * self.hours / self.quota

    @property
    def weeks(self) -> int:
        """Of quota that it takes."""
        return math.ceil(self.quota_share - 1e-9)

    def figures(self) -> dict[str, Any]:
        """Return it for JSON; ``carlib.plan.spent`` reads it back."""
        return {
            "recipe": self.recipe,
            "recipe_digest": self.digest,
            "device": self.device,
            "basis": self.basis,
            "photos": {"training": self.photos[0], "validation": self.photos[1]},
            "phases": {
                stretch.work.name: {
                    "steps": stretch.steps,
                    "seconds_per_step": stretch.pace.step,
                    "computing": stretch.pace.computing,
                    "loading": stretch.pace.loading,
                    "batch": stretch.work.batch,
                    "size": stretch.work.size,
                    "epochs": stretch.work.epochs,
                    "at_most": stretch.work.at_most,
                    "seconds": stretch.seconds,
                    "hours": stretch.hours,
                }
                for stretch in self.stretches
            },
            "begin_seconds": self.begin,
            "end_seconds": self.end,
            "hours": self.hours,
            "sessions": self.sessions,
            "session_hours": self.session / HOUR,
            "quota_hours": self.quota / HOUR,
            "quota_share": self.quota_share,
            "weeks": self.weeks,
            "counts_as_gpu": self.gpu,
            "changes": [
                {
                    "what": change.what,
                    "set": list(change.settings),
                    "hours": change.hours,
                    "share": change.share,
                    "same_result": change.same,
                }
                for change in self.changes
            ],
        }
