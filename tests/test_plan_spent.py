"""What a run has spent and what is left, from its tables alone, with a plan and without."""

from __future__ import annotations

import dataclasses
import json
import math
from pathlib import Path
from typing import Any

import pytest

from carlib.errors import RunError
from carlib.plan import Standing, compare, keep_plan, line_of, standing, told
from carlib.plan.spent import Progress
from carlib.runfolder import SESSIONS, TIMINGS, RunFolder, write_json, write_table
from carlib.spec import ModelSpec, Phase, Recipe, to_json

pytestmark = pytest.mark.once

HEAD = Phase("head", 4, 1e-2, trains="head", views=2, batch_size=50)
HALF = Phase("half", 3, 1e-3, trains=0.5, size=48)
ALL = Phase("all", 6, 1e-3)
RECIPE = Recipe("r", ModelSpec("tiny", 96), (HEAD, HALF, ALL))
# Multiply-adds in all, and of what trains.
COMPUTE = {"head": (1000, 0), "half": (1000, 500), "all": (1000, 1000)}
PHOTOS = {"training": 480, "validation": 120, "left_out": 0, "external": 0}


def write_run(
    root: Path,
    rows: list[tuple[str, int, float, float, int]],
    *,
    recipe: Recipe = RECIPE,
    ended: tuple[str, ...] = (),
    features: dict[str, float] | None = None,
    starts: dict[str, float] | None = None,
    seconds: tuple[float, ...] = (500.0,),
    photos: int | None = None,
    done: bool = False,
) -> Path:
    """Write a run's files: rows are (phase, session, seconds, validation's, photos)."""
    folder = RunFolder(root)
    root.mkdir()
    folder.recipe.write_text(to_json(recipe))
    write_json(
        folder.result,
        {
            "done": done,
            "photos": PHOTOS,
            "phases": [
                {
                    "name": phase.name,
                    "compute": COMPUTE[phase.name][0],
                    "trainable_compute": COMPUTE[phase.name][1],
                    "feature_seconds": (features or {}).get(phase.name),
                    "start_seconds": (starts or {}).get(phase.name),
                    "ended": "all epochs" if phase.name in ended else "",
                }
                for phase in recipe.phases
            ],
        },
    )
    timings = [
        dict(zip(TIMINGS, (name, number, session, took, 0.0, checked, seen), strict=True))
        for number, (name, session, took, checked, seen) in enumerate(rows, 1)
    ]
    write_table(folder.timings, timings, TIMINGS)
    trained = sum(row[-1] for row in rows) if photos is None else photos
    blank = dict.fromkeys(SESSIONS, "")
    sessions = [
        {**blank, "session": number, "seconds": each, "photos": trained if number == 1 else 0}
        for number, each in enumerate(seconds, 1)
    ]
    write_table(folder.sessions, sessions, SESSIONS)
    return root


def plan_of(recipe: Recipe = RECIPE, **seconds: dict[str, float]) -> dict[str, Any]:
    """Figures of a plan: by phase the seconds of a kind."""
    kinds = ("training", "validation", "features", "start", "saves")
    phases = {
        phase.name: {
            "epochs": phase.epochs,
            "seconds": dict.fromkeys(kinds, 0.0) | seconds[phase.name],
            "hours": sum(seconds[phase.name].values()) / 3600,
        }
        for phase in recipe.phases
    }
    hours = sum(phase["hours"] for phase in phases.values())
    return {"recipe_digest": recipe.digest(), "phases": phases, "hours": hours}


PLAN = plan_of(
    head={"training": 8, "features": 100},
    half={"training": 120, "validation": 30},
    all={"training": 600, "validation": 60},
)
HEADS = [("head", 1, 2.0, 0.5, 450)] * 4
HALVES = [("half", 1, 50.0, 10.0, 480), ("half", 1, 40.0, 10.0, 480), ("half", 1, 40.0, 10.0, 480)]


def found(root: Path) -> Standing:
    stands = standing(root)
    assert stands is not None
    return stands


def by_name(stands: Standing) -> dict[str, Progress]:
    return {phase.name: phase for phase in stands.phases}


def test_nothing_is_known_before_the_first_epoch(tmp_path: Path) -> None:
    assert standing(tmp_path / "none") is None
    run = write_run(tmp_path / "run", [])
    assert standing(run) is None
    assert line_of(run) == ""


def test_a_killed_first_session_has_no_result_yet(tmp_path: Path) -> None:
    run = write_run(tmp_path / "run", HEADS)
    RunFolder(run).result.unlink()
    assert standing(run) is None


def test_a_phase_goes_on_as_it_went(tmp_path: Path) -> None:
    rows = [*HEADS, *HALVES[:2]]
    run = write_run(tmp_path / "run", rows, ended=("head",), features={"head": 90.0})
    phases = by_name(found(run))
    assert (phases["head"].done, phases["head"].left) == (4, 0)
    assert phases["head"].spent == 4 * 2.5 + 90
    # The first epoch has a traced step in it: the second tells.
    assert phases["half"].left == pytest.approx(40 + 10)
    assert phases["half"].spent == 110


