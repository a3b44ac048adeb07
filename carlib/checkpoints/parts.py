"""State by parts: whatever a run remembers has a name, can be got, and can be set."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from typing import Any, Protocol, runtime_checkable

import numpy as np

from carlib.errors import RunError


@runtime_checkable
class Stateful(Protocol):
    """Something that belongs to a run's state.

    ``name`` is unique in the run and lasts over versions, without "/". ``get`` returns values by
    key: numpy arrays that nothing changes afterwards, or what JSON can hold. ``set`` takes the
    same back, in a new process, and refuses with RunError what does not fit.
    """

    @property
    def name(self) -> str: ...

    def get(self) -> Mapping[str, Any]: ...

    def set(self, state: Mapping[str, Any], /) -> None: ...


def collect(parts: Iterable[Stateful]) -> tuple[dict[str, np.ndarray], dict[str, Any]]:
    """Return (arrays by part/key, other values by part) of all parts.

    Raises:
        RunError: Two parts of one name, or a name that is empty or has a "/".
    """
    arrays: dict[str, np.ndarray] = {}
    values: dict[str, Any] = {}
    names: set[str] = set()
    for part in parts:
        if part.name in names or "/" in part.name or not part.name:
            raise RunError(
                f"a part of the state is called {part.name!r}: names must differ, be given and "
                "hold no '/'; give it another"
            )
        names.add(part.name)
        plain = {}
        for key, value in part.get().items():
            if isinstance(value, np.ndarray):
                arrays[f"{part.name}/{key}"] = value
            else:
                plain[key] = value
        try:
            values[part.name] = json.loads(json.dumps(plain))  # a copy: what it was made of goes on
        except (TypeError, ValueError) as error:
            raise RunError(
                f"the state of {part.name!r} cannot be kept ({error}); its get must return numpy "
                "arrays, texts, numbers, lists and dicts of those"
            ) from error
    return arrays, values


def restore(
    parts: Iterable[Stateful],
    arrays: Mapping[str, np.ndarray],
    values: Mapping[str, Any],
    others: Iterable[str] = (),
) -> None:
    """Give each part back what ``collect`` took from it.

    Args:
        parts: In the order they are set.
        arrays: By part/key.
        values: By part.
        others: Names of parts that somebody else restores.

    Raises:
        RunError: A part that the checkpoint lacks, or one that nobody here takes: either way the
            run would not go on as it was.
    """
    parts = list(parts)
    names = {part.name for part in parts}
    if lacking := sorted(names - set(values)):
        raise RunError(
            f"the checkpoint does not fit this run: it has no state of {lacking[0]!r}; resume with "
            "the same recipe, callbacks and version"
        )
    if unclaimed := sorted(set(values) - names - set(others)):
        raise RunError(
            f"the checkpoint does not fit this run: it has state of {unclaimed[0]!r}, which "
            "nothing here takes; resume with the same recipe, callbacks and version"
        )
    for part in parts:
        prefix = f"{part.name}/"
        own = {
            key.removeprefix(prefix): value
            for key, value in arrays.items()
            if key.startswith(prefix)
        }
        part.set({**values[part.name], **own})
