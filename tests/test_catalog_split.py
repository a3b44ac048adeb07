"""Splits, folds and fewer photos: stratified, groups whole, few photos moved; class weights."""

from __future__ import annotations

import dataclasses
import itertools
import logging
from collections import Counter

import pytest

from carlib.catalog import Catalog, class_weights, fold, parted, split, thinned
from carlib.errors import DataError, UsageError
from carlib.spec import ModelSpec, Phase, Recipe

COUNTS = {"0": 2, "1": 3, "2": 10, "3": 17, "10": 40}


def make(counts=COUNTS, prefix="") -> Catalog:
    names = [
        (f"{prefix}{label}/{n}.png", label) for label, count in counts.items() for n in range(count)
    ]
    classes = tuple(counts)
    return Catalog(
        tuple(name for name, _ in names),
        tuple(f"p/{name}" for name, _ in names),
        classes,
        tuple(classes.index(label) for _, label in names),
    )


def labels(catalog: Catalog) -> dict[str, str]:
    assert catalog.labels is not None
    names = (catalog.classes[label] for label in catalog.labels)
    return dict(zip(catalog.ids, names, strict=True))


# ---------------------------------------------------------------- split

SHARES = [0.001, 0.05, 0.1, 0.2, 0.25, 1 / 3, 0.5, 0.7, 0.999]


@pytest.mark.parametrize("share", SHARES)
@pytest.mark.parametrize("seed", [0, 1, 2**32 - 1])
def test_a_split_is_disjoint_complete_and_stratified(share, seed):
    catalog = make()
    training, validation = split(catalog, share, seed)
    assert not set(training.ids) & set(validation.ids)
    assert set(training.ids) | set(validation.ids) == set(catalog.ids)
    for part in (training, validation):
        assert part.classes == catalog.classes
        assert list(part.ids) == [name for name in catalog.ids if name in set(part.ids)], "in order"
        for name, path in zip(part.ids, part.paths, strict=True):
            assert path == f"p/{name}"
            assert labels(part)[name] == labels(catalog)[name]
    for name, count in validation.counts().items():
        assert 1 <= count <= COUNTS[name] - 1
        assert abs(count - share * COUNTS[name]) < 1


def held(catalog: Catalog, share: float = 0.25, seed: int = 0) -> set[str]:
    return set(split(catalog, share, seed)[1].ids)


def test_a_split_is_the_same_every_time():
    assert split(make(), 0.2, 3) == split(make(), 0.2, 3)


@pytest.mark.parametrize(
    ("share", "seed", "expected"),
    [
        (0.1, 0, "0/0 1/2 2/7 3/1 3/15 10/11 10/19 10/22 10/39"),
        (0.2, 3, "0/0 1/2 2/6 2/9 3/6 3/9 3/16 10/0 10/2 10/9 10/14 10/15 10/29 10/34 10/37"),
    ],
)
def test_a_split_is_for_ever(share, seed, expected):
    """Runs go on, and are compared, over it."""
    expected = [f"{name}.png" for name in expected.split()]
    assert list(split(make(), share, seed)[1].ids) == expected


def test_another_seed_is_another_split():
    assert len({frozenset(held(make(), seed=seed)) for seed in range(10)}) == 10


def test_shares_are_nested():
    parts = [held(make(), share) for share in SHARES]
    for smaller, larger in itertools.pairwise(parts):
        assert smaller <= larger
    assert parts[0] < parts[-1]


def test_a_class_is_split_whatever_the_others_are():
    alone = held(make({"3": 17, "x": 2}))
    for label in ("3",):
        expected = {name for name in held(make()) if name.startswith(f"{label}/")}
        assert {name for name in alone if name.startswith(f"{label}/")} == expected


def test_the_order_of_the_catalog_does_not_matter():
    catalog = make()
    turned = catalog.take(reversed(range(len(catalog))))
    assert held(turned) == held(catalog)


