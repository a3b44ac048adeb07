"""What an experiment is, as data: a base, what is changed about it, and how often each is run."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Iterator
from dataclasses import dataclass

from carlib.augment import TRANSFORMS
from carlib.errors import UsageError, look_up, suggestion
from carlib.spec import Recipe

JUDGES = ("best", "last")
KEEPS = ("results", "runs")
FULL, PROXY = "full", "proxy"  # levels of a trial
ALPHA = 0.05
MOST_ROUNDS = 20
MOST_SEED = 2**32 - 1  # of a recipe
LEAST_ALPHA = 0.001


@dataclass(frozen=True, slots=True)
class Arm:
    """One thing that is tried: the base, or a change.

    Args:
        name: Unique in its experiment.
        recipe: What its runs train, but for seed and fold.
        changes: What it changes about the base, for people.
    """

    name: str
    recipe: Recipe
    changes: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Trial:
    """One run of an arm.

    Args:
        arm: Name of the arm.
        recipe: With its seed and fold, in full.
        level: "full", or "proxy": the same change on what is quicker to train.
        seed: Of all that is random.
        fold: Which fold validates; 0 where a share does.
        repeat: How many runs of its arm come before it.
    """

    arm: str
    recipe: Recipe
    level: str
    seed: int
    fold: int
    repeat: int

    @property
    def key(self) -> tuple[int, int]:
        """Runs of two arms with the same key have the same photos and the same chance."""
        return self.seed, self.fold

    def __str__(self) -> str:
        fold = f" fold {self.fold}" if self.recipe.folds else ""
        proxy = " (proxy)" if self.level == PROXY else ""
        return f"{self.arm} seed {self.seed}{fold}{proxy}"


@dataclass(frozen=True, slots=True)
class Search:
    """A greedy search for augmentation: add or drop one transform, keep what is better, again.

    Args:
        add: Transforms that may be added, of ``carlib.augment.TRANSFORMS``.
        drop: Whether those that are there may be dropped. Defaults to True.
        rounds: At the most. Defaults to 3.

    Raises:
        UsageError: An unknown transform, one twice, nothing to try, no rounds.
    """

    add: tuple[str, ...] = ()
    drop: bool = True
    rounds: int = 3

    def __post_init__(self) -> None:
        for name in self.add:
            look_up(TRANSFORMS, name, "transform")
        if len(set(self.add)) < len(self.add):
            raise UsageError(f"Search: add names a transform twice; received {list(self.add)}")
        if not self.add and not self.drop:
            raise UsageError("Search: nothing to try; name transforms to add, or let it drop some")
        if not 1 <= self.rounds <= MOST_ROUNDS:
            raise UsageError(
                f"Search: rounds must be from 1 to {MOST_ROUNDS}; received {self.rounds}"
            )


@dataclass(frozen=True, slots=True)
class Experiment:
    """A base and changes to it, each trained with the same seeds and folds.

    Args:
        name: For people.
        base: What the others are held against.
        arms: The changes, in order.
        seeds: Of the runs of each arm. Defaults to three.
        hours: What all runs together may take; 0 means no bound. Defaults to 0.
        judge: "best": each run by its best epoch, chosen on half of the validation photos and
            judged on the other; "last": by its last one. Defaults to "best".
        keep: What stays of a finished run: "results" (tables, not weights), or "runs" (all of
            it). Defaults to "results".
        proxy: Base and arms again, of the same names, on what is quicker to train. Defaults to
            none.
        halving: Share of the arms that goes on after 1, 2, 4, ... runs of each (successive
            halving, Jamieson and Talwalkar 2016, arxiv.org/abs/1502.07943); 0 means all of
            them do. The base always does. Defaults to 0.
        use: Python files that each run uses, as ``carlib train --use`` does.
        alpha: Probability that any arm that is none is called better or worse. Defaults to 0.05.
        search: What makes the arms, round by round; then ``arms`` and ``proxy`` are empty.
            Defaults to None.

    Raises:
        UsageError: Arms that are the same, seeds twice, a recipe without validation, a value out
            of its bounds.
    """

    name: str
    base: Arm
    arms: tuple[Arm, ...]
    seeds: tuple[int, ...] = (0, 1, 2)
    hours: float = 0.0
    judge: str = "best"
    keep: str = "results"
    proxy: tuple[Arm, ...] = ()
    halving: float = 0.0
    use: tuple[str, ...] = ()
    alpha: float = ALPHA
    search: Search | None = None

    def __post_init__(self) -> None:
        _check_arms(self.everyone)
        if self.proxy and [arm.name for arm in self.proxy] != [arm.name for arm in self.everyone]:
            raise UsageError("Experiment: proxy must have the base and the arms, in their order")
        if self.proxy:
            _check_arms(self.proxy)
        different = 0 < len(self.seeds) == len(set(self.seeds))
        if not different or not all(0 <= seed <= MOST_SEED for seed in self.seeds):
            raise UsageError(
                "Experiment: seeds must be one or more, all different, whole numbers from 0 to "
                f"{MOST_SEED}; received {self.seeds}"
            )
        for field, allowed in (("judge", JUDGES), ("keep", KEEPS)):
            if (value := getattr(self, field)) not in allowed:
                raise UsageError(
                    f"Experiment: unknown {field} {value!r}{suggestion(str(value), allowed)}"
                )
        if not 0 <= self.hours < math.inf:
            raise UsageError(f"Experiment: hours must be 0 or more; received {self.hours}")
        if not 0 <= self.halving < 1:
            raise UsageError(
                f"Experiment: halving must be from 0 (off) to below 1; received {self.halving}"
            )
        if not LEAST_ALPHA <= self.alpha <= 0.5:
            raise UsageError(
                f"Experiment: alpha must be from {LEAST_ALPHA} to 0.5; received {self.alpha}"
            )
        if self.search and self.alpha / self.search.rounds < LEAST_ALPHA:
            raise UsageError(
                f"Experiment: alpha {self.alpha:g} shared out over {self.search.rounds} rounds of "
                f"a search is below {LEAST_ALPHA}; give a larger alpha, or fewer rounds"
            )
        if self.search and (self.arms or self.proxy):
            raise UsageError(
                "Experiment: a search makes its own arms, round by round; leave out arms, grid "
                "and proxy"
            )

    @property
    def everyone(self) -> tuple[Arm, ...]:
        """The base, then the arms."""
        return (self.base, *self.arms)

    @property
    def repeats(self) -> int:
        """Runs of each arm."""
        return len(self.seeds) * max(1, self.base.recipe.folds)

    def trials(self) -> Iterator[Trial]:
        """Return all runs, arm by arm: the full ones, then the proxy's."""
        for level, arms in ((FULL, self.everyone), (PROXY, self.proxy)):
            for arm in arms:
                yield from self.trials_of(arm, level)

    def trials_of(self, arm: Arm, level: str = FULL) -> Iterator[Trial]:
        """Return the runs of an arm: all folds of a seed, then the next seed's."""
        repeat = 0
        for seed in self.seeds:
            for fold in range(max(1, arm.recipe.folds)):
                recipe = dataclasses.replace(arm.recipe, seed=seed, fold=fold)
                yield Trial(arm.name, recipe, level, seed, fold, repeat)
                repeat += 1


