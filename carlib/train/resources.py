"""Room for a run before it starts: on the disk, and in the machine's memory."""

from __future__ import annotations

import math
import os
import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import keras
import numpy as np

from carlib.checkpoints import Position
from carlib.errors import RunError
from carlib.features import POOL
from carlib.freeze import Freezer
from carlib.loader import Workers
from carlib.loader.epochs import AHEAD
from carlib.memory.fixed import nbytes, slots_of
from carlib.memory.present import free_memory
from carlib.progress import say
from carlib.runfolder import RunFolder
from carlib.session import Session
from carlib.spec import AUTO, AUTO_MOST, Phase
from carlib.train.fitted import Fitted
from carlib.train.outcome import Material

OUTPUT = 20 * 10**9  # bytes that Kaggle keeps of /kaggle/working
TIGHT = 0.8  # of the memory that is free


@dataclass(frozen=True, slots=True)
class Room:
    """What a run takes, in bytes.

    Args:
        weights: All weights of the model.
        state: The largest state of a phase to come: weights, slots, averages, accumulators.
        phases: How many phases there are, each with an end that is kept while it fits.
        features: Cached features on the disk, of the phase that has the most.
        held: Of them, what is in memory at once.
        batches: Photos that wait for their step.
    """

    weights: int
    state: int
    phases: int
    features: int
    held: int
    batches: int

    @property
    def memory(self) -> int:
        """What the machine's memory must have beside the training: two copies of the state, the
        newest save's and one that is being made; features; photos."""
        return 2 * self.state + self.held + self.batches

    @property
    def disk(self) -> int:
        """What the disk must have: the newest checkpoint and the next, which is written before the
        other goes; the best model, likewise; features."""
        return 2 * self.state + 2 * self.weights + self.features

    def chain(self, keep: int | None) -> int:
        """What the chain comes to take: the newest, the best and the ones before them, and phases'
        ends.

        Args:
            keep: Bytes that it may take; None for no bound.
        """
        most = 4 * self.state + self.phases * self.weights
        return most if keep is None else min(most, max(keep, 2 * self.state))


def room_of(
    model: keras.Model,
    freezer: Freezer,
    material: Material,
    position: Position,
    workers: Workers,
    fitted: Mapping[str, Fitted] | None = None,
) -> Room:
    """Return what a run takes from a position on.

    Args:
        model: The run's.
        freezer: Of the model; it is left as the last phase wants it.
        material: Recipe and photos.
        position: Where the run goes on.
        workers: Who loads photos.
        fitted: Photos a step, by phase. Defaults to None: as the recipe asks.
    """
    recipe = material.recipe
    weights, slots = nbytes(model.variables), 0
    to_come = recipe.phases[position.phase :]
    for phase in to_come:
        freezer.apply(phase)
        slots = max(slots, slots_of(model, phase))
    pooled = model.get_layer(POOL).output
    row = pooled.shape[-1] * np.dtype(pooled.dtype).itemsize
    training, validation = len(material.training), len(material.validation)
    views = max((phase.views for phase in to_come), default=0)
    asked = {phase.name: _asked(phase, training) for phase in to_come}
    sizes = asked | {name: each.batch_size for name, each in (fitted or {}).items()}
    photos = (3 * sizes[phase.name] * (phase.size or recipe.model.size) ** 2 for phase in to_come)
    return Room(
        weights=weights,
        state=weights + slots,
        phases=len(recipe.phases),
        features=row * (views * training + validation) if views else 0,
        held=row * (training + validation) if views else 0,
        batches=(AHEAD * workers.count + 1) * max(photos, default=0),
    )


def _asked(phase: Phase, training: int) -> int:
    """Photos of a batch, as many as any that is fitted for it has."""
    return min(AUTO_MOST if phase.batch_size == AUTO else int(phase.batch_size), training)


def check_disk(room: Room, folder: RunFolder, session: Session, keep: int | None) -> None:
    """Raise RunError where the disk has no room for a run; warn where it is tight.

    What the run folder has there already counts as room: new checkpoints take the place of old
    ones.

    Args:
        room: What it takes.
        folder: The run.
        session: On Kaggle, no more than its output counts.
        keep: Bytes that the chain may take; None for no bound.
    """
    there = shutil.disk_usage(_existing(folder.root)).free
    whose = ""
    work = session.work.resolve()
    if session.kind.startswith("kaggle") and folder.root.resolve().is_relative_to(work):
        output = max(0, OUTPUT - _used(work))
        if output < there:
            there, whose = output, f" of the {amount(OUTPUT)} that Kaggle keeps of an output"
    own = (folder.chain, folder.model.parent, folder.features)
    there += sum(map(_used, own))
    if there < room.disk:
        features = f" and {amount(room.features)} of cached features" if room.features else ""
        raise RunError(
            f"{folder.root} needs {amount(room.disk)} of disk at least, for two checkpoints of "
            f"{amount(room.state)}, the best model{features}, and {amount(there)} are free{whose}: "
            "free some, or choose another --out"
        )
    rest = room.disk - 2 * room.state
    if there < room.chain(keep) + room.state + rest:
        fits = max(0, there - room.state - rest)
        say(
            f"the disk is tight: with the chain's {amount(room.chain(keep))} the run may take more "
            f"than the {amount(there)} that are free{whose}; --keep {math.floor(fits / 1e6)}MB "
            "fits"
        )


def check_memory(room: Room, free: int | None = None) -> None:
    """Raise RunError where the machine's memory has no room for a run; warn where it is tight.

    Args:
        room: What it takes.
        free: Bytes. Defaults to what is free now.
    """
    free = free_memory() if free is None else free
    if free < room.memory:
        raise RunError(
            f"the run needs {amount(room.memory)} of the machine's memory beside the training "
            f"({amount(2 * room.state)} for copies of its state, {amount(room.held)} for features, "
            f"{amount(room.batches)} for photos that wait), and {amount(free)} are free: end other "
            "programs, give fewer --workers, or a smaller batch_size"
        )
    if room.memory > TIGHT * free:
        say(
            f"the machine's memory is tight: the run takes {amount(room.memory)} of the "
            f"{amount(free)} that are free, beside the training"
        )


def amount(nbytes: float) -> str:
    """Return bytes for people.

    >>> amount(13_737 * 2**20), amount(350e6), amount(0)
    ('14.4 GB', '350 MB', '0 MB')
    """
    return f"{nbytes / 1e9:.1f} GB" if nbytes >= 1e9 else f"{nbytes / 1e6:.0f} MB"


def _existing(path: Path) -> Path:
    """The folder itself, or the nearest above it that is there."""
    return next(each for each in (path.absolute(), *path.absolute().parents) if each.is_dir())


def _used(folder: Path) -> int:
    """Bytes of all files under a folder; links are not followed, what vanishes meanwhile is 0."""
    total = 0
    for where, _, names in os.walk(folder):
        for name in names:
            try:
                total += os.lstat(os.path.join(where, name)).st_size
            except OSError:
                continue
    return total
