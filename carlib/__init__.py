"""carlib trains photo classifiers within rationed GPU hours and never loses one.

    import carlib

    carlib.write_sample("photos")
    recipe = carlib.load_recipe("lite0-quick")
    outcome = carlib.train_model(recipe, carlib.read_catalog("photos"), "run")
    predictions = carlib.predict_photos("run", carlib.read_test("photos"))
    carlib.write_submission(predictions, "submission.csv", "photos/sample-submission.csv")
    carlib.write_report("run")

Nothing heavy is loaded before it is used.
"""

from __future__ import annotations

import importlib
import os
from typing import Any

__version__ = "0.1.0"

# Set before TensorFlow is loaded by anyone: its start-up messages drown a run's own.
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
os.environ.setdefault("KERAS_BACKEND", "tensorflow")

_PUBLIC = {
    "CarlibError": "errors",
    "DataError": "errors",
    "RunError": "errors",
    "UsageError": "errors",
    "ModelSpec": "spec",
    "Phase": "spec",
    "Recipe": "spec",
    "Session": "session",
    "detect_session": "session",
    "Catalog": "catalog",
    "class_weights": "catalog",
    "fold": "catalog",
    "merge": "catalog",
    "read_catalog": "catalog",
    "read_test": "catalog",
    "split": "catalog",
    "write_sample": "sample",
    "load_recipe": "recipes",
    "Predictions": "submission",
    "write_submission": "submission",
    "add_backbone": "models",
    "add_head": "models",
    "add_metric": "metrics",
    "add_preset": "augment",
    "add_schedule": "schedules",
    "build_model": "models.build",
    "Checkpoint": "checkpoints",
    "find_data": "attached",
    "find_recipe": "attached",
    "predict_photos": "predict",
    "Outcome": "train",
    "train_model": "train",
    "Forecast": "memory.noun",
    "estimate_memory": "memory.estimate",
    "Plan": "plan",
    "plan_run": "plan.make",
    "with_epochs_of": "train.final",
    "Experiment": "experiments",
    "read_experiment": "experiments",
    "run_experiment": "experiments",
    "tables_of": "experiments",
    "write_tables": "experiments",
    "write_report": "report",
    "write_handover": "handover",
}

__all__ = ["__version__", *_PUBLIC]


def __getattr__(name: str) -> Any:
    if name in _PUBLIC:
        return getattr(importlib.import_module(f"carlib.{_PUBLIC[name]}"), name)
    raise AttributeError(f"module 'carlib' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted(__all__)
