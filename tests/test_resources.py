"""Room on the disk and in memory, before a run starts."""

from __future__ import annotations

from types import SimpleNamespace

import pytest

from carlib.catalog import Catalog, read_catalog
from carlib.checkpoints import Position, find_checkpoint, read_state
from carlib.errors import RunError
from carlib.freeze import Freezer
from carlib.loader import Workers
from carlib.models.build import build_model
from carlib.runfolder import RunFolder
from carlib.session import Session
from carlib.spec import with_settings
from carlib.train import loop, resources, train_model
from carlib.train.fitted import Fitted
from carlib.train.outcome import Material
from carlib.train.resources import Room, check_disk, check_memory, room_of

GB = 10**9
ROOM = Room(weights=GB, state=3 * GB, phases=4, features=GB // 2, held=GB // 4, batches=GB // 4)


def made(recipe, photos=100, position=None, workers="threads:2", kept=20, fitted=None):
    """What ``room_of`` finds for so many photos."""
    classes = ("a", "b")
    training, validation = (
        Catalog(
            tuple(f"{n:04}" for n in range(count)),
            tuple(f"{n:04}.jpg" for n in range(count)),
            classes,
            tuple(n % 2 for n in range(count)),
        )
        for count in (photos, kept)
    )
    model = build_model(recipe.model, 2)
    material = Material(recipe, training, validation, (), "", True)
    position = position or Position()
    return room_of(model, Freezer(model), material, position, Workers.parse(workers), fitted)


def test_the_state_is_what_a_checkpoint_holds(tmp_path, photos, recipe):
    """But for the few numbers beside: steps, learning rate, metrics, seeds."""
    for settings in (
        ["phases.*.optimizer=adam", "phases.*.weight_decay=0"],
        ["phases.*.optimizer=sgd", "phases.*.ema=0.9"],
        ["phases.*.optimizer=sgd", "phases.*.momentum=0", "phases.*.accumulate=2"],
    ):
        told = with_settings(recipe, settings)
        out = tmp_path / settings[-1]
        train_model(told, read_catalog(photos), out, session=Session(stop_after=4))
        arrays = read_state(find_checkpoint(out / "chain"))[0]
        size = sum(value.nbytes for value in arrays.values())
        found = made(told)
        more = 4 * sum(model.size for key, model in arrays.items() if "head_classes" in key)
        assert abs(found.state - size) <= more  # three classes here, two there
        assert found.weights < found.state


@pytest.mark.parametrize(
    ("settings", "position", "features", "held", "batches"),
    [
        ([], Position(), 0, 0, 5 * 16 * 32 * 32 * 3),
        (["phases.all.size=64"], Position(), 0, 0, 5 * 16 * 64 * 64 * 3),
        (["phases.head.batch_size=auto"], Position(), 0, 0, 5 * 64 * 32 * 32 * 3),
        (["phases.head.batch_size=auto"], Position(1), 0, 0, 5 * 16 * 32 * 32 * 3),
        (["phases.head.views=3"], Position(), 48 * 4 * 320, 48 * 4 * 120, 5 * 16 * 32 * 32 * 3),
        (["phases.head.views=3"], Position(1), 0, 0, 5 * 16 * 32 * 32 * 3),
        (["phases.head.views=3"], Position(2), 0, 0, 0),
    ],
)
def test_what_a_run_takes_from_a_position_on(recipe, settings, position, features, held, batches):
    found = made(with_settings(recipe, settings), position=position)
    assert (found.features, found.held, found.batches) == (features, held, batches)
    assert found.phases == 2
    assert (found.state > found.weights) == (position.phase < 2)


@pytest.mark.parametrize(
    ("asked", "fitted", "waits"), [(60_000, {}, 100), (64, {"all": Fitted(64, 8, 8)}, 64)]
)
def test_no_more_photos_wait_than_there_are_or_fit(recipe, asked, fitted, waits):
    told = with_settings(recipe, [f"phases.*.batch_size={asked}"])
    assert made(told, fitted=fitted).batches == 5 * waits * 32 * 32 * 3
    last = made(told, fitted=fitted, position=Position(1))
    assert last.batches == 5 * (fitted["all"].batch_size if fitted else 100) * 32 * 32 * 3


def test_more_workers_have_more_photos_waiting(recipe):
    assert made(recipe, workers="threads:8").batches == 17 * 16 * 32 * 32 * 3


@pytest.mark.parametrize(
    ("keep", "chain"), [(None, 16 * GB), (100 * GB, 16 * GB), (10 * GB, 10 * GB), (1, 6 * GB)]
)
def test_what_the_chain_comes_to_take(keep, chain):
    assert ROOM.chain(keep) == chain


@pytest.fixture
def disk(monkeypatch):
    """Set what is free on the disk, and what folders hold."""

    def free(nbytes, used=None):
        monkeypatch.setattr(
            resources.shutil, "disk_usage", lambda path: SimpleNamespace(free=nbytes)
        )
        if used is not None:
            monkeypatch.setattr(resources, "_used", lambda path: used.get(path.name, 0))

    return free


@pytest.mark.parametrize(
    ("free", "keep", "said"),
    [
        (8.49, 10 * GB, "needs 8.5 GB of disk at least.* checkpoints of 3.0 GB.* 500 MB of cached"),
        (8.51, 10 * GB, "the disk is tight: with the chain's 10.0 GB .*--keep 3010MB fits"),
        (15.49, 10 * GB, "the disk is tight.*15.5 GB that are free; --keep 9990MB"),
        (15.5, 10 * GB, ""),
        (15.5, None, "the disk is tight: with the chain's 16.0 GB"),
        (21.5, None, ""),
        (11.5, 10**6, ""),
    ],
)
def test_the_disk(tmp_path, disk, capsys, free, keep, said):
    disk(int(free * GB))
    folder = RunFolder(tmp_path / "not/there/yet")
    if "at least" in said:
        with pytest.raises(RunError, match=said):
            check_disk(ROOM, folder, Session(), keep)
        return
    check_disk(ROOM, folder, Session(), keep)
    printed = capsys.readouterr().err
    assert not printed if not said else all(part in printed for part in said.split(".*"))


def test_what_the_run_has_there_already_is_room(tmp_path, disk):
    disk(GB, used={"chain": 7 * GB, "best": GB // 2})
    check_disk(ROOM, RunFolder(tmp_path), Session(), 10 * GB)
    disk(GB, used={"chain": 6 * GB, "best": GB // 2})
    with pytest.raises(RunError, match=r"7\.5 GB are free"):
        check_disk(ROOM, RunFolder(tmp_path), Session(), 10 * GB)


@pytest.mark.parametrize("kind", ["kaggle-batch", "kaggle-interactive", "plain", "colab"])
@pytest.mark.parametrize("inside", [True, False])
def test_kaggle_keeps_20_gb_of_an_output(tmp_path, disk, kind, inside):
    work = tmp_path / "working"
    work.mkdir()
    disk(1000 * GB, used={"working": 12 * GB})
    folder = RunFolder(work / "run" if inside else tmp_path / "tmp/run")
    session = Session(kind=kind, work=work)
    if inside and kind.startswith("kaggle"):
        with pytest.raises(RunError, match=r"8\.0 GB are free of the 20\.0 GB that Kaggle keeps"):
            check_disk(ROOM, folder, session, None)
    else:
        check_disk(ROOM, folder, session, None)


def test_files_are_counted_and_links_are_not(tmp_path):
    (tmp_path / "a/b").mkdir(parents=True)
    (tmp_path / "a/b/x").write_bytes(bytes(1000))
    (tmp_path / "y").write_bytes(bytes(10_000))
    outside = tmp_path.parent / f"{tmp_path.name}-outside"
    outside.mkdir()
    (outside / "z").write_bytes(bytes(100_000))
    (tmp_path / "link").symlink_to(outside)
    assert 11_000 <= resources._used(tmp_path) < 12_000
    assert resources._used(tmp_path / "nowhere") == 0


@pytest.mark.parametrize(
    ("free", "said"),
    [
        (6.49, r"needs 6.5 GB of the machine's memory.*6\.0 GB for copies.*250 MB for features"),
        (6.51, "memory is tight: the run takes 6.5 GB of the 6.5 GB that are free"),
        (8.12, "memory is tight"),
        (8.13, ""),
    ],
)
def test_memory(capsys, free, said):
    if said.startswith("needs"):
        with pytest.raises(RunError, match=said):
            check_memory(ROOM, int(free * GB))
        return
    check_memory(ROOM, int(free * GB))
    printed = capsys.readouterr().err
    assert said in printed
    assert bool(said) == bool(printed)


def test_memory_that_is_free_now(monkeypatch):
    monkeypatch.setattr(resources, "free_memory", lambda: GB)
    with pytest.raises(RunError, match=r"1\.0 GB are free"):
        check_memory(ROOM)


@pytest.mark.parametrize(
    ("fault", "said"),
    [
        ("disk", "of disk at least"),
        ("memory", "of the machine's memory beside the training"),
    ],
)
def test_a_run_without_room_is_refused_before_anything_is_written(
    tmp_path, photos, recipe, monkeypatch, disk, fault, said
):
    if fault == "disk":
        disk(10**4)
    else:
        monkeypatch.setattr(resources, "free_memory", lambda: 10**4)
    with pytest.raises(RunError, match=said):
        train_model(recipe, read_catalog(photos), tmp_path / "run")
    assert [path.name for path in (tmp_path / "run").rglob("*") if path.suffix] == []


def test_what_others_take_is_not_the_cpus(tmp_path, photos, recipe, monkeypatch):
    """The copies of the state and the photos that wait lie in the same memory as the training."""
    asked = []
    monkeypatch.setattr(loop, "present_device", lambda taken: asked.append(taken))
    train_model(recipe, read_catalog(photos), tmp_path / "run", session=Session(stop_after=1))
    (taken,) = asked
    assert taken > 2 * sum(path.stat().st_size for path in (tmp_path / "run/chain").glob("*1-*/*z"))
