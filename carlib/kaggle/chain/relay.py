"""How a session reaches what the one before it left: as its source, or through a dataset."""

from __future__ import annotations

import logging
import shutil
import time
from collections.abc import Callable
from pathlib import Path

from carlib.checkpoints import Position
from carlib.checkpoints.chain import folders_of
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
    """Return the session whose checkpoint the next one goes on from; None to begin anew."""
    able = [turn for turn in _progressed(diary) if turn.relayed or _is_mounted(diary, turn)]
    return able[-1] if able else None


def _progressed(diary: Diary) -> list[Turn]:
    return [turn for turn in diary.turns if turn.ended and got_further(turn.at, turn.carries)]


def _is_mounted(diary: Diary, turn: Turn) -> bool:
    """Whether naming its kernel is enough: Kaggle mounts the newest COMPLETE version's output."""
    return turn.status == "COMPLETE" and diary.plan.relay != "dataset" and not turn.unmounted


def hand_on(
    asker: Asker,
    diary: Diary,
    *,
    poll: float = 60.0,
    wait: Callable[[float], None] = time.sleep,
) -> None:
    """Put the furthest session's chain into the plan's dataset, where its kernel is no source.

    That is so with relay "dataset", for a session that did not end COMPLETE (Kaggle mounts no
    output of such a one, but gives out its files), and where Kaggle did not attach it. Only
    checkpoints that are whole travel; where none is, the session before counts.

    Args:
        asker: The client.
        diary: The chain's.
        poll: Seconds between two looks at the dataset.
        wait: Sleeps.

    Raises:
        KaggleError: Refused, or Kaggle could not be reached: asked again, it goes on.
    """
    while able := _progressed(diary):
        turn = able[-1]
        if turn.relayed or _is_mounted(diary, turn) or _relay(asker, diary, turn, poll, wait):
            return


def _relay(
    asker: Asker, diary: Diary, turn: Turn, poll: float, wait: Callable[[float], None]
) -> bool:
    """Put a session's chain into the dataset; False where it left nothing whole that is further."""
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
        return False
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
    return True


def _furthest(name: str) -> Position:
    return position_of(name) or Position()


def _fill(folder: Path, pulled: Path, dataset: Dataset, checkpoints: tuple[str, ...]) -> None:
    """Make the dataset's folder: the chain under its run's own name, whole checkpoints only."""
    # A class of photos may be called "chain" too.
    chains = [path for path in sorted(pulled.rglob("chain")) if folders_of(path)]
    if len(chains) != 1:
        raise RunError(f"{pulled} holds {len(chains)} chains; one run is handed on, not several")
    (chain,) = chains
    shutil.rmtree(folder, ignore_errors=True)
    with whole_folder(folder) as aside:
        for name in checkpoints:
            shutil.copytree(chain / name, aside / chain.parent.name / "chain" / name)
        dataset.write(aside)
