"""Photos in a folder, a CSV or a zip to a Catalog."""

from __future__ import annotations

import csv
import dataclasses
import logging
from collections.abc import Container, Iterable, Mapping
from pathlib import Path, PurePosixPath

from carlib.archives import is_junk, list_folder, list_zip
from carlib.catalog.noun import Catalog, near
from carlib.errors import DataError

log = logging.getLogger("carlib")

SUFFIXES = (".jpg", ".jpeg", ".png", ".bmp", ".webp", ".gif", ".tif", ".tiff")
TEST_NAMES = ("test_upload", "test")
LAYOUTS = "train/<class>/*.jpg, or train.csv (Id, Category) with photos under train/, or train.zip"


def read_catalog(
    folder: Path | str, groups: Path | str | None = None, *, least: int = 2
) -> Catalog:
    """Return the labelled photos of a data folder.

    Args:
        folder: Holds ``train/<class>/*.jpg``, or ``train.csv`` (first column id, second
            class) with the photos anywhere under ``train/``, or either inside ``train.zip``.
        groups: A CSV with a header, first column id, second the name of its group, photos that
            ``split`` keeps together; a photo without a row is its own group. Defaults to none.
        least: Classes that there must be; 1 for a set that is merged into another. Defaults to 2.

    Ids are the CSV's, or "class/file" without one. Classes are sorted, as numbers where
    all are whole numbers.

    Raises:
        DataError: No such folder or layout, an empty class, too few classes, a CSV row
            without a photo, labels of CSV and folders that disagree, a damaged archive, groups
            of photos that are not there.
    """
    catalog = _read(_existing(folder))
    if len(catalog.classes) < least:
        raise DataError(
            f"{folder} has {len(catalog.classes)} class of training photos; a classifier needs "
            "two or more"
        )
    return catalog if groups is None else _grouped(catalog, Path(groups))


def read_test(folder: Path | str) -> Catalog:
    """Return the photos to predict of a data folder.

    Args:
        folder: Holds ``test_upload/`` or ``test/``, or a zip of that name.

    Ids are file names, or paths below the folder where two files share a name.

    Raises:
        DataError: No such folder, or no photos in it.
    """
    found = find_test(folder)
    if found is None:
        raise DataError(
            f"{folder} has no test photos; expected test_upload/ or test/, or a zip of that name"
        )
    return found


def find_test(folder: Path | str) -> Catalog | None:
    """Return what ``read_test`` does, or None where the folder has no photos to predict."""
    listed, _ = _photos(_existing(folder), TEST_NAMES)
    if not listed:
        return None
    names = [PurePosixPath(name).name for name in listed]
    ids = list(listed) if len(set(names)) < len(names) else names
    pairs = sorted(zip(ids, listed.values(), strict=True))
    return Catalog(tuple(name for name, _ in pairs), tuple(path for _, path in pairs))


def read_exclusions(path: Path | str) -> tuple[str, ...]:
    """Return the ids in a text file: one a line, or the first column of a CSV.

    Empty lines, lines that begin with # and a header "Id" or "id" are passed over.
    """
    try:
        text = Path(path).read_text(encoding="utf-8-sig")
        first = [row[0].strip() for row in csv.reader(text.splitlines()) if row]
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise DataError(f"cannot read the list of exclusions {path}: {error}") from error
    return tuple(name for name in first if name and name[0] != "#" and name.lower() != "id")


def _existing(folder: Path | str) -> Path:
    folder = Path(folder)
    if not folder.is_dir():
        raise DataError(f"no such folder: {folder}; give the folder that holds {LAYOUTS}")
    return folder


def _read(folder: Path) -> Catalog:
    listed, empty = _photos(folder, ("train",))
    table = folder / "train.csv"
    if table.is_file():
        if listed is None:
            tests = tuple(f"{name}/" for name in TEST_NAMES)
            everything = list_folder(folder)
            listed = _only_photos(
                {name: path for name, path in everything.items() if not name.startswith(tests)}
            )
        return _from_table(table, listed)
    if listed is None:
        raise DataError(f"{folder} has no training photos; expected {LAYOUTS}")
    if empty:
        raise DataError(
            f"class folder {empty[0]!r} under train has no photos; add some "
            f"({', '.join(SUFFIXES)}) or remove the folder"
        )
    if loose := next((name for name in listed if "/" not in name), None):
        raise DataError(f"{listed[loose]} lies in no class folder; expected {LAYOUTS}")
    return _labelled({name: name.split("/", 1)[0] for name in listed}, listed, folder)


def _photos(folder: Path, names: Iterable[str]) -> tuple[dict[str, str] | None, list[str]]:
    """Return the photos under the first of ``names`` (folder or zip), and its empty folders."""
    for name in names:
        if (inner := folder / name).is_dir():
            listed = _only_photos(list_folder(inner))
            filled = {found.split("/", 1)[0] for found in listed}
            folders = sorted(entry.name for entry in inner.iterdir() if entry.is_dir())
            return listed, [each for each in folders if each not in filled and not is_junk(each)]
        if (archive := folder / f"{name}.zip").is_file():
            listed = _only_photos(list_zip(archive))
            # Packed with its own folder (train/0/a.jpg) or without (0/a.jpg).
            tops = {found.split("/", 1)[0] for found in listed if "/" in found}
            if len(tops) == 1 and tops & {name, *names} and all("/" in found for found in listed):
                listed = {found.split("/", 1)[1]: path for found, path in listed.items()}
            return listed, []
    return None, []


