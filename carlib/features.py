"""Cached features: a phase whose whole backbone is frozen runs over each view of a photo once.

What is frozen gives a photo the same features always (``freeze``), so a head trained on kept
features is the head trained through the network. View v of a phase holds the items of its
epoch v; epoch e trains on view e mod K.
"""

from __future__ import annotations

import hashlib
import io
import json
import logging
import shutil
import zipfile
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path

import keras
import numpy as np

from carlib.checkpoints.state import model_state
from carlib.errors import CarlibError, UsageError
from carlib.files import write_whole
from carlib.loader import Loader
from carlib.predict import make_forward
from carlib.progress import progress

log = logging.getLogger("carlib")

POOL = "head_pool"  # the head's layer whose output is kept


def body_of(model: keras.Model) -> keras.Model:
    """Return the part below the head: photos (B, S, S, 3) to features (B, C).

    Args:
        model: As ``build_model`` gives it; for another photo size, make the body ``resized``.

    >>> from carlib.models.build import build_model
    >>> from carlib.spec import ModelSpec
    >>> body_of(build_model(ModelSpec("tiny", 32), 3)).output_shape
    (None, 48)
    """
    return keras.Model(model.input, model.get_layer(POOL).output, name="body")


def head_of(model: keras.Model) -> keras.Model:
    """Return the head: features (B, C) to probabilities, on the model's own variables.

    >>> from carlib.models.build import build_model
    >>> from carlib.spec import ModelSpec
    >>> head_of(build_model(ModelSpec("tiny", 32), 3)).input_shape
    (None, 48)
    """
    pooled = model.get_layer(POOL).output
    # By the graph, not one layer after the other: a head of somebody's own may branch. Through a
    # model that is not compiled, as in ``resized``.
    made = keras.models.clone_model(
        keras.Model(pooled, model.output, name="head"),
        input_tensors=keras.Input(pooled.shape[1:], dtype=pooled.dtype, name="features"),
        clone_function=lambda layer: layer,
    )
    made.dtype_policy = model.dtype_policy  # by which ``compile`` scales the loss, or does not
    return made


class FeatureCache:
    """Features of a catalog's photos, view by view, kept on disk for a session that goes on.

    Args:
        folder: Where the files lie, one a view, named by a digest of all they depend on: the
            body's weights, the photos, the view, seed and epoch.
        body: Frozen, of ``body_of``.
        loader: In catalog order; its view says what is made of the photos.
        catalog_digest: Of the photos.
        description: For the progress bar.
    """

    def __init__(
        self,
        folder: Path,
        body: keras.Model,
        loader: Loader,
        catalog_digest: str,
        description: str = "caching features",
    ):
        if loader.training:
            raise UsageError("cached features need a loader in catalog order (training=False)")
        self.folder, self.loader, self.description = folder, loader, description
        self._forward = make_forward(body)
        self._identity = hashlib.sha256(
            json.dumps(
                [catalog_digest, loader.catalog.ids, asdict(loader.items.view), loader.seed]
            ).encode()
        )
        for preset in loader.items.presets:  # whose name may stand for something else tomorrow
            what = preset.name, preset.transforms, preset.margin
            self._identity.update(json.dumps(what, sort_keys=True).encode())
        for name, value in sorted(model_state(body).get().items()):
            self._identity.update(f"{name} {value.dtype} {value.shape}".encode())
            self._identity.update(value.tobytes())
        self._held: tuple[Path, np.ndarray] | None = None
        self._unwritten: dict[Path, np.ndarray] = {}
        self.kept = 0  # views that this session has made and written

    @property
    def identity(self) -> str:
        """Digest of all that the features depend on but the epoch, as 64 hex digits."""
        return self._identity.hexdigest()

    def view(self, epoch: int, before_batch: Callable[[], None] = lambda: None) -> np.ndarray:
        """Return the features of all photos as they are in ``epoch``.

        Args:
            epoch: Of the items; with a view that does not augment, any epoch is the same.
            before_batch: Called before each batch that has to go through the network; what it
                raises ends the work, and nothing of this view is kept.

        Returns:
            Shape (photos, C), in catalog order.
        """
        path = self._path(epoch)
        if self._held is None or self._held[0] != path:
            found = self._unwritten[path] if path in self._unwritten else self._read(path)
            if found is None:
                found = self._compute(epoch, before_batch)
                self._write(path, found)
            self._held = path, found
        return self._held[1]

    def remove(self) -> None:
        """Remove the files."""
        shutil.rmtree(self.folder, ignore_errors=True)
        self._held = None
        self._unwritten.clear()

    def _path(self, epoch: int) -> Path:
        identity = self._identity.copy()
        identity.update(f"epoch {epoch}".encode())
        return self.folder / f"{identity.hexdigest()[:32]}.npz"

    def _read(self, path: Path) -> np.ndarray | None:
        try:
            # np.load leaves a damaged file open when given its name; zip checks a CRC-32.
            with open(path, "rb") as file, np.load(file) as kept:
                found: np.ndarray = kept["features"]
        except FileNotFoundError:
            return None
        except (OSError, ValueError, KeyError, TypeError, EOFError, zipfile.BadZipFile) as error:
            log.warning("%s is damaged (%s): the features are made again", path, error)
            return None
        return found

    def _write(self, path: Path, features: np.ndarray) -> None:
        content = io.BytesIO()
        np.savez(content, features=features)
        try:
            write_whole(path, content.getvalue())
            self.kept += 1
        except CarlibError as error:  # this session does without, the next one makes them again
            self._unwritten[path] = features
            log.warning("the features are not kept on disk: %s", error)

    def _compute(self, epoch: int, before_batch: Callable[[], None]) -> np.ndarray:
        rows = []
        # The loader is closed: its workers would idle while the head trains.
        with (
            self.loader,
            progress(total=len(self.loader.catalog), desc=self.description, unit="photo") as bar,
        ):
            for batch in self.loader.epoch(epoch):
                before_batch()
                rows.append(np.asarray(self._forward(batch.photos)))
                bar.update(len(batch.numbers))
        return np.concatenate(rows)
