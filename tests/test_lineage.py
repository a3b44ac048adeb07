"""The past of a run read off its chain, and every digest checked again."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import chains
import pytest
from lineages import MIDDLE, NEWEST, START, build, row, state

from carlib.checkpoints import Checkpoint, Position, find_checkpoint
from carlib.checkpoints.disk import ARRAYS, LAST, MANIFEST
from carlib.errors import RunError
from carlib.lineage import (
    UNCLOSED,
    Verdict,
    read_lineage,
    read_sessions,
    reading,
    verify_chain,
)
from carlib.runfolder import SESSIONS, RunFolder, write_table


@pytest.fixture
def run(tmp_path: Path) -> RunFolder:
    return build(tmp_path / "run")


def named(verdicts: list[Verdict]) -> dict[str, Verdict]:
    return {verdict.name: verdict for verdict in verdicts}


def goes_on_from(chain: Path) -> str:
    """The checkpoint that training goes on from."""
    from carlib.train.start import _needs

    try:
        found = find_checkpoint(chain, _needs)
    except RunError:
        return ""
    return found.name if found else ""


# ---- the log


@pytest.mark.parametrize(
    ("where", "links", "numbers"),
    [
        ("run", [START, MIDDLE, NEWEST], [1, 2]),
        ("run/chain", [START, MIDDLE, NEWEST], [1, 2]),
        (f"run/chain/{NEWEST}", [NEWEST], [1, 2]),
        (f"run/chain/{MIDDLE}", [MIDDLE], [1]),
        (f"run/chain/{START}", [START], []),
        ("copied elsewhere", [START, MIDDLE, NEWEST], [1, 2]),
        ("one renamed", ["one renamed"], [1, 2]),
    ],
)
def test_what_a_path_tells(
    where: str, links: list[str], numbers: list[int], run: RunFolder, tmp_path: Path
) -> None:
    shutil.copytree(run.chain, tmp_path / "copied elsewhere")
    shutil.copytree(run.chain / NEWEST, tmp_path / "one renamed")
    before = chains.content(tmp_path)
    found = read_lineage(tmp_path / where)
    verify_chain(tmp_path / where)
    assert chains.content(tmp_path) == before
    assert [link.name for link in found.links] == links
    assert [sitting.number for sitting in found.sessions] == numbers
    assert (found.recipe, found.monitor) == ("tiny-test", "AUC")
    assert [link.damage for link in found.links] == [""] * len(links)


def test_the_current_folder_is_a_path_too(run: RunFolder, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(run.chain / MIDDLE)
    assert [link.name for link in read_lineage(".").links] == [MIDDLE]
    assert [verdict.name for verdict in verify_chain("..")] == [START, MIDDLE, NEWEST, LAST]


def test_what_is_said_of_a_session(run: RunFolder) -> None:
    first, second = read_lineage(run.root).sessions
    assert (first.start, first.stop) == ("2025-03-01T10:00:00+00:00", "2025-03-01T10:01:30+00:00")
    assert (first.seconds, first.why, first.saves, first.saving) == (90.0, "the clock", 2, 0.9)
    assert (first.where, first.device) == ("kaggle-batch, host-7", "Tesla T4")
    assert (first.parent, first.origin, first.changed, first.updated) == ("", "", (), ())
    assert (first.phase, first.epoch, first.value) == ("007", 1, 0.25)
    assert (second.photos, second.steps) == (64, 4)
    assert (second.total_hours, second.total_photos) == (0.05, 128)
    assert (second.stop, second.why) == ("", UNCLOSED)
    assert (second.parent, second.origin) == (MIDDLE, "/in/a/chain")
    assert first.versions == {"carlib": "0.1.0", "keras": "3.13.2"}


def test_what_is_said_of_a_checkpoint(run: RunFolder) -> None:
    first, middle, newest = read_lineage(run.chain).links
    assert (first.best, middle.best, newest.best) == ("", MIDDLE, MIDDLE)
    assert newest.checkpoint is not None
    assert newest.checkpoint.position == Position(0, 3, 1)
    assert (newest.checkpoint.session, newest.checkpoint.why) == (2, "interval")
    assert newest.checkpoint.parent == MIDDLE
    assert read_lineage(run.chain).best == {
        "phase": "007",
        "epoch": 2,
        "value": 0.5,
        "checkpoint": MIDDLE,
    }


@pytest.mark.parametrize(
    ("text", "parent", "origin", "changed"),
    [
        ("", "", "", ()),
        (NEWEST, NEWEST, "", ()),
        (f"{NEWEST} of /in/a of b/chain", NEWEST, "/in/a of b/chain", ()),
        (f"{NEWEST} with seed: 0 -> 1", NEWEST, "", ("seed: 0 -> 1",)),
        (
            f"{NEWEST} of /in/fun with cars/chain with phases.all.epochs: 2 -> 3; model.weights: "
            "imagenet -> /w/b0 with top.h5; phases: 'more' is new",
            NEWEST,
            "/in/fun with cars/chain",
            (
                "phases.all.epochs: 2 -> 3",
                "model.weights: imagenet -> /w/b0 with top.h5",
                "phases: 'more' is new",
            ),
        ),
    ],
)
def test_what_a_session_went_on_from(
    text: str, parent: str, origin: str, changed: tuple[str, ...], tmp_path: Path
) -> None:
    write_table(tmp_path / "t.csv", [row(1, parent=text)], SESSIONS)
    (sitting,) = read_sessions(tmp_path / "t.csv")
    assert (sitting.parent, sitting.origin, sitting.changed) == (parent, origin, changed)


@pytest.mark.parametrize(
    ("before", "after", "updated"),
    [
        ("keras 3.13.2", "keras 3.13.2", ()),
        ("keras 3.13.2 numpy 2.0.2", "keras 3.15.0 numpy 2.0.2", ("keras 3.13.2 -> 3.15.0",)),
        ("keras 3.13.2", "", ("keras 3.13.2 -> none",)),
        ("", "numpy 2.0.2", ("numpy none -> 2.0.2",)),
    ],
)
def test_versions_that_changed(
    before: str, after: str, updated: tuple[str, ...], tmp_path: Path
) -> None:
    rows = [row(1, versions=before), row(2, versions=after)]
    write_table(tmp_path / "t.csv", rows, SESSIONS)
    first, second = read_sessions(tmp_path / "t.csv")
    assert (first.updated, second.updated) == ((), updated)


@pytest.mark.parametrize(
    ("rows", "whys"),
    [
        # A session that failed before it saved, an error that came after the last save,
        # a table that lags by one save, one that was left behind, none at all.
        ([row(1), row(2), row(3, why="failed: OSError")], ["the clock"] * 2 + ["failed: OSError"]),
        ([row(1), row(2, why="failed: OSError")], ["the clock", "failed: OSError"]),
        ([row(1), row(2, why="running", seconds=80.0)], ["the clock", UNCLOSED]),
        ([row(1, why="SIGTERM")], ["the clock", UNCLOSED]),
        ([], ["the clock", UNCLOSED]),
    ],
)
def test_who_knows_more_is_heard(
    rows: list[dict[str, Any]], whys: list[str], run: RunFolder
) -> None:
    write_table(run.sessions, rows, SESSIONS)
    sessions = read_lineage(run.root).sessions
    assert [sitting.why for sitting in sessions] == whys
    assert sessions[-1].seconds == 90.0
    assert len(read_lineage(run.chain).sessions) == 2


def test_a_run_that_never_saved(tmp_path: Path) -> None:
    run = RunFolder(tmp_path)
    write_table(run.sessions, [row(1, why="running", epoch=0, value="")], SESSIONS)
    found = read_lineage(tmp_path)
    assert [(each.why, each.epoch, each.value) for each in found.sessions] == [(UNCLOSED, 0, None)]
    assert (found.links, found.best, found.recipe) == ((), None, "")
    assert verify_chain(tmp_path) == []


def test_a_damaged_table_leaves_what_the_chain_says(
    run: RunFolder, caplog: pytest.LogCaptureFixture
) -> None:
    run.sessions.write_text("session\n1\n")
    assert len(read_lineage(run.root).sessions) == 2
    (said,) = chains.warnings(caplog)
    assert "sessions.csv lacks the columns start, stop" in said
    assert said.endswith("; what the chain says counts")


@pytest.mark.parametrize("file", chains.FILES)
@pytest.mark.parametrize("damage", chains.DAMAGES)
def test_damage(damage: Callable[[Path], None], file: str, run: RunFolder) -> None:
    """The log names it, unless it is in the arrays, which only ``verify_chain`` reads."""
    damage(run.chain / NEWEST / file)
    found = read_lineage(run.chain)
    assert [link.name for link in found.links] == [START, MIDDLE, NEWEST]
    assert [bool(link.damage) for link in found.links] == [False, False, file != ARRAYS]
    assert (found.links[-1].checkpoint is None) == (file == MANIFEST)
    assert len(found.sessions) == (2 if file == ARRAYS else 1)
    said = named(verify_chain(run.root))
    assert [name for name, each in said.items() if not each.whole] == [NEWEST]
    reason = said[NEWEST].reason
    assert file in reason or "manifest" in reason
    assert "\n" not in reason
    assert not reason.startswith(("checkpoint", str(run.chain)))
    assert [name for name, each in said.items() if each.resumes] == [MIDDLE]
    assert goes_on_from(run.chain) == MIDDLE


def test_a_checkpoint_that_vanishes_is_left_out(
    run: RunFolder, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = reading.read_manifest

    def slow(folder: Path) -> Checkpoint:
        if folder.name == START:
            shutil.rmtree(folder)
        return real(folder)

    monkeypatch.setattr(reading, "read_manifest", slow)
    assert [link.name for link in read_lineage(run.root).links] == [MIDDLE, NEWEST]


def test_nothing_there(tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    for path in (tmp_path / "empty", tmp_path / "nowhere", tmp_path / f"chain/{NEWEST}"):
        for look in (read_lineage, verify_chain):
            with pytest.raises(RunError, match=r"there is no run under .*; give a run folder, its"):
                look(path)


@pytest.mark.parametrize(
    ("rows", "columns", "message"),
    [
        ([{"session": 1, "start": ""}], ("session", "start"), "lacks the columns stop, seconds,"),
        ([row(1, seconds="long")], SESSIONS, "t.csv is damaged: could not convert"),
        ([row(1, photos="")], SESSIONS, "t.csv is damaged: invalid literal"),
    ],
)
def test_a_table_of_sessions_that_is_none(
    rows: list[dict[str, Any]], columns: tuple[str, ...], message: str, tmp_path: Path
) -> None:
    write_table(tmp_path / "t.csv", rows, columns)
    with pytest.raises(RunError, match=message):
        read_sessions(tmp_path / "t.csv")


# ---- the verdicts


def test_a_whole_run(run: RunFolder) -> None:
    assert verify_chain(run.root) == [
        Verdict(START, True),
        Verdict(MIDDLE, True),
        Verdict(NEWEST, True, resumes=True),
        Verdict(LAST, True, f"names {NEWEST}"),
        Verdict("best/model.keras", True, "of epoch 2"),
    ]
    assert verify_chain(run.chain) == verify_chain(run.root)[:-1]
    assert verify_chain(run.chain / NEWEST) == [
        Verdict(MIDDLE, True),
        Verdict(NEWEST, True, resumes=True),
    ]


def gone(folder: Path) -> None:
    shutil.rmtree(folder)


def unreadable(folder: Path) -> None:
    chains.flip(folder / ARRAYS)


def foreign(folder: Path) -> None:
    said = json.loads((folder / MANIFEST).read_text())
    (folder / MANIFEST).write_text(json.dumps({**said, "format": 2}))


def cut_removal(folder: Path) -> None:
    (folder / MANIFEST).unlink()


@pytest.mark.parametrize(
    ("harms", "damaged", "start"),
    [
        # MIDDLE holds the best epoch, which NEWEST counts on.
        ([(gone, MIDDLE)], {MIDDLE: f"is not there, and {NEWEST} needs it"}, START),
        ([(unreadable, MIDDLE)], {MIDDLE: "arrays.npz is damaged (its SHA-256"}, START),
        ([(foreign, MIDDLE)], {MIDDLE: "written in format 2; this carlib reads"}, ""),
        ([(foreign, NEWEST)], {NEWEST: "written in format 2; this carlib reads"}, ""),
        ([(foreign, START)], {START: "written in format 2; this carlib reads"}, NEWEST),
        ([(cut_removal, START)], {START: "has no manifest.json: it was copied in part"}, NEWEST),
        ([(unreadable, START), (unreadable, NEWEST)], {START: "arrays", NEWEST: "arrays"}, MIDDLE),
        (
            [(unreadable, name) for name in (START, MIDDLE, NEWEST)],
            {START: "arrays.npz", MIDDLE: "arrays.npz", NEWEST: "arrays.npz"},
            "",
        ),
    ],
)
def test_where_a_run_goes_on(
    harms: list[tuple[Callable[[Path], None], str]],
    damaged: dict[str, str],
    start: str,
    run: RunFolder,
) -> None:
    for harm, name in harms:
        harm(run.chain / name)
    said = named(verify_chain(run.root))
    assert [name for name, each in said.items() if not each.whole] == list(damaged)
    for name, reason in damaged.items():
        assert reason in said[name].reason
    assert "".join(name for name, each in said.items() if each.resumes) == start
    assert goes_on_from(run.chain) == start


@pytest.mark.parametrize(
    ("harm", "words"), [(gone, "which is not there"), (unreadable, "which is damaged")]
)
def test_a_checkpoint_without_its_best_epoch(
    harm: Callable[[Path], None], words: str, run: RunFolder
) -> None:
    harm(run.chain / MIDDLE)
    for path in (run.chain, run.chain / NEWEST):
        said = named(verify_chain(path))
        assert (said[NEWEST].whole, said[MIDDLE].whole) == (True, False)
        assert said[NEWEST].reason == (
            f"no run can go on from it: its best epoch lies in {MIDDLE}, {words}"
        )


@pytest.mark.parametrize(
    ("text", "whole", "reason"),
    [
        (f"{NEWEST}\n", True, f"names {NEWEST}"),
        (MIDDLE, True, f"names {MIDDLE}"),  # a kill came between a checkpoint and its LAST
        ("000009-p1e0s0\n", False, "names '000009-p1e0s0', which is not there"),
        ("", False, "names '', which is not there"),
        ("x" * 5000, False, f"names '{'x' * 60}', which is not there"),
        (None, False, "cannot be read: No such file or directory"),
    ],
)
def test_last(text: str | None, whole: bool, reason: str, run: RunFolder) -> None:
    (run.chain / LAST).unlink()
    if text is not None:
        (run.chain / LAST).write_text(text)
    said = named(verify_chain(run.chain))
    assert said[LAST] == Verdict(LAST, whole, reason)
    assert said[NEWEST].resumes


@pytest.mark.parametrize(
    ("harm", "reason"),
    [
        (lambda run: chains.flip(run.model), "is damaged (its SHA-256 is not that in"),
        (lambda run: run.model.unlink(), "cannot be checked: "),
        (lambda run: run.model_card.unlink(), "model.json is not there"),
        (lambda run: run.model_card.write_text("[]"), "cannot be checked: "),
        (lambda run: run.model_card.write_text("{}"), "cannot be checked: 'sha256'"),
    ],
)
def test_the_best_model(harm: Callable[[RunFolder], object], reason: str, run: RunFolder) -> None:
    harm(run)
    *others, said = verify_chain(run.root)
    assert (said.name, said.whole) == ("best/model.keras", False)
    assert reason in said.reason
    assert all(each.whole for each in others)


def test_before_the_first_epoch_there_is_no_best_model(tmp_path: Path) -> None:
    run = RunFolder(tmp_path)
    chains.save(run.chain, 0, position=Position(), state=state())
    assert [verdict.name for verdict in verify_chain(tmp_path)] == [START, LAST]


def test_a_state_that_says_nothing_of_a_run(tmp_path: Path) -> None:
    chains.made(tmp_path, 2)
    found = read_lineage(tmp_path)
    assert (found.sessions, found.best, found.monitor) == ((), None, "")
    assert [(link.best, link.damage) for link in found.links] == [("", "")] * 2
    assert all(verdict.whole for verdict in verify_chain(tmp_path))


# ---- a run of its own, and a branch of it


def test_a_branch_knows_where_it_comes_from(photos: Path, recipe: Any, tmp_path: Path) -> None:
    from carlib.catalog import read_catalog
    from carlib.session import Session
    from carlib.spec import with_settings
    from carlib.train import train_model

    catalog, one, other = read_catalog(photos), tmp_path / "one", tmp_path / "other"
    cut = train_model(recipe, catalog, one, session=Session(stop_after=4))
    assert cut.why == "stop-after"
    point = read_lineage(one).links[-1].name
    longer = with_settings(recipe, ["phases.all.epochs=3"])
    done = train_model(longer, catalog, other, resume=str(one), allow=["epochs"])
    assert done.done
    found = read_lineage(other)
    first, second = found.sessions
    assert (first.why, first.parent, first.steps) == ("stop-after", "", 4)
    assert (second.why, second.parent, second.origin) == ("done", point, str(one / "chain"))
    assert second.changed == ("phases.all.epochs: 2 -> 3",)
    assert (second.phase, second.epoch, second.steps) == ("all", 4, 8)
    assert second.total_photos == first.photos + second.photos == 12 * 16
    assert second.total_hours == pytest.approx((first.seconds + second.seconds) / 3600, abs=1e-4)
    assert second.saves > 0 < second.saving < second.seconds
    assert second.updated == ()
    shutil.copytree(other / "chain", tmp_path / "copied")
    copied = read_lineage(tmp_path / "copied")
    assert [(each.number, each.why, each.origin) for each in copied.sessions] == [
        (each.number, each.why, each.origin) for each in found.sessions
    ]
    assert copied.best == found.best
    assert all(verdict.whole for verdict in verify_chain(other))
    assert [each.name for each in verify_chain(other) if each.resumes] == [found.links[-1].name]
    assert found.links[-1].checkpoint is not None
    assert found.links[-1].checkpoint.why == "phase"
