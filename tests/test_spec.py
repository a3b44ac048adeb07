"""Recipes: what they refuse, their round trips, their digest, settings and differences."""

from __future__ import annotations

import dataclasses
import json
import math
import re
import tomllib

import pytest

from carlib.errors import UsageError
from carlib.spec import (
    Difference,
    ModelSpec,
    Phase,
    Recipe,
    differences,
    from_dict,
    from_json,
    from_toml,
    to_dict,
    to_json,
    to_toml,
    with_settings,
)

MODEL = ModelSpec("tiny", 32)
HEAD = Phase("head", 2, 1e-3, trains="head")
TOP = Phase("top", 3, 1e-4, trains=0.5, schedule="cosine", warmup=0.5)
RECIPE = Recipe("plain", MODEL, (HEAD, TOP))

# A value other than RECIPE's, for every field there is.
OTHER = {
    ModelSpec: {
        "backbone": "efficientnet-lite0",
        "size": 33,
        "resize": "pad",
        "pooling": "both",
        "head_norm": True,
        "hidden": 64,
        "head": "mine",
        "dropout": 0.21,
        "drop_connect": 0.1,
        "weights": "imagenet",
        "dtype": "mixed_float16",
    },
    Phase: {
        "name": "other",
        "epochs": 4,
        "lr": 0.5,
        "trains": 0.25,
        "share_by": "compute",
        "batchnorm": "trained",
        "schedule": "linear",
        "warmup": 0.25,
        "decay": 0.5,
        "every": 1.5,
        "growth": 2.0,
        "rates": ((1.0, 0.5), (2.0, 0.1)),
        "patience": 7,
        "optimizer": "sgd",
        "momentum": 0.8,
        "layer_decay": 0.7,
        "clip": 1.0,
        "weight_decay": 1e-4,
        "batch_size": 31,
        "accumulate": 4,
        "size": 24,
        "augment": "light",
        "clean_share": 0.5,
        "erasing": 0.3,
        "mixup": 0.2,
        "cutmix": 1.5,
        "views": 4,
        "ema": 0.99,
        "early_stop": 5,
        "restore_best": True,
    },
    Recipe: {
        "name": "other",
        "model": dataclasses.replace(MODEL, size=48),
        "phases": (HEAD,),
        "seed": 1,
        "loss": "focal",
        "focal_gamma": 1.0,
        "label_smoothing": 0.1,
        "class_weights": "balanced",
        "linear_probe": 20,
        "validation_share": 0.25,
        "folds": 5,
        "fold": 1,
        "training_share": 0.5,
        "monitor": "loss",
        "determinism": "fast",
        "description": "Other.",
        "measured": "carlib train ...: 0.9",
    },
}
NOT_IN_DIGEST = {"name", "description", "measured"}

TEXTS = [
    "plain",
    "Grün, 車, Ünïcode",
    "🚗 and 👩‍👩‍👧",
    "\"double\" 'single' '''three''' \"\"\"three\"\"\"",
    "back\\slash \\n \\u0041 C:\\new",
    "".join(map(chr, range(32))),
    "\x7f \x80 \x9f \xa0 \u2028 \u2029 \ufeff \ufffd",
    "# no comment = [no] {table}",
    "  spaces\taround \r\n lines\r",
    "nan",
    "\U0010ffff",
]
NUMBERS = [0.0, 1e-05, 1e-300, 0.1 + 0.2, 1 / 3, 5e-324, 1.0, 100.0]


def vary(kind, name, value):
    """RECIPE with one field of it, its model or its first phase changed, unchecked."""
    owner = {Recipe: RECIPE, ModelSpec: MODEL, Phase: HEAD}[kind]
    changed = dataclasses.replace(owner)
    object.__setattr__(changed, name, value)  # also where one value only is allowed so far
    if kind is ModelSpec:
        return dataclasses.replace(RECIPE, model=changed)
    return dataclasses.replace(RECIPE, phases=(changed, TOP)) if kind is Phase else changed


def said_of(old, new):
    return [str(difference) for difference in differences(old, new)]


FIELDS = [(kind, entry.name) for kind in OTHER for entry in dataclasses.fields(kind)]

