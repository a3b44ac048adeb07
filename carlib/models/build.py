"""From a ModelSpec to a Keras model that takes RGB photos 0..255, scaling inside."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import keras
from keras import layers

from carlib.errors import RunError, UsageError, look_up, suggestion
from carlib.models.efficientnet import efficientnet_features, efficientnet_release
from carlib.models.h5_file import load_h5
from carlib.models.lite import lite_features, lite_weights_file, load_lite_weights
from carlib.models.releases import fetch
from carlib.models.table import BACKBONES, Backbone
from carlib.models.tiny import tiny_features
from carlib.models.torch_file import read_state_dict
from carlib.models.xception import IMAGENET, block_name, xception_features
from carlib.spec import ModelSpec

# Every layer of every backbone is named after its block.
_BLOCK = re.compile(r"^(stem|block\d+[a-z]+|top|head)_")


def build_model(spec: ModelSpec, classes: int, *, seed: int = 0) -> keras.Model:
    """Return a classifier with its (pretrained) weights, not compiled.

    Its layers are flat, named by block ("block2a_dwconv"), and all of Keras' own, so a saved
    one opens with plain ``keras.models.load_model`` anywhere.

    Args:
        spec: What to build.
        classes: Number of classes, from 2.
        seed: Of the initial weights; sets Python's, numpy's and TensorFlow's global seeds,
            from which Keras draws them.

    Returns:
        A model from photos (B, size, size, 3), RGB, uint8 or float in 0..255, to
        probabilities (B, classes), float32.

    Raises:
        UsageError: Unknown backbone, or weights it does not have.
        RunError: Weights that cannot be read or fetched.

    >>> model = build_model(ModelSpec("tiny", 32), 3)
    >>> model(keras.ops.zeros((2, 32, 32, 3), "uint8")).shape
    TensorShape([2, 3])
    """
    backbone = check_model(spec)
    if classes < 2:
        raise UsageError(f"a classifier has two classes or more; received {classes}")
    weights = _weights_file(backbone, spec.weights)  # first: a large network takes its time
    keras.utils.set_random_seed(seed)
    before = keras.config.dtype_policy()
    keras.config.set_dtype_policy(spec.dtype)
    try:
        photos = keras.Input((spec.size, spec.size, 3), name="photos")
        x = _features(backbone, photos, spec.drop_connect)
        x = layers.GlobalAveragePooling2D(name="head_pool")(x)
        x = layers.Dropout(spec.dropout, name="head_dropout")(x)
        # float32: probabilities in half precision lose the small ones.
        x = layers.Dense(classes, activation="softmax", dtype="float32", name="head_classes")(x)
        model = keras.Model(photos, x, name=re.sub(r"\W", "_", backbone.name))
    finally:
        keras.config.set_dtype_policy(before)
    if weights:
        _load(model, backbone, weights)
    return model


def check_model(spec: ModelSpec) -> Backbone:
    """Return the backbone of a spec, or raise UsageError before anything is built."""
    backbone = look_up(BACKBONES, spec.backbone, "backbone")
    named = ("imagenet", "noisy-student")
    if spec.weights in named and spec.weights not in backbone.weights:
        raise UsageError(
            f"backbone {backbone.name!r} has no {spec.weights!r} weights; it has "
            f"{', '.join(('none', *backbone.weights))}, or give a file's path"
        )
    if not backbone.weights and spec.weights != "none":
        raise UsageError(f"backbone {backbone.name!r} has no pretrained weights: use 'none'")
    return backbone


def _features(backbone: Backbone, photos: Any, drop: float) -> Any:
    if backbone.family == "tiny":
        return tiny_features(photos, drop_connect=drop)
    if backbone.family == "lite":
        factors = {"width": backbone.width, "depth": backbone.depth}
        return lite_features(photos, **factors, drop_connect=drop)
    if backbone.family == "xception":
        return xception_features(photos, drop_connect=drop)
    return efficientnet_features(photos, name=backbone.name, drop_connect=drop)


def _weights_file(backbone: Backbone, weights: str) -> Path | None:
    """Return the file that a spec's weights stand for; None for "none"."""
    if weights == "none":
        return None
    # Not in check_model: a run that resumes does without the file.
    if weights not in backbone.weights:
        if not Path(weights).is_file():
            near = suggestion(weights, ("none", *backbone.weights))
            raise UsageError(f"model.weights {weights!r} is no file, and no name{near}")
        return Path(weights)
    if backbone.family == "lite":
        return lite_weights_file(backbone.name)
    if backbone.family == "xception":
        return fetch(IMAGENET)
    return fetch(efficientnet_release(backbone.name, weights))


def _load(model: keras.Model, backbone: Backbone, path: Path) -> None:
    if backbone.family == "lite":
        load_lite_weights(model, read_state_dict(path))
    elif backbone.family == "xception":
        load_h5(model, path, block_name)
    else:
        load_h5(model, path)


def resized(model: keras.Model, size: int) -> keras.Model:
    """Return the same layers, on the same variables, for photos of another size.

    What one of the two learns, the other knows; each is compiled by itself. The layers'
    ``output`` stays that of the model they were built in.

    Args:
        model: As ``build_model`` gives it, or a part of it that begins at the photos.
        size: Side of the photos, in px; the model's own gives the model itself.

    >>> model = build_model(ModelSpec("tiny", 32), 3)
    >>> larger = resized(model, 64)
    >>> larger.input_shape
    (None, 64, 64, 3)
    >>> larger.layers[-1] is model.layers[-1]
    True
    """
    photos = model.input
    if tuple(photos.shape[1:3]) == (size, size):
        return model
    # Through a model that is not compiled: clone_model would compile the copy as well.
    plain = keras.Model(photos, model.output, name=model.name)
    return keras.models.clone_model(
        plain,
        input_tensors=keras.Input((size, size, 3), dtype=photos.dtype, name=photos.name),
        clone_function=lambda layer: layer,
    )


def blocks(model: keras.Model) -> dict[str, list[Any]]:
    """Return the layers of each block of a built model, bottom first, "head" last.

    Raises:
        RunError: A layer that belongs to no block.

    >>> list(blocks(build_model(ModelSpec("tiny", 32), 2)))
    ['stem', 'block1a', 'block2a', 'block2b', 'top', 'head']
    """
    found: dict[str, list[Any]] = {}
    for layer in model.layers:
        if isinstance(layer, layers.InputLayer):
            continue
        match = _BLOCK.match(layer.name)
        if not match:
            raise RunError(
                f"layer {layer.name!r} of {model.name} belongs to no block; name it like "
                "stem_..., block3a_..., top_... or head_..."
            )
        found.setdefault(match[1], []).append(layer)
    return found
