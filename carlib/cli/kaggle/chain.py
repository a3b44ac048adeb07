"""``carlib kaggle chain``: sessions at Kaggle, one after the other, until the run is done."""

from __future__ import annotations

import argparse
import dataclasses
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

from carlib.cli.kaggle.shared import FAILED, PACKAGE, add_patience, make_client, poll_of
from carlib.cli.shared import STOPPED, named, show
from carlib.errors import UsageError

if TYPE_CHECKING:
    from carlib.kaggle.chain import Ending

NOTEBOOK = "notebooks/01-train.ipynb"


def add_chain(chain: argparse.ArgumentParser) -> None:
    """Add the options of ``carlib kaggle chain``."""
    chain.add_argument(
        "--out", type=named, required=True, metavar="DIR", help="the chain's diary and its output"
    )
    chain.add_argument("--kernel", required=True, metavar="OWNER/SLUG", help="what to push it as")
    chain.add_argument(
        "--notebook", type=named, metavar="FILE", help=f"the notebook that trains ({NOTEBOOK})"
    )
    chain.add_argument(
        "--recipe", default="", metavar="NAME|FILE", help="RECIPE: a name, or a file in the package"
    )
    chain.add_argument(
        "--set",
        nargs="+",
        action="extend",
        default=[],
        metavar="KEY=VALUE",
        help="SETTINGS: changes to the recipe",
    )
    chain.add_argument(
        "--parameter",
        nargs="+",
        action="extend",
        default=[],
        metavar="NAME=VALUE",
        help="any other parameter of the notebook: DATA=cars",
    )
    chain.add_argument(
        "--package",
        metavar="OWNER/SLUG|none",
        help=f"carlib's own dataset (the kernel's owner, {PACKAGE})",
    )
    for name, what in (
        ("dataset", "OWNER/SLUG of a dataset with photos"),
        ("competition", "slug of a competition with photos"),
        ("source", "OWNER/SLUG of a kernel: an earlier run, for the first session"),
        ("model", "OWNER/MODEL/FRAMEWORK/VARIATION/VERSION: weights"),
    ):
        chain.add_argument(
            f"--{name}", nargs="+", action="extend", default=[], metavar="NAME", help=what
        )
    chain.add_argument(
        "--accelerator", default="T4", metavar="T4|TPU|none|NAME", help="what runs it (%(default)s)"
    )
    chain.add_argument("--no-internet", action="store_true", help="sessions have none")
    chain.add_argument(
        "--limit", metavar="11h30m", help="when a session stops by itself; default: the platform's"
    )
    chain.add_argument(
        "--timeout", metavar="11h45m", help="when Kaggle ends it; default: 15m after --limit"
    )
    chain.add_argument(
        "--relay",
        default="alternate",
        metavar="alternate|self|dataset",
        help="how a session reaches the one before: two kernels in turn, one that names itself, or "
        "a dataset that its chain is put into (%(default)s)",
    )
    chain.add_argument(
        "--cancelled",
        default="auto",
        metavar="auto|go-on|stop",
        help="what a cancelled session means; auto: go on where it ran to its limit (%(default)s)",
    )
    chain.add_argument(
        "--sessions", type=int, default=20, metavar="N", help="at most (%(default)s)"
    )
    chain.add_argument("--again", action="store_true", help="go on after a session that failed")
    chain.add_argument(
        "--dry-run", action="store_true", help="show every call of a run of two sessions; make none"
    )
    add_patience(chain, "60s")


def run_chain(given: argparse.Namespace) -> int:
    """Drive a chain, or show what that would call."""
    from carlib.files import only_one
    from carlib.kaggle.chain import Plan, Rehearsal, drive_chain, open_diary

    if given.sessions < 1:
        raise UsageError(f"--sessions must be at least 1; received {given.sessions}")
    plan = _plan(given, Plan)
    poll = poll_of(given)
    if given.dry_run:
        calls: list[str] = []
        open_diary(Path(given.out), plan)  # what is there already may refuse it
        with tempfile.TemporaryDirectory() as folder:
            rehearsal = Rehearsal(calls.append, Path(folder) / "kernel")
            diary = open_diary(Path(folder) / "out", plan)
            drive_chain(
                rehearsal,
                diary,
                sessions=given.sessions,
                wait=lambda seconds: None,
                tell=lambda line: None,
            )
        lines = [line if line.startswith(" ") else f"would call: {line}" for line in calls]
        show(given, {"calls": calls}, "\n".join(lines))
        return 0
    out = Path(given.out)
    with only_one(out) as lock, make_client(keep=(lock,)) as client:
        ending = drive_chain(
            client, open_diary(out, plan), again=given.again, sessions=given.sessions, poll=poll
        )
    return _told(given, ending)


def _plan(given: argparse.Namespace, plan: Any) -> Any:
    from carlib.kaggle.secrets import refuse_secret_text
    from carlib.recipes import load_recipe
    from carlib.session import seconds
    from carlib.spec import with_settings

    notebook = Path(given.notebook or NOTEBOOK)
    beside = Path(__file__).parents[3] / NOTEBOOK
    if not given.notebook and not notebook.is_file() and beside.is_file():
        notebook = beside
    owner = given.kernel.partition("/")[0]
    package = given.package or f"{owner}/{PACKAGE}"
    # Before any of it is written, sent, or shown in another error.
    asked = {"--recipe": [given.recipe], "--set": given.set, "--parameter": given.parameter}
    for option, texts in asked.items():
        for text in texts:
            refuse_secret_text(option, text)
    if given.recipe and Path(given.recipe).is_file():
        raise UsageError(
            f"{given.recipe} lies here, and sessions run at Kaggle: put it into the package "
            "(carlib kaggle package --upload --recipe FILE), whose recipe is taken where --recipe "
            "is empty"
        )
    if given.recipe and not given.recipe.endswith((".toml", ".json")):
        with_settings(load_recipe(given.recipe), given.set)  # what is wrong shows before the queue
    parameters = {"RECIPE": given.recipe, "SETTINGS": list(given.set)}
    for text in given.parameter:
        name, equals, value = text.partition("=")
        if not equals:
            raise UsageError("--parameter takes NAME=VALUE; received one without '='")
        parameters[name] = _literal(value)
    return plan(
        kernel=given.kernel,
        notebook=str(notebook),
        parameters=parameters,
        datasets=(*([] if package == "none" else [package]), *given.dataset),
        competitions=tuple(given.competition),
        kernels=tuple(given.source),
        models=tuple(given.model),
        accelerator=given.accelerator,
        internet=not given.no_internet,
        limit=seconds(given.limit) if given.limit else None,
        timeout=seconds(given.timeout) if given.timeout else None,
        relay=given.relay,
        cancelled=given.cancelled,
    )


def _literal(text: str) -> Any:
    """A constant of Python where it is one, else the text itself."""
    import ast

    try:
        return ast.literal_eval(text)
    except (ValueError, SyntaxError):
        return text


def _told(given: argparse.Namespace, ending: Ending) -> int:
    from carlib.kaggle.chain.decide import DONE
    from carlib.kaggle.chain.drive import OUT_OF_QUOTA

    figures = {**dataclasses.asdict(ending), "output": ending.output and str(ending.output)}
    told = f"{ending.verdict}: {ending.line}"
    if ending.output:
        told += f"; see {ending.output}"
    show(given, figures, told)
    if ending.verdict == DONE:
        return 0
    return STOPPED if ending.verdict == OUT_OF_QUOTA else FAILED
