"""Lengths of time, the clock, and where carlib runs."""

from __future__ import annotations

import dataclasses
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from carlib.errors import UsageError
from carlib.session import (
    BLIND_RESERVE,
    KINDS,
    LIMITS,
    RESERVE,
    Every,
    Session,
    detect_session,
    seconds,
)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("90s", 90),
        ("45m", 2700),
        ("11h30m", 41400),
        ("1.5h", 5400),
        ("1d", 86400),
        ("2d3h4m5s", 2 * 86400 + 3 * 3600 + 4 * 60 + 5),
        ("1h 30m", 5400),
        (" 1h ", 3600),
        ("0s", 0),
        ("0.25m", 15),
    ],
)
def test_seconds(text, expected):
    assert seconds(text) == expected
    assert isinstance(seconds(text), float)


@pytest.mark.parametrize(
    "text",
    ["", " ", "11", "h", "1h30", "1x", "-1h", "1H", "1,5h", "1h-30m", "abc1h", "1h\n", "1..5h"],
)
def test_no_length_of_time(text):
    with pytest.raises(UsageError, match="a length of time is like 11h30m, 45m or 90s; received "):
        seconds(text)


# ---- how often to save


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("10m", Every(seconds=600.0)),
        ("1h 30m", Every(seconds=5400.0)),
        ("0.5s", Every(seconds=0.5)),
        ("50 steps", Every(steps=50)),
        ("50steps", Every(steps=50)),
        (" 50  steps ", Every(steps=50)),
        ("1 step", Every(steps=1)),
        ("2s", Every(seconds=2.0)),
    ],
)
def test_every(text, expected):
    every = Every.parse(text)
    assert every == expected
    assert (type(every.seconds), type(every.steps)).count(type(None)) == 1


@pytest.mark.parametrize(
    "text",
    [
        "",
        "10",
        "steps",
        "0 steps",
        "0s",
        "-5 steps",
        "1.5 steps",
        "ten steps",
        "5 Steps",
        "5 stepss",
        "5 steps 10m",
        "10m 5 steps",
        "5 steps\n",
        "9" * 5000 + " steps",
        "9" * 400 + "s",
    ],
    ids=lambda text: text[:12],
)
def test_every_refuses_texts(text):
    with pytest.raises(
        UsageError, match="a length of time, like 10m, or steps, like '50 steps'; received "
    ) as caught:
        Every.parse(text)
    assert repr(text) in str(caught.value)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({}, "^Every: give either seconds or steps; received seconds=None, steps=None$"),
        ({"seconds": 1.5, "steps": 2}, "^Every: give either .*; received seconds=1.5, steps=2$"),
        ({"seconds": 0}, "^Every: seconds must be above 0; received 0$"),
        ({"seconds": -2.5}, "^Every: seconds must be above 0; received -2.5$"),
        ({"seconds": float("nan")}, "^Every: seconds must be above 0; received nan$"),
        ({"seconds": float("inf")}, "^Every: seconds must be above 0; received inf$"),
        ({"steps": 0}, "^Every: steps must be at least 1; received 0$"),
        ({"steps": -1}, "^Every: steps must be at least 1; received -1$"),
    ],
)
def test_every_refuses(options, message):
    with pytest.raises(UsageError, match=message):
        Every(**options)


def test_every_is_frozen():
    with pytest.raises(dataclasses.FrozenInstanceError, match="steps"):
        Every(steps=5).steps = 6


# ---- the clock


class Clock:
    def __init__(self, now: float = 100.0):
        self.now = now

    def __call__(self) -> float:
        return self.now


def test_the_clock():
    clock = Clock()
    session = Session(limit=60.0, clock=clock)
    assert (session.began, session.elapsed(), session.left()) == (100.0, 0.0, 60.0)
    clock.now = 145.0
    assert (session.elapsed(), session.left()) == (45.0, 15.0)
    clock.now = 200.0
    assert session.left() == -40.0


def test_without_a_limit_there_is_always_time():
    clock = Clock()
    session = Session(clock=clock)
    clock.now = 1e12
    assert session.left() == float("inf")
    assert not session.must_stop(needed=1e9, steps=10**9)


@pytest.mark.parametrize(
    ("limit", "stop_after", "now", "needed", "steps", "expected"),
    [
        (60, None, 100, 10, 0, ""),
        (60, None, 150, 10, 0, ""),
        (60, None, 150.1, 10, 0, "the clock"),
        (60, None, 161, 0, 0, "the clock"),
        (60, 5, 100, 10, 4, ""),
        (60, 5, 100, 10, 5, "stop-after"),
        (60, 5, 100, 10, 6, "stop-after"),
        (None, 5, 100, 10, 4, ""),
        (None, 5, 100, 10, 5, "stop-after"),
    ],
)
def test_must_stop(limit, stop_after, now, needed, steps, expected):
    session = Session(limit=limit, stop_after=stop_after, clock=lambda: now, began=100.0)
    assert session.must_stop(needed, steps) == expected


