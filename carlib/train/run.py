"""From a recipe and photos to a run: what is checked and split before the first step."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

import keras
import tensorflow as tf

from carlib.audit import audit
from carlib.catalog import Catalog, parted
from carlib.errors import DataError, RunError, UsageError
from carlib.files import only_one
from carlib.loader import Workers
from carlib.metrics import is_higher_better
from carlib.predict import wanted
from carlib.runfolder import RunFolder
from carlib.session import Every, Session, detect_session
from carlib.spec import Recipe
from carlib.train.allowed import check_allow
from carlib.train.ledger import versions
from carlib.train.loop import Training
from carlib.train.outcome import Material, Outcome
from carlib.train.start import check_names, find_start, warn_of_versions

KEEP = 10 * 10**9  # bytes


def train_model(
    recipe: Recipe,
    catalog: Catalog,
    out: Path | str,
    *,
    session: Session | None = None,
    resume: str = "auto",
    allow: Iterable[str] = (),
    save_every: Every | None = None,
    keep: int | None = KEEP,
    workers: Workers | None = None,
    callbacks: Iterable[keras.callbacks.Callback] = (),
) -> Outcome:
    """Train a recipe on labelled photos, or go on where an earlier session stopped.

    Args:
        recipe: What to train.
        catalog: Labelled photos; the recipe's validation share is split off here. Photos
            that cannot be read are left out and listed in left-out.csv.
        out: The run folder.
        session: Its clock says when to stop. Defaults to ``detect_session()``: on Kaggle and
            in Colab it has their limit, elsewhere none.
        resume: "auto" goes on with the run in ``out``; where there is none, on Kaggle and Colab
            with the furthest checkpoint of this recipe and these photos under the session's work
            folder and inputs. "never" refuses to; a path branches from that run, chain or
            checkpoint.
        allow: Changes to the recipe that a resumed run may have: "epochs", "phases",
            "determinism", "weights" (``carlib.train.allowed.ALLOWED``).
        save_every: Distance of two saves within an epoch. None chooses it from what a save costs:
            at most 1% of the time, and not more than once a minute. Phase ends are always saved,
            epoch ends where that keeps to the 1%, not more than once in ten seconds.
        keep: Bytes that the chain may take: its newest checkpoint and the best stay in any case,
            the one before and the ends of phases while they fit. None for no bound. Defaults to
            10 GB, half of what Kaggle keeps of an output.
        workers: Who loads photos. Defaults to a thread a core.
        callbacks: Keras callbacks; ``on_train_begin`` comes once a phase and session, and their
            ``model`` is the one that the phase trains (on cached features, the head alone).
            What they remember is in the checkpoints where they are ``Stateful`` (a ``name``, and
            ``get`` and ``set``), else not.

    Returns:
        How it ended; ``done`` False when the clock stopped it: call again to go on.

    Raises:
        UsageError: A name in the recipe that is not known.
        DataError: No labels, one class, a class with fewer than two usable photos.
        RunError: The run folder is of another recipe or other photos, or another process
            trains in it; out of memory; a loss that is not finite.
    """
    recipe = recipe.with_probe()
    check_names(recipe)
    allow = tuple(allow)
    check_allow(allow)
    if catalog.labels is None:
        raise UsageError("training needs labels, and these photos have none")
    folder = RunFolder(Path(out))
    session = session or detect_session()
    began = session.clock()
    faults = audit(catalog)
    usable = catalog.without(fault.id for fault in faults)
    if not len(usable):
        raise DataError(f"none of the {len(catalog)} photos can be read; {faults[0].reason}")
    training, validation = parted(usable, recipe)
    higher = is_higher_better(recipe.monitor)
    material = Material(recipe, training, validation, faults, usable.digest(), higher)
    if recipe.determinism == "exact":
        tf.config.experimental.enable_op_determinism()
    run = Training(
        material, folder, session, workers or Workers(), callbacks, save_every, keep, began
    )
    with only_one(folder.root):
        start = find_start(folder, recipe, material.catalog_digest, session, resume, allow)
        if start.checkpoint:
            warn_of_versions(start.checkpoint, versions())
        try:
            return run.run(start)
        except (tf.errors.ResourceExhaustedError, MemoryError) as error:
            raise RunError(
                f"out of memory ({wanted(error)}): lower phases.*.batch_size or model.size; what "
                "was saved is whole"
            ) from error
