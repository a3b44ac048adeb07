"""A table as CSV: a row an arm and level, figures in full."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

from carlib.experiments.noun import FULL, PROXY
from carlib.experiments.table import Table, figures_of

if TYPE_CHECKING:
    import pandas as pd

# What a clock measured comes last: all before it is the same whenever and wherever it is run.
COLUMNS = (
    *("table", "level", "arm", "changes", "runs", "wanted", "accuracy", "accuracy_low"),
    *("accuracy_high", "difference", "difference_low", "difference_high", "chance", "verdict"),
    *("more", "note", "hours", "accuracy_per_hour"),
)


def sheet(tables: Sequence[Table]) -> pd.DataFrame:
    """Return all rows of tables, with COLUMNS; what is not known is empty."""
    import pandas as pd

    frame = pd.DataFrame(list(_rows(tables)), columns=list(COLUMNS))
    return frame.astype({"more": "Int64"})


def _rows(tables: Sequence[Table]) -> Iterator[dict[str, Any]]:
    for table in tables:
        for level, lines in ((FULL, table.lines), (PROXY, table.proxy)):
            for line in lines:
                said = figures_of(line)
                for name in ("accuracy", "difference"):
                    key = "interval" if name == "accuracy" else "difference_interval"
                    said[f"{name}_low"], said[f"{name}_high"] = said.pop(key) or (None, None)
                said["changes"] = " ".join(said["changes"])
                yield {"table": table.experiment.name, "level": level, **said}
