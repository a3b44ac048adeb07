"""Runs of earlier sessions, from the outputs that a session has as its inputs."""

from __future__ import annotations

import shutil
from collections.abc import Iterable

from carlib.attached import folders_below
from carlib.experiments.folder import ExperimentFolder, hours_of
from carlib.experiments.noun import Trial
from carlib.files import LOCK, whole_folder
from carlib.progress import say
from carlib.session import Session


def fetch(folder: ExperimentFolder, trials: Iterable[Trial], session: Session) -> int:
    """Copy runs that got further than here from a session's inputs, finished ones or not.

    Args:
        folder: Where the experiment goes on.
        trials: Its runs.
        session: On Kaggle, an earlier kernel's output is among its inputs, read-only; a plain
            machine has none.

    Returns:
        How many were copied.
    """
    missing = [trial for trial in trials if not folder.result(trial).is_file()]
    if not missing:
        return 0
    own = folder.root.resolve()
    earlier = [
        ExperimentFolder(root)
        for root in folders_below(session.inputs)
        if (root / "runs").is_dir() and root.resolve() != own
    ]
    copied = 0
    for trial in missing:
        there = [each for each in earlier if each.run(trial).is_dir()]
        if not there:
            continue
        furthest = max(there, key=lambda each: _far(each, trial))
        if _far(furthest, trial) <= _far(folder, trial):
            continue
        with whole_folder(folder.run(trial)) as aside:
            unlocked = shutil.ignore_patterns(LOCK)
            shutil.copytree(furthest.run(trial), aside, ignore=unlocked, dirs_exist_ok=True)
            shutil.rmtree(folder.run(trial), ignore_errors=True)  # what got less far
        copied += 1
    if copied:
        say(f"{copied} runs of earlier sessions taken over from the inputs")
    return copied


def _far(folder: ExperimentFolder, trial: Trial) -> tuple[bool, float]:
    return folder.result(trial).is_file(), hours_of(folder.run(trial))
