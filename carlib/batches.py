"""The loader's batches as Keras takes them: (photos, one-hot labels)."""

from __future__ import annotations

from collections.abc import Iterator

import keras
import numpy as np

from carlib.errors import UsageError
from carlib.loader import Batch, Loader


def pair(batch: Batch, classes: int) -> tuple[np.ndarray, np.ndarray]:
    """Return photos, uint8 (B, S, S, 3), and labels, one-hot float32 (B, classes)."""
    if batch.labels is None:
        raise UsageError("training needs labels, and these photos have none")
    return batch.photos, np.eye(classes, dtype=np.float32)[batch.labels]


def pairs(loader: Loader, epoch: int, start: int = 0) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Yield the batches of an epoch from step ``start``, as ``pair`` gives them."""
    for batch in loader.epoch(epoch, start):
        yield pair(batch, len(loader.catalog.classes))


class Batches(keras.utils.PyDataset):
    """A loader as a ``keras.utils.PyDataset``, for ``model.fit`` and ``model.evaluate``.

    carlib's own training does not need it; people who train with plain Keras do. Batch i of
    an epoch is the same whichever thread asks for it, and when.

    Args:
        loader: With labels.
        workers: Keras threads that make batches. Defaults to 1.
    """

    def __init__(self, loader: Loader, workers: int = 1):
        super().__init__(workers=workers, use_multiprocessing=False)
        self.loader = loader
        self.epoch = 0
        self._begun = False

    def __len__(self) -> int:
        return self.loader.steps

    def __getitem__(self, step: int) -> tuple[np.ndarray, np.ndarray]:
        return pair(self.loader.batch(self.epoch, step), len(self.loader.catalog.classes))

    def on_epoch_begin(self) -> None:
        self._begun = True

    def on_epoch_end(self) -> None:
        # Keras calls it before the first epoch too, after a look at the shapes.
        self.epoch += self._begun
        self._begun = False
