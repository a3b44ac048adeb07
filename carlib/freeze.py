"""Which blocks a phase trains, BatchNorm's part in it, and what that comes to.

Cuts lie at block borders, never inside one: counting layers misleads (the last half of
EfficientNet-B6's layers holds 93% of its parameters), and a residual sum cut in its
middle trains one side against a frozen other.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass

import keras
from keras import layers

from carlib.models.build import blocks
from carlib.spec import Phase


@dataclass(frozen=True, slots=True)
class Trained:
    """What a phase trains.

    Args:
        blocks: Names of the blocks that train, bottom first.
        of_blocks: Count of all blocks.
        parameters: All weights of the model, BatchNorm's moving statistics included.
        trainable_parameters: Those the optimizer changes.
    """

    blocks: tuple[str, ...]
    of_blocks: int
    parameters: int
    trainable_parameters: int

    def describe(self, phase: Phase) -> str:
        """Return one line for people: what the phase trains, and how."""
        share = self.trainable_parameters / self.parameters
        return (
            f"phase {phase.name!r}: {phase.epochs} epochs, {len(self.blocks)} of "
            f"{self.of_blocks} blocks train ({self.trainable_parameters:,} of "
            f"{self.parameters:,} parameters, {share:.0%}), BatchNorm {phase.batchnorm}, "
            f"lr {phase.lr:g} {phase.schedule}, {phase.optimizer}, augmentation {phase.augment}"
        )


class Freezer:
    """Freezes and thaws a built model, phase by phase.

    Frozen blocks work as in prediction: BatchNorm by its moving statistics (as Keras does
    for ``trainable = False``), and without dropout or drop-connect, which Keras would leave
    running. So a frozen block's output for a photo is always the same.

    Args:
        model: Fresh from ``build_model``: its dropout rates are remembered.
    """

    def __init__(self, model: keras.Model):
        self.model = model
        self._rates = {
            layer.name: layer.rate for layer in model.layers if isinstance(layer, layers.Dropout)
        }

    def apply(self, phase: Phase) -> Trained:
        """Set what trains in ``phase``. Compile with a new optimizer afterwards: Keras keeps
        the set of trained weights in both.

        >>> from carlib.models.build import build_model
        >>> from carlib.spec import ModelSpec
        >>> freezer = Freezer(build_model(ModelSpec("tiny", 32), 2))
        >>> freezer.apply(Phase("top", 1, 1e-3, trains=0.4)).blocks
        ('block2b', 'top', 'head')
        """
        found = blocks(self.model)
        names = list(found)
        upper = set(names[names.index("head") - self._count(phase, len(names) - 1) :])
        for name, members in found.items():
            for layer in members:
                trains = name in upper
                if isinstance(layer, layers.BatchNormalization):
                    layer.trainable = trains and phase.batchnorm == "trained"
                else:
                    layer.trainable = trains
                if layer.name in self._rates:
                    layer.rate = self._rates[layer.name] if trains else 0.0
        weights = self.model.trainable_weights
        return Trained(
            blocks=tuple(name for name in names if name in upper),
            of_blocks=len(names),
            parameters=self.model.count_params(),
            trainable_parameters=sum(math.prod(weight.shape) for weight in weights),
        )

    @staticmethod
    def _count(phase: Phase, below_head: int) -> int:
        """Blocks below the head that train; a share above 0 trains one at least."""
        if phase.trains == "head":
            return 0
        if phase.trains == "all":
            return below_head
        share = float(phase.trains)
        return min(below_head, max(1, round(share * below_head))) if share else 0

    @contextmanager
    def as_built(self) -> Iterator[None]:
        """Give the dropout layers the rates they were built with, to save the model."""
        now = {name: self.model.get_layer(name).rate for name in self._rates}
        self._set_rates(self._rates)
        try:
            yield
        finally:
            self._set_rates(now)

    def _set_rates(self, rates: Mapping[str, float]) -> None:
        for name, rate in rates.items():
            self.model.get_layer(name).rate = rate
