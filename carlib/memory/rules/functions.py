"""Rules of element-wise functions, as layers and on top of others."""

from __future__ import annotations

from typing import Any

from carlib.memory.rules.base import Back, Made
from carlib.memory.walk import Walk


def _relu(walk: Walk, name: str, x: int, size: int) -> Made:
    y = walk.tape.run(name, "output", [x], size, reuse=[x])

    def back(dy: int) -> None:
        walk.give(x, walk.tape.run(name, "gradient", [dy, y], size, reuse=[dy]), name)

    return y, back


def _sigmoid(walk: Walk, name: str, x: int, size: int) -> Made:
    return _relu(walk, name, x, size)  # its gradient reads the output too


def _silu(walk: Walk, name: str, x: int, size: int) -> Made:
    """tf.nn.silu computes its sigmoid again in the backward pass, from the input."""
    sigmoid = walk.tape.run(name, "sigmoid", [x], size)
    y = walk.tape.run(name, "output", [x, sigmoid], size, reuse=[sigmoid, x])

    def back(dy: int) -> None:
        again = walk.tape.run(name, "sigmoid again", [x, dy], size)
        rest = walk.tape.run(name, "1 - sigmoid", [again], size)
        rest = walk.tape.run(name, "slope", [rest, x], size, reuse=[rest])
        slope = walk.tape.run(name, "slope", [again, rest], size, reuse=[rest, again])
        walk.give(x, walk.tape.run(name, "gradient", [dy, slope], size, reuse=[dy, slope]), name)

    return y, back


def _hard_silu(walk: Walk, name: str, x: int, size: int) -> Made:
    gate, gate_back = _hard_sigmoid(walk, name, x, size)
    y = walk.tape.run(name, "output", [x, gate], size, reuse=[])

    def back(dy: int) -> None:
        inner = walk.tape.run(name, "gradient of the gate", [dy, x], size)
        outer = walk.tape.run(name, "gradient", [dy, gate], size, reuse=[dy])
        assert gate_back is not None
        walk.give(x, outer, name)
        gate_back(inner)

    return y, back


def _hard_sigmoid(walk: Walk, name: str, x: int, size: int) -> Made:
    shifted = walk.tape.run(name, "shifted", [x], size)
    clipped = walk.tape.run(name, "clipped", [shifted], size, reuse=[shifted])
    y = walk.tape.run(name, "output", [clipped], size)

    def back(dy: int) -> None:
        gradient = walk.tape.run(name, "gradient", [dy, clipped], size, reuse=[dy])
        walk.give(x, gradient, name)

    return y, back


def _gelu(walk: Walk, name: str, x: int, size: int) -> Made:
    """x / 2 * erfc(-x / sqrt(2)); what its slope needs is computed on the way forward."""
    negative = walk.tape.run(name, "negative", [x], size)
    scaled = walk.tape.run(name, "scaled", [negative], size, reuse=[negative])
    half = walk.tape.run(name, "half", [x], size)
    error = walk.tape.run(name, "erfc", [scaled], size)
    y = walk.tape.run(name, "output", [half, error], size)
    if not walk.training:
        return y, None
    square = walk.tape.run(name, "square", [scaled], size)

    def back(dy: int) -> None:
        inner = walk.tape.run(name, "gradient of erfc", [dy, half], size, reuse=[half])
        slope = walk.tape.run(name, "slope", [scaled, square], size, reuse=[square])
        inner = walk.tape.run(name, "gradient of erfc", [inner, slope], size, reuse=[inner])
        outer = walk.tape.run(name, "gradient", [dy, error], size, reuse=[dy, error])
        walk.give(x, outer, name)
        walk.give(x, inner, name)

    return y, back


def _linear(walk: Walk, name: str, x: int, size: int) -> Made:
    return x, None


ACTIVATIONS = {
    "linear": _linear,
    "relu": _relu,
    "relu6": _relu,
    "leaky_relu": _silu,
    "sigmoid": _sigmoid,
    "tanh": _sigmoid,
    "softmax": _sigmoid,
    "silu": _silu,
    "swish": _silu,
    "hard_sigmoid": _hard_sigmoid,
    "hard_silu": _hard_silu,
    "gelu": _gelu,
}


def activated(walk: Walk, layer: Any, node: Any, made: Made) -> Made:
    """Put a layer's own activation on top of what it has made."""
    name = getattr(getattr(layer, "activation", None), "__name__", "linear")
    if name == "linear":
        return made
    inner, back = made
    rule = ACTIVATIONS.get(name, _silu)
    y, activation_back = rule(walk, layer.name, inner, walk.nbytes(node.output_tensors[0]))
    return chained(walk, y, activation_back, inner, back)


def chained(walk: Walk, y: int, second: Back | None, inner: int, first: Back | None) -> Made:
    """Two backward functions, one after the other."""
    if second is None:
        return y, first
    walk.needs.add(inner)

    def back(dy: int) -> None:
        second(dy)
        gradient = walk.gradients.pop(inner, None)
        if gradient is not None and first is not None:
            first(gradient)

    return y, back


def activation(walk: Walk, layer: Any, node: Any, inputs: list[int]) -> Made:
    """Activation, ReLU, Softmax and their like."""
    name = getattr(getattr(layer, "activation", None), "__name__", "relu")
    # TensorFlow computes the same function of the same tensor once.
    twin = walk.twins.get((name, inputs[0]))
    if twin is not None:
        return twin, None
    rule = ACTIVATIONS.get(name, _silu)
    made = rule(walk, layer.name, inputs[0], walk.nbytes(node.output_tensors[0]))
    walk.twins[name, inputs[0]] = made[0]
    return made
