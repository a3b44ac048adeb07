"""``carlib kaggle``: package, push, status, pull, submit, and the chain that does all of it."""

from __future__ import annotations

import argparse
import contextlib
import dataclasses
import importlib.metadata
import re
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

from carlib.cli.shared import STOPPED, command, named, show
from carlib.errors import UsageError

if TYPE_CHECKING:
    from carlib.kaggle.chain import Ending
    from carlib.kaggle.client import Client

FAILED = 1
LEAST_CLIENT = (2, 2)  # the first that tells the quota
PACKAGE = "carlib-package"  # slug of the dataset, where none is given
NOTEBOOK = "notebooks/01-train.ipynb"


def add(commands: Any) -> None:
    """Add the command ``kaggle`` and its own commands."""
    summary = "drive Kaggle from here: package, push, chain, status, pull, submit"
    kaggle = commands.add_parser(
        "kaggle", help=summary, description=summary[0].upper() + summary[1:] + "."
    )
    kinds = kaggle.add_subparsers(dest="kaggle_command", required=True, metavar="COMMAND")
    _add_package(command(kinds, "package", _package, "build the dataset that kernels install from"))
    _add_push(command(kinds, "push", _push, "push a kernel once, its metadata checked first"))
    _add_chain(command(kinds, "chain", _chain, "push sessions until the run is done"))
    _add_status(command(kinds, "status", _status, "tell how a kernel's newest session stands"))
    _add_pull(command(kinds, "pull", _pull, "fetch what a kernel left, each file's digest checked"))
    _add_submit(command(kinds, "submit", _submit, "submit a file, or a kernel version's output"))


def _add_package(package: argparse.ArgumentParser) -> None:
    package.add_argument("--out", type=named, required=True, metavar="DIR", help="its folder")
    package.add_argument(
        "--id", metavar="OWNER/SLUG", help=f"the dataset (your own name, {PACKAGE})"
    )
    package.add_argument(
        "--no-lite", action="store_true", help="leave out the weights of EfficientNet-Lite0"
    )
    package.add_argument(
        "--weights",
        type=named,
        nargs="+",
        action="extend",
        default=[],
        metavar="FILE",
        help="pretrained weights to put in",
    )
    package.add_argument(
        "--recipe", type=named, metavar="FILE", help="a recipe to put in, which notebooks find"
    )
    package.add_argument(
        "--upload",
        action="store_true",
        help="create the dataset or add a version to it, and wait until it is ready",
    )
    package.add_argument("--public", action="store_true", help="a new dataset is for everybody")
    package.add_argument("--notes", default="carlib", metavar="TEXT", help="what is new in it")
    _add_patience(package, "5s")


def _add_push(push: argparse.ArgumentParser) -> None:
    push.add_argument(
        "--folder",
        type=named,
        default="kaggle",
        metavar="DIR",
        help="holds kernel-metadata.json (%(default)s)",
    )
    push.add_argument("--timeout", metavar="11h45m", help="when Kaggle ends the session")


