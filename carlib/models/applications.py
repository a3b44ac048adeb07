"""Backbones of ``keras.applications``, laid again flat, named by block, scaling inside.

Each network is keras' own, built without weights and walked: what decides is its graph. Xception
has a module of its own, as it gets drop-connect.
"""

from __future__ import annotations

import math
import re
import string
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import keras
import numpy as np
from keras import layers

from carlib.errors import RunError
from carlib.models.efficientnet import DEVIATION, MEAN
from carlib.models.graph import fresh, lay_over
from carlib.models.h5_file import read_h5
from carlib.models.releases import Release

_STORE = "https://storage.googleapis.com/tensorflow/keras-applications"
Name = Callable[[str], str]


@dataclass(frozen=True, slots=True)
class Application:
    """A network of ``keras.applications``.

    Args:
        maker: Its function there.
        scaling: From 0..255: "torch" (by ImageNet's mean and deviation), "tf" (to -1..1), or
            "128" (by 128, less 1).
        rename: From a layer's name there to its name here; "" where it has none of its own.
        release: Its ImageNet weights without classifier; digests as in ``keras/src/applications``.
        options: Of its function.
    """

    maker: str
    scaling: str
    rename: Name
    release: Release
    options: Mapping[str, Any]


def application_features(photos: Any, name: str, *, drop_connect: float = 0.2) -> Any:
    """Return the feature map of photos, (B, S, S, 3) in 0..255.

    Args:
        photos: Keras tensor.
        name: In APPLICATIONS.
        drop_connect: Share of photos for which the deepest block with a skip connection is left
            out in training, where the network has such a way; else nothing is. Defaults to 0.2.
    """
    made = APPLICATIONS[name]
    # Of the photos' side: how much some of them pad is decided there.
    original = original_of(name, photos.shape[1:])
    names = names_of(original, made.rename)
    scaled = _scaling(made.scaling)(photos)
    drops = [each for each in original.operations if _drops(each)]

    def make(operation: Any) -> Any:
        new = names[operation.name]
        if _drops(operation):
            # From 0 at the first towards the given share at the last.
            rate = drop_connect * (drops.index(operation) + 1) / len(drops)
            # No drop at all is an Activation, which does nothing.
            if not rate:
                return layers.Activation("linear", name=new)
            return layers.Dropout(rate, noise_shape=(None, 1, 1, 1), name=new)
        if isinstance(operation, keras.Sequential):
            return _in_turn([fresh(layer, name=names[layer.name]) for layer in operation.layers])
        if type(operation).__name__ == "LayerScale":
            # A factor a channel: keras keeps its layer for it to itself.
            start = keras.initializers.Constant(operation.init_values)
            return layers.DepthwiseConv2D(1, use_bias=False, depthwise_initializer=start, name=new)
        if isinstance(operation, layers.Layer):
            if _is_hard_sigmoid(operation):
                return layers.Activation("hard_sigmoid", name=new)
            return fresh(operation, name=new)
        if len(keras.tree.flatten(operation.input)) == 2:  # a bare + of two tensors
            return layers.Add(name=new)
        return lambda x: x  # x + 3 and x / 6 around the ReLU6 of a hard sigmoid

    x = lay_over(original, scaled, make)
    if not any(each.startswith("top_") for each in names.values()):
        x = layers.Activation("linear", name="top_activation")(x)
    return x


def original_of(name: str, shape: tuple[int, int, int] | None = None) -> Any:
    """Return keras' own network, without weights and classifier.

    Args:
        name: In APPLICATIONS.
        shape: Of its photos; None for any. Defaults to None.
    """
    made = APPLICATIONS[name]
    maker = getattr(keras.applications, made.maker)
    return maker(weights=None, include_top=False, input_shape=shape, **made.options)


def names_of(original: Any, rename: Name) -> dict[str, str]:
    """Return what each of a network's operations is called here, by its name there.

    One without a name of its own belongs to the block of what takes its output, a sum to that of
    the last it adds; it is named by its kind and its place among those.
    """
    operations = [each for each in original.operations if not isinstance(each, layers.InputLayer)]
    found: dict[str, str] = {}
    inner = [each.layers for each in operations if isinstance(each, keras.Sequential)]
    for operation in [*operations, *(each for several in inner for each in several)]:
        if name := rename(operation.name):
            found[operation.name] = name
    # What comes before the first fork and the first named block is the stem's.
    fork = next(at for at, each in enumerate(operations) if len(_takers(each)) > 1)
    named = (at for at, each in enumerate(operations) if found.get(each.name, "")[:5] == "block")
    stem = min(fork + 1, next(named))
    of = {name: new.split("_")[0] for name, new in found.items()}  # whose block
    for at, operation in reversed(list(enumerate(operations))):
        if operation.name not in of:
            takers = [of[each.name] for each in _takers(operation)] or ["top"]
            added = [of[each.name] for each in _givers(operation) if each.name in of]
            summed = added and len(_givers(operation)) > 1
            of[operation.name] = "stem" if at < stem else added[-1] if summed else takers[0]
    for operation in operations:
        if operation.name not in found:
            block = of[operation.name]
            kind = type(operation).__name__.lower()
            places = sum(each.startswith(f"{block}_{kind}") for each in found.values())
            found[operation.name] = f"{block}_{kind}{places}"
    return found


