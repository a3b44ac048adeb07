"""Keras' .h5 weights files, in the layout of the released ones: a group a layer.

The file's attribute ``layer_names`` lists its groups, a group's ``weight_names`` its arrays.
Source: ``keras/src/legacy/saving/legacy_h5_format.py``. A .weights.h5 of Keras 3 is otherwise.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable
from pathlib import Path
from typing import Any

import h5py  # type: ignore[import-untyped]
import numpy as np

from carlib.errors import RunError


def read_h5(path: Path | str) -> dict[str, list[np.ndarray]]:
    """Return the arrays of each layer that has any, in the file's order.

    Args:
        path: A file of weights, or of a whole model.

    Raises:
        RunError: Not such a file, truncated, damaged, or in another layout.
    """
    try:
        with h5py.File(path, "r") as file:
            group = file.get("model_weights", file)  # of a whole model
            names = _texts(group, "layer_names")
            layers = {name: _arrays(group[name]) for name in names}
    except (OSError, KeyError, ValueError, TypeError, RuntimeError, AttributeError) as error:
        reason = " ".join(str(error).split())
        raise RunError(
            f"{path} is not a whole Keras .h5 weights file ({reason}): attach or download it again"
        ) from error
    found = {name: arrays for name, arrays in layers.items() if arrays}
    if not found:
        raise RunError(
            f"{path} lists no layers: it is not in the layout of the released .h5 weights (a "
            ".weights.h5 of Keras 3 is in another); give a released file"
        )
    return found


def _texts(group: Any, attribute: str) -> list[str]:
    """Return an attribute's texts; HDF5 holds 64 KB in one, so Keras numbers the parts."""
    numbered = (f"{attribute}{part}" for part in itertools.count())
    several = itertools.takewhile(group.attrs.__contains__, numbered)
    parts = [attribute] if attribute in group.attrs else several
    texts = [text for part in parts for text in group.attrs[part]]
    return [text.decode() if isinstance(text, bytes) else str(text) for text in texts]


def _arrays(group: Any) -> list[np.ndarray]:
    return [np.asarray(group[name], np.float32) for name in _texts(group, "weight_names")]


def load_h5(model: Any, path: Path | str, rename: Callable[[str], str] = lambda name: name) -> None:
    """Put the weights of a file into the backbone of a model, all of it or nothing.

    Layers are found by name, and those of names that the other side lacks in their order, as
    Keras loads these files. A file's classifier is left out, and the model's head stays as
    it is.

    Args:
        model: Fresh from the backbones here, with its head or without.
        path: The file.
        rename: From a layer's name in the file to its name in the model. Defaults to the same.

    Raises:
        RunError: A file that cannot be read, or of another network; the model is then unchanged.
    """
    # A kernel of two dimensions is a classifier's; the backbones have none.
    saved = {rename(name): arrays for name, arrays in read_h5(path).items() if arrays[0].ndim != 2}
    wanted = {
        layer.name: layer
        for layer in model.layers
        if layer.weights and not layer.name.startswith("head_")
    }
    other = f"are they weights of another backbone than {model.name}?"
    left = [name for name in saved if name not in wanted]
    open_ = [name for name in wanted if name not in saved]
    if len(left) != len(open_):
        raise RunError(
            f"{path} holds {len(saved)} layers of weights, the model has {len(wanted)}, and "
            f"{len(saved) - len(left)} have the same name; {other}"
        )
    source = {name: name for name in wanted} | dict(zip(open_, left, strict=True))
    values: list[tuple[Any, np.ndarray]] = []
    for name, layer in wanted.items():
        arrays = saved[source[name]]
        # The order of a file: what trains, then what does not.
        variables = layer.trainable_weights + layer.non_trainable_weights
        shapes = [array.shape for array in arrays]
        if shapes != [tuple(variable.shape) for variable in variables]:
            raise RunError(
                f"{source[name]!r} of {path} has the shapes {shapes}, {name!r} of the model "
                f"{[tuple(variable.shape) for variable in variables]}; {other}"
            )
        values.extend(zip(variables, arrays, strict=True))
    for variable, array in values:
        variable.assign(array)
