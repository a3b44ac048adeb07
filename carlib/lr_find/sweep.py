"""Takes a phase's own steps at rising learning rates, on a copy of the model that is then gone."""

from __future__ import annotations

import dataclasses
import itertools
import math
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import keras
import tensorflow as tf

from carlib.audit import audit
from carlib.catalog import Catalog, class_weights, parted
from carlib.checkpoints import Position
from carlib.checkpoints.state import model_state
from carlib.errors import RunError, UsageError, look_up
from carlib.freeze import Freezer
from carlib.loader import Workers
from carlib.lr_find.curve import BLOWN, LEAST, Curve
from carlib.memory.present import present_device
from carlib.metrics import is_higher_better
from carlib.models.build import build_model
from carlib.predict import open_model
from carlib.progress import progress
from carlib.runfolder import RunFolder
from carlib.spec import Recipe
from carlib.train.fitting import fit_phases
from carlib.train.outcome import Material
from carlib.train.stage import Stage
from carlib.train.start import check_names

LOW, HIGH, STEPS = 1e-6, 1.0, 120
MOST = 100.0  # of a phase's lr


def find_lr(
    recipe: Recipe,
    catalog: Catalog,
    *,
    phase: str = "",
    run: Path | str | None = None,
    low: float = LOW,
    high: float = HIGH,
    steps: int = STEPS,
    workers: Workers | None = None,
) -> Curve:
    """Return the loss of a phase's steps over learning rates that rise from low to high.

    All is as the phase has it, augmentation, batch and optimizer included, but for its schedule.
    Nothing stays: not on the disk, and not in any run.

    Args:
        recipe: Of the phase.
        catalog: Labelled photos, as ``train_model`` gets them.
        phase: Its name. Defaults to the last one.
        run: A run of this recipe whose best weights the sweep begins with; the phases before are
            trained there. Defaults to the recipe's own weights, and a new head.
        low: First learning rate. Defaults to 1e-6.
        high: Last one. Defaults to 1.
        steps: Updates; the sweep ends earlier where the loss blows up. Defaults to 120.
        workers: Who loads photos. Defaults to a thread a core.

    Raises:
        UsageError: An unknown phase or name, rates that do not rise, too few steps, a run of
            another model.
        DataError: Photos that cannot be split or read.
        RunError: A run without a model, a loss that is not finite from the start.
    """
    recipe = recipe.with_probe()
    check_names(recipe)
    if catalog.labels is None:
        raise UsageError("a learning rate is found by training, and these photos have no labels")
    if not 0 < low < high <= MOST:
        raise UsageError(
            f"low must be above 0 and below high, high {MOST:g} at the most; received {low} and "
            f"{high}"
        )
    if steps < LEAST:
        raise UsageError(f"steps must be {LEAST} or more; received {steps}")
    names = {each.name: number for number, each in enumerate(recipe.phases)}
    number = look_up(names, phase, "phase") if phase else len(names) - 1
    if recipe.phases[number].statistics_only:
        raise UsageError(
            f"phase {recipe.phases[number].name!r} learns nothing (trains = 'statistics'), at no "
            "learning rate; give another with --phase"
        )
    flat = dataclasses.replace(recipe.phases[number], schedule="constant", warmup=0.0, lr=low)
    phases = (*recipe.phases[:number], flat, *recipe.phases[number + 1 :])
    swept = dataclasses.replace(recipe, phases=phases)
    usable = catalog.without(fault.id for fault in audit(catalog))
    training, validation = parted(usable, swept)
    if swept.determinism == "exact":
        tf.config.experimental.enable_op_determinism()
    model = build_model(swept.model, len(training.classes), seed=swept.seed)
    note = _begin(model, run) if run else _new_head(recipe, number)
    freezer = Freezer(model)
    device = present_device()
    fitted = fit_phases(model, freezer, swept, len(training), Position(), {}, device)[flat.name]
    higher = is_higher_better(swept.monitor)
    material = Material(swept, training, validation, (), usable.digest(), higher)
    balanced = swept.class_weights == "balanced"
    weights = class_weights(training) if balanced else None
    with tempfile.TemporaryDirectory(prefix="carlib-lr-") as place:
        folder = RunFolder(Path(place))
        options = (folder, workers or Workers(), weights, fitted)
        stage = Stage(model, freezer, material, number, *options)
        with stage.loader:
            if stage.caches:
                stage.prepare(0, 0, lambda: None)
            rates, losses, blown = _sweep(
                stage, [low * (high / low) ** (n / (steps - 1)) for n in range(steps)]
            )
    if len(rates) < LEAST:
        raise RunError(
            f"the loss is not finite, or blows up, after {len(rates)} steps at {low:g}; begin lower"
        )
    return Curve(flat.name, rates, losses, note, blown)


def _sweep(stage: Stage, rates: list[float]) -> tuple[tuple[float, ...], tuple[float, ...], bool]:
    """Take an update at each rate; return those taken, the loss before each, and the end.

    True is that the loss after them was not finite any more.
    """
    losses: list[float] = []
    loss = 0.0
    batches = _endless(stage)
    inner = getattr(stage.optimizer, "inner_optimizer", stage.optimizer)  # of mixed precision
    for rate in progress(rates, desc="trying learning rates", unit="step"):
        inner.learning_rate = rate
        loss = 0.0
        for _ in range(stage.phase.accumulate):
            for metric in stage.metrics:
                metric.reset_state()
            stage.trainer.train_function(batches)
            loss += float(stage.metrics[0].result()) / stage.phase.accumulate
        if not math.isfinite(loss):
            break
        losses.append(loss)
        if loss > BLOWN * min(losses):
            break
    return tuple(rates[: len(losses)]), tuple(losses), not math.isfinite(loss)


def _endless(stage: Stage) -> Iterator[Any]:
    for epoch in itertools.count():
        yield from stage.batches(epoch, 0, 0)


def _begin(model: keras.Model, run: Path | str) -> str:
    """Give the model the best weights of a run; return what is to be said of it."""
    trained, _ = open_model(run)
    try:
        model_state(model).set(model_state(trained).get())
    except RunError as error:
        raise UsageError(
            f"{run} is of another model than the recipe ({error}); give its own recipe and --set"
        ) from error
    return f"begun with the best weights of {run}"


def _new_head(recipe: Recipe, number: int) -> str:
    if not number:
        return ""
    before = ", ".join(phase.name for phase in recipe.phases[:number])
    return (
        f"begun without the phases before ({before}): for a rate that follows them, train them "
        "first and give that run as --run"
    )
