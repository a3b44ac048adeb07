"""The order of runs: early answers, the same after any cut, and halving that nobody holds up."""

from __future__ import annotations

import itertools
import math

import pytest
from conftest import make_recipe

from carlib.experiments import Arm, Experiment
from carlib.experiments.noun import FULL, PROXY
from carlib.experiments.order import cost_of, next_trials
from carlib.models.table import BACKBONES
from carlib.recipes import RECIPES
from carlib.spec import with_settings

pytestmark = pytest.mark.once

RECIPE = make_recipe()  # of tiny at 32 px: one epoch of the head, two of all
CHANGES = {
    "heavy": ["model.size=64"],
    "same": ["phases.all.lr=1e-4"],
    "light": ["phases.all.trains=head"],
    "same again": ["phases.all.lr=1e-3"],
}


def experiment(changes=CHANGES, common=(), proxy=(), **options):
    """An arm a change; with a proxy, all of it again."""
    base = with_settings(RECIPE, common)
    arms = (
        Arm("base", base),
        *(Arm(name, with_settings(base, each)) for name, each in changes.items()),
    )
    quick = tuple(Arm(arm.name, with_settings(arm.recipe, proxy)) for arm in arms) if proxy else ()
    return Experiment("plan", arms[0], arms[1:], proxy=quick, **options)


def rivals(number, seeds=4, halving=0.5, **options):
    """Arms a, b, c, ... that cost the same, with halving."""
    changes = {"abcdefgh"[each]: [f"phases.all.lr={each + 1}e-4"] for each in range(number)}
    return experiment(changes, seeds=tuple(range(seeds)), halving=halving, **options)


def play(asked, score, fails=(), at_once=1, reverse=False):
    """Train everything that is wanted; return the runs in the order they were begun.

    Args:
        score: Of a trial.
        fails: Says of a trial that it fails; () of none.
        at_once: Runs that are begun before one of them ends.
        reverse: The last begun ends first.
    """
    scores, failed, begun = {}, [], []
    while todo := next_trials(asked, scores, failed)[0]:
        batch = todo[:at_once]
        begun += batch
        for trial in reversed(batch) if reverse else batch:
            if fails and fails(trial):
                failed.append(trial)
            else:
                scores[trial] = score(trial)
    return begun, scores, failed


def by_table(table):
    """Scores of arms by name: a number, or one a run."""
    return lambda trial: (
        table[trial.arm] if isinstance(table[trial.arm], float) else table[trial.arm][trial.repeat]
    )


def runs_of(trials):
    """How many full runs each arm has."""
    found = {}
    for trial in trials:
        if trial.level == FULL:
            found[trial.arm] = found.get(trial.arm, 0) + 1
    return found


# ---------------------------------------------------------------- early answers


def test_all_arms_before_more_seeds_and_light_before_heavy():
    asked = experiment(seeds=(5, 3))
    todo, given_up = next_trials(asked, {}, ())
    order = ["light", "base", "same", "same again", "heavy"]
    assert [(trial.arm, trial.seed) for trial in todo] == [
        (name, seed) for seed in (5, 3) for name in order
    ]
    assert given_up == {}


def test_folds_of_a_seed_come_before_the_next_seed():
    asked = experiment({"light": CHANGES["light"]}, ["folds=2"], seeds=(1, 0))
    todo, _ = next_trials(asked, {}, ())
    assert [(trial.arm, trial.seed, trial.fold) for trial in todo] == [
        (name, seed, fold) for seed in (1, 0) for fold in (0, 1) for name in ("light", "base")
    ]


def test_proxies_come_first():
    asked = experiment(proxy=["training_share=0.5"], seeds=(0, 1))
    todo, _ = next_trials(asked, {}, ())
    assert [trial.level for trial in todo] == [PROXY] * 10 + [FULL] * 10
    one, other = ([(trial.arm, trial.key) for trial in part] for part in (todo[:10], todo[10:]))
    assert one == other


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"proxy": ["training_share=0.5"]},
        {"common": ["folds=3"], "seeds": (0, 4)},
        {"proxy": ["training_share=0.5"], "halving": 0.5, "seeds": (0, 1, 2, 3, 4)},
    ],
    ids=str,
)
def test_every_run_is_wanted_once(options):
    asked = experiment(**options)
    begun, scores, _ = play(asked, lambda trial: 0.5)
    assert len(begun) == len(set(begun)) == len(scores)
    if not asked.halving:
        assert set(begun) == set(asked.trials())
        assert begun == next_trials(asked, {}, ())[0]
    places = [(trial.level == FULL, trial.repeat) for trial in begun]
    assert places == sorted(places)