def test_the_numbers_of_the_classes_do_not_matter():
    assert held(make(dict(reversed(COUNTS.items())))) == held(make())


def test_a_clean_up_moves_few_photos():
    catalog = make({"a": 40, "b": 2})
    before = held(catalog)
    for name in catalog.ids[:40]:
        after = held(catalog.without([name]))
        assert len(before ^ after) <= 2


def test_photos_are_not_held_out_by_their_place():
    """Over seeds, each photo of a class is held out about as often as any other."""
    times = dict.fromkeys(make({"a": 20, "b": 2}).ids, 0)
    for seed in range(200):
        for name in held(make({"a": 20, "b": 2}), seed=seed):
            times[name] += 1
    counts = [count for name, count in times.items() if name.startswith("a/")]
    assert sum(counts) == 200 * 5
    assert min(counts) > 25  # expected 50, deviation about 6
    assert max(counts) < 75


def test_no_share_keeps_every_photo_in_training():
    for catalog in (make({"a": 1, "b": 2}), grouped({"a": [3], "b": [1, 1]})):
        training, validation = split(catalog, 0, 5)
        assert training == catalog
        assert (len(validation), validation.classes) == (0, catalog.classes)
        assert validation.counts() == {"a": 0, "b": 0}
    with pytest.raises(DataError, match=r"^class 'b' has no usable photo; add photos or leave"):
        split(make({"a": 3, "b": 0}), 0, 5)


@pytest.mark.parametrize("share", [1, -0.1, 1.5, float("nan")])
def test_shares_out_of_bounds(share):
    with pytest.raises(UsageError, match=r"^split: share must be from 0 to below 1; received "):
        split(make(), share, 0)


def test_a_split_needs_labels():
    with pytest.raises(UsageError, match=r"^split needs labels, and this catalog has none$"):
        split(Catalog(("a",), ("b",)), 0.2, 0)


@pytest.mark.parametrize("count", [0, 1])
def test_a_class_of_too_few(count):
    catalog = make({"a": 3, "b": count})
    with pytest.raises(DataError, match=rf"^class 'b' has {count} usable photo\(s\); it needs two"):
        split(catalog, 0.5, 0)


# ---------------------------------------------------------------- groups

# Photos of each group, by class.
SIZES = {
    "a": [1] * 30,
    "b": [3, 1, 4, 1, 5, 2, 6, 5, 3, 5, 8, 7],
    "c": [9, 1, 1],
    "d": [2, 2],
}


def grouped(sizes=SIZES, rename=str) -> Catalog:
    """Photos a/0/0.png, a/1/0.png, ... of the groups a/0, a/1, ..., no two of a group together."""
    names = sorted(
        (n, group, label)
        for label, counts in sizes.items()
        for group, count in enumerate(counts)
        for n in range(count)
    )
    classes = tuple(sizes)
    ids = tuple(f"{label}/{group}/{n}.png" for n, group, label in names)
    return Catalog(
        ids,
        ids,
        classes,
        tuple(classes.index(label) for _, _, label in names),
        tuple(rename(f"{label}/{group}") for _, group, label in names),
    )


def is_apart(catalog, training, validation) -> bool:
    """No photo and no group on both sides, nothing lost, in order."""
    assert not set(training.groups) & set(validation.groups)
    assert sorted(training.ids + validation.ids) == sorted(catalog.ids)
    known = dict(zip(catalog.ids, catalog.groups, strict=True))
    for part in (training, validation):
        assert list(part.ids) == [name for name in catalog.ids if name in set(part.ids)]
        assert part.groups == tuple(known[name] for name in part.ids)
    return True


