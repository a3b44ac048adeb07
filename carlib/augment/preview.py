"""The preview grid: originals beside what training would see of them."""

from __future__ import annotations

from collections.abc import Sequence

import cv2
import numpy as np

from carlib.augment.mixing import draw_mix
from carlib.augment.option import Augmentation
from carlib.augment.pipeline import item_seed, make_augmenter, skips


def preview_grid(
    photos: Sequence[np.ndarray],
    augmentation: Augmentation | str,
    size: int,
    *,
    views: int = 5,
    seed: int = 0,
) -> np.ndarray:
    """Return a picture of originals (left) beside their augmented views.

    Args:
        photos: P square uint8 photos of side ``entry_size(preset, size)``.
        augmentation: What is done to them; a text stands for a preset and nothing else.
        size: Side of a tile in px.
        views: Augmented views a photo.
        seed: View v of photo p is drawn with the seed sequence (seed, v, p). A photo mixes
            with the next row's, the last with the first's.

    Returns:
        uint8, shape (P * size, (1 + views) * size, 3).

    Raises:
        UsageError: Unknown preset or transform.

    >>> preview_grid([np.zeros((40, 40, 3), np.uint8)], "light", 32, views=2).shape
    (32, 96, 3)
    """
    if isinstance(augmentation, str):
        augmentation = Augmentation(augmentation)
    augment = make_augmenter(augmentation.preset, size, augmentation.erasing)
    originals = [cv2.resize(photo, (size, size), interpolation=cv2.INTER_AREA) for photo in photos]
    columns = [np.vstack(originals)]
    for view in range(views):
        seeds = [item_seed(seed, view, number) for number in range(len(photos))]
        made = [
            original if skips(each, augmentation.skip) else augment(photo, each)
            for photo, original, each in zip(photos, originals, seeds, strict=True)
        ]
        nexts = [*made[1:], made[0]]
        mixes = [draw_mix(augmentation, size, each) for each in seeds]
        columns.append(np.vstack([mix(*two) for mix, *two in zip(mixes, made, nexts, strict=True)]))
    return np.hstack(columns)
