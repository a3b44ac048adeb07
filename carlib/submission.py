"""Predictions, what each epoch had right, and the submission checked against the sample."""

from __future__ import annotations

import io
import logging
import zipfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from carlib.errors import DataError, UsageError
from carlib.files import whole_file, write_whole

log = logging.getLogger("carlib")


@dataclass(frozen=True, slots=True, eq=False)
class Predictions:
    """Class probabilities of photos; ids travel with them everywhere.

    Args:
        ids: N different photo ids.
        classes: C class names, in the order of the columns of ``probabilities``.
        probabilities: Shape (N, C), float32, each row summing to 1.
        source: Where they came from: run folder, checkpoint, views.
        labels: N class numbers where the truth is known, else None.

    Raises:
        UsageError: Shapes that do not fit, ids twice, rows that are no probabilities.

    >>> Predictions(("a", "b"), ("x", "y"), np.eye(2, dtype="float32")).names()
    ['x', 'y']
    """

    ids: tuple[str, ...]
    classes: tuple[str, ...]
    probabilities: np.ndarray
    source: str = ""
    labels: tuple[int, ...] | None = None

    def __post_init__(self) -> None:
        shape = np.shape(self.probabilities)
        if shape != (len(self.ids), len(self.classes)):
            raise UsageError(
                f"Predictions: probabilities must have the shape (photos, classes) = "
                f"({len(self.ids)}, {len(self.classes)}); received {shape}"
            )
        if len(set(self.ids)) < len(self.ids):
            twice = next(name for name in self.ids if self.ids.count(name) > 1)
            raise UsageError(f"Predictions: ids must differ; {twice!r} occurs twice")
        # float16 heads do not exist here, so 1e-3 is far above rounding and far below a mistake.
        sums = np.sum(self.probabilities, axis=1)
        if not np.allclose(sums, 1, atol=1e-3) or np.any(np.less(self.probabilities, -1e-3)):
            raise UsageError("Predictions: each photo's probabilities must be 0 to 1 and sum to 1")
        if self.labels is not None and len(self.labels) != len(self.ids):
            raise UsageError(
                f"Predictions: {len(self.labels)} labels for {len(self.ids)} photos; give one each"
            )
        if self.labels and not all(0 <= number < len(self.classes) for number in self.labels):
            raise UsageError(f"Predictions: labels must be numbers below {len(self.classes)}")

    def names(self) -> list[str]:
        """Return the most probable class name of each photo."""
        return [self.classes[number] for number in np.argmax(self.probabilities, axis=1)]

    def accuracy(self) -> float:
        """Return the share of photos whose most probable class is the labelled one."""
        if self.labels is None:
            raise UsageError("Predictions: accuracy needs labels, and these photos have none")
        return float(np.mean(np.argmax(self.probabilities, axis=1) == np.array(self.labels)))

    def save(self, path: Path | str) -> None:
        """Write all of it to one .npz file, whole or not at all."""
        labels = {} if self.labels is None else {"labels": np.array(self.labels, np.int32)}
        _write(
            path,
            ids=np.array(self.ids),
            classes=np.array(self.classes),
            probabilities=np.asarray(self.probabilities, np.float32),
            source=np.array(self.source),
            **labels,
        )

    @classmethod
    def load(cls, path: Path | str) -> Predictions:
        """Read what ``save`` wrote.

        Raises:
            DataError: Missing, damaged or another kind of file.
        """
        with _kept(path, "predictions") as kept:
            return cls(
                ids=tuple(kept["ids"].tolist()),
                classes=tuple(kept["classes"].tolist()),
                probabilities=kept["probabilities"],
                source=str(kept["source"]),
                labels=tuple(kept["labels"].tolist()) if "labels" in kept else None,
            )


@dataclass(frozen=True, slots=True, eq=False)
class Epochs:
    """Which validation photos each epoch of a run had right.

    Args:
        ids: N different photo ids.
        classes: C class names.
        labels: N class numbers, the truth.
        correct: Booleans, shape (epochs, N): whether the most probable class was the label.

    Raises:
        UsageError: Shapes that do not fit, ids twice, label numbers without a class.

    >>> epochs = Epochs(("a", "b"), ("x", "y"), (0, 1), np.array([[True, False], [True, True]]))
    >>> epochs.accuracies()
    [0.5, 1.0]
    """

    ids: tuple[str, ...]
    classes: tuple[str, ...]
    labels: tuple[int, ...]
    correct: np.ndarray

    def __post_init__(self) -> None:
        shape, kind = np.shape(self.correct), np.asarray(self.correct).dtype
        if len(shape) != 2 or shape[1] != len(self.ids) or kind.kind != "b":
            raise UsageError(
                f"Epochs: correct must be booleans of the shape (epochs, photos) = (any, "
                f"{len(self.ids)}); received {kind} {shape}"
            )
        if len(set(self.ids)) < len(self.ids):
            twice = next(name for name in self.ids if self.ids.count(name) > 1)
            raise UsageError(f"Epochs: ids must differ; {twice!r} occurs twice")
        if len(self.labels) != len(self.ids):
            raise UsageError(
                f"Epochs: {len(self.labels)} labels for {len(self.ids)} photos; give one each"
            )
        if not all(0 <= number < len(self.classes) for number in self.labels):
            raise UsageError(f"Epochs: labels must be numbers below {len(self.classes)}")

    def accuracies(self) -> list[float]:
        """Return the validation accuracy of each epoch, as history.csv has it."""
        return [float(np.mean(row)) for row in self.correct]

    def save(self, path: Path | str) -> None:
        """Write all of it to one .npz file, whole or not at all."""
        _write(
            path,
            ids=np.array(self.ids),
            classes=np.array(self.classes),
            labels=np.array(self.labels, np.int32),
            correct=self.correct,
        )


