"""What lies on a last feature map: pooling, a head of carlib's or of a user's, the classifier."""

from __future__ import annotations

from typing import Any

import keras
from keras import layers

from carlib.errors import UsageError
from carlib.models.graph import check_layers
from carlib.models.own import lay_head
from carlib.spec import ModelSpec

# Names of layers that come with a head of one's own.
_TAKEN = ("head_pool", "head_average", "head_max", "head_dropout", "head_classes")


def classified(features: Any, spec: ModelSpec, classes: int) -> Any:
    """Return class probabilities (B, classes), float32, of a feature map (B, H, W, C).

    Args:
        features: Keras tensor.
        spec: Its head.
        classes: Number of classes.

    Raises:
        UsageError: A head of one's own that does not end in a vector a photo, or is not of single
            layers of Keras, named head_....

    >>> classified(keras.Input((2, 2, 8)), ModelSpec("tiny", 32, pooling="both"), 3).shape
    (None, 3)
    """
    x = _pooled(features, spec.pooling)
    if spec.head:
        x = _own(x, spec.head, classes)
    if spec.head_norm:
        x = layers.BatchNormalization(name="head_norm")(x)
    if spec.hidden:
        x = layers.Dense(spec.hidden, activation="relu", name="head_hidden")(x)
    x = layers.Dropout(spec.dropout, name="head_dropout")(x)
    # float32: probabilities in half precision lose the small ones.
    return layers.Dense(classes, activation="softmax", dtype="float32", name="head_classes")(x)


def _pooled(x: Any, pooling: str) -> Any:
    """From the last feature map to a vector a photo; the layer that ends it is "head_pool"."""
    if pooling == "average":
        return layers.GlobalAveragePooling2D(name="head_pool")(x)
    if pooling == "max":
        return layers.GlobalMaxPooling2D(name="head_pool")(x)
    average = layers.GlobalAveragePooling2D(name="head_average")(x)
    return layers.Concatenate(name="head_pool")(
        [average, layers.GlobalMaxPooling2D(name="head_max")(x)]
    )


def _own(pooled: Any, name: str, classes: int) -> Any:
    """Refuse what could not be saved for plain Keras, or trained on cached features."""
    x = lay_head(name, pooled, classes)
    if not isinstance(x, keras.KerasTensor) or len(x.shape) != 2 or x.shape[1] is None:
        shape = getattr(x, "shape", None)
        what = type(x).__name__ if shape is None else f"{type(x).__name__} {tuple(shape)}"
        raise UsageError(
            f"head {name!r} must end in one Keras tensor (B, N) made of the pooled features; "
            f"received {what}"
        )
    if x is pooled:
        return x
    try:
        laid = keras.Model(pooled, x)
    except ValueError as error:
        raise UsageError(
            f"head {name!r} is no network from the pooled features to its end "
            f"({' '.join(str(error).split())}); build it of these, each layer named once"
        ) from error
    check_layers(laid, f"head {name!r}")
    for layer in laid.layers[1:]:
        if not layer.name.startswith("head_") or layer.name in _TAKEN:
            raise UsageError(
                f"head {name!r} has a layer named {layer.name!r}; name each head_..., and none "
                f"{', '.join(_TAKEN)}, which are carlib's"
            )
    return x
