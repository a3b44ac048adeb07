"""The dataset that kernels install carlib from, with no network: wheels, weights, a recipe.

The folder is flat, as the client uploads it, and whole or not there.
"""

from __future__ import annotations

import dataclasses
import filecmp
import hashlib
import os
import shutil
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from carlib.errors import UsageError
from carlib.files import ASIDE, explained, flush, sha256, whole_folder
from carlib.kaggle.metadata import DATASET, DATASET_FILE, read_dataset
from carlib.kaggle.secrets import refuse_secrets
from carlib.kaggle.wheels import LACKING, LITE, SOURCES, make_wheels, origin, scratch
from carlib.recipes import load_recipe

RECIPE = "recipe.toml"
OLD = f".old{ASIDE}"  # suffix of a package that is being replaced
OWN = "carlib-*.whl"
WHEELS = tuple(each.name.replace("-", "_").lower() for each in (*LACKING, LITE))


@dataclass(frozen=True, slots=True)
class Package:
    """A dataset folder, ready to be uploaded.

    Args:
        folder: Where it lies.
        id: owner/slug of the dataset.
        files: Names of all files in it, sorted.
        digest: SHA-256 over names and contents: an unchanged package has an unchanged one.
    """

    folder: Path
    id: str
    files: tuple[str, ...]
    digest: str


def build_package(
    out: Path | str,
    *,
    id: str,
    title: str = "carlib package",
    lite: bool = True,
    weights: Sequence[Path] = (),
    recipe: Path | None = None,
    private: bool = True,
) -> Package:
    """Build the dataset folder: carlib's wheel, those the image lacks, and what runs need.

    Args:
        out: Folder to make. A package that is there is replaced as a whole, unless weights or a
            recipe in it are not among those given: it may hold the only copy.
        id: owner/slug of the dataset.
        title: Of the dataset, 6 to 50 characters. Defaults to "carlib package".
        lite: Whether the ImageNet weights of EfficientNet-Lite0 (17 MB) come along. Defaults to
            True.
        weights: Other weights, .h5 files, which are found by their names. Defaults to none.
        recipe: A .toml file, which becomes recipe.toml. Defaults to none.
        private: What dataset-metadata.json says of it. Defaults to True.

    Raises:
        UsageError: A folder with other things in it, or what would be lost; or something that
            cannot be packaged.
        CarlibError: Something looks like a secret, or pip fails; nothing was written.
    """
    out = Path(out)
    dataset = dataclasses.replace(DATASET, id=id, title=title, private=private)
    _check_name(out)
    extras = [*weights, *([recipe] if recipe is not None else [])]
    for path in extras:
        if not path.is_file():
            raise UsageError(f"{path} is not a file; give the path of one that can be packaged")
    given = {path.name: path for path in weights} | ({RECIPE: recipe} if recipe else {})
    _check_place(out, given)
    source = origin()
    own = [source / name for name in SOURCES] if isinstance(source, Path) else []
    refuse_secrets([*extras, *own])
    _check_weights(weights)
    if recipe is not None:
        if recipe.suffix != ".toml":
            raise UsageError(f"the recipe of a package must be a .toml file; got {recipe}")
        load_recipe(str(recipe))
    with scratch() as folder:
        lacking = (*LACKING, LITE) if lite else LACKING
        wheels = make_wheels(source, lacking, folder)
        refuse_secrets(wheels)
        with _replaced(out) as aside:
            for path in (*wheels, *weights):
                shutil.copyfile(path, aside / path.name)
            if recipe is not None:
                shutil.copyfile(recipe, aside / RECIPE)
            for path in aside.iterdir():
                flush(path)
            dataset.write(aside)
    return read_package(out)


def read_package(folder: Path | str) -> Package:
    """Return the package that lies in a folder.

    Raises:
        UsageError: There is none.
    """
    folder = Path(folder)
    said = read_dataset(folder)
    names = sorted(path.name for path in folder.iterdir())
    lines = "".join(f"{sha256(folder / name)}  {name}\n" for name in names)
    digest = hashlib.sha256(lines.encode()).hexdigest()
    return Package(folder, str(said.get("id", "")), tuple(names), digest)


def _check_name(out: Path) -> None:
    if not out.name or out.name == "..":
        raise UsageError(f"a package needs a folder of its own; got {str(out)!r}")
    if out.exists() and not out.is_dir():
        raise UsageError(f"{out} is a file; give the name of a folder to make")


def _check_place(out: Path, given: Mapping[str, Path]) -> None:
    """Refuse a folder that is no package, or one that has the only copy of something."""
    with explained(out):
        there = sorted(out.iterdir()) if out.is_dir() else []
    # The metadata file alone is one that was made to be built upon.
    is_package = any(path.match(OWN) for path in there) and (out / DATASET_FILE).is_file()
    if is_package or [path.name for path in there] == [DATASET_FILE]:
        others = [path for path in there if not (path.is_file() and _is_part(path))]
    else:
        others = there
    if others:
        raise UsageError(
            f"{out} holds other things than a package ({_some(others)}); choose a new folder for it"
        )
    # A recipe in a package is a copy, and may be edited; weights of one name are seldom the same.
    lost = [path for path in there if path.name == RECIPE and RECIPE not in given]
    lost += [
        path
        for path in there
        if path.suffix == ".h5"
        and not (path.name in given and filecmp.cmp(path, given[path.name], shallow=False))
    ]
    if lost:
        raise UsageError(
            f"{out} holds what would be lost, since it is not among what is given "
            f"({_some(lost)}); move it away, or choose a new folder"
        )


def _is_part(path: Path) -> bool:
    """Whether a package has a file of that name."""
    if path.suffix == ".whl":
        return path.match(OWN) or path.name.split("-")[0].lower() in WHEELS
    return path.suffix == ".h5" or path.name in (DATASET_FILE, RECIPE)


def _some(paths: Sequence[Path]) -> str:
    names = ", ".join(path.name for path in paths[:3])
    return names + (", ..." if len(paths) > 3 else "")


def _check_weights(weights: Sequence[Path]) -> None:
    names = [path.name for path in weights]
    for path in weights:
        if path.suffix != ".h5":
            raise UsageError(f"weights must be .h5 files; got {path}")
        if names.count(path.name) > 1:
            raise UsageError(
                f"two weights files are called {path.name!r}, and they are found by their names; "
                "give one of them"
            )


@contextmanager
def _replaced(out: Path) -> Iterator[Path]:
    """Yield a folder to fill; on success it takes the place of ``out``, on failure that stays."""
    old = out.with_name(out.name + OLD)
    try:
        with whole_folder(out) as aside:
            yield aside
            if out.is_dir():
                shutil.rmtree(old, ignore_errors=True)
                os.rename(out, old)
    except BaseException:
        if old.is_dir() and not out.exists():
            os.rename(old, out)
        raise
    shutil.rmtree(old, ignore_errors=True)
