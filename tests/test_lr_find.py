"""A learning rate from a sweep: what a curve suggests, and a sweep of the tiny network."""

from __future__ import annotations

import dataclasses
import json

import keras
import numpy as np
import pytest
from conftest import make_recipe

from carlib.catalog import read_catalog
from carlib.cli import main
from carlib.errors import RunError, UsageError
from carlib.lr_find import Curve
from carlib.lr_find import sweep as sweeping
from carlib.lr_find.picture import draw
from carlib.lr_find.sweep import find_lr
from carlib.session import Session
from carlib.spec import to_toml, with_settings
from carlib.train import train_model

RATES = tuple(10 ** (-6 + 0.05 * step) for step in range(120))


def curve(loss, noise=0.0, rates=RATES):
    rng = np.random.default_rng(0)
    losses = [loss(rate) + noise * rng.normal() for rate in rates]
    return Curve("all", rates, tuple(losses))


def falling(rate, at=1e-3, blows=0.3):
    """From 2.3 to 0.8 about a rate, and up again beyond another."""
    return 2.3 - 1.5 / (1 + (at / rate) ** 1.5) + (rate / blows) ** 3


@pytest.mark.parametrize("at", [1e-5, 1e-4, 1e-3, 1e-2])
@pytest.mark.parametrize("noise", [0.0, 0.05, 0.1])
def test_the_suggestion_lies_where_the_loss_falls(at, noise):
    found = curve(lambda rate: falling(rate, at), noise)
    assert at / 10 < found.suggestion < 10 * at
    assert found.suggestion <= found.rates[found.lowest] / 10 * 1.05


@pytest.mark.parametrize(
    "loss",
    [lambda rate: 2.3, lambda rate: 2.3 + rate, lambda rate: 2.3 - 0.01 * rate],
    ids=["flat", "rising", "hardly falling"],
)
def test_where_nothing_falls_nothing_is_suggested(loss):
    found = curve(loss)
    assert found.suggestion is None
    assert "the loss does not fall anywhere; begin lower" in found.describe()
    assert found.figures()["steepest"] is None


def test_smoothing_takes_noise_and_does_not_lag():
    plain, noisy = curve(falling), curve(falling, 0.1)
    assert np.std(noisy.smoothed - plain.smoothed) < 0.5 * np.std(
        np.array(noisy.losses) - np.array(plain.losses)
    )
    line = curve(lambda rate: -np.log10(rate))
    inner = slice(25, -25)
    np.testing.assert_allclose(line.smoothed[inner], line.losses[inner], atol=1e-6)


@pytest.mark.parametrize(
    ("rates", "losses", "message"),
    [
        ((1, 2, 3), (1, 1, 1), "a sweep has 10 steps or more, a loss each; received 3 rates"),
        (RATES, RATES[1:], "received 120 rates and 119 losses"),
        (RATES[::-1], RATES, "a sweep's rates must be above 0 and rise"),
        ((0.0, *RATES[1:]), RATES, "a sweep's rates must be above 0 and rise"),
    ],
)
def test_what_is_no_curve(rates, losses, message):
    with pytest.raises(UsageError, match=message):
        Curve("all", rates, losses)


def test_figures_are_json_and_words_say_how_it_ended():
    found = dataclasses.replace(curve(falling), note="begun somewhere")
    said = json.loads(json.dumps(found.figures()))
    assert said["suggestion"] == found.suggestion
    assert len(said["rates"]) == len(said["losses"]) == len(said["smoothed"]) == 120
    assert said["diverged"] == ("where it blows up" in found.describe())
    assert found.describe().endswith("begun somewhere")
    calm = curve(lambda rate: falling(rate, blows=1e9))
    assert "still calm: a higher --high shows more" in calm.describe()


def test_the_picture_marks_the_suggestion():
    (axes,) = draw(curve(falling)).axes
    assert [text.get_text() for text in axes.texts] == [f"try {curve(falling).suggestion:g}"]
    (axes,) = draw(curve(lambda rate: 2.3)).axes
    assert not axes.texts


# --- Sweeps


@pytest.fixture(scope="module")
def catalog(photos):
    return read_catalog(photos)


