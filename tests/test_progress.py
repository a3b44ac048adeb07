"""Progress: a bar in terminals and notebooks, plain lines in logs."""

from __future__ import annotations

import io
import sys

import pytest
import tqdm.auto
from tqdm.notebook import tqdm_notebook

from carlib import progress as room
from carlib.progress import progress, say


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


@pytest.mark.parametrize("stream", [io.StringIO, Terminal])
@pytest.mark.parametrize("items", [[], [1, 2], "abc", range(5)])
def test_it_passes_the_items_on(monkeypatch, stream, items):
    monkeypatch.setattr(sys, "stderr", stream())
    assert list(progress(items)) == list(items)
    assert list(progress(items, disable=True)) == list(items)


def test_a_short_wait_says_nothing_in_a_log(monkeypatch):
    monkeypatch.setattr(sys, "stderr", io.StringIO())
    assert list(progress(range(50), desc="short")) == list(range(50))
    assert sys.stderr.getvalue() == ""


def test_lines_in_a_log(monkeypatch):
    monkeypatch.setattr(room, "LINE_SECONDS", 0.0)
    monkeypatch.setattr(sys, "stderr", io.StringIO())
    with progress(total=3, desc="checking", unit="photo") as bar:
        for _ in range(3):
            bar.update()
    said = sys.stderr.getvalue()
    lines = said.splitlines()
    assert "\r" not in said
    assert said.endswith("\n")
    assert all(line.startswith("checking: ") for line in lines), lines
    assert "100%" in lines[-1]
    assert all(len(line) <= 80 and line.isascii() for line in lines)


def test_a_bar_in_a_terminal(monkeypatch):
    monkeypatch.setattr(sys, "stderr", Terminal())
    list(progress(range(3), desc="checking", mininterval=0))
    assert sys.stderr.getvalue().startswith("\rchecking: ")
    assert "\n" not in sys.stderr.getvalue()


def test_a_widget_in_a_notebook(monkeypatch):
    """tqdm.auto is a subclass of the notebook's bar there; a log's lines would break it."""
    made = []

    class Widget(tqdm_notebook):
        def __init__(self, items=None, **options):
            made.append(options)
            self.disable = True  # nothing to close

    Widget.__module__, Widget.__name__ = "tqdm.auto", "tqdm"
    monkeypatch.setattr(tqdm.auto, "tqdm", Widget)
    monkeypatch.setattr(sys, "stderr", io.StringIO())
    progress([1], desc="checking")
    assert made == [{"leave": False, "desc": "checking"}]


def test_say_prints_one_line_to_stderr(capsys):
    say("resumed at epoch 3")
    captured = capsys.readouterr()
    assert captured.err == "resumed at epoch 3\n"
    assert captured.out == ""
