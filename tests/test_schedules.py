"""Learning rates against their formulas at chosen steps; optimizers by name."""

from __future__ import annotations

import dataclasses
import json
import math

import keras
import pytest

from carlib.errors import RunError, UsageError
from carlib.models.build import build_model
from carlib.schedules import (
    OPTIMIZERS,
    SCHEDULES,
    Patience,
    add_schedule,
    lr_of,
    make_optimizer,
    make_schedule,
    own,
)
from carlib.schedules.own import forget
from carlib.spec import ModelSpec, Phase


def cosine(step, steps, lr=0.2):
    return lr * 0.5 * (1 + math.cos(math.pi * min(step, steps) / steps))


def smith(iterations, cycle, base_lr=0.02, max_lr=0.2):
    """The triangular policy as section 3.3 of the paper writes it."""
    stepsize = cycle / 2
    number = math.floor(1 + iterations / (2 * stepsize))
    x = abs(iterations / stepsize - 2 * number + 1)
    return base_lr + (max_lr - base_lr) * max(0, 1 - x)


def sgdr(since, cycle, lr=0.2):
    """Equation 5 of Loshchilov and Hutter, with a lowest rate of 0."""
    return 0.5 * lr * (1 + math.cos(math.pi * since / cycle))


def one_cycle(step, steps=40, lr=0.2):
    """Torch's OneCycleLR at its defaults: pct_start 0.3, div_factor 25, final_div_factor 1e4."""
    ends = [0, 0.3 * steps - 1, steps - 1]
    rates = [lr / 25, lr, lr / 25 / 1e4]
    phase = 0 if step <= ends[1] else 1
    share = (step - ends[phase]) / (ends[phase + 1] - ends[phase])
    start, end = rates[phase : phase + 2]
    return end + (start - end) / 2 * (math.cos(math.pi * share) + 1)


@pytest.mark.parametrize(
    ("schedule", "warmup", "wanted"),
    [
        ("constant", 0, {0: 0.2, 7: 0.2, 39: 0.2}),
        # straight up over 5 steps, from a sixth of the peak, and there it stays
        ("constant", 0.5, {0: 0.2 / 6, 2: 0.2 / 6 + 0.4 * (0.2 - 0.2 / 6), 5: 0.2, 39: 0.2}),
        ("cosine", 0, {0: 0.2, 10: cosine(10, 40), 20: 0.1, 39: cosine(39, 40), 40: 0.0}),
        ("cosine", 1, {0: 0.2 / 11, 10: 0.2, 25: cosine(15, 30), 40: 0.0}),
        # cut to a tenth after each third of 40 steps, rounded up
        ("step", 0, {0: 0.2, 13: 0.2, 14: 0.02, 27: 0.02, 28: 0.002}),
        ("step", 0.5, {0: 0.2 / 6, 5: 0.2, 13: 0.2, 14: 0.02}),
        ("plateau", 0, {0: 0.2, 39: 0.2}),
        ("plateau", 0.5, {0: 0.2 / 6, 5: 0.2, 39: 0.2}),
        # from a tenth up to lr and back in a third of 40 steps, rounded up
        ("cyclic", 0, {0: 0.02, 7: 0.2, 14: 0.02, 21: 0.2, 28: 0.02, 35: 0.2, 39: smith(39, 14)}),
        ("cyclic", 0.5, {0: 0.02 / 6, 3: smith(3, 14) * 4 / 6, 5: smith(5, 14), 7: 0.2, 14: 0.02}),
        # each peak half as far above the low end as the one before
        ("triangular2", 0, {0: 0.02, 7: 0.2, 14: 0.02, 21: 0.11, 28: 0.02, 35: 0.065}),
        # to a tenth over the phase
        ("exponential", 0, {0: 0.2, 10: 0.2 * 0.1**0.25, 20: 0.2 * 0.1**0.5, 39: 0.2 * 0.1**0.975}),
        # torch's OneCycleLR: up over 12 of 40 steps by cosine, then down
        ("onecycle", 0, {0: 0.008, 11: 0.2, 5: one_cycle(5), 20: one_cycle(20), 39: 8e-7}),
        # a third of 40 steps each: cycles begin at 0, 13 1/3 and 26 2/3
        (
            "restarts",
            0,
            {
                0: 0.2,
                13: sgdr(13, 40 / 3),
                14: sgdr(2 / 3, 40 / 3),
                20: 0.1,
                27: sgdr(1 / 3, 40 / 3),
            },
        ),
    ],
)
def test_schedule_follows_its_formula(schedule, warmup, wanted):
    phase = Phase("p", epochs=4, lr=0.2, schedule=schedule, warmup=warmup)
    for step, lr in wanted.items():
        assert lr_of(make_schedule(phase, 10), step) == pytest.approx(lr, abs=1e-6), step


