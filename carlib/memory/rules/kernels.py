"""Rules of layers with kernels: convolutions and dense layers."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

from keras import layers

from carlib.memory.rules.base import Made, is_half, kernel_bytes
from carlib.memory.rules.functions import activated, chained
from carlib.memory.walk import Walk, size_of

CACHE = 30 * 2**20  # bytes of a third-level cache, the machine's that the rules were read on
SHORT = 4e6  # multiply-adds: two gradients of fewer are never computed at once


def convolution(walk: Walk, layer: Any, node: Any, inputs: list[int]) -> Made:
    """Conv2D, Dense, DepthwiseConv2D: the input is read again for the kernel's gradient."""
    kernel = layer.kernel
    x, pair = inputs[0], (node.input_tensors[0], node.output_tensors[0])
    depthwise = isinstance(layer, layers.DepthwiseConv2D)
    made = _kernel(walk, layer, kernel, x, pair, depthwise=depthwise)
    return activated(walk, layer, node, _biased(walk, layer, made, pair[1]))


def _kernel(
    walk: Walk, layer: Any, kernel: Any, x: int, pair: tuple[Any, Any], *, depthwise: bool = False
) -> Made:
    name, half = layer.name, is_half(layer)
    sizes = [walk.nbytes(tensor, layer.compute_dtype) for tensor in pair]
    reads = [x]
    if half:
        half_size, what = kernel_bytes(kernel) // 2, "kernel in half precision"
        reads.append(walk.tape.run(name, what, [x], half_size, term="weights"))
    elif id(kernel) in walk.decayed:
        reads.append(walk.decayed[id(kernel)])
    scratch = Scratch() if depthwise else Scratch.of(walk, layer, kernel, pair[1])
    y = walk.tape.run(name, "output", reads, sizes[1])

    def back(dy: int) -> None:
        if walk.wants(x):
            made = walk.tape.run(
                name, "gradient", [dy, *reads[1:]], sizes[0], scratch=scratch.of_input
            )
            walk.give(x, made, name)
        walk.catch_up()
        # Both gradients are computed at once: TensorFlow has two threads or more for them.
        beside = scratch.of_input if walk.wants(x) and scratch.takes_time else 0
        walk.weight(
            layer, kernel, [x, dy, *reads[1:]], scratch=scratch.of_kernel + beside, half=half
        )

    return y, back


def _biased(walk: Walk, layer: Any, made: Made, output: Any) -> Made:
    bias = getattr(layer, "bias", None)
    if bias is None:
        return made
    inner, first = made
    y = walk.tape.run(
        layer.name, "output", [inner], walk.nbytes(output, layer.compute_dtype), reuse=[inner]
    )

    def back(dy: int) -> None:
        if first is not None:
            first(dy)
        walk.weight(layer, bias, [dy], half=is_half(layer))

    return y, back


@dataclass(frozen=True, slots=True)
class Scratch:
    """What TensorFlow's convolutions on a CPU unroll photos into, in bytes.

    The two backward ones unroll as many photos as fill the third-level cache
    (conv_grad_input_ops.cc and conv_grad_filter_ops.cc of TensorFlow). On a GPU cuDNN's scratch is
    in their place, which takes what there is.

    Args:
        of_input: For the gradient of the photos.
        of_kernel: For the gradient of the kernel.
        takes_time: The gradients take long enough to meet.
    """

    of_input: int = 0
    of_kernel: int = 0
    takes_time: bool = True

    @classmethod
    def of(cls, walk: Walk, layer: Any, kernel: Any, output: Any) -> Scratch:
        """Return what a convolution unrolls, or a dense layer of maps; nothing for depthwise."""
        if len(kernel.shape) != 4:  # of maps: a gradient for each row of each photo, then their sum
            rows = walk.batch * math.prod(output.shape[1:-2]) if len(output.shape) > 2 else 0
            return cls(of_kernel=rows * math.prod(kernel.shape) * size_of(layer.compute_dtype))
        element = size_of(layer.compute_dtype)
        height, width, channels, filters = kernel.shape
        if getattr(layer, "groups", 1) > 1:  # gradients of the kernel as if it had no groups
            return cls(of_kernel=2 * kernel_bytes(kernel) * layer.groups)
        places, patch = math.prod(output.shape[1:3]), height * width * channels
        work = places * patch + patch * filters + places * filters
        column = -(-CACHE // element // work) * places * patch * element
        takes_time = walk.batch * places * patch * filters > SHORT
        return cls(column, column, takes_time)


def separable(walk: Walk, layer: Any, node: Any, inputs: list[int]) -> Made:
    """SeparableConv2D: depthwise, then pointwise on what that gave."""
    photos, output = node.input_tensors[0], node.output_tensors[0]
    channels = photos.shape[-1] * layer.depth_multiplier
    between = _Shape((*output.shape[:-1], channels), output.dtype)
    depth = _kernel(
        walk, layer, layer.depthwise_kernel, inputs[0], (photos, between), depthwise=True
    )
    inner = depth[0]
    walk.needs.add(inner)
    point = _kernel(walk, layer, layer.pointwise_kernel, inner, (between, output))
    made = chained(walk, point[0], point[1], inner, depth[1])
    return activated(walk, layer, node, _biased(walk, layer, made, output))


class _Shape:
    def __init__(self, shape: tuple[Any, ...], dtype: str):
        self.shape, self.dtype = shape, dtype
