"""What a recipe needs in memory, by term, from its model alone: no step is run."""

from __future__ import annotations

import dataclasses

import keras

from carlib.devices import Device
from carlib.features import body_of
from carlib.freeze import Freezer
from carlib.memory import laws
from carlib.memory.fit import largest_batch, photos_a_step, unknown_share
from carlib.memory.fixed import nbytes, slots_of
from carlib.memory.noun import Forecast, Holder, Need
from carlib.memory.regime import regime_of
from carlib.memory.step import forward_pass, training_step
from carlib.memory.tape import Peak
from carlib.memory.walk import Walk, at_once
from carlib.models.build import build_model, resized
from carlib.spec import Phase, Recipe
from carlib.steps import trainer_of

HOLDERS = 10
OF_PHOTOS = ("activations", "transients", "input")  # terms that every photo adds to
FORWARD_BATCH = 64  # photos of a validation, of features that are cached, of a prediction
EVERYTHING = Phase("everything", 1, 0.0, batchnorm="trained")  # trains: a model as it was built


def estimate_memory(
    recipe: Recipe, classes: int, device: Device | None = None, model: keras.Model | None = None
) -> Forecast:
    """Return what a recipe needs in memory, phase by phase, without running a step.

    Args:
        recipe: Its weights are not read: the networks' shapes are enough.
        classes: Number of classes.
        device: That it has to fit into; None for none. Defaults to None.
        model: Of the recipe, just built or estimated before: it is left with all of it training.
            Defaults to None: it is built.

    >>> from carlib.spec import ModelSpec
    >>> phases = (Phase("head", 1, 1e-3, trains="head"), Phase("all", 1, 1e-3))
    >>> forecast = estimate_memory(Recipe("r", ModelSpec("tiny", 32), phases), 10)
    >>> head, all_of_it = forecast.phases
    >>> head.requested < all_of_it.requested < all_of_it.expected < all_of_it.safe
    True
    """
    recipe = recipe.with_probe()
    if model is None:
        model = build_model(dataclasses.replace(recipe.model, weights="none"), classes)
    with at_once():
        return _estimate(recipe, device, model)


def _estimate(recipe: Recipe, device: Device | None, model: keras.Model) -> Forecast:
    freezer = Freezer(model)
    phases, caching, largest = [], [], {}
    slots = 0
    for phase in recipe.phases:
        freezer.apply(phase)
        most = None if device is None else largest_batch(model, recipe, phase, device)
        largest[phase.name] = most
        batch = photos_a_step(phase, most)
        phases.append(need_of_training(model, recipe, phase, batch, device))
        slots = max(slots, phases[-1].terms["slots"])
        if phase.views:
            body = resized(body_of(model), phase.size or recipe.model.size)
            caching.append(need_of_forward(f"caching {phase.name}", body, model, 0, device))
    freezer.apply(EVERYTHING)
    others = [*caching]
    if recipe.validates:
        others.append(need_of_forward("validation", model, model, slots, device))
    others.append(need_of_forward("prediction", model, model, 0, device))
    return Forecast(
        recipe.name, device, regime_of(recipe, model, device), tuple(phases), tuple(others), largest
    )


def need_of_training(
    model: keras.Model, recipe: Recipe, phase: Phase, batch: int, device: Device | None = None
) -> Need:
    """Return what a phase's training step needs.

    Args:
        model: The run's, frozen for the phase.
        recipe: Of the phase.
        phase: Its optimizer, precision and photo size count.
        batch: Photos a step.
        device: Whose context and reserve are named beside. Defaults to None.
    """
    trainer = trainer_of(model, recipe, phase)
    walk = training_step(trainer, phase, batch)
    weights, slots = nbytes(model.variables), slots_of(trainer, phase)
    return dataclasses.replace(
        _need(phase.name, walk, weights, slots, device),
        work="head on cached features" if phase.views else "training",
        size=phase.size or recipe.model.size,
    )


def need_of_forward(
    name: str, part: keras.Model, model: keras.Model, slots: int, device: Device | None = None
) -> Need:
    """Return what a pass of photos through a network needs, FORWARD_BATCH at a time.

    Args:
        name: Of the work.
        part: That the photos go through.
        model: Whose weights are there.
        slots: Bytes of an optimizer that is there meanwhile.
        device: As above. Defaults to None.
    """
    need = _need(name, forward_pass(part, FORWARD_BATCH), nbytes(model.variables), slots, device)
    return dataclasses.replace(need, size=part.input_shape[1])


def _need(name: str, walk: Walk, weights: int, slots: int, device: Device | None) -> Need:
    peak = walk.tape.peak()
    fixed = weights + slots
    requested = fixed + peak.nbytes
    unknown = unknown_share(walk, peak)
    safe = laws.safe(fixed, walk.tape, peak, unknown)
    terms = {
        "weights": weights + _sum(peak, "weights"),
        "slots": slots,
        "gradients": _sum(peak, "gradients"),
        "activations": _sum(peak, "activations"),
        "transients": _sum(peak, "transients") + peak.scratch,
        "input": _sum(peak, "input"),
        "allocator": safe - requested,
        "context": device.context if device else 0,
        "reserve": device.reserve if device else 0,
    }
    holders = [Holder(each.layer, each.what, each.nbytes) for each in peak.alive[:HOLDERS]]
    if peak.scratch:
        holders.append(Holder(peak.layer, "scratch", peak.scratch))
    holders += [Holder("model", "weights", weights), Holder("optimizer", "slots", slots)]
    holders.sort(key=lambda holder: -holder.nbytes)
    way = "backward" if peak.backward else "forward"
    return Need(
        name=name,
        work="forward",
        batch=walk.batch,
        size=0,
        requested=requested,
        expected=laws.expected(fixed, peak),
        expected_between=laws.between(fixed, peak, unknown),
        safe=safe,
        terms=terms,
        peak=f"{way}, {peak.layer}: {peak.what}",
        holders=tuple(holder for holder in holders[:HOLDERS] if holder.nbytes),
        per_photo=sum(_sum(peak, term) for term in OF_PHOTOS) // walk.batch,
        unknown=tuple(walk.unknown),
    )


def _sum(peak: Peak, term: str) -> int:
    return sum(tensor.nbytes for tensor in peak.alive if tensor.term == term)
