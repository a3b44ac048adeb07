"""What a run folder says about its run: read, checked, and counted."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from carlib.errors import CarlibError, RunError
from carlib.lineage import Sitting, read_sessions
from carlib.runfolder import LEFT_OUT, TIMINGS, RunFolder, read_json
from carlib.spec import Recipe, from_json, to_toml
from carlib.submission import Predictions
from carlib.watch import watch

if TYPE_CHECKING:
    from pandas import DataFrame

HISTORY = ("phase", "epoch", "lr", "loss", "accuracy", "val_loss", "val_accuracy")
TEXTS = frozenset(("phase", "session", *LEFT_OUT))
NEEDED = {"recipe": str, "classes": list, "photos": dict, "phases": list}  # of result.json
KILLED = "killed"  # of a session that the next one found unclosed
Z95 = 1.959964  # of a normal distribution: 95% lie within so many standard deviations


@dataclass(frozen=True, slots=True)
class Score:
    """A count of right answers, with its 95% Wilson interval.

    Wilson, "Probable inference, the law of succession, and statistical inference",
    JASA 22 (1927): unlike the plain interval it stays within 0..1 and is not empty at
    0 or 100%.

    >>> score = Score(8, 10)
    >>> f"{score.low:.3f} {score.share:.3f} {score.high:.3f}"
    '0.490 0.800 0.943'
    """

    right: float
    photos: int

    @property
    def share(self) -> float:
        return self.right / self.photos

    @property
    def low(self) -> float:
        return max(0.0, self._middle() - self._half())

    @property
    def high(self) -> float:
        return min(1.0, self._middle() + self._half())

    def _middle(self) -> float:
        return (self.right + Z95**2 / 2) / (self.photos + Z95**2)

    def _half(self) -> float:
        spread = self.share * (1 - self.share) * self.photos + Z95**2 / 4
        return Z95 * math.sqrt(spread) / (self.photos + Z95**2)


@dataclass(frozen=True, slots=True)
class Best:
    """The best epoch: its phase, its number over the whole run, its validation figures.

    Args:
        phase: Its name.
        epoch: Counted over the whole run.
        accuracy: Share, 0..1; like all figures NaN where not known.
        macro_f1: Mean F1 of the classes, 0..1.
        log_loss: Without label smoothing and class weights.
        monitored: Value of the metric that it was chosen by.
    """

    phase: str
    epoch: int
    accuracy: float
    macro_f1: float = math.nan
    log_loss: float = math.nan
    monitored: float = math.nan


@dataclass(frozen=True, slots=True, eq=False)
class Facts:
    """Everything the page shows of a run.

    Args:
        result: Content of result.json.
        history: A row an epoch, columns HISTORY, and of lr_start and other val_* what there is.
        timings: A row an epoch, columns of runfolder.TIMINGS; no rows when missing.
        sessions: As they were written down; none when missing.
        left_out: A row a photo left out, all columns as text.
        predictions: Of the validation photos, with labels; None when missing.
        recipe: The recipe as TOML; "" when missing.
        size: Side of the photos that the network sees, in px; None when not known.
        missing: A sentence for each thing that is not there.
    """

    result: Mapping[str, Any]
    history: DataFrame
    timings: DataFrame
    sessions: tuple[Sitting, ...]
    left_out: DataFrame
    predictions: Predictions | None
    recipe: str
    size: int | None = None
    missing: list[str] = field(default_factory=list)

    def best(self) -> Best | None:
        """Return the best epoch as result.json names it, else as the history shows it."""
        if not self.validated:
            return None
        said = self.result.get("best") or {}
        rows = self.history[self.history["epoch"] == said.get("epoch")]
        monitored = f"val_{self.monitor}"
        if rows.empty:
            by = monitored if monitored in self.history else "val_accuracy"
            column = self.history[by]
            finite = column[np.isfinite(column)]
            if finite.empty:
                return None
            higher = self.result.get("monitor_higher", self.monitor not in ("loss", "log_loss"))
            rows = self.history.loc[[finite.idxmax() if higher else finite.idxmin()]]
        row = rows.iloc[0]
        names = ("val_accuracy", "val_macro_f1", "val_log_loss", monitored)
        figures = (float(row.get(name, math.nan)) for name in names)
        return Best(str(row["phase"]), int(row["epoch"]), *figures)

    def score(self) -> Score | None:
        """Return the validation score: of the predictions, else of the best epoch's row."""
        if self.predictions is not None:
            photos = len(self.predictions.ids)
            return Score(round(self.predictions.accuracy() * photos), photos)
        best, photos = self.best(), self.validation_photos()
        if best is None or not math.isfinite(best.accuracy) or photos < 1:
            return None
        return Score(min(max(best.accuracy, 0.0), 1.0) * photos, photos)

    @property
    def monitor(self) -> str:
        return str(self.result.get("monitor") or "accuracy")

    @property
    def validated(self) -> bool:
        """Whether photos were kept for validation; if not, no score is known."""
        known = np.isfinite(self.history[["val_loss", "val_accuracy"]].to_numpy())
        return self.validation_photos() > 0 or self.predictions is not None or bool(known.any())

    def validation_photos(self) -> int:
        return int(self.result["photos"].get("validation") or 0)

    def left_out_count(self) -> int:
        return max(len(self.left_out), int(self.result["photos"].get("left_out") or 0))

    def hours(self) -> float | None:
        """Return the hours of all sessions; of all epochs where no session is known."""
        if self.sessions:
            return sum(sitting.seconds for sitting in self.sessions) / 3600
        if self.timings.empty:
            return None
        return float(np.nansum(self.timings[["seconds", "validation_seconds"]].to_numpy())) / 3600

    def session_starts(self) -> list[tuple[str, int]]:
        """Return each session, a killed one named so, with the first epoch it finished."""
        killed = {str(sitting.number) for sitting in self.sessions if sitting.why == KILLED}
        firsts: dict[str, int] = {}
        for session, epoch in zip(self.timings["session"], self.timings["epoch"], strict=True):
            name = f"{session} (killed)" if session in killed else str(session)
            if math.isfinite(epoch):
                firsts.setdefault(name, int(epoch))
        return list(firsts.items())


