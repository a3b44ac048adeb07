"""A saved model in a process that has neither carlib nor efficientnet."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np

SCRIPT = """
import sys


class Refuse:
    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] in ("carlib", "efficientnet", "keras_applications"):
            raise ImportError(name)


sys.meta_path.insert(0, Refuse())
import keras, numpy

model = keras.models.load_model(sys.argv[1])
numpy.save("found.npy", model(numpy.load("photos.npy"), training=False))
"""


def predict_elsewhere(model: Path, photos: np.ndarray, folder: Path) -> np.ndarray:
    """Return the probabilities that plain Keras gets from the file ``model``."""
    np.save(folder / "photos.npy", photos)
    subprocess.run([sys.executable, "-c", SCRIPT, str(model)], check=True, cwd=folder)
    return np.load(folder / "found.npy")
