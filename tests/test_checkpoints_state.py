"""A model's whole state, out and back in: what goes on afterwards is the same, bit for bit."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest

from carlib.checkpoints import Position, Snapshot, find_checkpoint, read_state, write_checkpoint
from carlib.checkpoints.parts import collect, restore
from carlib.checkpoints.state import (
    Variables,
    averaged,
    metrics_state,
    model_state,
    optimizer_state,
)
from carlib.errors import RunError
from carlib.freeze import Freezer
from carlib.models.build import build_model
from carlib.schedules import make_optimizer, make_schedule
from carlib.spec import ModelSpec, Phase

CLASSES, SIZE, BATCH, STEPS = 3, 32, 8, 4
STEMS = ("stem_conv", "block2b_project_bn", "head_classes")
SLOTS = {"adam": ("momentum", "velocity"), "adamw": ("momentum", "velocity"), "sgd": ("momentum",)}


@dataclass(slots=True)
class Trainer:
    """A compiled model with what carlib's loop holds beside it."""

    model: keras.Model
    optimizer: Any
    metrics: list[Any]

    def step(self, number: int) -> dict[str, float]:
        """Train on one batch, as the loop does."""
        logs = self.model.train_function(iter([batch(number)]))
        return {name: float(value) for name, value in logs.items()}

    @property
    def parts(self) -> dict[str, Variables]:
        parts = (
            model_state(self.model),
            optimizer_state(self.optimizer),
            metrics_state(self.metrics),
        )
        return {part.name: part for part in parts}

    def get(self) -> dict[str, np.ndarray]:
        arrays, values = collect(self.parts.values())
        assert values == {"model": {}, "optimizer": {}, "metrics": {}}
        return arrays

    def set(self, state: dict[str, np.ndarray]) -> None:
        restore(self.parts.values(), state, {name: {} for name in self.parts})


def batch(number: int) -> tuple[np.ndarray, np.ndarray]:
    random = np.random.default_rng([7, number])
    photos = random.integers(0, 256, (BATCH, SIZE, SIZE, 3), np.uint8)
    return photos, np.eye(CLASSES, dtype=np.float32)[random.integers(0, CLASSES, BATCH)]


def trainer(seed: int = 0, dtype: str = "float32", **options: Any) -> Trainer:
    """Built in the order of carlib's loop; dropout is strong, BatchNorm trains."""
    phase = Phase("all", 2, 1e-2, **{"batchnorm": "trained", **options})
    model = build_model(ModelSpec("tiny", SIZE, dropout=0.5, dtype=dtype), CLASSES, seed=seed)
    Freezer(model).apply(phase)
    accuracy = keras.metrics.CategoricalAccuracy(name="accuracy")
    loss = keras.losses.CategoricalCrossentropy(label_smoothing=0.1)
    model.compile(make_optimizer(phase, make_schedule(phase, STEPS)), loss=loss, metrics=[accuracy])
    model.optimizer.build(model.trainable_variables)
    model.make_train_function()
    return Trainer(model, model.optimizer, [model.metrics[0], accuracy])


def assert_same(left: dict[str, np.ndarray], right: dict[str, np.ndarray]) -> None:
    assert list(left) == list(right)
    for name, value in left.items():
        assert value.dtype == right[name].dtype
        assert value.shape == right[name].shape
        assert value.tobytes() == right[name].tobytes(), name


@pytest.fixture(scope="module")
def trained() -> tuple[Trainer, dict[str, np.ndarray]]:
    """A trainer after one step, and its state; tests leave it as it is."""
    made = trainer()
    made.step(0)
    return made, made.get()


# ---- going on