ALONE = {"fold"}  # fields whose other value is refused while the rest is as in RECIPE


# ---------------------------------------------------------------- round trips


@pytest.mark.parametrize("write_read", [(to_json, from_json), (to_toml, from_toml)])
@pytest.mark.parametrize("text", TEXTS)
def test_texts_round_trip(write_read, text):
    write, read = write_read
    phase = dataclasses.replace(HEAD, name=text)
    model = dataclasses.replace(MODEL, weights=text)
    recipe = Recipe(text, model, (phase, TOP), description=text)
    again = read(write(recipe))
    assert to_dict(again) == to_dict(recipe)
    assert again.digest() == recipe.digest()


@pytest.mark.parametrize("write_read", [(to_json, from_json), (to_toml, from_toml)])
@pytest.mark.parametrize("number", NUMBERS)
def test_numbers_round_trip_exactly(write_read, number):
    write, read = write_read
    recipe = dataclasses.replace(RECIPE, phases=(dataclasses.replace(HEAD, lr=number),))
    again = read(write(recipe))
    assert again.phases[0].lr == number
    assert again == recipe


@pytest.mark.parametrize("write_read", [(to_json, from_json), (to_toml, from_toml)])
@pytest.mark.parametrize(("kind", "name"), [field for field in FIELDS if field[1] not in ALONE])
def test_every_field_round_trips(write_read, kind, name):
    write, read = write_read
    recipe = vary(kind, name, OTHER[kind][name])
    again = read(write(recipe))
    assert to_dict(again) == to_dict(recipe) != to_dict(RECIPE)


def test_the_files_are_what_they_claim_to_be():
    assert json.loads(to_json(RECIPE)) == tomllib.loads(to_toml(RECIPE)) == to_dict(RECIPE)
    assert to_json(RECIPE).endswith("}\n")
    assert to_toml(RECIPE).endswith("restore_best = false\n")


def test_a_short_recipe_takes_the_defaults():
    text = """
        name = "short"
        [model]
        backbone = "tiny"
        size = 32
        [[phases]]
        name = "all"
        epochs = 1
        lr = 1
    """
    assert from_toml(text) == Recipe("short", MODEL, (Phase("all", 1, 1.0),))


# ---------------------------------------------------------------- digest


def test_every_field_has_another_value():
    for kind, values in OTHER.items():
        assert set(values) == {entry.name for entry in dataclasses.fields(kind)}


@pytest.mark.parametrize(("kind", "name"), FIELDS)
def test_the_digest_knows_every_field_but_name_and_description(kind, name):
    changed = vary(kind, name, OTHER[kind][name])
    ignored = kind is Recipe and name in NOT_IN_DIGEST
    assert (changed.digest() == RECIPE.digest()) is ignored
    assert (differences(RECIPE, changed) == []) is ignored


def test_the_digest_knows_the_order_of_phases():
    turned = dataclasses.replace(RECIPE, phases=(TOP, HEAD))
    assert turned.digest() != RECIPE.digest()


def test_equal_recipes_have_equal_digests():
    whole = Recipe("a", ModelSpec("tiny", 32, dropout=0), (Phase("all", 1, 1, trains=1),))
    floats = Recipe("a", ModelSpec("tiny", 32, dropout=0.0), [Phase("all", 1, 1.0, trains=1.0)])
    assert whole == floats
    assert whole.digest() == floats.digest()


def test_a_digest_outlives_versions():
    """Changing this figure makes every chain in the world another recipe's."""
    recipe = Recipe("r", ModelSpec("tiny", 32), (Phase("all", 1, 1e-3),))
    assert recipe.digest()[:16] == "d36108f54c0ca155"


def test_a_digest_is_64_hex_digits():
    assert len(RECIPE.digest()) == 64
    assert set(RECIPE.digest()) <= set("0123456789abcdef")


# ---------------------------------------------------------------- refusals

