"""Batches in order, the same whoever makes them; workers that are killed, stuck or let go."""

from __future__ import annotations

import contextlib
import faulthandler
import json
import multiprocessing
import os
import re
import signal
import subprocess
import sys
import textwrap
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from types import FrameType
from typing import Any

import numpy as np
import pytest
from photos import draw, encode

import carlib.loader as room
from carlib.augment import draw_mix, entry_size, item_seed, make_augmenter, skips
from carlib.catalog import Catalog
from carlib.errors import DataError, RunError, UsageError
from carlib.images import fit, read_photo
from carlib.loader import Batch, Items, Loader, View, Workers
from carlib.loader.workers import Worker
from carlib.spec import ModelSpec, Phase

COUNT, BATCH, SIZE, SEED = 11, 3, 20, 5
VIEW = View(SIZE, "pad", "light")
MIXED = View(SIZE, "crop", "light", clean_share=0.2, erasing=0.3, mixup=0.4, cutmix=1.0)
WATCH = 30  # seconds; nothing here takes a tenth of it
HANGS = 10  # seconds, for a script that takes two
ORDER_3_2 = [0, 2, 5, 6, 3, 1, 7, 4, 9, 8, 10]  # of seed 3, epoch 2


@pytest.fixture(autouse=True)
def watchdog() -> Iterator[None]:
    """Fail a test that hangs, and end the process where even that does not help."""

    def bark(number: int, frame: FrameType | None) -> None:
        raise TimeoutError(f"the loader hangs: {WATCH} s")

    before = signal.signal(signal.SIGALRM, bark)
    signal.alarm(WATCH)
    faulthandler.dump_traceback_later(2 * WATCH, exit=True, file=sys.__stderr__)
    yield
    faulthandler.cancel_dump_traceback_later()
    signal.alarm(0)
    signal.signal(signal.SIGALRM, before)


def write(folder: Path, count: int = COUNT) -> Catalog:
    paths = [str(folder / f"{number}.png") for number in range(count)]
    for number, path in enumerate(paths):
        Path(path).write_bytes(encode(draw(24 + 3 * number, 61 - 2 * number, number)))
    names = tuple(f"photo {number}" for number in range(count))
    labels = tuple(number * number % 3 for number in range(count))
    return Catalog(names, tuple(paths), ("a", "b", "c"), labels)


@pytest.fixture(scope="module")
def catalog(tmp_path_factory: pytest.TempPathFactory) -> Catalog:
    return write(tmp_path_factory.mktemp("photos"))


@pytest.fixture(scope="module")
def processes(catalog: Catalog) -> Iterator[Loader]:
    """Two processes, shared by the tests that leave them whole: each costs a second to start."""
    with make(catalog, "processes:2") as loader:
        yield loader


def make(catalog: Catalog, workers: str = "0", **options: Any) -> Loader:
    options = {"view": VIEW, "batch_size": BATCH, "seed": SEED, "training": True, **options}
    return Loader(catalog, workers=Workers.parse(workers), **options)


def expected(catalog: Catalog, epoch: int, numbers: np.ndarray, view: View = VIEW) -> np.ndarray:
    """The photos as the contract says: a function of seed, epoch and index, nothing else."""
    augment = make_augmenter(view.preset, view.size, view.erasing)
    entry = entry_size(view.preset, view.size)
    made = []
    for number in numbers:
        photo, seed = read_photo(catalog.paths[number]), item_seed(SEED, epoch, int(number))
        if skips(seed, view.augmentation.skip):
            made.append(fit(photo, view.size, view.resize))
        else:
            made.append(augment(fit(photo, entry, view.resize), seed))
    return np.stack(made)


