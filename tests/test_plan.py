"""A plan: work counted, work times pace, sessions and quota, and how it reads."""

from __future__ import annotations

import dataclasses
import json
import math
from typing import Any

import pytest

from carlib.errors import UsageError
from carlib.loader import Loader
from carlib.plan import Change, Pace, Plan, Work, describe
from carlib.plan.noun import Around
from carlib.plan.text import span
from carlib.plan.total import APART, ending, lay_out
from carlib.plan.work import batches, work_of, works_of
from carlib.session import RESERVE
from carlib.spec import ModelSpec, Phase, Recipe
from carlib.train.fitted import Fitted
from carlib.train.fitting import asked

HEAD = Phase("head", 5, 1e-2, trains="head", views=2, batch_size=50)
ALL = Phase("all", 4, 1e-3, size=32, early_stop=2)
RECIPE = Recipe("r", ModelSpec("tiny", 48), (HEAD, ALL))


@pytest.mark.parametrize(("photos", "count"), [(0, 0), (1, 1), (64, 1), (65, 2), (129, 3)])
def test_batches_of_a_forward_pass(photos: int, count: int) -> None:
    assert batches(photos) == count


@pytest.mark.parametrize(
    ("phase", "photos", "change"),
    [
        (HEAD, (480, 120), {"steps": 9, "batch": 50, "features": 2 * 8 + 2, "validation": 0}),
        # Each epoch has a view of its own, and no more views than epochs are made.
        (dataclasses.replace(HEAD, epochs=1), (480, 120), {"features": 8 + 2}),
        # Fewer photos than a batch are one.
        (HEAD, (30, 0), {"steps": 1, "batch": 30, "features": 2}),
        (ALL, (480, 120), {"steps": 15, "batch": 32, "features": 0, "validation": 2}),
        (ALL, (480, 0), {"validation": 0, "size": 32, "at_most": True}),
        (dataclasses.replace(ALL, batch_size="auto", size=0), (480, 1), {"steps": 15, "size": 48}),
    ],
)
def test_work_is_counted(phase: Phase, photos: tuple[int, int], change: dict[str, Any]) -> None:
    work = work_of(RECIPE, phase, *photos)
    assert {name: getattr(work, name) for name in change} == change
    assert work.epochs == phase.epochs


@pytest.mark.parametrize(("size", "together"), [(32, 1), (16, 2), (10, 3), (7, 4)])
def test_steps_are_the_loaders(photos: Any, size: int, together: int) -> None:
    """However memory cuts a step, the plan counts as the loader does."""
    from carlib.catalog import read_catalog
    from carlib.loader import View

    catalog = read_catalog(photos)
    fitted = Fitted(size * together, size, together)
    loader = Loader(catalog, View(32), batch_size=size, training=True, together=together)
    (work,) = works_of(dataclasses.replace(RECIPE, phases=(ALL,)), len(catalog), 0, {"all": fitted})
    assert (work.steps, work.batch) == (loader.steps, loader.batch_size)


def test_auto_is_what_training_takes_where_the_memory_is_not_known() -> None:
    assert asked(dataclasses.replace(ALL, batch_size="auto"), 1000) == Fitted("auto", 32)
    assert asked(ALL, 20) == Fitted(32, 20)


WORK = Work("all", epochs=10, steps=100, batch=32, size=32, validation=5)
PACE = Pace(
    step=0.5, computing=0.4, loading=0.1, epoch=2.0, validation=0.3, metrics=0.5, traces=3, start=8
)


def test_kinds_add_up() -> None:
    (stretch,) = lay_out([WORK], [PACE], Around(save=2.0))
    assert stretch.seconds == {
        "training": pytest.approx(10 * (100 * 0.5 + 2)),
        "validation": pytest.approx(10 * (5 * 0.3 + 0.5) + 3),
        "features": 0,
        "start": 7.5,
        "saves": 2.0,
    }
    assert stretch.hours == pytest.approx(sum(stretch.seconds.values()) / 3600)
    assert stretch.steps == 1000


