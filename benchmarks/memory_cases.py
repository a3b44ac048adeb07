"""The models and settings that ``memory.py`` measures, and how each is built."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from typing import Any

import keras

from carlib.freeze import Freezer
from carlib.models.build import build_model
from carlib.models.table import BACKBONES
from carlib.spec import ModelSpec, Phase, Recipe
from carlib.steps import trainer_of

CLASSES = 10


@dataclass(frozen=True, slots=True)
class Case:
    """One setting.

    Args:
        backbone: Of carlib's table, or a model of keras.applications.
        size: Photo side, px.
        batch: Photos a step.
        trains: As in Phase; of a model that is not carlib's a share counts layers.
        batchnorm: As in Phase.
        dtype: As in ModelSpec.
        optimizer: As in Phase.
        options: Other fields of Phase.
        work: "training", or "forward".
        seen: The rules were written with this case at hand.
    """

    backbone: str
    size: int
    batch: int
    trains: str | float = "all"
    batchnorm: str = "frozen"
    dtype: str = "float32"
    optimizer: str = "adamw"
    options: tuple[tuple[str, Any], ...] = ()
    work: str = "training"
    seen: bool = False

    @property
    def key(self) -> str:
        fields = dataclasses.asdict(self)
        del fields["seen"]
        return str(sorted(fields.items()))

    def __str__(self) -> str:
        more = "".join(f" {name}={value}" for name, value in self.options)
        work = "" if self.work == "training" else f" {self.work}"
        half = " mixed" if self.dtype != "float32" else ""
        return (
            f"{self.backbone} {self.size} px x {self.batch}, {self.trains}, BN {self.batchnorm}, "
            f"{self.optimizer}{half}{more}{work}"
        )

    @property
    def phase(self) -> Phase:
        return Phase(
            "phase",
            1,
            1e-3,
            trains=self.trains,
            batchnorm=self.batchnorm,
            optimizer=self.optimizer,
            batch_size=self.batch,
            **dict(self.options),
        )

    @property
    def recipe(self) -> Recipe:
        backbone = self.backbone if self.backbone in BACKBONES else "tiny"
        return Recipe("case", ModelSpec(backbone, self.size, dtype=self.dtype), (self.phase,))

    def build(self) -> tuple[keras.Model, keras.Model]:
        """Return the whole model, frozen, and what the phase trains of it."""
        if self.backbone in BACKBONES:
            model = build_model(self.recipe.model, CLASSES)
            Freezer(model).apply(self.phase)
            return model, trainer_of(model, self.recipe, self.phase)
        model = self._of_keras()
        return model, model

    def _of_keras(self) -> keras.Model:
        keras.config.set_dtype_policy(self.dtype)
        try:
            make = getattr(keras.applications, self.backbone)
            base = make(weights=None, include_top=False, input_shape=(self.size, self.size, 3))
            x = keras.layers.GlobalAveragePooling2D()(base.output)
            x = keras.layers.Dense(CLASSES, activation="softmax", dtype="float32")(x)
        finally:
            keras.config.set_dtype_policy("float32")
        model = keras.Model(base.input, x)
        body = model.layers[:-1]
        first = {"all": 0, "head": len(body)}.get(str(self.trains))
        if first is None:
            first = int((1 - float(self.trains)) * len(body))
        for number, layer in enumerate(body):
            frozen_norm = self.batchnorm == "frozen" and isinstance(
                layer, keras.layers.BatchNormalization
            )
            layer.trainable = number >= first and not frozen_norm
        return model


B = "efficientnet-b{}".format
LITE = "efficientnet-lite{}".format
HALF = "mixed_float16"
DECAYED = (("clip", 1.0), ("weight_decay", 1e-3))

CASES = (
    # At hand when the rules were written.
    Case(B(0), 224, 8, batchnorm="trained", optimizer="adam", seen=True),
    Case(B(0), 224, 8, seen=True),
    Case(B(0), 224, 8, trains=0.5, seen=True),
    Case(B(0), 224, 8, trains="head", seen=True),
    Case(B(0), 224, 8, batchnorm="trained", dtype=HALF, seen=True),
    Case(B(0), 128, 8, trains=0.5, dtype=HALF, seen=True),
    Case(B(0), 160, 64, work="forward", seen=True),
    Case(
        B(0),
        160,
        16,
        batchnorm="affine",
        optimizer="sgd",
        options=(("ema", 0.99), ("accumulate", 2)),
        seen=True,
    ),
    Case(
        B(3),
        160,
        4,
        batchnorm="trained",
        options=(("clip", 1.0), ("weight_decay", 1e-3)),
        seen=True,
    ),
    Case(LITE(0), 192, 16, options=(("clip", 1.0), ("weight_decay", 1e-3)), seen=True),
    Case(LITE(2), 128, 8, trains=0.5, batchnorm="trained", dtype=HALF, seen=True),
    Case("xception", 160, 4, batchnorm="trained", optimizer="sgd", seen=True),
    Case("xception", 160, 4, trains=0.5, batchnorm="trained", seen=True),
    Case("xception", 96, 2, batchnorm="trained", dtype=HALF, seen=True),
    Case("ResNet50", 160, 4, batchnorm="trained", optimizer="adam", seen=True),
    Case("ResNet50", 96, 4, batchnorm="trained", dtype=HALF, seen=True),
    Case("ResNet50V2", 160, 4, seen=True),
    Case("VGG16", 128, 4, optimizer="adam", seen=True),
    Case("VGG16", 64, 2, optimizer="sgd", dtype=HALF, options=(("clip", 1.0),), seen=True),
    Case("MobileNet", 160, 8, batchnorm="trained", seen=True),
    Case("MobileNetV2", 224, 8, batchnorm="trained", optimizer="adam", seen=True),
    Case("MobileNetV3Small", 160, 8, batchnorm="trained", seen=True),
    Case("DenseNet121", 128, 4, batchnorm="trained", optimizer="adam", seen=True),
    Case("DenseNet121", 128, 4, trains=0.5, seen=True),
    Case("InceptionV3", 160, 4, batchnorm="trained", seen=True),
    Case("InceptionV3", 160, 4, trains=0.5, batchnorm="trained", seen=True),
    Case("EfficientNetV2B0", 160, 4, batchnorm="trained", seen=True),
    Case("NASNetMobile", 160, 4, batchnorm="trained", seen=True),
    Case("ConvNeXtTiny", 128, 4, seen=True),
    Case("ConvNeXtTiny", 64, 4, dtype=HALF, seen=True),
    Case("tiny", 96, 32, batchnorm="only", seen=True),
    Case(LITE(0), 96, 8, batchnorm="only", seen=True),
    Case(B(0), 96, 8, batchnorm="only", seen=True),
    # Not looked at until the rules were done.
    Case(B(0), 128, 32, batchnorm="trained"),
    Case(B(0), 96, 16, trains=0.25, batchnorm="affine", optimizer="adam"),
    Case(B(1), 192, 8, trains=0.75),
    Case(B(1), 240, 4, batchnorm="trained", optimizer="sgd"),
    Case(B(2), 128, 4, dtype=HALF),
    Case(B(2), 160, 16, trains="head"),
    Case(B(3), 224, 4, trains=0.5, batchnorm="trained", optimizer="adam"),
    Case(B(4), 160, 4, options=(("ema", 0.999),)),
    Case(B(5), 128, 4, batchnorm="trained", options=(("clip", 1.0),)),
    Case(B(5), 160, 8, trains=0.125),
    Case(B(6), 128, 2, trains=0.5, batchnorm="affine"),
    Case(B(7), 96, 2),
    Case(LITE(0), 96, 32, batchnorm="trained"),
    Case(LITE(0), 224, 8, trains="head"),
    Case(LITE(0), 160, 16, trains=0.5, optimizer="sgd", dtype=HALF),
    Case(LITE(1), 192, 8, optimizer="adam"),
    Case(LITE(1), 160, 16, batchnorm="affine", options=(("accumulate", 4),)),
    Case(LITE(2), 224, 8, trains=0.25),
    Case(LITE(2), 192, 64, work="forward"),
    Case("xception", 192, 8, trains="head"),
    Case("xception", 224, 4),
    Case("ResNet50", 224, 8, trains=0.5),
    Case("ResNet101", 128, 4, batchnorm="trained", optimizer="sgd"),
    Case("ResNet50V2", 96, 4, batchnorm="trained", dtype=HALF),
    Case("MobileNetV2", 160, 16, trains=0.5),
    Case("MobileNetV3Large", 192, 8),
    Case("DenseNet169", 160, 4, batchnorm="trained"),
    Case("VGG19", 160, 4, batchnorm="frozen", trains=0.5),
    Case("EfficientNetV2S", 128, 4),
    Case("EfficientNetV2B1", 192, 8, trains=0.5, optimizer="adam"),
    Case("InceptionResNetV2", 160, 2, batchnorm="trained"),
    Case("ConvNeXtSmall", 96, 4, optimizer="adam"),
    Case(B(1), 128, 8, trains=0.5, batchnorm="only", optimizer="sgd"),
    Case("xception", 128, 4, batchnorm="only"),
)

# Whose true limits ``memory_limits.py`` looks for.
LIMITS = (
    Case(B(0), 128, 16, batchnorm="trained", optimizer="adam"),
    Case(B(0), 128, 32),
    Case(B(0), 160, 16, trains=0.5),
    Case(B(0), 128, 32, trains="head"),
    Case(B(1), 96, 16, batchnorm="affine", optimizer="sgd"),
    Case(B(2), 128, 8, trains=0.75, options=(("ema", 0.99),)),
    Case(LITE(0), 128, 32),
    Case(LITE(0), 128, 32, batchnorm="trained", optimizer="sgd"),
    Case(LITE(1), 160, 16, trains=0.5),
    Case(LITE(2), 128, 16, options=(("clip", 1.0),)),
    Case("xception", 128, 8, trains=0.5),
    Case("MobileNetV2", 128, 32, batchnorm="trained", optimizer="adam"),
)
