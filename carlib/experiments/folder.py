"""Where an experiment's runs lie, and what each of them came to.

OUT/runs/<recipe>-<digest>/<seed>-<fold>/    a run folder; log.txt beside its tables
OUT/runs/.../trial.json                      what it came to, once it is done
OUT/runs/.../failed.json                     why it failed
OUT/table.md, table.csv, table.html, table.png
"""

from __future__ import annotations

import dataclasses
import re
import shutil
from collections.abc import Iterable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from carlib.errors import RunError
from carlib.experiments.noun import Trial
from carlib.runfolder import RunFolder, read_json, read_table, write_json
from carlib.submission import Epochs, read_epochs


@dataclass(frozen=True, slots=True, eq=False)
class Result:
    """What a run came to.

    Args:
        recipe_digest: Of what was trained.
        catalog_digest: Of all photos.
        epochs: Which validation photos each epoch had right.
        hours: That it took, over all sessions.
        sessions: How many those were.
    """

    recipe_digest: str
    catalog_digest: str
    epochs: Epochs
    hours: float
    sessions: int

    def save(self, path: Path) -> None:
        """Write all of it, whole or not at all."""
        said = {
            "recipe_digest": self.recipe_digest,
            "catalog_digest": self.catalog_digest,
            "hours": self.hours,
            "sessions": self.sessions,
            "classes": list(self.epochs.classes),
            "photos": list(self.epochs.ids),
            "labels": list(self.epochs.labels),
            "correct": [np.packbits(row).tobytes().hex() for row in self.epochs.correct],
        }
        write_json(path, said)

    @classmethod
    def load(cls, path: Path) -> Result:
        """Read what ``save`` wrote.

        Raises:
            RunError: Missing or damaged.
        """
        said = read_json(path)
        try:
            photos = tuple(said["photos"])
            rows = [_bits(row, len(photos)) for row in said["correct"]]
            if not rows:
                raise ValueError("no epochs")
            correct = np.array(rows, bool)
            epochs = Epochs(photos, tuple(said["classes"]), tuple(said["labels"]), correct)
            digests = said["recipe_digest"], said["catalog_digest"]
            return cls(*digests, epochs, float(said["hours"]), int(said["sessions"]))
        except Exception as error:  # whatever a damaged file makes of it
            raise RunError(
                f"{path} is damaged ({error}); delete it, and the run is trained again"
            ) from error


def _bits(row: str, photos: int) -> np.ndarray:
    packed = np.frombuffer(bytes.fromhex(row), np.uint8)
    # unpackbits would make up what is missing.
    if not photos or len(packed) != -(-photos // 8):
        raise ValueError(f"{len(packed)} bytes for {photos} photos")
    return np.unpackbits(packed, count=photos)


@dataclass(frozen=True, slots=True)
class ExperimentFolder:
    """Paths of one experiment.

    Args:
        root: The folder given as ``--out``.
    """

    root: Path

    def run(self, trial: Trial) -> Path:
        """Return the run folder of a trial: by its recipe, whatever plan or arm asks for it."""
        recipe = dataclasses.replace(trial.recipe, seed=0, fold=0)
        words = re.sub(r"[^A-Za-z0-9.]+", "-", recipe.name).strip("-.")[:40]
        name = f"{words}-{recipe.digest()[:12]}".lstrip("-")
        return self.root / "runs" / name / f"{trial.seed}-{trial.fold}"

    def result(self, trial: Trial) -> Path:
        """Return where a trial's result lies, once it is done."""
        return self.run(trial) / "trial.json"

    def failure(self, trial: Trial) -> Path:
        """Return where it says why a trial failed."""
        return self.run(trial) / "failed.json"

    def results(self, trials: Iterable[Trial]) -> dict[Trial, Result]:
        """Return the results that there are.

        Raises:
            RunError: One that is damaged, of another recipe, or of other photos than the rest.
        """
        found: dict[Trial, Result] = {}
        for trial in trials:
            path = self.result(trial)
            if not path.is_file():
                continue
            result = found[trial] = Result.load(path)
            if result.recipe_digest != trial.recipe.with_probe().digest():
                raise RunError(f"{path} is of another recipe; delete it, or choose another --out")
            first = next(iter(found.values()))
            if result.catalog_digest != first.catalog_digest:
                raise RunError(
                    f"{path} is of other photos than the runs before: they cannot be compared; "
                    "delete runs of the one or the other, or choose another --out"
                )
        return found

    def failures(self, trials: Iterable[Trial]) -> dict[Trial, str]:
        """Return why trials failed that did, and have no result."""
        found = {}
        for trial in trials:
            if self.failure(trial).is_file() and not self.result(trial).is_file():
                found[trial] = "of an unknown cause"
                with suppress(RunError, KeyError, TypeError):
                    found[trial] = str(read_json(self.failure(trial))["why"])
        return found

    def hours(self, trials: Iterable[Trial]) -> float:
        """Return the hours that runs took so far, unfinished ones too; each once."""
        return sum(map(hours_of, {self.run(trial) for trial in trials}))


def hours_of(run: Path) -> float:
    """Return the hours that a run took so far, over its sessions; 0 where it has none."""
    with suppress(RunError, OSError, ValueError, KeyError):
        rows = read_table(RunFolder(run).sessions)
        return sum(float(row["seconds"]) for row in rows) / 3600
    return 0.0


def result_of(run: Path, recipe_digest: str) -> Result:
    """Return what a finished run came to, from its own tables.

    Args:
        run: The run folder.
        recipe_digest: Of what it trained.

    Raises:
        RunError: It is not finished.
        DataError: It keeps nothing of its epochs.
    """
    folder = RunFolder(run)
    said = read_json(folder.result)
    if not said["done"]:
        raise RunError(f"{run} is not finished")
    sessions = len(read_table(folder.sessions))
    epochs = read_epochs(folder.epochs)
    return Result(recipe_digest, said["catalog_digest"], epochs, hours_of(run), sessions)


def drop_weights(run: Path) -> None:
    """Remove what only a run that goes on needs: its chain, features and models."""
    for name in ("chain", "features", "best", "predictions"):
        shutil.rmtree(run / name, ignore_errors=True)
