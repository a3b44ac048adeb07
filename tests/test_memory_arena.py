"""Memory given out as TensorFlow's allocator does, and what a limit needs beyond what is asked."""

from __future__ import annotations

import random

import pytest

from carlib.freeze import Freezer
from carlib.memory import laws
from carlib.memory.arena import WHOLE, Arena, runs_in
from carlib.memory.fixed import nbytes, slots_of
from carlib.memory.step import training_step
from carlib.memory.tape import Tape
from carlib.models.build import build_model
from carlib.spec import ModelSpec, Phase

KIB = 1024


@pytest.mark.parametrize(
    ("region", "asked", "places"),
    [
        (4 * KIB, (KIB, KIB), [0, KIB]),
        (4 * KIB, (1, 257), [0, 256]),  # in whole 256 bytes
        (4 * KIB, (5 * KIB,), [None]),
        (3 * KIB, (2 * KIB, KIB), [0, None]),  # less than twice: all of the chunk goes
        (2 * KIB, (KIB, KIB, 1), [0, KIB, None]),
        # However large the tensor, 128 MiB of a rest are cut off.
        (WHOLE * 3 - 256, (WHOLE * 2, KIB), [0, None]),
        (WHOLE * 3, (WHOLE * 2, KIB), [0, WHOLE * 2]),
    ],
)
def test_where_tensors_lie(region, asked, places):
    arena = Arena(region)
    assert [arena.take(size) for size in asked] == places


def test_the_smallest_chunk_that_holds_it_is_taken():
    arena = Arena(64 * KIB)
    large, _, small, _ = (arena.take(size * KIB) for size in (8, 1, 3, 1))
    arena.give_back(large)
    arena.give_back(small)
    assert arena.take(2 * KIB) == small
    assert arena.take(2 * KIB) == large


@pytest.mark.parametrize("order", [(0, 1, 2), (2, 1, 0), (0, 2, 1), (1, 0, 2)])
def test_free_neighbours_become_one(order):
    arena = Arena(12 * KIB)
    places = [arena.take(3 * KIB) for _ in range(3)]
    for number in order:
        arena.give_back(places[number])
    assert arena.take(12 * KIB) == 0


@pytest.mark.parametrize("seed", range(5))
def test_nothing_overlaps_and_nothing_is_lost(seed):
    chance, region = random.Random(seed), 256 * KIB
    arena, held = Arena(region), {}
    for _ in range(2000):
        if held and chance.random() < 0.5:
            place = chance.choice(list(held))
            del held[place]
            arena.give_back(place)
            continue
        size = chance.randrange(1, 24 * KIB)
        place = arena.take(size)
        if place is not None:
            assert 0 <= place <= region - size
            assert all(place + size <= other or other + n <= place for other, n in held.items())
            held[place] = size
    for place in list(held):
        arena.give_back(place)
    assert arena.take(region) == 0


def holey() -> Tape:
    """Every other of many tensors goes; then comes one that fits into none of the gaps."""
    tape = Tape()
    kept, gone = [], []
    for number in range(8):
        made = tape.run("conv", "output", [], (4 + number % 2) * KIB)
        (kept if number % 2 else gone).append(made)
    tape.run("sum", "of those that go", gone)
    large = tape.run("conv", "larger than a gap", [], 9 * KIB)
    tape.run("sum", "of those that stay", [*kept, large])
    return tape


def test_gaps_that_nothing_fits_into_need_more_than_what_is_asked_for():
    tape = holey()
    peak = tape.peak()
    assert peak.nbytes == 36 * KIB
    assert not runs_in(tape, 0, 44 * KIB)
    assert runs_in(tape, 0, 56 * KIB)
    held = laws.safe(0, tape, peak, 0.0)
    assert held > laws.SAFE * peak.nbytes
    assert runs_in(tape, 0, int(held / laws.SAFE_OF_ARENA))


@pytest.mark.parametrize("options", [{}, {"batchnorm": "trained"}, {"trains": 0.5}, {"clip": 1.0}])
def test_a_step_never_runs_in_less_than_it_asks_for_and_always_in_the_safe_figure(options):
    model, phase = build_model(ModelSpec("tiny", 32), 3), Phase("p", 1, 1e-3, **options)
    Freezer(model).apply(phase)
    tape = training_step(model, phase, 16).tape
    fixed, peak = nbytes(model.variables) + slots_of(model, phase), tape.peak()
    assert not runs_in(tape, fixed, fixed + peak.nbytes - 256)
    assert runs_in(tape, fixed, laws.safe(fixed, tape, peak, 0.0))
    assert runs_in(tape, fixed, 100 * (fixed + peak.nbytes))


def test_what_is_there_all_along_needs_its_place():
    assert not runs_in(Tape(), 2 * KIB, KIB)
    assert runs_in(Tape(), KIB, KIB)
    tape = Tape()
    tape.run("conv", "output", [], KIB)
    # Many small pieces: they take no more than they are, however small the rest.
    assert runs_in(tape, 64 * KIB, 65 * KIB)
