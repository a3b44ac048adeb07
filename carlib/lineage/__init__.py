"""Where a run comes from: its sessions and checkpoints, read off a chain copied anywhere.

Nothing is written and no lock is taken: inputs may be read-only, and a run may be looked at
while it trains.
"""

from carlib.lineage.checking import Verdict, verify_chain
from carlib.lineage.reading import Lineage, Link, read_lineage
from carlib.lineage.sessions import UNCLOSED, Sitting, read_sessions

__all__ = [
    "UNCLOSED",
    "Lineage",
    "Link",
    "Sitting",
    "Verdict",
    "read_lineage",
    "read_sessions",
    "verify_chain",
]