def truth_of(catalog: Catalog, epoch: int, view: View) -> list[Batch]:
    """All batches of a training epoch, whole ones of BATCH photos."""
    order = make(catalog, view=view).order(epoch)
    labels = np.array(catalog.labels, np.int32)
    photos, partners, shares = expected(catalog, epoch, order, view), None, None
    if view.mixup or view.cutmix:
        seeds = [item_seed(SEED, epoch, int(number)) for number in order]
        mixes = [draw_mix(view.augmentation, view.size, seed) for seed in seeds]
        nexts = np.roll(np.arange(len(order)), -1)
        photos = np.stack([mix(photos[i], photos[nexts[i]]) for i, mix in enumerate(mixes)])
        partners = labels[order[nexts]]
        shares = np.array([mix.share for mix in mixes], np.float32)
    return [
        Batch(
            order[rows],
            photos[rows],
            labels[order[rows]],
            None if partners is None else partners[rows],
            None if shares is None else shares[rows],
        )
        for rows in np.arange(len(order) // BATCH * BATCH).reshape(-1, BATCH)
    ]


def assert_same(left: list[Batch], right: list[Batch]) -> None:
    assert len(left) == len(right)
    for one, other in zip(left, right, strict=True):
        np.testing.assert_array_equal(one.numbers, other.numbers)
        np.testing.assert_array_equal(one.photos, other.photos)
        np.testing.assert_array_equal(one.labels, other.labels)
        np.testing.assert_array_equal(one.partners, other.partners)
        np.testing.assert_array_equal(one.shares, other.shares)


# ---- read functions for the workers; in a module of its own name, so they can be sent


def dying_read(path: str) -> np.ndarray:
    os._exit(3)


def telling_read(path: str) -> np.ndarray:
    """Write beside the photos what this process has imported."""
    told = Path(path).parent / f"{os.getpid()}.json"
    told.write_text(json.dumps(sorted(sys.modules)))
    return read_photo(path)


def failing_read(path: str) -> np.ndarray:
    raise OSError(f"an error nobody foresaw, at {path}")


# ---- workers


@pytest.mark.parametrize(
    ("text", "workers"),
    [
        ("0", Workers("threads", 0)),
        ("4", Workers("threads", 4)),
        ("threads:1", Workers("threads", 1)),
        ("processes:2", Workers("processes", 2)),
        ("processes:0", Workers("processes", 0)),
        ("256", Workers("threads", 256)),
        ("threads", Workers("threads")),
        ("processes", Workers("processes")),
    ],
)
def test_workers_parse(text: str, workers: Workers) -> None:
    assert Workers.parse(text) == workers


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "workers are threads or processes; received ''"),
        ("fibres", "workers are threads or processes; received 'fibres'"),
        ("Threads:2", "workers are threads or processes; received 'Threads'"),
        ("-1", "workers are threads or processes; received '-1'"),
        ("4:5", "workers are threads or processes; received '4'"),
        ("2.5", "workers are threads or processes; received '2.5'"),
        ("threads:-1", "like 2, threads:2 or processes:2; received 'threads:-1'"),
        ("threads:two", "like 2, threads:2 or processes:2; received 'threads:two'"),
        ("threads:2:3", "like 2, threads:2 or processes:2; received 'threads:2:3'"),
        ("processes: 2", "like 2, threads:2 or processes:2; received 'processes: 2'"),
        ("257", "must be 0 to 256; received 257"),
    ],
)
def test_workers_refuse(text: str, message: str) -> None:
    with pytest.raises(UsageError, match=re.escape(message)):
        Workers.parse(text)


@pytest.mark.parametrize("count", [-1, 257])
def test_workers_refuse_counts(count: int) -> None:
    with pytest.raises(UsageError, match=f"must be 0 to 256; received {count}"):
        Workers("threads", count)


# ---- what is refused at birth


@pytest.mark.parametrize("resize", ["strech", ""])
def test_view_refuses_unknown_resize(resize: str) -> None:
    with pytest.raises(UsageError, match="unknown resize policy"):
        View(SIZE, resize)


