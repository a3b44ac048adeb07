"""Plans: what they say, what they refuse and in which words, and those of the documents."""

from __future__ import annotations

import dataclasses
import json
import re
import runpy
from pathlib import Path

import pytest
from conftest import make_recipe

from carlib.errors import UsageError
from carlib.experiments import Arm, Experiment, Search, read_experiment
from carlib.experiments.noun import FULL, PROXY
from carlib.models.own import forget, known
from carlib.recipes import load_recipe
from carlib.spec import differences, to_json, to_toml, with_settings

DOCS = Path(__file__).parents[1] / "docs" / "experiments"
PLANS = sorted(path for path in DOCS.glob("*.toml") if "\nbase = " in path.read_text())
BASE = 'base = "tiny-check"\n'
TINY = load_recipe("tiny-check")
RECIPE = make_recipe()


@pytest.fixture
def write(tmp_path):
    """Write a plan, and return its path."""

    def make(content, name="plan.toml"):
        path = tmp_path / name
        path.write_bytes(content if isinstance(content, bytes) else content.encode())
        return path

    return make


def changed(recipe, base):
    """What a recipe changes about another, in words."""
    return [str(each) for each in differences(base, recipe)]


def experiment(*settings, **options):
    """A base and an arm a setting."""
    arms = tuple(Arm(each, with_settings(RECIPE, [each]), (each,)) for each in settings)
    return Experiment("plan", **{"base": Arm("base", RECIPE), "arms": arms, **options})


# ---------------------------------------------------------------- what a plan says


def test_what_a_plan_leaves_out(write):
    found = read_experiment(write(BASE, "a question.toml"))
    assert found == Experiment("a question", Arm("base", TINY), ())
    assert (found.seeds, found.hours, found.judge, found.keep) == ((0, 1, 2), 0, "best", "results")
    assert (found.halving, found.alpha, found.use, found.search) == (0, 0.05, (), None)


def test_what_a_plan_says(write):
    found = read_experiment(
        write(
            'name = "All of it"\nset = "label_smoothing=0.2"\nseeds = [4, 2]\nfolds = 3\n'
            'hours = 2\njudge = "last"\nkeep = "runs"\nhalving = 0.5\nalpha = 0.1\n' + BASE
        )
    )
    base = with_settings(TINY, ["label_smoothing=0.2", "folds=3"])
    assert found == Experiment(
        *("All of it", Arm("base", base), (), (4, 2), 2, "last", "runs"), halving=0.5, alpha=0.1
    )
    assert [trial.key for trial in found.trials()] == [
        (seed, fold) for seed in (4, 2) for fold in range(3)
    ]


@pytest.mark.parametrize(
    ("said", "seeds"),
    [("1", (0,)), ("4", (0, 1, 2, 3)), ("[7]", (7,)), ("[3, 0]", (3, 0)), ("[4294967295]", None)],
)
def test_seeds(write, said, seeds):
    assert read_experiment(write(f"{BASE}seeds = {said}")).seeds == (seeds or (2**32 - 1,))


def test_arms_in_their_order(write):
    found = read_experiment(
        write(
            BASE + 'set = ["label_smoothing=0.1"]\n[arms]\n'
            'one = "phases.all.lr=0.1"\n'
            'two = ["phases.*.lr=0.2", "model.size=48"]\n'
            'three = { set = ["model.hidden=8"] }\n'
            'four = { recipe = "lite0-quick" }\n'
            'five = { recipe = "lite0-quick", set = ["model.size=64"] }\n'
        )
    )
    base = with_settings(TINY, ["label_smoothing=0.1"])
    assert found.base == Arm("base", base)
    assert [arm.name for arm in found.arms] == ["one", "two", "three", "four", "five"]
    assert [arm.changes for arm in found.arms] == [
        ("phases.all.lr=0.1",),
        ("phases.*.lr=0.2", "model.size=48"),
        ("model.hidden=8",),
        ("recipe lite0-quick",),
        ("recipe lite0-quick", "model.size=64"),
    ]
    for arm in found.arms[:3]:
        assert arm.recipe == with_settings(base, arm.changes)
    # What all arms have in common is in those of another recipe too.
    quick = with_settings(load_recipe("lite0-quick"), ["label_smoothing=0.1"])
    assert found.arms[3].recipe == quick
    assert changed(found.arms[4].recipe, quick) == ["model.size: 96 -> 64"]


