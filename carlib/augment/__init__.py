"""Augmentation: presets as data, the pipeline on albumentations, mixing, the preview grid.

Presets and the expressions that change them need nothing but the standard library; what needs
numpy is loaded when it is asked for.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

from carlib.augment.expressions import entry_size, preset_named
from carlib.augment.option import Augmentation
from carlib.augment.own import add_preset, own_presets
from carlib.augment.presets import PRESETS, Preset
from carlib.augment.transforms import TRANSFORMS

if TYPE_CHECKING:
    from carlib.augment.mixing import Mix, draw_mix
    from carlib.augment.pipeline import Augmenter, item_seed, make_augmenter, skips
    from carlib.augment.preview import preview_grid

_LATER = {
    "Augmenter": "pipeline",
    "Mix": "mixing",
    "draw_mix": "mixing",
    "item_seed": "pipeline",
    "make_augmenter": "pipeline",
    "preview_grid": "preview",
    "skips": "pipeline",
}

__all__ = [
    "PRESETS",
    "TRANSFORMS",
    "Augmentation",
    "Augmenter",
    "Mix",
    "Preset",
    "add_preset",
    "draw_mix",
    "entry_size",
    "item_seed",
    "make_augmenter",
    "own_presets",
    "preset_named",
    "preview_grid",
    "skips",
]


def __getattr__(name: str) -> Any:
    if name in _LATER:
        return getattr(importlib.import_module(f"carlib.augment.{_LATER[name]}"), name)
    raise AttributeError(f"module 'carlib.augment' has no attribute {name!r}")
