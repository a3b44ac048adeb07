"""Augmentation: a function of photo and seed; presets that albumentations takes as they stand;
clean shares that come true."""

from __future__ import annotations

import inspect
import math
import random
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor

import cv2
import numpy as np
import pytest
from photos import draw

import carlib.augment
from carlib.augment import (
    PRESETS,
    Augmentation,
    Preset,
    draw_mix,
    entry_size,
    item_seed,
    make_augmenter,
    preview_grid,
    skips,
)
from carlib.errors import UsageError
from carlib.images import fit

SIZE = 48
CHANGING = [name for name, preset in PRESETS.items() if preset.transforms]
SEEDS = [0, 1, 2, 3, 77, 2**31, 2**32 - 1]


def entry(name: str, seed: int = 0, size: int = SIZE) -> np.ndarray:
    return fit(draw(70, 90, seed), entry_size(name, size))


def test_there_are_presets():
    assert list(PRESETS) == ["none", *CHANGING]
    assert {"light", "medium", "heavy", "cars", "scratch"} == set(CHANGING)
    for name, preset in PRESETS.items():
        assert isinstance(preset, Preset)
        assert preset.name == name
        assert preset.description.endswith(".")
        assert preset.margin >= 1


@pytest.mark.parametrize("name", PRESETS)
@pytest.mark.parametrize("size", [16, 33, 96, 320])
@pytest.mark.parametrize("seed", SEEDS)
def test_a_photo_comes_out(name, size, seed):
    photo = entry(name, size=size)
    before = photo.copy()
    made = make_augmenter(name, size)(photo, seed)
    assert (made.shape, made.dtype) == ((size, size, 3), np.uint8)
    assert made.flags.c_contiguous
    assert np.array_equal(photo, before), "the photo that went in is the caller's"


def test_none_changes_nothing():
    photo = entry("none")
    for seed in SEEDS:
        assert np.array_equal(make_augmenter("none", SIZE)(photo, seed), photo)
    assert entry_size("none", SIZE) == SIZE


@pytest.mark.parametrize("name", CHANGING)
def test_a_function_of_photo_and_seed(name):
    augment = make_augmenter(name, SIZE)
    first = [augment(entry(name), seed) for seed in SEEDS]
    again = [augment(entry(name), seed) for seed in reversed(SEEDS)][::-1]
    other = make_augmenter(name, SIZE)
    for seed, one, two in zip(SEEDS, first, again, strict=True):
        assert np.array_equal(one, two), "whatever was asked for before"
        assert np.array_equal(one, other(entry(name), seed)), "by another augmenter"


@pytest.mark.parametrize("name", CHANGING)
def test_other_seeds_make_other_photos(name):
    augment = make_augmenter(name, SIZE)
    views = {augment(entry(name), seed).tobytes() for seed in range(50)}
    # Two mild crops may coincide; half of scratch's photos are clean or only mirrored.
    assert len(views) >= (20 if name == "scratch" else 45)


@pytest.mark.parametrize("name", CHANGING)
def test_the_same_from_several_threads(name):
    augment = make_augmenter(name, SIZE)
    photos = [entry(name, seed) for seed in range(3)]
    items = [(photo, seed) for seed in range(40) for photo in photos]
    expected = [augment(*item) for item in items]
    with ThreadPoolExecutor(4) as pool:
        for one, two in zip(pool.map(lambda item: augment(*item), items), expected, strict=True):
            assert np.array_equal(one, two)


@pytest.mark.parametrize("name", CHANGING)
def test_no_global_random_state(name):
    np.random.seed(5)
    random.seed(5)
    state, other = np.random.get_state()[1].copy(), random.getstate()
    one = make_augmenter(name, SIZE)(entry(name), 9)
    assert np.array_equal(np.random.get_state()[1], state)
    assert random.getstate() == other
    np.random.seed(6)
    random.seed(6)
    assert np.array_equal(make_augmenter(name, SIZE)(entry(name), 9), one)


