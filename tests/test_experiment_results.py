"""What runs came to: kept whole, told apart, and judged by an epoch that was chosen elsewhere."""

from __future__ import annotations

import dataclasses
import itertools
import json
import re

import numpy as np
import pytest
from conftest import make_recipe

from carlib.errors import DataError, RunError
from carlib.experiments import Arm, Experiment
from carlib.experiments.folder import (
    ExperimentFolder,
    Result,
    drop_weights,
    hours_of,
    result_of,
)
from carlib.experiments.judging import halves, marks_of
from carlib.runfolder import SESSIONS, RunFolder, write_json, write_table
from carlib.spec import with_settings
from carlib.submission import Epochs

RECIPE = make_recipe()
PLAN = Experiment(
    "plan", Arm("base", RECIPE), (Arm("large", with_settings(RECIPE, ["model.size=48"])),)
)
TRIALS = list(PLAN.trials())
NAMES = ("b.jpg", "007.png", 'a "b", c.jpg', "ü 🚗.jpg", "x/y\\z.jpg")


def drawn(photos, epochs, seed=0):
    """Epochs at random: so many photos, the first few with names that are seldom."""
    rng = np.random.default_rng((photos, epochs, seed))
    ids = tuple([*NAMES, *(f"{number}.jpg" for number in range(photos))][:photos])
    labels = tuple(rng.integers(0, 3, photos).tolist())
    correct = rng.random((epochs, photos)) < 0.6
    return Epochs(ids, ("0", "sports, car", "ü"), labels, correct)


def result(trial, photos="photos", epochs=None, hours=0.25):
    """What a trial came to."""
    digest = trial.recipe.with_probe().digest()
    return Result(digest, photos, epochs or drawn(9, 3), hours, 2)


def plain(found):
    """A result in what can be compared."""
    epochs = found.epochs
    digests = found.recipe_digest, found.catalog_digest
    said = epochs.ids, epochs.classes, epochs.labels, epochs.correct.tolist()
    return (*digests, *said, found.hours, found.sessions)


def sessions(run, seconds):
    """Write a table of sessions that took so long each."""
    rows = [dict.fromkeys(SESSIONS, 1) | {"seconds": each} for each in seconds]
    write_table(RunFolder(run).sessions, rows, SESSIONS)


@pytest.fixture
def folder(tmp_path):
    return ExperimentFolder(tmp_path / "out")


# ---------------------------------------------------------------- a result's file


@pytest.mark.parametrize("photos", [1, 2, 7, 8, 9, 16, 17, 200])
@pytest.mark.parametrize("epochs", [1, 2, 9])
def test_a_result_reads_back_as_it_was(tmp_path, photos, epochs):
    path = tmp_path / "deep" / "trial.json"
    for seed in range(5):
        once = result(TRIALS[0], epochs=drawn(photos, epochs, seed), hours=0.1 * seed)
        once.save(path)
        again = Result.load(path)
        assert plain(again) == plain(once)
        assert again.epochs.correct.dtype == bool
        content = path.read_bytes()
        again.save(path)
        assert path.read_bytes() == content
    assert [each.name for each in path.parent.iterdir()] == ["trial.json"]


@pytest.mark.parametrize("value", [False, True])
def test_all_right_and_all_wrong(tmp_path, value):
    epochs = dataclasses.replace(drawn(11, 2), correct=np.full((2, 11), value))
    result(TRIALS[0], epochs=epochs).save(tmp_path / "trial.json")
    assert Result.load(tmp_path / "trial.json").epochs.accuracies() == [float(value)] * 2


def said_with(**changes):
    """The file's content with other values; a key without one is gone."""

    def change(said):
        said = {**said, **changes}
        return {key: value for key, value in said.items() if value is not None}

    return change