@pytest.mark.parametrize("size", [0, -3])
def test_view_refuses_sizes(size: int) -> None:
    with pytest.raises(UsageError, match=f"size must be 1 px or more; received {size}"):
        View(size)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"clean_share": 1.5}, "clean_share must be a number from 0 to 1; received 1.5"),
        ({"erasing": -0.1}, "erasing must be a number from 0 to 1; received -0.1"),
        ({"mixup": 101.0}, "mixup must be a number from 0 to 100; received 101.0"),
        ({"cutmix": -1.0}, "cutmix must be a number from 0 to 100; received -1.0"),
        ({"preset": "ligth"}, "unknown preset 'ligth'; did you mean 'light'"),
        (
            {"preset": "scratch", "clean_share": 0.1},
            "clean_share = 0.1 is less than preset 'scratch' leaves clean by itself, 0.225",
        ),
    ],
)
def test_view_refuses_augmentations(options: dict[str, Any], message: str) -> None:
    with pytest.raises(UsageError, match=re.escape(message)):
        View(SIZE, **options)


@pytest.mark.parametrize(
    ("options", "view"),
    [
        ({}, View(48, "pad")),
        ({"size": 32}, View(32, "pad")),
        (
            {"augment": "light", "clean_share": 0.2, "erasing": 0.1, "mixup": 0.3, "cutmix": 0.4},
            View(48, "pad", "light", 0.2, 0.1, 0.3, 0.4),
        ),
    ],
)
def test_the_view_of_a_phase(options: dict[str, Any], view: View) -> None:
    model = ModelSpec("tiny", 48, resize="pad")
    assert View.of(model, Phase("all", 1, 1e-3, **options)) == view


def test_loader_refuses_unknown_preset(catalog: Catalog) -> None:
    with pytest.raises(UsageError, match="unknown preset 'ligth'; did you mean 'light'"):
        make(catalog, view=View(SIZE, preset="ligth"))


def test_loader_refuses_no_photos() -> None:
    with pytest.raises(UsageError, match="the catalog has no photos"):
        Loader(Catalog((), ()), VIEW, batch_size=2)


@pytest.mark.parametrize("size", [0, -1])
def test_loader_refuses_batch_sizes(catalog: Catalog, size: int) -> None:
    with pytest.raises(UsageError, match=f"batch_size must be 1 or more; received {size}"):
        make(catalog, batch_size=size)


@pytest.mark.parametrize("step", [-1, 3, 99])
def test_batch_refuses_steps(catalog: Catalog, step: int) -> None:
    with pytest.raises(UsageError, match=f"step must be 0 to 2; received {step}"):
        make(catalog).batch(0, step)


@pytest.mark.parametrize("start", [-1, 4])
@pytest.mark.parametrize("workers", ["0", "threads:2"])
def test_epoch_refuses_starts(catalog: Catalog, workers: str, start: int) -> None:
    with (
        make(catalog, workers) as loader,
        pytest.raises(UsageError, match=f"start must be 0 to 3; received {start}"),
    ):
        next(loader.epoch(0, start))


# ---- items


@pytest.mark.parametrize("preset", ["none", "light", "medium", "heavy", "cars", "scratch"])
@pytest.mark.parametrize("resize", ["stretch", "crop", "pad"])
def test_an_item_is_a_function_of_seed_epoch_and_index(
    catalog: Catalog, preset: str, resize: str
) -> None:
    view = View(SIZE, resize, preset)
    items = Items(catalog, view, SEED)
    numbers = np.array([7, 0, 10, 7])
    for epoch in (0, 2):
        photos = items.batch(epoch, numbers)
        assert photos.dtype == np.uint8
        assert photos.shape == (4, SIZE, SIZE, 3)
        np.testing.assert_array_equal(photos, expected(catalog, epoch, numbers, view))
        np.testing.assert_array_equal(photos[0], photos[3])


@pytest.mark.parametrize(("preset", "same"), [("none", True), ("light", False)])
def test_augmentation_differs_by_seed_and_epoch(catalog: Catalog, preset: str, same: bool) -> None:
    view = View(SIZE, preset=preset)
    numbers = np.arange(COUNT)
    base = Items(catalog, view, 0).batch(0, numbers)
    assert np.array_equal(base, Items(catalog, view, 0).batch(1, numbers)) is same
    assert np.array_equal(base, Items(catalog, view, 1).batch(0, numbers)) is same


