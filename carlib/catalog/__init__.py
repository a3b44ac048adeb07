"""A folder, CSV or zip of photos to a Catalog; its split, folds, exclusions, merging, digest."""

from carlib.catalog.merging import merge
from carlib.catalog.noun import Catalog
from carlib.catalog.reading import find_test, read_catalog, read_exclusions, read_test
from carlib.catalog.splits import class_weights, fold, parted, split, thinned

__all__ = [
    "Catalog",
    "class_weights",
    "find_test",
    "fold",
    "merge",
    "parted",
    "read_catalog",
    "read_exclusions",
    "read_test",
    "split",
    "thinned",
]
