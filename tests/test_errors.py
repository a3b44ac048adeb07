"""The errors and their exit codes; look-up with "did you mean"."""

from __future__ import annotations

import pytest

from carlib.errors import CarlibError, DataError, RunError, UsageError, look_up, suggestion


@pytest.mark.parametrize(
    ("kind", "code"), [(CarlibError, 1), (UsageError, 2), (DataError, 1), (RunError, 1)]
)
def test_every_error_is_a_carlib_error_with_the_promised_exit_code(kind, code):
    assert issubclass(kind, CarlibError)
    assert kind("why").exit_code == code
    # In a notebook it is that one line too.
    assert kind("why")._render_traceback_() == ["carlib: why"]


@pytest.mark.parametrize(
    ("name", "known", "expected"),
    [
        ("ligth", ["none", "light"], "; did you mean 'light'? Known: none, light"),
        ("Light", ["none", "light"], "; did you mean 'light'? Known: none, light"),
        ("zzz", ["none", "light"], ". Known: none, light"),
        ("", ["none"], ". Known: none"),
        (3, ["none"], ". Known: none"),
        ("lite0-quik", ("lite0-quick", "tiny"), "; did you mean 'lite0-quick'? Known: "),
        ("a", (name for name in "abc"), "; did you mean 'a'? Known: a, b, c"),
        ("a", [], ". Known: "),
    ],
)
def test_suggestion(name, known, expected):
    assert suggestion(name, known).startswith(expected)


def test_look_up_finds():
    table = {"tiny": object(), "none": None}
    assert look_up(table, "tiny", "backbone") is table["tiny"]
    assert look_up(table, "none", "backbone") is None


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("tinny", r"^unknown backbone 'tinny'; did you mean 'tiny'\? Known: tiny, lite$"),
        ("zzzz", r"^unknown backbone 'zzzz'\. Known: tiny, lite$"),
        ("a\nb", r"^unknown backbone 'a\\nb'\. Known: tiny, lite$"),
    ],
)
def test_look_up_refuses(name, message):
    with pytest.raises(UsageError, match=message):
        look_up({"tiny": 1, "lite": 2}, name, "backbone")