def test_a_photo_that_skips_is_what_validation_sees(catalog: Catalog) -> None:
    """Fitted once, straight to the size: neither cropped from a larger one, erased nor mixed."""
    plain = Items(catalog, View(SIZE, "crop")).batch(0, np.arange(COUNT))
    view = View(SIZE, "crop", "heavy", clean_share=0.4, erasing=1.0, mixup=1.0)
    loader = make(catalog, view=view)
    clean = 0
    for epoch in range(10):
        for batch in loader.epoch(epoch):
            for number, photo, share in zip(batch.numbers, batch.photos, batch.shares, strict=True):
                skipped = skips(item_seed(SEED, epoch, int(number)), 0.4)
                assert np.array_equal(photo, plain[number]) is skipped
                assert bool(share == 1) is skipped
                clean += skipped
    assert 20 <= clean <= 52  # of 90, 36 on average


def test_items_hold_the_photos_in_rgb(catalog: Catalog) -> None:
    photo = Items(catalog, View(64, "stretch"))(0, 0)
    corners = photo[2, 2], photo[2, -3], photo[-3, -3]
    assert [corner.tolist() for corner in corners] == [[250, 10, 20], [15, 240, 30], [5, 25, 245]]


# ---- order


def test_order_is_a_permutation_of_its_own_each_epoch_and_seed(catalog: Catalog) -> None:
    orders = {}
    for seed in (0, 1):
        loader = make(catalog, seed=seed)
        for epoch in range(5):
            order = loader.order(epoch)
            assert sorted(order) == list(range(COUNT))
            np.testing.assert_array_equal(order, loader.order(epoch))
            orders[tuple(order.tolist())] = seed, epoch
    assert len(orders) == 10
    assert tuple(range(COUNT)) not in orders


def test_order_stays_over_versions(catalog: Catalog) -> None:
    """A run resumed under another numpy must not see photos of an epoch twice."""
    assert make(catalog, seed=3).order(2).tolist() == ORDER_3_2


def test_validation_keeps_catalog_order_and_its_smaller_last_batch(catalog: Catalog) -> None:
    loader = make(catalog, training=False, view=View(SIZE))
    assert loader.steps == 4
    batches = list(loader.epoch(3))
    assert [batch.numbers.tolist() for batch in batches] == [
        [0, 1, 2],
        [3, 4, 5],
        [6, 7, 8],
        [9, 10],
    ]
    assert [len(batch.photos) for batch in batches] == [3, 3, 3, 2]


def test_training_drops_the_partial_batch(catalog: Catalog) -> None:
    loader = make(catalog)
    assert loader.steps == 3
    batches = list(loader.epoch(1))
    assert [batch.photos.shape for batch in batches] == [(BATCH, SIZE, SIZE, 3)] * 3
    numbers = np.concatenate([batch.numbers for batch in batches])
    np.testing.assert_array_equal(numbers, loader.order(1)[:9])


@pytest.mark.parametrize(
    ("count", "batch_size", "training", "sizes"),
    [
        (1, 4, True, [1]),
        (1, 4, False, [1]),
        (3, 4, True, [3]),
        (3, 4, False, [3]),
        (4, 4, True, [4]),
        (4, 4, False, [4]),
        (5, 4, True, [4]),
        (5, 4, False, [4, 1]),
        (8, 4, True, [4, 4]),
        (8, 4, False, [4, 4]),
        (11, 1, True, [1] * 11),
    ],
)
def test_batch_sizes(
    catalog: Catalog, count: int, batch_size: int, training: bool, sizes: list[int]
) -> None:
    some = catalog.take(range(count))
    loader = make(some, batch_size=batch_size, training=training, view=View(SIZE))
    assert loader.steps == len(sizes)
    assert [len(batch.photos) for batch in loader.epoch(0)] == sizes


def test_labels_travel_with_their_photos(catalog: Catalog) -> None:
    for batch in make(catalog).epoch(0):
        assert batch.labels is not None
        assert batch.labels.dtype == np.int32
        assert batch.labels.tolist() == [catalog.labels[number] for number in batch.numbers]
    plain = Catalog(catalog.ids, catalog.paths)
    assert [batch.labels for batch in make(plain).epoch(0)] == [None] * 3


# ---- the same, whoever makes it


