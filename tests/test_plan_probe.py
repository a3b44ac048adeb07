"""Measured steps: what is timed of an epoch, and a whole probe that leaves nothing behind."""

from __future__ import annotations

import dataclasses
import json
import os
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from carlib.catalog import Catalog, read_catalog
from carlib.cli import main
from carlib.devices import DEVICES, device_named
from carlib.errors import DataError, UsageError
from carlib.loader import Workers
from carlib.plan import Change, Plan, keep_plan
from carlib.plan.make import _without_probe, plan_run
from carlib.plan.probe import LEAST, _spread, loading_of, paced, sample_of
from carlib.spec import Recipe, to_json, with_settings
from carlib.train.fitted import Fitted

SHORT = 0.05  # seconds of a measurement here


class Machine:
    """A clock that steps move: the first ``ready`` of an epoch at once, the others at a pace."""

    def __init__(self, steps: int, ready: int, fast: float, slow: float, first: float = 0.0):
        self.now, self.steps, self.ready = 0.0, steps, ready
        self.fast, self.slow, self.first = fast, slow, first
        self.taken = 0

    def epoch(self, number: int) -> Iterator[float]:
        for step in range(self.steps):
            yield (self.fast if step < self.ready else self.slow) + self.first * (step == 0)

    def advance(self, items: Iterator[float]) -> dict[str, float]:
        self.now += next(items)
        self.taken += 1
        return {"loss": 0.0}

    def paced(self, budget: float, *, exact: bool, skip: int = 5) -> tuple[float, float]:
        return paced(
            self.epoch,
            self.advance,
            self.steps,
            skip,
            budget,
            exact=exact,
            clock=lambda: self.now,
        )


def test_whole_epochs_are_timed_where_they_fit() -> None:
    machine = Machine(10, ready=4, fast=1, slow=2, first=3)
    assert machine.paced(100, exact=True) == ((3 + 4 * 1 + 6 * 2) / 10, 0.0)
    assert machine.taken == 50  # 5 epochs of 19 s


def test_steps_whose_photos_waited_are_left_out() -> None:
    machine = Machine(1000, ready=4, fast=1, slow=2)
    assert machine.paced(100, exact=True) == (2, 0)
    assert machine.taken == 52


def test_what_an_epochs_first_photos_take_is_told_apart() -> None:
    machine = Machine(1000, ready=0, fast=1, slow=2, first=7)
    assert machine.paced(100, exact=True) == (2, 7)


def test_a_samples_epochs_are_shorter_than_the_runs() -> None:
    machine = Machine(20, ready=4, fast=1, slow=2, first=7)
    step, more = machine.paced(40, exact=False)
    assert (step, more) == (2, 7 + 4 * 1 + 2 - 5 * 2)


@pytest.mark.parametrize("steps", [LEAST, 6, 1000])
def test_slow_steps_are_few(steps: int) -> None:
    machine = Machine(steps, ready=4, fast=50, slow=50)
    assert machine.paced(1, exact=True) == (50, 0)
    assert machine.taken == LEAST


@pytest.mark.parametrize("steps", [1, 2, 3])
def test_an_epoch_of_few_steps(steps: int) -> None:
    machine = Machine(steps, ready=0, fast=1, slow=2, first=1)
    assert machine.paced(50, exact=True) == (2 + 1 / steps, 0)
    assert Machine(steps, ready=0, fast=1, slow=2).paced(50, exact=False) == (2, 0)


def catalog_of(count: int) -> Catalog:
    names = tuple(f"{number:04d}" for number in range(count))
    return Catalog(names, names, ("a", "b"), tuple(number % 2 for number in range(count)))


@pytest.mark.parametrize(("count", "most", "found"), [(10, 10, 10), (10, 20, 10), (1000, 7, 7)])
def test_a_sample_is_spread(count: int, most: int, found: int) -> None:
    sample = _spread(catalog_of(count), most)
    assert len(sample) == found
    assert sample.ids[0] == "0000"
    assert sample.ids[-1] == f"{count - 1:04d}"


