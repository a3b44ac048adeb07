"""From what a step asks for to what the allocator has in use, and to a limit that holds.

Fitted over the models and settings of ``benchmarks/memory.py`` (docs/memory.md has the table), on a
CPU with the allocator that TensorFlow has on every GPU. None is measured on a GPU.
"""

from __future__ import annotations

from carlib.memory.tape import Peak

# The allocator splits a free chunk only where it is twice the request or 128 MB larger, so what it
# has in use is more: a share of all, and a part of the largest tensor, which lies in what others
# left (bfc_allocator.cc of TensorFlow).
IN_USE, IN_USE_OF_LARGEST = 0.06, 0.43
# Of 95% of models, as shares of what is expected.
SPREAD = (0.885, 1.175)
# Free chunks lie between those in use, and a limit has to leave room for them: a share of all, or,
# where few large tensors are the peak, a part of the largest. True limits lie between 1.03 and 1.3
# times what is asked for (benchmarks/memory_limits.py), and once at 1.24 of it where TensorFlow had
# one thread for operations.
SAFE, SAFE_OF_LARGEST = 1.28, 0.75
# For each share of what is asked for by layers that no rule knows, as much again.
UNKNOWN = 1.0


def expected(requested: int, peak: Peak) -> int:
    """Return U, what the allocator has in use at the peak, in bytes."""
    return int(requested * (1 + IN_USE) + IN_USE_OF_LARGEST * largest(peak))


def between(requested: int, peak: Peak, unknown: float) -> tuple[int, int]:
    """Return where U lies for 95% of models, in bytes.

    Args:
        requested: R.
        peak: Of the step.
        unknown: Share of the peak that layers without a rule hold, 0 to 1.
    """
    middle, wider = expected(requested, peak), UNKNOWN * unknown
    # Never below what was asked for, where all of that is known.
    low = max(requested, middle * SPREAD[0]) * (1 - wider / 2)
    return int(low), int(middle * SPREAD[1] * (1 + wider))


def safe(requested: int, peak: Peak, unknown: float) -> int:
    """Return T, a limit of the allocator that does not run out, in bytes."""
    room = max(requested * SAFE, requested + SAFE_OF_LARGEST * largest(peak))
    return int(room * (1 + UNKNOWN * unknown))


def largest(peak: Peak) -> int:
    """Bytes of the largest tensor at the peak, or of its scratch."""
    return max([peak.scratch, *(tensor.nbytes for tensor in peak.alive[:1])])