@pytest.mark.parametrize("began", [-5000.0, -1.0, 0.0])
def test_a_session_may_begin_before_its_clock_does(began):
    session = Session(limit=60.0, clock=lambda: 40.0, began=began)
    assert session.elapsed() == 40.0 - began
    assert session.left() == 20.0 + began


@pytest.mark.parametrize(
    ("limit", "stop_after", "steps"),
    [(None, None, 0), (60.0, None, 0), (5.0, None, 0), (None, 3, 2), (None, 3, 3), (5.0, 3, 4)],
)
def test_who_asks_to_stop_is_heard_before_the_clock(limit, stop_after, steps):
    session = Session(limit=limit, stop_after=stop_after, clock=lambda: 40.0, began=40.0)
    without = session.must_stop(10.0, steps)
    assert without in ("", "the clock", "stop-after")
    session.ask("Ctrl-C")
    assert session.must_stop(10.0, steps) == session.asked == "Ctrl-C"
    session.ask("the terminal is gone")
    assert session.must_stop(10.0, steps) == "Ctrl-C", "the first to ask"


def test_a_signal_handler_may_ask():
    session = Session()
    before = signal.signal(signal.SIGUSR1, lambda number, frame: session.ask(f"signal {number}"))
    try:
        assert session.must_stop(0.0, 0) == ""
        signal.raise_signal(signal.SIGUSR1)
    finally:
        signal.signal(signal.SIGUSR1, before)
    assert session.must_stop(0.0, 0) == f"signal {int(signal.SIGUSR1)}"


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"kind": "kagle"}, "Session: kind must be one of kaggle-batch, .*; got 'kagle'"),
        ({"limit": 0}, "Session: limit must be above 0 seconds; received 0"),
        ({"limit": -1.5}, "Session: limit must be above 0 seconds; received -1.5"),
        ({"stop_after": 0}, "Session: stop_after must be at least 1; received 0"),
        ({"stop_after": -3}, "Session: stop_after must be at least 1; received -3"),
    ],
)
def test_a_session_refuses(options, message):
    with pytest.raises(UsageError, match=message):
        Session(**options)


# ---- where carlib runs

KAGGLE = {"KAGGLE_KERNEL_RUN_TYPE": "Batch"}
COLAB = {"COLAB_RELEASE_TAG": "release"}
HOUR = 3600.0


def write_age(root: Path, age: float, name: bytes = b"sh", up: float = 5e5) -> None:
    """A /proc as proc(5) has it, on a machine that is ``up`` seconds up."""
    ticks = round((up - age) * os.sysconf("SC_CLK_TCK"))
    (root / "proc/1").mkdir(parents=True)
    numbers = b" ".join(b"%d" % number for number in (*range(4, 22), ticks, *range(23, 53)))
    (root / "proc/1/stat").write_bytes(b"1 (" + name + b") S " + numbers + b"\n")
    (root / "proc/uptime").write_text(f"{up:.2f} 987654.32\n")


@pytest.mark.parametrize(
    ("environment", "folders", "kind", "inputs", "work"),
    [
        ({}, (), "plain", (), None),
        (
            {"KAGGLE_KERNEL_RUN_TYPE": "Batch"},
            (),
            "kaggle-batch",
            ("kaggle/input",),
            "kaggle/working",
        ),
        (
            {"KAGGLE_KERNEL_RUN_TYPE": "Interactive"},
            (),
            "kaggle-interactive",
            ("kaggle/input",),
            "kaggle/working",
        ),
        ({}, ("kaggle/working",), "kaggle-interactive", ("kaggle/input",), "kaggle/working"),
        ({"COLAB_RELEASE_TAG": "release"}, (), "colab", ("content",), "content"),
        ({"COLAB_GPU": ""}, (), "colab", ("content",), "content"),
        (
            {"COLAB_GPU": "1", "KAGGLE_KERNEL_RUN_TYPE": "Batch"},
            (),
            "kaggle-batch",
            ("kaggle/input",),
            "kaggle/working",
        ),
    ],
)
def test_detect_session(tmp_path, environment, folders, kind, inputs, work):
    for folder in folders:
        (tmp_path / folder).mkdir(parents=True)
    session = detect_session(environment=environment, root=tmp_path)
    assert session.kind == kind
    assert session.kind in KINDS
    assert session.inputs == tuple(tmp_path / name for name in inputs)
    assert session.work == (tmp_path / work if work else Path.cwd())
    assert session.limit == (LIMITS[kind] - BLIND_RESERVE if kind in LIMITS else None)


def test_platforms_have_limits():
    assert set(LIMITS) == set(KINDS) - {"plain"}
    assert set(LIMITS.values()) == {12 * HOUR}


