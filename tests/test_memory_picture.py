"""The picture of a forecast: its bars add up, its device is there, its laws are drawn."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
from matplotlib.colors import to_hex

from carlib.devices import Device
from carlib.memory import TERMS, Forecast, estimate_memory
from carlib.memory.explain import explain
from carlib.memory.picture import COLOURS, FAR, draw
from carlib.memory.words import amount
from carlib.models.build import build_model
from carlib.spec import ModelSpec, Phase, Recipe
from carlib.style.drawing import png

RECIPE = Recipe(
    "pictured $x$",
    ModelSpec("tiny", 64),
    (
        Phase("head", 1, 1e-3, trains="head", views=1),
        Phase("all", 1, 1e-3, batch_size=256),
    ),
)


@pytest.fixture(scope="module")
def model():
    return build_model(RECIPE.model, 10)


@pytest.fixture(scope="module")
def forecast(model):
    return estimate_memory(RECIPE, 10, Device("a $GPU$", 150 * 10**6), model)


@pytest.fixture(scope="module")
def said(model, forecast):
    return explain(RECIPE, forecast, model)


def with_usable(forecast: Forecast, usable: int) -> Forecast:
    return dataclasses.replace(forecast, device=Device("a GPU", usable))


def texts(axes):
    return [text.get_text() for text in axes.texts]


def test_every_term_of_the_allocators_is_drawn():
    assert tuple(COLOURS) == TERMS[: len(COLOURS)]
    assert set(TERMS) - set(COLOURS) == {"context", "reserve"}
    assert len(set(COLOURS.values())) == len(COLOURS)


def test_bars_add_up_to_what_is_safe(forecast):
    (axes,) = draw(forecast).axes
    ends = np.zeros(len(forecast.needs))
    for term, bars in zip(COLOURS, axes.containers, strict=True):
        for row, (bar, need) in enumerate(zip(bars, forecast.needs, strict=True)):
            assert bar.get_x() == pytest.approx(ends[row])
            assert bar.get_width() * 1e6 == pytest.approx(need.terms[term])
            ends[row] += bar.get_width()
            assert to_hex(bar.get_facecolor()) == COLOURS[term]
    assert ends * 1e6 == pytest.approx([need.safe for need in forecast.needs])
    names = [label.get_text() for label in axes.get_yticklabels()]
    assert names == ["head", "all", "caching head", "validation", "prediction"]
    assert axes.get_xlabel() == "MB"


def test_each_bar_says_what_is_safe_and_what_does_not_fit(forecast):
    said = texts(draw(forecast).axes[0])
    for need in forecast.needs:
        fits = "" if forecast.fits(need) else ", does not fit"
        assert f"T {amount(need.safe)}{fits}" in said
    assert [forecast.fits(need) for need in forecast.phases] == [True, False]


@pytest.mark.parametrize(
    ("times", "drawn"), [(0.2, True), (1.0, True), (FAR * 0.9, True), (FAR * 2, False)]
)
def test_the_device_is_a_line_or_far_away(forecast, times, drawn):
    longest = max(max(need.safe, need.expected_between[1]) for need in forecast.needs)
    axes = draw(with_usable(forecast, int(longest * times))).axes[0]
    upright = [line for line in axes.lines if len(set(line.get_xdata())) == 1]
    lines = [line for line in upright if line.get_zorder() == 4]
    assert bool(lines) == drawn
    (name,) = (text for text in texts(axes) if "a GPU: " in text)
    assert ("times the longest bar →" in name) != drawn
    if drawn:
        assert lines[0].get_xdata()[0] * 1e6 == pytest.approx(longest * times, rel=1e-6)
        assert axes.get_xlim()[1] * 1e6 > longest * times


def test_without_a_device_there_is_no_line(forecast):
    axes = draw(dataclasses.replace(forecast, device=None, largest={})).axes[0]
    assert all(text.startswith("T ") and "fit" not in text for text in texts(axes))


def test_the_laws_are_drawn(forecast, said):
    _, batch, side, frozen = draw(forecast, said).axes
    assert [axes.get_title(loc="left") for axes in (batch, side, frozen)] == [
        f"linear: {amount(said.need.per_photo)} a photo",
        "quadratic",
        "a staircase",
    ]
    assert list(batch.lines[0].get_xdata()) == [place for place, _ in said.batches]
    assert [label.get_text() for label in side.get_xticklabels()] == [
        str(place) for place, _ in said.sides
    ]
    assert len(frozen.lines[0].get_xdata()) == len(said.frozen) - 1
    assert batch.get_ylabel().startswith("R of phase all, ")


def test_cached_features_have_no_side(model):
    recipe = dataclasses.replace(RECIPE, phases=RECIPE.phases[:1])
    forecast = estimate_memory(recipe, 10, model=model)
    side = draw(forecast, explain(recipe, forecast, model)).axes[2]
    assert side.get_title(loc="left") == "no matter: cached features"
    assert not side.lines


def overlapping(axes, renderer):
    """Pairs of texts beside the bars that lie on each other."""
    boxes = [(text.get_text(), text.get_window_extent(renderer)) for text in axes.texts]
    return [
        (one, other)
        for number, (one, box) in enumerate(boxes)
        for other, second in boxes[number + 1 :]
        if box.overlaps(second)
    ]


@pytest.mark.parametrize("usable", [10**6, 40 * 10**6, 150 * 10**6, 10**10])
def test_it_is_a_picture_whose_labels_keep_apart(forecast, said, usable):
    figure = draw(with_usable(forecast, usable), said)
    assert png(figure).startswith(b"\x89PNG")
    renderer = figure.canvas.get_renderer()
    for axes in figure.axes:
        assert overlapping(axes, renderer) == []
        for text in axes.texts:
            box = text.get_window_extent(renderer)
            assert figure.bbox.x0 <= box.x0
            assert box.x1 <= figure.bbox.x1 + 1
    legend = figure.axes[0].get_legend().get_window_extent(renderer)
    assert legend.y1 <= figure.bbox.y1
    assert not any(
        legend.overlaps(text.get_window_extent(renderer)) for text in figure.axes[0].texts
    )
