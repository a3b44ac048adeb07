"""Writes a table into the experiment's folder: Markdown, CSV, a page, a picture."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from carlib import __version__
from carlib.experiments.noun import Experiment
from carlib.experiments.sheet import sheet
from carlib.experiments.table import Line, Table
from carlib.experiments.verdict import BETTER, UNKNOWN, WORSE
from carlib.experiments.words import PROXIES, cells, judged, markdown, notes
from carlib.files import write_whole

FILES = ("table.md", "table.csv", "table.html", "table.png")


def write_tables(experiment: Experiment, tables: Sequence[Table], out: Path | str) -> list[Path]:
    """Write FILES into the experiment's folder, each whole; return their paths.

    Args:
        experiment: What was asked.
        tables: As ``tables_of`` returns them.
        out: The folder.
    """
    from carlib.experiments.picture import draw
    from carlib.style.page import drawing, render

    figure = drawing(draw, tables)
    page = render("carlib.experiments", **_said(experiment, tables), figure=figure)
    contents: tuple[str | bytes, ...] = (
        markdown(tables),
        sheet(tables).to_csv(index=False, lineterminator="\n"),
        page,
        figure.light,
    )
    paths = [Path(out) / name for name in FILES]
    for path, content in zip(paths, contents, strict=True):
        write_whole(path, content)
    return paths


def _said(experiment: Experiment, tables: Sequence[Table]) -> dict[str, Any]:
    """The page's variables; of a search, verdicts at its head are those of all rounds."""
    found: dict[str, list[str]] = {BETTER: [], WORSE: [], UNKNOWN: []}
    for table in tables:
        for line in table.lines:
            if line.comparison is not None:
                found[line.comparison.verdict].append(line.arm.name)
    return {
        "name": experiment.name,
        "version": __version__,
        "better": found[BETTER],
        "worse": found[WORSE],
        "unknown": found[UNKNOWN],
        "tables": [_table(table) for table in tables],
    }


def _table(table: Table) -> dict[str, Any]:
    levels = [("", table.lines), (PROXIES, table.proxy)]
    return {
        "title": table.experiment.name,
        "judged": judged(table),
        "levels": [(title, list(map(_row, lines))) for title, lines in levels if lines],
        "notes": list(notes(table)),
    }


def _row(line: Line) -> tuple[Any, ...]:
    return (*cells(line), line.arm.changes if line.arm.changes != (line.arm.name,) else ())
