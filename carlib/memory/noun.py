"""What a piece of work needs in memory, by term."""

from __future__ import annotations

from dataclasses import dataclass, field

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
