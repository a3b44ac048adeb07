"""``carlib train``: a run begun, or gone on with, and its report."""

from __future__ import annotations

import argparse
from typing import Any

from carlib.cli.shared import (
    STOPPED,
    add_recipe,
    add_workers,
    command,
    named,
    read_recipe,
    show,
    size,
)


def add(commands: Any) -> None:
    """Add the command ``train``."""
    train = command(commands, "train", _run, "train a recipe, or go on with a stopped run")
    train.add_argument(
        "--data", type=named, required=True, metavar="DIR", help="train/<class>/* or train.csv"
    )
    add_recipe(
        train,
        changes="change the recipe: seed=1, model.size=128, phases.head.lr=1e-3, phases.*.epochs=2",
    )
    train.add_argument("--out", type=named, required=True, metavar="RUN", help="the run folder")
    train.add_argument(
        "--epochs-from",
        type=named,
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
        metavar="auto|must|never|PATH",
        help="auto: go on with RUN, or on Kaggle and Colab with the furthest run of this recipe "
        "and photos among the inputs; must: the same, but never start anew; PATH: branch from a "
        "run, chain or checkpoint (%(default)s)",
    )
    train.add_argument(
        "--allow",
        nargs="+",
        action="extend",
        default=[],
        metavar="CHANGE",
        help="what the recipe may change in mid-run: epochs, phases (not begun), determinism, "
        "weights (their place)",
    )
    train.add_argument(
        "--save-every",
        metavar="10m|'50 steps'",
        help="default: by what a save costs, at most 1%% of the time; phases' ends always, epochs' "
        "ends where it is worth it",
    )
    train.add_argument(
        "--keep",
        default="10GB",
        metavar="10GB",
        help="room for the chain; its newest and best checkpoint stay in any case (%(default)s)",
    )
    train.add_argument("--exclude", metavar="FILE", help="ids of photos to leave out, one a line")
    train.add_argument(
        "--external", type=named, metavar="DIR", help="more photos that only train, like --data"
    )
    train.add_argument(
        "--groups",
        type=named,
        metavar="FILE",
        help="CSV (id, group): photos of a group train or validate together",
    )
    add_workers(train)


def _run(given: argparse.Namespace) -> int:
    from carlib.catalog import find_test, merge, read_catalog, read_exclusions
    from carlib.loader import Workers
    from carlib.session import Every, detect_session, seconds

    recipe = read_recipe(given)
    if given.epochs_from:
        # Its imports are heavy, and a mistake in it must show before photos are read.
        from carlib.train.final import with_epochs_of

        recipe = with_epochs_of(recipe, given.epochs_from)
    session = detect_session(
        limit=seconds(given.limit) if given.limit else None, stop_after=given.stop_after
    )
    save_every = Every.parse(given.save_every) if given.save_every else None
    keep = size(given.keep)
    workers = Workers.parse(given.workers) if given.workers else None
    catalog = read_catalog(given.data, given.groups)
    if given.external:
        external = read_catalog(given.external, least=1)
        catalog = merge(catalog, external, against=find_test(given.data))
    if given.exclude:
        catalog = catalog.without(read_exclusions(given.exclude))

    from carlib.plan import line_of
    from carlib.progress import say
    from carlib.report import write_report
    from carlib.train import train_model

    outcome = train_model(
        recipe,
        catalog,
        given.out,
        session=session,
        resume=given.resume,
        allow=given.allow,
        save_every=save_every,
        keep=keep,
        workers=workers,
    )
    report = write_report(given.out, catalog)
    if stands := line_of(given.out):
        say(stands)
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
        show(given, figures, f"done: {score}; see {report}")
        return 0
    how = "run the same command again to go on"
    if given.resume not in ("auto", "must"):
        how = "to go on, run it again with --resume auto"
    if session.kind != "plain":
        how += "; in a new session, attach this one's output first"
    show(given, figures, f"stopped by {outcome.why}; everything is saved: {how}")
    return STOPPED
