"""The phase loop: for each phase freeze, compile, train, validate, save; cut anywhere.

Keras' ``fit`` is not called: each call resets its callbacks' state, and none resumes inside
an epoch. The loop drives Keras' own train function one batch at a time instead.
"""

from __future__ import annotations

import dataclasses
import math
import shutil
import time
from collections.abc import Iterable
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from carlib.catalog import class_weights
from carlib.checkpoints import Checkpoint, Position, read_state, retain, write_checkpoint
from carlib.checkpoints.disk import verify
from carlib.checkpoints.state import averaged, get_state, set_state
from carlib.errors import RunError
from carlib.files import write_whole
from carlib.freeze import Freezer
from carlib.loader import Loader, View, Workers
from carlib.models.build import build_model
from carlib.predict import make_forward
from carlib.progress import progress, say
from carlib.runfolder import LEFT_OUT, Row, RunFolder, write_table
from carlib.schedules import Patience, lr_of
from carlib.session import Session
from carlib.spec import Phase, to_dict, to_json
from carlib.train.clock import Clock
from carlib.train.ledger import Ledger, versions
from carlib.train.outcome import (
    Material,
    Outcome,
    export_best,
    is_exported,
    prove_best,
    write_result,
)
from carlib.train.stage import VALIDATION_BATCH, Stage
from carlib.watch import watch


class _Stop(Exception):
    """The session must end; the state is saved."""


