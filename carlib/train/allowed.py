"""What a recipe may change in the middle of its run, when asked to.

The state of a run fits another recipe only where nothing that was trained, or is being trained,
is another: what is allowed here leaves every kept value its meaning.
"""

from __future__ import annotations

from collections.abc import Iterable

from carlib.checkpoints import Position
from carlib.errors import look_up
from carlib.spec import Difference, Recipe, differences

# By what --allow calls it: what that is, for people.
ALLOWED = {
    "epochs": "epochs, early_stop and patience of the phase under way and of those to come",
    "phases": "anything in phases not begun yet; phases added or dropped behind the one under way",
    "determinism": "exact or fast",
    "weights": "where the pretrained weights lie: the checkpoint holds all of them",
}
_OF_EPOCHS = ("epochs", "early_stop", "patience")


def check_allow(allow: Iterable[str]) -> None:
    """Raise UsageError for a kind of change that is not in ALLOWED.

    >>> check_allow(["epochs"])
    """
    for kind in allow:
        look_up(ALLOWED, kind, "--allow")


def refused(old: Recipe, new: Recipe, position: Position, allow: Iterable[str]) -> list[str]:
    """Return the differences that may not be, each with what would allow it, if anything.

    Args:
        old: The checkpoint's recipe.
        new: The one to go on with.
        position: Where it goes on.
        allow: Kinds of ALLOWED that are accepted.

    >>> from carlib.spec import ModelSpec, Phase, with_settings
    >>> recipe = Recipe("r", ModelSpec("tiny", 32), (Phase("all", 4, 1e-3),))
    >>> more = with_settings(recipe, ["phases.all.epochs=6", "seed=1"])
    >>> refused(recipe, more, Position(0, 2), [])
    ['phases.all.epochs: 4 -> 6 (--allow epochs)', 'seed: 0 -> 1']
    >>> refused(recipe, more, Position(0, 2), ["epochs"])
    ['seed: 0 -> 1']
    """
    found, allowed = [], set(allow)
    for difference in differences(old, new):
        kinds = _kinds(difference, old, new, position)
        if not kinds:
            found.append(str(difference))
        elif not allowed.intersection(kinds):
            found.append(f"{difference} (--allow {kinds[0]})")
    return found


def _kinds(difference: Difference, old: Recipe, new: Recipe, position: Position) -> list[str]:
    """The kinds of ALLOWED that a difference is of; none where it may never be."""
    where, field = difference.where, difference.field
    if where in ("", "model"):
        return [field] if (where, field) in (("", "determinism"), ("model", "weights")) else []
    under_way = bool(position.epoch or position.step)
    begun = [phase.name for phase in old.phases[: position.phase + under_way]]
    if where == "phases":
        return ["phases"] if [phase.name for phase in new.phases[: len(begun)]] == begun else []
    name = where.removeprefix("phases.")
    if name not in begun:
        return ["epochs", "phases"] if field in _OF_EPOCHS else ["phases"]
    if name != begun[-1] or not under_way or field not in _OF_EPOCHS:
        return []
    enough = field != "epochs" or difference.new > position.epoch
    return ["epochs"] if enough else []
