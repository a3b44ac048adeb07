"""Progress of every long wait: a bar in terminals and notebooks, plain lines in batch logs."""

from __future__ import annotations

import os
import sys
import warnings
from collections.abc import Iterable
from typing import Any, TextIO

LINE_SECONDS = 20.0  # between two lines in a log


class _Lines:
    """A text stream for tqdm that ends each update with a new line instead of a carriage return."""

    def __init__(self, stream: TextIO):
        self.stream = stream

    def write(self, text: str) -> None:
        text = text.strip("\r\n ")
        if text:
            self.stream.write(text + "\n")

    def flush(self) -> None:
        self.stream.flush()


def progress(items: Iterable[Any] | None = None, **options: Any) -> Any:
    """Return tqdm over ``items``, or a bare counter.

    A bar in terminals and notebooks; in batch logs a line every LINE_SECONDS.

    Args:
        items: What to go through; None for a counter moved by ``update``.
        **options: tqdm's own (desc, total, unit, disable, ...).

    >>> list(progress([1, 2], disable=True))
    [1, 2]
    """
    from tqdm import tqdm as tqdm_plain
    from tqdm.notebook import tqdm_notebook

    tqdm = _tqdm()

    # A notebook that Kaggle runs in batch has no one to see a widget, and its log lacks it.
    in_batch = os.environ.get("KAGGLE_KERNEL_RUN_TYPE") == "Batch"
    if sys.stderr.isatty() or (issubclass(tqdm, tqdm_notebook) and not in_batch):
        return tqdm(items, leave=False, **options)
    return tqdm_plain(
        items,
        file=_Lines(sys.stderr),
        mininterval=LINE_SECONDS,
        maxinterval=LINE_SECONDS,
        delay=LINE_SECONDS,
        ascii=True,
        ncols=80,
        leave=False,
        **options,
    )


def say(text: str) -> None:
    """Print a line to stderr without breaking a bar that is being drawn."""
    _tqdm().write(text, file=sys.stderr)
    sys.stderr.flush()


def _tqdm() -> Any:
    """tqdm for where this runs; a notebook without ipywidgets gets text, and no warning of it."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        from tqdm.auto import tqdm
    return tqdm
