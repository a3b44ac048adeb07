"""A real run: the image's Python, a fresh /kaggle, the limit enforced by killing.

Where namespaces are refused, CARLIB_LOCAL_KAGGLE_ROOT may name a folder whose ``kaggle`` is what
/kaggle leads to (``ln -s FOLDER/kaggle /kaggle``): runs then use it one at a time, with copies of
their inputs, and keep the network.
"""

from __future__ import annotations

import contextlib
import functools
import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
from pathlib import Path
from typing import Any

from .image import make_python
from .sessions import Run

HERE = Path(__file__).parent
ROOT = "CARLIB_LOCAL_KAGGLE_ROOT"
SYSTEM = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
# Of this process's own variables a run gets these: memory, and what TensorFlow goes by.
PASSED = ("MALLOC_", "TF_CPP_", "TF_NUM_", "TF_ENABLE_", "TF_DETERMINISTIC_", "OMP_")
# And with internet, how to reach it.
PASSED_ONLINE = ("PIP_", "SSL_", "REQUESTS_", "http_proxy", "https_proxy", "no_proxy")
_alone = threading.Lock()


@functools.cache
def unshare() -> tuple[str, ...]:
    """Return the command that makes a session's namespaces; () where they are refused.

    Also without being root, where a user may make a namespace of its own.
    """
    if not all(map(shutil.which, ("unshare", "setpriv", "mount"))):
        return ()
    base = ("setpriv", "--pdeathsig", "KILL", "unshare", "-m", "-p", "-f", "--kill-child")
    for command in (base, (*base, "-r")):
        with tempfile.TemporaryDirectory() as folder:
            plan = _plan(Path(folder), Path(folder), {}, False, ["/bin/true"], {})
            if not subprocess.run(
                [*command, "-n", *_inside(plan)], capture_output=True, check=False
            ).returncode:
                return command
    return ()


def refused() -> str:
    """Say why nothing can really run here; "" where it can."""
    if unshare():
        return ""
    given = os.environ.get(ROOT)
    if given and Path("/kaggle").exists():
        (Path(given) / "kaggle").mkdir(parents=True, exist_ok=True)
        if Path("/kaggle").samefile(Path(given) / "kaggle"):
            return ""
    return (
        "this machine refuses namespaces (unshare -m -p -n), and /kaggle does not lead to the "
        f"folder kaggle in ${ROOT}"
    )


def _plan(
    folder: Path,
    working: Path,
    mounts: dict[str, Path],
    internet: bool,
    command: list[str],
    environment: dict[str, str],
) -> Path:
    (folder / "root").mkdir()
    plan: dict[str, Any] = {
        "root": str(folder / "root"),
        "working": str(working),
        "mounts": {where: str(source) for where, source in mounts.items()},
        "internet": internet,
        "command": command,
        "environment": environment,
    }
    path = folder / "plan.json"
    path.write_text(json.dumps(plan), encoding="utf-8")
    return path


def _inside(plan: Path) -> list[str]:
    return [sys.executable, "-I", "-S", str(HERE / "inside.py"), str(plan)]


def real_run(run: Run) -> None:
    """Really run what was pushed, until its end or until the session is cut.

    Raises:
        RuntimeError: The notebook or script ended with an error.
    """
    assert run.image is not None
    folder = run.folder / "machine"
    (folder / "home/tmp").mkdir(parents=True)
    internet = bool(run.request.get("enableInternet"))
    kind = "notebook" if run.request.get("kernelType") == "notebook" else "script"
    source = folder / ("source.ipynb" if kind == "notebook" else "script.py")
    source.write_text(run.source, encoding="utf-8")
    python = make_python(folder / "python", run.image)
    _name_kernel(folder, python)
    command = [str(python), "-P", str(HERE / "execute.py"), kind, str(source)]
    command += [str(run.folder / "executed.ipynb"), str(run.version.log_file)]
    environment = _environment(folder, run.image, internet)
    try:
        if unshare():
            mounts = run.version.mounts
            plan = _plan(folder, run.working, mounts, internet, command, environment)
            alone = () if internet else ("-n",)
            code = _watch(run, [*unshare(), *alone, *_inside(plan)])
        else:
            code = _in_plain_folder(run, command, environment)
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    if code and not run.stopped.is_set():
        raise RuntimeError(f"the {kind} ended with an error")