@pytest.mark.parametrize("share", SHARES)
@pytest.mark.parametrize("seed", [0, 1, 2, 3])
def test_groups_stay_together(share, seed):
    catalog = grouped()
    training, validation = split(catalog, share, seed)
    assert is_apart(catalog, training, validation)
    for name, count in validation.counts().items():
        sizes = sorted(SIZES[name])
        photos = sum(sizes)
        # Off by half of the group at the border at the most, where one more or one less could be.
        least, most = sizes[0], photos - sizes[-1] if 2 * sizes[-1] > photos else photos - sizes[0]
        assert least <= count <= most
        if sizes[-1] <= share * photos <= photos - sizes[-1]:
            assert abs(count - share * photos) <= (sizes[-1] + 1) / 2


def test_shares_of_groups_are_nested():
    for seed in range(5):
        parts = [set(split(grouped(), share, seed)[1].ids) for share in SHARES]
        for smaller, larger in itertools.pairwise(parts):
            assert smaller <= larger


def test_groups_of_one_are_no_groups():
    catalog = make()
    alone = dataclasses.replace(catalog, groups=catalog.ids)
    for share, seed in itertools.product(SHARES, range(3)):
        assert held(alone, share, seed) == held(catalog, share, seed)
        parts = fold(alone, 2, 1, seed), fold(catalog, 2, 1, seed)
        assert parts[0][1].ids == parts[1][1].ids


def test_a_group_takes_its_place_by_its_name():
    before = set(split(grouped(), 0.3, 0)[1].groups)
    others = {**SIZES, "a": [2] * 7, "d": [1, 5]}
    assert {name for name in split(grouped(others), 0.3, 0)[1].groups if name[0] in "bc"} == {
        name for name in before if name[0] in "bc"
    }
    turned = grouped().take(reversed(range(len(grouped()))))
    assert set(split(turned, 0.3, 0)[1].groups) == before
    renamed = split(grouped(rename=lambda name: name + "!"), 0.3, 0)[1]
    assert {name.removesuffix("!") for name in renamed.groups} != before


def test_a_removed_photo_moves_few_groups():
    catalog = grouped()
    before = set(split(catalog, 0.3, 0)[1].groups)
    for name in catalog.ids:
        if not name.startswith("d/"):
            after = set(split(catalog.without([name]), 0.3, 0)[1].groups)
            assert len(before ^ after) <= 3


def test_most_of_a_class_always_trains():
    """Held out, it would leave the class less than it takes."""
    sizes = {"a": [50, 1, 1, 1], "b": [1, 1, 1, 30], "c": [1, 1]}
    for share, seed in itertools.product(SHARES, range(10)):
        training, _ = split(grouped(sizes), share, seed)
        assert {"a/0", "b/3"} <= set(training.groups)


@pytest.mark.parametrize("turned", [False, True])
def test_a_group_of_several_classes_counts_for_its_most_frequent(turned):
    # g is two of x and one of y; h one of each, and counts for x, the lesser name.
    members = [("g", "x"), ("g", "y"), ("g", "x"), ("h", "y"), ("h", "x"), ("i", "x")]
    members += [("j", "y"), ("k", "y"), ("l", "y")]
    classes = ("y", "x") if turned else ("x", "y")
    catalog = Catalog(
        tuple(f"{n}" for n in range(len(members))),
        tuple(f"{n}" for n in range(len(members))),
        classes,
        tuple(classes.index(label) for _, label in members),
        tuple(group for group, _ in members),
    )
    validated = set()
    for seed in range(30):
        training, validation = split(catalog, 0.1, seed)
        assert is_apart(catalog, training, validation)
        assert len(set(validation.groups) & set("ghi")) == 1
        assert len(set(validation.groups) & set("jkl")) == 1
        assert min(training.counts().values()) > 0
        validated |= set(validation.groups)
        parts = [fold(catalog, 3, which, seed)[1] for which in range(3)]
        assert sorted(name for part in parts for name in part.ids) == sorted(catalog.ids)
    assert validated == set("ghijkl")


@pytest.mark.parametrize(("sizes", "count"), [([7], 1), ([], 0)])
def test_a_class_of_too_few_groups(sizes, count):
    message = (
        rf"^class 'b' has {count} group\(s\) that are mostly of it; it needs two, one to train"
    )
    with pytest.raises(DataError, match=message):
        split(grouped({"a": [1, 2, 3], "b": sizes}), 0.3, 0)


