"""How a recipe's memory grows with what: photos a step, their side, what trains, the optimizer."""

from __future__ import annotations

import dataclasses
import math
from dataclasses import dataclass
from typing import Any

import keras

from carlib.devices import Device
from carlib.freeze import Freezer
from carlib.memory.estimate import EVERYTHING, need_of_training
from carlib.memory.fixed import nbytes, slots_of
from carlib.memory.noun import Forecast, Need
from carlib.memory.step import training_step
from carlib.models.build import blocks, build_model, resized
from carlib.models.own import least_side
from carlib.spec import DTYPES, Phase, Recipe
from carlib.steps import trainer_of

STEP = 32  # px between two photo sizes: networks halve them five times
LEAST, MOST = 32, 2048  # px
SHARES = (0.0, 0.25, 0.5, 0.75, 1.0)  # of the blocks below the head, frozen, for a table


@dataclass(frozen=True, slots=True)
class Frozen:
    """What a step needs where the first blocks are frozen.

    Args:
        blocks: How many, of those below the head.
        of_blocks: How many there are.
        trained: Parameters that still train, as a share of those that train with nothing frozen.
        requested: R, in bytes.
        kept: Features are cached, so that the photos' way through the network is no part of it.
    """

    blocks: int
    of_blocks: int
    trained: float
    requested: int
    kept: bool = False

    @property
    def share(self) -> float:
        """Of the blocks below the head that are frozen."""
        return self.blocks / self.of_blocks


@dataclass(frozen=True, slots=True)
class Remedy:
    """One change by which a phase fits.

    Args:
        what: In words.
        setting: That ``--set`` takes; one or more, a space between.
        safe: T with it, in bytes.
        saved: Share of R that goes.
    """

    what: str
    setting: str
    safe: int
    saved: float


@dataclass(frozen=True, slots=True)
class Explanation:
    """How the need of a recipe's largest phase grows, in bytes of R.

    Args:
        need: Of the phase.
        phase: Of the recipe.
        batches: (photos a step, R), ascending.
        sides: (side in px, R), ascending; empty where it trains on cached features.
        frozen: R with more and more blocks frozen, from none to all but the head; the last on
            cached features.
        slots: Of the optimizer, by its name.
        precisions: R by dtype policy; empty where it trains on cached features.
        to_fit: By name of a phase that does not fit into the forecast's device, what would.
    """

    need: Need
    phase: Phase
    batches: tuple[tuple[int, int], ...]
    sides: tuple[tuple[int, int], ...]
    frozen: tuple[Frozen, ...]
    slots: dict[str, int]
    precisions: dict[str, int]
    to_fit: dict[str, tuple[Remedy, ...]]

    @property
    def fixed(self) -> int:
        """R that no photo adds to: the line through the batches, at none."""
        return self.need.requested - self.need.per_photo * self.need.batch

    @property
    def table(self) -> tuple[Frozen, ...]:
        """Of ``frozen``, the nearest to each of SHARES, and the head on cached features."""
        *cuts, kept = self.frozen
        nearest = (min(cuts, key=lambda cut: abs(cut.share - share)) for share in SHARES)
        return (*dict.fromkeys(nearest), kept)

    def figures(self) -> dict[str, Any]:
        """Return all of it as numbers, lists and texts, for JSON."""
        said = dataclasses.asdict(self)
        del said["need"]
        return {**said, "phase": self.phase.name, "fixed": self.fixed}


def explain(recipe: Recipe, forecast: Forecast, model: keras.Model) -> Explanation:
    """Return how the need of a recipe's largest phase grows, and what would make phases fit.

    Args:
        recipe: Of the forecast.
        forecast: Of ``estimate_memory``.
        model: Of the recipe, just built or estimated before; it is left with all of it training.

    >>> from carlib.memory.estimate import estimate_memory
    >>> from carlib.spec import ModelSpec
    >>> recipe = Recipe("r", ModelSpec("tiny", 32), (Phase("all", 1, 1e-3),))
    >>> model = build_model(recipe.model, 10)
    >>> said = explain(recipe, estimate_memory(recipe, 10, model=model), model)
    >>> said.slots["adam"] == 2 * said.slots["sgd, momentum"]
    True
    """
    recipe = recipe.with_probe()
    # Where there is one, a phase that runs the network: what it costs is what people ask.
    needs = [need for need in forecast.phases if need.work == "training"] or forecast.phases
    need = max(needs, key=lambda each: each.safe)
    phases = {phase.name: phase for phase in recipe.phases}
    freezer = Freezer(model)
    tried = Trial(recipe, phases[need.name], need, model, freezer)
    to_fit = {}
    if forecast.device is not None:
        for other in forecast.phases:
            if other.safe > forecast.device.usable:
                trial = Trial(recipe, phases[other.name], other, model, freezer)
                most = forecast.largest[other.name] or 0
                to_fit[other.name] = trial.remedies(forecast.device, most)
    explanation = Explanation(
        need,
        phases[need.name],
        tried.batches(),
        tried.sides(),
        tried.frozen(),
        tried.slots(),
        tried.precisions(),
        to_fit,
    )
    freezer.apply(EVERYTHING)
    return explanation


