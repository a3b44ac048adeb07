"""A chain of checkpoints: the newest whole one is found, wherever it lies, and what stays fits."""

from __future__ import annotations

import dataclasses
import errno
import itertools
import json
import os
import re
import shutil
from collections.abc import Callable, Iterable
from contextlib import suppress
from pathlib import Path

import numpy as np
import pytest
from chains import (
    DAMAGES,
    ERRORS,
    FILES,
    assert_holds,
    content,
    empty,
    folder,
    made,
    names,
    page,
    remove,
    sabotaged,
    save,
    warnings,
)

from carlib.checkpoints import Checkpoint, Position, find_chains, find_checkpoint, retain, verify
from carlib.checkpoints.chain import DEPTH, next_number
from carlib.checkpoints.disk import ARRAYS, LAST, MANIFEST, STATE, read_manifest
from carlib.errors import CarlibError, RunError


@pytest.fixture(autouse=True)
def unflushed(monkeypatch: pytest.MonkeyPatch) -> None:
    """The order of the calls counts here, not what a real disk makes of them."""
    monkeypatch.setattr(os, "fsync", lambda handle: None)


# ---- the newest


@pytest.mark.parametrize("name", ["chain", "chain/inside"])
def test_no_chain_no_checkpoint(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, name: str
) -> None:
    (tmp_path / "chain").write_text("a file")
    assert find_checkpoint(tmp_path / "none") is None
    assert find_checkpoint(tmp_path / name) is None
    (tmp_path / "empty").mkdir()
    assert find_checkpoint(tmp_path / "empty") is None
    assert not warnings(caplog)


def test_the_newest_is_found_by_number_not_by_text_or_age(tmp_path: Path) -> None:
    made(tmp_path, 3)
    os.rename(tmp_path / "000003-p1e3s3", tmp_path / "aside")
    shutil.copytree(tmp_path / "aside", tmp_path / "elsewhere")
    last = save(tmp_path, 7, read_manifest(tmp_path / "000002-p1e3s2"))
    os.utime(last.path, (0, 0))
    assert find_checkpoint(tmp_path) == last
    big = save(tmp_path, 8, dataclasses.replace(last, number=999_999))
    assert big.name == "1000000-p1e3s8"
    assert find_checkpoint(tmp_path) == big
    assert save(tmp_path, 9, big).number == 1_000_001


