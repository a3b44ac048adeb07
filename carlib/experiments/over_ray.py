"""Starts runs on the machines of a Ray cluster (extra ``carlib[ray]``).

Each place is an actor that holds its share of a machine and starts runs there as processes. As with
Ray's own trainers, all machines see the experiment's folder and the photos under the same path
(docs.ray.io, "Configuring Persistent Storage"): so any of them can go on with any run.
"""

from __future__ import annotations

import os
import socket
import subprocess
import uuid
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from carlib.errors import RunError, UsageError
from carlib.experiments.launch import Job, start_process
from carlib.files import explained

LOCAL = "local"  # a cluster of this machine alone, for the time of the experiment
PATHS = ("run", "data", "exclude", "external", "groups")  # of a job
PATIENCE = 120.0  # seconds that a place has to come up, or to answer
KNOCK = 10.0  # seconds that a cluster's address has to answer
LOST = 1


class Place:
    """A share of a machine, for one run at a time; it lives in a process of Ray's."""

    def __init__(self) -> None:
        self._process: subprocess.Popen[bytes] | None = None

    def reads(self, path: str) -> str | None:
        """Return a file's text as this machine sees it; None where it does not."""
        with suppress(OSError):
            return Path(path).read_text(encoding="utf-8")
        return None

    def machine(self) -> str:
        """Return the name of the machine."""
        return os.uname().nodename

    def start(self, job: Job) -> None:
        """Start a run. Ray has set CUDA_VISIBLE_DEVICES to this place's share already."""
        self._process = start_process(job)

    def poll(self) -> int | None:
        """Return the run's exit code, None while it works."""
        return self._process.poll() if self._process else LOST

    def stop(self) -> None:
        """Ask the run to save and end."""
        if self._process and self._process.poll() is None:
            self._process.terminate()

    def kill(self) -> None:
        """End the run at once."""
        if self._process:
            self._process.kill()
            self._process.wait()


@dataclass(slots=True)
class RayRun:
    """A run on some machine of the cluster."""

    launcher: OverRay
    slot: int
    run: Path

    def poll(self) -> int | None:
        import ray

        try:
            code: int | None = self._call("poll")
        except ray.exceptions.RayError as error:  # the machine, or Ray on it, is gone
            self.launcher.places.pop(self.slot, None)
            with suppress(OSError), open(self.run / "log.txt", "a", encoding="utf-8") as log:
                log.write(f"carlib: its machine left the cluster ({type(error).__name__})\n")
            return LOST
        return code

    def stop(self) -> None:
        self._call_if_there("stop")

    def kill(self) -> None:
        self._call_if_there("kill")

    def _call(self, name: str) -> Any:
        import ray

        return ray.get(getattr(self.launcher.places[self.slot], name).remote(), timeout=PATIENCE)

    def _call_if_there(self, name: str) -> None:
        import ray

        with suppress(ray.exceptions.RayError, KeyError):
            self._call(name)


