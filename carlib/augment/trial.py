"""A preset's transforms tried one by one, before hours are spent on what they are part of."""

from __future__ import annotations

import itertools
import json
import random
import warnings
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np

from carlib.augment.pipeline import make_transform
from carlib.augment.presets import Preset
from carlib.augment.transforms import Transform
from carlib.errors import UsageError, suggestion

_SIDES = 64, 97  # of the photos that are tried, px: two, for some always make one side


def try_transforms(preset: Preset) -> None:
    """Have albumentations apply each transform of a preset once, whatever its probability.

    Args:
        preset: Those of a OneOf are tried each by itself.

    Raises:
        UsageError: A transform that is not there, is refused, fails, or gives no photo of its
            size; options that are no data.

    >>> try_transforms(Preset("mirror", "Mirror.", (("HorizontalFlip", {"p": 0.5}),)))
    """
    import albumentations

    for side, (name, options) in itertools.product(_SIDES, _each(preset.transforms)):
        photo = np.random.default_rng(0).integers(0, 256, (side, side, 3), np.uint8)
        kind = getattr(albumentations, name, None)
        single = albumentations.BasicTransform, albumentations.OneOf
        if not (isinstance(kind, type) and issubclass(kind, single)):
            raise UsageError(
                f"preset {preset.name!r}: albumentations has no transform {name!r}"
                f"{_near(name, albumentations)}"
            )
        if name == "OneOf" and not options.get("transforms"):
            raise UsageError(
                f"preset {preset.name!r}: OneOf has nothing to choose from; give it transforms"
            )
        try:
            json.dumps(options)
        except TypeError as error:
            raise UsageError(
                f"preset {preset.name!r}: the options of {name} must be numbers, texts and lists "
                f"of these ({error}); received {options!r}"
            ) from error
        try:
            with warnings.catch_warnings():
                # It only warns of options that it does not know.
                warnings.filterwarnings("error", r"Argument\(s\)")
                made = albumentations.Compose([make_transform((name, {**options, "p": 1}), side)])
                made.set_random_state(np.random.default_rng(0), random.Random(0))
                found = made(image=photo)["image"]
        except Exception as error:  # of pydantic, numpy or OpenCV, whatever the options lead to
            reason = " ".join(f"{type(error).__name__}: {error}".split())[:200]
            raise UsageError(
                f"preset {preset.name!r}: albumentations refuses {name} with {dict(options)} "
                f"({reason}); mend its options"
            ) from error
        if (found.shape, found.dtype) != (photo.shape, photo.dtype):
            raise UsageError(
                f"preset {preset.name!r}: {name} makes {found.dtype} {found.shape} of a photo, "
                f"{photo.dtype} {photo.shape}; leave it out: only RandomResizedCrop may change a "
                "photo's size, and the model scales its values"
            )


def _each(transforms: Sequence[Transform]) -> Iterator[Transform]:
    for name, options in transforms:
        if name == "OneOf":
            yield from _each(options.get("transforms", ()))
        yield name, options


def _near(name: str, albumentations: Any) -> str:
    """The nearest name; all of them would be a page."""
    return suggestion(name, dir(albumentations)).partition(" Known:")[0].rstrip(".")
