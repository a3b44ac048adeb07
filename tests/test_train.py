"""The phase loop: cut and resumed equals never cut; what the run folder holds; refusals."""

from __future__ import annotations

import dataclasses
import io
import json
import shutil
import subprocess
import sys
from contextlib import redirect_stderr
from types import SimpleNamespace

import keras
import numpy as np
import pytest
import tensorflow as tf
from conftest import make_recipe
from plain_keras import predict_elsewhere
from runs import final

from carlib.audit import Fault
from carlib.catalog import Catalog, read_catalog
from carlib.checkpoints import Position, find_checkpoint, read_state
from carlib.checkpoints.disk import verify
from carlib.errors import CarlibError, DataError, RunError, UsageError
from carlib.files import only_one
from carlib.lineage import verify_chain
from carlib.loader import Workers
from carlib.predict import open_model
from carlib.runfolder import RunFolder, read_json, read_table
from carlib.session import Every, Session
from carlib.spec import ModelSpec, from_json, with_settings
from carlib.submission import Predictions
from carlib.train import loop, train_model
from carlib.train.saver import Saver

EPOCHS = 3  # of the recipe
STEPS = 3  # an epoch


@pytest.fixture(scope="module")
def catalog(photos):
    return read_catalog(photos)


@pytest.fixture
def head(recipe):
    """The recipe's first phase alone: an epoch of the head, which takes half as long to trace."""
    return dataclasses.replace(recipe, phases=recipe.phases[:1])


@pytest.fixture
def twice(head):
    return with_settings(head, ["phases.head.epochs=2"])


class Ear(keras.callbacks.Callback):
    """A callback that notes what it is told."""

    def __init__(self):
        super().__init__()
        self.heard = []

    def on_train_begin(self, logs=None):
        self.heard.append("begin")

    def on_train_batch_end(self, batch, logs=None):
        self.heard.append(batch)

    def on_epoch_end(self, epoch, logs=None):
        self.heard.append(sorted(logs))

    def on_train_end(self, logs=None):
        self.heard.append("end")


@pytest.fixture(scope="module")
def watched(tmp_path_factory, catalog):
    """The recipe's run, never cut, and what was seen of it; most others are held against it."""
    out, ear, traced, switched = tmp_path_factory.mktemp("uncut") / "run", Ear(), [], []
    step, switch = keras.Model.train_step, tf.config.experimental.enable_op_determinism
    resize, sizes = Saver.resize, []

    def counting(self, data):
        traced.append(1)
        return step(self, data)

    def recording(self, size):
        sizes.append((self.size, size))
        resize(self, size)

    with pytest.MonkeyPatch.context() as patch, redirect_stderr(io.StringIO()) as printed:
        patch.setattr(keras.Model, "train_step", counting)
        patch.setattr(
            tf.config.experimental, "enable_op_determinism", lambda: switched.append(switch())
        )
        patch.setattr(Saver, "resize", recording)
        patch.setattr("carlib.train.teller.watch", lambda rows, *_: [f"Odd: {len(rows)}."])
        outcome = train_model(make_recipe(), catalog, out, callbacks=[ear])
    return SimpleNamespace(
        outcome=outcome,
        heard=ear.heard,
        traced=traced,
        sizes=sizes,
        switched=switched,
        printed=printed.getvalue(),
    )


@pytest.fixture(scope="module")
def uncut(tmp_path_factory, catalog, watched):
    """Runs never cut, by recipe, each trained once."""
    made = {make_recipe(): (watched.outcome.run, watched.outcome)}

    def run(recipe):
        if recipe not in made:
            out = tmp_path_factory.mktemp("uncut") / "run"
            made[recipe] = out, train_model(recipe, catalog, out)
        return made[recipe]

    return run


@pytest.fixture(scope="module")
def _cut(tmp_path_factory, catalog):
    """Runs cut after so many steps, each trained once; not to be changed."""
    made = {}

    def run(steps):
        if steps not in made:
            out = made[steps] = tmp_path_factory.mktemp("cut") / "run"
            train_model(make_recipe(), catalog, out, session=Session(stop_after=steps))
        return made[steps]

    return run


@pytest.fixture
def cut(_cut):
    """Write a copy of the recipe's run, cut after so many steps."""

    def copy(out, steps):
        return shutil.copytree(_cut(steps), out)

    return copy


@pytest.mark.once
def test_a_chain_copied_alone_and_resumed_in_a_new_process_equals_the_uncut_run(
    tmp_path, catalog, recipe, uncut, cut
):
    cut(tmp_path / "first", 7)
    shutil.copytree(tmp_path / "first/chain", tmp_path / "copied")
    script = (
        "import sys, carlib\n"
        "from carlib.spec import from_json\n"
        "data, first, source, out = sys.argv[1:]\n"
        "recipe = from_json(open(first + '/recipe.json').read())\n"
        "carlib.train_model(recipe, carlib.read_catalog(data), out, resume=source)\n"
    )
    data = catalog.paths[0].partition("/train/")[0]
    folders = [str(tmp_path / name) for name in ("first", "copied", "second")]
    subprocess.run([sys.executable, "-c", script, data, *folders], check=True)
    assert final(tmp_path / "second") == final(uncut(recipe)[0])
    # It knows its past, and the first run stays as it was.
    whys = [row["why"] for row in read_table(tmp_path / "second/sessions.csv")]
    assert whys == ["stop-after", "done"]
    assert len(read_table(tmp_path / "first/sessions.csv")) == 1


