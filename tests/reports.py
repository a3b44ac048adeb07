"""Run folders for the tests of the report, and a reader of its page."""

from __future__ import annotations

import math
import re
from dataclasses import dataclass, field
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from carlib.catalog import Catalog
from carlib.report.facts import HISTORY
from carlib.runfolder import LEFT_OUT, SESSIONS, TIMINGS, RunFolder, write_json, write_table
from carlib.spec import ModelSpec, Phase, Recipe, to_json
from carlib.submission import Predictions


@dataclass
class Run:
    """A run in the making: its tables can be changed before they are written."""

    root: Path
    recipe: Recipe
    result: dict[str, Any]
    history: list[dict[str, Any]]
    timings: list[dict[str, Any]]
    sessions: list[dict[str, Any]]
    predictions: Predictions | None
    left_out: list[dict[str, Any]] = field(default_factory=list)

    def write(self) -> Path:
        folder = RunFolder(self.root)
        columns = [*HISTORY, *(key for row in self.history for key in row if key not in HISTORY)]
        write_table(folder.history, self.history, list(dict.fromkeys(columns)))
        write_table(folder.timings, self.timings, TIMINGS)
        write_table(folder.sessions, self.sessions, SESSIONS)
        if self.left_out:
            write_table(folder.left_out, self.left_out, LEFT_OUT)
        write_json(folder.result, self.result)
        folder.recipe.write_text(to_json(self.recipe), encoding="utf-8")
        if self.predictions is not None:
            self.predictions.save(folder.predictions("validation"))
        return self.root

    def last(self, **values: float) -> None:
        self.history[-1].update(values)

    def recent(self, **values: float) -> None:
        """Change the last two epochs, which is as far back as a warning looks."""
        for row in self.history[-2:]:
            row.update(values)

    def say_more(self) -> None:
        """Add what newer runs write: an lr that warms up, more metrics, more of each phase."""
        for at, row in enumerate(self.history):
            begins = at == 0 or self.history[at - 1]["phase"] != row["phase"]
            row["lr_start"] = row["lr"] / 50 if begins else self.history[at - 1]["lr"]
            row["val_macro_f1"] = row["val_accuracy"] - 0.013
            row["val_log_loss"] = row["val_loss"] - 0.1
            row["val_AUC"] = 0.9 + at / 1000
        for at, phase in enumerate(self.result["phases"]):
            phase.update(
                layers=120,
                trainable_layers=(2, 60, 120)[at],
                compute=4e8,
                trainable_compute=(0, 1e8, 4e8)[at],
                feature_seconds=(83.4, None, None)[at],
                ended=("all epochs", "early stop", "")[at],
                size=(0, 80, 96)[at],
                views=(4, 0, 0)[at],
                ema=(0, 0.9995, 0)[at],
                mixup=(0, 0.2, 0)[at],
                cutmix=(0, 1.0, 0)[at],
                erasing=(0, 0.25, 0)[at],
                clean_share=(0, 0.2, 0)[at],
                early_stop=(0, 3, 0)[at],
                restore_best=at == 1,
                fitted={"batch_size": (32, 16, 32)[at], "accumulate": (1, 2, 1)[at]},
            )
        self.result["monitor_higher"] = True
        self.result["photos"].update(external=120, left_out=3)

    def final_fit(self) -> None:
        """Turn it into a run that kept no photos for validation."""
        for row in self.history:
            row.update({key: "" for key in row if key.startswith("val_")})
        self.predictions = None
        self.result["photos"]["validation"] = 0
        self.result["best"]["value"] = None

    def all_epochs(self, **values: float) -> None:
        for row in self.history:
            row.update(values)