@pytest.mark.parametrize("view", [VIEW, MIXED], ids=["own", "mixed"])
@pytest.mark.parametrize("workers", ["0", "threads:1", "threads:2", "processes:2"])
def test_batches_do_not_depend_on_workers_or_start(
    catalog: Catalog, request: pytest.FixtureRequest, workers: str, view: View
) -> None:
    kept = workers == "processes:2" and view == VIEW
    loader = request.getfixturevalue("processes") if kept else make(catalog, workers, view=view)
    for epoch in (0, 4):
        truth = truth_of(catalog, epoch, view)
        assert len(truth) == loader.steps == 3
        for start in range(loader.steps + 1):
            assert_same(list(loader.epoch(epoch, start)), truth[start:])
        assert_same([loader.batch(epoch, step) for step in range(loader.steps)], truth)
    if not kept:
        loader.close()


# ---- mixed


@pytest.mark.parametrize("workers", ["0", "threads:2"])
def test_mixed_photos_do_not_depend_on_the_batch_size(catalog: Catalog, workers: str) -> None:
    names = ("numbers", "photos", "labels", "partners", "shares")
    with make(catalog, view=MIXED, batch_size=COUNT) as loader:
        (whole,) = loader.epoch(2)
    for size in (1, 2, 3, 5):
        with make(catalog, workers, view=MIXED, batch_size=size) as loader:
            batches = list(loader.epoch(2))
        for name in names:
            found = np.concatenate([getattr(batch, name) for batch in batches])
            np.testing.assert_array_equal(found, getattr(whole, name)[: len(found)])


def test_a_partner_is_the_next_in_the_epochs_order(catalog: Catalog) -> None:
    whole = make(catalog, view=MIXED, batch_size=COUNT)
    for epoch in range(3):
        batch, order = whole.batch(epoch, 0), whole.order(epoch)
        nexts = [*order[1:], order[0]]
        assert batch.partners.dtype == np.int32
        assert batch.shares.dtype == np.float32
        assert batch.partners.tolist() == [catalog.labels[number] for number in nexts]
    others = {tuple(whole.batch(epoch, 0).shares.tolist()) for epoch in range(3)}
    assert len(others) == 3


@pytest.mark.parametrize(
    ("options", "patch"), [({"mixup": 1.0}, False), ({"cutmix": 1.0}, True)], ids=str
)
def test_the_share_is_the_photos_own_part(
    catalog: Catalog, options: dict[str, float], patch: bool
) -> None:
    """Read off the photos: black ones and white ones by turns."""

    def read(path: str) -> np.ndarray:
        return np.full((30, 30, 3), 255 * (int(Path(path).stem) % 2), np.uint8)

    loader = make(catalog, view=View(SIZE, **options), batch_size=COUNT, read=read)
    partly = 0
    for epoch in range(4):
        batch, order = loader.batch(epoch, 0), loader.order(epoch)
        nexts = [*order[1:], order[0]]
        for own, other, photo, share in zip(order, nexts, batch.photos, batch.shares, strict=True):
            white = share * (own % 2) + (1 - share) * (other % 2)
            assert photo.mean() / 255 == pytest.approx(white, abs=0.002)
            assert not patch or set(photo.ravel()) <= {0, 255}
            partly += 0.1 < white < 0.9
    assert partly > 5


def test_catalog_order_is_never_mixed(catalog: Catalog) -> None:
    loader = make(catalog, view=MIXED, training=False)
    for batch in loader.epoch(1):
        assert batch.partners is None
        assert batch.shares is None
        photos = expected(catalog, 1, batch.numbers, MIXED)
        np.testing.assert_array_equal(batch.photos, photos)


def test_mixing_needs_no_labels_and_no_second_photo(catalog: Catalog) -> None:
    plain = Catalog(catalog.ids, catalog.paths)
    for one, other in zip(
        make(plain, view=MIXED).epoch(0), make(catalog, view=MIXED).epoch(0), strict=True
    ):
        assert one.labels is one.partners is None
        np.testing.assert_array_equal(one.photos, other.photos)
        np.testing.assert_array_equal(one.shares, other.shares)
    single = catalog.take([4])
    (batch,) = make(single, view=View(SIZE, mixup=1.0)).epoch(0)
    assert batch.partners.tolist() == batch.labels.tolist()
    assert np.abs(batch.photos.astype(int) - expected(single, 0, [0], View(SIZE))).max() <= 1