def load_application(model: keras.Model, path: Path, name: str) -> None:
    """Put released weights into the backbone of a model, all of it or nothing.

    Args:
        model: Made of ``application_features``, with a head or without.
        path: The file.
        name: In APPLICATIONS.

    Raises:
        RunError: A file that cannot be read, or of another network; the model is then unchanged.
    """
    original = original_of(name)
    names = names_of(original, APPLICATIONS[name].rename)
    saved = read_h5(path)
    theirs = [layer for layer in original.layers if layer.weights]
    file = APPLICATIONS[name].release.name
    other = f"are they weights of another backbone than {name}, or with its classifier? Use {file}"
    if len(theirs) != len(saved):
        raise RunError(
            f"{path} holds {len(saved)} layers of weights, {name} has {len(theirs)}; {other}"
        )
    # By name where they are the same, else in their order, as Keras loads these files.
    same = all(layer.name in saved for layer in theirs)
    arrays = [saved[layer.name] for layer in theirs] if same else list(saved.values())
    values: list[tuple[Any, np.ndarray]] = []
    for layer, several in zip(theirs, arrays, strict=True):
        inner = layer.layers if isinstance(layer, keras.Sequential) else [layer]
        ours = [model.get_layer(names[each.name]) for each in inner if each.weights]
        # The order of a file: what trains, then what does not.
        variables = [
            variable
            for each in ours
            for variable in each.trainable_weights + each.non_trainable_weights
        ]
        sizes = [array.size for array in several]
        if sizes != [math.prod(variable.shape) for variable in variables]:
            raise RunError(
                f"{layer.name!r} in {path} has the shapes {[array.shape for array in several]}, "
                f"the model wants {[tuple(variable.shape) for variable in variables]}; {other}"
            )
        values += zip(variables, several, strict=True)
    for variable, array in values:
        variable.assign(array.reshape(variable.shape))


def _takers(operation: Any) -> list[Any]:
    return [node.operation for node in operation._outbound_nodes]


def _givers(operation: Any) -> list[Any]:
    return [tensor._keras_history.operation for tensor in keras.tree.flatten(operation.input)]


def _drops(operation: Any) -> bool:
    """Whether an operation leaves out a block: a drop by photos, or where a drop of 0 would be."""
    if isinstance(operation, layers.Dropout):
        return operation.noise_shape is not None
    return bool(operation.name.endswith("_identity"))


def _is_hard_sigmoid(operation: Any) -> bool:
    if not isinstance(operation, layers.ReLU) or operation.max_value != 6:
        return False
    before = operation.input._keras_history.operation
    return not isinstance(before, layers.Layer)


def _in_turn(made: list[Any]) -> Any:
    def call(x: Any) -> Any:
        for layer in made:
            x = layer(x)
        return x

    return call


def _scaling(kind: str) -> Any:
    scale: Any = 1 / 127.5
    offset: Any = -1.0
    if kind == "128":
        scale = 1 / 128
    if kind == "torch":
        scale = [1 / (255 * deviation) for deviation in DEVIATION]
        offset = [-mean / deviation for mean, deviation in zip(MEAN, DEVIATION, strict=True)]
    return layers.Rescaling(scale, offset, name="stem_scaling")


def _resnet(name: str) -> str:
    """ResNet50V2's and DenseNet121's: conv3_block2_1_conv is block2b_1_conv."""
    if found := re.match(r"conv(\d+)_block(\d+)_(.+)", name):
        group, block, rest = int(found[1]), int(found[2]), found[3]
        return f"block{group - 1}{string.ascii_lowercase[block - 1]}_{rest}"
    if found := re.match(r"pool(\d)_(bn|relu|conv|pool|pad)$", name):
        if found[1] == "1":
            return f"stem_pool_{found[2]}"
        return f"block{int(found[1]) - 1}z_{found[2]}"  # between two groups of DenseNet
    if name.startswith("conv1_"):
        return f"stem_{name}"
    if name in ("bn", "relu", "post_bn", "post_relu"):
        return f"top_{name.removeprefix('post_')}"
    return {"pool1": "stem_pool"}.get(name, "")


