"""What a run leaves behind: the best model with its card, the proof of it, result.json."""

from __future__ import annotations

import dataclasses
import logging
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import keras
import numpy as np

from carlib.audit import Fault
from carlib.catalog import Catalog
from carlib.files import sha256, whole_file
from carlib.freeze import Freezer, Trained
from carlib.loader import Loader
from carlib.predict import make_forward, open_model, probabilities
from carlib.progress import say
from carlib.runfolder import LEFT_OUT, RunFolder, write_json, write_table
from carlib.spec import Phase, Recipe
from carlib.submission import Epochs, Predictions
from carlib.train.ledger import Ledger, versions

log = logging.getLogger("carlib")


@dataclass(frozen=True, slots=True)
class Outcome:
    """How a session of training ended.

    Args:
        run: The run folder.
        done: All phases are finished; False: stopped, to be resumed.
        why: "done", or what stopped it: "the clock" or "stop-after".
        best: Phase, epoch and value of the best epoch; None before the first.
        accuracy: Of the best epoch's saved model on validation, once done; None also where
            nothing was kept back for it.
    """

    run: Path
    done: bool
    why: str
    best: dict[str, Any] | None
    accuracy: float | None


@dataclass(frozen=True, slots=True)
class Material:
    """What a run is made of: its recipe, and its photos once split.

    Args:
        recipe: What is trained.
        training: Photos that train.
        validation: Photos that never do.
        left_out: Photos that cannot be read.
        catalog_digest: Over both halves.
        higher: Whether more of the recipe's monitored metric is better.
    """

    recipe: Recipe
    training: Catalog
    validation: Catalog
    left_out: tuple[Fault, ...]
    catalog_digest: str
    higher: bool


def write_left_out(folder: RunFolder, faults: Sequence[Fault]) -> None:
    """Write left-out.csv: photos that cannot be read, and why."""
    write_table(folder.left_out, map(dataclasses.asdict, faults), LEFT_OUT)
    if faults:
        say(f"{len(faults)} photos cannot be read and are left out: {folder.left_out}")


def export_best(
    folder: RunFolder, model: keras.Model, freezer: Freezer, material: Material, best: Any
) -> None:
    """Write the model as it is now to best/, not compiled, with its card beside it."""
    # Not model.inputs, a list: the saved model would want one, and warn at every call.
    plain = keras.Model(model.input, model.output, name=model.name)
    with freezer.as_built(), whole_file(folder.model) as aside:
        plain.save(aside)
    recipe = material.recipe
    counts = np.array(list(material.training.counts().values()), np.float64)
    card = {
        "sha256": sha256(folder.model),
        "recipe": recipe.name,
        "recipe_digest": recipe.digest(),
        "catalog_digest": material.catalog_digest,
        "classes": list(material.training.classes),
        "backbone": recipe.model.backbone,
        "size": recipe.model.size,
        "resize": recipe.model.resize,
        "input": "RGB photos, 0..255, channels last; scaling is inside the model",
        "prior": (counts / counts.sum()).tolist(),
        "phase": best["phase"],
        "epoch": best["epoch"],
        "monitor": recipe.monitor,
        "value": best["value"],
    }
    write_json(folder.model_card, card)


def prove_best(folder: RunFolder, validator: Loader | None, ledger: Ledger) -> float | None:
    """Predict validation with the saved model, opened by plain Keras; return its accuracy.

    The predictions are kept, and beside them which photos each epoch had right. A saved model
    that does not do what the trained one did is named in a warning. Without validation photos it
    is only opened.
    """
    model, card = open_model(folder.root)
    if validator is None:
        return None
    validation = validator.catalog
    predictions = Predictions(
        ids=validation.ids,
        classes=validation.classes,
        probabilities=probabilities(make_forward(model), validator, "checking the saved model"),
        source=f"{card['recipe']}, phase {card['phase']}, epoch {card['epoch']}",
        labels=validation.labels,
    )
    predictions.save(folder.predictions("validation"))
    write_epochs(folder, validation, ledger)
    accuracy = predictions.accuracy()
    (expected,) = (row["val_accuracy"] for row in ledger.history if row["epoch"] == card["epoch"])
    # Another device or batch size may round one photo's tie the other way.
    if abs(accuracy - expected) > 1.5 / len(validation):
        log.warning(
            "the saved model has validation accuracy %.4f, in training it had %.4f: do not trust "
            "it before you know why",
            accuracy,
            expected,
        )
    return accuracy


def write_epochs(folder: RunFolder, validation: Catalog, ledger: Ledger) -> None:
    """Write which validation photos each epoch had right; nothing where that is not known."""
    right = ledger.right(len(validation))
    if right is None:  # an earlier version trained some of them
        folder.epochs.unlink(missing_ok=True)
        return
    labels = validation.labels or ()
    Epochs(validation.ids, validation.classes, labels, right).save(folder.epochs)


def write_result(
    folder: RunFolder,
    material: Material,
    ledger: Ledger,
    trained: Sequence[Trained],
    outcome: Outcome,
) -> None:
    """Write result.json: what the report and other programs want to know of a run."""
    phases = [
        {
            **dataclasses.asdict(phase),
            "blocks": part.of_blocks,
            "trainable_blocks": len(part.blocks),
            "layers": part.layers,
            "trainable_layers": part.trainable_layers,
            "parameters": part.parameters,
            "trainable_parameters": part.trainable_parameters,
            "compute": part.compute,
            "trainable_compute": part.trainable_compute,
            "start_seconds": ledger.starts.get(phase.name),
            "feature_seconds": ledger.features.get(phase.name),
            "ended": ledger.ended.get(phase.name, ""),
            "fitted": _fitted(ledger, phase),
        }
        for phase, part in zip(material.recipe.phases, trained, strict=True)
    ]
    result = {
        "recipe": material.recipe.name,
        "recipe_digest": material.recipe.digest(),
        "catalog_digest": material.catalog_digest,
        "done": outcome.done,
        "monitor": material.recipe.monitor,
        "monitor_higher": material.higher,
        "best": outcome.best,
        "validation_accuracy": outcome.accuracy,
        "classes": list(material.training.classes),
        "photos": {
            "training": len(material.training),
            "validation": len(material.validation),
            "left_out": len(material.left_out),
            "external": sum(map(bool, material.training.origins or ())),
        },
        "phases": phases,
        "versions": versions(),
    }
    write_json(folder.result, result)


def _fitted(ledger: Ledger, phase: Phase) -> dict[str, int] | None:
    """Photos a step and steps an update as they were trained, whatever was asked for."""
    if phase.name not in ledger.fitted:
        return None  # trained by a version that fitted nothing
    trained = ledger.fitted[phase.name].of(phase)
    return {"batch_size": int(trained.batch_size), "accumulate": trained.accumulate}