HUGE = 10**400
NOT_NUMBERS = ["1", None, True, math.nan, math.inf, -math.inf, [1], 1j, HUGE]
BOUNDS = [
    (ModelSpec, "size", [16, 2048], [15, 2049, 32.0, 0, -1]),
    (ModelSpec, "hidden", [0, 1, 65_536], [-1, 65_537, 8.0]),
    (ModelSpec, "dropout", [0, 0.95], [-0.01, 0.96]),
    (ModelSpec, "drop_connect", [0, 0.95], [-0.01, 0.96]),
    (Phase, "epochs", [1, 100_000], [0, 100_001, 1.0]),
    (Phase, "lr", [0, 100], [-1e-9, 100.1]),
    (Phase, "warmup", [0, 2], [-0.1, 2.1]),
    (Phase, "decay", [0, 1], [-0.1, 1.1]),
    (Phase, "every", [0, 100_000], [-0.1, 100_001]),
    (Phase, "patience", [1, 100_000], [0, 100_001, 1.0]),
    (Phase, "momentum", [0, 0.9999], [-0.1, 1]),
    (Phase, "clip", [0, 1e6], [-0.1, 1.1e6]),
    (Phase, "weight_decay", [0, 10], [-1e-9, 10.1]),
    (Phase, "batch_size", [1, 65_536], [0, 65_537, 8.0]),
    (Phase, "accumulate", [1, 10_000], [0, 10_001, 2.0]),
    (Phase, "size", [0, 16, 2048], [1, 15, 2049, 32.0, -1]),
    (Phase, "clean_share", [0, 1], [-0.1, 1.1]),
    (Phase, "erasing", [0, 1], [-0.1, 1.1]),
    (Phase, "mixup", [0, 100], [-0.1, 100.1]),
    (Phase, "cutmix", [0, 100], [-0.1, 100.1]),
    (Phase, "views", [0, 1000], [-1, 1001, 1.0]),
    (Phase, "ema", [0, 0.99999], [-0.1, 1]),
    (Phase, "early_stop", [0, 100_000], [-1, 100_001, 1.0]),
    (Recipe, "seed", [0, 2**32 - 1], [-1, 2**32, 0.0]),
    (Recipe, "label_smoothing", [0, 0.9], [-0.1, 0.91]),
    (Recipe, "linear_probe", [0, 100_000], [-1, 100_001, 1.0]),
    (Recipe, "validation_share", [0, 1e-9, 0.5], [-0.1, 0.51]),
    (Recipe, "folds", [0, 2, 1000], [1, -1, 1001, 2.0]),
    (Recipe, "fold", [0], [-1, 1000, 0.0]),
    (Recipe, "training_share", [5e-324, 1], [0, -0.0, -0.1, 1.1]),
]
GOOD_NUMBERS = [(kind, name, value) for kind, name, good, _ in BOUNDS for value in good]
BAD_NUMBERS = [
    (kind, name, value) for kind, name, _, bad in BOUNDS for value in [*bad, *NOT_NUMBERS]
]


def owner_of(kind):
    return {Recipe: RECIPE, ModelSpec: MODEL, Phase: HEAD}[kind]


@pytest.mark.parametrize(("kind", "name", "value"), GOOD_NUMBERS)
def test_numbers_within_bounds(kind, name, value):
    kept = getattr(dataclasses.replace(owner_of(kind), **{name: value}), name)
    assert kept == value
    assert type(kept) is type(getattr(owner_of(kind), name)), "so that equal ones print alike"


@pytest.mark.parametrize(
    ("kind", "name", "value"),
    BAD_NUMBERS,
    ids=lambda value: str(value)[:20] if value != HUGE else "huge",
)
def test_numbers_out_of_bounds(kind, name, value):
    with pytest.raises(
        UsageError, match=f"^{kind.__name__}: {name} must be .*; received "
    ) as caught:
        dataclasses.replace(owner_of(kind), **{name: value})
    assert "\n" not in str(caught.value)


def test_a_batch_size_that_training_finds_stays_as_it_is_written():
    told = with_settings(RECIPE, ["phases.*.batch_size=auto"])
    assert [phase.batch_size for phase in told.phases] == ["auto", "auto"]
    assert told == from_json(to_json(told)) == from_toml(to_toml(told))
    numbers = {with_settings(RECIPE, [f"phases.*.batch_size={n}"]).digest() for n in (16, 32, 64)}
    assert told.digest() not in numbers
    assert said_of(with_settings(RECIPE, ["phases.*.batch_size=8"]), told) == [
        "phases.head.batch_size: 8 -> auto",
        "phases.top.batch_size: 8 -> auto",
    ]


