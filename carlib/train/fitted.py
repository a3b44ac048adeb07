"""How many photos a step a phase takes, and how many steps an update."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass

from carlib.spec import Phase


@dataclass(frozen=True, slots=True)
class Fitted:
    """The photos a step that a phase really takes, a part of its run's state.

    Args:
        asked: The recipe's batch size: should it be another one, this holds no longer.
        batch_size: Photos a step.
        steps: So many stand for one step of the recipe's. Defaults to 1.

    >>> Fitted(64, 64).within(20)
    Fitted(asked=64, batch_size=16, steps=4)
    >>> Fitted(64, 64).within(20).halved()
    Fitted(asked=64, batch_size=8, steps=8)
    """

    asked: int | str
    batch_size: int
    steps: int = 1

    @property
    def photos(self) -> int:
        """Photos that stand for one step of the recipe's."""
        return self.batch_size * self.steps

    def within(self, most: int) -> Fitted:
        """Return what keeps ``photos``, or comes nearest below, in steps of not above ``most``.

        Steps are not made smaller than half of ``most`` for it.
        """
        sizes = range((most + 1) // 2, most + 1)
        size = max(sizes, key=lambda size: (self.photos // size * size, size))
        return Fitted(self.asked, size, self.photos // size)

    def dividing(self, most: int) -> Fitted:
        """Return whole parts of each step of not above ``most`` photos, as large as may be.

        Whatever was counted in steps can be counted in these.
        """
        size = max(n for n in range(1, most + 1) if self.batch_size % n == 0)
        return Fitted(self.asked, size, self.photos // size)

    def halved(self) -> Fitted:
        """Return steps of half the photos, or of the largest smaller part: an update stays."""
        return self.dividing(self.batch_size // 2)

    def of(self, phase: Phase) -> Phase:
        """Return the phase as it is trained: the same photos an update, in so many steps.

        The moving average of the weights moves at every step; its momentum over ``steps`` of
        them is the recipe's.

        >>> phase = Fitted(64, 16, 4).of(Phase("all", 1, 1e-3, batch_size=64, ema=0.9))
        >>> phase.batch_size, phase.accumulate, round(phase.ema**4, 3)
        (16, 4, 0.9)
        """
        return dataclasses.replace(
            phase,
            batch_size=self.batch_size,
            accumulate=phase.accumulate * self.steps,
            ema=min(phase.ema ** (1 / self.steps), 0.99999) if self.steps > 1 else phase.ema,
        )

    def describe(self, phase: Phase) -> str:
        """Return, for people, what a phase of fewer photos a step does."""
        batch_norm = ""
        if phase.statistics_only or (phase.batchnorm == "trained" and phase.share):
            batch_norm = f"; BatchNorm, which trains, sees {self.batch_size} at a time"
        steps = phase.accumulate * self.steps
        return (
            f"{self.batch_size} photo{'s' * (self.batch_size > 1)} a step, "
            f"{steps} step{'s' * (steps > 1)} an update{batch_norm}"
        )
