"""How many photos a step: as many as the recipe asks for, or as fit, and the rest accumulated."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping

import keras

from carlib.checkpoints import Position
from carlib.devices import Device
from carlib.errors import RunError
from carlib.freeze import Freezer
from carlib.memory.estimate import need_of_training
from carlib.memory.fit import largest_batch, photos_a_step
from carlib.memory.noun import Need
from carlib.models.own import least_side
from carlib.progress import say
from carlib.spec import AUTO, AUTO_MOST, Phase, Recipe
from carlib.train.fitted import Fitted
from carlib.train.resources import amount
from carlib.train.undo import Undo


def fit_phases(
    model: keras.Model,
    freezer: Freezer,
    recipe: Recipe,
    photos: int,
    position: Position,
    kept: Mapping[str, Fitted],
    device: Device | None,
) -> dict[str, Fitted]:
    """Return, by phase, the photos a step that fit; what is fewer than asked for is told.

    Phases that are done stay as they were. What an earlier session took is kept, or divided
    where this one's device has less memory; by a percent or two it differs from day to day, so
    what is expected counts then, not what is safe. Likewise where the memory is shared with other
    programs: equal runs stay equal whatever else runs, and a number is only made smaller where it
    could never fit.

    Args:
        model: The run's.
        freezer: Of the model; it is left as the last phase wants it.
        recipe: Of the run.
        photos: How many train: no batch is larger.
        position: Where the run goes on.
        kept: Of the sessions before.
        device: That trains; None where it is not known, and all fits.

    Raises:
        RunError: Not even one photo fits.
    """
    found = dict(kept)
    for number, phase in enumerate(recipe.phases):
        if number < position.phase:
            continue
        before = kept.get(phase.name)
        if before and before.asked != phase.batch_size:
            before = None
        if before is None and number == position.phase and (position.epoch or position.step):
            before = asked(phase, photos)  # begun by a version that fitted nothing
        freezer.apply(phase)
        found[phase.name] = _fit(model, recipe, phase, photos, before, device)
    return found


def in_steps(
    undo: Undo,
    recipe: Recipe,
    photos: int,
    before: Mapping[str, Fitted],
    now: Mapping[str, Fitted],
) -> Undo:
    """Return a state in the steps that the phase under way takes from now on.

    Args:
        undo: The state.
        recipe: Of the run.
        photos: How many train.
        before: What its steps were, by phase.
        now: What they are.
    """
    if not (undo.position.epoch or undo.position.step):
        return undo
    phase = recipe.phases[undo.position.phase]
    was = before.get(phase.name) or asked(phase, photos)
    return undo.split(was.batch_size // now[phase.name].batch_size)


def shrunk(phase: Phase, fitted: Fitted, why: str, undo: Undo) -> Fitted:
    """Return smaller steps for a phase of which one ran out of memory, and tell of it.

    Args:
        phase: Of the recipe.
        fitted: Its steps until now.
        why: What was said of it.
        undo: Where the run goes back to.

    Raises:
        RunError: It was a step of one photo.
    """
    if fitted.batch_size == 1:
        raise RunError(
            f"phase {phase.name!r}: out of memory with one photo a step ({why}): lower "
            f"phases.{phase.name}.size or model.size, or run it again, should the memory be in "
            "pieces; what was saved is whole"
        )
    smaller = fitted.halved()
    say(
        f"phase {phase.name!r}: out of memory with {fitted.batch_size} photos a step ({why}); back "
        f"to {undo.name}, then {smaller.describe(phase)}"
    )
    return smaller


def asked(phase: Phase, photos: int) -> Fitted:
    """Return the photos a step that a phase asks for, whatever the memory.

    Args:
        phase: Of the recipe.
        photos: How many train: no batch is larger.

    >>> asked(Phase("all", 1, 1e-3, batch_size="auto"), 1000).batch_size
    32
    """
    return Fitted(phase.batch_size, min(photos_a_step(phase, None), photos))


def _fit(
    model: keras.Model,
    recipe: Recipe,
    phase: Phase,
    photos: int,
    before: Fitted | None,
    device: Device | None,
) -> Fitted:
    wanted = before or asked(phase, photos)
    if device is None:
        return wanted

    def needed(size: int) -> Need:
        """What a step of so many photos needs."""
        trained = Fitted(phase.batch_size, size, wanted.steps).of(phase)
        return need_of_training(model, recipe, trained, size, device)

    most = dataclasses.replace(device, usable=device.most or device.usable, most=0)
    if phase.batch_size == AUTO and before is None:
        size = 2 ** (min(AUTO_MOST, photos).bit_length() - 1)
        while size > 1 and needed(size).safe > device.usable:
            size //= 2
        if size == 1 and needed(1).safe > most.usable:
            raise _nothing_fits(model, recipe, Fitted(AUTO, 1).of(phase), most)
        say(f"phase {phase.name!r}: batch_size = 'auto' is {size} on {device.name}")
        return Fitted(AUTO, size)
    found = needed(wanted.batch_size)
    need = found.expected if before or device.most else found.safe
    if need <= most.usable:
        if need > device.usable:
            say(
                f"phase {phase.name!r}: {wanted.batch_size} photos a step need {amount(need)}, and "
                f"{amount(device.usable)} are free on {device.name} now: end other programs, lest "
                "the system ends the run"
            )
        if wanted.steps > 1:
            say(f"phase {phase.name!r}: {wanted.describe(phase)}, as before")
        return wanted
    device = most
    # Gradients that are accumulated take memory too.
    trained = Fitted(phase.batch_size, wanted.batch_size, max(2, wanted.steps)).of(phase)
    fits = min(largest_batch(model, recipe, trained, device), wanted.batch_size)
    if not fits:
        raise _nothing_fits(model, recipe, trained, device)
    fitted = wanted.dividing(fits) if before else wanted.within(fits)
    same = f"the same effective batch, {fitted.photos * phase.accumulate}"
    if fitted.photos != wanted.photos:
        was, now = wanted.photos * phase.accumulate, fitted.photos * phase.accumulate
        same = f"an effective batch of {now}, no longer {was}"
    say(
        f"phase {phase.name!r}: {wanted.batch_size} photos a step need {amount(need)}, "
        f"{amount(device.usable)} are there on {device.name}: {fitted.describe(phase)}; {same}"
    )
    return fitted


def _nothing_fits(model: keras.Model, recipe: Recipe, phase: Phase, device: Device) -> RunError:
    """Return the error that not even one photo fits, with the largest size of which one does."""
    size = phase.size or recipe.model.size
    least = low = (least_side(recipe.model.backbone) - 1) // 16
    high = (size - 1) // 16
    while low < high and not phase.views:
        middle = (low + high + 1) // 2
        smaller = dataclasses.replace(phase, size=16 * middle)
        if largest_batch(model, recipe, smaller, device):
            low = middle
        else:
            high = middle - 1
    lower = (
        f"a photo of {16 * low} px does: set phases.{phase.name}.size, or " if low > least else ""
    )
    return RunError(
        f"phase {phase.name!r}: not even one photo of {size} px fits into the "
        f"{amount(device.usable)} of {device.name}; {lower}train less of the network "
        f"(phases.{phase.name}.trains) or a smaller one (model.backbone)"
    )