def test_a_grid_is_every_combination_but_the_base(write):
    found = read_experiment(
        write(
            BASE + "[arms]\nalone = ['model.hidden=8']\n[grid]\n"
            '"phases.all.lr" = [5e-3, 1e-2]\n"model.resize" = ["stretch", "pad", "crop"]\n'
        )
    )
    assert [arm.name for arm in found.arms] == [
        "alone",
        *("lr 0.005, resize pad", "lr 0.005, resize crop"),
        *("lr 0.01, resize stretch", "lr 0.01, resize pad", "lr 0.01, resize crop"),
    ]
    assert found.arms[1].changes == ("phases.all.lr=0.005", 'model.resize="pad"')
    for arm in found.arms:
        assert arm.recipe == with_settings(TINY, arm.changes)


@pytest.mark.parametrize(
    ("key", "value", "read"),
    [
        ("phases.all.restore_best", "true", True),
        ("phases.all.epochs", "7", 7),
        ("phases.all.trains", "0.5", 0.5),
        ("phases.all.trains", '"head"', "head"),
        ("phases.all.augment", '"light+ToGray"', "light+ToGray"),
        ("phases.all.batch_size", '"auto"', "auto"),
        ("model.weights", '"7"', "7"),  # stays a text
        ("model.weights", '"a \\"b\\" ü 🚗.h5"', 'a "b" ü 🚗.h5'),
    ],
)
def test_a_grid_takes_a_value_as_it_is(write, key, value, read):
    (arm,) = read_experiment(write(f'{BASE}[grid]\n"{key}" = [{value}]')).arms
    part = arm.recipe.model if key.startswith("model") else arm.recipe.phases[1]
    assert getattr(part, key.rpartition(".")[2]) == read
    assert len(changed(arm.recipe, TINY)) == 1


def test_a_recipe_beside_the_plan(write, tmp_path, monkeypatch):
    other = tmp_path / "elsewhere"
    other.mkdir()
    monkeypatch.chdir(other)
    write(to_toml(RECIPE), "mine.toml")
    write(to_json(with_settings(RECIPE, ["model.size=48"])), "larger.json")
    plan = 'base = "mine.toml"\n[arms]\nlarger = { recipe = "larger.json" }\n'
    found = read_experiment(write(plan))
    assert found.base.recipe == RECIPE
    assert changed(found.arms[0].recipe, RECIPE) == ["model.size: 32 -> 48"]
    # From where the command was called, too; beside the plan comes first.
    (other / "mine.toml").write_text(to_toml(with_settings(RECIPE, ["model.size=64"])))
    assert read_experiment(write(plan)).base.recipe == RECIPE
    (tmp_path / "mine.toml").unlink()
    assert read_experiment(write(plan)).base.recipe.model.size == 64


def test_a_file_does_not_hide_a_recipe(write):
    write(to_toml(RECIPE), "tiny-check")
    assert read_experiment(write(BASE)).base.recipe == TINY


def test_a_plan_with_a_byte_order_mark_is_read_as_recipes_are(write):
    assert read_experiment(write(b"\xef\xbb\xbf" + BASE.encode())).base.recipe == TINY


def test_grid_keys_of_one_last_word_are_named_in_full(write):
    grid = "[grid]\n'phases.all.lr' = [1e-2]\n'phases.head.lr' = [1e-3]\n'model.size' = [48]"
    names = [arm.name for arm in read_experiment(write(BASE + grid)).arms]
    assert names == ["phases.all.lr 0.01, phases.head.lr 0.001, size 48"]


def test_files_to_use_lie_beside_the_plan(write, tmp_path):
    theirs = tmp_path / "elsewhere/theirs.py"
    theirs.parent.mkdir()
    text = BASE + f'use = ["mine.py", "{theirs}"]\n[arms]\nmine = "model.backbone=mine"'
    (tmp_path / "mine.py").touch()
    with pytest.raises(UsageError, match=f"use: there is no file {theirs}; give its path"):
        read_experiment(write(text))
    theirs.touch()
    found = read_experiment(write(text))
    assert found.use == (str(tmp_path / "mine.py"), str(theirs))
    # It may register what the arm names; without it, nothing could.
    assert found.arms[0].recipe.model.backbone == "mine"
    with pytest.raises(UsageError, match="unknown backbone 'mine'"):
        read_experiment(write(text.replace("use", "# use")))