@pytest.mark.parametrize(
    ("optimizer", "schedule", "dtype", "trains", "batchnorm", "more"),
    [
        ("adam", "constant", "float32", "all", "trained", {}),
        ("adamw", "cosine", "mixed_float16", "all", "trained", {}),
        ("sgd", "cosine", "float32", 0.5, "frozen", {}),
        ("adamw", "constant", "float32", "head", "frozen", {}),
        ("sgd", "constant", "float32", "all", "trained", {"ema": 0.9, "accumulate": 2}),
    ],
)
def test_training_goes_on_bit_for_bit(
    tmp_path: Path,
    optimizer: str,
    schedule: str,
    dtype: str,
    trains: Any,
    batchnorm: str,
    more: dict[str, Any],
) -> None:
    options = {
        "dtype": dtype,
        "optimizer": optimizer,
        "schedule": schedule,
        "trains": trains,
        "batchnorm": batchnorm,
        "weight_decay": 0.0 if optimizer == "adam" else 0.01,
        **more,
    }
    uncut = trainer(seed=0, **options)
    uncut.step(0)
    between = uncut.get()
    logs = uncut.step(1)
    end = uncut.get()

    write_checkpoint(tmp_path, Snapshot(Position(0, 0, 1), between, {}, "test", "", ""), 1)
    checkpoint = find_checkpoint(tmp_path)
    assert checkpoint is not None
    kept = read_state(checkpoint)[0]
    assert_same(kept, between)

    # Another seed: whatever is not restored is different.
    resumed = trainer(seed=99, **options)
    resumed.set(kept)
    assert_same(resumed.get(), between)
    assert resumed.step(1) == logs
    assert_same(resumed.get(), end)

    # Restored again in mid-training, once the step is traced.
    resumed.set(kept)
    assert resumed.step(1) == logs
    assert_same(resumed.get(), end)

    # Each kind of state moves with a step, so leaving it out would show.
    moved = {name for name in end if end[name].tobytes() != between[name].tobytes()}
    assert {"metrics/loss/total", "metrics/accuracy/count"} <= moved
    assert {"model/head_dropout/seed_generator_state", "model/head_classes/kernel"} <= moved
    assert ("model/stem_conv/kernel" in moved) == (trains == "all")
    assert ("model/stem_bn/moving_mean" in moved) == (batchnorm == "trained")
    for slot in SLOTS[optimizer]:
        assert f"optimizer/head_classes_kernel_{slot}" in moved
    for slot in ("average", "gradient_accumulator") if more else ():
        assert f"optimizer/head_classes_kernel_{slot}" in moved
    if dtype == "mixed_float16":  # the outer optimizer's iteration stays 0
        assert {"optimizer/iteration#1", "optimizer/step_counter"} <= moved
        assert end["optimizer/iteration"] == 0
        assert end["optimizer/dynamic_scale"] == 2.0**15
    else:
        assert end["optimizer/iteration"] == 2


def test_the_loss_scale_is_state() -> None:
    one, other = (trainer(seed, dtype="mixed_float16") for seed in (0, 1))
    one.optimizer.dynamic_scale.assign(512.0)
    one.optimizer.step_counter.assign(1999)
    other.set(one.get())
    assert float(other.optimizer.dynamic_scale) == 512.0
    assert int(other.optimizer.step_counter) == 1999


def test_dropout_would_differ_without_its_seed_state(
    trained: tuple[Trainer, dict[str, np.ndarray]],
) -> None:
    """The test above could not fail if dropout did nothing."""
    made, state = trained
    other = {**state, "model/head_dropout/seed_generator_state": np.array([1, 2], np.uint32)}
    ends = []
    for each in (state, other, state):
        made.set(each)
        ends.append(made.step(1)["loss"])
    made.set(state)
    assert ends[0] == ends[2] != ends[1]


# ---- names


def names(optimizer: str, dtype: str, *more: str) -> list[str]:
    """What the keys are, in every version of Keras: written out by hand."""
    layers: list[tuple[str, list[str], list[str]]] = [("stem_conv", ["kernel"], [])]
    scales = ["gamma", "beta"], ["moving_mean", "moving_variance"]
    layers.append(("stem_bn", *scales))
    for block, drops in (("block1a", True), ("block2a", False), ("block2b", True)):
        layers.append((f"{block}_dwconv", ["kernel"], []))
        layers.append((f"{block}_bn", *scales))
        layers.append((f"{block}_project_conv", ["kernel"], []))
        layers.append((f"{block}_project_bn", *scales))
        layers += [(f"{block}_drop", [], ["seed_generator_state"])] * drops
    layers += [("top_conv", ["kernel"], []), ("top_bn", *scales)]
    layers.append(("head_dropout", [], ["seed_generator_state"]))
    layers.append(("head_classes", ["kernel", "bias"], []))
    found = [f"model/{layer}/{name}" for layer, *both in layers for name in (*both[0], *both[1])]
    weights = [f"{layer}_{name}" for layer, weights, _ in layers for name in weights]
    found += ["optimizer/iteration", "optimizer/learning_rate"]
    if dtype == "mixed_float16":
        found += ["optimizer/iteration#1", "optimizer/step_counter", "optimizer/dynamic_scale"]
        found += ["optimizer/learning_rate#1"]
    found += [
        f"optimizer/{weight}_{slot}" for slot in (*SLOTS[optimizer], *more) for weight in weights
    ]
    found += ["metrics/loss/total", "metrics/loss/count"]
    return [*found, "metrics/accuracy/total", "metrics/accuracy/count"]


