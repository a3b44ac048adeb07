"""Where a run starts: which of all chains about it goes on from, and what it refuses."""

from __future__ import annotations

import dataclasses
import json
import os
import re
import shutil
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import chains
import numpy as np
import pytest
from chains import DAMAGES, content, names, warnings
from conftest import make_recipe

from carlib.checkpoints import Checkpoint, Position, Snapshot, verify, write_checkpoint
from carlib.checkpoints.disk import ARRAYS, LAST, MANIFEST, STATE, _digest, name_of
from carlib.errors import CarlibError, RunError, UsageError
from carlib.runfolder import RunFolder
from carlib.session import Session
from carlib.spec import Recipe, to_dict, with_settings
from carlib.train.start import Start, find_start, warn_of_versions

RECIPE = make_recipe()  # phases "head" of one epoch, "all" of two
PHOTOS, OTHER_PHOTOS = "cd" * 32, "ef" * 32
OWN = "working/run/chain"
P00, P10, P11, P20 = (0, 0, 0), (1, 0, 0), (1, 1, 0), (2, 0, 0)
P02, P12 = (0, 0, 2), (1, 0, 2)
Places = dict[str, list[tuple[int, int, int]]]


@pytest.fixture(autouse=True)
def unflushed(monkeypatch: pytest.MonkeyPatch) -> None:
    """The order of the calls counts here, not what a real disk makes of them."""
    monkeypatch.setattr(os, "fsync", lambda handle: None)


def put(
    chain: Path,
    number: int,
    position: tuple[int, int, int],
    best: str | None = None,
    recipe: Recipe = RECIPE,
    **options: Any,
) -> Checkpoint:
    """Write one checkpoint of a run; ``best`` is the one its ledger names, "" itself."""
    found = None if best is None else {"phase": "head", "epoch": 1, "checkpoint": best}
    kept = Snapshot(
        position=Position(*position),
        # The bytes say which chain it is of.
        arrays={"model/kernel": np.frombuffer(f"{chain}".encode(), np.uint8)},
        state={"recipe": to_dict(recipe), "parts": {"ledger": {"best": found}}},
        recipe=recipe.name,
        recipe_digest=recipe.digest(),
        catalog_digest=PHOTOS,
    )
    return write_checkpoint(chain, dataclasses.replace(kept, **options), number)


def lay(root: Path, places: Places, **options: Any) -> None:
    """Write chains by place: a checkpoint a position, numbered from 1."""
    for place, positions in places.items():
        for number, position in enumerate(positions, 1):
            put(root / place, number, position, **options)


def begin(
    root: Path,
    recipe: Recipe = RECIPE,
    kind: str = "kaggle-batch",
    resume: str = "auto",
    allow: Iterable[str] = (),
) -> Start:
    inputs = root / "input", root / "input of another"
    session = Session(kind=kind, work=root / "working", inputs=inputs)
    return find_start(RunFolder(root / "working/run"), recipe, PHOTOS, session, resume, allow)


def told(root: Path, start: Start) -> tuple[str, str] | None:
    """The place that a start comes from and the checkpoint's name; it lies in the own chain."""
    if start.checkpoint is None:
        assert not (root / OWN).exists() or not names(root / OWN)
        return None
    checkpoint = start.checkpoint
    assert checkpoint == verify(root / OWN / checkpoint.name)
    assert (root / OWN / LAST).read_text() == f"{checkpoint.name}\n"
    origin = Path(start.origin).relative_to(root).as_posix() if start.origin else OWN
    for part in (ARRAYS, STATE, MANIFEST):
        there = root / origin / checkpoint.name / part
        assert (checkpoint.path / part).read_bytes() == there.read_bytes()
    return origin, checkpoint.name


def listing(root: Path) -> dict[str, tuple[int, ...]]:
    """Every entry with what writing to it, or beside it, would change."""
    found = {}
    for path in [root, *root.rglob("*")]:
        said = path.lstat()
        found[path.as_posix()] = (said.st_mtime_ns, said.st_ctime_ns, said.st_size, said.st_mode)
    return found


# ---- which one


