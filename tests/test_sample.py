"""The sample set: laid out like the competition, the same every time, and not won by colours."""

from __future__ import annotations

import csv
import errno
import re
import zipfile
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import pytest

import carlib.sample
from carlib.errors import CarlibError, UsageError
from carlib.sample import draw, write_sample
from carlib.sample import write as room

CLASSES, PER_CLASS, TEST_PER_CLASS = 10, 60, 20


def table(path: Path) -> list[tuple[str, str]]:
    with path.open(newline="") as file:
        rows = [tuple(row) for row in csv.reader(file)]
    assert rows[0] == ("Id", "Category")
    return rows[1:]


def content(folder: Path) -> dict[str, bytes]:
    files = (path for path in folder.rglob("*") if path.is_file())
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in files}


def small(folder: Path, **options: object) -> Path:
    return write_sample(folder, **{"classes": 3, "per_class": 3, "test_per_class": 2, **options})


@pytest.fixture(scope="module")
def cars(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The set of the default size."""
    return write_sample(tmp_path_factory.mktemp("sample") / "deep" / "cars")


@pytest.fixture(scope="module")
def photos(cars: Path) -> dict[str, tuple[list[np.ndarray], np.ndarray]]:
    """Photos and labels by part, as a reader of the set gets them."""
    train, test = table(cars / "train.csv"), table(cars / "test-labels.csv")
    read = {
        "train": [cv2.imread(str(cars / "train" / label / name)) for name, label in train],
        "test": [cv2.imread(str(cars / "test_upload" / name)) for name, _ in test],
    }
    labels = {"train": train, "test": test}
    return {part: (read[part], np.array([int(row[1]) for row in labels[part]])) for part in read}


# ---- layout


def test_layout(cars: Path) -> None:
    assert sorted(path.name for path in cars.iterdir()) == [
        "sample-submission.csv",
        "sample.json",
        "test-labels.csv",
        "test_upload",
        "train",
        "train.csv",
    ]
    assert sorted(path.name for path in (cars / "train").iterdir()) == list("0123456789")
    assert [path.name for path in cars.parent.iterdir()] == ["cars"]  # nothing left aside


def test_every_row_has_its_photo_and_every_photo_its_row(cars: Path) -> None:
    train = {f"{label}/{name}" for name, label in table(cars / "train.csv")}
    test = {name for name, _ in table(cars / "test-labels.csv")}
    assert train == set(content(cars / "train"))
    assert test == set(content(cars / "test_upload"))
    assert len(train) == CLASSES * PER_CLASS
    assert len(test) == CLASSES * TEST_PER_CLASS


def test_submission_has_the_test_ids_in_order_and_no_labels(cars: Path) -> None:
    blank, labels = table(cars / "sample-submission.csv"), table(cars / "test-labels.csv")
    assert [name for name, _ in blank] == [name for name, _ in labels]
    assert {label for _, label in blank} == {"0"}


@pytest.mark.parametrize(
    ("name", "count"), [("train.csv", PER_CLASS), ("test-labels.csv", TEST_PER_CLASS)]
)
def test_labels_are_complete_and_mixed(cars: Path, name: str, count: int) -> None:
    labels = np.array([int(label) for _, label in table(cars / name)])
    assert np.bincount(labels).tolist() == [count] * CLASSES
    assert (np.diff(labels) != 0).mean() > 0.8  # sorted by class: 0.015; at random: 0.9


def test_ids_are_unique_over_the_whole_set_and_hexadecimal(cars: Path) -> None:
    ids = [name for file in ("train.csv", "test-labels.csv") for name, _ in table(cars / file)]
    assert len(set(ids)) == len(ids)
    assert all(re.fullmatch(r"[0-9a-f]{12}\.jpg", name) for name in ids)


def test_photos_vary_in_size_and_are_not_square(photos) -> None:
    sizes = np.array([photo.shape[:2] for photo in photos["train"][0]])
    assert 160 <= sizes[:, 1].min() < sizes[:, 1].max() <= 260
    aspect = sizes[:, 1] / sizes[:, 0]
    assert aspect.min() > 1.15
    assert aspect.max() < 1.65
    assert all(photo.dtype == np.uint8 and photo.shape[2] == 3 for photo in photos["train"][0])


def test_without_test_photos(tmp_path: Path) -> None:
    folder = small(tmp_path / "cars", test_per_class=0)
    assert table(folder / "test-labels.csv") == []
    assert list((folder / "test_upload").iterdir()) == []


# ---- the same every time


def test_photos_do_not_depend_on_the_counts(cars: Path, tmp_path: Path) -> None:
    whole, few = content(cars), content(small(tmp_path / "few"))
    jpegs = {name for name in few if name.endswith(".jpg")}
    assert len(jpegs) == 3 * (3 + 2)
    assert {name: whole[name] for name in jpegs} == {name: few[name] for name in jpegs}
    assert set(table(tmp_path / "few" / "train.csv")) < set(table(cars / "train.csv"))


@pytest.mark.parametrize("zipped", [False, True])
def test_equal_seeds_give_equal_bytes(tmp_path: Path, zipped: bool) -> None:
    one, two = (content(small(tmp_path / name, zipped=zipped)) for name in ("one", "two"))
    assert one == two


def test_another_seed_gives_other_photos_and_ids(tmp_path: Path) -> None:
    one, two = (content(small(tmp_path / str(seed), seed=seed)) for seed in (0, 1))
    jpegs = [{name: data for name, data in s.items() if name.endswith(".jpg")} for s in (one, two)]
    assert not set(jpegs[0]) & set(jpegs[1])
    assert not set(jpegs[0].values()) & set(jpegs[1].values())


@pytest.mark.parametrize(
    ("label", "options"),
    [(1, {}), (0, {"seed": 1}), (0, {"part": "test"})],
    ids=["label", "seed", "part"],
)
def test_each_argument_changes_the_photo(label: int, options: dict) -> None:
    photo = draw(0, 0)
    np.testing.assert_array_equal(photo, draw(0, 0))
    other = draw(label, 0, **options)
    assert photo.shape != other.shape or (photo != other).mean() > 0.5
    assert photo.shape != draw(0, 1).shape


def test_the_file_is_the_drawing_and_its_jpeg(tmp_path: Path) -> None:
    folder = write_sample(tmp_path / "cars", classes=2, per_class=2, test_per_class=0)
    files = [cv2.imread(str(path))[..., ::-1] for path in (folder / "train" / "1").iterdir()]
    drawn = [draw(1, number) for number in (0, 1)]
    assert {photo.shape for photo in files} == {photo.shape for photo in drawn}
    for photo in drawn:
        (same,) = (file for file in files if file.shape == photo.shape)
        assert np.abs(same.astype(int) - photo).mean() < 12  # swapped channels: far more


def test_global_random_state_is_left_alone() -> None:
    before = np.random.get_state()[1].copy()
    draw(4, 2)
    np.testing.assert_array_equal(before, np.random.get_state()[1])


# ---- archives


def test_zipped_set_holds_the_same_photos(tmp_path: Path) -> None:
    plain = content(small(tmp_path / "plain"))
    folder = small(tmp_path / "zipped", zipped=True)
    inside = {}
    for part in ("train", "test"):
        with zipfile.ZipFile(folder / f"{part}.zip") as archive:
            for entry in archive.infolist():
                assert entry.compress_type == zipfile.ZIP_STORED
                assert entry.date_time == (1980, 1, 1, 0, 0, 0)
                inside[entry.filename] = archive.read(entry)
    assert inside == {name: data for name, data in plain.items() if name.endswith(".jpg")}
    tables = {path.name for path in folder.iterdir()} - {"train.zip", "test.zip"}
    assert tables == {"train.csv", "sample-submission.csv", "test-labels.csv", "sample.json"}


def test_order_inside_an_archive_reveals_no_class(tmp_path: Path) -> None:
    folder = small(tmp_path / "cars", test_per_class=8, zipped=True)
    with zipfile.ZipFile(folder / "test.zip") as archive:
        names = [Path(name).name for name in archive.namelist()]
    assert names == [name for name, _ in table(folder / "test-labels.csv")] == sorted(names)


# ---- whole or not at all


def refuse(*args: object, **options: object) -> np.ndarray:
    raise AssertionError("nothing was to be drawn")


def test_the_same_set_again_is_left_as_it_is(tmp_path: Path, monkeypatch) -> None:
    folder = small(tmp_path / "cars")
    before = content(folder)
    monkeypatch.setattr(room, "draw", refuse)
    assert small(folder) == folder
    assert content(folder) == before


@pytest.mark.parametrize(
    "options",
    [{"classes": 4}, {"per_class": 4}, {"test_per_class": 3}, {"seed": 5}, {"zipped": True}],
    ids=lambda options: next(iter(options)),
)
def test_another_set_is_not_overwritten(tmp_path: Path, options: dict) -> None:
    folder = small(tmp_path / "cars")
    before = content(folder)
    with pytest.raises(UsageError, match="not this very sample set: choose an empty"):
        small(folder, **options)
    assert content(folder) == before


@pytest.mark.parametrize("name", ["notes.txt", "sample.json", "train.csv"])
@pytest.mark.parametrize("text", ["mine", "[1]"])
def test_foreign_files_are_not_overwritten(tmp_path: Path, name: str, text: str) -> None:
    (tmp_path / name).write_text(text)
    with pytest.raises(UsageError, match="choose an empty or a new folder"):
        small(tmp_path)
    assert content(tmp_path) == {name: text.encode()}


def test_a_set_that_lost_a_table_is_not_taken_for_whole(tmp_path: Path) -> None:
    folder = small(tmp_path / "cars")
    (folder / "test-labels.csv").unlink()
    with pytest.raises(UsageError, match="not this very sample set"):
        small(folder)


def test_a_file_in_place_of_the_folder(tmp_path: Path) -> None:
    place = tmp_path / "cars"
    place.write_text("mine")
    with pytest.raises(UsageError, match="choose an empty or a new folder"):
        small(place)
    assert place.read_text() == "mine"


def test_an_empty_folder_and_a_relative_name_are_fine(tmp_path: Path, monkeypatch) -> None:
    (tmp_path / "cars").mkdir()
    monkeypatch.chdir(tmp_path)
    assert small("cars") == Path("cars")
    assert (tmp_path / "cars" / "train.csv").is_file()


@pytest.mark.parametrize(
    ("raised", "seen", "message"),
    [
        (KeyboardInterrupt("stopped"), KeyboardInterrupt, "stopped"),
        (OSError(errno.ENOSPC, "No space left on device"), CarlibError, "no space left to write"),
    ],
    ids=["stopped", "full disk"],
)
def test_nothing_is_left_of_a_set_cut_short(
    tmp_path: Path, monkeypatch, raised: BaseException, seen: type, message: str
) -> None:
    drawn: list[int] = []

    def cut(label: int, number: int, **options: object) -> np.ndarray:
        if len(drawn) == 4:
            raise raised
        drawn.append(label)
        return draw(label, number, **options)

    monkeypatch.setattr(room, "draw", cut)
    with pytest.raises(seen, match=message):
        small(tmp_path / "cars")
    assert list(tmp_path.iterdir()) == []
    assert len(drawn) == 4


# ---- wrong usage


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"classes": 1}, "classes 1: choose 2 to 10"),
        ({"classes": 11}, "classes 11: choose 2 to 10"),
        ({"per_class": 1}, "per_class 1: choose 2 or more"),
        ({"test_per_class": -1}, "test_per_class -1: choose 0 or more"),
        ({"seed": -1}, "seed -1: choose 0 or more"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_bad_counts_are_refused(tmp_path: Path, options: dict, message: str) -> None:
    with pytest.raises(UsageError, match=message):
        small(tmp_path / "cars", **options)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("label", "number", "options", "message"),
    [
        (10, 0, {}, "no car model 10: choose a label from 0 to 9"),
        (-1, 0, {}, "no car model -1"),
        (0, -1, {}, "number -1, seed 0: neither may be negative"),
        (0, 0, {"seed": -2}, "number 0, seed -2: neither may be negative"),
        (0, 0, {"part": "tset"}, "unknown part of the sample set 'tset'; did you mean 'test'"),
    ],
)
def test_bad_drawings_are_refused(label: int, number: int, options: dict, message: str) -> None:
    with pytest.raises(UsageError, match=message):
        draw(label, number, **options)


def test_face() -> None:
    assert sorted(carlib.sample.__all__) == ["draw", "write_sample"]


# ---- not won by colours or small pictures


def histogram(space: int | None, top: int) -> Callable[[np.ndarray], np.ndarray]:
    def feature(photo: np.ndarray) -> np.ndarray:
        if space is not None:
            photo = cv2.cvtColor(photo, space)
        counts = cv2.calcHist([photo], [0, 1, 2], None, [8, 8, 8], [0, top, 0, 256, 0, 256])
        return counts.ravel() / counts.sum()

    return feature


def thumbnail(gray: bool, normalised: bool) -> Callable[[np.ndarray], np.ndarray]:
    def feature(photo: np.ndarray) -> np.ndarray:
        if gray:
            photo = cv2.cvtColor(photo, cv2.COLOR_BGR2GRAY)
        pixels = cv2.resize(photo, (16, 16), interpolation=cv2.INTER_AREA).astype(float).ravel()
        return (pixels - pixels.mean()) / pixels.std() if normalised else pixels

    return feature


def nearest(train: np.ndarray, labels: np.ndarray, test: np.ndarray, count: int) -> np.ndarray:
    """Return the vote of the ``count`` nearest train rows (L2) for each test row."""
    apart = (train**2).sum(1) + (test**2).sum(1)[:, None] - 2 * test @ train.T
    order = np.argsort(apart, axis=1, kind="stable")[:, :count]
    return np.array([np.bincount(votes).argmax() for votes in labels[order]])


@pytest.mark.parametrize("count", [1, 5])
@pytest.mark.parametrize(
    "feature",
    [
        histogram(None, 256),
        histogram(cv2.COLOR_BGR2HSV, 180),
        thumbnail(gray=False, normalised=False),
        thumbnail(gray=True, normalised=False),
        thumbnail(gray=False, normalised=True),
        thumbnail(gray=True, normalised=True),
    ],
    ids=["rgb", "hsv", "thumbnail", "gray", "thumbnail-normalised", "gray-normalised"],
)
def test_nearest_neighbours_fail(photos, feature: Callable, count: int) -> None:
    (train, labels), (test, truth) = photos["train"], photos["test"]
    rows = [np.array([feature(photo) for photo in part]) for part in (train, test)]
    assert (nearest(rows[0], labels, rows[1], count) == truth).mean() < 0.4
    assert (nearest(rows[0], labels, rows[0], 1) == labels).mean() == 1.0  # the measure works