def read_facts(root: Path) -> Facts:
    """Read the run folder ``root``.

    Raises:
        RunError: No result.json or history.csv, or one of the files is damaged.
    """
    run = RunFolder(root)
    result = read_json(run.result)
    said = result if isinstance(result, dict) else {}
    lacking = [key for key, kind in NEEDED.items() if not isinstance(said.get(key), kind)]
    if lacking:
        raise RunError(f"{run.result} lacks {', '.join(lacking)}: is {root} a carlib run?")
    if not run.history.is_file():
        raise RunError(f"{run.history} is not there: train the run, then report on it")
    missing: list[str] = []
    history = _table(run.history, HISTORY, more=True)
    history = history[np.isfinite(history["epoch"])].reset_index(drop=True)
    if history.empty:
        missing.append("No epoch is finished yet, so there are no curves.")
    for path, what in ((run.timings, "times"), (run.sessions, "sessions")):
        if not path.is_file():
            missing.append(f"{path.name} is not there, so {what} are not known.")
    predictions = _predictions(run.predictions("validation"), missing)
    recipe = _recipe(run.recipe, missing)
    facts = Facts(
        result=result,
        history=history,
        timings=_table(run.timings, TIMINGS),
        sessions=read_sessions(run.sessions),
        left_out=_table(run.left_out, LEFT_OUT),
        predictions=predictions,
        recipe=to_toml(recipe) if recipe else "",
        size=recipe.model.size if recipe else None,
        missing=missing,
    )
    if not run.predictions("validation").is_file():
        why = "There are no validation predictions" if said.get("done") else "The run is not done"
        if not facts.validated:
            why = "No photos were kept for validation"
        missing.append(
            f"{why}, so the confusion matrix, the recall of classes, the confused and the worst "
            "photos are left out."
        )
    return facts


