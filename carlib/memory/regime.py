"""Whether XLA compiles the training step, as Keras decides it."""

from __future__ import annotations

import keras

from carlib.devices import Device
from carlib.memory.noun import Regime
from carlib.spec import Recipe


def regime_of(recipe: Recipe, model: keras.Model, device: Device | None) -> Regime:
    """Return how Keras runs a recipe's steps on a device.

    ``jit_compile="auto"`` of Keras 3 (``Trainer._resolve_auto_jit_compile``): XLA on a GPU, but not
    under op determinism, nor where a layer does not support it, nor on CPUs.

    Args:
        recipe: Its determinism counts.
        model: Its layers count.
        device: Its kind counts; None for a GPU that is not named.
    """
    if device is not None and device.kind == "cpu":
        return Regime(False, "no XLA: Keras leaves it off on CPUs")
    if recipe.determinism == "exact":
        return Regime(False, "no XLA: determinism = 'exact' turns it off")
    without = [layer.name for layer in model.layers if not layer.supports_jit]
    if without:
        return Regime(False, f"no XLA: layer {without[0]} does not support it")
    return Regime(
        True,
        "XLA: Keras compiles the step by itself on one GPU with determinism = 'fast'; the rules "
        "were measured without, so take --probe on that GPU for the truth",
    )
