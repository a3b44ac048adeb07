"""What a recipe has to do on so many photos, counted as the training loop does it."""

from __future__ import annotations

from collections.abc import Mapping

from carlib.plan.noun import Work
from carlib.spec import Phase, Recipe
from carlib.train.fitted import Fitted
from carlib.train.fitting import asked
from carlib.train.stage import VALIDATION_BATCH


def batches(photos: int) -> int:
    """Return the batches that so many photos go forward through the network in.

    >>> batches(65)
    2
    """
    return -(-photos // VALIDATION_BATCH)


def work_of(
    recipe: Recipe, phase: Phase, training: int, validation: int, fitted: Fitted | None = None
) -> Work:
    """Return what a phase has to do.

    Args:
        recipe: Of the phase.
        phase: Its epochs are the most there are; ``early_stop`` may end it before.
        training: Photos that train.
        validation: Photos that validate.
        fitted: Photos a step, where memory decides. Defaults to the phase's own.

    >>> from carlib.spec import ModelSpec
    >>> phase = Phase("head", 15, 1e-3, trains="head", views=2)
    >>> work = work_of(Recipe("r", ModelSpec("tiny", 48), (phase,)), phase, 480, 120)
    >>> work.steps, work.features, work.validation
    (15, 18, 0)
    """
    fitted = fitted or asked(phase, training)
    batch = min(fitted.batch_size, training)
    whole = training // batch
    # Of each view that an epoch trains on, and of the validation photos once.
    views = min(phase.views, phase.epochs)
    features = views * batches(training) + batches(validation) if views else 0
    return Work(
        name=phase.name,
        epochs=phase.epochs,
        steps=whole - whole % fitted.steps,
        batch=batch,
        size=phase.size or recipe.model.size,
        features=features,
        validation=0 if phase.views else batches(validation),
        at_most=bool(phase.early_stop),
    )


def works_of(
    recipe: Recipe, training: int, validation: int, fitted: Mapping[str, Fitted]
) -> tuple[Work, ...]:
    """Return ``work_of`` of every phase.

    Args:
        recipe: With its linear probe among the phases, where it has one.
        training: Photos that train.
        validation: Photos that validate.
        fitted: By name of the phase; what is not in it takes what it asks for.
    """
    return tuple(
        work_of(recipe, phase, training, validation, fitted.get(phase.name))
        for phase in recipe.phases
    )
