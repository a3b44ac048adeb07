"""What is run, what is not run again, and what stops it; runs are pretended."""

from __future__ import annotations

import dataclasses
import shutil

import pytest
from experiments import Pretend, make_experiment, result_for

from carlib.errors import CarlibError, RunError
from carlib.experiments import Arm, Photos, Search, run_experiment, table_of, tables_of
from carlib.experiments import run as running
from carlib.experiments.folder import ExperimentFolder
from carlib.files import only_one
from carlib.runfolder import RunFolder
from carlib.session import Session
from carlib.spec import from_dict, with_settings

SHARES = {"0.005": 0.6, "0.01": 0.9, "0.1": 0.3}
USAGE, BROKEN, STOPPED = 2, 1, 75


@pytest.fixture(autouse=True)
def _no_waiting(monkeypatch):
    monkeypatch.setattr(running, "LOOK", 0.0)
    monkeypatch.setattr(running, "check_arms", lambda experiment: None)


def run(experiment, out, launcher, **options):
    options = {"session": Session(), **options}
    return run_experiment(experiment, Photos("photos"), out, launcher=launcher, **options)


def test_all_arms_before_more_seeds_and_none_again(tmp_path):
    experiment = make_experiment("0.01", "0.1", seeds=(3, 4))
    launcher = Pretend(SHARES)
    ending = run(experiment, tmp_path, launcher)
    assert (ending.why, ending.done, ending.of, ending.failed) == ("done", 6, 6, {})
    assert ending.hours == 3.0
    assert launcher.order == [(rate, seed) for seed in (3, 4) for rate in ("0.005", "0.01", "0.1")]
    assert launcher.closed == 1
    again = Pretend(SHARES)
    assert run(experiment, tmp_path, again) == ending
    assert again.order == []
    more = Pretend(SHARES)
    run(dataclasses.replace(experiment, seeds=(3, 4, 5)), tmp_path, more)
    assert [seed for _, seed in more.order] == [5, 5, 5]


def test_plans_of_one_folder_share_their_runs(tmp_path):
    run(make_experiment("0.01", seeds=(0,)), tmp_path, Pretend(SHARES))
    launcher = Pretend(SHARES)
    run(make_experiment("0.1", seeds=(0,)), tmp_path, launcher)
    assert launcher.order == [("0.1", 0)]


def test_a_run_is_told_what_it_needs(tmp_path):
    launcher = Pretend(SHARES)
    experiment = make_experiment(seeds=(0,), keep="runs", use=("mine.py",))
    clock = iter(range(10, 1000)).__next__
    session = Session(limit=7200, clock=lambda: float(clock()), began=0.0)
    photos = Photos("photos", "left-out.txt", "more", "groups.csv")
    run_experiment(
        experiment, photos, tmp_path, session=session, launcher=launcher, workers="threads:1"
    )
    job = launcher.jobs[0]
    assert 7000 < job["limit"] < 7200
    assert {key: job[key] for key in ("data", "exclude", "external", "groups")} == {
        "data": "photos",
        "exclude": "left-out.txt",
        "external": "more",
        "groups": "groups.csv",
    }
    assert (job["workers"], job["use"], job["keep"]) == ("threads:1", ["mine.py"], "runs")


