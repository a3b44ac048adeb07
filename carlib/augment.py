"""Augmentation presets as data, on albumentations; the preview grid.

An augmented photo is a function of the photo and a seed alone: no state is shared
between calls, threads or processes.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np

from carlib.errors import look_up

# albumentations asks PyPI for its newest version at import unless told not to.
os.environ.setdefault("NO_ALBUMENTATIONS_UPDATE", "1")

Augmenter = Callable[[np.ndarray, int], np.ndarray]


@dataclass(frozen=True, slots=True)
class Preset:
    """An augmentation, as data.

    Args:
        name: In the presets table.
        description: One sentence for people.
        transforms: (albumentations class name, its arguments) in order. A transform named
            RandomResizedCrop gets the photo size filled in.
        margin: The photo comes in this many times larger than the size it leaves with, so
            that a crop loses no sharpness. 1 where nothing is cropped.
    """

    name: str
    description: str
    transforms: tuple[tuple[str, Mapping[str, Any]], ...] = ()
    margin: float = 1.0


_REFLECT = {"border_mode": cv2.BORDER_REFLECT_101}

PRESETS = {
    preset.name: preset
    for preset in (
        Preset("none", "The photo as it is: validation and prediction see this and nothing else."),
        Preset(
            "light",
            "Mild crop, mirror, brightness and contrast: little risk, for short runs.",
            (
                ("RandomResizedCrop", {"scale": (0.7, 1.0), "ratio": (0.85, 1.18)}),
                ("HorizontalFlip", {"p": 0.5}),
                (
                    "RandomBrightnessContrast",
                    {"brightness_limit": 0.2, "contrast_limit": 0.2, "p": 0.5},
                ),
            ),
            margin=1.25,
        ),
        Preset(
            "medium",
            "Crop, mirror, small affine, light and colour, sometimes blur or a hidden patch.",
            (
                ("RandomResizedCrop", {"scale": (0.5, 1.0), "ratio": (0.8, 1.25)}),
                ("HorizontalFlip", {"p": 0.5}),
                ("Affine", {"rotate": (-10, 10), "shear": (-8, 8), "p": 0.5, **_REFLECT}),
                (
                    "RandomBrightnessContrast",
                    {"brightness_limit": 0.25, "contrast_limit": 0.25, "p": 0.5},
                ),
                (
                    "HueSaturationValue",
                    {
                        "hue_shift_limit": 15,
                        "sat_shift_limit": 30,
                        "val_shift_limit": 15,
                        "p": 0.5,
                    },
                ),
                ("Blur", {"blur_limit": (3, 5), "p": 0.1}),
                (
                    "CoarseDropout",
                    {
                        "num_holes_range": (1, 4),
                        "hole_height_range": (0.05, 0.2),
                        "hole_width_range": (0.05, 0.2),
                        "p": 0.3,
                    },
                ),
            ),
            margin=1.25,
        ),
    )
}


def make_augmenter(name: str, size: int) -> Augmenter:
    """Return ``f(photo, seed) -> photo`` for a preset.

    Args:
        name: In PRESETS.
        size: Side of the photo that comes out, in px. ``f`` takes a uint8 photo of shape
            (entry, entry, 3) with entry = ``entry_size(name, size)`` and a seed from 0 to
            2**32 - 1, and gives uint8 (size, size, 3).

    Raises:
        UsageError: Unknown preset.

    >>> make_augmenter("light", 32)(np.zeros((40, 40, 3), np.uint8), 7).shape
    (32, 32, 3)
    """
    preset = look_up(PRESETS, name, "preset")
    if not preset.transforms:
        return lambda photo, seed: photo
    # A pipeline holds its random state, so each thread has its own.
    local = threading.local()

    def augment(photo: np.ndarray, seed: int) -> np.ndarray:
        pipeline = getattr(local, "pipeline", None)
        if pipeline is None:
            pipeline = local.pipeline = _pipeline(preset, size)
        pipeline.set_random_seed(seed)
        photo = pipeline(image=photo)["image"]
        return np.ascontiguousarray(photo)

    return augment


def entry_size(name: str, size: int) -> int:
    """Return the side in px of the square photo that the preset's augmenter takes.

    >>> entry_size("light", 96)
    120
    """
    return round(size * look_up(PRESETS, name, "preset").margin)


def _pipeline(preset: Preset, size: int) -> Any:
    import albumentations

    transforms = []
    for name, options in preset.transforms:
        sized = {"size": (size, size)} if name == "RandomResizedCrop" else {}
        transforms.append(getattr(albumentations, name)(**options, **sized))
    return albumentations.Compose(transforms)


def preview_grid(
    photos: Sequence[np.ndarray], name: str, size: int, *, views: int = 5, seed: int = 0
) -> np.ndarray:
    """Return a picture of originals (left) beside their augmented views.

    Args:
        photos: P square uint8 photos of side ``entry_size(name, size)``.
        name: Preset.
        size: Side of a tile in px.
        views: Augmented views a photo.
        seed: View v of photo p is drawn with the seed sequence (seed, v, p).

    Returns:
        uint8, shape (P * size, (1 + views) * size, 3).

    >>> preview_grid([np.zeros((40, 40, 3), np.uint8)], "light", 32, views=2).shape
    (32, 96, 3)
    """
    augment = make_augmenter(name, size)
    rows = []
    for number, photo in enumerate(photos):
        tiles = [cv2.resize(photo, (size, size), interpolation=cv2.INTER_AREA)]
        tiles += [augment(photo, item_seed(seed, view, number)) for view in range(views)]
        rows.append(np.hstack(tiles))
    return np.vstack(rows)


def item_seed(seed: int, epoch: int, index: int) -> int:
    """Return the seed of one item, a function of (seed, epoch, index) alone.

    numpy's SeedSequence keeps its output over versions (numpy NEP 19).

    >>> item_seed(0, 1, 2) == item_seed(0, 1, 2) != item_seed(0, 2, 1)
    True
    """
    return int(np.random.SeedSequence((seed, epoch, index)).generate_state(1)[0])
