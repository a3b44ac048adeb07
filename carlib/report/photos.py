"""The validation photos that a report shows: the worst ones, and those of confused classes."""

from __future__ import annotations

import io
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from carlib.catalog import Catalog
from carlib.errors import DataError
from carlib.images import read_photo
from carlib.report.tables import confusion_counts
from carlib.style.text import url
from carlib.submission import Predictions

WORST = 24  # photos in the grid
PAIRS = 8  # of confused classes
OF_A_PAIR = 5  # photos
THUMBNAIL = 160  # px of the longer side; shown at about 140


@dataclass(frozen=True, slots=True, eq=False)
class Photo:
    """A validation photo; ``why`` says why it has no thumbnail."""

    id: str
    true: str
    predicted: str
    of_true: float
    of_predicted: float
    thumbnail: NDArray[Any] | None
    why: str

    @property
    def url(self) -> str:
        from PIL import Image

        if self.thumbnail is None:
            return ""
        content = io.BytesIO()
        Image.fromarray(self.thumbnail).save(content, "JPEG", quality=82, optimize=True)
        return url(content.getvalue(), "jpeg")


@dataclass(frozen=True, slots=True, eq=False)
class Pair:
    """Two classes of which one is often taken for the other.

    Args:
        true: Class of the photos.
        number: Of that class.
        predicted: What they were taken for.
        taken_for: Number of that class.
        times: How many of them.
        of: Photos of the true class.
        photos: The surest of these mistakes, OF_A_PAIR at the most.
    """

    true: str
    number: int
    predicted: str
    taken_for: int
    times: int
    of: int
    photos: tuple[Photo, ...]


def worst(predictions: Predictions | None, photos: Catalog | None) -> list[Photo]:
    """Return the validation photos of highest loss, with thumbnails."""
    if predictions is None or predictions.labels is None or photos is None:
        return []
    of_true = predictions.probabilities[np.arange(len(predictions.ids)), list(predictions.labels)]
    places = np.argsort(of_true, kind="stable")[:WORST]  # loss is -log of it
    return _shown(predictions, photos, places)


def confused(predictions: Predictions | None, photos: Catalog | None) -> list[Pair]:
    """Return the pairs of classes that were confused most often, with photos."""
    if predictions is None or predictions.labels is None or photos is None:
        return []
    counts = confusion_counts(predictions)
    wrong = counts * (1 - np.eye(len(counts), dtype=int))
    labels, guesses = np.array(predictions.labels), predictions.probabilities.argmax(axis=1)
    pairs = []
    for flat in np.argsort(-wrong, axis=None, kind="stable")[:PAIRS]:
        true, guess = divmod(int(flat), len(counts))
        if not wrong[true, guess]:
            break
        places = np.flatnonzero((labels == true) & (guesses == guess))
        surest = np.argsort(-predictions.probabilities[places, guess], kind="stable")
        pairs.append(
            Pair(
                predictions.classes[true],
                true,
                predictions.classes[guess],
                guess,
                int(wrong[true, guess]),
                int(counts[true].sum()),
                tuple(_shown(predictions, photos, places[surest[:OF_A_PAIR]])),
            )
        )
    return pairs


def _shown(predictions: Predictions, photos: Catalog, places: NDArray[Any]) -> list[Photo]:
    assert predictions.labels is not None
    paths = dict(zip(photos.ids, photos.paths, strict=True))
    shown = []
    for place in places:
        true, guess = predictions.labels[place], predictions.probabilities[place].argmax()
        thumbnail, why = _thumbnail(paths.get(predictions.ids[place]))
        shown.append(
            Photo(
                id=predictions.ids[place],
                true=predictions.classes[true],
                predicted=predictions.classes[guess],
                of_true=float(predictions.probabilities[place, true]),
                of_predicted=float(predictions.probabilities[place, guess]),
                thumbnail=thumbnail,
                why=why,
            )
        )
    return shown


def _thumbnail(path: str | None) -> tuple[NDArray[Any] | None, str]:
    """Return the whole photo made small, or None and why."""
    from PIL import Image

    if path is None:
        return None, "no path given"
    try:
        small = Image.fromarray(read_photo(str(path)))
    except (DataError, OSError, ValueError):  # ValueError: a path that no system allows
        return None, "cannot be read"
    small.thumbnail((THUMBNAIL, THUMBNAIL))
    return np.asarray(small), ""
