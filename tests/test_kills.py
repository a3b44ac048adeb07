"""Runs that are killed, told to stop, or trained twice at once: nothing saved is ever lost."""

from __future__ import annotations

import json
import os
import random
import signal
import time
from pathlib import Path

import pytest
from runs import Run, call, start, train

from carlib.checkpoints import find_checkpoint
from carlib.runfolder import read_table
from carlib.spec import to_json, with_settings

KILLS = 25


@pytest.fixture(scope="module")
def whole(tmp_path_factory, photos):
    """The run never cut: 24 steps, saved after each."""
    from conftest import make_recipe

    settings = ["phases.*.batch_size=6", "phases.all.ema=0.9", "phases.head.augment=none"]
    recipe = to_json(with_settings(make_recipe(), settings))
    run = Run(photos, tmp_path_factory.mktemp("whole") / "run", recipe, every="1 step")
    return run, call(train, run)["final"]


def kill(process, chain: Path, chance: random.Random) -> bool:
    """Kill a process at a random moment; return whether it was still there.

    One in four at once or while it starts, the others once it has saved something.
    """
    before, started = newest(chain), chance.random() < 0.25
    while process.is_alive() and not started:
        started = newest(chain) != before
        time.sleep(0.005)
    process.join(chance.uniform(0, 0.4))
    alive = process.is_alive()
    if alive:
        os.kill(process.pid, signal.SIGKILL)
    process.join()
    return alive


def newest(chain: Path) -> str:
    return max((path.name for path in chain.glob("0*[0-9]")), default="")


@pytest.mark.once
def test_a_run_killed_at_random_moments_ends_as_if_never_killed(tmp_path, photos, whole) -> None:
    """No hand is needed: the same call again and again, until it is through."""
    run, ended = whole
    chance = random.Random(time.time_ns())
    killed, number, inside = 0, 0, 0
    while killed < KILLS:
        number += 1
        again = Run(photos, tmp_path / str(number), run.recipe, every="1 step")
        finished = None
        while finished is None:
            process, pipe = start(train, again)
            if killed < KILLS and kill(process, again.out / "chain", chance):
                killed += 1
                found = find_checkpoint(again.out / "chain")
                inside += bool(found and found.position.step)
                continue
            finished = pipe.recv()
            process.join()
        assert finished["final"] == ended, f"run {number}"
    assert inside > 0  # else it was never killed within an epoch


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_saves_and_stops_in_order(tmp_path, photos, whole, number) -> None:
    run, ended = whole
    again = Run(photos, tmp_path / "run", run.recipe)
    process, pipe = start(train, again)
    wait_for(again.out / "chain/LAST")
    os.kill(process.pid, number)
    stopped = pipe.recv()
    process.join()
    assert not stopped["done"]
    (session,) = read_table(again.out / "sessions.csv")
    assert session["why"] == number.name
    assert call(train, again)["final"] == ended


def wait_for(path: Path) -> None:
    while not path.exists():
        time.sleep(0.01)


def command(photos: Path, recipe: Path, out: Path, *more: str) -> int:
    from carlib.cli import main

    given = ["--data", str(photos), "--recipe", str(recipe), "--out", str(out)]
    return main(["train", *given, *more])


@pytest.fixture
def recipe_file(tmp_path, whole) -> Path:
    path = tmp_path / "recipe.json"
    path.write_text(whole[0].recipe)
    return path


def test_a_signal_ends_the_command_with_75_and_says_how_to_go_on(
    tmp_path, photos, recipe_file
) -> None:
    process, pipe = start(command, photos, recipe_file, tmp_path / "run")
    wait_for(tmp_path / "run/chain/LAST")
    os.kill(process.pid, signal.SIGTERM)
    assert pipe.recv() == 75
    process.join()
    assert json.loads((tmp_path / "run/result.json").read_text())["done"] is False


def test_a_second_interrupt_leaves_at_once(tmp_path, photos, whole) -> None:
    """The first waits for the step's end; the second does not even wait for Python."""
    run, ended = whole
    again = Run(photos, tmp_path / "run", run.recipe)
    process, _ = start(stop_twice, again)
    wait_for(again.out / "asked")
    os.kill(process.pid, signal.SIGINT)
    process.join()
    assert process.exitcode == -signal.SIGINT
    assert call(train, again)["final"] == ended


def stop_twice(run: Run) -> None:
    """Train; at the second step be interrupted, and then hang where Python's handlers never run."""
    import ctypes

    import keras

    from carlib.catalog import read_catalog
    from carlib.spec import from_json
    from carlib.train import train_model

    class Hang(keras.callbacks.Callback):
        def on_train_batch_end(self, batch, logs=None):
            if batch == 1:
                os.kill(os.getpid(), signal.SIGINT)
                (run.out / "asked").touch()
                ctypes.PyDLL(None).sleep(600)  # holds Python's lock

    train_model(from_json(run.recipe), read_catalog(run.data), run.out, callbacks=[Hang()])


def test_a_second_process_is_refused(tmp_path, photos, whole) -> None:
    run, ended = whole
    again = Run(photos, tmp_path / "run", run.recipe, every="1 step")
    process, pipe = start(train, again)
    wait_for(again.out / "chain/LAST")
    refused = call(refusal, again)
    assert refused.startswith("CarlibError: another process is at work in")
    assert pipe.recv()["final"] == ended
    process.join()


def refusal(run: Run) -> str:
    try:
        train(run)
    except Exception as error:
        return f"{type(error).__name__}: {error}"
    return ""
