"""The workhorse of the tests: every kind of layer that matters, a few thousand parameters."""

from __future__ import annotations

from typing import Any

from keras import layers

BLOCKS = (("block1a", 16, 1), ("block2a", 24, 2), ("block2b", 24, 1))  # name, filters, stride


def tiny_features(photos: Any, *, drop_connect: float = 0.2) -> Any:
    """Return the feature map of photos: (B, S, S, 3) in 0..255 to (B, S/8, S/8, 48).

    Depthwise convolution, BatchNorm, swish and drop-connect, as in EfficientNet.

    Args:
        photos: Keras tensor.
        drop_connect: Share of photos for which the last block is skipped in training, the
            first a third as often. Defaults to 0.2.
    """
    x = layers.Rescaling(1 / 127.5, -1.0, name="stem_scaling")(photos)
    x = layers.Conv2D(16, 3, 2, padding="same", use_bias=False, name="stem_conv")(x)
    x = layers.BatchNormalization(momentum=0.9, name="stem_bn")(x)
    x = layers.Activation("silu", name="stem_activation")(x)
    for number, (name, filters, stride) in enumerate(BLOCKS, 1):
        x = _block(x, filters, stride, f"{name}_", drop=drop_connect * number / len(BLOCKS))
    x = layers.Conv2D(48, 1, 2, use_bias=False, name="top_conv")(x)
    x = layers.BatchNormalization(momentum=0.9, name="top_bn")(x)
    return layers.Activation("silu", name="top_activation")(x)


def _block(x: Any, filters: int, stride: int, prefix: str, drop: float) -> Any:
    inputs = x
    x = layers.DepthwiseConv2D(3, stride, padding="same", use_bias=False, name=f"{prefix}dwconv")(x)
    x = layers.BatchNormalization(momentum=0.9, name=f"{prefix}bn")(x)
    x = layers.Activation("silu", name=f"{prefix}activation")(x)
    x = layers.Conv2D(filters, 1, use_bias=False, name=f"{prefix}project_conv")(x)
    x = layers.BatchNormalization(momentum=0.9, name=f"{prefix}project_bn")(x)
    if stride == 1 and inputs.shape[-1] == filters:
        if drop > 0:
            x = layers.Dropout(drop, noise_shape=(None, 1, 1, 1), name=f"{prefix}drop")(x)
        x = layers.Add(name=f"{prefix}add")([x, inputs])
    return x