# ---------------------------------------------------------------- another origin


def with_external(catalog: Catalog, groups=("e",) * 10) -> Catalog:
    """With ten photos of another origin, of the first class and of the last."""
    names = tuple(f"more/{n}.png" for n in range(10))
    return Catalog(
        names[:3] + catalog.ids + names[3:],
        names[:3] + catalog.paths + names[3:],
        catalog.classes,
        (0,) * 3 + catalog.labels + (len(catalog.classes) - 1,) * 7,
        groups[:3] + (catalog.groups or catalog.ids) + groups[3:] if groups else None,
        ("more",) * 3 + ("",) * len(catalog) + ("more",) * 7,
    )


SPLITS = {
    "a share": lambda catalog: split(catalog, 0.3, 0),
    "a larger share": lambda catalog: split(catalog, 0.7, 1),
    "no share": lambda catalog: split(catalog, 0, 0),
    "the first fold": lambda catalog: fold(catalog, 2, 0, 0),
    "the last fold": lambda catalog: fold(catalog, 2, 1, 0),
}


@pytest.mark.parametrize("groups", [(), ("e",) * 10, tuple("0123456789")])
@pytest.mark.parametrize("way", SPLITS)
def test_photos_of_another_origin_train_and_do_not_count(caplog, way, groups):
    training, validation = SPLITS[way](make())
    more, same = SPLITS[way](with_external(make(), groups))
    assert same.ids == validation.ids
    assert {name for name in more.ids if "more" not in name} == set(training.ids)
    assert len(more) == len(training) + 10
    assert not caplog.records


