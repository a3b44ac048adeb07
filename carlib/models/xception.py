"""Xception of ``keras.applications``, its layers named by block, the scaling inside.

Source: Chollet, "Xception", arxiv.org/abs/1610.02357. Its first two convolutions are the
stem here, its last two the top; between them, each residual unit is a block.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

import keras
from keras import layers

from carlib.models.graph import fresh, lay_over
from carlib.models.releases import Release

# Name, url and MD5 as in keras/src/applications/xception.py, which keeps them to itself.
_FILE = "xception_weights_tf_dim_ordering_tf_kernels_notop.h5"
IMAGENET = Release(
    _FILE,
    f"https://storage.googleapis.com/tensorflow/keras-applications/xception/{_FILE}",
    "b0042744bf5b25fce3cb969f33bebb97",
)
FIRST, LAST = 2, 13  # the residual units
PROJECTED = (2, 3, 4, 13)  # those that halve the map: a convolution leads around them


def xception_features(photos: Any, *, drop_connect: float = 0.2) -> Any:
    """Return the feature map of photos: (B, S, S, 3) in 0..255 to (B, S/32, S/32, 2048).

    Args:
        photos: Keras tensor.
        drop_connect: Share of photos for which a block with a plain skip connection is left
            out in training, growing linearly from 0 at the first block towards this value. The
            original has none, which is 0. Defaults to 0.2.

    >>> xception_features(keras.Input((96, 96, 3))).shape
    (None, 3, 3, 2048)
    """
    original = keras.applications.Xception(weights=None, include_top=False)
    # preprocess_input of keras.applications.xception, mode "tf"
    scaled = layers.Rescaling(1 / 127.5, -1.0, name="stem_scaling")(photos)
    # What leads around a unit has no name of its own in the original; it comes in their order.
    unnamed = {
        layers.Conv2D: _around("residual_conv", PROJECTED),
        layers.BatchNormalization: _around("residual_bn", PROJECTED),
        layers.Add: _around("add", range(FIRST, LAST + 1)),
    }

    def make(layer: Any) -> Any:
        if layer.name.startswith("block"):
            return fresh(layer, name=block_name(layer.name))
        new = fresh(layer, name=next(unnamed[type(layer)]))
        unit = int(re.findall(r"\d+", new.name)[0])
        rate = drop_connect * (unit - FIRST) / (LAST + 1 - FIRST)
        if not isinstance(layer, layers.Add) or unit in PROJECTED or not rate:
            return new
        drop = layers.Dropout(rate, noise_shape=(None, 1, 1, 1), name=f"block{unit}a_drop")
        return lambda inputs: new([drop(inputs[0]), inputs[1]])

    return lay_over(original, scaled, make)


def block_name(name: str) -> str:
    """Return what a layer of the original is called here.

    >>> [block_name(name) for name in ("block1_conv1", "block9_sepconv2", "block14_sepconv2_act")]
    ['stem_conv1', 'block9a_sepconv2', 'top_sepconv2_act']
    """
    name = re.sub(r"^block1_", "stem_", name)
    name = re.sub(r"^block14_", "top_", name)
    return re.sub(r"^block(\d+)_", r"block\1a_", name)


def _around(part: str, units: Any) -> Iterator[str]:
    return (f"block{unit}a_{part}" for unit in units)
