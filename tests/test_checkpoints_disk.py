"""One checkpoint on disk: whatever is cut short or damaged is not taken for whole."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from pathlib import Path
from types import MappingProxyType
from typing import Any

import numpy as np
import pytest
from chains import (
    DAMAGES,
    ERRORS,
    FILES,
    append,
    assert_holds,
    content,
    empty,
    made,
    names,
    page,
    remove,
    sabotaged,
    save,
    snapshot,
    warnings,
)

from carlib.checkpoints import (
    Position,
    adopt,
    find_checkpoint,
    read_state,
    retain,
    verify,
    write_checkpoint,
)
from carlib.checkpoints.disk import ARRAYS, LAST, MANIFEST, STATE, name_of, read_manifest
from carlib.errors import RunError


@pytest.fixture(autouse=True)
def unflushed(monkeypatch: pytest.MonkeyPatch) -> None:
    """The order of the calls counts here, not what a real disk makes of them."""
    monkeypatch.setattr(os, "fsync", lambda handle: None)


# ---- round trip


def test_round_trip(tmp_path: Path) -> None:
    chain = tmp_path / "deep" / "chain"
    one = save(chain, 1)
    said = {"determinism": "fast", "origin": "/kaggle/input/a/run/chain", "session": 3}
    two = save(chain, 2, one, position=Position(2), why="phase", **said)
    assert (one.name, two.name) == ("000001-p1e3s1", "000002-p2e0s0")
    assert (one.number, two.number) == (1, 2)
    assert (one.parent, two.parent) == ("", one.name)
    assert (one.position, two.position) == (Position(1, 3, 1), Position(2, 0, 0))
    assert (one.determinism, one.origin, one.session, one.why) == ("exact", "", 1, "")
    assert {key: getattr(two, key) for key in said} == said
    assert two.why == "phase"
    for each in (one, two):
        assert each.recipe == "tiny-test"
        assert each.recipe_digest == "ab" * 32
        assert each.catalog_digest == "cd" * 32
        assert each.size == sum((each.path / part).stat().st_size for part in (ARRAYS, STATE))
        assert abs(datetime.fromisoformat(each.written) - datetime.now(UTC)) < timedelta(minutes=9)
    assert one.metrics == {"val_accuracy": 0.2}
    assert one.versions == {"keras": "3.13.2"}
    assert verify(one.path) == one
    assert_holds(one, 1)
    assert_holds(two, 2)
    assert (chain / LAST).read_text() == "000002-p2e0s0\n"
    assert sorted(content(chain)) == sorted(
        [LAST, *(f"{each.name}/{part}" for each in (one, two) for part in FILES)]
    )


def test_the_place_is_the_callers(tmp_path: Path) -> None:
    """Who writes two at a time has numbered them before the first is there."""
    four = write_checkpoint(tmp_path, snapshot(4), 4)
    nine = write_checkpoint(tmp_path, snapshot(9, parent=four.name), 9)
    assert names(tmp_path) == [four.name, nine.name, LAST]
    assert (four.number, nine.number, nine.parent) == (4, 9, four.name)
    assert name_of(1_234_567, Position(0, 10, 200)) == "1234567-p0e10s200"


def test_any_mapping_will_do(tmp_path: Path) -> None:
    one = save(tmp_path, 1, metrics=MappingProxyType({"loss": 0.5}), versions=MappingProxyType({}))
    assert (one.metrics, one.versions) == ({"loss": 0.5}, {})


def test_nothing_to_keep(tmp_path: Path) -> None:
    assert read_state(save(tmp_path, 1, arrays={}, state={})) == ({}, {})


@pytest.mark.parametrize(
    ("lower", "higher"),
    [
        (Position(), Position(0, 0, 1)),
        (Position(0, 0, 9), Position(0, 1, 0)),
        (Position(0, 9, 9), Position(1, 0, 0)),
        (Position(1, 9), Position(2)),
    ],
)
def test_positions_are_in_the_order_of_work(lower: Position, higher: Position) -> None:
    assert lower < higher


# ---- damage


def rewrite(**said: Any) -> Callable[[Path], None]:
    """Change the manifest as somebody with an editor would."""

    def change(path: Path) -> None:
        path.write_text(json.dumps({**json.loads(path.read_text()), **said}))

    return change


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (rewrite(format=2), "was written in format 2; this carlib reads 3: resume with"),
        (rewrite(format=None), "was written in format None; this carlib reads 3"),
        (rewrite(position={"phase": 9, "epoch": 9, "step": 9}), "damaged"),
        (rewrite(number=77), "damaged"),
        (rewrite(files=None), "damaged"),
        (rewrite(files={}), "damaged"),
        (rewrite(recipe_digest="ef" * 32), "damaged"),
        (rewrite(metrics={"val_accuracy": 1.0}), "damaged"),
        (rewrite(size=1), "damaged"),
        (rewrite(why="best"), "damaged"),
        (rewrite(more=None), "damaged"),
        (rewrite(digest=""), "damaged"),
        (lambda path: path.write_text("{}"), "no readable manifest: KeyError"),
        (lambda path: path.write_text("[]"), "no readable manifest: TypeError"),
        (lambda path: path.write_text("3"), "no readable manifest: TypeError"),
        (lambda path: path.write_bytes(b"\xff\xfe"), "no readable manifest: UnicodeDecodeError"),
    ],
)
def test_a_manifest_that_cannot_be_trusted(
    tmp_path: Path,
    caplog: pytest.LogCaptureFixture,
    damage: Callable[[Path], None],
    message: str,
) -> None:
    two, three = made(tmp_path, 3)[1:]
    damage(three.path / MANIFEST)
    with pytest.raises(RunError, match=message):
        read_manifest(three.path)
    if "was written in format" in message:
        with pytest.raises(RunError, match=message):
            find_checkpoint(tmp_path)
    else:
        assert find_checkpoint(tmp_path) == two
        assert message in warnings(caplog)[0]


def put(path: Path, place: int, value: int) -> None:
    """Change one byte of a file, in place: some disks wait for a file that is cut and rewritten."""
    with open(path, "r+b") as file:
        file.seek(place)
        file.write(bytes([value]))


@pytest.mark.parametrize("part", FILES)
def test_no_flipped_bit_passes(tmp_path: Path, part: str) -> None:
    whole = save(tmp_path, 1, arrays={"a": np.arange(3, dtype=np.int8)}, state={"value": 1})
    path = whole.path / part
    good = path.read_bytes()
    for bit in range(8 * len(good)):
        put(path, bit // 8, good[bit // 8] ^ 1 << bit % 8)
        with pytest.raises(RunError, match=whole.name):
            verify(whole.path)
        put(path, bit // 8, good[bit // 8])
    assert verify(whole.path) == whole


def test_reading_a_state_that_was_damaged_since_gives_nothing_but_a_run_error(
    tmp_path: Path,
) -> None:
    """numpy and zipfile raise a dozen kinds; none but RunError comes out."""
    whole = save(tmp_path, 1, arrays={"a": np.arange(3, dtype=np.int8)}, state={})
    path = whole.path / ARRAYS
    good = path.read_bytes()
    refused = 0
    for byte in range(len(good)):
        for value in (0x00, 0xFF, good[byte] ^ 1):
            put(path, byte, value)
            try:
                read_state(whole)
            except RunError as error:
                assert str(whole.path) in str(error)  # noqa: PT017
                refused += 1
        put(path, byte, good[byte])
    assert refused > len(good)
    for damage in DAMAGES[:-2]:
        shutil.rmtree(path, ignore_errors=True)
        path.write_bytes(good)
        damage(path)
        if damage is not append:  # a zip may have something behind it
            with pytest.raises(RunError, match=f"{whole.name} cannot be read"):
                read_state(whole)


@pytest.mark.parametrize("part", [ARRAYS, STATE])
@pytest.mark.parametrize("damage", [remove, page, empty])
def test_read_state_names_the_checkpoint(
    tmp_path: Path, part: str, damage: Callable[[Path], None]
) -> None:
    whole = save(tmp_path, 1)
    damage(whole.path / part)
    with pytest.raises(RunError, match=f"{whole.name} cannot be read"):
        read_state(whole)


def test_the_state_is_read_without_the_arrays(tmp_path: Path) -> None:
    whole = save(tmp_path, 1)
    state = read_state(whole)[1]
    remove(whole.path / ARRAYS)
    assert read_state(whole, arrays=False) == ({}, state)
    page(whole.path / STATE)
    with pytest.raises(RunError, match=f"{whole.name} cannot be read"):
        read_state(whole, arrays=False)


def test_a_state_that_is_no_json_is_not_written(tmp_path: Path) -> None:
    made(tmp_path, 1)
    before = content(tmp_path)
    with pytest.raises(TypeError, match="not JSON serializable"):
        save(tmp_path, 2, state={"value": np.float32(1)})
    assert content(tmp_path) == before


@pytest.mark.parametrize("array", [np.array([{}]), np.array(["a", None])])
def test_an_array_that_could_not_be_read_back_is_not_written(
    tmp_path: Path, array: np.ndarray
) -> None:
    made(tmp_path, 1)
    before = content(tmp_path)
    with pytest.raises(ValueError, match="Object arrays cannot be saved"):
        save(tmp_path, 2, arrays={"a": array})
    assert content(tmp_path) == before


# ---- crashes


@pytest.mark.parametrize("olds", [0, 1])
@pytest.mark.parametrize("kind", ERRORS)
@pytest.mark.parametrize(
    ("name", "calls"),
    [
        ("mkdir", 1),
        ("open", 7),
        ("write", 4),
        ("content", 40),
        ("fsync", 7),
        ("rename", 1),
        ("replace", 2),
    ],
)
def test_a_save_cut_anywhere_leaves_the_old_or_the_new_whole(
    tmp_path: Path,
    caplog: pytest.LogCaptureFixture,
    name: str,
    calls: int,
    kind: str,
    olds: int,
) -> None:
    seen: list[int] = []  # what is found after each try

    def chain() -> Path:
        return tmp_path / str(len(seen))

    def work() -> None:
        save(chain(), 2, find_checkpoint(chain()))

    def check(error: BaseException | None) -> None:
        found = find_checkpoint(chain())
        value = 0 if found is None else found.position.step
        if found is not None:
            assert_holds(found, value)
        assert value in (olds, 2)
        if error is None:
            assert value == 2
        if kind != "killed":
            assert not list(chain().rglob("*.aside*"))
        # Nothing half has a checkpoint's name; only the very first may not be in LAST yet.
        unnamed = found is not None and not (chain() / LAST).exists()
        assert [LAST in said for said in warnings(caplog)] == [True] * unnamed
        assert not (unnamed and olds)

        caplog.clear()
        after = save(chain(), 3, found)
        assert after.number == (0 if found is None else found.number) + 1
        assert find_checkpoint(chain()) == after
        assert_holds(after, 3)
        assert not warnings(caplog)
        retain(chain(), [after.name])
        assert names(chain()) == [after.name, LAST]
        seen.append(value)
        made(chain(), olds)

    made(chain(), olds)
    assert sabotaged(work, kind, name, check) >= calls
    assert seen[-1] == 2
    if name != "replace":
        assert seen[0] == olds


# ---- adoption


def test_adopt_copies_whole_ones(tmp_path: Path) -> None:
    source, chain = tmp_path / "input", tmp_path / "run" / "chain"
    saved = made(source, 3)
    before = content(source)
    adopt(source, chain, ["", saved[0].name, saved[2].name, saved[2].name])
    assert sorted(path.name for path in chain.iterdir()) == [saved[0].name, saved[2].name]
    found = find_checkpoint(chain)
    assert found == verify(chain / saved[2].name)
    assert_holds(found, 3)
    assert content(source) == before
    assert save(chain, 4, found).name == "000004-p1e3s4"
    adopt(source, chain, [saved[0].name])  # there already: stays as it is
    assert_holds(verify(chain / saved[0].name), 1)


def test_what_is_adopted_from_a_read_only_input_can_be_removed(tmp_path: Path) -> None:
    """Kaggle mounts inputs read-only, and modes must not travel with the copy."""
    source, chain = tmp_path / "input", tmp_path / "chain"
    (one,) = made(source, 1)
    for part in FILES:
        (one.path / part).chmod(0o444)
    one.path.chmod(0o555)
    adopt(source, chain, [one.name])
    copy = chain / one.name
    assert [path.stat().st_mode & 0o200 for path in (copy, *copy.iterdir())] == [0o200] * 4
    one.path.chmod(0o755)


def test_adopt_takes_the_three_files_and_nothing_else(tmp_path: Path) -> None:
    source, chain = tmp_path / "input", tmp_path / "chain"
    (one,) = made(source, 1)
    (one.path / "notes.txt").write_text("mine")
    (one.path / "more").mkdir()
    adopt(source, chain, [one.name])
    assert sorted(content(chain)) == sorted(f"{one.name}/{part}" for part in FILES)


@pytest.mark.parametrize("damage", DAMAGES)
@pytest.mark.parametrize("part", FILES)
def test_adopt_refuses_damaged_ones(
    tmp_path: Path, part: str, damage: Callable[[Path], None]
) -> None:
    source, chain = tmp_path / "input", tmp_path / "chain"
    one, two = made(source, 2)
    damage(two.path / part)
    with pytest.raises(RunError, match=two.name):
        adopt(source, chain, [one.name, two.name])
    assert [path.name for path in chain.iterdir()] == [one.name]
    assert find_checkpoint(chain) == verify(chain / one.name)


@pytest.mark.parametrize("damage", [*DAMAGES, None])
@pytest.mark.parametrize("part", FILES)
def test_adopt_takes_the_place_of_a_damaged_one(
    tmp_path: Path, part: str, damage: Callable[[Path], None] | None
) -> None:
    """Whole ones stay as they are, the source's being damaged or gone."""
    source, chain = tmp_path / "input", tmp_path / "chain"
    one, two = made(source, 2)
    adopt(source, chain, [one.name, two.name])
    before = content(chain)
    if damage:
        damage(chain / two.name / part)
        page(one.path / STATE)
    else:
        shutil.rmtree(chain / two.name)
        shutil.rmtree(one.path)
    adopt(source, chain, [one.name, two.name])
    assert content(chain) == before
    assert names(chain) == [one.name, two.name]