def _table(path: Path, columns: Sequence[str], more: bool = False) -> DataFrame:
    """Return the table in ``path``: texts as written, so that a class "007" stays one.

    With ``more``, what newer runs add to a history comes too.
    """
    import pandas as pd

    if path.is_file():
        try:
            table = pd.read_csv(path, dtype=str, keep_default_na=False, encoding="utf-8")
        except ValueError as error:  # pandas' parser errors and bad UTF-8 are ValueErrors
            raise RunError(f"{path} cannot be read as CSV: {error}") from error
        absent = [name for name in columns if name not in table.columns]
        if absent:
            raise RunError(f"{path} lacks the columns {', '.join(absent)}; is it carlib's?")
        added = [name for name in table.columns if name == "lr_start" or name.startswith("val_")]
        columns = [*columns, *(name for name in added if more and name not in columns)]
        table = table[columns].fillna("")
    else:
        table = pd.DataFrame({name: pd.Series(dtype=str) for name in columns})
    for name in columns:
        if name not in TEXTS:
            table[name] = pd.to_numeric(table[name], errors="coerce").astype(float)
    return table


def _predictions(path: Path, missing: list[str]) -> Predictions | None:
    if not path.is_file():
        return None
    try:
        predictions = Predictions.load(path)
    except CarlibError as error:
        missing.append(f"The validation predictions cannot be read: {error}")
        return None
    if not predictions.labels:
        missing.append("The validation predictions have no labels, so they are left out.")
        return None
    return predictions


def _recipe(path: Path, missing: list[str]) -> Recipe | None:
    try:
        return from_json(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        missing.append(f"The recipe is left out: {path.name} is not there.")
        return None
    except (OSError, ValueError, CarlibError) as error:
        missing.append(f"The recipe is left out: {path.name} cannot be read ({error}).")
        return None


def warnings(facts: Facts) -> list[str]:
    """Return what a reader must know before the figures, a sentence or two each."""
    rows: list[dict[str, Any]] = facts.history.to_dict("records")  # type: ignore[assignment]
    found = (
        *watch(rows, len(facts.result["classes"]), facts.validation_photos()),
        _guessing(facts),
        _waiting(facts),
        _left_out(facts),
        _other_checkpoint(facts),
    )
    return [sentence for sentence in found if sentence]


def _guessing(facts: Facts) -> str:
    """Judge what a run came to, where a warning in its course would have been too early."""
    score, classes = facts.score(), len(facts.result["classes"])
    if not facts.result.get("done") or score is None or classes < 2 or score.low > 1 / classes:
        return ""
    return (
        f"The score cannot be told from guessing: among {classes} classes that gives "
        f"{1 / classes:.1%}, and the interval of the score begins at {score.low:.1%}. Train "
        "longer, or check labels and weights."
    )


def _waiting(facts: Facts) -> str:
    share = waiting_share(facts.timings)
    if share is None or share <= 0.2:
        return ""
    return (
        f"{share:.0%} of the training time went into waiting for photos: use more loader "
        "workers, the decoded-photo cache or a cheaper augmentation."
    )


def waiting_share(timings: DataFrame) -> float | None:
    """Return the share of training seconds spent waiting for photos; None if unknown."""
    seconds, wait = float(timings["seconds"].sum()), float(timings["wait"].sum())
    return wait / seconds if seconds > 0 and math.isfinite(wait / seconds) else None


def _left_out(facts: Facts) -> str:
    count = facts.left_out_count()
    if not count:
        return ""
    return (
        f"{count:,} {'photo was' if count == 1 else 'photos were'} left out as unusable; "
        "the reasons are below."
    )


def _other_checkpoint(facts: Facts) -> str:
    best, score = facts.best(), facts.score()
    if facts.predictions is None or best is None or score is None:
        return ""
    # Sums of another order may turn a photo that hangs in the balance; more is no rounding.
    allowed = max(1.5 / score.photos, 0.005)
    if not abs(best.accuracy - score.share) > allowed:
        return ""
    return (
        f"The validation predictions ({score.share:.1%}) do not belong to the best epoch "
        f"({best.accuracy:.1%} in the history): they are of another checkpoint."
    )