def test_photos_that_cannot_be_read() -> None:
    with pytest.raises(DataError, match="none of 4 photos can be read; cannot read 0000"):
        sample_of(catalog_of(4), {"all": Fitted(32, 4)}, Workers(count=1))


def test_photos_load_as_they_would(photos: Path, recipe: Recipe) -> None:
    recipe = with_settings(recipe, ["phases.head.views=2"])
    fitted = {"head": Fitted(16, 16), "all": Fitted(16, 16)}
    found = loading_of(recipe, read_catalog(photos), fitted, Workers(count=1), SHORT)
    assert list(found) == ["all"]  # kept features load none
    assert found["all"] > 0


# A whole plan.


@pytest.fixture(scope="module")
def long(photos: Path) -> tuple[Recipe, Catalog]:
    from conftest import make_recipe

    recipe = with_settings(
        make_recipe(), ["linear_probe=3", "phases.head.epochs=2", "phases.all.early_stop=1"]
    )
    return recipe, read_catalog(photos)


@pytest.fixture(scope="module")
def planned(long: tuple[Recipe, Catalog], tmp_path_factory: pytest.TempPathFactory) -> Plan:
    """A measured plan; whatever it writes goes to a folder that must be empty afterwards."""
    temporary, before = tmp_path_factory.mktemp("temporary"), tempfile.tempdir
    here = Path.cwd()
    os.chdir(tmp_path_factory.mktemp("cwd"))
    tempfile.tempdir = str(temporary)
    try:
        plan = plan_run(*long, workers=Workers(count=1), budget=SHORT)
        # TensorFlow's own stay until it ends.
        left = [path for path in temporary.iterdir() if "autograph" not in path.name]
        assert left == []
        assert list(Path.cwd().iterdir()) == []
    finally:
        tempfile.tempdir = before
        os.chdir(here)
    return plan


def test_a_probe_measures_every_phase(planned: Plan, long: tuple[Recipe, Catalog]) -> None:
    recipe = long[0].with_probe()
    assert planned.basis == "probe"
    assert planned.device == "CPU"
    assert planned.digest == recipe.digest()
    assert planned.photos == (48, 12)
    works = {stretch.work.name: stretch.work for stretch in planned.stretches}
    assert list(works) == ["probe", "head", "all"]
    assert [work.steps for work in works.values()] == [1, 3, 3]
    assert [work.features for work in works.values()] == [2, 0, 0]
    assert [work.validation for work in works.values()] == [0, 1, 1]
    assert [work.at_most for work in works.values()] == [False, False, True]
    for stretch in planned.stretches:
        pace = stretch.pace
        assert pace.step >= pace.computing > 0
        assert pace.start > 0
        assert pace.metrics > 0
        cached = stretch.work.features > 0
        assert (pace.features > 0, pace.loading == 0) == (cached, cached)
        assert (pace.validation > 0) is not cached
    # Traced by the first phase that needs them.
    assert [stretch.pace.traces > 0 for stretch in planned.stretches] == [True, True, False]
    assert planned.begin > 0
    assert planned.end > 0
    json.dumps(planned.figures())


def test_what_is_advised_can_be_set(planned: Plan, long: tuple[Recipe, Catalog]) -> None:
    """The linear probe is a phase that the recipe does not name."""
    for change in planned.changes:
        assert with_settings(long[0], change.settings).digest() != long[0].digest()


def test_advice_leaves_the_linear_probe_out(long: tuple[Recipe, Catalog]) -> None:
    change = Change(
        "smaller", ("model.size=96", "phases.probe.size=96", "phases.all.size=96"), 1, 1
    )
    assert _without_probe(change, long[0]).settings == ("model.size=96", "phases.all.size=96")
    fewer = Change("fewer", ("phases.probe.epochs=2",), 1, 1)
    assert _without_probe(fewer, long[0]).settings == ("linear_probe=2",)
    named = with_settings(long[0], ["linear_probe=0"])
    assert _without_probe(change, named) is change


