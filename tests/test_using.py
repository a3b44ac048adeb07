"""A Python file that a command runs first: once, and in one line where it fails."""

from __future__ import annotations

import sys

import pytest

from carlib import using
from carlib.cli import main
from carlib.errors import RunError, UsageError
from carlib.using import use, used


@pytest.fixture(autouse=True)
def _fresh(monkeypatch):
    monkeypatch.setattr(using, "_used", [])


@pytest.fixture
def write(tmp_path):
    """Write a file, and return its path."""

    def make(content, name="mine.py"):
        path = tmp_path / name
        path.write_bytes(content if isinstance(content, bytes) else content.encode())
        return path

    return make


def test_it_runs_once_however_it_is_named(write, monkeypatch, tmp_path, capsys):
    path = write("print('ran')")
    monkeypatch.chdir(tmp_path)
    for name in (path, str(path), "mine.py", "./mine.py"):
        use(name)
    assert capsys.readouterr().out == "ran\n"
    another = write("print('another')", "another.py")
    use(another)
    assert capsys.readouterr().out == "another\n"
    assert used() == (str(path.resolve()), str(another.resolve()))


def test_a_file_that_another_one_uses_comes_before_it(write):
    inner = write("", "inner.py")
    outer = write(f"from carlib.using import use\nuse({str(inner)!r})\n", "outer.py")
    use(outer)
    assert used() == (str(inner.resolve()), str(outer.resolve()))


def test_its_name_hides_no_module_and_its_functions_outlive_it(write, monkeypatch):
    kept = []
    monkeypatch.setattr(using, "kept", kept, raising=False)
    import json as installed

    use(
        write(
            "import json\n"
            "from carlib import using\n"
            "WORD = json.dumps('kept')\n"
            "using.kept.append(lambda: WORD)\n",
            "json.py",
        )
    )
    assert kept[0]() == '"kept"'
    assert sys.modules["json"] is installed


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("x = 1\n1 / 0", r"mine\.py, line 2: ZeroDivisionError: division by zero; mend the file"),
        ("def f():\n    raise KeyError('a')\n\nf()", r"mine\.py, line 2: KeyError: 'a'"),
        ("import nowhere_at_all", "line 1: ModuleNotFoundError: No module named 'nowhere_at_all'"),
        ("raise ValueError('one\\ntwo')", "ValueError: one two; mend"),
        ("x = (", r"mine\.py: SyntaxError: .*line 1\)"),
        (b"\xff\xfe\x00", r"mine\.py: SyntaxError"),
        ("raise SystemExit(3)", "line 1: SystemExit: 3"),
        ("from carlib.errors import look_up\nlook_up({}, 'a', 'word')", "line 2: UsageError: unkn"),
    ],
)
def test_what_fails_in_it_is_one_line(write, content, message):
    path = write(content)
    with pytest.raises(RunError, match=message) as caught:
        use(path)
    assert len(str(caught.value).splitlines()) == 1
    assert str(path) in str(caught.value)


def test_a_file_that_failed_runs_again_once_it_is_mended(write, capsys):
    with pytest.raises(RunError, match="NameError"):
        use(write("nothing"))
    assert used() == ()
    use(write("print('mended')"))
    assert capsys.readouterr().out == "mended\n"


def test_an_interrupt_is_the_user_s(write):
    with pytest.raises(KeyboardInterrupt):
        use(write("raise KeyboardInterrupt"))


@pytest.mark.parametrize("name", ["nothing.py", "."])
def test_a_file_that_is_not_there(tmp_path, name):
    with pytest.raises(UsageError, match="there is no such file; give the path of a Python file"):
        use(tmp_path / name)


COMMANDS = (
    ("train", "--data", "nowhere", "--out", "nowhere", "--recipe", "tiny-check"),
    ("memory", "--recipe", "tiny-check"),
    ("plan", "--data", "nowhere", "--recipe", "tiny-check"),
    ("models",),
    ("augment", "light", "--data", "nowhere", "--out", "nowhere"),
)


@pytest.mark.parametrize("command", COMMANDS, ids=lambda command: command[0])
def test_the_commands_use_it_before_anything_else(write, tmp_path, capsys, command):
    cases = [(2, tmp_path / "nothing.py", "no such file"), (1, write("1 / 0"), "ZeroDivisionError")]
    for code, path, words in cases:
        assert main([*command, "--use", str(path)]) == code
        shown = capsys.readouterr()
        (line,) = shown.err.splitlines()
        assert line.startswith(f"carlib: --use {path}")
        assert words in line
        assert not shown.out


def test_the_recipe_comes_after_it(write, tmp_path, capsys):
    """The file may even write the recipe."""
    recipe = tmp_path / "late.json"
    path = write(
        "from pathlib import Path\n"
        "from carlib.recipes import RECIPES\n"
        "from carlib.spec import to_json\n"
        f"Path({str(recipe)!r}).write_text(to_json(RECIPES['tiny-check']))\n"
    )
    assert main(["memory", "--recipe", str(recipe), "--gpu", "T4"]) == 2
    capsys.readouterr()
    assert main(["memory", "--recipe", str(recipe), "--gpu", "T4", "--use", str(path)]) == 0
    assert capsys.readouterr().out.startswith("tiny-check on T4")
