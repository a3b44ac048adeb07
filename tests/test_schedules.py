"""Learning rates against their formulas at chosen steps; optimizers by name."""

from __future__ import annotations

import math

import keras
import pytest

from carlib.errors import UsageError
from carlib.models.build import build_model
from carlib.schedules import OPTIMIZERS, SCHEDULES, lr_at, make_optimizer
from carlib.spec import ModelSpec, Phase


def cosine(step, steps, lr=0.2):
    return lr * 0.5 * (1 + math.cos(math.pi * min(step, steps) / steps))


@pytest.mark.parametrize(
    ("schedule", "warmup", "wanted"),
    [
        ("constant", 0, {0: 0.2, 7: 0.2, 39: 0.2}),
        # straight up over 5 steps, from a sixth of the peak, and there it stays
        ("constant", 0.5, {0: 0.2 / 6, 2: 0.2 / 6 + 0.4 * (0.2 - 0.2 / 6), 5: 0.2, 39: 0.2}),
        ("cosine", 0, {0: 0.2, 10: cosine(10, 40), 20: 0.1, 39: cosine(39, 40), 40: 0.0}),
        ("cosine", 1, {0: 0.2 / 11, 10: 0.2, 25: cosine(15, 30), 40: 0.0}),
    ],
)
def test_schedule_follows_its_formula(schedule, warmup, wanted):
    phase = Phase("p", epochs=4, lr=0.2, schedule=schedule, warmup=warmup)
    for step, lr in wanted.items():
        assert lr_at(phase, 10, step) == pytest.approx(lr, abs=1e-6), step


@pytest.mark.parametrize("schedule", SCHEDULES)
@pytest.mark.parametrize("warmup", [0, 1, 4])
def test_no_schedule_leaves_0_to_lr(schedule, warmup):
    phase = Phase("p", epochs=4, lr=0.2, schedule=schedule, warmup=warmup)
    rates = [lr_at(phase, 3, step) for step in range(12)]
    assert 0 < rates[0] <= 0.2 + 1e-7
    assert all(0 <= rate <= 0.2 + 1e-7 for rate in rates)


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_every_optimizer_is_new_each_time_and_follows_the_schedule(name):
    phase = Phase("p", epochs=2, lr=0.2, schedule="cosine", optimizer=name)
    first, second = make_optimizer(phase, 5), make_optimizer(phase, 5)
    assert first is not second
    assert float(first.learning_rate) == pytest.approx(0.2)


def test_weight_decay_spares_biases_and_norms():
    model = build_model(ModelSpec("tiny", 32), 3)
    optimizer = make_optimizer(Phase("p", 1, 1e-3, weight_decay=0.1), 5)
    optimizer.build(model.trainable_variables)
    spared = {
        variable.path
        for variable in model.trainable_variables
        if not optimizer._use_weight_decay(variable)
    }
    assert spared == {
        variable.path
        for variable in model.trainable_variables
        if variable.name in ("bias", "gamma", "beta")
    }
    assert any(isinstance(layer, keras.layers.BatchNormalization) for layer in model.layers)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"schedule": "cosinus"}, "unknown schedule 'cosinus'; did you mean 'cosine'"),
        ({"optimizer": "adan"}, "unknown optimizer 'adan'; did you mean 'adam'"),
    ],
)
def test_unknown_names(changes, message):
    with pytest.raises(UsageError, match=message):
        make_optimizer(Phase("p", 1, 1e-3, **changes), 5)
