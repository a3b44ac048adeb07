"""Predictions, and the submission checked against the sample submission."""

from __future__ import annotations

import csv
import dataclasses
import errno
import io
import logging
import os

import numpy as np
import pytest

from carlib.errors import CarlibError, DataError, UsageError
from carlib.submission import Predictions, find_sample_submission, write_submission

CLASSES = ("0", "NA", "sports, car")
IDS = ("b.jpg", "007.png", "ü 🚗.jpg", "a.b.jpg")
ROWS = np.array([[0.2, 0.5, 0.3], [0.6, 0.3, 0.1], [0, 0, 1], [0.1, 0.1, 0.8]], np.float32)
NAMES = ["NA", "0", "sports, car", "sports, car"]
PREDICTIONS = Predictions(IDS, CLASSES, ROWS, "run, phase all, epoch 3", (1, 0, 2, 0))


def same(one: Predictions, other: Predictions) -> bool:
    """Equal in everything; arrays have no plain ==."""
    fields = [
        entry.name for entry in dataclasses.fields(Predictions) if entry.name != "probabilities"
    ]
    return all(getattr(one, name) == getattr(other, name) for name in fields) and np.array_equal(
        one.probabilities, other.probabilities
    )


# ---------------------------------------------------------------- Predictions


def test_names_and_accuracy():
    assert PREDICTIONS.names() == NAMES
    assert PREDICTIONS.accuracy() == 0.75
    assert isinstance(PREDICTIONS.accuracy(), float)


def test_the_first_of_equals_is_named():
    assert Predictions(("a",), ("x", "y"), np.array([[0.5, 0.5]])).names() == ["x"]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"probabilities": ROWS[:3]}, r"shape \(photos, classes\) = \(4, 3\); received \(3, 3\)$"),
        ({"probabilities": ROWS.T}, r"= \(4, 3\); received \(3, 4\)$"),
        ({"probabilities": ROWS[..., None]}, r"= \(4, 3\); received \(4, 3, 1\)$"),
        ({"ids": ("a", "b", "a", "c")}, "^Predictions: ids must differ; 'a' occurs twice$"),
        (
            {"probabilities": ROWS * 1.01},
            "^Predictions: each photo's probabilities must be 0 to 1 and",
        ),
        ({"probabilities": ROWS * np.nan}, "must be 0 to 1 and sum to 1$"),
        ({"probabilities": np.zeros((4, 3))}, "must be 0 to 1 and sum to 1$"),
        ({"probabilities": np.log(ROWS + 0.1)}, "must be 0 to 1 and sum to 1$"),
        ({"probabilities": np.tile([-1.0, 0.5, 1.5], (4, 1))}, "must be 0 to 1 and sum to 1$"),
        ({"labels": (1, 0)}, "^Predictions: 2 labels for 4 photos; give one each$"),
        ({"labels": ()}, "^Predictions: 0 labels for 4 photos; give one each$"),
        ({"labels": (0, 1, 2, 3)}, "^Predictions: labels must be numbers below 3$"),
        ({"labels": (0, 1, 2, -1)}, "^Predictions: labels must be numbers below 3$"),
    ],
)
def test_predictions_refuse(options, message):
    with pytest.raises(UsageError, match=message):
        dataclasses.replace(PREDICTIONS, **options)


def test_rounding_is_no_mistake():
    rows = ROWS.astype(np.float16).astype(np.float32) + np.float32(1e-5)
    assert dataclasses.replace(PREDICTIONS, probabilities=rows).names() == NAMES


def test_accuracy_needs_labels():
    with pytest.raises(UsageError, match=r"^Predictions: accuracy needs labels, and these photos"):
        dataclasses.replace(PREDICTIONS, labels=None).accuracy()


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"labels": None},
        {"source": ""},
        {"source": "ü 🚗"},
        {"ids": ("", " ", "a\nb", '"')},
        {"probabilities": ROWS / ROWS.sum(axis=1, keepdims=True)},
    ],
)
@pytest.mark.parametrize("name", ["test.npz", "deeper/validation.npz", "no-suffix"])
def test_a_round_trip(tmp_path, options, name):
    predictions = dataclasses.replace(PREDICTIONS, **options)
    predictions.save(tmp_path / name)
    again = Predictions.load(tmp_path / name)
    assert same(again, predictions)
    assert again.probabilities.dtype == np.float32
    assert [type(label) for label in again.labels or ()] == [int] * len(predictions.labels or ())


def test_no_photos_round_trip(tmp_path):
    predictions = Predictions((), CLASSES, np.zeros((0, 3)))
    predictions.save(tmp_path / "a.npz")
    assert same(Predictions.load(tmp_path / "a.npz"), predictions)


def test_the_same_predictions_are_the_same_bytes(tmp_path):
    for name in ("a.npz", "b.npz"):
        PREDICTIONS.save(tmp_path / name)
    assert (tmp_path / "a.npz").read_bytes() == (tmp_path / "b.npz").read_bytes()


def saved(**arrays: object) -> bytes:
    content = io.BytesIO()
    np.savez(content, **arrays)
    return content.getvalue()


