"""``carlib chain``: the past of a run for people, and whether its checkpoints are whole."""

from __future__ import annotations

import argparse
import dataclasses
import textwrap
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from carlib.cli.shared import command, named, show

if TYPE_CHECKING:
    from carlib.lineage import Lineage, Link, Sitting

WIDTH = 100  # characters of a line, but for paths, which stay whole
FAILED = 1


def add(commands: Any) -> None:
    """Add the command ``chain`` and its own commands."""
    summary = "tell the past of a run, or check its checkpoints"
    chain = commands.add_parser(
        "chain", help=summary, description=summary[0].upper() + summary[1:] + "."
    )
    kinds = chain.add_subparsers(dest="chain_command", required=True, metavar="COMMAND")
    for name, run, what in (
        ("log", _log, "list the sessions of a run, and the checkpoints that are there"),
        ("verify", _verify, "check every digest again; exit code 1 where anything is damaged"),
    ):
        command(kinds, name, run, what).add_argument(
            "--run",
            type=named,
            required=True,
            dest="run_folder",
            metavar="RUN",
            help="a run folder, a chain copied anywhere, or one checkpoint",
        )


def _log(given: argparse.Namespace) -> int:
    from carlib.lineage import read_lineage

    lineage = read_lineage(given.run_folder)
    links = []
    for link in lineage.links:
        said = dataclasses.asdict(link.checkpoint) if link.checkpoint else {}
        links.append({"name": link.name, **said, "best": link.best, "damage": link.damage})
        links[-1]["path"] = str(lineage.chain / link.name)
    figures = {
        "chain": str(lineage.chain),
        "recipe": lineage.recipe,
        "monitor": lineage.monitor,
        "best": lineage.best,
        "sessions": [dataclasses.asdict(sitting) for sitting in lineage.sessions],
        "checkpoints": links,
    }
    show(given, figures, "\n".join(_lines(lineage)))
    return 0


def _verify(given: argparse.Namespace) -> int:
    from carlib.lineage import verify_chain

    verdicts = verify_chain(given.run_folder)
    start = next((verdict.name for verdict in verdicts if verdict.resumes), "")
    lines = [
        f"{'whole' if verdict.whole else 'DAMAGED':<8} {verdict.name:<17} {verdict.reason}".rstrip()
        for verdict in verdicts
    ]
    if start:
        lines.append(f"a run goes on from {start}")
    elif verdicts:
        lines.append("no run can go on from here: fetch the chain again, or begin another --out")
    else:
        lines.append("there is no checkpoint yet: a run begins anew")
    whole = all(verdict.whole for verdict in verdicts)
    things = [dataclasses.asdict(verdict) for verdict in verdicts]
    show(given, {"whole": whole, "resumes": start, "things": things}, "\n".join(lines))
    return 0 if whole else FAILED


def _lines(lineage: Lineage) -> Iterator[str]:
    from carlib.style.text import clock, count

    newest = lineage.sessions[-1] if lineage.sessions else None
    yield f"{lineage.chain}: recipe {lineage.recipe or 'not known'}"
    if newest:
        spent = clock(newest.total_hours * 3600)
        sessions = _some(len(lineage.sessions), "session")
        yield f"{sessions}, {spent}, {count(newest.total_photos)} photos trained on"
    if lineage.best:
        best = lineage.best
        value = f": {_monitored(lineage, best['value'])}" if best["value"] is not None else ""
        yield (
            f"best epoch {best['epoch']} (phase {best['phase']}){value}, in {best['checkpoint']}"
        )
    for at, sitting in enumerate(lineage.sessions):
        yield ""
        yield from _of_session(lineage, sitting, first=at == 0)
    yield ""
    yield f"{_some(len(lineage.links), 'checkpoint')} there"
    for link in lineage.links:
        yield _of_link(lineage, link)


def _of_session(lineage: Lineage, sitting: Sitting, first: bool) -> Iterator[str]:
    from carlib.style.text import clock, count, moment, number, percent

    until = f" to {moment(sitting.stop)}" if sitting.stop else ""
    spent = f"{moment(sitting.start)}{until}, {clock(sitting.seconds)}"
    yield f"session {sitting.number}: {spent}, {sitting.why}"
    begun = f"from {sitting.parent}" if sitting.parent else "from the start"
    yield from _folded(begun + (f" of {sitting.origin}" if sitting.origin else ""))
    if sitting.changed:
        yield from _folded("with another recipe: " + "; ".join(sitting.changed))
    came = "to no finished epoch"
    if sitting.epoch:
        came = f"to epoch {sitting.epoch} (phase {sitting.phase})"
    if sitting.value is not None:
        came += f", {_monitored(lineage, sitting.value)}"
    yield from _folded(f"{came}; {_some(sitting.steps, 'step')}, {count(sitting.photos)} photos")
    share = sitting.saving / sitting.seconds if sitting.seconds else None
    yield from _folded(
        f"{_some(sitting.saves, 'save')} held it up for {number(sitting.saving, 2)} s "
        f"({percent(share)}); so far {clock(sitting.total_hours * 3600)}, "
        f"{count(sitting.total_photos)} photos"
    )
    yield from _folded(f"on {sitting.where}; {sitting.device}")
    if first:
        versions = (f"{name} {version}" for name, version in sitting.versions.items())
        yield from _folded("versions: " + ", ".join(versions))
    elif sitting.updated:
        yield from _folded("other versions: " + ", ".join(sitting.updated))


def _of_link(lineage: Lineage, link: Link) -> str:
    from carlib.style.text import moment

    found = link.checkpoint
    if found is None or link.damage:
        return f"  {link.name:<17} DAMAGED: {link.damage}"
    value = found.metrics.get(f"val_{lineage.monitor}")
    parts = [
        f"{link.name:<17} session {found.session}",
        found.why,
        moment(found.written),
        f"{found.size / 1e6:,.2f} MB",
        _monitored(lineage, value) if value is not None else "",
        f"after {found.parent}" if found.parent else "the first",
    ]
    line = "  " + ", ".join(filter(None, parts))
    return line + (f" of {found.origin}" if found.origin else "")


def _monitored(lineage: Lineage, value: float) -> str:
    return f"val_{lineage.monitor or 'value'} {value:.4f}"


def _some(count: int, what: str) -> str:
    return f"{count:,} {what}" + ("" if count == 1 else "s")


def _folded(text: str) -> list[str]:
    return textwrap.wrap(
        text,
        WIDTH,
        initial_indent="    ",
        subsequent_indent="      ",
        break_long_words=False,
        break_on_hyphens=False,
    )
