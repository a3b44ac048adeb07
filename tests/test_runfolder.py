"""Where the files of a run lie, and its small tables."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from carlib.errors import RunError
from carlib.runfolder import (
    LEFT_OUT,
    SESSIONS,
    TIMINGS,
    RunFolder,
    read_json,
    read_table,
    write_json,
    write_table,
)

# The names that people and other tools rely on.
PLACES = {
    "recipe": "recipe.json",
    "chain": "chain",
    "model": "best/model.keras",
    "model_card": "best/model.json",
    "history": "history.csv",
    "timings": "timings.csv",
    "sessions": "sessions.csv",
    "left_out": "left-out.csv",
    "features": "features",
    "report": "report.html",
    "plots": "plots",
    "result": "result.json",
    "epochs": "predictions/epochs.npz",
}


def test_places():
    run = RunFolder(Path("some/run"))
    found = {
        name: getattr(run, name).as_posix()
        for name, member in vars(RunFolder).items()
        if isinstance(member, property)
    }
    assert found == {name: f"some/run/{place}" for name, place in PLACES.items()}
    assert run.predictions("test").as_posix() == "some/run/predictions/test.npz"


@pytest.mark.parametrize(
    "value",
    [
        *(0, -3, 10**20, 0.1 + 0.2, 1 / 3, 1e-300, 5e-324, 1e16, -0.0, float("inf")),
        *("head", "a,b", "", 'say "hi"', "two\nlines", " spaces ", "ü 🚗", "# x"),
    ],
)
def test_values_read_back_exactly(tmp_path, value):
    path = tmp_path / "deeper" / "t.csv"
    rows = [{"a": value, "b": 1}, {"a": "x", "b": value}]
    write_table(path, rows, ("a", "b"))
    again = read_table(path)
    assert again == rows
    assert [type(row["b"]) for row in again] == [int, type(value)]


@pytest.mark.parametrize("number", [np.float64(0.1), np.float64(1 / 3), np.int64(7)])
def test_numbers_of_numpy_are_written_like_pythons(tmp_path, number):
    write_table(tmp_path / "t.csv", [{"a": number}], ("a",))
    assert read_table(tmp_path / "t.csv") == [{"a": number.item()}]
    assert "np." not in (tmp_path / "t.csv").read_text()


@pytest.mark.parametrize("column", ["phase", "device", "why", *LEFT_OUT])
@pytest.mark.parametrize("text", ["1", "1e3", "nan", "007", "1_000", "inf"])
def test_texts_that_look_like_numbers_stay_texts(tmp_path, column, text):
    write_table(tmp_path / "t.csv", [{column: text, "n": 1}], (column, "n"))
    assert read_table(tmp_path / "t.csv") == [{column: text, "n": 1}]


@pytest.mark.parametrize("columns", [TIMINGS, SESSIONS, LEFT_OUT])
def test_no_rows(tmp_path, columns):
    write_table(tmp_path / "t.csv", [], columns)
    assert (tmp_path / "t.csv").read_text() == ",".join(columns) + "\n"
    assert read_table(tmp_path / "t.csv") == []


def test_no_table(tmp_path):
    assert read_table(tmp_path / "gone.csv") == []


def test_the_same_rows_are_the_same_bytes(tmp_path):
    for name in ("a", "b"):
        write_table(tmp_path / name, ({"x": n / 7} for n in range(9)), ("x",))
    assert (tmp_path / "a").read_bytes() == (tmp_path / "b").read_bytes()
    assert b"\r" not in (tmp_path / "a").read_bytes()


def test_a_row_with_an_unknown_column_leaves_the_old_table(tmp_path):
    path = tmp_path / "t.csv"
    write_table(path, [{"a": 1}], ("a",))
    with pytest.raises(ValueError, match="dict contains fields not in fieldnames: 'b'"):
        write_table(path, [{"a": 2}, {"a": 3, "b": 4}], ("a",))
    assert read_table(path) == [{"a": 1}]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"a,b\n1,2\n3\n", "t.csv is damaged: a row does not fit the header"),
        (b"a,b\n1,2,3\n", "t.csv is damaged: a row does not fit the header"),
        (b"a,b\n\xff,2\n", "t.csv cannot be read: .*utf-8"),
        (b"a\n" + b"x" * 200_000 + b"\n", "t.csv cannot be read: field larger than"),
    ],
)
def test_a_damaged_table(tmp_path, content, message):
    (tmp_path / "t.csv").write_bytes(content)
    with pytest.raises(RunError, match=message):
        read_table(tmp_path / "t.csv")


@pytest.mark.parametrize("content", [{}, [], None, {"ü 🚗": [1, 0.1, "x", None, True]}, 1 / 3])
def test_json(tmp_path, content):
    write_json(tmp_path / "deeper" / "a.json", content)
    assert read_json(tmp_path / "deeper" / "a.json") == content
    assert (tmp_path / "deeper" / "a.json").read_bytes().endswith(b"\n")


def test_what_is_no_json_leaves_the_old_file(tmp_path):
    write_json(tmp_path / "a.json", {"old": 1})
    with pytest.raises(TypeError, match="not JSON serializable"):
        write_json(tmp_path / "a.json", {"new": object()})
    assert read_json(tmp_path / "a.json") == {"old": 1}


def test_no_json(tmp_path):
    with pytest.raises(RunError, match=r"result.json is not there: is .* a finished carlib run"):
        read_json(tmp_path / "result.json")


@pytest.mark.parametrize("content", [b"", b'{"a": 1', b"\xff\xfe{"])
def test_damaged_json(tmp_path, content):
    (tmp_path / "a.json").write_bytes(content)
    with pytest.raises(RunError, match=r"a.json cannot be read: "):
        read_json(tmp_path / "a.json")
    with pytest.raises(RunError, match=r"cannot be read: .*Is a directory"):
        read_json(tmp_path)
