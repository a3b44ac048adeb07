"""What differs between two recipes, and recipes changed by KEY=VALUE settings."""

from __future__ import annotations

import dataclasses
import tomllib
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any

from carlib.errors import UsageError, suggestion
from carlib.spec.parts import Recipe
from carlib.spec.phase import Phase
from carlib.spec.text import from_dict, to_dict


@dataclass(frozen=True, slots=True)
class Difference:
    """One thing that two recipes don't have in common.

    Args:
        where: "" (the recipe's own field), "model", "phases.NAME", or "phases".
        field: The field's name. Where it is "phases" as a whole: the name of a phase that
            only one recipe has, or "order".
        old: The old recipe's value: the field's; the Phase, or None where it is new; the names
            of the phases that both have, as a tuple in its order.
        new: Likewise, None where the phase is gone.

    >>> str(Difference("phases.head", "lr", 0.01, 0.5))
    'phases.head.lr: 0.01 -> 0.5'
    """

    where: str
    field: str
    old: Any
    new: Any

    def __str__(self) -> str:
        if self.where != "phases":
            key = f"{self.where}.{self.field}" if self.where else self.field
            return f"{key}: {self.old} -> {self.new}"
        if isinstance(self.old, tuple):
            return f"phases: the order {', '.join(self.old)} -> {', '.join(self.new)}"
        return f"phases: {self.field!r} is {'gone' if self.new is None else 'new'}"


def differences(old: Recipe, new: Recipe) -> list[Difference]:
    """Return what differs between two recipes, in the order of their fields.

    Phases are matched by name. There are none if and only if the digests are equal: name,
    description and measured don't count.

    >>> from carlib.spec import ModelSpec, Phase
    >>> one = Recipe("r", ModelSpec("tiny", 32), (Phase("all", 1, 1e-3),))
    >>> other = with_settings(one, ["seed=3", "phases.all.lr=0.1"])
    >>> [str(difference) for difference in differences(one, other)]
    ['phases.all.lr: 0.001 -> 0.1', 'seed: 0 -> 3']
    """
    found: list[Difference] = []
    for difference in _of_fields("", old, new):
        if difference.field == "model":
            found += _of_fields("model", old.model, new.model)
        elif difference.field == "phases":
            found += _of_phases(old.phases, new.phases)
        elif difference.field != "name":
            found.append(difference)
    return found


def _of_phases(old: tuple[Phase, ...], new: tuple[Phase, ...]) -> Iterator[Difference]:
    before = {phase.name: phase for phase in old}
    after = {phase.name: phase for phase in new}
    for name in before | after:
        if name not in before or name not in after:
            yield Difference("phases", name, before.get(name), after.get(name))
    order_before = tuple(name for name in before if name in after)
    order_after = tuple(name for name in after if name in before)
    if order_before != order_after:
        yield Difference("phases", "order", order_before, order_after)
    for name in order_before:
        yield from _of_fields(f"phases.{name}", before[name], after[name])


def _of_fields(where: str, old: Any, new: Any) -> Iterator[Difference]:
    for entry in dataclasses.fields(old):
        before, after = getattr(old, entry.name), getattr(new, entry.name)
        if entry.compare and before != after:
            yield Difference(where, entry.name, before, after)


def with_settings(recipe: Recipe, settings: Iterable[str]) -> Recipe:
    """Return the recipe with ``KEY=VALUE`` settings applied, in order.

    Args:
        recipe: Stays as it is.
        settings: KEY is a field ("seed"), "model.FIELD", or "phases.WHICH.FIELD" where
            WHICH is a phase's name, its number from 0, or * for all. VALUE is a TOML
            value; a bare word is a text.

    Raises:
        UsageError: No "=", an unknown key, or a bad value.

    >>> from carlib.spec import ModelSpec, Phase
    >>> recipe = Recipe("r", ModelSpec("tiny", 32), (Phase("all", 1, 1e-3),))
    >>> with_settings(recipe, ["model.size=48", "phases.*.epochs=3"]).epochs
    3
    """
    said = to_dict(recipe)
    for setting in settings:
        key, equals, text = setting.partition("=")
        key = key.strip()
        if not equals or not key:
            raise UsageError(f"a setting is KEY=VALUE; received {setting!r}")
        for table, name in _targets(said, key.split(".")):
            table[name] = _value(text.strip())
    return from_dict(said)


def _targets(said: dict[str, Any], path: list[str]) -> list[tuple[dict[str, Any], str]]:
    if len(path) == 1 and path[0] not in ("model", "phases"):
        return [(said, path[0])]
    if len(path) == 2 and path[0] == "model":
        return [(said["model"], path[1])]
    if len(path) == 3 and path[0] == "phases":
        which, name = path[1:]
        named = {str(phase["name"]): phase for phase in said["phases"]}
        numbered = {str(number): phase for number, phase in enumerate(said["phases"])}
        if which == "*":
            return [(phase, name) for phase in said["phases"]]
        for phases in (named, numbered):
            if which in phases:
                return [(phases[which], name)]
        raise UsageError(f"unknown phase {which!r}{suggestion(which, named)}")
    if path[0] not in said:
        raise UsageError(f"recipe: unknown key {path[0]!r}{suggestion(path[0], said)}")
    raise UsageError(
        f"unknown key {'.'.join(path)!r}: use a field ('seed'), 'model.FIELD' or "
        "'phases.WHICH.FIELD'"
    )


def _value(text: str) -> Any:
    try:
        return tomllib.loads(f"value = {text}")["value"]
    except (ValueError, RecursionError):
        return text