@pytest.mark.once
def test_a_damaged_newest_checkpoint_is_named_and_passed_over(
    tmp_path, catalog, recipe, uncut, cut, caplog
):
    out = cut(tmp_path / "run", 7)
    newest = find_checkpoint(out / "chain").path
    (newest / "arrays.npz").write_bytes((newest / "arrays.npz").read_bytes()[:-1])
    train_model(recipe, catalog, out)
    assert newest.name in caplog.text
    assert final(out) == final(uncut(recipe)[0])


@pytest.mark.once
def test_a_damaged_newest_checkpoint_that_was_the_best_is_survived(
    tmp_path, catalog, recipe, uncut, monkeypatch
):
    """Each epoch is the best so far; the run is killed after one, and its checkpoint is damaged."""

    def improving(self, stage, validator):
        number = len(self.ledger.history) + 1
        others = {"val_macro_f1": 0.5, "val_log_loss": 0.5}
        return {"val_loss": 1 / number, "val_accuracy": number / 10, **others}, None

    class Kill(keras.callbacks.Callback):
        def __init__(self, epoch):
            super().__init__()
            self.left = epoch

        def on_epoch_begin(self, number, logs=None):
            self.left -= 1
            if self.left == 0:
                raise KeyboardInterrupt

    monkeypatch.setattr(loop.Training, "_validate", improving)
    every = Every(steps=1)
    whole = final(uncut(recipe)[0])["arrays"]
    for epoch in (2, 3):
        out = tmp_path / f"killed in epoch {epoch}"
        with pytest.raises(KeyboardInterrupt):
            train_model(recipe, catalog, out, callbacks=[Kill(epoch)], save_every=every)
        newest = find_checkpoint(out / "chain").path
        (newest / "state.json").write_text("{}")
        train_model(recipe, catalog, out)
        end = final(out)
        assert end["arrays"] == whole, out
        assert end["best"] == {"phase": "all", "epoch": EPOCHS, "value": EPOCHS / 10}
        assert end["best arrays"].items() == {
            (key.removeprefix("model/"), value) for key, value in whole.items()
        }
        assert course(out, "val_accuracy") == [0.1, 0.2, 0.3]


@pytest.mark.once
def test_a_damaged_best_checkpoint_is_made_good_by_the_best_model(
    tmp_path, catalog, recipe, monkeypatch, caplog
):
    """The first epoch is the best; its checkpoint is damaged, with all others resting on it."""

    def falling(self, stage, validator):
        value = 1 / (1 + len(self.ledger.history))
        return {"val_accuracy": value, "val_loss": 1, "val_macro_f1": 1, "val_log_loss": 1}, None

    monkeypatch.setattr(loop.Training, "_validate", falling)
    monkeypatch.setattr("carlib.train.loop.prove_best", lambda *_: None)
    settings = ["phases.*.ema=0.5", "phases.all.restore_best=true"]
    changed, out = with_settings(recipe, settings), tmp_path / "run"
    train_model(changed, catalog, tmp_path / "uncut")
    train_model(changed, catalog, out, session=Session(stop_after=7), save_every=Every(steps=1))
    best = read_state(find_checkpoint(out / "chain"))[1]["parts"]["ledger"]["best"]
    (out / "chain" / best["checkpoint"] / "arrays.npz").write_bytes(b"")
    newest = find_checkpoint(out / "chain").name
    assert [each.name for each in verify_chain(out) if each.resumes] == [newest]
    assert [each.name for each in verify_chain(out) if not each.whole] == [best["checkpoint"]]
    # Elsewhere and in place.
    for end, options in ((tmp_path / "branch", {"resume": str(out)}), (out, {})):
        caplog.clear()
        train_model(changed, catalog, end, **options)
        assert "best/ beside the chain has its best epoch's weights" in caplog.text
        left, right = (
            read_state(find_checkpoint(each / "chain"))[0] for each in (end, tmp_path / "uncut")
        )
        assert {key: value.tobytes() for key, value in left.items()} == {
            key: value.tobytes() for key, value in right.items()
        }
        assert (end / "history.csv").read_bytes() == (tmp_path / "uncut/history.csv").read_bytes()
        # Without the model too, nothing here decides that the work is lost.
        shutil.rmtree(end / "best")
        with pytest.raises(RunError, match=f"{best['checkpoint']}.* needs it|no checkpoint under"):
            train_model(changed, catalog, end)


def test_a_chain_without_a_whole_checkpoint_is_not_started_over(tmp_path, catalog, recipe, cut):
    out = cut(tmp_path / "run", 1)
    for manifest in (out / "chain").glob("0*/manifest.json"):
        manifest.write_text(manifest.read_text().replace("recipe", "receipt"))
    before = final_bytes(out / "chain")
    with pytest.raises(RunError, match=r"no checkpoint under .* is whole"):
        train_model(recipe, catalog, out)
    assert final_bytes(out / "chain") == before


@pytest.mark.once
@pytest.mark.parametrize("harm", ["model of another epoch", "card of another run", "damaged model"])
def test_a_best_model_that_is_not_the_runs_is_exported_again(
    tmp_path, catalog, recipe, uncut, harm
):
    out = shutil.copytree(uncut(recipe)[0], tmp_path / "run")
    model, card = out / "best/model.keras", out / "best/model.json"
    if harm == "model of another epoch":  # cut between the two files
        keras.models.load_model(model).save(model)
    elif harm == "card of another run":
        card.write_text(json.dumps({**json.loads(card.read_text()), "recipe_digest": "0" * 64}))
    else:
        model.write_bytes(model.read_bytes()[:-1])
    if harm != "card of another run":
        with pytest.raises(RunError, match=r"model\.keras is damaged or of another run"):
            open_model(out)
    train_model(recipe, catalog, out)
    assert final(out) == final(uncut(recipe)[0])
    assert open_model(out)[1]["recipe_digest"] == recipe.digest()