@pytest.mark.parametrize("name", CHANGING)
def test_a_view_is_still_the_photo(name):
    """On the average over views: not black, not gone, mirrored about half of the time."""
    augment = make_augmenter(name, SIZE)
    photo = np.zeros((entry_size(name, SIZE),) * 2 + (3,), np.uint8)
    photo[:, : photo.shape[1] // 2] = 220
    views = np.stack([augment(photo, seed) for seed in range(60)]).astype(int)
    assert 60 < views.mean() < 180
    mirrored = [view[:, : SIZE // 4].mean() < view[:, -SIZE // 4 :].mean() for view in views]
    assert 15 <= sum(mirrored) <= 45


TRANSFORMS = [
    pytest.param(name, options, id=f"{preset.name}-{name}")
    for preset in PRESETS.values()
    for each in preset.transforms
    for name, options in each[1].get("transforms", (each,))
]


@pytest.mark.parametrize(("name", "options"), TRANSFORMS)
def test_albumentations_takes_every_argument(name, options):
    """It only warns of arguments it does not know and goes on without them."""
    import albumentations

    size = {"size": (SIZE, SIZE)} if name == "RandomResizedCrop" else {}
    transform = getattr(albumentations, name)(**options, **size)
    taken = transform.get_transform_init_args() | transform.get_base_init_args()
    for key, value in options.items():
        kept = taken[key]
        if isinstance(value, (int, float)) and isinstance(kept, tuple):
            kept = kept[1]  # a limit becomes a range on both sides of 0
        if isinstance(kept, dict):
            continue  # Affine makes ranges by axis
        assert np.allclose(kept, value), key


@pytest.mark.parametrize(("name", "options"), TRANSFORMS)
def test_what_moves_a_photo_mirrors_its_edge(name, options):
    import albumentations

    if "border_mode" in inspect.signature(getattr(albumentations, name)).parameters:
        assert options["border_mode"] == cv2.BORDER_REFLECT_101


@pytest.mark.parametrize("name", ["light", "cars", "scratch"])
def test_no_black_borders(name):
    """Medium and heavy hide patches, black ones."""
    augment = make_augmenter(name, SIZE)
    photo = np.full((entry_size(name, SIZE),) * 2 + (3,), 255, np.uint8)
    assert min(augment(photo, seed).min() for seed in range(200)) > 40


def test_albumentations_would_warn():
    """What the test above and every augmenter's making rely on."""
    import albumentations

    with pytest.warns(UserWarning, match="not valid for transform"):
        albumentations.HorizontalFlip(q=0.5)


@pytest.mark.parametrize(
    "use",
    [
        lambda: make_augmenter("ligth", 32),
        lambda: entry_size("ligth", 32),
        lambda: Augmentation("ligth"),
        lambda: preview_grid([], "ligth", 32),
    ],
)
def test_an_unknown_preset(use):
    with pytest.raises(
        UsageError, match=r"^unknown preset 'ligth'; did you mean 'light'.* Known: none"
    ):
        use()


@pytest.mark.parametrize(
    ("made", "said"),
    [
        (
            lambda: Preset("p", "", (("ToGray", {}),)),
            r"^Preset 'p': ToGray must say its p, from 0 to 1; received None$",
        ),
        (
            lambda: Preset("p", "", (("ToGray", {"p": 1.5}),)),
            r"ToGray must say its p, from 0 to 1; received 1\.5",
        ),
        (
            lambda: Preset("p", "", (("OneOf", {"transforms": (("Blur", {}),), "p": 0.5}),)),
            r"Blur must say its p",
        ),
        (lambda: Preset("p", "", margin=0.9), r"margin must be 1, or more .* received 0\.9"),
        (
            lambda: Preset("p", "", (("RandomResizedCrop", {"p": 0.5}),), margin=1.2),
            r"^Preset 'p': margin must be 1, or more where RandomResizedCrop has p = 1; .* 1\.2$",
        ),
    ],
)
def test_a_preset_refuses(made, said):
    with pytest.raises(UsageError, match=said):
        made()


# ---------------------------------------------------------------- clean shares


@pytest.mark.parametrize(
    ("name", "share"),
    [
        ("none", 1),
        ("light", 0),
        ("medium", 0),
        ("heavy", 0),
        ("cars", 0.5**6 * 0.95),
        ("scratch", 0.225),
    ],
)
def test_the_own_share_of_a_preset(name, share):
    assert PRESETS[name].clean_share == pytest.approx(share)
    assert Augmentation(name).clean == Augmentation(name).own_share == PRESETS[name].clean_share
    assert Augmentation(name).skip == 0


@pytest.mark.parametrize(
    ("options", "own", "skip"),
    [
        ({"preset": "scratch", "clean_share": 0.6125}, 0.225, 0.5),
        ({"preset": "scratch", "clean_share": 0.225}, 0.225, 0),
        ({"preset": "scratch", "clean_share": 1.0}, 0.225, 1),
        ({"preset": "scratch", "erasing": 0.2, "clean_share": 0.59}, 0.18, 0.5),
        ({"preset": "scratch", "erasing": 1.0, "clean_share": 0.1}, 0, 0.1),
        ({"preset": "scratch", "mixup": 0.2, "clean_share": 0.1}, 0, 0.1),
        ({"preset": "none", "cutmix": 1.0, "clean_share": 0.3}, 0, 0.3),
        ({"preset": "none", "clean_share": 1.0}, 1, 0),
        ({"preset": "none", "erasing": 0.5}, 0.5, 0),
        ({"preset": "light", "clean_share": 0.25}, 0, 0.25),
    ],
)
def test_who_skips(options, own, skip):
    augmentation = Augmentation(**options)
    assert augmentation.own_share == pytest.approx(own)
    assert augmentation.skip == pytest.approx(skip)
    assert augmentation.clean == options.get("clean_share", augmentation.own_share)


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"clean_share": -0.1}, r"^clean_share must be a number from 0 to 1; received -0\.1$"),
        ({"clean_share": 1.1}, r"^clean_share must be a number from 0 to 1; received 1\.1$"),
        ({"erasing": math.nan}, r"^erasing must be a number from 0 to 1; received nan$"),
        ({"mixup": -1}, r"^mixup must be a number from 0 to 100; received -1$"),
        ({"cutmix": 101}, r"^cutmix must be a number from 0 to 100; received 101$"),
        (
            {"preset": "scratch", "clean_share": 0.2},
            r"^clean_share = 0\.2 is less than preset 'scratch' leaves clean by itself, 0\.225;",
        ),
        ({"preset": "none", "clean_share": 0.5}, r"preset 'none' leaves clean by itself, 1; ask"),
        ({"erasing": 0.1, "clean_share": 0.5}, r"preset 'none' leaves clean by itself, 0\.9; ask"),
    ],
)
def test_an_augmentation_refuses(options, said):
    with pytest.raises(UsageError, match=said):
        Augmentation(**options)