def row_with(change):
    """The file's content with its first epoch's bits changed."""
    return lambda said: {**said, "correct": [change(said["correct"][0]), *said["correct"][1:]]}


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (said_with(recipe_digest=None), "'recipe_digest'"),
        (said_with(catalog_digest=None), "'catalog_digest'"),
        (said_with(hours=None), "'hours'"),
        (said_with(sessions=None), "'sessions'"),
        (said_with(classes=None), "'classes'"),
        (said_with(photos=None), "'photos'"),
        (said_with(labels=None), "'labels'"),
        (said_with(correct=None), "'correct'"),
        (said_with(photos=["a"] * 9), "ids must differ"),
        (said_with(photos=[]), "2 bytes for 0 photos"),
        (said_with(photos=[], labels=[], correct=[""]), "0 bytes for 0 photos"),
        (said_with(labels=[0]), "1 labels for 9 photos"),
        (said_with(labels=[3] * 9), "labels must be numbers below 3"),
        (said_with(classes=["a"], labels=[1] * 9), "labels must be numbers below 1"),
        (said_with(correct=[]), "no epochs"),
        (said_with(correct=3), "not iterable"),
        (said_with(hours="long"), "could not convert"),
        (row_with(lambda row: row[:-2]), "1 bytes for 9 photos"),
        (row_with(lambda row: row + "00"), "3 bytes for 9 photos"),
        (row_with(lambda row: ""), "0 bytes for 9 photos"),
        (row_with(lambda row: "zz" + row[2:]), "hexadecimal"),
        (row_with(lambda row: 7), ""),
        (lambda said: [], ""),
        (lambda said: "done", ""),
        (lambda said: None, ""),
    ],
)
def test_a_damaged_result_is_named(tmp_path, damage, message):
    path = tmp_path / "trial.json"
    result(TRIALS[0]).save(path)
    write_json(path, damage(json.loads(path.read_text())))
    expected = rf"^{re.escape(str(path))} is damaged \(.*{message}.*\); delete it, and the run is "
    with pytest.raises(RunError, match=expected) as caught:
        Result.load(path)
    assert len(str(caught.value).splitlines()) == 1


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "cannot be read"),
        (b"\xff\xfe", "cannot be read"),
        (None, "cannot be read"),
        (b"gone", "is not there"),
    ],
)
def test_a_file_that_cannot_be_read_is_named(tmp_path, content, message):
    """Cut short anywhere, empty, no text, or gone."""
    path = tmp_path / "trial.json"
    result(TRIALS[0]).save(path)
    whole = path.read_bytes()
    for at in range(0, len(whole) - 2, 40) if content is None else (0,):
        path.write_bytes(whole[:at] if content is None else content)
        if content == b"gone":
            path.unlink()
        with pytest.raises(RunError, match=rf"^{re.escape(str(path))} {message}"):
            Result.load(path)


# ---------------------------------------------------------------- the folder


def test_a_run_lies_by_its_recipe_whatever_asks_for_it(folder):
    base, large = TRIALS[0], TRIALS[3]
    assert [base.arm, large.arm] == ["base", "large"]
    other = Experiment("other", Arm("the large one", large.recipe), (), seeds=(0, 9))
    first, second = other.trials()
    assert folder.run(first) == folder.run(large)
    assert folder.run(second) == folder.run(large).with_name("9-0")
    assert folder.run(base).parent != folder.run(large).parent
    assert len({folder.run(trial) for trial in TRIALS}) == len(TRIALS) == 6
    place = f"runs/test-{RECIPE.digest()[:12]}/0-0"
    assert folder.run(base).relative_to(folder.root).as_posix() == place
    assert folder.result(base) == folder.run(base) / "trial.json"
    assert folder.failure(base) == folder.run(base) / "failed.json"


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("lite0 at 128 px", "lite0-at-128-px-"),
        ("../../etc", "etc-"),
        ("..", ""),
        ("ü 🚗", ""),
        ("-rf", "rf-"),
        ("a/b\\c:d\n", "a-b-c-d-"),
        ("x" * 300, "x" * 40 + "-"),
    ],
)
def test_a_run_is_named_by_words_and_digits(folder, name, words):
    recipe = dataclasses.replace(RECIPE, name=name)
    (trial,) = Experiment("plan", Arm("base", recipe), (), seeds=(3,)).trials()
    place = folder.run(trial)
    assert place.parent.name == words + recipe.digest()[:12]
    assert place.parent.parent == folder.root / "runs"
    assert place.resolve().is_relative_to(folder.root.resolve())


