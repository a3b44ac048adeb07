"""The table: its figures, and what it looks like as Markdown, CSV, page and picture."""

from __future__ import annotations

import dataclasses
import io
import json
import re

import pandas as pd
import pytest
from experiments import Pretend, make_experiment

from carlib.errors import RunError
from carlib.experiments import Arm, Photos, read_experiment, run_experiment, table_of, write_tables
from carlib.experiments import run as running
from carlib.experiments.output import FILES
from carlib.experiments.picture import draw
from carlib.experiments.sheet import COLUMNS, sheet
from carlib.experiments.table import NothingYet, figures_of, tables_of
from carlib.experiments.words import HEADS, cell, changes, markdown, notes
from carlib.spec import with_settings
from carlib.style.drawing import DARK

SHARES = {"0.005": 0.6, "0.01": 0.95, "0.1": 0.2, "0.02": 0.605}
CLOCKED = ("hours", "accuracy_per_hour")


@pytest.fixture(autouse=True)
def _no_waiting(monkeypatch):
    monkeypatch.setattr(running, "LOOK", 0.0)
    monkeypatch.setattr(running, "check_arms", lambda experiment: None)


def ran(out, *arms, shares=SHARES, **options):
    experiment = make_experiment(*arms, **options)
    run_experiment(experiment, Photos("photos"), out, launcher=Pretend(shares))
    return experiment


@pytest.fixture
def told(tmp_path):
    """A better arm, a worse one, and one that cannot be told."""
    return ran(tmp_path, "0.01", "0.1", "0.02"), tmp_path


def test_verdicts_and_hours(told):
    experiment, out = told
    table = table_of(experiment, out)
    base, better, worse, alike = table.lines
    assert [line.accuracy.mean for line in table.lines] == pytest.approx(
        [0.6, 0.95, 0.2, 0.608], abs=0.01
    )
    assert base.comparison is None
    assert base.verdict == ""
    assert (better.verdict, worse.verdict) == ("better", "worse")
    assert alike.verdict.startswith("not distinguishable: ")
    assert better.hours == pytest.approx(1.5)
    assert better.per_hour == pytest.approx(better.accuracy.mean / 0.5)
    assert (table.photos, table.hours, table.done) == (120, 6.0, True)


def test_what_is_not_finished_is_said(told):
    experiment, out = told
    longer = dataclasses.replace(experiment, seeds=(0, 1, 2, 3))
    table = table_of(longer, out)
    assert (table.waiting, table.done) == (4, False)
    assert table.lines[1].verdict == "better so far"
    text = markdown([table])
    assert "| 3 of 4 |" in text
    assert "4 runs are still to be done; the same command goes on." in text


@pytest.mark.parametrize("count", [1, 2])
def test_of_one_run_nothing_is_said(tmp_path, count):
    experiment = ran(tmp_path, "0.01", seeds=tuple(range(count)))
    verdict = table_of(experiment, tmp_path).lines[1].verdict
    assert ("one run proves nothing" in verdict) == (count == 1)


def test_nothing_is_finished(tmp_path):
    experiment = make_experiment("0.01")
    for ask in (table_of, tables_of):
        with pytest.raises(NothingYet, match=f"no run of 'Rates' is finished in {tmp_path}$"):
            ask(experiment, tmp_path)


def test_a_damaged_result_is_named(told):
    experiment, out = told
    path = next(out.glob("runs/*/*/trial.json"))
    path.write_text('{"photos": 3}')
    with pytest.raises(RunError, match=re.escape(f"{path} is damaged")):
        table_of(experiment, out)


# --- Proxies


def with_proxy(experiment, rates):
    arms = [
        Arm(arm.name, with_settings(arm.recipe, ["model.size=16", f"phases.all.lr={rate}"]))
        for arm, rate in zip(experiment.everyone, rates, strict=True)
    ]
    return dataclasses.replace(experiment, proxy=tuple(arms))


@pytest.mark.parametrize(
    ("proxy", "pairs", "tau"),
    [
        ((0.6, 0.95, 0.2), 3, 1.0),
        ((0.6, 0.2, 0.95), 0, -1.0),
        ((0.6, 0.5, 0.2), 2, 1 / 3),
        ((0.5, 0.5, 0.5), 0, None),
    ],
)
def test_rank_agreement(tmp_path, proxy, pairs, tau):
    shares = SHARES | {f"{0.3 + n / 10:g}": share for n, share in enumerate(proxy)}
    experiment = with_proxy(make_experiment("0.01", "0.1", seeds=(0,)), ("0.3", "0.4", "0.5"))
    run_experiment(experiment, Photos("photos"), tmp_path, launcher=Pretend(shares))
    table = table_of(experiment, tmp_path)
    found = table.agreement
    assert (found.arms, found.pairs, found.tau) == (3, pairs, tau and pytest.approx(tau))
    assert found.of_pairs == (3 if tau is not None else 0)
    assert [line.arm.name for line in table.proxy] == [line.arm.name for line in table.lines]
    assert any(f"orders {pairs} of {found.of_pairs} pairs" in sentence for sentence in notes(table))
    assert "The same on the proxy:" in markdown([table])
    assert set(sheet([table]).level) == {"full", "proxy"}


def test_without_both_there_is_no_agreement(tmp_path):
    experiment = with_proxy(make_experiment("0.01", seeds=(0,), hours=0.5), ("0.005", "0.01"))
    run_experiment(experiment, Photos("photos"), tmp_path, launcher=Pretend(SHARES))
    assert table_of(experiment, tmp_path).agreement is None


# --- Forms