@pytest.mark.parametrize("way", SPLITS)
def test_a_group_that_validates_does_not_train_elsewhere(caplog, way):
    """One of every own group's photos lies in the other set too."""
    names = [f"{label}/{n}" for label, counts in SIZES.items() for n in range(len(counts))]
    groups = tuple(names[:: len(names) // 9][:10])
    training, validation = SPLITS[way](grouped())
    with caplog.at_level(logging.WARNING, "carlib"):
        more, same = SPLITS[way](with_external(grouped(), groups))
    assert same.groups == validation.groups
    leaking = sum(name in validation.groups for name in groups)
    assert len(more) == len(training) + 10 - leaking
    assert not set(more.groups) & set(same.groups)
    said = f"{leaking} photos of another origin are of a validation photo's group: not used"
    assert [record.getMessage() for record in caplog.records] == ([said] if leaking else [])
    assert bool(leaking) == (way != "no share")


def test_photos_of_another_origin_do_not_fill_a_class():
    with pytest.raises(DataError, match=r"^class 'b' has 1 usable photo\(s\); it needs two"):
        split(with_external(make({"a": 3, "b": 1}), ()), 0.5, 0)
    with pytest.raises(DataError, match=r"^class 'b' has 2 usable photo\(s\), fewer than the 3 "):
        fold(with_external(make({"a": 3, "b": 2}), ()), 3, 0, 0)


# ---------------------------------------------------------------- folds


@pytest.mark.parametrize("folds", [2, 3, 5, 7, 10])
@pytest.mark.parametrize("seed", [0, 1])
def test_folds_are_disjoint_complete_and_even(folds, seed):
    counts = {str(n): n for n in range(folds, folds + 40, 3)}
    catalog = make(counts)
    parts = [fold(catalog, folds, which, seed) for which in range(folds)]
    assert Counter(name for _, part in parts for name in part.ids) == Counter(catalog.ids)
    for training, validation in parts:
        assert not set(training.ids) & set(validation.ids)
        assert len(training) + len(validation) == len(catalog)
        assert list(validation.ids) == [n for n in catalog.ids if n in set(validation.ids)]
        assert labels(validation).items() <= labels(catalog).items()
        for name, count in counts.items():
            assert count // folds <= validation.counts()[name] <= -(-count // folds)


@pytest.mark.parametrize("folds", [2, 4, 8, 10])
def test_the_first_fold_is_a_split(folds):
    catalog = make({"a": 17, "b": 40, "c": 10})
    assert fold(catalog, folds, 0, 3) == split(catalog, 1 / folds, 3)


def place(catalog: Catalog, folds: int, seed: int = 0) -> dict[str, int]:
    return {
        name: which for which in range(folds) for name in fold(catalog, folds, which, seed)[1].ids
    }


def test_a_clean_up_moves_few_photos_to_another_fold():
    catalog = make({"a": 60, "b": 5})
    before = place(catalog, 5)
    for name in catalog.ids[:60]:
        after = place(catalog.without([name]), 5)
        assert sum(after[each] != before[each] for each in after) <= 4, "one a border"


def test_folds_depend_on_seed_and_name_alone():
    catalog = make({"a": 20, "b": 31})
    assert len({tuple(place(catalog, 4, seed).items()) for seed in range(10)}) == 10
    assert place(catalog.take(reversed(range(len(catalog)))), 4) == place(catalog, 4)
    other = place(make({"x": 9, "b": 31}), 4)
    assert {n: w for n, w in other.items() if n[0] == "b"} == {
        n: w for n, w in place(catalog, 4).items() if n[0] == "b"
    }


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize("folds", [2, 3])
def test_groups_stay_in_one_fold(folds, seed):
    catalog = grouped({name: sizes for name, sizes in SIZES.items() if name != "d"})
    parts = [fold(catalog, folds, which, seed) for which in range(folds)]
    assert Counter(name for _, part in parts for name in part.ids) == Counter(catalog.ids)
    for training, validation in parts:
        assert is_apart(catalog, training, validation)
        for part in (training, validation):
            assert min(part.counts().values()) >= 1
        # Each end of a stretch is off by half a group at the most.
        assert abs(validation.counts()["b"] - 50 / folds) <= 9
        assert abs(validation.counts()["a"] - 30 / folds) < 1


@pytest.mark.parametrize("seed", range(10))
def test_no_fold_is_empty_where_a_group_is_larger_than_a_fold(seed):
    catalog = grouped({"a": [10, *[1] * 10], "b": [9, 9, 2, 2, 2], "c": [30, 1, 1, 1, 1]})
    parts = [fold(catalog, 5, which, seed)[1] for which in range(5)]
    assert Counter(name for part in parts for name in part.ids) == Counter(catalog.ids)
    assert min(count for part in parts for count in part.counts().values()) >= 1


@pytest.mark.parametrize(
    ("catalog", "message"),
    [
        (
            make({"a": 9, "b": 3}),
            r"^class 'b' has 3 usable photo\(s\), fewer than the 4 folds; take fewer folds, add ",
        ),
        (
            grouped({"a": [1] * 4, "b": [9, 9, 9]}),
            r"^class 'b' has 3 group\(s\) that are mostly of it, fewer than the 4 folds; take few",
        ),
    ],
)
def test_a_class_of_fewer_than_the_folds(catalog, message):
    assert min(fold(catalog, 3, 2, 0)[1].counts().values()) >= 1
    with pytest.raises(DataError, match=message):
        fold(catalog, 4, 0, 0)


@pytest.mark.parametrize(
    ("folds", "which", "message"),
    [
        (1, 0, "^fold: folds must be 2 or more; received 1$"),
        (0, 0, "^fold: folds must be 2 or more; received 0$"),
        (3, 3, "^fold: which must be from 0 to 2; received 3$"),
        (3, -1, "^fold: which must be from 0 to 2; received -1$"),
    ],
)
def test_folds_that_there_are_not(folds, which, message):
    with pytest.raises(UsageError, match=message):
        fold(make({"a": 9, "b": 9}), folds, which, 0)


@pytest.mark.parametrize(
    "way",
    [
        lambda catalog: fold(catalog, 2, 0, 0),
        lambda catalog: thinned(catalog, 0.5, 0),
        class_weights,
    ],
)
def test_labels_are_needed(way):
    with pytest.raises(UsageError, match=r"^\w+ needs labels, and this catalog has none$"):
        way(Catalog(("a",), ("b",)))


# ---------------------------------------------------------------- fewer of those that train

THINNED = [0.001, 0.05, 0.1, 0.2, 0.25, 1 / 3, 0.5, 0.7, 0.999, 1]


@pytest.mark.parametrize("share", THINNED)
@pytest.mark.parametrize("seed", [0, 1, 2**32 - 1])
def test_a_share_of_each_class_trains(share, seed):
    catalog = make()
    fewer = thinned(catalog, share, seed)
    kept = set(fewer.ids)
    assert fewer == catalog.take(n for n, name in enumerate(catalog.ids) if name in kept)
    for name, count in fewer.counts().items():
        assert count == max(1, round(share * COUNTS[name]))


def test_all_of_them_are_the_catalog_itself():
    catalog = with_external(grouped())
    assert thinned(catalog, 1, 3) is catalog
    assert thinned(catalog, 0.9999, 3) == catalog


@pytest.mark.parametrize(
    ("share", "seed", "expected"),
    [
        (0.1, 0, "0/0 1/0 2/1 3/5 3/16 10/2 10/3 10/20 10/32"),
        (0.2, 3, "0/1 1/2 2/7 2/9 3/1 3/3 3/8 10/1 10/2 10/6 10/12 10/15 10/24 10/25 10/27"),
    ],
)
def test_who_trains_is_for_ever(share, seed, expected):
    """Runs go on, and are compared, over it."""
    assert list(thinned(make(), share, seed).ids) == [f"{name}.png" for name in expected.split()]


MIXED = Catalog(
    # Class z is in no group the most frequent.
    tuple(f"{n:02}" for n in range(14)),
    tuple(f"{n:02}" for n in range(14)),
    ("x", "y", "z"),
    (0, 0, 2, 0, 0, 1, 1, 1, 2, 0, 1, 1, 0, 0),
    tuple("gggghhhhhijjkk"),
)


@pytest.mark.parametrize(
    "catalog",
    [make(), grouped(), MIXED, with_external(grouped(), tuple("0123456789"))],
    ids=["photos", "groups", "a class without groups", "another origin"],
)
@pytest.mark.parametrize("seed", range(5))
def test_fewer_are_among_more_and_groups_stay_whole(catalog, seed):
    parts = [thinned(catalog, share, seed) for share in THINNED]
    for smaller, larger in itertools.pairwise(parts):
        assert set(smaller.ids) <= set(larger.ids)
    assert len(parts[0]) < len(parts[-1])
    groups = dict(zip(catalog.ids, catalog.groups or catalog.ids, strict=True))
    for part in parts:
        assert min(part.counts().values()) >= 1
        rest = set(catalog.ids) - set(part.ids)
        assert not {groups[name] for name in part.ids} & {groups[name] for name in rest}


def test_shares_of_groups_come_near():
    for share, seed in itertools.product(THINNED, range(5)):
        for name, count in thinned(grouped(), share, seed).counts().items():
            sizes = sorted(SIZES[name])
            photos = sum(sizes)
            if sizes[0] <= share * photos:
                assert abs(count - share * photos) <= max(sizes[-1], 1) / 2 + 1
            # Most of a class comes last.
            assert count < sizes[-1] or 2 * sizes[-1] <= photos or share >= 0.5


def test_a_class_that_has_no_photos_has_none():
    assert thinned(make({"a": 4, "b": 0}), 0.5, 0).counts() == {"a": 2, "b": 0}


def test_photos_of_another_origin_count_like_the_others():
    catalog = with_external(make({"a": 10, "b": 10, "c": 3}), ())
    assert thinned(catalog, 0.5, 0).counts() == {"a": round(6.5), "b": 5, "c": 5}
    own = dataclasses.replace(catalog, origins=None)
    assert thinned(own, 0.5, 0).ids == thinned(catalog, 0.5, 0).ids


def test_who_trains_depends_on_seed_and_name_alone():
    catalog = make()
    assert len({thinned(catalog, 0.5, seed).ids for seed in range(10)}) == 10
    turned = catalog.take(reversed(range(len(catalog))))
    assert set(thinned(turned, 0.5, 0).ids) == set(thinned(catalog, 0.5, 0).ids)
    other = thinned(make({"x": 9, "10": 40}), 0.5, 0).ids
    assert {n for n in other if n[:2] == "10"} == {
        n for n in thinned(catalog, 0.5, 0).ids if n[:2] == "10"
    }


def test_a_clean_up_moves_few_of_those_that_train():
    catalog = make({"a": 40})
    before = set(thinned(catalog, 0.5, 0).ids)
    for name in catalog.ids:
        assert len(before ^ set(thinned(catalog.without([name]), 0.5, 0).ids)) <= 2


@pytest.mark.parametrize("share", [0, -0.1, 1.1, float("nan")])
def test_training_shares_out_of_bounds(share):
    with pytest.raises(UsageError, match=r"^thinned: share must be above 0, up to 1; received "):
        thinned(make(), share, 0)


# ---------------------------------------------------------------- as a recipe says


def told(**options) -> Recipe:
    return Recipe("r", ModelSpec("tiny", 32), (Phase("all", 1, 1e-3),), seed=3, **options)


def by_id(catalog: Catalog) -> Catalog:
    return catalog.take(sorted(range(len(catalog)), key=catalog.ids.__getitem__))


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ({}, lambda catalog: split(catalog, 0.2, 3)),
        ({"validation_share": 0.4}, lambda catalog: split(catalog, 0.4, 3)),
        ({"validation_share": 0}, lambda catalog: split(catalog, 0, 3)),
        ({"folds": 2, "fold": 1}, lambda catalog: fold(catalog, 2, 1, 3)),
    ],
)
@pytest.mark.parametrize("share", [1, 0.5, 0.01])
def test_the_photos_of_a_recipe(options, expected, share):
    """Who validates is the same whatever trains; in the order of the ids, however they came."""
    catalog = with_external(make(), ())
    training, validation = expected(by_id(catalog))
    for given in (catalog, catalog.take(reversed(range(len(catalog))))):
        found = parted(given, told(training_share=share, **options))
        assert found == (thinned(training, share, 3), validation)
    assert min(found[0].counts().values()) >= 1


def test_folds_of_few_photos_train_on_photos_of_all_folds():
    catalog = by_id(make({"a": 100, "b": 100}))
    where = place(catalog, 5, 3)
    training, _ = parted(catalog, told(folds=5, fold=2, training_share=0.25))
    assert set(Counter(where[name] for name in training.ids)) == {0, 1, 3, 4}


# ---------------------------------------------------------------- class weights


@pytest.mark.parametrize(
    ("counts", "expected"),
    [
        ({"a": 2, "b": 4}, (1.5, 0.75)),
        ({"a": 5, "b": 5, "c": 5}, (1, 1, 1)),
        ({"a": 1, "b": 2, "c": 3}, (2, 1, 2 / 3)),
    ],
)
def test_class_weights(counts, expected):
    weights = class_weights(make(counts))
    assert weights == pytest.approx(expected)
    photos = sum(counts.values())
    assert sum(w * n for w, n in zip(weights, counts.values(), strict=True)) == pytest.approx(
        photos
    )


def test_a_class_without_photos_has_no_weight():
    with pytest.raises(DataError, match=r"^class 'b' has no usable photo; add photos or leave the"):
        class_weights(make({"a": 3, "b": 0}))
