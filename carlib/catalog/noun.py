"""The Catalog: photos, their labels, groups and origins, and the digest of it all."""

from __future__ import annotations

import dataclasses
import hashlib
import json
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any, TypeVar

from carlib.archives import fingerprint
from carlib.errors import UsageError, suggestion
from carlib.progress import progress

Found = TypeVar("Found")


@dataclass(frozen=True, slots=True)
class Catalog:
    """Photos and what is known of them, in the order of their ids.

    Args:
        ids: N different names, as they stand in train.csv or the sample submission.
        paths: N paths; ``train.zip!/train/0/a.jpg`` for a zip's member.
        classes: C class names; () for photos without labels.
        labels: N class numbers, or None.
        groups: N group names, photos of one car or one burst, or None.
        origins: N names of the set that a photo came from, "" for the own one, or None where
            all are its own. Photos of another set only train (``merge``).

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
    origins: tuple[str, ...] | None = None

    def __post_init__(self) -> None:
        for name in ("paths", "labels", "groups", "origins"):
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
            for name in ("ids", "paths", "labels", "groups", "origins")
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
            raise UsageError(f"cannot exclude {name!r}: no such photo{near(name, self.ids)}")
        return self.take(n for n, name in enumerate(self.ids) if name not in gone)

    def counts(self) -> dict[str, int]:
        """Return photos a class."""
        found = Counter(self.labels or ())
        return {name: found[number] for number, name in enumerate(self.classes)}

    def digest(self) -> str:
        """Return the SHA-256 over ids, labels, content, groups and origins, as 64 hex digits.

        Paths are left out: the same photos under another mount, in another order or
        still zipped have the same digest. Content counts by its size and CRC-32.
        """
        contents = of_each(self.paths, fingerprint)
        labels = [self.classes[n] for n in self.labels] if self.labels else [""] * len(self)
        photos = [
            [name, label, *content]
            for name, label, content in zip(self.ids, labels, contents, strict=True)
        ]
        said: list[Any] = [list(self.classes), sorted(photos)]
        # Only what a split depends on: a catalog without groups keeps the digest it always had.
        if self.groups is not None:
            said.append(["groups", sorted(zip(self.ids, self.groups, strict=True))])
        if self.origins is not None and any(self.origins):
            said.append(["origins", sorted(zip(self.ids, self.origins, strict=True))])
        return hashlib.sha256(json.dumps(said, separators=(",", ":")).encode()).hexdigest()


def of_each(paths: Sequence[str], read: Callable[[str], Found]) -> list[Found]:
    """Return ``read`` of each path, in order, read by several threads, with progress."""
    with ThreadPoolExecutor() as pool:
        found = pool.map(read, paths)
        return list(progress(found, total=len(paths), desc="reading photos", unit="photo"))


def near(name: str, known: Iterable[str]) -> str:
    """Return "; did you mean ...?" for an id, or "" where none is near; never all of them.

    >>> near("photo1.png", ["photo10.png", "b.png"])
    "; did you mean 'photo10.png'?"
    """
    return suggestion(name, known).partition(" Known:")[0].rstrip(".")
