"""Saves on a thread of their own, when they are due, and what of them is kept."""

from __future__ import annotations

import dataclasses
import os
import threading
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import keras
import numpy as np
import pytest
from chains import assert_holds, content, names, snapshot
from conftest import make_recipe
from runs import final

from carlib.catalog import Catalog, read_catalog
from carlib.checkpoints import Checkpoint, Position, chain, find_checkpoint, read_state, verify
from carlib.checkpoints.disk import ARRAYS, LAST, read_manifest
from carlib.checkpoints.state import averaged
from carlib.errors import CarlibError
from carlib.runfolder import RunFolder, read_json
from carlib.session import Every, Session
from carlib.spec import Recipe, with_settings
from carlib.train import keeper, loop, saver, train_model
from carlib.train.clock import Clock
from carlib.train.keeper import Keeper
from carlib.train.ledger import Ledger
from carlib.train.saver import SHORTEST, Job, Saver
from carlib.train.start import _needs


@pytest.fixture(autouse=True)
def unflushed(monkeypatch: pytest.MonkeyPatch) -> None:
    """The order of the calls counts here, not what a real disk makes of them."""
    monkeypatch.setattr(os, "fsync", lambda handle: None)


class Moved:
    """A clock that stands still until it is moved."""

    def __init__(self, now: float = 0.0):
        self.now = now

    def __call__(self) -> float:
        return self.now


def job(value: int, **options: Any) -> Job:
    return Job(snapshot(value), value, **options)


# ---- when


@pytest.mark.parametrize("began", [0.0, 1e6])
def test_due_by_seconds(tmp_path: Path, began: float) -> None:
    """From the session's start, and then from save to save; other saves count too."""
    now = Moved(began)
    saves = Saver(tmp_path, now, Every(seconds=10))
    found = []
    for second in range(40):
        now.now = began + second
        if saves.due(second) or second == 15:
            found.append(second)
            saves.start([job(second)], second)
            saves.wait()
    assert found == [10, 15, 25, 35]


def test_due_by_steps(tmp_path: Path) -> None:
    """Whatever the clock says, and whether one is under way or not."""
    saves = Saver(tmp_path, Moved(), Every(steps=3))
    found = []
    for step in range(1, 12):
        if saves.due(step):
            found.append(step)
            saves.start([job(step)], step)
    saves.wait()
    assert found == [3, 6, 9]


@pytest.mark.parametrize(
    ("copying", "writing", "interval"),
    [
        (0, 0, 60),
        (0.6, 6, 60),
        (0.7, 0, 70),  # a hundredth of the thread's time
        (0, 7, 70),  # a tenth of the disk's
        (0.7, 8, 80),
        (0.9, 8, 90),
    ],
)
def test_the_default_interval_is_what_a_save_costs(
    tmp_path: Path, copying: float, writing: float, interval: float
) -> None:
    now = Moved(1e6)
    saves = Saver(tmp_path, now, copying=copying, writing=writing)
    assert saves.interval == pytest.approx(interval)
    assert not saves.due(10**6)
    now.now += interval - 0.01
    assert not saves.due(0)
    now.now += 0.02
    assert saves.due(0)
    assert SHORTEST == 60


@pytest.mark.parametrize(
    ("passed", "copying", "writing", "every", "worth"),
    [
        (10, 0, 0, None, True),
        (9, 0, 0, None, False),
        (100, 1, 0, None, True),
        (99, 1, 0, None, False),
        (70, 0, 7, None, True),
        (69, 0, 7, None, False),
        (100, 1, 101, None, False),
        (100, 2, 1, Every(seconds=1), False),
        (0, 9, 9, Every(steps=100), True),
    ],
)
def test_what_is_worth_a_save_between_epochs(
    tmp_path: Path, passed: float, copying: float, writing: float, every: Every | None, worth: bool
) -> None:
    now = Moved(1e6)
    saves = Saver(tmp_path, now, every, copying=copying, writing=writing)
    now.now += passed
    assert saves.worth_it() == worth


# ---- on a thread of its own


