"""All that is done to training photos, as one option."""

from __future__ import annotations

from dataclasses import dataclass

from carlib.augment.expressions import preset_named
from carlib.errors import UsageError


@dataclass(frozen=True, slots=True)
class Augmentation:
    """All that is done to training photos: a preset, its clean share, erasing, mixing.

    Args:
        preset: As in ``preset_named``. Defaults to "none".
        clean_share: Wanted share of photos that come through as validation sees them; 0 means
            ``own_share``. Defaults to 0.
        erasing: Probability that a rectangle of a photo is erased. Defaults to 0.
        mixup: Alpha of the Beta distribution that two photos are blended by; 0 means off.
        cutmix: Alpha of the Beta distribution for the patch that one photo takes from another;
            0 means off. With mixup on too, half of the photos get the one, half the other.

    Raises:
        UsageError: An unknown preset, a value out of its bounds, a clean share below its own.

    >>> scratch = Augmentation("scratch", clean_share=0.6125)
    >>> round(scratch.own_share, 9), round(scratch.skip, 9)
    (0.225, 0.5)
    """

    preset: str = "none"
    clean_share: float = 0.0
    erasing: float = 0.0
    mixup: float = 0.0
    cutmix: float = 0.0

    def __post_init__(self) -> None:
        preset_named(self.preset)
        for name, high in (("clean_share", 1), ("erasing", 1), ("mixup", 100), ("cutmix", 100)):
            value = getattr(self, name)
            if not 0 <= value <= high:
                raise UsageError(f"{name} must be a number from 0 to {high}; received {value!r}")
        if self.clean_share and self.clean_share < self.own_share - 1e-9:
            raise UsageError(
                f"clean_share = {self.clean_share:g} is less than preset {self.preset!r} leaves "
                f"clean by itself, {self.own_share:.4g}; ask for more, for 0 (the preset's own), "
                "or for a preset that leaves less"
            )

    @property
    def mixes(self) -> bool:
        """Whether photos take something from others."""
        return self.mixup > 0 or self.cutmix > 0

    @property
    def own_share(self) -> float:
        """Share of photos that nothing happens to where no other share is wanted.

        Erasing counts like a transform; mixing is done to every photo.
        """
        kept = preset_named(self.preset).clean_share * (1 - self.erasing)
        return 0.0 if self.mixes else kept

    @property
    def skip(self) -> float:
        """Probability that a photo skips all of it, for ``clean_share`` to come true.

        A share c0 is clean by itself; c = q + (1 - q) c0 is to be, so q = (c - c0) / (1 - c0).
        """
        own = self.own_share
        return max(0.0, (self.clean_share - own) / (1 - own)) if own < 1 else 0.0

    @property
    def clean(self) -> float:
        """The share of photos that come through as validation sees them."""
        return self.clean_share or self.own_share
