"""Kernels at Kaggle: pushed once, watched, and the week's quota."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from carlib.errors import UsageError
from carlib.kaggle.client import Answer, Asker, KaggleError
from carlib.kaggle.metadata import KERNEL_FILE, check_kernel
from carlib.kaggle.secrets import refuse_secrets

# Kernels that are there and may not be read, and kernels that are not there, look alike.
_NOT_THERE = ("missing", "refused")
RUNNING = ("QUEUED", "RUNNING", "NEW_SCRIPT", "CANCEL_REQUESTED")
ENDED = ("COMPLETE", "ERROR", "CANCEL_ACKNOWLEDGED")


def check_ref(kernel: str) -> None:
    """Refuse what does not name a kernel, before anybody is asked about it.

    Raises:
        UsageError: Not "owner/slug".

    >>> check_ref("cars")
    Traceback (most recent call last):
    carlib.errors.UsageError: a kernel is OWNER/SLUG, like alice/cars; received 'cars'
    """
    if not re.fullmatch(r"[\w-]+/[\w-]+", kernel):
        raise UsageError(f"a kernel is OWNER/SLUG, like alice/cars; received {kernel!r}")


@dataclass(frozen=True, slots=True)
class Pushed:
    """A kernel version at Kaggle.

    Args:
        kernel: "owner/slug".
        version: Its number; None where Kaggle did not say.
        url: Where to look at it.
        invalid: Sources that Kaggle did not attach, by kind: dataset, competition, kernel, model.
    """

    kernel: str
    version: int | None
    url: str = ""
    invalid: Mapping[str, list[str]] = field(default_factory=dict)

    def complaint(self) -> str:
        """Say what was not attached; "" where all was."""
        return "; ".join(
            f"Kaggle did not attach {kind} {', '.join(sources)}"
            for kind, sources in self.invalid.items()
        )


@dataclass(frozen=True, slots=True)
class Quota:
    """An accelerator's hours of this week.

    Args:
        used: Seconds.
        total: Seconds.
        refresh: When a new week begins, in ISO 8601; "" where Kaggle did not say.
    """

    used: float
    total: float
    refresh: str = ""

    @property
    def left(self) -> float:
        """Seconds.

        >>> Quota(used=90.0, total=60.0).left
        0.0
        """
        return max(0.0, self.total - self.used)

    def until(self) -> str:
        """When it begins anew, for people.

        >>> Quota(0.0, 1.0, "2026-11-28T00:00:00").until()
        '2026-11-28 00:00 UTC'
        """
        if not self.refresh:
            return "next week"
        when = datetime.fromisoformat(self.refresh)
        when = when.replace(tzinfo=UTC) if when.tzinfo is None else when.astimezone(UTC)
        return f"{when:%Y-%m-%d %H:%M} UTC"


def push_kernel(
    asker: Asker,
    folder: Path,
    timeout: float | None = None,
    before: int | None = None,
    tag: str = "",
) -> Pushed:
    """Push the kernel of a folder: checked first, and never twice.

    Args:
        asker: The client.
        folder: Holds kernel-metadata.json and the notebook.
        timeout: Seconds after which Kaggle ends the session; None for the platform's own limit.
        before: The kernel's newest version before this push; None to ask for it. It tells, where
            an answer is lost, whether the push came through.
        tag: Stands in this notebook and in no other: tells the same. Defaults to "": the whole
            notebook tells.

    Raises:
        UsageError: A rule of the metadata is broken.
        CarlibError: Something looks like a secret.
        KaggleError: Kaggle refused, or could not be reached.
    """
    check_kernel(folder)
    metadata = json.loads((folder / KERNEL_FILE).read_text(encoding="utf-8"))
    code = folder / metadata["code_file"]
    refuse_secrets([folder / KERNEL_FILE, code])
    kernel = metadata["id"]
    if before is None:
        before = newest_version(asker, kernel)
    sent = code.read_text(encoding="utf-8")
    answer = asker.once(
        "push",
        lambda: arrived(asker, kernel, sent, before, tag),
        folder=str(folder),
        timeout=None if timeout is None else int(timeout),
        accelerator=None,  # the metadata says it
    )
    if answer["error"]:
        said = " ".join(answer["error"].split())
        raise KaggleError(f"Kaggle refused {kernel}: {said}", "refused")
    return Pushed(kernel, answer["version"], answer["url"], answer["invalid"])


def newest_version(asker: Asker, kernel: str) -> int:
    """Return the number of a kernel's newest version, 0 where there is no such kernel."""
    found = _source(asker, kernel)
    return int(found["version"] or 0) if found else 0


def arrived(asker: Asker, kernel: str, sent: str, before: int, tag: str = "") -> Answer | None:
    """Return what the answer to a push would have been, where that push came through.

    Args:
        asker: The client.
        kernel: "owner/slug".
        sent: The notebook's text.
        before: The newest version before the push.
        tag: As in ``push_kernel``; where it is given, ``sent`` does not matter.
    """
    found = _source(asker, kernel)
    if found is None:
        return None
    if not (tag in found["text"] if tag else _code(found["text"]) == _code(sent)):
        return None
    version = found["version"]
    if version is not None and version <= before:
        return None  # the same notebook, pushed earlier
    return {
        "version": version,
        "url": f"https://www.kaggle.com/code/{kernel}",
        "error": "",
        "invalid": {},
    }


def _source(asker: Asker, kernel: str) -> Answer | None:
    try:
        return asker.read("source", kernel=kernel)
    except KaggleError as error:
        if error.kind in _NOT_THERE:
            return None
        raise


def _code(text: str) -> Any:
    """A notebook's cells, as they are whoever has written them down; any other text as it is."""
    try:
        cells = json.loads(text)["cells"]
        return [(cell["cell_type"], "".join(cell["source"])) for cell in cells]
    except (ValueError, TypeError, KeyError):
        return text


def kernel_status(asker: Asker, kernel: str, version: int | None = None) -> tuple[str, str]:
    """Return the status of a kernel's session, and why it failed where it did.

    Args:
        asker: The client.
        kernel: "owner/slug".
        version: Whose session; None for the newest, which is also what a client before 2.2.5
            takes for any.

    Raises:
        UsageError: A kernel that is not "owner/slug".
        KaggleError: No such kernel, or Kaggle could not be reached.
    """
    check_ref(kernel)
    said = asker.read("status", kernel=kernel, version=version)
    return str(said["status"]), str(said["message"])


def read_quota(asker: Asker, kind: str) -> Quota | None:
    """Return this week's hours of "gpu" or "tpu"; None where Kaggle does not say.

    Raises:
        KaggleError: Refused, or Kaggle could not be reached.
    """
    said = asker.read("quota")
    if not said.get(kind):
        return None
    return Quota(said[kind]["used"], said[kind]["total"], said["refresh"])
