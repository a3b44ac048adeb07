"""The loader's batches as Keras takes them: (photos, targets), or with sample weights."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import keras
import numpy as np

from carlib.errors import UsageError
from carlib.loader import Batch, Loader


def pair(
    batch: Batch, classes: int, weights: Sequence[float] | None = None
) -> tuple[np.ndarray, ...]:
    """Return what Keras' train function takes: (photos, targets) or (photos, targets, weights).

    Args:
        batch: With labels.
        classes: Number of classes.
        weights: Of each class, or None for pairs. Defaults to None.

    Returns:
        Photos, uint8 (B, S, S, 3); targets, float32 (B, classes): one-hot, of a mixed photo the
        mean of its two labels by their shares; sample weights, float32 (B,): the mean of the
        class weights by these targets.

    Raises:
        UsageError: Photos without labels; another number of weights than of classes.

    >>> labels = np.array([1], np.int32)
    >>> mixed = Batch(np.array([4]), np.zeros((1, 2, 2, 3), np.uint8), labels,
    ...               partners=np.array([2], np.int32), shares=np.array([0.75], np.float32))
    >>> [rows.tolist() for rows in pair(mixed, 3, weights=[1, 2, 4])[1:]]
    [[[0.0, 0.75, 0.25]], [2.5]]
    """
    if batch.labels is None:
        raise UsageError("training needs labels, and these photos have none")
    targets = np.eye(classes, dtype=np.float32)
    rows = targets[batch.labels]
    if batch.shares is not None:
        own = batch.shares[:, None]
        rows = own * rows + (1 - own) * targets[batch.partners]
    if weights is None:
        return batch.photos, rows
    if len(weights) != classes:
        raise UsageError(f"weights must be one a class, {classes}; received {len(weights)} of them")
    return batch.photos, rows, rows @ np.array(weights, np.float32)


def pairs(
    loader: Loader, epoch: int, start: int = 0, weights: Sequence[float] | None = None
) -> Iterator[tuple[np.ndarray, ...]]:
    """Yield the batches of an epoch from step ``start``, as ``pair`` gives them."""
    for batch in loader.epoch(epoch, start):
        yield pair(batch, len(loader.catalog.classes), weights)


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

    def __getitem__(self, step: int) -> tuple[np.ndarray, ...]:
        return pair(self.loader.batch(self.epoch, step), len(self.loader.catalog.classes))

    def on_epoch_begin(self) -> None:
        self._begun = True

    def on_epoch_end(self) -> None:
        # Keras calls it before the first epoch too, after a look at the shapes.
        self.epoch += self._begun
        self._begun = False
