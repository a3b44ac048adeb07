"""What all tests share: a small drawn photo set, and recipes on the tiny network."""

from __future__ import annotations

from pathlib import Path

import pytest

from carlib.sample import write_sample
from carlib.spec import ModelSpec, Phase, Recipe


@pytest.fixture(scope="session")
def photos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A data folder: 3 classes, 20 training and 4 test photos each."""
    folder = tmp_path_factory.mktemp("data") / "photos"
    return write_sample(folder, classes=3, per_class=20, test_per_class=4)


def make_recipe() -> Recipe:
    """Two phases of the tiny network: 48 training photos, 3 steps an epoch, 3 epochs."""
    return Recipe(
        "test",
        ModelSpec("tiny", 32, dropout=0.2),
        (
            Phase("head", 1, 1e-2, trains="head", batch_size=16, augment="light"),
            Phase(
                "all",
                2,
                5e-3,
                batchnorm="trained",
                schedule="cosine",
                warmup=0.5,
                weight_decay=1e-3,
                batch_size=16,
                augment="light",
            ),
        ),
        label_smoothing=0.1,
    )


@pytest.fixture
def recipe() -> Recipe:
    return make_recipe()
