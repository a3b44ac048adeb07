"""A run's marks: which photos count as right, by an epoch that they did not choose."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence

import numpy as np

from carlib.experiments.verdict import Marks
from carlib.submission import Epochs


def marks_of(epochs: Epochs, judge: str) -> Marks:
    """Return which photos a run had right.

    The best of many epochs on the same photos is partly luck, and the more so the more the epochs
    differ. So photos are halved by their ids, and each half is judged by the epoch that is the best
    on the other; the first of equals.

    Args:
        epochs: Of the run.
        judge: "best" as above, or "last": all by the last epoch.

    >>> ids = ("a", "b", "c", "d")
    >>> lucky = np.array([[True, True, False, False], [False, False, True, True]])
    >>> marks_of(Epochs(ids, ("x", "y"), (0, 0, 1, 1), lucky), "last").right.tolist()
    [False, False, True, True]
    """
    photos = np.array(epochs.ids)
    if judge == "last":
        return Marks(photos, epochs.correct[-1])
    half = halves(epochs.ids)
    right = np.empty(len(photos), bool)
    for one in (half, ~half):
        # With a single photo in the other half, or none, all of them choose.
        others = epochs.correct[:, ~one] if (~one).any() else epochs.correct
        right[one] = epochs.correct[int(np.argmax(others.sum(axis=1)))][one]
    return Marks(photos, right)


def halves(ids: Sequence[str]) -> np.ndarray:
    """Return who is in the first half, shape (N,), bool: by the ids alone, not by their order.

    >>> int(halves(("a", "b", "c", "d")).sum())
    2
    """
    order = sorted(range(len(ids)), key=lambda n: hashlib.sha256(ids[n].encode()).digest())
    first = np.zeros(len(ids), bool)
    first[order[::2]] = True
    return first
