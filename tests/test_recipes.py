"""The named recipes, and recipes from files."""

from __future__ import annotations

import dataclasses

import pytest

from carlib.augment import preset_named
from carlib.errors import UsageError
from carlib.models.table import BACKBONES
from carlib.recipes import RECIPES, load_recipe
from carlib.spec import to_json, to_toml
from carlib.train.start import check_names


@pytest.mark.parametrize("name", RECIPES)
def test_a_named_recipe(name):
    recipe = load_recipe(name)
    assert recipe.name == name
    assert recipe.description.endswith(".")
    assert "\n" not in recipe.description
    assert recipe.model.backbone in BACKBONES
    for phase in recipe.phases:
        preset_named(phase.augment)


@pytest.mark.parametrize("name", RECIPES)
def test_a_recipe_says_what_it_was_measured_with_or_that_it_was_not(name):
    recipe = RECIPES[name]
    if recipe.measured:
        assert recipe.measured.startswith("carlib ")
        assert ": 0." in recipe.measured
    else:
        assert "Not measured yet." in recipe.description or "in seconds" in recipe.description


@pytest.mark.parametrize("name", RECIPES)
def test_a_recipe_is_whole(name):
    """Each name in it is known, with its weights left aside."""
    check_names(RECIPES[name].with_probe())


def test_no_two_recipes_are_the_same_run():
    assert len({recipe.digest() for recipe in RECIPES.values()}) == len(RECIPES)


@pytest.mark.parametrize("name", RECIPES)
@pytest.mark.parametrize(("suffix", "write"), [(".json", to_json), (".toml", to_toml)])
@pytest.mark.parametrize("mark", ["", "\ufeff"], ids=["plain", "byte order mark"])
def test_a_recipe_from_a_file(tmp_path, name, suffix, write, mark):
    path = tmp_path / f"mine{suffix}"
    path.write_text(mark + write(RECIPES[name]), encoding="utf-8")
    assert load_recipe(str(path)) == RECIPES[name]


def test_a_file_keeps_its_own_name(tmp_path):
    recipe = dataclasses.replace(RECIPES["tiny-check"], name="ü 🚗", description="Mine.")
    (tmp_path / "a.toml").write_text(to_toml(recipe), encoding="utf-8")
    loaded = load_recipe(str(tmp_path / "a.toml"))
    assert (loaded.name, loaded.description) == ("ü 🚗", "Mine.")


@pytest.mark.parametrize(
    ("name", "message"),
    [
        (
            "lite0-quik",
            "^unknown recipe 'lite0-quik'; did you mean 'lite0-quick'.* Known: tiny-check, ",
        ),
        ("", "^unknown recipe ''"),
        ("lite0-quick.txt", "^unknown recipe 'lite0-quick.txt'; did you mean 'lite0-quick'"),
        ("gone/lite0-quik.toml", "^cannot read the recipe file gone.*; did you mean 'lite0-quick'"),
        (
            "gone.json",
            "^cannot read the recipe file gone.json: .*No such file.* Known: tiny-check, ",
        ),
    ],
)
def test_no_such_recipe(name, message):
    with pytest.raises(UsageError, match=message):
        load_recipe(name)


@pytest.mark.parametrize(
    ("file", "content", "message"),
    [
        ("a.toml", b"name = ", "a.toml: not a TOML recipe: "),
        ("a.json", b"{", "a.json: not a JSON recipe: "),
        ("a.json", b"", "a.json: not a JSON recipe: "),
        ("a.json", b'{"nmae": "x"}', "a.json: recipe: unknown key 'nmae'; did you mean 'name'"),
        ("a.toml", b'name = "x"', "a.toml: recipe: key 'model' is missing"),
        ("a.toml", b"name = '\xff'", "^cannot read the recipe file .*a.toml: .*utf-8"),
    ],
)
def test_a_file_that_is_no_recipe(tmp_path, file, content, message):
    (tmp_path / file).write_bytes(content)
    with pytest.raises(UsageError, match=message) as caught:
        load_recipe(str(tmp_path / file))
    assert "\n" not in str(caught.value)


def test_a_folder_is_no_recipe(tmp_path):
    (tmp_path / "a.toml").mkdir()
    with pytest.raises(UsageError, match=r"^cannot read the recipe file .*Is a directory"):
        load_recipe(str(tmp_path / "a.toml"))
