"""Mixup and cutmix: what a photo takes from its partner, a function of the item's seed."""

from __future__ import annotations

import math
from dataclasses import dataclass

import cv2
import numpy as np

from carlib.augment.option import Augmentation
from carlib.augment.pipeline import skips

_MIX = 0x6D6978  # keeps this stream apart from the augmentation's


@dataclass(frozen=True, slots=True)
class Mix:
    """What a photo takes from its partner.

    Args:
        share: Weight of the photo's own label; the partner's has the rest. 0 to 1.
        box: Patch taken from the partner, (left, top, right, bottom) in px; None for a blend.

    >>> Mix(0.75)(np.full((2, 2, 3), 200, np.uint8), np.zeros((2, 2, 3), np.uint8))[0, 0]
    array([150, 150, 150], dtype=uint8)
    """

    share: float
    box: tuple[int, int, int, int] | None = None

    def __call__(self, photo: np.ndarray, partner: np.ndarray) -> np.ndarray:
        """Return the mixed photo, uint8; both photos stay as they are."""
        if self.box is None:
            mixed: np.ndarray = cv2.addWeighted(photo, self.share, partner, 1 - self.share, 0)
            return mixed
        left, top, right, bottom = self.box
        mixed = photo.copy()
        mixed[top:bottom, left:right] = partner[top:bottom, left:right]
        return mixed


def draw_mix(augmentation: Augmentation, size: int, seed: int) -> Mix:
    """Return what the item of a seed takes from its partner.

    Mixup blends by lambda from Beta(alpha, alpha) (Zhang et al. 2017, arxiv.org/abs/1710.09412).
    Cutmix pastes a patch of the area 1 - lambda around a point anywhere in the photo; what
    hangs over its edge is lost, and lambda becomes the share left (Yun et al. 2019,
    arxiv.org/abs/1905.04899, and its authors' code).

    Args:
        augmentation: Its mixup, cutmix and clean share.
        size: Side of the photos in px.
        seed: Of the item.

    >>> draw_mix(Augmentation(clean_share=1.0, mixup=0.2), 32, seed=7)
    Mix(share=1.0, box=None)
    """
    if not augmentation.mixes or skips(seed, augmentation.skip):
        return Mix(1.0)
    stream = np.random.default_rng((_MIX, seed))
    coin = stream.random() < 0.5
    if augmentation.mixup and (coin or not augmentation.cutmix):
        return Mix(float(stream.beta(augmentation.mixup, augmentation.mixup)))
    share = stream.beta(augmentation.cutmix, augmentation.cutmix)
    side = int(size * math.sqrt(1 - share))
    left, top = (int(centre) - side // 2 for centre in stream.integers(size, size=2))
    right, bottom = min(left + side, size), min(top + side, size)
    left, top = max(left, 0), max(top, 0)
    return Mix(1 - (right - left) * (bottom - top) / size**2, (left, top, right, bottom))
