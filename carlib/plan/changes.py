"""What would make a run cheaper, each change judged as the plan itself is."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Mapping, Sequence

from carlib.models.own import least_side
from carlib.plan.guess import Guesser
from carlib.plan.noun import HOUR, Around, Change, Pace, Work
from carlib.plan.total import ending, lay_out
from carlib.plan.work import works_of
from carlib.spec import Recipe, with_settings
from carlib.train.fitted import Fitted

WORTH = 0.05  # of the hours: less is not worth a word
SMALLEST = 64  # px
VIEWS = 2  # of augmented photos, as carlib's recipes have them

_Candidate = tuple[str, tuple[str, ...], bool]


@dataclasses.dataclass(frozen=True, slots=True)
class Judge:
    """Says what a change to a recipe saves.

    Args:
        guesser: Its ratios scale the paces.
        recipe: As planned.
        photos: That train, and that validate.
        fitted: Photos a step, by phase.
        works: Of the recipe's phases.
        paces: Of the same.
        around: Of the run.
    """

    guesser: Guesser
    recipe: Recipe
    photos: tuple[int, int]
    fitted: Mapping[str, Fitted]
    works: Sequence[Work]
    paces: Sequence[Pace]
    around: Around

    def seconds(self, recipe: Recipe) -> float:
        """Return what a changed recipe takes in one session.

        Args:
            recipe: With the phases of the planned one, by name.
        """
        works = works_of(recipe, *self.photos, self.fitted)
        paces = []
        for number, work in enumerate(works):
            old = self.recipe, self.recipe.phases[number], self.works[number]
            new = recipe, recipe.phases[number], work
            paces.append(self.guesser.changed(old, self.paces[number], new))
        proofs = [self.guesser.around(each).proof for each in (self.recipe, recipe)]
        proof = self.around.proof * proofs[1] / proofs[0]
        around = dataclasses.replace(self.around, proof=proof)
        spent = sum(HOUR * stretch.hours for stretch in lay_out(works, paces, around))
        return around.begin + spent + ending(self.photos[1], around)

    def changes(self) -> tuple[Change, ...]:
        """Return the changes that save a twentieth or more, most saved first.

        Fewer epochs come last whatever they save: they cost accuracy first of all.
        """
        whole = self.seconds(self.recipe)
        found = []
        for what, settings, same in candidates(self.recipe, self.guesser, self.works, self.paces):
            saved = whole - self.seconds(with_settings(self.recipe, settings))
            if saved >= WORTH * whole:
                found.append(Change(what, settings, saved / HOUR, saved / whole, same))
        last = [change for change in found if _fewer_epochs(change)]
        first = [change for change in found if not _fewer_epochs(change)]
        return (*sorted(first, key=lambda change: -change.hours), *last)


def candidates(
    recipe: Recipe, guesser: Guesser, works: Sequence[Work], paces: Sequence[Pace]
) -> Iterator[_Candidate]:
    """Yield changes to try: in words, as settings, and whether the result stays the same."""
    for phase in recipe.phases:
        if phase.head_only and not phase.views and not (phase.mixup or phase.cutmix):
            # The same photos every epoch have the same features.
            plain = phase.augment == "none" and not phase.erasing
            views = 1 if plain else VIEWS
            what = f"{phase.name} on cached features"
            yield (
                what if plain else f"{what} of {views} views",
                (f"phases.{phase.name}.views={views}",),
                plain,
            )
    size = int(0.75 * recipe.model.size) // 32 * 32
    sides = {
        phase.name: max(32, round(phase.size * size / recipe.model.size / 16) * 16)
        for phase in recipe.phases
        if phase.size
    }
    if size >= SMALLEST and min([size, *sides.values()]) >= least_side(recipe.model.backbone):
        settings = [f"model.size={size}"]
        settings += [f"phases.{name}.size={side}" for name, side in sides.items()]
        yield f"{size} instead of {recipe.model.size} px", tuple(settings), False
    dear = sorted(
        zip(recipe.phases, works, paces, strict=True),
        key=lambda each: -each[1].epochs * each[1].steps * each[2].step,
    )
    for thawed in [phase for phase, _, _ in dear if phase.share][:1]:
        share = round(thawed.share / 2, 4)
        was = thawed.trains if isinstance(thawed.trains, str) else f"{thawed.trains:.2g}"
        yield (
            f"the upper {share:.2g} instead of {was} of the network in {thawed.name}",
            (f"phases.{thawed.name}.trains={share}",),
            False,
        )
    if guesser.device.kind == "gpu":
        if recipe.model.dtype == "float32" and guesser.device.tensor_cores:
            yield "mixed_float16", ("model.dtype=mixed_float16",), False
        if recipe.determinism == "exact":
            yield "steps that XLA compiles, no longer bit for bit", ("determinism=fast",), True
    dearest = dear[0][0]
    fewer = max(1, round(0.7 * dearest.epochs))
    if fewer < dearest.epochs:
        settings = [f"phases.{dearest.name}.epochs={fewer}"]
        if dearest.warmup > fewer:
            settings.append(f"phases.{dearest.name}.warmup={fewer}")
        what = f"{fewer} instead of {dearest.epochs} epochs in {dearest.name}"
        yield what, tuple(settings), False


def _fewer_epochs(change: Change) -> bool:
    return any(".epochs=" in setting for setting in change.settings)
