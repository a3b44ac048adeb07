"""Draws one photo of the sample set, and writes the whole set in the competition's layout."""

from __future__ import annotations

import hashlib
import json
import zipfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import cv2
import numpy as np

from carlib.errors import UsageError, look_up
from carlib.files import whole_folder
from carlib.progress import progress
from carlib.sample.cars import draw_car
from carlib.sample.models import MODELS
from carlib.sample.scenes import background, before, camera, random_look
from carlib.sample.shapes import Body
from carlib.sample.view import Canvas, aimed

DRAWING = 1  # goes up whenever the same arguments come to give other photos
PARTS = {"train": "train", "test": "test_upload"}  # by name, the folder inside set and archive
TABLES = ("train.csv", "sample-submission.csv", "test-labels.csv")
MARKER = "sample.json"
CARS = tuple(Body(model) for model in MODELS)

Photo = tuple[str, int, int]  # id, label, number


def _random(seed: int, part: str, label: int, number: int, *more: int) -> np.random.Generator:
    return np.random.default_rng([seed, list(PARTS).index(part), label, number, *more])


def draw(label: int, number: int, *, seed: int = 0, part: str = "train") -> Canvas:
    """Draw one photo, as it is before JPEG: uint8 RGB, (height, width, 3).

    The photo is a function of the four arguments alone. Paint, place, light and
    surroundings say nothing of the label; the shape of the car does.

    Args:
        label: Which model, 0 to 9, in the order of ``carlib.sample.models.MODELS``.
        number: Which photo of it, from 0.
        seed: Of the set, 0 or more. Defaults to 0.
        part: "train" or "test". Defaults to "train".

    Raises:
        UsageError: No such model or part, or a negative number or seed.

    >>> draw(3, 0).shape
    (169, 233, 3)
    """
    look_up(PARTS, part, "part of the sample set")
    if not 0 <= label < len(CARS):
        raise UsageError(f"no car model {label}: choose a label from 0 to {len(CARS) - 1}")
    if number < 0 or seed < 0:
        raise UsageError(f"number {number}, seed {seed}: neither may be negative")
    rng = _random(seed, part, label, number)
    car = CARS[label]
    width = int(rng.integers(160, 261))
    size = (width, round(width / rng.uniform(1.2, 1.6)))
    large = (2 * size[0], 2 * size[1])  # drawn twice as large: smooth edges
    view = aimed(rng, large, car.hull(), close=rng.uniform(0.80, 1.03))
    look = random_look(rng)
    canvas = background(rng, view, large)
    draw_car(car, canvas, view, look)
    before(rng, canvas)
    return camera(rng, canvas, size)


def _jpeg(photo: Canvas, quality: int) -> bytes:
    bgr = np.ascontiguousarray(photo[..., ::-1])
    return cv2.imencode(".jpg", bgr, [cv2.IMWRITE_JPEG_QUALITY, quality])[1].tobytes()


def _listed(seed: int, part: str, classes: int, count: int) -> list[Photo]:
    """Return the photos of a part in the order of their ids, which is random in the classes."""
    photos = []
    for label in range(classes):
        for number in range(count):
            key = f"{seed} {part} {label} {number}".encode()
            photos.append((f"{hashlib.sha256(key).hexdigest()[:12]}.jpg", label, number))
    return sorted(photos)


def _table(rows: list[tuple[str, int]]) -> bytes:
    return "".join(["Id,Category\n", *(f"{name},{label}\n" for name, label in rows)]).encode()


@contextmanager
def _folder_or_zip(folder: Path, part: str, zipped: bool) -> Iterator[Callable[[str, bytes], None]]:
    """Yield what stores one photo, by its name below the part's folder."""
    if not zipped:

        def store(name: str, content: bytes) -> None:
            path = folder / PARTS[part] / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(content)

        (folder / PARTS[part]).mkdir()
        yield store
        return
    with zipfile.ZipFile(folder / f"{part}.zip", "w", zipfile.ZIP_STORED) as archive:

        def add(name: str, content: bytes) -> None:
            entry = zipfile.ZipInfo(f"{PARTS[part]}/{name}")  # dated 1980-01-01: equal bytes
            entry.create_system, entry.external_attr = 3, 0o644 << 16
            archive.writestr(entry, content)

        yield add


