"""A compiled Keras model's whole state, out and back in, by names that last.

Variable paths differ between Keras versions (``adam_w/...``, ``adamw/...``) and between a
first and a second build in one process, so state is keyed by layer and by the optimizer's
slot names, which carry the layer's. Dropout's seed state counts as state: Keras' own files
leave it out, and a resumed run would draw other masks.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any

import keras
import numpy as np

from carlib.errors import RunError


def _named(
    model: keras.Model, optimizer: Any, metrics: Iterable[keras.metrics.Metric]
) -> Iterator[tuple[str, Any]]:
    for layer in model.layers:
        yield from _numbered(f"model/{layer.name}", layer.variables)
    if optimizer is not None:
        yield from _numbered("optimizer", optimizer.variables)
    for metric in metrics:
        yield from _numbered(f"metrics/{metric.name}", metric.variables)


def _numbered(prefix: str, variables: Iterable[Any]) -> Iterator[tuple[str, Any]]:
    """A loss-scaled optimizer has two variables called iteration: the second is iteration#1."""
    seen: dict[str, int] = {}
    for variable in variables:
        count = seen.get(variable.name, 0)
        seen[variable.name] = count + 1
        yield f"{prefix}/{variable.name}{f'#{count}' if count else ''}", variable


def get_state(
    model: keras.Model,
    optimizer: Any = None,
    metrics: Iterable[keras.metrics.Metric] = (),
) -> dict[str, np.ndarray]:
    """Return every variable's value by name.

    Args:
        model: Its layers' variables, seed states included.
        optimizer: Built; None leaves it out (between phases, when a new one comes).
        metrics: Those with counts of the epoch so far.
    """
    state: dict[str, np.ndarray] = {}
    for name, variable in _named(model, optimizer, metrics):
        if name in state:
            raise RunError(f"two variables are called {name}; give the model's layers other names")
        state[name] = np.array(keras.ops.convert_to_numpy(variable))
    return state


def set_state(
    state: dict[str, np.ndarray],
    model: keras.Model,
    optimizer: Any = None,
    metrics: Iterable[keras.metrics.Metric] = (),
) -> None:
    """Put back what ``get_state`` returned, all of it or nothing.

    Raises:
        RunError: A variable that the state lacks, one it has too many, or another shape.
    """
    targets = dict(_named(model, optimizer, metrics))
    if missing := sorted(set(targets) ^ set(state)):
        where = "the checkpoint lacks" if missing[0] in targets else "the model has no"
        raise RunError(
            f"the checkpoint does not fit this model: {where} {missing[0]} "
            f"({len(missing)} variables differ); was it written by the same recipe?"
        )
    for name, variable in targets.items():
        if tuple(variable.shape) != state[name].shape:
            raise RunError(
                f"the checkpoint does not fit this model: {name} has the shape "
                f"{state[name].shape}, the model wants {tuple(variable.shape)}"
            )
    for name, variable in targets.items():
        variable.assign(state[name])


def averaged(state: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    """Return the model's part of a state, moving averages in place of the weights they follow.

    Where an optimizer keeps no averages (``use_ema`` off), it is the weights themselves.

    >>> state = {"model/a/kernel": 1, "optimizer/a_kernel_average": 2, "model/a/bias": 3}
    >>> averaged(state)
    {'model/a/kernel': 2, 'model/a/bias': 3}
    """
    weights = {}
    for key, value in state.items():
        prefix, _, name = key.partition("/")
        if prefix == "model":
            average = f"optimizer/{name.replace('/', '_')}_average"
            weights[key] = state.get(average, value)
    return weights
