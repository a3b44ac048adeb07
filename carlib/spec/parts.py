"""ModelSpec and Recipe, of Phases: frozen dataclasses that refuse nonsense when they are made."""

from __future__ import annotations

import dataclasses
import hashlib
import json
from dataclasses import dataclass, field
from typing import Any

from carlib.errors import UsageError
from carlib.spec.checks import flag, number, one_of, text
from carlib.spec.phase import Phase

RESIZES = ("stretch", "crop", "pad")
DTYPES = ("float32", "mixed_float16")
LOSSES = ("crossentropy", "focal")
POOLINGS = ("average", "max", "both")
CLASS_WEIGHTS = ("none", "balanced")
DETERMINISMS = ("exact", "fast")


@dataclass(frozen=True, slots=True)
class ModelSpec:
    """A classifier before it is built.

    Args:
        backbone: Name in the backbones table (``carlib.models.BACKBONES``).
        size: Side of the square photo the network sees, in px.
        resize: How a photo becomes square: "stretch" (aspect is lost), "crop" (the
            middle), "pad" (black borders). Defaults to "stretch".
        pooling: What a photo's feature map becomes: its "average", its "max", or "both" side by
            side. Defaults to "average".
        head_norm: A BatchNorm over the pooled features, which trains in every phase that learns.
            Defaults to False.
        hidden: Units of a dense layer with ReLU between the pooled features and the classifier;
            0 means none. Defaults to 0.
        head: Name of a head of your own, which lays what is between the pooled features and the
            classifier (docs/own.md); "" means ``head_norm`` and ``hidden``. Defaults to "".
        dropout: Share of what the classifier sees that is dropped: of the pooled features, or of
            the hidden layer's. Defaults to 0.2.
        drop_connect: Share of photos for which the deepest block with a skip connection is left
            out in training, the others in proportion to their depth (Huang et al. 2016,
            arxiv.org/abs/1603.09382). Defaults to 0.2, as EfficientNet has it.
        weights: "none", "imagenet", "noisy-student", or the path of a file.
        dtype: Keras dtype policy, "float32" or "mixed_float16".

    Raises:
        UsageError: A value out of its bounds.

    >>> ModelSpec("tiny", 32).resize
    'stretch'
    """

    backbone: str
    size: int
    resize: str = "stretch"
    pooling: str = "average"
    head_norm: bool = False
    hidden: int = 0
    head: str = ""
    dropout: float = 0.2
    drop_connect: float = 0.2
    weights: str = "none"
    dtype: str = "float32"

    def __post_init__(self) -> None:
        text(self, "backbone", "weights")
        number(self, "size", 16, 2048, whole=True)
        one_of(self, "resize", RESIZES)
        one_of(self, "pooling", POOLINGS)
        flag(self, "head_norm")
        number(self, "hidden", 0, 65_536, whole=True)
        if self.head != "":
            text(self, "head")
        if self.head and (self.head_norm or self.hidden):
            raise UsageError(
                f"ModelSpec: head {self.head!r} lays its own layers, and head_norm or hidden asks "
                "for carlib's; leave these at false and 0, or head at ''"
            )
        for name in ("dropout", "drop_connect"):
            number(self, name, 0, 0.95, whole=False)
        one_of(self, "dtype", DTYPES)


