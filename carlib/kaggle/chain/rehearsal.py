"""A rehearsal: answers as Kaggle would, shows every call, and makes none."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from carlib.checkpoints import Position, Snapshot, write_checkpoint
from carlib.files import sha256
from carlib.handover import HANDOVER
from carlib.kaggle.client import Answer, KaggleError
from carlib.kaggle.metadata import KERNEL_FILE, read_dataset, read_kernel

_TAG = re.compile(r"PUSH = '([0-9a-f]+)'")


class Rehearsal:
    """Stands in for the client: one session stopped by the clock, one that is done.

    Args:
        show: Takes a line for each call.
        room: Folder for what its sessions leave.
        sessions: How many sessions the run takes. Defaults to 2.
    """

    def __init__(self, show: Callable[[str], None], room: Path, sessions: int = 2):
        self.show, self.room, self.sessions = show, room, sessions
        self.pushed: list[tuple[str, str]] = []  # kernel and text
        self.looks = 0
        self.datasets: dict[str, int] = {}

    def read(self, do: str, *, size: int = 0, **arguments: Any) -> Answer:
        """Show a call and answer it."""
        return self.once(do, lambda: None, size=size, **arguments)

    def once(
        self, do: str, done: Callable[[], Answer | None], *, size: int = 0, **arguments: Any
    ) -> Answer:
        """Show a call and answer it."""
        told = " ".join(f"{name}={value}" for name, value in arguments.items() if value is not None)
        self.show(f"{do} {told}".rstrip())
        answer: Answer = getattr(self, f"_{do}")(**arguments)
        return answer

    def look(self, done: Callable[[], Answer | None]) -> Answer | None:
        """Nothing is ever lost in a rehearsal."""
        return done()

    def _quota(self) -> Answer:
        both = {"used": 0.0, "total": 30 * 3600.0}
        return {"gpu": both, "tpu": both, "refresh": ""}

    def _source(self, kernel: str) -> Answer:
        texts = [text for name, text in self.pushed if name == kernel]
        if not texts:
            raise KaggleError(f"there is no {kernel} yet", "missing")
        return {"text": texts[-1], "version": len(texts)}

    def _push(self, folder: str, timeout: int | None, accelerator: str | None) -> Answer:
        metadata = read_kernel(folder)
        for line in json.dumps(metadata, indent=2).splitlines():
            self.show(f"    {line}")
        code = Path(folder) / metadata["code_file"]
        text = code.read_text(encoding="utf-8")
        for line in _injected(text):
            self.show(f"    {line}")
        self.pushed.append((metadata["id"], text))
        self.looks = 0
        self._leave()
        assert (Path(folder) / KERNEL_FILE).is_file()
        version = sum(name == metadata["id"] for name, _ in self.pushed)
        return {"version": version, "url": "", "error": "", "invalid": {}}

    def _status(self, kernel: str, version: int | None) -> Answer:
        self.looks += 1
        return {"status": "RUNNING" if self.looks == 1 else "COMPLETE", "message": ""}

    def _listing(self, kernel: str, version: int | None) -> Answer:
        files = [path for path in self.room.rglob("*") if path.is_file()]
        return {"files": [path.relative_to(self.room).as_posix() for path in files], "log": ""}

    def _output(self, kernel: str, version: int | None, folder: str, pattern: str) -> Answer:
        for name in self._listing(kernel, version)["files"]:
            if re.search(pattern, name):
                (Path(folder) / name).parent.mkdir(parents=True, exist_ok=True)
                (Path(folder) / name).write_bytes((self.room / name).read_bytes())
        return {}

    def _dataset_status(self, dataset: str) -> Answer:
        if dataset not in self.datasets:
            raise KaggleError(f"there is no {dataset} yet", "missing")
        return {"status": "ready", "version": self.datasets[dataset]}

    def _dataset_create(self, folder: str, public: bool) -> Answer:
        self.datasets[read_dataset(folder)["id"]] = 1
        return {"error": ""}

    def _dataset_version(self, folder: str, notes: str) -> Answer:
        self.datasets[read_dataset(folder)["id"]] += 1
        return {"error": ""}

    def _leave(self) -> None:
        """Leave what a session would: a checkpoint further on, and its handover."""
        number = len(self.pushed)
        snapshot = Snapshot(
            position=Position(number),
            arrays={"model/kernel": np.zeros(1, np.float32)},
            state={},
            recipe="",
            recipe_digest="",
            catalog_digest="",
        )
        made = write_checkpoint(self.room / "run" / "chain", snapshot, number)
        done = number >= self.sessions
        tag = _TAG.search("\n".join(_injected(self.pushed[-1][1])))
        said: Mapping[str, Any] = {
            "handover": 1,
            "push": tag[1] if tag else "",
            "run": "run",
            "recipe": "",
            "recipe_digest": "",
            "catalog_digest": "",
            "done": done,
            "why": "done" if done else "the clock",
            "at": made.name,
            "best": None,
            "accuracy": None,
            "hours": 11.5 * number,
            "files": {
                path.relative_to(self.room).as_posix(): (path.stat().st_size, sha256(path))
                for path in self.room.rglob("*")
                if path.is_file() and path.name != HANDOVER
            },
        }
        (self.room / HANDOVER).write_text(json.dumps(said), encoding="utf-8")


def _injected(text: str) -> list[str]:
    for cell in json.loads(text)["cells"]:
        if "injected-parameters" in cell["metadata"].get("tags", ()):
            return "".join(cell["source"]).splitlines()
    return []
