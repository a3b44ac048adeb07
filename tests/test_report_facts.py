"""What a report reads off a run folder, and what it warns of."""

from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path

import pytest
from reports import Run, make_run

from carlib.report.facts import HISTORY, Best, Score, read_facts, warnings
from carlib.report.tables import sessions
from carlib.style import text


@pytest.mark.parametrize(
    ("right", "photos", "low", "high"),
    [  # Newcombe, Statistics in Medicine 17 (1998), table I, method 3
        (81, 263, 0.2553, 0.3662),
        (15, 148, 0.0624, 0.1605),
        (0, 20, 0.0, 0.1611),
        (1, 29, 0.0061, 0.1718),
        (20, 20, 0.8389, 1.0),
    ],
)
def test_interval(right: int, photos: int, low: float, high: float) -> None:
    score = Score(right, photos)
    assert (score.low, score.high) == pytest.approx((low, high), abs=6e-5)
    assert score.low <= score.share <= score.high


@pytest.mark.parametrize(
    ("change", "hours"),
    [
        (lambda run: None, 1.5),
        # A killed one is counted up to its last save, whatever its stop says.
        (lambda run: run.sessions[0].update(why="killed", stop="", seconds=900.0), 0.75),
        (lambda run: run.sessions[1].update(why="running", stop=""), 1.5),
        (lambda run: run.sessions.clear(), sum([65.0] * 5) / 3600),
        (lambda run: (run.sessions.clear(), run.timings.clear()), None),
    ],
)
def test_hours_of_a_run(
    change: Callable[[Run], object], hours: float | None, tmp_path: Path
) -> None:
    run = make_run(tmp_path)
    for row in run.timings:
        row["seconds"] = 60.0
    change(run)
    assert read_facts(run.write()).hours() == (hours and pytest.approx(hours))


def test_a_killed_session_is_named_so_on_the_curves(tmp_path: Path) -> None:
    run = make_run(tmp_path)
    run.sessions[0].update(why="killed")
    assert read_facts(run.write()).session_starts() == [("1 (killed)", 1), ("2", 4)]


def test_sessions_with_their_sums(tmp_path: Path) -> None:
    run = make_run(tmp_path)
    run.sessions[0].update(why="killed", seconds=0.0, saves=0, saving=0.0)
    run.sessions[1].update(parent="000007-p0e2s0 of /in/a/chain with seed: 0 -> 1")
    said = sessions(read_facts(run.write()))
    assert said is not None
    assert [row["saving"] for row in said["rows"]] == [None, 0.0025]
    assert said["rows"][1]["said"].origin == "/in/a/chain"
    assert said["sums"] == {
        "seconds": 1800.0,
        "photos": 960,
        "steps": 30,
        "saves": 6,
        "saving": 4.5,
    }
    assert said["saving"] == 0.0025
    run.sessions.clear()
    assert sessions(read_facts(run.write())) is None


@pytest.mark.parametrize(
    ("said", "words"),
    [
        (text.clock(4.24), "4.2 s"),
        (text.clock(9.96), "10 s"),
        (text.clock(59.6), "1 min 0 s"),
        (text.clock(125), "2 min 5 s"),
        (text.clock(720), "12 min"),
        (text.clock(3599), "1 h 0 min"),
        (text.clock(6000), "1 h 40 min"),
        (text.clock(math.nan), text.UNKNOWN),
        (text.percent(0.12345), "12.3%"),
        (text.percent(0.12345, 0), "12%"),
        (text.percent(None), text.UNKNOWN),
        (text.number(0.0012345), "0.00123"),
        (text.number(0.97654, 4), "0.9765"),
        (text.number(math.inf), text.UNKNOWN),
        (text.count(1568.0), "1,568"),
        (text.count(math.nan), text.UNKNOWN),
        (text.moment("2025-03-01T10:00:29+00:00"), "2025-03-01 10:00 UTC"),
        (text.moment("noon"), "noon"),
        (text.url(b"\x00\xff", "png"), "data:image/png;base64,AP8="),
    ],
)
def test_figures_as_people_write_them(said: str, words: str) -> None:
    assert said == words


def nothing(run: Run) -> None:
    """Leave the run as it is."""


def at_accuracy(value: float) -> Callable[[Run], None]:
    def change(run: Run) -> None:
        run.predictions = None
        run.recent(accuracy=value, val_accuracy=value, loss=1.0)

    return change


def stopped_at_chance(run: Run) -> None:
    at_accuracy(0.3)(run)
    run.result["done"] = False


def with_waiting(seconds: float) -> Callable[[Run], None]:
    def change(run: Run) -> None:
        for row in run.timings:
            row.update(seconds=100.0, wait=seconds)

    return change


