"""A preset by its name, or by an expression that adds transforms to one and drops others."""

from __future__ import annotations

import functools
import re

from carlib.augment import own
from carlib.augment.presets import Preset
from carlib.augment.transforms import TRANSFORMS, Transform
from carlib.errors import UsageError, look_up, suggestion

_CROP = "RandomResizedCrop"


def preset_named(text: str) -> Preset:
    """Return the preset of a name, or of an expression such as "light+ToGray-HorizontalFlip".

    Each ``+Transform`` comes at the end with its options in TRANSFORMS; only RandomResizedCrop
    comes first, as sizes depend on it. Each ``-Transform`` drops all of that name, those of a
    OneOf included. Without its crop, a preset takes its photos at the size they leave with.

    Args:
        text: A name in PRESETS, or one of your own, then any number of ``+Transform`` and
            ``-Transform``.

    Returns:
        The preset; of an expression, its name is ``text``.

    Raises:
        UsageError: An unknown preset or transform, one to add that is there already, one to drop
            that is not there.

    >>> [name for name, _ in preset_named("light+ToGray-HorizontalFlip").transforms]
    ['RandomResizedCrop', 'RandomBrightnessContrast', 'ToGray']
    >>> preset_named("light-RandomResizedCrop").margin
    1.0
    """
    name, *changes = re.split(r"(?=[+-])", text)
    preset = look_up(own.known(), name, "preset")
    return _changed(preset, text, tuple(changes)) if changes else preset


@functools.lru_cache
def _changed(preset: Preset, text: str, changes: tuple[str, ...]) -> Preset:
    transforms, margin = preset.transforms, preset.margin
    for change in changes:
        sign, transform = change[0], change[1:]
        if sign == "+":
            transforms = _with(text, transforms, transform)
        else:
            transforms = _without(text, transforms, transform)
            margin = 1.0 if transform == _CROP else margin
    said = f"{preset.description} Changed: {' '.join(changes)}."
    return Preset(text, said, transforms, margin)


def _with(text: str, transforms: tuple[Transform, ...], name: str) -> tuple[Transform, ...]:
    added = (name, look_up(TRANSFORMS, name, "transform"))
    if name in [known for known, _ in transforms]:
        raise UsageError(f"augment {text!r}: {name} is there already; leave +{name} out")
    return (added, *transforms) if name == _CROP else (*transforms, added)


def _without(text: str, transforms: tuple[Transform, ...], name: str) -> tuple[Transform, ...]:
    kept: list[Transform] = []
    for known, options in transforms:
        choice = options.get("transforms", ())
        left = tuple(each for each in choice if each[0] != name)
        if known != name and (left or not choice):
            kept.append((known, {**options, "transforms": left} if choice else options))
    if tuple(kept) == transforms:
        there = [each for known in transforms for each in _names(known)]
        raise UsageError(
            f"augment {text!r}: there is no {name!r} to drop"
            + (suggestion(name, dict.fromkeys(there)) if there else f"; leave -{name} out")
        )
    return tuple(kept)


def _names(transform: Transform) -> list[str]:
    """Names of a transform and of those it is one of."""
    name, options = transform
    return [name, *(inner for inner, _ in options.get("transforms", ()))]


def entry_size(name: str, size: int) -> int:
    """Return the side in px of the square photo that the preset's augmenter takes.

    Args:
        name: As in ``preset_named``.
        size: Side of the photo that comes out, in px.

    Raises:
        UsageError: Unknown preset or transform.

    >>> entry_size("light", 96)
    120
    """
    return round(size * preset_named(name).margin)
