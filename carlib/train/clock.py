"""What the next piece of work may take, by the session's clock."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass

from carlib.session import Session

MARGIN = 5.0  # seconds between the last save and the session's limit, for the report


@dataclass(slots=True)
class Clock:
    """The session's clock, with a memory of what work took, in its seconds.

    Args:
        session: Its limit counts.
        step: Longest training step, a first one (traced) left out.
        save: Longest save.
        validation: Longest validation through the network.
        features: Longest batch of photos that features were cached from.
        steps: Training steps done in this session.
    """

    session: Session
    step: float = 0.0
    save: float = 0.0
    validation: float = 0.0
    features: float = 0.0
    steps: int = 0

    def now(self) -> float:
        return self.session.clock()

    def before_step(self, starts: Iterable[float]) -> str:
        """Say why to stop before the next training step, "" to go on.

        Args:
            starts: Seconds of earlier first steps, where the next is a first one.
        """
        return self.session.must_stop(self._needed(max([self.step, *starts])), self.steps)

    def before_validation(self, photos: float, batch_size: int) -> str:
        """Say why to stop before a validation through the network, "" to go on.

        Args:
            photos: How many, of the size that is trained; larger ones count for more.
            batch_size: Of the training steps.
        """
        # Before the first: as if its photos were training steps, which is too much.
        guess = self.step * photos / batch_size
        return self.session.must_stop(self._needed(self.validation or guess), 0)

    def feature_check(self, starts: Iterable[float], stop: Callable[[str], None]) -> Callable:
        """Return what must be called before each batch that features are cached from.

        Args:
            starts: Seconds of earlier first steps: a guess at the first batch, which is traced.
            stop: Called with the reason once the next batch no longer fits.
        """
        guess, before = max(starts, default=0.0), None

        def check() -> None:
            nonlocal before
            if before is not None:
                self.features = max(self.features, self.now() - before)
            if why := self.session.must_stop(self._needed(self.features or guess), 0):
                stop(why)
            before = self.now()

        return check

    def _needed(self, seconds: float) -> float:
        """Seconds the next piece of work and the save after it may take."""
        if self.session.limit is None:
            return 0.0
        return 1.5 * seconds + 2 * self.save + MARGIN
