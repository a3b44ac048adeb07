"""Steps measured: a recipe's phases for a few seconds each, on the device that is there.

Everything is made as a run makes it (``carlib.train.stage``), on the run's own photos, with the
workers beside the training: where photos are late, that is in the figure. Nothing stays on
the disk.
"""

from __future__ import annotations

import dataclasses
import gc
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import keras
import numpy as np

from carlib.audit import audit
from carlib.batches import pair
from carlib.catalog import Catalog, class_weights
from carlib.checkpoints import Position, Snapshot, write_checkpoint
from carlib.checkpoints.parts import collect
from carlib.checkpoints.state import model_state
from carlib.errors import DataError
from carlib.features import body_of
from carlib.freeze import Freezer
from carlib.loader import AHEAD, Batch, Loader, View, Workers
from carlib.metrics import is_higher_better, measure
from carlib.models.build import resized
from carlib.plan.noun import Around, Pace
from carlib.predict import make_forward, open_model, probabilities
from carlib.progress import progress
from carlib.runfolder import RunFolder
from carlib.spec import Phase, Recipe
from carlib.steps import loss_of
from carlib.train.fitted import Fitted
from carlib.train.outcome import Material, export_best
from carlib.train.stage import VALIDATION_BATCH, Stage

BUDGET = 5.0  # seconds of a measurement, once the step is traced
LEAST = 4  # steps of one, however slow
STEADY = 16  # steps that a sample has room for, beside those whose photos wait already
LARGEST = 2048  # photos of a sample
FORWARD = 4  # batches of a forward pass
# What an epoch or a step does not take longer for.
_FREE = (
    *("name", "epochs", "lr", "schedule", "warmup", "decay", "every", "growth", "rates"),
    *("patience", "momentum", "layer_decay"),
)