def test_folds_and_seeds_lie_apart(folder):
    recipe = with_settings(RECIPE, ["folds=2", "fold=1", "seed=8"])
    trials = list(Experiment("plan", Arm("base", recipe), (), seeds=(0, 1)).trials())
    assert [folder.run(trial).name for trial in trials] == ["0-0", "0-1", "1-0", "1-1"]
    assert len({folder.run(trial).parent for trial in trials}) == 1


def test_results_are_those_that_are_done(folder):
    assert folder.results(TRIALS) == {}
    done = TRIALS[1::2]
    for number, trial in enumerate(done):
        result(trial, hours=float(number)).save(folder.result(trial))
    write_json(folder.failure(TRIALS[0]), {"why": "no"})
    found = folder.results(TRIALS)
    assert list(found) == done
    assert [each.hours for each in found.values()] == [0.0, 1.0, 2.0]


def test_a_result_of_another_recipe_is_refused(folder):
    one, other = TRIALS[0], TRIALS[1]
    result(other).save(folder.result(one))
    with pytest.raises(RunError, match=r"0-0/trial\.json is of another recipe; delete it, or cho"):
        folder.results(TRIALS)


def test_a_probe_counts_as_the_phase_that_it_is(folder):
    recipe = with_settings(RECIPE, ["linear_probe=2"])
    (trial,) = Experiment("plan", Arm("base", recipe), (), seeds=(0,)).trials()
    digest = trial.recipe.with_probe().digest()
    assert digest != trial.recipe.digest()
    result(trial).save(folder.result(trial))
    assert folder.results([trial])[trial].recipe_digest == digest


def test_results_of_other_photos_are_refused(folder):
    for trial in TRIALS[:3]:
        result(trial).save(folder.result(trial))
    result(TRIALS[3], photos="others").save(folder.result(TRIALS[3]))
    expected = r"0-0/trial\.json is of other photos than the runs before: they cannot be compared"
    with pytest.raises(RunError, match=expected):
        folder.results(TRIALS)
    assert len(folder.results(TRIALS[:3])) == 3
    assert len(folder.results(TRIALS[3:])) == 1


@pytest.mark.parametrize(
    ("content", "why"),
    [
        ('{"code": 1, "why": "no space left"}', "no space left"),
        ('{"code": 1}', "of an unknown cause"),
        ("{", "of an unknown cause"),
        ("", "of an unknown cause"),
        ("[]", "of an unknown cause"),
        ('"no"', "of an unknown cause"),
        ("null", "of an unknown cause"),
    ],
)
def test_failures(folder, content, why):
    failed, mended, _ = TRIALS[:3]
    for trial in (failed, mended):
        folder.run(trial).mkdir(parents=True)
        folder.failure(trial).write_text(content)
    result(mended).save(folder.result(mended))
    assert folder.failures(TRIALS) == {failed: why}


@pytest.mark.parametrize(
    ("seconds", "hours"), [([], 0), ([3600], 1), ([1800, 5400.0, 0], 2), (["", 3600], 0)]
)
def test_hours_of_a_run(tmp_path, seconds, hours):
    assert hours_of(tmp_path) == 0
    sessions(tmp_path, seconds)
    assert hours_of(tmp_path) == hours