# ---------------------------------------------------------------- cuts


@pytest.mark.parametrize("halving", [0.0, 0.5])
def test_after_a_cut_it_goes_on_as_if_uncut(halving):
    """What is next follows from the results, in whatever order they are found."""
    asked = rivals(4, halving=halving, proxy=["training_share=0.5"])
    score = by_table({"base": 0.1, "a": 0.5, "b": 0.7, "c": 0.6, "d": 0.4})
    begun, scores, _ = play(asked, score)
    assert len(runs_of(begun)) == 5
    for cut in range(len(begun) + 1):
        done = {trial: scores[trial] for trial in begun[:cut]}
        turned = dict(reversed(done.items()))
        assert next_trials(asked, done, ()) == next_trials(asked, turned, ())
        todo, _ = next_trials(asked, turned, ())
        assert todo[:1] == begun[cut : cut + 1]


@pytest.mark.parametrize("reverse", [False, True])
@pytest.mark.parametrize("at_once", [2, 3, 50])
@pytest.mark.parametrize("halving", [0.0, 0.4])
def test_several_at_once_are_the_same_runs(halving, at_once, reverse):
    asked = rivals(5, seeds=5, halving=halving)
    score = by_table({"base": 0.2, "a": 0.5, "b": 0.7, "c": 0.6, "d": 0.4, "e": 0.1})
    alone, scores, _ = play(asked, score)
    begun, others, _ = play(asked, score, at_once=at_once, reverse=reverse)
    assert set(begun) == set(alone)
    assert len(begun) == len(alone)
    assert next_trials(asked, others, ()) == next_trials(asked, scores, ())


def test_results_of_another_plan_change_nothing():
    asked, other = rivals(3), rivals(5, seeds=6)
    _, scores, _ = play(asked, lambda trial: 0.5 + 0.01 * ord(trial.arm[0]))
    strangers = [trial for trial in other.trials() if trial not in set(asked.trials())]
    found = dict.fromkeys(strangers, 0.99) | scores
    assert strangers
    assert next_trials(asked, found, ()) == next_trials(asked, scores, ())


# ---------------------------------------------------------------- halving


