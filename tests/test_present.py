"""The device that is there: a GPU's limit, a limited CPU's, and what a machine has left."""

from __future__ import annotations

from types import SimpleNamespace

import psutil
import pytest
import tensorflow as tf

from carlib.devices import Device
from carlib.memory import present
from carlib.memory.instrument import LIMIT_MIB, LIMITED
from carlib.memory.present import device_names, free_memory, present_device, whole_memory

GB = 10**9


@pytest.fixture
def free(monkeypatch):
    monkeypatch.setattr(present, "free_memory", lambda: 10 * GB)
    monkeypatch.setattr(present, "whole_memory", lambda: 20 * GB)


@pytest.mark.parametrize(
    ("environment", "taken", "usable"),
    [
        ({}, 0, 9 * GB),
        ({}, 2 * GB, 7 * GB),
        ({}, 20 * GB, 1),
        ({**LIMITED, LIMIT_MIB: "100"}, 0, 100 * 2**20),
        ({**LIMITED, LIMIT_MIB: "100"}, 2 * GB, 100 * 2**20),  # the others have their own
        ({**LIMITED, "TF_CPU_ALLOCATOR_USE_BFC": "True", LIMIT_MIB: "7"}, 0, 7 * 2**20),
        ({**LIMITED, LIMIT_MIB: "much"}, 0, 9 * GB),
        (LIMITED, 0, 9 * GB),
        ({LIMIT_MIB: "100"}, 0, 9 * GB),
        ({"TF_CPU_ALLOCATOR_USE_BFC": "false", LIMIT_MIB: "100"}, 0, 9 * GB),
    ],
)
def test_a_cpu(free, environment, taken, usable):
    found = present_device(taken, environment)
    limited = usable % GB and usable > 1
    assert found == Device("the CPU", usable, kind="cpu", most=0 if limited else 18 * GB)


@pytest.fixture
def session(monkeypatch):
    """GPUs by name and limit, as TensorFlow would show them."""

    def show(*gpus):
        names = {f"GPU:{n}": name for n, (name, _) in enumerate(gpus)}
        monkeypatch.setattr(
            tf.config, "list_physical_devices", lambda kind: list(names) if kind == "GPU" else []
        )
        monkeypatch.setattr(
            tf.config.experimental,
            "get_device_details",
            lambda device: {"device_name": names[device]},
        )
        devices = [SimpleNamespace(device_type="CPU", memory_limit_bytes=2**28)]
        devices += [
            SimpleNamespace(device_type="GPU", memory_limit_bytes=limit) for _, limit in gpus
        ]

        class Session:
            def __init__(self, graph):
                assert isinstance(graph, tf.Graph)

            def __enter__(self):
                return self

            def __exit__(self, *what):
                pass

            def list_devices(self):
                return devices

        monkeypatch.setattr(tf.compat.v1, "Session", Session)
        return devices

    return show


def test_a_gpu_has_its_allocators_limit(session):
    session(("Tesla T4", 14 * GB), ("Tesla P100", 15 * GB))
    assert present_device(5 * GB) == Device("Tesla T4", 14 * GB)
    assert device_names() == "Tesla T4, Tesla P100"


def test_a_gpu_that_tensorflow_does_not_use_is_not_known(session):
    devices = session(("Tesla T4", 14 * GB))
    del devices[1:]
    assert present_device() is None


def test_nothing_is_known_of_a_tpu(monkeypatch):
    monkeypatch.setattr(
        tf.config, "list_logical_devices", lambda kind: ["TPU:0"] if kind == "TPU" else []
    )
    assert present_device() is None


def test_the_real_session_is_the_one_that_is_pretended():
    with tf.compat.v1.Session(graph=tf.Graph()) as real:
        (device,) = real.list_devices()
    assert (device.device_type, type(device.memory_limit_bytes)) == ("CPU", int)


# ---------------------------------------------------------------- what a machine has left


V2 = "0::{}\n"
V1 = "12:cpu,cpuacct:/x\n5:memory:{}\n1:name=systemd:/\n"
UNLIMITED_V1 = 9223372036854771712


def write(root, name, version, groups):
    """A file system with control groups: by folder (limit, used, files in memory)."""
    (root / "proc/self").mkdir(parents=True)
    (root / "proc/self/cgroup").write_text((V2 if version == 2 else V1).format(name))
    base = root / "sys/fs/cgroup" / ("memory" if version == 1 else "")
    limit, used, files = (
        ("memory.max", "memory.current", "inactive_file")
        if version == 2
        else ("memory.limit_in_bytes", "memory.usage_in_bytes", "total_inactive_file")
    )
    base.mkdir(parents=True, exist_ok=True)
    for folder, (most, now, cached) in groups.items():
        where = base / folder
        where.mkdir(parents=True, exist_ok=True)
        (where / limit).write_text(f"{most}\n")
        (where / used).write_text(f"{now}\n")
        (where / "memory.stat").write_text(f"anon 1\n{files} {cached}\nslab 3\n")


@pytest.mark.parametrize("version", [1, 2])
@pytest.mark.parametrize(
    ("name", "groups", "left"),
    [
        ("/", {}, 10 * GB),
        ("/", {"": (4 * GB, GB, 0)}, 3 * GB),
        ("/", {"": (4 * GB, 3 * GB, 2 * GB)}, 3 * GB),  # files in memory are given back
        ("/", {"": (4 * GB, 5 * GB, 0)}, 0),
        ("/", {"": (400 * GB, GB, 0)}, 10 * GB),
        ("/a/b", {"a/b": (4 * GB, GB, 0)}, 3 * GB),
        ("/a/b", {"a/b": (4 * GB, GB, 0), "a": (2 * GB, GB, 0)}, GB),
        ("/docker/123", {"": (4 * GB, GB, 0)}, 3 * GB),  # mounted at the top of the container
        ("/a/b", {"other": (2 * GB, GB, 0)}, 10 * GB),
    ],
)
def test_a_container_may_have_less_than_the_machine(
    tmp_path, monkeypatch, version, name, groups, left
):
    monkeypatch.setattr(psutil, "virtual_memory", lambda: SimpleNamespace(available=10 * GB))
    write(tmp_path, name, version, groups)
    assert free_memory(tmp_path) == left


@pytest.mark.parametrize(
    ("version", "limit"), [(2, "max"), (1, UNLIMITED_V1), (2, "?"), (1, "")], ids=str
)
def test_a_group_without_a_limit(tmp_path, monkeypatch, version, limit):
    monkeypatch.setattr(psutil, "virtual_memory", lambda: SimpleNamespace(available=10 * GB))
    write(tmp_path, "/", version, {"": (limit, GB, 0)})
    assert free_memory(tmp_path) == 10 * GB


@pytest.mark.parametrize("version", [1, 2])
@pytest.mark.parametrize(
    ("limit", "whole"), [(4 * GB, 4 * GB), (40 * GB, 20 * GB), ("max", 20 * GB)], ids=str
)
def test_what_there_is_at_all(tmp_path, monkeypatch, version, limit, whole):
    """Whatever is in use of it."""
    monkeypatch.setattr(psutil, "virtual_memory", lambda: SimpleNamespace(total=20 * GB))
    write(tmp_path, "/", version, {"": (limit, 3 * GB, GB)})
    assert whole_memory(tmp_path) == whole


def test_this_machine():
    assert 0 < free_memory() <= whole_memory() <= psutil.virtual_memory().total
    assert free_memory("/nowhere") <= psutil.virtual_memory().total
