"""Lengths of time, the clock, and where carlib runs."""

from __future__ import annotations

from pathlib import Path

import pytest

from carlib.errors import UsageError
from carlib.session import KINDS, LIMITS, Session, detect_session, seconds


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
    assert session.limit == LIMITS.get(kind)


def test_an_own_limit_goes_before_the_platforms(tmp_path):
    environment = {"KAGGLE_KERNEL_RUN_TYPE": "Batch"}
    session = detect_session(limit=90.0, stop_after=7, environment=environment, root=tmp_path)
    assert (session.limit, session.stop_after) == (90.0, 7)
    with pytest.raises(UsageError, match="limit must be above 0"):
        detect_session(limit=0, environment=environment, root=tmp_path)
