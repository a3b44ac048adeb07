"""An experiment from its plan, a TOML file."""

from __future__ import annotations

import itertools
import json
import math
import tomllib
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from carlib.errors import UsageError, look_up, suggestion
from carlib.experiments.noun import Arm, Experiment, Search
from carlib.experiments.search import round_after
from carlib.models.own import known
from carlib.recipes import RECIPES, load_recipe
from carlib.spec import Recipe, with_settings
from carlib.using import use as use_file

KEYS = (
    *("name", "base", "set", "seeds", "folds", "validation_share", "hours", "judge", "keep", "use"),
    *("halving", "alpha", "arms", "grid", "proxy", "search"),
)
PARTS = {"arms": ("recipe", "set"), "proxy": ("set",), "search": ("add", "drop", "rounds")}
MOST = 200  # arms


def read_experiment(path: Path | str) -> Experiment:
    """Return the experiment of a plan.

    Args:
        path: A TOML file. ``base`` is a recipe's name or file, beside the plan; ``set`` is what
            all arms have in common. ``[arms]`` has an arm a key: a list of settings, or a table
            of ``recipe`` and ``set``. ``[grid]`` has a list of values a setting, and every
            combination is an arm. ``seeds`` is a list, or how many. ``folds`` or
            ``validation_share`` is what is judged on. ``[proxy]``: ``set``, what makes all of it
            quicker. ``[search]``: ``add``, ``drop`` and ``rounds`` of ``Search``.

    Raises:
        UsageError: No such file, no TOML, an unknown key ("did you mean"), a bad value; the
            message names the file.

    >>> import tempfile
    >>> file = Path(tempfile.mkdtemp()) / "plan.toml"
    >>> _ = file.write_text('base = "tiny-check"\\n[arms]\\nlow = ["phases.all.lr=1e-3"]')
    >>> [arm.name for arm in read_experiment(file).everyone]
    ['base', 'low']
    """
    path = Path(path)
    try:
        said = tomllib.loads(path.read_text(encoding="utf-8-sig"))
    except FileNotFoundError:
        raise UsageError(f"there is no plan {path}; give the path of a TOML file") from None
    except (OSError, ValueError, RecursionError) as error:
        raise UsageError(f"{path} is no plan: {error}") from error
    try:
        return _experiment(said, path)
    except UsageError as error:
        raise UsageError(f"{path}: {error}") from error


def _experiment(said: Mapping[str, Any], path: Path) -> Experiment:
    _known(said, KEYS, "plan")
    if "base" not in said:
        raise UsageError("a plan needs base, a recipe's name or file")
    common = _settings(said.get("set", []), "set")
    if "folds" in said and "validation_share" in said:
        raise UsageError("a plan has folds or validation_share, not both: which shall judge?")
    # A recipe may have folds of its own, which would go before a share.
    if "folds" in said:
        common += [f"folds={said['folds']}", "fold=0"]
    if "validation_share" in said:
        common += [f"validation_share={said['validation_share']}", "folds=0", "fold=0"]
    base = _recipe(said["base"], path, common)
    arms = [
        *_named(said.get("arms", {}), base, path, common),
        *_combined(said.get("grid", {}), base),
    ]
    if len(arms) > MOST:
        raise UsageError(f"{len(arms)} arms; a plan has {MOST} at the most: split it")
    everyone = [Arm("base", base), *arms]
    proxy = said.get("proxy")
    if proxy is not None:
        _known(_table(proxy, "proxy"), PARTS["proxy"], "proxy")
    quicker = _settings((proxy or {}).get("set", []), "proxy.set")
    if proxy is not None and not quicker:
        raise UsageError("[proxy] needs set: what makes a run quicker")
    numbers = ("hours", "halving", "alpha")
    use = tuple(str(path.parent / each) for each in _texts(said.get("use", []), "use"))
    for file in use:
        if not Path(file).is_file():
            raise UsageError(f"use: there is no file {file}; give its path from the plan's folder")
    for file in use if "search" in said else ():  # whose arms are made of presets, here
        use_file(file)
    if not use:  # which may register others
        for arm in everyone:
            look_up(known(), arm.recipe.model.backbone, "backbone")
    options = {key: said[key] for key in (*numbers, "judge", "keep") if key in said}
    for key in numbers:
        if key in options and not _is_number(options[key]):
            raise UsageError(f"{key} must be a number; received {options[key]!r}")
    found = Experiment(
        name=_text(said.get("name", path.stem), "name"),
        base=everyone[0],
        arms=tuple(arms),
        seeds=_seeds(said.get("seeds", 3)),
        proxy=tuple(
            Arm(arm.name, with_settings(arm.recipe, quicker), arm.changes) for arm in everyone
        )
        if proxy is not None
        else (),
        use=use,
        search=_search(said["search"]) if "search" in said else None,
        **options,
    )
    round_after(found, [])  # a search that cannot begin is refused here
    return found


