"""Checkpoints: a chain of whole, verified states of a run.

This half writes, checks and finds them, free of TensorFlow; ``carlib.checkpoints.state``
takes the state out of a Keras model and puts it back.
"""

from carlib.checkpoints.disk import (
    Checkpoint,
    Position,
    adopt,
    find_checkpoint,
    read_state,
    retain,
    write_checkpoint,
)

__all__ = [
    "Checkpoint",
    "Position",
    "adopt",
    "find_checkpoint",
    "read_state",
    "retain",
    "write_checkpoint",
]
