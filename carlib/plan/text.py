"""A plan, and a run against its plan, for people."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path

from carlib.errors import CarlibError
from carlib.plan.noun import GUESS, HOUR, Change, Plan
from carlib.plan.spent import Standing, standing


def span(seconds: float) -> str:
    """Return a length of time in words.

    >>> span(48), span(600), span(12_000)
    ('48 s', '10 min', '3.3 h')
    """
    if seconds < 120:
        return f"{seconds:.0f} s"
    if seconds < 1.5 * HOUR:
        return f"{seconds / 60:.0f} min"
    return f"{seconds / HOUR:.1f}".removesuffix(".0") + " h"


def describe(plan: Plan) -> str:
    """Return a plan as lines of text."""
    how = "a guess" if plan.basis == GUESS else "measured here"
    photos = f"{plan.photos[0]} photos train, {plan.photos[1]} validate"
    lines = [f"{plan.recipe} on {plan.device}, {how}: {photos}", ""]
    rows = [("phase", "epochs", "steps", "s a step", "training", "the rest", "in all")]
    for stretch in plan.stretches:
        training = stretch.seconds["training"]
        whole = stretch.hours * HOUR
        most = "at most " if stretch.work.at_most else ""
        rows.append(
            (
                stretch.work.name,
                f"{most}{stretch.work.epochs}",
                str(stretch.steps),
                f"{stretch.pace.step:.3g}",
                span(training),
                span(whole - training),
                span(whole),
            )
        )
    lines += _columns(rows)
    most = "at most " if any(stretch.work.at_most for stretch in plan.stretches) else ""
    sessions = f"{plan.sessions} session{'s' * (plan.sessions > 1)} of {span(plan.session)}"
    lines += ["", f"{most}{span(plan.hours * HOUR)} in all: {sessions}, {_quota(plan)}"]
    for stretch in plan.stretches:
        if stretch.pace.waits:
            lines.append(
                f"{stretch.work.name} waits for photos: its steps compute for "
                f"{stretch.pace.computing:.3g} s, their photos take {stretch.pace.loading:.3g} s; "
                "smaller photo files, a lighter augmentation or more cores help"
            )
    if plan.basis == GUESS:
        lines.append(
            "a guess: by operations, bytes and the data sheet; it may well be half or twice as much"
        )
    if plan.changes:
        lines += ["", "what would be cheaper:"]
        lines += [f"  {_change(change)}" for change in plan.changes]
    return "\n".join(lines)


def told(stands: Standing) -> str:
    """Return in one line where a run stands."""
    spent = f"{span(stands.spent)} spent in {stands.sessions} session"
    spent += "s" * (stands.sessions > 1)
    planned = f"planned {span(stands.planned)}, " if stands.has_plan else ""
    if stands.done:
        share = f" ({stands.spent / stands.planned - 1:+.0%})" if stands.has_plan else ""
        return f"{planned}{spent}{share}"
    return f"{planned}{spent}, about {span(stands.left)} left: {span(stands.whole)} in all"


def line_of(run: Path | str) -> str:
    """Return in one line where a run stands; "" before its first epoch, for one that is done and
    was never planned, and where the run's files do not say (``standing`` tells why).

    >>> line_of("nowhere")
    ''
    """
    try:
        stands = standing(run)
    except CarlibError:
        return ""
    return told(stands) if stands and (stands.has_plan or not stands.done) else ""


def compare(stands: Standing) -> str:
    """Return where a run stands as lines of text: planned against spent, and the plan corrected."""
    rows = [("phase", "epochs", "planned", "spent", "left", "against plan")]
    for phase in stands.phases:
        known = math.isfinite(phase.planned)
        rows.append(
            (
                phase.name,
                f"{phase.done} of {phase.epochs}",
                span(phase.planned) if known else "",
                span(phase.spent),
                span(phase.left),
                f"x {phase.against:.2f}" if math.isfinite(phase.against) else "",
            )
        )
    return "\n".join([*_columns(rows), "", told(stands)])


def _quota(plan: Plan) -> str:
    share = f"{plan.quota_share:.0%}" if plan.quota_share >= 0.01 else "less than 1%"
    text = f"{share} of {span(plan.quota)} a week"
    if plan.weeks > 1:
        text += f": {plan.weeks} weeks"
    return text if plan.gpu else f"{text}, were it a GPU's"


def _change(change: Change) -> str:
    effect = "the same but for rounding" if change.same else "may cost accuracy"
    how = " ".join(change.settings)
    saved = f"-{span(change.hours * HOUR)}, -{change.share:.0%}"
    return f"{change.what}: {saved}; {effect} (--set {how})"


def _columns(rows: Sequence[tuple[str, ...]]) -> list[str]:
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return [
        "  ".join(
            cell.ljust(width) if number == 0 else cell.rjust(width)
            for number, (cell, width) in enumerate(zip(row, widths, strict=True))
        ).rstrip()
        for row in rows
    ]