@pytest.mark.parametrize(
    ("growth", "begins"), [(1, [0, 10, 20, 30]), (2, [0, 10, 30]), (1.5, [0, 10, 25])]
)
def test_restarts_come_at_their_steps(growth, begins):
    """Cycles of 1, growth, growth squared, ... epochs; the first update of each is at lr."""
    phase = Phase("p", epochs=4, lr=0.2, schedule="restarts", every=1, growth=growth)
    schedule = make_schedule(phase, 10)
    rates = [lr_of(schedule, step) for step in range(40)]
    assert [step for step, rate in enumerate(rates) if rate == pytest.approx(0.2)] == begins
    for start, end in zip(begins, [*begins[1:], 40], strict=True):
        assert rates[start:end] == sorted(rates[start:end], reverse=True)


@pytest.mark.parametrize("warmup", [0, 0.5])
def test_piecewise_rates_hold_from_their_epochs_on(warmup):
    rates = [[1, 0.5], [2.5, 0.1], [3, 2]]
    phase = Phase("p", epochs=4, lr=0.2, schedule="piecewise", rates=rates, warmup=warmup)
    schedule = make_schedule(phase, 10)
    wanted = [0.2] * 10 + [0.1] * 15 + [0.02] * 5 + [0.4] * 10
    wanted[: round(10 * warmup)] = [0.2 * (step + 1) / 6 for step in range(round(10 * warmup))]
    assert [lr_of(schedule, step) for step in range(40)] == pytest.approx(wanted)


@pytest.mark.parametrize("epochs", [0.5, 1])
def test_onecycle_climbs_for_its_warm_up(epochs):
    phase = Phase("p", epochs=4, lr=0.2, schedule="onecycle", warmup=epochs)
    rates = [lr_of(make_schedule(phase, 10), step) for step in range(40)]
    assert rates.index(max(rates)) == 10 * epochs - 1


# --- A schedule of one's own


@pytest.fixture
def halving():
    add_schedule("halving", lambda epoch, epochs: 0.5 ** int(epoch))
    yield "halving"
    forget("halving")


def test_a_function_of_the_epoch_is_a_schedule(halving):
    phase = Phase("p", epochs=4, lr=0.2, schedule=halving, warmup=0.5)
    schedule = make_schedule(phase, 10)
    rates = [lr_of(schedule, step) for step in range(40)]
    assert rates[5:] == pytest.approx([0.2] * 5 + [0.1] * 10 + [0.05] * 10 + [0.025] * 10)
    assert rates[:5] == pytest.approx([0.2 * (step + 1) / 6 for step in range(5)])


@pytest.mark.parametrize(
    ("factor", "message"),
    [
        (
            lambda epoch, epochs: -1,
            "schedule 'mine' gave -1.0 at epoch 0; a factor on the learning",
        ),
        (lambda epoch, epochs: float("nan"), "gave nan at epoch 0"),
        (lambda epoch, epochs: 1 if epoch < 1 else 1e9, "gave 1000000000.0 at epoch 1"),
        (lambda epoch, epochs: None, "gave None at epoch 0; it must give a number"),
        (lambda epoch: 1, "the function of schedule 'mine' failed .TypeError"),
    ],
)
def test_what_a_function_must_give(factor, message):
    add_schedule("mine", factor)
    try:
        with pytest.raises(RunError, match=message):
            make_schedule(Phase("p", epochs=2, lr=0.2, schedule="mine"), 10)
    finally:
        forget("mine")


@pytest.mark.parametrize(
    ("name", "factor", "message"),
    [
        ("cosine", lambda epoch, epochs: 1, "'cosine' is a schedule of carlib's own"),
        ("", lambda epoch, epochs: 1, "a schedule's name is letters"),
        ("mine", 0.5, "factor of schedule 'mine' must be a function of epoch and epochs; received"),
        ("halving", lambda epoch, epochs: 2, "there is another schedule 'halving' already"),
    ],
)
def test_what_is_no_schedule_of_ones_own(halving, name, factor, message):
    with pytest.raises(UsageError, match=message):
        add_schedule(name, factor)


