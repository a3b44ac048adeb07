"""Which runs come next: what answers early first."""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping

from carlib.experiments.noun import FULL, PROXY, Experiment, Trial
from carlib.models.own import known
from carlib.spec import Recipe

FORWARD, BOTH = 1.0, 3.0  # a forward pass; there and back


def cost_of(recipe: Recipe) -> float:
    """Return what a run costs, in billions of multiply-adds a training photo.

    By the published count of its backbone; only good for what is lighter than what.

    >>> from carlib.recipes import load_recipe
    >>> cost_of(load_recipe("tiny-check")) < cost_of(load_recipe("lite0-quick"))
    True
    """
    recipe = recipe.with_probe()
    backbone = known().get(recipe.model.backbone)
    each, size = (backbone.gflops, backbone.size) if backbone else (1.0, 224)
    cost = 0.0
    for phase in recipe.phases:
        passes = phase.views if phase.views else phase.epochs
        side = (phase.size or recipe.model.size) / size
        cost += passes * (FORWARD + (BOTH - FORWARD) * phase.share) * each * side**2
    return cost * recipe.training_share


def next_trials(
    experiment: Experiment, scores: Mapping[Trial, float], failed: Collection[Trial]
) -> tuple[list[Trial], dict[str, int]]:
    """Return the runs to do now, in order, and the arms given up, with the runs they had.

    Proxies first; then all arms' first run, lighter arms first, then their second. What is to do
    follows from the results alone: after a cut it is the same.

    Args:
        experiment: What is asked.
        scores: Of the runs that are done.
        failed: Runs that failed in this session: nobody waits for them.
    """
    places = {arm.name: place for place, arm in enumerate(experiment.everyone)}

    def early(trial: Trial) -> tuple[bool, int, float, int]:
        heavy = cost_of(trial.recipe)
        return trial.level != PROXY, trial.repeat, heavy, places[trial.arm]

    wanted, given_up = _alive(experiment, scores, failed)
    proxies = (trial for trial in experiment.trials() if trial.level == PROXY)
    todo = [trial for trial in (*proxies, *wanted) if trial not in scores and trial not in failed]
    return sorted(todo, key=early), given_up


def _alive(
    experiment: Experiment, scores: Mapping[Trial, float], failed: Collection[Trial]
) -> tuple[list[Trial], dict[str, int]]:
    """Return the full runs wanted so far, by successive halving where that is on."""
    of_arm = {arm.name: list(experiment.trials_of(arm, FULL)) for arm in experiment.everyone}
    if not experiment.halving:
        return [trial for trials in of_arm.values() for trial in trials], {}
    alive, rung = list(of_arm), 1
    given_up: dict[str, int] = {}
    while rung < experiment.repeats:
        wanted = [trial for name in alive for trial in of_arm[name][:rung]]
        if any(trial not in scores and trial not in failed for trial in wanted):
            return wanted, given_up
        means = {
            name: _mean([scores[trial] for trial in of_arm[name][:rung] if trial in scores])
            for name in alive
        }
        rivals = sorted(
            (name for name in alive if name != experiment.base.name),
            key=lambda name: -means[name],
        )
        stay = set(rivals[: math.ceil(len(rivals) * experiment.halving)])
        for name in rivals:
            if name not in stay:
                given_up[name] = rung
        alive = [name for name in alive if name not in given_up]
        rung *= 2
    return [trial for name in alive for trial in of_arm[name]], given_up


def _mean(values: list[float]) -> float:
    return sum(values) / len(values) if values else -math.inf