def test_figures_are_json(told):
    figures = table_of(*told).figures()
    read = json.loads(json.dumps(figures))
    assert [arm["verdict"] for arm in read["arms"]] == [
        None,
        "better",
        "worse",
        "not distinguishable",
    ]
    assert read["arms"][1]["changes"] == ["phases.all.lr=0.01"]


def test_markdown_has_a_row_an_arm(told):
    table = table_of(*told)
    text = markdown([table])
    rows = [line for line in text.splitlines() if line.startswith("|")]
    assert len(rows) == 2 + len(table.lines)
    assert {row.count("|") for row in rows} == {len(HEADS) + 1}
    assert "chosen on one half of them and judged on the other" in text
    last = dataclasses.replace(told[0], judge="last")
    assert "each run by its last epoch" in markdown([table_of(last, told[1])])


@pytest.mark.parametrize(
    ("text", "said"), [("a|b", "a\\|b"), ("*x*", "\\*x\\*"), ("a\nb", "a b"), ("<b>", "\\<b>")]
)
def test_names_cannot_break_a_row(text, said):
    assert cell(text) == said


def test_changes_are_told_where_names_do_not(told):
    experiment, out = told
    assert changes(table_of(experiment, out)).startswith("Changes: 0.01: phases.all.lr=0.01; 0.1: ")
    named = dataclasses.replace(
        experiment, arms=(dataclasses.replace(experiment.arms[0], changes=("0.01",)),)
    )
    assert changes(table_of(named, out)) == ""


def test_the_sheet_is_all_of_it(told):
    table = table_of(*told)
    read = pd.read_csv(io.StringIO(sheet([table]).to_csv(index=False)))
    assert tuple(read.columns) == COLUMNS
    assert COLUMNS[-2:] == CLOCKED
    for row, line in zip(read.to_dict("records"), table.lines, strict=True):
        said = figures_of(line)
        bounds = [row["accuracy_low"], row["accuracy"], row["accuracy_high"]]
        low, high = said["interval"]
        assert bounds == pytest.approx([low, said["accuracy"], high], rel=1e-12)
        if line.comparison:
            bounds = [row["difference_low"], row["difference_high"]]
            assert bounds == pytest.approx(said["difference_interval"], rel=1e-12)
            assert row["verdict"] == said["verdict"]


def test_all_forms_are_written_and_are_the_same_again(told):
    experiment, out = told
    tables = tables_of(experiment, out)
    paths = write_tables(experiment, tables, out)
    assert [path.name for path in paths] == list(FILES)
    before = [path.read_bytes() for path in paths]
    write_tables(experiment, tables_of(experiment, out), out)
    assert [path.read_bytes() for path in paths] == before
    page = (out / "table.html").read_text()
    assert "<b>Better</b>: 0.01" in page
    assert "<b>Worse</b>: 0.1" in page
    assert "http:" not in re.sub(r"data:image/png;base64,[^\"]*", "", page)
    assert before[3][1:4] == b"PNG"


def test_names_are_texts_on_the_page(tmp_path):
    experiment = ran(tmp_path, "0.01")
    arm = dataclasses.replace(experiment.arms[0], name="<script>$x_{$")
    experiment = dataclasses.replace(experiment, arms=(arm,), name="a & b")
    write_tables(experiment, tables_of(experiment, tmp_path), tmp_path)
    page = (tmp_path / "table.html").read_text()
    assert "<script" not in page
    assert "&lt;script&gt;$x_{$" in page
    assert "<h1>a &amp; b</h1>" in page


def test_an_arm_that_failed_has_its_row_everywhere(tmp_path):
    experiment = ran(tmp_path, "0.01", shares={**SHARES, "0.01": (1, "no space | left.")})
    table = table_of(experiment, tmp_path)
    assert table.lines[1].verdict == "failed"
    text = markdown([table])
    assert "0.01: failed: no space \\| left." in text
    write_tables(experiment, [table], tmp_path)
    assert "failed: no space | left." in (tmp_path / "table.html").read_text()


def drawn(figure):
    """Of each panel: texts, and whether each dot is full."""
    return [
        (
            [text.get_text() for text in axes.texts],
            [
                line.get_markerfacecolor() == line.get_markeredgecolor()
                for line in axes.lines
                if line.get_marker() == "o"
            ],
        )
        for axes in figure.axes
    ]


def test_the_picture_shows_verdicts_without_colour(told):
    table = table_of(*told)
    left, right = drawn(draw([table]))
    assert right[0] == ["base", "better", "worse", "not distinguishable"]
    assert left[1] == [True, True, True, False]
    assert right[1] == [True, True, False]
    assert draw([table], DARK).get_facecolor() != draw([table]).get_facecolor()


def test_the_picture_of_several_tables_names_them(tmp_path, told):
    table = table_of(*told)
    figure = draw([table, table])
    names = [label.get_text() for label in figure.axes[0].get_yticklabels()]
    assert names == 2 * ["Rates", "base", "0.01", "0.1", "0.02"]


def test_a_picture_without_a_run_of_an_arm(tmp_path):
    experiment = ran(tmp_path, "0.01", shares={**SHARES, "0.01": (1, "no space left")})
    left, right = drawn(draw([table_of(experiment, tmp_path)]))
    assert left[0] == ["no run finished"]
    assert right[0] == ["base"]


def test_a_plan_of_a_file_has_a_table(tmp_path):
    plan = tmp_path / "plan.toml"
    plan.write_text('base = "tiny-check"\nseeds = 1\nvalidation_share = 0.5\n')
    experiment = read_experiment(plan)
    rate = f"{experiment.base.recipe.phases[-1].lr:g}"
    run_experiment(experiment, Photos("photos"), tmp_path, launcher=Pretend({rate: 0.5}))
    assert [line.arm.name for line in table_of(experiment, tmp_path).lines] == ["base"]
