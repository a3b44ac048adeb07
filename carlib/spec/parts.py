"""ModelSpec, Phase and Recipe: frozen dataclasses that refuse nonsense when they are made."""

from __future__ import annotations

import dataclasses
import hashlib
import json
import math
from dataclasses import dataclass, field
from typing import Any

from carlib.errors import UsageError
from carlib.spec.checks import flag, number, one_of, text

RESIZES = ("stretch", "crop", "pad")
DTYPES = ("float32", "mixed_float16")
BATCHNORMS = ("frozen", "affine", "trained", "only")
SHARES = ("blocks", "layers", "parameters", "compute")
LOSSES = ("crossentropy", "focal")
POOLINGS = ("average", "max", "both")
CLASS_WEIGHTS = ("none", "balanced")
DETERMINISMS = ("exact", "fast")
# A batch size that training finds, and the most that it takes: above, fine-tuning wants another lr.
AUTO, AUTO_MOST = "auto", 64


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
        head_norm: A BatchNorm over the pooled features, which trains in every phase. Defaults to
            False.
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
class Phase:
    """A stretch of training with one frozen set, one optimizer, one schedule.

    Args:
        name: Unique in its recipe; shown in history and report.
        epochs: Passes over the training photos, from 1.
        lr: Peak learning rate.
        trains: "head", "all", or the share from the top that trains, as a number between 0
            and 1 (0.5: the upper half, cut at the nearest block border).
        share_by: What that share counts: "blocks", "layers", "parameters" or "compute"
            (multiply-adds of a forward pass). Defaults to "blocks".
        batchnorm: In the blocks that train: "frozen" (moving statistics, gamma and beta stay
            as they are), "affine" (gamma and beta train, on the moving statistics), "trained"
            (gamma and beta train on each batch's statistics, which move the moving ones) or
            "only" (as "affine", and nothing else of those blocks trains: Frankle et al. 2021,
            arxiv.org/abs/2003.00152). Defaults to "frozen".
        schedule: "constant", "cosine", "restarts", "onecycle", "exponential", "step", "piecewise",
            "plateau", "cyclic", "triangular2" (``carlib.schedules``), or one of your own.
        warmup: Epochs of linear warm-up to ``lr``. Defaults to 0.
        decay: Factor on the learning rate at each cut of "step" and "plateau", and over ``every``
            epochs of "exponential"; of "cyclic" and "triangular2", the low end as a share of
            ``lr``. Defaults to 0.1.
        every: Epochs between two cuts of "step", or of a whole cycle of "cyclic", "triangular2" and
            "restarts"; 0 means a third of the phase, of "exponential" all of it. Defaults to 0.
        growth: Factor on the length of each next cycle of "restarts". Defaults to 1.
        rates: Of "piecewise": pairs of an epoch and the share of ``lr`` that holds from there on,
            such as [[5, 0.1], [8, 0.01]]. Defaults to none.
        patience: Epochs without a better validation before "plateau" cuts. Defaults to 3.
        optimizer: Name in the optimizers table: "adam", "adamw" or "sgd".
        momentum: Of "sgd" (Nesterov's). Defaults to 0.9.
        layer_decay: Factor on the learning rate from block to block, from the head down (Howard
            and Ruder 2018, arxiv.org/abs/1801.06146); 1 is the same for all. Defaults to 1.
        clip: Global norm that a step's gradients are scaled down to; 0 means never. Fine-tuning on
            frozen BatchNorm may diverge without. Defaults to 0.
        weight_decay: Decoupled weight decay a step of "adamw" and "sgd", as Keras defines it;
            biases and norms are spared. Defaults to 0.
        batch_size: Photos a step. Where so many do not fit into memory, training takes fewer and
            accumulates more. "auto" is the largest power of two up to 64 that fits when the run
            begins (above, fine-tuning wants another lr), 32 where the memory is not known; the
            run keeps what it began with, on another machine too. Defaults to 32.
        accumulate: Steps whose gradients are averaged into one update: a batch of so many times
            the photos at the memory of one; BatchNorm, where trained, still sees single batches.
            Steps left over at the phase's end update nothing. Defaults to 1.
        size: Side of the training photos in px; 0 means the model's. Validation and
            prediction keep the model's: photos seen a little smaller in training than in
            prediction help (Touvron et al. 2019, arxiv.org/abs/1906.06423). Defaults to 0.
        augment: Augmentation preset, or one changed: "light+ToGray-Blur". Defaults to "none".
        clean_share: Share of photos that come through as validation sees them; 0 means the
            preset's own share. Defaults to 0.
        erasing: Probability that a rectangle of a photo is erased (Zhong et al. 2017,
            arxiv.org/abs/1708.04896). Defaults to 0.
        mixup: Alpha of the Beta distribution that two photos are blended by (Zhang et al.
            2017, arxiv.org/abs/1710.09412); 0 means off. Defaults to 0.
        cutmix: Alpha of the Beta distribution for the patch that one photo takes from another
            (Yun et al. 2019, arxiv.org/abs/1905.04899); 0 means off. With mixup on too, half
            of the photos get the one, half the other. Defaults to 0.
        views: Augmented views a photo whose features are cached, where only the head trains:
            the frozen network runs over each view once, epoch e trains on view e mod
            ``views``. 0 means no cache. Defaults to 0.
        ema: Momentum of the moving average of the weights, which is validated, saved as the
            best, and what the phase ends with; it moves at every step, accumulated ones too.
            0 means off. Defaults to 0.
        early_stop: Epochs without a better validation before the phase ends; 0 means never.
        restore_best: The phase ends with the run's best weights so far, not its last ones.
            Defaults to False.

    >>> Phase("head", epochs=2, lr=1e-3, trains="head").batch_size
    32
    """

    name: str
    epochs: int
    lr: float
    trains: str | float = "all"
    share_by: str = "blocks"
    batchnorm: str = "frozen"
    schedule: str = "constant"
    warmup: float = 0.0
    decay: float = 0.1
    every: float = 0.0
    growth: float = 1.0
    rates: tuple[tuple[float, float], ...] = ()
    patience: int = 3
    optimizer: str = "adamw"
    momentum: float = 0.9
    layer_decay: float = 1.0
    clip: float = 0.0
    weight_decay: float = 0.0
    batch_size: int | str = 32
    accumulate: int = 1
    size: int = 0
    augment: str = "none"
    clean_share: float = 0.0
    erasing: float = 0.0
    mixup: float = 0.0
    cutmix: float = 0.0
    views: int = 0
    ema: float = 0.0
    early_stop: int = 0
    restore_best: bool = False

    def __post_init__(self) -> None:
        text(self, "name", "schedule", "optimizer", "augment")
        number(self, "epochs", 1, 100_000, whole=True)
        number(self, "lr", 0, 100, whole=False)
        if isinstance(self.trains, str):
            one_of(self, "trains", ("head", "all"))
        else:
            number(self, "trains", 0, 1, whole=False)
        one_of(self, "share_by", SHARES)
        one_of(self, "batchnorm", BATCHNORMS)
        number(self, "warmup", 0, self.epochs, whole=False)
        number(self, "decay", 0, 1, whole=False)
        number(self, "every", 0, 100_000, whole=False)
        number(self, "growth", 1, 100, whole=False)
        object.__setattr__(self, "rates", _rates(self.rates))
        if self.schedule == "piecewise" and not self.rates:
            raise UsageError(
                f"Phase: piecewise needs rates (phase {self.name!r}), such as [[5, 0.1], [8, "
                "0.01]]: from epoch 5 on a tenth of lr, from 8 on a hundredth"
            )
        number(self, "patience", 1, 100_000, whole=True)
        number(self, "momentum", 0, 0.9999, whole=False)
        number(self, "layer_decay", 0, 1, whole=False)
        number(self, "clip", 0, 1e6, whole=False)
        number(self, "weight_decay", 0, 10, whole=False)
        number(self, "batch_size", 1, 65_536, whole=True, word=AUTO)
        number(self, "accumulate", 1, 10_000, whole=True)
        if self.size != 0:
            number(self, "size", 16, 2048, whole=True)
        for name in ("clean_share", "erasing"):
            number(self, name, 0, 1, whole=False)
        for name in ("mixup", "cutmix"):
            number(self, name, 0, 100, whole=False)
        number(self, "views", 0, 1000, whole=True)
        number(self, "ema", 0, 0.99999, whole=False)
        number(self, "early_stop", 0, 100_000, whole=True)
        flag(self, "restore_best")
        if self.views and not self.head_only:
            raise UsageError(
                f"Phase: views caches features of a frozen network, and phase {self.name!r} "
                f"trains {self.trains!r}; set trains = 'head', or views = 0"
            )
        if self.views and (self.mixup or self.cutmix):
            raise UsageError(
                f"Phase: mixup and cutmix do not go with cached features (phase {self.name!r}); "
                "set views = 0, or both to 0"
            )

    @property
    def head_only(self) -> bool:
        """Whether the whole backbone stays frozen."""
        return self.trains in ("head", 0.0)


def _rates(given: Any) -> tuple[tuple[float, float], ...]:
    try:
        pairs = tuple((float(since), float(share)) for since, share in given)
    except (TypeError, ValueError):
        pairs = ((-1.0, 0.0),)
    epochs = [since for since, _ in pairs]
    if not (
        all(0 < since < math.inf and 0 <= share <= 1000 for since, share in pairs)
        and epochs == sorted(set(epochs))
    ):
        raise UsageError(
            "Phase: rates must be pairs of an epoch, above 0 and in order, and a share of lr from "
            f"0, such as [[5, 0.1], [8, 0.01]]; received {given!r}"
        )
    return pairs


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