@pytest.mark.parametrize(
    ("code", "words", "tried", "said"),
    [
        # A mistake in an arm would come again with every seed; a crash may not.
        (USAGE, "unknown monitor 'nope'", 1, "unknown monitor 'nope'"),
        (BROKEN, "no space left", 2, "no space left"),
        (-9, "step 3", 2, "killed by signal 9; its last words: step 3"),
    ],
)
def test_a_failing_arm_stops_no_other(tmp_path, code, words, tried, said):
    experiment = make_experiment("0.01", "0.1", seeds=(0, 1))
    launcher = Pretend({**SHARES, "0.01": (code, words)})
    ending = run(experiment, tmp_path, launcher)
    assert (ending.why, ending.done, ending.of) == ("done", 4, 6)
    assert ending.failed == {"0.01 seed 0": said, "0.01 seed 1": said}
    assert [rate for rate, _ in launcher.order].count("0.01") == tried
    table = table_of(experiment, tmp_path)
    assert (table.waiting, table.failed, table.done) == (0, 2, False)
    assert [line.note for line in table.lines] == ["", f"failed: {said}", ""]
    # Another session tries again.
    mended = Pretend(SHARES)
    assert run(experiment, tmp_path, mended).failed == {}
    assert mended.order == [("0.01", 0), ("0.01", 1)]
    assert table_of(experiment, tmp_path).done


def test_a_mistake_at_one_level_is_none_at_the_other(tmp_path):
    """The proxy's backbone may lack what the base's has."""
    experiment = make_experiment("0.01", seeds=(0, 1))
    proxy = tuple(
        Arm(arm.name, with_settings(arm.recipe, [f"phases.all.lr={rate}"]))
        for arm, rate in zip(experiment.everyone, ("0.3", "0.4"), strict=True)
    )
    launcher = Pretend({**SHARES, "0.3": (USAGE, "no weights"), "0.4": (USAGE, "no weights")})
    ending = run(dataclasses.replace(experiment, proxy=proxy), tmp_path, launcher)
    assert (ending.done, len(ending.failed)) == (4, 4)
    assert [rate for rate, _ in launcher.order] == ["0.3", "0.4", "0.005", "0.01", "0.005", "0.01"]


def test_a_base_that_fails_leaves_means_without_verdicts(tmp_path):
    experiment = make_experiment("0.01", seeds=(0, 1))
    run(experiment, tmp_path, Pretend({**SHARES, "0.005": (BROKEN, "no space left")}))
    base, other = table_of(experiment, tmp_path).lines
    assert (base.accuracy, other.accuracy.mean, other.comparison) == (None, 0.9, None)


def test_where_all_fails_there_is_no_table(tmp_path):
    experiment = make_experiment(seeds=(0,))
    ending = run(experiment, tmp_path, Pretend({"0.005": (BROKEN, "no space left")}))
    assert (ending.done, len(ending.failed)) == (0, 1)
    with pytest.raises(RunError, match=r"no run of 'Rates' is finished in .*; no space left"):
        table_of(experiment, tmp_path)


@pytest.mark.parametrize(("hours", "done"), [(0.0, 6), (0.4, 1), (0.6, 1), (1.0, 2), (2.9, 5)])
def test_a_budget_is_kept(tmp_path, hours, done):
    """Each run takes half an hour; the first is begun without a forecast."""
    experiment = make_experiment("0.01", "0.1", seeds=(0, 1), hours=hours)
    ending = run(experiment, tmp_path, Pretend(SHARES))
    assert (ending.done, ending.why) == (done, "done" if done == 6 else "the budget")
    again = Pretend(SHARES)
    assert run(experiment, tmp_path, again).done == done
    assert not again.order


def test_what_a_begun_run_took_is_counted_once(tmp_path):
    """Of half an hour each: one done, one 25 minutes on; five more do."""
    experiment = make_experiment("0.01", seeds=(0,))
    _, second = experiment.trials()
    run(dataclasses.replace(experiment, hours=0.5), tmp_path, Pretend(SHARES))
    begun = RunFolder(ExperimentFolder(tmp_path).run(second))
    begun.root.mkdir(parents=True)
    begun.sessions.write_text("number,seconds\n1,1500\n")
    for hours, goes_on in ((0.99, False), (1.01, True)):
        launcher = Pretend(SHARES)
        ending = run(dataclasses.replace(experiment, hours=hours), tmp_path, launcher)
        assert (ending.why == "done", len(launcher.order)) == (goes_on, int(goes_on))


