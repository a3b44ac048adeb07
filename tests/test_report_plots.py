"""The figures of a report."""

from __future__ import annotations

import math
import warnings as ignored
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from carlib.report.facts import HISTORY

with ignored.catch_warnings():
    # matplotlib 3.10 calls by old names what pyparsing 3.3 has renamed.
    ignored.simplefilter("ignore", DeprecationWarning)
    import matplotlib.style

    from carlib.report import plots


def course(count: int, bands: tuple[tuple[str, int, int], ...], **columns: Any) -> plots.Course:
    """Return a course with straight curves where ``columns`` gives none."""
    lines = {name: np.linspace(0.1, 0.9, count) for name in HISTORY[2:]}
    return plots.Course(
        {"epoch": np.arange(1, count + 1), **lines, **columns},
        [plots.Band(*band) for band in bands],
        (("1", 1), ("2", 3)),
        count,
    )


def test_curves_show_phases_sessions_and_the_best_epoch() -> None:
    figure = plots.curves(course(6, (("head", 1, 2), ("all $x$", 3, 6))))
    upper, lower = figure.axes
    assert [text.get_text() for text in upper.texts] == ["head", "all $x$"]
    assert [text.get_text() for text in lower.texts] == ["session 1", "session 2"]
    legend = upper.get_legend()
    assert legend is not None
    assert [text.get_text() for text in legend.get_texts()] == [
        "training",
        "validation",
        "best epoch, 6",
    ]
    assert upper.get_xlim() == (0.5, 6.5)


@pytest.mark.parametrize(
    ("rates", "scale"),
    [
        ([1e-3] * 3, "linear"),
        ([9e-3, 5e-3, 1e-3], "linear"),
        ([1e-2, 5e-3, 1e-3], "log"),
        ([1e-2, 1e-4, 0.0], "log"),
        ([1e-2, math.nan, 1e-4], "log"),
        ([0.0, 0.0, 0.0], "linear"),
        ([math.nan, math.inf, math.nan], "linear"),
    ],
)
def test_scale_of_the_learning_rate(rates: list[float], scale: str) -> None:
    figure = plots.lr(course(3, (("all", 1, 3),), lr=np.array(rates)))
    assert figure.axes[0].get_yscale() == scale
    assert plots.png(figure).startswith(b"\x89PNG")


@pytest.mark.parametrize(
    ("classes", "labels", "numbers"), [(3, 3, True), (20, 20, True), (100, 25, False)]
)
def test_confusion_thins_out(classes: int, labels: int, numbers: bool) -> None:
    counts = np.diag(np.arange(classes)) + np.eye(classes, k=1, dtype=int)
    axes = plots.confusion(counts, [f"c{number}" for number in range(classes)]).axes[0]
    assert len(axes.get_xticklabels()) == len(axes.get_yticklabels()) == labels
    written = [int(text.get_text()) for text in axes.texts]
    assert sorted(written) == (sorted(counts[counts > 0].tolist()) if numbers else [])


EPOCHS = 3
STEPS = [  # columns, and the rate at each epoch's first and last step
    ({"lr_start": [0.0, 0.5, 1.0], "lr": [0.5, 1.0, 0.2]}, [0, 0.5, 0.5, 1, 1, 0.2]),
    ({"lr": [0.5, 1.0, 0.2]}, [0.5, 0.5, 0.5, 1, 0.2, 0.2]),  # a phase begins with epoch 3
    ({"lr": [math.nan, 1.0, 0.2]}, [math.nan, math.nan, 1, 1, 0.2, 0.2]),
]


@pytest.mark.parametrize(("columns", "rates"), STEPS)
def test_learning_rate_is_one_line_from_step_to_step(
    columns: dict[str, list[float]], rates: list[float]
) -> None:
    arrays = {name: np.array(values) for name, values in columns.items()}
    figure = plots.lr(course(EPOCHS, (("head", 1, 2), ("all", 3, 3)), **arrays))
    line = next(line for line in figure.axes[0].lines if len(line.get_xdata()) == 2 * EPOCHS)
    assert list(line.get_xdata()) == [0.5, 1.5, 1.5, 2.5, 2.5, 3.5]
    np.testing.assert_allclose(np.array(line.get_ydata(), float), rates)
    texts = [text.get_text() for text in figure.axes[0].texts]
    assert texts == ["head", "all", "session 1", "session 2"]