def test_jobs_are_written_in_order(tmp_path: Path) -> None:
    seen: list[tuple[list[str], str]] = []

    def look() -> None:
        seen.append((names(tmp_path), threading.current_thread().name))

    saves = Saver(tmp_path, Moved())
    saves.start([job(1, after=look), job(2, always=["000001-p1e3s1"], after=look)], 1)
    saves.wait()
    one, two = "000001-p1e3s1", "000002-p1e3s2"
    assert seen == [([one, LAST], "carlib-saver"), ([one, two, LAST], "carlib-saver")]
    assert_holds(find_checkpoint(tmp_path), 2)
    assert saves.saves == 2


def test_a_write_is_timed_by_the_job(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The longest counts, also where a session's clock stands still."""
    ticks = iter([0.0, 6.0, 10.0, 14.0, 20.0, 22.0])
    monkeypatch.setattr(saver, "time", SimpleNamespace(perf_counter=lambda: next(ticks)))
    saves = Saver(tmp_path, Moved(), writing=2.5)
    for jobs, longest in (([1, 2], 3.0), ([3], 4.0), ([4], 4.0)):
        saves.start([job(value) for value in jobs], 1)
        saves.wait()
        assert saves.writing == longest


def test_a_start_waits_for_the_one_before(tmp_path: Path) -> None:
    """The first write ends only once the second start waits for it."""
    waits, order = threading.Event(), []

    class Watched(Saver):
        def wait(self) -> None:
            if self.busy:
                waits.set()
            super().wait()

    def first() -> None:
        assert_set(waits)
        order.append(1)

    saves = Watched(tmp_path, Moved())
    saves.start([job(1, after=first)], 1)
    assert not order
    saves.start([job(2, after=lambda: order.append(2))], 2)
    assert order[:1] == [1]
    saves.wait()
    assert order == [1, 2]
    assert_holds(find_checkpoint(tmp_path), 2)


def test_nothing_waits_but_wait(tmp_path: Path) -> None:
    go = threading.Event()
    now = Moved()
    saves = Saver(tmp_path, now, Every(seconds=10))
    assert not saves.busy
    saves.start([job(1, after=lambda: assert_set(go))], 1)
    now.now = 100
    assert saves.busy
    saves.poll()
    assert not saves.due(100)  # no second one beside it
    assert saves.busy
    go.set()
    saves.wait()
    assert not saves.busy
    assert saves.due(100)
    saves.wait()
    saves.poll()


def assert_set(event: threading.Event) -> None:
    assert event.wait(60)


# ---- what goes wrong there


def full(*args: Any, **options: Any) -> None:
    raise OSError(28, "No space left on device")


def lost() -> None:
    {}["a row"]


@pytest.mark.parametrize("how", ["wait", "poll", "start"])
@pytest.mark.parametrize("kind", ["full", "after"])
def test_an_error_is_raised_by_the_next_call_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind: str, how: str
) -> None:
    saves = Saver(tmp_path, Moved())
    saves.start([job(1)], 1)
    saves.wait()
    with monkeypatch.context() as patch:
        if kind == "full":
            patch.setattr(np.lib.format, "write_array", full)
        third: list[Any] = []
        failing = job(2, after=lost if kind == "after" else lambda: None)
        saves.start([failing, job(3, after=lambda: third.append(1))], 2)
        ended(saves)
    calls: dict[str, Callable[[], None]] = {
        "wait": saves.wait,
        "poll": saves.poll,
        "start": lambda: saves.start([job(4)], 3),
    }
    error, message = (CarlibError, "no space left") if kind == "full" else (KeyError, "a row")
    with pytest.raises(error, match=message):
        calls[how]()
    # Nothing was written after the failure, and what was before is whole.
    assert not third
    assert_holds(find_checkpoint(tmp_path), 1 if kind == "full" else 2)
    assert not list(tmp_path.glob("*.aside"))
    assert not saves.busy
    for call in calls.values():
        call()
    saves.wait()
    assert_holds(find_checkpoint(tmp_path), 4)


def ended(saves: Saver) -> None:
    while saves.busy:
        time.sleep(0.001)


# ---- what stays


ONE, TWO, THREE, FOUR = (f"00000{value}-p1e3s{value}" for value in range(1, 5))


