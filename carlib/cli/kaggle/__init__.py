"""``carlib kaggle``: package, push, status, pull, submit, and the chain that does all of it."""

from __future__ import annotations

import argparse
import contextlib
import dataclasses
from pathlib import Path
from typing import Any

from carlib.cli.kaggle.chain import add_chain, run_chain
from carlib.cli.kaggle.shared import FAILED, PACKAGE, add_patience, make_client, poll_of
from carlib.cli.shared import command, named, show


def add(commands: Any) -> None:
    """Add the command ``kaggle`` and its own commands."""
    summary = "drive Kaggle from here: package, push, chain, status, pull, submit"
    kaggle = commands.add_parser(
        "kaggle", help=summary, description=summary[0].upper() + summary[1:] + "."
    )
    kinds = kaggle.add_subparsers(dest="kaggle_command", required=True, metavar="COMMAND")
    _add_package(command(kinds, "package", _package, "build the dataset that kernels install from"))
    _add_push(command(kinds, "push", _push, "push a kernel once, its metadata checked first"))
    add_chain(command(kinds, "chain", run_chain, "push sessions until the run is done"))
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
    add_patience(package, "5s")


def _add_push(push: argparse.ArgumentParser) -> None:
    push.add_argument(
        "--folder",
        type=named,
        default="kaggle",
        metavar="DIR",
        help="holds kernel-metadata.json (%(default)s)",
    )
    push.add_argument("--timeout", metavar="11h45m", help="when Kaggle ends the session")


def _add_status(status: argparse.ArgumentParser) -> None:
    status.add_argument("kernel", metavar="OWNER/SLUG")


def _add_pull(pull: argparse.ArgumentParser) -> None:
    pull.add_argument("kernel", metavar="OWNER/SLUG")
    pull.add_argument("--out", type=named, required=True, metavar="DIR", help="for what it left")
    pull.add_argument("--version", type=int, metavar="N", help="whose session; default: the newest")
    pull.add_argument(
        "--as-it-is",
        action="store_true",
        help="take files that are not as the session listed them too, and name them",
    )


def _add_submit(submit: argparse.ArgumentParser) -> None:
    submit.add_argument("competition", metavar="COMPETITION", help="its slug")
    submit.add_argument("--file", type=named, metavar="FILE.csv", help="a submission from here")
    submit.add_argument("--kernel", default="", metavar="OWNER/SLUG", help="whose output it is in")
    submit.add_argument("--version", type=int, default=0, metavar="N", help="of that kernel")
    submit.add_argument(
        "--name", default="submission.csv", metavar="FILE", help="in that output (%(default)s)"
    )
    submit.add_argument("--message", required=True, metavar="TEXT", help="names it at Kaggle")


def _package(given: argparse.Namespace) -> int:
    from carlib.kaggle.datasets import upload_dataset
    from carlib.kaggle.metadata import PLACEHOLDER
    from carlib.kaggle.package import build_package
    from carlib.kaggle.secrets import refuse_secret_text

    refuse_secret_text("--notes", given.notes)
    poll = poll_of(given)
    with make_client() if given.upload else contextlib.nullcontext() as client:
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
    with make_client() as client:
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

    with make_client() as client:
        status, message = kernel_status(client, given.kernel)
    show(given, {"status": status, "message": message}, f"{status} {message}".rstrip())
    return 0


def _pull(given: argparse.Namespace) -> int:
    from carlib.kaggle.logs import reason
    from carlib.kaggle.pull import LOG, pull_output

    with make_client() as client:
        pulled = pull_output(client, given.kernel, Path(given.out), given.version, given.as_it_is)
    handover = pulled.handover
    figures = {
        "folder": str(pulled.folder),
        "checkpoints": list(pulled.checkpoints),
        "unproven": list(pulled.unproven),
        "done": handover.done if handover else None,
        "why": handover.why if handover else None,
    }
    told = f"{pulled.folder}: {len(handover.files) if handover else 0} files"
    if handover and not pulled.unproven:
        told += ", each as the session left it"
    elif handover:
        told += f"; not as the session left them: {', '.join(pulled.unproven)}"
    else:
        why = reason((pulled.folder / LOG).read_text(encoding="utf-8")) or "its log is empty"
        told = (
            f"{pulled.folder}: the session was ended before it could list its files ({why}, in "
            f"{LOG}); {len(pulled.checkpoints)} checkpoints are whole, {len(pulled.unproven)} "
            "other files are as they came"
        )
    show(given, figures, told)
    return 0


def _submit(given: argparse.Namespace) -> int:
    from carlib.kaggle.submit import submit

    with make_client() as client:
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
