"""The phase loop: for each phase freeze, compile, train, validate, save; cut anywhere.

Keras' ``fit`` is not called: each call resets its callbacks' state, and none resumes inside
an epoch. The loop drives Keras' own train function one batch at a time instead.
"""

from __future__ import annotations

import dataclasses
import math
import time
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from carlib.audit import audit
from carlib.augment import PRESETS
from carlib.batches import pairs
from carlib.catalog import Catalog, split
from carlib.checkpoints import Checkpoint, Position, read_state, retain, write_checkpoint
from carlib.checkpoints.disk import verify
from carlib.checkpoints.state import get_state, set_state
from carlib.errors import DataError, RunError, UsageError, look_up
from carlib.files import only_one, write_whole
from carlib.freeze import Freezer
from carlib.loader import Loader, View, Workers
from carlib.models.build import build_model, check_model
from carlib.predict import make_forward, probabilities
from carlib.progress import progress, say
from carlib.runfolder import LEFT_OUT, RunFolder, write_table
from carlib.schedules import OPTIMIZERS, SCHEDULES, lr_at, make_optimizer
from carlib.session import Session, detect_session
from carlib.spec import Phase, Recipe, to_dict, to_json
from carlib.train.ledger import Ledger, versions
from carlib.train.outcome import (
    Material,
    Outcome,
    export_best,
    is_exported,
    prove_best,
    write_result,
)
from carlib.train.start import find_start

MARGIN = 5.0  # seconds between the last save and the session's limit, for the report


class _Stop(Exception):
    """The session must end; the state is saved."""


def train_model(
    recipe: Recipe,
    catalog: Catalog,
    out: Path | str,
    *,
    session: Session | None = None,
    resume: str = "auto",
    workers: Workers | None = None,
    callbacks: Iterable[keras.callbacks.Callback] = (),
) -> Outcome:
    """Train a recipe on labelled photos, or go on where an earlier session stopped.

    Args:
        recipe: What to train.
        catalog: Labelled photos; the recipe's validation share is split off here. Photos
            that cannot be read are left out and listed in left-out.csv.
        out: The run folder.
        session: Its clock says when to stop. Defaults to ``detect_session()``: on Kaggle and
            in Colab it has their limit, elsewhere none.
        resume: "auto" goes on with the run in ``out`` if there is one; "never" refuses to;
            a path branches from that run, chain or checkpoint.
        workers: Who loads photos. Defaults to a thread a core.
        callbacks: Keras callbacks; ``on_train_begin`` comes once a phase and session. What
            they remember themselves is not in the checkpoints.

    Returns:
        How it ended; ``done`` False when the clock stopped it: call again to go on.

    Raises:
        UsageError: A name in the recipe that is not known.
        DataError: No labels, one class, a class with fewer than two usable photos.
        RunError: The run folder is of another recipe or other photos, or another process
            trains in it; out of memory; a loss that is not finite.
    """
    check_names(recipe)
    if catalog.labels is None:
        raise UsageError("training needs labels, and these photos have none")
    folder = RunFolder(Path(out))
    session = session or detect_session()
    faults = audit(catalog)
    usable = catalog.without(fault.id for fault in faults)
    if not len(usable):
        raise DataError(f"none of the {len(catalog)} photos can be read; {faults[0].reason}")
    # Items depend on a photo's place: the same photos in another order must not be another run.
    usable = usable.take(sorted(range(len(usable)), key=usable.ids.__getitem__))
    training, validation = split(usable, recipe.validation_share, recipe.seed)
    material = Material(recipe, training, validation, faults, usable.digest())
    if recipe.determinism == "exact":
        tf.config.experimental.enable_op_determinism()
    run = _Training(material, folder, session, workers or Workers(), callbacks)
    with only_one(folder.root):
        checkpoint = find_start(folder, recipe, material.catalog_digest, resume)
        try:
            return run.run(checkpoint)
        except (tf.errors.ResourceExhaustedError, MemoryError) as error:
            first = " ".join(str(error).split())[:200]
            raise RunError(
                f"out of memory ({first}): lower phases.*.batch_size or model.size; what was saved "
                "is whole"
            ) from error


