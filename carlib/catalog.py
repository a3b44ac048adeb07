"""A folder, CSV or zip of photos to a Catalog; its split, exclusions and digest."""

from __future__ import annotations

import csv
import dataclasses
import hashlib
import json
import logging
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any

from carlib.archives import fingerprint, is_junk, list_folder, list_zip
from carlib.errors import DataError, UsageError, suggestion
from carlib.progress import progress

log = logging.getLogger("carlib")

SUFFIXES = (".jpg", ".jpeg", ".png", ".bmp", ".webp", ".gif", ".tif", ".tiff")
TEST_NAMES = ("test_upload", "test")
LAYOUTS = "train/<class>/*.jpg, or train.csv (Id, Category) with photos under train/, or train.zip"


@dataclass(frozen=True, slots=True)
class Catalog:
    """Photos and what is known of them, in the order of their ids.

    Args:
        ids: N different names, as they stand in train.csv or the sample submission.
        paths: N paths; ``train.zip!/train/0/a.jpg`` for a zip's member.
        classes: C class names; () for photos without labels.
        labels: N class numbers, or None.
        groups: N group names, photos of one car or one burst, or None.

    Raises:
        UsageError: Lengths that differ, ids twice, label numbers without a class.

    >>> Catalog(("a",), ("a.jpg",), ("cat", "dog"), (1,)).counts()
    {'cat': 0, 'dog': 1}
    """

    ids: tuple[str, ...]
    paths: tuple[str, ...]
    classes: tuple[str, ...] = ()
    labels: tuple[int, ...] | None = None
    groups: tuple[str, ...] | None = None

    def __post_init__(self) -> None:
        for name in ("paths", "labels", "groups"):
            values = getattr(self, name)
            if values is not None and len(values) != len(self.ids):
                raise UsageError(f"Catalog: {len(values)} {name} for {len(self.ids)} ids")
        if len(set(self.ids)) < len(self.ids):
            twice = Counter(self.ids).most_common(1)[0][0]
            raise UsageError(f"Catalog: ids must differ; {twice!r} occurs twice")
        if self.labels is not None and not all(0 <= n < len(self.classes) for n in self.labels):
            raise UsageError(f"Catalog: labels must be numbers below {len(self.classes)}")

    def __len__(self) -> int:
        return len(self.ids)

    def take(self, numbers: Iterable[int]) -> Catalog:
        """Return the photos at these positions, in this order."""
        numbers = list(numbers)
        chosen: dict[str, Any] = {
            name: None if values is None else tuple(values[n] for n in numbers)
            for name in ("ids", "paths", "labels", "groups")
            for values in [getattr(self, name)]
        }
        return dataclasses.replace(self, **chosen)

    def without(self, ids: Iterable[str]) -> Catalog:
        """Return the catalog less these photos.

        Raises:
            UsageError: An id that is not in the catalog.
        """
        gone = set(ids)
        for name in sorted(gone - set(self.ids)):
            raise UsageError(f"cannot exclude {name!r}: no such photo{_near(name, self.ids)}")
        return self.take(n for n, name in enumerate(self.ids) if name not in gone)

    def counts(self) -> dict[str, int]:
        """Return photos a class."""
        found = Counter(self.labels or ())
        return {name: found[number] for number, name in enumerate(self.classes)}

    def digest(self) -> str:
        """Return the SHA-256 over ids, labels and content, as 64 hex digits.

        Paths are left out: the same photos under another mount, in another order or
        still zipped have the same digest. Content counts by its size and CRC-32.
        """
        with ThreadPoolExecutor() as pool:
            contents = list(
                progress(
                    pool.map(fingerprint, self.paths),
                    total=len(self),
                    desc="reading photos",
                    unit="photo",
                )
            )
        labels = [self.classes[n] for n in self.labels] if self.labels else [""] * len(self)
        said = [
            [name, label, *content]
            for name, label, content in zip(self.ids, labels, contents, strict=True)
        ]
        text = json.dumps([list(self.classes), sorted(said)], separators=(",", ":"))
        return hashlib.sha256(text.encode()).hexdigest()


def _near(name: str, known: Sequence[str]) -> str:
    return suggestion(name, known).partition(" Known:")[0].rstrip(".")


