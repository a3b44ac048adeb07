"""What a session says of itself, and whether what was downloaded is what it left."""

from __future__ import annotations

import dataclasses
import hashlib
import json
import os
import re

import pytest
from photos import write_files

from carlib.errors import RunError, UsageError
from carlib.handover import FORMAT, HANDOVER, Handover, damaged, read_handover, write_handover
from carlib.runfolder import SESSIONS, RunFolder, write_table

BEST = {"phase": "all", "epoch": 3, "value": 0.75, "checkpoint": ""}
RESULT = {
    "recipe": "tiny-check",
    "recipe_digest": "a" * 64,
    "catalog_digest": "b" * 64,
    "done": False,
    "best": BEST,
    "validation_accuracy": None,
}
LEFT = {
    "run/best/model.keras": b"weights",
    "run/best/model.json": b"{}",
    "run/chain/000005-p2e0s0/arrays.npz": b"arrays",
    "run/chain/000005-p2e0s0/manifest.json": b"{}",
    "run/chain/LAST": b"000005-p2e0s0\n",
    "run/history.csv": b"phase,epoch\n",
    "run/plots/curves.png": b"",
    "run/predictions/test.npz": b"rows",
    "run/recipe.json": b"{}",
    "run/report.html": b"<html>",
    "run/result.json": json.dumps(RESULT).encode(),
    "submission.csv": b"Id,Category\n",
    "submission-flip.csv": b"Id,Category\n",
}
NOT_LEFT = {
    "handover.json": b"{",
    "photos/train/0/a.jpg": b"photo",
    "photos/sample-submission.csv": b"Id,Category\n",
    "other/chain/LAST": b"",
    "__notebook__.ipynb": b"{}",
    ".submission.csv": b"",
    "submission.aside.csv": b"half",
    "run/lock": b"",
    "run/.DS_Store": b"",
    "run/.hidden/a.txt": b"",
    "run/report.aside.html": b"half",
    "run/features/head-000.npz": b"features",
    "run/chain/000006-p2e0s0.aside/arrays.npz": b"half",
}


def make_run(work, result=RESULT, why="the clock"):
    """A work folder as a session leaves it."""
    write_files(work, {**LEFT, **NOT_LEFT, "run/result.json": json.dumps(result)})
    rows = [
        {**dict.fromkeys(SESSIONS, 0), "session": number + 1, "why": ended, "total_hours": hours}
        for number, (ended, hours) in enumerate([("the clock", 11.5), (why, 11.75)])
    ]
    write_table(RunFolder(work / "run").sessions, rows, SESSIONS)
    return work / "run"


def digests(folder, names):
    contents = {name: (folder / name).read_bytes() for name in names}
    return {name: (len(data), hashlib.sha256(data).hexdigest()) for name, data in contents.items()}


@pytest.mark.parametrize("given", [None, "work", "relative"])
def test_what_is_written_is_read(tmp_path, monkeypatch, given):
    run = make_run(tmp_path)
    monkeypatch.chdir(tmp_path)
    if given == "relative":
        run, tmp = "run", "."
    else:
        tmp = tmp_path if given else None
    path = write_handover(run, tmp, push="p3-7f")
    assert path == tmp_path / HANDOVER
    assert read_handover(path) == Handover(
        push="p3-7f",
        run="run",
        recipe="tiny-check",
        recipe_digest="a" * 64,
        catalog_digest="b" * 64,
        done=False,
        why="the clock",
        at="000005-p2e0s0",
        best=BEST,
        accuracy=None,
        hours=11.75,
        files=digests(tmp_path, [*LEFT, "run/sessions.csv"]),
    )
    assert json.loads(path.read_text())["handover"] == FORMAT


def test_a_run_that_is_done(tmp_path):
    make_run(tmp_path, {**RESULT, "done": True, "validation_accuracy": 0.5}, "done")
    said = read_handover(write_handover(tmp_path / "run"))
    assert (said.done, said.why, said.accuracy, said.push) == (True, "done", 0.5, "")


def test_a_run_before_its_first_epoch_and_checkpoint(tmp_path):
    run = make_run(tmp_path, {**RESULT, "best": None})
    for path in sorted((run / "chain").rglob("*"), reverse=True):
        path.rmdir() if path.is_dir() else path.unlink()
    said = read_handover(write_handover(run))
    assert (said.at, said.best) == ("", None)