@pytest.mark.parametrize("content", [b"", b"\xff", b"seconds\n1,2\n", b"session\n1\n"])
def test_hours_of_a_damaged_table_are_none(tmp_path, content):
    RunFolder(tmp_path).sessions.write_bytes(content)
    assert hours_of(tmp_path) == 0


def test_hours_are_those_of_the_runs_asked_for_each_once(folder):
    assert folder.hours(TRIALS) == 0
    other = Experiment("other", Arm("base", with_settings(RECIPE, ["model.size=64"])), ())
    for trial in (TRIALS[0], TRIALS[4], *other.trials()):
        sessions(folder.run(trial), [900, 900])
    assert folder.hours([*TRIALS, TRIALS[0]]) == pytest.approx(1.0)
    assert folder.hours([*TRIALS, *other.trials()]) == pytest.approx(2.5)


# ---------------------------------------------------------------- from a run's own tables


def finished(run, done=True):
    """A run folder as training leaves it, as far as experiments look at it."""
    folder = RunFolder(run)
    write_json(folder.result, {"done": done, "catalog_digest": "photos"})
    sessions(run, [1800, 900])
    epochs = drawn(9, 3)
    epochs.save(folder.epochs)
    return epochs


def test_a_result_is_made_of_a_runs_own_tables(tmp_path):
    epochs = finished(tmp_path)
    found = result_of(tmp_path, "recipe")
    assert plain(found) == plain(Result("recipe", "photos", epochs, 0.75, 2))


def test_a_run_without_a_result_has_none(tmp_path):
    with pytest.raises(RunError, match=r"result\.json is not there"):
        result_of(tmp_path, "recipe")
    finished(tmp_path, done=False)
    with pytest.raises(RunError, match=f"^{re.escape(str(tmp_path))} is not finished$"):
        result_of(tmp_path, "recipe")
    finished(tmp_path)
    RunFolder(tmp_path).epochs.unlink()
    with pytest.raises(DataError, match=r"epochs\.npz is not a carlib epochs file"):
        result_of(tmp_path, "recipe")


