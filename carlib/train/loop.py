"""The phase loop: for each phase freeze, compile, train, validate, save; cut anywhere.

Keras' ``fit`` is not called: each call resets its callbacks' state, and none resumes inside
an epoch. The loop drives Keras' own train function one batch at a time instead.
"""

from __future__ import annotations

import dataclasses
import gc
import platform
import shutil
import time
from collections.abc import Iterable
from contextlib import suppress
from typing import Any, NoReturn

import keras
import numpy as np
import tensorflow as tf

from carlib.catalog import class_weights
from carlib.checkpoints import Position, Stateful
from carlib.errors import CarlibError, RunError
from carlib.files import write_whole
from carlib.freeze import Freezer
from carlib.interrupts import stopping
from carlib.loader import Loader, View, Workers
from carlib.memory.present import device_names, present_device
from carlib.models.build import build_model
from carlib.predict import make_forward, wanted
from carlib.progress import progress, say
from carlib.runfolder import RunFolder
from carlib.session import Every, Session
from carlib.spec import to_json
from carlib.train.clock import Clock, Cut
from carlib.train.fitting import fit_phases, in_steps, shrunk
from carlib.train.keeper import Keeper
from carlib.train.ledger import Ledger
from carlib.train.outcome import Material, Outcome, prove_best, write_left_out, write_result
from carlib.train.resources import check_disk, check_memory, room_of
from carlib.train.saver import Saver
from carlib.train.stage import VALIDATION_BATCH, Stage
from carlib.train.start import Start
from carlib.train.state import State
from carlib.train.teller import Teller
from carlib.train.undo import Undo


class _Stop(Exception):
    """The session must end; the state is saved."""


class _OutOfMemory(Exception):
    """A training step did not fit; the variables may be changed halfway."""


