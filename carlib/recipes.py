"""Named recipes as data, and recipes from files."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from carlib.errors import UsageError, look_up, suggestion
from carlib.spec import ModelSpec, Phase, Recipe, from_json, from_toml

_HALF = "mixed_float16"  # a T4 gains about 1.8 times from it, a P100 nothing, and both save memory


def _head(epochs: int) -> Phase:
    """The head on cached features: two views cost two passes, however many epochs."""
    return Phase("head", epochs, lr=3e-3, trains="head", views=2, augment="light", batch_size=64)


def _stage(name: str, epochs: int, lr: float, **options: Any) -> Phase:
    """A stage of fine-tuning as they all are here: cosine with warm-up, AdamW, clipped."""
    common = {
        "schedule": "cosine",
        "warmup": 0.5,
        "clip": 1.0,
        "weight_decay": 1e-3,
        "augment": "medium",
    }
    return Phase(name, epochs, lr, **{**common, **options})


RECIPES = {
    recipe.name: recipe
    for recipe in (
        Recipe(
            name="tiny-check",
            description="Two phases of the tiny network: tries a data set or a machine in seconds.",
            model=ModelSpec("tiny", 32),
            phases=(
                Phase("head", epochs=1, lr=1e-2, trains="head", augment="light"),
                Phase("all", epochs=2, lr=5e-3, batchnorm="trained", augment="light"),
            ),
        ),
        Recipe(
            name="lite0-quick",
            description=(
                "EfficientNet-Lite0 at 96 px, head then everything: a first answer in minutes."
            ),
            model=ModelSpec("efficientnet-lite0", 96, weights="imagenet"),
            phases=(
                Phase("head", epochs=2, lr=3e-3, trains="head", augment="light"),
                Phase(
                    "all",
                    epochs=6,
                    lr=8e-4,
                    schedule="cosine",
                    warmup=0.5,
                    weight_decay=1e-3,
                    augment="light",
                ),
            ),
            label_smoothing=0.1,
            measured=(
                "carlib demo (480 drawn photos of ten car models): 0.995 of 200 test photos; 43 s "
                "in all on 2 cores, drawing and predicting included"
            ),
        ),
        Recipe(
            name="lite0-staged",
            description=(
                "EfficientNet-Lite0 in two stages: the head on cached features, then everything, "
                "on photos of 192 px; it predicts at 224."
            ),
            # Nothing is dropped: so few epochs end before the network fits the photos.
            model=ModelSpec(
                "efficientnet-lite0", 224, dropout=0.0, drop_connect=0.0, weights="imagenet"
            ),
            phases=(
                Phase(
                    "head",
                    epochs=15,
                    lr=3e-3,
                    trains="head",
                    schedule="cosine",
                    weight_decay=1e-3,
                    size=192,
                    views=1,
                ),
                Phase(
                    "all",
                    epochs=14,
                    lr=2.5e-4,
                    schedule="cosine",
                    warmup=0.5,
                    clip=1.0,
                    weight_decay=1e-3,
                    batch_size=16,
                    size=192,
                    augment="medium",
                ),
            ),
            label_smoothing=0.1,
            measured=(
                "carlib train --data cars10 --recipe lite0-staged (1,438 photos of ten car makes): "
                "0.892 of 360 validation photos, 95% 0.855 to 0.920; 5 minutes on 2 cores"
            ),
        ),
        Recipe(
            name="small-resnet",
            description=(
                "A small ResNet from scratch on photos of 40 px, mirrored or gray, three in five "
                "clean: SGD at 0.5, cosine, an L2 of 1e-4. Not measured yet."
            ),
            model=ModelSpec("small-resnet", 40, drop_connect=0.0),
            phases=(
                Phase(
                    "all",
                    epochs=60,
                    lr=0.5,
                    batchnorm="trained",
                    schedule="cosine",
                    warmup=1.0,
                    optimizer="sgd",
                    # An L2 of 1e-4 in the gradient, as torch has it, adds up through a momentum of
                    # 0.9 to ten times as much; this decay does not go through it.
                    weight_decay=1e-3,
                    clip=1.0,
                    batch_size=128,
                    augment="scratch-Perspective",
                    clean_share=0.6125,
                ),
            ),
        ),
        Recipe(
            name="b0-staged",
            description=(
                "EfficientNet-B0 at 224 px in three stages: head, upper half, everything; tune "
                "here before a larger one. For one GPU session. Not measured yet."
            ),
            model=ModelSpec("efficientnet-b0", 224, weights="noisy-student", dtype=_HALF),
            phases=(
                _head(epochs=8),
                _stage("half", epochs=6, lr=5e-4, trains=0.5),
                _stage("all", epochs=12, lr=3e-4),
            ),
            label_smoothing=0.1,
        ),
        Recipe(
            name="b5-staged",
            description=(
                "EfficientNet-B5 at 380 px thawed step by step: head, an eighth, a quarter, "
                "everything, the learning rate lower each time. More accuracy an hour than "
                "training all of it from the start. Not measured yet."
            ),
            model=ModelSpec("efficientnet-b5", 380, weights="noisy-student", dtype=_HALF),
            phases=(
                _head(epochs=8),
                _stage("eighth", epochs=4, lr=5e-4, trains=0.125, batch_size=16),
                _stage("quarter", epochs=4, lr=3e-4, trains=0.25, batch_size=16),
                _stage("all", epochs=10, lr=1e-4, batch_size=8, early_stop=5, restore_best=True),
            ),
            label_smoothing=0.1,
        ),
        Recipe(
            name="b6-staged",
            description=(
                "EfficientNet-B6 at 320 px in three stages with strong photo augmentation: head "
                "at a high learning rate, half, everything at the lowest. Not measured yet."
            ),
            model=ModelSpec("efficientnet-b6", 320, weights="noisy-student", dtype=_HALF),
            phases=(
                _head(epochs=8),
                _stage("half", epochs=5, lr=3e-4, trains=0.5, batch_size=16, augment="cars"),
                _stage("all", epochs=10, lr=1e-4, batch_size=8, augment="cars"),
            ),
            label_smoothing=0.1,
        ),
    )
}


def load_recipe(name: str) -> Recipe:
    """Return a recipe by name, or from a .toml or .json file.

    Args:
        name: In RECIPES, or the path of a file that ends in .toml or .json.

    Raises:
        UsageError: No such name or file ("did you mean"), or a file that is no recipe; the
            message names it.

    >>> load_recipe("lite0-quick").model.size
    96
    """
    path = Path(name)
    readers = {".toml": from_toml, ".json": from_json}
    if path.suffix not in readers:
        return look_up(RECIPES, name, "recipe")
    try:
        return readers[path.suffix](path.read_text(encoding="utf-8-sig"))
    except UsageError as error:
        raise UsageError(f"{path}: {error}") from error
    except (OSError, UnicodeDecodeError) as error:
        raise UsageError(
            f"cannot read the recipe file {path}: {error}{suggestion(path.stem, RECIPES)}"
        ) from error
