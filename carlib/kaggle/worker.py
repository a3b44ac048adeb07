"""The child process that holds the official client: a line of JSON in, a line of JSON out.

A process of its own, because the client prints what it should return, exits where it has no
credentials, and waits without end for a server that does not answer: all of that is contained
here, and a parent that has waited long enough ends the child.
"""

from __future__ import annotations

import contextlib
import io
import json
import os
import re
import signal
import sys
import threading
import time
from collections.abc import Callable
from typing import Any

from carlib.files import FULL
from carlib.files import REFUSED as NOT_ALLOWED

# Kinds of failure, as the parent knows them.
BUSY = "busy"  # 429: asked too often, nothing was done
DOWN = "down"  # 5xx: may have been done or not
LOST = "lost"  # no answer, or half of one: may have been done or not
MISSING = "missing"  # 404
REFUSED = "refused"  # any other 4xx, or the client's own no
CREDENTIALS = "credentials"
_KINDS = {401: CREDENTIALS, 404: MISSING, 408: LOST, 429: BUSY}
# This machine's own no: a full disk, a place that may not be written to.
_HERE = (*FULL, *NOT_ALLOWED)
# The client's words for a transfer that broke off.
_BROKEN = "does not match expected size"
_NOT_SHOWN = re.compile(r"Cannot access kernel '([^']*)'")
# The address of a download or an upload is a key to it, by its query or by a long part of its path.
_ADDRESS = re.compile(r"""(?:https?://|url: /)[^\s'")>]+""")
_KEY = re.compile(r"\?.*|(?<=/)[^/?]{40,}")


def whoami(api: Any) -> dict[str, Any]:
    """Say as whom the client speaks."""
    return {"user": api.get_config_value(api.CONFIG_NAME_USER)}


def push(api: Any, folder: str, timeout: int | None, accelerator: str | None) -> dict[str, Any]:
    """Push the kernel of a folder; what Kaggle says of it, errors and dropped sources too."""
    said = api.kernels_push(folder, None if timeout is None else str(timeout), accelerator)
    invalid = {
        name: list(getattr(said, f"invalid_{name}_sources") or ())
        for name in ("dataset", "competition", "kernel", "model")
    }
    return {
        "version": said.version_number or None,
        "url": said.url or "",
        "error": said.error or "",
        "invalid": {name: sources for name, sources in invalid.items() if sources},
    }


def source(api: Any, kernel: str) -> dict[str, Any]:
    """Return the source of a kernel's newest version, and its number."""
    from kagglesdk.kernels.types.kernels_api_service import ApiGetKernelRequest

    request = ApiGetKernelRequest()
    request.user_name, request.kernel_slug = kernel.split("/")
    with api.build_kaggle_client() as kaggle:
        found = kaggle.kernels.kernels_api_client.get_kernel(request)
    if found.blob is None or found.metadata is None:
        raise ConnectionError(f"half an answer on the source of {kernel}")
    return {"text": found.blob.source, "version": found.metadata.current_version_number}


def status(api: Any, kernel: str, version: int | None = None) -> dict[str, Any]:
    """Return the status of a kernel version's session; of the newest before kaggle 2.2.5."""
    said = api.kernels_status(_labelled(kernel, version))
    return {"status": said.status.name, "message": said.failure_message or ""}


def _labelled(kernel: str, version: int | None) -> str:
    return kernel if version is None else f"{kernel}/{version}"


def listing(api: Any, kernel: str, version: int | None = None) -> dict[str, Any]:
    """Return the names of all files a session left, and its log; versions as in ``status``."""
    from kagglesdk.kernels.types.kernels_api_service import ApiListKernelSessionOutputRequest

    request = ApiListKernelSessionOutputRequest()
    request.user_name, request.kernel_slug = kernel.split("/")
    if version is not None and hasattr(request, "version_label"):
        request.version_label = f"v{version}"
    request.page_size = 100
    names: list[str] = []
    log = ""
    with api.build_kaggle_client() as kaggle:
        while True:
            page = kaggle.kernels.kernels_api_client.list_kernel_session_output(request)
            names += [file.file_name for file in page.files or ()]
            log = log or page.log or ""
            if not page.next_page_token:
                return {"files": names, "log": log}
            request.page_token = page.next_page_token


def output(
    api: Any, kernel: str, folder: str, pattern: str, version: int | None = None
) -> dict[str, Any]:
    """Download the files whose names match into a folder, over whatever is there."""
    named = _labelled(kernel, version)
    api.kernels_output(named, folder, file_pattern=pattern, force=True, quiet=True)
    return {}