@pytest.mark.parametrize("share", [0.001, 0.3, 0.5, 0.999])
def test_skips_are_as_many_as_asked_for(share):
    count = 5000
    found = sum(skips(item_seed(3, 0, index), share) for index in range(count))
    assert abs(found - count * share) <= 4 * math.sqrt(count * share * (1 - share))


@pytest.mark.parametrize("seed", SEEDS)
def test_nobody_skips_at_0_and_everybody_at_1(seed):
    assert not skips(seed, 0.0)
    assert skips(seed, 1.0)


def test_who_skips_stays_over_versions():
    assert [seed for seed in range(20) if skips(seed, 0.3)] == [3, 11, 17, 18, 19]


@pytest.mark.parametrize(
    ("name", "wanted", "erasing"),
    [
        *((name, 0.0, 0.0) for name in PRESETS),
        *((name, 0.0, 0.4) for name in PRESETS),
        *((name, 0.6125, 0.0) for name in CHANGING),
        ("none", 0.8, 0.4),
        ("light", 0.05, 0.4),
        ("scratch", 0.5, 0.4),
        ("cars", 1.0, 0.4),
    ],
)
def test_the_clean_share_comes_true(name, wanted, erasing):
    """Photos of which not a byte differs from what validation sees, counted."""
    augmentation = Augmentation(name, wanted, erasing)
    augment = make_augmenter(name, SIZE, erasing)
    plain, photo = fit(draw(70, 90), SIZE), entry(name)
    count, found = 2500, 0
    for index in range(count):
        seed = item_seed(11, 2, index)
        made = plain if skips(seed, augmentation.skip) else augment(photo, seed)
        found += np.array_equal(made, plain)
    share = augmentation.clean
    assert abs(found - count * share) <= 4 * math.sqrt(count * share * (1 - share))


# ---------------------------------------------------------------- erasing


@pytest.mark.parametrize("name", ["none", "light", "scratch"])
def test_erasing_changes_a_rectangle_and_nothing_else(name):
    augment, plain = make_augmenter(name, SIZE, 1.0), make_augmenter(name, SIZE)
    for seed in range(40):
        made, before = augment(entry(name), seed), plain(entry(name), seed)
        rows, columns = np.nonzero((made != before).any(axis=2))
        sides = np.ptp(rows) + 1, np.ptp(columns) + 1
        assert 0.01 <= math.prod(sides) / SIZE**2 <= 0.36  # 0.02 to 0.33, of whole pixels
        assert len(rows) >= 0.99 * math.prod(sides)
        assert len(np.unique(made[rows, columns])) > 20  # random values, not a colour


