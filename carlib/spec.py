"""What a run is, as data: frozen dataclasses that refuse nonsense when they are made.

A Recipe and its parts round-trip through JSON and TOML, are varied with
``dataclasses.replace`` or ``with_settings``, and have a digest: two runs with the
same digest, photos and versions are the same run.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
import math
import tomllib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from carlib.errors import UsageError, suggestion

RESIZES = ("stretch", "crop", "pad")
DTYPES = ("float32", "mixed_float16")
BATCHNORMS = ("frozen", "trained")
LOSSES = ("crossentropy",)
MONITORS = ("accuracy", "loss")
DETERMINISMS = ("exact", "fast")


def _number(owner: object, name: str, low: float, high: float = math.inf, *, whole: bool) -> None:
    """Check a numeric field; a whole number given for a float field becomes a float."""
    value = getattr(owner, name)
    kinds = int if whole else (int, float)
    good = isinstance(value, kinds) and not isinstance(value, bool) and low <= value <= high
    if not good or not math.isfinite(value):
        kind = "a whole number" if whole else "a number"
        bounds = f"from {low:g}" + ("" if high == math.inf else f" to {high:g}")
        raise UsageError(f"{_kind(owner)}: {name} must be {kind} {bounds}; received {value!r}")
    if not whole:
        object.__setattr__(owner, name, float(value))


def _one_of(owner: object, name: str, allowed: tuple[str, ...]) -> None:
    value = getattr(owner, name)
    if value not in allowed:
        raise UsageError(f"{_kind(owner)}: unknown {name} {value!r}{suggestion(value, allowed)}")


def _text(owner: object, *names: str) -> None:
    for name in names:
        value = getattr(owner, name)
        if not isinstance(value, str) or not value:
            raise UsageError(f"{_kind(owner)}: {name} must be a non-empty text; received {value!r}")


def _kind(owner: object) -> str:
    return type(owner).__name__


@dataclass(frozen=True, slots=True)
class ModelSpec:
    """A classifier before it is built.

    Args:
        backbone: Name in the backbones table (``carlib.models.BACKBONES``).
        size: Side of the square photo the network sees, in px.
        resize: How a photo becomes square: "stretch" (aspect is lost), "crop" (the
            middle), "pad" (black borders). Defaults to "stretch".
        dropout: Share of the pooled features dropped before the classifier. Defaults to 0.2.
        weights: "none", "imagenet", "noisy-student", or the path of a file.
        dtype: Keras dtype policy, "float32" or "mixed_float16".

    Raises:
        UsageError: A value out of its bounds.

    >>> ModelSpec("tiny", 32).resize
    'stretch'
    """

    backbone: str
    size: int
    resize: str = "stretch"
    dropout: float = 0.2
    weights: str = "none"
    dtype: str = "float32"

    def __post_init__(self) -> None:
        _text(self, "backbone", "weights")
        _number(self, "size", 16, 2048, whole=True)
        _one_of(self, "resize", RESIZES)
        _number(self, "dropout", 0, 0.95, whole=False)
        _one_of(self, "dtype", DTYPES)


@dataclass(frozen=True, slots=True)
class Phase:
    """A stretch of training with one frozen set, one optimizer, one schedule.

    Args:
        name: Unique in its recipe; shown in history and report.
        epochs: Passes over the training photos, from 1.
        lr: Peak learning rate.
        trains: "head", "all", or the share of blocks from the top that trains, as
            a number between 0 and 1 (0.5: the upper half, cut at block borders).
        batchnorm: "frozen" (moving statistics and gamma, beta stay as they are) or
            "trained" (in the blocks that train). Defaults to "frozen".
        schedule: Name in the schedules table: "constant" or "cosine".
        warmup: Epochs of linear warm-up to ``lr``. Defaults to 0.
        optimizer: Name in the optimizers table: "adam", "adamw" or "sgd".
        weight_decay: Decoupled weight decay a step (adamw), as Keras defines it.
        batch_size: Photos a step. Defaults to 32.
        augment: Name of an augmentation preset. Defaults to "none".

    >>> Phase("head", epochs=2, lr=1e-3, trains="head").batch_size
    32
    """

    name: str
    epochs: int
    lr: float
    trains: str | float = "all"
    batchnorm: str = "frozen"
    schedule: str = "constant"
    warmup: float = 0.0
    optimizer: str = "adamw"
    weight_decay: float = 0.0
    batch_size: int = 32
    augment: str = "none"

    def __post_init__(self) -> None:
        _text(self, "name", "schedule", "optimizer", "augment")
        _number(self, "epochs", 1, 100_000, whole=True)
        _number(self, "lr", 0, 100, whole=False)
        if isinstance(self.trains, str):
            _one_of(self, "trains", ("head", "all"))
        else:
            _number(self, "trains", 0, 1, whole=False)
        _one_of(self, "batchnorm", BATCHNORMS)
        _number(self, "warmup", 0, self.epochs, whole=False)
        _number(self, "weight_decay", 0, 10, whole=False)
        _number(self, "batch_size", 1, 65_536, whole=True)


@dataclass(frozen=True, slots=True)
class Recipe:
    """A whole training run: model, phases, seed.

    Args:
        name: For people; not in the digest, like ``description``.
        model: What is trained.
        phases: In order; each starts from the weights the one before ended with.
        seed: Of initial weights, split, order, augmentation, dropout. Defaults to 0.
        loss: "crossentropy".
        label_smoothing: Share of the target spread over all classes. Defaults to 0.
        validation_share: Share of each class's photos kept for validation, above 0 up
            to 0.5. Defaults to 0.2.
        monitor: What makes an epoch the best one, on validation: "accuracy" (higher)
            or "loss" (lower).
        determinism: "exact" (bit for bit repeatable, op determinism on) or "fast".
        description: One sentence on what it is for.

    >>> Recipe("r", ModelSpec("tiny", 32), (Phase("all", 1, 1e-3),)).epochs
    1
    """

    name: str
    model: ModelSpec
    phases: tuple[Phase, ...]
    seed: int = 0
    loss: str = "crossentropy"
    label_smoothing: float = 0.0
    validation_share: float = 0.2
    monitor: str = "accuracy"
    determinism: str = "exact"
    description: str = field(default="", compare=False)

    def __post_init__(self) -> None:
        _text(self, "name")
        if not isinstance(self.model, ModelSpec):
            raise UsageError(f"Recipe: model must be a ModelSpec; received {self.model!r}")
        # One Phase in brackets without a comma is no tuple.
        given = self.phases if isinstance(self.phases, list | tuple) else (self.phases,)
        if not given or not all(isinstance(phase, Phase) for phase in given):
            raise UsageError(f"Recipe: phases must be one Phase or more; received {given!r}")
        object.__setattr__(self, "phases", tuple(given))
        if not isinstance(self.description, str):
            raise UsageError(f"Recipe: description must be a text; received {self.description!r}")
        names = [phase.name for phase in self.phases]
        if len(set(names)) < len(names):
            raise UsageError(f"Recipe: phase names must differ; received {', '.join(names)}")
        _number(self, "seed", 0, 2**32 - 1, whole=True)
        _one_of(self, "loss", LOSSES)
        _number(self, "label_smoothing", 0, 0.9, whole=False)
        _number(self, "validation_share", 0, 0.5, whole=False)
        if self.validation_share == 0:
            raise UsageError(
                "Recipe: validation_share must be above 0, up to 0.5; received 0, and without "
                "validation photos there is no best epoch"
            )
        _one_of(self, "monitor", MONITORS)
        _one_of(self, "determinism", DETERMINISMS)

    @property
    def epochs(self) -> int:
        """Epochs of all phases together."""
        return sum(phase.epochs for phase in self.phases)

    def digest(self) -> str:
        """Return the SHA-256 of everything that changes the result, as 64 hex digits.

        Fields at their defaults are left out: a field that a later version adds changes no
        digest of a recipe without it. A default's value therefore stays what it is.
        """
        said = {
            **_changed(self),
            "model": _changed(self.model),
            "phases": [_changed(phase) for phase in self.phases],
        }
        del said["name"]
        text = json.dumps(said, sort_keys=True, separators=(",", ":"))
        return hashlib.sha256(text.encode()).hexdigest()


def _changed(owner: Recipe | ModelSpec | Phase) -> dict[str, Any]:
    """Return the compared fields that are not at their defaults."""
    values = {entry: getattr(owner, entry.name) for entry in dataclasses.fields(owner)}
    return {
        entry.name: value
        for entry, value in values.items()
        if entry.compare and value != entry.default
    }


def to_dict(recipe: Recipe) -> dict[str, Any]:
    """Return the recipe as plain dicts, lists, numbers and texts; ``from_dict`` turns it back."""
    said = dataclasses.asdict(recipe)
    said["phases"] = list(said["phases"])
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

    Only texts and numbers occur, and JSON writes those as TOML does (TOML 1.0, sections
    String, Integer, Float), so no TOML writer is needed.
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


def differences(old: Recipe, new: Recipe) -> list[str]:
    """Return what differs between two recipes, a line a key; name and description don't count.

    >>> one = Recipe("r", ModelSpec("tiny", 32), (Phase("all", 1, 1e-3),))
    >>> differences(one, with_settings(one, ["seed=3", "phases.all.lr=0.1"]))
    ['phases.0.lr: 0.001 -> 0.1', 'seed: 0 -> 3']
    """
    flat_old, flat_new = _flat(to_dict(old)), _flat(to_dict(new))
    keys = sorted(set(flat_old) | set(flat_new))
    return [
        f"{key}: {flat_old.get(key, '(none)')} -> {flat_new.get(key, '(none)')}"
        for key in keys
        if flat_old.get(key) != flat_new.get(key) and key not in ("name", "description")
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
