"""Mixup and cutmix: what a photo takes from its partner is a function of its seed alone."""

from __future__ import annotations

import math

import numpy as np
import pytest
from photos import draw

from carlib.augment import Augmentation, Mix, draw_mix, item_seed, skips

SIZE = 48
SEEDS = [item_seed(1, 0, index) for index in range(1500)]
BOTH = Augmentation(mixup=0.4, cutmix=1.0)


def near(found: int, share: float, count: int = len(SEEDS)) -> bool:
    """Whether a count is what this probability gives, within four standard deviations."""
    return abs(found - count * share) <= 4 * math.sqrt(count * share * (1 - share))


def test_a_function_of_the_seed():
    first = [draw_mix(BOTH, SIZE, seed) for seed in SEEDS]
    assert [draw_mix(BOTH, SIZE, seed) for seed in reversed(SEEDS)] == first[::-1]
    assert len(set(first)) > 1400


def test_it_stays_over_versions():
    """Other figures would change the photos that a resumed run sees."""
    found = [draw_mix(BOTH, SIZE, seed) for seed in range(4)]
    assert [mix.box for mix in found] == [None, (0, 0, 24, 20), (18, 0, 48, 27), (24, 19, 35, 30)]
    assert found[0].share == pytest.approx(0.10337547436997237)


@pytest.mark.parametrize(
    ("mixup", "cutmix", "blends"),
    [(0.4, 0.0, 1.0), (0.0, 1.0, 0.0), (0.4, 1.0, 0.5), (0.0, 0.0, 1.0)],
)
def test_which_of_the_two(mixup, cutmix, blends):
    mixes = [draw_mix(Augmentation(mixup=mixup, cutmix=cutmix), SIZE, seed) for seed in SEEDS]
    assert near(sum(mix.box is None for mix in mixes), blends)
    assert (mixes == [Mix(1.0)] * len(SEEDS)) is (mixup == cutmix == 0)


@pytest.mark.parametrize("alpha", [0.1, 1.0, 100.0])
def test_lambda_is_of_a_beta_distribution(alpha):
    """Of mean 1/2 and variance 1 / (4 (2 alpha + 1))."""
    shares = [draw_mix(Augmentation(mixup=alpha), SIZE, seed).share for seed in SEEDS]
    deviation = math.sqrt(1 / (4 * (2 * alpha + 1)))
    assert 0 <= min(shares) < 0.5 < max(shares) <= 1
    assert abs(np.mean(shares) - 0.5) < 4 * deviation / math.sqrt(len(shares))
    assert np.std(shares) == pytest.approx(deviation, rel=0.1)


@pytest.mark.parametrize("alpha", [1e-300, 1e-9, 100.0])
@pytest.mark.parametrize("size", [1, 16, 2048])
def test_extremes(alpha, size):
    for how in (Augmentation(mixup=alpha), Augmentation(cutmix=alpha)):
        for seed in SEEDS[:50]:
            assert 0 <= draw_mix(how, size, seed).share <= 1


@pytest.mark.parametrize("size", [16, 48, 225])
def test_a_box_lies_in_the_photo_and_the_share_is_what_it_leaves(size):
    boxes = set()
    for seed in SEEDS:
        mix = draw_mix(Augmentation(cutmix=1.0), size, seed)
        left, top, right, bottom = mix.box
        assert 0 <= left <= right <= size
        assert 0 <= top <= bottom <= size
        assert mix.share == 1 - (right - left) * (bottom - top) / size**2
        boxes.add((left == 0, top == 0, right == size, bottom == size))
    # Its middle is anywhere in the photo, so it hangs over each edge now and then, and over none.
    for edge in range(4):
        assert any(touching[edge] for touching in boxes)
    assert (False,) * 4 in boxes


def test_the_side_of_a_box_is_the_root_of_the_area():
    """A large alpha makes lambda about 1/2: where nothing hangs over, half of the area goes."""
    mixes = [draw_mix(Augmentation(cutmix=100.0), 200, seed) for seed in SEEDS]
    inner = [mix for mix in mixes if min(mix.box[:2]) > 0 and max(mix.box[2:]) < 200]
    assert len(inner) > 50
    for mix in inner:
        left, top, right, bottom = mix.box
        assert right - left == bottom - top
        assert 0.35 < mix.share < 0.65


@pytest.mark.parametrize("wanted", [0.2, 0.7, 1.0])
def test_who_skips_is_not_mixed(wanted):
    how = Augmentation("scratch", clean_share=wanted, mixup=0.4, cutmix=1.0)
    for seed in SEEDS:
        mix = draw_mix(how, SIZE, seed)
        if skips(seed, wanted):
            assert mix == Mix(1.0)
        else:
            assert mix == draw_mix(BOTH, SIZE, seed)


# ---------------------------------------------------------------- on photos

ONE, TWO = draw(SIZE, SIZE, 1), draw(SIZE, SIZE, 9)[:, ::-1].copy()


@pytest.mark.parametrize("share", [0.0, 0.1, 1 / 3, 0.5, 0.999, 1.0])
def test_a_blend_is_rounded(share):
    one, two = ONE.copy(), TWO.copy()
    made = Mix(share)(one, two)
    assert made.dtype == np.uint8
    exact = share * ONE.astype(float) + (1 - share) * TWO
    assert np.abs(made - exact).max() <= 0.5 + 1e-4
    assert np.array_equal(one, ONE)
    assert np.array_equal(two, TWO)


@pytest.mark.parametrize(
    "box", [(0, 0, 48, 48), (3, 10, 20, 41), (0, 0, 0, 0), (40, 0, 48, 7), (5, 6, 6, 7)]
)
def test_a_patch_is_the_partners(box):
    left, top, right, bottom = box
    one, two = ONE.copy(), TWO.copy()
    made = Mix(1 - (right - left) * (bottom - top) / SIZE**2, box)(one, two)
    inside = np.zeros((SIZE, SIZE, 1), bool)
    inside[top:bottom, left:right] = True
    assert np.array_equal(made, np.where(inside, TWO, ONE))
    assert np.array_equal(one, ONE)
    assert np.array_equal(two, TWO)
