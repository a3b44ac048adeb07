"""A run's state as a whole: read from a checkpoint, gone back to, gathered for a save."""

from __future__ import annotations

import copy
from collections.abc import Iterable, Mapping

import keras
import numpy as np

from carlib.checkpoints import Checkpoint, Stateful, read_state
from carlib.checkpoints.parts import restore
from carlib.checkpoints.state import model_state
from carlib.progress import say
from carlib.train.ledger import Ledger
from carlib.train.stage import PARTS
from carlib.train.undo import Undo


class State:
    """What a run remembers beside the phase under way.

    Args:
        model: The run's.
        ledger: Of the run.
        callbacks: Those of the user's that are ``Stateful`` belong to it.
    """

    def __init__(
        self, model: keras.Model, ledger: Ledger, callbacks: Iterable[keras.callbacks.Callback]
    ):
        self.model, self.ledger = model, ledger
        self.callbacks = [callback for callback in callbacks if isinstance(callback, Stateful)]

    def parts(self, fixed: Mapping[str, np.ndarray]) -> list[Stateful]:
        """Return all parts.

        Args:
            fixed: Values of the model's variables that do not move meanwhile.
        """
        return [self.ledger, model_state(self.model, fixed), *self.callbacks]

    def read(self, checkpoint: Checkpoint) -> Undo:
        """Take the state of a checkpoint; return all that it holds."""
        arrays, said = read_state(checkpoint)
        undo = Undo(checkpoint.position, arrays, said["parts"], checkpoint.name)
        for callback in self.callbacks:
            if callback.name not in undo.values:
                say(f"callback {callback.name!r} is new to this run: it starts without a state")
        self._take(undo)
        return undo

    def go_back(self, undo: Undo) -> None:
        """Take the state of earlier in this session, which goes on as the same one."""
        sessions, starts = self.ledger.sessions, self.ledger.starts
        self._take(undo)
        # A first step that was done tells the clock of the next, which is traced again.
        self.ledger.sessions, self.ledger.starts = sessions, starts
        self.ledger.session.update(steps=undo.steps, photos=undo.photos)

    def _take(self, undo: Undo) -> None:
        callbacks = [callback for callback in self.callbacks if callback.name in undo.values]
        parts: list[Stateful] = [self.ledger, model_state(self.model), *callbacks]
        # A copy: what they are given, they may change.
        restore(parts, undo.arrays, copy.deepcopy(undo.values), others=PARTS)
        self.ledger.named(undo.name)
