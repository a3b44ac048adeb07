"""Named recipes as data, and recipes from files."""

from __future__ import annotations

from pathlib import Path

from carlib.errors import UsageError, look_up, suggestion
from carlib.spec import ModelSpec, Phase, Recipe, from_json, from_toml

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
        ),
        Recipe(
            name="lite0-staged",
            description=(
                "EfficientNet-Lite0 at 160 px in three stages: head, upper half, everything."
            ),
            model=ModelSpec("efficientnet-lite0", 160, weights="imagenet"),
            phases=(
                Phase("head", epochs=3, lr=3e-3, trains="head", augment="light"),
                Phase(
                    "half",
                    epochs=3,
                    lr=6e-4,
                    trains=0.5,
                    schedule="cosine",
                    warmup=0.5,
                    weight_decay=1e-3,
                    augment="medium",
                ),
                Phase(
                    "all",
                    epochs=8,
                    lr=6e-4,
                    schedule="cosine",
                    warmup=0.5,
                    weight_decay=1e-3,
                    augment="medium",
                ),
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