OLD = "input/my-run/run/chain"
NEW = "input/notebooks/owner/my-run/run/chain"
DATA = "input/datasets/owner/Räder, my copy"
WINS: list[tuple[Places, tuple[str, str] | None]] = [
    ({}, None),
    ({OWN: [P00]}, (OWN, "000001-p0e0s0")),
    ({OWN: [P00, P02, P10]}, (OWN, "000003-p1e0s0")),
    ({"working/earlier/chain": [P00, P10]}, ("working/earlier/chain", "000002-p1e0s0")),
    ({"working": [P02]}, ("working", "000001-p0e0s2")),
    ({"working/run/by hand": [P02]}, ("working/run/by hand", "000001-p0e0s2")),
    ({"working/run": [P02]}, ("working/run", "000001-p0e0s2")),
    ({OLD: [P00, P10]}, (OLD, "000002-p1e0s0")),
    ({NEW: [P00, P10]}, (NEW, "000002-p1e0s0")),
    ({DATA: [P00, P10]}, (DATA, "000002-p1e0s0")),
    ({"input": [P10]}, ("input", "000001-p1e0s0")),
    ({"input of another/x": [P10]}, ("input of another/x", "000001-p1e0s0")),
    # The furthest, by position and not by number; the own one where nothing is further.
    ({OWN: [P10], OLD: [P00, P02]}, (OWN, "000001-p1e0s0")),
    ({OWN: [P10], OLD: [P00, P02, P10]}, (OWN, "000001-p1e0s0")),
    ({OWN: [P00], OLD: [P02, P12]}, (OLD, "000002-p1e0s2")),
    ({OWN: [P00], OLD: [P10], NEW: [P12], DATA: [P02]}, (NEW, "000001-p1e0s2")),
    ({OLD: [P00, P02], NEW: [P11], "working/a/chain": [P10]}, (NEW, "000001-p1e1s0")),
    ({OLD: [P11], NEW: [P20], DATA: [P12]}, (NEW, "000001-p2e0s0")),
    ({OLD: [P11], NEW: [P00, P11]}, (NEW, "000002-p1e1s0")),
    # Of one chain the newest, whatever came before it.
    ({OLD: [P11, P10], NEW: [P02]}, (OLD, "000002-p1e0s0")),
]


@pytest.mark.parametrize(("places", "wanted"), WINS, ids=lambda case: " ".join(case or ["none"]))
def test_which_checkpoint_wins(tmp_path: Path, places: Places, wanted: tuple[str, str]) -> None:
    lay(tmp_path, places)
    before = content(tmp_path)
    start = begin(tmp_path)
    assert told(tmp_path, start) == wanted
    assert (start.changed, start.branch) == ((), False)
    # What was there stays, and where the own chain won, nothing else came.
    assert content(tmp_path).items() >= {**before, **_last(wanted)}.items()
    if wanted is None or wanted[0] == OWN:
        assert content(tmp_path) == before
    # Nothing is copied twice: from here on it is the run's own.
    after = listing(tmp_path)
    again = begin(tmp_path)
    assert (again.checkpoint, again.origin) == (start.checkpoint, "")
    assert listing(tmp_path) == after


def _last(wanted: tuple[str, str] | None) -> dict[str, bytes]:
    return {f"{OWN}/{LAST}": f"{wanted[1]}\n".encode()} if wanted else {}


@pytest.mark.parametrize(
    ("place", "found"),
    [
        (OLD, False),
        ("working/earlier/chain", False),
        ("working/chain", False),
        (OWN, True),
        ("working/run/by hand", True),
        ("working/run", True),
    ],
)
def test_a_plain_machine_looks_into_the_run_folder_alone(
    tmp_path: Path, place: str, found: bool
) -> None:
    """Two runs of one recipe side by side are meant to be two."""
    lay(tmp_path, {place: [P10]})
    wanted = (place, "000001-p1e0s0") if found else None
    assert told(tmp_path, begin(tmp_path, kind="plain")) == wanted


