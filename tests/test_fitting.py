"""What is trained fits: fewer photos a step for the same update, foreseen or found out."""

from __future__ import annotations

import dataclasses
import itertools
import os
import shutil
import subprocess
import sys
import weakref
from contextlib import contextmanager
from types import SimpleNamespace

import keras
import numpy as np
import pytest
import tensorflow as tf
from conftest import make_recipe
from runs import final

from carlib.catalog import read_catalog
from carlib.checkpoints import Position, find_checkpoint, read_state
from carlib.devices import Device
from carlib.errors import RunError
from carlib.freeze import Freezer
from carlib.loader import Loader, View
from carlib.memory.instrument import LIMIT_MIB, LIMITED
from carlib.models.build import build_model
from carlib.models.table import BACKBONES
from carlib.runfolder import RunFolder, read_json, read_table
from carlib.session import Every, Session
from carlib.spec import ModelSpec, Phase, Recipe, from_json, to_json, with_settings
from carlib.submission import read_epochs
from carlib.train import fitting, loop, stage, train_model
from carlib.train.fitted import Fitted
from carlib.train.fitting import fit_phases
from carlib.train.keeper import Keeper
from carlib.train.stage import Stage
from carlib.train.undo import Undo

GPU = Device("a GPU", 2 * 10**9)
STEP = Every(steps=1)
ONCE = pytest.mark.once


@pytest.fixture(scope="module")
def catalog(photos):
    return read_catalog(photos)


def phases_of(names, settings=()):
    """The recipe with these phases alone, and settings."""
    recipe = make_recipe()
    kept = tuple(phase for phase in recipe.phases if phase.name in names.split())
    return with_settings(dataclasses.replace(recipe, phases=kept), settings)


# ---------------------------------------------------------------- the arithmetic


@pytest.mark.parametrize(
    ("asked", "most", "size", "steps"),
    [
        (64, 64, 64, 1),
        (64, 63, 32, 2),
        (64, 19, 16, 4),
        (24, 23, 12, 2),
        (24, 7, 6, 4),
        (48, 20, 16, 3),
        (31, 20, 15, 2),  # 30: no half of most or more divides 31
        (7, 6, 6, 1),
        (11, 3, 2, 5),
        (5, 2, 1, 5),
        (3, 2, 1, 3),
        (2, 1, 1, 2),
    ],
)
def test_fewer_photos_for_the_same_update(asked, most, size, steps):
    assert Fitted(asked, asked).within(most) == Fitted(asked, size, steps)