@pytest.mark.once
def test_resuming_needs_no_pretrained_weights(tmp_path, catalog, recipe, monkeypatch):
    out, specs = tmp_path / "run", []
    build = loop.build_model

    def building(spec, classes, seed):
        specs.append(spec.weights)
        return build(ModelSpec("tiny", spec.size), classes, seed=seed)

    monkeypatch.setattr(loop, "build_model", building)
    changed = with_settings(
        recipe, ["model.backbone=efficientnet-lite0", "model.weights=somewhere.pth"]
    )
    train_model(changed, catalog, out, session=Session(stop_after=1))
    train_model(changed, catalog, out, session=Session(stop_after=1))
    assert specs == ["somewhere.pth", "none"]


@pytest.mark.once
def test_neither_the_order_of_a_catalog_nor_workers_change_a_run(tmp_path, catalog, recipe, uncut):
    """Threads are the default; here the main one loads a phase, a process the other."""
    turned, out = catalog.take(reversed(range(len(catalog)))), tmp_path / "run"
    for workers, session in (("0", Session(stop_after=STEPS)), ("processes:1", None)):
        train_model(recipe, turned, out, session=session, workers=Workers.parse(workers))
    assert final(out) == final(uncut(recipe)[0])


def test_a_run_that_another_process_trains_is_refused(tmp_path, catalog, recipe):
    with only_one(tmp_path / "run"), pytest.raises(CarlibError, match="another process is at work"):
        train_model(recipe, catalog, tmp_path / "run")


@pytest.mark.parametrize(
    "error", [tf.errors.ResourceExhaustedError(None, None, "OOM when allocating"), MemoryError()]
)
def test_out_of_memory_says_what_to_lower(tmp_path, catalog, recipe, error):
    class Full(keras.callbacks.Callback):
        def on_train_batch_begin(self, batch, logs=None):
            raise error

    with pytest.raises(RunError, match=r"out of memory.*lower phases\.\*\.batch_size"):
        train_model(recipe, catalog, tmp_path / "run", callbacks=[Full()])


def test_another_seed_is_another_run(tmp_path, catalog, recipe, cut):
    once = Session(stop_after=1)
    train_model(with_settings(recipe, ["seed=1"]), catalog, tmp_path / "other", session=once)
    one, other = (
        read_state(find_checkpoint(out / "chain"))[0]
        for out in (cut(tmp_path / "one", 1), tmp_path / "other")
    )
    for key in ("model/stem_conv/kernel", "model/head_classes/kernel", "metrics/loss/total"):
        assert (one[key] != other[key]).any(), key


@pytest.mark.once
def test_the_clock_stops_before_the_limit(tmp_path, catalog, twice):
    """A clock that a callback moves: a step takes 100 s, and 650 are allowed."""
    now = [0.0]

    class Slow(keras.callbacks.Callback):
        def on_train_batch_end(self, batch, logs=None):
            now[0] += 100

    session = Session(limit=650.0, clock=lambda: now[0], began=0.0)
    outcome = train_model(twice, catalog, tmp_path, session=session, callbacks=[Slow()])
    assert (outcome.done, outcome.why) == (False, "the clock")
    (row,) = read_table(tmp_path / "sessions.csv")
    assert (row["why"], row["steps"]) == ("the clock", 5)


class Clock(keras.callbacks.Callback):
    """A clock that moves by a table of seconds: first steps (traced), steps, validation."""

    def __init__(self, first, step, validation):
        super().__init__()
        self.now, self.first, self.step, self.validation = 0.0, first, step, validation

    def on_train_begin(self, logs=None):
        self.traced = False

    def on_train_batch_end(self, batch, logs=None):
        self.now += self.step if self.traced else self.first
        self.traced = True

    def session(self, limit):
        return Session(limit=limit, clock=lambda: self.now, began=0.0)


@pytest.mark.once
def test_the_clock_leaves_room_for_validation(tmp_path, catalog, twice, monkeypatch):
    """The second epoch's training fits the limit, its validation does not."""
    clock = Clock(first=10, step=10, validation=100)
    validate = loop.Training._validate

    def slow(self, stage, validator):
        clock.now += clock.validation
        return validate(self, stage, validator)

    monkeypatch.setattr(loop.Training, "_validate", slow)
    session = clock.session(30 + 100 + 30 + 120)
    outcome = train_model(twice, catalog, tmp_path, session=session, callbacks=[clock])
    assert (outcome.done, outcome.why) == (False, "the clock")
    assert session.left() > 0
    newest = find_checkpoint(tmp_path / "chain").position
    assert (newest.phase, newest.epoch, newest.step) == (0, 1, STEPS)
    # The next session begins with that validation, and knows what it takes.
    again = clock.session(clock.now + 120)
    with pytest.raises(RunError, match=r"no step fits into this session"):
        train_model(twice, catalog, tmp_path, session=again, callbacks=[clock])
    assert find_checkpoint(tmp_path / "chain").position == newest


@pytest.mark.once
def test_only_a_traced_step_wants_room_for_tracing(tmp_path, catalog, twice):
    """A second epoch's first step is a step like any: the session is not given up for it."""
    clock = Clock(first=100, step=1, validation=0)
    session = clock.session(160)  # the phase traced, and 58 s for the last epoch's three steps
    assert train_model(twice, catalog, tmp_path, session=session, callbacks=[clock]).done
    assert session.left() > 0


