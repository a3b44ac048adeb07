"""The run folder: which file lies where, and its small tables.

run/recipe.json            the resolved recipe
run/chain/                 checkpoints, and LAST
run/best/model.keras       best epoch on the monitored validation metric, with model.json
run/history.csv            a row an epoch; nothing that differs between equal runs
run/timings.csv            a row an epoch: seconds, wait for photos, session
run/sessions.csv           a row a session: when, where, how far, why it stopped, hours and photos
run/left-out.csv           photos that could not be used, and why
run/predictions/*.npz      Predictions; epochs.npz: which validation photos each epoch had right
run/report.html, run/plots/*.png, run/result.json
"""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from carlib.errors import RunError
from carlib.files import sha256, write_whole

Row = dict[str, Any]

TIMINGS = ("phase", "epoch", "session", "seconds", "wait", "validation_seconds", "photos")
SESSIONS = (
    "session",
    "start",
    "stop",
    "seconds",
    "why",
    "where",
    "device",
    "parent",
    "phase",
    "epoch",
    "value",
    "photos",
    "steps",
    "saves",
    "saving",
    "total_hours",
    "total_photos",
    "versions",
)
LEFT_OUT = ("id", "path", "reason")
# Texts even where they are all digits: a phase may be called "1", a photo "007".
_TEXTS = {"phase", "start", "stop", "why", "where", "device", "parent", "versions", *LEFT_OUT}


@dataclass(frozen=True, slots=True)
class RunFolder:
    """Paths of one run.

    >>> RunFolder(Path("run")).model.as_posix()
    'run/best/model.keras'
    """

    root: Path

    @property
    def recipe(self) -> Path:
        return self.root / "recipe.json"

    @property
    def chain(self) -> Path:
        return self.root / "chain"

    @property
    def model(self) -> Path:
        return self.root / "best" / "model.keras"

    @property
    def model_card(self) -> Path:
        """Class names, photo size, resize policy: what is needed beside model.keras."""
        return self.root / "best" / "model.json"

    @property
    def history(self) -> Path:
        return self.root / "history.csv"

    @property
    def timings(self) -> Path:
        return self.root / "timings.csv"

    @property
    def sessions(self) -> Path:
        return self.root / "sessions.csv"

    @property
    def left_out(self) -> Path:
        return self.root / "left-out.csv"

    @property
    def features(self) -> Path:
        """Cached features of the phase under way; gone once it is done."""
        return self.root / "features"

    @property
    def report(self) -> Path:
        return self.root / "report.html"

    @property
    def plots(self) -> Path:
        return self.root / "plots"

    @property
    def result(self) -> Path:
        return self.root / "result.json"

    @property
    def epochs(self) -> Path:
        """Which validation photos each epoch had right."""
        return self.root / "predictions" / "epochs.npz"

    def predictions(self, name: str) -> Path:
        """File of the predictions called ``name`` ("validation", "test")."""
        return self.root / "predictions" / f"{name}.npz"


def is_exported(folder: RunFolder, recipe_digest: str, catalog_digest: str, best: Any) -> bool:
    """Say whether best/ holds the model of a run's best epoch, whole.

    Args:
        folder: The run.
        recipe_digest: Of the run.
        catalog_digest: Of the run.
        best: phase, epoch and value of the best epoch.
    """
    try:
        card = read_json(folder.model_card)
        whole = card["sha256"] == sha256(folder.model)
        said = [card[key] for key in ("recipe_digest", "catalog_digest", "phase", "epoch", "value")]
    except (RunError, OSError, KeyError, TypeError):
        return False
    digests = recipe_digest, catalog_digest
    return bool(whole and said == [*digests, best["phase"], best["epoch"], best["value"]])


def write_table(path: Path, rows: Iterable[Mapping[str, Any]], columns: Sequence[str]) -> None:
    """Write rows as CSV, whole or not at all; floats so that they read back exactly."""
    text = io.StringIO()
    writer = csv.DictWriter(text, fieldnames=columns, lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    write_whole(path, text.getvalue())


def read_table(path: Path) -> list[Row]:
    """Return the rows of a table, its numbers as int or float; [] when there is no such file.

    Raises:
        RunError: Damaged.

    >>> import tempfile
    >>> path = Path(tempfile.mkdtemp()) / "t.csv"
    >>> write_table(path, [{"phase": "head", "lr": 0.1}], ("phase", "lr"))
    >>> read_table(path)
    [{'phase': 'head', 'lr': 0.1}]
    """
    if not path.is_file():
        return []
    try:
        with open(path, newline="", encoding="utf-8") as file:
            rows = list(csv.DictReader(file))
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise RunError(f"{path} cannot be read: {error}") from error
    # None is DictReader's mark of values too many, and of values too few.
    if any(None in row or None in row.values() for row in rows):
        raise RunError(f"{path} is damaged: a row does not fit the header")
    return [
        {key: text if key in _TEXTS else _number(text) for key, text in row.items()} for row in rows
    ]


def _number(text: str) -> Any:
    for kind in (int, float):
        try:
            return kind(text)
        except ValueError:
            continue
    return text


def write_json(path: Path, content: Any) -> None:
    """Write ``content`` as indented JSON, whole or not at all."""
    write_whole(path, json.dumps(content, indent=2) + "\n")


def read_json(path: Path) -> Any:
    """Read a JSON file of a run.

    Raises:
        RunError: Missing or damaged.
    """
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise RunError(f"{path} is not there: is {path.parent} a finished carlib run?") from None
    except (OSError, ValueError) as error:
        raise RunError(f"{path} cannot be read: {error}") from error
