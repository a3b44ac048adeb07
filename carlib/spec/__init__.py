"""What a run is, as data: frozen dataclasses that refuse nonsense when they are made.

A Recipe and its parts round-trip through JSON and TOML, are varied with
``dataclasses.replace`` or ``with_settings``, and have a digest: two runs with the
same digest, photos and versions are the same run.
"""

from carlib.spec.parts import (
    CLASS_WEIGHTS,
    DETERMINISMS,
    DTYPES,
    LOSSES,
    RESIZES,
    ModelSpec,
    Recipe,
)
from carlib.spec.phase import AUTO, AUTO_MOST, BATCHNORMS, SHARES, Phase
from carlib.spec.settings import Difference, differences, with_settings
from carlib.spec.text import from_dict, from_json, from_toml, to_dict, to_json, to_toml

__all__ = [
    "AUTO",
    "AUTO_MOST",
    "BATCHNORMS",
    "CLASS_WEIGHTS",
    "DETERMINISMS",
    "DTYPES",
    "LOSSES",
    "RESIZES",
    "SHARES",
    "Difference",
    "ModelSpec",
    "Phase",
    "Recipe",
    "differences",
    "from_dict",
    "from_json",
    "from_toml",
    "to_dict",
    "to_json",
    "to_toml",
    "with_settings",
]
