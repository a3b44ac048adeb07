"""What a piece of work needs in memory, by term."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass, field
from typing import Any

from carlib.devices import Device

# Bytes by term add up to "safe" plus context and reserve.
TERMS = (
    "weights",
    "slots",
    "gradients",
    "activations",
    "transients",
    "input",
    "allocator",
    "context",
    "reserve",
)


@dataclass(frozen=True, slots=True)
class Holder:
    """One tensor that is there at the peak.

    Args:
        layer: Its layer, or the variable's.
        what: "input saved", "output", "gradient", "scratch", ...
        nbytes: Its size.
    """

    layer: str
    what: str
    nbytes: int


@dataclass(frozen=True, slots=True)
class Need:
    """What one piece of work holds at its peak, in bytes.

    Args:
        name: Of the phase; for work outside of them "validation", "caching NAME", "prediction".
        work: "training", "head on cached features", "forward".
        batch: Photos a step.
        size: Side of the photos, px.
        requested: R, what the step asks the allocator for at its peak.
        expected: U, what the allocator has in use then (``get_memory_info``'s peak).
        expected_between: Where U lies for 95% of models.
        safe: T, an allocator's limit that does not run out.
        terms: Bytes by term of TERMS; without context and reserve they add up to ``safe``.
        peak: Where the peak is, in words.
        holders: The ten largest tensors at the peak.
        per_photo: Bytes that one photo more adds to ``requested``.
        unknown: Layers without a rule; they widen the intervals.
    """

    name: str
    work: str
    batch: int
    size: int
    requested: int
    expected: int
    expected_between: tuple[int, int]
    safe: int
    terms: dict[str, int]
    peak: str
    holders: tuple[Holder, ...]
    per_photo: int
    unknown: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Regime:
    """How Keras runs the step, as far as memory goes.

    Args:
        xla: Whether XLA compiles it.
        why: In words.
    """

    xla: bool
    why: str


@dataclass(frozen=True, slots=True)
class Forecast:
    """What a recipe needs, work by work.

    Args:
        recipe: Its name.
        device: Measured against; None for none.
        regime: Of the training steps.
        phases: One each, in order: its training step.
        others: Work through the whole network besides: caching features, validation, prediction.
        largest: By phase name the largest batch whose ``safe`` fits into the device; None without
            a device, 0 where no photo fits.
    """

    recipe: str
    device: Device | None
    regime: Regime
    phases: tuple[Need, ...]
    others: tuple[Need, ...]
    largest: dict[str, int | None] = field(default_factory=dict)

    @property
    def needs(self) -> tuple[Need, ...]:
        """Phases, then the other work."""
        return (*self.phases, *self.others)

    @property
    def most(self) -> Need:
        """The phase that needs the most."""
        return max(self.phases, key=lambda need: need.safe)

    def fits(self, need: Need) -> bool | None:
        """Return whether what is safe for a need fits into the device, None without one."""
        return None if self.device is None else need.safe <= self.device.usable

    def figures(self) -> dict[str, Any]:
        """Return all of it as numbers, lists and texts, for JSON; bytes as whole numbers."""

        def said(need: Need) -> dict[str, Any]:
            more = {"fits": self.fits(need), "largest_batch": self.largest.get(need.name)}
            return {**dataclasses.asdict(need), **more}

        return {
            "recipe": self.recipe,
            "device": None if self.device is None else dataclasses.asdict(self.device),
            "regime": dataclasses.asdict(self.regime),
            "phases": {need.name: said(need) for need in self.phases},
            "others": {need.name: said(need) for need in self.others},
        }
