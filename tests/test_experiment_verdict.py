"""Estimates over runs and photos, and what is said of arms: invariants, and simulated arms."""

from __future__ import annotations

import numpy as np
import pytest

from carlib.errors import UsageError
from carlib.experiments.estimate import Estimate, Scatter, parts_of
from carlib.experiments.verdict import BETTER, UNKNOWN, WORSE, Marks, accuracy, compare

PHOTOS = 240


def arm(shares, photos=PHOTOS, rolled=7):
    """Runs with so many right answers, each another stretch of the photos."""
    ids = np.arange(photos)
    return {
        (seed, 0): Marks(ids, np.roll(ids < share * photos, rolled * seed))
        for seed, share in enumerate(shares)
    }


def simulated(rng, effects, sets, scatter=0.15):
    """Arms by a logistic model: a photo's difficulty, an arm's way with it, a run's luck."""
    difficulty = rng.normal(1, 1.5, PHOTOS)
    found = []
    for effect in effects:
        own = difficulty + rng.normal(0, 0.7, PHOTOS) + effect
        runs = {}
        for number, photos in enumerate(sets):
            right = 1 / (1 + np.exp(-(own[photos] + rng.normal(0, scatter))))
            runs[number, 0] = Marks(photos, rng.random(len(photos)) < right)
        found.append(runs)
    return found


SETS = {
    "three seeds of one split": [np.arange(PHOTOS)] * 3,
    "five folds": np.array_split(np.arange(PHOTOS), 5),
    "three seeds of three folds": np.array_split(np.arange(PHOTOS), 3) * 3,
}


@pytest.mark.parametrize("sets", SETS.values(), ids=list(SETS))
def test_equal_arms_are_seldom_called_better(sets):
    """In 150 plans of four equal arms; benchmarks/verdicts.py has 1,000 of each kind."""
    rng = np.random.default_rng(0)
    wrong = 0
    for _ in range(150):
        base, *others = simulated(rng, [0, 0, 0, 0], sets)
        found = compare(base, {str(n): each for n, each in enumerate(others)})
        wrong += any(each.verdict == BETTER for each in found.values())
    assert wrong <= 0.05 * 150


def test_a_large_difference_is_told():
    rng = np.random.default_rng(1)
    told = 0
    for _ in range(20):
        base, up, down = simulated(rng, [0, 2.5, -2.5], SETS["three seeds of three folds"])
        found = compare(base, {"up": up, "down": down})
        told += (found["up"].verdict, found["down"].verdict) == (BETTER, WORSE)
    assert told >= 18


def test_balanced_parts_are_those_of_the_analysis_of_variance():
    """Mean squares of a table of runs by photos, as Dorfman, Berbaum and Metz have them."""
    table = np.random.default_rng(2).random((4, 50)) + np.arange(4)[:, None]
    runs, photos = table.shape
    about = table - table.mean()
    of_run, of_photo = about.mean(axis=1), about.mean(axis=0)
    rest = about - of_run[:, None] - of_photo
    by_run = photos * (of_run**2).sum() / (runs - 1)
    by_photo = runs * (of_photo**2).sum() / (photos - 1)
    left = (rest**2).sum() / ((runs - 1) * (photos - 1))
    found = parts_of([np.arange(photos)] * runs, list(table))
    assert found.of_rest == pytest.approx(left / table.size)
    assert found.of_runs == pytest.approx((by_run - left) / table.size)
    assert found.of_photos == pytest.approx(max(0.0, by_photo - left) / table.size)


def test_order_of_photos_and_runs_changes_nothing():
    rng = np.random.default_rng(3)
    base, other = simulated(rng, [0, 1], SETS["five folds"])
    turned = {
        key: Marks(marks.photos[::-1], marks.right[::-1]) for key, marks in reversed(other.items())
    }
    one, same = compare(base, {"a": other})["a"], compare(base, {"a": turned})["a"]
    assert (one.chance, one.difference) == (same.chance, same.difference)


def test_only_runs_in_common_are_compared():
    base, other = arm([0.5, 0.5, 0.5]), arm([0.9, 0.9, 0.9])
    del other[1, 0]
    assert compare(base, {"a": other})["a"].difference.runs == 2
    assert compare({(9, 0): base[0, 0]}, {"a": other}) == {}


@pytest.mark.parametrize(
    ("shares", "said"),
    [
        ([0.9], "not distinguishable: one run proves nothing, 2 more would begin to tell"),
        (
            [0.5, 0.5, 0.5],
            "not distinguishable: 200 runs more would hardly tell",
        ),
        ([0.9, 0.9, 0.9, 0.9], "better"),
        ([0.1, 0.1, 0.1, 0.1], "worse"),
    ],
)
def test_what_is_said(shares, said):
    found = compare(arm([0.5] * len(shares)), {"a": arm(shares)})["a"]
    assert found.describe() == said