def test_a_run_gets_no_more_than_the_budget_has(tmp_path):
    launcher = Pretend({**SHARES, "0.01": (STOPPED, "")})
    experiment = make_experiment("0.01", seeds=(0,), hours=1.25)
    ending = run(experiment, tmp_path, launcher)
    assert [job["limit"] for job in launcher.jobs] == [1.25 * 3600, 0.75 * 3600]
    assert ending.why == "the clock"


def test_other_plans_hours_are_theirs(tmp_path):
    run(make_experiment("0.1", seeds=(0, 1)), tmp_path, Pretend(SHARES))
    launcher = Pretend(SHARES)
    ending = run(make_experiment("0.01", seeds=(0,), hours=1.0), tmp_path, launcher)
    assert (ending.why, ending.hours, launcher.order) == ("done", 1.0, [("0.01", 0)])


def test_a_larger_budget_goes_on(tmp_path):
    run(make_experiment("0.01", seeds=(0,), hours=0.5), tmp_path, Pretend(SHARES))
    launcher = Pretend(SHARES)
    ending = run(make_experiment("0.01", seeds=(0,), hours=1.5), tmp_path, launcher)
    assert (ending.why, launcher.order) == ("done", [("0.01", 0)])


def test_no_run_is_begun_in_a_sessions_last_minute(tmp_path):
    session = Session(limit=59.0, clock=lambda: 0.0, began=0.0)
    launcher = Pretend(SHARES)
    ending = run(make_experiment(seeds=(0,)), tmp_path, launcher, session=session)
    assert (ending.why, ending.done, ending.of, launcher.order) == ("the clock", 0, 1, [])


def test_a_run_that_stopped_for_the_clock_ends_the_session(tmp_path):
    launcher = Pretend({**SHARES, "0.005": (STOPPED, "")})
    ending = run(make_experiment("0.01", seeds=(0,)), tmp_path, launcher)
    assert (ending.why, ending.done, ending.failed) == ("the clock", 0, {})
    assert len(launcher.order) == 1


def test_asked_to_stop_it_lets_runs_save(tmp_path):
    session = Session()
    launcher = Pretend({"0.005": (STOPPED, "")}, looks=10**9)
    session.ask("SIGTERM")
    ending = run(make_experiment(seeds=(0, 1)), tmp_path, launcher, session=session)
    assert (ending.why, launcher.order) == ("SIGTERM", [])

    class Asked(Session):
        def left(self):
            self.ask("SIGINT")
            return float("inf")

    ending = run(make_experiment(seeds=(0, 1)), tmp_path, launcher, session=Asked())
    assert ending.why == "SIGINT"
    assert [each.asked for each in launcher.runs] == [["stop"]]


def test_a_run_that_dies_of_the_signal_has_not_failed(tmp_path):
    """Before it listens, a process that is asked to stop just ends."""

    class Asked(Session):
        def left(self):
            self.ask("SIGINT")
            return float("inf")

    launcher = Pretend({"0.005": (-15, "loading")}, looks=10**9)
    ending = run(make_experiment(seeds=(0,)), tmp_path, launcher, session=Asked())
    assert (ending.why, ending.failed) == ("SIGINT", {})
    assert not list(tmp_path.glob("runs/*/*/failed.json"))


def test_nothing_is_left_running_when_it_breaks(tmp_path):
    class Breaks(Pretend):
        def start(self, job, slot):
            if self.runs:
                raise CarlibError("no more processes")
            return super().start(job, slot)

    launcher = Breaks(SHARES, at_once=2, looks=10**9)
    with pytest.raises(CarlibError, match="no more processes"):
        run(make_experiment("0.01", seeds=(0,)), tmp_path, launcher)
    assert [each.asked for each in launcher.runs] == [["kill"]]
    assert launcher.closed == 1


