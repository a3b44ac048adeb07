"""The chain on disk: whatever is cut short or damaged, what is found is whole."""

from __future__ import annotations

import errno
import json
import logging
import os
import re
import shutil
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from carlib.checkpoints import (
    Checkpoint,
    Position,
    adopt,
    find_checkpoint,
    read_state,
    retain,
    write_checkpoint,
)
from carlib.checkpoints.disk import ARRAYS, LAST, MANIFEST, STATE, read_manifest, verify
from carlib.errors import CarlibError, RunError

FILES = (ARRAYS, STATE, MANIFEST)


def arrays(value: int) -> dict[str, np.ndarray]:
    return {
        "model/stem_conv/kernel": np.arange(24, dtype=np.float32).reshape(2, 3, 4) + value,
        "model/stem_conv/half": np.array([[value, 0.1, -65504.0]], np.float16),
        "model/drop/seed_generator_state": np.array([value, 2**31], np.uint32),
        "optimizer/iteration": np.array(value, np.int64),
        "optimizer/empty": np.zeros((0, 3), np.float32),
        "metrics/loss/total": np.array([np.nan, -0.0, np.inf]),
    }


def save(chain: Path, value: int, parent: Checkpoint | None = None, **options: Any) -> Checkpoint:
    said = {
        "position": Position(1, 3, value),
        "arrays": arrays(value),
        "state": {"value": value, "history": [{"lr": 0.1 + value, "loss": float("inf")}]},
        "recipe_digest": "ab" * 32,
        "catalog_digest": "cd" * 32,
        "parent": parent,
        "metrics": {"val_accuracy": 0.1 + value / 10},
        "versions": {"keras": "3.13.2"},
    }
    return write_checkpoint(chain, **{**said, **options})


def made(chain: Path, count: int) -> list[Checkpoint]:
    """Write a chain of checkpoints that hold the values 1 to ``count``."""
    saved: list[Checkpoint] = []
    for value in range(1, count + 1):
        saved.append(save(chain, value, saved[-1] if saved else None))
    return saved


def assert_holds(checkpoint: Checkpoint | None, value: int) -> None:
    assert checkpoint is not None
    found, state = read_state(checkpoint)
    wanted = arrays(value)
    assert set(found) == set(wanted)
    for name, array in wanted.items():
        assert found[name].dtype == array.dtype
        assert found[name].shape == array.shape
        assert found[name].tobytes() == array.tobytes()
    assert state == {"value": value, "history": [{"lr": 0.1 + value, "loss": float("inf")}]}


def content(folder: Path) -> dict[str, bytes]:
    files = (path for path in folder.rglob("*") if path.is_file())
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in files}


def warnings(caplog: pytest.LogCaptureFixture) -> list[str]:
    return [record.getMessage() for record in caplog.records if record.levelno >= logging.WARNING]


# ---- round trip


def test_round_trip(tmp_path: Path) -> None:
    chain = tmp_path / "deep" / "chain"
    one = save(chain, 1)
    two = save(chain, 2, one, position=Position(2))
    assert (one.name, two.name) == ("000001-p1e3s1", "000002-p2e0s0")
    assert (one.number, two.number) == (1, 2)
    assert (one.parent, two.parent) == ("", one.name)
    assert (one.position, two.position) == (Position(1, 3, 1), Position(2, 0, 0))
    assert one.recipe_digest == "ab" * 32
    assert one.catalog_digest == "cd" * 32
    assert one.metrics == {"val_accuracy": 0.2}
    assert one.versions == {"keras": "3.13.2"}
    assert verify(one.path) == one
    assert_holds(one, 1)
    assert_holds(two, 2)
    assert (chain / LAST).read_text() == "000002-p2e0s0\n"
    assert sorted(content(chain)) == sorted(
        [LAST, *(f"{each.name}/{part}" for each in (one, two) for part in FILES)]
    )


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


@pytest.mark.parametrize("name", ["chain", "chain/inside"])
def test_no_chain_no_checkpoint(tmp_path: Path, name: str) -> None:
    (tmp_path / "chain").write_text("a file")
    assert find_checkpoint(tmp_path / "none") is None
    assert find_checkpoint(tmp_path / name) is None
    (tmp_path / "empty").mkdir()
    assert find_checkpoint(tmp_path / "empty") is None


