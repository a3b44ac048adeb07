"""Logs, notebooks, decisions, diaries, and what a driver makes of odd answers."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import Any

import pytest
from pretend import NOTEBOOK, parameters, write_notebook

from carlib.checkpoints import Position
from carlib.errors import CarlibError, DataError, RunError, UsageError
from carlib.handover import Handover
from carlib.kaggle.chain import Diary, Ending, Plan, Rehearsal, Turn, drive_chain, open_diary
from carlib.kaggle.chain.decide import Ended, decide, furthest, got_further, position_of
from carlib.kaggle.chain.relay import carrier_of, hand_on
from carlib.kaggle.client import Answer, KaggleError
from carlib.kaggle.logs import log_seconds, plain_log, ran_out_of_memory, reason, tail
from carlib.kaggle.notebook import INJECTED, read_parameters, with_parameters

TOKEN = "gh" + "p_" + 18 * "a7"  # in halves, so that this file holds none
FIRST, SECOND = "000001-p0e1s0", "000002-p0e2s0"


def piece(text: str, time: Any = None) -> str:
    return json.dumps({"stream_name": "stdout", "time": time, "data": text})


@pytest.mark.parametrize(
    ("log", "text", "seconds"),
    [
        ("", "", None),
        ("epoch 1\nepoch 2\n", "epoch 1\nepoch 2\n", None),
        ("[]", "", None),
        (f"[{piece('a', 1.5)}\n,{piece('b', 2)}\n]", "ab", 2.0),
        # Cut off in the middle, and an object a line.
        (f"[{piece('a', 1)},\n{piece('b', 2)[:-9]}", "a", 1.0),
        (f"{piece('a', 3)}\n{piece('b', 2)}\n", "ab", 3.0),
        (f"[{piece('a')}]", "a", None),
        (f"[{piece('{1: 2} [', 'late')}]", "{1: 2} [", None),
        ('[{"time": 4.0}]', "", None),
        ("[NbConvertApp] {not a list}", "[NbConvertApp] {not a list}", None),
    ],
)
def test_a_log_as_kaggle_keeps_it(log: str, text: str, seconds: float | None) -> None:
    assert plain_log(log) == text
    assert log_seconds(log) == seconds


MEMORY = [
    "ResourceExhaustedError: failed",
    "E tensorflow: OOM when allocating tensor with shape[32]",
    "MemoryError",
    "numpy.core._exceptions._ArrayMemoryError: MemoryError: Unable",
    "CUDA_ERROR_OUT_OF_MEMORY: out of memory",
    "Your notebook tried to allocate more memory than is available. It has restarted.",
]
NO_MEMORY = [
    "",
    "epoch 1, loss 0.3",
    "Allocator (GPU_0_bfc) ran out of memory trying to allocate 2.2GiB. The caller indicates that "
    "this is not a failure, but this may mean that there could be performance gains",
]


@pytest.mark.parametrize("line", MEMORY + NO_MEMORY)
def test_too_little_memory_is_known_by_its_words(line: str) -> None:
    assert ran_out_of_memory(f"epoch 1\n{line}\nepoch 2\n") == (line in MEMORY)


# What Kaggle writes below the end of every notebook.
BELOW = (
    "[NbConvertApp] Converting notebook to html\n[NbConvertApp] Writing 9 bytes to __results__\n"
)


@pytest.mark.parametrize(
    ("log", "line"),
    [
        ("", ""),
        ("one\n\ntwo\n  \n", "two"),
        ("\x1b[31mValueError\x1b[39m: no photos\n" + BELOW, "ValueError: no photos"),
        ("carlib: no photos under /kaggle/input; attach them\nbye\n" + BELOW, None),
        ("a.b.CustomError: one\nKeyError: 'two'\nat exit\n", "KeyError: 'two'"),
        ("the errors: none\nlast\n", "last"),
        ("[NbConvertApp] ERROR | it died\n" + BELOW, "[NbConvertApp] ERROR | it died"),
        (BELOW, ""),
    ],
)
def test_the_reason_in_a_log(log: str, line: str | None) -> None:
    wanted = "carlib: no photos under /kaggle/input; attach them" if line is None else line
    assert reason(log) == wanted


def test_the_tail_of_a_log() -> None:
    log = "".join(f"line {number}\n\n" for number in range(30)) + BELOW
    assert tail(log) == [f"line {number}" for number in range(15, 30)]
    assert tail(log, 1) == ["line 29"]
    assert tail("") == []


def notebook(**change: Any) -> dict[str, Any]:
    """The pretended notebook, its first cell changed."""
    (cell,) = NOTEBOOK["cells"]
    return {**NOTEBOOK, "cells": [{**cell, **change}]}


def written(folder: Path, content: Any) -> Path:
    path = folder / "n.ipynb"
    path.write_text(content if isinstance(content, str) else json.dumps(content), encoding="utf-8")
    return path


@pytest.mark.parametrize(
    "value", ["a 'b' \"c\"\n\\", ["x=1", "\u96ea"], None, True, 1.5, {"a": [1]}, ""]
)
def test_parameters_come_back_as_they_were_given(tmp_path: Path, value: Any) -> None:
    text = with_parameters(write_notebook(tmp_path), {"DATA": value, "LIMIT": "1h"})
    given = parameters(text)
    assert (given["DATA"], given["LIMIT"], given["RESUME"]) == (value, "1h", "auto")


def test_a_notebook_that_was_pushed_before_gets_new_parameters(tmp_path: Path) -> None:
    source = write_notebook(tmp_path)
    before = source.read_bytes()
    first = with_parameters(source, {"PUSH": "one", "RESUME": "must"})
    again = with_parameters(written(tmp_path, first), {"PUSH": "two"})
    assert parameters(again)["PUSH"] == "two"
    assert parameters(again)["RESUME"] == "auto"
    assert sum(INJECTED in cell["metadata"]["tags"] for cell in json.loads(again)["cells"]) == 1
    assert source.read_bytes() == before


def test_outputs_do_not_come_along(tmp_path: Path) -> None:
    outputs = [{"output_type": "stream", "name": "stdout", "text": TOKEN}]
    path = written(tmp_path, notebook(outputs=outputs, execution_count=3))
    text = with_parameters(path, {})
    assert TOKEN not in text
    assert all(cell["execution_count"] is None for cell in json.loads(text)["cells"])


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("{", "is not a notebook"),
        ("[]", "is not a notebook"),
        ("{}", "is not a notebook"),
        ({"cells": 3}, "is not a notebook"),
        ({"cells": ["text"]}, "is not a notebook"),
        ({"cells": [{"source": ""}]}, "is not a notebook"),
        ({"cells": []}, "no cell tagged 'parameters'"),
        (notebook(metadata={}), "no cell tagged 'parameters'"),
        (notebook(source="DATA = ("), "must be names and constants"),
        (notebook(source="%pip install x"), "must be names and constants"),
        (notebook(source="DATA = open('x')"), "must be names and constants"),
        (notebook(source=None), "must be names and constants"),
    ],
)
def test_what_is_no_thin_notebook_is_refused(tmp_path: Path, content: Any, message: str) -> None:
    with pytest.raises(DataError, match=message):
        with_parameters(written(tmp_path, content), {})


def test_a_notebook_or_parameter_that_is_not_there_is_told(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"there is no notebook .*--notebook FILE"):
        with_parameters(tmp_path / "none.ipynb", {})
    with pytest.raises(UsageError, match="no parameter 'DATAA'; did you mean 'DATA'"):
        with_parameters(write_notebook(tmp_path), {"DATAA": ""})


def test_parameters_may_stand_on_several_lines() -> None:
    cell = {"metadata": {"tags": ["parameters"]}, "source": ["# what\n", "A = B = 1\n", "f.x = 2"]}
    assert read_parameters({"cells": [{}, cell]}) == {"A": 1, "B": 1}


@pytest.mark.parametrize(
    ("names", "name"),
    [
        ([], ""),
        ([f"run/chain/{FIRST}/manifest.json", f"run/chain/{SECOND}/arrays.npz"], FIRST),
        ([f"run/chain/{each}/manifest.json" for each in (SECOND, FIRST)], SECOND),
        ([f"run/chain/{SECOND}.aside/manifest.json"], ""),
        # By how far it got, not by its number.
        (
            [f"c/{each}/manifest.json" for each in ("000009-p0e1s0", "000003-p1e0s0")],
            "000003-p1e0s0",
        ),
        (["c/1000000-p0e0s1/manifest.json"], "1000000-p0e0s1"),
        (["manifest.json", "run/manifest.json"], ""),
    ],
)
def test_the_furthest_checkpoint_of_an_output(names: list[str], name: str) -> None:
    assert furthest(names) == name


def test_how_far_a_checkpoint_got() -> None:
    assert position_of("a/000042-p1e3s7/b") == Position(phase=1, epoch=3, step=7)
    assert position_of("latest") is None
    cases = {
        (FIRST, ""): True,
        (SECOND, FIRST): True,
        (FIRST, FIRST): False,
        (FIRST, SECOND): False,
        ("", FIRST): False,
        ("", ""): False,
    }
    assert {pair: got_further(*pair) for pair in cases} == cases


HANDED = Handover("t", "run", "r", "", "", False, "the clock", FIRST, None, None, 1.25, {})
FINISHED = dataclasses.replace(HANDED, done=True, accuracy=0.5)
DECISIONS: list[tuple[dict[str, Any], str, str]] = [
    ({"handover": FINISHED}, "done", "done after 1.25 h in all, validation accuracy 0.5000"),
    (
        {"handover": dataclasses.replace(FINISHED, accuracy=None)},
        "done",
        "done after 1.25 h in all",
    ),
    ({"handover": HANDED, "at": FIRST}, "go-on", f"stopped by the clock at {FIRST}"),
    ({"handover": HANDED, "at": FIRST, "carries": FIRST}, "stuck", f"no further than {FIRST}: a"),
    ({"handover": HANDED}, "stuck", "no further than its start"),
    ({"at": FIRST}, "failed", "left no handover.json"),
    ({"status": "ERROR", "log": "ValueError: a\n" + BELOW}, "failed", "ValueError: a"),
    ({"status": "ERROR", "message": "it\ndied"}, "failed", "it died"),
    ({"status": "ERROR"}, "failed", "its log is empty"),
    ({"status": "ERROR", "log": "x" * 9999}, "failed", "x" * 300 + "..."),
    ({"status": "ERROR", "log": "boom", "at": FIRST}, "failed", f"boom; it got to {FIRST}"),
    (
        {"status": "ERROR", "log": "boom", "complaint": "Kaggle did not attach x"},
        "failed",
        "Kaggle did not attach x (boom)",
    ),
    ({"status": "ERROR", "log": MEMORY[0]}, "out-of-memory", "batch_size"),
    ({"status": "ERROR", "message": MEMORY[-1]}, "out-of-memory", "batch_size"),
    ({"status": "ERROR", "log": NO_MEMORY[-1] + "\nKeyError: 1"}, "failed", "KeyError: 1"),
    # A limit ends a session whatever it wrote of memory; a person may cancel one that is out of it.
    ({"log": MEMORY[1], "at": FIRST, "seconds": 95.0}, "go-on", f"limit; it got to {FIRST}"),
    ({"log": MEMORY[1], "at": FIRST, "seconds": 5.0}, "out-of-memory", f"it got to {FIRST}"),
    ({"at": FIRST, "seconds": 90.0}, "go-on", "ended by its limit"),
    ({"seconds": 90.0}, "stuck", "no further than its start: give it more time"),
    ({"at": FIRST, "seconds": 89.0}, "stopped", f"cancelled after 0.02 h; it got to {FIRST}"),
    ({"at": FIRST, "cancelled": "go-on"}, "go-on", "ended by its limit"),
    ({"at": FIRST, "seconds": 99.0, "cancelled": "stop"}, "stopped", "cancelled after 0.03 h"),
]


@pytest.mark.parametrize(("known", "verdict", "line"), DECISIONS)
def test_what_comes_after_a_session(known: dict[str, Any], verdict: str, line: str) -> None:
    cut = "seconds" in known or "cancelled" in known
    ended = Ended(
        **{"status": "CANCEL_ACKNOWLEDGED" if cut else "COMPLETE", "limit": 100.0, **known}
    )
    decision = decide(ended)
    assert decision.verdict == verdict
    assert line in decision.line
    assert "\n" not in decision.line


def make_plan(folder: Path, **change: Any) -> Plan:
    values = {"parameters": {"RECIPE": "tiny", "SETTINGS": ["a=1"]}, **change}
    return Plan("alice/carsy", str(write_notebook(folder)), **values)


def test_a_plan_whose_chain_could_not_be_handed_on_is_refused_at_once(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"dataset alice/.*-chain.*50 characters"):
        Plan(f"alice/{'c' * 48}", str(write_notebook(tmp_path)))
    Plan(f"alice/{'c' * 44}", str(write_notebook(tmp_path)))


TURN = Turn(1, "ab", "alice/carsy-a", 0, limit=60.0, pushed="2026-01-01T00:00:00+00:00", version=3)


def test_a_diary_comes_back_as_it_was(tmp_path: Path) -> None:
    plan = make_plan(tmp_path, datasets=("alice/photos",), limit=60.0)
    diary = open_diary(tmp_path / "out", plan)
    assert (diary.turns, (tmp_path / "out").exists()) == ([], False)
    diary.turns.append(TURN)
    diary.save()
    assert open_diary(tmp_path / "out", plan) == Diary(tmp_path / "out/chain.json", plan, [TURN])


@pytest.mark.parametrize(
    ("change", "refused"),
    [
        ({"limit": 30.0, "datasets": ("alice/more",), "cancelled": "stop"}, ""),
        ({"relay": "self"}, "relay: 'alternate' -> 'self'"),
        ({"parameters": {"RECIPE": "other"}}, "parameters: "),
    ],
)
def test_what_may_change_in_the_middle_of_a_chain(
    tmp_path: Path, change: dict[str, Any], refused: str
) -> None:
    diary = open_diary(tmp_path / "out", make_plan(tmp_path))
    new = make_plan(tmp_path, **change)
    diary.save()
    # Before anything was pushed, everything may.
    assert open_diary(tmp_path / "out", new).plan == new
    diary.turns.append(TURN)
    diary.save()
    if refused:
        with pytest.raises(UsageError, match=f"holds another chain .{refused}"):
            open_diary(tmp_path / "out", new)
    else:
        assert open_diary(tmp_path / "out", new).plan == new


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("", "cannot be read"),
        ("[]", "not the diary of a chain"),
        ('{"format": 2}', "has format 2, this carlib reads 1"),
        ('{"format": 1, "plan": {}}', "not the diary of a chain"),
        ('{"format": 1, "plan": {}, "turns": [{"number": 1}]}', "not the diary of a chain"),
    ],
)
def test_a_damaged_diary_is_told(tmp_path: Path, content: str, message: str) -> None:
    (tmp_path / "chain.json").write_text(content)
    with pytest.raises(RunError, match=message):
        open_diary(tmp_path, make_plan(tmp_path))


def ended(at: str, **known: Any) -> Turn:
    return Turn(1, "ab", "alice/carsy-a", 0, ended="now", at=at, **{"status": "COMPLETE", **known})


@pytest.mark.parametrize(
    ("relay", "turns", "carrier"),
    [
        ("alternate", [], ""),
        ("alternate", [ended(FIRST)], FIRST),
        ("alternate", [ended(FIRST), ended(SECOND, carries=FIRST)], SECOND),
        # No further, not ended, not to be mounted: the one before.
        ("alternate", [ended(FIRST), ended(FIRST, carries=FIRST)], FIRST),
        ("alternate", [ended(FIRST), Turn(2, "cd", "alice/carsy-b", 0, at=SECOND)], FIRST),
        ("alternate", [ended(FIRST), ended(SECOND, status="ERROR")], FIRST),
        ("alternate", [ended(FIRST), ended(SECOND, status="ERROR", relayed=True)], SECOND),
        ("dataset", [ended(FIRST)], ""),
        ("dataset", [ended(FIRST, relayed=True)], FIRST),
    ],
)
def test_whom_the_next_session_goes_on_from(
    tmp_path: Path, relay: str, turns: list[Turn], carrier: str
) -> None:
    diary = Diary(tmp_path / "chain.json", make_plan(tmp_path, relay=relay), turns)
    found = carrier_of(diary)
    assert (found.at if found else "") == carrier


class Odd(Rehearsal):
    """A Kaggle that answers a call in an odd way, some times."""

    def __init__(self, room: Path, do: str = "", *odd: Any, sessions: int = 2) -> None:
        super().__init__(lambda line: None, room, sessions)
        self.do, self.odd, self.asked = do, list(odd), []

    def once(self, do: str, done: Any, **arguments: Any) -> Answer:
        self.asked.append(do)
        if do == self.do and self.odd:
            answer = self.odd.pop(0)
            if isinstance(answer, Exception):
                raise answer
            return {**super().once(do, done, **arguments), **answer}
        return super().once(do, done, **arguments)


def drive(folder: Path, asker: Rehearsal, **change: Any) -> Ending:
    clock = iter(range(0, 10**6, 100))
    return drive_chain(
        asker,
        open_diary(folder / "out", make_plan(folder, **change)),
        wait=lambda seconds: None,
        clock=lambda: float(next(clock)),
        outage=0.0,
    )


@pytest.mark.parametrize("kind", ["missing", "refused"])
def test_a_session_that_kaggle_does_not_show_yet_is_waited_for(tmp_path: Path, kind: str) -> None:
    not_yet = [KaggleError("no such version", kind)] * 3
    ending = drive(tmp_path, Odd(tmp_path / "room", "status", *not_yet))
    assert (ending.verdict, ending.turns) == ("done", 2)


def test_a_session_that_is_gone_is_told_and_not_pushed_again(tmp_path: Path) -> None:
    gone = [KaggleError("no such version", "missing")] * 99
    with pytest.raises(KaggleError, match="no such version"):
        drive(tmp_path, odd := Odd(tmp_path / "room", "status", *gone))
    assert odd.asked.count("push") == 1
    odd.odd.clear()
    assert drive(tmp_path, odd).verdict == "done"
    assert odd.asked.count("push") == 2


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"parameters": {"DATAA": "cars"}}, "did you mean 'DATA'"),
        ({"parameters": {"DATA": TOKEN}}, "secrets would leave"),
    ],
)
def test_what_is_refused_here_can_be_mended(
    tmp_path: Path, wrong: dict[str, Any], message: str
) -> None:
    odd = Odd(tmp_path / "room")
    with pytest.raises(CarlibError, match=message):
        drive(tmp_path, odd, **wrong)
    assert "push" not in odd.asked
    assert drive(tmp_path, odd).verdict == "done"


def test_a_push_that_may_have_come_through_is_not_forgotten(tmp_path: Path) -> None:
    lost = Odd(tmp_path / "room", "push", KaggleError("no answer", "lost"))
    with pytest.raises(KaggleError, match="no answer"):
        drive(tmp_path, lost)
    # The driver comes back, and the notebook is not there any more.
    plan = make_plan(tmp_path)
    diary = open_diary(tmp_path / "out", plan)
    Path(plan.notebook).unlink()
    (tmp_path / "out/push/train.ipynb").unlink()
    with pytest.raises(DataError, match="there is no notebook"):
        drive_chain(lost, diary, wait=lambda seconds: None)
    assert [turn.tag for turn in open_diary(tmp_path / "out", plan).turns] == [diary.turns[0].tag]


@pytest.mark.parametrize(
    ("seen", "verdict"), [(["RUNNING"] * 30, "go-on"), (["RUNNING"], "stopped")]
)
def test_the_time_that_nobody_watched_does_not_count(
    tmp_path: Path, seen: list[str], verdict: str
) -> None:
    """A driver that was away when a person cancelled does not take it for the limit."""
    looks = [{"status": status} for status in seen]
    cut = KaggleError("away", "down"), {"status": "CANCEL_ACKNOWLEDGED"}
    odd = Odd(tmp_path / "room", "status", *looks, *cut)
    change = {"accelerator": "none", "limit": 2000.0, "timeout": 3000.0}
    with pytest.raises(KaggleError, match="away"):
        drive(tmp_path, odd, **change)
    handover = tmp_path / "room/handover.json"
    handover.unlink()  # it did not come to that
    diary = open_diary(tmp_path / "out", make_plan(tmp_path, **change))
    drive_chain(odd, diary, sessions=1, wait=lambda seconds: None, clock=lambda: 1e6)
    assert diary.turns[0].verdict == verdict


def test_one_run_is_handed_on_not_several(tmp_path: Path) -> None:
    odd = Odd(tmp_path / "room")
    drive(tmp_path, odd)
    checkpoint = next((tmp_path / "room/run/chain").glob("000001-*"))
    other = tmp_path / "room/other/chain" / checkpoint.name
    other.mkdir(parents=True)
    for path in checkpoint.iterdir():
        (other / path.name).write_bytes(path.read_bytes())
    (tmp_path / "room/handover.json").unlink()
    plan = make_plan(tmp_path, relay="dataset")
    turn = ended("000001-p1e0s0")
    diary = Diary(tmp_path / "out/chain.json", plan, [turn])
    with pytest.raises(RunError, match="holds 2 chains; one run is handed on"):
        hand_on(odd, diary)
    assert not turn.relayed
