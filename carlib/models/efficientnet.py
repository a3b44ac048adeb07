"""EfficientNet of the ``efficientnet`` package (qubvel), rebuilt of Keras' own layers.

The package's model holds a FixedDropout and a swish of its own, so a saved one opens only
where the package is. Here they become Dropout(noise_shape=...) and silu, which predict the
same, and the scaling goes inside.
"""

from __future__ import annotations

from typing import Any

from keras import layers

from carlib.errors import RunError, UsageError
from carlib.models.graph import fresh, lay_over
from carlib.models.releases import Release

# preprocess_input of the package, mode "torch": photos / 255, less the mean, by the deviation.
MEAN = (0.485, 0.456, 0.406)
DEVIATION = (0.229, 0.224, 0.225)


def efficientnet_features(photos: Any, *, name: str, drop_connect: float = 0.2) -> Any:
    """Return the feature map of photos: (B, S, S, 3) in 0..255 to (B, S/32, S/32, C).

    Args:
        photos: Keras tensor.
        name: In the backbones table, such as "efficientnet-b0".
        drop_connect: Share of photos for which a block is skipped in training, growing
            linearly from 0 at the first block towards this value. Defaults to 0.2.

    Raises:
        UsageError: The package is not installed.
        RunError: It is another version than this module knows.
    """
    kind = "EfficientNet" + name.rpartition("-")[2].upper()
    original = getattr(_package().tfkeras, kind)(
        weights=None, include_top=False, drop_connect_rate=drop_connect
    )
    scaled = layers.Rescaling(
        [1 / (255 * deviation) for deviation in DEVIATION],
        [-mean / deviation for mean, deviation in zip(MEAN, DEVIATION, strict=True)],
        name="stem_scaling",
    )(photos)
    return lay_over(original, scaled, _builtin)


def _builtin(layer: Any) -> Any:
    """Return a new layer of Keras' own kind that computes what ``layer`` does."""
    if isinstance(layer, layers.Dropout):
        return layers.Dropout(layer.rate, noise_shape=layer.noise_shape, name=layer.name)
    if type(layer).__module__.split(".")[0] != "keras":
        raise RunError(
            f"layer {layer.name} of the efficientnet package is a {type(layer).__name__}, which "
            "Keras does not have; install efficientnet 1.1.1"
        )
    if getattr(getattr(layer, "activation", None), "__name__", "") == "swish":
        return fresh(layer, activation="silu")
    return fresh(layer)


def efficientnet_release(name: str, weights: str) -> Release:
    """Return the package's weights file without classifier.

    Args:
        name: In the backbones table.
        weights: "imagenet" (trained with AutoAugment) or "noisy-student".

    Raises:
        UsageError: The package is not installed.

    >>> efficientnet_release("efficientnet-b5", "noisy-student").name
    'efficientnet-b5_noisy-student_notop.h5'
    """
    package = _package().weights
    if weights == "imagenet":
        file = f"{name}_weights_tf_dim_ordering_tf_kernels_autoaugment_notop.h5"
        folder, digests = package.IMAGENET_WEIGHTS_PATH, package.IMAGENET_WEIGHTS_HASHES
    else:
        file = f"{name}_noisy-student_notop.h5"
        folder, digests = package.NS_WEIGHTS_PATH, package.NS_WEIGHTS_HASHES
    return Release(file, folder + file, digests[name][1])


def _package() -> Any:
    try:
        import efficientnet.tfkeras
        import efficientnet.weights
    except ImportError as error:
        raise UsageError(
            f"the EfficientNets B0 to B7 need the package efficientnet ({error}); pip install "
            "efficientnet, or attach its wheel where there is no internet"
        ) from error
    return efficientnet
