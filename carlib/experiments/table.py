"""An experiment's table: a row an arm, what it came to, and what can be said of it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from scipy import stats

from carlib.errors import RunError
from carlib.experiments.estimate import Estimate
from carlib.experiments.folder import ExperimentFolder, Result
from carlib.experiments.judging import marks_of
from carlib.experiments.noun import FULL, PROXY, Arm, Experiment, Trial
from carlib.experiments.order import next_trials
from carlib.experiments.search import round_after
from carlib.experiments.verdict import UNKNOWN, Comparison, Runs, accuracy, compare


class NothingYet(RunError):
    """No run is finished yet."""


@dataclass(frozen=True, slots=True)
class Line:
    """An arm's row.

    Args:
        arm: Its name and changes.
        runs: Finished.
        wanted: Runs that it is to have.
        accuracy: None before the first run.
        comparison: To the base; None of the base itself, and where no run is in common.
        hours: Of its finished runs.
        note: What else is to be said: failed, given up.
    """

    arm: Arm
    runs: int
    wanted: int
    accuracy: Estimate | None
    comparison: Comparison | None
    hours: float
    note: str = ""

    @property
    def per_hour(self) -> float | None:
        """Accuracy per hour of a run."""
        if self.accuracy is None or not self.hours:
            return None
        return self.accuracy.mean / (self.hours / self.runs)

    @property
    def verdict(self) -> str:
        """What can be said of the arm, for people."""
        if self.comparison is None:
            return "failed" if self.note and not self.runs else ""
        said = self.comparison.describe()
        if self.runs < self.wanted and self.comparison.verdict != UNKNOWN and not self.note:
            return f"{said} so far"
        return said


@dataclass(frozen=True, slots=True)
class Agreement:
    """Whether the proxy puts the arms into the order that the full runs do.

    Args:
        arms: That have both.
        pairs: Of them whose order is the same, of all pairs with an order.
        of_pairs: All those pairs.
        tau: Kendall's rank correlation (tau-b), -1 to 1; None of fewer than three arms.
    """

    arms: int
    pairs: int
    of_pairs: int
    tau: float | None


@dataclass(frozen=True, slots=True)
class Table:
    """What an experiment says so far.

    Args:
        experiment: What was asked.
        lines: Of the base and the arms, in their order.
        proxy: Likewise of the proxy's runs; () without.
        agreement: Of both; None where fewer than two arms have both.
        photos: Different validation photos.
        waiting: Runs that are wanted and neither finished nor failed.
        failed: Runs that failed.
        hours: Of all finished runs.
    """

    experiment: Experiment
    lines: tuple[Line, ...]
    proxy: tuple[Line, ...]
    agreement: Agreement | None
    photos: int
    waiting: int
    failed: int
    hours: float

    @property
    def done(self) -> bool:
        """Whether all runs wanted are finished."""
        return not self.waiting and not self.failed

    def figures(self) -> dict[str, Any]:
        """Return all of it, ready for JSON."""
        return {
            "name": self.experiment.name,
            "done": self.done,
            "waiting": self.waiting,
            "failed": self.failed,
            "photos": self.photos,
            "hours": self.hours,
            "arms": [figures_of(line) for line in self.lines],
            "proxy": [figures_of(line) for line in self.proxy],
            "agreement": None
            if self.agreement is None
            else {
                "arms": self.agreement.arms,
                "pairs": self.agreement.pairs,
                "of_pairs": self.agreement.of_pairs,
                "tau": self.agreement.tau,
            },
        }


def table_of(experiment: Experiment, out: Path | str) -> Table:
    """Return the table of the runs that are finished.

    Args:
        experiment: What was asked.
        out: Its folder.

    Raises:
        NothingYet: No run is finished.
        RunError: Results that are damaged or of other photos.
    """
    folder = ExperimentFolder(Path(out))
    every = list(experiment.trials())
    results, failures = folder.results(every), folder.failures(every)
    if not results:
        why = "; " + next(iter(failures.values())) if failures else ""
        raise NothingYet(f"no run of {experiment.name!r} is finished in {out}{why}")
    scores = {
        trial: float(marks_of(result.epochs, experiment.judge).right.mean())
        for trial, result in results.items()
    }
    todo, given_up = next_trials(experiment, scores, failures)
    notes = {name: f"given up after {runs} runs" for name, runs in given_up.items()}
    notes |= {trial.arm: f"failed: {why}" for trial, why in failures.items()}
    lines = _lines(experiment, experiment.everyone, FULL, results, notes)
    proxy = _lines(experiment, experiment.proxy, PROXY, results, notes)
    photos = {name for trial, result in results.items() for name in result.epochs.ids}
    return Table(
        experiment,
        lines,
        proxy,
        _agreement(lines, proxy),
        len(photos),
        len(todo),
        len(failures),
        sum(result.hours for result in results.values()),
    )


def tables_of(experiment: Experiment, out: Path | str) -> tuple[Table, ...]:
    """Return the table of an experiment, or of a search one a round, as far as runs are finished.

    Args:
        experiment: What was asked.
        out: Its folder.

    Raises:
        RunError: As ``table_of``.
    """
    tables: list[Table] = []
    while asked := round_after(experiment, [table.lines for table in tables]):
        try:
            tables.append(table_of(asked, out))
        except NothingYet:
            if not tables:
                raise
            break
        if not tables[-1].done:  # a round is decided once all of its runs are finished
            break
    return tuple(tables)


def _lines(
    experiment: Experiment,
    arms: Iterable[Arm],
    level: str,
    results: Mapping[Trial, Result],
    notes: Mapping[str, str],
) -> tuple[Line, ...]:
    arms = tuple(arms)
    runs: dict[str, dict[tuple[int, int], Any]] = {arm.name: {} for arm in arms}
    hours = dict.fromkeys(runs, 0.0)
    for trial, result in results.items():
        if trial.level == level and trial.arm in runs:
            runs[trial.arm][trial.key] = marks_of(result.epochs, experiment.judge)
            hours[trial.arm] += result.hours
    base: Runs = runs.get(experiment.base.name, {})
    others = {name: each for name, each in runs.items() if each and name != experiment.base.name}
    found = compare(base, others, experiment.alpha) if base else {}
    means = {name: accuracy(each, runs) for name, each in runs.items() if each}
    return tuple(
        Line(
            arm,
            len(runs[arm.name]),
            experiment.repeats,
            means.get(arm.name),
            found.get(arm.name),
            hours[arm.name],
            notes.get(arm.name, ""),
        )
        for arm in arms
    )


def _agreement(lines: tuple[Line, ...], proxy: tuple[Line, ...]) -> Agreement | None:
    both = [
        (one.accuracy.mean, other.accuracy.mean)
        for one, other in zip(lines, proxy, strict=False)
        if one.accuracy and other.accuracy
    ]
    if len(both) < 2:
        return None
    signs = [
        (one[0] - other[0]) * (one[1] - other[1])
        for place, one in enumerate(both)
        for other in both[:place]
    ]
    tau = float(stats.kendalltau(*zip(*both, strict=True)).statistic) if len(both) > 2 else None
    if tau is not None and tau != tau:  # all equal on one side
        tau = None
    return Agreement(
        len(both), sum(sign > 0 for sign in signs), sum(sign != 0 for sign in signs), tau
    )


def figures_of(line: Line) -> dict[str, Any]:
    """Return an arm's row, ready for JSON; None is what is not known."""
    comparison = line.comparison
    return {
        "arm": line.arm.name,
        "changes": list(line.arm.changes),
        "runs": line.runs,
        "wanted": line.wanted,
        "accuracy": line.accuracy and line.accuracy.mean,
        "interval": line.accuracy and _interval(line.accuracy),
        "difference": comparison and comparison.difference.mean,
        "difference_interval": comparison and list(comparison.difference.interval()),
        "chance": comparison and comparison.chance,
        "verdict": comparison and comparison.verdict,
        "more": comparison and comparison.more,
        "hours": line.hours,
        "accuracy_per_hour": line.per_hour,
        "note": line.note,
    }


def _interval(found: Estimate) -> list[float]:
    """The 95% interval of an accuracy, which is never below 0 or above 1."""
    low, high = found.interval()
    return [max(0.0, low), min(1.0, high)]
