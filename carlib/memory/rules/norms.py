"""Rules of layers that normalise."""

from __future__ import annotations

from typing import Any

from carlib.memory.rules.base import Made, is_half
from carlib.memory.walk import Walk


def batchnorm(walk: Walk, layer: Any, node: Any, inputs: list[int]) -> Made:
    """BatchNormalization: not fused, and in float32 also under mixed precision."""
    x, name, output = inputs[0], layer.name, node.output_tensors[0]
    size, half = walk.nbytes(output, "float32"), is_half(layer)
    by_batch = walk.training and layer.trainable and "call" not in vars(layer)
    x32 = walk.tape.run(name, "input in float32", [x], size) if half else x
    reads = [x32]
    if by_batch:
        squares = walk.tape.run(name, "squared differences", [x32], size)
        reads.append(walk.tape.run(name, "variance", [squares]))
    y = walk.tape.run(name, "output", reads, size, reuse=[x32])
    if half:
        y = walk.tape.run(name, "output", [y], walk.nbytes(output))

    def back(dy: int) -> None:
        if half:
            dy = walk.tape.run(name, "gradient in float32", [dy], size)
        done: list[int] = []
        parts: list[int] = []
        trains = layer.scale and layer.gamma.trainable

        def gamma() -> int:
            product = walk.tape.run(name, "gradient times input", [dy, x32, *parts], size)
            return walk.tape.run(name, "gradient of gamma", [product])

        if by_batch:
            parts.append(walk.tape.run(name, "gradient through the mean", [dy], size))
            done = [gamma()]
            spread = walk.tape.run(name, "gradient through the variance", done, size)
            parts.append(
                walk.tape.run(
                    name, "gradient through the variance", [spread, x32], size, reuse=[spread]
                )
            )
        elif trains and walk.wants(x):
            walk.later(gamma)  # nothing below reads it
        elif trains:
            gamma()
        if not walk.wants(x):
            return
        made = walk.tape.run(name, "gradient", [dy, *done], size, reuse=[dy])
        if parts:
            made = walk.tape.run(name, "gradient", [made, *parts], size, reuse=[made])
        if half:
            made = walk.tape.run(name, "gradient", [made], walk.nbytes(output))
        walk.give(x, made, name)

    return y, back


def layernorm(walk: Walk, layer: Any, node: Any, inputs: list[int]) -> Made:
    """LayerNormalization: as BatchNorm on each photo's own statistics, trained or not."""
    x, name, output = inputs[0], layer.name, node.output_tensors[0]
    size, half = walk.nbytes(output, "float32"), is_half(layer)
    x32 = walk.tape.run(name, "input in float32", [x], size) if half else x
    squares = walk.tape.run(name, "squared differences", [x32], size)
    variance = walk.tape.run(name, "variance", [squares])
    scaled = walk.tape.run(name, "scale", [variance], size)
    y = walk.tape.run(name, "output", [x32, scaled], size)
    if half:
        y = walk.tape.run(name, "output", [y], walk.nbytes(output))

    def back(dy: int) -> None:
        if half:
            dy = walk.tape.run(name, "gradient in float32", [dy], size)
        product = walk.tape.run(name, "gradient times input", [dy, x32], size)
        first = walk.tape.run(name, "gradient", [dy, scaled, product], size, reuse=[dy])
        second = walk.tape.run(name, "gradient", [first, x32, product], size)
        made = walk.tape.run(name, "gradient", [second, first], size, reuse=[first])
        if half:
            made = walk.tape.run(name, "gradient", [made], walk.nbytes(output))
        walk.give(x, made, name)

    return y, back