def test_a_limit_that_no_step_fits_into_is_an_error(tmp_path, catalog, recipe):
    """To stop for the clock again and again would burn hours for nothing."""
    session = Session(limit=1.0, clock=lambda: 0.0, began=0.0)
    with pytest.raises(RunError, match=r"no step fits into this session.*raise --limit"):
        train_model(recipe, catalog, tmp_path, session=session)


def test_a_branch_of_a_finished_run_has_its_tables(tmp_path, catalog, recipe, uncut):
    out, _ = uncut(recipe)
    train_model(recipe, catalog, tmp_path / "branch", resume=str(out))
    assert final(tmp_path / "branch") == final(out)


def test_the_run_folder(recipe, catalog, uncut):
    out, outcome = uncut(recipe)
    assert outcome.done
    assert outcome.run == out
    assert from_json((out / "recipe.json").read_text()) == recipe
    history = read_table(out / "history.csv")
    assert [(row["phase"], row["epoch"]) for row in history] == [
        ("head", 1),
        ("all", 2),
        ("all", 3),
    ]
    timings = read_table(out / "timings.csv")
    assert [row["epoch"] for row in timings] == [1, 2, 3]
    (session,) = read_table(out / "sessions.csv")
    assert (session["why"], session["steps"], session["photos"]) == ("done", 9, 144)
    card = json.loads((out / "best/model.json").read_text())
    assert card["classes"] == list(catalog.classes)
    assert (card["size"], card["resize"]) == (32, "stretch")
    assert sum(card["prior"]) == pytest.approx(1)
    result = read_json(out / "result.json")
    assert result["done"]
    assert result["photos"] == {"training": 48, "validation": 12, "left_out": 0, "external": 0}
    assert [part["ended"] for part in result["phases"]] == ["all epochs", "all epochs"]
    assert (result["monitor"], result["monitor_higher"]) == ("accuracy", True)
    assert [part["trainable_blocks"] for part in result["phases"]] == [1, 6]
    best = max(history, key=lambda row: row["val_accuracy"])
    assert result["best"]["epoch"] == best["epoch"]
    assert outcome.accuracy == best["val_accuracy"] == result["validation_accuracy"]


def test_validation_predictions_are_the_saved_models(recipe, uncut, catalog):
    out, outcome = uncut(recipe)
    kept = Predictions.load(RunFolder(out).predictions("validation"))
    assert kept.accuracy() == outcome.accuracy
    where = dict(zip(catalog.ids, catalog.labels, strict=True))
    assert kept.labels == tuple(where[name] for name in kept.ids)


def test_the_saved_model_opens_with_plain_keras(tmp_path, recipe, uncut):
    """In a process that has neither carlib nor efficientnet, with equal predictions."""
    out, _ = uncut(recipe)
    photos = np.arange(2 * 32 * 32 * 3, dtype=np.uint8).reshape(2, 32, 32, 3)
    (found,) = predict_elsewhere([out / "best/model.keras"], photos, tmp_path)
    here = keras.models.load_model(out / "best/model.keras")(photos, training=False)
    np.testing.assert_array_equal(found, here)


def test_frozen_weights_do_not_move_and_trained_ones_do(tmp_path, cut):
    """After a step of the head's phase only the head differs from the start."""
    chain = sorted((cut(tmp_path / "run", 1) / "chain").glob("0*"))
    before, after = (dict(np.load(path / "arrays.npz")) for path in chain)
    weights = [key for key in before if "seed_generator" not in key]
    moved = {key.split("/")[1] for key in weights if (before[key] != after[key]).any()}
    assert moved == {"head_classes"}


def test_each_phase_traces_its_step_once(recipe, watched):
    assert len(watched.traced) == len(recipe.phases)


def test_exact_switches_op_determinism_on_and_fast_does_not(
    tmp_path, catalog, recipe, watched, monkeypatch
):
    assert len(watched.switched) == 1
    switched = []
    monkeypatch.setattr(tf.config.experimental, "enable_op_determinism", lambda: switched.append(1))
    once = Session(stop_after=1)
    train_model(with_settings(recipe, ["determinism=fast"]), catalog, tmp_path / "a", session=once)
    assert not switched


def test_callbacks_hear_one_train_begin_a_phase(watched):
    logs = ["accuracy", "loss", "lr", "lr_start"]
    logs += ["val_accuracy", "val_log_loss", "val_loss", "val_macro_f1"]
    epoch = [0, 1, 2, logs]
    assert watched.heard == ["begin", *epoch, "end", "begin", *epoch, *epoch, "end"]


def test_a_callback_may_end_a_phase(tmp_path, catalog, twice):
    class Enough(keras.callbacks.Callback):
        def on_epoch_end(self, epoch, logs=None):
            self.model.stop_training = True

    assert train_model(twice, catalog, tmp_path / "run", callbacks=[Enough()]).done
    assert course(tmp_path / "run", "phase") == ["head"]


class Counter(keras.callbacks.Callback):
    """A callback whose count belongs to the run's state."""

    name = "counter"

    def __init__(self):
        super().__init__()
        self.steps = 0

    def on_train_batch_end(self, batch, logs=None):
        self.steps += 1

    def get(self):
        return {"steps": self.steps}

    def set(self, state):
        self.steps = state["steps"]


@pytest.mark.once
def test_what_a_stateful_callback_remembers_survives_a_cut(tmp_path, catalog, twice, capsys):
    out, between = tmp_path / "run", Session(stop_after=1)
    train_model(twice, catalog, out, session=Session(stop_after=2), callbacks=[Counter()])
    with pytest.raises(RunError, match="it has state of 'counter', which nothing here takes"):
        train_model(twice, catalog, out, session=between)
    last = Counter()
    train_model(twice, catalog, out, session=between, callbacks=[last])
    assert last.steps == 3
    assert "new to this run" not in capsys.readouterr().err


