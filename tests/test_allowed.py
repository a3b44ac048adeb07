"""What a recipe may change in mid-run: a table of it, and runs that come out the same."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import pytest
from conftest import make_recipe
from runs import final

from carlib.catalog import Catalog, read_catalog
from carlib.checkpoints import Position, find_checkpoint
from carlib.errors import RunError, UsageError
from carlib.runfolder import read_table
from carlib.session import Session
from carlib.spec import ModelSpec, Phase, Recipe, differences, with_settings
from carlib.train import train_model
from carlib.train.allowed import ALLOWED, check_allow, refused

A = Phase("a", 2, 1e-3, trains="head")
B = Phase("b", 4, 1e-3, early_stop=3)
C = Phase("c", 2, 1e-4)
D = Phase("d", 1, 1e-5)
OLD = Recipe("r", ModelSpec("tiny", 32), (A, B, C))


def new(*settings: str, phases: tuple[Phase, ...] = (A, B, C)) -> Recipe:
    return with_settings(dataclasses.replace(OLD, phases=phases), settings)


# By name: the changed recipe, and what each difference is called.
EPOCHS_A, EPOCHS_B, EPOCHS_C = (
    new("phases.a.epochs=3"),
    new("phases.b.epochs=6"),
    new("phases.c.epochs=3"),
)
E_A, E_B, E_C = "phases.a.epochs: 2 -> 3", "phases.b.epochs: 4 -> 6", "phases.c.epochs: 2 -> 3"
BY_EPOCHS, BY_PHASES = " (--allow epochs)", " (--allow phases)"
START, IN_A, AFTER_A = (0, 0, 0), (0, 0, 1), (1, 0, 0)
IN_B, B_1, B_3, IN_B_3 = (1, 0, 5), (1, 1, 0), (1, 3, 0), (1, 3, 2)
AFTER_B, DONE = (2, 0, 0), (3, 0, 0)

# The new recipe, where the run is, what is allowed, what is refused all the same.
TABLE: list[tuple[Recipe, tuple[int, int, int], str, list[str]]] = [
    (OLD, START, "", []),
    (OLD, DONE, "", []),
    # What it is trained as, in no case.
    *(
        (new(setting), position, "epochs phases determinism weights", [said])
        for position in (START, B_1, DONE)
        for setting, said in (
            ("seed=1", "seed: 0 -> 1"),
            ("monitor=loss", "monitor: accuracy -> loss"),
            ("validation_share=0.3", "validation_share: 0.2 -> 0.3"),
            ("training_share=0.5", "training_share: 1.0 -> 0.5"),
            ("label_smoothing=0.1", "label_smoothing: 0.0 -> 0.1"),
            ("model.size=48", "model.size: 32 -> 48"),
            ("model.dropout=0.5", "model.dropout: 0.2 -> 0.5"),
        )
    ),
    # The two that change no value, wherever the run is.
    *(
        (new("determinism=fast"), position, allow, said)
        for position in (START, B_1, DONE)
        for allow, said in (
            ("determinism", []),
            ("weights epochs phases", ["determinism: exact -> fast (--allow determinism)"]),
        )
    ),
    (new("model.weights=imagenet"), B_1, "weights", []),
    (new("model.weights=imagenet"), B_1, "", ["model.weights: none -> imagenet (--allow weights)"]),
    # Epochs of a phase that is done.
    (EPOCHS_A, AFTER_A, "epochs phases", [E_A]),
    (EPOCHS_A, B_1, "epochs phases", [E_A]),
    (EPOCHS_B, DONE, "epochs phases", [E_B]),
    (EPOCHS_C, DONE, "epochs phases", [E_C]),
    # Of the one under way: by epochs alone.
    (EPOCHS_A, IN_A, "epochs", []),
    (EPOCHS_B, IN_B, "epochs", []),
    (EPOCHS_B, B_1, "epochs", []),
    (EPOCHS_B, B_1, "", [E_B + BY_EPOCHS]),
    (EPOCHS_B, B_1, "phases", [E_B + BY_EPOCHS]),
    (new("phases.b.early_stop=0"), B_1, "epochs", []),
    (new("phases.b.patience=9"), B_1, "epochs", []),
    (new("phases.b.early_stop=0"), B_1, "phases", ["phases.b.early_stop: 3 -> 0" + BY_EPOCHS]),
    (new("phases.b.lr=1"), B_1, "epochs phases", ["phases.b.lr: 0.001 -> 1.0"]),
    (new("phases.b.batch_size=9"), IN_B, "epochs phases", ["phases.b.batch_size: 32 -> 9"]),
    (new("phases.b.ema=0.9"), B_1, "epochs phases", ["phases.b.ema: 0.0 -> 0.9"]),
    # Fewer, but more than are done; the one under way is not done.
    (new("phases.b.epochs=2"), B_1, "epochs", []),
    (new("phases.b.epochs=1"), IN_B, "epochs", []),
    (new("phases.b.epochs=1"), B_1, "epochs phases", ["phases.b.epochs: 4 -> 1"]),
    (new("phases.b.epochs=3"), B_3, "epochs phases", ["phases.b.epochs: 4 -> 3"]),
    (new("phases.b.epochs=3"), IN_B_3, "epochs phases", ["phases.b.epochs: 4 -> 3"]),
    (new("phases.b.epochs=2"), B_3, "epochs phases", ["phases.b.epochs: 4 -> 2"]),
    # Of one to come: by either.
    (EPOCHS_C, B_1, "epochs", []),
    (EPOCHS_C, B_1, "phases", []),
    (EPOCHS_C, B_1, "weights", [E_C + BY_EPOCHS]),
    (EPOCHS_B, AFTER_A, "phases", []),
    (new("phases.c.lr=1"), B_1, "phases", []),
    (new("phases.c.lr=1"), B_1, "epochs", ["phases.c.lr: 0.0001 -> 1.0" + BY_PHASES]),
    (new("phases.b.lr=1"), AFTER_A, "phases", []),
    (new("phases.a.lr=1"), START, "phases", []),
    (new("phases.a.lr=1"), IN_A, "phases epochs", ["phases.a.lr: 0.001 -> 1.0"]),
    (new("phases.a.lr=1"), AFTER_A, "phases epochs", ["phases.a.lr: 0.001 -> 1.0"]),
    # Added behind.
    (new(phases=(A, B, C, D)), B_1, "phases", []),
    (new(phases=(A, B, C, D)), B_1, "epochs", ["phases: 'd' is new" + BY_PHASES]),
    (new(phases=(A, B, D, C)), B_1, "phases", []),
    (new(phases=(A, B, C, D)), DONE, "phases", []),
    (new(phases=(A, B, C, D)), DONE, "", ["phases: 'd' is new" + BY_PHASES]),
    # Added before.
    (new(phases=(A, D, B, C)), AFTER_A, "phases", []),
    (new(phases=(A, D, B, C)), IN_B, "phases", ["phases: 'd' is new"]),
    (new(phases=(D, A, B, C)), AFTER_A, "phases", ["phases: 'd' is new"]),
    (new(phases=(D, A, B, C)), START, "phases", []),
    (new(phases=(D, A, B, C)), IN_A, "phases", ["phases: 'd' is new"]),
    (new(phases=(A, B, D, C)), DONE, "phases", ["phases: 'd' is new"]),
    # Dropped.
    (new(phases=(A, B)), B_1, "phases", []),
    (new(phases=(A, B)), AFTER_B, "phases", []),
    (new(phases=(A, B)), B_1, "epochs", ["phases: 'c' is gone" + BY_PHASES]),
    (new(phases=(A, C)), AFTER_A, "phases", []),
    (new(phases=(A, C)), IN_B, "phases", ["phases: 'b' is gone"]),
    (new(phases=(B, C)), AFTER_A, "phases", ["phases: 'a' is gone"]),
    (new(phases=(A, B)), DONE, "phases", ["phases: 'c' is gone"]),
    # In another order.
    (new(phases=(A, C, B)), AFTER_A, "phases", []),
    (new(phases=(A, C, B)), AFTER_A, "", ["phases: the order a, b, c -> a, c, b" + BY_PHASES]),
    (new(phases=(A, C, B)), IN_B, "phases", ["phases: the order a, b, c -> a, c, b"]),
    (new(phases=(B, A, C)), AFTER_A, "phases", ["phases: the order a, b, c -> b, a, c"]),
    (new(phases=(C, B, A)), START, "phases", []),
    # Renamed: gone and new.
    (
        new(phases=(A, B, dataclasses.replace(C, name="d"))),
        B_1,
        "",
        ["phases: 'c' is gone" + BY_PHASES, "phases: 'd' is new" + BY_PHASES],
    ),
    (new(phases=(A, B, dataclasses.replace(C, name="d"))), B_1, "phases", []),
    # Several at once: each by itself.
    (
        new("seed=1", "phases.a.epochs=3", "phases.b.epochs=6", "determinism=fast"),
        B_1,
        "determinism",
        [E_A, E_B + BY_EPOCHS, "seed: 0 -> 1"],
    ),
    (new("phases.b.epochs=6", "phases.c.lr=1"), B_1, "epochs phases", []),
    # A probe comes first.
    (dataclasses.replace(OLD, linear_probe=3).with_probe(), START, "phases", []),
    (
        dataclasses.replace(OLD, linear_probe=3).with_probe(),
        IN_A,
        "phases",
        ["phases: 'probe' is new"],
    ),
]


def named(recipe: Recipe, position: tuple[int, int, int], allow: str, said: list[str]) -> str:
    changed = "; ".join(map(str, differences(OLD, recipe))) or "nothing"
    return f"{changed} at {position} with {allow or 'no'} leave"


@pytest.mark.parametrize(
    ("recipe", "position", "allow", "said"), TABLE, ids=[named(*case) for case in TABLE]
)
def test_what_is_refused(
    recipe: Recipe, position: tuple[int, int, int], allow: str, said: list[str]
) -> None:
    where = Position(*position)
    assert refused(OLD, recipe, where, allow.split()) == said
    assert refused(OLD, recipe, where, iter(allow.split())) == said
    # Without leave nothing passes, and what is refused is a difference.
    everything = [str(difference) for difference in differences(OLD, recipe)]
    strict = refused(OLD, recipe, where, [])
    assert [line.partition(" (--allow ")[0] for line in strict] == everything


def test_each_kind_allows_something_by_itself() -> None:
    useful = {allow for _, _, allow, said in TABLE if not said}
    assert set(ALLOWED) <= useful


def test_unknown_kinds_are_refused() -> None:
    check_allow(ALLOWED)
    check_allow([])
    message = r"unknown --allow 'epoch'; did you mean 'epochs'\? Known: epochs, phases, determinism"
    with pytest.raises(UsageError, match=message):
        check_allow(["phases", "epoch"])
    with pytest.raises(UsageError, match="unknown --allow 'seed'"):
        check_allow(iter(["seed"]))


# ---- real runs


@pytest.fixture(scope="module")
def catalog(photos: Path) -> Catalog:
    return read_catalog(photos)


def test_an_unknown_kind_is_refused_before_anything_is_written(
    tmp_path: Path, catalog: Catalog
) -> None:
    with pytest.raises(UsageError, match="unknown --allow 'phase'; did you mean 'phases'"):
        train_model(make_recipe(), catalog, tmp_path / "run", allow=["phase"])
    assert not (tmp_path / "run").exists()


def short() -> Recipe:
    """Three steps of one phase, on a constant learning rate."""
    recipe = make_recipe()
    alone = dataclasses.replace(recipe, phases=recipe.phases[1:])
    return with_settings(alone, ["phases.all.schedule=constant", "phases.all.epochs=1"])


@pytest.mark.once
def test_a_finished_run_gets_one_more_phase(tmp_path: Path, catalog: Catalog) -> None:
    """It ends as the run that had it from the start, bit for bit."""
    extra = Phase("more", 1, 1e-3, trains=0.5, batch_size=16, ema=0.5)
    longer = dataclasses.replace(short(), phases=(*short().phases, extra))
    out = tmp_path / "run"
    assert train_model(short(), catalog, out).done
    with pytest.raises(RunError, match=r"phases: 'more' is new \(--allow phases\)"):
        train_model(longer, catalog, out)
    assert train_model(longer, catalog, out, allow=["phases"]).done
    assert train_model(longer, catalog, tmp_path / "whole").done
    assert final(out) == final(tmp_path / "whole")
    said(out, longer, "000002-p1e0s0 with phases: 'more' is new")


@pytest.mark.once
def test_the_phase_under_way_gets_more_epochs(tmp_path: Path, catalog: Catalog) -> None:
    """On a constant learning rate nothing else changes by it."""
    longer = with_settings(short(), ["phases.all.epochs=2"])
    out = tmp_path / "run"
    train_model(short(), catalog, out, session=Session(stop_after=2))
    with pytest.raises(RunError, match=r"phases\.all\.epochs: 1 -> 2 \(--allow epochs\)"):
        train_model(longer, catalog, out)
    assert train_model(longer, catalog, out, allow=["epochs"]).done
    assert train_model(longer, catalog, tmp_path / "whole").done
    assert final(out) == final(tmp_path / "whole")
    said(out, longer, "000002-p0e0s2 with phases.all.epochs: 1 -> 2")


def said(out: Path, recipe: Recipe, parent: str) -> None:
    """The change is in the sessions' table, and the checkpoints are the new recipe's."""
    _, session = read_table(out / "sessions.csv")
    assert session["parent"] == parent
    newest = find_checkpoint(out / "chain")
    assert newest is not None
    assert newest.recipe_digest == recipe.digest()