def saved_one() -> bytes:
    content = io.BytesIO()
    np.save(content, np.zeros(3))
    return content.getvalue()


NO_PREDICTIONS = {
    "empty": b"",
    "text": b"Id,Category\n",
    "start of a zip": b"PK\x03\x04",
    "other arrays": saved(weights=np.zeros(3)),
    "one array": saved_one(),
    "pickled objects": saved(ids=np.array([{}, ()], object)),
}


@pytest.mark.parametrize("kind", NO_PREDICTIONS)
def test_no_predictions_file(tmp_path, kind):
    (tmp_path / "a.npz").write_bytes(NO_PREDICTIONS[kind])
    with pytest.raises(DataError, match=r"a\.npz is not a carlib predictions file: "):
        Predictions.load(tmp_path / "a.npz")


def test_no_such_predictions_file(tmp_path):
    with pytest.raises(DataError, match=r"a\.npz is not a carlib predictions file: .*No such file"):
        Predictions.load(tmp_path / "a.npz")


def test_damaged_predictions_are_refused_or_whole(tmp_path):
    PREDICTIONS.save(tmp_path / "a.npz")
    content = (tmp_path / "a.npz").read_bytes()
    refused = 0
    for place in range(0, len(content), 5):
        flipped = content[:place] + bytes([content[place] ^ 0x81]) + content[place + 1 :]
        for damaged in (content[:place], flipped):
            (tmp_path / "b.npz").write_bytes(damaged)
            try:
                loaded = Predictions.load(tmp_path / "b.npz")
            except CarlibError:
                refused += 1
            else:
                # The name "labels" in the zip has no check sum, and labels may be missing.
                labels = loaded.labels or PREDICTIONS.labels
                assert same(dataclasses.replace(loaded, labels=labels), PREDICTIONS)
    assert refused > len(content) / 5


# ---------------------------------------------------------------- finding the sample


@pytest.mark.parametrize("name", ["sample-submission.csv", "sample_submission.csv"])
def test_the_sample_submission_is_found(tmp_path, name):
    assert find_sample_submission(tmp_path) is None
    (tmp_path / name).touch()
    assert (
        find_sample_submission(tmp_path) == find_sample_submission(str(tmp_path)) == tmp_path / name
    )


def test_other_files_are_no_sample_submission(tmp_path):
    (tmp_path / "sample-submission.csv").mkdir()
    (tmp_path / "submission.csv").touch()
    assert find_sample_submission(tmp_path) is None


# ---------------------------------------------------------------- the submission


def written(tmp_path, sample: str | bytes | None, predictions: Predictions = PREDICTIONS) -> str:
    path = None
    if sample is not None:
        path = tmp_path / "sample.csv"
        path.write_bytes(sample if isinstance(sample, bytes) else sample.encode())
    out = write_submission(predictions, tmp_path / "out" / "submission.csv", path)
    assert out == tmp_path / "out" / "submission.csv"
    assert [entry.name for entry in out.parent.iterdir()] == ["submission.csv"]
    return out.read_bytes().decode()


def test_without_a_sample_it_is_in_the_predictions_order(tmp_path):
    assert written(tmp_path, None) == (
        'Id,Category\nb.jpg,NA\n007.png,0\nü 🚗.jpg,"sports, car"\na.b.jpg,"sports, car"\n'
    )


SAMPLES = {
    "order and columns": (
        "photo,model\nü 🚗.jpg,0\na.b.jpg,0\nb.jpg,0\n007.png,0\n",
        'photo,model\nü 🚗.jpg,"sports, car"\na.b.jpg,"sports, car"\nb.jpg,NA\n007.png,0\n',
    ),
    "ids without suffix": (
        "Id,Category\n007,\na.b,\nb,\nü 🚗,\n",
        'Id,Category\n007,0\na.b,"sports, car"\nb,NA\nü 🚗,"sports, car"\n',
    ),
    "byte order mark and Windows line ends": (
        "\ufeffId,Category\r\n007.png,0\r\nb.jpg,0\r\nü 🚗.jpg,0\r\na.b.jpg,0\r\n",
        'Id,Category\n007.png,0\nb.jpg,NA\nü 🚗.jpg,"sports, car"\na.b.jpg,"sports, car"\n',
    ),
    "blank lines, quotes": (
        'Id,Category\n\n"007.png",0\nb.jpg,0\n\nü 🚗.jpg,0\na.b.jpg,0\n',
        'Id,Category\n007.png,0\nb.jpg,NA\nü 🚗.jpg,"sports, car"\na.b.jpg,"sports, car"\n',
    ),
}


@pytest.mark.parametrize("kind", SAMPLES)
def test_the_sample_gives_order_spelling_and_columns(tmp_path, kind, caplog):
    sample, expected = SAMPLES[kind]
    assert written(tmp_path, sample) == expected
    assert caplog.records == []


def test_an_exact_id_goes_before_one_without_suffix(tmp_path):
    predictions = Predictions(("a", "a.jpg"), ("x", "y"), np.eye(2))
    assert written(tmp_path, "Id,C\na.jpg,\na,\n", predictions) == "Id,C\na.jpg,y\na,x\n"