@pytest.mark.parametrize("value", ["atuo", "Auto", "32", "", None, ["auto"], b"auto"])
def test_another_word_for_a_batch_size_is_refused(value):
    said = r"batch_size must be a whole number from 1 to 65536, or 'auto'; received "
    with pytest.raises(UsageError, match=said + re.escape(repr(value))):
        Phase("p", 1, 1, batch_size=value)


def test_no_other_number_may_be_auto():
    with pytest.raises(UsageError, match=r"epochs must be a whole number .* to 100000; received"):
        Phase("p", "auto", 1)


@pytest.mark.parametrize("value", [0, 0.0, 0.5, 1, 1.0, "head", "all"])
def test_trains(value):
    assert Phase("p", 1, 1, trains=value).trains == value


@pytest.mark.parametrize(
    ("value", "message"),
    [
        (-0.1, "trains must be a number from 0 to 1; received -0.1"),
        (1.1, "trains must be a number from 0 to 1; received 1.1"),
        (True, "trains must be a number from 0 to 1; received True"),
        (None, "trains must be a number from 0 to 1; received None"),
        ("haed", "unknown trains 'haed'; did you mean 'head'"),
        ("0.5", "unknown trains '0.5'"),
    ],
)
def test_trains_refuses(value, message):
    with pytest.raises(UsageError, match=f"^Phase: {message}"):
        Phase("p", 1, 1, trains=value)


CHOICES = [
    (ModelSpec, "resize", "strech", "stretch"),
    (ModelSpec, "dtype", "float_32", "float32"),
    (Phase, "batchnorm", "trainable", "trained"),
    (Phase, "batchnorm", "onyl", "only"),
    (Phase, "share_by", "block", "blocks"),
    (Recipe, "loss", "cross-entropy", "crossentropy"),
    (Recipe, "class_weights", "balance", "balanced"),
    (Recipe, "determinism", "exakt", "exact"),
]


@pytest.mark.parametrize(("kind", "name", "wrong", "right"), CHOICES)
def test_choices(kind, name, wrong, right):
    message = f"^{kind.__name__}: unknown {name} '{wrong}'; did you mean '{right}'\\?"
    with pytest.raises(UsageError, match=message):
        dataclasses.replace(owner_of(kind), **{name: wrong})
    for value in (None, 3, ["x"]):
        with pytest.raises(UsageError, match=f"^{kind.__name__}: unknown {name} "):
            dataclasses.replace(owner_of(kind), **{name: value})


@pytest.mark.parametrize("value", ["", None, 3, ["x"]])
@pytest.mark.parametrize(
    ("kind", "name"),
    [
        (ModelSpec, "backbone"),
        (ModelSpec, "weights"),
        (Phase, "name"),
        (Phase, "schedule"),
        (Phase, "optimizer"),
        (Phase, "augment"),
        (Recipe, "name"),
        (Recipe, "monitor"),
    ],
)
def test_texts(kind, name, value):
    with pytest.raises(UsageError, match=f"^{kind.__name__}: {name} must be a non-empty text; "):
        dataclasses.replace(owner_of(kind), **{name: value})


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"phases": ()}, r"^Recipe: phases must be one Phase or more; received \(\)$"),
        ({"phases": []}, "^Recipe: phases must be one Phase or more; "),
        ({"phases": None}, "^Recipe: phases must be one Phase or more; "),
        ({"phases": ("head",)}, "^Recipe: phases must be one Phase or more; "),
        ({"phases": "head"}, "^Recipe: phases must be one Phase or more; "),
        (
            {"phases": (HEAD, TOP, HEAD)},
            "^Recipe: phase names must differ; received head, top, head",
        ),
        ({"model": "tiny"}, "^Recipe: model must be a ModelSpec; received 'tiny'"),
        ({"description": None}, "^Recipe: description must be a text; received None"),
        ({"fold": 1}, "^Recipe: fold is 1, but of how many\\? set folds, from 2"),
        ({"folds": 3, "fold": 3}, "^Recipe: fold must be a whole number from 0 to 2; received 3"),
        ({"measured": None}, "^Recipe: measured must be a text; received None"),
    ],
)
def test_recipes_refuse(options, message):
    with pytest.raises(UsageError, match=message):
        dataclasses.replace(RECIPE, **options)


