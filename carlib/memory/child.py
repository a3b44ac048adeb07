"""Small real training steps of one phase, measured in a process of their own.

``python -m carlib.memory.child`` reads a job as JSON, {"recipe", "phase" (its number), "classes",
"batches", "device", "use" (Python files that it runs first)}, and writes one line of JSON:
{"steps": [{"batch", "requested", "in_use"}]} or {"failed", "batch"}. ``carlib.memory.probe`` runs
it, on a CPU with ``LIMITED`` in its environment.
"""

from __future__ import annotations

import dataclasses
import functools
import json
import sys
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from carlib.freeze import Freezer
from carlib.memory.instrument import measure
from carlib.models.build import build_model
from carlib.schedules import make_schedule
from carlib.spec.text import from_dict
from carlib.steps import compile_trainer, trainer_of
from carlib.using import use

STEPS = 100  # that a schedule is made for; none of them changes the memory


def run(job: dict[str, Any]) -> dict[str, Any]:
    """Return what the steps of a job take.

    Args:
        job: As above.
    """
    for path in job["use"]:
        use(path)
    recipe = from_dict(job["recipe"])
    phase, classes = recipe.phases[job["phase"]], job["classes"]
    if recipe.determinism == "exact":
        tf.config.experimental.enable_op_determinism()
    batch = 0
    try:
        model = build_model(dataclasses.replace(recipe.model, weights="none"), classes)
        Freezer(model).apply(phase)
        trainer = trainer_of(model, recipe, phase)
        compile_trainer(trainer, recipe, phase, make_schedule(phase, STEPS))
        there = [*model.variables, *trainer.optimizer.variables, *trainer.metrics_variables]
        variables = {id(variable): variable for variable in there}.values()
        steps = []
        for batch in job["batches"]:
            pair = _photos(trainer, batch, classes)
            step = functools.partial(_step, trainer, pair)
            step()  # traced, and all that it keeps is there
            taken = measure(step, variables, job["device"])
            steps.append({"batch": batch, "requested": taken.requested, "in_use": taken.in_use})
    except (tf.errors.ResourceExhaustedError, MemoryError):
        return {"failed": "out of memory", "batch": batch}
    return {"steps": steps}


def _step(trainer: keras.Model, pair: tuple[np.ndarray, np.ndarray]) -> None:
    trainer.train_function(iter([pair]))


def _photos(trainer: keras.Model, batch: int, classes: int) -> tuple[np.ndarray, np.ndarray]:
    """Random photos, or features, as loaders give them, and labels."""
    random = np.random.default_rng(0)
    shape = (batch, *trainer.input_shape[1:])
    if len(shape) == 4:
        given = random.integers(0, 256, shape, np.uint8)
    else:
        given = random.random(shape, np.float32).astype(trainer.input.dtype)
    labels = np.eye(classes, dtype=np.float32)[random.integers(0, classes, batch)]
    return given, labels


if __name__ == "__main__":
    given = json.load(sys.stdin)
    print(json.dumps(run(given)))