@pytest.mark.once
def test_a_callback_that_an_earlier_session_did_not_have_begins_with_nothing(
    tmp_path, catalog, recipe, cut, capsys
):
    late, once = Counter(), Session(stop_after=1)
    train_model(recipe, catalog, cut(tmp_path / "run", 1), session=once, callbacks=[late])
    assert late.steps == 1
    assert "callback 'counter' is new to this run" in capsys.readouterr().err


@pytest.mark.once
def test_a_callbacks_wish_to_end_a_phase_survives_a_cut(tmp_path, catalog, twice):
    class Enough(keras.callbacks.Callback):
        def on_train_batch_end(self, batch, logs=None):
            self.model.stop_training = True

    once = Session(stop_after=2)
    train_model(twice, catalog, tmp_path / "run", session=once, callbacks=[Enough()])
    train_model(twice, catalog, tmp_path / "run")
    assert course(tmp_path / "run", "phase") == ["head"]


HARMS = (
    lambda path: path.write_text("<html>429</html>\n"),
    lambda path: path.write_bytes(path.read_bytes()[:-9] + b"\xff,,,,,,"),
    lambda path: path.write_text(path.read_text() + path.read_text().splitlines()[1] + "\n"),
    lambda path: path.write_text("a,b\n1,2\n3,4\n"),
    lambda path: path.unlink(),
)


@pytest.mark.once
def test_a_damaged_table_of_sessions_stops_no_run(tmp_path, catalog, recipe, uncut, cut):
    """The checkpoint has its rows too. Before each session the table is harmed in another way."""
    out = cut(tmp_path / "run", 7)
    for harm in HARMS:  # the first session ends the run, the others find it done
        harm(out / "sessions.csv")
        assert train_model(recipe, catalog, out).done
        whys = [row["why"] for row in read_table(out / "sessions.csv")]
        assert (whys[:2], whys[-1]) == (["stop-after", "done"], "done")
    assert final(out) == final(uncut(recipe)[0])


@pytest.mark.once
def test_the_proof_after_a_phase_on_features_has_its_time_reserved(tmp_path, catalog, head):
    """Nothing went through the whole network but the caching: its batches say what it takes."""
    clock = Clock(first=1, step=1, validation=0)
    changed = with_settings(head, ["phases.head.views=1"])

    from carlib.features import FeatureCache

    view = FeatureCache.view

    def slow(self, epoch, before_batch=lambda: None):
        def before():
            before_batch()
            clock.now += 20

        return view(self, epoch, before)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(FeatureCache, "view", slow)
        patch.setattr("carlib.train.stage.VALIDATION_BATCH", 16)
        session = clock.session(20 * 4 + 3 + 30)
        outcome = train_model(
            changed, catalog, tmp_path / "run", session=session, callbacks=[clock]
        )
    assert (outcome.done, outcome.why) == (False, "the clock")
    assert find_checkpoint(tmp_path / "run/chain").position == Position(1)
    assert train_model(changed, catalog, tmp_path / "run").done


@pytest.mark.once
def test_photos_that_cannot_be_read_are_left_out_and_listed(tmp_path, photos, recipe):
    data = tmp_path / "data"
    shutil.copytree(photos, data)
    catalog = read_catalog(data)
    open(catalog.paths[0], "wb").close()
    train_model(recipe, catalog, tmp_path / "run", session=Session(stop_after=1))
    (row,) = read_table(tmp_path / "run/left-out.csv")
    assert Fault(**row) == Fault(
        catalog.ids[0], catalog.paths[0], f"{catalog.paths[0]} is empty (0 bytes)"
    )


def test_a_finished_run_trained_again_stays_as_it_is(tmp_path, catalog, recipe, uncut):
    out = shutil.copytree(uncut(recipe)[0], tmp_path / "run")
    before = final(out)
    assert train_model(recipe, catalog, out).done
    assert final(out) == before


def names_unknown(setting, message):
    return pytest.param([setting], UsageError, message, id=setting)


