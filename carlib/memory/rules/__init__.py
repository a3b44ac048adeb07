"""What each kind of layer makes, reads and holds: one rule a kind.

A rule writes the layer's forward operations on the walk's tape and returns its output and a
function that writes the backward ones, from the gradient of the output; None where there is
nothing to write. What a backward operation reads is what the step has to save; no rule says so
by itself. Read from traces of Keras 3.13 and 3.15 on TensorFlow 2.20 and 2.21 without XLA.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from carlib.memory.rules.base import Made
from carlib.memory.rules.functions import activation
from carlib.memory.rules.kernels import convolution, separable
from carlib.memory.rules.moves import (
    add,
    concatenate,
    dropout,
    layerscale,
    maxpool,
    moved,
    multiply,
    reshaped,
    scaled,
)
from carlib.memory.rules.norms import batchnorm, layernorm
from carlib.memory.walk import Walk


def unknown(walk: Walk, layer: Any, node: Any, inputs: list[int]) -> Made:
    """Any other layer: reads input and output again, like most that there are."""
    size = sum(walk.nbytes(tensor) for tensor in node.output_tensors)
    y = walk.tape.run(layer.name, "output", inputs, size)

    def back(dy: int) -> None:
        for x, tensor in zip(inputs, node.input_tensors, strict=True):
            made = walk.tape.run(layer.name, "gradient", [x, y, dy], walk.nbytes(tensor))
            walk.give(x, made, layer.name)
        for weight in getattr(layer, "weights", ()):
            walk.weight(layer, weight, [*inputs, dy])

    return y, back


RULES: dict[str, Callable[..., Made]] = {
    "Activation": activation,
    "ReLU": activation,
    "Softmax": activation,
    "Conv2D": convolution,
    "DepthwiseConv2D": convolution,
    "Dense": convolution,
    "SeparableConv2D": separable,
    "BatchNormalization": batchnorm,
    "LayerNormalization": layernorm,
    "Add": add,
    "Multiply": multiply,
    "Concatenate": concatenate,
    "ZeroPadding2D": moved,
    "Cropping2D": moved,
    "AveragePooling2D": moved,
    "GlobalAveragePooling2D": moved,
    "MaxPooling2D": maxpool,
    "GlobalMaxPooling2D": maxpool,
    "Reshape": reshaped,
    "Flatten": reshaped,
    "Dropout": dropout,
    "Rescaling": scaled,
    "Normalization": scaled,
    "LayerScale": layerscale,
    "?": unknown,
}
