"""Experiments as tests have them: runs that come to what a test says, and real ones that die."""

from __future__ import annotations

import collections
import dataclasses
import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import psutil
from conftest import make_recipe

from carlib.experiments import Arm, Experiment
from carlib.experiments.folder import Result
from carlib.experiments.launch import Job
from carlib.runfolder import RunFolder
from carlib.spec import Recipe, from_dict, with_settings
from carlib.submission import Epochs

PHOTOS = tuple(f"{number}.jpg" for number in range(120))


def make_experiment(*arms: str, **options: Any) -> Experiment:
    """A base and arms of other learning rates: their names are the rates."""
    base = dataclasses.replace(make_recipe(), validation_share=0.5)
    changed = [
        Arm(name, with_settings(base, [f"phases.all.lr={name}"]), (f"phases.all.lr={name}",))
        for name in arms
    ]
    return Experiment("Rates", Arm("base", base), tuple(changed), **options)


def rate(recipe: Recipe) -> str:
    return f"{recipe.phases[-1].lr:g}"


def result_for(recipe: Recipe, share: float, hours: float = 0.5, photos: str = "photos") -> Result:
    """A run of two epochs that has a share of the photos right, by its seed and fold."""
    chance = random.Random(f"{recipe.seed} {recipe.fold}")
    ids = [name for place, name in enumerate(PHOTOS) if not recipe.folds or _of(recipe, place)]
    order = chance.sample(range(len(ids)), len(ids))
    right = np.array([place < share * len(ids) for place in order])
    labels = (0,) * len(ids)
    epochs = Epochs(tuple(ids), ("a", "b"), labels, np.stack([np.zeros_like(right), right]))
    return Result(recipe.with_probe().digest(), photos, epochs, hours, 1)


def _of(recipe: Recipe, place: int) -> bool:
    return place % recipe.folds == recipe.fold


@dataclass
class Pretended:
    """A run that ends at the ``looks``-th look at it."""

    end: Callable[[], int]
    looks: int = 1
    asked: list[str] = field(default_factory=list)

    def poll(self) -> int | None:
        self.looks -= 1
        return None if self.looks >= 0 and not self.asked else self.end()

    def stop(self) -> None:
        self.asked.append("stop")

    def kill(self) -> None:
        self.asked.append("kill")


@dataclass
class Pretend:
    """A launcher whose runs come to what ``outcomes`` says of their learning rate.

    Args:
        outcomes: A share of right answers; or an exit code and the last line of the log.
        at_once: As in Launcher.
        hours: Of each run.
        photos: Digest of the photos.
    """

    outcomes: dict[str, float | tuple[int, str]]
    at_once: int = 1
    hours: float = 0.5
    photos: str = "photos"
    looks: int = 1
    begun: list[Recipe] = field(default_factory=list)
    jobs: list[Job] = field(default_factory=list)
    runs: list[Pretended] = field(default_factory=list)
    slots: list[int] = field(default_factory=list)
    closed: int = 0

    def start(self, job: Job, slot: int) -> Pretended:
        recipe, run = from_dict(job["recipe"]), Path(job["run"])
        run.mkdir(parents=True, exist_ok=True)
        self.begun.append(recipe)
        self.jobs.append(job)
        self.slots.append(slot)

        def end() -> int:
            outcome = self.outcomes[rate(recipe)]
            if isinstance(outcome, tuple):
                code, words = outcome
                (run / "log.txt").write_text(f"a step\ncarlib: {words}\n")
                return code
            found = result_for(recipe, outcome, self.hours, self.photos)
            found.save(run / "trial.json")
            seconds = round(3600 * self.hours)
            RunFolder(run).sessions.write_text(f"number,seconds\n1,{seconds}\n")
            return 0

        self.runs.append(Pretended(end, self.looks))
        return self.runs[-1]

    def close(self) -> None:
        self.closed += 1

    @property
    def order(self) -> list[tuple[str, int]]:
        """Rates and seeds, as they were begun."""
        return [(rate(recipe), recipe.seed) for recipe in self.begun]


def begin(plan: Path, photos: Path, out: Path, *more: str) -> subprocess.Popen[str]:
    """Start ``carlib experiment run`` as a process of its own."""
    command = [sys.executable, "-m", "carlib", "experiment", "run", "--plan", str(plan)]
    return subprocess.Popen(
        [*command, "--data", str(photos), "--out", str(out), *more],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
    )


def killed_at_random(
    plan: Path, photos: Path, out: Path, *, times: int, chance: random.Random, longest: float
) -> collections.Counter[str]:
    """Kill (-9) an experiment, or the run that it has under way, again and again; then let it end.

    Returns:
        How often which of the two was killed.
    """
    killed: collections.Counter[str] = collections.Counter()
    while True:
        process = begin(plan, photos, out)
        if killed.total() < times:
            time.sleep(chance.uniform(0.5, longest))
            victim = _victim(process.pid, chance)
            if victim is not None:
                killed["experiment" if victim == process.pid else "run"] += 1
                os.kill(victim, signal.SIGKILL)
        said, _ = process.communicate(timeout=900)
        if process.returncode == 0 and killed.total() >= times:
            return killed
        # A run that was killed failed, for this session; one after the last kill must not.
        assert process.returncode in (-signal.SIGKILL, 0, 1), said


def _victim(pid: int, chance: random.Random) -> int | None:
    """The experiment, or a run of it that is under way; None where it has ended."""
    try:
        whole = psutil.Process(pid)
        if whole.status() == psutil.STATUS_ZOMBIE:
            return None
        runs = [each.pid for each in whole.children() if each.status() != psutil.STATUS_ZOMBIE]
        return chance.choice([pid, *runs])
    except psutil.Error:
        return None


def told(out: Path) -> pd.DataFrame:
    """An experiment's table without what a clock measured."""
    return pd.read_csv(out / "table.csv").drop(columns=["hours", "accuracy_per_hour"])
