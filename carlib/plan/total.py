"""Work times pace: what phases come to, exports and saves among them."""

from __future__ import annotations

from collections.abc import Sequence

from carlib.plan.noun import Around, Pace, Stretch, Work
from carlib.plan.work import batches

APART = 100  # times what an export takes, until the next within a phase (``train.keeper``)


def lay_out(works: Sequence[Work], paces: Sequence[Pace], around: Around) -> tuple[Stretch, ...]:
    """Return the phases with their seconds, by kind.

    Every epoch is taken for a better one than all before: exports are the most there can be.

    Args:
        works: Of the phases, in order.
        paces: Of the same.
        around: What exports and saves take.

    >>> work = Work("all", epochs=2, steps=10, batch=32, size=32, validation=3)
    >>> (stretch,) = lay_out([work], [Pace(0.5, 0.4, validation=1.0, start=4.0)], Around(save=1.0))
    >>> stretch.seconds["training"], stretch.seconds["validation"], stretch.hours * 3600
    (10.0, 6.0, 20.5)
    """
    now, exported = 0.0, -1.0
    found = []
    for work, pace in zip(works, paces, strict=True):
        features = work.features * pace.features
        epoch = work.steps * pace.step + pace.epoch
        validation = work.validation * pace.validation + pace.metrics
        now += pace.start + pace.traces + features
        exports, behind = 0, False
        for _ in range(work.epochs):
            now += epoch + validation
            behind = exported >= 0 and now - exported < APART * around.export
            if not behind:
                exports, now = exports + 1, now + around.export
                exported = now
        if behind:
            exports, now = exports + 1, now + around.export
            exported = now
        saves = around.save + exports * around.export
        now += around.save
        found.append(
            Stretch(
                work,
                pace,
                {
                    "training": work.epochs * epoch,
                    "validation": work.epochs * validation + pace.traces * (not work.features),
                    "features": features + pace.traces * bool(work.features),
                    # The first step is a step too, which training has already.
                    "start": max(0.0, pace.start - pace.step),
                    "saves": saves,
                },
            )
        )
    return tuple(found)


def ending(validation: int, around: Around) -> float:
    """Return the seconds after the last phase: the saved model opened, and proved.

    Args:
        validation: Photos that validate.
        around: What opening takes, and a batch.

    >>> ending(65, Around(end=3.0, proof=2.0))
    7.0
    """
    return around.end + batches(validation) * around.proof