def test_the_newest_is_found_by_number_not_by_text_or_age(tmp_path: Path) -> None:
    made(tmp_path, 3)
    os.rename(tmp_path / "000003-p1e3s3", tmp_path / "aside")
    shutil.copytree(tmp_path / "aside", tmp_path / "elsewhere")
    last = save(tmp_path, 7, read_manifest(tmp_path / "000002-p1e3s2"))
    os.utime(last.path, (0, 0))
    assert find_checkpoint(tmp_path) == last
    big = save(tmp_path, 8, Checkpoint(**{**fields(last), "number": 999_999}))
    assert big.name == "1000000-p1e3s8"
    assert find_checkpoint(tmp_path) == big
    assert save(tmp_path, 9, big).number == 1_000_001


def fields(checkpoint: Checkpoint) -> dict[str, Any]:
    return {name: getattr(checkpoint, name) for name in checkpoint.__slots__}


def test_numbers_go_on_after_the_parent_even_in_an_empty_chain(tmp_path: Path) -> None:
    """A branch of another run does not start again at 1."""
    parent = made(tmp_path / "old", 3)[-1]
    assert save(tmp_path / "new", 4, parent).name == "000004-p1e3s4"


def test_strangers_in_the_chain_are_left_alone(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    newest = made(tmp_path, 2)[-1]
    for name in ("notes", "000009", "000009-p0e0", "9-p0e0s0", "000009-p0e0s0 copy"):
        shutil.copytree(newest.path, tmp_path / name)
    (tmp_path / "000009-p0e0s0").write_text("a file")
    before = content(tmp_path)
    assert find_checkpoint(tmp_path) == newest
    retain(tmp_path, (), newest=2)
    assert content(tmp_path) == before
    assert not warnings(caplog)


# ---- damage: always the one before, and named


def truncate(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-1])


def halve(path: Path) -> None:
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