def read_catalog(folder: Path | str) -> Catalog:
    """Return the labelled photos of a data folder.

    Args:
        folder: Holds ``train/<class>/*.jpg``, or ``train.csv`` (first column id, second
            class) with the photos anywhere under ``train/``, or either inside ``train.zip``.

    Ids are the CSV's, or "class/file" without one. Classes are sorted, as numbers where
    all are whole numbers.

    Raises:
        DataError: No such folder or layout, an empty class, one class only, a CSV row
            without a photo, labels of CSV and folders that disagree, a damaged archive.
    """
    folder = _existing(folder)
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


def read_test(folder: Path | str) -> Catalog:
    """Return the photos to predict of a data folder.

    Args:
        folder: Holds ``test_upload/`` or ``test/``, or a zip of that name.

    Ids are file names, or paths below the folder where two files share a name.

    Raises:
        DataError: No such folder, or no photos in it.
    """
    folder = _existing(folder)
    listed, _ = _photos(folder, TEST_NAMES)
    if not listed:
        raise DataError(
            f"{folder} has no test photos; expected test_upload/ or test/, or a zip of that name"
        )
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


def split(catalog: Catalog, share: float, seed: int) -> tuple[Catalog, Catalog]:
    """Return (training, validation), stratified by class.

    A photo's place depends on the seed, its id and the other ids of its class only, and a
    smaller share's validation photos are among a larger one's: a clean-up or another
    share moves as few photos as it can.

    Args:
        catalog: With labels.
        share: Of each class's photos, rounded, but at least one; above 0 and below 1.
        seed: Another seed, another split.

    Raises:
        DataError: A class with fewer than two photos.
        UsageError: No labels, groups, or a share out of bounds.
    """
    if catalog.labels is None:
        raise UsageError("split needs labels, and this catalog has none")
    if catalog.groups is not None:
        raise UsageError("split does not keep groups together; give a catalog without groups")
    if not 0 < share < 1:
        raise UsageError(f"split: share must be above 0 and below 1; received {share!r}")
    chosen: list[int] = []
    for number, name in enumerate(catalog.classes):
        members = [n for n, label in enumerate(catalog.labels) if label == number]
        if len(members) < 2:
            raise DataError(
                f"class {name!r} has {len(members)} usable photo(s); it needs two, one to train "
                "on and one to validate: add photos or leave the class out"
            )
        members.sort(key=lambda n: hashlib.sha256(f"{seed}/{catalog.ids[n]}".encode()).digest())
        chosen += members[: min(max(1, round(len(members) * share)), len(members) - 1)]
    held = set(chosen)
    training = catalog.take(n for n in range(len(catalog)) if n not in held)
    return training, catalog.take(sorted(held))


def _existing(folder: Path | str) -> Path:
    folder = Path(folder)
    if not folder.is_dir():
        raise DataError(f"no such folder: {folder}; give the folder that holds {LAYOUTS}")
    return folder


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
    (_, (header, _)), *rows = _rows(table)
    if header in by_name or header.lower().endswith(SUFFIXES):
        raise DataError(
            f"{table.name} begins with the photo {header!r}; add a header row such as Id,Category"
        )
    for number, (key, label) in rows:
        if key in said:
            raise DataError(f"{table.name} row {number}: {key!r} stands there twice; remove one")
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


def _rows(table: Path) -> list[tuple[int, tuple[str, str]]]:
    """Return (row number in the file, (id, class)) of a CSV, its header first."""
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
                f"{table.name} row {number}: needs an id and a class, separated by a comma; "
                f"received {','.join(row)!r}"
            )
    if len(rows) < 2:
        raise DataError(
            f"{table} must begin with a header row such as Id,Category and hold a row a photo"
        )
    return [(number, (row[0].strip(), row[1].strip())) for number, row in rows]


def _labelled(said: Mapping[str, str], where: Mapping[str, str], folder: Path) -> Catalog:
    names = set(said.values())
    numeric = all(name.isdecimal() for name in names)
    classes = tuple(sorted(names, key=lambda name: (int(name), name) if numeric else (0, name)))
    if len(classes) < 2:
        raise DataError(
            f"{folder} has {len(classes)} class of training photos; a classifier needs two or more"
        )
    numbers = {name: number for number, name in enumerate(classes)}
    ids = tuple(sorted(said))
    return Catalog(
        ids=ids,
        paths=tuple(where[key] for key in ids),
        classes=classes,
        labels=tuple(numbers[said[key]] for key in ids),
    )