def read_epochs(path: Path | str) -> Epochs:
    """Read what ``Epochs.save`` wrote.

    Args:
        path: ``RunFolder.epochs`` of a run that is done.

    Raises:
        DataError: Missing, damaged or another kind of file.

    >>> import tempfile
    >>> path = Path(tempfile.mkdtemp()) / "epochs.npz"
    >>> Epochs(("a", "b"), ("x", "y"), (0, 1), np.array([[True, False]])).save(path)
    >>> read_epochs(path).correct.shape
    (1, 2)
    """
    with _kept(path, "epochs") as kept:
        return Epochs(
            ids=tuple(kept["ids"].tolist()),
            classes=tuple(kept["classes"].tolist()),
            labels=tuple(kept["labels"].tolist()),
            correct=kept["correct"],
        )


def _write(path: Path | str, **arrays: np.ndarray) -> None:
    # In memory first: on a full disk, np.savez leaves its zip open, which complains later.
    content = io.BytesIO()
    np.savez(content, **arrays)
    write_whole(path, content.getvalue())


@contextmanager
def _kept(path: Path | str, what: str) -> Iterator[Any]:
    """Give the arrays of a file; whatever is wrong with them is a DataError."""
    try:
        # np.load leaves a damaged file open when given its name.
        with open(path, "rb") as file, np.load(file, allow_pickle=False) as kept:
            yield kept
    # numpy's and zipfile's many kinds; TypeError: one array, from np.save.
    except (
        OSError,
        ValueError,
        KeyError,
        TypeError,
        EOFError,
        RuntimeError,
        zipfile.BadZipFile,
        UsageError,
    ) as error:
        raise DataError(f"{path} is not a carlib {what} file: {error}") from error


def find_sample_submission(folder: Path | str) -> Path | None:
    """Return the sample submission of a data folder, or None."""
    for name in ("sample-submission.csv", "sample_submission.csv"):
        if (path := Path(folder) / name).is_file():
            return path
    return None


def write_submission(
    predictions: Predictions, out: Path | str, sample: Path | str | None = None
) -> Path:
    """Write the most probable class of each photo as a CSV, checked before and after.

    Args:
        predictions: Of all photos that the sample asks for.
        out: File to write.
        sample: Sample submission: gives column names, ids and their order. None: the
            columns Id and Category, the predictions' own order.

    Returns:
        ``out`` as a Path.

    Raises:
        DataError: The sample asks for ids without a prediction, holds an id twice or one
            that fits two photos, or is no table of two columns.
    """
    import pandas as pd

    out = Path(out)
    answers = dict(zip(predictions.ids, predictions.names(), strict=True))
    if sample is None:
        table = pd.DataFrame({"Id": list(answers), "Category": list(answers.values())})
    else:
        wanted, keys, columns = _wanted(Path(sample), tuple(answers))
        table = pd.DataFrame({columns[0]: wanted, columns[1]: [answers[key] for key in keys]})
    with whole_file(out) as aside:
        table.to_csv(aside, index=False)
        again = pd.read_csv(aside, dtype=str, keep_default_na=False)
        if not again.equals(table.astype(again.dtypes)):
            raise DataError(f"{out} does not read back as it was written; please report this")
    return out


def _wanted(sample: Path, known: Sequence[str]) -> tuple[list[str], list[str], list[str]]:
    """Return the sample's ids as written, the prediction id of each, and its column names."""
    import pandas as pd

    try:
        table = pd.read_csv(sample, dtype=str, keep_default_na=False)
    except (OSError, ValueError) as error:
        raise DataError(f"cannot read the sample submission {sample}: {error}") from error
    if table.shape[1] != 2 or not len(table):
        raise DataError(
            f"{sample} must have a row a photo and two columns (Id, Category); "
            f"received {len(table)} rows, columns {', '.join(map(str, table.columns))}"
        )
    wanted = [str(name) for name in table.iloc[:, 0]]
    if len(set(wanted)) < len(wanted):
        twice = table.iloc[:, 0][table.iloc[:, 0].duplicated()].iloc[0]
        raise DataError(f"{sample} asks for {twice!r} twice; remove one of the rows")
    # Some competitions leave the file's suffix out of the id.
    stems: dict[str, list[str]] = {}
    for name in known:
        stems.setdefault(Path(name).stem, []).append(name)
    exact = set(known)
    found = [[name] if name in exact else stems.get(name, []) for name in wanted]
    for name, photos in zip(wanted, found, strict=True):
        if len(photos) > 1:
            raise DataError(
                f"{sample} asks for {name!r}, which may be {photos[0]} or {photos[1]}; write the "
                "whole name"
            )
    missing = [name for name, photos in zip(wanted, found, strict=True) if not photos]
    if missing:
        raise DataError(
            f"{sample} asks for {len(missing)} photos that were not predicted, the first "
            f"{missing[0]!r}; check that --data is the folder this sample submission belongs to"
        )
    keys = [photos[0] for photos in found]
    extra = len(exact) - len(set(keys))
    if extra:
        log.warning("%d predicted photos are not asked for by %s: left out", extra, sample.name)
    return wanted, keys, [str(name) for name in table.columns[:2]]