def test_learning_rate_stays_legible_where_it_ends_near_nothing() -> None:
    axes = plots.lr(course(3, (("all", 1, 3),), lr=np.array([1e-2, 1e-5, 1e-12]))).axes[0]
    low, high = axes.get_ylim()
    assert 1e-8 < low < 1e-6
    assert high > 1e-2


def test_curves_without_validation() -> None:
    empty = np.full(4, math.nan)
    given = course(4, (("all", 1, 4),), val_loss=empty, val_accuracy=empty)
    figure = plots.curves(replace(given, best=None, validated=False))
    legend = figure.axes[0].get_legend()
    assert legend is not None
    assert [text.get_text() for text in legend.get_texts()] == ["training"]
    legend = plots.curves(given).axes[0].get_legend()
    assert legend is not None
    assert [text.get_text() for text in legend.get_texts()][-1] == "NaN or infinite"


def recall(number: int, name: str = "") -> plots.Recall:
    share = number % 11 / 10
    return plots.Recall(
        number, name or f"class {number}", share, max(0, share - 0.1), min(1, share + 0.1), 10
    )


@pytest.mark.parametrize(
    ("classes", "columns"), [(0, 1), (1, 1), (30, 1), (31, 2), (80, 2), (81, 3), (196, 3)]
)
def test_recalls_stand_in_columns(classes: int, columns: int) -> None:
    figure = plots.recalls([recall(number) for number in range(classes)])
    assert len(figure.axes) == columns
    said = [label.get_text() for axes in figure.axes for label in axes.get_yticklabels()]
    assert said == [f"class {number}" for number in range(classes)]
    shares = [text.get_text() for axes in figure.axes for text in axes.texts]
    assert shares == [f"{number % 11 * 10}% of 10" for number in range(classes)]
    # A row keeps its height, so that its name stays legible.
    rows = max((len(axes.get_yticks()) for axes in figure.axes), default=0)
    assert figure.get_size_inches()[1] >= 0.18 * rows
    assert plots.png(figure).startswith(b"\x89PNG")


def test_recalls_of_very_many_classes() -> None:
    figure = plots.recalls([recall(number) for number in range(1000)])
    assert sum(len(axes.get_yticklabels()) for axes in figure.axes) == 600
    assert figure.get_supxlabel() == "recall with 95% interval (the lowest 600 of 1000)"


def test_recalls_name_what_the_font_cannot_draw() -> None:
    axes = plots.recalls([recall(4, "甲虫"), recall(2, "Жук")]).axes[0]
    assert [label.get_text() for label in axes.get_yticklabels()] == ["#4", "Жук"]


def widths(axes: Any) -> list[float]:
    return [round(bar.get_width(), 4) for bar in axes.patches]


def test_phases_show_shares_and_times() -> None:
    efforts = [
        plots.Effort(
            "head",
            {"layers": 0.1, "parameters": 0.01, "compute": 0.0},
            {"training": 60.0, "validation": 30.0, "features": 90.0},
        ),
        plots.Effort("all $x$", {"parameters": 1.0}, {}),
    ]
    left, right = plots.phases(efforts).axes
    assert widths(left) == [0.1, 0.01, 1.0, 0.0]
    assert [text.get_text() for text in left.texts] == ["10%", "1.0%", "100%", "0.0%"]
    assert widths(right) == [1.0, 0.0, 0.5, 0.0, 1.5, 0.0]  # minutes
    assert [bar.get_x() for bar in right.patches[::2]] == [0.0, 1.0, 1.5]
    assert [text.get_text() for text in right.texts] == ["3 min 0 s", "not known"]
    assert right.get_xlabel() == "minutes"
    for axes, words in (
        (left, ["layers", "parameters", "compute"]),
        (right, ["training", "validation", "features"]),
    ):
        assert [label.get_text() for label in axes.get_yticklabels()] == ["head", "all $x$"]
        assert [text.get_text() for text in axes.get_legend().get_texts()] == words


