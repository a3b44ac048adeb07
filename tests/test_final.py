"""Epochs taken from an earlier run."""

from __future__ import annotations

import dataclasses

import pytest

from carlib.errors import RunError, UsageError
from carlib.runfolder import RunFolder, write_json, write_table
from carlib.spec import ModelSpec, Phase, Recipe
from carlib.train.final import with_epochs_of
from carlib.train.ledger import HISTORY

HEAD = Phase("head", 3, 1e-3, trains="head", warmup=2)
REST = Phase("all", 9, 1e-4, early_stop=2, restore_best=True, warmup=0.5)
RECIPE = Recipe("r", ModelSpec("tiny", 32), (HEAD, REST))


def write_run(root, phases, best, done=True, value=0.5):
    """A run folder whose history has these phases, a name an epoch."""
    rows = [
        {**dict.fromkeys(HISTORY, 0.5), "phase": name, "epoch": number + 1}
        for number, name in enumerate(phases)
    ]
    folder = RunFolder(root)
    write_table(folder.history, rows, HISTORY)
    write_json(folder.result, {"done": done, "best": best and {"epoch": best, "value": value}})
    return root


@pytest.mark.parametrize(
    ("phases", "best", "epochs"),
    [
        (["head"] * 3 + ["all"] * 9, 12, {"head": 3, "all": 9}),
        (["head"] * 3 + ["all"] * 9, 7, {"head": 3, "all": 4}),
        (["head"] * 3 + ["all"] * 4, 5, {"head": 3, "all": 2}),  # stopped early
        (["head"] * 3 + ["all"] * 9, 2, {"head": 2}),  # fine-tuning never helped
        (["head"] * 3 + ["all"] * 9, 1, {"head": 1}),
    ],
)
def test_the_epochs_of_the_best(tmp_path, phases, best, epochs):
    found = with_epochs_of(RECIPE, write_run(tmp_path, phases, best))
    assert {phase.name: phase.epochs for phase in found.phases} == epochs
    assert all(not phase.early_stop and not phase.restore_best for phase in found.phases)
    assert found.phases[0].warmup == min(2, epochs["head"])
    assert not found.validates


def test_folds_go_too(tmp_path):
    folded = dataclasses.replace(RECIPE, folds=5, fold=2)
    assert not with_epochs_of(folded, write_run(tmp_path, ["head"] * 3, 2)).validates


def test_a_share_of_the_photos_goes_too(tmp_path):
    fewer = dataclasses.replace(RECIPE, training_share=0.5)
    assert with_epochs_of(fewer, write_run(tmp_path, ["head"] * 3, 2)).training_share == 1


def test_a_linear_probe_is_a_phase_like_any(tmp_path):
    probed = dataclasses.replace(RECIPE, phases=(REST,), linear_probe=4)
    found = with_epochs_of(probed, write_run(tmp_path, ["probe"] * 4 + ["all"] * 9, 6))
    assert [(phase.name, phase.epochs) for phase in found.phases] == [("probe", 4), ("all", 2)]


def test_a_phase_that_the_recipe_lacks(tmp_path):
    run = write_run(tmp_path, ["head", "al"], 2)
    with pytest.raises(UsageError, match="has a phase 'al' that recipe 'r' has not; did you mean"):
        with_epochs_of(RECIPE, run)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"done": False, "best": 1}, "is not done, so its best epoch is not known"),
        ({"best": None}, "is not done, so its best epoch is not known"),
        ({"best": 1, "value": None}, "had no validation"),
    ],
)
def test_runs_that_say_nothing(tmp_path, options, message):
    with pytest.raises(RunError, match=message):
        with_epochs_of(RECIPE, write_run(tmp_path, ["head"], **options))