def test_a_chain_in_the_run_folder_is_found_wherever_that_lies(tmp_path: Path) -> None:
    """Kaggle keeps /kaggle/working; a run may well lie outside of it."""
    put(tmp_path / "elsewhere/run/by hand", 1, P10)
    session = Session(kind="kaggle-batch", work=tmp_path / "working", inputs=())
    start = find_start(RunFolder(tmp_path / "elsewhere/run"), RECIPE, PHOTOS, session)
    assert start.origin == str(tmp_path / "elsewhere/run/by hand")


def test_a_chain_reached_by_two_ways_counts_once(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """The own chain, linked to from an input, is no other; a damaged one is named once."""
    lay(tmp_path, {OWN: [P00, P10], OLD: [P00, P02]})
    (tmp_path / "input/link").symlink_to(tmp_path / OWN)
    (tmp_path / "input of another").symlink_to(tmp_path / "input")
    (tmp_path / OLD / "000002-p0e0s2" / STATE).unlink()
    assert told(tmp_path, begin(tmp_path)) == (OWN, "000002-p1e0s0")
    (said,) = warnings(caplog)
    assert "000002-p0e0s2" in said


def test_never_starts_anew_whatever_lies_about(tmp_path: Path) -> None:
    lay(tmp_path, {OLD: [P10], "working/earlier/chain": [P11]})
    before = listing(tmp_path)
    assert begin(tmp_path, resume="never") == Start()
    assert listing(tmp_path) == before


# ---- other recipes, other photos


def other(*settings: str, name: str = RECIPE.name) -> Recipe:
    return dataclasses.replace(with_settings(RECIPE, settings), name=name)


def test_a_recipe_of_another_name_is_passed_over(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    lay(tmp_path, {OLD: [P20]}, recipe=other("seed=1", name="another"))
    assert begin(tmp_path) == Start()
    (said,) = warnings(caplog)
    assert said == f"{tmp_path / OLD} holds a run of recipe 'another': not this one's"
    lay(tmp_path, {NEW: [P02]})
    assert told(tmp_path, begin(tmp_path)) == (NEW, "000001-p0e0s2")


def test_the_name_alone_makes_no_other_recipe(tmp_path: Path) -> None:
    lay(tmp_path, {OLD: [P10]}, recipe=other(name="renamed"))
    assert told(tmp_path, begin(tmp_path)) == (OLD, "000001-p1e0s0")


def test_another_runs_damaged_chain_does_not_matter(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    lay(tmp_path, {OLD: [P00, P20]}, recipe=other("seed=1", name="another"))
    for state in (tmp_path / OLD).glob(f"*/{STATE}"):
        state.unlink()
    (tmp_path / OLD / "000002-p2e0s0" / MANIFEST).unlink()
    assert begin(tmp_path) == Start()
    assert warnings(caplog)[-1].endswith("recipe 'another': not this one's")


def misfits(root: Path, place: str) -> dict[str, Callable[[], object]]:
    """Chains of the recipe's name that do not fit it, by kind."""

    def damage() -> None:
        lay(root, {place: [P00, P11]})
        for path in (root / place).glob(f"*/{ARRAYS}"):
            chains.flip(path)

    def unreadable() -> None:
        lay(root, {place: [P11]})
        (root / place / "000001-p1e1s0" / MANIFEST).write_text("{")

    def lacking() -> None:
        put(root / place, 2, P11, best="000001-p1e0s0")

    def newer_format() -> None:
        lay(root, {place: [P11]})
        rewrite(root / place / "000001-p1e1s0", format=99)

    def newer_recipe() -> None:
        said = {**to_dict(RECIPE), "speed": 3}
        ledger = {"best": None}
        state = {"recipe": said, "parts": {"ledger": ledger}}
        put(root / place, 1, P11, state=state, recipe_digest="0" * 64)

    return {
        "recipe": lambda: lay(root, {place: [P11]}, recipe=other("phases.head.lr=0.5", "seed=1")),
        "photos": lambda: lay(root, {place: [P11]}, catalog_digest=OTHER_PHOTOS),
        "damage": damage,
        "unreadable": unreadable,
        "lacking": lacking,
        "format": newer_format,
        "newer recipe": newer_recipe,
    }


def rewrite(folder: Path, **changed: Any) -> None:
    """Change a manifest, its digest with it."""
    said = {**json.loads((folder / MANIFEST).read_text()), **changed}
    (folder / MANIFEST).write_text(json.dumps({**said, "digest": _digest(said)}))


MISFITS = {
    "recipe": (
        r"000001-p1e1s0 belongs to another recipe "
        r"\(phases\.head\.lr: 0\.5 -> 0\.01; seed: 1 -> 0\); train with the recipe it was begun"
    ),
    "photos": (
        r"trained on other photos or labels \(catalog digest efefefefefef, now cdcdcdcdcdcd\)"
    ),
    "damage": "no checkpoint under .* is whole",
    "unreadable": "no checkpoint under .* is whole",
    "lacking": "no checkpoint under .* is whole",
    "format": "was written in format 99; this carlib reads",
    "newer recipe": "recipe: unknown key 'speed'.*the version that wrote it",
}


def test_every_misfit_is_made(tmp_path: Path) -> None:
    assert set(misfits(tmp_path, OLD)) == set(MISFITS)


def refused(root: Path, error: type[CarlibError], message: str, **options: Any) -> str:
    """Start, meet the error, and find everything as it was; return what it says."""
    before = listing(root)
    with pytest.raises(error, match=message) as caught:
        begin(root, **options)
    assert listing(root) == before
    assert "\n" not in str(caught.value)
    return str(caught.value)


@pytest.mark.parametrize("kind", MISFITS)
@pytest.mark.parametrize("place", [OLD, "working/run/by hand"])
def test_to_start_anew_beside_a_run_that_does_not_fit_is_refused(
    tmp_path: Path, place: str, kind: str
) -> None:
    misfits(tmp_path, place)[kind]()
    said = refused(tmp_path, RunError, MISFITS[kind])
    assert said.endswith("; or start anew with --resume never")
    assert begin(tmp_path, resume="never") == Start()


@pytest.mark.parametrize("kind", ["recipe", "photos", "newer recipe"])
@pytest.mark.parametrize("place", ["working/run-fold0/chain", "input/all/run-fold0/chain"])
def test_a_run_of_another_folders_name_is_another_run(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, place: str, kind: str
) -> None:
    """Folds and seeds have one recipe's name, and a folder each."""
    misfits(tmp_path, place)[kind]()
    (tmp_path / place).with_name("recipe.json").touch()
    assert begin(tmp_path) == Start()
    assert re.search(MISFITS[kind], warnings(caplog)[-1])
    assert warnings(caplog)[-1].endswith("; taken for another run's")


@pytest.mark.parametrize("kind", MISFITS)
@pytest.mark.parametrize("fitting", [OWN, NEW])
def test_where_another_fits_the_misfit_is_named_and_passed_over(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, kind: str, fitting: str
) -> None:
    lay(tmp_path, {fitting: [P10]})
    misfits(tmp_path, OLD)[kind]()
    assert told(tmp_path, begin(tmp_path)) == (fitting, "000001-p1e0s0")
    assert re.search(MISFITS[kind], warnings(caplog)[-1])
    assert warnings(caplog)[-1].endswith("; passed over")


@pytest.mark.parametrize("kind", MISFITS)
def test_the_own_chain_that_does_not_fit_is_refused(tmp_path: Path, kind: str) -> None:
    """Whatever lies about: the run folder is of something else, or damaged throughout."""
    misfits(tmp_path, OWN)[kind]()
    assert "--resume never" not in refused(tmp_path, RunError, MISFITS[kind])
    lay(tmp_path, {OLD: [P20]})
    if kind in ("damage", "unreadable", "lacking"):
        assert told(tmp_path, begin(tmp_path)) == (OLD, "000001-p2e0s0")
    else:
        refused(tmp_path, RunError, MISFITS[kind])


@pytest.mark.parametrize("kind", MISFITS)
def test_a_damaged_own_chain_beside_a_misfit(tmp_path: Path, kind: str) -> None:
    """To start anew is no way out, since never would be refused."""
    misfits(tmp_path, OWN)["damage"]()
    misfits(tmp_path, OLD)[kind]()
    said = refused(tmp_path, RunError, r"no checkpoint under .*working/run/chain is whole")
    assert "--resume never" not in said


@pytest.mark.parametrize("place", [OWN, OLD])
def test_what_is_allowed_is_no_other_recipe(tmp_path: Path, place: str) -> None:
    lay(tmp_path, {place: [P00, P12]})
    more = other("phases.all.epochs=5", "determinism=fast")
    both = r"determinism: exact -> fast \(--allow determinism\)\)"
    refused(tmp_path, RunError, r"epochs: 2 -> 5 \(--allow epochs\); " + both, recipe=more)
    message = r"another recipe \(" + both
    refused(tmp_path, RunError, message, recipe=more, allow=["epochs"])
    start = begin(tmp_path, recipe=more, allow=iter(["epochs", "determinism"]))
    assert told(tmp_path, start) == (place, "000002-p1e0s2")
    assert start.changed == ("phases.all.epochs: 2 -> 5", "determinism: exact -> fast")


# ---- damage


@pytest.mark.parametrize("place", [OWN, OLD])
@pytest.mark.parametrize("part", [ARRAYS, STATE, MANIFEST])
@pytest.mark.parametrize("damage", DAMAGES)
def test_a_damaged_newest_is_named_and_passed_over(
    tmp_path: Path,
    caplog: pytest.LogCaptureFixture,
    place: str,
    part: str,
    damage: Callable[[Path], None],
) -> None:
    lay(tmp_path, {place: [P00, P10, P11]})
    damage(tmp_path / place / "000003-p1e1s0" / part)
    start = begin(tmp_path)
    assert start.checkpoint is not None
    assert start.checkpoint.name == "000002-p1e0s0"
    assert "000003-p1e1s0" in warnings(caplog)[0]
    assert warnings(caplog)[0].endswith("; passed over for the one before")


def with_best(chain: Path) -> None:
    """Four checkpoints; the third is the best, and the fourth needs it."""
    put(chain, 1, P00)
    put(chain, 2, P02)
    put(chain, 3, P10, best="")
    put(chain, 4, P12, best="000003-p1e0s0")


@pytest.mark.parametrize("place", [OWN, OLD])
def test_without_its_best_a_checkpoint_is_passed_over(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, place: str
) -> None:
    with_best(tmp_path / place)
    (tmp_path / place / "000003-p1e0s0" / ARRAYS).write_bytes(b"")
    start = begin(tmp_path)
    assert start.checkpoint is not None
    assert start.checkpoint.name == "000002-p0e0s2"
    assert warnings(caplog)[0].endswith(
        "and 000004-p1e0s2 needs it; passed over for the one before"
    )


def test_a_damaged_chain_may_fall_behind_another(tmp_path: Path) -> None:
    lay(tmp_path, {OLD: [P00, P02, P11], NEW: [P10]})
    (tmp_path / OLD / "000003-p1e1s0" / ARRAYS).unlink()
    assert told(tmp_path, begin(tmp_path)) == (NEW, "000001-p1e0s0")


# ---- taken over


def test_what_is_taken_over(tmp_path: Path) -> None:
    """The checkpoint and its best, and nothing that it does not need."""
    with_best(tmp_path / OLD)
    start = begin(tmp_path)
    assert told(tmp_path, start) == (OLD, "000004-p1e0s2")
    assert names(tmp_path / OWN) == ["000003-p1e0s0", "000004-p1e0s2", LAST]
    assert start.describe() == f"000004-p1e0s2 of {tmp_path / OLD}"


def test_an_input_is_never_written_to(tmp_path: Path) -> None:
    """Kaggle's are read-only; the copies are not."""
    with_best(tmp_path / OLD)
    (tmp_path / OLD / "000009-p2e0s0").mkdir()  # damaged: even so it is not touched
    features = tmp_path / "input/my-run/run/features"
    features.mkdir()
    (features / "ab.npz").write_bytes(b"some")
    for path in (tmp_path / "input").rglob("*"):
        path.chmod(0o555 if path.is_dir() else 0o444)
    before, bytes_before = listing(tmp_path / "input"), content(tmp_path / "input")
    assert told(tmp_path, begin(tmp_path)) == (OLD, "000004-p1e0s2")
    assert listing(tmp_path / "input") == before
    assert content(tmp_path / "input") == bytes_before
    for path in (tmp_path / "working").rglob("*"):
        assert path.stat().st_mode & 0o200
    for path in (tmp_path / "input").rglob("*"):
        path.chmod(0o755)


@pytest.mark.parametrize("resume", ["auto", OLD, "input/my-run/run", f"{OLD}/000004-p1e0s2"])
def test_features_follow_a_chain_in_a_run_folder(tmp_path: Path, resume: str) -> None:
    with_best(tmp_path / OLD)
    features = tmp_path / "input/my-run/run/features"
    features.mkdir()
    (features / "ab.npz").write_bytes(b"some")
    (features / "ab.aside.npz.tmp").write_bytes(b"half")
    begin(tmp_path, resume="auto" if resume == "auto" else str(tmp_path / resume))
    assert content(tmp_path / "working/run/features") == {"ab.npz": b"some"}


@pytest.mark.parametrize("own", [[], [P00, P00, P00, P02, P10]])
@pytest.mark.parametrize("call", ["mkdir", "open", "write", "rename", "replace", "unlink"])
def test_an_adoption_killed_half_way_is_gone_on_with(
    tmp_path: Path, call: str, own: list[tuple[int, int, int]]
) -> None:
    """At each of its calls; the furthest comes out, features and all."""
    with_best(tmp_path / OLD)
    features = tmp_path / "input/my-run/run/features"
    features.mkdir()
    (features / "ab.npz").write_bytes(b"some")
    seen = set()

    def prepare() -> None:
        shutil.rmtree(tmp_path / "working", ignore_errors=True)
        lay(tmp_path, {OWN: own})

    def check(error: BaseException | None) -> None:
        chain = tmp_path / OWN
        seen.update(path.name for path in chain.glob("0*") if (path / MANIFEST).is_file())
        start = begin(tmp_path)
        assert start.checkpoint is not None
        assert start.checkpoint.name == "000004-p1e0s2"
        for name in ("000003-p1e0s0", "000004-p1e0s2"):
            assert content(chain / name) == content(tmp_path / OLD / name)
        assert content(tmp_path / "working/run/features") == {"ab.npz": b"some"}
        prepare()

    prepare()
    calls = chains.sabotaged(lambda: begin(tmp_path), "killed", call, check)
    assert calls > 0 or (call == "unlink" and not own)
    assert {"000003-p1e0s0", "000004-p1e0s2"} <= seen


def test_the_best_alone_is_a_checkpoint_like_any(tmp_path: Path) -> None:
    """Killed after it was copied, and the input is gone in the next session."""
    with_best(tmp_path / OLD)
    shutil.copytree(tmp_path / OLD / "000003-p1e0s0", tmp_path / OWN / "000003-p1e0s0")
    shutil.rmtree(tmp_path / "input")
    start = begin(tmp_path)
    assert start.checkpoint is not None
    assert (start.checkpoint.name, start.origin) == ("000003-p1e0s0", "")


def test_a_best_of_the_same_name_gives_way_to_the_one_taken_over(tmp_path: Path) -> None:
    """Two runs of one recipe, not bit for bit the same; the further one keeps its own best."""
    put(tmp_path / OWN, 3, P10, best="")
    put(tmp_path / OWN, 4, (1, 0, 1), best="000003-p1e0s0")
    with_best(tmp_path / OLD)
    assert told(tmp_path, begin(tmp_path)) == (OLD, "000004-p1e0s2")
    best = "000003-p1e0s0"
    assert content(tmp_path / OWN / best) == content(tmp_path / OLD / best)


def test_what_has_a_higher_number_and_got_less_far_goes(tmp_path: Path) -> None:
    """It would be taken for newer, where the session is killed and the input is gone."""
    lay(tmp_path, {OWN: [P00, P02, P10, P10], OLD: [P00, P12]})
    assert told(tmp_path, begin(tmp_path)) == (OLD, "000002-p1e0s2")
    assert names(tmp_path / OWN) == ["000001-p0e0s0", "000002-p0e0s2", "000002-p1e0s2", LAST]
    shutil.rmtree(tmp_path / "input")
    assert told(tmp_path, begin(tmp_path)) == (OWN, "000002-p1e0s2")


def test_damaged_ones_of_the_same_name_are_replaced(tmp_path: Path) -> None:
    for place in (OWN, OLD):
        with_best(tmp_path / place)
    for path in (tmp_path / OWN).glob(f"*/{STATE}"):
        path.write_text("{}")
    assert told(tmp_path, begin(tmp_path)) == (OLD, "000004-p1e0s2")
    assert (tmp_path / OWN / "000002-p0e0s2" / STATE).read_text() == "{}"  # for people to look at


# ---- a path


@pytest.mark.parametrize(
    ("path", "origin", "name"),
    [
        ("input/my-run/run", OLD, "000004-p1e0s2"),
        (OLD, OLD, "000004-p1e0s2"),
        (f"{OLD}/000004-p1e0s2", OLD, "000004-p1e0s2"),
        (f"{OLD}/000003-p1e0s0", OLD, "000003-p1e0s0"),
        (f"{OLD}/000001-p0e0s0", OLD, "000001-p0e0s0"),
        ("input/any name", "input/any name", "000004-p1e0s2"),
        ("input/any name/000002-p0e0s2", "input/any name", "000002-p0e0s2"),
    ],
)
@pytest.mark.parametrize("kind", ["plain", "colab"])
def test_a_path_is_a_run_a_chain_or_a_checkpoint(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    kind: str,
    path: str,
    origin: str,
    name: str,
) -> None:
    with_best(tmp_path / OLD)
    shutil.copytree(tmp_path / OLD, tmp_path / "input/any name")
    lay(tmp_path, {NEW: [P20]})  # further, but not asked for
    start = begin(tmp_path, kind=kind, resume=str(tmp_path / path))
    assert told(tmp_path, start) == (origin, name)
    assert start.branch
    assert len(list((tmp_path / OWN).glob("0*"))) == 1 + name.startswith("000004")
    # A relative path means the same.
    shutil.rmtree(tmp_path / "working")
    monkeypatch.chdir(tmp_path / path)
    assert begin(tmp_path, kind=kind, resume=".") == start


@pytest.mark.parametrize("resume", ["never", "PATH"])
@pytest.mark.parametrize("damaged", [False, True])
def test_a_run_that_is_there_is_never_written_over(
    tmp_path: Path, resume: str, damaged: bool
) -> None:
    lay(tmp_path, {OWN: [P10], OLD: [P20]})
    if damaged:
        (tmp_path / OWN / "000001-p1e0s0" / ARRAYS).unlink()
    upto = "none of it whole" if damaged else "up to 000001-p1e0s0"
    message = rf"already holds a run \({upto}\); choose another --out, or --resume auto"
    resume = str(tmp_path / OLD) if resume == "PATH" else resume
    refused(tmp_path, UsageError, message, resume=resume)


@pytest.mark.parametrize("kind", MISFITS)
def test_a_path_that_does_not_fit_is_refused(tmp_path: Path, kind: str) -> None:
    misfits(tmp_path, OLD)[kind]()
    lay(tmp_path, {NEW: [P20]})  # never in place of the one asked for
    refused(tmp_path, RunError, MISFITS[kind], resume=str(tmp_path / OLD))


@pytest.mark.parametrize("path", ["nowhere", "input", "input/my-run", "input/notes.txt"])
def test_a_path_without_a_chain_is_refused(tmp_path: Path, path: str) -> None:
    lay(tmp_path, {OLD: [P10]})
    (tmp_path / "input/notes.txt").write_text("mine")
    message = "there is no whole checkpoint under .*; give a run folder, its chain folder or one"
    refused(tmp_path, RunError, message, resume=str(tmp_path / path))


@pytest.mark.parametrize("part", [ARRAYS, STATE])
def test_a_damaged_checkpoint_by_its_path_is_refused(tmp_path: Path, part: str) -> None:
    """Who names one means it: nothing is passed over."""
    with_best(tmp_path / OLD)
    (tmp_path / OLD / "000004-p1e0s2" / part).unlink()
    resume = str(tmp_path / OLD / "000004-p1e0s2")
    refused(tmp_path, RunError, f"000004-p1e0s2: cannot read {part}", resume=resume)
    assert told(tmp_path, begin(tmp_path, resume=str(tmp_path / OLD))) == (OLD, "000003-p1e0s0")


def test_a_checkpoint_copied_without_its_best_is_refused(tmp_path: Path) -> None:
    with_best(tmp_path / OLD)
    alone = tmp_path / "copied" / "000004-p1e0s2"
    shutil.copytree(tmp_path / OLD / "000004-p1e0s2", alone)
    message = "000003-p1e0s0 has no readable manifest.*and 000004-p1e0s2 needs it"
    refused(tmp_path, RunError, message, resume=str(alone))
    shutil.copytree(tmp_path / OLD / "000001-p0e0s0", tmp_path / "copied" / "000001-p0e0s0")
    start = begin(tmp_path, resume=str(tmp_path / "copied" / "000001-p0e0s0"))
    assert told(tmp_path, start) == ("copied", "000001-p0e0s0")


def test_a_renamed_checkpoint_is_refused(tmp_path: Path) -> None:
    """In the run's chain nothing would find it again, and the next session would start anew."""
    with_best(tmp_path / OLD)
    shutil.copytree(tmp_path / OLD / "000003-p1e0s0", tmp_path / "good one")
    message = "good one is checkpoint 000003-p1e0s0, renamed; give its folder that name again"
    refused(tmp_path, RunError, message, resume=str(tmp_path / "good one"))


# ---- what is said


def start_of(**options: Any) -> Start:
    number, position = 7, Position(1, 2)
    said = dataclasses.fields(Checkpoint)
    values: dict[str, Any] = {entry.name: None for entry in said}
    values |= {"path": Path(name_of(number, position)), "number": number, "position": position}
    values |= {"versions": {}, "determinism": "exact", **options.pop("checkpoint", {})}
    return Start(Checkpoint(**values), **options)


@pytest.mark.parametrize(
    ("start", "text"),
    [
        (Start(), ""),
        (start_of(), "000007-p1e2s0"),
        (start_of(origin="/in/a/chain"), "000007-p1e2s0 of /in/a/chain"),
        (start_of(changed=("a: 1 -> 2", "b: 3 -> 4")), "000007-p1e2s0 with a: 1 -> 2; b: 3 -> 4"),
        (start_of(origin="/in", changed=("a: 1 -> 2",)), "000007-p1e2s0 of /in with a: 1 -> 2"),
    ],
)
def test_a_start_as_the_table_of_sessions_has_it(start: Start, text: str) -> None:
    assert start.describe() == text


@pytest.mark.parametrize(
    ("then", "now", "said"),
    [
        ({}, {}, None),
        ({"keras": "3.13.2"}, {"keras": "3.13.2"}, None),
        ({"keras": "3.13.2", "numpy": "2.0.2"}, {"keras": "3.14.0"}, "keras 3.13.2 -> 3.14.0"),
        ({"numpy": "2.0.2"}, {}, "numpy 2.0.2 -> none"),
        ({}, {"numpy": "2.0.2"}, "numpy none -> 2.0.2"),
    ],
)
def test_other_versions_are_named(
    then: dict[str, str],
    now: dict[str, str],
    said: str | None,
    caplog: pytest.LogCaptureFixture,
) -> None:
    checkpoint = start_of(checkpoint={"versions": then}).checkpoint
    assert checkpoint is not None
    warn_of_versions(checkpoint, now)
    assert [said in line and "not bit for bit" in line for line in warnings(caplog)] == (
        [True] if said else []
    )


@pytest.mark.parametrize("determinism", ["exact", "fast"])
def test_fast_promises_no_bits(determinism: str, capsys: pytest.CaptureFixture[str]) -> None:
    checkpoint = start_of(checkpoint={"determinism": determinism}).checkpoint
    assert checkpoint is not None
    warn_of_versions(checkpoint, {})
    assert ("not promised bit for bit" in capsys.readouterr().err) == (determinism == "fast")
