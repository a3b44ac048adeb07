"""Starts runs as processes of this machine, one to a device."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from carlib.errors import RunError, UsageError
from carlib.experiments.noun import Experiment
from carlib.files import explained
from carlib.spec import to_dict

Job = dict[str, Any]
BEGINS = "=== begins\n"  # in a run's log, where a session of it does


class Running(Protocol):
    """A run under way."""

    def poll(self) -> int | None:
        """Return its exit code, None while it works."""

    def stop(self) -> None:
        """Ask it to save and end."""

    def kill(self) -> None:
        """End it at once."""


class Launcher(Protocol):
    """Starts runs, so many at once."""

    at_once: int

    def start(self, job: Job, slot: int) -> Running:
        """Start a run.

        Args:
            job: As ``carlib.experiments.child`` takes it, but for ``parent``.
            slot: Which of the ``at_once`` places it has.
        """

    def close(self) -> None:
        """Let go of what it holds."""


@dataclass(slots=True)
class LocalRun:
    """A run that is a process of this machine."""

    process: subprocess.Popen[bytes]

    def poll(self) -> int | None:
        return self.process.poll()

    def stop(self) -> None:
        self.process.terminate()

    def kill(self) -> None:
        self.process.kill()
        self.process.wait()


@dataclass(slots=True)
class Local:
    """Processes of this machine.

    Args:
        at_once: How many.
        devices: GPUs to share out, as CUDA numbers them; () leaves each process what there is.
    """

    at_once: int = 1
    devices: tuple[str, ...] = ()

    def start(self, job: Job, slot: int) -> LocalRun:
        device = self.devices[slot % len(self.devices)] if self.devices else None
        return LocalRun(start_process(job, device))

    def close(self) -> None:
        pass


def start_process(job: Job, device: str | None = None) -> subprocess.Popen[bytes]:
    """Start a run as a child of this process; what it says goes to log.txt in its folder.

    Args:
        job: As in Launcher.
        device: The GPU that it sees; None leaves it what there is.
    """
    run = Path(job["run"])
    environment = {} if device is None else {"CUDA_VISIBLE_DEVICES": device}
    with explained(run):
        run.mkdir(parents=True, exist_ok=True)
        with open(run / "log.txt", "ab") as log:
            log.write(BEGINS.encode())
            log.flush()
            return subprocess.Popen(
                [
                    *(sys.executable, "-m", "carlib.experiments.child"),
                    json.dumps({**job, "parent": os.getpid()}),
                ],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                env={**os.environ, **environment},
                # Ctrl-C at a terminal reaches all of a session: who began the run asks it to stop.
                start_new_session=True,
            )


def check_arms(experiment: Experiment) -> None:
    """Have all names in an experiment's recipes looked up, before hours are spent.

    It takes the seconds that a process needs to load TensorFlow, once for all arms.

    Args:
        experiment: Its arms, proxies too; the files that it uses may add names.

    Raises:
        UsageError: An arm with a name that no table has.
        RunError: A file of ``use`` that fails.
    """
    arms = [
        (arm.name + (" (proxy)" if level else ""), to_dict(arm.recipe))
        for level, arms in enumerate((experiment.everyone, experiment.proxy))
        for arm in arms
    ]
    done = subprocess.run(
        [sys.executable, "-m", "carlib.experiments.child", "-"],
        input=json.dumps({"arms": arms, "use": list(experiment.use), "parent": os.getpid()}),
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode:
        said = _why(done.stderr)
        raise UsageError(said) if done.returncode == UsageError.exit_code else RunError(said)


def gpus(
    environment: dict[str, str] | None = None,
    ask: Callable[[], str] | None = None,
) -> tuple[str, ...]:
    """Return the GPUs that this process may use, as CUDA numbers them, without TensorFlow.

    Args:
        environment: Its variables. Defaults to the process's.
        ask: Returns what ``nvidia-smi --list-gpus`` prints. Defaults to calling it.

    >>> gpus({}, lambda: "GPU 0: Tesla T4 (UUID: a)\\nGPU 1: Tesla T4 (UUID: b)\\n")
    ('0', '1')
    >>> gpus({"CUDA_VISIBLE_DEVICES": "1"}, lambda: "")
    ('1',)
    """
    environment = dict(os.environ) if environment is None else environment
    if (named := environment.get("CUDA_VISIBLE_DEVICES")) is not None:
        return tuple(each for each in named.split(",") if each and each != "-1")
    lines = (ask or _ask)().splitlines()
    return tuple(str(number) for number, _ in enumerate(li for li in lines if li.startswith("GPU")))


def _ask() -> str:
    try:
        done = subprocess.run(
            ["nvidia-smi", "--list-gpus"], capture_output=True, text=True, timeout=30
        )
    except (OSError, subprocess.TimeoutExpired):
        return ""
    return done.stdout if done.returncode == 0 else ""


def last_words(run: Path) -> str:
    """Return the line of a run's log that says why it failed.

    >>> import tempfile
    >>> folder = Path(tempfile.mkdtemp())
    >>> _ = (folder / "log.txt").write_text("step 1\\ncarlib: no space left\\n")
    >>> last_words(folder)
    'no space left'
    """
    try:
        with open(run / "log.txt", "rb") as file:
            file.seek(max(0, file.seek(0, os.SEEK_END) - 20_000))
            text = file.read().decode(errors="replace")
    except OSError:
        return "it left no log"
    return _why(text.rpartition(BEGINS)[2])


def _why(text: str) -> str:
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    own = [line.removeprefix("carlib: ") for line in lines if line.startswith("carlib: ")]
    return (own or lines or ["it said nothing"])[-1][:500]
