"""A phase made ready to train: frozen, compiled, with its batches, averages and patience."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import keras
import numpy as np

from carlib.batches import pair, pairs
from carlib.checkpoints import Position, Stateful
from carlib.checkpoints.parts import restore
from carlib.checkpoints.state import metrics_state, model_state, optimizer_state
from carlib.errors import RunError
from carlib.features import FeatureCache, body_of
from carlib.freeze import Freezer
from carlib.loader import Batch, Loader, View, Workers
from carlib.metrics import measure
from carlib.models.build import resized
from carlib.predict import Forward, make_forward, probabilities
from carlib.runfolder import Row, RunFolder
from carlib.schedules import Patience, lr_of, make_schedule
from carlib.steps import compile_trainer, loss_of, trainer_of
from carlib.train.fitted import Fitted
from carlib.train.outcome import Material
from carlib.train.undo import ACCUMULATOR, Undo

VALIDATION_BATCH = 64
# Of the state, where a phase goes on.
PARTS = ("optimizer", "patience", "asked", "features", "metrics")


class Stage:
    """One phase of one run, built anew by each session that comes to it.

    Args:
        model: The run's.
        freezer: Of the model; the phase's freezing is applied here.
        material: Recipe and photos.
        number: Of the phase.
        folder: Where cached features lie.
        workers: Who loads photos.
        weights: Of the classes, or None.
        fitted: Photos a step.
    """

    def __init__(
        self,
        model: keras.Model,
        freezer: Freezer,
        material: Material,
        number: int,
        folder: RunFolder,
        workers: Workers,
        weights: Sequence[float] | None,
        fitted: Fitted,
    ):
        recipe = material.recipe
        self.model, self.phase, self.weights = model, fitted.of(recipe.phases[number]), weights
        self.fitted = fitted
        self.recipe, self.classes = recipe, len(material.training.classes)
        self.trained = freezer.apply(self.phase)
        view = View.of(recipe.model, self.phase)
        options: dict[str, Any] = {"seed": recipe.seed, "workers": workers}
        self.loader = Loader(
            material.training,
            view,
            batch_size=fitted.batch_size,
            training=True,
            together=fitted.steps,
            **options,
        )
        self.caches: list[FeatureCache] = []
        if self.phase.views:
            plain = View(recipe.model.size, recipe.model.resize)
            body = body_of(model)
            for catalog, seen in ((material.training, view), (material.validation, plain)):
                if len(catalog):
                    loader = Loader(catalog, seen, batch_size=VALIDATION_BATCH, **options)
                    what = f"caching features, {self.phase.name}"
                    part = resized(body, seen.size), loader, material.catalog_digest, what
                    self.caches.append(FeatureCache(folder.features, *part))
        self.schedule = make_schedule(self.phase, self.loader.steps)
        self.patience = Patience()
        self.trainer = trainer_of(model, recipe, self.phase)
        if self.phase.views:
            self._head = make_forward(self.trainer, self.trainer.input.dtype)
        self._compile()
        # On kept features nothing below the head moves: one copy of it does for all snapshots.
        own = {id(variable) for variable in self.trainer.variables} if self.caches else None
        self.fixed: dict[str, np.ndarray] = {}
        if own is not None:
            whole = model_state(model)
            moving = [key for key, each in whole.variables.items() if id(each) in own]
            self.fixed = {k: v for k, v in whole.get().items() if k not in moving}

    def _compile(self) -> None:
        self.metrics = compile_trainer(self.trainer, self.recipe, self.phase, self.schedule)
        self.optimizer = self.trainer.optimizer  # mixed precision has wrapped it

    def prepare(self, epoch: int, first: int, check: Callable[[], None]) -> None:
        """Have the features that an epoch needs.

        Args:
            epoch: Of the phase.
            first: Number of the phase's first epoch over the whole run.
            check: Called before each batch that has to go through the network.
        """
        self.caches[0].view(first + epoch % self.phase.views, check)
        for cache in self.caches[1:]:
            cache.view(0, check)

    def batches(self, epoch: int, first: int, start: int) -> Iterator[Any]:
        """Yield what Keras' train function takes, from step ``start`` of an epoch.

        Args:
            epoch: Of the phase.
            first: Number of the phase's first epoch over the whole run.
            start: Step.
        """
        if not self.caches:
            yield from pairs(self.loader, first + epoch, start, self.weights)
            return
        features = self.caches[0].view(first + epoch % self.phase.views)
        order, size = self.loader.order(first + epoch), self.loader.batch_size
        labels = np.array(self.loader.catalog.labels)
        for step in range(start, self.loader.steps):
            numbers = order[step * size : (step + 1) * size]
            batch = Batch(numbers, features[numbers], labels[numbers])
            yield pair(batch, self.classes, self.weights)

    def validate(
        self, forward: Forward, validator: Loader, check: Callable[[], None]
    ) -> tuple[dict[str, float], np.ndarray]:
        """Return loss and metrics on the validation photos, never augmented, by val_<name>.

        And of each photo whether its most probable class is its label, as the accuracy counts it.

        Args:
            forward: Of the whole model.
            validator: The validation photos.
            check: Called before each batch that has to go through the network.
        """
        if self.caches:
            found = np.asarray(self._head(self.caches[1].view(0)), np.float32)
        else:
            found = probabilities(forward, validator, "validating", check)
        labels = np.array(validator.catalog.labels)
        truth = np.eye(self.classes, dtype=np.float32)[labels]
        values = {"loss": float(loss_of(self.recipe)(truth, found))}
        values.update(measure(truth, found, self.recipe.monitor))
        return {f"val_{name}": value for name, value in values.items()}, found.argmax(1) == labels

    def row(self, epoch: int, number: int) -> Row:
        """Return a trained epoch's row of the history, before its validation.

        Args:
            epoch: Of the phase.
            number: Of the run's epoch, counted from 1.
        """
        loss, accuracy = (float(metric.result()) for metric in self.metrics)
        steps = self.loader.steps
        return {
            "phase": self.phase.name,
            "epoch": number,
            "lr_start": lr_of(self.schedule, epoch * steps),
            "lr": lr_of(self.schedule, (epoch + 1) * steps - 1),
            "loss": loss,
            "accuracy": accuracy,
        }

    def observe(self, row: Row, *, higher: bool) -> bool:
        """Take in an epoch's validation; return whether the phase must end."""
        monitored = f"val_{self.recipe.monitor}"
        if monitored not in row:
            return False
        ends = self.patience.take(self.phase, row[monitored], higher=higher)
        self.patience.apply(self.schedule)
        return ends

    @contextmanager
    def averaged(self) -> Iterator[None]:
        """Give the model the moving average of its weights, where the phase has one."""
        kept = [np.array(variable) for variable in self._averaging()]
        self.settle()
        try:
            yield
        finally:
            for variable, value in zip(self._averaging(), kept, strict=True):
                variable.assign(value)

    def settle(self) -> None:
        """Leave the model with the moving average of its weights, where the phase has one."""
        if variables := self._averaging():
            self.optimizer.finalize_variable_values(variables)

    def _averaging(self) -> list[Any]:
        return list(self.trainer.trainable_variables) if self.phase.ema else []

    def parts(self, inside_epoch: bool) -> list[Stateful]:
        """Return what the phase remembers beside the model's variables.

        Args:
            inside_epoch: The metrics have counts of the epoch's steps so far.
        """
        found: list[Stateful] = [optimizer_state(self.optimizer), self.patience]
        found.append(_Asked(self.trainer))
        if self.caches:
            found.append(_Features(self.caches))
        if inside_epoch:
            found.append(metrics_state(self.metrics))
        return found

    def restore(self, undo: Undo, position: Position) -> None:
        """Take back what the phase remembers.

        Args:
            undo: A state inside this phase, in steps of ``fitted``.
            position: Of it.
        """
        parts = self.parts(position.step > 0)
        arrays = dict(undo.arrays)
        if self.fitted.steps > 1:
            # A run that had one step an update until now has gradients of none in store.
            for key, variable in optimizer_state(self.optimizer).variables.items():
                if key.endswith(ACCUMULATOR):
                    arrays.setdefault(f"optimizer/{key}", np.zeros(variable.shape, np.float32))
        others = set(undo.values) - set(PARTS)  # the run's
        restore(parts, arrays, undo.values, others)
        self.patience.apply(self.schedule)

    def release(self) -> None:
        """Let go of the optimizer and the traced step: the model would keep both, and their memory.

        The phase cannot go on from here.
        """
        self.trainer.compile("sgd")  # one that holds nothing takes their place
        self.optimizer = None

    def check_loss(self, *losses: float) -> None:
        """Raise RunError for a loss that is not finite.

        Args:
            losses: Defaults to the epoch's so far.
        """
        losses = losses or (float(self.metrics[0].result()),)
        if not all(map(math.isfinite, losses)):
            raise RunError(
                f"the loss of phase {self.phase.name!r} is not finite "
                f"({', '.join(map(str, losses))}); what was saved before is whole: lower the "
                "phase's lr and train into another --out"
            )

    def remove_caches(self) -> None:
        """Remove the features of a finished phase: no other has a use for them."""
        for cache in self.caches:
            cache.remove()


class _Asked:
    """Whether a callback has asked the phase to end, as a part of the state."""

    name = "asked"

    def __init__(self, trainer: keras.Model):
        self.trainer = trainer

    def get(self) -> dict[str, Any]:
        return {"stop_training": bool(self.trainer.stop_training)}

    def set(self, state: Mapping[str, Any], /) -> None:
        self.trainer.stop_training = state["stop_training"]


class _Features:
    """Which features a head was trained on, as a part of the state."""

    name = "features"

    def __init__(self, caches: Sequence[FeatureCache]):
        self.caches = caches

    def get(self) -> dict[str, Any]:
        return {"identities": [cache.identity for cache in self.caches]}

    def set(self, state: Mapping[str, Any], /) -> None:
        if state != self.get():
            raise RunError(
                "the features that this phase was trained on cannot be made again: its frozen "
                "network, its photos or a preset of your own differ; resume with the run's own "
                "chain, photos and --use"
            )
