"""Which validation photos each epoch had right: the bits of the accuracies, whatever happened."""

from __future__ import annotations

import dataclasses
import errno
import json
import os
import subprocess
import sys

import numpy as np
import pytest
from chains import empty, folder, halve, page, remove, truncate
from conftest import make_recipe

from carlib.catalog import read_catalog
from carlib.errors import CarlibError, DataError, UsageError
from carlib.runfolder import RunFolder, read_table
from carlib.session import Session
from carlib.spec import with_settings
from carlib.submission import Epochs, Predictions, read_epochs
from carlib.train import train_model
from carlib.train.ledger import Ledger

IDS = ("b.jpg", "007.png", "ü 🚗.jpg")
CORRECT = np.array([[True, False, True], [False, False, True]])
EPOCHS = Epochs(IDS, ("0", "sports, car"), (1, 0, 1), CORRECT)

# ---------------------------------------------------------------- the file


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (
            {"correct": CORRECT[0]},
            r"^Epochs: correct must be booleans of the shape \(epochs, photos\) = \(any, 3\); "
            r"received bool \(3,\)$",
        ),
        ({"correct": CORRECT.T}, r"received bool \(3, 2\)$"),
        ({"correct": CORRECT.astype(int)}, r"received int64 \(2, 3\)$"),
        ({"ids": ("a", "b", "a")}, r"^Epochs: ids must differ; 'a' occurs twice$"),
        ({"labels": (1, 0)}, r"^Epochs: 2 labels for 3 photos; give one each$"),
        ({"labels": (1, 0, 2)}, r"^Epochs: labels must be numbers below 2$"),
        ({"labels": (1, 0, -1)}, r"^Epochs: labels must be numbers below 2$"),
    ],
)
def test_epochs_refuse(options, message):
    with pytest.raises(UsageError, match=message):
        dataclasses.replace(EPOCHS, **options)


def test_accuracies():
    assert EPOCHS.accuracies() == [2 / 3, 1 / 3]
    assert dataclasses.replace(EPOCHS, correct=CORRECT[:0]).accuracies() == []


def same(one: Epochs, other: Epochs) -> bool:
    plain = [(each.ids, each.classes, each.labels) for each in (one, other)]
    return plain[0] == plain[1] and np.array_equal(one.correct, other.correct)


def test_a_round_trip(tmp_path):
    EPOCHS.save(tmp_path / "deeper" / "epochs.npz")
    again = read_epochs(tmp_path / "deeper" / "epochs.npz")
    assert same(again, EPOCHS)
    assert again.correct.dtype == bool
    assert [type(label) for label in again.labels] == [int] * 3
    EPOCHS.save(tmp_path / "b.npz")
    assert (tmp_path / "b.npz").read_bytes() == (tmp_path / "deeper/epochs.npz").read_bytes()


def test_a_full_disk_leaves_the_old_file(tmp_path, monkeypatch):
    path = tmp_path / "epochs.npz"
    EPOCHS.save(path)

    def full(*_):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", full)
        with pytest.raises(CarlibError, match="no space left to write"):
            dataclasses.replace(EPOCHS, correct=~CORRECT).save(path)
    assert same(read_epochs(path), EPOCHS)
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize("damage", [truncate, halve, page, folder, remove, empty])
def test_a_damaged_file(tmp_path, damage):
    path = tmp_path / "epochs.npz"
    EPOCHS.save(path)
    damage(path)
    with pytest.raises(DataError, match=r"epochs\.npz is not a carlib epochs file: "):
        read_epochs(path)


@pytest.mark.parametrize("name", ["ids", "classes", "labels", "correct"])
def test_a_file_that_lacks_something(tmp_path, name):
    EPOCHS.save(tmp_path / "epochs.npz")
    with np.load(tmp_path / "epochs.npz") as kept:
        others = {key: kept[key] for key in kept if key != name}
    np.savez(tmp_path / "other.npz", **others)
    with pytest.raises(DataError, match=r"other\.npz is not a carlib epochs file: .*not a file"):
        read_epochs(tmp_path / "other.npz")


def test_a_file_whose_parts_do_not_fit(tmp_path):
    EPOCHS.save(tmp_path / "epochs.npz")
    with np.load(tmp_path / "epochs.npz") as kept:
        np.savez(tmp_path / "other.npz", **{**kept, "correct": CORRECT[:, :2]})
    with pytest.raises(DataError, match=r"epochs file: Epochs: correct must be booleans"):
        read_epochs(tmp_path / "other.npz")


def test_predictions_are_no_epochs(tmp_path):
    Predictions(("a",), ("x",), np.ones((1, 1)), labels=(0,)).save(tmp_path / "a.npz")
    with pytest.raises(DataError, match=r"a\.npz is not a carlib epochs file: "):
        read_epochs(tmp_path / "a.npz")


def test_reading_needs_no_tensorflow():
    script = "import sys; from carlib.submission import read_epochs; from carlib import runfolder; "
    script += "print({'tensorflow', 'keras'} & set(sys.modules))"
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=True
    )
    assert done.stdout == "set()\n"


# ---------------------------------------------------------------- the ledger


def filled(root, rights, validates=True) -> Ledger:
    ledger = Ledger(RunFolder(root), "accuracy", higher=True, validates=validates)
    for number, right in enumerate(rights, 1):
        value = float(np.mean(right)) if right is not None else 0.5
        row = {"phase": "all", "epoch": number, "val_accuracy": value}
        ledger.add_epoch(row, {"epoch": number}, right)
    return ledger


