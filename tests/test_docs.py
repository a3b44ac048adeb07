"""What README and docs say is true."""

from __future__ import annotations

import dataclasses
import re
import shlex
import shutil
import textwrap
from pathlib import Path

import pytest
from experiments import Pretend

from carlib.augment import TRANSFORMS
from carlib.cli import _parser, main
from carlib.experiments import read_experiment, run
from carlib.recipes import RECIPES, load_recipe
from carlib.spec import ModelSpec, Phase, Recipe
from carlib.spec.reference import reference

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text(encoding="utf-8")
PAGES = {
    name: (ROOT / name).read_text(encoding="utf-8")
    for name in (
        *("README.md", "docs/experiments.md", "docs/kaggle.md", "docs/memory.md", "docs/own.md"),
    )
}


def test_the_example_recipe_is_lite0_staged():
    assert load_recipe(str(ROOT / "docs/recipe.toml")) == RECIPES["lite0-staged"]


def test_the_recipe_table_is_complete():
    section = README.split("## Recipes")[1].split("## ")[0]
    assert re.findall(r"^\| `([\w-]+)` \|", section, re.MULTILINE) == list(RECIPES)


def test_the_reference_is_what_the_code_says():
    """Written by ``carlib.spec.reference.reference``."""
    text = (ROOT / "docs/reference.md").read_text(encoding="utf-8")
    assert text == reference()
    for kind in (Recipe, ModelSpec, Phase):
        for entry in dataclasses.fields(kind):
            if entry.name not in ("model", "phases"):
                assert f"| `{entry.name}` | " in text


@pytest.mark.parametrize("page", PAGES)
def test_every_command_in_the_docs_parses(page):
    text = PAGES[page].replace("\\\n", " ")
    commands = re.findall(r"^ +(carlib .*)$", text, re.MULTILINE)
    commands += [said for said in re.findall(r"`(carlib [^`]*)`", text) if " --" in said[13:]]
    assert len(commands) >= 3
    for command in commands:
        _parser().parse_args(shlex.split(command, comments=True)[1:])


@pytest.mark.parametrize("page", PAGES)
def test_every_file_the_docs_link_to_is_there(page):
    links = re.findall(r"\]\(([^)#]+)\)", PAGES[page])
    for link in links:
        if link.startswith("https://colab.research.google.com/github/"):
            assert (ROOT / link.partition("/blob/main/")[2]).is_file(), link
        elif not link.startswith("https://"):
            assert ((ROOT / page).parent / link).is_file(), link


@pytest.mark.parametrize("page", ["README.md", "docs/experiments.md"])
def test_the_plans_of_the_docs_are_plans(page, tmp_path):
    plans = re.findall(r"```toml\n(.*?)```", PAGES[page], re.DOTALL)
    assert plans
    shutil.copytree(ROOT / "docs/experiments", tmp_path, dirs_exist_ok=True)
    for text in plans:
        path = tmp_path / "plan.toml"
        path.write_text(text, encoding="utf-8")
        found = read_experiment(path)
        assert found.arms or found.search


def test_the_python_of_experiments_names_what_there_is(tmp_path, monkeypatch):
    (code,) = re.findall(r"```python\n(.*?)```", PAGES["docs/experiments.md"], re.DOTALL)
    (tmp_path / "plan.toml").write_text('base = "tiny-check"\nseeds = 1\nvalidation_share = 0.5\n')
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(run, "LOOK", 0.0)
    monkeypatch.setattr(run, "check_arms", lambda experiment: None)
    rate = f"{RECIPES['tiny-check'].phases[-1].lr:g}"
    monkeypatch.setattr(run, "Local", lambda *given: Pretend({rate: 0.5}))
    exec(compile(code, "experiments.md", "exec"), {})
    assert (tmp_path / "experiment/table.html").is_file()


def test_the_transforms_of_a_search_are_all_named():
    listed = PAGES["docs/experiments.md"].split("What can be\n  added:\n")[1].split(".\n")[0]
    assert [name.strip() for name in listed.split(",")] == list(TRANSFORMS)


@pytest.mark.once
def test_the_memory_of_the_readme_is_true(capsys):
    """What stands below the command is what it prints; "..." stands for lines left out."""
    found = re.search(r"^    (carlib memory .*)\n\n((?:    .*\n|\n)+)", README, re.MULTILINE)
    command, block = found.groups()
    assert main(shlex.split(command)[1:]) == 0
    shown = capsys.readouterr().out
    parts = [part.strip("\n") for part in textwrap.dedent(block).split("...\n")]
    assert len(parts) > 1
    assert [part for part in parts if part not in shown] == []


@pytest.mark.once
def test_the_python_of_the_readme_runs(tmp_path, monkeypatch):
    """On the tiny network: the code is what is tried, not the accuracy."""
    (code,) = re.findall(r"```python\n(.*?)```", README, re.DOTALL)
    assert len([line for line in code.splitlines() if line.strip()]) <= 10
    monkeypatch.chdir(tmp_path)
    exec(compile(code.replace("lite0-quick", "tiny-check"), "README.md", "exec"), {})
    assert len(Path("submission.csv").read_text().splitlines()) == 201
    assert Path("run/report.html").is_file()
