"""Augmentation: a function of photo and seed; presets that albumentations takes as they stand."""

from __future__ import annotations

import random
from concurrent.futures import ThreadPoolExecutor

import cv2
import numpy as np
import pytest
from photos import draw

from carlib.augment import (
    PRESETS,
    Preset,
    entry_size,
    item_seed,
    make_augmenter,
    preview_grid,
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
    assert {"light", "medium"} <= set(CHANGING)
    for name, preset in PRESETS.items():
        assert isinstance(preset, Preset)
        assert preset.name == name
        assert preset.description.endswith(".")
        assert preset.margin >= 1


@pytest.mark.parametrize("name", PRESETS)
@pytest.mark.parametrize("size", [16, 33, 96])
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
    assert len(views) >= 45  # two mild crops may coincide


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
    for name, options in preset.transforms
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


def test_albumentations_would_warn():
    """What the test above and every augmenter's making rely on."""
    import albumentations

    with pytest.warns(UserWarning, match="not valid for transform"):
        albumentations.HorizontalFlip(q=0.5)


@pytest.mark.parametrize(
    "use", [lambda: make_augmenter("ligth", 32), lambda: entry_size("ligth", 32)]
)
def test_an_unknown_preset(use):
    with pytest.raises(
        UsageError, match=r"^unknown preset 'ligth'; did you mean 'light'.* Known: none"
    ):
        use()


# ---------------------------------------------------------------- preview


@pytest.mark.parametrize("name", PRESETS)
@pytest.mark.parametrize("views", [0, 1, 5])
def test_the_grid(name, views):
    photos = [entry(name, seed) for seed in range(3)]
    grid = preview_grid(photos, name, SIZE, views=views, seed=4)
    assert (grid.shape, grid.dtype) == ((3 * SIZE, (1 + views) * SIZE, 3), np.uint8)
    augment = make_augmenter(name, SIZE)
    for row, photo in enumerate(photos):
        tiles = grid[row * SIZE : (row + 1) * SIZE].reshape(SIZE, 1 + views, SIZE, 3).swapaxes(0, 1)
        assert np.array_equal(
            tiles[0], cv2.resize(photo, (SIZE, SIZE), interpolation=cv2.INTER_AREA)
        )
        for view, tile in enumerate(tiles[1:]):
            assert np.array_equal(tile, augment(photo, item_seed(4, view, row)))


def test_another_seed_is_another_grid():
    photos = [entry("light")]
    one, two = (preview_grid(photos, "light", SIZE, seed=seed) for seed in (0, 1))
    assert np.array_equal(one[:, :SIZE], two[:, :SIZE])
    assert not np.array_equal(one[:, SIZE:], two[:, SIZE:])


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
