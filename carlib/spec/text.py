"""Recipes to and from plain dicts, JSON and TOML."""

from __future__ import annotations

import dataclasses
import json
import tomllib
from collections.abc import Mapping
from typing import Any

from carlib.errors import UsageError, suggestion
from carlib.spec.parts import ModelSpec, Recipe
from carlib.spec.phase import Phase


def to_dict(recipe: Recipe) -> dict[str, Any]:
    """Return the recipe as plain dicts, lists, numbers and texts; ``from_dict`` turns it back."""
    said = dataclasses.asdict(recipe)
    said["phases"] = list(said["phases"])
    for phase in said["phases"]:
        phase["rates"] = [list(pair) for pair in phase["rates"]]
    return said


def from_dict(said: Mapping[str, Any]) -> Recipe:
    """Return the recipe that ``said`` describes.

    Raises:
        UsageError: A key that is unknown ("did you mean") or missing, or a bad value.
    """
    said = dict(_table(said, "the recipe"))
    _check_keys(said, Recipe, "recipe")
    model = dict(_table(said["model"], "model"))
    _check_keys(model, ModelSpec, "model")
    phases = said["phases"]
    if not isinstance(phases, list | tuple):
        raise UsageError(f"recipe: phases must be a list of tables; received {phases!r}")
    made = []
    for phase in phases:
        phase = dict(_table(phase, "a phase"))
        _check_keys(phase, Phase, f"phase {phase.get('name', '')}".strip())
        made.append(Phase(**phase))
    return Recipe(**{**said, "model": ModelSpec(**model), "phases": tuple(made)})


def _table(value: Any, what: str) -> Mapping[str, Any]:
    if not isinstance(value, Mapping):
        raise UsageError(f"{what} must be a table of keys and values; received {value!r}")
    return value


def _check_keys(said: Mapping[str, Any], kind: type, where: str) -> None:
    fields = {entry.name: entry for entry in dataclasses.fields(kind)}
    for key in said:
        if key not in fields:
            raise UsageError(f"{where}: unknown key {key!r}{suggestion(key, fields)}")
    for name, entry in fields.items():
        needed = entry.default is dataclasses.MISSING
        if needed and name not in said:
            raise UsageError(f"{where}: key {name!r} is missing")


def to_json(recipe: Recipe) -> str:
    """Return the recipe as indented JSON."""
    return json.dumps(to_dict(recipe), indent=2) + "\n"


def from_json(text: str) -> Recipe:
    """Return the recipe that a JSON text describes; errors as ``from_dict``."""
    try:
        return from_dict(json.loads(text))
    # ValueError: also a number of more digits than Python reads. RecursionError: brackets.
    except (ValueError, RecursionError) as error:
        raise UsageError(f"not a JSON recipe: {error}") from error


def to_toml(recipe: Recipe) -> str:
    """Return the recipe as TOML: its own keys, [model], a [[phases]] table each.

    Only texts, numbers and lists of lists of numbers occur, and JSON writes those as TOML does
    (TOML 1.0, sections String, Integer, Float, Array), so no TOML writer is needed.
    """
    said = to_dict(recipe)
    model, phases = said.pop("model"), said.pop("phases")
    parts = [_lines(said), "[model]\n" + _lines(model)]
    parts += ["[[phases]]\n" + _lines(phase) for phase in phases]
    return "\n".join(parts)


def _lines(table: Mapping[str, Any]) -> str:
    lines = (f"{key} = {json.dumps(value, ensure_ascii=False)}\n" for key, value in table.items())
    # JSON leaves DEL as it is; TOML wants it escaped.
    return "".join(lines).replace("\x7f", "\\u007f")


def from_toml(text: str) -> Recipe:
    """Return the recipe that a TOML text describes; errors as ``from_dict``."""
    try:
        return from_dict(tomllib.loads(text))
    except (ValueError, RecursionError) as error:
        raise UsageError(f"not a TOML recipe: {error}") from error
