"""How a session reaches what the one before it left: as its source, or through a dataset."""

from __future__ import annotations

import logging
import shutil
import time
from collections.abc import Callable
from pathlib import Path

from carlib.checkpoints import Position
from carlib.errors import RunError
from carlib.files import whole_folder
from carlib.kaggle.chain.decide import got_further, position_of
from carlib.kaggle.chain.diary import Diary, Turn
from carlib.kaggle.client import Asker
from carlib.kaggle.datasets import dataset_version, upload_dataset
from carlib.kaggle.metadata import Dataset
from carlib.kaggle.pull import pull_output

log = logging.getLogger("carlib")


def carrier_of(diary: Diary) -> Turn | None:
    """Return the session whose checkpoint the next one goes on from; None to begin anew.

    A kernel can be a source only as its newest COMPLETE version; what another session left is
    reached where it lies in the chain's dataset.
    """
    able = [
        turn
        for turn in diary.turns
        if turn.ended
        and turn.at
        and got_further(turn.at, turn.carries)
        and (turn.relayed or (turn.status == "COMPLETE" and diary.plan.relay != "dataset"))
    ]
    return able[-1] if able else None


def hand_on(
    asker: Asker,
    diary: Diary,
    turn: Turn,
    *,
    poll: float = 60.0,
    wait: Callable[[float], None] = time.sleep,
) -> None:
    """Put a session's chain into the plan's dataset, where the next cannot name its kernel.

    That is so with relay "dataset", and for a session that did not end COMPLETE: Kaggle mounts no
    output of such a one, but gives out its files. Only checkpoints that are whole travel.

    Args:
        asker: The client.
        diary: The chain's.
        turn: The session that ended.
        poll: Seconds between two looks at the dataset.
        wait: Sleeps.

    Raises:
        KaggleError: Refused, or Kaggle could not be reached: asked again, it goes on.
    """
    mounted = turn.status == "COMPLETE" and diary.plan.relay != "dataset"
    if turn.relayed or mounted or not got_further(turn.at, turn.carries):
        return
    out = diary.path.parent
    folder = out / "relay"
    pulled = pull_output(asker, turn.kernel, out / "rescued", turn.version)
    best = max(pulled.checkpoints, key=_furthest, default="")
    if not got_further(best, turn.carries):
        log.warning(
            "session %d left no whole checkpoint further than %s; going on from there",
            turn.number,
            turn.carries or "the start",
        )
        turn.at = turn.carries
        diary.save()
        return
    turn.at = best
    _fill(folder, out / "rescued", diary.plan.as_dataset(), pulled.checkpoints)
    if not turn.relaying:
        now = dataset_version(asker, diary.plan.chain_dataset)
        turn.relaying = (now[1] if now else 0) + 1
    diary.save()
    upload_dataset(
        asker,
        folder,
        f"session {turn.number}: {turn.at}",
        expected=turn.relaying,
        poll=min(poll, 5.0),
        wait=wait,
    )
    turn.relayed = True
    diary.save()


def _furthest(name: str) -> Position:
    return position_of(name) or Position()


def _fill(folder: Path, pulled: Path, dataset: Dataset, checkpoints: tuple[str, ...]) -> None:
    """Make the dataset's folder: the chain under its run's own name, whole checkpoints only."""
    chains = [path for path in sorted(pulled.rglob("chain")) if path.is_dir()]
    if len(chains) != 1:
        raise RunError(f"{pulled} holds {len(chains)} chains; one run is handed on, not several")
    (chain,) = chains
    shutil.rmtree(folder, ignore_errors=True)
    with whole_folder(folder) as aside:
        for name in checkpoints:
            shutil.copytree(chain / name, aside / chain.parent.name / "chain" / name)
        dataset.write(aside)
