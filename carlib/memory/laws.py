"""From what a step asks for to what the allocator has in use, and to a limit that holds.

Fitted over the models and settings of ``benchmarks/memory.py`` (docs/memory.md has the table), on a
CPU with the allocator that TensorFlow has on every GPU. None is measured on a GPU.
"""

from __future__ import annotations

from carlib.memory.arena import runs_in
from carlib.memory.tape import Peak, Tape

# Weights and slots are there before the first step and lie side by side: U is of the rest.
# The allocator splits a free chunk only where it is twice the request or 128 MB larger, so what it
# has in use is more: a share of all, and a part of the largest tensor, which lies in what others
# left (bfc_allocator.cc of TensorFlow).
IN_USE, IN_USE_OF_LARGEST = 1.08, 0.42
# Of 95% of models, as shares of what is expected.
SPREAD = (0.84, 1.265)
# Free chunks lie between those in use, and a limit has to leave room for them: a share of all, or,
# where few large tensors are the peak, a part of the largest; little of weights and slots.
SAFE, SAFE_OF_LARGEST, SAFE_OF_FIXED = 1.2, 0.75, 1.15
# Where a step leaves many, its tape shows it: in T less this share it runs, as the allocator gives
# memory out (``carlib.memory.arena``). TensorFlow's two threads change the order from run to run,
# and a step's true limit with it (benchmarks/memory_limits.py).
SAFE_OF_ARENA, FINER = 1.08, 1.01
# For each share of what is asked for by layers that no rule knows, as much again.
UNKNOWN = 1.0


def expected(fixed: int, peak: Peak) -> int:
    """Return U, what the allocator has in use at the peak, in bytes.

    Args:
        fixed: Bytes of what is there before and after: weights, slots.
        peak: Of the step.
    """
    return int(fixed + _in_use(peak))


def between(fixed: int, peak: Peak, unknown: float) -> tuple[int, int]:
    """Return where U lies for 95% of models, in bytes.

    Args:
        fixed: As above.
        peak: Of the step.
        unknown: Share of the peak that layers without a rule hold, 0 to 1.
    """
    middle, wider = _in_use(peak), UNKNOWN * unknown
    # Never below what was asked for, where all of that is known.
    low = max(peak.nbytes, middle * SPREAD[0]) * (1 - wider / 2)
    return int(fixed + low), int(fixed + middle * SPREAD[1] * (1 + wider))


def safe(fixed: int, tape: Tape, peak: Peak, unknown: float) -> int:
    """Return T, a limit of the allocator that does not run out, in bytes.

    Args:
        fixed: As above.
        tape: Of the step.
        peak: Of the tape.
        unknown: As above.
    """
    room = max(peak.nbytes * SAFE, peak.nbytes + SAFE_OF_LARGEST * largest(peak))
    held = fixed * SAFE_OF_FIXED + room
    while not runs_in(tape, fixed, int(held / SAFE_OF_ARENA)):
        held *= FINER
    return int(held + room * UNKNOWN * unknown)


def largest(peak: Peak) -> int:
    """Bytes of the largest tensor at the peak, or of its scratch."""
    return max([peak.scratch, *(tensor.nbytes for tensor in peak.alive[:1])])


def _in_use(peak: Peak) -> float:
    return peak.nbytes * IN_USE + IN_USE_OF_LARGEST * largest(peak)
