"""Photos and recipes found among what is attached, in every layout, and what is said else."""

from __future__ import annotations

import re

import pytest
from photos import LAYOUTS, TRAIN, write_files, write_layout

from carlib import attached
from carlib.attached import find_data, find_recipe
from carlib.catalog import read_catalog
from carlib.errors import DataError, UsageError
from carlib.recipes import RECIPES
from carlib.session import Session
from carlib.spec import to_json, to_toml

# Where Kaggle, Colab and people put things, below an input root.
PLACES = (
    "",
    "car-makes",
    "competitions/car-makes",
    "datasets/alice/car-makes",
    "datasets/alice/car-makes/car-makes/data",
    "notebooks/alice/prepare/a/b/c",
)
WHEEL = {"datasets/alice/carlib/carlib-0.1.0-py3-none-any.whl": b""}
RUN = {"recipe.json": b"{}", "sessions.csv": b"", "chain/LAST": b"000001-p0e0s0\n"}
# Beside the photos lies what must not be taken for photos, nor be walked into.
OTHERS = {
    **WHEEL,
    "datasets/alice/tables/train.csv": b"id,price\n1,2\n",
    "datasets/alice/masks/train/masks.csv": b"",
    "datasets/alice/masks/train/empty/readme.txt": b"",
    **{f"notebooks/alice/carlib-train/run/{name}": data for name, data in RUN.items()},
    "notebooks/alice/carlib-train/run/old/train/0/a.png": TRAIN["0/f.png"],
    "notebooks/alice/carlib-train/.hidden/train/0/a.png": TRAIN["0/f.png"],
    "notebooks/alice/carlib-train/__MACOSX/train/0/a.png": TRAIN["0/f.png"],
    "drive/MyDrive/train/0/a.png": TRAIN["0/f.png"],
}


def kaggle(root):
    return Session("kaggle-batch", (root,), work=root.parent / "working")


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("place", PLACES)
def test_photos_are_found_wherever_they_are_mounted(tmp_path, place, layout):
    root = tmp_path / "input"
    folder = write_layout(root / place, layout)
    assert find_data(kaggle(root)) == folder
    assert len(read_catalog(folder)) == len(TRAIN)


@pytest.mark.parametrize("layout", LAYOUTS)
def test_photos_are_found_among_other_things(tmp_path, layout):
    root = write_files(tmp_path / "input", OTHERS)
    folder = write_layout(root / "competitions/cars", layout)
    assert find_data(kaggle(root)) == folder


@pytest.mark.parametrize("kind", ["kaggle-interactive", "colab", "plain"])
def test_where_is_looked(tmp_path, kind):
    inputs = () if kind == "plain" else (tmp_path / "input", tmp_path / "gone")
    session = Session(kind, inputs, work=tmp_path / "work")
    folders = [write_layout(tmp_path / place / "cars", "folders") for place in ("input", "work")]
    assert find_data(session) == folders[kind == "plain"]


def test_what_lies_below_a_photo_set_is_its_own(tmp_path):
    outer = write_layout(tmp_path / "input/cars", "folders + csv")
    write_layout(outer / "more", "folders")
    write_layout(outer / "train/0", "folders")
    assert find_data(kaggle(tmp_path / "input")) == outer


def test_a_folder_full_of_photos_is_left_alone(tmp_path):
    root = tmp_path / "input"
    write_files(root / "album", {f"{number}.jpg": b"" for number in range(attached.MANY + 1)})
    write_layout(root / "album/cars", "folders")
    with pytest.raises(DataError, match="no photos to train on"):
        find_data(kaggle(root))
    (root / "album/0.jpg").unlink()
    assert find_data(kaggle(root)) == root / "album/cars"


def test_links_are_followed_once(tmp_path):
    folder = write_layout(tmp_path / "elsewhere", "folders")
    root = tmp_path / "input"
    root.mkdir()
    (root / "a-loop").symlink_to(root)
    (root / "cars").symlink_to(folder)
    (root / "cars-again").symlink_to(folder)
    (root / "broken").symlink_to(tmp_path / "nothing")
    assert find_data(kaggle(root)) == root / "cars"


