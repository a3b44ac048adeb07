"""A table in words: Markdown, and the sentences that go with it."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from carlib.experiments.table import Line, Table
from carlib.style.text import UNKNOWN, count, number

HEADS = ("arm", "runs", "accuracy", "95%", "to base", "95% of it", "verdict", "h a run", "per h")
PROXIES = "The same on the proxy:"
RIGHT = (1, 2, 4, 7, 8)  # columns of numbers


def markdown(tables: Sequence[Table]) -> str:
    """Return tables as Markdown: an experiment's, or one a round of a search."""
    return "\n\n".join("\n".join(_one(table)) for table in tables) + "\n"


def _one(table: Table) -> Iterator[str]:
    yield f"## {cell(table.experiment.name)}"
    yield ""
    yield cell(judged(table))
    yield ""
    yield from rows(table.lines)
    if table.proxy:
        yield ""
        yield PROXIES
        yield ""
        yield from rows(table.proxy)
    if changed := changes(table):
        yield ""
        yield cell(changed)
    for sentence in notes(table):
        yield ""
        yield cell(sentence)


def rows(lines: Sequence[Line]) -> Iterator[str]:
    """Yield a Markdown table's lines, one an arm."""
    yield f"| {' | '.join(HEADS)} |"
    yield f"|{'|'.join('---:' if at in RIGHT else '---' for at in range(len(HEADS)))}|"
    for line in lines:
        yield f"| {' | '.join(map(cell, cells(line)))} |"


def cells(line: Line) -> tuple[str, ...]:
    """Return an arm's row, as HEADS has it."""
    return (
        line.arm.name,
        f"{line.runs} of {line.wanted}" if line.runs < line.wanted else str(line.runs),
        f"{line.accuracy.mean:.3f}" if line.accuracy else UNKNOWN,
        accuracy_between(line),
        f"{line.comparison.difference.mean:+.3f}" if line.comparison else "",
        between(line),
        line.verdict,
        number(line.hours / line.runs) if line.runs else UNKNOWN,
        number(line.per_hour),
    )


def accuracy_between(line: Line) -> str:
    """Return the interval of an arm's accuracy."""
    if line.accuracy is None:
        return ""
    low, high = line.accuracy.interval()
    return f"{max(0.0, low):.3f} to {min(1.0, high):.3f}"


def between(line: Line) -> str:
    """Return the interval of an arm's difference to the base."""
    if line.comparison is None:
        return ""
    low, high = line.comparison.difference.interval()
    return f"{low:+.3f} to {high:+.3f}"


def cell(text: str) -> str:
    """Return a text as a Markdown cell takes it.

    >>> cell("a|b *c*")
    'a\\\\|b \\\\*c\\\\*'
    """
    for sign in "\\|*`<":
        text = text.replace(sign, f"\\{sign}")
    return " ".join(text.split())


def judged(table: Table) -> str:
    """Say how the table was made."""
    asked = table.experiment
    of = f"of {count(table.photos)} validation photos"
    best = (
        "each run by its best epoch, chosen on one half of them and judged on the other"
        if asked.judge == "best"
        else "each run by its last epoch"
    )
    return (
        f"Accuracy {of}, {best}; mean over runs. The base is {asked.base.recipe.name}; "
        f"runs are paired by seed and {'fold' if asked.base.recipe.folds else 'photo'}, and "
        f"verdicts keep to an error of {asked.alpha:.2g} over all arms together (Holm 1979)."
    )


def changes(table: Table) -> str:
    """Say what each arm changes, where its name does not; "" where all names do."""
    said = [
        f"{arm.name}: {', '.join(arm.changes)}"
        for arm in table.experiment.arms
        if arm.changes and not arm.name.endswith("".join(arm.changes))
    ]
    return f"Changes: {'; '.join(said)}." if said else ""


def notes(table: Table) -> Iterator[str]:
    """Yield what else is to be said: arms that failed, the proxy, what is left, hours."""
    for line in (*table.lines, *table.proxy):
        if line.note:
            yield f"{line.arm.name}: {line.note.rstrip('.')}."
    if (agreement := table.agreement) is not None:
        tau = "" if agreement.tau is None else f", Kendall's tau {agreement.tau:.2f}"
        yield (
            f"The proxy orders {agreement.pairs} of {agreement.of_pairs} pairs of {agreement.arms} "
            f"arms as the full runs do{tau}."
        )
    if table.waiting:
        yield (
            f"{table.waiting} {'run is' if table.waiting == 1 else 'runs are'} still to be done; "
            "the same command goes on."
        )
    yield f"{number(table.hours)} h in all."