@pytest.mark.parametrize(
    ("settings", "error", "message"),
    [
        names_unknown("model.backbone=efficientnet-b00", "did you mean 'efficientnet-b0'"),
        names_unknown("model.weights=imagenet", "'tiny' has no 'imagenet' weights; it has none"),
        names_unknown("phases.head.schedule=cosin", "unknown schedule 'cosin'; did you mean"),
        names_unknown("phases.head.optimizer=adamv", "unknown optimizer 'adamv'; did you mean"),
        names_unknown("phases.all.augment=ligt", "unknown preset 'ligt'; did you mean 'light'"),
        names_unknown("monitor=acuracy", "unknown monitor 'acuracy'; did you mean 'accuracy'"),
    ],
)
def test_unknown_names_are_refused_before_anything_is_written(
    tmp_path, catalog, recipe, settings, error, message
):
    with pytest.raises(error, match=message):
        train_model(with_settings(recipe, settings), catalog, tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_photos_without_labels_are_refused(tmp_path, recipe):
    with pytest.raises(UsageError, match="training needs labels"):
        train_model(recipe, Catalog(("a",), ("a.jpg",)), tmp_path / "run")


def test_photos_none_of_which_can_be_read_are_refused(tmp_path, recipe):
    catalog = Catalog(("a", "b"), ("a.jpg", "b.jpg"), ("x", "y"), (0, 1))
    with pytest.raises(DataError, match=r"none of the 2 photos can be read; cannot read a\.jpg"):
        train_model(recipe, catalog, tmp_path / "run")


def test_a_run_of_another_recipe_is_refused_with_the_difference(tmp_path, catalog, recipe, cut):
    cut(tmp_path / "run", 1)
    before = final_bytes(tmp_path / "run")
    with pytest.raises(RunError, match=r"another recipe \(phases\.head\.lr: 0\.01 -> 0\.5\)"):
        train_model(with_settings(recipe, ["phases.head.lr=0.5"]), catalog, tmp_path / "run")
    assert final_bytes(tmp_path / "run") == before


def final_bytes(out):
    return {path: path.read_bytes() for path in out.rglob("*") if path.is_file()}


def test_a_run_of_other_photos_is_refused(tmp_path, catalog, recipe, cut):
    cut(tmp_path / "run", 1)
    with pytest.raises(RunError, match="other photos or labels"):
        train_model(recipe, catalog.without(catalog.ids[:1]), tmp_path / "run")


@pytest.mark.parametrize("resume", ["never", "elsewhere"])
def test_a_run_is_never_written_over(tmp_path, catalog, recipe, cut, resume):
    cut(tmp_path / "run", 1)
    with pytest.raises(UsageError, match="already holds a run"):
        train_model(recipe, catalog, tmp_path / "run", resume=resume)


def test_resuming_from_nothing_is_refused(tmp_path, catalog, recipe):
    with pytest.raises(RunError, match="there is no whole checkpoint under"):
        train_model(recipe, catalog, tmp_path / "run", resume=str(tmp_path / "nowhere"))


@pytest.mark.once
def test_a_loss_that_is_not_finite_ends_the_run_before_it_is_saved(tmp_path, catalog, recipe):
    wild = with_settings(recipe, ["phases.*.lr=100", "phases.*.optimizer=sgd"])

    class Break(keras.callbacks.Callback):
        def on_train_batch_end(self, batch, logs=None):
            weight = self.model.get_layer("head_classes").kernel
            weight.assign(weight * np.nan)

    with pytest.raises(RunError, match=r"the loss of phase 'head' is not finite"):
        train_model(wild, catalog, tmp_path / "run", callbacks=[Break()])
    (row,) = read_table(tmp_path / "run/sessions.csv")
    assert row["why"] == "failed: RunError"
    arrays, _ = read_state(find_checkpoint(tmp_path / "run/chain"))
    assert all(np.isfinite(value).all() for value in arrays.values())


def test_a_full_disk_at_the_save_leaves_the_chain_whole(
    tmp_path, catalog, recipe, cut, monkeypatch
):
    out = cut(tmp_path / "run", 1)
    before = find_checkpoint(out / "chain")

    def full(*args, **kwargs):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(np.lib.format, "write_array", full)
    with pytest.raises(CarlibError, match="no space left to write"):
        train_model(recipe, catalog, out, save_every=Every(steps=1))
    assert find_checkpoint(out / "chain") == before
    assert not list(out.rglob("*.aside*"))


@pytest.mark.once
def test_a_full_disk_at_the_last_save_is_no_done_session(tmp_path, catalog, head, monkeypatch):
    out, write = tmp_path / "run", np.lib.format.write_array

    class Fill(keras.callbacks.Callback):
        def on_train_end(self, logs=None):
            monkeypatch.setattr(np.lib.format, "write_array", full)

    def full(*args, **kwargs):
        raise OSError(28, "No space left on device")

    with pytest.raises(CarlibError, match="no space left to write"):
        train_model(head, catalog, out, callbacks=[Fill()])
    assert [row["why"] for row in read_table(out / "sessions.csv")] == ["failed: CarlibError"]
    monkeypatch.setattr(np.lib.format, "write_array", write)
    assert train_model(head, catalog, out).done


def course(out, name):
    return [row[name] for row in read_table(out / "history.csv")]


@pytest.mark.parametrize("restore", [pytest.param(False, marks=pytest.mark.once), True])
def test_plateau_cuts_the_lr_and_early_stop_ends_the_phase_and_may_give_the_best_weights_back(
    tmp_path, catalog, twice, monkeypatch, restore
):
    """Validation accuracy as told; patience 1, halved at each epoch that is no better."""
    told = iter([0.5, 0.6, 0.6, 0.7, 0.1, 0.2, 0.9])

    def validate(self, stage, validator):
        value = next(told)
        names = ("val_loss", "val_accuracy", "val_macro_f1", "val_log_loss")
        return dict.fromkeys(names, value), None

    monkeypatch.setattr(loop.Training, "_validate", validate)
    monkeypatch.setattr("carlib.train.loop.prove_best", lambda *_: None)
    settings = ["schedule=plateau", "patience=1", "decay=0.5", "epochs=7", "warmup=0", "lr=0.25"]
    settings += ["early_stop=2", f"restore_best={str(restore).lower()}"]
    changed = with_settings(twice, [f"phases.head.{setting}" for setting in settings])
    out = tmp_path / "run"
    train_model(changed, catalog, out)
    assert course(out, "lr") == [0.25, 0.25, 0.25, 0.125, 0.125, 0.0625]
    assert read_json(out / "result.json")["phases"][0]["ended"] == "early stop"
    arrays, state = read_state(find_checkpoint(out / "chain"))
    assert state["parts"]["ledger"]["best"]["epoch"] == 4
    best = keras.models.load_model(out / "best/model.keras")
    kernel = best.get_layer("head_classes").kernel.numpy()
    assert (kernel == arrays["model/head_classes/kernel"]).all() == restore


def test_cached_features_train_the_head_that_the_network_would(tmp_path, catalog, head):
    """One view, no augmentation: the same photos in the same order, so the same head."""
    plain = ["phases.head.augment=none", "phases.head.epochs=4"]
    train_model(with_settings(head, plain), catalog, tmp_path / "slow")
    train_model(with_settings(head, [*plain, "phases.head.views=1"]), catalog, tmp_path / "fast")
    for name in ("loss", "accuracy", "val_loss", "val_accuracy"):
        slow, fast = course(tmp_path / "slow", name), course(tmp_path / "fast", name)
        np.testing.assert_allclose(fast, slow, atol=1e-5)
    arrays = [read_state(find_checkpoint(tmp_path / run / "chain"))[0] for run in ("slow", "fast")]
    np.testing.assert_allclose(
        *(each["model/head_classes/kernel"] for each in arrays), rtol=1e-4, atol=1e-5
    )
    result = read_json(tmp_path / "fast/result.json")
    assert result["phases"][0]["feature_seconds"] > 0
    assert not (tmp_path / "fast/features").exists()


@pytest.mark.once
def test_features_follow_a_branch_and_are_made_again_where_damaged(
    tmp_path, catalog, head, uncut, monkeypatch, caplog
):
    """An input on Kaggle is read-only; a copy of it must be removable."""
    from carlib.features import FeatureCache

    made = []
    compute = FeatureCache._compute

    def counting(self, epoch, check):
        made.append(epoch)
        return compute(self, epoch, check)

    monkeypatch.setattr(FeatureCache, "_compute", counting)
    changed = with_settings(head, ["phases.head.views=2", "phases.head.epochs=5"])
    first, out = tmp_path / "first", tmp_path / "next"
    train_model(changed, catalog, first, session=Session(stop_after=4))
    assert made == [0, 0, 1]  # a view, validation, another view
    kept = {path.name: path.read_bytes() for path in (first / "features").iterdir()}
    assert len(kept) == 3
    for path in (first / "features").iterdir():
        path.chmod(0o444)
    train_model(changed, catalog, out, session=Session(stop_after=1), resume=str(first))
    copies = sorted((out / "features").iterdir())
    assert {path.name: path.read_bytes() for path in copies} == kept
    assert all(path.stat().st_mode & 0o200 for path in copies)
    assert made == [0, 0, 1]
    copies[0].write_bytes(copies[0].read_bytes()[:-1])
    train_model(changed, catalog, out)
    assert len(made) == 4  # in the same folder the others are still there
    assert "the features are made again" in caplog.text
    assert final(out) == final(uncut(changed)[0])


@pytest.mark.once
def test_the_clock_stops_in_the_middle_of_caching(tmp_path, catalog, head, monkeypatch):
    """A batch of features takes 40 s: those of training are kept, validation's do not fit.

    The next session has them, and gets further.
    """
    now = [0.0]
    from carlib.features import FeatureCache

    view = FeatureCache.view

    def slow(self, epoch, before_batch=lambda: None):
        def before():
            before_batch()
            now[0] += 40

        return view(self, epoch, before)

    monkeypatch.setattr(FeatureCache, "view", slow)
    session = Session(limit=60.0, clock=lambda: now[0], began=0.0)
    changed = with_settings(head, ["phases.head.views=1"])
    assert train_model(changed, catalog, tmp_path / "run", session=session).why == "the clock"
    (kept,) = (tmp_path / "run/features").iterdir()
    with np.load(kept) as features:
        assert features["features"].shape == (48, 48)
    short = Session(limit=3.0, clock=lambda: now[0], began=now[0])
    with pytest.raises(RunError, match=r"no view of the features fits into this session.*--limit"):
        train_model(changed, catalog, tmp_path / "run", session=short)
    again = Session(limit=140.0, clock=lambda: now[0], began=now[0])
    outcome = train_model(
        changed, catalog, tmp_path / "next", session=again, resume=str(tmp_path / "run")
    )
    assert outcome.done


@pytest.mark.once
def test_a_step_on_cached_features_wants_no_room_for_the_network(
    tmp_path, catalog, recipe, monkeypatch
):
    """Caching takes 100 s a batch, the head's steps 1 s each: 40 s are enough for all of them."""
    from carlib.features import FeatureCache

    clock = Clock(first=1, step=1, validation=0)
    monkeypatch.setattr("carlib.train.stage.VALIDATION_BATCH", 16)
    view = FeatureCache.view

    def slow(self, epoch, before_batch=lambda: None):
        def before():
            before_batch()
            clock.now += 100

        return view(self, epoch, before)

    monkeypatch.setattr(FeatureCache, "view", slow)
    changed = with_settings(recipe, ["phases.head.views=1", "phases.head.epochs=3"])
    session = clock.session(100 * 4 + 160)  # the check before the fourth batch wants 155
    outcome = train_model(changed, catalog, tmp_path, session=session, callbacks=[clock])
    # All of the head, and not the first step through the network, which may take 300 s.
    assert (outcome.done, outcome.why) == (False, "the clock")
    assert find_checkpoint(tmp_path / "chain").position == Position(1)


@pytest.mark.once
def test_a_phase_on_cached_features_says_nothing_of_the_network(
    tmp_path, catalog, recipe, monkeypatch
):
    """Validation on features takes no time; the first one through the network does."""
    clock = Clock(first=10, step=10, validation=30)
    validate = loop.Training._validate

    def slow(self, stage, validator):
        clock.now += 0.01 if stage.caches else clock.validation
        return validate(self, stage, validator)

    monkeypatch.setattr(loop.Training, "_validate", slow)
    changed = with_settings(recipe, ["phases.head.views=1"])
    # Three steps of the head, three of the network; for 12 photos, where a step of 16 takes 10 s,
    # the guess is 7.5 s, and 16.25 s are wanted with the margins.
    session = clock.session(30 + 30 + 14)
    outcome = train_model(changed, catalog, tmp_path, session=session, callbacks=[clock])
    assert (outcome.done, outcome.why) == (False, "the clock")
    newest = find_checkpoint(tmp_path / "chain").position
    assert (newest.phase, newest.epoch, newest.step) == (1, 0, STEPS)
    assert session.left() > 0


def test_the_average_of_the_weights_is_validated_and_saved_and_comes_back_with_a_lost_best_model(
    tmp_path, catalog, head
):
    """The best epoch's weights are the average, in the first export and in one from the chain."""
    changed = with_settings(head, ["phases.head.ema=0.9", "phases.head.epochs=3"])
    out, again = tmp_path / "run", []
    train_model(changed, catalog, out, session=Session(stop_after=4))
    first = keras.models.load_model(out / "best/model.keras").get_weights()
    name = read_state(find_checkpoint(out / "chain"))[1]["parts"]["ledger"]["best"]["checkpoint"]
    kernel = read_state(verify(out / "chain" / name))[0]["model/head_classes/kernel"]
    averages = [weight for weight in first if weight.shape == kernel.shape]
    assert name == "000002-p0e1s0"  # within the phase: its weights are not the average
    assert len(averages) == 1
    assert (averages[0] != kernel).any()
    shutil.rmtree(out / "best")

    class Look(keras.callbacks.Callback):
        def on_train_begin(self, logs=None):
            again.extend(keras.models.load_model(out / "best/model.keras").get_weights())

    outcome = train_model(changed, catalog, out, callbacks=[Look()])
    for one, other in zip(first, again, strict=True):
        np.testing.assert_array_equal(one, other)
    # prove_best predicts validation with the saved model, opened anew.
    assert outcome.accuracy == max(course(out, "val_accuracy"))


def test_a_phase_expects_saves_of_its_optimizers_size(watched):
    """The first save, before any optimizer, is of the weights alone."""
    weights = watched.sizes[0][0]
    assert weights > 4 * 4187
    assert [before for before, _ in watched.sizes[1:]] == [after for _, after in watched.sizes[:-1]]
    assert watched.sizes[1][1] > 2.5 * weights  # two slots of nearly all of it


@pytest.mark.once
def test_accumulated_gradients_are_those_of_the_larger_batch(tmp_path, catalog, recipe):
    """Without dropout, on fixed BatchNorm: two steps of 8 photos are one step of 16."""
    alone = dataclasses.replace(recipe, phases=recipe.phases[1:])
    settings = ["model.dropout=0", "model.drop_connect=0", "phases.*.batchnorm=frozen"]
    settings += ["phases.*.optimizer=sgd"]  # adam would blow up float noise where gradients are 0
    small = [*settings, "phases.*.batch_size=8"]
    ends = {}
    for name, told in (
        ("large", settings),
        ("accumulated", [*small, "phases.*.accumulate=2"]),
        ("small", small),
    ):
        train_model(with_settings(alone, told), catalog, tmp_path / name)
        arrays = read_state(find_checkpoint(tmp_path / name / "chain"))[0]
        ends[name] = np.concatenate(
            [value.ravel() for key, value in sorted(arrays.items()) if "seed_gen" not in key]
        )
    apart = {name: np.abs(end - ends["large"]).max() for name, end in ends.items()}
    assert apart["accumulated"] < apart["small"] / 50
    for column in ("lr_start", "lr"):
        assert course(tmp_path / "accumulated", column) == course(tmp_path / "large", column)


@pytest.mark.once
def test_without_validation_the_last_epoch_is_the_best(tmp_path, catalog, twice):
    outcome = train_model(with_settings(twice, ["validation_share=0"]), catalog, tmp_path / "run")
    assert outcome.done
    assert outcome.accuracy is None
    assert outcome.best["epoch"] == 2
    result = read_json(tmp_path / "run/result.json")
    assert result["photos"]["training"] == len(catalog)
    assert result["photos"]["validation"] == 0
    assert not RunFolder(tmp_path / "run").predictions("validation").exists()
    assert not RunFolder(tmp_path / "run").epochs.exists()
    assert course(tmp_path / "run", "val_loss") == [""] * 2


@pytest.mark.once
def test_fewer_photos_train_and_the_same_validate(tmp_path, catalog, recipe, head, uncut):
    whole = Predictions.load(RunFolder(uncut(recipe)[0]).predictions("validation"))
    fewer = with_settings(head, ["training_share=0.5"])
    assert train_model(fewer, catalog, tmp_path).done
    photos = {"training": 24, "validation": 12, "left_out": 0, "external": 0}
    assert read_json(tmp_path / "result.json")["photos"] == photos
    kept = Predictions.load(RunFolder(tmp_path).predictions("validation"))
    assert (kept.ids, kept.labels) == (whole.ids, whole.labels)
    with pytest.raises(RunError, match=r"training_share: 0\.5 -> 1\.0"):
        train_model(head, catalog, tmp_path)


def test_photos_of_another_size_train_the_same_network(tmp_path, catalog, head):
    changed = with_settings(head, ["phases.head.size=48"])
    train_model(changed, catalog, tmp_path / "run")
    model, card = open_model(tmp_path / "run")
    assert model.input_shape == (None, 32, 32, 3)
    assert card["size"] == 32


def test_warnings_come_while_training(watched):
    assert watched.printed.count("warning: Odd: 1.") == 1
    assert "Odd: 2" not in watched.printed  # each kind once
