"""The errors carlib raises on purpose, and name look-up with "did you mean".

Each message is one line: what was received, what is allowed, what to do. The
command line prints it after ``carlib:`` and exits with ``exit_code``.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Mapping
from typing import TypeVar

Value = TypeVar("Value")


class CarlibError(Exception):
    """Base of all errors raised on purpose: the work failed, and the message says what to do."""

    exit_code = 1

    def _render_traceback_(self) -> list[str]:
        """What IPython shows in a notebook: the one line, as the command line does."""
        return [f"carlib: {self}"]


class UsageError(CarlibError):
    """A name, key or value that is not allowed."""

    exit_code = 2


class DataError(CarlibError):
    """Photos, tables or archives that cannot be used as they are."""


class RunError(CarlibError):
    """A run folder or checkpoint that is missing, damaged or of another run."""


def suggestion(name: str, known: Iterable[str]) -> str:
    """Return what to add to "unknown name": the nearest known name, and all of them.

    >>> suggestion("ligth", ["none", "light"])
    "; did you mean 'light'? Known: none, light"
    >>> suggestion("zzz", ["none", "light"])
    '. Known: none, light'
    """
    known = list(known)
    near = difflib.get_close_matches(str(name), known, n=1)
    return (f"; did you mean {near[0]!r}?" if near else ".") + f" Known: {', '.join(known)}"


def look_up(table: Mapping[str, Value], name: str, kind: str) -> Value:
    """Return ``table[name]``.

    Args:
        table: What there is, by name.
        name: The name asked for.
        kind: What the names stand for, for the message ("backbone", "preset").

    Raises:
        UsageError: No such name; the message has the nearest one and all of them.

    >>> look_up({"tiny": 1}, "tiny", "backbone")
    1
    """
    if name not in table:
        raise UsageError(f"unknown {kind} {name!r}{suggestion(name, table)}")
    return table[name]
