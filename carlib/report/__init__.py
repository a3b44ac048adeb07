"""The report of a run: one self-contained HTML page, and its figures as PNG."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from carlib.catalog import Catalog
from carlib.files import write_whole
from carlib.plan import line_of
from carlib.report import tables
from carlib.report.facts import Facts, read_facts, warnings
from carlib.report.photos import Pair, Photo, confused, worst
from carlib.runfolder import RunFolder
from carlib.style.page import Drawing, drawing, render

if TYPE_CHECKING:
    from carlib.report.plots import Band, Course, Tile

__all__ = ["write_report"]

LISTED = 50  # photos left out that are listed; the rest is counted
OPEN_CLASSES = 14  # rows of the recall table in sight; the rest folds away
FIGURES = (
    "curves",
    "lr",
    "phases",
    "confusion",
    "classes",
    "confused",
    "worst",
    "sessions",
)


def write_report(run: Path | str, photos: Catalog | None = None) -> Path:
    """Write ``report.html`` of a run, and each of its figures into ``plots/``.

    What the run does not have yet (predictions, sessions, a second epoch) is named on the
    page. A figure of an earlier report that can no longer be drawn is removed.

    Args:
        run: The run folder.
        photos: Catalog that holds the validation photos, for the grids of the worst and
            the confused ones. None: the page says why there are none.

    Returns:
        The path of report.html.

    Raises:
        RunError: The folder has no result.json or history.csv, or one is damaged.
        CarlibError: The page cannot be written.

    >>> write_report("nowhere")
    Traceback (most recent call last):
    carlib.errors.RunError: nowhere/result.json is not there: is nowhere a finished carlib run?
    """
    from carlib.report.plots import drawable

    folder = RunFolder(Path(run))
    facts = read_facts(folder.root)
    drawn = _Drawn(
        phases=list(tables.phases(facts)),
        classes=tables.classes(facts.predictions),
        sessions=tables.sessions(facts),
        confused=confused(facts.predictions, photos),
        worst=worst(facts.predictions, photos),
    )
    figures = _figures(facts, drawn)
    for name in FIGURES:
        if name in figures:
            write_whole(folder.plots / f"{name}.png", figures[name].light)
        else:
            (folder.plots / f"{name}.png").unlink(missing_ok=True)
    page = render(
        "carlib.report",
        result=facts.result,
        recipe=facts.recipe,
        score=facts.score(),
        best=facts.best(),
        monitor=facts.monitor,
        validated=facts.validated,
        hours=facts.hours(),
        stands=line_of(folder.root),
        planned=sum(_whole(phase.get("epochs")) for phase in facts.result["phases"]),
        epochs=len(facts.history),
        warnings=warnings(facts),
        missing=facts.missing,
        figures=figures,
        phases=drawn.phases,
        classes=drawn.classes,
        numbered=[
            (number, name)
            for number, name in enumerate(facts.predictions.classes if facts.predictions else ())
            if not drawable(name)
        ],
        open_classes=OPEN_CLASSES,
        confused=drawn.confused,
        worst=drawn.worst,
        predictions=facts.predictions,
        sessions=drawn.sessions,
        left_out=facts.left_out.head(LISTED).to_dict("records"),
        left_out_listed=len(facts.left_out),
        left_out_count=facts.left_out_count(),
    )
    write_whole(folder.report, page)
    return folder.report


@dataclass(frozen=True, slots=True, eq=False)
class _Drawn:
    """The rows that the page has as tables and grids, and plots/ as figures."""

    phases: list[dict[str, Any]]
    classes: list[dict[str, Any]]
    sessions: dict[str, Any] | None
    confused: list[Pair]
    worst: list[Photo]


def _figures(facts: Facts, drawn: _Drawn) -> dict[str, Drawing]:
    """Return FIGURES, without those that have nothing to show."""
    from carlib.report import plots

    def plain(draw: Any, *what: Any) -> Drawing:
        # The page has the same as a table or as photos: one theme is enough.
        content = plots.png(draw(*what))
        return Drawing(content, content)

    made = {}
    if not facts.history.empty:
        course = _course(facts)
        made["curves"] = drawing(plots.curves, course)
        made["lr"] = drawing(plots.lr, course)
    if any(row["shares"] or row["seconds_of"] for row in drawn.phases):
        efforts = [
            plots.Effort(row["name"], row["shares"], row["seconds_of"]) for row in drawn.phases
        ]
        made["phases"] = drawing(plots.phases, efforts)
    if facts.predictions is not None:
        counts = tables.confusion_counts(facts.predictions)
        made["confusion"] = drawing(plots.confusion, counts, facts.predictions.classes)
        made["classes"] = drawing(
            plots.recalls,
            [
                plots.Recall(
                    row["number"],
                    row["name"],
                    row["score"].share,
                    row["score"].low,
                    row["score"].high,
                    row["score"].photos,
                )
                for row in drawn.classes
                if row["score"]
            ],
        )
    if drawn.confused:
        pairs = [
            (
                f"{plots.short(pair.true, pair.number, 22)}\n"
                f"→ {plots.short(pair.predicted, pair.taken_for, 20)}\n{pair.times} of {pair.of}",
                [_tile(photo) for photo in pair.photos],
            )
            for pair in drawn.confused
        ]
        made["confused"] = plain(plots.confused, pairs)
    if drawn.worst:
        made["worst"] = plain(
            plots.worst,
            [
                _tile(photo, f"{_shorter(photo.true)} → {_shorter(photo.predicted)}\n")
                for photo in drawn.worst
            ],
        )
    if facts.sessions:
        hours = [(str(each.number), each.why, each.seconds / 3600) for each in facts.sessions]
        made["sessions"] = plain(plots.sessions, hours)
    return made


def _tile(photo: Photo, words: str = "") -> Tile:
    from carlib.report.plots import Tile

    return Tile(words + _shorter(photo.id, 24), photo.thumbnail)


def _shorter(name: str, longest: int = 12) -> str:
    return name if len(name) <= longest else name[: longest - 1] + "…"


def _course(facts: Facts) -> Course:
    from carlib.report.plots import Band, Course

    bands: list[Band] = []
    for name, epoch in zip(facts.history["phase"], facts.history["epoch"], strict=True):
        if bands and bands[-1].name == name:
            bands[-1] = Band(name, bands[-1].first, int(epoch))
        else:
            bands.append(Band(name, int(epoch), int(epoch)))
    best = facts.best()
    return Course(
        {
            str(name): facts.history[name].to_numpy(float)
            for name in facts.history
            if name != "phase"
        },
        bands,
        facts.session_starts(),
        best.epoch if best else None,
        facts.validated,
    )


def _whole(value: Any) -> int:
    return value if isinstance(value, int) else 0
