"""Networks and photos that the tests of the backbones share."""

from __future__ import annotations

import functools
import re
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import h5py
import keras
import numpy as np

from carlib.models.build import blocks, build_model
from carlib.spec import ModelSpec

# Of each family; test_applications.py has the other networks of keras.applications.
SMALLEST = (
    *("tiny", "small-resnet", "efficientnet-lite0", "efficientnet-b0", "xception"),
    "mobilenetv3-small",
)


def two_photos(size: int = 64) -> np.ndarray:
    """Two photos that are nothing alike, no channel or side like another, uint8."""
    y, x = np.mgrid[:size, :size]
    first = np.stack([x * 4, y * 4, (x * y) % 256], axis=-1)
    second = np.stack([255 - y * 2, (x // 8 + y // 8) % 2 * 255, x + y], axis=-1)
    return np.stack([first, second]).astype(np.uint8)


def enliven(model: Any, seed: int = 5) -> Any:
    """Give the BatchNorms gamma, beta and the statistics of a few photos.

    As made, they do nothing, and what a photo says dies away over the depth.
    """
    rng = np.random.default_rng(seed)
    norms = [x for x in model.layers if isinstance(x, keras.layers.BatchNormalization)]
    drops = [x for x in model.layers if isinstance(x, keras.layers.Dropout)]
    kept = [norm.momentum for norm in norms], [drop.rate for drop in drops]
    for norm in norms:
        if norm.scale:
            norm.gamma.assign(rng.uniform(0.5, 1.5, norm.gamma.shape))
        norm.beta.assign(rng.normal(0, 0.3, norm.beta.shape))
        norm.momentum = 0.0
    for drop in drops:
        drop.rate = 0.0
    photos = two_photos(model.input_shape[1] or 64)
    turned = [photos[:, ::-1], photos[:, :, ::-1], photos[..., ::-1], photos.swapaxes(1, 2)]
    model(np.concatenate([photos, *turned, 255 - photos, photos // 2, photos // 32]), training=True)
    for norm, momentum in zip(norms, kept[0], strict=True):
        norm.momentum = momentum
    for drop, rate in zip(drops, kept[1], strict=True):
        drop.rate = rate
    return model


@functools.cache
def built(name: str) -> Any:
    """A model of a backbone at 64 px, three classes, lively random weights; not to be changed."""
    return enliven(build_model(ModelSpec(name, 64, drop_connect=0.4), 3, seed=1))


def features_of(model: Any) -> Any:
    """The backbone of a model that ``build_model`` made, up to its feature map."""
    return keras.Model(model.input, model.get_layer("head_pool").input)


def write_h5(path: Path, layers: Iterable[tuple[str, Any]], part: int | None = None) -> Path:
    """Write a weights file as Keras 2 did, in the layout of the released ones.

    Args:
        path: The file.
        layers: (name in the file, layer).
        part: Names an attribute holds, where not all of them.
    """
    layers = list(layers)
    with h5py.File(path, "w") as file:
        _texts(file, "layer_names", [name for name, _ in layers], part)
        for name, layer in layers:
            group = file.create_group(name)
            variables = layer.trainable_weights + layer.non_trainable_weights
            names = [f"{name}/{variable.name}:0" for variable in variables]
            _texts(group, "weight_names", names, part)
            for inner, variable in zip(names, variables, strict=True):
                group[inner] = np.asarray(variable)
    return path


def _texts(group: Any, attribute: str, texts: list[str], part: int | None) -> None:
    encoded = [text.encode() for text in texts]
    if part is None:
        group.attrs[attribute] = np.array(encoded, dtype="S") if encoded else []
        return
    for number, start in enumerate(range(0, len(encoded), part)):
        group.attrs[f"{attribute}{number}"] = np.array(encoded[start : start + part])


def check_layers_and_names(model: Any) -> None:
    """Only layers of Keras' own, flat, each in a block, blocks in order."""
    for layer in model.layers:
        assert type(layer).__module__.startswith("keras."), layer
        assert not isinstance(layer, keras.Model), layer
    names = list(blocks(model))
    assert names[0] == "stem"
    assert names[-2:] == ["top", "head"]
    order = [(int(re.findall(r"\d+", block)[0]), block) for block in names[1:-2]]
    assert order == sorted(order)


def check_cuts(model: Any) -> None:
    """Nothing leads around a block: all comes from the block itself or the last of that below."""
    below, made = None, {id(model.input): "photos"}
    for block, members in blocks(model).items():
        taken = {
            made[id(tensor)]
            for layer in members
            for tensor in keras.tree.flatten(layer.input)
            if id(tensor) in made
        }
        assert taken == {below or "photos"}, block
        made.update({id(layer.output): f"{block}, inside" for layer in members})
        below = f"{block}, last"
        made[id(members[-1].output)] = below
