"""Checkpoints: a chain of whole, verified states of a run.

``disk`` writes and checks one, ``chain`` finds and keeps them, ``parts`` says what a part of
the state is, all free of TensorFlow; ``state`` makes parts of a Keras model.
"""

from carlib.checkpoints.chain import find_chains, find_checkpoint, retain
from carlib.checkpoints.disk import (
    Checkpoint,
    Position,
    Snapshot,
    adopt,
    read_state,
    verify,
    write_checkpoint,
)
from carlib.checkpoints.parts import Stateful

__all__ = [
    "Checkpoint",
    "Position",
    "Snapshot",
    "Stateful",
    "adopt",
    "find_chains",
    "find_checkpoint",
    "read_state",
    "retain",
    "verify",
    "write_checkpoint",
]
