"""Photos apart: training and validation by share or by fold, fewer of them; class weights."""

from __future__ import annotations

import dataclasses
import hashlib
import logging
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from itertools import accumulate, chain

from carlib.catalog.noun import Catalog
from carlib.errors import DataError, UsageError
from carlib.spec import Recipe

log = logging.getLogger("carlib")


def parted(catalog: Catalog, recipe: Recipe) -> tuple[Catalog, Catalog]:
    """Return the photos that train and those that validate in a run of a recipe.

    Args:
        catalog: With labels; only photos that can be read. Their order does not matter.
        recipe: Its shares, folds and seed.

    Raises:
        DataError: A class with too few photos, or groups where there are any.
        UsageError: No labels.

    >>> from carlib.spec import ModelSpec, Phase
    >>> recipe = Recipe("r", ModelSpec("tiny", 32), (Phase("all", 1, 1e-3),), training_share=0.5)
    >>> photos = Catalog(tuple("abcdef"), tuple("abcdef"), ("x", "y"), (0, 1, 0, 1, 0, 0))
    >>> [part.counts() for part in parted(photos, recipe)]
    [{'x': 2, 'y': 1}, {'x': 1, 'y': 1}]
    """
    # Items depend on a photo's place: the same photos in another order must not be another run.
    ordered = catalog.take(sorted(range(len(catalog)), key=catalog.ids.__getitem__))
    if recipe.folds:
        training, validation = fold(ordered, recipe.folds, recipe.fold, recipe.seed)
    else:
        training, validation = split(ordered, recipe.validation_share, recipe.seed)
    return thinned(training, recipe.training_share, recipe.seed), validation


def split(catalog: Catalog, share: float, seed: int) -> tuple[Catalog, Catalog]:
    """Return (training, validation), stratified by class, no group in both.

    A photo's place depends on the seed, its id and the other ids of its class only, and a
    smaller share's validation photos are among a larger one's: a clean-up or another
    share moves as few photos as it can. Groups take their places likewise, by their names,
    as near to the share as they allow; one with more than half of its class's photos always
    trains. A group of several classes counts for its most frequent one. Photos of another
    origin train, unless a validation photo is of their group.

    Args:
        catalog: With labels.
        share: Of each class's photos, rounded, but at least one; from 0, which keeps none,
            to below 1.
        seed: Another seed, another split.

    Raises:
        DataError: A class with fewer than two photos, or than two groups where there are any.
        UsageError: No labels, or a share out of bounds.

    >>> photos = Catalog(tuple("abcdef"), tuple("abcdef"), ("x", "y"), (0, 1, 0, 1, 0, 0))
    >>> [part.counts() for part in split(photos, 0.25, seed=0)]
    [{'x': 3, 'y': 1}, {'x': 1, 'y': 1}]
    """
    labels = _labels(catalog, "split")
    if not 0 <= share < 1:
        raise UsageError(f"split: share must be from 0 to below 1; received {share!r}")
    if share == 0:
        _check_filled(catalog)
        return catalog, catalog.take([])
    held: list[int] = []
    for name, groups in _by_class(catalog, labels, seed).items():
        if len(groups) < 2:
            raise DataError(
                f"class {name!r} has {_usable(catalog, groups)}; it needs two, one to train on and "
                "one to validate: add photos or leave the class out"
            )
        (cut,) = _cuts([len(group) for group in groups], [share])
        held += chain(*groups[:cut])
    return _apart(catalog, held)


def fold(catalog: Catalog, folds: int, which: int, seed: int) -> tuple[Catalog, Catalog]:
    """Return (training, validation) of one of k stratified folds, no group in both.

    Each own photo validates in exactly one fold; without groups, a class's folds differ by one
    photo at the most. The photos stand in the order of ``split``, and each fold is a stretch of
    it, the first one that of ``split`` with a share of 1 / folds. Not scikit-learn's
    StratifiedKFold or StratifiedGroupKFold: they go by positions, where a photo that is removed
    reshuffles the others; here one photo a border moves.

    Args:
        catalog: With labels; groups and photos of another origin as in ``split``.
        folds: How many, from 2.
        which: The one that validates, counted from 0.
        seed: Another seed, other folds.

    Raises:
        DataError: A class with fewer photos than folds, or groups where there are any.
        UsageError: No labels, or a fold that there is not.

    >>> photos = Catalog(tuple("abcdef"), tuple("abcdef"), ("x", "y"), (0, 1, 0, 1, 0, 0))
    >>> [fold(photos, 2, which, seed=0)[1].counts() for which in (0, 1)]
    [{'x': 2, 'y': 1}, {'x': 2, 'y': 1}]
    """
    labels = _labels(catalog, "fold")
    if folds < 2:
        raise UsageError(f"fold: folds must be 2 or more; received {folds!r}")
    if not 0 <= which < folds:
        raise UsageError(f"fold: which must be from 0 to {folds - 1}; received {which!r}")
    held: list[int] = []
    for name, groups in _by_class(catalog, labels, seed).items():
        if len(groups) < folds:
            raise DataError(
                f"class {name!r} has {_usable(catalog, groups)}, fewer than the {folds} folds; "
                "take fewer folds, add photos or leave the class out"
            )
        shares = [number / folds for number in range(1, folds)]
        cuts = [0, *_cuts([len(group) for group in groups], shares), len(groups)]
        held += chain(*groups[cuts[which] : cuts[which + 1]])
    return _apart(catalog, held)