@pytest.mark.parametrize(
    ("settings", "counts"),
    [
        (["validation_share=0", "linear_probe=0", "phases.all.early_stop=0"], (60, 0)),
        (["folds=3", "fold=1", "class_weights=balanced", "training_share=0.5"], (21, 18)),
    ],
)
def test_splits_are_the_runs(
    long: tuple[Recipe, Catalog], settings: list[str], counts: tuple[int, int]
) -> None:
    recipe = with_settings(long[0], [*settings, "phases.*.epochs=1", "phases.all.warmup=0"])
    plan = plan_run(recipe, long[1], workers=Workers(count=0), budget=SHORT)
    assert plan.photos == counts
    validated = [stretch.seconds["validation"] > 0 for stretch in plan.stretches]
    assert validated == [bool(counts[1])] * len(plan.stretches)


@pytest.mark.parametrize("probe", [False, True])
def test_another_device_is_guessed(long: tuple[Recipe, Catalog], probe: bool) -> None:
    plan = plan_run(*long, device=DEVICES["P100"], probe=probe, budget=SHORT)
    assert (plan.basis, plan.device, plan.gpu) == ("guess", "P100", True)
    loads = [stretch.pace.loading > 0 for stretch in plan.stretches]
    assert loads == [False, probe, probe]


def test_weights_are_not_needed_for_a_guess(long: tuple[Recipe, Catalog]) -> None:
    recipe = with_settings(
        long[0], ["model.backbone=efficientnet-b0", "model.weights=noisy-student"]
    )
    assert plan_run(recipe, long[1], device=DEVICES["T4"], probe=False).basis == "guess"


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"quota": 0.0}, "quota must be above 0 s; received 0"),
        ({"session": -1.0}, "session must be above 0 s; received -1"),
        ({"budget": float("nan")}, "budget must be above 0 s; received nan"),
        ({"device": device_named("16GB")}, "how fast 16GB is, is not known"),
    ],
)
def test_a_plan_is_refused_in_one_line(
    long: tuple[Recipe, Catalog], change: dict[str, Any], message: str
) -> None:
    with pytest.raises(UsageError, match=message):
        plan_run(*long, probe=False, **change)


def test_a_plan_needs_labels(long: tuple[Recipe, Catalog]) -> None:
    unlabelled = dataclasses.replace(long[1], labels=None, classes=())
    with pytest.raises(UsageError, match="a plan needs labels"):
        plan_run(long[0], unlabelled)


# The command.