@pytest.mark.parametrize(
    ("halving", "seeds", "table", "runs", "given_up"),
    [
        # The better half of four after one run, of two after two.
        (
            *(0.5, 4, {"base": 0.1, "a": 0.5, "b": 0.7, "c": 0.6, "d": 0.4}),
            {"base": 4, "a": 1, "b": 4, "c": 2, "d": 1},
            {"a": 1, "d": 1, "c": 2},
        ),
        # The base is the best: that changes nothing for the rest.
        (
            *(0.5, 4, {"base": 0.9, "a": 0.5, "b": 0.7, "c": 0.6, "d": 0.4}),
            {"base": 4, "a": 1, "b": 4, "c": 2, "d": 1},
            {"a": 1, "d": 1, "c": 2},
        ),
        # The mean of two counts, not the second: c is better in it, b on average.
        (
            *(0.5, 3, {"base": 0.1, "a": 0.5, "b": [0.9, 0.5, 0], "c": [0.6, 0.7, 0], "d": 0.4}),
            {"base": 3, "a": 1, "b": 3, "c": 2, "d": 1},
            {"a": 1, "d": 1, "c": 2},
        ),
        # Rungs after 1, 2, 4 runs; the third of five seeds is none.
        (
            *(0.6, 5, {"base": 0.1, "a": 0.5, "b": 0.7, "c": 0.6, "d": 0.4}),
            {"base": 5, "a": 2, "b": 5, "c": 5, "d": 1},
            {"d": 1, "a": 2},
        ),
        (
            *(
                0.5,
                6,
                {"base": 0.1, **{name: 0.9 - 0.1 * at for at, name in enumerate("abcdefgh")}},
            ),
            {"base": 6, "a": 6, "b": 4, **dict.fromkeys("cd", 2), **dict.fromkeys("efgh", 1)},
            {**dict.fromkeys("efgh", 1), **dict.fromkeys("cd", 2), "b": 4},
        ),
        # Rounded up, so one always stays.
        (*(0.01, 3, {"base": 0.1, "a": 0.5, "b": 0.7}), {"base": 3, "a": 1, "b": 3}, {"a": 1}),
        (*(0.99, 3, {"base": 0.1, "a": 0.5, "b": 0.7}), {"base": 3, "a": 3, "b": 3}, {}),
        (*(0.5, 4, {"base": 0.9, "a": 0.1}), {"base": 4, "a": 4}, {}),
        (*(0.5, 4, {"base": 0.9}), {"base": 4}, {}),
        # Equals stay in the plan's order.
        (
            *(0.5, 2, {"base": 0.1, "a": 0.5, "b": 0.5, "c": 0.5, "d": 0.5}),
            {"base": 2, "a": 2, "b": 2, "c": 1, "d": 1},
            {"c": 1, "d": 1},
        ),
        # A single run each is never a reason to give up.
        (*(0.5, 1, {"base": 0.1, "a": 0.5, "b": 0.7}), {"base": 1, "a": 1, "b": 1}, {}),
        (*(0.0, 4, {"base": 0.1, "a": 0.5, "b": 0.7}), {"base": 4, "a": 4, "b": 4}, {}),
    ],
)
def test_halving(halving, seeds, table, runs, given_up):
    asked = rivals(len(table) - 1, seeds, halving)
    begun, scores, _ = play(asked, by_table(table))
    assert runs_of(begun) == runs
    assert next_trials(asked, scores, ()) == ([], given_up)


@pytest.mark.parametrize("order", list(itertools.permutations([0.1, 0.2, 0.3, 0.4])))
def test_the_base_is_never_given_up_and_the_best_never(order):
    table = dict(zip(("base", "a", "b", "c"), order, strict=True))
    begun, _, _ = play(rivals(3), by_table(table))
    runs = runs_of(begun)
    best = max("abc", key=table.__getitem__)
    assert runs["base"] == runs[best] == 4
    assert sorted(runs.values()) == [1, 2, 4, 4]


def test_halving_leaves_the_proxy_alone():
    asked = rivals(4, proxy=["training_share=0.5"])
    table = {"base": 0.1, "a": 0.5, "b": 0.7, "c": 0.6, "d": 0.4}
    begun, _, _ = play(asked, by_table(table))
    proxies = [trial for trial in begun if trial.level == PROXY]
    assert len(proxies) == 5 * 4
    assert begun[: len(proxies)] == proxies
    # How the proxy's runs came out gives nobody up.
    upside_down = {trial: 1 - by_table(table)(trial) for trial in proxies}
    todo, given_up = next_trials(asked, upside_down, ())
    assert given_up == {}
    assert {trial.repeat for trial in todo} == {0}


def test_nobody_goes_on_before_all_have_a_first_run():
    asked = rivals(4)
    scores = {}
    for done in range(5):
        todo, given_up = next_trials(asked, scores, ())
        assert [trial.repeat for trial in todo] == [0] * (5 - done)
        assert given_up == {}
        scores[todo[0]] = 0.5
    assert {trial.repeat for trial in next_trials(asked, scores, ())[0]} == {1}


# ---------------------------------------------------------------- failures


def test_nobody_waits_for_a_failed_run():
    asked = rivals(4)
    table = {"base": 0.1, "a": 0.5, "b": 0.7, "c": 0.6, "d": 0.4}
    begun, scores, failed = play(
        asked, by_table(table), fails=lambda trial: (trial.arm, trial.repeat) == ("b", 0)
    )
    # b has no run to be judged by after the first; c and a go on.
    assert runs_of(begun) == {"base": 4, "a": 2, "b": 1, "c": 4, "d": 1}
    assert [trial.arm for trial in failed] == ["b"]
    assert next_trials(asked, scores, failed) == ([], {"b": 1, "d": 1, "a": 2})
    # Another session tries it again, and only it.
    todo, given_up = next_trials(asked, scores, ())
    assert (todo, given_up) == (failed, {})