def _finished(folder: Path, made: dict[str, object]) -> bool:
    """Return whether ``folder`` holds this very set; False where there is still nothing.

    Raises:
        UsageError: Something else lies there.
    """
    if not folder.exists() or (folder.is_dir() and not any(folder.iterdir())):
        return False
    photos = ("train.zip", "test.zip") if made["zipped"] else tuple(PARTS.values())
    try:
        there = json.loads((folder / MARKER).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        there = None
    if there == made and all((folder / name).exists() for name in (*photos, *TABLES)):
        return True
    raise UsageError(
        f"{folder} is there and is not this very sample set: choose an empty or a new folder"
    )


def _write(
    folder: Path, made: dict[str, object], listed: dict[str, list[Photo]], seed: int, zipped: bool
) -> None:
    """Write everything into the new ``folder``."""
    labels = {part: [(name, label) for name, label, _ in photos] for part, photos in listed.items()}
    blank = [(name, 0) for name, _ in labels["test"]]
    for table, rows in zip(TABLES, (labels["train"], blank, labels["test"]), strict=True):
        (folder / table).write_bytes(_table(rows))
    total = sum(len(photos) for photos in listed.values())
    with progress(total=total, desc="drawing photos", unit="photo") as done:
        for part, photos in listed.items():
            with _folder_or_zip(folder, part, zipped) as store:
                for name, label, number in photos:
                    quality = int(_random(seed, part, label, number, 1).integers(55, 96))
                    content = _jpeg(draw(label, number, seed=seed, part=part), quality)
                    store(f"{label}/{name}" if part == "train" else name, content)
                    done.update()
    (folder / MARKER).write_bytes((json.dumps(made, indent=2) + "\n").encode())


def write_sample(
    folder: Path | str,
    *,
    classes: int = 10,
    per_class: int = 60,
    test_per_class: int = 20,
    seed: int = 0,
    zipped: bool = False,
) -> Path:
    """Write the sample set in the competition's layout and return its folder.

    ``train/<class>/<id>.jpg`` with ``train.csv``, ``test_upload/<id>.jpg`` with
    ``sample-submission.csv``, and the true labels of the test photos in
    ``test-labels.csv``; all tables have the columns Id and Category, in an order
    random in the classes. A photo's bytes and id do not depend on the counts; they
    are the same wherever the versions of NumPy and OpenCV are. The set takes its
    name when it is whole. Where the very same set lies already, nothing is done.

    Args:
        folder: New or empty.
        classes: Car models, 2 to 10. Defaults to 10.
        per_class: Train photos of each, 2 or more. Defaults to 60.
        test_per_class: Test photos of each, 0 or more. Defaults to 20.
        seed: 0 or more; another seed gives another set. Defaults to 0.
        zipped: Put the photos into ``train.zip`` and ``test.zip`` instead. Defaults to False.

    Raises:
        UsageError: A count or seed that is not allowed, or a place where something else lies.

    >>> import tempfile
    >>> place = Path(tempfile.mkdtemp()) / "cars"
    >>> folder = write_sample(place, classes=2, per_class=2, test_per_class=1)
    >>> (folder / "sample-submission.csv").read_text().splitlines()
    ['Id,Category', '01f58bd62172.jpg,0', '2f96b869ebe0.jpg,0']
    """
    if not 2 <= classes <= len(MODELS):
        raise UsageError(f"classes {classes}: choose 2 to {len(MODELS)}")
    if per_class < 2:
        raise UsageError(f"per_class {per_class}: choose 2 or more train photos a class")
    if test_per_class < 0:
        raise UsageError(f"test_per_class {test_per_class}: choose 0 or more test photos a class")
    if seed < 0:
        raise UsageError(f"seed {seed}: choose 0 or more")
    made: dict[str, object] = {
        "what": "carlib sample set",
        "drawing": DRAWING,
        "classes": [model.name for model in MODELS[:classes]],
        "per_class": per_class,
        "test_per_class": test_per_class,
        "seed": seed,
        "zipped": zipped,
    }
    goal = Path(folder).resolve()
    if _finished(goal, made):
        return Path(folder)
    counts = {"train": per_class, "test": test_per_class}
    listed = {part: _listed(seed, part, classes, count) for part, count in counts.items()}
    with whole_folder(goal) as aside:
        _write(aside, made, listed, seed, zipped)
    return Path(folder)
