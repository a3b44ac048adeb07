"""One item: a photo of the catalog as the network sees it in an epoch."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from carlib.augment import (
    Augmentation,
    Mix,
    Preset,
    add_preset,
    draw_mix,
    entry_size,
    item_seed,
    make_augmenter,
    own_presets,
    skips,
)
from carlib.catalog import Catalog
from carlib.errors import UsageError, suggestion
from carlib.images import fit, read_photo
from carlib.spec import RESIZES, ModelSpec, Phase


@dataclass(frozen=True, slots=True)
class View:
    """How a photo file becomes what the network sees.

    Args:
        size: Side in px.
        resize: Policy of ``images.fit``.
        preset: Augmentation preset; "none" for validation and prediction.
        clean_share: Share of photos that come through as validation sees them; 0 means the
            preset's own. Defaults to 0.
        erasing: Probability that a rectangle is erased. Defaults to 0.
        mixup: Alpha of the blend with another photo; 0 means off. Defaults to 0.
        cutmix: Alpha of the patch from another photo; 0 means off. Defaults to 0.

    Raises:
        UsageError: A value out of its bounds, an unknown name.

    >>> View(32, preset="light", clean_share=0.25).augmentation.skip
    0.25
    """

    size: int
    resize: str = "stretch"
    preset: str = "none"
    clean_share: float = 0.0
    erasing: float = 0.0
    mixup: float = 0.0
    cutmix: float = 0.0

    def __post_init__(self) -> None:
        if self.size < 1:
            raise UsageError(f"View: size must be 1 px or more; received {self.size}")
        if self.resize not in RESIZES:
            known = suggestion(self.resize, RESIZES)
            raise UsageError(f"View: unknown resize policy {self.resize!r}{known}")
        _ = self.augmentation  # refuses the rest

    @property
    def augmentation(self) -> Augmentation:
        """What is done to the photo once it is a square."""
        return Augmentation(self.preset, self.clean_share, self.erasing, self.mixup, self.cutmix)

    @classmethod
    def of(cls, model: ModelSpec, phase: Phase) -> View:
        """Return how a phase's training photos are seen.

        >>> phase = Phase("all", 1, 1e-3, size=32, augment="light")
        >>> View.of(ModelSpec("tiny", 48, resize="pad"), phase) == View(32, "pad", "light")
        True
        """
        return cls(
            phase.size or model.size,
            model.resize,
            phase.augment,
            phase.clean_share,
            phase.erasing,
            phase.mixup,
            phase.cutmix,
        )


class Items:
    """``items(epoch, number)``: the photo at a position of the catalog, before it is mixed.

    Args:
        catalog: Its photos.
        view: What is made of them.
        seed: Of the augmentation.
        read: From a path to a uint8 RGB photo. Defaults to reading the file.

    Attributes:
        presets: Of a user's own that the view names: none, or one.
    """

    def __init__(
        self,
        catalog: Catalog,
        view: View,
        seed: int = 0,
        read: Callable[[str], np.ndarray] = read_photo,
    ):
        self.paths, self.view, self.seed, self.read = catalog.paths, view, seed, read
        self.presets = own_presets(view.preset)
        self.augmentation = view.augmentation
        self.skip = self.augmentation.skip
        self.entry = entry_size(view.preset, view.size)
        self.augment = make_augmenter(view.preset, view.size, view.erasing)

    def __reduce__(self) -> tuple[object, ...]:
        # The augmenter is a closure; a spawned worker makes its own. It has run no user's file, so
        # a preset of theirs comes along.
        catalog = Catalog(tuple(map(str, range(len(self.paths)))), self.paths)
        return _items, (self.presets, catalog, self.view, self.seed, self.read)

    def __call__(self, epoch: int, number: int) -> np.ndarray:
        photo, seed = self.read(self.paths[number]), item_seed(self.seed, epoch, number)
        if skips(seed, self.skip):
            return fit(photo, self.view.size, self.view.resize)
        return self.augment(fit(photo, self.entry, self.view.resize), seed)

    def mixes(self, epoch: int, numbers: np.ndarray) -> list[Mix]:
        """Return what each of these photos takes from its partner."""
        return [
            draw_mix(self.augmentation, self.view.size, item_seed(self.seed, epoch, int(number)))
            for number in numbers
        ]

    def batch(self, epoch: int, numbers: np.ndarray, after: int | None = None) -> np.ndarray:
        """Return the photos at these positions, uint8, shape (len(numbers), size, size, 3).

        Args:
            epoch: Of the items.
            numbers: Positions in the catalog.
            after: Position of the photo that comes after them; with it, each photo mixes with
                the one behind it, so a batch costs one photo more. None: none is mixed.
        """
        photos = np.empty((len(numbers), self.view.size, self.view.size, 3), np.uint8)
        for row, number in enumerate(numbers):
            photos[row] = self(epoch, int(number))
        if after is not None and len(numbers):
            # Row by row: the photo behind is not mixed yet.
            partners = [*photos[1:], self(epoch, after)]
            for row, mix in enumerate(self.mixes(epoch, numbers)):
                photos[row] = mix(photos[row], partners[row])
        return photos


def _items(presets: tuple[Preset, ...], *given: Any) -> Items:
    for preset in presets:
        add_preset(preset)
    return Items(*given)
