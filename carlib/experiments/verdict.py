"""Better, worse, or not distinguishable: arms against their base, on the same runs."""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from scipy import stats

from carlib.experiments.estimate import Estimate, Parts, Scatter, parts_of
from carlib.experiments.noun import ALPHA

POWER = 0.8
MOST = 200  # runs; what would need more is not worth saying how many
BETTER, WORSE, UNKNOWN = "better", "worse", "not distinguishable"

Key = tuple[int, int]  # seed and fold


@dataclass(frozen=True, slots=True, eq=False)
class Marks:
    """Which photos a run had right.

    Args:
        photos: Their ids, shape (N,).
        right: Shape (N,), bool.
    """

    photos: np.ndarray
    right: np.ndarray


Runs = Mapping[Key, Marks]


@dataclass(frozen=True, slots=True)
class Comparison:
    """An arm against the base.

    Args:
        difference: Arm less base, over the runs that both have.
        chance: Of a difference as large by noise alone, made larger for the number of arms (Holm
            1979).
        verdict: BETTER, WORSE or UNKNOWN.
        more: Runs more, of the arm and of the base each, that would tell with a probability of
            0.8 if the difference is what it looks like, on the same photos; 0 where the verdict
            is clear; None where not even MOST would.
    """

    difference: Estimate
    chance: float
    verdict: str
    more: int | None

    def describe(self) -> str:
        """Return the verdict for people."""
        if self.verdict != UNKNOWN:
            return self.verdict
        if self.difference.runs < 2:
            return f"{UNKNOWN}: one run proves nothing, 2 more would begin to tell"
        if self.more is None:
            return f"{UNKNOWN}: {MOST} runs more would hardly tell"
        runs = "run" if self.more == 1 else "runs"
        return f"{UNKNOWN}: {self.more} more {runs} would tell"


def compare(base: Runs, arms: Mapping[str, Runs], alpha: float = ALPHA) -> dict[str, Comparison]:
    """Return each arm's comparison to the base; arms without a run in common have none.

    Runs are paired by seed and fold, photos by id. How runs scatter is known badly of two or
    three; so that of all pairs of arms counts, unless an arm's own runs scatter more.

    Args:
        base: Runs of the base, by seed and fold.
        arms: Runs of the others, by name.
        alpha: Probability of any wrong "better" or "worse". Defaults to 0.05.

    >>> photos = np.arange(200)
    >>> def runs(share):
    ...     rows = [np.roll(photos < share * 200, seed) for seed in range(4)]
    ...     return {(seed, 0): Marks(photos, row) for seed, row in enumerate(rows)}
    >>> found = compare(runs(0.5), {"same": runs(0.5), "more": runs(0.9)})
    >>> [each.verdict for each in found.values()]
    ['not distinguishable', 'better']
    """
    pairs = {name: parts for name, runs in arms.items() if (parts := _paired(runs, base))}
    usual = _usual(pairs, [arms[name] for name in pairs])
    found = {name: parts.estimate(usual) for name, parts in pairs.items()}
    chances = _holm({name: each.chance() for name, each in found.items()})
    return {
        name: _comparison(each, chances[name], alpha / max(1, len(found)), alpha)
        for name, each in found.items()
    }


def accuracy(runs: Runs, others: Mapping[str, Runs]) -> Estimate:
    """Return the mean accuracy of an arm's runs.

    Args:
        runs: Of the arm.
        others: All arms, by name: how their runs scatter counts where this one's do less.
    """
    known = [_parts(each).scatter for each in others.values() if len(each) > 1]
    usual = _pooled(known, sum(each.freedom for each in known)) if known else None
    return _parts(runs).estimate(usual)


def _pooled(scatters: Sequence[Scatter], freedom: float) -> Scatter:
    """What several have in common: those known better count more."""
    weights = [each.freedom for each in scatters]
    return Scatter(float(np.average([each.of_run for each in scatters], weights=weights)), freedom)


def _parts(runs: Runs) -> Parts:
    marks = [runs[key] for key in sorted(runs)]
    return parts_of([each.photos for each in marks], [each.right for each in marks])


def _paired(one: Runs, other: Runs) -> Parts | None:
    """The difference of two arms over the runs that both have."""
    photos, values = [], []
    for key in sorted(one.keys() & other.keys()):
        shared, here, there = np.intersect1d(
            one[key].photos, other[key].photos, assume_unique=True, return_indices=True
        )
        if len(shared):
            photos.append(shared)
            values.append(one[key].right[here].astype(float) - other[key].right[there])
    return parts_of(photos, values) if photos else None


def _usual(to_base: Mapping[str, Parts], arms: list[Runs]) -> Scatter | None:
    """How the differences of all pairs of arms scatter from run to run."""
    between = (_paired(one, other) for one, other in itertools.combinations(arms, 2))
    all_pairs = [each for each in (*to_base.values(), *between) if each and each.runs > 1]
    if len(to_base) < 2 or not all_pairs:
        return None
    # Pairs of arms are not independent: there is no more to know than of each arm against the base.
    freedom = sum(each.runs - 1 for each in to_base.values())
    return _pooled([each.scatter for each in all_pairs], max(1, freedom))


def _holm(chances: Mapping[str, float]) -> dict[str, float]:
    """Return the chances made larger for their number (Holm 1979)."""
    found: dict[str, float] = {}
    largest = 0.0
    for place, name in enumerate(sorted(chances, key=chances.__getitem__)):
        largest = max(largest, min(1.0, chances[name] * (len(chances) - place)))
        found[name] = largest
    return found


def _comparison(difference: Estimate, chance: float, each: float, alpha: float) -> Comparison:
    if difference.runs > 1 and chance < alpha:
        verdict = BETTER if difference.mean > 0 else WORSE
        return Comparison(difference, chance, verdict, 0)
    more = None if difference.runs < 2 else _more(difference, each)
    return Comparison(difference, chance, UNKNOWN, more)


def _more(difference: Estimate, alpha: float) -> int | None:
    """Return how many runs more would tell a difference of this size, alone at ``alpha``."""
    if not difference.mean:
        return None
    for runs in range(difference.runs + 1, MOST + 1):
        expected = difference.with_runs(runs)
        needed = stats.t.ppf(1 - alpha / 2, expected.freedom)
        needed += stats.t.ppf(POWER, expected.freedom)
        if abs(difference.mean) >= needed * expected.error:
            return runs - difference.runs
    return None