def test_the_search_has_bounds(tmp_path, monkeypatch):
    root = tmp_path / "input"
    folder = write_layout(root.joinpath(*"abcdef"), "folders")
    assert find_data(kaggle(root)) == folder
    folder.rename(root / "a/deeper")
    write_layout(root.joinpath(*"abcdefg"), "folders")
    assert find_data(kaggle(root)) == root / "a/deeper"
    monkeypatch.setattr(attached, "MOST", 2)
    with pytest.raises(DataError, match="no photos to train on"):
        find_data(kaggle(root))


def test_several_sets_are_named(tmp_path):
    root = tmp_path / "input"
    for number in range(8):
        write_layout(root / f"cars{number}", "zip with top")
    named = ", ".join(str(root / f"cars{number}") for number in range(6))
    message = f"several folders hold photos to train on: {named} and 2 more; set DATA"
    with pytest.raises(UsageError, match=f"^{re.escape(message)}$"):
        find_data(kaggle(root))


@pytest.mark.parametrize(
    ("kind", "hint"),
    [
        ("kaggle-batch", "press Add Input and attach the competition's data, or a dataset"),
        ("kaggle-interactive", "press Add Input and attach"),
        ("colab", "upload to the Files pane, or mount Drive and give the path of, a folder"),
        ("plain", "give, as DATA, the path of a folder"),
    ],
)
def test_what_to_attach(tmp_path, kind, hint):
    root = write_files(tmp_path / "input", WHEEL)
    session = Session(kind, () if kind == "plain" else (root,), work=root)
    with pytest.raises(DataError) as caught:
        find_data(session)
    said = str(caught.value)
    assert said.startswith(f"there are no photos to train on: {hint}")
    assert "train/<class>/*.jpg" in said
    assert said.endswith(f"looked through {root} ({root}/datasets/alice/carlib)")
    assert "\n" not in said


@pytest.mark.parametrize("there", [True, False])
def test_nothing_is_attached(tmp_path, there):
    root = tmp_path / "input"
    if there:
        root.mkdir()
    with pytest.raises(DataError, match=f"looked through {root}, which has no folders$"):
        find_data(kaggle(root))


@pytest.mark.parametrize(
    ("given", "found"),
    [
        ("{root}/datasets/alice/cars", "datasets/alice/cars"),
        ("cars", "datasets/alice/cars"),
        ("alice/cars", "datasets/alice/cars"),
        ("datasets/bob/bikes/", "datasets/bob/bikes"),
        ("bikes", "datasets/bob/bikes"),  # its own folder inside has the name again, and no photos
        ("boats", "competitions/boats/boats"),  # only the inner one has the photos
        ("empty", "datasets/alice/empty"),  # read_catalog says what is wrong with it
    ],
)
def test_a_given_folder(tmp_path, given, found):
    root = tmp_path / "input"
    for place in ("datasets/alice/cars", "datasets/bob/bikes", "competitions/boats/boats"):
        write_layout(root / place, "folders")
    for place in ("datasets/alice/empty", "datasets/bob/bikes/bikes"):
        (root / place).mkdir(parents=True)
    assert find_data(kaggle(root), given.format(root=root)) == root / found


def test_a_given_folder_from_where_one_is(tmp_path, monkeypatch):
    write_layout(tmp_path / "input/cars", "folders")
    own = write_layout(tmp_path / "here/cars", "folders")
    monkeypatch.chdir(tmp_path / "here")
    monkeypatch.setenv("HOME", str(tmp_path / "here"))
    assert find_data(kaggle(tmp_path / "input"), "cars").resolve() == own
    assert find_data(kaggle(tmp_path / "input"), "~/cars") == own


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ("cars", "'cars' may be .*/alice/cars, .*/bob/cars; set DATA to a whole path"),
        ("bikes", "there is no folder 'bikes', neither from .* nor below .*/input; correct DATA"),
        ("/gone/cars", "there is no folder '/gone/cars', neither"),
        ("alice/cars/train.zip", "there is no folder 'alice/cars/train.zip'"),
    ],
)
def test_a_given_folder_that_cannot_be(tmp_path, given, message):
    root = tmp_path / "input"
    for owner in ("alice", "bob"):
        write_layout(root / "datasets" / owner / "cars", "zip with top")
    with pytest.raises(UsageError, match=message):
        find_data(kaggle(root), given)


