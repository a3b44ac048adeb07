"""A run cut anywhere and resumed in a new process equals the run never cut, bit for bit."""

from __future__ import annotations

import dataclasses
import re
from pathlib import Path
from typing import Any

import pytest
from runs import Run, call, train

from carlib.schedules import OPTIMIZERS, SCHEDULES
from carlib.spec import ModelSpec, Phase, Recipe, to_json, with_settings

# (settings of the recipe, workers, checks at which it is cut). Every field that could leave state
# behind is in one of them; where two do not meet, they share a case.
# First those whose state is most of all what Keras holds: they run on its newest version too.
BOTH = [
    (
        "phases.head.optimizer=sgd phases.head.momentum=0.5 phases.all.optimizer=adam"
        " phases.*.schedule=constant phases.*.weight_decay=0 phases.*.clean_share=0.5"
        " phases.*.augment=heavy class_weights=balanced monitor=AUC model.dropout=0.5"
        " model.drop_connect=0.5",
        "processes:2",
        (3, 6),
    ),
    (
        "phases.*.accumulate=2 phases.*.ema=0.9 model.dtype=mixed_float16 phases.all.clip=1"
        " phases.head.epochs=2",
        "",
        (3, 10),
    ),
    (
        "phases.head.views=1 phases.head.epochs=3 model.dtype=mixed_float16 phases.all.size=48",
        "0",
        (4, 11),
    ),
]
ONCE = [
    # On a CPU determinism=fast comes out the same. The phase stops early, its best epoch behind it.
    (
        "phases.*.schedule=cosine phases.all.clip=0.01 phases.*.optimizer=adamw folds=4 fold=3"
        " training_share=0.6 monitor=macro_f1 determinism=fast phases.all.early_stop=1"
        " phases.all.epochs=6 phases.all.lr=1 phases.all.restore_best=true phases.*.ema=0.5",
        "",
        (3, 7),
    ),
    (
        "phases.*.schedule=step phases.all.every=0.5 phases.all.warmup=1 phases.*.augment=cars"
        " validation_share=0 phases.all.trains=0.3 phases.all.share_by=compute"
        " phases.all.batchnorm=affine phases.*.mixup=0.4 phases.*.cutmix=1 phases.*.erasing=0.5",
        "threads:2",
        (3, 6),
    ),
    (
        "linear_probe=3 phases.all.schedule=plateau phases.all.patience=1 phases.all.epochs=4"
        " phases.all.trains=0.5 phases.all.batchnorm=frozen phases.*.ema=0.9"
        " phases.*.accumulate=2",
        "",
        (7, 16),
    ),
    (
        "model.hidden=8 phases.head.views=2 phases.head.epochs=3 phases.all.batchnorm=only"
        " phases.all.schedule=cyclic phases.all.every=1.5 monitor=loss",
        "",
        (4, 11),
    ),
    (
        "phases.head.schedule=exponential phases.all.schedule=restarts phases.all.every=0.5"
        " phases.all.growth=2 phases.all.layer_decay=0.5 phases.all.accumulate=2 model.pooling=both"
        " model.head_norm=true loss=focal focal_gamma=1",
        "",
        (3, 6),
    ),
    (
        "phases.head.schedule=triangular2 phases.head.views=1 phases.head.epochs=3"
        " phases.all.schedule=piecewise phases.all.rates=[[0.5,0.1]] model.pooling=max"
        " phases.all.optimizer=sgd phases.all.layer_decay=0.7",
        "",
        (4, 11),
    ),
    (  # a head, a preset and a metric of the user's own
        "model.head=residual phases.*.augment=dusk+ToGray monitor=top3 phases.head.views=2"
        " phases.head.epochs=3 phases.all.schedule=constant",
        "0",
        (4, 11),
    ),
    (
        "phases.head.schedule=onecycle phases.all.schedule=onecycle phases.all.warmup=0.5",
        "",
        (3, 6),
    ),
    # Nothing is learned but statistics: how many steps they are the mean of is state too.
    (
        "phases.all.trains=statistics phases.all.lr=0 phases.all.accumulate=2"
        " phases.all.layer_decay=0.5 model.head_norm=true",
        "",
        (3, 6),
    ),
]
CASES = BOTH + ONCE
# What changes which run it is, but leaves nothing behind that a checkpoint would have to hold.
STATELESS = {
    "seed",  # everything drawn is a function of (seed, epoch, index)
    "label_smoothing",  # part of the loss; on in the recipe of the tests
    "name",
    "phases",
    "model",
    "description",
    "measured",
    "backbone",  # its variables are the model's: Lite0 below
    "resize",
    "weights",
    "decay",  # of step, plateau and cyclic: on by default
    "batch_size",
}


def changed(recipe: Recipe, settings: str) -> Recipe:
    return with_settings(recipe, settings.split())


