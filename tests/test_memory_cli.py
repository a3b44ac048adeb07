"""carlib memory: figures, words, errors."""

from __future__ import annotations

import json

import pytest

from carlib.cli import main
from carlib.devices import device_named
from carlib.memory import TERMS, probe
from carlib.memory.instrument import LIMIT_MIB
from carlib.memory.probe import Line, Step

TINY = ["memory", "--recipe", "tiny-check"]
NEED = {
    *("requested", "expected", "expected_between", "safe", "terms", "largest_batch", "fits"),
    *("peak", "holders", "batch", "size", "work", "per_photo", "unknown", "name"),
}


def said(capsys, *arguments):
    assert main([*TINY, *map(str, arguments)]) == 0
    return capsys.readouterr().out


def figures(capsys, *arguments):
    return json.loads(said(capsys, *arguments, "--json"))


def refused(capsys, *arguments):
    assert main(list(map(str, arguments))) == 2
    shown = capsys.readouterr()
    assert not shown.out
    (line,) = shown.err.splitlines()
    return line


def test_the_figures(capsys):
    told = figures(capsys, "--gpu", "t4", "--classes", 7)
    assert set(told) == {"recipe", "device", "regime", "phases", "others"}
    assert told["recipe"] == "tiny-check"
    assert told["device"]["usable"] == device_named("T4").usable
    assert set(told["regime"]) == {"xla", "why"}
    assert list(told["phases"]) == ["head", "all"]
    assert list(told["others"]) == ["validation", "prediction"]
    for need in (*told["phases"].values(), *told["others"].values()):
        assert set(need) == NEED
        assert set(need["terms"]) == set(TERMS)
        own = sum(need["terms"].values()) - need["terms"]["context"] - need["terms"]["reserve"]
        assert own == need["safe"]
        low, high = need["expected_between"]
        assert 0 < need["requested"] <= need["expected"] < need["safe"]
        assert low <= need["expected"] <= high
        assert need["fits"] is True
        sizes = [need[key] for key in ("requested", "expected", "safe", "per_photo", "batch")]
        assert all(type(size) is int for size in [*sizes, low, high, *need["terms"].values()])
        assert 0 < len(need["holders"]) <= 10
    assert {type(need["largest_batch"]) for need in told["phases"].values()} == {int}
    assert {need["largest_batch"] for need in told["others"].values()} == {None}


@pytest.mark.parametrize(
    ("setting", "works"),
    [
        ("phases.head.views=2", ["caching head", "validation", "prediction"]),
        ("validation_share=0", ["prediction"]),
        ("phases.*.batch_size='auto'", ["validation", "prediction"]),
    ],
)
def test_settings_change_what_is_forecast(capsys, setting, works):
    told = figures(capsys, "--gpu", "16GB", "--set", setting)
    assert list(told["others"]) == works
    assert told["phases"]["all"]["batch"] == (64 if "auto" in setting else 32)


def test_auto_is_what_fits(capsys):
    settings = "phases.*.batch_size='auto'", "model.size=512"
    told = figures(capsys, "--gpu", "1GB", "--set", *settings)
    need = told["phases"]["all"]
    assert need["batch"] <= need["largest_batch"] < 2 * need["batch"] < 64
    assert need["fits"]


def test_the_words_and_the_exit_code_where_it_does_not_fit(capsys):
    text = said(capsys, "--gpu", "600MB", "--set", "model.size=1024", "--explain")
    assert text.startswith("tiny-check on 600MB: ")
    assert "all does NOT fit into 600MB: T is " in text
    assert "--explain says" not in text
    assert "--explain says" in said(capsys, "--gpu", "600MB", "--set", "model.size=1024")
    assert "head does NOT fit" in text
    assert "no XLA: determinism = 'exact' turns it off" in text
    assert "neither linear nor quadratic, a staircase" in text
    assert "to fit all into the " in text
    assert "--set phases.all.size=" in text


def test_what_is_explained_as_figures(capsys):
    told = figures(capsys, "--explain")["explain"]
    assert told["phase"] == "all"
    assert told["to_fit"] == {}
    assert [cut["blocks"] for cut in told["frozen"]] == [0, 1, 2, 3, 4, 5, 5]
    assert set(told["slots"]) == {"adam", "adamw", "sgd, momentum", "sgd"}


@pytest.mark.parametrize(
    ("environment", "usable", "words"),
    [
        ({}, None, "a CPU has no memory of its own: most of what is free on this machine now"),
        (
            {"TF_CPU_ALLOCATOR_USE_BFC": "true", LIMIT_MIB: "500"},
            500 * 2**20,
            f"its allocator's limit, {LIMIT_MIB}",
        ),
    ],
)
def test_the_device_that_is_there(capsys, monkeypatch, environment, usable, words):
    for name in ("TF_CPU_ALLOCATOR_USE_BFC", LIMIT_MIB):
        monkeypatch.delenv(name, raising=False)
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    device = figures(capsys)["device"]
    assert (device["name"], device["kind"], device["source"]) == ("the CPU", "cpu", words)
    assert usable in (None, device["usable"])
    assert "no XLA: Keras leaves it off on CPUs" in said(capsys)


def test_no_device_is_known(capsys, monkeypatch):
    from carlib.memory import present

    monkeypatch.setattr(present, "present_device", lambda: None)
    told = figures(capsys)
    assert told["device"] is None
    for need in told["phases"].values():
        assert (need["largest_batch"], need["fits"]) == (None, None)
    assert "against no device: --gpu names one" in said(capsys)


def test_the_picture(capsys, tmp_path):
    out = tmp_path / "new/picture.png"
    assert said(capsys, "--gpu", "T4", "--picture", out).endswith(f"picture: {out}\n")
    assert out.read_bytes().startswith(b"\x89PNG")
    assert figures(capsys, "--gpu", "T4", "--picture", out)["picture"] == str(out)
    assert "explain" not in figures(capsys, "--gpu", "T4", "--picture", out)


def test_the_probe_comes_first_and_beside(capsys, monkeypatch):
    """What it measures has its own tests."""
    steps = Step(8, 10**6, 2 * 10**6), Step(16, 2 * 10**6, 3 * 10**6)
    lines = tuple(Line(name, "CPU:0", *steps) for name in ("head", "all"))
    monkeypatch.setattr(probe, "probe", lambda recipe, classes: lines)
    told = figures(capsys, "--probe")
    assert set(told["probe"]) == {"head", "all"}
    assert told["probe"]["all"]["requested"] == 4 * 10**6
    assert told["probe"]["all"]["by_rules"] == told["phases"]["all"]["requested"]
    assert "measured on CPU:0, two steps a phase" in said(capsys, "--probe")


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--gpu", "T44"], "unknown device 'T44'; did you mean 'T4'?"),
        (["--gpu", ""], "unknown device ''"),
        (["--gpu", "1MB"], "a GPU of 1MB has nothing left"),
        (["--classes", "1"], "--classes must be 2 or more; received 1"),
        (["--picture", "a.jpg"], "--picture must end in .png; received 'a.jpg'"),
        (["--set", "model.backbone=tinny"], "unknown backbone 'tinny'; did you mean 'tiny'?"),
        (["--set", "phases.all.optimizer=adma"], "did you mean 'adam'"),
    ],
)
def test_what_is_refused(capsys, arguments, words):
    assert words in refused(capsys, *TINY, *arguments)


def test_an_unknown_recipe(capsys):
    line = refused(capsys, "memory", "--recipe", "tiny-chek")
    assert "unknown recipe 'tiny-chek'; did you mean 'tiny-check'?" in line
