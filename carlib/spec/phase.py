"""Phase: a stretch of training, as data."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

from carlib.errors import UsageError
from carlib.spec.checks import flag, number, one_of, text

BATCHNORMS = ("frozen", "affine", "trained", "only")
SHARES = ("blocks", "layers", "parameters", "compute")
# A batch size that training finds, and the most that it takes: above, fine-tuning wants another lr.
AUTO, AUTO_MOST = "auto", 64


@dataclass(frozen=True, slots=True)
class Phase:
    """A stretch of training with one frozen set, one optimizer, one schedule.

    Args:
        name: Unique in its recipe; shown in history and report.
        epochs: Passes over the training photos, from 1.
        lr: Peak learning rate.
        trains: "head", "all", or the share from the top that trains, as a number between 0
            and 1 (0.5: the upper half, cut at the nearest block border). "statistics": nothing is
            learned; the moving statistics of every BatchNorm are made anew, the mean over all
            batches of the phase, its own weights given (Wu and Johnson 2021,
            arxiv.org/abs/2105.07576). For a last phase of lr 0, without augmentation, and where
            the photos get another size.
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
            one_of(self, "trains", ("head", "all", "statistics"))
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
        if self.statistics_only and (self.lr or self.ema or self.views):
            raise UsageError(
                f"Phase: nothing is learned where trains is 'statistics' (phase {self.name!r}); "
                f"set lr = 0, ema = 0 and views = 0; received {self.lr:g}, {self.ema:g} and "
                f"{self.views}"
            )
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

    @property
    def statistics_only(self) -> bool:
        """Whether only BatchNorm's moving statistics change."""
        return self.trains == "statistics"

    @property
    def share(self) -> float:
        """Share of the backbone that learns, 0 to 1, in the count of ``share_by``."""
        if isinstance(self.trains, str):
            return float(self.trains == "all")
        return float(self.trains)


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
