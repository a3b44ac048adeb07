"""Asking the official client: in time, again where that is safe, and once where it is not."""

from __future__ import annotations

import contextlib
import json
import logging
import os
import queue
import random
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from email.utils import parsedate_to_datetime
from pathlib import Path
from typing import Any, Protocol

from carlib.errors import CarlibError

log = logging.getLogger("carlib")

Answer = dict[str, Any]
PATIENCE = 120.0  # seconds that an answer may take, the transfer of files not counted
START = 120.0  # seconds that the child may take to be ready
SLOWEST = 50_000  # bytes a second that a transfer must reach to be waited for
LONGEST_PAUSE = 60.0
ENDS = 2.0  # seconds in which a child that is asked to end may tidy up
LOOKS = 4
TRANSIENT = ("busy", "down", "lost")
_UNCLEAR = ("down", "lost")  # it may have been done


class KaggleError(CarlibError):
    """Kaggle, or its client, did not do what was asked.

    Args:
        message: What was asked and what came back.
        kind: One of ``carlib.kaggle.worker``'s kinds.
        pause: Seconds that Kaggle asked to wait; None where it did not say.
    """

    def __init__(self, message: str, kind: str, pause: float | None = None):
        super().__init__(message)
        self.kind, self.pause = kind, pause


class Asker(Protocol):
    """Whoever answers for Kaggle: the client, or a rehearsal of it."""

    def read(self, do: str, *, size: int = 0, **arguments: Any) -> Answer:
        """Ask for something that may be asked twice."""
        ...

    def once(
        self, do: str, done: Callable[[], Answer | None], *, size: int = 0, **arguments: Any
    ) -> Answer:
        """Ask for something that must happen once."""
        ...

    def look(self, done: Callable[[], Answer | None]) -> Answer | None:
        """Look for what may have happened a moment ago."""
        ...