def test_phases_without_times_or_shares() -> None:
    left, right = plots.phases([plots.Effort("all", {}, {})]).axes
    assert (left.get_legend(), right.get_legend()) == (None, None)
    assert [text.get_text() for text in right.texts] == ["not known"]


@pytest.mark.parametrize(
    ("hours", "unit", "words"),
    [
        ([("1", "the clock", 11.0), ("2", "done", 0.5)], "hours", ["11 h 0 min, the clock"]),
        ([("1", "done", 0.01)], "seconds", ["36 s, done"]),
        ([("1", "killed", 0.0), ("2", "done", 0.5)], "minutes", ["0.0 s, killed", "30 min, done"]),
    ],
)
def test_sessions_show_their_hours(
    hours: list[tuple[str, str, float]], unit: str, words: list[str]
) -> None:
    axes = plots.sessions(hours).axes[0]
    assert axes.get_xlabel() == unit
    assert [text.get_text() for text in axes.texts][: len(words)] == words
    assert [label.get_text() for label in axes.get_yticklabels()] == [
        f"session {name}" for name, _, _ in hours
    ]


def test_confused_has_a_row_a_pair() -> None:
    photo = np.full((30, 40, 3), 99, np.uint8)
    tiles = [plots.Tile(f"{number}.jpg", photo) for number in range(7)]
    figure = plots.confused([("a\n→ b\n7 of 9", tiles), ("b\n→ a\n1 of 9", tiles[:1])])
    assert [axes.texts[0].get_text() for axes in figure.axes if axes.texts] == [
        "a\n→ b\n7 of 9",
        "b\n→ a\n1 of 9",
    ]
    assert [axes.get_title() for axes in figure.axes if axes.images] == [
        *(f"{number}.jpg" for number in range(5)),
        "0.jpg",
    ]


def test_confusion_names_what_the_font_cannot_draw() -> None:
    axes = plots.confusion(
        np.eye(3, dtype=int), ["Жук", "甲虫", "a name far too long for a side"]
    ).axes[0]
    assert [label.get_text() for label in axes.get_yticklabels()] == [
        "Жук",
        "#1",
        "a name f…a side",
    ]


def test_figures_ignore_and_keep_the_notebooks_style() -> None:
    def drawn() -> list[bytes]:
        photo = np.full((30, 40, 3), 99, np.uint8)
        figures = (
            plots.curves(course(4, (("head", 1, 2), ("all", 3, 4)))),
            plots.lr(course(4, (("all", 1, 4),))),
            plots.confusion(np.array([[3, 1], [0, 4]]), ["a", "b"]),
            plots.worst([plots.Tile("a → b", photo), plots.Tile("b → a", None)]),
            plots.confused([("a → b", [plots.Tile("x", photo)])]),
            plots.recalls([recall(3), recall(7)]),
            plots.phases([plots.Effort("a", {"layers": 0.5}, {"training": 9.0})]),
            plots.sessions([("1", "done", 2.0)]),
        )
        return [plots.png(figure) for figure in figures]

    plain = drawn()
    odd = {
        "font.size": 19.0,
        "axes.grid": True,
        "axes.spines.top": True,
        "lines.linewidth": 7.0,
        "lines.marker": "s",
        "figure.dpi": 31.0,
        "savefig.bbox": "tight",
        "savefig.transparent": True,
        "xtick.direction": "in",
        "axes.titleweight": "bold",
        "image.cmap": "hot",
    }
    with matplotlib.style.context(["dark_background", odd]):
        before = dict(matplotlib.rcParams)
        assert drawn() == plain
        assert dict(matplotlib.rcParams) == before
