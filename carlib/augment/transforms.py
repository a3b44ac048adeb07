"""Single transforms as data, with mild options: what an expression adds to a preset."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

Transform = tuple[str, Mapping[str, Any]]

REFLECT = {"border_mode": 4}  # cv2.BORDER_REFLECT_101: no black corners to learn from

TRANSFORMS: Mapping[str, Mapping[str, Any]] = {
    "HorizontalFlip": {"p": 0.5},
    "VerticalFlip": {"p": 0.5},
    "Affine": {"rotate": (-10, 10), "shear": (-8, 8), "p": 0.5, **REFLECT},
    "Rotate": {"limit": (-15, 15), "p": 0.5, **REFLECT},
    "Perspective": {"scale": (0.05, 0.1), "p": 0.5, **REFLECT},
    "RandomResizedCrop": {"scale": (0.7, 1.0), "ratio": (0.85, 1.18), "p": 1.0},
    "RandomBrightnessContrast": {"brightness_limit": 0.2, "contrast_limit": 0.2, "p": 0.5},
    "HueSaturationValue": {
        "hue_shift_limit": 10,
        "sat_shift_limit": 20,
        "val_shift_limit": 10,
        "p": 0.5,
    },
    "RGBShift": {"r_shift_limit": 15, "g_shift_limit": 15, "b_shift_limit": 15, "p": 0.5},
    "ToGray": {"p": 0.1},
    "InvertImg": {"p": 0.1},
    "Equalize": {"p": 0.1},
    # In px: a point moves by about one.
    "ElasticTransform": {"alpha": 40, "sigma": 6, "p": 0.3, **REFLECT},
    "Blur": {"blur_limit": (3, 5), "p": 0.1},
    "GaussianBlur": {"sigma_limit": (0.5, 1.5), "p": 0.1},
    "MotionBlur": {"blur_limit": (3, 5), "p": 0.1},
    "GaussNoise": {"std_range": (0.02, 0.08), "p": 0.2},
    "CoarseDropout": {
        "num_holes_range": (1, 4),
        "hole_height_range": (0.05, 0.2),
        "hole_width_range": (0.05, 0.2),
        "p": 0.3,
    },
}

# Values of its random pixels, scale and ratio: Zhong et al. 2017, arxiv.org/abs/1708.04896,
# with torchvision's bounds.
ERASING: Transform = (
    "Erasing",
    {"scale": (0.02, 0.33), "ratio": (0.3, 3.3), "fill": "random"},
)
