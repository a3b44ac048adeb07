"""From a recipe and photos to a plan."""

from __future__ import annotations

import dataclasses
import time

import tensorflow as tf

from carlib.catalog import Catalog, parted
from carlib.checkpoints import Position
from carlib.devices import DEVICES, Device, device_of_driver, this_cpu
from carlib.errors import UsageError
from carlib.freeze import Freezer
from carlib.loader import Workers
from carlib.memory.present import device_names, present_device
from carlib.models.build import build_model
from carlib.plan.changes import Judge
from carlib.plan.guess import Guesser
from carlib.plan.layers import profile_of
from carlib.plan.noun import GUESS, HOUR, PROBE, Change, Plan
from carlib.plan.probe import BUDGET, Probe, loading_of
from carlib.plan.total import ending, lay_out
from carlib.plan.work import works_of
from carlib.spec import Recipe
from carlib.train.fitting import fit_phases
from carlib.train.start import check_names

QUOTA, SESSION = 30 * HOUR, 12 * HOUR  # Kaggle's: of GPU a week, and of one session
ANY = DEVICES["V100"]  # stands for a GPU of unknown speed, where only ratios count


def plan_run(
    recipe: Recipe,
    catalog: Catalog,
    *,
    device: Device | None = None,
    probe: bool = True,
    quota: float = QUOTA,
    session: float = SESSION,
    workers: Workers | None = None,
    budget: float = BUDGET,
) -> Plan:
    """Return the hours that a recipe takes on these photos, before its first step.

    Where the run's own device is there, a few steps of each phase are measured, as training would
    run them, and nothing stays on the disk; else its seconds are guessed from operations, bytes
    and the device's data sheet, and photos load as fast as they do here.

    Args:
        recipe: What would be trained.
        catalog: Labelled photos, as ``train_model`` gets them.
        device: That would train. Defaults to the one that is there.
        probe: Measure; False measures nothing at all, and guesses for the device that is there
            too. Defaults to True.
        quota: Seconds a week, to say what share of them it takes. Defaults to 30 h, Kaggle's for
            GPUs; accounts differ.
        session: Seconds of a session, what ``carlib.session`` keeps back of it included. Defaults
            to 12 h.
        workers: Who loads photos. Defaults to a thread a core.
        budget: Seconds of each measurement. Defaults to 5.

    Raises:
        UsageError: A name in the recipe that is not known, photos without labels, a device whose
            speed is not known, a session too short to train in.
        DataError: Photos that cannot be split or read.
        RunError: Not one photo fits into the device.
    """
    given, recipe = recipe, recipe.with_probe()
    check_names(recipe)
    if catalog.labels is None:
        raise UsageError("a plan needs labels, as training does, and these photos have none")
    for name, value in (("quota", quota), ("session", session), ("budget", budget)):
        if not value > 0:
            raise UsageError(f"plan: {name} must be above 0 s; received {value}")
    here = _here()
    target = device or here
    measures = probe and target.name == here.name
    training, validation = parted(catalog, recipe)
    if recipe.determinism == "exact" and measures:
        tf.config.experimental.enable_op_determinism()
    began = time.perf_counter()
    # No one needs to have the pretrained weights for what only counts.
    spec = recipe.model if measures else dataclasses.replace(recipe.model, weights="none")
    model = build_model(spec, len(training.classes), seed=recipe.seed)
    freezer = Freezer(model)
    built = time.perf_counter() - began
    # As the run would, by the memory that is there, or that the device would have.
    room = present_device() if measures else target
    fitted = fit_phases(model, freezer, recipe, len(training), Position(), {}, room)
    photos = len(training), len(validation)
    works = works_of(recipe, *photos, fitted)
    workers = workers or Workers()
    guesser = Guesser(profile_of(model), freezer, target)
    if measures:
        tried = Probe(model, freezer, recipe, training, validation, fitted, workers, budget)
        paces, around = tried.measure()
        around = dataclasses.replace(around, begin=around.begin + built)
        if not target.timed:  # only ratios are asked for from here on
            guesser = dataclasses.replace(guesser, device=ANY)
    else:
        loading = loading_of(recipe, training, fitted, workers, budget) if probe else {}
        paces = guesser.paces(recipe, works, loading)
        around = guesser.around(recipe)
    judge = Judge(guesser, recipe, photos, fitted, works, paces, around)
    return Plan(
        recipe=recipe.name,
        digest=recipe.digest(),
        device=target.name,
        basis=PROBE if measures else GUESS,
        photos=photos,
        stretches=lay_out(works, paces, around),
        begin=around.begin,
        end=ending(photos[1], around),
        quota=quota,
        session=session,
        gpu=target.kind == "gpu",
        changes=tuple(_without_probe(change, given) for change in judge.changes()),
    )


def _here() -> Device:
    """The device that is there, with its speed where the table has it."""
    name = device_names().split(", ")[0]
    if name == "CPU":
        return this_cpu()
    found = present_device()
    known = device_of_driver(name)
    if known and found:
        return dataclasses.replace(known, usable=found.usable)
    return known or found or Device(name, 1)


def _without_probe(change: Change, recipe: Recipe) -> Change:
    """Say the linear probe's epochs as the recipe does, and leave out its other settings."""
    if not recipe.linear_probe:
        return change
    said = [each.replace("phases.probe.epochs=", "linear_probe=") for each in change.settings]
    own = tuple(each for each in said if not each.startswith("phases.probe."))
    return dataclasses.replace(change, settings=own)