@dataclass(slots=True)
class OverRay:
    """The machines of a Ray cluster, as a Launcher.

    Args:
        at_once: Runs at a time.
        out: The experiment's folder, which all machines see.
        needs: CPUs and GPUs of a place, as Ray has them.
        places: By slot, as far as they are up.
    """

    at_once: int
    out: Path
    needs: dict[str, float]
    places: dict[int, Any] = field(default_factory=dict)

    @classmethod
    def of(cls, address: str, out: Path | str, at_once: int | None = None) -> OverRay:
        """Join a cluster.

        Args:
            address: As ``ray.init`` takes it: "auto" is the one that this machine is in, "local"
                one of this machine alone.
            out: The experiment's folder.
            at_once: Runs at a time. Defaults to one a GPU, or one a machine where there are none.

        Raises:
            UsageError: Ray is not installed, there is no such cluster, or it has no room.
        """
        try:
            import ray
        except ImportError:
            raise UsageError("--ray needs Ray; pip install 'carlib[ray]'") from None
        _knock(address)
        os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
        more = {"include_dashboard": False} if address == LOCAL else {}
        try:
            ray.init(address=address, log_to_driver=False, configure_logging=False, **more)
        except (ConnectionError, ValueError, RuntimeError) as error:
            raise _no_cluster(address, error) from error
        try:
            machines = [node["Resources"] for node in ray.nodes() if node["Alive"]]
            at_once, needs = shares(machines, at_once)
        except UsageError:
            ray.shutdown()
            raise
        return cls(at_once, Path(out).absolute(), needs)

    def start(self, job: Job, slot: int) -> RayRun:
        import ray

        absolute = {name: os.path.abspath(job[name]) for name in PATHS if job[name]}
        job = {**job, **absolute, "use": [os.path.abspath(path) for path in job["use"]]}
        if slot not in self.places:
            self.places[slot] = self._place()
        ray.get(self.places[slot].start.remote(job), timeout=PATIENCE)
        return RayRun(self, slot, Path(job["run"]))

    def close(self) -> None:
        import ray

        for place in self.places.values():
            ray.kill(place)
        self.places.clear()
        ray.shutdown()

    def _place(self) -> Any:
        """A new place, which is seen to see the experiment's folder."""
        import ray

        own = ray.remote(**self.needs, scheduling_strategy="SPREAD")(Place).remote()
        mark, token = self.out / f".seen-{uuid.uuid4().hex}", uuid.uuid4().hex
        with explained(mark):
            self.out.mkdir(parents=True, exist_ok=True)
            mark.write_text(token, encoding="utf-8")
        try:
            read = ray.get(own.reads.remote(str(mark)), timeout=PATIENCE)
            if read != token:
                machine = ray.get(own.machine.remote(), timeout=PATIENCE)
                raise RunError(
                    f"machine {machine!r} does not see {self.out}; over several machines --out and "
                    "the photos must lie on a file system that all of them have at the same path"
                )
        except ray.exceptions.GetTimeoutError:
            raise RunError(
                f"the cluster found no room for a run ({self.needs}) in {PATIENCE:.0f} s; others "
                "may use it: wait, or give a smaller --at-once"
            ) from None
        except ray.exceptions.RayError as error:
            raise RunError(
                f"a machine of the cluster cannot run carlib ({error}); install the same carlib, "
                "Ray and Python on all of them"
            ) from error
        finally:
            mark.unlink(missing_ok=True)
        return own


def _knock(address: str) -> None:
    """See that somebody listens: Ray itself would try for many minutes, in silence."""
    host, colon, port = address.removeprefix("ray://").rpartition(":")
    if not colon:
        return
    try:
        socket.create_connection((host.strip("[]"), int(port)), timeout=KNOCK).close()
    except (OSError, ValueError, OverflowError) as error:
        raise _no_cluster(address, error) from error


def _no_cluster(address: str, error: Exception) -> UsageError:
    return UsageError(
        f"there is no Ray cluster at {address!r} ({error}); start one with ray start --head, or "
        "give auto, local or its address"
    )


def shares(machines: list[dict[str, float]], at_once: int | None) -> tuple[int, dict[str, float]]:
    """Return how many runs at a time, and what of a machine each gets.

    Args:
        machines: What each machine of the cluster has, "CPU" and "GPU".
        at_once: Wanted; None is one a GPU, or one a machine where there are none.

    Raises:
        UsageError: More runs than CPUs, or than GPUs where there are any.

    >>> shares([{"CPU": 8.0}, {"CPU": 8.0}], None)
    (2, {'num_cpus': 8.0, 'num_gpus': 0.0})
    >>> shares([{"CPU": 8.0, "GPU": 2.0}, {"CPU": 4.0}], None)
    (2, {'num_cpus': 4.0, 'num_gpus': 1.0})
    """
    gpus = [int(each.get("GPU", 0)) for each in machines]
    used = [each for each, has in zip(machines, gpus, strict=True) if has or not any(gpus)]
    wanted = at_once or sum(gpus) or len(used)
    if sum(gpus) and wanted > sum(gpus):
        raise UsageError(f"--at-once {wanted}: the cluster has {sum(gpus)} GPUs, one a run")
    cpus = sorted((int(each.get("CPU", 0)) for each in used), reverse=True)
    if wanted > sum(cpus):
        raise UsageError(f"--at-once {wanted}: the cluster has {sum(cpus)} CPUs, one a run")
    if sum(gpus):
        of_each = min(
            int(each.get("CPU", 0)) // int(each["GPU"]) for each in used if each.get("GPU")
        )
    else:
        # The most that leaves room for all.
        of_each = next(
            size for size in range(cpus[0], 0, -1) if sum(has // size for has in cpus) >= wanted
        )
    return wanted, {"num_cpus": float(of_each), "num_gpus": 1.0 if sum(gpus) else 0.0}