def check_names(recipe: Recipe) -> None:
    """Raise UsageError for a name in the recipe that no table has, before time is spent."""
    check_model(recipe.model)
    for phase in recipe.phases:
        look_up(SCHEDULES, phase.schedule, "schedule")
        look_up(OPTIMIZERS, phase.optimizer, "optimizer")
        look_up(PRESETS, phase.augment, "preset")


class _Training:
    """One session of one run."""

    def __init__(
        self,
        material: Material,
        folder: RunFolder,
        session: Session,
        workers: Workers,
        callbacks: Iterable[keras.callbacks.Callback],
    ):
        self.material, self.recipe = material, material.recipe
        self.folder, self.session = folder, session
        self.workers, self.callbacks = workers, list(callbacks)
        self.ledger = Ledger(folder, self.recipe.monitor)
        self.checkpoint: Checkpoint | None = None
        self.best_before = ""  # name of the checkpoint that was the best at the save before
        self.steps_done = 0
        # Longest seen so far, in seconds of the session's clock: what it must leave room for.
        self.step_seconds = self.save_seconds = self.validation_seconds = 0.0

    def run(self, checkpoint: Checkpoint | None) -> Outcome:
        recipe, classes = self.recipe, len(self.material.training.classes)
        # A checkpoint holds all weights: where the pretrained ones cannot be had, it still resumes.
        spec = dataclasses.replace(recipe.model, weights="none") if checkpoint else recipe.model
        self.model = build_model(spec, classes, seed=recipe.seed)
        self.freezer = Freezer(self.model)
        trained = [self.freezer.apply(phase) for phase in recipe.phases]
        self.forward = make_forward(self.model)
        view = View(recipe.model.size, recipe.model.resize)
        validation = self.material.validation
        self.validator = Loader(validation, view, batch_size=64, workers=self.workers)
        position, arrays = self._restore(checkpoint)
        write_whole(self.folder.recipe, to_json(recipe))
        self._report_left_out()
        self.begun_at = position
        self.ledger.begin_session(self.session.kind, _device())
        self.checkpoint = checkpoint
        if checkpoint is None:
            # A first save shows what a save costs, and that there is room for it.
            self._save(position)
        else:
            say(f"resuming from {checkpoint.name}")
        why = "done"
        with self.validator:
            try:
                while position.phase < len(recipe.phases):
                    position = self._phase(position, arrays)
                    arrays = {}
            except _Stop as stop:
                why = str(stop)
            except BaseException as error:
                self.ledger.end_session(f"failed: {type(error).__name__}")
                raise
            self.ledger.end_session(why)
            done = why == "done"
            accuracy = prove_best(self.folder, self.validator, self.ledger) if done else None
        outcome = Outcome(self.folder.root, done, why, self.ledger.best, accuracy)
        write_result(self.folder, self.material, self.ledger, trained, outcome)
        return outcome

    def _restore(self, checkpoint: Checkpoint | None) -> tuple[Position, dict[str, np.ndarray]]:
        """Take the ledger and the model's weights from a checkpoint; return what is left."""
        if checkpoint is None:
            return Position(), {}
        arrays, state = read_state(checkpoint)
        self.ledger.set(state["ledger"], checkpoint.name)
        self.best_before = self.ledger.best["checkpoint"] if self.ledger.best else ""
        timings = self.ledger.timings
        self.validation_seconds = max((row["validation_seconds"] for row in timings), default=0.0)
        self.ledger.write()
        self._restore_best()
        set_state(_weights(arrays), self.model)
        return checkpoint.position, arrays

    def _report_left_out(self) -> None:
        faults = self.material.left_out
        write_table(self.folder.left_out, map(dataclasses.asdict, faults), LEFT_OUT)
        if faults:
            say(f"{len(faults)} photos cannot be read and are left out: {self.folder.left_out}")

    def _restore_best(self) -> None:
        """Export the best model again where best/ is missing or of another epoch."""
        best = self.ledger.best
        if best is None:
            return
        if is_exported(self.folder, self.material, best):
            return
        arrays, _ = read_state(verify(self.folder.chain / best["checkpoint"]))
        set_state(_weights(arrays), self.model)
        self._export()

    def _phase(self, position: Position, arrays: dict[str, np.ndarray]) -> Position:
        """Train one phase from ``position`` to its end; return the next phase's start."""
        began = self.session.clock()
        self.traced = False
        phase = self.recipe.phases[position.phase]
        trained = self.freezer.apply(phase)
        say(trained.describe(phase))
        loader = Loader(
            self.material.training,
            View(self.recipe.model.size, self.recipe.model.resize, phase.augment),
            batch_size=phase.batch_size,
            seed=self.recipe.seed,
            training=True,
            workers=self.workers,
        )
        self.optimizer = make_optimizer(phase, loader.steps)
        accuracy = keras.metrics.CategoricalAccuracy(name="accuracy")
        loss = keras.losses.CategoricalCrossentropy(label_smoothing=self.recipe.label_smoothing)
        self.model.compile(self.optimizer, loss=loss, metrics=[accuracy])
        # Built before the first step: otherwise the step is traced twice.
        self.optimizer = self.model.optimizer
        self.optimizer.build(self.model.trainable_variables)
        self.model.make_train_function()
        self.metrics = [self.model.metrics[0], accuracy]
        if position.epoch or position.step:
            metrics = self.metrics if position.step else ()
            set_state(arrays, self.model, self.optimizer, metrics)
        hooks = keras.callbacks.CallbackList(
            self.callbacks, model=self.model, epochs=phase.epochs, steps=loader.steps
        )
        self.model.stop_training = False
        hooks.on_train_begin()
        with loader:
            for epoch in range(position.epoch, phase.epochs):
                start = position.step if epoch == position.epoch else 0
                self._epoch(loader, position.phase, epoch, start, hooks, began)
                if self.model.stop_training or epoch + 1 == phase.epochs:
                    break
                self._save(Position(position.phase, epoch + 1))
        hooks.on_train_end()
        after = Position(position.phase + 1)
        self._save(after)
        return after

    def _epoch(
        self,
        loader: Loader,
        number: int,
        epoch: int,
        start: int,
        hooks: Any,
        began: float,
    ) -> None:
        """Train and validate one epoch from step ``start``; put it in the ledger."""
        phase = self.recipe.phases[number]
        overall = sum(before.epochs for before in self.recipe.phases[:number]) + epoch
        if not start:  # else they hold the epoch's first steps
            for metric in self.metrics:
                metric.reset_state()
        hooks.on_epoch_begin(epoch)
        loader.waited, epoch_began = 0.0, time.perf_counter()
        batches = pairs(loader, overall, start)
        label = f"{phase.name} {epoch + 1}/{phase.epochs}"
        with progress(total=loader.steps, initial=start, desc=label, unit="step") as bar:
            shown = time.perf_counter()
            for step in range(start, loader.steps):
                # The first step of a session or phase is traced, and as slow as those before.
                starts = [] if self.traced else self.ledger.starts.values()
                needed = self._needed(max([self.step_seconds, *starts]))
                if why := self.session.must_stop(needed, self.steps_done):
                    self._stop(why, Position(number, epoch, step), phase)
                step_began = self.session.clock()
                hooks.on_train_batch_begin(step)
                logs = self.model.train_function(batches)
                hooks.on_train_batch_end(step, logs)
                now, ended = time.perf_counter(), self.session.clock()
                if self.traced:
                    self.step_seconds = max(self.step_seconds, ended - step_began)
                else:
                    self.ledger.starts.setdefault(phase.name, round(ended - began, 3))
                self.traced = True
                self.steps_done += 1
                self.ledger.session["steps"] += 1
                self.ledger.session["photos"] += loader.batch_size
                bar.update()
                if now - shown > 1:  # reading a value waits for the device
                    values = {name: f"{float(value):.3f}" for name, value in logs.items()}
                    bar.set_postfix(values, refresh=False)
                    shown = now
        loss, accuracy = (float(metric.result()) for metric in self.metrics)
        seconds = time.perf_counter() - epoch_began
        # Before the first validation: as if its photos were training steps, which is too much.
        guess = self.step_seconds * len(self.material.validation) / loader.batch_size
        needed = self._needed(self.validation_seconds or guess)
        if why := self.session.must_stop(needed, 0):
            self._stop(why, Position(number, epoch, loader.steps), phase)
        row = {
            "phase": phase.name,
            "epoch": overall + 1,
            "lr": lr_at(phase, loader.steps, (epoch + 1) * loader.steps - 1),
            "loss": loss,
            "accuracy": accuracy,
        }
        validating = self.session.clock()
        row.update(self._validate())
        checked = self.session.clock() - validating
        self.validation_seconds = max(self.validation_seconds, checked)
        _check_finite(phase, loss, row["val_loss"])
        timing = {
            "phase": phase.name,
            "epoch": overall + 1,
            "session": self.ledger.session["session"],
            "seconds": round(seconds, 3),
            "wait": round(loader.waited, 3),
            "validation_seconds": round(checked, 3),
            "photos": (loader.steps - start) * loader.batch_size,
        }
        self.ledger.add_epoch(row, timing)
        if self.ledger.best and self.ledger.best["epoch"] == row["epoch"]:
            self._export()
        hooks.on_epoch_end(epoch, {k: v for k, v in row.items() if k not in ("phase", "epoch")})
        say(
            f"{label}: loss {loss:.4f}, accuracy {accuracy:.4f}; validation loss "
            f"{row['val_loss']:.4f}, accuracy {row['val_accuracy']:.4f}; {seconds:.1f} s, "
            f"{loader.waited / max(seconds, 1e-9):.0%} of it waiting for photos"
        )

    def _validate(self) -> dict[str, float]:
        """Return loss and accuracy on the validation photos, never augmented."""
        found = probabilities(self.forward, self.validator, "validating")
        truth = np.eye(found.shape[1], dtype=np.float32)[
            list(self.material.validation.labels or ())
        ]
        loss = keras.losses.CategoricalCrossentropy(label_smoothing=self.recipe.label_smoothing)
        hits = np.argmax(found, axis=1) == np.argmax(truth, axis=1)
        return {"val_loss": float(loss(truth, found)), "val_accuracy": float(np.mean(hits))}

    def _needed(self, seconds: float) -> float:
        """Seconds the next piece of work and the save after it may take."""
        if self.session.limit is None:
            return 0.0
        return 1.5 * seconds + 2 * self.save_seconds + MARGIN

    def _stop(self, why: str, position: Position, phase: Phase) -> None:
        if position.step:
            _check_finite(phase, float(self.metrics[0].result()))
        self._save(position)
        if why == "the clock" and position == self.begun_at:
            raise RunError(
                "no step fits into this session, so another like it would get no further either: "
                f"{max(0.0, self.session.left()):.0f} s were left after the start; raise --limit"
            )
        raise _Stop(why)

    def _save(self, position: Position) -> None:
        began = self.session.clock()
        inside = position.epoch or position.step  # of a phase: its optimizer goes on
        arrays = get_state(
            self.model,
            self.optimizer if inside else None,
            self.metrics if position.step else (),
        )
        history = self.ledger.history
        self.checkpoint = write_checkpoint(
            self.folder.chain,
            position=position,
            arrays=arrays,
            state={"recipe": to_dict(self.recipe), "ledger": self.ledger.get()},
            recipe_digest=self.recipe.digest(),
            catalog_digest=self.material.catalog_digest,
            parent=self.checkpoint,
            metrics={k: v for k, v in history[-1].items() if k != "phase"} if history else {},
            versions=versions(),
        )
        self.ledger.saved(self.checkpoint.name)
        best = self.ledger.best["checkpoint"] if self.ledger.best else ""
        # The parent, should this one be damaged, and the best that the parent knows of.
        retain(self.folder.chain, keep=[self.checkpoint.parent, self.best_before, best])
        self.best_before = best
        self.save_seconds = max(self.save_seconds, self.session.clock() - began)

    def _export(self) -> None:
        export_best(self.folder, self.model, self.freezer, self.material, self.ledger.best)


def _weights(arrays: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    return {key: value for key, value in arrays.items() if key.startswith("model/")}


def _check_finite(phase: Phase, *losses: float) -> None:
    if not all(map(math.isfinite, losses)):
        raise RunError(
            f"the loss of phase {phase.name!r} is not finite ({', '.join(map(str, losses))}); what "
            "was saved before is whole: lower the phase's lr and train into another --out"
        )


def _device() -> str:
    devices = tf.config.list_physical_devices("GPU")
    names = [tf.config.experimental.get_device_details(each).get("device_name") for each in devices]
    return ", ".join(str(name) for name in names) or "CPU"
