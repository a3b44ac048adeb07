"""Seconds of a recipe's steps where none can be measured, and what a change makes of them."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence

from carlib.devices import Device
from carlib.freeze import Freezer
from carlib.plan.layers import Profile
from carlib.plan.noun import Around, Pace, Work
from carlib.spec import Phase, Recipe
from carlib.train.stage import VALIDATION_BATCH

# Seconds, on servers like Kaggle's; nobody knows them before.
BEGIN, EXPORT, SAVE, END = 40.0, 4.0, 2.0, 15.0
TRACE = 0.08  # a layer of a training step, without XLA; with it twice as long
HEAD = 0.005  # a head's step on kept features: nothing but calls


@dataclasses.dataclass(frozen=True, slots=True)
class Guesser:
    """Guesses paces of a model on a device.

    Args:
        profile: Of the model.
        freezer: Of the model: says which blocks a phase trains.
        device: With known speed.
    """

    profile: Profile
    freezer: Freezer
    device: Device

    def pace(self, recipe: Recipe, phase: Phase, work: Work, loading: float = 0.0) -> Pace:
        """Return a phase's pace.

        Args:
            recipe: Its precision, determinism and photo size count.
            phase: What it trains, and on what.
            work: Its batch.
            loading: Seconds that the photos of a step take to be loaded; 0 where it is not known.
        """
        half = recipe.model.dtype == "mixed_float16"
        # As Keras decides it: alone on a GPU, and where operations need not be deterministic.
        xla = self.device.kind == "gpu" and recipe.determinism == "fast"
        common = {"half": half, "xla": xla}
        trains = self.freezer.apply(phase).blocks
        loading = 0.0 if phase.views else loading
        computing = self.profile.seconds(
            self.device,
            batch=work.batch,
            size=work.size,
            trains=trains,
            above="head" if phase.views else "",
            **common,
        )
        if phase.views:
            computing = max(computing, HEAD)
        # A forward pass is one function of TensorFlow, which XLA leaves alone.
        features, validation = (
            self.profile.seconds(self.device, batch=VALIDATION_BATCH, size=size, half=half)
            for size in (work.size, recipe.model.size)
        )
        waited = loading * VALIDATION_BATCH / work.batch
        return Pace(
            step=max(computing, loading),
            computing=computing,
            loading=loading,
            features=max(features, waited) if work.features else 0.0,
            validation=max(validation, waited) if work.validation else 0.0,
            start=TRACE * len(self.profile.layers) * (2 if xla else 1),
        )

    def paces(
        self, recipe: Recipe, works: Sequence[Work], loading: Mapping[str, float]
    ) -> tuple[Pace, ...]:
        """Return ``pace`` of every phase; ``loading`` by name of the phase."""
        return tuple(
            self.pace(recipe, phase, work, loading.get(phase.name, 0.0))
            for phase, work in zip(recipe.phases, works, strict=True)
        )

    def around(self, recipe: Recipe) -> Around:
        """Return what a run takes beside its phases' work."""
        half = recipe.model.dtype == "mixed_float16"
        proof = self.profile.seconds(
            self.device, batch=VALIDATION_BATCH, size=recipe.model.size, half=half
        )
        return Around(BEGIN, EXPORT, SAVE, END, proof)

    def changed(
        self, old: tuple[Recipe, Phase, Work], pace: Pace, new: tuple[Recipe, Phase, Work]
    ) -> Pace:
        """Return a pace after a change: measured seconds times the ratio of two guesses.

        Args:
            old: What ``pace`` is of.
            pace: Measured, or guessed.
            new: After the change.
        """
        before, after = self.pace(*old), self.pace(*new)
        was, now = old[1], new[1]
        batches = new[2].batch / old[2].batch
        ratio = after.computing / before.computing
        if now.views and not was.views:
            # Photos load beside the passes as they did beside the steps.
            features = pace.step * self._forward(new) / before.computing
            return dataclasses.replace(
                pace,
                step=HEAD,
                computing=HEAD,
                loading=0.0,
                features=features,
                validation=0.0,
                traces=pace.start / 2,
            )
        computing = pace.computing * ratio
        loading = pace.loading * batches
        step = max(pace.step - pace.computing + computing, loading)
        scale = {
            name: getattr(after, name) / getattr(before, name) if getattr(before, name) else 1.0
            for name in ("features", "validation")
        }
        return dataclasses.replace(
            pace,
            step=step,
            computing=computing,
            loading=loading,
            features=pace.features * scale["features"],
            validation=pace.validation * scale["validation"],
        )

    def _forward(self, of: tuple[Recipe, Phase, Work]) -> float:
        recipe, _, work = of
        half = recipe.model.dtype == "mixed_float16"
        return self.profile.seconds(self.device, batch=VALIDATION_BATCH, size=work.size, half=half)