def test_an_only_epoch_tells_without_its_start(tmp_path: Path) -> None:
    rows = [*HEADS, *HALVES[:1]]
    run = write_run(tmp_path / "run", rows, ended=("head",), starts={"half": 12.0})
    stands = found(run)
    assert by_name(stands)["half"].left == pytest.approx(2 * (38 + 10))
    assert stands.again == 12


def test_a_start_longer_than_an_epoch_leaves_something(tmp_path: Path) -> None:
    rows = [*HEADS, *HALVES[:1]]
    run = write_run(tmp_path / "run", rows, ended=("head",), starts={"half": 80.0})
    assert by_name(found(run))["half"].left == pytest.approx(2 * (10 + 10))


def test_each_session_begins_with_a_traced_step(tmp_path: Path) -> None:
    rows = [*HEADS, HALVES[0], ("half", 2, 70.0, 10.0, 480), ("half", 2, 40.0, 10.0, 480)]
    recipe = dataclasses.replace(RECIPE, phases=(HEAD, dataclasses.replace(HALF, epochs=5), ALL))
    run = write_run(tmp_path / "run", rows, recipe=recipe, seconds=(300.0, 200.0))
    stands = found(run)
    assert by_name(stands)["half"].left == pytest.approx(2 * (40 + 10))
    assert (stands.spent, stands.sessions) == (500, 2)


def test_photos_of_a_cut_epoch_are_not_trained_again(tmp_path: Path) -> None:
    rows = [*HEADS, *HALVES[:2]]
    trained = 4 * 450 + 2 * 480
    run = write_run(tmp_path / "run", rows, ended=("head",), photos=trained + 240)
    assert by_name(found(run))["half"].left == pytest.approx(20 + 10)


def test_an_epoch_that_was_resumed_is_a_whole_one(tmp_path: Path) -> None:
    """Its row is of the rest alone: the rate is by photos."""
    rows = [*HEADS, HALVES[0], ("half", 2, 10.0, 10.0, 120), ("half", 2, 40.0, 10.0, 480)]
    recipe = dataclasses.replace(RECIPE, phases=(HEAD, dataclasses.replace(HALF, epochs=4), ALL))
    trained = 4 * 450 + 3 * 480
    run = write_run(tmp_path / "run", rows, recipe=recipe, photos=trained, ended=("head",))
    assert by_name(found(run))["half"].left == pytest.approx(40 + 10)


def test_an_early_end_leaves_nothing(tmp_path: Path) -> None:
    run = write_run(tmp_path / "run", [*HEADS, *HALVES[:1]], ended=("head", "half"))
    assert by_name(found(run))["half"].left == 0


def test_without_a_plan_what_has_not_begun_is_scaled_by_its_work(tmp_path: Path) -> None:
    run = write_run(tmp_path / "run", [*HEADS, *HALVES], ended=("head", "half"))
    stands = found(run)
    # At twice the side and with twice as much that trains: 3,000 x 4 against 2,000.
    training = 6 * 40 * (3000 * 4 / 2000)
    assert by_name(stands)["all"].left == pytest.approx(training + 6 * 10)
    assert not stands.has_plan
    assert math.isnan(by_name(stands)["all"].planned)


def test_where_only_features_were_made_a_pass_is_known(tmp_path: Path) -> None:
    run = write_run(tmp_path / "run", HEADS, ended=("head",), features={"head": 108.0})
    phases = by_name(found(run))
    photo = 108 / (2 * 480 + 120)  # forward, at 96 px
    assert phases["half"].left == pytest.approx(3 * (480 * photo * 2 / 4 + 120 * photo))
    assert phases["all"].left == pytest.approx(6 * (480 * photo * 3 + 120 * photo))


def test_features_to_come_are_a_pass_each(tmp_path: Path) -> None:
    recipe = dataclasses.replace(RECIPE, phases=(HALF, dataclasses.replace(HEAD, epochs=1), ALL))
    run = write_run(
        tmp_path / "run",
        HALVES,
        recipe=recipe,
        ended=("half",),
        features={"head": 20.0},
    )
    photo = 40 / 480 / 2 * 4  # a pass at 96 px, by half's passes at 48
    # One epoch, one view; 20 s of it are done.
    assert by_name(found(run))["head"].left == pytest.approx(photo * (480 + 120) - 20)


def test_with_a_plan_what_has_not_begun_goes_as_the_rest_went(tmp_path: Path) -> None:
    run = write_run(
        tmp_path / "run",
        [*HEADS, *HALVES],
        ended=("head", "half"),
        features={"head": 100.0},
        seconds=(300.0,),
    )
    keep_plan(run, PLAN)
    stands = found(run)
    phases = by_name(stands)
    assert phases["head"].against == pytest.approx(110 / 108)
    assert phases["half"].against == pytest.approx((3 * 40 + 30) / 150)
    assert phases["all"].left == pytest.approx(660 * phases["half"].against)
    assert stands.planned == pytest.approx(918)
    assert stands.whole == pytest.approx(300 + phases["all"].left)


