"""Small photos without symmetry, and data folders in every layout that carlib reads."""

from __future__ import annotations

import io
import zipfile
from collections.abc import Mapping
from pathlib import Path

import numpy as np
from PIL import Image


def draw(height: int = 37, width: int = 53, seed: int = 0) -> np.ndarray:
    """A photo, uint8 (height, width, 3), that no mirror, turn or swap of channels maps to itself.

    Its four corners differ: red, green, blue, and the gradient that fills the rest.
    """
    y, x = np.mgrid[:height, :width]
    photo = np.empty((height, width, 3), np.uint8)
    photo[..., 0] = (40 + 150 * y // height + 7 * seed) % 256
    photo[..., 1] = (30 + 180 * x // width + 11 * seed) % 256
    photo[..., 2] = (90 + 13 * seed) % 256
    photo[: height // 3, : width // 4] = (250, 10, 20)
    photo[: height // 4, -(width // 5) :] = (15, 240, 30)
    photo[-(height // 5) :, -(width // 3) :] = (5, 25, 245)
    return photo


def encode(photo: np.ndarray | Image.Image, kind: str = "PNG", **options: object) -> bytes:
    """The bytes of a photo file of a Pillow format."""
    image = photo if isinstance(photo, Image.Image) else Image.fromarray(photo)
    content = io.BytesIO()
    image.save(content, kind, **options)
    return content.getvalue()


def photo_file(seed: int, kind: str = "PNG") -> bytes:
    """A small photo file; another seed, another photo, of another shape."""
    return encode(draw(9 + seed % 4, 13 + seed % 3, seed), kind)


# Class to its files; class names sort as numbers, and a file name may occur in two classes.
CLASSES = {"2": ("a.png", "b.png", "c.png"), "10": ("d.png", "e.png"), "0": ("f.png", "g.png")}
# Of each photo, by its name below train/.
TRAIN = {
    f"{name}/{file}": photo_file(number)
    for number, (name, file) in enumerate(
        (name, file) for name, files in CLASSES.items() for file in files
    )
}
TABLE = "Id,Category\n" + "".join(
    f"{name.split('/')[1]},{name.split('/')[0]}\n" for name in sorted(TRAIN, reverse=True)
)


def write_files(folder: Path, files: Mapping[str, bytes | str]) -> Path:
    """Write files by their names below a folder; a text as UTF-8."""
    for name, content in files.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content.encode() if isinstance(content, str) else content)
    return folder


def write_zip(path: Path, members: Mapping[str, bytes | str], **options: object) -> Path:
    """Write a zip, its members under exactly these names."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with zipfile.ZipFile(path, "w", **options) as archive:
        for name, content in members.items():
            archive.writestr(name, content)
    return path


def under(top: str, files: Mapping[str, bytes]) -> dict[str, bytes]:
    """The files, one folder further down."""
    return {f"{top}/{name}": content for name, content in files.items()}


def flat(files: Mapping[str, bytes]) -> dict[str, bytes]:
    """The files without their folders."""
    return {name.rsplit("/", 1)[-1]: content for name, content in files.items()}


def write_layout(folder: Path, layout: str, train: Mapping[str, bytes] = TRAIN) -> Path:
    """Write training photos in one of LAYOUTS, with TABLE where the layout has a CSV."""
    folder.mkdir(parents=True, exist_ok=True)
    place, _, table = layout.partition(" + ")
    inside = flat(train) if "flat" in place else dict(train)
    if place.startswith("zip"):
        top = "train" if place.endswith("with top") else ""
        write_zip(folder / "train.zip", under(top, inside) if top else inside)
    elif place.startswith("beside"):
        write_files(folder, under("pictures", inside))
    else:
        write_files(folder / "train", inside)
    if table:
        write_files(folder, {"train.csv": TABLE})
    return folder


WITHOUT_TABLE = ("folders", "zip with top", "zip without top")
WITH_TABLE = (
    "folders + csv",
    "flat + csv",
    "beside + csv",
    "beside flat + csv",
    "zip with top + csv",
    "zip without top + csv",
    "zip flat with top + csv",
    "zip flat + csv",
)
LAYOUTS = WITHOUT_TABLE + WITH_TABLE
