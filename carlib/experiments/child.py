"""One run in a process of its own: ``python -m carlib.experiments.child JOB``, a JSON text.

With "-" the text comes by stdin, and is a list of arms whose names are looked up.
"""

from __future__ import annotations

import dataclasses
import json
import logging
import os
import sys
import threading
import time
import traceback
from pathlib import Path
from typing import Any

from carlib.errors import CarlibError, UsageError
from carlib.experiments.folder import drop_weights, result_of

STOPPED = 75
LOOK = 0.5  # seconds between two looks at the parent
PATIENCE = 20.0  # seconds for a process of a killed parent to leave the run folder


def main(job: dict[str, Any]) -> int:
    """Train a run, or go on with it; write what it came to.

    Args:
        job: arms, use and parent; or recipe, data, run, use, parent, exclude, external, groups,
            limit, workers and keep.

    Returns:
        0 done, 75 stopped, else failed, with a line on stderr.
    """
    began = time.monotonic()  # the clock runs while TensorFlow loads
    threading.Thread(target=_leave_with, args=(job["parent"],), daemon=True).start()
    logging.basicConfig(format="carlib: %(message)s", level=logging.WARNING)
    try:
        return _check(job) if "arms" in job else _train(job, began)
    except CarlibError as error:
        print(f"carlib: {error}", file=sys.stderr)
        return error.exit_code
    except (OSError, MemoryError) as error:
        print(f"carlib: {error or 'out of memory'}", file=sys.stderr)
        return 1
    except Exception as error:
        traceback.print_exc()
        print(f"carlib: {type(error).__name__}: {error}", file=sys.stderr)
        return 1


def _check(job: dict[str, Any]) -> int:
    from carlib.spec import from_dict
    from carlib.train.start import check_names
    from carlib.using import use

    for path in job["use"]:
        use(path)
    for name, recipe in job["arms"]:
        try:
            check_names(from_dict(recipe))
        except UsageError as error:
            raise UsageError(f"arm {name!r}: {error}") from error
    return 0


def _train(job: dict[str, Any], began: float) -> int:
    from carlib.catalog import find_test, merge, read_catalog, read_exclusions
    from carlib.loader import Workers
    from carlib.session import detect_session
    from carlib.spec import from_dict
    from carlib.train import train_model
    from carlib.using import use

    for path in job["use"]:
        use(path)
    recipe, run = from_dict(job["recipe"]), Path(job["run"])
    catalog = read_catalog(job["data"], job["groups"])
    if job["external"]:
        external = read_catalog(job["external"], least=1)
        catalog = merge(catalog, external, against=find_test(job["data"]))
    if job["exclude"]:
        catalog = catalog.without(read_exclusions(job["exclude"]))
    _wait_for(run)
    # What earlier sessions left is in the run folder already; other arms' runs lie beside it.
    session = dataclasses.replace(detect_session(limit=job["limit"]), inputs=(), work=run)
    if job["limit"] is not None:
        session.began = began
    outcome = train_model(
        recipe,
        catalog,
        run,
        session=session,
        workers=Workers.parse(job["workers"]) if job["workers"] else None,
    )
    if not outcome.done:
        return STOPPED
    result = result_of(run, recipe.with_probe().digest())
    result.save(run / "trial.json")
    if job["keep"] == "results":
        drop_weights(run)
    return 0


def _wait_for(run: Path) -> None:
    """Wait for a process that an earlier, killed session left behind in the run folder."""
    from carlib.files import only_one

    end = time.monotonic() + PATIENCE
    while run.is_dir():
        try:
            with only_one(run):
                return
        except CarlibError:
            if time.monotonic() > end:
                raise
            time.sleep(LOOK)


def _leave_with(parent: int) -> None:
    """End this process when its parent has gone: a killed experiment leaves nothing running."""
    while os.getppid() == parent:
        time.sleep(LOOK)
    os._exit(1)


if __name__ == "__main__":
    sys.exit(main(json.loads(sys.stdin.read() if sys.argv[1] == "-" else sys.argv[1])))
