"""What a run keeps: its checkpoints, which of them stay, and the best model beside them."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterable
from contextlib import suppress
from pathlib import Path
from typing import Any

import keras
import numpy as np

from carlib.checkpoints import Checkpoint, Position, Snapshot, Stateful, read_state, verify
from carlib.checkpoints.chain import folders_of, next_number
from carlib.checkpoints.disk import name_of, read_manifest
from carlib.checkpoints.parts import collect
from carlib.checkpoints.state import Variables, averaged, model_state
from carlib.errors import RunError
from carlib.freeze import Freezer
from carlib.runfolder import is_exported
from carlib.spec import to_dict
from carlib.train.clock import Clock
from carlib.train.ledger import Ledger, versions
from carlib.train.outcome import Material, export_best
from carlib.train.saver import Job, Saver
from carlib.train.undo import Undo

SEED = "/seed_generator_state"


class Keeper:
    """Saves and exports for one session of one run.

    An epoch's end is saved where that costs little against the time since the last save. The
    state of a best epoch that is not saved at once is held in memory and written just before
    the next checkpoint, so that each checkpoint's best lies in the chain with it.

    Args:
        material: Recipe and photos.
        model: The run's.
        freezer: Of the model.
        ledger: Of the run.
        clock: Of the session.
        saver: Writes.
        parts: Returns all that belongs to the state at a position.
        parent: Checkpoint that the session goes on from.
        origin: Folder of its chain, where it was taken from another run.
        undo: What that checkpoint holds; later, what the newest save does. Defaults to
            None: there is none before the first.
    """

    def __init__(
        self,
        material: Material,
        model: keras.Model,
        freezer: Freezer,
        ledger: Ledger,
        clock: Clock,
        saver: Saver,
        parts: Callable[[Position], Iterable[Stateful]],
        parent: Checkpoint | None,
        origin: str,
        undo: Undo | None = None,
    ):
        self.material, self.model, self.freezer = material, model, freezer
        self.ledger, self.clock, self.saver, self.parts = ledger, clock, saver, parts
        self.folder = ledger.folder
        self.newest, self.origin, self.undo = parent.name if parent else "", origin, undo
        self.number = next_number(self.folder.chain, parent)
        self.held: Snapshot | None = None
        self.needs = needs_of(self.folder.chain)
        self.best_before = ledger.best["checkpoint"] if ledger.best else ""
        costs = ledger.costs
        saver.copying, saver.writing = costs.get("copying", 0.0), costs.get("writing", 0.0)
        saver.size = int(costs.get("size", 0))
        clock.forward = costs.get("forward", 0.0)
        self.exporting = costs.get("exporting", 0.0)  # seconds of the longest export
        self.exported = -1.0  # when the last one ended
        self.behind = False  # whether best/ holds an earlier epoch than the best

    def save(self, position: Position, why: str, wait: bool = False) -> None:
        """Save the state.

        Args:
            position: Where the run goes on from it.
            why: As in Snapshot.
            wait: Until it is on the disk.
        """
        began = self.clock.now()
        self.saver.wait()
        jobs = []
        best = self.ledger.best
        if self.held and best and not best["checkpoint"]:
            jobs.append(self._job(self.held))
            self.ledger.named(self.newest)
        self.held = None
        copying = self.clock.now()
        snapshot = self._snapshot(position, why)
        self.saver.took("copying", self.clock.now() - copying)
        if not self.saver.size:
            self.saver.size = sum(value.nbytes for value in snapshot.arrays.values())
        jobs.append(self._job(snapshot))
        self.ledger.named(self.newest)
        self.best_before = best["checkpoint"] if best else ""
        session = self.ledger.session
        # At no cost: the snapshot is a copy already, and whoever trains on does not touch it.
        self.undo = Undo(
            position,
            snapshot.arrays,
            snapshot.state["parts"],
            self.newest,
            session["steps"],
            session["photos"],
        )
        self.saver.start(jobs, self.clock.steps)
        if wait:
            self.saver.wait()
        self.saver.blocked += self.clock.now() - began

    def epoch_ended(self, position: Position) -> None:
        """Save between two epochs of a phase where it is worth it, else hold what is the best."""
        if self.saver.worth_it():
            self.save(position, "epoch")
            return
        best = self.ledger.best
        if best and best["epoch"] == len(self.ledger.history):
            began = self.clock.now()
            self.held = self._snapshot(position, "best")
            self.saver.blocked += self.clock.now() - began

    def went_back(self, undo: Undo) -> None:
        """Forget the epochs since a state that the run went back to.

        Args:
            undo: The state, which the model and the ledger have again.
        """
        self.undo, self.held = undo, None
        self.behind = self.ledger.best is not None and not self._is_exported(self.ledger.best)

    def reserve(self) -> float:
        """Seconds that a save and an export would take now."""
        writes = 1 + self.saver.under_way + (self.held is not None)
        return 1.5 * (self.saver.writing * writes + self.saver.copying + self.exporting)

    def phase_began(self) -> None:
        """Expect what saves cost now: an optimizer's state may be larger than the weights."""
        parts = self.parts(Position(step=1))
        self.saver.resize(sum(part.nbytes for part in parts if isinstance(part, Variables)))

    def epoch_is_best(self) -> None:
        """Export the model as it is now, or leave it for later where epochs are short."""
        self.held = None
        apart = self.clock.now() - self.exported
        self.behind = self.exported >= 0 and apart < 100 * self.exporting
        if not self.behind:
            self._export()

    def export_behind(self) -> None:
        """Bring best/ to the best epoch, where it was left for later."""
        if self.behind:
            self._with_best_weights(self._export)
            self.behind = False

    def restore_best_model(self) -> None:
        """Export the best model again where best/ is missing or of another epoch."""
        best = self.ledger.best
        if best is not None and not self._is_exported(best):
            self._with_best_weights(self._export)

    def load_best(self) -> None:
        """Give the model the weights that the best epoch was validated with."""
        best: Any = self.ledger.best
        if best["checkpoint"]:
            self.saver.wait()
            weights = self._best_weights(best)
        elif self.held:
            weights = averaged(self.held.arrays)
        else:
            return  # it is the epoch just finished
        own = model_state(self.model)
        # What dropout draws next is no weight of an epoch.
        seeds = {key: value for key, value in own.get().items() if key.endswith(SEED)}
        own.set({**weights, **seeds})

    def _best_weights(self, best: Any) -> dict[str, np.ndarray]:
        try:
            return averaged(read_state(verify(self.folder.chain / best["checkpoint"]))[0])
        except RunError:
            if not self._is_exported(best):
                raise
            return model_state(keras.models.load_model(self.folder.model, compile=False)).get()

    def _is_exported(self, best: Any) -> bool:
        digests = self.material.recipe.digest(), self.material.catalog_digest
        return is_exported(self.folder, *digests, best)

    def _with_best_weights(self, work: Callable[[], None]) -> None:
        own = model_state(self.model)
        kept = own.get()
        self.load_best()
        work()
        own.set(kept)

    def _export(self) -> None:
        began = self.clock.now()
        export_best(self.folder, self.model, self.freezer, self.material, self.ledger.best)
        self.exported = self.clock.now()
        self.exporting = max(self.exporting, self.exported - began)

    def _snapshot(self, position: Position, why: str) -> Snapshot:
        recipe, history = self.material.recipe, self.ledger.history
        self.ledger.note(self.clock.spent(), self.saver.saves + 1, self.saver.blocked)
        self.ledger.costs = {
            "copying": self.saver.copying,
            "writing": self.saver.writing,
            "size": self.saver.size,
            "forward": max(self.clock.features, self.clock.batch, self.clock.forward),
            "exporting": self.exporting,
        }
        arrays, values = collect(self.parts(position))
        return Snapshot(
            position=position,
            arrays=arrays,
            state={"recipe": to_dict(recipe), "parts": values},
            recipe=recipe.name,
            recipe_digest=recipe.digest(),
            catalog_digest=self.material.catalog_digest,
            determinism=recipe.determinism,
            session=self.ledger.session["session"],
            why=why,
            metrics={k: v for k, v in history[-1].items() if k != "phase"} if history else {},
            versions=versions(),
        )

    def _job(self, snapshot: Snapshot) -> Job:
        """Give a snapshot its place in the chain, after the newest."""
        best = self.ledger.best["checkpoint"] if self.ledger.best else ""
        self.needs[name_of(self.number, snapshot.position)] = best
        job = Job(
            dataclasses.replace(snapshot, parent=self.newest, origin=self.origin),
            self.number,
            always=[best],
            # The parent, should this one be damaged, and the best that the parent knows of.
            wished=[self.newest, self.best_before],
            needs=dict(self.needs),
            after=self.ledger.writer(),
        )
        self.newest, self.origin = name_of(self.number, snapshot.position), ""
        self.number += 1
        return job


def needs_of(chain: Path) -> dict[str, str]:
    """Return of each checkpoint of a chain the one that holds its best epoch."""
    needs = {}
    for folder in folders_of(chain):
        with suppress(RunError, KeyError, TypeError):  # a damaged one needs nothing
            state = read_state(read_manifest(folder), arrays=False)[1]
            if best := state["parts"]["ledger"]["best"]:
                needs[folder.name] = best["checkpoint"] or folder.name
    return needs
