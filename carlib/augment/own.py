"""Presets of a user's own, beside carlib's; free of albumentations until one is registered."""

from __future__ import annotations

import re

from carlib.augment.presets import PRESETS, Preset
from carlib.errors import UsageError
from carlib.registry import Registry

_own: Registry[Preset] = Registry("preset", lambda: PRESETS)


def add_preset(preset: Preset) -> None:
    """Register an augmentation preset of your own under its name, for recipes of this process.

    Each of its transforms is tried on a photo.

    Args:
        preset: Its transforms are any of albumentations' that leave a photo's size as it is, or
            RandomResizedCrop, by class name, with options of numbers, texts and lists of these:
            data, which the processes that load photos get as well.

    Raises:
        UsageError: No preset, a name that is taken or has a sign in it, a transform that
            albumentations does not have or refuses, or that does not give a photo of its size.

    >>> add_preset(Preset("mirror", "Mirror.", (("HorizontalFlip", {"p": 0.5}),)))
    >>> known()["mirror"].clean_share
    0.5
    >>> forget("mirror")
    """
    if not isinstance(preset, Preset):
        raise UsageError(f"add_preset takes a Preset; received {preset!r}")
    # "+" and "-" change a preset where it is named.
    if not isinstance(preset.name, str) or not re.fullmatch(r"[\w.]+", preset.name):
        raise UsageError(
            f"a preset's name is letters, digits, '.' and '_'; received {preset.name!r}"
        )
    from carlib.augment.trial import try_transforms

    try_transforms(preset)
    _own.add(preset.name, preset)


def known() -> dict[str, Preset]:
    """Return all presets by name: carlib's, then those registered."""
    return PRESETS | _own.things


def own_presets(text: str) -> tuple[Preset, ...]:
    """Return the presets of a user's own that a name or an expression is made of: one, or none.

    >>> own_presets("light+ToGray")
    ()
    """
    name = re.split(r"[+-]", text, maxsplit=1)[0]
    return (_own.things[name],) if name in _own.things else ()


def forget(name: str) -> None:
    """Take a preset of your own out again; a name that is not there is none."""
    _own.forget(name)