def quota(api: Any) -> dict[str, Any]:
    """Return the week's accelerator seconds, used and in all, and when they begin anew."""
    said = api.quota_view()
    both = {}
    for kind, part in (("gpu", said.gpu_quota), ("tpu", said.tpu_quota)):
        if part is not None and part.total_time_allowed is not None:
            # Nothing used may be left out of the answer.
            used = part.time_used.total_seconds() if part.time_used else 0.0
            both[kind] = {"used": used, "total": part.total_time_allowed.total_seconds()}
    refresh = said.quota_refresh_time
    return {**both, "refresh": refresh.isoformat() if refresh else ""}


def dataset_status(api: Any, dataset: str) -> dict[str, Any]:
    """Return a dataset's status, in small letters, and its current version."""
    said = json.loads(api.dataset_status(dataset, format="json"))
    return {"status": said["status"], "version": said["current_version_number"]}


def dataset_create(api: Any, folder: str, public: bool) -> dict[str, Any]:
    """Create the dataset of a folder, its folders as zips that Kaggle unpacks."""
    said = api.dataset_create_new(folder, public=public, quiet=True, dir_mode="zip")
    return {"error": _error(said)}


def dataset_version(api: Any, folder: str, notes: str) -> dict[str, Any]:
    """Add a version to the dataset of a folder, its folders as zips that Kaggle unpacks."""
    said = api.dataset_create_version(folder, notes, quiet=True, dir_mode="zip")
    return {"error": _error(said)}


def _error(said: Any) -> str:
    if said is None:
        return "no answer"
    return "" if (said.status or "").lower() == "ok" else (said.error or said.status or "unknown")


def submit_file(api: Any, competition: str, file: str, message: str) -> dict[str, Any]:
    """Submit a file to a competition."""
    said = api.competition_submit(file, message, competition, quiet=True)
    if said.message == api.COMPETITION_SUBMIT_UPLOAD_FAILED_MESSAGE:
        raise ConnectionError(said.message)
    return {"message": said.message, "ref": getattr(said, "ref", None)}


def submit_kernel(
    api: Any, competition: str, kernel: str, version: int, file: str, message: str
) -> dict[str, Any]:
    """Submit a file of a kernel version's output to a code competition."""
    said = api.competition_submit_code(file, message, competition, kernel, version, quiet=True)
    return {"message": said.message, "ref": getattr(said, "ref", None)}


def submissions(api: Any, competition: str) -> dict[str, Any]:
    """Return the newest submissions: their refs and descriptions."""
    found = api.competition_submissions(competition) or ()
    return {"submissions": [{"ref": each.ref, "message": each.description} for each in found]}


def limits(api: Any, competition: str) -> dict[str, Any]:
    """Return how many submissions are left today."""
    return {"left": api.competition_get_submission_limits(competition).num_allowed_now}


OPERATIONS: dict[str, Callable[..., dict[str, Any]]] = {
    each.__name__: each
    for each in (
        whoami,
        push,
        source,
        status,
        listing,
        output,
        quota,
        dataset_status,
        dataset_create,
        dataset_version,
        submit_file,
        submit_kernel,
        submissions,
        limits,
    )
}


def failure(error: BaseException) -> dict[str, Any]:
    """Return what a parent must know of an error: its kind, and what was said."""
    import requests
    import urllib3

    message = told(str(error))[:300]
    answer = getattr(error, "response", None)
    if isinstance(error, requests.HTTPError) and answer is not None:
        after = answer.headers.get("Retry-After", "")
        message = message or f"HTTP {answer.status_code}"
        return {"kind": _kind(answer), "message": message, "after": after}
    if isinstance(error, SystemExit):
        return {"kind": CREDENTIALS, "message": "no credentials were found", "after": ""}
    # A body that is not JSON is half an answer, or a page of somebody in between.
    lost = (requests.RequestException, urllib3.exceptions.HTTPError, OSError, json.JSONDecodeError)
    here = isinstance(error, FileNotFoundError) or getattr(error, "errno", None) in _HERE
    kind = LOST if _BROKEN in message or (isinstance(error, lost) and not here) else REFUSED
    if here:
        message += ": free some space, or choose a place that may be written to; then run again"
    # The client's guess at the cause is one of several.
    if found := _NOT_SHOWN.match(message):
        message = (
            f"Kaggle does not show kernel {found[1]!r}: it is not there, is somebody else's and "
            "private, or the credentials are not right"
        )
    return {"kind": kind, "message": message or type(error).__name__, "after": ""}