def test_a_folder_further_up(tmp_path):
    run = make_run(tmp_path / "cars")
    (tmp_path / "submission.csv").write_text("")
    said = read_handover(write_handover(run, tmp_path))
    assert said.run == "cars/run"
    runs = {f"cars/{name}" for name in (*LEFT, "run/sessions.csv") if name.startswith("run/")}
    assert set(said.files) == runs | {"submission.csv"}


def test_links_out_of_the_folder_are_not_followed(tmp_path):
    write_files(tmp_path / "secret", {"key": b"secret", "chain/LAST": b"secret"})
    run = make_run(tmp_path / "work")
    (run / "key").symlink_to(tmp_path / "secret/key")
    (run / "more").symlink_to(tmp_path / "secret")
    (tmp_path / "work/submission-2.csv").symlink_to(tmp_path / "secret/key")
    (run / "broken").symlink_to(tmp_path / "nothing")
    (run / "same").symlink_to(run / "result.json")
    said = read_handover(write_handover(run))
    assert set(said.files) == {*LEFT, "run/sessions.csv", "run/same"}


def test_written_again_it_is_the_same(tmp_path):
    path = write_handover(make_run(tmp_path))
    before = path.read_bytes()
    assert write_handover(tmp_path / "run").read_bytes() == before
    assert sorted(entry.name for entry in tmp_path.iterdir() if "handover" in entry.name) == [
        HANDOVER
    ]


@pytest.mark.parametrize("work", ["run", "run/chain", "elsewhere"])
def test_the_run_must_lie_below(tmp_path, work):
    run = make_run(tmp_path)
    with pytest.raises(UsageError, match=r"run does not lie below .*; give a folder above the run"):
        write_handover(run, tmp_path / work)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"result.json": None}, "result.json is not there: is .*run a finished carlib run"),
        ({"result.json": b"{"}, "result.json cannot be read"),
        ({"result.json": b"[]"}, "do not say how the run stands"),
        (
            {"result.json": b'{"recipe": "x"}'},
            r"stands \(KeyError\('recipe_digest'\)\): is .*run a",
        ),
        ({"sessions.csv": None}, r"result.json and sessions.csv beside it do not say"),
        ({"sessions.csv": b"session,why\n1,done\n"}, "KeyError.'total_hours'"),
        ({"sessions.csv": b"why,total_hours\ndone,long\n"}, "ValueError"),
        ({"sessions.csv": b"why\na,b\n"}, "sessions.csv is damaged: a row does not fit"),
    ],
)
def test_a_run_that_cannot_be_handed_over(tmp_path, change, message):
    run = make_run(tmp_path)
    for name, content in change.items():
        (run / name).unlink() if content is None else (run / name).write_bytes(content)
    with pytest.raises(RunError, match=message):
        write_handover(run)
    assert (tmp_path / HANDOVER).read_bytes() == NOT_LEFT[HANDOVER]


FILES = {"run/a": (1, "0" * 64)}
GOOD = Handover("", "run", "r", "a", "b", True, "done", "", None, 0.5, 1.5, FILES)
OUTSIDE = ("/etc/passwd", "../a", "run/../../a", "run/..", "..")
ODD = (".", "./a", "run//a", "run/", "C:/a", "run\\a", "a\0")


@pytest.mark.parametrize(
    ("where", "path"),
    [
        *((where, path) for where in ("run", "at", "files") for path in (*OUTSIDE, *ODD)),
        *(("run", ""), ("files", "")),
    ],
)
def test_paths_that_leave_the_folder(tmp_path, where, path):
    wrong = {path: (1, "0" * 64)} if where == "files" else path
    with pytest.raises(UsageError, match=f"{re.escape(repr(path))} must be a path below"):
        dataclasses.replace(GOOD, **{where: wrong})
    said = {"handover": FORMAT, **dataclasses.asdict(GOOD), where: wrong}
    (tmp_path / HANDOVER).write_text(json.dumps(said))
    with pytest.raises(RunError, match=r"handover.json is refused: .* must be a path below"):
        read_handover(tmp_path / HANDOVER)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"files": {"a": (-1, "0" * 64)}}, "a must have its bytes, 0 or more.*received -1"),
        ({"files": {"a": (1, "0" * 63)}}, "a must have its bytes.*received 1 and '000"),
        ({"files": {"a": (1, "G" * 64)}}, "a must have its bytes"),
        ({"hours": -1.0}, "hours must be 0 or more; received -1"),
        ({"hours": float("nan")}, "hours must be 0 or more; received nan"),
        ({"hours": float("inf")}, "hours must be 0 or more; received inf"),
    ],
)
def test_nonsense(tmp_path, change, message):
    with pytest.raises(UsageError, match=message):
        dataclasses.replace(GOOD, **change)
    said = {"handover": FORMAT, **dataclasses.asdict(GOOD), **change}
    (tmp_path / HANDOVER).write_text(json.dumps(said))
    with pytest.raises(RunError, match=message):
        read_handover(tmp_path / HANDOVER)