def _only_photos(listed: Mapping[str, str]) -> dict[str, str]:
    photos = {name: path for name, path in listed.items() if name.lower().endswith(SUFFIXES)}
    for name in photos:
        # Python reads an undecodable byte of a file name as a lone surrogate; no table takes it.
        if not name.isprintable() and any("\ud800" <= letter <= "\udfff" for letter in name):
            raise DataError(f"the file name {name!r} is not UTF-8; rename the file")
    return photos


def _from_table(table: Path, listed: Mapping[str, str]) -> Catalog:
    by_name: dict[str, list[str]] = {}
    for name in listed:
        file = PurePosixPath(name)
        for key in {name, file.name, file.stem}:
            by_name.setdefault(key, []).append(name)
    said: dict[str, str] = {}
    where: dict[str, str] = {}
    folder_of: dict[str, str] = {}
    taken: dict[str, str] = {}
    for number, (key, label) in _rows(table, by_name, "class", "Id,Category"):
        found = by_name.get(key, [])
        if len(found) > 1:
            found = [name for name in found if name.startswith(f"{label}/")] or found
        if not found:
            raise DataError(
                f"{table.name} row {number}: there is no photo {key!r} under {table.parent}; "
                "add the photo or remove the row"
            )
        if len(found) > 1:
            raise DataError(
                f"{table.name} row {number}: {key!r} may be {found[0]} or {found[1]}; "
                "write the path below train/ as the id"
            )
        if found[0] in taken:
            raise DataError(
                f"{table.name} row {number}: {key!r} is the same photo as {taken[found[0]]!r}; "
                "remove one"
            )
        taken[found[0]] = key
        said[key], where[key] = label, listed[found[0]]
        if "/" in found[0]:
            folder_of[key] = found[0].split("/", 1)[0]
    # Folders named like the classes are a second opinion; where the two differ, one is wrong.
    if set(folder_of.values()) <= set(said.values()):
        for key, name in folder_of.items():
            if said[key] != name:
                raise DataError(
                    f"photo {key!r} has the class {said[key]!r} in {table.name} but lies in the "
                    f"folder {name!r}; correct one of them"
                )
    unlisted = len(listed) - len(taken)
    if unlisted:
        log.warning("%d photos under train are not in %s: not used", unlisted, table.name)
    return _labelled(said, where, table.parent)


def _grouped(catalog: Catalog, table: Path) -> Catalog:
    known = set(catalog.ids)
    said: dict[str, str] = {}
    for number, (key, group) in _rows(table, known, "group", "Id,Group"):
        if key not in known:
            raise DataError(
                f"{table.name} row {number}: there is no training photo {key!r}"
                f"{near(key, catalog.ids)}; correct the id or remove the row"
            )
        said[key] = group
    # Groups are often named after one of their photos; without its own row it would be apart.
    if alone := (set(said.values()) & known) - set(said):
        raise DataError(
            f"{table.name} has a group {min(alone)!r} and no row for the photo of that name; "
            "add its row, or rename the group"
        )
    return dataclasses.replace(catalog, groups=tuple(said.get(key, key) for key in catalog.ids))


def _rows(
    table: Path, photos: Container[str], second: str, header: str
) -> list[tuple[int, tuple[str, str]]]:
    """Return (row number in the file, (id, ``second``)) of a CSV, less its header."""
    try:
        with open(table, newline="", encoding="utf-8-sig") as file:
            rows = [(n, row) for n, row in enumerate(csv.reader(file), 1) if any(row)]
    except UnicodeDecodeError as error:
        raise DataError(f"cannot read {table}: {error}; save it as UTF-8") from error
    except (OSError, csv.Error) as error:
        raise DataError(f"cannot read {table}: {error}") from error
    for number, row in rows:
        if len(row) < 2 or not row[0].strip() or not row[1].strip():
            raise DataError(
                f"{table.name} row {number}: needs an id and a {second}, separated by a comma; "
                f"received {','.join(row)!r}"
            )
    if len(rows) < 2:
        raise DataError(
            f"{table} must begin with a header row such as {header} and hold a row a photo"
        )
    (_, (first, *_)), *kept = [(number, (row[0].strip(), row[1].strip())) for number, row in rows]
    if first in photos or first.lower().endswith(SUFFIXES):
        raise DataError(
            f"{table.name} begins with the photo {first!r}; add a header row such as {header}"
        )
    seen: set[str] = set()
    for number, (key, _) in kept:
        if key in seen:
            raise DataError(f"{table.name} row {number}: {key!r} stands there twice; remove one")
        seen.add(key)
    return kept


def _labelled(said: Mapping[str, str], where: Mapping[str, str], folder: Path) -> Catalog:
    names = set(said.values())
    numeric = all(name.isdecimal() for name in names)
    classes = tuple(sorted(names, key=lambda name: (int(name), name) if numeric else (0, name)))
    numbers = {name: number for number, name in enumerate(classes)}
    ids = tuple(sorted(said))
    return Catalog(
        ids=ids,
        paths=tuple(where[key] for key in ids),
        classes=classes,
        labels=tuple(numbers[said[key]] for key in ids),
    )
