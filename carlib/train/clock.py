"""What the next piece of work may take, by the session's clock."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field

from carlib.session import Session

MARGIN = 5.0  # seconds kept for what follows the last save: result, report, the process's end
RECENT = 64  # steps that the next is judged by: one that was held up long ago does not count


class Cut(Exception):
    """The session must end now; nothing is saved yet."""


@dataclass(slots=True)
class Clock:
    """The session's clock, with a memory of what work took, in its seconds.

    Args:
        session: Its limit counts.
        began: When this training did: a platform's session is older.
        reserve: Seconds that saving and exporting would take now.
        recent: The last training steps, first ones (traced) left out.
        validation: Longest validation through the network.
        batch: Longest batch of a validation.
        features: Longest batch of photos that features were cached from.
        forward: Longest batch of either kind in earlier sessions.
        steps: Training steps done in this session.
    """

    session: Session
    began: float = 0.0
    reserve: Callable[[], float] = lambda: 0.0
    recent: deque[float] = field(default_factory=lambda: deque(maxlen=RECENT))
    validation: float = 0.0
    batch: float = 0.0
    features: float = 0.0
    forward: float = 0.0
    steps: int = 0

    def now(self) -> float:
        return self.session.clock()

    def spent(self) -> float:
        """Seconds since this training began."""
        return self.now() - self.began

    @property
    def step(self) -> float:
        """Seconds of the longest recent training step."""
        return max(self.recent, default=0.0)

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

    def before_proof(self, batches: int) -> str:
        """Say why not to validate the saved model any more in this session, "" to do it.

        Args:
            batches: Of validation photos: where only heads were trained, no validation through
                the network has shown what it takes.
        """
        guess = batches * max(self.batch, self.features, self.forward)
        return self.session.must_stop(self._needed(self.validation or guess), 0)

    def check(self, kind: str, starts: Iterable[float] = ()) -> Callable[[], None]:
        """Return what must be called before each batch that goes forward through the network.

        It raises Cut with the reason once the next batch no longer fits.

        Args:
            kind: "features" or "batch": whose seconds are remembered.
            starts: Seconds of earlier first steps: a guess at the first batch, which is traced.
        """
        guess, before = max(starts, default=0.0), None

        def check() -> None:
            nonlocal before
            if before is not None:
                setattr(self, kind, max(getattr(self, kind), self.now() - before))
            if why := self.session.must_stop(self._needed(getattr(self, kind) or guess), 0):
                raise Cut(why)
            before = self.now()

        return check

    def _needed(self, seconds: float) -> float:
        """Seconds the next piece of work and the save after it may take."""
        if self.session.limit is None:
            return 0.0
        return 1.5 * seconds + self.reserve() + MARGIN
