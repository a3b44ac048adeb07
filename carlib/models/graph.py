"""Networks layer by layer: laid again over other photos, flat; held to what plain Keras opens."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import keras
from keras import layers

from carlib.errors import UsageError


def lay_over(original: Any, photos: Any, make: Callable[[Any], Any]) -> Any:
    """Lay new layers over a tensor as a model's own lie over its input; return the last output.

    ``clone_model`` over a tensor that is no Input keeps the copy as a model of its own; walking
    the graph gives layers that lie flat in whatever model is made of them.

    Args:
        original: Functional model with one input and one output.
        photos: Keras tensor (B, S, S, 3).
        make: From an operation of the original, most of them layers, to what is called on the
            new inputs instead: one tensor, or a list where it takes several.

    >>> photos = keras.Input((8, 8, 3))
    >>> original = keras.Model(photos, layers.Conv2D(2, 3)(photos))
    >>> lay_over(original, keras.Input((6, 6, 3)), fresh).shape
    (None, 4, 4, 2)
    """
    tensors: dict[int, Any] = {id(original.input): photos}
    for operation in original.operations:
        if isinstance(operation, layers.InputLayer):
            continue
        inputs = [tensors[id(tensor)] for tensor in keras.tree.flatten(operation.input)]
        output = make(operation)(inputs[0] if len(inputs) == 1 else inputs)
        tensors[id(operation.output)] = output
    return output


def fresh(layer: Any, **changes: Any) -> Any:
    """Return a new layer of the same kind and settings, under the dtype policy in force.

    Args:
        layer: Of Keras' own.
        changes: Entries of its configuration to have otherwise, such as ``name``.

    >>> fresh(layers.Conv2D(2, 3, name="conv"), name="stem_conv").name
    'stem_conv'
    """
    config = {**layer.get_config(), **changes}
    del config["dtype"]  # the policy the original was built under
    return type(layer).from_config(config)


def check_layers(laid: Any, whose: str) -> None:
    """Refuse a network that plain Keras could not open once it is saved.

    Args:
        laid: Functional model.
        whose: For the message, such as "backbone 'mine'".

    Raises:
        UsageError: An operation that is no single layer of ``keras.layers``, or a Lambda.

    >>> photos = keras.Input((8, 8, 3))
    >>> check_layers(keras.Model(photos, layers.Conv2D(2, 3)(photos)), "backbone 'mine'")
    """
    for made in laid.operations:
        keras_own = type(made).__module__.split(".")[0] == "keras"
        single = isinstance(made, layers.Layer) and not isinstance(made, keras.Model)
        if not (keras_own and single) or isinstance(made, layers.Lambda):
            raise UsageError(
                f"{whose}: {made.name!r} is a {type(made).__name__}; build it of single layers of "
                "keras.layers, Lambda excepted, which plain Keras opens"
            )