class Training:
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
        validates = len(material.validation) > 0
        self.ledger = Ledger(folder, self.recipe.monitor, material.higher, validates)
        self.checkpoint: Checkpoint | None = None
        self.best_before = ""  # name of the checkpoint that was the best at the save before
        self.clock = Clock(session)
        self.warned: set[str] = set()
        self.validator: Loader | None = None
        if validates:
            view = View(self.recipe.model.size, self.recipe.model.resize)
            self.validator = Loader(
                material.validation, view, batch_size=VALIDATION_BATCH, workers=workers
            )
        balanced = self.recipe.class_weights == "balanced"
        self.weights = class_weights(material.training) if balanced else None

    def run(self, checkpoint: Checkpoint | None) -> Outcome:
        recipe, classes = self.recipe, len(self.material.training.classes)
        # A checkpoint holds all weights: where the pretrained ones cannot be had, it still resumes.
        spec = dataclasses.replace(recipe.model, weights="none") if checkpoint else recipe.model
        self.model = build_model(spec, classes, seed=recipe.seed)
        self.freezer = Freezer(self.model)
        trained = [self.freezer.apply(phase) for phase in recipe.phases]
        self.forward = make_forward(self.model)
        position, arrays, patience = self._restore(checkpoint)
        if not any(phase.views for phase in recipe.phases[position.phase : position.phase + 1]):
            shutil.rmtree(self.folder.features, ignore_errors=True)  # of a phase that is done
        write_whole(self.folder.recipe, to_json(recipe))
        self._report_left_out()
        self.begun_at = position
        self.ledger.begin_session(self.session.kind, _device())
        self.checkpoint = checkpoint
        self.stage: Stage | None = None
        if checkpoint is None:
            # A first save shows what a save costs, and that there is room for it.
            self._save(position)
        else:
            say(f"resuming from {checkpoint.name}")
        why = "done"
        try:
            while position.phase < len(recipe.phases):
                position = self._phase(position, arrays, patience)
                arrays, patience = {}, Patience()
        except _Stop as stop:
            why = str(stop)
        except BaseException as error:
            self.ledger.end_session(f"failed: {type(error).__name__}")
            raise
        finally:
            if self.validator is not None:
                self.validator.close()
        self.ledger.end_session(why)
        done = why == "done"
        accuracy = prove_best(self.folder, self.validator, self.ledger) if done else None
        outcome = Outcome(self.folder.root, done, why, self.ledger.best, accuracy)
        write_result(self.folder, self.material, self.ledger, trained, outcome)
        return outcome

    def _restore(
        self, checkpoint: Checkpoint | None
    ) -> tuple[Position, dict[str, np.ndarray], Patience]:
        """Take the ledger and the model's weights from a checkpoint; return what is left."""
        if checkpoint is None:
            return Position(), {}, Patience()
        arrays, state = read_state(checkpoint)
        self.ledger.set(state["ledger"], checkpoint.name)
        self.best_before = self.ledger.best["checkpoint"] if self.ledger.best else ""
        through = {phase.name for phase in self.recipe.phases if not phase.views}
        validations = (
            row["validation_seconds"] for row in self.ledger.timings if row["phase"] in through
        )
        self.clock.validation = max(validations, default=0.0)
        self.ledger.write()
        self._restore_best()
        set_state(_weights(arrays), self.model)
        return checkpoint.position, arrays, Patience.of(state["patience"])

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
        self._load(best["checkpoint"])
        self._export()

    def _load(self, name: str) -> None:
        """Give the model the weights that a checkpoint's epoch was validated with."""
        arrays, _ = read_state(verify(self.folder.chain / name))
        set_state(averaged(arrays), self.model)

    def _phase(
        self, position: Position, arrays: dict[str, np.ndarray], patience: Patience
    ) -> Position:
        """Train one phase from ``position`` to its end; return the next phase's start."""
        began, self.traced = self.clock.now(), False
        stage = self.stage = Stage(
            self.model,
            self.freezer,
            self.material,
            position.phase,
            self.folder,
            self.workers,
            self.weights,
        )
        phase = stage.phase
        say(stage.trained.describe(phase))
        if position.epoch or position.step:
            stage.patience = patience
            stage.set_state(arrays, position.step > 0)
        hooks = keras.callbacks.CallbackList(
            self.callbacks, model=stage.trainer, epochs=phase.epochs, steps=stage.loader.steps
        )
        stage.trainer.stop_training = False
        hooks.on_train_begin()
        why = "all epochs"
        with stage.loader:
            for epoch in range(position.epoch, phase.epochs):
                start = position.step if epoch == position.epoch else 0
                ends = self._epoch(stage, Position(position.phase, epoch, start), hooks, began)
                if epoch + 1 == phase.epochs:
                    break
                if ends or stage.trainer.stop_training:
                    why = "early stop" if ends else "a callback"
                    say(f"phase {phase.name!r} ends after {epoch + 1} epochs: {why}")
                    break
                self._save(Position(position.phase, epoch + 1))
        hooks.on_train_end()
        stage.settle()
        best = self.ledger.best
        if phase.restore_best and best and best["checkpoint"]:  # "": it is the one just finished
            self._load(best["checkpoint"])
        self.ledger.ended[phase.name] = why
        self.stage = None
        after = Position(position.phase + 1)
        self._save(after)
        stage.remove_caches()
        return after

    def _epoch(self, stage: Stage, position: Position, hooks: Any, began: float) -> bool:
        """Train and validate one epoch from a step on; return whether the phase must end."""
        phase, loader, epoch = stage.phase, stage.loader, position.epoch
        first = sum(before.epochs for before in self.recipe.phases[: position.phase])
        caching = self._cache(stage, position, first)
        if not position.step:  # else they hold the epoch's first steps
            for metric in stage.metrics:
                metric.reset_state()
        hooks.on_epoch_begin(epoch)
        loader.waited, epoch_began = 0.0, time.perf_counter()
        batches = stage.batches(epoch, first, position.step)
        label = f"{phase.name} {epoch + 1}/{phase.epochs}"
        with progress(total=loader.steps, initial=position.step, desc=label, unit="step") as bar:
            shown = time.perf_counter()
            for step in range(position.step, loader.steps):
                # The first step of a session or phase is traced, and as slow as those before.
                starts: list[float] = []
                if not self.traced and not stage.caches:
                    # Where only heads were trained so far, the network's pass is known from their
                    # features; a training step costs about three.
                    starts = [*self._starts(), 3 * self.clock.features]
                if why := self.clock.before_step(starts):
                    self._stop(why, dataclasses.replace(position, step=step))
                step_began = self.clock.now()
                hooks.on_train_batch_begin(step)
                logs = stage.trainer.train_function(batches)
                hooks.on_train_batch_end(step, logs)
                now, ended = time.perf_counter(), self.clock.now()
                if self.traced:
                    self.clock.step = max(self.clock.step, ended - step_began)
                else:
                    self.ledger.starts.setdefault(phase.name, round(ended - began - caching, 3))
                self.traced = True
                self.clock.steps += 1
                self.ledger.session["steps"] += 1
                self.ledger.session["photos"] += loader.batch_size
                bar.update()
                if now - shown > 1:  # reading a value waits for the device
                    values = {name: float(value) for name, value in logs.items()}
                    _check_finite(phase, values["loss"])
                    bar.set_postfix({k: f"{v:.3f}" for k, v in values.items()}, refresh=False)
                    shown = now
        loss, accuracy = (float(metric.result()) for metric in stage.metrics)
        _check_finite(phase, loss)
        seconds = time.perf_counter() - epoch_began
        if self.validator is not None and not stage.caches:  # on features it takes no time
            larger = (self.recipe.model.size / loader.items.view.size) ** 2
            photos = len(self.material.validation) * max(1.0, larger)
            if why := self.clock.before_validation(photos, loader.batch_size):
                self._stop(why, dataclasses.replace(position, step=loader.steps))
        row = {
            "phase": phase.name,
            "epoch": len(self.ledger.history) + 1,
            "lr_start": lr_of(stage.schedule, epoch * loader.steps),
            "lr": lr_of(stage.schedule, (epoch + 1) * loader.steps - 1),
            "loss": loss,
            "accuracy": accuracy,
        }
        validating = self.clock.now()
        with stage.averaged():
            if self.validator is not None:
                row.update(self._validate(stage, self.validator))
                _check_finite(phase, row["val_loss"])
            checked = self.clock.now() - validating
            if not stage.caches:
                self.clock.validation = max(self.clock.validation, checked)
            timing = {
                "phase": phase.name,
                "epoch": row["epoch"],
                "session": self.ledger.session["session"],
                "seconds": round(seconds, 3),
                "wait": round(loader.waited, 3),
                "validation_seconds": round(checked, 3),
                "photos": (loader.steps - position.step) * loader.batch_size,
            }
            self.ledger.add_epoch(row, timing)
            if self.ledger.best and self.ledger.best["epoch"] == row["epoch"]:
                self._export()
        hooks.on_epoch_end(epoch, {k: v for k, v in row.items() if k not in ("phase", "epoch")})
        self._tell(label, row, timing)
        return stage.observe(row, higher=self.material.higher)

    def _validate(self, stage: Stage, validator: Loader) -> dict[str, float]:
        return stage.validate(self.forward, validator)

    def _cache(self, stage: Stage, position: Position, first: int) -> float:
        """Have the features that an epoch needs; return the seconds that it took."""
        if not stage.caches:
            return 0.0
        began = self.clock.now()

        def stop(why: str) -> None:
            kept = any(cache.kept for cache in stage.caches)
            self._stop(why, position, "" if kept else "no view of the features")

        stage.prepare(position.epoch, first, self.clock.feature_check(self._starts(), stop))
        seconds = self.clock.now() - began
        so_far = self.ledger.features.get(stage.phase.name, 0.0)
        self.ledger.features[stage.phase.name] = round(so_far + seconds, 3)
        return seconds

    def _starts(self) -> list[float]:
        """Seconds of the first steps so far, those on cached features left out."""
        through = [phase.name for phase in self.recipe.phases if not phase.views]
        return [self.ledger.starts[name] for name in through if name in self.ledger.starts]

    def _tell(self, label: str, row: Row, timing: Row) -> None:
        """Print a finished epoch, and what the course so far warns of, each warning once."""
        checked = ""
        if "val_loss" in row:
            checked = (
                f"; validation loss {row['val_loss']:.4f}, accuracy {row['val_accuracy']:.4f}, "
                f"macro F1 {row['val_macro_f1']:.4f}"
            )
        seconds, wait = timing["seconds"], timing["wait"]
        say(
            f"{label}: loss {row['loss']:.4f}, accuracy {row['accuracy']:.4f}{checked}; "
            f"{seconds:.1f} s, {wait / max(seconds, 1e-9):.0%} of it waiting for photos"
        )
        classes, photos = len(self.material.training.classes), len(self.material.validation)
        for sentence in watch(self.ledger.history, classes, photos):
            kind = sentence.partition(":")[0]
            if kind not in self.warned:
                self.warned.add(kind)
                say(f"warning: {sentence}")

    def _stop(self, why: str, position: Position, undone: str = "no step") -> None:
        """Save and end the session; it is an error if ``undone`` fits and nothing was done."""
        if position.step and self.stage is not None:
            _check_finite(self.stage.phase, float(self.stage.metrics[0].result()))
        self._save(position)
        if undone and why == "the clock" and position == self.begun_at:
            raise RunError(
                f"{undone} fits into this session, so another like it would get no further either: "
                f"{max(0.0, self.session.left()):.0f} s were left after the start; raise --limit"
            )
        raise _Stop(why)

    def _save(self, position: Position) -> None:
        began = self.clock.now()
        # Inside a phase, its optimizer and its patience go on.
        inside = self.stage if position.epoch or position.step else None
        arrays = inside.get_state(position.step > 0) if inside else get_state(self.model)
        history = self.ledger.history
        self.checkpoint = write_checkpoint(
            self.folder.chain,
            position=position,
            arrays=arrays,
            state={
                "recipe": to_dict(self.recipe),
                "ledger": self.ledger.get(),
                "patience": (inside.patience if inside else Patience()).get(),
            },
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
        self.clock.save = max(self.clock.save, self.clock.now() - began)

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
