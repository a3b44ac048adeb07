"""Who makes the batches: their kind and count, and a worker that is a process."""

from __future__ import annotations

import multiprocessing
import multiprocessing.resource_tracker
import os
import signal
from dataclasses import dataclass
from multiprocessing.connection import Connection

import numpy as np

from carlib.errors import RunError, UsageError
from carlib.loader.items import Items

RESTARTS = 3  # of a worker process at one batch, before it is an error


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


class Worker:
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
        # A terminal sends Ctrl-C to all its processes: the parent stops in order, and its workers
        # go with their pipes. A worker is born with SIGINT blocked, for it loads what it needs
        # before it can ignore it; multiprocessing's tracker, when started, would unblock it.
        multiprocessing.resource_tracker.ensure_running()
        unblocked = signal.pthread_sigmask(signal.SIG_BLOCK, (signal.SIGINT,))
        try:
            self.process.start()
        finally:
            signal.pthread_sigmask(signal.SIG_SETMASK, unblocked)
        far.close()

    def batch(self, epoch: int, numbers: np.ndarray, after: int | None = None) -> np.ndarray:
        """Return ``items.batch(epoch, numbers, after)``, made by the process."""
        size = self.items.view.size
        photos = np.empty((len(numbers), size, size, 3), np.uint8)
        for _ in range(1 + RESTARTS):
            try:
                self.pipe.send((epoch, numbers, after))
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
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, (signal.SIGINT,))
    try:
        while True:
            asked = pipe.recv()
            try:
                photos = items.batch(*asked)
            except Exception as error:  # whatever it is, it is raised at the other end
                pipe.send(error)
            else:
                pipe.send(None)
                pipe.send_bytes(photos.data.cast("B"))
    except (EOFError, OSError):
        return