@dataclass(frozen=True, slots=True)
class Recipe:
    """A whole training run: model, phases, seed.

    Args:
        name: For people; not in the digest, like ``description`` and ``measured``.
        model: What is trained.
        phases: In order; each starts from the weights the one before ended with.
        seed: Of initial weights, split, order, augmentation, dropout. Defaults to 0.
        loss: "crossentropy", or "focal": what is hard counts more (Lin et al. 2017,
            arxiv.org/abs/1708.02002). Defaults to "crossentropy".
        focal_gamma: Exponent of "focal": 0 is crossentropy. Defaults to 2.
        label_smoothing: Share of the target spread over all classes. Defaults to 0.
        class_weights: "none", or "balanced" (a photo counts inversely to its class's photos,
            on average 1). Defaults to "none".
        linear_probe: Epochs of a linear probe before the phases: the head alone, on cached
            features of the plain photos (``with_probe``). 0 means none. Defaults to 0.
        validation_share: Share of each class's photos kept for validation, up to 0.5. 0 trains
            on everything: the last epoch counts as the best. Defaults to 0.2.
        folds: From 2: validation is one of so many equal parts instead, each photo in one of
            them. 0 means validation_share. Defaults to 0.
        fold: Which of the folds, counted from 0. Defaults to 0.
        training_share: Share of each class's training photos that train, above 0 to 1; who
            validates stays the same. For learning curves and cheap trials. Defaults to 1.
        monitor: What makes an epoch the best one, on validation: "accuracy", "macro_f1"
            (higher), "loss", "log_loss" (lower), the name of a Keras metric, or one of your own.
            Defaults to "accuracy".
        determinism: "exact" (bit for bit repeatable, op determinism on) or "fast".
        description: One sentence on what it is for.
        measured: The command it was measured with, and what came out; "" where it was not.

    >>> Recipe("r", ModelSpec("tiny", 32), (Phase("all", 1, 1e-3),)).epochs
    1
    """

    name: str
    model: ModelSpec
    phases: tuple[Phase, ...]
    seed: int = 0
    loss: str = "crossentropy"
    focal_gamma: float = 2.0
    label_smoothing: float = 0.0
    class_weights: str = "none"
    linear_probe: int = 0
    validation_share: float = 0.2
    folds: int = 0
    fold: int = 0
    training_share: float = 1.0
    monitor: str = "accuracy"
    determinism: str = "exact"
    description: str = field(default="", compare=False)
    measured: str = field(default="", compare=False)

    def __post_init__(self) -> None:
        text(self, "name", "monitor")
        if not isinstance(self.model, ModelSpec):
            raise UsageError(f"Recipe: model must be a ModelSpec; received {self.model!r}")
        # One Phase in brackets without a comma is no tuple.
        given = self.phases if isinstance(self.phases, list | tuple) else (self.phases,)
        if not given or not all(isinstance(phase, Phase) for phase in given):
            raise UsageError(f"Recipe: phases must be one Phase or more; received {given!r}")
        object.__setattr__(self, "phases", tuple(given))
        for name in ("description", "measured"):
            if not isinstance(getattr(self, name), str):
                value = getattr(self, name)
                raise UsageError(f"Recipe: {name} must be a text; received {value!r}")
        names = [phase.name for phase in self.phases]
        if len(set(names)) < len(names):
            raise UsageError(f"Recipe: phase names must differ; received {', '.join(names)}")
        number(self, "seed", 0, 2**32 - 1, whole=True)
        one_of(self, "loss", LOSSES)
        number(self, "focal_gamma", 0, 10, whole=False)
        number(self, "label_smoothing", 0, 0.9, whole=False)
        one_of(self, "class_weights", CLASS_WEIGHTS)
        number(self, "linear_probe", 0, 100_000, whole=True)
        number(self, "validation_share", 0, 0.5, whole=False)
        if self.folds != 0:
            number(self, "folds", 2, 1000, whole=True)
        number(self, "fold", 0, self.folds - 1 if self.folds else 999, whole=True)
        if self.fold and not self.folds:
            raise UsageError(f"Recipe: fold is {self.fold}, but of how many? set folds, from 2")
        number(self, "training_share", 0, 1, whole=False)
        if not self.training_share:
            raise UsageError("Recipe: training_share must be above 0, up to 1; received 0")
        for phase in self.phases if not self.validates else ():
            if phase.schedule == "plateau" or phase.early_stop or phase.restore_best:
                raise UsageError(
                    f"Recipe: phase {phase.name!r} looks at the validation (plateau, early_stop or "
                    "restore_best), and with validation_share = 0 there is none; give it a "
                    "schedule that does not, and the epochs of an earlier run"
                )
        one_of(self, "determinism", DETERMINISMS)

    @property
    def validates(self) -> bool:
        """Whether photos are kept back for validation."""
        return self.validation_share > 0 or self.folds > 0

    @property
    def epochs(self) -> int:
        """Epochs of all phases together."""
        return sum(phase.epochs for phase in self.phases)

    def with_probe(self) -> Recipe:
        """Return the recipe with its linear probe as its first phase, "probe".

        A head of random weights would tear at pretrained ones below it (Kumar et al. 2022,
        arxiv.org/abs/2202.10054: linear probing, then fine-tuning).

        >>> phases = (Phase("all", 1, 1e-3),)
        >>> recipe = Recipe("r", ModelSpec("tiny", 32), phases, linear_probe=20)
        >>> [phase.name for phase in recipe.with_probe().phases]
        ['probe', 'all']
        """
        if not self.linear_probe:
            return self
        probe = Phase(
            "probe",
            self.linear_probe,
            lr=3e-3,
            trains="head",
            schedule="cosine",
            weight_decay=1e-3,
            batch_size=64,
            size=self.phases[0].size,
            views=1,
        )
        return dataclasses.replace(self, phases=(probe, *self.phases), linear_probe=0)

    def digest(self) -> str:
        """Return the SHA-256 of everything that changes the result, as 64 hex digits.

        Fields at their defaults are left out: a field that a later version adds changes no
        digest of a recipe without it. A default's value therefore stays what it is.
        """
        said = {
            **_changed(self),
            "model": _changed(self.model),
            "phases": [_changed(phase) for phase in self.phases],
        }
        del said["name"]
        text = json.dumps(said, sort_keys=True, separators=(",", ":"))
        return hashlib.sha256(text.encode()).hexdigest()


def _changed(owner: Recipe | ModelSpec | Phase) -> dict[str, Any]:
    """Return the compared fields that are not at their defaults."""
    values = {entry: getattr(owner, entry.name) for entry in dataclasses.fields(owner)}
    return {
        entry.name: value
        for entry, value in values.items()
        if entry.compare and value != entry.default
    }