def test_the_command(photos: Path, tmp_path: Path, capsys: Any, recipe: Recipe) -> None:
    file, run = tmp_path / "mine.json", tmp_path / "run"
    file.write_text(to_json(recipe))
    arguments = ["plan", "--recipe", str(file), "--data", str(photos), "--gpu", "t4"]
    assert main([*arguments, "--quota", "2h", "--session", "1h", "--no-probe", "--json"]) == 0
    figures = json.loads(capsys.readouterr().out)
    assert figures["basis"] == "guess"
    assert list(figures["phases"]) == ["head", "all"]
    assert (figures["quota_hours"], figures["session_hours"], figures["sessions"]) == (2, 1, 1)
    assert {"steps", "seconds_per_step", "epochs", "hours"} <= set(figures["phases"]["head"])
    assert main([*arguments, "--no-probe", "--set", "phases.all.epochs=9", "--run", str(run)]) == 0
    said = capsys.readouterr().out
    assert said.startswith("test on T4, a guess: 48 photos train, 12 validate\n")
    assert f"kept: {run / 'plan.json'}" in said
    kept = json.loads((run / "plan.json").read_text())
    assert kept["phases"]["all"]["epochs"] == 9
    assert [path.name for path in run.iterdir()] == ["plan.json"]


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        ([], 2, "carlib plan needs --recipe and --data for a plan, or --run alone"),
        (["--recipe", "tiny-check"], 2, "carlib plan needs --recipe and --data"),
        (["--run", "nowhere"], 1, "nowhere has no session that ended and finished an epoch"),
        (["--recipe", "tiny-chek", "--data", "DATA"], 2, "did you mean 'tiny-check'"),
        (["--recipe", "tiny-check", "--data", "DATA", "--gpu", "T5"], 2, "unknown device 'T5'"),
        (["--recipe", "tiny-check", "--data", "DATA", "--quota", "30"], 2, "a length of time is"),
        (
            ["--recipe", "tiny-check", "--data", "DATA", "--gpu=T4", "--no-probe", "--session=2m"],
            2,
            "a session of 120 s has no room for training",
        ),
    ],
)
def test_what_the_command_refuses(
    photos: Path, capsys: Any, arguments: list[str], code: int, message: str
) -> None:
    given = [str(photos) if each == "DATA" else each for each in arguments]
    assert main(["plan", *given]) == code
    shown = capsys.readouterr()
    assert message in shown.err
    assert not shown.out


def test_a_run_is_held_against_its_plan(
    long: tuple[Recipe, Catalog], planned: Plan, photos: Path, tmp_path: Path, capsys: Any
) -> None:
    """Planned, cut, looked at, ended: the plan is there all along, and the run is not disturbed."""
    file, run = tmp_path / "mine.json", tmp_path / "run"
    file.write_text(to_json(long[0]))
    path = keep_plan(run, planned.figures())
    train = ["train", "--data", str(photos), "--recipe", str(file), "--out", str(run)]
    assert main([*train, "--stop-after", "10"]) == 75
    shown = capsys.readouterr()
    assert "spent in 1 session, about" in shown.err
    assert shown.out.startswith("stopped by stop-after")
    assert main(["plan", "--run", str(run)]) == 0
    rows = capsys.readouterr().out.splitlines()
    assert [row.split()[0] for row in rows[1:4]] == ["probe", "head", "all"]
    assert rows[-1].startswith("planned ")
    assert main(train) == 0
    assert "spent in 2 sessions (" in capsys.readouterr().err
    assert json.loads(path.read_text()) == json.loads(json.dumps(planned.figures()))
    assert 'class="more">Planned ' in (run / "report.html").read_text()
    assert main(["plan", "--run", str(run), "--json"]) == 0
    said = json.loads(capsys.readouterr().out)
    assert said["done"]
    assert said["left_hours"] == 0
    assert said["planned_hours"] == pytest.approx(planned.hours)
    assert np.isfinite([phase["against_plan"] for phase in said["phases"].values()]).all()


def test_a_plan_beside_a_run(photos: Path, tmp_path: Path, capsys: Any) -> None:
    """Without a plan a stopped run tells what is left; a plan made then is compared at once."""
    run = tmp_path / "run"
    common = ["--data", str(photos), "--recipe", "tiny-check"]
    assert main(["train", *common, "--out", str(run), "--stop-after", "2"]) == 75
    assert "spent in 1 session, about" in capsys.readouterr().err
    assert main(["plan", *common, "--gpu", "T4", "--no-probe", "--run", str(run), "--json"]) == 0
    figures = json.loads(capsys.readouterr().out)
    assert figures["run"]["planned_hours"] == pytest.approx(figures["hours"])
    assert figures["run"]["phases"]["head"]["done"] == 1
    assert main(["plan", *common, "--gpu", "A100", "--no-probe", "--run", str(run)]) == 0
    assert "kept: " in capsys.readouterr().out
    # What was planned first counts.
    assert json.loads((run / "plan.json").read_text())["device"] == "T4"