def test_features_are_made_once_however_many_epochs() -> None:
    work = dataclasses.replace(WORK, features=40, validation=0)
    pace = dataclasses.replace(PACE, features=1.5)
    few, many = (
        lay_out([dataclasses.replace(work, epochs=epochs)], [pace], Around())[0].seconds
        for epochs in (2, 20)
    )
    assert few["features"] == many["features"] == 40 * 1.5 + 3
    assert many["training"] == 10 * few["training"]


@pytest.mark.parametrize(
    ("epoch", "export", "exports"),
    [
        # Long epochs are all exported; of short ones the first, and the last at the phase's end.
        (APART * 2.0, 1.0, 10),
        (APART * 0.001, 1.0, 2),
        # Every third.
        (APART * 0.4, 1.0, 4),
        (10.0, 0.0, 10),
    ],
)
def test_exports_are_as_often_as_the_keepers(epoch: float, export: float, exports: int) -> None:
    work = dataclasses.replace(WORK, steps=1, validation=0)
    (stretch,) = lay_out([work], [Pace(epoch, epoch)], Around(export=export))
    assert stretch.seconds["saves"] == pytest.approx(exports * export)


def test_the_first_epochs_export_is_not_made_again_by_the_next_phase() -> None:
    works = [dataclasses.replace(WORK, name=name, epochs=1) for name in ("one", "two")]
    one, two = lay_out(works, [PACE, PACE], Around(export=10.0))
    assert (one.seconds["saves"], two.seconds["saves"]) == (10, 10)
    (whole,) = lay_out([dataclasses.replace(WORK, epochs=1)], [PACE], Around(export=10.0))
    assert whole.seconds["saves"] == 10


def test_the_end_is_a_proof() -> None:
    assert ending(130, Around(end=4.0, proof=2.0)) == 10
    assert ending(0, Around(end=4.0, proof=2.0)) == 4


def plan(**change: Any) -> Plan:
    """Ten hours of training and a bit."""
    work = dataclasses.replace(WORK, epochs=100, steps=720, validation=0)
    pace = Pace(step=0.5, computing=0.5, start=100.0)
    values: dict[str, Any] = {
        "recipe": "r",
        "digest": "0" * 64,
        "device": "T4",
        "basis": "probe",
        "photos": (23_040, 5_760),
        "stretches": lay_out([work], [pace], Around()),
        "begin": 200.0,
        "end": 50.0,
        "quota": 30 * 3600.0,
        "session": 12 * 3600.0,
    }
    return Plan(**values | change)


def test_one_session() -> None:
    one = plan()
    assert one.once == 36_000 + 99.5 + 200 + 50
    assert one.sessions == 1
    assert one.hours == pytest.approx(one.once / 3600)
    assert one.weeks == 1
    assert one.quota_share == pytest.approx(one.hours / 30)


@pytest.mark.parametrize("hours", [0.2, 0.5, 1, 2, 3, 5, 9])
def test_sessions_hold_the_run_and_one_less_would_not(hours: float) -> None:
    cut = plan(session=hours * 3600)
    room = hours * 3600 - RESERVE
    needed = cut.once + (cut.sessions - 1) * cut.again
    assert needed <= cut.sessions * room
    assert cut.sessions == 1 or needed - cut.again > (cut.sessions - 1) * room
    assert cut.hours == pytest.approx(needed / 3600)


def test_more_than_a_week() -> None:
    long = plan(quota=4 * 3600.0)
    assert long.weeks == 3
    assert long.quota_share > 2
    assert ": 3 weeks" in describe(long)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"quota": 0.0}, "quota must be above 0 s; received 0"),
        ({"quota": math.inf}, "quota must be above 0 s; received inf"),
        ({"session": -1.0}, "session must be above 0 s; received -1"),
        (
            {"session": 600.0},
            "a session of 600 s has no room for training: 300 s are kept back, and starting takes "
            "300 s; give a longer --session",
        ),
    ],
)
def test_a_plan_refuses_nonsense(change: dict[str, Any], message: str) -> None:
    with pytest.raises(UsageError, match=message):
        plan(**change)


