"""The tables of a report: phases, classes, sessions."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from carlib.report.facts import Facts, Score, waiting_share
from carlib.style.text import number, percent
from carlib.submission import Predictions

SHARES = ("layers", "parameters", "compute")


def confusion_counts(predictions: Predictions) -> NDArray[Any]:
    """Return the confusion matrix, shape (C, C): a row a true class."""
    counts = np.zeros((len(predictions.classes),) * 2, int)
    np.add.at(counts, (np.array(predictions.labels), predictions.probabilities.argmax(axis=1)), 1)
    return counts


def classes(predictions: Predictions | None) -> list[dict[str, Any]]:
    """Return a row a class, lowest recall first, classes without photos last."""
    if predictions is None:
        return []
    counts = confusion_counts(predictions)
    rows = []
    for at, name in enumerate(predictions.classes):
        total, right = int(counts[at].sum()), int(counts[at, at])
        wrong = counts[at].copy()
        wrong[at] = 0
        rows.append(
            {
                "number": at,
                "name": name,
                "score": Score(right, total) if total else None,
                "taken_for": predictions.classes[int(wrong.argmax())] if wrong.any() else "",
                "times": int(wrong.max()),
            }
        )
    return sorted(rows, key=lambda row: row["score"].share if row["score"] else 2.0)


def phases(facts: Facts) -> Iterator[dict[str, Any]]:
    """Yield a row a phase: what result.json says of it, and what its epochs came to."""
    for phase in facts.result["phases"]:
        name = str(phase.get("name", ""))
        history = facts.history[facts.history["phase"] == name]
        timings = facts.timings[facts.timings["phase"] == name]
        accuracy = history["val_accuracy"]
        accuracy = accuracy[np.isfinite(accuracy)]
        seconds, validation = (
            float(timings[key].sum()) if len(timings) else math.nan
            for key in ("seconds", "validation_seconds")
        )
        spent = {
            "training": seconds,
            "validation": validation,
            "features": float(phase.get("feature_seconds") or math.nan),
        }
        trains = phase.get("trains", "")
        yield {
            "name": name,
            "said": phase,
            "trains": trains if isinstance(trains, str) else f"top {percent(trains, 0)}",
            "shares": _shares(phase),
            "more": list(_more(phase, facts.size)),
            "done": len(history),
            "seconds": seconds,
            "epoch_seconds": seconds / len(timings) if len(timings) else math.nan,
            "seconds_of": {key: value for key, value in spent.items() if math.isfinite(value)},
            "waiting": waiting_share(timings),
            "accuracy": float(accuracy.max()) if len(accuracy) else None,
            "at": int(history.loc[accuracy.idxmax(), "epoch"]) if len(accuracy) else None,
        }


def _shares(phase: Mapping[str, Any]) -> dict[str, float]:
    """Return what share of layers, parameters and compute trains, as far as it is said."""
    shares = {}
    for kind in SHARES:
        part, whole = phase.get(f"trainable_{kind}"), phase.get(kind)
        if part is not None and whole:
            shares[kind] = part / whole
    return shares


def _more(phase: Mapping[str, Any], size: int | None) -> Iterator[str]:
    """Yield what a phase has switched on, a few words each."""
    if phase.get("size") and phase["size"] != size:
        yield f"photos {phase['size']} px" + (f", not {size}" if size else "")
    fitted = phase.get("fitted")
    if fitted and fitted["batch_size"] != phase.get("batch_size"):
        steps = fitted["accumulate"]
        yield f"trained {fitted['batch_size']} photos a step, {steps} steps an update"
    if phase.get("clean_share"):
        yield f"{percent(phase['clean_share'], 0)} of photos clean"
    for key in ("erasing", "mixup", "cutmix"):
        if phase.get(key):
            yield f"{key} {number(phase[key])}"
    if phase.get("ema"):
        yield f"EMA {number(phase['ema'], 6)}"
    if phase.get("views"):
        views = phase["views"]
        yield f"features cached, {views} view{'' if views == 1 else 's'}"
    if phase.get("early_stop"):
        yield f"early stop after {phase['early_stop']}"
    if phase.get("restore_best"):
        yield "best weights restored"


def sessions(facts: Facts) -> dict[str, Any] | None:
    """Return a row a session and their sums; None where no session is known."""
    if not facts.sessions:
        return None
    rows = [
        {"said": sitting, "saving": _share(sitting.saving, sitting.seconds)}
        for sitting in facts.sessions
    ]
    sums = {
        key: sum(getattr(sitting, key) for sitting in facts.sessions)
        for key in ("seconds", "photos", "steps", "saves", "saving")
    }
    return {"rows": rows, "sums": sums, "saving": _share(sums["saving"], sums["seconds"])}


def _share(part: float, whole: float) -> float | None:
    return part / whole if whole > 0 else None
