"""What users add to carlib's tables: what is the same, what is refused, what a failure says."""

from __future__ import annotations

from dataclasses import dataclass

import pytest

from carlib.errors import RunError, UsageError
from carlib.registry import Registry, same


@dataclass(frozen=True)
class Thing:
    size: int
    make: object = None


def ran(text):
    """What a file leaves behind that is run anew."""
    names = {}
    exec(compile(text, "mine.py", "exec"), names)
    return names["made"]


PLUS = "def made(x, by=1):\n    return x + by\n"


@pytest.mark.parametrize(
    ("one", "other", "equal"),
    [
        (1, 1, True),
        (1, 2, False),
        ("a", "a", True),
        (len, len, True),
        (len, max, False),
        (ran(PLUS), ran(PLUS), True),
        (ran(PLUS), ran(PLUS.replace("+", "-")), False),
        (ran(PLUS), ran(PLUS.replace("by=1", "by=2")), False),
        (ran(PLUS), len, False),
        ((1, ran(PLUS)), (1, ran(PLUS)), True),
        ((1, ran(PLUS)), (1,), False),
        ({"a": ran(PLUS)}, {"a": ran(PLUS)}, True),
        ({"a": 1}, {"b": 1}, False),
        (Thing(1, ran(PLUS)), Thing(1, ran(PLUS)), True),
        (Thing(1, ran(PLUS)), Thing(2, ran(PLUS)), False),
        (Thing(1), 1, False),
    ],
)
def test_what_is_the_same(one, other, equal):
    assert same(one, other) is equal
    assert same(other, one) is equal


def test_closures_count():
    def scaled(factor):
        return lambda x: x * factor

    assert same(scaled(2), scaled(2))
    assert not same(scaled(2), scaled(3))


@pytest.fixture
def registry():
    return Registry("toy", lambda: ("ball",))


def test_the_newest_of_equals_counts(registry):
    first, second = ran(PLUS), ran(PLUS)
    registry.add("mine", first)
    registry.add("mine", second)
    assert registry.things["mine"] is second
    registry.forget("mine")
    registry.forget("mine")
    assert registry.things == {}


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("ball", "'ball' is a toy of carlib's own; give yours another name"),
        ("mine", "there is another toy 'mine' already; give this one another name"),
        ("", "a toy's name is letters, digits, '.', '_' and '-'; received ''"),
        ("a b", "received 'a b'"),
        (3, "received 3"),
    ],
)
def test_what_is_refused_leaves_all_as_it_was(registry, name, message):
    registry.add("mine", 1)
    with pytest.raises(UsageError, match=message):
        registry.add(name, 2)
    assert registry.things == {"mine": 1}


def test_a_failure_is_one_line_and_our_own_errors_stay(registry):
    message = r"the paint of toy 'mine' failed \(ValueError: a b\); mend"
    with pytest.raises(RunError, match=message), registry.told("mine", "paint"):
        raise ValueError("a\n  b")
    with pytest.raises(UsageError, match=r"^ours$"), registry.told("mine"):
        raise UsageError("ours")