@pytest.mark.parametrize(
    "looking", [{"schedule": "plateau"}, {"early_stop": 3}, {"restore_best": True}], ids=str
)
def test_what_looks_at_the_validation_needs_one(looking):
    phases = (dataclasses.replace(HEAD, **looking),)
    assert not dataclasses.replace(RECIPE, validation_share=0).validates
    assert dataclasses.replace(RECIPE, phases=phases).validates
    folded = dataclasses.replace(RECIPE, phases=phases, validation_share=0, folds=5, fold=4)
    assert folded.validates
    with pytest.raises(UsageError, match=r"^Recipe: phase 'head' looks at the validation \("):
        dataclasses.replace(RECIPE, phases=phases, validation_share=0)


@pytest.mark.parametrize("value", [0, 1, "true", None])
def test_flags(value):
    message = "^Phase: restore_best must be true or false; received "
    with pytest.raises(UsageError, match=message):
        dataclasses.replace(HEAD, restore_best=value)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"trains": "all"}, "^Phase: views caches features of a frozen network, and phase 'head'"),
        ({"trains": 0.5}, "^Phase: views caches features of a frozen network"),
        ({"mixup": 0.2}, r"^Phase: mixup and cutmix do not go with cached features \(phase 'head'"),
        ({"cutmix": 1}, "^Phase: mixup and cutmix do not go with cached features"),
    ],
)
def test_cached_views_refuse(options, message):
    assert dataclasses.replace(HEAD, views=2, trains=0).head_only
    with pytest.raises(UsageError, match=message):
        dataclasses.replace(HEAD, **{"views": 2, **options})


def test_the_linear_probe_becomes_the_first_phase():
    assert RECIPE.with_probe() is RECIPE
    phases = (dataclasses.replace(HEAD, size=24), TOP)
    probed = dataclasses.replace(RECIPE, phases=phases, linear_probe=7).with_probe()
    assert probed.phases[1:] == phases
    assert (probed.phases[0].name, probed.phases[0].epochs, probed.linear_probe) == ("probe", 7, 0)
    assert probed.phases[0].views == 1
    assert probed.phases[0].size == 24
    assert probed.with_probe() is probed


def test_a_lone_phase_is_taken_for_a_tuple_of_one():
    assert Recipe("r", MODEL, HEAD).phases == (HEAD,)
    assert Recipe("r", MODEL, [HEAD, TOP]).epochs == 5


def test_frozen():
    with pytest.raises(dataclasses.FrozenInstanceError, match="seed"):
        RECIPE.seed = 3
    assert not hasattr(RECIPE, "__dict__")


# ---------------------------------------------------------------- from tables and files


