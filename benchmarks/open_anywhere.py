"""Every backbone, saved and opened by plain Keras where neither carlib nor efficientnet is.

    python benchmarks/open_anywhere.py [--size 64] [--only efficientnet-b0 ...]

Random weights, BatchNorm's statistics too. A row a backbone: the largest difference of a
probability on two photos between the model in memory and the opened one, parameters with a head
of three classes, seconds to build, to save, and for the other process to start, open and predict.
Exit code 1 where one does not open or differs by more than 1e-6.
"""

from __future__ import annotations

import argparse
import gc
import subprocess
import sys
import tempfile
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1] / "tests"))

import keras
import numpy as np
from networks import enliven, two_photos
from plain_keras import predict_elsewhere

from carlib.models import BACKBONES
from carlib.models.build import build_model
from carlib.spec import ModelSpec

ALLOWED = 1e-6


def measure(name: str, photos: np.ndarray, folder: Path) -> tuple[float, int, list[float]]:
    """Return difference, parameters and seconds of one backbone."""
    marks = [time.perf_counter()]
    model = enliven(build_model(ModelSpec(name, photos.shape[1]), 3, seed=1))
    marks.append(time.perf_counter())
    model.save(folder / "model.keras")
    wanted = np.asarray(model(photos, training=False))
    parameters = model.count_params()
    # One network at a time in memory: the other process holds its own.
    del model
    keras.backend.clear_session()
    gc.collect()
    marks.append(time.perf_counter())
    found = predict_elsewhere(folder / "model.keras", photos, folder)
    marks.append(time.perf_counter())
    if not wanted.std() > 0 or (wanted[0] == wanted[1]).all():
        raise SystemExit(f"{name}: the photos make no difference, nothing is compared")
    return float(abs(found - wanted).max()), parameters, list(np.diff(marks))


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--size", type=int, default=64, help="side of the photos, px")
    parser.add_argument("--only", nargs="+", choices=list(BACKBONES), default=list(BACKBONES))
    options = parser.parse_args()
    photos = two_photos(options.size)
    print(f"Keras {keras.__version__}, photos of {options.size} px", flush=True)
    print("| backbone | difference | parameters | build s | save s | open s | |")
    print("| --- | ---: | ---: | ---: | ---: | ---: | --- |", flush=True)
    failed = False
    for name in options.only:
        with tempfile.TemporaryDirectory() as folder:
            try:
                difference, parameters, seconds = measure(name, photos, Path(folder))
            except subprocess.CalledProcessError:
                print(f"| {name} | | | | | | does not open |", flush=True)
                failed = True
                continue
        good = difference <= ALLOWED
        failed |= not good
        times = " | ".join(f"{value:.1f}" for value in seconds)
        verdict = "opens" if good else "differs"
        print(f"| {name} | {difference:.1g} | {parameters:,} | {times} | {verdict} |", flush=True)
    return int(failed)


if __name__ == "__main__":
    sys.exit(main())
