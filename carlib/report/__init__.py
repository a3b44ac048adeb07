"""The report of a run: one self-contained HTML page, and its figures as PNG."""

from __future__ import annotations

import base64
import io
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from importlib.resources import files
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from carlib.catalog import Catalog
from carlib.errors import DataError
from carlib.files import write_whole
from carlib.images import read_photo
from carlib.report.facts import (
    Facts,
    Score,
    hours_between,
    read_facts,
    waiting_share,
    warnings,
)
from carlib.runfolder import RunFolder
from carlib.submission import Predictions

if TYPE_CHECKING:
    from carlib.report.plots import Band, Course

__all__ = ["write_report"]

WORST = 24  # photos in the grid
THUMBNAIL = 160  # px of the longer side; shown at about 140
LISTED = 50  # photos left out that are listed; the rest is counted
OPEN_CLASSES = 14  # rows of the recall table in sight; the rest folds away
UNKNOWN = "\N{EN DASH}"
FIGURES = ("curves", "lr", "confusion", "worst")


def write_report(run: Path | str, photos: Catalog | None = None) -> Path:
    """Write ``report.html`` of a run, and each of its figures into ``plots/``.

    What the run does not have yet (predictions, sessions, a second epoch) is named on the
    page. A figure of an earlier report that can no longer be drawn is removed.

    Args:
        run: The run folder.
        photos: Catalog that holds the validation photos, for the grid of the worst ones.
            None: the page says why there is none.

    Returns:
        The path of report.html.

    Raises:
        RunError: The folder has no result.json or history.csv, or one is damaged.
        CarlibError: The page cannot be written.

    >>> write_report("nowhere")
    Traceback (most recent call last):
    carlib.errors.RunError: nowhere/result.json is not there: is nowhere a finished carlib run?
    """
    import jinja2

    from carlib.report.plots import drawable

    folder = RunFolder(Path(run))
    facts = read_facts(folder.root)
    photos_shown = _worst(facts.predictions, photos)
    figures = _figures(facts, photos_shown)
    for name in FIGURES:
        if name in figures:
            write_whole(folder.plots / f"{name}.png", figures[name].light)
        else:
            (folder.plots / f"{name}.png").unlink(missing_ok=True)
    environment = jinja2.Environment(autoescape=True, trim_blocks=True, lstrip_blocks=True)
    environment.filters.update(
        percent=_percent, number=_number, clock=_clock, count=_count, moment=_moment
    )
    template = environment.from_string(
        files("carlib.report").joinpath("page.html").read_text(encoding="utf-8")
    )
    page = template.render(
        result=facts.result,
        recipe=facts.recipe,
        score=facts.score(),
        best=facts.best(),
        hours=facts.hours(),
        planned=sum(_whole(phase.get("epochs")) for phase in facts.result["phases"]),
        epochs=len(facts.history),
        warnings=warnings(facts),
        missing=facts.missing,
        figures=figures,
        phases=_phases(facts),
        classes=_classes(facts.predictions),
        numbered=[
            (number, name)
            for number, name in enumerate(facts.predictions.classes if facts.predictions else ())
            if not drawable(name)
        ],
        open_classes=OPEN_CLASSES,
        worst=photos_shown,
        predictions=facts.predictions,
        sessions=_sessions(facts),
        left_out=facts.left_out.head(LISTED).to_dict("records"),
        left_out_listed=len(facts.left_out),
        left_out_count=facts.left_out_count(),
    )
    # A lone surrogate, from an odd file name, has no UTF-8 form.
    write_whole(folder.report, page.encode("utf-8", "replace"))
    return folder.report


@dataclass(frozen=True, slots=True, eq=False)
class _Figure:
    """A figure as PNG for light and dark screens, and its width in px on the page."""

    light: bytes
    dark: bytes
    width: int
    height: int

    @property
    def light_url(self) -> str:
        return _url(self.light, "png")

    @property
    def dark_url(self) -> str:
        return _url(self.dark, "png")


