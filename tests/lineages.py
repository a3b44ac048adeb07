"""A run of two sessions and three small checkpoints, for the tests of its past."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import chains

from carlib.checkpoints import Checkpoint, Position
from carlib.files import sha256
from carlib.runfolder import SESSIONS, RunFolder, write_json, write_table

START, MIDDLE, NEWEST = "000001-p0e0s0", "000002-p0e2s0", "000003-p0e3s1"


def row(number: int, **said: Any) -> dict[str, Any]:
    """A row of sessions.csv: each session takes 90 s and 64 photos."""
    return {
        "session": number,
        "start": f"2025-03-0{number}T10:00:00+00:00",
        "stop": f"2025-03-0{number}T10:01:30+00:00",
        "seconds": 90.0,
        "why": "the clock",
        "where": "kaggle-batch, host-7",
        "device": "Tesla T4",
        "parent": "",
        "phase": "007",
        "epoch": number,
        "value": 0.25 * number,
        "photos": 64,
        "steps": 4,
        "saves": 2,
        "saving": 0.9,
        "total_hours": 0.025 * number,
        "total_photos": 64 * number,
        "versions": "carlib 0.1.0 keras 3.13.2",
        **said,
    }


def state(*sessions: dict[str, Any], best: str | None = None) -> dict[str, Any]:
    """A run's state, its best epoch the second one, in the checkpoint ``best``."""
    epoch = {"phase": "007", "epoch": 2, "value": 0.5, "checkpoint": best}
    ledger = {"sessions": list(sessions), "best": None if best is None else epoch}
    return {"recipe": {"monitor": "AUC"}, "parts": {"ledger": ledger}}


def build(root: Path) -> RunFolder:
    """Write a run of two sessions, the second one under way; the best epoch lies in MIDDLE."""
    run = RunFolder(root)
    first, second = row(1), row(2, why="running", stop="", parent=f"{MIDDLE} of /in/a/chain")
    saved: list[Checkpoint] = []
    for position, known, session, why in (
        (Position(), state(), 1, "start"),
        (Position(0, 2), state(first, best=""), 1, "best"),
        (Position(0, 3, 1), state(first, second, best=MIDDLE), 2, "interval"),
    ):
        parent = saved[-1] if saved else None
        options = {"position": position, "state": known, "session": session, "why": why}
        metrics = {"epoch": 2, "val_AUC": 0.5} if position.epoch else {}
        saved.append(chains.save(run.chain, len(saved), parent, metrics=metrics, **options))
    assert [each.name for each in saved] == [START, MIDDLE, NEWEST]
    write_table(run.sessions, [first, second], SESSIONS)
    run.model.parent.mkdir()
    run.model.write_bytes(b"a model")
    write_json(run.model_card, {"sha256": sha256(run.model), "epoch": 2})
    return run
