"""Schedules of a user's own, beside carlib's; free of TensorFlow."""

from __future__ import annotations

from collections.abc import Callable

from carlib.errors import RunError, UsageError
from carlib.registry import Registry

Factor = Callable[[float, int], float]
# carlib's own; a test holds them to be those of ``curves.SCHEDULES``.
NAMES = (
    *("constant", "cosine", "step", "plateau", "cyclic", "triangular2", "exponential"),
    *("piecewise", "restarts", "onecycle"),
)
_own: Registry[Factor] = Registry("schedule", lambda: NAMES)


def add_schedule(name: str, factor: Factor) -> None:
    """Register a schedule of your own, as torch's LambdaLR has it, for recipes of this process.

    Args:
        name: What a phase's ``schedule`` says.
        factor: ``factor(epoch, epochs)``: what the phase's lr is multiplied by; ``epoch`` counts
            from 0 with fractions, an update's place in the phase, ``epochs`` are the phase's.

    Raises:
        UsageError: No function, or a name that is taken.

    >>> add_schedule("halving", lambda epoch, epochs: 0.5 ** int(epoch))
    >>> factor_of("halving", 2.7, 5)
    0.25
    >>> forget("halving")
    """
    if not callable(factor):
        raise UsageError(
            f"factor of schedule {name!r} must be a function of epoch and epochs; received "
            f"{factor!r}"
        )
    _own.add(name, factor)


def own_schedules() -> tuple[str, ...]:
    """Return the names of those registered."""
    return tuple(_own.things)


def factor_of(name: str, epoch: float, epochs: int) -> float:
    """Return what a registered schedule multiplies lr by.

    Args:
        name: Of the schedule.
        epoch: From 0, with fractions.
        epochs: Of the phase.

    Raises:
        RunError: The function failed, or gave no number.
    """
    with _own.told(name):
        factor = _own.things[name](epoch, epochs)
    try:
        return float(factor)
    except (TypeError, ValueError) as error:
        raise RunError(
            f"schedule {name!r} gave {factor!r} at epoch {epoch:.3g}; it must give a number"
        ) from error


def forget(name: str) -> None:
    """Take a schedule of your own out again; a name that is not there is none."""
    _own.forget(name)
