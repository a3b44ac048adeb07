"""Runs in processes of their own: a fresh TensorFlow each, at the price of a fork.

The server that is forked has imported everything and run nothing, so a child is a new process
in all that training can notice.
"""

from __future__ import annotations

import gc
import io
import multiprocessing
import os
import pickle
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

from carlib.runfolder import RunFolder
from carlib.session import Every, Session

CONTEXT = multiprocessing.get_context("forkserver")
CONTEXT.set_forkserver_preload(["carlib.train", "carlib.report", "runs"])


@dataclass(slots=True)
class Checks(Session):
    """A session that is cut at the ``at``-th moment at which it could be; 0 never."""

    at: int = 0
    count: int = 0

    def must_stop(self, needed: float, steps: int) -> str:
        self.count += 1
        return "a cut" if self.count == self.at else super(Checks, self).must_stop(needed, steps)


@dataclass(frozen=True, slots=True)
class Run:
    """What a child trains, and where it is cut.

    Args:
        data: Folder of photos.
        out: The run folder.
        recipe: As JSON.
        at: Cut at so many-th check of the session; 0 never.
        workers: As --workers has it; "" for the default.
        every: As --save-every has it; "" for the default.
        watched: Tell what training changes that is no part of the state (``Watch``).
        use: Python files, as --use has them.
    """

    data: Path
    out: Path
    recipe: str
    at: int = 0
    workers: str = ""
    every: str = ""
    watched: bool = False
    use: tuple[Path, ...] = ()


def train(run: Run) -> dict[str, Any]:
    """Train; return how it ended, where, and after how many checks."""
    from carlib.catalog import read_catalog
    from carlib.checkpoints import find_checkpoint
    from carlib.loader import Workers
    from carlib.spec import from_json
    from carlib.train import train_model
    from carlib.using import use

    for path in run.use:
        use(path)
    session = Checks(at=run.at)
    watch = make_watch() if run.watched else None
    outcome = train_model(
        from_json(run.recipe),
        read_catalog(run.data),
        run.out,
        session=session,
        workers=Workers.parse(run.workers) if run.workers else None,
        save_every=Every.parse(run.every) if run.every else None,
        callbacks=[watch] if watch else [],
    )
    found = find_checkpoint(run.out / "chain")
    assert found is not None
    position = (found.position.phase, found.position.epoch, found.position.step)
    return {
        "done": outcome.done,
        "position": position,
        "checks": session.count,
        "final": final(run.out) if outcome.done else None,
        "unkept": sorted(watch.found) if watch else None,
    }


def make_watch() -> Any:
    """Return a callback whose ``found`` names what an epoch changes and no part of the state has.

    It looks at every Keras variable that lives, and at what the phase under way holds beside.
    """
    import keras
    import numpy as np

    from carlib.checkpoints import Position
    from carlib.train.loop import Training

    def training() -> Training:
        (found,) = (each for each in gc.get_objects() if isinstance(each, Training))
        return found

    def variables() -> dict[int, tuple[str, bytes]]:
        live = [each for each in gc.get_objects() if isinstance(each, keras.Variable)]
        return {id(each): (each.path, np.asarray(each).tobytes()) for each in live}

    class Plain(pickle.Pickler):
        """Leaves out what Keras made, which is looked at by its variables."""

        def persistent_id(self, value: Any) -> str | None:
            kinds = keras.Layer, keras.optimizers.Optimizer, keras.metrics.Metric
            schedules = keras.optimizers.schedules.LearningRateSchedule
            return type(value).__name__ if isinstance(value, (*kinds, schedules)) else None

    def plain() -> dict[str, bytes]:
        """What can be pickled of the attributes of the phase under way."""
        found = {}
        for name, value in vars(training().stage).items():
            content = io.BytesIO()
            with suppress(pickle.PicklingError, TypeError, AttributeError):
                Plain(content).dump(value)
                found[name] = content.getvalue()
        return found

    class Watch(keras.callbacks.Callback):  # type: ignore[misc]
        def __init__(self) -> None:
            super().__init__()
            self.found: set[str] = set()
            self.before: Any = None

        def on_train_begin(self, logs: Any = None) -> None:
            self.before = None

        def on_train_batch_end(self, batch: int, logs: Any = None) -> None:
            self.before = self.before or (variables(), plain())

        def on_epoch_end(self, epoch: int, logs: Any = None) -> None:
            parts = training()._parts(Position(0, 0, 1))
            kept = [id(each) for part in parts for each in getattr(part, "variables", {}).values()]
            old_variables, old = self.before
            for key, (path, value) in variables().items():
                if key in old_variables and old_variables[key][1] != value and key not in kept:
                    self.found.add(path)
            stateful = [name for name, value in vars(training().stage).items() if value in parts]
            new = plain()
            self.found.update(
                key for key in old if new.get(key) != old[key] and key not in stateful
            )

    return Watch()


def final(out: Path) -> dict[str, Any]:
    """Everything that must not depend on cuts: last weights, history, best epoch and model."""
    import keras

    from carlib.checkpoints import find_checkpoint, read_state

    checkpoint = find_checkpoint(out / "chain")
    assert checkpoint is not None
    arrays, state = read_state(checkpoint)
    best = state["parts"]["ledger"]["best"]
    model = keras.models.load_model(out / "best" / "model.keras")
    epochs = RunFolder(out).epochs
    return {
        "position": checkpoint.position,
        "arrays": {key: value.tobytes() for key, value in arrays.items()},
        "history": (out / "history.csv").read_bytes(),
        "epochs": epochs.read_bytes() if epochs.is_file() else b"",
        "best": {key: best[key] for key in ("phase", "epoch", "value")},
        "best weights": [weight.tobytes() for weight in model.get_weights()],
        "best arrays": _weights(out / "chain" / (best["checkpoint"] or checkpoint.name)),
    }


def _weights(folder: Path) -> dict[str, bytes]:
    from carlib.checkpoints import read_state, verify
    from carlib.checkpoints.state import averaged

    arrays = averaged(read_state(verify(folder))[0])
    return {key: value.tobytes() for key, value in arrays.items()}


def start(function: Callable[..., Any], *arguments: Any) -> tuple[Any, Connection]:
    """Start ``function(*arguments)`` in a new process; return it, and what will hold its result."""
    near, far = CONTEXT.Pipe(duplex=False)
    process = CONTEXT.Process(target=_serve, args=(far, function, arguments))
    process.start()
    far.close()
    return process, near


def call(function: Callable[..., Any], *arguments: Any) -> Any:
    """Return ``function(*arguments)`` of a new process."""
    process, pipe = start(function, *arguments)
    try:
        return pipe.recv()
    except EOFError:
        process.join()
        raise AssertionError(f"the process ended with {process.exitcode}") from None
    finally:
        process.join()


def _serve(pipe: Connection, function: Callable[..., Any], arguments: tuple[Any, ...]) -> None:
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
    pipe.send(function(*arguments))
