"""The device that is there, and what this machine's memory has left."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from contextlib import suppress
from pathlib import Path

import psutil
import tensorflow as tf

from carlib.devices import MIB, Device
from carlib.memory.instrument import LIMIT_MIB

# Of a machine's memory that is free: the rest is for what nobody counts. A system without memory
# kills, and nothing is saved then.
SHARE = 0.9


def present_device(taken: int = 0, environment: Mapping[str, str] = os.environ) -> Device | None:
    """Return what training runs on, with the memory that TensorFlow may use there.

    A GPU's is its allocator's limit: what was free when TensorFlow began, without the CUDA context
    and its reserve. A CPU's is what is free now, and at most what the machine or its container
    has, or the limit of TensorFlow's own allocator where one is set for it
    (``carlib.memory.instrument.LIMITED``).

    Args:
        taken: Bytes that others of the process will take; only a CPU shares its memory with them.
            Defaults to 0.
        environment: Variables to look at. Defaults to the process's.

    Returns:
        The first GPU, else the CPU; None for a TPU, of whose memory nothing is known.

    >>> present_device(environment={"TF_CPU_ALLOCATOR_USE_BFC": "1", LIMIT_MIB: "64"}).usable
    67108864
    """
    if tf.config.list_logical_devices("TPU"):
        return None
    if names := _gpu_names():
        # Through the allocators of this process, which are there already.
        with tf.compat.v1.Session(graph=tf.Graph()) as session:
            limits = [
                device.memory_limit_bytes
                for device in session.list_devices()
                if device.device_type == "GPU"
            ]
        return Device(names[0], limits[0]) if limits else None
    if environment.get("TF_CPU_ALLOCATOR_USE_BFC", "").lower() in ("1", "true"):
        # A number that it cannot read counts for nothing; without one it takes 64 GiB.
        with suppress(ValueError):
            return Device("the CPU", int(environment.get(LIMIT_MIB, "")) * MIB, kind="cpu")
    usable = max(1, int(SHARE * free_memory()) - taken)
    return Device("the CPU", usable, kind="cpu", most=max(usable, int(SHARE * whole_memory())))


def device_names() -> str:
    """Return the names of all GPUs, or "CPU".

    >>> device_names()
    'CPU'
    """
    return ", ".join(_gpu_names()) or "CPU"


def _gpu_names() -> list[str]:
    devices = tf.config.list_physical_devices("GPU")
    details = map(tf.config.experimental.get_device_details, devices)
    return [str(each.get("device_name")) for each in details]


def free_memory(root: Path | str = "/") -> int:
    """Return the bytes that this process may still take: the machine's, or its container's.

    A container's limit is its control group's, or that of one above it (cgroups(7), versions 1
    and 2); what it has of files in memory counts as free, as the kernel gives it back.

    Args:
        root: Where the file system begins, for tests. Defaults to "/".
    """
    groups = (max(0, most - used) for most, used in _groups(Path(root)))
    return min([int(psutil.virtual_memory().available), *groups])


def whole_memory(root: Path | str = "/") -> int:
    """Return the bytes of memory that the machine has, or its container.

    Args:
        root: As above. Defaults to "/".

    >>> free_memory() <= whole_memory()
    True
    """
    return min([int(psutil.virtual_memory().total), *(most for most, _ in _groups(Path(root)))])


def _groups(root: Path) -> Iterator[tuple[int, int]]:
    """Bytes that each control group of this process may have, and has for good."""
    with suppress(OSError):
        for line in (root / "proc/self/cgroup").read_text().splitlines():
            _, kinds, name = line.split(":", 2)
            if not kinds:
                top, limit, used, files = "", "memory.max", "memory.current", "inactive_file"
            elif "memory" in kinds.split(","):
                top, limit, used = "memory", "memory.limit_in_bytes", "memory.usage_in_bytes"
                files = "total_inactive_file"
            else:
                continue
            base = root / "sys/fs/cgroup" / top
            inner = (base / name.lstrip("/")).relative_to(base)
            # In a container the name is the host's, and its own group is mounted at the top.
            for folder in (base / each for each in (inner, *inner.parents)):
                with suppress(OSError, ValueError):  # "max": no limit
                    most = int((folder / limit).read_text())
                    stat = (folder / "memory.stat").read_text()
                    kept = dict(entry.split() for entry in stat.splitlines()).get(files, "0")
                    yield most, int((folder / used).read_text()) - int(kept)