@dataclass(frozen=True, slots=True, eq=False)
class _Photo:
    """A validation photo of the worst ones; ``why`` says why it has no thumbnail."""

    id: str
    true: str
    predicted: str
    of_true: float
    of_predicted: float
    thumbnail: NDArray[Any] | None
    why: str

    @property
    def url(self) -> str:
        from PIL import Image

        if self.thumbnail is None:
            return ""
        content = io.BytesIO()
        Image.fromarray(self.thumbnail).save(content, "JPEG", quality=82, optimize=True)
        return _url(content.getvalue(), "jpeg")


def _url(content: bytes, kind: str) -> str:
    return f"data:image/{kind};base64,{base64.b64encode(content).decode()}"


def _figures(facts: Facts, photos: Sequence[_Photo]) -> dict[str, _Figure]:
    from carlib.report import plots

    def drawn(draw: Any, *what: Any) -> _Figure:
        light, dark = draw(*what, plots.LIGHT), draw(*what, plots.DARK)
        width, height = (round(inches * 100) for inches in light.get_size_inches())
        return _Figure(plots.png(light), plots.png(dark), width, height)

    made = {}
    if not facts.history.empty:
        course = _course(facts)
        made["curves"] = drawn(plots.curves, course)
        made["lr"] = drawn(plots.lr, course)
    if facts.predictions is not None:
        counts = _counts(facts.predictions)
        made["confusion"] = drawn(plots.confusion, counts, facts.predictions.classes)
    if photos:
        tiles = [
            plots.Tile(
                f"{_shorter(photo.true)} → {_shorter(photo.predicted)}\n{_shorter(photo.id, 24)}",
                photo.thumbnail,
            )
            for photo in photos
        ]
        # Not on the page, which has the photos themselves: one theme is enough.
        content = plots.png(plots.worst(tiles))
        made["worst"] = _Figure(content, content, 0, 0)
    return made


def _shorter(text: str, longest: int = 12) -> str:
    return text if len(text) <= longest else text[: longest - 1] + "…"


def _course(facts: Facts) -> Course:
    from carlib.report.plots import Band, Course

    bands: list[Band] = []
    for name, epoch in zip(facts.history["phase"], facts.history["epoch"], strict=True):
        if bands and bands[-1].name == name:
            bands[-1] = Band(name, bands[-1].first, int(epoch))
        else:
            bands.append(Band(name, int(epoch), int(epoch)))
    best = facts.best()
    names = ("epoch", "lr", "loss", "accuracy", "val_loss", "val_accuracy")
    return Course(
        {name: facts.history[name].to_numpy(float) for name in names},
        bands,
        facts.session_starts(),
        best.epoch if best else None,
    )


def _counts(predictions: Predictions) -> NDArray[Any]:
    """Return the confusion matrix, shape (C, C): a row a true class."""
    counts = np.zeros((len(predictions.classes),) * 2, int)
    np.add.at(counts, (np.array(predictions.labels), predictions.probabilities.argmax(axis=1)), 1)
    return counts


def _classes(predictions: Predictions | None) -> list[dict[str, Any]]:
    """Return a row a class, lowest recall first, classes without photos last."""
    if predictions is None:
        return []
    counts = _counts(predictions)
    rows = []
    for number, name in enumerate(predictions.classes):
        total, right = int(counts[number].sum()), int(counts[number, number])
        wrong = counts[number].copy()
        wrong[number] = 0
        rows.append(
            {
                "name": name,
                "score": Score(right, total) if total else None,
                "taken_for": predictions.classes[int(wrong.argmax())] if wrong.any() else "",
                "times": int(wrong.max()),
            }
        )
    return sorted(rows, key=lambda row: row["score"].share if row["score"] else 2.0)


