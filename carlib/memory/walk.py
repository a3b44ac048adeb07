"""A model's training step, or its forward pass, as a tape: layer by layer there and back."""

from __future__ import annotations

import functools
import gc
import math
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import keras
import numpy as np

from carlib.memory.tape import Tape

FLOAT = 4  # bytes


class Walk:
    """What the rules of layers write with.

    Args:
        batch: Photos a step.
        training: Whether a backward pass follows.
        rules: By class name of a layer or operation.

    Attributes:
        unknown: Names of layers without a rule.
    """

    def __init__(self, batch: int, *, training: bool, rules: dict[str, Callable[..., Any]]):
        self.tape, self.batch, self.training, self.rules = Tape(), batch, training, rules
        # By id of a variable: what it was before the optimizer decayed it.
        self.decayed: dict[int, int] = {}
        self.unknown: list[str] = []
        self.values: dict[int, int] = {}  # of a Keras tensor, by id: the tape's
        self.needs: set[int] = set()  # the tape's tensors whose gradient is wanted
        self.gradients: dict[int, int] = {}
        self.twins: dict[tuple[str, int], int] = {}  # outputs of functions of tensors
        self.backwards: list[Callable[[], None]] = []
        self.waiting: list[Callable[[], Any]] = []  # of ``later``
        # Called as soon as a gradient is made: its variable, itself, what others still read then.
        self.updated: Callable[[Any, int, list[int]], None] = lambda *_: None

    # What rules ask for.

    def nbytes(self, tensor: Any, dtype: str | None = None) -> int:
        """Bytes of a Keras tensor at this batch."""
        places = math.prod(self.batch if side is None else side for side in tensor.shape)
        return int(places) * size_of(dtype or tensor.dtype)

    def wants(self, tensor: int) -> bool:
        """Whether a tensor's gradient is wanted."""
        return self.training and tensor in self.needs

    def give(self, tensor: int, gradient: int, layer: str) -> None:
        """Hand a gradient to the tensor it is of; several are added up."""
        if not self.wants(tensor):
            return
        if tensor in self.gradients:
            both = [self.gradients[tensor], gradient]
            size = self.tape.tensors[gradient].nbytes
            gradient = self.tape.run(layer, "sum of gradients", both, size, reuse=both)
        self.gradients[tensor] = gradient

    def weight(
        self, layer: Any, variable: Any, inputs: list[int], *, scratch: int = 0, half: bool = False
    ) -> None:
        """Write down the gradient of one of a layer's weights, where it trains.

        Args:
            layer: Whose.
            variable: The weight.
            inputs: Tensors that the gradient is made of, and such as its twin reads meanwhile.
            scratch: Bytes meanwhile. Defaults to 0.
            half: It is made in half precision, and cast. Defaults to False.
        """
        if not variable.trainable:
            return
        places, what = math.prod(variable.shape), f"gradient of {variable.name}"
        options: dict[str, Any] = {"scratch": scratch, "term": "gradients"}
        if half:
            made = self.tape.run(layer.name, what, inputs, places * 2, **options)
            made = self.tape.run(layer.name, what, [made], places * FLOAT, term="gradients")
        else:
            made = self.tape.run(layer.name, what, inputs, places * FLOAT, **options)
        self.updated(variable, made, inputs[2:])

    def later(self, write: Callable[[], Any]) -> None:
        """Have operations written once the layer below has the gradient of its input.

        TensorFlow goes on at once with one of the operations that read a gradient and hands the
        others to its second thread, which begins them when the next long one has its memory
        (executor.cc of TensorFlow). Until then they hold what they read.

        Args:
            write: Writes what no layer waits for, such as the gradient of a gamma.
        """
        self.waiting.append(write)

    def catch_up(self, count: int | None = None) -> None:
        """Write the first ``count`` that were to come later. Defaults to all."""
        due = self.waiting[:count]
        del self.waiting[:count]
        for write in due:
            write()

    # The walk itself.

    def model(self, model: Any, entries: list[int]) -> list[int]:
        """Walk a functional model forward from its inputs; return its outputs."""
        self.values.update(zip(map(id, model.inputs), entries, strict=True))
        for node in nodes_of(model):
            inputs = [self.values[id(tensor)] for tensor in node.input_tensors]
            part = functional(node.operation)
            if part is not None:  # a model in the model
                outputs = self.model(part, inputs)
            else:
                outputs = [self._layer(node.operation, node, inputs)] * len(node.output_tensors)
            self.values.update(zip(map(id, node.output_tensors), outputs, strict=True))
        return [self.values[id(tensor)] for tensor in model.outputs]

    def _layer(self, layer: Any, node: Any, inputs: list[int]) -> int:
        trains = getattr(layer, "trainable", False) and any(
            weight.trainable for weight in layer.weights
        )
        rule = self._rule(layer)
        output: int
        output, backward = rule(self, layer, node, inputs)
        if self.training and (trains or any(self.wants(tensor) for tensor in inputs)):
            self.needs.add(output)
            if backward is not None and output not in inputs:
                self.backwards.append(lambda: self._back(output, backward))
        return output

    def _back(self, output: int, backward: Callable[[int], None]) -> None:
        if output in self.gradients:
            waiting = len(self.waiting)
            backward(self.gradients.pop(output))
            self.catch_up(waiting)

    def _rule(self, layer: Any) -> Callable[..., Any]:
        for kind in type(layer).__mro__:
            # A class of somebody's own may be called Dense as well.
            if kind.__module__.startswith("keras.") and kind.__name__ in self.rules:
                return self.rules[kind.__name__]
        self.unknown.append(layer.name)
        return self.rules["?"]

    def back(self, output: int, gradient: int) -> None:
        """Walk backward from the output's gradient."""
        self.tape.backward = True
        self.gradients[output] = gradient
        for backward in reversed(self.backwards):
            backward()
        self.catch_up()


def functional(layer: Any) -> Any:
    """Return a model as a graph of layers, of a Sequential what it is inside; None of others."""
    part = getattr(layer, "_functional", layer)
    return part if hasattr(part, "_nodes_by_depth") else None


def nodes_of(model: Any) -> list[Any]:
    """Return a functional model's nodes in the order in which Keras runs them."""
    by_depth = model._nodes_by_depth
    return [
        node
        for depth in sorted(by_depth, reverse=True)
        for node in by_depth[depth]
        if not isinstance(node.operation, keras.layers.InputLayer)
    ]


@contextmanager
def at_once() -> Iterator[None]:
    """Walk without collections of garbage: one looks at all of TensorFlow's objects."""
    collects = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if collects:
            gc.enable()


@functools.cache
def size_of(dtype: str) -> int:
    """Bytes of one element."""
    return 2 if dtype == "bfloat16" else int(np.dtype(dtype).itemsize)