def test_more_runs_that_would_tell_are_named():
    rng = np.random.default_rng(4)
    base, other = simulated(rng, [0, 0.5], SETS["three seeds of one split"])
    found = compare(base, {"a": other})["a"]
    assert found.verdict == UNKNOWN
    assert found.more
    assert found.describe() == f"not distinguishable: {found.more} more runs would tell"


def test_many_arms_make_chances_larger():
    rng = np.random.default_rng(5)
    base, *others = simulated(rng, [0, 0.6, 0.1, 0.1], SETS["three seeds of three folds"])
    found = compare(base, {str(n): each for n, each in enumerate(others)})
    chances = sorted((each.difference.mean, each.chance) for each in found.values())
    assert all(0 <= chance <= 1 for _, chance in chances)
    twice = compare(base, {"a": others[0], "b": others[0]})
    # Two equal arms: the smaller chance counts twice, and the other no less.
    assert twice["a"].chance == twice["b"].chance == pytest.approx(min(1, 2 * _own(twice["a"])))


def _own(comparison):
    return comparison.difference.chance()


def test_runs_that_lie_close_by_luck_count_as_others_do():
    close = parts_of([np.arange(90)] * 3, [np.arange(90) < 45] * 3)
    usual = Scatter(0.01, 8)
    assert close.estimate().error < close.estimate(usual).error
    assert close.estimate(usual).known == 8
    wide = parts_of([np.arange(90)] * 3, [np.arange(90) < n for n in (5, 45, 85)])
    assert wide.estimate(Scatter(1e-6, 8)).known == 2


def test_an_accuracy_has_its_interval():
    runs = arm([0.5, 0.6, 0.7])
    found = accuracy(runs, {"a": runs})
    low, high = found.interval()
    assert found.mean == pytest.approx(0.6)
    assert low < found.mean < high
    assert found.interval(0.99)[0] < low


def test_degrees_of_freedom():
    assert Estimate(0.1, 1, 10, 1e-3, 0.0, 0.0).freedom == np.inf
    assert Estimate(0.1, 3, 10, 1e-3, 0.0, 2.0).freedom == 2
    assert Estimate(0.1, 3, 10, 1e-3, 1e-3, 2.0).with_runs(6).known == 5
    assert Estimate(0.1, 3, 10, 0.0, 0.0, 2.0).chance() == 0
    assert Estimate(0.0, 3, 10, 1e-3, 0.0, 2.0).chance() == 1


@pytest.mark.parametrize(
    ("photos", "values", "match"),
    [
        ([], [], "needs runs"),
        ([np.arange(3)], [np.arange(2)], "a value for each photo"),
        ([np.arange(0)], [np.arange(0)], "a photo in every run"),
    ],
)
def test_nonsense_is_refused(photos, values, match):
    with pytest.raises(UsageError, match=match):
        parts_of(photos, values)


def test_an_arm_of_few_runs_takes_nothing_from_the_others():
    """Given up early, or failed: the other arms' verdicts do not hang on how often it ran."""
    sets = [np.arange(PHOTOS)] * 9
    chances = []
    for runs in (9, 5, 2):
        rng = np.random.default_rng(5)
        base, better, other, few = simulated(rng, [0, 0.6, 0, 0], sets)
        few = {key: few[key] for key in sorted(few)[:runs]}
        found = compare(base, {"better": better, "other": other, "few": few})
        assert found["better"].verdict == BETTER
        assert found["few"].difference.runs == runs
        chances.append(found["better"].chance)
    assert max(chances) < 3 * min(chances)


@pytest.mark.parametrize("runs", [1, 2])
def test_how_other_arms_runs_scatter_is_that_of_single_runs(runs):
    """The mean of one run is as far off as runs lie apart, however many runs the others have."""
    sets = [np.arange(PHOTOS)] * 16
    many = simulated(np.random.default_rng(6), [0, 0, 0], sets, scatter=0.6)
    arms = {str(place): each for place, each in enumerate(many)}
    arms["few"] = {key: arms["0"][key] for key in sorted(arms["0"])[:runs]}
    spread = np.std([marks.right.mean() for each in many for marks in each.values()])
    of_runs = np.sqrt(accuracy(arms["few"], arms).varying)
    assert of_runs == pytest.approx(spread / np.sqrt(runs), rel=0.35)
