"""Batches of a catalog, epoch by epoch, from any step on."""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import CancelledError, Future, ThreadPoolExecutor
from dataclasses import dataclass
from types import TracebackType
from typing import Any

import numpy as np

from carlib.catalog import Catalog
from carlib.errors import UsageError
from carlib.images import read_photo
from carlib.loader.items import Items, View
from carlib.loader.workers import Worker, Workers

AHEAD = 2  # batches a worker has waiting or under way
_ORDER = 0x6F72646572  # keeps the order's random stream apart from the items'


@dataclass(frozen=True, slots=True, eq=False)
class Batch:
    """B photos.

    Args:
        numbers: Positions in the catalog, shape (B,).
        photos: uint8, shape (B, size, size, 3), RGB.
        labels: Class numbers, int32, shape (B,), or None.
        partners: Where photos are mixed: class numbers of the photos they are mixed with,
            int32, shape (B,). None where none is mixed, or without labels.
        shares: Where photos are mixed: weight of a photo's own label, 0 to 1, the partner's
            has the rest; float32, shape (B,). Else None.
    """

    numbers: np.ndarray
    photos: np.ndarray
    labels: np.ndarray | None
    partners: np.ndarray | None = None
    shares: np.ndarray | None = None


# Positions of a batch's photos, and of the photos that each would mix with.
_Part = tuple[np.ndarray, np.ndarray]


class Loader:
    """Batches of a catalog, epoch by epoch.

    Args:
        catalog: Photos; their labels come along where known.
        view: What the network sees of them.
        batch_size: Photos a batch.
        seed: Of order and augmentation. Defaults to 0.
        training: Shuffled, whole batches only (every step has one shape, so it is traced
            once), and mixed where the view says so: each photo with the next in the epoch's
            order, the last with the first. Otherwise catalog order, never mixed, and the last
            batch may be smaller. Defaults to False.
        together: Training steps that stand for one larger batch: an epoch has as many photos as
            in such batches, none of them begun in vain. Defaults to 1.
        workers: Who makes the batches.
        read: As in Items.

    >>> import cv2, tempfile, os
    >>> path = os.path.join(tempfile.mkdtemp(), "a.png")
    >>> _ = cv2.imwrite(path, np.zeros((20, 30, 3), np.uint8))
    >>> with Loader(Catalog(("a",), (path,)), View(32), batch_size=4) as loader:
    ...     [batch.photos.shape for batch in loader.epoch(0)]
    [(1, 32, 32, 3)]
    """

    def __init__(
        self,
        catalog: Catalog,
        view: View,
        *,
        batch_size: int,
        seed: int = 0,
        training: bool = False,
        together: int = 1,
        workers: Workers | None = None,
        read: Callable[[str], np.ndarray] = read_photo,
    ):
        if not len(catalog):
            raise UsageError("Loader: the catalog has no photos")
        if batch_size < 1:
            raise UsageError(f"Loader: batch_size must be 1 or more; received {batch_size}")
        self.catalog = catalog
        self.items = Items(catalog, view, seed, read)
        # A set smaller than a batch is one batch: an epoch without a step would train nothing.
        self.batch_size = min(batch_size, len(catalog))
        self.seed = seed
        self.training, self.together = training, together
        self.mixes = training and self.items.augmentation.mixes
        self.workers = workers or Workers()
        self.waited = 0.0  # seconds that the consumer of epoch() stood still
        self._labels = None if catalog.labels is None else np.array(catalog.labels, np.int32)
        self._pool: ThreadPoolExecutor | None = None
        self._local = threading.local()  # each thread's worker process

    @property
    def steps(self) -> int:
        """Batches an epoch."""
        whole, rest = divmod(len(self.catalog), self.batch_size)
        if self.training:
            return whole - whole % self.together
        return whole + 1 if rest else whole

    def order(self, epoch: int) -> np.ndarray:
        """Return the catalog positions in the order of an epoch."""
        if not self.training:
            return np.arange(len(self.catalog))
        return np.random.default_rng((_ORDER, self.seed, epoch)).permutation(len(self.catalog))

    def batch(self, epoch: int, step: int) -> Batch:
        """Return one batch, made here and now."""
        return self._make(self.items.batch, epoch, self._part(self.order(epoch), step))

    def epoch(self, epoch: int, start: int = 0) -> Iterator[Batch]:
        """Yield the batches of an epoch in order, from step ``start``.

        Workers make the next ones meanwhile. A killed worker process is replaced and its
        batches are made again; they are the same.

        Raises:
            UsageError: A start beyond the epoch.
            DataError: A photo that cannot be read any more.
            RunError: Workers that die again and again.
        """
        if not 0 <= start <= self.steps:
            raise UsageError(f"Loader: start must be 0 to {self.steps}; received {start}")
        order = self.order(epoch)
        parts = [self._part(order, step) for step in range(start, self.steps)]
        if self.workers.count == 0:
            for part in parts:
                began = time.perf_counter()
                batch = self._make(self.items.batch, epoch, part)
                self.waited += time.perf_counter() - began
                yield batch
            return
        yield from self._ahead(epoch, deque(parts))

    def _ahead(self, epoch: int, todo: deque[_Part]) -> Iterator[Batch]:
        under_way: deque[tuple[_Part, Future[Batch]]] = deque()
        try:
            while todo or under_way:
                began = time.perf_counter()
                try:
                    while todo and len(under_way) < AHEAD * self.workers.count:
                        under_way.append((todo[0], self._submit(epoch, todo[0])))
                        todo.popleft()
                    batch = under_way[0][1].result()
                except CancelledError:
                    # The loader was closed in mid-epoch; new workers go on with it.
                    todo.extendleft(part for part, _ in reversed(under_way))
                    under_way.clear()
                    continue
                finally:
                    self.waited += time.perf_counter() - began
                under_way.popleft()
                yield batch
        finally:
            for _, future in under_way:
                future.cancel()

    def _part(self, order: np.ndarray, step: int) -> _Part:
        if not 0 <= step < self.steps:
            raise UsageError(f"Loader: step must be 0 to {self.steps - 1}; received {step}")
        first = step * self.batch_size
        places = np.arange(first, min(first + self.batch_size, len(order)))
        return order[places], order[(places + 1) % len(order)]

    def _make(self, photos_of: Callable[..., np.ndarray], epoch: int, part: _Part) -> Batch:
        numbers, nexts = part
        labels = None if self._labels is None else self._labels[numbers]
        if not self.mixes:
            return Batch(numbers, photos_of(epoch, numbers), labels)
        photos = photos_of(epoch, numbers, int(nexts[-1]))
        partners = None if self._labels is None else self._labels[nexts]
        shares = np.array([mix.share for mix in self.items.mixes(epoch, numbers)], np.float32)
        return Batch(numbers, photos, labels, partners, shares)

    def _submit(self, epoch: int, part: _Part) -> Future[Batch]:
        photos_of = self._at_a_worker if self.workers.kind == "processes" else self.items.batch
        self._pool = self._pool or ThreadPoolExecutor(self.workers.count, "carlib-loader")
        return self._pool.submit(self._make, photos_of, epoch, part)

    def _at_a_worker(self, *asked: Any) -> np.ndarray:
        # Each thread of the pool has a process; both go when the pool is let go.
        if not hasattr(self._local, "worker"):
            self._local.worker = Worker(self.items)
        worker: Worker = self._local.worker
        return worker.batch(*asked)

    def close(self) -> None:
        """Let the workers go; the next epoch starts new ones."""
        if self._pool is not None:
            self._pool.shutdown(wait=False, cancel_futures=True)
            self._pool = None

    def __enter__(self) -> Loader:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()
