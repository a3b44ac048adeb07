"""Photos in the order of an epoch, as numpy batches, made by threads or processes.

An item is a function of (seed, epoch, index) over a catalog, and of nothing else: not
of workers, of which finished first, or of the step an epoch is resumed at.
No TensorFlow here: spawned workers start in a second and hold no model.
"""

from __future__ import annotations

import multiprocessing
import os
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import CancelledError, Future, ThreadPoolExecutor
from dataclasses import dataclass
from multiprocessing.connection import Connection
from types import TracebackType

import numpy as np

from carlib.augment import entry_size, item_seed, make_augmenter
from carlib.catalog import Catalog
from carlib.errors import RunError, UsageError, suggestion
from carlib.images import fit, read_photo
from carlib.spec import RESIZES

AHEAD = 2  # batches a worker has waiting or under way
RESTARTS = 3  # of a worker process at one batch, before it is an error
_ORDER = 0x6F72646572  # keeps the order's random stream apart from the items'


@dataclass(frozen=True, slots=True)
class Workers:
    """Who makes the batches.

    Args:
        kind: "threads" (decode and resize leave Python's lock) or "processes" (spawned).
        count: 0 makes each batch where it is asked for. Defaults to the cores.

    >>> Workers.parse("processes:2")
    Workers(kind='processes', count=2)
    """

    kind: str = "threads"
    count: int = os.cpu_count() or 1

    def __post_init__(self) -> None:
        if self.kind not in ("threads", "processes"):
            raise UsageError(f"workers are threads or processes; received {self.kind!r}")
        if not 0 <= self.count <= 256:
            raise UsageError(f"the count of workers must be 0 to 256; received {self.count}")

    @classmethod
    def parse(cls, text: str) -> Workers:
        """Return the workers that "4", "threads:4", "processes:2" or "processes" ask for."""
        kind, _, count = ("threads:" + text if text.isdecimal() else text).partition(":")
        if count and not count.isdecimal():
            raise UsageError(f"workers are like 2, threads:2 or processes:2; received {text!r}")
        return cls(kind, int(count)) if count else cls(kind)


@dataclass(frozen=True, slots=True)
class View:
    """How a photo file becomes what the network sees.

    Args:
        size: Side in px.
        resize: Policy of ``images.fit``.
        preset: Augmentation preset; "none" for validation and prediction.
    """

    size: int
    resize: str = "stretch"
    preset: str = "none"

    def __post_init__(self) -> None:
        if self.size < 1:
            raise UsageError(f"View: size must be 1 px or more; received {self.size}")
        if self.resize not in RESIZES:
            known = suggestion(self.resize, RESIZES)
            raise UsageError(f"View: unknown resize policy {self.resize!r}{known}")


@dataclass(frozen=True, slots=True, eq=False)
class Batch:
    """B photos.

    Args:
        numbers: Positions in the catalog, shape (B,).
        photos: uint8, shape (B, size, size, 3), RGB.
        labels: Class numbers, int32, shape (B,), or None.
    """

    numbers: np.ndarray
    photos: np.ndarray
    labels: np.ndarray | None


class Items:
    """``items(epoch, number)``: the photo at a position of the catalog, ready for the network.

    Args:
        catalog: Its photos.
        view: What is made of them.
        seed: Of the augmentation.
        read: From a path to a uint8 RGB photo. Defaults to reading the file.
    """

    def __init__(
        self,
        catalog: Catalog,
        view: View,
        seed: int = 0,
        read: Callable[[str], np.ndarray] = read_photo,
    ):
        self.paths, self.view, self.seed, self.read = catalog.paths, view, seed, read
        self.entry = entry_size(view.preset, view.size)
        self.augment = make_augmenter(view.preset, view.size)

    def __reduce__(self) -> tuple[object, ...]:
        # The augmenter is a closure; a spawned worker makes its own.
        catalog = Catalog(tuple(map(str, range(len(self.paths)))), self.paths)
        return Items, (catalog, self.view, self.seed, self.read)

    def __call__(self, epoch: int, number: int) -> np.ndarray:
        photo = fit(self.read(self.paths[number]), self.entry, self.view.resize)
        return self.augment(photo, item_seed(self.seed, epoch, number))

    def batch(self, epoch: int, numbers: np.ndarray) -> np.ndarray:
        """Return the photos at these positions, uint8, shape (len(numbers), size, size, 3)."""
        photos = np.empty((len(numbers), self.view.size, self.view.size, 3), np.uint8)
        for row, number in enumerate(numbers):
            photos[row] = self(epoch, int(number))
        return photos


