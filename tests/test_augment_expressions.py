"""Presets that an expression changes: what is in them, at which size, how many photos stay."""

from __future__ import annotations

import dataclasses
import inspect
import itertools
import math

import cv2
import numpy as np
import pytest
from photos import draw

from carlib.augment import (
    PRESETS,
    TRANSFORMS,
    Augmentation,
    entry_size,
    item_seed,
    make_augmenter,
    preset_named,
    preview_grid,
)
from carlib.errors import UsageError
from carlib.images import fit
from carlib.spec import ModelSpec, Phase, Recipe, from_json, to_json

SIZE = 48
CROP = "RandomResizedCrop"
ADDED = [name for name in TRANSFORMS if name != CROP]


def names(text: str) -> list[str]:
    """Names of the transforms, those of a OneOf in brackets."""
    found = []
    for name, options in preset_named(text).transforms:
        inner = [each for each, _ in options.get("transforms", ())]
        found.append(f"{name}({' '.join(inner)})" if inner else name)
    return found


def test_there_are_transforms():
    assert set(TRANSFORMS) >= {
        *("HorizontalFlip", "VerticalFlip", "Affine", "Rotate", "Perspective", CROP),
        *("RandomBrightnessContrast", "HueSaturationValue", "RGBShift", "ToGray", "InvertImg"),
        *("Equalize", "ElasticTransform", "Blur", "GaussianBlur", "MotionBlur", "GaussNoise"),
        "CoarseDropout",
    }
    assert all(0 < options["p"] <= 0.5 for name, options in TRANSFORMS.items() if name != CROP)
    assert TRANSFORMS[CROP]["p"] == 1


def test_every_transform_of_a_preset_can_be_added_too():
    pairs = [each for preset in PRESETS.values() for each in preset.transforms]
    pairs += [each for _, options in pairs for each in options.get("transforms", ())]
    assert {name for name, _ in pairs} - {"OneOf"} <= set(TRANSFORMS)


@pytest.mark.parametrize("name", PRESETS)
def test_a_name_is_the_preset_itself(name):
    assert preset_named(name) is PRESETS[name]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("none+ToGray", ["ToGray"]),
        ("none+ToGray+Blur", ["ToGray", "Blur"]),
        ("none+Blur+ToGray", ["Blur", "ToGray"]),
        ("none+Blur-Blur", []),
        ("light+ToGray-HorizontalFlip", [CROP, "RandomBrightnessContrast", "ToGray"]),
        ("light-HorizontalFlip+ToGray", [CROP, "RandomBrightnessContrast", "ToGray"]),
        # At the end, wherever it was.
        (
            "light-HorizontalFlip+HorizontalFlip",
            [CROP, "RandomBrightnessContrast", "HorizontalFlip"],
        ),
        # The crop comes first.
        (f"scratch+Blur+{CROP}", [CROP, "HorizontalFlip", "Perspective", "ToGray", "Blur"]),
        (f"light-{CROP}+{CROP}", [CROP, "HorizontalFlip", "RandomBrightnessContrast"]),
        # Of a OneOf, one or all of them; with its last one it goes too.
        (
            "heavy-MotionBlur-CoarseDropout-Affine",
            [
                *(CROP, "HorizontalFlip", "RandomBrightnessContrast", "HueSaturationValue"),
                *("ToGray", "OneOf(GaussianBlur GaussNoise)"),
            ],
        ),
        (
            f"cars-{CROP}-RandomBrightnessContrast",
            ["HorizontalFlip", "Rotate", "GaussianBlur", "HueSaturationValue", "RGBShift"],
        ),
        (
            "cars-OneOf",
            ["HorizontalFlip", "Rotate", "GaussianBlur", "HueSaturationValue", "RGBShift"],
        ),
        # One of several is not there by itself.
        (
            f"cars-Rotate-GaussianBlur-HueSaturationValue-RGBShift+{CROP}+RandomBrightnessContrast",
            [
                *(CROP, "HorizontalFlip", f"OneOf({CROP} {CROP})"),
                "OneOf(RandomBrightnessContrast RandomBrightnessContrast)",
                "RandomBrightnessContrast",
            ],
        ),
    ],
)
def test_what_is_in_it(text, expected):
    assert names(text) == expected


