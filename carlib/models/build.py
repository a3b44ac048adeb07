"""From a ModelSpec to a Keras model that takes RGB photos 0..255, scaling inside."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import keras
from keras import layers

from carlib.errors import RunError, UsageError, look_up, suggestion
from carlib.models.applications import APPLICATIONS, application_features, load_application
from carlib.models.efficientnet import efficientnet_features, efficientnet_release
from carlib.models.graph import check_layers
from carlib.models.h5_file import load_h5
from carlib.models.head import classified
from carlib.models.lite import lite_features, lite_weights_file, load_lite_weights
from carlib.models.own import check_head, known, least_side, own
from carlib.models.releases import fetch
from carlib.models.small_resnet import small_resnet_features
from carlib.models.table import OWN, Backbone
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
        UsageError: Unknown backbone or head, weights it does not have, or one of your own that is
            not of Keras' layers.
        RunError: Weights that cannot be read or fetched, a layer that belongs to no block.

    >>> model = build_model(ModelSpec("tiny", 32), 3)
    >>> model(keras.ops.zeros((2, 32, 32, 3), "uint8")).shape
    TensorShape([2, 3])
    """
    backbone = check_model(spec)
    if classes < 2:
        raise UsageError(f"a classifier has two classes or more; received {classes}")
    source = _weights_source(backbone, spec.weights)  # first: a large network takes its time
    keras.utils.set_random_seed(seed)
    before = keras.config.dtype_policy()
    keras.config.set_dtype_policy(spec.dtype)
    try:
        photos = keras.Input((spec.size, spec.size, 3), name="photos")
        x = _features(backbone, photos, spec.drop_connect)
        x = classified(x, spec, classes)
        model = keras.Model(photos, x, name=re.sub(r"\W", "_", backbone.name))
    finally:
        keras.config.set_dtype_policy(before)
    if source:
        _load(model, backbone, source)
    return model


def backbone_features(photos: Any, name: str, *, drop_connect: float = 0.2) -> Any:
    """Lay a backbone over photos and return its last feature map, to be wrapped into your own.

    Args:
        photos: Keras tensor (B, S, S, 3); the backbone scales RGB of 0..255 itself.
        name: Of the backbone.
        drop_connect: Share of photos for which the deepest block with a skip connection is left
            out in training. Defaults to 0.2.

    Raises:
        UsageError: Unknown backbone.

    >>> backbone_features(keras.Input((64, 64, 3)), "efficientnet-lite0").shape
    (None, 2, 2, 1280)
    """
    return _features(look_up(known(), name, "backbone"), photos, drop_connect)


def load_weights(model: keras.Model, name: str, weights: str = "imagenet") -> None:
    """Put a backbone's pretrained weights into the layers of its names, all of it or nothing.

    Args:
        model: Made of ``backbone_features``, with a head or without.
        name: Of the backbone.
        weights: A name of its weights, or the path of a file. Defaults to "imagenet".

    Raises:
        UsageError: Unknown backbone, or weights it does not have.
        RunError: Weights that cannot be read or fetched, or are of another network.

    >>> photos = keras.Input((64, 64, 3))
    >>> model = keras.Model(photos, backbone_features(photos, "efficientnet-lite0"))
    >>> load_weights(model, "efficientnet-lite0")
    """
    backbone = look_up(known(), name, "backbone")
    _check_weights(backbone, weights)
    source = _weights_source(backbone, weights)
    if source:
        _load(model, backbone, source)


def check_model(spec: ModelSpec) -> Backbone:
    """Return the backbone of a spec, or raise UsageError before anything is built."""
    backbone = look_up(known(), spec.backbone, "backbone")
    check_head(spec.head)
    check_side(backbone.name, spec.size)
    _check_weights(backbone, spec.weights)
    return backbone


def check_side(name: str, size: int) -> None:
    """Raise UsageError for photos smaller than a backbone takes.

    >>> check_side("inception-v3", 64)
    Traceback (most recent call last):
    carlib.errors.UsageError: backbone 'inception-v3' takes photos of 75 px or more; received 64 px
    """
    least = least_side(name)
    if size < least:
        raise UsageError(
            f"backbone {name!r} takes photos of {least} px or more; received {size} px"
        )


