"""Where runs go: devices, last words, shares of a cluster."""

from __future__ import annotations

import sys
import time

import pytest

from carlib.errors import CarlibError, UsageError
from carlib.experiments import launch
from carlib.experiments.launch import BEGINS, Local, gpus, last_words
from carlib.experiments.over_ray import shares

TWO = "GPU 0: Tesla T4 (UUID: a)\nGPU 1: Tesla T4 (UUID: b)\n"


@pytest.mark.parametrize(
    ("environment", "listed", "found"),
    [
        ({}, TWO, ("0", "1")),
        ({}, "", ()),
        ({}, "No devices were found\n", ()),
        ({"CUDA_VISIBLE_DEVICES": "1"}, TWO, ("1",)),
        ({"CUDA_VISIBLE_DEVICES": "GPU-a,GPU-b"}, TWO, ("GPU-a", "GPU-b")),
        ({"CUDA_VISIBLE_DEVICES": ""}, TWO, ()),
        ({"CUDA_VISIBLE_DEVICES": "-1"}, TWO, ()),
    ],
)
def test_gpus_are_those_that_this_process_may_use(environment, listed, found):
    assert gpus(environment, lambda: listed) == found


def test_without_the_driver_there_are_none(monkeypatch, tmp_path):
    monkeypatch.setenv("PATH", str(tmp_path))
    assert gpus({}) == ()
    broken = tmp_path / "nvidia-smi"
    broken.write_text("#!/bin/sh\necho 'GPU 0: half'\nexit 9\n")
    broken.chmod(0o755)
    assert gpus({}) == ()


@pytest.mark.parametrize(
    ("log", "words"),
    [
        (None, "it left no log"),
        ("", "it said nothing"),
        ("step 1\n\n", "step 1"),
        ("carlib: first\ncarlib: no space left\nstep 9\n", "no space left"),
        ("x" * 30_000 + "\ncarlib: the end\n", "the end"),
        ("carlib: " + "y" * 900, "y" * 500),
        # What an earlier session said is not why this one failed.
        (f"carlib: no space left\n{BEGINS}step 3\n", "step 3"),
        (f"carlib: no space left\n{BEGINS}", "it said nothing"),
    ],
)
def test_last_words(tmp_path, log, words):
    if log is not None:
        (tmp_path / "log.txt").write_text(log)
    assert last_words(tmp_path) == words


def waiting_child(monkeypatch, tmp_path):
    """A child that writes what it was given, and waits for its end."""
    program = tmp_path / "child.py"
    program.write_text(
        "import json, os, sys, time\n"
        "print(os.environ.get('CUDA_VISIBLE_DEVICES'), json.loads(sys.argv[1])['parent'])\n"
        "sys.stdout.flush()\n"
        "time.sleep(60)\n"
    )
    real = launch.subprocess.Popen
    monkeypatch.setattr(
        launch.subprocess,
        "Popen",
        lambda command, **given: real([sys.executable, str(program), command[-1]], **given),
    )


def first_line(path):
    """Of what it says, below the line that says when it began."""
    while not path.exists() or path.read_text().count("\n") < 2:
        time.sleep(0.01)
    return path.read_text().splitlines()[1].split()


def test_each_place_has_its_gpu(monkeypatch, tmp_path):
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    waiting_child(monkeypatch, tmp_path)
    started = []
    for launcher, slot, seen in (
        (Local(2, ("4", "7")), 0, "4"),
        (Local(2, ("4", "7")), 1, "7"),
        (Local(1), 0, "None"),
    ):
        run = tmp_path / f"run{len(started)}"
        started.append(launcher.start({"run": str(run)}, slot))
        assert first_line(run / "log.txt") == [seen, str(launch.os.getpid())]
        launcher.close()
    assert [each.poll() for each in started] == [None, None, None]
    started[0].stop()
    assert started[0].process.wait() == -15
    for each in started[1:]:
        each.kill()
        assert each.poll() == -9


def test_a_run_folder_that_cannot_be_made(tmp_path):
    (tmp_path / "runs").write_text("a file")
    with pytest.raises(CarlibError):
        Local().start({"run": str(tmp_path / "runs/a")}, 0)


@pytest.mark.parametrize(
    ("machines", "at_once", "wanted", "cpus", "gpu"),
    [
        ([{"CPU": 8}], None, 1, 8, 0),
        ([{"CPU": 8}], 2, 2, 4, 0),
        ([{"CPU": 8}], 3, 3, 2, 0),
        ([{"CPU": 8}, {"CPU": 4}], None, 2, 4, 0),
        ([{"CPU": 8}, {"CPU": 4}], 3, 3, 4, 0),
        ([{"CPU": 8}, {}], None, 2, 4, 0),
        ([{"CPU": 8, "GPU": 4}], None, 4, 2, 1),
        ([{"CPU": 8, "GPU": 4}], 1, 1, 2, 1),
        ([{"CPU": 8, "GPU": 2}, {"CPU": 32}], None, 2, 4, 1),
        ([{"CPU": 8, "GPU": 1}, {"CPU": 2, "GPU": 2}], None, 3, 1, 1),
    ],
)
def test_shares_of_a_cluster(machines, at_once, wanted, cpus, gpu):
    machines = [{name: float(value) for name, value in each.items()} for each in machines]
    found = shares(machines, at_once)
    assert found == (wanted, {"num_cpus": cpus, "num_gpus": gpu})
    room = [
        min([int(each.get("CPU", 0) // cpus)] + ([int(each.get("GPU", 0))] if gpu else []))
        for each in machines
    ]
    assert sum(room) >= wanted


@pytest.mark.parametrize(
    ("machines", "at_once", "message"),
    [
        ([{"CPU": 2.0}], 3, "--at-once 3: the cluster has 2 CPUs, one a run"),
        ([{"CPU": 2.0, "GPU": 1.0}], 2, "--at-once 2: the cluster has 1 GPUs, one a run"),
        ([{}], None, "the cluster has 0 CPUs"),
    ],
)
def test_more_than_a_cluster_has(machines, at_once, message):
    with pytest.raises(UsageError, match=message):
        shares(machines, at_once)
