"""A preset as a function of a photo and a seed, on albumentations; the seeds of items.

No state is shared between calls, threads or processes.
"""

from __future__ import annotations

import os
import random
import threading
from collections.abc import Callable
from typing import Any

import numpy as np

from carlib.augment.expressions import preset_named
from carlib.augment.transforms import ERASING, Transform

# albumentations asks PyPI for its newest version at import unless told not to.
os.environ.setdefault("NO_ALBUMENTATIONS_UPDATE", "1")

_SKIP = 0x736B6970  # keeps the stream that decides who skips apart from the augmentation's

Augmenter = Callable[[np.ndarray, int], np.ndarray]


def make_augmenter(name: str, size: int, erasing: float = 0.0) -> Augmenter:
    """Return ``f(photo, seed) -> photo`` for a preset.

    Args:
        name: As in ``preset_named``.
        size: Side of the photo that comes out, in px. ``f`` takes a uint8 photo of shape
            (entry, entry, 3) with entry = ``entry_size(name, size)`` and a seed from 0 to
            2**32 - 1, and gives uint8 (size, size, 3).
        erasing: Probability that a rectangle is erased at the end. Defaults to 0.

    Raises:
        UsageError: Unknown preset or transform.

    >>> make_augmenter("light", 32)(np.zeros((40, 40, 3), np.uint8), 7).shape
    (32, 32, 3)
    """
    transforms = preset_named(name).transforms
    if erasing:
        transforms += ((ERASING[0], {**ERASING[1], "p": erasing}),)
    if not transforms:
        return lambda photo, seed: photo
    # A pipeline holds its random state, so each thread has its own.
    local = threading.local()

    def augment(photo: np.ndarray, seed: int) -> np.ndarray:
        pipeline = getattr(local, "pipeline", None)
        if pipeline is None:
            import albumentations

            made = [make_transform(transform, size) for transform in transforms]
            pipeline = local.pipeline = albumentations.Compose(made)
        # One stream for all: set_random_seed would give each transform the same one, and all of
        # one probability would fire on the same photos.
        pipeline.set_random_state(np.random.default_rng(seed), random.Random(seed))
        photo = pipeline(image=photo)["image"]
        return np.ascontiguousarray(photo)

    return augment


def make_transform(transform: Transform, size: int) -> Any:
    """Return a transform of albumentations.

    Args:
        transform: As data.
        size: Side of the photo that comes out, in px.

    >>> make_transform(("HorizontalFlip", {"p": 0.5}), 32).p
    0.5
    """
    import albumentations

    name, options = transform[0], dict(transform[1])
    if name == "OneOf":
        options["transforms"] = [make_transform(each, size) for each in options["transforms"]]
    if name == "RandomResizedCrop":
        options["size"] = (size, size)
    return getattr(albumentations, name)(**options)


def item_seed(seed: int, epoch: int, index: int) -> int:
    """Return the seed of one item, a function of (seed, epoch, index) alone.

    numpy's SeedSequence keeps its output over versions (numpy NEP 19).

    >>> item_seed(0, 1, 2) == item_seed(0, 1, 2) != item_seed(0, 2, 1)
    True
    """
    return int(np.random.SeedSequence((seed, epoch, index)).generate_state(1)[0])


def skips(seed: int, share: float) -> bool:
    """Return whether an item skips its augmentation.

    Args:
        seed: Of the item.
        share: Of all items that skip, 0 to 1 (``Augmentation.skip``).

    >>> skips(7, 0.0), skips(7, 1.0)
    (False, True)
    """
    if not share:
        return False
    return int(np.random.SeedSequence((_SKIP, seed)).generate_state(1)[0]) < share * 2**32
