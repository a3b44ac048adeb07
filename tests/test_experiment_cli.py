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
from experiments import begin, killed_at_random, told

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
    out = tmp_path / "out"
    killed = killed_at_random(plan, photos, out, times=3, chance=random.Random(7), longest=12)
    assert sum(killed.values()) == 3
    pd.testing.assert_frame_equal(told(out), told(whole))


def test_stopped_in_order_it_leaves_nothing_running(whole, plan, photos, tmp_path):
    out = tmp_path / "out"
    process = begin(plan, photos, out)
    first = next(read_experiment(plan).trials())
    run = ExperimentFolder(out).run(first)
    while not (run / "recipe.json").exists() and process.poll() is None:
        time.sleep(0.05)
    os.killpg(process.pid, signal.SIGINT)  # as Ctrl-C at a terminal does
    said, _ = process.communicate(timeout=120)
    assert process.returncode == 75, said
    assert "stopped for SIGINT: the same command goes on" in said
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
    bad.write_text(
        PLAN + 'bad = ["model.backbone=efficientnet-lite0", "model.weights=nowhere.h5"]\n'
    )
    out = tmp_path / "out"
    shutil.copytree(whole, out)
    given = ["--plan", str(bad), "--data", str(photos), "--out", str(out)]
    assert main(["experiment", "run", *given]) == 1
    text = capsys.readouterr().out
    assert "1 failed: bad seed 0: model.weights 'nowhere.h5' is no file" in text
    assert "| bad | 0 of 1 |" in text


def test_names_that_no_table_has_are_refused_before_anything_runs(photos, tmp_path, capsys):
    bad = tmp_path / "plan.toml"
    for setting, message in (
        ("monitor=nope", "arm 'bad': unknown monitor 'nope'"),
        ("phases.all.schedule=cosin", "arm 'bad': unknown schedule 'cosin'; did you mean 'cosine'"),
    ):
        bad.write_text(PLAN + f'bad = ["{setting}"]\n')
        given = ["--plan", str(bad), "--data", str(photos), "--out", str(tmp_path / "out")]
        assert main(["experiment", "run", *given]) == 2
        assert message in capsys.readouterr().err
        assert not (tmp_path / "out/runs").exists()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ("--plan none.toml", "there is no plan none.toml"),
        ("--plan PLAN --data nowhere", "there is no folder nowhere; give as --data"),
        ("--plan PLAN --at-once 0", "--at-once must be 1 or more; received 0"),
        ("--plan PLAN --limit x", "received 'x'"),
        ("--plan PLAN --ray 127.0.0.1:1", "there is no Ray cluster at '127.0.0.1:1'"),
        ("--plan PLAN --ray nowhere:x", "there is no Ray cluster at 'nowhere:x'"),
        ("--plan PLAN --ray auto", "there is no Ray cluster at 'auto'"),
    ],
)
def test_wrong_usage_writes_nothing(arguments, message, plan, tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    given = arguments.replace("PLAN", str(plan)).split()
    (tmp_path / "d").mkdir()
    assert main(["experiment", "run", "--data", "d", "--out", "o", *given]) == 2
    assert message in capsys.readouterr().err
    assert [path.name for path in tmp_path.iterdir()] == ["d"]


def test_a_gpu_has_one_run(plan, photos, tmp_path, capsys, monkeypatch):
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "0,1")
    given = [
        "--plan",
        str(plan),
        "--data",
        str(photos),
        "--out",
        str(tmp_path / "o"),
        "--at-once",
        "3",
    ]
    assert main(["experiment", "run", *given]) == 2
    assert "--at-once 3: there are 2 GPUs, one a run" in capsys.readouterr().err


def test_without_a_finished_run_there_is_no_table(plan, tmp_path, capsys):
    assert main(["experiment", "table", "--plan", str(plan), "--out", str(tmp_path / "o")]) == 1
    assert "no run of 'Tiny' is finished" in capsys.readouterr().err
    assert not (tmp_path / "o").exists()


def test_photos_without_labels_fail_every_run(plan, tmp_path, capsys):
    (tmp_path / "photos").mkdir()
    out = tmp_path / "out"
    given = ["--plan", str(plan), "--data", str(tmp_path / "photos"), "--out", str(out)]
    assert main(["experiment", "run", *given]) == 1
    text = capsys.readouterr().out
    assert "2 failed" in text
    assert "photos" in text


# --- Ray


def test_over_a_local_ray_cluster(whole, photos, plan, tmp_path):
    """Two runs at a time, and the same table."""
    out = tmp_path / "out"
    process = begin(plan, photos, out, "--ray", "local", "--at-once", "2")
    said, _ = process.communicate(timeout=400)
    assert process.returncode == 0, said
    pd.testing.assert_frame_equal(told(out), told(whole))
    assert not list(out.glob(".seen-*"))


LOST = """
import sys, time
from pathlib import Path
import ray
from carlib.errors import RunError
from carlib.experiments.over_ray import OverRay

out = sys.argv[1]
launcher = OverRay.of("local", out, 1)
job = dict.fromkeys(("recipe", "data", "exclude", "external", "groups", "limit", "workers"))
job |= {"run": f"{out}/runs/a", "use": [], "keep": "results", "data": "photos"}
run = launcher.start(job, 0)
ray.kill(launcher.places[0])
while (code := run.poll()) is None:  # until the cluster has noticed
    time.sleep(0.1)
assert code == 1
run.stop()
run.kill()
again = launcher.start(job, 0)
again.kill()
assert again.poll() == -9
launcher.places.clear()
Path.write_text = lambda self, *given, **more: None  # as if elsewhere
try:
    launcher.start(job, 0)
except RunError as error:
    print(error)
launcher.close()
"""


def test_a_machine_that_leaves_the_cluster_and_one_that_does_not_see_the_folder(tmp_path):
    done = subprocess.run(
        [sys.executable, "-c", LOST, str(tmp_path)],
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert f"does not see {tmp_path}; over several machines --out" in done.stdout
    log = (tmp_path / "runs/a/log.txt").read_text()
    assert "carlib: its machine left the cluster" in log
