"""Keras' variables as parts of the state, by names that last.

Variable paths differ between Keras versions (``adam_w/...``, ``adamw/...``) and between a
first and a second build in one process, so state is keyed by layer and by the optimizer's
slot names, which carry the layer's. Dropout's seed state counts as state: Keras' own files
leave it out, and a resumed run would draw other masks.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from typing import Any

import keras
import numpy as np

from carlib.errors import RunError


class Variables:
    """Variables of one kind, by name: a part of the state.

    Args:
        name: Of the part: "model", "optimizer", "metrics".
        owners: Pairs of a prefix ("" for none) and the variables that it names.
        fixed: Values of variables that do not move meanwhile: they are not copied again.

    Raises:
        RunError: Two variables of one name.
    """

    def __init__(
        self,
        name: str,
        owners: Iterable[tuple[str, Iterable[Any]]],
        fixed: Mapping[str, np.ndarray] | None = None,
    ):
        self.name, self.fixed = name, fixed or {}
        self.variables: dict[str, Any] = {}
        for prefix, variables in owners:
            seen: dict[str, int] = {}
            for variable in variables:
                # A loss-scaled optimizer has two called iteration: the second is iteration#1.
                count = seen.get(variable.name, 0)
                seen[variable.name] = count + 1
                key = "/".join(filter(None, (prefix, variable.name))) + (f"#{count}" * (count > 0))
                if key in self.variables:
                    raise RunError(
                        f"two variables are called {name}/{key}; give the model's layers other "
                        "names"
                    )
                self.variables[key] = variable

    @property
    def nbytes(self) -> int:
        """Bytes of all values."""
        sizes = (
            math.prod(each.shape) * np.dtype(keras.backend.standardize_dtype(each.dtype)).itemsize
            for each in self.variables.values()
        )
        return sum(sizes)

    def get(self) -> dict[str, np.ndarray]:
        """Return a copy of every variable's value by name."""
        return {
            key: self.fixed[key]
            if key in self.fixed
            else np.array(keras.ops.convert_to_numpy(variable))
            for key, variable in self.variables.items()
        }

    def set(self, state: Mapping[str, Any], /) -> None:
        """Put back what ``get`` returned, all of it or nothing.

        Raises:
            RunError: A variable that the state lacks, one it has too many, or another shape.
        """
        if differing := sorted(set(self.variables) ^ set(state)):
            first = f"{self.name}/{differing[0]}"
            where = "the checkpoint lacks" if differing[0] in self.variables else "there is no"
            raise RunError(
                f"the checkpoint does not fit this model: {where} {first} "
                f"({len(differing)} variables differ); was it written by the same recipe?"
            )
        for key, variable in self.variables.items():
            if tuple(variable.shape) != np.shape(state[key]):
                raise RunError(
                    f"the checkpoint does not fit this model: {self.name}/{key} has the shape "
                    f"{np.shape(state[key])}, the model wants {tuple(variable.shape)}"
                )
        for key, variable in self.variables.items():
            variable.assign(state[key])


def model_state(model: keras.Model, fixed: Mapping[str, np.ndarray] | None = None) -> Variables:
    """Return a model's part: its layers' variables, seed states included.

    Args:
        model: Built.
        fixed: As in Variables.
    """
    return Variables("model", ((layer.name, layer.variables) for layer in model.layers), fixed)


def optimizer_state(optimizer: Any) -> Variables:
    """Return a built optimizer's part: slots, iterations, loss scale, averages, accumulators."""
    return Variables("optimizer", [("", optimizer.variables)])


def metrics_state(metrics: Iterable[keras.metrics.Metric]) -> Variables:
    """Return the part of metrics with counts of the epoch so far."""
    return Variables("metrics", ((metric.name, metric.variables) for metric in metrics))


def averaged(arrays: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    """Return the model's part of a checkpoint's arrays, for ``model_state(model).set``.

    Moving averages come in place of the weights they follow. Where an optimizer keeps none
    (``use_ema`` off), it is the weights themselves.

    >>> arrays = {"model/a/kernel": 1, "optimizer/a_kernel_average": 2, "model/a/bias": 3}
    >>> averaged(arrays)
    {'a/kernel': 2, 'a/bias': 3}
    """
    weights = {}
    for key, value in arrays.items():
        prefix, _, name = key.partition("/")
        if prefix == "model":
            average = f"optimizer/{name.replace('/', '_')}_average"
            weights[name] = arrays.get(average, value)
    return weights