@pytest.mark.parametrize(
    ("judged", "folds", "share"), [("folds = 3", 3, 0.3), ("validation_share = 0.5", 0, 0.5)]
)
@pytest.mark.parametrize("own", [[], ["folds=5"], ["folds=5", "fold=4"]], ids=str)
def test_the_plan_says_who_validates_whatever_its_recipes_say(write, own, judged, folds, share):
    write(to_toml(with_settings(RECIPE, ["validation_share=0.3", *own])), "mine.toml")
    text = f'base = "mine.toml"\n{judged}\nseeds = 2\n[arms]\nother = {{ recipe = "tiny-check" }}'
    found = read_experiment(write(text))
    assert [arm.recipe.folds for arm in found.everyone] == [folds, folds]
    assert found.base.recipe.validation_share == share
    assert found.repeats == 2 * max(1, folds)


def test_a_proxy_is_all_of_it_but_quicker(write):
    found = read_experiment(
        write(
            BASE + 'seeds = 2\n[arms]\nlarge = ["model.size=64"]\nwide = ["model.hidden=8"]\n'
            '[proxy]\nset = ["training_share=0.25", "phases.all.epochs=1"]'
        )
    )
    assert [arm.name for arm in found.proxy] == ["base", "large", "wide"]
    for full, proxy in zip(found.everyone, found.proxy, strict=True):
        assert proxy.changes == full.changes
        assert changed(proxy.recipe, full.recipe) == [
            "phases.all.epochs: 2 -> 1",
            "training_share: 1.0 -> 0.25",
        ]
    levels = [(trial.level, trial.arm, trial.key) for trial in found.trials()]
    assert levels == [
        (level, arm, (seed, 0))
        for level in (FULL, PROXY)
        for arm in ("base", "large", "wide")
        for seed in (0, 1)
    ]


def test_a_search(write):
    found = read_experiment(write(BASE + '[search]\nadd = ["Blur", "ToGray"]\ndrop = false'))
    assert found.search == Search(("Blur", "ToGray"), drop=False, rounds=3)
    found = read_experiment(write(BASE + "[search]\nrounds = 2"))
    assert found.search == Search((), drop=True, rounds=2)
    assert found.arms == found.proxy == ()