def _worst(predictions: Predictions | None, photos: Catalog | None) -> list[_Photo]:
    """Return the validation photos of highest loss, with thumbnails."""
    if predictions is None or predictions.labels is None or photos is None:
        return []
    paths = dict(zip(photos.ids, photos.paths, strict=True))
    of_true = predictions.probabilities[np.arange(len(predictions.ids)), list(predictions.labels)]
    guesses = predictions.probabilities.argmax(axis=1)
    shown = []
    for place in np.argsort(of_true, kind="stable")[:WORST]:  # loss is -log of it
        thumbnail, why = _thumbnail(paths.get(predictions.ids[place]))
        shown.append(
            _Photo(
                id=predictions.ids[place],
                true=predictions.classes[predictions.labels[place]],
                predicted=predictions.classes[guesses[place]],
                of_true=float(of_true[place]),
                of_predicted=float(predictions.probabilities[place, guesses[place]]),
                thumbnail=thumbnail,
                why=why,
            )
        )
    return shown


def _thumbnail(path: str | None) -> tuple[NDArray[Any] | None, str]:
    """Return the whole photo made small, or None and why."""
    from PIL import Image

    if path is None:
        return None, "no path given"
    try:
        small = Image.fromarray(read_photo(str(path)))
    except (DataError, OSError, ValueError):  # ValueError: a path that no system allows
        return None, "cannot be read"
    small.thumbnail((THUMBNAIL, THUMBNAIL))
    return np.asarray(small), ""


def _phases(facts: Facts) -> Iterator[dict[str, Any]]:
    """Yield a row a phase: what result.json says of it, and what its epochs came to."""
    for phase in facts.result["phases"]:
        name = str(phase.get("name", ""))
        history = facts.history[facts.history["phase"] == name]
        timings = facts.timings[facts.timings["phase"] == name]
        accuracy = history["val_accuracy"]
        accuracy = accuracy[np.isfinite(accuracy)]
        seconds = float(timings["seconds"].sum()) if len(timings) else math.nan
        trains = phase.get("trains", "")
        yield {
            "name": name,
            "said": phase,
            "trains": trains if isinstance(trains, str) else f"top {_percent(trains, 0)}",
            "parameters": _share(phase.get("trainable_parameters"), phase.get("parameters")),
            "done": len(history),
            "seconds": seconds,
            "epoch_seconds": seconds / len(timings) if len(timings) else math.nan,
            "waiting": waiting_share(timings),
            "accuracy": float(accuracy.max()) if len(accuracy) else None,
            "at": int(history.loc[accuracy.idxmax(), "epoch"]) if len(accuracy) else None,
        }


def _sessions(facts: Facts) -> list[dict[str, Any]]:
    rows = facts.sessions.to_dict("records")
    for row in rows:
        row["hours"] = hours_between(row["start"], row["stop"])
    return [{str(key): value for key, value in row.items()} for row in rows]


def _share(part: Any, whole: Any) -> float | None:
    return part / whole if part is not None and whole else None


def _whole(value: Any) -> int:
    return value if isinstance(value, int) else 0


def _percent(value: float | None, digits: int = 1) -> str:
    return UNKNOWN if value is None or not math.isfinite(value) else f"{value:.{digits}%}"


def _number(value: float | None) -> str:
    return UNKNOWN if value is None else f"{value:.3g}"


def _count(value: float | None) -> str:
    return UNKNOWN if value is None or not math.isfinite(value) else f"{value:,.0f}"


def _moment(text: str) -> str:
    """Return an ISO 8601 time to the minute; any other text as it is."""
    try:
        return f"{datetime.fromisoformat(text):%Y-%m-%d %H:%M %Z}".strip()
    except ValueError:
        return text


def _clock(seconds: float | None) -> str:
    """Return seconds for people: "4.2 s", "43 s", "2 min 5 s", "12 min", "1 h 40 min"."""
    if seconds is None or not math.isfinite(seconds):
        return UNKNOWN
    if seconds < 9.95:
        return f"{seconds:.1f} s"
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    if whole < 600:
        return f"{whole // 60} min {whole % 60} s"
    minutes = round(seconds / 60)
    if minutes < 60:
        return f"{minutes} min"
    return f"{minutes // 60} h {minutes % 60} min"
