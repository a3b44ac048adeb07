"""Runs an experiment: each run a process and a chain of its own, cut anywhere, never repeated."""

from __future__ import annotations

import contextlib
import dataclasses
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from carlib.experiments.earlier import fetch
from carlib.experiments.folder import ExperimentFolder, Result, hours_of
from carlib.experiments.judging import marks_of
from carlib.experiments.launch import Launcher, Local, Running, check_arms, gpus, last_words
from carlib.experiments.noun import Experiment, Trial
from carlib.experiments.order import cost_of, next_trials
from carlib.experiments.search import round_after
from carlib.experiments.table import Table, table_of
from carlib.files import only_one
from carlib.interrupts import stopping
from carlib.progress import say
from carlib.runfolder import write_json
from carlib.session import Session, detect_session
from carlib.spec import to_dict

DONE, STOPPED, USAGE = 0, 75, 2
BUDGET = "the budget"
SPENT = 0.005  # hours left of a budget in which nothing can be done
LOOK = 0.2  # seconds between two looks at what runs
LEAST = 60.0  # seconds of a session in which a run is still begun
GRACE = 120.0  # seconds that runs have to save and end


@dataclass(frozen=True, slots=True)
class Photos:
    """What each run is trained on, as ``carlib train`` has it.

    Args:
        data: The data folder.
        exclude: File of ids to leave out. Defaults to none.
        external: Folder of photos that only train. Defaults to none.
        groups: File of groups. Defaults to none.
    """

    data: str
    exclude: str | None = None
    external: str | None = None
    groups: str | None = None


@dataclass(frozen=True, slots=True)
class Ending:
    """How a session of an experiment ended.

    Args:
        why: "done", "the clock", "the budget", or what a signal asked.
        done: Runs that are finished.
        of: Runs that are wanted, as far as known.
        failed: Runs that failed in this session, and why.
        hours: That all runs took so far.
    """

    why: str
    done: int
    of: int
    failed: dict[str, str]
    hours: float


def run_experiment(
    experiment: Experiment,
    photos: Photos | Path | str,
    out: Path | str,
    *,
    session: Session | None = None,
    launcher: Launcher | None = None,
    workers: str = "",
) -> Ending:
    """Train the runs of an experiment that have no result yet, what answers early first.

    Args:
        experiment: What is asked.
        photos: What it is asked of; a path is a data folder.
        out: Its folder: the same again goes on.
        session: Its clock; each run gets what is left of it. Defaults to ``detect_session()``.
        launcher: Where runs go. Defaults to this machine, one at once to a GPU, one in all on a
            CPU.
        workers: Who loads the photos of each run, as in ``carlib train``.

    Raises:
        UsageError: A name in an arm's recipe that no table has.
        CarlibError: Another process is at work in ``out``.
        RunError: Results that are damaged or of other photos.
    """
    if launcher is None:
        devices = gpus()
        launcher = Local(max(1, len(devices)), devices)
    if not isinstance(photos, Photos):
        photos = Photos(str(photos))
    session = session or detect_session()
    folder = ExperimentFolder(Path(out))
    rounds: list[Table] = []
    counted: list[Trial] = []
    ending = Ending("done", 0, 0, {}, 0.0)
    try:
        with only_one(out), stopping(session):
            while asked := round_after(experiment, [table.lines for table in rounds]):
                if not rounds and _lacks(asked, folder):
                    check_arms(asked)
                if experiment.search:
                    say(f"round {len(rounds) + 1}: {asked.base.name}, and {len(asked.arms)} others")
                counted = [*counted, *asked.trials()]
                work = _Work(asked, photos, folder, session, launcher, workers, counted)
                try:
                    now = work.go()
                finally:
                    work.end()
                ending = dataclasses.replace(now, failed={**ending.failed, **now.failed})
                # A round whose runs failed is decided once they have been tried again.
                if now.why != "done" or not now.done or now.failed:
                    break
                rounds.append(table_of(asked, out))
    finally:
        launcher.close()
    return ending


def _lacks(experiment: Experiment, folder: ExperimentFolder) -> bool:
    return any(not folder.result(trial).is_file() for trial in experiment.trials())