def test_what_fits_is_as_near_as_may_be():
    for asked in range(1, 66):
        for most in range(1, asked + 1):
            found = Fitted(asked, asked).within(most)
            assert most <= 2 * found.batch_size <= 2 * most
            assert asked - found.batch_size < found.photos <= asked
            if any(asked % size == 0 for size in range((most + 1) // 2, most + 1)):
                assert found.photos == asked


def test_smaller_parts_are_whole_parts_of_a_step():
    for size in range(1, 66):
        for most in range(1, size + 1):
            found = Fitted("auto", size, 3).dividing(most)
            assert found.batch_size <= most
            assert size % found.batch_size == 0
            assert found.photos == 3 * size
    assert [Fitted(n, n).halved().batch_size for n in (64, 24, 9, 6, 7, 2)] == [32, 12, 3, 3, 1, 1]


@pytest.mark.parametrize("steps", [1, 2, 5])
def test_the_phase_that_is_trained(steps):
    phase = Phase("p", 3, 0.1, batch_size=10 * steps, accumulate=3, ema=0.99)
    found = Fitted(10 * steps, 10, steps).of(phase)
    assert (found.batch_size, found.accumulate) == (10, 3 * steps)
    assert found.ema**steps == pytest.approx(0.99)
    same = dataclasses.replace(found, batch_size=phase.batch_size, accumulate=3, ema=0.99)
    assert same == phase
    strict = dataclasses.replace(phase, ema=0.99999)
    assert Fitted(10, 10, steps).of(strict).ema == 0.99999  # its bound


@pytest.mark.parametrize(
    ("batch_size", "together", "steps"),
    [(10, 1, 4), (5, 1, 9), (5, 2, 8), (2, 5, 20), (15, 2, 2), (48, 1, 1), (16, 3, 3)],
)
def test_an_epoch_has_whole_batches_of_the_steps_that_stand_for_one(
    catalog, batch_size, together, steps
):
    some = catalog.take(range(48))
    options = {"training": True, "batch_size": batch_size, "together": together}
    loader = Loader(some, View(16), **options)
    assert loader.steps == steps
    whole = Loader(some, View(16), training=True, batch_size=batch_size * together)
    mine, theirs = (
        np.concatenate([each.batch(3, step).numbers for step in range(each.steps)])
        for each in (loader, whole)
    )
    np.testing.assert_array_equal(mine, theirs)


def test_a_state_in_smaller_steps():
    arrays = {
        "model/a/kernel": np.ones(3, np.float32),
        "optimizer/iteration": np.array(7),
        "optimizer/iteration#1": np.array(0),
        "optimizer/step_counter": np.array(7),
        "optimizer/a_kernel_momentum": np.ones(3, np.float32),
        "optimizer/a_kernel_gradient_accumulator": np.ones(3, np.float32),
        "metrics/loss/count": np.array(56.0),
    }
    undo = Undo(Position(1, 2, 3), arrays, {}, "name", steps=9, photos=99)
    found = undo.split(4)
    assert found.position == Position(1, 2, 12)
    assert (found.name, found.steps, found.photos) == ("name", 9, 99)
    changed = {key for key, value in arrays.items() if (found.arrays[key] != value).any()}
    assert changed == {"optimizer/iteration", "optimizer/a_kernel_gradient_accumulator"}
    assert found.arrays["optimizer/iteration"] == 28
    assert found.arrays["optimizer/iteration"].dtype == arrays["optimizer/iteration"].dtype
    assert (found.arrays["optimizer/a_kernel_gradient_accumulator"] == 4).all()
    assert all((undo.split(1).arrays[key] == arrays[key]).all() for key in arrays)


# ---------------------------------------------------------------- before the first step


def pretend(patch, fits):
    """Let so many photos fit, as ``fits`` has it of the phase, whatever the network."""

    def need(model, recipe, phase, batch, device):
        most = fits(phase)
        safe = device.usable * batch // most if most else 2 * device.usable
        return SimpleNamespace(safe=safe, expected=safe * 4 // 5)

    patch.setattr(fitting, "need_of_training", need)
    patch.setattr(fitting, "largest_batch", lambda model, recipe, phase, device: fits(phase))


def planned(monkeypatch, fits, settings=(), position=None, kept=None, device=GPU, photos=1000):
    """What ``fit_phases`` finds where ``fits`` (of the phase) photos fit; and what it asked."""
    recipe = Recipe(
        "r",
        ModelSpec("tiny", 64),
        (
            Phase("head", 2, 1e-3, trains="head", batch_size=64),
            Phase("all", 2, 1e-3, batchnorm="trained", batch_size=48),
        ),
    )
    recipe = with_settings(recipe, settings)
    asked = []

    model = build_model(recipe.model, 3)

    def noted(phase):
        stem = model.get_layer("stem_conv")
        assert stem.trainable != phase.head_only  # frozen for the phase
        asked.append(phase)
        return fits(phase)

    pretend(monkeypatch, noted)
    found = fit_phases(
        model, Freezer(model), recipe, photos, position or Position(), kept or {}, device
    )
    return found, asked


@pytest.mark.parametrize(
    ("fits", "settings", "head", "whole"),
    [
        (64, [], Fitted(64, 64), Fitted(48, 48)),
        (20, [], Fitted(64, 16, 4), Fitted(48, 16, 3)),
        (1, [], Fitted(64, 1, 64), Fitted(48, 1, 48)),
        (20, ["phases.*.batch_size=21"], Fitted(21, 20), Fitted(21, 20)),
        (1000, ["phases.*.batch_size=auto"], Fitted("auto", 64), Fitted("auto", 64)),
        (33, ["phases.all.batch_size=auto"], Fitted(64, 32, 2), Fitted("auto", 32)),
        (1, ["phases.all.batch_size=auto"], Fitted(64, 1, 64), Fitted("auto", 1)),
    ],
)
def test_each_phase_takes_what_fits(monkeypatch, fits, settings, head, whole):
    found, _ = planned(monkeypatch, lambda phase: fits, settings)
    assert found == {"head": head, "all": whole}


@pytest.mark.parametrize(
    ("settings", "size"), [(["phases.*.batch_size=auto"], 32), ([], 64)], ids=["auto", "number"]
)
def test_where_nothing_is_known_all_fits(monkeypatch, settings, size):
    found, asked = planned(monkeypatch, lambda phase: 1, settings, device=None)
    assert found["head"].batch_size == size
    assert asked == []


@pytest.mark.parametrize(
    ("settings", "size"), [([], 40), (["phases.*.batch_size=auto"], 32)], ids=["number", "auto"]
)
def test_no_batch_is_larger_than_the_photos(monkeypatch, settings, size):
    found, _ = planned(monkeypatch, lambda phase: 10**6, settings, photos=40)
    assert {fitted.batch_size for fitted in found.values()} == {size}


def test_accumulated_gradients_take_memory_too(monkeypatch):
    found, asked = planned(monkeypatch, lambda phase: 20 if phase.accumulate > 1 else 40)
    assert found["all"] == Fitted(48, 16, 3)
    assert [phase.accumulate for phase in asked] == [1, 2, 1, 2]


def test_what_an_earlier_session_took_is_kept(monkeypatch, capsys):
    kept = {"head": Fitted(64, 64), "all": Fitted(48, 8, 6)}
    found, asked = planned(monkeypatch, lambda phase: 10**6, position=Position(1), kept=kept)
    assert found == kept
    assert [(phase.name, phase.accumulate) for phase in asked] == [("all", 6)]
    assert "phase 'all': 8 photos a step, 6 steps an update; BatchNorm" in capsys.readouterr().err


@pytest.mark.parametrize(("most", "size"), [(40, 48), (39, 48), (38, 24)])
def test_a_percent_less_of_the_same_device_changes_no_run(monkeypatch, most, size):
    """Begun, what is expected counts; 48 are expected to take 38.4 of the photos that are safe."""
    kept = {"head": Fitted(64, 64), "all": Fitted(48, 48)}
    found, _ = planned(monkeypatch, lambda phase: most, position=Position(1, 0, 7), kept=kept)
    assert found["all"].batch_size == size


SHARED = Device("the CPU", 10**9, kind="cpu", most=4 * 10**9)


def of_shared(monkeypatch, safe, settings=()):
    """What ``fit_phases`` finds where a photo takes ``safe`` bytes of a memory that is shared."""
    recipe = Recipe("r", ModelSpec("tiny", 32), (Phase("all", 2, 1e-3, batch_size=32),))
    with monkeypatch.context() as patch:
        patch.setattr(
            fitting,
            "need_of_training",
            lambda *of: SimpleNamespace(safe=of[3] * safe, expected=of[3] * safe * 4 // 5),
        )
        patch.setattr(fitting, "largest_batch", lambda *of: of[-1].usable // safe)
        model = build_model(recipe.model, 3)
        told = with_settings(recipe, settings)
        return fit_phases(model, Freezer(model), told, 1000, Position(), {}, SHARED)["all"]


@pytest.mark.parametrize(
    ("photo", "size", "said"),
    [
        (10**6, 32, ""),
        (10**8, 32, "need 2.6 GB, and 1.0 GB are free on the CPU now: end other programs"),
        (3 * 10**8, 8, "need 7.7 GB, 4.0 GB are there on the CPU: 8 photos a step"),
    ],
    ids=["fits", "fits at another moment", "never fits"],
)
def test_what_is_free_at_the_moment_changes_no_number(monkeypatch, capsys, photo, size, said):
    """Equal runs are equal, whatever else runs on the machine."""
    assert of_shared(monkeypatch, photo) == Fitted(32, size, 32 // size)
    printed = capsys.readouterr().err
    assert said in printed if said else not printed


@pytest.mark.parametrize(
    ("photo", "size"), [(10**6, 64), (10**8, 8), (2 * 10**9, 1)], ids=["all", "some", "one"]
)
def test_auto_is_what_is_free_at_the_moment(monkeypatch, photo, size):
    assert of_shared(monkeypatch, photo, ["phases.*.batch_size=auto"]) == Fitted("auto", size)


@pytest.mark.parametrize("batch_size", [32, "auto"])
def test_a_photo_that_never_fits(monkeypatch, batch_size):
    with pytest.raises(RunError, match=r"not even one photo of 32 px fits into the 4\.0 GB"):
        of_shared(monkeypatch, 5 * 10**9, [f"phases.*.batch_size={batch_size}"])


def test_what_auto_found_is_kept(monkeypatch):
    kept = {"head": Fitted("auto", 16), "all": Fitted("auto", 8)}
    found, _ = planned(monkeypatch, lambda phase: 64, ["phases.*.batch_size=auto"], kept=kept)
    assert found == kept


def test_a_smaller_device_divides_the_steps(monkeypatch):
    """By whole parts: what was counted in steps can be counted on."""
    kept = {"head": Fitted(64, 64), "all": Fitted(45, 45)}
    found, _ = planned(
        monkeypatch, lambda phase: 20, ["phases.all.batch_size=45"], Position(1, 0, 7), kept
    )
    assert found == {"head": Fitted(64, 64), "all": Fitted(45, 15, 3)}


def test_a_phase_begun_by_an_earlier_version(monkeypatch):
    found, _ = planned(
        monkeypatch, lambda phase: 20, ["phases.*.batch_size=7"], Position(0, 0, 3), photos=500
    )
    assert found == {"head": Fitted(7, 7), "all": Fitted(7, 7)}
    found, _ = planned(monkeypatch, lambda phase: 5, ["phases.*.batch_size=7"], Position(0, 0, 3))
    assert found == {"head": Fitted(7, 1, 7), "all": Fitted(7, 3, 2)}


def test_another_batch_size_is_fitted_anew(monkeypatch):
    kept = {"head": Fitted(64, 64), "all": Fitted(48, 8, 6)}
    found, _ = planned(
        monkeypatch, lambda phase: 64, ["phases.all.batch_size=16"], Position(1), kept
    )
    assert found["all"] == Fitted(16, 16)


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        (
            [],
            "phase 'all': 48 photos a step need 4.8 GB, 2.0 GB are there on a GPU: 16 photos a "
            "step, 3 steps an update; BatchNorm, which trains, sees 16 at a time; the same "
            "effective batch, 48\n",
        ),
        (
            ["phases.all.batchnorm=frozen", "phases.all.accumulate=2"],
            "on a GPU: 16 photos a step, 6 steps an update; the same effective batch, 96\n",
        ),
        (["phases.all.batch_size=31"], "; an effective batch of 30, no longer 31\n"),
        (["phases.all.batch_size=auto"], "phase 'all': batch_size = 'auto' is 16 on a GPU\n"),
    ],
)
def test_what_is_changed_is_said(monkeypatch, capsys, settings, said):
    planned(monkeypatch, lambda phase: 20, ["phases.head.batch_size=8", *settings])
    assert said in capsys.readouterr().err


@pytest.mark.parametrize("batch_size", ["8", "auto"])
@pytest.mark.parametrize(
    ("largest", "said"),
    [(40, "a photo of 32 px does: set phases.all.size, or train less"), (10, "a GPU; train less")],
)
def test_where_no_photo_fits_the_largest_that_does_is_named(monkeypatch, batch_size, largest, said):
    def fits(phase):
        return 0 if phase.name == "all" and (phase.size or 64) > largest else 5

    with pytest.raises(RunError, match=r"'all': not even one photo of 64 px fits .* 2\.0 GB") as e:
        planned(monkeypatch, fits, [f"phases.all.batch_size={batch_size}"])
    assert said in str(e.value)


def test_no_photo_is_tried_that_the_backbone_does_not_take(monkeypatch):
    monkeypatch.setitem(BACKBONES, "tiny", dataclasses.replace(BACKBONES["tiny"], least=20))
    tried = []

    def fits(phase):
        tried.append(phase.size or 64)
        return 0 if phase.name == "all" else 5

    with pytest.raises(RunError, match=r"not even one photo of 64 px fits .* a GPU; train less"):
        planned(monkeypatch, fits, ["phases.all.batch_size=8"])
    assert min(tried) == 32


def test_a_run_that_does_not_fit_is_refused_before_anything_is_written(
    tmp_path, catalog, recipe, monkeypatch
):
    """Its last phase: no night is spent on those before."""
    pretend(monkeypatch, lambda phase: 0 if phase.name == "all" else 64)
    monkeypatch.setattr(loop, "present_device", lambda taken: GPU)
    with pytest.raises(RunError, match="phase 'all': not even one photo"):
        train_model(recipe, catalog, tmp_path / "run")
    assert [path.name for path in (tmp_path / "run").rglob("*") if path.suffix] == []


# ---------------------------------------------------------------- runs


@contextmanager
def limited(monkeypatch, **most):
    """Let so many photos fit, by phase; others fit all."""
    with monkeypatch.context() as patch:
        pretend(patch, lambda phase: most.get(phase.name, 10**6))
        patch.setattr(loop, "present_device", lambda taken: GPU)
        yield


@contextmanager
def failing(monkeypatch, *at):
    """Let the steps with these numbers, counted over the session, run out of memory halfway.

    Yields the photos a step that were tried.
    """
    tried = []
    compiled = stage.compile_trainer

    def compile_trainer(trainer, *others):
        found = compiled(trainer, *others)
        step = trainer.train_function

        def stepping(batches):
            batch = next(batches)
            tried.append(len(batch[0]))
            if len(tried) in at:
                for variable in (*trainer.variables, *trainer.optimizer.variables):
                    variable.assign(np.full(variable.shape, 3, variable.dtype))
                said = "Graph execution error:\n\nOOM when allocating tensor on /job:a\n\t[[x]]"
                raise tf.errors.ResourceExhaustedError(None, None, said)
            return step(iter([batch]))

        trainer.train_function = stepping
        return found

    with monkeypatch.context() as patch:
        patch.setattr(stage, "compile_trainer", compile_trainer)
        yield tried


# (phases, settings, steps before the one that fails): 3 steps an epoch where nothing else is said.
CASES = [
    ("head", "", 1),
    pytest.param(
        "head all",
        "phases.*.optimizer=sgd phases.*.accumulate=3 phases.*.ema=0.9 phases.all.clip=0.1 "
        "class_weights=balanced phases.*.mixup=0.4 phases.*.batch_size=20",
        3,
        marks=ONCE,
    ),
    ("all", "model.dtype=mixed_float16 phases.*.accumulate=2 phases.all.schedule=plateau", 1),
    pytest.param("head", "phases.head.views=2 phases.head.epochs=3", 4, marks=ONCE),
]


@pytest.mark.parametrize(("names", "settings", "done"), CASES)
def test_a_halved_run_equals_one_that_was_begun_anew_there_in_halves(
    tmp_path, catalog, monkeypatch, names, settings, done
):
    """Bit for bit, after a step that left the variables in ruins."""
    told = phases_of(names, settings.split())
    size, first = told.phases[0].batch_size, told.phases[0].epochs
    phase, half = told.phases[-1 if done >= first * (48 // size) else 0], size // 2
    with limited(monkeypatch), failing(monkeypatch, done + 1) as tried:
        outcome = train_model(told, catalog, tmp_path / "halved", save_every=STEP)
    assert outcome.done
    assert tried[done : done + 2] == [2 * half, half]
    with limited(monkeypatch):
        train_model(told, catalog, tmp_path / "other", session=Session(stop_after=done))
    with limited(monkeypatch, **{phase.name: half + 1}):
        train_model(told, catalog, tmp_path / "other")
    assert final(tmp_path / "halved") == final(tmp_path / "other")
    # The same photos were trained on, none of them counted twice.
    one, two = (read_table(tmp_path / run / "sessions.csv") for run in ("halved", "other"))
    assert one[-1]["total_photos"] == two[-1]["total_photos"]
    written = {each["name"]: each for each in read_json(tmp_path / "halved/result.json")["phases"]}
    assert written[phase.name]["batch_size"] == 2 * half
    fitted = {"batch_size": half, "accumulate": 2 * phase.accumulate}
    assert written[phase.name]["fitted"] == fitted


def settings_without_noise(batch_size):
    """Without dropout, on fixed BatchNorm; adam would blow up float noise where gradients are 0."""
    settings = ["model.dropout=0", "model.drop_connect=0", "phases.*.batchnorm=frozen"]
    return [*settings, "phases.*.optimizer=sgd", f"phases.*.batch_size={batch_size}"]


@pytest.fixture(scope="module")
def whole(tmp_path_factory, catalog):
    """What nothing made smaller: a recipe of 18 photos a step without noise, and its run."""
    told = with_settings(make_recipe(), settings_without_noise(18))
    out = tmp_path_factory.mktemp("whole")
    with pytest.MonkeyPatch.context() as patch, limited(patch):
        train_model(told, catalog, out)
    return told, out


@pytest.mark.parametrize(
    ("at", "most"),
    [([2, 3], {}), pytest.param([], {"head": 3, "all": 6}, marks=ONCE)],
    ids=["halved, then thirds", "planned"],
)
def test_a_run_in_smaller_steps_comes_to_the_same_weights(
    tmp_path, catalog, monkeypatch, whole, at, most
):
    """48 photos are two steps of 18 and a remainder."""
    told, out = whole
    with limited(monkeypatch, **most), failing(monkeypatch, *at) as tried:
        train_model(told, catalog, tmp_path)
    assert tried[:4] == ([18, 18, 9, 3] if at else [3] * 4)
    one, two = (read_state(find_checkpoint(each / "chain"))[0] for each in (out, tmp_path))
    for key, value in one.items():
        if "seed_gen" not in key:
            np.testing.assert_allclose(two[key], value, atol=2e-5, err_msg=key)
    tables = [read_table(each / "history.csv") for each in (out, tmp_path)]
    for one, two in zip(*tables, strict=True):
        assert all(one[name] == two[name] for name in ("phase", "lr_start", "lr"))
        assert one["loss"] == pytest.approx(two["loss"], abs=1e-4)
    one, two = (read_table(each / "sessions.csv")[-1] for each in (out, tmp_path))
    assert one["photos"] == two["photos"]


@ONCE
def test_halved_twice_and_killed_equals_halved_twice(tmp_path, catalog, monkeypatch):
    """Both halvings from one save, which is as it was; who goes on later remembers them."""
    told = phases_of("head", ["phases.head.epochs=2"])

    class Copy(keras.callbacks.Callback):
        def on_epoch_begin(self, epoch, logs=None):
            if epoch:  # what a kill would leave
                shutil.copytree(tmp_path / "run", tmp_path / "killed")

    with limited(monkeypatch), failing(monkeypatch, 2, 3) as tried:
        train_model(told, catalog, tmp_path / "run", save_every=STEP, callbacks=[Copy()])
    assert tried == [16, 16, 8] + [4] * 20
    with limited(monkeypatch), failing(monkeypatch) as tried:
        assert train_model(told, catalog, tmp_path / "killed").done
    assert set(tried) == {4}
    assert final(tmp_path / "killed") == final(tmp_path / "run")


@ONCE
def test_epochs_since_the_newest_save_are_done_again_and_told_once(tmp_path, catalog, monkeypatch):
    """A late failure, with a best epoch done and exported since the save: all is as of then."""
    told, validate = phases_of("head", ["phases.head.epochs=3", "monitor=loss"]), Stage.validate
    monkeypatch.setattr(Keeper, "epoch_is_best", Keeper._export)
    for name, at, losses in (("late", 8, [0.5, 0.1, 0.9, 0.8]), ("early", 4, [0.5, 0.9, 0.8])):
        worth, left = itertools.chain([True], itertools.repeat(False)), iter(losses)

        def lossy(*of, left=left):
            values, right = validate(*of)
            return {**values, "val_loss": next(left)}, right

        monkeypatch.setattr(Stage, "validate", lossy)
        # After the first epoch alone.
        monkeypatch.setattr("carlib.train.saver.Saver.worth_it", lambda _, worth=worth: next(worth))
        with limited(monkeypatch), failing(monkeypatch, at) as tried:
            train_model(told, catalog, tmp_path / name, save_every=Every(steps=1000))
        assert tried == [16] * at + [8] * 12
    assert final(tmp_path / "late") == final(tmp_path / "early")
    assert [row["photos"] for row in read_table(tmp_path / "late/sessions.csv")] == [3 * 48]
    history = read_table(tmp_path / "late/history.csv")
    assert [row["epoch"] for row in history] == [1, 2, 3]
    accuracies = read_epochs(RunFolder(tmp_path / "late").epochs).accuracies()
    assert accuracies == [row["val_accuracy"] for row in history]


@ONCE
def test_callbacks_go_back_too(tmp_path, catalog, monkeypatch):
    class Counting(keras.callbacks.Callback):
        name = "counting"

        def __init__(self):
            super().__init__()
            self.photos = []

        def on_train_batch_end(self, batch, logs=None):
            self.photos.append(batch)

        def get(self):
            return {"photos": list(self.photos)}

        def set(self, state):
            self.photos = list(state["photos"])

    counting = Counting()
    told = phases_of("head", ["phases.head.batch_size=8", "phases.head.epochs=2"])
    with limited(monkeypatch), failing(monkeypatch, 4):  # one step after the save
        options = {"callbacks": [counting], "save_every": Every(steps=2)}
        train_model(told, catalog, tmp_path / "run", **options)
    assert counting.photos == [0, 1, *range(4, 12), *range(12)]


@ONCE
def test_one_photo_that_does_not_fit_ends_the_run(tmp_path, catalog, monkeypatch, capsys):
    told = phases_of("head", ["phases.head.batch_size=4"])
    said = (
        r"phase 'head': out of memory with one photo a step \(OOM when allocating tensor\): lower"
    )
    with (
        limited(monkeypatch),
        failing(monkeypatch, *range(3, 99)),
        pytest.raises(RunError, match=said),
    ):
        train_model(told, catalog, tmp_path / "run", save_every=STEP)
    printed = capsys.readouterr().err
    for size, steps in ((4, 2), (2, 4)):
        assert f"out of memory with {size} photos a step (OOM" in printed
        assert f"photo{'s' * (size > 2)} a step, {steps} steps an update" in printed
    assert "back to 00000" in printed
    rows = read_table(tmp_path / "run/sessions.csv")
    assert [row["why"] for row in rows] == ["failed: RunError"]
    with limited(monkeypatch):
        assert train_model(told, catalog, tmp_path / "run").done


@pytest.fixture(scope="module")
def eight(tmp_path_factory, catalog):
    """A recipe of 8 photos a step, and its run."""
    told = phases_of("head", ["phases.head.batch_size=8", "phases.head.epochs=2"])
    out = tmp_path_factory.mktemp("eight")
    with pytest.MonkeyPatch.context() as patch, limited(patch):
        train_model(told, catalog, out)
    return told, out


@ONCE
def test_auto_is_kept_as_it_was_written(tmp_path, catalog, monkeypatch, eight):
    told = phases_of("head", ["phases.head.batch_size=auto", "phases.head.epochs=2"])
    with limited(monkeypatch, head=9):
        train_model(told, catalog, tmp_path, session=Session(stop_after=1))
    with limited(monkeypatch):  # a larger device: the run stays what it is
        train_model(told, catalog, tmp_path)
    assert from_json((tmp_path / "recipe.json").read_text()) == told
    (phase,) = read_json(tmp_path / "result.json")["phases"]
    assert (phase["batch_size"], phase["fitted"]["batch_size"]) == ("auto", 8)
    assert final(tmp_path) == final(eight[1])


@ONCE
def test_checkpoints_of_a_version_that_fitted_nothing_go_on(tmp_path, catalog, monkeypatch, eight):
    from carlib.train.ledger import Ledger

    told, get = eight[0], Ledger.get
    with monkeypatch.context() as patch, limited(monkeypatch):
        patch.setattr(Ledger, "get", lambda self: {**get(self), "fitted": {}})
        train_model(told, catalog, tmp_path, session=Session(stop_after=8))
    with limited(monkeypatch):
        train_model(told, catalog, tmp_path)
    assert final(tmp_path) == final(eight[1])


@ONCE
@pytest.mark.parametrize("size", [32, 48], ids=["the model itself", "another of its weights"])
def test_the_memory_of_a_step_is_free_before_the_next_try(tmp_path, catalog, monkeypatch, size):
    """A callback knows the model, which would know its optimizer."""
    left, old = [], []
    told = phases_of("head", [f"phases.head.size={size}"])
    compiled = stage.compile_trainer

    def compile_trainer(trainer, *others):
        left.append(sum(each() is not None for each in old))
        found = compiled(trainer, *others)
        old[:] = [weakref.ref(each.value) for each in trainer.optimizer.variables]
        return found

    with monkeypatch.context() as patch, limited(monkeypatch):
        patch.setattr(stage, "compile_trainer", compile_trainer)
        with failing(monkeypatch, 2):
            callbacks = [keras.callbacks.Callback()]
            train_model(told, catalog, tmp_path / "run", callbacks=callbacks)
    assert left == [0, 0]
    assert old


# ---------------------------------------------------------------- a true allocator that is full


SCRIPT = """
import sys, carlib, types
import tensorflow as tf
from carlib.spec import from_json
from carlib.train import fitting
data, out, recipe, blind = sys.argv[1:]
tf.zeros([60 * 2**20], "uint8")  # the allocator's memory is one piece then, as a GPU's is
if blind:
    fitting.need_of_training = lambda *of: types.SimpleNamespace(safe=0)
assert carlib.train_model(from_json(recipe), carlib.read_catalog(data), out).done
"""


@pytest.mark.parametrize("blind", ["blind", ""], ids=["blind", "foreseen"])
def test_training_ends_well_where_the_batch_is_far_too_large(tmp_path, photos, blind):
    """TensorFlow's own allocator, with a limit as a GPU's: foreseen, or found out step by step."""
    settings = ["model.size=96", "phases.*.batch_size=48", "phases.*.augment=none"]
    told = phases_of("all", [*settings, "phases.*.epochs=1"])
    environment = {**os.environ, **LIMITED, LIMIT_MIB: "64"}
    arguments = [str(photos), str(tmp_path / "run"), to_json(told), blind]
    done = subprocess.run(
        [sys.executable, "-c", SCRIPT, *arguments],
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert ("out of memory with 48 photos a step" in done.stderr) == bool(blind)
    assert ("MB, 67 MB are there on the CPU: " in done.stderr) == (not blind)
    fitted = read_json(tmp_path / "run/result.json")["phases"][0]["fitted"]
    assert fitted["batch_size"] <= 24
    assert fitted["batch_size"] * fitted["accumulate"] == 48
    assert len(read_table(tmp_path / "run/history.csv")) == 1