@dataclass(slots=True)
class Probe:
    """Measures a recipe on its photos.

    Args:
        model: Just built.
        freezer: Of the model.
        recipe: With its linear probe among the phases, where it has one.
        training: Photos that train.
        validation: Photos that validate.
        fitted: Photos a step of each phase.
        workers: Who loads photos.
        budget: Seconds of one measurement. Defaults to BUDGET.
    """

    model: keras.Model
    freezer: Freezer
    recipe: Recipe
    training: Catalog
    validation: Catalog
    fitted: Mapping[str, Fitted]
    workers: Workers
    budget: float = BUDGET
    checked: float = 0.0  # seconds that all photos take to be checked
    _paces: dict[Phase, Pace] = field(default_factory=dict)
    _sample: Catalog = field(init=False)
    _judged: Catalog = field(init=False)

    def __post_init__(self) -> None:
        began = time.perf_counter()
        self._sample = sample_of(self.training, self.fitted, self.workers)
        self._judged = self.validation
        if len(self.validation):
            self._judged = _readable(_spread(self.validation, FORWARD * VALIDATION_BATCH))
        photos = len(self._sample) + len(self._judged)
        everything = len(self.training) + len(self.validation)
        self.checked = (time.perf_counter() - began) * everything / photos

    def measure(self) -> tuple[tuple[Pace, ...], Around]:
        """Return the pace of each phase, and what the rest of a run takes."""
        recipe, validates = self.recipe, len(self._judged) > 0
        with tempfile.TemporaryDirectory(prefix="carlib-plan-") as place:
            folder = RunFolder(Path(place))
            judging, judged, traced, forward = 0.0, 0.0, 0.0, 0.0
            if validates:
                judging, judged = self._judging()
                view = View(recipe.model.size, recipe.model.resize)
                exact = len(self._judged) == len(self.validation)
                traced, forward = self._forward(self.model, self._judged, view, exact=exact)
            paces = []
            save = 0.0
            bar = progress(recipe.phases, desc="trying steps", unit="phase")
            for number, phase in enumerate(bar):
                key = dataclasses.replace(phase, **_free())
                if key not in self._paces:
                    self._paces[key], size = self._phase(number, folder, traced)
                    save = max(save, size)
                pace = self._paces[key]
                through = 0.0 if phase.views else forward
                paces.append(dataclasses.replace(pace, metrics=judged, validation=through))
            export, end = self._ending(folder)
        # The first validation through the network is traced.
        for number, phase in enumerate(recipe.phases):
            if validates and not phase.views:
                paces[number] = dataclasses.replace(paces[number], traces=traced)
                break
        begin = self.checked + judging + save
        return tuple(paces), Around(begin, export, save, end + traced, forward)

    def _phase(self, number: int, folder: RunFolder, traced: float) -> tuple[Pace, float]:
        """Measure a phase; return its pace, and the seconds of a save in it."""
        recipe, phase = self.recipe, self.recipe.phases[number]
        material = Material(
            recipe, self._sample, self._judged, (), "", is_higher_better(recipe.monitor)
        )
        balanced = recipe.class_weights == "balanced"
        weights = class_weights(self.training) if balanced else None
        fitted = self.fitted[phase.name]
        began = time.perf_counter()
        stage = Stage(
            self.model, self.freezer, material, number, folder, self.workers, weights, fitted
        )
        batches = _Batches(stage)
        advance = stage.trainer.train_function
        _settle(advance(batches.held(1)))
        start = time.perf_counter() - began
        exact = len(self._sample) == len(self.training) and not phase.views
        skip = AHEAD * self.workers.count + 1
        with stage.loader:
            held = batches.held(1 + LEAST)
            _settle(advance(held))
            began = time.perf_counter()
            for _ in range(LEAST):
                last = advance(held)
            _settle(last)
            computing = (time.perf_counter() - began) / LEAST
            # On kept features a step takes milliseconds.
            budget = self.budget / 5 if phase.views else self.budget
            step, epoch = paced(
                batches.epoch, advance, stage.loader.steps, skip, budget, exact=exact
            )
            loading = 0.0 if phase.views else _loading(stage.loader, self.budget / 3)
        features = traces = 0.0
        if phase.views:
            body, view = body_of(self.model), View.of(recipe.model, stage.phase)
            first, features = self._forward(resized(body, view.size), self._sample, view)
            # Validation photos have a trace of their own, of the model's size.
            traces = first + traced
        save = _save(stage, self.model, recipe, folder, number)
        pace = Pace(
            step=max(step, computing),
            computing=computing,
            loading=loading,
            epoch=epoch,
            features=features,
            traces=traces,
            start=start,
        )
        del stage, batches, advance
        gc.collect()
        return pace, save

    def _forward(
        self, model: keras.Model, photos: Catalog, view: View, *, exact: bool = False
    ) -> tuple[float, float]:
        """Seconds to trace a forward pass, and of a batch of one with its photos loaded."""
        size = VALIDATION_BATCH
        chosen = photos if exact else _spread(photos, FORWARD * size)
        loader = Loader(chosen, view, batch_size=size, seed=self.recipe.seed, workers=self.workers)
        forward = make_forward(model)
        batch = loader.batch(0, 0).photos
        began = time.perf_counter()
        np.asarray(forward(batch))
        traced = time.perf_counter() - began
        with loader:
            began = time.perf_counter()
            probabilities(forward, loader, "trying a forward pass")
            seconds = time.perf_counter() - began
        count = loader.steps if exact else len(chosen) / size
        each = seconds / count
        return max(0.0, traced - each), each

    def _judging(self) -> tuple[float, float]:
        """Seconds that an epoch's metrics take: the first time, and then."""
        classes = len(self.training.classes)
        rng = np.random.default_rng(0)
        found = rng.random((len(self.validation), classes), np.float32)
        found /= found.sum(axis=1, keepdims=True)
        truth = np.eye(classes, dtype=np.float32)[np.array(self.validation.labels)]
        seconds = []
        for _ in range(3):
            began = time.perf_counter()
            float(loss_of(self.recipe)(truth, found))
            measure(truth, found, self.recipe.monitor)
            seconds.append(time.perf_counter() - began)
        return seconds[0] - min(seconds), min(seconds)

    def _ending(self, folder: RunFolder) -> tuple[float, float]:
        """Seconds to write the best model, and to open it again."""
        material = Material(self.recipe, self.training, self.validation, (), "", True)
        best = {"phase": "", "epoch": 0, "value": None}
        began = time.perf_counter()
        export_best(folder, self.model, self.freezer, material, best)
        export = time.perf_counter() - began
        began = time.perf_counter()
        open_model(folder.root)
        return export, time.perf_counter() - began


class _Batches:
    """What a stage's train function takes: of its loader, or of features drawn at random."""

    def __init__(self, stage: Stage):
        self.stage = stage
        self.features: np.ndarray | None = None
        if stage.caches:
            rng = np.random.default_rng(0)
            shape = (len(stage.loader.catalog), stage.trainer.input_shape[-1])
            # Pooled ReLU6 features are about as large.
            self.features = rng.random(shape, np.float32).astype(stage.trainer.input.dtype)

    def epoch(self, number: int) -> Iterator[Any]:
        """An epoch as the stage has it."""
        if self.features is None:
            return self.stage.batches(number, 0, 0)
        return self._kept(number)

    def held(self, count: int) -> Iterator[Any]:
        """One batch at hand, so many times."""
        if self.features is not None:
            batch = next(self._kept(0))
        else:
            batch = pair(self.stage.loader.batch(0, 0), self.stage.classes, self.stage.weights)
        return iter([batch] * count)

    def _kept(self, number: int) -> Iterator[Any]:
        loader, features = self.stage.loader, self.features
        assert features is not None
        order, labels = loader.order(number), np.array(loader.catalog.labels)
        for step in range(loader.steps):
            numbers = order[step * loader.batch_size : (step + 1) * loader.batch_size]
            batch = Batch(numbers, features[numbers], labels[numbers])
            yield pair(batch, self.stage.classes, self.stage.weights)