def test_the_names_of_carlibs_own():
    assert tuple(SCHEDULES) == own.NAMES


@pytest.mark.parametrize("schedule", SCHEDULES)
@pytest.mark.parametrize("warmup", [0, 1, 4])
def test_no_schedule_leaves_0_to_lr(schedule, warmup):
    rates = [[1, 0.5], [3, 0.1]]
    phase = Phase("p", epochs=4, lr=0.2, schedule=schedule, warmup=warmup, rates=rates)
    rates = [lr_of(make_schedule(phase, 3), step) for step in range(12)]
    assert 0 < rates[0] <= 0.2 + 1e-7
    assert all(0 <= rate <= 0.2 + 1e-7 for rate in rates)


@pytest.mark.parametrize("schedule", SCHEDULES)
@pytest.mark.parametrize("warmup", [0, 0.5, 1])
def test_accumulated_steps_count_as_one(schedule, warmup):
    """Keras asks for the rate by steps: without a hand in it, it would move between two updates."""
    options = {"warmup": warmup, "every": 1, "rates": [[1, 0.5], [3, 0.1]]}
    phase = Phase("p", epochs=4, lr=0.2, schedule=schedule, **options)
    single = make_schedule(phase, 10)
    double = make_schedule(dataclasses.replace(phase, accumulate=2), 20)
    for step in range(80):
        assert lr_of(double, step) == lr_of(single, step // 2)


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_every_optimizer_is_new_each_time_and_follows_the_schedule(name):
    phase = Phase("p", epochs=2, lr=0.2, schedule="cosine", optimizer=name)
    schedule = make_schedule(phase, 5)
    first, second = make_optimizer(phase, schedule), make_optimizer(phase, schedule)
    assert first is not second
    assert float(first.learning_rate) == pytest.approx(0.2)


@pytest.mark.parametrize("name", ["adamw", "sgd"])
def test_weight_decay_spares_biases_and_norms(name):
    model = build_model(ModelSpec("tiny", 32), 3)
    optimizer = make_optimizer(Phase("p", 1, 1e-3, weight_decay=0.1, optimizer=name), 1e-3)
    assert optimizer.weight_decay == 0.1
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
        (
            {"optimizer": "adam", "weight_decay": 0.1},
            "phase 'p': adam takes no weight_decay; use optimizer = 'adamw'",
        ),
    ],
)
def test_what_is_refused(changes, message):
    phase = Phase("p", 1, 1e-3, **changes)
    with pytest.raises(UsageError, match=message):
        make_optimizer(phase, make_schedule(phase, 5))


