"""What explains a forecast: the laws, the staircase, what would fit."""

from __future__ import annotations

import dataclasses
import json

import pytest

from carlib.devices import Device, device_named
from carlib.memory import Forecast, Holder, Need, Regime, estimate_memory, largest_batch
from carlib.memory import fit as fitting
from carlib.memory.explain import LEAST, SHARES, STEP, explain
from carlib.memory.fit import LARGEST, UNKNOWN, photos_a_step
from carlib.memory.words import WIDTH, amount, columns, describe, explained
from carlib.models.build import build_model
from carlib.models.table import BACKBONES
from carlib.spec import AUTO, AUTO_MOST, ModelSpec, Phase, Recipe, with_settings

BATCH, SIZE = 64, 96
RECIPE = Recipe(
    "b0",
    ModelSpec("efficientnet-b0", SIZE),
    (
        Phase("head", 1, 1e-3, trains="head", views=1),
        Phase("all", 1, 1e-3, batch_size=BATCH, batchnorm="trained"),
    ),
)
FITS = device_named("T4")


@pytest.fixture(scope="module")
def model():
    return build_model(RECIPE.model, 10)


@pytest.fixture(scope="module")
def small(model):
    """A device that half of the largest phase fits into."""
    whole = estimate_memory(RECIPE, 10, model=model).phases[1]
    return Device("half", whole.safe // 2)


@pytest.fixture(scope="module")
def forecast(model, small):
    return estimate_memory(RECIPE, 10, small, model)


@pytest.fixture(scope="module")
def said(model, forecast):
    return explain(RECIPE, forecast, model)


def test_no_side_is_tried_that_the_backbone_does_not_take(monkeypatch, model, forecast, said):
    own = dataclasses.replace(BACKBONES["efficientnet-b0"], least=SIZE - STEP + 1)
    assert said.sides[0][0] < own.least
    monkeypatch.setitem(BACKBONES, own.name, own)
    again = explain(RECIPE, forecast, model)
    assert again.sides[0][0] == SIZE
    settings = [each.setting for several in again.to_fit.values() for each in several]
    assert settings
    assert not [each for each in settings if ".size=" in each]


def test_the_model_is_left_as_it_was(model, small, forecast, said):
    """A second forecast and explanation of the same model are the same."""
    assert estimate_memory(RECIPE, 10, small, model) == forecast
    assert explain(RECIPE, forecast, model) == said
    assert all(layer.trainable for layer in model.layers)
    fresh = build_model(RECIPE.model, 10)
    assert [layer.rate for layer in model.layers if hasattr(layer, "rate")] == [
        layer.rate for layer in fresh.layers if hasattr(layer, "rate")
    ]


def test_the_largest_phase_through_the_network_is_explained(said, forecast):
    assert said.need == forecast.phases[1]
    assert said.phase == RECIPE.phases[1]
    assert said.need.requested in dict(said.batches).values()


def test_linear_in_the_batch(said):
    assert [batch for batch, _ in said.batches] == [1, 16, 32, 64, 96, 128]
    for batch, requested in said.batches[2:]:
        line = said.fixed + said.need.per_photo * batch
        assert requested == pytest.approx(line, rel=0.02)


def test_quadratic_in_the_side(said):
    assert [side for side, _ in said.sides] == [SIZE - STEP, SIZE, SIZE + STEP]
    fixed = said.need.terms["weights"] + said.need.terms["slots"]
    shares = [(requested - fixed) / side**2 for side, requested in said.sides]
    assert min(shares) == pytest.approx(max(shares), rel=0.1)


def test_a_staircase_in_what_trains(said):
    *cuts, kept = said.frozen
    assert [cut.blocks for cut in cuts] == list(range(cuts[0].of_blocks + 1))
    requested = [cut.requested for cut in cuts]
    assert requested == sorted(requested, reverse=True)
    assert requested[0] == said.need.requested
    trained = [cut.trained for cut in cuts]
    assert trained == sorted(trained, reverse=True)
    assert trained[0] == 1
    # Neither linear nor in proportion to what trains: a quarter of the blocks, most of the memory.
    quarter = min(cuts, key=lambda cut: abs(cut.share - 0.25))
    assert quarter.requested < 0.6 * requested[0]
    assert quarter.trained > 0.98
    assert kept.kept
    assert kept.requested < 0.2 * requested[-1]


def test_the_table_has_the_shares(said):
    table = said.table
    assert [cut.kept for cut in table] == [False] * len(SHARES) + [True]
    for cut, share in zip(table, SHARES, strict=False):
        assert abs(cut.share - share) <= 0.5 / cut.of_blocks + 1e-9
    assert [table[0].share, table[-1].share] == [0, 1]


def test_constant_in_the_optimizer(said, model):
    trained = sum(weight.shape.num_elements() for weight in model.trainable_weights)
    assert said.slots == {
        "adam": 8 * trained,
        "adamw": 8 * trained,
        "sgd, momentum": 4 * trained,
        "sgd": 0,
    }
    assert said.slots["adamw"] == said.need.terms["slots"]


def test_mixed_precision_saves_less_than_half(said):
    assert said.precisions["float32"] == said.need.requested
    assert 0.2 < 1 - said.precisions["mixed_float16"] / said.precisions["float32"] < 0.5


def test_each_remedy_fits_and_a_little_more_would_not(said, small, model):
    """Trained as the settings say, estimated anew; beside it, one step less of the change."""
    (remedies,) = said.to_fit.values()
    settings = [remedy.setting for remedy in remedies]
    keys = [setting.partition("=")[0] for setting in settings]
    assert keys == ["phases.all.batch_size", "phases.all.size", "phases.all.trains"]
    for remedy in remedies:
        changed = with_settings(RECIPE, [remedy.setting])
        need = estimate_memory(changed, 10, model=model).phases[1]
        assert need.safe == remedy.safe <= small.usable
        assert 1 - need.requested / said.need.requested == pytest.approx(remedy.saved)
        assert 0 < remedy.saved < 1
    batch, size, trains = (float(setting.partition("=")[2]) for setting in settings)
    blocks = said.frozen[0].of_blocks
    for setting in (
        f"phases.all.batch_size={batch + 1:.0f}",
        f"phases.all.size={size + STEP:.0f}",
        f"phases.all.trains={trains + 1 / blocks:.3f}",
    ):
        need = estimate_memory(with_settings(RECIPE, [setting]), 10, model=model).phases[1]
        assert need.safe > small.usable
    assert size % STEP == 0


@pytest.mark.parametrize("share_by", ["parameters", "compute"])
def test_what_is_frozen_counts_blocks_whatever_the_phase_counts(model, small, share_by):
    recipe = with_settings(RECIPE, [f"phases.all.share_by={share_by}"])
    forecast = estimate_memory(recipe, 10, small, model)
    *_, frozen = explain(recipe, forecast, model).to_fit["all"]
    assert frozen.setting.endswith(" phases.all.share_by=blocks")
    changed = with_settings(recipe, frozen.setting.split())
    assert estimate_memory(changed, 10, small, model).phases[1].safe == frozen.safe <= small.usable


def test_nothing_makes_it_fit(model):
    device = Device("a toy", 2**20)
    forecast = estimate_memory(RECIPE, 10, device, model)
    said = explain(RECIPE, forecast, model)
    assert forecast.largest == {"head": 0, "all": 0}
    assert said.to_fit == {"head": (), "all": ()}
    text = explained(forecast, said)
    assert "to fit all into the 1.05 MB of a toy: no batch, photo size or freezing" in text
    assert "not even one photo fits" in describe(forecast)
    assert describe(forecast, "ask on").count("ask on") == 1


PROBED = dataclasses.replace(RECIPE, phases=RECIPE.phases[1:], linear_probe=3)


def test_no_setting_reaches_the_linear_probe(model):
    forecast = estimate_memory(PROBED, 10, Device("a toy", 2**20), model)
    assert explain(PROBED, forecast, model).to_fit["probe"] == ()


HEAD_ONLY = dataclasses.replace(RECIPE, phases=RECIPE.phases[:1])


def test_a_head_on_cached_features(model):
    """The photos' size and the precision of the network are no matter; freezing is still told."""
    forecast = estimate_memory(HEAD_ONLY, 10, FITS, model)
    said = explain(HEAD_ONLY, forecast, model)
    assert (said.sides, said.precisions, said.to_fit) == ((), {}, {})
    assert said.frozen[0].requested > 10 * said.need.requested
    assert said.frozen[-1].requested == said.need.requested
    text = explained(forecast, said)
    assert "their side: no matter, it trains on features that are cached" in text
    assert "head fits into T4, up to 65,536 photos a step" in text


def test_phases_of_their_own_size(model):
    recipe = with_settings(RECIPE, ["phases.all.size=64"])
    forecast = estimate_memory(recipe, 10, model=model)
    said = explain(recipe, forecast, model)
    assert dict(said.sides)[64] == said.need.requested
    assert min(dict(said.sides)) >= LEAST
    assert said.precisions["float32"] == said.need.requested


def test_the_words_of_an_explanation(forecast, said):
    text = explained(forecast, said)
    for words in (
        f"phase 'all', {BATCH} photos a step at {SIZE} px, {amount(said.need.requested)} of R",
        f"photos a step: linear, {amount(said.need.per_photo)} a photo above ",
        "their side: quadratic: ",
        "neither linear nor quadratic, a staircase",
        "optimizer: constant: 8 bytes a parameter",
        "; here adamw",
        "so does what BatchNorm computes in",
        "to fit all into the ",
        "--set phases.all.size=",
    ):
        assert words in " ".join(text.split()), words
    assert max(map(len, text.splitlines())) <= WIDTH


def test_the_words_of_averages_and_accumulation(model):
    recipe = with_settings(RECIPE, ["phases.all.ema=0.9", "phases.all.accumulate=2"])
    forecast = estimate_memory(recipe, 10, model=model)
    text = explained(forecast, explain(recipe, forecast, model))
    assert "here adamw, and 4 more for ema, 4 for accumulate" in " ".join(text.split())


def a_need(**changes):
    holders = (Holder("conv", "output", 10**6),)
    terms = {"weights": 10**6, "slots": 0}
    need = Need("all", "training", 8, 32, 10**6, 2, (1, 3), 4, terms, "there", holders, 5)
    return dataclasses.replace(need, **changes)


@pytest.mark.parametrize(
    ("device", "words"),
    [
        (None, "r, against no device: --gpu names one"),
        (Device("a CPU", 5 * 10**6, kind="cpu"), "r on a CPU: 5.00 MB of memory usable"),
        (Device("a CPU", 3, kind="cpu"), "all does NOT fit into a CPU: T is 0.00 MB of 0.00 MB"),
        (Device("a GPU", 3 * 10**9, 10**8, 10**9), "beside it 100 MB are CUDA's context"),
    ],
)
def test_the_words_of_a_forecast(device, words):
    largest = {"all": None if device is None else 7}
    forecast = Forecast("r", device, Regime(False, "why"), (a_need(),), (), largest)
    text = describe(forecast)
    assert words in text
    assert "all needs the most; its peak: there\n   1.00 MB  conv: output" in text
    assert "R is what the step asks the allocator for" in text
    assert "nothing here is measured on a GPU" in text
    assert ("most photos" in text) == (device is not None)


def test_a_pass_that_does_not_fit_is_halved_and_unknown_layers_are_named():
    passes = a_need(name="validation", work="forward", batch=64, safe=10, unknown=("mine",))
    forecast = Forecast("r", Device("d", 4), Regime(False, ""), (a_need(),), (passes,), {"all": 8})
    text = describe(forecast, "ask on")
    assert "validation: 64 photos at once do NOT fit into d; such a pass is cut in half" in text
    assert "no rule for mine: what they hold is guessed" in text
    assert "ask on" not in text


def test_figures_are_whole_numbers_and_json():
    forecast = Forecast("r", FITS, Regime(True, "w"), (a_need(),), (a_need(name="v"),), {"all": 9})
    said = json.loads(json.dumps(forecast.figures()))
    assert (said["recipe"], said["regime"]) == ("r", {"xla": True, "why": "w"})
    assert said["device"]["usable"] == FITS.usable
    assert (said["phases"]["all"]["largest_batch"], said["phases"]["all"]["fits"]) == (9, True)
    assert said["others"]["v"]["largest_batch"] is None
    assert said["phases"]["all"]["holders"] == [
        {"layer": "conv", "what": "output", "nbytes": 10**6}
    ]


@pytest.mark.parametrize(
    ("law", "usable", "largest"),
    [
        (lambda batch: 100 + 7 * batch, 99, 0),
        (lambda batch: 100 + 7 * batch, 106, 0),
        (lambda batch: 100 + 7 * batch, 107, 1),
        (lambda batch: 100 + 7 * batch, 7106, 1000),
        (lambda batch: 100, 100, LARGEST),
        (lambda batch: 100, 99, 0),
        (lambda batch: 100 + batch**2, 100 + 300**2, 300),  # no line at all
        (lambda batch: max(1000, 10 * batch), 5009, 500),  # a bend
        (lambda batch: 5 if batch < 777 else 10**9, 10**6, 776),  # a step
        (lambda batch: batch, LARGEST, LARGEST),
    ],
)
def test_the_largest_batch_of_any_law(monkeypatch, model, law, usable, largest):
    tried = []

    def safe(requested, tape, peak, unknown):
        tried.append(peak)
        return law(peak)

    class Walked:
        unknown = ()

        def __init__(self, batch):
            self.tape, self.nbytes, self.batch = self, 0, batch

        def peak(self):
            return Peaked(self.batch)

    class Peaked(int):
        nbytes = 0

    monkeypatch.setattr(fitting, "training_step", lambda trainer, phase, batch: Walked(batch))
    monkeypatch.setattr(fitting.laws, "safe", safe)
    device = Device("d", usable)
    assert largest_batch(model, RECIPE, RECIPE.phases[1], device) == largest
    assert len(tried) == len(set(tried)) <= 30


@pytest.mark.parametrize(
    ("asked", "most", "photos"),
    [
        (24, 5, 24),
        (24, None, 24),
        (AUTO, None, UNKNOWN),
        (AUTO, 0, 1),
        (AUTO, 1, 1),
        (AUTO, 33, 32),
        (AUTO, 10_000, AUTO_MOST),
    ],
)
def test_photos_a_step(asked, most, photos):
    assert photos_a_step(Phase("all", 1, 1e-3, batch_size=asked), most) == photos


@pytest.mark.parametrize(
    ("nbytes", "text"),
    [
        (0, "0 MB"),
        (12_345, "0.01 MB"),
        (9_994_000, "9.99 MB"),
        (9_996_000, "10.0 MB"),
        (99_960_000, "100 MB"),
        (999_400_000, "999 MB"),
        (999_600_000, "1.00 GB"),
        (14_425_000_000, "14.4 GB"),
        (-2_000_000, "-2.00 MB"),
    ],
)
def test_amount(nbytes, text):
    assert amount(nbytes) == text


def test_columns_end_at_the_right_but_for_those_named():
    rows = [("a", "1", "x"), ("bb", "22", "yy")]
    assert columns(rows, left=(0, 2)) == ["a    1  x", "bb  22  yy"]