@pytest.mark.parametrize("step", [0, 1, 2])
def test_a_batch_of_mixed_photos_reads_one_photo_more(catalog: Catalog, step: int) -> None:
    read: list[str] = []

    def note(path: str) -> np.ndarray:
        read.append(path)
        return read_photo(path)

    loader = make(catalog, view=MIXED, read=note)
    loader.batch(0, step)
    places = range(BATCH * step, BATCH * (step + 1) + 1)
    assert read == [catalog.paths[loader.order(0)[place]] for place in places]


@pytest.mark.parametrize("workers", ["0", "threads:2"])
def test_validation_does_not_depend_on_workers(catalog: Catalog, workers: str) -> None:
    view = View(SIZE, "crop")
    with make(catalog, workers, training=False, view=view) as loader:
        for batch in loader.epoch(0):
            np.testing.assert_array_equal(batch.photos, expected(catalog, 0, batch.numbers, view))


def test_order_of_completion_does_not_matter(catalog: Catalog) -> None:
    """The first photos of the epoch come last."""
    late = threading.Event()
    order = make(catalog).order(0)
    first, last = (catalog.paths[order[n]] for n in (0, 8))

    def read(path: str) -> np.ndarray:
        if path == first:
            assert late.wait(WATCH)
        if path == last:
            late.set()
        return read_photo(path)

    with make(catalog, "threads:2", read=read) as loader:
        assert_same(list(loader.epoch(0)), list(make(catalog).epoch(0)))
    assert late.is_set()


def test_two_epochs_at_once(catalog: Catalog) -> None:
    with make(catalog, "threads:2") as loader:
        both = list(zip(loader.epoch(0), loader.epoch(1), strict=True))
    for epoch in (0, 1):
        assert_same([pair[epoch] for pair in both], list(make(catalog).epoch(epoch)))


@pytest.mark.parametrize("workers", ["0", "threads:1"])
def test_waiting_is_counted(catalog: Catalog, workers: str) -> None:
    def read(path: str) -> np.ndarray:
        time.sleep(0.01)
        return read_photo(path)

    with make(catalog, workers, read=read) as loader:
        assert loader.waited == 0
        next(loader.epoch(0))
        assert loader.waited >= 0.01 * BATCH


def test_threads_make_no_more_than_two_batches_a_worker_ahead(catalog: Catalog) -> None:
    read: list[str] = []

    def note(path: str) -> np.ndarray:
        read.append(path)
        return read_photo(path)

    with make(catalog, "threads:1", batch_size=1, read=note) as loader:
        epoch = loader.epoch(0)
        next(epoch)
        loader._pool.submit(len, ()).result()  # after all that waits in the queue
        assert len(read) == room.AHEAD
        epoch.close()


# ---- workers that die


def children() -> set[int]:
    return {child.pid for child in multiprocessing.active_children() if child.pid}


@pytest.mark.parametrize("victims", ["one", "all"])
def test_killed_workers_are_replaced(catalog: Catalog, processes: Loader, victims: str) -> None:
    truth = list(make(catalog).epoch(1))
    epoch = processes.epoch(1)
    batches = [next(epoch)]
    pids = sorted(children())
    for pid in pids[:1] if victims == "one" else pids:
        os.kill(pid, signal.SIGKILL)
    batches += epoch
    assert_same(batches, truth)
    assert_same(list(processes.epoch(1)), truth)


def test_a_worker_that_is_sent_ctrl_c_goes_on_serving(catalog: Catalog) -> None:
    others = children()
    with make(catalog, "processes:1") as loader:
        worker = Worker(loader.items)
        (pid,) = children() - others
        for start in range(3):
            numbers = np.arange(start, start + 4)
            assert np.array_equal(worker.batch(1, numbers), expected(catalog, 1, numbers))
            os.kill(pid, signal.SIGINT)
        assert children() - others == {pid}
        worker.pipe.close()
        worker.process.join()
        assert worker.process.exitcode == 0