@pytest.mark.parametrize("every", [0.5, 1, 2])
def test_step_cuts_every_so_many_epochs(every):
    phase = Phase("p", 4, 0.5, schedule="step", every=every, decay=0.5)
    schedule = make_schedule(phase, 10)
    rates = [lr_of(schedule, step) for step in range(40)]
    wanted = [0.5 * 0.5 ** (step // round(10 * every)) for step in range(40)]
    assert rates == pytest.approx(wanted, rel=1e-6)


@pytest.mark.parametrize(("every", "cycle"), [(0.5, 5), (1, 10), (2, 20), (3, 30)])
@pytest.mark.parametrize("decay", [0, 0.1, 1])
def test_a_cycle_takes_so_many_epochs(every, cycle, decay):
    phase = Phase("p", 4, 0.2, schedule="cyclic", every=every, decay=decay)
    schedule = make_schedule(phase, 10)
    rates = [lr_of(schedule, step) for step in range(40)]
    assert rates == pytest.approx([smith(step, cycle, 0.2 * decay) for step in range(40)], abs=1e-7)
    # As exact where float32 no longer has every whole number.
    assert [lr_of(schedule, 2**25 * cycle + step) for step in range(40)] == rates


@pytest.mark.parametrize("options", [{"every": 0.01}, {"every": 0.1}, {}])
def test_a_cycle_is_two_updates_at_least(options):
    """Of one it would stay at its low end for good."""
    schedule = make_schedule(Phase("p", 1, 0.2, schedule="cyclic", **options), 3)
    assert [lr_of(schedule, step) for step in range(4)] == pytest.approx([0.02, 0.2] * 2)


@pytest.mark.parametrize("name", OPTIMIZERS)
@pytest.mark.parametrize("ema", [0, 0.9])
def test_the_average_follows_the_weights_and_never_overwrites_them(name, ema):
    phase = Phase("p", 1, 0.5, optimizer=name, ema=ema)
    optimizer = make_optimizer(phase, make_schedule(phase, 5))
    variable = keras.Variable(1.0, name="w")
    optimizer.build([variable])
    average = None
    for _ in range(3):
        optimizer.apply([keras.ops.convert_to_tensor(1.0)], [variable])
        # It begins with the weights after the first step.
        past = float(variable) if average is None else average
        average = ema * past + (1 - ema) * float(variable)
    assert optimizer.use_ema is bool(ema)
    before = float(variable)
    optimizer.finalize_variable_values([variable])
    assert float(variable) == pytest.approx(average if ema else before, rel=1e-5)


@pytest.mark.parametrize("name", OPTIMIZERS)
@pytest.mark.parametrize(("clip", "factor"), [(0, 1), (1, 0.1), (5, 0.5), (20, 1)])
def test_gradients_are_clipped_by_their_global_norm(name, clip, factor):
    """Of (6, 8), which has norm 10."""
    optimizer = make_optimizer(Phase("p", 1, 0.5, optimizer=name, clip=clip), 0.5)
    gradients = [keras.ops.convert_to_tensor(value) for value in (6.0, 8.0)]
    found = [float(value) for value in optimizer._clip_gradients(gradients)]
    assert found == pytest.approx([6 * factor, 8 * factor])


# (values told, scale after each, whether the phase ends after each)
COURSES = [
    ({}, [0.1, 0.2, 0.2, 0.1], [1, 1, 1, 1], [False] * 4),
    ({"schedule": "plateau"}, [0.2, 0.2, 0.1, 0.3, 0.3, 0.3], [1, 1, 0.5, 0.5, 0.5, 0.25], None),
    # After a cut the count begins again.
    ({"schedule": "plateau"}, [0.2, 0.1, 0.1, 0.1, 0.1], [1, 1, 0.5, 0.5, 0.25], None),
    # NaN, a metric that is not defined, is no best value.
    ({"schedule": "plateau", "early_stop": 3}, [math.nan, 0.1, 0.2, 0.3], [1] * 4, [False] * 4),
    ({"early_stop": 2}, [0.3, math.nan, math.nan], [1] * 3, [False, False, True]),
    ({"early_stop": 2}, [0.3, 0.2, 0.3], [1, 1, 1], [False, False, True]),
    ({"early_stop": 2}, [0.3, 0.2, 0.4, 0.4], [1] * 4, [False] * 4),
    (
        {"schedule": "plateau", "early_stop": 3},
        [0.3, 0.1, 0.1, 0.1],
        [1, 1, 0.5, 0.5],
        [False, False, False, True],
    ),
]


@pytest.mark.parametrize("higher", [True, False])
@pytest.mark.parametrize("cut", [None, 1, 2, 3])
@pytest.mark.parametrize(("options", "values", "scales", "ends"), COURSES)
def test_patience(options, values, scales, ends, higher, cut):
    """Cut anywhere and taken up from its state, it does the same."""
    phase = Phase("p", 9, 0.1, patience=2, decay=0.5, **options)
    patience, found = Patience(), []
    for number, value in enumerate(values):
        if number == cut:
            state = json.loads(json.dumps(patience.get()))
            patience = Patience()
            patience.set(state)
        ended = patience.take(phase, value if higher else -value, higher=higher)
        found.append((patience.scale, ended))
    assert [scale for scale, _ in found] == scales
    assert [ended for _, ended in found] == (ends or [False] * len(values))


@pytest.mark.parametrize("name", SCHEDULES)
def test_only_plateau_is_scaled(name):
    phase = Phase("p", 4, 0.5, schedule=name, rates=[[1, 0.5]])
    schedule = make_schedule(phase, 10)
    before = lr_of(schedule, 3)
    Patience(scale=0.5).apply(schedule)
    assert lr_of(schedule, 3) == pytest.approx(before * (0.5 if name == "plateau" else 1))