def flip(path: Path) -> None:
    some = bytearray(path.read_bytes())
    some[len(some) // 2] ^= 4
    path.write_bytes(some)


def append(path: Path) -> None:
    path.write_bytes(path.read_bytes() + b"\0")


def page(path: Path) -> None:
    path.write_text("<!doctype html><html><title>429 Too Many Requests</title></html>")


def folder(path: Path) -> None:
    path.unlink()
    path.mkdir()


DAMAGES: list[Callable[[Path], None]] = [
    truncate,
    halve,
    flip,
    append,
    page,
    folder,
    Path.unlink,
    lambda path: path.write_bytes(b""),
]


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


def rewrite(**said: Any) -> Callable[[Path], None]:
    """Change the manifest as somebody with an editor would."""

    def change(path: Path) -> None:
        path.write_text(json.dumps({**json.loads(path.read_text()), **said}))

    return change


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (rewrite(format=1), "was written in format 1; this carlib reads 2: resume with"),
        (rewrite(format=None), "was written in format None; this carlib reads 2"),
        (rewrite(position={"phase": 9, "epoch": 9, "step": 9}), "damaged"),
        (rewrite(number=77), "damaged"),
        (rewrite(files=None), "damaged"),
        (rewrite(files={}), "damaged"),
        (rewrite(recipe_digest="ef" * 32), "damaged"),
        (rewrite(metrics={"val_accuracy": 1.0}), "damaged"),
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


@pytest.mark.parametrize("part", FILES)
def test_no_flipped_bit_passes(tmp_path: Path, part: str) -> None:
    whole = save(tmp_path, 1, arrays={"a": np.arange(3, dtype=np.int8)}, state={"value": 1})
    path = whole.path / part
    good = path.read_bytes()
    for bit in range(8 * len(good)):
        some = bytearray(good)
        some[bit // 8] ^= 1 << bit % 8
        path.write_bytes(some)
        with pytest.raises(RunError, match=whole.name):
            verify(whole.path)
    path.write_bytes(good)
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
            path.write_bytes(good[:byte] + bytes([value]) + good[byte + 1 :])
            try:
                read_state(whole)
            except RunError as error:
                assert str(whole.path) in str(error)  # noqa: PT017
                refused += 1
    assert refused > len(good)
    for damage in DAMAGES[:-2]:
        shutil.rmtree(path, ignore_errors=True)
        path.write_bytes(good)
        damage(path)
        if damage is not append:  # a zip may have something behind it
            with pytest.raises(RunError, match=f"{whole.name} cannot be read"):
                read_state(whole)


@pytest.mark.parametrize("part", [ARRAYS, STATE])
@pytest.mark.parametrize("damage", [Path.unlink, page, lambda path: path.write_bytes(b"")])
def test_read_state_names_the_checkpoint(
    tmp_path: Path, part: str, damage: Callable[[Path], None]
) -> None:
    whole = save(tmp_path, 1)
    damage(whole.path / part)
    with pytest.raises(RunError, match=f"{whole.name} cannot be read"):
        read_state(whole)


@pytest.mark.parametrize(
    "damage",
    [
        Path.unlink,
        page,
        folder,
        lambda path: path.write_text("000099-p9e9s9\n"),
        lambda path: path.write_text("../../etc\n"),
        lambda path: path.write_bytes(b"\xff\0"),
    ],
)
def test_last_is_a_hint_for_people(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, damage: Callable[[Path], None]
) -> None:
    newest = made(tmp_path, 2)[-1]
    damage(tmp_path / LAST)
    assert find_checkpoint(tmp_path) == newest
    assert not warnings(caplog)
    if damage is not folder:
        third = save(tmp_path, 3, newest)
        assert (tmp_path / LAST).read_text() == f"{third.name}\n"


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
    retain(tmp_path, ())
    assert sorted(path.name for path in tmp_path.iterdir()) == [
        "000002-p1e3s2",
        "000003-p1e3s3",
        "LAST",
    ]
    assert not warnings(caplog)


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


class Killed(BaseException):
    """The process is gone: from here on it does nothing any more."""


class Saboteur:
    """Lets the file system fail at the k-th call of one function.

    Args:
        error: An OSError happens once; after ``Killed`` every other call of the file system
            fails too, so that nothing is tidied up either.
    """

    NAMES = ("mkdir", "open", "fsync", "rename", "replace", "unlink", "rmdir")

    def __init__(self, name: str, k: int, error: BaseException):
        self.name, self.k, self.error = name, k, error
        self.calls, self.dead = 0, False

    def install(self, patch: pytest.MonkeyPatch) -> None:
        for name in self.NAMES:
            self._wrap(patch, os, name, name)
        for module in ("builtins", "io"):
            self._wrap(patch, __import__(module), "open", "write")
        # Content that got only half to the disk.
        self._wrap(patch, np.lib.format, "write_array", "content", self._half)
        self._wrap(patch, Path, "write_text", "content", self._half)
        self._wrap(patch, Path, "write_bytes", "content", self._half)

    @staticmethod
    def _half(target: Any, *args: Any, **options: Any) -> None:
        if isinstance(target, Path):
            with os.fdopen(os.open(target, os.O_WRONLY | os.O_CREAT), "wb") as file:
                file.write(b'{"fo')
        else:
            target.write(b"\x93NUM")

    def _wrap(
        self, patch: pytest.MonkeyPatch, owner: Any, name: str, kind: str, half: Any = None
    ) -> None:
        real = getattr(owner, name)

        def wrapped(*args: Any, **options: Any) -> Any:
            if kind == "write" and "r" in str(args[1:2] or options.get("mode", "r")):
                return real(*args, **options)
            if self.dead:
                raise self.error
            if kind == self.name:
                self.calls += 1
                if self.calls == self.k:
                    if half is not None:
                        half(*args, **options)
                    self.dead = isinstance(self.error, Killed)
                    raise self.error
            return None if name == "fsync" else real(*args, **options)

        patch.setattr(owner, name, wrapped)


ERRORS = {
    "killed": lambda: Killed(),
    "interrupted": lambda: KeyboardInterrupt(),
    "failed": lambda: OSError(errno.EIO, "Input/output error"),
    "full": lambda: OSError(errno.ENOSPC, os.strerror(errno.ENOSPC)),
}


def sabotaged(
    work: Callable[[], object], kind: str, name: str, check: Callable[[BaseException | None], None]
) -> int:
    """Do ``work`` with the k-th call failing, for every k until none does; return the calls."""
    for k in range(1, 100):
        saboteur = Saboteur(name, k, ERRORS[kind]())
        caught: BaseException | None = None
        with pytest.MonkeyPatch.context() as patch:
            saboteur.install(patch)
            try:
                work()
            except (Killed, KeyboardInterrupt, OSError, CarlibError) as error:
                caught = error
        check(caught)
        if saboteur.calls < k:
            assert caught is None
            return k - 1
    raise AssertionError("it never succeeds")


@pytest.mark.parametrize("olds", [0, 1])
@pytest.mark.parametrize("kind", ERRORS)
@pytest.mark.parametrize(
    ("name", "calls"),
    [("mkdir", 1), ("write", 4), ("content", 9), ("fsync", 7), ("rename", 1), ("replace", 2)],
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
        elif kind == "full":
            assert isinstance(error, CarlibError)
            assert "no space left to write" in str(error)
        if kind != "killed":
            assert not list(chain().rglob("*.aside*"))
        assert not warnings(caplog)  # nothing half has a checkpoint's name

        after = save(chain(), 3, found)
        assert after.number == (0 if found is None else found.number) + 1
        assert find_checkpoint(chain()) == after
        assert_holds(after, 3)
        retain(chain(), ())
        assert not list(chain().rglob("*.aside*"))
        seen.append(value)
        made(chain(), olds)

    made(chain(), olds)
    assert sabotaged(work, kind, name, check) >= calls
    assert seen[-1] == 2
    if name != "replace":
        assert seen[0] == olds


@pytest.mark.parametrize("kind", ERRORS)
@pytest.mark.parametrize(("name", "calls"), [("unlink", 6), ("rmdir", 2)])
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
        retain(chain, [kept], newest=2)

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
        retain(chain, [kept], newest=2)
        assert sorted(path.name for path in chain.iterdir()) == [kept, *newest, LAST]
        fresh()

    kept, newest = "000002-p1e3s2", ["000004-p1e3s4", "000005-p1e3s5"]
    fresh()
    assert sabotaged(work, kind, name, check) >= calls


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
def test_retain(tmp_path: Path, newest: int, keep: list[int], left: list[int]) -> None:
    saved = {each.number: each for each in made(tmp_path, 5)}
    retain(tmp_path, (saved[number].name for number in keep), newest)
    assert sorted(path.name for path in tmp_path.iterdir()) == [
        *(saved[number].name for number in left),
        LAST,
    ]
    for number in left:
        assert_holds(verify(saved[number].path), number)
    assert save(tmp_path, 6, saved[5]).number == 6


def test_retain_passes_over_names_that_are_not_there(tmp_path: Path) -> None:
    made(tmp_path, 3)
    retain(tmp_path, ["", "000099-p0e0s0"])
    assert sorted(path.name for path in tmp_path.iterdir()) == [
        "000002-p1e3s2",
        "000003-p1e3s3",
        LAST,
    ]
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
        retain(tmp_path, ())
    monkeypatch.undo()
    assert find_checkpoint(tmp_path) == verify(tmp_path / "000003-p1e3s3")


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


def test_adopt_refuses_missing_ones(tmp_path: Path) -> None:
    made(tmp_path / "input", 1)
    with pytest.raises(RunError, match="000009-p0e0s0 has no readable manifest"):
        adopt(tmp_path / "input", tmp_path / "chain", ["000009-p0e0s0"])
    assert find_checkpoint(tmp_path / "chain") is None


@pytest.mark.parametrize("kind", ERRORS)
@pytest.mark.parametrize(
    ("name", "calls"), [("mkdir", 1), ("write", 3), ("fsync", 5), ("rename", 1)]
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
        elif kind == "full":
            assert isinstance(error, CarlibError)
            assert "no space left to write" in str(error)
        if found is not None:
            assert_holds(found, 1)
        if kind != "killed":
            assert not list(chain.rglob("*.aside*"))
        adopt(source, chain, [one.name])
        assert_holds(find_checkpoint(chain), 1)
        assert [path.name for path in chain.iterdir()] == [one.name]
        assert not warnings(caplog)
        chains.append(tmp_path / f"chain {len(chains)}")
        chains[-1].mkdir()

    def work() -> None:
        adopt(source, chains[-1], [one.name])

    assert sabotaged(work, kind, name, check) >= calls