def said(**changes):
    """RECIPE as tables, with changes by path: model__size=3, phases__1__lr=2; None: left out."""
    tables = to_dict(RECIPE)
    for path, value in changes.items():
        *way, name = path.split("__")
        table = tables
        for step in way:
            table = table[int(step) if step.isdecimal() else step]
        if value is None:
            del table[name]
        else:
            table[name] = value
    return tables


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"sede": 3}, "^recipe: unknown key 'sede'; did you mean 'seed'"),
        ({"model__sice": 3}, "^model: unknown key 'sice'; did you mean 'size'"),
        ({"phases__1__epoch": 3}, "^phase top: unknown key 'epoch'; did you mean 'epochs'"),
        ({"name": None}, "^recipe: key 'name' is missing"),
        ({"model": None}, "^recipe: key 'model' is missing"),
        ({"phases": None}, "^recipe: key 'phases' is missing"),
        ({"model__backbone": None}, "^model: key 'backbone' is missing"),
        ({"model__size": None}, "^model: key 'size' is missing"),
        ({"phases__0__epochs": None}, "^phase head: key 'epochs' is missing"),
        ({"phases__0__lr": None}, "^phase head: key 'lr' is missing"),
        ({"phases__0__name": None}, "^phase: key 'name' is missing"),
        ({"model": "tiny"}, "^model must be a table of keys and values; received 'tiny'"),
        ({"phases": "head"}, "^recipe: phases must be a list of tables; received 'head'"),
        ({"phases": {"name": "head"}}, "^recipe: phases must be a list of tables; received {"),
        ({"phases": ["head"]}, "^a phase must be a table of keys and values; received 'head'"),
        ({"phases": []}, "^Recipe: phases must be one Phase or more"),
        ({"phases__0__lr": "fast"}, "^Phase: lr must be a number from 0 to 100; received 'fast'"),
    ],
)
def test_from_dict_refuses(changes, message):
    with pytest.raises(UsageError, match=message):
        from_dict(said(**changes))


@pytest.mark.parametrize("value", [None, [], "recipe", 3])
def test_from_dict_needs_a_table(value):
    with pytest.raises(
        UsageError, match=r"^the recipe must be a table of keys and values; received"
    ):
        from_dict(value)


def test_from_dict_leaves_what_it_reads_alone():
    tables = to_dict(RECIPE)
    from_dict(tables)
    assert tables == to_dict(RECIPE)


@pytest.mark.parametrize(
    ("read", "text", "message"),
    [
        (from_json, "", "^not a JSON recipe: "),
        (from_json, "{", "^not a JSON recipe: "),
        (from_json, "9" * 5000, "^not a JSON recipe: "),
        (from_json, "[" * 100_000, "^not a JSON recipe: "),
        (from_json, "[]", r"^the recipe must be a table of keys and values; received \[\]"),
        (from_json, "null", "^the recipe must be a table"),
        (from_toml, "= 3", "^not a TOML recipe: "),
        (from_toml, "a = 1\na = 2", "^not a TOML recipe: "),
        (from_toml, "a = " + "9" * 5000, "^not a TOML recipe: "),
        (from_toml, "a = " + "[" * 100_000, "^not a TOML recipe: "),
        (from_toml, "", "^recipe: key 'name' is missing"),
    ],
    ids=range(11),
)
def test_files_that_are_no_recipe(read, text, message):
    with pytest.raises(UsageError, match=message):
        read(text)


# ---------------------------------------------------------------- settings


@pytest.mark.parametrize(
    ("settings", "expected"),
    [
        ([], []),
        (["seed=3"], ["seed: 0 -> 3"]),
        ([" seed = 3 "], ["seed: 0 -> 3"]),
        (["seed=3", "seed=4"], ["seed: 0 -> 4"]),
        (["seed=1_000"], ["seed: 0 -> 1000"]),
        (["monitor=loss"], ["monitor: accuracy -> loss"]),
        (["monitor='loss'"], ["monitor: accuracy -> loss"]),
        (['monitor="loss"'], ["monitor: accuracy -> loss"]),
        (["name=new", "description=it's = new"], []),
        (["model.size=48"], ["model.size: 32 -> 48"]),
        (["model.weights=/a b/c#d.h5"], ["model.weights: none -> /a b/c#d.h5"]),
        (["model.weights=C:\\w"], ["model.weights: none -> C:\\w"]),
        (["model.dropout=0"], ["model.dropout: 0.2 -> 0.0"]),
        (["phases.head.lr=0.1"], ["phases.head.lr: 0.001 -> 0.1"]),
        (["phases.1.lr=1e-2"], ["phases.top.lr: 0.0001 -> 0.01"]),
        (["phases.*.epochs=7"], ["phases.head.epochs: 2 -> 7", "phases.top.epochs: 3 -> 7"]),
        (["phases.top.trains=all"], ["phases.top.trains: 0.5 -> all"]),
        (["phases.head.trains=0.25"], ["phases.head.trains: head -> 0.25"]),
        (
            ["phases.head.name=first", "phases.first.epochs=9"],
            ["phases: 'head' is gone", "phases: 'first' is new"],
        ),
        # Bounds hold for the whole, not in between: warm-up 4 needs the epochs set after it.
        (
            ["phases.0.warmup=4", "phases.0.epochs=5"],
            ["phases.head.epochs: 2 -> 5", "phases.head.warmup: 0.0 -> 4.0"],
        ),
    ],
)
def test_settings(settings, expected):
    before = to_dict(RECIPE)
    assert said_of(RECIPE, with_settings(RECIPE, settings)) == expected
    assert to_dict(RECIPE) == before