def test_a_sweep_leaves_nothing_and_is_the_same_again(catalog, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    recipe = make_recipe()
    one, other = (find_lr(recipe, catalog, steps=12, low=1e-5) for _ in range(2))
    assert one == other
    assert one.phase == "all"
    assert one.rates[0] == pytest.approx(1e-5)
    assert list(one.rates) == sorted(one.rates)
    assert "without the phases before (head)" in one.note
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    "settings",
    [
        ["phases.all.accumulate=2", "model.dtype=mixed_float16"],
        ["phases.head.views=1", "phases.head.augment=none"],
        [
            "phases.all.layer_decay=0.5",
            "phases.all.schedule=piecewise",
            "phases.all.rates=[[1, 0.1]]",
        ],
    ],
)
def test_phases_of_every_kind(catalog, settings):
    recipe = with_settings(make_recipe(), settings)
    name = "head" if "head" in settings[0] else "all"
    found = find_lr(recipe, catalog, phase=name, steps=12, high=0.1)
    assert len(found.rates) == 12
    assert all(np.isfinite(found.losses))


def test_the_rate_of_each_step_is_the_sweeps(catalog, monkeypatch):
    """With sgd and no momentum, a step moves a weight by its rate times its gradient."""
    seen = []
    real = sweeping._sweep

    def spied(stage, rates):
        step = stage.trainer.train_function

        def told(batches):
            seen.append(float(stage.optimizer.learning_rate))
            return step(batches)

        stage.trainer.train_function = told
        return real(stage, rates)

    monkeypatch.setattr(sweeping, "_sweep", spied)
    recipe = with_settings(make_recipe(), ["phases.all.optimizer=sgd"])
    found = find_lr(recipe, catalog, steps=10, high=0.01)
    np.testing.assert_allclose(seen, found.rates, rtol=1e-5)


def test_it_ends_where_the_loss_blows_up(catalog):
    recipe = with_settings(make_recipe(), ["phases.all.optimizer=sgd", "phases.all.warmup=0"])
    found = find_lr(recipe, catalog, steps=40, low=1e-3, high=100)
    assert found.diverged
    assert len(found.rates) < 40
    with pytest.raises(RunError, match=r"not finite, or blows up, after . steps at 50; begin"):
        find_lr(recipe, catalog, steps=40, low=50, high=100)


def test_a_run_is_where_a_sweep_begins(catalog, tmp_path):
    recipe = with_settings(make_recipe(), ["phases.all.epochs=1"])
    train_model(recipe, catalog, tmp_path / "run", session=Session())
    found = find_lr(recipe, catalog, run=tmp_path / "run", steps=10, low=1e-8, high=1e-7)
    assert found.note == f"begun with the best weights of {tmp_path / 'run'}"
    trained = keras.models.load_model(tmp_path / "run/best/model.keras")
    assert trained is not None
    new = find_lr(recipe, catalog, steps=10, low=1e-8, high=1e-7)
    assert found.losses != new.losses
    other = with_settings(recipe, ["model.hidden=8"])
    with pytest.raises(UsageError, match="is of another model than the recipe"):
        find_lr(other, catalog, run=tmp_path / "run", steps=10)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"phase": "al"}, "unknown phase 'al'; did you mean 'all'"),
        (
            {"low": 0.0},
            "low must be above 0 and below high, high 100 at the most; received 0.0 and 1.0",
        ),
        ({"low": 2.0}, "low must be above 0 and below high"),
        ({"high": float("inf")}, "low must be above 0 and below high"),
        ({"steps": 9}, "steps must be 10 or more; received 9"),
    ],
)
def test_wrong_usage(catalog, options, message):
    with pytest.raises(UsageError, match=message):
        find_lr(make_recipe(), catalog, **options)


def test_a_phase_that_learns_nothing_has_no_rate(catalog):
    recipe = with_settings(make_recipe(), ["phases.all.trains=statistics", "phases.all.lr=0"])
    with pytest.raises(UsageError, match="phase 'all' learns nothing"):
        find_lr(recipe, catalog, phase="all")


def test_photos_without_labels(catalog):
    with pytest.raises(UsageError, match="these photos have no labels"):
        find_lr(make_recipe(), dataclasses.replace(catalog, labels=None))


def test_the_command(photos, tmp_path, capsys):
    (tmp_path / "recipe.toml").write_text(to_toml(make_recipe()))
    given = ["lr-find", "--recipe", str(tmp_path / "recipe.toml"), "--data", str(photos)]
    picture = tmp_path / "lr.png"
    assert main([*given, "--steps", "12", "--json", "--picture", str(picture)]) == 0
    said = json.loads(capsys.readouterr().out)
    assert said["phase"] == "all"
    assert picture.read_bytes()[1:4] == b"PNG"
    assert main([*given, "--picture", "lr.jpg"]) == 2
    assert "--picture must end in .png" in capsys.readouterr().err