def test_weights_are_dropped_and_tables_stay(tmp_path):
    finished(tmp_path)
    result(TRIALS[0]).save(tmp_path / "trial.json")
    for name in ("chain/1-p0e1s3/weights", "features/0", "best/model.keras", "log.txt"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text("large")
    for _ in range(2):  # again is no harm
        drop_weights(tmp_path)
        assert sorted(each.name for each in tmp_path.iterdir()) == [
            *("log.txt", "result.json", "sessions.csv", "trial.json")
        ]
    assert hours_of(tmp_path) == 0.75


# ---------------------------------------------------------------- judging


def table(correct, ids=None):
    """Epochs of two classes with these answers."""
    correct = np.asarray(correct, bool)
    ids = ids or tuple(f"{number}.jpg" for number in range(correct.shape[1]))
    return Epochs(tuple(ids), ("x", "y"), (0,) * len(ids), correct)


def every_table(epochs, photos):
    """Every table of answers there is."""
    for bits in itertools.product((False, True), repeat=epochs * photos):
        yield table(np.array(bits).reshape(epochs, photos))


@pytest.mark.parametrize(("epochs", "photos"), [(1, 3), (2, 2), (2, 4), (3, 3), (5, 2)])
def test_the_best_of_noise_is_no_better_than_noise(epochs, photos):
    """Over every table of coin flips: half are right, though the best epoch has more."""
    judged, best, last = [], [], []
    for each in every_table(epochs, photos):
        judged.append(marks_of(each, "best").right.sum())
        best.append(each.correct.sum(axis=1).max())
        last.append(marks_of(each, "last").right.sum())
    flips = photos * 2 ** (epochs * photos)
    assert 2 * sum(judged) == 2 * sum(last) == flips
    assert sum(best) / flips == 0.5 if epochs == 1 else sum(best) / flips > 0.55


def test_a_really_better_epoch_is_found():
    """Epochs at 0.5, one of 20 at 0.8: judged so, and that one is not the last."""
    rng = np.random.default_rng(0)
    judged = []
    for _ in range(50):
        correct = rng.random((20, 200)) < 0.5
        correct[7] = rng.random(200) < 0.8
        judged.append(marks_of(table(correct), "best").right.mean())
    assert np.mean(judged) == pytest.approx(0.8, abs=0.02)


@pytest.mark.parametrize("photos", [2, 3, 8, 31])
def test_a_half_has_no_say_in_its_own_epoch(photos):
    """Whatever one half answers, its marks are those of the same epoch."""
    rng = np.random.default_rng(photos)
    for _ in range(20):
        correct = rng.random((6, photos)) < 0.5
        half = halves(table(correct).ids)
        for one in (half, ~half):
            chosen = int(np.argmax(correct[:, ~one].sum(axis=1)))
            other = correct.copy()
            other[:, one] = rng.random((6, one.sum())) < 0.5
            for answers in (correct, other):
                right = marks_of(table(answers), "best").right
                assert (right[one] == answers[chosen][one]).all()


def test_the_first_of_equal_epochs_counts():
    half = halves(table([[0] * 4]).ids)
    tied = np.zeros((3, 4), bool)
    tied[1, half] = True
    tied[2] = True
    # On the first half epochs 1 and 2 are equal: the other half is judged by 1, all wrong.
    assert marks_of(table(tied), "best").right.tolist() == half.tolist()


@pytest.mark.parametrize("judge", ["best", "last"])
@pytest.mark.parametrize("photos", [1, 2, 3, 40])
def test_the_order_of_photos_changes_no_mark(judge, photos):
    rng = np.random.default_rng(photos)
    epochs = table(rng.random((5, photos)) < 0.5)
    marks = marks_of(epochs, judge)
    assert marks.photos.tolist() == list(epochs.ids)
    order = rng.permutation(photos)
    turned = table(epochs.correct[:, order], tuple(epochs.ids[each] for each in order))
    again = marks_of(turned, judge)
    assert again.photos.tolist() == list(turned.ids)
    assert again.right.tolist() == marks.right[order].tolist()


@pytest.mark.parametrize("judge", ["best", "last"])
def test_marks_are_answers_of_some_epoch(judge):
    epochs = table(np.random.default_rng(5).random((4, 30)) < 0.3)
    marks = marks_of(epochs, judge)
    assert marks.right.dtype == bool
    assert (marks.right <= epochs.correct.any(axis=0)).all()
    assert (marks.right >= epochs.correct.all(axis=0)).all()
    single = table(epochs.correct[:1])
    assert marks_of(single, judge).right.tolist() == epochs.correct[0].tolist()


def test_the_last_epoch_is_the_last():
    epochs = table([[1, 1, 1], [0, 1, 0]])
    assert marks_of(epochs, "last").right.tolist() == [False, True, False]


def test_a_single_photo_is_judged_by_the_best_of_its_own():
    assert marks_of(table([[0], [1], [0]]), "best").right.tolist() == [True]


@pytest.mark.parametrize("photos", [0, 1, 2, 3, 10, 501])
def test_halves_are_by_the_ids_alone(photos):
    ids = tuple([*NAMES, *(f"{number}.jpg" for number in range(photos))][:photos])
    first = halves(ids)
    assert first.shape == (photos,)
    assert first.sum() == (photos + 1) // 2
    members = {name for name, inside in zip(ids, first, strict=True) if inside}
    turned = ids[::-1]
    again = halves(turned)
    assert {name for name, inside in zip(turned, again, strict=True) if inside} == members


def test_halves_take_photos_of_every_class_alike():
    """Ids in the order of classes, as folders give them: no half is of one class."""
    ids = tuple(f"{kind}/{number}.jpg" for kind in "abcd" for number in range(100))
    shares = halves(ids).reshape(4, 100).mean(axis=1)
    assert (abs(shares - 0.5) < 0.15).all()