def test_as_many_at_once_as_there_are_places(tmp_path):
    launcher = Pretend(SHARES, at_once=2, looks=3)
    most = 0
    start = launcher.start

    def counted(job, slot):
        nonlocal most
        begun = start(job, slot)
        most = max(most, sum(each.looks > 0 for each in launcher.runs))
        return begun

    launcher.start = counted
    assert run(make_experiment("0.01", "0.1", seeds=(0, 1)), tmp_path, launcher).done == 6
    assert most == 2
    assert set(launcher.slots) == {0, 1}


def test_two_processes_do_not_work_in_one_folder(tmp_path):
    with only_one(tmp_path), pytest.raises(CarlibError, match="another process"):
        run(make_experiment(seeds=(0,)), tmp_path, Pretend(SHARES))


def test_other_photos_are_refused(tmp_path):
    run(make_experiment(seeds=(0,)), tmp_path, Pretend(SHARES))
    with pytest.raises(RunError, match="is of other photos than the runs before"):
        run(make_experiment("0.01", seeds=(0,)), tmp_path, Pretend(SHARES, photos="others"))


def test_a_finished_run_is_left_as_it_is(tmp_path):
    """Another plan of the same folder may have asked for its weights."""
    run(make_experiment(seeds=(0,), keep="runs"), tmp_path, Pretend(SHARES))
    experiment = make_experiment("0.01", seeds=(0,))
    folder = ExperimentFolder(tmp_path).run(next(experiment.trials()))
    (folder / "chain").mkdir()
    run(experiment, tmp_path, Pretend(SHARES))
    assert (folder / "chain").is_dir()


def test_hopeless_arms_are_given_up(tmp_path):
    experiment = make_experiment("0.01", "0.1", seeds=(0, 1, 2), halving=0.5)
    launcher = Pretend(SHARES)
    ending = run(experiment, tmp_path, launcher)
    assert (ending.why, ending.done, ending.of) == ("done", 7, 7)
    assert launcher.order.count(("0.1", 0)) == 1
    assert [rate for rate, _ in launcher.order].count("0.1") == 1
    table = table_of(experiment, tmp_path)
    assert [line.runs for line in table.lines] == [3, 3, 1]
    assert table.lines[2].note == "given up after 1 runs"
    assert table.done


# --- Search


def searched(**options):
    return make_experiment(seeds=(0, 1), search=Search(("ToGray", "Blur"), **options))


class Augmenting(Pretend):
    """Runs whose share of right answers is that of their augmentation."""

    def start(self, job, slot):
        augment = from_dict(job["recipe"]).phases[-1].augment
        self.outcomes = {"0.005": self.shares(augment)}
        return super().start(job, slot)

    @staticmethod
    def shares(augment):
        return 0.5 + 0.2 * ("+ToGray" in augment) + 0.2 * ("-HorizontalFlip" in augment)


def test_a_search_takes_what_is_better_until_nothing_is(tmp_path):
    experiment = searched()
    launcher = Augmenting({})
    ending = run(experiment, tmp_path, launcher)
    assert ending.why == "done"
    tables = tables_of(experiment, tmp_path)
    bases = [table.lines[0].arm.name for table in tables]
    # The two steps in whichever order: equals are taken by name.
    assert bases == ["light", "light-HorizontalFlip", "light-HorizontalFlip+ToGray"]
    assert not any(table.waiting for table in tables)
    better = [
        [line.arm.name for line in table.lines if line.verdict.startswith("better")]
        for table in tables
    ]
    assert better[2] == []
    # The next base was an arm before: its runs are not made again.
    assert len(launcher.begun) == len({recipe.digest() for recipe in launcher.begun})
    again = Augmenting({})
    run(experiment, tmp_path, again)
    assert again.begun == []