def test_of_two_with_one_number_the_one_further_on_is_newer(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Two sessions went on from one checkpoint, and their chains were put together."""
    (one,) = made(tmp_path, 1)
    for position in (Position(1, 9, 3), Position(1, 10, 1), Position(1, 2, 50)):
        branch = save(tmp_path / "branch", 2, one, position=position)
        os.rename(branch.path, tmp_path / branch.name)
    for order in itertools.permutations(tmp_path.glob("0*")):
        with monkeypatch.context() as patch:
            patch.setattr(Path, "iterdir", lambda _, order=order: iter(order))
            found = find_checkpoint(tmp_path)
        assert found is not None
        assert found.position == Position(1, 10, 1)


def test_numbers_go_on_after_the_parent_even_in_an_empty_chain(tmp_path: Path) -> None:
    """A branch of another run does not start again at 1."""
    parent = made(tmp_path / "old", 3)[-1]
    assert next_number(tmp_path / "new", None) == 1
    assert next_number(tmp_path / "old", None) == 4
    assert next_number(tmp_path / "old", dataclasses.replace(parent, number=41)) == 42
    assert save(tmp_path / "new", 4, parent).name == "000004-p1e3s4"


def test_strangers_in_the_chain_are_left_alone(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    one, newest = made(tmp_path, 2)
    for name in ("notes", "000009", "000009-p0e0", "9-p0e0s0", "000009-p0e0s0 copy"):
        shutil.copytree(newest.path, tmp_path / name)
    (tmp_path / "000009-p0e0s0").write_text("a file")
    before = content(tmp_path)
    assert find_checkpoint(tmp_path) == newest
    retain(tmp_path, [newest.name], [one.name])
    assert content(tmp_path) == before
    assert not warnings(caplog)


# ---- damage: always the one before, and named


@pytest.mark.parametrize("damage", DAMAGES)
@pytest.mark.parametrize("part", FILES)
def test_a_damaged_one_is_named_and_passed_over(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, part: str, damage: Callable[[Path], None]
) -> None:
    one, two, three = made(tmp_path, 3)
    damage(three.path / part)
    with pytest.raises(RunError, match=re.escape(str(three.path))):
        verify(three.path)
    assert find_checkpoint(tmp_path) == two
    assert_holds(two, 2)
    (said,) = warnings(caplog)
    assert three.name in said
    assert "manifest" in said if part == MANIFEST else part in said
    assert "\n" not in said

    # The next save takes a new number; the damaged one stays as it is, for people to look at.
    caplog.clear()
    damaged = content(three.path)
    four = save(tmp_path, 4, two)
    assert four.name == "000004-p1e3s4"
    assert four.parent == two.name
    assert content(three.path) == damaged
    assert find_checkpoint(tmp_path) == four
    assert not warnings(caplog)

    damage(four.path / part)
    damage(two.path / part)
    assert find_checkpoint(tmp_path) == one
    assert [name in said for name, said in zip("432", warnings(caplog), strict=True)] == [True] * 3
    damage(one.path / part)
    with pytest.raises(RunError, match=r"^no checkpoint under .* is whole"):
        find_checkpoint(tmp_path)


@pytest.mark.parametrize(
    "damage",
    [
        remove,
        page,
        folder,
        empty,
        lambda path: path.write_text("000099-p9e9s9\n"),
        lambda path: path.write_text("../../etc\n"),
        lambda path: path.write_text("000001-p1e3s1\n000002-p1e3s2\n"),
        lambda path: path.write_bytes(b"\xff\0"),
        lambda path: path.write_bytes(b"\n" * 9 + b"ab\r\n" * 999),
    ],
    ids=["removed", "page", "folder", "empty", "not-there", "path", "two", "bytes", "long"],
)
def test_last_is_a_hint_for_people(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, damage: Callable[[Path], None]
) -> None:
    newest = made(tmp_path, 2)[-1]
    damage(tmp_path / LAST)
    assert find_checkpoint(tmp_path) == newest
    (said,) = warnings(caplog)
    assert str(tmp_path / LAST) in said
    assert "the folders count" in said
    assert "''" not in said
    assert len(said) < 300 + len(str(tmp_path))
    assert not set("\n\r\0") & set(said)
    caplog.clear()
    if damage is not folder:
        third = save(tmp_path, 3, newest)
        assert (tmp_path / LAST).read_text() == f"{third.name}\n"
    else:
        with pytest.raises(CarlibError, match=r"cannot write .*LAST: Is a directory"):
            save(tmp_path, 3, newest)
        (tmp_path / LAST).rmdir()
        third = save(tmp_path, 4, verify(tmp_path / "000003-p1e3s3"))
    assert find_checkpoint(tmp_path) == third
    assert not warnings(caplog)


@pytest.mark.parametrize("text", ["000001-p1e3s1\n", "000002-p1e3s2", " 000003-p1e3s3\r\n"])
def test_last_may_name_any_that_is_there(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, text: str
) -> None:
    """A save cut between the rename and LAST leaves the one before in it."""
    newest = made(tmp_path, 3)[-1]
    (tmp_path / LAST).write_text(text)
    assert find_checkpoint(tmp_path) == newest
    assert not warnings(caplog)


def test_last_of_a_chain_that_is_gone_is_named(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """A download that brought the file and none of the folders."""
    (one,) = made(tmp_path, 1)
    shutil.rmtree(one.path)
    assert find_checkpoint(tmp_path) is None
    (said,) = warnings(caplog)
    assert f"{tmp_path / LAST} names '000001-p1e3s1', which is not there" in said


def test_leftovers_are_never_taken_and_go_with_the_next_retention(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    newest = made(tmp_path, 2)[-1]
    for name in ("000003-p1e3s3.aside", "000009-p0e0s0.aside"):
        shutil.copytree(newest.path, tmp_path / name)
    (tmp_path / "LAST.aside").write_text("half")
    assert find_checkpoint(tmp_path) == newest
    third = save(tmp_path, 3, newest)
    assert third.name == "000003-p1e3s3"
    assert_holds(third, 3)
    retain(tmp_path, [third.name], [newest.name])
    assert names(tmp_path) == ["000002-p1e3s2", "000003-p1e3s3", "LAST"]
    assert not warnings(caplog)


# ---- what one needs


def needing(best: dict[int, str]) -> Callable[[Checkpoint], Iterable[str]]:
    return lambda checkpoint: [best.get(checkpoint.number, "")]


@pytest.mark.parametrize("damage", [*DAMAGES, None])
@pytest.mark.parametrize("part", FILES)
def test_one_whose_best_is_damaged_is_passed_over(
    tmp_path: Path,
    caplog: pytest.LogCaptureFixture,
    part: str,
    damage: Callable[[Path], None] | None,
) -> None:
    one, two, three, four = made(tmp_path, 4)
    needs = needing({4: two.name, 3: one.name})
    assert find_checkpoint(tmp_path, needs) == four
    assert not warnings(caplog)
    if damage:
        damage(two.path / part)
    else:
        shutil.rmtree(two.path)
    assert find_checkpoint(tmp_path) == four
    assert not warnings(caplog)
    assert find_checkpoint(tmp_path, needs) == three
    (said,) = warnings(caplog)
    assert f"{two.path}" in said
    assert f"and {four.name} needs it; passed over for the one before" in said
    assert "\n" not in said


def test_what_none_can_do_without(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    one, two, three, four = made(tmp_path, 4)
    whole = (two.path / STATE).read_bytes()
    page(two.path / STATE)
    needs = needing({4: two.name, 3: two.name, 2: two.name, 1: one.name})
    assert find_checkpoint(tmp_path, needs) == one
    first, second, third = warnings(caplog)
    assert two.name in first
    assert f"{four.name} needs it" in first
    assert two.name in second
    assert f"{three.name} needs it" in second
    assert two.name in third
    assert "needs it" not in third
    page(one.path / STATE)
    with pytest.raises(RunError, match=r"^no checkpoint under .* is whole"):
        find_checkpoint(tmp_path, needs)
    (two.path / STATE).write_bytes(whole)
    assert find_checkpoint(tmp_path, needs) == four


def test_needs_that_cannot_be_read_and_needs_of_another_format(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    one, two = made(tmp_path, 2)

    def needs(checkpoint: Checkpoint) -> Iterable[str]:
        if checkpoint == two:
            raise RunError("its state says nothing")
        return ()

    assert find_checkpoint(tmp_path, needs) == one
    assert warnings(caplog) == ["its state says nothing; passed over for the one before"]
    manifest = json.loads((one.path / MANIFEST).read_text())
    (one.path / MANIFEST).write_text(json.dumps({**manifest, "format": 99}))
    with pytest.raises(RunError, match="was written in format 99; this carlib reads"):
        find_checkpoint(tmp_path, needing({2: one.name}))


# ---- crashes


@pytest.mark.parametrize("kind", ERRORS)
@pytest.mark.parametrize(("name", "calls"), [("unlink", 9), ("rmdir", 3), ("open", 3)])
def test_a_retention_cut_anywhere_leaves_whole_ones(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, name: str, calls: int, kind: str
) -> None:
    tries = iter(range(100))
    chain = tmp_path / "0"

    def fresh() -> None:
        nonlocal chain
        chain = tmp_path / str(next(tries))
        saved = made(chain, 5)
        shutil.copytree(saved[-1].path, chain / "000006-p0e0s0.aside")

    def work() -> None:
        retain(chain, [newest[1], kept], newest)

    def check(error: BaseException | None) -> None:
        if isinstance(error, OSError):
            assert error.errno == errno.EIO
        for number in (5, 4, 2):
            assert_holds(verify(chain / f"00000{number}-p1e3s{number}"), number)
        assert find_checkpoint(chain) == verify(chain / "000005-p1e3s5")
        assert not warnings(caplog)
        # With all that is kept damaged, nothing that was half removed is taken for whole.
        shutil.copytree(chain, chain.with_name("damaged"))
        for number in (5, 4, 2):
            page(chain.with_name("damaged") / f"00000{number}-p1e3s{number}" / STATE)
        with suppress(RunError):  # that none is whole
            found = find_checkpoint(chain.with_name("damaged"))
            assert_holds(found, found.number)
            assert found.number in (3, 1)
        shutil.rmtree(chain.with_name("damaged"))
        caplog.clear()
        retain(chain, [newest[1], kept], newest)
        assert names(chain) == [kept, *newest, LAST]
        fresh()

    kept, newest = "000002-p1e3s2", ["000004-p1e3s4", "000005-p1e3s5"]
    fresh()
    assert sabotaged(work, kind, name, check) >= calls


PLACES = [Position(1), Position(1, 3, 2), Position(2), Position(2, 0, 4), Position(2, 0, 5)]
BEST = "000002-p1e3s2"
CUTS = {
    "mkdir": 1,
    "open": 11,
    "write": 4,
    "content": 40,
    "fsync": 7,
    "rename": 1,
    "replace": 2,
    "unlink": 13,
    "rmdir": 4,
}


@pytest.mark.once
@pytest.mark.parametrize("kind", ERRORS)
@pytest.mark.parametrize(("name", "calls"), CUTS.items())
def test_a_save_and_its_retention_cut_anywhere(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, name: str, calls: int, kind: str
) -> None:
    """The newest, the best, the one before and one of two phase ends stay; two go."""
    model = tmp_path / "model"
    sizes = []
    for value, position in enumerate(PLACES, start=1):
        written = save(model, value, position=position)
        sizes.append(sum(path.stat().st_size for path in written.path.iterdir()))
    for leftover in ("000006-p2e0s6.aside", "000009-p0e0s0.aside"):
        shutil.copytree(written.path, model / leftover)
    (model / "LAST.aside").write_text("half")
    (model / "notes.aside").write_text("half")
    budget = int(4.5 * max(sizes))
    chain = tmp_path / "0"
    results: list[int] = []

    def fresh() -> None:
        nonlocal chain
        chain = tmp_path / str(len(results))
        shutil.copytree(model, chain)

    def save_and_retain(value: int, parent: Checkpoint) -> Checkpoint:
        saved = save(chain, value, parent, position=Position(2, 0, value))
        retain(chain, [saved.name, BEST], [parent.name], budget)
        return saved

    def work() -> None:
        save_and_retain(6, read_manifest(chain / "000005-p2e0s5"))

    def check(error: BaseException | None) -> None:
        found = find_checkpoint(chain, lambda _: [BEST])
        assert found is not None
        assert found.name in ("000005-p2e0s5", "000006-p2e0s6")
        assert_holds(found, found.number)
        assert_holds(verify(chain / BEST), 2)
        if error is None:
            assert found.number == 6
        # No hand is needed: the next ones leave what they would have left anyway.
        after = save_and_retain(7, found)
        assert_holds(find_checkpoint(chain, lambda _: [BEST]), 7)
        assert after.number == found.number + 1
        assert names(chain) == [BEST, "000003-p2e0s0", found.name, after.name, LAST]
        for kept in (chain / BEST, chain / "000003-p2e0s0", found.path, after.path):
            verify(kept)
        assert not warnings(caplog)
        results.append(found.number)
        shutil.rmtree(chain)
        fresh()

    fresh()
    assert sabotaged(work, kind, name, check) >= calls
    assert results[-1] == 6
    assert set(results) <= {5, 6}
    if name in ("mkdir", "write", "content", "rename"):
        assert results[0] == 5


# ---- retention


@pytest.mark.parametrize(
    ("newest", "keep", "left"),
    [
        (2, [], [4, 5]),
        (1, [], [5]),
        (3, [2], [2, 3, 4, 5]),
        (2, [1, 5], [1, 4, 5]),
        (9, [], [1, 2, 3, 4, 5]),
        (1, [1, 2, 3, 4, 5], [1, 2, 3, 4, 5]),
    ],
)
@pytest.mark.parametrize("always", [True, False])
def test_retain(
    tmp_path: Path, newest: int, keep: list[int], left: list[int], always: bool
) -> None:
    saved = {each.number: each for each in made(tmp_path, 5)}
    asked = (saved[number].name for number in [*keep, *sorted(saved)[-newest:]])
    retain(tmp_path, *([asked] if always else [[], asked]))
    assert names(tmp_path) == [*(saved[number].name for number in left), LAST]
    for number in left:
        assert_holds(verify(saved[number].path), number)
    assert save(tmp_path, 6, saved[5]).number == 6


def lay(chain: Path, places: Iterable[tuple[str, int]]) -> dict[int, str]:
    """Lay folders of so many bytes, at positions "p1e0s0", and return their names by number."""
    laid = {}
    for number, (place, size) in enumerate(places, start=1):
        laid[number] = f"{number:06d}-{place}"
        (chain / laid[number]).mkdir(parents=True)
        (chain / laid[number] / MANIFEST).write_bytes(b"{")
        (chain / laid[number] / ARRAYS).write_bytes(bytes(size - 1))
    return laid


# Start, middle, end of phase 0, middle, end of phase 1, start-like middle, newest.
RUN = ("p0e0s0", "p0e1s0", "p1e0s0", "p1e1s0", "p2e0s0", "p2e0s7", "p2e1s0")


@pytest.mark.parametrize(
    ("sizes", "always", "wished", "budget", "left"),
    [
        ([10] * 7, [7], [], None, [3, 5, 7]),
        ([10] * 7, [7, 2], [6], None, [2, 3, 5, 6, 7]),
        ([10] * 7, [7, 2], [6, 4], 60, [2, 3, 4, 5, 6, 7]),
        ([10] * 7, [7, 2], [6, 4], 59, [2, 4, 5, 6, 7]),
        ([10] * 7, [7, 2], [6, 4], 49, [2, 4, 6, 7]),
        ([10] * 7, [7, 2], [6, 4], 39, [2, 6, 7]),
        ([10] * 7, [7, 2], [4, 6], 39, [2, 4, 7]),
        ([10] * 7, [7, 2], [6, 4], 29, [2, 7]),
        ([10] * 7, [7, 2], [6, 4], 19, [2, 7]),
        ([10] * 7, [7, 2], [6, 4], 0, [2, 7]),
        ([10] * 7, [], [], 0, []),
        ([10] * 7, [], [], None, [3, 5]),
        # A phase's end that is asked for counts once, and where it is asked for.
        ([10] * 7, [7, 5], [3], 30, [3, 5, 7]),
        ([10] * 7, [7], [3, 5, 7, 3], 20, [3, 7]),
        ([10] * 7, [7, 7], [], 20, [5, 7]),
        # One that is too large stops those after it: a smaller one is not worth more.
        ([10, 10, 10, 10, 90, 10, 10], [7], [], 99, [7]),
        ([10, 10, 10, 10, 90, 10, 10], [7], [6], 50, [6, 7]),
        ([10, 10, 10, 10, 90, 10, 10], [7], [6, 3], 50, [3, 6, 7]),
        ([10, 10, 90, 10, 10, 10, 10], [7], [], 50, [5, 7]),
        ([10, 10, 10, 10, 10, 10, 90], [7, 2], [], 99, [2, 7]),
        ([10, 10, 10, 10, 10, 10, 90], [7, 2], [], 110, [2, 5, 7]),
    ],
)
def test_retain_by_budget(
    tmp_path: Path,
    sizes: list[int],
    always: list[int],
    wished: list[int],
    budget: int | None,
    left: list[int],
) -> None:
    laid = lay(tmp_path, zip(RUN, sizes, strict=True))
    retain(tmp_path, (laid[i] for i in always), (laid[i] for i in wished), budget)
    assert names(tmp_path) == [laid[number] for number in left]


def test_what_retain_leaves_of_any_chain(tmp_path: Path) -> None:
    """The longest row of the wished, then of the phase ends, that fits; and nothing else."""
    fitting = set()
    for seed in range(200):
        draw = np.random.default_rng(seed)
        chain = tmp_path / str(seed)
        count = int(draw.integers(1, 10))
        sizes = dict(enumerate(draw.integers(2, 60, count).tolist(), start=1))
        places = [f"p{i // 3}e{draw.integers(2)}s{draw.integers(2)}" for i in range(count)]
        laid = lay(chain, zip(places, sizes.values(), strict=True))
        numbers = list(laid)
        always, wished = (draw.permutation(numbers)[: draw.integers(0, 4)].tolist() for _ in "ab")
        budget = None if seed % 10 == 0 else int(draw.integers(0, 250))
        retain(chain, [laid[i] for i in always], [laid[i] for i in wished], budget)
        left = {int(path.name[:6]) for path in chain.iterdir()}

        ends = [i for i in numbers if places[i - 1][0:2] != "p0" and places[i - 1][2:] == "e0s0"]
        order = [i for i in dict.fromkeys([*wished, *reversed(ends)]) if i not in always]
        assert set(always) <= left
        chosen = left - set(always)
        assert chosen == set(order[: len(chosen)])
        if budget is None:
            assert chosen == set(order)
            continue
        used = sum(sizes[i] for i in left)
        assert used <= budget or left == set(always)
        if len(chosen) < len(order):
            assert used + sizes[order[len(chosen)]] > budget
        fitting.add(len(chosen))
    assert fitting >= {0, 1, 2, 3}


def test_what_is_half_removed_goes_though_it_would_fit(tmp_path: Path) -> None:
    """A removal was cut: the manifest is gone, and most of the bytes."""
    laid = lay(tmp_path, [("p1e0s0", 90), ("p2e0s0", 10), ("p2e1s0", 10)])
    for name in (MANIFEST, ARRAYS):
        (tmp_path / laid[1] / name).unlink()
    (tmp_path / laid[1] / STATE).write_bytes(b"{}")
    retain(tmp_path, [laid[3]], [laid[1]], 50)
    assert names(tmp_path) == [laid[2], laid[3]]


@pytest.mark.parametrize("damage", DAMAGES)
@pytest.mark.parametrize("part", FILES)
def test_damaged_ones_go_like_others(
    tmp_path: Path, part: str, damage: Callable[[Path], None]
) -> None:
    one, two, three = made(tmp_path, 3)
    damage(one.path / part)
    (one.path / "more").mkdir()
    retain(tmp_path, [three.name], [two.name])
    assert names(tmp_path) == [two.name, three.name, LAST]


def test_what_always_names_stays_even_damaged(tmp_path: Path) -> None:
    laid = lay(tmp_path, [("p1e1s0", 10), ("p2e1s0", 10)])
    (tmp_path / laid[1] / MANIFEST).unlink()
    retain(tmp_path, [laid[2], laid[1]], [], 0)
    assert names(tmp_path) == [laid[1], laid[2]]


def test_retain_does_not_reach_through_a_link(tmp_path: Path) -> None:
    """A checkpoint that somebody linked in from a chain of its own."""
    saved = made(tmp_path / "other", 2)
    before = content(tmp_path / "other")
    chain = tmp_path / "chain"
    three = save(chain, 3, saved[1])
    for each in saved:
        (chain / each.name).symlink_to(each.path)
    (chain / "more.aside").symlink_to(tmp_path / "other")
    retain(chain, [three.name, saved[1].name])
    assert names(chain) == [saved[1].name, three.name, LAST]
    assert content(tmp_path / "other") == before


def test_retain_passes_over_names_that_are_not_there(tmp_path: Path) -> None:
    made(tmp_path, 3)
    retain(tmp_path, ["000003-p1e3s3", "", "000099-p0e0s0"], ["", "000002-p1e3s2", "000098-p0e0s0"])
    assert names(tmp_path) == ["000002-p1e3s2", "000003-p1e3s3", LAST]
    retain(tmp_path / "none", [])
    assert not (tmp_path / "none").exists()


def test_retain_says_what_it_may_not_remove(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    made(tmp_path, 3)

    def refuse(path: object, *args: object, **options: object) -> None:
        raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), path)

    monkeypatch.setattr(os, "unlink", refuse)
    with pytest.raises(CarlibError, match=r"cannot write .*: Permission denied; choose a folder"):
        retain(tmp_path, ["000003-p1e3s3"])
    monkeypatch.undo()
    assert find_checkpoint(tmp_path) == verify(tmp_path / "000003-p1e3s3")


# ---- where chains lie


def found(root: Path, *depth: int) -> list[str]:
    """What is found under a root, each by its path from there."""
    return [path.relative_to(root).as_posix() for path in find_chains(root, *depth)]


def listing(root: Path) -> dict[str, tuple[int, ...]]:
    """Every entry with what writing to it, or beside it, would change."""
    told = {}
    for path in [root, *root.rglob("*")]:
        said = path.lstat()
        told[path.as_posix()] = (said.st_mtime_ns, said.st_ctime_ns, said.st_size, said.st_mode)
    return told


LAYOUTS = [
    "my-run/run/chain",
    "notebooks/owner/my-run/run/chain",
    "datasets/owner/my-run/run/chain",
    "datasets/owner/my-run",
    "my-run/chain of räder",
    "a/b/c/d/e/f/g/h",
]


@pytest.mark.parametrize("layout", LAYOUTS)
def test_a_chain_is_found_wherever_it_lies(tmp_path: Path, layout: str) -> None:
    newest = made(tmp_path / layout, 2)[-1]
    (tmp_path / layout).parent.joinpath("__results__.html").write_text("<html>")
    before = listing(tmp_path)
    assert found(tmp_path) == [layout]
    assert listing(tmp_path) == before
    (chain,) = find_chains(tmp_path)
    assert find_checkpoint(chain) == newest


def test_every_chain_is_found_once(tmp_path: Path) -> None:
    for layout in LAYOUTS:
        made(tmp_path / layout, 1)
    assert sorted(found(tmp_path)) == sorted(LAYOUTS)
    assert found(tmp_path) == found(tmp_path)


def test_a_chain_beside_a_thousand_photos(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """They are not opened."""
    made(tmp_path / "cars" / "train" / "audi" / "run" / "chain", 1)
    for number in range(1000):
        (tmp_path / "cars" / "train" / "audi" / f"{number:06d}-p0e0s0.jpg").touch()
    before = listing(tmp_path)
    with monkeypatch.context() as patch:
        for module in ("builtins", "io", "os"):
            patch.setattr(__import__(module), "open", lambda *_, **__: pytest.fail("opened"))
        assert found(tmp_path) == ["cars/train/audi/run/chain"]
    assert listing(tmp_path) == before


def test_one_checkpoint_copied_alone(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    one = made(tmp_path / "run" / "chain", 2)[0]
    shutil.copytree(one.path, tmp_path / "input" / "my-run" / one.name)
    (chain,) = find_chains(tmp_path / "input")
    assert chain == tmp_path / "input" / "my-run"
    assert_holds(find_checkpoint(chain), 1)
    assert all(LAST in said for said in warnings(caplog))


def test_roots_of_all_kinds(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    chain = tmp_path / "run" / "chain"
    (one,) = made(chain, 1)
    assert found(chain) == ["."]
    assert list(find_chains(tmp_path / "none")) == []
    assert list(find_chains(chain / LAST)) == []
    assert list(find_chains(chain / LAST / "below")) == []
    assert list(find_chains(one.path)) == []
    (tmp_path / "run" / "a").symlink_to(chain)
    assert list(find_chains(tmp_path / "run" / "a")) == [tmp_path / "run" / "a"]
    (tmp_path / "run" / "a").unlink()
    monkeypatch.chdir(tmp_path)
    assert list(find_chains(Path("run"))) == [Path("run/chain")]
    assert list(find_chains(Path())) == [Path("run/chain")]
    monkeypatch.chdir(chain)
    assert [path.resolve() for path in find_chains(Path(".."))] == [chain]


def test_a_checkpoint_is_not_entered_but_a_chain_is(tmp_path: Path) -> None:
    (one,) = made(tmp_path, 1)
    made(one.path / "inner", 1)
    made(tmp_path / "branch", 1)
    assert found(tmp_path) == [".", "branch"]


@pytest.mark.parametrize("depth", [0, 1, 2, 3, DEPTH])
def test_depth(tmp_path: Path, depth: int) -> None:
    for level in range(DEPTH + 3):
        made(tmp_path / "/".join("abcdefghijkl"[:level]), 1)
    assert len(found(tmp_path, depth)) == depth + 1
    assert len(found(tmp_path)) == DEPTH + 1


@pytest.mark.parametrize(
    "hidden",
    [".Trash/chain", ".chain", "run/.git/chain", "drive", "drive/MyDrive/chain", "a/drive"],
)
def test_what_is_not_entered(tmp_path: Path, hidden: str) -> None:
    made(tmp_path / hidden, 1)
    made(tmp_path / "drives", 1)
    assert found(tmp_path) == ["drives"]
    assert found(tmp_path / hidden) == ["."]  # but who names it, means it


def test_links_are_followed_each_folder_once(tmp_path: Path) -> None:
    elsewhere, root = tmp_path / "elsewhere", tmp_path / "root"
    made(elsewhere / "run" / "chain", 1)
    made(root / "own", 1)
    (root / "a").symlink_to(elsewhere / "run")
    (root / "b").symlink_to(elsewhere)
    (root / "loop").symlink_to(root)
    (root / "own" / "loop").symlink_to("..")
    (elsewhere / "loop").symlink_to(elsewhere / "run")
    (root / "self").symlink_to("self")
    (root / "broken").symlink_to("nowhere")
    (root / "file").symlink_to(root / "own" / LAST)
    before = listing(tmp_path)
    assert sorted(found(root)) == ["a/chain", "own"]
    assert listing(tmp_path) == before


def test_a_link_to_a_checkpoint_makes_a_chain(tmp_path: Path) -> None:
    (one,) = made(tmp_path / "other", 1)
    (tmp_path / "root" / "linked").mkdir(parents=True)
    (tmp_path / "root" / "linked" / one.name).symlink_to(one.path)
    (tmp_path / "root" / "broken").mkdir()
    (tmp_path / "root" / "broken" / one.name).symlink_to("nowhere")
    assert found(tmp_path / "root") == ["linked"]


def test_a_link_does_not_hide_what_lies_nearer(tmp_path: Path) -> None:
    """Reached through the link first, the chain would lie too deep."""
    made(tmp_path / "z" / "y" / "chain", 1)
    (tmp_path / "a" / "b").mkdir(parents=True)
    (tmp_path / "a" / "b" / "link").symlink_to(tmp_path / "z")
    assert found(tmp_path, 3) == ["z/y/chain"]


def test_a_folder_that_may_not_be_read_is_passed_over(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("a", "locked/b", "z"):
        made(tmp_path / name, 1)
    real = os.scandir

    def scandir(path: str | os.PathLike[str]) -> object:
        if Path(path).name == "locked":
            raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), path)
        return real(path)

    assert found(tmp_path) == ["a", "z", "locked/b"]
    monkeypatch.setattr(os, "scandir", scandir)
    assert found(tmp_path) == ["a", "z"]
