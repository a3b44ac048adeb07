"""Augmentation presets as data."""

from __future__ import annotations

import math
from dataclasses import dataclass, field

from carlib.augment.transforms import REFLECT, Transform
from carlib.errors import UsageError


@dataclass(frozen=True, slots=True)
class Preset:
    """An augmentation, as data.

    Args:
        name: In PRESETS, one of your own, or an expression (``preset_named``).
        description: One sentence for people: what is done, and what it is for.
        transforms: (albumentations class name, its arguments) in order, each with its
            probability ``p``. One of RandomResizedCrop gets the photo size filled in. Those of
            a OneOf are such pairs again; there, ``p`` is the weight in the choice.
        margin: The photo comes in this many times larger than the size it leaves with, so
            that a crop loses no sharpness. 1 where a photo may pass without a crop.

    Raises:
        UsageError: A transform without ``p``; a margin below 1, or above 1 without a crop for
            every photo.

    >>> Preset("p", "Mirror.", (("HorizontalFlip", {"p": 0.4}), ("ToGray", {"p": 0.5}))).clean_share
    0.3
    """

    name: str
    description: str
    transforms: tuple[Transform, ...] = field(default=(), hash=False)  # options have no hash
    margin: float = 1.0

    def __post_init__(self) -> None:
        for transform, options in self.transforms:
            for name, given in ((transform, options), *options.get("transforms", ())):
                if not 0 <= given.get("p", -1) <= 1:
                    raise UsageError(
                        f"Preset {self.name!r}: {name} must say its p, from 0 to 1; received "
                        f"{given.get('p')!r}"
                    )
        cropped = any(
            (name, options["p"]) == ("RandomResizedCrop", 1) for name, options in self.transforms
        )
        if self.margin < 1 or (self.margin > 1 and not cropped):
            raise UsageError(
                f"Preset {self.name!r}: margin must be 1, or more where RandomResizedCrop has "
                f"p = 1; received {self.margin:g}"
            )

    @property
    def clean_share(self) -> float:
        """Probability that no transform fires: the share of photos that stay as they are."""
        share: float = math.prod(1 - options["p"] for _, options in self.transforms)
        return share


# Of the photo's own mean, not of 255: dark photos of dark cars stay photos of cars.
_BY_MEAN = {"brightness_by_max": False}
_NARROW = 200 / 224  # of the side, as in 200 x 224 of 224 px

PRESETS = {
    preset.name: preset
    for preset in (
        Preset("none", "The photo as it is: validation and prediction see this and nothing else."),
        Preset(
            "light",
            "Mild crop, mirror, brightness and contrast: little risk, for short runs.",
            (
                ("RandomResizedCrop", {"scale": (0.7, 1.0), "ratio": (0.85, 1.18), "p": 1.0}),
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
                ("RandomResizedCrop", {"scale": (0.5, 1.0), "ratio": (0.8, 1.25), "p": 1.0}),
                ("HorizontalFlip", {"p": 0.5}),
                ("Affine", {"rotate": (-10, 10), "shear": (-8, 8), "p": 0.5, **REFLECT}),
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
        Preset(
            "heavy",
            "Strong crop, affine, light and colour, often blur, noise or hidden patches: for long "
            "runs that overfit with medium.",
            (
                ("RandomResizedCrop", {"scale": (0.35, 1.0), "ratio": (0.75, 1.33), "p": 1.0}),
                ("HorizontalFlip", {"p": 0.5}),
                ("Affine", {"rotate": (-20, 20), "shear": (-12, 12), "p": 0.6, **REFLECT}),
                (
                    "RandomBrightnessContrast",
                    {"brightness_limit": 0.3, "contrast_limit": 0.3, "p": 0.7, **_BY_MEAN},
                ),
                (
                    "HueSaturationValue",
                    {
                        "hue_shift_limit": 20,
                        "sat_shift_limit": 40,
                        "val_shift_limit": 20,
                        "p": 0.6,
                    },
                ),
                ("ToGray", {"p": 0.1}),
                (
                    "OneOf",
                    {
                        "transforms": (
                            ("GaussianBlur", {"sigma_limit": (0.5, 1.5), "p": 1.0}),
                            ("MotionBlur", {"blur_limit": (3, 5), "p": 1.0}),
                            ("GaussNoise", {"std_range": (0.02, 0.08), "p": 1.0}),
                        ),
                        "p": 0.3,
                    },
                ),
                (
                    "CoarseDropout",
                    {
                        "num_holes_range": (2, 5),
                        "hole_height_range": (0.08, 0.22),
                        "hole_width_range": (0.08, 0.22),
                        "p": 0.5,
                    },
                ),
            ),
            margin=1.4,
        ),
        Preset(
            "cars",
            "Mirror, rotation, a narrow crop, light and colour, rarely blur: for fine-tuning a "
            "pretrained network on car photos, stage by stage.",
            (
                ("HorizontalFlip", {"p": 0.5}),
                ("Rotate", {"limit": (-30, 30), "p": 0.5, **REFLECT}),
                (
                    "OneOf",
                    {
                        # One side shorter, the other whole, whatever the size.
                        "transforms": tuple(
                            (
                                "RandomResizedCrop",
                                {"scale": (_NARROW, _NARROW), "ratio": (ratio, ratio), "p": 1.0},
                            )
                            for ratio in (_NARROW, 1 / _NARROW)
                        ),
                        "p": 0.5,
                    },
                ),
                (
                    "OneOf",
                    {
                        "transforms": tuple(
                            (
                                "RandomBrightnessContrast",
                                {
                                    "brightness_limit": limit,
                                    "contrast_limit": limit,
                                    "p": 1.0,
                                    **_BY_MEAN,
                                },
                            )
                            for limit in (0.3, 0.1)
                        ),
                        "p": 0.5,
                    },
                ),
                ("GaussianBlur", {"sigma_limit": (0.5, 1.5), "p": 0.05}),
                (
                    "HueSaturationValue",
                    {
                        "hue_shift_limit": 20,
                        "sat_shift_limit": 30,
                        "val_shift_limit": 20,
                        "p": 0.5,
                    },
                ),
                (
                    "RGBShift",
                    {"r_shift_limit": 20, "g_shift_limit": 20, "b_shift_limit": 20, "p": 0.5},
                ),
            ),
        ),
        Preset(
            "scratch",
            "Mirror, perspective, seldom gray, and many photos left alone: for training small "
            "photos from scratch.",
            (
                ("HorizontalFlip", {"p": 0.5}),
                ("Perspective", {"scale": (0.05, 0.1), "p": 0.5, **REFLECT}),
                ("ToGray", {"p": 0.1}),
            ),
        ),
    )
}
