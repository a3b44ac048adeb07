"""The largest batch that fits."""

from __future__ import annotations

import keras

from carlib.devices import Device
from carlib.spec import Phase, Recipe


def largest_batch(model: keras.Model, recipe: Recipe, phase: Phase, device: Device) -> int:
    """Return the largest batch whose training step fits into a device, 0 where no photo does.

    Args:
        model: The run's, frozen for the phase.
        recipe: Of the phase.
        phase: Its optimizer, precision and photo size count.
        device: Its usable memory counts.
    """
    raise NotImplementedError
