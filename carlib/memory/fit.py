"""The largest batch that fits into a device."""

from __future__ import annotations

import math

import keras

from carlib.devices import Device
from carlib.memory import laws
from carlib.memory.fixed import nbytes, slots_of
from carlib.memory.step import training_step
from carlib.memory.tape import Peak
from carlib.memory.walk import Walk
from carlib.spec import AUTO, AUTO_MOST, Phase, Recipe
from carlib.steps import trainer_of

LARGEST = 65_536  # photos of a batch, as a recipe allows them
STRAIGHT = 8  # tries along a line, before halves
UNKNOWN = 32  # photos of a batch that "auto" is where no device is known


def largest_batch(model: keras.Model, recipe: Recipe, phase: Phase, device: Device) -> int:
    """Return the largest batch whose training step fits into a device, 0 where no photo does.

    Args:
        model: The run's, frozen for the phase.
        recipe: Of the phase.
        phase: Its optimizer, precision and photo size count.
        device: Its usable memory counts.
    """
    trainer = trainer_of(model, recipe, phase)
    fixed = nbytes(model.variables) + slots_of(trainer, phase)

    def safe(batch: int) -> int:
        walk = training_step(trainer, phase, batch)
        peak = walk.tape.peak()
        return laws.safe(fixed, walk.tape, peak, unknown_share(walk, peak))

    low, high = 0, LARGEST + 1  # what fits, and what does not
    batch, before = 1, (0, fixed)
    tried = 0
    while high - low > 1:
        need = safe(batch)
        low, high = (batch, high) if need <= device.usable else (low, batch)
        # Nearly a straight line: the next is where it would meet the device's memory.
        slope = (need - before[1]) / (batch - before[0])
        guess = batch + (device.usable - need) / slope if slope > 0 else math.inf
        if tried > STRAIGHT:
            guess = (low + high) / 2
        before, batch = (batch, need), int(min(max(guess, low + 1), high - 1))
        tried += 1
    return low


def unknown_share(walk: Walk, peak: Peak) -> float:
    """Return the share of a peak that layers without a rule hold, 0 to 1."""
    if not walk.unknown or not peak.nbytes:
        return 0.0
    names = set(walk.unknown)
    return sum(each.nbytes for each in peak.alive if each.layer in names) / peak.nbytes


def photos_a_step(phase: Phase, most: int | None) -> int:
    """Return the photos a step that a phase asks for, "auto" being what training makes of it.

    Args:
        phase: Of a recipe.
        most: That fit into the device; None where none is known.

    >>> photos_a_step(Phase("all", 1, 1e-3, batch_size="auto"), 50)
    32
    """
    if phase.batch_size != AUTO:
        return int(phase.batch_size)
    if most is None:
        return UNKNOWN
    return 2 ** (min(most, AUTO_MOST).bit_length() - 1) if most else 1
