"""The command line: argparse to functions, and errors to one line and an exit code."""

from __future__ import annotations

import argparse
import dataclasses
import json
import logging
import sys
import textwrap
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from carlib import __version__
from carlib.augment import PRESETS
from carlib.errors import CarlibError, DataError, UsageError

STOPPED = 75  # stopped for the clock, resumable (EX_TEMPFAIL of sysexits.h)
INTERRUPTED = 130
_TAB = " " * 11


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command.

    Returns:
        0 done; 75 stopped for the clock, resumable; 2 wrong usage; 1 failed; 130 interrupted.
    """
    given = _parser().parse_args(arguments)
    logging.basicConfig(format="carlib: %(message)s", level=logging.WARNING)
    try:
        return int(given.run(given))
    except CarlibError as error:
        print(f"carlib: {error}", file=sys.stderr)
        return error.exit_code
    except BrokenPipeError:
        return 1  # whoever read the output has left
    except (OSError, MemoryError) as error:
        print(f"carlib: {error or 'out of memory'}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print(
            "carlib: interrupted; what was saved is whole, and the same command goes on from it",
            file=sys.stderr,
        )
        return INTERRUPTED


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="carlib",
        description="Train photo classifiers within rationed GPU hours and never lose one.",
        epilog="Exit codes: 0 done, 75 stopped for the clock (resumable), 2 wrong usage, 1 failed, "
        "130 interrupted.",
    )
    parser.add_argument("--version", action="version", version=f"carlib {__version__}")
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")

    demo = _command(commands, "demo", _demo, "the whole job on a drawn sample set, cut once")
    demo.add_argument("--out", default="carlib-demo", help="folder to write (%(default)s)")

    sample = _command(commands, "sample", _sample, "write the drawn, competition-shaped sample set")
    sample.add_argument("folder", metavar="DIR", help="a new or empty folder")
    sample.add_argument("--classes", type=int, default=10, help="2 to 10 (%(default)s)")
    sample.add_argument("--per-class", type=int, default=60, help="training photos (%(default)s)")
    sample.add_argument("--test-per-class", type=int, default=20, help="(%(default)s)")
    sample.add_argument("--seed", type=int, default=0, help="(%(default)s)")
    sample.add_argument("--zip", action="store_true", help="photos inside train.zip and test.zip")

    train = _command(commands, "train", _train, "train a recipe, or go on with a stopped run")
    train.add_argument(
        "--data", type=_named, required=True, metavar="DIR", help="train/<class>/* or train.csv"
    )
    train.add_argument("--recipe", required=True, metavar="NAME|FILE", help="or .toml, .json")
    train.add_argument("--out", type=_named, required=True, metavar="RUN", help="the run folder")
    train.add_argument(
        "--set",
        nargs="+",
        action="extend",
        default=[],
        metavar="KEY=VALUE",
        help="change the recipe: seed=1, model.size=128, phases.head.lr=1e-3, phases.*.epochs=2",
    )
    train.add_argument(
        "--epochs-from",
        type=_named,
        metavar="RUN",
        help="the final fit, on all photos: each phase's epochs are those of an earlier run, up to "
        "its best one; repeat that run's --recipe and --set",
    )
    train.add_argument("--limit", metavar="11h30m", help="stop in time; default: the platform's")
    train.add_argument(
        "--stop-after", type=int, metavar="STEPS", help="stop as if time were up, to try resuming"
    )
    train.add_argument(
        "--resume",
        default="auto",
        metavar="auto|never|PATH",
        help="auto: go on with RUN; PATH: branch from a run, chain or checkpoint (%(default)s)",
    )
    train.add_argument("--exclude", metavar="FILE", help="ids of photos to leave out, one a line")
    train.add_argument(
        "--external", type=_named, metavar="DIR", help="more photos that only train, like --data"
    )
    train.add_argument(
        "--groups",
        type=_named,
        metavar="FILE",
        help="CSV (id, group): photos of a group train or validate together",
    )
    _add_workers(train)

    predict = _command(commands, "predict", _predict, "predict test photos into a checked CSV")
    predict.add_argument("--run", required=True, dest="run_folder", metavar="RUN")
    predict.add_argument(
        "--data", type=_named, required=True, metavar="DIR", help="test_upload/ or test/"
    )
    predict.add_argument("--out", type=_named, required=True, metavar="FILE.csv")
    _add_workers(predict)

    _command(commands, "models", _models, "list the backbones: photo size, weights, what for")

    augment = _command(commands, "augment", _augment, "draw originals beside augmented photos")
    augment.formatter_class = argparse.RawDescriptionHelpFormatter
    augment.epilog = "presets:\n" + "\n".join(
        textwrap.fill(preset.description, 79, initial_indent=f"  {name:<9}", subsequent_indent=_TAB)
        for name, preset in PRESETS.items()
    )
    augment.add_argument("preset", metavar="PRESET", help=", ".join(PRESETS))
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
    return parser


def _command(commands: Any, name: str, run: Any, summary: str) -> argparse.ArgumentParser:
    command: argparse.ArgumentParser = commands.add_parser(
        name, help=summary, description=summary[0].upper() + summary[1:] + "."
    )
    command.set_defaults(run=run)
    command.add_argument("--json", action="store_true", help="print the figures as JSON")
    return command


def _named(text: str) -> str:
    """An unset shell variable must not become the current folder."""
    if not text:
        raise argparse.ArgumentTypeError("a path is needed; received an empty text")
    return text


def _add_workers(command: argparse.ArgumentParser) -> None:
    command.add_argument(
        "--workers", metavar="2|threads:2|processes:2", help="who loads photos (a thread a core)"
    )


def _print(given: argparse.Namespace, figures: dict[str, Any], text: str) -> None:
    print(json.dumps(figures) if given.json else text)


def _demo(given: argparse.Namespace) -> int:
    from carlib.demo import run_demo

    figures = run_demo(given.out)
    _print(
        given,
        figures,
        f"test accuracy {figures['accuracy']:.3f} in {figures['seconds']:.0f} s; "
        f"see {figures['submission']} and {figures['report']}",
    )
    return 0


def _sample(given: argparse.Namespace) -> int:
    from carlib.sample import write_sample

    folder = write_sample(
        given.folder,
        classes=given.classes,
        per_class=given.per_class,
        test_per_class=given.test_per_class,
        seed=given.seed,
        zipped=given.zip,
    )
    photos = given.classes * given.per_class, given.classes * given.test_per_class
    _print(
        given,
        {"folder": str(folder), "training": photos[0], "test": photos[1]},
        f"{folder}: {photos[0]} training and {photos[1]} test photos of {given.classes} classes",
    )
    return 0


def _train(given: argparse.Namespace) -> int:
    from carlib.catalog import find_test, merge, read_catalog, read_exclusions
    from carlib.loader import Workers
    from carlib.recipes import load_recipe
    from carlib.session import detect_session, seconds
    from carlib.spec import with_settings

    recipe = with_settings(load_recipe(given.recipe), given.set)
    if given.epochs_from:
        # Its imports are heavy, and a mistake in it must show before photos are read.
        from carlib.train.final import with_epochs_of

        recipe = with_epochs_of(recipe, given.epochs_from)
    session = detect_session(
        limit=seconds(given.limit) if given.limit else None, stop_after=given.stop_after
    )
    workers = Workers.parse(given.workers) if given.workers else None
    catalog = read_catalog(given.data, given.groups)
    if given.external:
        external = read_catalog(given.external, least=1)
        catalog = merge(catalog, external, against=find_test(given.data))
    if given.exclude:
        catalog = catalog.without(read_exclusions(given.exclude))

    from carlib.report import write_report
    from carlib.train import train_model

    outcome = train_model(
        recipe, catalog, given.out, session=session, resume=given.resume, workers=workers
    )
    report = write_report(given.out, catalog)
    figures = {
        "run": str(outcome.run),
        "done": outcome.done,
        "why": outcome.why,
        "best": outcome.best,
        "validation_accuracy": outcome.accuracy,
        "report": str(report),
    }
    if outcome.done:
        known = outcome.accuracy is not None
        score = f"validation accuracy {outcome.accuracy:.4f}" if known else "trained on all photos"
        _print(given, figures, f"done: {score}; see {report}")
        return 0
    _print(
        given,
        figures,
        f"stopped by {outcome.why}; everything is saved: run the same command again to go on",
    )
    return STOPPED


def _predict(given: argparse.Namespace) -> int:
    from carlib.catalog import read_test
    from carlib.loader import Workers
    from carlib.submission import find_sample_submission, write_submission

    photos = read_test(given.data)
    sample = find_sample_submission(given.data)
    workers = Workers.parse(given.workers) if given.workers else None

    from carlib.predict import predict_photos

    predictions = predict_photos(given.run_folder, photos, workers=workers)
    out = write_submission(predictions, given.out, sample)
    checked = f"checked against {sample}" if sample else "no sample submission to check against"
    _print(
        given,
        {"submission": str(out), "photos": len(photos), "sample": sample and str(sample)},
        f"{out}: {len(photos)} photos, {checked}",
    )
    return 0


def _models(given: argparse.Namespace) -> int:
    from carlib.models import BACKBONES

    lines = [
        f"{each.name:<20}{each.size:>4} px  {', '.join(('none', *each.weights)):<31}"
        f"{each.description}"
        for each in BACKBONES.values()
    ]
    figures = {"models": [dataclasses.asdict(each) for each in BACKBONES.values()]}
    _print(given, figures, "\n".join(lines))
    return 0


def _augment(given: argparse.Namespace) -> int:
    from carlib.augment import Augmentation, entry_size, preview_grid
    from carlib.catalog import read_catalog
    from carlib.files import write_whole

    for name, low, high in (("size", 16, 2048), ("photos", 1, 1000), ("seed", 0, 2**32 - 1)):
        if not low <= getattr(given, name) <= high:
            raise UsageError(f"--{name} must be {low} to {high}; received {getattr(given, name)}")
    augmentation = Augmentation(
        given.preset, given.clean_share, given.erasing, given.mixup, given.cutmix
    )
    entry, description = entry_size(given.preset, given.size), PRESETS[given.preset].description
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
    _print(
        given,
        {
            "grid": str(out),
            "photos": len(photos),
            "preset": given.preset,
            "description": description,
            "clean_share": augmentation.clean,
        },
        f"{out}: {len(photos)} photos, the original on the left\n"
        f"{given.preset}: {description} Clean share {augmentation.clean:.4g}",
    )
    return 0