def test_a_phase_called_like_a_number_goes_before_the_number():
    recipe = dataclasses.replace(RECIPE, phases=(HEAD, dataclasses.replace(TOP, name="0")))
    assert with_settings(recipe, ["phases.0.epochs=9"]).phases[1].epochs == 9
    assert with_settings(recipe, ["phases.1.epochs=9"]).phases[1].epochs == 9


def test_settings_of_the_name_and_description():
    changed = with_settings(RECIPE, ["name=a b", "description="])
    assert (changed.name, changed.description) == ("a b", "")


@pytest.mark.parametrize(
    ("setting", "message"),
    [
        ("seed", "^a setting is KEY=VALUE; received 'seed'"),
        ("=3", "^a setting is KEY=VALUE; received '=3'"),
        (" = 3", "^a setting is KEY=VALUE; "),
        ("", "^a setting is KEY=VALUE; received ''"),
        ("sede=3", "^recipe: unknown key 'sede'; did you mean 'seed'"),
        ("model.sice=3", "^model: unknown key 'sice'; did you mean 'size'"),
        ("phases.top.epoch=3", "^phase top: unknown key 'epoch'; did you mean 'epochs'"),
        ("phases.*.epoch=3", "^phase head: unknown key 'epoch'; did you mean 'epochs'"),
        ("phases.topp.lr=3", "^unknown phase 'topp'; did you mean 'top'.* Known: head, top$"),
        ("phases.2.lr=3", "^unknown phase '2'"),
        ("phases.-1.lr=3", "^unknown phase '-1'"),
        ("modle.size=3", "^recipe: unknown key 'modle'; did you mean 'model'"),
        ("model=3", "^unknown key 'model': use a field"),
        ("phases=3", "^unknown key 'phases': use a field"),
        ("phases.top=3", "^unknown key 'phases.top': use a field"),
        ("model.a.b=3", "^unknown key 'model.a.b': use a field"),
        ("seed.x=3", "^unknown key 'seed.x': use a field"),
        ("phases.a.b.c=3", "^unknown key 'phases.a.b.c': use a field"),
        (".=3", "^recipe: unknown key ''"),
        ("seed=three", "^Recipe: seed must be a whole number .*; received 'three'"),
        ("seed=1.5", "^Recipe: seed must be a whole number .*; received 1.5"),
        ("seed=true", "^Recipe: seed must be a whole number .*; received True"),
        ("seed=" + "9" * 5000, "^Recipe: seed must be a whole number "),
        ("seed=", "^Recipe: seed must be a whole number .*; received ''"),
        ("name=", "^Recipe: name must be a non-empty text; received ''"),
        ("name=3", "^Recipe: name must be a non-empty text; received 3"),
        ("phases.head.lr=nan", "^Phase: lr must be a number .*; received nan"),
        ("phases.head.lr=inf", "^Phase: lr must be a number .*; received inf"),
        ("phases.head.name=top", "^Recipe: phase names must differ; received top, top"),
        ("model.resize=strech", "^ModelSpec: unknown resize 'strech'; did you mean 'stretch'"),
        ("model.size={a = 1}", "^ModelSpec: size must be a whole number .*; received {"),
    ],
    ids=lambda value: value[:30],
)
def test_bad_settings(setting, message):
    with pytest.raises(UsageError, match=message):
        with_settings(RECIPE, ["monitor=loss", setting])


def test_a_phase_name_that_is_no_text_is_refused_in_the_end():
    with pytest.raises(UsageError, match=r"^Phase: name must be a non-empty text; received "):
        with_settings(RECIPE, ["phases.0.name=[1]", "phases.1.epochs=2"])