def _watch(run: Run, command: list[str], **options: Any) -> int:
    """Run a command to its end, or until the session is cut: then kill what it has started."""
    console = run.folder / "console.txt"
    with open(console, "wb") as said:
        process = subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=said,
            stderr=subprocess.STDOUT,
            start_new_session=True,
            **options,
        )
        while process.poll() is None:
            if run.stopped.wait(0.01):
                _kill(process)
    if not run.stopped.is_set():
        run.say(console.read_text(encoding="utf-8", errors="replace"), "stderr")
    return process.returncode


def _kill(process: subprocess.Popen[bytes]) -> None:
    """Kill a session; with the first process of a namespace the system ends all others of it."""
    below = _below(process.pid)
    for pid in below if unshare() else [process.pid, *below]:
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)
    try:
        process.wait(5)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()


def _below(pid: int) -> list[int]:
    """Return the processes that a process has started, and those they have."""
    try:
        said = Path(f"/proc/{pid}/task/{pid}/children").read_text(encoding="ascii")
    except OSError:
        return []
    children = [int(child) for child in said.split()]
    return children + [one for child in children for one in _below(child)]


def _name_kernel(folder: Path, python: Path) -> None:
    command = [str(python), "-m", "ipykernel_launcher", "--log-level=ERROR"]
    spec = {
        "argv": [*command, "-f", "{connection_file}"],
        "display_name": "Python 3",
        "language": "python",
    }
    place = folder / "jupyter/kernels/python3"
    place.mkdir(parents=True)
    (place / "kernel.json").write_text(json.dumps(spec), encoding="utf-8")


def _environment(folder: Path, image: Path, internet: bool) -> dict[str, str]:
    passed = PASSED + (PASSED_ONLINE if internet else ())
    return {
        **{name: value for name, value in os.environ.items() if name.startswith(passed)},
        "PATH": f"{folder / 'python/bin'}:{SYSTEM}",
        "HOME": str(folder / "home"),
        "TMPDIR": str(folder / "home/tmp"),
        "LANG": "C.UTF-8",
        "JUPYTER_PATH": str(folder / "jupyter"),
        # As in the image, whose font list is there already.
        "MPLCONFIGDIR": str(image.parent / "matplotlib"),
        "PIP_DISABLE_PIP_VERSION_CHECK": "1",
        "PIP_ROOT_USER_ACTION": "ignore",
        "KAGGLE_KERNEL_RUN_TYPE": "Batch",
        "KAGGLE_URL_BASE": "https://www.kaggle.com",
        "KAGGLE_DATA_PROXY_TOKEN": "none",
    }


def _in_plain_folder(run: Run, command: list[str], environment: dict[str, str]) -> int:
    """Run on the machine itself, /kaggle leading to a plain folder."""
    kaggle = Path(os.environ[ROOT]) / "kaggle"
    with _alone:
        for name in ("working", "input"):
            for path in [kaggle / name, *(kaggle / name).rglob("*")]:
                if path.is_dir() and not path.is_symlink():
                    path.chmod(0o755)
            shutil.rmtree(kaggle / name, ignore_errors=True)
            (kaggle / name).mkdir(parents=True)
        for where, source in run.version.mounts.items():
            shutil.copytree(source, kaggle / Path(where).relative_to("/kaggle"))
        for path in [*(kaggle / "input").rglob("*"), kaggle / "input"]:
            path.chmod(0o555 if path.is_dir() else 0o444)
        code = _watch(run, command, cwd=kaggle / "working", env=environment)
        shutil.copytree(kaggle / "working", run.working, dirs_exist_ok=True)
    return code
