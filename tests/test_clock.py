"""What the next piece of work may take: its own time, the save after it, and a margin."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from pathlib import Path
from typing import Any

import keras
import pytest
from conftest import make_recipe

from carlib.catalog import read_catalog
from carlib.checkpoints import find_checkpoint, read_state
from carlib.errors import RunError
from carlib.session import Session
from carlib.train import keeper, train_model
from carlib.train.clock import MARGIN, RECENT, Clock, Cut

NEVER = 1e9  # seconds


class Moved:
    """A clock that stands still until it is moved."""

    def __init__(self) -> None:
        self.now = 1e6

    def __call__(self) -> float:
        return self.now


def clock(limit: float | None = NEVER, reserve: float = 0.0, **options: Any) -> Clock:
    """A clock at the start of a session."""
    made = Clock(Session(limit=limit, clock=Moved()), reserve=lambda: reserve)
    made.recent.extend(options.pop("recent", ()))
    for name, value in options.items():
        setattr(made, name, value)
    return made


def needed(ask: Callable[[Clock], str], **options: Any) -> float:
    """The shortest session in which something may still be begun, in quarters of a second."""
    quarters = next(q for q in range(1, 4000) if not ask(clock(q / 4, **options)))
    assert ask(clock((quarters - 1) / 4 or 0.01, **options)) == "the clock"
    return quarters / 4


@pytest.mark.parametrize(
    ("recent", "starts", "reserve", "seconds"),
    [
        ([], [], 0, 5),
        ([10], [], 0, 20),
        ([10, 2, 4], [], 0, 20),  # the longest
        ([2], [], 30, 38),
        ([2], [20, 8], 0, 35),  # a first step is as slow as those before
        ([20], [2], 0, 35),
        ([10], [20], 40, 75),
    ],
)
def test_a_step_needs_half_as_much_again_the_reserve_and_a_margin(
    recent: list[float], starts: list[float], reserve: float, seconds: float
) -> None:
    found = needed(lambda each: each.before_step(starts), recent=recent, reserve=reserve)
    assert found == seconds
    assert seconds == 1.5 * max([0, *recent, *starts]) + reserve + MARGIN


def test_only_recent_steps_count() -> None:
    """One that was held up, by a disk say, is forgotten after 64 others."""
    slow = clock(recent=[100.0, *[1.0] * (RECENT - 1)])
    assert slow.step == 100
    slow.recent.append(2.0)
    assert slow.step == 2
    assert RECENT == 64
    assert needed(lambda each: each.before_step([]), recent=[100, *[1] * 64]) == 6.5


@pytest.mark.parametrize(
    ("options", "photos", "batch_size", "seconds"),
    [
        ({}, 100, 10, 5),
        ({"recent": [2]}, 100, 10, 35),  # before the first: as if they were training steps
        ({"recent": [2]}, 25, 10, 12.5),
        ({"recent": [2], "validation": 8}, 100, 10, 17),
        ({"recent": [2], "validation": 40, "reserve": 7}, 100, 10, 72),
    ],
)
def test_what_a_validation_needs(
    options: dict[str, Any], photos: float, batch_size: int, seconds: float
) -> None:
    assert needed(lambda each: each.before_validation(photos, batch_size), **options) == seconds


@pytest.mark.parametrize(
    ("options", "seconds"),
    [
        ({"validation": 8}, 17),
        ({"validation": 8, "recent": [100], "reserve": 3}, 20),
        ({"features": 2}, 1.5 * 6 + 5),
        ({"features": 2, "batch": 4, "forward": 1}, 1.5 * 12 + 5),
        ({"features": 2, "forward": 6}, 1.5 * 18 + 5),
    ],
)
def test_what_the_proof_needs(options: dict[str, Any], seconds: float) -> None:
    assert needed(lambda each: each.before_proof(3), **options) == seconds


@pytest.mark.parametrize("kind", ["features", "batch"])
def test_a_batch_needs_what_the_longest_took(kind: str) -> None:
    """The first as much as first steps did; then 4 s, and 10 s."""
    made = clock(48.9, recent=[100])
    move: Any = made.session.clock
    check = made.check(kind, [6, 2])
    for seconds in (4, 10):
        check()
        move.now += seconds
    assert getattr(made, kind) == 4
    check()  # 20 s are needed, and 34.9 s are left
    assert getattr(made, kind) == 10
    move.now += 15
    with pytest.raises(Cut, match="the clock"):
        check()
    # It took 15 s: the next check, of another phase say, knows.
    assert getattr(made, kind) == 15
    assert needed(lambda each: cut(each, kind), **{kind: 15}) == 27.5
    assert needed(lambda each: cut(each, kind)) == 14


def cut(each: Clock, kind: str) -> str:
    try:
        each.check(kind, [6, 2])()
    except Cut as why:
        return str(why)
    return ""


def test_without_a_limit_nothing_is_asked() -> None:
    """Not even what a save would take; but a signal and --stop-after are heard."""

    def asked() -> float:
        raise AssertionError

    free = clock(None, recent=[1e9])
    free.reserve = asked
    free.check("batch")()
    said = [free.before_step([1e9]), free.before_validation(1, 1), free.before_proof(9)]
    assert said == ["", "", ""]
    free.session.stop_after, free.steps = 3, 3
    assert free.before_step([]) == "stop-after"
    assert free.before_validation(1, 1) == ""  # the last step's epoch is validated
    free.session.ask("SIGTERM")
    assert free.before_step([]) == free.before_validation(1, 1) == cut(free, "batch") == "SIGTERM"


def test_the_clock_is_the_sessions() -> None:
    made = Clock(Session(clock=Moved()), began=1e6 - 90)
    assert (made.now(), made.spent()) == (1e6, 90)


# ---- a run


def test_a_resumed_session_knows_what_a_save_costs(
    tmp_path: Path, photos: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A copy of the weights takes 100 s, and one of all the state is guessed by its size."""
    now = Moved()
    collect = keeper.collect

    def slow(parts: Any) -> Any:
        now.now += 100
        return collect(parts)

    recipe = dataclasses.replace(make_recipe(), phases=make_recipe().phases[1:])
    catalog = read_catalog(photos)
    monkeypatch.setattr(keeper, "collect", slow)
    train_model(recipe, catalog, tmp_path, session=Session(clock=now, stop_after=2))
    newest = find_checkpoint(tmp_path / "chain")
    assert newest is not None
    costs = read_state(newest)[1]["parts"]["ledger"]["costs"]
    assert 2 * 100 < costs["copying"] < 4 * 100  # with the optimizer's two slots
    needed = 1.5 * costs["copying"] + MARGIN

    class Steps(keras.callbacks.Callback):  # type: ignore[misc]
        count = 0

        def on_train_batch_end(self, batch: int, logs: Any = None) -> None:
            self.count += 1

    for limit, count in ((needed - 1, 0), (needed + 20, 1)):
        steps = Steps()
        session = Session(clock=now, limit=limit, stop_after=1)
        if count:
            train_model(recipe, catalog, tmp_path, session=session, callbacks=[steps])
        else:
            with pytest.raises(RunError, match="no step fits into this session"):
                train_model(recipe, catalog, tmp_path, session=session, callbacks=[steps])
        assert steps.count == count