# ---------------------------------------------------------------- what a plan may not say


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "a plan needs base, a recipe's name or file"),
        ("sedes = 3\n" + BASE, "plan: unknown key 'sedes'; did you mean 'seeds'? Known: name, "),
        ("base = 3", "a recipe must be a text; received 3"),
        ('base = ""', "a recipe must be a text; received ''"),
        ('base = "tiny-chek"', "unknown recipe 'tiny-chek'; did you mean 'tiny-check'?"),
        ('base = "gone.toml"', "cannot read the recipe file gone.toml: "),
        ('base = "plan.toml"', "plan.toml: recipe: unknown key 'base'"),
        (BASE + "name = 3", "name must be a text; received 3"),
        (BASE + "set = 3", "set must be a list of texts; received 3"),
        (BASE + 'set = ["seed=1", 2]', "set must be a list of texts; received ['seed=1', 2]"),
        (BASE + 'set = ""', "set must be a list of texts; received ['']"),
        (BASE + 'set = ["seed"]', "set: a setting is KEY=VALUE; received 'seed'"),
        (BASE + 'set = ["sede=1"]', "recipe: unknown key 'sede'; did you mean 'seed'?"),
        (
            BASE + "folds = 3\nvalidation_share = 0.5",
            "a plan has folds or validation_share, not both: which shall judge?",
        ),
        (BASE + "folds = 1", "Recipe: folds must be a whole number from 2 to 1000; received 1"),
        (BASE + 'folds = "x"', "Recipe: folds must be a whole number from 2 to 1000; received 'x'"),
        (BASE + "validation_share = 0.9", "Recipe: validation_share must be a number from 0 to "),
        (BASE + "validation_share = 0", "Experiment: arm 'base' keeps no photos back for "),
        (BASE + "arms = 3", "arms must be a table; received 3"),
        (BASE + "[arms]\na = 3", "arms.a must be a list of texts; received 3"),
        (BASE + '[arms]\na = ["lr"]', "arms.a: a setting is KEY=VALUE; received 'lr'"),
        (
            BASE + '[arms]\na = ["phases.al.lr=1"]',
            "arms.a: unknown phase 'al'; did you mean 'all'?",
        ),
        (BASE + "[arms]\na = { sett = [] }", "arms.a: unknown key 'sett'; did you mean 'set'?"),
        (BASE + "[arms]\na = { recipe = 3 }", "a recipe must be a text; received 3"),
        (BASE + "[arms]\na = { }", "Experiment: arms 'base' and 'a' are the same recipe"),
        (
            BASE + "[arms]\na = ['model.backbone=tinny']",
            "unknown backbone 'tinny'; did you mean 'tiny'?",
        ),
        (BASE + "grid = 3", "grid must be a table; received 3"),
        (BASE + "[grid]\nseed = 3", "grid.seed must be a list of values; received 3"),
        (BASE + "[grid]\nseed = []", "grid.seed must be a list of values; received []"),
        (
            BASE + "[grid]\nmodel.size = [48]",
            "grid.model must be a list of values; received {'size': [48]}",
        ),
        (
            BASE + "[grid]\nlabel_smoothing = [[0.1]]",
            "grid.label_smoothing: a value is a text, a number, true or false; received [0.1]",
        ),
        (
            BASE + "[grid]\nlabel_smoothing = [nan]",
            "Recipe: label_smoothing must be a number from 0 to 0.9; received 'NaN'",
        ),
        (
            BASE + "[grid]\nlabel_smoothing = [2024-05-27]",
            "grid.label_smoothing: a value is a text, a number, true or false; received "
            "datetime.date(2024, 5, 27)",
        ),
        (BASE + "[grid]\n'model.sise' = [48]", "model: unknown key 'sise'; did you mean 'size'?"),
        (BASE + "[grid]\n'model.size' = [48, 48]", "'size 48' is there twice"),
        (BASE + "proxy = 3", "proxy must be a table; received 3"),
        (BASE + "[proxy]", "[proxy] needs set: what makes a run quicker"),
        (BASE + "[proxy]\nset = []", "[proxy] needs set: what makes a run quicker"),
        (BASE + "[proxy]\nset = ['x']", "proxy.set: a setting is KEY=VALUE; received 'x'"),
        (BASE + "[proxy]\nsize = 48", "proxy: unknown key 'size'. Known: set"),
        (BASE + "[proxy]\nset = ['folds=x']", "Recipe: folds must be a whole number"),
        (
            BASE + "[proxy]\nset = ['model.size=48']\n[arms]\na = ['model.size=64']",
            "Experiment: arms 'base' and 'a' are the same recipe; change one",
        ),
        (
            BASE + "set = ['phases.*.augment=none']\n[search]",
            "a search begins with what its base's phases augment by",
        ),
        (BASE + "use = 3", "use must be a list of texts; received 3"),
        (BASE + "hours = '2'", "hours must be a number; received '2'"),
        (BASE + "hours = true", "hours must be a number; received True"),
        (BASE + "halving = [1]", "halving must be a number; received [1]"),
        (BASE + "alpha = 'low'", "alpha must be a number; received 'low'"),
        (BASE + "hours = -1", "Experiment: hours must be 0 or more; received -1"),
        (BASE + "judge = 3", "Experiment: unknown judge 3. Known: best, last"),
        (BASE + "seeds = 0", "seeds must be how many, or a list of them; received 0"),
        (BASE + "seeds = 1001", "seeds must be how many, or a list of them; received 1001"),
        (BASE + "seeds = true", "seeds must be how many, or a list of them; received True"),
        (BASE + "seeds = [0.5]", "seeds must be how many, or a list of them; received [0.5]"),
        (BASE + "seeds = []", "Experiment: seeds must be one or more"),
        (BASE + "seeds = [-1]", "Experiment: seeds must be one or more"),
        (BASE + "search = 3", "search must be a table; received 3"),
        (BASE + "[search]\nadds = []", "search: unknown key 'adds'; did you mean 'add'?"),
        (BASE + "[search]\nadd = 3", "search.add must be a list of texts; received 3"),
        (BASE + "[search]\ndrop = 1", "search.drop must be true or false; received 1"),
        (BASE + "[search]\nrounds = 2.0", "search.rounds must be a whole number; received 2.0"),
        (BASE + "[search]\nrounds = true", "search.rounds must be a whole number; received True"),
        (
            BASE + "[search]\nadd = ['Blurr']",
            "unknown transform 'Blurr'; did you mean 'Blur'?",
        ),
        (
            BASE + "[search]\n[arms]\na = ['model.size=48']",
            "Experiment: a search makes its own arms, round by round; leave out arms, grid and ",
        ),
    ],
)
def test_bad_plans(write, text, message):
    path = write(text)
    with pytest.raises(UsageError, match=re.escape(message)) as caught:
        read_experiment(path)
    assert str(caught.value).startswith(f"{path}: ")
    assert len(str(caught.value).splitlines()) == 1


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("base = ", "Invalid value"),
        ("base = 'a'\nbase = 'b'", "Cannot overwrite"),
        (b"\xff\xfe", "codec can't decode"),
        ("a = " + "[" * 100_000, ""),
    ],
)
def test_what_is_no_plan(write, content, message):
    path = write(content)
    with pytest.raises(UsageError, match=f"^{re.escape(str(path))} is no plan: .*{message}"):
        read_experiment(path)


