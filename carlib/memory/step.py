"""A phase's training step, or a forward pass, put on a tape."""

from __future__ import annotations

from typing import Any

from carlib.errors import UsageError
from carlib.memory.rules import RULES
from carlib.memory.rules.base import kernel_bytes
from carlib.memory.walk import Walk, functional
from carlib.spec import Phase


def training_step(model: Any, phase: Phase, batch: int) -> Walk:
    """Return the walk of one training step.

    Args:
        model: That the phase trains, frozen for it.
        phase: Its optimizer, clipping and averages count.
        batch: Photos a step.

    Raises:
        UsageError: A model that is no graph of layers, or takes photos of any size.
    """
    walk = Walk(batch, training=True, rules=RULES)
    tape, update = walk.tape, Update(walk, phase, model)
    output = _forward(walk, model)
    loss = tape.run("loss", "loss", [output])
    if phase.statistics_only:
        return walk
    tape.backward = True
    walk.updated = update.take
    walk.back(output, tape.run("loss", "gradient", [loss, output], tape.tensors[output].nbytes))
    update.end()
    return walk


class Update:
    """The optimizer's part of a step: each gradient is used at once, or all wait for the last.

    They wait where their common norm is clipped, and under loss scaling, which looks whether
    all are finite. What needs no gradient TensorFlow computes first: decayed weights, momentum
    times its slot, and the moving average's old value times its share.

    Args:
        walk: Of the step.
        phase: Its optimizer.
        model: That trains.
    """

    def __init__(self, walk: Walk, phase: Phase, model: Any):
        self.tape = walk.tape
        self.waits = phase.clip > 0 or model.dtype_policy.name == "mixed_float16"
        self.gradients: list[tuple[int, tuple[int, ...]]] = []
        self.momenta: dict[int, tuple[int, ...]] = {}
        self.averages: list[int] = []
        decays = phase.optimizer == "adamw" or phase.weight_decay > 0
        for weight in model.trainable_weights:
            size = kernel_bytes(weight)
            if decays and len(weight.shape) > 1:
                # Into a copy, as long as somebody has to read the kernel as it was.
                made = self.tape.run("optimizer", "kernel before decay", [], size, term="weights")
                walk.decayed[id(weight)] = made
            if phase.optimizer == "sgd" and phase.momentum:
                made = self.tape.run("optimizer", "momentum", [], size, term="gradients")
                self.momenta[id(weight)] = (made,)
            if phase.ema:
                made = self.tape.run("optimizer", "average", [], size, term="gradients")
                self.averages.append(made)

    def take(self, variable: Any, gradient: int, held: list[int]) -> None:
        """Take a gradient in, while others still read ``held``."""
        momentum = self.momenta.get(id(variable), ())
        if self.waits:
            self.gradients.append((gradient, momentum))
        else:
            self._write(gradient, (*momentum, *held))

    def end(self) -> None:
        """Write what has waited: updates, then averages."""
        norm = self.tape.run("optimizer", "norm", [gradient for gradient, _ in self.gradients])
        for gradient, momentum in self.gradients:
            self._write(gradient, (norm, *momentum))
        for average in self.averages:
            self.tape.run("optimizer", "average", [average])

    def _write(self, gradient: int, others: tuple[int, ...]) -> None:
        size = self.tape.tensors[gradient].nbytes
        self.tape.run("optimizer", "update", [gradient, *others], scratch=size)


def forward_pass(model: Any, batch: int) -> Walk:
    """Return the walk of a forward pass: prediction, validation, features."""
    walk = Walk(batch, training=False, rules=RULES)
    _forward(walk, model)
    return walk


def _forward(walk: Walk, model: Any) -> int:
    graph = functional(model)
    if graph is None:
        raise UsageError(
            f"model {model.name!r} is a {type(model).__name__}, whose layers nobody can walk "
            "through; make it a functional model, or a Sequential that begins with an Input"
        )
    return walk.model(graph, [_entry(walk, model, each) for each in graph.inputs])[0]


def _entry(walk: Walk, model: Any, photos: Any) -> int:
    if None in photos.shape[1:]:
        raise UsageError(
            f"model {model.name!r} takes photos of any size, {photos.shape}, and memory goes by "
            "their size; give its Input one, such as (224, 224, 3)"
        )
    whole, tape = walk.nbytes(photos), walk.tape
    if len(photos.shape) == 4:  # photos come as bytes, and are made what the model takes
        given = tape.run("photos", "bytes", [], walk.nbytes(photos, "uint8"), term="input")
        return tape.run("photos", "input", [given], whole, term="input")
    return tape.run("features", "input", [], whole, term="input")