@pytest.mark.parametrize(
    ("always", "wished", "budget", "kept"),
    [
        ([], [], None, [FOUR]),
        ([TWO], [], None, [TWO, FOUR]),
        ([TWO], [], 1, [TWO, FOUR]),
        ([""], [THREE, ""], None, [THREE, FOUR]),
        ([ONE], [THREE, TWO], 3.5, [ONE, THREE, FOUR]),
        ([ONE], [TWO, THREE], 3.5, [ONE, TWO, FOUR]),
        ([ONE], [TWO, THREE], 4.5, [ONE, TWO, THREE, FOUR]),
        ([], [THREE], 1, [FOUR]),
    ],
)
def test_what_stays_is_what_the_job_says_and_the_budget_allows(
    tmp_path: Path,
    always: Sequence[str],
    wished: Sequence[str],
    budget: float | None,
    kept: list[str],
) -> None:
    """Budgets in checkpoints; but for the new one, nothing stays by itself."""
    saves = Saver(tmp_path, Moved())
    saves.start([job(1)], 1)
    saves.wait()
    size = sum(path.stat().st_size for path in (tmp_path / ONE).iterdir())
    saves.start([job(2, always=[ONE]), job(3, always=[ONE, TWO])], 2)
    saves.wait()
    saves.budget = budget if budget in (None, 1) else int(budget * size)
    saves.start([job(4, always=always, wished=wished)], 3)
    saves.wait()
    assert names(tmp_path) == [*kept, LAST]


# ---- the keeper, without a network


class Weights:
    """A part of the state as large as a number says."""

    name = "weights"

    def __init__(self) -> None:
        self.value = 0

    def get(self) -> dict[str, Any]:
        return {"value": np.full(1000, self.value, np.int64)}

    def set(self, state: Any, /) -> None: ...