class Trial:
    """A phase, and its variants.

    Args:
        recipe: Of the phase.
        phase: Of the recipe.
        need: Of the phase.
        model: Of the recipe.
        freezer: Of the model.
    """

    def __init__(
        self, recipe: Recipe, phase: Phase, need: Need, model: keras.Model, freezer: Freezer
    ):
        self.recipe, self.need, self.model, self.freezer = recipe, need, model, freezer
        # Said in the phase, so that a model of that size is taken as it is.
        self.phase = dataclasses.replace(phase, size=need.size)
        self.sized = {need.size: resized(model, need.size)}
        self.below = len(blocks(model)) - 1
        self.least = max(LEAST, least_side(recipe.model.backbone))

    def of_size(self, size: int) -> keras.Model:
        """The model for photos of a size, made once."""
        if size not in self.sized:
            self.sized[size] = resized(self.model, size)
        return self.sized[size]

    def requested(self, phase: Phase, batch: int = 0, model: keras.Model | None = None) -> int:
        """R of a phase's step; ``batch`` defaults to the phase's, ``model`` to the own one."""
        if model is None:
            # The head's layers know the photo size they were built with.
            model = self.model if phase.views else self.of_size(phase.size)
        trainer = trainer_of(model, self.recipe, phase)
        walk = training_step(trainer, phase, batch or self.need.batch)
        return nbytes(model.variables) + slots_of(trainer, phase) + walk.tape.peak().nbytes

    def batches(self) -> tuple[tuple[int, int], ...]:
        """R at some sizes of a batch, up to twice the phase's."""
        self.freezer.apply(self.phase)
        batch = self.need.batch
        tried = sorted({1, *(max(1, batch * quarter // 4) for quarter in (1, 2, 4, 6, 8))})
        return tuple((each, self.requested(self.phase, each)) for each in tried)

    def sides(self) -> tuple[tuple[int, int], ...]:
        """R at three photo sizes: the phase's, a quarter smaller and a quarter larger."""
        if self.phase.views:
            return ()
        self.freezer.apply(self.phase)
        own = self.phase.size
        others = (
            min(_multiple(0.75 * own), own - STEP),
            max(_multiple(1.25 * own), own + STEP),
        )
        tried = sorted({own, *(side for side in others if self.least <= side <= MOST)})
        return tuple((side, self.requested(self.sides_as(side))) for side in tried)

    def sides_as(self, side: int) -> Phase:
        """The phase on photos of another size."""
        return dataclasses.replace(self.phase, size=side)

    def frozen_as(self, count: int) -> Phase:
        """The phase with the first ``count`` blocks frozen, through the network."""
        trains: str | float = "all" if not count else (self.below - count) / self.below
        return dataclasses.replace(
            self.phase, trains=trains or "head", share_by="blocks", views=0, mixup=0.0, cutmix=0.0
        )

    def frozen(self) -> tuple[Frozen, ...]:
        """R with more and more blocks frozen, and with the head on cached features."""
        cuts, whole = [], 0
        for count in range(self.below + 1):
            phase = self.frozen_as(count)
            trained = self.freezer.apply(phase).trainable_parameters
            whole = whole or trained
            cuts.append(Frozen(count, self.below, trained / whole, self.requested(phase)))
        kept = dataclasses.replace(self.frozen_as(self.below), views=1)
        last = Frozen(self.below, self.below, cuts[-1].trained, self.requested(kept), kept=True)
        return (*cuts, last)

    def slots(self) -> dict[str, int]:
        """Bytes of the optimizer's state, by optimizer."""
        self.freezer.apply(self.phase)
        trainer = trainer_of(self.of_size(self.phase.size), self.recipe, self.phase)
        plain = dataclasses.replace(self.phase, ema=0.0, accumulate=1)
        kinds = {"adam": ("adam", 0.9), "adamw": ("adamw", 0.9)}
        kinds |= {"sgd, momentum": ("sgd", 0.9), "sgd": ("sgd", 0.0)}
        return {
            name: slots_of(trainer, dataclasses.replace(plain, optimizer=kind, momentum=momentum))
            for name, (kind, momentum) in kinds.items()
        }

    def precisions(self) -> dict[str, int]:
        """R in both precisions; the other one's network is built for it."""
        if self.phase.views:
            return {}
        found = {self.recipe.model.dtype: self.need.requested}
        classes = self.model.output_shape[-1]
        for dtype in DTYPES:
            if dtype not in found:
                spec = dataclasses.replace(self.recipe.model, weights="none", dtype=dtype)
                other = build_model(dataclasses.replace(spec, size=self.phase.size), classes)
                Freezer(other).apply(self.phase)
                found[dtype] = self.requested(self.phase, model=other)
        return {dtype: found[dtype] for dtype in DTYPES}

    def remedies(self, device: Device, most: int) -> tuple[Remedy, ...]:
        """What would make the phase fit into a device, one change at a time.

        Args:
            device: Its usable memory counts.
            most: The largest batch that fits, 0 where none does.
        """
        phase, name = self.phase, self.phase.name
        if self.recipe.linear_probe and name == "probe":
            return ()  # no setting reaches it
        found = []
        if most:
            self.freezer.apply(phase)
            need = self._need(phase, most)
            found.append(self._remedy(f"batch {most}", f"batch_size={most}", need))
        if not phase.views and (side := self._largest_side(device)):
            self.freezer.apply(phase)
            need = self._need(self.sides_as(side))
            found.append(self._remedy(f"photos of {side} px", f"size={side}", need))
        if phase.share and (count := self._fewest_frozen(device)):
            need = self._need_frozen(count)
            share, trains = count / self.below, self.frozen_as(count).trains
            what = f"the first {share:.0%} of blocks frozen" if share < 1 else "the head alone"
            setting = f"trains={trains if isinstance(trains, str) else f'{trains:.3g}'}"
            if share < 1 and phase.share_by != "blocks":
                setting += f" phases.{name}.share_by=blocks"
            found.append(self._remedy(what, setting, need))
        return tuple(found)

    def _need(self, phase: Phase, batch: int = 0) -> Need:
        model = self.model if phase.views else self.of_size(phase.size)
        return need_of_training(model, self.recipe, phase, batch or self.need.batch)

    def _need_frozen(self, count: int) -> Need:
        phase = self.frozen_as(count)
        self.freezer.apply(phase)
        return self._need(phase)

    def _remedy(self, what: str, setting: str, need: Need) -> Remedy:
        saved = 1 - need.requested / self.need.requested
        return Remedy(what, f"phases.{self.phase.name}.{setting}", need.safe, saved)

    def _largest_side(self, device: Device) -> int:
        """The largest smaller side whose T fits, 0 where none does."""
        self.freezer.apply(self.phase)
        own, fixed = self.need.size, self.need.terms["weights"] + self.need.terms["slots"]
        room, grows = device.usable - fixed, self.need.safe - fixed
        guess = own * math.sqrt(max(0.0, room / grows))  # the law, to begin with
        side = min(max(self.least, _multiple(guess)), _multiple(own - 1 - STEP / 2))
        fits: dict[int, bool] = {}
        while self.least <= side < own and side not in fits:
            fits[side] = self._need(self.sides_as(side)).safe <= device.usable
            side += STEP if fits[side] else -STEP
        return max((side for side, good in fits.items() if good), default=0)

    def _fewest_frozen(self, device: Device) -> int:
        """The fewest blocks that have to be frozen, 0 where not even all are enough."""
        low, high = 0, self.below + 1  # what does not fit, and what does
        while high - low > 1:
            middle = (low + high) // 2
            fits = self._need_frozen(middle).safe <= device.usable
            low, high = (low, middle) if fits else (middle, high)
        return high if high <= self.below else 0


def _multiple(side: float) -> int:
    """The multiple of STEP next to a side, in px."""
    return STEP * round(side / STEP)
