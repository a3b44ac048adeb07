"""Which blocks a phase trains, BatchNorm's part in it, and what that comes to.

Cuts lie at block borders, never inside one: counting layers misleads (the last half of
EfficientNet-B6's layers holds 93% of its parameters), and a residual sum cut in its
middle trains one side against a frozen other.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import keras
from keras import layers

from carlib.errors import UsageError
from carlib.models.build import blocks
from carlib.spec import Phase


@dataclass(frozen=True, slots=True)
class Trained:
    """What a phase trains.

    Args:
        blocks: Names of the blocks that train, bottom first; with ``batchnorm = "only"``, of
            their weights the BatchNorms' gamma and beta.
        of_blocks: Count of all blocks.
        layers: All layers.
        trainable_layers: Those of the blocks that train.
        parameters: All weights of the model, BatchNorm's moving statistics included.
        trainable_parameters: Those the optimizer changes.
        compute: Multiply-adds of a forward pass, a photo of the model's size.
        trainable_compute: Those of the blocks that train.
    """

    blocks: tuple[str, ...]
    of_blocks: int
    layers: int
    trainable_layers: int
    parameters: int
    trainable_parameters: int
    compute: int
    trainable_compute: int

    def describe(self, phase: Phase) -> str:
        """Return one line for people: what the phase trains, and how."""
        if phase.statistics_only:
            return (
                f"phase {phase.name!r}: BatchNorm's moving statistics anew over {phase.epochs} "
                f"epoch{'s' * (phase.epochs > 1)}, nothing else changes, augmentation "
                f"{phase.augment}"
            )
        return (
            f"phase {phase.name!r}: {phase.epochs} epochs, {len(self.blocks)} of "
            f"{self.of_blocks} blocks train ({self.trainable_parameters:,} of "
            f"{self.parameters:,} parameters, {self.trainable_parameters / self.parameters:.0%}; "
            f"{self.trainable_layers / self.layers:.0%} of layers, "
            f"{self.trainable_compute / self.compute:.0%} of compute), BatchNorm "
            f"{phase.batchnorm}, lr {phase.lr:g} {phase.schedule}, {phase.optimizer}, "
            f"augmentation {phase.augment}"
        )


@dataclass(frozen=True, slots=True)
class _Block:
    """What a block comes to, in each of the counts of ``Phase.share_by``."""

    layers: int
    parameters: int
    compute: int
    blocks: int = 1


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
        self._blocks = blocks(model)
        self._sizes = {
            name: _Block(
                layers=len(members),
                parameters=sum(layer.count_params() for layer in members),
                compute=sum(map(multiply_adds, members)),
            )
            for name, members in self._blocks.items()
        }
        self._rates = {
            layer.name: layer.rate for layer in model.layers if isinstance(layer, layers.Dropout)
        }

    def apply(self, phase: Phase) -> Trained:
        """Set what trains in ``phase``. Compile with a new optimizer afterwards: Keras keeps
        the set of trained weights in both.

        Raises:
            UsageError: Statistics are to be made anew, and there is no BatchNorm.

        >>> from carlib.models.build import build_model
        >>> from carlib.spec import ModelSpec
        >>> freezer = Freezer(build_model(ModelSpec("tiny", 32), 2))
        >>> freezer.apply(Phase("top", 1, 1e-3, trains=0.4)).blocks
        ('block2b', 'top', 'head')
        """
        names = list(self._blocks)
        upper = set(names[names.index("head") - self._count(phase) :])
        if phase.statistics_only:
            upper = set()
            if not norms_of(self.model):
                raise UsageError(
                    f"phase {phase.name!r} makes BatchNorm's statistics anew, and "
                    f"{self.model.name} has no BatchNorm; leave the phase out"
                )
        for name, members in self._blocks.items():
            for layer in members:
                trains = name in upper
                if isinstance(layer, layers.BatchNormalization):
                    # The head's own comes with no statistics to keep to: it always trains.
                    policy = "trained" if name == "head" else phase.batchnorm
                    if phase.statistics_only:
                        _set_norm(layer, "trained")  # as the step of carlib.steps wants it
                    else:
                        _set_norm(layer, policy if trains else "frozen")
                else:
                    layer.trainable = trains and (name == "head" or phase.batchnorm != "only")
                if layer.name in self._rates:
                    layer.rate = self._rates[layer.name] if trains else 0.0
        weights = [] if phase.statistics_only else self.model.trainable_weights
        return Trained(
            blocks=tuple(name for name in names if name in upper),
            of_blocks=len(names),
            layers=self._total("layers", names),
            trainable_layers=self._total("layers", upper),
            parameters=self.model.count_params(),
            trainable_parameters=sum(math.prod(weight.shape) for weight in weights),
            compute=self._total("compute", names),
            trainable_compute=self._total("compute", upper),
        )

    def _total(self, what: str, names: Any) -> int:
        return sum(getattr(self._sizes[name], what) for name in names)

    def _count(self, phase: Phase) -> int:
        """Blocks below the head that train; a share above 0 trains one at least."""
        below = [name for name in self._blocks if name != "head"]
        if phase.trains == "all":
            return len(below)
        if not phase.share:
            return 0
        wanted = phase.share * self._total(phase.share_by, below)
        counts = range(1, len(below) + 1)
        return min(
            counts,
            # Between two equally near cuts, the smaller.
            key=lambda count: abs(self._total(phase.share_by, below[-count:]) - wanted),
        )

    @contextmanager
    def as_built(self) -> Iterator[None]:
        """Give the model the dropout rates it was built with, nothing frozen, to save it."""
        rates = {name: self.model.get_layer(name).rate for name in self._rates}
        trains = {layer.name: layer.trainable for layer in self.model.layers}
        self._set_rates(self._rates)
        for name in trains:
            self.model.get_layer(name).trainable = True
        try:
            yield
        finally:
            self._set_rates(rates)
            for name, value in trains.items():
                self.model.get_layer(name).trainable = value

    def _set_rates(self, rates: Mapping[str, float]) -> None:
        for name, rate in rates.items():
            self.model.get_layer(name).rate = rate


def _set_norm(layer: Any, policy: str) -> None:
    """Apply a BatchNorm policy of ``Phase.batchnorm`` to one layer."""
    layer.trainable = policy != "frozen"
    # Keras ties gamma and beta to the batch statistics: a layer that trains normalises by the
    # batch. "affine" and "only" train them on the moving statistics: it must not hear of training.
    vars(layer).pop("call", None)
    if policy in ("affine", "only"):
        inference = functools.partial(type(layer).call, layer)
        vars(layer)["call"] = lambda inputs, training=None, mask=None: inference(
            inputs, training=False, mask=mask
        )


def norms_of(model: keras.Model) -> list[Any]:
    """Return a model's BatchNorms."""
    return [layer for layer in model.layers if isinstance(layer, layers.BatchNormalization)]


def multiply_adds(layer: Any) -> int:
    """Return a layer's multiply-adds in a forward pass of one photo; convolutions and dense
    layers count, the rest is small beside them.

    >>> photos = keras.Input((8, 8, 3))
    >>> layer = layers.Conv2D(4, 3, padding="same")
    >>> _ = layer(photos)
    >>> multiply_adds(layer) == 8 * 8 * 4 * 3 * 3 * 3
    True
    """
    places = math.prod(layer.output.shape[1:-1])
    if isinstance(layer, layers.SeparableConv2D):
        return places * sum(math.prod(weight.shape) for weight in layer.weights[:2])
    if isinstance(layer, layers.DepthwiseConv2D | layers.Conv2D | layers.Dense):
        return places * math.prod(layer.kernel.shape)
    return 0