def _check_arms(arms: tuple[Arm, ...]) -> None:
    names = [arm.name for arm in arms]
    if len(set(names)) < len(names):
        twice = next(name for name in names if names.count(name) > 1)
        raise UsageError(f"Experiment: arms must have different names; {twice!r} is there twice")
    digests: dict[str, Arm] = {}
    for arm in arms:
        if not arm.name or arm.name != " ".join(arm.name.split()):
            raise UsageError(f"Experiment: {arm.name!r} is no name of an arm; use words")
        if not arm.recipe.validates:
            raise UsageError(
                f"Experiment: arm {arm.name!r} keeps no photos back for validation; give the plan "
                "a validation_share, or folds"
            )
        if arm.recipe.folds != arms[0].recipe.folds:
            raise UsageError(
                f"Experiment: arm {arm.name!r} has {arm.recipe.folds} folds, the base "
                f"{arms[0].recipe.folds}: they would validate on other photos"
            )
        if not arm.recipe.folds and arm.recipe.validation_share != arms[0].recipe.validation_share:
            raise UsageError(
                f"Experiment: arm {arm.name!r} has validation_share "
                f"{arm.recipe.validation_share:g}, the base {arms[0].recipe.validation_share:g}: "
                "they would validate on other photos"
            )
        same = digests.setdefault(dataclasses.replace(arm.recipe, seed=0, fold=0).digest(), arm)
        if same is not arm:
            raise UsageError(
                f"Experiment: arms {same.name!r} and {arm.name!r} are the same recipe; change one"
            )