class _Worker:
    """A spawned process that makes batches, at the far end of a pipe of its own.

    A queue that processes share, as in ProcessPoolExecutor, blocks for good when one of them
    is killed while it sends. A pipe with two ends only breaks, which both ends are told: the
    worker is replaced, and it goes when this process goes.
    """

    def __init__(self, items: Items):
        self.items = items
        self._start()

    def _start(self) -> None:
        # Spawned, not forked: a fork of a process that runs TensorFlow's threads can hang.
        context = multiprocessing.get_context("spawn")
        self.pipe, far = context.Pipe()
        self.process = context.Process(target=_serve, args=(far, self.items), daemon=True)
        self.process.start()
        far.close()

    def batch(self, epoch: int, numbers: np.ndarray) -> np.ndarray:
        """Return ``items.batch(epoch, numbers)``, made by the process."""
        size = self.items.view.size
        photos = np.empty((len(numbers), size, size, 3), np.uint8)
        for _ in range(1 + RESTARTS):
            try:
                self.pipe.send((epoch, numbers))
                error = self.pipe.recv()
                if error is None:
                    self.pipe.recv_bytes_into(photos.data.cast("B"))
                    return photos
            except (EOFError, OSError):
                self.pipe.close()
                self.process.kill()
                self.process.join()
                self._start()
            else:
                raise error
        raise RunError(
            f"the worker processes died {1 + RESTARTS} times in a row: out of memory, or started "
            "by a script without `if __name__ == '__main__':`; try processes:1 or threads"
        )


def _serve(pipe: Connection, items: Items) -> None:
    """Make batches until the other end of the pipe is gone."""
    try:
        while True:
            epoch, numbers = pipe.recv()
            try:
                photos = items.batch(epoch, numbers)
            except Exception as error:  # whatever it is, it is raised at the other end
                pipe.send(error)
            else:
                pipe.send(None)
                pipe.send_bytes(photos.data.cast("B"))
    except (EOFError, OSError):
        return


class Loader:
    """Batches of a catalog, epoch by epoch.

    Args:
        catalog: Photos; their labels come along where known.
        view: What the network sees of them.
        batch_size: Photos a batch.
        seed: Of order and augmentation. Defaults to 0.
        training: Shuffled, whole batches only (every step has one shape, so it is traced
            once); otherwise catalog order, the last batch may be smaller. Defaults to False.
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
        self.training = training
        self.workers = workers or Workers()
        self.waited = 0.0  # seconds that the consumer of epoch() stood still
        self._labels = None if catalog.labels is None else np.array(catalog.labels, np.int32)
        self._pool: ThreadPoolExecutor | None = None
        self._local = threading.local()  # each thread's worker process

    @property
    def steps(self) -> int:
        """Batches an epoch."""
        whole, rest = divmod(len(self.catalog), self.batch_size)
        return whole if self.training or not rest else whole + 1

    def order(self, epoch: int) -> np.ndarray:
        """Return the catalog positions in the order of an epoch."""
        if not self.training:
            return np.arange(len(self.catalog))
        return np.random.default_rng((_ORDER, self.seed, epoch)).permutation(len(self.catalog))

    def batch(self, epoch: int, step: int) -> Batch:
        """Return one batch, made here and now."""
        numbers = self._numbers(self.order(epoch), step)
        return self._batch(numbers, self.items.batch(epoch, numbers))

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
        steps = [self._numbers(order, step) for step in range(start, self.steps)]
        if self.workers.count == 0:
            for numbers in steps:
                began = time.perf_counter()
                photos = self.items.batch(epoch, numbers)
                self.waited += time.perf_counter() - began
                yield self._batch(numbers, photos)
            return
        yield from self._ahead(epoch, deque(steps))

    def _ahead(self, epoch: int, todo: deque[np.ndarray]) -> Iterator[Batch]:
        under_way: deque[tuple[np.ndarray, Future[np.ndarray]]] = deque()
        try:
            while todo or under_way:
                began = time.perf_counter()
                try:
                    while todo and len(under_way) < AHEAD * self.workers.count:
                        under_way.append((todo[0], self._submit(epoch, todo[0])))
                        todo.popleft()
                    photos = under_way[0][1].result()
                except CancelledError:
                    # The loader was closed in mid-epoch; new workers go on with it.
                    todo.extendleft(numbers for numbers, _ in reversed(under_way))
                    under_way.clear()
                    continue
                finally:
                    self.waited += time.perf_counter() - began
                numbers, _ = under_way.popleft()
                yield self._batch(numbers, photos)
        finally:
            for _, future in under_way:
                future.cancel()

    def _numbers(self, order: np.ndarray, step: int) -> np.ndarray:
        if not 0 <= step < self.steps:
            raise UsageError(f"Loader: step must be 0 to {self.steps - 1}; received {step}")
        return order[step * self.batch_size : (step + 1) * self.batch_size]

    def _batch(self, numbers: np.ndarray, photos: np.ndarray) -> Batch:
        return Batch(numbers, photos, None if self._labels is None else self._labels[numbers])

    def _submit(self, epoch: int, numbers: np.ndarray) -> Future[np.ndarray]:
        make = self._at_a_worker if self.workers.kind == "processes" else self.items.batch
        self._pool = self._pool or ThreadPoolExecutor(self.workers.count, "carlib-loader")
        return self._pool.submit(make, epoch, numbers)

    def _at_a_worker(self, epoch: int, numbers: np.ndarray) -> np.ndarray:
        # Each thread of the pool has a process; both go when the pool is let go.
        if not hasattr(self._local, "worker"):
            self._local.worker = _Worker(self.items)
        worker: _Worker = self._local.worker
        return worker.batch(epoch, numbers)

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
