"""``carlib augment``: a grid of originals beside augmented photos."""

from __future__ import annotations

import argparse
import logging
import textwrap
from pathlib import Path
from typing import Any

from carlib.augment import PRESETS, TRANSFORMS
from carlib.cli.shared import add_use, command, show
from carlib.errors import DataError, UsageError

_TAB = " " * 11


def add(commands: Any) -> None:
    """Add the command ``augment``."""
    augment = command(commands, "augment", _run, "draw originals beside augmented photos")
    augment.formatter_class = argparse.RawDescriptionHelpFormatter
    augment.epilog = "presets:\n" + "\n".join(
        textwrap.fill(preset.description, 79, initial_indent=f"  {name:<9}", subsequent_indent=_TAB)
        for name, preset in PRESETS.items()
    )
    augment.epilog += "\n\n" + textwrap.fill(f"transforms: {', '.join(TRANSFORMS)}", 79)
    told = f"{', '.join(PRESETS)}; or one changed, as light+ToGray-HorizontalFlip"
    augment.add_argument("preset", metavar="PRESET", help=told)
    augment.add_argument("--data", required=True, metavar="DIR")
    augment.add_argument("--out", required=True, metavar="grid.png")
    augment.add_argument("--size", type=int, default=160, help="tile side, px (%(default)s)")
    augment.add_argument("--photos", type=int, default=6, help="rows (%(default)s)")
    augment.add_argument("--seed", type=int, default=0, help="(%(default)s)")
    for option, text in (
        ("--clean-share", "share of photos left as they are; 0: the preset's own (%(default)g)"),
        ("--erasing", "probability that a rectangle is erased (%(default)g)"),
        ("--mixup", "alpha of blends with another photo; 0: off (%(default)g)"),
        ("--cutmix", "alpha of patches from another photo; 0: off (%(default)g)"),
    ):
        augment.add_argument(option, type=float, default=0.0, metavar="X", help=text)
    add_use(augment)


def _run(given: argparse.Namespace) -> int:
    from carlib.augment import Augmentation, entry_size, preset_named, preview_grid
    from carlib.catalog import read_catalog
    from carlib.files import write_whole
    from carlib.using import use

    for path in given.use:
        use(path)
    for name, low, high in (("size", 16, 2048), ("photos", 1, 1000), ("seed", 0, 2**32 - 1)):
        if not low <= getattr(given, name) <= high:
            raise UsageError(f"--{name} must be {low} to {high}; received {getattr(given, name)}")
    augmentation = Augmentation(
        given.preset, given.clean_share, given.erasing, given.mixup, given.cutmix
    )
    preset = preset_named(given.preset)
    entry = entry_size(given.preset, given.size)
    catalog = read_catalog(given.data)

    import cv2

    from carlib.images import fit, read_photo

    photos = []
    # Spread over the catalog, so that the grid shows several classes.
    for number in range(0, len(catalog), max(1, len(catalog) // max(1, given.photos))):
        try:
            photos.append(fit(read_photo(catalog.paths[number]), entry))
        except DataError as error:
            logging.getLogger("carlib").warning("%s", error)
    photos = photos[: given.photos]
    if not photos:
        raise DataError(f"none of the photos tried under {given.data} can be read")
    grid = preview_grid(photos, augmentation, given.size, seed=given.seed)
    out = Path(given.out)
    write_whole(out, cv2.imencode(".png", grid[:, :, ::-1])[1].tobytes())
    show(
        given,
        {
            "grid": str(out),
            "photos": len(photos),
            "preset": given.preset,
            "description": preset.description,
            "clean_share": augmentation.clean,
        },
        f"{out}: {len(photos)} photos, the original on the left\n"
        f"{given.preset}: {preset.description} Clean share {augmentation.clean:.4g}",
    )
    return 0