def _convnext(name: str) -> str:
    if found := re.match(r"convnext_tiny_stage_(\d)_block_(\d)_(.+)", name):
        stage, block, rest = int(found[1]), int(found[2]), found[3]
        return f"block{stage + 1}{string.ascii_lowercase[block]}_{rest}"
    if found := re.match(r"convnext_tiny_downsampling_(\w+)_(\d)$", name):
        return f"block{int(found[2]) + 1}z_{found[1]}"
    if name.startswith("convnext_tiny_stem"):
        return name.replace("convnext_tiny_stem", "stem").replace("stem_stem", "stem")
    return "top_norm" if name.startswith("layer_normalization") else ""


def _mobilenet(name: str) -> str:
    if found := re.match(r"expanded_conv(?:_(\d+))?_(.+)", name):
        return f"block{int(found[1] or 0) + 1}a_{found[2]}"
    if name in ("conv", "conv_bn"):
        return f"stem_{name}"
    return f"top_{name.replace('conv_1', 'conv')}" if name.startswith("conv_1") else ""


def _inception(name: str) -> str:
    found = re.match(r"mixed(\d+)(?:_(\d))?$", name)
    if not found:
        return ""
    # "mixed9_1" is inside "mixed10".
    number = int(found[1]) + int(found[2] or 0) + 1
    return f"block{number}a_mixed{'_inner' * bool(found[2])}"


def _release(folder: str, file: str, digest: str) -> Release:
    return Release(file, f"{_STORE}/{folder}/{file}", digest)


def _v2(kind: str, maker: str, scaling: str, digest: str) -> Application:
    release = _release("efficientnet_v2", f"efficientnetv2-{kind}_notop.h5", digest)
    # Its layers are named as those here are.
    return Application(maker, scaling, lambda name: name, release, _BARE)


_BARE = {"include_preprocessing": False}
_KERNELS = "weights_tf_dim_ordering_tf_kernels_notop.h5"
APPLICATIONS: Mapping[str, Application] = {
    "efficientnetv2-b0": _v2("b0", "EfficientNetV2B0", "torch", "893217f2bb855e2983157299931e43ff"),
    "efficientnetv2-b1": _v2("b1", "EfficientNetV2B1", "torch", "0e80663031ca32d657f9caa404b6ec37"),
    "efficientnetv2-b2": _v2("b2", "EfficientNetV2B2", "torch", "1dfe2e7a5d45b6632553a8961ea609eb"),
    "efficientnetv2-b3": _v2("b3", "EfficientNetV2B3", "torch", "f6abf7b5849ac99a89b50dd3fd532856"),
    "efficientnetv2-s": _v2("s", "EfficientNetV2S", "128", "af0682fb74e8c54910f2d4393339c070"),
    "efficientnetv2-m": _v2("m", "EfficientNetV2M", "128", "1b8dc055df72dde80d614482840fe342"),
    "efficientnetv2-l": _v2("l", "EfficientNetV2L", "128", "b0b66b5c863aef5b46e8608fe1711615"),
    "inception-v3": Application(
        "InceptionV3",
        "tf",
        _inception,
        _release("inception_v3", f"inception_v3_{_KERNELS}", "bcbd6486424b2319ff4ef7d526e38f63"),
        {},
    ),
    "resnet50v2": Application(
        "ResNet50V2",
        "tf",
        _resnet,
        _release("resnet", f"resnet50v2_{_KERNELS}", "fac2f116257151a9d068a22e544a4917"),
        {},
    ),
    "densenet121": Application(
        "DenseNet121",
        "torch",
        _resnet,
        _release("densenet", f"densenet121_{_KERNELS}", "30ee3e1110167f948a6b9946edeeb738"),
        {},
    ),
    "convnext-tiny": Application(
        "ConvNeXtTiny",
        "torch",
        _convnext,
        _release(
            "convnext",
            "convnext_tiny_notop.h5",
            "d547c096cabd03329d7be5562c5e14798aa39ed24b474157cef5e85ab9e49ef1",
        ),
        _BARE,
    ),
    "mobilenetv3-small": Application(
        "MobileNetV3Small",
        "tf",
        _mobilenet,
        _release(
            "mobilenet_v3",
            "weights_mobilenet_v3_small_224_1.0_float_no_top_v2.h5",
            "d3e8ec802a04aa4fc771ee12a9a9b836",
        ),
        _BARE,
    ),
    "mobilenetv3-large": Application(
        "MobileNetV3Large",
        "tf",
        _mobilenet,
        _release(
            "mobilenet_v3",
            "weights_mobilenet_v3_large_224_1.0_float_no_top_v2.h5",
            "07fb09a5933dd0c8eaafa16978110389",
        ),
        _BARE,
    ),
}