def make_run(
    root: Path,
    epochs: tuple[int, ...] = (3, 2),
    classes: tuple[str, ...] = ("0", "1", "2"),
    ids: tuple[str, ...] = (),
    accuracy: float = 0.8,
    done: bool = True,
    seed: int = 0,
) -> Run:
    """Return a run of ``len(epochs)`` phases in two sessions that ended at ``accuracy``."""
    names = ("head", "upper", "all")
    count = len(classes)
    ids = ids or tuple(f"photo-{number:04d}.jpg" for number in range(20 * count))
    phases = tuple(
        Phase(names[at], length, 1e-2 / 6**at, trains=("head", 0.5, "all")[at], schedule="cosine")
        for at, length in enumerate(epochs)
    )
    recipe = Recipe("lite0-quick", ModelSpec("lite0", 96), phases, description="a quick one")
    predictions = make_predictions(ids, classes, accuracy, seed)
    total = sum(epochs)
    history, timings = [], []
    random = np.random.default_rng([seed, 1])
    for phase in phases:
        for step in range(1, phase.epochs + 1):
            epoch = len(history) + 1
            reached = accuracy * (1 - 0.8 * math.exp(-4 * epoch / total)) / (1 - 0.8 * math.exp(-4))
            reached -= abs(random.normal(0, 0.012)) if epoch < total else 0
            history.append(
                {
                    "phase": phase.name,
                    "epoch": epoch,
                    "lr": phase.lr * 0.5 * (1 + math.cos(math.pi * step / (phase.epochs + 0.3))),
                    "loss": 2.4 * (1 - reached) ** 1.1,
                    "accuracy": min(0.99, reached + 0.01 * epoch / total * 4),
                    "val_loss": 2.3 * (1 - reached) + random.normal(0, 0.02),
                    "val_accuracy": predictions.accuracy() if epoch == total else reached,
                }
            )
            timings.append(
                {
                    "phase": phase.name,
                    "epoch": epoch,
                    "session": 1 + (epoch > (total + 1) // 2),
                    "seconds": 60.0 + random.normal(0, 2) + 90 * (phase.name == "all"),
                    "wait": 3.0,
                    "validation_seconds": 5.0,
                    "photos": 480,
                }
            )
    session = {
        "where": "kaggle-batch, host-1",
        "device": "Tesla T4",
        "photos": 480,
        "steps": 15,
        "saves": 6,
        "saving": 4.5,
        "versions": "keras 3.13.2",
    }
    sessions = [
        {
            "session": 1,
            "start": "2025-03-01T10:00:00+00:00",
            "stop": "2025-03-01T11:00:00+00:00",
            "seconds": 3600.0,
            "why": "the clock",
            "phase": phases[0].name,
            "epoch": (total + 1) // 2,
            "value": history[(total + 1) // 2 - 1]["val_accuracy"],
            "total_hours": 1.0,
            "total_photos": 480,
            **session,
        },
        {
            "session": 2,
            "start": "2025-03-01T12:00:00+00:00",
            "stop": "2025-03-01T12:30:00+00:00",
            "seconds": 1800.0,
            "why": "done",
            "parent": "000007-p0e2s0",
            "phase": phases[-1].name,
            "epoch": total,
            "value": history[-1]["val_accuracy"],
            "total_hours": 1.5,
            "total_photos": 960,
            **session,
        },
    ]
    result = {
        "recipe": recipe.name,
        "recipe_digest": recipe.digest(),
        "catalog_digest": "ab" * 32,
        "done": done,
        "monitor": "accuracy",
        "best": {
            "phase": phases[-1].name,
            "epoch": total,
            "value": history[-1]["val_accuracy"],
        },
        "classes": list(classes),
        "photos": {"training": 4 * len(ids), "validation": len(ids), "left_out": 0},
        "phases": [
            {
                **{
                    key: getattr(phase, key)
                    for key in (
                        "name",
                        "epochs",
                        "lr",
                        "schedule",
                        "warmup",
                        "optimizer",
                        "weight_decay",
                        "batch_size",
                        "augment",
                        "trains",
                        "batchnorm",
                    )
                },
                "parameters": 3_400_000,
                "trainable_parameters": (12_810, 2_700_000, 3_380_000)[at],
                "blocks": 18,
                "trainable_blocks": (0, 9, 18)[at],
                "start_seconds": 14.2,
            }
            for at, phase in enumerate(phases)
        ],
        "versions": {"carlib": "0.1.0", "keras": "3.13.2", "python": "3.12.3"},
    }
    return Run(root, recipe, result, history, timings, sessions, predictions)


def make_predictions(
    ids: tuple[str, ...], classes: tuple[str, ...], accuracy: float, seed: int
) -> Predictions:
    """Return predictions right for ``accuracy`` of the photos; classes take turns."""
    random = np.random.default_rng([seed, 2])
    count = len(classes)
    labels = np.arange(len(ids)) % count
    sure = random.beta(4, 1.5, len(ids)) * (1 - 1.2 / count) + 1.1 / count
    wrong = random.permutation(len(ids)) >= round(accuracy * len(ids))
    aimed = np.where(
        wrong, (labels + random.choice([1, 1, 1, 2, count - 1], len(ids))) % count, labels
    )
    rows = random.dirichlet(np.full(count, 0.8), len(ids)) * (1 - sure[:, None])
    rows[np.arange(len(ids)), aimed] += np.maximum(sure, 0.52)
    rows /= rows.sum(axis=1, keepdims=True)
    return Predictions(ids, classes, rows.astype(np.float32), "a test", tuple(labels.tolist()))


class Page(HTMLParser):
    """A page taken apart: its text, images, links, the texts of the grid; fails on open tags."""

    VOID = frozenset(("meta", "img", "source", "br", "link", "hr", "input"))

    def __init__(self, path: Path):
        super().__init__(convert_charrefs=True)
        self.open: list[str] = []
        self.tags: list[tuple[str, dict[str, str]]] = []
        self.words: list[str] = []
        self.grid: list[str] = []
        self.feed(path.read_text(encoding="utf-8"))
        self.close()
        assert self.open == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, {key: value or "" for key, value in attrs}))
        if tag not in self.VOID:
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        if "style" not in self.open:
            self.words.append(data)
            if "ol" in self.open:
                self.grid.append(data.strip())

    @property
    def text(self) -> str:
        return re.sub(r"\s+([;,.])", r"\1", " ".join(" ".join(self.words).split()))

    def all(self, tag: str) -> list[dict[str, str]]:
        return [attributes for name, attributes in self.tags if name == tag]


def as_catalog(photos: dict[str, str]) -> Catalog:
    return Catalog(tuple(photos), tuple(photos.values()))


def save_photos(folder: Path, ids: tuple[str, ...]) -> dict[str, str]:
    """Write small photos, every second one upright, and return their paths by id."""
    folder.mkdir(parents=True)
    photos = {}
    for number, name in enumerate(ids):
        shape = (30, 47, 3) if number % 2 else (61, 40, 3)
        pixels = np.full(shape, (200, 40, number % 256), np.uint8)
        photos[name] = str(folder / f"{number}.png")
        Image.fromarray(pixels).save(photos[name])
    return photos


def worst_ids(predictions: Predictions, count: int = 24) -> list[str]:
    loss = -np.log(predictions.probabilities[np.arange(len(predictions.ids)), predictions.labels])
    return [predictions.ids[place] for place in np.argsort(-loss, kind="stable")[:count]]
