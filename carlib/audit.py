"""Every photo opened once before hours are spent: which ones cannot be used, and why."""

from __future__ import annotations

from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

from carlib.catalog import Catalog
from carlib.errors import DataError
from carlib.images import read_photo
from carlib.progress import progress


@dataclass(frozen=True, slots=True)
class Fault:
    """A photo that cannot be used."""

    id: str
    path: str
    reason: str


def audit(catalog: Catalog) -> tuple[Fault, ...]:
    """Return the photos that cannot be decoded, in catalog order.

    Decodes each photo exactly as training does, on all cores.

    >>> audit(Catalog(("a",), ("missing.jpg",)))[0].reason
    'cannot read missing.jpg: No such file or directory'
    """
    pairs = list(zip(catalog.ids, catalog.paths, strict=True))
    with ThreadPoolExecutor() as pool:
        checked: Iterable[Fault | None] = pool.map(lambda pair: _check(*pair), pairs)
        faults = list(progress(checked, total=len(pairs), desc="checking photos", unit="photo"))
    return tuple(fault for fault in faults if fault)


def _check(name: str, path: str) -> Fault | None:
    try:
        read_photo(path)
    except DataError as error:
        return Fault(name, path, str(error))
    return None