@pytest.mark.parametrize("dtype", ["float32", "mixed_float16"])
@pytest.mark.parametrize("optimizer", SLOTS)
def test_names_last(optimizer: str, dtype: str) -> None:
    """Over Keras' versions and builds of one process: no counters, no optimizer's name."""
    for seed in (0, 1):
        state = trainer(seed, dtype, optimizer=optimizer).get()
        assert sorted(state) == sorted(names(optimizer, dtype))
    assert not [name for name in state if re.search(r"adam|sgd|seed_generator_\d|_\d+/", name)]


def of(part: str, state: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    """The arrays of one part, by its own names."""
    prefix = f"{part}/"
    return {k.removeprefix(prefix): v for k, v in state.items() if k.startswith(prefix)}


def test_names_of_averages_and_accumulators_last() -> None:
    state = trainer(ema=0.9, accumulate=2).get()
    assert sorted(state) == sorted(names("adam", "float32", "average", "gradient_accumulator"))


def test_each_part_has_its_prefix(trained: tuple[Trainer, dict[str, np.ndarray]]) -> None:
    made, state = trained
    assert list(made.parts) == ["model", "optimizer", "metrics"]
    for name, part in made.parts.items():
        assert part.get()
        assert_same(part.get(), of(name, state))
    alone = collect([model_state(made.model)])[0]
    assert {name.partition("/")[0] for name in alone} == {"model"}
    assert_same(alone, {name: value for name, value in state.items() if name[:6] == "model/"})
    both = collect([model_state(made.model), optimizer_state(made.optimizer)])[0]
    assert {name.partition("/")[0] for name in both} == {"model", "optimizer"}


def test_the_state_is_everything(trained: tuple[Trainer, dict[str, np.ndarray]]) -> None:
    """Every variable that the model, its optimizer and its metrics have is in it, once."""
    made, state = trained
    variables = [*made.model.variables, *made.optimizer.variables]
    variables += [variable for metric in made.metrics for variable in metric.variables]
    distinct = {id(variable) for variable in variables}
    assert len(state) == len(distinct)
    values = sorted(np.asarray(variable).tobytes() for variable in variables)
    assert sorted(value.tobytes() for value in state.values()) == values


def test_the_state_is_a_copy(trained: tuple[Trainer, dict[str, np.ndarray]]) -> None:
    made, state = trained
    before = {name: value.copy() for name, value in state.items()}
    made.step(3)
    assert_same(state, before)
    made.set(state)


# ---- refusals


def without(name: str) -> Callable[[dict[str, np.ndarray]], None]:
    return lambda state: state.__delitem__(name)


def changed(name: str, value: np.ndarray) -> Callable[[dict[str, np.ndarray]], None]:
    return lambda state: state.update({name: value})


@pytest.mark.parametrize(
    ("part", "change", "message"),
    [
        (
            "model",
            without("head_classes/bias"),
            "the checkpoint lacks model/head_classes/bias (1 v",
        ),
        (
            "model",
            without("head_dropout/seed_generator_state"),
            "the checkpoint lacks model/head_dropout/seed_generator_state (1 variables differ)",
        ),
        ("optimizer", without("iteration"), "the checkpoint lacks optimizer/iteration (1 v"),
        ("metrics", without("loss/total"), "the checkpoint lacks metrics/loss/total (1 v"),
        (
            "model",
            changed("zzz/kernel", np.zeros(1)),
            "there is no model/zzz/kernel (1 variables differ); was it written by the same",
        ),
        (
            "model",
            changed("head_classes/bias", np.zeros(4, np.float32)),
            "model/head_classes/bias has the shape (4,), the model wants (3,)",
        ),
        (
            "model",
            changed("head_classes/bias", np.zeros((), np.float32)),
            "model/head_classes/bias has the shape (), the model wants (3,)",
        ),
        (
            "metrics",
            changed("accuracy/count", np.zeros(1, np.float32)),
            "metrics/accuracy/count has the shape (1,), the model wants ()",
        ),
        ("model", dict.clear, "the checkpoint lacks model/block1a_bn/beta"),
        ("optimizer", dict.clear, "the checkpoint lacks optimizer/block1a_bn_beta_momentum"),
        ("metrics", dict.clear, "the checkpoint lacks metrics/accuracy/count"),
    ],
)
def test_a_part_refuses_and_then_has_changed_nothing(
    trained: tuple[Trainer, dict[str, np.ndarray]],
    part: str,
    change: Callable[[dict[str, np.ndarray]], None],
    message: str,
) -> None:
    made, state = trained
    bad = {name: value + 1 for name, value in of(part, state).items()}
    change(bad)
    match = "the checkpoint does not fit this model: .*" + re.escape(message)
    with pytest.raises(RunError, match=match):
        made.parts[part].set(bad)
    assert_same(made.get(), state)
    everything = {k: v for k, v in state.items() if not k.startswith(f"{part}/")}
    with pytest.raises(RunError, match=match):
        made.set(everything | {f"{part}/{name}": value for name, value in bad.items()})
    assert_same(made.get(), state)


def test_a_state_of_another_phase_is_refused(
    trained: tuple[Trainer, dict[str, np.ndarray]],
) -> None:
    """Keras itself only warns, and skips the optimizer."""
    made, state = trained
    head = trainer(trains="head", batchnorm="frozen")
    before = head.get()
    with pytest.raises(RunError, match="there is no optimizer/block1a_bn_beta_momentum"):
        head.parts["optimizer"].set(of("optimizer", state))
    assert_same(head.get(), before)
    with pytest.raises(RunError, match="the checkpoint lacks optimizer/block1a_bn_beta_momentum"):
        made.parts["optimizer"].set(of("optimizer", before))
    assert_same(made.get(), state)
    with pytest.raises(RunError, match="the checkpoint lacks optimizer/block1a_bn_beta_momentum"):
        made.set(before)
    made.set(state)


def test_two_variables_of_one_name_are_refused() -> None:
    twice = [keras.metrics.Mean(name="loss"), keras.metrics.Mean(name="loss")]
    with pytest.raises(RunError, match="two variables are called metrics/loss/total; give"):
        metrics_state(twice)


# ---- averages


def test_averages_come_in_place_of_the_weights_they_follow() -> None:
    arrays = {
        "model/a/kernel": np.array([1.0]),
        "model/a/bias": np.array([2.0]),
        "model/a_bias/average": np.array([3.0]),
        "optimizer/a_kernel_average": np.array([4.0]),
        "optimizer/a_kernel_momentum": np.array([5.0]),
        "optimizer/b_kernel_average": np.array([6.0]),
        "metrics/a/bias_average": np.array([7.0]),
    }
    said = {name: float(value[0]) for name, value in averaged(arrays).items()}
    assert said == {"a/kernel": 4.0, "a/bias": 2.0, "a_bias/average": 3.0}


@pytest.mark.parametrize(
    "options",
    [
        {"ema": 0.5},
        {"ema": 0.5, "accumulate": 2},
        {"ema": 0.9, "dtype": "mixed_float16", "optimizer": "adamw"},
        {"ema": 0.5, "trains": "head", "batchnorm": "frozen", "optimizer": "sgd"},
    ],
)
def test_the_averages_are_those_that_keras_would_put_in(options: dict[str, Any]) -> None:
    made = trainer(**options)
    for number in range(5):
        made.step(number)
    state = made.get()
    weights = averaged(state)
    assert list(weights) == list(of("model", state))
    follows = {
        name for name in weights if not np.array_equal(weights[name], state[f"model/{name}"])
    }
    inner = getattr(made.optimizer, "inner_optimizer", made.optimizer)
    inner.finalize_variable_values(made.model.trainable_variables)
    assert_same(made.parts["model"].get(), weights)
    assert "head_classes/kernel" in follows
    assert ("stem_conv/kernel" in follows) == (options.get("trains") != "head")
    assert "stem_bn/moving_mean" not in follows  # not trained by the optimizer: as it is

    made.set(state)
    made.parts["model"].set(weights)
    assert_same(made.parts["model"].get(), weights)


def test_without_averages_the_weights_are_themselves(
    trained: tuple[Trainer, dict[str, np.ndarray]],
) -> None:
    assert_same(averaged(trained[1]), of("model", trained[1]))
