"""The real client in a process of its own, asked for one call after the other."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any

from .server import LocalKaggle

# The client signs in when it is imported, so the variables must be there before.
CHILD = """
import contextlib, io, json, os, sys

answers = os.fdopen(os.dup(1), "w")
os.dup2(2, 1)
from kaggle import api

def plain(thing):
    if isinstance(thing, (list, tuple)):
        return [plain(one) for one in thing]
    return thing.to_dict() if hasattr(thing, "to_dict") else thing

for line in sys.stdin:
    asked = json.loads(line)
    os.environ["http_proxy"] = asked["proxy"]
    said = io.StringIO()
    answer = {"value": None, "error": "", "status": 0}
    with contextlib.redirect_stdout(said), contextlib.redirect_stderr(said):
        try:
            answer["value"] = plain(getattr(api, asked["call"])(*asked["args"], **asked["options"]))
        except BaseException as error:
            answer["error"] = f"{type(error).__name__}: {error}"
            answer["status"] = getattr(getattr(error, "response", None), "status_code", 0)
    answer["printed"] = said.getvalue()
    answers.write(json.dumps(answer) + "\\n")
    answers.flush()
"""


@dataclass(frozen=True, slots=True)
class Said:
    """What a call came to: its value, or the error it raised; and what it printed."""

    value: Any
    error: str
    status: int
    printed: str


class Client:
    """One child process with the client's ``api``; each call names the Kaggle it goes to."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def __enter__(self) -> Client:
        kaggle = LocalKaggle(self.folder, runner=lambda run: None)
        with kaggle:
            environment = {**os.environ, **kaggle.environment}
        for name in kaggle.unset:
            environment.pop(name, None)
        self._child = subprocess.Popen(
            [sys.executable, "-c", CHILD],
            env=environment,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._child.communicate()

    def __call__(self, kaggle: LocalKaggle, call: str, *args: Any, **options: Any) -> Said:
        """Call a method of the client's ``KaggleApi``; paths may be given as such."""
        asked = {"proxy": kaggle.url, "call": call, "args": args, "options": options}
        assert self._child.stdin is not None
        assert self._child.stdout is not None
        self._child.stdin.write(json.dumps(asked, default=str) + "\n")
        self._child.stdin.flush()
        return Said(**json.loads(self._child.stdout.readline()))
