"""An external set of photos added to a catalog, for training only."""

from __future__ import annotations

import dataclasses
import logging

from carlib.archives import fingerprint
from carlib.catalog.noun import Catalog, of_each
from carlib.errors import DataError, UsageError, suggestion

log = logging.getLogger("carlib")


def merge(
    catalog: Catalog, external: Catalog, name: str = "external", *, against: Catalog | None = None
) -> Catalog:
    """Return the catalog with the photos of another set, which train and never validate.

    A photo with the content (size and CRC-32) of an own one, of one in ``against`` or of an
    external one before it is left out: a copy of a validation photo in training would make
    validation look better than it is.

    Args:
        catalog: The own photos, with labels.
        external: The other set's photos, with labels; their class names are among the own ones.
        name: Of the other set; its ids become "name/id", its origin is ``name``.
            Defaults to "external".
        against: More photos whose copies are left out, such as the test set's.

    Where either has groups, a photo without one is its own group; a group name that both sets
    have is one group.

    Raises:
        UsageError: No labels, a class that the own photos do not have, a name that is empty or
            has a slash in it, or one that makes an id twice.

    >>> own = Catalog(("a", "b"), ("a.jpg", "b.jpg"), ("cat", "dog"), (0, 1))
    >>> merged = merge(own, Catalog(("a",), ("more/a.jpg",), ("dog",), (0,)))
    >>> merged.ids, merged.labels, merged.origins
    (('a', 'b', 'external/a'), (0, 1, 1), ('', '', 'external'))
    """
    if not name or "/" in name:
        raise UsageError(f"merge: name must be a text without a slash; received {name!r}")
    if catalog.labels is None or external.labels is None:
        raise UsageError("merge needs labels, and one of these catalogs has none")
    numbers = {each: number for number, each in enumerate(catalog.classes)}
    for each in (external.classes[label] for label in external.labels):
        if each not in numbers:
            raise UsageError(
                f"the photos of {name!r} have the class {each!r}, which the own photos do not; "
                f"rename it or leave it out{suggestion(each, catalog.classes)}"
            )
    more = external.take(_new(catalog, external, against))
    assert more.labels is not None
    if copies := len(external) - len(more):
        log.warning("%d photos of %r are copies of photos known already: not used", copies, name)
    ids = tuple(f"{name}/{each}" for each in more.ids)
    if twice := set(ids) & set(catalog.ids):
        raise UsageError(
            f"merge: there already is a photo {min(twice)!r}; choose another name than {name!r}"
        )
    groups = None
    if catalog.groups is not None or more.groups is not None:
        groups = (catalog.groups or catalog.ids) + (more.groups or ids)
    return dataclasses.replace(
        catalog,
        ids=catalog.ids + ids,
        paths=catalog.paths + more.paths,
        labels=catalog.labels + tuple(numbers[more.classes[label]] for label in more.labels),
        groups=groups,
        origins=(catalog.origins or ("",) * len(catalog)) + (name,) * len(more),
    )


def _new(catalog: Catalog, external: Catalog, against: Catalog | None) -> list[int]:
    """Return the positions of the external photos whose content is not there yet."""
    known = catalog.paths + (against.paths if against else ())
    contents = of_each(known + external.paths, _content)
    seen = set(contents[: len(known)])
    kept = []
    for number, content in enumerate(contents[len(known) :]):
        if content is None or content not in seen:
            kept.append(number)
        seen.add(content)
    return kept


def _content(path: str) -> tuple[int, int] | None:
    try:
        return fingerprint(path)
    except DataError:
        return None  # the audit before training lists it with its reason
