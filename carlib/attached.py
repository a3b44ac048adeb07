"""What is attached to a session: photos and a recipe, found by what they look like.

Where a platform mounts an input, and how its folders are called, changes: Kaggle alone has two
layouts of /kaggle/input.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from itertools import islice
from pathlib import Path, PurePath

from carlib.archives import is_junk
from carlib.catalog.reading import LAYOUTS, SUFFIXES
from carlib.errors import DataError, UsageError
from carlib.recipes import RECIPES, load_recipe
from carlib.runfolder import RunFolder
from carlib.sample import write_sample
from carlib.session import Session
from carlib.spec import Recipe

SAMPLE = "sample"  # as the data folder: draw the sample set
MARKER = "recipe.toml"  # an attached recipe
DEFAULT = "lite0-staged"
DEPTH = 6  # folders below an input root: competitions/SLUG, datasets/OWNER/SLUG, some of one's own
MOST = 5000  # folders looked into: a home folder has more, and what is attached lies near its root
MANY = 100  # photos side by side: their folder holds nothing else worth looking for
FEW = 200  # entries of a folder that has photos, among which there is one
# Colab's mount of Google Drive: listing it takes minutes. What lies there is given by its path.
SLOW = "drive"
NAMED = 6  # places that a message names
HINTS = {
    "kaggle": "press Add Input and attach the competition's data, or a dataset that holds",
    "colab": "upload to the Files pane, or mount Drive and give the path of, a folder that holds",
    "plain": "give, as DATA, the path of a folder that holds",
}


def find_data(session: Session, given: Path | str = "") -> Path:
    """Return the folder of labelled photos that a session has.

    Args:
        session: Its inputs are searched; on a plain machine, which has none, its work folder.
        given: The folder; a relative one may lie anywhere below the inputs. "sample" draws the
            sample set into the work folder. Defaults to "", the one folder that
            ``read_catalog`` would take.

    Raises:
        UsageError: ``given`` is not there, or several folders would do.
        DataError: Nothing is attached; the message says what to attach, and where it looked.

    >>> import tempfile
    >>> root = Path(tempfile.mkdtemp())
    >>> cat = root / "datasets/alice/pets/train/cat/a.jpg"
    >>> cat.parent.mkdir(parents=True)
    >>> cat.touch()
    >>> find_data(Session("kaggle-batch", (root,))).relative_to(root).as_posix()
    'datasets/alice/pets'
    """
    if str(given) == SAMPLE:
        return write_sample(session.work / "photos")
    roots = session.inputs or (session.work,)
    if str(given):
        return _given(Path(given).expanduser(), roots)
    looked = list(folders_below(roots))
    found = [folder for folder in looked if _is_data(folder)]
    if len(found) > 1:
        raise UsageError(f"several folders hold photos to train on: {_named(found)}; set DATA")
    if not found:
        raise DataError(
            f"there are no photos to train on: {HINTS[session.kind.partition('-')[0]]} {LAYOUTS}; "
            f"DATA = {SAMPLE!r} draws a set to try; looked through {_looked(looked, roots)}"
        )
    return found[0]


def find_recipe(session: Session, given: str = "") -> Recipe:
    """Return the recipe that a session is to train.

    Args:
        session: Its inputs are searched.
        given: A recipe's name, or a .toml or .json file, which may lie anywhere below the
            inputs. Defaults to "": the one recipe.toml that is attached, else lite0-staged.

    Raises:
        UsageError: No such name or file, several files, or a file that is no recipe.

    >>> find_recipe(Session(), "tiny-check").model.backbone
    'tiny'
    """
    if given in RECIPES or (given and Path(given).is_file()):
        return load_recipe(given)
    wanted = PurePath(given or MARKER)
    found = [
        folder / wanted
        for folder in folders_below(session.inputs)
        if wanted.suffix in (".toml", ".json") and os.path.isfile(folder / wanted)
    ]
    if not given:
        # A source tree's recipe is an example.
        found = [path for path in found if not any(map(_is_clone, path.parents))]
    if len(found) > 1:
        raise UsageError(f"several recipes are attached: {_named(found)}; set RECIPE to a path")
    return load_recipe(str(found[0]) if found else given or DEFAULT)


def _is_clone(folder: Path) -> bool:
    return os.path.exists(folder / ".git")


def _given(given: Path, roots: Iterable[Path]) -> Path:
    if given.is_dir():
        return given
    ending = given.parts
    found = [folder for folder in folders_below(roots) if folder.parts[-len(ending) :] == ending]
    # A dataset packed with its own folder has the name twice: pets/pets/train.
    found = [folder for folder in found if _is_data(folder)] or found
    if len(found) > 1:
        raise UsageError(f"{str(given)!r} may be {_named(found)}; set DATA to a whole path")
    if not found:
        where = " nor below ".join(map(str, roots))
        raise UsageError(
            f"there is no folder {str(given)!r}, neither from {Path.cwd()} nor below {where}; "
            "correct DATA, or leave it empty to have the photos found"
        )
    return found[0]


def folders_below(roots: Iterable[Path]) -> Iterator[Path]:
    """Yield folders that inputs may lie in, the nearest to the roots first, each once.

    What lies within photo sets, runs and folders full of photos is left alone.

    Args:
        roots: Of a session's inputs.
    """
    seen: set[str] = set()
    level = list(roots)
    for _ in range(DEPTH + 1):
        below: list[Path] = []
        for folder in level:
            real = os.path.realpath(folder)
            # os.path throughout: what one may not look into is not there, instead of an error.
            if real in seen or not os.path.isdir(folder) or len(seen) == MOST:
                continue
            seen.add(real)
            run = RunFolder(folder)
            if _is_data(folder):
                yield folder
            elif not os.path.isdir(run.chain) and not os.path.isfile(run.recipe):
                yield folder
                below += _below(folder)
        level = below


def _below(folder: Path) -> list[Path]:
    """Return the folders in a folder, sorted; none where it is full of photos."""
    names, photos = [], 0
    for entry in _entries(folder):
        photos += entry.name.lower().endswith(SUFFIXES)
        if photos > MANY:
            return []
        if entry.is_dir() and entry.name != SLOW:
            names.append(entry.name)
    return [folder / name for name in sorted(names)]


def _is_data(folder: Path) -> bool:
    """Say whether ``read_catalog`` would take a folder, by a few looks at names."""
    train, packed = folder / "train", os.path.isfile(folder / "train.zip")
    unpacked = os.path.isdir(train)
    if os.path.isfile(folder / "train.csv"):
        return _has_photo(train) if unpacked else packed or _has_photo(folder)
    if unpacked:
        return any(entry.is_dir() and _has_photo(Path(entry)) for entry in _entries(train))
    return packed


def _has_photo(folder: Path, depth: int = 2) -> bool:
    inner = []
    for entry in islice(_entries(folder), FEW):
        if entry.name.lower().endswith(SUFFIXES):
            return True
        if entry.is_dir():
            inner.append(Path(entry))
    return depth > 0 and any(_has_photo(each, depth - 1) for each in inner)


def _entries(folder: Path) -> Iterator[os.DirEntry[str]]:
    """Yield what lies in a folder, unsorted: where the first will do, the rest is not read."""
    try:
        with os.scandir(folder) as entries:
            yield from (entry for entry in entries if not is_junk(entry.name))
    except OSError:  # a folder that one may not look into is not what was attached
        return


def _named(paths: list[Path]) -> str:
    more = len(paths) - NAMED
    return ", ".join(map(str, paths[:NAMED])) + (f" and {more} more" if more > 0 else "")


def _looked(looked: list[Path], roots: Iterable[Path]) -> str:
    where = " and ".join(map(str, roots))
    inner = {up for folder in looked for up in folder.parents}
    ends = [folder for folder in looked if folder not in inner and folder not in roots]
    return f"{where} ({_named(ends)})" if ends else f"{where}, which has no folders"