def test_photos_that_are_not_asked_for(tmp_path, caplog):
    with caplog.at_level(logging.WARNING, "carlib"):
        assert written(tmp_path, "Id,Category\n007.png,0\n") == "Id,Category\n007.png,0\n"
    assert [record.getMessage() for record in caplog.records] == [
        "3 predicted photos are not asked for by sample.csv: left out"
    ]


@pytest.mark.parametrize(
    ("ids", "classes"),
    [
        (("nan", "null", "None", "", "N/A"), ("nan", "")),
        (("1", "01", "1.0", "1e0", "0x1"), ("1", "1.0")),
        ((" a", "a ", "a", "A", "\ta"), (" x", "x ")),
        (("a,b", 'a"b', "a\nb", "#a", "'a'"), ("x\ny", '"')),
        (("True", "False", "2020-01-01", "-", "=1+1"), ("True", "1_000")),
    ],
)
def test_ids_and_classes_stay_as_they_are(tmp_path, ids, classes):
    rows = np.eye(2)[[0, 1, 1, 0, 1]]
    text = written(tmp_path, None, Predictions(ids, classes, rows))
    found = list(csv.reader(io.StringIO(text, newline="")))
    assert found == [
        ["Id", "Category"],
        *([name, classes[number]] for name, number in zip(ids, [0, 1, 1, 0, 1], strict=True)),
    ]


BAD_SAMPLES = {
    "unknown ids": (
        "Id,Category\nb.jpg,0\nc.jpg,0\nd.jpg,0\n",
        r"sample\.csv asks for 2 photos that were not predicted, the first 'c\.jpg'; check",
    ),
    "an id twice": (
        "Id,Category\nb.jpg,0\n007.png,0\nb.jpg,0\n",
        r"sample\.csv asks for 'b\.jpg' twice; remove one of the rows$",
    ),
    "one column": ("Id\nb.jpg\n", r"sample\.csv must have a row a photo and two columns"),
    "a column a class": (
        "Id,p0,p1\nb.jpg,0,0\n",
        "received 1 rows, columns Id, p0, p1$",
    ),
    "no rows": ("Id,Category\n", "received 0 rows, columns Id, Category$"),
    "empty": ("", r"^cannot read the sample submission .*sample\.csv: No columns"),
    "another coding": (
        "Id,Category\nü,0\n".encode("latin-1"),
        "^cannot read the sample submission .*utf-8",
    ),
    "ragged": ("Id,Category\nb.jpg,0\na,b,c,d\n", "^cannot read the sample submission "),
    "no id": (
        'Id,Category\nb.jpg,0\n"",0\n',
        "asks for 1 photos that were not predicted, the first ''",
    ),
}


@pytest.mark.parametrize("kind", BAD_SAMPLES)
def test_bad_samples(tmp_path, kind):
    sample, message = BAD_SAMPLES[kind]
    out = tmp_path / "submission.csv"
    out.write_text("old")
    (tmp_path / "sample.csv").write_bytes(sample if isinstance(sample, bytes) else sample.encode())
    with pytest.raises(DataError, match=message):
        write_submission(PREDICTIONS, out, tmp_path / "sample.csv")
    assert out.read_text() == "old"
    assert sorted(entry.name for entry in tmp_path.iterdir()) == ["sample.csv", "submission.csv"]


def test_no_such_sample(tmp_path):
    with pytest.raises(
        DataError, match=r"^cannot read the sample submission .*gone\.csv: .*No such"
    ):
        write_submission(PREDICTIONS, tmp_path / "a.csv", tmp_path / "gone.csv")


@pytest.mark.parametrize("ids", [("a.jpg", "a.png"), ("x/a.jpg", "y/a.jpg")])
def test_an_id_that_fits_two_photos(tmp_path, ids):
    message = rf"asks for 'a', which may be {ids[0]} or {ids[1]}; write the whole name$"
    with pytest.raises(DataError, match=message):
        written(tmp_path, "Id,Category\na,0\n", Predictions(ids, ("x", "y"), np.eye(2)))


def test_a_failing_write_leaves_the_old_file(tmp_path, monkeypatch):
    out = tmp_path / "submission.csv"
    write_submission(PREDICTIONS, out)
    before = out.read_bytes()

    def full(handle: int) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "fsync", full)
    fewer = Predictions(IDS[:1], CLASSES, ROWS[:1])
    for write in (lambda: write_submission(fewer, out), lambda: fewer.save(out)):
        with pytest.raises(CarlibError, match=r"no space left to write .*submission\.csv"):
            write()
    assert out.read_bytes() == before
    assert [entry.name for entry in tmp_path.iterdir()] == ["submission.csv"]


def test_a_file_that_reads_back_otherwise_is_not_kept(tmp_path):
    predictions = Predictions(("a\r", "b"), ("x", "y"), np.eye(2))
    with pytest.raises(DataError, match=r"a\.csv does not read back as it was written"):
        write_submission(predictions, tmp_path / "a.csv")
    assert list(tmp_path.iterdir()) == []