@pytest.mark.parametrize("name", TRANSFORMS)
def test_what_is_added_has_its_options(name):
    preset = preset_named(f"none+{name}")
    assert preset.transforms == ((name, TRANSFORMS[name]),)
    assert preset.name == f"none+{name}"
    assert preset.description == f"{PRESETS['none'].description} Changed: +{name}."
    assert preset.clean_share == pytest.approx(1 - TRANSFORMS[name]["p"])


def test_what_is_left_is_as_it_was():
    assert preset_named("medium-Blur").transforms == tuple(
        each for each in PRESETS["medium"].transforms if each[0] != "Blur"
    )
    before, after = (preset.transforms[6] for preset in (PRESETS["heavy"], preset_named(HEAVY)))
    assert after[1] == {**before[1], "transforms": before[1]["transforms"][:2]}


HEAVY = "heavy-GaussNoise"


def test_the_presets_stay_what_they_are():
    before = {name: dataclasses.replace(preset) for name, preset in PRESETS.items()}
    for name, change in itertools.product(PRESETS, ("+VerticalFlip", "+Equalize-Equalize")):
        preset_named(name + change)
    preset_named(HEAVY)
    assert before == PRESETS
    assert names("heavy")[6] == "OneOf(GaussianBlur MotionBlur GaussNoise)"


@pytest.mark.parametrize(
    ("text", "margin"),
    [
        ("light+ToGray", 1.25),
        ("heavy-CoarseDropout", 1.4),
        (f"light-{CROP}", 1),
        (f"heavy-{CROP}", 1),
        (f"light-{CROP}+{CROP}", 1),
        (f"none+{CROP}", 1),
        (f"cars-{CROP}", 1),
    ],
)
def test_the_size_a_photo_comes_in_with(text, margin):
    assert preset_named(text).margin == margin
    assert entry_size(text, 160) == 160 * margin


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("ligth+ToGray", r"^unknown preset 'ligth'; did you mean 'light'\? Known: none, light"),
        ("+ToGray", r"^unknown preset ''\. Known: none"),
        ("light +ToGray", r"^unknown preset 'light '; did you mean 'light'\?"),
        ("light+ToGrey", r"^unknown transform 'ToGrey'; did you mean 'ToGray'\? Known: Horiz"),
        ("light+", r"^unknown transform ''\. Known: Horiz"),
        ("light+OneOf", r"^unknown transform 'OneOf'\. Known: "),
        (
            "light+HorizontalFlip",
            r"^augment 'light\+HorizontalFlip': HorizontalFlip is there already; leave "
            r"\+HorizontalFlip out$",
        ),
        ("none+Blur+Blur", r"Blur is there already; leave \+Blur out$"),
        (f"light+{CROP}", rf"{CROP} is there already"),
        (
            "light-ToGray",
            r"^augment 'light-ToGray': there is no 'ToGray' to drop\. Known: "
            rf"{CROP}, HorizontalFlip, RandomBrightnessContrast$",
        ),
        (
            "light-HorizontalFilp",
            r"^augment .* no 'HorizontalFilp' to drop; did you mean 'HorizontalFlip'\?",
        ),
        (
            "heavy-MotionBlurr",
            r"did you mean 'MotionBlur'\? .*, OneOf, GaussianBlur, MotionBlur, GaussNoise, Coarse",
        ),
        ("light-Blur+Blur", r"there is no 'Blur' to drop"),
        ("none-ToGray", r"^augment 'none-ToGray': there is no 'ToGray' to drop; leave -ToGray out"),
    ],
)
@pytest.mark.parametrize(
    "use",
    [
        preset_named,
        lambda text: entry_size(text, 32),
        lambda text: make_augmenter(text, 32),
        Augmentation,
        lambda text: preview_grid([], text, 32),
    ],
    ids=["preset_named", "entry_size", "make_augmenter", "Augmentation", "preview_grid"],
)
def test_what_is_refused(text, said, use):
    with pytest.raises(UsageError, match=said):
        use(text)


