"""The whole job on the embedded sample set, one simulated session cut included."""

from __future__ import annotations

import csv
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

from carlib.errors import RunError, UsageError
from carlib.progress import say
from carlib.sample import write_sample

RECIPE = "lite0-quick"
STOPPED = 75  # exit code of a session that the clock ended
CUT_AFTER = 40  # steps: inside an epoch of the second phase


def run_demo(out: Path | str) -> dict[str, Any]:
    """Draw photos, train, be cut, resume, predict, score; each step a process of its own.

    Args:
        out: Folder for photos, run and submission.

    Returns:
        "accuracy" on the sample set's test photos, "seconds", and the paths of
        "submission" and "report".

    Raises:
        UsageError: ``out`` holds a finished demo.
        RunError: A step failed; its own message stands above.
    """
    out = Path(out)
    began = time.monotonic()
    if (out / "run" / "result.json").exists() and (out / "submission.csv").exists():
        raise UsageError(f"{out} holds a finished demo; remove it, or choose another --out")
    photos, run, submission = out / "photos", out / "run", out / "submission.csv"
    say(f"1/4 drawing the sample set into {photos}")
    write_sample(photos)
    train = ["train", "--data", str(photos), "--recipe", RECIPE, "--out", str(run)]
    say(f"2/4 training {RECIPE}; the session is cut after {CUT_AFTER} steps")
    _carlib(*train, "--stop-after", str(CUT_AFTER), allowed=(0, STOPPED))
    say("3/4 the next session resumes where the last one stopped")
    _carlib(*train, allowed=(0,))
    say(f"4/4 predicting the test photos into {submission}")
    _carlib(
        "predict", "--run", str(run), "--data", str(photos), "--out", str(submission), allowed=(0,)
    )
    return {
        "accuracy": score(submission, photos / "test-labels.csv"),
        "seconds": round(time.monotonic() - began, 1),
        "submission": str(submission),
        "report": str(run / "report.html"),
    }


def _carlib(*arguments: str, allowed: tuple[int, ...]) -> None:
    say(f"$ carlib {' '.join(arguments)}")
    done = subprocess.run([sys.executable, "-m", "carlib", *arguments], check=False)
    if done.returncode not in allowed:
        raise RunError(f"carlib {arguments[0]} ended with exit code {done.returncode}; see above")


def score(submission: Path | str, truth: Path | str) -> float:
    """Return the share of the truth's rows that the submission has right."""
    answers, labels = (dict(_rows(path)) for path in (submission, truth))
    return sum(answers.get(name) == label for name, label in labels.items()) / len(labels)


def _rows(path: Path | str) -> list[tuple[str, str]]:
    with open(path, newline="", encoding="utf-8") as file:
        return [(row[0], row[1]) for row in list(csv.reader(file))[1:]]