def test_adopt_refuses_missing_ones(tmp_path: Path) -> None:
    made(tmp_path / "input", 1)
    with pytest.raises(RunError, match="000009-p0e0s0 has no readable manifest"):
        adopt(tmp_path / "input", tmp_path / "chain", ["000009-p0e0s0"])
    assert find_checkpoint(tmp_path / "chain") is None


@pytest.mark.parametrize("kind", ERRORS)
@pytest.mark.parametrize(
    ("name", "calls"), [("mkdir", 1), ("open", 5), ("write", 3), ("fsync", 5), ("rename", 1)]
)
def test_an_adoption_cut_anywhere_leaves_nothing_half(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, name: str, calls: int, kind: str
) -> None:
    source = tmp_path / "input"
    (one,) = made(source, 1)
    chains = [tmp_path / "chain 0"]
    chains[0].mkdir()

    def check(error: BaseException | None) -> None:
        chain = chains[-1]
        found = find_checkpoint(chain)
        if error is None:
            assert found is not None
        if found is not None:
            assert_holds(found, 1)
        if kind != "killed":
            assert not list(chain.rglob("*.aside*"))
        adopt(source, chain, [one.name])
        assert_holds(find_checkpoint(chain), 1)
        assert [path.name for path in chain.iterdir()] == [one.name]
        assert all(LAST in said for said in warnings(caplog))  # the next save writes it
        chains.append(tmp_path / f"chain {len(chains)}")
        chains[-1].mkdir()

    def work() -> None:
        adopt(source, chains[-1], [one.name])

    assert sabotaged(work, kind, name, check) >= calls