def test_what_is_no_file(tmp_path):
    with pytest.raises(UsageError, match=r"^there is no plan .*gone\.toml; give the path of a TOM"):
        read_experiment(tmp_path / "gone.toml")
    with pytest.raises(UsageError, match=r"is no plan: .*Is a directory"):
        read_experiment(tmp_path)


def test_too_many_arms(write):
    values = [round(0.001 * number, 3) for number in range(202)]  # the first is the base's
    text = "{}[arms]\n{}\n[grid]\nlabel_smoothing = {}"
    assert len(read_experiment(write(text.format(BASE, "", values[:201]))).arms) == 200
    alone = "alone = 'model.hidden=8'"
    for arms, tried in (("", values[1:]), (alone, values[:201])):
        with pytest.raises(UsageError, match="201 arms; a plan has 200 at the most: split it"):
            read_experiment(write(text.format(BASE, arms, tried)))
    with pytest.raises(UsageError, match="grid: 202 combinations; a plan has 200 arms at the most"):
        read_experiment(write(text.format(BASE, "", values)))


def test_a_grid_far_too_large_is_not_made_first(write):
    many = list(range(100))
    grid = "".join(f'"phases.all.{key}" = {many}\n' for key in ("lr", "clip", "size", "every"))
    with pytest.raises(UsageError, match="100000000 combinations; a plan has 200 arms at the most"):
        read_experiment(write(f"{BASE}[grid]\n{grid}"))


# ---------------------------------------------------------------- as data


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (
            {"arms": (Arm("base", with_settings(RECIPE, ["model.size=48"])),)},
            "arms must have different names; 'base' is there twice",
        ),
        ({"base": Arm("", RECIPE)}, "'' is no name of an arm; use words"),
        ({"base": Arm("two\nlines", RECIPE)}, r"'two\\nlines' is no name of an arm"),
        ({"base": Arm(" blank", RECIPE)}, "' blank' is no name of an arm"),
        (
            {"base": Arm("base", with_settings(RECIPE, ["validation_share=0"]))},
            "arm 'base' keeps no photos back for validation; give the plan a validation_share",
        ),
        (
            {"arms": (Arm("a", with_settings(RECIPE, ["folds=3"])),)},
            "arm 'a' has 3 folds, the base 0: they would validate on other photos",
        ),
        (
            {"arms": (Arm("a", with_settings(RECIPE, ["validation_share=0.5"])),)},
            "arm 'a' has validation_share 0.5, the base 0.2: they would validate on other photos",
        ),
        ({"arms": (Arm("a", RECIPE),)}, "arms 'base' and 'a' are the same recipe; change one"),
        (
            {"arms": (Arm("a", with_settings(RECIPE, ["seed=5", "name=other"])),)},
            "arms 'base' and 'a' are the same recipe",
        ),
        (
            {
                "base": Arm("base", with_settings(RECIPE, ["folds=3"])),
                "arms": (Arm("a", with_settings(RECIPE, ["folds=3", "fold=1"])),),
            },
            "arms 'base' and 'a' are the same recipe",
        ),
        (
            {"proxy": (Arm("other", with_settings(RECIPE, ["model.size=16"])),)},
            "proxy must have the base and the arms, in their order",
        ),
        (
            {"proxy": (Arm("base", with_settings(RECIPE, ["validation_share=0"])),)},
            "arm 'base' keeps no photos back for validation",
        ),
        ({"seeds": ()}, r"seeds must be one or more, all different.*; received \(\)"),
        ({"seeds": (1, 2, 1)}, r"seeds must be one or more, all different.*; received \(1, 2, 1\)"),
        ({"seeds": (-1,)}, r"seeds must be one or more, .*from 0 to 4294967295; received \(-1,\)"),
        ({"seeds": (2**32,)}, r"seeds must be one or more, .*; received \(4294967296,\)"),
        ({"judge": "worst"}, "unknown judge 'worst'. Known: best, last"),
        ({"keep": "result"}, "unknown keep 'result'; did you mean 'results'"),
        ({"hours": -0.1}, "hours must be 0 or more; received -0.1"),
        ({"hours": float("nan")}, "hours must be 0 or more; received nan"),
        ({"hours": float("inf")}, "hours must be 0 or more; received inf"),
        ({"halving": 1}, r"halving must be from 0 \(off\) to below 1; received 1"),
        ({"halving": -0.5}, r"halving must be from 0 \(off\) to below 1; received -0.5"),
        ({"alpha": 0}, "alpha must be from 0.001 to 0.5; received 0"),
        ({"alpha": 0.6}, "alpha must be from 0.001 to 0.5; received 0.6"),
        (
            {"search": Search(), "arms": (Arm("a", with_settings(RECIPE, ["model.size=48"])),)},
            "a search makes its own arms, round by round; leave out arms, grid and proxy",
        ),
        (
            {"search": Search(), "proxy": (Arm("base", with_settings(RECIPE, ["model.size=16"])),)},
            "a search makes its own arms",
        ),
        (
            {"search": Search(rounds=20), "alpha": 0.01},
            "alpha 0.01 shared out over 20 rounds of a search is below 0.001; give a larger",
        ),
    ],
)
def test_what_an_experiment_refuses(options, message):
    with pytest.raises(UsageError, match=f"^Experiment: .*{message}"):
        experiment(**options)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"add": ("Blurr",)}, "^unknown transform 'Blurr'; did you mean 'Blur'"),
        ({"add": ("OneOf",)}, "^unknown transform 'OneOf'"),
        (
            {"add": ("Blur", "ToGray", "Blur")},
            r"^Search: add names a transform twice; received \['Blur', 'ToGray', 'Blur'\]$",
        ),
        ({"drop": False}, "^Search: nothing to try; name transforms to add, or let it drop some$"),
        ({"rounds": 0}, "^Search: rounds must be from 1 to 20; received 0$"),
        ({"rounds": 21}, "^Search: rounds must be from 1 to 20; received 21$"),
    ],
)
def test_what_a_search_refuses(options, message):
    with pytest.raises(UsageError, match=message):
        Search(**options)


