"""A ResNet for small photos, from scratch: nothing is thrown away before the first block."""

from __future__ import annotations

import string
from typing import Any

from keras import layers

BLOCKS = 2  # of a group
FILTERS = 64  # of the first group; each next has twice as many
DROPOUT = 0.1  # in each block, between its two convolutions


def small_resnet_features(photos: Any, *, groups: int = 3, drop_connect: float = 0.2) -> Any:
    """Return the feature map of photos: (B, S, S, 3) in 0..255 to (B, S/2**(groups-1), ..., C).

    The stem keeps the photos' side: 5 x 5, stride 1, no pooling. Blocks are those of ResNet18 (He
    et al. 2016, arxiv.org/abs/1512.03385) with a dropout between their convolutions (Zagoruyko and
    Komodakis 2016, arxiv.org/abs/1605.07146).

    Args:
        photos: Keras tensor.
        groups: Of two blocks each; 64 channels, then 128, 256, 512. Defaults to 3.
        drop_connect: Share of photos for which the last block is skipped in training, the others
            in proportion to their depth. Defaults to 0.2.

    >>> import keras
    >>> small_resnet_features(keras.Input((40, 40, 3))).shape
    (None, 10, 10, 256)
    """
    x = layers.Rescaling(1 / 127.5, -1.0, name="stem_scaling")(photos)
    x = _norm(
        layers.Conv2D(FILTERS, 5, padding="same", use_bias=False, name="stem_conv")(x), "stem_"
    )
    x = layers.ReLU(name="stem_activation")(x)
    for group in range(groups):
        for block in range(BLOCKS):
            prefix = f"block{group + 1}{string.ascii_lowercase[block]}_"
            number = group * BLOCKS + block + 1
            x = _block(
                x,
                FILTERS * 2**group,
                2 if group and not block else 1,
                prefix,
                drop_connect * number / (groups * BLOCKS),
            )
    return layers.Activation("linear", name="top_activation")(x)


def _block(x: Any, filters: int, stride: int, prefix: str, drop: float) -> Any:
    entry = x
    if stride > 1:
        entry = layers.Conv2D(filters, 1, stride, use_bias=False, name=f"{prefix}entry_conv")(x)
        entry = _norm(entry, f"{prefix}entry_")
    options: dict[str, Any] = {"padding": "same", "use_bias": False}
    x = layers.Conv2D(filters, 3, stride, **options, name=f"{prefix}conv1")(x)
    x = layers.ReLU(name=f"{prefix}activation1")(_norm(x, f"{prefix}1_"))
    x = layers.Dropout(DROPOUT, name=f"{prefix}dropout")(x)
    x = _norm(layers.Conv2D(filters, 3, **options, name=f"{prefix}conv2")(x), f"{prefix}2_")
    if drop:
        x = layers.Dropout(drop, noise_shape=(None, 1, 1, 1), name=f"{prefix}drop")(x)
    x = layers.Add(name=f"{prefix}add")([x, entry])
    return layers.ReLU(name=f"{prefix}activation2")(x)


def _norm(x: Any, prefix: str) -> Any:
    return layers.BatchNormalization(momentum=0.9, name=f"{prefix}bn")(x)