def test_an_arm_of_failed_runs_comes_after_any_other():
    begun, _, _ = play(
        rivals(2), by_table({"base": 0.1, "b": 0.0}), fails=lambda trial: trial.arm == "a"
    )
    assert runs_of(begun) == {"base": 4, "a": 1, "b": 4}


@pytest.mark.parametrize(
    ("fails", "runs"),
    [((), {"base": 4, "a": 2, "b": 4, "c": 1}), ([("a", 1)], {"base": 4, "a": 4, "b": 2, "c": 1})],
)
def test_an_arm_is_judged_by_the_runs_that_it_has(fails, runs):
    """The second of a is the bad one: where it fails instead, the first is all there is."""
    table = {"base": 0.1, "a": [0.6, 0.0, 0.6, 0.6], "b": 0.5, "c": 0.4}
    begun, _, failed = play(
        rivals(3), by_table(table), fails=lambda trial: (trial.arm, trial.repeat) in fails
    )
    assert runs_of(begun) == runs
    assert len(failed) == len(fails)


@pytest.mark.parametrize("halving", [0.0, 0.5])
def test_where_all_fail_there_is_an_end(halving):
    asked = rivals(3, halving=halving)
    begun, scores, failed = play(asked, by_table({}), fails=lambda trial: True)
    assert scores == {}
    assert len(begun) == len(set(begun)) == len(failed)
    runs = runs_of(begun)
    assert runs["base"] == 4
    assert runs["a"] == 4  # the first of equals
    assert runs["b"] == (4 if not halving else 2)
    assert runs["c"] == (4 if not halving else 1)


# ---------------------------------------------------------------- costs


@pytest.mark.parametrize(
    ("settings", "times"),
    [
        # A pass of the head is forward only; one that trains all is there and back.
        ([], 1 + 2 * 3),
        (["phases.all.epochs=4"], 1 + 4 * 3),
        (["phases.all.trains=0.5"], 1 + 2 * 2),
        (["phases.all.trains=head"], 1 + 2),
        (["phases.all.trains=0"], 1 + 2),
        (["phases.all.trains=1"], 1 + 2 * 3),
        (["phases.head.views=1", "phases.head.epochs=40"], 1 + 2 * 3),
        (["phases.head.views=5"], 5 + 2 * 3),
        (["linear_probe=20"], 1 + 1 + 2 * 3),
        (["model.size=64"], 4 * (1 + 2 * 3)),
        (["phases.head.size=16"], 1 / 4 + 2 * 3),
        (["model.size=64", "phases.*.size=32"], 1 + 2 * 3),
        (["training_share=0.25"], (1 + 2 * 3) / 4),
        (["phases.all.batch_size=1", "folds=4", "model.hidden=64"], 1 + 2 * 3),
    ],
    ids=str,
)
def test_costs(settings, times):
    each = BACKBONES["tiny"].gflops
    assert cost_of(with_settings(RECIPE, settings)) == pytest.approx(times * each)


def test_costs_of_backbones():
    """By their table; one that a run's own file registers counts as one of middling size."""
    tiny = cost_of(RECIPE) / BACKBONES["tiny"].gflops
    for name, backbone in BACKBONES.items():
        recipe = with_settings(RECIPE, [f"model.backbone={name}", f"model.size={backbone.size}"])
        assert cost_of(recipe) == pytest.approx(tiny * backbone.gflops)
    stranger = with_settings(RECIPE, ["model.backbone=stranger", "model.size=112"])
    assert cost_of(stranger) == pytest.approx(tiny / 4)


@pytest.mark.parametrize("recipe", RECIPES.values(), ids=list(RECIPES))
def test_costs_of_recipes(recipe):
    cost = cost_of(recipe)
    assert 0 < cost < math.inf
    assert cost_of(with_settings(recipe, ["training_share=0.5"])) == pytest.approx(cost / 2)
    assert cost_of(with_settings(recipe, ["phases.*.epochs=1", "phases.0.views=0"])) < cost
    assert cost_of(with_settings(recipe, ["seed=9", "name=other"])) == cost