@dataclass(slots=True)
class Client:
    """The official client in a child process, and the patience to deal with it.

    Args:
        tries: How often something is asked for before it is given up.
        pause: Seconds before the second try; each further pause is twice as long, up to
            LONGEST_PAUSE, and none is shorter than Kaggle's Retry-After.
        patience: Seconds that an answer may take. Defaults to PATIENCE.
        keep: File descriptors that the child holds open: with a lock among them, nobody takes over
            before the last call of an ended parent has come through.

    >>> with Client() as client:
    ...     pass
    """

    tries: int = 7
    pause: float = 2.0
    patience: float = PATIENCE
    keep: tuple[int, ...] = ()
    _child: subprocess.Popen[str] | None = None
    _lines: queue.Queue[str] = field(default_factory=queue.Queue)
    _ready: bool = False

    def __enter__(self) -> Client:
        return self

    def __exit__(self, *error: object) -> None:
        self.close()

    def close(self) -> None:
        """End the child process."""
        child, self._child = self._child, None
        if child is not None:
            child.terminate()
            try:
                child.wait(ENDS)
            except subprocess.TimeoutExpired:
                child.kill()
                child.wait()
            for pipe in (child.stdin, child.stdout):
                if pipe is not None:
                    with contextlib.suppress(OSError):
                        pipe.close()

    def read(self, do: str, *, size: int = 0, **arguments: Any) -> Answer:
        """Ask for something that changes nothing, again until it is answered.

        Args:
            do: An operation of ``carlib.kaggle.worker``.
            size: Bytes to transfer, for how long that may take.
            **arguments: The operation's own.

        Raises:
            KaggleError: Refused, or not answered after all tries.
        """
        return self._repeat(do, lambda: None, size, arguments)

    def once(
        self, do: str, done: Callable[[], Answer | None], *, size: int = 0, **arguments: Any
    ) -> Answer:
        """Ask for something that must not happen twice.

        Args:
            do: An operation of ``carlib.kaggle.worker``.
            done: Looks whether it has happened, where the answer was lost: returns what
                the answer would have been, or None where it has not.
            size: Bytes to transfer.
            **arguments: The operation's own.

        Raises:
            KaggleError: Refused, or not answered after all tries.
        """
        return self._repeat(do, lambda: self.look(done), size, arguments)

    def look(self, done: Callable[[], Answer | None]) -> Answer | None:
        """Look for what may have happened a moment ago: Kaggle takes a while to show it.

        Args:
            done: As in ``once``; it is asked LOOKS times, with longer and longer pauses before.
        """
        for pauses in range(LOOKS):
            time.sleep(min(self.pause * 2**pauses, LONGEST_PAUSE))
            if (found := done()) is not None:
                return found
        return None

    def _repeat(
        self, do: str, done: Callable[[], Answer | None], size: int, arguments: dict[str, Any]
    ) -> Answer:
        for attempt in range(1, self.tries + 1):
            try:
                return self._ask(do, self.patience + size / SLOWEST, arguments)
            except KaggleError as error:
                if error.kind not in TRANSIENT:
                    raise
                pause = min(self.pause * 2 ** (attempt - 1), LONGEST_PAUSE)
                pause = max(pause * random.uniform(0.8, 1.2), error.pause or 0.0)
                if attempt < self.tries:
                    log.warning("%s; asking again in %.0f s", error, pause)
                if error.kind in _UNCLEAR and (found := done()) is not None:
                    return found
                if attempt == self.tries:
                    raise KaggleError(
                        f"{error}; tried {attempt} times: look at https://www.kaggle.com and your "
                        "network, then run the same command again",
                        error.kind,
                    ) from error
                time.sleep(pause)
        raise AssertionError("unreachable")

    def _ask(self, do: str, seconds: float, arguments: dict[str, Any]) -> Answer:
        """One try."""
        child = self._child or self._start()
        assert child.stdin is not None
        try:
            if not self._ready:
                self._ready = bool(self._lines.get(timeout=START))
            child.stdin.write(json.dumps({"do": do, "with": arguments}) + "\n")
            child.stdin.flush()
            line = self._await(seconds, arguments.get("folder") if do == "output" else None)
        except queue.Empty:
            self.close()
            raise KaggleError(f"kaggle {do}: no answer for {seconds:.0f} s", "lost") from None
        except OSError:
            line = ""
        except BaseException:
            self.close()  # half-way through a call: its answer must not meet the next question
            raise
        if not line.endswith("\n"):  # nothing, or half a line
            self.close()
            raise KaggleError(f"kaggle {do}: the client's process ended", "lost")
        reply = json.loads(line)
        if "answer" in reply:
            return dict(reply["answer"])
        failure, printed = reply["failure"], reply["printed"]
        said = failure["message"]
        if failure["kind"] == "credentials":
            said = (
                f"{said}; make a token at https://www.kaggle.com/settings/api and put it into "
                "KAGGLE_API_TOKEN or ~/.kaggle/access_token"
            )
        elif printed and printed not in said:
            said = f"{said} ({printed})"
        raise KaggleError(f"kaggle {do}: {said}", failure["kind"], _pause(failure.get("after", "")))

    def _await(self, seconds: float, folder: str | None) -> str:
        """Return the next line; where files come into a folder, as long as they go on coming."""
        while True:
            before = _bytes_in(folder)
            try:
                return self._lines.get(timeout=seconds)
            except queue.Empty:
                if _bytes_in(folder) == before:
                    raise

    def _start(self) -> subprocess.Popen[str]:
        self._lines, self._ready = queue.Queue(), False
        self._child = child = subprocess.Popen(
            [sys.executable, "-m", "carlib.kaggle.worker", str(os.getpid()), str(self.patience)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            encoding="utf-8",
            pass_fds=self.keep,
            # Ctrl-C is for the parent: a push that is under way comes through.
            start_new_session=True,
        )
        threading.Thread(target=_listen, args=(child, self._lines), daemon=True).start()
        return child


def _listen(child: subprocess.Popen[str], lines: queue.Queue[str]) -> None:
    assert child.stdout is not None
    with contextlib.suppress(OSError, ValueError):  # closed by the parent
        for line in child.stdout:
            lines.put(line)
    lines.put("")


def _bytes_in(folder: str | None) -> int:
    # A name may be gone between its listing and a look at it.
    paths = [Path(each) / name for each, _, names in os.walk(folder or "") for name in names]
    return sum(path.stat().st_size for path in paths if path.is_file())


def _pause(after: str) -> float | None:
    """Seconds of a Retry-After header: a number or a date (RFC 9110, 10.2.3)."""
    try:
        return max(0.0, float(after))
    except ValueError:
        pass
    try:
        return max(0.0, parsedate_to_datetime(after).timestamp() - time.time())
    except (ValueError, TypeError):
        return None