def test_trials_differ_in_nothing_but_seed_and_fold():
    folded = with_settings(RECIPE, ["folds=2", "fold=1", "seed=9"])
    found = Experiment("plan", Arm("base", folded), (), seeds=(5, 3))
    trials = list(found.trials())
    assert [(each.seed, each.fold, each.repeat) for each in trials] == [
        *((5, 0, 0), (5, 1, 1), (3, 0, 2), (3, 1, 3))
    ]
    assert len(trials) == found.repeats
    for trial in trials:
        assert trial.recipe == dataclasses.replace(folded, seed=trial.seed, fold=trial.fold)
        assert trial.key == (trial.seed, trial.fold)
    assert len({trial.recipe.digest() for trial in trials}) == 4


def test_a_trial_in_words():
    found = experiment("model.size=48", proxy=())
    assert str(list(found.trials())[3]) == "model.size=48 seed 0"
    folded = Arm("base", with_settings(RECIPE, ["folds=2"]))
    quick = Arm("base", with_settings(folded.recipe, ["model.size=16"]))
    found = Experiment("plan", folded, (), seeds=(7,), proxy=(quick,))
    assert [str(each) for each in found.trials()] == [
        *("base seed 7 fold 0", "base seed 7 fold 1"),
        *("base seed 7 fold 0 (proxy)", "base seed 7 fold 1 (proxy)"),
    ]


# ---------------------------------------------------------------- plans of the documents


def test_there_are_plans():
    assert len(PLANS) >= 8


@pytest.mark.parametrize("path", PLANS, ids=lambda path: path.stem)
def test_plans_of_the_documents(path):
    """Each is read, asks at least three seeds of validation photos enough, and names what is."""
    from carlib.train.start import check_names

    found = read_experiment(path)
    assert len(found.seeds) >= 3
    assert found.arms or found.search
    assert found.base.recipe.folds or found.base.recipe.validation_share >= 0.3
    before = set(known())
    try:
        for file in found.use:
            runpy.run_path(file)
        for arm in (*found.everyone, *found.proxy):
            check_names(arm.recipe)
    finally:
        for name in set(known()) - before:
            forget(name)
    # A run's recipe travels to its process as JSON.
    for trial in found.trials():
        assert json.loads(to_json(trial.recipe))["seed"] == trial.seed
