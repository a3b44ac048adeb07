"""The house itself: floors, the public surface, what loads what, the built metadata."""

from __future__ import annotations

import ast
import configparser
import email
import importlib
import inspect
import re
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

import carlib

ROOT = Path(__file__).parents[1]
PACKAGE = ROOT / "carlib"

# Imports only go down; rooms of a floor do not import each other.
FLOORS = (
    {"errors", "progress"},
    {"files", "archives", "spec", "session", "devices", "using", "registry"},
    {
        "catalog",
        "images",
        "augment",
        "sample",
        "recipes",
        "submission",
        "runfolder",
        "style",
        "interrupts",
    },
    {"attached", "audit", "loader", "metrics", "models", "schedules", "checkpoints", "watch"},
    {"batches", "freeze", "handover", "lineage", "predict"},
    {"features", "kaggle"},
    {"steps"},
    {"memory"},
    {"train"},
    {"lr_find", "plan"},
    {"report", "demo", "experiments"},
    {"cli"},
    {"__init__", "__main__"},
)
LEVEL = {room: level for level, rooms in enumerate(FLOORS) for room in rooms}
LIGHT = 3  # floors below it are free of TensorFlow
STANDARD_ONLY = 2  # floors below it use the standard library alone, and tqdm to show progress
LONGEST = 420  # lines of a file; beyond, it is more than one room

PUBLIC = {
    "Catalog",
    "Checkpoint",
    "CarlibError",
    "DataError",
    "Experiment",
    "Forecast",
    "ModelSpec",
    "Outcome",
    "Phase",
    "Plan",
    "Predictions",
    "Recipe",
    "RunError",
    "Session",
    "UsageError",
    "__version__",
    "add_backbone",
    "add_head",
    "add_metric",
    "add_preset",
    "add_schedule",
    "build_model",
    "class_weights",
    "detect_session",
    "estimate_memory",
    "find_data",
    "find_recipe",
    "fold",
    "load_recipe",
    "merge",
    "plan_run",
    "predict_photos",
    "read_catalog",
    "read_experiment",
    "read_test",
    "run_experiment",
    "split",
    "tables_of",
    "train_model",
    "with_epochs_of",
    "write_handover",
    "write_report",
    "write_sample",
    "write_submission",
    "write_tables",
}

PAGES = {
    "carlib/experiments/page.html",
    "carlib/report/page.html",
    "carlib/style/frame.html",
    "carlib/style/macros.html",
    "carlib/style/page.css",
}
SOURCES = sorted(PACKAGE.rglob("*.py"))


def room_of(path):
    inner = path.relative_to(PACKAGE)
    return inner.parts[0].removesuffix(".py")


