"""Checks of a dataclass's fields, each a line that says what was received and what is allowed."""

from __future__ import annotations

import math

from carlib.errors import UsageError, suggestion


def number(
    owner: object, name: str, low: float, high: float = math.inf, *, whole: bool, word: str = ""
) -> None:
    """Check a numeric field; a whole number given for a float field becomes a float.

    ``word`` is a text that may stand for the number.
    """
    value = getattr(owner, name)
    if word and isinstance(value, str) and value == word:
        return
    kinds = int if whole else (int, float)
    good = isinstance(value, kinds) and not isinstance(value, bool) and low <= value <= high
    if not good or not math.isfinite(value):
        kind = "a whole number" if whole else "a number"
        bounds = f"from {low:g}" + ("" if high == math.inf else f" to {high:g}")
        bounds += f", or {word!r}" if word else ""
        raise UsageError(f"{kind_of(owner)}: {name} must be {kind} {bounds}; received {value!r}")
    if not whole:
        object.__setattr__(owner, name, float(value) + 0.0)  # no -0.0


def one_of(owner: object, name: str, allowed: tuple[str, ...]) -> None:
    """Check that a field is one of the allowed values."""
    value = getattr(owner, name)
    if value not in allowed:
        raise UsageError(f"{kind_of(owner)}: unknown {name} {value!r}{suggestion(value, allowed)}")


def flag(owner: object, name: str) -> None:
    """Check that a field is true or false."""
    value = getattr(owner, name)
    if not isinstance(value, bool):
        raise UsageError(f"{kind_of(owner)}: {name} must be true or false; received {value!r}")


def text(owner: object, *names: str) -> None:
    """Check that fields are texts, and not empty."""
    for name in names:
        value = getattr(owner, name)
        if not isinstance(value, str) or not value:
            raise UsageError(
                f"{kind_of(owner)}: {name} must be a non-empty text; received {value!r}"
            )


def kind_of(owner: object) -> str:
    """Return what an object is called in messages: its class."""
    return type(owner).__name__
