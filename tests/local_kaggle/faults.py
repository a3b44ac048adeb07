"""Faults: what the local Kaggle does wrong, at which call, and how often."""

from __future__ import annotations

import fnmatch
import threading
from dataclasses import dataclass, field

KINDS = ("429", "500", "503", "reset", "timeout", "truncated", "error-page", "error-page-502")


@dataclass(slots=True)
class Fault:
    """One fault, waiting for its call.

    Args:
        rpc: Name of the method, such as "SaveKernel", or "GET" (a download) or "PUT" (an upload).
        kind: One of KINDS. "reset": closed without an answer. "timeout": no answer until
            ``release``, then closed. "truncated": the body stops half-way. "error-page": HTTP 200
            with a page, which is the file where a file was asked for.
        nth: The matching call that meets it first, from 1.
        times: How many calls in a row meet it from there.
        after: Do first what was asked: only the answer is lost. "truncated" always does.
        path: Pattern (fnmatch) of a GET's or PUT's path, or of the file's name alone.
        retry_after: Seconds of the Retry-After header; None leaves it out.
    """

    rpc: str
    kind: str
    nth: int = 1
    times: int = 1
    after: bool = False
    path: str = "*"
    retry_after: float | None = None
    seen: int = 0
    met: int = 0
    _released: threading.Event = field(default_factory=threading.Event, repr=False)

    def __post_init__(self) -> None:
        if self.kind not in KINDS:
            raise ValueError(f"Fault: kind must be one of {', '.join(KINDS)}; got {self.kind!r}")
        if self.nth < 1 or self.times < 1:
            raise ValueError(f"Fault: nth and times count from 1; got {self.nth}, {self.times}")

    def meets(self, rpc: str, path: str) -> bool:
        """Count a call, and say whether this is one to fail."""
        patterns = (path, path.rpartition("/")[2])
        if rpc != self.rpc or not any(fnmatch.fnmatch(said, self.path) for said in patterns):
            return False
        self.seen += 1
        hit = self.nth <= self.seen < self.nth + self.times
        self.met += hit
        return hit

    def release(self) -> None:
        """Let the calls go that wait in a "timeout"."""
        self._released.set()

    def wait(self) -> None:
        """Wait for ``release``."""
        self._released.wait()