def imports(path):
    """Every module that a file imports anywhere, functions included."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: relative import"
            yield node.module


@pytest.mark.parametrize("path", SOURCES, ids=lambda path: path.relative_to(ROOT).as_posix())
def test_imports_go_down(path):
    room = room_of(path)
    for module in imports(path):
        parts = module.split(".")
        if parts[0] != "carlib" or len(parts) == 1 or parts[1] == room:
            continue
        assert LEVEL[parts[1]] < LEVEL[room], f"{room} imports {parts[1]}"


@pytest.mark.parametrize("path", SOURCES, ids=lambda path: path.relative_to(ROOT).as_posix())
def test_the_lower_floors_are_light(path):
    tops = {module.split(".")[0] for module in imports(path)}
    level = LEVEL[room_of(path)]
    if level < LIGHT:
        assert not tops & {"tensorflow", "keras", "efficientnet"}
    if level < STANDARD_ONLY:
        assert tops <= {*sys.stdlib_module_names, "carlib", "tqdm"}


def test_every_room_has_its_floor():
    assert {room_of(path) for path in SOURCES} == set(LEVEL)


def test_no_file_is_more_than_one_room():
    for path in SOURCES:
        lines = len(path.read_text(encoding="utf-8").splitlines())
        assert lines <= LONGEST, f"{path} has {lines} lines"


def test_public_surface():
    assert set(carlib.__all__) == PUBLIC
    for name in PUBLIC:
        assert getattr(carlib, name) is not None


@pytest.mark.parametrize("name", sorted(PUBLIC - {"__version__"}))
def test_what_is_public_is_documented(name):
    thing = getattr(carlib, name)
    text = inspect.getdoc(thing)
    assert text
    if not (inspect.isclass(thing) and issubclass(thing, Exception)):
        assert "Args:" in text or not inspect.signature(thing).parameters


def test_an_unknown_name_is_an_attribute_error():
    with pytest.raises(AttributeError, match="has no attribute 'nothing'"):
        carlib.nothing  # noqa: B018


@pytest.mark.parametrize(
    "code",
    [
        "import carlib",
        "import carlib.cli; carlib.cli._parser().format_help()",
        "import carlib.loader, carlib.audit, carlib.checkpoints, carlib.recipes, carlib.models",
        "import carlib.loader, carlib.lineage",
        "import carlib.loader, carlib.kaggle.chain, carlib.kaggle.package",
    ],
)
def test_what_stays_unloaded(code):
    heavy = "['tensorflow', 'keras', 'albumentations', 'matplotlib', 'pandas', 'kaggle']"
    if "loader" not in code:
        heavy = heavy[:-1] + ", 'numpy', 'cv2', 'tqdm']"
    script = f"{code}\nimport sys\nprint([name for name in {heavy} if name in sys.modules])"
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=True
    )
    assert done.stdout == "[]\n"


def test_every_file_speaks_in_its_first_line():
    for path in SOURCES:
        text = ast.get_docstring(ast.parse(path.read_text(encoding="utf-8")))
        assert text, path


@pytest.fixture(scope="session")
def wheel(tmp_path_factory):
    """The built wheel, from a copy: building leaves files behind."""
    import shutil

    source = tmp_path_factory.mktemp("source")
    for name in ("setup.cfg", "pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(ROOT / name, source)
    shutil.copytree(PACKAGE, source / "carlib", ignore=shutil.ignore_patterns("__pycache__"))
    command = [sys.executable, "-m", "build", "--wheel", "--no-isolation", str(source)]
    subprocess.run(command, check=True, capture_output=True)
    (built,) = (source / "dist").glob("*.whl")
    return built


def test_built_metadata(wheel):
    with zipfile.ZipFile(wheel) as archive:
        names = archive.namelist()
        (where,) = (name for name in names if name.endswith(".dist-info/METADATA"))
        said = email.message_from_bytes(archive.read(where))
        points = archive.read(where.replace("METADATA", "entry_points.txt")).decode()
    assert said["Name"] == "carlib"
    assert said["Version"] == carlib.__version__
    assert said["Requires-Python"] == ">=3.11"
    assert said["License-Expression"] == "Apache-2.0"
    assert said["Description-Content-Type"] == "text/markdown"
    needs = {re.split(r"[<>=!;\[ ]", line)[0] for line in said.get_all("Requires-Dist")}
    assert {"tensorflow", "efficientnet", "albumentations", "matplotlib", "pandas", "tqdm"} <= needs
    assert set(said.get_all("Provides-Extra")) == {"dev", "kaggle", "lite", "ray"}
    parsed = configparser.ConfigParser()
    parsed.read_string(points)
    assert dict(parsed["console_scripts"]) == {"carlib": "carlib.cli:main"}
    modules = {path.relative_to(ROOT).as_posix() for path in SOURCES}
    packed = {name for name in names if ".dist-info/" not in name}
    assert packed == modules | PAGES


def test_every_dependency_has_its_reason_and_its_use():
    """A comment stands before each group; what is declared is imported, and the reverse."""
    text = (ROOT / "setup.cfg").read_text()
    needed = text[text.index("install_requires") : text.index("[options.extras_require]")]
    driving = text[text.index("\nkaggle =") : text.index("# what the tests and checks need")]
    assert needed.splitlines()[1].strip().startswith("#")
    module_of = {"opencv-python-headless": "cv2", "pillow": "PIL", "python-slugify": "slugify"}
    declared = re.findall(r"^    ([a-z][\w-]*)", needed + driving, re.MULTILINE)
    used = {
        module.split(".")[0]
        for path in SOURCES
        if path != PACKAGE / "kaggle/worker.py"
        for module in imports(path)
    }
    outside = used - set(sys.stdlib_module_names) - {"carlib"}
    assert {module_of.get(name, name) for name in declared} == outside | {"kaggle"}


def test_the_client_stays_in_its_process():
    """Importing it signs in, and ends the process where it cannot: one file does, and no kernel."""
    client = {"kaggle", "kagglesdk", "requests", "urllib3"}
    found = [path for path in SOURCES if client & {name.split(".")[0] for name in imports(path)}]
    assert found == [PACKAGE / "kaggle/worker.py"]
    importers = [
        path for path in SOURCES if any(name == "carlib.kaggle.worker" for name in imports(path))
    ]
    assert importers == []


def test_nothing_heavy_is_imported_by_name_twice():
    """Lazy names resolve to what their rooms define."""
    for name, room in carlib._PUBLIC.items():
        assert getattr(carlib, name) is getattr(importlib.import_module(f"carlib.{room}"), name)