def sample_of(training: Catalog, fitted: Mapping[str, Fitted], workers: Workers) -> Catalog:
    """Return photos that can be read, enough of them to load at a steady pace.

    Raises:
        DataError: None of those that were tried can be read.
    """
    largest = max(each.batch_size for each in fitted.values())
    most = min(LARGEST, (AHEAD * workers.count + STEADY) * largest)
    return _readable(_spread(training, most))


def loading_of(
    recipe: Recipe,
    training: Catalog,
    fitted: Mapping[str, Fitted],
    workers: Workers,
    budget: float,
) -> dict[str, float]:
    """Return the seconds that photos of a step take to be loaded, by name of the phase.

    Args:
        recipe: Of the phases; those that train on kept features load none.
        training: Photos that train.
        fitted: Photos a step of each phase.
        workers: Who loads them.
        budget: Seconds of one measurement.
    """
    photos, found = sample_of(training, fitted, workers), {}
    for phase in progress(recipe.phases, desc="loading photos", unit="phase"):
        if phase.views:
            continue
        size = fitted[phase.name].batch_size
        loader = Loader(
            photos,
            View.of(recipe.model, phase),
            batch_size=size,
            seed=recipe.seed,
            training=True,
            workers=workers,
        )
        with loader:
            found[phase.name] = _loading(loader, budget)
    return found


def _loading(loader: Loader, budget: float) -> float:
    """Seconds of a batch, where nothing is computed beside."""
    skip = AHEAD * loader.workers.count + 1
    return paced(loader.epoch, next, loader.steps, skip, budget, exact=False)[0]


def paced(
    epoch: Callable[[int], Iterator[Any]],
    advance: Callable[[Iterator[Any]], Any],
    steps: int,
    skip: int,
    budget: float,
    *,
    exact: bool,
    clock: Callable[[], float] = time.perf_counter,
) -> tuple[float, float]:
    """Return the seconds of a step, and those that an epoch takes beside its steps.

    Whole epochs are timed where they fit; else the steps behind those whose photos waited when
    the training began.

    Args:
        epoch: Gives the batches of an epoch.
        advance: Takes one batch of an iterator and trains on it.
        steps: Of an epoch.
        skip: Steps at an epoch's beginning that are faster or slower than the rest.
        budget: Seconds, but for LEAST steps.
        exact: The epochs here are the run's own; else they are shorter.
        clock: Seconds that only go up.
    """
    began, whole = clock(), []
    for number in range(1_000_000):
        items, marks = epoch(number), [clock()]
        for step in range(steps):
            held = advance(items)
            if step + 1 in (skip, steps):
                _settle(held)  # a device may lag behind
            marks.append(clock())
            if step + 1 >= LEAST and marks[-1] - began >= budget:
                break
        _settle(held)
        marks[-1] = clock()
        done = len(marks) - 1 == steps
        if done:
            whole.append(marks[-1] - marks[0])
        if not done or clock() - began + max(whole) > budget:
            break
    if whole and exact:
        return statistics.median(whole) / steps, 0.0
    return _steady(marks, skip)


def _steady(marks: list[float], skip: int) -> tuple[float, float]:
    """Seconds of a step once photos come as they are made, and what the first ones took beside."""
    done = len(marks) - 1
    after = skip if done - skip >= LEAST else done // 2
    step = (marks[-1] - marks[after]) / (done - after)
    return step, max(0.0, marks[after] - marks[0] - after * step)


def _settle(held: Any) -> None:
    """Wait for a device to be done with a step."""
    if isinstance(held, dict):
        for value in held.values():
            float(value)


def _save(
    stage: Stage, model: keras.Model, recipe: Recipe, folder: RunFolder, number: int
) -> float:
    """Seconds of a save within a phase."""
    began = time.perf_counter()
    arrays, values = collect([model_state(model, stage.fixed), *stage.parts(True)])
    snapshot = Snapshot(Position(number), arrays, {"parts": values}, recipe.name, "", "")
    write_checkpoint(folder.chain, snapshot, 1 + number)
    return time.perf_counter() - began


def _spread(photos: Catalog, most: int) -> Catalog:
    """At most so many photos, evenly over the catalog."""
    if len(photos) <= most:
        return photos
    return photos.take(np.linspace(0, len(photos) - 1, most).astype(int).tolist())


def _readable(photos: Catalog) -> Catalog:
    """Check photos as a run does, and read them for their digest; leave out what cannot be read."""
    faults = audit(photos)
    found = photos.without(fault.id for fault in faults)
    if not len(found):
        raise DataError(f"none of {len(photos)} photos can be read; {faults[0].reason}")
    found.digest()
    return found


def _free() -> dict[str, Any]:
    defaults = {entry.name: entry.default for entry in dataclasses.fields(Phase)}
    return {"name": "any", "epochs": 1, "lr": 0.0} | {
        name: defaults[name] for name in _FREE if name not in ("name", "epochs", "lr")
    }