@pytest.mark.parametrize("name", [entry.name for entry in dataclasses.fields(Pace)])
@pytest.mark.parametrize("value", [-0.1, math.nan, math.inf])
def test_a_pace_refuses_nonsense(name: str, value: float) -> None:
    with pytest.raises(UsageError, match=f"Pace: {name} must be 0 s or more; received"):
        dataclasses.replace(PACE, **{name: value})


@pytest.mark.parametrize(
    ("step", "computing", "loading", "waits"),
    [
        (1.0, 1.0, 0.0, False),
        (1.0, 0.5, 1.0, True),
        # The same cores load and compute: slower together, but neither waits for the other.
        (1.3, 1.0, 0.3, False),
        (1.05, 1.0, 1.0, False),
    ],
)
def test_who_waits_for_photos(step: float, computing: float, loading: float, waits: bool) -> None:
    assert Pace(step, computing, loading).waits is waits


def test_figures_are_json() -> None:
    change = Change("head on cached features", ("phases.head.views=1",), 1.9, 0.19, same=True)
    said = json.loads(json.dumps(plan(changes=(change,)).figures()))
    assert said["phases"]["all"]["steps"] == 72_000
    assert said["phases"]["all"]["epochs"] == 100
    assert said["phases"]["all"]["seconds_per_step"] == 0.5
    assert said["phases"]["all"]["hours"] == pytest.approx(10, rel=0.01)
    assert said["basis"] == "probe"
    assert said["sessions"] == 1
    assert said["quota_share"] == pytest.approx(said["hours"] / 30)
    assert said["changes"] == [
        {
            "what": "head on cached features",
            "set": ["phases.head.views=1"],
            "hours": 1.9,
            "share": 0.19,
            "same_result": True,
        }
    ]


def test_how_it_reads() -> None:
    changes = (
        Change("head on cached features", ("phases.head.views=1",), 1.9, 0.19, same=True),
        Change("224 instead of 300 px", ("model.size=224",), 0.05, 0.38),
    )
    assert describe(plan(changes=changes)).splitlines() == [
        "r on T4, measured here: 23040 photos train, 5760 validate",
        "",
        "phase  epochs  steps  s a step  training  the rest  in all",
        "all       100  72000       0.5      10 h     100 s    10 h",
        "",
        "10.1 h in all: 1 session of 12 h, 34% of 30 h a week",
        "",
        "what would be cheaper:",
        "  head on cached features: -1.9 h, -19%; the same but for rounding "
        "(--set phases.head.views=1)",
        "  224 instead of 300 px: -3 min, -38%; may cost accuracy (--set model.size=224)",
    ]


def test_a_guess_says_so_and_a_cpu_has_no_quota() -> None:
    text = describe(plan(basis="guess", device="CPU", gpu=False))
    assert "r on CPU, a guess:" in text
    assert "it may well be half or twice as much" in text
    assert text.count("were it a GPU's") == 1


def test_what_may_end_early_is_said_to_be_at_most() -> None:
    work = dataclasses.replace(WORK, at_most=True)
    text = describe(plan(stretches=lay_out([work], [Pace(1.0, 0.5, 0.9)], Around())))
    assert "at most 10" in text
    assert "at most 21 min in all" in text
    assert "all waits for photos: its steps compute for 0.5 s, their photos take 0.9 s" in text


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (0.4, "0 s"),
        (119, "119 s"),
        (120, "2 min"),
        (5399, "90 min"),
        (5400, "1.5 h"),
        (7200, "2 h"),
        (41_400, "11.5 h"),
    ],
)
def test_lengths_of_time(seconds: float, text: str) -> None:
    assert span(seconds) == text