def test_the_sample_set_is_drawn_once(tmp_path, monkeypatch):
    drawn = []

    def write(folder):
        drawn.append(folder)
        return write_layout(folder, "folders")

    monkeypatch.setattr(attached, "write_sample", write)
    session = Session(work=tmp_path)
    assert find_data(session, "sample") == tmp_path / "photos"
    assert drawn == [tmp_path / "photos"]
    assert find_data(session) == tmp_path / "photos"


def test_something_else_lies_where_the_sample_set_belongs(tmp_path):
    write_layout(tmp_path / "photos", "folders")
    with pytest.raises(UsageError, match="is not this very sample set"):
        find_data(Session(work=tmp_path), "sample")


OWN = RECIPES["tiny-check"]
TOML = to_toml(OWN).replace('"tiny-check"', '"own"', 1)


@pytest.mark.parametrize(
    ("files", "given", "name"),
    [
        ({}, "", "lite0-staged"),
        ({}, "b0-staged", "b0-staged"),
        ({"datasets/alice/cars/recipe.toml": TOML}, "", "own"),
        ({"datasets/alice/cars/recipe.toml": TOML}, "b0-staged", "b0-staged"),
        ({"datasets/alice/cars/recipe.toml": TOML}, "recipe.toml", "own"),
        ({"cars/recipe.toml": TOML}, "cars/recipe.toml", "own"),  # beside the photos
        ({"mine/first.toml": TOML, "mine/second.toml": ""}, "first.toml", "own"),
        ({"mine/first.toml": TOML, "mine/second.toml": ""}, "", "lite0-staged"),
        ({"mine/recipes/first.toml": TOML}, "recipes/first.toml", "own"),
        ({"mine/run.json": to_json(OWN)}, "run.json", "tiny-check"),
        # The recipe of a run and the example in a source tree are not meant for this run.
        ({"out/run/recipe.json": to_json(OWN)}, "", "lite0-staged"),
        ({"carlib/.git/HEAD": "", "carlib/docs/recipe.toml": TOML}, "", "lite0-staged"),
        ({"carlib/.git/HEAD": "", "carlib/docs/recipe.toml": TOML}, "recipe.toml", "own"),
    ],
)
def test_recipes(tmp_path, files, given, name):
    write_files(tmp_path, {"cars/train/0/a.png": TRAIN["0/f.png"], **files})
    assert find_recipe(kaggle(tmp_path), given).name == name


def test_a_recipe_by_its_path(tmp_path):
    write_files(tmp_path / "else", {"recipe.toml": TOML})
    session = kaggle(tmp_path / "input")
    assert find_recipe(session, str(tmp_path / "else/recipe.toml")).name == "own"


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ("", r"^several recipes are attached: .*/a/recipe.toml, .*/b/recipe.toml; set RECIPE"),
        ("recipe.toml", r"^several recipes are attached"),
        ("lite0-stages", r"unknown recipe 'lite0-stages'; did you mean 'lite0-staged'"),
        ("gone.toml", r"cannot read the recipe file gone.toml"),
        ("bad.toml", r"/a/bad.toml: "),
    ],
)
def test_recipes_that_cannot_be(tmp_path, given, message):
    write_files(tmp_path, {"a/recipe.toml": TOML, "a/bad.toml": "name = 1", "b/recipe.toml": TOML})
    with pytest.raises(UsageError, match=message):
        find_recipe(kaggle(tmp_path), given)


def test_without_inputs_only_what_is_given_counts(tmp_path, monkeypatch):
    write_files(tmp_path, {"recipe.toml": TOML})
    monkeypatch.chdir(tmp_path)
    assert find_recipe(Session()).name == "lite0-staged"
    assert find_recipe(Session(), "recipe.toml").name == "own"


def test_the_default_is_a_recipe():
    assert attached.DEFAULT in RECIPES