def edited(**fields):
    said = {"handover": FORMAT, **dataclasses.asdict(GOOD), **fields}
    return json.dumps({key: value for key, value in said.items() if value != "gone"}).encode()


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (None, "is not there: the session ended before it wrote it"),
        (b"", r"is damaged or cut short \(Expecting value"),
        (edited()[:-40], "is damaged or cut short"),
        (b"\xff\xfe{}", "is damaged or cut short .*utf-8"),
        (b"<!DOCTYPE html>\n<html><body>Too many requests</body></html>", "is a web page, not a"),
        (b"\n  <html>", "is a web page, not a handover; fetch it again"),
        (b"[1, 2]", "is no handover of carlib's"),
        (b'{"code": 429, "message": "slow down"}', "is no handover of carlib's"),
        (edited(handover=FORMAT + 1), "another version of carlib; this one reads format 1: use"),
        (edited(handover=None), "was written by another version of carlib"),
        (edited(why="gone"), r"is damaged \(why is missing\)"),
        (edited(files="gone"), r"is damaged \(files is missing\)"),
        (edited(run=7), r"is damaged \(run is 7\)"),
        (edited(done=1), r"is damaged \(done is 1\)"),
        (edited(hours=True), r"is damaged \(hours is True\)"),
        (edited(best=[]), r"is damaged \(best is \[\]\)"),
        (edited(accuracy="high"), r"is damaged \(accuracy is 'high'\)"),
        (edited(files=[]), r"is damaged \(files is \[\]\)"),
        (edited(files={"a": 1}), r"is damaged \(a has 1 for bytes and SHA-256\)"),
        (edited(files={"a": [1]}), "a has "),
        (edited(files={"a": [1.5, "0" * 64]}), "a has "),
        (edited(files={"a": [True, "0" * 64]}), "a has "),
        (edited(more=1), "is damaged .*unexpected keyword argument 'more'"),
    ],
)
def test_what_is_no_handover(tmp_path, content, message):
    if content is not None:
        (tmp_path / HANDOVER).write_bytes(content)
    with pytest.raises(RunError, match=message) as caught:
        read_handover(tmp_path / HANDOVER)
    assert "\n" not in str(caught.value)


def test_a_folder_is_no_handover(tmp_path):
    with pytest.raises(RunError, match=r"is damaged or cut short .*Is a directory"):
        read_handover(tmp_path)


def test_every_cut_is_noticed(tmp_path):
    content = write_handover(make_run(tmp_path)).read_bytes()
    for length in range(0, len(content) - 2, 7):
        (tmp_path / HANDOVER).write_bytes(content[:length])
        with pytest.raises(RunError):
            read_handover(tmp_path / HANDOVER)


def test_what_came_whole(tmp_path):
    handover = read_handover(write_handover(make_run(tmp_path)))
    assert damaged(handover, tmp_path) == {}


def test_what_came_damaged(tmp_path):
    handover = read_handover(write_handover(make_run(tmp_path)))
    os.remove(tmp_path / "submission.csv")
    (tmp_path / "run/best/model.keras").write_bytes(b"<html>Too many requests")
    (tmp_path / "run/chain/000005-p2e0s0/arrays.npz").write_bytes(b"Arrays")
    (tmp_path / "run/history.csv").unlink()
    (tmp_path / "run/history.csv").mkdir()
    assert damaged(handover, tmp_path) == {
        "submission.csv": "missing",
        "run/best/model.keras": "size",
        "run/chain/000005-p2e0s0/arrays.npz": "digest",
        "run/history.csv": "missing",
    }
    assert set(damaged(handover, tmp_path / "nowhere").values()) == {"missing"}
