"""What a user adds to carlib's own tables: by name, once, and never in place of what is there."""

from __future__ import annotations

import dataclasses
import functools
import re
from collections.abc import Callable, Collection, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any, Generic, TypeVar

from carlib.errors import CarlibError, RunError, UsageError

Thing = TypeVar("Thing")

# What makes two functions the same though a module that is run twice makes both anew.
_CODE = ("__code__", "__defaults__", "__kwdefaults__", "__closure__")


@dataclass(slots=True)
class Registry(Generic[Thing]):
    """Things of one kind, beside carlib's own.

    Args:
        kind: What one is called, for messages: "schedule".
        taken: Returns the names of carlib's own.
        things: Those added, by name.
    """

    kind: str
    taken: Callable[[], Collection[str]]
    things: dict[str, Thing] = field(default_factory=dict)

    def add(self, name: str, thing: Thing) -> None:
        """Add a thing under a name; the same again replaces the one before.

        Raises:
            UsageError: No name, one of carlib's own, or one that stands for something else.
        """
        if not isinstance(name, str) or not re.fullmatch(r"[\w.-]+", name):
            raise UsageError(
                f"a {self.kind}'s name is letters, digits, '.', '_' and '-'; received {name!r}"
            )
        if name in self.taken():
            raise UsageError(f"{name!r} is a {self.kind} of carlib's own; give yours another name")
        if name in self.things and not same(self.things[name], thing):
            raise UsageError(
                f"there is another {self.kind} {name!r} already; give this one another name, or "
                "begin in a new process"
            )
        # The newest of equals: what its code refers to may be newer too.
        self.things[name] = thing

    def forget(self, name: str) -> None:
        """Take one out again; a name that is not there is none."""
        self.things.pop(name, None)

    @contextmanager
    def told(self, name: str, what: str = "function") -> Iterator[None]:
        """Make one line of what a user's code raises within: a RunError.

        Args:
            name: Of the thing.
            what: Which part of it is at work.
        """
        try:
            yield
        except CarlibError:
            raise
        except Exception as error:
            reason = " ".join(f"{type(error).__name__}: {error}".split())
            raise RunError(
                f"the {what} of {self.kind} {name!r} failed ({reason}); mend what it was "
                "registered with"
            ) from error


def same(one: Any, other: Any) -> bool:
    """Whether two things are equal, or functions of equal code, with all of their parts.

    >>> same((1, len), (1, len)), same((1, len), (1, max))
    (True, False)
    """
    if dataclasses.is_dataclass(one) and type(one) is type(other):
        return all(
            same(getattr(one, part.name), getattr(other, part.name))
            for part in dataclasses.fields(one)
        )
    if isinstance(one, functools.partial) and isinstance(other, functools.partial):
        return same((one.func, one.args, one.keywords), (other.func, other.args, other.keywords))
    if isinstance(one, tuple) and isinstance(other, tuple):
        return len(one) == len(other) and all(map(same, one, other))
    if isinstance(one, Mapping) and isinstance(other, Mapping):
        return one.keys() == other.keys() and all(same(one[key], other[key]) for key in one)
    if hasattr(one, "__code__") and hasattr(other, "__code__"):
        return one == other or all(getattr(one, part) == getattr(other, part) for part in _CODE)
    return bool(one == other)