def thinned(training: Catalog, share: float, seed: int) -> Catalog:
    """Return a share of each class's photos, groups whole.

    A smaller share's photos are among a larger one's of the same seed, and photos take their
    places as in ``split``, in an order of their own. Photos of another origin count like the
    others. A group of several classes counts for its most frequent one; a class that is in no
    group the most frequent keeps the first that it is in, whatever the share.

    Args:
        training: With labels: the photos that could train.
        share: Of each class's photos, rounded, but at least one; above 0, up to 1, which is all.
        seed: Another seed, other photos.

    Raises:
        UsageError: No labels, or a share out of bounds.

    >>> photos = Catalog(tuple("abcdef"), tuple("abcdef"), ("x", "y"), (0, 1, 0, 1, 0, 0))
    >>> thinned(photos, 0.1, seed=0).counts()
    {'x': 1, 'y': 1}
    """
    labels = _labels(training, "thinned")
    if not 0 < share <= 1:
        raise UsageError(f"thinned: share must be above 0, up to 1; received {share!r}")
    if share == 1:
        return training
    # In the split's order, those kept would be the photos of one fold or two.
    order = f"{seed}/training"
    every = dataclasses.replace(training, origins=None)
    kept: set[int] = set()
    for name, groups in _by_class(every, labels, order).items():
        if groups:
            # A group of none behind them: all may be kept, not only all but one.
            (cut,) = _cuts([*map(len, groups), 0], [share])
            kept.update(*groups[:cut])
        else:
            kept.update(_first_with(every, labels, name, order))
    return training.take(sorted(kept))


def class_weights(catalog: Catalog) -> tuple[float, ...]:
    """Return a weight a class, shape (C,), inverse to its photos; on average 1 over the photos.

    N / (C * photos of the class), as scikit-learn's ``compute_class_weight("balanced")``
    (after King and Zeng 2001, Logistic Regression in Rare Events Data).

    Args:
        catalog: With labels: the photos that train.

    Raises:
        DataError: A class without photos.
        UsageError: No labels.

    >>> class_weights(Catalog(tuple("abcdef"), tuple("abcdef"), ("x", "y"), (1, 1, 1, 1, 0, 0)))
    (1.5, 0.75)
    """
    _labels(catalog, "class_weights")
    _check_filled(catalog)
    counts = catalog.counts().values()
    return tuple(len(catalog) / (len(counts) * count) for count in counts)


def _labels(catalog: Catalog, what: str) -> tuple[int, ...]:
    if catalog.labels is None:
        raise UsageError(f"{what} needs labels, and this catalog has none")
    return catalog.labels


def _check_filled(catalog: Catalog) -> None:
    for name, count in catalog.counts().items():
        if not count:
            raise DataError(
                f"class {name!r} has no usable photo; add photos or leave the class out"
            )


def _usable(catalog: Catalog, groups: Sequence[list[int]]) -> str:
    return f"{len(groups)} " + (
        "usable photo(s)" if catalog.groups is None else "group(s) that are mostly of it"
    )


def _by_class(
    catalog: Catalog, labels: Sequence[int], seed: int | str
) -> dict[str, list[list[int]]]:
    """Return each class's groups, as positions of their own photos, in the order of the seed."""
    origins = catalog.origins or ("",) * len(catalog)
    members: dict[str, list[int]] = {}
    for number, group in enumerate(catalog.groups or catalog.ids):
        if not origins[number]:
            members.setdefault(group, []).append(number)
    found: dict[str, dict[str, list[int]]] = {name: {} for name in catalog.classes}
    for group, numbers in members.items():
        counts = Counter(catalog.classes[labels[n]] for n in numbers)
        # The least name of equals: the numbers of the classes must not matter.
        found[min(counts, key=lambda name: (-counts[name], name))][group] = numbers
    return {name: _ordered(groups, seed) for name, groups in found.items()}


def _ordered(groups: Mapping[str, list[int]], seed: int | str) -> list[list[int]]:
    photos = sum(map(len, groups.values()))

    def place(name: str) -> tuple[bool, bytes]:
        # The last one always trains.
        is_most = 2 * len(groups[name]) > photos
        return is_most, hashlib.sha256(f"{seed}/{name}".encode()).digest()

    return [groups[name] for name in sorted(groups, key=place)]


def _first_with(catalog: Catalog, labels: Sequence[int], name: str, seed: int | str) -> list[int]:
    """Return the first group, in the order of the seed, that has a photo of a class; [] if none."""
    groups = catalog.groups or catalog.ids
    having = {groups[n] for n, label in enumerate(labels) if catalog.classes[label] == name}
    members = {group: [n for n, each in enumerate(groups) if each == group] for group in having}
    return next(iter(_ordered(members, seed)), [])


def _cuts(sizes: Sequence[int], shares: Sequence[float]) -> list[int]:
    """Return how many groups from the front come nearest to each share of their photos.

    Each cut has a group more than the one before, and leaves one for each that follows.
    """
    before = list(accumulate(sizes, initial=0))
    cuts = [0]
    for left, share in zip(range(len(shares), 0, -1), shares, strict=True):
        wanted = round(before[-1] * share)
        allowed = range(cuts[-1] + 1, len(sizes) - left + 1)
        cuts.append(min(allowed, key=lambda cut: abs(before[cut] - wanted)))
    return cuts[1:]


def _apart(catalog: Catalog, held: Iterable[int]) -> tuple[Catalog, Catalog]:
    """Return the photos that are not held, less those of a held group, and the held ones."""
    held = set(held)
    rest = [n for n in range(len(catalog)) if n not in held]
    groups = catalog.groups or catalog.ids
    names = {groups[n] for n in held}
    training = [n for n in rest if groups[n] not in names]
    if leaking := len(rest) - len(training):
        log.warning(
            "%d photos of another origin are of a validation photo's group: not used", leaking
        )
    return catalog.take(training), catalog.take(sorted(held))
