"""The command, with real runs of the tiny network: killed, stopped, failing, over Ray."""

from __future__ import annotations

import json
import os
import random
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pandas as pd
import pytest

from carlib.cli import main
from carlib.experiments import read_experiment
from carlib.experiments.folder import ExperimentFolder

PLAN = """
name = "Tiny"
base = "tiny-check"
set = ["phases.head.epochs=1", "phases.all.epochs=1"]
seeds = 1
validation_share = 0.5

[arms]
low = ["phases.all.lr=1e-4"]
"""
CLOCKED = ["hours", "accuracy_per_hour"]

pytestmark = pytest.mark.once


@pytest.fixture(scope="module")
def plan(tmp_path_factory):
    path = tmp_path_factory.mktemp("plan") / "plan.toml"
    path.write_text(PLAN)
    return path


@pytest.fixture(scope="module")
def whole(plan, photos, tmp_path_factory):
    """The plan's folder after one uncut session."""
    out = tmp_path_factory.mktemp("whole") / "out"
    process = begin(plan, photos, out)
    said, _ = process.communicate(timeout=300)
    assert process.returncode == 0, said
    return out


def begin(plan, photos, out, *more):
    command = [sys.executable, "-m", "carlib", "experiment", "run", "--plan", str(plan)]
    return subprocess.Popen(
        [*command, "--data", str(photos), "--out", str(out), *more],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        cwd=Path(plan).parent,
    )


def told(out):
    """The table without what a clock measured."""
    return pd.read_csv(out / "table.csv").drop(columns=CLOCKED)


def test_one_command_from_plan_to_table(whole, plan, photos, capsys):
    table = told(whole)
    assert list(table.arm) == ["base", "low"]
    assert list(table.runs) == [1, 1]
    assert {path.name for path in whole.iterdir()} == {
        *("lock", "runs", "table.md", "table.csv", "table.html", "table.png")
    }
    for run in whole.glob("runs/*/*"):
        assert (run / "trial.json").is_file()
        assert not (run / "chain").exists()
    # Again: nothing is trained, and the answer is the same.
    arguments = ["--plan", str(plan), "--data", str(photos), "--out", str(whole)]
    before = (whole / "table.csv").read_bytes()
    assert main(["experiment", "run", *arguments, "--json"]) == 0
    figures = json.loads(capsys.readouterr().out)
    assert (figures["done"], figures["of"], figures["why"], figures["failed"]) == (2, 2, "done", {})
    assert main(["experiment", "table", *arguments]) == 0
    assert "| low | 1 |" in capsys.readouterr().out
    assert (whole / "table.csv").read_bytes() == before


def test_killed_at_random_moments_it_comes_to_the_same_table(whole, plan, photos, tmp_path):
    """benchmarks/experiment_kills.py does it with 12 runs and 20 kills."""
    chance = random.Random(7)
    out = tmp_path / "out"
    killed = 0
    while True:
        process = begin(plan, photos, out)
        if killed < 3:
            time.sleep(chance.uniform(2, 12))
            if process.poll() is None:
                os.kill(process.pid, signal.SIGKILL)
                killed += 1
        said, _ = process.communicate(timeout=300)
        if process.returncode == 0:
            break
        assert process.returncode == -signal.SIGKILL, said
    assert killed
    pd.testing.assert_frame_equal(told(out), told(whole))


def test_stopped_in_order_it_leaves_nothing_running(whole, plan, photos, tmp_path):
    out = tmp_path / "out"
    process = begin(plan, photos, out)
    first = next(read_experiment(plan).trials())
    run = ExperimentFolder(out).run(first)
    while not (run / "recipe.json").exists() and process.poll() is None:
        time.sleep(0.05)
    process.send_signal(signal.SIGTERM)
    said, _ = process.communicate(timeout=120)
    assert process.returncode == 75, said
    assert "stopped for SIGTERM: the same command goes on" in said
    with open(run / "log.txt") as log:
        assert "Traceback" not in log.read()
    assert not any(str(run) in line for line in _commands())


def _commands():
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            yield path.read_text()
        except OSError:
            continue


def test_a_failing_arm_is_told_and_the_others_run(whole, plan, photos, tmp_path, capsys):
    bad = tmp_path / "plan.toml"
    bad.write_text(PLAN + 'bad = ["monitor=nope"]\n')
    out = tmp_path / "out"
    shutil.copytree(whole, out)
    given = ["--plan", str(bad), "--data", str(photos), "--out", str(out)]
    assert main(["experiment", "run", *given]) == 1
    text = capsys.readouterr().out
    assert "1 failed: bad seed 0: unknown monitor 'nope'" in text
    assert "| bad | 0 of 1 |" in text


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["run", "--plan", "none.toml", "--data", "d", "--out", "o"], "there is no plan none.toml"),
        (["run", "--plan", "PLAN", "--data", "d", "--out", "o", "--at-once", "0"], "must be 1 or"),
        (["run", "--plan", "PLAN", "--data", "d", "--out", "o", "--limit", "x"], "received 'x'"),
        (["run", "--plan", "PLAN", "--data", "d", "--out", "o", "--ray", "h:1"], "no Ray cluster"),
    ],
)
def test_wrong_usage_writes_nothing(arguments, message, plan, tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    given = [str(plan) if each == "PLAN" else each for each in arguments]
    assert main(["experiment", *given]) == 2
    assert message in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == []


def test_without_a_finished_run_there_is_no_table(plan, tmp_path, capsys):
    assert main(["experiment", "table", "--plan", str(plan), "--out", str(tmp_path / "o")]) == 1
    assert "no run of 'Tiny' is finished" in capsys.readouterr().err
    assert not (tmp_path / "o").exists()


def test_photos_that_are_not_there_fail_every_run(plan, tmp_path, capsys):
    out = tmp_path / "out"
    given = ["--plan", str(plan), "--data", str(tmp_path / "none"), "--out", str(out)]
    assert main(["experiment", "run", *given]) == 1
    text = capsys.readouterr().out
    assert "2 failed" in text
    assert "none" in text


# --- Ray


def test_over_a_local_ray_cluster(whole, photos, plan, tmp_path):
    """Two runs at a time, and the same table."""
    out = tmp_path / "out"
    process = begin(plan, photos, out, "--ray", "local", "--at-once", "2")
    said, _ = process.communicate(timeout=400)
    assert process.returncode == 0, said
    pd.testing.assert_frame_equal(told(out), told(whole))
    assert not list(out.glob(".seen-*"))
