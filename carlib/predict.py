"""A run folder and photos to Predictions."""

from __future__ import annotations

import functools
import logging
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from carlib.audit import audit
from carlib.catalog import Catalog
from carlib.errors import CarlibError, RunError, UsageError
from carlib.files import sha256
from carlib.loader import Loader, View, Workers
from carlib.progress import progress, say
from carlib.runfolder import RunFolder, read_json
from carlib.submission import Predictions

log = logging.getLogger("carlib")

Forward = Callable[[np.ndarray], Any]


def make_forward(model: keras.Model, dtype: str = "uint8") -> Forward:
    """Return the model's prediction as a traced function of its input, (B, S, S, 3) for photos.

    Traced once, at its first call: the batch size stays open, so a smaller last batch costs no
    second trace. A batch that does not fit into memory is split in two, and its halves again;
    the size that fits is remembered.

    Args:
        model: With one input.
        dtype: Of what it is given. Defaults to "uint8", a loader's photos.

    Returns:
        It raises RunError where not even one photo fits.
    """
    shape = (None, *model.input_shape[1:])
    signature = [tf.TensorSpec(shape, dtype)]
    traced = tf.function(lambda photos: model(photos, training=False), input_signature=signature)

    # TensorFlow takes the functions of several models for one that is traced again and again,
    # and warns; one that is asked for its trace is not watched so.
    @functools.cache
    def forward() -> Any:
        return traced.get_concrete_function()

    most: int | None = None

    def parts(photos: np.ndarray) -> Any:
        nonlocal most
        while True:
            size = min(most or len(photos), len(photos))
            try:
                found = [
                    forward()(tf.constant(photos[first : first + size]))
                    for first in range(0, len(photos), size)
                ]
                return found[0] if len(found) == 1 else np.concatenate(found)
            except tf.errors.ResourceExhaustedError as error:
                if size == 1:
                    raise RunError(
                        f"out of memory with one photo a forward pass ({wanted(error)}): lower "
                        "model.size, or let nothing else use the device"
                    ) from error
                most = size // 2
            say(f"out of memory with {size} photos a forward pass; on with {most}")

    return parts


def wanted(error: BaseException) -> str:
    """Return what an out-of-memory error says was asked for, in one line.

    >>> wanted(MemoryError("Graph: OOM when allocating tensor on /job:x [y]"))
    'OOM when allocating tensor'
    """
    found = re.search(r"(?:OOM when|Out of memory).*?(?= on /job:|\n|$)", str(error))
    return " ".join((found[0] if found else str(error)).split())[:200]


def probabilities(
    forward: Forward,
    loader: Loader,
    description: str = "predicting",
    before_batch: Callable[[], None] = lambda: None,
) -> np.ndarray:
    """Return class probabilities of all photos of a loader, in catalog order.

    Args:
        forward: Of ``make_forward``.
        loader: Not for training: catalog order, every photo once.
        description: For the progress bar.
        before_batch: Called before each batch; what it raises ends the work.

    Returns:
        float32, shape (photos, classes).
    """
    if loader.training:
        raise UsageError("predictions need a loader in catalog order (training=False)")
    bar = progress(total=len(loader.catalog), desc=description, unit="photo")
    rows = []
    with bar:
        for batch in loader.epoch(0):
            before_batch()
            rows.append(np.asarray(forward(batch.photos), np.float32))
            bar.update(len(batch.numbers))
    return np.concatenate(rows)


def open_model(run: Path | str) -> tuple[keras.Model, dict[str, Any]]:
    """Return a run's best model and its card (classes, size, resize policy, ...).

    Raises:
        RunError: No finished epoch in the run, or a damaged model.
    """
    folder = RunFolder(Path(run))
    if not folder.model.is_file():
        raise RunError(
            f"{folder.model} is not there: {run} is no carlib run, or has no finished epoch yet; "
            "run carlib train first"
        )
    card = read_json(folder.model_card)
    if card.get("sha256") != sha256(folder.model):
        raise RunError(
            f"{folder.model} is damaged or of another run: it is not the one that "
            f"{folder.model_card.name} describes; carlib train writes it again from the chain"
        )
    try:
        model = keras.models.load_model(folder.model, compile=False)
    # Keras raises OSError, ValueError, KeyError or zipfile's own on a damaged file.
    except Exception as error:
        raise RunError(f"{folder.model} cannot be opened: {error}") from error
    return model, card


def predict_photos(
    run: Path | str,
    photos: Catalog,
    *,
    batch_size: int = 64,
    workers: Workers | None = None,
    name: str = "test",
) -> Predictions:
    """Return class probabilities by a run's best model, and keep them in the run folder.

    A photo that cannot be read gets the shares of the classes in training and a warning:
    a submission without it would be refused, and nothing better is known.

    Args:
        run: The run folder.
        photos: What to predict; their labels, where known, travel along.
        batch_size: Photos a forward pass. Defaults to 64.
        workers: As in Loader.
        name: The predictions are kept as predictions/<name>.npz. Defaults to "test".

    Raises:
        RunError: No best model in the run.
        UsageError: No photos.
    """
    if not len(photos):
        raise UsageError("there are no photos to predict")
    model, card = open_model(run)
    faults = {fault.id: fault.reason for fault in audit(photos)}
    for reason in faults.values():
        log.warning("%s: gets the classes' shares in training", reason)
    rows = np.tile(np.array(card["prior"], np.float32), (len(photos), 1))
    readable = [n for n, photo in enumerate(photos.ids) if photo not in faults]
    if readable:
        view = View(card["size"], card["resize"])
        loader = Loader(photos.take(readable), view, batch_size=batch_size, workers=workers)
        with loader:
            rows[readable] = probabilities(make_forward(model), loader)
    predictions = Predictions(
        ids=photos.ids,
        classes=tuple(card["classes"]),
        probabilities=rows,
        source=f"{card['recipe']}, phase {card['phase']}, epoch {card['epoch']}",
        labels=_labels(photos, card["classes"]),
    )
    try:
        predictions.save(RunFolder(Path(run)).predictions(name))
    except CarlibError as error:  # a run among Kaggle's inputs is read-only
        log.warning("the predictions are not kept in the run folder: %s", error)
    return predictions


def _labels(photos: Catalog, classes: list[str]) -> tuple[int, ...] | None:
    """The photos' labels in the numbering of the run's classes."""
    if photos.labels is None:
        return None
    if unknown := [name for name in photos.classes if name not in classes]:
        raise UsageError(f"class {unknown[0]!r} of these photos is not known to the run")
    return tuple(classes.index(photos.classes[label]) for label in photos.labels)
