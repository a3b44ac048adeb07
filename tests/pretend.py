"""Kernel sessions that only pretend to train: a checkpoint further each, in milliseconds."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from local_kaggle import LocalKaggle

from carlib.checkpoints import Position, Snapshot, write_checkpoint
from carlib.files import sha256
from carlib.kaggle.chain.decide import furthest
from carlib.kaggle.notebook import INJECTED

NOTEBOOK = {
    "cells": [
        {
            "cell_type": "code",
            "execution_count": None,
            "id": "first",
            "metadata": {"tags": ["parameters"]},
            "outputs": [],
            "source": "DATA = ''\nRECIPE = ''\nSETTINGS = []\nRUN = 'run'\nLIMIT = ''\n"
            "RESUME = 'auto'\nSTOP_AFTER = None\nPUSH = ''\n",
        }
    ],
    "metadata": {"kernelspec": {"name": "python3", "display_name": "Python 3"}},
    "nbformat": 4,
    "nbformat_minor": 5,
}


@contextmanager
def pretend_kaggle(folder: Path) -> Iterator[LocalKaggle]:
    """A local Kaggle whose sessions only pretend, and to which this process' clients speak."""
    with (
        LocalKaggle(folder, runner=lambda run: None) as kaggle,
        pytest.MonkeyPatch.context() as patch,
    ):
        for name in kaggle.unset:
            patch.delenv(name, raising=False)
        for name, value in kaggle.environment.items():
            patch.setenv(name, value)
        kaggle.limit_when = strikes
        yield kaggle


def write_notebook(folder: Path) -> Path:
    """A notebook with the parameters of the training one, and nothing else."""
    path = folder / "train.ipynb"
    path.write_text(json.dumps(NOTEBOOK), encoding="utf-8")
    return path


def parameters(source: str) -> dict[str, Any]:
    """What a push has set."""
    values: dict[str, Any] = {}
    for cell in json.loads(source)["cells"]:
        if cell["metadata"].get("tags") in (["parameters"], [INJECTED]):
            exec(cell["source"], {}, values)
    return values


class Pretend:
    """A runner for a local Kaggle; each session takes the next of ``ends``.

    clock: one checkpoint further, stopped. done: further, and the run is done. still: no further.
    crash: further, then an exception. empty: an exception before anything. memory: out of it.
    killed: further, then it waits to be killed (``strikes`` says when). damaged: likewise, its
    newest checkpoint cut short. silent: it ends well and leaves no handover. foreign: its
    handover is of another push. garbled: its handover cannot be read.
    """

    def __init__(self, *ends: str) -> None:
        self.ends = ends
        self.begun: list[str] = []  # what each session went on from
        self.given: list[dict[str, Any]] = []

    def __call__(self, run: Any) -> None:
        given = parameters(run.source)
        end = self.ends[min(len(self.begun), len(self.ends) - 1)]
        found = furthest([path.as_posix() for path in Path(run.inputs).rglob("*/manifest.json")])
        found = found or _through_links(run.inputs)
        self.begun.append(found)
        self.given.append(given)
        run.say(f"going on from {found or 'nothing'}\n")
        if given["RESUME"] == "must" and not found:
            raise RuntimeError("RunError: --resume must: there is no run")
        if end == "empty":
            raise RuntimeError("ValueError: the very first cell")
        number = int(found.partition("-")[0] or 0) + (end != "still")
        root = Path(run.working) / "run"
        made = write_checkpoint(root / "chain", _snapshot(number), number)
        (root / "report.html").write_text(f"report {number}", encoding="utf-8")
        if end == "crash":
            raise RuntimeError("RunError: boom")
        if end == "memory":
            raise RuntimeError("RunError: out of memory (OOM when allocating tensor)")
        if end == "damaged":
            arrays = made.path / "arrays.npz"
            arrays.write_bytes(arrays.read_bytes()[:10])
        if end in ("killed", "damaged"):
            (Path(run.working) / "strikes").touch()
            run.stopped.wait(30)
            return
        if end != "silent":
            push = "another" if end == "foreign" else given["PUSH"]
            leave(Path(run.working), push, made.name, done=end == "done")
        if end == "garbled":
            (Path(run.working) / "handover.json").write_text("{", encoding="utf-8")


def strikes(run: Any) -> bool:
    """Whether a session's limit has struck: for ``LocalKaggle.limit_when``."""
    return (Path(run.working) / "strikes").exists()


def leave(working: Path, push: str, at: str, done: bool) -> None:
    """Write the handover of a session."""
    files = {
        path.relative_to(working).as_posix(): (path.stat().st_size, sha256(path))
        for path in working.rglob("*")
        if path.is_file()
    }
    said = {
        "handover": 1,
        "push": push,
        "run": "run",
        "recipe": "tiny",
        "recipe_digest": "ab",
        "catalog_digest": "cd",
        "done": done,
        "why": "done" if done else "the clock",
        "at": at,
        "best": None,
        "accuracy": 0.75 if done else None,
        "hours": 1.5,
        "files": files,
    }
    (working / "handover.json").write_text(json.dumps(said), encoding="utf-8")


def _snapshot(number: int) -> Snapshot:
    return Snapshot(
        position=Position(0, number),
        arrays={"model/kernel": np.full(3, number, np.float32)},
        state={},
        recipe="tiny",
        recipe_digest="ab",
        catalog_digest="cd",
    )


def _through_links(inputs: Path) -> str:
    """As above; sources are links here, which rglob does not follow."""
    names = [
        path.as_posix()
        for link in Path(inputs).rglob("*")
        if link.is_symlink()
        for path in link.resolve().rglob("*/manifest.json")
    ]
    return furthest(names)