# The first three are carlib.watch's, whose own tests have the tables.
WARNINGS: list[tuple[str, Callable[[Run], None], str | None]] = [
    ("NaN or infinite", nothing, None),
    ("NaN or infinite", lambda run: run.history[2].update(loss=math.nan), "first loss in epoch 3"),
    ("NaN or infinite", lambda run: run.history[1].update(val_loss=math.inf), "first val_loss in"),
    ("NaN or infinite", lambda run: run.history[0].update(lr=""), "first lr in epoch 1,"),
    ("NaN or infinite", Run.final_fit, None),
    ("at chance", at_accuracy(0.46), None),
    (
        "at chance",
        at_accuracy(0.45),
        "45.0% in epoch 5, where guessing among 3 classes",
    ),
    ("far above", lambda run: run.recent(accuracy=0.95, val_accuracy=0.71), None),
    ("far above", lambda run: run.recent(accuracy=0.95, val_accuracy=0.69), "95.0% against 69.0%"),
    # The Wilson interval of 27 right of 60 begins at 33.1%, of 28 at 34.6%; chance is 33.3%.
    ("told from guessing", at_accuracy(27 / 60), "among 3 classes that gives 33.3%, and the"),
    ("told from guessing", at_accuracy(27 / 60), "begins at 33.1%"),
    ("told from guessing", at_accuracy(28 / 60), None),
    ("told from guessing", at_accuracy(math.nan), None),
    ("told from guessing", stopped_at_chance, None),
    ("told from guessing", Run.final_fit, None),
    ("waiting for photos", with_waiting(20.0), None),
    ("waiting for photos", with_waiting(21.0), "21% of the training time"),
    ("waiting for photos", lambda run: run.timings.clear(), None),
    ("left out", nothing, None),
    ("left out", lambda run: run.result["photos"].update(left_out=1), "1 photo was left out"),
    (
        "left out",
        lambda run: run.left_out.extend({"id": i, "path": "p", "reason": "r"} for i in "ab"),
        "2 photos were left out",
    ),
    ("another checkpoint", nothing, None),
    ("another checkpoint", lambda run: run.last(val_accuracy=0.8 + 1 / 60), None),
    ("another checkpoint", lambda run: run.last(val_accuracy=0.7), "(80.0%) do not belong to"),
    ("another checkpoint", lambda run: run.last(val_accuracy=math.nan), None),
]


@pytest.mark.parametrize(("topic", "change", "sentence"), WARNINGS)
def test_warnings(
    topic: str, change: Callable[[Run], None], sentence: str | None, tmp_path: Path
) -> None:
    run = make_run(tmp_path)
    change(run)
    said = [words for words in warnings(read_facts(run.write())) if topic in words]
    if sentence is None:
        assert said == []
    else:
        assert len(said) == 1
        assert sentence in said[0]


def test_names_made_of_digits_stay_texts(tmp_path: Path) -> None:
    run = make_run(tmp_path)
    for row in (*run.history, *run.timings):
        row["phase"] = "007"
    facts = read_facts(run.write())
    assert set(facts.history["phase"]) == {"007"}
    assert facts.session_starts() == [("1", 1), ("2", 4)]


@pytest.mark.parametrize(
    ("monitor", "higher", "epoch"),
    [
        ("accuracy", None, 4),
        ("loss", None, 2),
        ("log_loss", None, 1),
        ("AUC", True, 5),
        ("AUC", None, 5),
        ("AUC", False, 1),
        ("Recall", None, 4),
    ],
)
def test_best_epoch_without_one_in_the_result(
    monitor: str, higher: bool | None, epoch: int, tmp_path: Path
) -> None:
    run = make_run(tmp_path)
    run.say_more()
    run.result.update(best=None, monitor=monitor, monitor_higher=higher)
    if higher is None:
        del run.result["monitor_higher"]
    run.history[0]["val_log_loss"] = 0.01
    for row, accuracy, loss in zip(
        run.history, (0.1, 0.5, 0.6, 0.7, math.nan), (2, 0.3, 1, 1, math.inf), strict=True
    ):
        row.update(val_accuracy=accuracy, val_loss=loss)
    best = read_facts(run.write()).best()
    assert best is not None
    assert best.epoch == epoch


def test_figures_of_the_best_epoch(tmp_path: Path) -> None:
    run = make_run(tmp_path)
    run.say_more()
    run.result.update(monitor="AUC", best={"phase": "head", "epoch": 2, "value": 0.901})
    best = read_facts(run.write()).best()
    row = run.history[1]
    assert best == Best(
        "head", 2, row["val_accuracy"], row["val_macro_f1"], row["val_log_loss"], 0.901
    )


@pytest.mark.parametrize(
    ("change", "validated"),
    [
        (nothing, True),
        (Run.final_fit, False),
        (lambda run: run.result["photos"].clear(), True),
        (lambda run: run.recent(val_loss=math.nan, val_accuracy=math.nan), True),
        (lambda run: run.history.clear(), True),
    ],
)
def test_whether_photos_were_kept_for_validation(
    change: Callable[[Run], None], validated: bool, tmp_path: Path
) -> None:
    run = make_run(tmp_path)
    change(run)
    facts = read_facts(run.write())
    assert facts.validated == validated
    if not validated:
        assert (facts.best(), facts.score()) == (None, None)


def test_an_older_history_has_no_more_columns_than_it_says(tmp_path: Path) -> None:
    assert tuple(read_facts(make_run(tmp_path).write()).history) == HISTORY
