"""Greedy search for augmentation: each round's arms follow from the results before it."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Iterator, Sequence
from typing import Protocol

from carlib.augment import preset_named
from carlib.errors import UsageError
from carlib.experiments.noun import Arm, Experiment, Search
from carlib.experiments.verdict import BETTER, Comparison

_CHANGE = re.compile(r"([+-])([A-Za-z0-9]+)")


class Judged(Protocol):
    """An arm with its verdict, as a table's line has it."""

    @property
    def arm(self) -> Arm: ...

    @property
    def comparison(self) -> Comparison | None: ...


def round_after(experiment: Experiment, rounds: Sequence[Sequence[Judged]]) -> Experiment | None:
    """Return what is to be run after so many finished rounds; None where all is said.

    Without a search that is the experiment itself, once. A search takes the best of the arms that
    are better as the next base, and ends where none is. Its alpha is shared out over its rounds
    (Bonferroni), so that a search of nothing but noise moves as seldom as any experiment errs.

    Args:
        experiment: What is asked.
        rounds: Of each finished round, its arms with their verdicts.

    Raises:
        UsageError: A search whose base does not augment, or its phases differently.
    """
    if experiment.search is None:
        return None if rounds else experiment
    base = start_of(experiment)
    seen = [_done_by(base)]
    for judged in rounds:
        if (better := _winner(judged)) is None:
            return None
        base = better
        seen.append(_done_by(base))
    if len(rounds) >= experiment.search.rounds:
        return None
    arms = [text for text in neighbours(base, experiment.search) if _done_by(text) not in seen]
    if not arms:
        return None
    return dataclasses.replace(
        experiment,
        name=f"{experiment.name}: round {len(rounds) + 1}",
        base=_arm(experiment, base),
        arms=tuple(_arm(experiment, text) for text in arms),
        alpha=experiment.alpha / experiment.search.rounds,
        search=None,
    )


def start_of(experiment: Experiment) -> str:
    """Return the preset or expression that a search begins with: that of its base's phases."""
    found = {phase.augment for phase in experiment.base.recipe.phases} - {"none"}
    if len(found) > 1:
        raise UsageError(
            f"a search needs phases that augment alike; these have {sorted(found)}: choose one, "
            "set = ['phases.*.augment=...']"
        )
    if not found:
        raise UsageError(
            "a search begins with what its base's phases augment by, and they do not augment; "
            "begin with little, set = ['phases.all.augment=light']"
        )
    return found.pop()


def neighbours(text: str, search: Search) -> Iterator[str]:
    """Yield what is one transform away.

    Args:
        text: A preset or an expression.
        search: What may be added, and whether may be dropped.

    >>> list(neighbours("light+ToGray", Search(("Blur",))))[:2]
    ['light+ToGray+Blur', 'light+ToGray-RandomResizedCrop']
    >>> "light" in neighbours("light+ToGray", Search())
    True
    """
    there = _names(text)
    for name in search.add:
        if name not in there:
            yield _changed(text, "+", name)
    for name in there if search.drop else ():
        yield _changed(text, "-", name)


def _changed(text: str, sign: str, name: str) -> str:
    """The expression with a change more, or without the opposite one that it takes back."""
    preset, changes = re.split(r"(?=[+-])", text, maxsplit=1)[0], _CHANGE.findall(text)
    opposite = "-" if sign == "+" else "+", name
    if opposite in changes:
        changes.remove(opposite)
    else:
        changes.append((sign, name))
    return preset + "".join(map("".join, changes))


def _names(text: str) -> list[str]:
    """Transforms of a preset, those of a OneOf each by itself; each name once."""
    found: dict[str, None] = {}
    for name, options in preset_named(text).transforms:
        inner = [each for each, _ in options.get("transforms", ())]
        found |= dict.fromkeys(inner or [name])
    return list(found)


def _done_by(text: str) -> tuple[object, ...]:
    """What is done to a photo, whatever changes it is said by and in which order they came."""
    preset = preset_named(text)
    return preset.transforms, preset.margin


def _winner(judged: Sequence[Judged]) -> str | None:
    better = [
        (each.comparison.difference.mean, each.arm.name)
        for each in judged
        if each.comparison and each.comparison.verdict == BETTER
    ]
    return max(better)[1] if better else None


def _arm(experiment: Experiment, text: str) -> Arm:
    recipe = experiment.base.recipe
    phases = tuple(
        dataclasses.replace(phase, augment=text) if phase.augment != "none" else phase
        for phase in recipe.phases
    )
    changes = "".join(map("".join, _CHANGE.findall(text)))
    return Arm(text, dataclasses.replace(recipe, phases=phases), (changes,) if changes else ())