def _kind(answer: Any) -> str:
    code = answer.status_code
    if code < 400:  # an error as the body of an answer that went well
        try:
            code = int(answer.json()["code"])
        except (ValueError, LookupError, TypeError):
            return DOWN
    return _KINDS.get(code) or (DOWN if code >= 500 else REFUSED)


def told(text: str) -> str:
    """Return what may be shown of a text: one line, and no address with its key.

    >>> told("403 for url: https://storage/run.zip?Expires=9&Signature=abc (again)")
    '403 for url: https://storage/run.zip... (again)'
    """
    return _ADDRESS.sub(lambda found: _KEY.sub("...", found[0]), " ".join(text.split()))


def answer(api: Callable[[], Any], line: str) -> dict[str, Any]:
    """Do what a line asks for; whatever the client prints meanwhile is told too."""
    asked = json.loads(line)
    printed = io.StringIO()
    try:
        with contextlib.redirect_stdout(printed), contextlib.redirect_stderr(printed):
            reply = {"answer": OPERATIONS[asked["do"]](api(), **asked["with"])}
    except (Exception, SystemExit) as error:
        reply = {"failure": failure(error)}
    lines = [line for line in map(told, printed.getvalue().splitlines()) if line]
    return {**reply, "printed": lines[-1][:300] if lines else ""}


class _Api:
    """The client, made at its first use and again after a failure to sign in."""

    def __init__(self) -> None:
        self.made: Any = None

    def __call__(self) -> Any:
        if self.made is None:
            made = _careful()
            made.authenticate()
            self.made = made
        return self.made


def _careful() -> Any:
    from kaggle.api.kaggle_api_extended import KaggleApi

    class Careful(KaggleApi):  # type: ignore[misc]  # the client has no types
        """The client, for which an upload that failed is no file to leave out, as before 2.2.5."""

        def _upload_blob(self, path: str, *args: Any, **kwargs: Any) -> Any:
            token = super()._upload_blob(path, *args, **kwargs)
            if token is None:
                raise ConnectionError(f"the upload of {os.path.basename(path)} did not go through")
            return token

        def with_retry(self, call: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
            # What may have come through is the parent's to repeat: it looks first.
            creates = call.__name__.startswith("create")
            return call if creates else super().with_retry(call, *args, **kwargs)

        def _is_upload_successful(self, response: Any) -> bool:
            page = "html" in response.headers.get("Content-Type", "")
            return bool(super()._is_upload_successful(response)) and not page

    return Careful()


class _Ended(BaseException):
    """Asked to end: what the client has put aside, zips as large as a run, is taken away first."""


def _end(signum: int, frame: Any) -> None:
    raise _Ended


def _outlive(parent: int, seconds: float) -> None:
    """End a while after the parent: a call may come through, but not hang and hold its lock."""
    while os.getppid() == parent:
        time.sleep(min(1.0, seconds))
    time.sleep(seconds)
    main = threading.main_thread().ident
    assert main is not None
    signal.pthread_kill(main, signal.SIGTERM)
    time.sleep(1.0)
    os.kill(os.getpid(), signal.SIGKILL)


def main() -> None:
    """Answer lines of standard input until it ends; arguments: the parent's id and its patience."""
    parent, patience = int(sys.argv[1]), float(sys.argv[2])
    sys.argv[1:] = []  # the client reads it
    threading.Thread(target=_outlive, args=(parent, patience), daemon=True).start()
    signal.signal(signal.SIGTERM, _end)
    # The protocol keeps its own handles: what anyone prints goes nowhere near them, and where there
    # are no credentials, the client's exit() closes standard input.
    with (
        contextlib.suppress(_Ended, BrokenPipeError),
        os.fdopen(os.dup(0), encoding="utf-8") as questions,
        os.fdopen(os.dup(1), "w", encoding="utf-8") as answers,
    ):
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
        # Importing it takes its time, which is no answer's: and it may sign in, and exit.
        with contextlib.suppress(Exception, SystemExit):
            import kaggle  # noqa: F401
        answers.write("ready\n")
        answers.flush()
        api = _Api()
        for line in questions:
            answers.write(json.dumps(answer(api, line)) + "\n")
            answers.flush()


if __name__ == "__main__":
    main()