def test_every_field_that_may_hold_state_is_in_a_case() -> None:
    settings = [setting for row, *_ in CASES for setting in row.split()]
    said = {setting.partition("=")[0].rpartition(".")[2] for setting in settings}
    kinds = (Recipe, ModelSpec, Phase)
    fields = {entry.name for kind in kinds for entry in dataclasses.fields(kind)}
    assert fields - said == STATELESS
    values = " ".join(row for row, *_ in CASES)
    assert all(f"schedule={name}" in values for name in SCHEDULES)
    assert all(f"optimizer={name}" in values for name in OPTIMIZERS)


@pytest.fixture(scope="module")
def own(tmp_path_factory):
    """From a recipe to the files that register what is of the user's own in it: docs/own.md."""
    page = (Path(__file__).parents[1] / "docs/own.md").read_text(encoding="utf-8")
    path = tmp_path_factory.mktemp("own") / "mine.py"
    path.write_text("\n".join(re.findall(r"```python\n(.*?)```", page, re.DOTALL)))
    return lambda recipe: (path,) if recipe.model.head else ()


@pytest.fixture(scope="module")
def uncut(tmp_path_factory, photos, own):
    """Runs never cut, each trained once: what ``train`` returns."""
    made: dict[str, dict[str, Any]] = {}

    def run(recipe: Recipe) -> dict[str, Any]:
        text = to_json(recipe)
        if text not in made:
            out = tmp_path_factory.mktemp("uncut") / "run"
            made[text] = call(train, Run(photos, out, text, watched=True, use=own(recipe)))
        return made[text]

    return run


def cut_and_resumed(run: Run, cuts: tuple[int, ...]) -> tuple[dict[str, Any], list[Any]]:
    """Cut at each of ``cuts`` checks, each in a new process, then train to the end."""
    positions = []
    for at in cuts:
        found = call(train, dataclasses.replace(run, at=at))
        positions.append(found["position"])
        if found["done"]:  # a resumed run has fewer checks left
            return found, positions
    return call(train, run), positions


@pytest.mark.once
def test_a_run_cut_at_every_check_equals_the_uncut_one(tmp_path, photos, recipe, uncut) -> None:
    """Every moment at which a session can be cut: steps, epochs' ends, in validation, phases.

    Each session goes on where the one before was cut, and is cut at the check after that.
    """
    told = changed(recipe, "phases.*.batch_size=24")
    whole, run = uncut(told), Run(photos, tmp_path / "run", to_json(told))
    positions, at = [], 1
    for _ in range(whole["checks"]):
        found = call(train, dataclasses.replace(run, at=at))
        assert not found["done"], positions
        # Cut there twice, before the validation and in it: the check after that is the third.
        at = 3 if found["position"] in positions else 2
        positions.append(found["position"])
    found = call(train, run)
    assert found["final"] == whole["final"]
    assert found["checks"] == 0
    steps = {(phase, epoch, step) for phase, epoch in ((0, 0), (1, 0), (1, 1)) for step in range(3)}
    # (1, 0, 0) is between phases; step 2 before and in validation; the last one leaves only the
    # proof of the saved model to do.
    assert set(positions) == {*steps, (2, 0, 0)}


@pytest.mark.parametrize(
    "case",
    [*BOTH, *(pytest.param(case, marks=pytest.mark.once) for case in ONCE)],
    ids=lambda case: case[0],
)
def test_every_kind_of_state_survives_two_cuts(tmp_path, photos, recipe, uncut, own, case) -> None:
    """Cut twice in a row, in the middle of the two last phases' epochs.

    Besides, all that an epoch changes is in some part of the state, whatever a later recipe adds.
    """
    settings, workers, cuts = case
    told = changed(recipe, settings)
    whole = uncut(told)
    # A factor of the learning rate is made from the patience, which is a part.
    assert set(whole["unkept"]) <= {"scale"}
    run = Run(photos, tmp_path / "run", to_json(told), workers=workers, use=own(told))
    found, positions = cut_and_resumed(run, cuts)
    assert found["final"] == whole["final"], f"cut at {positions}"
    last = len(told.with_probe().phases) - 1
    assert [phase for phase, _, step in positions if step] == [last - 1, last], positions


@pytest.mark.once
def test_lite0_survives_a_cut(tmp_path, photos, recipe, uncut) -> None:
    alone = dataclasses.replace(recipe, phases=recipe.phases[1:])
    settings = "model.backbone=efficientnet-lite0 validation_share=0 phases.all.epochs=1"
    told = changed(alone, f"{settings} phases.all.trains=0.2")  # more takes long to trace
    found, positions = cut_and_resumed(Run(photos, tmp_path / "run", to_json(told)), (2,))
    assert found["final"] == uncut(told)["final"], f"cut at {positions}"
    assert positions == [(0, 0, 1)]