def _add_chain(chain: argparse.ArgumentParser) -> None:
    chain.add_argument(
        "--out", type=named, required=True, metavar="DIR", help="the chain's diary and its output"
    )
    chain.add_argument("--kernel", required=True, metavar="OWNER/SLUG", help="what to push it as")
    chain.add_argument(
        "--notebook", type=named, metavar="FILE", help=f"the notebook that trains ({NOTEBOOK})"
    )
    chain.add_argument("--recipe", default="", metavar="NAME|FILE", help="in the notebook: RECIPE")
    chain.add_argument(
        "--set",
        nargs="+",
        action="extend",
        default=[],
        metavar="KEY=VALUE",
        help="change the recipe: SETTINGS",
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
        "--accelerator", default="T4", metavar="T4|TPU|none|NAME", help="(%(default)s)"
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
    _add_patience(chain, "60s")


def _add_status(status: argparse.ArgumentParser) -> None:
    status.add_argument("kernel", metavar="OWNER/SLUG")


def _add_pull(pull: argparse.ArgumentParser) -> None:
    pull.add_argument("kernel", metavar="OWNER/SLUG")
    pull.add_argument("--out", type=named, required=True, metavar="DIR", help="for what it left")
    pull.add_argument("--version", type=int, metavar="N", help="whose session; default: the newest")


def _add_submit(submit: argparse.ArgumentParser) -> None:
    submit.add_argument("competition", metavar="COMPETITION", help="its slug")
    submit.add_argument("--file", type=named, metavar="FILE.csv", help="a submission from here")
    submit.add_argument("--kernel", default="", metavar="OWNER/SLUG", help="whose output it is in")
    submit.add_argument("--version", type=int, default=0, metavar="N", help="of that kernel")
    submit.add_argument(
        "--name", default="submission.csv", metavar="FILE", help="in that output (%(default)s)"
    )
    submit.add_argument("--message", required=True, metavar="TEXT", help="names it at Kaggle")


def _add_patience(parser: argparse.ArgumentParser, poll: str) -> None:
    parser.add_argument(
        "--poll", default=poll, metavar=poll, help="from one look to the next (%(default)s)"
    )


def _client(**options: Any) -> Client:
    from carlib.kaggle.client import Client

    try:
        found = importlib.metadata.version("kaggle")
    except importlib.metadata.PackageNotFoundError:
        found = ""
    # Not looked for by importing: that signs in, and ends the process where it cannot.
    if tuple(map(int, re.findall(r"\d+", found)[:2])) < LEAST_CLIENT:
        raise UsageError(
            f"the Kaggle client must be 2.2 or newer; received {found or 'none'}: "
            "pip install 'carlib[kaggle]' on the machine that drives"
        )
    return Client(**options)


def _package(given: argparse.Namespace) -> int:
    from carlib.kaggle.datasets import upload_dataset
    from carlib.kaggle.metadata import PLACEHOLDER
    from carlib.kaggle.package import build_package

    poll = _poll(given)
    with _client() if given.upload else contextlib.nullcontext() as client:
        ref = given.id
        if ref is None:
            owner = client.read("whoami")["user"] if client else PLACEHOLDER
            ref = f"{owner}/{PACKAGE}"
        built = build_package(
            given.out,
            id=ref,
            lite=not given.no_lite,
            weights=[Path(path) for path in given.weights],
            recipe=Path(given.recipe) if given.recipe else None,
        )
        figures: dict[str, Any] = {
            "folder": str(given.out),
            "id": ref,
            "digest": built.digest,
            "files": list(built.files),
            "version": None,
        }
        told = f"{given.out} holds the package {ref}: {len(built.files)} files"
        if client:
            figures["version"] = upload_dataset(
                client, Path(given.out), given.notes, public=given.public, poll=poll
            )
            told += f"; ready at Kaggle as version {figures['version']}"
        else:
            told += "; --upload sends it to Kaggle"
    show(given, figures, told)
    return 0


def _push(given: argparse.Namespace) -> int:
    from carlib.kaggle.kernels import push_kernel
    from carlib.session import seconds

    timeout = seconds(given.timeout) if given.timeout else None
    with _client() as client:
        pushed = push_kernel(client, Path(given.folder), timeout)
    figures = {**dataclasses.asdict(pushed), "complaint": pushed.complaint()}
    which = f" version {pushed.version}" if pushed.version else ""
    told = f"pushed {pushed.kernel}{which}: {pushed.url}"
    if pushed.complaint():
        told += f"; but {pushed.complaint()}: mend the sources and push again"
    show(given, figures, told)
    return FAILED if pushed.complaint() else 0


def _status(given: argparse.Namespace) -> int:
    from carlib.kaggle.kernels import kernel_status

    with _client() as client:
        status, message = kernel_status(client, given.kernel)
    show(given, {"status": status, "message": message}, f"{status} {message}".rstrip())
    return 0


def _pull(given: argparse.Namespace) -> int:
    from carlib.kaggle.pull import pull_output

    with _client() as client:
        pulled = pull_output(client, given.kernel, Path(given.out), given.version)
    handover = pulled.handover
    figures = {
        "folder": str(pulled.folder),
        "checkpoints": list(pulled.checkpoints),
        "unproven": list(pulled.unproven),
        "done": handover.done if handover else None,
        "why": handover.why if handover else None,
    }
    if handover:
        told = f"{pulled.folder}: {len(handover.files)} files, each as the session left it"
    else:
        told = (
            f"{pulled.folder}: the session was ended before it could list its files; "
            f"{len(pulled.checkpoints)} checkpoints are whole, {len(pulled.unproven)} other files "
            "are as they came"
        )
    show(given, figures, told)
    return 0


def _submit(given: argparse.Namespace) -> int:
    from carlib.kaggle.submit import submit

    with _client() as client:
        answer = submit(
            client,
            given.competition,
            given.message,
            file=Path(given.file) if given.file else None,
            kernel=given.kernel,
            version=given.version,
            name=given.name,
        )
    show(given, answer, f"{answer['message'] or 'submitted'} ({answer['ref']})")
    return 0


def _chain(given: argparse.Namespace) -> int:
    from carlib.files import only_one
    from carlib.kaggle.chain import Plan, Rehearsal, drive_chain, open_diary

    plan = _plan(given, Plan)
    poll = _poll(given)
    if given.dry_run:
        calls: list[str] = []
        with tempfile.TemporaryDirectory() as folder:
            rehearsal = Rehearsal(calls.append, Path(folder) / "kernel")
            diary = open_diary(Path(folder) / "out", plan)
            drive_chain(rehearsal, diary, sessions=given.sessions, wait=lambda seconds: None)
        show(given, {"calls": calls}, "\n".join(f"would call: {line}" for line in calls))
        return 0
    out = Path(given.out)
    with only_one(out) as lock, _client(keep=(lock,)) as client:
        ending = drive_chain(
            client, open_diary(out, plan), again=given.again, sessions=given.sessions, poll=poll
        )
    return _told(given, ending)


def _plan(given: argparse.Namespace, plan: Any) -> Any:
    from carlib.recipes import load_recipe
    from carlib.session import seconds
    from carlib.spec import with_settings

    notebook = Path(given.notebook or NOTEBOOK)
    beside = Path(__file__).parents[2] / NOTEBOOK
    if not given.notebook and not notebook.is_file() and beside.is_file():
        notebook = beside
    owner = given.kernel.partition("/")[0]
    package = given.package or f"{owner}/{PACKAGE}"
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
            raise UsageError(f"--parameter takes NAME=VALUE; received {text!r}")
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


def _poll(given: argparse.Namespace) -> float:
    """Seconds from one look to the next: none would keep Kaggle busy, and never end waiting."""
    from carlib.session import seconds

    if poll := seconds(given.poll):
        return poll
    raise UsageError(f"--poll must be above 0 seconds; received {given.poll!r}")


def _literal(text: str) -> Any:
    """A constant of Python where it is one, else the text itself."""
    import ast

    try:
        return ast.literal_eval(text)
    except (ValueError, SyntaxError):
        return text


def _told(given: argparse.Namespace, ending: Ending) -> int:
    from carlib.kaggle.chain.decide import DONE
    from carlib.kaggle.chain.drive import ENOUGH, OUT_OF_QUOTA

    figures = {**dataclasses.asdict(ending), "output": ending.output and str(ending.output)}
    told = f"{ending.verdict}: {ending.line}"
    if ending.output:
        told += f"; see {ending.output}"
    show(given, figures, told)
    if ending.verdict == DONE:
        return 0
    return STOPPED if ending.verdict in (OUT_OF_QUOTA, ENOUGH) else FAILED