@pytest.mark.parametrize("factor", [0.5, 1.0, 3.0])
def test_a_plan_is_corrected_by_the_share_it_was_wrong_by(tmp_path: Path, factor: float) -> None:
    rows = [(name, session, factor * a, factor * b, c) for name, session, a, b, c in HALVES]
    run = write_run(tmp_path / "run", [*HEADS, *rows], ended=("head", "half"))
    keep_plan(run, PLAN)
    assert by_name(found(run))["all"].left == pytest.approx(factor * 660)


def test_where_only_a_head_was_trained_its_share_counts(tmp_path: Path) -> None:
    run = write_run(tmp_path / "run", HEADS, ended=("head",), features={"head": 206.0})
    keep_plan(run, PLAN)
    phases = by_name(found(run))
    assert phases["head"].against == pytest.approx(2)
    assert (phases["half"].left, phases["all"].left) == (
        pytest.approx(2 * 150),
        pytest.approx(2 * 660),
    )


def test_a_plan_of_another_recipe_does_not_count(tmp_path: Path) -> None:
    run = write_run(tmp_path / "run", HEADS)
    keep_plan(run, PLAN | {"recipe_digest": "0" * 64})
    assert not found(run).has_plan


def test_a_done_run_has_nothing_left(tmp_path: Path) -> None:
    rows = [*HEADS, *HALVES, *[("all", 1, 90.0, 10.0, 480)] * 6]
    every = ("head", "half", "all")
    run = write_run(tmp_path / "run", rows, ended=every, starts={"all": 9.0}, done=True)
    assert found(run).left == 0
    assert line_of(run) == ""  # it was never planned
    keep_plan(run, PLAN)
    assert line_of(run) == "planned 15 min, 8 min spent in 1 session (-46%)"


def test_what_was_planned_at_first_stays_once_a_run_has_begun(tmp_path: Path) -> None:
    path = keep_plan(tmp_path / "new", PLAN)
    assert path == tmp_path / "new" / "plan.json"
    keep_plan(tmp_path / "new", PLAN | {"hours": 7.0})
    assert json.loads(path.read_text())["hours"] == 7
    run = write_run(tmp_path / "run", HEADS)
    path = keep_plan(run, PLAN)  # late, but there was none
    keep_plan(run, PLAN | {"hours": 7.0})
    assert json.loads(path.read_text())["hours"] == pytest.approx(918 / 3600)


@pytest.mark.parametrize(
    ("content", "what"),
    [
        ("{}", "damaged, or of another version .KeyError: 'recipe_digest'."),
        ("[]", "damaged, or of another version .TypeError"),
        ("{", "cannot be read"),
    ],
)
def test_a_damaged_plan_is_named(tmp_path: Path, content: str, what: str) -> None:
    run = write_run(tmp_path / "run", HEADS)
    (run / "plan.json").write_text(content)
    with pytest.raises(RunError, match=what):
        standing(run)
    assert line_of(run) == ""  # a session that has ended well says nothing of it


def test_an_older_result_is_named(tmp_path: Path) -> None:
    run = write_run(tmp_path / "run", HEADS)
    write_json(RunFolder(run).result, {"done": False})
    with pytest.raises(RunError, match=r"run: result\.json, timings\.csv or plan\.json is"):
        standing(run)


STANDS = Standing(
    phases=(
        Progress("head", 4, 4, 100.0, 0.0, 90.0, 1.25),
        Progress("all", 10, 3, 5000.0, 12_000.0, 16_000.0),
    ),
    done=False,
    spent=5400.0,
    sessions=2,
    again=60.0,
    planned=16_300.0,
)


def test_how_it_reads() -> None:
    line = "planned 4.5 h, 1.5 h spent in 2 sessions, about 3.4 h left: 4.8 h in all"
    assert told(STANDS) == line
    assert compare(STANDS).splitlines() == [
        "phase   epochs  planned   spent   left  against plan",
        "head    4 of 4     90 s   100 s    0 s        x 1.25",
        "all    3 of 10    4.4 h  83 min  3.3 h",
        "",
        line,
    ]
    unplanned = dataclasses.replace(STANDS, planned=math.nan, sessions=1)
    assert told(unplanned) == "1.5 h spent in 1 session, about 3.4 h left: 4.8 h in all"


def test_figures_are_json() -> None:
    said = json.loads(json.dumps(STANDS.figures(), allow_nan=False))
    assert said["left_hours"] == pytest.approx(12_060 / 3600)
    assert said["whole_hours"] == pytest.approx(said["spent_hours"] + said["left_hours"])
    assert said["phases"]["head"]["against_plan"] == 1.25
    assert said["phases"]["all"]["against_plan"] is None
