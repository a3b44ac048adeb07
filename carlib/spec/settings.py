"""What differs between two recipes, and recipes changed by KEY=VALUE settings."""

from __future__ import annotations

import tomllib
from collections.abc import Iterable
from typing import Any

from carlib.errors import UsageError, suggestion
from carlib.spec.parts import Recipe
from carlib.spec.text import from_dict, to_dict


def differences(old: Recipe, new: Recipe) -> list[str]:
    """Return what differs between two recipes, a line a key.

    Name, description and measured don't count.

    >>> from carlib.spec.parts import ModelSpec, Phase
    >>> one = Recipe("r", ModelSpec("tiny", 32), (Phase("all", 1, 1e-3),))
    >>> differences(one, with_settings(one, ["seed=3", "phases.all.lr=0.1"]))
    ['phases.0.lr: 0.001 -> 0.1', 'seed: 0 -> 3']
    """
    flat_old, flat_new = _flat(to_dict(old)), _flat(to_dict(new))
    keys = sorted(set(flat_old) | set(flat_new))
    return [
        f"{key}: {flat_old.get(key, '(none)')} -> {flat_new.get(key, '(none)')}"
        for key in keys
        if flat_old.get(key) != flat_new.get(key) and key not in ("name", "description", "measured")
    ]


def _flat(value: Any, path: str = "") -> dict[str, Any]:
    if isinstance(value, dict | list):
        pairs = value.items() if isinstance(value, dict) else enumerate(value)
        found: dict[str, Any] = {}
        for key, inner in pairs:
            found.update(_flat(inner, f"{path}.{key}" if path else str(key)))
        return found
    return {path: value}


def with_settings(recipe: Recipe, settings: Iterable[str]) -> Recipe:
    """Return the recipe with ``KEY=VALUE`` settings applied, in order.

    Args:
        recipe: Stays as it is.
        settings: KEY is a field ("seed"), "model.FIELD", or "phases.WHICH.FIELD" where
            WHICH is a phase's name, its number from 0, or * for all. VALUE is a TOML
            value; a bare word is a text.

    Raises:
        UsageError: No "=", an unknown key, or a bad value.

    >>> from carlib.spec.parts import ModelSpec, Phase
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
