"""The loss over learning rates, smoothed, and what it suggests."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
from scipy.ndimage import gaussian_filter1d

from carlib.errors import UsageError

SMOOTH = 0.03  # of all steps: the width of the Gaussian that smooths
BLOWN = 4.0  # times the best loss, or the first: beyond, the sweep has diverged
LEAST = 10  # steps
CALM = 0.05  # of the way from the first loss to the lowest: less is no fall


@dataclass(frozen=True, slots=True)
class Curve:
    """What a sweep came to (Smith 2017, section 3.3, arxiv.org/abs/1506.01186).

    Args:
        phase: That was swept.
        rates: Rising, shape (steps,).
        losses: Of the step at each, before it was taken.
        note: What else is to be known.
        blown: Whether the loss of the step after the last was not finite. Defaults to False.

    Raises:
        UsageError: Fewer than ten steps, or rates that do not rise.

    >>> rates = tuple(10 ** (-5 + 0.1 * step) for step in range(40))
    >>> losses = tuple(2 - 1.5 / (1 + (1e-3 / rate) ** 2) + 5e3 * rate**3 for rate in rates)
    >>> 1e-4 < Curve("all", rates, losses).suggestion < 1e-2
    True
    """

    phase: str
    rates: tuple[float, ...]
    losses: tuple[float, ...]
    note: str = ""
    blown: bool = False

    def __post_init__(self) -> None:
        if len(self.rates) < LEAST or len(self.rates) != len(self.losses):
            raise UsageError(
                f"a sweep has {LEAST} steps or more, a loss each; received {len(self.rates)} rates "
                f"and {len(self.losses)} losses"
            )
        if not all(0 < low < high for low, high in zip(self.rates, self.rates[1:], strict=False)):
            raise UsageError("a sweep's rates must be above 0 and rise")

    @property
    def smoothed(self) -> np.ndarray:
        """Losses without their noise, shape (steps,): by both sides, so that nothing lags."""
        losses = np.array(self.losses)
        return np.asarray(gaussian_filter1d(losses, SMOOTH * len(losses) + 0.5, mode="nearest"))

    @property
    def lowest(self) -> int:
        """Step of the lowest smoothed loss."""
        return int(np.argmin(self.smoothed))

    @property
    def steepest(self) -> int | None:
        """Step before ``lowest`` at which the smoothed loss falls fastest; None where none does."""
        smoothed = self.smoothed
        fall = smoothed[0] - smoothed[self.lowest]
        if self.lowest < 2 or fall <= CALM * abs(smoothed[0]):
            return None
        slope = np.gradient(smoothed[: self.lowest + 1], np.log(self.rates[: self.lowest + 1]))
        return int(np.argmin(slope))

    @property
    def suggestion(self) -> float | None:
        """A rate to begin with; None where the loss does not fall.

        Where the loss falls fastest, and at most a tenth of where it is lowest: there, larger
        steps already undo what smaller ones gained.
        """
        if self.steepest is None:
            return None
        chosen = min(self.rates[self.steepest], self.rates[self.lowest] / 10)
        digits = 1 - math.floor(math.log10(chosen))
        return round(chosen, digits)

    @property
    def diverged(self) -> bool:
        """Whether the sweep ended because the loss had blown up."""
        return self.blown or bool(self.losses[-1] > BLOWN * max(min(self.losses), 1e-12))

    def figures(self) -> dict[str, Any]:
        """Return all of it, ready for JSON."""
        steepest = self.steepest
        return {
            "phase": self.phase,
            "suggestion": self.suggestion,
            "steepest": None if steepest is None else self.rates[steepest],
            "lowest": self.rates[self.lowest],
            "diverged": self.diverged,
            "note": self.note,
            "rates": list(self.rates),
            "losses": list(self.losses),
            "smoothed": self.smoothed.tolist(),
        }

    def describe(self) -> str:
        """Return, for people, what it suggests and why."""
        notes = [self.note] if self.note else []
        if self.suggestion is not None and self.suggestion < self.rates[0]:
            notes.append("that lies below the sweep: begin lower, to see it")
        steps = f"{len(self.rates)} steps from {self.rates[0]:.1e} to {self.rates[-1]:.1e}"
        if self.steepest is None:
            said = (
                f"phase {self.phase!r}, {steps}: the loss does not fall anywhere; begin lower, "
                "take more steps, or look at photos and labels"
            )
            return "\n".join([said, *notes])
        ended = "where it blows up" if self.diverged else "still calm: a higher --high shows more"
        said = (
            f"phase {self.phase!r}: try lr {self.suggestion:g}\n"
            f"the loss falls fastest at {self.rates[self.steepest]:.1e} and is lowest at "
            f"{self.rates[self.lowest]:.1e}; {steps}, {ended}"
        )
        return "\n".join([said, *notes])
