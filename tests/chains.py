"""Chains of small checkpoints, their damages, and a file system that fails at a chosen call."""

from __future__ import annotations

import dataclasses
import errno
import logging
import os
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from carlib.checkpoints import Checkpoint, Position, Snapshot, read_state, write_checkpoint
from carlib.checkpoints.chain import next_number
from carlib.checkpoints.disk import ARRAYS, MANIFEST, STATE
from carlib.errors import CarlibError

FILES = (ARRAYS, STATE, MANIFEST)


def arrays(value: int) -> dict[str, np.ndarray]:
    return {
        "model/stem_conv/kernel": np.arange(24, dtype=np.float32).reshape(2, 3, 4) + value,
        "model/stem_conv/half": np.array([[value, 0.1, -65504.0]], np.float16),
        "model/drop/seed_generator_state": np.array([value, 2**31], np.uint32),
        "optimizer/iteration": np.array(value, np.int64),
        "optimizer/empty": np.zeros((0, 3), np.float32),
        "metrics/loss/total": np.array([np.nan, -0.0, np.inf]),
    }


def snapshot(value: int, **options: Any) -> Snapshot:
    said = Snapshot(
        position=Position(1, 3, value),
        arrays=arrays(value),
        state={"value": value, "history": [{"lr": 0.1 + value, "loss": float("inf")}]},
        recipe="tiny-test",
        recipe_digest="ab" * 32,
        catalog_digest="cd" * 32,
        metrics={"val_accuracy": 0.1 + value / 10},
        versions={"keras": "3.13.2"},
    )
    return dataclasses.replace(said, **options)


def save(chain: Path, value: int, parent: Checkpoint | None = None, **options: Any) -> Checkpoint:
    said = snapshot(value, parent=parent.name if parent else "", **options)
    return write_checkpoint(chain, said, next_number(chain, parent))


def made(chain: Path, count: int) -> list[Checkpoint]:
    """Write a chain of checkpoints that hold the values 1 to ``count``."""
    saved: list[Checkpoint] = []
    for value in range(1, count + 1):
        saved.append(save(chain, value, saved[-1] if saved else None))
    return saved


def assert_holds(checkpoint: Checkpoint | None, value: int) -> None:
    assert checkpoint is not None
    found, state = read_state(checkpoint)
    wanted = arrays(value)
    assert set(found) == set(wanted)
    for name, array in wanted.items():
        assert found[name].dtype == array.dtype
        assert found[name].shape == array.shape
        assert found[name].tobytes() == array.tobytes()
    assert state == {"value": value, "history": [{"lr": 0.1 + value, "loss": float("inf")}]}


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def content(folder: Path) -> dict[str, bytes]:
    files = (path for path in folder.rglob("*") if path.is_file())
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in files}


def warnings(caplog: pytest.LogCaptureFixture) -> list[str]:
    return [record.getMessage() for record in caplog.records if record.levelno >= logging.WARNING]


# ---- damages


def truncate(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-1])


def halve(path: Path) -> None:
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


def flip(path: Path) -> None:
    some = bytearray(path.read_bytes())
    some[len(some) // 2] ^= 4
    path.write_bytes(some)


def append(path: Path) -> None:
    path.write_bytes(path.read_bytes() + b"\0")


def page(path: Path) -> None:
    path.write_text("<!doctype html><html><title>429 Too Many Requests</title></html>")


def folder(path: Path) -> None:
    path.unlink()
    path.mkdir()


def remove(path: Path) -> None:
    path.unlink()


def empty(path: Path) -> None:
    path.write_bytes(b"")


DAMAGES: list[Callable[[Path], None]] = [
    truncate,
    halve,
    flip,
    append,
    page,
    folder,
    remove,
    empty,
]


# ---- crashes


class Killed(BaseException):
    """The process is gone: from here on it does nothing any more."""


class Torn:
    """A file opened for writing, of which a write may get only half of its content out."""

    def __init__(self, file: Any, saboteur: Saboteur):
        self.file, self.saboteur = file, saboteur

    def __getattr__(self, name: str) -> Any:
        return getattr(self.file, name)

    def __enter__(self) -> Torn:
        return self

    def __exit__(self, *what: object) -> None:
        self.file.close()

    def write(self, data: Any) -> Any:
        def half() -> None:
            self.file.write(data[: len(data) // 2])

        self.saboteur.called("content", half)
        return self.file.write(data)


class Saboteur:
    """Lets the file system fail at the k-th call of one function; fsync does nothing.

    Args:
        name: Of the function: one of CALLS, "write" (a file opened for writing) or "content" (a
            write to one, of which half gets out).
        error: An OSError happens once; after ``Killed`` every other call of the file system
            fails too, so that nothing is tidied up either.
    """

    CALLS = ("mkdir", "open", "fsync", "rename", "replace", "unlink", "rmdir")

    def __init__(self, name: str, k: int, error: BaseException):
        self.name, self.k, self.error = name, k, error
        self.calls, self.dead = 0, False

    def called(self, name: str, half: Callable[[], object] = lambda: None) -> None:
        if self.dead:
            raise self.error
        if name == self.name:
            self.calls += 1
            if self.calls == self.k:
                half()
                self.dead = isinstance(self.error, Killed)
                raise self.error

    def install(self, patch: pytest.MonkeyPatch) -> None:
        for name in self.CALLS:
            self._wrap(patch, name)
        for module in ("builtins", "io"):
            self._wrap_open(patch, __import__(module))

    def _wrap(self, patch: pytest.MonkeyPatch, name: str) -> None:
        real = getattr(os, name)

        def wrapped(*args: Any, **options: Any) -> Any:
            self.called(name)
            return None if name == "fsync" else real(*args, **options)

        patch.setattr(os, name, wrapped)

    def _wrap_open(self, patch: pytest.MonkeyPatch, module: Any) -> None:
        real = module.open

        def wrapped(*args: Any, **options: Any) -> Any:
            if "r" in str(args[1:2] or options.get("mode", "r")):
                return real(*args, **options)
            self.called("write")
            return Torn(real(*args, **options), self)

        patch.setattr(module, "open", wrapped)


ERRORS = {
    "killed": lambda: Killed(),
    "interrupted": lambda: KeyboardInterrupt(),
    "failed": lambda: OSError(errno.EIO, "Input/output error"),
    "full": lambda: OSError(errno.ENOSPC, os.strerror(errno.ENOSPC)),
}
CLEARING = ("open", "unlink", "rmdir")


def sabotaged(
    work: Callable[[], object], kind: str, name: str, check: Callable[[BaseException | None], None]
) -> int:
    """Do ``work`` with the k-th call failing, for every k until none does; return the calls."""
    for k in range(1, 100):
        saboteur = Saboteur(name, k, ERRORS[kind]())
        caught: BaseException | None = None
        with pytest.MonkeyPatch.context() as patch:
            saboteur.install(patch)
            try:
                work()
            except (Killed, KeyboardInterrupt, OSError, CarlibError) as error:
                caught = error
        if kind == "full" and caught is not None:
            assert isinstance(caught, CarlibError)
            # A leftover that cannot be cleared stands in the way, whatever the reason.
            said = "no space left to write|File exists" if name in CLEARING else "no space left"
            assert re.search(said, str(caught))
        check(caught)
        if saboteur.calls < k:
            assert caught is None
            return k - 1
    raise AssertionError("it never succeeds")
