"""What a model's steps take on a device, layer by layer, from operations and bytes: a guess.

Each layer takes the longer of two times: its operations at the device's peak, or its bytes at
the device's bandwidth (the roofline of Williams et al. 2009, doi.org/10.1145/1498765.1498785),
and a little to be started. Depthwise networks are bound by bytes nearly everywhere, so float16
helps them less than its peak says. The two shares and the start are fitted to what NVIDIA publishes
of EfficientNet-B0 and -B4 on V100 and A100 (DeepLearningExamples, TensorFlow2, efficientnet_v1):
no figure there is further off than 1.6 times.
"""

from __future__ import annotations

import math
from collections.abc import Collection
from dataclasses import dataclass

import keras
from keras import layers

from carlib.devices import Device
from carlib.errors import UsageError
from carlib.freeze import multiply_adds
from carlib.models.build import blocks

OPERATIONS, BYTES = 0.5, 0.4  # of the peaks
LAUNCH = 40e-6  # seconds to start a layer on a GPU, a pass
BACK_OPERATIONS, BACK_BYTES = 2, 2.5  # of a pass backward, against one forward
OPTIMIZER = 28  # bytes of a weight that AdamW reads and writes
# XLA makes these part of their neighbours.
_FUSED = (layers.Activation, layers.ReLU, layers.Dropout, layers.Rescaling, layers.ZeroPadding2D)


@dataclass(frozen=True, slots=True)
class Layer:
    """What a layer does in a forward pass of one photo of the model's size.

    Args:
        block: That it belongs to.
        adds: Multiply-adds.
        values: Numbers that it reads and writes, its weights aside.
        fused: Whether XLA makes it part of another.
        weights: How many it has.
    """

    block: str
    adds: int
    values: int
    fused: bool
    weights: int


@dataclass(frozen=True, slots=True)
class Profile:
    """A model's layers, bottom first.

    Args:
        size: Side of the photos that the layers' figures are for, px.
        layers: In order of their blocks.
    """

    size: int
    layers: tuple[Layer, ...]

    def seconds(
        self,
        device: Device,
        *,
        batch: int,
        size: int,
        trains: Collection[str] = (),
        half: bool = False,
        xla: bool = False,
        above: str = "",
    ) -> float:
        """Return what one step takes on a device.

        Args:
            device: With known speed.
            batch: Photos.
            size: Their side, px.
            trains: Blocks that train; none for a forward pass. Those above the lowest of them
                have a pass backward too.
            half: In mixed_float16.
            xla: Compiled by XLA.
            above: Leave out the blocks below this one, whose features are kept.

        Raises:
            UsageError: A device whose speed is not known.
        """
        if not device.timed:
            raise UsageError(
                f"how fast {device.name} is, is not known; give --gpu a name such as T4, or run "
                "the plan on the device itself, where steps are measured"
            )
        peak = OPERATIONS * (device.float16 if half else device.float32)
        bandwidth = BYTES * device.bandwidth
        larger = (size / self.size) ** 2 * batch
        total, backward, reached = 0.0, False, not above
        for layer in self.layers:
            reached = reached or layer.block == above
            if not reached:
                continue
            backward = backward or layer.block in trains
            if layer.block in trains:
                total += OPTIMIZER * layer.weights / bandwidth
            if xla and layer.fused:
                continue
            operations = 2 * layer.adds * larger / peak
            moved = (2 if half else 4) * layer.values * larger / bandwidth
            launch = LAUNCH if device.kind == "gpu" else 0.0
            total += launch + max(operations, moved)
            if backward:
                total += 2 * launch + max(BACK_OPERATIONS * operations, BACK_BYTES * moved)
        return total


def profile_of(model: keras.Model) -> Profile:
    """Return the profile of a model that ``build_model`` made.

    >>> from carlib.models.build import build_model
    >>> from carlib.spec import ModelSpec
    >>> profile = profile_of(build_model(ModelSpec("tiny", 32), 3))
    >>> profile.size, profile.layers[-1].block, profile.layers[-1].adds
    (32, 'head', 144)
    """
    found = []
    for block, members in blocks(model).items():
        for layer in members:
            inputs = layer.input if isinstance(layer.input, list | tuple) else [layer.input]
            tensors = [*inputs, layer.output]
            found.append(
                Layer(
                    block,
                    multiply_adds(layer),
                    sum(math.prod(tensor.shape[1:]) for tensor in tensors),
                    isinstance(layer, _FUSED),
                    layer.count_params(),
                )
            )
    return Profile(int(model.input.shape[1]), tuple(found))