def taken(ledger: Ledger, **changes) -> Ledger:
    """Another session's, from what a checkpoint holds; None leaves a key out."""
    state = {**json.loads(json.dumps(ledger.get())), **changes}
    again = Ledger(ledger.folder, "accuracy", higher=True)
    again.set({key: value for key, value in state.items() if value is not None})
    return again


def some(photos: int, epochs: int = 4) -> np.ndarray:
    return np.random.default_rng(photos).random((epochs, photos)) < 0.6


@pytest.mark.parametrize("photos", [1, 7, 8, 9, 16, 63, 300])
def test_bits_come_back(tmp_path, photos):
    right = some(photos)
    ledger = filled(tmp_path, right)
    assert [len(row) for row in ledger.correct] == [2 * -(-photos // 8)] * 4
    for each in (ledger, taken(ledger)):
        found = each.right(photos)
        assert found.dtype == bool
        assert np.array_equal(found, right)


@pytest.mark.parametrize(
    "changes",
    [
        pytest.param({"correct": None}, id="an earlier version's"),
        {"correct": []},
        {"correct": ["a0"]},
        {"correct": ["a0"] * 5},
    ],
)
def test_what_is_not_known_of_every_epoch_is_not_known(tmp_path, changes):
    ledger = taken(filled(tmp_path, some(3)), **changes)
    assert ledger.correct == []
    assert ledger.right(3) is None
    ledger.add_epoch({"phase": "all", "epoch": 5, "val_accuracy": 1.0}, {}, np.ones(3, bool))
    assert ledger.right(3) is None, "the epochs before stay unknown"
    assert taken(ledger).right(3) is None


def test_an_epoch_that_is_not_known_makes_all_unknown(tmp_path):
    rights = [*some(3, 2), None, *some(3, 2)]
    ledger = filled(tmp_path, rights)
    assert ledger.right(3) is None
    assert taken(ledger).correct == []


def test_a_run_that_goes_back_forgets_the_epochs_after(tmp_path):
    right = some(9)
    ledger = filled(tmp_path, right)
    state = json.loads(json.dumps(filled(tmp_path, right[:2]).get()))
    ledger.set(state)
    assert np.array_equal(ledger.right(9), right[:2])


def test_no_epoch_is_not_known(tmp_path):
    assert filled(tmp_path, []).right(3) is None


# ---------------------------------------------------------------- runs


@pytest.fixture(scope="module")
def catalog(photos):
    return read_catalog(photos)


def assert_true(out, classes) -> Epochs:
    """The bits are those of each epoch's accuracy, and of the predictions of the best one."""
    run = RunFolder(out)
    found, history = read_epochs(run.epochs), read_table(run.history)
    assert found.accuracies() == [row["val_accuracy"] for row in history]
    kept = Predictions.load(run.predictions("validation"))
    assert (found.ids, found.classes, found.labels) == (kept.ids, kept.classes, kept.labels)
    assert found.classes == classes
    best = max(history, key=lambda row: row["val_accuracy"])["epoch"] - 1
    assert np.array_equal(found.correct[best], kept.probabilities.argmax(1) == kept.labels)
    return found


@pytest.fixture(scope="module")
def uncut(tmp_path_factory, catalog):
    """The folder of the recipe's run, never cut."""
    out = tmp_path_factory.mktemp("uncut")
    assert train_model(make_recipe(), catalog, out).done
    return out


def test_the_bits_of_a_run_are_its_accuracies(uncut, catalog):
    assert len(assert_true(uncut, catalog.classes).correct) == make_recipe().epochs


@pytest.mark.once
def test_the_bits_of_averages_and_on_features_too(tmp_path, catalog):
    settings = "linear_probe=2 phases.head.views=2 phases.head.epochs=3 phases.all.epochs=3 "
    settings += "phases.*.ema=0.9 folds=3 fold=1 training_share=0.5"
    recipe = with_settings(make_recipe(), settings.split())
    assert train_model(recipe, catalog, tmp_path).done
    assert len(assert_true(tmp_path, catalog.classes).correct) == 2 + 3 + 3


@pytest.mark.once
def test_three_sessions_leave_what_one_does(tmp_path, catalog, uncut):
    """Cut in the first epoch and in the last; only a run that is done says it."""
    run = RunFolder(tmp_path)
    for steps in (1, 6):
        train_model(make_recipe(), catalog, run.root, session=Session(stop_after=steps))
        assert not run.epochs.exists()
    train_model(make_recipe(), catalog, run.root)
    assert_true(run.root, catalog.classes)
    assert run.epochs.read_bytes() == RunFolder(uncut).epochs.read_bytes()


@pytest.mark.once
def test_a_run_that_an_earlier_version_began_has_none(tmp_path, catalog, monkeypatch):
    run, get, recipe = RunFolder(tmp_path), Ledger.get, make_recipe()
    alone = dataclasses.replace(recipe, phases=recipe.phases[1:])

    def earlier(self):
        return {key: value for key, value in get(self).items() if key != "correct"}

    with monkeypatch.context() as patch:
        patch.setattr(Ledger, "get", earlier)
        train_model(alone, catalog, run.root, session=Session(stop_after=4))
    assert len(read_table(run.history)) == 1
    EPOCHS.save(run.epochs)  # of who knows what
    assert train_model(alone, catalog, run.root).done
    assert not run.epochs.exists()
    assert run.predictions("validation").is_file()
