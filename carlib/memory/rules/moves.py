"""Rules of layers that put tensors together, move, scale or drop them."""

from __future__ import annotations

from typing import Any

from carlib.memory.rules.base import Made
from carlib.memory.walk import FLOAT, Walk


def add(walk: Walk, layer: Any, node: Any, inputs: list[int]) -> Made:
    """Add: the gradient is the same tensor for all inputs."""
    size = walk.nbytes(node.output_tensors[0])
    y = walk.tape.run(layer.name, "output", inputs, size, reuse=inputs)

    def back(dy: int) -> None:
        for x in inputs:
            walk.give(x, dy, layer.name)

    return y, back


def multiply(walk: Walk, layer: Any, node: Any, inputs: list[int]) -> Made:
    """Multiply: both inputs are read again."""
    name, size = layer.name, walk.nbytes(node.output_tensors[0])
    y = walk.tape.run(name, "output", inputs, size, reuse=inputs)
    if len(inputs) == 1:  # by a number

        def scale_back(dy: int) -> None:
            walk.give(inputs[0], walk.tape.run(name, "gradient", [dy], size, reuse=[dy]), name)

        return y, scale_back

    def back(dy: int) -> None:
        for x, other, tensor in zip(inputs, inputs[::-1], node.input_tensors, strict=True):
            if not walk.wants(x):
                continue
            own = walk.nbytes(tensor)
            made = walk.tape.run(name, "gradient", [dy, other], size, reuse=[dy, other])
            if own != size:  # it was spread over the photo: the sum is small
                made = walk.tape.run(name, "gradient", [made], own)
            walk.give(x, made, name)

    return y, back


def concatenate(walk: Walk, layer: Any, node: Any, inputs: list[int]) -> Made:
    y = walk.tape.run(layer.name, "output", inputs, walk.nbytes(node.output_tensors[0]))

    def back(dy: int) -> None:
        for x, tensor in zip(inputs, node.input_tensors, strict=True):
            if walk.wants(x):
                made = walk.tape.run(layer.name, "gradient", [dy], walk.nbytes(tensor))
                walk.give(x, made, layer.name)

    return y, back


def moved(walk: Walk, layer: Any, node: Any, inputs: list[int]) -> Made:
    """Padding, cropping, average pooling: a new tensor, and nothing saved."""
    size, entry = walk.nbytes(node.output_tensors[0]), walk.nbytes(node.input_tensors[0])
    y = walk.tape.run(layer.name, "output", inputs, size)

    def back(dy: int) -> None:
        walk.give(inputs[0], walk.tape.run(layer.name, "gradient", [dy], entry), layer.name)

    return y, back


def maxpool(walk: Walk, layer: Any, node: Any, inputs: list[int]) -> Made:
    """MaxPooling2D: finds the largest again, from input and output."""
    x, size, entry = (
        inputs[0],
        walk.nbytes(node.output_tensors[0]),
        walk.nbytes(node.input_tensors[0]),
    )
    y = walk.tape.run(layer.name, "output", [x], size)

    def back(dy: int) -> None:
        walk.give(x, walk.tape.run(layer.name, "gradient", [x, y, dy], entry), layer.name)

    return y, back


def reshaped(walk: Walk, layer: Any, node: Any, inputs: list[int]) -> Made:
    """Reshape, Flatten: the same memory by another name."""
    return inputs[0], None


def dropout(walk: Walk, layer: Any, node: Any, inputs: list[int]) -> Made:
    """Dropout: a mask of one byte a place, or of one a photo for drop-connect."""
    if not walk.training or not layer.rate:
        return inputs[0], None
    x, name, output = inputs[0], layer.name, node.output_tensors[0]
    size, places = walk.nbytes(output), walk.nbytes(output, "uint8")
    if getattr(layer, "noise_shape", None):
        places = walk.batch
    drawn = walk.tape.run(name, "drawn", [x], places * FLOAT)
    mask = walk.tape.run(name, "mask", [drawn], places)
    scaled = walk.tape.run(name, "scaled", [x], size, reuse=[x])
    y = walk.tape.run(name, "output", [scaled, mask], size)

    def back(dy: int) -> None:
        made = walk.tape.run(name, "gradient", [dy, mask], size)
        walk.give(x, walk.tape.run(name, "gradient", [made], size, reuse=[made]), name)

    return y, back


def scaled(walk: Walk, layer: Any, node: Any, inputs: list[int]) -> Made:
    """Rescaling, Normalization: element by element, in the output's type."""
    name, size = layer.name, walk.nbytes(node.output_tensors[0])
    y = walk.tape.run(name, "output", inputs, size, reuse=inputs)

    def back(dy: int) -> None:
        walk.give(inputs[0], walk.tape.run(name, "gradient", [dy], size, reuse=[dy]), name)

    return y, back


def layerscale(walk: Walk, layer: Any, node: Any, inputs: list[int]) -> Made:
    """LayerScale: its gradient reads the input."""
    x, name, size = inputs[0], layer.name, walk.nbytes(node.output_tensors[0])
    y = walk.tape.run(name, "output", [x], size, reuse=[x])

    def back(dy: int) -> None:
        product = walk.tape.run(name, "gradient times input", [dy, x], size, reuse=[x])
        for weight in layer.weights:
            walk.weight(layer, weight, [product])
        walk.give(x, walk.tape.run(name, "gradient", [dy], size, reuse=[dy]), name)

    return y, back