@pytest.mark.parametrize("kind", ["killed", "interrupted", "failed"])
@pytest.mark.parametrize(
    ("name", "calls"),
    [("unlink", 3), ("rmdir", 1), ("mkdir", 1), ("write", 3), ("fsync", 5), ("rename", 1)],
)
def test_a_replacement_cut_anywhere_leaves_nothing_half(
    tmp_path: Path, name: str, calls: int, kind: str
) -> None:
    source = tmp_path / "input"
    (one,) = made(source, 1)
    chains: list[Path] = []

    def fresh() -> None:
        chains.append(tmp_path / f"chain {len(chains)}")
        adopt(source, chains[-1], [one.name])
        page(chains[-1] / one.name / STATE)

    def check(error: BaseException | None) -> None:
        if error is None:
            assert_holds(verify(chains[-1] / one.name), 1)
        with suppress(RunError):  # that none is whole
            found = find_checkpoint(chains[-1])
            if found is not None:
                assert_holds(found, 1)
        adopt(source, chains[-1], [one.name])
        assert_holds(verify(chains[-1] / one.name), 1)
        assert names(chains[-1]) == [one.name]
        fresh()

    fresh()
    assert sabotaged(lambda: adopt(source, chains[-1], [one.name]), kind, name, check) >= calls