# ---------------------------------------------------------------- differences


def test_no_differences():
    renamed = dataclasses.replace(RECIPE, name="new", description="New.")
    assert differences(RECIPE, RECIPE) == differences(RECIPE, renamed) == []


PROBE = Phase("probe", 5, 1e-2, trains="head")
FAST = dataclasses.replace(HEAD, lr=0.5)

# Phases before, phases after, what is said of them.
PHASES = [
    ((HEAD, TOP), (HEAD, TOP), []),
    ((HEAD,), (HEAD, TOP), ["phases: 'top' is new"]),
    ((HEAD, TOP), (HEAD,), ["phases: 'top' is gone"]),
    ((HEAD, TOP), (TOP,), ["phases: 'head' is gone"]),
    ((HEAD, TOP), (PROBE, HEAD, TOP), ["phases: 'probe' is new"]),
    ((HEAD, TOP), (HEAD, PROBE, TOP), ["phases: 'probe' is new"]),
    ((HEAD, TOP), (TOP, HEAD), ["phases: the order head, top -> top, head"]),
    (
        (PROBE, HEAD, TOP),
        (TOP, PROBE, HEAD),
        ["phases: the order probe, head, top -> top, probe, head"],
    ),
    (
        (HEAD, TOP),
        (TOP, PROBE, HEAD),
        ["phases: 'probe' is new", "phases: the order head, top -> top, head"],
    ),
    ((HEAD, TOP), (PROBE, FAST, TOP), ["phases: 'probe' is new", "phases.head.lr: 0.001 -> 0.5"]),
    (
        (HEAD, TOP),
        (TOP, FAST),
        ["phases: the order head, top -> top, head", "phases.head.lr: 0.001 -> 0.5"],
    ),
    ((HEAD,), (PROBE,), ["phases: 'head' is gone", "phases: 'probe' is new"]),
    (
        (HEAD,),
        (dataclasses.replace(HEAD, name="order"),),
        ["phases: 'head' is gone", "phases: 'order' is new"],
    ),
    (
        (HEAD,),
        (dataclasses.replace(HEAD, batchnorm="affine", restore_best=True, trains=0.25),),
        [
            "phases.head.trains: head -> 0.25",
            "phases.head.batchnorm: frozen -> affine",
            "phases.head.restore_best: False -> True",
        ],
    ),
]


@pytest.mark.parametrize(("before", "after", "expected"), PHASES)
def test_phases_are_matched_by_name(before, after, expected):
    old = dataclasses.replace(RECIPE, phases=before)
    new = dataclasses.replace(RECIPE, phases=after)
    assert said_of(old, new) == expected
    assert len(differences(new, old)) == len(expected)


def test_a_difference_can_be_told_apart():
    changed = dataclasses.replace(RECIPE, model=OTHER[Recipe]["model"], phases=(TOP, FAST), seed=3)
    assert differences(RECIPE, changed) == [
        Difference("model", "size", 32, 48),
        Difference("phases", "order", ("head", "top"), ("top", "head")),
        Difference("phases.head", "lr", 1e-3, 0.5),
        Difference("", "seed", 0, 3),
    ]
    shorter = dataclasses.replace(RECIPE, phases=(HEAD,))
    assert differences(RECIPE, shorter) == [Difference("phases", "top", TOP, None)]
    assert differences(shorter, RECIPE) == [Difference("phases", "top", None, TOP)]


def test_a_difference_is_frozen():
    with pytest.raises(dataclasses.FrozenInstanceError, match="old"):
        Difference("", "seed", 0, 3).old = 1


VARIED = [
    vary(kind, name, value) for kind, values in OTHER.items() for name, value in values.items()
]
VARIED += [dataclasses.replace(RECIPE, phases=phases) for pair in PHASES for phases in pair[:2]]


@pytest.mark.parametrize("old", VARIED, ids=range(len(VARIED)))
def test_digests_differ_where_there_are_differences(old):
    for new in VARIED:
        assert (old.digest() == new.digest()) is (differences(old, new) == [])