@dataclass(slots=True)
class _Work:
    experiment: Experiment
    photos: Photos
    folder: ExperimentFolder
    session: Session
    launcher: Launcher
    workers: str
    counted: Sequence[Trial]  # whose hours the budget is for, earlier rounds' too
    results: dict[Trial, Result] = field(default_factory=dict)
    scores: dict[Trial, float] = field(default_factory=dict)
    failed: dict[Trial, str] = field(default_factory=dict)
    under_way: dict[int, tuple[Trial, Running]] = field(default_factory=dict)

    def go(self) -> Ending:
        fetch(self.folder, self.experiment.trials(), self.session)
        for trial, result in self.folder.results(self.experiment.trials()).items():
            self._take(trial, result)
        why = "done"
        while True:
            todo, _ = next_trials(self.experiment, self.scores, self.failed)
            running = [trial for trial, _ in self.under_way.values()]
            waiting = [trial for trial in todo if trial not in running]
            if why == "done" and not waiting and not running:
                break
            if why == "done" and waiting and len(running) < self.launcher.at_once:
                why = self._why_stop(waiting[0], running)
                if why == "done":
                    self._start(waiting[0])
                    continue
            if why != "done" and not running:
                break
            if self.session.asked and running:
                why = self.session.asked
                for _, run in self.under_way.values():
                    run.stop()
                self._wait(GRACE)
                break
            time.sleep(LOOK)
            if self._collect() == STOPPED and why == "done":
                why = "the clock" if self._unspent() > SPENT else BUDGET
        todo, _ = next_trials(self.experiment, self.scores, ())
        return Ending(
            why if todo and not self._only_failed(todo) else "done",
            len(self.scores),
            len(self.scores) + len(todo),
            {str(trial): reason for trial, reason in self.failed.items()},
            self.folder.hours(self.counted),
        )

    def end(self) -> None:
        """Leave nothing running."""
        for _, run in self.under_way.values():
            with contextlib.suppress(OSError):
                run.kill()
        self.under_way.clear()

    def _only_failed(self, todo: Sequence[Trial]) -> bool:
        return all(trial in self.failed for trial in todo)

    def _why_stop(self, trial: Trial, running: Sequence[Trial]) -> str:
        """Say why no other run is begun; "done" where one may be."""
        if self.session.asked:
            return self.session.asked
        if self.session.left() < LEAST:
            return "the clock"
        if sum(map(self._to_come, (trial, *running))) > self._unspent():
            return BUDGET
        return "done"

    def _unspent(self) -> float:
        """Hours that the budget still has; infinite without one."""
        budget = self.experiment.hours
        return budget - self.folder.hours(self.counted) if budget else float("inf")

    def _to_come(self, trial: Trial) -> float:
        """Hours that a run, begun or not, is expected to take from now on."""
        return max(0.0, self._expected(trial) - hours_of(self.folder.run(trial)))

    def _expected(self, trial: Trial) -> float:
        """Hours that a run is expected to take, by those done; 0 before the first."""
        alike = [
            result.hours
            for done, result in self.results.items()
            if (done.arm, done.level) == (trial.arm, trial.level)
        ]
        if alike:
            return sum(alike) / len(alike)
        if not self.results:
            return 0.0
        hours = sum(result.hours for result in self.results.values())
        return cost_of(trial.recipe) * hours / sum(cost_of(done.recipe) for done in self.results)

    def _start(self, trial: Trial) -> None:
        slot = next(n for n in range(self.launcher.at_once) if n not in self.under_way)
        running = [each for each, _ in self.under_way.values()]
        unspent = self._unspent() - sum(map(self._to_come, running))
        left = min(self.session.left(), unspent * 3600)
        self.folder.failure(trial).unlink(missing_ok=True)
        job: dict[str, Any] = {
            "recipe": to_dict(trial.recipe),
            "run": str(self.folder.run(trial)),
            "data": self.photos.data,
            "exclude": self.photos.exclude,
            "external": self.photos.external,
            "groups": self.photos.groups,
            "limit": None if left == float("inf") else max(1.0, left),
            "workers": self.workers,
            "use": list(self.experiment.use),
            "keep": self.experiment.keep,
        }
        say(f"{trial}: begins")
        self.under_way[slot] = trial, self.launcher.start(job, slot)

    def _collect(self) -> int:
        """Take in what has ended; return the last exit code, 0 where none has."""
        code = DONE
        for slot, (trial, run) in list(self.under_way.items()):
            ended = run.poll()
            if ended is None:
                continue
            if ended < 0 and self.session.asked:
                ended = STOPPED  # it had not begun to listen yet; its chain is whole
            code = ended
            del self.under_way[slot]
            if ended == DONE:
                # With an earlier one: both must be of the same photos.
                found = self.folder.results([*list(self.results)[:1], trial])
                self._take(trial, found[trial])
                self._tell(trial)
            elif ended != STOPPED:
                self._fail(trial, ended)
        return code

    def _take(self, trial: Trial, result: Result) -> None:
        self.results[trial] = result
        marks = marks_of(result.epochs, self.experiment.judge)
        self.scores[trial] = float(marks.right.mean())

    def _tell(self, trial: Trial) -> None:
        todo, given_up = next_trials(self.experiment, self.scores, self.failed)
        left = sum(map(self._expected, todo)) / self.launcher.at_once
        say(
            f"{trial}: {self.scores[trial]:.4f} in {self.results[trial].hours * 60:.1f} min; "
            f"{len(self.scores)} of {len(self.scores) + len(todo)} runs done, "
            f"about {left:.2f} h to go"
        )
        for name, runs in given_up.items():
            if name == trial.arm and trial.repeat == runs - 1:
                say(f"{name}: given up after {runs} runs (halving)")

    def _fail(self, trial: Trial, code: int) -> None:
        reason = last_words(self.folder.run(trial))
        if code < 0:
            reason = f"killed by signal {-code}; its last words: {reason}"
        failing = [trial]
        if code == USAGE:  # its other runs would end likewise
            running = [each for each, _ in self.under_way.values()]
            known = (trial, *running, *self.scores, *self.failed)
            failing += [
                other
                for other in self.experiment.trials()
                if (other.arm, other.level) == (trial.arm, trial.level) and other not in known
            ]
        for each in failing:
            write_json(self.folder.failure(each), {"code": code, "why": reason})
            self.failed[each] = reason
        say(f"{trial}: failed: {reason}")

    def _wait(self, seconds: float) -> None:
        end = time.monotonic() + seconds
        while self.under_way and time.monotonic() < end:
            time.sleep(LOOK)
            self._collect()