def test_erasing_is_a_function_of_photo_and_seed():
    augment = make_augmenter("none", SIZE, 0.5)
    first = [augment(entry("none"), seed) for seed in range(60)]
    other = make_augmenter("none", SIZE, 0.5)
    np.random.seed(3)
    again = [other(entry("none"), seed) for seed in reversed(range(60))][::-1]
    assert all(map(np.array_equal, first, again))
    assert len({made.tobytes() for made in first}) > 20


# ---------------------------------------------------------------- preview


def tiles(grid: np.ndarray, row: int) -> np.ndarray:
    """The tiles of a row of the grid, in order."""
    return grid[row * SIZE : (row + 1) * SIZE].reshape(SIZE, -1, SIZE, 3).swapaxes(0, 1)


@pytest.mark.parametrize("name", PRESETS)
@pytest.mark.parametrize("views", [0, 1, 5])
def test_the_grid(name, views):
    photos = [entry(name, seed) for seed in range(3)]
    grid = preview_grid(photos, name, SIZE, views=views, seed=4)
    assert (grid.shape, grid.dtype) == ((3 * SIZE, (1 + views) * SIZE, 3), np.uint8)
    augment = make_augmenter(name, SIZE)
    for row, photo in enumerate(photos):
        original, *made = tiles(grid, row)
        assert np.array_equal(
            original, cv2.resize(photo, (SIZE, SIZE), interpolation=cv2.INTER_AREA)
        )
        for view, tile in enumerate(made):
            assert np.array_equal(tile, augment(photo, item_seed(4, view, row)))


def test_the_grid_shows_what_skips_and_what_mixes():
    how = Augmentation("light", clean_share=0.4, erasing=0.5, mixup=1.0, cutmix=1.0)
    photos = [entry("light", seed) for seed in range(3)]
    grid = preview_grid(photos, how, SIZE, views=6)
    augment = make_augmenter("light", SIZE, 0.5)
    seen = set()
    for view in range(6):
        seeds = [item_seed(0, view, row) for row in range(3)]
        own = [
            tiles(grid, row)[0] if skips(seed, 0.4) else augment(photos[row], seed)
            for row, seed in enumerate(seeds)
        ]
        for row, seed in enumerate(seeds):
            mix = draw_mix(how, SIZE, seed)
            assert np.array_equal(tiles(grid, row)[1 + view], mix(own[row], own[(row + 1) % 3]))
            seen.add((skips(seed, 0.4), mix.box is None))
    assert seen == {(True, True), (False, True), (False, False)}


def test_another_seed_is_another_grid():
    photos = [entry("light")]
    one, two = (preview_grid(photos, "light", SIZE, seed=seed) for seed in (0, 1))
    assert np.array_equal(one[:, :SIZE], two[:, :SIZE])
    assert not np.array_equal(one[:, SIZE:], two[:, SIZE:])


# ---------------------------------------------------------------- what is loaded


def test_presets_need_the_standard_library_alone():
    script = "import sys, carlib.augment as a; a.Augmentation('cars'); a.entry_size('light', 96); "
    script += "print({'numpy', 'cv2', 'albumentations'} & set(sys.modules))"
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=True
    )
    assert done.stdout == "set()\n"


@pytest.mark.parametrize("name", carlib.augment.__all__)
def test_every_name_of_the_room_is_there(name):
    assert getattr(carlib.augment, name)


def test_an_unknown_name_is_an_attribute_error():
    with pytest.raises(AttributeError, match=r"'carlib\.augment' has no attribute 'nothing'"):
        carlib.augment.nothing  # noqa: B018


# ---------------------------------------------------------------- seeds


def test_item_seeds():
    places = [(s, e, i) for s in (0, 1, 2**32 - 1) for e in range(10) for i in range(30)]
    seeds = [item_seed(*place) for place in places]
    assert len(set(seeds)) == len(seeds)
    assert all(type(seed) is int and 0 <= seed < 2**32 for seed in seeds)
    assert [item_seed(*place) for place in places] == seeds


def test_item_seeds_stay_over_versions():
    """Other figures would change the photos that a resumed run sees (numpy promises these)."""
    assert [item_seed(0, 0, 0), item_seed(1, 2, 3), item_seed(2**32 - 1, 7, 15_560)] == [
        2968811710,
        3822189696,
        1490408898,
    ]
