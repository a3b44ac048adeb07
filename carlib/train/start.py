"""Where a run starts: from nothing, or from the newest whole checkpoint of its chain."""

from __future__ import annotations

from pathlib import Path

from carlib.checkpoints import Checkpoint, adopt, find_checkpoint, read_state
from carlib.checkpoints.disk import MANIFEST, verify
from carlib.errors import RunError, UsageError
from carlib.files import write_whole
from carlib.loader import View
from carlib.metrics import is_higher_better
from carlib.models.build import check_model
from carlib.runfolder import RunFolder
from carlib.schedules import make_optimizer, make_schedule
from carlib.spec import Recipe, differences, from_dict


def check_names(recipe: Recipe) -> None:
    """Raise UsageError for a name in the recipe that no table has, before time is spent."""
    check_model(recipe.model)
    is_higher_better(recipe.monitor)
    for phase in recipe.phases:
        View.of(recipe.model, phase)
        make_optimizer(phase, make_schedule(phase, 1))


def find_start(
    folder: RunFolder, recipe: Recipe, catalog_digest: str, resume: str
) -> Checkpoint | None:
    """Return the checkpoint to go on from, in the run's own chain; None to start anew.

    Args:
        folder: The run.
        recipe: It must be the checkpoint's.
        catalog_digest: Likewise.
        resume: "auto" (the run's own chain), "never", or the path of a run, a chain or one
            checkpoint, which is copied into this run first.

    Raises:
        UsageError: "never" or a path, and the run has a chain already.
        RunError: Nothing whole under the path, another recipe or other photos.
    """
    own = find_checkpoint(folder.chain)
    if resume != "auto" and own:
        raise UsageError(
            f"{folder.root} already holds a run (up to {own.name}); choose another --out, or "
            "--resume auto to go on with it"
        )
    if resume == "never":
        return None
    if resume != "auto":
        source = _source(Path(resume))
        _check(source, recipe, catalog_digest)
        best = read_state(source)[1]["ledger"]["best"] or {}
        adopt(source.path.parent, folder.chain, (best.get("checkpoint", ""), source.name))
        features = source.path.parent.parent / folder.features.name
        # They may be hours of a large network; their names say what they belong to.
        for path in sorted(features.glob("*.npz")):
            write_whole(folder.features / path.name, path.read_bytes())
        own = verify(folder.chain / source.name)
    if own:
        _check(own, recipe, catalog_digest)
    return own


def _source(path: Path) -> Checkpoint:
    if (path / MANIFEST).is_file():
        return verify(path)
    chain = path / "chain" if (path / "chain").is_dir() else path
    found = find_checkpoint(chain)
    if not found:
        raise RunError(
            f"there is no whole checkpoint under {path}; give a run folder, its chain folder or "
            "one checkpoint"
        )
    return found


def _check(checkpoint: Checkpoint, recipe: Recipe, catalog_digest: str) -> None:
    if checkpoint.recipe_digest != recipe.digest():
        old = from_dict(read_state(checkpoint)[1]["recipe"])
        raise RunError(
            f"{checkpoint.path} belongs to another recipe ({'; '.join(differences(old, recipe))});"
            " train with the recipe it was begun with, or start anew in another --out"
        )
    if checkpoint.catalog_digest != catalog_digest:
        raise RunError(
            f"{checkpoint.path} was trained on other photos or labels (catalog digest "
            f"{checkpoint.catalog_digest[:12]}, now {catalog_digest[:12]}); choose another --out, "
            "or give the photos it was begun with"
        )
