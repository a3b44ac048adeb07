"""Small real steps in processes of their own, and the line through them."""

from __future__ import annotations

import dataclasses
import json
import sys

import pytest

from carlib import using
from carlib.errors import RunError
from carlib.memory import child, estimate_memory, probe
from carlib.memory.instrument import LIMIT_MIB
from carlib.memory.probe import Line, Step, batches_of, compare
from carlib.memory.probe import probe as try_steps
from carlib.spec import AUTO, ModelSpec, Phase, Recipe, to_dict

RECIPE = Recipe(
    "probed",
    ModelSpec("tiny", 64),
    (
        Phase("head", 1, 1e-3, trains="head", views=1, batch_size=200),
        Phase("all", 1, 1e-3, batch_size=300, batchnorm="trained", accumulate=2),
    ),
)


@pytest.fixture(scope="module")
def lines():
    return try_steps(RECIPE, 10)


def test_a_line_a_phase(lines):
    assert [(line.phase, line.device) for line in lines] == [("head", "CPU:0"), ("all", "CPU:0")]
    assert [(line.small.batch, line.large.batch) for line in lines] == [(100, 200), (98, 196)]
    for line in lines:
        assert 0 < line.small.requested < line.large.requested
        assert line.requested(line.large.batch) == line.large.requested
        assert line.in_use(line.small.batch) == line.small.in_use
        assert line.in_use(line.large.batch) == pytest.approx(line.large.in_use, abs=1)
    # Through the network each photo takes more, and the weights train.
    assert lines[1].per_photo > 100 * lines[0].per_photo


def test_rules_and_steps_agree(lines):
    """Roughly: the tiny network is half kernels' scratch; benchmarks/memory.py has the accuracy."""
    forecast = estimate_memory(RECIPE, 10)
    for line, need in zip(lines, forecast.phases, strict=True):
        figures = line.figures(need)
        assert figures["batch"] == need.batch
        assert figures["by_rules"] == need.requested
        assert figures["off"] == pytest.approx(need.requested / figures["requested"] - 1)
        assert abs(figures["off"]) < 0.4
        assert json.loads(json.dumps(figures)) == figures
    text = compare(forecast, lines).splitlines()
    assert text[0] == "measured on CPU:0, two steps a phase and the line:"
    assert [line.split()[:4] for line in text[2:]] == [
        ["head", "100", "and", "200"],
        ["all", "98", "and", "196"],
    ]


@pytest.mark.parametrize(
    ("changes", "size", "batches"),
    [
        ({"batch_size": 32}, 224, (8, 16)),
        ({"batch_size": 12}, 224, (6, 12)),
        ({"batch_size": 1}, 224, (1, 2)),
        ({"batch_size": 32}, 32, (16, 32)),
        ({"batch_size": 32}, 600, (4, 8)),
        ({"batch_size": 64, "size": 112}, 600, (32, 64)),
        ({"batch_size": 64, "trains": "head", "views": 2}, 600, (32, 64)),
        ({"batch_size": AUTO}, 224, (8, 16)),
    ],
)
def test_photos_that_are_tried(changes, size, batches):
    assert batches_of(Phase("p", 1, 1e-3, **changes), size) == batches


ALONE = dataclasses.replace(RECIPE, phases=RECIPE.phases[1:])


def test_a_step_that_runs_out_of_memory(monkeypatch):
    monkeypatch.setenv(LIMIT_MIB, "16")
    with pytest.raises(RunError, match=r"phase 'all': out of memory with \d+ photos a step on CPU"):
        try_steps(ALONE, 10)


@pytest.mark.parametrize(
    ("code", "words"),
    [
        ("import os; os.kill(os.getpid(), 9)", r"phase 'all' was killed \(SIGKILL\), as a system"),
        ("import sys; sys.exit('one\\nthe last')", "phase 'all' failed: the last"),
        ("raise SystemExit(3)", "phase 'all' failed: it said nothing"),
    ],
)
def test_a_process_that_dies(monkeypatch, code, words):
    monkeypatch.setattr(probe, "CHILD", (sys.executable, "-c", code))
    with pytest.raises(RunError, match=words):
        try_steps(ALONE, 10)