def _check_weights(backbone: Backbone, weights: str) -> None:
    if weights in ("imagenet", "noisy-student") and weights not in backbone.weights:
        raise UsageError(
            f"backbone {backbone.name!r} has no {weights!r} weights; it has "
            f"{', '.join(('none', *backbone.weights))}, or give a file's path"
        )
    loads = own(backbone.name).weights if backbone.family == OWN else backbone.weights
    if not loads and weights != "none":
        raise UsageError(f"backbone {backbone.name!r} has no pretrained weights: use 'none'")


def _features(backbone: Backbone, photos: Any, drop: float) -> Any:
    if backbone.family == OWN:
        return _own_features(backbone, photos, drop)
    if backbone.family == "tiny":
        return tiny_features(photos, drop_connect=drop)
    if backbone.family == "lite":
        factors = {"width": backbone.width, "depth": backbone.depth}
        return lite_features(photos, **factors, drop_connect=drop)
    if backbone.family == "xception":
        return xception_features(photos, drop_connect=drop)
    if backbone.family == "small-resnet":
        return small_resnet_features(photos, groups=int(backbone.depth), drop_connect=drop)
    if backbone.family == "application":
        return application_features(photos, backbone.name, drop_connect=drop)
    return efficientnet_features(photos, name=backbone.name, drop_connect=drop)


def _own_features(backbone: Backbone, photos: Any, drop: float) -> Any:
    """Refuse what could not be saved for plain Keras, or frozen block by block."""
    x = own(backbone.name).lay(photos, drop)
    if x is photos:
        raise UsageError(
            f"the features of backbone {backbone.name!r} are its photos as they are; lay a layer "
            "over them at least, such as top_conv"
        )
    if not isinstance(x, keras.KerasTensor) or len(x.shape) != 4:
        shape = getattr(x, "shape", None)
        what = type(x).__name__ if shape is None else f"{type(x).__name__} {tuple(shape)}"
        raise UsageError(
            f"the features of backbone {backbone.name!r} must end in one Keras tensor (B, H, W, C) "
            f"made of its photos; received {what}"
        )
    try:
        laid = keras.Model(photos, x, name=re.sub(r"\W", "_", backbone.name))
    except ValueError as error:
        raise UsageError(
            f"the features of backbone {backbone.name!r} are no network from its photos to their "
            f"end ({' '.join(str(error).split())}); build them of the photos, each layer named once"
        ) from error
    check_layers(laid, f"backbone {backbone.name!r}")
    if "head" in blocks(laid):
        raise UsageError(
            f"backbone {backbone.name!r} has layers named head_..., as the classifier's are; name "
            "its last ones top_..."
        )
    return x


def _weights_source(backbone: Backbone, weights: str) -> Path | str | None:
    """Return the file that a spec's weights stand for, or its name; None for "none"."""
    if weights == "none":
        return None
    # Not in check_model: a run that resumes does without the file.
    if weights not in backbone.weights:
        if not Path(weights).is_file():
            near = suggestion(weights, ("none", *backbone.weights))
            raise UsageError(f"model.weights {weights!r} is no file, and no name{near}")
        return Path(weights)
    if backbone.family == OWN:
        return weights
    if backbone.family == "lite":
        return lite_weights_file(backbone.name)
    if backbone.family == "xception":
        return fetch(IMAGENET)
    if backbone.family == "application":
        return fetch(APPLICATIONS[backbone.name].release)
    return fetch(efficientnet_release(backbone.name, weights))


def _load(model: keras.Model, backbone: Backbone, source: Path | str) -> None:
    if backbone.family == OWN:
        own(backbone.name).load(model, str(source))
    elif backbone.family == "lite":
        load_lite_weights(model, read_state_dict(source))
    elif backbone.family == "xception":
        load_h5(model, source, block_name)
    elif backbone.family == "application":
        load_application(model, Path(source), backbone.name)
    else:
        load_h5(model, source)


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
    made = keras.models.clone_model(
        plain,
        input_tensors=keras.Input((size, size, 3), dtype=photos.dtype, name=photos.name),
        clone_function=lambda layer: layer,
    )
    made.dtype_policy = model.dtype_policy  # by which ``compile`` scales the loss, or does not
    return made


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