@pytest.mark.parametrize(
    ("variables", "device", "hours"),
    [
        ({}, None, 12),
        ({"TPU_NAME": "local"}, None, 9),
        ({"TPU_ACCELERATOR_TYPE": "v5e-8"}, None, 9),
        ({"PJRT_DEVICE": "TPU"}, None, 9),
        ({}, "dev/accel0", 9),
        ({}, "dev/vfio", 9),
        ({"TPU_NAME": ""}, None, 12),
        ({"PJRT_DEVICE": "CPU"}, None, 12),
        ({}, "dev/nvidia0", 12),
    ],
)
@pytest.mark.parametrize(
    "platform", [KAGGLE, {"KAGGLE_KERNEL_RUN_TYPE": "Interactive"}, COLAB, {}], ids=str
)
def test_a_tpu_has_fewer_hours_on_kaggle(tmp_path, platform, variables, device, hours):
    if device:
        (tmp_path / device).mkdir(parents=True)
    session = detect_session(environment={**platform, **variables}, root=tmp_path)
    if platform == {}:
        assert session.limit is None
    else:
        assert session.limit == (12 if platform == COLAB else hours) * HOUR - BLIND_RESERVE


@pytest.mark.parametrize("name", [b"sh", b"tini -- run", b"a) R 1 (b", b") ) )", b"\xff\xfe", b""])
@pytest.mark.parametrize("environment", [KAGGLE, COLAB], ids=["Kaggle", "Colab"])
def test_a_platforms_clock_starts_with_the_container(tmp_path, environment, name):
    write_age(tmp_path, 1000.25, name)
    before = time.monotonic()
    session = detect_session(environment=environment, root=tmp_path)
    after = time.monotonic()
    assert before - 1000.25 - 0.01 <= session.began <= after - 1000.25 + 0.01
    assert session.limit == 12 * HOUR - RESERVE
    assert session.clock is time.monotonic


@pytest.mark.parametrize(
    ("age", "tpu", "known"),
    [
        (0.0, False, True),
        (-0.02, False, False),  # a container's uptime beside its host's ticks
        (-4e5, False, False),
        (12 * HOUR - RESERVE - 1, False, True),
        (12 * HOUR - RESERVE, False, False),  # process 1 of the machine, not of the container
        (4e5, False, False),
        (9 * HOUR - RESERVE - 1, True, True),
        (9 * HOUR - RESERVE, True, False),
    ],
)
def test_an_age_that_cannot_be_a_containers(tmp_path, age, tpu, known):
    write_age(tmp_path, age)
    environment = {**KAGGLE, **({"TPU_NAME": "local"} if tpu else {})}
    before = time.monotonic()
    session = detect_session(environment=environment, root=tmp_path)
    hours = 9 if tpu else 12
    assert session.limit == hours * HOUR - (RESERVE if known else BLIND_RESERVE)
    assert session.began >= before - (age + 0.01 if known else 0)
    assert session.left() > 0


@pytest.mark.parametrize(
    ("file", "content"),
    [
        ("proc/1/stat", None),
        ("proc/uptime", None),
        ("proc/1/stat", ""),
        ("proc/1/stat", "1 (sh) S 4 5 6"),
        ("proc/1/stat", "1 (sh) S " + "x " * 49),
        ("proc/1/stat", "no brackets"),
        ("proc/uptime", ""),
        ("proc/uptime", "\n"),
        ("proc/uptime", "long"),
        ("proc/uptime", "nan nan"),
        ("proc/uptime", "inf inf"),
    ],
)
def test_an_age_that_cannot_be_read(tmp_path, file, content):
    write_age(tmp_path, 1000.0)
    (tmp_path / file).unlink()
    if content is not None:
        (tmp_path / file).write_text(content)
    before = time.monotonic()
    session = detect_session(environment=KAGGLE, root=tmp_path)
    assert session.limit == 12 * HOUR - BLIND_RESERVE
    assert session.began >= before


@pytest.mark.parametrize("environment", [KAGGLE, COLAB, {}], ids=["Kaggle", "Colab", "plain"])
def test_an_own_limit_counts_from_carlibs_start(tmp_path, environment):
    write_age(tmp_path, 1000.0)
    before = time.monotonic()
    session = detect_session(limit=90.0, environment=environment, root=tmp_path)
    assert session.began >= before
    assert session.limit == 90.0


def test_a_plain_machine_has_no_clock_of_its_own(tmp_path):
    write_age(tmp_path, 1000.0)
    before = time.monotonic()
    session = detect_session(environment={}, root=tmp_path)
    assert session.began >= before
    assert session.limit is None


def test_the_age_of_a_real_process(tmp_path):
    before = time.monotonic()
    with subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE) as process:
        after = time.monotonic()
        (tmp_path / "proc").mkdir()
        (tmp_path / "proc/1").symlink_to(f"/proc/{process.pid}")
        (tmp_path / "proc/uptime").symlink_to("/proc/uptime")
        session = detect_session(environment=KAGGLE, root=tmp_path)
        process.communicate(b"\n")
    assert before - 0.03 <= session.began <= after + 0.03, "the system counts in hundredths"
    assert session.limit == 12 * HOUR - RESERVE
