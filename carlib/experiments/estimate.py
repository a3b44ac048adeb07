"""A mean over runs and photos, and how far it may be off: both are drawn by chance.

Another seed gives another network, and other validation photos another share of right answers.
So a value is taken as the sum of a mean, a part of its run, a part of its photo and a rest, all
random (Dorfman, Berbaum and Metz 1992, who had readers for runs). Their variances are estimated
by moments, which does not ask that every photo is in every run (Gao and Owen 2017,
arxiv.org/abs/1601.01302), and the degrees of freedom are Hillis' (2007, doi.org/10.1002/sim.2532).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy import stats

from carlib.errors import UsageError

LEVEL = 0.95


@dataclass(frozen=True, slots=True)
class Scatter:
    """How far single runs lie apart beyond the noise of their answers, and how well that is known.

    Args:
        of_run: Variance; below 0 where runs happen to lie closer than that noise has them.
        freedom: Degrees of freedom.
    """

    of_run: float
    freedom: float


@dataclass(frozen=True, slots=True)
class Parts:
    """A mean over runs and photos, and its variance in parts.

    Args:
        mean: Over all values.
        runs: How many runs it is of.
        photos: Different photos.
        of_runs: Variance of the mean by what a run's answers have in common; below 0 by chance.
        of_rest: By what belongs to single answers; more runs lessen it too.
        of_photos: By what a photo's answers have in common: only other photos lessen it.
    """

    mean: float
    runs: int
    photos: int
    of_runs: float
    of_rest: float
    of_photos: float

    @property
    def scatter(self) -> Scatter:
        """How these runs lie apart."""
        return Scatter(self.of_runs * self.runs, self.runs - 1)

    def estimate(self, usual: Scatter | None = None) -> Estimate:
        """Return the mean with its error.

        Args:
            usual: How runs scatter elsewhere in the same experiment. Where these scatter less,
                theirs is taken: of few runs, some lie close together by luck. Defaults to None:
                these runs alone.
        """
        own = self.scatter
        taken = own if usual is None or own.of_run > max(0.0, usual.of_run) else usual
        varying = max(0.0, taken.of_run) / self.runs + self.of_rest
        return Estimate(
            self.mean, self.runs, self.photos, varying, self.of_photos, float(taken.freedom)
        )


@dataclass(frozen=True, slots=True)
class Estimate:
    """A mean over runs and photos, with its error.

    Args:
        mean: Over all values.
        runs: How many runs it is of.
        photos: Different photos.
        varying: Variance of the mean that more runs would lessen.
        staying: That only other photos would lessen.
        known: Degrees of freedom of ``varying``; 0 of one run, of which nothing is known of others.

    >>> found = Estimate(0.5, 3, 100, varying=1e-4, staying=1e-4, known=2.0)
    >>> round(found.error, 4), found.freedom
    (0.0141, 8.0)
    """

    mean: float
    runs: int
    photos: int
    varying: float
    staying: float
    known: float

    @property
    def error(self) -> float:
        """Standard error of the mean."""
        return math.sqrt(self.varying + self.staying)

    @property
    def freedom(self) -> float:
        """Degrees of freedom: those of the runs, and more where the photos' part is the larger.

        Infinite of one run, whose photos are all that is known.
        """
        if not self.known or not self.varying:
            return math.inf
        return float(self.known * ((self.varying + self.staying) / self.varying) ** 2)

    def interval(self, level: float = LEVEL) -> tuple[float, float]:
        """Return where the mean lies, by Student's t.

        Args:
            level: Of confidence. Defaults to 0.95.
        """
        reach = float(stats.t.ppf((1 + level) / 2, self.freedom)) * self.error
        return self.mean - reach, self.mean + reach

    def chance(self) -> float:
        """Return the probability of a mean as far from 0, or farther, were the true one 0."""
        if not self.mean:
            return 1.0
        if not self.error:
            return 0.0
        return float(2 * stats.t.sf(abs(self.mean) / self.error, self.freedom))

    def with_runs(self, runs: int) -> Estimate:
        """Return what to expect of so many runs instead, on the same photos."""
        more = runs / self.runs
        known = self.known * max(1, runs - 1) / max(1, self.runs - 1)
        return Estimate(self.mean, runs, self.photos, self.varying / more, self.staying, known)


def parts_of(photos: Sequence[np.ndarray], values: Sequence[np.ndarray]) -> Parts:
    """Return the mean of values of runs on photos, and its variance in parts.

    Args:
        photos: Of each run, the names or numbers of its photos, each once; shape (N,).
        values: Of each run, a value a photo, in the same order.

    Raises:
        UsageError: No values, or another number of them than of photos.

    >>> row = np.array(["a", "b", "c", "d"])
    >>> parts_of([row, row], [np.array([0, 1, 1, 1]), np.array([0, 1, 1, 0])]).mean
    0.625
    """
    if not photos or [len(row) for row in photos] != [len(row) for row in values]:
        raise UsageError("an estimate needs runs, and a value for each photo of a run")
    sizes = np.array([len(row) for row in photos], np.float64)
    if not sizes.all():
        raise UsageError("an estimate needs a photo in every run")
    flat = np.concatenate([np.asarray(row, np.float64) for row in values])
    run = np.repeat(np.arange(len(sizes)), sizes.astype(int))
    names, photo = np.unique(np.concatenate(photos), return_inverse=True)
    times = np.bincount(photo).astype(np.float64)
    total, mean = flat.size, float(flat.mean())
    by_run, by_photo, rest = _components(flat - mean, run, photo, sizes, times)
    return Parts(
        mean,
        len(sizes),
        len(names),
        of_runs=by_run * float((sizes**2).sum()) / total**2,
        of_rest=rest / total,
        of_photos=by_photo * float((times**2).sum()) / total**2,
    )


def _components(
    about: np.ndarray, run: np.ndarray, photo: np.ndarray, sizes: np.ndarray, times: np.ndarray
) -> tuple[float, float, float]:
    """Return the variances of runs, which may be below 0, of photos and of the rest.

    Each sum of squares is what the three make of it on average. Where no photo is in two runs its
    own part cannot be told from the rest, and counts as rest; of one run, the run's part is 0.
    """
    total, runs, photos = about.size, sizes.size, times.size
    whole = float((about**2).sum())
    within_runs = whole - float((np.bincount(run, about) ** 2 / sizes).sum())
    within_photos = whole - float((np.bincount(photo, about) ** 2 / times).sum())
    if runs == 1 or total == runs:
        return 0.0, 0.0, whole / max(1, total - 1)
    run_in_whole = total - float((sizes**2).sum()) / total
    photo_in_whole = total - float((times**2).sum()) / total
    if total == photos:
        rest = within_runs / (total - runs)
        return (whole - rest * (total - 1)) / run_in_whole, 0.0, rest
    # Columns: variance of runs, of photos, of the rest.
    system = np.array(
        [
            [run_in_whole, photo_in_whole, total - 1],
            [0, total - runs, total - runs],
            [total - photos, 0, total - photos],
        ]
    )
    found = np.linalg.solve(system, [whole, within_runs, within_photos])
    by_run, by_photo, rest = (float(value) for value in found)
    return by_run, max(0.0, by_photo), max(0.0, rest)