class Training:
    """One session of one run."""

    def __init__(
        self,
        material: Material,
        folder: RunFolder,
        session: Session,
        workers: Workers,
        callbacks: Iterable[keras.callbacks.Callback],
        every: Every | None,
        budget: int | None,
        began: float,
    ):
        self.material, self.recipe = material, material.recipe
        self.folder, self.session = folder, session
        self.workers, self.callbacks, self.budget = workers, list(callbacks), budget
        validates = len(material.validation) > 0
        self.ledger = Ledger(folder, self.recipe.monitor, material.higher, validates)
        self.clock = Clock(session, began)
        self.saver = Saver(folder.chain, self.clock.now, every, budget)
        self.stage: Stage | None = None
        classes = len(material.training.classes)
        self.teller = Teller(self.ledger, classes, len(material.validation))
        self.validator: Loader | None = None
        if validates:
            view = View(self.recipe.model.size, self.recipe.model.resize)
            self.validator = Loader(
                material.validation, view, batch_size=VALIDATION_BATCH, workers=workers
            )
        balanced = self.recipe.class_weights == "balanced"
        self.weights = class_weights(material.training) if balanced else None

    def run(self, start: Start) -> Outcome:
        recipe, classes = self.recipe, len(self.material.training.classes)
        checkpoint = start.checkpoint
        # A checkpoint holds all weights: where the pretrained ones cannot be had, it still resumes.
        spec = dataclasses.replace(recipe.model, weights="none") if checkpoint else recipe.model
        self.model = build_model(spec, classes, seed=recipe.seed)
        self.freezer = Freezer(self.model)
        trained = [self.freezer.apply(phase) for phase in recipe.phases]
        self.forward = make_forward(self.model)
        self.state = State(self.model, self.ledger, self.callbacks)
        undo = self._fit(self.state.read(checkpoint) if checkpoint else None)
        position = undo.position if undo else Position()
        if undo:
            through = [phase.name for phase in recipe.phases if not phase.views]
            self.clock.validation = self.ledger.longest_validation(through)
            self.ledger.writer()()
        self.keeper = Keeper(
            self.material,
            self.model,
            self.freezer,
            self.ledger,
            self.clock,
            self.saver,
            self._parts,
            checkpoint,
            start.origin,
            undo,
        )
        self.clock.reserve = self.keeper.reserve
        self.keeper.restore_best_model()
        if not any(phase.views for phase in recipe.phases[position.phase : position.phase + 1]):
            shutil.rmtree(self.folder.features, ignore_errors=True)  # of a phase that is done
        write_whole(self.folder.recipe, to_json(recipe))
        write_left_out(self.folder, self.material.left_out)
        self.begun_at = position
        where = f"{self.session.kind}, {platform.node()}"
        unclosed = "branched off" if start.branch else "killed"
        self.ledger.begin_session(
            where, device_names(), start.describe(), self.clock.spent(), unclosed
        )
        with stopping(self.session):
            why = self._go_on(position)
        done = why == "done"
        accuracy = prove_best(self.folder, self.validator, self.ledger) if done else None
        outcome = Outcome(self.folder.root, done, why, self.ledger.best, accuracy)
        write_result(self.folder, self.material, self.ledger, trained, outcome)
        return outcome

    def _go_on(self, position: Position) -> str:
        """Train from a position on; return why the session ends, all of it saved."""
        try:
            if self.ledger.session["parent"]:
                say(f"resuming from {self.ledger.session['parent']}")
            else:
                # A first save shows what a save costs, and that there is room for it.
                self.keeper.save(position, "start", wait=True)
            say(self.saver.describe())
            while position.phase < len(self.recipe.phases):
                try:
                    position = self._phase(position)
                    continue
                except _OutOfMemory as error:
                    why = str(error)
                # Not in the except: its error holds on to the step, and to its memory.
                position = self._shrink(position.phase, why)
            self.saver.wait()
            # The saved model is proved by one more validation; a session that has done something
            # may leave that to the next.
            why = "done"
            if self.validator and position != self.begun_at:
                why = self.clock.before_proof(self.validator.steps) or why
        except _Stop as stop:
            why = str(stop)
        except BaseException as error:
            self._fail(error)
            raise
        finally:
            if self.validator is not None:
                self.validator.close()
        self._close(why)
        return why

    def _close(self, why: str) -> None:
        """Close the session's row, and say what its saves cost."""
        passed = max(self.clock.spent(), 1e-9)
        self.ledger.note(passed, self.saver.saves, self.saver.blocked)
        self.ledger.end_session(why)
        self.ledger.writer()()
        say(
            f"{self.saver.saves} saves held the training up for {self.saver.blocked:.1f} s "
            f"({self.saver.blocked / passed:.1%} of the session)"
        )

    def _fail(self, error: BaseException) -> None:
        """Close the session's row after a failure; a save under way ends first, good or bad."""
        with suppress(BaseException):
            self.saver.wait()
        self.ledger.note(self.clock.spent(), self.saver.saves, self.saver.blocked)
        self.ledger.end_session(f"failed: {type(error).__name__}")
        with suppress(CarlibError, OSError):  # a full disk, say: the first error is the one to show
            self.ledger.writer()()

    def _parts(self, position: Position) -> list[Stateful]:
        """Return all that belongs to the run's state at a position."""
        if self.stage is None:
            return self.state.parts({})
        parts = self.state.parts(self.stage.fixed)
        # Inside a phase, its optimizer and its patience go on.
        if position.epoch or position.step:
            parts += self.stage.parts(position.step > 0)
        return parts

    def _fit(self, undo: Undo | None) -> Undo | None:
        """See that what is to come has room; return the state in steps that fit."""
        position = undo.position if undo else Position()
        of = self.model, self.freezer, self.material, position, self.workers
        room = room_of(*of)
        check_disk(room, self.folder, self.session, self.budget)
        device, photos = present_device(room.memory), len(self.material.training)
        kept = self.ledger.fitted
        self.ledger.fitted = fit_phases(
            self.model, self.freezer, self.recipe, photos, position, kept, device
        )
        check_memory(room_of(*of, self.ledger.fitted))
        return undo and in_steps(undo, self.recipe, photos, kept, self.ledger.fitted)

    def _shrink(self, number: int, why: str) -> Position:
        """Go back to the newest save after a step that did not fit; go on in smaller ones."""
        phase, undo, fitted = self.recipe.phases[number], self.keeper.undo, self.ledger.fitted
        assert undo is not None
        assert self.stage is not None
        smaller = shrunk(phase, fitted[phase.name], why, undo)
        self.stage.release()
        self.stage = None
        gc.collect()
        self.state.go_back(undo)
        self.ledger.fitted = {**fitted, phase.name: smaller}
        again = undo.split(fitted[phase.name].batch_size // smaller.batch_size)
        self.begun_at = again.position if self.begun_at == undo.position else self.begun_at
        self.keeper.went_back(again)
        self.clock.recent.clear()
        return again.position

    def _phase(self, position: Position) -> Position:
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
            self.ledger.fitted[self.recipe.phases[position.phase].name],
        )
        gc.collect()  # an earlier phase's optimizer, of which only itself knows any more
        phase = stage.phase
        stage.trainer.stop_training = False
        say(stage.trained.describe(phase))
        if self.keeper.undo and (position.epoch or position.step):
            stage.restore(self.keeper.undo, position)
        self.keeper.phase_began()
        hooks = keras.callbacks.CallbackList(
            self.callbacks, model=stage.trainer, epochs=phase.epochs, steps=stage.loader.steps
        )
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
                self.keeper.epoch_ended(Position(position.phase, epoch + 1))
        hooks.on_train_end()
        stage.settle()
        if phase.restore_best:
            self.keeper.load_best()
        self.keeper.export_behind()
        self.ledger.ended[phase.name] = why
        self.stage = None
        after = Position(position.phase + 1)
        if after.phase == len(self.recipe.phases):
            self.ledger.end_session("done")
        # The features go only when nothing can want them again.
        self.keeper.save(after, "phase", wait=bool(stage.caches))
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
                if step > position.step:
                    self._save_if_due(stage, dataclasses.replace(position, step=step))
                step_began = self.clock.now()
                hooks.on_train_batch_begin(step)
                try:
                    logs = stage.trainer.train_function(batches)
                except tf.errors.ResourceExhaustedError as error:
                    raise _OutOfMemory(wanted(error)) from None
                hooks.on_train_batch_end(step, logs)
                now, ended = time.perf_counter(), self.clock.now()
                if self.traced:
                    self.clock.recent.append(ended - step_began)
                else:
                    self.ledger.starts.setdefault(phase.name, round(ended - began - caching, 3))
                self.traced = True
                self.clock.steps += 1
                self.ledger.session["steps"] += 1
                self.ledger.session["photos"] += loader.batch_size
                bar.update()
                if now - shown > 1:  # reading a value waits for the device
                    values = {name: float(value) for name, value in logs.items()}
                    stage.check_loss(values["loss"])
                    bar.set_postfix({k: f"{v:.3f}" for k, v in values.items()}, refresh=False)
                    shown = now
        stage.check_loss()
        seconds = time.perf_counter() - epoch_began
        if self.validator is not None and not stage.caches:  # on features it takes no time
            larger = (self.recipe.model.size / loader.items.view.size) ** 2
            photos = len(self.material.validation) * max(1.0, larger)
            if why := self.clock.before_validation(photos, loader.batch_size):
                self._stop(why, dataclasses.replace(position, step=loader.steps))
            self._save_if_due(stage, dataclasses.replace(position, step=loader.steps))
        row, right = stage.row(epoch, len(self.ledger.history) + 1), None
        validating = self.clock.now()
        try:
            with stage.averaged():
                if self.validator is not None:
                    values, right = self._validate(stage, self.validator)
                    row.update(values)
                    stage.check_loss(row["val_loss"])
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
                self.ledger.add_epoch(row, timing, right)
                if self.ledger.best and self.ledger.best["epoch"] == row["epoch"]:
                    self.keeper.epoch_is_best()
        except Cut as cut:  # in validation: it comes first in the next session
            self._stop(str(cut), dataclasses.replace(position, step=loader.steps))
        hooks.on_epoch_end(epoch, {k: v for k, v in row.items() if k not in ("phase", "epoch")})
        self.teller.tell(label, row, timing)
        return stage.observe(row, higher=self.material.higher)

    def _validate(self, stage: Stage, validator: Loader) -> tuple[dict[str, float], np.ndarray]:
        return stage.validate(self.forward, validator, self.clock.check("batch"))

    def _cache(self, stage: Stage, position: Position, first: int) -> float:
        """Have the features that an epoch needs; return the seconds that it took."""
        if not stage.caches:
            return 0.0
        began, cut = self.clock.now(), ""
        try:
            stage.prepare(position.epoch, first, self.clock.check("features", self._starts()))
        except Cut as error:
            cut = str(error)
        seconds = self.clock.now() - began
        so_far = self.ledger.features.get(stage.phase.name, 0.0)
        self.ledger.features[stage.phase.name] = round(so_far + seconds, 3)
        if cut:
            kept = any(cache.kept for cache in stage.caches)
            self._stop(cut, position, "" if kept else "no view of the features")
        return seconds

    def _starts(self) -> list[float]:
        """Seconds of the first steps so far, those on cached features left out."""
        through = [phase.name for phase in self.recipe.phases if not phase.views]
        return [self.ledger.starts[name] for name in through if name in self.ledger.starts]

    def _stop(self, why: str, position: Position, undone: str = "no step") -> NoReturn:
        """Save and end the session; it is an error if ``undone`` fits and nothing was done."""
        if position.step and self.stage is not None:
            self.stage.check_loss()
        self.ledger.end_session(why)
        self.keeper.save(position, why)
        self.keeper.export_behind()
        self.saver.wait()
        if undone and why == "the clock" and position == self.begun_at:
            raise RunError(
                f"{undone} fits into this session, so another like it would get no further either: "
                f"{max(0.0, self.session.left()):.0f} s were left after the start; raise --limit"
            )
        raise _Stop(why)

    def _save_if_due(self, stage: Stage, position: Position) -> None:
        self.saver.poll()
        if self.saver.due(self.clock.steps):
            stage.check_loss()
            self.keeper.save(position, "interval")