def test_a_round_with_a_failed_run_is_not_decided(tmp_path):
    experiment = searched()

    class Failing(Augmenting):
        @staticmethod
        def shares(augment):
            return (BROKEN, "no space left") if "Blur" in augment else Augmenting.shares(augment)

    launcher = Failing({})
    ending = run(experiment, tmp_path, launcher)
    assert len(ending.failed) == 2
    assert {recipe.phases[-1].augment.count("+") for recipe in launcher.begun} == {0, 1}
    mended = Augmenting({})
    assert run(experiment, tmp_path, mended).failed == {}
    assert mended.begun[0].phases[-1].augment == "light+Blur"
    assert any("+ToGray" in recipe.phases[-1].augment for recipe in mended.begun)


def test_a_search_stops_after_its_rounds(tmp_path):
    experiment = searched(rounds=1)
    run(experiment, tmp_path, Augmenting({}))
    assert len(tables_of(experiment, tmp_path)) == 1


def test_a_search_that_was_cut_shows_its_rounds_so_far(tmp_path):
    experiment = dataclasses.replace(searched(), hours=3.0)
    assert run(experiment, tmp_path, Augmenting({})).why == "the budget"
    tables = tables_of(experiment, tmp_path)
    assert tables[-1].waiting


# --- From the inputs of a later session


def test_what_earlier_sessions_did_is_taken_over(tmp_path):
    experiment = make_experiment("0.01", seeds=(0, 1))
    first, second = tmp_path / "in/alice/first/out", tmp_path / "work/out"
    run(experiment, first, Pretend(SHARES))
    last = ExperimentFolder(first).run(list(experiment.trials())[-1])
    (last / "trial.json").unlink()
    (last / "chain").mkdir()
    (last / "lock").touch()
    # An older output, in which the first run was not finished either.
    older = tmp_path / "in/alice/a/out"
    shutil.copytree(first, older)
    ExperimentFolder(older).result(next(experiment.trials())).unlink()
    session = Session("kaggle-batch", inputs=(tmp_path / "in",), work=tmp_path / "work")
    launcher = Pretend(SHARES)
    ending = run(experiment, second, launcher, session=session)
    assert (ending.why, ending.done) == ("done", 4)
    assert launcher.order == [("0.01", 1)]
    here = ExperimentFolder(second).run(list(experiment.trials())[-1])
    assert not (here / "lock").exists()
    assert not list((tmp_path / "work").rglob("*.part*"))
    assert (last / "lock").exists()


def test_what_got_less_far_here_gives_way(tmp_path):
    """Begun without the input attached, and then with it."""
    experiment = make_experiment("0.01", seeds=(0,))
    first, second = tmp_path / "in/first/out", tmp_path / "work/out"
    run(experiment, first, Pretend(SHARES))
    run(experiment, second, Pretend({**SHARES, "0.005": (BROKEN, "a crash"), "0.01": 0.1}))
    session = Session("kaggle-batch", inputs=(tmp_path / "in",), work=tmp_path / "work")
    launcher = Pretend(SHARES)
    run(experiment, second, launcher, session=session)
    assert launcher.order == []
    means = [line.accuracy.mean for line in table_of(experiment, second).lines]
    assert means == pytest.approx([0.6, 0.1])  # what was finished here stays


def test_a_plain_machine_takes_nothing_over(tmp_path):
    experiment = make_experiment(seeds=(0,))
    run(experiment, tmp_path / "one", Pretend(SHARES))
    launcher = Pretend(SHARES)
    run(experiment, tmp_path / "two", launcher)
    assert len(launcher.order) == 1


def test_results_of_another_recipe_are_refused(tmp_path):
    experiment = make_experiment(seeds=(0,))
    run(experiment, tmp_path, Pretend(SHARES))
    trial = next(experiment.trials())
    other = dataclasses.replace(trial.recipe, label_smoothing=0.0)
    result_for(other, 0.5).save(ExperimentFolder(tmp_path).result(trial))
    with pytest.raises(RunError, match="is of another recipe"):
        run(experiment, tmp_path, Pretend(SHARES))
