"""EfficientNet of the ``efficientnet`` package (qubvel), rebuilt of Keras' own layers.

The package's model holds a FixedDropout and a swish of its own, so a saved one opens only
where the package is. Here they become Dropout(noise_shape=...) and silu, which predict the
same, and the scaling goes inside.
"""

from __future__ import annotations

from typing import Any

import keras
from keras import layers

from carlib.errors import RunError, UsageError

# preprocess_input of the package, mode "torch": photos / 255, less the mean, by the deviation.
MEAN = (0.485, 0.456, 0.406)
DEVIATION = (0.229, 0.224, 0.225)


def efficientnet_features(photos: Any, *, name: str) -> Any:
    """Return the feature map of photos: (B, S, S, 3) in 0..255 to (B, S/32, S/32, C).

    Args:
        photos: Keras tensor.
        name: Class of ``efficientnet.tfkeras``, such as "EfficientNetB0".

    Raises:
        UsageError: The package is not installed.
    """
    size = int(photos.shape[1])
    original = _original(name, None, size)
    scaled = layers.Rescaling(
        [1 / (255 * deviation) for deviation in DEVIATION],
        [-mean / deviation for mean, deviation in zip(MEAN, DEVIATION, strict=True)],
        name="stem_scaling",
    )(photos)
    # clone_model would keep the copy as a model of its own; walking its graph gives flat layers.
    made: dict[str, Any] = {}
    tensors: dict[int, Any] = {id(original.input): scaled}
    for layer in original.layers:
        if isinstance(layer, layers.InputLayer):
            continue
        inputs = [tensors[id(tensor)] for tensor in keras.tree.flatten(layer.input)]
        made[layer.name] = _builtin(layer)
        output = made[layer.name](inputs[0] if len(inputs) == 1 else inputs)
        tensors[id(layer.output)] = output
    return output


def _builtin(layer: Any) -> Any:
    """Return a new layer of Keras' own kind that computes what ``layer`` does."""
    if isinstance(layer, layers.Dropout):
        return layers.Dropout(layer.rate, noise_shape=layer.noise_shape, name=layer.name)
    if type(layer).__module__.split(".")[0] != "keras":
        raise RunError(
            f"layer {layer.name} of the efficientnet package is a {type(layer).__name__}, which "
            "Keras does not have; install efficientnet 1.1.1"
        )
    config = layer.get_config()
    if getattr(getattr(layer, "activation", None), "__name__", "") == "swish":
        config["activation"] = "silu"
    del config["dtype"]  # the policy in force, not the one the original was built under
    return type(layer).from_config(config)


def load_efficientnet_weights(model: keras.Model, *, name: str, weights: str) -> None:
    """Put pretrained weights into the backbone layers of ``model``, by layer name.

    Args:
        model: Holds the layers of ``efficientnet_features``.
        name: Class of ``efficientnet.tfkeras``.
        weights: "imagenet", "noisy-student" (both downloaded by the package) or the path of
            an .h5 file in the package's layout.

    Raises:
        RunError: The file is not there, cannot be fetched or does not fit.
    """
    original = _original(name, weights, 224)
    for layer in original.layers:
        if layer.weights:
            model.get_layer(layer.name).set_weights(layer.get_weights())


def _original(name: str, weights: str | None, size: int) -> Any:
    try:
        import efficientnet.tfkeras as package
    except ImportError as error:
        raise UsageError(
            f"{name} needs the package efficientnet ({error}); pip install efficientnet, or "
            "attach its wheel where there is no internet"
        ) from error
    try:
        return getattr(package, name)(
            weights=weights, include_top=False, input_shape=(size, size, 3)
        )
    # Keras raises a plain Exception where a download fails, h5py and Keras several kinds more.
    except Exception as error:
        raise RunError(
            f"the weights {weights!r} of {name} cannot be loaded: {error}; without internet, "
            "attach the .h5 file of the efficientnet package and give its path as "
            "model.weights, or use weights = 'none'"
        ) from error
