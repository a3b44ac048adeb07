"""The final fit on all photos: an earlier run says for how many epochs."""

from __future__ import annotations

import dataclasses
from pathlib import Path

from carlib.errors import RunError, UsageError, suggestion
from carlib.runfolder import RunFolder, read_json, read_table
from carlib.spec import Recipe


def with_epochs_of(recipe: Recipe, run: Path | str) -> Recipe:
    """Return a recipe whose phases last as long as an earlier run's did, up to its best epoch.

    A final fit on all photos has no validation to stop by; the epochs that were best with one
    are what is known. So shares of photos, folds, early stopping and ``restore_best`` go; phases
    after the best epoch are dropped, and those the run never came to. A phase before the best
    epoch's counts whole, what its early stop waited included.

    Args:
        recipe: As the run's was, with all its settings: phases of the same names, a linear probe
            included.
        run: A finished run folder, with validation.

    Raises:
        RunError: No such run, one that is not done, or one without validation.
        UsageError: A phase of the run that the recipe lacks.

    >>> with_epochs_of(None, "nowhere")
    Traceback (most recent call last):
    carlib.errors.RunError: nowhere/result.json is not there: is nowhere a finished carlib run?
    """
    folder = RunFolder(Path(run))
    result = read_json(folder.result)
    best = result.get("best")
    if not result.get("done") or not best:
        raise RunError(
            f"{run} is not done, so its best epoch is not known; run its carlib train again first"
        )
    if best["value"] is None:
        raise RunError(
            f"{run} had no validation, so its best epoch is not known; give one that had"
        )
    epochs: dict[str, int] = {}
    for row in read_table(folder.history):
        if row["epoch"] <= best["epoch"]:
            epochs[row["phase"]] = epochs.get(row["phase"], 0) + 1
    expanded = recipe.with_probe()
    phases = {phase.name: phase for phase in expanded.phases}
    for name in epochs:
        if name not in phases:
            raise UsageError(
                f"{run} has a phase {name!r} that recipe {recipe.name!r} has not"
                f"{suggestion(name, phases)}"
            )
    kept = [
        dataclasses.replace(
            phase,
            epochs=epochs[name],
            warmup=min(phase.warmup, epochs[name]),
            early_stop=0,
            restore_best=False,
        )
        for name, phase in phases.items()
        if name in epochs
    ]
    return dataclasses.replace(
        expanded,
        phases=tuple(kept),
        validation_share=0.0,
        folds=0,
        fold=0,
        training_share=1.0,
    )
