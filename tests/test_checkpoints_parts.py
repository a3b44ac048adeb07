"""Parts of a run's state: what is got from each is set to it again, or nothing is."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from chains import save

from carlib.checkpoints import Stateful, read_state
from carlib.checkpoints.parts import collect, restore
from carlib.errors import RunError


class Part:
    """A part as a user would write it."""

    def __init__(self, name: str, state: Mapping[str, Any], order: list[str] | None = None):
        self.name, self.state = name, dict(state)
        self.order = [] if order is None else order

    def get(self) -> Mapping[str, Any]:
        return self.state

    def set(self, state: Mapping[str, Any], /) -> None:
        self.order.append(self.name)
        self.state = dict(state)


class Counter:
    """Counts epochs, remembers their losses, and refuses what is not its own."""

    name = "counter"

    def __init__(self) -> None:
        self.epochs, self.losses = 0, np.zeros(0)

    def count(self, loss: float) -> None:
        self.epochs += 1
        self.losses = np.append(self.losses, loss)

    def get(self) -> dict[str, Any]:
        return {"epochs": self.epochs, "losses": self.losses}

    def set(self, state: Mapping[str, Any], /) -> None:
        if set(state) != {"epochs", "losses"}:
            raise RunError(f"no count of epochs: {sorted(state)}")
        self.epochs, self.losses = state["epochs"], state["losses"]


def assert_same(left: Mapping[str, Any], right: Mapping[str, Any]) -> None:
    assert set(left) == set(right)
    for key, value in left.items():
        assert type(value) is type(right[key])
        if isinstance(value, np.ndarray):
            assert (value.dtype, value.shape) == (right[key].dtype, right[key].shape)
            assert value.tobytes() == right[key].tobytes()
        else:
            assert value == right[key]


STATES: dict[str, dict[str, Any]] = {
    "both": {"weights": np.arange(6, dtype=np.float16).reshape(2, 3), "count": 3},
    "arrays only": {"a": np.array(2, np.int64), "deep/er/key": np.array([True, False])},
    "values only": {"best": None, "row": {"loss": 0.1, "lrs": [1e-3, 0.5]}, "why": "grün"},
    "empty arrays": {"none": np.zeros((0, 3), np.float32), "nothing": np.zeros(0, np.uint8)},
    "nothing": {},
    "bot": {"h/weights": np.array([7.0])},  # its name begins another's
    "key without a name": {"": np.array([1.0])},
}


# ---- there and back


def test_round_trip_by_the_disk(tmp_path: Path) -> None:
    arrays, values = collect([Part(name, state) for name, state in STATES.items()])
    assert set(values) == set(STATES)
    assert set(arrays) == {
        "both/weights",
        "arrays only/a",
        "arrays only/deep/er/key",
        "empty arrays/none",
        "empty arrays/nothing",
        "bot/h/weights",
        "key without a name/",
    }
    assert values["both"] == {"count": 3}
    assert values["arrays only"] == values["empty arrays"] == values["nothing"] == {}

    kept = read_state(save(tmp_path, 1, arrays=arrays, state={"parts": values}))
    order: list[str] = []
    fresh = [Part(name, {"old": 1}, order) for name in reversed(STATES)]
    restore(fresh, kept[0], kept[1]["parts"])
    for part in fresh:
        assert_same(part.state, STATES[part.name])
    assert order == list(reversed(STATES))  # set in the order they are given


def test_a_part_that_a_user_made(tmp_path: Path) -> None:
    counter, other = Counter(), Part("other", {"x": 1})
    for loss in (0.5, 0.25):
        counter.count(loss)
    arrays, values = collect(part for part in (counter, other))
    kept = read_state(save(tmp_path, 1, arrays=arrays, state={"parts": values}))
    counter.count(9.0)
    resumed = Counter()
    restore((part for part in (resumed, other)), kept[0], kept[1]["parts"])
    assert resumed.epochs == 2
    assert resumed.losses.tolist() == [0.5, 0.25]
    resumed.count(0.125)
    assert resumed.losses.tolist() == [0.5, 0.25, 0.125]


def test_no_parts() -> None:
    assert collect([]) == ({}, {})
    restore([], {}, {})


def test_what_is_a_part() -> None:
    assert isinstance(Counter(), Stateful)
    assert isinstance(Part("a", {}), Stateful)
    assert not isinstance(object(), Stateful)
    assert not isinstance({"name": "a"}, Stateful)


# ---- refusals


@pytest.mark.parametrize(
    "names", [["a", "b", "a"], ["a", "b/c"], ["/"], ["a/"], [""], ["a", "b", "b"]]
)
def test_names_that_collect_refuses(names: list[str]) -> None:
    bad = names[-1]
    message = f"a part of the state is called {bad!r}: names must differ, be given and hold no '/'"
    with pytest.raises(RunError, match=re.escape(message)):
        collect(Part(name, {"x": 1}) for name in names)


@pytest.mark.parametrize(
    ("parts", "others", "message"),
    [
        (["a", "b", "c"], [], "it has no state of 'c'; resume with"),
        (["c", "a", "d", "b"], [], "it has no state of 'c'"),
        (["a"], [], "it has state of 'b', which nothing here takes; resume with the same recipe"),
        ([], [], "it has state of 'a', which nothing here takes"),
        ([], ["a"], "it has state of 'b', which nothing here takes"),
        (["a", "c"], ["b"], "it has no state of 'c'"),
        (["a", "c"], ["b", "c"], "it has no state of 'c'"),
        (["A", "b"], [], "it has no state of 'A'"),
    ],
)
def test_a_state_that_does_not_fit_is_not_set_at_all(
    parts: list[str], others: list[str], message: str
) -> None:
    arrays, values = collect([Part("a", {"x": 1}), Part("b", {"y": np.array([2.0])})])
    order: list[str] = []
    match = "the checkpoint does not fit this run: " + re.escape(message)
    with pytest.raises(RunError, match=match):
        restore([Part(name, {}, order) for name in parts], arrays, values, others)
    assert order == []


def test_parts_that_somebody_else_restores() -> None:
    arrays, values = collect([Part("a", {"x": 1}), Part("b", {"y": np.array([2.0])})])
    part = Part("b", {})
    restore([part], arrays, values, others=["a", "not there"])
    assert_same(part.state, {"y": np.array([2.0])})


def test_a_part_that_refuses_is_heard() -> None:
    arrays, values = collect([Part("a", {"x": 1}), Part("counter", {"epochs": 1})])
    part = Part("a", {})
    with pytest.raises(RunError, match=r"^no count of epochs: \['epochs'\]$"):
        restore([part, Counter()], arrays, values)
    assert part.state == {"x": 1}