# ---------------------------------------------------------------- what albumentations makes of it


@pytest.mark.parametrize("name", TRANSFORMS)
def test_albumentations_takes_every_argument(name):
    """It only warns of arguments it does not know, which is an error here."""
    import albumentations

    size = {"size": (SIZE, SIZE)} if name == CROP else {}
    transform = getattr(albumentations, name)(**TRANSFORMS[name], **size)
    taken = transform.get_transform_init_args() | transform.get_base_init_args()
    for key, value in TRANSFORMS[name].items():
        kept = taken[key]
        if isinstance(value, int | float) and isinstance(kept, tuple):
            kept = kept[1]  # a limit becomes a range on both sides of 0
        if not isinstance(kept, dict):  # Affine makes ranges by axis
            assert np.allclose(kept, value), key
    if "border_mode" in inspect.signature(type(transform)).parameters:
        assert TRANSFORMS[name]["border_mode"] == cv2.BORDER_REFLECT_101


TEXTS = [*(f"none+{name}" for name in TRANSFORMS), f"heavy-{CROP}", HEAVY, f"scratch+{CROP}"]


@pytest.mark.parametrize("text", TEXTS)
@pytest.mark.parametrize("size", [16, 33, 96])
def test_a_photo_comes_out(text, size):
    """At its size, the same for the same seed, not the same for all."""
    photo = fit(draw(70, 90), entry_size(text, size))
    augment, other = (make_augmenter(text, size) for _ in range(2))
    made = [augment(photo, seed) for seed in range(30)]
    for seed, view in enumerate(made):
        assert (view.shape, view.dtype) == ((size, size, 3), np.uint8)
        assert np.array_equal(view, other(photo, seed))
    assert len({view.tobytes() for view in made}) > 1


@pytest.mark.parametrize("name", ADDED)
def test_what_is_added_is_mild(name):
    """It leaves the photo about as bright, unless it is there to change that; no black corners."""
    augment = make_augmenter(f"none+{name}", SIZE)
    photo = np.full((SIZE, SIZE, 3), 200, np.uint8)
    views = np.stack([augment(photo, seed) for seed in range(60)]).astype(int)
    if name not in ("InvertImg", "CoarseDropout"):
        assert views.min() > 90
    if name not in ("InvertImg", "CoarseDropout", "Equalize"):
        assert abs(views.mean() - 200) < 12


@pytest.mark.parametrize(
    ("text", "share"),
    [
        ("scratch-Perspective", 0.45),
        ("scratch+InvertImg", 0.225 * 0.9),
        (f"light-{CROP}", 0.25),
        ("none+CoarseDropout+ToGray", 0.7 * 0.9),
    ],
)
def test_the_clean_share_comes_true(text, share):
    """Photos of which not a byte differs from what validation sees, counted."""
    augmentation = Augmentation(text)
    assert augmentation.clean == augmentation.own_share == pytest.approx(share)
    augment = make_augmenter(text, SIZE)
    photo, count = fit(draw(70, 90), SIZE), 2000
    seeds = [item_seed(5, 1, index) for index in range(count)]
    found = sum(np.array_equal(augment(photo, seed), photo) for seed in seeds)
    assert abs(found - count * share) <= 4 * math.sqrt(count * share * (1 - share))


def test_the_own_share_of_an_expression_is_the_least():
    assert Augmentation("scratch-Perspective", clean_share=0.725).skip == pytest.approx(0.5)
    with pytest.raises(UsageError, match=r"preset 'scratch-Perspective' leaves clean by itself, 0"):
        Augmentation("scratch-Perspective", clean_share=0.3)


def test_a_recipe_keeps_its_expression():
    phase = Phase("all", 1, 1e-3, augment="light+ToGray-HorizontalFlip")
    recipe = Recipe("r", ModelSpec("tiny", 32), (phase,))
    assert from_json(to_json(recipe)) == recipe