@pytest.fixture
def written(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """What is written, in order, each with its reason.

    After each write, and after each removal, the chain is checked: whatever is there can be gone
    on from. An error on the saver's thread is raised on the training's.
    """
    found: list[str] = []
    write, remove = saver.write_checkpoint, chain._remove

    def check(where: Path) -> None:
        for folder in chain.folders_of(where):
            for name in _needs(read_manifest(folder)):
                assert (where / name).is_dir(), f"{folder.name} needs {name}"

    def writing(where: Path, *args: Any) -> Checkpoint:
        checkpoint = write(where, *args)
        found.append(f"{checkpoint.name} {checkpoint.why}")
        check(where)
        return checkpoint

    def removing(path: Path) -> None:
        remove(path)
        check(path.parent)

    monkeypatch.setattr(saver, "write_checkpoint", writing)
    monkeypatch.setattr(chain, "_remove", removing)
    return found


class Bench:
    """A keeper that is told of steps and epochs as the phase loop tells it."""

    def __init__(self, folder: Path, monkeypatch: pytest.MonkeyPatch, budget: int | None = None):
        self.folder, self.budget = RunFolder(folder), budget
        self.exported: list[int] = []
        self.now, self.position = Moved(), Position()
        monkeypatch.setattr(keeper, "export_best", self.export)

    def export(self, folder: Any, model: Any, freezer: Any, material: Any, best: Any) -> None:
        self.exported.append(best["epoch"])
        self.now.now += 1

    def begin(self, every: Every | None = None) -> None:
        """Begin a session, from the newest checkpoint."""
        found = find_checkpoint(self.folder.chain, _needs)
        self.ledger = Ledger(self.folder, "accuracy", higher=True)
        if found:
            self.ledger.set(read_state(found)[1]["parts"]["ledger"])
            self.ledger.named(found.name)
            self.position = found.position
        session = Session(clock=self.now, began=0.0)
        clock = Clock(session)
        saves = Saver(self.folder.chain, self.now, every, self.budget)
        material: Any = SimpleNamespace(recipe=make_recipe(), catalog_digest="cd" * 32)
        nothing: Any = None
        weights = Weights()
        self.keeper = Keeper(
            material,
            nothing,
            nothing,
            self.ledger,
            clock,
            saves,
            lambda position: [self.ledger, weights],
            found,
            "",
        )
        self.ledger.begin_session("here", "CPU", found.name if found else "")
        if not found:
            self.keeper.save(self.position, "start", wait=True)

    def train(self, phase: int, values: Sequence[float], steps: int = 2) -> None:
        """Train a phase, each epoch with its value, a save after each step."""
        for epoch, value in enumerate(values):
            for step in range(1, steps + 1):
                self.keeper.save(Position(phase, epoch, step), "interval")
            number = len(self.ledger.history) + 1
            row = {"phase": str(phase), "epoch": number, "val_accuracy": value}
            self.ledger.add_epoch(row, {"epoch": number})
            if self.ledger.best and self.ledger.best["epoch"] == number:
                self.keeper.epoch_is_best()
            if epoch + 1 < len(values):
                self.keeper.epoch_ended(Position(phase, epoch + 1))
        self.keeper.save(Position(phase + 1), "phase")
        self.keeper.saver.wait()


VALUES = {
    "the first": [[0.9, 0.8], [0.7, 0.6], [0.5]],
    "the last": [[0.5, 0.6], [0.7, 0.8], [0.9]],
    "an end": [[0.5, 0.9], [0.7, 0.6], [0.5]],
    "in the middle of each": [[0.2, 0.3, 0.1], [0.3, 0.6, 0.4], [0.5, 0.9, 0.1]],
    "at each start": [[0.2, 0.1], [0.5, 0.4], [0.9, 0.8]],
}


@pytest.mark.once
@pytest.mark.parametrize(
    ("every", "budget"),
    [(None, None), *((Every(steps=1), budget) for budget in (None, 1, 28_000, 42_000, 60_000))],
)
@pytest.mark.parametrize("values", VALUES.values(), ids=VALUES)
def test_every_checkpoint_has_the_best_that_it_names(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    written: list[str],
    values: list[list[float]],
    every: Every | None,
    budget: int | None,
) -> None:
    """At every moment, whatever fits; over three sessions, of a phase each."""
    bench = Bench(tmp_path, monkeypatch, budget)
    for phase, told in enumerate(values):
        bench.begin(every)
        bench.train(phase, told)
    newest = find_checkpoint(bench.folder.chain)
    assert newest is not None
    assert newest.position == Position(3)
    assert written[-1] == f"{newest.name} phase"
    best = read_state(newest)[1]["parts"]["ledger"]["best"]
    flat = [value for told in values for value in told]
    assert best["epoch"] == flat.index(max(flat)) + 1
    kept, least = names(bench.folder.chain), {newest.name, best["checkpoint"] or newest.name, LAST}
    size = sum(map(len, content(bench.folder.chain).values()))
    if budget is None:
        # Each end of a phase, and it can be gone on from.
        assert {name[7:] for name in kept} >= {"p1e0s0", "p2e0s0", "p3e0s0"}
    else:
        assert size <= budget or set(kept) == least


def test_the_best_before_goes_with_the_checkpoint_that_names_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Should the newest, a best one, be damaged, the one before is whole with its own best."""
    bench = Bench(tmp_path, monkeypatch)
    bench.begin(Every(steps=1))
    bench.train(0, [0.5, 0.4, 0.9])
    newest = find_checkpoint(bench.folder.chain, _needs)
    assert newest is not None
    (newest.path / ARRAYS).unlink()
    before = find_checkpoint(bench.folder.chain, _needs)
    assert before is not None
    assert before.position == Position(0, 2, 2)
    assert _needs(before) == ["000004-p0e1s0"]


def test_costs_come_from_the_ledger_and_go_into_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    bench = Bench(tmp_path, monkeypatch)
    bench.begin(Every(steps=1))
    saves = bench.keeper.saver
    saves.copying, saves.writing, bench.keeper.exporting = 3.0, 40.0, 7.0
    bench.train(0, [0.5])
    bench.begin()
    saves = bench.keeper.saver
    assert (saves.copying, saves.writing, bench.keeper.exporting) == (3.0, 40.0, 7.0)
    assert saves.interval == 400


def test_what_saves_of_another_size_cost(tmp_path: Path) -> None:
    """Guessed by their bytes until one is made, then the longest counts."""
    saves = Saver(tmp_path, Moved(0), copying=2.0, writing=5.0, size=100)
    saves.resize(300)
    assert (saves.copying, saves.writing, saves.size) == (6.0, 15.0, 300)
    saves.took("copying", 4.0)
    assert (saves.copying, saves.writing) == (4.0, 15.0)
    saves.took("copying", 3.0)
    saves.took("writing", 20.0)
    saves.resize(300)
    assert (saves.copying, saves.writing) == (4.0, 20.0)
    first = Saver(tmp_path, Moved(0))
    first.resize(10)
    assert (first.copying, first.writing, first.size) == (0.0, 0.0, 10)


def test_what_a_save_and_an_export_would_take(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    bench = Bench(tmp_path, monkeypatch)
    bench.begin()
    keeps, saves = bench.keeper, bench.keeper.saver
    saves.copying, saves.writing, keeps.exporting = 2.0, 40.0, 7.0
    assert keeps.reserve() == 1.5 * (42 + 7)
    keeps.held = snapshot(1)
    assert keeps.reserve() == 1.5 * (82 + 7)
    go = threading.Event()
    state = {"parts": {"ledger": {"best": None}}}
    saves.start([Job(snapshot(9, state=state), 9, after=lambda: assert_set(go))], 1)
    assert keeps.reserve() == 1.5 * (122 + 7)
    go.set()
    saves.wait()
    assert keeps.reserve() == 1.5 * (82 + 7)


def test_exports_keep_to_a_hundredth_of_the_time(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One takes a second here: the next comes after 100 s, or is left for later."""
    bench = Bench(tmp_path, monkeypatch)
    bench.begin()
    behind = []
    for number, passed in enumerate((0, 10, 89, 1, 99, 101), 1):
        bench.now.now += passed
        row = {"phase": "0", "epoch": number, "val_accuracy": number / 10}
        bench.ledger.add_epoch(row, {"epoch": number})
        bench.keeper.epoch_is_best()
        behind.append(bench.keeper.behind)
    assert behind == [False, True, True, False, True, False]
    assert bench.exported == [1, 4, 6]


# ---- the keeper in real runs


@pytest.fixture(scope="module")
def catalog(photos: Path) -> Catalog:
    return read_catalog(photos)


def alone(*settings: str) -> Recipe:
    """One phase; two steps an epoch."""
    recipe = make_recipe()
    one = dataclasses.replace(recipe, phases=recipe.phases[1:])
    return with_settings(one, ["phases.all.batch_size=24", "phases.all.epochs=4", *settings])


@pytest.fixture
def tell(monkeypatch: pytest.MonkeyPatch) -> Callable[[Sequence[float]], None]:
    """Let validations, by the number of the epoch, have an accuracy that is told."""

    def tell(values: Sequence[float]) -> None:
        def validate(self: Any, stage: Any, validator: Any) -> tuple[dict[str, float], None]:
            value = values[len(self.ledger.history)]
            others = dict.fromkeys(("val_macro_f1", "val_log_loss", "val_loss"), 0.5)
            return {"val_accuracy": value, **others}, None

        monkeypatch.setattr(loop.Training, "_validate", validate)
        monkeypatch.setattr(loop, "prove_best", lambda *_: None)

    return tell


@pytest.mark.parametrize(
    ("values", "stop_after", "writes", "best"),
    [
        (
            [0.9, 0.5, 0.4, 0.3],
            None,
            ["000001-p0e0s0 start", "000002-p0e1s0 best", "000003-p1e0s0 phase"],
            "000002-p0e1s0",
        ),
        (
            [0.5, 0.9, 0.4, 0.3],
            5,
            ["000001-p0e0s0 start", "000002-p0e2s0 best", "000003-p0e2s1 stop-after"],
            "000002-p0e2s0",
        ),
        # The end of the phase is the best: what was held is let go.
        ([0.5, 0.6, 0.7, 0.9], None, ["000001-p0e0s0 start", "000002-p1e0s0 phase"], ""),
    ],
)
def test_a_best_epoch_that_was_held_comes_before_the_checkpoint_that_names_it(
    tmp_path: Path,
    catalog: Catalog,
    monkeypatch: pytest.MonkeyPatch,
    tell: Callable[[Sequence[float]], None],
    written: list[str],
    values: list[float],
    stop_after: int | None,
    writes: list[str],
    best: str,
) -> None:
    """On a clock that stands still, no epoch is worth a save."""
    tell(values)
    monkeypatch.setattr(keeper, "export_best", lambda *_: None)
    session = Session(clock=Moved(), began=0.0, stop_after=stop_after)
    train_model(alone(), catalog, tmp_path, session=session)
    assert written == writes
    newest = find_checkpoint(tmp_path / "chain", _needs)
    assert newest is not None
    assert newest.name == writes[-1].split()[0]
    assert _needs(newest) == ([best] if best else [])
    if best:
        held = verify(tmp_path / "chain" / best)
        assert held.metrics["val_accuracy"] == 0.9
        # It is a whole state: a run may go on from it.
        assert {name.split("/")[0] for name in read_state(held)[0]} == {"model", "optimizer"}


def test_each_step_of_a_run_leaves_a_chain_that_is_whole(
    tmp_path: Path,
    catalog: Catalog,
    monkeypatch: pytest.MonkeyPatch,
    tell: Callable[[Sequence[float]], None],
    written: list[str],
) -> None:
    """The first phase ends behind its best; the best of the second must not take that one's."""
    tell([0.6, 0.5, 0.7, 0.5])
    monkeypatch.setattr(keeper, "export_best", lambda *_: None)
    settings = ["phases.*.epochs=2", "phases.*.batch_size=48"]
    seen = []

    class Look(keras.callbacks.Callback):  # type: ignore[misc]
        def on_train_batch_end(self, batch: int, logs: Any = None) -> None:
            seen.append(find_checkpoint(tmp_path / "chain", _needs))

    recipe = with_settings(make_recipe(), settings)
    train_model(recipe, catalog, tmp_path, save_every=Every(steps=1), callbacks=[Look()])
    assert len(seen) == 4
    assert None not in seen
    ends = [path for path in chain.folders_of(tmp_path / "chain") if path.name.endswith("e0s0")]
    assert [read_manifest(path).position.phase for path in ends] == [2, 1]
    for path in ends:
        (best,) = _needs(verify(path))
        assert verify(path.parent / best).position.epoch == 1


def test_best_catches_up_where_epochs_are_short(
    tmp_path: Path,
    catalog: Catalog,
    monkeypatch: pytest.MonkeyPatch,
    tell: Callable[[Sequence[float]], None],
) -> None:
    """An export takes 10 s, all else nothing: the next comes at the stop or the phase's end."""
    now, exported = Moved(), []
    export = keeper.export_best

    def slow(*args: Any) -> None:
        export(*args)
        now.now += 10
        exported.append(args[-1]["epoch"])

    monkeypatch.setattr(keeper, "export_best", slow)
    tell([0.5, 0.6, 0.7, 0.8])
    recipe = alone("phases.all.ema=0.5")

    def holds(epoch: int) -> None:
        """best/ has the epoch's averaged weights, as the chain's checkpoint of it has them."""
        assert read_json(tmp_path / "best/model.json")["epoch"] == epoch
        newest = find_checkpoint(tmp_path / "chain", _needs)
        assert newest is not None
        name = (_needs(newest) or [newest.name])[0]
        weights = averaged(read_state(verify(tmp_path / "chain" / name))[0])
        model = keras.models.load_model(tmp_path / "best/model.keras")
        for layer in ("stem_conv", "head_classes"):
            np.testing.assert_array_equal(model.get_layer(layer).kernel, weights[f"{layer}/kernel"])

    session = Session(clock=now, began=0.0, stop_after=5)
    train_model(recipe, catalog, tmp_path, session=session)
    assert exported == [1, 2]
    holds(2)
    train_model(recipe, catalog, tmp_path, session=Session(clock=now, began=now.now))
    assert exported == [1, 2, 3, 4]
    holds(4)


def test_a_budget_of_one_byte_keeps_the_newest_and_the_best(
    tmp_path: Path, catalog: Catalog, tell: Callable[[Sequence[float]], None]
) -> None:
    """And the run goes on from them as if it had never been cut."""
    tell([0.9, 0.5])
    recipe, every = alone("phases.all.epochs=2"), Every(steps=1)
    out = tmp_path / "run"
    once = Session(stop_after=3)
    train_model(recipe, catalog, out, session=once, save_every=every, keep=1)
    best, newest = (path for path in names(out / "chain") if path != LAST)
    assert (best[7:], newest[7:]) == ("p0e1s0", "p0e1s1")
    train_model(recipe, catalog, out, save_every=every, keep=1)
    assert [name[7:] for name in names(out / "chain")[:-1]] == ["p0e1s0", "p1e0s0"]
    train_model(recipe, catalog, tmp_path / "whole")
    assert final(out) == final(tmp_path / "whole")