def _named(said: Any, base: Recipe, path: Path, common: list[str]) -> Iterable[Arm]:
    for name, given in _table(said, "arms").items():
        recipe, settings = base, given
        if isinstance(given, dict):
            _known(given, PARTS["arms"], f"arms.{name}")
            settings = given.get("set", [])
            if "recipe" in given:
                recipe = _recipe(given["recipe"], path, common)
        changes = _settings(settings, f"arms.{name}")
        shown = [f"recipe {given['recipe']}"] if recipe is not base else []
        try:
            yield Arm(name, with_settings(recipe, changes), (*shown, *changes))
        except UsageError as error:
            raise UsageError(f"arms.{name}: {error}") from error


def _combined(said: Any, base: Recipe) -> Iterable[Arm]:
    grid = _table(said, "grid")
    for key, values in grid.items():
        if not isinstance(values, list) or not values:
            raise UsageError(f"grid.{key} must be a list of values; received {values!r}")
        for value in values:
            if not isinstance(value, str | int | float):
                raise UsageError(
                    f"grid.{key}: a value is a text, a number, true or false; received {value!r}"
                )
    # The base may be one of them. Counted first: making them takes as long as they are many.
    if (points := math.prod(map(len, grid.values()))) > MOST + 1:
        raise UsageError(
            f"grid: {points} combinations; a plan has {MOST} arms at the most: split it"
        )
    last = [key.rpartition(".")[2] for key in grid]
    words = {
        key: key if last.count(word) > 1 else word for key, word in zip(grid, last, strict=True)
    }
    for values in itertools.product(*grid.values()) if grid else ():
        changes = [
            f"{key}={json.dumps(value, ensure_ascii=False)}"
            for key, value in zip(grid, values, strict=True)
        ]
        recipe = with_settings(base, changes)
        if recipe.digest() == base.digest():
            continue  # the base is a point of the grid
        shown = [f"{words[key]} {value}" for key, value in zip(grid, values, strict=True)]
        yield Arm(", ".join(shown), recipe, tuple(changes))


def _search(said: Any) -> Search:
    _known(_table(said, "search"), PARTS["search"], "search")
    drop, rounds = said.get("drop", True), said.get("rounds", 3)
    if not isinstance(drop, bool):
        raise UsageError(f"search.drop must be true or false; received {drop!r}")
    if type(rounds) is not int:
        raise UsageError(f"search.rounds must be a whole number; received {rounds!r}")
    return Search(tuple(_texts(said.get("add", []), "search.add")), drop, rounds)


def _recipe(name: Any, path: Path, common: list[str]) -> Recipe:
    name = _text(name, "a recipe")
    beside = path.parent / name
    found = load_recipe(name if name in RECIPES or not beside.is_file() else str(beside))
    return with_settings(found, common)


def _seeds(said: Any) -> tuple[int, ...]:
    if isinstance(said, int) and not isinstance(said, bool) and 1 <= said <= 1000:
        return tuple(range(said))
    if isinstance(said, list) and all(type(each) is int for each in said):
        return tuple(said)
    raise UsageError(f"seeds must be how many, or a list of them; received {said!r}")


def _known(said: Mapping[str, Any], keys: Iterable[str], what: str) -> None:
    keys = list(keys)
    for key in said:
        if key not in keys:
            raise UsageError(f"{what}: unknown key {key!r}{suggestion(key, keys)}")


def _table(said: Any, what: str) -> dict[str, Any]:
    if not isinstance(said, dict):
        raise UsageError(f"{what} must be a table; received {said!r}")
    return said


def _settings(said: Any, what: str) -> list[str]:
    found = _texts(said, what)
    for each in found:
        if "=" not in each:
            raise UsageError(f"{what}: a setting is KEY=VALUE; received {each!r}")
    return found


def _texts(said: Any, what: str) -> list[str]:
    said = [said] if isinstance(said, str) else said
    if not isinstance(said, list) or not all(isinstance(each, str) and each for each in said):
        raise UsageError(f"{what} must be a list of texts; received {said!r}")
    return said


def _text(said: Any, what: str) -> str:
    if not isinstance(said, str) or not said:
        raise UsageError(f"{what} must be a text; received {said!r}")
    return said


def _is_number(said: Any) -> bool:
    return isinstance(said, int | float) and not isinstance(said, bool)