def test_ctrl_c_in_a_terminal_reaches_the_parent_alone(catalog: Catalog, tmp_path: Path) -> None:
    """Sent to the group, first while the worker starts, then while it serves."""
    script = """
        import multiprocessing, os, signal
        from carlib.catalog import Catalog
        from carlib.images import read_photo
        from carlib.loader import Items, View
        from carlib.loader.workers import Worker

        if __name__ == "__main__":
            heard = []
            signal.signal(signal.SIGINT, lambda number, frame: heard.append(number))
            worker = Worker(Items(CATALOG, View(20), 0, read_photo))
            pid = worker.process.pid
            for turn in range(3):
                os.killpg(0, signal.SIGINT)
                worker.batch(0, [turn, turn + 1])
            print(len(heard), worker.process.pid == pid)
        """
    assert run(script.replace("CATALOG", repr(catalog)), tmp_path) == "3 True\n"


def test_a_worker_killed_while_it_sends_its_batch_is_replaced(
    catalog: Catalog, tmp_path: Path
) -> None:
    """In a process of its own, which is ended with its workers should it hang."""
    script = """
        import os, signal, sys
        from multiprocessing.connection import Connection
        from pathlib import Path
        from carlib.catalog import Catalog
        from carlib.images import read_photo
        from carlib.loader import Loader, View, Workers

        def half(self, content, write=None):
            os.write(self._handle, bytes(content)[: len(content) // 2])
            os.kill(os.getpid(), signal.SIGKILL)

        def read(path):
            if path.endswith("5.png") and not MARK.exists():
                MARK.touch()
                Connection._send = half
            return read_photo(path)

        MARK = Path(__file__).with_name("killed")
        if __name__ == "__main__":
            made = {}
            for kind, read in (("threads:0", read_photo), ("processes:2", read)):
                workers = Workers.parse(kind)
                with Loader(CATALOG, View(64), batch_size=2, workers=workers, read=read) as loader:
                    made[kind] = [batch.photos.tobytes() for batch in loader.epoch(0)]
            print(MARK.exists(), made["threads:0"] == made["processes:2"], len(made["processes:2"]))
        """
    assert run(script.replace("CATALOG", repr(catalog)), tmp_path) == "True True 6\n"


def test_workers_die_with_their_parent(catalog: Catalog, tmp_path: Path) -> None:
    script = """
        import multiprocessing, os, signal
        from carlib.catalog import Catalog
        from carlib.loader import Loader, View, Workers

        if __name__ == "__main__":
            workers = Workers("processes", 1)
            next(Loader(CATALOG, View(20), batch_size=1, workers=workers).epoch(0))
            print(*[child.pid for child in multiprocessing.active_children()], flush=True)
            os.kill(os.getpid(), signal.SIGKILL)
        """
    # The pipe of what is printed closes when the last of them is gone.
    assert run(script.replace("CATALOG", repr(catalog)), tmp_path, code=-signal.SIGKILL)