def test_a_process_that_takes_too_long(monkeypatch):
    monkeypatch.setattr(probe, "CHILD", (sys.executable, "-c", "import time; time.sleep(600)"))
    with pytest.raises(RunError, match=r"phase 'all' took more than 0\.2 s; lower"):
        try_steps(ALONE, 10, timeout=0.2)


def test_what_the_child_is_given(monkeypatch, tmp_path):
    """The limit that is there already stays; the allocator is TensorFlow's own; files are used."""
    monkeypatch.setenv(LIMIT_MIB, "1234")
    monkeypatch.setattr(using, "_used", [tmp_path / "one.py", tmp_path / "two.py"])
    code = (
        "import json, os, sys\n"
        "job = json.load(sys.stdin)\n"
        f"good = os.environ[{LIMIT_MIB!r}] == '1234' and job['recipe']['name'] == 'probed'\n"
        "good = good and os.environ['TF_CPU_ALLOCATOR_USE_BFC'] == 'true'\n"
        f"good = good and job['use'] == {list(using.used())!r}\n"
        "step = {'batch': job['batches'][0], 'requested': 10 * good, 'in_use': 0}\n"
        "print('noise')\n"
        "print(json.dumps({'steps': [step, {**step, 'batch': job['batches'][1]}]}))\n"
    )
    monkeypatch.setattr(probe, "CHILD", (sys.executable, "-c", code))
    (line,) = try_steps(ALONE, 10)
    assert line == Line("all", "CPU:0", Step(98, 10, 0), Step(196, 10, 0))


def job_of(phase):
    job = {"recipe": to_dict(RECIPE), "phase": phase, "classes": 3, "batches": [2, 4]}
    return {**job, "device": "CPU:0", "use": []}


@pytest.mark.parametrize("phase", [0, 1])
def test_the_child_trains_what_a_run_trains(monkeypatch, phase):
    """In this process, where nothing is measured: each batch is run twice, on what it should be."""
    given = []

    def measure(step, variables, device):
        step()
        names = [variable.path for variable in variables]
        assert len(names) == len(set(map(id, variables)))
        given.append((len(names), device))
        return probe.Step(0, 7, 8)

    monkeypatch.setattr(child, "measure", measure)
    monkeypatch.setattr(child.tf.config.experimental, "enable_op_determinism", lambda: None)
    said = child.run(job_of(phase))
    assert said == {"steps": [{"batch": batch, "requested": 7, "in_use": 8} for batch in (2, 4)]}
    assert len(set(given)) == 1


@pytest.mark.parametrize("error", [MemoryError(), None])
def test_the_child_says_that_memory_ran_out(monkeypatch, error):
    import tensorflow as tf

    def refuse(*arguments):
        raise error or tf.errors.ResourceExhaustedError(None, None, "OOM")

    monkeypatch.setattr(child, "measure", refuse)
    monkeypatch.setattr(child.tf.config.experimental, "enable_op_determinism", lambda: None)
    assert child.run(job_of(0)) == {"failed": "out of memory", "batch": 2}


def test_the_child_uses_the_files_first(tmp_path, monkeypatch):
    """In their order, and before the recipe: it may name what they register."""
    monkeypatch.setattr(using, "_used", [])
    told = []
    monkeypatch.setattr(using, "told", told, raising=False)
    monkeypatch.setattr(child, "from_dict", lambda said: told.append("recipe") or 1 / 0)
    for name in ("one", "two"):
        text = f"from carlib import using\nusing.told.append({name!r})\n"
        (tmp_path / f"{name}.py").write_text(text)
    files = [str(tmp_path / f"{name}.py") for name in ("two", "one")]
    with pytest.raises(ZeroDivisionError):
        child.run({**job_of(0), "use": files})
    assert told == ["two", "one", "recipe"]
