"""The truth about a step's memory, read from TensorFlow's profiler.

The allocator under every GPU (BFC) reports each allocation to the profiler with the bytes that
were asked for, and who asked. Adding them up gives the peak of requested bytes, nearly the same
in every run, and what is there at that moment. On a CPU the same allocator serves where
``LIMITED`` is in the environment before TensorFlow is imported.
"""

from __future__ import annotations

import math
import tempfile
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import tensorflow as tf

from carlib.errors import RunError

# A CPU's memory as a GPU's would be: TensorFlow's own allocator, and no oneDNN, which has another.
LIMITED = {
    "TF_CPU_ALLOCATOR_USE_BFC": "true",
    "TF_ENABLE_ONEDNN_OPTS": "0",
    "CUDA_VISIBLE_DEVICES": "-1",
}
# Two gradients meet or they don't: in one step of a small network, not in the next.
STEPS = 3
LIMIT_MIB = "TF_CPU_BFC_MEM_LIMIT_IN_MB"  # of that allocator


@dataclass(frozen=True, slots=True)
class Tensor:
    """One allocation that was there at the peak.

    Args:
        op: That asked for it.
        shape: As TensorFlow writes it, "[8,112,112,96]".
        nbytes: Asked for.
    """

    op: str
    shape: str
    nbytes: int


@dataclass(frozen=True, slots=True)
class Measured:
    """The memory of one step, in bytes.

    Args:
        requested: R: the peak of what was asked for, variables included.
        variables: Of these, what was there before and after.
        in_use: U: the allocator's own peak.
        live: What was asked for in the step and there at the peak, largest first.
    """

    requested: int
    variables: int
    in_use: int
    live: tuple[Tensor, ...]


def measure(step: Callable[[], Any], variables: Iterable[Any], device: str) -> Measured:
    """Run a step STEPS times and read the most that it needs.

    Args:
        step: Run it once before, so that it is traced.
        variables: That are there all along.
        device: "GPU:0" or "CPU:0".

    Raises:
        RunError: The profiler has seen no allocation.
    """
    there = sum(_nbytes(variable) for variable in variables)
    with tempfile.TemporaryDirectory(prefix="carlib-") as folder:
        tf.config.experimental.reset_memory_stats(device)
        options = tf.profiler.experimental.ProfilerOptions(python_tracer_level=0)
        tf.profiler.experimental.start(folder, options)
        try:
            for _ in range(STEPS):
                step()
        finally:
            tf.profiler.experimental.stop()
        in_use = tf.config.experimental.get_memory_info(device)["peak"]
        events = sorted(_events(Path(folder), device), key=lambda event: event[0])
    if not events:
        raise RunError(
            f"the profiler saw no allocation on {device}; on a CPU set {LIMITED} in the environment"
        )
    now, peak = 0, 0
    live: dict[int, Tensor] = {}
    at_peak: list[Tensor] = []
    for _, allocated, address, tensor in events:
        if allocated:
            live[address] = tensor
            now += tensor.nbytes
            if now > peak:
                peak, at_peak = now, list(live.values())
        else:
            now -= live.pop(address, tensor).nbytes
    at_peak.sort(key=lambda tensor: -tensor.nbytes)
    return Measured(there + peak, there, in_use, tuple(at_peak))


def _nbytes(variable: Any) -> int:
    import keras

    dtype = np.dtype(keras.backend.standardize_dtype(variable.dtype))
    return int(math.prod(variable.shape)) * dtype.itemsize


def _events(folder: Path, device: str) -> Iterator[tuple[float, bool, int, Tensor]]:
    """Yield (picoseconds, whether allocated, address, what) of a profile, unordered."""
    from tensorflow.tsl.profiler.protobuf import xplane_pb2

    allocator = "gpu_" if device.startswith("GPU") else "cpu"
    for path in folder.rglob("*.xplane.pb"):
        space = xplane_pb2.XSpace.FromString(path.read_bytes())
        for plane in space.planes:
            kinds = {
                key: metadata.name == "MemoryAllocation"
                for key, metadata in plane.event_metadata.items()
                if metadata.name in ("MemoryAllocation", "MemoryDeallocation")
            }
            names = {key: metadata.name for key, metadata in plane.stat_metadata.items()}
            for line in plane.lines:
                for event in line.events:
                    if event.metadata_id not in kinds:
                        continue
                    stats = {}
                    for stat in event.stats:
                        value = getattr(stat, stat.WhichOneof("value"))
                        is_name = stat.WhichOneof("value") == "ref_value"
                        stats[names[stat.metadata_id]] = names[value] if is_name else value
                    if allocator not in stats["allocator_name"].lower():
                        continue
                    yield (
                        line.timestamp_ns * 1000 + event.offset_ps,
                        kinds[event.metadata_id],
                        stats["addr"],
                        Tensor(
                            stats.get("tf_op", ""),
                            stats.get("shape", ""),
                            stats["requested_bytes"],
                        ),
                    )