def test_workers_that_always_die_are_an_error(
    catalog: Catalog, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("carlib.loader.workers.RESTARTS", 1)
    with (
        make(catalog, "processes:1", read=dying_read) as loader,
        pytest.raises(
            RunError, match=r"worker processes died 2 times in a row: out of memory.*__main__"
        ),
    ):
        next(loader.epoch(0))


def test_spawned_workers_load_no_tensorflow_and_a_vanished_photo_is_named(tmp_path: Path) -> None:
    catalog = write(tmp_path)
    with make(catalog, "processes:1", read=telling_read) as loader:
        vanished(catalog, loader)
    told = [json.loads(path.read_text()) for path in tmp_path.glob("*.json")]
    assert len(told) == 1  # a photo that cannot be read costs no worker
    loaded = {name.partition(".")[0] for name in told[0]}
    assert {"carlib", "cv2", "albumentations"} <= loaded
    assert not loaded & {"tensorflow", "keras", "torch", "matplotlib", "pandas"}


@pytest.mark.parametrize("workers", ["0", "threads:1", "processes:1"])
def test_other_errors_of_workers_come_through(catalog: Catalog, workers: str) -> None:
    with (
        make(catalog, workers, read=failing_read) as loader,
        pytest.raises(OSError, match=r"an error nobody foresaw, at .*png"),
    ):
        next(loader.epoch(0))


@pytest.mark.parametrize("workers", ["0", "threads:2"])
def test_a_vanished_photo_is_named(tmp_path: Path, workers: str) -> None:
    catalog = write(tmp_path)
    with make(catalog, workers) as loader:
        vanished(catalog, loader)


def vanished(catalog: Catalog, loader: Loader) -> None:
    """Remove the last photo of epoch 0 in mid-epoch, and put it back."""
    path = Path(catalog.paths[loader.order(0)[8]])
    content = path.read_bytes()
    epoch = loader.epoch(0, 0)
    path.unlink()
    batches = [next(epoch), next(epoch)]
    with pytest.raises(DataError, match=rf"cannot read {re.escape(str(path))}: No such file"):
        next(epoch)
    with pytest.raises(StopIteration):
        next(epoch)
    path.write_bytes(content)
    truth = list(make(catalog).epoch(0))
    assert_same(batches, truth[:2])
    assert_same(list(loader.epoch(0)), truth)


# ---- epochs left half way, loaders closed


def test_an_abandoned_epoch_blocks_nothing(catalog: Catalog, processes: Loader) -> None:
    truth = list(make(catalog).epoch(2))
    for leave in (lambda epoch: None, lambda epoch: epoch.close()):
        epoch = processes.epoch(0)
        next(epoch)
        leave(epoch)
        assert_same(list(processes.epoch(2)), truth)
    with make(catalog, "threads:2") as threads:
        epoch = threads.epoch(0)
        next(epoch)
        assert_same(list(threads.epoch(2)), truth)


def test_close_in_mid_epoch_lets_the_workers_go_and_the_epoch_goes_on_with_new_ones(
    catalog: Catalog,
) -> None:
    with make(catalog, "threads:1") as loader:
        for step in range(loader.steps):
            epoch = loader.epoch(0)
            batches = [next(epoch) for _ in range(step)]
            loader.close()
            batches += epoch
            assert_same(batches, list(make(catalog).epoch(0)))
        loader.close()
        loader.close()


def test_close_in_mid_epoch_with_processes(catalog: Catalog, processes: Loader) -> None:
    epoch = processes.epoch(0)
    batches = [next(epoch)]
    processes.close()
    batches += epoch
    assert_same(batches, list(make(catalog).epoch(0)))


def test_the_interpreter_exits_with_an_epoch_half_way(catalog: Catalog, tmp_path: Path) -> None:
    """Neither an open loader nor a running epoch keeps the process, or leaves a worker behind."""
    script = """
        import multiprocessing
        from carlib.catalog import Catalog
        from carlib.loader import Loader, View, Workers

        if __name__ == "__main__":
            epochs = []
            for kind in ("threads", "processes"):
                loader = Loader(CATALOG, View(20), batch_size=1, workers=Workers(kind, 2))
                epochs.append(loader.epoch(0))
                assert len(next(epochs[-1]).photos) == 1
            print(*[child.pid for child in multiprocessing.active_children()])
        """
    pids = run(script.replace("CATALOG", repr(catalog)), tmp_path).split()
    assert pids
    for pid in pids:
        with pytest.raises(ProcessLookupError):
            os.kill(int(pid), 0)


def run(script: str, folder: Path, code: int = 0) -> str:
    """Return what a script prints; end it and its workers where they hang."""
    path = folder / "script.py"
    path.write_text(textwrap.dedent(script))
    with subprocess.Popen(
        [sys.executable, str(path)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, "PYTHONPATH": str(Path(room.__file__).parents[2])},
        start_new_session=True,
    ) as process:
        try:
            printed, errors = process.communicate(timeout=HANGS)
        finally:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
    assert (process.returncode, errors) == (code, "")
    return printed
