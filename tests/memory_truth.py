"""The memory of real steps, measured: run as a script, cases as JSON to figures as JSON.

Everything happens in one process of its own, because TensorFlow chooses its allocator when it is
imported.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

HEAD, LOSS = ("pooling", "head_norm", "hidden"), ("loss",)  # options that are not the phase's


def measured(cases):
    """Return [requested, variables], in bytes, of each case's second training step."""
    from carlib.memory.instrument import LIMITED

    child = subprocess.run(
        [sys.executable, str(Path(__file__))],
        input=json.dumps(cases),
        capture_output=True,
        text=True,
        env={**os.environ, **LIMITED},
    )
    assert child.returncode == 0, child.stderr[-2000:]
    return json.loads(child.stdout.splitlines()[-1])


def built(case):
    """Return a case's model, what trains of it, its recipe and phase."""
    from carlib.freeze import Freezer
    from carlib.models.build import build_model
    from carlib.spec import ModelSpec, Phase, Recipe
    from carlib.steps import trainer_of

    backbone, size, dtype, options = case
    model = {name: value for name, value in options.items() if name in HEAD}
    of_recipe = {name: value for name, value in options.items() if name in LOSS}
    options = {k: value for k, value in options.items() if k not in (*model, *of_recipe)}
    phase = Phase("phase", 1, **{"lr": 1e-3, **options})
    recipe = Recipe("case", ModelSpec(backbone, size, dtype=dtype, **model), (phase,), **of_recipe)
    model = build_model(recipe.model, 10)
    Freezer(model).apply(phase)
    return model, trainer_of(model, recipe, phase), recipe, phase


def main():
    import keras
    import numpy as np

    from carlib.memory.instrument import measure
    from carlib.schedules import make_schedule
    from carlib.steps import compile_trainer

    found = []
    for case in json.loads(sys.stdin.read()):
        keras.backend.clear_session()
        model, trainer, recipe, phase = built(case)
        compile_trainer(trainer, recipe, phase, make_schedule(phase, 10))
        given = (phase.batch_size, *trainer.input_shape[1:])
        kind = "uint8" if len(given) == 4 else "float32"
        batch = np.zeros(given, kind), np.eye(10, dtype="float32")[np.arange(phase.batch_size) % 10]
        held = [*model.variables, *trainer.optimizer.variables, *trainer.metrics_variables]

        def step(trainer=trainer, batch=batch):
            trainer.train_function(iter([batch]))

        step()
        truth = measure(step, {id(each): each for each in held}.values(), "CPU:0")
        found.append([truth.requested, truth.variables])
    print(json.dumps(found))


if __name__ == "__main__":
    main()
